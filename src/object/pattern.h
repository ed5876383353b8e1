/*
 * One pattern with rsync's meaning, compiled: see filter.h for what it matches. What a pattern consists of is
 * open, for those who match many at once.
 */
#ifndef OBJECT_PATTERN_H
#define OBJECT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PATTERN_MAX 4095u /* bytes in a pattern */

/*
 * A pattern with wildcards is a list of tokens, and matching runs all ways through
 * that list at once: a set of places in it, stepped by each byte of the path. There
 * is no going back, so no number of stars can make it slow.
 */
enum pattern_token_kind { PATTERN_BYTE, PATTERN_ANY, PATTERN_CLASS, PATTERN_STAR, PATTERN_STARS };

struct pattern_token {
    uint8_t kind;
    uint8_t byte;        /* of PATTERN_BYTE */
    uint16_t class;      /* of PATTERN_CLASS: index in the rule's classes */
};

struct pattern_class {
    uint64_t has[4];     /* one bit a byte value */
};

/* What of the path a pattern is held against. */
enum pattern_against {
    PATTERN_AGAINST_NAME,        /* the last component */
    PATTERN_AGAINST_WHOLE,       /* the path from its start */
    PATTERN_AGAINST_TAIL,        /* as many components at the end as the pattern has */
    PATTERN_AGAINST_ANY_TAIL     /* the end of the path, from any component on */
};

struct pattern {
    char *text;          /* the pattern as given, without "+ " or "- " */
    const char *body;    /* in text, len bytes: without a '/' that anchors, and one at its end */
    size_t len;
    bool dir_only, wild;
    /* "**" at the start sees a '/' before the path, so that "**" and "/a" find "a" at the root;
       "***" at the end sees one behind a directory, so that it finds that directory too. */
    bool lead_slash, trail_slash;
    enum pattern_against against;
    size_t slashes;      /* for PATTERN_AGAINST_TAIL: components less one */
    struct pattern_token *tokens;
    struct pattern_class *classes;
    size_t count, nclasses;
    char *literal;       /* the byte of each token that is one */
    size_t head, tail;   /* literal bytes before the first wildcard, and after the last */
    size_t run, run_len; /* the longest run of literal bytes, but for a '/' at either end */
};

/*
 * Compiles len bytes, which hold no NUL. ERR_USAGE for an empty pattern, an unclosed or unknown class, a
 * wildcard pattern that ends in '\', and for one that is too long; p is then empty.
 */
int pattern_compile(struct pattern *p, const char *text, size_t len, struct err *e);
void pattern_free(struct pattern *p); /* what it holds */

/* name: offset of the path's last component. */
bool pattern_match(const struct pattern *p, const char *path, size_t len, size_t name, bool is_dir);

static inline bool pattern_class_has(const struct pattern_class *c, uint8_t b)
{
    return c->has[b >> 6] >> (b & 63) & 1;
}

#endif
