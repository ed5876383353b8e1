/*
 * Damage: content that differs though nothing says that it was changed. What a scan finds is in the manifests, and
 * the plan heals it; what a copy meets is looked at again by the member that gave it, and is then for another attempt.
 */
#include "run/run.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What a target said of content that did not have its digest, until the member that gave it has looked. */
struct suspect {
    struct suspect *next;
    const char *target; /* name of the member */
    bool own;           /* the target may have taken it from its own store, and has looked at that itself */
    char *path, *text;  /* NULL for a copy that is to be confirmed before another one is removed: */
    uint64_t prune;
};

bool damage_scrubs(const struct run *r)
{
    return r->options->scrub_parts > 0;
}

void damage_count(struct run *r)
{
    r->summary.damaged = r->summary.healed;
    for (size_t i = 0; i < r->peers; i++)
        if (peer_lives(&r->peer[i]))
            r->summary.damaged += r->peer[i].scanned.damaged;
}

bool damage_known(const struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++)
        if (r->part[i]->scanned.damaged > 0)
            return true;
    return false;
}

static void enqueue(struct peer *p, const struct suspect *x)
{
    struct suspect **at = &p->suspect, *copy = mem_alloc(sizeof *copy);
    *copy = *x;
    while (*at)
        at = &(*at)->next;
    *at = copy;
}

void damage_confirm(struct peer *p, const struct plan_step *s)
{
    enqueue(p, &(struct suspect){.prune = s->prune});
    message_put_check(&p->out, !p->run->options->prune_stat, &s->entry);
}

bool damage_suspect(struct peer *target, const struct plan_step *s, bool own, const char *text)
{
    struct run *r = target->run;
    struct peer *source = s->source == PLAN_NOBODY ? NULL : r->part[s->source];
    if (!source || !peer_lives(source))
        return false;
    enqueue(source, &(struct suspect){.target = target->member->name, .own = own, .path = mem_strdup(s->entry.path),
                                      .text = mem_strdup(text)});
    message_put_check(&source->out, true, &s->entry);
    return true;
}

static void drop_suspect(struct peer *p)
{
    struct suspect *x = p->suspect;
    p->suspect = x->next;
    free(x->path);
    free(x->text);
    free(x);
}

/* There will be no better attempt: it has failed. */
static void tell_suspect(struct run *r, const struct suspect *x)
{
    report_trouble(r, x->target, x->path, true, x->text);
    report_status(r, SOS_PARTIAL);
    r->summary.failed++;
}

int damage_checked(struct peer *p, struct frame *f, struct err *e)
{
    uint64_t found;
    struct run *r = p->run;
    int rc = message_get_number(f, &found, e);
    if (rc < 0)
        return rc;
    if (!p->suspect || found > STORE_CHECK_CHANGED)
        return err_set(e, ERR_PROTO, "what it found of an object that it was not asked about");
    if (!p->suspect->path) {
        prune_answer(r, p->suspect->prune, found == STORE_CHECK_GOOD);
        r->found_damage |= found == STORE_CHECK_DAMAGED && r->damage_tries < r->group->members;
        drop_suspect(p);
        return 0;
    }
    bool better = found == STORE_CHECK_DAMAGED || p->suspect->own;
    if (better && r->damage_tries < r->group->members)
        r->found_damage = true;
    else if (r->attempt == 0)
        r->moved = true;
    else
        tell_suspect(r, p->suspect);
    drop_suspect(p);
    return 0;
}

/* Who was to confirm a copy and is gone confirms nothing. */
void damage_peer_died(struct peer *p)
{
    for (struct suspect **at = &p->suspect, *x; (x = *at);) {
        if (x->path) {
            at = &x->next;
            continue;
        }
        prune_answer(p->run, x->prune, false);
        *at = x->next;
        free(x);
    }
}

void damage_end(struct run *r)
{
    for (size_t i = 0; i < r->peers; i++)
        while (r->peer[i].suspect) {
            if (r->peer[i].suspect->path)
                tell_suspect(r, r->peer[i].suspect);
            drop_suspect(&r->peer[i]);
        }
}
