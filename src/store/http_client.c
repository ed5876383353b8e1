#include "store/http_client.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/path.h"

/* Its macros would check types at curl_easy_setopt, which is not what is called here. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_SECONDS 15L
#define SILENT_SECONDS 60L  /* without a byte either way */
#define CONNECTIONS_KEPT 32L
#define BUFFER_BYTES (128L * 1024L)
#define SPARES 16u
#define NEVER INT64_MAX

/*
 * libcurl is opened when it is first needed: it brings some twenty-five libraries along, which would cost each process of ours,
 * most of which never speak HTTP, 5 ms at its start.
 */
#define LIBCURL "libcurl.so.4"
#define EACH_CALL(X) \
    X(global_init) X(global_cleanup) X(easy_init) X(easy_cleanup) X(easy_setopt) X(easy_getinfo) X(easy_pause) \
    X(easy_strerror) X(slist_append) X(slist_free_all) X(multi_init) X(multi_cleanup) X(multi_setopt) X(getdate) \
    X(multi_add_handle) X(multi_remove_handle) X(multi_socket_action) X(multi_info_read) X(multi_strerror)

struct curl_calls {
#define AS_MEMBER(name) __typeof__(curl_##name) *name;
    EACH_CALL(AS_MEMBER)
};

/*
 * libcurl tells which sockets it waits for and when it wants to be called again; it is called only for what is ready,
 * since to look at every request at each turn costs more than the requests themselves.
 */
struct http_client {
    struct curl_calls curl;
    CURLM *multi;
    struct pollfd *wait; /* libcurl's sockets */
    unsigned waits, cap;
    struct pollfd *turn; /* what the turn that is under way polls */
    int64_t due;         /* ms: when libcurl wants to be called; NEVER */
    CURL *spare[SPARES]; /* handles that were used */
    unsigned spares;
    char *base;
    const char *authorities; /* file of certificates, from the environment; NULL: the system's */
};

struct http_request {
    struct http_client *client;
    CURL *easy;
    struct curl_slist *list; /* headers of the request */
    bool stream, fed_all, sending_waits; /* the body's next piece is waited for */
    struct buf feed;
    size_t fed_sent;         /* bytes at the front of feed that have gone */

    bool begun, over, receiving_waits; /* until what has come is taken */
    bool ours;               /* broken off by us: why says it */
    bool chunked;
    bool coded;              /* it came compressed: its length is not that of what we get */
    char location[128];      /* of a redirection; "" for none */
    int status;
    uint64_t length;
    unsigned retry_after;
    int64_t modified;
    size_t hold, most;
    struct buf headers;      /* "Name: value" and NUL, each */
    struct buf body;
    size_t taken;            /* bytes at its front */
    CURLcode result;
    char why[CURL_ERROR_SIZE];
};

/* ---- what libcurl waits for ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *own)
{
    struct http_client *c = ctx;
    unsigned i = 0;
    (void)easy;
    (void)own;
    while (i < c->waits && c->wait[i].fd != fd)
        i++;
    if (what == CURL_POLL_REMOVE) {
        if (i < c->waits)
            c->wait[i] = c->wait[--c->waits];
        return 0;
    }
    if (i == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 32;
        c->wait = mem_resize(c->wait, c->cap, sizeof *c->wait);
    }
    if (i == c->waits)
        c->waits++;
    c->wait[i] = (struct pollfd){.fd = fd, .events = (short)((what & CURL_POLL_IN ? POLLIN : 0) |
                                                             (what & CURL_POLL_OUT ? POLLOUT : 0))};
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *ctx)
{
    struct http_client *c = ctx;
    (void)multi;
    c->due = ms < 0 ? NEVER : clock_mono_ms() + ms;
    return 0;
}

/* It stays open: nothing is gained by closing it before the process ends. */
static int open_libcurl(struct curl_calls *to, struct err *e)
{
    void *lib = dlopen(LIBCURL, RTLD_LAZY | RTLD_LOCAL);
    if (!lib)
        return err_set(e, ERR_SYS, "members by HTTP need libcurl: %s", dlerror());
#define FIND(name) to->name = (__typeof__(to->name))dlsym(lib, "curl_" #name);
    EACH_CALL(FIND)
#define OR_MISSING(name) || !to->name
    return false EACH_CALL(OR_MISSING) ? err_set(e, ERR_SYS, LIBCURL " is too old") : 0;
}

struct http_client *http_client_new(const char *base, struct err *e)
{
    struct http_client *c = mem_zalloc(sizeof *c);
    if (open_libcurl(&c->curl, e) < 0) {
        free(c);
        return NULL;
    }
    if (c->curl.global_init(CURL_GLOBAL_DEFAULT) != 0 || !(c->multi = c->curl.multi_init())) {
        free(c);
        err_set(e, ERR_SYS, "libcurl cannot be used");
        return NULL;
    }
    c->due = NEVER;
    c->curl.multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
    c->curl.multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    c->curl.multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    c->curl.multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    c->curl.multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    c->base = mem_strdup(base);
    c->authorities = getenv("CURL_CA_BUNDLE");
    if (!c->authorities || !*c->authorities)
        c->authorities = getenv("SSL_CERT_FILE");
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    while (c->spares > 0)
        c->curl.easy_cleanup(c->spare[--c->spares]);
    c->curl.multi_cleanup(c->multi);
    c->curl.global_cleanup();
    free(c->wait);
    free(c->turn);
    free(c->base);
    free(c);
}

/* ---- what libcurl calls ---- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct http_request *r = ctx;
    size_t have = r->body.len - r->taken;
    n *= size;
    if (r->most && have + n > r->most) {
        snprintf(r->why, sizeof r->why, "the answer is longer than %zu bytes", r->most);
        r->ours = true;
        return n + 1; /* which is an error to libcurl */
    }
    if (r->hold && have > 0 && have + n > r->hold) {
        r->receiving_waits = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (r->taken > r->hold / 2) {
        buf_drop(&r->body, r->taken);
        r->taken = 0;
    }
    buf_put(&r->body, p, n);
    return n;
}

static size_t on_send(char *out, size_t size, size_t n, void *ctx)
{
    struct http_request *r = ctx;
    size_t have = r->feed.len - r->fed_sent;
    n *= size;
    if (have == 0 && !r->fed_all) {
        r->sending_waits = true;
        return CURL_READFUNC_PAUSE;
    }
    n = have < n ? have : n;
    if (n > 0)
        memcpy(out, r->feed.data + r->fed_sent, n);
    r->fed_sent += n;
    if (r->fed_sent == r->feed.len)
        r->feed.len = r->fed_sent = 0;
    return n;
}

/* The value of a header line if it has this name, else NULL; *n without blanks at either end. */
static const char *value_of(const char *p, size_t len, const char *name, size_t *n)
{
    size_t k = strlen(name);
    if (len <= k || strncasecmp(p, name, k) != 0 || p[k] != ':')
        return NULL;
    const char *end = p + len;
    for (p += k + 1; p < end && (*p == ' ' || *p == '\t'); p++)
        ;
    while (end > p && strchr(" \t\r\n", end[-1]))
        end--;
    *n = (size_t)(end - p);
    return p;
}

static bool has_header(const struct http_request *r, const char *name, size_t n)
{
    size_t at = 0;
    for (const char *line; at < r->headers.len; at += strlen(line) + 1) {
        line = (const char *)r->headers.data + at;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':')
            return true;
    }
    return false;
}

/* An X- header; the first of its name counts. What cannot be one is passed over. */
static void keep_header(struct http_request *r, const char *p, size_t len)
{
    const char *colon = memchr(p, ':', len);
    size_t name = colon ? (size_t)(colon - p) : 0, n;
    const char *value = colon ? value_of(p, len, "", &n) : NULL;
    if (!colon || name < 2 || memchr(p, '\0', len) || has_header(r, p, name))
        return;
    char *label = mem_strndup(p, name);
    value = value_of(p, len, label, &n);
    free(label);
    if (!value || r->headers.len + name + n + 3 > HTTP_HEADERS_MAX)
        return;
    buf_put(&r->headers, p, name);
    buf_put(&r->headers, ": ", 2);
    buf_put(&r->headers, value, n);
    buf_u8(&r->headers, '\0');
}

/* Like "Sun, 06 Nov 1994 08:49:37 GMT". What cannot be read is passed over. */
static int64_t date_of(const struct curl_calls *curl, const char *value, size_t n)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : 0), value);
    time_t at = curl->getdate(text, NULL);
    return at > 0 ? at : 0;
}

/* Seconds, or a point in time. */
static unsigned wait_of(const struct curl_calls *curl, const char *value, size_t n)
{
    if (n > 0 && n < 6 && *value >= '0' && *value <= '9')
        return (unsigned)strtoul(value, NULL, 10);
    int64_t until = date_of(curl, value, n) - clock_now().sec;
    return until > 0 && until < 86400 ? (unsigned)until : 0;
}

static void new_answer(struct http_request *r)
{
    r->headers.len = 0;
    r->chunked = r->coded = false;
    r->location[0] = '\0';
    r->retry_after = 0;
    r->modified = 0;
}

/* "HTTP/1.1 100 Continue" and its like are not the answer yet. */
static void end_of_headers(struct http_request *r)
{
    long status = 0;
    curl_off_t length = -1;
    r->client->curl.easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return;
    r->client->curl.easy_getinfo(r->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    r->status = (int)status;
    r->length = length < 0 ? HTTP_LENGTH_UNKNOWN : (uint64_t)length;
    r->begun = true;
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct http_request *r = ctx;
    const char *value;
    size_t len;
    n *= size;
    if (r->begun)
        return n; /* trailers */
    if (n >= 5 && memcmp(p, "HTTP/", 5) == 0)
        new_answer(r);
    else if (n <= 2)
        end_of_headers(r);
    else if (strncasecmp(p, "x-", 2) == 0)
        keep_header(r, p, n);
    else if ((value = value_of(p, n, "Retry-After", &len)))
        r->retry_after = wait_of(&r->client->curl, value, len);
    else if ((value = value_of(p, n, "Content-Encoding", &len)))
        r->coded = len > 0 && !(len == 8 && strncasecmp(value, "identity", 8) == 0);
    else if ((value = value_of(p, n, "Location", &len)))
        path_show(r->location, sizeof r->location, value, len);
    else if ((value = value_of(p, n, "Last-Modified", &len)))
        r->modified = date_of(&r->client->curl, value, len);
    else if ((value = value_of(p, n, "Transfer-Encoding", &len)) && len >= 7)
        r->chunked = strncasecmp(value + len - 7, "chunked", 7) == 0;
    return n;
}

/* ---- requests ---- */

static void add_header(struct http_request *r, const char *line)
{
    /* libcurl takes "Name:" as a wish to leave it out; an empty value is said with a semicolon. */
    size_t n = strlen(line);
    char *text = n > 2 && strcmp(line + n - 2, ": ") == 0 ? mem_printf("%.*s;", (int)n - 2, line) : mem_strdup(line);
    r->list = r->client->curl.slist_append(r->list, text);
    free(text);
}

static void set_body(struct http_request *r, const struct http_ask *ask)
{
    r->client->curl.easy_setopt(r->easy, CURLOPT_POST, 1L);
    add_header(r, "Expect:");
    add_header(r, "Content-Type: application/octet-stream");
    if (!ask->stream) {
        r->client->curl.easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body_len);
        r->client->curl.easy_setopt(r->easy, CURLOPT_POSTFIELDS, ask->body_len ? ask->body : "");
        return;
    }
    r->stream = true;
    if (ask->length == HTTP_LENGTH_UNKNOWN)
        add_header(r, "Transfer-Encoding: chunked");
    else
        r->client->curl.easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->length);
}

/* What all requests have in common: a handle keeps it. */
static CURL *new_handle(const struct http_client *c)
{
    CURL *easy = c->curl.easy_init();
    if (!easy)
        abort(); /* out of memory, as everywhere */
    c->curl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    c->curl.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    c->curl.easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    c->curl.easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    c->curl.easy_setopt(easy, CURLOPT_USERAGENT, "sos-sync");
    c->curl.easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    c->curl.easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    c->curl.easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SILENT_SECONDS);
    c->curl.easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    c->curl.easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "identity"); /* what comes compressed all the same is undone */
    c->curl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    c->curl.easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    c->curl.easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
    if (c->authorities)
        c->curl.easy_setopt(easy, CURLOPT_CAINFO, c->authorities);
    return easy;
}

/* All that differs from request to request, for the handle may have been used. */
static void set_request(struct http_request *r, const struct http_ask *ask)
{
    const struct curl_calls *curl = &r->client->curl;
    char *url = mem_printf("%s%s", r->client->base, ask->path);
    curl->easy_setopt(r->easy, CURLOPT_URL, url);
    free(url);
    curl->easy_setopt(r->easy, CURLOPT_PRIVATE, r);
    curl->easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->why);
    curl->easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    curl->easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
    curl->easy_setopt(r->easy, CURLOPT_READDATA, r);
    curl->easy_setopt(r->easy, CURLOPT_POSTFIELDS, NULL);
    curl->easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)-1);
    curl->easy_setopt(r->easy, CURLOPT_HTTPGET, 1L);
    curl->easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, ask->method == HTTP_DELETE ? "DELETE" : NULL);
    add_header(r, "Accept:"); /* libcurl's own line says nothing, and is read by the server at each request */
    if (ask->method == HTTP_POST)
        set_body(r, ask);
    for (const char *at = ask->headers; at && *at; at += strlen(at) + 1)
        add_header(r, at);
    curl->easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->list);
}

struct http_request *http_request_new(struct http_client *c, const struct http_ask *ask)
{
    struct http_request *r = mem_zalloc(sizeof *r);
    r->client = c;
    r->length = HTTP_LENGTH_UNKNOWN;
    r->hold = ask->hold;
    r->most = ask->most;
    r->easy = c->spares > 0 ? c->spare[--c->spares] : new_handle(c);
    set_request(r, ask);
    CURLMcode rc = c->curl.multi_add_handle(c->multi, r->easy);
    if (rc != CURLM_OK) {
        r->over = r->ours = true;
        snprintf(r->why, sizeof r->why, "%s", c->curl.multi_strerror(rc));
    }
    return r;
}

static void give_back(struct http_client *c, CURL *easy)
{
    c->curl.multi_remove_handle(c->multi, easy);
    if (c->spares == SPARES) {
        c->curl.easy_cleanup(easy);
        return;
    }
    c->spare[c->spares++] = easy;
}

void http_request_free(struct http_request *r)
{
    if (!r)
        return;
    give_back(r->client, r->easy);
    r->client->curl.slist_free_all(r->list);
    buf_free(&r->feed);
    buf_free(&r->headers);
    buf_free(&r->body);
    free(r);
}

/* ---- turns ---- */

static bool settle(struct http_client *c)
{
    CURLMsg *m;
    int left;
    bool any = false;
    while ((m = c->curl.multi_info_read(c->multi, &left))) {
        struct http_request *r;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode result = m->data.result;
        c->curl.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
        r->result = result;
        r->over = any = true;
        c->curl.multi_remove_handle(c->multi, r->easy); /* its connection is free for the next one */
    }
    return any;
}

static bool move_due(struct http_client *c)
{
    int running;
    if (c->due == NEVER || clock_mono_ms() < c->due)
        return false;
    c->due = NEVER; /* unless it says otherwise */
    c->curl.multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    return settle(c);
}

static bool move_ready(struct http_client *c, const struct pollfd *at, unsigned n)
{
    int running;
    for (unsigned i = 0; i < n; i++) {
        int what = (at[i].revents & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) |
                   (at[i].revents & POLLOUT ? CURL_CSELECT_OUT : 0) | (at[i].revents & POLLERR ? CURL_CSELECT_ERR : 0);
        if (what)
            c->curl.multi_socket_action(c->multi, at[i].fd, what, &running);
    }
    return settle(c);
}

static int at_most(const struct http_client *c, int timeout)
{
    int64_t left = c->due == NEVER ? timeout : c->due - clock_mono_ms();
    return left >= timeout ? timeout : left > 0 ? (int)left : 0;
}

int http_client_turn(struct http_client *c, struct pollfd *p, unsigned n, int timeout)
{
    int found = 0;
    if (move_due(c))
        timeout = 0;
    /* A copy: sockets come and go while what is ready is moved. */
    unsigned waits = c->waits;
    c->turn = mem_resize(c->turn, n + waits + 1, sizeof *c->turn);
    memcpy(c->turn, c->wait, waits * sizeof *c->turn);
    memcpy(c->turn + waits, p, n * sizeof *c->turn);
    int ready = poll(c->turn, n + waits, at_most(c, timeout));
    for (unsigned i = 0; i < n; i++) {
        p[i].revents = ready > 0 ? c->turn[waits + i].revents : 0;
        found += p[i].revents != 0;
    }
    if (ready > 0)
        move_ready(c, c->turn, waits);
    move_due(c);
    return found;
}

/* ---- the answer ---- */

bool http_request_begun(const struct http_request *r)
{
    return r->begun;
}

bool http_request_over(const struct http_request *r)
{
    return r->over;
}

int http_request_status(const struct http_request *r)
{
    return r->status;
}

uint64_t http_request_length(const struct http_request *r)
{
    return r->coded ? HTTP_LENGTH_UNKNOWN : r->length;
}

const char *http_request_location(const struct http_request *r)
{
    return r->location;
}

unsigned http_request_retry_after(const struct http_request *r)
{
    return r->retry_after;
}

int64_t http_request_modified(const struct http_request *r)
{
    return r->modified;
}

const char *http_request_headers(const struct http_request *r, size_t *bytes)
{
    *bytes = r->headers.len;
    return (const char *)r->headers.data;
}

static bool no_body(const struct http_request *r)
{
    return r->status == 204 || r->status == 304;
}

int http_request_failed(const struct http_request *r, bool *refused, struct err *e)
{
    *refused = r->result == CURLE_COULDNT_RESOLVE_HOST || r->result == CURLE_COULDNT_CONNECT ||
               r->result == CURLE_COULDNT_RESOLVE_PROXY || r->result == CURLE_SSL_CONNECT_ERROR ||
               r->result == CURLE_PEER_FAILED_VERIFICATION;
    if (r->ours || r->result != CURLE_OK)
        return err_set(e, ERR_PROTO, "%s", r->why[0] ? r->why : r->client->curl.easy_strerror(r->result));
    if (!r->begun)
        return err_set(e, ERR_PROTO, "the connection ended without an answer");
    if (r->length == HTTP_LENGTH_UNKNOWN && !r->chunked && !no_body(r))
        return err_set(e, ERR_PROTO, "the answer has neither a length nor a final chunk, so it may have been cut short");
    return 0;
}

const uint8_t *http_request_body(const struct http_request *r, size_t *n)
{
    *n = r->body.len - r->taken;
    return *n ? r->body.data + r->taken : (const uint8_t *)"";
}

void http_request_take(struct http_request *r, size_t n)
{
    r->taken += n;
    if (r->taken == r->body.len)
        r->body.len = r->taken = 0;
    if (r->receiving_waits && r->body.len == 0) {
        r->receiving_waits = false;
        r->client->curl.easy_pause(r->easy, r->sending_waits ? CURLPAUSE_SEND : CURLPAUSE_CONT);
    }
}

/* ---- a body in pieces ---- */

static void go_on_sending(struct http_request *r)
{
    if (!r->sending_waits || r->over)
        return;
    r->sending_waits = false;
    r->client->curl.easy_pause(r->easy, r->receiving_waits ? CURLPAUSE_RECV : CURLPAUSE_CONT);
}

void http_request_feed(struct http_request *r, const void *p, size_t n)
{
    if (r->fed_sent > 0) {
        buf_drop(&r->feed, r->fed_sent);
        r->fed_sent = 0;
    }
    buf_put(&r->feed, p, n);
    go_on_sending(r);
}

void http_request_feed_end(struct http_request *r)
{
    r->fed_all = true;
    go_on_sending(r);
}

size_t http_request_unsent(const struct http_request *r)
{
    return r->over ? 0 : r->feed.len - r->fed_sent;
}

/* ---- words ---- */

const char *http_status_text(int status, char *out, size_t size)
{
    static const struct { int status; const char *text; } known[] = {
        {301, "Moved Permanently"}, {302, "Found"}, {307, "Temporary Redirect"}, {308, "Permanent Redirect"},
        {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
        {405, "Method Not Allowed"}, {411, "Length Required"}, {413, "Content Too Large"},
        {429, "Too Many Requests"}, {500, "Internal Server Error"}, {502, "Bad Gateway"},
        {503, "Service Unavailable"}, {504, "Gateway Timeout"}, {507, "Insufficient Storage"},
    };
    snprintf(out, size, "%d", status);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            snprintf(out, size, "%d %s", status, known[i].text);
    return out;
}
