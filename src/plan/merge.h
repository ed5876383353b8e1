/*
 * N sorted manifests as one stream of rows: for each path, who has what.
 * The merge never blocks: a source that has nothing yet says so, and the caller comes back.
 */
#ifndef PLAN_MERGE_H
#define PLAN_MERGE_H

#include "base/err.h"
#include "object/entry.h"

#define PLAN_MEMBERS_MAX 64

enum merge_state { MERGE_END = 0, MERGE_READY = 1, MERGE_WAIT = 2 }; /* <0: an error */

struct merge_source {
    /* MERGE_READY: *e is the next entry, valid until the next call on this source; MERGE_WAIT; MERGE_END; or an error. */
    int (*next)(void *ctx, const struct entry **e, struct err *err);
    void *ctx;
};

struct merge_row {
    const char *path;
    size_t path_len;
    unsigned members;
    const struct entry *at[PLAN_MEMBERS_MAX]; /* NULL: not there. Valid until the next call of merge_next */
    uint64_t blind; /* bit i: member i could not look into a directory above this path: it takes no part */
    bool forked;    /* a directory on one member, something else or a tombstone on another */
};

struct merge;

struct merge *merge_new(const struct merge_source *source, unsigned n); /* sources are copied */
void merge_free(struct merge *m);

/* MERGE_READY with *row, MERGE_WAIT (some source has nothing yet; call again), MERGE_END, or an error; *failed then is the source's index. */
int merge_next(struct merge *m, struct merge_row *row, unsigned *failed, struct err *e);

#endif
