#include "run/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/home.h"
#include "base/mem.h"
#include "base/path.h"
#include "object/parents.h"

struct cache {
    char *dir, *name, *temp; /* the temp is what is being recorded */
    int at;                  /* the directory; -1: not open */
    struct uuid id;
    enum digest_algo hash;
    bool write;
    bool spoiled;            /* what is on the disk is not to be looked at again */
    int fd;                  /* what was found, or kept; -1: nothing */
    struct manifest_totals totals; /* of that */
    int new;                 /* the temp; -1: none */
    struct manifest_writer *writer; /* to it */
    bool troubled;
    struct err trouble;      /* the first */
};

/* ---- where ---- */

char *cache_dir(const char *given)
{
    return given ? mem_strdup(given) : home_place("XDG_CACHE_HOME", ".cache");
}

struct cache *cache_new(const char *dir, const struct uuid *id, const char *where, enum digest_algo hash, bool write)
{
    char text[37];
    struct cache *c = mem_zalloc(sizeof *c);
    c->dir = mem_strdup(dir);
    c->name = mem_printf("%s-%016" PRIx64 ".manifest", uuid_text(text, id), digest_check(where, strlen(where)));
    c->temp = mem_printf("%s.new", c->name);
    c->id = *id;
    c->hash = hash;
    c->write = write;
    c->at = c->fd = c->new = -1;
    return c;
}

static void trouble(struct cache *c, const struct err *e)
{
    if (!c->troubled)
        c->trouble = *e;
    c->troubled = true;
}

static void sys_trouble(struct cache *c, const char *what)
{
    struct err e;
    err_sys(&e, "%s%s%s", c->dir, *what ? "/" : "", what);
    trouble(c, &e);
}

const char *cache_trouble(const struct cache *c)
{
    return c->troubled ? c->trouble.msg : NULL;
}

/* The last two levels of it, as far as they are missing: "~/.cache", too, may not be there yet. */
static void make_dir(const char *dir)
{
    size_t n = path_parent(dir, strlen(dir));
    char *above = mem_strndup(dir, n);
    if (n > 0)
        mkdir(above, 0700);
    mkdir(dir, 0700);
    free(above);
}

/* A directory that others can write to could hand us a file of their making under the right name. */
static bool open_dir(struct cache *c, bool make)
{
    struct stat st;
    if (c->at >= 0)
        return true;
    if (make)
        make_dir(c->dir);
    int fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        if (make || errno != ENOENT)
            sys_trouble(c, "");
    } else if (st.st_uid != geteuid() || (st.st_mode & 022)) {
        struct err e;
        err_set(&e, ERR_GUARD, "%s: is not ours, or others may write to it: not used", c->dir);
        trouble(c, &e);
    } else {
        c->at = fd;
        return true;
    }
    if (fd >= 0)
        close(fd);
    return false;
}

/* ---- what is being recorded ---- */

static void stop(struct cache *c)
{
    manifest_writer_free(c->writer);
    c->writer = NULL;
    if (c->new >= 0) {
        close(c->new);
        unlinkat(c->at, c->temp, 0);
    }
    c->new = -1;
}

static void forget(struct cache *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    stop(c);
    forget(c);
    if (c->at >= 0)
        close(c->at);
    free(c->dir);
    free(c->name);
    free(c->temp);
    free(c);
}

void cache_begin(struct cache *c)
{
    const struct manifest_head head = {.algo = c->hash, .store = c->id};
    stop(c);
    if (!c->write || !open_dir(c, true))
        return;
    unlinkat(c->at, c->temp, 0); /* of a run that was killed */
    c->new = openat(c->at, c->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (c->new < 0)
        sys_trouble(c, c->temp);
    else
        c->writer = manifest_writer_new(c->new, &head);
}

/* What was written is of no use any more. */
static void fail(struct cache *c, struct err *e)
{
    err_wrap(e, "%s/%s", c->dir, c->temp);
    trouble(c, e);
    stop(c);
}

void cache_put(struct cache *c, const struct entry *e)
{
    struct err why;
    if (c->writer && manifest_writer_put(c->writer, e, &why) < 0)
        fail(c, &why);
}

static bool same(const struct manifest_totals *a, const struct manifest_totals *b)
{
    return a->entries == b->entries && digest_same(&a->shared, &b->shared);
}

void cache_keep(struct cache *c, const struct manifest_totals *totals)
{
    struct manifest_totals got;
    struct err why;
    if (!c->writer)
        return;
    if (manifest_writer_end(c->writer, &got, &why) < 0) {
        fail(c, &why);
        return;
    }
    if (!same(&got, totals)) {
        stop(c);
        return;
    }
    if (renameat(c->at, c->temp, c->at, c->name) < 0) {
        sys_trouble(c, c->name);
        stop(c);
        return;
    }
    forget(c);
    c->fd = c->new;
    c->new = -1;
    c->totals = got;
    c->spoiled = false;
    stop(c);
}

/* ---- what is kept ---- */

/* All of it, since a digest is a promise to have every entry. */
static int read_through(struct cache *c, struct err *err)
{
    struct manifest_head head;
    const struct entry *e;
    struct manifest_reader *r = manifest_reader_new(c->fd, &head, err);
    int rc = r ? 1 : -1;
    if (r && (!uuid_same(&head.store, &c->id) || head.algo != c->hash))
        rc = -1;
    while (rc > 0)
        rc = manifest_reader_next(r, &e, err);
    if (rc == 0)
        rc = manifest_file_totals(c->fd, &c->totals, err);
    manifest_reader_free(r);
    return rc;
}

void cache_spoil(struct cache *c)
{
    forget(c);
    c->spoiled = true;
    if (c->write && c->at >= 0)
        unlinkat(c->at, c->name, 0);
}

bool cache_find(struct cache *c, struct manifest_totals *totals)
{
    struct err why;
    struct stat st;
    stop(c);
    forget(c);
    if (c->spoiled || !open_dir(c, false))
        return false;
    c->fd = openat(c->at, c->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (c->fd < 0 && errno == ENOENT)
        return false;
    if (c->fd < 0 || fstat(c->fd, &st) < 0 || !S_ISREG(st.st_mode) || read_through(c, &why) < 0) {
        cache_spoil(c);
        return false;
    }
    *totals = c->totals;
    return true;
}

struct manifest_reader *cache_read(struct cache *c, struct err *err)
{
    struct manifest_head head;
    return manifest_reader_new(c->fd, &head, err);
}

/* ---- after a commit ---- */

/* What a store makes of its manifest when it commits (store/fold.c), done again from what we know of it. */
struct advance {
    struct cache *c;
    struct manifest_reader *reader;
    struct plan_cursor *cursor;
    unsigned member;
    const struct entry *old;      /* next of the manifest; NULL at its end */
    const struct plan_step *step; /* next of the plan that concerns the member; NULL at its end */
    enum plan_need need;          /* in it */
    struct entry now;
    struct parents parents;
};

static int next_old(struct advance *a, struct err *err)
{
    int rc = manifest_reader_next(a->reader, &a->old, err);
    if (rc == 0)
        a->old = NULL;
    return rc < 0 ? rc : 0;
}

static int next_step(struct advance *a, struct err *err)
{
    int rc;
    while ((rc = plan_cursor_next(a->cursor, &a->step, err)) > 0)
        for (unsigned i = 0; i < a->step->targets; i++)
            if (a->step->target[i].member == a->member && !a->step->target[i].later) {
                a->need = (enum plan_need)a->step->target[i].need;
                return 0;
            }
    a->step = NULL;
    return rc;
}

static void put(struct advance *a, const struct entry *e)
{
    if (parents_pass(&a->parents, e))
        cache_put(a->c, e);
}

/* Flags do not travel: those of content that the member had before stay. */
static void put_step(struct advance *a, bool had)
{
    entry_copy(&a->now, &a->step->entry);
    a->now.place = (struct entry_place){0};
    a->now.flags = had && a->need != NEED_CONTENT && a->now.kind != ENTRY_GONE ? a->old->flags & ENTRY_DAMAGED : 0;
    put(a, &a->now);
}

static int merge(struct advance *a, struct err *err)
{
    int rc = next_old(a, err);
    if (rc == 0)
        rc = next_step(a, err);
    while (rc == 0 && a->c->writer && (a->old || a->step)) {
        const struct entry *new = a->step ? &a->step->entry : NULL;
        int cmp = !a->old ? 1 : !new ? -1 : path_cmp(a->old->path, a->old->path_len, new->path, new->path_len);
        if (cmp < 0)
            put(a, a->old);
        else if (a->need != NEED_PRUNE)
            put_step(a, cmp == 0);
        if (cmp <= 0)
            rc = next_old(a, err);
        if (rc == 0 && cmp >= 0)
            rc = next_step(a, err);
    }
    return rc;
}

void cache_advance(struct cache *c, struct plan *plan, unsigned member)
{
    struct err why;
    if (c->fd < 0 || !c->write || plan_totals(plan)->ops[member] == 0)
        return;
    struct advance *a = mem_zalloc(sizeof *a);
    *a = (struct advance){.c = c, .member = member, .reader = cache_read(c, &why)};
    if (a->reader) {
        a->cursor = plan_cursor_new_by_path(plan);
        cache_begin(c);
        if (merge(a, &why) < 0)
            stop(c);
        plan_cursor_free(a->cursor);
    }
    manifest_reader_free(a->reader);
    free(a);
}
