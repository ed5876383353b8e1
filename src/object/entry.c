#include "object/entry.h"

#include <inttypes.h>
#include <string.h>

void holders_copy(struct holders *to, const struct holders *from)
{
    to->n = from->n;
    memmove(to->who, from->who, from->n * sizeof from->who[0]);
}

void entry_copy(struct entry *to, const struct entry *from)
{
    if (to == from)
        return;
    memcpy(to, from, offsetof(struct entry, holders));
    holders_copy(&to->holders, &from->holders);
    version_copy(&to->version, &from->version);
}

static bool time_fits(int64_t sec)
{
    return sec >= -ENTRY_TIME_MAX && sec <= ENTRY_TIME_MAX;
}

static bool stamp_fits(struct stamp t)
{
    return time_fits(t.sec) && t.nsec <= 999999999;
}

static int check_kind(const struct entry *e, struct err *err)
{
    static const struct digest no_digest;
    switch (e->kind) {
    case ENTRY_FILE:
        if (e->size > ENTRY_SIZE_MAX)
            return err_set(err, ERR_FORMAT, "file of %" PRIu64 " bytes", e->size);
        return 0;
    case ENTRY_LINK:
        if (e->size < 1 || e->size > ENTRY_TARGET_MAX)
            return err_set(err, ERR_FORMAT, "symlink with a target of %" PRIu64 " bytes", e->size);
        if (e->mode != ENTRY_MODE_MAX)
            return err_set(err, ERR_FORMAT, "symlink of mode %o", e->mode);
        return 0;
    case ENTRY_DIR:
        if (e->size || e->mtime.sec || e->mtime.nsec || !digest_same(&e->digest, &no_digest))
            return err_set(err, ERR_FORMAT, "directory with size, time or digest");
        return 0;
    case ENTRY_GONE:
        if (e->size || e->mode || e->mtime.nsec || !digest_same(&e->digest, &no_digest))
            return err_set(err, ERR_FORMAT, "tombstone with size, mode, digest or a fraction of a second");
        if (e->flags & (unsigned)(ENTRY_DAMAGED | ENTRY_UNKNOWN))
            return err_set(err, ERR_FORMAT, "tombstone with flags %x", e->flags);
        return 0;
    }
    return err_set(err, ERR_FORMAT, "object of unknown kind %d", (int)e->kind);
}

int entry_check(const struct entry *e, struct err *err)
{
    int rc = check_kind(e, err);
    if (rc < 0)
        return rc;
    if (e->flags & ~(unsigned)(ENTRY_HIDDEN | ENTRY_DAMAGED | ENTRY_UNKNOWN))
        return err_set(err, ERR_FORMAT, "unknown flags %x", e->flags);
    if (e->mode > ENTRY_MODE_MAX)
        return err_set(err, ERR_FORMAT, "mode %o is more than permissions", e->mode);
    if (!stamp_fits(e->mtime) || !stamp_fits(e->place.ctime) || !time_fits(e->first_seen))
        return err_set(err, ERR_FORMAT, "time out of range");
    return 0;
}

bool entry_same_content(const struct entry *a, const struct entry *b)
{
    if (a->kind != b->kind)
        return false;
    return a->kind == ENTRY_DIR || a->kind == ENTRY_GONE || (a->size == b->size && digest_same(&a->digest, &b->digest));
}

bool entry_same_meta(const struct entry *a, const struct entry *b)
{
    if (a->kind != b->kind || (a->kind != ENTRY_LINK && a->mode != b->mode))
        return false;
    return a->kind == ENTRY_DIR || clock_cmp(a->mtime, b->mtime) == 0;
}

bool entry_same_record(const struct entry *a, const struct entry *b)
{
    return a->first_seen == b->first_seen && uuid_same(&a->origin, &b->origin) &&
           version_same(&a->version, &b->version);
}

/* The first member that is not before who. */
static uint32_t holders_at(const struct holders *h, const struct uuid *who)
{
    uint32_t i = 0;
    while (i < h->n && uuid_cmp(&h->who[i], who) < 0)
        i++;
    return i;
}

bool holders_have(const struct holders *h, const struct uuid *who)
{
    uint32_t i = holders_at(h, who);
    return i < h->n && uuid_same(&h->who[i], who);
}

int holders_add(struct holders *h, const struct uuid *who)
{
    uint32_t i = holders_at(h, who);
    if (i < h->n && uuid_same(&h->who[i], who))
        return 0;
    if (h->n == VERSION_MEMBERS_MAX)
        return -1;
    memmove(h->who + i + 1, h->who + i, (h->n - i) * sizeof h->who[0]);
    h->who[i] = *who;
    h->n++;
    return 0;
}

void holders_drop(struct holders *h, const struct uuid *who)
{
    uint32_t i = holders_at(h, who);
    if (i >= h->n || !uuid_same(&h->who[i], who))
        return;
    h->n--;
    memmove(h->who + i, h->who + i + 1, (h->n - i) * sizeof h->who[0]);
}

void holders_both(struct holders *h, const struct holders *other)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n; i++)
        if (holders_have(other, &h->who[i]))
            h->who[n++] = h->who[i];
    h->n = n;
}

bool holders_valid(const struct holders *h)
{
    if (h->n > VERSION_MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < h->n; i++)
        if (uuid_none(&h->who[i]) || (i > 0 && uuid_cmp(&h->who[i - 1], &h->who[i]) >= 0))
            return false;
    return true;
}

bool holders_same(const struct holders *a, const struct holders *b)
{
    return a->n == b->n && memcmp(a->who, b->who, a->n * sizeof a->who[0]) == 0;
}

const char *entry_kind_name(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_FILE: return "file";
    case ENTRY_LINK: return "symlink";
    case ENTRY_DIR: return "directory";
    case ENTRY_GONE: return "deleted";
    }
    return "unknown";
}
