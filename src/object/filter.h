/*
 * --exclude and --include with rsync's pattern meaning for the common cases.
 * The first rule that matches decides; none: included. An excluded directory is not entered.
 * A pattern with a leading '/' is anchored at the store's root; with a trailing '/' it
 * matches only directories; '*' stops at '/', '**' does not, '?' is any byte but '/',
 * [...] a class; a pattern with an inner '/' or '**' is matched against the whole
 * path (its end, when not anchored), otherwise against the last component. A pattern that ends
 * with a slash and three stars is the directory and all below it.
 * Everything is bytes; the named classes ([[:alpha:]] and so on) are those of ASCII, whatever the locale.
 */
#ifndef OBJECT_FILTER_H
#define OBJECT_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define FILTER_RULES_MAX 10000u

struct filter;

struct filter *filter_new(void);
void filter_free(struct filter *f); /* NULL is fine */
/*
 * Appends a rule. pattern is copied. "- PATTERN" and "+ PATTERN" prefixes are honoured as rsync does (they
 * overrule include), and a lone "!" forgets all rules so far. ERR_USAGE for an empty pattern, an unclosed or
 * unknown class, a wildcard pattern that ends in '\', and beyond the limits; the filter is then as it was.
 */
int filter_add(struct filter *f, bool include, const char *pattern, struct err *e);
size_t filter_count(const struct filter *f); /* f NULL: 0 */
/*
 * Judges path alone: that nothing below an excluded directory is looked at is up to the one who walks.
 * f NULL: never. No allocation; the worst case is the pattern's length times the path's.
 */
bool filter_excludes(const struct filter *f, const char *path, size_t len, bool is_dir);

/*
 * For messages: the rules in order: varint count, then of each one byte (1: include, 0: exclude) and the
 * pattern as a buf_str. f NULL: no rules. filter_get returns NULL with e (ERR_FORMAT) for malformed bytes.
 */
void filter_put(const struct filter *f, struct buf *out);
struct filter *filter_get(struct rd *in, struct err *e);

#endif
