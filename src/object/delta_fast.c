#include "object/delta_fast.h"

#include <string.h>

/* The weak sum: h = 1; h = h * MULT + byte. */
#define MULT 0x08104225u
#define M2 (MULT * MULT)
#define M4 (M2 * M2)

static uint32_t add_bytes(uint32_t h, const uint8_t *p, size_t n)
{
    for (; n >= 4; n -= 4, p += 4) /* no byte waits for the one before */
        h = h * M4 + (p[0] * (M2 * MULT) + p[1] * M2 + p[2] * MULT + p[3]);
    for (; n > 0; n--, p++)
        h = h * MULT + *p;
    return h;
}

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define FORCED AVX2 __attribute__((always_inline)) static inline

typedef uint64_t words __attribute__((vector_size(32)));  /* one word of each of the four blocks */
typedef uint32_t lanes __attribute__((vector_size(32)));

bool delta_fast_usable(void)
{
    return __builtin_cpu_supports("avx2");
}

/* ---- BLAKE2b (RFC 7693), 32 bytes, without a key ---- */

static const uint64_t iv[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

/* Each word to the right by so many bits; where that is whole bytes, bytes move. */
FORCED words right32(words x)
{
    return (words)_mm256_shuffle_epi32((__m256i)x, 0xb1);
}

FORCED words right24(words x)
{
    const __m256i from = _mm256_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10,
                                          3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
    return (words)_mm256_shuffle_epi8((__m256i)x, from);
}

FORCED words right16(words x)
{
    const __m256i from = _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9,
                                          2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
    return (words)_mm256_shuffle_epi8((__m256i)x, from);
}

FORCED void mix(words *a, words *b, words *c, words *d, words x, words y)
{
    *a += *b + x;
    *d = right32(*d ^ *a);
    *c += *d;
    *b = right24(*b ^ *c);
    *a += *b + y;
    *d = right16(*d ^ *a);
    *c += *d;
    words t = *b ^ *c;
    *b = (t + t) | (t >> 63);
}

FORCED void mix_round(words v[16], const words m[16], const uint8_t s[16])
{
    mix(v + 0, v + 4, v + 8, v + 12, m[s[0]], m[s[1]]);
    mix(v + 1, v + 5, v + 9, v + 13, m[s[2]], m[s[3]]);
    mix(v + 2, v + 6, v + 10, v + 14, m[s[4]], m[s[5]]);
    mix(v + 3, v + 7, v + 11, v + 15, m[s[6]], m[s[7]]);
    mix(v + 0, v + 5, v + 10, v + 15, m[s[8]], m[s[9]]);
    mix(v + 1, v + 6, v + 11, v + 12, m[s[10]], m[s[11]]);
    mix(v + 2, v + 7, v + 8, v + 13, m[s[12]], m[s[13]]);
    mix(v + 3, v + 4, v + 9, v + 14, m[s[14]], m[s[15]]);
}

FORCED uint64_t word_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

FORCED words four(uint64_t w)
{
    return (words){w, w, w, w};
}

/* The next chunk of each block; done: bytes of a block that are in with it. */
AVX2 static void compress(words h[8], const uint8_t *p, size_t block, size_t done)
{
    words m[16], v[16] = {h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], four(iv[0]), four(iv[1]), four(iv[2]),
                          four(iv[3]), four(iv[4] ^ done), four(iv[5]), four(done == block ? ~iv[6] : iv[6]),
                          four(iv[7])}; /* no loop touches v: so it stays in registers */
    for (size_t i = 0; i < 16; i++)
        m[i] = (words){word_at(p + 8 * i), word_at(p + block + 8 * i), word_at(p + 2 * block + 8 * i),
                       word_at(p + 3 * block + 8 * i)};
    for (size_t i = 0; i < 12; i++)
        mix_round(v, m, sigma[i % 10]);
    h[0] ^= v[0] ^ v[8];
    h[1] ^= v[1] ^ v[9];
    h[2] ^= v[2] ^ v[10];
    h[3] ^= v[3] ^ v[11];
    h[4] ^= v[4] ^ v[12];
    h[5] ^= v[5] ^ v[13];
    h[6] ^= v[6] ^ v[14];
    h[7] ^= v[7] ^ v[15];
}

AVX2 static void strong(const uint8_t *p, size_t block, struct delta_fast *out)
{
    words h[8];
    for (size_t i = 0; i < 8; i++)
        h[i] = four(iv[i]);
    h[0] ^= 0x01010000u ^ DELTA_FAST_STRONG;
    for (size_t at = 0; at < block; at += DELTA_FAST_MULTIPLE)
        compress(h, p + at, block, at + DELTA_FAST_MULTIPLE);
    for (size_t b = 0; b < DELTA_FAST_BLOCKS; b++)
        for (size_t i = 0; i < DELTA_FAST_STRONG / 8; i++) {
            uint64_t w = h[i][b];
            memcpy(out->strong[b] + 8 * i, &w, sizeof w);
        }
}

/* ---- the weak sum ---- */

#define STRIDE 64u
#define LANES 8u

FORCED lanes eight(const uint8_t *p)
{
    return (lanes)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

/* Of whole strides. Lane i of s sums the bytes at i, i + STRIDE, ..., each step by MULT to the power of STRIDE. */
AVX2 static uint32_t strides(const uint8_t *p, size_t n)
{
    lanes s[STRIDE / LANES] = {{0}};
    uint32_t step = 1, sum = 0, power = 1, all = 1;
    for (size_t i = 0; i < STRIDE; i++)
        step *= MULT;
    for (size_t at = 0; at < n; at += STRIDE, all *= step)
        for (size_t i = 0; i < STRIDE / LANES; i++)
            s[i] = s[i] * step + eight(p + at + LANES * i);
    for (size_t i = STRIDE; i > 0; i--, power *= MULT)
        sum += s[(i - 1) / LANES][(i - 1) % LANES] * power;
    return sum + all;
}

uint32_t delta_weak(const uint8_t *p, size_t n)
{
    size_t whole = delta_fast_usable() ? n - n % STRIDE : 0;
    return add_bytes(whole ? strides(p, whole) : 1, p + whole, n - whole);
}

AVX2 void delta_fast_sum(const uint8_t *p, size_t block, struct delta_fast *out)
{
    strong(p, block, out);
    for (size_t b = 0; b < DELTA_FAST_BLOCKS; b++)
        out->weak[b] = delta_weak(p + b * block, block);
}

#else

bool delta_fast_usable(void)
{
    return false;
}

uint32_t delta_weak(const uint8_t *p, size_t n)
{
    return add_bytes(1, p, n);
}

void delta_fast_sum(const uint8_t *p, size_t block, struct delta_fast *out)
{
    (void)p;
    (void)block;
    memset(out, 0, sizeof *out);
}

#endif
