/* A replicationPolicy: what is read can be written, and is then read as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "group/policy_xml.h"

static void must(int truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_xml x, y;
    struct err e = {0};
    struct buf out = {0};
    if (policy_xml_read(&x, (const char *)data, size, &e) < 0) {
        must(e.code == ERR_FORMAT && e.msg[0]);
        return 0;
    }
    policy_xml_write(&x, &out);
    if (policy_xml_read(&y, (const char *)out.data, out.len, NULL) == 0) { /* but for a name of control characters alone */
        must(x.allowed == y.allowed && x.replicas == y.replicas);
        must(x.npreferred == y.npreferred && x.nblocked == y.nblocked);
        policy_xml_free(&y);
    }
    policy_xml_free(&x);
    buf_free(&out);
    return 0;
}
