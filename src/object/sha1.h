/* SHA-1: the ids that SoS gives its objects. */
#ifndef OBJECT_SHA1_H
#define OBJECT_SHA1_H

#include <stdbool.h>
#include <stddef.h>

#define SHA1_HEX 40 /* digits */

struct sha1;

struct sha1 *sha1_new(void);
void sha1_free(struct sha1 *s); /* NULL is fine */
void sha1_reset(struct sha1 *s);
void sha1_add(struct sha1 *s, const void *p, size_t n);
/* Has what was added this digest, as lower-case hexadecimal digits? Ends it: reset before the next use. */
bool sha1_is(struct sha1 *s, const char *hex);

/* Is the name the lower-case hexadecimal form of some SHA-1? */
bool sha1_names(const char *name, size_t len);

#endif
