/*
 * What a source asks for when it has searched a file with a coarse signature: a fine one of those parts of the basis
 * that were of no use yet. Private to object/delta*.c.
 */
#ifndef OBJECT_DELTA_REQUEST_H
#define OBJECT_DELTA_REQUEST_H

#include "base/buf.h"
#include "base/err.h"
#include "object/delta.h"

/* A part of the basis; all are bytes. */
struct delta_range {
    uint64_t before; /* of the ranges in front of it */
    uint64_t pos, len;
};

/* They ascend and do not overlap. The fine signature is that of their bytes, one behind the other. */
struct delta_ranges {
    struct delta_range *at;
    size_t n;
    uint64_t total;
};

/* Blocks of the coarse signature. */
struct delta_blocks {
    uint32_t first, count;
};

/* Is the payload of a REFINE well-formed? 0 or ERR_FORMAT. */
int delta_request_check(const void *p, size_t n, struct err *e);
/*
 * The same where the basis is known, of size bytes in blocks of coarse bytes: fills block (0: nothing is asked for)
 * and ranges, which the caller frees.
 */
int delta_request_get(const void *p, size_t n, uint32_t coarse, uint64_t size, uint32_t *block, struct delta_ranges *r,
                      struct err *e);
/* Ascending, and none touches the next. False: longer than a record may be, and out is as it was. */
bool delta_request_put(uint32_t block, const struct delta_blocks *b, size_t n, struct buf *out);

void delta_ranges_free(struct delta_ranges *r);
/* Where in the basis is byte at (less than total) of the ranges' bytes, and how many follow it there? */
uint64_t delta_ranges_find(const struct delta_ranges *r, uint64_t at, uint64_t *follow);

#endif
