#include "object/manifest_format.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"

/*
 * The entry is kept from call to call and only what an entry says anew is overwritten: "as in the entry
 * before" costs nothing. Until a decoded entry replaces it, it is the entry before.
 */
struct manifest_decoder {
    struct entry e;                 /* the last entry; its path is our own. Its holders.who stay where holders.n is 0 */
    uint32_t holders;               /* so many of them were said last in this block */
    enum digest_algo algo;          /* of the last digest in this block */
    char path[PATH_LEN_MAX + 1];
    struct manifest_last last;      /* the same entry, as its successor has to know it */
    struct rd shared, places;
    bool has_places;
    struct manifest_times times;    /* the block's, of verification */
    bool first;                     /* the next entry is the first of its block */
    bool jumped;                    /* and of what comes before it nothing is known */
    bool whole;                     /* no jump so far: totals mean something */
    bool failed;
    uint64_t left;                  /* entries still to come in this block */
    struct uuid *member;            /* the block's table of members */
    size_t members, members_cap;
    struct manifest_totals totals;
    struct digest_state *digest;
};

struct manifest_decoder *manifest_decoder_new(void)
{
    struct manifest_decoder *d = mem_zalloc(sizeof *d);
    d->e.path = d->path;
    d->last.path = d->path;
    d->whole = true;
    d->digest = digest_new();
    return d;
}

void manifest_decoder_free(struct manifest_decoder *d)
{
    if (!d)
        return;
    digest_free(d->digest);
    free(d->member);
    free(d);
}

void manifest_decoder_jump(struct manifest_decoder *d)
{
    d->jumped = true;
    d->whole = d->failed = false;
    d->left = 0;
}

static int broken(struct manifest_decoder *d, struct err *err, const char *what)
{
    d->failed = true;
    return err_set(err, ERR_FORMAT, "%s", what);
}

int manifest_decoder_block(struct manifest_decoder *d, const void *shared, size_t shared_len,
                           const void *private_part, size_t private_len, struct err *err)
{
    if (d->failed || d->left)
        return broken(d, err, "block of a manifest after one that was not used up");
    if (shared_len > MANIFEST_BLOCK_MAX || private_len > MANIFEST_BLOCK_MAX)
        return broken(d, err, "block that is larger than a manifest allows");
    d->shared = rd_of(shared, shared_len);
    d->has_places = private_part != NULL;
    d->places = rd_of(private_part, d->has_places ? private_len : 0);
    d->left = manifest_varint(&d->shared);
    if (d->shared.bad || d->left == 0)
        return broken(d, err, "block without entries");
    d->e.place = (struct entry_place){0};
    d->times.n = 0;
    d->times.last = 0;
    d->first = true;
    d->members = d->holders = 0;
    d->algo = DIGEST_XXH3_128;
    if (d->whole)
        digest_add(d->digest, shared, shared_len);
    return 0;
}

/* Reads the path into place behind what it shares with the one before. */
static int get_path(struct manifest_decoder *d, enum entry_kind kind, struct err *err)
{
    struct manifest_last *last = &d->last;
    uint64_t prefix = manifest_varint(&d->shared);
    if (prefix > last->len || (d->first && prefix))
        return err_set(err, ERR_FORMAT, "path that repeats more than there is");
    size_t n, common = (size_t)prefix;
    const char *tail = rd_str(&d->shared, PATH_LEN_MAX - common, &n);
    if (!tail)
        return err_set(err, ERR_FORMAT, "path that is too long or cut short");
    if (!d->first && common < last->len && n > 0 && d->path[common] == tail[0])
        return err_set(err, ERR_FORMAT, "path that repeats less than it could");

    size_t known = d->first && !d->jumped ? manifest_common(last->path, last->len, tail, n) : common;
    const char *wrong = d->jumped ? NULL : manifest_misplaced(last, known, tail + (known - common),
                                                              n - (known - common), kind);
    memcpy(d->path + common, tail, n);
    d->e.path_len = common + n;
    d->path[d->e.path_len] = '\0';
    if (d->jumped)
        *last = (struct manifest_last){.path = d->path, .dirs = path_parent(d->path, d->e.path_len)};
    manifest_follow(last, d->path, d->e.path_len, d->jumped ? d->e.path_len : known, kind);
    d->jumped = false;
    int rc = manifest_check_path(d->path, d->e.path_len, known, err);
    if (rc == 0 && wrong)
        rc = err_set(err, ERR_FORMAT, "entry %s: %s", wrong, d->path);
    return rc;
}

static struct uuid get_member(struct manifest_decoder *d)
{
    uint64_t i = manifest_varint(&d->shared);
    if (i < d->members)
        return d->member[i];
    struct uuid who = manifest_get_uuid(&d->shared);
    if (i > d->members)
        d->shared.bad = true;
    if (d->shared.bad)
        return who;
    if (d->members == d->members_cap) {
        d->members_cap = d->members_cap ? 2 * d->members_cap : 16;
        d->member = mem_resize(d->member, d->members_cap, sizeof *d->member);
    }
    return d->member[d->members++] = who;
}

static int get_mode(struct manifest_decoder *d, struct err *err)
{
    uint64_t mode = manifest_varint(&d->shared);
    if (mode > ENTRY_MODE_MAX)
        return err_set(err, ERR_FORMAT, "mode %" PRIo64 " is more than permissions", mode);
    if (!d->first && mode == d->e.mode)
        return err_set(err, ERR_FORMAT, "mode is said again");
    d->e.mode = (uint32_t)mode;
    return 0;
}

static int get_version(struct manifest_decoder *d, struct err *err)
{
    struct version *v = &d->e.version;
    uint64_t n = manifest_varint(&d->shared);
    if (n > VERSION_MEMBERS_MAX)
        return err_set(err, ERR_FORMAT, "version of %" PRIu64 " members", n);
    bool again = !d->first && n == v->n;
    v->n = (uint32_t)n;
    for (uint32_t i = 0; i < n; i++) {
        struct version_item item = {.who = get_member(d)};
        item.count = manifest_varint(&d->shared);
        again = again && uuid_same(&item.who, &v->item[i].who) && item.count == v->item[i].count;
        v->item[i] = item;
    }
    if (d->shared.bad || !version_valid(v))
        return err_set(err, ERR_FORMAT, "version that is cut short, out of order, or counts to 0");
    return again ? err_set(err, ERR_FORMAT, "version is said again") : 0;
}

static int get_origin(struct manifest_decoder *d, struct err *err)
{
    struct uuid who = get_member(d);
    int64_t seen = manifest_svarint(&d->shared);
    if (!d->first && seen == d->e.first_seen && uuid_same(&who, &d->e.origin))
        return err_set(err, ERR_FORMAT, "origin is said again");
    d->e.origin = who;
    d->e.first_seen = seen;
    return 0;
}

/* Those of the entry: none, those that were said last, or these, which are others. */
static int get_holders(struct manifest_decoder *d, uint64_t bits, struct err *err)
{
    struct holders *h = &d->e.holders;
    h->n = bits & BIT_SAME_HOLDERS ? d->holders : 0;
    if (!(bits & BIT_HOLDERS))
        return bits & BIT_SAME_HOLDERS && h->n == 0 ? err_set(err, ERR_FORMAT, "holders that were never said") : 0;
    uint64_t n = manifest_varint(&d->shared);
    if (bits & BIT_SAME_HOLDERS || n == 0 || n > VERSION_MEMBERS_MAX)
        return err_set(err, ERR_FORMAT, "%" PRIu64 " holders", n);
    bool again = n == d->holders;
    for (; h->n < n; h->n++) {
        struct uuid who = get_member(d);
        again = again && uuid_same(&who, &h->who[h->n]);
        h->who[h->n] = who;
    }
    d->holders = h->n;
    if (d->shared.bad || !holders_valid(h))
        return err_set(err, ERR_FORMAT, SAYS_HOLDERS);
    return again ? err_set(err, ERR_FORMAT, "holders are said again") : 0;
}

static int get_shared(struct manifest_decoder *d, struct err *err)
{
    uint64_t bits = manifest_varint(&d->shared);
    unsigned same = (unsigned)bits & BITS_SAME;
    int rc;
    if (d->first && same)
        return err_set(err, ERR_FORMAT, "first entry of a block repeats what it cannot know");
    if ((rc = manifest_take_bits(bits & ~(uint64_t)(BITS_SAME | BIT_HOLDERS | BIT_OTHER_DIGEST), &d->e, err)) < 0 ||
        (rc = get_path(d, d->e.kind, err)) < 0)
        return rc;
    if (bits & BIT_OTHER_DIGEST) {
        if (!manifest_digested(d->e.kind))
            return err_set(err, ERR_FORMAT, SAYS_DIGEST);
        d->algo = digest_other(d->algo);
    }
    if (!(same & BIT_SAME_MODE) && (rc = get_mode(d, err)) < 0)
        return rc;
    manifest_get_content(&d->shared, d->algo, &d->e);
    if (!(same & BIT_SAME_VERSION) && (rc = get_version(d, err)) < 0)
        return rc;
    if (!(same & BIT_SAME_ORIGIN) && (rc = get_origin(d, err)) < 0)
        return rc;
    if ((rc = get_holders(d, bits, err)) < 0)
        return rc;
    return d->shared.bad ? err_set(err, ERR_FORMAT, "entry is cut short or malformed") : 0;
}

static void get_verified(struct manifest_decoder *d)
{
    struct manifest_times *t = &d->times;
    uint64_t back = manifest_varint(&d->places);
    if (back == 0)
        manifest_times_new(t, manifest_svarint(&d->places));
    else if (back <= t->n && back <= MANIFEST_TIMES)
        t->last = t->seen[(t->n - back) % MANIFEST_TIMES];
    else
        d->places.bad = true;
    if (t->last < -ENTRY_TIME_MAX || t->last > ENTRY_TIME_MAX)
        d->places.bad = true;
}

static int get_private(struct manifest_decoder *d, struct err *err)
{
    struct entry_place *p = &d->e.place;
    struct rd *in = &d->places;
    uint64_t bits = manifest_varint(in);
    bool same_dev = bits & PLACE_SAME_DEV;
    bool file = d->e.kind == ENTRY_FILE, time = bits & PLACE_VERIFIED;
    if (bits & ~(uint64_t)(PLACE_RACY | PLACE_SAME_DEV | PLACE_VERIFIED) || (same_dev && d->first) || (time && !file))
        in->bad = true;
    p->racy = bits & PLACE_RACY;
    if (!same_dev)
        p->dev = manifest_varint(in);
    p->ino = manifest_varint(in);
    p->ctime = manifest_get_stamp(in);
    if (time)
        get_verified(d);
    p->verified = file ? d->times.last : 0;
    return in->bad ? err_set(err, ERR_FORMAT, "place of an entry is cut short or malformed") : 0;
}

int manifest_decoder_next(struct manifest_decoder *d, const struct entry **e, struct err *err)
{
    int rc;
    if (d->failed)
        return broken(d, err, "manifest after its first error");
    if (d->left == 0)
        return 0;
    if ((rc = get_shared(d, err)) < 0 || (d->has_places && (rc = get_private(d, err)) < 0) ||
        (rc = entry_check(&d->e, err)) < 0) {
        d->failed = true;
        return rc;
    }
    if (--d->left == 0 && (!rd_done(&d->shared) || !rd_done(&d->places)))
        return broken(d, err, "block with bytes after its last entry");
    d->first = false;
    manifest_count(&d->totals, &d->e);
    *e = &d->e;
    return 1;
}

int manifest_decoder_end(struct manifest_decoder *d, const struct manifest_totals *claimed, struct err *err)
{
    if (d->failed || d->left)
        return broken(d, err, "manifest ends in the middle of a block");
    d->totals.shared = digest_end(d->digest);
    if (d->whole && !manifest_totals_same(&d->totals, claimed))
        return broken(d, err, "totals of the manifest do not agree with its entries");
    return 0;
}
