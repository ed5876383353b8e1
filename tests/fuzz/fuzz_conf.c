/* A sos.conf, and what every group that comes out of one must be. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "group/conf.h"

static void must(int truth)
{
    if (!truth)
        abort();
}

static void check_group(const struct groups *g, const struct group *gr)
{
    must(gr->name && *gr->name && groups_find(g, gr->name) == gr);
    must(gr->members > 0 && gr->members <= GROUP_MEMBERS_MAX);
    for (size_t i = 0; i < gr->members; i++) {
        const struct member *m = &gr->member[i];
        must(m->name && *m->name && strcmp(m->name, "-") != 0 && m->address.path && m->line > 0);
        must(m->address.kind != ADDRESS_LOCAL || m->address.path[0] == '/');
        must(i == 0 || gr->member[i - 1].line < m->line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct groups g = {0};
    struct err e = {0};
    if (conf_parse(&g, "f", (const char *)data, size, &e) < 0)
        must(e.code == ERR_CONF && strncmp(e.msg, "f:", 2) == 0);
    else
        for (size_t i = 0; i < g.n; i++)
            check_group(&g, &g.group[i]);
    groups_free(&g);
    return 0;
}
