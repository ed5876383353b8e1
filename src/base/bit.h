/* Sets of members, at most 64, as the bits of a number: bit i is member i. */
#ifndef BASE_BIT_H
#define BASE_BIT_H

#include <stdint.h>

static inline uint64_t bit(unsigned i)
{
    return UINT64_C(1) << i;
}

#endif
