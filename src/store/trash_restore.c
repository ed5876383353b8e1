#include "store/trash_restore.h"

#include "base/file.h"
#include "base/mem.h"
#include "store/trash_list.h"
#include "store/trash_move.h"
#include "store/trash_sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESTORED_OVER "restored over"

static int check_path(const struct trash_restore *how, const char *path, struct err *e)
{
    size_t n = strlen(path);
    const char *no = how->forbidden;
    int rc = path_check(path, n, e);
    if (rc < 0)
        return err_wrap(e, "it cannot be put back by its name");
    if (no && (strcmp(path, no) == 0 || path_below(path, n, no, strlen(no))))
        return err_set(e, ERR_FORMAT, "is where the state of this store is kept");
    return 0;
}

/* The directory of the first n bytes of path: made where it is missing, never by way of a symlink. -1 with errno. */
static int make_parent(int root, const char *path, size_t n)
{
    char *part = mem_strndup(path, n);
    int fd = file_beneath(root, part, O_RDONLY | O_DIRECTORY, 0);
    for (size_t at = 0; fd < 0 && errno == ENOENT && at < n; at++) {
        const char *slash = memchr(part + at, '/', n - at);
        at = slash ? (size_t)(slash - part) : n;
        part[at] = '\0';
        size_t up = path_parent(part, at);
        char *parent = mem_strndup(part, up);
        int dir = file_beneath(root, parent, O_RDONLY | O_DIRECTORY, 0);
        free(parent);
        int rc = dir < 0 ? -1 : mkdirat(dir, up ? part + up + 1 : part, 0777);
        if (rc < 0 && errno == EEXIST)
            rc = 0;
        int keep = errno;
        if (dir >= 0)
            close(dir);
        errno = keep;
        if (rc < 0)
            break;
        if (at < n) {
            part[at] = '/';
            errno = ENOENT; /* go on */
        } else {
            fd = file_beneath(root, part, O_RDONLY | O_DIRECTORY, 0);
        }
    }
    free(part);
    return fd;
}

static int open_target(const struct trash_restore *how, const char *path, struct err *e)
{
    int fd = make_parent(how->root, path, path_parent(path, strlen(path)));
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return err_set(e, ERR_CHANGED, "what leads to it is no directory any more");
    if (fd < 0)
        return err_sys(e, "its directory");
    return fd;
}

/* What stands there goes to the trash; an empty directory just goes. */
static int make_way(const struct trash_restore *how, int dir, const char *leaf, const char *path,
                    const struct stat *item, struct err *e)
{
    struct stat st;
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, "what stands there");
    if (how->no_delete && (st.st_mode & S_IFMT) != (item->st_mode & S_IFMT))
        return err_set(e, ERR_DENIED, STORE_SAYS_NO_DELETE);
    if (S_ISDIR(st.st_mode)) {
        if (unlinkat(dir, leaf, AT_REMOVEDIR) == 0)
            return 0;
        return errno == ENOTEMPTY || errno == EEXIST ?
               err_set(e, ERR_CHANGED, "a directory that is not empty stands in its place") :
               err_sys(e, "the directory in its place");
    }
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return err_set(e, ERR_CHANGED, "what stands in its place is no file, symlink or directory");
    return trash_take(how->trash, dir, leaf, path, RESTORED_OVER, e);
}

static int put_back(const struct trash_restore *how, int from, const char *name, const struct trash_record *item,
                    struct err *e)
{
    struct stat st;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)))
        return err_set(e, ERR_CHANGED, "is not in the trash any more");
    int rc = check_path(how, item->path, e);
    if (rc < 0)
        return rc;
    int dir = open_target(how, item->path, e);
    if (dir < 0)
        return dir;
    size_t n = path_parent(item->path, strlen(item->path));
    const char *leaf = n ? item->path + n + 1 : item->path;
    rc = make_way(how, dir, leaf, item->path, &st, e);
    if (rc == 0 && trash_move(from, name, dir, leaf) < 0)
        rc = err_sys(e, "cannot put it in place");
    if (rc == 0 && how->sync && syncfs(dir) < 0)
        rc = err_sys(e, "sync of the store");
    close(dir);
    return rc;
}

/* Only what its list says is brought back: an id names nothing else. */
static int find_and_put(const struct trash_restore *how, int top, const char *run, uint64_t id, struct err *e)
{
    struct trash_reader *r = trash_reader_new(top, run);
    const struct trash_record *item = NULL;
    const char *leaf;
    while (r && (item = trash_reader_next(r)) && trash_record_id(how->store, run, item->place) != id)
        ;
    int from = item ? trash_list_parent(top, run, item, &leaf) : -1;
    int rc = from < 0 ? err_set(e, ERR_CHANGED, "is not in the trash any more") : put_back(how, from, leaf, item, e);
    if (from >= 0)
        close(from);
    trash_reader_free(r);
    return rc;
}

int trash_restore(const struct trash_restore *how, const char *run, uint64_t id, struct err *e)
{
    int64_t when;
    unsigned n;
    if (!trash_record_parse_run(run, strlen(run), &when, &n))
        return err_set(e, ERR_FORMAT, "no run has such a name");
    int top = trash_list_top(how->state);
    if (top < 0)
        return err_set(e, ERR_CHANGED, "is not in the trash any more");
    int rc = find_and_put(how, top, run, id, e);
    if (rc == 0)
        trash_sweep_empty(top, run);
    close(top);
    return rc;
}
