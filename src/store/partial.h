/*
 * Partials: what runs that were cut short left of large objects that came by stream, so that a later run goes on
 * where they ended. STATE/partial/DIGEST.SIZE, of the object that it is to become. Only what lies there when a
 * store is scanned is gone on with, each of them once: nothing of this run's own is ever written to twice.
 */
#ifndef STORE_PARTIAL_H
#define STORE_PARTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "object/entry.h"
#include "store/temp.h"

#define PARTIAL_DIR "partial"
#define PARTIAL_WORTH ((uint64_t)1 << 20)  /* bytes: with less than that it is not kept */
#define PARTIAL_DAYS 7                     /* it is kept since it was last written to */

struct partials;

/* Reads the names in the state directory (borrowed; -1: there is none). Without a directory there are no partials. */
struct partials *partial_new(int state);
void partial_free(struct partials *p); /* p may be NULL */

size_t partial_count(const struct partials *p); /* that can be gone on with */
bool partial_have(const struct partials *p, const struct digest *d);

/* What there is of want's content, to read from: the caller closes *fd. False: nothing, or it is being written to. */
bool partial_read(const struct partials *p, const struct entry *want, int *fd, uint64_t *size);

/*
 * The temp for want: what there is of it, of *found bytes, or an empty one. False when it has to be an ordinary
 * one: the partial is taken already, or a file that is made there would not be like one made in parent.
 */
bool partial_take(struct partials *p, const struct entry *want, int parent, struct temp *t, uint64_t *found);
/* A partial that was there and is taken, wherever it is by now: a descriptor to pread from (borrowed), or -1. */
int partial_taken(const struct partials *p, const struct entry *want);
/* Closes a temp that is not to take its place now. keep: it stays if it is worth that, else it is removed. */
void partial_drop(struct temp *t, bool keep);

/*
 * Removes those that are too old, those that nobody can go on with, and those of content that the manifest
 * (borrowed; -1: not known) holds. Trouble is passed over: the next run tries again.
 */
void partial_sweep(struct partials *p, int manifest);

/* DIGEST.SIZE as we write it? */
bool partial_parse(const char *name, struct digest *d, uint64_t *size);

#endif
