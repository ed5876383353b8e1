#include "agent/state.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "object/manifest_diff.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_ENOUGH 65536u  /* bytes that are worth a write */
#define PROGRESS_MS 200
#define PUMP_EVERY 64 /* commands */
#define LOOK_AFTER_MS 5 /* without a word from the coordinator: it waits for other members */
#define HEARTBEAT_MS 400   /* an agent that waits says so, which tells it from one that hangs */

int agent_flush(struct agent *a, struct err *e)
{
    int64_t began = clock_mono_ns();
    int rc = wire_out_flush(&a->out);
    a->link.waited += clock_mono_ns() - began;
    return rc < 0 ? err_sys(e, "writing to the coordinator") : 0;
}

/* ---- taking messages in ---- */

static int enqueue(struct agent *a, const struct frame *f, struct err *e)
{
    size_t len = rd_left(&f->body);
    if (a->queued + len > AGENT_QUEUE_BYTES_MAX)
        return err_set(e, ERR_PROTO, "more commands than were allowed");
    struct command *c = mem_alloc(sizeof *c + len);
    c->next = NULL;
    c->type = f->type;
    c->channel = f->channel;
    c->len = len;
    a->announced += f->type == MSG_APPLY;
    memcpy(c->body, f->body.p, len);
    *a->last = c;
    a->last = &c->next;
    a->queued += len;
    return 0;
}

static struct command *dequeue(struct agent *a)
{
    struct command *c = a->first;
    if (c) {
        a->first = c->next;
        if (!a->first)
            a->last = &a->first;
        a->queued -= c->len;
    }
    return c;
}

/* Bundles must flow also while a command is being carried out, so their messages do not wait in the queue. */
static int take_frame(struct agent *a, struct frame *f, struct err *e)
{
    switch (f->type) {
    case MSG_SEND:
    case MSG_SEND_DELTA:
    case MSG_SIGN:
        return outgoing_want(a, f, e);
    case MSG_SEND_END:
        return outgoing_end(a, f, e);
    case MSG_CREDIT:
        return outgoing_credit(a, f, e);
    case MSG_DATA:
    case MSG_DATA_Z:
        return incoming_data(a, f, e);
    case MSG_DATA_END:
        return incoming_data_end(a, f, e);
    default:
        return enqueue(a, f, e);
    }
}

static int take_frames(struct agent *a, struct err *e)
{
    if (!a->in.greeted) {
        struct wire_greeting g;
        int rc = wire_in_greeting(&a->in, &g, e);
        if (rc <= 0)
            return rc;
        a->local = a->in.socket && g.caps & WIRE_CAP_FDS;
        a->window = a->local ? MSG_WINDOW : MSG_WINDOW_FAR;
    }
    struct frame f;
    int rc;
    while ((rc = wire_in_frame(&a->in, &f, e)) > 0)
        if ((rc = take_frame(a, &f, e)) < 0)
            return rc;
    return rc;
}

static int agent_poll(struct agent *a, struct pollfd *p, int timeout)
{
    return a->store && a->store->ops->poll ? a->store->ops->poll(a->store, p, 1, timeout) : poll(p, 1, timeout);
}

/* poll for input; time that passes counts as waiting for the link while that holds up what is to be sent. */
static int await(struct agent *a, bool block)
{
    struct pollfd p = {.fd = a->in.fd, .events = POLLIN};
    if (!block)
        return agent_poll(a, &p, 0);
    int64_t *spent = outgoing_starves(a) ? &a->link.waited : &a->link.idle, began = clock_mono_ns();
    int n = agent_poll(a, &p, HEARTBEAT_MS);
    *spent += clock_mono_ns() - began;
    return n;
}

/* By the clock: who is long busy with what he sends, or gets bytes slowly, never waits so long at a time. */
static bool beat(struct agent *a)
{
    int64_t now = clock_mono_ms();
    if (now - a->last_beat < HEARTBEAT_MS)
        return false;
    a->last_beat = now;
    message_put_progress(&a->out, &(struct message_progress){0, 0});
    return true;
}

int agent_pump(struct agent *a, bool wait, struct err *e)
{
    int sent = outgoing_work(a, e);
    if (sent < 0)
        return sent;
    bool block = wait && !sent;
    if ((sent && beat(a)) || block || a->urgent || wire_out_waiting(&a->out) >= OUT_ENOUGH) {
        int rc = agent_flush(a, e);
        if (rc < 0)
            return rc;
        a->urgent = false;
    }
    int n = await(a, block);
    if (block)
        beat(a);
    if (n <= 0)
        return n < 0 && errno != EINTR ? err_sys(e, "poll") : 0;
    ssize_t got = wire_in_fill(&a->in);
    if (got < 0)
        return errno == EAGAIN ? 0 : err_sys(e, "reading from the coordinator");
    if (got == 0)
        return err_set(e, ERR_PROTO, "the coordinator went away");
    return take_frames(a, e);
}

/* ---- what the store tells ---- */

/* Keeps what waits to be sent small while the store works; a dead link shows itself at the next pump. */
static void relieve(struct agent *a)
{
    if (wire_out_waiting(&a->out) >= OUT_ENOUGH)
        wire_out_flush(&a->out);
}

static int on_progress(void *ctx, uint64_t objects, uint64_t bytes)
{
    struct agent *a = ctx;
    int64_t now = clock_mono_ms();
    struct err e;
    int rc = 0;
    if (now - a->last_progress >= PROGRESS_MS) {
        a->last_progress = now;
        message_put_progress(&a->out, &(struct message_progress){objects, bytes});
        rc = agent_flush(a, &e);
    }
    if (rc == 0)
        rc = agent_pump(a, false, &e);
    if (rc < 0)
        a->lost = e; /* whoever works just stops */
    else if (a->looking && a->first && a->first->type != MSG_SCAN)
        rc = ERR_INTERRUPTED; /* it will not be of use */
    return rc;
}

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    struct agent *a = ctx;
    message_put_problem(&a->out, error ? MSG_PROBLEM_ERROR : MSG_PROBLEM_REMARK, path ? path : "", message);
    relieve(a);
}

static void on_damage(void *ctx, const char *path, const char *message)
{
    struct agent *a = ctx;
    message_put_problem(&a->out, MSG_PROBLEM_DAMAGE, path, message);
    relieve(a);
}

static void on_done(void *ctx, uint64_t seq, int code, const char *message)
{
    struct agent *a = ctx;
    if (code != 0)
        message_put_result(&a->out, seq, code, message ? message : "");
    a->done = seq;
    relieve(a);
}

/* ---- commands ---- */

static void make_store(struct agent *a, const struct message_open *m)
{
    struct store_options o = {
        .root = a->root,
        .state_dir = a->state_dir,
        .dry_run = a->dry_run,
        .read_only = a->options->read_only,
        .no_delete = a->options->no_delete,
        .scratch = a->scratch,
        .group = a->options->group,
        .by = a->by,
        .checksum = m->flags & OPEN_CHECKSUM,
        .recall = m->flags & OPEN_RECALL,
        .hash = m->flags & OPEN_SHA256 ? DIGEST_SHA256 : DIGEST_XXH3_128,
        .fsync = (enum store_fsync)m->fsync,
        .threads = m->threads,
        .filter = filter_count(a->filter) ? a->filter : NULL,
        .rules = m->rules,
        .watch = {a, on_progress, on_problem, on_done, on_damage},
    };
    a->store = a->options->http ? store_http_new(&o) : a->blobs ? store_flat_new(&o) : store_dir_new(&o);
    a->scratch = 0;
}

static void say_opened(struct agent *a, const struct store_info *info)
{
    struct message_peer *peer = mem_zalloc((info->peers + 1) * sizeof *peer);
    for (size_t i = 0; i < info->peers; i++) {
        const struct store_peer *p = &info->peer[i];
        peer[i] = (struct message_peer){p->id, p->address, strlen(p->address), p->seen};
    }
    struct message_opened reply = {
        .flags = (info->exists ? OPENED_EXISTS : 0u) | (info->parent_exists ? OPENED_PARENT : 0u) |
                 (info->marked ? OPENED_MARKED : 0u) | (a->options->read_only ? OPENED_READ_ONLY : 0u) |
                 (a->options->no_delete ? OPENED_NO_DELETE : 0u),
        .id = info->id,
        .caps = info->caps,
        .free_bytes = info->free_bytes,
        .group = info->group ? info->group : "",
        .group_len = info->group ? strlen(info->group) : 0,
        .peers = info->peers < MSG_PEERS_MAX ? info->peers : MSG_PEERS_MAX,
    };
    message_put_opened(&a->out, &reply, peer);
    free(peer);
}

static int do_open(struct agent *a, struct frame *f, struct err *e)
{
    struct message_open m;
    struct store_info info = {0};
    int rc = message_get_open(f, &m, e);
    if (rc < 0)
        return rc;
    if (a->store)
        return err_set(e, ERR_PROTO, "a second OPEN");
    a->filter = filter_get(&m.filter, e);
    if (!a->filter)
        return err_wrap(e, "filter rules");
    rc = confine_open(a, &m, e);
    if (rc < 0)
        return rc;
    a->by = mem_strndup(m.by, m.by_len);
    a->squeeze = (enum squeeze_mode)m.compress;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    a->threads = m.threads || cores < 1 ? (unsigned)m.threads : (unsigned)cores;
    make_store(a, &m);
    rc = a->store->ops->inspect(a->store, &info, e);
    if (rc < 0)
        return rc;
    a->id = info.id;
    a->may_look = m.flags & OPEN_LOOK && a->store->ops->look;
    say_opened(a, &info);
    store_info_free(&info);
    return 0;
}

/* Whether there will be a scan is not known yet, but the time would be lost: other members are still on their way. */
static int look_meanwhile(struct agent *a, struct err *e)
{
    struct pollfd p = {.fd = a->in.fd, .events = POLLIN};
    a->may_look = false;
    int rc = agent_flush(a, e);
    if (rc < 0 || poll(&p, 1, LOOK_AFTER_MS) != 0)
        return rc;
    a->looking = true;
    a->store->ops->look(a->store, &a->id);
    a->looking = false;
    if (a->lost.code < 0)
        *e = a->lost;
    return a->lost.code;
}

static int do_scan(struct agent *a, struct frame *f, struct err *e)
{
    struct message_scan m;
    int rc = message_get_scan(f, &m, e);
    if (rc < 0)
        return rc;
    if (a->stated)
        return err_set(e, ERR_PROTO, "SCAN after STATUS");
    a->group = mem_strndup(m.group, m.group_len);
    struct store_scan scan = {0};
    a->may_look = false;
    rc = a->store->ops->scan(a->store, &m.id, a->group, &scan, e);
    if (rc == 0)
        rc = confine_again(a, e);
    if (rc < 0)
        return rc;
    a->scanned = true;
    if (a->local && a->store->ops->lend && !a->dry_run) {
        int fd = a->store->ops->lend(a->store, e);
        if (fd < 0)
            return fd;
        wire_out_pass(&a->out, fd);
    }
    struct message_scanned reply = {scan.totals, scan.hashed, scan.hashed_bytes, scan.special, scan.problems,
                                    scan.partials, scan.floor, scan.before, scan.damaged, scan.verified, scan.changed};
    message_put_scanned(&a->out, &reply);
    return 0;
}

static int do_status(struct agent *a, struct frame *f, struct err *e)
{
    struct store_status status;
    int rc = message_get_empty(f, e);
    if (rc < 0)
        return rc;
    if (a->scanned || a->stated)
        return err_set(e, ERR_PROTO, "STATUS where a manifest is there already");
    a->may_look = false;
    rc = a->store->ops->status(a->store, &status, e);
    if (rc < 0)
        return rc;
    a->stated = status.recorded;
    message_put_stated(&a->out, &status);
    return 0;
}

static int do_have(struct agent *a, struct frame *f, struct err *e)
{
    size_t n;
    int rc = message_get_have(f, a->digests, &n, e);
    if (rc == 0)
        rc = a->store->ops->have(a->store, a->digests, n, a->had, e);
    if (rc == 0)
        message_put_had(&a->out, a->had, n);
    return rc;
}

/* There are as many questions as objects, and a list may wait long: they must not pile up behind it. */
static int answer_meanwhile(struct agent *a, struct err *e)
{
    int rc = 0;
    while (rc == 0 && a->first && a->first->type == MSG_HAVE) {
        struct command *c = dequeue(a);
        struct frame f = {c->type, c->channel, rd_of(c->body, c->len)};
        rc = do_have(a, &f, e);
        free(c);
        if (rc == 0 && wire_out_waiting(&a->out) >= OUT_ENOUGH)
            rc = agent_flush(a, e);
    }
    return rc;
}

/* One piece of a listing, as soon as there is credit. 0 or an error. */
static int send_piece(struct agent *a, uint8_t type, const void *p, size_t n, struct err *e)
{
    int rc = 0;
    while (a->list_credit <= 0 && rc == 0) {
        rc = answer_meanwhile(a, e);
        if (rc == 0)
            rc = agent_pump(a, true, e);
    }
    if (rc < 0)
        return rc;
    wire_out_frame(&a->out, type, 0, p, n);
    a->list_credit -= (int64_t)n;
    return wire_out_waiting(&a->out) >= OUT_ENOUGH ? agent_flush(a, e) : 0;
}

static int list_whole(struct agent *a, struct manifest_totals *totals, struct err *e)
{
    struct manifest_head head;
    struct manifest_reader *r = manifest_reader_new(a->store->ops->manifest(a->store), &head, e);
    if (!r)
        return e->code;
    const void *p;
    size_t n;
    int rc;
    message_put_listing(&a->out, false);
    while ((rc = manifest_reader_raw(r, &p, &n, totals, e)) > 0)
        if ((rc = send_piece(a, MSG_BLOCK, p, n, e)) < 0)
            break;
    manifest_reader_free(r);
    return rc;
}

/* Between pieces that are long in the making. */
static int breathe(struct agent *a, struct err *e)
{
    message_put_progress(&a->out, &(struct message_progress){0, 0});
    int rc = agent_flush(a, e);
    return rc < 0 ? rc : agent_pump(a, false, e);
}

static int list_difference(struct agent *a, int before, struct err *e)
{
    struct manifest_head head;
    struct manifest_reader *old = manifest_reader_new(before, &head, e);
    struct manifest_reader *now = old ? manifest_reader_new(a->store->ops->manifest(a->store), &head, e) : NULL;
    struct manifest_diff_writer *w = now ? manifest_diff_writer_new(old, now) : NULL;
    struct buf piece = {0};
    int rc = w ? 0 : e->code;
    if (w)
        message_put_listing(&a->out, true);
    while (w && (rc = manifest_diff_writer_next(w, &piece, e)) > 0) {
        rc = piece.len ? send_piece(a, MSG_DIFF, piece.data, piece.len, e) : breathe(a, e);
        if (rc < 0)
            break;
    }
    buf_free(&piece);
    manifest_diff_writer_free(w);
    manifest_reader_free(now);
    manifest_reader_free(old);
    return rc;
}

static bool is_named(const struct message_list *m, const struct manifest_totals *t)
{
    return m->named && m->entries == t->entries && digest_same(&m->shared, &t->shared);
}

/* A coordinator that has the store's last manifest, or this very one, is told only what is new. */
static int do_list(struct agent *a, struct frame *f, struct err *e)
{
    const struct store_ops *ops = a->store->ops;
    struct message_list m;
    struct manifest_totals now, then;
    int rc = message_get_list(f, &m, e);
    if (rc == 0)
        rc = manifest_file_totals(ops->manifest(a->store), &now, e);
    if (rc < 0)
        return rc;
    int before = m.named && ops->manifest_before ? ops->manifest_before(a->store) : -1;
    if (is_named(&m, &now))
        message_put_listing(&a->out, true);
    else if (before >= 0 && manifest_file_totals(before, &then, NULL) == 0 && is_named(&m, &then))
        rc = list_difference(a, before, e);
    else
        rc = list_whole(a, &now, e);
    if (rc == 0)
        message_put_totals(&a->out, MSG_LIST_END, &now);
    return rc;
}

static int do_lend(struct agent *a, struct frame *f, struct err *e)
{
    uint64_t who;
    int rc = message_get_number(f, &who, e);
    if (rc < 0)
        return rc;
    int fd = wire_in_take_fd(&a->in);
    if (fd < 0 || who >= 64)
        return err_set(e, ERR_PROTO, "LEND without a descriptor or a member");
    if (who >= a->lents) {
        a->lent = mem_resize(a->lent, who + 1, sizeof *a->lent);
        while (a->lents <= who)
            a->lent[a->lents++] = -1;
    }
    if (a->lent[who] >= 0)
        close(a->lent[who]);
    a->lent[who] = fd;
    return 0;
}

static int carry_out(struct agent *a, struct frame *f, const struct message_apply *m, struct err *e)
{
    bool patch = m->from == MSG_FROM_PATCH;
    struct store_op op = {.seq = m->seq, .how = (enum store_how)m->how,
                          .from = patch ? STORE_FROM_STREAM : (enum store_from)m->from, .why = (enum store_why)m->why, .from_path = m->from_path, .from_root = -1,
                          .entry = &m->entry};
    if (a->options->read_only && op.how != STORE_RECORD)
        return a->store->ops->apply(a->store, &op, e); /* which refuses it, wherever its content was to come from */
    if (op.from == STORE_FROM_STREAM)
        return incoming_apply(a, f->channel, &op, patch, e);
    if (op.from == STORE_FROM_SELF && m->lender < a->lents)
        op.from_root = a->lent[m->lender];
    if (op.from == STORE_FROM_ROOT) {
        if (m->lender >= a->lents || a->lent[m->lender] < 0)
            return err_set(e, ERR_PROTO, "content from a member whose root was not lent");
        op.from_root = a->lent[m->lender];
    }
    return a->store->ops->apply(a->store, &op, e);
}

static int do_apply(struct agent *a, struct frame *f, struct err *e)
{
    struct message_apply m;
    int rc = message_get_apply(f, a->path, a->from_path, &m, e);
    if (rc < 0)
        return rc;
    if (m.seq != a->seq + 1)
        return err_set(e, ERR_PROTO, "operation %llu where %llu was due", (unsigned long long)m.seq,
                       (unsigned long long)a->seq + 1);
    a->seq = m.seq;
    rc = carry_out(a, f, &m, e);
    a->over = m.seq;
    return rc;
}

static int do_check(struct agent *a, struct frame *f, struct err *e)
{
    struct entry want;
    enum store_check found;
    bool read;
    int rc = message_get_check(f, a->path, &read, &want, e);
    if (rc == 0)
        rc = a->store->ops->check(a->store, &want, read, &found, e);
    if (rc < 0)
        return rc;
    message_put_number(&a->out, MSG_CHECKED, 0, found);
    return on_progress(a, 0, 0); /* many may wait, and each may take its time */
}

static int do_flush(struct agent *a, struct frame *f, struct err *e)
{
    int rc = message_get_empty(f, e);
    return rc < 0 ? rc : a->store->ops->flush(a->store, e);
}

static int do_commit(struct agent *a, struct frame *f, struct err *e)
{
    struct message_commit m;
    int rc = message_get_commit(f, &m, e);
    if (rc < 0)
        return rc;
    struct store_peer *peer = mem_zalloc((m.peers + 1) * sizeof *peer);
    struct message_peer p;
    size_t n = 0;
    while (n < m.peers && message_next_peer(&m.peer_list, &p)) {
        peer[n].id = p.id;
        peer[n++].address = mem_strndup(p.address, p.address_len);
    }
    rc = a->store->ops->commit(a->store, peer, n, e);
    for (size_t i = 0; i < n; i++)
        free(peer[i].address);
    free(peer);
    struct manifest_totals now;
    if (rc == 0)
        rc = manifest_file_totals(a->store->ops->manifest(a->store), &now, e);
    if (rc == 0)
        message_put_totals(&a->out, MSG_COMMITTED, &now);
    return rc;
}

static int do_bye(struct agent *a, struct frame *f, struct err *e)
{
    a->bye = true;
    return message_get_empty(f, e);
}

/* needs: what must have happened before. writes: never in a dry run. */
static const struct {
    uint8_t type;
    enum { NEEDS_NOTHING, NEEDS_OPEN, NEEDS_MANIFEST, NEEDS_SCAN } needs;
    bool writes;
    int (*run)(struct agent *a, struct frame *f, struct err *e);
} commands[] = {
    {MSG_OPEN, NEEDS_NOTHING, false, do_open},   {MSG_SCAN, NEEDS_OPEN, false, do_scan},
    {MSG_LIST, NEEDS_MANIFEST, false, do_list},  {MSG_HAVE, NEEDS_SCAN, false, do_have},
    {MSG_LEND, NEEDS_OPEN, false, do_lend},      {MSG_APPLY, NEEDS_SCAN, true, do_apply},
    {MSG_FLUSH, NEEDS_SCAN, true, do_flush},     {MSG_COMMIT, NEEDS_SCAN, true, do_commit},
    {MSG_TRASH_LIST, NEEDS_OPEN, false, trashing_list},
    {MSG_TRASH_RESTORE, NEEDS_OPEN, true, trashing_restore},
    {MSG_TRASH_EMPTY, NEEDS_OPEN, true, trashing_empty},
    {MSG_CHECK, NEEDS_SCAN, true, do_check},
    {MSG_STATUS, NEEDS_OPEN, false, do_status},
    {MSG_BYE, NEEDS_NOTHING, false, do_bye},
};

static bool in_turn(const struct agent *a, unsigned needs)
{
    return needs == NEEDS_NOTHING || (a->store && (needs == NEEDS_OPEN || a->scanned || (needs == NEEDS_MANIFEST && a->stated)));
}

static int run_command(struct agent *a, struct command *c, struct err *e)
{
    struct frame f = {c->type, c->channel, rd_of(c->body, c->len)};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (commands[i].type != c->type)
            continue;
        if (!in_turn(a, commands[i].needs))
            return err_set(e, ERR_PROTO, "%s out of turn", message_name(c->type));
        if (commands[i].writes && a->dry_run)
            return err_set(e, ERR_PROTO, "%s in a dry run", message_name(c->type));
        return commands[i].run(a, &f, e);
    }
    return err_set(e, ERR_PROTO, "unexpected message %u", c->type);
}

static void tell_done(struct agent *a)
{
    if (a->done <= a->told)
        return;
    message_put_done(&a->out, a->done, a->literal);
    a->told = a->done;
}

static int serve(struct agent *a, struct err *e)
{
    wire_out_greeting(&a->out, a->in.socket ? WIRE_CAP_FDS : 0);
    int rc = confine_first(a, e);
    if (rc == 0)
        rc = agent_flush(a, e);
    unsigned turns = 0;
    while (rc == 0 && !a->bye) {
        struct command *c = dequeue(a);
        if (!c) {
            rc = a->may_look ? look_meanwhile(a, e) : 0;
            if (rc == 0)
                rc = agent_pump(a, !a->first, e); /* who looked may have been told something meanwhile */
            tell_done(a);
            continue;
        }
        rc = run_command(a, c, e);
        free(c);
        if (rc == 0 && a->lost.code < 0) {
            *e = a->lost;
            rc = a->lost.code;
        }
        tell_done(a);
        /* Others wait for what we send, and for room for what they send: a long queue of our own must not keep them. */
        bool others = a->outgoing.n > 0 || a->incoming.n > 0;
        if (rc == 0 && !a->bye && (!a->first || (others && ++turns % PUMP_EVERY == 0)))
            rc = agent_pump(a, false, e);
    }
    return rc;
}

static void release(struct agent *a)
{
    outgoing_free_all(a);
    incoming_free_all(a);
    if (a->store)
        a->store->ops->close(a->store);
    filter_free(a->filter);
    for (struct command *c; (c = dequeue(a));)
        free(c);
    for (size_t i = 0; i < a->lents; i++)
        if (a->lent[i] >= 0)
            close(a->lent[i]);
    free(a->lent);
    if (a->scratch > 0)
        close(a->scratch);
    free(a->root);
    free(a->state_dir);
    free(a->group);
    free(a->by);
    wire_in_close(&a->in);
    wire_out_close(&a->out);
    free(a);
}

int agent_serve(int in, int out, const struct agent_options *options, struct err *e)
{
    struct agent *a = mem_zalloc(sizeof *a);
    a->options = options;
    a->last = &a->first;
    a->last_beat = clock_mono_ms();
    wire_in_init(&a->in, in);
    wire_in_widen(&a->in);
    a->in.socket = a->in.socket && options->local; /* a socket to some login server passes no descriptors */
    wire_out_init(&a->out, out);
    int rc = serve(a, e);
    if (rc < 0) {
        struct err ignored;
        bool full = rc == ERR_SYS && (e->sys == ENOSPC || e->sys == EDQUOT);
        message_put_failed(&a->out, full ? ERR_FULL : rc, e->msg);
        agent_flush(a, &ignored);
    }
    release(a);
    return rc;
}
