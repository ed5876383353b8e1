#include "plan/plan.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "object/manifest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPILL_AT (512u << 10) /* bytes of steps that are kept before they go to the file */
#define WINDOW (256u << 10)   /* bytes that a cursor reads at once */

/*
 * A step as it is kept: u32 length of what follows; the entry; varint of holders; u8 source; u8 number of
 * targets; for each target u8 member, u8 need | action << 2 | content << 5, u8 reason, u8 basis.
 */
#define STEP_MAX (PATH_LEN_MAX + VERSION_MEMBERS_MAX * (16 + 10) + PLAN_MEMBERS_MAX * 4 + 512)
#define STEP_HEAD 4u

static_assert(NEED_CONTENT < 4 && ACTION_KINDS <= 8, "need and action share a byte");
static_assert(STEP_MAX + STEP_HEAD <= WINDOW, "a window holds every step");

/* One kind of answer to a member's asks. */
struct ask_bits {
    uint8_t *bits; /* NULL until the first such answer */
    size_t bytes;
};

struct plan {
    unsigned members;
    char *tmpdir;
    int fd;            /* -1: nothing was spilled, all steps are in tail */
    bool ended;
    struct buf tail;   /* steps that are not in the file */
    uint64_t filed;    /* bytes in the file */
    uint64_t gives[PLAN_MEMBERS_MAX]; /* bytes that each member is to read as a source */
    struct ask_bits adopt[PLAN_MEMBERS_MAX], partial[PLAN_MEMBERS_MAX];
    struct plan_totals totals;
};

struct plan_cursor {
    struct plan *plan;
    uint64_t at;          /* offset of the next step in the plan */
    uint8_t *window;      /* NULL when the plan is in memory */
    uint64_t window_from; /* offset of the window's first byte */
    size_t window_len;
    uint64_t asks[PLAN_MEMBERS_MAX]; /* each member's asks so far */
    uint64_t adopts;      /* bit i: target i of step has the content */
    uint64_t partial;     /* bit i: it has a part of it */
    struct plan_step step;
    char path[PATH_LEN_MAX + 1];
};

struct plan *plan_new(unsigned members, const char *tmpdir)
{
    assert(members <= PLAN_MEMBERS_MAX);
    struct plan *p = mem_zalloc(sizeof *p);
    p->members = members;
    p->tmpdir = mem_strdup(tmpdir);
    p->fd = -1;
    return p;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    if (p->fd >= 0)
        close(p->fd);
    for (unsigned i = 0; i < p->members; i++) {
        free(p->adopt[i].bits);
        free(p->partial[i].bits);
    }
    buf_free(&p->tail);
    free(p->tmpdir);
    free(p);
}

const struct plan_totals *plan_totals(const struct plan *p)
{
    return &p->totals;
}

static int spill(struct plan *p, struct err *e)
{
    if (p->fd < 0)
        p->fd = file_unnamed(p->tmpdir);
    if (p->fd < 0)
        return err_sys(e, "%s: temporary file for the plan", p->tmpdir);
    if (file_write(p->fd, p->tail.data, p->tail.len) < 0)
        return err_sys(e, "%s: writing the plan's temporary file", p->tmpdir);
    p->filed += p->tail.len;
    p->tail.len = 0;
    return 0;
}

static void put_step(struct buf *out, const struct plan_step *s)
{
    size_t from = out->len;
    buf_u32(out, 0);
    manifest_put_entry(out, &s->entry);
    buf_varint(out, s->holders);
    buf_u8(out, (uint8_t)s->source);
    buf_u8(out, (uint8_t)s->targets);
    for (unsigned i = 0; i < s->targets; i++) {
        const struct plan_target *t = &s->target[i];
        buf_u8(out, t->member);
        buf_u8(out, (uint8_t)(t->need | t->action << 2 | (t->content ? 1 << 5 : 0)));
        buf_u8(out, t->reason);
        buf_u8(out, t->basis);
    }
    size_t end = out->len;
    out->len = from;
    buf_u32(out, (uint32_t)(end - from - STEP_HEAD));
    out->len = end;
}

static enum plan_action action_for(const struct verdict *v, unsigned i)
{
    if (v->need[i] == NEED_RECORD)
        return ACTION_RECORD;
    if (v->reason[i] == REASON_CONFLICT)
        return ACTION_CONFLICT;
    if (v->winner.kind == ENTRY_DIR)
        return ACTION_MKDIR;
    return v->had >> i & 1 ? ACTION_UPDATE : ACTION_COPY;
}

/* Puts the members of the set that lack something into the step. */
static void take_targets(const struct verdict *v, uint64_t set, struct plan_step *s)
{
    for (; set; set &= set - 1) {
        unsigned i = (unsigned)__builtin_ctzll(set);
        if (v->need[i] == NEED_NOTHING)
            continue;
        s->target[s->targets++] = (struct plan_target){
            .member = (uint8_t)i,
            .need = v->need[i],
            .action = (uint8_t)action_for(v, i),
            .reason = v->reason[i],
            .content = v->need[i] == NEED_CONTENT && v->winner.kind != ENTRY_DIR,
            .basis = v->need[i] == NEED_CONTENT ? v->basis[i] : 0,
        };
    }
}

static bool wants_content(const struct plan_step *s)
{
    for (unsigned i = 0; i < s->targets; i++)
        if (s->target[i].content)
            return true;
    return false;
}

static void drop_content(struct plan_step *s)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < s->targets; i++)
        if (!s->target[i].content)
            s->target[kept++] = s->target[i];
    s->targets = kept;
}

/*
 * The holder with the least to give so far, the lowest on a tie. A holder whose metadata is about to change
 * is asked only when there is no other: its object is in motion while it would be read.
 */
static unsigned pick_source(const struct plan *p, const struct verdict *v)
{
    unsigned best = PLAN_NOBODY;
    bool best_moves = true;
    for (unsigned i = 0; i < p->members; i++) {
        if (!(v->holders >> i & 1))
            continue;
        bool moves = v->need[i] > NEED_RECORD;
        if (best != PLAN_NOBODY &&
            (moves > best_moves || (moves == best_moves && p->gives[i] >= p->gives[best])))
            continue;
        best = i;
        best_moves = moves;
    }
    return best;
}

static void count_step(struct plan *p, const struct plan_step *s)
{
    p->totals.steps++;
    for (unsigned i = 0; i < s->targets; i++) {
        const struct plan_target *t = &s->target[i];
        p->totals.count[t->action]++;
        p->totals.ops[t->member]++;
        p->totals.asks[t->member] += plan_asks(s, t);
        p->totals.bytes += t->content ? s->entry.size : 0;
    }
}

int plan_add(struct plan *p, const struct verdict *v, uint64_t wanted, struct plan_step *step,
             struct err *e)
{
    assert(!p->ended);
    step->targets = 0;
    step->source = PLAN_NOBODY;
    step->holders = v->holders;
    if (v->skip)
        return 0;
    p->totals.objects += v->winner.kind != ENTRY_DIR;
    p->totals.lost += v->lost;
    if (!v->lost)
        take_targets(v, wanted & v->present, step);
    if (wants_content(step)) {
        step->source = pick_source(p, v);
        if (step->source == PLAN_NOBODY) {
            drop_content(step);
            p->totals.lost++;
        } else {
            p->gives[step->source] += v->winner.size;
        }
    }
    if (!step->targets)
        return 0;
    entry_copy(&step->entry, &v->winner);
    count_step(p, step);
    put_step(&p->tail, step);
    return p->tail.len >= SPILL_AT ? spill(p, e) : 0;
}

int plan_end(struct plan *p, struct err *e)
{
    p->ended = true;
    if (p->fd < 0)
        return 0;
    int rc = spill(p, e);
    buf_free(&p->tail);
    return rc;
}

bool plan_asks(const struct plan_step *s, const struct plan_target *t)
{
    return t->content && s->entry.kind == ENTRY_FILE && s->entry.size > 0;
}

static void set_bit(struct plan *p, struct ask_bits *of, unsigned member, uint64_t ask)
{
    if (member >= p->members || ask >= p->totals.asks[member])
        return;
    struct ask_bits *a = of + member;
    if (ask / 8 >= a->bytes) { /* to the last ask known: one allocation when the plan has ended */
        size_t bytes = (size_t)(p->totals.asks[member] / 8) + 1;
        a->bits = mem_resize(a->bits, bytes, 1);
        memset(a->bits + a->bytes, 0, bytes - a->bytes);
        a->bytes = bytes;
    }
    a->bits[ask / 8] |= (uint8_t)(1u << ask % 8);
}

void plan_set_adopt(struct plan *p, unsigned member, uint64_t ask)
{
    set_bit(p, p->adopt, member, ask);
}

void plan_set_partial(struct plan *p, unsigned member, uint64_t ask)
{
    set_bit(p, p->partial, member, ask);
}

static bool has_bit(const struct ask_bits *a, uint64_t ask)
{
    return ask / 8 < a->bytes && (a->bits[ask / 8] >> ask % 8 & 1);
}

struct plan_cursor *plan_cursor_new(struct plan *p)
{
    assert(p->ended);
    struct plan_cursor *c = mem_zalloc(sizeof *c);
    c->plan = p;
    c->window = p->fd < 0 ? NULL : mem_alloc(WINDOW);
    return c;
}

void plan_cursor_free(struct plan_cursor *c)
{
    if (!c)
        return;
    free(c->window);
    free(c);
}

/* The bytes at the cursor, at least a whole step unless the plan ends in it; NULL with e. */
static const uint8_t *look(struct plan_cursor *c, size_t *left, struct err *e)
{
    const struct plan *p = c->plan;
    if (!c->window) {
        *left = p->tail.len - (size_t)c->at;
        return *left ? p->tail.data + c->at : (const uint8_t *)"";
    }
    size_t used = (size_t)(c->at - c->window_from);
    bool more = c->window_from + c->window_len < p->filed;
    if (more && c->window_len - used < STEP_HEAD + STEP_MAX) {
        uint64_t rest = p->filed - c->at;
        size_t want = rest < WINDOW ? (size_t)rest : WINDOW;
        ssize_t got = file_pread(p->fd, c->window, want, (off_t)c->at);
        if (got < 0) {
            err_sys(e, "%s: reading the plan's temporary file", p->tmpdir);
            return NULL;
        }
        c->window_from = c->at;
        c->window_len = (size_t)got;
        used = 0;
    }
    *left = c->window_len - used;
    return c->window + used;
}

static bool get_targets(struct rd *in, unsigned members, struct plan_step *s)
{
    s->holders = rd_varint(in);
    s->source = rd_u8(in);
    s->targets = rd_u8(in);
    if (s->targets > members)
        return false;
    for (unsigned i = 0; i < s->targets; i++) {
        struct plan_target *t = &s->target[i];
        t->member = rd_u8(in);
        uint8_t packed = rd_u8(in);
        t->need = packed & 3;
        t->action = packed >> 2 & 7;
        t->content = packed >> 5 & 1;
        t->reason = rd_u8(in);
        t->basis = rd_u8(in);
        if (t->member >= members || t->action >= ACTION_KINDS)
            return false;
    }
    return rd_done(in) && (s->source < members || s->source == PLAN_NOBODY);
}

static void apply_answers(struct plan_cursor *c)
{
    struct plan_step *s = &c->step;
    c->adopts = c->partial = 0;
    for (unsigned i = 0; i < s->targets; i++) {
        struct plan_target *t = &s->target[i];
        if (!plan_asks(s, t))
            continue;
        uint64_t ask = c->asks[t->member]++;
        c->partial |= (uint64_t)has_bit(&c->plan->partial[t->member], ask) << i;
        if (!has_bit(&c->plan->adopt[t->member], ask))
            continue;
        c->adopts |= (uint64_t)1 << i;
        if (t->action != ACTION_CONFLICT)
            t->action = ACTION_ADOPT;
    }
}

int plan_cursor_next(struct plan_cursor *c, const struct plan_step **s, struct err *e)
{
    const struct plan *p = c->plan;
    if (c->at == (p->fd < 0 ? p->tail.len : p->filed))
        return 0;
    size_t left;
    const uint8_t *bytes = look(c, &left, e);
    if (!bytes)
        return e ? e->code : ERR_SYS;
    struct rd head = rd_of(bytes, left);
    uint32_t len = rd_u32(&head);
    if (head.bad || len > rd_left(&head))
        return err_set(e, ERR_FORMAT, "%s: the plan's temporary file is damaged", p->tmpdir);
    struct rd in = rd_of(bytes + STEP_HEAD, len);
    int rc = manifest_get_entry(&in, c->path, &c->step.entry, e);
    if (rc < 0)
        return err_wrap(e, "%s: the plan's temporary file", p->tmpdir);
    if (!get_targets(&in, p->members, &c->step))
        return err_set(e, ERR_FORMAT, "%s: the plan's temporary file is damaged", p->tmpdir);
    c->at += STEP_HEAD + len;
    apply_answers(c);
    *s = &c->step;
    return 1;
}

bool plan_cursor_adopts(const struct plan_cursor *c, unsigned target_index)
{
    return target_index < PLAN_MEMBERS_MAX && (c->adopts >> target_index & 1);
}

bool plan_cursor_partial(const struct plan_cursor *c, unsigned target_index)
{
    return target_index < PLAN_MEMBERS_MAX && (c->partial >> target_index & 1);
}

const char *plan_action_name(enum plan_action a)
{
    switch (a) {
    case ACTION_RECORD: return "record";
    case ACTION_MKDIR: return "mkdir";
    case ACTION_COPY: return "copy";
    case ACTION_UPDATE: return "update";
    case ACTION_ADOPT: return "adopt";
    case ACTION_CONFLICT: return "conflict";
    case ACTION_KINDS: break;
    }
    return "unknown";
}
