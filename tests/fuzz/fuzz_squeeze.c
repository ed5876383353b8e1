/*
 * Squeezed pieces, each with two bytes of its length in front: what is taken has the announced length, and
 * nothing is taken after one that was refused. The same bytes, squeezed by ourselves, come back.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "object/squeeze.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool x)
{
    if (!x)
        abort();
}

static void take(const uint8_t *data, size_t size)
{
    struct unsqueezer *u = unsqueezer_new();
    struct rd r = rd_of(data, size);
    struct buf out = {0};
    bool refused = false;
    while (rd_left(&r) > 2) {
        size_t n = rd_u16(&r);
        if (n > rd_left(&r))
            n = rd_left(&r);
        const uint8_t *piece = rd_bytes(&r, n);
        struct rd length = rd_of(piece, n);
        struct err e;
        out.len = 0;
        int rc = unsqueeze(u, piece, n, &out, &e);
        must(rc == 0 || rc == ERR_FORMAT);
        must(rc < 0 ? out.len == 0 : !refused && out.len == rd_varint(&length));
        must(out.len <= SQUEEZE_PIECE_MAX);
        refused |= rc < 0;
    }
    buf_free(&out);
    unsqueezer_free(u);
}

static void there_and_back(const uint8_t *data, size_t size)
{
    struct squeezer *s = squeezer_new(SQUEEZE_ALWAYS);
    struct unsqueezer *u = unsqueezer_new();
    struct buf packed = {0}, out = {0};
    struct err e;
    for (size_t at = 0, n; at < size; at += n) {
        n = data[at] * 17u + 1;
        if (n > size - at)
            n = size - at;
        packed.len = out.len = 0;
        must(squeezer_piece(s, data + at, n, &packed) && packed.len <= n + SQUEEZE_GROWTH);
        must(unsqueeze(u, packed.data, packed.len, &out, &e) == 0);
        must(out.len == n && memcmp(out.data, data + at, n) == 0);
    }
    buf_free(&packed);
    buf_free(&out);
    squeezer_free(s);
    unsqueezer_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    take(data, size);
    there_and_back(data, size);
    return 0;
}
