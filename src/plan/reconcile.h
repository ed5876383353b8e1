/*
 * Which version of an object wins, and what each member lacks. Pure: the outcome depends on the row alone, not on
 * who asks or in which order members are given, except for the origin (first in the order of members).
 *
 * Rules, in this order:
 * 1. Entries flagged HIDDEN on any member: the row is left alone (verdict->skip). ENTRY_UNKNOWN, or
 *    row->blind: that member takes no part. ENTRY_DAMAGED: that member does not hold it, but its version counts, and its content is
 *    replaced (need CONTENT); only damaged copies left: verdict->lost, nothing is done.
 * 2. Where something is left below the path, the directory wins over whatever is not one, tombstones too; others
 *    lose (they are losers when their version is not before the directories').
 * 3. Among the candidates that no other's version dominates: an edit wins over a deletion. One content and metadata: no
 *    conflict, versions are joined.
 *    One content, differing metadata: the later mtime wins (ties: the larger mode), no conflict.
 *    Equal versions with different content are treated as concurrent (it cannot happen by our doing).
 *    Different content: a conflict; the version of the member that the rules name wins where it is a candidate, else
 *    the newest mtime, ties by the larger digest, then the larger mode; a
 *    directory (without anything below it on any member) yields to a file or symlink, and of those two a file wins over
 *    a symlink when mtime is equal. Members whose version was among the candidates and lost are losers.
 * 4. The winner's version is the join of all versions in the row (so that it dominates every one of them); first_seen is
 *    the least; origin is that of the dominating entry; of several candidates, what one has with which holders are
 *    recorded, or else the first in the order of members.
 *    Entries whose content and metadata equal the winner's are holders whatever their version.
 * 5. A winning tombstone takes the object away where it is (need REMOVE), and is recorded by all.
 */
#ifndef PLAN_RECONCILE_H
#define PLAN_RECONCILE_H

#include "plan/merge.h"

#define PLAN_NOBODY 255u

enum plan_conflict { PLAN_NEWEST, PLAN_KEEP_BOTH, PLAN_MEMBER };

struct plan_rules {
    enum plan_conflict conflict;
    unsigned winner; /* PLAN_MEMBER: whose version wins; PLAN_NOBODY: he takes no part */
    bool no_meta;    /* mtime only tells who is the newest: members do not keep it. Nor do some their records: among several candidates
                        the one that has known the object for the longest time says its origin */
};

enum plan_need { NEED_NOTHING, NEED_RECORD, NEED_META, NEED_CONTENT, NEED_REMOVE, NEED_PRUNE };

enum plan_reason {
    REASON_NONE,
    REASON_NEW,      /* the member has nothing at this path */
    REASON_CHANGED,  /* it has an older version */
    REASON_META,     /* only mode or mtime differ */
    REASON_CONFLICT, /* it has a concurrent version, which lost */
    REASON_KIND,     /* it has something of another kind, older */
    REASON_DAMAGED,  /* its copy is damaged */
    REASON_DELETED,  /* the object was deleted elsewhere */
    REASON_EDITED,   /* it deleted what was edited elsewhere meanwhile */
    REASON_SURPLUS,  /* there are more copies than asked for */
    REASON_BLOCKED,  /* the member is blocked */
    REASON_DISALLOWED, /* replication is not allowed */
    REASON_KEPT,     /* the version that lost a conflict, under a name of its own */
    /* New to the member, but placed before: */
    REASON_LOST,     /* it had it */
    REASON_PREFERRED,
    REASON_FEW,      /* there are fewer copies than asked for, or others are to go */
};

struct verdict {
    const struct merge_row *row; /* borrowed */
    bool skip;             /* nothing to judge here */
    bool lost;             /* only damaged copies exist */
    bool conflict;         /* concurrent versions with different content */
    uint64_t losers;       /* bit i: member i has one of these that did not win */
    unsigned top;          /* the member whose version won; of no meaning where all have the same */
    struct entry winner;   /* path borrowed from the row; version joined */
    uint64_t holders;      /* bit i: member i has the winner's content, undamaged */
    uint64_t unlike;       /* bit i: of these, what member i has here has other metadata, and keeps them */
    uint64_t present;      /* bit i: member i takes part (is not UNKNOWN) */
    uint8_t need[PLAN_MEMBERS_MAX];   /* enum plan_need, as if every member were to hold it */
    uint8_t reason[PLAN_MEMBERS_MAX]; /* enum plan_reason */
    uint64_t had;          /* bit i: member i has something at this path, not counting tombstones */
    /* What member i has here may serve as basis of a delta: 1 + the lowest member with that very content; 0: nothing useful. Set with NEED_CONTENT. */
    uint8_t basis[PLAN_MEMBERS_MAX];
};

/* below: something will be left below the path, on some member. 0, or ERR_FORMAT when the joined vector would be too long. */
int reconcile(const struct merge_row *row, const struct plan_rules *rules, bool below, struct verdict *out,
              struct err *e);

const char *plan_reason_text(enum plan_reason r); /* "new", "changed", ... */

#endif
