/* The two signatures of a large file. Private to object/delta*.c. */
#ifndef OBJECT_DELTA_SHAPE_H
#define OBJECT_DELTA_SHAPE_H

#include "object/delta.h"

struct delta_shape delta_shape_coarse(uint64_t basis, uint64_t seed);
struct delta_shape delta_shape_fine(uint32_t block);
/*
 * The best block to search for the last want bytes of a file, in so many stretches, within so many bytes of the basis.
 * 0: the signature would cost too much.
 */
uint32_t delta_block_fine(uint64_t basis, uint64_t want, uint64_t changes, uint32_t coarse);

#endif
