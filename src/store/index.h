/*
 * Which content a manifest's files hold: from a digest to the entries that have it. 16 bytes of memory
 * per file.
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "object/entry.h"

struct index;

/* Reads the whole manifest (borrowed). Damaged, unknown and hidden entries are passed over. NULL with e. */
struct index *index_new(int manifest, struct err *e);
void index_free(struct index *x);

/* yes[i] = does a file have the digest d[i]? 0 or an error. */
int index_have(struct index *x, const struct digest *d, size_t n, bool *yes, struct err *e);

/*
 * The nth file (from 0) with this digest. 1: *found, valid until the next call; 0: there are no more;
 * or an error.
 */
int index_find(struct index *x, const struct digest *d, size_t nth, const struct entry **found,
               struct err *e);

#endif
