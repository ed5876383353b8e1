/*
 * A signature, in pieces, and a patch made with whatever it says: it must rebuild the file, or be refused, if the
 * basis is not what was signed. The first byte is the size of the pieces; the file is the signature itself, twice.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "object/delta.h"

#define MAX 4096u
#define FILE_SIZE 50000u

static void hold(int truth)
{
    if (!truth)
        abort();
}

struct written {
    uint64_t n;
};

static ssize_t read_zeros(void *ctx, uint64_t pos, void *p, size_t n, struct err *e)
{
    (void)ctx;
    (void)pos;
    (void)e;
    memset(p, 0, n);
    return (ssize_t)n;
}

static int keep_none(void *ctx, uint64_t n, struct err *e)
{
    (void)ctx;
    (void)e;
    hold(n == 0);
    return 0;
}

static int count(void *ctx, const void *p, size_t n, struct err *e)
{
    struct written *w = ctx;
    (void)p;
    (void)e;
    w->n += n;
    return 0;
}

static void search(const struct delta_index *x, const uint8_t *data, size_t size)
{
    static const struct delta_calls calls = {read_zeros, keep_none, count, NULL};
    struct buf patch = {0};
    struct err e;
    struct written w = {0};
    struct delta_maker *m = delta_maker_new(x);
    for (int turn = 0; turn < 2; turn++)
        hold(delta_maker_feed(m, data, size, &patch, &e) == 0);
    hold(delta_maker_end(m, &patch, &e) == 0);
    struct delta_counts counts = delta_maker_counts(m);
    hold(counts.literal + counts.matched == 2 * size);
    struct delta_patcher *p = delta_patcher_new(2 * size, &calls, &w);
    hold(delta_patcher_feed(p, patch.data, patch.len, &e) == 0 && delta_patcher_end(p, &e) == 1);
    hold(w.n == 2 * size);
    delta_patcher_free(p);
    delta_maker_free(m);
    buf_free(&patch);
}

/* The file is the signature often enough to have some coarse blocks. */
struct file {
    const uint8_t *data;
    size_t size;
};

static ssize_t read_file(void *ctx, uint64_t pos, void *p, size_t n, struct err *e)
{
    const struct file *f = ctx;
    (void)e;
    hold(pos + n <= FILE_SIZE);
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = f->data[(pos + i) % f->size];
    return (ssize_t)n;
}

/* As a coarse signature of a basis that is as long as it can be: a search, a request, and a fine one that lies. */
static void search_first(const struct delta_index *x, uint64_t basis, const uint8_t *data, size_t size)
{
    struct file file = {data, size};
    struct delta_input in = {read_file, &file};
    struct delta_finder *f = delta_finder_new(x, basis, &in, 0, FILE_SIZE);
    struct buf request = {0};
    struct err e;
    uint64_t sum = 0;
    if (!f)
        return;
    while (delta_finder_step(f, 1, &e) > 0)
        ;
    bool asks = delta_finder_request(f, &request);
    hold(request.len >= 4 && request.len <= DELTA_RECORD_MAX && asks == (request.len > 4));
    if (asks) {
        struct delta_index *fine = delta_finder_index(f);
        if (delta_index_feed(fine, data, size, &e) == 0 && delta_index_end(fine, &e) == 0)
            delta_finder_accept(f, fine, &e);
        delta_index_free(fine);
    }
    for (struct delta_stretch s; (s = delta_finder_next(f)).len > 0;)
        sum += s.len;
    hold(sum == FILE_SIZE);
    buf_free(&request);
    delta_finder_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    int rc = 0;
    size_t piece = size ? data[0] + 1u : 1;
    struct delta_index *x = delta_index_new(MAX);
    for (size_t at = 1, n; at < size && rc == 0; at += n) {
        n = size - at < piece ? size - at : piece;
        rc = delta_index_feed(x, data + at, n, &e);
    }
    hold(rc == 0 || rc == ERR_FORMAT);
    if (rc == 0 && delta_index_end(x, &e) == 0) {
        hold(size - 1 <= MAX);
        search(x, data, size);
        uint64_t block = (uint64_t)data[5] << 24 | (uint64_t)data[6] << 16 | (uint64_t)data[7] << 8 | data[8];
        uint64_t entry = 4u + data[12];
        size_t head = 1 + (data[2] == 'o' ? 20 : 12); /* of the coarse kind */
        search_first(x, (size - head) / entry * block - data[0] % block, data, size);
    }
    delta_index_free(x);
    return 0;
}
