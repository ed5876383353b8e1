#include "store/scan_out.h"

#include "base/mem.h"
#include "base/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 200

static int missed(void *ctx, const struct history_at *at);
static int pass_on(struct scan_out *o);

void scan_out_init(struct scan_out *o, const struct scan_args *args, struct manifest_writer *writer,
                   struct store_scan *report, struct scan_found *found, struct err *e)
{
    o->args = args;
    o->judge = (struct scan_judge){args->self, history_floor(args->history), args->now, args->checksum, args->hash,
                                   args->absence, args->part, args->parts};
    o->found = found;
    *found = (struct scan_found){0};
    history_on_missed(args->history, missed, o);
    o->writer = writer;
    o->report = report;
    o->e = e;
    o->batch = o->ahead = NULL;
    o->pool = NULL;
    o->objects = o->bytes = 0;
    o->files = false;
    o->ticked = clock_mono_ms();
    o->dev = NULL;
    o->devs = 0;
}

void scan_out_end(struct scan_out *o)
{
    history_on_missed(o->args->history, NULL, NULL);
    scan_hash_free(o->pool);
    scan_batch_free(o->batch);
    scan_batch_free(o->ahead);
    free(o->dev);
}

/* Is it the disk, or the way to it, and not the object? */
static bool is_sickness(int sys)
{
    static const int all[] = {EIO, ESTALE, ENXIO, ENODEV, EREMOTEIO, EUCLEAN, EBADMSG, ENOMEDIUM, ENOTCONN, ENOLINK,
                              ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH, ESHUTDOWN, ECONNABORTED, ECONNRESET};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (sys == all[i])
            return true;
    return false;
}

void scan_out_problem(struct scan_out *o, const char *path, const char *text, int sys)
{
    struct err why;
    errno = sys;
    if (sys)
        err_sys(&why, "%s", text);
    o->args->watch->problem(o->args->watch->ctx, true, path, sys ? why.msg : text);
    o->report->problems++;
    o->found->sick |= is_sickness(sys);
}

static bool was_in(const struct scan_out *o, uint64_t dev)
{
    for (size_t i = o->devs; i > 0; i--)
        if (o->dev[i - 1] == dev)
            return true;
    return false;
}

void scan_out_enters(struct scan_out *o, uint64_t dev)
{
    if (was_in(o, dev))
        return;
    o->dev = mem_resize(o->dev, o->devs + 1, sizeof *o->dev);
    o->dev[o->devs++] = dev;
}

int scan_out_tick(struct scan_out *o)
{
    int64_t now = clock_mono_ms();
    if (now - o->ticked < TICK_MS)
        return 0;
    o->ticked = now;
    int rc = o->args->watch->progress(o->args->watch->ctx, o->objects, o->bytes);
    return rc < 0 ? err_set(o->e, rc, "the scan was stopped") : 0;
}

static int tick_hashing(void *ctx, uint64_t bytes)
{
    struct scan_out *o = ctx;
    o->bytes = bytes;
    return scan_out_tick(o);
}

/* ---- into the manifest ---- */

/* What the report says of content as a whole. What nobody offers does not count. */
static void survey(struct scan_out *o, const struct entry *e)
{
    struct store_scan *r = o->report;
    if (e->flags & ENTRY_HIDDEN)
        return;
    r->damaged += (e->flags & ENTRY_DAMAGED) != 0;
    if (e->kind != ENTRY_FILE)
        return;
    if (!o->files || e->place.verified < r->verified)
        r->verified = e->place.verified;
    o->files = true;
}

/* What the format does not allow is left out, and told. */
static int write_entry(struct scan_out *o, const struct entry *e)
{
    struct err why;
    if (o->args->renames)
        renames_seen(o->args->renames, e);
    int rc = manifest_writer_put(o->writer, e, &why);
    o->found->objects += e->kind == ENTRY_FILE || e->kind == ENTRY_LINK;
    if (rc == ERR_FORMAT) {
        scan_out_problem(o, e->path, why.msg, 0);
        history_gone(o->args->history, e);
        return 0;
    }
    if (rc < 0 && o->e)
        *o->e = why;
    if (rc == 0)
        survey(o, e);
    return rc;
}

static bool some_wait(const struct scan_out *o)
{
    return (o->batch && o->batch->items > 0) || (o->ahead && o->ahead->items > 0);
}

/* In order, behind what waits. e may be o->now. */
static int put(struct scan_out *o, const struct entry *e)
{
    if (!some_wait(o))
        return write_entry(o, e);
    scan_batch_add(o->batch, e);
    return scan_batch_full(o->batch) ? pass_on(o) : 0;
}

static void compare(struct scan_out *o, const struct entry *e, const struct entry *recorded)
{
    if (!recorded || !scan_judge_unchanged(e, recorded))
        o->report->changed = true;
}

static void damaged(struct scan_out *o, const char *path)
{
    static const char text[] = "content is damaged: it differs, though nothing says that it was changed";
    const struct store_watch *w = o->args->watch;
    if (w->damage)
        w->damage(w->ctx, path, text);
    else
        w->problem(w->ctx, true, path, text);
}

/* Makes o->now the entry that is to be put. */
static void complete(struct scan_out *o, const struct history_at *at)
{
    enum scan_verdict verdict = scan_judge_record(&o->judge, &o->now, at);
    if (verdict == SCAN_DAMAGED)
        damaged(o, o->now.path);
    if (verdict == SCAN_FULL) {
        scan_out_problem(o, o->now.path, "was changed by too many members, or too often, for its version to be counted on", 0);
        scan_judge_unknown(&o->now, at);
    }
    compare(o, &o->now, at->recorded);
}

void scan_out_renew(struct scan_out *o, struct history_at *at, const struct digest *other)
{
    const struct entry **known[] = {&at->recorded, &at->intent};
    for (size_t i = 0; i < 2; i++) {
        const struct entry *was = *known[i];
        if (!was || was->kind != o->now.kind || was->size != o->now.size || !digest_same(&was->digest, other))
            continue;
        entry_copy(&o->renewed[i], was);
        o->renewed[i].digest = o->now.digest;
        *known[i] = &o->renewed[i];
        o->report->changed = true;
    }
}

int scan_out_seen(struct scan_out *o, const struct history_at *at)
{
    complete(o, at);
    return put(o, &o->now);
}

int scan_out_unread(struct scan_out *o, const struct history_at *at)
{
    scan_judge_unknown(&o->now, at);
    compare(o, &o->now, at->recorded);
    return put(o, &o->now);
}

int scan_out_known(struct scan_out *o, const struct entry *known, const struct history_at *at)
{
    const unsigned clear = ENTRY_HIDDEN | ENTRY_UNKNOWN;
    if (known == at->recorded && !(known->flags & clear))
        return put(o, known); /* by far the most */
    entry_copy(&o->now, known);
    o->now.flags &= ~clear;
    o->report->changed = true;
    return put(o, &o->now);
}

/* ---- what is not there ---- */

/* Of a tombstone the kind is not known any more: it is excluded where either would be. */
static bool is_excluded(const struct scan_out *o, const struct entry *e)
{
    const struct filter *f = o->args->filter;
    for (size_t n = 1; f && n < e->path_len; n++)
        if (e->path[n] == '/' && filter_excludes(f, e->path, n, true))
            return true;
    return f && (filter_excludes(f, e->path, e->path_len, false) || filter_excludes(f, e->path, e->path_len, true));
}

/* Where mount points are crossed: was it on a file system that is not mounted now? Then nobody deleted it. */
static bool was_elsewhere(const struct scan_out *o, const struct history_at *at)
{
    const struct entry *was = at->recorded;
    return o->args->cross && was && was->place.ino != 0 && !was_in(o, was->place.dev);
}

/* 1: o->left is to be put; 0: nothing is left. */
static int bury(struct scan_out *o, const struct history_at *at)
{
    enum scan_missed what = scan_judge_missed(&o->judge, at, &o->left);
    bool done = at->intent && at->intent->place.ino != 0, elsewhere = was_elsewhere(o, at);
    if (what == SCAN_DELETED && elsewhere)
        what = SCAN_LOST;
    if (o->args->renames && at->recorded && !done && !elsewhere)
        renames_gone(o->args->renames, at->recorded);
    if (what == SCAN_LOST || what == SCAN_DELETED) {
        if (at->recorded)
            history_gone(o->args->history, at->recorded);
        o->report->changed |= at->recorded != NULL;
    }
    if (what == SCAN_LOST)
        return 0;
    o->left.place = (struct entry_place){0};
    o->left.flags = is_excluded(o, &o->left) ? ENTRY_HIDDEN : 0;
    if (what == SCAN_DELETED)
        o->found->deleted++;
    else
        compare(o, &o->left, at->recorded);
    return 1;
}

/* Comes from within a look at history, at any time: o->now may be in use. */
static int missed(void *ctx, const struct history_at *at)
{
    struct scan_out *o = ctx;
    int rc = bury(o, at);
    if (rc <= 0)
        return rc;
    if (!some_wait(o))
        rc = write_entry(o, &o->left);
    else
        scan_batch_add(o->batch, &o->left), rc = 0;
    if (rc == 0 && o->batch && scan_batch_full(o->batch)) {
        entry_copy(&o->aside, &o->now);
        rc = pass_on(o);
        entry_copy(&o->now, &o->aside);
    }
    return rc < 0 ? rc : 1;
}

int scan_out_missed(struct scan_out *o, const struct history_at *at)
{
    int rc = bury(o, at);
    return rc > 0 ? put(o, &o->left) : rc;
}

/* ---- what waits ---- */

int scan_out_job(struct scan_out *o, const struct history_at *at, struct scan_dir *dir)
{
    if (!o->batch)
        o->batch = scan_batch_new();
    scan_batch_add_job(o->batch, &o->now, at, dir, scan_judge_rehashes(&o->judge, at));
    return scan_batch_full(o->batch) ? pass_on(o) : 0;
}

static int write_hashed(struct scan_out *o, const struct scan_item *item)
{
    const struct scan_job *job = item->job;
    struct history_at at = item->at;
    int rc;
    entry_copy(&o->now, item->entry);
    switch (job->outcome) {
    case SCAN_GONE:
        rc = bury(o, &item->at);
        return rc > 0 ? write_entry(o, &o->left) : rc;
    case SCAN_HASHED:
        o->report->hashed++;
        o->report->hashed_bytes += o->now.size;
        o->now.place.verified = o->args->verified;
        if (job->rehash)
            scan_out_renew(o, &at, &job->other);
        complete(o, &at);
        return write_entry(o, &o->now);
    case SCAN_UNSTEADY:
        scan_out_problem(o, o->now.path, SCAN_OUT_UNSTEADY, 0);
        break;
    case SCAN_UNREADABLE:
        scan_out_problem(o, o->now.path, "cannot be read", job->sys);
        break;
    }
    scan_judge_unknown(&o->now, &item->at);
    compare(o, &o->now, item->at.recorded);
    return write_entry(o, &o->now);
}

/* What the pool has is put when all of it has its digest. */
static int take_back(struct scan_out *o)
{
    struct scan_batch *b = o->ahead;
    if (!b || b->items == 0)
        return 0;
    int rc = scan_hash_finish(o->pool);
    for (size_t i = 0; rc == 0 && i < b->items; i++)
        rc = b->item[i].job ? write_hashed(o, &b->item[i]) : write_entry(o, b->item[i].entry);
    scan_batch_clear(b);
    return rc;
}

/* The batch goes to the pool, which works on it while the walk fills another. */
static int pass_on(struct scan_out *o)
{
    int rc = take_back(o);
    if (rc < 0)
        return rc;
    if (!o->pool)
        o->pool = scan_hash_new(o->args->hash, o->args->threads, o->args->rate, o->args->recall, tick_hashing, o);
    struct scan_batch *full = o->batch;
    scan_hash_begin(o->pool, full->job, full->jobs);
    o->batch = o->ahead ? o->ahead : scan_batch_new();
    o->ahead = full;
    return 0;
}

int scan_out_flush(struct scan_out *o)
{
    int rc = o->batch && o->batch->items > 0 ? pass_on(o) : 0;
    return rc == 0 ? take_back(o) : rc;
}

/* ---- what is not looked at ---- */

/* The path of the last directory that was found to be excluded, while entries below it come. */
struct hidden {
    size_t len; /* 0: none */
    char path[PATH_LEN_MAX + 1];
};

/* Filters hold where nothing is seen, too. */
static void filter(const struct scan_out *o, struct entry *e, struct hidden *h)
{
    bool below = h->len > 0 && path_below(e->path, e->path_len, h->path, h->len);
    e->flags &= ~(unsigned)ENTRY_HIDDEN;
    bool excluded = e->kind == ENTRY_GONE ? is_excluded(o, e)
                                          : filter_excludes(o->args->filter, e->path, e->path_len, e->kind == ENTRY_DIR);
    if (!below && !excluded)
        return;
    e->flags |= ENTRY_HIDDEN;
    if (below || e->kind == ENTRY_GONE)
        return;
    memcpy(h->path, e->path, e->path_len);
    h->len = e->path_len;
}

int scan_out_carry(struct scan_out *o, const char *path, size_t len, unsigned flag, size_t *count)
{
    struct hidden *h = mem_alloc(sizeof *h);
    const struct entry *from;
    size_t n = 0;
    int rc;
    h->len = 0;
    while ((rc = history_carry(o->args->history, path, len, &from, o->e)) > 0) {
        if (from->kind == ENTRY_GONE && !scan_judge_lasts(&o->judge, from)) {
            history_gone(o->args->history, from);
            continue;
        }
        entry_copy(&o->now, from);
        if (flag != ENTRY_HIDDEN)
            filter(o, &o->now, h);
        if (from->kind != ENTRY_GONE || flag == ENTRY_HIDDEN)
            o->now.flags |= flag;
        if (o->now.flags != from->flags)
            o->report->changed = true;
        n++;
        o->objects++;
        if ((rc = put(o, &o->now)) < 0 || (rc = scan_out_tick(o)) < 0)
            break;
    }
    free(h);
    if (count)
        *count = n;
    return rc;
}
