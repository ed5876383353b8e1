/*
 * The source's side of a bundle of objects that are known by their ids: they are fetched from the store, several at once,
 * ahead of the one that is being given. As in other bundles each is RAW records and an END; the records hold the object as
 * it travels (store/blob.h).
 */
#include "agent/outgoing.h"

#include "base/mem.h"
#include "object/delta.h"

#include <stdlib.h>
#include <string.h>

#define AHEAD 16u
#define HEAD 5u /* bytes of a record before its payload */
#define PIECE (MSG_DATA_MAX - HEAD)

struct blobbing {
    struct fetch {
        struct wanted *want;
        struct store_blob *blob;
        struct err why; /* blob NULL: it could not be opened */
    } fetch[AHEAD];     /* a ring */
    unsigned first, n;
    uint64_t given;     /* bytes of the first */
    struct buf piece;
};

static struct fetch *at(struct blobbing *b, unsigned i)
{
    return &b->fetch[(b->first + i) % AHEAD];
}

static void drop_first(struct agent *a, struct blobbing *b)
{
    struct fetch *f = at(b, 0);
    if (f->blob)
        a->store->ops->blob_close(a->store, f->blob);
    free(f->want);
    *f = (struct fetch){0};
    b->first = (b->first + 1) % AHEAD;
    b->n--;
    b->given = 0;
}

void blobbing_free(struct agent *a, struct blobbing *b)
{
    if (!b)
        return;
    while (b->n > 0)
        drop_first(a, b);
    buf_free(&b->piece);
    free(b);
}

static void fetch_ahead(struct agent *a, struct outgoing *o)
{
    struct blobbing *b = o->blobbing;
    while (b->n < AHEAD && o->first) {
        struct fetch *f = at(b, b->n++);
        f->want = outgoing_next(a, o);
        struct entry want = outgoing_entry(f->want);
        if (a->store->ops->blob_open(a->store, &want, &f->blob, &f->why) < 0)
            f->blob = NULL;
    }
}

static void give_up(struct agent *a, struct outgoing *o, const char *why)
{
    outgoing_record(&o->bytes, DELTA_FAILED, why, strlen(why));
    drop_first(a, o->blobbing);
}

static void finish(struct agent *a, struct outgoing *o)
{
    buf_u8(&o->bytes, DELTA_END);
    buf_u32(&o->bytes, sizeof(uint64_t));
    buf_u64(&o->bytes, o->blobbing->given);
    drop_first(a, o->blobbing);
}

/* 1 when something came of it, 0 while nothing has come, or an error. */
static int give(struct agent *a, struct outgoing *o, struct err *e)
{
    struct blobbing *b = o->blobbing;
    struct fetch *f = at(b, 0);
    b->piece.len = 0;
    int rc = f->blob ? a->store->ops->blob_read(a->store, f->blob, &b->piece, PIECE, &f->why) : f->why.code;
    for (size_t done = 0; rc >= 0 && done < b->piece.len;) {
        size_t n = b->piece.len - done < PIECE ? b->piece.len - done : PIECE;
        outgoing_record(&o->bytes, DELTA_RAW, b->piece.data + done, n);
        b->given += n;
        done += n;
    }
    if (rc == ERR_PROTO) {
        *e = f->why;
        return rc;
    }
    if (rc < 0)
        give_up(a, o, f->why.msg);
    else if (rc == STORE_BLOB_END)
        finish(a, o);
    return rc != 0;
}

int blobbing_produce(struct agent *a, struct outgoing *o, struct err *e)
{
    if (!o->blobbing)
        o->blobbing = mem_zalloc(sizeof *o->blobbing);
    fetch_ahead(a, o);
    if (o->blobbing->n > 0)
        return give(a, o, e);
    if (!o->ending || o->finished)
        return 0;
    o->finished = true;
    return 1;
}
