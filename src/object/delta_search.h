/*
 * Where in a file is the basis? The search that both passes over a file share. Private to object/delta*.c.
 * The sums are those of delta_sums.h, the search is ours: librsync's own takes 17 ns for each byte that matches nothing (this:
 * about 2), chains equal weak sums without bound, and counts in the shared signature, so that two threads could not
 * use one.
 */
#ifndef OBJECT_DELTA_SEARCH_H
#define OBJECT_DELTA_SEARCH_H

#include "object/delta_index.h"
#include "object/delta_sums.h"

/* Told of every byte, in order. */
struct delta_sink {
    void (*literal)(void *ctx, const uint8_t *p, size_t n); /* n > 0 bytes that are not in the basis */
    void (*matched)(void *ctx, uint64_t pos, size_t n);     /* n > 0 bytes that stand at pos in the basis */
};

struct delta_search {
    const struct delta_index *x;
    struct delta_sums *sums; /* NULL before the first step */
    const struct delta_sink *sink;
    void *ctx;
    bool leaps;  /* not every place within a block that matches nothing is tried, if a neighbour matches */
    bool ending; /* no more bytes come */
    struct buf window;  /* bytes from `at` on are still to be judged; at least a block of them is needed */
    size_t at;
    uint64_t dropped;   /* bytes that once were in front of the window */
    bool rolling;       /* weak is the sum of the block at `at`, which matches nothing */
    uint32_t weak, far; /* far: MULT to the power of the block length */
    uint32_t next;      /* the block behind the match that ends at `at`; DELTA_NONE: no match does */
    struct buf ahead;   /* entries of ahead_n blocks from byte ahead_from on (counted with dropped) */
    uint64_t ahead_from;
    size_t ahead_n;
    struct buf sum;
    uint64_t seen, vain; /* bytes judged, and bytes summed for nothing; the caller sets them back */
};

/* index: borrowed, ended, not empty */
void delta_search_init(struct delta_search *s, const struct delta_index *index, const struct delta_sink *sink, void *ctx);
void delta_search_free(struct delta_search *s);
/* What comes next has nothing to do with what came before. The window must be judged, or is forgotten. */
void delta_search_reset(struct delta_search *s);
void delta_search_add(struct delta_search *s, const void *p, size_t n);
/* The same where the caller writes up to n bytes there itself, and adds what he wrote to window.len. */
uint8_t *delta_search_room(struct delta_search *s, size_t n);
/* Bytes of the window leave it unjudged: the caller has dealt with them. */
void delta_search_skip(struct delta_search *s, size_t n);
/* 1: has judged some bytes, of which at most `most` one by one. 0: more are needed, or s->ending and few are left. */
int delta_search_step(struct delta_search *s, uint64_t most, struct err *e);
/* Judges what is left when step gives 0 with s->ending: 0 or an error. */
int delta_search_end(struct delta_search *s, struct err *e);
/* Has the search cost more than it may? */
bool delta_search_in_vain(const struct delta_search *s);
static inline size_t delta_search_left(const struct delta_search *s)
{
    return s->window.len - s->at;
}

#endif
