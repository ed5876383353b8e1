/*
 * Objects that a scan found under new names: a path has vanished, and in the same scan another one appeared with the same
 * content. It is the same object, which keeps its origin and when it was first seen. Its version begins anew, as that
 * belongs to the path.
 */
#ifndef STORE_RENAMES_H
#define STORE_RENAMES_H

#include "object/entry.h"
#include "object/manifest.h"

struct renames;

/* self: the store's, and now: seconds, as what the scan finds new has it. */
struct renames *renames_new(const struct uuid *self, int64_t now);
void renames_free(struct renames *r); /* NULL is nothing */

void renames_gone(struct renames *r, const struct entry *recorded); /* a recorded entry is not there any more, in path order */
void renames_seen(struct renames *r, const struct entry *e);        /* one that is */
bool renames_any(const struct renames *r); /* may there be one? */

/*
 * Copies the scan's manifest to w, new names with the origin and first_seen of what they are. Where there is a choice the
 * same inode decides, then the order of paths. 0 or an error.
 */
int renames_settle(struct renames *r, int scanned, struct manifest_writer *w, struct err *err);

#endif
