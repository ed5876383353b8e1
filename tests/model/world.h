/*
 * A world: a few members, what people do to them, and runs of sos_sync(). Next to the stores the model keeps who knew what:
 * an edit supersedes what its member held; a run makes all that took part know what any of them knew. From that follows
 * what a run may do to a path, whatever the program's own vectors say.
 */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "object/digest.h"
#include "story.h"

#define WORLD_MEMBERS 5u
#define WORLD_NAMES 3u  /* of an object in its directory: a, b, d */
#define WORLD_PLAIN 39  /* paths that people use: 3 names, 3 levels */
#define WORLD_KEPT 60   /* names that runs gave to what lost a conflict */
#define WORLD_PATHS 99u /* both */
#define WORLD_TEXT 200u /* bytes of a path, with its end */
#define WORLD_EVENTS 1024u
#define WORLD_CONTENTS 600u

/* What the policy of a world says. */
struct settings {
    bool propagate;           /* deletions */
    enum { CONFLICT_NEWEST, CONFLICT_KEEP_BOTH, CONFLICT_MEMBER } conflict;
    unsigned winner;          /* of CONFLICT_MEMBER */
    int64_t tombstones, trash; /* seconds; trash 0: off */
    unsigned max_delete;      /* objects; 0: as it is by default, which no world comes near to */
};

enum op_kind {
    OP_EDIT, OP_LINK, OP_MKDIR, OP_DELETE, OP_CHMOD, OP_TOUCH, OP_RENAME, OP_DAMAGE, OP_AWAY, OP_BACK, OP_RESTORE,
    OP_REMOVE, OP_SCRUB, OP_RUN, OP_KINDS
};

/* All that is random about it was drawn when the world was made, so that leaving out others does not change it. */
struct op {
    uint8_t kind, member, path, other; /* other: where a rename goes */
    uint64_t arg;
};

struct known {
    uint64_t bit[WORLD_EVENTS / 64];
};

struct contents {
    uint64_t bit[(WORLD_CONTENTS + 63) / 64];
};

enum kind { KIND_NONE, KIND_FILE, KIND_LINK, KIND_DIR };

/* Does a member that has nothing at a path know of a deletion there? */
enum grave {
    GRAVE_NONE,
    GRAVE_LOCAL, /* it was deleted there since the last run, which the next one may find out */
    GRAVE_KNOWN, /* it may be on record */
};

/* What the model says of a member's object. */
struct copy {
    uint8_t kind;   /* enum kind */
    uint8_t grave;  /* enum grave, of KIND_NONE */
    bool firm;      /* of GRAVE_KNOWN: it is on record for certain, with all of sure */
    bool damaged;   /* its content is not that of its event */
    int64_t buried; /* of GRAVE_KNOWN: the latest time, of the world's, at which that may have been done */
    int event;      /* that made it; -1: none, as of a directory */
    struct known sure, maybe; /* the events that it certainly, and that it possibly supersedes, its own included */
};

/* What lies there. */
struct look {
    uint8_t kind;
    uint32_t mode;
    int content;
    uint64_t ino;
    struct stamp mtime, ctime;
};

struct world {
    struct story story;   /* first */
    struct settings settings;
    bool clocks;          /* some are wrong */
    unsigned members;
    struct op op[STORY_OPS];

    bool away[WORLD_MEMBERS];
    bool met[WORLD_MEMBERS][WORLD_MEMBERS]; /* [a][b]: a certainly remembers b */
    struct { bool sure, clean; int64_t world, driver; } last[WORLD_MEMBERS]; /* its last run: sure: when that was, by
                                               both clocks; clean: it was whole, and left no journal */
    int paths;                              /* that there are so far */
    struct { char name[WORLD_TEXT]; int stem, content; } kept[WORLD_KEPT]; /* path WORLD_PLAIN + i; what first was there */
    bool tainted[WORLD_PATHS];              /* damage may have passed for an edit, or an edit for none: nothing more is
                                               said of it */
    struct contents recorded[WORLD_MEMBERS][WORLD_PATHS]; /* what the member's manifest may say is there */
    struct copy copy[WORLD_MEMBERS][WORLD_PATHS];
    struct look look[WORLD_MEMBERS][WORLD_PATHS];
    int extras[WORLD_MEMBERS];              /* objects that are none of the world's paths */

    size_t events, contents;
    int event_content[WORLD_EVENTS];
    struct { struct digest digest; char label[40]; } content[WORLD_CONTENTS];
    bool present[WORLD_CONTENTS];                /* somewhere: in a store or a trash */
    bool stored[WORLD_CONTENTS];                 /* in a store */
    bool trashed[WORLD_MEMBERS][WORLD_CONTENTS]; /* in this one's trash */
    int64_t since[WORLD_MEMBERS][WORLD_CONTENTS]; /* when it was first seen there */

    struct counts {
        unsigned runs, killed, damaged, conflicts, dry, gone, kept, removed, restored, scrubbed, limited, expired;
        uint64_t actions;
    } counts;
};

/* ---- acts (acts.c): what people do ---- */

void acts_draw(struct world *w, size_t ops); /* members and acts, from the seed alone */
bool acts_do(struct world *w, struct op *op); /* false: does not apply, nothing was done. Says in op what it was about */
void acts_put_back(struct world *w, unsigned m);    /* a member that is away is there again */

/* ---- judging (judge.c) ---- */

/* What was there before a run. */
struct before {
    struct look look[WORLD_MEMBERS][WORLD_PATHS];
    struct copy copy[WORLD_MEMBERS][WORLD_PATHS];
    bool present[WORLD_CONTENTS], stored[WORLD_CONTENTS], trashed[WORLD_MEMBERS][WORLD_CONTENTS];
    int64_t since[WORLD_MEMBERS][WORLD_CONTENTS];
};

struct run_result {
    enum sos_status status;
    bool killed;            /* no status */
    bool dry, cut;          /* cut: by a kill or an interrupt that was asked for, of whomever */
    bool limited;           /* more would have been deleted than allowed */
    bool scrub, all_may_go;
    int remove;             /* a command to remove this path and all below it; -1: it is none */
    int64_t now;            /* by the clock of whoever drives it, seconds */
    unsigned took_part;     /* mask of members */
    uint64_t actions;
    uint64_t told, told_less; /* sums over the actions; less: without who gives */
    char trouble[STORY_TROUBLE];      /* the first that was told */
};

void judge_look(struct world *w); /* looks at all members and what is where; fails on what nobody wrote */
void judge_look_at(struct world *w, unsigned m); /* only at this store */
/* After judge_look: was what a run made of what was there before right? Brings the copies up to date. */
void judge_run(struct world *w, const struct before *b, const struct run_result *r);
void judge_equal(struct world *w, unsigned mask); /* all these hold the same, but for what is doubtful */
bool judge_damage(const struct world *w, unsigned mask); /* some takes part, or may */
bool judge_doubtful(const struct world *w, int path); /* damage may stay there: no good copy need be left */

/* ---- worlds (world.c) ---- */

void world_init(struct world *w, uint64_t seed, const char *base, size_t ops);
bool world_play(struct world *w); /* true: all was well. Leaves nothing in base */
void world_free(struct world *w);

char *world_root(const struct world *w, unsigned m, char out[512]); /* where it is now */
char *world_path(const struct world *w, int path, char out[WORLD_TEXT]);
int world_path_of(const struct world *w, const char *text); /* -1: none of them */
int world_kept(struct world *w, const char *text, int content); /* the same, for a name that a run has made of a path's */
int world_parent(const struct world *w, int path); /* -1: the root */
bool world_within(const struct world *w, int path, int top); /* is it top, or below it? */
int64_t world_now(void);             /* seconds, of the world's */
struct sos_groups *world_group(struct world *w, const unsigned *order, unsigned n); /* NULL: failed */
void world_op_text(const struct world *w, const struct op *op, char *out, size_t size);

int world_event(struct world *w, int content); /* a new one */
int world_content(struct world *w, const struct digest *d, const char *label); /* of it; a new one when label is not NULL */

bool known_has(const struct known *k, int event);
void known_add(struct known *k, int event);
void known_join(struct known *k, const struct known *other);
bool known_within(const struct known *k, const struct known *other); /* all of k is in other */

#endif
