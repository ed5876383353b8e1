/*
 * Which version of an object wins, and what each member lacks. Pure: the outcome depends on the row alone, not on
 * who asks or in which order members are given, except for the origin (first in the order of members).
 *
 * Rules, in this order:
 * 1. Entries flagged HIDDEN on any member: the row is left alone (verdict->skip). ENTRY_UNKNOWN, or
 *    row->blind: that member takes no part. ENTRY_DAMAGED: that member does not hold it, but its version counts, and its content is
 *    replaced (need CONTENT); only damaged copies left: verdict->lost, nothing is done.
 * 2. A mixed row with something below it: the directory wins over whatever is not one; the others lose (they are
 *    losers when their version is not before the directories').
 * 3. Among the candidates that no other's version dominates: one content and metadata: no conflict, versions are joined.
 *    One content, differing metadata: the later mtime wins (ties: the larger mode), no conflict.
 *    Equal versions with different content are treated as concurrent (it cannot happen by our doing).
 *    Different content: a conflict; the newest mtime wins, ties by the larger digest, then the larger mode; a
 *    directory (without anything below it on any member) yields to a file or symlink, and of those two a file wins over
 *    a symlink when mtime is equal. Members whose version was among the candidates and lost are losers.
 * 4. The winner's version is the join of all versions in the row (so that it dominates every one of them); first_seen is the least; origin is that of the
 *    dominating entry, or of the first candidate in the order of members when there are several.
 *    Entries whose content and metadata equal the winner's are holders whatever their version.
 */
#ifndef PLAN_RECONCILE_H
#define PLAN_RECONCILE_H

#include "plan/merge.h"

enum plan_need { NEED_NOTHING, NEED_RECORD, NEED_META, NEED_CONTENT };

enum plan_reason {
    REASON_NONE,
    REASON_NEW,      /* the member has nothing at this path */
    REASON_CHANGED,  /* it has an older version */
    REASON_META,     /* only mode or mtime differ */
    REASON_CONFLICT, /* it has a concurrent version, which lost */
    REASON_KIND,     /* it has something of another kind, older */
    REASON_DAMAGED,  /* its copy is damaged */
};

struct verdict {
    bool skip;             /* nothing to judge here */
    bool lost;             /* only damaged copies exist */
    bool conflict;         /* concurrent versions with different content */
    struct entry winner;   /* path borrowed from the row; version joined */
    uint64_t holders;      /* bit i: member i has the winner's content, undamaged */
    uint64_t present;      /* bit i: member i takes part (is not UNKNOWN) */
    uint8_t need[PLAN_MEMBERS_MAX];   /* enum plan_need, as if every member were to hold it */
    uint8_t reason[PLAN_MEMBERS_MAX]; /* enum plan_reason */
    uint64_t had;          /* bit i: member i has something at this path */
    /* What member i has here may serve as basis of a delta: 1 + the lowest member with that very content; 0: nothing useful. Set with NEED_CONTENT. */
    uint8_t basis[PLAN_MEMBERS_MAX];
};

/* 0, or ERR_FORMAT when the joined vector would be too long. */
int reconcile(const struct merge_row *row, struct verdict *out, struct err *e);

const char *plan_reason_text(enum plan_reason r); /* "new", "changed", "metadata", "conflict", "kind changed", "damaged" */

#endif
