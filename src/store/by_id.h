/*
 * What the stores share whose objects are known by their id: a blob-server, and a directory of blobs as a blob-server has it
 * on its disk. What neither can remember is kept by store/blob_keep.
 */
#ifndef STORE_BY_ID_H
#define STORE_BY_ID_H

#include "object/digest.h"
#include "object/sha1.h"
#include "store/blob.h"
#include "store/blob_keep.h"
#include "store/store.h"

#define BY_ID_DAMAGED "is damaged: its content does not have the SHA-1 that is its id"

/* Such a store begins with it. */
struct by_id {
    struct store store;        /* first */
    struct store_options o;
    struct blob_keep *keep;
    struct blob_list suspects; /* ids that are recorded as damaged */
    bool scanned;
    /* While an object is read to its end: lets more of it come, where that takes anything; came: there was some just now. */
    void (*turn)(struct by_id *b, bool came);
};

void by_id_free(struct by_id *b); /* what it has, not itself */

/* ---- scanning ---- */

/* Looks at what is recorded: out's before, and the suspects. */
int by_id_begin(struct by_id *b, const struct uuid *id, const char *group, struct store_scan *out, struct err *e);
/* It has nothing now: ERR_GUARD where that is to be looked at first. what: it "is empty", say; disk: what is to be mounted. */
int by_id_guard(const struct by_id *b, uint64_t before, const char *what, const char *disk, struct err *e);
bool by_id_due(struct by_id *b, const char *id); /* is it to be read? Each part of a scrub is the same share of all ids */
void by_id_tell_damage(const struct by_id *b, const char *id);

/* Names as they are listed. */
struct by_id_names {
    struct blob_list *list; /* borrowed; gets what is an id */
    uint64_t skipped;
    char shown[256];        /* the first of these */
};

void by_id_take(struct by_id_names *n, const char *name, size_t len);
void by_id_skip(struct by_id_names *n, const char *name, size_t len);
/* Tells of those that were skipped, where there are any: who "has" names that cannot be what. */
void by_id_tell_skipped(const struct by_id *b, const struct by_id_names *n, const char *who, const char *what);

/* ---- reading: an object on its way out ---- */

struct by_id_blob {
    char *id;
    struct sha1 *sha1;        /* NULL: its id says nothing of its content */
    uint64_t got;             /* bytes so far */
    struct digest_state *sum; /* NULL: what was asked for is whatever is there; else what has this digest: */
    struct digest digest;
};

void by_id_blob_begin(struct by_id_blob *b, const struct entry *want);
void by_id_blob_add(struct by_id_blob *b, const void *p, size_t n);
/* It has all been read, of a store and by a path that messages name. STORE_BLOB_END, ERR_CHANGED or ERR_DAMAGED. */
int by_id_blob_end(struct by_id *b, const struct by_id_blob *blob, const char *path, struct err *e);
void by_id_blob_free(struct by_id_blob *b);

/* ---- as in struct store_ops ---- */

int by_id_status(struct store *s, struct store_status *out, struct err *e);
int by_id_manifest(struct store *s);
int by_id_manifest_before(struct store *s);
int by_id_have(struct store *s, const struct digest *d, size_t n, uint8_t *have, struct err *e);
int by_id_read_open(struct store *s, const struct entry *want, struct err *e);
int by_id_read_file(struct store *s, const struct entry *want, void *buf, struct err *e);
int by_id_read_link(struct store *s, const struct entry *want, char *target, size_t size, struct err *e);
int by_id_check(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e);
int by_id_nothing(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e); /* partial, basis */
int by_id_put_keep(struct store *s, uint64_t n, struct err *e);
int by_id_trash_list(struct store *s, int (*tell)(void *ctx, const struct store_trash *item), void *ctx, struct err *e);
int by_id_trash_empty(struct store *s, int64_t now, int64_t older, uint64_t *items, uint64_t *bytes, struct err *e);

#endif
