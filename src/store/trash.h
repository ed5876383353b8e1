/*
 * The trash: STATE/trash/RUN/PATH, plain files with their metadata, where RUN is the time
 * of the run, and RUN.txt, which tells of each item when, why and what (trash_record.h). Made at the first use.
 */
#ifndef STORE_TRASH_H
#define STORE_TRASH_H

#include "base/clock.h"
#include "base/err.h"
#include "object/entry.h"
#include "store/store.h"

struct trash;

struct trash_args {
    int state;               /* borrowed, as all here */
    const char *shown;       /* for messages */
    int64_t now;             /* when the run began, by the clock of the machine that drives it */
    int64_t keep;            /* seconds that items stay; 0: those of this run go at its end */
    bool hold;               /* nothing is ever taken out: whoever drives may not be trusted with that */
    const char *by;          /* who drives the run; NULL: not known */
    const struct store_watch *watch; /* NULL: nobody listens */
};

struct trash *trash_new(const struct trash_args *args);
void trash_free(struct trash *t);

#define TRASH_LEFT_OVER "left over" /* the reason for what a killed run left: it may be what nobody has seen */

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

/* The name of this run's directory; "" before the first use. */
const char *trash_run_name(const struct trash *t);

/* All that was put there so far has a durable replacement, or needs none. */
void trash_settled(struct trash *t);

/* What was put there last has got no replacement after all: nothing of this run is taken away before the next one. */
void trash_needed(struct trash *t);

/* Did it fail for lack of room? */
bool trash_no_room(const struct err *e);
/*
 * The disk is full: removes items, the oldest first, until about that many bytes are free. Of this run only those
 * that are settled. False when there was nothing to remove.
 */
bool trash_make_room(struct trash *t, uint64_t bytes);

/* The end of a run: removes what has expired. What cannot be removed is left, and told. */
void trash_expire(struct trash *t);

#endif
