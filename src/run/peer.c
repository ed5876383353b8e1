#include "run/run.h"

#include "agent/agent.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_MS 100

bool peer_lives(const struct peer *p)
{
    return p->state != PEER_DOWN;
}

void peer_trouble(struct peer *p, bool error, const char *path, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    report_trouble(p->run, p->member->name, path, error, text);
    if (error)
        report_status(p->run, SOS_PARTIAL);
}

static enum sos_status status_of(int code)
{
    return code == ERR_LOCKED ? SOS_LOCKED : code == ERR_GUARD ? SOS_GUARD : SOS_PARTIAL;
}

void peer_fail(struct peer *p, int code, const char *fmt, ...)
{
    if (!peer_lives(p))
        return;
    char text[2048], why[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bool took_part = p->state >= PEER_SCANNED;
    p->state = PEER_DOWN;
    link_close(&p->link, 0, why, sizeof why);
    report_trouble(p->run, p->member->name, NULL, true, text);
    report_status(p->run, status_of(code));
    p->run->summary.unreachable++;
    p->run->refused[p->member - p->run->group->member] = true;
    if (took_part)
        transfer_peer_died(p);
}

/* ---- starting and ending ---- */

int peer_serve_local(int fd, void *ctx)
{
    (void)ctx;
    struct agent_options options = {0};
    struct err e;
    return agent_serve(fd, fd, &options, &e) < 0 ? 2 : 0;
}

static void send_open(struct run *r, struct peer *p)
{
    struct buf rules = {0};
    struct filter *f = filter_new();
    for (size_t i = 0; i < r->options->filters; i++)
        filter_add(f, r->options->filter[i].include, r->options->filter[i].pattern, NULL);
    filter_put(f, &rules);
    filter_free(f);
    const char *state = r->options->state_dir ? r->options->state_dir : "";
    struct message_open m = {
        .flags = (r->options->dry_run ? OPEN_DRY_RUN : 0u) | (r->options->checksum ? OPEN_CHECKSUM : 0u),
        .fsync = (uint8_t)r->options->fsync,
        .threads = r->options->threads,
        .root = p->member->address.path,
        .root_len = strlen(p->member->address.path),
        .state_dir = state,
        .state_dir_len = strlen(state),
    };
    message_put_open(&p->out, &m, &rules);
    buf_free(&rules);
}

int peer_start(struct run *r, struct peer *p, struct err *e)
{
    int others[PLAN_MEMBERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->peers; i++)
        if (r->peer[i].link.fd >= 0)
            others[n++] = r->peer[i].link.fd;
    int rc = link_spawn(&p->link, r->body ? r->body : peer_serve_local, (void *)(uintptr_t)p->member, others, n, e);
    if (rc < 0)
        return rc;
    wire_in_init(&p->in, p->link.fd);
    wire_out_init(&p->out, p->link.fd);
    wire_out_greeting(&p->out, WIRE_CAP_FDS);
    send_open(r, p);
    p->fail_last = &p->fail_first;
    p->last = &p->first;
    p->state = PEER_OPENING;
    p->heard = clock_mono_ms();
    return 0;
}

void peer_free(struct peer *p, bool patient)
{
    char why[256];
    if (peer_lives(p) && patient) {
        wire_out_frame(&p->out, MSG_BYE, 0, NULL, 0);
        wire_out_flush(&p->out);
    }
    link_close(&p->link, patient && peer_lives(p), why, sizeof why);
    compare_free(p);
    if (p->cursor)
        plan_cursor_free(p->cursor);
    if (p->sends)
        plan_cursor_free(p->sends);
    for (size_t i = 0; i < p->knows_n; i++)
        free(p->knows[i].address);
    free(p->knows);
    free(p->group);
    free(p->where);
    for (struct failure *x; (x = p->fail_first);) {
        p->fail_first = x->next;
        free(x);
    }
    if (p->root >= 0)
        close(p->root);
    p->run->summary.wire_bytes += p->in.total + p->out.total;
    wire_in_close(&p->in);
    wire_out_close(&p->out);
}

/* ---- messages ---- */

static int on_opened(struct peer *p, struct frame *f, struct err *e)
{
    struct message_opened m;
    int rc = message_get_opened(f, &m, e);
    if (rc < 0)
        return rc;
    p->flags = m.flags;
    p->caps = m.caps;
    p->id = m.id;
    p->group = mem_strndup(m.group, m.group_len);
    p->knows = mem_zalloc((m.peers + 1) * sizeof *p->knows);
    struct message_peer known;
    while (p->knows_n < m.peers && message_next_peer(&m.peer_list, &known)) {
        p->knows[p->knows_n].id = known.id;
        p->knows[p->knows_n++].address = mem_strndup(known.address, known.address_len);
    }
    p->state = PEER_OPENED;
    return 0;
}

static int on_progress(struct peer *p, struct frame *f, struct err *e)
{
    struct message_progress m;
    int rc = message_get_progress(f, &m, e);
    if (rc == 0 && m.objects + m.bytes > 0) {
        p->progress_objects = m.objects;
        p->progress_bytes = m.bytes;
    }
    return rc;
}

static int on_problem(struct peer *p, struct frame *f, struct err *e)
{
    struct message_problem m;
    int rc = message_get_problem(f, &m, e);
    if (rc < 0)
        return rc;
    char *path = m.path_len ? mem_strndup(m.path, m.path_len) : NULL;
    peer_trouble(p, m.error, path, "%.*s", (int)m.text_len, m.text);
    free(path);
    return 0;
}

static int on_scanned(struct peer *p, struct frame *f, struct err *e)
{
    int rc = message_get_scanned(f, &p->scanned, e);
    if (rc < 0)
        return rc;
    if (p->scanned.special)
        peer_trouble(p, false, NULL, "%llu sockets, fifos or devices were skipped",
                     (unsigned long long)p->scanned.special);
    p->root = wire_in_take_fd(&p->in);
    p->run->summary.failed += p->scanned.problems;
    p->progress_objects = p->scanned.totals.objects;
    p->progress_bytes = 0;
    p->state = PEER_SCANNED;
    return 0;
}

static int on_block(struct peer *p, struct frame *f, struct err *e)
{
    if (p->listed)
        return err_set(e, ERR_PROTO, "a manifest that goes on after its end");
    return compare_block(p, f->body.p, rd_left(&f->body), e);
}

static int on_list_end(struct peer *p, struct frame *f, struct err *e)
{
    p->listed = true;
    return message_get_list_end(f, &p->claimed, e);
}

static int on_had(struct peer *p, struct frame *f, struct err *e)
{
    bool yes[MSG_HAVE_MAX];
    size_t n;
    int rc = message_get_had(f, yes, &n, e);
    if (rc < 0)
        return rc;
    if (n > p->asked - p->answered)
        return err_set(e, ERR_PROTO, "an answer that nobody asked for");
    compare_had(p, yes, n);
    return 0;
}

static int on_result(struct peer *p, struct frame *f, struct err *e)
{
    struct message_result m;
    int rc = message_get_result(f, &m, e);
    if (rc < 0)
        return rc;
    if (m.seq <= p->done || m.seq > p->sent)
        return err_set(e, ERR_PROTO, "the result of an operation that was not given");
    if (m.seq <= p->failed_op)
        return err_set(e, ERR_PROTO, "results out of order");
    p->failed_op = m.seq;
    struct failure *x = mem_alloc(sizeof *x + m.text_len + 1);
    x->next = NULL;
    x->op = m.seq;
    memcpy(x->text, m.text, m.text_len);
    x->text[m.text_len] = '\0';
    *p->fail_last = x;
    p->fail_last = &x->next;
    return 0;
}

static int on_done(struct peer *p, struct frame *f, struct err *e)
{
    uint64_t n;
    int rc = message_get_number(f, &n, e);
    if (rc < 0)
        return rc;
    if (n <= p->done || n > p->sent)
        return err_set(e, ERR_PROTO, "DONE for operations that were not given");
    p->done = n;
    p->progress_bytes = 0;
    return 0;
}

static int on_committed(struct peer *p, struct frame *f, struct err *e)
{
    p->state = PEER_COMMITTED;
    return message_get_empty(f, e);
}

static int on_failed(struct peer *p, struct frame *f, struct err *e)
{
    int code;
    const char *text;
    size_t n;
    (void)p;
    int rc = message_get_failed(f, &code, &text, &n, e);
    return rc < 0 ? rc : err_set(e, code, "%.*s", (int)n, text);
}

/* What may come, and when. */
static const struct {
    enum peer_state from, to; /* first and last state in which it may come */
    int (*handle)(struct peer *p, struct frame *f, struct err *e);
} handlers[MSG_TYPES] = {
    [MSG_OPENED] = {PEER_OPENING, PEER_OPENING, on_opened},
    [MSG_PROGRESS] = {PEER_OPENING, PEER_COMMITTED, on_progress},
    [MSG_PROBLEM] = {PEER_OPENING, PEER_COMMITTED, on_problem},
    [MSG_SCANNED] = {PEER_SCANNING, PEER_SCANNING, on_scanned},
    [MSG_BLOCK] = {PEER_SCANNED, PEER_SCANNED, on_block},
    [MSG_LIST_END] = {PEER_SCANNED, PEER_SCANNED, on_list_end},
    [MSG_HAD] = {PEER_SCANNED, PEER_SCANNED, on_had},
    [MSG_RESULT] = {PEER_SCANNED, PEER_SCANNED, on_result},
    [MSG_DONE] = {PEER_SCANNED, PEER_SCANNED, on_done},
    [MSG_DATA] = {PEER_SCANNED, PEER_SCANNED, transfer_data},
    [MSG_DATA_END] = {PEER_SCANNED, PEER_SCANNED, transfer_data_end},
    [MSG_CREDIT] = {PEER_SCANNED, PEER_SCANNED, transfer_credit},
    [MSG_COMMITTED] = {PEER_COMMITTING, PEER_COMMITTING, on_committed},
    [MSG_FAILED] = {PEER_OPENING, PEER_COMMITTED, on_failed},
};

static int take_frame(struct peer *p, struct frame *f, struct err *e)
{
    if (f->type >= MSG_TYPES || !handlers[f->type].handle)
        return err_set(e, ERR_PROTO, "unexpected message %u", f->type);
    if (p->state < handlers[f->type].from || p->state > handlers[f->type].to)
        return err_set(e, ERR_PROTO, "%s out of turn", message_name(f->type));
    p->heard = clock_mono_ms();
    return handlers[f->type].handle(p, f, e);
}

static int take_input(struct peer *p, struct err *e)
{
    ssize_t n = wire_in_fill(&p->in);
    if (n < 0)
        return errno == EAGAIN ? 0 : err_sys(e, "reading from its agent");
    if (n == 0)
        return err_set(e, ERR_PROTO, "its agent went away");
    if (!p->in.greeted) {
        struct wire_greeting g;
        int rc = wire_in_greeting(&p->in, &g, e);
        if (rc <= 0)
            return rc;
        p->fds = p->in.socket && g.caps & WIRE_CAP_FDS;
    }
    struct frame f;
    int rc = 0;
    while (peer_lives(p) && (rc = wire_in_frame(&p->in, &f, e)) > 0)
        if ((rc = take_frame(p, &f, e)) < 0)
            break;
    return rc;
}

/* ---- the loop ---- */

static void serve(struct peer *p, short events)
{
    struct err e;
    if (events & (POLLIN | POLLHUP | POLLERR)) {
        int rc = take_input(p, &e);
        if (rc < 0) {
            peer_fail(p, rc, "%s", e.msg);
            return;
        }
    }
    /* A peer that is gone says why on its side of the link: let the reading find out. */
    if (events & POLLOUT && wire_out_flush(&p->out) < 0 && errno != EPIPE)
        peer_fail(p, ERR_PROTO, "writing to its agent: %s", strerror(errno));
}

static void check_silence(struct run *r)
{
    int64_t limit = (int64_t)r->options->timeout * 1000;
    int64_t now = clock_mono_ms();
    for (size_t i = 0; limit > 0 && i < r->peers; i++)
        if (peer_lives(&r->peer[i]) && now - r->peer[i].heard > limit)
            peer_fail(&r->peer[i], ERR_PROTO, "its agent has been silent for %u seconds", r->options->timeout);
}

int peers_turn(struct run *r, struct err *e)
{
    struct pollfd fds[PLAN_MEMBERS_MAX];
    struct peer *who[PLAN_MEMBERS_MAX];
    nfds_t n = 0;
    for (size_t i = 0; i < r->peers; i++) {
        struct peer *p = &r->peer[i];
        if (!peer_lives(p))
            continue;
        short out = wire_out_waiting(&p->out) ? POLLOUT : 0;
        fds[n] = (struct pollfd){.fd = p->link.fd, .events = (short)(POLLIN | out)};
        who[n++] = p;
    }
    if (poll(fds, n, TURN_MS) > 0)
        for (nfds_t i = 0; i < n; i++)
            if (fds[i].revents && peer_lives(who[i]))
                serve(who[i], fds[i].revents);
    check_silence(r);
    report_progress(r, false);
    if (r->callbacks->interrupted && r->callbacks->interrupted(r->callbacks->ctx))
        return err_set(e, ERR_INTERRUPTED, "interrupted");
    return 0;
}
