/*
 * A patch stream against a basis of 1,000 bytes. The first byte is the wanted size in units of 64 bytes, the second
 * the size of the pieces: nothing may be written beyond the one, and the other must make no difference.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "object/delta.h"

#define BASIS 1000u
#define LONG 80000u /* bytes of the basis that requests are made of */

static void hold(int truth)
{
    if (!truth)
        abort();
}

struct target {
    uint64_t want, made;
    uint32_t sum;
    int started, written, refined;
};

static ssize_t read_basis(void *ctx, uint64_t pos, void *p, size_t n, struct err *e)
{
    (void)ctx;
    (void)e;
    if (pos >= BASIS)
        return 0;
    if (n > BASIS - pos)
        n = (size_t)(BASIS - pos);
    memset(p, (int)(pos & 255), n);
    return (ssize_t)n;
}

static ssize_t read_long(void *ctx, uint64_t pos, void *p, size_t n, struct err *e)
{
    (void)ctx;
    (void)e;
    hold(pos < LONG && n <= LONG - pos);
    memset(p, (int)(pos >> 10 & 255), n);
    return (ssize_t)n;
}

static int keep(void *ctx, uint64_t n, struct err *e)
{
    struct target *t = ctx;
    (void)e;
    hold(!t->started && n <= t->want);
    t->made = n;
    t->started = 1;
    return 0;
}

static int count(void *ctx, const void *p, size_t n, struct err *e)
{
    struct target *t = ctx;
    const uint8_t *b = p;
    (void)e;
    hold(n > 0 && n <= t->want - t->made);
    t->written = 1;
    t->made += n;
    t->started = 1;
    for (size_t i = 0; i < n; i++)
        t->sum = t->sum * 31 + b[i];
    return 0;
}

/* What is requested of a basis of some coarse blocks: it must be signed or refused. */
static int refine(void *ctx, const void *p, size_t n, struct err *e)
{
    struct delta_input in = {read_long, NULL};
    struct target *t = ctx;
    struct buf sums = {0};
    hold(!t->refined && !t->written);
    t->refined = 1;
    struct delta_signer *s = delta_signer_new_coarse(LONG, 7);
    int rc;
    while ((rc = delta_signer_step(s, &in, 1, &sums, e)) > 0)
        ;
    hold(rc == 0);
    sums.len = 0;
    rc = delta_signer_refine(s, p, n, e);
    hold(rc == 0 || rc == 1 || rc == ERR_FORMAT);
    while (rc == 1 && (rc = delta_signer_step(s, &in, 1, &sums, e)) > 0)
        ;
    hold(rc == 0 || rc == ERR_FORMAT);
    hold(sums.len <= 12 + 20 * (LONG / DELTA_BLOCK_MIN + 1));
    for (size_t i = 0; i < sums.len; i++)
        t->sum = t->sum * 31 + sums.data[i];
    buf_free(&sums);
    delta_signer_free(s);
    return 0;
}

static int run(const uint8_t *data, size_t size, size_t piece, struct target *t)
{
    static const struct delta_calls calls = {read_basis, keep, count, refine};
    struct err e;
    int rc = 0;
    struct delta_patcher *p = delta_patcher_new(t->want, &calls, t);
    for (size_t at = 0, n; at < size && rc == 0; at += n) {
        n = size - at < piece ? size - at : piece;
        rc = delta_patcher_feed(p, data + at, n, &e);
    }
    int end = delta_patcher_end(p, &e);
    hold(rc == 0 || end == rc);
    hold(end == 1 || end == ERR_FORMAT || end == ERR_CHANGED);
    hold(end != 1 || t->made == t->want);
    delta_patcher_free(p);
    return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct target once = {.want = data[0] * 64u}, pieces = {.want = data[0] * 64u};
    int a = run(data + 2, size - 2, size, &once), b = run(data + 2, size - 2, data[1] + 1u, &pieces);
    hold(a == b && once.made == pieces.made && once.sum == pieces.sum);
    return 0;
}
