/*
 * What the manifest's writer, decoder and reader share: the numbers of the format,
 * which sos-manifest(5) explains, and the rules that both sides hold entries to.
 * Private to manifest_*.c.
 */
#ifndef OBJECT_MANIFEST_FORMAT_H
#define OBJECT_MANIFEST_FORMAT_H

#include <string.h>

#include "base/path.h"
#include "object/manifest.h"

#define MANIFEST_MAGIC "SOSMANI\n"
#define MANIFEST_VERSION 1
#define MANIFEST_HEAD_LEN 60u
#define MANIFEST_BLOCK_HEAD_LEN 17u
#define MANIFEST_END_LEN 65u
#define MANIFEST_BLOCK_MARK 'B'
#define MANIFEST_END_MARK 'E'

/*
 * The flags that an entry begins with. Those of the second line mean "as in the entry before". Of the third: holders
 * follow, or are those that were said last in this block; with neither the entry has none.
 */
enum manifest_bit {
    BIT_KIND = 3, BIT_HIDDEN = 4, BIT_DAMAGED = 8, BIT_UNKNOWN = 128,
    BIT_SAME_MODE = 16, BIT_SAME_VERSION = 32, BIT_SAME_ORIGIN = 64,
    BIT_HOLDERS = 256, BIT_SAME_HOLDERS = 512,
    BIT_OTHER_DIGEST = 1024, /* the digest is of the other kind than the one before in this block, or than XXH3-128 */
};
#define BITS_ALONE (BIT_KIND | BIT_HIDDEN | BIT_DAMAGED | BIT_UNKNOWN)
#define BITS_SAME (BIT_SAME_MODE | BIT_SAME_VERSION | BIT_SAME_ORIGIN | BIT_SAME_HOLDERS)
#define SAYS_HOLDERS "holders that are out of order, or are none"
#define SAYS_DIGEST "kind of a digest where there is none"

enum manifest_place_bit { PLACE_RACY = 1, PLACE_SAME_DEV = 2, PLACE_VERIFIED = 4 };

/*
 * Times of verification. Most files of a block have one of a few, as they were scrubbed in parts: a file says only that
 * its own is not that of the file before, and then how long ago it was new in the block. So many are remembered.
 */
#define MANIFEST_TIMES 64u

struct manifest_times {
    int64_t last;                 /* of the file before; in front of the first, 0 */
    int64_t seen[MANIFEST_TIMES]; /* as a ring */
    uint64_t n;                   /* times that were new so far */
};

static inline void manifest_times_new(struct manifest_times *t, int64_t time)
{
    t->seen[t->n++ % MANIFEST_TIMES] = t->last = time;
}

/* The entry before, as far as order and parents go. Before the first entry: the root, "", a directory. */
struct manifest_last {
    const char *path;
    size_t len;
    size_t dirs; /* so many of its bytes name a directory that is in the manifest, with all above it */
    bool gone;   /* it is a tombstone, which needs no directory */
};

/* How many bytes a and b have in common at their start. */
static inline size_t manifest_common(const char *a, size_t alen, const char *b, size_t blen)
{
    size_t n = alen < blen ? alen : blen, i = 0;
    while (i + 8 <= n && memcmp(a + i, b + i, 8) == 0)
        i += 8;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/*
 * rd_varint and buf_varint with the common case inline, which makes a fifth of the time that entries take.
 * What is long, near the end or malformed is left to the functions themselves.
 */
static inline uint64_t manifest_varint(struct rd *in)
{
    const uint8_t *p = in->p;
    uint64_t v = 0;
    if (!in->bad && in->end - p > 5)
        for (unsigned shift = 0; shift < 42; shift += 7) {
            uint8_t c = *p++;
            v |= (uint64_t)(c & 0x7f) << shift;
            if (c == 0 && shift)
                break;
            if (c < 0x80) {
                in->p = p;
                return v;
            }
        }
    return rd_varint(in);
}

static inline int64_t manifest_svarint(struct rd *in)
{
    uint64_t v = manifest_varint(in);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline void manifest_put_varint(struct buf *b, uint64_t v)
{
    if (b->cap - b->len < 10) {
        buf_varint(b, v);
        return;
    }
    uint8_t *p = b->data + b->len;
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    b->len = (size_t)(p - b->data);
}

static inline void manifest_put_svarint(struct buf *b, int64_t v)
{
    manifest_put_varint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

/*
 * May a path follow that has its first common bytes (as many as there are) from the last one, and then tail?
 * NULL, or what is wrong. The new path's parent must be the last entry or one of its ancestors, which
 * are directories, as they were held to the same rule; so no slash may stand in the tail, but one at its
 * very front when it is the last entry that is entered. Tombstones need no parents, and are none: behind one,
 * its ancestors count as far as they are known to be there.
 */
const char *manifest_misplaced(const struct manifest_last *last, size_t common, const char *tail, size_t n,
                               enum entry_kind kind);
/* An entry that has common bytes with the last one takes its place; the caller changes the bytes of last->path. */
void manifest_follow(struct manifest_last *last, const char *path, size_t len, size_t common, enum entry_kind kind);

/* path_check for a path whose first common bytes begin a path that is known to be good. */
int manifest_check_path(const char *path, size_t len, size_t common, struct err *err);

unsigned manifest_bits(const struct entry *e);               /* kind and flags as bits */
int manifest_take_bits(uint64_t bits, struct entry *e, struct err *err); /* and back; BITS_ALONE only */

/* Size, mtime and digest: what a directory does not have. */
void manifest_put_content(struct buf *out, const struct entry *e);
/* in->bad when short or out of a field's type */
void manifest_get_content(struct rd *in, enum digest_algo algo, struct entry *e);

/* Does an entry of this kind have a digest? */
static inline bool manifest_digested(enum entry_kind kind)
{
    return kind == ENTRY_FILE || kind == ENTRY_LINK;
}

static inline void manifest_put_stamp(struct buf *out, struct stamp t)
{
    manifest_put_svarint(out, t.sec);
    manifest_put_varint(out, t.nsec);
}

/* More nanoseconds than the type holds come out as 2^32 - 1, which no check lets pass. */
static inline struct stamp manifest_get_stamp(struct rd *in)
{
    struct stamp t = {.sec = manifest_svarint(in)};
    uint64_t nsec = manifest_varint(in);
    t.nsec = nsec < UINT32_MAX ? (uint32_t)nsec : UINT32_MAX;
    return t;
}

struct uuid manifest_get_uuid(struct rd *in);

void manifest_count(struct manifest_totals *t, const struct entry *e); /* adds e to all but the digest */
bool manifest_totals_same(const struct manifest_totals *a, const struct manifest_totals *b);

void manifest_put_head(struct buf *out, const struct manifest_head *head);
int manifest_get_head(const uint8_t p[MANIFEST_HEAD_LEN], struct manifest_head *head, struct err *err);
void manifest_put_end(struct buf *out, const struct manifest_totals *t, uint64_t blocks);
int manifest_get_end(const uint8_t p[MANIFEST_END_LEN], struct manifest_totals *t, uint64_t *blocks,
                     struct err *err);

/* The decoder forgets what came before: the next block may begin anywhere, and totals are not compared. */
void manifest_decoder_jump(struct manifest_decoder *d);

#endif
