/* Groups with blob-servers. */
#include "run/run.h"

#include "base/home.h"
#include "base/mem.h"

#include <string.h>

bool blobs_member(const struct member *m)
{
    return m->address.kind == ADDRESS_HTTP || m->address.kind == ADDRESS_HTTPS;
}

bool blobs_group(const struct group *g)
{
    for (size_t i = 0; i < g->members; i++)
        if (blobs_member(&g->member[i]))
            return true;
    return false;
}

char *blobs_state_dir(const struct sos_options *o)
{
    return o->state_dir ? mem_strdup(o->state_dir) : home_place("XDG_STATE_HOME", ".local/state");
}

int blobs_check(const struct group *g, const struct policy_settings *s, struct err *e)
{
    if (blobs_group(g) && s && s->sha256)
        return err_set(e, ERR_UNSUPPORTED, "hash: sha256 does not go with blob-servers, whose contents are known by "
                       "their ids: hash: xxh3 in a section [group %s] leaves it to the other groups", g->name);
    return 0;
}

char *blobs_beside(const struct member *m, const char *state_dir)
{
    bool served = m->listed && (strncmp(m->listed, "http://", 7) == 0 || strncmp(m->listed, "https://", 8) == 0);
    if (state_dir || !served)
        return mem_strdup(state_dir ? state_dir : "");
    size_t n = strlen(m->address.path);
    while (n > 1 && m->address.path[n - 1] == '/')
        n--;
    return mem_printf("%.*s.sos-sync", (int)n, m->address.path);
}
