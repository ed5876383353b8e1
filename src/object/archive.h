/*
 * Bundles (pax streams) and the mtree text, through libarchive: the archive*.c files alone know it.
 * libarchive is only a codec here: whoever unpacks puts objects through the store.
 * Names are bytes: nothing here depends on the locale.
 */
#ifndef OBJECT_ARCHIVE_H
#define OBJECT_ARCHIVE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "object/entry.h"

/* ---- writing a pax stream: bytes are appended to a buffer that the caller drains between calls ---- */

struct archive_out;
/* pax; headers of 1 KiB (hdrcharset=BINARY) stand only before objects that need them: names beyond ASCII, nanoseconds. sink borrowed */
struct archive_out *archive_out_new(struct buf *sink, struct err *e);
void archive_out_free(struct archive_out *a); /* writes nothing; NULL is fine */
/*
 * Begins an object: a file of entry->size bytes follows through archive_out_data; a symlink's target is
 * given here (NUL-terminated; else NULL). An object that was not finished is finished first.
 */
int archive_out_begin(struct archive_out *a, const struct entry *entry, const char *target,
                      struct err *e);
/* The next piece of the file's content. A piece that exceeds entry->size is ERR_CHANGED, and not written. */
int archive_out_data(struct archive_out *a, const void *p, size_t n, struct err *e);
/*
 * Pads a file that was given fewer bytes with zeros, all at once. Who must keep the sink small calls
 * archive_out_pad before, and drains, until that returns 0: it adds at most max zeros (1: some are
 * still missing).
 */
int archive_out_finish_object(struct archive_out *a, struct err *e);
int archive_out_pad(struct archive_out *a, size_t max, struct err *e);
/* End-of-archive blocks; after it only archive_out_free. */
int archive_out_end(struct archive_out *a, struct err *e);

/* ---- reading: bytes are pushed in, objects come out ---- */

/*
 * libarchive pulls, the agent is pushed to: pull() is called for more bytes and may block (the agent
 * reads its link in it). It returns the count and sets *p (valid until the next call), 0 at the end,
 * <0 on error (with e filled). It is not called again after 0 or an error, and what lies behind the
 * end-of-archive blocks need not be asked for.
 */
typedef ssize_t archive_pull(void *ctx, const void **p, struct err *e);

/* An object as the archive says it: hostile until compared with what was expected. */
struct archive_object {
    const char *path; size_t path_len; /* checked with path_check, without a directory's final '/' */
    enum entry_kind kind;
    uint64_t size;      /* of a file: bytes that archive_in_data will give; of a symlink: of its target */
    const char *target; /* of a symlink, else NULL. Both strings: borrowed until the next archive_in_next */
};

struct archive_in;
/* tar (pax) and at most one layer of zstd. Nothing is pulled yet. */
struct archive_in *archive_in_new(archive_pull *pull, void *ctx, struct err *e);
void archive_in_free(struct archive_in *a); /* NULL is fine */
/*
 * 1: *o is the next object; 0: end; ERR_FORMAT for anything but plain files, symlinks and directories,
 * hard links included, for an archive without its end-of-archive blocks, and for a header beyond any use.
 * 0 and errors are final.
 */
int archive_in_next(struct archive_in *a, struct archive_object *o, struct err *e);
/*
 * The next piece of the object's content: count and *p (valid until the next call); 0 at its end; holes
 * come as zeros; overlapping or backward sparse maps are ERR_FORMAT. What is not read is skipped.
 */
ssize_t archive_in_data(struct archive_in *a, const void **p, struct err *e);

/* ---- mtree: text of a manifest that standard mtree tools verify ---- */

struct archive_mtree;
/*
 * Written to fd (borrowed), through a buffer. With sha256, content handed to archive_mtree_data is
 * digested (standard tools know no XXH3). Entries come in path order, parents first; a directory's time
 * is not written. '*', '?' and '[' in names are written for mtree(8), which takes names for patterns.
 */
struct archive_mtree *archive_mtree_new(int fd, bool sha256, struct err *e);
int archive_mtree_put(struct archive_mtree *m, const struct entry *entry, const char *target,
                      struct err *e); /* target: a symlink's, else NULL */
/* Of the last file put. It gets a digest when exactly its size was handed in; more is ERR_CHANGED. */
int archive_mtree_data(struct archive_mtree *m, const void *p, size_t n, struct err *e);
int archive_mtree_end(struct archive_mtree *m, struct err *e); /* flushes and frees, also on error */

#endif
