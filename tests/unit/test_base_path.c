#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"

/* The order as one would explain it: compare component by component; who has no more components is first. */
static int naive_cmp(const char *a, size_t alen, const char *b, size_t blen)
{
    for (;;) {
        const char *as = memchr(a, '/', alen), *bs = memchr(b, '/', blen);
        size_t an = as ? (size_t)(as - a) : alen, bn = bs ? (size_t)(bs - b) : blen;
        int c = memcmp(a, b, an < bn ? an : bn);
        if (c)
            return c < 0 ? -1 : 1;
        if (an != bn)
            return an < bn ? -1 : 1;
        if (!as || !bs)
            return (as != NULL) - (bs != NULL);
        a += an + 1, alen -= an + 1;
        b += bn + 1, blen -= bn + 1;
    }
}

static size_t random_path(char *out, size_t max, unsigned *seed)
{
    static const char bytes[] = "aab.-0!\x01\x7f\xc3\xff ";
    size_t n = 0, parts = 1 + (unsigned)rand_r(seed) % 6;
    for (size_t p = 0; p < parts; p++) {
        if (p)
            out[n++] = '/';
        for (size_t k = 1 + (unsigned)rand_r(seed) % 5; k > 0 && n + 2 < max; k--)
            out[n++] = bytes[(unsigned)rand_r(seed) % (sizeof bytes - 1)];
    }
    return n;
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static void order_like_the_model(void **state)
{
    (void)state;
    unsigned seed = 42;
    char a[64], b[64];
    for (int i = 0; i < 200000; i++) {
        size_t alen = random_path(a, sizeof a, &seed), blen = random_path(b, sizeof b, &seed);
        if (i % 2) { /* most of one as in the other, so that long equal beginnings occur */
            blen = alen;
            memcpy(b, a, alen);
            b[(unsigned)rand_r(&seed) % blen] = "/a.\xff"[rand_r(&seed) % 4];
            if (i % 4 == 1)
                blen = 1 + (unsigned)rand_r(&seed) % blen;
        }
        int c = sign(path_cmp(a, alen, b, blen));
        assert_int_equal(c, naive_cmp(a, alen, b, blen));
        assert_int_equal(sign(path_cmp(b, blen, a, alen)), -c);
        assert_int_equal(path_cmp(a, alen, a, alen), 0);
    }
}

static void order_of_a_walk(void **state)
{
    (void)state;
    static const char *const walk[] = {
        "a", "a/b", "a/b/c", "a/b.x", "a/b0", "a\x01", "a!", "a-b", "a.b", "a0", "b",
    };
    for (size_t i = 0; i + 1 < sizeof walk / sizeof walk[0]; i++)
        assert_true(path_cmp(walk[i], strlen(walk[i]), walk[i + 1], strlen(walk[i + 1])) < 0);
    assert_true(path_cmp("a/z", 3, "a\x01", 2) < 0); /* '/' before every other byte */
    assert_true(path_cmp("a", 1, "a/z", 3) < 0);
    assert_true(path_cmp("\x7f", 1, "\x80", 1) < 0); /* bytes are unsigned */
    assert_true(path_cmp("", 0, "a", 1) < 0);
}

static void refuses(const char *path, size_t len)
{
    struct err err = {0};
    assert_int_equal(path_check(path, len, &err), ERR_FORMAT);
    assert_int_equal(err.code, ERR_FORMAT);
    assert_true(err.msg[0] != '\0');
}

static void accepts(const char *path, size_t len)
{
    struct err err = {0};
    assert_int_equal(path_check(path, len, &err), 0);
}

static void check_a1_to_a3(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", ".", "..", "../x", "x/..", "a/../../x", "a/./b", "./a", "a/.", "/", "//", "/a", "a/", "a//b",
        "//a", "/etc/passwd", "a/..//b",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses(bad[i], strlen(bad[i]));
    refuses("a\0b", 3);
    refuses("\0", 1);
    refuses("a/b\0", 4);
    static const char *const good[] = {
        "a", "a/b", "...", "..a", "a..", ".a/..b/c.", " ", "a\nb", "\r", "\x1b[2J", "\x9b", "\xff\xfe", "-rf",
        "~", "*", "a\\b", "c:",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        accepts(good[i], strlen(good[i]));
}

static void check_a4_lengths(void **state)
{
    (void)state;
    static char path[20002];
    memset(path, 'x', sizeof path);
    accepts(path, NAME_LEN_MAX);
    refuses(path, NAME_LEN_MAX + 1);
    for (size_t i = NAME_LEN_MAX; i < sizeof path; i += NAME_LEN_MAX + 1)
        path[i] = '/';
    accepts(path, PATH_LEN_MAX);
    refuses(path, PATH_LEN_MAX + 1);
    for (size_t i = 0; i < sizeof path; i++)
        path[i] = i % 2 ? '/' : 'd';
    accepts(path, PATH_LEN_MAX);
    refuses(path, 20001); /* 10,001 levels */
    path[300] = '/'; /* an empty component deep inside */
    refuses(path, PATH_LEN_MAX);
}

static void check_a5_reserved(void **state)
{
    (void)state;
    static const char *const bad[] = {
        ".sos-sync", ".sos-sync/x", "a/.sos-sync", "a/.sos-sync/trash/b", ".sos-sync.tmp", "a/.sos-sync.x/b",
        ".sos-sync.",
    };
    static const char *const good[] = {
        ".sos-syn", ".sos-sync2", ".sos-sync-x/a", "sos-sync", "x.sos-sync", ".SOS-SYNC",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses(bad[i], strlen(bad[i]));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        accepts(good[i], strlen(good[i]));
    assert_true(path_reserved(".sos-sync", 9));
    assert_false(path_reserved(".sos-sync", 8));
}

static void parents(void **state)
{
    (void)state;
    assert_int_equal(path_parent("a", 1), 0);
    assert_int_equal(path_parent("a/b", 3), 1);
    assert_int_equal(path_parent("ab/cd/ef", 8), 5);
    assert_true(path_below("a/b", 3, "a", 1));
    assert_true(path_below("a/b/c", 5, "a", 1));
    assert_true(path_below("a", 1, "", 0));
    assert_false(path_below("a", 1, "a", 1));
    assert_false(path_below("ab", 2, "a", 1));
    assert_false(path_below("ab/c", 4, "a", 1));
    assert_false(path_below("b/c", 3, "a", 1));
    assert_false(path_below("", 0, "", 0));
}

static void shown(void **state)
{
    (void)state;
    static const struct { const char *name, *text; } world[] = {
        {"plain name", "plain name"},
        {"a\nb\r\x1b[2J\x7f\t", "a\\x0ab\\x0d\\x1b[2J\\x7f\\x09"},
        {"back\\slash", "back\\x5cslash"},
        /* valid UTF-8 stays */
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\x9b" "31m", "\\x9b31m"},
        {"\xc2\x9b" "31m", "\\xc2\\x9b31m"},          /* C1 as UTF-8 */
        {"\xc0\xaf", "\\xc0\\xaf"},                  /* overlong */
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},         /* surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond U+10FFFF */
        {"\xf5", "\\xf5"},
        {"\xe2\x82", "\\xe2\\x82"},                  /* cut short */
        {"\xe2\x82" "a", "\\xe2\\x82" "a"},
        {"", ""},
    };
    char out[256];
    for (size_t i = 0; i < sizeof world / sizeof world[0]; i++)
        assert_string_equal(path_show(out, sizeof out, world[i].name, strlen(world[i].name)), world[i].text);
    assert_string_equal(path_show(out, sizeof out, "a\0b", 3), "a\\x00b");
}

static void shown_within_bounds(void **state)
{
    (void)state;
    const char name[] = "ab\ncd\xc3\xa4";
    char whole[64];
    path_show(whole, sizeof whole, name, sizeof name - 1);
    for (size_t size = 1; size < sizeof whole; size++) {
        char *out = malloc(size);
        path_show(out, size, name, sizeof name - 1);
        assert_true(strlen(out) < size);
        assert_memory_equal(out, whole, strlen(out)); /* cut, never half an escape or half a letter */
        size_t n = strlen(out);
        assert_true(n <= 2 || n == 6 || n == 7 || n == 8 || n == 10);
        free(out);
    }
    char *none = malloc(1);
    *none = 'x';
    path_show(none, 0, name, sizeof name - 1);
    assert_int_equal(*none, 'x');
    free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_like_the_model), cmocka_unit_test(order_of_a_walk),
        cmocka_unit_test(check_a1_to_a3),       cmocka_unit_test(check_a4_lengths),
        cmocka_unit_test(check_a5_reserved),    cmocka_unit_test(parents),
        cmocka_unit_test(shown),                cmocka_unit_test(shown_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
