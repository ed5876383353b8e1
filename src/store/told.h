/*
 * Keeps what a watch would be told, for later or never: for work of which it is not known yet
 * whether it will count.
 */
#ifndef STORE_TOLD_H
#define STORE_TOLD_H

#include "store/store.h"

struct told;

struct told *told_new(const struct store_watch *to); /* borrowed */
/* To be told in its place. Progress is passed on at once; when there is too much to keep, it says
   ERR_CHANGED. */
const struct store_watch *told_watch(struct told *t);
void told_tell(struct told *t); /* all of it, in its order, once */
void told_free(struct told *t); /* NULL is allowed */

#endif
