#include "plan/allot.h"

#include "base/bit.h"
#include "plan/plan.h"

static uint64_t to_group(const struct allot_group *g, uint64_t parts)
{
    uint64_t out = 0;
    for (; parts; parts &= parts - 1)
        out |= bit(g->number[__builtin_ctzll(parts)]);
    return out;
}

static uint64_t to_parts(const struct allot_group *g, uint64_t members)
{
    uint64_t out = 0;
    for (; members; members &= members - 1) {
        unsigned part = g->part[__builtin_ctzll(members)];
        out |= part == PLAN_NOBODY ? 0 : bit(part);
    }
    return out;
}

/* Of these, who are said to have it. */
static uint64_t named(const struct allot_group *g, uint64_t members, const struct holders *said)
{
    uint64_t out = 0;
    for (uint64_t left = members; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (!uuid_none(&g->id[i]) && holders_have(said, &g->id[i]))
            out |= bit(i);
    }
    return out;
}

/*
 * Of these, whom all that have the winning version and have been told of holders at all say to have it: nobody knows
 * better. told: is there one who has been told?
 */
static uint64_t agreed(const struct allot_group *g, uint64_t members, const struct merge_row *row, const struct verdict *v,
                       bool *told)
{
    uint64_t out = members;
    *told = false;
    for (uint64_t left = row && members ? v->holders : 0; left; left &= left - 1) {
        const struct holders *h = &row->at[__builtin_ctzll(left)]->holders;
        out = h->n ? named(g, out, h) : out;
        *told |= h->n > 0;
    }
    return *told ? out : 0;
}

/* Members that are away, and of whom nobody knows better than that they have it. */
static uint64_t believed(const struct allot_group *g, const struct merge_row *row, const struct verdict *v)
{
    bool told;
    return agreed(g, g->believed, row, v, &told);
}

static unsigned member_of(const struct allot_group *g, const struct uuid *id)
{
    for (unsigned i = 0; i < g->world.members; i++)
        if (!uuid_none(id) && uuid_same(&g->id[i], id))
            return i;
    return PLACE_NOBODY;
}

/* Members that are called the origin by those of the row for which a run has settled that, or by the others. */
static uint64_t origins(const struct allot_group *g, const struct merge_row *row, const struct verdict *v, bool settled)
{
    uint64_t out = 0;
    for (uint64_t left = v->had & v->present; left; left &= left - 1) {
        const struct entry *at = row->at[__builtin_ctzll(left)];
        unsigned i = member_of(g, &at->origin);
        out |= i != PLACE_NOBODY && settled == (at->holders.n > 0) ? bit(i) : 0;
    }
    return out;
}

/*
 * Whoever had an object when it was first seen calls itself the origin, until a run says who that is: the first that is
 * not blocked. Whoever makes it anew by itself later does so, too, and is not asked. A run that has given up a blocked
 * origin says it of another; the first may be back now.
 */
static unsigned find_origin(const struct allot_group *g, const struct merge_row *row, const struct verdict *v, uint64_t blocked)
{
    unsigned origin = member_of(g, &v->winner.origin);
    if (!row || origin == PLACE_NOBODY)
        return origin;
    uint64_t settled = origins(g, row, v, true), said = settled ? settled : origins(g, row, v, false) | bit(origin);
    if (said & bit(origin) && !(blocked & bit(origin)))
        return origin;
    uint64_t others = said & ~blocked ? said & ~blocked : said & bit(origin) ? 0 : said;
    return others ? (unsigned)__builtin_ctzll(others) : origin;
}

/* A directory where a file is to be is no copy of it, and goes where no copy is wanted. */
static uint64_t damaged_parts(const struct merge_row *row, const struct verdict *v)
{
    uint64_t out = 0;
    for (uint64_t left = row ? v->had & v->present : 0; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        out |= row->at[i]->flags & ENTRY_DAMAGED || row->at[i]->kind == ENTRY_DIR ? bit(i) : 0;
    }
    return out;
}

/* Whoever cannot say what he has now keeps it, and it counts for as much as what is away. */
static uint64_t silent_parts(const struct merge_row *row, const struct verdict *v)
{
    return row ? v->had & ~v->present : 0;
}

static void take_room(struct allot_group *g, uint64_t members, uint64_t size)
{
    for (; members; members &= members - 1) {
        unsigned i = (unsigned)__builtin_ctzll(members);
        uint64_t *room = &g->world.room[i], block = g->block[i] ? g->block[i] : 1;
        uint64_t takes = (size + block - 1) / block * block;
        if (*room != UINT64_MAX)
            *room -= takes < *room ? takes : *room;
    }
}

static uint64_t told(const struct allot_group *g, const struct entry *at, const struct entry *winner)
{
    uint64_t all = g->world.members < 64 ? bit(g->world.members) - 1 : UINT64_MAX, out = named(g, all, &at->holders);
    bool same = (unsigned)__builtin_popcountll(out) == at->holders.n && uuid_same(&at->origin, &winner->origin);
    return same ? out : PLAN_TOLD_ELSE;
}

/* Who will hold it when this is done. What was known of members that are neither here nor believed is forgotten. */
static void record_holders(const struct allot_group *g, const struct merge_row *row, struct verdict *v,
                           struct allotment *a)
{
    struct holders *h = &v->winner.holders;
    h->n = 0;
    a->later = 0;
    for (uint64_t left = a->after; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (!uuid_none(&g->id[i]))
            holders_add(h, &g->id[i]);
    }
    for (uint64_t left = row ? a->wanted & v->holders : 0; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        const struct entry *at = row->at[i];
        if (v->need[i] != NEED_NOTHING || (holders_same(&at->holders, h) && uuid_same(&at->origin, &v->winner.origin)))
            continue;
        v->need[i] = NEED_RECORD;
        a->later |= bit(i);
        a->told[i] = told(g, at, &v->winner);
    }
}

static void leave_stuck(struct allot_group *g, struct allotment *out)
{
    uint64_t tried = out->place.drop & g->tries;
    out->stuck = out->place.drop & g->keeps & ~tried;
    out->place.drop &= ~out->stuck;
    g->tries &= ~tried;
}

/* Of what is kept under a new name nobody has a copy yet that could be too much. */
static void keep_beside(struct allotment *out)
{
    out->before &= out->place.wanted;
    out->place.drop = out->place.waiting = 0;
    out->place.drops = 0;
}

/* Whoever is to get what others have held for long gets it for a reason; as long as the records say who had it. */
static void say_why(const struct allot_group *g, const struct merge_row *row, struct verdict *v, const struct allotment *a)
{
    bool told;
    uint64_t had = agreed(g, a->place.add, row, v, &told);
    for (uint64_t get = told ? to_parts(g, a->place.add) : 0; get; get &= get - 1) {
        unsigned i = (unsigned)__builtin_ctzll(get), member = g->number[i];
        if (v->need[i] != NEED_CONTENT || v->reason[i] != REASON_NEW)
            continue;
        v->reason[i] = had >> member & 1 ? REASON_LOST
                       : a->policy->preferred_mask >> member & 1 ? REASON_PREFERRED
                                                                 : REASON_FEW;
    }
}

void allot(struct allot_group *g, const struct merge_row *row, struct verdict *v, struct allotment *out)
{
    uint64_t damaged = damaged_parts(row, v), silent = to_group(g, silent_parts(row, v));
    uint64_t have = row ? v->had & v->present & ~damaged : v->holders; /* an older version will be brought up to date */
    uint64_t away = g->world.away;
    out->policy = policy_of(g->policy, v->winner.path, v->winner.path_len, v->winner.first_seen);
    out->before = to_group(g, have) | silent | believed(g, row, v);
    out->outdated = to_group(g, have & ~v->holders);
    out->damaged = to_group(g, damaged);
    /* Whoever has no room for this version; a blocked original stays, whatever becomes of it. */
    uint64_t stale = out->outdated & g->full & ~out->policy->blocked;
    struct place_object o = {
        /* What is empty takes a place all the same. */
        .path = v->winner.path, .len = v->winner.path_len, .size = v->winner.size ? v->winner.size : 1,
        .holders = out->before & ~stale, .damaged = out->damaged, .stale = stale,
        .origin = find_origin(g, row, v, out->policy->blocked), .policy = out->policy,
    };
    g->world.away |= silent;
    place_object(&g->world, &o, &out->place);
    g->world.away = away;
    leave_stuck(g, out);
    take_room(g, out->place.add, o.size);
    if (!row)
        keep_beside(out);
    out->after = (out->before | out->place.add) & ~out->place.drop;
    /* An older version that stands in for a member that is away vouches for nothing before it is brought up to date. */
    out->wanted = to_parts(g, out->place.wanted | (out->place.drop ? out->place.keep & out->outdated : 0));
    out->drop = to_parts(g, out->place.drop);
    out->keep = to_parts(g, out->place.keep);
    if (out->place.origin != PLACE_NOBODY && !uuid_none(&g->id[out->place.origin]))
        v->winner.origin = g->id[out->place.origin];
    say_why(g, row, v, out);
    record_holders(g, row, v, out);
}

/* A directory is no copy, and a tombstone is none: neither says who has one. */
void allot_gone(const struct allot_group *g, const struct merge_row *row, const struct verdict *v, uint64_t *before,
                uint64_t *after)
{
    uint64_t have = 0;
    *after = 0;
    for (uint64_t left = v->had; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (row->at[i]->kind == ENTRY_DIR)
            continue;
        have |= bit(i);
        *after |= v->present >> i & 1 && v->need[i] == NEED_REMOVE ? 0 : to_group(g, bit(i));
        *after |= named(g, g->believed, &row->at[i]->holders);
    }
    *before = to_group(g, have) | *after;
}

enum plan_reason allot_reason(const struct allot_group *g, const struct allotment *a, unsigned part)
{
    if (a->policy->blocked >> g->number[part] & 1)
        return REASON_BLOCKED;
    return a->policy->allowed ? REASON_SURPLUS : REASON_DISALLOWED;
}
