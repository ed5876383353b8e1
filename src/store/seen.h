/* What the scan saw at a path, small enough to be kept: is that still what is there? */
#ifndef STORE_SEEN_H
#define STORE_SEEN_H

#include <stdbool.h>
#include <sys/stat.h>

#include "object/entry.h"

struct seen {
    enum entry_kind kind; /* 0: nothing was there */
    uint64_t size;
    struct stamp mtime;
    struct entry_place place;
};

struct seen seen_of(const struct entry *e); /* e NULL: nothing */
/*
 * A file with other names may have got its ctime from what we did to one of these. Of a directory only the kind counts. ctime false: it may have changed, since a rename or a link is
 * such a change.
 */
bool seen_is(const struct seen *s, const struct stat *st, bool ctime);

struct stamp seen_mtime(const struct stat *st);
struct entry_place seen_place(const struct stat *st); /* not racy */

#endif
