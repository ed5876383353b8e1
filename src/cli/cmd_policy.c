#include "cli/cmd.h"

#include "base/mem.h"
#include "base/num.h"
#include "group/conf.h"
#include "group/policy_edit.h"
#include "group/policy_write.h"
#include "group/policy_xml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHANGES_MAX 4
#define DEFAULT_REPLICAS 3 /* DataONE's, where replication is allowed anew */

struct list {
    char **item; /* owned */
    size_t n;
};

/* The files as they are or would be, held against the groups. */
struct state {
    struct groups groups;
    struct policy *policy;
};

/* What the command wants to be so. Of a value that it does not touch, set is false. */
struct wanted {
    bool set_allowed, allowed;
    bool set_number;
    uint32_t number;
    bool set_preferred, set_blocked;
    struct list preferred, blocked;
};

struct job {
    struct cmd *cmd;
    struct policy_target target;
    int64_t now;
    char *name;                   /* of the file that is changed */
    struct policy_write file;
    struct state state;
    struct policy_view view;
    struct wanted wanted;
    struct list remarks;
    bool changed;
    struct err e;
};

/* ---- lists ---- */

static void list_add(struct list *l, const char *item)
{
    l->item = mem_resize(l->item, l->n + 1, sizeof *l->item);
    l->item[l->n++] = mem_strdup(item);
}

static void list_free(struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->item[i]);
    free(l->item);
    *l = (struct list){0};
}

static void remark(struct job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void remark(struct job *job, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    list_add(&job->remarks, text);
}

static const char *const *const_items(char *const *item)
{
    return (const char *const *)item;
}

/* Do both name one member, in any group that the target is about? */
static bool same_member(const struct job *job, const char *a, const char *b)
{
    unsigned x, y;
    if (strcmp(a, b) == 0)
        return true;
    for (size_t i = 0; i < job->state.groups.n; i++) {
        const struct group *g = &job->state.groups.group[i];
        if ((!job->target.group || strcmp(job->target.group, g->name) == 0) &&
            group_member_find(g, a, &x, NULL) == 0 && group_member_find(g, b, &y, NULL) == 0 && x == y)
            return true;
    }
    return false;
}

/* The entry's members but for this one (NULL: all); did it hold it? */
static bool copy_without(const struct job *job, const struct policy_entry *from, const char *member,
                         struct list *to)
{
    bool held = false;
    for (size_t i = 0; from && i < from->items; i++) {
        if (member && same_member(job, from->item[i], member))
            held = true;
        else
            list_add(to, from->item[i]);
    }
    return held;
}

/* ---- files ---- */

static bool is_there(const char *file)
{
    return !text_missing(file);
}

static char *user_file(void)
{
    const char *home = getenv("HOME");
    return home && *home ? mem_printf("%s/.sos.policy", home) : NULL;
}

/*
 * The named one; else the user's own, which has the last word; but where only the system's is there, and we
 * may write it, that one.
 */
static char *file_to_change(const struct options *o)
{
    if (o->policy)
        return mem_strdup(o->policy);
    char *user = user_file();
    if (user && (is_there(user) || !is_there(POLICY_SYSTEM) || access(POLICY_SYSTEM, W_OK) != 0))
        return user;
    free(user);
    return mem_strdup(POLICY_SYSTEM);
}

static void state_free(struct state *s)
{
    policy_free(s->policy);
    groups_free(&s->groups);
    *s = (struct state){0};
}

/* One file, or what it is to become. */
static int load_one(struct policy *p, const char *file, const char *changed, const void *text, size_t len,
                    bool needed, struct err *e)
{
    if (changed && strcmp(file, changed) == 0)
        return policy_parse(p, file, text, len, e);
    return needed || is_there(file) ? policy_load(p, file, e) : 0;
}

/* changed: the file that is to hold text instead; NULL: none. */
static int state_load(struct state *s, const struct options *o, const char *changed, const void *text,
                      size_t len, struct err *e)
{
    *s = (struct state){.policy = policy_new()};
    char *user = user_file();
    int rc = o->config ? conf_load(&s->groups, o->config, e) : conf_load_default(&s->groups, e);
    if (rc == 0 && o->policy)
        rc = load_one(s->policy, o->policy, changed, text, len, true, e);
    if (rc == 0 && !o->policy)
        rc = load_one(s->policy, POLICY_SYSTEM, changed, text, len, false, e);
    if (rc == 0 && !o->policy && user)
        rc = load_one(s->policy, user, changed, text, len, false, e);
    if (rc == 0)
        rc = policy_apply(s->policy, &s->groups, POLICY_CONF, e);
    free(user);
    return rc;
}

/* ---- the target ---- */

static int find_target(struct job *job, const char *pattern)
{
    const struct options *o = job->cmd->options;
    const struct groups *g = &job->state.groups;
    if (o->group.n > 1)
        return err_set(&job->e, ERR_USAGE, "--group is given once with policy");
    if (o->group.n && !groups_find(g, o->group.item[0]))
        return err_set(&job->e, ERR_USAGE, "--group \"%s\": there is no such group", o->group.item[0]);
    const char *group = o->group.n ? o->group.item[0] : NULL;
    if (pattern && !group && g->n != 1)
        return err_set(&job->e, ERR_USAGE,
                       "objects belong to a group, and there are %zu; say which with --group", g->n);
    job->target = (struct policy_target){pattern && !group ? g->group[0].name : group, pattern};
    return 0;
}

/* ---- changing ---- */

static bool list_is(const struct policy_entry *entry, const struct list *l)
{
    size_t n = entry ? entry->items : 0;
    bool same = n == l->n;
    for (size_t i = 0; same && i < n; i++)
        same = strcmp(entry->item[i], l->item[i]) == 0;
    return same;
}

/* Is all that is wanted in force? */
static bool is_so(const struct wanted *w, const struct policy_view *v)
{
    return (!w->set_allowed || policy_view_allowed(v) == w->allowed) &&
           (!w->set_number || policy_view_number(v) == w->number) &&
           (!w->set_preferred || list_is(v->preferred, &w->preferred)) &&
           (!w->set_blocked || list_is(v->blocked, &w->blocked));
}

/* The lines to write; their values are the caller's. ERR_CONF. */
static int changes_of(const struct wanted *w, struct policy_change *c, size_t *n, struct err *e)
{
    const struct {
        enum policy_word word;
        bool set;
        char *value;
    } all[CHANGES_MAX] = {
        {WORD_REPLICATION, w->set_allowed,
         w->set_allowed ? mem_strdup(w->allowed ? "allowed" : "disallowed") : NULL},
        {WORD_REPLICAS, w->set_number,
         !w->set_number            ? NULL
         : w->number == POLICY_ALL ? mem_strdup("all")
                                   : mem_printf("%u", w->number)},
        {WORD_PREFERRED, w->set_preferred,
         w->set_preferred ? policy_edit_list(const_items(w->preferred.item), w->preferred.n, e) : NULL},
        {WORD_BLOCKED, w->set_blocked,
         w->set_blocked ? policy_edit_list(const_items(w->blocked.item), w->blocked.n, e) : NULL},
    };
    int rc = 0;
    *n = 0;
    for (size_t i = 0; i < CHANGES_MAX; i++) {
        if (!all[i].set)
            continue;
        rc = all[i].value ? rc : ERR_CONF;
        c[(*n)++] = (struct policy_change){all[i].word, all[i].value};
    }
    return rc;
}

/* The text with these changes, and what would then be so. */
static int try_edit(struct job *job, const struct policy_change *c, size_t n, int64_t since, bool anew,
                    struct buf *text)
{
    struct state next = {0};
    text->len = 0;
    int rc =
        policy_edit(job->name, job->file.text, job->file.len, &job->target, c, n, since, anew, text, &job->e);
    if (rc == 0)
        rc = state_load(&next, job->cmd->options, job->name, text->data, text->len, &job->e);
    if (rc < 0) {
        state_free(&next);
        return rc;
    }
    if (job->target.group) /* it is a name of the groups that go */
        job->target.group = groups_find(&next.groups, job->target.group)->name;
    state_free(&job->state);
    job->state = next;
    policy_view_of(&job->view, job->state.policy, &job->target, job->now);
    return 0;
}

/* since: of the sections that bind from a day on, those from that time on are left alone. */
static int change(struct job *job, int64_t since)
{
    struct policy_change c[CHANGES_MAX];
    struct buf text = {0};
    size_t n;
    int rc = changes_of(&job->wanted, c, &n, &job->e);
    if (rc == 0 && n) {
        rc = try_edit(job, c, n, since, false, &text);
        /* A later section says otherwise: then one behind it says it again. */
        if (rc == 0 && !is_so(&job->wanted, &job->view))
            rc = try_edit(job, c, n, since, true, &text);
        if (rc == 0 && !is_so(&job->wanted, &job->view))
            rc = err_set(&job->e, ERR_CONF,
                         "%s: the change would have no effect: another file or section overrides it",
                         job->file.file);
        if (rc == 0)
            rc = policy_write_replace(&job->file, text.data, text.len, &job->e);
        job->changed = rc == 0;
    }
    for (size_t i = 0; i < n; i++)
        free((char *)c[i].value);
    buf_free(&text);
    return rc;
}

/* ---- the commands ---- */

/* Has the target a section of its own that says this? Then saying it again would change nothing. */
static bool is_own(const struct job *job, enum policy_key key)
{
    const struct policy_section *s = job->view.in[key];
    return s && policy_target_is(&job->target, s);
}

static void want_allowed(struct job *job, bool allowed)
{
    if (is_own(job, POLICY_REPLICATION) && policy_view_allowed(&job->view) == allowed)
        return;
    job->wanted.set_allowed = true;
    job->wanted.allowed = allowed;
}

static void want_number(struct job *job, uint32_t number)
{
    if (is_own(job, POLICY_REPLICAS) && policy_view_number(&job->view) == number)
        return;
    job->wanted.set_number = true;
    job->wanted.number = number;
}

static int check_member(struct job *job, const char *member)
{
    unsigned index;
    for (size_t i = 0; i < job->state.groups.n; i++) {
        const struct group *g = &job->state.groups.group[i];
        if (job->target.group ? strcmp(g->name, job->target.group) == 0
                              : group_member_count(g, member, &index) > 0)
            return group_member_find(g, member, &index, &job->e);
    }
    return err_set(&job->e, ERR_CONF, "%.200s is no member of any group", member);
}

/* On one list, and so not on the other. */
static int add_member(struct job *job, const char *member, bool preferred)
{
    struct wanted *w = &job->wanted;
    const struct policy_entry *to = preferred ? job->view.preferred : job->view.blocked;
    const struct policy_entry *from = preferred ? job->view.blocked : job->view.preferred;
    struct list *added = preferred ? &w->preferred : &w->blocked,
                *taken = preferred ? &w->blocked : &w->preferred;
    struct list rest = {0};
    int rc = check_member(job, member);
    if (rc < 0)
        return rc;
    bool moved = copy_without(job, from, member, taken), there = copy_without(job, to, member, &rest);
    list_free(&rest);
    if (moved) {
        *(preferred ? &w->set_blocked : &w->set_preferred) = true;
        remark(job, "%s was %s before, and is so no longer", member, preferred ? "blocked" : "preferred");
    }
    if (there) {
        if (!moved)
            remark(job, "%s is %s already", member, preferred ? "preferred" : "blocked");
        return 0;
    }
    *(preferred ? &w->set_preferred : &w->set_blocked) = true;
    copy_without(job, to, NULL, added);
    list_add(added, member);
    return 0;
}

static int do_get(struct job *job, const char *arg)
{
    (void)job;
    (void)arg;
    return 0;
}

static int do_addpreferred(struct job *job, const char *member)
{
    int rc = add_member(job, member, true);
    return rc < 0 ? rc : change(job, job->now);
}

static int do_addblocked(struct job *job, const char *member)
{
    int rc = add_member(job, member, false);
    return rc < 0 ? rc : change(job, job->now);
}

static int do_remove(struct job *job, const char *member)
{
    struct wanted *w = &job->wanted;
    w->set_preferred = copy_without(job, job->view.preferred, member, &w->preferred);
    w->set_blocked = copy_without(job, job->view.blocked, member, &w->blocked);
    if (!w->set_preferred && !w->set_blocked)
        return err_set(&job->e, ERR_USAGE, "%.200s is neither preferred nor blocked", member);
    return change(job, job->now);
}

static int do_allow(struct job *job, const char *arg)
{
    (void)arg;
    want_allowed(job, true);
    if (policy_view_number(&job->view) == 0) {
        remark(job, "the number of replicas was 0, and is %d now", DEFAULT_REPLICAS);
        want_number(job, DEFAULT_REPLICAS);
    }
    return change(job, job->now);
}

static int do_disallow(struct job *job, const char *arg)
{
    (void)arg;
    want_allowed(job, false);
    want_number(job, 0);
    return change(job, job->now);
}

static int do_setreplicas(struct job *job, const char *arg)
{
    uint64_t n;
    if (num_u64(arg, POLICY_COPIES_MAX - 1, &n, NULL) < 0)
        return err_set(&job->e, ERR_USAGE, "setreplicas \"%.100s\": allowed is a number from 0 to %d", arg,
                       POLICY_COPIES_MAX - 1);
    if (n == 0) {
        if (policy_view_allowed(&job->view))
            remark(job, "replication is disallowed now, too");
        want_allowed(job, false);
    } else if (!policy_view_allowed(&job->view)) {
        remark(job, "replication is still disallowed: see allowreplication");
    }
    want_number(job, (uint32_t)n);
    return change(job, job->now);
}

static int do_clear(struct job *job, const char *arg)
{
    (void)arg;
    want_allowed(job, false);
    want_number(job, 0);
    job->wanted.set_preferred = job->view.preferred && job->view.preferred->items;
    job->wanted.set_blocked = job->view.blocked && job->view.blocked->items;
    return change(job, job->now);
}

/* The target is the pattern's section; what is in force is what its group, or --object, has. */
static int do_setreplication(struct job *job, const char *pattern)
{
    struct wanted *w = &job->wanted;
    int rc = find_target(job, pattern);
    if (rc < 0)
        return rc;
    struct policy_target above = {job->target.group, job->cmd->options->object};
    policy_view_of(&job->view, job->state.policy, &above, job->now);
    w->set_allowed = w->set_number = w->set_preferred = w->set_blocked = true;
    w->allowed = policy_view_allowed(&job->view);
    w->number = policy_view_number(&job->view);
    copy_without(job, job->view.preferred, NULL, &w->preferred);
    copy_without(job, job->view.blocked, NULL, &w->blocked);
    /*
     * It is to bind whatever is there, so it must be so without the sections that bind from some day on, and
     * with them.
     */
    policy_view_of(&job->view, job->state.policy, &job->target, INT64_MIN);
    bool old = is_so(w, &job->view);
    for (int i = 0; i < POLICY_KEYS; i++)
        old = old && is_own(job, (enum policy_key)i);
    policy_view_of(&job->view, job->state.policy, &job->target, job->now);
    return old && is_so(w, &job->view) ? 0 : change(job, INT64_MIN);
}

static int read_xml(struct policy_xml *x, const char *file, struct err *e)
{
    size_t len;
    char *text = text_load(file, "replicationPolicy", &len, e);
    if (!text)
        return ERR_CONF;
    int rc = policy_xml_read(x, text, len, e);
    if (rc < 0)
        err_wrap(e, "%.300s", file);
    free(text);
    return rc;
}

static int take_xml(struct job *job, const struct policy_xml *x)
{
    struct wanted *w = &job->wanted;
    if (x->replicas >= POLICY_COPIES_MAX)
        return err_set(&job->e, ERR_CONF, "numberReplicas is %llu; allowed is a number from 0 to %d",
                       (unsigned long long)x->replicas, POLICY_COPIES_MAX - 1);
    w->set_allowed = w->set_number = w->set_preferred = w->set_blocked = true;
    w->allowed = x->allowed;
    w->number = (uint32_t)x->replicas;
    for (size_t i = 0; i < x->nblocked; i++)
        list_add(&w->blocked, x->blocked[i]);
    for (size_t i = 0; i < x->npreferred; i++) {
        bool blocked = false;
        for (size_t k = 0; k < x->nblocked && !blocked; k++)
            blocked = same_member(job, x->preferred[i], x->blocked[k]);
        if (blocked)
            remark(job, "%s is preferred and blocked; blocked it is", x->preferred[i]);
        else
            list_add(&w->preferred, x->preferred[i]);
    }
    return is_so(w, &job->view) ? 0 : change(job, job->now);
}

static int do_import(struct job *job, const char *file)
{
    struct policy_xml x;
    int rc = read_xml(&x, file, &job->e);
    if (rc < 0)
        return rc;
    rc = take_xml(job, &x);
    policy_xml_free(&x);
    return rc;
}

static const struct word {
    const char *name;
    const char *arg; /* what it takes; NULL: nothing */
    bool reads;      /* changes no file */
    int (*run)(struct job *job, const char *arg);
} words[] = {
    {"get", NULL, true, do_get},
    {"addpreferred", "MEMBER", false, do_addpreferred},
    {"addblocked", "MEMBER", false, do_addblocked},
    {"remove", "MEMBER", false, do_remove},
    {"allowreplication", NULL, false, do_allow},
    {"disallowreplication", NULL, false, do_disallow},
    {"setreplicas", "NUMBER", false, do_setreplicas},
    {"clearreplication", NULL, false, do_clear},
    {"setreplication", "PATTERN", false, do_setreplication},
    {"import", "FILE", false, do_import},
};

static const struct word *find_word(const struct options *o, struct err *e)
{
    char all[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "", words[i].name);
        if (!o->operands || strcmp(o->operand[0], words[i].name) != 0)
            continue;
        if (o->operands == (words[i].arg ? 2u : 1u) && (!words[i].arg || *o->operand[1]))
            return &words[i];
        err_set(e, ERR_USAGE, "policy %s takes %s%s", words[i].name, words[i].arg ? "one " : "nothing more",
                words[i].arg ? words[i].arg : "");
        return NULL;
    }
    err_set(e, ERR_USAGE, "policy takes one of %s", all);
    return NULL;
}

/* ---- telling ---- */

static char *source_of(const struct policy_section *s, const struct policy_entry *entry)
{
    return entry ? mem_printf("%s:%u", s->file, entry->line) : NULL;
}

static void tell_policy(struct job *job)
{
    const struct policy_view *v = &job->view;
    const struct policy_entry *entry[] = {v->replication, v->number, v->preferred, v->blocked};
    char *source[POLICY_KEYS];
    for (int i = 0; i < POLICY_KEYS; i++)
        source[i] = source_of(v->in[i], entry[i]);
    char *section = policy_edit_header(&job->target, NULL);
    uint32_t number = policy_view_number(v);
    char *preferred = policy_edit_list(v->preferred ? const_items(v->preferred->item) : NULL,
                                       v->preferred ? v->preferred->items : 0, NULL);
    char *blocked = policy_edit_list(v->blocked ? const_items(v->blocked->item) : NULL,
                                     v->blocked ? v->blocked->items : 0, NULL);
    struct reporter_policy p = {
        .group = job->target.group,
        .object = job->target.pattern,
        .section = section ? section : "?",
        .allowed = policy_view_allowed(v),
        .all = number == POLICY_ALL,
        .replicas = number,
        .preferred = v->preferred ? const_items(v->preferred->item) : NULL,
        .npreferred = v->preferred ? v->preferred->items : 0,
        .blocked = v->blocked ? const_items(v->blocked->item) : NULL,
        .nblocked = v->blocked ? v->blocked->items : 0,
        .written = {preferred ? preferred : "?", blocked ? blocked : "?"},
        .source = {source[0], source[1], source[2], source[3]},
        .changed = job->changed ? job->file.file : NULL,
        .remark = const_items(job->remarks.item),
        .remarks = job->remarks.n,
    };
    job->cmd->report->ops->policy(job->cmd->report, &p);
    for (int i = 0; i < POLICY_KEYS; i++)
        free(source[i]);
    free(preferred);
    free(blocked);
    free(section);
}

/* DataONE always has a number: where there is none here, as many as there can be. */
static uint32_t most_replicas(const struct job *job)
{
    size_t most = 1;
    for (size_t i = 0; i < job->state.groups.n; i++) {
        const struct group *g = &job->state.groups.group[i];
        if ((!job->target.group || strcmp(g->name, job->target.group) == 0) && g->members > most)
            most = g->members;
    }
    return (uint32_t)most - 1;
}

static void tell_xml(struct job *job)
{
    const struct policy_view *v = &job->view;
    struct buf text = {0};
    uint32_t number = policy_view_number(v);
    struct policy_xml x = {
        .allowed = policy_view_allowed(v),
        .replicas = number == POLICY_ALL ? most_replicas(job) : number,
        .preferred = v->preferred ? v->preferred->item : NULL,
        .npreferred = v->preferred ? v->preferred->items : 0,
        .blocked = v->blocked ? v->blocked->item : NULL,
        .nblocked = v->blocked ? v->blocked->items : 0,
    };
    policy_xml_write(&x, &text);
    output_put(job->cmd->out, text.data, text.len);
    buf_free(&text);
}

/* ---- all of it ---- */

static int open_job(struct job *job, const struct word *word)
{
    const struct options *o = job->cmd->options;
    job->name = file_to_change(o);
    int rc = word->reads ? 0 : policy_write_open(&job->file, job->name, &job->e);
    if (rc == 0)
        rc = state_load(&job->state, o, word->reads ? NULL : job->name, job->file.text, job->file.len,
                        &job->e);
    if (rc == 0)
        rc = find_target(job, o->object);
    if (rc == 0)
        policy_view_of(&job->view, job->state.policy, &job->target, job->now);
    return rc;
}

static void close_job(struct job *job)
{
    policy_write_close(&job->file);
    free(job->name);
    state_free(&job->state);
    list_free(&job->wanted.preferred);
    list_free(&job->wanted.blocked);
    list_free(&job->remarks);
}

enum sos_status cmd_policy(struct cmd *c)
{
    const struct options *o = c->options;
    struct job job = {.cmd = c, .now = (int64_t)time(NULL), .file = {.fd = -1}};
    const struct word *word = find_word(o, &job.e);
    int rc = word ? 0 : ERR_USAGE;
    if (rc == 0 && o->xml && (!word->reads || o->format == OPTIONS_JSON))
        rc = err_set(&job.e, ERR_USAGE, "--xml goes with policy get, and without --json");
    if (rc == 0)
        rc = open_job(&job, word);
    if (rc == 0)
        rc = word->run(&job, word->arg ? o->operand[1] : NULL);
    if (rc < 0)
        reporter_error(c->report, NULL, job.e.msg);
    else if (o->xml)
        tell_xml(&job);
    else if (word->reads || !o->quiet)
        tell_policy(&job);
    close_job(&job);
    return rc < 0 ? SOS_USAGE : SOS_OK;
}
