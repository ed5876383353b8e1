#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define PROGRESS_MS 100
#define TOLD_MAX 100000u /* troubles that are remembered */

void report_status(struct run *r, enum sos_status s)
{
    r->summary.status = sos_status_worse(r->summary.status, s);
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Has an earlier attempt told the very same? */
static bool told_before(struct told *t, const char *member, const char *path, const char *text)
{
    char *all = mem_printf("%s%c%s%c%s", member ? member : "", 1, path ? path : "", 1, text);
    uint64_t hash = digest_check(all, strlen(all));
    free(all);
    if (t->before && bsearch(&hash, t->hash, t->before, sizeof hash, compare_hashes))
        return true;
    if (t->n == TOLD_MAX)
        return false;
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->hash = mem_resize(t->hash, t->cap, sizeof hash);
    }
    t->hash[t->n++] = hash;
    return false;
}

void report_again(struct run *r)
{
    struct told *t = &r->told;
    if (t->n > 1)
        qsort(t->hash, t->n, sizeof *t->hash, compare_hashes);
    t->before = t->n;
}

void report_trouble(struct run *r, const char *member, const char *path, bool error, const char *text)
{
    if (told_before(&r->told, member, path, text))
        return;
    struct sos_trouble t = {r->group->name, member, path, text, error};
    if (r->callbacks->trouble)
        r->callbacks->trouble(r->callbacks->ctx, &t);
}

static void scan_progress(const struct run *r, struct sos_progress *p)
{
    for (size_t i = 0; i < r->peers; i++) {
        p->objects_done += r->peer[i].progress_objects;
        p->bytes_done += r->peer[i].progress_bytes;
    }
}

static void transfer_progress(const struct run *r, struct sos_progress *p)
{
    const struct plan_totals *t = plan_totals(r->plan);
    for (unsigned a = ACTION_COPY; a < ACTION_KINDS; a++)
        p->objects_total += t->count[a];
    p->bytes_total = t->bytes;
    p->objects_done = r->done_objects;
    p->bytes_done = r->done_bytes;
    for (unsigned i = 0; i < r->parts; i++)
        p->bytes_done += r->part[i]->progress_bytes;
    if (p->bytes_done > p->bytes_total)
        p->bytes_done = p->bytes_total;
}

void report_progress(struct run *r, bool now)
{
    int64_t ms = clock_mono_ms();
    if (!r->callbacks->progress || (!now && ms - r->progressed < PROGRESS_MS))
        return;
    r->progressed = ms;
    struct sos_progress p = {.group = r->group->name, .phase = r->phase};
    if (r->phase == SOS_PHASE_SCAN)
        scan_progress(r, &p);
    else if (r->plan && r->phase >= SOS_PHASE_TRANSFER)
        transfer_progress(r, &p);
    r->callbacks->progress(r->callbacks->ctx, &p);
}

void report_begin(struct run *r)
{
    r->report = plan_cursor_new(r->plan);
    r->report_step = NULL;
    r->report_ended = false;
    for (unsigned i = 0; i < r->parts; i++)
        r->reported[i] = 0;
}

static const char *giver(const struct run *r, const struct plan_target *t, bool adopts)
{
    if (!t->content)
        return NULL;
    return adopts ? r->part[t->member]->member->name : r->part[r->report_step->source]->member->name;
}

/* In the group, of one that takes part. */
static unsigned number_of(const struct run *r, unsigned part)
{
    return (unsigned)(r->part[part] - r->peer);
}

static void count(struct run *r, const struct plan_target *t, bool adopts)
{
    const struct entry *entry = &r->report_step->entry;
    uint64_t *const counter[ACTION_KINDS] = {
        [ACTION_COPY] = &r->summary.copied,   [ACTION_UPDATE] = &r->summary.updated,
        [ACTION_ADOPT] = &r->summary.adopted, [ACTION_CONFLICT] = &r->summary.conflicts,
        [ACTION_DELETE] = &r->summary.deleted, [ACTION_PRUNE] = &r->summary.pruned,
    };
    if (counter[t->action]) {
        ++*(t->reason == REASON_DAMAGED ? &r->summary.healed : counter[t->action]);
        r->done_objects++;
    }
    /* Damage that is gone with a copy which nobody wanted is none any more, either. */
    r->summary.healed += t->action == ACTION_PRUNE && t->kind != ENTRY_DIR && !(r->report_step->before >> number_of(r, t->member) & 1);
    if (t->content) {
        r->done_bytes += entry->size;
        /* What came by streams is counted by who received it: of a patch only a part is new. */
        if (!adopts && (r->options->dry_run || r->part[t->member]->lent >> r->report_step->source & 1))
            r->summary.literal_bytes += entry->size;
    }
}

static size_t names_of(const struct run *r, uint64_t members, const char **name)
{
    size_t n = 0;
    for (; members; members &= members - 1)
        name[n++] = r->peer[__builtin_ctzll(members)].member->name;
    return n;
}

static void tell(struct run *r, const struct plan_target *t, bool adopts)
{
    const char *before[PLAN_MEMBERS_MAX], *after[PLAN_MEMBERS_MAX];
    const struct entry *entry = &r->report_step->entry;
    if (t->action == ACTION_RECORD)
        return;
    count(r, t, adopts);
    struct sos_action a = {
        .group = r->group->name,
        .action = t->reason == REASON_DAMAGED ? "heal" : plan_action_name((enum plan_action)t->action),
        .path = entry->path,
        .from = giver(r, t, adopts),
        .to = r->part[t->member]->member->name,
        .bytes = t->content ? entry->size : 0,
        .reason = plan_reason_text((enum plan_reason)t->reason),
        .before = before, .after = after,
        .befores = names_of(r, r->report_step->before, before), .afters = names_of(r, r->report_step->after, after),
    };
    if (r->callbacks->action)
        r->callbacks->action(r->callbacks->ctx, &a);
}

/* What was in motion may stand still a moment later. */
static bool tries_again(const struct run *r, int code)
{
    return r->attempt == 0 && (code == ERR_CHANGED || code == ERR_DAMAGED);
}

/* Where a policy has a say, the next member takes the replica that this one has no room for. */
static bool passes_on(struct run *r, const struct peer *p, const struct plan_step *s, int code)
{
    uint64_t member = (uint64_t)1 << (p - r->peer);
    if (code != ERR_FULL || s->entry.kind == ENTRY_GONE || !(s->before | s->after))
        return false;
    r->overflowed |= !(r->full & member);
    r->full |= member;
    return r->overflowed;
}

/* It does, which was not known: another attempt takes the rest. */
static void takes_away(struct run *r, const struct peer *p, const struct plan_target *t)
{
    uint64_t member = (uint64_t)1 << (p - r->peer);
    unsigned unsure = t->need == NEED_PRUNE ? STORE_KEEPS_ALL | STORE_UNTRIED : STORE_KEEPS_ALL;
    r->moved |= p->caps & unsure && !(r->takes & member);
    r->takes |= member;
}

enum outcome { WENT_WELL, FAILED, LEFT_OPEN /* another attempt will tell */ };

/* A failure's reason is told, and forgotten. Operations come in order. */
static enum outcome outcome(struct peer *p, uint64_t op, const struct plan_step *s, const struct plan_target *t, bool adopts)
{
    bool removes = t->need == NEED_REMOVE || t->need == NEED_PRUNE; /* which some members do not do at all */
    struct run *r = p->run;
    struct failure *x = p->fail_first;
    if (!x || x->op != op) {
        if (removes && op <= p->done)
            takes_away(r, p, t);
        bool others = r->full >> (p - r->peer) & 1 && (s->before | s->after);
        return op <= p->done ? WENT_WELL : others ? LEFT_OPEN : FAILED; /* the member died first: that has been told */
    }
    bool asked = x->code == ERR_DAMAGED && damage_suspect(p, s, adopts, x->text);
    bool passed = passes_on(r, p, s, x->code);
    bool stuck = removes && x->code == ERR_UNSUPPORTED;
    enum outcome o = asked || passed || stuck || tries_again(r, x->code) ? LEFT_OPEN : FAILED;
    if (stuck)
        placing_stuck(r, (unsigned)(p - r->peer), s->entry.path); /* which tells it at the end */
    if (o == FAILED) {
        report_trouble(r, p->member->name, s->entry.path, true, x->text);
        report_status(r, SOS_PARTIAL);
    }
    r->moved |= o == LEFT_OPEN && !asked && !passed && !stuck;
    p->fail_first = x->next;
    if (!p->fail_first)
        p->fail_last = &p->fail_first;
    free(x);
    return o;
}

/* A dry run says of a member that will refuse what it would say itself. */
static enum outcome would_be(struct peer *p, const struct plan_target *t, const char *path)
{
    if (!peer_refuses(p, t))
        return WENT_WELL;
    report_trouble(p->run, p->member->name, path, true,
                   p->flags & OPENED_READ_ONLY ? STORE_SAYS_READ_ONLY : STORE_SAYS_NO_DELETE);
    report_status(p->run, SOS_PARTIAL);
    return FAILED;
}

/* Is the fate of this target's next operation known? A dead member's operations have failed. */
static bool settled(const struct run *r, const struct peer *p, uint64_t op)
{
    return r->options->dry_run || op <= p->done || !peer_lives(p);
}

/* Nothing was asked of the member. Where there will be another attempt, that one tells. */
static void not_pruned(struct run *r, const struct peer *p, const char *path)
{
    unsigned living = 0;
    for (size_t i = 0; i < r->peers; i++)
        living += peer_lives(&r->peer[i]);
    if (living >= 2 && (r->found_damage || r->attempt == 0)) {
        r->moved = true;
        return;
    }
    report_trouble(r, p->member->name, path, true, "its copy is to go, but stays: those that were to go on holding the "
                                                   "object could not confirm that they do");
    report_status(r, SOS_COPIES);
}

static void not_replaced(struct run *r, const struct peer *p, const struct plan_target *t, const char *path)
{
    if (run_tries_again(r))
        return; /* that attempt does it, or tells */
    r->summary.failed += t->action != ACTION_RECORD;
    if (t->action != ACTION_RECORD)
        report_trouble(r, p->member->name, path, true, "is left for the next run: a version that lost a conflict could "
                                                       "not be kept everywhere");
    report_status(r, SOS_PARTIAL);
}

static bool step_done(struct run *r)
{
    const struct plan_step *s = r->report_step;
    for (; r->report_target < s->targets; r->report_target++) {
        const struct plan_target *t = &s->target[r->report_target];
        if (t->later)
            continue;
        struct peer *p = r->part[t->member];
        uint64_t op = r->reported[t->member] + 1;
        if (s->phase == PLAN_PRUNE && !r->options->dry_run && (r->stage < PLAN_PRUNE || !prune_known(r, s)))
            return false;
        if (s->phase == PLAN_PRUNE && prune_refused(r, s)) {
            not_pruned(r, p, s->entry.path);
            continue;
        }
        if (r->left[s->phase]) {
            not_replaced(r, p, t, s->entry.path);
            continue;
        }
        if (!settled(r, p, op))
            return false;
        r->reported[t->member] = op;
        bool adopts = plan_cursor_adopts(r->report, r->report_target);
        enum outcome o = r->options->dry_run ? would_be(p, t, s->entry.path) : outcome(p, op, s, t, adopts);
        if (o != WENT_WELL)
            r->report_failed |= (uint64_t)1 << t->member;
        if (o == FAILED)
            r->summary.failed += t->action != ACTION_RECORD;
        else if (o == WENT_WELL)
            tell(r, t, adopts);
    }
    return true;
}

int report_advance(struct run *r, struct err *e)
{
    while (!r->report_ended) {
        if (!r->report_step) {
            int rc = plan_cursor_next(r->report, &r->report_step, e);
            if (rc < 0)
                return rc;
            r->report_ended = rc == 0;
            r->report_target = 0;
            r->report_failed = 0;
            if (rc != 1)
                break;
        }
        if (!step_done(r))
            break;
        int rc = placing_done(r, r->report_step, r->report_failed, e);
        if (rc < 0)
            return rc;
        r->report_step = NULL;
    }
    return 0;
}

void report_end(struct run *r)
{
    if (r->report)
        plan_cursor_free(r->report);
    r->report = NULL;
}
