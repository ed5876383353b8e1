#include "object/delta_sums.h"

#include "base/mem.h"

#include <librsync.h>
#include <pthread.h>
#include <stdlib.h>

_Static_assert(DELTA_SIGNATURE_MAGIC == RS_RK_BLAKE2_SIG_MAGIC, "what we write is what librsync reads");
_Static_assert(DELTA_MAGIC == RS_DELTA_MAGIC, "what we write is what librsync reads");
_Static_assert(DELTA_STRONG_MAX == RS_MAX_STRONG_SUM_LENGTH, "no strong sum is longer");

#define ROOM 4096u /* bytes of output offered at a time */

struct delta_sums {
    rs_job_t *job;
};

/* librsync writes its complaints to standard error unless told otherwise, for the whole process. */
static void silence(void)
{
    rs_trace_to(NULL);
}

struct delta_sums *delta_sums_new(struct delta_shape shape, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct buf head = {0};
    pthread_once(&once, silence);
    struct delta_sums *s = mem_alloc(sizeof *s);
    s->job = rs_sig_begin(shape.block, shape.strong, RS_RK_BLAKE2_SIG_MAGIC);
    /* A job begins by giving the signature's header. Whoever wants that writes it himself. */
    if (delta_sums_feed(s, NULL, 0, false, &head, e) < 0) {
        delta_sums_free(s);
        s = NULL;
    }
    buf_free(&head);
    return s;
}

void delta_sums_free(struct delta_sums *s)
{
    if (s)
        rs_job_free(s->job);
    free(s);
}

int delta_sums_feed(struct delta_sums *s, const void *p, size_t n, bool end, struct buf *out, struct err *e)
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
