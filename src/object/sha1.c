#include "object/sha1.h"

#include "base/mem.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct sha1 {
    EVP_MD_CTX *ctx;
};

struct sha1 *sha1_new(void)
{
    struct sha1 *s = mem_alloc(sizeof *s);
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx)
        abort(); /* out of memory, as everywhere */
    sha1_reset(s);
    return s;
}

void sha1_free(struct sha1 *s)
{
    if (s)
        EVP_MD_CTX_free(s->ctx);
    free(s);
}

void sha1_reset(struct sha1 *s)
{
    if (EVP_DigestInit_ex(s->ctx, EVP_sha1(), NULL) != 1)
        abort(); /* a libcrypto without SHA-1 could only call everything damaged */
}

void sha1_add(struct sha1 *s, const void *p, size_t n)
{
    EVP_DigestUpdate(s->ctx, p, n);
}

bool sha1_is(struct sha1 *s, const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_DigestFinal_ex(s->ctx, sum, &len) != 1 || len != SHA1_HEX / 2)
        return false;
    for (unsigned i = 0; i < len; i++)
        if (hex[2 * i] != digits[sum[i] >> 4] || hex[2 * i + 1] != digits[sum[i] & 15])
            return false;
    return hex[SHA1_HEX] == '\0';
}

bool sha1_names(const char *name, size_t len)
{
    return len == SHA1_HEX && strspn(name, "0123456789abcdef") >= SHA1_HEX;
}
