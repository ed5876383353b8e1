/* The far end: serves one store to one run over two descriptors. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* All strings are borrowed. */
struct agent_options {
    /*
     * NULL: OPEN names the root, and is heeded in all it asks for. Else only this one is served, and what
     * OPEN says of the root, the state directory and the sandbox is passed over; the agent then locks itself
     * in before it reads anything.
     */
    const char *root;
    const char *state_dir; /* with root: as in struct store_options */
    bool local;            /* a child of the coordinator, on a socket pair with it: descriptors pass, paths
                              may be relative */
    bool dry_run;          /* whatever OPEN says */
    bool read_only;        /* no object is changed */
    bool no_delete;        /* none is replaced by one of another kind, none is removed */
    bool no_sandbox;       /* do not lock in */
    bool blobs;            /* root is a directory of blobs, whatever OPEN says */
    bool http;             /* root is the URL of a blob-server; with root and local, */
    const char *group;     /* and what its state is kept for */
    const char *const *neighbour; /* roots of stores that may be lent to this one, to be read from */
    size_t neighbours;
};

/* Speaks sos-wire(7) until the other side says goodbye or closes. 0, or an error (which the peer has been told, if it could be). */
int agent_serve(int in, int out, const struct agent_options *options, struct err *e);

#endif
