/*
 * The trash: STATE/trash/RUN/PATH, plain files with their metadata, where RUN is the time
 * of the run, and RUN.txt, which tells of each item when, why and what. Made at the first use.
 */
#ifndef STORE_TRASH_H
#define STORE_TRASH_H

#include "base/clock.h"
#include "base/err.h"
#include "object/entry.h"

struct trash;

#define TRASH_DAMAGED "damaged" /* the reason of content that was damaged, and was healed by a good copy */

/* both borrowed; shown is for messages */
struct trash *trash_new(int state, const char *shown, struct stamp now);
void trash_free(struct trash *t);

/*
 * Moves a file or symlink to where path would be; a name that is taken gets ".~2~" and so on behind
 * it. 0 or an error.
 */
int trash_take(struct trash *t, int dir, const char *name, const char *path, const char *reason,
               struct err *e);

/*
 * Gives it a second name there and leaves the first. 0; 1 where the file system cannot do that; or an
 * error.
 */
int trash_keep(struct trash *t, int dir, const char *name, const char *path, const char *reason,
               struct err *e);

/*
 * What this run has put there for this path, to read from: a descriptor that the caller closes, or -1. A clash of
 * names may hide it or give another of that name: the caller judges it by its content.
 */
int trash_open(const struct trash *t, const char *path);

#endif
