/* What lies in the trash, read from the names of its runs and from their lists. Whatever is foreign there is passed over. */
#ifndef STORE_TRASH_LIST_H
#define STORE_TRASH_LIST_H

#include <sys/stat.h>

#include "base/err.h"
#include "store/store.h"
#include "store/trash_record.h"

/* The directory of the trash: a descriptor, or -1 with errno (ENOENT: nothing was ever put there). */
int trash_list_top(int state);

struct trash_run {
    char name[TRASH_RUN_MAX + 1];
    int64_t when;
    unsigned n; /* of those that began in the same second */
};

/* The runs, the oldest first; *run is owned by the caller. 0 or an error. */
int trash_list_runs(int top, struct trash_run **run, size_t *n, struct err *e);

/* A run's list. */
struct trash_reader;

/* NULL when there is none that could be read. */
struct trash_reader *trash_reader_new(int top, const char *run);
void trash_reader_free(struct trash_reader *r);
/* The next line that tells of an item, whether that is still there or not: valid until the next call; NULL at the end. */
const struct trash_record *trash_reader_next(struct trash_reader *r);
uint64_t trash_reader_at(const struct trash_reader *r); /* bytes of the list up to the end of that line */
const char *trash_reader_by(const struct trash_reader *r); /* who drove the run, as it is shown; "" when that is not known */

/* The directory of an item below its run's directory, and its name there (in r): a descriptor for the caller to close, or -1. */
int trash_list_parent(int top, const char *run, const struct trash_record *r, const char **leaf);
/* An item: is a file or symlink there? */
bool trash_list_look(int top, const char *run, const struct trash_record *r, struct stat *st);

/* All items of all runs, the oldest run first. state -1: there are none. 0, what tell gave, or an error. */
int trash_list_all(int state, const char *shown, const struct uuid *store, int (*tell)(void *, const struct store_trash *),
                   void *ctx, struct err *e);

#endif
