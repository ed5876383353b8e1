/* The discipline of every process that a link starts. For the link room alone. */
#ifndef LINK_CHILD_H
#define LINK_CHILD_H

#include "link/link.h"

/*
 * As link_spawn. remote: the child's standard error becomes l->err_fd, its standard input and output /dev/null,
 * and fd is none of the three.
 */
int child_fork(struct link *l, int (*body)(int fd, void *ctx), void *ctx, const int *close_fds, size_t n, bool remote,
               struct err *e);

/*
 * Starts a program that dies with this process. in and out become its standard input and output; -1: /dev/null.
 * Its standard error is err, or ours where err is -1. Its pid, or -1 with errno; a program that cannot be
 * executed exits with 127 after a line on its standard error.
 */
pid_t child_exec(char *const *argv, int in, int out, int err);

/* In a forked child, after its descriptors are in place: back to what programs expect, and execvp. Returns if that fails. */
void child_become(char *const *argv);

/* Waits up to ms for a child to end; true when it has. It is not reaped. */
bool child_await(pid_t pid, int ms);

#endif
