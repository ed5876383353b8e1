/*
 * Copies that are not wanted any more. Each is removed only after those who are to go on holding the object have said,
 * just then, that they do: asked for it some way ahead of the removals, so that nobody waits for an answer.
 */
#include "run/run.h"

#include "base/mem.h"

#include <stdlib.h>

#define AHEAD 1024u /* questions that may be under way */

enum { UNKNOWN, CONFIRMED, REFUSED };

struct prune {
    struct plan_cursor *cursor;
    const struct plan_step *step; /* the next one to be asked about */
    bool end;
    unsigned under_way;
    uint8_t *state, *left;        /* of each step that prunes: what is known, and answers that are due */
};

void prune_begin(struct run *r)
{
    uint64_t n = plan_totals(r->plan)->prunes;
    prune_free(r);
    if (n == 0)
        return;
    r->prune = mem_zalloc(sizeof *r->prune);
    r->prune->cursor = plan_cursor_new(r->plan);
    r->prune->state = mem_zalloc(n);
    r->prune->left = mem_zalloc(n);
}

void prune_free(struct run *r)
{
    if (!r->prune)
        return;
    plan_cursor_free(r->prune->cursor);
    free(r->prune->state);
    free(r->prune->left);
    free(r->prune);
    r->prune = NULL;
}

static void ask(struct run *r, const struct plan_step *s)
{
    struct prune *x = r->prune;
    bool all = s->keep != 0;
    for (unsigned i = 0; i < r->parts; i++)
        all = all && (!(s->keep >> i & 1) || peer_lives(r->part[i]));
    if (!all) {
        x->state[s->prune] = REFUSED;
        return;
    }
    for (unsigned i = 0; i < r->parts; i++)
        if (s->keep >> i & 1) {
            damage_confirm(r->part[i], s);
            x->left[s->prune]++;
            x->under_way++;
        }
}

int prune_advance(struct run *r, struct err *e)
{
    struct prune *x = r->prune;
    while (x && !x->end && r->stage == PLAN_PRUNE && x->under_way < AHEAD) {
        int rc = plan_cursor_next(x->cursor, &x->step, e);
        if (rc < 0)
            return rc;
        x->end = rc == 0;
        if (rc > 0 && x->step->phase == PLAN_PRUNE)
            ask(r, x->step);
    }
    return 0;
}

void prune_answer(struct run *r, uint64_t prune, bool holds)
{
    struct prune *x = r->prune;
    if (!x || x->left[prune] == 0)
        return;
    x->under_way--;
    if (!holds)
        x->state[prune] = REFUSED;
    if (--x->left[prune] == 0 && x->state[prune] == UNKNOWN)
        x->state[prune] = CONFIRMED;
}

bool prune_known(const struct run *r, const struct plan_step *s)
{
    return !r->prune || r->prune->state[s->prune] == CONFIRMED || (r->prune->state[s->prune] == REFUSED && r->prune->left[s->prune] == 0);
}

bool prune_refused(const struct run *r, const struct plan_step *s)
{
    return r->prune && r->prune->state[s->prune] == REFUSED;
}
