/* What shape a signature has. */
#include "object/delta.h"

#include "object/delta_shape.h"
#include "object/delta_sums.h"

#define SIZE_MIN 16384u  /* below this a file is sent sooner than compared */
#define STRONG 16u
#define BASIS_SHARE 16u     /* a basis smaller than this part of the file cannot help much */
#define SIGNATURE_SHARE 16u /* a signature is at most this part of the file */
#define LARGE (32u << 20)
#define COARSE 16u          /* times the block that would be best for a file searched once */
#define COARSE_MAX (1u << 20)

/*
 * A signature costs 20 bytes a block, and each change that stands alone costs about one block of literals: for k
 * changes a block of sqrt(20 * size / k) is best. We take k for some hundreds (8 KiB at 1 GiB), and powers of two,
 * of which four can be summed at once. Sums cost the same time whatever the block. Large files get larger blocks than
 * that, so that their index stays small.
 */
static uint64_t block_for(uint64_t basis)
{
    uint64_t block = DELTA_BLOCK_MIN;
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
    return (struct delta_shape){(uint32_t)block, STRONG, DELTA_LIBRSYNC, 0};
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

bool delta_large(uint64_t basis, uint64_t want)
{
    return basis >= LARGE && want >= LARGE;
}

/*
 * Changes are found by the fine signature, so this one need only be short: 8192 blocks at 1 GiB. It should not be so
 * coarse that a few thousand changes leave nothing to be found.
 */
struct delta_shape delta_shape_coarse(uint64_t basis, uint64_t seed)
{
    uint64_t block = block_for(basis), most = block < COARSE_MAX ? COARSE_MAX : block;
    block = block * COARSE < most ? block * COARSE : most;
    return (struct delta_shape){(uint32_t)block, DELTA_STRONG_COARSE, DELTA_COARSE, seed};
}

struct delta_shape delta_shape_fine(uint32_t block)
{
    return (struct delta_shape){block, STRONG, DELTA_LIBRSYNC, 0};
}

/* As for block_for, but here the number of changes is known, unless they are so many that nothing was found between. */
uint32_t delta_block_fine(uint64_t basis, uint64_t want, uint64_t changes, uint32_t coarse)
{
    uint64_t block = DELTA_BLOCK_MIN, most = block_for(basis);
    while (block < most && block * block * changes < basis * (4 + STRONG))
        block *= 2;
    bool good = coarse % block == 0 && block <= coarse / 4 && signature_size(basis, block) <= want / SIGNATURE_SHARE;
    return good ? (uint32_t)block : 0;
}
