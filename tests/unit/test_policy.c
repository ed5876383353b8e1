#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "group/conf.h"
#include "group/policy.h"

#define DAY 86400
#define CONF "[2]\n-: http://node1.example.com:3000\n-: http://node2.example.com:3000\nusb: /media/usb\n" \
             "[a:b]\nx: /x\ny: ssh://h/y\n-: ssh://h/z\n"

struct world {
    struct groups g;
    struct policy *p;
    struct err e;
};

static int load(struct world *w, const char *conf, enum policy_from from, const char *text)
{
    memset(w, 0, sizeof *w);
    w->p = policy_new();
    assert_int_equal(conf_parse(&w->g, "c", conf, strlen(conf), &w->e), 0);
    size_t len = strlen(text);
    char *exact = mem_alloc(len); /* so that a sanitizer sees a read past the end */
    memcpy(exact, text, len);
    int rc = policy_parse(w->p, "f", exact, len, &w->e);
    free(exact);
    return rc < 0 ? rc : policy_apply(w->p, &w->g, from, &w->e);
}

static void release(struct world *w)
{
    policy_free(w->p);
    groups_free(&w->g);
}

/* What is asked for path, as "allowed 3: a b - c", preferred before blocked. */
static void show(const struct group *g, const struct policy_object *o, char *out)
{
    out += sprintf(out, "%s", o->allowed ? "" : "not ");
    out += o->number == POLICY_ALL ? sprintf(out, "all") : sprintf(out, "%u", o->number);
    for (unsigned i = 0; i < o->preferred_count; i++)
        out += sprintf(out, " +%s", g->member[o->preferred[i]].name);
    for (unsigned i = 0; i < g->members; i++)
        if (o->blocked >> i & 1)
            out += sprintf(out, " -%s", g->member[i].name);
}

static void asks(const char *text, const char *group, const char *path, int64_t seen, const char *want)
{
    struct world w;
    char got[1000];
    if (load(&w, CONF, POLICY_CONF, text) != 0)
        fail_msg("refused: %s\n--\n%s", w.e.msg, text);
    const struct group *g = groups_find(&w.g, group);
    struct group_policy *gp = policy_bind(w.p, g);
    const struct policy_object *o = path ? policy_of(gp, path, strlen(path), seen) : policy_of_group(gp, seen);
    show(g, o, got);
    if (strcmp(got, want) != 0)
        fail_msg("\"%s\", not \"%s\" for %s\n--\n%s", got, want, path, text);
    group_policy_free(gp);
    release(&w);
}

static void refuses(const char *text, unsigned line, const char *reason)
{
    struct world w;
    char front[20];
    int rc = load(&w, CONF, POLICY_CONF, text);
    snprintf(front, sizeof front, "f:%u: ", line);
    if (rc != ERR_CONF)
        fail_msg("taken\n--\n%s", text);
    if (strncmp(w.e.msg, front, strlen(front)) != 0 || !strstr(w.e.msg, reason))
        fail_msg("\"%s\" is not \"%s...%s\"\n--\n%s", w.e.msg, front, reason, text);
    release(&w);
}

#define N1 "http://node1.example.com:3000"
#define N2 "http://node2.example.com:3000"

static void the_last_section_decides(void **state)
{
    (void)state;
    asks("", "2", "x", 0, "all");
    asks("[default]\nreplicas: 2\n", "2", "x", 0, "2");
    asks("[default]\nreplicas: 2\n[group 2]\nreplicas: 1\n", "2", "x", 0, "1");
    asks("[group 2]\nreplicas: 1\n[default]\nreplicas: 2\n", "2", "x", 0, "2");
    asks("[group 2: *.jpg]\nreplicas: 4\n[group 2]\nreplicas: 1\n", "2", "x.jpg", 0, "1");
    asks("[group 2]\nreplicas: 1\n[group 2: *.jpg]\nreplicas: 4\n", "2", "d/x.jpg", 0, "4");
    asks("[group 2]\nreplicas: 1\n[group 2: *.jpg]\nreplicas: 4\n", "2", "d/x.png", 0, "1");
    asks("[group 2]\nreplicas: 1\n[group 2: *.jpg]\nreplicas: 4\n", "2", NULL, 0, "1");
    asks("[group 2]\nreplicas: 1\n", "a:b", "x", 0, "all");
}

static void keys_are_decided_one_by_one(void **state)
{
    (void)state;
    asks("[default]\nreplicas: 2\nblocked: usb\n[group 2: d]\npreferred: usb " N1 "\n", "2", "d/x", 0, "2 +" N1 " -usb");
    asks("[default]\nblocked: usb\n[group 2: d]\nblocked:\n", "2", "d/x", 0, "all");
    asks("[default]\ncopies: 3\n[group 2]\nreplicas: 1\n", "2", "x", 0, "1");
    asks("[default]\nreplicas: 3\n[group 2]\ncopies: 1\n", "2", "x", 0, "0");
    asks("[default]\nreplicas: 3\n[group 2]\nreplicas: all\n", "2", "x", 0, "all");
    asks("[default]\nreplicas: 3\n[group 2]\nreplication: disallowed\n", "2", "x", 0, "not 3");
}

static void members_are_named_in_many_ways(void **state)
{
    (void)state;
    asks("[default]\npreferred: node2.example.com,\t" N1 " , usb\n", "2", "x", 0, "all +" N2 " +" N1 " +usb");
    asks("[default]\npreferred: NODE2.example.com usb\n", "a:b", "x", 0, "all");
    asks("[default]\npreferred: usb \"x\" # y\n", "a:b", "x", 0, "all +x");
    asks("[node " N1 "]\nname: node1\n[group 2]\nblocked: node1\n", "2", "x", 0, "all -node1");
    asks("[group 2]\nblocked: one\n[node " N1 "]\nname: one\n", "2", "x", 0, "all -one");
    asks("[node /media/usb]\nname: stick\n[group 2]\nblocked: stick\n", "2", "x", 0, "all -usb");
    asks("[node " N1 "]\nname: n1\nstore: ssh://s@node9/srv\n[group 2]\nblocked: " N1 "\npreferred: usb\n", "2", "x", 0, "all +usb -n1");
    asks("[node " N1 "]\nstore: ssh://s@node9/srv\n[group 2]\nblocked: node9\n", "2", "x", 0, "all -" N1);
    asks("[node " N1 "]\nname: n1\n[node " N1 "]\nname: n2\n[group 2]\nblocked: n2\n", "2", "x", 0, "all -n2");
}

static void dates_bind_from_their_day_on(void **state)
{
    static const char text[] = "[default]\nreplicas: 1\n[group 2]\nsince: 1970-01-11\nreplicas: 2\n"
                               "[group 2: d]\nsince: 1970-01-06\nreplicas: 3\n[group 2]\nblocked: usb\n";
    (void)state;
    asks(text, "2", "x", 0, "1 -usb");
    asks(text, "2", "x", 10 * DAY - 1, "1 -usb");
    asks(text, "2", "x", 10 * DAY, "2 -usb");
    asks(text, "2", "d/x", 5 * DAY - 1, "1 -usb");
    asks(text, "2", "d/x", 5 * DAY, "3 -usb");
    asks(text, "2", "d/x", 50 * DAY, "3 -usb");
    asks(text, "2", "d/x", -1, "1 -usb");
    asks(text, "2", NULL, 50 * DAY, "2 -usb");
}

static void headers_hold_any_name(void **state)
{
    (void)state;
    asks("[group \"a:b\"]\nreplicas: 1\n", "a:b", "x", 0, "1");
    asks("[group 'a:b': *.jpg] # pictures: all\nreplicas: 1\n", "a:b", "x.jpg", 0, "1");
    asks("[group \"a:b\" : \"*.jpg\" ]\nreplicas: 1\n", "a:b", "x.jpg", 0, "1");
    asks("  [ group 2 : *.[ch]]\nreplicas: 1\n", "2", "x.c", 0, "1");
    asks("[group 2:*.[ch]] ; [x]\nreplicas: 1\n", "2", "x.c", 0, "1");
    asks("[group 2: \"a] # b\"]\nreplicas: 1\n", "2", "a] # b", 0, "1");
    asks("\xef\xbb\xbf[default]\r\nreplicas : 1\r\n", "2", "x", 0, "1");
    struct world w;
    assert_int_equal(load(&w, "[\"q\": a]\n-: /a\n-: /b\n[x]y]\n-: /c\n-: /d\n", POLICY_CONF,
                          "[group \"\"\"q\"\": a\"]\nreplicas: 1\n[group x]y]\nreplicas: 2\n"), 0);
    release(&w);
}

static void mistakes_stop_the_run(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *reason;
    } t[] = {
        {"replicas: 1\n", 1, "[default]"},
        {"[default]\nreplicas 1\n", 2, "KEY: VALUE"},
        {"[default]\n\nreplica: 1\n", 3, "replicas"},
        {"[default]\nReplicas: 1\n", 2, "unknown key"},
        {"[default]\nreplicas:\n", 2, "missing"},
        {"[default]\nreplicas: # 3\n", 2, "missing"},
        {"[default]\nreplicas: -1\n", 2, "0 to 63"},
        {"[default]\nreplicas: 64\n", 2, "0 to 63"},
        {"[default]\nreplicas: 3x\n", 2, "0 to 63"},
        {"[default]\nreplicas: 3 4\n", 2, "0 to 63"},
        {"[default]\nreplicas: 184467440737095516163\n", 2, "0 to 63"},
        {"[default]\ncopies: 0\n", 2, "1 to 64"},
        {"[default]\ncopies: 65\n", 2, "1 to 64"},
        {"[default]\nreplicas: 3\ncopies: 4\n", 3, "line 2"},
        {"[default]\nreplicas: 3\nreplicas: 3\n", 3, "twice"},
        {"[default]\nreplication: yes\n", 2, "allowed"},
        {"[default]\npreferred: node3\n", 2, "node3"},
        {"[default]\npreferred: usb usb\n", 2, "twice"},
        {"[group 2]\npreferred: usb, /media/usb\n", 2, "twice"},
        {"[group 2]\npreferred: \"usb\n", 2, "quote"},
        {"[group 2]\npreferred: \"usb\"x\n", 2, "quote"},
        {"[group 2]\npreferred: \"\"\n", 2, "without a name"},
        {"[group 2]\npreferred: usb#1\n", 2, "#"},
        {"[group 2]\nblocked: x\n", 2, "x is no member of group 2"},
        {"[group \"a:b\"]\nblocked: h\n", 2, "any of 2"},
        {"[default]\nblocked: h\n", 2, "any of 2"},
        {"[group 2]\nsince: 2021-02-29\n", 2, "YYYY-MM-DD"},
        {"[group 2]\nsince: 2021-2-9\n", 2, "YYYY-MM-DD"},
        {"[group 2]\nsince: 1969-12-31\n", 2, "1970"},
        {"[group 2]\nsince: 2021-02-09x\n", 2, "YYYY-MM-DD"},
        {"[group 2]\ntrash: 3d\nsince: 2021-02-09\n", 2, "since"},
        {"[group 2]\ntrash: 3\n", 2, "3"},
        {"[group 2]\ntrash: 0d\n", 2, "at least 1s"},
        {"[group 2]\ntombstones: off\n", 2, "tombstones"},
        {"[group 2]\ntombstones: 1001y\n", 2, "1000y"},
        {"[group 2]\ndown-after: d\n", 2, "down-after"},
        {"[group 2]\nconflict: oldest\n", 2, "oldest"},
        {"[group 2]\nconflict: newest\nconflict: newest\n", 3, "twice"},
        {"[group 2]\ndeletions: no\n", 2, "restore and propagate"},
        {"[group 2]\nhash: md5\n", 2, "xxh3 and sha256"},
        {"[group 2]\nmounts: yes\n", 2, "stop and cross"},
        {"[group 2]\nmax-delete: 101%\n", 2, "0 to 100"},
        {"[group 2]\nmax-delete: %\n", 2, "0 to 100"},
        {"[group 2]\nexclude: [a\n", 2, "exclude"},
        {"[group 2]\nexclude: !\n", 2, "**/!"},
        {"[group 2]\nexclude: a#b\n", 2, "quotes"},
        {"[group 2]\nname: x\n", 2, "cannot stand"},
        {"[group 2: x]\ntrash: 3d\n", 2, "cannot stand"},
        {"[group 2: x]\nexclude: y\n", 2, "cannot stand"},
        {"[group 3]\nreplicas: 3\n", 1, "there are 2, a:b"},
        {"[group 3: x]\nreplicas: 3\n", 1, "there are 2, a:b"},
        {"[group a:b]\nreplicas: 3\n", 1, "no group a"},
        {"[group 2: [a]\nreplicas: 3\n", 1, "class"},
        {"[group 2: ]\nreplicas: 3\n", 1, "pattern"},
        {"[group 2: \"\"]\nreplicas: 3\n", 1, "pattern"},
        {"[group]\n", 1, "[group NAME]"},
        {"[group 2\n", 1, "[group"},
        {"[group \"2]\n", 1, "quote"},
        {"[group \"2\" x]\n", 1, "]"},
        {"[group 2] x\n", 1, "after the"},
        {"[group 2] [default]\n", 1, "own"},
        {"[group 2] # x: [y]\n[group 2] : y]\n", 2, "no group 2]"},
        {"[defaults]\n", 1, "unknown section"},
        {"[default: x]\n", 1, "[default]"},
        {"[]\n", 1, "unknown section"},
        {"[node http://node3.example.com:3000]\nname: x\n", 1, "node3"},
        {"[node " N1 "]\nname: usb\n", 2, "already"},
        {"[node " N1 "]\nname: a/b\n", 2, "\"/\""},
        {"[node " N1 "]\nstore: srv\n", 2, "store"},
        {"[node " N1 "]\ncapacity: 0\n", 2, "capacity"},
        {"[node " N1 "]\nreplicas: 3\n", 2, "cannot stand"},
        {"[node " N1 "]\nname: x\n[node " N2 "]\nname: x\n", 4, "already"},
        {"[default]\nreplicas: 1\rblocked: usb\n", 2, "carriage return"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        refuses(t[i].text, t[i].line, t[i].reason);
}

static void blocked_wins_and_is_remarked(void **state)
{
    struct world w;
    (void)state;
    asks("[group 2]\npreferred: usb " N1 "\nblocked: /media/usb\n", "2", "x", 0, "all +" N1 " -usb");
    assert_int_equal(load(&w, CONF, POLICY_CONF, "[group 2]\npreferred: usb\nblocked: /media/usb\n"), 0);
    assert_string_equal(policy_remark(w.p, 0), "f:3: usb is preferred and blocked; blocked wins");
    assert_null(policy_remark(w.p, 1));
    release(&w);
}

static void settings_of_a_group(void **state)
{
    struct world w;
    (void)state;
    assert_int_equal(load(&w, CONF, POLICY_CONF,
                          "[default]\nconflict: usb\ndeletions: propagate\ntombstones: 2w\ntrash: off\nhash: sha256\n"
                          "max-delete: 7\nexclude: *.o\nexclude: + *.c\nmounts: cross\ndown-after: 0h\n"
                          "[group \"a:b\"]\ntrash: 1h # short\nexclude: \"#x#\"\nmax-delete: 50%\nconflict: keep-both\n"
                          "[node /media/usb]\ncapacity: 10K\n"), 0);
    struct group_policy *two = policy_bind(w.p, &w.g.group[0]), *ab = policy_bind(w.p, &w.g.group[1]);
    const struct policy_settings *s = group_policy_settings(two);
    assert_true(s->conflict == POLICY_MEMBER && s->winner == 2 && s->propagate && s->tombstones == 14 * DAY && s->trash == 0);
    assert_true(s->sha256 && s->max_delete == 7 && !s->max_delete_percent && s->down_after == 0 && s->cross_mounts);
    assert_int_equal(s->excludes, 2);
    assert_string_equal(s->exclude[1], "+ *.c");
    assert_int_equal(s->source[POLICY_SET_TRASH].line, 5);
    assert_int_equal(group_policy_member(two, 2)->capacity, 10240);
    assert_int_equal(group_policy_member(two, 1)->capacity, 0);
    assert_true(group_policy_plain(two));
    s = group_policy_settings(ab);
    assert_true(s->conflict == POLICY_KEEP_BOTH && s->trash == 3600 && s->max_delete == 50 && s->max_delete_percent);
    assert_int_equal(s->excludes, 1);
    assert_string_equal(s->exclude[0], "#x#");
    assert_int_equal(s->source[POLICY_SET_TRASH].line, 13);
    group_policy_free(two);
    group_policy_free(ab);
    release(&w);

    assert_int_equal(load(&w, CONF, POLICY_CONF, "[default]\nconflict: usb\nreplicas: 2\n"), 0);
    ab = policy_bind(w.p, &w.g.group[1]);
    s = group_policy_settings(ab);
    assert_true(s->conflict == POLICY_NEWEST && !s->propagate && s->tombstones == 400 * DAY && s->trash == 7 * DAY);
    assert_true(!s->sha256 && s->max_delete == 25 && s->max_delete_percent && s->down_after == 7 * DAY && !s->cross_mounts);
    assert_int_equal(s->source[POLICY_SET_TRASH].line, 0);
    assert_false(group_policy_plain(ab));
    group_policy_free(ab);
    release(&w);
}

static void stores_and_sources(void **state)
{
    struct world w;
    (void)state;
    assert_int_equal(load(&w, CONF, POLICY_CONF,
                          "[node HTTP://node1.EXAMPLE.com:3000/]\nname: n1\nstore: ssh://sos@n1/srv\n[default]\nreplicas: 2\n"
                          "[group 2: d]\n\nblocked: n1\n"), 0);
    const struct member *m = &w.g.group[0].member[0];
    assert_string_equal(m->name, "n1");
    assert_int_equal(m->address.kind, ADDRESS_SSH);
    assert_string_equal(m->listed, N1);
    struct group_policy *gp = policy_bind(w.p, &w.g.group[0]);
    const struct policy_object *o = policy_of(gp, "d/e", 3, 0);
    assert_int_equal(o->source[POLICY_REPLICAS].line, 5);
    assert_int_equal(o->section[POLICY_REPLICAS].line, 4);
    assert_int_equal(o->source[POLICY_BLOCKED].line, 8);
    assert_int_equal(o->section[POLICY_BLOCKED].line, 6);
    assert_string_equal(o->section[POLICY_BLOCKED].file, "f");
    assert_null(o->source[POLICY_PREFERRED].file);
    assert_ptr_equal(policy_of(gp, "d", 1, 5), o);
    assert_ptr_not_equal(policy_of(gp, "e", 1, 5), o);
    group_policy_free(gp);
    release(&w);
}

static void load_args(struct world *w, int *rc, enum policy_from from, const char *text)
{
    char *arg[] = {"/x", "y"};
    memset(w, 0, sizeof *w);
    w->p = policy_new();
    assert_int_equal(groups_from_args(&w->g, arg, 2, &w->e), 0);
    *rc = policy_parse(w->p, "f", text, strlen(text), &w->e);
    if (*rc == 0)
        *rc = policy_apply(w->p, &w->g, from, &w->e);
}

static void given_members_have_a_policy_too(void **state)
{
    static const char others[] = "[default]\nblocked: node1 /x\n[group 9]\nreplicas: 1\n[node http://node1]\nname: n\n"
                                 "[node y]\nname: why\n[group default]\nreplicas: 2\npreferred: why z\n";
    struct world w;
    char got[100];
    int rc;
    (void)state;
    load_args(&w, &rc, POLICY_ARGS, others);
    assert_int_equal(rc, 0);
    struct group_policy *gp = policy_bind(w.p, &w.g.group[0]);
    show(&w.g.group[0], policy_of(gp, "a", 1, 0), got);
    assert_string_equal(got, "2 +why -/x");
    group_policy_free(gp);
    release(&w);
    load_args(&w, &rc, POLICY_ARGS_FILE, others);
    assert_int_equal(rc, ERR_CONF);
    assert_non_null(strstr(w.e.msg, "node1"));
    release(&w);
    load_args(&w, &rc, POLICY_ARGS_FILE, "[group default]\nblocked: z\n");
    assert_int_equal(rc, ERR_CONF);
    release(&w);
    load_args(&w, &rc, POLICY_ARGS_FILE, "[group 9]\nblocked: z\n[node http://node1]\nname: n\n[default]\nblocked: y\n");
    assert_int_equal(rc, 0);
    release(&w);
}

/* A million objects in directories of a hundred, and two hundred sections with patterns of every kind. */
static void a_million_objects_take_no_time(void **state)
{
    enum { SECTIONS = 200, OBJECTS = 1000000 };
    struct world w;
    char *text = mem_zalloc(SECTIONS * 100), *at = text;
    static const char *const shape[] = {"/photos/%d/**", "*.ex%d", "data-%d*/raw", "archive/%d/*.[ct]sv", "**/tmp%d/**", "set?%d-*"};
    (void)state;
    for (int i = 0; i < SECTIONS; i++) {
        at += sprintf(at, "[group 2: ");
        at += sprintf(at, shape[i % 6], i);
        at += sprintf(at, "]\nreplicas: %d\n", i % 3);
    }
    assert_int_equal(load(&w, CONF, POLICY_CONF, text), 0);
    struct group_policy *gp = policy_bind(w.p, &w.g.group[0]);
    clock_t start = clock(); /* of this process alone, whatever else goes on */
    unsigned long long sum = 0;
    for (int i = 0; i < OBJECTS; i++) {
        char path[100];
        int n = sprintf(path, "%s/%d/part%d/set%d-object%d.ex%d", i % 3 ? "photos" : "data-8x/raw", i / 100000, i / 100, i % 7, i, i % 300);
        sum += policy_of(gp, path, (size_t)n, i)->replicas;
    }
    long took = (long)((clock() - start) * 1000 / CLOCKS_PER_SEC);
    print_message("# %d objects, %d sections: %ld ms\n", OBJECTS, SECTIONS, took);
    assert_true(sum > 0);
    assert_true(took < 5000); /* it takes 0.3 s, or 3 s with sanitizers */
    group_policy_free(gp);
    release(&w);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_section_decides),
        cmocka_unit_test(keys_are_decided_one_by_one),
        cmocka_unit_test(members_are_named_in_many_ways),
        cmocka_unit_test(dates_bind_from_their_day_on),
        cmocka_unit_test(headers_hold_any_name),
        cmocka_unit_test(mistakes_stop_the_run),
        cmocka_unit_test(blocked_wins_and_is_remarked),
        cmocka_unit_test(settings_of_a_group),
        cmocka_unit_test(stores_and_sources),
        cmocka_unit_test(given_members_have_a_policy_too),
        cmocka_unit_test(a_million_objects_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
