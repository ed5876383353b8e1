/* Groups with blob-servers. */
#include "run/run.h"

#include "base/mem.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static const char *absolute(const char *path)
{
    return path && path[0] == '/' ? path : NULL;
}

char *blobs_state_dir(const struct sos_options *o)
{
    if (o->state_dir)
        return mem_strdup(o->state_dir);
    const char *base = absolute(getenv("XDG_STATE_HOME"));
    if (base)
        return mem_printf("%s/sos-sync", base);
    const char *home = absolute(getenv("HOME"));
    const struct passwd *me = home ? NULL : getpwuid(geteuid());
    if (me)
        home = absolute(me->pw_dir);
    return home ? mem_printf("%s/.local/state/sos-sync", home) : NULL;
}

int blobs_check(const struct group *g, const struct policy_settings *s, struct err *e)
{
    if (blobs_group(g) && s && s->sha256)
        return err_set(e, ERR_UNSUPPORTED, "group %s: hash: sha256 does not go with blob-servers, whose contents are known by "
                       "their ids: hash: xxh3 in a section [group %s] leaves it to the other groups", g->name, g->name);
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
