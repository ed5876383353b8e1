/* A connection to another machine's agent by libssh2. Runs in a process of its own. */
#ifndef LINK_SSH_H
#define LINK_SSH_H

#include "link/link.h"

/*
 * Connects, and carries bytes between fd and the standard input and output of the far command until either side ends.
 * What goes wrong is a line on standard error, and so is what the far command writes there. The status to exit with.
 */
int ssh_carry(int fd, const struct link_remote *r);

#endif
