#include "agent/state.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A channel on which we are the source. Wanted objects wait in order; one at a time is read and
 * turned into pax bytes, never more of them than credit and one piece allow for.
 */
struct outgoing {
    uint16_t channel;
    int64_t credit;
    struct archive_out *archive;
    struct buf pax;              /* encoded, not yet sent */
    size_t pax_sent;
    struct wanted {
        struct wanted *next;     /* as much of an entry as a source needs: many may wait */
        enum entry_kind kind;
        uint32_t mode;
        uint64_t size;
        struct stamp mtime;
        struct digest digest;
        size_t len;
        char path[];
    } *first, **last;
    char *name;                  /* of the object being given; owned */
    int fd;                      /* of the file being read, or -1 */
    uint64_t left;               /* bytes of it still to be read */
    bool in_object, ending, ended;
};

static struct outgoing *find(struct agent *a, uint16_t channel)
{
    for (size_t i = 0; i < a->outgoing.n; i++)
        if (a->outgoing.at[i]->channel == channel)
            return a->outgoing.at[i];
    return NULL;
}

static struct outgoing *open_channel(struct agent *a, uint16_t channel, struct err *e)
{
    struct outgoing *o = find(a, channel);
    if (o)
        return o;
    if (channel == MSG_CHANNEL_LIST || a->outgoing.n == AGENT_CHANNELS_MAX) {
        err_set(e, ERR_PROTO, "too many channels");
        return NULL;
    }
    o = mem_zalloc(sizeof *o);
    o->channel = channel;
    o->fd = -1;
    o->last = &o->first;
    o->archive = archive_out_new(&o->pax, e);
    if (!o->archive) {
        free(o);
        return NULL;
    }
    a->outgoing.at[a->outgoing.n++] = o;
    return o;
}

int outgoing_send(struct agent *a, struct frame *f, struct err *e)
{
    static const char late[] = "SEND out of turn";
    struct entry want;
    char path[PATH_LEN_MAX + 1];
    int rc = message_get_send(f, path, &want, e);
    if (rc < 0)
        return rc;
    struct outgoing *o = open_channel(a, f->channel, e);
    if (!o)
        return e->code;
    if (!a->scanned || a->dry_run || o->ending)
        return err_set(e, ERR_PROTO, late);
    struct wanted *w = mem_alloc(sizeof *w + want.path_len + 1);
    *w = (struct wanted){NULL, want.kind, want.mode, want.size, want.mtime, want.digest, want.path_len};
    memcpy(w->path, path, want.path_len + 1);
    *o->last = w;
    o->last = &w->next;
    return 0;
}

int outgoing_end(struct agent *a, struct frame *f, struct err *e)
{
    int rc = message_get_empty(f, e);
    struct outgoing *o = rc < 0 ? NULL : open_channel(a, f->channel, e);
    if (!o)
        return e->code;
    o->ending = true;
    return 0;
}

int outgoing_credit(struct agent *a, struct frame *f, struct err *e)
{
    uint64_t n;
    int rc = message_get_number(f, &n, e);
    if (rc < 0)
        return rc;
    if (n > INT32_MAX)
        return err_set(e, ERR_PROTO, "a credit of %llu bytes", (unsigned long long)n);
    if (f->channel == MSG_CHANNEL_LIST) {
        a->list_credit += (int64_t)n;
        return 0;
    }
    struct outgoing *o = open_channel(a, f->channel, e);
    if (!o)
        return e->code;
    o->credit += (int64_t)n;
    return 0;
}

/*
 * An object that we cannot give is announced to the coordinator, and stands in the bundle without
 * content: every bundle then holds exactly the objects that its targets wait for.
 */
static int begin(struct agent *a, struct outgoing *o, struct wanted *w, struct err *e)
{
    char target[PATH_LEN_MAX + 1] = "?";
    struct err why;
    int rc = 0;
    struct entry want = {.path = w->path, .path_len = w->len, .kind = w->kind, .mode = w->mode, .size = w->size,
                         .mtime = w->mtime, .digest = w->digest};
    if (w->kind == ENTRY_FILE)
        rc = o->fd = a->store->ops->read_open(a->store, &want, &why);
    else
        rc = a->store->ops->read_link(a->store, &want, target, sizeof target, &why);
    if (rc < 0) {
        o->fd = -1;
        message_put_problem(&a->out, true, w->path, why.msg);
        want.size = 0;
    }
    free(o->name);
    o->name = mem_strdup(w->path);
    o->left = w->kind == ENTRY_FILE ? want.size : 0;
    o->in_object = true;
    return archive_out_begin(o->archive, &want, w->kind == ENTRY_LINK ? target : NULL, e);
}

static int read_piece(struct agent *a, struct outgoing *o, struct err *e)
{
    uint8_t piece[MSG_DATA_MAX];
    size_t n = o->left < sizeof piece ? (size_t)o->left : sizeof piece;
    ssize_t got = n ? file_read(o->fd, piece, n) : 0;
    if (got > 0) {
        o->left -= (uint64_t)got;
        int rc = archive_out_data(o->archive, piece, (size_t)got, e);
        if (rc < 0 || o->left > 0)
            return rc;
    }
    if (got < 0) {
        struct err why;
        err_sys(&why, "cannot be read");
        message_put_problem(&a->out, true, o->name, why.msg);
    }
    /* The end; or the file shrank or failed, then zeros follow, piece by piece, and the digest will tell the target. */
    o->left = 0;
    int more = archive_out_pad(o->archive, MSG_DATA_MAX, e);
    if (more != 0)
        return more < 0 ? more : 0;
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
    o->in_object = false;
    return archive_out_finish_object(o->archive, e);
}

/* Makes more pax bytes. 1 when it did something, 0 when there is nothing to do, or an error. */
static int produce(struct agent *a, struct outgoing *o, struct err *e)
{
    if (o->in_object)
        return read_piece(a, o, e) < 0 ? e->code : 1;
    struct wanted *w = o->first;
    if (w) {
        o->first = w->next;
        if (!o->first)
            o->last = &o->first;
        int rc = begin(a, o, w, e);
        free(w);
        return rc < 0 ? rc : 1;
    }
    if (o->ending && o->archive) {
        int rc = archive_out_end(o->archive, e);
        archive_out_free(o->archive);
        o->archive = NULL;
        return rc < 0 ? rc : 1;
    }
    return 0;
}

static int work_channel(struct agent *a, struct outgoing *o, struct err *e)
{
    if (o->ended || o->credit <= 0)
        return 0;
    int rc = 1;
    while (o->pax.len - o->pax_sent < MSG_DATA_MAX && rc > 0)
        rc = produce(a, o, e);
    if (rc < 0)
        return rc;
    size_t n = o->pax.len - o->pax_sent;
    if (n > MSG_DATA_MAX)
        n = MSG_DATA_MAX;
    if (n > (uint64_t)o->credit)
        n = (size_t)o->credit;
    if (n > 0) {
        wire_out_frame(&a->out, MSG_DATA, o->channel, o->pax.data + o->pax_sent, n);
        o->credit -= (int64_t)n;
        o->pax_sent += n;
    }
    if (o->pax_sent == o->pax.len)
        o->pax.len = o->pax_sent = 0;
    if (o->pax.len == 0 && o->ending && !o->archive) {
        message_put_text(&a->out, MSG_DATA_END, o->channel, "");
        o->ended = true;
        return 1;
    }
    return n > 0;
}

int outgoing_work(struct agent *a, struct err *e)
{
    int any = 0;
    for (size_t i = 0; i < a->outgoing.n; i++) {
        int rc = work_channel(a, a->outgoing.at[i], e);
        if (rc < 0)
            return err_wrap(e, "making a bundle");
        any |= rc;
    }
    return any;
}

void outgoing_free_all(struct agent *a)
{
    for (size_t i = 0; i < a->outgoing.n; i++) {
        struct outgoing *o = a->outgoing.at[i];
        while (o->first) {
            struct wanted *w = o->first;
            o->first = w->next;
            free(w);
        }
        if (o->archive)
            archive_out_free(o->archive);
        if (o->fd >= 0)
            close(o->fd);
        buf_free(&o->pax);
        free(o->name);
        free(o);
    }
    a->outgoing.n = 0;
}
