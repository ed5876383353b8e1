#include "object/delta_search.h"

#include <string.h>

#define IN_VAIN ((uint64_t)16 << 20) /* bytes summed for nothing that a search may cost in any case */
#define IN_VAIN_FACTOR_MAX 64u

/* The weak sum: h = 1; h = h * MULT + byte. Rolled by taking out what byte and 1 left at the far end. */
#define MULT 0x08104225u
#define ADJUST (MULT - 1)

void delta_search_init(struct delta_search *s, const struct delta_index *index, const struct delta_sink *sink, void *ctx)
{
    *s = (struct delta_search){.x = index, .sink = sink, .ctx = ctx, .next = DELTA_NONE, .far = 1};
    for (uint32_t i = 0; i < index->shape.block; i++)
        s->far *= MULT;
}

void delta_search_free(struct delta_search *s)
{
    delta_sums_free(s->sums);
    buf_free(&s->window);
    buf_free(&s->ahead);
    buf_free(&s->sum);
}

void delta_search_reset(struct delta_search *s)
{
    s->rolling = s->ending = false;
    s->next = DELTA_NONE;
    s->dropped = s->at = s->window.len = s->ahead_n = 0;
}

uint8_t *delta_search_room(struct delta_search *s, size_t n)
{
    if (s->at > s->window.len / 2) {
        buf_drop(&s->window, s->at);
        s->dropped += s->at;
        s->at = 0;
    }
    return buf_room(&s->window, n);
}

void delta_search_add(struct delta_search *s, const void *p, size_t n)
{
    if (n)
        memcpy(delta_search_room(s, n), p, n);
    s->window.len += n;
}

void delta_search_skip(struct delta_search *s, size_t n)
{
    s->at += n;
    s->rolling = false;
    s->next = DELTA_NONE;
}

bool delta_search_in_vain(const struct delta_search *s)
{
    uint64_t basis = (uint64_t)s->x->count * s->x->shape.block;
    uint64_t factor = 4 + 4 * (basis >> 32); /* weak sums are alike by chance: basis / 2^32 for each byte judged */
    if (factor > IN_VAIN_FACTOR_MAX)
        factor = IN_VAIN_FACTOR_MAX;
    return s->vain > IN_VAIN + s->seen * factor;
}

static void literal(struct delta_search *s, size_t n)
{
    s->sink->literal(s->ctx, s->window.data + s->at, n);
    s->at += n;
    s->seen += n;
}

static void matched(struct delta_search *s, uint32_t block, size_t n)
{
    s->sink->matched(s->ctx, delta_index_pos(s->x, block), n);
    s->at += n;
    s->seen += n;
    s->next = block + 1;
    s->rolling = false;
}

static size_t entry_size(const struct delta_search *s)
{
    return 4 + s->x->shape.strong;
}

/* Which block of the basis has this entry? Most likely the one behind the last match. */
static uint32_t find(const struct delta_search *s, const uint8_t *entry)
{
    if (s->next < s->x->count && memcmp(delta_index_entry(s->x, s->next), entry, entry_size(s)) == 0)
        return s->next;
    return delta_index_find(s->x, entry);
}

/* The number of the block at `at` among those that were summed ahead; ahead_n where it is none. */
static size_t place_ahead(const struct delta_search *s)
{
    uint64_t off = s->dropped + s->at - s->ahead_from;
    return off % s->x->shape.block == 0 && off / s->x->shape.block < s->ahead_n ? (size_t)(off / s->x->shape.block)
                                                                                : s->ahead_n;
}

static int sum_ahead(struct delta_search *s, size_t blocks, struct err *e)
{
    s->ahead.len = 0;
    s->ahead_n = blocks;
    s->ahead_from = s->dropped + s->at;
    return delta_sums_blocks(s->sums, s->window.data + s->at, blocks, &s->ahead, e);
}

/* Passes over a block that matches nothing, and those behind it, to one that matches. Block i is at `at`. */
static bool leap(struct delta_search *s, size_t i)
{
    for (size_t k = i + 1; s->leaps && k < s->ahead_n; k++) {
        s->next = DELTA_NONE;
        uint32_t block = find(s, s->ahead.data + k * entry_size(s));
        if (block == DELTA_NONE)
            continue;
        literal(s, (k - i) * s->x->shape.block);
        return true;
    }
    return false;
}

/* The blocks that were summed ahead, from the one at `at` on; ends at the first that does not match. */
static void look(struct delta_search *s)
{
    for (size_t i = place_ahead(s); i < s->ahead_n && !s->rolling; i = place_ahead(s)) {
        const uint8_t *entry = s->ahead.data + i * entry_size(s);
        uint32_t block = find(s, entry);
        if (block != DELTA_NONE) {
            matched(s, block, s->x->shape.block);
        } else if (!leap(s, i)) {
            s->rolling = true;
            s->weak = delta_index_weak(entry);
            s->next = DELTA_NONE;
        }
    }
}

/* Moves a block-long window on by up to n bytes, until its weak sum may be known; how far it went. */
static size_t roll(struct delta_search *s, const uint8_t *p, size_t n)
{
    uint32_t weak = s->weak, far = s->far;
    const struct delta_index *x = s->x;
    const uint8_t *front = p + x->shape.block;
    size_t i = 0;
    while (i < n) {
        weak = weak * MULT + (front[i] - far * (p[i] + ADJUST));
        i++;
        if (delta_index_may_have(x, weak) && delta_index_has_weak(x, weak))
            break;
    }
    s->weak = weak;
    return i;
}

/* From a block that matches nothing towards one that does; n: how far at most. */
static int seek(struct delta_search *s, size_t n, struct err *e)
{
    literal(s, roll(s, s->window.data + s->at, n));
    if (!delta_index_may_have(s->x, s->weak) || !delta_index_has_weak(s->x, s->weak))
        return 0;
    size_t i = place_ahead(s);
    s->sum.len = 0;
    int rc = i < s->ahead_n ? 0 : delta_sums_blocks(s->sums, s->window.data + s->at, 1, &s->sum, e);
    if (rc < 0)
        return rc;
    uint32_t block = delta_index_find(s->x, i < s->ahead_n ? s->ahead.data + i * entry_size(s) : s->sum.data);
    if (block != DELTA_NONE)
        matched(s, block, s->x->shape.block);
    else
        s->vain += s->x->shape.block;
    return 0;
}

int delta_search_step(struct delta_search *s, uint64_t most, struct err *e)
{
    size_t left = delta_search_left(s), block = s->x->shape.block;
    int rc = 0;
    if (!s->sums && !(s->sums = delta_sums_new(s->x->shape, e)))
        return ERR_FORMAT;
    if (s->rolling) {
        if (left <= block)
            return 0;
        rc = seek(s, left - block < most ? left - block : (size_t)most, e);
        return rc < 0 ? rc : 1;
    }
    if (place_ahead(s) == s->ahead_n) {
        size_t blocks = s->next == DELTA_NONE && !s->leaps ? 1 : delta_sums_group(s->sums);
        if (s->ending && left < blocks * block)
            blocks = 1;
        if (left < blocks * block)
            return 0;
        rc = sum_ahead(s, blocks, e);
    }
    if (rc == 0)
        look(s);
    return rc < 0 ? rc : 1;
}

/* Does the basis's last block, which may be a short one, match the last n bytes of the window? 1, 0, or an error. */
static int try_last(struct delta_search *s, size_t n, struct err *e)
{
    struct delta_sums *sums = delta_sums_new(s->x->shape, e);
    s->sum.len = 0;
    int rc = sums ? delta_sums_last(sums, s->window.data + s->window.len - n, n, &s->sum, e) : ERR_FORMAT;
    delta_sums_free(sums);
    if (rc < 0)
        return rc;
    return s->sum.len == entry_size(s) &&
           memcmp(s->sum.data, delta_index_entry(s->x, s->x->count - 1), s->sum.len) == 0;
}

/* What is left is shorter than a block, or a whole block that matches nothing. */
int delta_search_end(struct delta_search *s, struct err *e)
{
    size_t left = delta_search_left(s), found = 0;
    uint32_t last = delta_index_weak(delta_index_entry(s->x, s->x->count - 1)), sum = 0, power = 1;
    int tries = 8, rc; /* weak sums that are alike by chance are rare */
    for (size_t n = 1; n <= left && n < s->x->shape.block && !found && tries; n++) {
        sum += s->window.data[s->window.len - n] * power;
        power *= MULT;
        if (sum + power != last)
            continue;
        tries--;
        if ((rc = try_last(s, n, e)) < 0)
            return rc;
        found = rc ? n : 0;
    }
    if (left > found)
        literal(s, left - found);
    if (found)
        matched(s, s->x->count - 1, found);
    return 0;
}
