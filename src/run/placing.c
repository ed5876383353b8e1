/* Policies: what the run knows of the group's members that placement must know, and what came of it. */
#include "run/run.h"

#include "base/bit.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESERVE_PART 20u            /* of what is free and what objects take, one part in so many is left alone, */
#define RESERVE_MAX ((uint64_t)1 << 30) /* but not more than this */
#define BLOCK 4096u                     /* bytes of a disk that go together */

bool placing_asked(const struct run *r)
{
    return r->policy && (!group_policy_plain(r->policy) || r->options->explain || r->states) && !r->options->removes;
}

/* What the others remember of a member that is away. */
static void remember(struct run *r, size_t member, struct uuid *id, int64_t *seen)
{
    struct peer *away = &r->peer[member];
    for (unsigned i = 0; i < r->parts; i++) {
        struct peer *p = r->part[i];
        char *where = guard_where_for(away, p);
        for (size_t k = 0; k < p->knows_n; k++)
            if (strcmp(p->knows[k].address, where) == 0 && p->knows[k].seen >= *seen) {
                *id = p->knows[k].id;
                *seen = p->knows[k].seen;
            }
        free(where);
    }
}

/* *block: so many bytes of it go together. */
static uint64_t room_of(const struct run *r, const struct peer *p, unsigned number, uint32_t *block)
{
    *block = BLOCK;
    uint64_t room = UINT64_MAX, used = p->scanned.totals.bytes;
    uint64_t capacity = group_policy_member(r->policy, number)->capacity;
    if (r->full & bit(number))
        return 0;
    if (p->free_bytes) {
        /* Not of what is free alone: then a little would be left over for each next run. */
        uint64_t reserve = (p->free_bytes + used + p->scanned.totals.objects * BLOCK) / RESERVE_PART;
        reserve = reserve < RESERVE_MAX ? reserve : RESERVE_MAX;
        room = reserve < p->free_bytes ? (p->free_bytes - reserve) / BLOCK * BLOCK : 0;
    }
    if (!capacity || (capacity < used ? 0 : capacity - used) >= room)
        return room;
    *block = 1; /* which is a number of bytes of content */
    return capacity < used ? 0 : capacity - used;
}

/*
 * A store that this run is only about to make has no identity that anybody knows, and a dry run gives it none. What is
 * known before and after is the member's name.
 */
static uint64_t seed_of(const struct allot_group *g, unsigned number, const struct peer *p)
{
    bool made = g->part[number] == PLAN_NOBODY || p->flags & OPENED_MARKED;
    return made ? place_seed(&g->id[number]) : place_seed_name(p->member->name);
}

/*
 * Members of which it is not known whether they take anything away: one object shows it, so that copies of all the others are
 * not read to be confirmed for nothing. A dry run takes them at their best.
 */
static uint64_t untried(const struct run *r)
{
    uint64_t out = 0;
    for (unsigned i = 0; i < r->peers && !r->options->dry_run; i++)
        out |= peer_lives(&r->peer[i]) && r->peer[i].caps & STORE_UNTRIED ? bit(i) : 0;
    return out & ~r->takes;
}

struct allot_group *placing_new(struct run *r)
{
    struct allot_group *g = mem_zalloc(sizeof *g);
    g->policy = r->policy;
    g->full = r->full;
    g->keeps = placing_keeps(r) | untried(r);
    g->tries = r->options->dry_run ? 0 : g->keeps;
    g->world.members = (unsigned)r->peers;
    for (unsigned i = 0; i < r->peers; i++) {
        struct peer *p = &r->peer[i];
        int64_t seen = 0;
        g->part[i] = PLAN_NOBODY;
        for (unsigned k = 0; k < r->parts; k++)
            if (r->part[k] == p) {
                g->part[i] = (uint8_t)k;
                g->number[k] = (uint8_t)i;
            }
        if (g->part[i] != PLAN_NOBODY) {
            g->id[i] = p->id;
            g->world.room[i] = room_of(r, p, i, &g->block[i]);
        } else {
            g->world.away |= bit(i);
            remember(r, i, &g->id[i], &seen);
            if (r->seen >> i & 1)
                seen = r->now;
            if (seen && r->now - seen <= (int64_t)r->settings.down_after)
                g->believed |= bit(i);
            else
                g->world.gone |= bit(i);
        }
        g->world.seed[i] = seed_of(g, i, &r->peer[i]);
    }
    return g;
}

/* ---- what came of it ---- */

uint64_t placing_keeps(const struct run *r)
{
    uint64_t keeps = 0;
    for (size_t i = 0; i < r->peers; i++)
        keeps |= peer_lives(&r->peer[i]) && r->peer[i].caps & STORE_KEEPS_ALL ? bit((unsigned)i) : 0;
    return keeps;
}

static void count_over(struct placed *t, const char *path)
{
    if (strcmp(t->last_over, path) == 0)
        return;
    snprintf(t->last_over, sizeof t->last_over, "%s", path);
    t->over++;
}

void placing_stuck(struct run *r, unsigned member, const char *path)
{
    r->placed.stuck[member]++;
    count_over(&r->placed, path);
}

void placing_take(void *ctx, const struct verdict *v, const struct allotment *a)
{
    struct run *r = ctx;
    struct placed *t = &r->placed;
    explain_take(r, v, a);
    if (a->place.under && t->under++ == 0)
        snprintf(t->first_under, sizeof t->first_under, "%s", v->winner.path);
    if (a->place.waiting && t->waiting++ == 0)
        snprintf(t->first_waiting, sizeof t->first_waiting, "%s", v->winner.path);
    t->blocked += a->place.blocked_original;
    for (uint64_t left = a->stuck; left; left &= left - 1)
        placing_stuck(r, (unsigned)__builtin_ctzll(left), v->winner.path);
    if (a->place.waiting)
        count_over(t, v->winner.path);
}

/* Members, numbered as in the group. */
static uint64_t in_group(const struct run *r, uint64_t parts)
{
    uint64_t out = 0;
    for (; parts; parts &= parts - 1)
        out |= bit((unsigned)(r->part[__builtin_ctzll(parts)] - r->peer));
    return out;
}

/* Content of the step that did not arrive. */
static uint64_t missing(const struct plan_step *s, uint64_t failed)
{
    uint64_t out = 0;
    for (unsigned i = 0; i < s->targets; i++)
        out |= s->target[i].content ? failed & bit(s->target[i].member) : 0;
    return out;
}

/*
 * Copies are made and told of in one: who gets one is told, with it, of all that are to hold the object. Where not all came
 * true he is told again; and those that have it learn of new ones only now, and nothing where none has arrived.
 */
int placing_done(struct run *r, const struct plan_step *s, uint64_t failed, struct err *e)
{
    uint64_t lack = missing(s, failed), now = s->after & ~in_group(r, lack);
    if (!plan_tells(r->plan) || s->entry.kind == ENTRY_GONE || !(s->before | s->after) || r->left[s->phase])
        return 0;
    struct plan_step tell; /* large, and mostly of no use */
    tell.targets = 0;
    for (unsigned i = 0; i < s->targets; i++) {
        const struct plan_target *t = &s->target[i];
        if (t->later ? t->told != now : lack && !(failed & bit(t->member)))
            tell.target[tell.targets++] = (struct plan_target){.member = t->member, .need = NEED_RECORD, .action = ACTION_RECORD};
    }
    r->told_else |= lack || s->phase != PLAN_ADD;
    if (tell.targets == 0)
        return 0;
    entry_copy(&tell.entry, &s->entry);
    tell.phase = PLAN_TELL;
    tell.from = NULL;
    tell.holders = tell.keep = tell.prune = tell.before = tell.after = 0;
    tell.source = PLAN_NOBODY;
    for (; lack; lack &= lack - 1)
        holders_drop(&tell.entry.holders, &r->part[__builtin_ctzll(lack)]->id);
    return plan_tell(r->plan, &tell, e);
}

static void tell(struct run *r, uint64_t n, const char *what, const char *first)
{
    char text[PATH_LEN_MAX + 256];
    snprintf(text, sizeof text, "%" PRIu64 " object%s %s%s%s", n, n == 1 ? "" : "s", what, first ? "; the first: " : "",
             first ? first : "");
    report_trouble(r, NULL, NULL, false, text);
}

static void tell_stuck(struct run *r)
{
    for (size_t i = 0; i < r->group->members; i++) {
        uint64_t n = r->placed.stuck[i];
        char text[256];
        if (n == 0)
            continue;
        snprintf(text, sizeof text, "%" PRIu64 " object%s that %s to go from it %s: it takes no DELETE, and keeps what it has",
                 n, n == 1 ? "" : "s", n == 1 ? "is" : "are", n == 1 ? "stays" : "stay");
        report_trouble(r, r->group->member[i].name, NULL, false, text);
        report_status(r, SOS_COPIES);
    }
}

void placing_tell(struct run *r)
{
    if (r->options->explain)
        return;
    const struct placed *t = &r->placed;
    r->summary.under_replicated = t->under;
    r->summary.over_replicated = t->over;
    tell_stuck(r);
    if (t->under)
        tell(r, t->under, "with fewer copies than asked for, since there is no other member for them", t->first_under);
    if (t->waiting)
        tell(r, t->waiting, "with copies that are to go, which waits for members that are away", t->first_waiting);
    if (t->blocked)
        tell(r, t->blocked, "whose original stays on a blocked member", NULL);
    if (t->under || t->waiting)
        report_status(r, SOS_COPIES);
}
