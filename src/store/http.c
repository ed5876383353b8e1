/*
 * A blob-server as a store. What it lists is what it holds; what it cannot keep for us is kept by store/blob_keep.
 * Requests go over several connections at once; operations are reported in the order in which they were given.
 */
#include "store/store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/rate.h"
#include "store/blob.h"
#include "store/blob_json.h"
#include "store/blob_keep.h"
#include "store/blob_trash.h"
#include "store/http_client.h"
#include "store/http_put.h"
#include "store/http_trash.h"
#include "store/http_try.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTING_MAX ((size_t)1 << 30) /* bytes */
#define READ_HOLD ((size_t)256 * 1024) /* bytes of an object that may wait */
#define CHECKS 16u                     /* objects that are read at once to be checked */
#define TURN_MS 100
#define SAY_MAX 5u
#define DAMAGED "is damaged: its content does not have the SHA-1 that is its id"

struct http {
    struct store store; /* first */
    struct store_options o;
    struct http_client *client;
    struct blob_keep *keep;
    struct http_health health;
    struct http_puts *puts;
    struct http_trash *trash;
    struct blob_list suspects; /* ids that are recorded as damaged */
    bool scanned;
};

struct store_blob {
    struct http_try try;
    char *id;
    struct sha1 *sha1;  /* NULL: its id says nothing of its content */
    bool begun;         /* its head was given */
    struct stamp mtime; /* once begun: zero when it is not known */
    uint64_t got, skip; /* bytes given; and still to be passed over, since they were given before */
    struct digest_state *sum; /* NULL: what was asked for is whatever is there; else what has this digest: */
    struct digest digest;
};

static struct http *http_of(struct store *s)
{
    return (struct http *)s;
}

static int progress(struct http *h, uint64_t objects, uint64_t bytes)
{
    return h->o.watch.progress(h->o.watch.ctx, objects, bytes);
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
    struct uuid id = own_id(h->o.root);
    char *dir = h->o.state_dir ? state_of(h->o.state_dir, h->o.group, h->o.root) : NULL;
    h->keep = blob_keep_new(&h->o, h->o.root, dir, &id);
    free(dir);
    *info = (struct store_info){.exists = true, .parent_exists = true, .caps = STORE_BY_ID};
    h->client = http_client_new(h->o.root, e);
    int rc = h->client ? ask_alive(h, e) : e->code;
    if (rc == 0)
        rc = blob_keep_inspect(h->keep, info, e);
    enum blob_removal removal = blob_keep_removal(h->keep);
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

struct taking {
    struct blob_list *list;
    uint64_t illegal;
    char shown[256];
};

static void take_name(void *ctx, const char *name, size_t len)
{
    struct taking *t = ctx;
    char one[64];
    if (blob_is_id(name, len)) {
        blob_list_add(t->list, name, len);
        return;
    }
    if (t->illegal++ < SAY_MAX) {
        size_t n = strlen(t->shown);
        snprintf(t->shown + n, sizeof t->shown - n, "%s%.40s", n ? ", " : "", path_show(one, sizeof one, name, len));
    }
}

static void tell_illegal(struct http *h, const struct taking *t)
{
    struct err text;
    if (t->illegal == 0)
        return;
    err_set(&text, 0, "its listing has %" PRIu64 " %s that cannot be the id of an object, and %s skipped: %s%s", t->illegal,
            t->illegal == 1 ? "name" : "names", t->illegal == 1 ? "is" : "are", t->shown, t->illegal > SAY_MAX ? ", ..." : "");
    h->o.watch.problem(h->o.watch.ctx, false, NULL, text.msg);
}

static int read_listing(struct http *h, struct blob_list *list, struct err *e)
{
    struct http_try t;
    const struct http_ask ask = {.method = HTTP_GET, .path = "/blobs", .most = LISTING_MAX};
    struct taking taking = {.list = list};
    size_t n;
    http_try_begin(&t, h->client, &h->health, &ask);
    int rc = complete(h, &t, e);
    if (rc == 0) {
        const uint8_t *text = http_request_body(t.request, &n);
        rc = blob_json_listing((const char *)text, n, take_name, &taking, e);
    }
    http_try_end(&t);
    if (rc < 0)
        return err_wrap(e, "its listing (GET /blobs)");
    blob_list_sort(list);
    tell_illegal(h, &taking);
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

static bool is_due(const struct http *h, const struct store_rules *rules, const char *id)
{
    if (h->o.checksum || blob_list_find((struct blob_list *)&h->suspects, id))
        return true;
    /* Each part of a scrub is a share of all ids, the same one each time. */
    return rules->parts > 0 && digest_check(id, strlen(id)) % rules->parts == rules->part - 1;
}

static void end_check(struct http *h, struct checking *c, unsigned slot, struct blob_list *list, int rc, const struct err *why)
{
    struct blob_listed *item = &list->item[c->item[slot]];
    const char *id = c->blob[slot]->id;
    if (rc == STORE_BLOB_END || rc == ERR_DAMAGED) {
        item->checked = true;
        item->damaged = rc == ERR_DAMAGED;
        item->size = c->blob[slot]->got;
        if (!sha1_names(id, strlen(id)) && !item->damaged)
            item->digest = digest_end(c->digest[slot]);
        item->mtime = c->blob[slot]->mtime;
    } else {
        h->o.watch.problem(h->o.watch.ctx, true, id, why->msg);
        item->unknown = true;
    }
    http_blob_close(&h->store, c->blob[slot]);
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
        int rc = http_blob_read(&h->store, c->blob[i], &c->bytes, READ_HOLD, e);
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
    return http_blob_open(&h->store, &want, &c->blob[slot], e);
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
            if (is_due(h, rules, blob_list_id(list, next)))
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
            http_blob_close(&h->store, c.blob[i]);
        if (c.digest[i])
            digest_free(c.digest[i]);
    }
    buf_free(&c.bytes);
    return rc < 0 ? rc : 0;
}

/* ---- scan ---- */

static void suspect(void *ctx, const char *id)
{
    struct http *h = ctx;
    blob_list_add(&h->suspects, id, strlen(id));
}

static int http_scan(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e)
{
    struct http *h = http_of(s);
    struct blob_list list = {0};
    const struct store_rules *rules = &h->o.rules;
    *out = (struct store_scan){0};
    int rc = blob_keep_begin(h->keep, id, group, rules, &out->before, suspect, h, e);
    blob_list_sort(&h->suspects);
    if (rc == 0)
        rc = read_listing(h, &list, e);
    if (rc == 0 && list.n == 0 && out->before > 1 && !rules->emptied && !rules->adopted)
        rc = err_set(e, ERR_GUARD, "%s: lists nothing, though it held %" PRIu64 " objects when it was last seen: check that "
                     "the disk behind it is mounted (if this is meant, --max-delete 100%% lets it pass)", h->o.root, out->before);
    if (rc == 0)
        rc = check_objects(h, rules, &list, e);
    if (rc == 0)
        rc = blob_keep_scan(h->keep, &list, out, e);
    for (size_t i = 0; rc == 0 && i < list.n; i++)
        if (list.item[i].damaged && h->o.watch.damage)
            h->o.watch.damage(h->o.watch.ctx, blob_list_id(&list, i),
                              DAMAGED);
    blob_list_free(&list);
    h->scanned = rc == 0;
    return rc;
}

static int http_status(struct store *s, struct store_status *out, struct err *e)
{
    return blob_keep_status(http_of(s)->keep, out, e);
}

static int http_manifest(struct store *s)
{
    return blob_keep_manifest(http_of(s)->keep);
}

static int http_manifest_before(struct store *s)
{
    return blob_keep_manifest_before(http_of(s)->keep);
}

static int http_have(struct store *s, const struct digest *d, size_t n, uint8_t *have, struct err *e)
{
    (void)s;
    (void)d;
    (void)e;
    memset(have, STORE_HAVE_NOT, n);
    return 0;
}

/* ---- source side ---- */

static int http_blob_open(struct store *s, const struct entry *want, struct store_blob **out, struct err *e)
{
    struct http *h = http_of(s);
    int rc = blob_check(want, e);
    if (rc < 0)
        return rc;
    struct store_blob *b = mem_zalloc(sizeof *b);
    b->id = mem_strdup(want->path);
    b->sha1 = sha1_names(want->path, want->path_len) ? sha1_new() : NULL;
    b->sum = blob_is_read(want) ? digest_new() : NULL;
    b->digest = want->digest;
    if (b->sum)
        digest_reset(b->sum);
    char *path = mem_printf("/blob/%s", b->id);
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
    sha1_free(b->sha1);
    if (b->sum)
        digest_free(b->sum);
    free(b->id);
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
    if (b->sha1)
        sha1_add(b->sha1, p, n);
    if (b->sum)
        digest_add(b->sum, p, n);
    b->got += n;
    http_request_take(b->try.request, n);
}

/* Content that won over other content must still be the same. */
static bool is_other(const struct store_blob *b)
{
    struct digest found = b->sum ? digest_end(b->sum) : b->digest;
    return !digest_same(&found, &b->digest);
}

static int end_blob(struct http *h, struct store_blob *b, struct err *e)
{
    if (is_other(b))
        return err_set(e, ERR_CHANGED, "changed during the run; left for the next run");
    if (!b->sha1 || sha1_is(b->sha1, b->id))
        return STORE_BLOB_END;
    if (h->scanned && !h->o.dry_run) {
        int rc = blob_keep_damaged(h->keep, b->id, e);
        if (rc < 0)
            return rc;
        if (h->o.watch.damage)
            h->o.watch.damage(h->o.watch.ctx, b->id, DAMAGED);
    }
    return err_set(e, ERR_DAMAGED, "%s/blob/%s " DAMAGED, h->o.root, b->id);
}

static int http_blob_read(struct store *s, struct store_blob *b, struct buf *out, size_t most, struct err *e)
{
    struct http *h = http_of(s);
    size_t before = out->len, waiting = 0;
    /* What was given cannot be taken back; but the same object can be told by its id to go on with what is missing. */
    b->try.once = b->got > 0 && !b->sha1;
    int rc = http_try_step(&b->try, e);
    if (rc < 0) {
        err_wrap(e, "%s/blob/%s", h->o.root, b->id);
        return e->code = rc == ERR_UNSUPPORTED ? ERR_CHANGED : rc;
    }
    if (b->try.renewed) {
        b->try.renewed = false;
        b->skip = b->got;
    }
    if (http_try_good(&b->try)) {
        if (!b->begun)
            give_head(b, out);
        give_bytes(b, out, most);
        http_request_body(b->try.request, &waiting);
    }
    if (rc == 1 && waiting == 0 && out->len == before)
        return b->skip > 0 ? err_set(e, ERR_CHANGED, "is shorter now than it was") : end_blob(h, b, e);
    return out->len > before;
}

static int http_read_open(struct store *s, const struct entry *want, struct err *e)
{
    (void)s;
    (void)want;
    return err_set(e, ERR_UNSUPPORTED, "is not a file");
}

static int http_read_file(struct store *s, const struct entry *want, void *buf, struct err *e)
{
    (void)buf;
    return http_read_open(s, want, e);
}

static int http_read_link(struct store *s, const struct entry *want, char *target, size_t size, struct err *e)
{
    (void)target;
    (void)size;
    return http_read_open(s, want, e);
}

static int http_check(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e)
{
    struct http *h = http_of(s);
    struct store_blob *b;
    struct buf bytes = {0};
    struct err why;
    (void)read; /* a name in a list is no proof of content */
    *found = STORE_CHECK_CHANGED;
    if (http_blob_open(s, want, &b, &why) < 0)
        return 0;
    int rc, stop = 0;
    while ((rc = http_blob_read(s, b, &bytes, READ_HOLD, &why)) >= 0 && rc != STORE_BLOB_END && stop == 0) {
        bytes.len = 0;
        http_client_turn(h->client, NULL, 0, rc > 0 ? 0 : TURN_MS);
        stop = progress(h, 0, 0);
    }
    http_blob_close(s, b);
    buf_free(&bytes);
    if (rc == STORE_BLOB_END)
        *found = STORE_CHECK_GOOD;
    else if (rc == ERR_DAMAGED)
        *found = STORE_CHECK_DAMAGED;
    return stop < 0 ? err_set(e, stop, "the work was stopped") : 0;
}

/* ---- target side ---- */

static struct http_trash *trash_of(struct http *h, int64_t now, int64_t keep_for)
{
    assert(!h->o.dry_run);
    if (!h->trash)
        h->trash = http_trash_new(h->client, &h->health, h->keep, &h->o, now, keep_for);
    return h->trash;
}

static struct http_puts *puts_of(struct http *h)
{
    if (!h->puts)
        h->puts = http_puts_new(h->client, &h->health, h->keep, trash_of(h, h->o.rules.now, h->o.rules.trash), &h->o);
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

static int http_nothing(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e)
{
    (void)s;
    (void)want;
    (void)fd;
    (void)size;
    (void)e;
    return 0;
}

static int http_put_keep(struct store *s, uint64_t n, struct err *e)
{
    (void)s;
    (void)n;
    return err_set(e, ERR_UNSUPPORTED, "a blob-server keeps no parts");
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
        rc = blob_keep_commit(h->keep, peer, peers, e);
    if (rc == 0)
        blob_trash_expire(h->keep, &h->o, http_trash_own(h->trash));
    return rc;
}

/* ---- the trash ---- */

static int http_list_trash(struct store *s, int (*tell)(void *ctx, const struct store_trash *item), void *ctx, struct err *e)
{
    return blob_trash_list(http_of(s)->keep, tell, ctx, e);
}

static int http_restore(struct store *s, const char *run, uint64_t id, int64_t now, struct err *e)
{
    return http_trash_restore(trash_of(http_of(s), now, INT64_MAX), run, id, e);
}

static int http_empty_trash(struct store *s, int64_t now, int64_t older, uint64_t *items, uint64_t *bytes, struct err *e)
{
    struct http *h = http_of(s);
    return blob_trash_empty(h->keep, &h->o, now, older, items, bytes, e);
}

static void http_close(struct store *s)
{
    struct http *h = http_of(s);
    http_puts_free(h->puts);
    http_trash_free(h->trash);
    blob_keep_free(h->keep);
    http_client_free(h->client);
    blob_list_free(&h->suspects);
    free(h);
}

struct store *store_http_new(const struct store_options *options)
{
    static const struct store_ops ops = {
        .kind = "blob-server",
        .inspect = http_inspect,
        .scan = http_scan,
        .status = http_status,
        .manifest = http_manifest,
        .manifest_before = http_manifest_before,
        .have = http_have,
        .read_open = http_read_open,
        .read_file = http_read_file,
        .read_link = http_read_link,
        .blob_open = http_blob_open,
        .blob_read = http_blob_read,
        .blob_close = http_blob_close,
        .poll = http_poll,
        .check = http_check,
        .apply = http_apply,
        .put_begin = http_put_begin,
        .partial = http_nothing,
        .basis = http_nothing,
        .put_keep = http_put_keep,
        .put_data = http_put_data,
        .put_end = http_put_end,
        .flush = http_flush,
        .commit = http_commit,
        .trash_list = http_list_trash,
        .trash_restore = http_restore,
        .trash_empty = http_empty_trash,
        .close = http_close,
    };
    struct http *h = mem_zalloc(sizeof *h);
    h->store.ops = &ops;
    h->o = *options;
    return &h->store;
}
