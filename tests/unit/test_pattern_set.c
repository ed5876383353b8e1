#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/pattern.h"
#include "object/pattern_set.h"

static bool means(const char *pattern, const char *path)
{
    struct pattern_set *s = pattern_set_new();
    struct err e;
    if (pattern_set_add(s, pattern, strlen(pattern), &e) != 0)
        fail_msg("%s: %s", pattern, e.msg);
    bool yes = pattern_set_has(s, pattern_set_match(s, path, strlen(path)), 0);
    pattern_set_free(s);
    return yes;
}

static void patterns_mean_what_they_say(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool yes;
    } t[] = {
        {"a", "a", 1}, {"a", "b/a", 1}, {"a", "a/b", 1}, {"a", "x/a/b", 1}, {"a", "ab", 0}, {"a", "ba", 0},
        {"/a", "a", 1}, {"/a", "b/a", 0}, {"/a", "a/b/c", 1}, {"a/", "a", 0}, {"a/", "a/b", 1}, {"a/", "x/a/b", 1},
        {"*.jpg", "x.jpg", 1}, {"*.jpg", "d/x.jpg", 1}, {"*.jpg", "d.jpg/x", 1}, {"*.jpg", "x.jpg2", 0},
        {"a/b", "a/b", 1}, {"a/b", "x/a/b", 1}, {"a/b", "xa/b", 0}, {"a/b", "a/b/c", 1}, {"a/*", "a/b/c", 1},
        {"/photos/**", "photos/x", 1}, {"/photos/**", "photos/x/y", 1}, {"/photos/**", "photos", 0},
        {"/photos/**", "b/photos/x", 0}, {"photos/**", "b/photos/x", 1}, {"photos/***", "b/photos/x", 1},
        {"**", "a", 1}, {"*", "a/b", 1}, {"?", "ab", 0}, {"?", "ab/c", 1}, {"**/c", "c", 1}, {"**/c", "a/b/c", 1},
        {"[a-c]x", "bx", 1}, {"[!a-c]x", "bx", 0}, {"[/a]b", "ab", 0}, {"a\\*", "a*", 1}, {"a\\*b", "a*b", 1},
        {"a**c", "x/a/b/c", 1}, {"a**c", "x/ba/b/c", 0}, {"/", "a", 0}, {"a//", "a/b", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        if (means(t[i].pattern, t[i].path) != t[i].yes)
            fail_msg("\"%s\" %s \"%s\"", t[i].pattern, t[i].yes ? "misses" : "means", t[i].path);
}

static uint64_t dice(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static size_t text_from(const char *const *word, size_t words, size_t most, char *out, uint64_t *seed)
{
    size_t n = 1 + dice(seed) % most, len = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)sprintf(out + len, "%s", word[dice(seed) % words]);
    return len;
}

/* What pattern_match says of the path and of each directory above it. */
static bool slowly(const struct pattern *p, const char *path, size_t len)
{
    for (size_t n = 1, name = 0; n <= len; n++) {
        if (n < len && path[n] != '/')
            continue;
        if (pattern_match(p, path, n, name, n < len))
            return true;
        name = n + 1;
    }
    return false;
}

static bool path_sound(const char *p, size_t len)
{
    return len && p[0] != '/' && p[len - 1] != '/' && !strstr(p, "//");
}

#define SETS 400
#define SIZE 12

static void many_at_once_are_each_alone(void **state)
{
    static const char *const glob[] = {"a", "b", "/", "*", "**", "***", "?", "[ab]", "[!a]", "[/b]", "\\a", "ab", "/a", "b/"};
    static const char *const name[] = {"a", "b", "c", "/", "ab", "/a", "b/", "ba/c"};
    uint64_t seed = 0x9e3779b97f4a7c15;
    (void)state;
    for (int round = 0; round < SETS; round++) {
        struct pattern_set *s = pattern_set_new();
        struct pattern one[SIZE];
        char text[64], path[64];
        for (size_t i = 0; i < SIZE; i++) {
            size_t n;
            do
                n = text_from(glob, sizeof glob / sizeof glob[0], 6, text, &seed);
            while (pattern_compile(&one[i], text, n, NULL) < 0);
            assert_int_equal(pattern_set_add(s, text, n, NULL), 0);
        }
        for (int k = 0; k < 100; k++) {
            size_t n = text_from(name, sizeof name / sizeof name[0], 8, path, &seed);
            if (!path_sound(path, n))
                continue;
            uint32_t answer = pattern_set_match(s, path, n);
            for (size_t i = 0; i < SIZE; i++)
                if (pattern_set_has(s, answer, i) != slowly(&one[i], path, n))
                    fail_msg("\"%s\" and \"%s\": not %d", one[i].text, path, pattern_set_has(s, answer, i));
        }
        for (size_t i = 0; i < SIZE; i++)
            pattern_free(&one[i]);
        pattern_set_free(s);
    }
}

/* Patterns of which each keeps in mind where it stands need more states than are kept: answers stay right. */
static void forgetting_changes_no_answer(void **state)
{
    enum { MANY = 40 };
    struct pattern_set *s = pattern_set_new();
    struct pattern one[MANY];
    uint64_t seed = 88172645463325252;
    (void)state;
    for (int i = 0; i < MANY; i++) {
        char text[2000];
        int n = sprintf(text, "%c*", 'a' + i % 13);
        for (int k = 0; k < 400; k++)
            n += sprintf(text + n, "%c*", 'a' + (int)(dice(&seed) % 13));
        assert_int_equal(pattern_compile(&one[i], text, (size_t)n, NULL), 0);
        assert_int_equal(pattern_set_add(s, text, (size_t)n, NULL), 0);
    }
    for (int k = 0; k < 300; k++) {
        char path[260];
        for (int i = 0; i < 250; i++)
            path[i] = i == 60 ? '/' : (char)('a' + dice(&seed) % 13);
        uint32_t answer = pattern_set_match(s, path, 250);
        for (int i = 0; i < MANY; i++)
            assert_int_equal(pattern_set_has(s, answer, (size_t)i), slowly(&one[i], path, 250));
    }
    for (int i = 0; i < MANY; i++)
        pattern_free(&one[i]);
    pattern_set_free(s);
}

static void no_patterns_mean_nothing(void **state)
{
    struct pattern_set *s = pattern_set_new();
    (void)state;
    assert_int_equal(pattern_set_match(s, "a/b", 3), pattern_set_match(s, "c", 1));
    pattern_set_free(s);
    pattern_set_free(NULL);
    s = pattern_set_new();
    struct err e;
    assert_int_equal(pattern_set_add(s, "[", 1, &e), ERR_USAGE);
    assert_int_equal(pattern_set_add(s, "", 0, &e), ERR_USAGE);
    pattern_set_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_mean_what_they_say),
        cmocka_unit_test(many_at_once_are_each_alone),
        cmocka_unit_test(forgetting_changes_no_answer),
        cmocka_unit_test(no_patterns_mean_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
