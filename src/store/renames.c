#include "store/renames.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define GONE_MAX ((size_t)1 << 20) /* that are remembered */

struct gone {
    struct digest digest;
    enum entry_kind kind;
    bool found;
    bool there; /* its inode is, under a new name */
    uint64_t dev, ino;
    size_t nth; /* in path order */
    struct uuid origin;
    int64_t first_seen;
};

struct renames {
    struct uuid self;
    int64_t now;
    bool fresh; /* something new was seen */
    struct gone *gone;
    size_t n, cap;
    struct entry entry;
};

struct renames *renames_new(const struct uuid *self, int64_t now)
{
    struct renames *r = mem_zalloc(sizeof *r);
    r->self = *self;
    r->now = now;
    return r;
}

void renames_free(struct renames *r)
{
    if (r)
        free(r->gone);
    free(r);
}

/* Is there content that tells it from others? */
static bool tells(const struct entry *e)
{
    const unsigned not_whole = ENTRY_HIDDEN | ENTRY_UNKNOWN | ENTRY_DAMAGED;
    return (e->kind == ENTRY_FILE || e->kind == ENTRY_LINK) && !(e->flags & not_whole) && e->version.n > 0;
}

void renames_gone(struct renames *r, const struct entry *e)
{
    if (!tells(e) || r->n == GONE_MAX)
        return;
    if (r->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        r->gone = mem_resize(r->gone, r->cap, sizeof *r->gone);
    }
    r->gone[r->n] = (struct gone){e->digest, e->kind, false, false, e->place.dev, e->place.ino, r->n, e->origin, e->first_seen};
    r->n++;
}

/* As the scan records what nothing was known of. */
static bool is_new(const struct renames *r, const struct entry *e)
{
    return e->first_seen == r->now && e->version.n == 1 && tells(e) && uuid_same(&e->origin, &r->self) &&
           version_count(&e->version, &r->self) > 0;
}

void renames_seen(struct renames *r, const struct entry *e)
{
    r->fresh = r->fresh || is_new(r, e);
}

bool renames_any(const struct renames *r)
{
    return r->fresh && r->n > 0;
}

static int by_content(const void *a, const void *b)
{
    const struct gone *x = a, *y = b;
    int c = memcmp(x->digest.b, y->digest.b, DIGEST_LEN);
    if (c != 0)
        return c;
    return x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind) : (x->nth > y->nth) - (x->nth < y->nth);
}

/* The first that is not before e's content. */
static size_t first_like(const struct renames *r, const struct entry *e)
{
    struct gone key = {.digest = e->digest, .kind = e->kind};
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (by_content(&r->gone[mid], &key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/*
 * What e was called before; NULL: nothing. *same: it has its inode. Where that is under no new name, any new one will do;
 * but all that is empty is alike, so that there only the inode speaks.
 */
static struct gone *find(struct renames *r, const struct entry *e, bool *same)
{
    struct gone *other = NULL;
    *same = false;
    for (size_t i = first_like(r, e); i < r->n; i++) {
        struct gone *g = &r->gone[i];
        if (g->kind != e->kind || !digest_same(&g->digest, &e->digest))
            break;
        *same = !g->found && g->ino == e->place.ino && g->dev == e->place.dev && g->ino != 0;
        if (*same)
            return g;
        if (!other && !g->found && !g->there && e->size > 0)
            other = g;
    }
    return other;
}

/* One round over the manifest: the first, without w, finds the inodes that are there. */
static int go_through(struct renames *r, int scanned, struct manifest_writer *w, struct err *err)
{
    struct manifest_head head;
    const struct entry *e;
    bool same;
    int rc;
    struct manifest_reader *in = manifest_reader_new(scanned, &head, err);
    if (!in)
        return err ? err->code : ERR_SYS;
    while ((rc = manifest_reader_next(in, &e, err)) > 0) {
        struct gone *was = is_new(r, e) ? find(r, e, &same) : NULL;
        if (was && !w)
            was->there |= same;
        if (was && w) {
            was->found = true;
            entry_copy(&r->entry, e);
            r->entry.origin = was->origin;
            r->entry.first_seen = was->first_seen;
            e = &r->entry;
        }
        if (w && (rc = manifest_writer_put(w, e, err)) < 0)
            break;
    }
    manifest_reader_free(in);
    return rc;
}

int renames_settle(struct renames *r, int scanned, struct manifest_writer *w, struct err *err)
{
    if (r->n > 1)
        qsort(r->gone, r->n, sizeof *r->gone, by_content);
    int rc = go_through(r, scanned, NULL, err);
    return rc < 0 ? rc : go_through(r, scanned, w, err);
}
