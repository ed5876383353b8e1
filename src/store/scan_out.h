/*
 * The scan's way out: entries go into the new manifest in the order in which the walk gives them, whether
 * they are known at once or wait for a digest. Keeps the report, and tells the watch.
 */
#ifndef STORE_SCAN_OUT_H
#define STORE_SCAN_OUT_H

#include "store/scan.h"
#include "store/scan_batch.h"
#include "store/scan_judge.h"

#define SCAN_OUT_UNSTEADY "changed while it was read; left for the next run"

struct scan_out {
    const struct scan_args *args;
    struct scan_judge judge;
    struct manifest_writer *writer;
    struct store_scan *report;
    struct err *e;

    struct scan_batch *batch; /* what waits; NULL until a file must be hashed */
    struct scan_batch *ahead; /* what the pool has, and must be put before that; else empty, or NULL */
    struct scan_pool *pool;   /* NULL until a batch is full */
    struct scan_found *found;
    uint64_t objects, bytes;  /* for progress */
    bool files;               /* one was put at least */
    int64_t ticked;           /* when we last told, in monotonic ms */
    uint64_t *dev;            /* file systems that the walk has been in */
    size_t devs;
    struct entry now;         /* room for the entry that is being made; any call that puts may use it */
    struct entry renewed[2];  /* room for what history has, with another digest */
    struct entry left, aside; /* room for a tombstone, and for what now was before it came between */
};

/* From here to scan_out_end what history passes over is put too; that leaves o->now as it is. */
void scan_out_init(struct scan_out *o, const struct scan_args *args, struct manifest_writer *writer,
                   struct store_scan *report, struct scan_found *found, struct err *e);
void scan_out_end(struct scan_out *o);

/* An object that could not be looked at, for this reason; sys: an errno, or 0. */
void scan_out_problem(struct scan_out *o, const char *path, const char *text, int sys);

/* The walk is in a directory of this file system. */
void scan_out_enters(struct scan_out *o, uint64_t dev);

/* Tells progress when it is time. All from here on return 0, or what ends the scan, with e filled. */
int scan_out_tick(struct scan_out *o);

/* o->now has been seen, with its digest: gives it its version and puts it. */
int scan_out_seen(struct scan_out *o, const struct history_at *at);
/*
 * The digest of o->now by the other hash: what history has with that one is given the new one, so that it is known again.
 * at is good until the next call.
 */
void scan_out_renew(struct scan_out *o, struct history_at *at, const struct digest *other);
/* o->now was seen, but could not be read. */
int scan_out_unread(struct scan_out *o, const struct history_at *at);
/* Nothing is there after all, though at was sought. */
int scan_out_missed(struct scan_out *o, const struct history_at *at);
/* An entry of at is the object as it is now. */
int scan_out_known(struct scan_out *o, const struct entry *known, const struct history_at *at);
/* o->now is a file of dir that must be hashed first. */
int scan_out_job(struct scan_out *o, const struct history_at *at, struct scan_dir *dir);

/*
 * What is recorded at or below a path, and was not sought, stays so with flag (ENTRY_HIDDEN or
 * ENTRY_UNKNOWN). path is not the one of o->now. *count: how many that were; may be NULL.
 */
int scan_out_carry(struct scan_out *o, const char *path, size_t len, unsigned flag, size_t *count);

/* Puts all that waits. */
int scan_out_flush(struct scan_out *o);

#endif
