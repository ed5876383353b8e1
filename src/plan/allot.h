/*
 * Who of those that take part is to hold an object, by the group's policy: from a verdict to targets of a plan. place.h
 * knows the rule; here it is told who has what, and members that take part are found again among all of the group.
 */
#ifndef PLAN_ALLOT_H
#define PLAN_ALLOT_H

#include "group/policy.h"
#include "plan/place.h"

/* The group, as the run found it. Members are numbered as in the group; those that take part have a number in the plan, too. */
struct allot_group {
    struct group_policy *policy;
    struct place_world world;         /* its rooms shrink as copies are planned */
    struct uuid id[PLAN_MEMBERS_MAX]; /* of their stores; none: not known */
    uint32_t block[PLAN_MEMBERS_MAX]; /* bytes: what a copy takes of its room is a multiple of that; 0: as many as it has */
    uint64_t full;                    /* turned out to have no room for what they were sent */
    uint64_t believed;                /* of those that are away: their copies still count */
    uint64_t keeps;                   /* members known to take nothing away: their surplus is left, */
    uint64_t tries;                   /* but for one object of each of these, to see whether it still is so */
    uint8_t part[PLAN_MEMBERS_MAX];   /* number in the plan; PLAN_NOBODY: takes no part */
    uint8_t number[PLAN_MEMBERS_MAX]; /* and back */
};

struct allotment {
    const struct policy_object *policy;
    struct place_result place;        /* as all that is not said otherwise, numbered as in the group */
    uint64_t before, after;           /* who has it, and who will */
    uint64_t outdated;                /* of before: who has an older version, or one that lost */
    uint64_t damaged;                 /* who has only a damaged copy, or a directory in its place */
    uint64_t stuck;                   /* who is to give it up, and will not */
    uint64_t wanted, drop, keep;      /* numbered as in the plan: who is to get it or to stay up to date; who is to give it
                                         up, when all of keep are known to hold it */
    uint64_t later;                   /* of those that have it: who only lacks news of who holds it; and */
    uint64_t told[PLAN_MEMBERS_MAX];  /* what each of these has been told, as in a plan's target */
};

/*
 * For a file or symlink that is there (not v->skip or v->lost). Brings the verdict's origin and holders up to date, and
 * asks for records where only these are new. row may be NULL: nobody has anything else at the path.
 */
void allot(struct allot_group *g, const struct merge_row *row, struct verdict *v, struct allotment *out);

/*
 * For one that is to be deleted, from all: who has it, in whatever version, and who will still have it, since he is away, cannot
 * say what he has, or takes nothing away. What each needs is settled.
 */
void allot_gone(const struct allot_group *g, const struct merge_row *row, const struct verdict *v, uint64_t *before,
                uint64_t *after);

/* Why this member, numbered as in the plan, is to give up its copy. */
enum plan_reason allot_reason(const struct allot_group *g, const struct allotment *a, unsigned part);

#endif
