/*
 * The SoS spelling of a sync of all groups. Standard output gets the lines that `sos replicate` prints of an object that it
 * copies, and nothing else, so that what reads them goes on working.
 */
#include "cli/cmd.h"

#include <string.h>

struct replication {
    struct cmd *cmd;
    const struct sos_groups *groups;
    size_t group;
};

/* A member's address as it is listed, without the '/' that may end it. */
static void put_address(const struct replication *r, const char *name)
{
    const char *text = name;
    for (size_t i = 0; i < sos_groups_members(r->groups, r->group); i++)
        if (strcmp(sos_groups_member(r->groups, r->group, i), name) == 0)
            text = sos_groups_address(r->groups, r->group, i);
    size_t n = strlen(text);
    while (n > 1 && text[n - 1] == '/')
        n--;
    output_put(r->cmd->out, text, n);
}

static void put_missing(const struct replication *r, const struct sos_action *a)
{
    output_str(r->cmd->out, "\tObject ");
    output_str(r->cmd->out, a->path);
    output_str(r->cmd->out, " is missing on ");
    put_address(r, a->to);
    output_line(r->cmd->out);
}

static void put_transfer(const struct replication *r, const char *what, const char *member, const char *path)
{
    output_str(r->cmd->out, what);
    put_address(r, member);
    output_str(r->cmd->out, "/blob/");
    output_str(r->cmd->out, path);
    output_line(r->cmd->out);
}

static void put_mirroring(const struct replication *r, const struct sos_action *a)
{
    output_str(r->cmd->out, "\t\tMirroring ");
    output_str(r->cmd->out, a->path);
    output_str(r->cmd->out, " from ");
    put_address(r, a->from);
    output_str(r->cmd->out, " to ");
    put_address(r, a->to);
    output_line(r->cmd->out);
}

static void on_action(void *ctx, const struct sos_action *a)
{
    const struct replication *r = ctx;
    if (!a->from || r->cmd->options->quiet)
        return;
    put_missing(r, a);
    if (r->cmd->options->verbose)
        put_mirroring(r, a);
    put_transfer(r, "\tFetching :", a->from, a->path);
    put_transfer(r, "\tUploading :", a->to, a->path);
}

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    const struct replication *r = ctx;
    r->cmd->report->ops->trouble(r->cmd->report, t);
}

static void on_progress(void *ctx, const struct sos_progress *p)
{
    const struct replication *r = ctx;
    progress_show(r->cmd->progress, p);
}

static bool on_interrupted(void *ctx)
{
    (void)ctx;
    return cmd_interrupted();
}

static enum sos_status replicate_group(struct cmd *c, const struct sos_groups *g, size_t group,
                                       const struct sos_options *options)
{
    struct replication r = {c, g, group};
    const struct sos_callbacks callbacks = {.ctx = &r, .action = on_action, .trouble = on_trouble,
                                            .progress = on_progress, .interrupted = on_interrupted};
    enum sos_status status = sos_sync(g, group, options, &callbacks);
    progress_clear(c->progress);
    output_flush(c->out);
    return status;
}

enum sos_status cmd_replicate(struct cmd *c)
{
    struct sos_options options = cmd_sync_options(c->options);
    return c->options->format == OPTIONS_JSON ? cmd_sync(c) : cmd_each_group(c, &options, replicate_group);
}
