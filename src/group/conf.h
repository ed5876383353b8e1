/* sos.conf: the grammar of SoS's own configuration file. */
#ifndef GROUP_CONF_H
#define GROUP_CONF_H

#include <stddef.h>

#include "group/group.h"

/*
 * Parses one file's text (len bytes, need not end in a newline) and appends what it defines to g.
 * file is for messages. ERR_CONF "FILE:LINE: reason"; g may then hold a part and is only good for freeing.
 */
int conf_parse(struct groups *g, const char *file, const char *text, size_t len, struct err *e);

/* Reads and parses a file. ERR_CONF; a missing file is an error here. */
int conf_load(struct groups *g, const char *file, struct err *e);

/*
 * Both files, the system's first, entries appended. Either may be NULL or missing, and is then skipped;
 * ERR_CONF when neither is there. A file that exists and cannot be read is an error. That no group came of it
 * (g->n is 0) is none.
 */
int conf_load_pair(struct groups *g, const char *system, const char *user, struct err *e);

/* conf_load_pair of /etc/sos.conf and ~/.sos.conf (left out when HOME is not set). */
int conf_load_default(struct groups *g, struct err *e);

#endif
