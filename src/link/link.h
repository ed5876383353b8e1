/*
 * How bytes reach an agent: a child process on a socketpair. The child serves a local
 * store itself, or carries the bytes to an agent on another machine.
 */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct link {
    int fd;      /* our end: non-blocking, close-on-exec; -1 when closed */
    pid_t pid;   /* the child; 0 once it has been waited for */
    int err_fd;  /* what a remote child says on standard error: non-blocking, close-on-exec; -1 when local or closed */
    bool remote;
    int status;  /* after link_close: the exit status, 128 + the signal that killed it, or -1 when there was no child */
};

#define LINK_NONE {.fd = -1, .err_fd = -1, .status = -1}

/* What a remote child exits with beside the far command's own status, which is passed on. */
enum {
    LINK_NOT_FOUND = 127, /* the far shell found no such command */
    LINK_FAILED = 255     /* no connection, or it broke */
};

/*
 * Forks a child that runs body(fd, ctx) on its end and leaves with its result through _exit().
 * close_fds: descriptors that the child must not inherit (other links' ends).
 */
int link_spawn(struct link *l, int (*body)(int fd, void *ctx), void *ctx, const int *close_fds, size_t n,
               struct err *e);

/* How to reach the other machine. All strings are borrowed for the length of the call. */
struct link_remote {
    const char *user;             /* NULL: as ~/.ssh/config or the login name has it */
    const char *host;
    unsigned port;                /* 0: as ~/.ssh/config has it, or 22 */
    const char *rsh;              /* an external ssh to run in our place, as words_split cuts it; NULL: libssh2 */
    const char *command;          /* for the far login shell, which gets it with " agent" behind */
    bool accept_new;              /* record the key of a host that is not known yet; never one that has changed */
    const char *ssh_config;       /* instead of ~/.ssh/config and the system's; NULL: those */
    const char *known_hosts;      /* instead of the user's files; NULL: as configured */
    const char *const *identity;  /* instead of the configured key files */
    size_t identities;
    bool sandbox;                 /* once connected, the child gives up all but its descriptors */
    unsigned connect_timeout;     /* seconds; 0: as configured, or 30 */
};

/*
 * The same with a child that carries bytes to COMMAND agent on another machine. What goes wrong on the way is a line
 * on err_fd and status 255; only what can be seen before the fork is an error here (ERR_USAGE: host, user, rsh).
 * err_fd must be read while the link is open, lest an external ssh blocks on it.
 */
int link_remote(struct link *l, const struct link_remote *r, const int *close_fds, size_t n, struct err *e);

/* Has the child ended, or is it about to, by itself? (A link that has just broken down.) */
int link_ended(const struct link *l);

/*
 * Closes our ends. patient: waits for the child to end by itself; else it is killed (a kill loses nothing).
 * Says in why (size bytes) how the child ended when it was not with status 0, else "".
 * What is left in err_fd must be read before.
 */
void link_close(struct link *l, int patient, char *why, size_t size);

#endif
