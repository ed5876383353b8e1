/*
 * A manifest as text that standard mtree tools verify. Through libarchive, which mtree.c alone knows.
 * Names are bytes: nothing here depends on the locale.
 */
#ifndef OBJECT_MTREE_H
#define OBJECT_MTREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "object/entry.h"

struct mtree;
/*
 * Written to fd (borrowed), through a buffer. With sha256, content handed to mtree_data is
 * digested where the entry itself does not know (standard tools know no XXH3). Entries come in path order, parents first; a directory's time
 * is not written. '*', '?' and '[' in names are written for mtree(8), which takes names for patterns.
 */
struct mtree *mtree_new(int fd, bool sha256, struct err *e);
bool mtree_knows(const struct entry *entry); /* its SHA-256, so that its content need not be handed in */
int mtree_put(struct mtree *m, const struct entry *entry, const char *target,
                      struct err *e); /* target: a symlink's, else NULL */
/* Of the last file put. It gets a digest when exactly its size was handed in; more is ERR_CHANGED. */
int mtree_data(struct mtree *m, const void *p, size_t n, struct err *e);
int mtree_end(struct mtree *m, struct err *e); /* flushes and frees, also on error */

#endif
