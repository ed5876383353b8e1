#include "cli/cmd.h"

#include "agent/agent.h"
#include "base/log.h"

#include <unistd.h>

/* Standard output is the wire: nothing else may be written there. */
enum sos_status cmd_agent(struct cmd *c)
{
    const struct options *o = c->options;
    struct agent_options options = {.root = o->operands ? o->operand[0] : NULL};
    struct err e = {0};
    log_setup("sos-sync agent", o->quiet ? LOG_QUIET : o->verbose ? LOG_VERBOSE : LOG_NORMAL);
    if (o->operands > 1) {
        log_error("agent takes one ROOT, not %zu", o->operands);
        return SOS_USAGE;
    }
    cmd_default_signals(); /* nobody asks here whether to end, and a kill loses nothing */
    if (agent_serve(STDIN_FILENO, STDOUT_FILENO, &options, &e) < 0) {
        log_error("%s", e.msg);
        return SOS_FAILED;
    }
    return SOS_OK;
}
