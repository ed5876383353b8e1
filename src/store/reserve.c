#include "store/reserve.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define INODES 4            /* a manifest, a journal, lists */
#define NAME "reserve.new"  /* for a moment, where a file must have one */

struct reserve {
    int fd[INODES]; /* -1: none; the first has the bytes */
    uint64_t bytes;
    bool unable;    /* this file system cannot keep room */
};

static int open_one(int state)
{
    int fd = openat(state, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    fd = openat(state, NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    unlinkat(state, NAME, 0); /* also that of a killed run */
    return fd;
}

struct reserve *reserve_new(int state)
{
    struct reserve *r = mem_zalloc(sizeof *r);
    for (int i = 0; i < INODES; i++)
        r->fd[i] = open_one(state);
    r->unable = r->fd[0] < 0;
    return r;
}

void reserve_free(struct reserve *r)
{
    for (int i = 0; r && i < INODES; i++)
        if (r->fd[i] >= 0)
            close(r->fd[i]);
    free(r);
}

bool reserve_keep(struct reserve *r, uint64_t bytes)
{
    if (r->unable || bytes <= r->bytes)
        return true;
    if (fallocate(r->fd[0], 0, (off_t)r->bytes, (off_t)(bytes - r->bytes)) == 0) {
        r->bytes = bytes;
        return true;
    }
    if (errno != ENOSPC && errno != EDQUOT) {
        r->unable = true;
        return true;
    }
    /* A part of it may have been had. */
    if (ftruncate(r->fd[0], (off_t)r->bytes) < 0)
        r->unable = true;
    return false;
}

bool reserve_give(struct reserve *r, uint64_t bytes)
{
    if (r->unable || r->bytes == 0)
        return false;
    uint64_t left = bytes < r->bytes ? r->bytes - bytes : 0;
    if (ftruncate(r->fd[0], (off_t)left) < 0)
        return false;
    r->bytes = left;
    return true;
}

uint64_t reserve_claim(uint64_t manifest)
{
    return 2 * (manifest + RESERVE_LEAST);
}
