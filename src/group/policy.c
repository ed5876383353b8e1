#include "group/policy.h"

#include "base/bit.h"
#include "base/mem.h"
#include "group/policy_file.h"
#include "object/pattern_set.h"

#include <stdlib.h>
#include <string.h>

#define DAY UINT64_C(86400)

/* The answer for one set of patterns and one span of time, found once. */
struct answer {
    uint32_t matched; /* by the pattern set */
    unsigned span;    /* how many of the dates had come */
    const struct policy_object *object;
};

struct group_policy {
    const struct group *group;
    const struct policy_section **section; /* those about objects of this group, in order */
    size_t *pattern;                       /* each one's number in set; SIZE_MAX: none */
    size_t sections;
    struct pattern_set *set;
    int64_t *date;                         /* of since, ascending, each once */
    unsigned dates;
    struct answer *answer;                 /* open addressing; object NULL: free */
    size_t answers, room;
    struct policy_object **object;         /* all there are, each once */
    size_t objects;
    const struct policy_object *last;      /* of the last question */
    uint32_t last_matched;
    unsigned last_span;
    struct policy_settings settings;
    struct policy_member member[GROUP_MEMBERS_MAX];
};

/* ---- the settings of a group ---- */

static void set_exclude(struct policy_settings *to, const struct policy_section *s)
{
    const char **rule = NULL;
    size_t n = 0;
    for (size_t i = 0; i < s->entries; i++)
        if (s->entry[i].word == WORD_EXCLUDE) {
            rule = mem_resize(rule, n + 1, sizeof *rule);
            rule[n++] = s->entry[i].item[0];
        }
    if (n == 0)
        return;
    free((void *)to->exclude);
    to->exclude = rule;
    to->excludes = n;
}

/* A winner that is not of this group never takes part in a conflict here, so the newest wins. */
static void set_conflict(struct policy_settings *to, const struct group *g, const struct policy_entry *entry)
{
    to->conflict = (enum policy_conflict)entry->number;
    if (to->conflict == POLICY_MEMBER && group_member_find(g, entry->item[0], &to->winner, NULL) < 0)
        to->conflict = POLICY_NEWEST;
}

/* Which setting the entry is; POLICY_SETTINGS when it is none. */
static enum policy_setting set_one(struct policy_settings *to, const struct group *g,
                                   const struct policy_entry *entry)
{
    switch (entry->word) {
    case WORD_CONFLICT:
        set_conflict(to, g, entry);
        return POLICY_SET_CONFLICT;
    case WORD_DELETIONS:
        to->propagate = entry->number != 0;
        return POLICY_SET_DELETIONS;
    case WORD_TOMBSTONES:
        to->tombstones = entry->number;
        return POLICY_SET_TOMBSTONES;
    case WORD_TRASH:
        to->trash = entry->number;
        return POLICY_SET_TRASH;
    case WORD_HASH:
        to->sha256 = entry->number != 0;
        return POLICY_SET_HASH;
    case WORD_MAX_DELETE:
        to->max_delete = entry->number;
        to->max_delete_percent = entry->percent;
        return POLICY_SET_MAX_DELETE;
    case WORD_DOWN_AFTER:
        to->down_after = entry->number;
        return POLICY_SET_DOWN_AFTER;
    case WORD_MOUNTS:
        to->cross_mounts = entry->number != 0;
        return POLICY_SET_MOUNTS;
    default:
        return POLICY_SETTINGS;
    }
}

void policy_settings_init(struct policy_settings *s)
{
    *s = (struct policy_settings){.tombstones = 400 * DAY,
                                  .trash = 7 * DAY,
                                  .max_delete = 25,
                                  .max_delete_percent = true,
                                  .down_after = 7 * DAY};
}

static void bind_settings(struct group_policy *gp)
{
    struct policy_settings *to = &gp->settings;
    policy_settings_init(to);
    for (size_t i = 0; i < gp->sections; i++) {
        const struct policy_section *s = gp->section[i];
        for (size_t k = 0; k < s->entries; k++) {
            enum policy_setting which = set_one(to, gp->group, &s->entry[k]);
            if (which < POLICY_SETTINGS)
                to->source[which] = (struct policy_source){s->file, s->entry[k].line};
        }
        set_exclude(to, s);
    }
}

static void bind_members(struct group_policy *gp, const struct policy *p)
{
    for (size_t i = 0; i < gp->group->members; i++)
        gp->member[i].name = gp->group->member[i].name;
    for (size_t i = 0; i < p->sections; i++) {
        const struct policy_section *s = &p->section[i];
        const struct policy_entry *capacity =
            s->kind == SECTION_NODE ? policy_section_entry(s, WORD_CAPACITY) : NULL;
        for (size_t k = 0; capacity && k < gp->group->members; k++)
            if (policy_is_node(&gp->group->member[k], s->name))
                gp->member[k].capacity = capacity->number;
    }
}

/* ---- what is asked for an object ---- */

static bool about_objects(const struct policy_section *s, const struct group *g)
{
    return s->kind == SECTION_DEFAULT || (s->kind != SECTION_NODE && strcmp(s->name, g->name) == 0);
}

static void add_date(struct group_policy *gp, int64_t date)
{
    unsigned at = 0;
    while (at < gp->dates && gp->date[at] < date)
        at++;
    if (at < gp->dates && gp->date[at] == date)
        return;
    gp->date = mem_resize(gp->date, gp->dates + 1, sizeof *gp->date);
    memmove(gp->date + at + 1, gp->date + at, (gp->dates - at) * sizeof *gp->date);
    gp->date[at] = date;
    gp->dates++;
}

static void bind_sections(struct group_policy *gp, const struct policy *p)
{
    size_t patterns = 0;
    gp->section = mem_alloc((p->sections + 1) * sizeof *gp->section);
    gp->pattern = mem_alloc((p->sections + 1) * sizeof *gp->pattern);
    gp->set = pattern_set_new();
    for (size_t i = 0; i < p->sections; i++) {
        const struct policy_section *s = &p->section[i];
        if (!about_objects(s, gp->group))
            continue;
        /* The parser has compiled it before. */
        bool is_pattern =
            s->kind == SECTION_PATTERN && pattern_set_add(gp->set, s->pattern, strlen(s->pattern), NULL) == 0;
        gp->pattern[gp->sections] = is_pattern ? patterns++ : SIZE_MAX;
        gp->section[gp->sections++] = s;
        if (s->dated)
            add_date(gp, s->since);
    }
}

struct lists {
    const struct policy_entry *preferred, *blocked;
};

static void set_key(struct policy_object *o, const struct policy_section *s, const struct policy_entry *entry,
                    struct lists *lists)
{
    enum policy_key key;
    switch (entry->word) {
    case WORD_REPLICATION:
        key = POLICY_REPLICATION;
        o->allowed = entry->number != 0;
        break;
    case WORD_REPLICAS:
    case WORD_COPIES:
        key = POLICY_REPLICAS;
        o->copies = entry->word == WORD_COPIES;
        o->number =
            entry->number == POLICY_ALL ? POLICY_ALL : (uint32_t)(entry->number - (o->copies ? 1 : 0));
        break;
    case WORD_PREFERRED:
        key = POLICY_PREFERRED;
        lists->preferred = entry;
        break;
    case WORD_BLOCKED:
        key = POLICY_BLOCKED;
        lists->blocked = entry;
        break;
    default:
        return;
    }
    o->source[key] = (struct policy_source){s->file, entry->line};
    o->section[key] = (struct policy_source){s->file, s->line};
}

static void set_lists(struct policy_object *o, const struct group *g, const struct lists *lists)
{
    unsigned member;
    for (size_t i = 0; lists->blocked && i < lists->blocked->items; i++)
        if (group_member_find(g, lists->blocked->item[i], &member, NULL) == 0)
            o->blocked |= bit(member);
    for (size_t i = 0; lists->preferred && i < lists->preferred->items; i++) {
        if (group_member_find(g, lists->preferred->item[i], &member, NULL) < 0 ||
            (o->blocked | o->preferred_mask) & bit(member))
            continue;
        o->preferred[o->preferred_count++] = (uint8_t)member;
        o->preferred_mask |= bit(member);
    }
}

/* The last section that matches and sets a key decides. matched SIZE_MAX: those without a pattern alone. */
static void resolve(const struct group_policy *gp, size_t matched, unsigned span, struct policy_object *o)
{
    struct lists lists = {NULL, NULL};
    memset(o, 0, sizeof *o); /* padding too: it is compared as bytes */
    o->allowed = true;
    o->number = POLICY_ALL;
    for (size_t i = 0; i < gp->sections; i++) {
        const struct policy_section *s = gp->section[i];
        if (gp->pattern[i] != SIZE_MAX &&
            (matched == SIZE_MAX || !pattern_set_has(gp->set, (uint32_t)matched, gp->pattern[i])))
            continue;
        if (s->dated && (span == 0 || s->since > gp->date[span - 1]))
            continue;
        for (size_t k = 0; k < s->entries; k++)
            set_key(o, s, &s->entry[k], &lists);
    }
    set_lists(o, gp->group, &lists);
    o->replicas = o->allowed ? o->number : 0;
}

/* This answer, kept once. */
static const struct policy_object *keep(struct group_policy *gp, const struct policy_object *o)
{
    for (size_t i = 0; i < gp->objects; i++)
        if (memcmp(gp->object[i], o, sizeof *o) == 0)
            return gp->object[i];
    gp->object = mem_resize(gp->object, gp->objects + 1, sizeof *gp->object);
    struct policy_object *copy = mem_alloc(sizeof *copy);
    memcpy(copy, o, sizeof *o);
    return gp->object[gp->objects++] = copy;
}

static struct answer *find_answer(struct group_policy *gp, uint32_t matched, unsigned span)
{
    uint64_t h = (matched + UINT64_C(0x9e3779b97f4a7c15) * (span + 1)) * UINT64_C(0xff51afd7ed558ccd);
    for (size_t i = (h >> 32) & (gp->room - 1);; i = (i + 1) & (gp->room - 1)) {
        struct answer *a = &gp->answer[i];
        if (!a->object || (a->matched == matched && a->span == span))
            return a;
    }
}

static void make_room(struct group_policy *gp)
{
    struct answer *old = gp->answer;
    size_t n = gp->room;
    if (2 * gp->answers < n)
        return;
    gp->room = n ? 2 * n : 64;
    gp->answer = mem_zalloc(gp->room * sizeof *gp->answer);
    for (size_t i = 0; i < n; i++)
        if (old[i].object)
            *find_answer(gp, old[i].matched, old[i].span) = old[i];
    free(old);
}

/* How many of the dates had come. */
static unsigned span_of(const struct group_policy *gp, int64_t when)
{
    unsigned n = 0;
    while (n < gp->dates && gp->date[n] <= when)
        n++;
    return n;
}

static const struct policy_object *look_up(struct group_policy *gp, uint32_t matched, unsigned span)
{
    make_room(gp);
    struct answer *a = find_answer(gp, matched, span);
    if (!a->object) {
        struct policy_object o;
        resolve(gp, matched, span, &o);
        *a = (struct answer){matched, span, keep(gp, &o)};
        gp->answers++;
    }
    gp->last_matched = matched;
    gp->last_span = span;
    return gp->last = a->object;
}

const struct policy_object *policy_of(struct group_policy *gp, const char *path, size_t len,
                                      int64_t first_seen)
{
    uint32_t matched = pattern_set_match(gp->set, path, len);
    unsigned span = gp->dates ? span_of(gp, first_seen) : 0;
    if (gp->last && gp->last_matched == matched && gp->last_span == span)
        return gp->last;
    return look_up(gp, matched, span);
}

const struct policy_object *policy_of_group(struct group_policy *gp, int64_t now)
{
    struct policy_object o;
    resolve(gp, SIZE_MAX, span_of(gp, now), &o);
    return keep(gp, &o);
}

/* ---- all of it ---- */

struct group_policy *policy_bind(const struct policy *p, const struct group *g)
{
    struct group_policy *gp = mem_zalloc(sizeof *gp);
    gp->group = g;
    bind_sections(gp, p);
    bind_settings(gp);
    bind_members(gp, p);
    return gp;
}

void group_policy_free(struct group_policy *gp)
{
    if (!gp)
        return;
    for (size_t i = 0; i < gp->objects; i++)
        free(gp->object[i]);
    pattern_set_free(gp->set);
    free((void *)gp->settings.exclude);
    free(gp->object);
    free(gp->answer);
    free(gp->section);
    free(gp->pattern);
    free(gp->date);
    free(gp);
}

const struct policy_settings *group_policy_settings(const struct group_policy *gp)
{
    return &gp->settings;
}

const struct policy_member *group_policy_member(const struct group_policy *gp, unsigned member)
{
    return &gp->member[member];
}

bool group_policy_plain(const struct group_policy *gp)
{
    for (size_t i = 0; i < gp->sections; i++)
        for (size_t k = 0; k < gp->section[i]->entries; k++) {
            enum policy_word word = gp->section[i]->entry[k].word;
            if (word == WORD_REPLICATION || word == WORD_REPLICAS || word == WORD_COPIES ||
                word == WORD_PREFERRED || word == WORD_BLOCKED)
                return false;
        }
    return true;
}
