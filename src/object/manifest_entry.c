/* The pieces that records are made of: one entry by itself, totals, header and end record. */
#include "object/manifest_format.h"

#include <inttypes.h>

const char *manifest_misplaced(const struct manifest_last *last, size_t common, const char *tail, size_t n,
                               enum entry_kind kind)
{
    if (path_cmp(last->path + common, last->len - common, tail, n) >= 0)
        return "is out of order";
    if (kind == ENTRY_GONE)
        return NULL;
    const char *slash = memrchr(tail, '/', n);
    if (slash ? slash != tail || common != last->len || last->dirs != last->len
              : last->gone && path_parent(last->path, common) > last->dirs)
        return "comes without its directory";
    return NULL;
}

void manifest_follow(struct manifest_last *last, const char *path, size_t len, size_t common, enum entry_kind kind)
{
    last->gone = kind == ENTRY_GONE;
    if (!last->gone) {
        last->dirs = kind == ENTRY_DIR ? len : path_parent(path, len);
    } else {
        size_t most = common < last->dirs ? common : last->dirs;
        while (most > 0 && path[most] != '/')
            most--;
        last->dirs = most;
    }
    last->len = len;
}

int manifest_check_path(const char *path, size_t len, size_t common, struct err *err)
{
    const char *slash = memrchr(path, '/', common);
    size_t from = slash ? (size_t)(slash - path) + 1 : 0;
    if (len > PATH_LEN_MAX)
        return err_set(err, ERR_FORMAT, "path of %zu bytes", len);
    return path_check(path + from, len - from, err);
}

unsigned manifest_bits(const struct entry *e)
{
    return (unsigned)e->kind | (e->flags & ENTRY_HIDDEN ? BIT_HIDDEN : 0u) |
           (e->flags & ENTRY_DAMAGED ? BIT_DAMAGED : 0u) | (e->flags & ENTRY_UNKNOWN ? BIT_UNKNOWN : 0u);
}

int manifest_take_bits(uint64_t bits, struct entry *e, struct err *err)
{
    if (bits & ~(uint64_t)BITS_ALONE)
        return err_set(err, ERR_FORMAT, "entry with unknown flags %#" PRIx64, bits);
    e->kind = (enum entry_kind)(bits & BIT_KIND);
    e->flags = (bits & BIT_HIDDEN ? ENTRY_HIDDEN : 0u) | (bits & BIT_DAMAGED ? ENTRY_DAMAGED : 0u) |
               (bits & BIT_UNKNOWN ? ENTRY_UNKNOWN : 0u);
    return 0;
}

struct uuid manifest_get_uuid(struct rd *in)
{
    struct uuid u = {{0}};
    const uint8_t *p = rd_bytes(in, sizeof u.b);
    if (p)
        memcpy(u.b, p, sizeof u.b);
    return u;
}

void manifest_put_content(struct buf *out, const struct entry *e)
{
    if (e->kind == ENTRY_DIR)
        return;
    if (e->kind == ENTRY_GONE) {
        manifest_put_svarint(out, e->mtime.sec);
        return;
    }
    manifest_put_varint(out, e->size);
    manifest_put_stamp(out, e->mtime);
    buf_put(out, e->digest.b, digest_len((enum digest_algo)e->digest.algo));
}

void manifest_get_content(struct rd *in, enum digest_algo algo, struct entry *e)
{
    e->size = 0;
    e->mtime = (struct stamp){0, 0};
    e->digest = (struct digest){0};
    if (e->kind == ENTRY_DIR)
        return;
    if (e->kind == ENTRY_GONE) {
        e->mtime.sec = manifest_svarint(in);
        return;
    }
    e->size = manifest_varint(in);
    e->mtime = manifest_get_stamp(in);
    size_t n = digest_len(algo);
    const uint8_t *p = rd_bytes(in, n);
    if (p)
        memcpy(e->digest.b, p, n);
    e->digest.algo = (uint8_t)algo;
}

void manifest_put_entry(struct buf *out, const struct entry *e)
{
    manifest_put_varint(out, manifest_bits(e) | (e->holders.n ? BIT_HOLDERS : 0u) |
                                 (e->digest.algo == DIGEST_SHA256 ? BIT_OTHER_DIGEST : 0u));
    buf_str(out, e->path, e->path_len);
    manifest_put_varint(out, e->mode);
    manifest_put_content(out, e);
    manifest_put_varint(out, e->version.n);
    for (uint32_t i = 0; i < e->version.n; i++) {
        buf_put(out, e->version.item[i].who.b, sizeof(struct uuid));
        manifest_put_varint(out, e->version.item[i].count);
    }
    buf_put(out, e->origin.b, sizeof(struct uuid));
    manifest_put_svarint(out, e->first_seen);
    if (e->holders.n == 0)
        return;
    manifest_put_varint(out, e->holders.n);
    buf_put(out, e->holders.who, e->holders.n * sizeof e->holders.who[0]);
}

static void get_version(struct rd *in, struct version *v)
{
    uint64_t n = manifest_varint(in);
    v->n = 0;
    if (n > VERSION_MEMBERS_MAX)
        in->bad = true;
    for (; !in->bad && v->n < n; v->n++) {
        v->item[v->n].who = manifest_get_uuid(in);
        v->item[v->n].count = manifest_varint(in);
    }
}

/* There is at least one where they are said at all. */
static void get_holders(struct rd *in, struct holders *h)
{
    uint64_t n = manifest_varint(in);
    if (n == 0 || n > VERSION_MEMBERS_MAX)
        in->bad = true;
    for (; !in->bad && h->n < n; h->n++)
        h->who[h->n] = manifest_get_uuid(in);
}

static int get_entry(struct rd *in, char *path, struct entry *e, struct err *err)
{
    memset(e, 0, offsetof(struct entry, holders));
    e->holders.n = 0;
    uint64_t bits = manifest_varint(in);
    int rc = manifest_take_bits(bits & ~(uint64_t)(BIT_HOLDERS | BIT_OTHER_DIGEST), e, err);
    if (rc < 0)
        return rc;
    if (bits & BIT_OTHER_DIGEST && !manifest_digested(e->kind))
        return err_set(err, ERR_FORMAT, SAYS_DIGEST);
    const char *p = rd_str(in, PATH_LEN_MAX, &e->path_len);
    uint64_t mode = manifest_varint(in);
    e->mode = mode <= UINT32_MAX ? (uint32_t)mode : UINT32_MAX;
    manifest_get_content(in, bits & BIT_OTHER_DIGEST ? DIGEST_SHA256 : DIGEST_XXH3_128, e);
    get_version(in, &e->version);
    e->origin = manifest_get_uuid(in);
    e->first_seen = manifest_svarint(in);
    if (bits & BIT_HOLDERS)
        get_holders(in, &e->holders);
    if (in->bad)
        return err_set(err, ERR_FORMAT, "entry is cut short or malformed");
    if ((rc = path_check(p, e->path_len, err)) < 0 || (rc = entry_check(e, err)) < 0)
        return rc;
    if (!version_valid(&e->version))
        return err_set(err, ERR_FORMAT, "version that is out of order, or counts to 0");
    if (!holders_valid(&e->holders))
        return err_set(err, ERR_FORMAT, SAYS_HOLDERS);
    memcpy(path, p, e->path_len);
    path[e->path_len] = '\0';
    e->path = path;
    return 0;
}

int manifest_get_entry(struct rd *in, char *path, struct entry *e, struct err *err)
{
    int rc = get_entry(in, path, e, err);
    if (rc < 0)
        in->bad = true;
    return rc;
}

void manifest_put_place(struct buf *out, const struct entry_place *p)
{
    manifest_put_varint(out, (p->racy ? PLACE_RACY : 0u) | (p->verified ? PLACE_VERIFIED : 0u));
    manifest_put_varint(out, p->dev);
    manifest_put_varint(out, p->ino);
    manifest_put_stamp(out, p->ctime);
    if (p->verified)
        manifest_put_svarint(out, p->verified);
}

int manifest_get_place(struct rd *in, struct entry_place *p, struct err *err)
{
    uint64_t bits = manifest_varint(in);
    p->racy = bits & PLACE_RACY;
    p->dev = manifest_varint(in);
    p->ino = manifest_varint(in);
    p->ctime = manifest_get_stamp(in);
    p->verified = bits & PLACE_VERIFIED ? manifest_svarint(in) : 0;
    if (bits & ~(uint64_t)(PLACE_RACY | PLACE_VERIFIED) || p->ctime.nsec > 999999999 ||
        p->ctime.sec < -ENTRY_TIME_MAX || p->ctime.sec > ENTRY_TIME_MAX || p->verified < -ENTRY_TIME_MAX ||
        p->verified > ENTRY_TIME_MAX)
        in->bad = true;
    return in->bad ? err_set(err, ERR_FORMAT, "place of an entry is cut short or malformed") : 0;
}

void manifest_count(struct manifest_totals *t, const struct entry *e)
{
    t->entries++;
    if (e->flags & ENTRY_HIDDEN || e->kind == ENTRY_GONE)
        return;
    if (e->kind == ENTRY_DIR)
        t->dirs++;
    else
        t->objects++;
    if (e->kind == ENTRY_FILE && __builtin_add_overflow(t->bytes, e->size, &t->bytes))
        t->bytes = UINT64_MAX;
}

bool manifest_totals_same(const struct manifest_totals *a, const struct manifest_totals *b)
{
    return a->entries == b->entries && a->objects == b->objects && a->dirs == b->dirs &&
           a->bytes == b->bytes && digest_same(&a->shared, &b->shared);
}

void manifest_put_totals(struct buf *out, const struct manifest_totals *t)
{
    buf_u64(out, t->entries);
    buf_u64(out, t->objects);
    buf_u64(out, t->dirs);
    buf_u64(out, t->bytes);
    buf_put(out, t->shared.b, DIGEST_LEN);
}

void manifest_get_totals(struct rd *in, struct manifest_totals *t)
{
    memset(t, 0, sizeof *t);
    t->entries = rd_u64(in);
    t->objects = rd_u64(in);
    t->dirs = rd_u64(in);
    t->bytes = rd_u64(in);
    const uint8_t *p = rd_bytes(in, DIGEST_LEN);
    if (p)
        memcpy(t->shared.b, p, DIGEST_LEN);
}

/* Closes a record that began at offset from with the checksum of its bytes. */
static void put_sum(struct buf *out, size_t from)
{
    buf_u64(out, digest_check(out->data + from, out->len - from));
}

static bool sum_agrees(const uint8_t *p, size_t len)
{
    struct rd sum = rd_of(p + len - 8, 8);
    return rd_u64(&sum) == digest_check(p, len - 8);
}

void manifest_put_head(struct buf *out, const struct manifest_head *head)
{
    size_t from = out->len;
    buf_put(out, MANIFEST_MAGIC, 8);
    buf_u16(out, MANIFEST_VERSION);
    buf_u8(out, (uint8_t)(head->algo + 1));
    buf_u8(out, 0);
    buf_u32(out, MANIFEST_HEAD_LEN);
    buf_put(out, head->store.b, sizeof head->store.b);
    buf_u64(out, head->floor);
    buf_u64(out, (uint64_t)head->scanned.sec);
    buf_u32(out, head->scanned.nsec);
    put_sum(out, from);
}

int manifest_get_head(const uint8_t p[MANIFEST_HEAD_LEN], struct manifest_head *head, struct err *err)
{
    struct rd in = rd_of(p, MANIFEST_HEAD_LEN);
    if (memcmp(rd_bytes(&in, 8), MANIFEST_MAGIC, 8) != 0)
        return err_set(err, ERR_FORMAT, "not a manifest");
    /* Another version may have another checksum, so it is named before the checksum is looked at. */
    unsigned version = rd_u16(&in);
    if (version != MANIFEST_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "manifest of format version %u; this program knows version %d",
                       version, MANIFEST_VERSION);
    if (!sum_agrees(p, MANIFEST_HEAD_LEN))
        return err_set(err, ERR_FORMAT, "manifest header is damaged");
    unsigned algo = rd_u8(&in);
    if (algo != DIGEST_XXH3_128 + 1 && algo != DIGEST_SHA256 + 1)
        return err_set(err, ERR_UNSUPPORTED, "manifest with the unknown digest algorithm %u", algo);
    unsigned reserved = rd_u8(&in);
    uint32_t len = rd_u32(&in);
    head->algo = (enum digest_algo)(algo - 1);
    head->store = manifest_get_uuid(&in);
    head->floor = rd_u64(&in);
    head->scanned.sec = (int64_t)rd_u64(&in);
    head->scanned.nsec = rd_u32(&in);
    if (reserved || len != MANIFEST_HEAD_LEN || head->scanned.nsec > 999999999 ||
        head->scanned.sec < -ENTRY_TIME_MAX || head->scanned.sec > ENTRY_TIME_MAX)
        return err_set(err, ERR_FORMAT, "manifest header is malformed");
    return 0;
}

void manifest_put_end(struct buf *out, const struct manifest_totals *t, uint64_t blocks)
{
    size_t from = out->len;
    buf_u8(out, MANIFEST_END_MARK);
    manifest_put_totals(out, t);
    buf_u64(out, blocks);
    put_sum(out, from);
}

int manifest_get_end(const uint8_t p[MANIFEST_END_LEN], struct manifest_totals *t, uint64_t *blocks,
                     struct err *err)
{
    struct rd in = rd_of(p, MANIFEST_END_LEN);
    if (rd_u8(&in) != MANIFEST_END_MARK)
        return err_set(err, ERR_FORMAT, "manifest has no end record");
    if (!sum_agrees(p, MANIFEST_END_LEN))
        return err_set(err, ERR_FORMAT, "end record of the manifest is damaged");
    manifest_get_totals(&in, t);
    *blocks = rd_u64(&in);
    return 0;
}
