/* Base64 as keys are written in: the usual alphabet, in one piece, '=' at the end. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Appends what n characters say; superfluous or missing '=' is no error, any other stranger is. 0, or -1 with out as it was. */
int base64_get(struct buf *out, const char *text, size_t n);

void base64_put(struct buf *out, const void *p, size_t n); /* appends the characters, no NUL */

#endif
