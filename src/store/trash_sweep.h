/*
 * Taking things out of the trash for good. Whole runs go when they have expired: that is seen by their names and by
 * the time at which their lists were last written to, so that nothing is walked through that stays. Symlinks are
 * never followed, and what is not named like a run stays.
 */
#ifndef STORE_TRASH_SWEEP_H
#define STORE_TRASH_SWEEP_H

#include "base/err.h"
#include "store/store.h"

struct trash_sweep {
    int state;         /* borrowed */
    int64_t now;       /* by the driver's clock */
    int64_t here;      /* by that of the store's own machine; 0: it is asked */
    /*
     * Seconds since a run began by the driver's clock, and since it last put something there by that of the store's own
     * machine: both must have passed, so that one clock that is wrong costs nothing. A run that is in the future by
     * the driver's clock is judged by the other alone; one that is in the future by that counts as of now.
     * 0: whatever the clocks say.
     */
    int64_t older;
    const char *spare; /* a run that stays; "": none */
    const struct store_watch *watch; /* NULL: nobody listens */
    uint64_t items, bytes; /* out: what was removed, files and symlinks */
};

/* 0, or the first error; what can be removed is, all the same. A stop by the watch ends it. */
int trash_sweep(struct trash_sweep *how, struct err *e);

/* A run none of whose items is there any more goes. */
void trash_sweep_empty(int top, const char *run);

/* One item after the other, the oldest first. */
struct trash_room;
struct trash_room *trash_room_new(int state);
void trash_room_free(struct trash_room *r);
/*
 * Removes items that take about so many bytes. Of the run called own only those within the first so many bytes of its list. False when
 * nothing was left to be removed.
 */
bool trash_room_make(struct trash_room *r, uint64_t bytes, const char *own, uint64_t settled);

#endif
