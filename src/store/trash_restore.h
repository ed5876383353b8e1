/* An object goes from the trash back to where it was: a local edit, which the next scan finds. */
#ifndef STORE_TRASH_RESTORE_H
#define STORE_TRASH_RESTORE_H

#include "base/err.h"
#include "object/version.h"
#include "store/trash.h"

struct trash_restore {
    int root, state;       /* borrowed, as all that follows */
    const struct uuid *store;
    const char *forbidden; /* a path that is no object, nor is what is below it; NULL: none */
    struct trash *trash;   /* for what stands there by now */
    bool no_delete;        /* that must be of the same kind */
    bool sync;
};

/* The item of this id in a run. 0, durable when sync is set, or an error; then the item is where it was. */
int trash_restore(const struct trash_restore *how, const char *run, uint64_t id, struct err *e);

#endif
