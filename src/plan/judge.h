/*
 * From rows to a plan: what is judged of each path, and where it goes in the plan. What hangs on what will be left below
 * a path is planned both ways, as a branch, and settled when the rows have left it.
 */
#ifndef PLAN_JUDGE_H
#define PLAN_JUDGE_H

#include "plan/allot.h"
#include "plan/plan.h"

struct judge_args {
    struct plan *plan;
    unsigned members;
    struct plan_rules rules;
    bool only_damaged; /* nothing but damaged copies is seen to */
    struct allot_group *group; /* borrowed; NULL: every member holds every object */
    void *ctx;
    /* Where a policy has a say: what it says of an object. NULL: nobody wants to know. */
    void (*allotted)(void *ctx, const struct verdict *v, const struct allotment *a);
    /* A step is in the plan: its asks have their numbers. */
    void (*added)(void *ctx, const struct plan_step *step);
    /* An object with this content will be there, if not under this name then under another. NULL: nobody wants to know. */
    void (*lives)(void *ctx, const struct entry *winner);
    /* Nothing can be done with this object. */
    void (*trouble)(void *ctx, const char *path, const char *why);
    /* Rows for which this says so are taken away from all members; all others are left alone. NULL: nothing is. */
    bool (*removes)(void *ctx, const struct merge_row *row);
    /* Members (of the plan) that are known to take nothing away, and what is asked of each thing that is to go from one: true, it is left. */
    uint64_t keeps;
    bool (*stuck)(void *ctx, const char *path, unsigned part);
    struct uuid remover; /* in whose name, */
    uint64_t above;      /* with a counter above this one, */
    int64_t now;         /* and when */
    /* For the names of versions that are kept: who made an edit. Valid until the next call. */
    const char *(*name_of)(void *ctx, const struct uuid *who);
};

struct judge;
struct judge *judge_new(const struct judge_args *args); /* args are copied */
void judge_free(struct judge *j);
/* Rows in the order of a merge. 0, or what ends the run. */
int judge_row(struct judge *j, const struct merge_row *row, struct err *e);
int judge_end(struct judge *j, struct err *e); /* after the last row, before plan_end */

#endif
