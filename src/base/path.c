#include "base/path.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned rank(char c)
{
    /* NUL never occurs in a path, so '/' may take its place at the very front. */
    return c == '/' ? 0 : (unsigned char)c;
}

int path_cmp(const char *a, size_t alen, const char *b, size_t blen)
{
    size_t n = alen < blen ? alen : blen;
    size_t i = 0;
    while (i + 8 <= n) {
        uint64_t x, y;
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y)
            break;
        i += 8;
    }
    for (; i < n; i++)
        if (a[i] != b[i])
            return rank(a[i]) < rank(b[i]) ? -1 : 1;
    return (alen > blen) - (alen < blen);
}

bool path_reserved(const char *name, size_t len)
{
    static const char own[] = PATH_STATE;
    size_t n = sizeof own - 1;
    if (len < n || memcmp(name, own, n) != 0)
        return false;
    return len == n || name[n] == '.';
}

static int check_name(const char *name, size_t len, bool any, struct err *e)
{
    if (len == 0)
        return err_set(e, ERR_FORMAT, "path with an empty component");
    if (len > NAME_LEN_MAX)
        return err_set(e, ERR_FORMAT, "path component of %zu bytes", len);
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return err_set(e, ERR_FORMAT, "path with a \"%.*s\" component", (int)len, name);
    if (!any && path_reserved(name, len))
        return err_set(e, ERR_FORMAT, "path with the reserved component \"%.*s\"", (int)len, name);
    return 0;
}

static int check(const char *path, size_t len, bool any, struct err *e)
{
    if (len == 0)
        return err_set(e, ERR_FORMAT, "empty path");
    if (len > PATH_LEN_MAX)
        return err_set(e, ERR_FORMAT, "path of %zu bytes", len);
    if (memchr(path, '\0', len))
        return err_set(e, ERR_FORMAT, "path with a NUL byte");
    for (size_t at = 0;;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t end = slash ? (size_t)(slash - path) : len;
        int rc = check_name(path + at, end - at, any, e);
        if (rc < 0 || !slash)
            return rc;
        at = end + 1;
    }
}

int path_check(const char *path, size_t len, struct err *e)
{
    return check(path, len, false, e);
}

int path_check_any(const char *path, size_t len, struct err *e)
{
    return check(path, len, true, e);
}

size_t path_parent(const char *path, size_t len)
{
    while (len > 0 && path[len - 1] != '/')
        len--;
    return len > 0 ? len - 1 : 0;
}

bool path_below(const char *path, size_t len, const char *dir, size_t dirlen)
{
    if (dirlen == 0)
        return len > 0;
    return len > dirlen && path[dirlen] == '/' && memcmp(path, dir, dirlen) == 0;
}

size_t path_utf8(const unsigned char *p, size_t left)
{
    if (left == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0; /* overlong, surrogate, beyond U+10FFFF */
    return n;
}

/* Is the byte at p one that path_show leaves as it is? *n: how many belong to it. */
static bool shown_plain(const unsigned char *p, size_t left, size_t *n)
{
    *n = path_utf8(p, left);
    return *n > 0 && p[0] >= 0x20 && p[0] != 0x7f && p[0] != '\\' && !(*n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

char *path_show(char *out, size_t size, const char *name, size_t len)
{
    const unsigned char *p = (const unsigned char *)name;
    size_t at = 0, i = 0;
    while (i < len) {
        size_t n;
        bool plain = shown_plain(p + i, len - i, &n);
        size_t take = n ? n : 1;
        size_t need = plain ? take : 4 * take;
        if (at + need + 1 > size)
            break;
        if (plain) {
            memcpy(out + at, p + i, take);
        } else {
            for (size_t k = 0; k < take; k++)
                snprintf(out + at + 4 * k, 5, "\\x%02x", p[i + k]);
        }
        at += need;
        i += take;
    }
    if (size)
        out[at] = '\0';
    return out;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

long path_unshow(char *out, size_t size, const char *text, size_t len)
{
    size_t at = 0, n;
    for (size_t i = 0; i < len; i += n) {
        bool plain = shown_plain((const unsigned char *)text + i, len - i, &n);
        if (!plain)
            n = len - i > 3 && text[i] == '\\' && text[i + 1] == 'x' && hex_digit(text[i + 2]) >= 0 &&
                hex_digit(text[i + 3]) >= 0 ? 4 : 0;
        if (n == 0 || at + (plain ? n : 1) + 1 > size)
            return -1;
        if (plain)
            memcpy(out + at, text + i, n);
        else
            out[at] = (char)(hex_digit(text[i + 2]) << 4 | hex_digit(text[i + 3]));
        at += plain ? n : 1;
    }
    out[at] = '\0';
    /* Each name has one form: what escapes more than it must is not ours. */
    char *again = mem_alloc(4 * at + 1);
    path_show(again, 4 * at + 1, out, at);
    bool same = strlen(again) == len && memcmp(again, text, len) == 0;
    free(again);
    return same ? (long)at : -1;
}
