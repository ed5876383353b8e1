/* Private to this room: one group's run, and its peers. */
#ifndef RUN_RUN_H
#define RUN_RUN_H

#include "sos-sync.h"

#include "base/rate.h"
#include "group/group.h"
#include "group/policy.h"
#include "link/link.h"
#include "object/manifest_diff.h"
#include "plan/allot.h"
#include "plan/plan.h"
#include "run/cache.h"
#include "store/store.h"
#include "wire/message.h"

struct sos_groups {
    struct groups groups;
    bool given;                  /* on the command line, not in a sos.conf */
    struct policy *policy;       /* NULL: none was taken up */
    struct group_policy **bound; /* one for each group; NULL as policy */
};

enum peer_state {
    PEER_DOWN,      /* given up, or done */
    PEER_OPENING,   /* OPEN sent */
    PEER_OPENED,
    PEER_STATING,   /* STATUS sent */
    PEER_STATED,
    PEER_SCANNING,  /* SCAN sent */
    PEER_SCANNED,   /* from here on it takes part */
    PEER_COMMITTING,
    PEER_COMMITTED,
};

/* One member during one attempt: its agent, and what we know of it. */
struct peer {
    struct run *run;
    const struct member *member;
    char *where;               /* its address in the form that stores remember */
    enum peer_state state;
    struct link link;
    struct wire_in in;
    struct wire_out out;
    int64_t heard;             /* ms: when it was last known to be alive */
    bool remote;               /* on another machine, or reached as if it were */
    bool metered;              /* what goes over its link goes to another machine: remote, or a blob-server */
    bool hung_up;              /* its side of the link has ended: the child is about to */
    struct remote_words *words; /* what came on its standard error; NULL for local ones */

    /* what it said */
    bool fds;                  /* descriptors can be passed to it */
    unsigned flags, caps;      /* of enum message_opened_flag, enum store_cap */
    struct uuid id;
    char *group;
    struct store_peer *knows;
    size_t knows_n;
    bool adopted;              /* the user accepts whatever store is there */
    struct message_scanned scanned;
    uint64_t free_bytes;
    struct store_status stated;
    bool in_use;               /* by another run, it says */
    uint64_t progress_objects, progress_bytes;
    uint64_t problems;         /* that it told */
    uint64_t lent;             /* bit i: has the root of part i, to read from */
    int root;                  /* lent to us, to be handed to others; -1 */

    /* its manifest, arriving */
    struct block {
        struct block *next;
        size_t len;
        uint8_t data[];
    } *first, **last, *current;
    struct cache *cache;       /* its last manifest, kept by us; NULL: it is not */
    bool named;                /* LIST named what the cache has */
    bool listing, difference;  /* LISTING has come; and blocks are pieces of a difference */
    struct manifest_decoder *decoder;    /* of a whole manifest */
    struct manifest_reader *base;        /* else: what the cache has, */
    struct manifest_diff_reader *diff;   /* and what is new */
    uint64_t list_granted, list_arrived; /* bytes of blocks */
    bool listed;               /* LIST_END has come */
    struct manifest_totals claimed;
    struct manifest_totals committed; /* of what it has recorded in the end */

    /* questions: which contents does it have? */
    struct digest *ask;        /* not yet sent, MSG_HAVE_MAX */
    size_t ask_n;
    uint64_t asked, answered;

    /* operations */
    unsigned part;             /* its number in the plan */
    struct plan_cursor *cursor, *sends; /* as target, as source */
    const struct plan_step *step, *send_step; /* the one that did not fit yet, or NULL */
    uint64_t step_no, send_no; /* steps that the cursors have passed */
    bool cursor_end, sends_end, flushed;
    uint64_t sent, done;       /* operations, counted from 1 */
    uint64_t literal;          /* bytes of content that came to it by streams */
    bool held;                 /* its next operation belongs to a later stage, or there is none */
    unsigned shared;           /* channels with several targets that it takes part in */
    uint64_t failed_op;        /* the last one that was told to have failed */
    struct failure {
        struct failure *next;
        uint64_t op;
        int code;              /* enum err_code */
        char text[];
    } *fail_first, **fail_last; /* operations that failed and that the report has not reached, in order */
    struct suspect *suspect;   /* content that it gave, and that it was asked to look at again; in order */
};

enum channel_kind {
    CHANNEL_BUNDLE,     /* new objects */
    CHANNEL_PATCHES,    /* changed ones, against what the targets have; signatures come on mate */
    CHANNEL_SIGNATURES, /* from one target of mate to its source */
};

/* A stream from one source to a set of targets. Its number in the array + 1 is its channel. */
struct channel {
    enum channel_kind kind;
    uint16_t mate;
    unsigned source;
    uint64_t targets;
    uint64_t granted[PLAN_MEMBERS_MAX]; /* bytes, in all */
    uint64_t forwarded, arrived;
    bool ended;
};

enum found { FOUND_NOTHING, FOUND_OBJECT, FOUND_DIR };

struct run {
    const struct group *group;
    struct group_policy *policy; /* what is asked of its objects, and its settings; NULL: nothing but the defaults */
    /* What serves a member (struct peer) in its child; NULL: peer_serve_local. Tests put a fake here. */
    int (*body)(int fd, void *peer);
    const struct sos_options *options;
    bool states;               /* members are only asked what they have recorded */
    bool cache_all;            /* manifests of local members are cached too: for tests */
    const struct sos_callbacks *callbacks;
    struct peer *peer;         /* one for each member, in the order of the group */
    size_t peers;
    /* What the poll loop hands upward: messages_take, transfer_peer_died. So that the loop knows nothing of what they mean. */
    int (*take)(struct peer *p, struct frame *f, struct err *e);
    void (*died)(struct peer *p);
    struct peer *part[PLAN_MEMBERS_MAX]; /* those who take part in this attempt's plan */
    unsigned parts;
    bool *refused;             /* members that an earlier attempt has given up */
    struct policy_settings settings;
    int64_t now;               /* seconds since 1970: when the run began. One clock judges what expires, for all members */
    uint8_t *found;            /* enum found, for each of options->remove */
    struct plan *plan;
    struct limit *limit;       /* while the plan is made a second time, to see whether it deletes too much; else NULL */
    char stranger[37];         /* room for the name of a member that we do not know */
    bool only_opens;           /* nothing is scanned, so no store is made */
    bool in_step;              /* all manifests have the same digest: nothing to compare */
    struct channel *channel;
    size_t channels;
    struct plan_cursor *report;
    const struct plan_step *report_step;
    unsigned report_target;
    uint64_t reported[PLAN_MEMBERS_MAX]; /* operations that the report has passed */
    uint64_t report_failed;    /* of this step: members whose operation failed */
    bool report_ended;
    struct allot_group *allot; /* while a plan is made in a group with a policy; else NULL */
    struct placed {            /* what the plan could not make good, in objects */
        uint64_t under, waiting, blocked;
        uint64_t over;         /* with copies that are to go, but do not */
        uint64_t stuck[PLAN_MEMBERS_MAX]; /* numbered as in the group: copies that a member keeps, since it takes nothing away */
        char first_under[PATH_LEN_MAX + 1], first_waiting[PATH_LEN_MAX + 1], last_over[PATH_LEN_MAX + 1];
    } placed;
    struct tally *tally;       /* of what is recorded, while a status is made; else NULL */
    struct explained *explained; /* while a plan is made: what it does with options->explain; else NULL */
    uint64_t takes;            /* members, numbered so, that turned out to take things away */
    uint64_t tries;            /* members, numbered so, that are known to take nothing away, and are to be asked once more */
    bool stopping;             /* a signal asked us to end: what is under way is seen through, nothing more is begun */
    bool overflowed;           /* in this attempt a member turned out to be full */
    uint64_t seen;             /* members, numbered as in the group, that were reached in this run */
    uint64_t full;             /* members, numbered as in the group, that had no room after all */
    struct prune *prune;       /* NULL: nothing is to be pruned */
    unsigned stage;            /* enum plan_phase: the one that is being carried out */
    bool keep_failed;          /* a version that lost could not be kept somewhere */
    bool told_else;            /* members are told other things than the plan said, of who holds what */
    bool left[PLAN_PHASES];    /* phases that are left for the next run since they would replace such a version */
    bool blocked, waited;      /* by another run's lock, in this try; in an earlier one */
    bool lost_source;          /* an operation failed because its source died: another attempt may do better */
    bool moved;                /* so may one where an object changed while it was read */
    unsigned attempt;          /* from 0 */
    struct told {              /* troubles that an earlier attempt has told, as hashes, sorted */
        uint64_t *hash;
        size_t n, cap, before; /* before: of earlier attempts, so many */
    } told;
    bool found_damage;         /* or because its source was damaged, which that has now recorded */
    unsigned damage_tries;     /* attempts that began for that */
    enum sos_phase phase;
    int64_t started, progressed;
    int64_t turned;            /* ms: when the poll loop went round last; 0: not yet */
    struct rate rate;          /* of all links to other machines together, both ways */
    uint64_t done_objects, done_bytes;
    struct sos_summary summary;
};

static inline enum digest_algo run_hash(const struct run *r)
{
    return r->settings.sha256 ? DIGEST_SHA256 : DIGEST_XXH3_128;
}

/* ---- sync.c ---- */

/* Carries out the run that r describes (group, options, callbacks, body set; the rest zero). */
enum sos_status run_group(struct run *r);

/* The parts of it that what is no sync has, too. r as for run_group, with take and died set. */
void run_prepare(struct run *r);             /* the rest of r, but peers */
bool run_tries_again(const struct run *r); /* by what is known so far, another attempt follows this one */
int run_open(struct run *r, struct err *e);  /* starts and opens all members, and guards; what fails is told. 0 or an error */
void run_failed(struct run *r, int rc, const struct err *e); /* tells what ended it */
void run_release(struct run *r, bool patient); /* says goodbye to all peers, and frees them */
void run_end(struct run *r);                 /* frees what run_prepare made */

/* ---- trash.c ---- */

/* As sos_trash_list and sos_trash_restore, of the run that r describes as for run_group. */
enum sos_status run_trash_list(const struct run *r, sos_trash_told *item);
enum sos_status run_trash_restore(const struct run *r, const char *const *what, size_t n, bool *found,
                                  sos_trash_told *item);

/* ---- messages.c ---- */

/* What is made of a message from a peer: validated, then acted upon. 0 or an error, which ends the peer. */
int messages_take(struct peer *p, struct frame *f, struct err *e);

/* ---- peer.c ---- */

static inline bool peer_lives(const struct peer *p)
{
    return p->state != PEER_DOWN;
}

int peer_serve_local(int fd, void *peer);
int peer_start(struct run *r, struct peer *p, struct err *e);
/* Has its agent said that it will not do this? It is still told, so that it says why, but gets no content. */
static inline bool peer_refuses(const struct peer *p, const struct plan_target *t)
{
    return (p->flags & OPENED_READ_ONLY && t->need != NEED_RECORD) ||
           (p->flags & OPENED_NO_DELETE &&
            (t->need == NEED_REMOVE || (t->need == NEED_CONTENT && t->reason == REASON_KIND)));
}
bool peer_may_wait(const struct run *r); /* for a store that another run holds */
/* Gives a member up: tells it, kills its agent, the run goes on without it. */
void peer_fail(struct peer *p, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Says goodbye, so that its agent ends by itself while we wait for others. */
void peer_bye(struct peer *p);
void peer_free(struct peer *p, bool patient); /* patient: waits for an agent that was told goodbye; else kills it */
void peer_trouble(struct peer *p, bool error, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* One turn of the poll loop: all peers read from and written to, silence noticed, progress told. ERR_INTERRUPTED when a signal asked us to end. */
int peers_turn(struct run *r, struct err *e);
int peers_await(struct run *r, enum peer_state state, struct err *e); /* turns until no peer is in this state any more */

/* ---- remote.c: what is different with members on other machines ---- */

int remote_start(struct run *r, struct peer *p, const int *close_fds, size_t n, struct err *e);
void remote_listen(struct peer *p);   /* takes in what its standard error says */
void remote_hear_out(struct peer *p); /* the same to its end, which is near */
/* Why a member was given up, as a sentence with a remedy: from text, how the link's child ended, and its last words. */
void remote_explain(struct peer *p, const char *text, char *out, size_t size);
void remote_free(struct peer *p);

/* ---- guard.c ---- */

/* After all have opened: refuses the members whose store is not the one that the others remember. */
void guard_check(struct run *r);
char *guard_where(const struct member *m); /* the address in the form that stores remember; caller frees */
/* p's address as q remembers it: a path on this machine means nothing on another. Caller frees. */
char *guard_where_for(const struct peer *p, const struct peer *q);

/* ---- compare.c ---- */

int compare_run(struct run *r, struct err *e);
int compare_recorded(struct run *r, struct err *e); /* what a run would make of what is recorded; it is for status_take alone */
int compare_listing(struct peer *p, bool difference, struct err *e);
/* A block, or a piece of a difference; takes a copy. */
int compare_block(struct peer *p, bool difference, const void *data, size_t n, struct err *e);
void compare_had(struct peer *p, const uint8_t *have, size_t n); /* enum store_have */
void compare_free(struct peer *p);
void compare_committing(struct run *r); /* brings the caches up to what the members are about to record */
void compare_committed(struct run *r);  /* and keeps what they have recorded indeed */

/* ---- limit.c: --max-delete ---- */

bool limit_exceeded(const struct run *r); /* counted as objects, which is at least as much as content */
struct limit *limit_new(struct run *r, struct err *e); /* of what the plan takes away; NULL with e */
void limit_see(struct limit *l, const struct entry *stays);
/* Counts content that is not seen to live on. Where it is too much, says so, and nothing is taken away. */
int limit_enforce(struct run *r, const struct limit *l, struct err *e);
void limit_free(struct limit *l);

/* ---- placing.c: policies ---- */

/* Is it of interest who is to hold what: is not every member to hold every object, or does somebody want to know? */
bool placing_asked(const struct run *r);
struct allot_group *placing_new(struct run *r); /* for the members that take part now; the caller frees */
void placing_take(void *ctx, const struct verdict *v, const struct allotment *a); /* counts; ctx: the run */
/* Of a step that is done: tells who holds the object, those who are to know only now, and those who were told more than came true. */
int placing_done(struct run *r, const struct plan_step *s, uint64_t failed, struct err *e);
void placing_tell(struct run *r);
/* A copy that is to go stays, since its member, numbered as in the group, takes nothing away. Copies of an object come together. */
void placing_stuck(struct run *r, unsigned member, const char *path);
uint64_t placing_keeps(const struct run *r); /* members, numbered as in the group, that are known for that */

/* ---- explain.c: of options->explain, where it is set ---- */

void explain_begin(struct run *r); /* a plan begins */
void explain_see(struct run *r, const struct merge_row *row);
void explain_take(struct run *r, const struct verdict *v, const struct allotment *a);
void explain_tell(struct run *r);  /* after the plan */
void explain_end(struct run *r);

/* ---- prune.c ---- */

void prune_begin(struct run *r); /* with a new plan */
void prune_free(struct run *r);
int prune_advance(struct run *r, struct err *e); /* asks about as many as may be under way */
void prune_answer(struct run *r, uint64_t prune, bool holds); /* one of those who were asked */
bool prune_known(const struct run *r, const struct plan_step *s); /* have all answered? */
bool prune_refused(const struct run *r, const struct plan_step *s); /* somebody could not confirm it: nothing is removed */

/* ---- transfer.c ---- */

int transfer_run(struct run *r, struct err *e);
void transfer_peer_died(struct peer *p);
int transfer_data(struct peer *from, struct frame *f, struct err *e);
int transfer_data_end(struct peer *from, struct frame *f, struct err *e);
int transfer_credit(struct peer *from, struct frame *f, struct err *e);

/* ---- damage.c ---- */

bool damage_scrubs(const struct run *r);   /* this run looks for damage, and changes nothing else */
void damage_count(struct run *r);          /* after the scans: the summary says what they found */
bool damage_known(const struct run *r);    /* a part's manifest has damaged objects */
/*
 * What came of the step's source did not have its digest: the source is asked to look at it again, and the failure is
 * told when it has answered, unless another attempt is to come. False: it cannot be asked.
 */
bool damage_suspect(struct peer *target, const struct plan_step *s, bool own, const char *text);
void damage_confirm(struct peer *p, const struct plan_step *s); /* asks whether it holds what others are to give up */
int damage_checked(struct peer *p, struct frame *f, struct err *e);
void damage_peer_died(struct peer *p);
void damage_end(struct run *r);            /* tells what was not answered */

/* ---- blobs.c: groups with blob-servers, whose objects are known by their ids ---- */

bool blobs_member(const struct member *m);   /* is it a blob-server, and reached as one? */
bool blobs_group(const struct group *g);     /* has it such a member? */
/*
 * Where a directory keeps its state, "" for inside: beside it, where a server gives out what is in it, even if it is reached as
 * a directory. Caller frees.
 */
char *blobs_beside(const struct member *m, const char *state_dir);
/* Where the state of blob-servers is kept on this machine; NULL: nowhere. Caller frees. */
char *blobs_state_dir(const struct sos_options *o);
int blobs_check(const struct group *g, const struct policy_settings *s, struct err *e); /* s NULL: the defaults */

/* ---- status.c ---- */

int status_ask(struct run *r, struct err *e); /* in place of all that follows the opening */
void status_begin(struct run *r);             /* an attempt to compare begins */
void status_take(void *ctx, const struct verdict *v, const struct allotment *a); /* counts; ctx: the run */
int status_stated(struct peer *p, struct frame *f, struct err *e);

/* ---- report.c ---- */

void report_trouble(struct run *r, const char *member, const char *path, bool error, const char *text);
void report_again(struct run *r); /* a new attempt begins: what was told is not told again */
void report_status(struct run *r, enum sos_status s);
void report_progress(struct run *r, bool now);
void report_begin(struct run *r);
/* Tells all actions that are known to be done, in plan order. In a dry run: all there are. 0 or an error. */
int report_advance(struct run *r, struct err *e);
void report_end(struct run *r);

#endif
