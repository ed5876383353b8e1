#include "group/address.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORD_LEN_MAX 255 /* bytes in a host or a user */

void address_free(struct address *a)
{
    free(a->text);
    free(a->user);
    free(a->host);
    free(a->path);
    *a = (struct address){0};
}

char *address_url(const struct address *a)
{
    bool six = strchr(a->host, ':') != NULL;
    unsigned usual = a->kind == ADDRESS_HTTPS ? 443 : 80;
    char port[16] = "";
    if (a->port && a->port != usual)
        snprintf(port, sizeof port, ":%u", a->port);
    return mem_printf("%s://%s%s%s%s%s", address_kind_name(a->kind), six ? "[" : "", a->host, six ? "]" : "", port, a->path);
}

const char *address_kind_name(enum address_kind kind)
{
    switch (kind) {
    case ADDRESS_LOCAL: return "local";
    case ADDRESS_SSH: return "ssh";
    case ADDRESS_HTTP: return "http";
    case ADDRESS_HTTPS: return "https";
    }
    return "unknown";
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* The locale has no say in what a host may be called. */
static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int check_controls(const char *text, struct err *e)
{
    for (; *text; text++)
        if (is_control(*text))
            return err_set(e, ERR_CONF, "the address holds a control character (byte 0x%02x)",
                           (unsigned char)*text);
    return 0;
}

/* What may stand in a host or user: these words end up as arguments of other programs. */
static int check_word(const char *what, const char *p, size_t n, const char *also, struct err *e)
{
    if (n == 0)
        return err_set(e, ERR_CONF, "the %s in the address is empty", what);
    if (n > WORD_LEN_MAX)
        return err_set(e, ERR_CONF, "the %s in the address is longer than %d bytes", what, WORD_LEN_MAX);
    if (p[0] == '-')
        return err_set(e, ERR_CONF, "the %s \"%.*s\" begins with \"-\"", what, (int)n, p);
    for (size_t i = 0; i < n; i++)
        if (!is_alnum(p[i]) && !strchr("._-", p[i]) && !strchr(also, p[i]))
            return err_set(e, ERR_CONF,
                           "the %s \"%.*s\" holds a character that no %s may have: only letters, "
                           "digits and . _ -%s%s",
                           what, (int)n, p, what, *also ? " " : "", also);
    return 0;
}

/* The text between the brackets: an address and perhaps a zone, "fe80::1%eth0" ("%25eth0" in a URL). */
static int take_ipv6(const char *p, size_t n, struct address *out, struct err *e)
{
    char plain[INET6_ADDRSTRLEN];
    struct in6_addr bits;
    const char *zone = memchr(p, '%', n);
    size_t len = zone ? (size_t)(zone - p) : n;
    if (len >= sizeof plain)
        return err_set(e, ERR_CONF, "the text in brackets is not an IPv6 address");
    memcpy(plain, p, len);
    plain[len] = '\0';
    if (inet_pton(AF_INET6, plain, &bits) != 1)
        return err_set(e, ERR_CONF, "\"[%s]\" is not an IPv6 address", plain);
    inet_ntop(AF_INET6, &bits, plain, sizeof plain); /* one spelling, for comparing */
    if (!zone) {
        out->host = mem_strdup(plain);
        return 0;
    }
    const char *name = zone + 1;
    if ((size_t)(p + n - name) > 2 && name[0] == '2' && name[1] == '5')
        name += 2;
    int rc = check_word("zone", name, (size_t)(p + n - name), "", e);
    if (rc == 0)
        out->host = mem_printf("%s%%%.*s", plain, (int)(p + n - name), name);
    return rc;
}

static int take_port(const char *p, size_t n, struct address *out, struct err *e)
{
    char *text = mem_strndup(p, n);
    uint64_t port = 0;
    int rc = 0;
    if (num_u64(text, 65535, &port, NULL) < 0 || port == 0)
        rc = err_set(e, ERR_CONF, "the port \"%.40s\" is not a number from 1 to 65535", text);
    out->port = (unsigned)port;
    free(text);
    return rc;
}

static int take_host(const char *p, size_t n, struct address *out, struct err *e)
{
    const char *end = p + n, *rest;
    int rc;
    if (n && p[0] == '[') {
        const char *close = memchr(p, ']', n);
        if (!close || (close + 1 < end && close[1] != ':'))
            return err_set(e, ERR_CONF, "an IPv6 address is written [::1] or [::1]:port");
        rc = take_ipv6(p + 1, (size_t)(close - p - 1), out, e);
        rest = close + 1;
    } else {
        const char *colon = memchr(p, ':', n);
        rest = colon ? colon : end;
        if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
            return err_set(e, ERR_CONF,
                           "the host holds more than one \":\"; an IPv6 address goes in brackets: [::1]");
        rc = check_word("host", p, (size_t)(rest - p), "", e);
        if (rc == 0)
            out->host = mem_strndup(p, (size_t)(rest - p));
    }
    if (rc < 0 || rest == end)
        return rc;
    return take_port(rest + 1, (size_t)(end - rest - 1), out, e);
}

/* [user@]host[:port] */
static int take_authority(const char *p, size_t n, struct address *out, struct err *e)
{
    const char *at = memrchr(p, '@', n);
    if (!at)
        return take_host(p, n, out, e);
    size_t len = (size_t)(at - p);
    if (memchr(p, ':', len))
        return err_set(e, ERR_CONF, "a password has no place in an address; use a key");
    int rc = check_word("user", p, len, "+@", e);
    if (rc < 0)
        return rc;
    out->user = mem_strndup(p, len);
    return take_host(at + 1, n - len - 1, out, e);
}

static int check_path_length(const char *path, struct err *e)
{
    if (strlen(path) > PATH_LEN_MAX)
        return err_set(e, ERR_CONF, "the path is longer than %d bytes", PATH_LEN_MAX);
    return 0;
}

/* Takes trailing slashes off, but leaves the first keep bytes alone. */
static void strip_slashes(char *path, size_t keep)
{
    size_t n = strlen(path);
    while (n > keep && path[n - 1] == '/')
        path[--n] = '\0';
}

/*
 * Percent-escapes to bytes; NULL with the reason. An escaped '/' would make two different addresses look
 * alike.
 */
static char *decode(const char *p, struct err *e)
{
    char *out = mem_alloc(strlen(p) + 1), *to = out;
    for (; *p; p++) {
        if (*p != '%') {
            *to++ = *p;
            continue;
        }
        int high = hex(p[1]), low = high < 0 ? -1 : hex(p[2]);
        char c = (char)(high * 16 + low);
        if (low < 0)
            err_set(e, ERR_CONF,
                    "a \"%%\" in this address needs two hexadecimal digits behind it; "
                    "the character itself is written %%25");
        else if (c == '/' || is_control(c))
            err_set(e, ERR_CONF, "the escape \"%.3s\" is not allowed in an address", p);
        if (low < 0 || c == '/' || is_control(c)) {
            free(out);
            return NULL;
        }
        *to++ = c;
        p += 2;
    }
    *to = '\0';
    return out;
}

/*
 * The path of a file:// or ssh:// address; a reader of URLs would end it at '?' or '#', so we ask what is
 * meant.
 */
static int take_url_path(const char *raw, struct address *out, struct err *e)
{
    const char *odd = strpbrk(raw, "?#");
    if (odd)
        return err_set(e, ERR_CONF, "write the \"%c\" in this address as %%%02X", *odd, (unsigned char)*odd);
    out->path = decode(raw, e);
    if (!out->path)
        return ERR_CONF;
    strip_slashes(out->path, 1);
    return check_path_length(out->path, e);
}

static int take_file(const char *rest, struct address *out, struct err *e)
{
    size_t n = strcspn(rest, "/");
    if (rest[n] == '\0')
        return err_set(e, ERR_CONF, "a file address has three slashes and a full path: file:///srv/store");
    if (n != 0 && !(n == 9 && strncasecmp(rest, "localhost", n) == 0))
        return err_set(e, ERR_CONF,
                       "a file address cannot name another host; write file:///path here, "
                       "or ssh://HOST/path for a path on a host");
    return take_url_path(rest + n, out, e);
}

static int refuse_other_home(struct err *e)
{
    return err_set(e, ERR_CONF,
                   "only \"~/\", one's own home directory, is understood after a host; "
                   "write the full path");
}

static int take_ssh(const char *rest, struct address *out, struct err *e)
{
    size_t n = strcspn(rest, "/");
    int rc = take_authority(rest, n, out, e);
    if (rc < 0)
        return rc;
    const char *path = rest + n;
    if (*path == '\0')
        return err_set(e, ERR_CONF,
                       "an ssh address needs a path after the host: ssh://HOST/srv/store, "
                       "or ssh://HOST/~/store below the home directory");
    if (path[1] == '~') {
        if (path[2] != '\0' && path[2] != '/')
            return refuse_other_home(e);
        path++;
    }
    return take_url_path(path, out, e);
}

/* The base path goes onto a request line as it stands, so only what a URL may hold gets through. */
static int check_base(const char *base, struct err *e)
{
    for (const char *p = base; *p; p++)
        if (!is_alnum(*p) && !strchr("-._~!$&'()*+,;=:@/%", *p))
            return err_set(e, ERR_CONF, "an http address ends at its base path; \"%c\" cannot be part of it",
                           *p);
    char *plain = decode(base, e);
    if (!plain)
        return ERR_CONF;
    int rc = 0;
    for (const char *p = plain; *p && rc == 0; ) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (n > 0 && n < 3 && strspn(p, ".") >= n)
            rc = err_set(e, ERR_CONF, "\".\" and \"..\" cannot be part of an http address");
        p += n;
    }
    free(plain);
    return rc;
}

static int take_http(const char *rest, struct address *out, struct err *e)
{
    size_t n = strcspn(rest, "/");
    if (memchr(rest, '@', n))
        return err_set(e, ERR_CONF, "an http address takes no user or password");
    int rc = take_host(rest, n, out, e);
    if (rc == 0)
        rc = check_base(rest + n, e);
    if (rc < 0)
        return rc;
    out->path = mem_strdup(rest + n);
    strip_slashes(out->path, 0);
    return 0;
}

static const struct scheme {
    const char *name;
    enum address_kind kind;
    int (*take)(const char *rest, struct address *out, struct err *e);
} schemes[] = {
    {"file", ADDRESS_LOCAL, take_file},
    {"ssh", ADDRESS_SSH, take_ssh},
    {"http", ADDRESS_HTTP, take_http},
    {"https", ADDRESS_HTTPS, take_http},
};

static const struct scheme *find_scheme(const char *p, size_t n)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (strlen(schemes[i].name) == n && strncasecmp(schemes[i].name, p, n) == 0)
            return &schemes[i];
    return NULL;
}

static int take_url(const char *text, size_t n, struct address *out, struct err *e)
{
    const struct scheme *s = find_scheme(text, n);
    if (!s)
        return err_set(e, ERR_CONF,
                       "\"%.*s://\" is not supported; an address is a path, or begins with file://, "
                       "ssh://, http:// or https://",
                       n < 60 ? (int)n : 60, text);
    out->kind = s->kind;
    return s->take(text + n + 3, out, e);
}

/* The ':' of host:path, or NULL: it comes before any '/', and after the bracket of an IPv6 address. */
static const char *host_colon(const char *text)
{
    size_t n = strcspn(text, ":/[");
    if (text[n] == '[' && (n == 0 || text[n - 1] == '@')) {
        size_t close = strcspn(text + n, "]/") + n;
        return text[close] == ']' && text[close + 1] == ':' ? text + close + 1 : NULL;
    }
    n = strcspn(text, ":/");
    return text[n] == ':' ? text + n : NULL;
}

/* [user@]host:path, whose path is not a URL's: nothing in it is decoded. */
static int take_host_path(const char *text, const char *colon, struct address *out, struct err *e)
{
    const char *path = colon + 1;
    size_t n = (size_t)(colon - text);
    const struct scheme *s = find_scheme(text, n);
    if (s)
        return err_set(e, ERR_CONF, "\"%s:\" lacks its two slashes; write %s://%s", s->name, s->name,
                       s->kind == ADDRESS_LOCAL ? "/path" : "HOST...");
    out->kind = ADDRESS_SSH;
    int rc = take_authority(text, n, out, e);
    if (rc < 0)
        return rc;
    if (*path == '\0' || *path == ' ')
        return err_set(e, ERR_CONF, "a path must follow the \":\" of HOST:PATH at once");
    if (*path == ':')
        return err_set(e, ERR_CONF, "\"::\" is not supported; an IPv6 address goes in brackets: [::1]:/path");
    if (*path == '-')
        return err_set(e, ERR_CONF, "the path begins with \"-\"; write HOST:./%.60s", path);
    if (path[0] == '~' && path[1] != '\0' && path[1] != '/')
        return refuse_other_home(e);
    out->path = *path == '/' || *path == '~' ? mem_strdup(path) : mem_printf("~/%s", path);
    strip_slashes(out->path, 1);
    return check_path_length(out->path, e);
}

static int take_local(const char *text, int relative_ok, struct address *out, struct err *e)
{
    if (*text == '~')
        return err_set(e, ERR_CONF, "\"~\" is not expanded here; write the full path");
    if (*text == '-')
        return err_set(e, ERR_CONF,
                       relative_ok ? "the path begins with \"-\"; write ./%.60s"
                                   : "the address \"%.60s\" begins with \"-\"",
                       text);
    if (*text != '/' && !relative_ok)
        return err_set(e, ERR_CONF,
                       "\"%.60s\" is not an address; write a full path that begins with \"/\", "
                       "or HOST:PATH, or ssh://HOST/PATH, or http://HOST",
                       text);
    out->kind = ADDRESS_LOCAL;
    out->path = mem_strdup(text);
    strip_slashes(out->path, 1);
    return check_path_length(out->path, e);
}

static char *trimmed(const char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'))
        n--;
    return mem_strndup(text, n);
}

int address_parse(const char *text, int relative_ok, struct address *out, struct err *e)
{
    *out = (struct address){0};
    out->text = trimmed(text);
    const char *t = out->text;
    size_t slash = strcspn(t, "/");
    const char *colon = host_colon(t);
    int rc = *t ? check_controls(t, e) : err_set(e, ERR_CONF, "the address is empty");
    if (rc == 0) {
        if (slash > 0 && t[slash - 1] == ':' && t[slash] == '/' && t[slash + 1] == '/')
            rc = take_url(t, slash - 1, out, e);
        else if (colon)
            rc = take_host_path(t, colon, out, e);
        else
            rc = take_local(t, relative_ok, out, e);
    }
    if (rc < 0)
        address_free(out);
    return rc;
}
