#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/history.h"
#include "store/journal.h"

static const struct uuid self = {{1}}, other = {{2}};

static struct entry file(const char *path, uint64_t own, uint64_t others)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0644, .size = 3};
    e.mtime.sec = 1000;
    e.digest = digest_of(path, e.path_len);
    e.origin = self;
    e.place = (struct entry_place){7, 100 + e.path_len, {2000, 5}, false, 0};
    if (own)
        version_set(&e.version, &self, own);
    if (others)
        version_set(&e.version, &other, others);
    return e;
}

static struct entry dir(const char *path)
{
    struct entry e = file(path, 1, 0);
    e.kind = ENTRY_DIR;
    e.mode = 0755;
    e.size = 0;
    e.mtime.sec = 0;
    e.digest = (struct digest){0};
    return e;
}

static int manifest_of(uint64_t floor, const struct entry *e, size_t n)
{
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    struct manifest_head head = {.algo = DIGEST_XXH3_128, .store = self, .floor = floor};
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(manifest_writer_put(w, &e[i], NULL), 0);
    assert_int_equal(manifest_writer_end(w, NULL, NULL), 0);
    manifest_writer_free(w);
    return fd;
}

static int journal_of(const struct entry *e, const bool *done, size_t n)
{
    int fd = memfd_create("journal", MFD_CLOEXEC);
    struct journal *j = journal_new(dup(fd), &self, NULL);
    assert_non_null(j);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = journal_intent(j, &e[i]);
        if (done[i])
            journal_done(j, at, &e[i].place);
    }
    assert_int_equal(journal_flush(j, false, NULL), 0);
    journal_free(j);
    return fd;
}

static void seek(struct history *h, const char *path, struct history_at *at)
{
    struct err e;
    assert_int_equal(history_seek(h, path, strlen(path), at, &e), 0);
}

static void expect_carry(struct history *h, const char *below, const char *path)
{
    struct err e;
    const struct entry *entry;
    int rc = history_carry(h, below, strlen(below), &entry, &e);
    assert_int_equal(rc, path != NULL);
    if (path)
        assert_string_equal(entry->path, path);
}

static void test_nothing_recorded(void **state)
{
    (void)state;
    struct err e;
    struct history_at at;
    struct history *h = history_new(-1, -1, &self, &e);
    uint64_t floor = 9;
    int64_t verified;
    struct digest d;
    struct entry_place place = {1, 2, {3, 4}, false, 0};
    assert_non_null(h);
    assert_int_equal(history_floor(h), 0);
    seek(h, "a", &at);
    assert_null(at.recorded);
    assert_null(at.intent);
    expect_carry(h, "b", NULL);
    assert_int_equal(history_moved(h, &place, 1, place.ctime, &d, &verified, &e), 0);
    assert_int_equal(history_end(h, &floor, &e), 0);
    assert_int_equal(floor, 0);
    assert_false(history_dropped(h));
    history_free(h);
}

static void test_seek_in_order(void **state)
{
    (void)state;
    const struct entry list[] = {dir("a"), file("a/x", 3, 0), file("a.b", 4, 0), file("b", 5, 0)};
    int fd = manifest_of(2, list, 4);
    struct err e;
    struct history_at at;
    uint64_t floor;
    struct history *h = history_new(fd, -1, &self, &e);
    assert_non_null(h);
    assert_int_equal(history_floor(h), 2);
    const char *path[] = {"a", "a/x", "a.b", "b"};
    for (size_t i = 0; i < 4; i++) {
        seek(h, path[i], &at);
        assert_non_null(at.recorded);
        assert_string_equal(at.recorded->path, path[i]);
    }
    seek(h, "c", &at);
    assert_null(at.recorded);
    assert_int_equal(history_end(h, &floor, &e), 0);
    assert_int_equal(floor, 2);
    assert_false(history_dropped(h));
    history_free(h);
    close(fd);
}

static void test_dropped_raise_the_floor(void **state)
{
    (void)state;
    const struct entry list[] = {file("a", 3, 50), file("b", 9, 0), file("c", 4, 0)};
    int fd = manifest_of(1, list, 3);
    struct err e;
    struct history_at at;
    uint64_t floor;

    struct history *h = history_new(fd, -1, &self, &e);
    seek(h, "b", &at); /* a is gone */
    assert_non_null(at.recorded);
    assert_true(history_dropped(h));
    assert_int_equal(history_floor(h), 1);
    assert_int_equal(history_end(h, &floor, &e), 0); /* so is c */
    assert_int_equal(floor, 4);
    assert_int_equal(history_end(h, &floor, &e), 0);
    assert_int_equal(floor, 4);
    history_free(h);

    h = history_new(fd, -1, &self, &e);
    seek(h, "b", &at);
    history_gone(h, at.recorded);
    assert_int_equal(history_end(h, &floor, &e), 0);
    assert_int_equal(floor, 9);
    history_free(h);
    close(fd);
}

static void test_carry_subtree(void **state)
{
    (void)state;
    const struct entry list[] = {dir("a"), file("a/x", 3, 0), dir("a/y"), file("a/y/z", 3, 0),
                                 file("a.b", 4, 0)};
    int fd = manifest_of(0, list, 5);
    struct err e;
    struct history_at at;

    struct history *h = history_new(fd, -1, &self, &e);
    expect_carry(h, "a", "a");
    expect_carry(h, "a", "a/x");
    expect_carry(h, "a", "a/y");
    expect_carry(h, "a", "a/y/z");
    expect_carry(h, "a", NULL);
    expect_carry(h, "a", NULL);
    seek(h, "a.b", &at);
    assert_non_null(at.recorded);
    assert_false(history_dropped(h));
    history_free(h);

    h = history_new(fd, -1, &self, &e); /* what was sought does not come again, in the middle neither */
    seek(h, "a", &at);
    seek(h, "a/x", &at);
    expect_carry(h, "a", "a/y");
    expect_carry(h, "a", "a/y/z");
    expect_carry(h, "a", NULL);
    history_free(h);

    h = history_new(fd, -1, &self, &e);
    expect_carry(h, "a/nothing", NULL); /* passes a */
    assert_true(history_dropped(h));
    history_free(h);
    close(fd);
}

static void test_intents(void **state)
{
    (void)state;
    const struct entry list[] = {file("a", 1, 0), file("c", 1, 0)};
    const struct entry put[] = {file("a", 1, 7), file("b", 0, 8), file("d", 12, 0)};
    const bool done[] = {true, false, false};
    int fd = manifest_of(0, list, 2), log = journal_of(put, done, 3);
    struct err e;
    struct history_at at;
    uint64_t floor;
    struct history *h = history_new(fd, log, &self, &e);
    assert_non_null(h);
    seek(h, "a", &at);
    assert_int_equal(version_count(&at.recorded->version, &other), 0);
    assert_int_equal(version_count(&at.intent->version, &other), 7);
    assert_int_not_equal(at.intent->place.ino, 0);
    seek(h, "b", &at);
    assert_null(at.recorded);
    assert_non_null(at.intent);
    assert_int_equal(at.intent->place.ino, 0);
    seek(h, "c", &at);
    assert_non_null(at.recorded);
    assert_null(at.intent);
    assert_int_equal(history_end(h, &floor, &e), 0);
    assert_int_equal(floor, 12); /* the intent for d */
    assert_true(history_dropped(h));
    history_free(h);
    close(fd);
    close(log);
}

static void test_carry_takes_what_was_done(void **state)
{
    (void)state;
    const struct entry list[] = {dir("a"), file("a/1", 1, 0), file("a/2", 1, 0), file("a/3", 1, 0)};
    struct entry put[] = {file("a/1", 1, 7), file("a/2", 1, 8), dir("a/3"), file("a/3/x", 0, 1),
                          file("a/4", 0, 9)};
    const bool done[] = {true, false, true, true, true};
    int fd = manifest_of(0, list, 4), log = journal_of(put, done, 5);
    struct err e;
    const struct entry *entry;
    struct history *h = history_new(fd, log, &self, &e);
    const uint64_t expect[] = {0, 7, 0, 0};
    const char *path[] = {"a", "a/1", "a/2", "a/3"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(history_carry(h, "a", 1, &entry, &e), 1);
        assert_string_equal(entry->path, path[i]);
        assert_int_equal(version_count(&entry->version, &other), expect[i]);
    }
    assert_int_equal(entry->kind, ENTRY_FILE);
    assert_int_equal(history_carry(h, "a", 1, &entry, &e), 0);
    assert_true(history_dropped(h));
    history_free(h);
    close(fd);
    close(log);
}

static void test_moved(void **state)
{
    (void)state;
    struct entry list[] = {dir("d"), file("d/f", 1, 0), file("d/racy!", 1, 0), file("d/unknown", 1, 0)};
    list[1].place.verified = 77;
    list[2].place.racy = true;
    list[3].flags = ENTRY_UNKNOWN;
    int64_t verified = 0;
    int fd = manifest_of(0, list, 4);
    struct err e;
    struct digest d;
    struct history *h = history_new(fd, -1, &self, &e);
    struct entry_place p = list[1].place;
    struct stamp mtime = list[1].mtime;
    assert_int_equal(history_moved(h, &p, 3, mtime, &d, &verified, &e), 1);
    assert_true(digest_same(&d, &list[1].digest));
    assert_int_equal(verified, 77);
    assert_int_equal(history_moved(h, &p, 4, mtime, &d, &verified, &e), 0);
    p.ino++;
    assert_int_equal(history_moved(h, &p, 3, mtime, &d, &verified, &e), 0);
    p = list[1].place;
    p.ctime.nsec++;
    assert_int_equal(history_moved(h, &p, 3, mtime, &d, &verified, &e), 0);
    p.ctime.sec = clock_now().sec + 100; /* younger than the manifest */
    assert_int_equal(history_moved(h, &p, 3, mtime, &d, &verified, &e), 0);
    assert_int_equal(history_moved(h, &list[2].place, 3, mtime, &d, &verified, &e), 0);
    assert_int_equal(history_moved(h, &list[3].place, 3, mtime, &d, &verified, &e), 0);
    history_free(h);
    close(fd);
}

static void test_damaged_manifest(void **state)
{
    (void)state;
    const struct entry list[] = {file("a", 1, 0)};
    int fd = manifest_of(0, list, 1);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t len = st.st_size - 1; len >= 0; len--) {
        assert_int_equal(ftruncate(fd, len), 0);
        struct err e = {0};
        uint64_t floor;
        struct history *h = history_new(fd, -1, &self, &e);
        if (h) {
            assert_true(history_end(h, &floor, &e) < 0);
            history_free(h);
        }
        assert_int_not_equal(e.code, 0);
    }
    close(fd);
}

struct told {
    char text[256];
    int answer;
};

static int tell(void *ctx, const struct history_at *at)
{
    struct told *t = ctx;
    const struct entry *any = at->recorded ? at->recorded : at->intent;
    size_t n = strlen(t->text);
    snprintf(t->text + n, sizeof t->text - n, "%s%s%s%s ", any->path, at->recorded ? "" : "-",
             at->recorded && at->recorded->kind == ENTRY_GONE ? "!" : "", at->intent ? "+" : "");
    return t->answer;
}

static struct entry gone(const char *path, uint64_t own)
{
    struct entry e = file(path, own, 0);
    e.kind = ENTRY_GONE;
    e.mode = 0;
    e.size = 0;
    e.digest = (struct digest){0};
    e.place = JOURNAL_NO_PLACE;
    return e;
}

/* Whatever the walk passes over, from both sources, in order; but not what it carries, nor what is only intended there. */
static void test_missed(void **state)
{
    (void)state;
    const struct entry list[] = {file("a", 2, 0), dir("d"), file("d/x", 3, 0), file("d.y", 4, 0), file("m", 5, 0),
                                 file("z", 6, 0)};
    const struct entry put[] = {gone("a", 8), file("b", 1, 0), file("d/a", 1, 0), file("d/x/y", 1, 0), gone("k", 1),
                                file("m", 9, 0), gone("z", 1)};
    const bool done[] = {true, true, true, true, true, false, true};
    int fd = manifest_of(1, list, 6), log = journal_of(put, done, 7);
    struct err e;
    struct history_at at;
    struct told t = {.answer = 0};
    uint64_t floor;
    struct history *h = history_new(fd, log, &self, &e);
    assert_non_null(h);
    history_on_missed(h, tell, &t);
    expect_carry(h, "d", "d");
    assert_string_equal(t.text, "a! b-+ ");
    expect_carry(h, "d", "d/x");
    expect_carry(h, "d", NULL);
    assert_string_equal(t.text, "a! b-+ ");
    seek(h, "n", &at);
    assert_string_equal(t.text, "a! b-+ d.y k! m+ ");
    seek(h, "z", &at); /* a deletion that was done is all that is known */
    assert_int_equal(at.recorded->kind, ENTRY_GONE);
    assert_int_equal(at.recorded->place.ino, 0);
    assert_null(at.intent);
    assert_int_equal(history_end(h, &floor, &e), 0);
    assert_string_equal(t.text, "a! b-+ d.y k! m+ ");
    assert_int_equal(floor, 9);
    history_free(h);
    /* What stands on is not dropped; an error ends the call. */
    h = history_new(fd, -1, &self, &e);
    t = (struct told){.answer = 1};
    history_on_missed(h, tell, &t);
    assert_int_equal(history_end(h, &floor, &e), 0);
    assert_string_equal(t.text, "a d d/x d.y m z ");
    assert_int_equal(floor, 1);
    assert_false(history_dropped(h));
    history_free(h);
    h = history_new(fd, -1, &self, &e);
    t.answer = ERR_INTERRUPTED;
    history_on_missed(h, tell, &t);
    assert_int_equal(history_seek(h, "b", 1, &at, &e), ERR_INTERRUPTED);
    history_free(h);
    close(fd);
    close(log);
}

static void test_foreign_journal(void **state)
{
    (void)state;
    const struct entry put[] = {file("a", 1, 7)};
    const bool done[] = {true};
    int log = journal_of(put, done, 1);
    struct err e = {0};
    assert_null(history_new(-1, log, &other, &e));
    assert_int_not_equal(e.code, 0);
    close(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_recorded),
        cmocka_unit_test(test_seek_in_order),
        cmocka_unit_test(test_dropped_raise_the_floor),
        cmocka_unit_test(test_carry_subtree),
        cmocka_unit_test(test_intents),
        cmocka_unit_test(test_missed),
        cmocka_unit_test(test_carry_takes_what_was_done),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_damaged_manifest),
        cmocka_unit_test(test_foreign_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
