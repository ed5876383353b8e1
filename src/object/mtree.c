#include "object/mtree.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The text is written here, not by libarchive's mtree writer: that one keeps every
 * entry in memory until the end, gives directories a time whether they have one or
 * not, and leaves '*', '?' and '[' as they are, which mtree(8) takes for a pattern.
 * It only lends its SHA-256 where the manifest has none: one small writer for each file,
 * whose text is searched for the digest.
 */
#define FLUSH_AT 65536u
#define SHA256_HEX 64u

struct mtree {
    int fd;
    bool sha256;
    struct buf out;         /* text that was not written yet; the last line may lack its end */
    bool line;              /* it does */
    struct archive *digest; /* of the last file put; NULL: none wanted */
    struct buf said;        /* what that writer wrote */
    uint64_t missing;       /* bytes of the file that were not handed in */
};

static void put_text(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

/* Octal for what has a meaning in the format, or is not printable ASCII. */
static void put_escaped(struct buf *b, const char *p, size_t len)
{
    static const char digits[] = "01234567";
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)p[i];
        if (c > ' ' && c < 0x7f && !strchr("\\#=*?[", c)) {
            buf_u8(b, c);
            continue;
        }
        const char text[] = {'\\', digits[c >> 6], digits[c >> 3 & 7], digits[c & 7]};
        buf_put(b, text, sizeof text);
    }
}

/*
 * mtree(8) decodes a name, and when that has '*', '?' or '[' it takes it for a pattern: so
 * in such a component these, and backslashes, get a backslash that survives the decoding.
 */
static void put_name(struct buf *b, const char *p, size_t len)
{
    bool pattern = false;
    for (size_t i = 0; i < len; i++)
        pattern |= strchr("*?[", p[i]) != NULL;
    for (size_t i = 0; i < len; i++) {
        if (pattern && strchr("*?[\\", p[i]))
            put_escaped(b, "\\", 1);
        put_escaped(b, p + i, 1);
    }
}

static void put_path(struct buf *b, const char *path, size_t len)
{
    put_text(b, ".");
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t end = slash ? (size_t)(slash - path) : len;
        put_text(b, "/");
        put_name(b, path + at, end - at);
        at = end + 1;
    }
}

static void __attribute__((format(printf, 2, 3))) put_printf(struct buf *b, const char *fmt, ...)
{
    char text[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    put_text(b, text);
}

bool mtree_knows(const struct entry *entry)
{
    return entry->kind == ENTRY_FILE && entry->digest.algo == DIGEST_SHA256;
}

/* A symlink has no mode of its own everywhere, and a directory's time is its own affair. */
static void put_line(struct buf *b, const struct entry *entry, const char *target)
{
    put_path(b, entry->path, entry->path_len);
    if (entry->kind == ENTRY_LINK)
        put_text(b, " type=link link=");
    else
        put_printf(b, " type=%s mode=0%03" PRIo32, entry->kind == ENTRY_DIR ? "dir" : "file", entry->mode);
    if (entry->kind == ENTRY_LINK)
        put_escaped(b, target, strlen(target));
    if (entry->kind == ENTRY_FILE)
        put_printf(b, " size=%" PRIu64, entry->size);
    if (entry->kind != ENTRY_DIR)
        put_printf(b, " time=%" PRId64 ".%09" PRIu32, entry->mtime.sec, entry->mtime.nsec);
    char hex[DIGEST_HEX_MAX + 1];
    if (mtree_knows(entry))
        put_printf(b, " sha256digest=%s", digest_hex(hex, &entry->digest));
}

/* ---- digests ---- */

static la_ssize_t hear(struct archive *codec, void *ctx, const void *p, size_t n)
{
    (void)codec;
    buf_put(ctx, p, n);
    return (la_ssize_t)n;
}

static int sha_trouble(struct mtree *m, const char *why, struct err *e)
{
    archive_write_free(m->digest);
    m->digest = NULL;
    return err_set(e, ERR_UNSUPPORTED, "mtree: %s", why);
}

static int sha_begin(struct mtree *m, uint64_t size, struct err *e)
{
    struct archive_entry *h = archive_entry_new();
    m->digest = archive_write_new();
    m->said.len = 0;
    m->missing = size;
    if (!h || !m->digest)
        abort(); /* as base/mem.h does */
    archive_entry_copy_pathname(h, "x");
    archive_entry_set_filetype(h, AE_IFREG);
    archive_entry_set_size(h, (int64_t)size);
    bool ok = archive_write_set_format_mtree(m->digest) == ARCHIVE_OK &&
              archive_write_set_options(m->digest, "!all,sha256") == ARCHIVE_OK &&
              archive_write_set_bytes_per_block(m->digest, 0) == ARCHIVE_OK &&
              archive_write_open(m->digest, &m->said, NULL, hear, NULL) == ARCHIVE_OK &&
              archive_write_header(m->digest, h) == ARCHIVE_OK;
    archive_entry_free(h);
    return ok ? 0 : sha_trouble(m, "this libarchive has no SHA-256", e);
}

static int sha_end(struct mtree *m, struct err *e)
{
    static const char key[] = " sha256digest=";
    if (!m->digest)
        return 0;
    if (archive_write_close(m->digest) != ARCHIVE_OK)
        return sha_trouble(m, "SHA-256 failed", e);
    if (m->missing == 0) {
        uint8_t *at = memmem(m->said.data, m->said.len, key, sizeof key - 1);
        size_t n = sizeof key - 1 + SHA256_HEX;
        if (!at || (size_t)(m->said.data + m->said.len - at) < n)
            return sha_trouble(m, "this libarchive has no SHA-256", e);
        buf_put(&m->out, at, n);
    }
    archive_write_free(m->digest);
    m->digest = NULL;
    return 0;
}

/* ---- */

struct mtree *mtree_new(int fd, bool sha256, struct err *e)
{
    (void)e;
    struct mtree *m = mem_zalloc(sizeof *m);
    m->fd = fd;
    m->sha256 = sha256;
    put_text(&m->out, "#mtree\n. type=dir\n"); /* mtree(8) wants the root first */
    return m;
}

static int flush(struct mtree *m, struct err *e)
{
    int rc = m->out.len ? file_write(m->fd, m->out.data, m->out.len) : 0;
    m->out.len = 0;
    return rc < 0 ? err_sys(e, "writing the mtree text") : 0;
}

static int end_line(struct mtree *m, struct err *e)
{
    int rc = sha_end(m, e);
    if (m->line)
        put_text(&m->out, "\n");
    m->line = false;
    return rc;
}

int mtree_put(struct mtree *m, const struct entry *entry, const char *target, struct err *e)
{
    int rc = end_line(m, e);
    if (rc == 0 && m->out.len >= FLUSH_AT)
        rc = flush(m, e);
    if (rc < 0)
        return rc;
    if (entry->kind == ENTRY_LINK && !target)
        return err_set(e, ERR_FORMAT, "symlink without a target");
    put_line(&m->out, entry, target);
    m->line = true;
    return m->sha256 && entry->kind == ENTRY_FILE && !mtree_knows(entry) ? sha_begin(m, entry->size, e) : 0;
}

int mtree_data(struct mtree *m, const void *p, size_t n, struct err *e)
{
    if (!m->digest || n == 0)
        return 0;
    if (n > m->missing)
        return err_set(e, ERR_CHANGED, "more content than the entry says: the file grew");
    if (archive_write_data(m->digest, p, n) < 0)
        return sha_trouble(m, "SHA-256 failed", e);
    m->missing -= n;
    return 0;
}

int mtree_end(struct mtree *m, struct err *e)
{
    int rc = end_line(m, e);
    if (rc == 0)
        rc = flush(m, e);
    archive_write_free(m->digest); /* of a line that could not be ended */
    buf_free(&m->out);
    buf_free(&m->said);
    free(m);
    return rc;
}
