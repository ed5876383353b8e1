/*
 * Finds the basis in the wanted file. The sums are librsync's and so are the commands, but the search is ours:
 * librsync's own takes 17 ns for each byte that matches nothing (this: about 2), chains equal weak sums without
 * bound, and counts in the shared signature, so that two threads could not use one.
 *
 * The search runs in segments, each a delta of its own. After one that found next to nothing it pauses for a
 * while, longer each time.
 */
#include "object/delta.h"

#include "base/mem.h"
#include "object/delta_index.h"
#include "object/delta_sums.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT ((uint64_t)16 << 20) /* bytes of the file */
#define PAUSE_MAX ((uint64_t)1 << 30)
#define IN_VAIN ((uint64_t)16 << 20) /* bytes summed for nothing that a segment may cost in any case */
#define IN_VAIN_FACTOR_MAX 64u

/* The weak sum: h = 1; h = h * MULT + byte. Rolled by taking out what byte and 1 left at the far end. */
#define MULT 0x08104225u
#define ADJUST (MULT - 1)

struct delta_maker {
    const struct delta_index *x; /* NULL: nothing to search for */
    struct delta_sums *sums;
    struct buf window;  /* bytes from `at` on are still to be judged; at least a block of them is needed */
    size_t at;
    bool rolling;       /* weak is the sum of the block at `at`, which matches nothing */
    uint32_t weak, far; /* far: MULT to the power of the block length */
    uint32_t next;      /* the block behind the match that ends at `at`; DELTA_NONE: no match does */
    uint64_t run_pos, run_len; /* bytes of the basis that matched and are not yet written as a COPY */
    struct buf sum;
    bool open;                /* a delta is */
    bool ending;              /* no more is fed */
    uint64_t seen, vain;      /* of this segment: bytes judged, and bytes summed for nothing */
    uint64_t seg_literal, pause, pause_next; /* bytes */
    size_t record;            /* where in the caller's buffer the open record begins */
    uint8_t kind;             /* of that record; 0: none is open */
    uint64_t total;
    struct delta_counts counts;
};

struct delta_maker *delta_maker_new(const struct delta_index *index)
{
    struct delta_maker *m = mem_zalloc(sizeof *m);
    m->pause_next = SEGMENT;
    if (!index || index->count == 0)
        return m;
    m->x = index;
    m->next = DELTA_NONE;
    m->far = 1;
    for (uint32_t i = 0; i < index->shape.block; i++)
        m->far *= MULT;
    return m;
}

void delta_maker_free(struct delta_maker *m)
{
    if (!m)
        return;
    delta_sums_free(m->sums);
    buf_free(&m->window);
    buf_free(&m->sum);
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

static void begin_delta(struct delta_maker *m, struct buf *out)
{
    static const uint8_t magic[4] = {DELTA_MAGIC >> 24, DELTA_MAGIC >> 16 & 255, DELTA_MAGIC >> 8 & 255,
                                     DELTA_MAGIC & 255};
    if (m->open)
        return;
    m->open = true;
    put_number(m, out, DELTA_BEGIN, SEGMENT + (uint64_t)m->x->shape.block * delta_sums_group(m->sums));
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

/* n > 0 bytes of the window, from `at` on */
static void literal(struct delta_maker *m, struct buf *out, size_t n)
{
    uint8_t c[9];
    size_t len = 1;
    flush_run(m, out);
    if (n <= 64) {
        c[0] = (uint8_t)n;
    } else {
        unsigned log = put_be(c + 1, n);
        c[0] = (uint8_t)(65 + log);
        len += 1u << log;
    }
    begin_delta(m, out);
    put(m, out, DELTA_DELTA, c, len);
    put(m, out, DELTA_DELTA, m->window.data + m->at, n);
    m->at += n;
    m->seen += n;
    m->seg_literal += n;
    m->counts.literal += n;
}

static void raw(struct delta_maker *m, struct buf *out, const void *p, size_t n)
{
    put(m, out, DELTA_RAW, p, n);
    m->counts.literal += n;
}

static void matched(struct delta_maker *m, struct buf *out, uint32_t block, size_t n)
{
    uint64_t pos = (uint64_t)block * m->x->shape.block;
    if (m->run_len && m->run_pos + m->run_len != pos)
        flush_run(m, out);
    if (!m->run_len)
        m->run_pos = pos;
    m->run_len += n;
    m->at += n;
    m->seen += n;
    m->next = block + 1;
    m->rolling = false;
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

/* ---- the search ---- */

static bool in_vain(const struct delta_maker *m)
{
    uint64_t basis = (uint64_t)m->x->count * m->x->shape.block;
    uint64_t factor = 4 + 4 * (basis >> 32); /* weak sums are alike by chance: basis / 2^32 for each byte judged */
    if (factor > IN_VAIN_FACTOR_MAX)
        factor = IN_VAIN_FACTOR_MAX;
    return m->vain > IN_VAIN + m->seen * factor;
}

/* Judges whether to search on, when a segment is over. */
static void next_segment(struct delta_maker *m, struct buf *out)
{
    bool vain = in_vain(m) || m->seg_literal > m->seen / 10 * 9;
    end_delta(m, out);
    m->pause = vain ? m->pause_next : 0;
    if (!vain)
        m->pause_next = SEGMENT;
    else if (m->pause_next < PAUSE_MAX)
        m->pause_next *= 2;
    m->seen = m->vain = m->seg_literal = 0;
    if (vain) {
        m->rolling = false;
        m->next = DELTA_NONE;
    }
}

/* The entries of the blocks from `at` on into m->sum. */
static int sum_blocks(struct delta_maker *m, size_t blocks, struct err *e)
{
    m->sum.len = 0;
    return delta_sums_blocks(m->sums, m->window.data + m->at, blocks, &m->sum, e);
}

/* Which block of the basis has this entry? Most likely the one behind the last match. */
static uint32_t find(const struct delta_maker *m, const uint8_t *entry)
{
    if (m->next < m->x->count && memcmp(delta_index_entry(m->x, m->next), entry, 4 + m->x->shape.strong) == 0)
        return m->next;
    return delta_index_find(m->x, entry);
}

/* The blocks behind a match, or the first one of a segment; ends at the first that does not match. */
static int look(struct delta_maker *m, struct buf *out, size_t blocks, struct err *e)
{
    int rc = sum_blocks(m, blocks, e);
    if (rc < 0)
        return rc;
    const uint8_t *entry = m->sum.data;
    for (; blocks > 0 && !m->rolling; blocks--, entry += 4 + m->x->shape.strong) {
        uint32_t block = find(m, entry);
        if (block != DELTA_NONE) {
            matched(m, out, block, m->x->shape.block);
        } else {
            m->rolling = true;
            m->weak = delta_index_weak(entry);
            m->next = DELTA_NONE;
        }
    }
    return 0;
}

/* Moves a block-long window on by up to n bytes, until its weak sum may be known; how far it went. */
static size_t roll(struct delta_maker *m, const uint8_t *p, size_t n)
{
    uint32_t weak = m->weak, far = m->far;
    const struct delta_index *x = m->x;
    const uint8_t *front = p + x->shape.block;
    size_t i = 0;
    while (i < n) {
        weak = weak * MULT + (front[i] - far * (p[i] + ADJUST));
        i++;
        if (delta_index_may_have(x, weak) && delta_index_has_weak(x, weak))
            break;
    }
    m->weak = weak;
    return i;
}

/* From a block that matches nothing towards one that does; n: how far at most. */
static int seek(struct delta_maker *m, struct buf *out, size_t n, struct err *e)
{
    literal(m, out, roll(m, m->window.data + m->at, n));
    if (!delta_index_may_have(m->x, m->weak) || !delta_index_has_weak(m->x, m->weak))
        return 0;
    int rc = sum_blocks(m, 1, e);
    if (rc < 0)
        return rc;
    uint32_t block = delta_index_find(m->x, m->sum.data);
    if (block != DELTA_NONE)
        matched(m, out, block, m->x->shape.block);
    else
        m->vain += m->x->shape.block;
    return 0;
}

/* 1: there is more to judge; 0: more bytes are needed */
static int step(struct delta_maker *m, struct buf *out, struct err *e)
{
    size_t left = m->window.len - m->at, block = m->x->shape.block;
    int rc;
    if (m->pause) {
        size_t n = left < m->pause ? left : (size_t)m->pause;
        raw(m, out, m->window.data + m->at, n);
        m->at += n;
        m->pause -= n;
        return m->at < m->window.len;
    }
    if (m->seen >= SEGMENT || in_vain(m)) {
        next_segment(m, out);
        return 1;
    }
    size_t blocks = m->next == DELTA_NONE ? 1 : delta_sums_group(m->sums);
    if (m->ending && left < blocks * block)
        blocks = 1;
    if (left < (m->rolling ? block + 1 : blocks * block))
        return 0;
    if (!m->rolling)
        rc = look(m, out, blocks, e);
    else
        rc = seek(m, out, left - block < SEGMENT - m->seen ? left - block : (size_t)(SEGMENT - m->seen), e);
    return rc < 0 ? rc : 1;
}

static void compact(struct delta_maker *m)
{
    if (m->at > m->window.len / 2) {
        buf_drop(&m->window, m->at);
        m->at = 0;
    }
}

void delta_maker_keep(struct delta_maker *m, uint64_t n, struct buf *out)
{
    if (n)
        put_number(m, out, DELTA_KEEP, n);
    m->total = n;
}

int delta_maker_feed(struct delta_maker *m, const void *p, size_t n, struct buf *out, struct err *e)
{
    int rc = 0;
    m->total += n;
    if (!m->x || (m->pause >= n && m->at == m->window.len)) {
        raw(m, out, p, n);
        m->pause -= m->x ? n : 0;
        goto out;
    }
    if (!m->sums && !(m->sums = delta_sums_new(m->x->shape, e)))
        return ERR_FORMAT;
    buf_put(&m->window, p, n);
    while ((rc = step(m, out, e)) > 0)
        ;
    compact(m);
out:
    close_record(m, out);
    return rc;
}

/* Does the basis's last block, which may be a short one, match the last n bytes of the window? 1, 0, or an error. */
static int try_tail(struct delta_maker *m, size_t n, struct err *e)
{
    struct delta_sums *s = delta_sums_new(m->x->shape, e);
    m->sum.len = 0;
    int rc = s ? delta_sums_last(s, m->window.data + m->window.len - n, n, &m->sum, e) : ERR_FORMAT;
    delta_sums_free(s);
    if (rc < 0)
        return rc;
    const uint8_t *last = delta_index_entry(m->x, m->x->count - 1);
    return m->sum.len == 4 + m->x->shape.strong && memcmp(m->sum.data, last, m->sum.len) == 0;
}

/* What is left is shorter than a block, or a whole block that matches nothing. */
static int tail(struct delta_maker *m, struct buf *out, struct err *e)
{
    size_t left = m->window.len - m->at, found = 0;
    uint32_t last = delta_index_weak(delta_index_entry(m->x, m->x->count - 1)), sum = 0, power = 1;
    int tries = 8, rc; /* weak sums that are alike by chance are rare */
    for (size_t n = 1; n <= left && n < m->x->shape.block && !found && tries; n++) {
        sum += m->window.data[m->window.len - n] * power;
        power *= MULT;
        if (sum + power != last)
            continue;
        tries--;
        if ((rc = try_tail(m, n, e)) < 0)
            return rc;
        found = rc ? n : 0;
    }
    if (left > found)
        literal(m, out, left - found);
    if (found)
        matched(m, out, m->x->count - 1, found);
    return 0;
}

int delta_maker_end(struct delta_maker *m, struct buf *out, struct err *e)
{
    int rc = 0;
    m->ending = true;
    while (m->sums && rc >= 0 && (rc = step(m, out, e)) > 0)
        ;
    if (rc == 0 && m->at < m->window.len)
        rc = tail(m, out, e);
    if (rc < 0)
        return rc;
    if (m->x)
        end_delta(m, out);
    put_number(m, out, DELTA_END, m->total);
    return 0;
}

void delta_maker_fail(struct delta_maker *m, const char *why, struct buf *out)
{
    size_t n = strnlen(why, 1024);
    if (m->x)
        end_delta(m, out);
    put(m, out, DELTA_FAILED, n ? why : "unknown", n ? n : 7);
    close_record(m, out);
}
