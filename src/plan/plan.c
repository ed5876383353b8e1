#include "plan/plan.h"

#include "base/mem.h"
#include "base/path.h"
#include "plan/plan_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* One kind of answer, for a row of questions that are numbered from 0. */
struct answers {
    uint8_t *bits; /* NULL until the first that is yes */
    size_t bytes;
};

/* What is counted of the steps that hang on one branch, by how and by phase. */
struct pending {
    uint64_t branch;
    struct plan_totals totals[2][PLAN_PHASES]; /* [life] */
};

struct plan {
    unsigned members;
    char *tmpdir;
    bool ended;
    bool tells;
    bool dropped[PLAN_PHASES];
    struct plan_log log[PLAN_PHASES];
    uint64_t gives[PLAN_MEMBERS_MAX]; /* bytes that each member is to read as a source */
    uint64_t asks[PLAN_MEMBERS_MAX];
    uint64_t prunes;
    struct answers adopt[PLAN_MEMBERS_MAX], partial[PLAN_MEMBERS_MAX];
    uint64_t branches;
    struct answers life;              /* of branch number + 1 */
    struct pending **open;            /* branches, outer ones first */
    size_t opens;
    struct plan_totals phase[PLAN_PHASES], totals;
};

struct plan_cursor {
    struct plan *plan;
    bool by_path;
    unsigned phase;  /* of the last step */
    unsigned heads;  /* by_path: bit i: a step of phase i is waiting */
    uint64_t adopts; /* bit i: target i of the step has the content */
    uint64_t partial; /* bit i: it has a part of it */
    unsigned opened; /* bit i: so is the reader of phase i */
    struct plan_log_reader reader[PLAN_PHASES];
};

/* ---- answers ---- */

static bool answer(const struct answers *a, uint64_t n)
{
    return n / 8 < a->bytes && (a->bits[n / 8] >> n % 8 & 1);
}

/* most: the greatest number that is known so far. */
static void set_answer(struct answers *a, uint64_t n, uint64_t most)
{
    if (n / 8 >= a->bytes) {
        size_t bytes = (size_t)(most / 8) + 1;
        bytes = bytes > 2 * a->bytes ? bytes : 2 * a->bytes;
        a->bits = mem_resize(a->bits, bytes, 1);
        memset(a->bits + a->bytes, 0, bytes - a->bytes);
        a->bytes = bytes;
    }
    a->bits[n / 8] |= (uint8_t)(1u << n % 8);
}

/* ---- making it ---- */

struct plan *plan_new(unsigned members, const char *tmpdir)
{
    assert(members <= PLAN_MEMBERS_MAX);
    struct plan *p = mem_zalloc(sizeof *p);
    p->members = members;
    p->tmpdir = mem_strdup(tmpdir);
    for (unsigned i = 0; i < PLAN_PHASES; i++)
        plan_log_init(&p->log[i], p->tmpdir);
    return p;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < PLAN_PHASES; i++)
        plan_log_free(&p->log[i]);
    for (unsigned i = 0; i < p->members; i++) {
        free(p->adopt[i].bits);
        free(p->partial[i].bits);
    }
    while (p->opens)
        free(p->open[--p->opens]);
    free(p->open);
    free(p->life.bits);
    free(p->tmpdir);
    free(p);
}

static enum plan_action action_for(const struct verdict *v, unsigned i)
{
    if (v->need[i] == NEED_RECORD)
        return ACTION_RECORD;
    if (v->need[i] == NEED_PRUNE)
        return v->reason[i] == REASON_CONFLICT ? ACTION_CONFLICT : ACTION_PRUNE;
    if (v->need[i] == NEED_REMOVE)
        return v->row->at[i]->kind == ENTRY_DIR ? ACTION_RMDIR : ACTION_DELETE;
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
        struct plan_target *t = &s->target[s->targets++];
        *t = (struct plan_target){
            .member = (uint8_t)i,
            .need = v->need[i],
            .action = (uint8_t)action_for(v, i),
            .reason = v->reason[i],
            .content = v->need[i] == NEED_CONTENT && v->winner.kind != ENTRY_DIR,
            .basis = v->need[i] == NEED_CONTENT ? v->basis[i] : 0,
        };
        if (v->need[i] >= NEED_REMOVE) {
            t->object = v->row->at[i]->kind != ENTRY_DIR;
            t->kind = (uint8_t)v->row->at[i]->kind;
            t->size = v->row->at[i]->size;
            t->was = v->row->at[i]->digest;
        }
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

/* Who only lacks news of copies that are made now is told when they have arrived. */
static void put_off_records(struct plan_step *s, const struct plan_how *how)
{
    for (unsigned i = 0; i < s->targets; i++) {
        struct plan_target *t = &s->target[i];
        t->later = t->need == NEED_RECORD && how->later >> t->member & 1;
        t->told = t->later ? how->told[t->member] : 0;
    }
}

/*
 * The holder with the least to give so far, the lowest on a tie. A holder whose metadata is about to change, or is not the
 * winner's, is asked only when there is no other: its object is in motion while it would be read, or would pass for it.
 */
static unsigned pick_source(const struct plan *p, const struct verdict *v)
{
    unsigned best = PLAN_NOBODY, best_doubt = 0;
    for (unsigned i = 0; i < p->members; i++) {
        if (!(v->holders >> i & 1))
            continue;
        unsigned doubt = (v->unlike >> i & 1 ? 2u : 0u) + (v->need[i] > NEED_RECORD ? 1u : 0u);
        if (best != PLAN_NOBODY && (doubt > best_doubt || (doubt == best_doubt && p->gives[i] >= p->gives[best])))
            continue;
        best = i;
        best_doubt = doubt;
    }
    return best;
}

static void count_step(struct plan_totals *t, const struct plan_step *s)
{
    t->steps++;
    for (unsigned i = 0; i < s->targets; i++) {
        const struct plan_target *to = &s->target[i];
        t->count[to->action]++;
        t->ops[to->member]++;
        t->removes[to->member] += to->need == NEED_REMOVE && to->object;
        t->bytes += to->content ? s->entry.size : 0;
    }
}

static void add_totals(struct plan_totals *to, const struct plan_totals *t)
{
    to->steps += t->steps;
    to->objects += t->objects;
    to->bytes += t->bytes;
    to->lost += t->lost;
    to->prunes += t->prunes;
    for (unsigned i = 0; i < ACTION_KINDS; i++)
        to->count[i] += t->count[i];
    for (unsigned i = 0; i < PLAN_MEMBERS_MAX; i++) {
        to->ops[i] += t->ops[i];
        to->removes[i] += t->removes[i];
    }
}

/* Where what hangs like this is counted. */
static struct plan_totals *counter(struct plan *p, const struct plan_how *how)
{
    if (how->hang == HANG_ON_NOTHING)
        return &p->phase[how->phase];
    assert(p->opens > 0);
    return &p->open[p->opens - 1]->totals[how->hang == HANG_ON_LIFE][how->phase];
}

static void number_asks(struct plan *p, struct plan_step *s)
{
    for (unsigned i = 0; i < s->targets; i++)
        if (plan_asks(s, &s->target[i]))
            s->target[i].ask = p->asks[s->target[i].member]++;
}

int plan_add(struct plan *p, const struct verdict *v, uint64_t wanted, const struct plan_how *how, struct plan_step *step,
             struct err *e)
{
    assert(!p->ended);
    step->targets = 0;
    step->source = PLAN_NOBODY;
    step->holders = v->holders;
    step->phase = how->phase;
    step->from = how->from;
    step->keep = how->keep;
    step->before = how->before;
    step->after = how->after;
    step->prune = 0;
    if (v->skip)
        return 0;
    struct plan_totals *t = counter(p, how);
    bool again = how->keep != 0; /* the object has been counted with what else becomes of it */
    t->objects += !again && (v->winner.kind == ENTRY_FILE || v->winner.kind == ENTRY_LINK);
    t->lost += v->lost;
    if (!v->lost)
        take_targets(v, wanted & v->present, step);
    if (wants_content(step)) {
        step->source = pick_source(p, v);
        if (step->source == PLAN_NOBODY) {
            drop_content(step);
            t->lost++;
        } else {
            p->gives[step->source] += v->winner.size;
            put_off_records(step, how);
        }
    }
    if (!step->targets)
        return 0;
    entry_copy(&step->entry, &v->winner);
    count_step(t, step);
    if (again) {
        step->prune = p->prunes++;
        t->prunes++;
    }
    number_asks(p, step);
    struct plan_hook hook = {how->hang == HANG_ON_NOTHING ? 0 : p->open[p->opens - 1]->branch,
                             how->hang == HANG_ON_LIFE};
    return plan_log_add(&p->log[how->phase], step, &hook, e);
}

void plan_branch(struct plan *p)
{
    struct pending *b = mem_zalloc(sizeof *b);
    b->branch = ++p->branches;
    p->open = mem_resize(p->open, p->opens + 1, sizeof *p->open);
    p->open[p->opens++] = b;
}

void plan_settle(struct plan *p, bool life)
{
    assert(p->opens > 0);
    struct pending *b = p->open[--p->opens];
    if (life)
        set_answer(&p->life, b->branch, p->branches);
    for (unsigned i = 0; i < PLAN_PHASES; i++)
        add_totals(&p->phase[i], &b->totals[life][i]);
    free(b);
}

static void sum_up(struct plan *p)
{
    p->totals = (struct plan_totals){0};
    for (unsigned i = 0; i < PLAN_PHASES; i++) {
        struct plan_totals t = {.objects = p->phase[i].objects, .lost = p->phase[i].lost};
        add_totals(&p->totals, p->dropped[i] ? &t : &p->phase[i]);
    }
}

const struct plan_totals *plan_totals(struct plan *p)
{
    if (!p->ended)
        sum_up(p);
    return &p->totals;
}

int plan_end(struct plan *p, struct err *e)
{
    assert(p->opens == 0);
    p->ended = true;
    sum_up(p);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < PLAN_PHASES; i++)
        rc = plan_log_end(&p->log[i], e);
    return rc;
}

void plan_tell_begin(struct plan *p)
{
    assert(p->ended);
    p->tells = true;
}

bool plan_tells(const struct plan *p)
{
    return p->tells;
}

int plan_tell(struct plan *p, const struct plan_step *s, struct err *e)
{
    assert(p->tells);
    p->phase[PLAN_TELL].steps++;
    return plan_log_add(&p->log[PLAN_TELL], s, &(struct plan_hook){0, false}, e);
}

int plan_tell_end(struct plan *p, struct err *e)
{
    p->tells = false;
    return plan_log_end(&p->log[PLAN_TELL], e);
}

bool plan_has(const struct plan *p, enum plan_phase phase)
{
    return !p->dropped[phase] && p->phase[phase].steps > 0;
}

void plan_drop_removals(struct plan *p)
{
    for (unsigned i = PLAN_REMOVE; i <= PLAN_REPLACE_BELOW; i++)
        p->dropped[i] = true;
    sum_up(p);
}

bool plan_asks(const struct plan_step *s, const struct plan_target *t)
{
    return t->content && s->entry.kind == ENTRY_FILE && s->entry.size > 0;
}

void plan_set_adopt(struct plan *p, unsigned member, uint64_t ask)
{
    if (member < p->members && ask < p->asks[member])
        set_answer(&p->adopt[member], ask, p->asks[member]);
}

void plan_set_partial(struct plan *p, unsigned member, uint64_t ask)
{
    if (member < p->members && ask < p->asks[member])
        set_answer(&p->partial[member], ask, p->asks[member]);
}

/* ---- reading it ---- */

static struct plan_cursor *new_cursor(struct plan *p, bool by_path)
{
    assert(p->ended);
    struct plan_cursor *c = mem_alloc(sizeof *c);
    c->plan = p;
    c->by_path = by_path;
    c->phase = c->heads = c->opened = 0;
    c->adopts = c->partial = 0;
    return c;
}

struct plan_cursor *plan_cursor_new(struct plan *p)
{
    return new_cursor(p, false);
}

struct plan_cursor *plan_cursor_new_by_path(struct plan *p)
{
    return new_cursor(p, true);
}

void plan_cursor_free(struct plan_cursor *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < PLAN_PHASES; i++)
        if (c->opened >> i & 1)
            plan_log_reader_free(&c->reader[i]);
    free(c);
}

static void apply_answers(struct plan_cursor *c, struct plan_step *s)
{
    c->adopts = c->partial = 0;
    for (unsigned i = 0; i < s->targets; i++) {
        struct plan_target *t = &s->target[i];
        if (!plan_asks(s, t))
            continue;
        c->partial |= (uint64_t)answer(&c->plan->partial[t->member], t->ask) << i;
        if (!answer(&c->plan->adopt[t->member], t->ask))
            continue;
        c->adopts |= (uint64_t)1 << i;
        if (t->action != ACTION_CONFLICT)
            t->action = ACTION_ADOPT;
    }
}

/* The next step of a phase that holds, into its reader. 1, PLAN_NOT_YET, 0 at the end of the phase, or an error. */
static int next_of(struct plan_cursor *c, unsigned phase, struct err *e)
{
    const struct plan *p = c->plan;
    struct plan_hook hook;
    int rc = 0;
    if (p->dropped[phase])
        return 0;
    if (phase == PLAN_TELL && p->tells)
        return PLAN_NOT_YET;
    if (!(c->opened >> phase & 1))
        plan_log_reader_init(&c->reader[phase], &p->log[phase], p->members);
    c->opened |= 1u << phase;
    do
        rc = plan_log_reader_next(&c->reader[phase], &hook, e);
    while (rc > 0 && hook.branch && answer(&p->life, hook.branch) != hook.life);
    if (rc > 0)
        c->reader[phase].step.phase = (enum plan_phase)phase;
    return rc;
}

/* Phase by phase. */
static int next_in_order(struct plan_cursor *c, struct err *e)
{
    int rc = 0;
    while (c->phase < PLAN_PHASES && (rc = next_of(c, c->phase, e)) == 0)
        c->phase++;
    return rc;
}

static int by_path(const struct plan_log_reader *a, const struct plan_log_reader *b)
{
    return path_cmp(a->step.entry.path, a->step.entry.path_len, b->step.entry.path, b->step.entry.path_len);
}

/* Of the next steps of all phases the one with the least path. */
static int next_by_path(struct plan_cursor *c, struct err *e)
{
    unsigned none = c->heads ? 1u << c->phase : (1u << PLAN_PHASES) - 1;
    for (unsigned i = 0; i < PLAN_PHASES; i++) {
        if (!(none >> i & 1))
            continue;
        int rc = next_of(c, i, e);
        if (rc < 0 || rc == PLAN_NOT_YET)
            return rc;
        c->heads = rc ? c->heads | 1u << i : c->heads & ~(1u << i);
    }
    if (!c->heads)
        return 0;
    c->phase = (unsigned)__builtin_ctz(c->heads);
    for (unsigned i = c->phase + 1; i < PLAN_PHASES; i++)
        if (c->heads >> i & 1 && by_path(&c->reader[i], &c->reader[c->phase]) < 0)
            c->phase = i;
    return 1;
}

int plan_cursor_next(struct plan_cursor *c, const struct plan_step **s, struct err *e)
{
    int rc = c->by_path ? next_by_path(c, e) : next_in_order(c, e);
    if (rc != 1)
        return rc;
    struct plan_step *step = &c->reader[c->phase].step;
    apply_answers(c, step);
    *s = step;
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
    case ACTION_RMDIR: return "rmdir";
    case ACTION_DELETE: return "delete";
    case ACTION_PRUNE: return "prune";
    case ACTION_KINDS: break;
    }
    return "unknown";
}
