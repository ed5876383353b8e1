#include "run/run.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define OUT_ENOUGH (1u << 20) /* bytes of questions that may wait for one peer */

/* ---- manifests arriving ---- */

static void grant(struct peer *p, uint64_t n)
{
    p->list_granted += n;
    message_put_number(&p->out, MSG_CREDIT, MSG_CHANNEL_LIST, n);
}

int compare_block(struct peer *p, const void *data, size_t n, struct err *e)
{
    /* Blocks are not split, so the last one may reach beyond the credit; none may begin there. */
    if (p->list_arrived >= p->list_granted)
        return err_set(e, ERR_PROTO, "a manifest that comes without credit");
    p->list_arrived += n;
    struct block *b = mem_alloc(sizeof *b + n);
    b->next = NULL;
    b->len = n;
    memcpy(b->data, data, n);
    *p->last = b;
    p->last = &b->next;
    return 0;
}

static void drop_current(struct peer *p)
{
    if (!p->current)
        return;
    grant(p, p->current->len);
    free(p->current);
    p->current = NULL;
}

void compare_free(struct peer *p)
{
    free(p->current);
    p->current = NULL;
    for (struct block *b; (b = p->first);) {
        p->first = b->next;
        free(b);
    }
    p->last = &p->first;
    if (p->decoder)
        manifest_decoder_free(p->decoder);
    p->decoder = NULL;
    free(p->ask);
    p->ask = NULL;
}

/* The merge's source: entries of the blocks that have come. */
static int next_entry(void *ctx, const struct entry **entry, struct err *e)
{
    struct peer *p = ctx;
    if (!peer_lives(p))
        return err_set(e, ERR_PROTO, "its agent is gone");
    for (;;) {
        int rc = p->current ? manifest_decoder_next(p->decoder, entry, e) : 0;
        if (rc != 0)
            return rc < 0 ? rc : MERGE_READY;
        drop_current(p);
        struct block *b = p->first;
        if (!b && p->listed) {
            rc = manifest_decoder_end(p->decoder, &p->claimed, e);
            return rc < 0 ? rc : MERGE_END;
        }
        if (!b)
            return MERGE_WAIT;
        p->first = b->next;
        if (!p->first)
            p->last = &p->first;
        p->current = b;
        rc = manifest_decoder_block(p->decoder, b->data, b->len, NULL, 0, e);
        if (rc < 0)
            return rc;
    }
}

/* ---- questions ---- */

static void send_asks(struct peer *p)
{
    if (p->ask_n == 0 || !peer_lives(p))
        return;
    message_put_have(&p->out, p->ask, p->ask_n);
    p->ask_n = 0;
}

static void ask(struct run *r, const struct plan_step *s)
{
    for (unsigned i = 0; i < s->targets; i++) {
        struct peer *p = r->part[s->target[i].member];
        bool empty = p->scanned.totals.objects == 0 && p->scanned.partials == 0;
        if (!plan_asks(s, &s->target[i]) || empty || !(p->caps & STORE_CAN_ADOPT))
            continue; /* an empty store has nothing to adopt, or to go on with */
        p->ask[p->ask_n++] = s->entry.digest;
        p->asked++;
        if (p->ask_n == MSG_HAVE_MAX)
            send_asks(p);
    }
}

void compare_had(struct peer *p, const uint8_t *have, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (have[i] == STORE_HAVE)
            plan_set_adopt(p->run->plan, p->part, p->answered + i);
        else if (have[i] == STORE_HAVE_PART)
            plan_set_partial(p->run->plan, p->part, p->answered + i);
    }
    p->answered += n;
}

/* ---- the comparison ---- */

static bool all_equal(const struct run *r)
{
    const struct manifest_totals *first = &r->part[0]->scanned.totals;
    for (unsigned i = 1; i < r->parts; i++) {
        const struct manifest_totals *t = &r->part[i]->scanned.totals;
        if (t->entries != first->entries || !digest_same(&t->shared, &first->shared))
            return false;
    }
    return true;
}

static void gather_parts(struct run *r)
{
    r->parts = 0;
    for (size_t i = 0; i < r->peers; i++)
        if (peer_lives(&r->peer[i])) {
            r->peer[i].part = r->parts;
            r->part[r->parts++] = &r->peer[i];
        }
}

static void start_listing(struct peer *p)
{
    compare_free(p);
    p->decoder = manifest_decoder_new();
    p->ask = mem_alloc(MSG_HAVE_MAX * sizeof *p->ask);
    p->ask_n = 0;
    p->asked = p->answered = 0;
    p->listed = false;
    if (p->list_granted == 0)
        grant(p, p->remote ? MSG_WINDOW_FAR / 2 : MSG_WINDOW); /* else an earlier try's credit is still good */
    wire_out_frame(&p->out, MSG_LIST, 0, NULL, 0);
}

static bool too_much_waits(const struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++)
        if (peer_lives(r->part[i]) && wire_out_waiting(&r->part[i]->out) > OUT_ENOUGH)
            return true;
    return false;
}

static int judge(struct run *r, const struct merge_row *row, struct err *e)
{
    static const char only_damaged[] = "every copy is damaged: nothing can be done with it";
    struct verdict v;
    struct plan_step step;
    int rc = reconcile(row, &v, e);
    if (rc < 0) { /* one object's trouble, not the group's */
        report_trouble(r, NULL, row->path, true, e->msg);
        report_status(r, SOS_PARTIAL);
        r->summary.failed++;
        return 0;
    }
    if (v.lost) {
        report_trouble(r, NULL, row->path, true, only_damaged);
        report_status(r, SOS_PARTIAL);
    }
    rc = plan_add(r->plan, &v, place(&v, r->parts), &step, e);
    if (rc == 0 && step.targets > 0)
        ask(r, &step);
    return rc;
}

/* One merge over all parts. 0 done, 1 a member fell away and it has to begin anew, or an error. */
static int merge_all(struct run *r, struct merge *m, struct err *e)
{
    struct merge_row row;
    unsigned failed;
    for (;;) {
        int rc = merge_next(m, &row, &failed, e);
        if (rc == MERGE_END)
            return 0;
        if (rc < 0) {
            peer_fail(r->part[failed], rc, "its manifest: %s", e->msg);
            return 1;
        }
        if (rc == MERGE_READY && (rc = judge(r, &row, e)) < 0)
            return rc;
        if (rc == MERGE_WAIT || too_much_waits(r)) {
            rc = peers_turn(r, e);
            if (rc < 0)
                return rc;
        }
    }
}

/* 0 all answered, 1 a member fell away, or an error. */
static int await_answers(struct run *r, struct err *e)
{
    for (unsigned i = 0; i < r->parts; i++) {
        struct peer *p = r->part[i];
        send_asks(p);
        while (peer_lives(p) && p->answered < p->asked) {
            int rc = peers_turn(r, e);
            if (rc < 0)
                return rc;
        }
    }
    for (unsigned i = 0; i < r->parts; i++)
        if (!peer_lives(r->part[i]))
            return 1;
    return 0;
}

static int attempt(struct run *r, struct err *e)
{
    struct merge_source source[PLAN_MEMBERS_MAX];
    for (unsigned i = 0; i < r->parts; i++) {
        start_listing(r->part[i]);
        source[i] = (struct merge_source){next_entry, r->part[i]};
    }
    struct merge *m = merge_new(source, r->parts);
    int rc = merge_all(r, m, e);
    merge_free(m);
    if (rc == 0)
        rc = await_answers(r, e);
    return rc;
}

/* A list that an earlier try has begun must run out before the next can begin. */
static int drain_lists(struct run *r, struct err *e)
{
    for (unsigned i = 0; i < r->parts; i++) {
        struct peer *p = r->part[i];
        p->asked -= p->ask_n; /* not sent: nobody will answer these */
        p->ask_n = 0;
        while (peer_lives(p) && (!p->listed || p->answered < p->asked)) {
            while (p->current || p->first) {
                drop_current(p);
                p->current = p->first;
                p->first = p->current ? p->current->next : NULL;
            }
            p->last = &p->first;
            int rc = peers_turn(r, e);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

int compare_run(struct run *r, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    r->phase = SOS_PHASE_COMPARE;
    for (;;) {
        gather_parts(r);
        if (r->plan)
            plan_free(r->plan);
        r->plan = plan_new(r->parts, tmp && *tmp ? tmp : "/tmp");
        r->in_step = r->parts > 0 && all_equal(r);
        if (r->parts < 2 || r->in_step)
            break;
        int rc = attempt(r, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        if ((rc = drain_lists(r, e)) < 0)
            return rc;
    }
    for (unsigned i = 0; i < r->parts; i++)
        compare_free(r->part[i]);
    return plan_end(r->plan, e);
}
