/*
 * A manifest's entries by path, for paths that mostly ascend: a reader kept in step, which starts
 * again when they do not.
 */
#ifndef STORE_LOOKUP_H
#define STORE_LOOKUP_H

#include "base/err.h"
#include "object/entry.h"

struct lookup;

struct lookup *lookup_new(int manifest); /* borrowed; read with pread */
void lookup_free(struct lookup *l);

/* *found is the entry, valid until the next call, or NULL when the manifest has none. 0 or an error. */
int lookup_find(struct lookup *l, const char *path, size_t len, const struct entry **found, struct err *e);

#endif
