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
enum sos_status cmd_explain(struct cmd *c); /* cmd_sync with --explain */
enum sos_status cmd_replicate(struct cmd *c);
enum sos_status cmd_scrub(struct cmd *c);
enum sos_status cmd_status(struct cmd *c);
enum sos_status cmd_manifest(struct cmd *c);
enum sos_status cmd_trash(struct cmd *c);
enum sos_status cmd_rm(struct cmd *c);
enum sos_status cmd_agent(struct cmd *c);
enum sos_status cmd_policy(struct cmd *c);

/* ---- cmd_sync.c: what other commands over groups do alike ---- */

/*
 * The groups: of a sos.conf, or, where there are operands, of these members. picked[i]: is it wanted? Each of those is
 * sound. NULL after an error that was told; both are the caller's.
 */
struct sos_groups *cmd_sync_groups(struct cmd *c, bool **picked);
struct sos_options cmd_sync_options(const struct options *o);
struct sos_callbacks cmd_sync_callbacks(struct cmd *c);
/* One group's run, told to the reporter. */
enum sos_status cmd_sync_run(struct cmd *c, const struct sos_groups *g, size_t group, const struct sos_options *options);
void cmd_sync_begin(struct cmd *c, const struct sos_groups *g, size_t group); /* tells the reporter */

/* Calls one for each group that the options and operands pick, when all of these are sound; the worst of what it returned. */
enum sos_status cmd_each_group(struct cmd *c, const struct sos_options *options,
                               enum sos_status (*one)(struct cmd *c, const struct sos_groups *g, size_t group,
                                                      const struct sos_options *options));

/* The path of an object as manifests have it, from what a person wrote; the caller frees it. NULL with error. */
char *cmd_object(const char *text, struct sos_error *error);

/* Has a signal asked for an orderly end? From then on the next one kills as usual, for who will not wait. */
bool cmd_interrupted(void);
void cmd_default_signals(void);

#endif
