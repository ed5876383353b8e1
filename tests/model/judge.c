/* What a run may do, and what it did. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
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

static void trashed(const struct eye *eye, int content)
{
    eye->w->present[content] = eye->w->trashed[eye->m][content] = true;
    if (!eye->w->since[eye->m][content])
        eye->w->since[eye->m][content] = world_now();
}

static void see(void *ctx, const struct tree_object *o)
{
    struct eye *eye = ctx;
    struct world *w = eye->w;
    int p = world_path_of(w, o->path), content = -1;
    bool dir = S_ISDIR(o->st->st_mode);
    if (!dir) {
        content = world_content(w, &o->digest, NULL);
        if (content >= 0)
            w->present[content] = w->stored[content] = true;
        /* A run that was killed had it in hand; the next one takes it to the trash. */
        if (content >= 0 && is_temp(o->path))
            trashed(eye, content);
        if (content < 0 && !is_temp(o->path))
            story_fail(&w->story, "m%u/%s: a content that nobody wrote", eye->m, o->path);
    }
    if (p < 0 && !is_temp(o->path) && w->settings.conflict == CONFLICT_KEEP_BOTH)
        p = world_kept(w, o->path, content);
    if (p < 0) {
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
        trashed(eye, content);
}

void judge_look_at(struct world *w, unsigned m)
{
    char root[512];
    struct eye eye = {w, m};
    for (int p = 0; p < (int)WORLD_PATHS; p++) /* there may be more of them soon */
        w->look[m][p] = (struct look){.kind = KIND_NONE, .content = -1};
    w->extras[m] = 0;
    tree_visit(world_root(w, m, root), "", see, &eye);
}

void judge_look(struct world *w)
{
    char root[512];
    memset(w->present, 0, sizeof w->present);
    memset(w->trashed, 0, sizeof w->trashed);
    memset(w->stored, 0, sizeof w->stored);
    for (unsigned m = 0; m < w->members; m++) {
        struct eye eye = {w, m};
        judge_look_at(w, m);
        tree_visit(world_root(w, m, root), PATH_STATE "/trash", see_trash, &eye);
        for (size_t i = 0; i < w->contents; i++)
            w->since[m][i] = w->trashed[m][i] ? w->since[m][i] : 0;
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

typedef const struct copy (*known_copies)[WORLD_PATHS];

struct row {
    struct world *w;
    looks before;
    known_copies had;     /* what was said of all members before the run */
    int p;
    unsigned mask;    /* members that took part */
    unsigned deleters; /* of these: may know of a deletion here that counts */
    unsigned firm;    /* of these: certainly do */
    bool removed;     /* the run was a command to remove it */
    int64_t now;      /* by the driver's clock */
    char path[WORLD_TEXT];
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

/* ---- deletions ---- */

#define SLACK 60 /* seconds that a run may take */

/* By this driver's clock it was away for longer than tombstones last: what is missing there says nothing. */
static bool surely_away(const struct row *r, unsigned m)
{
    const struct world *w = r->w;
    return w->last[m].sure && llabs(r->now - w->last[m].driver) > w->settings.tombstones + SLACK;
}

static void find_deleters(struct row *r)
{
    const struct world *w = r->w;
    int64_t now = world_now();
    EACH(r, m) {
        const struct copy *c = &r->had[m][r->p];
        int64_t age = now - (c->grave == GRAVE_KNOWN ? c->buried : w->last[m].world);
        bool may, sure;
        if (c->kind != KIND_NONE)
            continue;
        if (c->grave == GRAVE_KNOWN) {
            may = w->clocks || age <= w->settings.tombstones + SLACK;
            sure = c->firm;
        } else {
            may = c->grave == GRAVE_LOCAL && w->settings.propagate && !surely_away(r, m);
            sure = w->last[m].sure && w->last[m].clean;
        }
        r->deleters |= may ? 1u << m : 0;
        r->firm |= may && sure && !w->clocks && age < w->settings.tombstones - SLACK ? 1u << m : 0;
    }
}

/* A deletion never removes content that whoever deleted it had not seen. */
static bool was_deleted(const struct row *r, const struct copy *c)
{
    if (r->removed)
        return true;
    for (unsigned d = 0; d < r->w->members; d++)
        if ((r->deleters >> d & 1) && (c->event < 0 || known_has(&r->had[d][r->p].maybe, c->event)))
            return true;
    return false;
}

/*
 * Is there somebody who deleted all that is left of it, and is certain to be heard? He has to know all that a copy may know:
 * one that has won a conflict since stands for the other side too.
 */
static bool must_be_gone(const struct row *r)
{
    bool any = false;
    if (!r->firm)
        return false;
    EACH(r, m) {
        const struct copy *c = &r->had[m][r->p];
        bool known = false;
        if (c->kind == KIND_NONE)
            continue;
        any = true;
        EACH(r, d)
            known |= (r->firm >> d & 1) && known_within(&c->maybe, &r->had[d][r->p].sure);
        if (!known || c->damaged)
            return false;
    }
    return any;
}

static bool may_be_gone(const struct row *r)
{
    EACH(r, m)
        if (r->before[m][r->p].kind != KIND_NONE && !was_deleted(r, &r->had[m][r->p]))
            return false;
    return true;
}

/* Nothing is at this path at these members now; what they know of a deletion. */
static void bury(const struct row *r, bool whole)
{
    struct known sure = {{0}}, maybe = {{0}};
    int64_t latest = 0, now = world_now();
    bool any = r->deleters || r->removed;
    EACH(r, m) {
        const struct copy *c = &r->had[m][r->p];
        bool counts = c->kind != KIND_NONE || r->deleters >> m & 1;
        if (c->kind != KIND_NONE ? r->removed : r->firm >> m & 1)
            known_join(&sure, &c->sure);
        if (counts)
            known_join(&maybe, &c->maybe);
        if (counts)
            latest = c->grave != GRAVE_KNOWN ? now : c->buried > latest ? c->buried : latest;
    }
    EACH(r, m) {
        struct copy *c = &r->w->copy[m][r->p];
        if (c->kind != KIND_NONE)
            continue;
        if (!whole)
            known_join(&maybe, &c->maybe);
        uint8_t grave = !whole && c->grave == GRAVE_LOCAL ? GRAVE_LOCAL : GRAVE_NONE;
        *c = (struct copy){.kind = KIND_NONE, .grave = grave, .event = -1, .maybe = maybe};
        if (!any)
            continue;
        c->grave = GRAVE_KNOWN;
        c->buried = r->removed ? now : latest;
        c->firm = whole && (r->removed || r->firm) && !r->w->clocks;
        c->sure = c->firm ? sure : (struct known){{0}};
    }
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
 * What took the place of this member's: does it follow it (true), or may it stand beside it? All that the winner's members may
 * know counts: of a conflict that was settled for a content, a successor of that content alone knows only one side.
 */
static bool check_replaced(const struct row *r, unsigned m, const struct look *found, unsigned from)
{
    struct world *w = r->w;
    const struct copy *mine = &r->had[m][r->p];
    const struct look *was = &r->before[m][r->p];
    bool older = from != 0, known = false;
    if (!has_content(was) || mine->damaged || same_content(was, found))
        return true;
    for (unsigned h = 0; h < w->members; h++)
        if (from >> h & 1) {
            older = older && known_within(&r->had[h][r->p].maybe, &mine->sure);
            known = known || known_has(&r->had[h][r->p].maybe, mine->event);
        }
    known = known || was_deleted(r, mine);
    if (older && has_content(found))
        story_fail(&w->story, "%s: %s won over its own successor, m%u's %s", r->path, label(w, found), m, label(w, was));
    w->counts.conflicts += !known;
    if (!known && has_content(found) && !w->trashed[m][was->content] && w->settings.trash)
        story_fail(&w->story, "%s: %s of m%u lost against %s and is not in its trash", r->path, label(w, was), m,
                   label(w, found));
    return known;
}

/* ---- versions that are kept ---- */

static int stem_of(const struct row *r)
{
    return r->p < WORLD_PLAIN ? -1 : r->w->kept[r->p - WORLD_PLAIN].stem;
}

/* Members that had at the path itself what now is found under the kept name. */
static unsigned kept_from(const struct row *r, const struct look *found)
{
    unsigned set = 0;
    int stem = stem_of(r);
    EACH(r, m) {
        if (stem < 0)
            break;
        const struct copy *c = &r->had[m][stem];
        struct look had = r->before[m][stem];
        if (c->damaged)
            had.content = r->w->event_content[c->event];
        set |= same_content(&had, found) ? 1u << m : 0;
    }
    return set;
}

/* Was there such a name before, with somebody who took part? Then it is not given again. */
static bool was_kept(const struct row *r, int path)
{
    EACH(r, m)
        if (r->had[m][path].kind != KIND_NONE || r->had[m][path].grave != GRAVE_NONE)
            return true;
    return false;
}

static bool is_kept(const struct row *r, int path, int content)
{
    EACH(r, m)
        if (r->w->look[m][path].content != content)
            return false;
    return true;
}

/* What somebody knew who made something else of it, or deleted it, is nobody's version any more. */
static bool was_followed(const struct row *r, unsigned m)
{
    EACH(r, i)
        if (i != m && r->had[i][r->p].kind != KIND_NONE && r->had[i][r->p].event != r->had[m][r->p].event &&
            known_has(&r->had[i][r->p].maybe, r->had[m][r->p].event))
            return true;
    return false;
}

/* Did the run see to it that this member's version, which lost, stands beside the winner on all members? */
static void check_kept(const struct row *r, unsigned m)
{
    const struct world *w = r->w;
    int content = r->before[m][r->p].content;
    if (w->settings.conflict != CONFLICT_KEEP_BOTH || was_followed(r, m))
        return;
    for (int k = WORLD_PLAIN; k < w->paths; k++)
        if (w->kept[k - WORLD_PLAIN].stem == r->p && w->kept[k - WORLD_PLAIN].content == content &&
            (is_kept(r, k, content) || was_kept(r, k)))
            return;
    if (w->paths < (int)WORLD_PATHS)
        story_fail(&r->w->story, "%s: %s of m%u lost and was not kept", r->path, label(w, &r->before[m][r->p]), m);
}

/* One edit is kept under one name. */
static void check_kept_once(struct world *w, unsigned mask)
{
    int m = one_of(mask);
    char a[WORLD_TEXT], b[WORLD_TEXT];
    for (int k = WORLD_PLAIN; k < w->paths; k++)
        for (int i = WORLD_PLAIN; i < k; i++)
            if (w->kept[k - WORLD_PLAIN].stem == w->kept[i - WORLD_PLAIN].stem && w->copy[m][k].event >= 0 &&
                w->copy[m][k].event == w->copy[m][i].event && !w->tainted[k] && !w->tainted[i])
                story_fail(&w->story, "one edit is kept twice, as %s and %s", world_path(w, i, a), world_path(w, k, b));
}

/* ---- who wins ---- */

/* Where the policy names a member, an edit of its that nobody knew wins, whatever the others have. */
static void check_named(const struct row *r, const struct look *found)
{
    const struct world *w = r->w;
    unsigned m = w->settings.winner;
    const struct copy *c = &r->had[m][r->p];
    if (w->settings.conflict != CONFLICT_MEMBER || !(r->mask >> m & 1) || !has_content(&r->before[m][r->p]) ||
        found->kind == KIND_DIR || same_content(&r->before[m][r->p], found))
        return;
    EACH(r, i)
        if (i != m && known_has(&r->had[i][r->p].maybe, c->event))
            return;
    story_fail(&r->w->story, "%s: m%u is to win all conflicts, and its %s lost against %s", r->path, m,
               label(w, &r->before[m][r->p]), label(w, found));
}

/* All that took part have taken over what the winner is, and know what any of them knew. */
static void settle(const struct row *r, const struct look *found, unsigned from)
{
    struct known sure = {{0}}, maybe = {{0}};
    const struct copy *all[WORLD_MEMBERS];
    bool fresh = !holders(r, found) && kept_from(r, found);
    int p = fresh ? stem_of(r) : r->p;
    for (unsigned m = 0; m < WORLD_MEMBERS; m++)
        all[m] = &r->had[m][p];
    int event = has_content(found) ? all[latest_of(all, from)]->event : -1;
    EACH(r, m) {
        const struct copy *c = &r->had[m][p];
        bool counts = !fresh || from >> m & 1;
        if (c->kind != KIND_NONE && counts)
            known_join(&sure, &c->sure);
        if (counts && (c->kind != KIND_NONE || r->deleters >> m & 1))
            known_join(&maybe, &c->maybe);
    }
    EACH(r, m)
        r->w->copy[m][r->p] = (struct copy){.kind = found->kind, .event = event, .sure = sure, .maybe = maybe};
    if (found->kind == KIND_NONE)
        bury(r, true);
}

static void judge_whole(const struct row *r)
{
    struct world *w = r->w;
    const struct look *found = &w->look[one_of(r->mask)][r->p];
    unsigned from = holders(r, found);
    if (!from)
        from = kept_from(r, found);
    if (found->kind == KIND_NONE && !may_be_gone(r))
        story_fail(&w->story, "%s is gone", r->path);
    else if (has_content(found) && (r->removed || must_be_gone(r)))
        story_fail(&w->story, "%s: %s is still there", r->path, label(w, found));
    else if (found->kind != KIND_NONE && !from)
        story_fail(&w->story, "%s: %s was nobody's", r->path, label(w, found));
    if (w->story.failure[0])
        return;
    EACH(r, m)
        if (!check_replaced(r, m, found, from))
            check_kept(r, m);
    if (!r->removed)
        check_named(r, found);
    EACH(r, m)
        w->counts.gone += found->kind == KIND_NONE && has_content(&r->before[m][r->p]);
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

static void judge_member(const struct row *r, unsigned m, const struct known *maybe)
{
    struct world *w = r->w;
    const struct look *was = &r->before[m][r->p], *is = &w->look[m][r->p];
    struct copy *c = &w->copy[m][r->p];
    unsigned from = holders(r, is);
    int p = r->p;
    check_taint(r, m);
    if (same_content(was, is)) {
        known_join(&c->maybe, maybe);
        return;
    }
    if (is->kind == KIND_NONE) {
        if (has_content(was) && !w->trashed[m][was->content] && (w->settings.trash || !was_deleted(r, &r->had[m][r->p])))
            story_fail(&w->story, "%s: %s is gone from m%u", r->path, label(w, was), m);
        *c = (struct copy){.kind = KIND_NONE, .event = -1, .maybe = *maybe};
        return;
    }
    if (!from && (from = kept_from(r, is)))
        p = stem_of(r);
    if (!from && !w->tainted[r->p]) {
        story_fail(&w->story, "%s: %s came to m%u and was nobody's", r->path, label(w, is), m);
        return;
    }
    check_replaced(r, m, is, from);
    const struct copy *all[WORLD_MEMBERS];
    for (unsigned i = 0; i < WORLD_MEMBERS; i++)
        all[i] = &r->had[i][p];
    int h = from ? latest_of(all, from) : (int)m;
    /* It came without a record that says so, maybe: what is made of it next follows for certain only what was there before. */
    struct known sure = r->had[m][r->p].kind == KIND_NONE ? (struct known){{0}} : r->had[m][r->p].sure;
    *c = (struct copy){.kind = is->kind, .event = has_content(is) ? r->had[h][p].event : -1, .sure = sure, .maybe = *maybe};
    known_join(&c->maybe, &r->had[h][p].maybe);
}

/* Each member for itself: it has what it had, or what another had, and knows this for certain and maybe all. */
static void judge_part(const struct row *r)
{
    struct known maybe = {{0}};
    EACH(r, m)
        known_join(&maybe, &r->had[m][r->p].maybe);
    EACH(r, m)
        judge_member(r, m, &maybe);
    bury(r, false);
}

/* A command that is about something else leaves it as it is. */
static void judge_alone(const struct row *r)
{
    struct world *w = r->w;
    EACH(r, m) {
        const struct look *was = &r->before[m][r->p], *is = &w->look[m][r->p];
        struct copy *c = &w->copy[m][r->p];
        if (!same_content(was, is) || was->mode != is->mode || clock_cmp(was->mtime, is->mtime) != 0)
            story_fail(&w->story, "%s: %s of m%u became %s", r->path, label(w, was), m, label(w, is));
        if (c->kind != KIND_NONE)
            continue;
        bool may = r->deleters >> m & 1;
        c->firm = c->grave == GRAVE_KNOWN ? c->firm : may && r->firm >> m & 1;
        c->buried = c->grave == GRAVE_KNOWN ? c->buried : world_now();
        c->grave = may ? GRAVE_KNOWN : GRAVE_NONE;
    }
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
        c->grave = GRAVE_KNOWN;
        c->buried = INT64_MAX / 2;
        memset(&c->maybe, 0xff, sizeof c->maybe);
    }
}

/* ---- a run ---- */

/*
 * What is nowhere any more was only in the trash, and for long enough. Without a trash it was replaced or removed by
 * what was right to do so: that is judged path by path.
 */
static void check_nothing_lost(struct world *w, const struct before *b)
{
    int64_t now = world_now();
    for (size_t i = 0; i < w->contents && w->settings.trash; i++) {
        bool old = !b->stored[i];
        if (!b->present[i] || w->present[i])
            continue;
        for (unsigned m = 0; m < w->members; m++)
            old = old && (!b->trashed[m][i] || now - b->since[m][i] >= w->settings.trash - 1);
        if (!old)
            story_fail(&w->story, "%s was somewhere before the run and is nowhere after it", w->content[i].label);
        w->counts.expired++;
    }
}

/* More would not have been let go. What goes on living somewhere is only renamed. */
static void check_limit(struct world *w, const struct before *b, const struct run_result *r)
{
    for (unsigned m = 0; m < w->members && w->settings.max_delete && r->remove < 0 && !r->all_may_go; m++) {
        unsigned gone = 0;
        for (int p = 0; p < w->paths; p++)
            gone += has_content(&b->look[m][p]) && w->look[m][p].kind == KIND_NONE &&
                    !w->stored[b->look[m][p].content] && !w->copy[m][p].damaged;
        if (gone > (r->limited ? 0 : w->settings.max_delete))
            story_fail(&w->story, "%u objects are gone from m%u, though %u is the most", gone, m, w->settings.max_delete);
    }
}

static void check_tidy(struct world *w, unsigned mask)
{
    char root[512], left[256];
    for (unsigned m = 0; m < w->members; m++)
        if ((mask >> m & 1) && tree_leftover(world_root(w, m, root), left, sizeof left))
            story_fail(&w->story, "m%u: %s was left behind", m, left);
}

/* Damage that takes part may be met, or be all that is left of something: a run may end in part then. */
bool judge_damage(const struct world *w, unsigned mask)
{
    for (unsigned m = 0; m < w->members; m++)
        for (int p = 0; (mask >> m & 1) && p < w->paths; p++)
            if (w->copy[m][p].damaged || w->tainted[p])
                return true;
    return false;
}

static bool ended_whole(const struct world *w, const struct run_result *r)
{
    if (r->killed || r->limited)
        return false;
    /* A guard's status hides whether all else was done. */
    return r->status == SOS_OK || (r->status == SOS_GUARD && !r->cut && !judge_damage(w, r->took_part));
}

static void judge_path(struct world *w, const struct before *b, const struct run_result *r, int p, bool whole)
{
    struct row row = {.w = w, .before = b->look, .had = b->copy, .p = p, .mask = r->took_part, .now = r->now,
                      .removed = r->remove >= 0 && world_within(w, p, r->remove)};
    bool alone = r->scrub || (r->remove >= 0 && !row.removed);
    world_path(w, p, row.path);
    EACH(&row, m)
        row.damaged |= w->copy[m][p].damaged;
    find_deleters(&row);
    if (w->tainted[p])
        judge_tainted(&row);
    else if (alone && whole && !row.damaged)
        judge_alone(&row);
    else if (whole && !row.damaged)
        judge_whole(&row);
    else
        judge_part(&row);
}

/* When this was, for what is made of what is missing next time. */
static void note_time(struct world *w, const struct run_result *r, bool whole)
{
    for (unsigned m = 0; m < w->members; m++)
        if (r->took_part >> m & 1) {
            w->last[m].sure = whole || r->limited;
            w->last[m].clean = w->last[m].sure && (w->last[m].clean || (r->remove < 0 && !r->scrub));
            w->last[m].world = world_now();
            w->last[m].driver = r->now;
        }
}

static void note_content(struct contents *all, const struct look *l)
{
    if (has_content(l))
        all->bit[l->content / 64] |= UINT64_C(1) << l->content % 64;
}

/* A run that was cut short has recorded what it found, or what it left, or neither. */
static void note_records(struct world *w, const struct before *b, const struct run_result *r, bool whole)
{
    for (unsigned m = 0; m < w->members; m++)
        for (int p = 0; (r->took_part >> m & 1) && p < w->paths; p++) {
            struct contents *all = &w->recorded[m][p];
            if (whole)
                memset(all, 0, sizeof *all);
            else
                note_content(all, &b->look[m][p]);
            note_content(all, &w->look[m][p]);
        }
}

void judge_run(struct world *w, const struct before *b, const struct run_result *r)
{
    bool whole = ended_whole(w, r);
    check_nothing_lost(w, b);
    if (!whole && !r->cut && !r->limited && !judge_damage(w, r->took_part))
        story_fail(&w->story, "a run ended with status %d: %s", (int)r->status, r->trouble);
    if (r->dry || w->story.failure[0])
        return;
    check_limit(w, b, r);
    for (int p = 0; p < w->paths && !w->story.failure[0]; p++)
        judge_path(w, b, r, p, whole);
    note_time(w, r, whole);
    note_records(w, b, r, whole);
    if (whole && r->remove < 0 && !r->scrub) {
        judge_equal(w, r->took_part);
        check_kept_once(w, r->took_part);
    }
    if (whole && !w->story.failure[0])
        check_tidy(w, r->took_part);
}

bool judge_doubtful(const struct world *w, int path)
{
    for (; path >= 0; path = world_parent(w, path)) {
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
    char path[WORLD_TEXT];
    int first = one_of(mask);
    for (unsigned m = 0; m < w->members; m++) {
        if (!(mask >> m & 1))
            continue;
        for (int p = 0; p < w->paths; p++) {
            const struct look *a = &w->look[first][p], *b = &w->look[m][p];
            if (hidden_damage(w, mask, p))
                continue;
            if (!same_content(a, b) || a->mode != b->mode || clock_cmp(a->mtime, b->mtime) != 0)
                story_fail(&w->story, "%s: m%d has %s, %03o, %lld.%09u, but m%u has %s, %03o, %lld.%09u", world_path(w, p, path),
                           first, label(w, a), a->mode, (long long)a->mtime.sec, a->mtime.nsec, m, label(w, b), b->mode,
                           (long long)b->mtime.sec, b->mtime.nsec);
        }
        if (w->extras[m] != w->extras[first])
            story_fail(&w->story, "m%u has %d other objects, but m%d has %d", m, w->extras[m], first, w->extras[first]);
    }
}
