/*
 * Who should hold an object. Pure, and the same on every machine: it depends on no clock, no order of members (but
 * where the origin is unknown) and on nothing that only one of them knows.
 *
 * The original stays on its origin, and comes back to it where it was lost. Replicas go to members in this order:
 * those preferred, as listed; those that hold the object; the others by rank, which is drawn from the path and the
 * UUID of the member's store, or its name where that has none yet. Blocked members get none, those without room are
 * passed over, as are those that are away, unless they hold it: their copies count for what is added, and not for what
 * is dropped.
 */
#ifndef PLAN_PLACE_H
#define PLAN_PLACE_H

#include "group/policy.h"
#include "plan/reconcile.h"

#define PLACE_NOBODY 255u

/* Bit i: member i is wanted as a holder. Without a policy that is every member, which is SoS's rule. */
uint64_t place(const struct verdict *v, unsigned members);

/* All members of the group, numbered as in it. */
struct place_world {
    unsigned members;
    uint64_t away;                     /* cannot be reached in this run */
    uint64_t gone;                     /* of these: for so long that nobody waits for them */
    uint64_t seed[PLAN_MEMBERS_MAX];   /* place_seed of the UUIDs of their stores, where they have one */
    /* Bytes that it can still take; UINT64_MAX: no limit. The caller takes off what he has it sent. */
    uint64_t room[PLAN_MEMBERS_MAX];
};

uint64_t place_seed(const struct uuid *id);
uint64_t place_seed_name(const char *name); /* of a member whose store has no UUID yet */

struct place_object {
    const char *path;
    size_t len;
    uint64_t size;                     /* bytes of room that a new copy takes */
    uint64_t holders;                  /* good copies; of members that are away: believed, and not for longer than down-after */
    uint64_t damaged;                  /* copies that do not count */
    uint64_t stale;                    /* older versions that cannot be brought up to date: they do not count, and go only for
                                          as many copies as are asked for */
    unsigned origin;                   /* PLACE_NOBODY: none, or it has left the group */
    const struct policy_object *policy;
};

struct place_result {
    unsigned origin;        /* as given; where it was unknown or gone, the first holder that is not blocked, else the first */
    uint64_t wanted;        /* who should hold it in the end, the origin among them */
    uint64_t add;           /* of these, who has to get it */
    uint64_t drop;          /* who is to give up its copy, */
    uint8_t order[PLAN_MEMBERS_MAX]; /* in this order, */
    unsigned drops;
    uint64_t keep;          /* when all of these are known to hold it; never nobody where somebody is to drop */
    uint64_t waiting;       /* who would give it up if those that are away were here */
    unsigned asked, under;  /* replicas asked for; and how many of them nobody can hold */
    bool blocked_original;  /* the origin is blocked, and has it */
};

void place_object(const struct place_world *w, const struct place_object *o, struct place_result *r);

/* For --explain: what member's place by rank is drawn from; the larger, the earlier. */
uint64_t place_rank(const struct place_world *w, const char *path, size_t len, unsigned member);

#endif
