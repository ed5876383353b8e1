/*
 * The coordinator's copy of a member's last manifest, so that the member need only tell what is new. One
 * file for each member and address in a directory of the user's. It is a cache: nothing in it is trusted before
 * it was read through, and nothing is lost with it. Whatever goes wrong here costs a whole manifest, never the run.
 */
#ifndef RUN_CACHE_H
#define RUN_CACHE_H

#include "object/manifest.h"
#include "plan/plan.h"

/* The directory: given, or else the usual place. NULL when there is none; the caller frees. */
char *cache_dir(const char *given);

struct cache;
/* For the store with this id at this address, in a group whose contents have this hash. write: may change what is on the disk. Strings are copied. */
struct cache *cache_new(const char *dir, const struct uuid *id, const char *where, enum digest_algo hash, bool write);
void cache_free(struct cache *c); /* what was not completed goes */

/* Is there a manifest, whole and sound? Then its totals. Forgets what was being recorded. */
bool cache_find(struct cache *c, struct manifest_totals *totals);
/* Of what cache_find found; the caller frees it, before the cache. NULL with an error. */
struct manifest_reader *cache_read(struct cache *c, struct err *err);
void cache_spoil(struct cache *c); /* what was found is no good after all: removes it */

/* Records a manifest anew: begin, put in order what a decoder has passed, and keep when these are its totals. */
void cache_begin(struct cache *c);
void cache_put(struct cache *c, const struct entry *e);
void cache_keep(struct cache *c, const struct manifest_totals *totals);

/*
 * All operations that the plan has for this member were carried out: records the manifest that is kept anew, as it is
 * after them. It is for cache_keep to say that this is what the member has recorded. Nothing, when the plan had none.
 */
void cache_advance(struct cache *c, struct plan *plan, unsigned member);

/* Why the cache could not be used or written, or NULL. */
const char *cache_trouble(const struct cache *c);

#endif
