/*
 * How bytes reach an agent: a child process on a socketpair. Today the child serves
 * a local store itself; a child that pumps bytes to another machine takes the same place.
 */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include <sys/types.h>

#include "base/err.h"

struct link {
    int fd;    /* our end: non-blocking, close-on-exec; -1 when closed */
    pid_t pid; /* the child; 0 once it has been waited for */
};

/*
 * Forks a child that runs body(fd, ctx) on its end and leaves with its result through _exit().
 * close_fds: descriptors that the child must not inherit (other links' ends).
 */
int link_spawn(struct link *l, int (*body)(int fd, void *ctx), void *ctx, const int *close_fds, size_t n,
               struct err *e);

/* Has the child ended, or is it about to, by itself? (A link that has just broken down.) */
int link_ended(const struct link *l);

/*
 * Closes our end. patient: waits for the child to end by itself; else it is killed (a kill loses nothing).
 * Says in why (size bytes) how the child ended when it was not with status 0, else "".
 */
void link_close(struct link *l, int patient, char *why, size_t size);

#endif
