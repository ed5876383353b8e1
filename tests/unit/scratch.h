/* Directories that a test makes and removes. */
#ifndef UNIT_SCRATCH_H
#define UNIT_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

/* A new one whose name begins so, below $TMPDIR or /tmp; its path in out. 0 or -1. */
static inline int scratch_make(char *out, size_t size, const char *name)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(out, size, "%s/%s.XXXXXX", tmp && tmp[0] ? tmp : "/tmp", name);
    return mkdtemp(out) ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* It and all below it. 0 or -1. */
static inline int scratch_remove(const char *path)
{
    return nftw(path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
