#include "object/pattern_set.h"

#include "base/mem.h"
#include "base/path.h"
#include "object/digest.h"
#include "object/pattern.h"

#include <stdlib.h>
#include <string.h>

/*
 * All patterns together are one machine: a set of places in their tokens, stepped by each byte of the path.
 * The sets that really occur are few, so each gets a number and a row of what follows on which byte, filled
 * in when it is first needed. When there are too many, all are forgotten and collected anew.
 */
#define STATES_BYTES ((size_t)32 << 20) /* that the rows may take */
#define NONE UINT32_MAX

enum place_kind {
    PLACE_TOKEN, /* before a token */
    PLACE_END,   /* behind the last one */
    PLACE_WON    /* a directory above matched: whatever comes, the object is meant */
};

struct place {
    uint8_t kind;
    uint32_t pattern;
    const struct pattern_token *token;
};

/* One pattern's places: its tokens, the end, and the one for having won. */
struct part {
    struct pattern pattern;
    struct pattern_token *plain; /* tokens of a pattern without wildcards; owned */
    size_t first, count;
    bool restart;                /* may begin behind any '/' */
    bool never;
};

struct table {
    uint32_t *slot; /* number + 1; 0: free */
    size_t size;    /* a power of two */
};

struct pattern_set {
    struct part *part;
    size_t parts;
    struct place *place;
    size_t places, words;
    uint8_t class[256];     /* bytes that no pattern tells apart are one class */
    uint8_t sample[256];    /* a byte of each class */
    size_t classes;
    bool ready;
    uint64_t *start;        /* the set before the first byte: state 0 */

    uint64_t *bits;         /* of state i: words from i * words on */
    uint32_t *next;         /* classes from i * classes on; NONE: not known yet */
    uint32_t *answer;       /* NONE: not known yet */
    size_t states, cap, limit;
    struct table known;

    uint64_t *answers;      /* bits of answer i: answer_words from i * answer_words on */
    size_t answer_words, nanswers, answers_cap;
    struct table answered;

    char dir[PATH_LEN_MAX + 1]; /* of the last path, with its '/', and the state behind it; NONE: none */
    size_t dir_len;
    uint32_t dir_state;
};

struct pattern_set *pattern_set_new(void)
{
    return mem_zalloc(sizeof(struct pattern_set));
}

void pattern_set_free(struct pattern_set *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->parts; i++) {
        pattern_free(&s->part[i].pattern);
        free(s->part[i].plain);
    }
    free(s->part);
    free(s->place);
    free(s->start);
    free(s->bits);
    free(s->next);
    free(s->answer);
    free(s->known.slot);
    free(s->answers);
    free(s->answered.slot);
    free(s);
}

int pattern_set_add(struct pattern_set *s, const char *text, size_t len, struct err *e)
{
    struct part part = {0};
    int rc = pattern_compile(&part.pattern, text, len, e);
    if (rc < 0)
        return rc;
    s->part = mem_resize(s->part, s->parts + 1, sizeof *s->part);
    s->part[s->parts++] = part;
    return 0;
}

/* ---- getting ready ---- */

static void set_bit(uint64_t *set, size_t i)
{
    set[i >> 6] |= UINT64_C(1) << (i & 63);
}

static bool has_bit(const uint64_t *set, size_t i)
{
    return set[i >> 6] >> (i & 63) & 1;
}

static void plain_tokens(struct part *part)
{
    const struct pattern *p = &part->pattern;
    part->plain = mem_zalloc((p->len + 1) * sizeof *part->plain);
    for (size_t i = 0; i < p->len; i++)
        part->plain[i] = (struct pattern_token){.kind = PATTERN_BYTE, .byte = (uint8_t)p->body[i]};
    part->count = p->len;
}

/* A class never takes a '/', so a pattern that names one there asks for more components than it can match. */
static bool never_matches(const struct pattern *p)
{
    size_t slashes = 0;
    for (size_t i = 0; i < p->count; i++)
        slashes += p->tokens[i].kind == PATTERN_BYTE && p->tokens[i].byte == '/';
    return p->wild && p->against == PATTERN_AGAINST_TAIL && slashes != p->slashes;
}

static void lay_out(struct pattern_set *s, size_t number)
{
    struct part *part = &s->part[number];
    const struct pattern *p = &part->pattern;
    const struct pattern_token *token = p->tokens;
    part->count = p->count;
    if (!p->wild) {
        plain_tokens(part);
        token = part->plain;
    }
    part->first = s->places;
    part->restart = p->against != PATTERN_AGAINST_WHOLE;
    part->never = never_matches(p);
    s->place = mem_resize(s->place, s->places + part->count + 2, sizeof *s->place);
    for (size_t i = 0; i < part->count + 2; i++)
        s->place[s->places++] = (struct place){
            .kind = i < part->count ? PLACE_TOKEN : i == part->count ? PLACE_END : PLACE_WON,
            .pattern = (uint32_t)number,
            .token = i < part->count ? &token[i] : NULL,
        };
}

static bool takes(const struct pattern *p, const struct pattern_token *t, uint8_t b)
{
    switch (t->kind) {
    case PATTERN_BYTE:
        return t->byte == b;
    case PATTERN_CLASS:
        return pattern_class_has(&p->classes[t->class], b);
    case PATTERN_STARS:
        return true;
    default:
        return b != '/';
    }
}

/* Tells bytes apart that this token does. */
static void refine(struct pattern_set *s, const struct pattern *p, const struct pattern_token *t)
{
    uint8_t to[256];
    bool split[256] = {false};
    for (unsigned b = 0; b < 256; b++) {
        uint8_t c = s->class[b];
        if (takes(p, t, (uint8_t)b) == takes(p, t, s->sample[c]))
            continue;
        if (!split[c]) {
            split[c] = true;
            to[c] = (uint8_t)s->classes;
            s->sample[s->classes++] = (uint8_t)b;
        }
        s->class[b] = to[c];
    }
}

static void reach(struct pattern_set *s, uint64_t *set, size_t i)
{
    set_bit(set, i);
    if (s->place[i].kind == PLACE_TOKEN && s->place[i].token->kind >= PATTERN_STAR)
        set_bit(set, i + 1);
}

static void step_place(struct pattern_set *s, uint64_t *to, size_t i, uint8_t b)
{
    const struct place *at = &s->place[i];
    const struct part *part = &s->part[at->pattern];
    if (at->kind == PLACE_WON || (at->kind == PLACE_END && b == '/'))
        set_bit(to, part->first + part->count + 1);
    else if (at->kind == PLACE_TOKEN && takes(&part->pattern, at->token, b))
        reach(s, to, at->token->kind >= PATTERN_STAR ? i : i + 1);
}

/* The set behind byte b. */
static void step(struct pattern_set *s, const uint64_t *from, uint64_t *to, uint8_t b)
{
    memset(to, 0, s->words * sizeof *to);
    for (size_t w = 0; w < s->words; w++)
        for (uint64_t left = from[w]; left; left &= left - 1)
            step_place(s, to, w * 64 + (size_t)__builtin_ctzll(left), b);
    for (size_t k = 0; k < s->parts; k++) {
        const struct part *part = &s->part[k];
        size_t end = part->first + part->count;
        if (b == '/' && part->pattern.trail_slash && has_bit(to, end))
            set_bit(to, end + 1);
        if (!has_bit(to, end + 1)) {
            if (b == '/' && part->restart && !part->never)
                reach(s, to, part->first);
            continue;
        }
        for (size_t i = part->first; i <= end; i++) /* nothing else counts any more */
            to[i >> 6] &= ~(UINT64_C(1) << (i & 63));
    }
}

/* ---- numbered sets ---- */

/* Where key is in the table, or would be: its slot. */
static uint32_t *find(struct table *t, const uint64_t *all, size_t words, const uint64_t *key)
{
    uint64_t h = digest_check(key, words * sizeof *key);
    for (size_t i = h & (t->size - 1);; i = (i + 1) & (t->size - 1)) {
        uint32_t n = t->slot[i];
        if (n == 0 || memcmp(all + (n - 1) * words, key, words * sizeof *key) == 0)
            return &t->slot[i];
    }
}

/* Makes the table roomy enough for n and one more. */
static void roomy(struct table *t, size_t n, const uint64_t *all, size_t words)
{
    if (t->size > 2 * (n + 1))
        return;
    free(t->slot);
    t->size = t->size ? 2 * t->size : 64;
    t->slot = mem_zalloc(t->size * sizeof *t->slot);
    for (size_t i = 0; i < n; i++)
        *find(t, all, words, all + i * words) = (uint32_t)i + 1;
}

static uint32_t state_of(struct pattern_set *s, const uint64_t *set);

/* All states but the first, which is that before the first byte. */
static void forget(struct pattern_set *s)
{
    s->states = 0;
    s->dir_state = NONE;
    if (s->known.slot)
        memset(s->known.slot, 0, s->known.size * sizeof *s->known.slot);
    state_of(s, s->start);
}

static uint32_t state_of(struct pattern_set *s, const uint64_t *set)
{
    if (s->states == s->limit)
        forget(s);
    roomy(&s->known, s->states, s->bits, s->words);
    uint32_t *slot = find(&s->known, s->bits, s->words, set);
    if (*slot)
        return *slot - 1;
    if (s->states == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->bits = mem_resize(s->bits, s->cap * s->words, sizeof *s->bits);
        s->next = mem_resize(s->next, s->cap * s->classes, sizeof *s->next);
        s->answer = mem_resize(s->answer, s->cap, sizeof *s->answer);
    }
    uint32_t n = (uint32_t)s->states++;
    memcpy(s->bits + n * s->words, set, s->words * sizeof *set);
    memset(s->next + n * s->classes, 0xff, s->classes * sizeof *s->next);
    s->answer[n] = NONE;
    *slot = n + 1;
    return n;
}

static void find_start(struct pattern_set *s)
{
    uint64_t *ahead = mem_zalloc(s->words * sizeof *ahead);
    s->start = mem_zalloc(s->words * sizeof *s->start);
    for (size_t k = 0; k < s->parts; k++)
        if (!s->part[k].never)
            reach(s, s->part[k].pattern.lead_slash ? ahead : s->start, s->part[k].first);
    for (size_t i = 0; i < s->places; i++)
        if (has_bit(ahead, i) && s->place[i].kind == PLACE_TOKEN)
            step_place(s, s->start, i, '/');
    free(ahead);
}

static void get_ready(struct pattern_set *s)
{
    static const struct pattern_token slash = {.kind = PATTERN_BYTE, .byte = '/'};
    s->ready = true;
    s->classes = 1;
    for (size_t i = 0; i < s->parts; i++)
        lay_out(s, i);
    refine(s, NULL, &slash);
    for (size_t i = 0; i < s->places; i++)
        if (s->place[i].kind == PLACE_TOKEN)
            refine(s, &s->part[s->place[i].pattern].pattern, s->place[i].token);
    s->words = s->places / 64 + 1;
    s->answer_words = s->parts / 64 + 1;
    s->limit = STATES_BYTES / (s->words * sizeof *s->bits + s->classes * sizeof *s->next) + 16;
    find_start(s);
    forget(s);
}

static uint32_t advance(struct pattern_set *s, uint32_t state, unsigned class)
{
    uint64_t small[64], *to = s->words <= 64 ? small : mem_alloc(s->words * sizeof *to);
    step(s, s->bits + state * s->words, to, s->sample[class]);
    size_t before = s->states;
    uint32_t n = state_of(s, to);
    if (s->states >= before) /* else all were forgotten, state too */
        s->next[state * s->classes + class] = n;
    if (to != small)
        free(to);
    return n;
}

static uint32_t walk(struct pattern_set *s, uint32_t state, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned class = s->class[(uint8_t)p[i]];
        uint32_t next = s->next[state * s->classes + class];
        state = next != NONE ? next : advance(s, state, class);
    }
    return state;
}

static uint32_t answer_of(struct pattern_set *s, uint32_t state)
{
    const uint64_t *set = s->bits + state * s->words;
    uint64_t *key = mem_zalloc(s->answer_words * sizeof *key);
    for (size_t k = 0; k < s->parts; k++) {
        size_t end = s->part[k].first + s->part[k].count;
        if (has_bit(set, end + 1) || (has_bit(set, end) && !s->part[k].pattern.dir_only))
            set_bit(key, k);
    }
    roomy(&s->answered, s->nanswers, s->answers, s->answer_words);
    uint32_t *slot = find(&s->answered, s->answers, s->answer_words, key);
    if (*slot == 0) {
        if (s->nanswers == s->answers_cap) {
            s->answers_cap = s->answers_cap ? 2 * s->answers_cap : 16;
            s->answers = mem_resize(s->answers, s->answers_cap * s->answer_words, sizeof *s->answers);
        }
        memcpy(s->answers + s->nanswers * s->answer_words, key, s->answer_words * sizeof *key);
        *slot = (uint32_t)++s->nanswers;
    }
    free(key);
    return s->answer[state] = *slot - 1;
}

uint32_t pattern_set_match(struct pattern_set *s, const char *path, size_t len)
{
    if (!s->ready)
        get_ready(s);
    const char *slash = memrchr(path, '/', len);
    size_t dir = slash ? (size_t)(slash - path) + 1 : 0;
    uint32_t state = s->dir_state;
    if (state == NONE || dir != s->dir_len || memcmp(path, s->dir, dir) != 0) {
        state = walk(s, 0, path, dir);
        memcpy(s->dir, path, dir);
        s->dir_len = dir;
        s->dir_state = state;
    }
    state = walk(s, state, path + dir, len - dir);
    return s->answer[state] != NONE ? s->answer[state] : answer_of(s, state);
}

bool pattern_set_has(const struct pattern_set *s, uint32_t answer, size_t pattern)
{
    return has_bit(s->answers + answer * s->answer_words, pattern);
}
