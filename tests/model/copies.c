#include "copies.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "hooks.h"
#include "tree.h"

#define DAY 86400
#define FULL (COPIES_TEXT + 40u) /* bytes of a full path */

/* ---- small things ---- */

char *copies_root(const struct copies_world *w, unsigned m, char out[COPIES_TEXT])
{
    snprintf(out, COPIES_TEXT, "%.500s/m%u%s", w->story.base, m, w->away[m] ? ".away" : "");
    return out;
}

unsigned copies_group(const struct copies_world *w, unsigned group)
{
    unsigned out = 0;
    for (unsigned m = 0; m < w->members; m++)
        out |= w->group[m] == group ? 1u << m : 0;
    return out;
}

int64_t copies_day(int64_t seconds)
{
    return (hooks_now(0).sec + seconds) / DAY;
}

bool copies_near(const struct copies_world *w, unsigned group)
{
    return w->met_all[group] && hooks_now(0).sec - w->met_at[group] < 6 * DAY;
}

/* ---- what people do ---- */

static void make_file(struct copies_world *w, const char *file, const char *text, size_t size, int64_t mtime)
{
    const struct timespec times[2] = {{.tv_sec = mtime}, {.tv_sec = mtime}};
    size_t n = strlen(text);
    char *p = mem_zalloc(size > n ? size : n);
    memcpy(p, text, n);
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, p, size > n ? size : n) < 0 || futimens(fd, times) < 0)
        story_fail(&w->story, "the test cannot write %s: %s", file, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(p);
}

/* Contents are told apart by their beginning; sizes are few. */
static void write_version(struct copies_world *w, unsigned m, unsigned p, unsigned version)
{
    static const size_t sizes[] = {20, 20, 20, 300, 5000};
    char file[FULL], root[COPIES_TEXT], text[64];
    snprintf(file, sizeof file, "%s/%s", copies_root(w, m, root), asked_path[p]);
    for (char *slash = file + strlen(root); (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(file, 0755);
        *slash = '/';
    }
    snprintf(text, sizeof text, "v%u of %s, g%u\n", version, asked_path[p], w->group[m]);
    size_t size = sizes[version % 5] > strlen(text) ? sizes[version % 5] : strlen(text);
    char *whole = mem_zalloc(size);
    memcpy(whole, text, strlen(text));
    w->version[version].digest = tree_digest(false, whole, size);
    free(whole);
    make_file(w, file, text, size, 1500000000 + 10 * (int64_t)version);
}

static bool edit(struct copies_world *w, const struct copies_op *op)
{
    if (w->versions == COPIES_VERSIONS)
        return false;
    unsigned v = w->versions++;
    w->version[v].group = w->group[op->member];
    w->version[v].path = op->path;
    write_version(w, op->member, op->path, v);
    story_say(&w->story, "m%u edits %s: v%u\n", op->member, asked_path[op->path], v);
    return true;
}

/* The latest version comes to a member behind our back, from elsewhere. */
static bool edit_same(struct copies_world *w, const struct copies_op *op)
{
    int last = -1;
    for (unsigned m = 0; m < w->members; m++)
        if (w->group[m] == w->group[op->member] && w->look[m][op->path] > last)
            last = w->look[m][op->path];
    if (last < 0 || w->look[op->member][op->path] == last)
        return false;
    write_version(w, op->member, op->path, (unsigned)last);
    story_say(&w->story, "m%u is given %s: v%d\n", op->member, asked_path[op->path], last);
    return true;
}

static bool delete(struct copies_world *w, const struct copies_op *op)
{
    char file[FULL], root[COPIES_TEXT];
    if (w->look[op->member][op->path] < 0)
        return false;
    snprintf(file, sizeof file, "%s/%s", copies_root(w, op->member, root), asked_path[op->path]);
    tree_remove(file);
    w->path[w->group[op->member]][op->path].settled &= ~(1u << op->member);
    story_say(&w->story, "m%u loses %s\n", op->member, asked_path[op->path]);
    return true;
}

/* Whoever is away is missed by others: else a run would begin a new store in its place, as it should. */
static bool go_away(struct copies_world *w, unsigned m, bool away)
{
    char from[COPIES_TEXT], to[COPIES_TEXT];
    unsigned here = 0;
    for (unsigned i = 0; i < w->members; i++)
        here += w->group[i] == w->group[m] && !w->away[i];
    if (w->away[m] == away || (away && (here < 2 || !w->met_all[w->group[m]])))
        return false;
    copies_root(w, m, from);
    w->away[m] = away;
    if (rename(from, copies_root(w, m, to)) < 0)
        story_fail(&w->story, "the test cannot rename %s: %s", from, strerror(errno));
    story_say(&w->story, "m%u %s\n", m, away ? "goes away" : "is back");
    return true;
}

static void say_policy(struct copies_world *w)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        abort();
    asked_write(&w->asked, f);
    fclose(f);
    for (char *line = text, *rest = text; (line = strsep(&rest, "\n"));)
        if (line[0])
            story_say(&w->story, "        %s\n", line);
    free(text);
}

static void new_policy(struct copies_world *w, const struct copies_op *op)
{
    uint64_t s = op->arg;
    asked_draw(&w->asked, &s, w->group, w->members, copies_day(0));
    story_say(&w->story, "the policy changes\n");
    say_policy(w);
}

/* ---- runs ---- */

/* What is random about a run. */
struct drawn {
    bool back, checksum, through, stat;
    enum { CUT_NOT, CUT_KILL, CUT_KILL_RUN, CUT_EIO, CUT_ENOSPC } cut;
    unsigned at, victim;
};

struct listener {
    struct copies_world *w;
    const struct drawn *d;
    struct copies_run *r;
};

static uint64_t sum_of(const char *text)
{
    return digest_check(text, strlen(text));
}

static void on_action(void *ctx, const struct sos_action *a)
{
    struct listener *l = ctx;
    char text[600];
    snprintf(text, sizeof text, "%s %s %s %ju %s", a->action, a->path, a->to, (uintmax_t)a->bytes, a->reason);
    uint64_t sum = sum_of(text), *to = &l->r->told_else;
    for (size_t i = 0; i < a->befores; i++)
        sum += 3 * sum_of(a->before[i]);
    for (size_t i = 0; i < a->afters; i++)
        sum += 5 * sum_of(a->after[i]);
    for (unsigned p = 0; p < ASKED_PATHS; p++)
        if (strcmp(a->path, asked_path[p]) == 0)
            to = &l->r->told[p];
    *to += sum;
    l->r->actions++;
    story_action(&l->w->story, a);
}

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    struct listener *l = ctx;
    story_trouble(&l->w->story, t, l->r->trouble);
}

static bool write_conf(struct copies_world *w, const char *file, bool back)
{
    FILE *f = fopen(file, "w");
    for (unsigned g = 0; f && g < w->groups; g++) {
        fprintf(f, "[g%u]\n", g);
        for (unsigned i = 0; i < w->members; i++) {
            unsigned m = w->order[back ? w->members - 1 - i : i];
            if (w->group[m] == g)
                fprintf(f, "m%u: %s/m%u\n", m, w->story.base, m);
        }
    }
    return f && fclose(f) == 0;
}

/* An object that no policy takes from anybody, so that no store comes up empty, which is a guard's business. */
static bool write_policy(struct copies_world *w, const char *file)
{
    FILE *f = fopen(file, "w");
    if (!f)
        return false;
    fprintf(f, "[default]\ntrash: 900d\n");
    asked_write(&w->asked, f);
    for (unsigned g = 0; g < w->groups; g++)
        fprintf(f, "[group g%u: /keep]\nreplication: allowed\nreplicas: all\npreferred:\nblocked:\n", g);
    return fclose(f) == 0;
}

static struct sos_groups *load(struct copies_world *w, bool back)
{
    struct sos_error error = {"cannot write its files"};
    struct sos_groups *g = NULL;
    char *conf = mem_printf("%s/conf", w->story.base), *policy = mem_printf("%s/policy", w->story.base);
    if (write_conf(w, conf, back) && write_policy(w, policy))
        g = sos_groups_load(conf, &error);
    if (g && !sos_groups_policy(g, policy, &error)) {
        sos_groups_free(g);
        g = NULL;
    }
    if (!g)
        story_fail(&w->story, "no groups: %s", error.message);
    free(conf);
    free(policy);
    return g;
}

static enum sos_status drive(void *ctx)
{
    const struct listener *l = ctx;
    struct copies_world *w = l->w;
    const struct drawn *d = l->d;
    struct copies_run *r = l->r;
    enum sos_status status = SOS_OK;
    struct sos_options o;
    const struct sos_callbacks c = {.ctx = ctx, .action = on_action, .trouble = on_trouble};
    struct sos_groups *g = load(w, d->back);
    story_options(&o);
    o.dry_run = r->dry;
    o.checksum = d->checksum;
    o.through = d->through;
    o.prune_stat = d->stat;
    if (g)
        status = sos_sync(g, r->group, &o, &c);
    sos_groups_free(g);
    return status;
}

static void say_run(struct copies_world *w, const struct drawn *d, const struct copies_run *r)
{
    static const char *const cuts[] = {"", ", kill", ", kill-run", ", EIO", ", ENOSPC"};
    story_say(&w->story, "run over g%u%s%s%s%s%s%s", r->group, r->dry ? ", dry" : "", d->back ? ", members turned around" : "",
               d->checksum ? ", --checksum" : "", d->through ? ", --through" : "", d->stat ? ", --prune-check=stat" : "",
               cuts[d->cut]);
    if (d->cut)
        story_say(&w->story, " at %u of m%u", d->at, d->victim);
    if (r->killed)
        story_say(&w->story, ": killed\n");
    else
        story_say(&w->story, ": status %d, %u actions%s%s\n", (int)r->status, r->actions, r->trouble[0] ? ", " : "", r->trouble);
}

static void set_fault(const struct drawn *d)
{
    static const enum hooks_fault faults[] = {HOOKS_NONE, HOOKS_KILL, HOOKS_KILL_RUN, HOOKS_EIO, HOOKS_ENOSPC};
    hooks_agent[d->victim].fault = faults[d->cut];
    hooks_agent[d->victim].at = d->at;
}

static void check_untouched(struct copies_world *w, const struct digest before[ASKED_MEMBERS], const struct copies_run *r)
{
    char root[COPIES_TEXT];
    for (unsigned m = 0; m < w->members; m++) {
        struct digest now = tree_snapshot(copies_root(w, m, root));
        if ((r->dry || !(r->reached >> m & 1)) && !digest_same(&now, &before[m]))
            story_fail(&w->story, "m%u was changed though %s", m, r->dry ? "the run was dry" : "it took no part");
    }
}

static void run(struct copies_world *w, const struct drawn *d, struct copies_run *r)
{
    struct digest before[ASKED_MEMBERS];
    struct copies_before b;
    struct listener l = {w, d, r};
    char root[COPIES_TEXT];
    copies_see(w);
    memcpy(b.look, w->look, sizeof b.look);
    for (unsigned i = 0; i < w->versions; i++)
        b.present[i] = w->present[i] || w->orphan[i];
    for (unsigned m = 0; m < w->members; m++) {
        before[m] = tree_snapshot(copies_root(w, m, root));
        r->reached |= w->group[m] == r->group && !w->away[m] ? 1u << m : 0;
    }
    r->cut = d->cut != CUT_NOT;
    r->back = d->back;
    r->victim = d->victim;
    r->full = d->cut == CUT_ENOSPC;
    if (r->cut) {
        hooks_reset_calls();
        set_fault(d);
        r->status = story_apart(&w->story, drive, &l, &r->killed);
        set_fault(&(struct drawn){.victim = d->victim});
    } else {
        r->status = drive(&l);
    }
    say_run(w, d, r);
    copies_see(w);
    check_untouched(w, before, r);
    copies_judge(w, &b, r);
    w->counts.runs++;
    w->counts.dry += r->dry;
    w->counts.cut += r->cut;
    if (r->reached == copies_group(w, r->group) && !r->dry && !r->cut && !w->story.failure[0]) {
        w->met_all[r->group] = true;
        w->met_at[r->group] = hooks_now(0).sec;
    }
}

/* What two runs told of each path; with any order of members only what does not hang on it. */
static void compare(struct copies_world *w, const struct copies_run *a, const struct copies_run *b, bool turned, const char *what)
{
    bool all = true;
    for (unsigned p = 0; p < ASKED_PATHS; p++) {
        bool firm = !turned || copies_firm(w, a->group, p);
        all &= firm;
        if (firm && a->told[p] != b->told[p])
            story_fail(&w->story, "%s: other actions for %s", what, asked_path[p]);
    }
    if (all && a->told_else != b->told_else)
        story_fail(&w->story, "%s: other actions for what is no path of the world's", what);
}

/* A dry run, one by another driver, and the run: all say the same. Then there is nothing to do. */
static void run_announced(struct copies_world *w, struct drawn *d, unsigned group)
{
    struct copies_run dry = {.group = group, .dry = true}, turned = dry, r = {.group = group}, again = r;
    run(w, d, &dry);
    d->back = !d->back;
    if (!w->story.failure[0])
        run(w, d, &turned);
    d->back = !d->back;
    compare(w, &dry, &turned, true, "in another order of members");
    if (!w->story.failure[0])
        run(w, d, &r);
    compare(w, &dry, &r, false, "a dry run announced something else");
    if (!w->story.failure[0] && dry.status != r.status)
        story_fail(&w->story, "a dry run ended with status %d, and the run with %d", (int)dry.status, (int)r.status);
    if (!w->story.failure[0])
        run(w, d, &again);
    if (again.actions || again.status != r.status)
        story_fail(&w->story, "a second run had %u actions and status %d, after %d", again.actions, (int)again.status, (int)r.status);
}

static struct drawn draw_run(const struct copies_world *w, const struct copies_op *op, unsigned group)
{
    static const unsigned jumps[] = {0, 1, 4, 60, 3600, DAY, 3 * DAY, 8 * DAY};
    uint64_t s = op->arg;
    struct drawn d = {.back = asked_below(&s, 4) == 0, .checksum = asked_below(&s, 6) == 0, .through = asked_below(&s, 4) == 0,
                      .stat = asked_below(&s, 5) == 0, .victim = op->member};
    unsigned span = asked_below(&s, 2) ? 12 : 60, here = 0, away = 0;
    for (unsigned m = 0; m < w->members; m++) {
        here += w->group[m] == group && !w->away[m];
        away += w->group[m] == group && w->away[m];
    }
    d.at = 1 + asked_below(&s, span);
    if (asked_below(&s, 3) == 0)
        d.cut = CUT_KILL + asked_below(&s, 4);
    if (w->group[d.victim] != group || w->away[d.victim] || (away && here < 3))
        d.cut = CUT_NOT; /* whoever is left must miss who is away */
    hooks_jump(jumps[asked_below(&s, 8)]);
    return d;
}

static void play_run(struct copies_world *w, const struct copies_op *op)
{
    unsigned group = w->group[op->member];
    struct drawn d = draw_run(w, op, group);
    struct copies_run r = {.group = group};
    if (d.cut == CUT_NOT && op->arg >> 60 & 1)
        run_announced(w, &d, group);
    else
        run(w, &d, &r);
}

/* ---- a world ---- */

static void draw_ops(struct copies_world *w, uint64_t *s, size_t ops)
{
    static const uint8_t weight[COPIES_KINDS] = {
        [COPIES_EDIT] = 30, [COPIES_SAME] = 4, [COPIES_DELETE] = 10, [COPIES_AWAY] = 4, [COPIES_BACK] = 4,
        [COPIES_POLICY] = 12, [COPIES_RUN] = 22,
    };
    unsigned all = 0;
    for (unsigned k = 0; k < COPIES_KINDS; k++)
        all += weight[k];
    w->story.ops = ops ? ops : 8 + asked_below(s, 25);
    for (size_t i = 0; i < w->story.ops; i++) {
        struct copies_op *op = &w->op[i];
        unsigned at = asked_below(s, all);
        for (op->kind = 0; at >= weight[op->kind]; op->kind++)
            at -= weight[op->kind];
        op->member = (uint8_t)asked_below(s, w->members);
        op->path = (uint8_t)asked_below(s, asked_below(s, 2) ? 3 : ASKED_PATHS);
        op->arg = asked_next(s);
        w->story.keep[i] = true;
    }
}

void copies_init(struct copies_world *w, uint64_t seed, const char *base, size_t ops)
{
    uint64_t s = seed;
    *w = (struct copies_world){.story = {.seed = seed, .base = base}};
    hooks_init(base);
    hooks_drive(0);
    w->members = 2 + asked_below(&s, ASKED_MEMBERS - 1);
    w->groups = w->members > 3 && asked_below(&s, 3) == 0 ? 2 : 1;
    for (unsigned m = 0; m < w->members; m++) {
        w->group[m] = w->groups == 2 && m + 2 >= w->members;
        w->order[m] = (uint8_t)m;
    }
    for (unsigned m = w->members; m > 1; m--) {
        unsigned k = asked_below(&s, m);
        uint8_t t = w->order[k];
        w->order[k] = w->order[m - 1];
        w->order[m - 1] = t;
    }
    draw_ops(w, &s, ops);
    asked_draw(&w->asked, &s, w->group, w->members, copies_day(0));
}

static void make_stores(struct copies_world *w)
{
    char file[FULL], root[COPIES_TEXT];
    for (unsigned m = 0; m < w->members; m++) {
        if (mkdir(copies_root(w, m, root), 0755) < 0)
            story_fail(&w->story, "the test cannot make %s: %s", root, strerror(errno));
        snprintf(file, sizeof file, "%s/keep", root);
        make_file(w, file, "keep", 4, 1000000000);
        snprintf(hooks_agent[m].root, sizeof hooks_agent[m].root, "%.511s", root);
    }
    story_say(&w->story, "  sos.conf:");
    for (unsigned i = 0; i < w->members; i++)
        story_say(&w->story, " m%u (g%u)", w->order[i], w->group[w->order[i]]);
    story_say(&w->story, "\n");
    say_policy(w);
}

static void play_op(struct copies_world *w, size_t i)
{
    const struct copies_op *op = &w->op[i];
    size_t said = w->story.log.len;
    bool done = true;
    copies_see(w);
    story_say(&w->story, "  %zu: ", i);
    switch ((enum copies_kind)op->kind) {
    case COPIES_EDIT: done = edit(w, op); break;
    case COPIES_SAME: done = edit_same(w, op); break;
    case COPIES_DELETE: done = delete(w, op); break;
    case COPIES_AWAY: done = go_away(w, op->member, true); break;
    case COPIES_BACK: done = go_away(w, op->member, false); break;
    case COPIES_POLICY: new_policy(w, op); break;
    case COPIES_RUN: play_run(w, op); break;
    case COPIES_KINDS: break;
    }
    if (!done) /* it does not apply */
        w->story.log.len = said;
}

/* All are there again: every group comes into the state that is asked for. */
static void finish(struct copies_world *w)
{
    story_say(&w->story, "  at the end\n");
    for (unsigned m = 0; m < w->members; m++)
        go_away(w, m, false);
    copies_see(w);
    hooks_jump(3600);
    for (unsigned g = 0; g < w->groups && !w->story.failure[0]; g++)
        run_announced(w, &(struct drawn){0}, g);
}

bool copies_play(struct copies_world *w)
{
    char root[COPIES_TEXT];
    static const char *const files[] = {"conf", "policy"};
    make_stores(w);
    for (size_t i = 0; i < w->story.ops && !w->story.failure[0]; i++)
        if (w->story.keep[i])
            play_op(w, i);
    if (!w->story.failure[0])
        finish(w);
    for (unsigned m = 0; m < 2 * w->members; m++) {
        w->away[m / 2] = m % 2;
        tree_remove(copies_root(w, m / 2, root));
    }
    for (unsigned i = 0; i < 2; i++) {
        snprintf(root, sizeof root, "%.500s/%s", w->story.base, files[i]);
        tree_remove(root);
    }
    return !w->story.failure[0];
}

void copies_free(struct copies_world *w)
{
    buf_free(&w->story.log);
}
