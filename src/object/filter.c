#include "object/filter.h"

#include "base/mem.h"
#include "object/pattern.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    struct pattern pattern;
    bool include;
};

struct filter {
    struct rule *rules;
    size_t count, cap;
};

struct filter *filter_new(void)
{
    return mem_zalloc(sizeof(struct filter));
}

static void forget_rules(struct filter *f)
{
    for (size_t i = 0; i < f->count; i++)
        pattern_free(&f->rules[i].pattern);
    f->count = 0;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    forget_rules(f);
    free(f->rules);
    free(f);
}

size_t filter_count(const struct filter *f)
{
    return f ? f->count : 0;
}

static int add(struct filter *f, bool include, const char *pattern, size_t len, struct err *e)
{
    struct rule r = {.include = include};
    if (f->count >= FILTER_RULES_MAX)
        return err_set(e, ERR_USAGE, "more than %u filter rules", FILTER_RULES_MAX);
    int rc = pattern_compile(&r.pattern, pattern, len, e);
    if (rc < 0)
        return rc;
    if (f->count == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 8;
        f->rules = mem_resize(f->rules, f->cap, sizeof *f->rules);
    }
    f->rules[f->count++] = r;
    return 0;
}

int filter_add(struct filter *f, bool include, const char *pattern, struct err *e)
{
    if (strcmp(pattern, "!") == 0) {
        forget_rules(f);
        return 0;
    }
    if ((pattern[0] == '-' || pattern[0] == '+') && pattern[1] == ' ') {
        include = pattern[0] == '+';
        pattern += 2;
    }
    return add(f, include, pattern, strlen(pattern), e);
}

bool filter_excludes(const struct filter *f, const char *path, size_t len, bool is_dir)
{
    if (!f || f->count == 0)
        return false;
    const char *slash = memrchr(path, '/', len);
    size_t name = slash ? (size_t)(slash - path) + 1 : 0;
    for (size_t i = 0; i < f->count; i++)
        if (pattern_match(&f->rules[i].pattern, path, len, name, is_dir))
            return !f->rules[i].include;
    return false;
}

/* ---- messages ---- */

void filter_put(const struct filter *f, struct buf *out)
{
    size_t n = filter_count(f);
    buf_varint(out, n);
    for (size_t i = 0; i < n; i++) {
        buf_u8(out, f->rules[i].include);
        buf_str(out, f->rules[i].pattern.text, strlen(f->rules[i].pattern.text));
    }
}

static int get_rule(struct filter *f, struct rd *in, struct err *e)
{
    size_t len;
    uint8_t include = rd_u8(in);
    const char *pattern = rd_str(in, PATTERN_MAX, &len);
    if (in->bad || include > 1 || memchr(pattern, '\0', len))
        return err_set(e, ERR_FORMAT, "malformed rule");
    char copy[PATTERN_MAX + 1];
    memcpy(copy, pattern, len);
    copy[len] = '\0';
    return add(f, include, copy, len, e);
}

struct filter *filter_get(struct rd *in, struct err *e)
{
    struct filter *f = filter_new();
    uint64_t n = rd_varint(in);
    int rc = in->bad || n > FILTER_RULES_MAX ? err_set(e, ERR_FORMAT, "malformed count") : 0;
    for (uint64_t i = 0; rc == 0 && i < n; i++)
        rc = get_rule(f, in, e);
    if (rc == 0)
        return f;
    filter_free(f);
    err_wrap(e, "filter rules");
    if (e)
        e->code = ERR_FORMAT;
    return NULL;
}
