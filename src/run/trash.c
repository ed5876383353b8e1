/* The trash of a group's members: each is asked in turn, so that what they say comes in order and nothing piles up. */
#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX 100000000u /* of one member: more is no list */
#define ID_LEN 12

/* The best item so far for something that is to be put back. */
struct match {
    const char *what;
    bool is_id;
    uint64_t id;
    struct peer *peer; /* NULL: none yet */
    struct message_trash_item *item; /* owned */
};

struct trash_run {
    struct run run; /* first */
    void (*take_item)(struct trash_run *t, struct peer *p, const struct message_trash_item *m);
    sos_trash_told *told;
    struct peer *asked; /* who has not yet answered; NULL: nobody */
    uint64_t items;     /* of it so far */
    int code;           /* its answer, */
    char text[MSG_TEXT_MAX + 1];
    uint64_t gone, bytes;
    struct match *match;
    size_t matches;
};

/* ---- asking ---- */

static int on_item(struct trash_run *t, struct peer *p, struct frame *f, struct err *e)
{
    struct message_trash_item m;
    int rc = message_get_trash_item(f, &m, e);
    if (rc < 0)
        return rc;
    if (t->asked != p || !t->take_item)
        return err_set(e, ERR_PROTO, "%s out of turn", message_name(f->type));
    if (++t->items > ITEMS_MAX)
        return err_set(e, ERR_PROTO, "its trash has more items than there can be");
    t->take_item(t, p, &m);
    return 0;
}

static int on_done(struct trash_run *t, struct peer *p, struct frame *f, struct err *e)
{
    struct message_trash_done m;
    int rc = message_get_trash_done(f, &m, e);
    if (rc < 0)
        return rc;
    if (t->asked != p)
        return err_set(e, ERR_PROTO, "%s out of turn", message_name(f->type));
    t->asked = NULL;
    t->code = m.code;
    snprintf(t->text, sizeof t->text, "%.*s", (int)m.text_len, m.text ? m.text : "");
    t->gone = m.items;
    t->bytes = m.bytes;
    return 0;
}

static int take(struct peer *p, struct frame *f, struct err *e)
{
    struct trash_run *t = (struct trash_run *)p->run;
    if (f->type != MSG_TRASH_ITEM && f->type != MSG_TRASH_DONE)
        return messages_take(p, f, e);
    p->heard = clock_mono_ms();
    return f->type == MSG_TRASH_ITEM ? on_item(t, p, f, e) : on_done(t, p, f, e);
}

static void died(struct peer *p)
{
    (void)p;
}

/* The question has been put: until it is answered. 0, also when the member was lost meanwhile, or an error of the run. */
static int await(struct trash_run *t, struct peer *p, struct err *e)
{
    int rc = 0;
    t->asked = p;
    t->items = 0;
    t->code = 0;
    t->gone = t->bytes = 0;
    while (rc == 0 && t->asked && peer_lives(p))
        rc = peers_turn(&t->run, e);
    t->asked = NULL;
    return rc;
}

static int list_all(struct trash_run *t, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->run.peers; i++) {
        struct peer *p = &t->run.peer[i];
        if (!peer_lives(p))
            continue;
        wire_out_frame(&p->out, MSG_TRASH_LIST, 0, NULL, 0);
        rc = await(t, p, e);
        if (rc == 0 && t->code < 0)
            peer_trouble(p, true, NULL, "%s", t->text);
    }
    return rc;
}

static void tell(const struct trash_run *t, const struct peer *p, const struct store_trash *item)
{
    char id[ID_LEN + 1];
    snprintf(id, sizeof id, "%012" PRIx64, item->id & (MSG_TRASH_ID_MAX - 1));
    struct sos_trash_item told = {
        t->run.group->name, p->member->name, id, item->when, item->size, item->reason, item->run, item->by, item->path,
    };
    if (t->told)
        t->told(t->run.callbacks->ctx, &told);
}

/* ---- one command ---- */

typedef int trash_work(struct trash_run *t, void *ctx, struct err *e);

static enum sos_status carry_out(struct trash_run *t, trash_work *work, void *ctx)
{
    struct run *r = &t->run;
    struct err e;
    r->take = take;
    r->died = died;
    r->only_opens = true;
    run_prepare(r);
    int rc = run_open(r, &e);
    if (rc == 0)
        rc = work(t, ctx, &e);
    if (rc < 0)
        run_failed(r, rc, &e);
    run_release(r, rc == 0);
    run_end(r);
    return r->summary.status;
}

static struct run run_of(const struct sos_groups *g, size_t group, const struct sos_options *options,
                         const struct sos_callbacks *callbacks)
{
    return (struct run){.group = &g->groups.group[group], .options = options, .callbacks = callbacks};
}

/* ---- list ---- */

static void tell_item(struct trash_run *t, struct peer *p, const struct message_trash_item *m)
{
    tell(t, p, &m->item);
}

static int work_list(struct trash_run *t, void *ctx, struct err *e)
{
    (void)ctx;
    return list_all(t, e);
}

enum sos_status run_trash_list(const struct run *r, sos_trash_told *item)
{
    struct sos_options o = *r->options;
    struct trash_run t = {.run = *r, .take_item = tell_item, .told = item};
    o.dry_run = true; /* so that stores are shared with others who only look */
    t.run.options = &o;
    return carry_out(&t, work_list, NULL);
}

enum sos_status sos_trash_list(const struct sos_groups *g, size_t group, const struct sos_options *options,
                               const struct sos_callbacks *callbacks, sos_trash_told *item)
{
    const struct run r = run_of(g, group, options, callbacks);
    return run_trash_list(&r, item);
}

/* ---- restore ---- */

static bool is_id(const char *text, uint64_t *id)
{
    *id = 0;
    for (size_t i = 0; i < ID_LEN; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        *id = *id << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return text[ID_LEN] == '\0';
}

/* Times of one run are those of one clock on all members. Of equals the first member's is taken, and its last. */
static bool better(const struct match *m, const struct peer *p, const struct store_trash *item)
{
    if (m->is_id && m->id == item->id)
        return !m->peer || strcmp(m->item->path, m->what) == 0;
    if (strcmp(m->what, item->path) != 0 || (m->peer && m->is_id && m->item->item.id == m->id))
        return false;
    return !m->peer || item->when > m->item->item.when || (item->when == m->item->item.when && m->peer == p);
}

static void match_item(struct trash_run *t, struct peer *p, const struct message_trash_item *item)
{
    for (size_t i = 0; i < t->matches; i++) {
        struct match *m = &t->match[i];
        if (!better(m, p, &item->item))
            continue;
        if (!m->item)
            m->item = mem_alloc(sizeof *m->item);
        *m->item = *item;
        struct store_trash *own = &m->item->item;
        own->reason = m->item->reason;
        own->run = m->item->run;
        own->by = m->item->by;
        own->path = m->item->path;
        m->peer = p;
    }
}

static int restore_one(struct trash_run *t, struct match *m, struct err *e)
{
    struct peer *p = m->peer;
    struct message_trash_restore ask = {.id = m->item->item.id, .now = clock_now().sec};
    if (!peer_lives(p))
        return 0;
    memcpy(ask.run, m->item->run, sizeof ask.run);
    message_put_trash_restore(&p->out, &ask);
    int rc = await(t, p, e);
    if (rc < 0 || !peer_lives(p))
        return rc;
    if (t->code < 0)
        peer_trouble(p, true, m->item->path, "%s", t->text);
    else
        tell(t, p, &m->item->item);
    return 0;
}

static int work_restore(struct trash_run *t, void *ctx, struct err *e)
{
    bool *found = ctx;
    int rc = list_all(t, e);
    t->take_item = NULL;
    for (size_t i = 0; rc == 0 && i < t->matches; i++) {
        if (!t->match[i].peer || found[i])
            continue;
        found[i] = true;
        rc = restore_one(t, &t->match[i], e);
    }
    return rc;
}

enum sos_status run_trash_restore(const struct run *r, const char *const *what, size_t n, bool *found,
                                  sos_trash_told *item)
{
    struct trash_run t = {.run = *r, .take_item = match_item, .told = item,
                          .match = mem_zalloc((n + 1) * sizeof *t.match), .matches = n};
    for (size_t i = 0; i < n; i++) {
        t.match[i].what = what[i];
        t.match[i].is_id = is_id(what[i], &t.match[i].id);
    }
    enum sos_status status = carry_out(&t, work_restore, found);
    for (size_t i = 0; i < n; i++)
        free(t.match[i].item);
    free(t.match);
    return status;
}

enum sos_status sos_trash_restore(const struct sos_groups *g, size_t group, const struct sos_options *options,
                                  const struct sos_callbacks *callbacks, const char *const *what, size_t n,
                                  bool *found, sos_trash_told *item)
{
    const struct run r = run_of(g, group, options, callbacks);
    return run_trash_restore(&r, what, n, found, item);
}

/* ---- empty ---- */

struct empty {
    uint64_t older;
    void (*removed)(void *ctx, const char *group, const char *member, uint64_t items, uint64_t bytes);
};

static int work_empty(struct trash_run *t, void *ctx, struct err *e)
{
    const struct empty *how = ctx;
    struct run *r = &t->run;
    struct message_trash_empty ask = {
        .now = clock_now().sec, .older = how->older < (uint64_t)ENTRY_TIME_MAX ? (int64_t)how->older : ENTRY_TIME_MAX,
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->peers; i++) {
        struct peer *p = &r->peer[i];
        if (!peer_lives(p))
            continue;
        message_put_trash_empty(&p->out, &ask);
        rc = await(t, p, e);
        if (rc < 0 || !peer_lives(p))
            continue;
        if (t->code < 0)
            peer_trouble(p, true, NULL, "%s", t->text);
        if (how->removed && (t->code == 0 || t->gone))
            how->removed(r->callbacks->ctx, r->group->name, p->member->name, t->gone, t->bytes);
    }
    return rc;
}

enum sos_status sos_trash_empty(const struct sos_groups *g, size_t group, const struct sos_options *options,
                                const struct sos_callbacks *callbacks, uint64_t older_than,
                                void (*removed)(void *ctx, const char *group, const char *member, uint64_t items,
                                                uint64_t bytes))
{
    struct trash_run t = {.run = run_of(g, group, options, callbacks)};
    struct empty how = {older_than, removed};
    return carry_out(&t, work_empty, &how);
}
