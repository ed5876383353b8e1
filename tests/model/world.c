#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "hooks.h"
#include "tree.h"

/* ---- small things ---- */

bool known_has(const struct known *k, int event)
{
    return event >= 0 && k->bit[event / 64] >> (event % 64) & 1;
}

void known_add(struct known *k, int event)
{
    k->bit[event / 64] |= (uint64_t)1 << (event % 64);
}

void known_join(struct known *k, const struct known *other)
{
    for (size_t i = 0; i < WORLD_EVENTS / 64; i++)
        k->bit[i] |= other->bit[i];
}

bool known_within(const struct known *k, const struct known *other)
{
    uint64_t beyond = 0;
    for (size_t i = 0; i < WORLD_EVENTS / 64; i++)
        beyond |= k->bit[i] & ~other->bit[i];
    return beyond == 0;
}

int world_parent(const struct world *w, int path)
{
    return path < WORLD_PLAIN ? path / 3 - 1 : world_parent(w, w->kept[path - WORLD_PLAIN].stem);
}

bool world_within(const struct world *w, int path, int top)
{
    for (; path >= 0; path = world_parent(w, path))
        if (path == top)
            return true;
    return false;
}

char *world_path(const struct world *w, int path, char out[WORLD_TEXT])
{
    static const char names[WORLD_NAMES] = "abd";
    char up[WORLD_TEXT];
    if (path >= WORLD_PLAIN)
        snprintf(out, WORLD_TEXT, "%s", w->kept[path - WORLD_PLAIN].name);
    else if (path < 3)
        snprintf(out, WORLD_TEXT, "%c", names[path]);
    else
        snprintf(out, WORLD_TEXT, "%.50s/%c", world_path(w, world_parent(w, path), up), names[path % 3]);
    return out;
}

int world_path_of(const struct world *w, const char *text)
{
    char at[WORLD_TEXT];
    for (int p = 0; p < w->paths; p++)
        if (strcmp(world_path(w, p, at), text) == 0)
            return p;
    return -1;
}

int world_kept(struct world *w, const char *text, int content)
{
    static const char mark[] = ".conflict-";
    char stem[WORLD_TEXT];
    const char *at = NULL, *more = text;
    while ((more = strstr(more, mark)))
        at = more++;
    if (!at || content < 0 || w->paths == (int)WORLD_PATHS || strlen(text) >= WORLD_TEXT)
        return -1;
    snprintf(stem, sizeof stem, "%.*s", (int)(at - text), text);
    int p = world_path_of(w, stem), k = w->paths - WORLD_PLAIN;
    if (p < 0)
        return -1;
    snprintf(w->kept[k].name, sizeof w->kept[k].name, "%s", text);
    w->kept[k].stem = p;
    w->kept[k].content = content;
    w->tainted[w->paths] = w->tainted[p];
    w->counts.kept++;
    return w->paths++;
}

int64_t world_now(void)
{
    return hooks_now(0).sec;
}

char *world_root(const struct world *w, unsigned m, char out[512])
{
    snprintf(out, 512, "%s/m%u%s", w->story.base, m, w->away[m] ? ".away" : "");
    return out;
}

int world_event(struct world *w, int content)
{
    if (w->events == WORLD_EVENTS)
        abort();
    w->event_content[w->events] = content;
    return (int)w->events++;
}

int world_content(struct world *w, const struct digest *d, const char *label)
{
    for (size_t i = 0; i < w->contents; i++)
        if (digest_same(&w->content[i].digest, d))
            return (int)i;
    if (!label)
        return -1;
    if (w->contents == WORLD_CONTENTS)
        abort();
    w->content[w->contents].digest = *d;
    snprintf(w->content[w->contents].label, sizeof w->content[0].label, "%s", label);
    return (int)w->contents++;
}

/* ---- a run ---- */

struct plan_of_run {
    unsigned named;       /* mask of members on the command line */
    unsigned took_part;   /* of these: can be reached */
    unsigned order[WORLD_MEMBERS], n;
    bool dry, checksum, through, sandbox, scrub, all_may_go;
    int remove;           /* path; -1: this is no command to remove anything */
    unsigned driver;      /* whose clock it has */
    enum { CUT_NOT, CUT_AGENT, CUT_RUN, CUT_TURN, CUT_ASKED } cut;
    unsigned cut_at, victim;
    int64_t jump;         /* seconds until it begins */
};

struct listener {
    struct run_result *r;
    const struct plan_of_run *p;
    unsigned asked;
    struct world *w;
};

static void on_action(void *ctx, const struct sos_action *a)
{
    struct listener *l = ctx;
    char text[600];
    l->r->actions++;
    int n = snprintf(text, sizeof text, "%s %s %s %ju %s ", a->action, a->path, a->to, (uintmax_t)a->bytes, a->reason);
    l->r->told_less += digest_check(text, strlen(text));
    snprintf(text + n, sizeof text - (size_t)n, "%s", a->from ? a->from : "-");
    l->r->told += digest_check(text, strlen(text));
    story_action(&l->w->story, a);
}

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    struct listener *l = ctx;
    l->r->limited |= strstr(t->message, "more than max-delete") != NULL;
    story_trouble(&l->w->story, t, t->error ? l->r->trouble : NULL);
}

static bool on_turn(void *ctx)
{
    struct listener *l = ctx;
    bool now = ++l->asked == l->p->cut_at;
    if (now && l->p->cut == CUT_TURN)
        raise(SIGKILL);
    return l->p->cut == CUT_ASKED && l->asked >= l->p->cut_at;
}

static void set_options(const struct plan_of_run *p, struct sos_options *o)
{
    story_options(o);
    o->dry_run = p->dry;
    o->checksum = p->checksum;
    o->through = p->through;
    o->no_sandbox = !p->sandbox;
    o->scrub_part = o->scrub_parts = p->scrub;
    o->recursive = p->remove >= 0;
    o->max_delete_given = o->max_delete_percent = p->all_may_go;
    o->max_delete = 100;
}

/* A policy may name only members that its groups have. */
static void write_policy(struct world *w, const unsigned *order, unsigned n)
{
    const struct settings *s = &w->settings;
    const char *conflict = s->conflict == CONFLICT_KEEP_BOTH ? "keep-both" : "newest";
    char file[560], winner[560];
    snprintf(file, sizeof file, "%s/policy", w->story.base);
    snprintf(winner, sizeof winner, "%s/m%u", w->story.base, s->winner);
    for (unsigned i = 0; i < n; i++)
        if (s->conflict == CONFLICT_MEMBER && order[i] == s->winner)
            conflict = winner;
    FILE *f = fopen(file, "w");
    if (!f) {
        story_fail(&w->story, "the test cannot make %s: %s", file, strerror(errno));
        return;
    }
    fprintf(f, "[default]\ndeletions: %s\nconflict: %s\ntombstones: %lldd\n", s->propagate ? "propagate" : "restore",
            conflict, (long long)(s->tombstones / 86400));
    if (s->trash)
        fprintf(f, "trash: %lldd\n", (long long)(s->trash / 86400));
    else
        fprintf(f, "trash: off\n");
    if (s->max_delete)
        fprintf(f, "max-delete: %u\n", s->max_delete);
    fclose(f);
}

static void say_settings(struct world *w)
{
    static const char *const conflicts[] = {"newest", "keep-both", "m0", "m1", "m2", "m3", "m4"};
    const struct settings *s = &w->settings;
    story_say(&w->story, "  deletions: %s, conflict: %s, tombstones: %lldd, trash: %lldd, max-delete: %u\n",
              s->propagate ? "propagate" : "restore", conflicts[s->conflict + (s->conflict == CONFLICT_MEMBER ? s->winner : 0)], (long long)(s->tombstones / 86400),
              (long long)(s->trash / 86400), s->max_delete);
}

struct sos_groups *world_group(struct world *w, const unsigned *order, unsigned n)
{
    char root[WORLD_MEMBERS][512], *member[WORLD_MEMBERS], policy[560];
    struct sos_error error;
    for (unsigned i = 0; i < n; i++) {
        snprintf(root[i], sizeof root[i], "%s/m%u", w->story.base, order[i]);
        member[i] = root[i];
    }
    snprintf(policy, sizeof policy, "%s/policy", w->story.base);
    write_policy(w, order, n);
    struct sos_groups *g = sos_groups_of(member, n, &error);
    if (g && sos_groups_policy(g, policy, &error))
        return g;
    story_fail(&w->story, "no group: %s", error.message);
    sos_groups_free(g);
    return NULL;
}

static enum sos_status drive(void *ctx)
{
    const struct listener *l = ctx;
    struct world *w = l->w;
    const struct plan_of_run *p = l->p;
    char path[WORLD_TEXT];
    enum sos_status status = SOS_OK;
    struct sos_options o;
    const struct sos_callbacks c = {.ctx = ctx, .action = on_action, .trouble = on_trouble, .interrupted = on_turn};
    struct sos_groups *g = world_group(w, p->order, p->n);
    const char *const gone = p->remove >= 0 ? world_path(w, p->remove, path) : NULL;
    set_options(p, &o);
    o.remove = &gone;
    o.removes = gone != NULL;
    if (g)
        status = sos_sync(g, 0, &o, &c);
    sos_groups_free(g);
    return status;
}

static void draw_run(const struct world *w, uint64_t arg, struct plan_of_run *p)
{
    static const unsigned jumps[] = {0, 0, 1, 4, 60, 60, 3600, 86400};
    static const int64_t rarely[32] = {25 * 86400, 450 * 86400, 4 * 86400, 8 * 86400};
    *p = (struct plan_of_run){.remove = -1, .driver = (unsigned)(arg >> 56 & 7) % w->members, .named = (unsigned)(arg & 31) | (unsigned)(arg >> 5 & arg >> 10 & 31)};
    if (arg >> 15 & 1)
        p->named = 31;
    p->named &= (1u << w->members) - 1;
    unsigned turn = (unsigned)(arg >> 16 & 7) % w->members;
    bool back = arg >> 19 & 1;
    for (unsigned i = 0; i < w->members; i++) {
        unsigned m = (back ? w->members - 1 - i + turn : i + turn) % w->members;
        if (p->named >> m & 1)
            p->order[p->n++] = m;
    }
    p->dry = (arg >> 20 & 7) == 0;
    p->checksum = (arg >> 23 & 7) == 0;
    p->through = (arg >> 26 & 3) == 0;
    p->sandbox = (arg >> 28 & 15) == 0;
    if ((arg >> 32 & 3) == 0 && !p->dry) {
        p->cut = CUT_AGENT + (unsigned)(arg >> 34 & 3) % 4;
        unsigned span = p->cut == CUT_AGENT || p->cut == CUT_RUN ? 60 : 40;
        p->cut_at = 1 + (unsigned)(arg >> 36 & 255) % (1 + (unsigned)(arg >> 44 & 63) % span);
        p->sandbox &= p->cut != CUT_RUN; /* which keeps an agent from killing anybody */
        p->victim = p->n ? p->order[(arg >> 50 & 7) % p->n] : 0;
    }
    p->jump = jumps[arg >> 53 & 7] + rarely[arg >> 59];
}

/*
 * Who is away is named only where somebody reachable is certain to miss it: else the run would begin a new store in its
 * place, as it should. false: too few are left.
 */
static bool choose_members(const struct world *w, struct plan_of_run *p)
{
    unsigned n = 0, reached = 0;
    for (unsigned i = 0; i < p->n; i++)
        reached |= w->away[p->order[i]] ? 0 : 1u << p->order[i];
    for (unsigned i = 0; i < p->n; i++) {
        unsigned m = p->order[i];
        bool missed = false;
        for (unsigned q = 0; q < w->members; q++)
            missed |= (reached >> q & 1) && w->met[q][m];
        if (!w->away[m] || missed)
            p->order[n++] = m;
        else
            p->named &= ~(1u << m);
    }
    p->n = n;
    p->took_part = reached;
    return __builtin_popcount(reached) >= 2;
}

static void snapshots(const struct world *w, struct digest out[WORLD_MEMBERS])
{
    char root[512];
    for (unsigned m = 0; m < w->members; m++)
        out[m] = tree_snapshot(world_root(w, m, root));
}

static void check_untouched(struct world *w, const struct digest before[WORLD_MEMBERS], unsigned mask, const char *why)
{
    char root[512];
    for (unsigned m = 0; m < w->members; m++)
        if (mask >> m & 1) {
            struct digest now = tree_snapshot(world_root(w, m, root));
            if (!digest_same(&now, &before[m]))
                story_fail(&w->story, "m%u was changed though %s", m, why);
        }
}

static void say_run(struct world *w, const struct plan_of_run *p, const struct run_result *r)
{
    static const char *const cuts[] = {"", ", an agent killed", ", killed by an agent's call", ", killed in a turn",
                                       ", interrupted"};
    char path[WORLD_TEXT];
    story_say(&w->story, "    %s%s over", p->remove >= 0 ? "removes " : p->scrub ? "scrub" : "run",
              p->remove >= 0 ? world_path(w, p->remove, path) : "");
    for (unsigned i = 0; i < p->n; i++)
        story_say(&w->story, " m%u%s", p->order[i], w->away[p->order[i]] ? "(away)" : "");
    story_say(&w->story, ", by m%u's clock, after %lld s", p->driver, (long long)p->jump);
    story_say(&w->story, "%s%s%s%s", p->dry ? ", dry" : "", p->checksum ? ", --checksum" : "", p->through ? ", --through" : "",
              cuts[p->cut]);
    if (p->cut == CUT_AGENT || p->cut == CUT_RUN)
        story_say(&w->story, " (m%u)", p->victim);
    if (p->cut)
        story_say(&w->story, " at %u", p->cut_at);
    if (r->killed)
        story_say(&w->story, ": killed\n");
    else
        story_say(&w->story, ": status %d%s%s\n", (int)r->status, r->trouble[0] ? ", " : "", r->trouble);
}

static void judge(struct world *w, const struct plan_of_run *p, struct run_result *r)
{
    struct before *b = mem_alloc(sizeof *b);
    memcpy(b->look, w->look, sizeof b->look);
    memcpy(b->copy, w->copy, sizeof b->copy);
    memcpy(b->present, w->present, sizeof b->present);
    memcpy(b->stored, w->stored, sizeof b->stored);
    memcpy(b->trashed, w->trashed, sizeof b->trashed);
    memcpy(b->since, w->since, sizeof b->since);
    r->took_part = p->took_part;
    r->dry = p->dry;
    r->scrub = p->scrub;
    r->all_may_go = p->all_may_go;
    r->remove = p->remove;
    judge_look(w);
    judge_run(w, b, r);
    free(b);
}

static void run(struct world *w, const struct plan_of_run *p, struct run_result *r)
{
    struct digest before[WORLD_MEMBERS];
    struct listener l = {r, p, 0, w};
    *r = (struct run_result){.cut = p->cut != CUT_NOT};
    hooks_jump(p->jump);
    hooks_drive(hooks_agent[p->driver].ahead);
    r->now = hooks_now(hooks_agent[p->driver].ahead).sec;
    judge_look(w);
    snapshots(w, before);
    if (p->cut == CUT_AGENT || p->cut == CUT_RUN) {
        hooks_agent[p->victim].fault = p->cut == CUT_AGENT ? HOOKS_KILL : HOOKS_KILL_RUN;
        hooks_agent[p->victim].at = p->cut_at;
    }
    hooks_reset_calls();
    if (p->cut && p->cut != CUT_ASKED)
        r->status = story_apart(&w->story, drive, &l, &r->killed);
    else
        r->status = drive(&l);
    hooks_agent[p->victim].fault = HOOKS_NONE;
    say_run(w, p, r);
    unsigned all = (1u << w->members) - 1;
    check_untouched(w, before, p->dry ? all : all & ~p->took_part, p->dry ? "the run was dry" : "it took no part");
    judge(w, p, r);
    w->counts.runs++;
    w->counts.dry += p->dry;
    w->counts.killed += r->killed;
    w->counts.actions += p->dry ? 0 : r->actions;
    w->counts.removed += p->remove >= 0;
    w->counts.scrubbed += p->scrub;
    w->counts.limited += r->limited;
    bool whole = !p->dry && !r->killed && !r->cut && (r->status == SOS_OK || r->status == SOS_GUARD);
    for (unsigned a = 0; whole && a < w->members; a++)
        for (unsigned b = 0; b < w->members; b++)
            w->met[a][b] |= (p->took_part >> a & 1) && (p->took_part >> b & 1);
}

/* ---- the end ---- */

static bool find_doubt(const struct world *w, bool doubt[WORLD_PATHS])
{
    bool any = false;
    for (int p = 0; p < w->paths; p++)
        any |= doubt[p] = judge_doubtful(w, p);
    return any;
}

static void check_healed(struct world *w, const bool doubt[WORLD_PATHS])
{
    char path[WORLD_TEXT];
    for (unsigned m = 0; m < w->members; m++)
        for (int p = 0; p < w->paths; p++)
            if (w->copy[m][p].damaged && !doubt[p])
                story_fail(&w->story, "%s of m%u was not healed", world_path(w, p, path), m);
}

static bool any_damage(const struct world *w)
{
    for (unsigned m = 0; m < w->members; m++)
        for (int p = 0; p < w->paths; p++)
            if (w->copy[m][p].damaged)
                return true;
    return false;
}

/*
 * All are there; one full run, then one that finds nothing to do. Damage takes --checksum to be found; that there was
 * some is trouble of that run, even where it was healed.
 */
static void finish(struct world *w)
{
    struct plan_of_run p = {.named = (1u << w->members) - 1, .checksum = true, .jump = 3600, .remove = -1,
                            .all_may_go = true};
    struct run_result r;
    bool doubtful[WORLD_PATHS];
    for (unsigned m = 0; m < w->members; m++)
        acts_put_back(w, m);
    for (unsigned m = 0; m < w->members; m++)
        p.order[p.n++] = m;
    choose_members(w, &p);
    story_say(&w->story, "  at the end\n");
    judge_look(w);
    bool doubt = find_doubt(w, doubtful), damage = any_damage(w);
    run(w, &p, &r);
    if (r.status != SOS_OK && !doubt && !damage)
        story_fail(&w->story, "the final run ended with status %d: %s", (int)r.status, r.trouble);
    check_healed(w, doubtful);
    judge_equal(w, p.took_part);
    p.checksum = false;
    if (!w->story.failure[0])
        run(w, &p, &r);
    if (!doubt && (r.status != SOS_OK || r.actions > 0))
        story_fail(&w->story, "a second run had %llu actions and status %d: %s", (unsigned long long)r.actions, (int)r.status,
                   r.trouble);
    judge_equal(w, p.took_part);
}

/* ---- a world ---- */

void world_op_text(const struct world *w, const struct op *op, char *out, size_t size)
{
    static const char *const names[OP_KINDS] = {"edits", "makes a symlink", "makes a directory", "deletes", "chmods",
                                                "touches", "renames", "damages", "goes away", "is back", "restores from the trash",
                                                "removes", "scrub", "run"};
    char path[WORLD_TEXT], other[WORLD_TEXT];
    if (op->kind == OP_RENAME)
        snprintf(out, size, "m%u renames %s to %s", op->member, world_path(w, op->path, path),
                 world_path(w, op->other, other));
    else if (op->kind == OP_AWAY || op->kind == OP_BACK)
        snprintf(out, size, "m%u %s", op->member, names[op->kind]);
    else
        snprintf(out, size, "m%u %s %s", op->member, names[op->kind], world_path(w, op->path, path));
    struct look l = w->look[op->member][op->path];
    size_t n = strlen(out);
    if ((op->kind == OP_EDIT || op->kind == OP_LINK || op->kind == OP_DAMAGE || op->kind == OP_RESTORE) && l.content >= 0 && n < size)
        snprintf(out + n, size - n, ": %s, %lld.%09u", w->content[l.content].label, (long long)l.mtime.sec, l.mtime.nsec);
}

void world_init(struct world *w, uint64_t seed, const char *base, size_t ops)
{
    *w = (struct world){.story = {.seed = seed, .base = base}, .paths = WORLD_PLAIN};
    hooks_init(base);
    acts_draw(w, ops);
    for (unsigned m = 0; m < w->members; m++)
        for (int p = 0; p < (int)WORLD_PATHS; p++)
            w->copy[m][p].event = -1;
}

/* Something that is never touched, so that no store comes up empty, which is a guard's business. */
static void make_stores(struct world *w)
{
    char root[512], file[560];
    for (unsigned m = 0; m < w->members; m++) {
        world_root(w, m, root);
        snprintf(file, sizeof file, "%s/keep", root);
        int fd = mkdir(root, 0755) == 0 ? open(file, O_WRONLY | O_CREAT | O_EXCL, 0644) : -1;
        const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
        if (fd < 0 || write(fd, "keep", 4) != 4 || futimens(fd, times) < 0)
            story_fail(&w->story, "the test cannot make %s: %s", file, strerror(errno));
        close(fd);
        snprintf(hooks_agent[m].root, sizeof hooks_agent[m].root, "%s", root);
        story_say(&w->story, "  m%u: clock %+lld s\n", m, (long long)hooks_agent[m].ahead);
    }
    struct digest d = tree_digest(false, "keep", 4);
    world_content(w, &d, "keep");
}

/* What a dry run announced is what the run does that follows it, and the same whatever the order of members. */
static void check_announced(struct world *w, struct plan_of_run *p, const struct run_result *dry)
{
    struct run_result r;
    struct plan_of_run q = *p;
    bool sure = !judge_damage(w, p->took_part);
    for (unsigned i = 0; i < p->n; i++)
        q.order[i] = p->order[p->n - 1 - i];
    q.jump = 0;
    run(w, &q, &r);
    if (sure && r.told_less != dry->told_less)
        story_fail(&w->story, "in another order of members other actions are announced");
    p->dry = false;
    p->jump = 0;
    if (!w->story.failure[0])
        run(w, p, &r);
    if (sure && r.told != dry->told)
        story_fail(&w->story, "a dry run announced other actions than the run carried out");
}

static bool is_there(const struct world *w, unsigned mask, int path)
{
    for (unsigned m = 0; m < w->members; m++)
        if ((mask >> m & 1) && w->look[m][path].kind != KIND_NONE)
            return true;
    return false;
}

static bool have_been_in_runs(const struct world *w, unsigned mask)
{
    for (unsigned m = 0; m < w->members; m++)
        if ((mask >> m & 1) && !w->met[m][m])
            return false;
    return true;
}

static void play_run(struct world *w, const struct op *op, size_t i)
{
    struct plan_of_run p;
    struct run_result r;
    draw_run(w, op->arg, &p);
    p.scrub = op->kind == OP_SCRUB;
    p.remove = op->kind == OP_REMOVE ? op->path : -1;
    if (!choose_members(w, &p) || (p.remove >= 0 && !is_there(w, p.took_part, p.remove)) ||
        (p.scrub && !have_been_in_runs(w, p.took_part)))
        return;
    story_say(&w->story, "  %zu:\n", i);
    run(w, &p, &r);
    if (p.dry && !w->story.failure[0])
        check_announced(w, &p, &r);
}

/*
 * Now and then it is about something that a run has kept. Nobody makes an object of such a name who has not had it: the
 * version that it was given belongs to another path's history, and would pass for a successor of that.
 */
static struct op redirected(const struct world *w, const struct op *op)
{
    struct op at = *op;
    if (w->paths == WORLD_PLAIN || (op->arg >> 50 & 7) != 0)
        return at;
    int path = (int)(WORLD_PLAIN + (op->arg >> 53) % (uint64_t)(w->paths - WORLD_PLAIN));
    const struct copy *c = &w->copy[op->member][path];
    if (c->kind != KIND_NONE || c->grave != GRAVE_NONE)
        at.path = (uint8_t)path;
    return at;
}

static void play_op(struct world *w, size_t i)
{
    char text[700];
    struct op at = redirected(w, &w->op[i]), *op = &at;
    if (op->kind == OP_RUN || op->kind == OP_REMOVE || op->kind == OP_SCRUB) {
        play_run(w, op, i);
        return;
    }
    if (!acts_do(w, op))
        return;
    judge_look_at(w, op->member);
    world_op_text(w, op, text, sizeof text);
    story_say(&w->story, "  %zu: %s\n", i, text);
}

bool world_play(struct world *w)
{
    char root[512];
    make_stores(w);
    say_settings(w);
    judge_look(w);
    for (size_t i = 0; i < w->story.ops && !w->story.failure[0]; i++)
        if (w->story.keep[i])
            play_op(w, i);
    if (!w->story.failure[0])
        finish(w);
    for (unsigned m = 0; m < w->members; m++)
        tree_remove(world_root(w, m, root));
    snprintf(root, sizeof root, "%s/policy", w->story.base);
    tree_remove(root);
    return !w->story.failure[0];
}

void world_free(struct world *w)
{
    buf_free(&w->story.log);
}
