/* What a command gets, and the commands: one file each. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/reporter.h"
#include "sos-sync.h"

/* All borrowed; operands are those after the command word. */
struct cmd {
    const struct options *options;
    struct output *out;
    struct progress *progress;
    struct reporter *report;
};

enum sos_status cmd_sync(struct cmd *c);
enum sos_status cmd_manifest(struct cmd *c);
enum sos_status cmd_agent(struct cmd *c);
enum sos_status cmd_policy(struct cmd *c);

/* Has a signal asked for an orderly end? From then on the next one kills as usual, for who will not wait. */
bool cmd_interrupted(void);
void cmd_default_signals(void);

#endif
