/*
 * Content of small files that a scan had to read, kept until somebody asks for it: what is new here is what the other members
 * lack, and opening a small file a second time costs more than reading it does. Content is found by its digest: what is handed
 * out is what was scanned, so whether the file still is that is for the caller to find out. Several threads may use one at a time.
 */
#ifndef STORE_RECALL_H
#define STORE_RECALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "object/digest.h"

#define RECALL_LARGEST (16u << 10)      /* bytes of content: of more, reading is the greater part */
#define RECALL_BYTES_MAX (256u << 20)
#define RECALL_SHARE 16u                /* of this machine's memory, one part in so many at most */

struct recall;
struct recall *recall_new(uint64_t bytes); /* of memory that it may take; 0: RECALL_BYTES_MAX, or the machine's share */
void recall_free(struct recall *r);        /* NULL is allowed */

/* Copies content, unless it is too large, is kept already, or there is no room any more. */
void recall_put(struct recall *r, const struct digest *d, const void *content, size_t n);
/* True: n bytes of that digest were copied to out. False, too, where r is NULL. */
bool recall_get(struct recall *r, const struct digest *d, size_t n, void *out);

#endif
