/* The directory that a store is. */
#ifndef STORE_ROOT_H
#define STORE_ROOT_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Opens it into *fd and locks it, for as long as *fd is open: shared with others that look, or for us alone. 0, also when it
 * is not there: then *fd is -1. ERR_LOCKED: somebody else has it, and *fd is open without the lock.
 */
int root_open(const char *path, bool shared, int *fd, struct err *e);

bool root_parent_exists(const char *path); /* it could be made */

#endif
