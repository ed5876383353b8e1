/* The options: one table, from which the command line is read and --help is written. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/output.h"
#include "object/filter.h"
#include "sos-sync.h"

enum options_command {
    OPTIONS_SYNC = 1, OPTIONS_MANIFEST = 2, OPTIONS_AGENT = 4, OPTIONS_POLICY = 8, OPTIONS_TRASH = 16,
    OPTIONS_SCRUB = 32, OPTIONS_STATUS = 64, OPTIONS_RM = 128, OPTIONS_ALL = 255
};

enum options_color { OPTIONS_COLOR_AUTO, OPTIONS_COLOR_ALWAYS, OPTIONS_COLOR_NEVER };
enum options_format { OPTIONS_TEXT, OPTIONS_JSON, OPTIONS_MTREE };
enum options_progress { OPTIONS_PROGRESS_AUTO, OPTIONS_PROGRESS_YES, OPTIONS_PROGRESS_NO };

struct options_list {
    const char **item; /* borrowed from argv */
    size_t n;
};

struct options {
    bool dry_run, verbose, quiet, checksum, through, no_cache, stats, help, version;
    bool prune_stat, recursive, max_delete_given, max_delete_percent, read_only, no_delete, no_sandbox, xml, no_heal;
    unsigned part, parts; /* of a scrub: the part-th (from 1) of so many; 0: not given */
    int progress; /* of enum options_progress */
    int color;    /* of enum options_color */
    int format;   /* of enum options_format; OPTIONS_JSON is --json, for any command */
    int fsync;    /* of enum sos_fsync */
    int compress; /* of enum sos_compress */
    long wait;        /* seconds; 0: not at all, -1: as long as it takes */
    long timeout;     /* seconds; 0: never, -1: not given */
    unsigned threads; /* 0: as many as there are cores */
    const char *explain;
    const char *config, *policy, *object, *state_dir, *cache_dir, *root; /* NULL: not given */
    const char *rsh, *remote_command, *ssh_config, *known_hosts; /* NULL: not given */
    bool accept_new;
    unsigned long long max_delete; /* objects, or per cent of them */
    unsigned long long bwlimit; /* bytes per second; 0: none */
    unsigned long long older_than; /* seconds; 0: all */
    struct options_list group, adopt, identity;
    struct sos_filter_rule *rule; /* --exclude, --include, and from files, in order; owned, patterns too */
    size_t rules;
    struct filter *filter;        /* the same, owned; NULL when there are none */
    char **operand;               /* borrowed: argv's tail */
    size_t operands;
    unsigned long long seen;      /* a bit for each row of the table that was used */
};

/*
 * Reads the command line; options and operands may be mixed, and argv is put in order. An error's message
 * names the option, the value, and what is allowed. o is to be freed in any case.
 */
int options_parse(struct options *o, int argc, char **argv, struct err *e);
void options_free(struct options *o);

/* Does every option that was given go with this command? ERR_USAGE naming the first that does not. */
int options_fit(const struct options *o, enum options_command command, const char *name, struct err *e);

/* The list of options for --help, of all commands in the mask; no line is longer than 80 columns. */
void options_help(struct output *out, unsigned commands);

#endif
