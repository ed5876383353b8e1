#include "run/run.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_named(const struct sos_options *o, const struct member *m)
{
    for (size_t i = 0; i < o->adopts; i++)
        if (strcmp(o->adopt[i], m->name) == 0 || strcmp(o->adopt[i], m->address.text) == 0 ||
            (m->listed && strcmp(o->adopt[i], m->listed) == 0))
            return true;
    return false;
}

static int start_all(struct run *r, struct err *e)
{
    r->phase = SOS_PHASE_SCAN;
    r->peer = mem_zalloc(r->group->members * sizeof *r->peer);
    for (size_t i = 0; i < r->group->members; i++) {
        struct peer *p = &r->peer[i];
        *p = (struct peer){.run = r, .member = &r->group->member[i], .link = LINK_NONE, .root = -1};
        p->last = &p->first;
        p->fail_last = &p->fail_first;
        p->where = guard_where(p->member);
        p->remote = p->member->address.kind == ADDRESS_SSH;
        p->metered = p->remote || blobs_member(p->member);
        p->adopted = is_named(r->options, p->member);
        r->peers++;
    }
    for (size_t i = 0; i < r->peers; i++) {
        int rc = r->refused[i] ? 0 : peer_start(r, &r->peer[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool locked(const struct run *r)
{
    return r->summary.status == SOS_LOCKED;
}

int run_open(struct run *r, struct err *e)
{
    int rc = start_all(r, e);
    if (rc == 0)
        rc = peers_await(r, PEER_OPENING, e);
    if (rc < 0)
        return rc;
    if ((locked(r) || r->blocked) && !r->states)
        return err_set(e, ERR_LOCKED, "a store is in use: the group is left alone");
    guard_check(r);
    return 0;
}

/* A selection of stores on the command line does not move them out of their groups. */
static const char *group_to_be(const struct run *r, const struct peer *p)
{
    bool keeps = (p->flags & OPENED_MARKED) && !p->adopted && strcmp(r->group->name, GROUP_DEFAULT) == 0;
    return keeps ? p->group : r->group->name;
}

static int scan_all(struct run *r, struct err *e)
{
    for (size_t i = 0; i < r->peers; i++) {
        struct peer *p = &r->peer[i];
        if (!peer_lives(p))
            continue;
        if (damage_scrubs(r) && !(p->flags & OPENED_MARKED)) {
            peer_fail(p, ERR_UNSUPPORTED, "it has not been in a run yet: nothing says what its content should be");
            continue;
        }
        const char *name = group_to_be(r, p);
        struct message_scan m = {p->id, name, strlen(name)};
        message_put_scan(&p->out, &m);
        p->state = PEER_SCANNING;
    }
    int rc = peers_await(r, PEER_SCANNING, e);
    for (size_t i = 0; i < r->peers; i++)
        r->seen |= peer_lives(&r->peer[i]) ? UINT64_C(1) << i : 0;
    damage_count(r);
    return rc;
}

/* Every member remembers all that took part, so that a store which is not there next time is missed. */
static void send_commit(struct run *r, struct peer *to)
{
    struct message_peer known[PLAN_MEMBERS_MAX];
    char *where[PLAN_MEMBERS_MAX];
    for (unsigned i = 0; i < r->parts; i++) {
        where[i] = guard_where_for(r->part[i], to);
        known[i] = (struct message_peer){.id = r->part[i]->id, .address = where[i], .address_len = strlen(where[i])};
    }
    message_put_commit(&to->out, known, r->parts);
    to->state = PEER_COMMITTING;
    for (unsigned i = 0; i < r->parts; i++)
        free(where[i]);
}

static int commit_all(struct run *r, struct err *e)
{
    r->phase = SOS_PHASE_COMMIT;
    int rc = 0;
    for (unsigned i = 0; i < r->parts && !r->options->dry_run; i++)
        if (peer_lives(r->part[i]))
            send_commit(r, r->part[i]);
    if (!r->options->dry_run) {
        rc = peers_turn(r, e); /* now they are at work, and we do ours meanwhile */
        if (rc == 0)
            compare_committing(r);
    }
    if (rc == 0)
        rc = peers_await(r, PEER_COMMITTING, e);
    if (rc == 0)
        compare_committed(r);
    return rc;
}

static int run_once(struct run *r, struct err *e)
{
    int rc = run_open(r, e);
    if (rc == 0 && r->states)
        return status_ask(r, e);
    if (rc == 0)
        rc = scan_all(r, e);
    if (rc == 0)
        rc = compare_run(r, e);
    if (rc == 0 && r->options->explain)
        return 0; /* who asks why is told that alone */
    if (rc == 0)
        rc = transfer_run(r, e);
    damage_end(r);
    if (rc == 0 && !(damage_scrubs(r) && r->options->no_heal))
        rc = commit_all(r, e);
    return rc;
}

void run_release(struct run *r, bool patient)
{
    report_end(r);
    for (size_t i = 0; patient && i < r->peers; i++)
        peer_bye(&r->peer[i]);
    for (size_t i = 0; i < r->peers; i++) {
        compare_free(&r->peer[i]);
        peer_free(&r->peer[i], patient);
    }
    free(r->peer);
    r->peer = NULL;
    r->peers = 0;
    r->parts = 0;
    free(r->channel);
    r->channel = NULL;
    r->channels = 0;
    if (r->plan)
        plan_free(r->plan);
    r->plan = NULL;
    free(r->allot);
    r->allot = NULL;
    prune_free(r);
    r->damage_tries += r->found_damage;
    r->lost_source = r->moved = r->found_damage = r->overflowed = false;
}

void run_failed(struct run *r, int rc, const struct err *e)
{
    if (rc == ERR_LOCKED)
        return; /* the member that is locked has said so */
    uint64_t open = 0;
    for (size_t i = 0; i < r->peers; i++)
        open += r->peer[i].sent - r->peer[i].done;
    char *text = rc != ERR_INTERRUPTED || open == 0 ? mem_strdup(e->msg)
        : mem_printf("interrupted: %" PRIu64 " operations that were under way are not told; what they did is whole, and the "
                     "next run goes on from there", open);
    report_trouble(r, NULL, NULL, true, text);
    report_status(r, SOS_FAILED);
    free(text);
}

static void count_objects(struct run *r)
{
    if (r->states)
        return;
    if (r->parts == 0) {
        report_status(r, SOS_FAILED);
        return;
    }
    r->summary.objects = r->in_step || r->parts == 1 ? r->part[0]->scanned.totals.objects
                                                     : plan_totals(r->plan)->objects;
}

/*
 * A source that died, or was damaged, took its operations with it; what other members hold can still be given by them.
 * What was in motion may stand still now: it is looked at once more.
 */
bool run_tries_again(const struct run *r)
{
    unsigned living = 0;
    for (size_t i = 0; i < r->peers; i++)
        living += peer_lives(&r->peer[i]);
    return (r->lost_source || r->found_damage || r->overflowed || (r->moved && r->attempt == 0)) && living >= 2;
}

/* What the policy says, and what was said by hand. */
static void settle_settings(struct run *r)
{
    const struct sos_options *o = r->options;
    if (r->policy)
        r->settings = *group_policy_settings(r->policy);
    else
        policy_settings_init(&r->settings);
    if (o->max_delete_given) {
        r->settings.max_delete = o->max_delete;
        r->settings.max_delete_percent = o->max_delete_percent;
    }
}

/* Until the next try: longer each time, and never the same, so that two runs do not keep each other out for ever. */
static int nap(const struct run *r, unsigned tries, struct err *e)
{
    struct uuid chance;
    uuid_random(&chance);
    int64_t until = clock_mono_ms() + (tries < 5 ? 200 << tries : 6400) + 4 * chance.b[0];
    while (clock_mono_ms() < until) {
        if (r->callbacks->interrupted && r->callbacks->interrupted(r->callbacks->ctx))
            return err_set(e, ERR_INTERRUPTED, "interrupted");
        if (!peer_may_wait(r))
            return 0; /* once more, and then it says so */
        poll(NULL, 0, 100);
    }
    return 0;
}

/*
 * While a store is held by another run all that we hold is let go: else two runs over the same stores
 * could wait for each other.
 */
static int run_patiently(struct run *r, struct err *e)
{
    int rc;
    for (unsigned tries = 0;; tries++) {
        r->blocked = false;
        rc = run_once(r, e);
        if (rc != ERR_LOCKED || !r->blocked || locked(r))
            return rc;
        run_release(r, false);
        r->waited = true;
        if ((rc = nap(r, tries, e)) < 0)
            return rc;
    }
}

void run_prepare(struct run *r)
{
    r->refused = mem_zalloc(r->group->members * sizeof *r->refused);
    r->found = mem_zalloc(r->options->removes + 1);
    r->started = clock_mono_ms();
    r->now = clock_now().sec;
    settle_settings(r);
    rate_init(&r->rate, r->options->bwlimit, r->started);
    r->summary = (struct sos_summary){.group = r->group->name, .members = (unsigned)r->group->members,
                                      .dry_run = r->options->dry_run, .scrub = damage_scrubs(r)};
    signal(SIGPIPE, SIG_IGN);
    file_raise_limit();
}

void run_end(struct run *r)
{
    free(r->refused);
    free(r->found);
    free(r->told.hash);
}

enum sos_status run_group(struct run *r)
{
    r->take = messages_take;
    r->died = transfer_peer_died;
    run_prepare(r);
    for (bool again = true; again; r->attempt++) {
        struct err e;
        report_again(r);
        int rc = run_patiently(r, &e);
        if (rc < 0)
            run_failed(r, rc, &e);
        else
            count_objects(r);
        again = rc == 0 && run_tries_again(r);
        run_release(r, rc == 0);
    }
    if (r->summary.damaged > r->summary.healed)
        report_status(r, SOS_PARTIAL);
    placing_tell(r);
    r->summary.seconds = (double)(clock_mono_ms() - r->started) / 1000;
    if (r->callbacks->summary)
        r->callbacks->summary(r->callbacks->ctx, &r->summary);
    run_end(r);
    return r->summary.status;
}

/* The rules of the policy come after those that were given: what is said by hand decides. Caller frees. */
static struct sos_filter_rule *all_rules(const struct group_policy *policy, struct sos_options *o)
{
    const struct policy_settings *s = group_policy_settings(policy);
    struct sos_filter_rule *rule = mem_alloc((o->filters + s->excludes + 1) * sizeof *rule);
    size_t n = 0;
    for (; n < o->filters; n++)
        rule[n] = o->filter[n];
    for (size_t i = 0; i < s->excludes; i++)
        rule[n++] = (struct sos_filter_rule){false, s->exclude[i]};
    o->filter = rule;
    o->filters = n;
    return rule;
}

enum sos_status sos_sync(const struct sos_groups *g, size_t group, const struct sos_options *options,
                         const struct sos_callbacks *callbacks)
{
    struct sos_options o = *options;
    struct group_policy *policy = g->bound ? g->bound[group] : NULL;
    struct sos_filter_rule *rule = policy ? all_rules(policy, &o) : NULL;
    struct run r = {.group = &g->groups.group[group], .policy = policy, .options = &o, .callbacks = callbacks};
    for (size_t i = 0; policy && policy_remark(g->policy, i); i++)
        report_trouble(&r, NULL, NULL, false, policy_remark(g->policy, i));
    enum sos_status status = run_group(&r);
    free(rule);
    return status;
}
