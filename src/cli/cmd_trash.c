#include "cli/cmd.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One of the three, over the groups. */
struct job {
    struct cmd *cmd;
    struct sos_options options;
    struct sos_callbacks callbacks;
    bool *found; /* restore: what an operand names is there */
};

static void on_item(void *ctx, const struct sos_trash_item *item)
{
    struct cmd *c = ctx;
    c->report->ops->trash(c->report, item);
}

static void on_restored(void *ctx, const struct sos_trash_item *item)
{
    struct cmd *c = ctx;
    c->report->ops->restored(c->report, item);
}

static void on_removed(void *ctx, const char *group, const char *member, uint64_t items, uint64_t bytes)
{
    struct cmd *c = ctx;
    c->report->ops->emptied(c->report, group, member, items, bytes);
}

typedef enum sos_status work(struct job *job, const struct sos_groups *g, size_t group);

static enum sos_status list(struct job *job, const struct sos_groups *g, size_t group)
{
    return sos_trash_list(g, group, &job->options, &job->callbacks, on_item);
}

static enum sos_status empty(struct job *job, const struct sos_groups *g, size_t group)
{
    return sos_trash_empty(g, group, &job->options, &job->callbacks, job->cmd->options->older_than, on_removed);
}

static enum sos_status restore(struct job *job, const struct sos_groups *g, size_t group)
{
    const struct options *o = job->cmd->options;
    return sos_trash_restore(g, group, &job->options, &job->callbacks, (const char *const *)o->operand, o->operands,
                             job->found, on_restored);
}

/* ---- the groups ---- */

static size_t count(const bool *picked, size_t n)
{
    size_t all = 0;
    for (size_t i = 0; i < n; i++)
        all += picked[i];
    return all;
}

static void put_heading(struct cmd *c, const char *group)
{
    if (c->options->format == OPTIONS_JSON)
        return;
    output_str(c->out, "group ");
    output_name(c->out, group);
    output_line(c->out);
}

/* headings: the list says which group it is of. */
static enum sos_status each(struct job *job, const struct sos_groups *g, const bool *picked, work *do_it, bool headings)
{
    struct cmd *c = job->cmd;
    enum sos_status status = SOS_OK;
    headings &= count(picked, sos_groups_count(g)) > 1;
    for (size_t i = 0; i < sos_groups_count(g); i++) {
        if (!picked[i])
            continue;
        if (cmd_interrupted()) {
            reporter_error(c->report, sos_groups_name(g, i), "not done: interrupted");
            status = sos_status_worse(status, SOS_FAILED);
            continue;
        }
        if (headings)
            put_heading(c, sos_groups_name(g, i));
        cmd_sync_begin(c, g, i);
        status = sos_status_worse(status, do_it(job, g, i));
        progress_clear(c->progress);
    }
    return status;
}

static enum sos_status over_groups(struct cmd *c, work *do_it, bool headings)
{
    bool *picked = NULL;
    struct sos_groups *g = cmd_sync_groups(c, &picked);
    if (!g)
        return SOS_USAGE;
    struct job job = {c, cmd_sync_options(c->options), cmd_sync_callbacks(c), NULL};
    enum sos_status status = each(&job, g, picked, do_it, headings);
    free(picked);
    sos_groups_free(g);
    return status;
}

/* ---- restore ---- */

static bool is_id(const char *text)
{
    return strspn(text, "0123456789abcdef") == 12 && strlen(text) == 12;
}

/* An id is of one group; an object of that name may be in each. */
static bool groups_clear(struct cmd *c, const bool *picked, size_t groups)
{
    const struct options *o = c->options;
    for (size_t i = 0; i < o->operands && count(picked, groups) > 1; i++)
        if (!is_id(o->operand[i])) {
            reporter_error(c->report, NULL, "an object of this name may be in several groups: "
                           "say which one with --group, or name an id that trash list prints");
            return false;
        }
    return true;
}

static enum sos_status tell_missing(struct cmd *c, const bool *found, enum sos_status status)
{
    for (size_t i = 0; i < c->options->operands; i++) {
        if (found[i])
            continue;
        struct sos_trouble t = {.path = c->options->operand[i], .error = true, .message = status == SOS_OK ?
                                "there is no such object or id in the trash" :
                                "not found in the trash of those members that could be asked"};
        c->report->ops->trouble(c->report, &t);
    }
    return count(found, c->options->operands) == c->options->operands ? status : sos_status_worse(status, SOS_PARTIAL);
}

static enum sos_status restore_all(struct cmd *c)
{
    struct options config = *c->options; /* operands are no members */
    struct cmd groups = *c;
    bool *picked = NULL;
    config.operands = 0;
    groups.options = &config;
    struct sos_groups *g = cmd_sync_groups(&groups, &picked);
    if (!g)
        return SOS_USAGE;
    struct job job = {c, cmd_sync_options(c->options), cmd_sync_callbacks(c),
                      mem_zalloc(c->options->operands * sizeof(bool))};
    enum sos_status status = SOS_USAGE;
    if (groups_clear(c, picked, sos_groups_count(g)))
        status = tell_missing(c, job.found, each(&job, g, picked, restore, false));
    free(job.found);
    free(picked);
    sos_groups_free(g);
    return status;
}

/* ---- the command ---- */

static enum sos_status usage(struct cmd *c, const char *message)
{
    reporter_error(c->report, NULL, message);
    return SOS_USAGE;
}

enum sos_status cmd_trash(struct cmd *c)
{
    struct options rest = *c->options;
    struct cmd sub = *c;
    const char *word = rest.operands ? rest.operand[0] : "";
    if (rest.operands) {
        rest.operand++;
        rest.operands--;
    }
    sub.options = &rest;
    bool empties = strcmp(word, "empty") == 0;
    if (rest.older_than && !empties)
        return usage(c, "--older-than goes with trash empty");
    if (strcmp(word, "list") == 0)
        return over_groups(&sub, list, true);
    if (empties)
        return over_groups(&sub, empty, false);
    if (strcmp(word, "restore") != 0)
        return usage(c, "trash takes one of list, restore ID|OBJECT..., empty");
    return rest.operands ? restore_all(&sub) : usage(c, "trash restore needs an ID, as trash list prints it, or an OBJECT");
}
