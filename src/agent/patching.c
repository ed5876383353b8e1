/* The source's side of a patch: the object against the signature that a target has sent. */
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
    struct wanted *want;         /* being worked on; NULL: none */
    enum { WAITS, COMPARES, SENDS } phase; /* for the signature; the partial with our beginning; the patch */
    struct buf records;          /* of the signature stream, not yet a whole one */
    bool deaf;                   /* that stream makes no sense any more */
    struct delta_index *index;   /* NULL: there is no signature */
    struct delta_maker *maker;
    int fd;                      /* of the object, or -1 */
    uint64_t left;               /* bytes of it still to be read */
    uint64_t partial;            /* bytes that the target says it has, to be compared */
    uint64_t compared;
    struct digest partial_digest;
    struct digest_state *hash;
    uint8_t piece[OUTGOING_PIECE];
};

static void drop_index(struct patching *p)
{
    if (p->index)
        delta_index_free(p->index);
    p->index = NULL;
}

static void end_object(struct patching *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    delta_maker_free(p->maker);
    p->maker = NULL;
    drop_index(p);
    if (p->hash)
        digest_free(p->hash);
    p->hash = NULL;
    free(p->want);
    p->want = NULL;
    p->phase = WAITS;
    p->partial = p->compared = 0;
}

/* ---- the signature ---- */

/* What a target says of itself can at worst cost a saving: the whole is sent then. 1: it is complete. */
static int take_record(struct patching *p, uint8_t kind, struct rd *body)
{
    struct err ignored;
    switch (kind) {
    case SIGNATURE_PARTIAL:
        p->partial = rd_u64(body);
        const uint8_t *d = rd_bytes(body, sizeof p->partial_digest.b);
        if (d && rd_done(body) && p->partial <= p->want->size)
            memcpy(p->partial_digest.b, d, sizeof p->partial_digest.b);
        else
            p->partial = 0;
        return 0;
    case SIGNATURE_BYTES:
        if (!p->index)
            p->index = delta_index_new(SIGNATURE_MAX);
        if (delta_index_feed(p->index, body->p, rd_left(body), &ignored) < 0)
            drop_index(p);
        return 0;
    case SIGNATURE_VOID:
        drop_index(p);
        return 0;
    default:
        if (p->index && delta_index_end(p->index, &ignored) < 0)
            drop_index(p);
        return 1;
    }
}

/* 1: the object's signature is complete, 0: more must come. */
static int take_records(struct patching *p)
{
    size_t used = 0;
    int whole = 0;
    while (!whole) {
        struct rd r = rd_of(p->records.data + used, p->records.len - used);
        uint8_t kind = rd_u8(&r);
        uint32_t len = rd_u32(&r);
        if (r.bad || rd_left(&r) < len)
            break;
        struct rd body = rd_of(r.p, len);
        used += RECORD_HEAD + len;
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
        if (!p->deaf && take_records(p))
            return 1;
        int rc = p->deaf ? -1 : incoming_take(a, p->want->signatures, &bytes, &n);
        if (rc == 0)
            return 0;
        if (rc < 0 || p->records.len > MSG_DATA_MAX + RECORD_HEAD) {
            p->deaf = true;
            drop_index(p);
            p->partial = 0;
            return 1;
        }
        buf_put(&p->records, bytes, n);
    }
}

/* ---- the object ---- */

static void give_up(struct agent *a, struct patching *p, struct buf *out, const char *why)
{
    message_put_problem(&a->out, true, p->want->path, why);
    delta_maker_fail(p->maker, why, out);
    end_object(p);
}

static void open_object(struct agent *a, struct patching *p, struct buf *out)
{
    struct entry want = outgoing_entry(p->want);
    struct err why;
    p->maker = delta_maker_new(p->index);
    p->fd = a->store->ops->read_open(a->store, &want, &why);
    if (p->fd < 0) {
        give_up(a, p, out, why.msg);
        return;
    }
    p->left = want.size;
    if (p->partial > 0)
        p->hash = digest_new();
    p->phase = p->partial > 0 ? COMPARES : SENDS;
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
    } else if (lseek(p->fd, 0, SEEK_SET) < 0) {
        give_up(a, p, out, "cannot be read twice");
        return;
    }
    p->phase = SENDS;
}

static void send_piece(struct agent *a, struct patching *p, struct buf *out)
{
    struct err why;
    size_t n = p->left < sizeof p->piece ? (size_t)p->left : sizeof p->piece;
    ssize_t got = n ? file_read(p->fd, p->piece, n) : 0;
    if (got < 0 || (size_t)got < n) {
        give_up(a, p, out, "changed or could not be read during the run");
        return;
    }
    p->left -= n;
    int rc = n ? delta_maker_feed(p->maker, p->piece, n, out, &why) : 0;
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
    else if (p->phase == SENDS)
        send_piece(a, p, &o->bytes);
    else if (await_signature(a, p))
        open_object(a, p, &o->bytes);
    else
        return 0;
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
