#include "store/by_id.h"

#include "base/mem.h"
#include "base/path.h"
#include "store/blob_trash.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY_MAX 5u
#define PIECE ((size_t)128 * 1024)

static struct by_id *by_id_of(struct store *s)
{
    return (struct by_id *)s;
}

void by_id_free(struct by_id *b)
{
    blob_keep_free(b->keep);
    blob_list_free(&b->suspects);
}

/* ---- scanning ---- */

static void suspect(void *ctx, const char *id)
{
    struct by_id *b = ctx;
    blob_list_add(&b->suspects, id, strlen(id));
}

int by_id_begin(struct by_id *b, const struct uuid *id, const char *group, struct store_scan *out, struct err *e)
{
    *out = (struct store_scan){0};
    int rc = blob_keep_begin(b->keep, id, group, &b->o.rules, &out->before, suspect, b, e);
    blob_list_sort(&b->suspects);
    return rc;
}

int by_id_guard(const struct by_id *b, uint64_t before, const char *what, const char *disk, struct err *e)
{
    if (before <= 1 || b->o.rules.emptied || b->o.rules.adopted)
        return 0;
    return err_set(e, ERR_GUARD, "%s: %s, though it held %" PRIu64 " objects when it was last seen: check that %s is mounted (if "
                   "this is meant, --max-delete 100%% lets it pass)", b->o.root, what, before, disk);
}

bool by_id_due(struct by_id *b, const char *id)
{
    if (b->o.checksum || blob_list_find(&b->suspects, id))
        return true;
    return b->o.rules.parts > 0 && digest_check(id, strlen(id)) % b->o.rules.parts == b->o.rules.part - 1;
}

void by_id_tell_damage(const struct by_id *b, const char *id)
{
    if (b->o.watch.damage)
        b->o.watch.damage(b->o.watch.ctx, id, BY_ID_DAMAGED);
}

void by_id_take(struct by_id_names *n, const char *name, size_t len)
{
    if (blob_is_id(name, len))
        blob_list_add(n->list, name, len);
    else
        by_id_skip(n, name, len);
}

void by_id_skip(struct by_id_names *n, const char *name, size_t len)
{
    char one[64];
    size_t at = strlen(n->shown);
    if (n->skipped++ < SAY_MAX)
        snprintf(n->shown + at, sizeof n->shown - at, "%s%.40s", at ? ", " : "", path_show(one, sizeof one, name, len));
}

void by_id_tell_skipped(const struct by_id *b, const struct by_id_names *n, const char *who, const char *what)
{
    struct err text;
    if (n->skipped == 0)
        return;
    err_set(&text, 0, "%s has %" PRIu64 " %s that cannot be %s, and %s skipped: %s%s", who, n->skipped,
            n->skipped == 1 ? "name" : "names", what, n->skipped == 1 ? "is" : "are", n->shown,
            n->skipped > SAY_MAX ? ", ..." : "");
    b->o.watch.problem(b->o.watch.ctx, false, NULL, text.msg);
}

/* ---- reading ---- */

void by_id_blob_begin(struct by_id_blob *b, const struct entry *want)
{
    *b = (struct by_id_blob){.id = mem_strdup(want->path), .digest = want->digest};
    b->sha1 = sha1_names(want->path, want->path_len) ? sha1_new() : NULL;
    b->sum = blob_is_read(want) ? digest_new() : NULL;
    if (b->sum)
        digest_reset(b->sum);
}

void by_id_blob_add(struct by_id_blob *b, const void *p, size_t n)
{
    if (b->sha1)
        sha1_add(b->sha1, p, n);
    if (b->sum)
        digest_add(b->sum, p, n);
    b->got += n;
}

/* Content that won over other content must still be the same. */
static bool is_other(const struct by_id_blob *b)
{
    struct digest found = b->sum ? digest_end(b->sum) : b->digest;
    return !digest_same(&found, &b->digest);
}

int by_id_blob_end(struct by_id *b, const struct by_id_blob *blob, const char *path, struct err *e)
{
    if (is_other(blob))
        return err_set(e, ERR_CHANGED, "changed during the run; left for the next run");
    if (!blob->sha1 || sha1_is(blob->sha1, blob->id))
        return STORE_BLOB_END;
    if (b->scanned && !b->o.dry_run) {
        int rc = blob_keep_damaged(b->keep, blob->id, e);
        if (rc < 0)
            return rc;
        by_id_tell_damage(b, blob->id);
    }
    return err_set(e, ERR_DAMAGED, "%s%s%s " BY_ID_DAMAGED, b->o.root, path, blob->id);
}

void by_id_blob_free(struct by_id_blob *b)
{
    sha1_free(b->sha1);
    if (b->sum)
        digest_free(b->sum);
    free(b->id);
}

/* ---- as in struct store_ops ---- */

int by_id_status(struct store *s, struct store_status *out, struct err *e)
{
    return blob_keep_status(by_id_of(s)->keep, out, e);
}

int by_id_manifest(struct store *s)
{
    return blob_keep_manifest(by_id_of(s)->keep);
}

int by_id_manifest_before(struct store *s)
{
    return blob_keep_manifest_before(by_id_of(s)->keep);
}

int by_id_have(struct store *s, const struct digest *d, size_t n, uint8_t *have, struct err *e)
{
    (void)s;
    (void)d;
    (void)e;
    memset(have, STORE_HAVE_NOT, n);
    return 0;
}

int by_id_read_open(struct store *s, const struct entry *want, struct err *e)
{
    (void)s;
    (void)want;
    return err_set(e, ERR_UNSUPPORTED, "is known by its id");
}

int by_id_read_file(struct store *s, const struct entry *want, void *buf, struct err *e)
{
    (void)buf;
    return by_id_read_open(s, want, e);
}

int by_id_read_link(struct store *s, const struct entry *want, char *target, size_t size, struct err *e)
{
    (void)target;
    (void)size;
    return by_id_read_open(s, want, e);
}

int by_id_check(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e)
{
    struct by_id *b = by_id_of(s);
    struct store_blob *blob;
    struct buf bytes = {0};
    struct err why;
    (void)read; /* a name in a list is no proof of content */
    *found = STORE_CHECK_CHANGED;
    if (s->ops->blob_open(s, want, &blob, &why) < 0)
        return 0;
    int rc, stop = 0;
    while ((rc = s->ops->blob_read(s, blob, &bytes, PIECE, &why)) >= 0 && rc != STORE_BLOB_END && stop == 0) {
        bytes.len = 0;
        if (b->turn)
            b->turn(b, rc > 0);
        stop = b->o.watch.progress(b->o.watch.ctx, 0, 0);
    }
    s->ops->blob_close(s, blob);
    buf_free(&bytes);
    if (rc == STORE_BLOB_END)
        *found = STORE_CHECK_GOOD;
    else if (rc == ERR_DAMAGED)
        *found = STORE_CHECK_DAMAGED;
    return stop < 0 ? err_set(e, stop, "the work was stopped") : 0;
}

int by_id_nothing(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e)
{
    (void)s;
    (void)want;
    (void)fd;
    (void)size;
    (void)e;
    return 0;
}

int by_id_put_keep(struct store *s, uint64_t n, struct err *e)
{
    (void)s;
    (void)n;
    return err_set(e, ERR_UNSUPPORTED, "no parts are kept here");
}

int by_id_trash_list(struct store *s, int (*tell)(void *ctx, const struct store_trash *item), void *ctx, struct err *e)
{
    return blob_trash_list(by_id_of(s)->keep, tell, ctx, e);
}

int by_id_trash_empty(struct store *s, int64_t now, int64_t older, uint64_t *items, uint64_t *bytes, struct err *e)
{
    struct by_id *b = by_id_of(s);
    assert(!b->o.dry_run);
    return blob_trash_empty(b->keep, &b->o, now, older, items, bytes, e);
}
