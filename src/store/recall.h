/*
 * Content of small files that a scan had to read, kept until somebody asks for it: what is new here is what the other members
 * lack, and opening a small file a second time costs more than reading it does. Content is found by its digest, and is what was
 * scanned. Several threads may use one at a time.
 */
#ifndef STORE_RECALL_H
#define STORE_RECALL_H

#include <stddef.h>
#include <stdint.h>

#include "object/digest.h"

#define RECALL_LARGEST (16u << 10)      /* bytes of content: of more, reading is the greater part */
#define RECALL_BYTES_MAX (256u << 20)
#define RECALL_SHARE 16u                /* of this machine's memory, one part in so many at most */

#define RECALL_FRESH_MS 5000

enum recall_age {
    RECALL_NOTHING, /* it is not kept */
    RECALL_FRESH,   /* so new that a change since might as well have come just after a read */
    RECALL_OLD,     /* whether the file still is that should be looked at */
};

struct recall;
/* bytes of memory that it may take, 0: RECALL_BYTES_MAX, or the machine's share; and how long what it keeps is fresh. */
struct recall *recall_new(uint64_t bytes, int64_t fresh_ms);
void recall_free(struct recall *r); /* NULL is allowed */

/* Copies content, unless it is too large, is kept already, or there is no room any more. */
void recall_put(struct recall *r, const struct digest *d, const void *content, size_t n);
/* Unless it is nothing, n bytes of that digest were copied to out. It is nothing, too, where r is NULL. */
enum recall_age recall_get(struct recall *r, const struct digest *d, size_t n, void *out);

#endif
