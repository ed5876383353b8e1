#include "agent/state.h"

#include "base/file.h"
#include "base/mem.h"
#include "object/delta.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_PARTS 16u /* of which one must be used up before it is granted again */
#define RUN_HEAD 5u /* in front of what waits: u8 MSG_DATA or MSG_DATA_Z, u32 length */

/*
 * A channel on which we are a target. Bytes wait in data, as they came, until the bundle's reader pulls
 * them; how many may wait is what we granted, so a fast source cannot make us swell. They wait in runs: one
 * squeezed piece, or any number of others.
 */
struct incoming {
    struct agent *agent;
    uint16_t channel;
    enum reader { READER_NONE, READER_BUNDLE, READER_PATCHES, READER_SIGNATURES } reader;
    struct buf data;       /* arrived */
    size_t last;           /* where the last run begins in it */
    size_t waiting;        /* bytes in it for which no credit was granted yet */
    struct buf handed;     /* being given to the reader: must stay until the pull after the last run */
    struct rd runs;        /* of it, not given yet */
    struct buf unpacked;   /* given: what was squeezed */
    struct unsqueezer *unsqueezer; /* NULL before the first squeezed run */
    uint64_t granted, arrived;
    uint64_t owed;          /* bytes used up for which more is granted when it is worth a message */
    uint64_t window, taken; /* bytes that may be out at once; used up since it was set */
    const uint8_t *rest;   /* of what was handed out: bytes of the next patch */
    size_t rest_len;
    bool ended;
    char *cut;             /* why it ended too early, or NULL: what has arrived is good */
    char *broken;          /* why nothing good can come any more, or NULL */
};

static struct incoming *open_channel(struct agent *a, uint16_t channel, struct err *e)
{
    for (size_t i = 0; i < a->incoming.n; i++)
        if (a->incoming.at[i]->channel == channel)
            return a->incoming.at[i];
    if (channel == MSG_CHANNEL_LIST || a->incoming.n == MSG_CHANNELS_MAX) {
        err_set(e, ERR_PROTO, "too many channels");
        return NULL;
    }
    struct incoming *in = mem_zalloc(sizeof *in);
    in->agent = a;
    in->channel = channel;
    a->incoming.at[a->incoming.n++] = in;
    return in;
}

/* Each reader goes on pointing into what it was handed: two of them would take it from under each other. */
static struct incoming *open_for(struct agent *a, uint16_t channel, enum reader reader, struct err *e)
{
    struct incoming *in = open_channel(a, channel, e);
    if (in && in->reader != READER_NONE && in->reader != reader) {
        err_set(e, ERR_PROTO, "channel %u is used for another kind of stream", channel);
        return NULL;
    }
    if (in)
        in->reader = reader;
    return in;
}

static void grant(struct incoming *in, uint64_t n)
{
    in->granted += n;
    in->agent->urgent = true;
    message_put_number(&in->agent->out, MSG_CREDIT, in->channel, n);
}

/* Nobody will pull what waits, and the bundle's other targets must not lack credit for that. */
static void breaks(struct incoming *in, const char *why)
{
    if (!in->broken)
        in->broken = mem_strdup(why);
    if (in->waiting + in->owed > 0)
        grant(in, in->waiting + in->owed);
    in->waiting = in->data.len = 0;
    in->owed = 0;
}

static void keep(struct incoming *in, uint8_t type, const void *p, size_t n)
{
    uint8_t *last = in->data.len ? in->data.data + in->last : NULL;
    if (last && type == MSG_DATA && last[0] == MSG_DATA) {
        size_t len = in->data.len - in->last - RUN_HEAD + n;
        for (unsigned i = 0; i < 4; i++)
            last[1 + i] = (uint8_t)(len >> (8 * i));
    } else {
        in->last = in->data.len;
        buf_u8(&in->data, type);
        buf_u32(&in->data, (uint32_t)n);
    }
    buf_put(&in->data, p, n);
    in->waiting += n;
}

int incoming_data(struct agent *a, struct frame *f, struct err *e)
{
    struct incoming *in = open_channel(a, f->channel, e);
    if (!in)
        return e->code;
    size_t n = rd_left(&f->body);
    in->arrived += n;
    if (in->arrived > in->granted || in->ended)
        return err_set(e, ERR_PROTO, "data without credit on channel %u", f->channel);
    if (n == 0 && f->type == MSG_DATA_Z)
        return err_set(e, ERR_PROTO, "an empty piece on channel %u", f->channel);
    if (in->broken)
        grant(in, n); /* as breaks says */
    else if (n > 0)
        keep(in, f->type, f->body.p, n);
    return 0;
}

int incoming_data_end(struct agent *a, struct frame *f, struct err *e)
{
    const char *why;
    size_t n;
    int rc = message_get_text(f, &why, &n, e);
    struct incoming *in = rc < 0 ? NULL : open_channel(a, f->channel, e);
    if (!in)
        return e->code;
    in->ended = true;
    if (n > 0 && !in->cut)
        in->cut = mem_strndup(why, n);
    return 0;
}

/*
 * As much again as was used up; and each time that a whole window was, it doubles up to what we have room for. It begins
 * small so that a source finds out early how fast the link is.
 */
static void grant_again(struct incoming *in, uint64_t n)
{
    uint64_t most = in->agent->window, more = 0;
    in->taken += n;
    bool room = in->agent->windows + in->window <= AGENT_WINDOWS_MAX;
    if (in->taken >= in->window && in->window < most && room) {
        more = in->window < most - in->window ? in->window : most - in->window;
        in->window += more;
        in->agent->windows += more;
        in->taken = 0;
    }
    grant(in, n + more);
}

static void grant_first(struct incoming *in)
{
    if (in->granted > 0)
        return;
    grant(in, in->window = MSG_WINDOW);
    in->agent->windows += MSG_WINDOW;
}

/* What waits becomes runs to be given, and as much may come again. False: nothing waits. */
static bool take_runs(struct incoming *in)
{
    if (in->data.len == 0)
        return false;
    struct buf spare = in->handed;
    in->handed = in->data;
    spare.len = 0;
    in->data = spare;
    in->runs = rd_of(in->handed.data, in->handed.len);
    in->owed += in->waiting;
    in->waiting = 0;
    if (in->owed >= in->window / WINDOW_PARTS) {
        grant_again(in, in->owed);
        in->owed = 0;
    }
    return true;
}

/* The next run, as it was before it was squeezed. Its length, or an error. */
static ssize_t give(struct incoming *in, const void **p, struct err *e)
{
    uint8_t type = rd_u8(&in->runs);
    size_t n = rd_u32(&in->runs);
    *p = rd_bytes(&in->runs, n);
    if (type == MSG_DATA)
        return (ssize_t)n;
    if (!in->unsqueezer)
        in->unsqueezer = unsqueezer_new();
    in->unpacked.len = 0;
    int rc = unsqueeze(in->unsqueezer, *p, n, &in->unpacked, e);
    *p = in->unpacked.data;
    return rc < 0 ? rc : (ssize_t)in->unpacked.len;
}

/* Waits for bytes: the agent goes on serving others meanwhile, so two agents that wait for each other cannot lock up. */
static ssize_t pull(void *ctx, const void **p, struct err *e)
{
    struct incoming *in = ctx;
    while (rd_left(&in->runs) == 0 && !take_runs(in)) {
        if (in->broken || in->cut)
            return err_set(e, ERR_FORMAT, "%s", in->broken ? in->broken : in->cut);
        if (in->ended)
            return 0;
        int rc = agent_pump(in->agent, true, e);
        if (rc < 0) {
            in->agent->lost = *e;
            return rc;
        }
    }
    return give(in, p, e);
}

int incoming_expect(struct agent *a, uint16_t channel, struct err *e)
{
    struct incoming *in = open_for(a, channel, READER_SIGNATURES, e);
    if (!in)
        return e->code;
    grant_first(in);
    return 0;
}

int incoming_take(struct agent *a, uint16_t channel, const void **p, size_t *n)
{
    struct err why;
    struct incoming *in = open_for(a, channel, READER_SIGNATURES, &why);
    if (!in || in->broken)
        return -1;
    if (rd_left(&in->runs) == 0 && !take_runs(in))
        return in->ended ? -1 : 0;
    ssize_t got = give(in, p, &why);
    if (got < 0) {
        breaks(in, why.msg);
        return -1;
    }
    *n = (size_t)got;
    return 1;
}

static int fail_op(struct agent *a, const struct store_op *op, const char *why, struct err *e)
{
    int rc = a->store->ops->put_begin(a->store, op, e);
    return rc < 0 ? rc : a->store->ops->put_end(a->store, why, e);
}

/* ---- objects ---- */

/* What a patch is applied with. */
struct patched {
    struct agent *agent;
    int basis;         /* descriptor, or -1 */
    bool stopped;      /* the store itself cannot go on: why is e */
    struct err e;
};

static ssize_t read_basis(void *ctx, uint64_t at, void *buf, size_t n, struct err *e)
{
    struct patched *p = ctx;
    ssize_t got = p->basis < 0 ? 0 : file_pread(p->basis, buf, n, (off_t)at);
    return got < 0 ? err_sys(e, "what it is made of cannot be read") : got;
}

static int keep_partial(void *ctx, uint64_t n, struct err *e)
{
    struct patched *p = ctx;
    struct store *s = p->agent->store;
    int rc = s->ops->put_keep(s, n, &p->e);
    p->stopped |= rc < 0;
    return rc < 0 ? err_set(e, rc, "%s", p->e.msg) : 0;
}

static int write_content(void *ctx, const void *data, size_t n, struct err *e)
{
    struct patched *p = ctx;
    int rc = p->agent->store->ops->put_data(p->agent->store, data, n, &p->e);
    p->stopped |= rc < 0;
    return rc < 0 ? err_set(e, rc, "%s", p->e.msg) : 0;
}

/* Waits for a patch's first bytes (or more of it). */
static int await_patch(struct incoming *in, struct err *e)
{
    const void *p;
    if (in->rest_len > 0)
        return 0;
    ssize_t n = pull(in, &p, e);
    if (n <= 0)
        return n < 0 ? (int)n : err_set(e, ERR_FORMAT, "the patches ended before this object");
    in->rest = p;
    in->rest_len = (size_t)n;
    return 0;
}

/* Of all targets of the patch only the one that signs has something to do. */
static int ask_more(void *ctx, const void *request, size_t n, struct err *e)
{
    const struct patched *p = ctx;
    return outgoing_refine(p->agent, request, n, e);
}

/* Feeds one patch, and leaves what comes behind it. 0: it is complete; else why not, in which case the object fails. */
static int feed_patch(struct incoming *in, struct delta_patcher *patch, struct err *e)
{
    for (;;) {
        size_t used = 0;
        int rc = await_patch(in, e);
        if (rc < 0)
            return rc;
        rc = delta_patcher_take(patch, in->rest, in->rest_len, &used, e);
        in->rest += used;
        in->rest_len -= used;
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
}

/* A symlink's target comes as a file's content does. */
static int collect(void *ctx, const void *data, size_t n, struct err *e)
{
    struct buf *target = ctx;
    (void)e;
    buf_put(target, data, n);
    return 0;
}

static ssize_t read_nothing(void *ctx, uint64_t at, void *buf, size_t n, struct err *e)
{
    (void)ctx;
    (void)at;
    (void)buf;
    (void)n;
    (void)e;
    return 0;
}

static int keep_nothing(void *ctx, uint64_t n, struct err *e)
{
    (void)ctx;
    (void)n;
    return err_set(e, ERR_FORMAT, "there is nothing to be kept");
}

/* Takes in one object. 0, or why it did not come; then the channel is broken unless its source just could not give it. */
static int take_object(struct agent *a, struct incoming *in, uint64_t size, const struct delta_calls *calls, void *ctx,
                       struct err *why)
{
    struct delta_patcher *patch = delta_patcher_new(size, calls, ctx);
    int rc = feed_patch(in, patch, why);
    a->literal += delta_patcher_counts(patch).literal;
    if (rc < 0 && rc != ERR_CHANGED)
        breaks(in, why->msg);
    delta_patcher_free(patch);
    return rc;
}

static int take_link(struct agent *a, struct incoming *in, struct store_op *op, struct err *e)
{
    static const struct delta_calls calls = {read_nothing, keep_nothing, collect, NULL};
    struct buf target = {0};
    struct err why;
    int rc = take_object(a, in, op->entry->size, &calls, &target, &why);
    buf_u8(&target, '\0');
    op->target = (const char *)target.data;
    rc = rc < 0 ? fail_op(a, op, why.msg, e) : a->store->ops->apply(a->store, op, e);
    buf_free(&target);
    return rc;
}

static int take_file(struct agent *a, struct incoming *in, struct store_op *op, bool patch, struct err *e)
{
    static const struct delta_calls calls = {read_basis, keep_partial, write_content, ask_more};
    struct err why, ignored;
    uint64_t size;
    struct patched p = {.agent = a, .basis = -1};
    int rc = a->store->ops->put_begin(a->store, op, e);
    if (rc < 0)
        return rc;
    if (patch && a->store->ops->basis(a->store, op->entry, &p.basis, &size, &ignored) <= 0)
        p.basis = -1;
    rc = take_object(a, in, a->store->ops->blob_open ? DELTA_ANY_SIZE : op->entry->size, &calls, &p, &why);
    if (p.basis >= 0)
        close(p.basis);
    if (p.stopped) {
        *e = p.e;
        return p.e.code;
    }
    return a->store->ops->put_end(a->store, rc < 0 ? why.msg : NULL, e);
}

int incoming_apply(struct agent *a, uint16_t channel, struct store_op *op, bool patch, struct err *e)
{
    struct incoming *in = open_for(a, channel, patch ? READER_PATCHES : READER_BUNDLE, e);
    struct err why;
    if (!in)
        return e->code;
    grant_first(in);
    /* While we sign for it, what an earlier run left must not be taken in hand. */
    if (!in->broken && await_patch(in, &why) < 0)
        breaks(in, why.msg);
    if (in->broken)
        return fail_op(a, op, in->broken, e);
    return op->entry->kind == ENTRY_LINK ? take_link(a, in, op, e) : take_file(a, in, op, patch, e);
}

void incoming_free_all(struct agent *a)
{
    for (size_t i = 0; i < a->incoming.n; i++) {
        struct incoming *in = a->incoming.at[i];
        buf_free(&in->data);
        buf_free(&in->handed);
        buf_free(&in->unpacked);
        unsqueezer_free(in->unsqueezer);
        free(in->broken);
        free(in->cut);
        free(in);
    }
    a->incoming.n = 0;
}
