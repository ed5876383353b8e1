/*
 * What is remembered of a store that keeps no records itself, such as a blob-server: versions, origins and when objects
 * were first seen, in a directory of its own. Lost, it is made anew from what the store lists. Where no directory can be
 * had, the same is made for this run alone.
 */
#ifndef STORE_BLOB_KEEP_H
#define STORE_BLOB_KEEP_H

#include "store/blob.h"
#include "store/store.h"

/* What a store listed: ids in their order, each once. */
struct blob_list {
    struct buf text;         /* ids, NUL-terminated */
    struct blob_listed {
        size_t at;           /* in text */
        bool checked;        /* its content was read now: */
        bool damaged;        /* it is not what its id says */
        bool unknown;        /* its content should have been read, and could not be */
        uint64_t size;       /* else its bytes, */
        struct digest digest; /* their digest; zero: the id says it all */
        struct stamp mtime;  /* and when they were written, where that is known */
    } *item;
    size_t n, cap;
};

void blob_list_add(struct blob_list *l, const char *id, size_t len);
void blob_list_sort(struct blob_list *l); /* and throws out what is there twice */
struct blob_listed *blob_list_find(struct blob_list *l, const char *id);
void blob_list_free(struct blob_list *l);
static inline const char *blob_list_id(const struct blob_list *l, size_t i)
{
    return (const char *)l->text.data + l->item[i].at;
}

struct blob_keep;

int blob_keep_make_dir(const char *path); /* and all above it: 0, or -1 with errno */

/*
 * shown: how the store is called in messages; dir: where to keep it, made by the scan with what is missing above;
 * NULL: nowhere. self: the id of the store where none is recorded. options are borrowed.
 */
struct blob_keep *blob_keep_new(const struct store_options *options, const char *shown, const char *dir,
                                const struct uuid *self);
/*
 * It is a directory that anybody can take something out of: what it had and has not was deleted, where the rules say that this
 * counts. There is no scan without records, but in a dry run.
 */
void blob_keep_of_directory(struct blob_keep *k);
void blob_keep_free(struct blob_keep *k);

/* Of the store's functions, what is about records; info's flags and caps are the caller's. */
int blob_keep_inspect(struct blob_keep *k, struct store_info *info, struct err *e);
int blob_keep_status(struct blob_keep *k, struct store_status *out, struct err *e);
struct uuid blob_keep_id(const struct blob_keep *k);
int blob_keep_state(const struct blob_keep *k); /* its directory, borrowed; -1 when there is none */
const char *blob_keep_shown(const struct blob_keep *k); /* that, for messages */
int blob_keep_manifest(const struct blob_keep *k);
int blob_keep_manifest_before(const struct blob_keep *k);

/* Begins a scan: sets *before, and calls each for what is recorded as damaged. */
int blob_keep_begin(struct blob_keep *k, const struct uuid *id, const char *group, const struct store_rules *rules,
                    uint64_t *before, void (*damaged)(void *ctx, const char *id), void *ctx, struct err *e);
/* Makes the manifest of what the store lists, with what is recorded of it. */
int blob_keep_scan(struct blob_keep *k, const struct blob_list *list, struct store_scan *out, struct err *e);

/* From the scan on: an operation that is done is kept with the next commit. Those of a phase come in path order. */
int blob_keep_done(struct blob_keep *k, const struct entry *entry, struct err *e);
int blob_keep_pruned(struct blob_keep *k, const struct entry *entry, struct err *e); /* of STORE_PRUNE */
/* So is it that an object is damaged. */
int blob_keep_damaged(struct blob_keep *k, const char *id, struct err *e);
/* What the store did when it was last asked to take something away. Remembered at once. */
enum blob_removal { BLOB_UNTRIED, BLOB_TAKES, BLOB_REFUSES };
enum blob_removal blob_keep_removal(const struct blob_keep *k);
void blob_keep_set_removal(struct blob_keep *k, enum blob_removal how);
int blob_keep_commit(struct blob_keep *k, const struct store_peer *peer, size_t peers, struct err *e);

#endif
