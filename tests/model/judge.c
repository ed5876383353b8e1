/* What a run may do, and what it did. */
#include "world.h"

#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "tree.h"

typedef const struct look (*looks)[WORLD_PATHS];

/* ---- looking ---- */

struct eye {
    struct world *w;
    unsigned m;
};

static bool is_temp(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return strncmp(name, PATH_STATE ".", strlen(PATH_STATE) + 1) == 0;
}

static void see(void *ctx, const struct tree_object *o)
{
    struct eye *eye = ctx;
    struct world *w = eye->w;
    int p = world_path_of(o->path), content = -1;
    bool dir = S_ISDIR(o->st->st_mode);
    if (!dir) {
        content = world_content(w, &o->digest, NULL);
        if (content >= 0)
            w->present[content] = true;
        /* A run that was killed had it in hand; the next one takes it to the trash. */
        if (content >= 0 && is_temp(o->path))
            w->trashed[eye->m][content] = true;
        if (content < 0 && !is_temp(o->path))
            world_fail(w, "m%u/%s: a content that nobody wrote", eye->m, o->path);
    }
    if (p < 0) {
        /* world.c: WORLD_KEEP_BOTH: losers stand beside the winner, and count as places where a content is. */
        w->extras[eye->m] += !is_temp(o->path);
        return;
    }
    w->look[eye->m][p] = (struct look){
        .kind = dir ? KIND_DIR : S_ISLNK(o->st->st_mode) ? KIND_LINK : KIND_FILE,
        .mode = S_ISLNK(o->st->st_mode) ? 0777 : o->st->st_mode & 0777,
        .content = content,
        .ino = o->st->st_ino,
        .mtime = dir ? (struct stamp){0, 0} : (struct stamp){o->st->st_mtim.tv_sec, (uint32_t)o->st->st_mtim.tv_nsec},
        .ctime = {o->st->st_ctim.tv_sec, (uint32_t)o->st->st_ctim.tv_nsec},
    };
}

/* Lists stand beside each run's directory: what is in a directory has a slash behind that of the trash. */
static void see_trash(void *ctx, const struct tree_object *o)
{
    struct eye *eye = ctx;
    const char *in = o->path + strlen(PATH_STATE "/trash/");
    int content = S_ISDIR(o->st->st_mode) || !strchr(in, '/') ? -1 : world_content(eye->w, &o->digest, NULL);
    if (content >= 0)
        eye->w->present[content] = eye->w->trashed[eye->m][content] = true;
}

void judge_look_at(struct world *w, unsigned m)
{
    char root[512];
    struct eye eye = {w, m};
    for (int p = 0; p < (int)WORLD_PATHS; p++)
        w->look[m][p] = (struct look){.kind = KIND_NONE, .content = -1};
    w->extras[m] = 0;
    tree_visit(world_root(w, m, root), "", see, &eye);
}

void judge_look(struct world *w)
{
    char root[512];
    memset(w->present, 0, sizeof w->present);
    memset(w->trashed, 0, sizeof w->trashed);
    for (unsigned m = 0; m < w->members; m++) {
        struct eye eye = {w, m};
        judge_look_at(w, m);
        tree_visit(world_root(w, m, root), PATH_STATE "/trash", see_trash, &eye);
    }
}

/* ---- one path after a run ---- */

static bool same_content(const struct look *a, const struct look *b)
{
    return a->kind == b->kind && a->content == b->content;
}

static bool has_content(const struct look *l)
{
    return l->kind == KIND_FILE || l->kind == KIND_LINK;
}

struct row {
    struct world *w;
    looks before;
    int p;
    unsigned mask;    /* members that took part */
    char path[64];
    bool damaged;     /* some copy was */
};

#define EACH(row, m) \
    for (unsigned m = 0; m < (row)->w->members; m++) \
        if ((row)->mask >> m & 1)

static const char *label(const struct world *w, const struct look *l)
{
    return l->kind == KIND_NONE ? "nothing" : l->kind == KIND_DIR ? "a directory" : w->content[l->content].label;
}

/*
 * The members that had what now is found. Of a damaged copy the record still tells what it was: that may have been found
 * under another name.
 */
static unsigned holders(const struct row *r, const struct look *found)
{
    unsigned set = 0;
    EACH(r, m) {
        const struct copy *c = &r->w->copy[m][r->p];
        struct look had = r->before[m][r->p];
        if (c->damaged)
            had.content = r->w->event_content[c->event];
        set |= same_content(&had, found) ? 1u << m : 0;
    }
    return set;
}

static int one_of(unsigned set)
{
    return __builtin_ctz(set);
}

/* Of holders of one content: whose event follows the others', if there is such a one. */
static int latest_of(const struct copy *const copies[WORLD_MEMBERS], unsigned from)
{
    int best = one_of(from);
    for (int m = 0; m < (int)WORLD_MEMBERS; m++)
        if ((from >> m & 1) && known_has(&copies[m]->sure, copies[best]->event))
            best = m;
    return best;
}

/*
 * What took the place of this member's: does it follow it, or may it stand beside it? All that the winner's members may
 * know counts: of a conflict that was settled for a content, a successor of that content alone knows only one side.
 */
static void check_replaced(const struct row *r, unsigned m, const struct look *found, unsigned from)
{
    struct world *w = r->w;
    const struct copy *mine = &w->copy[m][r->p];
    const struct look *was = &r->before[m][r->p];
    bool older = from != 0, known = false;
    if (!has_content(was) || mine->damaged || same_content(was, found))
        return;
    for (unsigned h = 0; h < w->members; h++)
        if (from >> h & 1) {
            older = older && known_within(&w->copy[h][r->p].maybe, &mine->sure);
            known = known || known_has(&w->copy[h][r->p].maybe, mine->event);
        }
    if (older && has_content(found))
        world_fail(w, "%s: %s won over its own successor, m%u's %s", r->path, label(w, found), m, label(w, was));
    w->counts.conflicts += !known;
    /* world.c: WORLD_KEEP_BOTH: or in an extra object of every member. */
    if (!known && !w->trashed[m][was->content])
        world_fail(w, "%s: %s of m%u lost against %s and is not in its trash", r->path, label(w, was), m,
                   label(w, found));
}

/* world.c: WORLD_PROPAGATE: may it be gone everywhere? Where a deletion (KIND_NONE, sure) knew every copy that was left. */
static bool may_be_gone(const struct row *r)
{
    EACH(r, m)
        if (r->before[m][r->p].kind != KIND_NONE)
            return false;
    return true;
}

/* All that took part have taken over what the winner is, and know what any of them knew. */
static void settle(const struct row *r, const struct look *found, unsigned from)
{
    struct known sure = {{0}}, maybe = {{0}};
    const struct copy *all[WORLD_MEMBERS];
    for (unsigned m = 0; m < WORLD_MEMBERS; m++)
        all[m] = &r->w->copy[m][r->p];
    int event = has_content(found) ? all[latest_of(all, from)]->event : -1;
    EACH(r, m) {
        const struct copy *c = &r->w->copy[m][r->p];
        if (c->kind != KIND_NONE) {
            known_join(&sure, &c->sure);
            known_join(&maybe, &c->maybe);
        }
    }
    EACH(r, m)
        r->w->copy[m][r->p] = (struct copy){found->kind, false, event, sure, maybe};
}

static void judge_whole(const struct row *r)
{
    struct world *w = r->w;
    const struct look *found = &w->look[one_of(r->mask)][r->p];
    unsigned from = holders(r, found);
    if (found->kind == KIND_NONE && !may_be_gone(r))
        world_fail(w, "%s is gone", r->path);
    else if (found->kind != KIND_NONE && !from)
        world_fail(w, "%s: %s was nobody's", r->path, label(w, found));
    if (w->failure[0])
        return;
    EACH(r, m)
        check_replaced(r, m, found, from);
    settle(r, found, from);
}

/* ---- the same after a run that was cut short, or met damage ---- */

/* Content that is as damaged as it was, in a file that is not: the program may take it for an edit now. */
static void check_taint(const struct row *r, unsigned m)
{
    const struct look *was = &r->before[m][r->p], *is = &r->w->look[m][r->p];
    if (r->w->copy[m][r->p].damaged && same_content(was, is) && clock_cmp(was->ctime, is->ctime) != 0)
        r->w->tainted[r->p] = true;
}

static void judge_member(const struct row *r, unsigned m, const struct copy *copies, const struct known *maybe)
{
    struct world *w = r->w;
    const struct look *was = &r->before[m][r->p], *is = &w->look[m][r->p];
    struct copy *c = &w->copy[m][r->p];
    unsigned from = holders(r, is);
    check_taint(r, m);
    if (same_content(was, is)) {
        known_join(&c->maybe, maybe);
        return;
    }
    if (is->kind == KIND_NONE) {
        if (has_content(was) && !w->trashed[m][was->content])
            world_fail(w, "%s: %s is gone from m%u", r->path, label(w, was), m);
        *c = (struct copy){KIND_NONE, false, -1, {{0}}, *maybe};
        return;
    }
    if (!from && !w->tainted[r->p]) {
        world_fail(w, "%s: %s came to m%u and was nobody's", r->path, label(w, is), m);
        return;
    }
    check_replaced(r, m, is, from);
    const struct copy *all[WORLD_MEMBERS];
    for (unsigned i = 0; i < WORLD_MEMBERS; i++)
        all[i] = &copies[i];
    int h = from ? latest_of(all, from) : (int)m;
    /* It came without a record that says so, maybe: what is made of it next follows for certain only what was there before. */
    struct known sure = copies[m].kind == KIND_NONE ? (struct known){{0}} : copies[m].sure;
    *c = (struct copy){is->kind, false, has_content(is) ? copies[h].event : -1, sure, *maybe};
}

/* Each member for itself: it has what it had, or what another had, and knows this for certain and maybe all. */
static void judge_part(const struct row *r)
{
    struct copy copies[WORLD_MEMBERS], after[WORLD_MEMBERS];
    struct known maybe = {{0}};
    for (unsigned m = 0; m < WORLD_MEMBERS; m++)
        copies[m] = after[m] = r->w->copy[m][r->p];
    EACH(r, m)
        known_join(&maybe, &copies[m].maybe);
    EACH(r, m) {
        judge_member(r, m, copies, &maybe);
        after[m] = r->w->copy[m][r->p];
        r->w->copy[m][r->p] = copies[m]; /* the next one is judged by what was */
    }
    EACH(r, m)
        r->w->copy[m][r->p] = after[m];
}

/* Where damage may have passed for an edit: nothing is known but what lies there. */
static void judge_tainted(const struct row *r)
{
    EACH(r, m) {
        struct copy *c = &r->w->copy[m][r->p];
        const struct look *is = &r->w->look[m][r->p];
        *c = (struct copy){.kind = is->kind, .event = -1};
        if (has_content(is)) {
            c->event = world_event(r->w, is->content);
            known_add(&c->sure, c->event);
        }
        memset(&c->maybe, 0xff, sizeof c->maybe);
    }
}

/* ---- a run ---- */

static void check_nothing_lost(struct world *w, const bool *present_before)
{
    /* world.c: WORLD_EXPIRY: only what no copy's successor knew (known_has of maybe), and what is younger than that. */
    for (size_t i = 0; i < w->contents; i++)
        if (present_before[i] && !w->present[i])
            world_fail(w, "%s was somewhere before the run and is nowhere after it", w->content[i].label);
}

static void check_tidy(struct world *w, unsigned mask)
{
    char root[512], left[256];
    for (unsigned m = 0; m < w->members; m++)
        if ((mask >> m & 1) && tree_leftover(world_root(w, m, root), left, sizeof left))
            world_fail(w, "m%u: %s was left behind", m, left);
}

/* Damage that takes part may be met, or be all that is left of something: a run may end in part then. */
static bool damage_takes_part(const struct world *w, unsigned mask)
{
    for (unsigned m = 0; m < w->members; m++)
        for (int p = 0; (mask >> m & 1) && p < (int)WORLD_PATHS; p++)
            if (w->copy[m][p].damaged || w->tainted[p])
                return true;
    return false;
}

void judge_run(struct world *w, looks before, const bool *present_before, const struct run_result *r)
{
    /* A guard's status hides whether all else was done. */
    bool whole = !r->killed && (r->status == SOS_OK || (r->status == SOS_GUARD && !r->cut &&
                                                        !damage_takes_part(w, r->took_part)));
    check_nothing_lost(w, present_before);
    if (!whole && !r->cut && !damage_takes_part(w, r->took_part))
        world_fail(w, "a run ended with status %d: %s", (int)r->status, r->trouble);
    if (r->dry || w->failure[0])
        return;
    for (int p = 0; p < (int)WORLD_PATHS && !w->failure[0]; p++) {
        struct row row = {.w = w, .before = before, .p = p, .mask = r->took_part};
        world_path(p, row.path);
        EACH(&row, m)
            row.damaged |= w->copy[m][p].damaged;
        if (w->tainted[p])
            judge_tainted(&row);
        else if (whole && !row.damaged)
            judge_whole(&row);
        else
            judge_part(&row);
    }
    if (whole)
        judge_equal(w, r->took_part);
    if (whole && !w->failure[0])
        check_tidy(w, r->took_part);
}

bool judge_doubtful(const struct world *w, int path)
{
    for (; path >= 0; path = world_parent(path)) {
        if (w->tainted[path])
            return true;
        for (unsigned m = 0; m < w->members; m++) {
            const struct copy *c = &w->copy[m][path];
            bool good = !c->damaged;
            for (unsigned i = 0; i < w->members && !good; i++)
                good = !w->copy[i][path].damaged && w->copy[i][path].kind != KIND_NONE &&
                       known_has(&w->copy[i][path].sure, c->event);
            if (!good)
                return true;
        }
    }
    return false;
}

/* Damage that nobody has looked for yet is no difference. */
static bool hidden_damage(const struct world *w, unsigned mask, int p)
{
    for (unsigned m = 0; m < w->members; m++)
        if ((mask >> m & 1) && w->copy[m][p].damaged)
            return true;
    return judge_doubtful(w, p);
}

void judge_equal(struct world *w, unsigned mask)
{
    char path[64];
    int first = one_of(mask);
    for (unsigned m = 0; m < w->members; m++) {
        if (!(mask >> m & 1))
            continue;
        for (int p = 0; p < (int)WORLD_PATHS; p++) {
            const struct look *a = &w->look[first][p], *b = &w->look[m][p];
            if (hidden_damage(w, mask, p))
                continue;
            if (!same_content(a, b) || a->mode != b->mode || clock_cmp(a->mtime, b->mtime) != 0)
                world_fail(w, "%s: m%d has %s, %03o, %lld.%09u, but m%u has %s, %03o, %lld.%09u", world_path(p, path),
                           first, label(w, a), a->mode, (long long)a->mtime.sec, a->mtime.nsec, m, label(w, b), b->mode,
                           (long long)b->mtime.sec, b->mtime.nsec);
        }
        if (w->extras[m] != w->extras[first])
            world_fail(w, "m%u has %d other objects, but m%d has %d", m, w->extras[m], first, w->extras[first]);
    }
}
