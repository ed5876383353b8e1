#include "link/known_hosts.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (64u << 20) /* of a known_hosts file */
#define HASH_LEN 20          /* SHA-1's */
#define SSH_PORT 22

struct span {
    const char *p;
    size_t n;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

void known_hosts_init(struct known_hosts *k, const char *host, unsigned port)
{
    *k = (struct known_hosts){.bare = mem_strdup(host)};
    for (char *p = k->bare; *p; p++)
        *p = lower(*p);
    k->name = port && port != SSH_PORT ? mem_printf("[%s]:%u", k->bare, port) : mem_strdup(k->bare);
}

void known_hosts_free(struct known_hosts *k)
{
    for (size_t i = 0; i < k->lines; i++) {
        free(k->line[i].type);
        free(k->line[i].file);
        buf_free(&k->line[i].blob);
    }
    free(k->line);
    free(k->name);
    free(k->bare);
    free(k->authority);
    *k = (struct known_hosts){0};
}

/* ---- names ---- */

/* '*' and '?'; goes back only to the last '*', so that no pattern takes more than n * m steps. */
static bool glob(struct span pat, const char *name)
{
    size_t at = 0, star = SIZE_MAX;
    const char *again = name;
    while (*name) {
        if (at < pat.n && pat.p[at] == '*') {
            star = ++at;
            again = name;
        } else if (at < pat.n && (pat.p[at] == '?' || lower(pat.p[at]) == *name)) {
            at++;
            name++;
        } else if (star != SIZE_MAX) {
            at = star;
            name = ++again;
        } else {
            return false;
        }
    }
    while (at < pat.n && pat.p[at] == '*')
        at++;
    return at == pat.n;
}

static bool hash_name(const uint8_t *salt, size_t salt_len, const char *name, uint8_t out[HASH_LEN])
{
    unsigned n = 0;
    uint8_t mac[EVP_MAX_MD_SIZE];
    if (!HMAC(EVP_sha1(), salt, (int)salt_len, (const uint8_t *)name, strlen(name), mac, &n) || n != HASH_LEN)
        return false;
    memcpy(out, mac, HASH_LEN);
    return true;
}

/* |1|salt|hash, both in base64. */
static bool match_hashed(struct span host, const char *name)
{
    struct buf salt = {0}, hash = {0};
    uint8_t ours[HASH_LEN];
    bool same = false;
    const char *p = host.p + 3, *end = host.p + host.n;
    const char *bar = host.n > 3 && memcmp(host.p, "|1|", 3) == 0 ? memchr(p, '|', (size_t)(end - p)) : NULL;
    if (bar && base64_get(&salt, p, (size_t)(bar - p)) == 0 &&
        base64_get(&hash, bar + 1, (size_t)(end - bar - 1)) == 0 && salt.len == HASH_LEN && hash.len == HASH_LEN)
        same = hash_name(salt.data, salt.len, name, ours) && memcmp(ours, hash.data, HASH_LEN) == 0;
    buf_free(&salt);
    buf_free(&hash);
    return same;
}

/* A negated pattern that matches speaks for the whole list. */
static bool match_hosts(struct span hosts, const char *name)
{
    if (hosts.n && hosts.p[0] == '|')
        return match_hashed(hosts, name);
    bool found = false;
    const char *end = hosts.p + hosts.n;
    for (const char *p = hosts.p; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        bool negated = *p == '!';
        struct span pat = {p + negated, (size_t)(stop - p) - negated};
        if (pat.n && glob(pat, name)) {
            if (negated)
                return false;
            found = true;
        }
        p = stop + 1;
    }
    return found;
}

/* ---- lines ---- */

static struct span word(struct span *rest)
{
    const char *p = rest->p, *end = p + rest->n;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    const char *from = p;
    while (p < end && *p != ' ' && *p != '\t')
        p++;
    *rest = (struct span){p, (size_t)(end - p)};
    return (struct span){from, (size_t)(p - from)};
}

static bool is(struct span s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

/* A key on the wire begins with the name of its type. */
static bool blob_is(const struct buf *blob, struct span type)
{
    if (type.n == 0 || blob->len < 4 + type.n)
        return false;
    uint32_t n = (uint32_t)blob->data[0] << 24 | (uint32_t)blob->data[1] << 16 | (uint32_t)blob->data[2] << 8 |
                 blob->data[3];
    return n == type.n && memcmp(blob->data + 4, type.p, type.n) == 0;
}

static void parse_line(struct known_hosts *k, const char *file, size_t number, struct span text)
{
    bool revoked = false;
    struct span hosts = word(&text);
    if (hosts.n == 0 || hosts.p[0] == '#')
        return;
    if (hosts.p[0] == '@') {
        bool authority = is(hosts, "@cert-authority");
        revoked = is(hosts, "@revoked");
        hosts = word(&text);
        if (authority && !k->authority && match_hosts(hosts, k->name))
            k->authority = mem_printf("%s:%zu", file, number);
        if (!revoked)
            return;
    }
    struct span type = word(&text), key = word(&text);
    if (key.n == 0 || memchr(type.p, '\0', type.n))
        return;
    if (!match_hosts(hosts, k->name) && !(revoked && match_hosts(hosts, k->bare)))
        return;
    struct buf blob = {0};
    if (base64_get(&blob, key.p, key.n) < 0 || !blob_is(&blob, type)) {
        buf_free(&blob);
        return;
    }
    k->line = mem_resize(k->line, k->lines + 1, sizeof *k->line);
    k->line[k->lines++] = (struct known_hosts_line){
        .type = mem_strndup(type.p, type.n),
        .blob = blob,
        .revoked = revoked,
        .file = mem_strdup(file),
        .line = number,
    };
}

void known_hosts_parse(struct known_hosts *k, const char *file, const char *text, size_t len)
{
    const char *end = text + len;
    size_t number = 0;
    for (const char *p = text; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;
        size_t n = (size_t)(stop - p);
        if (n && p[n - 1] == '\r')
            n--;
        parse_line(k, file, ++number, (struct span){p, n});
        p = stop + 1;
    }
}

int known_hosts_load(struct known_hosts *k, const char *file, struct err *e)
{
    struct stat st;
    int rc = 0;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "%s", file);
    if (fstat(fd, &st) < 0) {
        rc = err_sys(e, "%s", file);
    } else if (S_ISREG(st.st_mode) && st.st_size > FILE_MAX) {
        rc = err_set(e, ERR_CONF, "%s: larger than %u MiB", file, FILE_MAX >> 20);
    } else if (S_ISREG(st.st_mode)) {
        size_t want = (size_t)st.st_size;
        char *text = mem_alloc(want + 1);
        ssize_t n = file_read(fd, text, want);
        if (n < 0)
            rc = err_sys(e, "%s", file);
        else
            known_hosts_parse(k, file, text, (size_t)n);
        free(text);
    }
    close(fd);
    return rc;
}

/* ---- verdicts ---- */

void known_hosts_types(const struct known_hosts *k, struct buf *out)
{
    for (size_t i = 0; i < k->lines; i++) {
        bool seen = k->line[i].revoked;
        for (size_t j = 0; j < i && !seen; j++)
            seen = !k->line[j].revoked && strcmp(k->line[j].type, k->line[i].type) == 0;
        if (seen)
            continue;
        if (out->len)
            buf_u8(out, ',');
        buf_put(out, k->line[i].type, strlen(k->line[i].type));
    }
}

enum known_hosts_answer known_hosts_judge(const struct known_hosts *k, const char *type, const uint8_t *blob,
                                          size_t len, const struct known_hosts_line **why)
{
    enum known_hosts_answer best = KNOWN_HOSTS_UNKNOWN;
    const struct known_hosts_line *decided = NULL;
    for (size_t i = 0; i < k->lines && best != KNOWN_HOSTS_REVOKED; i++) {
        const struct known_hosts_line *l = &k->line[i];
        bool same = l->blob.len == len && memcmp(l->blob.data, blob, len) == 0;
        enum known_hosts_answer a = KNOWN_HOSTS_UNKNOWN;
        if (l->revoked)
            a = same ? KNOWN_HOSTS_REVOKED : KNOWN_HOSTS_UNKNOWN;
        else if (same)
            a = KNOWN_HOSTS_FOUND;
        else
            a = strcmp(l->type, type) == 0 ? KNOWN_HOSTS_CHANGED : KNOWN_HOSTS_OTHER;
        /* Revoked beats found beats changed beats other: a host may have several keys of one type. */
        bool better = a == KNOWN_HOSTS_REVOKED || (a == KNOWN_HOSTS_FOUND && best != KNOWN_HOSTS_FOUND) ||
                      (best != KNOWN_HOSTS_FOUND && a > best);
        if (better) {
            best = a;
            decided = l;
        }
    }
    if (why)
        *why = decided;
    return best;
}

/* ---- recording ---- */

int known_hosts_format(const struct known_hosts *k, bool hashed, const char *type, const uint8_t *blob, size_t len,
                       struct buf *out, struct err *e)
{
    uint8_t salt[HASH_LEN], hash[HASH_LEN];
    if (!hashed) {
        buf_put(out, k->name, strlen(k->name));
    } else {
        if (getrandom(salt, sizeof salt, 0) != (ssize_t)sizeof salt)
            return err_sys(e, "getrandom");
        if (!hash_name(salt, sizeof salt, k->name, hash))
            return err_set(e, ERR_UNSUPPORTED, "this libcrypto has no HMAC-SHA1");
        buf_put(out, "|1|", 3);
        base64_put(out, salt, sizeof salt);
        buf_u8(out, '|');
        base64_put(out, hash, sizeof hash);
    }
    buf_u8(out, ' ');
    buf_put(out, type, strlen(type));
    buf_u8(out, ' ');
    base64_put(out, blob, len);
    buf_u8(out, '\n');
    return 0;
}

int known_hosts_append(const char *file, const struct buf *line, struct err *e)
{
    const char *slash = strrchr(file, '/');
    if (slash && slash > file) {
        char *dir = mem_strndup(file, (size_t)(slash - file));
        int rc = mkdir(dir, 0700) < 0 && errno != EEXIST ? err_sys(e, "%s", dir) : 0;
        free(dir);
        if (rc < 0)
            return rc;
    }
    int fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0)
        return err_sys(e, "%s", file);
    struct buf all = {0};
    struct stat st;
    char last = '\n';
    int rc = 0;
    if (fstat(fd, &st) < 0 || (st.st_size > 0 && file_pread(fd, &last, 1, st.st_size - 1) != 1)) {
        rc = err_sys(e, "%s", file);
        goto out;
    }
    /* Somebody's editor left the last line open: what is appended must not become part of it. */
    if (last != '\n')
        buf_u8(&all, '\n');
    buf_put(&all, line->data, line->len);
    if (write(fd, all.data, all.len) != (ssize_t)all.len)
        rc = err_sys(e, "%s", file);
out:
    buf_free(&all);
    if (close(fd) < 0 && rc == 0)
        rc = err_sys(e, "%s", file);
    return rc;
}
