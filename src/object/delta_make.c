/*
 * Writes the patch stream: copies for what is found of the basis in the wanted file, literals for the rest.
 *
 * The search runs in segments, each a delta of its own. After one that found next to nothing it pauses for a
 * while, longer each time.
 */
#include "object/delta.h"

#include "base/mem.h"
#include "object/delta_search.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT ((uint64_t)16 << 20) /* bytes of the file */
#define PAUSE_MAX ((uint64_t)1 << 30)

struct delta_maker {
    struct delta_search search; /* if searches */
    bool searches;
    struct buf *out;           /* the caller's, in this call */
    uint64_t run_pos, run_len; /* bytes of the basis that matched and are not yet written as a COPY */
    bool open;                 /* a delta is */
    uint64_t seg_seen, seg_literal, pause, pause_next; /* bytes; seg: of this segment */
    size_t record;             /* where in the caller's buffer the open record begins */
    uint8_t kind;              /* of that record; 0: none is open */
    uint64_t total;
    struct delta_counts counts;
};

struct delta_maker *delta_maker_new(const struct delta_index *index)
{
    struct delta_maker *m = mem_zalloc(sizeof *m);
    m->pause_next = SEGMENT;
    delta_maker_search(m, index);
    return m;
}

void delta_maker_free(struct delta_maker *m)
{
    if (!m)
        return;
    if (m->searches)
        delta_search_free(&m->search);
    free(m);
}

struct delta_counts delta_maker_counts(const struct delta_maker *m)
{
    return m->counts;
}

/* ---- records ---- */

static void close_record(struct delta_maker *m, struct buf *out)
{
    size_t n = out->len - m->record - 5;
    for (unsigned i = 0; m->kind && i < 4; i++)
        out->data[m->record + 1 + i] = (uint8_t)(n >> (8 * i));
    m->kind = 0;
}

/* More payload: goes on with the open record if it is of this kind. */
static void put(struct delta_maker *m, struct buf *out, uint8_t kind, const void *p, size_t n)
{
    const uint8_t *data = p;
    while (n) {
        if (m->kind && (m->kind != kind || out->len - m->record - 5 == DELTA_RECORD_MAX))
            close_record(m, out);
        if (!m->kind) {
            m->kind = kind;
            m->record = out->len;
            buf_u8(out, kind);
            buf_u32(out, 0);
        }
        size_t k = DELTA_RECORD_MAX - (out->len - m->record - 5);
        if (k > n)
            k = n;
        buf_put(out, data, k);
        data += k;
        n -= k;
    }
}

static void put_number(struct delta_maker *m, struct buf *out, uint8_t kind, uint64_t v)
{
    close_record(m, out);
    buf_u8(out, kind);
    buf_u32(out, 8);
    buf_u64(out, v);
}

/* What is found goes up to a group of blocks beyond a segment's end. */
static uint64_t delta_bound(const struct delta_maker *m)
{
    return SEGMENT + (m->searches ? (uint64_t)m->search.x->shape.block * DELTA_GROUP_MAX : 0);
}

static void begin_delta(struct delta_maker *m, struct buf *out)
{
    static const uint8_t magic[4] = {DELTA_MAGIC >> 24, DELTA_MAGIC >> 16 & 255, DELTA_MAGIC >> 8 & 255,
                                     DELTA_MAGIC & 255};
    if (m->open)
        return;
    m->open = true;
    put_number(m, out, DELTA_BEGIN, delta_bound(m));
    put(m, out, DELTA_DELTA, magic, sizeof magic);
}

/* v as 1, 2, 4 or 8 big-endian bytes at p; returns the logarithm of how many. */
static unsigned put_be(uint8_t *p, uint64_t v)
{
    unsigned log = v <= UINT8_MAX ? 0 : v <= UINT16_MAX ? 1 : v <= UINT32_MAX ? 2 : 3;
    unsigned n = 1u << log;
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    return log;
}

static void flush_run(struct delta_maker *m, struct buf *out)
{
    uint8_t c[17];
    if (!m->run_len)
        return;
    unsigned a = put_be(c + 1, m->run_pos);
    unsigned b = put_be(c + 1 + (1u << a), m->run_len);
    c[0] = (uint8_t)(69 + 4 * a + b);
    begin_delta(m, out);
    put(m, out, DELTA_DELTA, c, 1u + (1u << a) + (1u << b));
    m->counts.matched += m->run_len;
    m->run_len = 0;
}

static void end_delta(struct delta_maker *m, struct buf *out)
{
    static const uint8_t end = 0;
    flush_run(m, out);
    if (m->open)
        put(m, out, DELTA_DELTA, &end, 1);
    close_record(m, out);
    m->open = false;
}

static void raw(struct delta_maker *m, struct buf *out, const void *p, size_t n)
{
    if (m->open || m->run_len)
        end_delta(m, out);
    put(m, out, DELTA_RAW, p, n);
    m->counts.literal += n;
}

/* ---- what the search tells ---- */

static void on_literal(void *ctx, const uint8_t *p, size_t n)
{
    struct delta_maker *m = ctx;
    uint8_t c[9];
    size_t len = 1;
    flush_run(m, m->out);
    if (n <= 64) {
        c[0] = (uint8_t)n;
    } else {
        unsigned log = put_be(c + 1, n);
        c[0] = (uint8_t)(65 + log);
        len += 1u << log;
    }
    begin_delta(m, m->out);
    put(m, m->out, DELTA_DELTA, c, len);
    put(m, m->out, DELTA_DELTA, p, n);
    m->seg_seen += n;
    m->seg_literal += n;
    m->counts.literal += n;
}

static void on_matched(void *ctx, uint64_t pos, size_t n)
{
    struct delta_maker *m = ctx;
    if (m->run_len && m->run_pos + m->run_len != pos)
        flush_run(m, m->out);
    if (!m->run_len)
        m->run_pos = pos;
    m->run_len += n;
    m->seg_seen += n;
}

void delta_maker_search(struct delta_maker *m, const struct delta_index *index)
{
    static const struct delta_sink sink = {on_literal, on_matched};
    if (m->searches)
        delta_search_free(&m->search);
    m->searches = index && index->count > 0;
    if (m->searches)
        delta_search_init(&m->search, index, &sink, m);
}

/* ---- segments ---- */

/* Judges whether to search on, when a segment is over. */
static void next_segment(struct delta_maker *m)
{
    bool vain = m->seg_literal > m->seg_seen / 10 * 9;
    if (m->searches) {
        vain |= delta_search_in_vain(&m->search);
        m->search.seen = m->search.vain = 0;
    }
    end_delta(m, m->out);
    m->pause = vain ? m->pause_next : 0;
    if (!vain)
        m->pause_next = SEGMENT;
    else if (m->pause_next < PAUSE_MAX)
        m->pause_next *= 2;
    m->seg_seen = m->seg_literal = 0;
    if (vain && m->searches)
        delta_search_skip(&m->search, 0);
}

/* 1: there is more to judge; 0: more bytes are needed */
static int step(struct delta_maker *m, struct err *e)
{
    struct delta_search *s = &m->search;
    if (m->pause) {
        size_t left = delta_search_left(s), n = left < m->pause ? left : (size_t)m->pause;
        raw(m, m->out, s->window.data + s->at, n);
        delta_search_skip(s, n);
        m->pause -= n;
        return delta_search_left(s) > 0;
    }
    if (m->seg_seen >= SEGMENT || delta_search_in_vain(s)) {
        next_segment(m);
        return 1;
    }
    return delta_search_step(s, SEGMENT - m->seg_seen, e);
}

/* Judges all that was fed, as if the file ended here. */
static int finish(struct delta_maker *m, struct err *e)
{
    int rc = 0;
    if (!m->searches || delta_search_left(&m->search) == 0)
        return 0;
    m->search.ending = true;
    while ((rc = step(m, e)) > 0)
        ;
    if (rc == 0 && delta_search_left(&m->search) > 0)
        rc = delta_search_end(&m->search, e);
    return rc;
}

/* ---- for the caller ---- */

void delta_maker_keep(struct delta_maker *m, uint64_t n, struct buf *out)
{
    if (n)
        put_number(m, out, DELTA_KEEP, n);
    m->total = n;
}

void delta_maker_ask(struct delta_maker *m, const struct buf *request, struct buf *out)
{
    put(m, out, DELTA_REFINE, request->data, request->len);
    close_record(m, out);
}

int delta_maker_feed(struct delta_maker *m, const void *p, size_t n, struct buf *out, struct err *e)
{
    int rc = 0;
    m->total += n;
    m->out = out;
    if (!m->searches || (m->pause >= n && delta_search_left(&m->search) == 0)) {
        raw(m, out, p, n);
        m->pause -= m->searches ? n : 0;
    } else {
        delta_search_add(&m->search, p, n);
        while ((rc = step(m, e)) > 0)
            ;
    }
    close_record(m, out);
    return rc;
}

int delta_maker_found(struct delta_maker *m, uint64_t pos, uint64_t n, struct buf *out, struct err *e)
{
    m->total += n;
    m->out = out;
    int rc = finish(m, e);
    if (m->searches)
        delta_search_reset(&m->search);
    for (uint64_t k; n && rc == 0; n -= k, pos += k) {
        if (m->seg_seen >= SEGMENT)
            next_segment(m);
        k = n < SEGMENT - m->seg_seen ? n : SEGMENT - m->seg_seen;
        on_matched(m, pos, (size_t)k);
    }
    close_record(m, out);
    return rc;
}

int delta_maker_end(struct delta_maker *m, struct buf *out, struct err *e)
{
    m->out = out;
    int rc = finish(m, e);
    if (rc < 0)
        return rc;
    end_delta(m, out);
    put_number(m, out, DELTA_END, m->total);
    return 0;
}

void delta_maker_fail(struct delta_maker *m, const char *why, struct buf *out)
{
    size_t n = strnlen(why, 1024);
    end_delta(m, out);
    put(m, out, DELTA_FAILED, n ? why : "unknown", n ? n : 7);
    close_record(m, out);
}
