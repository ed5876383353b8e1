#include "object/digest.h"

#include "base/mem.h"
#include "object/sha.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct digest_state {
    enum digest_algo algo;
    XXH3_state_t *x;
    struct sha *sha; /* NULL until one is wanted: libcrypto takes its time to wake up */
    struct digest ended; /* of algo SHA-256, which can be asked but once */
    bool over;
};

_Static_assert(DIGEST_LEN_MAX == SHA256_LEN, "a digest has room for SHA-256");

static XXH3_state_t *state_new(void)
{
    XXH3_state_t *x = XXH3_createState(); /* aligned as the library wants it, which malloc is not */
    if (!x)
        abort();
    return x;
}

static struct digest digest_from(XXH128_hash_t hash)
{
    struct digest d = {.algo = DIGEST_XXH3_128};
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, hash);
    memcpy(d.b, c.digest, DIGEST_LEN);
    return d;
}

size_t digest_len(enum digest_algo algo)
{
    return algo == DIGEST_SHA256 ? SHA256_LEN : DIGEST_LEN;
}

const char *digest_name(enum digest_algo algo)
{
    return algo == DIGEST_SHA256 ? "sha256" : "xxh3";
}

struct digest digest_of(const void *p, size_t n)
{
    return digest_from(XXH3_128bits(p, n));
}

struct digest_state *digest_new(void)
{
    struct digest_state *s = mem_zalloc(sizeof *s);
    s->x = state_new();
    digest_reset(s);
    return s;
}

void digest_free(struct digest_state *s)
{
    if (!s)
        return;
    XXH3_freeState(s->x);
    sha_free(s->sha);
    free(s);
}

void digest_begin(struct digest_state *s, enum digest_algo algo)
{
    s->algo = algo;
    s->over = false;
    if (algo == DIGEST_XXH3_128)
        XXH3_128bits_reset(s->x);
    else if (s->sha)
        sha_reset(s->sha);
    else
        s->sha = sha_new(SHA_256);
}

void digest_reset(struct digest_state *s)
{
    digest_begin(s, DIGEST_XXH3_128);
}

void digest_add(struct digest_state *s, const void *p, size_t n)
{
    if (n == 0)
        return;
    if (s->algo == DIGEST_XXH3_128)
        XXH3_128bits_update(s->x, p, n);
    else
        sha_add(s->sha, p, n);
}

struct digest digest_end(struct digest_state *s)
{
    if (s->algo == DIGEST_XXH3_128)
        return digest_from(XXH3_128bits_digest(s->x));
    if (!s->over) {
        s->ended = (struct digest){.algo = DIGEST_SHA256};
        sha_end(s->sha, s->ended.b);
        s->over = true;
    }
    return s->ended;
}

struct digest digest_whole(struct digest_state *s, enum digest_algo algo, const void *p, size_t n)
{
    if (algo == DIGEST_XXH3_128)
        return digest_of(p, n);
    digest_begin(s, algo);
    digest_add(s, p, n);
    return digest_end(s);
}

bool digest_same(const struct digest *a, const struct digest *b)
{
    return a->algo == b->algo && memcmp(a->b, b->b, DIGEST_LEN_MAX) == 0;
}

int digest_cmp(const struct digest *a, const struct digest *b)
{
    int c = memcmp(a->b, b->b, DIGEST_LEN_MAX);
    return c ? c : (a->algo > b->algo) - (a->algo < b->algo);
}

char *digest_hex(char out[DIGEST_HEX_MAX + 1], const struct digest *d)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = digest_len((enum digest_algo)d->algo);
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[d->b[i] >> 4];
        out[2 * i + 1] = digits[d->b[i] & 15];
    }
    out[2 * n] = '\0';
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t digest_parse(const char *text, struct digest *d)
{
    size_t n = strspn(text, "0123456789abcdef");
    *d = (struct digest){.algo = n == 2 * SHA256_LEN ? DIGEST_SHA256 : DIGEST_XXH3_128};
    if (n != 2 * digest_len((enum digest_algo)d->algo))
        return 0;
    for (size_t i = 0; i < n; i += 2)
        d->b[i / 2] = (uint8_t)(hex_digit(text[i]) << 4 | hex_digit(text[i + 1]));
    return n;
}

uint64_t digest_word(const struct digest *d)
{
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof v; i++)
        v = v << 8 | d->b[i];
    return v;
}

uint64_t digest_check(const void *p, size_t n)
{
    return XXH3_64bits(p, n);
}

uint64_t digest_check2(const void *a, size_t an, const void *b, size_t bn)
{
    XXH3_state_t *x = state_new();
    XXH3_64bits_reset(x);
    XXH3_64bits_update(x, a, an);
    if (bn)
        XXH3_64bits_update(x, b, bn);
    uint64_t sum = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    return sum;
}
