#include "store/state.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "object/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MARKER "marker"
#define PEERS "peers"
#define LAST "last"
#define SEEN "seen"
#define HOLDER "lock"
#define LAST_MAX 64u
#define LAST_FIRST "last run: "
#define PEERS_MAX 1024u /* members that are remembered */
#define SEEN_LINE_MAX 64u
#define SEEN_MAX (PEERS_MAX * SEEN_LINE_MAX)
#define MARKER_MAX (64u << 10)
#define PEERS_BYTES_MAX (16u << 20)
#define MARKER_FIRST "sos-sync store 1"
#define MARKER_ANY "sos-sync store "
#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- text ---- */

static bool must_escape(unsigned char c)
{
    return c < 0x20 || c == 0x7f || c == '%';
}

static void put_escaped(struct buf *b, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (must_escape(c)) {
            const char part[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_put(b, part, sizeof part);
        } else {
            buf_u8(b, c);
        }
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Fresh memory, or NULL when the text is not as put_escaped writes it. */
static char *get_escaped(const char *p, size_t n)
{
    char *out = mem_alloc(n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '%' && n - i > 2 && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
            c = (unsigned char)(hex_digit(p[i + 1]) << 4 | hex_digit(p[i + 2]));
            if (c == 0 || !must_escape(c)) {
                free(out);
                return NULL;
            }
            i += 2;
        } else if (must_escape(c)) {
            free(out);
            return NULL;
        }
        out[k++] = (char)c;
    }
    out[k] = '\0';
    return out;
}

/* The next line, without its newline; false when there is no whole one. */
static bool next_line(const char **at, const char *end, const char **line, size_t *len)
{
    const char *nl = memchr(*at, '\n', (size_t)(end - *at));
    if (!nl)
        return false;
    *line = *at;
    *len = (size_t)(nl - *at);
    *at = nl + 1;
    return true;
}

static bool get_uuid(const char *p, size_t n, struct uuid *id)
{
    char text[37];
    if (n != 36)
        return false;
    memcpy(text, p, 36);
    text[36] = '\0';
    return uuid_parse(text, id) && !uuid_none(id);
}

/* The value of the next line, which must be "key: value"; NULL when it is not. */
static const char *value_of(const char **at, const char *end, const char *key, size_t *n)
{
    const char *line;
    size_t len, k = strlen(key);
    if (!next_line(at, end, &line, &len) || len < k + 2 || memcmp(line, key, k) != 0 ||
        memcmp(line + k, ": ", 2) != 0)
        return NULL;
    *n = len - k - 2;
    return line + k + 2;
}

int state_parse_marker(const char *text, size_t len, struct marker *m, struct err *e)
{
    const char *at = text, *end = text + len, *line, *value;
    size_t n;
    *m = (struct marker){0};
    if (!next_line(&at, end, &line, &n) || n < strlen(MARKER_ANY) ||
        memcmp(line, MARKER_ANY, strlen(MARKER_ANY)) != 0)
        return err_set(e, ERR_FORMAT, "is not the marker of a store");
    if (n != strlen(MARKER_FIRST) || memcmp(line, MARKER_FIRST, n) != 0)
        return err_set(e, ERR_UNSUPPORTED, "is of a later version of sos-sync");
    value = value_of(&at, end, "id", &n);
    if (!value || !get_uuid(value, n, &m->id))
        return err_set(e, ERR_FORMAT, "has no valid id");
    value = value_of(&at, end, "group", &n);
    m->group = value && n > 0 ? get_escaped(value, n) : NULL;
    if (!m->group)
        return err_set(e, ERR_FORMAT, "has no valid group");
    if (at != end) {
        free(m->group);
        m->group = NULL;
        return err_set(e, ERR_FORMAT, "has more than it should");
    }
    return 0;
}

int state_parse_last(const char *text, size_t len, int64_t *at, struct err *e)
{
    size_t key = strlen(LAST_FIRST);
    char want[LAST_MAX], *end;
    if (len <= key || len >= sizeof want || memcmp(text, LAST_FIRST, key) != 0)
        return err_set(e, ERR_FORMAT, "does not tell of the last run");
    memcpy(want, text, len);
    want[len] = '\0';
    *at = strtoll(want + key, &end, 10);
    if (*at < -ENTRY_TIME_MAX || *at > ENTRY_TIME_MAX ||
        snprintf(want, sizeof want, LAST_FIRST "%" PRId64 "\n", *at) != (int)len || memcmp(want, text, len) != 0)
        return err_set(e, ERR_FORMAT, "has no valid time");
    return 0;
}

void state_free_peers(struct store_peer *peer, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(peer[i].address);
    free(peer);
}

static int by_id(const void *a, const void *b)
{
    return uuid_cmp(&((const struct store_peer *)a)->id, &((const struct store_peer *)b)->id);
}

static bool parse_peer(const char *line, size_t len, struct store_peer *p)
{
    if (len < 38 || line[36] != ' ' || !get_uuid(line, 36, &p->id))
        return false;
    p->address = get_escaped(line + 37, len - 37);
    return p->address != NULL;
}

int state_parse_peers(const char *text, size_t len, struct store_peer **peer, size_t *n, struct err *e)
{
    const char *at = text, *end = text + len, *line;
    size_t line_len, cap = 0;
    int rc = 0;
    *peer = NULL;
    *n = 0;
    while (rc == 0 && at != end) {
        if (*n == cap) {
            cap = cap ? 2 * cap : 8;
            *peer = mem_resize(*peer, cap, sizeof **peer);
        }
        if (!next_line(&at, end, &line, &line_len) || !parse_peer(line, line_len, *peer + *n))
            rc = err_set(e, ERR_FORMAT, "line %zu is malformed", *n + 1);
        else
            (*n)++;
    }
    if (*n > 1)
        qsort(*peer, *n, sizeof **peer, by_id);
    for (size_t i = 1; rc == 0 && i < *n; i++)
        if (uuid_same(&(*peer)[i - 1].id, &(*peer)[i].id))
            rc = err_set(e, ERR_FORMAT, "names a member twice");
    if (rc < 0) {
        state_free_peers(*peer, *n);
        *peer = NULL;
        *n = 0;
    }
    return rc;
}

static struct store_peer *find_peer(const struct uuid *id, struct store_peer *peer, size_t n)
{
    const struct store_peer key = {.id = *id};
    return n ? bsearch(&key, peer, n, sizeof *peer, by_id) : NULL;
}

static size_t seen_line(char line[SEEN_LINE_MAX], const struct uuid *id, int64_t seen)
{
    char text[37];
    return (size_t)snprintf(line, SEEN_LINE_MAX, "%s %" PRId64, uuid_text(text, id), seen);
}

/* As it is written, with a time that is known, and of a later uuid than the line before. */
static bool parse_seen(const char *line, size_t len, struct uuid *id, int64_t *seen)
{
    char text[SEEN_LINE_MAX], again[SEEN_LINE_MAX];
    struct uuid last = *id;
    if (len < 38 || len >= sizeof text || !get_uuid(line, 36, id) || uuid_cmp(&last, id) >= 0)
        return false;
    memcpy(text, line, len);
    text[len] = '\0';
    *seen = strtoll(text + 36, NULL, 10);
    return *seen != 0 && *seen >= -ENTRY_TIME_MAX && *seen <= ENTRY_TIME_MAX && seen_line(again, id, *seen) == len &&
           memcmp(again, line, len) == 0;
}

int state_parse_seen(const char *text, size_t len, struct store_peer *peer, size_t n, struct err *e)
{
    const char *at = text, *end = text + len, *line;
    size_t line_len, lines = 0;
    struct uuid id = {{0}};
    int64_t seen;
    for (size_t i = 0; i < n; i++)
        peer[i].seen = 0;
    for (; at != end; lines++) {
        if (!next_line(&at, end, &line, &line_len) || !parse_seen(line, line_len, &id, &seen)) {
            for (size_t i = 0; i < n; i++)
                peer[i].seen = 0;
            return err_set(e, ERR_FORMAT, "line %zu is malformed", lines + 1);
        }
        struct store_peer *p = find_peer(&id, peer, n);
        if (p)
            p->seen = seen;
    }
    return 0;
}

/* ---- the directory ---- */

char *state_name(const char *path)
{
    struct buf b = {0};
    for (const char *p = path; *p; p++) {
        if (*p == '%' || *p == '=')
            buf_u8(&b, '='); /* else two roots could share a name */
        buf_u8(&b, *p == '/' ? '%' : (uint8_t)*p);
    }
    char *name;
    if (b.len <= NAME_LEN_MAX) {
        name = mem_strndup((const char *)b.data, b.len);
    } else {
        char hex[DIGEST_HEX_MAX + 1];
        struct digest d = digest_of(path, strlen(path));
        name = mem_strdup(digest_hex(hex, &d));
    }
    buf_free(&b);
    return name;
}

/* 1: opened, 0: not there (and not to be made), or an error. */
static int open_own(int dirfd, const char *name, bool create, int *fd, const char *shown, struct err *e)
{
    if (create && mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return err_sys(e, "%s: cannot keep the state of the store", shown);
    *fd = openat(dirfd, name, OPEN_DIR);
    if (*fd >= 0)
        return 1;
    if (errno == ENOENT && !create)
        return 0;
    if (errno == ENOTDIR || errno == ELOOP)
        return err_set(e, ERR_USAGE, "%s: is in the place of our directory, but is not one; move it away",
                       shown);
    return err_sys(e, "%s", shown);
}

/* Notes where a state directory lies if that is in the root, so that it is not taken for content. */
static int note_inside(struct state *s, const char *real_root, const char *real_dir, const struct stat *st,
                       struct err *e)
{
    size_t n = strlen(real_root);
    n = n == 1 ? 0 : n; /* "/" */
    if (strcmp(real_root, real_dir) == 0)
        return err_set(e, ERR_USAGE, "%s: the state directory must not be the root of the store", real_dir);
    if (strncmp(real_dir, real_root, n) == 0 && real_dir[n] == '/') {
        s->inside = mem_strdup(real_dir + n + 1);
        s->dev = st->st_dev;
        s->ino = st->st_ino;
    }
    return 0;
}

static int open_given(struct state *s, int root, const char *root_path, const char *state_dir, bool create,
                      struct err *e)
{
    struct stat rst, dst;
    char *real_root = realpath(root_path, NULL), *real_dir = NULL, *name = NULL;
    int rc = 0, dir = -1;
    if (!real_root) {
        rc = err_sys(e, "%s", root_path);
        goto out;
    }
    if (create && mkdir(state_dir, 0700) < 0 && errno != EEXIST) {
        rc = err_sys(e, "%s: cannot make the state directory", state_dir);
        goto out;
    }
    /* Not to be read: other stores' state is there too. */
    dir = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    real_dir = dir < 0 ? NULL : realpath(state_dir, NULL);
    if (!real_dir) {
        if (errno != ENOENT || create)
            rc = err_sys(e, "%s: state directory", state_dir);
        goto out;
    }
    if (fstat(root, &rst) < 0 || fstat(dir, &dst) < 0) {
        rc = err_sys(e, "%s", state_dir);
        goto out;
    }
    if (rst.st_dev != dst.st_dev) {
        rc = err_set(e, ERR_USAGE, "%s: the state directory must be on the file system of the store, %s",
                     state_dir,
                     root_path);
        goto out;
    }
    if ((rc = note_inside(s, real_root, real_dir, &dst, e)) < 0)
        goto out;
    name = state_name(real_root);
    free(s->shown);
    s->shown = mem_printf("%s/%s", state_dir, name);
    rc = open_own(dir, name, create, &s->fd, s->shown, e);
out:
    if (dir >= 0)
        close(dir);
    free(real_root);
    free(real_dir);
    free(name);
    return rc < 0 ? rc : 0;
}

static int check_same_fs(const struct state *s, int root, struct err *e)
{
    struct stat a, b;
    if (fstat(root, &a) < 0 || fstat(s->fd, &b) < 0)
        return err_sys(e, "%s", s->shown);
    if (a.st_dev != b.st_dev)
        return err_set(e, ERR_USAGE, "%s: is on another file system than the store", s->shown);
    return 0;
}

int state_open(struct state *s, int root, const char *root_path, const char *state_dir, bool create,
               struct err *e)
{
    int rc;
    *s = (struct state){.fd = -1, .shown = mem_printf("%s/%s", root_path, PATH_STATE)};
    if (state_dir)
        rc = open_given(s, root, root_path, state_dir, create, e);
    else
        rc = open_own(root, PATH_STATE, create, &s->fd, s->shown, e);
    if (rc >= 0 && s->fd >= 0)
        rc = check_same_fs(s, root, e);
    return rc < 0 ? rc : 0;
}

void state_close(struct state *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->shown);
    free(s->inside);
    *s = (struct state){.fd = -1};
}

/* ---- files ---- */

/* Text of a small file; NULL without an error when it is not there. */
static char *slurp(const struct state *s, const char *name, size_t max, size_t *len, int *rc, struct err *e)
{
    struct err why = {0};
    *rc = 0;
    char *text = s->fd >= 0 ? file_slurp(s->fd, name, max, len, &why) : NULL;
    if (text || s->fd < 0 || (why.code == ERR_SYS && why.sys == ENOENT))
        return text;
    if (e)
        *e = why;
    err_wrap(e, "%s", s->shown);
    *rc = why.code;
    return NULL;
}

int state_read_marker(const struct state *s, struct marker *m, struct err *e)
{
    size_t len;
    int rc;
    *m = (struct marker){0};
    char *text = slurp(s, MARKER, MARKER_MAX, &len, &rc, e);
    if (!text)
        return rc;
    rc = state_parse_marker(text, len, m, e);
    free(text);
    if (rc < 0)
        err_wrap(e, "%s/%s", s->shown, MARKER);
    return rc;
}

static int replace(const struct state *s, const char *name, struct buf *b, bool sync, struct err *e)
{
    int rc = file_replace(s->fd, name, b->data, b->len, sync, e);
    if (rc < 0)
        err_wrap(e, "%s", s->shown);
    return rc;
}

int state_write_marker(const struct state *s, const struct uuid *id, const char *group, bool sync,
                       struct err *e)
{
    struct buf b = {0};
    char text[37];
    uuid_text(text, id);
    buf_put(&b, MARKER_FIRST "\nid: ", strlen(MARKER_FIRST "\nid: "));
    buf_put(&b, text, 36);
    buf_put(&b, "\ngroup: ", 8);
    put_escaped(&b, group);
    buf_u8(&b, '\n');
    int rc = replace(s, MARKER, &b, sync, e);
    buf_free(&b);
    return rc;
}

int state_read_last(const struct state *s, int64_t *at)
{
    size_t len;
    int rc;
    struct err ignored;
    char *text = slurp(s, LAST, LAST_MAX, &len, &rc, &ignored);
    bool known = text && state_parse_last(text, len, at, &ignored) == 0;
    free(text);
    return known;
}

int state_write_last(const struct state *s, int64_t at, struct err *e)
{
    struct buf b = {0};
    char text[LAST_MAX];
    int n = snprintf(text, sizeof text, LAST_FIRST "%" PRId64 "\n", at);
    buf_put(&b, text, (size_t)n);
    int rc = replace(s, LAST, &b, false, e);
    buf_free(&b);
    return rc;
}

int state_read_peers(const struct state *s, struct store_peer **peer, size_t *n, struct err *e)
{
    size_t len;
    int rc;
    *peer = NULL;
    *n = 0;
    char *text = slurp(s, PEERS, PEERS_BYTES_MAX, &len, &rc, e);
    if (!text)
        return rc;
    rc = state_parse_peers(text, len, peer, n, e);
    free(text);
    if (rc < 0)
        err_wrap(e, "%s/%s", s->shown, PEERS);
    return rc;
}

static void put_peers(struct buf *b, const struct store_peer *peer, size_t n)
{
    char text[37];
    for (size_t i = 0; i < n; i++) {
        buf_put(b, uuid_text(text, &peer[i].id), 36);
        buf_u8(b, ' ');
        put_escaped(b, peer[i].address);
        buf_u8(b, '\n');
    }
}

/* One address is one store: what was there before is no longer expected. True when something was forgotten. */
static bool forget_predecessor(struct store_peer *list, size_t *n, const struct store_peer *peer)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (!uuid_same(&list[i].id, &peer->id) && strcmp(list[i].address, peer->address) == 0)
            free(list[i].address);
        else
            list[kept++] = list[i];
    bool gone = kept < *n;
    *n = kept;
    return gone;
}

/* Adds one to a sorted list, or renews its address. True when that made a difference. */
static bool remember(struct store_peer **list, size_t *n, const struct store_peer *peer)
{
    for (size_t i = 0; i < *n; i++) {
        struct store_peer *p = *list + i;
        if (!uuid_same(&p->id, &peer->id))
            continue;
        if (strcmp(p->address, peer->address) == 0)
            return false;
        free(p->address);
        p->address = mem_strdup(peer->address);
        return true;
    }
    if (*n >= PEERS_MAX)
        return false; /* a caller who makes up members must not push out those that we have met */
    *list = mem_resize(*list, *n + 1, sizeof **list);
    (*list)[(*n)++] = (struct store_peer){.id = peer->id, .address = mem_strdup(peer->address)};
    return true;
}

int state_remember_peers(const struct state *s, const struct store_peer *peer, size_t n, bool sync,
                         struct err *e)
{
    struct store_peer *list;
    size_t count;
    bool differs = false;
    int rc = state_read_peers(s, &list, &count, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        if (uuid_none(&peer[i].id) || !peer[i].address[0])
            continue;
        bool forgot = forget_predecessor(list, &count, peer + i);
        differs |= remember(&list, &count, peer + i) || forgot;
    }
    if (differs) {
        struct buf b = {0};
        qsort(list, count, sizeof *list, by_id);
        put_peers(&b, list, count);
        rc = replace(s, PEERS, &b, sync, e);
        buf_free(&b);
    }
    state_free_peers(list, count);
    return rc;
}

void state_read_seen(const struct state *s, struct store_peer *peer, size_t n)
{
    size_t len;
    int rc;
    struct err ignored;
    char *text = slurp(s, SEEN, SEEN_MAX, &len, &rc, &ignored);
    state_parse_seen(text ? text : "", text ? len : 0, peer, n, &ignored);
    free(text);
}

int state_write_seen(const struct state *s, const struct store_peer *met, size_t n, int64_t now, struct err *e)
{
    struct store_peer *list;
    struct buf b = {0};
    char line[SEEN_LINE_MAX];
    size_t count;
    int rc = state_read_peers(s, &list, &count, e);
    if (rc < 0)
        return rc;
    state_read_seen(s, list, count);
    for (size_t i = 0; i < n; i++) {
        struct store_peer *p = find_peer(&met[i].id, list, count);
        if (p)
            p->seen = now;
    }
    for (size_t i = 0; i < count; i++) {
        if (list[i].seen == 0)
            continue;
        buf_put(&b, line, seen_line(line, &list[i].id, list[i].seen));
        buf_u8(&b, '\n');
    }
    rc = replace(s, SEEN, &b, false, e);
    buf_free(&b);
    state_free_peers(list, count);
    return rc;
}

int state_file(const struct state *s, const char *name, struct err *e)
{
    struct stat st;
    if (s->fd < 0)
        return -1;
    int fd = openat(s->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return -1;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || errno == ELOOP || errno == ENXIO)
        err_set(e, ERR_FORMAT, "%s/%s: is in the place of our file, but is not one; move it away", s->shown,
                name);
    else
        err_sys(e, "%s/%s", s->shown, name);
    return -2;
}

int state_create(const struct state *s, const char *name, struct err *e)
{
    unlinkat(s->fd, name, 0);
    int fd = openat(s->fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(e, "%s/%s", s->shown, name) : fd;
}

void state_remove(const struct state *s, const char *name)
{
    unlinkat(s->fd, name, 0);
}

int state_adopt_manifest(const struct state *s, int fd, enum store_fsync fsync_how, struct err *e)
{
    bool sync = fsync_how != STORE_FSYNC_NONE;
    if ((sync && fsync(fd) < 0) || renameat(s->fd, STATE_MANIFEST_NEW, s->fd, STATE_MANIFEST) < 0 ||
        (sync && fsync(s->fd) < 0))
        return err_sys(e, "%s/%s", s->shown, STATE_MANIFEST);
    state_remove(s, STATE_JOURNAL);
    return 0;
}

/* ---- who holds the lock ---- */

static void put_command(struct buf *b)
{
    char line[256];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : file_read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 1)
        return;
    buf_put(b, " (", 2);
    for (ssize_t i = 0; i + 1 < n; i++)
        buf_u8(b, (unsigned char)line[i] < 0x20 || line[i] == 0x7f ? ' ' : (uint8_t)line[i]);
    buf_u8(b, ')');
}

static void host_name(char host[HOST_NAME_MAX + 1])
{
    if (gethostname(host, HOST_NAME_MAX) < 0 || !host[0])
        strcpy(host, "?");
    host[HOST_NAME_MAX] = '\0';
}

void state_hold(const struct state *s)
{
    char host[HOST_NAME_MAX + 1], when[64] = "?", start[HOST_NAME_MAX + 128];
    struct buf b = {0};
    struct tm tm;
    struct err ignored;
    time_t now = (time_t)clock_now().sec;
    host_name(host);
    if (gmtime_r(&now, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    int n = snprintf(start, sizeof start, "process %ld on %s since %s", (long)getpid(), host, when);
    buf_put(&b, start, (size_t)n);
    put_command(&b);
    buf_u8(&b, '\n');
    replace(s, HOLDER, &b, false, &ignored);
    buf_free(&b);
}

void state_let_go(const struct state *s)
{
    state_remove(s, HOLDER);
}

bool state_parse_holder(const char *text, size_t len, const char *host)
{
    char line[STATE_HOLDER_MAX], where[HOST_NAME_MAX + 1], when[64];
    long pid;
    if (len >= sizeof line || memchr(text, '\0', len))
        return false;
    memcpy(line, text, len);
    line[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            return false;
    if (sscanf(line, "process %9ld on %64s since %63s", &pid, where, when) != 3 || pid <= 0)
        return false;
    return strcmp(where, host) != 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

bool state_holder(const struct state *s, char text[STATE_HOLDER_MAX])
{
    char host[HOST_NAME_MAX + 1];
    struct err ignored;
    size_t len;
    int rc;
    char *all = slurp(s, HOLDER, STATE_HOLDER_MAX, &len, &rc, &ignored);
    host_name(host);
    bool ok = all && len > 0 && all[len - 1] == '\n' && state_parse_holder(all, len - 1, host);
    if (ok) {
        memcpy(text, all, len - 1);
        text[len - 1] = '\0';
    }
    free(all);
    return ok;
}
