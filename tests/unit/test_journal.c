#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/journal.h"

static const struct uuid self = {{1, 2, 3}};

static int fresh(void)
{
    const char *tmp = getenv("TMPDIR");
    int fd = file_unnamed(tmp && tmp[0] ? tmp : "/tmp");
    assert_true(fd >= 0);
    return fd;
}

static struct entry entry_of(const char *path, uint64_t count)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0644, .size = count,
                      .mtime = {5, 6}, .origin = {{7}}, .first_seen = 8};
    version_set(&e.version, &self, count);
    return e;
}

static uint64_t intend(struct journal *j, const char *path, uint64_t count)
{
    struct entry e = entry_of(path, count);
    return journal_intent(j, &e);
}

static void done(struct journal *j, uint64_t i, uint64_t ino)
{
    struct entry_place p = {.dev = 3, .ino = ino, .ctime = {9, 10}, .racy = ino & 1,
                            .verified = ino & 2 ? -(int64_t)ino : 0};
    journal_done(j, i, &p);
}

static struct journal *start(int fd)
{
    struct err e = {0};
    struct journal *j = journal_new(dup(fd), &self, &e);
    assert_non_null(j);
    return j;
}

static void end(struct journal *j)
{
    struct err e = {0};
    assert_int_equal(journal_flush(j, true, &e), 0);
    journal_free(j);
}

/* What a reader tells: "path=count" and "!ino" where done. */
static char *tell(int fd)
{
    struct err e = {0};
    struct journal_reader *r = journal_reader_new(fd, &self, &e);
    const struct entry *at;
    bool seen;
    char *text = mem_strdup("");
    int rc;
    if (!r) {
        free(text);
        return mem_printf("error %d", e.code);
    }
    while ((rc = journal_reader_next(r, &at, &seen, &e)) > 0) {
        assert_int_equal(at->path_len, strlen(at->path));
        assert_true(seen == (at->place.ino != 0));
        char *more = seen ? mem_printf("%s %s=%d!%d", text, at->path, (int)version_count(&at->version, &self),
                                       (int)at->place.ino)
                          : mem_printf("%s %s=%d", text, at->path, (int)version_count(&at->version, &self));
        free(text);
        text = more;
        if (seen) {
            assert_int_equal(at->place.racy, at->place.ino & 1);
            assert_int_equal(at->place.verified, at->place.ino & 2 ? -(int64_t)at->place.ino : 0);
        }
    }
    assert_int_equal(rc, 0);
    journal_reader_free(r);
    return text;
}

static void assert_tells(int fd, const char *want)
{
    char *text = tell(fd);
    assert_string_equal(text, want);
    free(text);
}

static void in_order(void **state)
{
    int fd = fresh();
    struct journal *j = start(fd);
    (void)state;
    assert_int_equal(intend(j, "a", 1), 0);
    intend(j, "a/b", 2);
    intend(j, "a-b", 3);
    done(j, 1, 11);
    done(j, 0, 10);
    assert_int_equal(journal_intents(j), 3);
    end(j);
    assert_tells(fd, " a=1!10 a/b=2!11 a-b=3");
    close(fd);
}

/* Several phases: merged, the last intent of a path decides, unless it was undone. */
static void phases(void **state)
{
    int fd = fresh();
    struct journal *j = start(fd);
    (void)state;
    intend(j, "b", 1);
    intend(j, "d", 2);
    intend(j, "a", 3);
    intend(j, "b", 4);
    intend(j, "d", 5);
    intend(j, "d", 6);
    intend(j, "e", 7);
    done(j, 0, 20);
    done(j, 1, 21);
    done(j, 3, 22);
    journal_undo(j, 5);
    done(j, 4, 24);
    journal_undo(j, 6);
    end(j);
    assert_tells(fd, " a=3 b=4!22 d=5!24");
    close(fd);
}

static void many_phases(void **state)
{
    int fd = fresh();
    struct journal *j = start(fd);
    char path[32];
    (void)state;
    for (int i = 300; i-- > 0;) {
        snprintf(path, sizeof path, "p%03d", i);
        done(j, intend(j, path, 1), 100 + (uint64_t)i);
    }
    end(j);
    struct err e = {0};
    struct journal_reader *r = journal_reader_new(fd, &self, &e);
    const struct entry *at;
    bool seen;
    assert_int_equal(journal_reader_intents(r), 300);
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "p%03d", i);
        assert_int_equal(journal_reader_next(r, &at, &seen, &e), 1);
        assert_string_equal(at->path, path);
        assert_int_equal(at->place.ino, 100 + i);
    }
    assert_int_equal(journal_reader_next(r, &at, &seen, &e), 0);
    journal_reader_free(r);
    close(fd);
}

/* Cut at every byte, it is a journal of what came before. */
static void torn(void **state)
{
    int fd = fresh();
    struct journal *j = start(fd);
    (void)state;
    intend(j, "a", 1);
    end(j);
    struct stat st;
    fstat(fd, &st);
    off_t one = st.st_size;
    j = start(fd);
    intend(j, "a", 1);
    intend(j, "b", 2);
    end(j);
    fstat(fd, &st);
    for (off_t n = st.st_size - 1; n >= 0; n--) {
        assert_int_equal(ftruncate(fd, n), 0);
        assert_tells(fd, n >= one ? " a=1" : "");
    }
    close(fd);
}

static void nothing_yet(void **state)
{
    int fd = fresh();
    static const char zero[200];
    (void)state;
    assert_tells(fd, "");
    assert_int_equal(pwrite(fd, zero, sizeof zero, 0), sizeof zero);
    assert_tells(fd, "");
    struct journal *j = start(fd); /* truncates */
    intend(j, "a", 1);
    journal_free(j); /* what was not flushed is lost */
    assert_tells(fd, "");
    close(fd);
}

static void damage(void **state)
{
    int fd = fresh();
    struct journal *j = start(fd);
    struct stat st;
    (void)state;
    intend(j, "a", 1);
    done(j, 0, 5);
    end(j);
    fstat(fd, &st);
    for (off_t at = 0; at < st.st_size; at++) {
        uint8_t c, bad;
        assert_int_equal(pread(fd, &c, 1, at), 1);
        bad = c ^ 0x20;
        pwrite(fd, &bad, 1, at);
        char *text = tell(fd);
        if (at < 32)
            assert_string_equal(text, "error -4");
        else
            assert_true(strcmp(text, "") == 0 || strcmp(text, " a=1") == 0);
        free(text);
        pwrite(fd, &c, 1, at);
    }
    const struct uuid other = {{9}};
    struct err e = {0};
    assert_null(journal_reader_new(fd, &other, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    close(fd);
}

/* Records with right checksums that make no sense. */
static void nonsense(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        int fd = fresh();
        struct journal *j = start(fd);
        struct entry e = entry_of(k == 2 ? "../a" : "a", 1);
        journal_intent(j, &e);
        if (k == 0)
            done(j, 1, 5);
        if (k == 1)
            journal_undo(j, UINT64_MAX);
        end(j);
        assert_tells(fd, "error -4");
        close(fd);
    }
}

static void disk_full(void **state)
{
    struct err e = {0};
    (void)state;
    int fd = open("/dev/full", O_WRONLY);
    if (fd < 0)
        skip();
    /* A device cannot be truncated: that is refused at once, and the descriptor is gone. */
    assert_null(journal_new(fd, &self, &e));
    assert_int_equal(e.code, ERR_SYS);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order), cmocka_unit_test(phases),   cmocka_unit_test(many_phases),
        cmocka_unit_test(torn),     cmocka_unit_test(nothing_yet), cmocka_unit_test(damage),
        cmocka_unit_test(nonsense), cmocka_unit_test(disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
