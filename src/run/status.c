/* What the members of a group have recorded, without a scan. */
#include "run/run.h"

#include "base/mem.h"

int status_stated(struct peer *p, struct frame *f, struct err *e)
{
    p->state = PEER_STATED;
    return message_get_stated(f, &p->stated, e);
}

static enum sos_member_state state_of(const struct peer *p)
{
    if (p->in_use)
        return SOS_MEMBER_IN_USE;
    if (!peer_lives(p))
        return SOS_MEMBER_UNREACHABLE;
    return p->stated.recorded ? SOS_MEMBER_OK : SOS_MEMBER_NEW;
}

static void tell(struct run *r, const struct peer *p)
{
    const struct store_status *s = &p->stated;
    struct sos_member m = {.group = r->group->name, .member = p->member->name, .state = state_of(p)};
    if (m.state == SOS_MEMBER_OK || m.state == SOS_MEMBER_NEW)
        m.free_bytes = p->free_bytes;
    if (m.state == SOS_MEMBER_OK) {
        m.objects = s->totals.objects;
        m.bytes = s->totals.bytes;
        m.damaged = s->damaged;
        m.verified = s->verified;
        m.last_run = s->last_run;
        r->summary.damaged += s->damaged;
    }
    if (r->callbacks->member)
        r->callbacks->member(r->callbacks->ctx, &m);
}

int status_ask(struct run *r, struct err *e)
{
    bool waits = true;
    for (size_t i = 0; i < r->peers; i++)
        if (peer_lives(&r->peer[i])) {
            wire_out_frame(&r->peer[i].out, MSG_STATUS, 0, NULL, 0);
            r->peer[i].state = PEER_STATING;
        }
    while (waits) {
        waits = false;
        for (size_t i = 0; i < r->peers; i++)
            waits |= r->peer[i].state == PEER_STATING;
        int rc = waits ? peers_turn(r, e) : 0;
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < r->peers; i++)
        tell(r, &r->peer[i]);
    return 0;
}

enum sos_status sos_status_of(const struct sos_groups *g, size_t group, const struct sos_options *options,
                              const struct sos_callbacks *callbacks)
{
    struct sos_options reads = *options;
    reads.dry_run = true; /* a shared lock, and no writing */
    struct sos_callbacks quiet = *callbacks;
    quiet.summary = NULL;
    struct run r = {.group = &g->groups.group[group], .options = &reads, .callbacks = &quiet, .states = true};
    return run_group(&r);
}
