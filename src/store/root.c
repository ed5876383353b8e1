#include "store/root.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

int root_open(const char *path, bool shared, int *fd, struct err *e)
{
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, "%s", path);
    if (flock(*fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? err_set(e, ERR_LOCKED, "%s is in use by another run", path)
                                : err_sys(e, "%s: cannot lock it", path);
}

bool root_parent_exists(const char *path)
{
    struct stat st;
    char *parent = file_parent(path);
    bool is = stat(parent, &st) == 0 && S_ISDIR(st.st_mode);
    free(parent);
    return is;
}
