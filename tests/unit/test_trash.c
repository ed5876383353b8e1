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

#include "base/mem.h"
#include "store/trash.h"
#include "store/trash_list.h"
#include "store/trash_restore.h"
#include "store/trash_sweep.h"
#include "scratch.h"

static char top[256];
static int state_fd, root_fd;
#define WHEN 1795303166 /* 2026-11-21T23:19:26Z */
#define DAY 86400
#define RUN "trash/2026-11-21T231926Z"

static struct trash *begin_at(int state, int64_t now, int64_t keep)
{
    struct trash_args args = {.state = state, .shown = "state", .now = now, .keep = keep, .by = "host, process 1"};
    return trash_new(&args);
}

static struct trash *begin(void)
{
    return begin_at(state_fd, WHEN, 7 * DAY);
}

static int setup(void **state)
{
    (void)state;
    if (scratch_make(top, sizeof top, "sos-trash") < 0)
        return -1;
    root_fd = open(top, O_RDONLY | O_DIRECTORY);
    mkdirat(root_fd, "state", 0700);
    state_fd = openat(root_fd, "state", O_RDONLY | O_DIRECTORY);
    return state_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    close(state_fd);
    close(root_fd);
    return scratch_remove(top);
}

static void make(const char *name, const char *text)
{
    int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void assert_holds(const char *path, const char *text)
{
    char got[1000] = "";
    int fd = openat(state_fd, path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0)
        fail_msg("%s is missing", path);
    ssize_t n = read(fd, got, sizeof got - 1);
    close(fd);
    got[n] = '\0';
    assert_string_equal(got, text);
}

static void take(struct trash *t, const char *name, const char *path)
{
    struct err e = {0};
    if (trash_take(t, root_fd, name, path, "overwritten", &e) < 0)
        fail_msg("%s", e.msg);
}

static void takes(void **state)
{
    struct trash *t = begin();
    (void)state;
    assert_int_equal(faccessat(state_fd, "trash", F_OK, 0), -1); /* only at the first use */
    make("x", "one");
    take(t, "x", "a/b/c");
    assert_int_equal(faccessat(root_fd, "x", F_OK, 0), -1);
    make("x", "two");
    take(t, "x", "a/b/c");
    make("x", "three");
    take(t, "x", "a/b/c");
    make("x", "below a file");
    take(t, "x", "a/b/c/d");
    make("x", "top");
    take(t, "x", "top");
    assert_int_equal(symlinkat("nowhere", root_fd, "x"), 0);
    take(t, "x", "link");
    make("x", "odd");
    take(t, "x", "odd\n\033name");
    trash_free(t);
    assert_holds(RUN "/a/b/c", "one");
    assert_holds(RUN "/a/b/c.~2~", "two");
    assert_holds(RUN "/a/b/c.~3~", "three");
    assert_holds(RUN "/top", "top");
    struct stat st;
    assert_int_equal(fstatat(state_fd, RUN "/a/b/c", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(fstatat(state_fd, RUN "/link", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(fstatat(state_fd, "trash", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    /* The list: a line each, nothing raw in it. */
    char text[4000] = "";
    int fd = openat(state_fd, RUN ".txt", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(n > 0);
    int lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 8);
    assert_non_null(strstr(text, "run\t2026-11-21T23:19:26Z\thost, process 1\n"));
    assert_non_null(strstr(text, "Z\toverwritten\ta/b/c\ta/b/c.~2~\n"));
    assert_non_null(strstr(text, "Z\toverwritten\ta/b/c\n"));
    assert_non_null(strstr(text, "odd\\x0a\\x1bname\n"));
}

static void runs_in_one_second(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct trash *t = begin();
        make("x", i == 0 ? "first" : i == 1 ? "second" : "third");
        take(t, "x", "f");
        trash_free(t);
    }
    assert_holds(RUN "/f", "first");
    assert_holds(RUN "-2/f", "second");
    assert_holds(RUN "-3/f", "third");
}

static void keeps(void **state)
{
    struct trash *t = begin();
    struct err e = {0};
    (void)state;
    make("x", "both");
    assert_int_equal(trash_keep(t, root_fd, "x", "d/x", "overwritten", &e), 0);
    assert_holds(RUN "/d/x", "both");
    assert_int_equal(faccessat(root_fd, "x", F_OK, 0), 0);
    trash_free(t);
}

/* Names planted where ours go are never followed. */
static void planted(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(mkdirat(root_fd, "out", 0700), 0);
    assert_int_equal(symlinkat("../out", state_fd, "trash"), 0);
    make("x", "stays");
    struct trash *t = begin();
    assert_int_equal(trash_take(t, root_fd, "x", "f", "overwritten", &e), ERR_SYS);
    trash_free(t);
    assert_int_equal(faccessat(root_fd, "x", F_OK, 0), 0);
    unlinkat(state_fd, "trash", 0);
    t = begin();
    take(t, "x", "d/one");
    assert_int_equal(symlinkat("../../../out", state_fd, RUN "/e"), 0);
    make("x", "in the trash");
    take(t, "x", "e/two");
    trash_free(t);
    assert_holds(RUN "/e.~2~/two", "in the trash");
    assert_int_equal(faccessat(root_fd, "out/two", F_OK, 0), -1);
}

static void long_names(void **state)
{
    struct trash *t = begin_at(state_fd, 1ll << 55, 0); /* no calendar has it */
    char name[256];
    (void)state;
    memset(name, 'n', 255);
    name[255] = '\0';
    for (int i = 0; i < 3; i++) {
        make("x", "long");
        take(t, "x", name);
    }
    trash_free(t);
    char path[600];
    snprintf(path, sizeof path, "trash/36028797018963968/%.251s.~3~", name);
    assert_holds(path, "long");
}

/* To a trash on another file system: copied, compared, and only then removed. */
static void other_file_system(void **state)
{
    struct stat a, b;
    char in_memory[] = "/dev/shm/sos-trash.XXXXXX", on_disk[] = "/var/tmp/sos-trash.XXXXXX", *far = NULL;
    (void)state;
    assert_int_equal(fstat(root_fd, &b), 0);
    if (stat("/dev/shm", &a) == 0 && a.st_dev != b.st_dev)
        far = mkdtemp(in_memory);
    if (!far && stat("/var/tmp", &a) == 0 && a.st_dev != b.st_dev)
        far = mkdtemp(on_disk);
    if (!far)
        skip();
    int fd = open(far, O_RDONLY | O_DIRECTORY);
    struct trash *t = begin_at(fd, WHEN, 0);
    make("x", "far away");
    struct timespec times[2] = {{1, 0}, {1000, 7}};
    utimensat(root_fd, "x", times, 0);
    take(t, "x", "d/x");
    assert_int_equal(symlinkat("target", root_fd, "l"), 0);
    take(t, "l", "d/l");
    trash_free(t);
    struct stat st;
    assert_int_equal(fstatat(fd, RUN "/d/x", &st, 0), 0);
    assert_int_equal(st.st_size, 8);
    assert_int_equal(st.st_mtim.tv_nsec, 7);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(fstatat(fd, RUN "/d/l", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(faccessat(root_fd, "x", F_OK, 0), -1);
    close(fd);
    scratch_remove(far);
}

/* ---- the record ---- */

static void round_trip(const char *path, const char *place)
{
    static struct trash_record r, back;
    struct buf line = {0};
    r = (struct trash_record){.when = WHEN, .reason = "conflict"};
    snprintf(r.path, sizeof r.path, "%s", path);
    snprintf(r.place, sizeof r.place, "%s", place);
    trash_record_put(&line, &r);
    assert_int_equal(line.data[line.len - 1], '\n');
    assert_null(memchr(line.data, '\n', line.len - 1));
    assert_true(trash_record_parse((char *)line.data, line.len - 1, &back));
    assert_int_equal(back.when, WHEN);
    assert_string_equal(back.reason, "conflict");
    assert_string_equal(back.path, path);
    assert_string_equal(back.place, place);
    buf_free(&line);
}

static void records(void **state)
{
    (void)state;
    round_trip("a", "a");
    round_trip("a/b", "a/b.~2~");
    round_trip("tab\there\nand\\x41 \xff\xc2\x85 \xc3\xa4", "x");
    round_trip(".sos-sync.tmp.0011", ".sos-sync.tmp.0011");
    char longest[PATH_LEN_MAX + 1];
    memset(longest, '\1', PATH_LEN_MAX);
    for (size_t i = 200; i < PATH_LEN_MAX; i += 200)
        longest[i] = '/';
    longest[PATH_LEN_MAX] = '\0';
    round_trip(longest, longest);
}

static void refuses(void **state)
{
    static const char *const bad[] = {
        "", "x", "run\t2026-11-21T23:19:26Z\tme", "2026-11-21T23:19:26Z", "2026-11-21T23:19:26Z\twhy",
        "2026-11-21T23:19:26Z\twhy\t", "2026-11-21T23:19:26Z\t\ta", "2026-11-21T23:19:26\twhy\ta",
        "2026-13-21T23:19:26Z\twhy\ta", " 2026-11-21T23:19:26Z\twhy\ta", "2026-11-21T23:19:26Z\twhy\t../a",
        "2026-11-21T23:19:26Z\twhy\t/a", "2026-11-21T23:19:26Z\twhy\ta//b", "2026-11-21T23:19:26Z\twhy\ta\t../../b",
        "2026-11-21T23:19:26Z\twhy\ta\ta", "2026-11-21T23:19:26Z\twhy\ta\tb\tc", "2026-11-21T23:19:26Z\twhy\ta\\x4",
        "2026-11-21T23:19:26Z\twhy\ta\\x41", "2026-11-21T23:19:26Z\twhy\ta\\x0A", "2026-11-21T23:19:26Z\twhy\ta\\x00b",
        "2026-11-21T23:19:26Z\twhy\t\xff", "2026-11-21T23:19:26Z\tw\x1bhy\ta", "2026-11-21T23:19:26Z\twhy\ta\t",
        "2026-11-21T23:19:26Z\ta reason that is far too long to be one\ta", "+5\twhy\ta", "05\twhy\ta",
    };
    struct trash_record r;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (trash_record_parse(bad[i], strlen(bad[i]), &r))
            fail_msg("taken: %s", bad[i]);
    assert_true(trash_record_parse("-100000000000\twhy\ta", 19, &r)); /* no calendar of four digits has it */
    assert_int_equal(r.when, -100000000000);
}

static void run_names(void **state)
{
    static const char *const bad[] = {"", "x", "lost+found", "2026-11-21T231926Z-1", "2026-11-21T231926Z-02",
                                      "2026-11-21T231926Z-", "2026-11-21T231926", "2026-11-21T231926Z-99999", "1-",
                                      "-", "..", "9223372036854775807", "2026-02-30T000000Z"};
    char name[TRASH_RUN_MAX + 1];
    int64_t at;
    unsigned n;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (trash_record_parse_run(bad[i], strlen(bad[i]), &at, &n))
            fail_msg("taken: %s", bad[i]);
    static const int64_t times[] = {0, WHEN, -1, -5, 1ll << 55, -(1ll << 55), 253402300799, 253402300800};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        for (unsigned k = 1; k < 12; k += 5) {
            trash_record_run(name, times[i], k);
            assert_true(trash_record_parse_run(name, strlen(name), &at, &n));
            assert_int_equal(at, times[i]);
            assert_int_equal(n, k);
        }
}

/* ---- what lies there ---- */

static size_t listed(void)
{
    struct trash_run *run;
    struct stat st;
    size_t n, items = 0;
    int dir = trash_list_top(state_fd);
    assert_true(dir >= 0);
    assert_int_equal(trash_list_runs(dir, &run, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        struct trash_reader *r = trash_reader_new(dir, run[i].name);
        const struct trash_record *at;
        while (r && (at = trash_reader_next(r)))
            items += trash_list_look(dir, run[i].name, at, &st);
        trash_reader_free(r);
    }
    free(run);
    close(dir);
    return items;
}

static void put_at(int64_t now, const char *path, const char *text)
{
    struct trash *t = begin_at(state_fd, now, 7 * DAY);
    make("x", text);
    take(t, "x", path);
    trash_free(t);
}

static void write_to(const char *path, const char *text)
{
    int fd = openat(state_fd, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static bool there(const char *path)
{
    return faccessat(state_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Whatever else is there changes nothing, and stays. */
static void foreign(void **state)
{
    struct err e = {0};
    (void)state;
    put_at(WHEN, "a", "one");
    put_at(WHEN + 1, "b", "two");
    write_to(RUN ".txt", "noise\n\n2026-11-21T23:19:26Z\twhy\t../../marker\n2026-11-21T23:19:26Z\twhy\tnowhere\n");
    char *huge = mem_alloc(200001);
    memset(huge, 'z', 200000);
    huge[200000] = '\0';
    write_to(RUN ".txt", huge);
    free(huge);
    write_to(RUN ".txt", "\n2026-11-21T23:19:26Z\twhy\tdir\n2026-11-21T23:19:26Z\twhy\tcut");
    write_to("marker", "m");
    assert_int_equal(mkdirat(state_fd, RUN "/dir", 0700), 0);
    assert_int_equal(mkdirat(state_fd, "trash/mine", 0700), 0);
    write_to("trash/mine/f", "f");
    write_to("trash/2026-11-21T231926Z-7", "a file in the place of a run");
    assert_int_equal(symlinkat("../..", state_fd, "trash/2026-11-21T231926Z-8"), 0);
    assert_int_equal(symlinkat("../marker", state_fd, "trash/2026-11-21T231926Z-8.txt"), 0);
    assert_int_equal(mkdirat(state_fd, "trash/2026-11-21T231926Z-9.txt", 0700), 0);
    assert_int_equal(listed(), 2);
    struct trash_sweep all = {.state = state_fd, .now = WHEN, .spare = ""};
    assert_int_equal(trash_sweep(&all, &e), 0);
    assert_int_equal(listed(), 0);
    assert_false(there(RUN));
    assert_false(there(RUN ".txt"));
    assert_true(there("marker") && there("trash/mine/f") && there("trash/2026-11-21T231926Z-7"));
    assert_int_equal(faccessat(root_fd, "state", F_OK, 0), 0);
}

static void expires(void **state)
{
    (void)state;
    put_at(WHEN, "old", "old");
    put_at(WHEN + 8 * DAY, "new", "new");
    /* By the driver's clock the first is old; by ours it was put there just now. */
    struct trash *t = begin_at(state_fd, WHEN + 9 * DAY, 7 * DAY);
    trash_expire(t);
    trash_free(t);
    assert_int_equal(listed(), 2);
    /* By ours they are; by the driver's both are new, or ours says that they are of tomorrow. */
    int64_t now = clock_now().sec;
    struct trash_sweep how = {.state = state_fd, .now = WHEN + 2 * DAY, .here = now + 9 * DAY, .older = 7 * DAY,
                              .spare = "2026-11-29T231926Z"};
    assert_int_equal(trash_sweep(&how, NULL), 0);
    how.now = WHEN + 9 * DAY;
    how.here = now - DAY;
    assert_int_equal(trash_sweep(&how, NULL), 0);
    assert_int_equal(listed(), 2);
    /* By both. */
    how.here = now + 9 * DAY;
    assert_int_equal(trash_sweep(&how, NULL), 0);
    assert_int_equal(listed(), 1);
    assert_int_equal(how.items, 1);
    assert_int_equal(how.bytes, 3);
    assert_true(there("trash/2026-11-29T231926Z/new"));
    assert_false(there(RUN));
    /* A run that is still to come by the driver's clock: ours alone judges. */
    how.spare = "";
    how.now = WHEN;
    how.here = now + 6 * DAY;
    assert_int_equal(trash_sweep(&how, NULL), 0);
    assert_int_equal(listed(), 1);
    how.here = now + 8 * DAY;
    assert_int_equal(trash_sweep(&how, NULL), 0);
    assert_int_equal(listed(), 0);
    /* Off: the run's own go at its end, and all others; but not what a killed run left. */
    t = begin_at(state_fd, WHEN + 10 * DAY, 0);
    make("x", "x");
    take(t, "x", "x");
    assert_int_equal(trash_open(t, "y"), -1);
    int fd = trash_open(t, "x");
    assert_true(fd >= 0);
    close(fd);
    trash_expire(t);
    trash_free(t);
    assert_int_equal(listed(), 0);
    t = begin_at(state_fd, WHEN + 11 * DAY, 0);
    make("x", "x");
    assert_int_equal(trash_take(t, root_fd, "x", ".sos-sync.tmp.0", TRASH_LEFT_OVER, NULL), 0);
    trash_expire(t);
    trash_free(t);
    assert_int_equal(listed(), 1);
}

static void holds_on(void **state)
{
    struct trash_args args = {.state = state_fd, .shown = "state", .now = WHEN, .hold = true};
    struct trash *t = trash_new(&args);
    (void)state;
    make("x", "x");
    take(t, "x", "x");
    trash_settled(t);
    assert_false(trash_make_room(t, 1));
    trash_expire(t);
    trash_free(t);
    assert_int_equal(listed(), 1);
}

/* Oldest first, as much as is needed, and of this run only what is settled. */
static void room(void **state)
{
    (void)state;
    put_at(WHEN, "a", "the oldest");
    put_at(WHEN + 1, "b", "next");
    put_at(WHEN + 1, "c", "last");
    struct trash *t = begin_at(state_fd, WHEN + 2, 7 * DAY);
    assert_true(trash_make_room(t, 1));
    assert_false(there(RUN "/a"));
    assert_int_equal(listed(), 2);
    make("x", "settled");
    take(t, "x", "d/x");
    trash_settled(t);
    make("x", "not yet");
    take(t, "x", "d/x");
    assert_true(trash_make_room(t, 1 << 20));
    assert_int_equal(listed(), 1);
    assert_holds("trash/2026-11-21T231928Z/d/x.~2~", "not yet");
    assert_false(trash_make_room(t, 1));
    make("x", "another");
    take(t, "x", "d/x");
    trash_settled(t);
    assert_true(trash_make_room(t, 1 << 20));
    assert_false(trash_make_room(t, 1));
    assert_int_equal(listed(), 0);
    make("x", "needed");
    take(t, "x", "d/x");
    trash_needed(t);
    trash_settled(t);
    assert_false(trash_make_room(t, 1));
    trash_free(t);
    t = begin_at(state_fd, WHEN + 2, 0);
    trash_expire(t);
    trash_free(t);
    assert_int_equal(listed(), 0);
}

/* ---- putting back ---- */

static const struct uuid self = {{1, 2, 3}};

static int restore(const char *run, const char *place, bool no_delete, struct err *e)
{
    struct trash *t = begin_at(state_fd, WHEN + 100, 7 * DAY);
    struct trash_restore how = {.root = root_fd, .state = state_fd, .store = &self, .forbidden = "state", .trash = t,
                                .no_delete = no_delete};
    int rc = trash_restore(&how, run, trash_record_id(&self, run, place), e);
    trash_free(t);
    return rc;
}

#define NAME "2026-11-21T231926Z"

static void restores(void **state)
{
    struct err e = {0};
    struct stat st;
    (void)state;
    put_at(WHEN, "d/e/f", "one");
    assert_int_equal(restore(NAME, "d/e/other", false, &e), ERR_CHANGED);
    assert_int_equal(restore("..", "d/e/f", false, &e), ERR_FORMAT);
    assert_int_equal(restore(NAME, "d/e/f", false, &e), 0);
    assert_holds("../d/e/f", "one");
    assert_false(there(RUN));
    assert_false(there(RUN ".txt"));
    assert_int_equal(restore(NAME, "d/e/f", false, &e), ERR_CHANGED);
    /* What stands there goes to the trash. */
    put_at(WHEN, "d/e/f", "two");
    put_at(WHEN, "d/e/g", "three");
    assert_int_equal(restore(NAME, "d/e/f", false, &e), 0);
    assert_holds("../d/e/f", "two");
    assert_holds("trash/2026-11-21T232106Z/d/e/f", "one");
    assert_int_equal(fstatat(root_fd, "d/e", &st, 0), 0);
    assert_true(S_ISDIR(st.st_mode));
    /* A directory with something in it does not. */
    put_at(WHEN + 5, "d", "was a file once");
    assert_int_equal(restore("2026-11-21T231931Z", "d", false, &e), ERR_CHANGED);
    assert_non_null(strstr(e.msg, "not empty"));
    assert_int_equal(mkdirat(root_fd, "empty", 0700), 0);
    put_at(WHEN + 6, "empty", "file");
    assert_int_equal(restore("2026-11-21T231932Z", "empty", true, &e), ERR_DENIED);
    assert_int_equal(restore("2026-11-21T231932Z", "empty", false, &e), 0);
    assert_holds("../empty", "file");
    /* Nor a file on the way, nor anything of ours. */
    put_at(WHEN + 7, "empty/x", "x");
    assert_int_equal(restore("2026-11-21T231933Z", "empty/x", false, &e), ERR_CHANGED);
    put_at(WHEN + 8, ".sos-sync.tmp.1", "x");
    assert_int_equal(restore("2026-11-21T231934Z", ".sos-sync.tmp.1", false, &e), ERR_FORMAT);
    put_at(WHEN + 9, "state/marker", "x");
    assert_int_equal(restore("2026-11-21T231935Z", "state/marker", false, &e), ERR_FORMAT);
    assert_holds("trash/2026-11-21T231935Z/state/marker", "x");
}

static void restores_nothing_from_elsewhere(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(mkdirat(root_fd, "out", 0700), 0);
    make("out/secret", "secret");
    put_at(WHEN, "d/f", "one");
    /* A directory of the trash, and one of the store, are symlinks by now. */
    assert_int_equal(renameat(state_fd, RUN "/d", root_fd, "moved"), 0);
    assert_int_equal(symlinkat("../../../out", state_fd, RUN "/d"), 0);
    write_to(RUN ".txt", "2026-11-21T23:19:26Z\twhy\tsecret\td/secret\n");
    assert_int_equal(restore(NAME, "d/secret", false, &e), ERR_CHANGED);
    assert_int_equal(listed(), 0);
    struct trash_sweep all = {.state = state_fd, .now = WHEN, .spare = ""};
    assert_int_equal(trash_sweep(&all, &e), 0);
    assert_holds("../out/secret", "secret");
    put_at(WHEN, "link/f", "one");
    assert_int_equal(symlinkat("out", root_fd, "link"), 0);
    assert_int_equal(restore(NAME, "link/f", false, &e), ERR_CHANGED);
    assert_int_equal(faccessat(root_fd, "out/f", F_OK, 0), -1);
    assert_holds(RUN "/link/f", "one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(takes, setup, teardown),
        cmocka_unit_test_setup_teardown(runs_in_one_second, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps, setup, teardown),
        cmocka_unit_test_setup_teardown(planted, setup, teardown),
        cmocka_unit_test_setup_teardown(long_names, setup, teardown),
        cmocka_unit_test_setup_teardown(other_file_system, setup, teardown),
        cmocka_unit_test(records),
        cmocka_unit_test(refuses),
        cmocka_unit_test(run_names),
        cmocka_unit_test_setup_teardown(foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(expires, setup, teardown),
        cmocka_unit_test_setup_teardown(holds_on, setup, teardown),
        cmocka_unit_test_setup_teardown(room, setup, teardown),
        cmocka_unit_test_setup_teardown(restores, setup, teardown),
        cmocka_unit_test_setup_teardown(restores_nothing_from_elsewhere, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
