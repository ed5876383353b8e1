#include "cli/cmd.h"

static void on_member(void *ctx, const struct sos_member *m)
{
    struct cmd *c = ctx;
    c->report->ops->member(c->report, m);
}

static void on_standing(void *ctx, const struct sos_standing *s)
{
    struct cmd *c = ctx;
    c->report->ops->standing(c->report, s);
}

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    struct cmd *c = ctx;
    c->report->ops->trouble(c->report, t);
}

static bool on_interrupted(void *ctx)
{
    (void)ctx;
    return cmd_interrupted();
}

static enum sos_status one_group(struct cmd *c, const struct sos_groups *g, size_t group,
                                 const struct sos_options *options)
{
    struct sos_callbacks callbacks = {.ctx = c, .trouble = on_trouble, .interrupted = on_interrupted, .member = on_member,
                                      .standing = on_standing};
    enum sos_status status = sos_status_of(g, group, options, &callbacks);
    output_flush(c->out);
    return status;
}

enum sos_status cmd_status(struct cmd *c)
{
    struct sos_options options = cmd_sync_options(c->options);
    return cmd_each_group(c, &options, one_group);
}
