#include "object/pattern.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void pattern_free(struct pattern *p)
{
    free(p->text);
    free(p->tokens);
    free(p->classes);
    free(p->literal);
    *p = (struct pattern){0};
}

/* ---- compiling ---- */

static void class_set(struct pattern_class *c, unsigned from, unsigned to)
{
    for (unsigned b = from; b <= to; b++)
        c->has[b >> 6] |= UINT64_C(1) << (b & 63);
}

static bool class_set_named(struct pattern_class *c, const char *name, size_t len)
{
    static const struct {
        const char *name;
        const char *ranges; /* pairs: from, to */
    } known[] = {
        {"alnum", "09AZaz"}, {"alpha", "AZaz"}, {"blank", "  \t\t"}, {"cntrl", "\x01\x1f\x7f\x7f"},
        {"digit", "09"},     {"graph", "!~"},   {"lower", "az"},     {"print", " ~"},
        {"punct", "!/:@[`{~"}, {"space", "\t\r  "}, {"upper", "AZ"}, {"xdigit", "09AFaf"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i].name) != len || memcmp(known[i].name, name, len) != 0)
            continue;
        for (const char *r = known[i].ranges; *r; r += 2)
            class_set(c, (unsigned char)r[0], (unsigned char)r[1]);
        return true;
    }
    return false;
}

/* "[:name:]" at p: bytes used, 0 when it is none (then '[' is a member like others), ERR_USAGE. */
static int parse_named(struct pattern_class *c, const char *p, const char *end, struct err *e)
{
    const char *close = memchr(p + 2, ']', (size_t)(end - p) - 2);
    if (!close)
        return err_set(e, ERR_USAGE, "character class without a closing ]");
    if (close == p + 2 || close[-1] != ':')
        return 0;
    if (close == p + 3 || !class_set_named(c, p + 2, (size_t)(close - p) - 3))
        return err_set(e, ERR_USAGE, "unknown character class %.*s", (int)(close + 1 - p), p);
    return (int)(close + 1 - p);
}

/* One member that may begin with '\': its byte, or -1 at the end of the pattern. */
static int parse_member(const char **p, const char *end)
{
    if (*p < end && **p == '\\')
        ++*p;
    return *p < end ? (unsigned char)*(*p)++ : -1;
}

/* What follows the '[' of a class; *at is left behind its ']'. */
static int parse_class(struct pattern_class *c, const char **at, const char *end, struct err *e)
{
    const char *p = *at;
    bool negated = p < end && (*p == '!' || *p == '^');
    if (negated)
        p++;
    int prev = 0; /* where a range may begin; 0: nowhere */
    for (const char *first = p; p < end && (p == first || *p != ']');) {
        int used = end - p > 2 && p[0] == '[' && p[1] == ':' ? parse_named(c, p, end, e) : 0;
        if (used < 0)
            return used;
        if (used > 0) {
            p += used;
            prev = 0;
            continue;
        }
        bool range = *p == '-' && prev && end - p > 1 && p[1] != ']';
        if (range)
            p++;
        int to = parse_member(&p, end);
        if (to < 0)
            break;
        class_set(c, (unsigned)(range ? prev : to), (unsigned)to);
        prev = range ? 0 : to;
    }
    if (p >= end)
        return err_set(e, ERR_USAGE, "character class without a closing ]");
    for (int i = 0; negated && i < 4; i++)
        c->has[i] = ~c->has[i];
    c->has['/' >> 6] &= ~(UINT64_C(1) << ('/' & 63));
    *at = p + 1;
    return 0;
}

static int parse_token(struct pattern *r, struct pattern_token *t, const char **at, const char *end,
                       struct err *e)
{
    const char *p = *at;
    switch (*p++) {
    case '*':
        t->kind = p < end && *p == '*' ? PATTERN_STARS : PATTERN_STAR;
        while (p < end && *p == '*')
            p++;
        break;
    case '?':
        t->kind = PATTERN_ANY;
        break;
    case '[': {
        r->classes = mem_resize(r->classes, r->nclasses + 1, sizeof *r->classes);
        struct pattern_class *c = &r->classes[r->nclasses];
        *c = (struct pattern_class){0};
        t->kind = PATTERN_CLASS;
        t->class = (uint16_t)r->nclasses++;
        int rc = parse_class(c, &p, end, e);
        if (rc < 0)
            return rc;
        break;
    }
    case '\\':
        if (p == end)
            return err_set(e, ERR_USAGE, "wildcard pattern that ends in a backslash");
        p++;
        /* fall through */
    default:
        t->kind = PATTERN_BYTE;
        t->byte = (uint8_t)p[-1];
    }
    *at = p;
    return 0;
}

/* The literal parts of the pattern, which turn most paths away before any token is looked at. */
static void find_literals(struct pattern *r)
{
    r->literal = mem_zalloc(r->count + 1);
    for (size_t i = 0, from = 0; i <= r->count; i++) {
        bool is_byte = i < r->count && r->tokens[i].kind == PATTERN_BYTE;
        if (is_byte) {
            r->literal[i] = (char)r->tokens[i].byte;
            continue;
        }
        if (from == 0)
            r->head = i;
        if (i == r->count)
            r->tail = i - from;
        if (i - from > r->run_len) {
            r->run = from;
            r->run_len = i - from;
        }
        from = i + 1;
    }
    if (r->run_len && r->literal[r->run] == '/') {
        r->run++;
        r->run_len--;
    }
    if (r->run_len && r->literal[r->run + r->run_len - 1] == '/')
        r->run_len--;
}

static int compile_wild(struct pattern *r, struct err *e)
{
    const char *p = r->body, *end = r->body + r->len;
    r->tokens = mem_alloc((r->len + 1) * sizeof *r->tokens);
    while (p < end) {
        struct pattern_token *t = &r->tokens[r->count++];
        *t = (struct pattern_token){0};
        int rc = parse_token(r, t, &p, end, e);
        if (rc < 0)
            return rc;
    }
    find_literals(r);
    return 0;
}

/* The rules here read the text, not the tokens, since rsync does: "[**]" is a "**" to them. */
static int compile(struct pattern *r, const char *pattern, size_t len, struct err *e)
{
    r->text = mem_strndup(pattern, len);
    r->dir_only = len > 1 && pattern[len - 1] == '/';
    bool anchored = pattern[0] == '/';
    size_t end = len - (r->dir_only ? 1 : 0);
    r->body = r->text + (anchored ? 1 : 0);
    r->len = end - (anchored ? 1 : 0);
    for (size_t i = 0; i < end; i++)
        r->slashes += pattern[i] == '/';
    r->wild = strpbrk(r->text, "*?[") != NULL;
    const char *stars = strstr(r->text, "**");
    if (stars) {
        r->lead_slash = stars == r->text;
        r->trail_slash = end >= 3 && memcmp(r->text + end - 3, "***", 3) == 0;
    }
    if (anchored || r->lead_slash)
        r->against = PATTERN_AGAINST_WHOLE;
    else if (stars)
        r->against = PATTERN_AGAINST_ANY_TAIL;
    else
        r->against = r->slashes ? PATTERN_AGAINST_TAIL : PATTERN_AGAINST_NAME;
    return r->wild ? compile_wild(r, e) : 0;
}

int pattern_compile(struct pattern *p, const char *text, size_t len, struct err *e)
{
    *p = (struct pattern){0};
    if (len == 0)
        return err_set(e, ERR_USAGE, "empty pattern");
    if (len > PATTERN_MAX)
        return err_set(e, ERR_USAGE, "pattern of %zu bytes (at most %u)", len, PATTERN_MAX);
    int rc = compile(p, text, len, e);
    if (rc < 0) {
        pattern_free(p);
        return err_wrap(e, "pattern \"%.*s\"", (int)len, text);
    }
    return 0;
}

/* ---- matching ---- */

#define SET_WORDS ((PATTERN_MAX + 1 + 63) / 64) /* a bit for each token, and one behind the last */

struct run {
    const struct pattern *pattern;
    size_t words;
    uint64_t now[SET_WORDS]; /* bit i: what was read so far matches the tokens before token i */
};

/* A star may stand for nothing: who is before it is behind it too. (Two stars are never neighbours.) */
static void reach(const struct pattern *r, uint64_t *set, size_t i)
{
    set[i >> 6] |= UINT64_C(1) << (i & 63);
    if (i < r->count && r->tokens[i].kind >= PATTERN_STAR) {
        i++;
        set[i >> 6] |= UINT64_C(1) << (i & 63);
    }
}

static bool takes(const struct pattern *r, const struct pattern_token *t, uint8_t b)
{
    switch (t->kind) {
    case PATTERN_BYTE:
        return t->byte == b;
    case PATTERN_CLASS:
        return pattern_class_has(&r->classes[t->class], b);
    case PATTERN_STARS:
        return true;
    default:
        return b != '/';
    }
}

/* Reads one byte; false when no way is left. */
static bool step(struct run *m, uint8_t b)
{
    const struct pattern *r = m->pattern;
    uint64_t next[SET_WORDS];
    for (size_t w = 0; w < m->words; w++)
        next[w] = 0;
    bool any = false;
    for (size_t w = 0; w < m->words; w++) {
        for (uint64_t left = m->now[w]; left; left &= left - 1) {
            size_t i = w * 64 + (size_t)__builtin_ctzll(left);
            if (i == r->count || !takes(r, &r->tokens[i], b))
                continue;
            reach(r, next, r->tokens[i].kind >= PATTERN_STAR ? i : i + 1);
            any = true;
        }
    }
    for (size_t w = 0; w < m->words; w++)
        m->now[w] = next[w];
    return any;
}

static bool match_tokens(const struct pattern *r, const char *p, size_t n, bool is_dir)
{
    struct run m;
    m.pattern = r;
    m.words = r->count / 64 + 1;
    memset(m.now, 0, m.words * sizeof m.now[0]);
    reach(r, m.now, 0);
    if (r->lead_slash && !step(&m, '/'))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool alive = step(&m, (uint8_t)p[i]);
        if (r->against == PATTERN_AGAINST_ANY_TAIL && p[i] == '/')
            reach(r, m.now, 0);
        else if (!alive && r->against != PATTERN_AGAINST_ANY_TAIL)
            return false;
    }
    size_t end = r->count;
    if (m.now[end >> 6] >> (end & 63) & 1)
        return true;
    if (!is_dir || !r->trail_slash)
        return false;
    step(&m, '/');
    return m.now[end >> 6] >> (end & 63) & 1;
}

/* What the literal parts alone say. (No run that was kept needs the '/' of lead_slash or trail_slash.) */
static bool may_match(const struct pattern *r, const char *p, size_t n)
{
    if (r->tail <= n && memcmp(p + n - r->tail, r->literal + r->count - r->tail, r->tail) != 0)
        return false;
    if (r->against != PATTERN_AGAINST_ANY_TAIL && r->head <= n && memcmp(p, r->literal, r->head) != 0)
        return false;
    return !r->run_len || memmem(p, n, r->literal + r->run, r->run_len);
}

static bool match_literal(const struct pattern *r, const char *p, size_t n)
{
    if (r->len > n || memcmp(p + n - r->len, r->body, r->len) != 0)
        return false;
    return r->len == n || (r->against == PATTERN_AGAINST_TAIL && p[n - r->len - 1] == '/');
}

/* The last k + 1 components of p; NULL when it has fewer. */
static const char *tail_of(const char *p, size_t n, size_t k)
{
    for (size_t i = n; i > 0; i--)
        if (p[i - 1] == '/' && k-- == 0)
            return p + i;
    return k == 0 ? p : NULL;
}

bool pattern_match(const struct pattern *r, const char *path, size_t len, size_t name, bool is_dir)
{
    if (r->dir_only && !is_dir)
        return false;
    const char *from = path;
    if (r->against == PATTERN_AGAINST_NAME)
        from = path + name;
    else if (r->against == PATTERN_AGAINST_TAIL && r->wild)
        from = tail_of(path, len, r->slashes);
    if (!from)
        return false;
    size_t n = len - (size_t)(from - path);
    if (!r->wild)
        return match_literal(r, from, n);
    return may_match(r, from, n) && match_tokens(r, from, n, is_dir);
}
