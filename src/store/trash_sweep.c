#include "store/trash_sweep.h"

#include "base/clock.h"
#include "base/mem.h"
#include "store/trash_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define TICK_MS 1000
#define BLOCK 512u /* bytes that st_blocks counts in */

/* ---- trees ---- */

struct walk {
    struct trash_sweep *how;
    dev_t dev;      /* what is mounted there is not ours */
    int64_t last;   /* ms: when we last said that we live */
    struct err why; /* code 0, or the first thing that went wrong */
};

static void failed(struct walk *w, const char *name)
{
    if (w->why.code == 0)
        err_sys(&w->why, "%s", name);
}

/* False: to stop. */
static bool tick(struct walk *w)
{
    const struct store_watch *watch = w->how->watch;
    int64_t now = clock_mono_ms();
    if (!watch || now - w->last < TICK_MS)
        return true;
    w->last = now;
    int rc = watch->progress(watch->ctx, w->how->items, w->how->bytes);
    if (rc < 0)
        err_set(&w->why, rc, "the run was stopped");
    return rc >= 0;
}

static bool remove_tree(struct walk *w, int at, const char *name);

static bool remove_one(struct walk *w, int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT;
    if (S_ISDIR(st.st_mode))
        return remove_tree(w, dir, name);
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT) {
        failed(w, name);
        return false;
    }
    w->how->items += S_ISREG(st.st_mode) || S_ISLNK(st.st_mode);
    w->how->bytes += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    return true;
}

/* No deeper than a path may be, since nothing deeper gets there. True when it is gone. */
static bool remove_tree(struct walk *w, int at, const char *name)
{
    struct stat st;
    int fd = openat(at, name, OPEN_DIR);
    if (fd < 0 && errno == EACCES && fchmodat(at, name, 0700, 0) == 0)
        fd = openat(at, name, OPEN_DIR);
    DIR *d = NULL;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        if (st.st_dev == w->dev)
            d = fdopendir(fd);
        else
            errno = EXDEV;
    }
    if (!d) {
        if (errno != ENOENT)
            failed(w, name);
        if (fd >= 0)
            close(fd);
        return fd < 0 && errno == ENOENT;
    }
    bool more = true;
    for (const struct dirent *e; more && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            remove_one(w, dirfd(d), e->d_name);
            more = tick(w);
        }
    closedir(d);
    if (more && unlinkat(at, name, AT_REMOVEDIR) == 0)
        return true;
    if (more)
        failed(w, name);
    return false;
}

/* ---- runs ---- */

static void list_name(char out[TRASH_RUN_MAX + 8], const char *run)
{
    snprintf(out, TRASH_RUN_MAX + 8, "%s.txt", run);
}

/* The list goes last: a removal that is cut short is gone on with by its name. */
static void remove_run(struct walk *w, int top, const char *run)
{
    char list[TRASH_RUN_MAX + 8];
    struct stat st;
    list_name(list, run);
    bool gone = fstatat(top, run, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
    if (!gone && S_ISDIR(st.st_mode))
        gone = remove_tree(w, top, run);
    if (gone && fstatat(top, list, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && unlinkat(top, list, 0) < 0)
        failed(w, list);
}

/* When something was last put there, by this machine's clock. One that is ahead of it is set to now. */
static int64_t last_put(int top, const char *run, int64_t now)
{
    char list[TRASH_RUN_MAX + 8];
    struct stat st;
    list_name(list, run);
    const char *name = list;
    if (fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        name = run;
    if (fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return now;
    if (st.st_ctim.tv_sec <= now)
        return st.st_ctim.tv_sec;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        fchmodat(top, name, S_ISDIR(st.st_mode) ? 0700 : 0600, 0);
    return now;
}

static bool expired(const struct trash_sweep *how, int top, const struct trash_run *run)
{
    if (strcmp(run->name, how->spare) == 0)
        return false;
    if (how->older <= 0)
        return true;
    if (run->when <= how->now && how->now - run->when < how->older)
        return false;
    int64_t now = how->here ? how->here : clock_now().sec;
    return now - last_put(top, run->name, now) >= how->older;
}

int trash_sweep(struct trash_sweep *how, struct err *e)
{
    struct walk w = {.how = how, .last = clock_mono_ms()};
    struct trash_run *run = NULL;
    struct stat st;
    size_t n = 0;
    int top = how->state < 0 ? -1 : trash_list_top(how->state);
    if (top < 0)
        return how->state < 0 || errno == ENOENT ? 0 : err_sys(e, "trash");
    int rc = fstat(top, &st) < 0 ? err_sys(e, "trash") : trash_list_runs(top, &run, &n, e);
    w.dev = st.st_dev;
    for (size_t i = 0; rc == 0 && i < n && (w.why.code == 0 || w.why.code == ERR_SYS); i++)
        if (expired(how, top, run + i))
            remove_run(&w, top, run[i].name);
    free(run);
    close(top);
    if (rc == 0 && w.why.code != 0) {
        rc = w.why.code;
        if (e)
            *e = w.why;
    }
    return rc;
}

void trash_sweep_empty(int top, const char *run)
{
    struct trash_sweep how = {.state = -1};
    struct walk w = {.how = &how};
    struct stat st;
    struct trash_reader *r = trash_reader_new(top, run);
    const struct trash_record *at;
    bool any = false;
    while (r && !any && (at = trash_reader_next(r)))
        any = trash_list_look(top, run, at, &st);
    if (r && !any && fstat(top, &st) == 0) {
        w.dev = st.st_dev;
        remove_run(&w, top, run);
    }
    trash_reader_free(r);
}

/* ---- room ---- */

struct trash_room {
    int state;
    int top; /* -1: there is nothing yet */
    struct trash_run *run;
    size_t runs, at;
    struct trash_reader *reader; /* of run[at] */
};

struct trash_room *trash_room_new(int state)
{
    struct trash_room *r = mem_zalloc(sizeof *r);
    r->state = state;
    r->top = trash_list_top(state);
    if (r->top >= 0 && trash_list_runs(r->top, &r->run, &r->runs, NULL) < 0)
        r->runs = 0;
    return r;
}

void trash_room_free(struct trash_room *r)
{
    if (!r)
        return;
    trash_reader_free(r->reader);
    free(r->run);
    if (r->top >= 0)
        close(r->top);
    free(r);
}

/* Bytes that its removal gives back; -1 when it is not there or stays. */
static int64_t remove_item(struct trash_room *r, const char *run, const struct trash_record *item)
{
    struct stat st;
    const char *leaf;
    int dir = trash_list_parent(r->top, run, item, &leaf);
    int64_t freed = -1;
    if (dir >= 0 && fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode)) && unlinkat(dir, leaf, 0) == 0)
        freed = st.st_nlink > 1 ? 0 : (int64_t)st.st_blocks * BLOCK;
    if (dir >= 0)
        close(dir);
    return freed;
}

/* What is left of an older run is no item of its list. */
static void end_run(struct trash_room *r, const char *run)
{
    struct trash_sweep how = {.state = -1};
    struct walk w = {.how = &how};
    struct stat st;
    if (fstat(r->top, &st) == 0) {
        w.dev = st.st_dev;
        remove_run(&w, r->top, run);
    }
}

/* The present run may have begun to put things there since the runs were listed. */
static void add_own(struct trash_room *r, const char *own)
{
    for (size_t i = 0; i < r->runs; i++)
        if (strcmp(r->run[i].name, own) == 0)
            return;
    r->run = mem_resize(r->run, r->runs + 1, sizeof *r->run);
    snprintf(r->run[r->runs++].name, sizeof r->run->name, "%s", own);
}

/* The next item that may go; NULL when there is none in this run. */
static const struct trash_record *next_item(struct trash_room *r, const char *run, bool own, uint64_t settled)
{
    if (!r->reader)
        r->reader = trash_reader_new(r->top, run);
    if (!r->reader || (own && trash_reader_at(r->reader) >= settled))
        return NULL;
    return trash_reader_next(r->reader);
}

bool trash_room_make(struct trash_room *r, uint64_t bytes, const char *own, uint64_t settled)
{
    uint64_t freed = 0;
    bool any = false;
    if (r->top < 0 && (r->top = trash_list_top(r->state)) < 0)
        return false;
    if (own[0])
        add_own(r, own);
    while (r->at < r->runs && (!any || freed < bytes)) {
        const char *run = r->run[r->at].name;
        bool is_own = strcmp(run, own) == 0;
        const struct trash_record *item = next_item(r, run, is_own, settled);
        int64_t got = item ? remove_item(r, run, item) : -1;
        if (got >= 0) {
            any = true;
            freed += (uint64_t)got;
        }
        if (item)
            continue;
        if (is_own)
            break;
        trash_reader_free(r->reader);
        r->reader = NULL;
        end_run(r, run);
        r->at++;
    }
    return any;
}
