/*
 * A signature, loaded. Whoever sent it may want us to burn time: a table of chained sums could be made as slow as
 * its longest chain. So a sum stands within PROBES slots of its place or is left out, which costs its sender a
 * match and us nothing.
 */
#include "object/delta_index.h"

#include "base/mem.h"
#include "object/delta_sums.h"

#include <stdlib.h>
#include <string.h>

#define PROBES 32u
#define FILTER_BITS 4u /* the filter has 16 bits for each slot of the table, of which half are free */

struct delta_index *delta_index_new(uint64_t max)
{
    struct delta_index *x = mem_zalloc(sizeof *x);
    x->max = max;
    return x;
}

void delta_index_free(struct delta_index *x)
{
    if (!x)
        return;
    buf_free(&x->raw);
    delta_ranges_free(&x->ranges);
    free(x->table);
    free(x->filter);
    free(x);
}

size_t delta_index_memory(const struct delta_index *x)
{
    size_t n = sizeof *x + x->raw.cap + x->ranges.n * sizeof *x->ranges.at + 2 * (size_t)x->shape.block;
    if (x->table)
        n += ((1u << x->bits) + PROBES) * sizeof *x->table + ((size_t)1 << x->filter_bits >> 3);
    return n;
}

static size_t entry_size(const struct delta_index *x)
{
    return 4 + x->shape.strong;
}

uint32_t delta_index_weak(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The kind is known by the first bytes, and with it the length of the header. */
static int take_kind(struct delta_index *x, struct err *e)
{
    uint32_t magic = delta_index_weak(x->raw.data);
    if (magic != DELTA_SIGNATURE_MAGIC && magic != DELTA_COARSE_MAGIC)
        return err_set(e, ERR_FORMAT, "signature of an unknown kind (0x%08x)", magic);
    x->head = magic == DELTA_COARSE_MAGIC ? DELTA_COARSE_HEAD : DELTA_SIGNATURE_HEAD;
    return 0;
}

static int take_header(struct delta_index *x, struct err *e)
{
    const uint8_t *p = x->raw.data;
    struct delta_shape shape = {delta_index_weak(p + 4), delta_index_weak(p + 8), DELTA_LIBRSYNC, 0};
    if (x->head == DELTA_COARSE_HEAD) {
        shape.kind = DELTA_COARSE;
        shape.seed = (uint64_t)delta_index_weak(p + 12) << 32 | delta_index_weak(p + 16);
    }
    uint32_t longest = shape.kind == DELTA_COARSE ? DELTA_STRONG_COARSE : DELTA_STRONG_MAX;
    if (shape.block < 1 || shape.block > DELTA_BLOCK_MAX)
        return err_set(e, ERR_FORMAT, "signature with blocks of %u bytes", shape.block);
    if (shape.strong < DELTA_STRONG_MIN || shape.strong > longest)
        return err_set(e, ERR_FORMAT, "signature with strong sums of %u bytes", shape.strong);
    x->shape = shape;
    uint64_t most = x->head + (uint64_t)DELTA_BLOCKS_MAX * entry_size(x);
    if (x->max > most)
        x->max = most;
    return 0;
}

/* Takes what the header lacks until it has so many bytes; how many that were. */
static size_t fill_header(struct delta_index *x, size_t want, const uint8_t *p, size_t n)
{
    size_t lacks = want > x->raw.len ? want - x->raw.len : 0;
    n = lacks < n ? lacks : n;
    buf_put(&x->raw, p, n);
    return n;
}

int delta_index_feed(struct delta_index *x, const void *p, size_t n, struct err *e)
{
    const uint8_t *data = p;
    if (!x->shape.block) {
        size_t used = fill_header(x, DELTA_SIGNATURE_HEAD, data, n);
        if (x->raw.len < DELTA_SIGNATURE_HEAD)
            return 0;
        int rc = take_kind(x, e);
        if (rc < 0)
            return rc;
        used += fill_header(x, x->head, data + used, n - used);
        if (x->raw.len < x->head)
            return 0;
        if ((rc = take_header(x, e)) < 0)
            return rc;
        data += used;
        n -= used;
    }
    if (x->raw.len > x->max || n > x->max - x->raw.len)
        return err_set(e, ERR_FORMAT, "signature longer than %llu bytes", (unsigned long long)x->max);
    buf_put(&x->raw, data, n);
    return 0;
}

const uint8_t *delta_index_entry(const struct delta_index *x, uint32_t block)
{
    return x->raw.data + x->head + block * entry_size(x);
}

uint64_t delta_index_pos(const struct delta_index *x, uint32_t block)
{
    uint64_t at = (uint64_t)block * x->shape.block, follow;
    return x->ranges.n ? delta_ranges_find(&x->ranges, at, &follow) : at;
}

static uint32_t *place(const struct delta_index *x, uint32_t weak)
{
    return x->table + (delta_index_hash(weak) >> (32 - x->bits));
}

static void add(struct delta_index *x, uint32_t block)
{
    const uint8_t *entry = delta_index_entry(x, block);
    uint32_t weak = delta_index_weak(entry), *slot = place(x, weak), *end = slot + PROBES;
    while (slot < end && *slot) {
        if (memcmp(delta_index_entry(x, *slot - 1), entry, entry_size(x)) == 0)
            return; /* blocks that are alike: the first will do */
        slot++;
    }
    if (slot == end)
        return;
    *slot = block + 1;
    uint32_t bit = delta_index_hash(weak) >> (32 - x->filter_bits);
    x->filter[bit >> 6] |= (uint64_t)1 << (bit & 63);
}

int delta_index_end(struct delta_index *x, struct err *e)
{
    if (!x->shape.block)
        return err_set(e, ERR_FORMAT, "signature ends early");
    if ((x->raw.len - x->head) % entry_size(x))
        return err_set(e, ERR_FORMAT, "signature ends in the middle of a block");
    x->count = (uint32_t)((x->raw.len - x->head) / entry_size(x));
    x->raw.data = mem_resize(x->raw.data, x->raw.len, 1);
    x->raw.cap = x->raw.len;
    x->bits = 6;
    while ((1u << x->bits) < 2 * x->count)
        x->bits++;
    x->filter_bits = x->bits + FILTER_BITS;
    x->table = mem_zalloc(((1u << x->bits) + PROBES) * sizeof *x->table);
    x->filter = mem_zalloc((size_t)1 << x->filter_bits >> 3);
    for (uint32_t i = 0; i < x->count; i++)
        add(x, i);
    return 0;
}

bool delta_index_has_weak(const struct delta_index *x, uint32_t weak)
{
    uint32_t *slot = place(x, weak);
    for (uint32_t *end = slot + PROBES; slot < end && *slot; slot++)
        if (delta_index_weak(delta_index_entry(x, *slot - 1)) == weak)
            return true;
    return false;
}

uint32_t delta_index_find(const struct delta_index *x, const uint8_t *entry)
{
    uint32_t *slot = place(x, delta_index_weak(entry));
    for (uint32_t *end = slot + PROBES; slot < end && *slot; slot++)
        if (memcmp(delta_index_entry(x, *slot - 1), entry, entry_size(x)) == 0)
            return *slot - 1;
    return DELTA_NONE;
}
