#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "group/conf.h"
#include "group/group.h"
#include "scratch.h"

static struct address address_of(const char *text)
{
    struct address a;
    struct err e = {0};
    if (address_parse(text, 1, &a, &e) != 0)
        fail_msg("\"%s\": %s", text, e.msg);
    return a;
}

static int add(struct groups *g, const char *group, const char *name, const char *text, struct err *e)
{
    struct address a = address_of(text);
    int rc = groups_add(g, group, name, &a, "f", 1, e);
    assert_true(rc == 0 ? a.text == NULL : a.text != NULL);
    address_free(&a);
    return rc;
}

static void test_add_and_find(void **state)
{
    (void)state;
    struct groups g = {0};
    struct err e = {0};
    assert_null(groups_find(&g, "1"));
    assert_int_equal(add(&g, "1", NULL, "/a", &e), 0);
    assert_int_equal(add(&g, "2", "x", "/b", &e), 0);
    assert_int_equal(add(&g, "1", "y", "/c", &e), 0);
    assert_int_equal(g.n, 2);
    struct group *one = groups_find(&g, "1");
    assert_non_null(one);
    assert_int_equal(one->members, 2);
    assert_string_equal(one->member[0].name, "/a");
    assert_string_equal(one->member[1].name, "y");
    assert_string_equal(one->member[1].address.path, "/c");
    assert_string_equal(groups_find(&g, "2")->member[0].name, "x");
    assert_null(groups_find(&g, "3"));
    groups_free(&g);
    assert_int_equal(g.n, 0);
    groups_free(&g);
}

static void test_names_are_unique(void **state)
{
    (void)state;
    struct groups g = {0};
    struct err e = {0};
    assert_int_equal(add(&g, "1", "x", "/a", &e), 0);
    assert_int_equal(add(&g, "1", "x", "/b", &e), ERR_CONF);
    assert_non_null(strstr(e.msg, "x (f:1)"));
    assert_int_equal(add(&g, "1", "x", "/a", &e), ERR_CONF);
    assert_int_equal(add(&g, "1", "/b", "/c", &e), 0);
    assert_int_equal(add(&g, "1", NULL, "/b", &e), ERR_CONF);
    assert_int_equal(add(&g, "1", NULL, "/a", &e), 0);
    assert_int_equal(add(&g, "1", NULL, "/a", &e), 0); /* group_check's business */
    assert_int_equal(add(&g, "2", "x", "/a", &e), 0);
    assert_int_equal(groups_find(&g, "1")->members, 4);
    groups_free(&g);
}

static void test_limits(void **state)
{
    (void)state;
    struct groups g = {0};
    struct err e = {0};
    char name[16];
    for (int i = 0; i < GROUP_MEMBERS_MAX; i++) {
        snprintf(name, sizeof name, "m%d", i);
        assert_int_equal(add(&g, "1", name, "/a", &e), 0);
    }
    assert_int_equal(add(&g, "1", "one more", "/a", &e), ERR_CONF);
    assert_int_equal(g.group[0].members, GROUP_MEMBERS_MAX);
    for (int i = 0; i < GROUPS_MAX - 1; i++) {
        snprintf(name, sizeof name, "g%d", i);
        assert_int_equal(add(&g, name, NULL, "/a", &e), 0);
    }
    assert_int_equal(add(&g, "one more", NULL, "/a", &e), ERR_CONF);
    assert_int_equal(g.n, GROUPS_MAX);
    groups_free(&g);
}

static void test_from_args(void **state)
{
    (void)state;
    struct groups g = {0};
    struct err e = {0};
    char *good[] = {"A/", "h:x", "A/"};
    assert_int_equal(groups_from_args(&g, good, 3, &e), 0);
    assert_int_equal(g.n, 1);
    assert_string_equal(g.group[0].name, "default");
    assert_int_equal(g.group[0].members, 3);
    assert_string_equal(g.group[0].member[0].name, "A/");
    assert_string_equal(g.group[0].member[0].address.path, "A");
    assert_null(g.group[0].member[0].file);
    assert_int_equal(g.group[0].member[0].line, 0);
    assert_string_equal(g.group[0].member[1].address.path, "~/x");
    groups_free(&g);
    static char *const bad[][2] = {{"ftp://x", "not supported"}, {"A ", "blank at the edge"},
                                   {" A", "blank at the edge"}, {"", "empty"}, {"-x", "./-x"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *arg[] = {"B", bad[i][0]}, front[64];
        assert_int_equal(groups_from_args(&g, arg, 2, &e), ERR_CONF);
        snprintf(front, sizeof front, "member \"%s\": ", bad[i][0]);
        if (strncmp(e.msg, front, strlen(front)) != 0 || !strstr(e.msg, bad[i][1]))
            fail_msg("\"%s\" is not \"%s...%s\"", e.msg, front, bad[i][1]);
        groups_free(&g);
    }
}

/* A working directory of our own: a/ a/in/ b/ ab/ file, la -> a, lin -> a/in, gone -> new, loop -> loop. */
static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = mem_printf("%s/sos-group-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir) || chdir(dir) != 0)
        return -1;
    char *real = realpath(dir, NULL);
    free(dir);
    *state = real;
    if (mkdir("a", 0700) || mkdir("a/in", 0700) || mkdir("b", 0700) || mkdir("ab", 0700) ||
        symlink("a", "la") || symlink("./la//in", "lin") || symlink("new", "gone") || symlink("loop", "loop"))
        return -1;
    return 0;
}

static int teardown(void **state)
{
    int rc = chdir("/") || scratch_remove(*state);
    free(*state);
    return rc;
}

static int check2(const char *a, const char *b, struct err *e)
{
    struct groups g = {0};
    char *arg[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b};
    assert_int_equal(groups_from_args(&g, arg, 2, e), 0);
    int rc = group_check(&g.group[0], e);
    groups_free(&g);
    return rc;
}

static void apart(const char *a, const char *b)
{
    struct err e = {0};
    if (check2(a, b, &e) != 0 || check2(b, a, &e) != 0)
        fail_msg("%s", e.msg);
}

static void clash(const char *a, const char *b, const char *reason)
{
    struct err e = {0};
    for (int turn = 0; turn < 2; turn++) {
        if (check2(turn ? b : a, turn ? a : b, &e) != ERR_CONF)
            fail_msg("%s and %s pass", a, b);
        if (e.code != ERR_CONF || !strstr(e.msg, reason))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, reason);
    }
}

static void test_local_apart(void **state)
{
    (void)state;
    apart("a", "b");
    apart("a", "ab");
    apart("a/in", "a/other");
    apart("a/in", "a/inner");
    apart("new", "newer");
    apart("la", "b");
    apart("gone", "a");
    apart("loop", "a");
    apart("a", "localhost:a");
    apart("a", "http://localhost/a");
}

static void test_local_same(void **state)
{
    char *absolute = mem_printf("%s//a/", (char *)*state), *url = mem_printf("file://%s/a", (char *)*state);
    clash("a", "a", "are the same store");
    clash("a", "./a/", "are the same store");
    clash("a", "b/../a", "are the same store");
    clash("a", "la", "are the same store");
    clash("a", absolute, "are the same store");
    clash("a", url, "are the same store");
    clash("a/in", "lin", "are the same store");
    clash("a/in", "la/in/.", "are the same store");
    clash("a", "lin/..", "are the same store");
    clash("new", "new", "are the same store");
    clash("new", "./new/", "are the same store");
    clash("new", "gone", "are the same store");
    clash("la/new", "a/new", "are the same store");
    clash("new/x/y", "gone/x/z/../y", "are the same store");
    free(absolute);
    free(url);
}

static void test_local_inside(void **state)
{
    (void)state;
    clash("a", "a/in", "a/in lies inside a:");
    clash("la", "a/in", "a/in lies inside la:");
    clash("a", "lin", "lin lies inside a:");
    clash("a", "la/new/x", "la/new/x lies inside a:");
    clash("new", "gone/x", "gone/x lies inside new:");
    clash(".", "a", "a lies inside .:");
}

static void test_root_is_no_store(void **state)
{
    (void)state;
    assert_int_equal(symlink("/", "lroot"), 0);
    clash("/", "a", "cannot be a store");
    clash("lroot", "a", "cannot be a store");
    clash("/..", "a", "cannot be a store");
    clash("/.//", "a", "cannot be a store");
    clash("ssh://h/", "a", "cannot be a store");
    clash("h:/./", "a", "cannot be a store");
}

/* Where mounting is allowed; elsewhere only the code's reader can tell. */
static void test_bind_mount(void **state)
{
    (void)state;
    if (mount("a", "b", NULL, MS_BIND, NULL) != 0)
        skip();
    struct err e = {0}, f = {0}, h = {0};
    int same = check2("a", "b", &e), inside = check2("a", "b/in", &f), fresh = check2("a", "b/new/x", &h);
    assert_int_equal(umount("b"), 0);
    assert_int_equal(same, ERR_CONF);
    assert_non_null(strstr(e.msg, "are the same store"));
    assert_int_equal(inside, ERR_CONF);
    assert_non_null(strstr(f.msg, "b/in lies inside a:"));
    assert_int_equal(fresh, ERR_CONF);
    assert_non_null(strstr(h.msg, "b/new/x lies inside a:"));
}

static void test_symlink_trouble_ends(void **state)
{
    (void)state;
    char name[16], target[32];
    for (int i = 1; i <= 60; i++) { /* each link is two of the one before: 2^60 steps without a limit */
        snprintf(name, sizeof name, "l%d", i);
        snprintf(target, sizeof target, "l%d/../l%d", i - 1, i - 1);
        assert_int_equal(symlink(target, name), 0);
    }
    apart("l60", "a");
    char *deep = mem_alloc(4001);
    for (size_t i = 0; i < 4000; i += 2)
        memcpy(deep + i, "x/", 2);
    deep[3999] = '\0';
    apart(deep, "a");
    free(deep);
}

static void test_remote(void **state)
{
    (void)state;
    clash("ssh://h/x", "ssh://H:22/x/", "are the same store ssh://h:22/x");
    clash("h:/x", "ssh://u@h/x", "are the same store");
    clash("h:x", "ssh://h/~/x", "are the same store ssh://h:22/~/x");
    clash("h:x/./y", "h:x//y", "are the same store");
    clash("ssh://[::1]/x", "[0::1]:/x", "are the same store ssh://[::1]:22/x");
    clash("h:/x", "h:/x/y", "h:/x/y lies inside h:/x: ssh://h:22/x/y is below ssh://h:22/x");
    clash("h:~", "h:x", "h:x lies inside h:~");
    clash("http://h", "http://H:80/", "are the same store http://h:80");
    clash("https://h:443/b", "https://h/b/", "are the same store");
    apart("h:/x", "h:/xy");
    apart("h:/x", "g:/x");
    apart("h:/x", "ssh://h:23/x");
    apart("h:x", "u@h:x");
    apart("h:x", "h:/x");
    apart("http://h", "https://h");
    apart("http://h", "http://h:3000");
    apart("http://h", "http://h/base");
    apart("http://h/base", "http://h/Base");
    apart("http://h:22/x", "ssh://h:22/x");
}

static void test_number_of_members(void **state)
{
    (void)state;
    struct groups g = {0};
    struct err e = {0};
    assert_int_equal(add(&g, "1", "x", "/a", &e), 0);
    assert_int_equal(group_check(&g.group[0], &e), ERR_CONF);
    assert_string_equal(e.msg, "has only one member, x (f:1); it takes two to replicate");
    groups_free(&g);
}

static void test_message_names_file_and_line(void **state)
{
    const char *dir = *state;
    char *text = mem_printf("[2]\n\nnode1: %s/a\n-: /other\nmirror: %s/la/\n", dir, dir);
    char *want = mem_printf("node1 (/etc/sos.conf:3) and mirror (/etc/sos.conf:5) are the same "
                            "store %s/a", dir);
    struct groups g = {0};
    struct err e = {0};
    assert_int_equal(conf_parse(&g, "/etc/sos.conf", text, strlen(text), &e), 0);
    assert_int_equal(group_check(&g.group[0], &e), ERR_CONF);
    assert_string_equal(e.msg, want);
    groups_free(&g);
    free(text);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_and_find),
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_from_args),
        cmocka_unit_test_setup_teardown(test_local_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_root_is_no_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bind_mount, setup, teardown),
        cmocka_unit_test_setup_teardown(test_symlink_trouble_ends, setup, teardown),
        cmocka_unit_test(test_remote),
        cmocka_unit_test(test_number_of_members),
        cmocka_unit_test_setup_teardown(test_message_names_file_and_line, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
