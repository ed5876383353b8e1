/*
 * Operations on their way to being durable: prepared beside their targets, journalled
 * and synced together, then put in place, then reported, in the order they were given.
 */
#ifndef STORE_PUT_BATCH_H
#define STORE_PUT_BATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"
#include "object/entry.h"
#include "store/journal.h"
#include "store/reserve.h"
#include "store/seen.h"
#include "store/store.h"
#include "store/temp.h"
#include "store/trash.h"

/* A target's directory, shared by the items in it. */
struct parent {
    int fd;
    dev_t dev;
    unsigned refs;
    size_t len;
    char path[];
};

enum put_kind {
    PUT_OUTCOME, /* nothing is left to be done: only the outcome is waiting for its turn */
    PUT_FILE,    /* a temp is to take its place */
    PUT_LINK,    /* a symlink to target is to be made */
    PUT_META,    /* mode and times are to be set on what is there */
    PUT_REMOVE,  /* what is there is to go to the trash */
    PUT_RECORD,  /* only the journal is to know */
};

struct put_item {
    uint64_t seq;
    enum put_kind kind;
    int code;             /* the outcome: 0 or ERR_* */
    char *message;        /* of a failure; owned */
    bool keep_intent;     /* it failed, and may have left something for the next scan to look after */
    bool stands, known;   /* by put_ahead: it is in place; and st is right */
    uint64_t intent;      /* in the journal, of all kinds but PUT_OUTCOME */
    struct parent *parent; /* holds a reference; NULL where nothing is to be done */
    char *path;           /* owned */
    const char *leaf;     /* in path */
    struct temp temp;
    char *target;         /* of a PUT_LINK; owned */
    struct seen seen;     /* what may be there */
    bool gone;            /* it is a tombstone's */
    bool prunes;          /* of a PUT_REMOVE: a copy that is not wanted here */
    enum store_why why;   /* that goes to the trash */
    uint32_t mode;
    uint64_t size;
    struct digest digest;
    struct stamp mtime;
    struct stat st;
};

struct put_batch_args {
    int root;                        /* borrowed, as all that follows */
    int state;
    struct journal *journal;
    struct trash *trash;
    enum store_fsync fsync;
    unsigned threads;                /* 0: as many as there are cores */
    const struct store_watch *watch;
    bool cross;                      /* the store goes on where other file systems are mounted */
    int64_t verified;                /* what is recorded of files that are put in place */
    struct reserve *reserve;         /* room for the journal */
};

struct put_batch;

struct put_batch *put_batch_new(const struct put_batch_args *args);
void put_batch_free(struct put_batch *b); /* what is not in place is given up; temps vanish */

/* The directory of a path: borrowed until the next call. NULL with errno. */
struct parent *put_batch_parent(struct put_batch *b, const char *path, size_t len);

/*
 * A new last item; it stays the batch's. parent and entry are NULL for a PUT_OUTCOME, and parent is
 * where only the journal is to know.
 */
struct put_item *put_batch_add(struct put_batch *b, uint64_t seq, enum put_kind kind, struct parent *parent,
                               const struct entry *entry);
void put_batch_fail(struct put_item *item, const struct err *why);

/* A directory whose last mode would shut us out: it is set when the paths have left it. */
void put_batch_narrow(struct put_batch *b, const struct entry *dir, uint64_t intent);
/* One that is to go, if it is empty, when the paths have left it. dir is its tombstone. */
void put_batch_clear_out(struct put_batch *b, const struct entry *dir, uint64_t intent);

/*
 * Carries the items out, and reports those of the batch before, when it is time; path is where the
 * work goes on.
 */
int put_batch_tend(struct put_batch *b, const char *path, size_t len, uint64_t bytes, struct err *e);
int put_batch_flush(struct put_batch *b, struct err *e); /* all of it, reported */
int put_batch_journal(struct put_batch *b, bool sync, struct err *e); /* what it has so far is written, also on a full disk */

uint64_t put_batch_done(const struct put_batch *b); /* operations that changed something, so far */
void put_batch_count(struct put_batch *b); /* one more of them, made outside of the batch */

#endif
