#include "object/sha1.h"

#include "base/mem.h"
#include "object/sha.h"

#include <stdlib.h>
#include <string.h>

struct sha1 {
    struct sha *sha;
};

struct sha1 *sha1_new(void)
{
    struct sha1 *s = mem_alloc(sizeof *s);
    s->sha = sha_new(SHA_1);
    return s;
}

void sha1_free(struct sha1 *s)
{
    if (s)
        sha_free(s->sha);
    free(s);
}

void sha1_reset(struct sha1 *s)
{
    sha_reset(s->sha);
}

void sha1_add(struct sha1 *s, const void *p, size_t n)
{
    sha_add(s->sha, p, n);
}

bool sha1_is(struct sha1 *s, const char *hex)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum[SHA1_LEN];
    sha_end(s->sha, sum);
    for (unsigned i = 0; i < SHA1_LEN; i++)
        if (hex[2 * i] != digits[sum[i] >> 4] || hex[2 * i + 1] != digits[sum[i] & 15])
            return false;
    return hex[SHA1_HEX] == '\0';
}

bool sha1_names(const char *name, size_t len)
{
    return len == SHA1_HEX && strspn(name, "0123456789abcdef") >= SHA1_HEX;
}
