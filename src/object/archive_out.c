#include "object/archive.h"

#include "base/mem.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How much of a file's missing rest is handed to libarchive in one go. */
#define ZEROS 65536u

/*
 * Two writers take turns on one stream. Only binary takes every name as it is, but it puts a pax header of 1 KiB before
 * each object; plain does so only where an object needs one.
 */
struct archive_out {
    struct archive *binary, *plain;
    struct archive *codec;      /* the one of the two that has the current object */
    struct archive_entry *head; /* reused */
    struct buf *sink;
    uint64_t missing;           /* bytes of the current file that were not given yet */
    bool open;                  /* an object was begun and not finished */
};

static la_ssize_t to_sink(struct archive *codec, void *ctx, const void *p, size_t n)
{
    struct archive_out *a = ctx;
    if (!a->sink) {
        archive_set_error(codec, ECANCELED, "given up");
        return ARCHIVE_FATAL;
    }
    buf_put(a->sink, p, n);
    return (la_ssize_t)n;
}

static int failed(struct archive_out *a, const char *what, struct err *e)
{
    const char *why = archive_error_string(a->codec);
    return err_set(e, ERR_FORMAT, "%s: %s", what, why ? why : "unknown trouble");
}

/* Without blocks every byte is in the sink when a call returns. */
static int open_codec(struct archive_out *a, struct archive *codec)
{
    int rc = archive_write_set_bytes_per_block(codec, 0);
    return rc == ARCHIVE_OK ? archive_write_open(codec, a, NULL, to_sink, NULL) : rc;
}

struct archive_out *archive_out_new(struct buf *sink, struct err *e)
{
    struct archive_out *a = mem_zalloc(sizeof *a);
    a->sink = sink;
    a->codec = a->binary = archive_write_new();
    a->plain = archive_write_new();
    a->head = archive_entry_new();
    if (!a->binary || !a->plain || !a->head)
        abort(); /* as base/mem.h does */
    if (archive_write_set_format_pax_restricted(a->plain) != ARCHIVE_OK ||
        archive_write_set_format_pax(a->binary) != ARCHIVE_OK ||
        archive_write_set_format_option(a->binary, "pax", "hdrcharset", "BINARY") != ARCHIVE_OK ||
        open_codec(a, a->plain) != ARCHIVE_OK || open_codec(a, a->binary) != ARCHIVE_OK) {
        failed(a, "archive writer", e);
        archive_out_free(a);
        return NULL;
    }
    return a;
}

void archive_out_free(struct archive_out *a)
{
    if (!a)
        return;
    a->sink = NULL; /* freeing would write the end of the archive (and after archive_write_fail() it leaks) */
    archive_write_free(a->plain);
    archive_write_free(a->binary);
    archive_entry_free(a->head);
    free(a);
}

static void fill_head(struct archive_entry *h, const struct entry *entry, const char *target)
{
    archive_entry_clear(h);
    archive_entry_copy_pathname(h, entry->path);
    archive_entry_set_perm(h, (mode_t)(entry->mode & ENTRY_MODE_MAX));
    archive_entry_set_size(h, 0);
    switch (entry->kind) {
    case ENTRY_FILE:
        archive_entry_set_filetype(h, AE_IFREG);
        archive_entry_set_size(h, (int64_t)entry->size);
        break;
    case ENTRY_LINK:
        archive_entry_set_filetype(h, AE_IFLNK);
        archive_entry_copy_symlink(h, target);
        break;
    case ENTRY_DIR:
        archive_entry_set_filetype(h, AE_IFDIR);
        break;
    }
    /* Before 1970 libarchive writes seconds and nanoseconds as they are, so that other tools misread a
       fraction there by up to two seconds. We take times from the manifest, not from here. */
    if (entry->kind != ENTRY_DIR)
        archive_entry_set_mtime(h, entry->mtime.sec, (long)entry->mtime.nsec);
}

static bool is_ascii(const char *p)
{
    for (; *p; p++)
        if ((unsigned char)*p >= 0x80)
            return false;
    return true;
}

static bool is_plain(const struct entry *entry, const char *target)
{
    return entry->mtime.nsec == 0 && is_ascii(entry->path) && (!target || is_ascii(target));
}

int archive_out_begin(struct archive_out *a, const struct entry *entry, const char *target, struct err *e)
{
    int rc = archive_out_finish_object(a, e);
    if (rc < 0)
        return rc;
    if (entry->kind == ENTRY_LINK && (!target || !*target))
        return err_set(e, ERR_FORMAT, "symlink without a target");
    if (entry->size > INT64_MAX)
        return err_set(e, ERR_FORMAT, "file of %llu bytes", (unsigned long long)entry->size);
    fill_head(a->head, entry, target);
    a->codec = is_plain(entry, target) ? a->plain : a->binary;
    if (archive_write_header(a->codec, a->head) != ARCHIVE_OK)
        return failed(a, "archive header", e);
    a->open = true;
    a->missing = entry->kind == ENTRY_FILE ? entry->size : 0;
    return 0;
}

int archive_out_data(struct archive_out *a, const void *p, size_t n, struct err *e)
{
    if (n > a->missing)
        return err_set(e, ERR_CHANGED, "more content than was announced: the file grew");
    if (n == 0)
        return 0;
    if (archive_write_data(a->codec, p, n) != (la_ssize_t)n)
        return failed(a, "archive content", e);
    a->missing -= n;
    return 0;
}

int archive_out_pad(struct archive_out *a, size_t max, struct err *e)
{
    static const uint8_t zeros[ZEROS];
    while (a->missing > 0 && max > 0) {
        size_t n = sizeof zeros < max ? sizeof zeros : max;
        if (n > a->missing)
            n = (size_t)a->missing;
        int rc = archive_out_data(a, zeros, n, e);
        if (rc < 0)
            return rc;
        max -= n;
    }
    return a->missing > 0;
}

int archive_out_finish_object(struct archive_out *a, struct err *e)
{
    if (!a->open)
        return 0;
    int rc = archive_out_pad(a, SIZE_MAX, e);
    if (rc < 0)
        return rc;
    a->open = false;
    return archive_write_finish_entry(a->codec) == ARCHIVE_OK ? 0 : failed(a, "archive padding", e);
}

int archive_out_end(struct archive_out *a, struct err *e)
{
    int rc = archive_out_finish_object(a, e);
    if (rc < 0)
        return rc;
    a->codec = a->binary;
    return archive_write_close(a->codec) == ARCHIVE_OK ? 0 : failed(a, "end of archive", e);
}
