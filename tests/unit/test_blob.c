/* Objects known by their ids: names, heads, sidecars, listings, and what is remembered of a store of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "object/manifest.h"
#include "store/blob.h"
#include "store/blob_json.h"
#include "store/blob_keep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EMPTY "da39a3ee5e6b4b0d3255bfef95601890afd80709"
#define HELLO "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"

/* ---- names ---- */

static void ids(void **state)
{
    static const char *const good[] = {"a", "0", "abc123", HELLO};
    static const char *const bad[] = {"", "A", "a.b", "a b", "../x", "a/b", ".", "lost+found", "a%2e", "\xc3\xa9"};
    char many[BLOB_ID_MAX + 2];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(blob_is_id(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(blob_is_id(bad[i], strlen(bad[i])));
    memset(many, 'a', sizeof many);
    assert_true(blob_is_id(many, BLOB_ID_MAX));
    assert_false(blob_is_id(many, BLOB_ID_MAX + 1));
    assert_false(blob_is_id("a\0b", 3));
    assert_true(sha1_names(EMPTY, 40));
    assert_false(sha1_names("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", 40));
    assert_false(sha1_names("da39a3ee5e6b4b0d3255bfef95601890afd8070", 39));
}

static void entries(void **state)
{
    struct err e;
    struct entry a = blob_entry("abc", 3), b = blob_entry("abc", 3), c = blob_entry("abd", 3);
    (void)state;
    assert_true(entry_same_content(&a, &b) && entry_same_meta(&a, &b));
    assert_false(entry_same_content(&a, &c));
    assert_int_equal(entry_check(&a, &e), 0);
    assert_int_equal(blob_check(&a, &e), 0);
    a.kind = ENTRY_LINK;
    assert_int_equal(blob_check(&a, &e), ERR_FORMAT);
    b = blob_entry("../abc", 6);
    assert_int_equal(blob_check(&b, &e), ERR_FORMAT);
}

/* ---- heads ---- */

/* Feeds text in pieces of this size. */
static int feed(struct blob_in *in, const char *id, const struct buf *b, size_t step, struct buf *out, struct err *e)
{
    int rc = 0;
    blob_in_begin(in, id);
    out->len = 0;
    for (size_t at = 0; rc == 0 && at < b->len; at += step) {
        const uint8_t *p = b->data + at;
        size_t n = b->len - at < step ? b->len - at : step;
        rc = blob_in_take(in, &p, &n, e);
        if (rc == 0)
            buf_put(out, p, n);
    }
    return rc == 0 ? blob_in_end(in, e) : rc;
}

static void travel(void **state)
{
    static const char headers[] = "X-A: 1\0X-Empty: ";
    struct blob_in in = {0};
    struct buf b = {0}, out = {0};
    struct err e;
    size_t n;
    (void)state;
    blob_put_head(&b, 5, headers, sizeof headers);
    buf_put(&b, "hello", 5);
    for (size_t step = 1; step <= b.len; step++) {
        assert_int_equal(feed(&in, HELLO, &b, step, &out, &e), 0);
        assert_int_equal(out.len, 5);
        assert_memory_equal(out.data, "hello", 5);
        const char *got = blob_in_headers(&in, &n);
        assert_int_equal(n, sizeof headers);
        assert_memory_equal(got, headers, n);
        assert_int_equal(got[n], '\0');
    }
    assert_int_equal(feed(&in, EMPTY, &b, 7, &out, &e), ERR_DAMAGED);
    assert_int_equal(feed(&in, "any", &b, 7, &out, &e), 0);
    b.len--;
    assert_int_equal(feed(&in, "any", &b, 7, &out, &e), ERR_FORMAT);
    buf_put(&b, "o!", 2);
    assert_int_equal(feed(&in, "any", &b, 7, &out, &e), ERR_FORMAT);
    b.len = 3;
    assert_int_equal(feed(&in, "any", &b, 7, &out, &e), ERR_FORMAT);
    blob_in_free(&in);
    buf_free(&b);
    buf_free(&out);
}

static void hostile_heads(void **state)
{
    static const struct { const char *headers; size_t n; } bad[] = {
        {"X-A: 1", 6}, {"Host: x", 8}, {"X-A: 1\r\nHost: x", 16}, {"X-A:1", 6}, {"X A: 1", 7}, {"X-A\n: 1", 8}, {"", 1},
        {"X-A: \x7f", 7},
    };
    struct blob_in in = {0};
    struct buf b = {0}, out = {0};
    struct err e;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        b.len = 0;
        blob_put_head(&b, BLOB_SIZE_UNKNOWN, bad[i].headers, bad[i].n);
        assert_int_equal(feed(&in, "any", &b, 1, &out, &e), ERR_FORMAT);
    }
    b.len = 0;
    buf_u32(&b, BLOB_HEAD_MAX + 1);
    assert_int_equal(feed(&in, "any", &b, 1, &out, &e), ERR_FORMAT);
    blob_in_free(&in);
    buf_free(&b);
    buf_free(&out);
}

/* ---- JSON ---- */

static void collect(void *ctx, const char *name, size_t len)
{
    struct buf *b = ctx;
    buf_put(b, name, len);
    buf_u8(b, '|');
}

static void listings(void **state)
{
    static const char *const bad[] = {"", "[", "[\"a\",", "[\"a\"", "{}", "null", "\"a\"", "[1]", "[\"a\",null]", "[[]]",
                                      "[\"a\"] x", "<html>", "[\"\xff\"]"};
    struct buf b = {0};
    struct err e;
    (void)state;
    assert_int_equal(blob_json_listing("[\"a\",\"b\\u0000c\"]\n", 17, collect, &b, &e), 0);
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.data, "a|b\0c|", 6);
    b.len = 0;
    assert_int_equal(blob_json_listing("[]", 2, collect, &b, &e), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(blob_json_listing(bad[i], strlen(bad[i]), collect, &b, &e), ERR_FORMAT);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void sidecars(void **state)
{
    static const char headers[] = "x-orig-filename: a b&<>.jpg\0X-Mime-Type: \"\\\t\xe2\x80\xa8\xc3\xa9\0X-ORIG-FILENAME: second\0x-e: \xff";
    static const char want[] = "{\"X-E\":\"\\ufffd\",\"X-Mime-Type\":\"\\\"\\\\\\t\\u2028\xc3\xa9\","
                               "\"X-Orig-Filename\":\"a b\\u0026\\u003c\\u003e.jpg\"}";
    struct buf b = {0}, fields = {0};
    struct err e;
    (void)state;
    blob_json_put_sidecar(&b, headers, sizeof headers);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.data, want, b.len);
    assert_int_equal(blob_json_sidecar("{\"X-A\":\"1\",\"X-B\":\"\"}", 20, &fields, &e), 0);
    assert_int_equal(fields.len, 13);
    assert_memory_equal(fields.data, "X-A: 1\0X-B: ", 13);
    assert_int_equal(blob_json_sidecar("{\"X-A\":1}", 9, &fields, &e), ERR_FORMAT);
    assert_int_equal(blob_json_sidecar("{\"X-A\":\"\\r\\n\"}", 14, &fields, &e), ERR_FORMAT);
    assert_int_equal(blob_json_sidecar("[]", 2, &fields, &e), ERR_FORMAT);
    b.len = 0;
    blob_json_put_sidecar(&b, NULL, 0);
    assert_int_equal(b.len, 0);
    buf_free(&b);
    buf_free(&fields);
}

/* ---- what is remembered ---- */

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    (void)ctx;
    (void)error;
    (void)path;
    fail_msg("%s", message);
}

static void on_damaged(void *ctx, const char *id)
{
    struct buf *b = ctx;
    buf_put(b, id, strlen(id));
}

struct kept {
    char dir[64];
    struct store_options o;
    struct uuid self;
    struct buf damaged;
    struct store_scan out;
    uint64_t before;
};

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct kept *k = calloc(1, sizeof *k);
    snprintf(k->dir, sizeof k->dir, "%s/test-blob-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    k->o = (struct store_options){.fsync = STORE_FSYNC_NONE, .watch = {.problem = on_problem}};
    k->self.b[0] = 7;
    *state = k;
    return mkdtemp(k->dir) ? 0 : -1;
}

static int teardown(void **state)
{
    struct kept *k = *state;
    char *command = mem_printf("rm -rf '%s'", k->dir);
    int rc = system(command);
    free(command);
    buf_free(&k->damaged);
    free(k);
    return rc;
}

/* A scan of a store that lists these ids, one letter each. */
static struct blob_keep *scan(struct kept *k, const char *letters)
{
    const struct store_rules rules = {.now = 1000000, .tombstones = 1000};
    struct store_info info = {0};
    struct blob_list list = {0};
    struct err e;
    char *dir = mem_printf("%s/state/x", k->dir);
    struct blob_keep *keep = blob_keep_new(&k->o, "the store", dir, &k->self);
    free(dir);
    for (const char *c = letters; *c; c++)
        blob_list_add(&list, c, 1);
    blob_list_sort(&list);
    k->out = (struct store_scan){0};
    k->before = 0;
    k->damaged.len = 0;
    assert_int_equal(blob_keep_inspect(keep, &info, &e), 0);
    assert_int_equal(blob_keep_begin(keep, &info.id, "g", &rules, &k->before, on_damaged, &k->damaged, &e), 0);
    assert_int_equal(blob_keep_scan(keep, &list, &k->out, &e), 0);
    store_info_free(&info);
    blob_list_free(&list);
    return keep;
}

static void close_keep(struct blob_keep *keep)
{
    struct err e;
    assert_int_equal(blob_keep_commit(keep, NULL, 0, &e), 0);
    blob_keep_free(keep);
}

static struct entry entry_of(const struct blob_keep *keep, const char *id)
{
    struct manifest_head head;
    struct err e;
    const struct entry *at;
    struct entry found = {0};
    struct manifest_reader *r = manifest_reader_new(blob_keep_manifest(keep), &head, &e);
    assert_non_null(r);
    while (manifest_reader_next(r, &at, &e) > 0)
        if (strcmp(at->path, id) == 0)
            entry_copy(&found, at);
    manifest_reader_free(r);
    return found;
}

static void remembers(void **state)
{
    struct kept *k = *state;
    struct err e;
    struct blob_keep *keep = scan(k, "cabac");
    assert_true(k->out.changed);
    assert_int_equal(k->out.totals.objects, 3);
    struct entry a = entry_of(keep, "a");
    assert_int_equal(a.kind, ENTRY_FILE);
    assert_int_equal(a.first_seen, 1000000);
    assert_true(uuid_same(&a.origin, &k->self));
    /* A run gives it an object with a record of another member's. */
    struct entry d = blob_entry("d", 1);
    struct uuid other = {{9}};
    version_set(&d.version, &other, 3);
    d.origin = other;
    d.first_seen = 5;
    assert_int_equal(blob_keep_done(keep, &d, &e), 0);
    close_keep(keep);

    keep = scan(k, "abcd");
    assert_false(k->out.changed);
    assert_int_equal(k->before, 4);
    struct entry again = entry_of(keep, "d");
    assert_true(entry_same_record(&d, &again));
    assert_int_equal(blob_keep_damaged(keep, "b", &e), 0);
    close_keep(keep);

    /* What is not listed any more is a lost replica. */
    keep = scan(k, "ab");
    assert_true(k->out.changed);
    assert_int_equal(k->out.totals.objects, 2);
    assert_int_equal(k->out.damaged, 1);
    assert_int_equal(k->damaged.len, 1);
    close_keep(keep);
}

static void forgets_what_was_removed(void **state)
{
    struct kept *k = *state;
    struct err e;
    struct blob_keep *keep = scan(k, "abc");
    struct entry gone = entry_of(keep, "b"), pruned = entry_of(keep, "c");
    gone.path = "b"; /* what it had was the reader's */
    gone.path_len = 1;
    gone.kind = ENTRY_GONE;
    gone.mode = 0;
    gone.digest = (struct digest){0};
    gone.mtime.sec = 1000000;
    pruned.path = "c";
    pruned.path_len = 1;
    assert_int_equal(blob_keep_done(keep, &gone, &e), 0);
    assert_int_equal(blob_keep_pruned(keep, &pruned, &e), 0);
    close_keep(keep);
    keep = scan(k, "a");
    assert_int_equal(k->out.totals.objects, 1);
    assert_int_equal(entry_of(keep, "b").kind, ENTRY_GONE);
    assert_non_null(entry_of(keep, "b").path); /* its tombstone, while of c there is nothing */
    assert_null(entry_of(keep, "c").path);
    close_keep(keep);
    /* Here again: a change that counts above the deletion. */
    keep = scan(k, "ab");
    struct entry back = entry_of(keep, "b");
    assert_int_equal(back.kind, ENTRY_FILE);
    assert_int_equal(version_compare(&gone.version, &back.version), VERSION_BEFORE);
    close_keep(keep);
}

static void survives_a_kill(void **state)
{
    struct kept *k = *state;
    struct err e;
    struct entry d = blob_entry("d", 1);
    struct uuid other = {{9}};
    version_set(&d.version, &other, 3);
    d.origin = other;
    struct blob_keep *keep = scan(k, "a");
    for (int i = 0; i < 300; i++) /* more than are held back */
        assert_int_equal(blob_keep_done(keep, &d, &e), 0);
    blob_keep_free(keep); /* no commit */
    keep = scan(k, "ad");
    struct entry again = entry_of(keep, "d");
    assert_true(uuid_same(&again.origin, &other));
    close_keep(keep);
}

static void does_without(void **state)
{
    struct kept *k = *state;
    const struct store_rules rules = {.now = 1};
    struct blob_list list = {0};
    struct store_info info = {0};
    struct err e;
    struct blob_keep *keep = blob_keep_new(&k->o, "the store", NULL, &k->self);
    blob_list_add(&list, "a", 1);
    assert_int_equal(blob_keep_inspect(keep, &info, &e), 0);
    assert_false(info.marked);
    assert_int_equal(blob_keep_begin(keep, &info.id, "g", &rules, &k->before, on_damaged, &k->damaged, &e), 0);
    assert_int_equal(blob_keep_scan(keep, &list, &k->out, &e), 0);
    struct entry b = blob_entry("b", 1);
    version_set(&b.version, &k->self, 1);
    assert_int_equal(blob_keep_done(keep, &b, &e), 0);
    assert_int_equal(blob_keep_commit(keep, NULL, 0, &e), 0);
    assert_int_equal(entry_of(keep, "b").kind, ENTRY_FILE);
    store_info_free(&info);
    blob_list_free(&list);
    blob_keep_free(keep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids), cmocka_unit_test(entries), cmocka_unit_test(travel), cmocka_unit_test(hostile_heads),
        cmocka_unit_test(listings), cmocka_unit_test(sidecars),
        cmocka_unit_test_setup_teardown(remembers, setup, teardown),
        cmocka_unit_test_setup_teardown(forgets_what_was_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_a_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(does_without, setup, teardown),
    };
    return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
