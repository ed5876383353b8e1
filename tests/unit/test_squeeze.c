/* Pieces there and back, what must be refused, and the judgement whether it pays. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"
#include "object/squeeze.h"

#define PIECE SQUEEZE_PIECE_MAX

static const struct squeeze_time no_time;

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Words drawn from a few: it shrinks as text does. */
static void fill_text(uint8_t *p, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n;) {
        char word[16];
        int k = snprintf(word, sizeof word, "w%u ", next_random(seed) % 3000);
        for (int c = 0; c < k && i < n; c++)
            p[i++] = (uint8_t)word[c];
    }
}

static void fill_noise(uint8_t *p, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)next_random(seed);
}

/* One piece squeezed; the caller frees it. */
static struct buf squeezed(struct squeezer *s, const void *p, size_t n)
{
    struct buf out = {0};
    assert_true(squeezer_wants(s, no_time));
    assert_true(squeezer_piece(s, p, n, &out));
    assert_true(out.len <= n + SQUEEZE_GROWTH);
    return out;
}

static void refuses(const void *p, size_t n)
{
    struct unsqueezer *u = unsqueezer_new();
    struct buf out = {0};
    struct err e;
    buf_put(&out, "before", 6);
    assert_int_equal(unsqueeze(u, p, n, &out, &e), ERR_FORMAT);
    assert_int_equal(out.len, 6);
    buf_free(&out);
    unsqueezer_free(u);
}

/* ---- there and back ---- */

static void all_sizes(void **state)
{
    (void)state;
    static const size_t size[] = {PIECE, 1, 2, 511, 512, 513, PIECE - 1, PIECE, 1, 4096, PIECE, PIECE, 100};
    static uint8_t data[PIECE];
    struct squeezer *s = squeezer_new(SQUEEZE_ALWAYS);
    struct unsqueezer *u = unsqueezer_new();
    struct buf back = {0};
    struct err e;
    uint32_t seed = 1;
    /* 200 rounds: the stream runs past the window and around all buffers several times. */
    for (unsigned i = 0; i < 200; i++) {
        size_t n = size[i % (sizeof size / sizeof size[0])];
        if (i % 3 == 2)
            fill_noise(data, n, &seed);
        else
            fill_text(data, n, &seed);
        struct buf out = squeezed(s, data, n);
        back.len = 0;
        assert_int_equal(unsqueeze(u, out.data, out.len, &back, &e), 0);
        assert_int_equal(back.len, n);
        assert_memory_equal(back.data, data, n);
        buf_free(&out);
    }
    buf_free(&back);
    squeezer_free(s);
    unsqueezer_free(u);
    squeezer_free(NULL);
    unsqueezer_free(NULL);
}

static void what_went_before_helps(void **state)
{
    (void)state;
    static uint8_t data[20000];
    uint32_t seed = 7;
    struct squeezer *s = squeezer_new(SQUEEZE_ALWAYS);
    fill_noise(data, sizeof data, &seed);
    struct buf first = squeezed(s, data, sizeof data), again = squeezed(s, data, sizeof data);
    assert_true(first.len >= sizeof data);
    assert_true(again.len < 100);
    buf_free(&first);
    buf_free(&again);
    squeezer_free(s);
}

static void never_is_never(void **state)
{
    (void)state;
    struct squeezer *s = squeezer_new(SQUEEZE_NEVER);
    struct buf out = {0};
    for (int64_t t = 0; t < 100; t++) {
        assert_false(squeezer_wants(s, (struct squeeze_time){t * 100000000, t * 100000000}));
        assert_false(squeezer_piece(s, "aaaaaaaaaaaaaaaaaa", 18, &out));
    }
    assert_int_equal(out.len, 0);
    squeezer_free(s);
}

/* As automatic has it: pieces that go as they are leave the context alone, at both ends. */
static void automatic_follows_the_link(void **state)
{
    (void)state;
    static uint8_t data[PIECE];
    struct squeezer *s = squeezer_new(SQUEEZE_AUTO);
    struct unsqueezer *u = unsqueezer_new();
    struct buf out = {0}, back = {0};
    struct err e;
    uint32_t seed = 3;
    unsigned packed = 0, raw = 0;
    struct squeeze_time at = {0, 0};
    for (unsigned i = 0; i < 400; i++, at.now += 20000000, at.waited += 19000000) {
        if (i / 100 % 2)
            fill_noise(data, PIECE, &seed);
        else
            fill_text(data, PIECE, &seed);
        out.len = back.len = 0;
        bool wants = squeezer_wants(s, at), done = squeezer_piece(s, data, PIECE, &out);
        assert_int_equal(wants, done);
        packed += done;
        raw += !done;
        if (done) {
            assert_int_equal(unsqueeze(u, out.data, out.len, &back, &e), 0);
            assert_int_equal(back.len, PIECE);
            assert_memory_equal(back.data, data, PIECE);
        }
    }
    assert_true(packed > 50 && raw > 50);
    buf_free(&out);
    buf_free(&back);
    squeezer_free(s);
    unsqueezer_free(u);
}

/* ---- what must be refused ---- */

static void every_cut(void **state)
{
    (void)state;
    static uint8_t data[3000];
    uint32_t seed = 5;
    struct squeezer *s = squeezer_new(SQUEEZE_ALWAYS);
    fill_text(data, sizeof data, &seed);
    struct buf out = squeezed(s, data, sizeof data);
    for (size_t n = 0; n < out.len; n++) {
        uint8_t *exact = mem_alloc(n + 1);
        memcpy(exact, out.data, n);
        refuses(exact, n);
        free(exact);
    }
    for (unsigned more = 1; more < 8; more++) { /* zeros: from the third on they are an empty block */
        struct buf longer = {0};
        buf_put(&longer, out.data, out.len);
        for (unsigned i = 0; i < more; i++)
            buf_u8(&longer, 0);
        if (more % 3)
            refuses(longer.data, longer.len);
        buf_free(&longer);
    }
    buf_free(&out);
    squeezer_free(s);
}

static void wrong_lengths(void **state)
{
    (void)state;
    static uint8_t data[PIECE];
    uint32_t seed = 5;
    struct squeezer *s = squeezer_new(SQUEEZE_ALWAYS);
    fill_text(data, PIECE, &seed);
    struct buf out = squeezed(s, data, PIECE);
    static const uint64_t length[] = {0, 1, PIECE - 1, PIECE + 1, 2 * PIECE, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof length / sizeof length[0]; i++) {
        struct buf b = {0};
        buf_varint(&b, length[i]);
        buf_put(&b, out.data + 3, out.len - 3);
        refuses(b.data, b.len);
        buf_free(&b);
    }
    refuses("", 0);
    buf_free(&out);
    squeezer_free(s);
}

static void after_an_error(void **state)
{
    (void)state;
    struct squeezer *s = squeezer_new(SQUEEZE_ALWAYS);
    struct unsqueezer *u = unsqueezer_new();
    struct buf first = squeezed(s, "abcdefgh", 8), second = squeezed(s, "abcdefgh", 8), back = {0};
    struct err e;
    refuses(second.data, second.len); /* without the first */
    assert_int_equal(unsqueeze(u, first.data, first.len, &back, &e), 0);
    assert_int_equal(unsqueeze(u, first.data, first.len, &back, &e), ERR_FORMAT); /* a second header */
    assert_int_equal(unsqueeze(u, second.data, second.len, &back, &e), ERR_FORMAT);
    assert_int_equal(back.len, 8);
    buf_free(&first);
    buf_free(&second);
    buf_free(&back);
    squeezer_free(s);
    unsqueezer_free(u);
}

/* A frame from elsewhere, with the length of data in front. */
static struct buf foreign(const void *data, size_t n, ZSTD_cParameter what, int value, ZSTD_EndDirective end)
{
    struct buf b = {0};
    ZSTD_CCtx *z = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, 0);
    ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, 17);
    ZSTD_CCtx_setParameter(z, what, value);
    buf_varint(&b, n);
    ZSTD_inBuffer in = {data, n, 0};
    ZSTD_outBuffer out = {buf_room(&b, n + 1000), n + 1000, 0};
    assert_int_equal(ZSTD_compressStream2(z, &out, &in, end), 0);
    b.len += out.pos;
    ZSTD_freeCCtx(z);
    return b;
}

static void foreign_frames(void **state)
{
    (void)state;
    static uint8_t data[3000];
    static const struct {
        ZSTD_cParameter what;
        int value;
        ZSTD_EndDirective end;
        bool good;
    } frame[] = {
        {ZSTD_c_windowLog, 17, ZSTD_e_flush, true},    {ZSTD_c_windowLog, 10, ZSTD_e_flush, true},
        {ZSTD_c_windowLog, 20, ZSTD_e_flush, true},    {ZSTD_c_windowLog, 21, ZSTD_e_flush, false},
        {ZSTD_c_windowLog, 27, ZSTD_e_flush, false},   {ZSTD_c_windowLog, 31, ZSTD_e_flush, false},
        {ZSTD_c_windowLog, 17, ZSTD_e_end, false},     {ZSTD_c_checksumFlag, 1, ZSTD_e_flush, false},
        {ZSTD_c_compressionLevel, 3, ZSTD_e_flush, true},
    };
    uint32_t seed = 11;
    fill_text(data, sizeof data, &seed);
    for (size_t i = 0; i < sizeof frame / sizeof frame[0]; i++) {
        struct buf b = foreign(data, sizeof data, frame[i].what, frame[i].value, frame[i].end), back = {0};
        struct unsqueezer *u = unsqueezer_new();
        struct err e;
        int rc = unsqueeze(u, b.data, b.len, &back, &e);
        if (rc != (frame[i].good ? 0 : ERR_FORMAT))
            fail_msg("frame %zu: %d", i, rc);
        unsqueezer_free(u);
        buf_free(&b);
        buf_free(&back);
    }
}

static void hostile_headers(void **state)
{
    (void)state;
#define MAGIC "\x28\xb5\x2f\xfd"
    /* Each with a block of five bytes, "hello", where one could stand. */
#define HELLO "\x28\x00\x00hello"
    static const struct { const char *bytes; size_t n; bool good; } head[] = {
#define H(text, good) {text, sizeof text - 1, good}
        H("\x05" MAGIC "\x00\x00" HELLO, true),
        H("\x05" MAGIC "\x00\x50" HELLO, true),
        H("\x05" MAGIC "\x00\x51" HELLO, false),             /* a window of 1 MiB and an eighth */
        H("\x05" MAGIC "\x00\xff" HELLO, false),             /* of 3.75 TiB */
        H("\x05" MAGIC "\x20\x05" HELLO, false),             /* a single segment */
        H("\x05" MAGIC "\x01\x00\x07" HELLO, false),         /* a dictionary */
        H("\x05" MAGIC "\x04\x00" HELLO, false),             /* a checksum */
        H("\x05" MAGIC "\x08\x00" HELLO, false),             /* the reserved bit */
        H("\x05" "\x50\x2a\x4d\x18\x05\x00\x00\x00hello", false), /* a skippable frame */
        H("\x05" "\x27\xb5\x2f\xfd\x00\x00" HELLO, false),   /* an old version */
        H("\x05" MAGIC "\x00\x00" "\x29\x00\x00hello", false), /* the last block */
        H("\x05" MAGIC "\x00\x00" "\x2e\x00\x00hello", false), /* the reserved type */
        H("\x05" MAGIC "\x00\x00" "\x2a\x00\x00h", true),    /* five times the same byte */
        H("\x05" MAGIC "\x00\x00" "\x2a\x00\x00", false),
        H("\x05" MAGIC "\x00\x00" "\xfa\xff\xff" "h", false), /* two million times: too large a block */
        H("\x05" MAGIC "\x00\x00" HELLO "\x00\x00\x00", true), /* an empty block behind */
        H("\x05" MAGIC "\x00\x00" HELLO "\x08\x00\x00x", false),
        H("\x05" MAGIC "\x00\x00", false),
        H("\x85\x00" MAGIC "\x00\x00" HELLO, false),         /* a varint that could be shorter */
    };
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++) {
        struct unsqueezer *u = unsqueezer_new();
        struct buf back = {0};
        struct err e;
        int rc = unsqueeze(u, head[i].bytes, head[i].n, &back, &e);
        if (rc != (head[i].good ? 0 : ERR_FORMAT) || back.len != (head[i].good ? 5 : 0))
            fail_msg("header %zu: %d, %zu bytes", i, rc, back.len);
        buf_free(&back);
        unsqueezer_free(u);
    }
}

/* Many blocks in one piece would cost time without end; what a piece may gain at most bounds them. */
static void no_endless_pieces(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_put(&b, "\x05" MAGIC "\x00\x00" HELLO, 15);
    while (b.len <= PIECE + SQUEEZE_GROWTH)
        buf_put(&b, "\x00\x00\x00", 3);
    refuses(b.data, b.len);
    buf_free(&b);
}

/* ---- does it pay? ---- */

/*
 * A channel over a link of so many bytes a second with a window of credit behind it. Time is only a number
 * here. From the change on the second figures hold.
 */
struct weather {
    const char *what;
    double link[2];     /* bytes a second */
    double ratio[2];    /* what squeezing leaves */
    double own, work;   /* ns of our own work, of squeezing, for a raw byte */
    double receiver;    /* raw bytes a second; 0: any */
    double change;      /* s; 0: no change */
    double packed[2];   /* least and largest share of bytes squeezed in the last half of the ten seconds */
    unsigned switches;  /* at most */
};

struct way {
    double at[4096];    /* when these pieces have arrived, ns */
    double size[4096];
    size_t first, last;
    double under_way;
};

static void arrive(struct way *w, double now)
{
    for (; w->first < w->last && w->at[w->first % 4096] <= now; w->first++)
        w->under_way -= w->size[w->first % 4096];
}

static double when_room(struct way *w, double now, double window, double size)
{
    arrive(w, now);
    while (w->under_way + size > window) {
        now = w->at[w->first % 4096];
        arrive(w, now);
    }
    return now;
}

/* The window doubles, up to the largest, each time that it was used up. */
static void simulate(const struct weather *w, double window, double largest, double *share, unsigned *switches)
{
    static struct way way;
    struct squeeze_judge j = {0};
    double now = 0, waited = 0, link_free = 0, raw = 0, packed = 0, used = 0;
    memset(&way, 0, sizeof way);
    *switches = 0;
    for (enum squeeze_state was = SQUEEZE_RAW; now < 10e9; was = j.state) {
        unsigned k = w->change > 0 && now >= w->change * 1e9;
        squeeze_judge_look(&j, (struct squeeze_time){(int64_t)now, (int64_t)waited});
        bool squeeze = j.state != SQUEEZE_RAW;
        double size = squeeze ? PIECE * w->ratio[k] : PIECE;
        double work = squeeze ? PIECE * w->work : 0;
        *switches += (was == SQUEEZE_PACKED) != (j.state == SQUEEZE_PACKED);
        now += PIECE * w->own;
        used += size;
        if (used > window && window < largest) {
            window *= 2;
            used = 0;
        }
        double room = when_room(&way, now, window, PIECE);
        waited += room - now;
        now = room + work;
        double needs = size / w->link[k] * 1e9;
        double takes = w->receiver > 0 ? PIECE / w->receiver * 1e9 : 0;
        link_free = (link_free > now ? link_free : now) + (needs > takes ? needs : takes);
        way.at[way.last % 4096] = link_free;
        way.size[way.last++ % 4096] = size;
        way.under_way += size;
        squeeze_judge_piece(&j, PIECE, (size_t)size, (int64_t)work);
        if (now > 5e9) {
            raw += PIECE;
            packed += squeeze ? PIECE : 0;
        }
    }
    *share = packed / raw;
}

static void judgement(void **state)
{
    (void)state;
    static const struct weather table[] = {
        {"fast link, text", {3e9, 3e9}, {.3, .3}, 1, 2.5, 0, 0, {0, .01}, 0},
        {"as fast as we are", {1e9, 1e9}, {.3, .3}, 1, 2.5, 0, 0, {0, .01}, 0},
        {"10 MB/s, text", {1e7, 1e7}, {.3, .3}, 1, 2.5, 0, 0, {.99, 1}, 1},
        {"1.5 MB/s, text", {1.5e6, 1.5e6}, {.42, .42}, 1, 2.5, 0, 0, {.99, 1}, 1},
        {"1 MB/s, text", {1e6, 1e6}, {.3, .3}, 1, 2.5, 0, 0, {.99, 1}, 1},
        {"100 kB/s, text", {1e5, 1e5}, {.3, .3}, 1, 2.5, 0, 0, {.9, 1}, 1},
        {"100 MB/s, text", {1e8, 1e8}, {.3, .3}, 1, 2.5, 0, 0, {.95, 1}, 3},
        {"100 MB/s, a slow compressor", {1e8, 1e8}, {.3, .3}, 1, 20, 0, 0, {0, .05}, 0},
        {"100 MB/s, text, small files", {1e8, 1e8}, {.3, .3}, 8, 2.5, 0, 0, {0, .05}, 0},
        {"10 MB/s, noise", {1e7, 1e7}, {1, 1}, 1, 1, 0, 0, {0, .02}, 0},
        {"100 MB/s, noise", {1e8, 1e8}, {1, 1}, 1, 1, 0, 0, {0, .005}, 0},
        {"10 MB/s, hardly anything to gain", {1e7, 1e7}, {.95, .95}, 1, 2.5, 0, 0, {0, .02}, 0},
        {"10 MB/s becomes fast", {1e7, 3e9}, {.3, .3}, 1, 2.5, 0, 2, {0, .05}, 2},
        {"fast becomes 10 MB/s", {3e9, 1e7}, {.3, .3}, 1, 2.5, 0, 2, {.99, 1}, 1},
        {"10 MB/s becomes 1 MB/s", {1e7, 1e6}, {.3, .3}, 1, 2.5, 0, 2, {.9, 1}, 3},
        {"10 MB/s, noise after text", {1e7, 1e7}, {.3, 1}, 1, 2.5, 0, 2, {0, .02}, 2},
        {"10 MB/s, text after noise", {1e7, 1e7}, {1, .3}, 1, 2.5, 0, 2, {.9, 1}, 1},
        {"a slow receiver on a fast link", {1e9, 1e9}, {.3, .3}, 1, 2.5, 5e7, 0, {0, .2}, 10},
    };
    /* Windows for a child, for another machine, and as they grow. */
    static const double windows[3][2] = {{512 << 10, 512 << 10}, {8 << 20, 8 << 20}, {512 << 10, 8 << 20}};
    for (size_t i = 0; i < 3 * sizeof table / sizeof table[0]; i++) {
        const struct weather *w = &table[i / 3];
        const double *window = windows[i % 3];
        double share;
        unsigned switches;
        if (i % 3 && w->receiver > 0)
            continue; /* so much is on its way that a slow receiver cannot be told from a slow link */
        simulate(w, window[0], window[1], &share, &switches);
        if (!(share >= w->packed[0] && share <= w->packed[1]) || switches > w->switches)
            fail_msg("%s, window %zu: %.3f squeezed, %u switches", w->what, i % 3, share, switches);
    }
}

/* The bursts that a growing window lets through, wherever they fall, are not taken for the link's speed. */
static void growing_windows(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 400; i++) {
        double link = 2e5 + i * 2e4, share;
        const struct weather w = {"text", {link, link}, {.42, .42}, 1, 2.5, 0, 0, {.9, 1}, 1};
        unsigned switches;
        simulate(&w, (256 + i % 7 * 64) << 10, 8 << 20, &share, &switches);
        if (!(share >= w.packed[0]) || switches > w.switches)
            fail_msg("%.0f B/s: %.3f squeezed, %u switches", link, share, switches);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes),
        cmocka_unit_test(what_went_before_helps),
        cmocka_unit_test(never_is_never),
        cmocka_unit_test(automatic_follows_the_link),
        cmocka_unit_test(every_cut),
        cmocka_unit_test(wrong_lengths),
        cmocka_unit_test(after_an_error),
        cmocka_unit_test(foreign_frames),
        cmocka_unit_test(hostile_headers),
        cmocka_unit_test(no_endless_pieces),
        cmocka_unit_test(judgement),
        cmocka_unit_test(growing_windows),
    };
    return cmocka_run_group_tests_name("squeeze", tests, NULL, NULL);
}
