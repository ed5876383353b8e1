/*
 * A blob-server as a store. What it lists is what it holds; what it cannot keep for us is kept by store/blob_keep.
 * Requests go over several connections at once; operations are reported in the order in which they were given.
 */
#include "store/store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rate.h"
#include "store/blob.h"
#include "store/blob_json.h"
#include "store/blob_keep.h"
#include "store/blob_trash.h"
#include "store/by_id.h"
#include "store/http_client.h"
#include "store/http_put.h"
#include "store/http_trash.h"
#include "store/http_try.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTING_MAX ((size_t)1 << 30) /* bytes */
#define READ_HOLD ((size_t)256 * 1024) /* bytes of an object that may wait */
#define CHECKS 16u                     /* objects that are read at once to be checked */
#define TURN_MS 100

struct http {
    struct by_id base; /* first */
    struct http_client *client;
    struct http_health health;
    struct http_puts *puts;
    struct http_trash *trash;
};

struct store_blob {
    struct by_id_blob is;
    struct http_try try;
    bool begun;         /* its head was given */
    struct stamp mtime; /* once begun: zero when it is not known */
    uint64_t skip;      /* bytes still to be passed over, since they were given before */
};

static struct http *http_of(struct store *s)
{
    return (struct http *)s;
}

static int progress(struct http *h, uint64_t objects, uint64_t bytes)
{
    return h->base.o.watch.progress(h->base.o.watch.ctx, objects, bytes);
}

/* ---- inspect ---- */

/* Runs a request to its end. 0, also where the answer is a bad one; or what stopped it. */
static int complete(struct http *h, struct http_try *t, struct err *e)
{
    int rc;
    while ((rc = http_try_step(t, e)) == 0) {
        http_client_turn(h->client, NULL, 0, TURN_MS);
        if ((rc = progress(h, 0, 0)) < 0)
            return rc;
    }
    return rc < 0 ? rc : 0;
}

static int ask_alive(struct http *h, struct err *e)
{
    struct http_try t;
    const struct http_ask ask = {.method = HTTP_GET, .path = "/alive", .most = 1 << 20};
    http_try_begin(&t, h->client, &h->health, &ask);
    int rc = complete(h, &t, e);
    http_try_end(&t);
    /* That it answers is enough: the listing tells whether it is what we take it for. */
    return rc == ERR_UNSUPPORTED ? 0 : rc < 0 ? err_wrap(e, "GET /alive") : 0;
}

/* The same from every machine: what others remember of the server must not depend on who asked. */
static struct uuid own_id(const char *url)
{
    struct uuid id;
    char *text = mem_printf("sos-sync blob-server %s", url);
    struct digest d = digest_of(text, strlen(text));
    free(text);
    memcpy(id.b, d.b, sizeof id.b);
    return id;
}

/*
 * A name that a person recognises, and that no other server has. A server can be a member of several groups, which must not
 * know of each other: each has a state of its own.
 */
static char *state_of(const char *state_dir, const char *group, const char *url)
{
    char hex[DIGEST_HEX_MAX + 1];
    char *both = mem_printf("%s\n%s", group ? group : "", url);
    struct digest d = digest_of(both, strlen(both));
    free(both);
    const char *host = strstr(url, "://");
    char *name = mem_strdup(host ? host + 3 : url);
    for (char *c = name; *c; c++)
        if (*c == '/' || *c == ':' || (unsigned char)*c <= ' ')
            *c = '_';
    digest_hex(hex, &d);
    char *path = mem_printf("%s/%.100s-%.16s", state_dir, name, hex);
    free(name);
    return path;
}

static int http_inspect(struct store *s, struct store_info *info, struct err *e)
{
    struct http *h = http_of(s);
    struct uuid id = own_id(h->base.o.root);
    char *dir = h->base.o.state_dir ? state_of(h->base.o.state_dir, h->base.o.group, h->base.o.root) : NULL;
    h->base.keep = blob_keep_new(&h->base.o, h->base.o.root, dir, &id);
    free(dir);
    *info = (struct store_info){.exists = true, .parent_exists = true, .caps = STORE_BY_ID};
    h->client = http_client_new(h->base.o.root, e);
    int rc = h->client ? ask_alive(h, e) : e->code;
    if (rc == 0)
        rc = blob_keep_inspect(h->base.keep, info, e);
    enum blob_removal removal = blob_keep_removal(h->base.keep);
    info->caps |= removal == BLOB_REFUSES ? STORE_KEEPS_ALL : removal == BLOB_UNTRIED ? STORE_UNTRIED : 0u;
    if (rc < 0) {
        store_info_free(info);
        return rc;
    }
    /* It has no marker to lose. */
    info->marked = true;
    if (!info->group)
        info->group = mem_strdup("default");
    return 0;
}

/* ---- the listing ---- */

static void take_name(void *ctx, const char *name, size_t len)
{
    by_id_take(ctx, name, len);
}

static int read_listing(struct http *h, struct blob_list *list, struct err *e)
{
    struct http_try t;
    const struct http_ask ask = {.method = HTTP_GET, .path = "/blobs", .most = LISTING_MAX};
    struct by_id_names names = {.list = list};
    size_t n;
    http_try_begin(&t, h->client, &h->health, &ask);
    int rc = complete(h, &t, e);
    if (rc == 0) {
        const uint8_t *text = http_request_body(t.request, &n);
        rc = blob_json_listing((const char *)text, n, take_name, &names, e);
    }
    http_try_end(&t);
    if (rc < 0)
        return err_wrap(e, "its listing (GET /blobs)");
    blob_list_sort(list);
    by_id_tell_skipped(&h->base, &names, "its listing", "the id of an object");
    return 0;
}

/* ---- reading objects to see whether they are what they should be ---- */

struct checking {
    struct store_blob *blob[CHECKS];
    size_t item[CHECKS];
    struct digest_state *digest[CHECKS];
    struct buf bytes;
    struct rate rate;
    uint64_t objects, read;
};

static int http_blob_open(struct store *s, const struct entry *want, struct store_blob **b, struct err *e);
static int http_blob_read(struct store *s, struct store_blob *b, struct buf *out, size_t most, struct err *e);
static void http_blob_close(struct store *s, struct store_blob *b);

static void end_check(struct http *h, struct checking *c, unsigned slot, struct blob_list *list, int rc, const struct err *why)
{
    struct blob_listed *item = &list->item[c->item[slot]];
    const char *id = c->blob[slot]->is.id;
    if (rc == STORE_BLOB_END || rc == ERR_DAMAGED) {
        item->checked = true;
        item->damaged = rc == ERR_DAMAGED;
        item->size = c->blob[slot]->is.got;
        if (!sha1_names(id, strlen(id)) && !item->damaged)
            item->digest = digest_end(c->digest[slot]);
        item->mtime = c->blob[slot]->mtime;
    } else {
        h->base.o.watch.problem(h->base.o.watch.ctx, true, id, why->msg);
        item->unknown = true;
    }
    http_blob_close(&h->base.store, c->blob[slot]);
    c->blob[slot] = NULL;
    c->objects++;
}

/* Reads on in each object that is open. 1 when something came. */
static int check_turn(struct http *h, struct checking *c, struct blob_list *list, struct err *e)
{
    int any = 0;
    for (unsigned i = 0; i < CHECKS; i++) {
        if (!c->blob[i])
            continue;
        bool head = !c->blob[i]->begun;
        c->bytes.len = 0;
        int rc = http_blob_read(&h->base.store, c->blob[i], &c->bytes, READ_HOLD, e);
        if (rc == ERR_PROTO)
            return rc;
        struct rd r = rd_of(c->bytes.data, c->bytes.len);
        if (head && c->bytes.len)
            rd_bytes(&r, rd_u32(&r));
        digest_add(c->digest[i], r.p, rd_left(&r));
        c->read += rd_left(&r);
        rate_take(&c->rate, rd_left(&r));
        if (rc != 0 && rc != 1)
            end_check(h, c, i, list, rc, e);
        any |= rc != 0;
    }
    return any;
}

static int start_check(struct http *h, struct checking *c, const struct blob_list *list, size_t i, struct err *e)
{
    unsigned slot = 0;
    while (c->blob[slot])
        slot++;
    const char *id = blob_list_id(list, i);
    const struct entry want = blob_entry(id, strlen(id));
    if (!c->digest[slot])
        c->digest[slot] = digest_new();
    digest_reset(c->digest[slot]);
    c->item[slot] = i;
    return http_blob_open(&h->base.store, &want, &c->blob[slot], e);
}

static unsigned under_way(const struct checking *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < CHECKS; i++)
        n += c->blob[i] != NULL;
    return n;
}

/* What the rate allows has been read: the server is not asked for more. */
static int rest(struct http *h, const struct checking *c)
{
    int wait = rate_wait_ms(&c->rate);
    http_client_turn(h->client, NULL, 0, wait < TURN_MS ? wait : TURN_MS);
    return progress(h, c->objects, c->read);
}

static int check_objects(struct http *h, const struct store_rules *rules, struct blob_list *list, struct err *e)
{
    struct checking c = {0};
    unsigned most = rules->rate ? 1 : CHECKS;
    int rc = 0;
    size_t next = 0;
    rate_init(&c.rate, rules->rate, clock_mono_ms());
    while (rc >= 0 && (next < list->n || under_way(&c) > 0)) {
        if (rate_room(&c.rate, clock_mono_ms()) == 0) {
            rc = rest(h, &c);
            continue;
        }
        while (rc >= 0 && next < list->n && under_way(&c) < most) {
            if (by_id_due(&h->base, blob_list_id(list, next)))
                rc = start_check(h, &c, list, next, e);
            next++;
        }
        if (rc >= 0)
            rc = check_turn(h, &c, list, e);
        if (rc >= 0 && under_way(&c) > 0) /* with nothing to wait for it would wait all of its time */
            http_client_turn(h->client, NULL, 0, rc > 0 ? 0 : TURN_MS);
        if (rc >= 0)
            rc = progress(h, c.objects, c.read);
    }
    for (unsigned i = 0; i < CHECKS; i++) {
        if (c.blob[i])
            http_blob_close(&h->base.store, c.blob[i]);
        if (c.digest[i])
            digest_free(c.digest[i]);
    }
    buf_free(&c.bytes);
    return rc < 0 ? rc : 0;
}

/* ---- scan ---- */

static int http_scan(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e)
{
    struct http *h = http_of(s);
    struct blob_list list = {0};
    const struct store_rules *rules = &h->base.o.rules;
    int rc = by_id_begin(&h->base, id, group, out, e);
    if (rc == 0)
        rc = read_listing(h, &list, e);
    if (rc == 0 && list.n == 0)
        rc = by_id_guard(&h->base, out->before, "lists nothing", "the disk behind it", e);
    if (rc == 0)
        rc = check_objects(h, rules, &list, e);
    if (rc == 0)
        rc = blob_keep_scan(h->base.keep, &list, out, e);
    for (size_t i = 0; rc == 0 && i < list.n; i++)
        if (list.item[i].damaged)
            by_id_tell_damage(&h->base, blob_list_id(&list, i));
    blob_list_free(&list);
    h->base.scanned = rc == 0;
    return rc;
}

/* ---- source side ---- */

static int http_blob_open(struct store *s, const struct entry *want, struct store_blob **out, struct err *e)
{
    struct http *h = http_of(s);
    int rc = blob_check(want, e);
    if (rc < 0)
        return rc;
    struct store_blob *b = mem_zalloc(sizeof *b);
    by_id_blob_begin(&b->is, want);
    char *path = mem_printf("/blob/%s", b->is.id);
    const struct http_ask ask = {.method = HTTP_GET, .path = path, .hold = READ_HOLD};
    http_try_begin(&b->try, h->client, &h->health, &ask);
    free(path);
    *out = b;
    return 0;
}

static void http_blob_close(struct store *s, struct store_blob *b)
{
    (void)s;
    http_try_end(&b->try);
    by_id_blob_free(&b->is);
    free(b);
}

static void give_head(struct store_blob *b, struct buf *out)
{
    size_t bytes;
    const char *headers = http_request_headers(b->try.request, &bytes);
    blob_put_head(out, http_request_length(b->try.request), headers, bytes);
    b->mtime.sec = http_request_modified(b->try.request);
    b->begun = true;
}

/* The object's bytes, as far as they have come. */
static void give_bytes(struct store_blob *b, struct buf *out, size_t most)
{
    size_t n;
    const uint8_t *p = http_request_body(b->try.request, &n);
    if (b->skip > 0) {
        n = b->skip < n ? (size_t)b->skip : n;
        b->skip -= n;
        http_request_take(b->try.request, n);
        return;
    }
    n = n < most ? n : most;
    buf_put(out, p, n);
    by_id_blob_add(&b->is, p, n);
    http_request_take(b->try.request, n);
}

static int http_blob_read(struct store *s, struct store_blob *b, struct buf *out, size_t most, struct err *e)
{
    struct http *h = http_of(s);
    size_t before = out->len, waiting = 0;
    /* What was given cannot be taken back; but the same object can be told by its id to go on with what is missing. */
    b->try.once = b->is.got > 0 && !b->is.sha1;
    int rc = http_try_step(&b->try, e);
    if (rc < 0) {
        err_wrap(e, "%s/blob/%s", h->base.o.root, b->is.id);
        return e->code = rc == ERR_UNSUPPORTED ? ERR_CHANGED : rc;
    }
    if (b->try.renewed) {
        b->try.renewed = false;
        b->skip = b->is.got;
    }
    if (http_try_good(&b->try)) {
        if (!b->begun)
            give_head(b, out);
        give_bytes(b, out, most);
        http_request_body(b->try.request, &waiting);
    }
    if (rc == 1 && waiting == 0 && out->len == before)
        return b->skip > 0 ? err_set(e, ERR_CHANGED, "is shorter now than it was")
                           : by_id_blob_end(&h->base, &b->is, "/blob/", e);
    return out->len > before;
}

/* Lets more come of an object that is read to be checked. */
static void check_turned(struct by_id *b, bool came)
{
    http_client_turn(((struct http *)b)->client, NULL, 0, came ? 0 : TURN_MS);
}

/* ---- target side ---- */

static struct http_trash *trash_of(struct http *h, int64_t now, int64_t keep_for)
{
    assert(!h->base.o.dry_run);
    if (!h->trash)
        h->trash = http_trash_new(h->client, &h->health, h->base.keep, &h->base.o, now, keep_for);
    return h->trash;
}

static struct http_puts *puts_of(struct http *h)
{
    const struct store_options *o = &h->base.o;
    if (!h->puts)
        h->puts = http_puts_new(h->client, &h->health, h->base.keep, trash_of(h, o->rules.now, o->rules.trash), o);
    return h->puts;
}

static int http_apply(struct store *s, const struct store_op *op, struct err *e)
{
    return http_puts_apply(puts_of(http_of(s)), op, e);
}

static int http_put_begin(struct store *s, const struct store_op *op, struct err *e)
{
    return http_puts_begin(puts_of(http_of(s)), op, e);
}

static int http_put_data(struct store *s, const void *p, size_t n, struct err *e)
{
    return http_puts_data(http_of(s)->puts, p, n, e);
}

static int http_put_end(struct store *s, const char *failed, struct err *e)
{
    return http_puts_end(http_of(s)->puts, failed, e);
}

static int http_flush(struct store *s, struct err *e)
{
    struct http *h = http_of(s);
    return h->puts ? http_puts_flush(h->puts, e) : 0;
}

static int http_poll(struct store *s, struct pollfd *p, unsigned n, int timeout)
{
    struct http *h = http_of(s);
    if (!h->client)
        return poll(p, n, timeout);
    int ready = http_client_turn(h->client, p, n, timeout);
    if (h->puts)
        http_puts_settle(h->puts);
    return ready;
}

static int http_commit(struct store *s, const struct store_peer *peer, size_t peers, struct err *e)
{
    struct http *h = http_of(s);
    int rc = http_flush(s, e);
    if (rc == 0)
        rc = blob_keep_commit(h->base.keep, peer, peers, e);
    if (rc == 0)
        blob_trash_expire(h->base.keep, &h->base.o, http_trash_own(h->trash));
    return rc;
}

/* ---- the trash ---- */

static int http_restore(struct store *s, const char *run, uint64_t id, int64_t now, struct err *e)
{
    return http_trash_restore(trash_of(http_of(s), now, INT64_MAX), run, id, e);
}

static void http_close(struct store *s)
{
    struct http *h = http_of(s);
    http_puts_free(h->puts);
    http_trash_free(h->trash);
    by_id_free(&h->base);
    http_client_free(h->client);
    free(h);
}

struct store *store_http_new(const struct store_options *options)
{
    static const struct store_ops ops = {
        .kind = "blob-server",
        .inspect = http_inspect,
        .scan = http_scan,
        .status = by_id_status,
        .manifest = by_id_manifest,
        .manifest_before = by_id_manifest_before,
        .have = by_id_have,
        .read_open = by_id_read_open,
        .read_file = by_id_read_file,
        .read_link = by_id_read_link,
        .blob_open = http_blob_open,
        .blob_read = http_blob_read,
        .blob_close = http_blob_close,
        .poll = http_poll,
        .check = by_id_check,
        .apply = http_apply,
        .put_begin = http_put_begin,
        .partial = by_id_nothing,
        .basis = by_id_nothing,
        .put_keep = by_id_put_keep,
        .put_data = http_put_data,
        .put_end = http_put_end,
        .flush = http_flush,
        .commit = http_commit,
        .trash_list = by_id_trash_list,
        .trash_restore = http_restore,
        .trash_empty = by_id_trash_empty,
        .close = http_close,
    };
    struct http *h = mem_zalloc(sizeof *h);
    h->base.store.ops = &ops;
    h->base.turn = check_turned;
    h->base.o = *options;
    return &h->base.store;
}
