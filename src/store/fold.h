/* What a journal tells, put to use: at a commit, and after a run that was killed. */
#ifndef STORE_FOLD_H
#define STORE_FOLD_H

#include "base/err.h"
#include "object/version.h"
#include "store/trash.h"

/*
 * Writes to out what manifest says, with what the journal has seen through instead. All borrowed. 0 or
 * an error.
 */
int fold_manifest(int manifest, int journal, int out, const struct uuid *id, struct err *e);

/*
 * A killed run may have left temporary files under a name, the old version of an object among them:
 * those beside an object whose intent was not seen through go to the trash. 0 or an error.
 */
int fold_leftovers(int root, int journal, const struct uuid *id, struct trash *trash, struct err *e);

#endif
