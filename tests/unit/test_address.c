#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "group/address.h"

struct good {
    const char *text;
    enum address_kind kind;
    const char *user, *host;
    unsigned port;
    const char *path;
};

static void same(const char *what, const char *got, const char *want, const char *text)
{
    if (!got != !want || (got && strcmp(got, want) != 0))
        fail_msg("%s of \"%s\": \"%s\", not \"%s\"", what, text, got ? got : "(none)",
                 want ? want : "(none)");
}

static void expect(const struct good *w, int relative_ok)
{
    struct address a;
    struct err e = {0};
    if (address_parse(w->text, relative_ok, &a, &e) != 0)
        fail_msg("\"%s\" refused: %s", w->text, e.msg);
    if (a.kind != w->kind || a.port != w->port)
        fail_msg("\"%s\": kind %s, port %u", w->text, address_kind_name(a.kind), a.port);
    same("user", a.user, w->user, w->text);
    same("host", a.host, w->host, w->text);
    same("path", a.path, w->path, w->text);
    address_free(&a);
    assert_null(a.text);
}

static void refused(const char *text, int relative_ok, const char *reason)
{
    struct address a;
    struct err e = {0};
    if (address_parse(text, relative_ok, &a, &e) != ERR_CONF)
        fail_msg("\"%s\" accepted as %s, path %s", text, address_kind_name(a.kind), a.path);
    assert_int_equal(e.code, ERR_CONF);
    if (!strstr(e.msg, reason))
        fail_msg("\"%s\": \"%s\" does not say \"%s\"", text, e.msg, reason);
    assert_null(a.text);
    assert_null(a.user);
    assert_null(a.host);
    assert_null(a.path);
    assert_int_equal(address_parse(text, relative_ok, &a, NULL), ERR_CONF);
}

static const struct good in_conf[] = {
    {"/srv/a", ADDRESS_LOCAL, NULL, NULL, 0, "/srv/a"},
    {"/srv/a///", ADDRESS_LOCAL, NULL, NULL, 0, "/srv/a"},
    {"/", ADDRESS_LOCAL, NULL, NULL, 0, "/"},
    {"///", ADDRESS_LOCAL, NULL, NULL, 0, "/"},
    {"/srv/a b:c@d%41", ADDRESS_LOCAL, NULL, NULL, 0, "/srv/a b:c@d%41"},
    {"/srv/caf\xe9", ADDRESS_LOCAL, NULL, NULL, 0, "/srv/caf\xe9"},
    {"/srv/$(x)", ADDRESS_LOCAL, NULL, NULL, 0, "/srv/$(x)"},
    {"file:///srv/a/", ADDRESS_LOCAL, NULL, NULL, 0, "/srv/a"},
    {"file://localhost/srv", ADDRESS_LOCAL, NULL, NULL, 0, "/srv"},
    {"FILE://LocalHost/srv", ADDRESS_LOCAL, NULL, NULL, 0, "/srv"},
    {"file:///", ADDRESS_LOCAL, NULL, NULL, 0, "/"},
    {"file:///a%20b%23%e9%25", ADDRESS_LOCAL, NULL, NULL, 0, "/a b#\xe9%"},
    {"ssh://h/srv/a", ADDRESS_SSH, NULL, "h", 0, "/srv/a"},
    {"ssh://u@h:2222/srv/a//", ADDRESS_SSH, "u", "h", 2222, "/srv/a"},
    {"ssh://u@corp@h/a", ADDRESS_SSH, "u@corp", "h", 0, "/a"},
    {"ssh://h:65535/", ADDRESS_SSH, NULL, "h", 65535, "/"},
    {"ssh://h/~", ADDRESS_SSH, NULL, "h", 0, "~"},
    {"ssh://h/~/", ADDRESS_SSH, NULL, "h", 0, "~"},
    {"ssh://h/~/x%20y/", ADDRESS_SSH, NULL, "h", 0, "~/x y"},
    {"ssh://h/%7Ebob/x", ADDRESS_SSH, NULL, "h", 0, "/~bob/x"},
    {"ssh://h/-x", ADDRESS_SSH, NULL, "h", 0, "/-x"},
    {"ssh://[::1]/x", ADDRESS_SSH, NULL, "::1", 0, "/x"},
    {"ssh://u@[0:0:0:0:0:0:0:1]:22/x", ADDRESS_SSH, "u", "::1", 22, "/x"},
    {"ssh://[FE80::1%25eth0]/x", ADDRESS_SSH, NULL, "fe80::1%eth0", 0, "/x"},
    {"h:/srv/a/", ADDRESS_SSH, NULL, "h", 0, "/srv/a"},
    {"u@h.example.com:/srv/a%20@:b", ADDRESS_SSH, "u", "h.example.com", 0, "/srv/a%20@:b"},
    {"h:a/b", ADDRESS_SSH, NULL, "h", 0, "~/a/b"},
    {"h:~", ADDRESS_SSH, NULL, "h", 0, "~"},
    {"h:~/a/", ADDRESS_SSH, NULL, "h", 0, "~/a"},
    {"h:./-x", ADDRESS_SSH, NULL, "h", 0, "~/./-x"},
    {"u@[::1]:/x", ADDRESS_SSH, "u", "::1", 0, "/x"},
    {"[fe80::1%eth0]:x", ADDRESS_SSH, NULL, "fe80::1%eth0", 0, "~/x"},
    {"http://node1-2.example.com:3000", ADDRESS_HTTP, NULL, "node1-2.example.com", 3000, ""},
    {"http://h/", ADDRESS_HTTP, NULL, "h", 0, ""},
    {"http://h//base//", ADDRESS_HTTP, NULL, "h", 0, "//base"},
    {"HTTPS://[::1]:1/base/%20x", ADDRESS_HTTPS, NULL, "::1", 1, "/base/%20x"},
};

static const struct good on_line[] = {
    {"A", ADDRESS_LOCAL, NULL, NULL, 0, "A"},
    {"./A/", ADDRESS_LOCAL, NULL, NULL, 0, "./A"},
    {".", ADDRESS_LOCAL, NULL, NULL, 0, "."},
    {"../a:b", ADDRESS_LOCAL, NULL, NULL, 0, "../a:b"},
    {"./-x", ADDRESS_LOCAL, NULL, NULL, 0, "./-x"},
    {"./~x", ADDRESS_LOCAL, NULL, NULL, 0, "./~x"},
    {"a b", ADDRESS_LOCAL, NULL, NULL, 0, "a b"},
    {"[x]", ADDRESS_LOCAL, NULL, NULL, 0, "[x]"},
    {"x:y", ADDRESS_SSH, NULL, "x", 0, "~/y"},
    {"[::1]:y", ADDRESS_SSH, NULL, "::1", 0, "~/y"},
};

static const char *const bad[][2] = {
    {"", "empty"},
    {" \t ", "empty"},
    {"-", "begins with \"-\""},
    {"-oProxyCommand=x", "begins with \"-\""},
    {"~", "not expanded"},
    {"~/x", "not expanded"},
    {"~bob/x", "not expanded"},
    {"/a\nb", "control character"},
    {"/a\tb", "control character"},
    {"/a\x1b[0m", "control character"},
    {"/a\x7f", "control character"},
    {"ftp://h/x", "\"ftp://\" is not supported"},
    {"rsync://h/x", "\"rsync://\" is not supported"},
    {"://x", "\"://\" is not supported"},
    {"host://x", "\"host://\" is not supported"},
    {"http:/h", "lacks its two slashes"},
    {"ssh:h/x", "lacks its two slashes"},
    {"FILE:/x", "lacks its two slashes"},
    {"file://", "three slashes"},
    {"file://srv", "three slashes"},
    {"file://srv/a", "another host"},
    {"file://127.0.0.1/a", "another host"},
    {"file:///a%2Fb", "\"%2F\" is not allowed"},
    {"file:///a%00b", "\"%00\" is not allowed"},
    {"file:///a%0ab", "\"%0a\" is not allowed"},
    {"file:///a%7fb", "\"%7f\" is not allowed"},
    {"file:///a%", "two hexadecimal digits"},
    {"file:///a%4", "two hexadecimal digits"},
    {"file:///a%4g", "two hexadecimal digits"},
    {"file:///a?b", "as %3F"},
    {"ssh://h/a#b", "as %23"},
    {"ssh://", "host in the address is empty"},
    {"ssh:///x", "host in the address is empty"},
    {"ssh://h", "needs a path"},
    {"ssh://@h/x", "user in the address is empty"},
    {"ssh://u:secret@h/x", "password"},
    {"ssh://-h/x", "begins with \"-\""},
    {"ssh://-oProxyCommand=x/x", "begins with \"-\""},
    {"ssh://-u@h/x", "begins with \"-\""},
    {"ssh://$(id)/x", "holds a character"},
    {"ssh://a`id`@h/x", "holds a character"},
    {"ssh://a b/x", "holds a character"},
    {"ssh://h;id/x", "holds a character"},
    {"ssh://h%41/x", "holds a character"},
    {"ssh://\xc3\xa9/x", "holds a character"},
    {"ssh://h:/x", "port"},
    {"ssh://h:0/x", "port"},
    {"ssh://h:65536/x", "port"},
    {"ssh://h:-1/x", "port"},
    {"ssh://h:srv/x", "port"},
    {"ssh://h:99999999999999999999/x", "port"},
    {"ssh://::1/x", "brackets"},
    {"ssh://[::1/x", "IPv6"},
    {"ssh://[::1]x/x", "IPv6"},
    {"ssh://[]/x", "not an IPv6 address"},
    {"ssh://[h]/x", "not an IPv6 address"},
    {"ssh://[::1%]/x", "zone in the address is empty"},
    {"ssh://[::1%-e]/x", "begins with \"-\""},
    {"ssh://[::1%e;f]/x", "holds a character"},
    {"ssh://h/~bob/x", "home directory"},
    {"h:~bob/x", "home directory"},
    {"h:", "must follow"},
    {"h: /x", "must follow"},
    {":x", "host in the address is empty"},
    {"h::module", "\"::\" is not supported"},
    {"h:-x", "begins with \"-\""},
    {"-h:x", "begins with \"-\""},
    {"-u@h:x", "begins with \"-\""},
    {"$(id):x", "holds a character"},
    {"http://", "host in the address is empty"},
    {"http://u@h", "no user"},
    {"http://u:p@h", "no user"},
    {"http://-h", "begins with \"-\""},
    {"http://h:0", "port"},
    {"http://h:3000:1", "brackets"},
    {"http://h?q", "holds a character"},
    {"http://h/a?q", "cannot be part"},
    {"http://h/a#q", "cannot be part"},
    {"http://h/a b", "cannot be part"},
    {"http://h/\xc3\xa9", "cannot be part"},
    {"http://h/%0d%0aX", "is not allowed"},
    {"http://h/%zz", "two hexadecimal digits"},
    {"http://h/a/../b", "\"..\""},
    {"http://h/%2e%2e/b", "\"..\""},
    {"http://h/.", "\"..\""},
};

static const char *const bad_in_conf[][2] = {
    {"a", "not an address"},
    {"./a", "not an address"},
    {"srv/a:b", "not an address"},
    {"http", "not an address"},
    {"[::1]/x", "not an address"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof in_conf / sizeof in_conf[0]; i++) {
        expect(&in_conf[i], 0);
        expect(&in_conf[i], 1);
    }
    for (size_t i = 0; i < sizeof on_line / sizeof on_line[0]; i++)
        expect(&on_line[i], 1);
}

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refused(bad[i][0], 0, bad[i][1]);
        refused(bad[i][0], 1, bad[i][1]);
    }
    for (size_t i = 0; i < sizeof bad_in_conf / sizeof bad_in_conf[0]; i++)
        refused(bad_in_conf[i][0], 0, bad_in_conf[i][1]);
}

static void test_text_is_trimmed(void **state)
{
    (void)state;
    struct address a;
    assert_int_equal(address_parse(" \t/srv/a/ \t", 0, &a, NULL), 0);
    assert_string_equal(a.text, "/srv/a/");
    assert_string_equal(a.path, "/srv/a");
    address_free(&a);
}

static char *repeat(const char *front, char c, size_t n, const char *back)
{
    char *s = mem_alloc(strlen(front) + n + strlen(back) + 1);
    size_t at = strlen(front);
    memcpy(s, front, at);
    memset(s + at, c, n);
    memcpy(s + at + n, back, strlen(back) + 1);
    return s;
}

static void test_lengths(void **state)
{
    (void)state;
    static const struct { const char *front, *back; size_t most; const char *reason; } row[] = {
        {"/", "", 4094, "longer than 4095"},
        {"file:///", "", 4094, "longer than 4095"},
        {"h:", "", 4093, "longer than 4095"},
        {"ssh://h/", "", 4094, "longer than 4095"},
        {"ssh://", "/x", 255, "longer than 255"},
        {"ssh://", "@h/x", 255, "longer than 255"},
        {"ssh://[", "]/x", 0, "not an IPv6 address"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct address a;
        char *fits = repeat(row[i].front, 'a', row[i].most, row[i].back);
        char *over = repeat(row[i].front, 'a', row[i].most + 1, row[i].back);
        char *huge = repeat(row[i].front, 'a', 100000, row[i].back);
        if (row[i].most) {
            assert_int_equal(address_parse(fits, 0, &a, NULL), 0);
            address_free(&a);
        }
        refused(over, 0, row[i].reason);
        struct err e = {0};
        assert_int_equal(address_parse(huge, 0, &a, &e), ERR_CONF);
        free(fits);
        free(over);
        free(huge);
    }
}

static void test_kind_names(void **state)
{
    (void)state;
    assert_string_equal(address_kind_name(ADDRESS_LOCAL), "local");
    assert_string_equal(address_kind_name(ADDRESS_SSH), "ssh");
    assert_string_equal(address_kind_name(ADDRESS_HTTP), "http");
    assert_string_equal(address_kind_name(ADDRESS_HTTPS), "https");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_text_is_trimmed),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_kind_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
