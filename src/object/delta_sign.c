/* Making signatures: of a whole basis, or of parts of it. */
#include "object/delta.h"

#include "base/mem.h"
#include "base/pair.h"
#include "object/delta_request.h"
#include "object/delta_shape.h"
#include "object/delta_sums.h"

#include <stdlib.h>

#define PIECE ((size_t)4 << 20) /* bytes of the basis that a thread sums in a step, at least */

/* One thread's share of a step. */
struct piece {
    const struct delta_signer *signer;
    const struct delta_input *in;
    uint64_t at;             /* of what is signed, one range behind the other */
    size_t n;
    uint8_t *bytes;
    struct delta_sums *sums;
    struct buf out;
    int rc;
    struct err e;
};

struct delta_signer {
    struct delta_shape shape;
    uint64_t basis;             /* bytes of it */
    uint64_t at, end;           /* of what is signed: done, all */
    struct delta_ranges ranges; /* none: the whole basis */
    bool begun;                 /* the header is out */
    size_t size;                /* bytes of a whole piece: full groups of blocks */
    struct piece piece[2];
};

/* Begins another signature. */
static void begin(struct delta_signer *s, struct delta_shape shape, uint64_t end)
{
    s->shape = shape;
    s->at = 0;
    s->end = end;
    s->begun = false;
    for (unsigned i = 0; i < 2; i++) {
        delta_sums_free(s->piece[i].sums);
        free(s->piece[i].bytes);
        s->piece[i].sums = NULL;
        s->piece[i].bytes = NULL;
    }
}

static struct delta_signer *new_signer(uint64_t basis, struct delta_shape shape)
{
    struct delta_signer *s = mem_zalloc(sizeof *s);
    uint64_t most = (uint64_t)shape.block * DELTA_BLOCKS_MAX;
    s->basis = basis;
    begin(s, shape, basis < most ? basis : most);
    return s;
}

struct delta_signer *delta_signer_new(uint64_t basis, uint64_t want)
{
    return new_signer(basis, delta_shape_for(basis, want));
}

struct delta_signer *delta_signer_new_coarse(uint64_t basis, uint64_t seed)
{
    return new_signer(basis, delta_shape_coarse(basis, seed));
}

void delta_signer_free(struct delta_signer *s)
{
    if (!s)
        return;
    begin(s, s->shape, 0);
    for (unsigned i = 0; i < 2; i++)
        buf_free(&s->piece[i].out);
    delta_ranges_free(&s->ranges);
    free(s);
}

int delta_signer_refine(struct delta_signer *s, const void *request, size_t n, struct err *e)
{
    uint32_t block;
    delta_ranges_free(&s->ranges);
    int rc = delta_request_get(request, n, s->shape.block, s->basis, &block, &s->ranges, e);
    if (rc < 0 || block == 0)
        return rc;
    begin(s, delta_shape_fine(block), s->ranges.total);
    return 1;
}

static void put_be32(struct buf *out, uint32_t v)
{
    for (unsigned shift = 32; shift > 0; shift -= 8)
        buf_u8(out, (uint8_t)(v >> (shift - 8)));
}

static int start(struct delta_signer *s, struct buf *out, struct err *e)
{
    for (unsigned i = 0; i < 2; i++)
        if (!(s->piece[i].sums = delta_sums_new(s->shape, e)))
            return ERR_FORMAT;
    size_t group = s->shape.block * delta_sums_group(s->piece[0].sums);
    s->size = PIECE > group ? PIECE - PIECE % group : group;
    bool coarse = s->shape.kind == DELTA_COARSE;
    put_be32(out, coarse ? DELTA_COARSE_MAGIC : DELTA_SIGNATURE_MAGIC);
    put_be32(out, s->shape.block);
    put_be32(out, s->shape.strong);
    if (coarse) {
        put_be32(out, (uint32_t)(s->shape.seed >> 32));
        put_be32(out, (uint32_t)s->shape.seed);
    }
    s->begun = true;
    return 0;
}

/* n bytes of what is signed. 0 or an error. */
static int read_signed(const struct piece *p, struct err *e)
{
    size_t done = 0;
    while (done < p->n) {
        uint64_t pos = p->at + done, k = p->n - done, follow = k;
        if (p->signer->ranges.n)
            pos = delta_ranges_find(&p->signer->ranges, pos, &follow);
        if (k > follow)
            k = follow;
        ssize_t got = p->in->read(p->in->ctx, pos, p->bytes + done, (size_t)k, e);
        if (got < 0)
            return (int)got;
        if ((uint64_t)got != k)
            return err_set(e, ERR_CHANGED, "it is shorter than it was");
        done += (size_t)k;
    }
    return 0;
}

static void sum_piece(void *arg)
{
    struct piece *p = arg;
    size_t block = p->signer->shape.block, rest = p->n % block;
    p->out.len = 0;
    p->rc = read_signed(p, &p->e);
    if (p->rc == 0 && p->n > rest)
        p->rc = delta_sums_blocks(p->sums, p->bytes, p->n / block, &p->out, &p->e);
    if (p->rc == 0 && rest) /* only at the end of all */
        p->rc = delta_sums_last(p->sums, p->bytes + (p->n - rest), rest, &p->out, &p->e);
}

static void give_piece(struct delta_signer *s, struct piece *p, const struct delta_input *in)
{
    p->signer = s;
    p->in = in;
    p->at = s->at;
    p->n = s->end - s->at < s->size ? (size_t)(s->end - s->at) : s->size;
    if (!p->bytes)
        p->bytes = mem_alloc(p->n); /* none is larger than the first */
    s->at += p->n;
}

int delta_signer_step(struct delta_signer *s, const struct delta_input *in, unsigned threads, struct buf *out,
                      struct err *e)
{
    int rc = s->begun ? 0 : start(s, out, e);
    unsigned n = 0;
    if (rc < 0)
        return rc;
    for (; n < 2 && s->at < s->end; n++)
        give_piece(s, &s->piece[n], in);
    if (n == 2)
        pair_run(sum_piece, &s->piece[0], &s->piece[1], threads > 1);
    else if (n == 1)
        sum_piece(&s->piece[0]);
    for (unsigned i = 0; i < n; i++) {
        struct piece *p = &s->piece[i];
        if (p->rc < 0) {
            *e = p->e;
            return p->rc;
        }
        buf_put(out, p->out.data, p->out.len);
    }
    return s->at < s->end;
}
