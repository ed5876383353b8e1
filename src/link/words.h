/* A command as a person writes it, cut into words without a shell. */
#ifndef LINK_WORDS_H
#define LINK_WORDS_H

#include <stddef.h>

#include "base/err.h"

struct words {
    char **word; /* NULL-terminated, as execvp wants it */
    size_t n;
};

/*
 * Words are separated by white space; '...' keeps all as it is, "..." all but \" and \\, and a backslash
 * keeps the next character. ERR_USAGE for an open quote, a trailing backslash or no word at all.
 */
int words_split(struct words *w, const char *text, struct err *e);

void words_add(struct words *w, const char *word); /* a copy */
void words_free(struct words *w);

#endif
