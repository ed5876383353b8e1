#include "run/run.h"

#include "base/mem.h"
#include "base/path.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* However it was written. */
static char *ssh_where(const struct address *a)
{
    char port[16] = "";
    bool six = strchr(a->host, ':') != NULL;
    if (a->port)
        snprintf(port, sizeof port, ":%u", a->port);
    return mem_printf("ssh://%s%s%s%s%s%s%s%s", a->user ? a->user : "", a->user ? "@" : "", six ? "[" : "", a->host,
                      six ? "]" : "", port, a->path[0] == '/' ? "" : "/", a->path);
}

/* Local: the resolved path, also of a root that does not exist yet. */
char *guard_where(const struct member *m)
{
    if (m->address.kind == ADDRESS_SSH)
        return ssh_where(&m->address);
    if (m->address.kind != ADDRESS_LOCAL)
        return address_url(&m->address);
    char *whole = realpath(m->address.path, NULL);
    if (whole)
        return whole;
    char *a = mem_strdup(m->address.path), *b = mem_strdup(m->address.path);
    char *dir = realpath(dirname(a), NULL);
    whole = dir ? mem_printf("%s/%s", strcmp(dir, "/") ? dir : "", basename(b)) : mem_strdup(m->address.path);
    free(dir);
    free(a);
    free(b);
    return whole;
}

char *guard_where_for(const struct peer *p, const struct peer *q)
{
    char host[256] = "";
    if (!q->remote || p->member->address.kind != ADDRESS_LOCAL || gethostname(host, sizeof host - 1) < 0)
        return mem_strdup(p->where);
    return mem_printf("%s:%s", host, p->where);
}

/* What some other member remembers of the store at this address; NULL when nobody does. */
static const struct store_peer *remembered(struct run *r, const struct peer *p, const char **by)
{
    const struct store_peer *found = NULL;
    for (size_t i = 0; i < r->peers && !found; i++) {
        struct peer *q = &r->peer[i];
        if (q == p || !peer_lives(q))
            continue;
        char *where = guard_where_for(p, q);
        for (size_t k = 0; k < q->knows_n && !found; k++)
            if (strcmp(q->knows[k].address, where) == 0) {
                *by = q->member->name;
                found = &q->knows[k];
            }
        free(where);
    }
    return found;
}

static const struct peer *twin(struct run *r, const struct peer *p)
{
    for (struct peer *q = r->peer; q < p; q++)
        if (peer_lives(q) && (q->flags & OPENED_MARKED) && memcmp(&q->id, &p->id, sizeof p->id) == 0)
            return q;
    return NULL;
}

static void check_identity(struct run *r, struct peer *p)
{
    const char *by = "", *name = p->member->name;
    const struct store_peer *known = remembered(r, p, &by);
    if (known && !(p->flags & OPENED_EXISTS))
        peer_fail(p, ERR_GUARD, "%s is gone, but %s remembers a store there: is a disk not mounted? "
                  "If it is lost for good, run once with --adopt %s to begin it anew", p->where, by, name);
    else if (known && !(p->flags & OPENED_MARKED))
        peer_fail(p, ERR_GUARD, "%s has lost its marker, but %s remembers a store there: is a disk not mounted? "
                  "Do not make the marker by hand; if this is meant, run once with --adopt %s", p->where, by, name);
    else if (known && memcmp(&known->id, &p->id, sizeof p->id) != 0)
        peer_fail(p, ERR_GUARD, "%s is not the store that %s remembers there: is another disk mounted? "
                  "If this is meant, run once with --adopt %s", p->where, by, name);
}

static void check_twin(struct run *r, struct peer *p)
{
    const struct peer *q = twin(r, p);
    if (q)
        peer_fail(p, ERR_GUARD, "it carries the identity of %s: it is a copy made with its %s directory. "
                  "Remove that directory from the copy (not its objects)", q->member->name, PATH_STATE);
}

/* Members on the command line form the group "default", which may be any selection of a group's stores. */
static void check_group(struct run *r, struct peer *p)
{
    if ((p->flags & OPENED_MARKED) && strcmp(p->group, r->group->name) != 0 &&
        strcmp(p->group, GROUP_DEFAULT) != 0 && strcmp(r->group->name, GROUP_DEFAULT) != 0)
        peer_fail(p, ERR_GUARD, "the store belongs to group \"%s\", and nothing travels between groups. "
                  "If it has moved to this one for good, run once with --adopt %s", p->group, p->member->name);
}

void guard_check(struct run *r)
{
    for (size_t i = 0; i < r->peers; i++) {
        struct peer *p = &r->peer[i];
        if (!peer_lives(p))
            continue;
        if (!(p->flags & (OPENED_EXISTS | OPENED_PARENT))) {
            peer_fail(p, ERR_SYS, "%s does not exist, and neither does the directory that it would be made in",
                      p->where);
            continue;
        }
        if (!(p->caps & STORE_BY_ID) != !blobs_group(r->group)) {
            peer_fail(p, ERR_UNSUPPORTED, "its agent is of a version that cannot serve this group of blob-servers");
            continue;
        }
        if (p->flags & OPENED_MARKED)
            check_twin(r, p);
        if (p->adopted || !peer_lives(p))
            continue;
        check_identity(r, p);
        if (peer_lives(p))
            check_group(r, p);
        if (peer_lives(p) && !(p->flags & OPENED_EXISTS) && !r->options->dry_run &&
            !r->only_opens)
            peer_trouble(p, false, NULL, "%s does not exist yet: it is made", p->where);
    }
}
