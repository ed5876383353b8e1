#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/trash.h"

static char top[256];
static int state_fd, root_fd;
static const struct stamp when = {1795303166, 0}; /* 2026-11-21T23:19:26Z */
#define RUN "trash/2026-11-21T231926Z"

static int rm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(top, sizeof top, "%s/sos-trash.XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!mkdtemp(top))
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
    return nftw(top, rm_one, 8, FTW_DEPTH | FTW_PHYS);
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
    struct trash *t = trash_new(state_fd, "state", when);
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
    assert_int_equal(lines, 7);
    assert_non_null(strstr(text, "Z\toverwritten\ta/b/c\n"));
    assert_non_null(strstr(text, "odd\\x0a\\x1bname\n"));
}

static void runs_in_one_second(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct trash *t = trash_new(state_fd, "state", when);
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
    struct trash *t = trash_new(state_fd, "state", when);
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
    struct trash *t = trash_new(state_fd, "state", when);
    assert_int_equal(trash_take(t, root_fd, "x", "f", "overwritten", &e), ERR_SYS);
    trash_free(t);
    assert_int_equal(faccessat(root_fd, "x", F_OK, 0), 0);
    unlinkat(state_fd, "trash", 0);
    t = trash_new(state_fd, "state", when);
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
    struct trash *t = trash_new(state_fd, "state", (struct stamp){INT64_MAX, 0}); /* no calendar has it */
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
    snprintf(path, sizeof path, "trash/9223372036854775807/%.251s.~3~", name);
    assert_holds(path, "long");
}

/* To a trash on another file system: copied, compared, and only then removed. */
static void other_file_system(void **state)
{
    struct stat a, b;
    char far[] = "/dev/shm/sos-trash.XXXXXX";
    (void)state;
    if (!mkdtemp(far) || stat(far, &a) < 0 || fstat(root_fd, &b) < 0)
        skip();
    if (a.st_dev == b.st_dev) {
        rmdir(far);
        skip();
    }
    int fd = open(far, O_RDONLY | O_DIRECTORY);
    struct trash *t = trash_new(fd, far, when);
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
    nftw(far, rm_one, 8, FTW_DEPTH | FTW_PHYS);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
