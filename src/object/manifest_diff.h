/*
 * The difference between two manifests, as it travels: what must be known besides the
 * old one to have the new. It consists of shared parts only; sos-wire(7) gives it byte
 * by byte. It comes in pieces, each of whole records, in path order: a path that is gone, or an
 * entry that is new or changed. Both sides stream.
 */
#ifndef OBJECT_MANIFEST_DIFF_H
#define OBJECT_MANIFEST_DIFF_H

#include "object/manifest.h"

#define MANIFEST_DIFF_TARGET 65536u     /* a piece is closed when it reaches this */
#define MANIFEST_DIFF_MAX (1u << 20)    /* a larger piece is refused */

/* ---- making it ---- */

struct manifest_diff_writer;
/* Both readers stand at their beginning; they are borrowed, and nobody else may use them meanwhile. */
struct manifest_diff_writer *manifest_diff_writer_new(struct manifest_reader *before,
                                                      struct manifest_reader *now);
void manifest_diff_writer_free(struct manifest_diff_writer *w);
/*
 * 1: *piece (whose old content is dropped) is the next one; it is empty when much was compared and little found, so
 * that the caller may look after other things. 0: the end; or a reader's error.
 */
int manifest_diff_writer_next(struct manifest_diff_writer *w, struct buf *piece, struct err *err);

/* ---- applying it ---- */

enum manifest_diff_state { MANIFEST_DIFF_END = 0, MANIFEST_DIFF_ENTRY = 1, MANIFEST_DIFF_MORE = 2 };

struct manifest_diff_reader;
/* base stands at its beginning and is borrowed. */
struct manifest_diff_reader *manifest_diff_reader_new(struct manifest_reader *base);
void manifest_diff_reader_free(struct manifest_diff_reader *r);
/* Hands in the next piece, which MANIFEST_DIFF_MORE asked for. It is borrowed until that comes again. 0 or ERR_FORMAT. */
int manifest_diff_reader_piece(struct manifest_diff_reader *r, const void *p, size_t n, struct err *err);
/* No piece follows, and this is what the new manifest's totals are said to be. */
void manifest_diff_reader_close(struct manifest_diff_reader *r, const struct manifest_totals *claimed);
/*
 * ENTRY: *e is the new manifest's next entry, valid until the next call. MORE: hand in a piece, or close. END: the
 * result has the totals that were claimed. ERR_FORMAT when the pieces, or what they make of the base, break a rule of
 * manifests or change nothing; or an error of the base. An error stands for all that follows.
 */
int manifest_diff_reader_next(struct manifest_diff_reader *r, const struct entry **e, struct err *err);
/* Was the error the base's? */
bool manifest_diff_reader_base_failed(const struct manifest_diff_reader *r);

#endif
