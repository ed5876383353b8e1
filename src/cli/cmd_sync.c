#include "cli/cmd.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which groups ---- */

static struct sos_groups *open_groups(const struct options *o, struct sos_error *error)
{
    if (o->operands == 0)
        return sos_groups_load(o->config, error);
    if (o->config || o->group.n) {
        snprintf(error->message, sizeof error->message,
                 "--%s does not go with members on the command line: they form a group of their own, "
                 "and no sos.conf is read", o->config ? "config" : "group");
        return NULL;
    }
    return sos_groups_of(o->operand, o->operands, error);
}

static void append(struct sos_error *error, const char *text)
{
    size_t n = strlen(error->message);
    snprintf(error->message + n, sizeof error->message - n, "%s", text);
}

static bool groups_known(const struct sos_groups *g, const struct options_list *wanted,
                         struct sos_error *error)
{
    size_t found;
    for (size_t i = 0; i < wanted->n; i++) {
        if (sos_groups_find(g, wanted->item[i], &found))
            continue;
        snprintf(error->message, sizeof error->message, "--group \"%s\": there is no such group; there are",
                 wanted->item[i]);
        for (size_t k = 0; k < sos_groups_count(g); k++) {
            append(error, k ? ", " : " ");
            append(error, sos_groups_name(g, k));
        }
        return false;
    }
    return true;
}

static bool is_wanted(const struct sos_groups *g, size_t group, const struct options_list *wanted)
{
    bool yes = wanted->n == 0;
    for (size_t i = 0; i < wanted->n; i++)
        yes |= strcmp(wanted->item[i], sos_groups_name(g, group)) == 0;
    return yes;
}

/* Every group is looked at before the first is run, so that an error changes nothing. */
static bool groups_sound(struct cmd *c, const struct sos_groups *g, const bool *picked)
{
    struct sos_error error;
    bool sound = true;
    for (size_t i = 0; i < sos_groups_count(g); i++) {
        if (!picked[i] || sos_groups_check(g, i, &error))
            continue;
        reporter_error(c->report, sos_groups_name(g, i), error.message);
        sound = false;
    }
    return sound;
}

/* ---- callbacks ---- */

static void on_action(void *ctx, const struct sos_action *a)
{
    struct cmd *c = ctx;
    c->report->ops->action(c->report, a);
}

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    struct cmd *c = ctx;
    c->report->ops->trouble(c->report, t);
}

static void on_progress(void *ctx, const struct sos_progress *p)
{
    struct cmd *c = ctx;
    progress_show(c->progress, p);
}

static void on_summary(void *ctx, const struct sos_summary *s)
{
    struct cmd *c = ctx;
    progress_clear(c->progress);
    c->report->ops->summary(c->report, s);
}

static bool on_interrupted(void *ctx)
{
    (void)ctx;
    return cmd_interrupted();
}

struct sos_callbacks cmd_sync_callbacks(struct cmd *c)
{
    return (struct sos_callbacks){.ctx = c, .action = on_action, .trouble = on_trouble, .progress = on_progress,
                                  .summary = on_summary, .interrupted = on_interrupted};
}

/* ---- the runs ---- */

struct sos_options cmd_sync_options(const struct options *o)
{
    struct sos_options run;
    sos_options_init(&run);
    run.dry_run = o->dry_run;
    run.prune_stat = o->prune_stat;
    run.checksum = o->checksum;
    run.through = o->through;
    run.no_sandbox = o->no_sandbox;
    run.fsync = (enum sos_fsync)o->fsync;
    run.compress = (enum sos_compress)o->compress;
    run.wait = o->wait;
    if (o->timeout >= 0)
        run.timeout = (unsigned)o->timeout;
    run.threads = o->threads;
    run.state_dir = o->state_dir;
    run.no_cache = o->no_cache;
    run.cache_dir = o->cache_dir;
    run.filter = o->rule;
    run.filters = o->rules;
    run.rsh = o->rsh;
    run.remote_command = o->remote_command;
    run.accept_new = o->accept_new;
    run.ssh_config = o->ssh_config;
    run.known_hosts = o->known_hosts;
    run.identity = o->identity.item;
    run.identities = o->identity.n;
    run.bwlimit = o->bwlimit;
    run.adopt = o->adopt.item;
    run.adopts = o->adopt.n;
    run.max_delete_given = o->max_delete_given;
    run.max_delete_percent = o->max_delete_percent;
    run.max_delete = o->max_delete;
    return run;
}

void cmd_sync_begin(struct cmd *c, const struct sos_groups *g, size_t group)
{
    size_t n = sos_groups_members(g, group);
    const char **member = mem_alloc(n * sizeof *member);
    for (size_t i = 0; i < n; i++)
        member[i] = sos_groups_member(g, group, i);
    c->report->ops->begin(c->report, sos_groups_name(g, group), member, n);
    free(member);
    output_flush(c->out); /* a scan may take long */
}

struct sos_groups *cmd_sync_groups(struct cmd *c, bool **picked)
{
    const struct options *o = c->options;
    struct sos_error error = {""};
    struct sos_groups *g = open_groups(o, &error);
    if (!g || !sos_groups_policy(g, o->policy, &error) || !groups_known(g, &o->group, &error)) {
        reporter_error(c->report, NULL, error.message);
        sos_groups_free(g);
        return NULL;
    }
    *picked = mem_zalloc(sos_groups_count(g) * sizeof **picked);
    for (size_t i = 0; i < sos_groups_count(g); i++)
        (*picked)[i] = is_wanted(g, i, &o->group);
    if (groups_sound(c, g, *picked))
        return g;
    free(*picked);
    *picked = NULL;
    sos_groups_free(g);
    return NULL;
}

enum sos_status cmd_each_group(struct cmd *c, const struct sos_options *options,
                               enum sos_status (*one)(struct cmd *c, const struct sos_groups *g, size_t group,
                                                      const struct sos_options *options))
{
    bool *picked = NULL;
    struct sos_groups *g = cmd_sync_groups(c, &picked);
    enum sos_status status = g ? SOS_OK : SOS_USAGE;
    for (size_t i = 0; g && i < sos_groups_count(g); i++) {
        if (!picked[i])
            continue;
        if (cmd_interrupted()) {
            reporter_error(c->report, sos_groups_name(g, i), "not run: interrupted");
            status = sos_status_worse(status, SOS_FAILED);
        } else {
            status = sos_status_worse(status, one(c, g, i, options));
        }
    }
    free(picked);
    sos_groups_free(g);
    return status;
}

enum sos_status cmd_sync_run(struct cmd *c, const struct sos_groups *g, size_t group,
                             const struct sos_options *options)
{
    struct sos_callbacks callbacks = cmd_sync_callbacks(c);
    cmd_sync_begin(c, g, group);
    enum sos_status status = sos_sync(g, group, options, &callbacks);
    progress_clear(c->progress);
    return status;
}

enum sos_status cmd_sync(struct cmd *c)
{
    if (c->options->explain)
        return cmd_explain(c);
    struct sos_options options = cmd_sync_options(c->options);
    return cmd_each_group(c, &options, cmd_sync_run);
}

enum sos_status cmd_scrub(struct cmd *c)
{
    const struct options *o = c->options;
    struct sos_options options = cmd_sync_options(o);
    options.scrub_part = o->parts ? o->part : 1;
    options.scrub_parts = o->parts ? o->parts : 1;
    options.scrub_rate = o->bwlimit;
    options.no_heal = o->no_heal;
    return cmd_each_group(c, &options, cmd_sync_run);
}
