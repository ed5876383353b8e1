/* Why an object is where it is, and where it should be: what a plan would make of it. */
#include "run/run.h"

#include "base/bit.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the manifests have at the path, if it is nothing that is placed. */
enum seen { SEEN_NOTHING, SEEN_GONE, SEEN_DIR, SEEN_DAMAGED, SEEN_HIDDEN };

/* A plan may be made more than once: the last one counts. */
struct explained {
    enum seen seen;
    bool known; /* the rest is set */
    struct sos_explanation x;
    struct sos_explained_member member[PLAN_MEMBERS_MAX];
    const char *preferred[PLAN_MEMBERS_MAX], *blocked[PLAN_MEMBERS_MAX];
    char why[PLAN_MEMBERS_MAX][64], source[POLICY_KEYS][PATH_LEN_MAX + 64];
};

void explain_begin(struct run *r)
{
    free(r->explained);
    r->explained = r->options->explain ? mem_zalloc(sizeof *r->explained) : NULL;
}

/* ---- what there is ---- */

static enum seen seen_as(const struct entry *at)
{
    if (at->flags & ENTRY_HIDDEN)
        return SEEN_HIDDEN;
    if (at->kind == ENTRY_DIR)
        return SEEN_DIR;
    if (at->kind == ENTRY_GONE)
        return SEEN_GONE;
    return at->flags & ENTRY_DAMAGED ? SEEN_DAMAGED : SEEN_NOTHING;
}

void explain_see(struct run *r, const struct merge_row *row)
{
    const char *path = r->options->explain;
    if (!r->explained || row->path_len != strlen(path) || memcmp(row->path, path, row->path_len) != 0)
        return;
    for (unsigned i = 0; i < row->members; i++)
        if (row->at[i] && seen_as(row->at[i]) > r->explained->seen)
            r->explained->seen = seen_as(row->at[i]);
}

static const char *missing(enum seen seen)
{
    switch (seen) {
    case SEEN_NOTHING: break;
    case SEEN_GONE: return "was deleted: no reachable member has an object of this name";
    case SEEN_DIR: return "is a directory: every member gets it, whatever the policy says";
    case SEEN_DAMAGED: return "every copy that can be reached is damaged: nothing can be done with it";
    case SEEN_HIDDEN: return "is left out by a rule on some member: it is left alone everywhere";
    }
    return "no reachable member has an object of this name";
}

/* ---- why ---- */

static const char *why_original(const struct allot_group *g, const struct allotment *a, unsigned i)
{
    if (a->before & bit(i))
        return a->policy->blocked & bit(i) ? "the original, which stays though the member is blocked" : "the original";
    if (g->world.away & bit(i))
        return "its original; away";
    return a->place.wanted & bit(i) ? "its original, which comes back" : "its original, for which it has no room";
}

static const char *why_wanted(const struct allotment *a, unsigned i, char text[64])
{
    const struct policy_object *p = a->policy;
    for (unsigned k = 0; k < p->preferred_count; k++)
        if (p->preferred[k] == i) {
            snprintf(text, 64, "preferred, number %u", k + 1);
            return text;
        }
    if (p->number == POLICY_ALL)
        return "every member that is not blocked";
    return a->before & bit(i) ? "has it, and as many are asked for" : "next in line";
}

/* A copy that is not wanted, good or not. */
static const char *why_surplus(const struct allotment *a, unsigned i)
{
    if (a->stuck & bit(i))
        return "more copies than asked for, but it takes nothing away";
    if (a->place.waiting & bit(i))
        return "its copy is to go, which waits for members that are away";
    if (a->damaged & bit(i))
        return "not needed, and damaged";
    return a->policy->allowed ? "more copies than asked for" : "replication is not allowed";
}

static const char *why(const struct allot_group *g, uint64_t size, const struct allotment *a, unsigned i, char text[64])
{
    const struct policy_object *p = a->policy;
    bool has = (a->before | a->damaged) & bit(i);
    if (a->place.origin == i)
        return why_original(g, a, i);
    if (p->blocked & bit(i))
        return a->place.wanted & bit(i)    ? "blocked, but the last good copy stays"
               : a->stuck & bit(i)         ? "blocked, but it takes nothing away"
               : a->place.waiting & bit(i) ? "blocked; its copy is to go, which waits for members that are away"
                                           : "blocked";
    if (g->world.away & bit(i))
        return has ? "away; said to have it" : "away";
    if (a->place.wanted & bit(i))
        return why_wanted(a, i, text);
    if (has)
        return why_surplus(a, i);
    if (!p->allowed)
        return "replication is not allowed";
    if (g->world.room[i] >= size)
        return "not needed";
    return p->preferred_mask & bit(i) ? "preferred, but has no room" : "has no room";
}

/* ---- all of it ---- */

static size_t preferred_names(const struct run *r, const struct policy_object *p, const char **name)
{
    for (unsigned i = 0; i < p->preferred_count; i++)
        name[i] = r->peer[p->preferred[i]].member->name;
    return p->preferred_count;
}

static size_t blocked_names(const struct run *r, const struct policy_object *p, const char **name)
{
    size_t n = 0;
    for (unsigned i = 0; i < r->peers; i++)
        if (p->blocked & bit(i))
            name[n++] = r->peer[i].member->name;
    return n;
}

static const char *source_text(const struct policy_object *p, enum policy_key key, char *text, size_t size)
{
    const struct policy_source *at = &p->source[key];
    if (!at->file)
        return NULL;
    snprintf(text, size, "%s:%u, in the section of line %u", at->file, at->line, p->section[key].line);
    return text;
}

void explain_take(struct run *r, const struct verdict *v, const struct allotment *a)
{
    struct explained *to = r->explained;
    const struct policy_object *p = a->policy;
    if (!to || strcmp(r->options->explain, v->winner.path) != 0)
        return;
    to->known = true;
    to->x = (struct sos_explanation){
        .group = r->group->name, .path = r->options->explain, .allowed = p->allowed, .all = p->number == POLICY_ALL,
        .replicas = p->number, .copies = (unsigned)__builtin_popcountll(a->before & ~a->outdated), .wanted = a->place.asked + 1,
        .preferred = to->preferred, .preferreds = preferred_names(r, p, to->preferred),
        .blocked = to->blocked, .blockeds = blocked_names(r, p, to->blocked),
        .member = to->member, .members = r->peers,
    };
    for (unsigned k = 0; k < POLICY_KEYS; k++)
        to->x.source[k] = source_text(p, (enum policy_key)k, to->source[k], sizeof to->source[k]);
    for (unsigned i = 0; i < r->peers; i++)
        to->member[i] = (struct sos_explained_member){
            .name = r->peer[i].member->name, .has = a->before & bit(i), .outdated = a->outdated & bit(i),
            .damaged = a->damaged & bit(i), .should = a->place.wanted & bit(i),
            .why = why(r->allot, v->winner.size, a, i, to->why[i]),
        };
}

void explain_tell(struct run *r)
{
    struct explained *x = r->explained;
    struct sos_explanation none = {.group = r->group->name, .path = r->options->explain, .missing = missing(x->seen)};
    if (r->callbacks->explain)
        r->callbacks->explain(r->callbacks->ctx, x->known ? &x->x : &none);
}

void explain_end(struct run *r)
{
    free(r->explained);
    r->explained = NULL;
}
