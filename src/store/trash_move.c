#include "store/trash_move.h"

#include "base/file.h"
#include "base/mem.h"
#include "object/entry.h"
#include "store/temp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_SIZE (64u << 10)

static int copy_bytes(int to, int from)
{
    uint8_t *buf = mem_alloc(COPY_SIZE);
    ssize_t n;
    int rc = 0;
    while (rc == 0 && (n = file_read(from, buf, COPY_SIZE)) != 0)
        rc = n < 0 ? -1 : file_write(to, buf, (size_t)n);
    free(buf);
    return rc;
}

/* Reads both again: what is removed afterwards must be what is kept. */
static int same_bytes(int a, int b)
{
    uint8_t *x = mem_alloc(COPY_SIZE), *y = mem_alloc(COPY_SIZE);
    ssize_t n = -1, k = -1;
    off_t at = 0;
    do {
        n = file_pread(a, x, COPY_SIZE, at);
        k = file_pread(b, y, COPY_SIZE, at);
        at += COPY_SIZE;
    } while (n > 0 && n == k && memcmp(x, y, (size_t)n) == 0);
    bool same = n == 0 && k == 0;
    free(x);
    free(y);
    if (!same && n >= 0 && k >= 0)
        errno = EBUSY;
    return same ? 0 : -1;
}

static int copy_file(int from, const struct stat *st, int dir, const char *name)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    int to = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0)
        return -1;
    int rc = copy_bytes(to, from);
    if (rc == 0 && (fchmod(to, st->st_mode & 0777) < 0 || futimens(to, times) < 0 || fsync(to) < 0))
        rc = -1;
    if (rc == 0)
        rc = same_bytes(from, to);
    int keep = errno;
    close(to);
    if (rc < 0)
        unlinkat(dir, name, 0);
    errno = keep;
    return rc;
}

static int copy_link(int from_dir, const char *from, const struct stat *st, int dir, const char *name)
{
    char target[ENTRY_TARGET_MAX + 2];
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    ssize_t n = readlinkat(from_dir, from, target, sizeof target - 1);
    if (n < 0)
        return -1;
    target[n] = '\0';
    if (symlinkat(target, dir, name) < 0)
        return -1;
    utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int copy_over(int from_dir, const char *from, int dir, const char *name)
{
    struct stat st;
    if (fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    int rc = -1;
    if (S_ISLNK(st.st_mode)) {
        rc = copy_link(from_dir, from, &st, dir, name);
    } else {
        int fd = openat(from_dir, from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
            errno = EINVAL;
        else if (fd >= 0)
            rc = copy_file(fd, &st, dir, name);
        int keep = errno;
        if (fd >= 0)
            close(fd);
        errno = keep;
    }
    return rc < 0 ? -1 : unlinkat(from_dir, from, 0);
}

int trash_move(int from_dir, const char *from, int dir, const char *name)
{
    int rc = temp_rename(from_dir, from, dir, name);
    return rc < 0 && errno == EXDEV ? copy_over(from_dir, from, dir, name) : rc;
}
