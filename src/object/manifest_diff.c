#include "object/manifest_diff.h"

#include "object/manifest_format.h"

#include <stdlib.h>

#include "base/mem.h"

#define LOOK_MAX 65536u /* entries that are compared before the caller may breathe */

/* How a record of a path that is no longer in the manifest begins: as a damaged tombstone, which no entry is. */
#define DROPPED ((unsigned)ENTRY_GONE | BIT_DAMAGED)

static int order(const struct entry *a, const struct entry *b)
{
    return path_cmp(a->path, a->path_len, b->path, b->path_len);
}

/* Alike in all that is shared. */
static bool alike(const struct entry *a, const struct entry *b)
{
    return a->kind == b->kind && a->flags == b->flags && a->size == b->size &&
           digest_same(&a->digest, &b->digest) && entry_same_meta(a, b) && entry_same_record(a, b) &&
           holders_same(&a->holders, &b->holders);
}

/* ---- making it ---- */

struct manifest_diff_writer {
    struct manifest_reader *before, *now;
    const struct entry *old, *new; /* the next of each; NULL at its end */
    bool pull_old, pull_new;       /* it is used up */
};

struct manifest_diff_writer *manifest_diff_writer_new(struct manifest_reader *before,
                                                      struct manifest_reader *now)
{
    struct manifest_diff_writer *w = mem_zalloc(sizeof *w);
    *w = (struct manifest_diff_writer){.before = before, .now = now, .pull_old = true, .pull_new = true};
    return w;
}

void manifest_diff_writer_free(struct manifest_diff_writer *w)
{
    free(w);
}

static int pull(struct manifest_reader *from, const struct entry **head, bool *due, struct err *err)
{
    int rc = *due ? manifest_reader_next(from, head, err) : 1;
    *due = false;
    if (rc == 0)
        *head = NULL;
    return rc < 0 ? rc : 0;
}

static void put_dropped(struct buf *piece, const struct entry *e)
{
    manifest_put_varint(piece, DROPPED);
    buf_str(piece, e->path, e->path_len);
}

int manifest_diff_writer_next(struct manifest_diff_writer *w, struct buf *piece, struct err *err)
{
    piece->len = 0;
    for (unsigned looked = 0; piece->len < MANIFEST_DIFF_TARGET && looked < LOOK_MAX; looked++) {
        int rc = pull(w->before, &w->old, &w->pull_old, err);
        if (rc == 0)
            rc = pull(w->now, &w->new, &w->pull_new, err);
        if (rc < 0)
            return rc;
        if (!w->old && !w->new)
            return piece->len > 0;
        int c = !w->old ? 1 : !w->new ? -1 : order(w->old, w->new);
        if (c < 0)
            put_dropped(piece, w->old);
        else if (c > 0 || !alike(w->old, w->new))
            manifest_put_entry(piece, w->new);
        w->pull_old = w->old && c <= 0;
        w->pull_new = w->new && c >= 0;
    }
    return 1;
}

/* ---- applying it ---- */

struct manifest_diff_reader {
    struct manifest_reader *base;
    const struct entry *old;       /* the base's next entry; NULL at its end */
    bool pull_old, pull_record;    /* it is used up */
    struct rd piece;
    bool closed, ended, failed, base_failed;
    struct manifest_totals claimed;
    bool recorded;                 /* there is a record: of the path in entry */
    bool dropped;                  /* it says that the path is no longer there */
    struct entry entry;            /* its path is our own */
    size_t last_len;               /* the path of the record before; "" when there was none */
    char last[PATH_LEN_MAX + 1];
    char path[PATH_LEN_MAX + 1];
    struct manifest_last given;    /* the last entry that was given out; its path is our own */
    char given_path[PATH_LEN_MAX + 1];
    struct manifest_writer *sum;   /* writes nothing: it knows the totals */
};

struct manifest_diff_reader *manifest_diff_reader_new(struct manifest_reader *base)
{
    static const struct manifest_head head = {.algo = DIGEST_XXH3_128};
    struct manifest_diff_reader *r = mem_zalloc(sizeof *r);
    r->base = base;
    r->pull_old = r->pull_record = true;
    r->piece = rd_of(NULL, 0);
    r->entry.path = r->path;
    r->given = (struct manifest_last){.path = r->given_path};
    r->sum = manifest_writer_new(-1, &head);
    return r;
}

void manifest_diff_reader_free(struct manifest_diff_reader *r)
{
    if (!r)
        return;
    manifest_writer_free(r->sum);
    free(r);
}

static int broken(struct manifest_diff_reader *r, struct err *err, const char *what)
{
    r->failed = true;
    return err_set(err, ERR_FORMAT, "difference of manifests: %s", what);
}

int manifest_diff_reader_piece(struct manifest_diff_reader *r, const void *p, size_t n, struct err *err)
{
    if (r->failed || r->closed || rd_left(&r->piece) > 0)
        return broken(r, err, "a piece that was not asked for");
    if (n == 0 || n > MANIFEST_DIFF_MAX)
        return broken(r, err, "a piece that is empty or too large");
    r->piece = rd_of(p, n);
    return 0;
}

void manifest_diff_reader_close(struct manifest_diff_reader *r, const struct manifest_totals *claimed)
{
    r->closed = true;
    r->claimed = *claimed;
}

bool manifest_diff_reader_base_failed(const struct manifest_diff_reader *r)
{
    return r->base_failed;
}

static int get_dropped(struct manifest_diff_reader *r, struct err *err)
{
    manifest_varint(&r->piece);
    const char *p = rd_str(&r->piece, PATH_LEN_MAX, &r->entry.path_len);
    if (!p)
        return err_set(err, ERR_FORMAT, "path that is too long or cut short");
    int rc = path_check(p, r->entry.path_len, err);
    if (rc < 0)
        return rc;
    memcpy(r->path, p, r->entry.path_len);
    r->path[r->entry.path_len] = '\0';
    r->entry.path = r->path;
    return 0;
}

/* The next record. 1, 0 when there is none in the piece, or ERR_FORMAT. */
static int get_record(struct manifest_diff_reader *r, struct err *err)
{
    if (rd_left(&r->piece) == 0)
        return 0;
    if (r->recorded) {
        memcpy(r->last, r->path, r->entry.path_len);
        r->last_len = r->entry.path_len;
    }
    r->dropped = *r->piece.p == DROPPED;
    int rc = r->dropped ? get_dropped(r, err) : manifest_get_entry(&r->piece, r->path, &r->entry, err);
    if (rc < 0) {
        r->failed = true;
        return err_wrap(err, "difference of manifests");
    }
    r->recorded = true;
    if (path_cmp(r->path, r->entry.path_len, r->last, r->last_len) <= 0)
        return broken(r, err, "records are out of order");
    return 1;
}

static int pull_base(struct manifest_diff_reader *r, struct err *err)
{
    int rc = pull(r->base, &r->old, &r->pull_old, err);
    if (rc < 0)
        r->failed = r->base_failed = true;
    return rc;
}

/* Holds what is given out to the rules of a manifest, whatever it came from. */
static int give(struct manifest_diff_reader *r, const struct entry *from, const struct entry **e, struct err *err)
{
    size_t common = manifest_common(r->given_path, r->given.len, from->path, from->path_len);
    const char *wrong = manifest_misplaced(&r->given, common, from->path + common, from->path_len - common,
                                           from->kind);
    if (wrong) {
        r->failed = true;
        return err_set(err, ERR_FORMAT, "difference of manifests: entry %s: %s", wrong, from->path);
    }
    memcpy(r->given_path + common, from->path + common, from->path_len - common);
    r->given_path[from->path_len] = '\0';
    manifest_follow(&r->given, r->given_path, from->path_len, common, from->kind);
    int rc = manifest_writer_put(r->sum, from, err);
    if (rc < 0) {
        r->failed = true;
        return rc;
    }
    *e = from;
    return MANIFEST_DIFF_ENTRY;
}

static int end(struct manifest_diff_reader *r, struct err *err)
{
    struct manifest_totals totals;
    int rc = r->ended ? 0 : manifest_writer_end(r->sum, &totals, err);
    if (rc == 0 && !r->ended && !manifest_totals_same(&totals, &r->claimed))
        return broken(r, err, "its result does not have the totals that it is said to have");
    r->ended = rc == 0;
    return rc < 0 ? rc : MANIFEST_DIFF_END;
}

/* What the record makes of the path, where c says how that compares to the base's next. 0: nothing to give out. */
static int take_record(struct manifest_diff_reader *r, int c, const struct entry **e, struct err *err)
{
    if (r->dropped && c != 0)
        return broken(r, err, "takes away what is not there");
    if (!r->dropped && c == 0 && alike(r->old, &r->entry))
        return broken(r, err, "an entry that did not change");
    r->pull_record = true;
    r->pull_old = c == 0;
    return r->dropped ? 0 : give(r, &r->entry, e, err);
}

int manifest_diff_reader_next(struct manifest_diff_reader *r, const struct entry **e, struct err *err)
{
    if (r->failed)
        return broken(r, err, "goes on after its first error");
    for (;;) {
        int rc = pull_base(r, err), more = 1;
        if (rc == 0 && r->pull_record)
            rc = more = get_record(r, err);
        if (rc < 0)
            return rc;
        if (!more && !r->closed)
            return MANIFEST_DIFF_MORE;
        r->pull_record = !more;
        if (!more && !r->old)
            return end(r, err);
        int c = !more ? 1 : !r->old ? -1 : order(&r->entry, r->old);
        if (c > 0) {
            r->pull_old = true;
            return give(r, r->old, e, err);
        }
        rc = take_record(r, c, e, err);
        if (rc != 0)
            return rc;
    }
}
