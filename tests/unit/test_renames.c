#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/renames.h"

#define NOW 5000

static const struct uuid self = {{1}}, other = {{2}}, third = {{3}};

/* An entry whose content is that of its letter; ino 0: none. */
static struct entry object(const char *path, char content, uint64_t ino, const struct uuid *origin, int64_t first_seen)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0644, .size = content ? 1 : 0};
    e.digest = digest_of(&content, e.size);
    e.origin = *origin;
    e.first_seen = first_seen;
    e.place = (struct entry_place){7, ino, {2000, 5}, false, 0};
    version_set(&e.version, &self, 1);
    return e;
}

static struct entry new(const char *path, char content, uint64_t ino)
{
    return object(path, content, ino, &self, NOW);
}

/* A scan that found these, where those are gone: what becomes of the n entries is left in them. */
static void settle(struct entry *e, size_t n, const struct entry *gone, size_t gones)
{
    int from = memfd_create("from", MFD_CLOEXEC), to = memfd_create("to", MFD_CLOEXEC);
    struct manifest_head head = {.algo = DIGEST_XXH3_128, .store = self};
    struct manifest_writer *w = manifest_writer_new(from, &head);
    struct renames *r = renames_new(&self, NOW);
    struct err err;
    for (size_t i = 0; i < gones; i++)
        renames_gone(r, &gone[i]);
    for (size_t i = 0; i < n; i++) {
        renames_seen(r, &e[i]);
        assert_int_equal(manifest_writer_put(w, &e[i], NULL), 0);
    }
    assert_int_equal(manifest_writer_end(w, NULL, NULL), 0);
    manifest_writer_free(w);
    w = manifest_writer_new(to, &head);
    assert_int_equal(renames_settle(r, from, w, &err), 0);
    assert_int_equal(manifest_writer_end(w, NULL, NULL), 0);
    manifest_writer_free(w);
    renames_free(r);
    const struct entry *at;
    struct manifest_reader *in = manifest_reader_new(to, &head, &err);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(manifest_reader_next(in, &at, &err), 1);
        assert_string_equal(at->path, e[i].path);
        assert_int_equal(version_count(&at->version, &self), version_count(&e[i].version, &self));
        e[i].origin = at->origin;
        e[i].first_seen = at->first_seen;
    }
    assert_int_equal(manifest_reader_next(in, &at, &err), 0);
    manifest_reader_free(in);
    close(from);
    close(to);
}

#define is(e, o, t) \
    do { \
        assert_true(uuid_same(&(e).origin, &(o))); \
        assert_int_equal((e).first_seen, t); \
    } while (0)

static void keeps_origin_and_date(void **state)
{
    (void)state;
    struct entry gone[] = {object("a", 'x', 5, &other, 100)};
    struct entry e[] = {object("b", 'x', 6, &third, 200), new("c", 'x', 5), new("d", 'y', 8)};
    settle(e, 3, gone, 1);
    is(e[0], third, 200); /* was there before */
    is(e[1], other, 100);
    is(e[2], self, NOW);
}

static void prefers_the_inode(void **state)
{
    (void)state;
    struct entry gone[] = {object("a", 'x', 5, &other, 100), object("b", 'x', 6, &third, 200)};
    struct entry e[] = {new("c", 'x', 9), new("d", 'x', 6), new("e", 'x', 7)};
    settle(e, 3, gone, 2);
    is(e[0], other, 100); /* the only one that is left for it */
    is(e[1], third, 200);
    is(e[2], self, NOW); /* each is found once */
}

static void inode_that_comes_later(void **state)
{
    (void)state;
    struct entry gone[] = {object("a", 'x', 5, &other, 100)};
    struct entry e[] = {new("b", 'x', 9), new("c", 'x', 5)};
    settle(e, 2, gone, 1);
    is(e[0], self, NOW);
    is(e[1], other, 100);
}

static void empty_by_inode_alone(void **state)
{
    (void)state;
    struct entry gone[] = {object("a", 0, 5, &other, 100), object("b", 0, 6, &third, 200)};
    struct entry e[] = {new("c", 0, 9), new("d", 0, 6)};
    settle(e, 2, gone, 2);
    is(e[0], self, NOW);
    is(e[1], third, 200);
}

static void kinds_and_flags(void **state)
{
    (void)state;
    struct entry gone[] = {object("a", 'x', 5, &other, 100), object("b", 'y', 6, &other, 100), object("c", 'z', 7, &other, 100)};
    gone[0].kind = ENTRY_LINK;
    gone[0].mode = ENTRY_MODE_MAX;
    gone[1].flags = ENTRY_DAMAGED;
    gone[2].kind = ENTRY_GONE;
    struct entry e[] = {new("d", 'x', 5), new("e", 'y', 6), new("f", 'z', 7)};
    settle(e, 3, gone, 3);
    for (size_t i = 0; i < 3; i++)
        is(e[i], self, NOW);
}

static void nothing_to_do(void **state)
{
    (void)state;
    struct renames *r = renames_new(&self, NOW);
    struct entry e = new("a", 'x', 5), old = object("b", 'x', 5, &self, NOW - 1);
    assert_false(renames_any(r));
    renames_gone(r, &old);
    assert_false(renames_any(r));
    renames_seen(r, &old);
    assert_false(renames_any(r));
    renames_seen(r, &e);
    assert_true(renames_any(r));
    renames_free(r);
    renames_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_origin_and_date), cmocka_unit_test(prefers_the_inode),
        cmocka_unit_test(inode_that_comes_later), cmocka_unit_test(empty_by_inode_alone),
        cmocka_unit_test(kinds_and_flags), cmocka_unit_test(nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
