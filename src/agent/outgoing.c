#include "agent/outgoing.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PRODUCE_MOST 64u /* steps for one piece */
#define PRODUCE_MS 50    /* after which there are no more */

static struct outgoing *find(struct agent *a, uint16_t channel)
{
    for (size_t i = 0; i < a->outgoing.n; i++)
        if (a->outgoing.at[i]->channel == channel)
            return a->outgoing.at[i];
    return NULL;
}

static struct outgoing *open_channel(struct agent *a, uint16_t channel, enum outgoing_kind kind, struct err *e)
{
    struct outgoing *o = find(a, channel);
    if (o && !o->first && !o->used)
        o->kind = kind; /* until now there was only credit */
    if (o)
        return o;
    if (channel == MSG_CHANNEL_LIST || a->outgoing.n == MSG_CHANNELS_MAX) {
        err_set(e, ERR_PROTO, "too many channels");
        return NULL;
    }
    o = mem_zalloc(sizeof *o);
    o->kind = kind;
    o->channel = channel;
    o->fd = -1;
    o->last = &o->first;
    o->squeezer = squeezer_new(a->squeeze);
    a->outgoing.at[a->outgoing.n++] = o;
    return o;
}

struct entry outgoing_entry(const struct wanted *w)
{
    return (struct entry){.path = w->path, .path_len = w->len, .kind = w->kind, .mode = w->mode, .size = w->size,
                          .mtime = w->mtime, .digest = w->digest};
}

static size_t size_of(size_t path_len)
{
    return sizeof(struct wanted) + path_len + 1;
}

struct wanted *outgoing_next(struct agent *a, struct outgoing *o)
{
    struct wanted *w = o->first;
    if (w) {
        a->wanted -= size_of(w->len);
        o->first = w->next;
        if (!o->first)
            o->last = &o->first;
    }
    return w;
}

/* SEND, SEND_DELTA and SIGN: one more object for a stream of that kind. */
int outgoing_want(struct agent *a, struct frame *f, struct err *e)
{
    static const enum outgoing_kind kinds[MSG_TYPES] = {
        [MSG_SEND] = OUTGOING_BUNDLE, [MSG_SEND_DELTA] = OUTGOING_PATCHES, [MSG_SIGN] = OUTGOING_SIGNATURES};
    struct entry want;
    char path[PATH_LEN_MAX + 1];
    uint16_t signatures = 0;
    int rc = f->type == MSG_SEND_DELTA ? message_get_send_delta(f, path, &signatures, &want, e)
                                       : message_get_send(f, path, &want, e);
    if (rc < 0)
        return rc;
    struct outgoing *o = open_channel(a, f->channel, kinds[f->type], e);
    if (!o)
        return e->code;
    if (!a->scanned || a->dry_run || o->ending || o->kind != kinds[f->type])
        return err_set(e, ERR_PROTO, "%s out of turn", message_name(f->type));
    if (a->wanted + size_of(want.path_len) > AGENT_WANTED_BYTES_MAX)
        return err_set(e, ERR_PROTO, "more objects are asked for than may wait");
    a->wanted += size_of(want.path_len);
    struct wanted *w = mem_alloc(size_of(want.path_len));
    /* A SIGN stands in front of its APPLY. */
    *w = (struct wanted){NULL, want.kind, want.mode, want.size, want.mtime, want.digest, signatures, a->announced + 1,
                         want.path_len};
    memcpy(w->path, path, want.path_len + 1);
    *o->last = w;
    o->last = &w->next;
    o->used = true;
    return signatures ? incoming_expect(a, signatures, e) : 0;
}

int outgoing_end(struct agent *a, struct frame *f, struct err *e)
{
    int rc = message_get_empty(f, e);
    struct outgoing *o = rc < 0 ? NULL : open_channel(a, f->channel, OUTGOING_BUNDLE, e);
    if (!o)
        return e->code;
    o->ending = true;
    return 0;
}

int outgoing_credit(struct agent *a, struct frame *f, struct err *e)
{
    uint64_t n;
    int rc = message_get_number(f, &n, e);
    if (rc < 0)
        return rc;
    if (n > INT32_MAX)
        return err_set(e, ERR_PROTO, "a credit of %llu bytes", (unsigned long long)n);
    if (f->channel == MSG_CHANNEL_LIST) {
        a->list_credit += (int64_t)n;
        return 0;
    }
    struct outgoing *o = open_channel(a, f->channel, OUTGOING_BUNDLE, e);
    if (!o)
        return e->code;
    o->credit += (int64_t)n;
    return 0;
}

static int produce(struct agent *a, struct outgoing *o, struct err *e)
{
    static int (*const made[])(struct agent *, struct outgoing *, struct err *) = {
        [OUTGOING_BUNDLE] = bundling_produce,
        [OUTGOING_PATCHES] = patching_produce,
        [OUTGOING_SIGNATURES] = signing_produce,
    };
    if (o->kind == OUTGOING_BUNDLE && a->store->ops->blob_open)
        return blobbing_produce(a, o, e);
    return made[o->kind](a, o, e);
}

/* Makes bytes for a piece; but who only reads, as a patch of what has not changed does, must come up for air. */
static int fill(struct agent *a, struct outgoing *o, struct err *e)
{
    int any = 0;
    int64_t began = clock_mono_ms();
    for (unsigned i = 0; i < PRODUCE_MOST && clock_mono_ms() - began < PRODUCE_MS && o->bytes.len - o->bytes_sent < MSG_DATA_MAX; i++) {
        int rc = produce(a, o, e);
        if (rc <= 0)
            return rc < 0 ? rc : any;
        any = 1;
    }
    return any;
}

_Static_assert(MSG_DATA_MAX == SQUEEZE_PIECE_MAX, "a DATA frame is a piece");
_Static_assert(MSG_WINDOW > 4 * (SQUEEZE_PIECE_MAX + SQUEEZE_GROWTH), "waiting for this much credit is short");

/* What a piece takes is known once it is squeezed, and then it must go: there must be credit for the worst. */
static bool has_credit(struct agent *a, struct outgoing *o)
{
    struct squeeze_time at = {clock_mono_ns() - a->link.idle, a->link.waited};
    o->squeeze = squeezer_wants(o->squeezer, at);
    return o->credit >= (o->squeeze ? SQUEEZE_PIECE_MAX + SQUEEZE_GROWTH : 1);
}

static void send_piece(struct agent *a, struct outgoing *o, size_t n)
{
    struct buf *b = wire_out_begin(&a->out, o->squeeze ? MSG_DATA_Z : MSG_DATA, o->channel);
    size_t before = b->len;
    const uint8_t *piece = o->bytes.data + o->bytes_sent;
    if (!squeezer_piece(o->squeezer, piece, n, b))
        buf_put(b, piece, n);
    o->credit -= (int64_t)(b->len - before);
    o->bytes_sent += n;
    wire_out_end(&a->out);
}

static int work_channel(struct agent *a, struct outgoing *o, struct err *e)
{
    if (o->ended || !has_credit(a, o))
        return 0;
    int rc = fill(a, o, e);
    if (rc < 0)
        return rc;
    size_t n = o->bytes.len - o->bytes_sent;
    if (n > MSG_DATA_MAX)
        n = MSG_DATA_MAX;
    if (n > (uint64_t)o->credit)
        n = (size_t)o->credit;
    if (n > 0)
        send_piece(a, o, n);
    if (o->bytes_sent == o->bytes.len || o->bytes_sent >= MSG_DATA_MAX) {
        buf_drop(&o->bytes, o->bytes_sent); /* what is left is less than was sent */
        o->bytes_sent = 0;
    }
    if (o->bytes.len == 0 && o->finished) {
        message_put_text(&a->out, MSG_DATA_END, o->channel, "");
        o->ended = true;
        squeezer_free(o->squeezer);
        o->squeezer = NULL;
        return 1;
    }
    return n > 0 || rc > 0;
}

int outgoing_refine(struct agent *a, const void *request, size_t n, struct err *e)
{
    for (size_t i = 0; i < a->outgoing.n; i++)
        if (a->outgoing.at[i]->signing) {
            int rc = signing_refine(a, a->outgoing.at[i]->signing, request, n, e);
            if (rc < 0)
                return rc;
        }
    return 0;
}

bool outgoing_starves(struct agent *a)
{
    for (size_t i = 0; i < a->outgoing.n; i++) {
        struct outgoing *o = a->outgoing.at[i];
        bool more = o->bytes.len > o->bytes_sent || o->first || o->want || o->patching || o->signing || o->blobbing;
        if (!o->ended && more && !has_credit(a, o))
            return true;
    }
    return false;
}

int outgoing_work(struct agent *a, struct err *e)
{
    int any = 0;
    for (size_t i = 0; i < a->outgoing.n; i++) {
        int rc = work_channel(a, a->outgoing.at[i], e);
        if (rc < 0)
            return err_wrap(e, "making a bundle");
        any |= rc;
    }
    return any;
}

void outgoing_free_all(struct agent *a)
{
    for (size_t i = 0; i < a->outgoing.n; i++) {
        struct outgoing *o = a->outgoing.at[i];
        while (o->first) {
            struct wanted *w = o->first;
            o->first = w->next;
            free(w);
        }
        if (o->fd >= 0)
            close(o->fd);
        buf_free(&o->bytes);
        squeezer_free(o->squeezer);
        free(o->want);
        blobbing_free(a, o->blobbing);
        patching_free(o->patching);
        signing_free(o->signing);
        free(o);
    }
    a->outgoing.n = 0;
}
