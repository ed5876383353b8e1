#include "object/squeeze.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <zstd.h>

#define LEVEL 1 /* 2 and 3 gain 1 to 4 % of the size for a third to half of the speed */
#define LENGTH_MAX 3u /* bytes of the varint in front */
#define FRAME_HEADER 6u
#define BLOCK_HEADER 3u
#define PACKED_MAX (SQUEEZE_PIECE_MAX + SQUEEZE_GROWTH)

_Static_assert(ZSTD_COMPRESSBOUND(SQUEEZE_PIECE_MAX) + LENGTH_MAX + FRAME_HEADER + 2 * BLOCK_HEADER <=
                   PACKED_MAX, "a squeezed piece fits into what is promised");

struct squeezer {
    enum squeeze_mode mode;
    struct squeeze_judge judge;
    bool squeezes;
    ZSTD_CCtx *zstd; /* NULL before the first squeezed piece */
};

struct unsqueezer {
    ZSTD_DCtx *zstd;
    bool begun, broken;
};

struct squeezer *squeezer_new(enum squeeze_mode mode)
{
    struct squeezer *s = mem_zalloc(sizeof *s);
    s->mode = mode;
    s->squeezes = mode == SQUEEZE_ALWAYS;
    return s;
}

void squeezer_free(struct squeezer *s)
{
    if (s)
        ZSTD_freeCCtx(s->zstd);
    free(s);
}

bool squeezer_wants(struct squeezer *s, struct squeeze_time at)
{
    if (s->mode == SQUEEZE_AUTO) {
        squeeze_judge_look(&s->judge, at);
        s->squeezes = s->judge.state != SQUEEZE_RAW;
    }
    return s->squeezes;
}

static void set(ZSTD_CCtx *zstd, ZSTD_cParameter what, int value)
{
    if (ZSTD_isError(ZSTD_CCtx_setParameter(zstd, what, value)))
        abort();
}

static ZSTD_CCtx *context(void)
{
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    if (!zstd)
        abort();
    set(zstd, ZSTD_c_compressionLevel, LEVEL);
    set(zstd, ZSTD_c_windowLog, SQUEEZE_WINDOW_LOG);
    set(zstd, ZSTD_c_contentSizeFlag, 0);
    set(zstd, ZSTD_c_checksumFlag, 0);
    set(zstd, ZSTD_c_dictIDFlag, 0);
    return zstd;
}

bool squeezer_piece(struct squeezer *s, const void *p, size_t n, struct buf *out)
{
    if (!s->squeezes) {
        squeeze_judge_piece(&s->judge, n, n, 0);
        return false;
    }
    int64_t began = clock_mono_ns();
    size_t before = out->len;
    if (!s->zstd)
        s->zstd = context();
    buf_varint(out, n);
    ZSTD_inBuffer from = {p, n, 0};
    ZSTD_outBuffer to = {buf_room(out, PACKED_MAX), PACKED_MAX, 0};
    /* There is room for all, so only memory can be lacking. */
    if (ZSTD_compressStream2(s->zstd, &to, &from, ZSTD_e_flush) != 0)
        abort();
    out->len += to.pos;
    squeeze_judge_piece(&s->judge, n, out->len - before, clock_mono_ns() - began);
    return true;
}

struct unsqueezer *unsqueezer_new(void)
{
    struct unsqueezer *u = mem_zalloc(sizeof *u);
    u->zstd = ZSTD_createDCtx();
    if (!u->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax, SQUEEZE_WINDOW_LOG)))
        abort();
    return u;
}

void unsqueezer_free(struct unsqueezer *u)
{
    if (u)
        ZSTD_freeDCtx(u->zstd);
    free(u);
}

/*
 * RFC 8878: the magic, a descriptor without any flag, and the window: its exponent less 10 in the high five
 * bits, eighths in the others.
 */
static bool our_header(struct rd *r)
{
    bool ours = rd_u32(r) == ZSTD_MAGICNUMBER && rd_u8(r) == 0;
    return ours && rd_u8(r) <= (SQUEEZE_WINDOW_LOG - 10) << 3 && !r->bad;
}

/*
 * Whole blocks up to the very end, none of them the frame's last. libzstd alone would wait for the rest of a
 * cut block, and begin a new frame behind the end of one.
 */
static bool whole_blocks(struct rd r)
{
    while (rd_left(&r) > 0) {
        uint32_t head = rd_u8(&r);
        head |= (uint32_t)rd_u8(&r) << 8;
        head |= (uint32_t)rd_u8(&r) << 16;
        unsigned last = head & 1, type = head >> 1 & 3;
        rd_bytes(&r, type == 1 ? 1 : head >> 3); /* 1: one byte, repeated */
        if (last || type == 3 || r.bad)
            return false;
    }
    return true;
}

/* 0, or -1: *out was not made exactly full by exactly these bytes. */
static int unpack(struct unsqueezer *u, const uint8_t *p, size_t n, uint8_t *out, size_t raw)
{
    ZSTD_inBuffer from = {p, n, 0};
    ZSTD_outBuffer to = {out, raw + 1, 0}; /* one more, so that too much shows itself */
    while (from.pos < from.size && to.pos <= raw) {
        size_t before = from.pos + to.pos;
        if (ZSTD_isError(ZSTD_decompressStream(u->zstd, &to, &from)) || from.pos + to.pos == before)
            return -1;
    }
    return from.pos == from.size && to.pos == raw ? 0 : -1;
}

int unsqueeze(struct unsqueezer *u, const void *p, size_t n, struct buf *out, struct err *e)
{
    struct rd r = rd_of(p, n);
    uint64_t raw = rd_varint(&r);
    const uint8_t *packed = r.p;
    size_t packed_n = rd_left(&r);
    bool ok = !u->broken && !r.bad && n <= PACKED_MAX && raw > 0 && raw <= SQUEEZE_PIECE_MAX &&
              (u->begun || our_header(&r)) && whole_blocks(r) &&
              unpack(u, packed, packed_n, buf_room(out, (size_t)raw + 1), (size_t)raw) == 0;
    if (!ok) {
        u->broken = true;
        return err_set(e, ERR_FORMAT, "a compressed piece that cannot be unpacked");
    }
    u->begun = true;
    out->len += (size_t)raw;
    return 0;
}
