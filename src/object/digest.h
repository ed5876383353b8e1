/* Digests of content. The one file that knows xxHash. */
#ifndef OBJECT_DIGEST_H
#define OBJECT_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The manifest format has these numbers plus 1; never reuse one. Which one a group's contents have is its setting. */
enum digest_algo { DIGEST_XXH3_128, DIGEST_SHA256 };

#define DIGEST_LEN 16     /* bytes of DIGEST_XXH3_128, big-endian canonical form */
#define DIGEST_LEN_MAX 32 /* and of DIGEST_SHA256 */
#define DIGEST_HEX_MAX (2 * DIGEST_LEN_MAX)

/* A digest knows its kind, and is compared with others by it: two kinds never agree. All zero where there is none. */
struct digest {
    uint8_t b[DIGEST_LEN_MAX]; /* behind what its kind has: zero */
    uint8_t algo;              /* enum digest_algo */
};

size_t digest_len(enum digest_algo algo); /* in bytes */
const char *digest_name(enum digest_algo algo); /* as the policy says it: "xxh3", "sha256" */
/* The other kind: there are two. */
static inline enum digest_algo digest_other(enum digest_algo algo)
{
    return algo == DIGEST_XXH3_128 ? DIGEST_SHA256 : DIGEST_XXH3_128;
}

/* XXH3-128 of what is no content (names, keys), in one call. */
struct digest digest_of(const void *p, size_t n);

/* Streaming. The state is large and aligned: make it once, begin it for each object. */
struct digest_state *digest_new(void); /* begun, for XXH3-128 */
void digest_free(struct digest_state *s);
void digest_begin(struct digest_state *s, enum digest_algo algo);
void digest_reset(struct digest_state *s); /* begins it for XXH3-128 */
void digest_add(struct digest_state *s, const void *p, size_t n);
struct digest digest_end(struct digest_state *s); /* may be asked again; nothing can be added after it */
/* The digest of content that is there as a whole: fastest for what is small. s is then to be begun anew. */
struct digest digest_whole(struct digest_state *s, enum digest_algo algo, const void *p, size_t n);

bool digest_same(const struct digest *a, const struct digest *b);
int digest_cmp(const struct digest *a, const struct digest *b); /* any total order, the same on every machine */
char *digest_hex(char out[DIGEST_HEX_MAX + 1], const struct digest *d); /* as many digits as its kind has; returns out */
/* The length of a kind's digits at the front of text: 0 when there are no such, followed by something else. */
size_t digest_parse(const char *text, struct digest *d);
uint64_t digest_word(const struct digest *d); /* first 8 bytes as a big-endian number: for indexes */

/* XXH3-64: checksums of blocks and records. digest_check2 takes a and b as if they were one. */
uint64_t digest_check(const void *p, size_t n);
uint64_t digest_check2(const void *a, size_t an, const void *b, size_t bn);

#endif
