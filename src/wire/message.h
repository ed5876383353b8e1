/*
 * Messages: what coordinator and agent say to each other. One struct for each message
 * that has fields, one function that writes it into a frame, one that reads and
 * validates it; nothing acts upon a message before that function has passed it.
 * Strings and entries that were read point into the frame, or into the scratch given.
 */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include "base/path.h"
#include "object/manifest.h"
#include "store/store.h"
#include "wire/frame.h"

/* Types. From the coordinator (C), from the agent (A), or both. Never reuse a number. */
enum message_type {
    MSG_OPEN = 1,      /* C  which store, and how */
    MSG_OPENED = 2,    /* A  what is there */
    MSG_SCAN = 3,      /* C  build the manifest */
    MSG_PROGRESS = 4,  /* A  still alive, this far */
    MSG_PROBLEM = 5,   /* A  something a person should know */
    MSG_SCANNED = 6,   /* A  totals; may come with a descriptor of the root */
    MSG_LIST = 7,      /* C  send the manifest, under credit; I have the one with these totals */
    MSG_BLOCK = 8,     /* A  the shared part of a manifest block */
    MSG_LIST_END = 9,  /* A  totals; nothing is missing */
    MSG_HAVE = 10,     /* C  digests: which of these contents are there? */
    MSG_HAD = 11,      /* A  an answer for each */
    MSG_LEND = 12,     /* C  with a descriptor: the root of member N, to read from */
    MSG_APPLY = 13,    /* C  one operation */
    MSG_RESULT = 14,   /* A  an operation that failed */
    MSG_DONE = 15,     /* A  all operations up to N are final and durable */
    MSG_FLUSH = 16,    /* C  no more operations for now: finish all */
    MSG_SEND = 17,     /* C  append this object to the channel's bundle */
    MSG_SEND_END = 18, /* C  end the channel's bundle */
    MSG_DATA = 19,     /* AC a piece of a bundle */
    MSG_DATA_END = 20, /* AC the bundle is complete; with a reason: it broke off */
    MSG_CREDIT = 21,   /* AC that many more bytes may be sent on the channel */
    MSG_COMMIT = 22,   /* C  record what is held now */
    MSG_COMMITTED = 23,/* A  totals of what is recorded now */
    MSG_FAILED = 24,   /* A  the store cannot go on; the last message */
    MSG_BYE = 25,      /* C  the end */
    MSG_SIGN = 26,     /* C  the channel's next signature: of what is held under this name */
    MSG_SEND_DELTA = 27, /* C  append this object to the channel as a patch against the signature that comes on another */
    MSG_LISTING = 28,  /* A  what follows is the whole manifest, or the difference to the one that LIST named */
    MSG_DIFF = 29,     /* A  a piece of that difference */
    MSG_DATA_Z = 30,   /* AC as DATA, compressed */
    MSG_TRASH_LIST = 31,    /* C  what lies in the trash? */
    MSG_TRASH_ITEM = 32,    /* A  one item of it */
    MSG_TRASH_RESTORE = 33, /* C  put one back */
    MSG_TRASH_EMPTY = 34,   /* C  remove for good what is old */
    MSG_TRASH_DONE = 35,    /* A  the end of any of these three, and how it went */
    MSG_CHECK = 36,         /* C  is what you have of this object good? Somebody relies on it, or what came of it was wrong */
    MSG_CHECKED = 37,       /* A  what it is: enum store_check */
    MSG_STATUS = 38,        /* C  what have you recorded? Instead of a scan */
    MSG_STATED = 39,        /* A  that */
    MSG_TYPES
};

#define MSG_CHANNEL_LIST 0 /* the channel of the manifest's credit; bundles have 1 and up */
#define MSG_CHANNELS_MAX 256u          /* channels on which an agent sends, and as many on which it receives */
#define MSG_WINDOW (512u * 1024u)      /* bytes of credit that a receiver grants at first */
#define MSG_WINDOW_FAR (8u << 20)      /* what that may grow to where a round trip takes its time */
#define MSG_DATA_MAX (64u * 1024u)     /* bytes in one DATA frame */
#define MSG_HAVE_MAX 4096u             /* digests in one question */
#define MSG_OPS_MAX 16384u             /* operations that may be under way at one agent */
#define MSG_TEXT_MAX 4096u             /* bytes of a message for people, an address, a group's name */
#define MSG_BY_MAX 255u                /* bytes of who drives a run */
#define MSG_TRASH_RUN_MAX 40u
#define MSG_TRASH_REASON_MAX 31u
#define MSG_TRASH_ID_MAX ((uint64_t)1 << 48) /* ids are below it */
#define MSG_PEERS_MAX 1024u
#define MSG_PARTS_MAX 1000000u         /* parts that a scrub may be divided into */

/* Where the content of an operation comes from, as APPLY says it: the store's enum, and what only the agent knows. */
#define MSG_FROM_PATCH (STORE_FROM_STREAM + 1) /* a patch on the frame's channel, against what the target has */

enum message_open_flag {
    OPEN_DRY_RUN = 1,
    OPEN_CHECKSUM = 2,
    OPEN_NO_SANDBOX = 4,
    OPEN_LOOK = 8, /* a SCAN will follow if all goes well: who has to wait for it may read what it will need */
    OPEN_BLOBS = 16, /* the root is a directory of blobs: objects are known by their ids */
    OPEN_RECALL = 32, /* what is new here will be asked for by SEND: what the scan reads of it may be kept in memory */
    OPEN_SHA256 = 64, /* contents are known by SHA-256, not by XXH3-128 */
};

enum message_rules_flag { RULES_PROPAGATE = 1, RULES_EMPTIED = 2, RULES_CROSS = 4, RULES_ADOPTED = 8 };

struct message_open {
    unsigned flags;            /* of enum message_open_flag */
    uint8_t fsync;             /* enum store_fsync */
    uint8_t compress;          /* enum squeeze_mode */
    uint32_t threads;
    const char *root, *state_dir;   /* state_dir "" for the usual place */
    const char *by;            /* who drives the run, for people to read */
    size_t root_len, state_dir_len, by_len; /* not NUL-terminated when read */
    struct store_rules rules;  /* of the SCAN */
    struct rd filter;          /* filter_put's bytes */
};

enum message_opened_flag {
    OPENED_EXISTS = 1,
    OPENED_PARENT = 2,
    OPENED_MARKED = 4,
    OPENED_READ_ONLY = 8,  /* it refuses to change an object */
    OPENED_NO_DELETE = 16, /* it refuses to put one of another kind in an object's place */
};

struct message_peer {
    struct uuid id;
    const char *address;
    size_t address_len;
    int64_t seen;              /* as in struct store_peer; what COMMIT says there is not looked at */
};

struct message_opened {
    unsigned flags;
    struct uuid id;
    unsigned caps;             /* of enum store_cap */
    uint64_t free_bytes;
    const char *group;
    size_t group_len;
    size_t peers;
    struct rd peer_list;       /* for message_next_peer */
};

struct message_scan {
    struct uuid id;
    const char *group;
    size_t group_len;
};

struct message_progress {
    uint64_t objects, bytes;
};

/* DAMAGE: the object's content. Whether that is an error depends on who can heal it, which the coordinator knows. */
enum message_problem_kind { MSG_PROBLEM_REMARK, MSG_PROBLEM_ERROR, MSG_PROBLEM_DAMAGE };

struct message_problem {
    bool error, damage;        /* neither: a remark */
    const char *path, *text;   /* path "" for the store as a whole */
    size_t path_len, text_len;
};

struct message_scanned {
    struct manifest_totals totals;
    uint64_t hashed, hashed_bytes, special, problems, partials, floor, before, damaged;
    int64_t verified;
    bool changed;
};

struct message_list {
    bool named;                /* the coordinator has a manifest of this store: */
    uint64_t entries;          /* these are of its totals */
    struct digest shared;
};

struct message_apply {
    uint64_t seq;
    uint8_t how, from;         /* enum store_how, enum store_from or MSG_FROM_PATCH */
    uint8_t why;               /* enum store_why */
    const char *from_path;     /* STORE_FROM_ROOT: of the content there, NUL-terminated in the caller's scratch; NULL: as the entry's */
    uint32_t lender;           /* STORE_FROM_ROOT: the member whose root was lent; STORE_FROM_SELF: who else has the content */
    struct entry entry;        /* path in the caller's scratch */
};

struct message_result {
    uint64_t seq;
    int code;                  /* enum err_code */
    const char *text;
    size_t text_len;
};

struct message_trash_item {
    struct store_trash item; /* its strings are these: */
    char reason[MSG_TRASH_REASON_MAX + 1], run[MSG_TRASH_RUN_MAX + 1], by[MSG_BY_MAX + 1], path[PATH_LEN_MAX + 1];
};

struct message_trash_restore {
    uint64_t id;
    int64_t now;               /* the coordinator's clock */
    char run[MSG_TRASH_RUN_MAX + 1];
};

struct message_trash_empty {
    int64_t now, older;        /* seconds; older 0: all */
};

struct message_trash_done {
    int code;                  /* 0, or enum err_code */
    const char *text;          /* "" where code is 0 */
    size_t text_len;
    uint64_t items, bytes;     /* TRASH_EMPTY: what was removed */
};

struct message_commit {
    size_t peers;
    struct rd peer_list;
};

/* Writers append a whole frame. */
void message_put_open(struct wire_out *o, const struct message_open *m, const struct buf *filter);
void message_put_opened(struct wire_out *o, const struct message_opened *m, const struct message_peer *peer);
void message_put_scan(struct wire_out *o, const struct message_scan *m);
void message_put_progress(struct wire_out *o, const struct message_progress *m);
void message_put_problem(struct wire_out *o, unsigned what, const char *path, const char *text);
void message_put_scanned(struct wire_out *o, const struct message_scanned *m);
void message_put_stated(struct wire_out *o, const struct store_status *m);
void message_put_list(struct wire_out *o, const struct message_list *m);
void message_put_listing(struct wire_out *o, bool difference);
void message_put_totals(struct wire_out *o, uint8_t type, const struct manifest_totals *t); /* LIST_END, COMMITTED */
void message_put_have(struct wire_out *o, const struct digest *d, size_t n); /* all of the first one's kind */
void message_put_had(struct wire_out *o, const uint8_t *have, size_t n); /* enum store_have */
void message_put_number(struct wire_out *o, uint8_t type, uint16_t channel, uint64_t n); /* LEND, CREDIT */
void message_put_apply(struct wire_out *o, uint16_t channel, const struct message_apply *m);
void message_put_result(struct wire_out *o, uint64_t seq, int code, const char *text);
void message_put_send(struct wire_out *o, uint8_t type, uint16_t channel, const struct entry *want); /* SEND, SIGN */
void message_put_check(struct wire_out *o, bool read, const struct entry *want); /* read: not only looked at */
void message_put_send_delta(struct wire_out *o, uint16_t channel, uint16_t signatures, const struct entry *want);
void message_put_done(struct wire_out *o, uint64_t seq, uint64_t literal);
void message_put_commit(struct wire_out *o, const struct message_peer *peer, size_t peers);
void message_put_text(struct wire_out *o, uint8_t type, uint16_t channel, const char *text); /* FAILED, DATA_END */
void message_put_failed(struct wire_out *o, int code, const char *text);
void message_put_trash_item(struct wire_out *o, const struct store_trash *item);
void message_put_trash_restore(struct wire_out *o, const struct message_trash_restore *m);
void message_put_trash_empty(struct wire_out *o, const struct message_trash_empty *m);
void message_put_trash_done(struct wire_out *o, const struct message_trash_done *m);

/* Readers: 0, or ERR_PROTO naming the message. path is scratch of PATH_LEN_MAX + 1 bytes. */
int message_get_open(struct frame *f, struct message_open *m, struct err *e);
int message_get_opened(struct frame *f, struct message_opened *m, struct err *e);
int message_next_peer(struct rd *list, struct message_peer *p); /* 1, or 0 at the end */
int message_get_scan(struct frame *f, struct message_scan *m, struct err *e);
int message_get_progress(struct frame *f, struct message_progress *m, struct err *e);
int message_get_problem(struct frame *f, struct message_problem *m, struct err *e);
int message_get_scanned(struct frame *f, struct message_scanned *m, struct err *e);
int message_get_stated(struct frame *f, struct store_status *m, struct err *e);
int message_get_list(struct frame *f, struct message_list *m, struct err *e);
int message_get_listing(struct frame *f, bool *difference, struct err *e);
int message_get_totals(struct frame *f, struct manifest_totals *t, struct err *e);
int message_get_have(struct frame *f, struct digest *d, size_t *n, struct err *e);  /* d: MSG_HAVE_MAX; all of a kind */
int message_get_had(struct frame *f, uint8_t *have, size_t *n, struct err *e);      /* have: MSG_HAVE_MAX */
int message_get_number(struct frame *f, uint64_t *n, struct err *e);
int message_get_apply(struct frame *f, char *path, char *from_path, struct message_apply *m, struct err *e);
int message_get_result(struct frame *f, struct message_result *m, struct err *e);
int message_get_send(struct frame *f, char *path, struct entry *want, struct err *e); /* SEND, SIGN */
int message_get_check(struct frame *f, char *path, bool *read, struct entry *want, struct err *e);
int message_get_send_delta(struct frame *f, char *path, uint16_t *signatures, struct entry *want, struct err *e);
int message_get_done(struct frame *f, uint64_t *seq, uint64_t *literal, struct err *e);
int message_get_commit(struct frame *f, struct message_commit *m, struct err *e);
int message_get_text(struct frame *f, const char **text, size_t *len, struct err *e);
int message_get_failed(struct frame *f, int *code, const char **text, size_t *len, struct err *e);
int message_get_trash_item(struct frame *f, struct message_trash_item *m, struct err *e);
int message_get_trash_restore(struct frame *f, struct message_trash_restore *m, struct err *e);
int message_get_trash_empty(struct frame *f, struct message_trash_empty *m, struct err *e);
int message_get_trash_done(struct frame *f, struct message_trash_done *m, struct err *e);
int message_get_empty(struct frame *f, struct err *e);

const char *message_name(unsigned type); /* "OPEN", ... or "?" */

#endif
