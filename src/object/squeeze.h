/*
 * Compression of what travels on a channel: squeeze.c alone knows libzstd.
 *
 * A channel's bytes travel in pieces of at most SQUEEZE_PIECE_MAX, each either as it is or
 * squeezed. The squeezed pieces of a channel are one zstd frame that never ends, flushed
 * after every piece, so that a small object profits from what went before; the others
 * leave no trace in it, so both ends agree whatever the mixture. A squeezed piece is the
 * varint length of the raw bytes and then whole blocks of that frame (before the first: its header,
 * without dictionary, checksum or content size).
 *
 * Memory, while a channel is squeezed: 1.9 MiB at the source, 1.6 MiB at each target; before that next to
 * nothing.
 */
#ifndef OBJECT_SQUEEZE_H
#define OBJECT_SQUEEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SQUEEZE_PIECE_MAX 65536u /* bytes of one piece before it is squeezed */
#define SQUEEZE_GROWTH 512u      /* bytes that a squeezed piece is longer than the raw one, at worst */
#define SQUEEZE_WINDOW_LOG 20

enum squeeze_mode { SQUEEZE_AUTO, SQUEEZE_ALWAYS, SQUEEZE_NEVER };

/* Both only grow; only differences count. Nanoseconds. */
struct squeeze_time {
    int64_t now;    /* a clock that stands still while there is nothing to send */
    int64_t waited; /* how much of that went into waiting until the link takes more */
};

/* ---- the source's side ---- */

struct squeezer;
struct squeezer *squeezer_new(enum squeeze_mode mode);
void squeezer_free(struct squeezer *s); /* NULL is fine */
/*
 * Will the next piece be squeezed? Call it before each piece, and as often as one likes: SQUEEZE_AUTO
 * decides here, by how the link has behaved up to the time given.
 */
bool squeezer_wants(struct squeezer *s, struct squeeze_time at);
/*
 * One piece, 1 to SQUEEZE_PIECE_MAX bytes. true: it was appended to out, squeezed, and must be sent (at
 * most n + SQUEEZE_GROWTH bytes). false: it is to be sent as it is. As squeezer_wants said last.
 */
bool squeezer_piece(struct squeezer *s, const void *p, size_t n, struct buf *out);

/* ---- the target's side ---- */

struct unsqueezer;
struct unsqueezer *unsqueezer_new(void);
void unsqueezer_free(struct unsqueezer *u); /* NULL is fine */
/*
 * Takes exactly one squeezed piece and appends the raw one to out. ERR_FORMAT, with out as it was, for
 * another length than announced, a block cut short, an end of the frame, a larger window, a dictionary and
 * whatever else squeezer_piece would not make. After an error all that follows is refused as well.
 */
int unsqueeze(struct unsqueezer *u, const void *p, size_t n, struct buf *out, struct err *e);

/* ---- the judgement of SQUEEZE_AUTO: pure, all figures are told ---- */

/*
 * Begins raw. Where the link is what one waits for, a few pieces are squeezed, and so are all that follow
 * if that promises to be faster: a byte takes as long as our own work on it, or as the link needs for
 * what is left of it, whichever is longer. Then it is watched: data that does not shrink, a channel that
 * is no faster than it was (the receiver was slow, not the link), and a link that has become fast
 * all lead back. After a trial that failed the next one is half a second away, then one, up to eight.
 */
struct squeeze_judge {
    enum squeeze_state { SQUEEZE_RAW, SQUEEZE_TRIAL, SQUEEZE_PACKED } state;
    struct squeeze_time from;    /* beginning of the stretch being measured */
    bool told, started;          /* from is set; the link has been seen full since */
    uint64_t raw, wire;          /* bytes in this stretch: before and after */
    int64_t work;                /* ns of squeezing in this stretch */
    double raw_ns, own_ns;       /* for a raw byte, in the last raw stretches: all, our own work */
    double last_ns;              /* as raw_ns, of the last one alone; 0: there was none in this state */
    int64_t hold, until;         /* ns; no trial before until */
    unsigned stretches;          /* since the state changed */
    unsigned slow;               /* the last so many of them were no faster than raw */
};

void squeeze_judge_look(struct squeeze_judge *j, struct squeeze_time at);
/* A piece was made: raw bytes became wire bytes by work_ns of squeezing. As it is: wire = raw, no work. */
void squeeze_judge_piece(struct squeeze_judge *j, size_t raw, size_t wire, int64_t work_ns);

#endif
