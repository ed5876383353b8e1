#include "object/manifest_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"

#define WINDOW (256u << 10) /* bytes asked of the kernel at once */

struct manifest_reader {
    int fd;              /* borrowed */
    uint8_t *data;       /* a window on the file: len bytes from offset at on */
    size_t len, cap;
    uint64_t at;
    uint64_t next;       /* offset of the next record */
    uint64_t block;      /* of the block that entries come from */
    uint64_t blocks;     /* passed so far */
    bool whole;          /* no jump so far: totals mean something */
    bool ended, failed;
    struct manifest_totals totals; /* of the end record, once ended */
    struct manifest_decoder *decoder;
    struct digest_state *digest; /* over what raw access gave out */
};

/* One block as it lies in the window. */
struct block {
    const uint8_t *shared, *private_part;
    size_t shared_len, private_len;
};

/* Makes the n bytes at this offset lie in the window. *p is valid until the next call. */
static int want(struct manifest_reader *r, uint64_t at, size_t n, const uint8_t **p, struct err *err)
{
    uint64_t skip = at - r->at; /* wraps to something huge when at lies before the window */
    if (skip > r->len || r->len - skip < n) {
        size_t keep = skip < r->len ? r->len - (size_t)skip : 0;
        if (n > r->cap) {
            r->cap = n > WINDOW ? n : WINDOW;
            r->data = mem_resize(r->data, r->cap, 1);
        }
        if (keep)
            memmove(r->data, r->data + skip, keep);
        r->at = at;
        r->len = keep;
        ssize_t got = file_pread(r->fd, r->data + keep, r->cap - keep, (off_t)(at + keep));
        if (got < 0)
            return err_sys(err, "reading a manifest");
        r->len += (size_t)got;
        if (r->len < n)
            return err_set(err, ERR_FORMAT, "manifest is cut short");
        skip = 0;
    }
    *p = r->data + skip;
    return 0;
}

struct manifest_reader *manifest_reader_new(int fd, struct manifest_head *head, struct err *err)
{
    struct manifest_reader *r = mem_zalloc(sizeof *r);
    const uint8_t *p;
    r->fd = fd;
    r->whole = true;
    r->next = r->block = MANIFEST_HEAD_LEN;
    r->decoder = manifest_decoder_new();
    r->digest = digest_new();
    if (want(r, 0, MANIFEST_HEAD_LEN, &p, err) < 0 || manifest_get_head(p, head, err) < 0) {
        manifest_reader_free(r);
        return NULL;
    }
    return r;
}

void manifest_reader_free(struct manifest_reader *r)
{
    if (!r)
        return;
    manifest_decoder_free(r->decoder);
    digest_free(r->digest);
    free(r->data);
    free(r);
}

static int load_end(struct manifest_reader *r, struct err *err)
{
    const uint8_t *p;
    uint64_t blocks, behind = r->next + MANIFEST_END_LEN;
    uint8_t more;
    int rc = want(r, r->next, MANIFEST_END_LEN, &p, err);
    if (rc == 0)
        rc = manifest_get_end(p, &r->totals, &blocks, err);
    if (rc < 0)
        return rc;
    if (r->whole && blocks != r->blocks)
        return err_set(err, ERR_FORMAT, "manifest has lost blocks");
    ssize_t n = file_pread(r->fd, &more, 1, (off_t)behind);
    if (n < 0)
        return err_sys(err, "reading a manifest");
    if (n > 0)
        return err_set(err, ERR_FORMAT, "manifest with bytes after its end");
    r->ended = true;
    return 0;
}

static int load_block(struct manifest_reader *r, struct block *b, struct err *err)
{
    const uint8_t *p;
    int rc = want(r, r->next, MANIFEST_BLOCK_HEAD_LEN, &p, err);
    if (rc < 0)
        return rc;
    struct rd in = rd_of(p + 1, MANIFEST_BLOCK_HEAD_LEN - 1);
    b->shared_len = rd_u32(&in);
    b->private_len = rd_u32(&in);
    uint64_t sum = rd_u64(&in);
    if (b->shared_len > MANIFEST_BLOCK_MAX || b->private_len > MANIFEST_BLOCK_MAX)
        return err_set(err, ERR_FORMAT, "block that is larger than a manifest allows");
    size_t parts = b->shared_len + b->private_len;
    if ((rc = want(r, r->next, MANIFEST_BLOCK_HEAD_LEN + parts, &p, err)) < 0)
        return rc;
    b->shared = p + MANIFEST_BLOCK_HEAD_LEN;
    b->private_part = b->shared + b->shared_len;
    if (digest_check2(p + 1, 8, b->shared, parts) != sum)
        return err_set(err, ERR_FORMAT, "block is damaged: its checksum differs");
    r->block = r->next;
    r->next += MANIFEST_BLOCK_HEAD_LEN + parts;
    r->blocks++;
    return 1;
}

/* 1: b is the next block; 0: that was the end record; or an error, which then stands for all that follows. */
static int load(struct manifest_reader *r, struct block *b, struct err *err)
{
    const uint8_t *mark;
    if (r->failed)
        return err_set(err, ERR_FORMAT, "manifest after its first error");
    if (r->ended)
        return 0;
    uint64_t at = r->next;
    int rc = want(r, at, 1, &mark, err);
    if (rc == 0 && *mark == MANIFEST_BLOCK_MARK)
        rc = load_block(r, b, err);
    else if (rc == 0 && *mark == MANIFEST_END_MARK)
        rc = load_end(r, err);
    else if (rc == 0)
        rc = err_set(err, ERR_FORMAT, "neither a block nor the end of a manifest");
    if (rc < 0) {
        r->failed = true;
        err_wrap(err, "byte %" PRIu64, at);
    }
    return rc;
}

int manifest_reader_next(struct manifest_reader *r, const struct entry **e, struct err *err)
{
    struct block b;
    int rc;
    while ((rc = manifest_decoder_next(r->decoder, e, err)) == 0) {
        bool ended = r->ended;
        if ((rc = load(r, &b, err)) < 0)
            return rc;
        if (rc == 0) {
            if (!ended && (rc = manifest_decoder_end(r->decoder, &r->totals, err)) < 0)
                break;
            return 0;
        }
        if ((rc = manifest_decoder_block(r->decoder, b.shared, b.shared_len, b.private_part, b.private_len,
                                         err)) < 0)
            break;
    }
    if (rc < 0) {
        r->failed = true;
        err_wrap(err, "block at byte %" PRIu64, r->block);
    }
    return rc;
}

uint64_t manifest_reader_block(const struct manifest_reader *r)
{
    return r->block;
}

int manifest_reader_seek(struct manifest_reader *r, uint64_t block, struct err *err)
{
    if (block < MANIFEST_HEAD_LEN || block > INT64_MAX - 4 * (uint64_t)MANIFEST_BLOCK_MAX)
        return err_set(err, ERR_FORMAT, "no block of a manifest can be at byte %" PRIu64, block);
    r->next = r->block = block;
    r->whole = r->ended = r->failed = false;
    manifest_decoder_jump(r->decoder);
    return 0;
}

int manifest_reader_raw(struct manifest_reader *r, const void **shared, size_t *len,
                        struct manifest_totals *totals, struct err *err)
{
    struct block b;
    bool ended = r->ended;
    int rc = load(r, &b, err);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        if (r->whole)
            digest_add(r->digest, b.shared, b.shared_len);
        *shared = b.shared;
        *len = b.shared_len;
        return 1;
    }
    if (r->whole && !ended) {
        struct digest d = digest_end(r->digest);
        if (!digest_same(&d, &r->totals.shared)) {
            r->failed = true;
            return err_set(err, ERR_FORMAT, "digest of the manifest does not agree with its blocks");
        }
    }
    *totals = r->totals;
    return 0;
}

int manifest_file_totals(int fd, struct manifest_totals *totals, struct err *err)
{
    uint8_t head_bytes[MANIFEST_HEAD_LEN], end_bytes[MANIFEST_END_LEN];
    struct manifest_head head;
    struct stat st;
    uint64_t blocks;
    if (fstat(fd, &st) < 0)
        return err_sys(err, "reading a manifest");
    ssize_t n = file_pread(fd, head_bytes, sizeof head_bytes, 0);
    if (n < 0)
        return err_sys(err, "reading a manifest");
    if ((size_t)n < sizeof head_bytes)
        return err_set(err, ERR_FORMAT, "manifest is cut short");
    int rc = manifest_get_head(head_bytes, &head, err);
    if (rc < 0)
        return rc;
    if (st.st_size < (off_t)(MANIFEST_HEAD_LEN + MANIFEST_END_LEN))
        return err_set(err, ERR_FORMAT, "manifest is cut short");
    n = file_pread(fd, end_bytes, sizeof end_bytes, st.st_size - (off_t)sizeof end_bytes);
    if (n < 0)
        return err_sys(err, "reading a manifest");
    if ((size_t)n < sizeof end_bytes)
        return err_set(err, ERR_FORMAT, "manifest is cut short");
    return manifest_get_end(end_bytes, totals, &blocks, err);
}
