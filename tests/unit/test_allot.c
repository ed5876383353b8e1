/*
 * Tables of tiny worlds: who has an object, and what a run is to do about it.
 *
 * On the left, what is said of each of the members a to e that is not without the object: "x", or the newer "y", or "/", an old
 * directory, with "!" damaged,
 * with "?" not to be looked at, in parentheses the holders recorded with it; or "away", which is for too long; "believed", which is
 * not; "strange", of which not even the identity is known. "o=b": who recorded it as the origin, else a; "o=z" is nobody's; "o=?"
 * each calls itself so.
 *
 * On the right, who has it and who will; "+" who gets content; whose record alone is renewed; "-" who gives it up once
 * those are known to hold it; a new origin.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "group/conf.h"
#include "plan/allot.h"

#define MEMBERS 5u
#define CONF "[g]\na: /a\nb: /b\nc: /c\nd: /d\ne: /e\n"

struct world {
    struct groups groups;
    struct policy *policy;
    struct allot_group g;
    struct entry entry[MEMBERS];
    struct merge_row row;
    struct verdict v;
    struct allotment a;
};

static uint64_t bit(unsigned i)
{
    return UINT64_C(1) << i;
}

static struct uuid who(char letter)
{
    struct uuid id = {{0}};
    id.b[0] = (uint8_t)(letter - 'a' + 1);
    return id;
}

/* For the path "p", member a has the highest rank, then b, and so on. */
static void rank_by_letter(struct place_world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        for (unsigned k = i + 1; k < MEMBERS; k++)
            if (place_rank(w, "p", 1, i) < place_rank(w, "p", 1, k)) {
                uint64_t t = w->seed[i];
                w->seed[i] = w->seed[k];
                w->seed[k] = t;
            }
}

/* The text behind " LETTER=" in a line; "." where there is none. */
static const char *said(const char *line, char letter)
{
    char find[] = {' ', letter, '=', '\0'};
    const char *p = strstr(line, find);
    return p ? p + 3 : ".";
}

static void make_entry(struct entry *e, const char *text, char origin)
{
    struct uuid a = who('a');
    *e = (struct entry){.path = "p", .path_len = 1, .kind = ENTRY_FILE, .mode = 0644, .size = 1, .first_seen = 1,
                        .origin = who(origin), .mtime = {*text, 0}, .digest = digest_of(text, 1)};
    if (*text == '/')
        *e = (struct entry){.path = "p", .path_len = 1, .kind = ENTRY_DIR, .mode = 0755, .first_seen = 1, .origin = who(origin)};
    assert_int_equal(version_set(&e->version, &a, *text == '/' ? 1 : (uint64_t)(*text - 'v')), 0);
    for (text++; *text && *text != ' '; text++) {
        struct uuid id = who(*text);
        if (*text == '!')
            e->flags |= ENTRY_DAMAGED;
        else if (*text == '?')
            e->flags |= ENTRY_UNKNOWN;
        else if (*text != '(' && *text != ')')
            assert_int_equal(holders_add(&e->holders, &id), 0);
    }
}

static void make_member(struct world *w, const char *line, unsigned i)
{
    struct allot_group *g = &w->g;
    char letter = (char)('a' + i), origin = *said(line, 'o');
    const char *text = said(line, letter);
    g->part[i] = PLAN_NOBODY;
    g->world.room[i] = UINT64_MAX;
    g->id[i] = who(letter);
    g->world.seed[i] = place_seed(&g->id[i]);
    if (*text == 'a' || *text == 'b' || *text == 's') {
        g->world.away |= bit(i);
        g->believed |= *text == 'b' ? bit(i) : 0;
        g->world.gone |= *text == 'b' ? 0 : bit(i);
        if (*text == 's')
            g->id[i] = (struct uuid){{0}};
        return;
    }
    g->number[w->row.members] = (uint8_t)i;
    g->part[i] = (uint8_t)w->row.members;
    if (*text != '.') {
        make_entry(&w->entry[i], text, origin == '.' ? 'a' : origin == '?' ? letter : origin);
        w->row.at[w->row.members] = &w->entry[i];
    }
    w->row.members++;
}

static struct world *world_new(const char *policy, const char *line)
{
    char text[200];
    struct err e;
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->policy = policy_new();
    int n = snprintf(text, sizeof text, "[group g]\n%s\n", policy);
    assert_int_equal(conf_parse(&w->groups, "c", CONF, strlen(CONF), &e), 0);
    assert_int_equal(policy_parse(w->policy, "f", text, (size_t)n, &e), 0);
    assert_int_equal(policy_apply(w->policy, &w->groups, POLICY_CONF, &e), 0);
    w->g.policy = policy_bind(w->policy, &w->groups.group[0]);
    w->g.world.members = MEMBERS;
    w->row.path = "p";
    w->row.path_len = 1;
    for (unsigned i = 0; i < MEMBERS; i++)
        make_member(w, line, i);
    rank_by_letter(&w->g.world);
    return w;
}

static void world_free(struct world *w)
{
    group_policy_free(w->g.policy);
    policy_free(w->policy);
    groups_free(&w->groups);
    free(w);
}

static void judge(struct world *w)
{
    static const struct plan_rules rules = {PLAN_NEWEST, PLAN_NOBODY, false};
    struct err e;
    assert_int_equal(reconcile(&w->row, &rules, false, &w->v, &e), 0);
    assert_false(w->v.skip || w->v.lost);
    allot(&w->g, &w->row, &w->v, &w->a);
}

static char *put_letters(char *out, const char *what, uint64_t members)
{
    out += sprintf(out, "%s", members || strchr(what, '>') ? what : "");
    for (unsigned i = 0; i < MEMBERS; i++)
        if (members >> i & 1)
            *out++ = (char)('a' + i);
    *out = '\0';
    return out;
}

/* Numbered as in the plan, with this need; to the group's numbers. */
static uint64_t that_need(const struct world *w, uint64_t parts, unsigned from, unsigned to)
{
    uint64_t out = 0;
    for (unsigned i = 0; i < w->row.members; i++)
        if (parts >> i & 1 && w->v.need[i] >= from && w->v.need[i] <= to)
            out |= bit(w->g.number[i]);
    return out;
}

static void show(const struct world *w, const char *line, char *out)
{
    char origin = *said(line, 'o');
    struct uuid old = who(origin == '.' ? 'a' : origin);
    out = put_letters(out, "", w->a.before);
    out = put_letters(out, " => ", w->a.after);
    out = put_letters(out, " +", that_need(w, w->a.wanted, NEED_META, NEED_REMOVE));
    out = put_letters(out, " record ", that_need(w, w->a.wanted, NEED_RECORD, NEED_RECORD));
    out = put_letters(out, " -", that_need(w, w->a.drop, 0, NEED_PRUNE));
    if (w->a.drop)
        out = put_letters(out, " once ", that_need(w, w->a.keep, 0, NEED_PRUNE));
    if (!uuid_same(&old, &w->v.winner.origin))
        sprintf(out, " origin %c", w->v.winner.origin.b[0] + 'a' - 1);
}

/* What is recorded is who will have it: all of those whose identity is known. */
static void check_recorded(const struct world *w)
{
    const struct holders *h = &w->v.winner.holders;
    assert_true(holders_valid(h));
    assert_int_equal(h->n, __builtin_popcountll(w->a.after));
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_int_equal(holders_have(h, &w->g.id[i]), w->a.after >> i & 1);
}

struct line {
    const char *policy, *world, *want;
};

static void run_lines(const struct line *t, size_t n)
{
    unsigned wrong = 0;
    for (size_t i = 0; i < n; i++) {
        char got[200];
        struct world *w = world_new(t[i].policy, t[i].world);
        judge(w);
        show(w, t[i].world, got);
        check_recorded(w);
        world_free(w);
        if (strcmp(got, t[i].want) != 0) {
            print_error("%s |%s: \"%s\", not \"%s\"\n", t[i].policy, t[i].world, got, t[i].want);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

#define LINES(t) run_lines(t, sizeof t / sizeof t[0])

static void all_are_here(void **state)
{
    static const struct line t[] = {
        /* a new object: the others get it with its holders, the origin is told of them */
        {"replicas: 1", " a=x", "a => ab +b record a"},
        {"replicas: 2\npreferred: e d", " a=x", "a => ade +de record a"},
        {"replicas: 0", " a=x", "a => a record a"},
        {"blocked: c", " a=x", "a => abde +bde record a"},
        /* a record is renewed only where it says something else */
        {"replicas: 1", " a=x(ab) b=x(ab)", "ab => ab"},
        {"replicas: 1", " a=x(ab) b=x", "ab => ab record b"},
        {"replicas: 1", " a=x(abc) b=x(ab)", "ab => ab record a"},
        {"replicas: 2", " a=x(ab) b=x(ab)", "ab => abc +c record ab"},
        /* surplus goes once the others are known to hold it; whoever gives it up is told nothing */
        {"replicas: 1", " a=x(abc) b=x(abc) c=x(abc)", "abc => ab record ab -c once ab"},
        {"replicas: 0", " a=x(ab) b=x(ab)", "ab => a record a -b once a"},
        {"replicas: 1\npreferred: d", " a=x(ab) b=x(ab)", "ab => ad +d record a -b once ad"},
        {"replicas: 1\nblocked: b", " a=x(ab) b=x(ab)", "ab => ac +c record a -b once ac"},
        {"replication: disallowed", " a=x(abc) b=x(abc) c=x(abc)", "abc => a record a -bc once a"},
        /* an older version counts: it is brought up to date, or goes */
        {"replicas: 1", " a=y b=x(ab)", "ab => ab +b record a"},
        {"replicas: 1", " a=x(ab) b=y", "ab => ab +a record b"},
        {"replicas: 1", " a=y b=x(abc) c=x(abc)", "abc => ab +b record a -c once ab"},
        {"replicas: 1", " a=x(ab) b=x(ab) c=y", "abc => ab +ab -c once ab"},
        /* damaged copies do not count: they are healed, or go */
        {"replicas: 1", " a=x(ab) b=x!(ab)", "a => ab +b"},
        {"replicas: 1", " a=x!(ab) b=x(ab)", "b => ab +a"},
        {"replicas: 1", " a=x(ab) b=x(ab) c=x!(abc)", "ab => ab -c once ab"},
        {"replicas: 1\nblocked: b", " a=x(ab) b=x!(ab)", "a => ac +c record a -b once ac"},
        /* a directory is no copy: it becomes one, or goes */
        {"replicas: 1", " a=x b=/ c=/", "a => ab +b record a -c once ab"},
        {"replicas: 1\nblocked: b", " a=x(ac) b=/ c=x(ac)", "ac => ac -b once ac"},
        /* an origin that nobody is: it passes to a holder, and that is recorded */
        {"replicas: 0", " o=z b=x c=x", "bc => b record b -c once b origin b"},
        {"replicas: 1", " o=z b=x(bc) c=x(bc)", "bc => bc record bc origin b"},
        {"replicas: 0\nblocked: a", " b=x(bc) c=x(bc)", "bc => b record b -c once b origin b"},
        /* of several who have it when it is first seen the first that is not blocked; it is no blocked one's replica then */
        {"replicas: 0", " o=? a=x b=x c=x", "abc => a record a -bc once a origin a"},
        {"replicas: 0\nblocked: a", " o=? a=x b=x c=x", "abc => b record b -ac once b origin b"},
        {"replicas: 0\nblocked: a b c", " o=? a=x b=x c=x", "abc => a record a -bc once a origin a"},
        {"replicas: 1\nblocked: a", " o=? a=x b=y", "ab => bc +c record b -a once bc origin b"},
        /* but not once a run has settled who it is */
        {"replicas: 0\nblocked: b", " o=? a=x b=x(b)", "ab => b -a once b origin b"},
        {"replicas: 0\nblocked: b", " o=? a=x(a) b=x(b)", "ab => a -b once a origin a"},
        /* nor does whoever makes a version of his own become it then */
        {"replicas: 0", " o=? a=x(a) c=y", "ac => a +a -c once a origin a"},
        {"replicas: 1", " o=? b=x(b) c=y d=x(b)", "bcd => bc +b record c -d once bc origin b"},
        /* and one that lost it gets it back */
        {"replicas: 1", " b=x(ab)", "b => ab +a"},
    };
    (void)state;
    LINES(t);
}

static void some_are_away(void **state)
{
    static const struct line t[] = {
        /* believed: what is said of it counts, but nothing goes that counts on it */
        {"replicas: 1", " a=x(ab) b=believed", "ab => ab"},
        {"replicas: 1", " a=x(abc) b=believed c=x(abc)", "abc => abc"},
        {"replicas: 1", " a=x(abcd) b=believed c=x(abcd) d=x(abcd)", "abcd => abc record a -d once ac"},
        {"replicas: 2", " a=believed b=x(abc) c=x(abc)", "abc => abc"},
        /* a blocked copy goes only for one that is there, unless nobody else is to be waited for */
        {"replicas: 1\nblocked: b", " a=x(ab) b=x(ab) c=believed d=believed e=believed", "ab => ab"},
        {"replicas: 1\nblocked: b", " a=x(ab) b=x(ab) c=believed d=away e=away", "ab => ab"},
        {"replicas: 1\nblocked: b", " a=x(ab) b=x(ab) c=away d=away e=strange", "ab => a record a -b once a"},
        {"replicas: 1\nblocked: b", " a=x(ab) b=x(ab) c=believed d=believed", "ab => ae +e record a -b once ae"},
        {"replicas: 0\nblocked: b", " a=x(ab) b=x(ab) c=believed d=believed e=believed", "ab => a record a -b once a"},
        /* a blocked original that is away is no lost one, though it may be an old version; it is stood in for */
        {"replicas: 0\nblocked: a", " a=believed b=y c=x(abc)", "bc => b record b -c once b"},
        {"replicas: 0\nblocked: a", " a=away b=y c=x(abc)", "bc => b record b -c once b origin b"},
        /* an older version that is to stand in is brought up to date first */
        {"replicas: 0", " a=believed b=x(abc) c=y(ac)", "abc => ab +b -c once b"},
        /* believed, but nobody says that it has it */
        {"replicas: 1", " a=x b=believed", "a => ac +c record a"},
        {"replicas: 1", " a=x(a) b=believed", "a => ac +c record a"},
        /* an edit has made its copy an old one, and forgets who held it */
        {"replicas: 1", " a=y b=believed c=x(abc)", "ac => ac +c record a"},
        /* away for too long: replaced, and forgotten */
        {"replicas: 1", " a=x(ab) b=away", "a => ac +c record a"},
        {"replicas: 1", " a=away b=x(ab)", "b => bc +c record b"},
        {"replicas: 1", " a=away b=x(abc) c=x(abc)", "bc => bc record bc"},
        /* an identity that nobody remembers is nobody's */
        {"replicas: 1", " a=x(ab) b=strange", "a => ac +c record a"},
        {"replicas: all", " a=x(ade) b=strange c=away d=x(ade) e=x(ade)", "ade => ade"},
        /* who cannot look keeps it, and it counts as if he were away */
        {"replicas: 1", " a=x(ab) b=x?(ab)", "ab => ab"},
        {"replicas: 1", " a=x(abc) b=x?(abc) c=x(abc)", "abc => abc"},
        {"replicas: 0", " a=x?(ab) b=x(ab)", "ab => ab"},
    };
    (void)state;
    LINES(t);
}

static void what_is_planned_takes_room(void **state)
{
    struct world *w = world_new("replicas: 1", " a=x");
    (void)state;
    w->g.world.room[1] = 1;
    judge(w);
    assert_int_equal(w->a.after, bit(0) | bit(1));
    assert_int_equal(w->g.world.room[1], 0);
    judge(w);
    assert_int_equal(w->a.after, bit(0) | bit(2));
    assert_int_equal(w->g.world.room[2], UINT64_MAX);
    world_free(w);
}

static void a_reason_for_each_that_goes(void **state)
{
    static const struct {
        const char *policy;
        enum plan_reason reason;
    } t[] = {
        {"replicas: 0", REASON_SURPLUS},
        {"replicas: 1\npreferred: c", REASON_SURPLUS},
        {"replication: disallowed", REASON_DISALLOWED},
        {"replicas: 1\nblocked: b", REASON_BLOCKED},
        {"replication: disallowed\nblocked: b", REASON_BLOCKED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct world *w = world_new(t[i].policy, " a=x b=x");
        judge(w);
        assert_int_equal(w->a.drop, bit(1));
        assert_int_equal(allot_reason(&w->g, &w->a, 1), t[i].reason);
        world_free(w);
    }
}

static void a_reason_for_each_that_gets_it(void **state)
{
    static const struct {
        const char *policy, *world;
        unsigned part;
        enum plan_reason reason;
    } t[] = {
        {"replicas: 1", " a=x b=.", 1, REASON_NEW}, /* never placed */
        {"replicas: 2", " a=x(ab) b=x(ab)", 2, REASON_FEW},
        {"replicas: 2\npreferred: d", " a=x(ab) b=x(ab)", 3, REASON_PREFERRED},
        {"replicas: 1\npreferred: b", " a=x(ab) b=.", 1, REASON_LOST},
        {"replicas: 1", " b=x(ab)", 0, REASON_LOST},
        {"replicas: 1\nblocked: a", " o=b a=x(abc) b=x(ab)", 2, REASON_FEW}, /* b knows better, in any order */
        {"replicas: 1\nblocked: b", " a=x(ab) b=x(abc)", 2, REASON_FEW},
        {"replicas: 1", " a=x(ab) b=y", 0, REASON_CHANGED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct world *w = world_new(t[i].policy, t[i].world);
        judge(w);
        assert_true(w->a.wanted >> t[i].part & 1);
        assert_int_equal(w->v.reason[t[i].part], t[i].reason);
        world_free(w);
    }
}

/* Numbers in the plan are others than in the group where somebody is away. */
static void numbers_are_translated(void **state)
{
    struct world *w = world_new("replicas: 0\nblocked: d", " a=away o=c c=x d=x e=x");
    (void)state;
    judge(w);
    assert_int_equal(w->a.before, bit(2) | bit(3) | bit(4));
    assert_int_equal(w->a.after, bit(2));
    assert_int_equal(w->a.wanted, bit(1));
    assert_int_equal(w->a.drop, bit(2) | bit(3));
    assert_int_equal(w->a.keep, bit(1));
    assert_int_equal(allot_reason(&w->g, &w->a, 2), REASON_BLOCKED);
    assert_int_equal(allot_reason(&w->g, &w->a, 3), REASON_SURPLUS);
    assert_int_equal(w->g.world.away, bit(0));
    world_free(w);
}

/* An object that no row has, such as a version that is kept under a name of its own. */
static void without_a_row(void **state)
{
    struct world *w = world_new("replicas: 1\npreferred: c", " a=x b=x");
    struct err e;
    static const struct plan_rules rules = {PLAN_NEWEST, PLAN_NOBODY, false};
    (void)state;
    assert_int_equal(reconcile(&w->row, &rules, false, &w->v, &e), 0);
    w->v.holders = bit(1);
    w->v.winner.origin = who('b');
    allot(&w->g, NULL, &w->v, &w->a);
    assert_int_equal(w->a.before, bit(1));
    assert_int_equal(w->a.after, bit(1) | bit(2));
    assert_int_equal(w->a.drop, 0);
    check_recorded(w);
    world_free(w);
}

/* What of "before" is an older version, and whose copy is damaged. */
static void not_all_copies_are_good(void **state)
{
    struct world *w = world_new("replicas: 1", " a=y b=x(abcde) c=y!(abcde) d=x?(abcde) e=believed");
    (void)state;
    judge(w);
    assert_int_equal(w->a.before, bit(0) | bit(1) | bit(3));
    assert_int_equal(w->a.outdated, bit(1));
    assert_int_equal(w->a.damaged, bit(2));
    world_free(w);
    w = world_new("replicas: 1", " a=x b=/");
    judge(w);
    assert_int_equal(w->a.outdated, 0);
    assert_int_equal(w->a.damaged, bit(1));
    world_free(w);
}

/* Deleted from all that can be reached; who cannot, or does not know what he has, keeps it. */
static void what_is_deleted(void **state)
{
    static const struct { const char *world; uint64_t before, after; } t[] = {
        {" a=x(ab) b=x(ab)", 3, 0},
        {" a=x!(ab) b=y", 3, 0},
        {" a=x(abc) b=believed c=x(abc)", 7, 2},
        {" a=x(abc) b=away c=x(abc)", 5, 0},
        {" a=x(ab) b=x?(ab) c=/", 3, 2},
        {" b=x", 2, 0},
        {" a=x b=x c=x", 7, 4}, /* c takes nothing away */
    };
    static const struct plan_rules rules = {PLAN_NEWEST, PLAN_NOBODY, false};
    struct err e;
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct world *w = world_new("replicas: 1", t[i].world);
        uint64_t before, after;
        assert_int_equal(reconcile(&w->row, &rules, false, &w->v, &e), 0);
        for (unsigned k = 0; k < w->row.members; k++)
            w->v.need[k] = i < 6 || k != 2 ? NEED_REMOVE : NEED_NOTHING;
        allot_gone(&w->g, &w->row, &w->v, &before, &after);
        assert_int_equal(before, t[i].before);
        assert_int_equal(after, t[i].after);
        world_free(w);
    }
}

/* A member that takes nothing away keeps its copy, and counts as one who has it; one object is tried all the same. */
static void what_a_member_keeps(void **state)
{
    struct world *w = world_new("replicas: 1\npreferred: b", " a=x b=x c=x d=x");
    (void)state;
    w->g.keeps = bit(2) | bit(3);
    w->g.tries = bit(3);
    judge(w);
    assert_int_equal(w->a.stuck, bit(2));
    assert_int_equal(w->a.place.drop, bit(3));
    assert_int_equal(w->a.after, bit(0) | bit(1) | bit(2));
    check_recorded(w);
    judge(w);
    assert_int_equal(w->a.stuck, bit(2) | bit(3));
    assert_int_equal(w->a.drop, 0);
    assert_int_equal(w->a.after, w->a.before);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_here), cmocka_unit_test(some_are_away), cmocka_unit_test(what_is_planned_takes_room),
        cmocka_unit_test(a_reason_for_each_that_goes), cmocka_unit_test(a_reason_for_each_that_gets_it), cmocka_unit_test(numbers_are_translated),
        cmocka_unit_test(without_a_row), cmocka_unit_test(what_a_member_keeps), cmocka_unit_test(not_all_copies_are_good), cmocka_unit_test(what_is_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
