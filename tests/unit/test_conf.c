#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "group/conf.h"
#include "group/text.h"

/* What was read, as "group: name=address name=address; group: ...", name left out where it is the address. */
static char *render(const struct groups *g)
{
    struct buf b = {0};
    for (size_t i = 0; i < g->n; i++) {
        const struct group *gr = &g->group[i];
        assert_true(gr->members > 0);
        if (i)
            buf_put(&b, "; ", 2);
        buf_put(&b, gr->name, strlen(gr->name));
        buf_u8(&b, ':');
        for (size_t k = 0; k < gr->members; k++) {
            const struct member *m = &gr->member[k];
            buf_u8(&b, ' ');
            if (strcmp(m->name, m->address.text) != 0) {
                buf_put(&b, m->name, strlen(m->name));
                buf_u8(&b, '=');
            }
            buf_put(&b, m->address.text, strlen(m->address.text));
        }
    }
    buf_u8(&b, '\0');
    return (char *)b.data;
}

static void reads(const char *text, size_t len, const char *want)
{
    struct groups g = {0};
    struct err e = {0};
    char *exact = mem_alloc(len); /* so that a sanitizer sees a read past the end */
    memcpy(exact, text, len);
    if (conf_parse(&g, "f", exact, len, &e) != 0)
        fail_msg("refused: %s\n--\n%s", e.msg, text);
    char *got = render(&g);
    if (strcmp(got, want) != 0)
        fail_msg("read as \"%s\", not \"%s\"\n--\n%s", got, want, text);
    free(got);
    free(exact);
    groups_free(&g);
}

static void refuses(const char *text, size_t len, const char *front, const char *reason)
{
    struct groups g = {0};
    struct err e = {0};
    char *exact = mem_alloc(len);
    memcpy(exact, text, len);
    int rc = conf_parse(&g, "f", exact, len, &e);
    if (rc != ERR_CONF) {
        char *got = render(&g);
        fail_msg("read as \"%s\"\n--\n%s", got, text);
    }
    assert_int_equal(e.code, ERR_CONF);
    if (strncmp(e.msg, front, strlen(front)) != 0 || !strstr(e.msg, reason))
        fail_msg("\"%s\" is not \"%s...%s\"\n--\n%s", e.msg, front, reason, text);
    free(exact);
    groups_free(&g);
}

#define READS(text, want) reads(text, sizeof text - 1, want)
#define REFUSES(text, line, reason) refuses(text, sizeof text - 1, "f:" line ": ", reason)

#define H(name) "http://" name ".example.com:3000"

static void test_samples(void **state)
{
    (void)state;
    READS("    #\n"
          "    # This configuration file defines three groups.\n"
          "    #\n"
          "    # Lines prefixed with \"#\" are comments, and are ignored.\n"
          "    #\n"
          "    [1]\n"
          "    -: " H("node1") "\n"
          "    -: " H("node1-2") "\n"
          "    -: " H("node1-3") "\n"
          "    [2]\n"
          "    -: " H("node2") "\n"
          "    -: " H("node2-2") "\n"
          "    -: " H("node2-3") "\n"
          "    [3]\n"
          "    -: " H("node3") "\n"
          "    -: " H("node3-2") "\n"
          "    -: " H("node3-3") "\n",
          "1: " H("node1") " " H("node1-2") " " H("node1-3") "; 2: " H("node2")
          " " H("node2-2") " " H("node2-3") "; 3: " H("node3") " " H("node3-2") " " H("node3-3"));
    READS("[1]\n-: " H("node1") "\n-: " H("mirror1") "\n[2]\n-: " H("node2") "\n-: " H("mirror2") "\n"
          "[3]\n-: " H("node3") "\n-: " H("mirror3") "\n",
          "1: " H("node1") " " H("mirror1") "; 2: " H("node2") " " H("mirror2")
          "; 3: " H("node3") " " H("mirror3"));
    READS("[1]\n-: " H("node1") "\n-: " H("mirror1") "\n-: " H("mirror2") "\n-: " H("mirror3") "\n"
          "-: " H("mirror4") "\n"
          "[2]\n-: " H("node2") "\n-: " H("mirror5") "\n-: " H("mirror6") "\n-: " H("mirror7") "\n"
          "-: " H("mirror8") "\n",
          "1: " H("node1") " " H("mirror1") " " H("mirror2") " " H("mirror3") " " H("mirror4") "; 2: "
          H("node2") " " H("mirror5") " " H("mirror6") " " H("mirror7") " " H("mirror8"));
}

static void test_plain(void **state)
{
    (void)state;
    READS("", "");
    READS("\n\n# nothing\n ; nothing\n", "");
    READS("http://a\nhttp://b", "default: http://a http://b");
    READS("\xef\xbb\xbfhttp://a\r\n  ssh://h/x\r\n\r\n\t/srv/a  \n", "default: http://a ssh://h/x /srv/a");
    READS("# see [1]\nhttp://[::1]:3000\n", "default: http://[::1]:3000");
    READS("h:/x # first\n/srv/a ; second [x]\n\"/srv/a#b\"\n", "default: h:/x /srv/a /srv/a#b");
    READS("http://a\nhttp://a\n", "default: http://a http://a");
    REFUSES("http://a\nnode2\n", "2", "\"node2\" is not an address");
    REFUSES("http://a\n-: http://b\n", "2", "[section]");
    REFUSES("- = /srv/a\n", "1", "[section]");
    REFUSES("mirror: /srv/b\n", "1", "must follow");
    REFUSES("name = /srv/b\n", "1", "not an address");
    REFUSES("\n\nftp://x\n", "3", "\"ftp://\" is not supported");
    REFUSES("/srv/a#b\n", "1", "quotes");
    REFUSES("srv/a\n", "1", "not an address");
    REFUSES("[::1]:/srv\n", "1", "IPv6");
}

static void test_members(void **state)
{
    (void)state;
    READS("[1]\n-: /a\n- = /b\n-=/c\n-:/d\n- : /e\n \t-\t:\t/f\t\n-:file:///g\n",
          "1: /a /b /c /d /e /f file:///g");
    READS("[1]\nmirror: ssh://u@h/x\n b = /b\nc:http://h\nd=/d\ne: h:/x\nf:\"/x\"\ntwo words: /y\n",
          "1: mirror=ssh://u@h/x b=/b c=http://h d=/d e=h:/x f=/x two words=/y");
    READS("[1]\n-: /srv/a=b:c\n-= h:/x=y\n", "1: /srv/a=b:c h:/x=y");
    READS("[1]\n-: /srv/caf\xe9\nn\xc3\xa9: /x\n", "1: /srv/caf\xe9 n\xc3\xa9=/x");
    READS("[1]\n-: /a\n-: /a\nx: /a\n", "1: /a /a x=/a");
    READS("[1]\nx: /a\n[2]\nx: /a\n", "1: x=/a; 2: x=/a");
    REFUSES("[1]\nhttp://x\n", "2", "write \"-: http://x\"");
    REFUSES("[1]\n/srv/a\n", "2", "-: ADDRESS");
    REFUSES("[1]\n/srv/a=b\n", "2", "write \"-: /srv/a=b\"");
    REFUSES("[1]\nnode1:/srv/a\n", "2", "\"-: node1:/srv/a\"");
    REFUSES("[1]\nu@node1:x\n", "2", "not an address");
    REFUSES("[1]\n- http://x\n", "2", "begins with \"-\"");
    REFUSES("[1]\n-x: /a\n", "2", "begins with \"-\"");
    REFUSES("[1]\n-\n", "2", "no \":\"");
    REFUSES("[1]\n: /a\n", "2", "begins with \":\"");
    REFUSES("[1]\n = /a\n", "2", "begins with \"=\"");
    REFUSES("[1]\n-:\n", "2", "address is missing");
    REFUSES("[1]\n-: # none\n", "2", "address is missing");
    REFUSES("[1]\n-: \"\"\n", "2", "address is missing");
    REFUSES("[1]\n-: ./a\n", "2", "not an address");
    REFUSES("[1]\n\"a\": /a\n", "2", "without quotes");
    REFUSES("[1]\nx#1: /a\n", "2", "a name cannot hold one");
    REFUSES("[1]\nx # y: /a\n", "2", "a name cannot hold one");
    REFUSES("[1]\nx\ty: /a\n", "2", "control character");
    REFUSES("[1]\nx\x7f: /a\n", "2", "control character");
    REFUSES("[1]\nx\xff: /a\n", "2", "not valid UTF-8");
    REFUSES("[1]\n\xc2\xa0-: /a\n", "2", "cannot be seen");
    REFUSES("[1]\n\xef\xbb\xbf-: /a\n", "2", "cannot be seen");
    REFUSES("[1]\nx\xe2\x80\xae: /a\n", "2", "cannot be seen");
    REFUSES("[1]\n-: /a\x01\n", "2", "control character");
    REFUSES("[1]\nx: /a\n\nx: /b\n", "4", "x (f:2)");
    REFUSES("[1]\nx: /a\n[2]\n-: /a\n[1]\nx: /b\n", "6", "x (f:2)");
}

static void test_values(void **state)
{
    (void)state;
    READS("[1]\n-: /a # one\n-: /b ; two\n-: /c\t#three # ; four\n", "1: /a /b /c");
    READS("[1]\n-: \"/a#b;c\" # d\n-: '/a\"b' ;e\n-: '/x # y'\n-: \"/it's\"\n",
          "1: /a#b;c /a\"b /x # y /it's");
    READS("[1]\n-: /it's\n", "1: /it's");
    REFUSES("[1]\n-: /a#b\n", "2", "a \"#\" within");
    REFUSES("[1]\n-: /a;b\n", "2", "a \";\" within");
    REFUSES("[1]\n-: \"/a\n", "2", "not closed");
    REFUSES("[1]\n-: \"\n", "2", "not closed");
    REFUSES("[1]\n-: '/a\"\n", "2", "not closed");
    REFUSES("[1]\n-: \"/a\"b\n", "2", "closing quote");
    REFUSES("[1]\n-: \"/a\"#b\n", "2", "closing quote");
    REFUSES("[1]\n-: \"/a\" \"/b\"\n", "2", "closing quote");
    REFUSES("[1]\n-: \" /a\"\n", "2", "blank at the edge");
    REFUSES("[1]\n-: '/a\t'\n", "2", "blank at the edge");
}

static void test_sections(void **state)
{
    (void)state;
    READS("[1]\n[2]\n-: /a\n[3]\n", "2: /a");
    READS("[1]\n-: /a\n[2]\n-: /b\n[1]\n-: /c\n", "1: /a /c; 2: /b");
    READS(" \t[a b:c=d]\n-: /a\n", "a b:c=d: /a");
    READS("[[x]]\n-: /a\n[a]b]\n-: /b\n[a#b]\n-: /c\n[a #b]\n-: /d\n", "[x]: /a; a]b: /b; a#b: /c; a #b: /d");
    READS("[1] # see [2]\n-: /a\n[2]\t;x\n-: /b\n[3]#x\n-: /c\n[4];\n-: /d\n", "1: /a; 2: /b; 3: /c; 4: /d");
    READS("[n\xc3\xa9]\n-: /a", "n\xc3\xa9: /a");
    READS("[default]\n-: /a", "default: /a");
    READS("\xef\xbb\xbf[1]\r\n-: /a\r\r\n-: /b\r", "1: /a /b");
    REFUSES("[]\n", "1", "no name");
    REFUSES("[ ]\n", "1", "no name");
    REFUSES("[1\n", "1", "no \"]\"");
    REFUSES("[", "1", "no \"]\"");
    REFUSES("# x\n[1 # ]x\n", "2", "text after");
    REFUSES("[1] x\n", "1", "text after");
    REFUSES("[1]x\n", "1", "text after");
    REFUSES("[1]#[2]\n", "1", "line of its own");
    REFUSES("[1] [2]\n", "1", "line of its own");
    REFUSES("[1] -: http://[::1]:80\n", "1", "text after");
    REFUSES("[1] -: http://[::1]\n", "1", "line of its own");
    REFUSES("[ 1 ]\n", "1", "write [1]");
    REFUSES("[1\t]\n", "1", "write [1]");
    REFUSES("[a\tb]\n", "1", "control character");
    REFUSES("[\xff]\n", "1", "not valid UTF-8");
    REFUSES("http://a\n[1]\n-: http://b\n", "1", "before the first");
    REFUSES("-: /a\n[1]\n-: http://b\n", "1", "before the first");
}

static void test_lines(void **state)
{
    (void)state;
    REFUSES("# c\0\n", "1", "NUL");
    REFUSES("[1]\n-: /a\0b\n", "2", "NUL");
    REFUSES("\xff\xfe[\0\n\0", "1", "NUL");
    REFUSES("# all in one line\r[1]\r-: /a\r", "1", "carriage return");
    REFUSES("[1]\n-: /a\rb\n", "2", "carriage return");
    for (int over = 0; over < 2; over++) {
        struct buf b = {0};
        buf_put(&b, "/x\n#", 4);
        for (int i = 1; i < TEXT_LINE_MAX + over; i++)
            buf_u8(&b, 'x');
        buf_put(&b, "\r\n/y\n", 5);
        if (over)
            refuses((char *)b.data, b.len, "f:2: ", "longer than 8192");
        else
            reads((char *)b.data, b.len, "default: /x /y");
        buf_free(&b);
    }
}

static void test_places(void **state)
{
    (void)state;
    static const char text[] = "# x\n[1]\n-: /a\n\nb: /b\r\n";
    struct groups g = {0};
    assert_int_equal(conf_parse(&g, "some.conf", text, sizeof text - 1, NULL), 0);
    assert_int_equal(g.n, 1);
    assert_int_equal(g.group[0].members, 2);
    assert_string_equal(g.group[0].member[0].file, "some.conf");
    assert_int_equal(g.group[0].member[0].line, 3);
    assert_int_equal(g.group[0].member[1].line, 5);
    groups_free(&g);
}

static void test_limits(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i <= GROUP_MEMBERS_MAX; i++) {
        char line[32];
        snprintf(line, sizeof line, "/srv/%d\n", i);
        buf_put(&b, line, strlen(line));
    }
    refuses((char *)b.data, b.len, "f:65: ", "more than 64 members");
    b.len = 0;
    for (int i = 0; i <= GROUPS_MAX; i++) {
        char line[32];
        snprintf(line, sizeof line, "[%d]\n-:/a\n", i);
        buf_put(&b, line, strlen(line));
    }
    refuses((char *)b.data, b.len, "f:16386: ", "more than 8192 groups");
    buf_free(&b);
}

/* Files below a fresh directory, taken away again at the end. */
struct dir {
    char path[256];
    char a[300], b[300];
};

static int setup(void **state)
{
    struct dir *d = mem_zalloc(sizeof *d);
    const char *tmp = getenv("TMPDIR");
    snprintf(d->path, sizeof d->path, "%.200s/sos-conf-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(d->path))
        return -1;
    snprintf(d->a, sizeof d->a, "%s/a.conf", d->path);
    snprintf(d->b, sizeof d->b, "%s/.sos.conf", d->path);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct dir *d = *state;
    unlink(d->a);
    unlink(d->b);
    int rc = rmdir(d->path);
    free(d);
    return rc;
}

static void put(const char *file, const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void load_refused(const char *file, const char *reason)
{
    struct groups g = {0};
    struct err e = {0};
    assert_int_equal(conf_load(&g, file, &e), ERR_CONF);
    assert_int_equal(e.code, ERR_CONF);
    if (strncmp(e.msg, file, strlen(file)) != 0 || !strstr(e.msg, reason))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, reason);
    groups_free(&g);
}

static void test_load(void **state)
{
    struct dir *d = *state;
    struct groups g = {0};
    load_refused(d->a, "No such file");
    load_refused(d->path, "not a regular file");
    put(d->a, "[1]\n-: /a\n-: b\n");
    load_refused(d->a, ":3: \"b\" is not an address");
    put(d->a, "/a\n/b\n");
    assert_int_equal(symlink(d->a, d->b), 0);
    assert_int_equal(conf_load(&g, d->b, NULL), 0);
    assert_int_equal(g.group[0].members, 2);
    assert_string_equal(g.group[0].member[1].file, d->b);
    groups_free(&g);
    assert_int_equal(truncate(d->a, TEXT_FILE_MAX + 1), 0);
    load_refused(d->a, "1 MiB");
    assert_int_equal(unlink(d->a), 0);
    assert_int_equal(mkfifo(d->a, 0600), 0);
    load_refused(d->a, "not a regular file");
}

static void test_unreadable(void **state)
{
    struct dir *d = *state;
    struct groups g = {0};
    struct err e = {0};
    uid_t me = geteuid();
    put(d->a, "/a\n");
    assert_int_equal(chmod(d->a, 0), 0);
    if (me == 0 && seteuid(65534) != 0)
        skip(); /* root reads everything */
    int alone = conf_load(&g, d->a, &e), pair = conf_load_pair(&g, d->a, NULL, NULL);
    assert_int_equal(seteuid(me), 0);
    assert_int_equal(alone, ERR_CONF);
    assert_int_equal(pair, ERR_CONF);
    assert_non_null(strstr(e.msg, "Permission denied"));
}

static void pair_is(const char *system, const char *user, const char *want)
{
    struct groups g = {0};
    struct err e = {0};
    if (conf_load_pair(&g, system, user, &e) != 0)
        fail_msg("%s", e.msg);
    char *got = render(&g);
    assert_string_equal(got, want);
    free(got);
    groups_free(&g);
}

static void test_pair(void **state)
{
    struct dir *d = *state;
    struct groups g = {0};
    struct err e = {0};
    assert_int_equal(conf_load_pair(&g, d->a, d->b, &e), ERR_CONF);
    assert_non_null(strstr(e.msg, d->a));
    assert_non_null(strstr(e.msg, d->b));
    assert_non_null(strstr(e.msg, "--config"));
    assert_int_equal(conf_load_pair(&g, NULL, NULL, &e), ERR_CONF);
    assert_int_equal(conf_load_pair(&g, NULL, d->b, &e), ERR_CONF);
    assert_non_null(strstr(e.msg, d->b));
    assert_null(strstr(e.msg, "(null)"));
    put(d->a, "[default]\n-: /a\nx: /b\n");
    pair_is(d->a, d->b, "default: /a x=/b");
    pair_is(d->a, NULL, "default: /a x=/b");
    put(d->b, "/c\n/a\n");
    pair_is(d->a, d->b, "default: /a x=/b /c /a");
    pair_is(NULL, d->b, "default: /c /a");
    put(d->b, "[default]\nx: /c\n");
    assert_int_equal(conf_load_pair(&g, d->a, d->b, &e), ERR_CONF);
    assert_non_null(strstr(e.msg, d->b));
    assert_non_null(strstr(e.msg, "a.conf:3"));
    groups_free(&g);
    put(d->b, "");
    assert_int_equal(unlink(d->a), 0);
    pair_is(d->a, d->b, "");
}

static void test_pair_does_not_skip_trouble(void **state)
{
    struct dir *d = *state;
    struct groups g = {0};
    struct err e = {0};
    put(d->b, "/a\n");
    assert_int_equal(symlink("nowhere", d->a), 0);
    assert_int_equal(conf_load_pair(&g, d->a, d->b, &e), ERR_CONF);
    assert_non_null(strstr(e.msg, d->a));
    assert_int_equal(conf_load_pair(&g, d->path, d->b, &e), ERR_CONF);
    assert_non_null(strstr(e.msg, "not a regular file"));
    groups_free(&g);
}

static void test_default_uses_home(void **state)
{
    struct dir *d = *state;
    struct groups g = {0};
    struct err e = {0};
    const char *home = getenv("HOME");
    char *keep = home ? mem_strdup(home) : NULL;
    put(d->b, "[no such section\n");
    setenv("HOME", d->path, 1);
    assert_int_equal(conf_load_default(&g, &e), ERR_CONF);
    assert_non_null(strstr(e.msg, ".sos.conf:1: "));
    groups_free(&g);
    unsetenv("HOME");
    if (access("/etc/sos.conf", F_OK) != 0) {
        assert_int_equal(conf_load_default(&g, &e), ERR_CONF);
        assert_null(strstr(e.msg, ".sos.conf"));
    }
    groups_free(&g);
    if (keep)
        setenv("HOME", keep, 1);
    free(keep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_limits),
        cmocka_unit_test_setup_teardown(test_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pair, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pair_does_not_skip_trouble, setup, teardown),
        cmocka_unit_test_setup_teardown(test_default_uses_home, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
