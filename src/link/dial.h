/* A socket to a server: over TCP, or to a program that reaches it for us. */
#ifndef LINK_DIAL_H
#define LINK_DIAL_H

#include <sys/types.h>

#include "link/ssh_config.h"

/* Tries all addresses of c->hostname, each for c->connect_timeout. A non-blocking socket, or an error. */
int dial_tcp(const struct ssh_config *c, struct err *e);

/* Runs a command on one end of a socketpair. The other, non-blocking, or an error; *pid dies with this process. */
int dial_proxy(const struct words *command, pid_t *pid, struct err *e);

#endif
