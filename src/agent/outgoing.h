/* Private to the agent: a channel on which we send, and the three kinds of streams that are made for one. */
#ifndef AGENT_OUTGOING_H
#define AGENT_OUTGOING_H

#include "agent/state.h"

enum outgoing_kind {
    OUTGOING_BUNDLE,     /* new objects */
    OUTGOING_PATCHES,    /* changed ones, against what the targets have */
    OUTGOING_SIGNATURES, /* of what we have, for others to make patches against */
};

/* As much of an entry as a source needs: many may wait. */
struct wanted {
    struct wanted *next;
    enum entry_kind kind;
    uint32_t mode;
    uint64_t size;
    struct stamp mtime;
    struct digest digest;
    uint16_t signatures; /* OUTGOING_PATCHES: the channel that brings the signature */
    uint64_t seq;        /* OUTGOING_SIGNATURES: the operation by which the patch comes to us */
    size_t len;
    char path[];
};

struct outgoing {
    enum outgoing_kind kind;
    uint16_t channel;
    int64_t credit;
    struct buf bytes;            /* made, not yet sent */
    size_t bytes_sent;
    struct squeezer *squeezer;
    bool squeeze;                /* what it said last */
    struct wanted *first, **last;
    bool ending, ended;
    bool finished;               /* all bytes are made */
    bool used;                   /* its kind is settled */
    /* by kind; NULL or unused for the others */
    struct wanted *want;         /* of a bundle: being given */
    int fd;                      /* of its file, or -1 */
    uint64_t left;               /* bytes of it still to be read */
    struct patching *patching;
    struct signing *signing;
    struct blobbing *blobbing;
};

#define OUTGOING_PIECE (256u * 1024u) /* bytes that are read at once where they are only looked at */

/* The entry that stands for w; its path is w's. */
struct entry outgoing_entry(const struct wanted *w);
struct wanted *outgoing_next(struct agent *a, struct outgoing *o); /* the caller frees it; NULL: none waits */

/* A record of a signature or patch stream. */
void outgoing_record(struct buf *out, uint8_t kind, const void *p, size_t n);

/* Each makes more bytes. 1 when it did something, 0 when there is nothing to do now, or an error. */
int bundling_produce(struct agent *a, struct outgoing *o, struct err *e);
int signing_produce(struct agent *a, struct outgoing *o, struct err *e);
int signing_refine(struct agent *a, struct signing *s, const void *request, size_t n, struct err *e);
void signing_free(struct signing *s);
int patching_produce(struct agent *a, struct outgoing *o, struct err *e);
void patching_free(struct patching *p);
/* Of a store by id: several objects are fetched ahead. */
int blobbing_produce(struct agent *a, struct outgoing *o, struct err *e);
void blobbing_free(struct agent *a, struct blobbing *b);

/* Records of a signature stream: u8 kind, u32 length, payload of at most MSG_DATA_MAX bytes. */
enum signature_record {
    SIGNATURE_PARTIAL = 1, /* u64 n, digest: the first n bytes of the wanted object are here, from an earlier run */
    SIGNATURE_BYTES = 2,   /* of the signature of what is held under the name now */
    SIGNATURE_VOID = 3,    /* the signature so far is worth nothing */
    SIGNATURE_END = 4,     /* of this object's */
    SIGNATURE_COARSE = 5,  /* u64 size of the basis: so far it was the coarse one; what the patch asks for may follow */
};

#endif
