/*
 * A policy file. Held against a few groups, whatever it says of an object must be within what an object can be
 * asked, and the same for the same object.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "group/conf.h"
#include "group/policy_edit.h"

static void must(int truth)
{
    if (!truth)
        abort();
}

static void check_object(const struct group *g, const struct policy_object *o)
{
    uint64_t all = (UINT64_C(1) << g->members) - 1, seen = 0;
    must((o->blocked & ~all) == 0 && (o->preferred_mask & o->blocked) == 0 && o->preferred_count <= g->members);
    for (unsigned i = 0; i < o->preferred_count; i++) {
        must(o->preferred[i] < g->members && !(seen >> o->preferred[i] & 1));
        seen |= UINT64_C(1) << o->preferred[i];
    }
    must(seen == o->preferred_mask);
    must(o->number == POLICY_ALL || o->number < POLICY_COPIES_MAX);
    must(o->replicas == (o->allowed ? o->number : 0));
    for (int i = 0; i < POLICY_KEYS; i++)
        must((o->source[i].file == NULL) == (o->source[i].line == 0));
}

static void check_group(const struct policy *p, const struct group *g)
{
    static const char *const path[] = {"a", "photos/2020/x.jpg", "photos/2021/y.jpg", "b/c.tmp", "b/d"};
    struct group_policy *gp = policy_bind(p, g);
    const struct policy_settings *s = group_policy_settings(gp);
    must(s->conflict != POLICY_MEMBER || s->winner < g->members);
    must(!s->max_delete_percent || s->max_delete <= 100);
    for (size_t i = 0; i < sizeof path / sizeof path[0]; i++) {
        const struct policy_object *o = policy_of(gp, path[i], strlen(path[i]), 1600000000);
        check_object(g, o);
        must(policy_of(gp, path[i], strlen(path[i]), 1600000000) == o);
        check_object(g, policy_of(gp, path[i], strlen(path[i]), 0));
    }
    check_object(g, policy_of_group(gp, INT64_MAX));
    group_policy_free(gp);
}

/* What is changed parses, and at the end of the file it is in force. */
static void check_edit(const char *text, size_t size, const char *group, const char *pattern, bool anew)
{
    struct policy_target t = {group, pattern};
    struct policy_change c[] = {{WORD_REPLICAS, "7"}, {WORD_BLOCKED, "c \"d e\""}};
    struct buf out = {0};
    struct err e = {0};
    struct policy *p = policy_new();
    if (policy_edit("f", text, size, &t, c, 2, 1600000000, anew, &out, &e) < 0) {
        must(e.code == ERR_CONF); /* a line or the sections may have become too many */
    } else if (policy_parse(p, "f", (const char *)out.data, out.len, &e) < 0) {
        must(strstr(e.msg, "longer than") || strstr(e.msg, "more than"));
    } else {
        struct policy_view v;
        policy_view_of(&v, p, &t, 1600000000);
        must(v.number && v.blocked);
        must(!anew || (policy_view_number(&v) == 7 && v.blocked->items == 2 && policy_target_is(&t, v.in[POLICY_BLOCKED])));
    }
    policy_free(p);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char conf[] = "[2]\n-: http://node1.example.com:3000\n-: http://node2.example.com:3000\nc: /c\n"
                               "[a:b]\nc: /c\nd: ssh://h/d\n-: ssh://h/e\n";
    struct groups g = {0};
    struct err e = {0};
    struct policy *p = policy_new();
    must(conf_parse(&g, "c", conf, sizeof conf - 1, NULL) == 0);
    if (policy_parse(p, "f", (const char *)data, size, &e) < 0) {
        must(e.code == ERR_CONF && strncmp(e.msg, "f:", 2) == 0);
    } else {
        enum policy_from from = size % 4 == 3 ? POLICY_ARGS : POLICY_CONF;
        const char *text = (const char *)data;
        check_edit(text, size, NULL, NULL, false);
        check_edit(text, size, "2", NULL, size % 2);
        check_edit(text, size, "a:b", "x] # y", true);
        check_edit(text, size, "2", "photos/**", false);
        if (policy_apply(p, &g, from, &e) < 0)
            must(e.code == ERR_CONF && strncmp(e.msg, "f:", 2) == 0);
        else
            for (size_t i = 0; i < g.n; i++)
                check_group(p, &g.group[i]);
    }
    policy_free(p);
    groups_free(&g);
    return 0;
}
