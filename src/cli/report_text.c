#include "cli/report_text.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/blob.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ECHO_MAX 20 /* times that a message is printed for one object after the other */

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define NAME_COLUMNS 30 /* a longer member name pushes its line out of the columns */

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- actions ---- */

/* Columns that a name takes, measured by writing it where nobody looks. */
static size_t name_columns(struct reporter *r, const char *name)
{
    struct output probe = {.fd = -1, .text = r->scratch};
    probe.text.len = 0;
    size_t columns = output_name(&probe, name);
    r->scratch = probe.text;
    return columns;
}

static bool itemised(const struct reporter *r)
{
    return !r->options->quiet && (r->options->verbose || r->options->dry_run);
}

static void text_begin(struct reporter *r, const char *group, const char *const *member, size_t members)
{
    size_t widest = 0;
    for (size_t i = 0; i < members; i++) {
        size_t columns = name_columns(r, member[i]);
        if (columns > widest)
            widest = columns;
    }
    r->width = widest < NAME_COLUMNS ? widest : NAME_COLUMNS;
    r->actions = r->rmdirs = 0;
    if (!itemised(r))
        return;
    output_str(r->out, "group ");
    output_name(r->out, group);
    for (size_t i = 0; i < members; i++) {
        output_str(r->out, i ? ", " : ": ");
        output_name(r->out, member[i]);
    }
    output_line(r->out);
}

static void pad(struct output *out, size_t columns, size_t width)
{
    for (; columns < width; columns++)
        output_put(out, " ", 1);
}

static const char *color_of(const char *action)
{
    static const struct { const char *action, *code; } table[] = {
        {"copy", "\033[32m"},     {"mkdir", "\033[32m"}, {"update", "\033[36m"}, {"adopt", "\033[36m"},
        {"conflict", "\033[33m"}, {"heal", "\033[33m"}, {"rmdir", "\033[31m"}, {"prune", "\033[31m"}, {"delete", "\033[31m"}, {"trash", "\033[31m"},
    };
    for (size_t i = 0; i < COUNT(table); i++)
        if (strcmp(table[i].action, action) == 0)
            return table[i].code;
    return "\033[0m";
}

static void put_names(struct output *out, const char *const *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i)
            output_put(out, ",", 1);
        output_name(out, name[i]);
    }
    if (n == 0)
        output_str(out, "nobody");
}

/* Who has it and who will, where a policy has a say. */
static void put_holders(struct output *out, const struct sos_action *a)
{
    if (a->befores + a->afters == 0)
        return;
    output_str(out, "[");
    put_names(out, a->before, a->befores);
    output_str(out, " => ");
    put_names(out, a->after, a->afters);
    output_str(out, "]  ");
}

/* Columns: action, from -> to, size, reason, holders, and last the path, which may hold anything. */
static void put_item(struct reporter *r, const struct sos_action *a)
{
    struct output *out = r->out;
    char size[32];
    if (r->color)
        output_str(out, color_of(a->action));
    output_printf(out, "%-8s", a->action);
    if (r->color)
        output_str(out, "\033[0m");
    output_str(out, "  ");
    pad(out, a->from ? output_name(out, a->from) : 0, r->width);
    output_str(out, " -> ");
    pad(out, output_name(out, a->to), r->width);
    output_printf(out, "  %10s  %-12s  ", num_bytes(size, sizeof size, a->bytes), a->reason);
    put_holders(out, a);
    output_name(out, a->path);
    if (strcmp(a->action, "mkdir") == 0 || strcmp(a->action, "rmdir") == 0)
        output_put(out, "/", 1);
    output_line(out);
}

/* The object stays on others alone. */
static bool gives_up(const struct sos_action *a)
{
    for (size_t i = 0; i < a->afters; i++)
        if (strcmp(a->after[i], a->to) == 0)
            return false;
    return a->afters > 0;
}

static void put_conflict(struct reporter *r, const struct sos_action *a)
{
    struct output *out = r->out;
    bool dry = r->options->dry_run;
    output_str(out, "group ");
    output_name(out, a->group);
    output_str(out, ": conflict: ");
    output_name(out, a->path);
    output_str(out, ": ");
    output_name(out, a->to);
    if (gives_up(a)) {
        output_str(out, dry ? " would have no copy any more" : " has no copy any more");
    } else {
        output_str(out, dry ? " would get the version of " : " got the version of ");
        output_name(out, a->from ? a->from : "another member");
    }
    output_str(out, dry ? "; its own would go to the trash of " : "; its own is in the trash of ");
    output_name(out, a->to);
    output_line(out);
}

static void text_action(struct reporter *r, const struct sos_action *a)
{
    r->actions++;
    r->rmdirs += strcmp(a->action, "rmdir") == 0;
    if (itemised(r))
        put_item(r, a);
    if (!r->options->quiet && strcmp(a->action, "conflict") == 0)
        put_conflict(r, a);
}

/* ---- trouble ---- */

void report_text_trouble(const struct sos_trouble *t)
{
    const char *part[] = {t->group ? "group " : "", t->group ? t->group : "", t->group ? ": " : "",
                          t->member ? t->member : "", t->member ? ": " : "",
                          t->path ? t->path : "", t->path ? ": " : ""};
    void (*say)(const char *fmt, ...) = t->error ? log_error : log_note;
    say("%s%s%s%s%s%s%s%s", part[0], part[1], part[2], part[3], part[4], part[5], part[6], t->message);
}

/* Says how often a message was left out, and forgets it. */
static void end_echo(struct reporter_echo *echo)
{
    if (echo->n > ECHO_MAX)
        log_error("%s: the same for %" PRIu64 " more objects: %s", echo->member, echo->n - ECHO_MAX, echo->message);
    free(echo->member);
    free(echo->message);
    *echo = (struct reporter_echo){0};
}

/* A full disk has the same to say of every object: a few such lines tell all. False: leave this one out. */
static bool worth_saying(struct reporter *r, const struct sos_trouble *t)
{
    if (!t->path || !t->member || r->options->verbose)
        return true;
    for (size_t i = 0; i < REPORTER_ECHOES; i++) {
        struct reporter_echo *echo = &r->echo[i];
        if (echo->n && strcmp(echo->member, t->member) == 0 && strcmp(echo->message, t->message) == 0)
            return ++echo->n <= ECHO_MAX;
    }
    struct reporter_echo *oldest = &r->echo[r->echo_next++ % REPORTER_ECHOES];
    end_echo(oldest);
    *oldest = (struct reporter_echo){mem_strdup(t->member), mem_strdup(t->message), 1};
    return true;
}

static void text_trouble(struct reporter *r, const struct sos_trouble *t)
{
    if (worth_saying(r, t))
        report_text_trouble(t);
}

/* ---- summary ---- */

struct counted {
    uint64_t n;
    const char *done;        /* behind the number, in a run */
    const char *would;       /* before the number, in a dry run */
    const char *would_after; /* and behind it */
    bool s;                  /* takes a plural s */
};

static void put_counts(struct output *out, const struct counted *c, size_t n, bool dry)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (c[i].n == 0)
            continue;
        output_str(out, any ? ", " : dry ? ": would " : ": ");
        any = true;
        output_printf(out, "%s%" PRIu64 "%s%s", dry ? c[i].would : "", c[i].n,
                      dry ? c[i].would_after : c[i].done, c[i].s ? plural(c[i].n) : "");
    }
}

/* What a status adds to a summary's head. */
static const char *state_of(enum sos_status status)
{
    static const char *const name[] = {
        [SOS_OK] = "",
        [SOS_USAGE] = "refused, ",
        [SOS_FAILED] = "failed, ",
        [SOS_PARTIAL] = "done in part, ",
        [SOS_COPIES] = "wrong number of copies, ",
        [SOS_LOCKED] = "locked by another run, ",
        [SOS_GUARD] = "held back by a guard, ",
    };
    return (size_t)status < COUNT(name) ? name[status] : "failed, ";
}

static uint64_t deeds_of(const struct sos_summary *s)
{
    return s->copied + s->updated + s->adopted + s->pruned + s->deleted + s->conflicts + s->healed;
}

static void put_deeds(struct reporter *r, const struct sos_summary *s)
{
    uint64_t counted = deeds_of(s);
    /* Directories are told as actions, but are not in the counts. */
    uint64_t all = r->actions > counted ? r->actions - counted : 0;
    uint64_t gone = r->rmdirs < all ? r->rmdirs : all, dirs = all - gone;
    const struct counted deeds[] = {
        {s->copied, " copied", "copy ", "", false},
        {s->updated, " updated", "update ", "", false},
        {s->adopted, " adopted", "adopt ", "", false},
        {s->pruned, " pruned", "prune ", "", false},
        {s->deleted, " deleted", "delete ", "", false},
        {s->healed, " healed", "heal ", "", false},
        {s->conflicts, " conflict", "settle ", " conflict", true},
        {dirs, dirs == 1 ? " directory" : " directories", "make or change ",
         dirs == 1 ? " directory" : " directories", false},
        {gone, gone == 1 ? " directory removed" : " directories removed", "remove ",
         gone == 1 ? " directory" : " directories", false},
    };
    put_counts(r->out, deeds, COUNT(deeds), s->dry_run);
}

static void put_problems(struct output *out, const struct sos_summary *s)
{
    if (s->failed)
        output_printf(out, ", %" PRIu64 " failed", s->failed);
    if (s->damaged > s->healed)
        output_printf(out, ", %" PRIu64 " damaged", s->damaged - s->healed);
    if (s->under_replicated)
        output_printf(out, ", %" PRIu64 " with too few copies", s->under_replicated);
    if (s->over_replicated)
        output_printf(out, ", %" PRIu64 " with too many copies", s->over_replicated);
}

static const char *summary_color(enum sos_status status)
{
    if (status == SOS_OK)
        return "\033[32m";
    return status == SOS_PARTIAL || status == SOS_COPIES ? "\033[33m" : "\033[31m";
}

static void put_head(struct reporter *r, const struct sos_summary *s, bool idle)
{
    struct output *out = r->out;
    output_str(out, "group ");
    if (r->color)
        output_str(out, summary_color(s->status));
    output_name(out, s->group);
    if (r->color)
        output_str(out, "\033[0m");
    output_str(out, s->dry_run ? ": dry run, " : ": ");
    output_str(out, s->scrub && s->status == SOS_OK ? "scrubbed, " : idle && s->status == SOS_OK ? "in step, " : state_of(s->status));
    output_printf(out, "%u member%s", s->members, plural(s->members));
    if (s->unreachable)
        output_printf(out, " (%u unreachable)", s->unreachable);
    output_printf(out, ", %" PRIu64 " object%s", s->objects, plural(s->objects));
}

static void put_bytes(struct output *out, const char *what, uint64_t bytes)
{
    char text[32];
    output_printf(out, "  %s: %s (%" PRIu64 " bytes)", what, num_bytes(text, sizeof text, bytes), bytes);
}

static void put_stats(struct output *out, const struct sos_summary *s)
{
    double rate = s->seconds > 0 ? (double)s->literal_bytes / s->seconds : 0;
    char text[32];
    put_bytes(out, s->dry_run ? "content to move" : "content moved", s->literal_bytes);
    if (!s->dry_run && rate >= 1 && rate < 1e18)
        output_printf(out, ", %s/s", num_bytes(text, sizeof text, (uint64_t)rate));
    output_line(out);
    put_bytes(out, "on the links", s->wire_bytes);
    output_line(out);
    output_printf(out, "  failed %" PRIu64 ", with too few copies %" PRIu64 ", members unreachable %u",
                  s->failed, s->under_replicated, s->unreachable);
    output_line(out);
}

static const char *idle_text(const struct sos_summary *s)
{
    if (s->status == SOS_OK)
        return s->scrub ? ", no damage" : ", nothing to do";
    if (s->status == SOS_FAILED && !s->dry_run)
        return ", nothing known to be done"; /* what was under way when it ended may be */
    return s->dry_run ? ", would do nothing" : ", nothing done";
}

static void text_summary(struct reporter *r, const struct sos_summary *s)
{
    struct output *out = r->out;
    bool idle = r->actions == 0 && deeds_of(s) == 0;
    char moved[32];
    for (size_t i = 0; i < REPORTER_ECHOES; i++)
        end_echo(&r->echo[i]);
    if (r->options->quiet && s->status == SOS_OK)
        return;
    put_head(r, s, idle);
    if (idle)
        output_str(out, idle_text(s));
    else
        put_deeds(r, s);
    put_problems(out, s);
    num_bytes(moved, sizeof moved, s->literal_bytes);
    if (s->literal_bytes)
        output_printf(out, ", %s%s", s->dry_run ? "moving " : "", moved);
    output_printf(out, idle || s->dry_run ? " (%.*f s)" : " in %.*f s", s->seconds < 1 ? 2 : 1, s->seconds);
    output_line(out);
    if (r->options->stats)
        put_stats(out, s);
    output_flush(out);
}

/* ---- manifest ---- */

char *report_text_time(char out[64], struct stamp t)
{
    time_t sec = (time_t)t.sec;
    struct tm tm;
    if (!gmtime_r(&sec, &tm))
        snprintf(out, 64, "@%" PRId64 ".%09" PRIu32, t.sec, t.nsec);
    else
        snprintf(out, 64, "%04lld-%02d-%02dT%02d:%02d:%02d.%09" PRIu32 "Z", 1900LL + tm.tm_year,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, t.nsec);
    return out;
}

static void text_object(struct reporter *r, const struct entry *e)
{
    static const char letter[] = {[ENTRY_FILE] = 'f', [ENTRY_LINK] = 'l', [ENTRY_DIR] = 'd'};
    char when[64] = "-", hex[DIGEST_HEX_MAX + 1] = "-", size[24] = "-";
    bool read = !r->by_id || blob_is_read(e);
    if (e->kind != ENTRY_DIR && read) {
        if (!r->by_id || e->mtime.sec)
            report_text_time(when, e->mtime);
        digest_hex(hex, &e->digest);
    }
    if (read)
        snprintf(size, sizeof size, "%" PRIu64, e->size);
    output_printf(r->out, "%c %04o %14s %-30s %-32s ", letter[e->kind], e->mode, size, when, hex);
    output_name(r->out, e->path);
    output_line(r->out);
}

/* ---- policies ---- */

#define SOURCE_COLUMN 40u

/* "KEY: VALUE", and where it was set, as a comment: what is printed could stand in a file. */
static void put_key(struct output *out, const char *key, const char *value, const char *source)
{
    output_printf(out, "%s: ", key);
    size_t width = strlen(key) + 2 + output_name(out, value);
    output_printf(out, "%*s # ", width < SOURCE_COLUMN ? (int)(SOURCE_COLUMN - width) : 0, "");
    output_name(out, source ? source : "default");
    output_line(out);
}

static void text_policy(struct reporter *r, const struct reporter_policy *p)
{
    struct output *out = r->out;
    char number[24] = "all";
    if (!p->all)
        snprintf(number, sizeof number, "%u", p->replicas);
    for (size_t i = 0; i < p->remarks; i++) {
        output_str(out, "# ");
        output_name(out, p->remark[i]);
        output_line(out);
    }
    if (p->changed) {
        output_str(out, "# changed: ");
        output_name(out, p->changed);
        output_line(out);
    }
    output_name(out, p->section);
    output_line(out);
    put_key(out, "replication", p->allowed ? "allowed" : "disallowed", p->source[0]);
    put_key(out, "replicas", number, p->source[1]);
    put_key(out, "preferred", p->written[0], p->source[2]);
    put_key(out, "blocked", p->written[1], p->source[3]);
}

/* ---- trash ---- */

/* Columns: id, when, member, size, reason, and last the path, which may hold anything. */
static void text_trash(struct reporter *r, const struct sos_trash_item *item)
{
    struct output *out = r->out;
    char size[32], when[64];
    report_text_time(when, (struct stamp){item->when, 0});
    output_printf(out, "%s  %.19sZ  ", item->id, when);
    pad(out, output_name(out, item->member), r->width);
    output_printf(out, "  %10s  ", num_bytes(size, sizeof size, item->bytes));
    pad(out, output_name(out, item->reason), 13);
    output_str(out, "  ");
    output_name(out, item->path);
    output_line(out);
}

static void put_place(struct output *out, const char *group, const char *member)
{
    output_str(out, "group ");
    output_name(out, group);
    output_str(out, ": ");
    output_name(out, member);
    output_str(out, ": ");
}

static void text_restored(struct reporter *r, const struct sos_trash_item *item)
{
    if (r->options->quiet)
        return;
    put_place(r->out, item->group, item->member);
    output_str(r->out, "restored ");
    output_name(r->out, item->path);
    output_line(r->out);
}

static void text_emptied(struct reporter *r, const char *group, const char *member, uint64_t items, uint64_t bytes)
{
    char size[32];
    if (r->options->quiet)
        return;
    put_place(r->out, group, member);
    output_printf(r->out, "%" PRIu64 " item%s removed, %s", items, plural(items), num_bytes(size, sizeof size, bytes));
    output_line(r->out);
}

#define RULE_COLUMNS 28 /* of a key and its value; a longer one pushes its source out of the column */

static void put_source(struct output *out, size_t columns, const char *source)
{
    pad(out, columns, RULE_COLUMNS);
    output_str(out, "  ");
    output_name(out, source ? source : "by default");
    output_line(out);
}

static void put_rule(struct output *out, const char *key, const char *value, const char *source)
{
    output_printf(out, "  %s: %s", key, value);
    put_source(out, strlen(key) + strlen(value), source);
}

static void put_rule_list(struct output *out, const char *key, const char *const *name, size_t n, const char *source)
{
    size_t columns = strlen(key) + (n ? n - 1 : strlen("nobody"));
    output_printf(out, "  %s: %s", key, n ? "" : "nobody");
    for (size_t i = 0; i < n; i++) {
        output_str(out, i ? " " : "");
        columns += output_name(out, name[i]);
    }
    put_source(out, columns, source);
}

static const char *holding(const struct sos_explained_member *m)
{
    if (m->damaged)
        return "damaged";
    return m->outdated ? "outdated" : m->has ? "has it" : "has not";
}

static void text_explain(struct reporter *r, const struct sos_explanation *x)
{
    struct output *out = r->out;
    char number[24] = "all";
    if (!x->all)
        snprintf(number, sizeof number, "%u", x->replicas);
    output_str(out, "group ");
    output_name(out, x->group);
    output_printf(out, ": copies %u/%u: ", x->copies, x->wanted);
    output_name(out, x->path);
    output_line(out);
    put_rule(out, "replication", x->allowed ? "allowed" : "disallowed", x->source[0]);
    put_rule(out, "replicas", number, x->source[1]);
    put_rule_list(out, "preferred", x->preferred, x->preferreds, x->source[2]);
    put_rule_list(out, "blocked", x->blocked, x->blockeds, x->source[3]);
    for (size_t i = 0; i < x->members; i++) {
        const struct sos_explained_member *m = &x->member[i];
        output_str(out, "  ");
        pad(out, output_name(out, m->name), r->width);
        output_printf(out, "  %-8s  %-15s  %s", holding(m),
                      m->should ? "should have it" : "should not", m->why);
        output_line(out);
    }
}

/* ---- status ---- */

static void put_day(struct output *out, const char *what, const char *never, int64_t sec)
{
    char when[64];
    if (sec == 0) {
        output_str(out, never);
        return;
    }
    report_text_time(when, (struct stamp){sec, 0});
    output_printf(out, "%s%.*s", what, (int)strcspn(when, "."), when);
}

/* Of those wanted, how many are there? Nothing is said of what there is none of. */
static void put_copies(struct output *out, const struct sos_copies *c, const char *where)
{
    output_printf(out, ", copies %" PRIu64 "/%" PRIu64, c->there, c->wanted);
    if (c->surplus)
        output_printf(out, " and %" PRIu64 " not wanted", c->surplus);
    if (c->blocked_originals)
        output_printf(out, ", %" PRIu64 " original%s %s", c->blocked_originals, plural(c->blocked_originals), where);
}

/* Of no objects, none is unverified. */
static void put_dates(struct output *out, uint64_t objects, int64_t verified, int64_t last_run)
{
    if (objects)
        put_day(out, ", all verified since ", ", not all verified", verified);
    put_day(out, ", last run ", "", last_run);
}

static void text_member(struct reporter *r, const struct sos_member *m)
{
    struct output *out = r->out;
    char size[32];
    output_str(out, "group ");
    output_name(out, m->group);
    output_str(out, ": ");
    output_name(out, m->member);
    if (m->state == SOS_MEMBER_UNREACHABLE)
        output_str(out, ": unreachable");
    if (m->state == SOS_MEMBER_IN_USE)
        output_str(out, ": in use by a run");
    if (m->state == SOS_MEMBER_NEW)
        output_str(out, ": has not been in a run yet");
    if (m->state == SOS_MEMBER_OK) {
        output_printf(out, ": %" PRIu64 " object%s, %s", m->objects, plural(m->objects),
                      num_bytes(size, sizeof size, m->bytes));
        output_printf(out, ", %s free", m->free_bytes ? num_bytes(size, sizeof size, m->free_bytes) : "unknown");
    }
    if (m->state == SOS_MEMBER_OK || m->copies.wanted + m->copies.surplus > 0)
        put_copies(out, &m->copies, "though it is blocked");
    if (m->state == SOS_MEMBER_OK) {
        if (m->damaged)
            output_printf(out, ", %" PRIu64 " damaged", m->damaged);
        put_dates(out, m->objects, m->verified, m->last_run);
    }
    output_line(out);
}

static void text_standing(struct reporter *r, const struct sos_standing *s)
{
    struct output *out = r->out;
    char size[32];
    output_str(out, "group ");
    output_name(out, s->group);
    output_printf(out, ": %u member%s", s->members, plural(s->members));
    if (s->unreachable)
        output_printf(out, " (%u unreachable)", s->unreachable);
    output_printf(out, ", %" PRIu64 " object%s, %s", s->objects, plural(s->objects), num_bytes(size, sizeof size, s->bytes));
    put_copies(out, &s->copies, s->copies.blocked_originals == 1 ? "on a blocked member" : "on blocked members");
    if (s->under_replicated)
        output_printf(out, ", %" PRIu64 " with too few copies", s->under_replicated);
    if (s->over_replicated)
        output_printf(out, ", %" PRIu64 " with copies not wanted", s->over_replicated);
    if (s->damaged)
        output_printf(out, ", %" PRIu64 " damaged", s->damaged);
    put_dates(out, s->objects, s->verified, s->last_run);
    output_line(out);
}

void report_text_init(struct reporter *r, struct output *out, const struct options *options, bool color)
{
    static const struct reporter_ops ops = {
        text_begin, text_action, text_trouble, text_summary, text_object, text_policy,
        text_trash, text_restored, text_emptied, text_explain, text_member,
        text_standing,
    };
    *r = (struct reporter){.ops = &ops, .out = out, .options = options, .color = color};
}
