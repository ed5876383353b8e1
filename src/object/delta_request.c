#include "object/delta_request.h"

#include "base/mem.h"
#include "object/delta_sums.h"

#include <stdlib.h>

/* The next of the blocks that are asked for; end: where the last ones ended. 1, 0 when there are no more, or an error. */
static int next(struct rd *r, uint64_t *end, struct delta_blocks *b, struct err *e)
{
    if (rd_left(r) == 0)
        return 0;
    uint64_t gap = rd_varint(r), count = rd_varint(r);
    if (r->bad || count == 0 || (gap == 0 && *end > 0) || gap > DELTA_BLOCKS_MAX || count > DELTA_BLOCKS_MAX ||
        *end + gap + count > DELTA_BLOCKS_MAX)
        return err_set(e, ERR_FORMAT, "request for blocks that make no sense");
    *b = (struct delta_blocks){(uint32_t)(*end + gap), (uint32_t)count};
    *end += gap + count;
    return 1;
}

static int take_block(struct rd *r, uint32_t *block, struct err *e)
{
    *block = rd_u32(r);
    if (r->bad || (*block == 0) != (rd_left(r) == 0) ||
        (*block && (*block < DELTA_BLOCK_MIN || *block > DELTA_BLOCK_MAX)))
        return err_set(e, ERR_FORMAT, "request for sums of %u bytes each", *block);
    return 0;
}

int delta_request_check(const void *p, size_t n, struct err *e)
{
    struct rd r = rd_of(p, n);
    struct delta_blocks b;
    uint32_t block;
    uint64_t end = 0;
    int rc = take_block(&r, &block, e);
    for (int more = rc == 0; more > 0; rc = more)
        more = next(&r, &end, &b, e);
    return rc;
}

int delta_request_get(const void *p, size_t n, uint32_t coarse, uint64_t size, uint32_t *block, struct delta_ranges *r,
                      struct err *e)
{
    struct rd in = rd_of(p, n);
    struct delta_blocks b;
    uint64_t end = 0;
    *r = (struct delta_ranges){0};
    int rc = take_block(&in, block, e);
    if (rc < 0)
        return rc;
    if (*block && coarse % *block)
        return err_set(e, ERR_FORMAT, "request for sums of %u bytes each within blocks of %u", *block, coarse);
    while ((rc = next(&in, &end, &b, e)) > 0) {
        uint64_t pos = (uint64_t)b.first * coarse, len = (uint64_t)b.count * coarse;
        if (pos + len - coarse >= size) {
            rc = err_set(e, ERR_FORMAT, "request for blocks behind the end");
            break;
        }
        if (len > size - pos)
            len = size - pos;
        if ((r->n & (r->n - 1)) == 0)
            r->at = mem_resize(r->at, r->n ? 2 * r->n : 1, sizeof *r->at);
        r->at[r->n++] = (struct delta_range){r->total, pos, len};
        r->total += len;
    }
    if (rc == 0 && *block && r->total > (uint64_t)*block * DELTA_BLOCKS_MAX)
        rc = err_set(e, ERR_FORMAT, "request for too many sums");
    if (rc < 0)
        delta_ranges_free(r);
    return rc;
}

bool delta_request_put(uint32_t block, const struct delta_blocks *b, size_t n, struct buf *out)
{
    size_t before = out->len;
    uint64_t end = 0;
    buf_u32(out, block);
    for (size_t i = 0; i < n; i++) {
        buf_varint(out, b[i].first - end);
        buf_varint(out, b[i].count);
        end = (uint64_t)b[i].first + b[i].count;
    }
    if (out->len - before <= DELTA_RECORD_MAX)
        return true;
    out->len = before;
    return false;
}

void delta_ranges_free(struct delta_ranges *r)
{
    free(r->at);
    *r = (struct delta_ranges){0};
}

uint64_t delta_ranges_find(const struct delta_ranges *r, uint64_t at, uint64_t *follow)
{
    size_t low = 0, high = r->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (r->at[middle].before <= at)
            low = middle;
        else
            high = middle;
    }
    uint64_t in = at - r->at[low].before;
    *follow = r->at[low].len - in;
    return r->at[low].pos + in;
}
