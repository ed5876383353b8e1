#include "store/partial.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/index.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OPEN_FILE (O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define NAME_SIZE (DIGEST_HEX_MAX + 22)
#define HELD_MAX 64u /* taken ones that are held open */

static_assert(NAME_SIZE <= sizeof ((struct temp *)0)->name, "a temp holds the name of a partial");

struct partial {
    struct digest digest;
    uint64_t size;  /* of the whole object */
    bool usable;    /* was, when the store was scanned */
    bool taken;
    int fd;         /* once it is taken; or -1 */
};

struct partials {
    int state;
    int dir;        /* -1: not there, or not usable */
    struct partial *at; /* by digest, then size; those of the scan */
    size_t n;
    size_t usable, held;
};

/* ---- names ---- */

static void make_name(char name[NAME_SIZE], const struct entry *want)
{
    digest_hex(name, &want->digest);
    size_t n = strlen(name);
    snprintf(name + n, NAME_SIZE - n, ".%" PRIu64, want->size);
}

bool partial_parse(const char *name, struct digest *d, uint64_t *size)
{
    size_t n = digest_parse(name, d);
    const char *p = name + n;
    if (n == 0 || *p++ != '.' || *p < '1' || *p > '9')
        return false;
    for (*size = 0; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (*size > (ENTRY_SIZE_MAX - digit) / 10)
            return false;
        *size = *size * 10 + digit;
    }
    return *p == '\0';
}

/* ---- what is there ---- */

/* Nobody but us may have made it, and writing to it must change nothing else. */
static bool is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1;
}

static bool is_usable(const struct stat *st, uint64_t size)
{
    return is_ours(st) && (uint64_t)st->st_size >= PARTIAL_WORTH && (uint64_t)st->st_size <= size;
}

static int compare(const void *a, const void *b)
{
    const struct partial *x = a, *y = b;
    int c = digest_cmp(&x->digest, &y->digest);
    return c ? c : (x->size > y->size) - (x->size < y->size);
}

static DIR *list(int dir)
{
    int fd = dir < 0 ? -1 : openat(dir, ".", OPEN_DIR);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0)
        close(fd);
    return d;
}

static void read_names(struct partials *p)
{
    DIR *d = list(p->dir);
    const struct dirent *at;
    struct partial one = {.fd = -1};
    struct stat st;
    while (d && (at = readdir(d))) {
        if (!partial_parse(at->d_name, &one.digest, &one.size))
            continue;
        one.usable = fstatat(p->dir, at->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_usable(&st, one.size);
        p->usable += one.usable;
        p->at = mem_resize(p->at, p->n + 1, sizeof *p->at);
        p->at[p->n++] = one;
    }
    if (d)
        closedir(d);
    if (p->n > 1)
        qsort(p->at, p->n, sizeof *p->at, compare);
}

struct partials *partial_new(int state)
{
    struct partials *p = mem_zalloc(sizeof *p);
    p->state = state;
    p->dir = state < 0 ? -1 : openat(state, PARTIAL_DIR, OPEN_DIR);
    read_names(p);
    return p;
}

void partial_free(struct partials *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        if (p->at[i].fd >= 0)
            close(p->at[i].fd);
    if (p->dir >= 0)
        close(p->dir);
    free(p->at);
    free(p);
}

size_t partial_count(const struct partials *p)
{
    return p->usable;
}

/* The first that is not before this digest and size. */
static size_t first_at(const struct partials *p, const struct digest *d, uint64_t size)
{
    const struct partial want = {.digest = *d, .size = size};
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(p->at + mid, &want) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool partial_have(const struct partials *p, const struct digest *d)
{
    for (size_t i = first_at(p, d, 0); i < p->n && digest_same(&p->at[i].digest, d); i++)
        if (p->at[i].usable)
            return true;
    return false;
}

static struct partial *find(const struct partials *p, const struct entry *want)
{
    size_t i = first_at(p, &want->digest, want->size);
    bool hit = i < p->n && p->at[i].size == want->size && digest_same(&p->at[i].digest, &want->digest);
    return hit ? p->at + i : NULL;
}

/* ---- use ---- */

/* A descriptor, and what it is; -1 when there is nothing that we could have left. */
static int open_ours(const struct partials *p, const char *name, int flags, struct stat *st)
{
    int fd = openat(p->dir, name, flags | OPEN_FILE);
    if (fd < 0 || (fstat(fd, st) == 0 && is_ours(st)))
        return fd;
    close(fd);
    return -1;
}

bool partial_read(const struct partials *p, const struct entry *want, int *fd, uint64_t *size)
{
    char name[NAME_SIZE];
    struct stat st;
    const struct partial *x = find(p, want);
    if (!x || !x->usable || x->taken)
        return false;
    make_name(name, want);
    *fd = open_ours(p, name, O_RDONLY, &st);
    if (*fd >= 0 && is_usable(&st, want->size)) {
        *size = (uint64_t)st.st_size;
        return true;
    }
    if (*fd >= 0)
        close(*fd);
    return false;
}

static bool same_attribute(int a, int b, const char *name)
{
    char x[1024], y[1024];
    ssize_t n = fgetxattr(a, name, x, sizeof x);
    bool long_one = n < 0 && errno == ERANGE;
    ssize_t k = fgetxattr(b, name, y, sizeof y);
    long_one |= k < 0 && errno == ERANGE;
    return !long_one && n == k && (n < 0 || memcmp(x, y, (size_t)n) == 0);
}

/*
 * A file inherits from the directory that it is made in, and keeps that when it is moved: group, access list,
 * security label. In parent it has to look as if it had been made there.
 */
static bool inherits_alike(const struct partials *p, int fd, int parent)
{
    struct stat st, up;
    if (!same_attribute(p->dir, parent, "system.posix_acl_default") ||
        !same_attribute(p->dir, parent, "security.selinux") || fstat(fd, &st) < 0 || fstat(parent, &up) < 0)
        return false;
    gid_t gid = up.st_mode & S_ISGID ? up.st_gid : getegid();
    return st.st_gid == gid || fchown(fd, (uid_t)-1, gid) == 0;
}

static bool open_dir(struct partials *p)
{
    if (p->dir < 0 && p->state >= 0 && (mkdirat(p->state, PARTIAL_DIR, 0700) == 0 || errno == EEXIST))
        p->dir = openat(p->state, PARTIAL_DIR, OPEN_DIR);
    return p->dir >= 0;
}

/* One that became whole has its object's mode, which may shut us out. */
static void let_us_in(const struct partials *p, const char *name)
{
    struct stat st;
    int fd = open_ours(p, name, O_PATH, &st);
    if (fd < 0)
        return;
    file_chmod(fd, 0600);
    close(fd);
}

/* What an earlier run left. -1: nothing, and then the name is free. */
static int open_left(const struct partials *p, const char *name, uint64_t size, uint64_t *found)
{
    struct stat st;
    let_us_in(p, name);
    int fd = open_ours(p, name, O_RDWR, &st);
    if (fd >= 0 && (uint64_t)st.st_size <= size) {
        *found = (uint64_t)st.st_size;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    unlinkat(p->dir, name, 0);
    return -1;
}

/* For another object with the same content, which may have been promised to the same source. */
static void hold(struct partials *p, struct partial *x, int fd)
{
    x->taken = true;
    if (fd >= 0 && p->held < HELD_MAX && (x->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) >= 0)
        p->held++;
}

bool partial_take(struct partials *p, const struct entry *want, int parent, struct temp *t, uint64_t *found)
{
    struct partial *x = find(p, want);
    *t = (struct temp){.fd = -1, .home = -1};
    *found = 0;
    if ((x && x->taken) || !open_dir(p))
        return false;
    make_name(t->name, want);
    if (x) {
        t->fd = open_left(p, t->name, want->size, found);
        hold(p, x, t->fd);
    }
    if (t->fd < 0)
        t->fd = openat(p->dir, t->name, O_RDWR | O_CREAT | O_EXCL | OPEN_FILE, 0600);
    t->home = p->dir;
    if (t->fd >= 0 && inherits_alike(p, t->fd, parent))
        return true;
    if (t->fd >= 0)
        partial_drop(t, true);
    return false;
}

int partial_taken(const struct partials *p, const struct entry *want)
{
    const struct partial *x = find(p, want);
    return x ? x->fd : -1;
}

void partial_drop(struct temp *t, bool keep)
{
    struct stat st;
    if (!keep || fstat(t->fd, &st) < 0 || (uint64_t)st.st_size < PARTIAL_WORTH)
        unlinkat(t->home, t->name, 0);
    close(t->fd);
    *t = (struct temp){.fd = -1, .home = -1};
}

/* ---- the end of a run ---- */

/* The index is made when the first partial asks for it. */
static bool is_held(int manifest, struct index **x, const struct digest *d)
{
    struct err ignored;
    bool yes = false;
    if (!*x && manifest >= 0)
        *x = index_new(manifest, &ignored);
    return *x && index_have(*x, d, 1, &yes, &ignored) == 0 && yes;
}

/* By ctime: one that is whole may have its object's mtime. */
static bool is_old(const struct stat *st, struct stamp now)
{
    return st->st_ctim.tv_sec < now.sec - PARTIAL_DAYS * 86400;
}

void partial_sweep(struct partials *p, int manifest)
{
    struct index *x = NULL;
    struct digest digest;
    struct stat st;
    uint64_t size;
    const struct dirent *at;
    struct stamp now = clock_now();
    DIR *d = list(p->dir);
    while (d && (at = readdir(d)))
        if (partial_parse(at->d_name, &digest, &size) &&
            fstatat(p->dir, at->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            (!is_usable(&st, size) || is_old(&st, now) || is_held(manifest, &x, &digest)))
            unlinkat(p->dir, at->d_name, 0);
    if (d && closedir(d) == 0)
        unlinkat(p->state, PARTIAL_DIR, AT_REMOVEDIR); /* if it is empty */
    index_free(x);
}
