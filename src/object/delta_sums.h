/*
 * The sums of blocks, as librsync makes them and of the coarse kind: the fence around that library. Private to object/delta*.c.
 * A block's entry is u32 weak sum (big-endian) and the strong sum, as in a signature.
 */
#ifndef OBJECT_DELTA_SUMS_H
#define OBJECT_DELTA_SUMS_H

#include "base/buf.h"
#include "base/err.h"
#include "object/delta.h"

#define DELTA_SIGNATURE_MAGIC 0x72730147u /* RS_RK_BLAKE2_SIG_MAGIC */
#define DELTA_MAGIC 0x72730236u
#define DELTA_COARSE_MAGIC 0x736f7363u
#define DELTA_SIGNATURE_HEAD 12u
#define DELTA_COARSE_HEAD 20u
#define DELTA_STRONG_COARSE 16u
#define DELTA_STRONG_MIN 16u
#define DELTA_STRONG_MAX 32u
#define DELTA_ENTRY_MAX (4u + DELTA_STRONG_MAX)
#define DELTA_GROUP_MAX 4u

struct delta_sums;
struct delta_sums *delta_sums_new(struct delta_shape shape, struct err *e);
void delta_sums_free(struct delta_sums *s); /* NULL is fine */
/* Whole blocks, one behind the other: appends their entries. Fastest with a multiple of delta_sums_group(). */
int delta_sums_blocks(struct delta_sums *s, const uint8_t *p, size_t blocks, struct buf *out, struct err *e);
/* One block that is shorter (n > 0); after it only delta_sums_free. */
int delta_sums_last(struct delta_sums *s, const uint8_t *p, size_t n, struct buf *out, struct err *e);
size_t delta_sums_group(const struct delta_sums *s); /* blocks; not much memory; at most DELTA_GROUP_MAX */

#endif
