#include "object/delta_sums.h"

#include "base/mem.h"
#include "object/delta_fast.h"

#include <librsync.h>
#include <pthread.h>
#include <stdlib.h>
#include <xxhash.h>

_Static_assert(DELTA_SIGNATURE_MAGIC == RS_RK_BLAKE2_SIG_MAGIC, "what we write is what librsync reads");
_Static_assert(DELTA_MAGIC == RS_DELTA_MAGIC, "what we write is what librsync reads");
_Static_assert(DELTA_FAST_BLOCKS <= DELTA_GROUP_MAX, "a group is what is summed at once");
_Static_assert(DELTA_STRONG_COARSE == sizeof(XXH128_canonical_t), "it is not cut");
_Static_assert(DELTA_STRONG_MAX == RS_MAX_STRONG_SUM_LENGTH, "no strong sum is longer");

#define ROOM 4096u            /* bytes of output offered at a time */
#define GROUPED_MAX (1u << 20) /* bytes of a block up to which callers collect whole groups */

struct delta_sums {
    struct delta_shape shape;
    bool fast;
    rs_job_t *job; /* NULL: of the coarse kind */
};

/* librsync writes its complaints to standard error unless told otherwise, for the whole process. */
static void silence(void)
{
    rs_trace_to(NULL);
}

/* Consumes all n bytes. With end, what is left is the last, shorter block. */
static int feed(struct delta_sums *s, const void *p, size_t n, bool end, struct buf *out, struct err *e)
{
    rs_buffers_t b = {.next_in = (char *)(uintptr_t)p, .avail_in = n, .eof_in = end};
    for (;;) {
        size_t in = b.avail_in;
        b.next_out = (char *)buf_room(out, ROOM);
        b.avail_out = ROOM;
        rs_result r = rs_job_iter(s->job, &b);
        out->len += ROOM - b.avail_out;
        if (r == RS_DONE)
            return 0;
        if (r != RS_BLOCKED)
            return err_set(e, ERR_FORMAT, "librsync: %s", rs_strerror(r));
        if (b.avail_in == 0 && b.avail_out > 0 && !end)
            return 0; /* wants the rest of a block */
        if (b.avail_in == in && b.avail_out == ROOM)
            return err_set(e, ERR_FORMAT, "librsync: stuck");
    }
}

struct delta_sums *delta_sums_new(struct delta_shape shape, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct buf head = {0};
    pthread_once(&once, silence);
    struct delta_sums *s = mem_zalloc(sizeof *s);
    s->shape = shape;
    if (shape.kind == DELTA_COARSE)
        return s;
    s->fast = delta_fast_usable() && shape.block % DELTA_FAST_MULTIPLE == 0;
    s->job = rs_sig_begin(shape.block, shape.strong, RS_RK_BLAKE2_SIG_MAGIC);
    /* A job begins by giving the signature's header. Whoever wants that writes it himself. */
    if (feed(s, NULL, 0, false, &head, e) < 0) {
        delta_sums_free(s);
        s = NULL;
    }
    buf_free(&head);
    return s;
}

void delta_sums_free(struct delta_sums *s)
{
    if (s && s->job)
        rs_job_free(s->job);
    free(s);
}

static void put_entry(const struct delta_sums *s, uint32_t weak, const uint8_t *strong, struct buf *out)
{
    for (unsigned shift = 32; shift > 0; shift -= 8)
        buf_u8(out, (uint8_t)(weak >> (shift - 8)));
    buf_put(out, strong, s->shape.strong);
}

static void put_four(const struct delta_sums *s, const uint8_t *p, struct buf *out)
{
    struct delta_fast sums;
    delta_fast_sum(p, s->shape.block, &sums);
    for (unsigned b = 0; b < DELTA_FAST_BLOCKS; b++)
        put_entry(s, sums.weak[b], sums.strong[b], out);
}

static void put_coarse(const struct delta_sums *s, const uint8_t *p, size_t n, struct buf *out)
{
    XXH128_canonical_t strong;
    XXH128_canonicalFromHash(&strong, XXH3_128bits_withSeed(p, n, s->shape.seed));
    put_entry(s, delta_weak(p, n), strong.digest, out);
}

int delta_sums_blocks(struct delta_sums *s, const uint8_t *p, size_t blocks, struct buf *out, struct err *e)
{
    for (; !s->job && blocks > 0; blocks--, p += s->shape.block)
        put_coarse(s, p, s->shape.block, out);
    for (; s->fast && blocks >= DELTA_FAST_BLOCKS; blocks -= DELTA_FAST_BLOCKS) {
        put_four(s, p, out);
        p += (size_t)DELTA_FAST_BLOCKS * s->shape.block;
    }
    return blocks ? feed(s, p, blocks * s->shape.block, false, out, e) : 0;
}

int delta_sums_last(struct delta_sums *s, const uint8_t *p, size_t n, struct buf *out, struct err *e)
{
    if (s->job)
        return feed(s, p, n, true, out, e);
    put_coarse(s, p, n, out);
    return 0;
}

size_t delta_sums_group(const struct delta_sums *s)
{
    return (s->fast || !s->job) && s->shape.block <= GROUPED_MAX ? DELTA_FAST_BLOCKS : 1;
}
