/*
 * The walk over a directory store: from the file system and the store's history
 * to a fresh manifest.
 */
#ifndef STORE_SCAN_H
#define STORE_SCAN_H

#include "store/history.h"
#include "store/recall.h"
#include "store/renames.h"
#include "store/store.h"

#define SCAN_RACY_SECONDS 2

/* What the group's rules make of what is not there. Times are seconds since 1970, by the coordinator's clock. */
struct scan_absence {
    bool deletes;       /* what is missing was deleted: it leaves a tombstone */
    int64_t now;        /* of new tombstones */
    int64_t tombstones; /* seconds: those that are further away from now are dropped */
};

struct scan_args {
    int root;                    /* borrowed */
    struct uuid self;
    struct stamp now;            /* when the scan begins */
    bool checksum;
    enum digest_algo hash;       /* of contents */
    bool cross;                  /* other file systems are entered */
    struct scan_absence absence;
    unsigned part, parts;        /* as in struct store_rules; that much is read again, and then at most: */
    uint64_t rate;               /* bytes per second; 0: no limit */
    int64_t verified;            /* what is recorded of content that is read now; not 0 */
    unsigned threads;            /* 0: as many as there are cores */
    const struct filter *filter; /* NULL: none */
    uint64_t skip_dev, skip_ino; /* a directory that is not entered or listed (the store's state); 0: none */
    struct history *history;
    struct recall *recall;       /* gets what is read of small files; NULL: nobody wants it */
    struct renames *renames;     /* is told what went and what came; NULL: nobody is */
    const struct store_watch *watch;
};

struct scan_found {
    uint64_t objects; /* files and symlinks, those that were not looked at included */
    uint64_t deleted; /* new tombstones */
    bool sick;        /* the disk failed somewhere: what was not found may be there all the same */
};

/*
 * Walks the tree and puts every object into w, in path order. report->totals and changed are left to the
 * caller except that changed is set when any entry differs from what history had. Damage is reported, too, but is no
 * error: what follows from it is for others to say. An object that cannot be
 * read is reported through watch->problem, recorded as ENTRY_UNKNOWN, and counted in problems. <0 only when
 * the walk as a whole cannot go on.
 */
int scan_tree(const struct scan_args *args, struct manifest_writer *w, struct store_scan *report,
              struct scan_found *found, struct err *e);

/*
 * Takes back what a scan concluded from absence: copies its manifest from scanned to w, with what is recorded, as
 * ENTRY_UNKNOWN, in the place of each tombstone that history does not know. What has no directory any more is left out.
 */
int scan_doubt(int scanned, struct history *history, struct manifest_writer *w, struct err *e);

#endif
