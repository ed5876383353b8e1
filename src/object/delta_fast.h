/*
 * The sums of four blocks at once, the same as librsync's, for processors that have vectors of 256 bits: summing is
 * nearly all the time that a delta takes, and librsync sums one block at a time. Private to object/delta*.c.
 */
#ifndef OBJECT_DELTA_FAST_H
#define OBJECT_DELTA_FAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DELTA_FAST_BLOCKS 4u
#define DELTA_FAST_MULTIPLE 128u /* a block must be a multiple of so many bytes */
#define DELTA_FAST_STRONG 32u /* bytes of an uncut strong sum */

struct delta_fast {
    uint32_t weak[DELTA_FAST_BLOCKS];
    uint8_t strong[DELTA_FAST_BLOCKS][DELTA_FAST_STRONG];
};

/* False: delta_fast_sum must not be called on this processor. */
bool delta_fast_usable(void);
/* The weak sum of n bytes, on any processor. */
uint32_t delta_weak(const uint8_t *p, size_t n);
/* Of four blocks that lie one behind the other; block is not 0. */
void delta_fast_sum(const uint8_t *p, size_t block, struct delta_fast *out);

#endif
