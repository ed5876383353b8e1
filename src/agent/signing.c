/* The target's side of a patch: what it has already of an object, told to the source. */
#include "agent/outgoing.h"

#include "base/file.h"
#include "base/mem.h"
#include "object/delta.h"
#include "object/version.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct signing {
    struct wanted *want;          /* being worked on; NULL: none */
    int fd;                       /* of what is being read, or -1 */
    uint64_t left;                /* bytes of it still to be read */
    uint64_t partial;             /* bytes that an earlier run left behind */
    struct digest_state *hash;    /* of these; NULL when they are done with */
    struct delta_signer *signer;  /* of the object that stands there now; NULL: not begun */
    uint64_t basis;               /* bytes of that */
    bool coarse;                  /* the signer's is */
    bool waits;                   /* until the patch has asked for more, or cannot any more */
    bool needless;                /* it has asked for nothing */
    struct buf made;              /* signature bytes, not yet in records */
    uint8_t piece[OUTGOING_PIECE];
};

void outgoing_record(struct buf *out, uint8_t kind, const void *p, size_t n)
{
    buf_u8(out, kind);
    buf_u32(out, (uint32_t)n);
    buf_put(out, p, n);
}

static void put_bytes(struct buf *out, struct buf *made)
{
    for (size_t at = 0; at < made->len;) {
        size_t n = made->len - at < MSG_DATA_MAX ? made->len - at : MSG_DATA_MAX;
        outgoing_record(out, SIGNATURE_BYTES, made->data + at, n);
        at += n;
    }
    made->len = 0;
}

static void close_file(struct signing *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static void end_object(struct signing *s, struct buf *out)
{
    close_file(s);
    outgoing_record(out, SIGNATURE_END, NULL, 0);
    if (s->hash)
        digest_free(s->hash);
    if (s->signer)
        delta_signer_free(s->signer);
    s->hash = NULL;
    s->signer = NULL;
    s->coarse = s->waits = s->needless = false;
    free(s->want);
    s->want = NULL;
}

static uint64_t random_seed(void)
{
    struct uuid u;
    uint64_t seed;
    uuid_random(&u);
    memcpy(&seed, u.b, sizeof seed);
    return seed;
}

/* Nothing that is wrong here is more than a lost saving: the source then sends all of it. */
static void begin_basis(struct agent *a, struct signing *s, struct buf *out)
{
    struct entry want = outgoing_entry(s->want);
    struct err ignored;
    uint64_t size = 0;
    if (a->store->ops->basis(a->store, &want, &s->fd, &size, &ignored) <= 0 || !delta_worth(size, want.size)) {
        end_object(s, out);
        return;
    }
    s->basis = size;
    s->coarse = delta_large(size, want.size);
    s->signer = s->coarse ? delta_signer_new_coarse(size, random_seed()) : delta_signer_new(size, want.size);
}

static void begin_object(struct agent *a, struct signing *s, struct buf *out)
{
    struct entry want = outgoing_entry(s->want);
    struct err ignored;
    if (a->store->ops->partial(a->store, &want, &s->fd, &s->partial, &ignored) <= 0 || s->partial == 0) {
        close_file(s);
        begin_basis(a, s, out);
        return;
    }
    s->left = s->partial;
    s->hash = digest_new();
}

static void end_partial(struct agent *a, struct signing *s, struct buf *out)
{
    struct buf record = {0};
    struct digest d = digest_end(s->hash);
    buf_u64(&record, s->partial - s->left);
    buf_put(&record, d.b, DIGEST_LEN);
    outgoing_record(out, SIGNATURE_PARTIAL, record.data, record.len);
    buf_free(&record);
    digest_free(s->hash);
    s->hash = NULL;
    close_file(s);
    begin_basis(a, s, out);
}

static void end_basis(struct signing *s, struct buf *out, bool good)
{
    if (!good)
        outgoing_record(out, SIGNATURE_VOID, NULL, 0);
    end_object(s, out);
}

/*
 * The source searches its file now. What it then needs it asks for with the patch, and whatever becomes of that patch:
 * its operation comes to an end, and ends the waiting at the latest.
 */
static void end_coarse(struct signing *s, struct buf *out)
{
    struct buf size = {0};
    buf_u64(&size, s->basis);
    outgoing_record(out, SIGNATURE_COARSE, size.data, size.len);
    buf_free(&size);
    s->coarse = false;
    s->waits = true;
}

int signing_refine(struct agent *a, struct signing *s, const void *request, size_t n, struct err *e)
{
    if (!s->want || !s->waits || s->want->seq != a->seq || a->over == a->seq)
        return 0;
    int rc = delta_signer_refine(s->signer, request, n, e);
    if (rc > 0)
        s->waits = false;
    else
        s->needless = true;
    return rc < 0 ? rc : 0;
}

static void hash_piece(struct agent *a, struct signing *s, struct buf *out)
{
    size_t n = s->left < sizeof s->piece ? (size_t)s->left : sizeof s->piece;
    ssize_t got = n ? file_read(s->fd, s->piece, n) : 0;
    if (got > 0) {
        digest_add(s->hash, s->piece, (size_t)got);
        s->left -= (uint64_t)got;
    }
    if (got <= 0 || s->left == 0)
        end_partial(a, s, out);
}

static ssize_t read_basis(void *ctx, uint64_t pos, void *buf, size_t n, struct err *e)
{
    const struct signing *s = ctx;
    ssize_t got = file_pread(s->fd, buf, n, (off_t)pos);
    return got < 0 ? err_sys(e, "cannot be read") : got;
}

static void sign_piece(struct agent *a, struct signing *s, struct buf *out)
{
    struct delta_input in = {read_basis, s};
    struct err ignored;
    int rc = delta_signer_step(s->signer, &in, a->threads, &s->made, &ignored);
    if (rc >= 0)
        put_bytes(out, &s->made);
    s->made.len = 0;
    if (rc == 0 && s->coarse)
        end_coarse(s, out);
    else if (rc <= 0)
        end_basis(s, out, rc == 0);
}

/* 1: need not wait any more. */
static int wait_over(struct agent *a, struct signing *s, struct buf *out)
{
    if (!s->needless && a->over < s->want->seq)
        return 0;
    end_object(s, out);
    return 1;
}

int signing_produce(struct agent *a, struct outgoing *o, struct err *e)
{
    (void)e;
    if (!o->signing) {
        o->signing = mem_zalloc(sizeof *o->signing);
        o->signing->fd = -1;
    }
    struct signing *s = o->signing;
    if (s->want) {
        if (s->waits)
            return wait_over(a, s, &o->bytes);
        if (s->hash)
            hash_piece(a, s, &o->bytes);
        else
            sign_piece(a, s, &o->bytes);
        return 1;
    }
    s->want = outgoing_next(a, o);
    if (!s->want)
        return 0;
    begin_object(a, s, &o->bytes);
    return 1;
}

void signing_free(struct signing *s)
{
    if (!s)
        return;
    close_file(s);
    if (s->hash)
        digest_free(s->hash);
    if (s->signer)
        delta_signer_free(s->signer);
    buf_free(&s->made);
    free(s->want);
    free(s);
}
