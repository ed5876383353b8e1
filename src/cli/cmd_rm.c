#include "cli/cmd.h"

#include "base/mem.h"

#include <stdlib.h>

/* An object of that name may be in each group. */
static bool one_group(struct cmd *c, const bool *picked, const struct sos_groups *g, size_t *group)
{
    size_t n = 0;
    for (size_t i = 0; i < sos_groups_count(g); i++)
        if (picked[i]) {
            *group = i;
            n++;
        }
    if (n != 1)
        reporter_error(c->report, NULL, "there may be such an object in several groups: say which one with --group");
    return n == 1;
}

static enum sos_status remove_all(struct cmd *c, const char *const *path)
{
    struct options config = *c->options; /* operands are no members */
    struct cmd groups = *c;
    struct sos_options options = cmd_sync_options(c->options);
    bool *picked = NULL;
    size_t group;
    config.operands = 0;
    groups.options = &config;
    options.remove = path;
    options.removes = c->options->operands;
    options.recursive = c->options->recursive;
    struct sos_groups *g = cmd_sync_groups(&groups, &picked);
    if (!g)
        return SOS_USAGE;
    enum sos_status status = one_group(c, picked, g, &group) ? cmd_sync_run(c, g, group, &options) : SOS_USAGE;
    free(picked);
    sos_groups_free(g);
    return status;
}

enum sos_status cmd_rm(struct cmd *c)
{
    const struct options *o = c->options;
    struct sos_error error;
    char **path = mem_zalloc((o->operands + 1) * sizeof *path);
    size_t n = 0;
    while (n < o->operands && (path[n] = cmd_object(o->operand[n], &error)))
        n++;
    enum sos_status status = SOS_USAGE;
    if (n < o->operands)
        reporter_error(c->report, NULL, error.message);
    else if (n == 0)
        reporter_error(c->report, NULL, "rm needs an OBJECT: a path below the roots of the members, such as dir/name");
    else
        status = remove_all(c, (const char *const *)path);
    for (size_t i = 0; i < o->operands; i++)
        free(path[i]);
    free(path);
    return status;
}
