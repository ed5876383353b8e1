/* The far end: serves one store to one run over two descriptors. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "base/err.h"

struct agent_options {
    const char *root;  /* NULL: the caller of the wire names it; else only this one is served */
};

/* Speaks sos-wire(7) until the other side says goodbye or closes. 0, or an error (which the peer has been told, if it could be). */
int agent_serve(int in, int out, const struct agent_options *options, struct err *e);

#endif
