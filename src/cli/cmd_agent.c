#include "cli/cmd.h"

#include "agent/agent.h"
#include "base/log.h"

#include <unistd.h>

static int check(const struct options *o, struct err *e)
{
    if (o->operands > 1)
        return err_set(e, ERR_USAGE, "agent takes one ROOT, not %zu", o->operands);
    if (o->operands && o->root)
        return err_set(e, ERR_USAGE, "agent takes one root: either --root \"%s\" or %s", o->root,
                       o->operand[0]);
    if (o->operands && !*o->operand[0])
        return err_set(e, ERR_USAGE, "ROOT must not be empty");
    if (o->read_only && o->no_delete)
        return err_set(e, ERR_USAGE, "--read-only says all that --no-delete does: give one of them");
    if (!o->operands && !o->root && (o->read_only || o->no_delete || o->state_dir))
        return err_set(e, ERR_USAGE, "--%s needs a root: without one the caller chooses what is served",
                       o->read_only ? "read-only" : o->no_delete ? "no-delete" : "state-dir");
    return 0;
}

/* Standard output is the wire: nothing else may be written there. */
enum sos_status cmd_agent(struct cmd *c)
{
    const struct options *o = c->options;
    struct agent_options options = {
        .root = o->root ? o->root : o->operands ? o->operand[0] : NULL, .state_dir = o->state_dir,
        .read_only = o->read_only, .no_delete = o->no_delete, .no_sandbox = o->no_sandbox,
    };
    struct err e = {0};
    log_setup("sos-sync agent", o->quiet ? LOG_QUIET : o->verbose ? LOG_VERBOSE : LOG_NORMAL);
    if (check(o, &e) < 0) {
        log_error("%s", e.msg);
        return SOS_USAGE;
    }
    cmd_default_signals(); /* nobody asks here whether to end, and a kill loses nothing */
    if (agent_serve(STDIN_FILENO, STDOUT_FILENO, &options, &e) < 0) {
        log_error("%s", e.msg);
        return SOS_FAILED;
    }
    return SOS_OK;
}
