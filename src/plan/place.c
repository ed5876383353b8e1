#include "plan/place.h"

#include "base/bit.h"
#include "object/digest.h"

#include <string.h>

static uint64_t everybody(unsigned members)
{
    return members >= 64 ? UINT64_MAX : bit(members) - 1;
}

uint64_t place(const struct verdict *v, unsigned members)
{
    (void)v;
    return everybody(members);
}

/* ---- ranks ---- */

uint64_t place_seed(const struct uuid *id)
{
    return digest_check(id->b, sizeof id->b);
}

uint64_t place_seed_name(const char *name)
{
    return digest_check(name, strlen(name));
}

/*
 * Every machine must come to the same, so none of this may ever change. For one path, different seeds give numbers
 * that have nothing to do with each other: so a member that comes or goes changes nobody else's.
 */
static uint64_t rank_of(uint64_t seed, uint64_t path)
{
    uint64_t x = (seed ^ path) + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t place_rank(const struct place_world *w, const char *path, size_t len, unsigned member)
{
    return rank_of(w->seed[member], digest_check(path, len));
}

/* A member of the set by rank; the path's digest is taken when it is first needed. */
struct ranks {
    const struct place_world *w;
    const struct place_object *o;
    uint64_t path;
    bool known;
};

static uint64_t rank(struct ranks *k, unsigned member)
{
    if (!k->known)
        k->path = digest_check(k->o->path, k->o->len);
    k->known = true;
    return rank_of(k->w->seed[member], k->path);
}

/* The one of the set, which is not empty, that has the highest rank, or the lowest. */
static unsigned pick(struct ranks *k, uint64_t set, bool highest)
{
    unsigned best = (unsigned)__builtin_ctzll(set);
    if ((set & (set - 1)) == 0)
        return best;
    uint64_t most = rank(k, best);
    for (set &= set - 1; set; set &= set - 1) {
        unsigned i = (unsigned)__builtin_ctzll(set);
        uint64_t r = rank(k, i);
        if (highest ? r > most : r < most) {
            best = i;
            most = r;
        }
    }
    return best;
}

/* ---- choosing ---- */

/* Up to n of the set, best first: preferred in order, then holders, then the others. */
static uint64_t choose(struct ranks *k, uint64_t set, uint64_t holders, unsigned n)
{
    const struct policy_object *policy = k->o->policy;
    uint64_t chosen = 0;
    if (n >= (unsigned)__builtin_popcountll(set))
        return set;
    for (unsigned i = 0; i < policy->preferred_count && n; i++)
        if (set & bit(policy->preferred[i])) {
            chosen |= bit(policy->preferred[i]);
            n--;
        }
    for (int round = 0; round < 2; round++) {
        uint64_t left = set & ~chosen & (round ? ~holders : holders);
        for (; left && n; n--) {
            unsigned i = pick(k, left, true);
            chosen |= bit(i);
            left &= ~bit(i);
        }
    }
    return chosen;
}

/* Members that can take a new copy now. */
static uint64_t with_room(const struct place_world *w, uint64_t set, uint64_t size)
{
    uint64_t out = 0;
    for (; set; set &= set - 1) {
        unsigned i = (unsigned)__builtin_ctzll(set);
        if (w->room[i] >= size)
            out |= bit(i);
    }
    return out;
}

/* A blocked member does not get back what it lost: then its original is none any more. While it is away nobody knows. */
static unsigned find_origin(const struct place_world *w, const struct place_object *o)
{
    uint64_t free_of_it = o->holders & ~o->policy->blocked, expected = w->away & ~w->gone;
    bool lost = o->origin != PLACE_NOBODY && o->policy->blocked & ~o->holders & ~expected & bit(o->origin);
    if (o->origin != PLACE_NOBODY && !lost)
        return o->origin;
    return free_of_it ? (unsigned)__builtin_ctzll(free_of_it) : o->holders ? (unsigned)__builtin_ctzll(o->holders) : PLACE_NOBODY;
}

/* ---- dropping ---- */

/* What nobody wants goes first: damaged or blocked, then not preferred, then preferred from the end of the list. */
static void put_in_order(struct ranks *k, struct place_result *r)
{
    const struct policy_object *policy = k->o->policy;
    uint64_t bad = r->drop & (k->o->damaged | policy->blocked), plain = r->drop & ~bad & ~policy->preferred_mask;
    for (int round = 0; round < 2; round++)
        for (uint64_t left = round ? plain : bad; left;) {
            unsigned i = pick(k, left, false);
            r->order[r->drops++] = (uint8_t)i;
            left &= ~bit(i);
        }
    for (unsigned i = policy->preferred_count; i > 0; i--)
        if (r->drop & ~bad & bit(policy->preferred[i - 1]))
            r->order[r->drops++] = policy->preferred[i - 1];
}

/*
 * Counted are only those that can be asked, and that hold it or are to get it. An original that is away is stood in
 * for by one replica more. Where that does not make up the number, what is blocked waits, too: for whoever may hold it
 * and is only away. Somebody is always left.
 */
static void find_drops(struct ranks *k, struct place_result *r, uint64_t could, unsigned n)
{
    const struct place_world *w = k->w;
    const struct place_object *o = k->o;
    uint64_t origin = r->origin == PLACE_NOBODY ? 0 : bit(r->origin), sure = ~w->away & (o->holders | r->add);
    unsigned least = n + (origin && !(origin & sure) && r->wanted & origin ? 1 : 0);
    uint64_t expected = everybody(w->members) & w->away & ~w->gone & (~o->policy->blocked | (origin & o->holders));
    r->keep = choose(k, could & sure, o->holders, least) | (origin & sure);
    if (r->keep == 0 && o->holders & ~w->away)
        r->keep = bit(pick(k, o->holders & ~w->away, true));
    bool enough = (unsigned)__builtin_popcountll(r->keep) >= n + (r->wanted & origin ? 1 : 0) || !expected;
    uint64_t surplus = (o->holders | o->damaged | (r->under ? 0 : o->stale)) & ~w->away & ~r->wanted;
    r->drop = r->keep ? surplus & ~r->keep & (enough ? UINT64_MAX : o->damaged) : 0;
    r->waiting = surplus & ~r->drop;
    put_in_order(k, r);
}

void place_object(const struct place_world *w, const struct place_object *o, struct place_result *r)
{
    struct ranks k = {.w = w, .o = o};
    memset(r, 0, offsetof(struct place_result, order));
    memset(&r->drops, 0, sizeof *r - offsetof(struct place_result, drops));
    r->origin = find_origin(w, o);
    uint64_t origin = r->origin == PLACE_NOBODY ? 0 : bit(r->origin);
    uint64_t may = everybody(w->members) & ~o->policy->blocked & ~origin;
    uint64_t can = with_room(w, (may | origin) & ~w->away & ~o->holders, o->size);
    uint64_t could = may & (o->holders | can); /* who holds it, or could */
    r->asked = o->policy->replicas == POLICY_ALL ? (unsigned)__builtin_popcountll(may) : o->policy->replicas;
    /* An original that is gone for good, or for long, is made up for by one replica more. */
    unsigned n = r->asked + (origin && !(origin & (o->holders | can)) ? 1 : 0);
    uint64_t replicas = choose(&k, could, o->holders, n);
    r->under = n - (unsigned)__builtin_popcountll(replicas);
    r->wanted = replicas | (origin & (o->holders | can));
    if (!r->wanted && o->holders) /* on none that may have it: the last one stays all the same */
        r->wanted = bit(pick(&k, o->holders, true));
    r->add = r->wanted & ~o->holders;
    r->blocked_original = (origin & o->policy->blocked & o->holders) != 0;
    if ((o->holders | o->damaged | o->stale) & ~w->away & ~r->wanted)
        find_drops(&k, r, could, n);
}
