/* The public API but for the run itself: statuses, options, groups. */
#include "run/run.h"

#include "base/mem.h"
#include "group/conf.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- statuses ---- */

enum sos_status sos_status_worse(enum sos_status a, enum sos_status b)
{
    static const enum sos_status order[] = {SOS_USAGE, SOS_GUARD, SOS_LOCKED, SOS_FAILED, SOS_PARTIAL, SOS_COPIES};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return SOS_OK;
}

void sos_options_init(struct sos_options *o)
{
    *o = (struct sos_options){.timeout = 300};
}

/* ---- groups ---- */

static void tell(struct sos_error *error, const struct err *e)
{
    if (error)
        snprintf(error->message, sizeof error->message, "%s", e->msg);
}

static struct sos_groups *result(struct sos_groups *g, int rc, const struct err *e, struct sos_error *error)
{
    if (rc >= 0)
        return g;
    tell(error, e);
    sos_groups_free(g);
    return NULL;
}

struct sos_groups *sos_groups_load(const char *file, struct sos_error *error)
{
    struct err e;
    struct sos_groups *g = mem_zalloc(sizeof *g);
    int rc = file ? conf_load(&g->groups, file, &e) : conf_load_default(&g->groups, &e);
    if (rc == 0 && g->groups.n == 0)
        rc = err_set(&e, ERR_CONF, "%s: there is no group with members in it",
                     file ? file : "/etc/sos.conf and ~/.sos.conf");
    return result(g, rc, &e, error);
}

struct sos_groups *sos_groups_of(char *const *member, size_t n, struct sos_error *error)
{
    struct err e;
    struct sos_groups *g = mem_zalloc(sizeof *g);
    g->given = true;
    return result(g, groups_from_args(&g->groups, member, n, &e), &e, error);
}

static int take_policy(struct sos_groups *g, const char *file, struct err *e)
{
    enum policy_from from = !g->given ? POLICY_CONF : file ? POLICY_ARGS_FILE : POLICY_ARGS;
    g->policy = policy_new();
    int rc = file ? policy_load(g->policy, file, e) : policy_load_default(g->policy, e);
    return rc < 0 ? rc : policy_apply(g->policy, &g->groups, from, e);
}

bool sos_groups_policy(struct sos_groups *g, const char *file, struct sos_error *error)
{
    struct err e;
    if (take_policy(g, file, &e) < 0) {
        tell(error, &e);
        return false;
    }
    g->bound = mem_alloc((g->groups.n + 1) * sizeof *g->bound);
    for (size_t i = 0; i < g->groups.n; i++)
        g->bound[i] = policy_bind(g->policy, &g->groups.group[i]);
    return true;
}

void sos_groups_free(struct sos_groups *g)
{
    if (!g)
        return;
    for (size_t i = 0; g->bound && i < g->groups.n; i++)
        group_policy_free(g->bound[i]);
    free(g->bound);
    policy_free(g->policy);
    groups_free(&g->groups);
    free(g);
}

size_t sos_groups_count(const struct sos_groups *g)
{
    return g->groups.n;
}

const char *sos_groups_name(const struct sos_groups *g, size_t group)
{
    return g->groups.group[group].name;
}

bool sos_groups_find(const struct sos_groups *g, const char *name, size_t *group)
{
    const struct group *found = groups_find(&g->groups, name);
    if (found)
        *group = (size_t)(found - g->groups.group);
    return found != NULL;
}

size_t sos_groups_members(const struct sos_groups *g, size_t group)
{
    return g->groups.group[group].members;
}

const char *sos_groups_member(const struct sos_groups *g, size_t group, size_t member)
{
    return g->groups.group[group].member[member].name;
}

const char *sos_groups_address(const struct sos_groups *g, size_t group, size_t member)
{
    const struct member *m = &g->groups.group[group].member[member];
    return m->listed ? m->listed : m->address.text;
}

bool sos_groups_check(const struct sos_groups *g, size_t group, struct sos_error *error)
{
    struct err e;
    const struct group *which = &g->groups.group[group];
    int rc = group_check(which, &e);
    if (rc == 0)
        rc = blobs_check(which, g->bound ? group_policy_settings(g->bound[group]) : NULL, &e);
    if (rc < 0)
        tell(error, &e);
    return rc == 0;
}
