/*
 * The sums of blocks as librsync makes them: the fence around that library. Private to object/delta*.c.
 * A block's entry is u32 weak sum (big-endian) and the strong sum, as in a signature.
 */
#ifndef OBJECT_DELTA_SUMS_H
#define OBJECT_DELTA_SUMS_H

#include "base/buf.h"
#include "base/err.h"
#include "object/delta.h"

#define DELTA_SIGNATURE_MAGIC 0x72730147u /* RS_RK_BLAKE2_SIG_MAGIC */
#define DELTA_MAGIC 0x72730236u
#define DELTA_SIGNATURE_HEAD 12u
#define DELTA_STRONG_MIN 16u
#define DELTA_STRONG_MAX 32u
#define DELTA_ENTRY_MAX (4u + DELTA_STRONG_MAX)

struct delta_sums;
struct delta_sums *delta_sums_new(struct delta_shape shape, struct err *e);
void delta_sums_free(struct delta_sums *s); /* NULL is fine */
/*
 * Consumes all n bytes and appends the entries of the blocks that they complete. With end, what is left is the
 * last, shorter block; after it only delta_sums_free.
 */
int delta_sums_feed(struct delta_sums *s, const void *p, size_t n, bool end, struct buf *out, struct err *e);

#endif
