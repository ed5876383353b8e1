#include "object/archive.h"

#include "base/mem.h"
#include "base/path.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/*
 * Two readers, one behind the other: the first only takes off zstd, the second only
 * knows tar. So all that the tar reader sees passes through feed(), which bounds what
 * one header may take, however well it was compressed: libarchive holds a header's
 * attributes and sparse map in memory, and works on some lists in quadratic time.
 */
#define HEADER_MAX (256u * 1024) /* bytes of one header with all that belongs to it */
#define SLICE (128u * 1024)      /* bytes handed to the tar reader in one go */
#define ZEROS 65536u             /* the longest piece of a hole */

enum state { STATE_NEW, STATE_OPEN, STATE_END, STATE_BROKEN };

struct archive_in {
    archive_pull *pull;
    void *ctx;
    struct archive *plain, *tar;
    locale_t bytes;        /* "C": in others libarchive normalises names that are UTF-8 */
    enum state state;
    struct err pulled;     /* what pull() said; code 0: nothing bad */
    bool drained, starved; /* pull() said that it has no more; the tar reader was told so */
    const uint8_t *block;  /* of plain, not yet handed on */
    size_t block_left;
    bool in_header;
    size_t header_used;

    /* the current object's content */
    bool file, last;       /* last: the tar reader has no more of it */
    uint64_t size, at;     /* at: bytes given so far */
    const void *piece;     /* read but not given since a hole comes before it; NULL: none */
    size_t piece_len;
    uint64_t piece_at;
    char path[PATH_LEN_MAX + 1];
};

static la_ssize_t from_pull(struct archive *codec, void *ctx, const void **p)
{
    struct archive_in *a = ctx;
    ssize_t n = a->drained ? 0 : a->pull(a->ctx, p, &a->pulled);
    if (n < 0) {
        if (a->pulled.code == 0)
            err_set(&a->pulled, (int)n, "archive: its bytes cannot be read");
        archive_set_error(codec, EIO, "no bytes");
        return ARCHIVE_FATAL;
    }
    a->drained = n == 0;
    return n;
}

/* The tar reader's source. */
static la_ssize_t feed(struct archive *codec, void *ctx, const void **p)
{
    struct archive_in *a = ctx;
    if (a->in_header && a->header_used >= HEADER_MAX) {
        archive_set_error(codec, EINVAL, "a header of more than %u bytes", HEADER_MAX);
        return ARCHIVE_FATAL;
    }
    while (a->block_left == 0) {
        const void *block;
        la_int64_t offset;
        int rc = archive_read_data_block(a->plain, &block, &a->block_left, &offset);
        if (rc == ARCHIVE_EOF) {
            a->block_left = 0;
            a->starved = true;
            return 0;
        }
        if (rc != ARCHIVE_OK) {
            const char *why = archive_error_string(a->plain);
            archive_set_error(codec, EINVAL, "%s", why ? why : "damaged compression");
            return ARCHIVE_FATAL;
        }
        a->block = block;
    }
    size_t n = a->block_left < SLICE ? a->block_left : SLICE;
    *p = a->block;
    a->block += n;
    a->block_left -= n;
    a->header_used += n;
    return (la_ssize_t)n;
}

static int broken(struct archive_in *a, struct archive *codec, struct err *e)
{
    const char *why = codec ? archive_error_string(codec) : NULL;
    a->state = STATE_BROKEN;
    if (a->pulled.code == 0)
        return err_set(e, ERR_FORMAT, "archive: %s", why ? why : "damaged");
    if (e)
        *e = a->pulled;
    return a->pulled.code;
}

static int bad(struct archive_in *a, const char *why, struct err *e)
{
    a->state = STATE_BROKEN;
    return err_set(e, ERR_FORMAT, "archive: %s", why);
}

struct archive_in *archive_in_new(archive_pull *pull, void *ctx, struct err *e)
{
    struct archive_in *a = mem_zalloc(sizeof *a);
    a->pull = pull;
    a->ctx = ctx;
    a->plain = archive_read_new();
    a->tar = archive_read_new();
    a->bytes = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!a->plain || !a->tar || !a->bytes)
        abort(); /* as base/mem.h does */
    /* A warning here would mean that libarchive wants to run an external program. */
    if (archive_read_support_filter_zstd(a->plain) != ARCHIVE_OK ||
        archive_read_support_format_raw(a->plain) != ARCHIVE_OK ||
        archive_read_support_format_tar(a->tar) != ARCHIVE_OK) {
        err_set(e, ERR_UNSUPPORTED, "this libarchive cannot read tar and zstd");
        archive_in_free(a);
        return NULL;
    }
    return a;
}

void archive_in_free(struct archive_in *a)
{
    if (!a)
        return;
    archive_read_free(a->tar);
    archive_read_free(a->plain);
    freelocale(a->bytes);
    free(a);
}

static int open_readers(struct archive_in *a, struct err *e)
{
    struct archive_entry *whole;
    if (archive_read_open2(a->plain, a, NULL, from_pull, NULL, NULL) != ARCHIVE_OK)
        return broken(a, a->plain, e);
    /* Each layer could ask for a window of 128 MiB. */
    if (archive_filter_count(a->plain) > 2)
        return bad(a, "compressed more than once", e);
    int rc = archive_read_next_header(a->plain, &whole);
    if (rc != ARCHIVE_OK && a->drained && a->pulled.code == 0)
        return bad(a, "empty or damaged", e);
    if (rc != ARCHIVE_OK || archive_read_open2(a->tar, a, NULL, feed, NULL, NULL) != ARCHIVE_OK)
        return broken(a, rc != ARCHIVE_OK ? a->plain : a->tar, e);
    a->state = STATE_OPEN;
    return 0;
}

/* A tool writes a directory with a '/' at its end; all else is as path_check wants it. */
static int take_path(struct archive_in *a, struct archive_entry *h, struct archive_object *o, struct err *e)
{
    const char *path = archive_entry_pathname(h);
    size_t len = path ? strlen(path) : 0;
    if (len > 1 && o->kind == ENTRY_DIR && path[len - 1] == '/')
        len--;
    if (path_check(path ? path : "", len, e) < 0) {
        a->state = STATE_BROKEN;
        return err_wrap(e, "archive");
    }
    memcpy(a->path, path, len);
    a->path[len] = '\0';
    o->path = a->path;
    o->path_len = len;
    return 0;
}

static int take_object(struct archive_in *a, struct archive_entry *h, struct archive_object *o, struct err *e)
{
    *o = (struct archive_object){0};
    if (archive_entry_hardlink(h))
        return bad(a, "a hard link", e);
    switch (archive_entry_filetype(h)) {
    case AE_IFREG:
        o->kind = ENTRY_FILE;
        if (!archive_entry_size_is_set(h) || archive_entry_size(h) < 0)
            return bad(a, "a file without a size", e);
        o->size = (uint64_t)archive_entry_size(h);
        break;
    case AE_IFLNK:
        o->kind = ENTRY_LINK;
        o->target = archive_entry_symlink(h);
        o->size = o->target ? strlen(o->target) : 0;
        if (o->size == 0 || o->size > PATH_LEN_MAX)
            return bad(a, "a symlink whose target is empty or too long", e);
        break;
    case AE_IFDIR:
        o->kind = ENTRY_DIR;
        break;
    default:
        return bad(a, "neither file, symlink nor directory", e);
    }
    a->file = o->kind == ENTRY_FILE;
    a->size = o->size;
    return take_path(a, h, o, e);
}

static int next(struct archive_in *a, struct archive_object *o, struct err *e)
{
    if (a->state == STATE_NEW) {
        int rc = open_readers(a, e);
        if (rc < 0)
            return rc;
    } else if (archive_read_data_skip(a->tar) != ARCHIVE_OK) {
        return broken(a, a->tar, e); /* skipped here, so that content does not count as header */
    }
    a->file = false;
    a->last = false;
    a->piece = NULL;
    a->at = 0;
    struct archive_entry *h;
    a->header_used = 0;
    a->in_header = true;
    int rc = archive_read_next_header(a->tar, &h);
    a->in_header = false;
    if (rc == ARCHIVE_EOF && a->starved)
        return bad(a, "cut short: no end mark", e);
    if (rc == ARCHIVE_EOF) {
        a->state = STATE_END;
        return 0;
    }
    /* A warning is about names in other character sets or attributes that we do not use. */
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return broken(a, a->tar, e);
    rc = take_object(a, h, o, e);
    return rc < 0 ? rc : 1;
}

int archive_in_next(struct archive_in *a, struct archive_object *o, struct err *e)
{
    if (a->state == STATE_END)
        return 0;
    if (a->state == STATE_BROKEN)
        return broken(a, NULL, e);
    locale_t before = uselocale(a->bytes);
    int rc = next(a, o, e);
    uselocale(before);
    return rc;
}

/* Reads up to the next piece, or sets last. */
static int next_piece(struct archive_in *a, struct err *e)
{
    while (!a->piece && !a->last) {
        const void *p;
        size_t n;
        la_int64_t at;
        int rc = archive_read_data_block(a->tar, &p, &n, &at);
        if (rc == ARCHIVE_EOF) {
            a->last = true;
            return 0;
        }
        if (rc != ARCHIVE_OK)
            return broken(a, a->tar, e);
        if (n == 0)
            continue;
        if (at < 0 || (uint64_t)at < a->at)
            return bad(a, "a sparse map that overlaps or runs backward", e);
        if ((uint64_t)at > a->size || n > a->size - (uint64_t)at)
            return bad(a, "content beyond the file's size", e);
        a->piece = p;
        a->piece_len = n;
        a->piece_at = (uint64_t)at;
    }
    return 0;
}

static ssize_t data(struct archive_in *a, const void **p, struct err *e)
{
    static const uint8_t zeros[ZEROS];
    int rc = next_piece(a, e);
    if (rc < 0)
        return rc;
    uint64_t hole = (a->piece ? a->piece_at : a->size) - a->at;
    size_t n;
    if (hole > 0) {
        n = hole < sizeof zeros ? (size_t)hole : sizeof zeros;
        *p = zeros;
    } else if (a->piece) {
        n = a->piece_len;
        *p = a->piece;
        a->piece = NULL;
    } else {
        return 0;
    }
    a->at += n;
    return (ssize_t)n;
}

ssize_t archive_in_data(struct archive_in *a, const void **p, struct err *e)
{
    if (a->state == STATE_BROKEN)
        return broken(a, NULL, e);
    if (a->state != STATE_OPEN || !a->file)
        return 0;
    locale_t before = uselocale(a->bytes);
    ssize_t n = data(a, p, e);
    uselocale(before);
    return n;
}
