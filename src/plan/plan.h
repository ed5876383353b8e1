/*
 * The plan: the ordered list of what a run will do. It is complete before anything is done; a dry run prints it and
 * stops, a run carries out the very same list. It lives in an unlinked temporary file behind a small buffer, so that
 * its length costs no memory.
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "plan/place.h"

enum plan_action {
    ACTION_RECORD,   /* only versions: silent */
    ACTION_MKDIR,    /* a directory is made, or its mode set */
    ACTION_COPY,
    ACTION_UPDATE,
    ACTION_ADOPT,
    ACTION_CONFLICT, /* content is replaced, the member's own version goes to the trash */
    ACTION_KINDS
};

#define PLAN_NOBODY 255u

struct plan_target {
    uint8_t member;
    uint8_t need;    /* enum plan_need, never NEED_NOTHING */
    uint8_t action;  /* enum plan_action */
    uint8_t reason;  /* enum plan_reason */
    bool content;    /* content has to come from somewhere (NEED_CONTENT on a file or symlink) */
    uint8_t basis;   /* what it has here may serve as basis of a delta; targets with the same number have the same content. 0: nothing */
};

/* One object and all members that it changes. */
struct plan_step {
    struct entry entry;   /* the winner; path borrowed from the cursor or the caller */
    uint64_t holders;     /* who could give the content */
    unsigned source;      /* who is to give it; PLAN_NOBODY when nobody has to */
    unsigned targets;
    struct plan_target target[PLAN_MEMBERS_MAX]; /* by rising member */
};

struct plan_totals {
    uint64_t steps;
    uint64_t objects;                      /* files and symlinks in the group, whether changed or not */
    uint64_t count[ACTION_KINDS];          /* actions, one for each target (not counting adoptions that are found later) */
    uint64_t bytes;                        /* content that targets lack */
    uint64_t ops[PLAN_MEMBERS_MAX];        /* operations for each member */
    uint64_t asks[PLAN_MEMBERS_MAX];       /* of these, files with content that might be adopted */
    uint64_t lost;                         /* objects with only damaged copies */
};

struct plan;

/* tmpdir: where the temporary file goes when the plan outgrows its buffer. */
struct plan *plan_new(unsigned members, const char *tmpdir);
void plan_free(struct plan *p);

/* Turns a verdict into a step (source: the holder with the least to give so far) and appends it if it changes anything. */
int plan_add(struct plan *p, const struct verdict *v, uint64_t wanted, struct plan_step *step, struct err *e);
int plan_end(struct plan *p, struct err *e); /* no more steps; cursors may be opened */
const struct plan_totals *plan_totals(const struct plan *p);

/*
 * Adoption. Every target that lacks the content of a non-empty file is an "ask" of that member's, numbered from 0 in plan order.
 * A member's answer turns its COPY, UPDATE or CONFLICT into an adoption (CONFLICT keeps its name).
 */
bool plan_asks(const struct plan_step *s, const struct plan_target *t);
void plan_set_adopt(struct plan *p, unsigned member, uint64_t ask);
/* The other answer, which changes no action: an earlier run left a part of the content there. */
void plan_set_partial(struct plan *p, unsigned member, uint64_t ask);

/* What stands in the list, in order. Several cursors may be open at once. */
struct plan_cursor;
struct plan_cursor *plan_cursor_new(struct plan *p);
void plan_cursor_free(struct plan_cursor *c);
/* 1: *s (valid until the next call), with adoptions applied; 0: the end; or an error. */
int plan_cursor_next(struct plan_cursor *c, const struct plan_step **s, struct err *e);
/* Has this target of the step just returned been answered "have it"? */
bool plan_cursor_adopts(const struct plan_cursor *c, unsigned target_index);
/* Or been answered "a part of it"? */
bool plan_cursor_partial(const struct plan_cursor *c, unsigned target_index);

const char *plan_action_name(enum plan_action a); /* "record", "mkdir", "copy", "update", "adopt", "conflict" */

#endif
