#include "cli/cli.h"

#include "base/interrupt.h"
#include "base/log.h"
#include "cli/cmd.h"
#include "cli/report_json.h"
#include "cli/report_text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command {
    const char *name;      /* NULL: the one that needs no word */
    enum sos_status (*run)(struct cmd *c); /* NULL: not built yet */
    enum options_command options;
    const char *usage;
    const char *help;
};

static enum sos_status help_command(struct cmd *c);

static const struct command commands[] = {
    {NULL, cmd_sync, OPTIONS_SYNC, "[options] [MEMBER MEMBER...]", "bring groups into step"},
    {"manifest", cmd_manifest, OPTIONS_MANIFEST, "manifest [options] STORE", "list what a store holds"},
    {"trash", cmd_trash, OPTIONS_TRASH, "trash list|restore|empty ...", "list or put back what was replaced"},
    {"rm", cmd_rm, OPTIONS_RM, "rm [options] OBJECT...", "delete objects from all members"},
    {"agent", cmd_agent, OPTIONS_AGENT, "agent [options] [ROOT]", "serve a store to a run"},
    {"policy", cmd_policy, OPTIONS_POLICY, "policy [options] get | ...", "show or change who holds what"},
    {"help", help_command, 0, "help [COMMAND]", "explain"},
    {"replicate", cmd_replicate, OPTIONS_SYNC, "replicate [-verbose]", "the same, in the words of SoS"},
    {"scrub", cmd_scrub, OPTIONS_SCRUB, "scrub [options] [MEMBER ...]", "find damaged content, and heal it"},
    {"status", cmd_status, OPTIONS_STATUS, "status [options] [MEMBER ...]", "what the stores have recorded"},
    {"bundle", NULL, 0, NULL, NULL},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

/* The command of this word; NULL when it is none. */
static const struct command *command_of(const char *word)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].name && strcmp(commands[i].name, word) == 0)
            return &commands[i];
    return NULL;
}

/* ---- help ---- */

static void put_usage(struct output *out, const struct command *c)
{
    output_printf(out, "  sos-sync %-32s %s", c->usage, c->help);
    output_line(out);
}

/* command NULL: all of them. */
static void put_help(struct output *out, const struct command *command)
{
    unsigned mask = command ? command->options : OPTIONS_ALL;
    output_str(out, "Usage:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        if (commands[i].run && (!command || command == &commands[i]))
            put_usage(out, &commands[i]);
    if (!command)
        output_str(out, "\n"
                   "Without members, the groups of /etc/sos.conf and ~/.sos.conf are taken.\n"
                   "Members given on the line form a group of their own.\n");
    if (mask) {
        output_str(out, "\nOptions:\n");
        options_help(out, mask);
    }
    output_flush(out);
}

static enum sos_status not_built(struct cmd *c, const char *word)
{
    char message[128];
    snprintf(message, sizeof message, "the command '%s' is not built yet", word);
    reporter_error(c->report, NULL, message);
    return SOS_USAGE;
}

static enum sos_status help_command(struct cmd *c)
{
    const struct options *o = c->options;
    const struct command *about = o->operands ? command_of(o->operand[0]) : NULL;
    if (about && !about->run)
        return not_built(c, about->name);
    if (o->operands > 1 || (o->operands && !about && strcmp(o->operand[0], "sync") != 0)) {
        reporter_error(c->report, NULL, "help takes the name of one command, or none");
        return SOS_USAGE;
    }
    put_help(c->out, o->operands && !about ? &commands[0] : about);
    return SOS_OK;
}

/* ---- the command line ---- */

/* The first operand, where it is a command's word, is taken away. */
static const struct command *take_command(struct options *o)
{
    const struct command *found = o->operands ? command_of(o->operand[0]) : NULL;
    if (!found)
        return &commands[0];
    o->operand++;
    o->operands--;
    return found;
}

static enum sos_status run_command(struct cmd *c, struct options *o)
{
    const struct command *command = take_command(o);
    struct err e = {0};
    if (o->version) {
        output_str(c->out, "sos-sync " SOS_SYNC_VERSION "\n");
        return SOS_OK;
    }
    if (!command->run)
        return not_built(c, command->name);
    if (o->help) {
        put_help(c->out, command->name ? command : NULL);
        return SOS_OK;
    }
    if (command->options &&
        options_fit(o, command->options, command->name ? command->name : "a sync", &e) < 0) {
        reporter_error(c->report, NULL, e.msg);
        return SOS_USAGE;
    }
    return command->run(c);
}

/* ---- around it ---- */

/*
 * A store must never get descriptor 0, 1 or 2, where others write to. One that was closed can be read but not
 * written, so that a list that goes nowhere is an error.
 */
static void fill_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static bool color_on(const struct options *o, int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    if (o->color != OPTIONS_COLOR_AUTO)
        return o->color == OPTIONS_COLOR_ALWAYS;
    return isatty(fd) == 1 && !(no && *no) && term && *term && strcmp(term, "dumb") != 0;
}

static bool progress_wanted(const struct options *o)
{
    if (o->progress != OPTIONS_PROGRESS_AUTO)
        return o->progress == OPTIONS_PROGRESS_YES;
    return !o->quiet && o->format != OPTIONS_JSON;
}

static void before_log(void *ctx)
{
    struct cmd *c = ctx;
    if (c->out->owner == getpid())
        progress_clear(c->progress);
    output_flush(c->out);
}

static void before_output(void *ctx)
{
    progress_clear(ctx);
}

static enum sos_status finish_output(struct output *out, enum sos_status status)
{
    int error = output_close(out);
    if (error == 0)
        return status;
    log_error("cannot write standard output: %s", strerror(error));
    return sos_status_worse(status, SOS_FAILED);
}

int cli_main(int argc, char **argv)
{
    struct options o;
    struct err e = {0};
    struct output out;
    struct progress progress;
    struct reporter report;
    struct cmd c = {&o, &out, &progress, &report};
    enum sos_status status = SOS_USAGE;
    fill_descriptors();
    interrupt_install();
    int rc = options_parse(&o, argc, argv, &e);
    log_setup("sos-sync", o.quiet ? LOG_QUIET : o.verbose ? LOG_VERBOSE : LOG_NORMAL);
    progress_init(&progress, STDERR_FILENO, progress_wanted(&o), color_on(&o, STDERR_FILENO));
    output_open(&out, STDOUT_FILENO);
    out.before = before_output;
    out.ctx = &progress;
    if (o.format == OPTIONS_JSON)
        report_json_init(&report, &out, &o);
    else
        report_text_init(&report, &out, &o, color_on(&o, STDOUT_FILENO));
    log_before(before_log, &c);
    if (rc < 0)
        reporter_error(&report, NULL, e.msg);
    else
        status = run_command(&c, &o);
    progress_clear(&progress);
    status = finish_output(&out, status);
    log_before(NULL, NULL);
    reporter_free(&report);
    options_free(&o);
    return (int)status;
}
