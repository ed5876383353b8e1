#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "object/filter.h"
#include "object/pattern.h"

/*
 * A tree, and what rsync 3.5.0 leaves out of it under each list of rules (rsync -a --exclude=RULE...,
 * rules separated by '|'): the topmost objects that it does not copy. "l" is a symlink to a directory.
 */
static const char *const tree[] = {
    "!", "-", "-x", "A1", "[a]", "a", "a*b", "ab", "abc/", "abc/a", "b", "b\\c", "d/", "d/a", "d/e/",
    "d/e/a", "d/e/f/", "d/e/f/a", "d/e/x.o", "d/x.o", "e/", "foo/", "foo/bar", "foo/d/", "foo/d/bar",
    "foo/d/d/", "foo/d/d/bar", "l", "x.o",};

static const struct {
    const char *rules, *gone;
} table[] = {
    {"*.o", "d/e/x.o d/x.o x.o"},
    {"a", "a abc/a d/a d/e/a d/e/f/a"},
    {"/a", "a"},
    {"a/", ""},
    {"e/", "d/e/ e/"},
    {"l/", ""},
    {"/d/e", "d/e/"},
    {"d/e", "d/e/"},
    {"e/a", "d/e/a"},
    {"d/*", "d/a d/e/ d/x.o foo/d/bar foo/d/d/"},
    {"d/**", "d/a d/e/ d/x.o foo/d/bar foo/d/d/"},
    {"d/***", "d/ foo/d/"},
    {"/d/***", "d/"},
    {"d/*/", "d/e/ foo/d/d/"},
    {"*/", "abc/ d/ e/ foo/"},
    {"**/", "abc/ d/ e/ foo/"},
    {"/*", "! - -x A1 [a] a a*b ab abc/ b b\\c d/ e/ foo/ l x.o"},
    {"/*/", "abc/ d/ e/ foo/"},
    {"*", "! - -x A1 [a] a a*b ab abc/ b b\\c d/ e/ foo/ l x.o"},
    {"**", "! - -x A1 [a] a a*b ab abc/ b b\\c d/ e/ foo/ l x.o"},
    {"***", "! - -x A1 [a] a a*b ab abc/ b b\\c d/ e/ foo/ l x.o"},
    {"/**/a", "abc/a d/a d/e/a d/e/f/a"},
    {"**/a", "a abc/a d/a d/e/a d/e/f/a"},
    {"*/a", "abc/a d/a d/e/a d/e/f/a"},
    {"d/**/a", "d/e/a d/e/f/a"},
    {"d**a", "d/a d/e/a d/e/f/a"},
    {"e**", "d/e/ e/"},
    {"**e", "d/e/ e/"},
    {"*b*", "a*b ab abc/ b b\\c foo/bar foo/d/bar foo/d/d/bar"},
    {"a?", "ab"},
    {"?", "! - a abc/a b d/ e/ foo/d/ l"},
    {"??", "-x A1 ab"},
    {"[ab]", "a abc/a b d/a d/e/a d/e/f/a"},
    {"[!ab]", "! - d/ e/ foo/d/ l"},
    {"[^ab]", "! - d/ e/ foo/d/ l"},
    {"[a-c]*", "a a*b ab abc/ b b\\c d/a d/e/a d/e/f/a foo/bar foo/d/bar foo/d/d/bar"},
    {"[[:upper:]][[:digit:]]", "A1"},
    {"[[:punct:]]*", "! - -x [a]"},
    {"[]a]", "a abc/a d/a d/e/a d/e/f/a"},
    {"[[]a]", "[a]"},
    {"[!]a]", "! - b d/ e/ foo/d/ l"},
    {"\\[a]", "[a]"},
    {"\\[a\\]*", "[a]"},
    {"a\\*b", "a*b"},
    {"a[*]b", "a*b"},
    {"b\\c", "b\\c"},
    {"b\\\\c", ""},
    {"b\\c*", ""},
    {"b\\\\c*", "b\\c"},
    {"b[\\\\]c", "b\\c"},
    {"[a-]", "- a abc/a d/a d/e/a d/e/f/a"},
    {"[-a]", "- a abc/a d/a d/e/a d/e/f/a"},
    {"foo/*/bar", "foo/d/bar"},
    {"foo/**/bar", "foo/d/bar foo/d/d/bar"},
    {"/foo/**/bar", "foo/d/bar foo/d/d/bar"},
    {"*/*/bar", "foo/d/bar foo/d/d/bar"},
    {"d/bar", "foo/d/bar foo/d/d/bar"},
    {"d/d", "foo/d/d/"},
    {"/foo/d/*", "foo/d/bar foo/d/d/"},
    {"foo/[a-d]", "foo/d/"},
    {"foo[/]d", ""},
    {"foo/[a/b]", ""},
    {"//a", ""},
    {"d//", ""},
    {"d//a", ""},
    {"/", ""},
    {"-", "-"},
    {"-x", "-x"},
    {"- -", "-"},
    {"+ a", ""},
    {"- a", "a abc/a d/a d/e/a d/e/f/a"},
    {"- - a", ""},
    {"+ a|a", ""},
    {"- a|+ a", "a abc/a d/a d/e/a d/e/f/a"},
    {"a|!|b", "b"},
    {"- !", "!"},
    {"+ */|+ *.o|*", "! - -x A1 [a] a a*b ab abc/a b b\\c d/a d/e/a d/e/f/a foo/bar foo/d/bar foo/d/d/bar l"},
    {"+ d/|+ d/e/|+ d/e/a|*", "! - -x A1 [a] a a*b ab abc/ b b\\c d/a d/e/f/ d/e/x.o d/x.o e/ foo/ l x.o"},
    {"d/e/|+ d/***|/*", "! - -x A1 [a] a a*b ab abc/ b b\\c d/e/ e/ foo/ l x.o"},
    {"+ foo/|+ foo/d/|foo/*|d/d", "foo/bar foo/d/d/"},
    {"a*c", "abc/"},
    {"a**c", "abc/"},
    {"/d/e/f/**", "d/e/f/a"},
    {"/d/*/f", "d/e/f/"},
    {"*/f/a", "d/e/f/a"},
    {"?/?/?/?", "d/e/f/a"},
    {"d/e/?.o", "d/e/x.o"},
    {"**.o", "d/e/x.o d/x.o x.o"},
    {"***/a", "a abc/a d/a d/e/a d/e/f/a"},
    {"e/***", "d/e/ e/"},
    {"**d/***", "d/ foo/d/"},
    {"foo***", "foo/"},
};

static struct filter *filter_of(const char *rules)
{
    struct filter *f = filter_new();
    char *copy = strdup(rules), *rest = copy, *rule;
    while ((rule = strsep(&rest, "|"))) {
        struct err e = {0};
        if (filter_add(f, false, rule, &e) < 0)
            fail_msg("%s", e.msg);
    }
    free(copy);
    return f;
}

/* Adds name to the list of what is gone, unless a directory that it is below is there already. */
static void walk(const struct filter *f, char *gone, size_t size)
{
    char last[64] = "";
    for (size_t i = 0; i < sizeof tree / sizeof tree[0]; i++) {
        size_t len = strlen(tree[i]);
        bool is_dir = tree[i][len - 1] == '/';
        if (*last && strncmp(tree[i], last, strlen(last)) == 0)
            continue;
        char exact[64]; /* without a NUL behind it */
        memset(exact, '*', sizeof exact);
        memcpy(exact, tree[i], len - is_dir);
        if (!filter_excludes(f, exact, len - is_dir, is_dir))
            continue;
        size_t at = strlen(gone);
        snprintf(gone + at, size - at, "%s%s", at ? " " : "", tree[i]);
        if (is_dir)
            snprintf(last, sizeof last, "%s", tree[i]);
    }
}

static void as_rsync_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct filter *f = filter_of(table[i].rules);
        char gone[1000] = "";
        walk(f, gone, sizeof gone);
        if (strcmp(gone, table[i].gone) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", table[i].rules, gone, table[i].gone);
        filter_free(f);
    }
}

static bool excludes(const struct filter *f, const char *path)
{
    return filter_excludes(f, path, strlen(path), false);
}

static void no_rules_exclude_nothing(void **state)
{
    (void)state;
    struct filter *f = filter_new();
    assert_false(filter_excludes(NULL, "a", 1, false));
    assert_false(filter_excludes(f, "a", 1, true));
    assert_int_equal(filter_count(NULL), 0);
    assert_int_equal(filter_count(f), 0);
    filter_free(f);
    filter_free(NULL);
}

static void names_are_bytes(void **state)
{
    (void)state;
    struct filter *f = filter_of("x\xff*|[\x80-\x8f]y|n?w");
    assert_true(excludes(f, "x\xff\xfe"));
    assert_false(excludes(f, "x\xc3\xbf"));
    assert_true(excludes(f, "\x85y"));
    assert_false(excludes(f, "\x90y"));
    assert_true(excludes(f, "n\nw"));
    assert_false(excludes(f, "n/w"));
    assert_false(excludes(f, "n\xc3\xa9w")); /* '?' is one byte */
    filter_free(f);
}

static void named_classes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *in, *out;
    } known[] = {
        {"alnum", "azAZ09", "_ \xe9"}, {"alpha", "azAZ", "09_\xe9"},  {"blank", " \t", "\na"},
        {"cntrl", "\x01\x1f\x7f", " a\x80"}, {"digit", "059", "a:;"}, {"graph", "!~a", " \n\xe9"},
        {"lower", "amz", "AMZ{`"},     {"print", " ~a", "\n\x7f\xe9"}, {"punct", "!.:;@[_`{~", "a0 Z"},
        {"space", " \t\n\v\f\r", "a_\b"}, {"upper", "AMZ", "amz@["},  {"xdigit", "09afAF", "gG@`:"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char pattern[32];
        snprintf(pattern, sizeof pattern, "[[:%s:]]", known[i].name);
        struct filter *f = filter_of(pattern);
        for (const char *c = known[i].in; *c; c++)
            assert_true(filter_excludes(f, c, 1, false));
        for (const char *c = known[i].out; *c; c++)
            assert_false(filter_excludes(f, c, 1, false));
        filter_free(f);
    }
}

static void bad_patterns_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "- ", "+ ", "[", "a[", "[a", "[]", "[!]", "[!", "[^", "[a-", "[a\\", "[a\\]", "a/[b/",
        "[[:alpha:]", "[[:alpha", "[[:foo:]]", "[[::]]", "[[:ALPHA:]]", "*\\", "?a\\", "[a]\\",
    };
    struct filter *f = filter_of("keep");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};
        if (filter_add(f, false, bad[i], &e) != ERR_USAGE || e.code != ERR_USAGE)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(filter_count(f), 1);
    }
    assert_true(excludes(f, "keep"));
    static const char *const good[] = {"\\[a*", "a\\", "[]]", "[!]]", "[[:]", "[[]",
                                       "[[a:]",  "[a]]", "]",   "[a-]", "[[:a]"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (filter_add(f, false, good[i], NULL) != 0)
            fail_msg("\"%s\" was refused", good[i]);
    filter_free(f);
}

static void there_are_limits(void **state)
{
    (void)state;
    struct filter *f = filter_new();
    struct err e = {0};
    char *long_one = malloc(PATTERN_MAX + 2);
    memset(long_one, 'a', PATTERN_MAX + 1);
    long_one[PATTERN_MAX + 1] = '\0';
    assert_int_equal(filter_add(f, false, long_one, &e), ERR_USAGE);
    assert_int_equal(filter_add(f, false, long_one + 1, &e), 0);
    assert_true(filter_excludes(f, long_one, PATTERN_MAX, false));
    long_one[PATTERN_MAX] = '?';
    assert_int_equal(filter_add(f, false, long_one + 1, &e), 0);
    long_one[PATTERN_MAX] = 'b';
    assert_true(filter_excludes(f, long_one + 1, PATTERN_MAX, false));
    while (filter_count(f) < FILTER_RULES_MAX)
        assert_int_equal(filter_add(f, true, "x", &e), 0);
    assert_int_equal(filter_add(f, true, "x", &e), ERR_USAGE);
    assert_int_equal(filter_add(f, true, "!", &e), 0);
    assert_int_equal(filter_count(f), 0);
    free(long_one);
    filter_free(f);
}

/* A pattern that makes backtracking exponential, or cubic. */
static void many_stars_are_not_slow(void **state)
{
    (void)state;
    static const char *const parts[] = {"*a", "**a", "*?", "**/a", "[ab]*", "*a**"};
    char path[4095];
    memset(path, 'a', sizeof path);
    clock_t before = clock();
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char pattern[PATTERN_MAX + 1] = "";
        while (strlen(pattern) + strlen(parts[i]) < 1500)
            strcat(pattern, parts[i]);
        strcat(pattern, "[x]*");
        struct filter *f = filter_of(pattern);
        for (size_t k = 0; k < 2; k++) {
            assert_false(filter_excludes(f, path, sizeof path, false));
            for (size_t n = 1; n < sizeof path; n += 2)
                path[n] = '/';
        }
        memset(path, 'a', sizeof path);
        filter_free(f);
    }
    assert_true((clock() - before) / CLOCKS_PER_SEC < 20); /* about 0.1 s; backtracking: for ever */
}

static void through_a_message(void **state)
{
    (void)state;
    struct filter *f = filter_of("+ d/|*.o|/a|- - x"), *g;
    struct buf b = {0};
    struct err e = {0};
    filter_put(f, &b);
    for (size_t n = 0; n < b.len; n++) {
        struct rd cut = rd_of(b.data, n);
        assert_null(filter_get(&cut, &e));
        assert_int_equal(e.code, ERR_FORMAT);
    }
    buf_u8(&b, 7);
    struct rd in = rd_of(b.data, b.len);
    g = filter_get(&in, &e);
    assert_non_null(g);
    assert_int_equal(rd_left(&in), 1);
    assert_int_equal(filter_count(g), 4);
    assert_false(filter_excludes(g, "d", 1, true));
    assert_true(excludes(g, "d/x.o"));
    assert_true(excludes(g, "a"));
    assert_false(excludes(g, "b/a"));
    assert_true(excludes(g, "- x"));
    assert_false(excludes(g, "x"));
    filter_free(g);
    filter_free(f);

    b.len = 0;
    filter_put(NULL, &b);
    in = rd_of(b.data, b.len);
    g = filter_get(&in, &e);
    assert_non_null(g);
    assert_int_equal(filter_count(g), 0);
    filter_free(g);
    buf_free(&b);
}

static void bad_messages_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x01\x02\x01" "a", 4}, {"\x01\x00\x00", 3}, {"\x01\x00\x02" "[a", 5}, {"\x01\x00\x03" "a\0b", 6},
        {"\xff\xff\xff\xff\x7f", 5}, {"\x01\x00\x80\x20", 4}, {"\x02\x00\x01" "a", 4},
        {"\x01\x00\xff\xff\xff\xff\x0f", 7}, {"\x01\x00\x02*\\", 5}, {"\x80", 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rd in = rd_of(bad[i].bytes, bad[i].n);
        struct err e = {0};
        assert_null(filter_get(&in, &e));
        assert_int_equal(e.code, ERR_FORMAT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_rsync_does),
        cmocka_unit_test(no_rules_exclude_nothing),
        cmocka_unit_test(names_are_bytes),
        cmocka_unit_test(named_classes),
        cmocka_unit_test(bad_patterns_are_refused),
        cmocka_unit_test(there_are_limits),
        cmocka_unit_test(many_stars_are_not_slow),
        cmocka_unit_test(through_a_message),
        cmocka_unit_test(bad_messages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
