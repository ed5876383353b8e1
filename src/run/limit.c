/* --max-delete: how much content a run may take away from a member. */
#include "run/run.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_AT_LEAST 100u

/* What the run would take away, each content once. */
struct limit {
    struct digest *was; /* ascending */
    bool *lives;        /* some object of the group goes on having it: it was only renamed, or is there twice */
    size_t n;
};

static uint64_t allowed(const struct run *r, const struct peer *p)
{
    const struct policy_settings *s = &r->settings;
    uint64_t objects = p->scanned.totals.objects;
    if (!s->max_delete_percent)
        return s->max_delete;
    if (s->max_delete >= 100)
        return UINT64_MAX;
    uint64_t share = objects / 100 * s->max_delete + objects % 100 * s->max_delete / 100;
    bool told = r->options->max_delete_given || s->source[POLICY_SET_MAX_DELETE].file;
    return !told && share < DEFAULT_AT_LEAST ? DEFAULT_AT_LEAST : share;
}

bool limit_exceeded(const struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++)
        if (plan_totals(r->plan)->removes[i] > allowed(r, r->part[i]))
            return true;
    return false;
}

static int compare_digests(const void *a, const void *b)
{
    return digest_cmp(a, b);
}

static void add(struct limit *l, size_t *cap, const struct digest *was)
{
    if (l->n == *cap) {
        *cap = *cap ? 2 * *cap : 1024;
        l->was = mem_resize(l->was, *cap, sizeof *l->was);
    }
    l->was[l->n++] = *was;
}

struct limit *limit_new(struct run *r, struct err *e)
{
    struct limit *l = mem_zalloc(sizeof *l);
    struct plan_cursor *c = plan_cursor_new(r->plan);
    const struct plan_step *s;
    size_t cap = 0, kept = 0;
    int rc;
    while ((rc = plan_cursor_next(c, &s, e)) > 0)
        for (unsigned i = 0; i < s->targets; i++)
            if (s->target[i].object)
                add(l, &cap, &s->target[i].was);
    plan_cursor_free(c);
    if (rc < 0) {
        limit_free(l);
        return NULL;
    }
    if (l->n > 1)
        qsort(l->was, l->n, sizeof *l->was, compare_digests);
    for (size_t i = 0; i < l->n; i++)
        if (kept == 0 || !digest_same(&l->was[kept - 1], &l->was[i]))
            l->was[kept++] = l->was[i];
    l->n = kept;
    l->lives = mem_zalloc(kept + 1);
    return l;
}

void limit_free(struct limit *l)
{
    if (!l)
        return;
    free(l->was);
    free(l->lives);
    free(l);
}

static const struct digest *find(const struct limit *l, const struct digest *d)
{
    return l->n ? bsearch(d, l->was, l->n, sizeof *l->was, compare_digests) : NULL;
}

void limit_see(struct limit *l, const struct entry *stays)
{
    const struct digest *at = find(l, &stays->digest);
    if (at)
        l->lives[at - l->was] = true;
}

static void refuse(struct run *r, struct peer *p, uint64_t gone)
{
    char most[32];
    const struct policy_settings *s = &r->settings;
    snprintf(most, sizeof most, "%" PRIu64 "%s", s->max_delete, s->max_delete_percent ? "%" : "");
    peer_trouble(p, true, NULL, "%" PRIu64 " of its %" PRIu64 " objects would be deleted, more than max-delete (%s) allows: nothing is "
                 "deleted in this run. If they were deleted on purpose, --max-delete %" PRIu64 " lets it; if not, find out what "
                 "happened to the members that lack them", gone, p->scanned.totals.objects, most, gone);
    report_status(r, SOS_GUARD);
}

int limit_enforce(struct run *r, const struct limit *l, struct err *e)
{
    uint64_t gone[PLAN_MEMBERS_MAX] = {0};
    struct plan_cursor *c = plan_cursor_new(r->plan);
    const struct plan_step *s;
    bool stop = false;
    int rc;
    while ((rc = plan_cursor_next(c, &s, e)) > 0)
        for (unsigned i = 0; i < s->targets; i++) {
            const struct digest *at = s->target[i].object ? find(l, &s->target[i].was) : NULL;
            gone[s->target[i].member] += at && !l->lives[at - l->was];
        }
    plan_cursor_free(c);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < r->parts; i++)
        if (gone[i] > allowed(r, r->part[i])) {
            refuse(r, r->part[i], gone[i]);
            stop = true;
        }
    if (stop)
        plan_drop_removals(r->plan);
    return 0;
}
