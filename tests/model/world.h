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

#include "base/buf.h"
#include "base/clock.h"
#include "object/digest.h"
#include "sos-sync.h"

#define WORLD_MEMBERS 5u
#define WORLD_NAMES 3u  /* of an object in its directory: a, b, d */
#define WORLD_PATHS 39u /* 3 names, 3 levels */
#define WORLD_EVENTS 1024u
#define WORLD_CONTENTS 600u
#define WORLD_OPS 200u

/*
 * What a world may ask of the program: the place where a thing that has been built is switched on. Each says what the
 * model does about it; where nothing is written yet, "world.c: NAME" marks the spot.
 */
enum world_switch {
    WORLD_PROPAGATE = 1,  /* deletions: propagate. An object goes when its deletion knew all that is left of it */
    WORLD_KEEP_BOTH = 2,  /* conflict: keep-both. Losers stand beside the winner, under names that are not the world's */
    WORLD_MEMBER_WINS = 4, /* conflict: MEMBER. Changes only who wins, which the model leaves open */
    WORLD_EXPIRY = 8,     /* the trash expires. What was superseded may be gone for good; a loser not before its time */
    WORLD_RESTORE = 16,   /* trash restore as an act of people */
    WORLD_SCRUB = 32,     /* scrub as an act of people: heals what it finds */
};
#define WORLD_BUILT 0u /* of these: what worlds are made with */

enum op_kind {
    OP_EDIT, OP_LINK, OP_MKDIR, OP_DELETE, OP_CHMOD, OP_TOUCH, OP_RENAME, OP_DAMAGE, OP_AWAY, OP_BACK, OP_RUN, OP_KINDS
};

/* All that is random about it was drawn when the world was made, so that leaving out others does not change it. */
struct op {
    uint8_t kind, member, path, other; /* other: where a rename goes */
    uint64_t arg;
};

struct known {
    uint64_t bit[WORLD_EVENTS / 64];
};

enum kind { KIND_NONE, KIND_FILE, KIND_LINK, KIND_DIR };

/* What the model says of a member's object. */
struct copy {
    uint8_t kind;   /* enum kind */
    bool damaged;   /* its content is not that of its event */
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
    uint64_t seed;
    unsigned switches;
    bool verbose;         /* log says what runs do */
    const char *base;     /* the directory for its stores; borrowed */
    unsigned members;
    size_t ops;
    struct op op[WORLD_OPS];
    bool keep[WORLD_OPS]; /* false: left out of a replay */

    bool away[WORLD_MEMBERS];
    bool met[WORLD_MEMBERS][WORLD_MEMBERS]; /* [a][b]: a certainly remembers b */
    bool tainted[WORLD_PATHS];              /* damage may have passed for an edit: nothing more is said of it */
    struct copy copy[WORLD_MEMBERS][WORLD_PATHS];
    struct look look[WORLD_MEMBERS][WORLD_PATHS];
    int extras[WORLD_MEMBERS];              /* objects that are none of the world's paths */

    size_t events, contents;
    int event_content[WORLD_EVENTS];
    struct { struct digest digest; char label[40]; } content[WORLD_CONTENTS];
    bool present[WORLD_CONTENTS];                /* somewhere: in a store or a trash */
    bool trashed[WORLD_MEMBERS][WORLD_CONTENTS]; /* in this one's trash */

    struct counts { unsigned runs, killed, damaged, conflicts, dry; uint64_t actions; } counts;
    struct buf log;       /* what was done, a line each; text */
    char failure[1024];   /* "" while all is well */
};

/* ---- acts (acts.c): what people do ---- */

void acts_draw(struct world *w, size_t ops); /* members and acts, from the seed alone */
bool acts_do(struct world *w, const struct op *op); /* false: does not apply, nothing was done */
void acts_put_back(struct world *w, unsigned m);    /* a member that is away is there again */

/* ---- judging (judge.c) ---- */

struct run_result {
    enum sos_status status;
    bool killed;            /* no status */
    bool dry, cut;          /* cut: by a kill or an interrupt that was asked for, of whomever */
    unsigned took_part;     /* mask of members */
    uint64_t actions;
    char trouble[400];      /* the first that was told */
};

void judge_look(struct world *w); /* looks at all members and what is where; fails on what nobody wrote */
void judge_look_at(struct world *w, unsigned m); /* only at this store */
/* After judge_look: was what a run made of what was there before right? Brings the copies up to date. */
void judge_run(struct world *w, const struct look (*before)[WORLD_PATHS], const bool *present_before,
               const struct run_result *r);
void judge_equal(struct world *w, unsigned mask); /* all these hold the same, but for what is doubtful */
bool judge_doubtful(const struct world *w, int path); /* damage may stay there: no good copy need be left */

/* ---- worlds (world.c) ---- */

void world_init(struct world *w, uint64_t seed, const char *base, size_t ops);
bool world_play(struct world *w); /* true: all was well. Leaves nothing in base */
void world_free(struct world *w);

void world_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* the first counts */
void world_say(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *world_root(const struct world *w, unsigned m, char out[512]); /* where it is now */
char *world_path(int path, char out[64]);
int world_path_of(const char *text); /* -1: none of them */
int world_parent(int path);          /* -1: the root */
void world_op_text(const struct world *w, const struct op *op, char *out, size_t size);

int world_event(struct world *w, int content); /* a new one */
int world_content(struct world *w, const struct digest *d, const char *label); /* of it; a new one when label is not NULL */

bool known_has(const struct known *k, int event);
void known_add(struct known *k, int event);
void known_join(struct known *k, const struct known *other);
bool known_within(const struct known *k, const struct known *other); /* all of k is in other */

#endif
