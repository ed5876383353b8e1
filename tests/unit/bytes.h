/* Contents in memory. Include it after cmocka.h. */
#ifndef UNIT_BYTES_H
#define UNIT_BYTES_H

#include <string.h>

#include "base/buf.h"
#include "object/delta.h"

static inline uint64_t bytes_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static inline void bytes_expect_same(const struct buf *a, const struct buf *b)
{
    assert_int_equal(a->len, b->len);
    if (a->len)
        assert_memory_equal(a->data, b->data, a->len);
}

/* Reads as of a file. It notes nothing, as two threads may read. */
static inline ssize_t bytes_read(void *ctx, uint64_t pos, void *p, size_t n, struct err *e)
{
    const struct buf *b = ctx;
    (void)e;
    if (pos >= b->len)
        return 0;
    if (n > b->len - pos)
        n = (size_t)(b->len - pos);
    memcpy(p, b->data + pos, n);
    return (ssize_t)n;
}

static inline struct delta_input bytes_input(const struct buf *b)
{
    return (struct delta_input){bytes_read, (void *)(uintptr_t)b};
}

#endif
