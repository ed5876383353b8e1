/*
 * The plan: the ordered list of what a run will do. It is complete before anything is done; a dry run prints it and
 * stops, a run carries out the very same list. It lives in unlinked temporary files behind small buffers, so that
 * its length costs no memory.
 *
 * It has phases: a run begins one only when all that came before it is durable everywhere. Within a phase steps are
 * in path order. What is to be done at a path can hang on what will be left below it: both ways are planned when
 * the path is judged, as a branch, and which one holds is settled when everything below has been judged.
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
    ACTION_CONFLICT, /* content is replaced, or not wanted here; the member's own version goes to the trash */
    ACTION_RMDIR,    /* a directory goes */
    ACTION_DELETE,   /* the object goes to the trash */
    ACTION_PRUNE,    /* so does a copy that is not wanted any more; others hold it */
    ACTION_KINDS
};

enum plan_phase {
    PLAN_ADD,     /* what is new or newer */
    PLAN_KEEP,    /* versions that lost a conflict, under names of their own */
    PLAN_REMOVE,  /* what was deleted */
    PLAN_REPLACE, /* what had to wait for one of these: in the place of a directory, or of a version that was kept; and what
                     is new below a directory that had to */
    PLAN_KEEP_BELOW, /* below such a directory: versions that lost a conflict, */
    PLAN_REPLACE_BELOW, /* and what had to wait for these */
    PLAN_TELL,    /* holders are told which of the copies that were made have arrived */
    PLAN_PRUNE,   /* copies that nobody wants any more */
    PLAN_PHASES
};

struct plan_target {
    uint8_t member;
    uint8_t need;    /* enum plan_need, never NEED_NOTHING */
    uint8_t action;  /* enum plan_action */
    uint8_t reason;  /* enum plan_reason */
    bool content;    /* content has to come from somewhere (NEED_CONTENT on a file or symlink) */
    uint8_t basis;   /* what it has here may serve as basis of a delta; targets with the same number have the same content. 0: nothing */
    uint64_t ask;    /* its number among the member's asks */
    bool object;     /* NEED_REMOVE, NEED_PRUNE: a file or symlink is taken away, */
    uint8_t kind;    /* of this enum entry_kind, */
    uint64_t size;   /* so large, */
    struct digest was; /* with this content */
    bool later;      /* NEED_RECORD, of who holds the object: the copies that this step makes must have arrived first. Who was */
    uint64_t told;   /* said to hold it so far, numbered as in the group; PLAN_TOLD_ELSE: the record is new for other reasons */
};

#define PLAN_TOLD_ELSE UINT64_MAX

/* One object and all members that it changes. */
struct plan_step {
    struct entry entry;   /* the winner; path borrowed from the cursor or the caller */
    enum plan_phase phase;
    const char *from;     /* where sources have the content, NUL-terminated, borrowed; NULL: at the entry's own path */
    uint64_t holders;     /* who could give the content */
    uint64_t keep;        /* who must be known to hold it before anything is pruned */
    uint64_t prune;       /* number of a step that prunes, from 0 */
    uint64_t before, after; /* where a policy has a say: who has it and who will, numbered as in the group. Both 0: it has none */
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
    uint64_t removes[PLAN_MEMBERS_MAX];    /* of these, files and symlinks that are deleted */
    uint64_t prunes;                       /* steps that prune */
    uint64_t lost;                         /* objects with only damaged copies */
};

struct plan;

/* tmpdir: where the temporary files go when the plan outgrows its buffers. */
struct plan *plan_new(unsigned members, const char *tmpdir);
void plan_free(struct plan *p);

/* What a step hangs on. */
enum plan_hang { HANG_ON_NOTHING, HANG_ON_LIFE, HANG_ON_DEATH };

struct plan_how {
    enum plan_phase phase;
    enum plan_hang hang; /* other than ON_NOTHING: on what the branch that was opened last will be settled to */
    const char *from;    /* as in a step, and so the rest */
    uint64_t keep, before, after;
    uint64_t later;       /* members whose record waits where copies are made */
    const uint64_t *told; /* of these, as in a target; else NULL */
};

/* Turns a verdict into a step (source: the holder with the least to give so far) and appends it if it changes anything. */
int plan_add(struct plan *p, const struct verdict *v, uint64_t wanted, const struct plan_how *how, struct plan_step *step,
             struct err *e);
void plan_branch(struct plan *p);           /* opens a branch in the one that is open */
void plan_settle(struct plan *p, bool life); /* closes it: is something left below the path? */
int plan_end(struct plan *p, struct err *e); /* no more steps; cursors may be opened */
void plan_drop_removals(struct plan *p);    /* after the end: what takes away, and what waits for that, is not done */

/*
 * The steps of PLAN_TELL are known only when all before them are done. Once plan_tell_begin was called, after the end, they
 * may be added in path order within each phase that they come from, and cursors stop in front of them until plan_tell_end.
 */
void plan_tell_begin(struct plan *p);
int plan_tell(struct plan *p, const struct plan_step *s, struct err *e);
bool plan_tells(const struct plan *p); /* between the two */
int plan_tell_end(struct plan *p, struct err *e);
bool plan_has(const struct plan *p, enum plan_phase phase); /* after the end: has it steps of this phase? */
const struct plan_totals *plan_totals(struct plan *p); /* without what hangs on an open branch */

/*
 * Adoption. Every target that lacks the content of a non-empty file is an "ask" of that member's, numbered from 0 in the order of
 * plan_add. A member's answer turns its COPY, UPDATE or CONFLICT into an adoption (CONFLICT keeps its name).
 */
bool plan_asks(const struct plan_step *s, const struct plan_target *t);
void plan_set_adopt(struct plan *p, unsigned member, uint64_t ask);
/* The other answer, which changes no action: an earlier run left a part of the content there. */
void plan_set_partial(struct plan *p, unsigned member, uint64_t ask);

/* What stands in the list, in order. Several cursors may be open at once. */
struct plan_cursor;
struct plan_cursor *plan_cursor_new(struct plan *p);
struct plan_cursor *plan_cursor_new_by_path(struct plan *p); /* all phases together, in path order */
void plan_cursor_free(struct plan_cursor *c);
#define PLAN_NOT_YET 2
/* 1: *s (valid until the next call), with adoptions applied; PLAN_NOT_YET: plan_tell_end must come first; 0: the end; or an error. */
int plan_cursor_next(struct plan_cursor *c, const struct plan_step **s, struct err *e);
/* Has this target of the step just returned been answered "have it"? */
bool plan_cursor_adopts(const struct plan_cursor *c, unsigned target_index);
/* Or been answered "a part of it"? */
bool plan_cursor_partial(const struct plan_cursor *c, unsigned target_index);

const char *plan_action_name(enum plan_action a); /* "record", "mkdir", "copy", "update", "adopt", "conflict", "rmdir", "delete", "prune" */

#endif
