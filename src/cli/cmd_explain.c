/* --explain: an object may be in several groups, and that it is not in some of them is no failure. */
#include "cli/cmd.h"

#include "base/mem.h"

#include <stdlib.h>

struct job {
    struct cmd cmd; /* first */
    bool found;
    struct lack {
        char *group, *why;
    } *lack; /* groups that have nothing to explain */
    size_t lacks;
};

static void on_explain(void *ctx, const struct sos_explanation *x)
{
    struct job *job = ctx;
    if (!x->missing) {
        job->found = true;
        job->cmd.report->ops->explain(job->cmd.report, x);
        return;
    }
    job->lack = mem_resize(job->lack, job->lacks + 1, sizeof *job->lack);
    job->lack[job->lacks++] = (struct lack){mem_strdup(x->group), mem_strdup(x->missing)};
}

static enum sos_status one_group(struct cmd *c, const struct sos_groups *g, size_t group, const struct sos_options *options)
{
    struct sos_callbacks callbacks = cmd_sync_callbacks(c);
    callbacks.explain = on_explain; /* c is the job's, and so is the context */
    callbacks.action = NULL;
    callbacks.summary = NULL;
    cmd_sync_begin(c, g, group);
    enum sos_status status = sos_sync(g, group, options, &callbacks);
    progress_clear(c->progress);
    output_flush(c->out);
    return status;
}

/* Where nobody has it that is an error of each group. */
static enum sos_status tell_lacks(struct job *job, const char *object)
{
    for (size_t i = 0; i < job->lacks; i++) {
        struct sos_trouble t = {.group = job->lack[i].group, .path = object, .message = job->lack[i].why, .error = !job->found};
        job->cmd.report->ops->trouble(job->cmd.report, &t);
        free(job->lack[i].group);
        free(job->lack[i].why);
    }
    free(job->lack);
    return job->lacks && !job->found ? SOS_PARTIAL : SOS_OK;
}

enum sos_status cmd_explain(struct cmd *c)
{
    struct job job = {.cmd = *c};
    struct sos_options options = cmd_sync_options(c->options);
    struct sos_error error;
    char *object = cmd_object(c->options->explain, &error);
    if (!object) {
        reporter_error(c->report, NULL, error.message);
        return SOS_USAGE;
    }
    options.explain = object;
    options.dry_run = true;
    enum sos_status status = cmd_each_group(&job.cmd, &options, one_group);
    status = sos_status_worse(status, tell_lacks(&job, object));
    free(object);
    return status;
}
