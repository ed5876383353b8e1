#include "store/temp.h"

#include "object/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void make_name(char *name, size_t size)
{
    struct uuid u;
    uuid_random(&u);
    int n = snprintf(name, size, "%s", TEMP_NAME_START);
    for (size_t i = 8; i < sizeof u.b; i++)
        n += snprintf(name + n, size - (size_t)n, "%02x", u.b[i]);
}

bool temp_is_name(const char *name)
{
    return strncmp(name, TEMP_NAME_START, strlen(TEMP_NAME_START)) == 0;
}

int temp_open(struct temp *t, int dir, mode_t mode, bool *named)
{
    t->home = -1;
    t->name[0] = '\0';
    if (!*named) {
        t->fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
        if (t->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
            return t->fd < 0 ? -1 : 0;
        *named = true;
    }
    make_name(t->name, sizeof t->name);
    t->fd = openat(dir, t->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (t->fd >= 0)
        return 0;
    t->name[0] = '\0';
    return -1;
}

int temp_symlink(struct temp *t, int dir, const char *target)
{
    t->fd = t->home = -1;
    make_name(t->name, sizeof t->name);
    if (symlinkat(target, dir, t->name) == 0)
        return 0;
    t->name[0] = '\0';
    return -1;
}

/* An unnamed file gets a name. Without the privilege, kernels before 6.10 allow it only by way of /proc. */
static int link_unnamed(int fd, int dir, const char *name)
{
    char path[32];
    if (linkat(fd, "", dir, name, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOENT && errno != EPERM && errno != EINVAL)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW);
}

int temp_rename(int from_dir, const char *from, int to_dir, const char *to)
{
    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return -1;
    if (linkat(from_dir, from, to_dir, to, 0) == 0)
        return unlinkat(from_dir, from, 0);
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
        return -1;
    /*
     * Neither: a file system like FAT. Between the look and the rename there is a gap that nothing can
     * close.
     */
    struct stat st;
    if (fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return errno == ENOENT ? renameat(from_dir, from, to_dir, to) : -1;
}

int temp_place(struct temp *t, int dir, const char *leaf)
{
    if (!t->name[0])
        return link_unnamed(t->fd, dir, leaf);
    if (temp_rename(t->home < 0 ? dir : t->home, t->name, dir, leaf) < 0)
        return -1;
    t->home = -1;
    t->name[0] = '\0';
    return 0;
}

/* A partial leaves its directory for the target's, where the journal leads to it. */
static int move_in(struct temp *t, int dir)
{
    struct temp to;
    make_name(to.name, sizeof to.name);
    if (temp_rename(t->home, t->name, dir, to.name) < 0)
        return -1;
    memcpy(t->name, to.name, sizeof t->name);
    t->home = -1;
    return 0;
}

int temp_give_name(struct temp *t, int dir)
{
    if (t->home >= 0)
        return move_in(t, dir);
    if (t->name[0])
        return 0;
    make_name(t->name, sizeof t->name);
    if (link_unnamed(t->fd, dir, t->name) == 0)
        return 0;
    t->name[0] = '\0';
    return -1;
}

int temp_take_away(struct temp *t, int dir, const char *leaf)
{
    t->fd = t->home = -1;
    make_name(t->name, sizeof t->name);
    if (temp_rename(dir, leaf, dir, t->name) == 0)
        return 0;
    t->name[0] = '\0';
    return -1;
}

void temp_drop(struct temp *t, int dir)
{
    int keep = errno;
    if (t->fd >= 0)
        close(t->fd);
    if (t->name[0] && t->home < 0)
        unlinkat(dir, t->name, 0);
    t->fd = t->home = -1;
    t->name[0] = '\0';
    errno = keep;
}
