/*
 * Sources are written as words: a file "a", a directory "d/", a symlink "l>"; "~" waits once, "!" fails. A
 * row comes out as its path, ':' and one letter for each member (f, d, l, - for nothing), and on mixed rows
 * '+' when it forks.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "plan/merge.h"

struct words {
    const char *at;
    struct entry *entry; /* made anew each time, so that a stale use is seen by the sanitizer */
    char *path;
};

static void forget(struct words *w)
{
    free(w->entry);
    free(w->path);
    w->entry = NULL;
    w->path = NULL;
}

static int next_word(void *ctx, const struct entry **e, struct err *err)
{
    struct words *w = ctx;
    forget(w);
    w->at += strspn(w->at, " ");
    size_t n = strcspn(w->at, " ");
    const char *word = w->at;
    w->at += n;
    if (n == 0)
        return MERGE_END;
    if (word[0] == '~')
        return MERGE_WAIT;
    if (word[0] == '!')
        return err_set(err, ERR_PROTO, "source broke");
    w->entry = mem_zalloc(sizeof *w->entry);
    w->entry->kind = word[n - 1] == '/' ? ENTRY_DIR : word[n - 1] == '>' ? ENTRY_LINK : ENTRY_FILE;
    if (w->entry->kind != ENTRY_FILE)
        n--;
    w->path = mem_strndup(word, n);
    w->entry->path = w->path;
    w->entry->path_len = n;
    *e = w->entry;
    return MERGE_READY;
}

static size_t show_row(char *out, size_t size, const struct merge_row *row)
{
    size_t n = (size_t)snprintf(out, size, "%s:", row->path);
    assert_int_equal(strlen(row->path), row->path_len);
    for (unsigned i = 0; i < row->members; i++) {
        const struct entry *at = row->at[i];
        if (at) {
            assert_int_equal(at->path_len, row->path_len);
            assert_memory_equal(at->path, row->path, row->path_len);
        }
        out[n++] = !at ? '-' : at->kind == ENTRY_DIR ? 'd' : at->kind == ENTRY_LINK ? 'l' : 'f';
    }
    if (row->forked)
        out[n++] = '+';
    out[n++] = ' ';
    out[n] = '\0';
    return n;
}

struct outcome {
    char rows[8192];
    unsigned waits, failed;
    int rc;
    struct err err;
};

/* Runs a merge to its end. */
static void run(const char *const *source, unsigned n, struct outcome *o)
{
    struct words words[PLAN_MEMBERS_MAX] = {0};
    struct merge_source from[PLAN_MEMBERS_MAX];
    for (unsigned i = 0; i < n; i++) {
        words[i].at = source[i];
        from[i] = (struct merge_source){next_word, &words[i]};
    }
    memset(o, 0, sizeof *o);
    o->failed = 99;
    struct merge *m = merge_new(from, n);
    struct merge_row row;
    size_t used = 0;
    while ((o->rc = merge_next(m, &row, &o->failed, &o->err)) > 0) {
        if (o->rc == MERGE_WAIT)
            o->waits++;
        else
            used += show_row(o->rows + used, sizeof o->rows - used, &row);
        assert_true(used + 256 < sizeof o->rows && o->waits < 1000);
    }
    merge_free(m);
    for (unsigned i = 0; i < n; i++)
        forget(&words[i]);
}

struct good_case {
    const char *source[4];
    unsigned n;
    const char *rows;
    unsigned waits;
};

static const struct good_case GOOD[] = {
    {{NULL}, 0, "", 0},
    {{""}, 1, "", 0},
    {{"", "", ""}, 3, "", 0},
    {{"a b c"}, 1, "a:f b:f c:f ", 0},
    {{"a b c", "a b c"}, 2, "a:ff b:ff c:ff ", 0},
    {{"a c", "b d"}, 2, "a:f- b:-f c:f- d:-f ", 0},
    {{"", "a"}, 2, "a:-f ", 0},
    {{"z", "a z", "b z"}, 3, "a:-f- b:--f z:fff ", 0},
    /* '/' sorts before everything else */
    {{"d/ d/z d! d.x", "d/ d! da"}, 2, "d:dd d/z:f- d!:ff d.x:f- da:-f ", 0},
    /* kinds: only a directory against another kind is mixed */
    {{"a", "a>"}, 2, "a:fl ", 0},
    {{"a/", "a/"}, 2, "a:dd ", 0},
    {{"a/", "a"}, 2, "a:df+ ", 0},
    {{"a/", "a>"}, 2, "a:dl+ ", 0},
    {{"a/ a/x", "a"}, 2, "a:df+ a/x:f- ", 0},
    {{"a", "a/ a/x"}, 2, "a:fd+ a/x:-f ", 0},
    {{"a", "a/", "a/ a/s/"}, 3, "a:fdd+ a/s:--d ", 0},
    {{"a/ a/x", "a/ a/y", "a"}, 3, "a:ddf+ a/x:f-- a/y:-f- ", 0},
    {{"a/ ab", "a ab"}, 2, "a:df+ ab:ff ", 0},
    {{"a/ a!", "a a!"}, 2, "a:df+ a!:ff ", 0},
    /* mixed rows one after the other, one below the other, at the end */
    {{"a/ b/ b/x c", "a b c/"}, 2, "a:df+ b:df+ b/x:f- c:fd+ ", 0},
    {{"a/ a/b/ a/b/c", "a/ a/b", "a"}, 3, "a:ddf+ a/b:df-+ a/b/c:f-- ", 0},
    /* waiting, also in the look behind a mixed row, also at the very end */
    {{"~ a", "a"}, 2, "a:ff ", 1},
    {{"~ a", "~ a"}, 2, "a:ff ", 1},
    {{"~ ~ a", "~ a ~"}, 2, "a:ff ", 3},
    {{"a ~ b", "a b"}, 2, "a:ff b:ff ", 1},
    {{"a/ ~ a/x", "a ~ ~ b"}, 2, "a:df+ a/x:f- b:-f ", 2},
    {{"a/ ~ ~", "a"}, 2, "a:df+ ", 2},
    {{"a/ ~ b", "b"}, 2, "a:d- b:ff ", 1},
    {{"a/ ~ a/b/ ~ a/b/c ~ z", "a/ ~ ~ a/b ~", "a"}, 3, "a:ddf+ a/b:df-+ a/b/c:f-- z:f-- ", 4},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        struct outcome o;
        run(GOOD[i].source, GOOD[i].n, &o);
        if (o.rc != MERGE_END || strcmp(o.rows, GOOD[i].rows) != 0 || o.waits != GOOD[i].waits)
            fail_msg("case %zu: rc %d, waits %u, rows \"%s\", not \"%s\"", i, o.rc, o.waits, o.rows,
                     GOOD[i].rows);
    }
}

struct bad_case {
    const char *source[3];
    unsigned n;
    const char *rows; /* those before the error */
    unsigned failed;
    int code;
    const char *says;
};

static const struct bad_case BAD[] = {
    {{"a", "!"}, 2, "", 1, ERR_PROTO, "source broke"},
    {{"a b", "a !"}, 2, "a:ff ", 1, ERR_PROTO, "source broke"},
    {{"b a", "b c"}, 2, "b:ff ", 0, ERR_FORMAT, "\"a\" is out of order: it comes behind \"b\""},
    {{"b c", "b a"}, 2, "b:ff ", 1, ERR_FORMAT, "\"a\" is out of order: it comes behind \"b\""},
    {{"a a"}, 1, "a:f ", 0, ERR_FORMAT, "out of order"},
    {{"a b", "b", "a a"}, 3, "a:f-f ", 2, ERR_FORMAT, "out of order"},
    {{"b a", "a b"}, 2, "a:-f b:ff ", 0, ERR_FORMAT, "\"a\" is out of order: it comes behind \"b\""},
    {{"d/ d! d/x"}, 1, "d:d d!:f ", 0, ERR_FORMAT, "out of order"},
    /* both wrong in the same way: each is looked at */
    {{"b a", "b a"}, 2, "b:ff ", 0, ERR_FORMAT, "out of order"},
    /* found behind a row that forks */
    {{"a/ a", "a"}, 2, "a:df+ ", 0, ERR_FORMAT, "out of order"},
    {{"a/ b", "a !"}, 2, "a:df+ ", 1, ERR_PROTO, "source broke"},
    {{"/"}, 1, "", 0, ERR_FORMAT, "out of order"}, /* an empty path */
};

static void test_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct outcome o;
        run(BAD[i].source, BAD[i].n, &o);
        if (o.rc != BAD[i].code || strcmp(o.rows, BAD[i].rows) != 0 || o.failed != BAD[i].failed ||
            o.err.code != o.rc || !strstr(o.err.msg, BAD[i].says))
            fail_msg("case %zu: rc %d, failed %u, \"%s\", rows \"%s\"", i, o.rc, o.failed, o.err.msg, o.rows);
    }
}

static void test_path_too_long(void **state)
{
    (void)state;
    char *path = mem_alloc(PATH_LEN_MAX + 2);
    memset(path, 'x', PATH_LEN_MAX + 1);
    path[PATH_LEN_MAX + 1] = '\0';
    struct outcome o;
    const char *source[] = {"a", path};
    run(source, 2, &o);
    assert_int_equal(o.rc, ERR_FORMAT);
    assert_int_equal(o.failed, 1);
    free(path);
}

static uint64_t dice(uint64_t *seed, uint64_t sides)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed % sides;
}

/* All paths that a random world may use, in order. */
static const char *const PATHS[] = {"a", "a/b", "a/b/c", "a/d", "a!", "b", "b/x", "c"};
#define PATHS_N (sizeof PATHS / sizeof PATHS[0])

/* kind[p]: 0 for nothing, else an entry_kind; whatever has something below it is a directory. */
static void random_tree(uint64_t *seed, char kind[PATHS_N])
{
    for (size_t p = PATHS_N; p-- > 0;) {
        bool below = false;
        for (size_t k = p + 1; k < PATHS_N; k++)
            below |= kind[k] && path_below(PATHS[k], strlen(PATHS[k]), PATHS[p], strlen(PATHS[p]));
        kind[p] = below ? ENTRY_DIR : (char)dice(seed, 4);
    }
}

static void write_source(uint64_t *seed, const char kind[PATHS_N], char *out)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t p = 0; p <= PATHS_N; p++) {
        while (dice(seed, 5) == 0)
            n += (size_t)sprintf(out + n, "~ ");
        if (p < PATHS_N && kind[p])
            n += (size_t)sprintf(out + n, "%s%s ", PATHS[p],
                                 kind[p] == ENTRY_DIR ? "/" : kind[p] == ENTRY_LINK ? ">" : "");
    }
}

static void expect_rows(char (*kind)[PATHS_N], unsigned members, char *out)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t p = 0; p < PATHS_N; p++) {
        struct entry entry[4];
        struct merge_row row = {.path = PATHS[p], .path_len = strlen(PATHS[p]), .members = members};
        bool dirs = false, others = false;
        for (unsigned i = 0; i < members; i++) {
            if (!kind[i][p])
                continue;
            entry[i] = (struct entry){.path = PATHS[p], .path_len = row.path_len,
                                      .kind = (enum entry_kind)kind[i][p]};
            row.at[i] = &entry[i];
            dirs |= kind[i][p] == ENTRY_DIR;
            others |= kind[i][p] != ENTRY_DIR;
        }
        row.forked = dirs && others;
        if (dirs || others)
            n += show_row(out + n, 4096 - n, &row);
    }
}

/* Random trees with random waits against the obvious answer. */
static void test_random(void **state)
{
    (void)state;
    uint64_t seed = 20240917;
    for (int round = 0; round < 3000; round++) {
        unsigned members = 1 + (unsigned)dice(&seed, 4);
        char kind[4][PATHS_N], text[4][512], want[4096];
        const char *source[4];
        for (unsigned i = 0; i < members; i++) {
            random_tree(&seed, kind[i]);
            write_source(&seed, kind[i], text[i]);
            source[i] = text[i];
        }
        expect_rows(kind, members, want);
        struct outcome o;
        run(source, members, &o);
        if (o.rc != MERGE_END || strcmp(o.rows, want) != 0)
            fail_msg("round %d: rc %d, rows \"%s\", not \"%s\"", round, o.rc, o.rows, want);
    }
}

static void test_all_members(void **state)
{
    (void)state;
    const char *source[PLAN_MEMBERS_MAX];
    for (unsigned i = 0; i < PLAN_MEMBERS_MAX; i++)
        source[i] = i == 63 ? "a/ a/x" : i % 2 ? "a" : "a/";
    struct outcome o;
    run(source, PLAN_MEMBERS_MAX, &o);
    assert_int_equal(o.rc, MERGE_END);
    assert_non_null(strstr(o.rows, "dfdd+ a/x:----"));
    assert_int_equal(strlen(o.rows), strlen("a:+ a/x: ") + 2 * PLAN_MEMBERS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_path_too_long), cmocka_unit_test(test_random),
        cmocka_unit_test(test_all_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
