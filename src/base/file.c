#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)256 << 10) /* at a time */

/* One component after the other, none of them a symlink: what openat2 does for us where it exists. */
static int walk_beneath(int root, const char *path, int flags, mode_t mode)
{
    char part[NAME_LEN_MAX + 1];
    int at = root;
    for (const char *p = path;;) {
        const char *slash = strchr(p, '/');
        size_t n = slash ? (size_t)(slash - p) : strlen(p);
        int fd = -1;
        if (n == 0 || n > NAME_LEN_MAX || (n == 2 && p[0] == '.' && p[1] == '.')) {
            errno = n > NAME_LEN_MAX ? ENAMETOOLONG : EXDEV;
        } else {
            memcpy(part, p, n);
            part[n] = '\0';
            fd = openat(at, part, slash ? O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC : flags, mode);
        }
        if (at != root) {
            int keep = errno;
            close(at);
            errno = keep;
        }
        if (fd < 0 || !slash)
            return fd;
        at = fd;
        p = slash + 1;
    }
}

int file_beneath(int root, const char *path, int flags, mode_t mode)
{
    flags |= O_CLOEXEC | O_NOFOLLOW;
    if (path[0] == '\0')
        return openat(root, ".", flags, mode);
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    for (int tries = 0; tries < 8; tries++) {
        long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno == ENOSYS || errno == EPERM)
            return walk_beneath(root, path, flags, mode);
        if (errno != EAGAIN && errno != EINTR)
            return -1; /* EAGAIN: a rename crossed our way; ask again */
    }
    return -1;
}

void file_dirs_init(struct file_dirs *d, int root)
{
    d->root = root;
    d->fd = -1;
    d->len = 0;
}

void file_dirs_close(struct file_dirs *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

int file_dirs_parent(struct file_dirs *d, const char *path, size_t len, const char **leaf)
{
    size_t n = path_parent(path, len);
    *leaf = n ? path + n + 1 : path;
    if (d->fd >= 0 && d->len == n && memcmp(d->dir, path, n) == 0)
        return d->fd;
    file_dirs_close(d);
    if (n > PATH_LEN_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(d->dir, path, n);
    d->dir[n] = '\0';
    d->len = n;
    d->fd = file_beneath(d->root, d->dir, O_RDONLY | O_DIRECTORY, 0);
    return d->fd;
}

unsigned file_raise_limit(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return 256;
    if (lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
        getrlimit(RLIMIT_NOFILE, &lim);
    }
    return lim.rlim_cur > 1u << 20 ? 1u << 20 : (unsigned)lim.rlim_cur;
}

char *file_parent(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    return n ? mem_strndup(path, n) : mem_strdup(".");
}

/* at < 0: from the descriptor's own place on. */
static ssize_t read_all(int fd, void *buf, size_t n, off_t at)
{
    size_t got = 0;
    while (got < n) {
        char *to = (char *)buf + got;
        ssize_t k = at < 0 ? read(fd, to, n - got) : pread(fd, to, n - got, at + (off_t)got);
        if (k == 0)
            break;
        if (k < 0 && errno != EINTR)
            return -1;
        if (k > 0)
            got += (size_t)k;
    }
    return (ssize_t)got;
}

ssize_t file_read_once(int fd, void *buf, size_t n)
{
    ssize_t got;
    do
        got = read(fd, buf, n);
    while (got < 0 && errno == EINTR);
    return got;
}

ssize_t file_read(int fd, void *buf, size_t n)
{
    return read_all(fd, buf, n, -1);
}

ssize_t file_pread(int fd, void *buf, size_t n, off_t at)
{
    return read_all(fd, buf, n, at);
}

int file_write(int fd, const void *buf, size_t n)
{
    const char *p = buf;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno != EINTR)
            return -1;
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        }
    }
    return 0;
}

int file_copy(int to, int from)
{
    char *piece = mem_alloc(COPY_BYTES);
    off_t at = 0;
    ssize_t n;
    while ((n = file_pread(from, piece, COPY_BYTES, at)) > 0 && file_write(to, piece, (size_t)n) == 0)
        at += n;
    free(piece);
    return n == 0 ? 0 : -1;
}

int file_beneath_dir(int root, const char *path)
{
    int fd = file_beneath(root, path, O_RDONLY | O_DIRECTORY, 0);
    return fd < 0 && errno == EACCES ? file_beneath(root, path, O_PATH | O_DIRECTORY, 0) : fd;
}

int file_chmod(int fd, mode_t mode)
{
    char path[32];
    int rc = fchmod(fd, mode);
    if (rc == 0 || errno != EBADF)
        return rc;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return chmod(path, mode);
}

int file_clone(int to, int from)
{
    return ioctl(to, FICLONE, from);
}

int file_unnamed(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    char *name = mem_printf("%s/%stmp.XXXXXX", dir, PATH_TEMP);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    free(name);
    return fd;
}

char *file_slurp(int dirfd, const char *name, size_t max, size_t *len, struct err *e)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        err_sys(e, "%s", name);
        return NULL;
    }
    struct stat st;
    char *text = mem_alloc(max + 1);
    ssize_t n = -1;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
        err_set(e, ERR_FORMAT, "%s: not a regular file", name);
    else if ((n = file_read(fd, text, max + 1)) < 0)
        err_sys(e, "%s", name);
    else if ((size_t)n > max)
        n = err_set(e, ERR_FORMAT, "%s: larger than %zu bytes", name, max);
    close(fd);
    if (n < 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    *len = (size_t)n;
    return text;
}

int file_replace(int dirfd, const char *name, const void *p, size_t n, bool sync, struct err *e)
{
    char temp[NAME_LEN_MAX + 1];
    snprintf(temp, sizeof temp, "%s.new", name);
    unlinkat(dirfd, temp, 0);
    int fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_sys(e, "%s", temp);
    int rc = 0;
    if (file_write(fd, p, n) < 0 || (sync && fdatasync(fd) < 0))
        rc = err_sys(e, "%s", temp);
    close(fd);
    if (rc == 0 && renameat(dirfd, temp, dirfd, name) < 0)
        rc = err_sys(e, "%s", name);
    if (rc == 0 && sync && fsync(dirfd) < 0)
        rc = err_sys(e, "%s", name);
    if (rc < 0)
        unlinkat(dirfd, temp, 0);
    return rc;
}
