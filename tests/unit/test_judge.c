/* From rows to a plan: what hangs on what is below, removals by command, versions that are kept, and their names. */
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
#include "plan/judge.h"
#include "plan/kept.h"

#define MEMBERS_MAX 4u

struct world {
    struct judge_args args;
    const char *remove; /* a path that rm was given; NULL: none */
    bool recursive;
    char troubles[512];
};

/* ---- worlds in text ---- */

/* Member 'A' is {1, 0...}, and so on. */
static struct uuid who(char letter)
{
    struct uuid u = {{0}};
    u.b[0] = (uint8_t)(letter - 'A' + 1);
    return u;
}

/*
 * "." nothing; else KIND[VERSION][!], where KIND is "/" a directory, "-" a tombstone, "?" a directory of which nothing is known now,
 * else a letter that is a file's content (later letters are newer); VERSION is as in "A1B2"; "!" is damaged, "#" excluded.
 */
static bool parse(const char *text, const char *path, struct entry *e)
{
    *e = (struct entry){.path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0644, .first_seen = 1};
    if (*text == '.')
        return false;
    if (*text == '/' || *text == '?')
        e->kind = ENTRY_DIR, e->mode = 0755, e->flags = *text == '?' ? ENTRY_UNKNOWN : 0;
    else if (*text == '-')
        e->kind = ENTRY_GONE, e->mode = 0, e->mtime.sec = 50;
    else
        e->size = 1, e->mtime.sec = *text, e->digest = digest_of(text, 1);
    for (text++; *text; text++) {
        if (*text == '!')
            e->flags |= ENTRY_DAMAGED;
        else if (*text == '#')
            e->flags |= ENTRY_HIDDEN;
        else {
            struct uuid id = who(*text);
            assert_int_equal(version_set(&e->version, &id, (uint64_t)(text[1] - '0')), 0);
            text++;
        }
    }
    e->origin = who('A');
    return true;
}

/* ---- what is told ---- */

static void added(void *ctx, const struct plan_step *s)
{
    (void)ctx;
    (void)s;
}

static void trouble(void *ctx, const char *path, const char *why)
{
    struct world *w = ctx;
    (void)why;
    strcat(strcat(w->troubles, path), ";");
}

static bool removes(void *ctx, const struct merge_row *row)
{
    const struct world *w = ctx;
    size_t n = strlen(w->remove);
    return strcmp(row->path, w->remove) == 0 || (w->recursive && path_below(row->path, row->path_len, w->remove, n));
}

static const char *name_of(void *ctx, const struct uuid *id)
{
    static const char *const name[] = {"?", "a", "b", "c", "d"};
    (void)ctx;
    return id->b[0] < 5 ? name[id->b[0]] : name[0];
}

/* "PHASE action path member" for each target that is changed, and ";". Records are "record". */
static char *carry_out(struct plan *p, bool by_path)
{
    static const char phase[] = {[PLAN_ADD] = '1', [PLAN_KEEP] = '2', [PLAN_REMOVE] = '3', [PLAN_REPLACE] = '4'};
    char *out = mem_zalloc(16384);
    struct plan_cursor *c = by_path ? plan_cursor_new_by_path(p) : plan_cursor_new(p);
    const struct plan_step *s;
    struct err e;
    int rc;
    while ((rc = plan_cursor_next(c, &s, &e)) > 0) {
        sprintf(out + strlen(out), "%c %s", phase[s->phase], s->entry.path);
        for (unsigned i = 0; i < s->targets; i++)
            sprintf(out + strlen(out), " %s:%c", plan_action_name((enum plan_action)s->target[i].action),
                    'a' + s->target[i].member);
        strcat(out, "; ");
    }
    assert_int_equal(rc, 0);
    plan_cursor_free(c);
    return out;
}

/* Rows "path A B C" in order, one for each member; forked is what merge would say: some have a directory, some another thing. */
static struct plan *judge_all(struct world *w, const char *rows)
{
    char *copy = mem_strdup(rows), *save = NULL;
    unsigned members = 0;
    struct plan *plan = plan_new(MEMBERS_MAX, "/tmp");
    struct judge *j = NULL;
    struct err e;
    for (char *line = strtok_r(copy, ";", &save); line; line = strtok_r(NULL, ";", &save)) {
        char path[64], at[MEMBERS_MAX][16];
        int n = sscanf(line, " %63s %15s %15s %15s %15s", path, at[0], at[1], at[2], at[3]) - 1;
        assert_true(n >= 1);
        if (!j) {
            members = (unsigned)n;
            plan_free(plan);
            plan = plan_new(members, "/tmp");
            w->args.plan = plan;
            w->args.members = members;
            w->args.ctx = w;
            w->args.added = added;
            w->args.trouble = trouble;
            w->args.name_of = name_of;
            w->args.removes = w->remove ? removes : NULL;
            w->args.remover = who('A');
            w->args.now = 99;
            j = judge_new(&w->args);
        }
        static struct entry entry[MEMBERS_MAX];
        struct merge_row row = {.path = path, .path_len = strlen(path), .members = members};
        unsigned dirs = 0, others = 0;
        for (unsigned i = 0; i < members; i++) {
            if (!parse(at[i], path, &entry[i]))
                continue;
            row.at[i] = &entry[i];
            *(entry[i].kind == ENTRY_DIR ? &dirs : &others) += 1;
        }
        row.forked = dirs && others;
        assert_int_equal(judge_row(j, &row, &e), 0);
    }
    assert_int_equal(judge_end(j, &e), 0);
    judge_free(j);
    assert_int_equal(plan_end(plan, &e), 0);
    free(copy);
    return plan;
}

static void expect(struct world *w, const char *rows, const char *want)
{
    struct plan *p = judge_all(w, rows);
    char *got = carry_out(p, false);
    if (strcmp(got, want) != 0)
        fail_msg("%s\n  gives   %s\n  and not %s", rows, got, want);
    free(got);
    plan_free(p);
}

struct line {
    const char *rows, *want;
};

#define EACH(w, table) \
    for (size_t i_ = 0; i_ < sizeof table / sizeof table[0]; i_++) \
        expect(w, table[i_].rows, table[i_].want)

/* ---- branches ---- */

static void branches(void **state)
{
    static const struct line table[] = {
        /* a directory was deleted, and with it all that was in it */
        {"d -A2 /A1; d/x -A2 xA1", "3 d rmdir:b; 3 d/x delete:b; "},
        /* ... but something is new below it: it stays, and comes back where it went */
        {"d -A2 /A1; d/x -A2 xA1; d/y . yB1", "1 d mkdir:a record:b; 1 d/y copy:a; 3 d/x delete:b; "},
        /* ... or was edited */
        {"d -A2 /A1; d/x -A2 yA1B1", "1 d mkdir:a record:b; 1 d/x copy:a record:b; "},
        /* ... deep below it */
        {"d -A2 /A1; d/e -A2 /A1; d/e/x . xB1", "1 d mkdir:a record:b; 1 d/e mkdir:a record:b; 1 d/e/x copy:a; "},
        {"d -A2 /A1; d/e -A2 /A1; d/e/x -A2 xA1; d/f . xB1",
         "1 d mkdir:a record:b; 1 d/f copy:a; 3 d/e rmdir:b; 3 d/e/x delete:b; "},
        /* what is excluded or unknown below it is something, too */
        {"d -A2 /A1; d/x . x#B1", "1 d mkdir:a record:b; "},
        {"d -A2 /A1; d/e . ?B1", "1 d mkdir:a record:b; "},
        /* a file in the place of a directory waits for what was in that to go */
        {"d zA2 /A1; d/x -A2 xA1", "3 d/x delete:b; 4 d update:b; "},
        /* ... and yields where something stays */
        {"d zA2 /A1; d/x -A2 xA1; d/y . yB1", "1 d conflict:a record:b; 1 d/y copy:a; 3 d/x delete:b; "},
        /* a directory in the place of a file, and below it what makes it one */
        {"d /A2 zA1; d/x xA2 .", "1 d mkdir:b; 1 d/x copy:b; "},
        /* neighbours do not hang on each other */
        {"d -A2 /A1; d/x -A2 xA1; e -A2 /A1; e/y . yB1",
         "1 e mkdir:a record:b; 1 e/y copy:a; 3 d rmdir:b; 3 d/x delete:b; "},
        {"d -A2 /A1; d/x -A2 xA1; d2 . yB1", "1 d2 copy:a; 3 d rmdir:b; 3 d/x delete:b; "},
        /* deletions on both sides are recorded, and change nothing */
        {"d -A2 -B2; d/x -A2 -B2", "3 d record:a record:b; 3 d/x record:a record:b; "},
        /* a member that never had it remembers */
        {"x -A2 xA1 .", "3 x delete:b record:c; "},
        /* only a damaged copy is left of what was deleted: it goes as well */
        {"x -A2 x!A1", "3 x delete:b; "},
    };
    struct world w = {0};
    (void)state;
    EACH(&w, table);
    assert_string_equal(w.troubles, "");
}

static void by_path(void **state)
{
    struct world w = {0};
    (void)state;
    struct plan *p = judge_all(&w, "a . aB1; d zA2 /A1; d/x -A2 xA1; e -A2 eA1; f . fB1");
    char *got = carry_out(p, true);
    assert_string_equal(got, "1 a copy:a; 4 d update:b; 3 d/x delete:b; 3 e delete:b; 1 f copy:a; ");
    free(got);
    plan_drop_removals(p);
    got = carry_out(p, false);
    assert_string_equal(got, "1 a copy:a; 1 f copy:a; ");
    assert_int_equal(plan_totals(p)->removes[1], 0);
    assert_int_equal(plan_totals(p)->count[ACTION_DELETE], 0);
    free(got);
    plan_free(p);
}

/* ---- rm ---- */

static void condemned(void **state)
{
    static const struct line one[] = {
        {"x xA1 xA1", "3 x delete:a delete:b; "},
        {"x xA1 . yB1", "3 x delete:a record:b delete:c; "},
        {"x xA1 x!A1", "3 x delete:a delete:b; "},
        {"x -A2 yB1", "3 x record:a delete:b; "},
        /* nothing else is done, and what is excluded stays */
        {"w wA1 .; x xA1 .; y yA1 yA1", "3 x delete:a record:b; "},
        {"x x#A1 xA1", ""},
    };
    static const struct line all[] = {
        {"x /A1 /A1; x/y yA1 yA1", "3 x rmdir:a rmdir:b; 3 x/y delete:a delete:b; "},
        {"x /A1 .; x/d /A1 .; x/d/y yA1 .; z zA1 .",
         "3 x rmdir:a record:b; 3 x/d rmdir:a record:b; 3 x/d/y delete:a record:b; "},
        /* what cannot be removed keeps its directories */
        {"x /A1 /A1; x/y y#A1 .; x/z zA1 zA1", "3 x/z delete:a delete:b; "},
    };
    struct world w = {.remove = "x"};
    (void)state;
    EACH(&w, one);
    w.recursive = true;
    EACH(&w, all);
}

/* ---- a scrub ---- */

static void only_damaged(void **state)
{
    static const struct line table[] = {
        {"x xA1 x!A1 .", "1 x update:b; "},
        {"x xA1 yB1", ""},
        {"x -A2 xA1", ""},
    };
    struct world w = {.args.only_damaged = true};
    (void)state;
    EACH(&w, table);
    assert_string_equal(w.troubles, "");
    expect(&w, "x x!A1 x!A1", "");
    assert_string_equal(w.troubles, "x;");
}

/* ---- keep-both ---- */

/* "NAME" with %X for the digits of content X. Caller frees. */
static char *with_digits(const char *text)
{
    char *out = mem_zalloc(strlen(text) * 8 + 1);
    for (size_t n = 0; *text; text++) {
        if (*text == '%') {
            struct digest d = digest_of(++text, 1);
            n += (size_t)sprintf(out + n, "%02x%02x%02x%02x", d.b[0], d.b[1], d.b[2], d.b[3]);
        } else {
            out[n++] = *text;
        }
    }
    return out;
}

/* Who has the content already adopts it, which is found later: here each is a copy. */
static void keep_both(void **state)
{
    static const struct line table[] = {
        {"x.c pA1 qB1", "2 x.conflict-%p-a.c copy:a copy:b; 4 x.c conflict:a record:b; "},
        {"x.c qA1 pB1 .", "2 x.conflict-%p-b.c copy:a copy:b copy:c; 4 x.c record:a conflict:b copy:c; "},
        /* in the order of their names, one content on two members once */
        {"x pA1 pA1 qC1", "2 x.conflict-%p-a copy:a copy:b copy:c; 4 x conflict:a conflict:b record:c; "},
        {"b pA1 qB1; c pA1 qB1",
         "2 b.conflict-%p-a copy:a copy:b; 2 c.conflict-%p-a copy:a copy:b; 4 b conflict:a record:b; 4 c conflict:a record:b; "},
        /* no conflict, nothing kept */
        {"x pA1 qA2", "1 x update:a; "},
        {"x -A2 qB1", "1 x copy:a record:b; "},
        {"x p!A1 qB1", "1 x update:a record:b; "},
    };
    struct world w = {.args.rules.conflict = PLAN_KEEP_BOTH};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char *text = with_digits(table[i].want);
        expect(&w, table[i].rows, text);
        free(text);
    }
    /* A name that is there, or was deleted, is not made again. */
    char *rows = with_digits("x pA1 qB1; x.conflict-%p-a pA1 .");
    char *text = with_digits("1 x.conflict-%p-a copy:b; 4 x conflict:a record:b; ");
    expect(&w, rows, text);
    free(rows);
    free(text);
    rows = with_digits("x pA1 qB1; x.conflict-%p-a -A1 -A1");
    expect(&w, rows, "4 x conflict:a record:b; ");
    free(rows);
}

static void names(void **state)
{
    static const struct {
        const char *path, *maker, *want;
    } table[] = {
        {"x", "a", "x.conflict-%p-a"},
        {"x.tar.gz", "a", "x.tar.conflict-%p-a.gz"},
        {"d.d/x", "a", "d.d/x.conflict-%p-a"},
        {".hidden", "a", ".hidden.conflict-%p-a"},
        {"x.", "a", "x.conflict-%p-a."},
        {"x.an-extension-that-is-none", "a", "x.an-extension-that-is-none.conflict-%p-a"},
        {"x", "/srv/a b", "x.conflict-%p-a_b"},
        {"x", "ssh://e@h:22/~/st.ore", "x.conflict-%p-st_ore"},
        {"x", "/srv/", "x.conflict-%p-_srv_"},
        {"x", "a234567890123456789012345678901234567890", "x.conflict-%p-a2345678901234567890123456789012"},
    };
    struct digest p = digest_of("p", 1);
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char *want = with_digits(table[i].want), *got = kept_name(table[i].path, strlen(table[i].path), &p, table[i].maker);
        assert_non_null(got);
        assert_string_equal(got, want);
        free(want);
        free(got);
    }
}

static void long_names(void **state)
{
    char name[PATH_LEN_MAX + 200];
    struct digest p = digest_of("p", 1);
    (void)state;
    for (size_t n = 200; n <= NAME_LEN_MAX; n++) {
        memset(name, 'n', n);
        memcpy(name + n - 4, ".txt", 5);
        char *got = kept_name(name, n, &p, "member");
        assert_true(strlen(got) <= NAME_LEN_MAX);
        assert_string_equal(got + strlen(got) - strlen("-member.txt"), "-member.txt");
        free(got);
    }
    /* not in the middle of a character */
    for (size_t n = 120; n <= 127; n++) {
        for (size_t i = 0; i < n; i++)
            memcpy(name + 2 * i, "\xc3\xa9", 2);
        name[2 * n] = '\0';
        char *got = kept_name(name, 2 * n, &p, "m");
        size_t at = (size_t)(strstr(got, ".conflict-") - got);
        assert_true(at % 2 == 0 && strlen(got) <= NAME_LEN_MAX);
        free(got);
    }
    /* a path has its end */
    size_t n = 0;
    while (n < PATH_LEN_MAX - 10) {
        memset(name + n, 'd', 99);
        name[n + 99] = '/';
        n += 100;
    }
    n = PATH_LEN_MAX - 10;
    name[n - 1] = 'x';
    name[n - 2] = 'x';
    name[n] = '\0';
    assert_null(kept_name(name, n, &p, "m"));
}

static void seen(void **state)
{
    struct kept_names s = {0};
    (void)state;
    assert_false(kept_names_seen(&s, "a.conflict-x"));
    static const char *const path[] = {"a", "a.conflict-x", "b.conflict-/y", "b/d.conflict-z", "c"};
    for (size_t i = 0; i < sizeof path / sizeof path[0]; i++)
        kept_names_see(&s, path[i], strlen(path[i]));
    assert_true(kept_names_seen(&s, "a.conflict-x"));
    assert_true(kept_names_seen(&s, "b/d.conflict-z"));
    assert_false(kept_names_seen(&s, "a"));
    assert_false(kept_names_seen(&s, "b.conflict-/y")); /* only the last part counts */
    kept_names_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branches), cmocka_unit_test(by_path), cmocka_unit_test(condemned), cmocka_unit_test(only_damaged),
        cmocka_unit_test(keep_both), cmocka_unit_test(names), cmocka_unit_test(long_names), cmocka_unit_test(seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
