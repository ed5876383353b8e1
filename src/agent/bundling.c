/* The source's side of a bundle: objects as a pax archive. */
#include "agent/outgoing.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * An object that we cannot give is announced to the coordinator, and stands in the bundle without
 * content: every bundle then holds exactly the objects that its targets wait for.
 */
static int begin(struct agent *a, struct outgoing *o, struct wanted *w, struct err *e)
{
    char target[PATH_LEN_MAX + 1] = "?";
    struct err why;
    int rc = 0;
    struct entry want = outgoing_entry(w);
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
    want.mtime.nsec = 0; /* the targets have it from their operation, and here it would cost a header of its own */
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

int bundling_produce(struct agent *a, struct outgoing *o, struct err *e)
{
    if (!o->archive && !(o->archive = archive_out_new(&o->bytes, e)))
        return e->code;
    if (o->in_object)
        return read_piece(a, o, e) < 0 ? e->code : 1;
    struct wanted *w = outgoing_next(a, o);
    if (w) {
        int rc = begin(a, o, w, e);
        free(w);
        return rc < 0 ? rc : 1;
    }
    if (!o->ending || o->finished)
        return 0;
    o->finished = true;
    return archive_out_end(o->archive, e) < 0 ? e->code : 1;
}
