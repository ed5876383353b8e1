/*
 * The source's side of a patch: the object against the signature that a target has sent. Where that is a coarse one,
 * the object is searched first, and the patch begins with a request for more.
 */
#include "agent/outgoing.h"

#include "base/file.h"
#include "base/mem.h"
#include "object/delta.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_HEAD 5u
#define SIGNATURE_MAX ((uint64_t)DELTA_BLOCKS_MAX * 36 + 12) /* bytes: the longest sums of the most blocks */

struct patching {
    struct agent *agent;
    size_t indexed;              /* bytes of signatures that are held, as the agent counts them */
    struct wanted *want;         /* being worked on; NULL: none */
    /* For the signature; the partial with our beginning; with the coarse signature; for the fine one; the patch. */
    enum { WAITS, COMPARES, SEARCHES, WAITS_AGAIN, SENDS } phase;
    struct buf records;          /* of the signature stream, not yet a whole one */
    bool deaf;                   /* that stream makes no sense any more */
    bool unended;                /* it still brings records of an object that is done with */
    bool coarse;                 /* a coarse signature has come, of a basis of so many bytes: */
    uint64_t basis;
    struct delta_index *index;   /* NULL: there is no signature */
    struct delta_finder *finder; /* NULL: the object is not searched first */
    struct delta_index *fine;    /* what came after its request, or NULL */
    struct delta_stretch stretch; /* of the finder's, being sent */
    struct delta_maker *maker;
    int fd;                      /* of the object, or -1 */
    uint64_t left;               /* bytes of it still to be read */
    uint64_t partial;            /* bytes that the target says it has, to be compared */
    uint64_t compared;
    struct digest partial_digest; /* XXH3-128 whatever the group's hash is: that of the whole decides in the end */
    struct digest_state *hash;
    uint8_t piece[OUTGOING_PIECE];
};

/* False: all channels together hold more signatures than we have room for. */
static bool count_indexes(struct patching *p)
{
    size_t now = (p->index ? delta_index_memory(p->index) : 0) + (p->fine ? delta_index_memory(p->fine) : 0);
    p->agent->indexed += now - p->indexed;
    p->indexed = now;
    return p->agent->indexed <= AGENT_INDEX_BYTES_MAX;
}

static void drop_index(struct patching *p)
{
    if (p->index)
        delta_index_free(p->index);
    p->index = NULL;
    count_indexes(p);
}

static void drop_fine(struct patching *p)
{
    if (p->fine)
        delta_index_free(p->fine);
    p->fine = NULL;
    count_indexes(p);
}

static void end_object(struct patching *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    delta_maker_free(p->maker);
    p->maker = NULL;
    delta_finder_free(p->finder);
    p->finder = NULL;
    drop_fine(p);
    drop_index(p);
    if (p->hash)
        digest_free(p->hash);
    p->hash = NULL;
    free(p->want);
    p->want = NULL;
    p->phase = WAITS;
    p->partial = p->compared = 0;
    p->coarse = false;
    p->stretch.len = 0;
}

/* ---- the signature ---- */

static int take_coarse(struct patching *p, struct rd *body)
{
    struct err ignored;
    p->coarse = true;
    p->basis = rd_u64(body);
    if (p->index && (!rd_done(body) || delta_index_end(p->index, &ignored) < 0 || !count_indexes(p)))
        drop_index(p);
    return 1;
}

/* What a target says of itself can at worst cost a saving: the whole is sent then. 1: it is complete. */
static int take_record(struct patching *p, uint8_t kind, struct rd *body)
{
    struct err ignored;
    switch (kind) {
    case SIGNATURE_COARSE:
        return take_coarse(p, body);
    case SIGNATURE_PARTIAL:
        p->partial = rd_u64(body);
        const uint8_t *d = rd_bytes(body, DIGEST_LEN);
        if (d && rd_done(body) && p->partial <= p->want->size)
            memcpy(p->partial_digest.b, d, DIGEST_LEN);
        else
            p->partial = 0;
        return 0;
    case SIGNATURE_BYTES:
        if (!p->index)
            p->index = delta_index_new(SIGNATURE_MAX);
        if (delta_index_feed(p->index, body->p, rd_left(body), &ignored) < 0 || !count_indexes(p))
            drop_index(p);
        return 0;
    case SIGNATURE_VOID:
        drop_index(p);
        return 0;
    default:
        if (p->index && (delta_index_end(p->index, &ignored) < 0 || !count_indexes(p)))
            drop_index(p);
        p->unended = false;
        return 1;
    }
}

/* The same behind a coarse one. */
static int take_fine(struct patching *p, uint8_t kind, struct rd *body)
{
    struct err ignored;
    if (kind == SIGNATURE_BYTES) {
        if (p->fine && (delta_index_feed(p->fine, body->p, rd_left(body), &ignored) < 0 || !count_indexes(p)))
            drop_fine(p);
        return 0;
    }
    if (p->fine && (kind != SIGNATURE_END || delta_index_end(p->fine, &ignored) < 0 ||
                    delta_finder_accept(p->finder, p->fine, &ignored) < 0))
        drop_fine(p);
    p->unended = kind != SIGNATURE_END;
    return !p->unended;
}

/* What still comes for an object before this one. */
static void pass_over(struct patching *p, uint8_t kind)
{
    p->unended = kind != SIGNATURE_END;
}

/* 1: the object's signature is complete, 0: more must come, -1: no more can be made of this stream. */
static int take_records(struct patching *p)
{
    size_t used = 0;
    int whole = 0;
    while (!whole && p->records.len - used >= RECORD_HEAD) {
        struct rd r = rd_of(p->records.data + used, p->records.len - used);
        uint8_t kind = rd_u8(&r);
        uint32_t len = rd_u32(&r);
        if (!r.bad && (len > MSG_DATA_MAX || kind < SIGNATURE_PARTIAL || kind > SIGNATURE_COARSE))
            return -1;
        if (r.bad || rd_left(&r) < len)
            break;
        struct rd body = rd_of(r.p, len);
        used += RECORD_HEAD + len;
        if (p->phase == WAITS_AGAIN)
            whole = take_fine(p, kind, &body);
        else if (p->unended)
            pass_over(p, kind);
        else
            whole = take_record(p, kind, &body);
    }
    buf_drop(&p->records, used);
    return whole;
}

/* 1: there is a signature, or there will be none; 0: it has not come yet. */
static int await_signature(struct agent *a, struct patching *p)
{
    const void *bytes;
    size_t n;
    for (;;) {
        int rc = p->deaf ? -1 : take_records(p);
        if (rc > 0)
            return 1;
        if (rc == 0)
            rc = incoming_take(a, p->want->signatures, &bytes, &n);
        if (rc == 0)
            return 0;
        if (rc < 0) {
            p->deaf = true;
            drop_fine(p);
            if (p->phase == WAITS) {
                drop_index(p);
                p->partial = 0;
            }
            return 1;
        }
        buf_put(&p->records, bytes, n);
    }
}

/* ---- the object ---- */

/* As in a bundle: a failure of the targets. */
static void give_up(struct agent *a, struct patching *p, struct buf *out, const char *why)
{
    message_put_problem(&a->out, MSG_PROBLEM_REMARK, p->want->path, why);
    delta_maker_fail(p->maker, why, out);
    end_object(p);
}

static ssize_t read_object(void *ctx, uint64_t pos, void *buf, size_t n, struct err *e)
{
    const struct patching *p = ctx;
    ssize_t got = file_pread(p->fd, buf, n, (off_t)pos);
    return got < 0 ? err_sys(e, "cannot be read") : got;
}

/* What the patch needs is known; with a coarse signature, that is what the search finds. */
static void begin_patch(struct patching *p, struct buf *out)
{
    struct delta_input in = {read_object, p};
    struct buf nothing = {0};
    p->phase = SENDS;
    if (p->coarse && p->index)
        p->finder = delta_finder_new(p->index, p->basis, &in, p->want->size - p->left, p->want->size);
    if (p->finder) {
        p->phase = SEARCHES;
    } else if (p->coarse) {
        buf_u32(&nothing, 0);
        delta_maker_ask(p->maker, &nothing, out); /* the target waits for it */
        buf_free(&nothing);
    } else {
        delta_maker_search(p->maker, p->index);
    }
}

static void open_object(struct agent *a, struct patching *p, struct buf *out)
{
    struct entry want = outgoing_entry(p->want);
    struct err why;
    p->maker = delta_maker_new(NULL);
    p->unended = p->coarse;
    p->fd = a->store->ops->read_open(a->store, &want, &why);
    if (p->fd < 0) {
        give_up(a, p, out, why.msg);
        return;
    }
    p->left = want.size;
    if (p->partial == 0) {
        begin_patch(p, out);
        return;
    }
    p->hash = digest_new();
    p->phase = COMPARES;
}

/* The target's beginning is ours only if its digest says so. */
static void compare_piece(struct agent *a, struct patching *p, struct buf *out)
{
    size_t n = sizeof p->piece;
    if (n > p->partial - p->compared)
        n = (size_t)(p->partial - p->compared);
    ssize_t got = file_read(p->fd, p->piece, n);
    if (got < 0 || (size_t)got < n) {
        give_up(a, p, out, "changed or could not be read during the run");
        return;
    }
    digest_add(p->hash, p->piece, n);
    p->compared += n;
    if (p->compared < p->partial)
        return;
    struct digest d = digest_end(p->hash);
    if (digest_same(&d, &p->partial_digest)) {
        delta_maker_keep(p->maker, p->partial, out);
        p->left -= p->partial;
    }
    begin_patch(p, out);
}

static void search_piece(struct agent *a, struct patching *p, struct buf *out)
{
    struct buf request = {0};
    struct err why;
    int rc = delta_finder_step(p->finder, a->threads, &why);
    if (rc < 0)
        give_up(a, p, out, why.msg);
    if (rc != 0)
        return;
    bool asks = delta_finder_request(p->finder, &request);
    delta_maker_ask(p->maker, &request, out);
    buf_free(&request);
    if (asks && !p->deaf)
        p->fine = delta_finder_index(p->finder);
    p->phase = asks ? WAITS_AGAIN : SENDS;
}

static void end_search(struct patching *p)
{
    delta_maker_search(p->maker, p->fine);
    p->phase = SENDS;
}

/* The next piece goes to the search, or was found already. */
static int send_found(struct patching *p, size_t *n, struct buf *out, struct err *e)
{
    if (p->stretch.len == 0)
        p->stretch = delta_finder_next(p->finder);
    if (!p->stretch.found) {
        *n = *n < p->stretch.len ? *n : (size_t)p->stretch.len;
        p->stretch.len -= *n;
        return 0;
    }
    p->left -= p->stretch.len;
    *n = 0;
    int rc = delta_maker_found(p->maker, p->stretch.pos, p->stretch.len, out, e);
    p->stretch.len = 0;
    return rc;
}

static void send_piece(struct agent *a, struct patching *p, struct buf *out)
{
    struct err why;
    size_t n = p->left < sizeof p->piece ? (size_t)p->left : sizeof p->piece;
    int rc = p->finder && n ? send_found(p, &n, out, &why) : 0;
    ssize_t got = n ? file_pread(p->fd, p->piece, n, (off_t)(p->want->size - p->left)) : 0;
    if (got < 0 || (size_t)got < n) {
        give_up(a, p, out, "changed or could not be read during the run");
        return;
    }
    p->left -= n;
    if (rc == 0 && n)
        rc = delta_maker_feed(p->maker, p->piece, n, out, &why);
    if (rc == 0 && p->left == 0)
        rc = delta_maker_end(p->maker, out, &why);
    if (rc < 0)
        give_up(a, p, out, why.msg);
    else if (p->left == 0)
        end_object(p);
}

int patching_produce(struct agent *a, struct outgoing *o, struct err *e)
{
    (void)e;
    if (!o->patching) {
        o->patching = mem_zalloc(sizeof *o->patching);
        o->patching->agent = a;
        o->patching->fd = -1;
    }
    struct patching *p = o->patching;
    if (!p->want && !(p->want = outgoing_next(a, o))) {
        if (!o->ending || o->finished)
            return 0;
        o->finished = true;
        return 1;
    }
    if (p->phase == COMPARES)
        compare_piece(a, p, &o->bytes);
    else if (p->phase == SEARCHES)
        search_piece(a, p, &o->bytes);
    else if (p->phase == SENDS)
        send_piece(a, p, &o->bytes);
    else if (!await_signature(a, p))
        return 0;
    else if (p->phase == WAITS)
        open_object(a, p, &o->bytes);
    else
        end_search(p);
    return 1;
}

void patching_free(struct patching *p)
{
    if (!p)
        return;
    end_object(p);
    buf_free(&p->records);
    free(p);
}
