/*
 * What a store's state remembers of its objects: the recorded manifest, and on top
 * of it what the journal of a run that did not end says it had done or was about to do.
 */
#ifndef STORE_HISTORY_H
#define STORE_HISTORY_H

#include "base/err.h"
#include "object/entry.h"
#include "object/manifest.h"

struct history;

struct history_at {
    const struct entry *recorded; /* NULL: the path is not in the manifest */
    const struct entry *intent;   /* the last put that was begun for the path; place.ino is set when it was
                                     seen through. NULL: not in the journal, or a deletion that was seen
                                     through: then its tombstone is what is recorded. Of what was pruned
                                     nothing is: the intent, as if it had not been seen through, is there for
                                     its version alone */
};

/*
 * Both descriptors may be -1 (nothing recorded, no journal) and are borrowed. self: the store, to which the
 * journal must belong, and whose counters make the floor. NULL with e.
 */
struct history *history_new(int manifest, int journal, const struct uuid *self, struct err *e);
void history_free(struct history *h);

/*
 * Told of each path that is passed over, since neither it nor a directory above was sought or carried; in order, from
 * within the calls that pass it. Pointers are valid until it returns. 1: it stands on in the new manifest as it
 * is recorded; 0: it does not; or an error, which ends that call. It must not call history_seek or history_carry.
 */
typedef int history_missed(void *ctx, const struct history_at *at);
void history_on_missed(struct history *h, history_missed *missed, void *ctx); /* NULL: nobody is told */

/*
 * Looks up a path; paths must ascend from call to call. Pointers are valid until the next call. 0 or an
 * error.
 */
int history_seek(struct history *h, const char *path, size_t len, struct history_at *at, struct err *e);

/*
 * 1: *entry is the next recorded entry that is path itself or lies below it, in order; 0: none is left.
 * Takes them as seen: a path that was sought before does not come again. An intent that was seen through
 * stands for the recorded entry of its path and kind, and a deletion for that of a file; other intents are
 * skipped, so that what is carried always has its parents.
 */
int history_carry(struct history *h, const char *path, size_t len, const struct entry **entry,
                  struct err *e);

/*
 * After the last seek: runs out the rest. *floor = the highest counter of self's in any entry that was not
 * sought or carried and in any intent, or the manifest's own floor if that is higher. May be asked again.
 */
int history_end(struct history *h, uint64_t *floor, struct err *e);
/* Objects of the recorded manifest that, by the journal, deletions and prunings took away; final after history_end. */
uint64_t history_taken(const struct history *h);
uint64_t history_floor(const struct history *h); /* the manifest's own, before the scan; 0 without one */
/* What was sought under this entry's path is not there after all: counts as passed over. */
void history_gone(struct history *h, const struct entry *e);
/*
 * Has anything been passed over so far that was not sought or carried, or any intent? True at the end: a
 * new manifest must be saved.
 */
bool history_dropped(const struct history *h);

/*
 * Content by place: finds the digest of a recorded file that now has another path (a renamed directory
 * keeps its files' inode, ctime and mtime), and when that was verified. The index (40 bytes a file) is built when first a file is asked
 * for that is not younger than the manifest. Leaves what history_seek gave valid. 1 found, 0 not, or an
 * error.
 */
int history_moved(struct history *h, const struct entry_place *place, uint64_t size, struct stamp mtime,
                  struct digest *out, int64_t *verified, struct err *e);

#endif
