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
#include <sys/wait.h>
#include <unistd.h>

#include "store/state.h"
#include "scratch.h"

#define ID "00112233-4455-4677-8899-aabbccddeeff"
#define ID2 "10112233-4455-4677-8899-aabbccddeeff"
#define NONE "00000000-0000-0000-0000-000000000000"

static char root[256];

static int setup(void **state)
{
    (void)state;
    return scratch_make(root, sizeof root, "sos-state");
}

static int teardown(void **state)
{
    (void)state;
    return scratch_remove(root);
}

static void markers(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *group;
    } table[] = {
        {"sos-sync store 1\nid: " ID "\ngroup: 2\n", 0, "2"},
        {"sos-sync store 1\nid: " ID "\ngroup: a b%25c%0a\xc3\xbc\n", 0, "a b%c\n\xc3\xbc"},
        {"", ERR_FORMAT, NULL},
        {"\n", ERR_FORMAT, NULL},
        {"sos-sync store 2\nid: " ID "\ngroup: 2\n", ERR_UNSUPPORTED, NULL},
        {"sos-sync store 10\n", ERR_UNSUPPORTED, NULL},
        {"sos-sync store 1", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: 2", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: \n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " NONE "\ngroup: 2\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "0\ngroup: 2\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: 0011\ngroup: 2\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\ngroup: 2\nid: " ID "\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: 2\nmore\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: a%0\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: a%00\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: a%41\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: a%0A\n", ERR_FORMAT, NULL},
        {"sos-sync store 1\r\nid: " ID "\ngroup: a\n", ERR_UNSUPPORTED, NULL},
        {"sos-sync store 1\nid: " ID "\ngroup: a\033[2J\n", ERR_FORMAT, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct marker m;
        struct err e = {0};
        int rc = state_parse_marker(table[i].text, strlen(table[i].text), &m, &e);
        if (rc != table[i].code)
            fail_msg("%d: %d %s", (int)i, rc, e.msg);
        assert_true((m.group != NULL) == (rc == 0));
        if (rc == 0)
            assert_string_equal(m.group, table[i].group);
        free(m.group);
    }
    struct marker m;
    static const char nul[] = "sos-sync store 1\nid: " ID "\ngroup: a\0b\n";
    assert_int_equal(state_parse_marker(nul, sizeof nul - 1, &m, NULL), ERR_FORMAT);
}

static void peers_text(void **state)
{
    static const struct {
        const char *text;
        int n;
    } table[] = {
        {"", 0},
        {ID " /a b\n", 1},
        {ID2 " x\n" ID " y%25\n", 2},
        {ID " \n", -1},
        {ID "\n", -1},
        {ID " a", -1},
        {ID "  a\n\n", -1},
        {ID " a\n" ID " b\n", -1},
        {NONE " a\n", -1},
        {"rubbish\n", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct store_peer *p;
        struct err e = {0};
        size_t n;
        int rc = state_parse_peers(table[i].text, strlen(table[i].text), &p, &n, &e);
        if (rc != (table[i].n < 0 ? ERR_FORMAT : 0))
            fail_msg("%d: %d %s", (int)i, rc, e.msg);
        assert_int_equal(n, table[i].n < 0 ? 0 : table[i].n);
        if (n == 2)
            assert_string_equal(p[0].address, "y%"); /* sorted */
        state_free_peers(p, n);
    }
}

static void seen_text(void **state)
{
    (void)state;
    static const struct { const char *text; int rc; int64_t one; } t[] = {
        {"", 0, 0}, {ID " 5\n", 0, 5}, {ID " -5\n", 0, -5},
        {ID " 36028797018963968\n", 0, (int64_t)1 << 55}, {ID " 36028797018963969\n", -1, 0},
        {ID " 99999999999999999999\n", -1, 0}, {ID " 0\n", -1, 0}, {ID " 05\n", -1, 0}, {ID " +5\n", -1, 0},
        {ID "  5\n", -1, 0}, {ID " 5", -1, 0}, {ID "\n", -1, 0}, {ID " 5x\n", -1, 0}, {ID " 5\n\n", -1, 0},
        {ID " 5\n" ID " 6\n", -1, 0}, {NONE " 5\n", -1, 0}, {"rubbish\n", -1, 0},
        {ID " 5\nffffffff-0000-4000-8000-000000000000 6\n", 0, 5},
        {"ffffffff-0000-4000-8000-000000000000 6\n" ID " 5\n", -1, 0},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct store_peer p[1] = {{.seen = 77}};
        struct err e;
        assert_true(uuid_parse(ID, &p[0].id));
        int rc = state_parse_seen(t[i].text, strlen(t[i].text), p, 1, &e);
        if (rc != (t[i].rc ? ERR_FORMAT : 0) || p[0].seen != t[i].one)
            fail_msg("%d: %d", (int)i, rc);
    }
}

static void names(void **state)
{
    char longest[1000];
    (void)state;
    char *a = state_name("/srv/a"), *b = state_name("/srv%a"), *c = state_name("/srv=/a"),
        *d = state_name("/srv/=a"),
         *f = state_name("/srv=%a");
    assert_string_equal(a, "%srv%a");
    const char *all[] = {a, b, c, d, f};
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(all[i], all[k]);
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    char *h = state_name(longest);
    assert_int_equal(strlen(h), 32);
    free(a), free(b), free(c), free(d), free(f), free(h);
}

static void files(void **state)
{
    struct state s;
    struct err e = {0};
    struct marker m;
    struct uuid id, id2;
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    (void)state;
    assert_int_equal(state_open(&s, fd, root, NULL, false, &e), 0);
    assert_int_equal(s.fd, -1);
    assert_int_equal(state_read_marker(&s, &m, &e), 0);
    assert_null(m.group);
    state_close(&s);
    assert_int_equal(state_open(&s, fd, root, NULL, true, &e), 0);
    struct stat st;
    assert_int_equal(fstat(s.fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(uuid_parse(ID, &id));
    assert_true(uuid_parse(ID2, &id2));
    assert_int_equal(state_write_marker(&s, &id, "a\n%b", true, &e), 0);
    assert_int_equal(state_read_marker(&s, &m, &e), 0);
    assert_string_equal(m.group, "a\n%b");
    assert_true(uuid_same(&m.id, &id));
    free(m.group);
    struct store_peer give[2] = {{.id = id2, .address = (char *)"two"}, {.id = id, .address = (char *)"one"}}, *got;
    size_t n;
    assert_int_equal(state_remember_peers(&s, give, 2, false, &e), 0);
    give[0].address = (char *)"moved";
    assert_int_equal(state_remember_peers(&s, give, 1, false, &e), 0);
    assert_int_equal(state_read_peers(&s, &got, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_string_equal(got[0].address, "one");
    assert_string_equal(got[1].address, "moved");
    state_free_peers(got, n);
    assert_int_equal(state_file(&s, "nothing", &e), -1);
    assert_int_equal(symlinkat("marker", s.fd, "planted"), 0);
    assert_true(state_file(&s, "planted", &e) < -1);
    int file = state_create(&s, "planted", &e); /* takes its place, does not follow it */
    assert_true(file >= 0);
    close(file);
    assert_int_equal(state_read_marker(&s, &m, &e), 0);
    free(m.group);
    state_close(&s);
    state_close(&s);
    close(fd);
}

static void last_run(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; int64_t at; } t[] = {
        {"last run: 1700000000\n", true, 1700000000}, {"last run: -5\n", true, -5}, {"last run: 0\n", true, 0},
        {"last run: 5", false, 0},    {"last run: +5\n", false, 0},  {"last run: -0\n", false, 0},
        {"last run: 05\n", false, 0}, {"last run:  5\n", false, 0},  {"last run: 5\n\n", false, 0},
        {"last run: \n", false, 0},   {"last run: 5x\n", false, 0},  {"", false, 0},
        {"last run: 36028797018963969\n", false, 0}, {"last run: 99999999999999999999\n", false, 0},
        {"last run: 36028797018963968\n", true, (int64_t)1 << 55},
    };
    struct err e;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        int64_t at;
        int rc = state_parse_last(t[i].text, strlen(t[i].text), &at, &e);
        if ((rc == 0) != t[i].ok || (rc == 0 && at != t[i].at))
            fail_msg("%s", t[i].text);
    }
    int64_t at;
    assert_int_equal(state_parse_last("last run: 1\0\n", 13, &at, &e), ERR_FORMAT);
}

static void holders(void **state)
{
    (void)state;
    char me[64];
    snprintf(me, sizeof me, "process %ld on here since now (x)", (long)getpid());
    assert_true(state_parse_holder(me, strlen(me), "here"));
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    snprintf(me, sizeof me, "process %ld on here since now (x)", (long)child);
    assert_false(state_parse_holder(me, strlen(me), "here")); /* stale */
    assert_true(state_parse_holder(me, strlen(me), "there")); /* who knows */
    static const char *const bad[] = {"", "process", "process x on here since now", "process -1 on there since now",
                                      "process 0 on there since now", "process 1 on there since now \033[2J",
                                      "process 99999999999 on there since now", "in use"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (state_parse_holder(bad[i], strlen(bad[i]), "here"))
            fail_msg("%s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markers),
        cmocka_unit_test(peers_text),
        cmocka_unit_test(names),
        cmocka_unit_test(last_run),
        cmocka_unit_test(seen_text),
        cmocka_unit_test(holders),
        cmocka_unit_test_setup_teardown(files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
