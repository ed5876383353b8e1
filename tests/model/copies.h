/*
 * Worlds for policies: one or two groups, what people do to the stores, policies that change, and runs of sos_sync() that
 * may be cut short. Of a path the model knows no more than which versions there were, and which of them is the latest, which
 * is the one that wins: mtimes of edits only rise. What is right then follows from the policy and who had what.
 */
#ifndef MODEL_COPIES_H
#define MODEL_COPIES_H

#include "asked.h"
#include "object/digest.h"
#include "story.h"

#define COPIES_OPS 60u
#define COPIES_VERSIONS 200u
#define COPIES_TEXT 600u

enum copies_kind { COPIES_EDIT, COPIES_SAME, COPIES_DELETE, COPIES_AWAY, COPIES_BACK, COPIES_POLICY, COPIES_RUN, COPIES_KINDS };

/* All chance in it was drawn when the world was made, so that leaving out others does not change it. */
struct copies_op {
    uint8_t kind, member, path;
    uint64_t arg;
};

/* What the model knows of an object of one group. */
struct copies_path {
    unsigned origins;   /* who may be its origin; 0: it has not been seen yet */
    unsigned settled;   /* who held it after the last run, and has not lost it since */
    int64_t first, last; /* days between which it was first seen; last 0: not known yet */
};

struct copies_counts {
    unsigned runs, dry, cut, whole, under, added, pruned, blocked;
};

typedef int copies_look[ASKED_MEMBERS][ASKED_PATHS]; /* the version, -1: none */

struct copies_world {
    struct story story;      /* first */
    unsigned members, groups;
    uint8_t group[ASKED_MEMBERS];
    uint8_t order[ASKED_MEMBERS]; /* of members in sos.conf; now and then turned around */
    struct asked asked;
    struct copies_op op[COPIES_OPS];

    bool away[ASKED_MEMBERS];
    bool met_all[2];         /* the members of this group remember each other's stores */
    int64_t met_at[2];       /* when all of them were there last, seconds of the world's time */
    struct copies_path path[2][ASKED_PATHS];
    copies_look look;
    unsigned versions;
    struct { struct digest digest; uint8_t group, path; } version[COPIES_VERSIONS];
    bool present[COPIES_VERSIONS]; /* somewhere, in a store or a trash */
    bool in_hand[COPIES_VERSIONS]; /* a run that was killed left it lying in a store, under a name of its own */
    bool orphan[COPIES_VERSIONS];  /* and took it from its place for that: the next one sees to it */

    struct copies_counts counts;
};

/* One run over a group. */
struct copies_run {
    unsigned group;
    bool dry, cut;           /* cut: something was made to fail, or killed */
    bool back;               /* sos.conf has the members the other way around */
    unsigned reached;        /* a mask of members */
    unsigned victim;         /* of cut */
    bool full;               /* its disk was, for which the trash is emptied */
    enum sos_status status;
    bool killed;             /* it has no status */
    unsigned actions;
    uint64_t told[ASKED_PATHS], told_else; /* sums over the actions, by path */
    char trouble[STORY_TROUBLE];
};

/* What there was before it. */
struct copies_before {
    copies_look look;
    bool present[COPIES_VERSIONS];
};

void copies_init(struct copies_world *w, uint64_t seed, const char *base, size_t ops);
bool copies_play(struct copies_world *w); /* true: all was well. Leaves nothing in base */
void copies_free(struct copies_world *w);

char *copies_root(const struct copies_world *w, unsigned m, char out[COPIES_TEXT]); /* where it is now */
unsigned copies_group(const struct copies_world *w, unsigned group); /* its members, a mask */
/* Was everybody there lately? Then nobody is given up yet. */
bool copies_near(const struct copies_world *w, unsigned group);
int64_t copies_day(int64_t seconds); /* so long from now, by the world's clock; counted from 1970 */

/* ---- judging (copies_judge.c) ---- */

void copies_see(struct copies_world *w); /* what is where now; fails on what nobody wrote and what is in a wrong group */
unsigned copies_holders(const copies_look look, unsigned mask, unsigned path);
/* Do all drivers come to the same about it? Not where the order in sos.conf says which is the original. */
bool copies_firm(const struct copies_world *w, unsigned group, unsigned path);
/* After copies_see: was what the run made of what was there before right? */
void copies_judge(struct copies_world *w, const struct copies_before *b, const struct copies_run *r);

#endif
