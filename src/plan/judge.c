#include "plan/judge.h"

#include "base/mem.h"
#include "base/path.h"
#include "plan/kept.h"

#include <stdlib.h>
#include <string.h>

/* A path whose fate hangs on what will be left below it. */
struct branch {
    char *path; /* owned */
    size_t len;
    bool life;         /* something is left below it */
    bool waits;        /* then it becomes a directory only when others' versions of it are kept */
    bool stays[2];     /* would something be left at the path itself? [life] */
    bool lost[2];      /* only damaged copies */
    struct kept kept[2]; /* versions to be kept, by how it is settled */
};

struct judge {
    struct judge_args a;
    struct branch *branch; /* outer ones first */
    size_t branches;
    struct kept kept; /* of what is settled */
    struct kept_names names;
    struct plan_step step; /* room */
};

struct judge *judge_new(const struct judge_args *args)
{
    struct judge *j = mem_zalloc(sizeof *j);
    j->a = *args;
    return j;
}

void judge_free(struct judge *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->branches; i++) {
        free(j->branch[i].path);
        kept_free(&j->branch[i].kept[0]);
        kept_free(&j->branch[i].kept[1]);
    }
    free(j->branch);
    kept_free(&j->kept);
    kept_names_free(&j->names);
    free(j);
}

static void only_damaged(struct judge *j, const char *path)
{
    j->a.trouble(j->a.ctx, path, "every copy is damaged: nothing can be done with it");
}

/* ---- one path ---- */

/* A verdict that an object is to go from wherever it is, whatever was done to it meanwhile. */
static int condemn(const struct judge *j, const struct merge_row *row, struct verdict *v, struct err *e)
{
    struct entry *w = &v->winner;
    uint64_t count = j->a.above;
    if (v->skip)
        return 0;
    w->kind = ENTRY_GONE;
    w->mode = 0;
    w->size = 0;
    w->flags = 0;
    w->mtime = (struct stamp){j->a.now, 0};
    w->digest = (struct digest){0};
    w->path = row->path;
    w->path_len = row->path_len;
    for (unsigned i = 0; i < row->members; i++)
        if (row->at[i] && version_join(&w->version, &row->at[i]->version) < 0)
            return err_set(e, ERR_FORMAT, "%s: more than %d members have changed it", row->path, VERSION_MEMBERS_MAX);
    if (version_count(&w->version, &j->a.remover) > count)
        count = version_count(&w->version, &j->a.remover);
    if (count == UINT64_MAX || version_set(&w->version, &j->a.remover, count + 1) < 0)
        return err_set(e, ERR_FORMAT, "%s: was changed too often for its deletion to be counted", row->path);
    v->lost = v->conflict = false;
    v->holders = v->losers = 0;
    for (unsigned i = 0; i < row->members; i++) {
        bool there = row->at[i] && row->at[i]->kind != ENTRY_GONE;
        bool part = v->present >> i & 1;
        v->need[i] = !part ? NEED_NOTHING : there ? NEED_REMOVE : NEED_RECORD;
        v->reason[i] = there ? REASON_DELETED : REASON_NONE;
    }
    return 0;
}

/* Of a scrub: members whose copy is damaged get a good one; nothing else changes. */
static void leave_undamaged(const struct merge_row *row, struct verdict *v)
{
    for (unsigned i = 0; i < row->members; i++)
        if (v->reason[i] != REASON_DAMAGED)
            v->need[i] = NEED_NOTHING;
    v->losers = 0;
}

static int verdict_on(struct judge *j, const struct merge_row *row, bool below, struct verdict *v, struct err *e)
{
    int rc = reconcile(row, &j->a.rules, below, v, e);
    if (rc == 0 && j->a.only_damaged)
        leave_undamaged(row, v);
    return rc;
}

/* Is this about a version of the group's objects at all? */
static bool concerns(const struct judge *j, const struct merge_row *row)
{
    return !j->a.removes || j->a.removes(j->a.ctx, row);
}

static bool waits(const struct judge *j, const struct verdict *v)
{
    return v->losers && j->a.rules.conflict == PLAN_KEEP_BOTH && !j->a.removes;
}

/* Of the outer ones, how many are directories for which all that is new below them must wait? */
static unsigned depth(const struct judge *j, size_t branches)
{
    unsigned n = 0;
    for (size_t i = 0; i < branches; i++)
        n += j->branch[i].waits;
    return n;
}

static enum plan_phase later(enum plan_phase phase, unsigned depth)
{
    if (depth == 0 || phase == PLAN_REMOVE)
        return phase;
    return phase == PLAN_ADD && depth == 1 ? PLAN_REPLACE : PLAN_REPLACE_BELOW;
}

static int add_step(struct judge *j, const struct verdict *v, uint64_t members, const struct plan_how *how, struct err *e)
{
    int rc = plan_add(j->a.plan, v, members, how, &j->step, e);
    if (rc == 0 && j->step.targets > 0)
        j->a.added(j->a.ctx, &j->step);
    return rc;
}

/* Copies that nobody wants any more. */
static int add_prunes(struct judge *j, const struct verdict *v, const struct allotment *a, const struct plan_how *as,
                      struct err *e)
{
    struct verdict drop = *v;
    struct plan_how how = *as;
    how.phase = PLAN_PRUNE;
    how.from = NULL;
    how.keep = a->keep;
    how.later = 0;
    for (uint64_t left = a->drop; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        drop.need[i] = NEED_PRUNE;
        /* That it lost is more than that it goes: nobody else has what is in its trash then. */
        drop.reason[i] = (uint8_t)(v->losers >> i & 1 ? REASON_CONFLICT : allot_reason(j->a.group, a, i));
    }
    return add_step(j, &drop, a->drop, &how, e);
}

static bool is_placed(const struct judge *j, const struct verdict *v)
{
    bool object = v->winner.kind == ENTRY_FILE || v->winner.kind == ENTRY_LINK;
    return j->a.group && !v->skip && !v->lost && object && !j->a.only_damaged;
}

/* The steps for a verdict, with as many copies as the policy asks for. */
static int add_placed(struct judge *j, const struct merge_row *row, struct verdict *v, struct plan_how *how, struct err *e)
{
    struct allotment a;
    if (j->a.group && row && !v->skip && v->winner.kind == ENTRY_GONE)
        allot_gone(j->a.group, row, v, &how->before, &how->after);
    if (!is_placed(j, v))
        return add_step(j, v, place(v, j->a.members), how, e);
    allot(j->a.group, row, v, &a);
    if (j->a.allotted)
        j->a.allotted(j->a.ctx, v, &a);
    how->before = a.before;
    how->after = a.after;
    how->later = a.later;
    how->told = a.told;
    int rc = add_step(j, v, a.wanted, how, e);
    return rc == 0 && a.drop ? add_prunes(j, v, &a, how, e) : rc;
}

/* What members who take nothing away have, stays. */
static void leave_stuck(const struct judge *j, struct verdict *v)
{
    for (uint64_t left = j->a.keeps & v->present; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (v->need[i] == NEED_REMOVE && j->a.stuck(j->a.ctx, v->winner.path, i))
            v->need[i] = NEED_NOTHING;
    }
}

static int add(struct judge *j, const struct merge_row *row, struct verdict *v, enum plan_hang hang, struct err *e)
{
    if (j->a.lives && !v->skip && (v->winner.kind == ENTRY_FILE || v->winner.kind == ENTRY_LINK))
        j->a.lives(j->a.ctx, &v->winner);
    struct plan_how how = {.phase = PLAN_ADD, .hang = hang};
    if (v->winner.kind == ENTRY_GONE && !v->skip) {
        how.phase = PLAN_REMOVE;
        leave_stuck(j, v);
    } else if (waits(j, v) || (hang == HANG_ON_DEATH && v->winner.kind != ENTRY_DIR))
        how.phase = PLAN_REPLACE;
    how.phase = later(how.phase, depth(j, j->branches - (hang != HANG_ON_NOTHING)));
    return add_placed(j, row, v, &how, e);
}

/* Where directories that have to wait lie in each other, the trash has to do. */
static void keep_losers(struct judge *j, const struct merge_row *row, const struct verdict *v, unsigned depth,
                        struct kept *to)
{
    if (waits(j, v) && depth < 2)
        kept_take(to, row, v, depth > 0, j->a.name_of, j->a.ctx);
}

static bool stays(const struct verdict *v)
{
    return v->skip || v->lost || v->winner.kind != ENTRY_GONE;
}

static void mark_life(struct judge *j)
{
    if (j->branches)
        j->branch[j->branches - 1].life = true;
}

static int judge_simply(struct judge *j, const struct merge_row *row, struct err *e)
{
    struct verdict v;
    bool gone = j->a.removes && concerns(j, row);
    int rc = verdict_on(j, row, false, &v, e);
    if (rc == 0 && gone)
        rc = condemn(j, row, &v, e);
    if (rc < 0)
        return rc;
    if (v.lost)
        only_damaged(j, row->path);
    if (stays(&v))
        mark_life(j);
    keep_losers(j, row, &v, depth(j, j->branches), &j->kept);
    return concerns(j, row) ? add(j, row, &v, HANG_ON_NOTHING, e) : 0;
}

/* ---- branches ---- */

static int open_branch(struct judge *j, const struct merge_row *row, struct err *e)
{
    struct verdict v[2];
    bool named = concerns(j, row);
    int rc = verdict_on(j, row, false, &v[0], e);
    if (rc == 0)
        rc = verdict_on(j, row, true, &v[1], e);
    if (rc == 0 && j->a.removes && named)
        rc = condemn(j, row, &v[0], e);
    if (rc < 0)
        return rc;
    unsigned deep = depth(j, j->branches);
    j->branch = mem_resize(j->branch, j->branches + 1, sizeof *j->branch);
    struct branch *b = &j->branch[j->branches++];
    *b = (struct branch){.path = mem_strndup(row->path, row->path_len), .len = row->path_len};
    b->waits = waits(j, &v[1]);
    plan_branch(j->a.plan);
    for (int life = 0; life < 2 && rc == 0; life++) {
        b->stays[life] = stays(&v[life]);
        b->lost[life] = v[life].lost;
        keep_losers(j, row, &v[life], deep, &b->kept[life]);
        if (named && !(j->a.removes && life))
            rc = add(j, row, &v[life], life ? HANG_ON_LIFE : HANG_ON_DEATH, e);
    }
    return rc;
}

static void close_branch(struct judge *j)
{
    struct branch *b = &j->branch[--j->branches];
    bool life = b->life;
    plan_settle(j->a.plan, life);
    if (b->lost[life])
        only_damaged(j, b->path);
    kept_move(&j->kept, &b->kept[life]);
    kept_free(&b->kept[!life]);
    if (life || b->stays[life])
        mark_life(j);
    free(b->path);
}

/* What is to be taken away is asked about as a directory is: below it something may be left. */
static bool forks(const struct judge *j, const struct merge_row *row)
{
    if (row->forked)
        return true;
    for (unsigned i = 0; j->a.removes && i < row->members; i++)
        if (row->at[i])
            return row->at[i]->kind == ENTRY_DIR;
    return false;
}

int judge_row(struct judge *j, const struct merge_row *row, struct err *e)
{
    struct err why;
    while (j->branches) {
        const struct branch *b = &j->branch[j->branches - 1];
        if (path_below(row->path, row->path_len, b->path, b->len))
            break;
        close_branch(j);
    }
    if (j->a.rules.conflict == PLAN_KEEP_BOTH)
        kept_names_see(&j->names, row->path, row->path_len);
    int rc = forks(j, row) ? open_branch(j, row, &why) : judge_simply(j, row, &why);
    if (rc == ERR_FORMAT) { /* one object's trouble, not the group's */
        mark_life(j);
        j->a.trouble(j->a.ctx, row->path, why.msg);
        return 0;
    }
    if (rc < 0 && e)
        *e = why;
    return rc;
}

int judge_end(struct judge *j, struct err *e)
{
    int rc = 0;
    while (j->branches)
        close_branch(j);
    kept_sort(&j->kept);
    for (size_t i = 0; rc == 0 && i < j->kept.n; i++) {
        const struct kept_item *it = &j->kept.item[i];
        struct plan_how how = {.phase = it->below ? PLAN_KEEP_BELOW : PLAN_KEEP, .from = it->from};
        struct verdict v;
        if (kept_names_seen(&j->names, it->path) || !kept_verdict(&j->kept, i, j->a.members, &v))
            continue;
        rc = add_placed(j, NULL, &v, &how, e);
    }
    return rc;
}
