/* What shape a signature has, and making one. */
#include "object/delta.h"

#include "base/mem.h"
#include "object/delta_sums.h"

#include <stdlib.h>

#define SIZE_MIN 16384u  /* below this a file is sent sooner than compared */
#define BLOCK_MIN 1024u
#define STRONG 16u
#define BASIS_SHARE 16u     /* a basis smaller than this part of the file cannot help much */
#define SIGNATURE_SHARE 16u /* a signature is at most this part of the file */

/*
 * A signature costs 20 bytes a block, and each change that stands alone costs about one block of literals: for k
 * changes a block of sqrt(20 * size / k) is best. We take k for some hundreds (8 KiB at 1 GiB), and powers of two,
 * of which four can be summed at once. Sums cost the same time whatever the block. Large files get larger blocks than
 * that, so that their index stays small.
 */
static uint64_t block_for(uint64_t basis)
{
    uint64_t block = BLOCK_MIN;
    while (block < DELTA_BLOCK_MAX && (block * block < basis / 32 || block * DELTA_BLOCKS_MAX < basis))
        block *= 2;
    return block;
}

static uint64_t signature_size(uint64_t basis, uint64_t block)
{
    uint64_t blocks = basis / block + (basis % block != 0);
    return DELTA_SIGNATURE_HEAD + blocks * (4 + STRONG);
}

struct delta_shape delta_shape_for(uint64_t basis, uint64_t want)
{
    uint64_t block = block_for(basis);
    while (block < DELTA_BLOCK_MAX && block < want / SIGNATURE_SHARE &&
           signature_size(basis, block) > want / SIGNATURE_SHARE)
        block *= 2; /* a small part of a large basis is wanted */
    return (struct delta_shape){(uint32_t)block, STRONG};
}

uint64_t delta_signature_size(uint64_t basis, uint64_t want)
{
    return signature_size(basis, delta_shape_for(basis, want).block);
}

bool delta_worth(uint64_t basis, uint64_t want)
{
    return basis >= SIZE_MIN && want >= SIZE_MIN && basis >= want / BASIS_SHARE &&
           basis <= (uint64_t)DELTA_BLOCK_MAX * DELTA_BLOCKS_MAX &&
           delta_signature_size(basis, want) <= want / SIGNATURE_SHARE;
}

struct delta_signer {
    struct delta_shape shape;
    struct delta_sums *sums; /* NULL until the header is out */
    struct buf held;         /* bytes that are not yet a group of blocks */
    uint64_t left;           /* bytes of the announced basis */
};

struct delta_signer *delta_signer_new(uint64_t basis, uint64_t want)
{
    struct delta_signer *s = mem_zalloc(sizeof *s);
    s->shape = delta_shape_for(basis, want);
    s->left = basis;
    if (s->left / s->shape.block >= DELTA_BLOCKS_MAX)
        s->left = (uint64_t)s->shape.block * DELTA_BLOCKS_MAX;
    return s;
}

void delta_signer_free(struct delta_signer *s)
{
    if (!s)
        return;
    delta_sums_free(s->sums);
    buf_free(&s->held);
    free(s);
}

static void put_be32(struct buf *out, uint32_t v)
{
    for (unsigned shift = 32; shift > 0; shift -= 8)
        buf_u8(out, (uint8_t)(v >> (shift - 8)));
}

static int start(struct delta_signer *s, struct buf *out, struct err *e)
{
    if (s->sums)
        return 0;
    s->sums = delta_sums_new(s->shape, e);
    if (!s->sums)
        return ERR_FORMAT;
    put_be32(out, DELTA_SIGNATURE_MAGIC);
    put_be32(out, s->shape.block);
    put_be32(out, s->shape.strong);
    return 0;
}

/* Sums what groups of blocks are in p and holds what is left over. */
static int sum(struct delta_signer *s, const uint8_t *p, size_t n, struct buf *out, struct err *e)
{
    size_t block = s->shape.block, group = block * delta_sums_group(s->sums);
    int rc = 0;
    if (s->held.len) {
        size_t k = group - s->held.len < n ? group - s->held.len : n;
        buf_put(&s->held, p, k);
        p += k;
        n -= k;
        if (s->held.len < group)
            return 0;
        rc = delta_sums_blocks(s->sums, s->held.data, group / block, out, e);
        s->held.len = 0;
    }
    size_t whole = n - n % group;
    if (rc == 0 && whole)
        rc = delta_sums_blocks(s->sums, p, whole / block, out, e);
    buf_put(&s->held, p + whole, n - whole);
    return rc;
}

int delta_signer_feed(struct delta_signer *s, const void *p, size_t n, struct buf *out, struct err *e)
{
    int rc = start(s, out, e);
    if (rc < 0)
        return rc;
    if (n > s->left)
        n = (size_t)s->left;
    s->left -= n;
    return n ? sum(s, p, n, out, e) : 0;
}

int delta_signer_end(struct delta_signer *s, struct buf *out, struct err *e)
{
    int rc = start(s, out, e);
    size_t n = s->held.len, rest = n % s->shape.block;
    if (rc == 0 && n > rest)
        rc = delta_sums_blocks(s->sums, s->held.data, n / s->shape.block, out, e);
    if (rc == 0 && rest)
        rc = delta_sums_last(s->sums, s->held.data + (n - rest), rest, out, e);
    return rc;
}
