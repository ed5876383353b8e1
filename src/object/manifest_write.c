#include "object/manifest_format.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

#define FLUSH_AT (256u << 10)

struct manifest_writer {
    int fd;               /* borrowed; -1: nowhere */
    off_t start;          /* of the header, -1 where fd cannot seek */
    bool failed;          /* what stands in the file is cut short */
    struct buf out;       /* finished records, not yet written */
    struct buf shared;    /* entries of the block in the making, without their count */
    struct buf private_part;
    uint64_t in_block;    /* entries in it */
    uint64_t blocks;
    struct uuid *member;  /* the block's table of members */
    size_t members, members_cap;
    struct entry last;    /* the entry before, as far as it may be repeated; its holders: those that were said last in the block */
    enum digest_algo algo; /* of the last digest in the block */
    struct manifest_times times; /* the block's, of verification */
    struct manifest_last at; /* and where it stands; its path is our own */
    char path[PATH_LEN_MAX + 1];
    struct manifest_totals totals;
    struct digest_state *digest;
};

struct manifest_writer *manifest_writer_new(int fd, const struct manifest_head *head)
{
    struct manifest_writer *w = mem_zalloc(sizeof *w);
    w->fd = fd;
    w->start = lseek(fd, 0, SEEK_CUR);
    w->at.path = w->path;
    w->digest = digest_new();
    manifest_put_head(&w->out, head);
    return w;
}

void manifest_writer_free(struct manifest_writer *w)
{
    if (!w)
        return;
    buf_free(&w->out);
    buf_free(&w->shared);
    buf_free(&w->private_part);
    digest_free(w->digest);
    free(w->member);
    free(w);
}

static int flush(struct manifest_writer *w, struct err *err)
{
    if (w->failed)
        return err_set(err, ERR_SYS, "manifest: an earlier write failed");
    if (w->fd >= 0 && file_write(w->fd, w->out.data, w->out.len) < 0) {
        w->failed = true;
        return err_sys(err, "writing a manifest");
    }
    w->out.len = 0;
    return 0;
}

/* Ends the block: its parts go to out, and nothing of it is remembered but the last path, for the order. */
static int cut(struct manifest_writer *w, struct err *err)
{
    struct buf count = {0}, head = {0};
    manifest_put_varint(&count, w->in_block);
    size_t shared_len = count.len + w->shared.len;
    buf_u32(&head, (uint32_t)shared_len);
    buf_u32(&head, (uint32_t)w->private_part.len);

    buf_u8(&w->out, MANIFEST_BLOCK_MARK);
    buf_put(&w->out, head.data, head.len);
    size_t sum = w->out.len;
    buf_u64(&w->out, 0);
    size_t from = w->out.len;
    buf_put(&w->out, count.data, count.len);
    buf_put(&w->out, w->shared.data, w->shared.len);
    buf_put(&w->out, w->private_part.data, w->private_part.len);
    digest_add(w->digest, w->out.data + from, shared_len);
    uint64_t check = digest_check2(head.data, head.len, w->out.data + from, w->out.len - from);
    size_t end = w->out.len;
    w->out.len = sum;
    buf_u64(&w->out, check);
    w->out.len = end;

    w->blocks++;
    w->in_block = w->members = 0;
    w->last.holders.n = 0;
    w->algo = DIGEST_XXH3_128;
    w->times.n = 0;
    w->times.last = 0;
    w->shared.len = w->private_part.len = 0;
    buf_free(&count);
    buf_free(&head);
    return w->out.len >= FLUSH_AT ? flush(w, err) : 0;
}

static void put_member(struct manifest_writer *w, const struct uuid *who)
{
    size_t i = 0;
    while (i < w->members && !uuid_same(&w->member[i], who))
        i++;
    manifest_put_varint(&w->shared, i);
    if (i < w->members)
        return;
    if (w->members == w->members_cap) {
        w->members_cap = w->members_cap ? 2 * w->members_cap : 16;
        w->member = mem_resize(w->member, w->members_cap, sizeof *w->member);
    }
    w->member[w->members++] = *who;
    buf_put(&w->shared, who->b, sizeof who->b);
}

static void put_version(struct manifest_writer *w, const struct version *v)
{
    manifest_put_varint(&w->shared, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        put_member(w, &v->item[i].who);
        manifest_put_varint(&w->shared, v->item[i].count);
    }
}

static void put_holders(struct manifest_writer *w, const struct holders *h)
{
    manifest_put_varint(&w->shared, h->n);
    for (uint32_t i = 0; i < h->n; i++)
        put_member(w, &h->who[i]);
}

/* What of e need not be said, since the entry before in the same block has it too. */
static unsigned repeats(const struct manifest_writer *w, const struct entry *e)
{
    if (w->in_block == 0)
        return 0;
    bool origin = e->first_seen == w->last.first_seen && uuid_same(&e->origin, &w->last.origin);
    return (e->mode == w->last.mode ? BIT_SAME_MODE : 0u) | (origin ? BIT_SAME_ORIGIN : 0u) |
           (version_same(&e->version, &w->last.version) ? BIT_SAME_VERSION : 0u) |
           (e->holders.n && holders_same(&e->holders, &w->last.holders) ? BIT_SAME_HOLDERS : 0u);
}

static void put_shared(struct manifest_writer *w, const struct entry *e, size_t common, unsigned same)
{
    size_t prefix = w->in_block ? common : 0;
    bool holders = e->holders.n && !(same & BIT_SAME_HOLDERS);
    bool other = manifest_digested(e->kind) && e->digest.algo != w->algo;
    if (other)
        w->algo = (enum digest_algo)e->digest.algo;
    manifest_put_varint(&w->shared, manifest_bits(e) | same | (holders ? BIT_HOLDERS : 0u) |
                                        (other ? BIT_OTHER_DIGEST : 0u));
    manifest_put_varint(&w->shared, prefix);
    manifest_put_varint(&w->shared, e->path_len - prefix);
    buf_put(&w->shared, e->path + prefix, e->path_len - prefix);
    if (!(same & BIT_SAME_MODE))
        manifest_put_varint(&w->shared, e->mode);
    manifest_put_content(&w->shared, e);
    if (!(same & BIT_SAME_VERSION))
        put_version(w, &e->version);
    if (!(same & BIT_SAME_ORIGIN)) {
        put_member(w, &e->origin);
        manifest_put_svarint(&w->shared, e->first_seen);
    }
    if (holders)
        put_holders(w, &e->holders);
}

/* How long ago a time was new: 1 for the last that was, and so on; 0 when it is new now, and follows. */
static void put_verified(struct manifest_writer *w, int64_t time)
{
    struct manifest_times *t = &w->times;
    uint64_t back = 1, most = t->n < MANIFEST_TIMES ? t->n : MANIFEST_TIMES;
    while (back <= most && t->seen[(t->n - back) % MANIFEST_TIMES] != time)
        back++;
    manifest_put_varint(&w->private_part, back <= most ? back : 0);
    t->last = time;
    if (back <= most)
        return;
    manifest_put_svarint(&w->private_part, time);
    manifest_times_new(t, time);
}

static void put_private(struct manifest_writer *w, const struct entry *e)
{
    const struct entry_place *p = &e->place;
    bool same_dev = w->in_block && p->dev == w->last.place.dev;
    bool time = e->kind == ENTRY_FILE && p->verified != w->times.last;
    manifest_put_varint(&w->private_part, (p->racy ? PLACE_RACY : 0u) | (same_dev ? PLACE_SAME_DEV : 0u) |
                                              (time ? PLACE_VERIFIED : 0u));
    if (!same_dev)
        manifest_put_varint(&w->private_part, p->dev);
    manifest_put_varint(&w->private_part, p->ino);
    manifest_put_stamp(&w->private_part, p->ctime);
    if (time)
        put_verified(w, p->verified);
}

static void remember(struct manifest_writer *w, const struct entry *e, size_t common, unsigned same)
{
    memcpy(w->path + common, e->path + common, e->path_len - common);
    w->path[e->path_len] = '\0';
    manifest_follow(&w->at, w->path, e->path_len, common, e->kind);
    w->last.mode = e->mode;
    w->last.origin = e->origin;
    w->last.first_seen = e->first_seen;
    w->last.place.dev = e->place.dev;
    if (!(same & BIT_SAME_VERSION))
        version_copy(&w->last.version, &e->version);
    if (e->holders.n && !(same & BIT_SAME_HOLDERS))
        holders_copy(&w->last.holders, &e->holders);
}

int manifest_writer_put(struct manifest_writer *w, const struct entry *e, struct err *err)
{
    if (w->failed)
        return flush(w, err);
    size_t common = manifest_common(w->path, w->at.len, e->path, e->path_len);
    int rc;
    if ((rc = manifest_check_path(e->path, e->path_len, common, err)) < 0 || (rc = entry_check(e, err)) < 0)
        return rc;
    unsigned same = repeats(w, e);
    if (!(same & BIT_SAME_VERSION) && !version_valid(&e->version))
        return err_set(err, ERR_FORMAT, "version that is out of order, or counts to 0");
    if (e->holders.n && !(same & BIT_SAME_HOLDERS) && !holders_valid(&e->holders))
        return err_set(err, ERR_FORMAT, SAYS_HOLDERS);
    if (manifest_misplaced(&w->at, common, e->path + common, e->path_len - common, e->kind))
        abort();
    put_shared(w, e, common, same);
    put_private(w, e);
    remember(w, e, common, same);
    manifest_count(&w->totals, e);
    w->in_block++;
    return w->shared.len >= MANIFEST_BLOCK_TARGET ? cut(w, err) : 0;
}

int manifest_writer_end(struct manifest_writer *w, struct manifest_totals *totals, struct err *err)
{
    int rc = w->in_block ? cut(w, err) : 0;
    if (rc < 0)
        return rc;
    w->totals.shared = digest_end(w->digest);
    manifest_put_end(&w->out, &w->totals, w->blocks);
    if (totals)
        *totals = w->totals;
    return flush(w, err);
}

int manifest_writer_rehead(struct manifest_writer *w, const struct manifest_head *head, struct err *err)
{
    struct buf b = {0};
    int rc = flush(w, err);
    manifest_put_head(&b, head);
    if (rc == 0) {
        ssize_t n = pwrite(w->fd, b.data, b.len, w->start);
        if (n < 0)
            rc = err_sys(err, "writing the header of a manifest");
        else if ((size_t)n < b.len)
            rc = err_set(err, ERR_SYS, "writing the header of a manifest: short write");
    }
    buf_free(&b);
    return rc;
}
