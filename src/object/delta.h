/*
 * Deltas: how a changed file travels to a member that holds an older version of it (the basis).
 *
 *     target   signer    reads the basis, makes its signature           -> signature bytes
 *     source   index     loads the signature
 *              maker     reads the wanted file, finds the basis in it   -> patch stream
 *     target   patcher   reads patch stream and basis, writes the file
 *
 * A small block finds more of a changed file, and many blocks make a long signature. So large files are searched
 * twice: by a coarse signature first, and what that left over by a fine one of those parts of the basis that
 * nothing matched. In between, the source asks for them.
 *
 *     target   signer    the coarse signature
 *     source   index, finder: the first search                          -> request, the first record of the patch
 *     target   signer    the fine signature of what is requested
 *     source   index, maker: what the finder found, and a search of the rest
 *
 * Signatures and deltas are librsync's (rdiff can read them); delta_sums.c alone knows the library. Only the coarse signature is
 * our own: nearly all of what an update of a large file costs is summing it here and there, and XXH3 is many times as fast as
 * BLAKE2b. Who can make content cannot make two blocks pass for one: the seed is drawn for each signature. Should they all
 * the same, then the digest of the whole differs.
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
 *     7     REFINE  a request; only as the first record, or behind KEEP
 *
 * RAW, BEGIN, and END stand only where no delta is open. A delta is open from BEGIN until its own end command.
 *
 *     a request: u32 length of the blocks that are wanted now (a power of two from 1024 up to the coarse block;
 *     0: none are, and nothing follows), then for each range of coarse blocks varint how many lie between it and the
 *     one before (0 only for the first), varint how many it has (1 or more). The fine signature is that of the
 *     ranges' bytes, one behind the other.
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
 *
 *     a coarse signature: u32 0x736f7363, u32 block length, u32 16, u64 seed; for each block u32 weak sum, and XXH3-128
 *     with that seed. All big-endian.
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
#define DELTA_BLOCK_MIN 1024u           /* bytes; of those that we choose, or let others choose for us */
#define DELTA_BLOCK_MAX (16u << 20)     /* bytes */
#define DELTA_BLOCKS_MAX (1u << 20)     /* blocks of a signature: an index stays below 64 MiB */

enum delta_record { DELTA_KEEP = 1, DELTA_BEGIN, DELTA_DELTA, DELTA_RAW, DELTA_END, DELTA_FAILED,
                    DELTA_REFINE };

enum delta_kind {
    DELTA_LIBRSYNC, /* BLAKE2b, cut */
    DELTA_COARSE,   /* XXH3-128 with a seed that the signer has drawn */
};

struct delta_shape {
    uint32_t block;       /* bytes of one block */
    uint32_t strong;      /* bytes of its strong sum */
    enum delta_kind kind; /* of the strong sums */
    uint64_t seed;        /* of DELTA_COARSE */
};

/* Is a basis of that size any use for a wanted file of that size? */
bool delta_worth(uint64_t basis, uint64_t want);
struct delta_shape delta_shape_for(uint64_t basis, uint64_t want);
uint64_t delta_signature_size(uint64_t basis, uint64_t want); /* bytes */

/* Are both so large that a coarse signature comes first? */
bool delta_large(uint64_t basis, uint64_t want);

/* Where bytes are read from. */
struct delta_input {
    /* n bytes from pos on: how many there were (fewer only at the end), or a negative code. May be called by two threads. */
    ssize_t (*read)(void *ctx, uint64_t pos, void *buf, size_t n, struct err *e);
    void *ctx;
};

/* ---- target: the signature of a basis ---- */

struct delta_signer;
struct delta_signer *delta_signer_new(uint64_t basis, uint64_t want);
struct delta_signer *delta_signer_new_coarse(uint64_t basis, uint64_t seed); /* seed: a number that nobody can foresee */
void delta_signer_free(struct delta_signer *s); /* NULL is fine */
/*
 * A few MiB more; signature bytes are appended to out. 1: there is more, 0: it is complete. ERR_CHANGED for a basis that
 * is shorter than announced; what goes beyond is left out. threads: at most so many; the result is always the same.
 */
int delta_signer_step(struct delta_signer *s, const struct delta_input *in, unsigned threads, struct buf *out,
                      struct err *e);
/* After a coarse one: goes on with what is requested. 1: there is a fine one to make, 0: there is none, or ERR_FORMAT. */
int delta_signer_refine(struct delta_signer *s, const void *request, size_t n, struct err *e);

/* ---- source: a signature that was received ---- */

struct delta_index;
struct delta_index *delta_index_new(uint64_t max); /* refuses signatures longer than max bytes */
void delta_index_free(struct delta_index *x);      /* NULL is fine */
int delta_index_feed(struct delta_index *x, const void *p, size_t n, struct err *e); /* ERR_FORMAT */
/* All has come. After it the index never changes, and many makers (and threads) may share it. */
int delta_index_end(struct delta_index *x, struct err *e);
size_t delta_index_memory(const struct delta_index *x); /* bytes held, by it and by a maker that uses it */

/* ---- source: the first search of a large file ---- */

struct delta_finder;
/*
 * coarse: borrowed, ended, not to be freed before the finder; NULL comes back where it cannot be that of a basis of
 * that size, or has blocks below DELTA_BLOCK_MIN. in (copied) is the wanted file, searched from byte `from` to byte `to`.
 */
struct delta_finder *delta_finder_new(const struct delta_index *coarse, uint64_t basis, const struct delta_input *in,
                                      uint64_t from, uint64_t to);
void delta_finder_free(struct delta_finder *f); /* NULL is fine */
/* Some MiB more. 1: there is more, 0: all is searched. ERR_CHANGED for a file that is shorter. threads: as above. */
int delta_finder_step(struct delta_finder *f, unsigned threads, struct err *e);
/* When all is searched: appends the request. True: it asks for something. */
bool delta_finder_request(struct delta_finder *f, struct buf *out);
/* For the signature that was asked for. */
struct delta_index *delta_finder_index(const struct delta_finder *f);
/* Is that, ended, what was asked for? If so it knows its place in the basis now. 0 or ERR_FORMAT. */
int delta_finder_accept(const struct delta_finder *f, struct delta_index *fine, struct err *e);

/* The file as it was found: next gives one stretch after the other, to the end. */
struct delta_stretch {
    uint64_t len; /* bytes; 0: the end */
    bool found;   /* in the basis, at pos */
    uint64_t pos;
};
struct delta_stretch delta_finder_next(struct delta_finder *f);

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
/* Before all but that: a finder's request. */
void delta_maker_ask(struct delta_maker *m, const struct buf *request, struct buf *out);
/* Before the first feed and found: another index, borrowed as above. */
void delta_maker_search(struct delta_maker *m, const struct delta_index *index);
/* The next piece, of any size; whole records are appended to out. */
int delta_maker_feed(struct delta_maker *m, const void *p, size_t n, struct buf *out, struct err *e);
/* The next n bytes are those at pos in the basis. */
int delta_maker_found(struct delta_maker *m, uint64_t pos, uint64_t n, struct buf *out, struct err *e);
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
    int (*refine)(void *ctx, const void *p, size_t n, struct err *e); /* a well-formed request; at most once; or NULL */
};

struct delta_patcher;
#define DELTA_ANY_SIZE UINT64_MAX /* the writer sees for itself how much comes */
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
