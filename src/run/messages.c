#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define PROBLEMS_TOLD 10000u /* of one member: a flood is no report */

static int on_opened(struct peer *p, struct frame *f, struct err *e)
{
    struct message_opened m;
    int rc = message_get_opened(f, &m, e);
    if (rc < 0)
        return rc;
    p->flags = m.flags;
    p->caps = m.caps;
    p->free_bytes = m.free_bytes;
    p->id = m.id;
    p->group = mem_strndup(m.group, m.group_len);
    p->knows = mem_zalloc((m.peers + 1) * sizeof *p->knows);
    struct message_peer known;
    while (p->knows_n < m.peers && message_next_peer(&m.peer_list, &known)) {
        p->knows[p->knows_n].id = known.id;
        p->knows[p->knows_n].seen = known.seen;
        p->knows[p->knows_n++].address = mem_strndup(known.address, known.address_len);
    }
    p->state = PEER_OPENED;
    return 0;
}

static int on_progress(struct peer *p, struct frame *f, struct err *e)
{
    struct message_progress m;
    int rc = message_get_progress(f, &m, e);
    if (rc == 0 && m.objects + m.bytes > 0) {
        p->progress_objects = m.objects;
        p->progress_bytes = m.bytes;
    }
    return rc;
}

static int on_problem(struct peer *p, struct frame *f, struct err *e)
{
    struct message_problem m;
    int rc = message_get_problem(f, &m, e);
    if (rc < 0)
        return rc;
    if (p->problems++ >= PROBLEMS_TOLD) {
        if (p->problems == PROBLEMS_TOLD + 1)
            peer_trouble(p, true, NULL, "it has more problems than are told here");
        if (m.error)
            report_status(p->run, SOS_PARTIAL);
        return 0;
    }
    char *path = m.path_len ? mem_strndup(m.path, m.path_len) : NULL, *text = mem_strndup(m.text, m.text_len);
    report_trouble(p->run, p->member->name, path, m.error || m.damage, text);
    if (m.error)
        report_status(p->run, SOS_PARTIAL); /* of damage the plan knows, which may heal it */
    free(path);
    free(text);
    return 0;
}

static int on_scanned(struct peer *p, struct frame *f, struct err *e)
{
    int rc = message_get_scanned(f, &p->scanned, e);
    if (rc < 0)
        return rc;
    if (p->scanned.special)
        peer_trouble(p, false, NULL, "%llu sockets, fifos or devices were skipped",
                     (unsigned long long)p->scanned.special);
    p->root = wire_in_take_fd(&p->in);
    p->run->summary.failed += p->scanned.problems;
    p->progress_objects = p->scanned.totals.objects;
    p->progress_bytes = 0;
    p->state = PEER_SCANNED;
    return 0;
}

static int on_listing(struct peer *p, struct frame *f, struct err *e)
{
    bool difference;
    int rc = message_get_listing(f, &difference, e);
    return rc < 0 ? rc : compare_listing(p, difference, e);
}

static int on_block(struct peer *p, struct frame *f, struct err *e)
{
    return compare_block(p, f->type == MSG_DIFF, f->body.p, rd_left(&f->body), e);
}

static int on_list_end(struct peer *p, struct frame *f, struct err *e)
{
    if (!p->listing || p->listed)
        return err_set(e, ERR_PROTO, "the end of a manifest that was not begun");
    p->listed = true;
    return message_get_totals(f, &p->claimed, e);
}

static int on_had(struct peer *p, struct frame *f, struct err *e)
{
    uint8_t have[MSG_HAVE_MAX];
    size_t n;
    int rc = message_get_had(f, have, &n, e);
    if (rc < 0)
        return rc;
    if (n > p->asked - p->answered)
        return err_set(e, ERR_PROTO, "an answer that nobody asked for");
    compare_had(p, have, n);
    return 0;
}

static int on_result(struct peer *p, struct frame *f, struct err *e)
{
    struct message_result m;
    int rc = message_get_result(f, &m, e);
    if (rc < 0)
        return rc;
    if (m.seq <= p->done || m.seq > p->sent)
        return err_set(e, ERR_PROTO, "the result of an operation that was not given");
    if (m.seq <= p->failed_op)
        return err_set(e, ERR_PROTO, "results out of order");
    p->failed_op = m.seq;
    p->run->keep_failed |= p->run->stage == PLAN_KEEP || p->run->stage == PLAN_KEEP_BELOW;
    struct failure *x = mem_alloc(sizeof *x + m.text_len + 1);
    x->next = NULL;
    x->op = m.seq;
    x->code = m.code;
    memcpy(x->text, m.text, m.text_len);
    x->text[m.text_len] = '\0';
    *p->fail_last = x;
    p->fail_last = &x->next;
    return 0;
}

static int on_done(struct peer *p, struct frame *f, struct err *e)
{
    uint64_t n, literal;
    int rc = message_get_done(f, &n, &literal, e);
    if (rc < 0)
        return rc;
    if (n <= p->done || n > p->sent)
        return err_set(e, ERR_PROTO, "DONE for operations that were not given");
    if (literal > INT64_MAX / PLAN_MEMBERS_MAX)
        return err_set(e, ERR_PROTO, "DONE with more content than there can be");
    p->done = n;
    p->literal = literal;
    p->progress_bytes = 0;
    return 0;
}

static int on_committed(struct peer *p, struct frame *f, struct err *e)
{
    p->state = PEER_COMMITTED;
    return message_get_totals(f, &p->committed, e);
}

static int on_failed(struct peer *p, struct frame *f, struct err *e)
{
    int code;
    const char *text;
    size_t n;
    int rc = message_get_failed(f, &code, &text, &n, e);
    p->in_use = rc == 0 && code == ERR_LOCKED;
    return rc < 0 ? rc : err_set(e, code, "%.*s", (int)n, text);
}

/* What may come, and when. */
static const struct {
    enum peer_state from, to; /* first and last state in which it may come */
    int (*handle)(struct peer *p, struct frame *f, struct err *e);
} handlers[MSG_TYPES] = {
    [MSG_OPENED] = {PEER_OPENING, PEER_OPENING, on_opened},
    [MSG_PROGRESS] = {PEER_OPENING, PEER_COMMITTED, on_progress},
    [MSG_PROBLEM] = {PEER_OPENING, PEER_COMMITTED, on_problem},
    [MSG_STATED] = {PEER_STATING, PEER_STATING, status_stated},
    [MSG_SCANNED] = {PEER_SCANNING, PEER_SCANNING, on_scanned},
    [MSG_LISTING] = {PEER_SCANNED, PEER_SCANNED, on_listing},
    [MSG_BLOCK] = {PEER_SCANNED, PEER_SCANNED, on_block},
    [MSG_DIFF] = {PEER_SCANNED, PEER_SCANNED, on_block},
    [MSG_LIST_END] = {PEER_SCANNED, PEER_SCANNED, on_list_end},
    [MSG_HAD] = {PEER_SCANNED, PEER_SCANNED, on_had},
    [MSG_RESULT] = {PEER_SCANNED, PEER_SCANNED, on_result},
    [MSG_DONE] = {PEER_SCANNED, PEER_SCANNED, on_done},
    /* What is under way in a bundle may still come when nobody waits for it any more. */
    [MSG_DATA] = {PEER_SCANNED, PEER_COMMITTED, transfer_data},
    [MSG_DATA_Z] = {PEER_SCANNED, PEER_COMMITTED, transfer_data},
    [MSG_DATA_END] = {PEER_SCANNED, PEER_COMMITTED, transfer_data_end},
    [MSG_CREDIT] = {PEER_SCANNED, PEER_COMMITTED, transfer_credit},
    [MSG_CHECKED] = {PEER_SCANNED, PEER_SCANNED, damage_checked},
    [MSG_COMMITTED] = {PEER_COMMITTING, PEER_COMMITTING, on_committed},
    [MSG_FAILED] = {PEER_OPENING, PEER_COMMITTED, on_failed},
};

int messages_take(struct peer *p, struct frame *f, struct err *e)
{
    if (f->type >= MSG_TYPES || !handlers[f->type].handle)
        return err_set(e, ERR_PROTO, "unexpected message %u", f->type);
    if (p->state < handlers[f->type].from || p->state > handlers[f->type].to)
        return err_set(e, ERR_PROTO, "%s out of turn", message_name(f->type));
    /* Who has not even opened its store has nothing to be busy with. */
    if (f->type != MSG_PROGRESS || p->state != PEER_OPENING)
        p->heard = clock_mono_ms();
    return handlers[f->type].handle(p, f, e);
}
