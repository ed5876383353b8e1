#include "object/sha.h"

#include "base/mem.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct sha {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
};

/*
 * Nothing here can fail but for want of memory, or with a libcrypto that has no such digest, which could only call
 * everything damaged.
 */
static void must(int done)
{
    if (done != 1)
        abort();
}

struct sha *sha_new(enum sha_kind kind)
{
    struct sha *s = mem_alloc(sizeof *s);
    s->md = EVP_MD_fetch(NULL, kind == SHA_256 ? "SHA2-256" : "SHA1", NULL);
    s->ctx = EVP_MD_CTX_new();
    must(s->md && s->ctx);
    must(EVP_DigestInit_ex2(s->ctx, s->md, NULL));
    return s;
}

void sha_free(struct sha *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    EVP_MD_free(s->md);
    free(s);
}

void sha_reset(struct sha *s)
{
    must(EVP_DigestInit_ex2(s->ctx, NULL, NULL));
}

void sha_add(struct sha *s, const void *p, size_t n)
{
    if (n)
        must(EVP_DigestUpdate(s->ctx, p, n));
}

void sha_end(struct sha *s, uint8_t *out)
{
    must(EVP_DigestFinal_ex(s->ctx, out, NULL));
}
