#include "cli/options.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/num.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONG_BASE 256 /* getopt's value for row i is LONG_BASE + i */
#define RULES_FILE_MAX ((size_t)16 << 20)
#define TIMEOUT_MAX (366u * 86400u)
#define THREADS_MAX 1024u
#define PARTS_MAX 1000000u /* of a scrub */

struct row;
typedef int take(struct options *o, const struct row *row, const char *value, struct err *e);

struct row {
    char letter;           /* 0: none */
    const char *name;
    const char *value;     /* what --help calls it; NULL: the option takes none */
    bool optional;         /* the value may be left out */
    unsigned commands;     /* of enum options_command */
    take *take;
    size_t at;             /* offset in struct options of what take sets */
    int to;                /* what take_fixed sets there */
    const char *const *choice; /* allowed values, in the order of their enum; ends in NULL */
    const char *help;      /* NULL: not shown */
};

/* ---- taking values ---- */

static void *field(struct options *o, const struct row *row)
{
    return (char *)o + row->at;
}

static int take_flag(struct options *o, const struct row *row, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    *(bool *)field(o, row) = true;
    return 0;
}

static int take_fixed(struct options *o, const struct row *row, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    *(int *)field(o, row) = row->to;
    return 0;
}

static int not_empty(const struct row *row, const char *value, struct err *e)
{
    if (*value == '\0')
        return err_set(e, ERR_USAGE, "--%s \"\": %s must not be empty", row->name, row->value);
    return 0;
}

static int take_text(struct options *o, const struct row *row, const char *value, struct err *e)
{
    int rc = not_empty(row, value, e);
    if (rc == 0)
        *(const char **)field(o, row) = value;
    return rc;
}

static int take_list(struct options *o, const struct row *row, const char *value, struct err *e)
{
    struct options_list *list = field(o, row);
    int rc = not_empty(row, value, e);
    if (rc < 0)
        return rc;
    list->item = mem_resize(list->item, list->n + 1, sizeof *list->item);
    list->item[list->n++] = value;
    return 0;
}

static int take_choice(struct options *o, const struct row *row, const char *value, struct err *e)
{
    char allowed[128] = "";
    if (!value) {
        *(int *)field(o, row) = row->to;
        return 0;
    }
    for (int i = 0; row->choice[i]; i++) {
        if (strcmp(value, row->choice[i]) == 0) {
            *(int *)field(o, row) = i;
            return 0;
        }
        strcat(strcat(allowed, i ? ", " : ""), row->choice[i]);
    }
    return err_set(e, ERR_USAGE, "--%s \"%s\": allowed are %s", row->name, value, allowed);
}

static int take_seconds(struct options *o, const struct row *row, const char *value, struct err *e)
{
    uint64_t v;
    if (num_duration(value, &v, NULL) < 0 || v > TIMEOUT_MAX)
        return err_set(e, ERR_USAGE,
                       "--%s \"%s\": allowed are seconds, or a number with s, m, h or d behind it, "
                       "up to 366d; 0 waits for ever", row->name, value);
    *(long *)field(o, row) = (long)v;
    return 0;
}

static int take_wait(struct options *o, const struct row *row, const char *value, struct err *e)
{
    uint64_t v = 0;
    if (value && (num_duration(value, &v, NULL) < 0 || v > TIMEOUT_MAX))
        return err_set(e, ERR_USAGE,
                       "--%s \"%s\": allowed are seconds, or a number with s, m, h or d behind it, up to 366d; "
                       "without a number it waits as long as it takes", row->name, value);
    *(long *)field(o, row) = value ? (long)v : -1;
    return 0;
}

static int take_age(struct options *o, const struct row *row, const char *value, struct err *e)
{
    uint64_t v;
    if (num_duration(value, &v, NULL) < 0)
        return err_set(e, ERR_USAGE, "--%s \"%s\": allowed are seconds, or a number with s, m, h, d, w or y behind it",
                       row->name, value);
    *(unsigned long long *)field(o, row) = v;
    return 0;
}

static int take_threads(struct options *o, const struct row *row, const char *value, struct err *e)
{
    uint64_t v;
    if (num_u64(value, THREADS_MAX, &v, NULL) < 0)
        return err_set(e, ERR_USAGE, "--%s \"%s\": allowed is a number from 0 to %u; 0 takes all cores",
                       row->name, value, THREADS_MAX);
    *(unsigned *)field(o, row) = (unsigned)v;
    return 0;
}

static int take_rate(struct options *o, const struct row *row, const char *value, struct err *e)
{
    uint64_t v;
    if (num_size(value, 1024, &v, NULL) < 0)
        return err_set(e, ERR_USAGE, "--%s \"%s\": allowed is a number of KiB a second, or one with K, M or G behind it; "
                       "0 is no limit", row->name, value);
    /* Less than a byte is little, not no limit. */
    *(unsigned long long *)field(o, row) = v == 0 && strpbrk(value, "123456789") ? 1 : v;
    return 0;
}

static int take_part(struct options *o, const struct row *row, const char *value, struct err *e)
{
    uint64_t part, parts = 0;
    char *text = mem_strdup(value), *slash = strchr(text, '/');
    if (slash)
        *slash = '\0';
    bool ok = slash && num_u64(text, PARTS_MAX, &part, NULL) == 0 && num_u64(slash + 1, PARTS_MAX, &parts, NULL) == 0 &&
              part >= 1 && part <= parts;
    free(text);
    if (!ok)
        return err_set(e, ERR_USAGE, "--%s \"%s\": allowed is K/N, the Kth of N parts, such as 1/30; N is at most %u",
                       row->name, value, PARTS_MAX);
    o->part = (unsigned)part;
    o->parts = (unsigned)parts;
    return 0;
}

static int add_rule(struct options *o, const struct row *row, const char *pattern, struct err *e)
{
    if (!o->filter)
        o->filter = filter_new();
    if (filter_add(o->filter, row->to != 0, pattern, e) < 0)
        return err_wrap(e, "--%s \"%s\"", row->name, pattern);
    o->rule = mem_resize(o->rule, o->rules + 1, sizeof *o->rule);
    o->rule[o->rules++] = (struct sos_filter_rule){row->to != 0, mem_strdup(pattern)};
    return 0;
}

static int read_all(int fd, struct buf *text, struct err *e)
{
    for (;;) {
        ssize_t n = file_read(fd, buf_room(text, 65536), 65536);
        if (n < 0)
            return err_sys(e, "cannot read");
        if (n == 0)
            return 0;
        text->len += (size_t)n;
        if (text->len > RULES_FILE_MAX)
            return err_set(e, ERR_USAGE, "longer than %zu bytes", RULES_FILE_MAX);
    }
}

/* One pattern a line; text ends in a NUL and is cut up. */
static int add_rules(struct options *o, const struct row *row, char *text, struct err *e)
{
    unsigned number = 1;
    for (char *end; *text; text = end, number++) {
        end = text + strcspn(text, "\n");
        if (*end)
            *end++ = '\0';
        size_t n = strlen(text);
        if (n && text[n - 1] == '\r')
            text[n - 1] = '\0';
        if (*text == '\0' || *text == '#' || *text == ';')
            continue;
        if (add_rule(o, row, text, e) < 0)
            return err_wrap(e, "line %u", number);
    }
    return 0;
}

static int take_rules(struct options *o, const struct row *row, const char *value, struct err *e)
{
    struct buf text = {0};
    bool standard = strcmp(value, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(value, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? err_sys(e, "cannot open") : read_all(fd, &text, e);
    if (rc == 0 && text.len && memchr(text.data, '\0', text.len))
        rc = err_set(e, ERR_USAGE, "holds a NUL byte: this is no list of patterns");
    if (rc == 0) {
        buf_u8(&text, '\0');
        rc = add_rules(o, row, (char *)text.data, e);
    }
    if (rc < 0) {
        err_wrap(e, "--%s \"%s\"", row->name, value);
        rc = ERR_USAGE;
    }
    if (fd >= 0 && !standard)
        close(fd);
    buf_free(&text);
    return rc;
}

static int take_prune_check(struct options *o, const struct row *row, const char *value, struct err *e)
{
    if (strcmp(value, "read") != 0 && strcmp(value, "stat") != 0)
        return err_set(e, ERR_USAGE, "--%s \"%s\": allowed are read and stat", row->name, value);
    o->prune_stat = value[0] == 's';
    return 0;
}

static int take_max_delete(struct options *o, const struct row *row, const char *value, struct err *e)
{
    size_t n = strlen(value);
    bool percent = n > 0 && value[n - 1] == '%';
    char *number = mem_strndup(value, n - percent);
    uint64_t v = 0;
    int rc = num_u64(number, percent ? 100 : INT64_MAX, &v, NULL);
    free(number);
    if (rc < 0)
        return err_set(e, ERR_USAGE, "--%s \"%s\": allowed are a number of objects, or 0%% to 100%% of them", row->name, value);
    o->max_delete = v;
    o->max_delete_percent = percent;
    o->max_delete_given = true;
    return 0;
}

/* ---- the table ---- */

static const char *const fsync_names[] = {
    [SOS_FSYNC_BATCH] = "batch", [SOS_FSYNC_ALWAYS] = "always", [SOS_FSYNC_NONE] = "none", NULL};
static const char *const color_names[] = {
    [OPTIONS_COLOR_AUTO] = "auto", [OPTIONS_COLOR_ALWAYS] = "always", [OPTIONS_COLOR_NEVER] = "never", NULL};
static const char *const format_names[] = {
    [OPTIONS_TEXT] = "text", [OPTIONS_JSON] = "json", [OPTIONS_MTREE] = "mtree", NULL};

#define AT(f) .at = offsetof(struct options, f)
#define S (OPTIONS_SYNC | OPTIONS_SCRUB | OPTIONS_RM)
#define M OPTIONS_MANIFEST
#define A OPTIONS_AGENT
#define P OPTIONS_POLICY
#define T (OPTIONS_TRASH | OPTIONS_STATUS)

static const struct row table[] = {
    {'n', "dry-run", .commands = S, .take = take_flag, AT(dry_run),
     .help = "print what would be done, itemised, and do nothing"},
    {0, "explain", "OBJECT", .commands = OPTIONS_SYNC, .take = take_text, AT(explain),
     .help = "say who has this object, who should, and why; do nothing"},
    {'v', "verbose", .commands = S | A | T, .take = take_flag, AT(verbose),
     .help = "say more: a line for every action"},
    {'q', "quiet", .commands = S | M | A | P | T, .take = take_flag, AT(quiet),
     .help = "print nothing unless something is wrong"},
    {'c', "checksum", .commands = OPTIONS_SYNC | M, .take = take_flag, AT(checksum),
     .help = "read all content again; --mtree: add SHA-256 digests"},
    {0, "config", "FILE", .commands = S | P | T, .take = take_text, AT(config),
     .help = "read groups from FILE, not from /etc/sos.conf and ~/.sos.conf"},
    {0, "policy", "FILE", .commands = S | P | T, .take = take_text, AT(policy),
     .help = "read policies from FILE, not from /etc/sos.policy and ~/.sos.policy"},
    {0, "group", "NAME", .commands = S | P | T, .take = take_list, AT(group),
     .help = "only this group; may be given several times"},
    {0, "object", "PATTERN", .commands = P, .take = take_text, AT(object),
     .help = "the policy of objects that the pattern means"},
    {0, "xml", .commands = P, .take = take_flag, AT(xml),
     .help = "print DataONE's replicationPolicy element"},
    {0, "exclude", "PATTERN", .commands = S | M, .take = add_rule, .to = 0,
     .help = "leave out objects that match"},
    {0, "include", "PATTERN", .commands = S | M, .take = add_rule, .to = 1,
     .help = "keep objects that match; the first rule that matches decides"},
    {0, "exclude-from", "FILE", .commands = S | M, .take = take_rules, .to = 0,
     .help = "patterns from FILE, one a line; - is standard input"},
    {0, "include-from", "FILE", .commands = S | M, .take = take_rules, .to = 1, .help = "the same, to keep"},
    {0, "state-dir", "DIR", .commands = S | M | A | T, .take = take_text, AT(state_dir),
     .help = "keep the stores' state below DIR, not in the stores"},
    {0, "cache-dir", "DIR", .commands = S | OPTIONS_STATUS, .take = take_text, AT(cache_dir),
     .help = "keep copies of remote members' manifests in DIR, not in ~/.cache/sos-sync"},
    {0, "no-cache", .commands = S | OPTIONS_STATUS, .take = take_flag, AT(no_cache),
     .help = "keep no such copies, and use none"},
    {0, "fsync", "WHEN", .commands = S, .take = take_choice, AT(fsync), .choice = fsync_names,
     .help = "batch (default), always (after each object) or none"},
    {0, "wait", "SECONDS", .optional = true, .commands = S, .take = take_wait, AT(wait),
     .help = "wait so long for a store that another run holds; alone: as long as it takes"},
    {0, "timeout", "SECONDS", .commands = S | T, .take = take_seconds, AT(timeout),
     .help = "give up a member after so long a silence (300); 0: never"},
    {0, "threads", "N", .commands = S | M, .take = take_threads, AT(threads),
     .help = "threads for hashing in each store; 0: one for each core"},
    {0, "through", .commands = S, .take = take_flag, AT(through),
     .help = "send content through the coordinator, as between remote members"},
    {'e', "rsh", "COMMAND", .commands = S | T, .take = take_text, AT(rsh),
     .help = "reach other machines by this command, such as ssh, not by the built-in SSH"},
    {0, "remote-command", "COMMAND", .commands = S | T, .take = take_text, AT(remote_command),
     .help = "what is run there (sos-sync)"},
    {0, "accept-new", .commands = S | T, .take = take_flag, AT(accept_new),
     .help = "believe hosts that are not known yet, and remember their keys"},
    {0, "ssh-config", "FILE", .commands = S | T, .take = take_text, AT(ssh_config),
     .help = "read SSH settings from FILE, not from ~/.ssh/config"},
    {0, "known-hosts", "FILE", .commands = S | T, .take = take_text, AT(known_hosts),
     .help = "look up host keys in FILE, not in ~/.ssh/known_hosts"},
    {0, "identity", "FILE", .commands = S | T, .take = take_list, AT(identity),
     .help = "log in with this private key; may be given several times"},
    {0, "bwlimit", "RATE", .commands = S | T, .take = take_rate, AT(bwlimit),
     .help = "KiB a second (or with M, G) over all links to other machines; 0: no limit"},
    {'z', "compress", .commands = S, .take = take_fixed, AT(compress), .to = SOS_COMPRESS_ALWAYS,
     .help = "compress all content on its way, not only where the link is slower than that"},
    {0, "no-compress", .commands = S, .take = take_fixed, AT(compress), .to = SOS_COMPRESS_NEVER,
     .help = "compress nothing"},
    {0, "part", "K/N", .commands = OPTIONS_SCRUB, .take = take_part,
     .help = "read only the Kth of N parts; runs of all parts come to every object"},
    {0, "no-heal", .commands = OPTIONS_SCRUB, .take = take_flag, AT(no_heal),
     .help = "only tell what is damaged"},
    {0, "root", "DIR", .commands = A, .take = take_text, AT(root),
     .help = "serve DIR, whatever the caller asks for"},
    {0, "read-only", .commands = A, .take = take_flag, AT(read_only),
     .help = "give objects, but change none; needs a root"},
    {0, "no-delete", .commands = A, .take = take_flag, AT(no_delete),
     .help = "take no object away; needs a root"},
    {0, "no-sandbox", .commands = S | A | T, .take = take_flag, AT(no_sandbox),
     .help = "agents do not lock themselves in to their stores"},
    {0, "adopt", "MEMBER", .commands = S | T, .take = take_list, AT(adopt),
     .help = "accept this member's store though another was expected; may be given several times"},
    {0, "older-than", "AGE", .commands = OPTIONS_TRASH, .take = take_age, AT(older_than),
     .help = "trash empty: only what has been there for so long, such as 3d"},
    {0, "json", .commands = S | M | P | T, .take = take_fixed, AT(format), .to = OPTIONS_JSON,
     .help = "print one JSON object a line"},
    {0, "format", "FORMAT", .commands = M, .take = take_choice, AT(format), .choice = format_names,
     .help = "text (default), json or mtree"},
    {0, "mtree", .commands = M, .take = take_fixed, AT(format), .to = OPTIONS_MTREE,
     .help = "print what mtree tools can verify"},
    {0, "progress", .commands = S | M | P | T, .take = take_fixed, AT(progress), .to = OPTIONS_PROGRESS_YES,
     .help = "show progress on a terminal also with -q or --json"},
    {0, "no-progress", .commands = S | M | P | T, .take = take_fixed, AT(progress), .to = OPTIONS_PROGRESS_NO,
     .help = "show no progress"},
    {0, "color", "WHEN", .optional = true, .commands = S | M | P | T, .take = take_choice, AT(color),
     .to = OPTIONS_COLOR_ALWAYS, .choice = color_names, .help = "auto (default), always or never"},
    {0, "stats", .commands = S, .take = take_flag, AT(stats),
     .help = "print some more figures after each summary"},
    {'h', "help", .commands = S | M | A | P | T, .take = take_flag, AT(help), .help = "print this"},
    {'V', "version", .commands = S | M | A | P | T, .take = take_flag, AT(version), .help = "print the version"},
    {0, "max-delete", "N|N%", .commands = OPTIONS_SYNC, .take = take_max_delete,
     .help = "delete at most so many objects from a member, or none; 100%: no limit"},
    {0, "prune-check", "HOW", .commands = OPTIONS_SYNC, .take = take_prune_check,
     .help = "before a copy is pruned, read (default) or only stat those that stay"},
    {'r', "recursive", .commands = OPTIONS_RM, .take = take_flag, AT(recursive),
     .help = "directories too, with all that is in them"},
};

#undef AT
#undef S
#undef T
#undef M
#undef A
#undef P
#undef T

#define ROWS (sizeof table / sizeof table[0])
_Static_assert(ROWS <= 64, "options.seen has a bit for each row");

/* ---- reading ---- */

/* ':' first, so that a missing value can be told from an unknown option. */
static void getopt_tables(char *letters, struct option *longs)
{
    *letters++ = ':';
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &table[i];
        int has = !row->value ? no_argument : row->optional ? optional_argument : required_argument;
        longs[i] = (struct option){row->name, has, NULL, LONG_BASE + (int)i};
        if (row->letter) {
            *letters++ = row->letter;
            if (row->value)
                *letters++ = ':';
        }
    }
    longs[ROWS] = (struct option){0};
    *letters = '\0';
}

static const struct row *row_of(int value)
{
    if (value >= LONG_BASE && value < LONG_BASE + (int)ROWS)
        return &table[value - LONG_BASE];
    for (size_t i = 0; i < ROWS; i++)
        if (table[i].letter && table[i].letter == value)
            return &table[i];
    return NULL;
}

static int refused(int what, char **argv, struct err *e)
{
    const struct row *row = row_of(optopt);
    if (what == ':')
        return err_set(e, ERR_USAGE, "--%s needs a value: %s", row->name, row->value);
    if (row)
        return err_set(e, ERR_USAGE, "--%s takes no value", row->name);
    if (optopt)
        return err_set(e, ERR_USAGE, "unknown option -%c; see sos-sync --help", optopt);
    return err_set(e, ERR_USAGE, "unknown or ambiguous option %s; see sos-sync --help", argv[optind - 1]);
}

/* SoS's own spelling, which else is -v -e rbose. */
static void spell_verbose(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-verbose") == 0)
            argv[i] = "--verbose";
}

static int take_all(struct options *o, int argc, char **argv, struct err *e)
{
    spell_verbose(argc, argv);
    char letters[2 * ROWS + 2];
    struct option longs[ROWS + 1];
    getopt_tables(letters, longs);
    opterr = 0;
    optind = 0; /* glibc: begin anew */
    for (int c; (c = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        const struct row *row = c == '?' || c == ':' ? NULL : row_of(c);
        if (!row)
            return refused(c, argv, e);
        int rc = row->take(o, row, optarg, e);
        if (rc < 0)
            return rc;
        o->seen |= 1ull << (row - table);
    }
    o->operand = argv + optind;
    o->operands = argc > optind ? (size_t)(argc - optind) : 0;
    return 0;
}

/* An error on the way must be told as asked for, wherever --json stands. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
    *o = (struct options){.timeout = -1};
    int rc = take_all(o, argc, argv, e);
    if (rc < 0 && wants_json(argc, argv))
        o->format = OPTIONS_JSON;
    if (rc == 0 && o->verbose && o->quiet)
        rc = err_set(e, ERR_USAGE, "--verbose and --quiet contradict each other");
    /* The number of "--wait 60" would be a member, and be made. */
    uint64_t number;
    if (rc == 0 && o->wait < 0 && o->operands > 0 && num_duration(o->operand[0], &number, NULL) == 0)
        rc = err_set(e, ERR_USAGE, "--wait takes its number behind a =, as in --wait=%s; a member of that name is written ./%s",
                     o->operand[0], o->operand[0]);
    return rc;
}

void options_free(struct options *o)
{
    for (size_t i = 0; i < o->rules; i++)
        free((char *)o->rule[i].pattern);
    free(o->rule);
    free(o->group.item);
    free(o->adopt.item);
    free(o->identity.item);
    filter_free(o->filter);
    *o = (struct options){0};
}

int options_fit(const struct options *o, enum options_command command, const char *name, struct err *e)
{
    for (size_t i = 0; i < ROWS; i++)
        if (o->seen >> i & 1 && !(table[i].commands & command))
            return err_set(e, ERR_USAGE, "--%s does not go with %s", table[i].name, name);
    return 0;
}

/* ---- help ---- */

#define HELP_COLUMN 26
#define HELP_WIDTH 80

/* Words of text from column HELP_COLUMN on, as many lines as they take. */
static void put_wrapped(struct output *out, const char *text)
{
    size_t column = HELP_COLUMN;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column + word + 1 > HELP_WIDTH) {
            output_line(out);
            output_printf(out, "%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        if (column > HELP_COLUMN)
            output_put(out, " ", 1);
        output_put(out, text, word);
        column += word + 1;
        text += word + (text[word] == ' ');
    }
    output_line(out);
}

void options_help(struct output *out, unsigned commands)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &table[i];
        char left[64];
        if (!row->help || !(row->commands & commands))
            continue;
        const char *open = row->optional ? "[=" : row->value ? "=" : "";
        int n = snprintf(left, sizeof left, "  %c%c%s--%s%s%s%s", row->letter ? '-' : ' ',
                         row->letter ? row->letter : ' ', row->letter ? ", " : "  ", row->name, open,
                         row->value ? row->value : "", row->optional ? "]" : "");
        output_printf(out, "%-*s", HELP_COLUMN, left);
        if (n >= HELP_COLUMN) {
            output_line(out);
            output_printf(out, "%*s", HELP_COLUMN, "");
        }
        put_wrapped(out, row->help);
    }
}
