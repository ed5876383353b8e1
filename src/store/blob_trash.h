/*
 * The trash of what keeps its state beside it: of a directory of blobs, and, in the state directory of the machine that drives
 * the run, of a blob-server, which has none. An object and its metadata are two files of one run there, ID and ID.json.
 */
#ifndef STORE_BLOB_TRASH_H
#define STORE_BLOB_TRASH_H

#include "store/blob_keep.h"
#include "store/trash.h"
#include "store/trash_record.h"

/* NULL where no state is kept. keep: as in struct trash_args. */
struct trash *blob_trash_new(const struct blob_keep *k, const struct store_options *o, int64_t now, int64_t keep);
/* After a commit: what has been there for long enough goes. t: what this run has put there; NULL: nothing. */
void blob_trash_expire(const struct blob_keep *k, const struct store_options *o, struct trash *t);

/* As the store's functions of these names. Metadata is not listed by itself. */
int blob_trash_list(const struct blob_keep *k, int (*tell)(void *ctx, const struct store_trash *item), void *ctx, struct err *e);
int blob_trash_empty(const struct blob_keep *k, const struct store_options *o, int64_t now, int64_t older, uint64_t *items,
                     uint64_t *bytes, struct err *e);

/* The item of this id in a run; and the metadata that was put there with it: *id of that, 0: there is none. 0 or an error. */
int blob_trash_find(const struct blob_keep *k, const char *run, uint64_t id, struct trash_record *item, uint64_t *side,
                    struct err *e);
/* An item, to read from: a descriptor, or -1. */
int blob_trash_open(const struct blob_keep *k, const char *run, uint64_t id);
/* What was put there last for this object, with its metadata, is needed no more. */
void blob_trash_forget(const struct blob_keep *k, const struct trash *t, const char *object);
/* It has been put back. */
void blob_trash_drop(const struct blob_keep *k, const char *run, uint64_t id);

#endif
