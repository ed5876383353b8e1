/* Policies: what the run knows of the group's members that placement must know, and what came of it. */
#include "run/run.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESERVE_PART 20u            /* of the free room, one part in so many is left alone, */
#define RESERVE_MAX ((uint64_t)1 << 30) /* but not more than this */

bool placing_asked(const struct run *r)
{
    return r->policy && (!group_policy_plain(r->policy) || r->options->explain || r->states) && !r->options->removes;
}

/* What the others remember of a member that is away. */
static void remember(struct run *r, size_t member, struct uuid *id, int64_t *seen)
{
    struct peer *away = &r->peer[member];
    for (unsigned i = 0; i < r->parts; i++) {
        struct peer *p = r->part[i];
        char *where = guard_where_for(away, p);
        for (size_t k = 0; k < p->knows_n; k++)
            if (strcmp(p->knows[k].address, where) == 0 && p->knows[k].seen >= *seen) {
                *id = p->knows[k].id;
                *seen = p->knows[k].seen;
            }
        free(where);
    }
}

static uint64_t room_of(const struct run *r, const struct peer *p, unsigned number)
{
    uint64_t room = UINT64_MAX, used = p->scanned.totals.bytes;
    uint64_t capacity = group_policy_member(r->policy, number)->capacity;
    if (r->full & (uint64_t)1 << number)
        return 0;
    if (p->free_bytes) {
        uint64_t reserve = p->free_bytes / RESERVE_PART;
        room = p->free_bytes - (reserve < RESERVE_MAX ? reserve : RESERVE_MAX);
    }
    if (capacity && (capacity < used ? 0 : capacity - used) < room)
        room = capacity < used ? 0 : capacity - used;
    return room;
}

struct allot_group *placing_new(struct run *r)
{
    struct allot_group *g = mem_zalloc(sizeof *g);
    g->policy = r->policy;
    g->world.members = (unsigned)r->peers;
    for (unsigned i = 0; i < r->peers; i++) {
        struct peer *p = &r->peer[i];
        int64_t seen = 0;
        g->part[i] = PLAN_NOBODY;
        for (unsigned k = 0; k < r->parts; k++)
            if (r->part[k] == p) {
                g->part[i] = (uint8_t)k;
                g->number[k] = (uint8_t)i;
            }
        if (g->part[i] != PLAN_NOBODY) {
            g->id[i] = p->id;
            g->world.room[i] = room_of(r, p, i);
        } else {
            g->world.away |= (uint64_t)1 << i;
            remember(r, i, &g->id[i], &seen);
            if (seen && r->now - seen <= (int64_t)r->settings.down_after)
                g->believed |= (uint64_t)1 << i;
        }
        g->world.seed[i] = place_seed(&g->id[i]);
    }
    return g;
}

/* ---- explaining ---- */

static uint64_t bit(unsigned i)
{
    return (uint64_t)1 << i;
}

static const char *why(const struct allot_group *g, const struct verdict *v, const struct allotment *a, unsigned i,
                       char text[64])
{
    const struct policy_object *p = a->policy;
    bool has = a->before & bit(i);
    if (a->place.origin == i)
        return p->blocked & bit(i) ? "the original, which stays though the member is blocked" : "the original";
    if (p->blocked & bit(i))
        return a->place.waiting & bit(i) ? "blocked; its copy is to go, which waits for members that are away" : "blocked";
    if (g->world.away & bit(i))
        return has ? "away; said to have it" : "away";
    for (unsigned k = 0; k < p->preferred_count && a->place.wanted & bit(i); k++)
        if (p->preferred[k] == i) {
            snprintf(text, 64, "preferred, number %u", k + 1);
            return text;
        }
    if (a->place.wanted & bit(i))
        return has ? "has it, and as many are asked for" : "next in line";
    if (has)
        return a->place.drop & bit(i) ? "more copies than asked for"
                                      : "more copies than asked for; its own is to go, which waits for members that are away";
    if (!p->allowed)
        return "replication is not allowed";
    return g->world.room[i] < v->winner.size ? "has no room" : "not needed";
}

static const char *source_text(const struct policy_object *p, enum policy_key key, char *text, size_t size)
{
    const struct policy_source *at = &p->source[key];
    if (!at->file)
        return NULL;
    snprintf(text, size, "%s:%u, in the section of line %u", at->file, at->line, p->section[key].line);
    return text;
}

static void explain(struct run *r, const struct verdict *v, const struct allotment *a)
{
    struct sos_explained_member member[PLAN_MEMBERS_MAX];
    char texts[PLAN_MEMBERS_MAX][64], sources[POLICY_KEYS][512];
    const struct policy_object *p = a->policy;
    struct sos_explanation x = {
        .group = r->group->name, .path = v->winner.path, .allowed = p->allowed, .all = p->number == POLICY_ALL,
        .replicas = p->number, .copies = (unsigned)__builtin_popcountll(a->before),
        .wanted = (unsigned)__builtin_popcountll(a->place.wanted), .member = member, .members = r->peers,
    };
    for (unsigned k = 0; k < POLICY_KEYS; k++)
        x.source[k] = source_text(p, (enum policy_key)k, sources[k], sizeof sources[k]);
    for (unsigned i = 0; i < r->peers; i++)
        member[i] = (struct sos_explained_member){r->peer[i].member->name, a->before & bit(i), a->place.wanted & bit(i),
                                                  why(r->allot, v, a, i, texts[i])};
    if (r->callbacks->explain)
        r->callbacks->explain(r->callbacks->ctx, &x);
    r->explained = true;
}

/* ---- what came of it ---- */

void placing_take(void *ctx, const struct verdict *v, const struct allotment *a)
{
    struct run *r = ctx;
    struct placed *t = &r->placed;
    if (r->options->explain && strcmp(r->options->explain, v->winner.path) == 0)
        explain(r, v, a);
    if (a->place.under && t->under++ == 0)
        snprintf(t->first_under, sizeof t->first_under, "%s", v->winner.path);
    if (a->place.waiting && t->waiting++ == 0)
        snprintf(t->first_waiting, sizeof t->first_waiting, "%s", v->winner.path);
    t->blocked += a->place.blocked_original;
}

static void tell(struct run *r, uint64_t n, const char *what, const char *first)
{
    char text[PATH_LEN_MAX + 256];
    snprintf(text, sizeof text, "%" PRIu64 " object%s %s%s%s", n, n == 1 ? "" : "s", what, first ? "; the first: " : "",
             first ? first : "");
    report_trouble(r, NULL, NULL, false, text);
}

void placing_tell(struct run *r)
{
    if (r->options->explain) {
        if (!r->explained) {
            report_trouble(r, NULL, r->options->explain, true, "no reachable member has an object of this name");
            report_status(r, SOS_PARTIAL);
        }
        return;
    }
    const struct placed *t = &r->placed;
    r->summary.under_replicated = t->under;
    if (t->under)
        tell(r, t->under, "with fewer copies than asked for, since there is no other member for them", t->first_under);
    if (t->waiting)
        tell(r, t->waiting, "with copies that are to go, which waits for members that are away", t->first_waiting);
    if (t->blocked)
        tell(r, t->blocked, "whose original stays on a blocked member", NULL);
    if (t->under || t->waiting)
        report_status(r, SOS_COPIES);
}
