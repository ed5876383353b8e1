#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "plan/plan.h"

#define ALL UINT64_MAX

struct fixture {
    struct plan *plan;
    struct plan_cursor *cursor;
    struct plan_step step;
    struct plan_how how; /* all zero: additions that hang on nothing */
    struct verdict v;
    struct err e;
    char *tmpdir;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    const char *base = getenv("TMPDIR");
    f->tmpdir = mem_printf("%s/plan.XXXXXX", base && *base ? base : "/tmp");
    *state = f;
    return mkdtemp(f->tmpdir) ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    plan_cursor_free(f->cursor);
    plan_free(f->plan);
    int rc = rmdir(f->tmpdir); /* fails when the plan left something behind */
    free(f->tmpdir);
    free(f);
    return rc;
}

static void start(struct fixture *f, unsigned members)
{
    plan_free(f->plan);
    f->plan = plan_new(members, f->tmpdir);
}

/* A verdict of which nothing but the winner is said yet: all take part and need nothing. */
static void object(struct fixture *f, const char *path, enum entry_kind kind, uint64_t size)
{
    struct verdict *v = &f->v;
    memset(v, 0, sizeof *v);
    v->winner.path = path;
    v->winner.path_len = strlen(path);
    v->winner.kind = kind;
    v->winner.mode = kind == ENTRY_LINK ? 0777 : 0755;
    v->winner.size = size;
    v->winner.first_seen = 12345;
    struct uuid who = {{3, 4}};
    version_set(&v->winner.version, &who, 7);
    v->present = ALL;
}

static void need(struct fixture *f, unsigned member, enum plan_need n, enum plan_reason r)
{
    f->v.need[member] = (uint8_t)n;
    f->v.reason[member] = (uint8_t)r;
    if (r != REASON_NEW)
        f->v.had |= (uint64_t)1 << member;
}

static void add(struct fixture *f, uint64_t wanted)
{
    assert_int_equal(plan_add(f->plan, &f->v, wanted, &f->how, &f->step, &f->e), 0);
}

static void open_cursor(struct fixture *f)
{
    assert_int_equal(plan_end(f->plan, &f->e), 0);
    plan_cursor_free(f->cursor);
    f->cursor = plan_cursor_new(f->plan);
}

/* "path<source: member=action/need/reason[c][!] ..."; c: content has to come, !: adopted. */
static char *show(char out[512], const struct plan_step *s, const struct plan_cursor *c)
{
    int n = sprintf(out, "%s<%d:", s->entry.path, s->source == PLAN_NOBODY ? -1 : (int)s->source);
    for (unsigned i = 0; i < s->targets; i++) {
        const struct plan_target *t = &s->target[i];
        n += sprintf(out + n, " %u=%s/%u/%u%s%s", t->member, plan_action_name((enum plan_action)t->action),
                     t->need, t->reason, t->content ? "c" : "", c && plan_cursor_adopts(c, i) ? "!" : "");
    }
    return out;
}

static void assert_step(const struct fixture *f, const char *want)
{
    char got[512];
    assert_string_equal(show(got, &f->step, NULL), want);
}

static void assert_next(struct fixture *f, const char *want)
{
    const struct plan_step *s = NULL;
    char got[512];
    int rc = plan_cursor_next(f->cursor, &s, &f->e);
    if (!want) {
        assert_int_equal(rc, 0);
        return;
    }
    if (rc < 0)
        fail_msg("%s", f->e.msg);
    assert_int_equal(rc, 1);
    assert_string_equal(show(got, s, f->cursor), want);
}

/* ---- what becomes of a verdict ---- */

struct action_case {
    enum entry_kind kind;
    enum plan_need need;
    enum plan_reason reason;
    const char *target;
};

static const struct action_case ACTIONS[] = {
    {ENTRY_FILE, NEED_RECORD, REASON_NONE, "o<-1: 1=record/1/0"},
    {ENTRY_FILE, NEED_META, REASON_META, "o<-1: 1=update/2/3"},
    {ENTRY_FILE, NEED_CONTENT, REASON_NEW, "o<0: 1=copy/3/1c"},
    {ENTRY_FILE, NEED_CONTENT, REASON_CHANGED, "o<0: 1=update/3/2c"},
    {ENTRY_FILE, NEED_CONTENT, REASON_CONFLICT, "o<0: 1=conflict/3/4c"},
    {ENTRY_FILE, NEED_CONTENT, REASON_KIND, "o<0: 1=update/3/5c"},
    {ENTRY_FILE, NEED_CONTENT, REASON_DAMAGED, "o<0: 1=update/3/6c"},
    {ENTRY_LINK, NEED_CONTENT, REASON_NEW, "o<0: 1=copy/3/1c"},
    {ENTRY_LINK, NEED_META, REASON_META, "o<-1: 1=update/2/3"},
    {ENTRY_DIR, NEED_RECORD, REASON_NONE, "o<-1: 1=record/1/0"},
    {ENTRY_DIR, NEED_META, REASON_META, "o<-1: 1=mkdir/2/3"},
    {ENTRY_DIR, NEED_CONTENT, REASON_NEW, "o<-1: 1=mkdir/3/1"},
    {ENTRY_DIR, NEED_CONTENT, REASON_KIND, "o<-1: 1=mkdir/3/5"},
    {ENTRY_DIR, NEED_CONTENT, REASON_CONFLICT, "o<-1: 1=conflict/3/4"},
};

static void test_actions(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof ACTIONS / sizeof ACTIONS[0]; i++) {
        const struct action_case *c = &ACTIONS[i];
        start(f, 2);
        object(f, "o", c->kind, c->kind == ENTRY_DIR ? 0 : 100);
        f->v.holders = 1;
        need(f, 1, c->need, c->reason);
        add(f, ALL);
        assert_step(f, c->target);
        open_cursor(f);
        assert_next(f, c->target);
        assert_next(f, NULL);
        const struct plan_totals *t = plan_totals(f->plan);
        assert_int_equal(t->steps, 1);
        assert_int_equal(t->objects, c->kind != ENTRY_DIR);
        assert_int_equal(t->ops[1], 1);
        assert_int_equal(t->bytes, f->step.target[0].content ? 100 : 0);
        assert_int_equal(t->count[f->step.target[0].action], 1);
    }
}

static void test_who_is_a_target(void **state)
{
    struct fixture *f = *state;
    start(f, 5);
    object(f, "a", ENTRY_FILE, 10);
    f->v.holders = 1;
    for (unsigned i = 1; i < 5; i++)
        need(f, i, NEED_CONTENT, REASON_NEW);
    f->v.present &= ~(uint64_t)(1 << 2);
    add(f, 1 << 1 | 1 << 2 | 1 << 4); /* 2 takes no part, 3 is not wanted */
    assert_step(f, "a<0: 1=copy/3/1c 4=copy/3/1c");
    assert_int_equal(plan_totals(f->plan)->bytes, 20);
    assert_int_equal(plan_totals(f->plan)->ops[2], 0);
    add(f, 1 << 2);
    assert_int_equal(f->step.targets, 0);
    assert_int_equal(plan_totals(f->plan)->steps, 1);
    assert_int_equal(plan_totals(f->plan)->objects, 2);
}

static void test_nothing_to_do(void **state)
{
    struct fixture *f = *state;
    start(f, 3);
    object(f, "same", ENTRY_FILE, 10);
    f->v.holders = 7;
    add(f, ALL);
    assert_int_equal(f->step.targets, 0);
    object(f, "dir", ENTRY_DIR, 0);
    add(f, ALL);
    f->v.skip = true;
    f->v.winner.kind = ENTRY_FILE;
    add(f, ALL);
    object(f, "lost", ENTRY_FILE, 10);
    f->v.lost = true;
    add(f, ALL);
    assert_int_equal(f->step.targets, 0);
    const struct plan_totals *t = plan_totals(f->plan);
    assert_int_equal(t->steps, 0);
    assert_int_equal(t->objects, 2);
    assert_int_equal(t->lost, 1);
    open_cursor(f);
    assert_next(f, NULL);
    assert_next(f, NULL);
}

static void test_no_holder(void **state)
{
    struct fixture *f = *state;
    start(f, 3);
    object(f, "a", ENTRY_FILE, 10);
    need(f, 0, NEED_CONTENT, REASON_NEW);
    need(f, 1, NEED_META, REASON_META);
    add(f, ALL);
    assert_step(f, "a<-1: 1=update/2/3");
    assert_int_equal(plan_totals(f->plan)->lost, 1);
    assert_int_equal(plan_totals(f->plan)->bytes, 0);
}

static void copy_to_3(struct fixture *f, const char *path, uint64_t size, uint64_t holders)
{
    object(f, path, ENTRY_FILE, size);
    f->v.holders = holders;
    need(f, 3, NEED_CONTENT, REASON_NEW);
    add(f, ALL);
}

static void test_source(void **state)
{
    struct fixture *f = *state;
    start(f, 4);
    copy_to_3(f, "a", 100, 7);
    assert_step(f, "a<0: 3=copy/3/1c");
    copy_to_3(f, "b", 10, 7);
    assert_step(f, "b<1: 3=copy/3/1c");
    copy_to_3(f, "c", 10, 7);
    assert_step(f, "c<2: 3=copy/3/1c");
    copy_to_3(f, "d", 10, 7); /* 1 and 2 have given as much: the lowest */
    assert_step(f, "d<1: 3=copy/3/1c");
    copy_to_3(f, "e", 1000, 4);
    assert_step(f, "e<2: 3=copy/3/1c");
    copy_to_3(f, "f", 10, 5);
    assert_step(f, "f<0: 3=copy/3/1c");
    /* a holder whose metadata changes is asked last */
    object(f, "g", ENTRY_FILE, 1);
    f->v.holders = 3;
    need(f, 1, NEED_META, REASON_META);
    need(f, 3, NEED_CONTENT, REASON_NEW);
    add(f, ALL);
    assert_step(f, "g<0: 1=update/2/3 3=copy/3/1c");
    f->v.holders = 2;
    add(f, ALL);
    assert_step(f, "g<1: 1=update/2/3 3=copy/3/1c");
}

/* ---- adoption ---- */

static void test_adoption(void **state)
{
    struct fixture *f = *state;
    start(f, 3);
    object(f, "a", ENTRY_FILE, 5); /* ask 0 of 1 */
    f->v.holders = 1;
    need(f, 1, NEED_CONTENT, REASON_NEW);
    need(f, 2, NEED_RECORD, REASON_NONE);
    add(f, ALL);
    object(f, "b", ENTRY_FILE, 0); /* empty: no ask */
    f->v.holders = 1;
    need(f, 1, NEED_CONTENT, REASON_NEW);
    add(f, ALL);
    assert_false(plan_asks(&f->step, &f->step.target[0]));
    object(f, "c", ENTRY_LINK, 5); /* a symlink: no ask */
    f->v.holders = 1;
    need(f, 1, NEED_CONTENT, REASON_NEW);
    add(f, ALL);
    assert_false(plan_asks(&f->step, &f->step.target[0]));
    object(f, "d", ENTRY_FILE, 5); /* ask 1 of 1, 0 of 2 */
    f->v.holders = 1;
    need(f, 1, NEED_CONTENT, REASON_CONFLICT);
    need(f, 2, NEED_CONTENT, REASON_CHANGED);
    add(f, ALL);
    assert_true(plan_asks(&f->step, &f->step.target[0]));
    object(f, "e", ENTRY_FILE, 5); /* ask 2 of 1, 1 of 2 */
    f->v.holders = 1;
    need(f, 1, NEED_CONTENT, REASON_NEW);
    need(f, 2, NEED_CONTENT, REASON_NEW);
    add(f, ALL);
    assert_int_equal(f->step.target[0].ask, 2);
    assert_int_equal(f->step.target[1].ask, 1);
    open_cursor(f);
    plan_set_adopt(f->plan, 1, 0);
    plan_set_adopt(f->plan, 1, 1);
    plan_set_adopt(f->plan, 2, 0);
    plan_set_adopt(f->plan, 2, 2);   /* never asked */
    plan_set_adopt(f->plan, 0, 0);
    plan_set_adopt(f->plan, 3, 0);
    plan_set_adopt(f->plan, 2, UINT64_MAX);
    plan_set_adopt(f->plan, 255, UINT64_MAX);
    for (int twice = 0; twice < 2; twice++) {
        assert_next(f, "a<0: 1=adopt/3/1c! 2=record/1/0");
        assert_next(f, "b<0: 1=copy/3/1c");
        assert_next(f, "c<0: 1=copy/3/1c");
        assert_next(f, "d<0: 1=conflict/3/4c! 2=adopt/3/2c!");
        assert_next(f, "e<0: 1=copy/3/1c 2=copy/3/1c");
        assert_next(f, NULL);
        plan_cursor_free(f->cursor);
        f->cursor = plan_cursor_new(f->plan);
    }
    assert_int_equal(plan_totals(f->plan)->count[ACTION_ADOPT], 0);
}

/* The answer "a part of it" belongs to the same asks, and changes nothing in the plan. */
static void test_partial(void **state)
{
    struct fixture *f = *state;
    start(f, 3);
    for (const char *path = "abc"; *path; path++) {
        object(f, (char[]){*path, '\0'}, ENTRY_FILE, 5);
        f->v.holders = 1;
        need(f, 1, NEED_CONTENT, REASON_NEW);
        need(f, 2, NEED_CONTENT, REASON_NEW);
        add(f, ALL);
    }
    open_cursor(f);
    plan_set_partial(f->plan, 1, 1);
    plan_set_partial(f->plan, 2, 2);
    plan_set_partial(f->plan, 2, 3); /* never asked */
    plan_set_partial(f->plan, 200, 0);
    plan_set_adopt(f->plan, 2, 1);
    static const bool part[3][2] = {{false, false}, {true, false}, {false, true}};
    static const char *const text[] = {"a<0: 1=copy/3/1c 2=copy/3/1c", "b<0: 1=copy/3/1c 2=adopt/3/1c!",
                                       "c<0: 1=copy/3/1c 2=copy/3/1c"};
    for (int i = 0; i < 3; i++) {
        assert_next(f, text[i]);
        for (unsigned t = 0; t < 2; t++)
            assert_int_equal(plan_cursor_partial(f->cursor, t), part[i][t]);
        assert_false(plan_cursor_partial(f->cursor, 2));
        assert_false(plan_cursor_partial(f->cursor, 1000));
    }
}

/* ---- long plans ---- */

#define LONG_STEPS 20000u

static void long_path(char out[PATH_LEN_MAX + 1], unsigned i)
{
    int n = sprintf(out, "%08u", i);
    if (i % 500 == 0) { /* now and then one as long as can be */
        for (; n + 2 < PATH_LEN_MAX; n += 2)
            memcpy(out + n, "/x", 2);
        out[n] = '\0';
    }
}

static void add_long_step(struct fixture *f, unsigned i)
{
    char path[PATH_LEN_MAX + 1];
    long_path(path, i);
    object(f, path, ENTRY_FILE, i);
    f->v.winner.version.n = 0;
    for (unsigned k = 0; k <= i % VERSION_MEMBERS_MAX; k++) {
        struct uuid who = {{(uint8_t)(k + 1)}};
        version_set(&f->v.winner.version, &who, UINT64_MAX - i);
    }
    f->v.holders = 1u << i % 3;
    for (unsigned m = 3; m < PLAN_MEMBERS_MAX; m++)
        if (i % 50 == 0 || m == 3 + i % 61)
            need(f, m, NEED_CONTENT, REASON_NEW);
    add(f, ALL);
}

static void check_long_step(const struct plan_step *s, const struct plan_cursor *c, unsigned i)
{
    char path[PATH_LEN_MAX + 1];
    long_path(path, i);
    assert_string_equal(s->entry.path, path);
    assert_int_equal(s->entry.path_len, strlen(path));
    assert_int_equal(s->entry.size, i);
    assert_int_equal(s->entry.first_seen, 12345);
    assert_int_equal(s->entry.version.n, i % VERSION_MEMBERS_MAX + 1);
    assert_true(s->entry.version.item[0].count == UINT64_MAX - i);
    assert_int_equal(s->source, i % 3);
    assert_int_equal(s->holders, 1u << i % 3);
    assert_int_equal(s->targets, i % 50 == 0 ? 61 : 1);
    for (unsigned t = 0; t < s->targets; t++) {
        assert_int_equal(s->target[t].member, s->targets == 1 ? 3 + i % 61 : 3 + t);
        bool adopts = i > 0 && s->target[t].member == 10;
        assert_int_equal(plan_cursor_adopts(c, t), adopts);
        assert_int_equal(s->target[t].action, adopts ? ACTION_ADOPT : ACTION_COPY);
    }
}

static void test_long(void **state)
{
    struct fixture *f = *state;
    start(f, PLAN_MEMBERS_MAX);
    for (unsigned i = 0; i < LONG_STEPS; i++)
        add_long_step(f, i);
    assert_int_equal(plan_totals(f->plan)->steps, LONG_STEPS);
    open_cursor(f);
    for (uint64_t ask = LONG_STEPS; ask-- > 0;) /* what was never asked is let go by */
        plan_set_adopt(f->plan, 10, ask);
    struct plan_cursor *other = plan_cursor_new(f->plan);
    const struct plan_step *s;
    for (unsigned i = 0; i < LONG_STEPS; i++) { /* one runs ahead of the other */
        assert_int_equal(plan_cursor_next(f->cursor, &s, &f->e), 1);
        check_long_step(s, f->cursor, i);
        if (i % 2) {
            assert_int_equal(plan_cursor_next(other, &s, &f->e), 1);
            check_long_step(s, other, i / 2);
        }
    }
    assert_int_equal(plan_cursor_next(f->cursor, &s, &f->e), 0);
    assert_int_equal(plan_cursor_next(other, &s, &f->e), 1);
    plan_cursor_free(other);
}

/* ---- telling who holds what ---- */

static void test_later(void **state)
{
    struct fixture *f = *state;
    const uint64_t told[PLAN_MEMBERS_MAX] = {[0] = 5, [2] = PLAN_TOLD_ELSE};
    start(f, 3);
    f->how.later = 5;
    f->how.told = told;
    for (int content = 0; content < 2; content++) { /* a record waits only for copies */
        object(f, content ? "b" : "a", ENTRY_FILE, 1);
        f->v.holders = 5;
        need(f, 0, NEED_RECORD, REASON_NONE);
        need(f, 1, content ? NEED_CONTENT : NEED_RECORD, content ? REASON_NEW : REASON_NONE);
        need(f, 2, NEED_RECORD, REASON_NONE);
        add(f, ALL);
    }
    open_cursor(f);
    for (int content = 0; content < 2; content++) {
        const struct plan_step *s;
        assert_int_equal(plan_cursor_next(f->cursor, &s, &f->e), 1);
        assert_int_equal(s->targets, 3);
        assert_int_equal(s->target[0].later, content);
        assert_false(s->target[1].later);
        assert_int_equal(s->target[2].later, content);
        assert_true(!content || (s->target[0].told == 5 && s->target[2].told == PLAN_TOLD_ELSE));
    }
    assert_next(f, NULL);
}

static void test_tell(void **state)
{
    struct fixture *f = *state;
    const struct plan_step *s = NULL;
    start(f, 3);
    object(f, "a", ENTRY_FILE, 1);
    f->v.holders = 1;
    need(f, 1, NEED_CONTENT, REASON_NEW);
    add(f, ALL);
    f->how.phase = PLAN_PRUNE;
    f->how.keep = 1;
    need(f, 1, NEED_NOTHING, REASON_NONE);
    need(f, 2, NEED_PRUNE, REASON_SURPLUS);
    struct entry here = f->v.winner;
    struct merge_row row = {.path = "a", .path_len = 1, .members = 3, .at = {NULL, NULL, &here}};
    f->v.row = &row;
    add(f, ALL);
    struct plan_step tell = f->step;
    tell.keep = tell.prune = 0;
    tell.targets = 1;
    tell.target[0] = (struct plan_target){.member = 0, .need = NEED_RECORD, .action = ACTION_RECORD};
    open_cursor(f);
    struct plan_cursor *early = f->cursor;
    plan_tell_begin(f->plan);
    assert_true(plan_tells(f->plan));
    assert_next(f, "a<0: 1=copy/3/1c");
    for (int i = 0; i < 2; i++) /* what is to be told is not known: nobody gets past that */
        assert_int_equal(plan_cursor_next(early, &s, &f->e), PLAN_NOT_YET);
    assert_null(s);
    assert_false(plan_has(f->plan, PLAN_TELL));
    for (int i = 0; i < 30000; i++) /* more than a buffer holds */
        assert_int_equal(plan_tell(f->plan, &tell, &f->e), 0);
    assert_int_equal(plan_tell_end(f->plan, &f->e), 0);
    assert_false(plan_tells(f->plan));
    assert_true(plan_has(f->plan, PLAN_TELL));
    for (int i = 0; i < 30000; i++) {
        assert_int_equal(plan_cursor_next(early, &s, &f->e), 1);
        assert_true(s->phase == PLAN_TELL && s->targets == 1 && s->target[0].action == ACTION_RECORD);
    }
    assert_int_equal(plan_cursor_next(early, &s, &f->e), 1);
    assert_true(s->phase == PLAN_PRUNE);
    assert_next(f, NULL);
}

static void test_no_room_for_the_file(void **state)
{
    struct fixture *f = *state;
    char *nowhere = mem_printf("%s/missing", f->tmpdir);
    f->plan = plan_new(2, nowhere);
    free(nowhere);
    object(f, "dir/with/a/path/that/takes/some/room", ENTRY_FILE, 1);
    f->v.holders = 1;
    need(f, 1, NEED_CONTENT, REASON_NEW);
    int rc = 0;
    unsigned steps = 0;
    for (; rc == 0 && steps < 100000; steps++)
        rc = plan_add(f->plan, &f->v, ALL, &f->how, &f->step, &f->e);
    assert_int_equal(rc, ERR_SYS);
    assert_non_null(strstr(f->e.msg, "missing"));
    assert_true(steps > 1000); /* a small plan needs no file */
}

static void test_place(void **state)
{
    (void)state;
    struct verdict v = {0};
    assert_true(place(&v, 1) == 1);
    assert_true(place(&v, 3) == 7);
    assert_true(place(&v, 64) == ALL);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_actions),  WITH(test_who_is_a_target), WITH(test_nothing_to_do),
        WITH(test_no_holder), WITH(test_source),         WITH(test_adoption),
        WITH(test_partial),  WITH(test_later),           WITH(test_tell),
        WITH(test_long),     WITH(test_no_room_for_the_file), cmocka_unit_test(test_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
