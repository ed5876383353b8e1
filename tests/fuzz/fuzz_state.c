/* The marker and the list of peers. */
#include <stdlib.h>

#include "store/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct marker m;
    struct store_peer *peer;
    struct err e;
    size_t n;
    if (state_parse_marker((const char *)data, size, &m, &e) == 0 && (!m.group[0] || uuid_none(&m.id)))
        __builtin_trap();
    free(m.group);
    if (state_parse_peers((const char *)data, size, &peer, &n, &e) == 0)
        for (size_t i = 0; i < n; i++)
            if (!peer[i].address[0] || (i && uuid_cmp(&peer[i - 1].id, &peer[i].id) >= 0))
                __builtin_trap();
    state_free_peers(peer, n);
    return 0;
}
