/* SHA-1 and SHA-256. The one file that knows libcrypto's digests. */
#ifndef OBJECT_SHA_H
#define OBJECT_SHA_H

#include <stddef.h>
#include <stdint.h>

enum sha_kind { SHA_1, SHA_256 };

#define SHA1_LEN 20u /* bytes */
#define SHA256_LEN 32u

struct sha;

/* Making one is dear, as the library looks the digest up: make it once, reset it for each object. */
struct sha *sha_new(enum sha_kind kind);
void sha_free(struct sha *s); /* NULL is fine */
void sha_reset(struct sha *s);
void sha_add(struct sha *s, const void *p, size_t n);
/* SHA1_LEN or SHA256_LEN bytes to out. Ends it: reset before the next use. */
void sha_end(struct sha *s, uint8_t *out);

#endif
