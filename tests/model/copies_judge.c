#include "copies.h"

#include <stdio.h>
#include <string.h>

#include "hooks.h"
#include "tree.h"

/* ---- looking ---- */

struct seeing {
    struct copies_world *w;
    unsigned m;
    bool trash;
};

static int version_of(const struct copies_world *w, const struct digest *d)
{
    for (unsigned i = 0; i < w->versions; i++)
        if (digest_same(&w->version[i].digest, d))
            return (int)i;
    return -1;
}

static int path_of(const char *text)
{
    for (unsigned p = 0; p < ASKED_PATHS; p++)
        if (strcmp(asked_path[p], text) == 0)
            return (int)p;
    return -1;
}

static void see_object(void *ctx, const struct tree_object *o)
{
    struct seeing *s = ctx;
    struct copies_world *w = s->w;
    const char *slash = strrchr(o->path, '/'), *name = slash ? slash + 1 : o->path;
    bool in_hand = strncmp(name, ".sos-sync.", 10) == 0; /* of a run that was killed */
    if (S_ISDIR(o->st->st_mode) || strcmp(o->path, "keep") == 0)
        return;
    int version = version_of(w, &o->digest), p = path_of(o->path);
    if (version < 0 && (s->trash || in_hand))
        return; /* the trash has its own notes */
    if (version < 0 || (p < 0 && !s->trash && !in_hand)) {
        story_fail(&w->story, "%s of m%u is nothing that anybody wrote", o->path, s->m);
        return;
    }
    if (w->version[version].group != w->group[s->m])
        story_fail(&w->story, "%s of m%u comes from another group", o->path, s->m);
    (in_hand ? w->in_hand : w->present)[version] = true;
    if (s->trash || in_hand)
        return;
    if (w->version[version].path != p)
        story_fail(&w->story, "%s of m%u has what belongs to %s", o->path, s->m, asked_path[w->version[version].path]);
    w->look[s->m][p] = version;
}

void copies_see(struct copies_world *w)
{
    char root[COPIES_TEXT];
    memset(w->look, 0xff, sizeof w->look);
    memset(w->present, 0, sizeof w->present);
    memset(w->in_hand, 0, sizeof w->in_hand);
    for (unsigned m = 0; m < w->members; m++) {
        copies_root(w, m, root);
        tree_visit(root, "", see_object, &(struct seeing){w, m, false});
        tree_visit(root, ".sos-sync/trash", see_object, &(struct seeing){w, m, true});
    }
}

unsigned copies_holders(const copies_look look, unsigned mask, unsigned path)
{
    unsigned out = 0;
    for (unsigned m = 0; m < ASKED_MEMBERS; m++)
        out |= look[m][path] >= 0 ? mask & 1u << m : 0;
    return out;
}

static unsigned holders_of(const copies_look look, unsigned mask, unsigned path, int version)
{
    unsigned out = 0;
    for (unsigned m = 0; m < ASKED_MEMBERS; m++)
        out |= look[m][path] == version ? mask & 1u << m : 0;
    return out;
}

static int latest(const copies_look look, unsigned mask, unsigned path)
{
    int out = -1;
    for (unsigned m = 0; m < ASKED_MEMBERS; m++)
        if ((mask >> m & 1) && look[m][path] > out)
            out = look[m][path];
    return out;
}

static unsigned count(unsigned mask)
{
    return (unsigned)__builtin_popcount(mask);
}

static char *letters(unsigned mask, char out[ASKED_MEMBERS + 1])
{
    char *p = out;
    for (unsigned m = 0; m < ASKED_MEMBERS; m++)
        if (mask >> m & 1)
            *p++ = (char)('0' + m);
    *p = '\0';
    return out;
}

/* ---- one path after a run ---- */

struct row {
    struct copies_world *w;
    const struct copies_run *r;
    struct copies_path *known;
    unsigned p, all;       /* all: the group's members */
    unsigned had, has;     /* of those reached */
    int wins;              /* the version; -1: there was none */
    unsigned winners;      /* who has it now */
    unsigned without;      /* the same where the version of a member that failed was not seen */
    bool firm;             /* it is known what is asked for it */
    struct wanted want;
};

static void wrong(const struct row *x, const char *what)
{
    char had[8], has[8], origins[8], blocked[8];
    story_fail(&x->w->story, "%s of g%u: %s (was on %s, is on %s, origin of %s, %u replicas asked for, %s blocked)", asked_path[x->p],
                x->r->group, what, letters(x->had, had), letters(x->has, has), letters(x->known->origins, origins),
                x->want.replicas, letters(x->want.blocked, blocked));
}

/* What holds after every run, however it ended. */
static void check_always(const struct row *x)
{
    unsigned gone = x->had & ~x->has, came = x->has & ~x->had;
    if (x->had && !x->winners)
        wrong(x, "nobody has the latest version any more");
    if (!x->had && x->has)
        wrong(x, "it came from nowhere");
    if (x->firm && came & x->want.blocked)
        wrong(x, "a blocked member got it");
    if (!x->firm || !gone)
        return;
    unsigned failing = x->r->cut ? 1u << x->r->victim : 0; /* may have been given up */
    unsigned mine = copies_near(x->w, x->r->group) ? x->all & ~(x->r->full ? failing : 0) : x->r->reached & ~failing;
    unsigned may = count(mine & ~x->want.blocked), asked = x->want.replicas;
    unsigned least = asked == ASKED_ALL || asked + 1 > may ? may : asked + 1;
    unsigned left = count(x->winners) > count(x->without) ? count(x->winners) : count(x->without);
    if (left < (least ? least : 1))
        wrong(x, "a copy was removed, and too few are left");
}

/* Is it as the policy has it, where this member is the origin? */
static bool is_right(const struct row *x, unsigned origin, bool *under)
{
    const struct wanted *want = &x->want;
    unsigned may = x->all & ~want->blocked & ~(1u << origin), n = count(may), left;
    unsigned replicas = x->has & ~(1u << origin), first = 0;
    *under = want->replicas != ASKED_ALL && want->replicas > n;
    n = want->replicas < n ? want->replicas : n;
    if (!(x->has >> origin & 1) || replicas & want->blocked || count(replicas) != n)
        return false;
    left = n;
    for (unsigned i = 0; i < want->preferreds && left; i++)
        if (may >> want->preferred[i] & 1) {
            first |= 1u << want->preferred[i];
            left--;
        }
    /* By rank only where all that have it stay. */
    unsigned by_rank = replicas & ~first & ~x->had, lost = x->had & may & ~x->has;
    return (first & ~replicas) == 0 && !(by_rank && lost);
}

static void check_whole(const struct row *x, bool *under, bool *maybe)
{
    unsigned right = 0;
    bool sure = true, any = false;
    if (!x->had)
        return;
    if (x->winners != x->has)
        wrong(x, "not all have the latest version");
    if (!x->firm) {
        *maybe = true;
        return;
    }
    for (unsigned m = 0; m < ASKED_MEMBERS; m++) {
        bool short_of = false;
        if (!(x->known->origins >> m & 1) || !is_right(x, m, &short_of))
            continue;
        right |= 1u << m;
        any |= short_of;
        sure &= short_of;
    }
    if (!right)
        wrong(x, "the wrong members have it");
    else
        x->known->origins = right;
    *under |= any && sure;
    *maybe |= any;
}

/* ---- what is known of it then ---- */

static unsigned first_of(const struct copies_world *w, bool back, unsigned mask)
{
    for (unsigned i = 0; i < w->members; i++) {
        unsigned m = w->order[back ? w->members - 1 - i : i];
        if (mask >> m & 1)
            return 1u << m;
    }
    return 0;
}

/* Who may be the origin in this run. */
static unsigned find_origins(const struct row *x, bool complete)
{
    const struct copies_path *k = x->known;
    unsigned away = x->all & ~x->r->reached, free_of_it = x->had & ~x->want.blocked;
    unsigned first = first_of(x->w, x->r->back, free_of_it ? free_of_it : x->had);
    bool certain = complete && x->firm;
    if (!x->had)
        return k->origins;
    if (!k->origins)
        return copies_holders(x->w->look, away, x->p) ? x->all : certain ? first : x->had;
    if (!(k->settled & x->had))
        return x->all; /* all that was known of it is away, or gone */
    if ((away || !certain) && (!x->firm || k->origins & x->want.blocked))
        return x->all; /* a blocked origin may be given up */
    if (x->had & ~k->settled)
        return k->origins | (x->had & ~k->settled) | first; /* somebody made it anew */
    if (count(k->origins) > 1 || k->origins & x->had || !(k->origins & x->want.blocked))
        return k->origins;
    return first; /* a blocked member that lost it */
}

static void note(const struct row *x, bool complete)
{
    struct copies_path *k = x->known;
    unsigned anywhere = copies_holders(x->w->look, x->all, x->p);
    k->settled = (k->settled & ~x->r->reached) | x->has;
    if (!anywhere)
        *k = (struct copies_path){.last = complete && x->r->reached == x->all ? 0 : k->last};
    if (anywhere && !k->first)
        k->first = copies_day(-100); /* at the latest when the run began */
    if (anywhere && !k->last && complete && x->had)
        k->last = copies_day(0);
}

bool copies_firm(const struct copies_world *w, unsigned group, unsigned path)
{
    const struct copies_path *k = &w->path[group][path];
    unsigned here = copies_holders(w->look, copies_group(w, group), path);
    for (unsigned m = 0; m < w->members; m++)
        if (k->origins >> m & 1 && w->away[m] && !copies_near(w, group))
            return false; /* another one may have to take its place */
    return count(k->origins) == 1 ? !(here & ~k->settled) && here & k->origins : count(here) < 2;
}

/* ---- a run ---- */

static void judge_path(struct copies_world *w, const struct copies_before *b, const struct copies_run *r, unsigned p,
                       bool whole, bool *under, bool *maybe)
{
    struct copies_path *k = &w->path[r->group][p];
    struct row x = {.w = w, .r = r, .p = p, .known = k, .all = copies_group(w, r->group)};
    bool complete = !r->cut && !r->killed;
    x.had = copies_holders(b->look, r->reached, p);
    if (x.had && !(x.had & k->settled))
        k->last = 0; /* who is here may not know of when it was first seen */
    int64_t today = copies_day(0), first = k->first ? k->first : copies_day(-100), last = k->last ? k->last : today;
    x.has = copies_holders(w->look, r->reached, p);
    x.wins = latest(b->look, r->reached, p);
    x.winners = holders_of(w->look, r->reached, p, x.wins);
    unsigned sound = r->reached & ~(r->cut ? 1u << r->victim : 0);
    x.without = copies_holders(b->look, sound, p) ? holders_of(w->look, r->reached, p, latest(b->look, sound, p)) : 0;
    x.firm = !asked_depends(&w->asked, first, last);
    x.want = asked_of(&w->asked, r->group, p, last);
    x.want.blocked &= x.all;
    k->origins = find_origins(&x, complete);
    check_always(&x);
    if (whole)
        check_whole(&x, under, maybe);
    w->counts.added += count(x.has & ~x.had);
    w->counts.pruned += count(x.had & ~x.has);
    w->counts.blocked += (x.has & x.want.blocked) != 0;
    note(&x, complete);
}

static void check_status(struct copies_world *w, const struct copies_run *r, bool whole, bool under, bool maybe)
{
    if (r->cut || r->killed)
        return;
    if (!whole && r->status != SOS_GUARD)
        story_fail(&w->story, "a member is away, and the run ended with status %d: %s", (int)r->status, r->trouble);
    if (whole && r->status != SOS_OK && r->status != SOS_COPIES)
        story_fail(&w->story, "a run ended with status %d: %s", (int)r->status, r->trouble);
    if (whole && under && r->status != SOS_COPIES)
        story_fail(&w->story, "there are too few members for what is asked, and the run ended with status %d", (int)r->status);
    if (whole && !maybe && r->status == SOS_COPIES)
        story_fail(&w->story, "all have what they should, and the run ended with status 4: %s", r->trouble);
}

/* Nothing is lost. */
static void check_versions(struct copies_world *w, const struct copies_before *b, const struct copies_run *r)
{
    for (unsigned i = 0; i < w->versions; i++) {
        w->orphan[i] = b->present[i] && !w->present[i] && w->in_hand[i];
        if (b->present[i] && !w->present[i] && !w->in_hand[i] && !r->full)
            story_fail(&w->story, "v%u of %s was somewhere before the run and is nowhere after it", i, asked_path[w->version[i].path]);
    }
}

void copies_judge(struct copies_world *w, const struct copies_before *b, const struct copies_run *r)
{
    bool whole = r->reached == copies_group(w, r->group) && !r->cut && !r->killed, under = false, maybe = false;
    check_versions(w, b, r);
    if (r->dry)
        return;
    for (unsigned p = 0; p < ASKED_PATHS && !w->story.failure[0]; p++)
        judge_path(w, b, r, p, whole, &under, &maybe);
    if (!w->story.failure[0])
        check_status(w, r, whole, under, maybe);
    w->counts.whole += whole;
    w->counts.under += whole && r->status == SOS_COPIES;
}
