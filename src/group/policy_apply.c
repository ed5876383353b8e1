#include "group/policy_file.h"

#include "base/mem.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/*
 * A policy held against the groups there are. What is unknown is an error wherever we can know that it is: a
 * "blocked" that blocks nobody would be found out too late.
 */
struct check {
    struct policy *p;
    struct groups *g;
    enum policy_from from;
    struct err *e;
};

/* ---- [node] ---- */

/* The same place, whichever way it is written. */
static bool same_address(const struct address *a, const struct address *b)
{
    if (strcmp(a->text, b->text) == 0)
        return true;
    if (a->kind != b->kind || a->port != b->port || strcmp(a->path, b->path) != 0)
        return false;
    if (a->kind == ADDRESS_LOCAL)
        return true;
    return strcasecmp(a->host, b->host) == 0 && strcmp(a->user ? a->user : "", b->user ? b->user : "") == 0;
}

/* Another member of the group that goes by this name already. */
static bool is_taken(const struct group *gr, const struct member *m, const char *name)
{
    for (size_t i = 0; i < gr->members; i++) {
        const struct member *other = &gr->member[i];
        if (other != m &&
            (strcmp(other->name, name) == 0 || (other->alias && strcmp(other->alias, name) == 0)))
            return true;
    }
    return false;
}

static int name_member(struct check *c, const struct group *gr, struct member *m,
                       const struct policy_entry *entry)
{
    const char *name = entry->item[0];
    bool keyed = strcmp(m->name, m->address.text) != 0;
    if (is_taken(gr, m, name))
        return err_set(c->e, ERR_CONF,
                       "name: group %.100s has a member of the name %.100s already; names are given once",
                       gr->name, name);
    /* sos.conf's own name stays the one that is shown. */
    char **to = keyed ? &m->alias : &m->name;
    free(*to);
    *to = mem_strdup(name);
    return 0;
}

static int move_member(struct check *c, struct member *m, const struct policy_entry *entry)
{
    struct address a;
    int rc = address_parse(entry->item[0], 0, &a, c->e);
    if (rc < 0)
        return rc;
    m->listed = m->address.text;
    m->address.text = NULL;
    address_free(&m->address);
    m->address = a;
    return 0;
}

bool policy_is_node(const struct member *m, const char *address)
{
    struct address a, b;
    const char *listed = m->listed ? m->listed : m->address.text;
    if (strcmp(listed, address) == 0)
        return true;
    bool same = address_parse(address, 1, &a, NULL) == 0 && address_parse(listed, 1, &b, NULL) == 0;
    if (same) {
        same = same_address(&a, &b);
        address_free(&b);
    }
    address_free(&a);
    return same;
}

/* What the last [node] section about m says of it. */
static int apply_nodes(struct check *c, const struct group *gr, struct member *m)
{
    const struct policy_entry *name = NULL, *store = NULL, *entry;
    const struct policy_section *name_in = NULL, *store_in = NULL;
    for (size_t i = 0; i < c->p->sections; i++) {
        const struct policy_section *s = &c->p->section[i];
        if (s->kind != SECTION_NODE || !policy_is_node(m, s->name))
            continue;
        if ((entry = policy_section_entry(s, WORD_NAME))) {
            name = entry;
            name_in = s;
        }
        if ((entry = policy_section_entry(s, WORD_STORE))) {
            store = entry;
            store_in = s;
        }
    }
    if (name && name_member(c, gr, m, name) < 0)
        return policy_at(name_in->file, name->line, c->e);
    if (store && move_member(c, m, store) < 0)
        return policy_at(store_in->file, store->line, c->e);
    return 0;
}

static int check_node(struct check *c, const struct policy_section *s)
{
    for (size_t i = 0; i < c->g->n; i++)
        for (size_t k = 0; k < c->g->group[i].members; k++)
            if (policy_is_node(&c->g->group[i].member[k], s->name))
                return 0;
    err_set(c->e, ERR_CONF,
            "no group of sos.conf has a member with the address %.200s; it is written as it is there",
            s->name);
    return policy_at(s->file, s->line, c->e);
}

/* ---- members in lists ---- */

static bool concerns(const struct policy_section *s, const struct group *gr)
{
    return s->kind == SECTION_DEFAULT || (s->kind != SECTION_NODE && strcmp(s->name, gr->name) == 0);
}

/* May a member that no group has be passed over? */
static bool may_be_foreign(const struct check *c)
{
    return c->from == POLICY_ARGS;
}

/* Every item of a list is a member of each group that the section is about; of at least one, in [default]. */
static int check_item(struct check *c, const struct policy_section *s, const struct policy_entry *entry,
                      const char *item)
{
    unsigned member, known = 0;
    for (size_t i = 0; i < c->g->n; i++) {
        const struct group *gr = &c->g->group[i];
        unsigned found = concerns(s, gr) ? group_member_count(gr, item, &member) : 1;
        bool may_lack = s->kind == SECTION_DEFAULT || may_be_foreign(c);
        if (found > 1 || (found == 0 && !may_lack)) {
            group_member_find(gr, item, &member, c->e);
            return err_wrap(c->e, "%s", policy_word_name(entry->word));
        }
        known += concerns(s, gr) ? found : 0;
    }
    if (known || may_be_foreign(c) || (s->kind != SECTION_DEFAULT && !groups_find(c->g, s->name)))
        return 0;
    return err_set(c->e, ERR_CONF, "%s: %.200s is no member of any group", policy_word_name(entry->word),
                   item);
}

/* Two spellings of one member in one list. */
static int check_twice(struct check *c, const struct group *gr, const struct policy_entry *entry)
{
    unsigned member;
    uint64_t seen = 0;
    for (size_t i = 0; i < entry->items; i++) {
        if (group_member_find(gr, entry->item[i], &member, NULL) < 0)
            continue;
        if (seen >> member & 1)
            return err_set(c->e, ERR_CONF, "%s: %.200s is listed twice, also by another name",
                           policy_word_name(entry->word), entry->item[i]);
        seen |= UINT64_C(1) << member;
    }
    return 0;
}

static bool lists(const struct group *gr, const struct policy_entry *entry, unsigned wanted)
{
    unsigned member;
    for (size_t i = 0; i < entry->items; i++)
        if (group_member_find(gr, entry->item[i], &member, NULL) == 0 && member == wanted)
            return true;
    return false;
}

static void remark_both(struct check *c, const struct policy_section *s, const struct group *gr)
{
    const struct policy_entry *preferred = policy_section_entry(s, WORD_PREFERRED),
                              *blocked = policy_section_entry(s, WORD_BLOCKED);
    unsigned member;
    for (size_t i = 0; preferred && blocked && i < preferred->items; i++)
        if (group_member_find(gr, preferred->item[i], &member, NULL) == 0 && lists(gr, blocked, member))
            policy_remark_add(c->p, "%.300s:%u: %.200s is preferred and blocked; blocked wins", s->file,
                              blocked->line, preferred->item[i]);
}

static int check_lists(struct check *c, const struct policy_section *s)
{
    for (size_t i = 0; i < s->entries; i++) {
        const struct policy_entry *entry = &s->entry[i];
        bool named =
            entry->word == WORD_PREFERRED || entry->word == WORD_BLOCKED || entry->word == WORD_CONFLICT;
        int rc = 0;
        for (size_t k = 0; named && k < entry->items && rc == 0; k++)
            rc = check_item(c, s, entry, entry->item[k]);
        for (size_t k = 0; named && k < c->g->n && rc == 0; k++)
            if (concerns(s, &c->g->group[k]))
                rc = check_twice(c, &c->g->group[k], entry);
        if (rc < 0)
            return policy_at(s->file, entry->line, c->e);
    }
    bool said = false;
    for (size_t k = 0; k < c->g->n && !said; k++)
        if (concerns(s, &c->g->group[k])) {
            size_t before = c->p->remarks;
            remark_both(c, s, &c->g->group[k]);
            said = c->p->remarks > before;
        }
    return 0;
}

static int check_group(struct check *c, const struct policy_section *s)
{
    if (c->from != POLICY_CONF || groups_find(c->g, s->name))
        return 0;
    char there[300] = "";
    for (size_t i = 0, n = 0; i < c->g->n && n < sizeof there; i++)
        n += (size_t)snprintf(there + n, sizeof there - n, "%s%s", i ? ", " : "", c->g->group[i].name);
    err_set(c->e, ERR_CONF, "sos.conf has no group %.200s; there are %s", s->name, there);
    return policy_at(s->file, s->line, c->e);
}

int policy_apply(struct policy *p, struct groups *g, enum policy_from from, struct err *e)
{
    struct err unused;
    struct check c = {p, g, from, e ? e : &unused};
    int rc = 0;
    for (size_t i = 0; i < p->sections && rc == 0; i++)
        if (p->section[i].kind == SECTION_NODE && from == POLICY_CONF)
            rc = check_node(&c, &p->section[i]);
    /* Names first: the lists may use them wherever their section stands. */
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < g->group[i].members && rc == 0; k++)
            rc = apply_nodes(&c, &g->group[i], &g->group[i].member[k]);
    for (size_t i = 0; i < p->sections && rc == 0; i++) {
        const struct policy_section *s = &p->section[i];
        if (s->kind == SECTION_NODE)
            continue;
        rc = s->kind == SECTION_DEFAULT ? 0 : check_group(&c, s);
        if (rc == 0)
            rc = check_lists(&c, s);
    }
    return rc;
}
