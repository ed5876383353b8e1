#include "link/keyfile.h"

#include "base/base64.h"

#include <string.h>

#define OPENSSH_BEGIN "-----BEGIN OPENSSH PRIVATE KEY-----"
#define OPENSSH_END "-----END"
#define OPENSSH_MAGIC "openssh-key-v1" /* with its NUL */

/* SSH's own framing: a big-endian length, then the bytes. */
static const uint8_t *ssh_string(struct rd *r, size_t *n)
{
    const uint8_t *p = rd_bytes(r, 4);
    *n = p ? (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3] : 0;
    return rd_bytes(r, *n);
}

bool keyfile_blob_type(const void *blob, size_t len, char *out, size_t size)
{
    struct rd r = rd_of(blob, len);
    size_t n;
    const uint8_t *p = ssh_string(&r, &n);
    if (!p || n == 0 || n >= size || memchr(p, '\0', n))
        return false;
    memcpy(out, p, n);
    out[n] = '\0';
    return true;
}

static int take_blob(struct keyfile *k, const void *p, size_t n)
{
    if (!keyfile_blob_type(p, n, k->type, sizeof k->type))
        return -1;
    buf_put(&k->blob, p, n);
    return 0;
}

/* Magic, cipher, key derivation and its options, number of keys, public key; then the private part. */
static int parse_inside(struct keyfile *k, const struct buf *raw)
{
    struct rd r = rd_of(raw->data, raw->len);
    size_t cipher_len, n;
    const uint8_t *magic = rd_bytes(&r, sizeof OPENSSH_MAGIC);
    const uint8_t *cipher = ssh_string(&r, &cipher_len);
    ssh_string(&r, &n);
    ssh_string(&r, &n);
    rd_bytes(&r, 4);
    const uint8_t *public = ssh_string(&r, &n);
    if (!magic || memcmp(magic, OPENSSH_MAGIC, sizeof OPENSSH_MAGIC) != 0 || !cipher || !public)
        return -1;
    k->secret = true;
    k->encrypted = cipher_len != 4 || memcmp(cipher, "none", 4) != 0;
    return take_blob(k, public, n);
}

static int parse_openssh(struct keyfile *k, const char *body, const char *end)
{
    struct buf packed = {0}, raw = {0};
    const char *stop = memmem(body, (size_t)(end - body), OPENSSH_END, strlen(OPENSSH_END));
    for (const char *p = body; p < (stop ? stop : end); p++)
        if (*p != '\n' && *p != '\r' && *p != ' ')
            buf_u8(&packed, (uint8_t)*p);
    int rc = base64_get(&raw, packed.data ? (const char *)packed.data : "", packed.len);
    if (rc == 0)
        rc = parse_inside(k, &raw);
    buf_free(&packed);
    buf_free(&raw);
    return rc;
}

static bool has(const char *text, size_t len, const char *what)
{
    return memmem(text, len, what, strlen(what)) != NULL;
}

static int parse_pem(struct keyfile *k, const char *text, size_t len)
{
    if (!has(text, len, "-----BEGIN ") || !has(text, len, "PRIVATE KEY-----"))
        return -1;
    k->secret = true;
    k->encrypted = has(text, len, "ENCRYPTED");
    if (has(text, len, "BEGIN RSA "))
        memcpy(k->type, "ssh-rsa", sizeof "ssh-rsa");
    return 0;
}

/* TYPE BASE64 [COMMENT] */
static int parse_public(struct keyfile *k, const char *text, size_t len)
{
    const char *end = text + len;
    const char *blank = memchr(text, ' ', len);
    if (!blank)
        return -1;
    const char *from = blank + 1, *to = from;
    while (to < end && *to != ' ' && *to != '\n' && *to != '\r')
        to++;
    struct buf raw = {0};
    int rc = base64_get(&raw, from, (size_t)(to - from));
    if (rc == 0)
        rc = take_blob(k, raw.data, raw.len);
    buf_free(&raw);
    return rc;
}

int keyfile_parse(struct keyfile *k, const char *text, size_t len)
{
    *k = (struct keyfile){0};
    const char *begin = memmem(text, len, OPENSSH_BEGIN, strlen(OPENSSH_BEGIN));
    if (begin)
        return parse_openssh(k, begin + strlen(OPENSSH_BEGIN), text + len);
    if (parse_pem(k, text, len) == 0)
        return 0;
    return parse_public(k, text, len);
}

void keyfile_free(struct keyfile *k)
{
    buf_free(&k->blob);
    *k = (struct keyfile){0};
}
