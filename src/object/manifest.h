/*
 * The manifest: a store's sorted list of entries as a file. sos-manifest(5) gives
 * it byte by byte. A writer and a reader stream; nothing is held but one block.
 *
 * A file is a header, blocks, an end record. A block has a shared part (what
 * members compare, and what travels) and a private part (struct entry_place). Each
 * block stands alone: names, members and repeats refer to nothing before it.
 * The digest over the shared parts tells whether two stores hold the same: blocks
 * are cut by a rule that depends on the shared parts alone, so equal lists have
 * equal bytes.
 */
#ifndef OBJECT_MANIFEST_H
#define OBJECT_MANIFEST_H

#include "base/buf.h"
#include "base/err.h"
#include "object/entry.h"

#define MANIFEST_BLOCK_TARGET 65536u     /* a block is closed when its shared part reaches this */
#define MANIFEST_BLOCK_MAX (1u << 20)    /* a part larger than this is refused */

struct manifest_head {
    enum digest_algo algo; /* of the contents that its scan looked at; what it did not look at may have another */
    struct uuid store;
    uint64_t floor;       /* no entry of a vanished object had a higher counter of this store's */
    struct stamp scanned; /* when the scan that this came from began */
};

/* Totals of the entries that are not hidden. Directories count only as dirs. */
struct manifest_totals {
    uint64_t entries; /* all, hidden ones and directories too */
    uint64_t objects; /* files and symlinks */
    uint64_t dirs;
    uint64_t bytes;   /* content of files; 2^64 - 1 when it is more */
    struct digest shared; /* over the shared parts of all blocks */
};

/* ---- one entry ---- */

/*
 * Appends the shared fields of one entry, standing alone (no front coding): what
 * messages and journals use. manifest_get_entry checks everything that an entry can get
 * wrong by itself (path, kind, mode, sizes, nanoseconds, vector) and leaves place zero; the path is
 * copied into path (PATH_LEN_MAX + 1 bytes), e->path points there. ERR_FORMAT.
 */
void manifest_put_entry(struct buf *out, const struct entry *e);
int manifest_get_entry(struct rd *in, char *path, struct entry *e, struct err *err);
void manifest_put_place(struct buf *out, const struct entry_place *p);
int manifest_get_place(struct rd *in, struct entry_place *p, struct err *err);

/* ---- writing ---- */

struct manifest_writer;
/* fd is borrowed (and not O_APPEND), written from its current offset on. -1: nothing is written, only totals are made. */
struct manifest_writer *manifest_writer_new(int fd, const struct manifest_head *head);
/*
 * Entries in path order, each once, each after its directory (violations abort: they are our own bugs).
 * 0, ERR_SYS, or ERR_FORMAT for a path or a field that the format does not allow: the entry is then left out
 * and the writer goes on.
 */
int manifest_writer_put(struct manifest_writer *w, const struct entry *e, struct err *err);
/* Writes the end record and all that is buffered; no fsync. totals may be NULL. */
int manifest_writer_end(struct manifest_writer *w, struct manifest_totals *totals, struct err *err);
void manifest_writer_free(struct manifest_writer *w);
/* For a writer whose head was not final: rewrites the header in place (pwrite at the header's offset). */
int manifest_writer_rehead(struct manifest_writer *w, const struct manifest_head *head, struct err *err);

/* ---- decoding blocks: shared by files and the wire ---- */

/*
 * Decodes blocks handed in one after the other, and holds a whole manifest to its
 * rules: order, no path twice, every parent a directory that came before.
 * An entry stays valid until the next call on the same decoder.
 */
struct manifest_decoder;
struct manifest_decoder *manifest_decoder_new(void);
void manifest_decoder_free(struct manifest_decoder *d);
/*
 * Begins a block; both parts are borrowed until it is used up. private_part may be NULL (then place is zero).
 * 0 or ERR_FORMAT, after which the decoder refuses all that follows.
 */
int manifest_decoder_block(struct manifest_decoder *d, const void *shared, size_t shared_len,
                           const void *private_part, size_t private_len, struct err *err);
/* 1: *e is the next entry; 0: this block is used up; ERR_FORMAT. */
int manifest_decoder_next(struct manifest_decoder *d, const struct entry **e, struct err *err);
/* After the last block: do these totals (from an end record) agree with what was decoded? 0 or ERR_FORMAT. */
int manifest_decoder_end(struct manifest_decoder *d, const struct manifest_totals *claimed, struct err *err);

void manifest_put_totals(struct buf *out, const struct manifest_totals *t);
void manifest_get_totals(struct rd *in, struct manifest_totals *t); /* sets in->bad when short */

/* ---- reading files ---- */

struct manifest_reader;
/*
 * Reads with pread from offset 0 of fd, which is borrowed; several readers may share a descriptor.
 * NULL with err: ERR_UNSUPPORTED for a format version or digest that we do not know, ERR_FORMAT, ERR_SYS.
 */
struct manifest_reader *manifest_reader_new(int fd, struct manifest_head *head, struct err *err);
void manifest_reader_free(struct manifest_reader *r);
/* 1: *e; 0: the end, and the end record agrees; ERR_FORMAT for damage or a missing end, ERR_SYS. */
int manifest_reader_next(struct manifest_reader *r, const struct entry **e, struct err *err);
/* Offset in the file of the block that the last entry came from. */
uint64_t manifest_reader_block(const struct manifest_reader *r);
/*
 * Jump: the next entry is the first of the block at this offset (from manifest_reader_block). Order and
 * parents are not checked across a jump, totals not after one.
 */
int manifest_reader_seek(struct manifest_reader *r, uint64_t block, struct err *err);
/*
 * Raw access for sending: 1 and the shared part of the next block (checksum verified, not decoded; valid
 * until the next call), 0 and the totals at the end. For a reader that is not also asked for entries.
 */
int manifest_reader_raw(struct manifest_reader *r, const void **shared, size_t *len,
                        struct manifest_totals *totals, struct err *err);
/* Only the end record, which stands at a fixed distance from the end of the file. Errors as a reader's. */
int manifest_file_totals(int fd, struct manifest_totals *totals, struct err *err);

#endif
