/* Entries that are put together from several sources: does each still have its directory? */
#ifndef OBJECT_PARENTS_H
#define OBJECT_PARENTS_H

#include <stdbool.h>

#include "base/path.h"
#include "object/entry.h"

/* All zero: nothing has passed. */
struct parents {
    size_t len;
    char dir[PATH_LEN_MAX + 1]; /* the last directory that passed */
};

/*
 * For entries in path order, each of which is written if this says so: false for what has no directory any more (below a
 * file that took the place of one, say). Tombstones need none.
 */
bool parents_pass(struct parents *p, const struct entry *e);

#endif
