#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/path.h"
#include "plan/judge.h"

#include <stdlib.h>
#include <string.h>

#define OUT_ENOUGH (1u << 20) /* bytes of questions that may wait for one peer */

/* ---- manifests arriving ---- */

static void grant(struct peer *p, uint64_t n)
{
    p->list_granted += n;
    message_put_number(&p->out, MSG_CREDIT, MSG_CHANNEL_LIST, n);
}

int compare_listing(struct peer *p, bool difference, struct err *e)
{
    if (!p->decoder || p->listing)
        return err_set(e, ERR_PROTO, "a manifest that was not asked for");
    if (difference && !p->named)
        return err_set(e, ERR_PROTO, "a difference to a manifest that was not named");
    p->listing = true;
    p->difference = difference;
    if (!difference)
        return 0;
    p->base = cache_read(p->cache, e);
    if (p->base)
        p->diff = manifest_diff_reader_new(p->base);
    return 0; /* without a base: next_entry finds out */
}

int compare_block(struct peer *p, bool difference, const void *data, size_t n, struct err *e)
{
    if (!p->listing || p->listed || difference != p->difference || n == 0)
        return err_set(e, ERR_PROTO, "a piece of a manifest that was not due");
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
    manifest_diff_reader_free(p->diff);
    p->diff = NULL;
    manifest_reader_free(p->base);
    p->base = NULL;
    free(p->ask);
    p->ask = NULL;
}

/* The next block becomes the current one. False when none has come. */
static bool take_block(struct peer *p)
{
    struct block *b = p->first;
    if (!b)
        return false;
    p->first = b->next;
    if (!p->first)
        p->last = &p->first;
    p->current = b;
    return true;
}

/* Of a whole manifest. */
static int next_of_whole(struct peer *p, const struct entry **entry, struct err *e)
{
    for (;;) {
        int rc = p->current ? manifest_decoder_next(p->decoder, entry, e) : 0;
        if (rc != 0)
            return rc < 0 ? rc : MERGE_READY;
        drop_current(p);
        if (take_block(p))
            rc = manifest_decoder_block(p->decoder, p->current->data, p->current->len, NULL, 0, e);
        else if (p->listed)
            return manifest_decoder_end(p->decoder, &p->claimed, e) < 0 ? e->code : MERGE_END;
        else
            return MERGE_WAIT;
        if (rc < 0)
            return rc;
    }
}

/* Of what the cache has and the difference makes of it. */
static int next_of_difference(struct peer *p, const struct entry **entry, struct err *e)
{
    for (;;) {
        int rc = manifest_diff_reader_next(p->diff, entry, e);
        if (rc != MANIFEST_DIFF_MORE)
            return rc < 0 ? rc : rc == MANIFEST_DIFF_ENTRY ? MERGE_READY : MERGE_END;
        drop_current(p);
        if (take_block(p))
            rc = manifest_diff_reader_piece(p->diff, p->current->data, p->current->len, e);
        else if (p->listed)
            manifest_diff_reader_close(p->diff, &p->claimed);
        else
            return MERGE_WAIT;
        if (rc < 0)
            return rc;
    }
}

/* What was not looked at may still have the digest of another time. It is never relied on, and all else is. */
static int check_hash(const struct peer *p, const struct entry *at, struct err *e)
{
    bool digested = at->kind == ENTRY_FILE || at->kind == ENTRY_LINK;
    if (!digested || at->digest.algo == run_hash(p->run) || at->flags & (ENTRY_HIDDEN | ENTRY_DAMAGED | ENTRY_UNKNOWN))
        return 0;
    return err_set(e, ERR_PROTO, "its manifest has a digest of another kind than was asked for: %s", at->path);
}

/* The merge's source: entries of the blocks that have come, which the cache is told of. */
static int next_entry(void *ctx, const struct entry **entry, struct err *e)
{
    struct peer *p = ctx;
    if (!peer_lives(p))
        return err_set(e, ERR_PROTO, "its agent is gone");
    if (p->run->states && !p->stated.recorded)
        return MERGE_END;
    if (!p->listing)
        return MERGE_WAIT;
    if (p->difference && !p->diff)
        return err_set(e, ERR_FORMAT, "our copy of its last one cannot be read");
    int rc = p->diff ? next_of_difference(p, entry, e) : next_of_whole(p, entry, e);
    if (rc == MERGE_READY && check_hash(p, *entry, e) < 0)
        return ERR_PROTO;
    if (rc == MERGE_READY && p->cache)
        cache_put(p->cache, *entry);
    else if (rc == MERGE_END && p->cache)
        cache_keep(p->cache, &p->claimed);
    return rc;
}

/* Was it our copy that was wrong, and not the member? Then it is asked for the whole. */
static bool cache_was_bad(struct peer *p)
{
    if (!peer_lives(p) || !p->difference || (p->diff && !manifest_diff_reader_base_failed(p->diff)))
        return false;
    cache_spoil(p->cache);
    return true;
}

/* ---- questions ---- */

static void send_asks(struct peer *p)
{
    if (p->ask_n == 0 || !peer_lives(p))
        return;
    message_put_have(&p->out, p->ask, p->ask_n);
    p->ask_n = 0;
}

static void ask(void *ctx, const struct plan_step *s)
{
    struct run *r = ctx;
    for (unsigned i = 0; i < s->targets && !r->states; i++) {
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

/* Names what we have of it, and gets ready to record what it has now. */
static struct message_list look_into_cache(struct peer *p)
{
    const struct manifest_totals *now = &p->scanned.totals;
    struct manifest_totals kept;
    bool found = p->cache && cache_find(p->cache, &kept);
    bool same = found && kept.entries == now->entries && digest_same(&kept.shared, &now->shared);
    if (p->cache && !same)
        cache_begin(p->cache);
    return found ? (struct message_list){true, kept.entries, kept.shared} : (struct message_list){0};
}

static void open_cache(struct peer *p)
{
    const struct run *r = p->run;
    bool wanted = r->cache_all || p->member->address.kind == ADDRESS_SSH;
    if (p->cache || r->options->no_cache || !wanted)
        return;
    char *dir = cache_dir(r->options->cache_dir);
    if (dir)
        p->cache = cache_new(dir, &p->id, p->where, run_hash(r), !r->options->dry_run);
    free(dir);
}

static void start_listing(struct peer *p)
{
    compare_free(p);
    p->listed = p->run->states && !p->stated.recorded;
    if (p->listed)
        return; /* it has nothing to list */
    open_cache(p);
    struct message_list m = look_into_cache(p);
    p->named = m.named;
    p->listing = p->difference = false;
    p->decoder = manifest_decoder_new();
    p->ask = mem_alloc(MSG_HAVE_MAX * sizeof *p->ask);
    p->ask_n = 0;
    p->asked = p->answered = 0;
    if (p->list_granted == 0)
        grant(p, p->remote ? MSG_WINDOW_FAR / 2 : MSG_WINDOW); /* else an earlier try's credit is still good */
    message_put_list(&p->out, &m);
}

static bool too_much_waits(const struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++)
        if (peer_lives(r->part[i]) && wire_out_waiting(&r->part[i]->out) > OUT_ENOUGH)
            return true;
    return false;
}

static void object_trouble(void *ctx, const char *path, const char *why)
{
    struct run *r = ctx;
    report_trouble(r, NULL, path, true, why);
    report_status(r, SOS_PARTIAL);
}

/*
 * Who made an edit: a member by its name, also one that is away, as far as the others remember it; and one that is not
 * in this run by its address, of which the last part is what its name would be.
 */
static const char *name_of(void *ctx, const struct uuid *who)
{
    struct run *r = ctx;
    for (size_t i = 0; i < r->peers; i++)
        if (uuid_same(&r->peer[i].id, who))
            return r->peer[i].member->name;
    for (size_t i = 0; i < r->peers; i++)
        for (size_t k = 0; k < r->peer[i].knows_n; k++)
            for (size_t m = 0; m < r->peers && uuid_same(&r->peer[i].knows[k].id, who); m++)
                if (strcmp(r->peer[m].where, r->peer[i].knows[k].address) == 0)
                    return r->peer[m].member->name;
    for (size_t i = 0; i < r->peers; i++)
        for (size_t k = 0; k < r->peer[i].knows_n; k++)
            if (uuid_same(&r->peer[i].knows[k].id, who))
                return r->peer[i].knows[k].address; /* no member of this group: its last part, as of one that has no name */
    uuid_text(r->stranger, who);
    r->stranger[8] = '\0';
    return r->stranger;
}

static unsigned part_of(const struct run *r, size_t member)
{
    for (unsigned i = 0; i < r->parts; i++)
        if (r->part[i] == &r->peer[member])
            return i;
    return PLAN_NOBODY;
}

static void lives(void *ctx, const struct entry *winner)
{
    limit_see(((struct run *)ctx)->limit, winner);
}

static bool is_dir(const struct merge_row *row)
{
    for (unsigned i = 0; i < row->members; i++)
        if (row->at[i] && row->at[i]->kind == ENTRY_DIR)
            return true;
    return false;
}

/* Is this what the user wants to be removed? All names that it answers to are marked as found. */
static bool removes(void *ctx, const struct merge_row *row)
{
    struct run *r = ctx;
    bool yes = false, live = false;
    for (unsigned i = 0; i < row->members; i++)
        live |= row->at[i] && row->at[i]->kind != ENTRY_GONE;
    for (size_t i = 0; live && i < r->options->removes; i++) {
        const char *name = r->options->remove[i];
        size_t n = strlen(name);
        bool itself = n == row->path_len && memcmp(name, row->path, n) == 0;
        if (itself)
            r->found[i] = row->forked || is_dir(row) ? FOUND_DIR : FOUND_OBJECT;
        yes |= itself ? r->options->recursive || r->found[i] == FOUND_OBJECT
                      : r->options->recursive && path_below(row->path, row->path_len, name, n);
    }
    return yes;
}

/* One in a run is tried all the same. */
static bool stuck(void *ctx, const char *path, unsigned part)
{
    struct run *r = ctx;
    unsigned member = (unsigned)(r->part[part] - r->peer);
    uint64_t bit = (uint64_t)1 << member;
    if (r->tries & bit) {
        r->tries &= ~bit;
        return false;
    }
    placing_stuck(r, member, path);
    return true;
}

static uint64_t keeping_parts(const struct run *r)
{
    uint64_t keeps = 0;
    for (unsigned i = 0; i < r->parts; i++)
        keeps |= r->part[i]->caps & STORE_KEEPS_ALL ? (uint64_t)1 << i : 0;
    return keeps;
}

static struct judge *new_judge(struct run *r)
{
    static const enum plan_conflict conflicts[] = {
        [POLICY_NEWEST] = PLAN_NEWEST, [POLICY_KEEP_BOTH] = PLAN_KEEP_BOTH, [POLICY_MEMBER] = PLAN_MEMBER,
    };
    struct judge_args a = {
        .plan = r->plan, .members = r->parts, .only_damaged = damage_scrubs(r), .ctx = r, .added = ask, .trouble = object_trouble, .name_of = name_of,
        .lives = r->limit ? lives : NULL, .removes = r->options->removes ? removes : NULL,
        .group = r->allot, .allotted = r->states ? status_take : placing_take, .keeps = keeping_parts(r), .stuck = stuck,
        .remover = r->part[0]->id, .above = r->part[0]->scanned.floor, .now = r->now,
        .rules = {conflicts[r->settings.conflict], part_of(r, r->settings.winner), blobs_group(r->group)},
    };
    return judge_new(&a);
}

/* One merge over all parts. 0 done, 1 a member fell away and it has to begin anew, or an error. */
static int merge_all(struct run *r, struct merge *m, struct judge *j, struct err *e)
{
    struct merge_row row;
    unsigned failed;
    for (;;) {
        int rc = merge_next(m, &row, &failed, e);
        if (rc == MERGE_END)
            return judge_end(j, e);
        if (rc < 0) {
            if (!cache_was_bad(r->part[failed]))
                peer_fail(r->part[failed], rc, "its manifest: %s", e->msg);
            return 1;
        }
        if (rc == MERGE_READY) {
            explain_see(r, &row);
            if ((rc = judge_row(j, &row, e)) < 0)
                return rc;
        }
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
    struct judge *j = new_judge(r);
    int rc = merge_all(r, m, j, e);
    judge_free(j);
    merge_free(m);
    if (rc == 0)
        rc = await_answers(r, e);
    return rc;
}

static void drop_blocks(struct peer *p)
{
    do
        drop_current(p);
    while (take_block(p));
}

/*
 * A list that an earlier try has begun must run out before the next can begin; and its credit must come back, since
 * that is all that the next one has.
 */
static int drain_lists(struct run *r, struct err *e)
{
    for (unsigned i = 0; i < r->parts; i++) {
        struct peer *p = r->part[i];
        p->asked -= p->ask_n; /* not sent: nobody will answer these */
        p->ask_n = 0;
        drop_blocks(p);
        while (peer_lives(p) && (!p->listed || p->answered < p->asked)) {
            int rc = peers_turn(r, e);
            if (rc < 0)
                return rc;
            drop_blocks(p);
        }
    }
    return 0;
}

static void new_plan(struct run *r)
{
    const char *tmp = getenv("TMPDIR");
    gather_parts(r);
    if (r->plan)
        plan_free(r->plan);
    r->plan = plan_new(r->parts, tmp && *tmp ? tmp : "/tmp");
    free(r->allot);
    r->allot = placing_asked(r) && r->parts ? placing_new(r) : NULL;
    r->placed = (struct placed){0};
    explain_begin(r);
    if (r->states)
        status_begin(r);
    r->tries = r->options->dry_run ? 0 : placing_keeps(r);
}

/* A plan of what all have now; members that fall away meanwhile are left out. */
static int make_plan(struct run *r, struct err *e)
{
    for (;;) {
        new_plan(r);
        r->in_step = r->parts > 0 && !r->allot && all_equal(r) && !damage_known(r);
        bool compares = r->options->removes || r->allot ? r->parts > 0 : r->parts > 1 && !r->in_step;
        int rc = compares ? attempt(r, e) : 0;
        if (rc <= 0)
            return rc < 0 ? rc : plan_end(r->plan, e);
        if ((rc = drain_lists(r, e)) < 0)
            return rc;
    }
}

/* Would more be deleted than allowed? Then it is planned again, with an eye on what content goes on living elsewhere. */
static int limit_deletions(struct run *r, struct err *e)
{
    if (r->options->removes || !limit_exceeded(r))
        return 0;
    r->limit = limit_new(r, e);
    int rc = r->limit ? make_plan(r, e) : e->code;
    if (rc == 0)
        rc = limit_enforce(r, r->limit, e);
    limit_free(r->limit);
    r->limit = NULL;
    return rc;
}

/* Names on the command line that nothing answers to. */
static void tell_not_found(struct run *r)
{
    for (size_t i = 0; i < r->options->removes; i++) {
        if (r->found[i] == FOUND_OBJECT || (r->found[i] == FOUND_DIR && r->options->recursive))
            continue;
        report_trouble(r, NULL, r->options->remove[i], true,
                       r->found[i] == FOUND_DIR ? "is a directory: -r removes it with all that is in it"
                                                : "no reachable member has an object of this name");
        report_status(r, SOS_PARTIAL);
    }
}

int compare_run(struct run *r, struct err *e)
{
    r->phase = SOS_PHASE_COMPARE;
    int rc = make_plan(r, e);
    if (rc == 0)
        tell_not_found(r);
    if (rc == 0 && r->options->explain)
        explain_tell(r);
    else if (rc == 0)
        rc = limit_deletions(r, e);
    explain_end(r);
    for (unsigned i = 0; i < r->parts; i++)
        compare_free(r->part[i]);
    return rc;
}

int compare_recorded(struct run *r, struct err *e)
{
    r->phase = SOS_PHASE_COMPARE;
    int rc = make_plan(r, e);
    for (unsigned i = 0; i < r->parts; i++)
        compare_free(r->part[i]);
    return rc;
}

void compare_committing(struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++) {
        struct peer *p = r->part[i];
        if (p->cache && p->state >= PEER_COMMITTING && p->failed_op == 0 && !r->told_else && p->done == plan_totals(r->plan)->ops[i])
            cache_advance(p->cache, r->plan, i);
    }
}

void compare_committed(struct run *r)
{
    for (unsigned i = 0; i < r->parts; i++) {
        struct peer *p = r->part[i];
        if (!p->cache)
            continue;
        if (p->state == PEER_COMMITTED)
            cache_keep(p->cache, &p->committed);
        if (cache_trouble(p->cache))
            peer_trouble(p, false, NULL, "the copy of its manifest could not be used or kept: %s",
                         cache_trouble(p->cache));
    }
}
