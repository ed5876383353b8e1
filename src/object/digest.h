/* Digests of content. The one file that knows xxHash. */
#ifndef OBJECT_DIGEST_H
#define OBJECT_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers are those of the manifest format; never reuse one. */
enum digest_algo { DIGEST_XXH3_128 = 1 };

#define DIGEST_LEN 16 /* bytes of DIGEST_XXH3_128, big-endian canonical form */

struct digest {
    uint8_t b[DIGEST_LEN];
};

struct digest digest_of(const void *p, size_t n); /* one call: fastest for what is small */

/* Streaming. The state is large and aligned: make it once, reset it for each object. */
struct digest_state *digest_new(void);
void digest_free(struct digest_state *s);
void digest_reset(struct digest_state *s);
void digest_add(struct digest_state *s, const void *p, size_t n);
struct digest digest_end(const struct digest_state *s);

bool digest_same(const struct digest *a, const struct digest *b);
char *digest_hex(char out[2 * DIGEST_LEN + 1], const struct digest *d); /* returns out */
uint64_t digest_word(const struct digest *d); /* first 8 bytes as a big-endian number: for indexes */

/* XXH3-64: checksums of blocks and records. digest_check2 takes a and b as if they were one. */
uint64_t digest_check(const void *p, size_t n);
uint64_t digest_check2(const void *a, size_t an, const void *b, size_t bn);

#endif
