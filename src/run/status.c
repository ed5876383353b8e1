/*
 * What the members of a group have recorded, without a scan, and how that stands to the policy. Who should hold what is
 * judged as a run judges it, by a plan that nobody carries out.
 */
#include "run/run.h"

#include "base/mem.h"

#include <stdlib.h>

struct tally {
    uint64_t objects, bytes, under, over;
    struct sos_copies group, member[PLAN_MEMBERS_MAX]; /* numbered as in the group */
};

int status_stated(struct peer *p, struct frame *f, struct err *e)
{
    p->state = PEER_STATED;
    return message_get_stated(f, &p->stated, e);
}

/* ---- counting ---- */

void status_begin(struct run *r)
{
    *r->tally = (struct tally){0};
}

static unsigned count(uint64_t set)
{
    return (unsigned)__builtin_popcountll(set);
}

static void count_members(struct tally *t, uint64_t wanted, uint64_t there, uint64_t surplus)
{
    for (uint64_t left = wanted | surplus; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        t->member[i].wanted += wanted >> i & 1;
        t->member[i].there += (wanted & there) >> i & 1;
        t->member[i].surplus += surplus >> i & 1;
    }
}

void status_take(void *ctx, const struct verdict *v, const struct allotment *a)
{
    struct tally *t = ((struct run *)ctx)->tally;
    const struct place_result *p = &a->place;
    if (!v->row)
        return; /* a version that a run would keep under another name: nobody has that yet */
    uint64_t origin = p->origin == PLACE_NOBODY ? 0 : UINT64_C(1) << p->origin;
    uint64_t there = a->before & ~a->outdated, sound = there & ~(a->policy->blocked & ~origin);
    uint64_t surplus = a->before & ~p->wanted; /* an older version is one, too */
    unsigned asked = p->asked + 1, good = count(sound) < asked ? count(sound) : asked;
    t->objects++;
    t->bytes += v->winner.kind == ENTRY_FILE ? v->winner.size : 0;
    t->group.wanted += asked;
    t->group.there += good;
    t->group.surplus += count(surplus);
    t->under += good < asked;
    t->over += surplus != 0;
    t->group.blocked_originals += p->blocked_original;
    if (p->blocked_original)
        t->member[p->origin].blocked_originals++;
    count_members(t, p->wanted, there, surplus);
}

/* ---- telling ---- */

static enum sos_member_state state_of(const struct peer *p)
{
    if (p->in_use)
        return SOS_MEMBER_IN_USE;
    if (!peer_lives(p))
        return SOS_MEMBER_UNREACHABLE;
    return p->stated.recorded ? SOS_MEMBER_OK : SOS_MEMBER_NEW;
}

static struct sos_member describe(const struct run *r, const struct peer *p)
{
    const struct store_status *s = &p->stated;
    struct sos_member m = {.group = r->group->name, .member = p->member->name, .state = state_of(p),
                           .copies = r->tally->member[p - r->peer]};
    if (m.state == SOS_MEMBER_OK || m.state == SOS_MEMBER_NEW)
        m.free_bytes = p->free_bytes;
    if (m.state == SOS_MEMBER_OK) {
        m.objects = s->totals.objects;
        m.bytes = s->totals.bytes;
        m.damaged = s->damaged;
        m.verified = s->verified;
        m.last_run = s->last_run;
    }
    return m;
}

/* Members without files have nothing to verify. */
static void add_up(struct sos_standing *to, const struct sos_member *m, bool *any)
{
    to->unreachable += m->state == SOS_MEMBER_UNREACHABLE || m->state == SOS_MEMBER_IN_USE;
    to->damaged += m->damaged;
    to->last_run = m->last_run > to->last_run ? m->last_run : to->last_run;
    if (m->objects > 0 && (!*any || m->verified < to->verified)) {
        to->verified = m->verified;
        *any = true;
    }
}

static void tell(struct run *r)
{
    const struct tally *t = r->tally;
    struct sos_standing s = {.group = r->group->name, .members = (unsigned)r->peers, .bytes = t->bytes, .copies = t->group,
                             .under_replicated = t->under, .over_replicated = t->over};
    bool any = false;
    if (r->plan) {
        s.objects = plan_totals(r->plan)->objects;
        s.under_replicated += plan_totals(r->plan)->lost; /* of these all copies are damaged */
    }
    for (size_t i = 0; i < r->peers; i++) {
        struct sos_member m = describe(r, &r->peer[i]);
        add_up(&s, &m, &any);
        if (r->callbacks->member)
            r->callbacks->member(r->callbacks->ctx, &m);
    }
    r->summary.damaged += s.damaged;
    if (s.under_replicated || s.over_replicated)
        report_status(r, SOS_COPIES);
    if (r->callbacks->standing)
        r->callbacks->standing(r->callbacks->ctx, &s);
}

/* ---- asking ---- */

int status_ask(struct run *r, struct err *e)
{
    for (size_t i = 0; i < r->peers; i++)
        if (peer_lives(&r->peer[i])) {
            wire_out_frame(&r->peer[i].out, MSG_STATUS, 0, NULL, 0);
            r->peer[i].state = PEER_STATING;
        }
    int rc = peers_await(r, PEER_STATING, e);
    for (size_t i = 0; i < r->peers; i++)
        if (r->peer[i].state == PEER_STATED) {
            r->peer[i].scanned.totals = r->peer[i].stated.totals;
            r->peer[i].state = PEER_SCANNED; /* what is recorded is as good as a scan */
        }
    if (rc == 0)
        rc = compare_recorded(r, e);
    if (rc == 0)
        tell(r);
    return rc;
}

enum sos_status sos_status_of(const struct sos_groups *g, size_t group, const struct sos_options *options,
                              const struct sos_callbacks *callbacks)
{
    struct sos_options reads = *options;
    reads.dry_run = true; /* a shared lock, and no writing */
    struct sos_callbacks quiet = *callbacks;
    quiet.summary = NULL;
    const struct group *which = &g->groups.group[group];
    struct policy *nothing = g->bound ? NULL : policy_new();
    struct group_policy *asked = g->bound ? g->bound[group] : policy_bind(nothing, which);
    struct tally *tally = mem_zalloc(sizeof *tally);
    struct run r = {.group = which, .policy = asked, .options = &reads, .callbacks = &quiet, .states = true, .tally = tally};
    enum sos_status status = run_group(&r);
    free(tally);
    if (!g->bound)
        group_policy_free(asked);
    policy_free(nothing);
    return status;
}
