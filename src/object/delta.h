/*
 * Deltas: how a changed file travels to a member that holds an older version of it (the basis).
 *
 *     target   signer    reads the basis, makes its signature           -> signature bytes
 *     source   index     loads the signature
 *              maker     reads the wanted file, finds the basis in it   -> patch stream
 *     target   patcher   reads patch stream and basis, writes the file
 *
 * Signatures and deltas are librsync's (rdiff can read them); delta_sums.c alone knows the library.
 * Nothing here knows a wire or a store, and everything streams. Nothing is trusted: whatever a peer sends makes
 * an error at worst. The digest of what was rebuilt is for the caller to compare.
 *
 * The patch stream is a series of records. Integers are little-endian, but big-endian inside deltas.
 *
 *     offset size  field
 *     0      1     kind
 *     1      4     length of the payload, 1 to 65536 bytes
 *     5      n     payload
 *
 *     kind  name    payload
 *     1     KEEP    u64: so many bytes are already in place at the target. The first record, or none.
 *     2     BEGIN   u64: a delta begins, and it makes so many bytes at most (1 or more).
 *     3     DELTA   the next bytes of that delta
 *     4     RAW     the next bytes of the file, literally
 *     5     END     u64: size of the whole file, what was kept included. The last record.
 *     6     FAILED  text: the content breaks off here, and why. The last record.
 *
 * RAW, BEGIN, and END stand only where no delta is open. A delta is open from BEGIN until its own end command.
 *
 *     a delta: u32 0x72730236, then commands; p and n are big-endian
 *     0          the end
 *     1..64      so many literal bytes follow
 *     65..68     n (1, 2, 4, 8 bytes), then n literal bytes
 *     69..84     p, then n: copy n bytes of the basis from offset p. With c = command - 69, p has
 *                1 << (c / 4) bytes and n has 1 << (c % 4).
 *
 *     a signature: u32 0x72730147, u32 block length, u32 strong length; for each block u32 weak sum,
 *     then the strong sum (BLAKE2b, cut to that length). All big-endian. The last block may be shorter.
 */
#ifndef OBJECT_DELTA_H
#define OBJECT_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define DELTA_RECORD_MAX 65536u         /* bytes of payload */
#define DELTA_BLOCK_MAX (16u << 20)     /* bytes */
#define DELTA_BLOCKS_MAX (1u << 20)     /* blocks of a signature: an index stays below 64 MiB */

enum delta_record { DELTA_KEEP = 1, DELTA_BEGIN, DELTA_DELTA, DELTA_RAW, DELTA_END, DELTA_FAILED };

struct delta_shape {
    uint32_t block;  /* bytes of one block */
    uint32_t strong; /* bytes of its strong sum */
};

/* Is a basis of that size any use for a wanted file of that size? */
bool delta_worth(uint64_t basis, uint64_t want);
struct delta_shape delta_shape_for(uint64_t basis, uint64_t want);
uint64_t delta_signature_size(uint64_t basis, uint64_t want); /* bytes */

/* ---- target: the signature of a basis ---- */

struct delta_signer;
struct delta_signer *delta_signer_new(uint64_t basis, uint64_t want);
void delta_signer_free(struct delta_signer *s); /* NULL is fine */
/*
 * The next piece; signature bytes are appended to out. What goes beyond the announced size is left out, and a
 * basis that ends early just has fewer blocks: the signature is never longer than delta_signature_size().
 */
int delta_signer_feed(struct delta_signer *s, const void *p, size_t n, struct buf *out, struct err *e);
int delta_signer_end(struct delta_signer *s, struct buf *out, struct err *e);

/* ---- source: a signature that was received ---- */

struct delta_index;
struct delta_index *delta_index_new(uint64_t max); /* refuses signatures longer than max bytes */
void delta_index_free(struct delta_index *x);      /* NULL is fine */
int delta_index_feed(struct delta_index *x, const void *p, size_t n, struct err *e); /* ERR_FORMAT */
/* All has come. After it the index never changes, and many makers (and threads) may share it. */
int delta_index_end(struct delta_index *x, struct err *e);
size_t delta_index_memory(const struct delta_index *x); /* bytes held */

/* ---- source: the patch stream ---- */

struct delta_counts {
    uint64_t literal; /* bytes of the wanted file that travel */
    uint64_t matched; /* bytes of it that come from the basis; what is kept is in neither */
};

struct delta_maker;
/* index: borrowed, ended; NULL where there is none: then all is literal. */
struct delta_maker *delta_maker_new(const struct delta_index *index);
void delta_maker_free(struct delta_maker *m); /* NULL is fine */
/* Before all else: the target has the first n bytes already, and the feed starts behind them. */
void delta_maker_keep(struct delta_maker *m, uint64_t n, struct buf *out);
/* The next piece, of any size; whole records are appended to out. */
int delta_maker_feed(struct delta_maker *m, const void *p, size_t n, struct buf *out, struct err *e);
int delta_maker_end(struct delta_maker *m, struct buf *out, struct err *e);
/* The file cannot be read on: says so to the target. After end or fail only counts and free. */
void delta_maker_fail(struct delta_maker *m, const char *why, struct buf *out);
struct delta_counts delta_maker_counts(const struct delta_maker *m);

/* ---- target: the file ---- */

/* What a patcher asks for. Each returns a negative code on failure, with e filled. */
struct delta_calls {
    /* n bytes of the basis from offset pos on: how many there were (fewer only at its end) */
    ssize_t (*read)(void *ctx, uint64_t pos, void *buf, size_t n, struct err *e);
    int (*keep)(void *ctx, uint64_t n, struct err *e); /* the first n bytes stay; called at most once, first */
    int (*write)(void *ctx, const void *p, size_t n, struct err *e); /* the next bytes of the file */
};

struct delta_patcher;
/* Never writes more than want bytes (kept ones included). calls and ctx are borrowed. */
struct delta_patcher *delta_patcher_new(uint64_t want, const struct delta_calls *calls, void *ctx);
void delta_patcher_free(struct delta_patcher *p); /* NULL is fine */
/* 0, ERR_FORMAT, ERR_CHANGED for a stream that says FAILED, or what a callback returned. Errors are final. */
int delta_patcher_feed(struct delta_patcher *p, const void *data, size_t n, struct err *e);
/* The same where other patches follow in the stream: takes no byte behind this one's last record. 1: that has come. */
int delta_patcher_take(struct delta_patcher *p, const void *data, size_t n, size_t *used, struct err *e);
/* No more comes. 1: the file is complete and has the wanted size; else the error. */
int delta_patcher_end(const struct delta_patcher *p, struct err *e);
struct delta_counts delta_patcher_counts(const struct delta_patcher *p);

#endif
