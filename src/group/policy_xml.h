/* DataONE's replicationPolicy element. The one file that knows expat. */
#ifndef GROUP_POLICY_XML_H
#define GROUP_POLICY_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define POLICY_XML_MAX (1 << 20) /* bytes in a document */

struct policy_xml {
    bool allowed;
    uint64_t replicas;
    char **preferred, **blocked;
    size_t npreferred, nblocked;
};

/*
 * Reads a document whose root is a replicationPolicy, in DataONE's namespace of whatever version or in none.
 * ERR_FORMAT for all else, also for a document type, and so for every entity but XML's own; x is then empty.
 */
int policy_xml_read(struct policy_xml *x, const char *text, size_t len, struct err *e);
void policy_xml_free(struct policy_xml *x);

void policy_xml_write(const struct policy_xml *x,
                      struct buf *out); /* names that are no UTF-8 or hold control characters lose them */

#endif
