/*
 * The walk over a directory store: from the file system and the store's history
 * to a fresh manifest.
 */
#ifndef STORE_SCAN_H
#define STORE_SCAN_H

#include "store/history.h"
#include "store/store.h"

#define SCAN_RACY_SECONDS 2

struct scan_args {
    int root;                    /* borrowed */
    struct uuid self;
    struct stamp now;            /* when the scan begins */
    bool checksum;
    unsigned threads;            /* 0: as many as there are cores */
    const struct filter *filter; /* NULL: none */
    uint64_t skip_dev, skip_ino; /* a directory that is not entered or listed (the store's state); 0: none */
    struct history *history;
    const struct store_watch *watch;
};

/*
 * Walks the tree and puts every object into w, in path order. report->totals and changed are left to the
 * caller except that changed is set when any entry differs from what history had. An object that cannot be
 * read is reported through watch->problem, recorded as ENTRY_UNKNOWN, and counted in problems. <0 only when
 * the walk as a whole cannot go on.
 */
int scan_tree(const struct scan_args *args, struct manifest_writer *w, struct store_scan *report,
              struct err *e);

#endif
