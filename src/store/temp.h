/*
 * Temporary files beside their target, and how they take their place. Unnamed where the
 * file system can, so that a killed run leaves nothing; else under a name of ours. Or a
 * partial, which lies in the state directory, and which a killed run leaves on purpose.
 */
#ifndef STORE_TEMP_H
#define STORE_TEMP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/path.h"

#define TEMP_NAME_START PATH_TEMP "tmp."

struct temp {
    int fd;        /* open for reading and writing; -1 for a symlink */
    int home;      /* of a partial: the directory of its name (borrowed); else -1, and that is the target's */
    char name[88]; /* "": it has none */
};

/* All take the directory of the target; -1 with errno on failure. */

/*
 * named: do not try without a name; set when it turns out that there is no other way. The caller's
 * umask is 0.
 */
int temp_open(struct temp *t, int dir, mode_t mode, bool *named);
int temp_symlink(struct temp *t, int dir, const char *target);
/* Into place under leaf, where nothing may be (EEXIST). */
int temp_place(struct temp *t, int dir, const char *leaf);
int temp_give_name(struct temp *t, int dir); /* in dir, if it has none yet */
/* What stands under leaf gets the name of a temp instead, which is then without a descriptor. */
int temp_take_away(struct temp *t, int dir, const char *leaf);
void temp_drop(struct temp *t, int dir); /* closes it, and unlinks it if it has a name; a partial stays */

bool temp_is_name(const char *name); /* could we have made this name? */

/*
 * renameat2 with RENAME_NOREPLACE, or as near to it as the file system comes. EEXIST when something is
 * there.
 */
int temp_rename(int from_dir, const char *from, int to_dir, const char *to);

#endif
