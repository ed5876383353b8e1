#include "store/trash.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/temp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define VARIANTS 10000
#define COPY_SIZE (64u << 10)

struct trash {
    int state;
    const char *shown;
    struct stamp now;
    int run, text; /* descriptors of the run's directory and list; -1 before the first use */
    int parent;    /* of the last item's directory, -1 or owned */
    size_t parent_len;
    char parent_path[PATH_LEN_MAX + 1];
};

/* Puts an item under a name of dir: 0, or -1 with EEXIST or another errno. */
typedef int put_item(int from_dir, const char *from, int dir, const char *name);

struct trash *trash_new(int state, const char *shown, struct stamp now)
{
    struct trash *t = mem_alloc(sizeof *t);
    t->state = state;
    t->shown = shown;
    t->now = now;
    t->run = t->text = t->parent = -1;
    t->parent_len = 0;
    return t;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void trash_free(struct trash *t)
{
    if (!t)
        return;
    shut(&t->run);
    shut(&t->text);
    shut(&t->parent);
    free(t);
}

static void time_text(char *out, size_t size, struct stamp at, const char *format)
{
    struct tm tm;
    time_t sec = (time_t)at.sec;
    if (!gmtime_r(&sec, &tm) || strftime(out, size, format, &tm) == 0)
        snprintf(out, size, "%lld", (long long)at.sec);
}

/* A name and its list are taken together, so that they always belong together. 0, or -1 with errno. */
static int make_run(struct trash *t, int top, const char *name)
{
    char list[128];
    if (mkdirat(top, name, 0700) < 0)
        return -1;
    snprintf(list, sizeof list, "%s.txt", name);
    t->text = openat(top, list, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (t->text >= 0)
        t->run = openat(top, name, OPEN_DIR);
    if (t->run >= 0)
        return 0;
    int keep = errno;
    if (t->text >= 0)
        unlinkat(top, list, 0);
    shut(&t->text);
    unlinkat(top, name, AT_REMOVEDIR);
    errno = keep;
    return -1;
}

static int open_run(struct trash *t, struct err *e)
{
    char when[64], name[96];
    if (t->run >= 0)
        return 0;
    if (mkdirat(t->state, "trash", 0700) < 0 && errno != EEXIST)
        return err_sys(e, "%s/trash", t->shown);
    int top = openat(t->state, "trash", OPEN_DIR);
    if (top < 0)
        return err_sys(e, "%s/trash", t->shown);
    time_text(when, sizeof when, t->now, "%Y-%m-%dT%H%M%SZ");
    snprintf(name, sizeof name, "%s", when);
    int rc = make_run(t, top, name);
    for (int i = 2; rc < 0 && errno == EEXIST && i < VARIANTS; i++) {
        snprintf(name, sizeof name, "%s-%d", when, i);
        rc = make_run(t, top, name);
    }
    if (rc < 0)
        rc = err_sys(e, "%s/trash/%s", t->shown, name);
    close(top);
    return rc;
}

/* The i-th name to be tried for name: itself, then name.~2~ and so on, cut where it would be too long. */
static void variant(char out[NAME_LEN_MAX + 1], const char *name, size_t len, int i)
{
    char tail[16] = "";
    if (i > 1)
        snprintf(tail, sizeof tail, ".~%d~", i);
    size_t room = NAME_LEN_MAX - strlen(tail);
    len = len < room ? len : room;
    memcpy(out, name, len);
    memcpy(out + len, tail, strlen(tail) + 1);
}

/* Opens or makes a directory under name or a variant of it: something else may have that name by now. */
static int enter(int at, const char *name, size_t len)
{
    char part[NAME_LEN_MAX + 1];
    for (int i = 1; i < VARIANTS; i++) {
        variant(part, name, len, i);
        int fd = openat(at, part, OPEN_DIR);
        if (fd < 0 && errno == ENOENT && (mkdirat(at, part, 0700) == 0 || errno == EEXIST))
            fd = openat(at, part, OPEN_DIR);
        if (fd >= 0 || (errno != ENOTDIR && errno != ELOOP))
            return fd;
    }
    return -1;
}

/* The directory in the trash for path's parent, kept for the next item. -1 with errno. */
static int open_parent(struct trash *t, const char *path)
{
    size_t n = path_parent(path, strlen(path));
    if (t->parent >= 0 && t->parent_len == n && memcmp(t->parent_path, path, n) == 0)
        return t->parent;
    shut(&t->parent);
    int at = openat(t->run, ".", OPEN_DIR);
    for (size_t from = 0; at >= 0 && from < n;) {
        const char *slash = memchr(path + from, '/', n - from);
        size_t len = slash ? (size_t)(slash - path) - from : n - from;
        int next = enter(at, path + from, len);
        int keep = errno;
        close(at);
        errno = keep;
        at = next;
        from += len + 1;
    }
    memcpy(t->parent_path, path, n);
    t->parent_len = n;
    t->parent = at;
    return at;
}

static int write_line(struct trash *t, const char *path, const char *reason)
{
    char when[64];
    size_t size = 4 * strlen(path) + 1;
    char *shown = mem_alloc(size);
    time_text(when, sizeof when, clock_now(), "%Y-%m-%dT%H:%M:%SZ");
    char *line = mem_printf("%s\t%s\t%s\n", when, reason, path_show(shown, size, path, strlen(path)));
    int rc = file_write(t->text, line, strlen(line));
    free(line);
    free(shown);
    return rc;
}

static int put_away(struct trash *t, put_item *put, int dir, const char *name, const char *path,
                    const char *reason, struct err *e)
{
    int rc = open_run(t, e);
    if (rc < 0)
        return rc;
    int to = open_parent(t, path);
    /* The line comes first: one for an item that stayed is better than an item that nothing tells of. */
    if (to < 0 || write_line(t, path, reason) < 0)
        return err_sys(e, "cannot move it to the trash");
    size_t n = path_parent(path, strlen(path));
    const char *leaf = n ? path + n + 1 : path;
    char part[NAME_LEN_MAX + 1];
    rc = -1;
    errno = EEXIST;
    for (int i = 1; rc < 0 && errno == EEXIST && i < VARIANTS; i++) {
        variant(part, leaf, strlen(leaf), i);
        rc = put(dir, name, to, part);
    }
    return rc < 0 ? err_sys(e, "cannot move it to the trash") : 0;
}

/* ---- across file systems: a subvolume of its own in the store ---- */

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

static int move_item(int from_dir, const char *from, int dir, const char *name)
{
    int rc = temp_rename(from_dir, from, dir, name);
    return rc < 0 && errno == EXDEV ? copy_over(from_dir, from, dir, name) : rc;
}

static int link_item(int from_dir, const char *from, int dir, const char *name)
{
    return linkat(from_dir, from, dir, name, 0);
}

int trash_take(struct trash *t, int dir, const char *name, const char *path, const char *reason,
               struct err *e)
{
    return put_away(t, move_item, dir, name, path, reason, e);
}

int trash_keep(struct trash *t, int dir, const char *name, const char *path, const char *reason,
               struct err *e)
{
    struct err why = {0};
    int rc = put_away(t, link_item, dir, name, path, reason, &why);
    if (rc < 0 && (why.sys == EPERM || why.sys == EOPNOTSUPP || why.sys == EXDEV || why.sys == EMLINK ||
                   why.sys == ENOSYS))
        return 1;
    if (rc < 0 && e)
        *e = why;
    return rc;
}

int trash_open(const struct trash *t, const char *path)
{
    return t->run < 0 ? -1 : file_beneath(t->run, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
}
