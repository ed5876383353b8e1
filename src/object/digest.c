#include "object/digest.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct digest_state {
    XXH3_state_t *x;
};

static XXH3_state_t *state_new(void)
{
    XXH3_state_t *x = XXH3_createState(); /* aligned as the library wants it, which malloc is not */
    if (!x)
        abort();
    return x;
}

static struct digest digest_from(XXH128_hash_t hash)
{
    struct digest d;
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, hash);
    memcpy(d.b, c.digest, DIGEST_LEN);
    return d;
}

struct digest digest_of(const void *p, size_t n)
{
    return digest_from(XXH3_128bits(p, n));
}

struct digest_state *digest_new(void)
{
    struct digest_state *s = mem_alloc(sizeof *s);
    s->x = state_new();
    digest_reset(s);
    return s;
}

void digest_free(struct digest_state *s)
{
    if (s)
        XXH3_freeState(s->x);
    free(s);
}

void digest_reset(struct digest_state *s)
{
    XXH3_128bits_reset(s->x);
}

void digest_add(struct digest_state *s, const void *p, size_t n)
{
    if (n)
        XXH3_128bits_update(s->x, p, n);
}

struct digest digest_end(const struct digest_state *s)
{
    return digest_from(XXH3_128bits_digest(s->x));
}

bool digest_same(const struct digest *a, const struct digest *b)
{
    return memcmp(a->b, b->b, DIGEST_LEN) == 0;
}

char *digest_hex(char out[2 * DIGEST_LEN + 1], const struct digest *d)
{
    for (size_t i = 0; i < DIGEST_LEN; i++)
        snprintf(out + 2 * i, 3, "%02x", d->b[i]);
    return out;
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
