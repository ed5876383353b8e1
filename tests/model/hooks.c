#include "hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

#define JUMPS 4096u
#define HIDDEN 256u
#define SECOND ((int64_t)1000000000)

/* Wrapped calls have no argument to carry this in: it has to be in the file. */
struct hooks_agent hooks_agent[HOOKS_AGENTS];

static struct {
    struct hooks_agent *self; /* in an agent; else NULL */
    struct shared {
        atomic_uint_least64_t calls[HOOKS_AGENTS];
        char name[32];
    } *shared;                /* with the agents that are forked */
    pid_t owner;              /* whose agents */
    bool driving;
    int64_t driver_ahead;
    bool coarse;              /* two changes one after the other may have one ctime here */
    size_t jumps, hidden;
    struct jump { int64_t from, add; } jump[JUMPS]; /* real nanoseconds; nanoseconds */
    struct hide { uint64_t dev, ino; int64_t real, seen; } hide[HIDDEN];
} the;

/* Weak: not every C library has all of them. */
#define REAL(type, name, ...) type __real_##name(__VA_ARGS__) __attribute__((weak)); type __wrap_##name(__VA_ARGS__)

/* ---- time ---- */

REAL(int, clock_gettime, clockid_t which, struct timespec *out);
REAL(int, fstat, int fd, struct stat *st);
REAL(int, fstat64, int fd, struct stat *st);
REAL(int, fstatat, int dir, const char *name, struct stat *st, int flags);
REAL(int, fstatat64, int dir, const char *name, struct stat *st, int flags);

static int64_t nanos(struct timespec t)
{
    return t.tv_sec * SECOND + t.tv_nsec;
}

static struct timespec timespec_of(int64_t ns)
{
    int64_t rest = ((ns % SECOND) + SECOND) % SECOND;
    return (struct timespec){(ns - rest) / SECOND, (long)rest};
}

static int64_t real_now(void)
{
    struct timespec t;
    __real_clock_gettime(CLOCK_REALTIME, &t);
    return nanos(t);
}

static int64_t world_time(int64_t real)
{
    size_t i = the.jumps;
    while (i > 0 && the.jump[i - 1].from > real)
        i--;
    return real + (i ? the.jump[i - 1].add : 0);
}

static struct timespec shown(int64_t real, int64_t ahead)
{
    return timespec_of(world_time(real) + ahead * SECOND);
}

static struct stamp stamp_of(struct timespec t)
{
    return (struct stamp){t.tv_sec, (uint32_t)t.tv_nsec};
}

struct stamp hooks_now(int64_t ahead)
{
    return stamp_of(shown(real_now(), ahead));
}

static int64_t seen_ctime(const struct stat *st)
{
    int64_t real = nanos(st->st_ctim);
    for (size_t i = the.hidden; i > 0; i--) {
        const struct hide *h = &the.hide[i - 1];
        if (h->ino == st->st_ino && h->dev == st->st_dev && h->real == real)
            return h->seen;
    }
    return real;
}

struct stamp hooks_ctime(const struct stat *st, int64_t ahead)
{
    return stamp_of(shown(seen_ctime(st), ahead));
}

void hooks_hide_change(const struct stat *before, const struct stat *after)
{
    if (the.hidden == HIDDEN)
        abort();
    the.hide[the.hidden++] = (struct hide){after->st_dev, after->st_ino, nanos(after->st_ctim), seen_ctime(before)};
}

/* Where ctimes are coarse, what is changed after this gets another one than what was changed before. */
static void next_tick(void)
{
    struct timespec from, now;
    __real_clock_gettime(CLOCK_REALTIME_COARSE, &from);
    do
        __real_clock_gettime(CLOCK_REALTIME_COARSE, &now);
    while (nanos(now) == nanos(from));
}

void hooks_jump(int64_t seconds)
{
    if (the.coarse)
        next_tick();
    if (the.jumps == JUMPS)
        abort();
    int64_t add = the.jumps ? the.jump[the.jumps - 1].add : 0;
    the.jump[the.jumps++] = (struct jump){real_now(), add + seconds * SECOND};
}

static bool is_coarse(const char *dir)
{
    char name[300];
    struct stat a, b;
    snprintf(name, sizeof name, "%s/tick.XXXXXX", dir);
    int fd = mkstemp(name);
    if (fd < 0)
        return true;
    bool coarse = false;
    for (int i = 0; i < 5; i++) {
        fstat(fd, &a);
        if (fchmod(fd, i % 2 ? 0600 : 0640) < 0)
            break;
        fstat(fd, &b);
        coarse |= nanos(a.st_ctim) == nanos(b.st_ctim);
    }
    close(fd);
    unlink(name);
    return coarse;
}

void hooks_init(const char *dir)
{
    the.jumps = the.hidden = 0;
    the.driving = false;
    memset(hooks_agent, 0, sizeof hooks_agent);
    if (the.shared && the.owner == getpid())
        return;
    the.owner = getpid();
    the.shared = mmap(NULL, sizeof *the.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (the.shared == MAP_FAILED)
        abort();
    the.coarse = is_coarse(dir);
}

int __wrap_clock_gettime(clockid_t which, struct timespec *out)
{
    int rc = __real_clock_gettime(which, out);
    if (rc == 0 && which == CLOCK_REALTIME && (the.self || the.driving))
        *out = shown(nanos(*out), the.self ? the.self->ahead : the.driver_ahead);
    return rc;
}

void hooks_drive(int64_t ahead)
{
    the.driving = true;
    the.driver_ahead = ahead;
}

static int restat(int rc, struct stat *st)
{
    if (rc == 0 && the.self)
        st->st_ctim = shown(seen_ctime(st), the.self->ahead);
    return rc;
}

int __wrap_fstat(int fd, struct stat *st) { return restat(__real_fstat(fd, st), st); }
int __wrap_fstat64(int fd, struct stat *st) { return restat(__real_fstat64(fd, st), st); }

int __wrap_fstatat(int dir, const char *name, struct stat *st, int flags)
{
    return restat(__real_fstatat(dir, name, st, flags), st);
}

int __wrap_fstatat64(int dir, const char *name, struct stat *st, int flags)
{
    return restat(__real_fstatat64(dir, name, st, flags), st);
}

/* ---- agents ---- */

int __real_agent_serve(int in, int out, const struct agent_options *options, struct err *e);
int __wrap_agent_serve(int in, int out, const struct agent_options *options, struct err *e);

int __wrap_agent_serve(int in, int out, const struct agent_options *options, struct err *e)
{
    for (size_t i = 0; i < HOOKS_AGENTS; i++)
        if (options->root && strcmp(hooks_agent[i].root, options->root) == 0)
            the.self = &hooks_agent[i];
    return __real_agent_serve(in, out, options, e);
}

uint64_t hooks_calls(unsigned agent)
{
    return the.shared->calls[agent];
}

const char *hooks_call_name(void)
{
    return the.shared->name;
}

void hooks_reset_calls(void)
{
    memset(the.shared, 0, sizeof *the.shared);
}

/* ---- faults ---- */

/* Called before each changing call: is it to fail, with errno? */
static bool fails(const char *name)
{
    if (!the.self)
        return false;
    uint64_t n = 1 + atomic_fetch_add(&the.shared->calls[the.self - hooks_agent], 1);
    if (n != the.self->at || the.self->fault == HOOKS_NONE)
        return false;
    snprintf(the.shared->name, sizeof the.shared->name, "%s", name);
    switch (the.self->fault) {
    case HOOKS_NONE:
        break;
    case HOOKS_KILL_RUN:
        while (kill(getppid(), SIGKILL) == 0)
            pause(); /* the kernel kills us when our parent is gone */
        abort(); /* a sandbox does not let us */
    case HOOKS_KILL:
        raise(SIGKILL);
        break;
    case HOOKS_EIO:
        errno = EIO;
        return true;
    case HOOKS_ENOSPC:
        errno = ENOSPC;
        return true;
    }
    return false;
}

/* What is said to the coordinator is no change. */
static bool write_fails(const char *name, int fd)
{
    struct stat st;
    int keep = errno;
    bool socket = !the.self || (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode));
    errno = keep;
    return !socket && fails(name);
}

#define HOOK(type, name, params, args) \
    type __real_##name params __attribute__((weak)); \
    type __wrap_##name params; \
    type __wrap_##name params { return fails(#name) ? -1 : __real_##name args; }

HOOK(int, fsync, (int fd), (fd))
HOOK(int, fdatasync, (int fd), (fd))
HOOK(int, syncfs, (int fd), (fd))
HOOK(int, rename, (const char *a, const char *b), (a, b))
HOOK(int, renameat, (int d, const char *a, int t, const char *b), (d, a, t, b))
HOOK(int, renameat2, (int d, const char *a, int t, const char *b, unsigned f), (d, a, t, b, f))
HOOK(int, link, (const char *a, const char *b), (a, b))
HOOK(int, linkat, (int d, const char *a, int t, const char *b, int f), (d, a, t, b, f))
HOOK(int, symlinkat, (const char *a, int d, const char *b), (a, d, b))
HOOK(int, unlink, (const char *a), (a))
HOOK(int, unlinkat, (int d, const char *a, int f), (d, a, f))
HOOK(int, mkdir, (const char *a, mode_t m), (a, m))
HOOK(int, mkdirat, (int d, const char *a, mode_t m), (d, a, m))
HOOK(int, fchmod, (int fd, mode_t m), (fd, m))
HOOK(int, fchmodat, (int d, const char *a, mode_t m, int f), (d, a, m, f))
HOOK(int, futimens, (int fd, const struct timespec t[2]), (fd, t))
HOOK(int, utimensat, (int d, const char *a, const struct timespec t[2], int f), (d, a, t, f))
HOOK(int, ftruncate, (int fd, off_t n), (fd, n))
HOOK(int, ftruncate64, (int fd, off_t n), (fd, n))

#define HOOK_WRITE(name, params, args) \
    ssize_t __real_##name params __attribute__((weak)); \
    ssize_t __wrap_##name params; \
    ssize_t __wrap_##name params { return write_fails(#name, fd) ? -1 : __real_##name args; }

struct iovec;
HOOK_WRITE(write, (int fd, const void *p, size_t n), (fd, p, n))
HOOK_WRITE(pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
HOOK_WRITE(pwrite64, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
HOOK_WRITE(writev, (int fd, const struct iovec *v, int n), (fd, v, n))

/* An open that makes something is a change too. */
#define MAKES(flags) ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE)
#define HOOK_OPEN(name) \
    int __real_##name(int d, const char *a, int flags, ...) __attribute__((weak)); \
    int __wrap_##name(int d, const char *a, int flags, ...); \
    int __wrap_##name(int d, const char *a, int flags, ...) \
    { \
        mode_t mode = 0; \
        va_list ap; \
        va_start(ap, flags); \
        if (MAKES(flags)) \
            mode = va_arg(ap, mode_t); \
        va_end(ap); \
        return MAKES(flags) && fails(#name) ? -1 : __real_##name(d, a, flags, mode); \
    }

HOOK_OPEN(openat)
HOOK_OPEN(openat64)
