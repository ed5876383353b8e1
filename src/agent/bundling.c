/*
 * The source's side of a bundle: objects that targets lack altogether, one after the other, as RAW records and an END.
 * Names, kinds and times do not travel with them: the targets have these from their operations, in the same order.
 */
#include "agent/outgoing.h"

#include "base/file.h"
#include "object/delta.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD 5u /* bytes of a record before its payload */
#define PIECE (MSG_DATA_MAX - HEAD) /* so that a record fills a frame */

static void put_end(struct buf *out, uint64_t size)
{
    buf_u8(out, DELTA_END);
    buf_u32(out, sizeof size);
    buf_u64(out, size);
}

static void end_object(struct outgoing *o)
{
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
    free(o->want);
    o->want = NULL;
}

/*
 * A patch that does not come to its end fails its object at the targets, and no other. They get the reason, and whether it is
 * a failure is for their coordinator to say, who may try again.
 */
static void give_up(struct agent *a, struct outgoing *o, const char *why)
{
    message_put_problem(&a->out, MSG_PROBLEM_REMARK, o->want->path, why);
    outgoing_record(&o->bytes, DELTA_FAILED, why, strlen(why));
    end_object(o);
}

static void finish(struct outgoing *o)
{
    put_end(&o->bytes, o->want->size);
    end_object(o);
}

static void give_link(struct agent *a, struct outgoing *o)
{
    struct err why;
    char target[ENTRY_TARGET_MAX + 2];
    struct entry want = outgoing_entry(o->want);
    if (a->store->ops->read_link(a->store, &want, target, sizeof target, &why) < 0) {
        give_up(a, o, why.msg);
        return;
    }
    outgoing_record(&o->bytes, DELTA_RAW, target, want.size);
    finish(o);
}

static void put_head(uint8_t *room, size_t n)
{
    room[0] = DELTA_RAW;
    for (unsigned i = 0; i < 4; i++)
        room[1 + i] = (uint8_t)(n >> (8 * i));
}

static void give_small(struct agent *a, struct outgoing *o)
{
    struct err why;
    struct entry want = outgoing_entry(o->want);
    size_t n = (size_t)want.size;
    uint8_t *room = buf_room(&o->bytes, HEAD + n + 1);
    int rc = a->store->ops->read_file(a->store, &want, room + HEAD, &why);
    /* Damaged content goes its way as that of large files does: the target finds it out, and we are asked to look at it. */
    if (rc < 0 && rc != ERR_DAMAGED) {
        give_up(a, o, why.msg);
        return;
    }
    put_head(room, n);
    o->bytes.len += n ? HEAD + n : 0;
    finish(o);
}

static void open_file(struct agent *a, struct outgoing *o)
{
    struct err why;
    struct entry want = outgoing_entry(o->want);
    o->fd = a->store->ops->read_open(a->store, &want, &why);
    o->left = want.size;
    if (o->fd < 0)
        give_up(a, o, why.msg);
    else if (o->left == 0)
        finish(o);
}

/* Read straight into the record that it becomes. */
static void give_piece(struct agent *a, struct outgoing *o)
{
    size_t n = o->left < PIECE ? (size_t)o->left : PIECE;
    uint8_t *room = buf_room(&o->bytes, HEAD + n);
    ssize_t got = file_read(o->fd, room + HEAD, n);
    if (got < 0 || (size_t)got < n) {
        give_up(a, o, got < 0 ? "cannot be read" : "became shorter while it was read");
        return;
    }
    put_head(room, n);
    o->bytes.len += HEAD + n;
    o->left -= n;
    if (o->left == 0)
        finish(o);
}

int bundling_produce(struct agent *a, struct outgoing *o, struct err *e)
{
    (void)e;
    if (o->want) {
        give_piece(a, o);
        return 1;
    }
    o->want = outgoing_next(a, o);
    if (!o->want) {
        if (!o->ending || o->finished)
            return 0;
        o->finished = true;
        return 1;
    }
    if (o->want->kind == ENTRY_FILE && o->want->size <= PIECE)
        give_small(a, o);
    else if (o->want->kind == ENTRY_FILE)
        open_file(a, o);
    else
        give_link(a, o);
    return 1;
}
