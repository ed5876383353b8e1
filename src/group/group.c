#include "group/group.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/path.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel's own limit */

static void member_free(struct member *m)
{
    free(m->name);
    free(m->alias);
    free(m->listed);
    free(m->file);
    address_free(&m->address);
}

void groups_free(struct groups *g)
{
    for (size_t i = 0; i < g->n; i++) {
        for (size_t k = 0; k < g->group[i].members; k++)
            member_free(&g->group[i].member[k]);
        free(g->group[i].member);
        free(g->group[i].name);
    }
    free(g->group);
    *g = (struct groups){0};
}

struct group *groups_find(const struct groups *g, const char *name)
{
    /* From the end: who builds a list asks for the last one again and again. */
    for (size_t i = g->n; i > 0; i--)
        if (strcmp(g->group[i - 1].name, name) == 0)
            return &g->group[i - 1];
    return NULL;
}

/* Room for one more in an array of n that grows by doubling. */
static void *room_for_one(void *p, size_t n, size_t size)
{
    return n & (n - 1) ? p : mem_resize(p, n ? 2 * n : 1, size);
}

/* "name (file:line)", or the name alone for the command line, into out. */
static const char *member_show(char *out, size_t size, const struct member *m)
{
    if (m->file)
        snprintf(out, size, "%.160s (%.160s:%u)", m->name, m->file, m->line);
    else
        snprintf(out, size, "%.160s", m->name);
    return out;
}

#define SHOW_MAX 352

static int check_name(const struct group *gr, const char *name, const struct address *address, bool named,
                      struct err *e)
{
    char who[SHOW_MAX];
    for (size_t i = 0; i < gr->members; i++) {
        const struct member *m = &gr->member[i];
        if (strcmp(m->name, name) == 0 && (named || strcmp(m->address.text, address->text) != 0))
            return err_set(e, ERR_CONF,
                           "group %.100s has a member of this name already: %s; names are given once",
                           gr->name, member_show(who, sizeof who, m));
    }
    return 0;
}

static struct group *add_group(struct groups *g, const char *name)
{
    g->group = room_for_one(g->group, g->n, sizeof *g->group);
    struct group *gr = &g->group[g->n++];
    *gr = (struct group){.name = mem_strdup(name)};
    return gr;
}

int groups_add(struct groups *g, const char *group, const char *name, struct address *address,
               const char *file, unsigned line, struct err *e)
{
    struct group *gr = groups_find(g, group);
    const char *called = name ? name : address->text;
    if (gr && gr->members >= GROUP_MEMBERS_MAX)
        return err_set(e, ERR_CONF, "group %.100s has more than %d members", group, GROUP_MEMBERS_MAX);
    if (!gr && g->n >= GROUPS_MAX)
        return err_set(e, ERR_CONF, "more than %d groups", GROUPS_MAX);
    int rc = gr ? check_name(gr, called, address, name != NULL, e) : 0;
    if (rc < 0)
        return rc;
    if (!gr)
        gr = add_group(g, group);
    gr->member = room_for_one(gr->member, gr->members, sizeof *gr->member);
    gr->member[gr->members++] = (struct member){
        .name = mem_strdup(called),
        .address = *address,
        .file = file ? mem_strdup(file) : NULL,
        .line = file ? line : 0,
    };
    *address = (struct address){0};
    return 0;
}

/* ---- naming a member ---- */

enum naming { BY_NAME, BY_ADDRESS, BY_HOST, NAMINGS };

static bool is_named(const struct member *m, enum naming by, const char *text)
{
    switch (by) {
    case BY_NAME:
        return strcmp(m->name, text) == 0 || (m->alias && strcmp(m->alias, text) == 0);
    case BY_ADDRESS:
        return strcmp(m->address.text, text) == 0 || (m->listed && strcmp(m->listed, text) == 0);
    default:
        return m->address.host && strcasecmp(m->address.host, text) == 0;
    }
}

unsigned group_member_count(const struct group *g, const char *text, unsigned *member)
{
    unsigned found = 0;
    for (enum naming by = 0; by < NAMINGS && found == 0; by++)
        for (size_t i = 0; i < g->members; i++)
            if (is_named(&g->member[i], by, text)) {
                *member = (unsigned)i;
                found++;
            }
    return found;
}

int group_member_find(const struct group *g, const char *text, unsigned *member, struct err *e)
{
    unsigned found = group_member_count(g, text, member);
    if (found == 1)
        return 0;
    if (found > 1)
        return err_set(e, ERR_CONF, "%.200s may be any of %u members of group %.100s; give the name of one",
                       text, found, g->name);
    return err_set(e, ERR_CONF, "%.200s is no member of group %.100s", text, g->name);
}

int groups_from_args(struct groups *g, char *const *arg, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct address a;
        int rc = address_parse(arg[i], 1, &a, e);
        /* A shell hands over what was meant, so nothing may be trimmed off it. */
        if (rc == 0 && strcmp(a.text, arg[i]) != 0)
            rc = err_set(e, ERR_CONF,
                         "a blank at the edge of the address; a path that really has one is written "
                         "file:///path%%20");
        if (rc == 0)
            rc = groups_add(g, GROUP_DEFAULT, NULL, &a, NULL, 0, e);
        address_free(&a);
        if (rc < 0)
            return err_wrap(e, "member \"%.200s\"", arg[i]);
    }
    return 0;
}

/*
 * Where a member really is, for comparing. text is "" for the root of where, else "/a/b": no "." or empty
 * component, no '/' at its end. Places of different where are never the same or inside each other.
 */
struct place {
    const struct member *member;
    char *where; /* "" for this machine, else scheme, host and port */
    char *text;
    bool exists; /* here, and dev and ino are known */
    dev_t dev;
    ino_t ino;
};

static char *text_of(struct buf *b)
{
    buf_u8(b, '\0');
    b->len--;
    return (char *)b->data;
}

/*
 * If what is in at is a symlink: takes it off at again and returns what is to be walked instead, its target
 * and the rest. NULL when it is none.
 */
static char *follow(struct buf *at, const char *rest)
{
    char target[PATH_LEN_MAX + 1];
    ssize_t n = readlink(text_of(at), target, sizeof target - 1);
    if (n <= 0)
        return NULL;
    target[n] = '\0';
    at->len = target[0] == '/' ? 0 : path_parent(text_of(at), at->len);
    return mem_printf("%s%s", target, rest);
}

/*
 * As realpath, but what does not exist (yet, or because its disk is not mounted) stands for itself, and "/"
 * gives "". Owned by the caller.
 */
static char *resolve(const char *path)
{
    struct buf at = {0};
    char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
    char *walk = mem_printf("%s/%s", cwd ? cwd : "", path);
    int links = 0;
    for (const char *p = walk; *(p += strspn(p, "/")); ) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            at.len = path_parent(text_of(&at), at.len);
        } else if (n != 1 || *p != '.') {
            buf_u8(&at, '/');
            buf_put(&at, p, n);
        }
        p += n;
        char *instead = links < LINKS_MAX ? follow(&at, p) : NULL;
        if (instead) {
            links++;
            free(walk);
            p = walk = instead;
        }
    }
    free(walk);
    free(cwd);
    return text_of(&at);
}

/* The same for a path of another machine, of which we know no more than its text. Owned by the caller. */
static char *tidy(const char *path)
{
    struct buf out = {0};
    for (const char *p = path; *(p += strspn(p, "/")); ) {
        size_t n = strcspn(p, "/");
        if (n != 1 || *p != '.') {
            buf_u8(&out, '/');
            buf_put(&out, p, n);
        }
        p += n;
    }
    return text_of(&out);
}

static unsigned default_port(enum address_kind kind)
{
    switch (kind) {
    case ADDRESS_SSH: return 22;
    case ADDRESS_HTTP: return 80;
    case ADDRESS_HTTPS: return 443;
    case ADDRESS_LOCAL: break;
    }
    return 0;
}

static void place_remote(struct place *p, const struct address *a)
{
    /* Whose home directory it is depends on the user; an absolute path does not. */
    bool home = a->kind == ADDRESS_SSH && a->path[0] == '~', ipv6 = strchr(a->host, ':') != NULL;
    const char *user = home && a->user ? a->user : "";
    char *host = mem_strdup(a->host);
    for (char *c = host; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    p->where = mem_printf("%s://%s%s%s%s%s:%u%s", address_kind_name(a->kind), user, *user ? "@" : "",
                          ipv6 ? "[" : "", host, ipv6 ? "]" : "", a->port ? a->port : default_port(a->kind),
                          home ? "/~" : "");
    p->text = tidy(home ? a->path + 1 : a->path);
    free(host);
}

static void place_local(struct place *p, const struct address *a)
{
    struct stat st;
    p->where = mem_strdup("");
    p->text = resolve(a->path);
    p->exists = stat(p->text, &st) == 0;
    if (p->exists) {
        p->dev = st.st_dev;
        p->ino = st.st_ino;
    }
}

static int refuse_inside(const struct place *in, const struct place *out, struct err *e)
{
    char a[SHOW_MAX], b[SHOW_MAX];
    return err_set(e, ERR_CONF, "%s lies inside %s: %s%.200s is below %s%.200s",
                   member_show(a, sizeof a, in->member), member_show(b, sizeof b, out->member), in->where,
                   in->text, out->where, out->text);
}

static int check_pair(const struct place *a, const struct place *b, struct err *e)
{
    char x[SHOW_MAX], y[SHOW_MAX];
    size_t an = strlen(a->text), bn = strlen(b->text);
    if (strcmp(a->where, b->where) != 0)
        return 0;
    bool node = a->exists && b->exists && a->dev == b->dev && a->ino == b->ino;
    if (node || strcmp(a->text, b->text) == 0)
        return err_set(e, ERR_CONF, "%s and %s are the same store %s%.300s",
                       member_show(x, sizeof x, a->member), member_show(y, sizeof y, b->member), a->where,
                       a->text);
    /* A blob-server's paths below its base are its own; another base is another server. */
    if (a->member->address.kind == ADDRESS_HTTP || a->member->address.kind == ADDRESS_HTTPS)
        return 0;
    if (path_below(b->text, bn, a->text, an))
        return refuse_inside(b, a, e);
    return path_below(a->text, an, b->text, bn) ? refuse_inside(a, b, e) : 0;
}

/* Directories above p that are another member under another name, as a bind mount makes them. */
static int check_above(const struct group *gr, const struct place *place, const struct place *p,
                       struct err *e)
{
    struct stat st;
    if (p->member->address.kind != ADDRESS_LOCAL)
        return 0;
    char *dir = mem_strdup(p->text);
    int rc = 0;
    for (size_t n = path_parent(dir, strlen(dir)); n > 0 && rc == 0; n = path_parent(dir, n)) {
        dir[n] = '\0';
        if (stat(dir, &st) < 0)
            continue;
        for (size_t i = 0; i < gr->members && rc == 0; i++)
            if (place[i].exists && place[i].dev == st.st_dev && place[i].ino == st.st_ino)
                rc = refuse_inside(p, &place[i], e);
    }
    free(dir);
    return rc;
}

static int check_root(const struct place *p, struct err *e)
{
    char who[SHOW_MAX];
    const struct address *a = &p->member->address;
    if (a->kind == ADDRESS_HTTP || a->kind == ADDRESS_HTTPS || a->path[0] == '~' || p->text[0] != '\0')
        return 0;
    return err_set(e, ERR_CONF,
                   "%s is \"/\", which cannot be a store; name a directory below it",
                   member_show(who, sizeof who, p->member));
}

static int check_places(const struct group *gr, struct place *place, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < gr->members && rc == 0; i++)
        rc = check_root(&place[i], e);
    for (size_t i = 0; i < gr->members && rc == 0; i++)
        for (size_t k = 0; k < i && rc == 0; k++)
            rc = check_pair(&place[k], &place[i], e);
    for (size_t i = 0; i < gr->members && rc == 0; i++)
        rc = check_above(gr, place, &place[i], e);
    return rc;
}

int group_check(const struct group *g, struct err *e)
{
    char who[SHOW_MAX];
    if (g->members < 2)
        return err_set(e, ERR_CONF, "has only one member, %s; it takes two to replicate",
                       g->members ? member_show(who, sizeof who, g->member) : "none");
    struct place *place = mem_zalloc(g->members * sizeof *place);
    for (size_t i = 0; i < g->members; i++) {
        place[i].member = &g->member[i];
        if (g->member[i].address.kind == ADDRESS_LOCAL)
            place_local(&place[i], &g->member[i].address);
        else
            place_remote(&place[i], &g->member[i].address);
    }
    int rc = check_places(g, place, e);
    for (size_t i = 0; i < g->members; i++) {
        free(place[i].where);
        free(place[i].text);
    }
    free(place);
    return rc;
}
