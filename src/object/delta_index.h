/* What a maker asks of an index. Private to object/delta*.c. An entry is as in delta_sums.h. */
#ifndef OBJECT_DELTA_INDEX_H
#define OBJECT_DELTA_INDEX_H

#include "object/delta_request.h"

#define DELTA_NONE UINT32_MAX

struct delta_index {
    uint64_t max;             /* bytes that the signature may have */
    struct delta_shape shape; /* zero until the header has come */
    struct buf raw;           /* the signature */
    size_t head;              /* bytes of its header */
    uint32_t count;           /* blocks */
    uint32_t *table;          /* hash of a weak sum -> block + 1; 0 where free. 1 << bits slots, and some behind */
    uint64_t *filter;         /* one bit for each hash of filter_bits bits: most misses end here, in the cache */
    unsigned bits, filter_bits;
    struct delta_ranges ranges; /* what was signed; none: the whole basis */
};

static inline uint32_t delta_index_hash(uint32_t weak)
{
    return weak * 0x9e3779b1u; /* the high bits are the good ones */
}

/* False: no block has this weak sum. */
static inline bool delta_index_may_have(const struct delta_index *x, uint32_t weak)
{
    uint32_t i = delta_index_hash(weak) >> (32 - x->filter_bits);
    return x->filter[i >> 6] >> (i & 63) & 1;
}

bool delta_index_has_weak(const struct delta_index *x, uint32_t weak);
const uint8_t *delta_index_entry(const struct delta_index *x, uint32_t block);
/* A block with exactly this entry, or DELTA_NONE. */
uint32_t delta_index_find(const struct delta_index *x, const uint8_t *entry);

/* Where the block stands in the basis. */
uint64_t delta_index_pos(const struct delta_index *x, uint32_t block);

uint32_t delta_index_weak(const uint8_t *entry);

#endif
