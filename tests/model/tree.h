/* Looking at what lies in a store. Paths are the test's own and harmless. Whatever cannot be looked at aborts. */
#ifndef MODEL_TREE_H
#define MODEL_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "object/digest.h"

struct tree_object {
    const char *path;     /* below the root */
    const struct stat *st;
    struct digest digest; /* of a file's content and of a symlink's target */
};

typedef void tree_fn(void *ctx, const struct tree_object *o);

/* All below top/below, each directory before what is in it. What is not there has nothing in it. Skips .sos-sync in top itself. */
void tree_visit(const char *top, const char *below, tree_fn *fn, void *ctx);

/* Over everything below top with all that stat tells but atime, .sos-sync included: equal when nothing was changed. */
struct digest tree_snapshot(const char *top);

/* Over the objects alone: kinds, modes, contents, times of all but directories. Equal for stores that hold the same. */
struct digest tree_objects(const char *top);

void tree_remove(const char *path); /* it and all below it, if it is there */

/* Something below top that a run uses only while it works, in out; false: there is none. */
bool tree_leftover(const char *top, char *out, size_t size);

/* Of a content: files start with 'f', symlinks' targets with 'l', so that these differ. */
struct digest tree_digest(bool link, const void *p, size_t n);

/* A new directory in memory, if one can be had, for this program's worlds. To be freed. */
char *tree_workplace(const char *name);

#endif
