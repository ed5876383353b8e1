#include "store/http_put.h"

#include "base/mem.h"
#include "store/blob.h"

#include <stdlib.h>
#include <string.h>

#define UNDER_WAY_MAX 16u              /* requests */
#define WHOLE_MAX ((size_t)1 << 20)    /* bytes: up to here an object is sent when it has all come, and can be sent again */
#define HELD_BACK ((size_t)4096)       /* bytes of a larger one, until it has all come */
#define UNSENT_MAX ((size_t)1 << 20)   /* bytes of it that may wait for the server */
#define TURN_MS 100
#define KEEPS_ALL "cannot be removed: this blob-server takes no DELETE, and keeps what it has"

enum step { COMING, ASKED, SETTLED };

/* One operation, from its beginning to its report. */
struct put {
    struct put *next;
    uint64_t seq;
    struct entry *entry; /* with a path of its own */
    char *path;
    enum step step;
    struct buf head;     /* headers of the request */
    struct buf bytes;    /* of the object: all, or what has not been handed to the request */
    struct http_try try;
    bool trying, removal, prune;
    bool kept;           /* in the trash, before it is removed */
    bool looking;        /* is what was to be removed there at all? */
    struct err why;      /* settled: code 0 or what went wrong */
};

struct http_puts {
    struct http_client *client;
    struct http_health *health;
    struct blob_keep *keep;
    struct http_trash *trash;
    const struct store_options *o;
    struct put *first, **last; /* in the order of operations */
    unsigned under_way;
    struct put *now;           /* the one that comes by stream */
    struct blob_in in;
    enum { UNTRIED, TAKES, REFUSES } removal; /* what it does when it is asked to remove something */
    struct err lost;           /* what ends the store's part in the run */
};

struct http_puts *http_puts_new(struct http_client *c, struct http_health *health, struct blob_keep *keep,
                                struct http_trash *trash, const struct store_options *o)
{
    struct http_puts *p = mem_zalloc(sizeof *p);
    p->client = c;
    p->health = health;
    p->keep = keep;
    p->trash = trash;
    p->o = o;
    p->last = &p->first;
    return p;
}

static void end_request(struct http_puts *p, struct put *x)
{
    if (!x->trying)
        return;
    http_try_end(&x->try);
    x->trying = false;
    p->under_way--;
}

static void free_put(struct http_puts *p, struct put *x)
{
    end_request(p, x);
    buf_free(&x->head);
    buf_free(&x->bytes);
    free(x->path);
    free(x->entry);
    free(x);
}

void http_puts_free(struct http_puts *p)
{
    if (!p)
        return;
    for (struct put *x; (x = p->first);) {
        p->first = x->next;
        free_put(p, x);
    }
    blob_in_free(&p->in);
    free(p);
}

/* ---- reports ---- */

static void settle(struct http_puts *p, struct put *x, int code, const char *why)
{
    end_request(p, x);
    buf_free(&x->bytes);
    x->step = SETTLED;
    x->why = (struct err){0};
    if (code < 0)
        err_set(&x->why, code, "%s", why);
}

static int keep_it(struct http_puts *p, const struct put *x, struct err *e)
{
    return x->prune ? blob_keep_pruned(p->keep, x->entry, e) : blob_keep_done(p->keep, x->entry, e);
}

static void report(struct http_puts *p)
{
    struct put *x;
    while ((x = p->first) && x->step == SETTLED && x != p->now) {
        struct err e;
        if (x->why.code == 0 && keep_it(p, x, &e) < 0 && p->lost.code == 0)
            p->lost = e;
        p->o->watch.done(p->o->watch.ctx, x->seq, x->why.code, x->why.code ? x->why.msg : NULL);
        p->first = x->next;
        if (!p->first)
            p->last = &p->first;
        free_put(p, x);
    }
}

static struct put *add(struct http_puts *p, const struct store_op *op)
{
    struct put *x = mem_zalloc(sizeof *x);
    x->seq = op->seq;
    x->entry = mem_alloc(sizeof *x->entry);
    entry_copy(x->entry, op->entry);
    x->path = mem_strndup(op->entry->path, op->entry->path_len);
    x->entry->path = x->path;
    *p->last = x;
    p->last = &x->next;
    return x;
}

/* ---- requests ---- */

static void ask(struct http_puts *p, struct put *x, enum http_method method, bool stream, uint64_t length)
{
    char *path = mem_printf("/blob/%s", x->path);
    const struct http_ask a = {.method = method, .path = path,
                               .headers = x->head.len ? (const char *)x->head.data : NULL, .body = x->bytes.data,
                               .body_len = x->bytes.len, .stream = stream, .length = length,
                               .hold = method == HTTP_GET ? 1 : 0, .most = method == HTTP_GET ? 0 : 1 << 20};
    http_try_begin(&x->try, p->client, p->health, &a);
    free(path);
    x->trying = true;
    p->under_way++;
    x->step = ASKED;
}

/* The original says no more than that when its disk is full. */
static bool is_full(const struct put *x, const struct err *e)
{
    return http_request_status(x->try.request) == 507 || strstr(e->msg, "failed to write to storage");
}

static void is_removed(struct http_puts *p, struct put *x)
{
    p->removal = TAKES;
    blob_keep_set_removal(p->keep, BLOB_TAKES);
    settle(p, x, 0, NULL);
}

/* The server has said that it changes nothing; what fails in other ways may have changed something all the same. */
static void nothing_is_lost(struct http_puts *p, struct put *x)
{
    if (x->kept)
        http_trash_forget(p->trash, x->path);
    x->kept = false;
}

static void is_refused(struct http_puts *p, struct put *x)
{
    nothing_is_lost(p, x);
    p->removal = REFUSES;
    blob_keep_set_removal(p->keep, BLOB_REFUSES);
    settle(p, x, ERR_UNSUPPORTED, KEEPS_ALL);
}

/* A server that knows no DELETE says of it what it says of all that it does not know, and of objects that are not there. */
static void look_for_it(struct http_puts *p, struct put *x)
{
    end_request(p, x);
    x->looking = true;
    ask(p, x, HTTP_GET, false, 0);
}

/* Would the same be said of any other object? */
static bool for_all(int status)
{
    return status == 501 || (status >= 400 && status < 500 && status != 408 && status != 409 && status != 423 &&
                             status != 425 && status != 429);
}

static void look_at_removal(struct http_puts *p, struct put *x, int rc, const struct err *e)
{
    int status = x->try.request ? http_request_status(x->try.request) : 0;
    if (rc == 1 && !x->looking)
        is_removed(p, x);
    else if (rc == ERR_UNSUPPORTED && !x->looking && (status == 404 || status == 410))
        look_for_it(p, x);
    else if (rc == ERR_UNSUPPORTED && x->looking && (status == 404 || status == 410))
        settle(p, x, 0, NULL); /* somebody else was first: that says nothing of what it takes */
    else if (rc == ERR_UNSUPPORTED && !x->looking && for_all(status))
        is_refused(p, x);
    else {
        if (rc == ERR_UNSUPPORTED && status < 500)
            nothing_is_lost(p, x);
        settle(p, x, rc == ERR_UNSUPPORTED ? ERR_SYS : ERR_CHANGED, e->msg);
    }
}

static void look_at(struct http_puts *p, struct put *x)
{
    struct err e = {0};
    int rc = http_try_step(&x->try, &e);
    if (x->looking && http_try_good(&x->try)) {
        is_refused(p, x); /* its bytes are not waited for */
        return;
    }
    if (rc == 0)
        return;
    if (x->removal)
        look_at_removal(p, x, rc, &e);
    else if (rc == 1 && x != p->now)
        settle(p, x, 0, NULL);
    else if (rc == 1)
        settle(p, x, ERR_CHANGED, "the server answered before the object had come");
    else {
        if (rc == ERR_UNSUPPORTED && http_request_status(x->try.request) < 500)
            nothing_is_lost(p, x);
        settle(p, x, rc != ERR_UNSUPPORTED ? ERR_CHANGED : is_full(x, &e) ? ERR_FULL : ERR_SYS, e.msg);
    }
    if (rc == ERR_PROTO && p->lost.code == 0)
        p->lost = e;
}

void http_puts_settle(struct http_puts *p)
{
    for (struct put *x = p->first; x; x = x->next)
        if (x->trying)
            look_at(p, x);
    report(p);
}

static int turn(struct http_puts *p, struct err *e)
{
    http_client_turn(p->client, NULL, 0, TURN_MS);
    http_puts_settle(p);
    int rc = p->o->watch.progress(p->o->watch.ctx, 0, 0);
    if (rc == 0 && p->lost.code < 0) {
        *e = p->lost;
        return e->code;
    }
    return rc < 0 ? err_set(e, rc, "the work was stopped") : 0;
}

static int make_room(struct http_puts *p, unsigned most, struct err *e)
{
    int rc = 0;
    while (rc == 0 && p->under_way > most)
        rc = turn(p, e);
    return rc;
}

/* ---- operations ---- */

static const char *refusal(const struct http_puts *p, const struct store_op *op)
{
    struct err e;
    if (op->how == STORE_RECORD)
        return NULL;
    if (p->o->read_only)
        return STORE_SAYS_READ_ONLY;
    if ((op->how == STORE_REMOVE || op->how == STORE_PRUNE) && p->o->no_delete)
        return STORE_SAYS_NO_REMOVE;
    if (op->how == STORE_META)
        return "a blob-server keeps neither mode nor times";
    return blob_check(op->entry, &e) < 0 ? "cannot be the id of an object on a blob-server" : NULL;
}

/*
 * What is about to go, and nobody else may have, is kept. Damage is, if it can be: that its bytes cannot be read must not keep
 * the good ones away.
 */
static void keep_old(struct http_puts *p, struct put *x, const struct store_op *op)
{
    struct err e;
    bool damage = op->how == STORE_CONTENT && op->why == STORE_WHY_DAMAGED;
    bool due = damage || op->how == STORE_REMOVE || op->why == STORE_WHY_CONFLICT;
    if (!due || p->o->rules.trash == 0)
        return;
    int rc = http_trash_save(p->trash, x->path, store_why_text(op->why), &e);
    x->kept = rc == 0;
    if (rc < 0 && !damage)
        settle(p, x, rc == ERR_PROTO || rc == ERR_UNSUPPORTED ? ERR_CHANGED : rc, e.msg);
    else if (rc < 0)
        p->o->watch.problem(p->o->watch.ctx, false, x->path, e.msg);
}

int http_puts_apply(struct http_puts *p, const struct store_op *op, struct err *e)
{
    struct put *x = add(p, op);
    const char *no = refusal(p, op);
    unsigned most = UNDER_WAY_MAX;
    if (no) {
        settle(p, x, ERR_DENIED, no);
    } else if (op->how == STORE_RECORD) {
        settle(p, x, 0, NULL);
    } else if ((op->how == STORE_REMOVE || op->how == STORE_PRUNE) && p->removal == REFUSES) {
        settle(p, x, ERR_UNSUPPORTED, KEEPS_ALL);
    } else if (op->how == STORE_REMOVE || op->how == STORE_PRUNE) {
        x->removal = true;
        x->prune = op->how == STORE_PRUNE;
        keep_old(p, x, op);
        if (x->step != SETTLED)
            ask(p, x, HTTP_DELETE, false, 0);
        most = p->removal == UNTRIED ? 0 : most; /* so that a server which refuses is asked once */
    } else {
        settle(p, x, ERR_UNSUPPORTED, "a blob-server has nothing but objects with content");
    }
    report(p);
    return make_room(p, most, e);
}

int http_puts_begin(struct http_puts *p, const struct store_op *op, struct err *e)
{
    int rc = make_room(p, UNDER_WAY_MAX - 1, e);
    if (rc < 0)
        return rc;
    p->now = add(p, op);
    const char *no = refusal(p, op);
    if (no)
        settle(p, p->now, ERR_DENIED, no);
    else
        keep_old(p, p->now, op);
    blob_in_begin(&p->in, p->now->path);
    return 0;
}

static void take_headers(struct http_puts *p, struct put *x)
{
    size_t n;
    const char *headers = blob_in_headers(&p->in, &n);
    if (n == 0)
        return;
    buf_put(&x->head, headers, n);
    buf_u8(&x->head, '\0');
}

/* Hands on what can go, and waits while the server does not take it. */
static int send_on(struct http_puts *p, struct put *x, struct err *e)
{
    int rc = 0;
    if (x->step == COMING && x->bytes.len > WHOLE_MAX) {
        take_headers(p, x);
        ask(p, x, HTTP_POST, true, p->in.size == BLOB_SIZE_UNKNOWN ? HTTP_LENGTH_UNKNOWN : p->in.size);
    }
    if (x->step != ASKED || x->bytes.len <= HELD_BACK)
        return 0;
    size_t n = x->bytes.len - HELD_BACK;
    http_request_feed(x->try.request, x->bytes.data, n);
    buf_drop(&x->bytes, n);
    while (rc == 0 && x->step == ASKED && http_request_unsent(x->try.request) > UNSENT_MAX)
        rc = turn(p, e);
    return rc;
}

int http_puts_data(struct http_puts *p, const void *data, size_t n, struct err *e)
{
    struct put *x = p->now;
    const uint8_t *at = data;
    struct err why;
    if (x->step == SETTLED)
        return 0;
    int rc = blob_in_take(&p->in, &at, &n, &why);
    if (rc < 0) {
        settle(p, x, ERR_CHANGED, why.msg);
        return 0;
    }
    buf_put(&x->bytes, at, n);
    return x->bytes.len > WHOLE_MAX || x->step == ASKED ? send_on(p, x, e) : 0;
}

static void send_rest(struct http_puts *p, struct put *x)
{
    if (x->step == COMING) {
        take_headers(p, x);
        ask(p, x, HTTP_POST, false, 0);
        return;
    }
    http_request_feed(x->try.request, x->bytes.data, x->bytes.len);
    http_request_feed_end(x->try.request);
}

int http_puts_end(struct http_puts *p, const char *failed, struct err *e)
{
    struct put *x = p->now;
    struct err why;
    p->now = NULL;
    if (x->step != SETTLED) {
        int rc = failed ? err_set(&why, ERR_CHANGED, "%s", failed) : blob_in_end(&p->in, &why);
        if (rc < 0)
            settle(p, x, rc == ERR_FORMAT ? ERR_CHANGED : rc, why.msg);
        else
            send_rest(p, x);
    }
    http_puts_settle(p);
    return make_room(p, UNDER_WAY_MAX, e);
}

int http_puts_flush(struct http_puts *p, struct err *e)
{
    int rc = 0;
    while (rc == 0 && p->first)
        rc = turn(p, e);
    return rc;
}
