/* Private to the agent: what its files share. */
#ifndef AGENT_STATE_H
#define AGENT_STATE_H

#include "agent/agent.h"
#include "object/squeeze.h"
#include "store/store.h"
#include "wire/message.h"

#define AGENT_WANTED_BYTES_MAX (256u << 20) /* objects that wait to be sent */
#define AGENT_INDEX_BYTES_MAX ((size_t)256 << 20) /* signatures that were sent to us, with what they take to be used */
#define AGENT_WINDOWS_MAX ((uint64_t)160 << 20) /* bytes that may be out on all channels; that which all have at first fits */
#define AGENT_QUEUE_BYTES_MAX (64u << 20) /* commands that wait; far above what MSG_OPS_MAX allows for */

/* A command that has arrived but was not yet carried out. */
struct command {
    struct command *next;
    uint8_t type;
    uint16_t channel;
    size_t len;
    uint8_t body[];
};

struct agent {
    const struct agent_options *options;
    struct wire_in in;
    struct wire_out out;
    struct store *store;       /* NULL before OPEN */
    struct filter *filter;
    char *root, *state_dir;    /* what is served, from the options or OPEN; NULL before, or for none */
    char *group;               /* what SCAN said */
    char *by;                  /* who drives the run, as OPEN said */
    int scratch;               /* for the store, until it takes it; 0: none */
    bool wide;                 /* locked in, but with more allowed than is needed once the store is made */
    bool blobs;                /* the root is a directory of blobs */
    struct uuid id;            /* that the store has, or will most likely be given */
    bool may_look;             /* while nothing else is to be done: not done yet */
    bool looking, dry_run, scanned, bye;
    bool stated;               /* what is recorded stands in for a scan */
    struct err lost;           /* code 0; or why there is no going on, found out while content was waited for */
    struct command *first, **last;
    size_t queued, wanted;     /* bytes of commands, and of objects in bundles, that wait */
    size_t indexed;            /* bytes of signatures that are held */
    struct { struct outgoing *at[MSG_CHANNELS_MAX]; size_t n; } outgoing;
    struct { struct incoming *at[MSG_CHANNELS_MAX]; size_t n; } incoming;
    int64_t list_credit;       /* bytes of manifest that may still be sent */
    int *lent;                 /* roots of other members, by their number; -1: none */
    size_t lents;
    uint64_t seq, done, told;  /* operations begun, final, reported as final */
    uint64_t announced, over;  /* operations received, carried out or failed */
    bool urgent;               /* among what is to be sent is credit, which somebody may be waiting for */
    bool local;                /* the coordinator is our parent: descriptors can be passed */
    uint64_t window;           /* bytes to which that what we grant a channel may grow */
    uint64_t windows;          /* bytes that we have granted all of them, and that may be out at once */
    uint64_t literal;          /* bytes of content that came by streams */
    int64_t last_progress;     /* ms */
    int64_t last_beat;         /* ms */
    enum squeeze_mode squeeze; /* of the bundles that we give */
    unsigned threads;          /* that may work at once */
    struct { int64_t waited, idle; } link; /* ns: until it took more; for something to do */
    char path[PATH_LEN_MAX + 1], from_path[PATH_LEN_MAX + 1];
    struct digest digests[MSG_HAVE_MAX];
    uint8_t had[MSG_HAVE_MAX]; /* enum store_have */
};

/* ---- agent.c ---- */

/*
 * One turn: sends what may be sent, takes in what has come. wait: blocks until something
 * happened. Commands are queued, everything else is dealt with at once. 0 or an error (end of stream is one).
 */
int agent_pump(struct agent *a, bool wait, struct err *e);
int agent_flush(struct agent *a, struct err *e);

/* ---- confine.c: which root, and locking in to it ---- */

/* Before anything is read. 0, also where there is no sandbox to be had; an error where there should be one. */
int confine_first(struct agent *a, struct err *e);
/* At OPEN, before anything is touched: settles root, state_dir and dry_run. 0 or an error. */
int confine_open(struct agent *a, const struct message_open *m, struct err *e);
/* After the scan has made what was missing: gives up what it took to make it. 0 or an error. */
int confine_again(struct agent *a, struct err *e);

/* ---- outgoing.c: the source's side of bundles ---- */

int outgoing_want(struct agent *a, struct frame *f, struct err *e);     /* SEND, SEND_DELTA, SIGN */
int outgoing_end(struct agent *a, struct frame *f, struct err *e);      /* SEND_END */
int outgoing_credit(struct agent *a, struct frame *f, struct err *e);   /* CREDIT */
/* Sends one piece on every channel that has work and credit. 1 when something was sent, 0, or an error. */
int outgoing_work(struct agent *a, struct err *e);
/* Is there something to send for which a channel lacks credit? */
bool outgoing_starves(struct agent *a);
/* The patch of the operation that is being carried out asks for more of a signature. 0, or ERR_FORMAT. */
int outgoing_refine(struct agent *a, const void *request, size_t n, struct err *e);
void outgoing_free_all(struct agent *a);

/* ---- incoming.c: the target's side ---- */

int incoming_data(struct agent *a, struct frame *f, struct err *e);     /* DATA, DATA_Z */
int incoming_data_end(struct agent *a, struct frame *f, struct err *e); /* DATA_END */
/* Carries out an operation whose content comes by channel: from a bundle, or as a patch. */
int incoming_apply(struct agent *a, uint16_t channel, struct store_op *op, bool patch, struct err *e);
/* A signature is to come by this channel: grants its first credit. */
int incoming_expect(struct agent *a, uint16_t channel, struct err *e);
/*
 * What has come by a channel of signatures, without waiting: 1 with bytes that are valid until the next call on the
 * channel, 0 nothing yet, -1 nothing will come any more.
 */
int incoming_take(struct agent *a, uint16_t channel, const void **p, size_t *n);
void incoming_free_all(struct agent *a);

/* ---- trashing.c ---- */

int trashing_list(struct agent *a, struct frame *f, struct err *e);    /* TRASH_LIST */
int trashing_restore(struct agent *a, struct frame *f, struct err *e); /* TRASH_RESTORE */
int trashing_empty(struct agent *a, struct frame *f, struct err *e);   /* TRASH_EMPTY */

#endif
