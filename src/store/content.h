/* Moves content between descriptors, digesting it on the way. Compares with what it should be. */
#ifndef STORE_CONTENT_H
#define STORE_CONTENT_H

#include <stdbool.h>

#include "base/err.h"
#include "object/entry.h"
#include "store/store.h"
#include "store/trash.h"

struct content;

/* Both borrowed. Where the disk is full, the trash makes room; NULL: it does not. */
struct content *content_new(const struct store_watch *watch, struct trash *trash);
void content_free(struct content *c);

/*
 * Copies from (at its start) to to (at its start). ERR_CHANGED when size or digest are not those of want;
 * ERR_SYS; whatever watch->progress stopped it with, and then *stopped is set.
 */
int content_copy(struct content *c, int to, int from, const struct entry *want, bool *stopped, struct err *e);
/* Reads fd from its start and compares, as above. */
int content_verify(struct content *c, int fd, const struct entry *want, bool *stopped, struct err *e);

bool content_is(struct content *c, const struct entry *want, const void *p, size_t n); /* n bytes that are there as a whole */

/* Content that comes in pieces. */
void content_begin(struct content *c);
int content_add(struct content *c, int to, const struct entry *want, const void *p, size_t n, struct err *e);
/* The first n bytes of from (ERR_CHANGED if it has fewer); to -1: they are there already. Errors as of content_copy. */
int content_head(struct content *c, int to, int from, uint64_t n, const struct entry *want, bool *stopped,
                 struct err *e);
uint64_t content_got(const struct content *c); /* bytes so far */
int content_end(struct content *c, const struct entry *want, struct err *e);

#endif
