/*
 * The first search of a large file, with the coarse signature, and what is to be asked for after it.
 *
 * A step searches two stretches that lie one behind the other, each on its own: two threads may do it, and the
 * result does not depend on whether they do. Where they meet, the second may have found what the first found already,
 * and is cut. Where next to nothing is found the search leaps, further each time: the second one looks there too.
 */
#include "object/delta.h"

#include "base/mem.h"
#include "base/pair.h"
#include "object/delta_search.h"
#include "object/delta_shape.h"

#include <stdlib.h>
#include <string.h>

#define STRETCH ((uint64_t)8 << 20) /* bytes of the file that a thread searches in a step, at least */
#define STRETCH_BLOCKS 4u           /* and blocks */
#define READ_PIECE ((size_t)512 << 10)
#define PAUSE_MIN ((uint64_t)16 << 20)
#define PAUSE_MAX ((uint64_t)1 << 30)
#define MATCHES_MAX (1u << 20) /* 24 MiB: more is not found */

/* Bytes of the file that stand at pos in the basis. */
struct match {
    uint64_t at, len, pos;
};

struct matches {
    struct match *at;
    size_t n, cap;
};

/* One thread's share of a step. */
struct stretch {
    const struct delta_finder *finder;
    struct delta_search search;
    uint64_t at, end; /* of the file: judged up to; to be judged */
    uint64_t literal;
    struct matches found;
    int rc;
    struct err e;
};

struct delta_finder {
    const struct delta_index *x;
    uint64_t basis;
    struct delta_input in;
    uint64_t from, at, to; /* of the file; at: searched up to */
    uint64_t pause;
    struct stretch stretch[2];
    struct matches found;
    uint32_t block;        /* of the signature that was asked for; 0: none */
    struct delta_ranges ranges;
    size_t next;           /* match, for delta_finder_next */
    uint64_t next_at;
};

/* ---- what was found ---- */

static void add(struct matches *m, uint64_t at, uint64_t len, uint64_t pos)
{
    struct match *last = m->n ? &m->at[m->n - 1] : NULL;
    if (last && last->at + last->len == at && last->pos + last->len == pos) {
        last->len += len;
        return;
    }
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 64;
        m->at = mem_resize(m->at, m->cap, sizeof *m->at);
    }
    m->at[m->n++] = (struct match){at, len, pos};
}

static void on_literal(void *ctx, const uint8_t *p, size_t n)
{
    struct stretch *s = ctx;
    (void)p;
    s->at += n;
    s->literal += n;
}

static void on_matched(void *ctx, uint64_t pos, size_t n)
{
    struct stretch *s = ctx;
    add(&s->found, s->at, n, pos);
    s->at += n;
}

/* What a stretch found, but for what lies in front of f->at. */
static void take_found(struct delta_finder *f, const struct stretch *s)
{
    for (size_t i = 0; i < s->found.n; i++) {
        struct match m = s->found.at[i];
        uint64_t cut = m.at < f->at ? f->at - m.at : 0;
        if (cut < m.len)
            add(&f->found, m.at + cut, m.len - cut, m.pos + cut);
    }
    if (f->at < s->at)
        f->at = s->at;
}

/* ---- the search ---- */

struct delta_finder *delta_finder_new(const struct delta_index *coarse, uint64_t basis, const struct delta_input *in,
                                      uint64_t from, uint64_t to)
{
    static const struct delta_sink sink = {on_literal, on_matched};
    uint64_t block = coarse->shape.block;
    if (basis == 0 || block < DELTA_BLOCK_MIN || coarse->count != basis / block + (basis % block != 0))
        return NULL;
    struct delta_finder *f = mem_zalloc(sizeof *f);
    *f = (struct delta_finder){.x = coarse, .basis = basis, .in = *in, .from = from, .at = from, .to = to,
                               .pause = PAUSE_MIN, .next_at = from};
    for (unsigned i = 0; i < 2; i++) {
        f->stretch[i].finder = f;
        delta_search_init(&f->stretch[i].search, coarse, &sink, &f->stretch[i]);
        f->stretch[i].search.leaps = true;
    }
    return f;
}

void delta_finder_free(struct delta_finder *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < 2; i++) {
        delta_search_free(&f->stretch[i].search);
        free(f->stretch[i].found.at);
    }
    free(f->found.at);
    delta_ranges_free(&f->ranges);
    free(f);
}

/* The search needs more: 1, or 0 at the file's end, or an error. */
static int read_more(struct stretch *s)
{
    const struct delta_finder *f = s->finder;
    uint64_t pos = s->at + delta_search_left(&s->search);
    size_t n = f->to - pos < READ_PIECE ? (size_t)(f->to - pos) : READ_PIECE;
    if (n == 0)
        return 0;
    ssize_t got = f->in.read(f->in.ctx, pos, delta_search_room(&s->search, n), n, &s->e);
    if (got < 0)
        return (int)got;
    if ((size_t)got != n)
        return err_set(&s->e, ERR_CHANGED, "it became shorter meanwhile");
    s->search.window.len += n;
    return 1;
}

static void search_stretch(void *arg)
{
    struct stretch *s = arg;
    delta_search_reset(&s->search);
    s->search.seen = s->search.vain = s->literal = s->found.n = 0;
    s->rc = 0;
    while (s->at < s->end && s->rc >= 0 && !delta_search_in_vain(&s->search)) {
        s->rc = delta_search_step(&s->search, s->end - s->at, &s->e);
        if (s->rc != 0)
            continue;
        if (s->search.ending) {
            s->rc = delta_search_end(&s->search, &s->e);
            break;
        }
        s->rc = read_more(s);
        s->search.ending = s->rc == 0;
    }
}

/* At the file's end a stretch of less than a block is left over. */
static uint64_t stretch_end(const struct delta_finder *f, uint64_t at)
{
    uint64_t n = (uint64_t)f->x->shape.block * STRETCH_BLOCKS;
    if (n < STRETCH)
        n = STRETCH - STRETCH % f->x->shape.block;
    return f->to - at > n ? at + n : f->to;
}

/* After a step that judged so many bytes: further on, if it was for next to nothing. */
static void leap(struct delta_finder *f, uint64_t judged, uint64_t literal, bool vain)
{
    if (!vain && literal <= judged / 10 * 9) {
        f->pause = PAUSE_MIN;
        return;
    }
    f->at = f->to - f->at > f->pause ? f->at + f->pause : f->to;
    if (f->pause < PAUSE_MAX)
        f->pause *= 2;
}

int delta_finder_step(struct delta_finder *f, unsigned threads, struct err *e)
{
    struct stretch *s = f->stretch;
    if (f->at >= f->to)
        return 0;
    s[0].at = f->at;
    s[0].end = s[1].at = stretch_end(f, f->at);
    s[1].end = stretch_end(f, s[1].at);
    unsigned n = s[1].end > s[1].at ? 2 : 1;
    if (n == 2)
        pair_run(search_stretch, &s[0], &s[1], threads > 1);
    else
        search_stretch(&s[0]);
    uint64_t judged = 0, literal = 0;
    bool vain = false;
    for (unsigned i = 0; i < n; i++) {
        if (s[i].rc < 0) {
            *e = s[i].e;
            return s[i].rc;
        }
        take_found(f, &s[i]);
        judged += s[i].search.seen;
        literal += s[i].literal;
        vain |= s[i].at < s[i].end;
    }
    leap(f, judged, literal, vain);
    if (f->found.n >= MATCHES_MAX)
        f->at = f->to;
    return f->at < f->to;
}

/* ---- what to ask for ---- */

struct unused {
    struct delta_blocks *at;
    size_t n;
};

static void push(struct unused *u, uint32_t first, uint32_t count)
{
    if ((u->n & (u->n - 1)) == 0)
        u->at = mem_resize(u->at, u->n ? 2 * u->n : 1, sizeof *u->at);
    u->at[u->n++] = (struct delta_blocks){first, count};
}

/* The blocks of the basis that nothing matched. */
static struct unused find_unused(const struct delta_finder *f)
{
    struct unused u = {0};
    uint32_t block = f->x->shape.block, first = 0;
    uint8_t *used = mem_zalloc((size_t)f->x->count + 1);
    for (size_t i = 0; i < f->found.n; i++) {
        const struct match *m = &f->found.at[i];
        for (uint64_t k = m->pos / block; k <= (m->pos + m->len - 1) / block; k++)
            used[k] = 1;
    }
    used[f->x->count] = 1;
    for (uint32_t i = 0; i <= f->x->count; i++) {
        if (used[i] && i > first)
            push(&u, first, i - first);
        if (used[i])
            first = i + 1;
    }
    free(used);
    return u;
}

/* Of ranges longer than so many blocks only the two ends: what is wanted lies most likely beside what matched. */
static struct unused clip(const struct unused *all, uint32_t most)
{
    struct unused u = {0};
    for (size_t i = 0; i < all->n; i++) {
        struct delta_blocks b = all->at[i];
        if (b.count <= most) {
            push(&u, b.first, b.count);
        } else {
            push(&u, b.first, most / 2);
            push(&u, b.first + b.count - most / 2, most / 2);
        }
    }
    return u;
}

/* Ranges with at most so many blocks between them become one. */
static void join(struct unused *u, uint32_t gap)
{
    size_t n = 0;
    for (size_t i = 1; i < u->n; i++) {
        struct delta_blocks *last = &u->at[n], *b = &u->at[i];
        if (b->first - (last->first + last->count) <= gap)
            last->count = b->first + b->count - last->first;
        else
            u->at[++n] = *b;
    }
    if (u->n)
        u->n = n + 1;
}

static uint64_t bytes_of(const struct delta_finder *f, const struct unused *u)
{
    uint64_t n = 0, block = f->x->shape.block;
    for (size_t i = 0; i < u->n; i++)
        n += u->at[i].count * block;
    if (u->n && u->at[u->n - 1].first + u->at[u->n - 1].count == f->x->count && f->basis % block)
        n -= block - f->basis % block;
    return n;
}

/* What was not found of the file: bytes, and in how many stretches. */
static uint64_t missing(const struct delta_finder *f, uint64_t *stretches)
{
    uint64_t at = f->from, n = 0;
    *stretches = 0;
    for (size_t i = 0; i <= f->found.n; i++) {
        uint64_t end = i < f->found.n ? f->found.at[i].at : f->to;
        n += end - at;
        *stretches += end > at;
        at = i < f->found.n ? end + f->found.at[i].len : end;
    }
    return n;
}

/* Writes the request for these, with a block that is worth its cost. False: there is none. */
static bool request(struct delta_finder *f, struct unused *u, struct buf *out)
{
    uint64_t stretches, want = missing(f, &stretches);
    for (uint32_t gap = 0; u->n > 0; gap = 2 * gap + 1) {
        join(u, gap);
        f->block = delta_block_fine(bytes_of(f, u), want, stretches, f->x->shape.block);
        if (!f->block)
            return false;
        if (delta_request_put(f->block, u->at, u->n, out))
            return true;
    }
    return false;
}

bool delta_finder_request(struct delta_finder *f, struct buf *out)
{
    struct unused all = find_unused(f);
    uint32_t longest = 2;
    size_t before = out->len;
    bool asked = false;
    struct err ignored;
    for (size_t i = 0; i < all.n; i++)
        if (all.at[i].count > longest)
            longest = all.at[i].count;
    for (; longest >= 2 && all.n && !asked; longest /= 2) {
        struct unused some = clip(&all, longest);
        asked = request(f, &some, out);
        free(some.at);
    }
    free(all.at);
    if (asked)
        delta_request_get(out->data + before, out->len - before, f->x->shape.block, f->basis, &f->block, &f->ranges,
                          &ignored); /* we wrote it ourselves */
    else
        delta_request_put(f->block = 0, NULL, 0, out);
    return asked;
}

/* ---- the signature that was asked for ---- */

static uint64_t blocks_asked(const struct delta_finder *f)
{
    return f->ranges.total / f->block + (f->ranges.total % f->block != 0);
}

struct delta_index *delta_finder_index(const struct delta_finder *f)
{
    return delta_index_new(DELTA_SIGNATURE_HEAD + blocks_asked(f) * DELTA_ENTRY_MAX);
}

int delta_finder_accept(const struct delta_finder *f, struct delta_index *fine, struct err *e)
{
    if (fine->shape.block != f->block || fine->count != blocks_asked(f))
        return err_set(e, ERR_FORMAT, "another signature than was asked for");
    size_t n = f->ranges.n * sizeof *f->ranges.at;
    delta_ranges_free(&fine->ranges);
    fine->ranges = f->ranges;
    fine->ranges.at = mem_alloc(n);
    memcpy(fine->ranges.at, f->ranges.at, n);
    return 0;
}

struct delta_stretch delta_finder_next(struct delta_finder *f)
{
    const struct match *m = f->next < f->found.n ? &f->found.at[f->next] : NULL;
    struct delta_stretch s = {0};
    if (m && m->at == f->next_at) {
        s = (struct delta_stretch){m->len, true, m->pos};
        f->next++;
    } else {
        s.len = (m ? m->at : f->to) - f->next_at;
    }
    f->next_at += s.len;
    return s;
}
