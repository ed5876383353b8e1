/*
 * Many patterns at once: which of them mean this object? A pattern means an object (a file or a symlink) when
 * it matches its path or that of a directory above it, just as --exclude with it would leave the object out.
 * The cost of an answer is a look-up for each byte of the path, however many patterns there are.
 */
#ifndef OBJECT_PATTERN_SET_H
#define OBJECT_PATTERN_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pattern_set;

struct pattern_set *pattern_set_new(void);
void pattern_set_free(struct pattern_set *s); /* NULL is fine */

/* Patterns are numbered from 0; all are added before the first is matched. ERR_USAGE as pattern_compile. */
int pattern_set_add(struct pattern_set *s, const char *text, size_t len, struct err *e);

/*
 * The number of the answer, from 0 on: equal answers have equal numbers for as long as s lives. path is one
 * that path_check lets pass. Fastest when neighbours come one after the other.
 */
uint32_t pattern_set_match(struct pattern_set *s, const char *path, size_t len);

/* Does this answer hold this pattern? */
bool pattern_set_has(const struct pattern_set *s, uint32_t answer, size_t pattern);

#endif
