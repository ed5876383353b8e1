/*
 * The journal: what a run is about to do to a store, and what it has done, in case it does not get to
 * its commit. An append-only file of records, each with a length and a checksum: INTENT (a whole
 * entry, written and synced before its object is renamed into place), DONE (index of the intent, its
 * place; written after) and UNDO (index). Intents come in path order within a phase of a run; a torn
 * record at the end is the end. A header ties it to the store's uuid.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "base/err.h"
#include "object/entry.h"

/* ---- writing ---- */

struct journal;
/* Starts an empty journal in fd (truncates it). fd is owned from now on. */
/* NULL with e; fd is then closed */
struct journal *journal_new(int fd, const struct uuid *store, struct err *e);
void journal_free(struct journal *j); /* closes the descriptor; what was not flushed is lost, on purpose */
uint64_t journal_intent(struct journal *j, const struct entry *e); /* buffered; returns its index, from 0 */
/*
 * The intent to take an object away of which nothing is to be recorded any more. Standing there as a hidden tombstone,
 * which no other intent is, it has the object's version: for what is made under its name later has to count above it.
 */
uint64_t journal_prune(struct journal *j, const struct entry *e);
bool journal_is_prune(const struct entry *intent);
/* buffered; place->ino must not be 0: for a tombstone, which has no place, it is this one */
#define JOURNAL_NO_PLACE ((struct entry_place){.ino = 1})
void journal_done(struct journal *j, uint64_t intent, const struct entry_place *place);
/* buffered: it failed and left nothing behind; readers skip it */
void journal_undo(struct journal *j, uint64_t intent);
/* writes what is buffered; sync: fdatasync too */
int journal_flush(struct journal *j, bool sync, struct err *e);
uint64_t journal_intents(const struct journal *j);
uint64_t journal_bytes(const struct journal *j);   /* of all that it was given, */
uint64_t journal_waiting(const struct journal *j); /* and of these, not written yet */

/* ---- reading ---- */

/*
 * All intents in path order, the last one where a path has several. fd is borrowed, read with pread. A
 * file that ends within its header is an empty journal. NULL with e: ERR_FORMAT for another store's or
 * no journal at all, ERR_SYS.
 */
struct journal_reader;
struct journal_reader *journal_reader_new(int fd, const struct uuid *store, struct err *e);
void journal_reader_free(struct journal_reader *r);
/* all of them, also those that are skipped */
uint64_t journal_reader_intents(const struct journal_reader *r);
/* 1: *entry (valid until the next call; place.ino is set when done), *done; 0: the end; or an error. */
int journal_reader_next(struct journal_reader *r, const struct entry **entry, bool *done, struct err *e);

#endif
