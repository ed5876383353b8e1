/* The marker, the list of peers, when they were seen, who holds the lock, when the last run was, and the names of partials. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/partial.h"
#include "store/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A name that passes is the one that we would write. */
static void parse_name(const uint8_t *data, size_t size)
{
    char name[256], hex[DIGEST_HEX_MAX + 1], again[DIGEST_HEX_MAX + 32];
    struct digest d;
    uint64_t n;
    if (size >= sizeof name)
        return;
    memcpy(name, data, size);
    name[size] = '\0';
    if (!partial_parse(name, &d, &n))
        return;
    snprintf(again, sizeof again, "%s.%" PRIu64, digest_hex(hex, &d), n);
    if (strcmp(name, again) != 0)
        __builtin_trap();
}

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
    struct store_peer some[2] = {{.id = {{0x11}}, .seen = 1}, {.id = {{0x22}}, .seen = 1}};
    int rc = state_parse_seen((const char *)data, size, some, 2, &e);
    for (size_t i = 0; i < 2; i++)
        if (some[i].seen > ENTRY_TIME_MAX || some[i].seen < -ENTRY_TIME_MAX || (rc < 0 && some[i].seen))
            __builtin_trap();
    int64_t at;
    if (state_parse_last((const char *)data, size, &at, &e) == 0 && (at > ENTRY_TIME_MAX || at < -ENTRY_TIME_MAX))
        __builtin_trap();
    state_parse_holder((const char *)data, size, "");
    parse_name(data, size);
    return 0;
}
