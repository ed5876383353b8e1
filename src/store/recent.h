/*
 * What a run that is still under way has put in place, as its journal says.
 */
#ifndef STORE_RECENT_H
#define STORE_RECENT_H

#include "base/err.h"
#include "object/entry.h"

struct recent;

/* journal: borrowed, and of this store; what is written to it from now on is not seen. NULL with e. */
struct recent *recent_new(int journal, const struct uuid *store, struct err *e);
void recent_free(struct recent *r);

/*
 * *found: the entry that was made last at this path, with its place, valid until the next call; NULL: none was, or it was
 * taken away. Cheap where paths ascend. 0 or an error.
 */
int recent_find(struct recent *r, const char *path, size_t len, const struct entry **found, struct err *e);

#endif
