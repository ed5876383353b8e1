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
#define SLOWEST 100 /* bytes a second: whose part of a message comes more slowly is not sending it */

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

bool peer_may_wait(const struct run *r)
{
    long wait = r->options->wait;
    return wait < 0 || clock_mono_ms() - r->started < wait * 1000;
}

void peer_fail(struct peer *p, int code, const char *fmt, ...)
{
    if (!peer_lives(p))
        return;
    char text[2048], why[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bool took_part = p->state >= PEER_SCANNED;
    p->state = PEER_DOWN;
    bool gone = p->words || link_ended(&p->link);
    if (p->words && p->hung_up)
        remote_hear_out(p);
    /* Whose standard error has ended too is about to end; others must not be waited for. */
    link_close(&p->link, p->words && p->hung_up && p->link.err_fd < 0, why, sizeof why);
    if (p->words)
        remote_explain(p, text, why, sizeof why);
    if (code == ERR_LOCKED && peer_may_wait(p->run)) {
        p->run->blocked = true;
        if (!p->run->waited)
            report_trouble(p->run, p->member->name, NULL, false, text);
        return;
    }
    report_trouble(p->run, p->member->name, NULL, true, gone && why[0] ? why : text);
    report_status(p->run, status_of(code));
    p->run->summary.unreachable++;
    p->run->refused[p->member - p->run->group->member] = true;
    if (took_part && code == ERR_FULL && p->run->allot) { /* its replicas go to others */
        p->run->overflowed = true;
        p->run->full |= (uint64_t)1 << (p - p->run->peer);
    }
    if (took_part)
        p->run->died(p);
}

/* ---- starting and ending ---- */

int peer_serve_local(int fd, void *ctx)
{
    const struct peer *p = ctx;
    const struct run *r = p->run;
    const char *neighbour[PLAN_MEMBERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->peers && !r->options->through; i++)
        if (&r->peer[i] != p && r->peer[i].member->address.kind == ADDRESS_LOCAL)
            neighbour[n++] = r->peer[i].member->address.path;
    bool http = blobs_member(p->member), blobs = blobs_group(r->group);
    char *beside = blobs ? NULL : blobs_beside(p->member, r->options->state_dir);
    struct agent_options options = {
        .root = http ? p->where : p->member->address.path,
        .state_dir = http ? blobs_state_dir(r->options) : beside && *beside ? beside : blobs ? r->options->state_dir : NULL,
        .local = true, .http = http, .group = r->group->name, .blobs = blobs && !http,
        .dry_run = r->options->dry_run, .no_sandbox = r->options->no_sandbox,
        .neighbour = neighbour, .neighbours = n,
    };
    struct err e;
    return agent_serve(fd, fd, &options, &e) < 0 ? 2 : 0;
}

/* No compressor is faster than what local members have between them, and it need not be tried. */
static enum sos_compress compression(const struct run *r)
{
    if (r->options->compress != SOS_COMPRESS_AUTO)
        return r->options->compress;
    for (size_t i = 0; i < r->group->members; i++)
        if (r->group->member[i].address.kind == ADDRESS_SSH)
            return SOS_COMPRESS_AUTO;
    return SOS_COMPRESS_NEVER;
}

/* What a member may read of its own to look at it: a blob-server's content comes over the network for that. */
static uint64_t reading_rate(const struct run *r, const struct peer *p)
{
    uint64_t servers = 0, rate = r->options->scrub_rate;
    if (!blobs_member(p->member) || !r->options->bwlimit)
        return rate;
    for (size_t i = 0; i < r->group->members; i++)
        servers += blobs_member(&r->group->member[i]);
    uint64_t share = r->options->bwlimit / servers;
    share = share ? share : 1;
    return rate && rate < share ? rate : share;
}

static struct store_rules rules_of(const struct run *r, const struct peer *p)
{
    const struct policy_settings *s = &r->settings;
    return (struct store_rules){
        .now = r->now, .propagate = s->propagate, .emptied = s->max_delete_percent && s->max_delete >= 100,
        .cross = s->cross_mounts, .adopted = p->adopted, .tombstones = (int64_t)s->tombstones, .trash = (int64_t)s->trash,
        .part = r->options->scrub_part, .parts = r->options->scrub_parts, .rate = reading_rate(r, p),
    };
}

/* Whether what others lack of it goes through us: local members read from each other. */
static bool gives_by_stream(const struct run *r, const struct peer *p)
{
    bool far = r->options->through || p->member->address.kind != ADDRESS_LOCAL;
    for (size_t i = 0; i < r->peers; i++)
        far |= r->peer[i].member->address.kind != ADDRESS_LOCAL;
    return far && r->peers > 1 && !r->options->dry_run;
}

static void send_open(struct run *r, struct peer *p)
{
    struct buf rules = {0};
    struct filter *f = filter_new();
    for (size_t i = 0; i < r->options->filters; i++)
        filter_add(f, r->options->filter[i].include, r->options->filter[i].pattern, NULL);
    filter_put(f, &rules);
    filter_free(f);
    bool blobs = blobs_group(r->group);
    char *state = blobs ? mem_strdup(r->options->state_dir ? r->options->state_dir : "")
                        : blobs_beside(p->member, r->options->state_dir);
    const char *root = blobs_member(p->member) ? p->where : p->member->address.path;
    char host[128] = "", by[MSG_BY_MAX + 1];
    gethostname(host, sizeof host - 1);
    snprintf(by, sizeof by, "%s, process %ld", host[0] ? host : "an unknown host", (long)getpid());
    struct message_open m = {
        .flags = (r->options->dry_run ? OPEN_DRY_RUN : 0u) | (r->options->checksum ? OPEN_CHECKSUM : 0u) |
                 (r->options->no_sandbox ? OPEN_NO_SANDBOX : 0u) | (blobs ? OPEN_BLOBS : 0u) |
                 (r->settings.sha256 ? OPEN_SHA256 : 0u) |
                 (r->states || r->only_opens || r->options->scrub_parts ? 0u : OPEN_LOOK) |
                 (gives_by_stream(r, p) ? OPEN_RECALL : 0u),
        .fsync = (uint8_t)r->options->fsync,
        .compress = (uint8_t)compression(r),
        .threads = r->options->threads,
        .root = root,
        .root_len = strlen(root),
        .state_dir = state,
        .state_dir_len = strlen(state),
        .by = by,
        .by_len = strlen(by),
        .rules = rules_of(r, p),
    };
    message_put_open(&p->out, &m, &rules);
    buf_free(&rules);
    free(state);
}

int peer_start(struct run *r, struct peer *p, struct err *e)
{
    int others[2 * PLAN_MEMBERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->peers; i++) {
        if (r->peer[i].link.fd >= 0)
            others[n++] = r->peer[i].link.fd;
        if (r->peer[i].link.err_fd >= 0)
            others[n++] = r->peer[i].link.err_fd;
    }
    int rc;
    if (p->remote && !r->body)
        rc = remote_start(r, p, others, n, e);
    else
        rc = link_spawn(&p->link, r->body ? r->body : peer_serve_local, p, others, n, e);
    if (rc < 0)
        return rc;
    wire_in_init(&p->in, p->link.fd);
    wire_out_init(&p->out, p->link.fd);
    wire_out_greeting(&p->out, p->remote ? 0 : WIRE_CAP_FDS);
    send_open(r, p);
    p->fail_last = &p->fail_first;
    p->last = &p->first;
    p->state = PEER_OPENING;
    p->heard = clock_mono_ms();
    return 0;
}

static bool any_metered(const struct run *r)
{
    for (size_t i = 0; i < r->peers; i++)
        if (r->peer[i].metered)
            return true;
    return false;
}

void peer_bye(struct peer *p)
{
    if (!peer_lives(p))
        return;
    wire_out_frame(&p->out, MSG_BYE, 0, NULL, 0);
    wire_out_flush(&p->out);
}

void peer_free(struct peer *p, bool patient)
{
    char why[256];
    link_close(&p->link, patient && peer_lives(p), why, sizeof why);
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
    cache_free(p->cache);
    if (p->root >= 0)
        close(p->root);
    p->run->summary.literal_bytes += p->literal;
    if (p->metered || !any_metered(p->run))
        p->run->summary.wire_bytes += p->in.total + p->out.total;
    wire_in_close(&p->in);
    wire_out_close(&p->out);
    remote_free(p);
}

/* ---- the loop ---- */

/*
 * A large message may take long where the link is slow or limited, so its bytes are a sign of life, too; but who has not opened
 * its store must get on, and the signs of life of an agent that waits for us must not keep a message alive whose length was
 * garbled on the way, and which they will not end for hours.
 */
static void hear_bytes(struct peer *p, ssize_t n)
{
    int64_t now = clock_mono_ms(), bought = (int64_t)n * 1000 / SLOWEST;
    p->heard = bought < now - p->heard ? p->heard + bought : now;
}

static int take_input(struct peer *p, struct err *e)
{
    ssize_t n = wire_in_fill(&p->in);
    if (n < 0 && errno == ECONNRESET)
        n = 0; /* it ended without reading all that we said */
    if (n < 0)
        return errno == EAGAIN ? 0 : err_sys(e, "reading from its agent");
    if (n > 0 && p->state > PEER_OPENING)
        hear_bytes(p, n);
    p->hung_up = n == 0;
    if (n == 0)
        return p->in.greeted || !p->remote ? err_set(e, ERR_PROTO, "%s", p->remote ? "the connection was lost" :
                                                     "its agent went away")
                                           : wire_in_no_greeting(&p->in, e);
    if (!p->in.greeted) {
        struct wire_greeting g;
        int rc = wire_in_greeting(&p->in, &g, e);
        if (rc <= 0)
            return rc;
        p->fds = !p->remote && p->in.socket && g.caps & WIRE_CAP_FDS;
        if (p->run->settings.sha256 && g.minor < WIRE_MINOR_SHA256)
            return err_set(e, ERR_UNSUPPORTED, "its sos-sync is too old for `hash: sha256`, which this group asks for: "
                           "install a newer one there");
    }
    struct frame f;
    int rc = 0;
    while (peer_lives(p) && (rc = wire_in_frame(&p->in, &f, e)) > 0)
        if ((rc = p->run->take(p, &f, e)) < 0)
            break;
    return rc;
}

/* At most room bytes each way. */
static void serve(struct peer *p, short events, size_t room)
{
    struct err e;
    uint64_t before = p->in.total + p->out.total;
    p->in.most = room;
    if (events & (POLLIN | POLLHUP | POLLERR)) {
        int rc = take_input(p, &e);
        if (rc < 0)
            peer_fail(p, rc, "%s", e.msg);
    }
    /* A peer that is gone says why on its side of the link: let the reading find out. */
    if (peer_lives(p) && events & POLLOUT && wire_out_flush_most(&p->out, room) < 0 && errno != EPIPE)
        peer_fail(p, ERR_PROTO, "writing to its agent: %s", strerror(errno));
    if (p->metered)
        rate_take(&p->run->rate, p->in.total + p->out.total - before);
}

static void check_silence(struct run *r)
{
    int64_t limit = (int64_t)r->options->timeout * 1000;
    int64_t now = clock_mono_ms();
    int64_t away = r->turned ? now - r->turned - 10 * TURN_MS : 0;
    r->turned = now;
    /* We were stopped ourselves (^Z), and could not listen: that is no silence of theirs. */
    for (size_t i = 0; away > 0 && i < r->peers; i++)
        r->peer[i].heard += away;
    for (size_t i = 0; limit > 0 && i < r->peers; i++)
        if (peer_lives(&r->peer[i]) && now - r->peer[i].heard > limit)
            peer_fail(&r->peer[i], ERR_PROTO, "its agent has been silent for %u seconds", r->options->timeout);
}

/* What a peer is waited for; not its link while the rate is used up. */
static nfds_t watch(struct peer *p, size_t room, struct pollfd *fds)
{
    short out = wire_out_waiting(&p->out) ? POLLOUT : 0;
    fds[0] = (struct pollfd){.fd = p->metered && room == 0 ? -1 : p->link.fd, .events = (short)(POLLIN | out)};
    fds[1] = (struct pollfd){.fd = p->link.err_fd, .events = POLLIN};
    return p->remote ? 2 : 1;
}

/* The rate is shared by all links to other machines: each gets its part of what may go now. */
static size_t share(struct run *r)
{
    size_t room = rate_room(&r->rate, clock_mono_ms());
    return room == 0 || room / r->peers > 0 ? room / r->peers : 1;
}

int peers_turn(struct run *r, struct err *e)
{
    struct pollfd fds[2 * PLAN_MEMBERS_MAX];
    struct peer *who[2 * PLAN_MEMBERS_MAX];
    nfds_t n = 0;
    size_t room = share(r);
    int wait = rate_wait_ms(&r->rate);
    for (size_t i = 0; i < r->peers; i++) {
        struct peer *p = &r->peer[i];
        if (!peer_lives(p))
            continue;
        nfds_t k = watch(p, room, fds + n);
        for (nfds_t j = 0; j < k; j++)
            who[n++] = p;
    }
    if (poll(fds, n, wait && wait < TURN_MS ? wait : TURN_MS) > 0)
        for (nfds_t i = 0; i < n; i++) {
            if (!fds[i].revents || !peer_lives(who[i]))
                continue;
            if (fds[i].fd == who[i]->link.fd)
                serve(who[i], fds[i].revents, who[i]->metered ? room : SIZE_MAX);
            else
                remote_listen(who[i]);
        }
    check_silence(r);
    report_progress(r, false);
    if (!r->stopping && r->callbacks->interrupted && r->callbacks->interrupted(r->callbacks->ctx))
        return err_set(e, ERR_INTERRUPTED, "interrupted");
    return 0;
}

int peers_await(struct run *r, enum peer_state state, struct err *e)
{
    for (size_t i = 0; i < r->peers;) {
        if (r->peer[i].state != state) {
            i++;
            continue;
        }
        int rc = peers_turn(r, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
