#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STOP_MS 3000  /* that what is under way has to end, once we are interrupted */
#define OUT_ENOUGH (256u * 1024u) /* bytes that may wait for one peer before we stop adding */

/* ---- streams: which targets get a step's content together, and how ---- */

/*
 * All targets that get the same bytes. Those that lack an object altogether share a bundle; those that have the same
 * older content share a patch; who has the beginning from an earlier run needs a patch of its own.
 */
struct stream {
    uint64_t targets;
    enum channel_kind kind; /* CHANNEL_BUNDLE or CHANNEL_PATCHES */
    unsigned key;
};

#define KEY_BUNDLE 0u                /* else a target's basis */
#define KEY_PARTIAL (UINT8_MAX + 1u) /* + the target's number */

static bool streams(const struct run *r, const struct plan_cursor *c, const struct plan_step *s, unsigned i)
{
    const struct peer *p = r->part[s->target[i].member];
    return s->target[i].content && !plan_cursor_adopts(c, i) && !peer_refuses(p, &s->target[i]) &&
           !(p->lent >> s->source & 1) && s->source != p->part;
}

static bool several(uint64_t targets)
{
    return targets & (targets - 1);
}

/* Its number, or 0. */
static uint16_t find_channel(const struct run *r, unsigned source, const struct stream *s)
{
    for (size_t i = 0; i < r->channels; i++)
        if (r->channel[i].kind == s->kind && r->channel[i].source == source && r->channel[i].targets == s->targets)
            return (uint16_t)(i + 1);
    return 0;
}

_Static_assert(MSG_CHANNELS_MAX > 3 * (PLAN_MEMBERS_MAX - 1), "there is a way from each member to each");

/*
 * There are more sets of targets than an agent has channels. Each pair of members may need three for itself; what is
 * left can be shared by several targets, first come, first served. Whoever was refused once is refused ever after.
 */
static bool may_share(const struct run *r, unsigned source, const struct stream *s)
{
    if (find_channel(r, source, s))
        return true;
    unsigned most = MSG_CHANNELS_MAX - 3 * (r->parts - 1);
    for (unsigned i = 0; i < r->parts; i++)
        if (((s->targets | 1ull << source) >> i & 1) && r->part[i]->shared >= most)
            return false;
    return true;
}

/* What sources and targets are told must agree: a function of the plan, and of may_share. Returns how many there are. */
static unsigned step_streams(const struct run *r, const struct plan_cursor *c, const struct plan_step *s,
                             struct stream *out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->targets; i++) {
        const struct plan_target *t = &s->target[i];
        if (!streams(r, c, s, i))
            continue;
        unsigned key = plan_cursor_partial(c, i) ? KEY_PARTIAL + t->member : t->basis, k = 0;
        while (k < n && out[k].key != key)
            k++;
        if (k == n)
            out[n++] = (struct stream){0, key == KEY_BUNDLE ? CHANNEL_BUNDLE : CHANNEL_PATCHES, key};
        out[k].targets |= 1ull << t->member;
    }
    for (unsigned k = 0, all = n; k < all; k++)
        while (several(out[k].targets) && !may_share(r, s->source, &out[k])) {
            uint64_t last = out[k].targets & (out[k].targets - 1);
            out[n] = out[k];
            out[n++].targets = out[k].targets & ~last;
            out[k].targets = last;
        }
    return n;
}

/* ---- channels ---- */

static uint16_t new_channel(struct run *r, enum channel_kind kind, unsigned source, uint64_t targets)
{
    r->channel = mem_resize(r->channel, r->channels + 1, sizeof *r->channel);
    r->channel[r->channels] = (struct channel){.kind = kind, .source = source, .targets = targets};
    return (uint16_t)++r->channels;
}

static struct channel *channel_at(struct run *r, uint16_t number)
{
    return number > 0 && number <= r->channels ? &r->channel[number - 1] : NULL;
}

static void end_channel(struct run *r, uint16_t number, const char *why)
{
    struct channel *c = channel_at(r, number);
    for (unsigned i = 0; i < r->parts && !c->ended; i++)
        if ((c->targets >> i & 1) && peer_lives(r->part[i]))
            message_put_text(&r->part[i]->out, MSG_DATA_END, number, why);
    c->ended = true;
}

/* Patches have a second channel, by which the lowest of their targets sends signatures. */
static uint16_t channel_of(struct run *r, unsigned source, const struct stream *s)
{
    uint16_t c = find_channel(r, source, s);
    if (c)
        return c;
    c = new_channel(r, s->kind, source, s->targets);
    for (unsigned i = 0; several(s->targets) && i < r->parts; i++)
        r->part[i]->shared += (unsigned)((s->targets | 1ull << source) >> i & 1);
    if (s->kind == CHANNEL_PATCHES) {
        uint16_t mate = new_channel(r, CHANNEL_SIGNATURES, (unsigned)__builtin_ctzll(s->targets), 1ull << source);
        r->channel[c - 1].mate = mate;
        r->channel[mate - 1].mate = c;
        if (!peer_lives(r->part[r->channel[mate - 1].source]))
            end_channel(r, mate, "the member that was to sign went away");
    }
    return c;
}

/* The source may send what the slowest living target can take. */
static void forward_credit(struct run *r, uint16_t number)
{
    struct channel *c = channel_at(r, number);
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < r->parts; i++)
        if ((c->targets >> i & 1) && peer_lives(r->part[i]) && c->granted[i] < least)
            least = c->granted[i];
    if (least == UINT64_MAX || least <= c->forwarded || !peer_lives(r->part[c->source]))
        return;
    message_put_number(&r->part[c->source]->out, MSG_CREDIT, number, least - c->forwarded);
    c->forwarded = least;
}

int transfer_credit(struct peer *from, struct frame *f, struct err *e)
{
    uint64_t n;
    int rc = message_get_number(f, &n, e);
    if (rc < 0)
        return rc;
    struct channel *c = channel_at(from->run, f->channel);
    if (!c || !(c->targets >> from->part & 1) || n > INT32_MAX)
        return err_set(e, ERR_PROTO, "credit for a channel that is not its own");
    c->granted[from->part] += n;
    forward_credit(from->run, f->channel);
    return 0;
}

int transfer_data(struct peer *from, struct frame *f, struct err *e)
{
    struct run *r = from->run;
    struct channel *c = channel_at(r, f->channel);
    if (!c || c->source != from->part || c->ended)
        return err_set(e, ERR_PROTO, "data for a channel that is not its own");
    c->arrived += rd_left(&f->body);
    if (c->arrived > c->forwarded)
        return err_set(e, ERR_PROTO, "data without credit on channel %u", f->channel);
    for (unsigned i = 0; i < r->parts; i++)
        if ((c->targets >> i & 1) && peer_lives(r->part[i]))
            wire_out_frame(&r->part[i]->out, f->type, f->channel, f->body.p, rd_left(&f->body));
    return 0;
}

int transfer_data_end(struct peer *from, struct frame *f, struct err *e)
{
    const char *why;
    size_t n;
    int rc = message_get_text(f, &why, &n, e);
    if (rc < 0)
        return rc;
    struct channel *c = channel_at(from->run, f->channel);
    if (!c || c->source != from->part)
        return err_set(e, ERR_PROTO, "the end of a channel that is not its own");
    char *text = mem_strndup(why, n);
    end_channel(from->run, f->channel, text);
    free(text);
    return 0;
}

void transfer_peer_died(struct peer *p)
{
    struct run *r = p->run;
    damage_peer_died(p);
    for (size_t i = 0; i < r->channels; i++) {
        struct channel *c = &r->channel[i];
        if (c->source == p->part && !c->ended) {
            end_channel(r, (uint16_t)(i + 1), "the member that was to give it went away");
            r->lost_source |= c->kind != CHANNEL_SIGNATURES; /* without a signature all of the content is sent */
        } else if (c->targets >> p->part & 1) {
            forward_credit(r, (uint16_t)(i + 1));
        }
    }
}

/* ---- targets: operations ---- */

/* The signature is asked for with the operation: it travels while earlier ones are carried out. */
static void send_streamed(struct peer *p, const struct plan_step *s, struct message_apply *m, const struct stream *by)
{
    struct run *r = p->run;
    uint16_t channel = channel_of(r, s->source, by);
    const struct channel *c = &r->channel[channel - 1];
    m->from = STORE_FROM_STREAM;
    if (c->kind == CHANNEL_PATCHES) {
        m->from = MSG_FROM_PATCH;
        if (r->channel[c->mate - 1].source == p->part)
            message_put_send(&p->out, MSG_SIGN, c->mate, &m->entry);
    }
    message_put_apply(&p->out, channel, m);
    if (!peer_lives(r->part[s->source])) {
        end_channel(r, channel, "the member that was to give it went away");
        r->lost_source = true;
    }
}

static void send_op(struct peer *p, const struct plan_step *s, const struct plan_target *t, unsigned index)
{
    static const uint8_t how[] = {
        [NEED_RECORD] = STORE_RECORD, [NEED_META] = STORE_META, [NEED_CONTENT] = STORE_CONTENT,
        [NEED_REMOVE] = STORE_REMOVE, [NEED_PRUNE] = STORE_PRUNE,
    };
    struct stream by[PLAN_MEMBERS_MAX];
    static const uint8_t why[] = {
        [REASON_CONFLICT] = STORE_WHY_CONFLICT, [REASON_KIND] = STORE_WHY_KIND, [REASON_DAMAGED] = STORE_WHY_DAMAGED,
        [REASON_DELETED] = STORE_WHY_DELETED, [REASON_SURPLUS] = STORE_WHY_PRUNED, [REASON_BLOCKED] = STORE_WHY_PRUNED,
        [REASON_DISALLOWED] = STORE_WHY_PRUNED,
    };
    struct message_apply m = {.seq = ++p->sent, .how = how[t->need], .from = STORE_FROM_NOWHERE,
                              .from_path = s->from, .lender = s->source,
                              .why = t->reason < sizeof why ? why[t->reason] : STORE_WHY_OVERWRITTEN};
    entry_copy(&m.entry, &s->entry);
    m.entry.flags = 0;
    if (t->need == NEED_PRUNE) { /* it may have an older version, which nobody has brought up to date */
        m.entry.kind = (enum entry_kind)t->kind;
        m.entry.size = t->size;
        m.entry.digest = t->was;
        m.entry.mode = t->kind == ENTRY_LINK ? ENTRY_MODE_MAX : m.entry.mode;
        if (t->kind == ENTRY_DIR)
            m.entry.mtime = (struct stamp){0, 0};
    }
    if (t->content && (plan_cursor_adopts(p->cursor, index) || peer_refuses(p, t) || s->source == p->part)) {
        m.from = STORE_FROM_SELF;
    } else if (t->content && streams(p->run, p->cursor, s, index)) {
        unsigned k = 0;
        step_streams(p->run, p->cursor, s, by);
        while (!(by[k].targets >> p->part & 1))
            k++;
        send_streamed(p, s, &m, &by[k]);
        return;
    } else if (t->content) {
        m.from = STORE_FROM_ROOT;
    }
    message_put_apply(&p->out, 0, &m);
}

/* The target's next step, if it is one of this stage. 1, 0 when there is none, or an error. */
static int next_step(struct peer *p, struct err *e)
{
    int rc = p->step || p->cursor_end ? 0 : plan_cursor_next(p->cursor, &p->step, e);
    if (rc < 0)
        return rc;
    p->cursor_end = !p->step && rc != PLAN_NOT_YET;
    p->held = !p->step || p->step->phase > p->run->stage;
    return !p->held;
}

/* Is the member to be given this target's operation now? */
static bool is_due(const struct peer *p, const struct plan_step *s, const struct plan_target *t)
{
    const struct run *r = p->run;
    bool left = r->left[s->phase] || (s->phase == PLAN_PRUNE && prune_refused(r, s));
    return t->member == p->part && !t->later && !left;
}

/* Gives a target as many operations as it may have under way. 0 or an error. */
static int fill_target(struct peer *p, struct err *e)
{
    p->held |= p->run->stopping;
    while (peer_lives(p) && !p->held && p->sent - p->done < MSG_OPS_MAX && wire_out_waiting(&p->out) < OUT_ENOUGH) {
        int rc = next_step(p, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        if (p->step->phase == PLAN_PRUNE && !prune_known(p->run, p->step))
            break;
        for (unsigned i = 0; i < p->step->targets; i++)
            if (is_due(p, p->step, &p->step->target[i]))
                send_op(p, p->step, &p->step->target[i], i);
        p->step = NULL;
        p->step_no++;
    }
    if (peer_lives(p) && p->held && !p->flushed) {
        wire_out_frame(&p->out, MSG_FLUSH, 0, NULL, 0);
        p->flushed = true;
    }
    return 0;
}

/* ---- sources: what to put in which bundle ---- */

/* A source is asked for an object only after all its targets were told to expect it: their windows then bound its queue too. */
static bool expected(const struct run *r, uint64_t targets, uint64_t step_no)
{
    for (unsigned i = 0; i < r->parts; i++)
        if ((targets >> i & 1) && peer_lives(r->part[i]) && r->part[i]->step_no <= step_no)
            return false;
    return true;
}

static bool any_lives(const struct run *r, uint64_t targets)
{
    for (unsigned i = 0; i < r->parts; i++)
        if ((targets >> i & 1) && peer_lives(r->part[i]))
            return true;
    return false;
}

static void end_sends(struct peer *p)
{
    struct run *r = p->run;
    p->sends_end = true;
    for (size_t i = 0; i < r->channels; i++)
        if (r->channel[i].source == p->part && r->channel[i].kind != CHANNEL_SIGNATURES)
            wire_out_frame(&p->out, MSG_SEND_END, (uint16_t)(i + 1), NULL, 0);
}

static void send_send(struct peer *p, const struct plan_step *s, const struct stream *by)
{
    struct run *r = p->run;
    uint16_t channel = channel_of(r, p->part, by);
    const struct channel *c = &r->channel[channel - 1];
    if (!any_lives(r, by->targets))
        return;
    struct entry want;
    entry_copy(&want, &s->entry);
    if (s->from) {
        want.path = s->from;
        want.path_len = strlen(s->from);
    }
    if (c->kind == CHANNEL_PATCHES)
        message_put_send_delta(&p->out, channel, c->mate, &want);
    else
        message_put_send(&p->out, MSG_SEND, channel, &want);
}

static int fill_source(struct peer *p, struct err *e)
{
    struct run *r = p->run;
    struct stream by[PLAN_MEMBERS_MAX];
    while (peer_lives(p) && !p->sends_end && wire_out_waiting(&p->out) < OUT_ENOUGH) {
        if (!p->send_step) {
            int rc = plan_cursor_next(p->sends, &p->send_step, e);
            if (rc < 0)
                return rc;
            if (rc == 0)
                end_sends(p);
            if (rc != 1)
                break;
        }
        const struct plan_step *s = p->send_step;
        if (s->phase > r->stage)
            break;
        unsigned n = s->source == p->part && !r->left[s->phase] ? step_streams(r, p->sends, s, by) : 0;
        uint64_t all = 0;
        for (unsigned i = 0; i < n; i++)
            all |= by[i].targets;
        if (all && !expected(r, all, p->send_no))
            break;
        for (unsigned i = 0; i < n; i++)
            send_send(p, s, &by[i]);
        p->send_no++;
        p->send_step = NULL;
    }
    return 0;
}

/* ---- the transfer ---- */

/* Every target may read from the roots of the group's other local members. */
static void lend_roots(struct run *r)
{
    for (unsigned t = 0; t < r->parts && !r->options->through; t++)
        for (unsigned s = 0; s < r->parts; s++) {
            int fd = s == t || !r->part[t]->fds || r->part[s]->root < 0 ? -1 : fcntl(r->part[s]->root, F_DUPFD_CLOEXEC, 3);
            if (fd < 0)
                continue; /* then content goes through us */
            if (wire_out_pass(&r->part[t]->out, fd) < 0) {
                close(fd);
                continue;
            }
            r->part[t]->lent |= 1ull << s;
            message_put_number(&r->part[t]->out, MSG_LEND, 0, s);
        }
}

static bool stage_finished(const struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++) {
        const struct peer *p = r->part[i];
        if (peer_lives(p) && (!p->flushed || p->done < p->sent || p->suspect))
            return false;
    }
    return true;
}

/*
 * What replaces a version that lost waits until that is kept, and records that it is settled. So where it could not be kept
 * neither may be done: it would be lost, and nobody would see a conflict any more.
 */
static void leave_what_waits(struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++)
        r->keep_failed |= !peer_lives(r->part[i]);
    bool below = r->stage >= PLAN_KEEP_BELOW;
    if (!r->keep_failed || !plan_has(r->plan, below ? PLAN_KEEP_BELOW : PLAN_KEEP))
        return;
    for (unsigned i = below ? PLAN_REPLACE_BELOW : PLAN_REPLACE; i <= PLAN_REPLACE_BELOW; i++)
        r->left[i] = true;
}

/* What arrived is known, and the cursors may go on. */
static int end_telling(struct run *r, struct err *e)
{
    int rc = report_advance(r, e);
    return rc < 0 ? rc : plan_tell_end(r->plan, e);
}

/* All that came before is durable everywhere: what waited for that begins. 1, 0 when nothing did, or an error. */
static int next_stage(struct run *r, struct err *e)
{
    unsigned next = PLAN_PHASES;
    int rc;
    for (unsigned i = 0; i < r->parts; i++) {
        const struct peer *p = r->part[i];
        if (peer_lives(p) && p->step && p->step->phase < next)
            next = p->step->phase;
    }
    if (next == PLAN_PHASES && plan_tells(r->plan)) {
        next = PLAN_TELL;
        if ((rc = end_telling(r, e)) < 0)
            return rc;
    }
    if (next == PLAN_PHASES)
        return 0;
    if ((r->stage < PLAN_REPLACE && next >= PLAN_REPLACE) ||
        (r->stage < PLAN_REPLACE_BELOW && next >= PLAN_REPLACE_BELOW))
        leave_what_waits(r);
    r->stage = next;
    for (unsigned i = 0; i < r->parts; i++)
        r->part[i]->held = r->part[i]->flushed = false;
    return 1;
}

/* A turn. An interruption gives what is under way a little while to end in order. */
static int turn(struct run *r, int64_t *stop_by, struct err *e)
{
    int rc = peers_turn(r, e);
    if (rc != ERR_INTERRUPTED)
        return rc;
    r->stopping = true;
    *stop_by = clock_mono_ms() + STOP_MS;
    return 0;
}

static int carry_out_stage(struct run *r, struct err *e)
{
    int rc = 0;
    int64_t stop_by = INT64_MAX;
    while (rc == 0 && !stage_finished(r) && clock_mono_ms() < stop_by) {
        rc = prune_advance(r, e);
        for (unsigned i = 0; i < r->parts && rc == 0; i++)
            rc = fill_target(r->part[i], e);
        for (unsigned i = 0; i < r->parts && rc == 0; i++)
            rc = fill_source(r->part[i], e);
        if (rc == 0 && !stage_finished(r))
            rc = turn(r, &stop_by, e);
        if (rc == 0)
            rc = report_advance(r, e);
    }
    return rc == 0 && r->stopping ? err_set(e, ERR_INTERRUPTED, "interrupted") : rc;
}

static int carry_out(struct run *r, struct err *e)
{
    int rc;
    do
        rc = carry_out_stage(r, e);
    while (rc == 0 && (rc = next_stage(r, e)) > 0);
    return rc;
}

/* Where everybody can read from everybody there are no bundles, and nobody need look for his objects in the plan. */
static bool any_streams(const struct run *r)
{
    uint64_t all = r->parts < 64 ? (1ull << r->parts) - 1 : UINT64_MAX;
    for (unsigned i = 0; i < r->parts; i++)
        if ((r->part[i]->lent | 1ull << i) != all)
            return true;
    return false;
}

int transfer_run(struct run *r, struct err *e)
{
    r->phase = SOS_PHASE_TRANSFER;
    report_begin(r);
    if (damage_scrubs(r) && r->options->no_heal)
        return 0; /* what was found is in the manifests, and has been told */
    if (!r->options->dry_run && plan_totals(r->plan)->steps > 0) {
        lend_roots(r);
        prune_begin(r);
        r->stage = PLAN_ADD;
        r->keep_failed = r->told_else = false;
        if (r->allot)
            plan_tell_begin(r->plan);
        memset(r->left, 0, sizeof r->left);
        for (unsigned i = 0; i < r->parts; i++) {
            r->part[i]->cursor = plan_cursor_new(r->plan);
            r->part[i]->sends = plan_cursor_new(r->plan);
            r->part[i]->sends_end = !any_streams(r);
        }
        int rc = carry_out(r, e);
        if (rc < 0)
            return rc;
    }
    return report_advance(r, e);
}
