/*
 * Requests to one HTTP server, several at a time over connections that are kept open. Nothing blocks but
 * http_client_turn: it moves what can be moved, and waits where nothing can. The one file that knows libcurl.
 */
#ifndef STORE_HTTP_CLIENT_H
#define STORE_HTTP_CLIENT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct http_client;
struct http_request;

/* base: scheme, host, port and path, without a '/' at the end. NULL with e. */
struct http_client *http_client_new(const char *base, struct err *e);
void http_client_free(struct http_client *c); /* requests are to be freed before */

/*
 * Waits at most so many ms until something can be moved or one of n descriptors is ready, and moves it; p is as of
 * poll(2) and may be NULL. What poll would return for p.
 */
int http_client_turn(struct http_client *c, struct pollfd *p, unsigned n, int timeout);

enum http_method { HTTP_GET, HTTP_POST, HTTP_DELETE };

#define HTTP_LENGTH_UNKNOWN UINT64_MAX
#define HTTP_HEADERS_MAX (256u * 1024u) /* bytes of X- headers, names and values with their ends */

struct http_ask {
    enum http_method method;
    const char *path;        /* behind the base, with its first '/' */
    const char *headers;     /* "Name: value" lines, each ended by a NUL, and an empty one; NULL: none */
    const void *body;        /* HTTP_POST: all of it, borrowed until the request is freed; */
    size_t body_len;
    bool stream;             /* or it comes by http_request_feed, */
    uint64_t length;         /* so many bytes, or HTTP_LENGTH_UNKNOWN */
    size_t hold;             /* bytes of the answer that may wait to be taken; 0: all that comes, */
    size_t most;             /* up to this many: more is an error; 0: no limit */
};

/* Begins it. All but the body is copied. Never NULL: what goes wrong shows later. */
struct http_request *http_request_new(struct http_client *c, const struct http_ask *ask);
void http_request_free(struct http_request *r); /* one that is under way is broken off; NULL is fine */

/* ---- the answer ---- */

bool http_request_begun(const struct http_request *r); /* status and headers have come */
bool http_request_over(const struct http_request *r);  /* nothing more will happen */
int http_request_status(const struct http_request *r); /* once begun */
uint64_t http_request_length(const struct http_request *r); /* of the body, as announced, or HTTP_LENGTH_UNKNOWN */
/*
 * Once over: 0: the answer has come whole, whatever its status; ERR_PROTO with the reason. *refused: no connection was
 * made, so nothing was asked.
 */
int http_request_failed(const struct http_request *r, bool *refused, struct err *e);
int64_t http_request_modified(const struct http_request *r); /* Last-Modified: seconds since 1970; 0: not said */
const char *http_request_location(const struct http_request *r); /* where a redirection leads, as it is shown; "" for none */
unsigned http_request_retry_after(const struct http_request *r); /* seconds; 0: not said */
/* X- headers in the order they came, the first of each name, as in struct http_ask; valid until r is freed. */
const char *http_request_headers(const struct http_request *r, size_t *bytes);

/* What of the body has come and was not taken. Valid until the next turn or take. */
const uint8_t *http_request_body(const struct http_request *r, size_t *n);
void http_request_take(struct http_request *r, size_t n);

/* ---- a body that comes in pieces ---- */

void http_request_feed(struct http_request *r, const void *p, size_t n);
void http_request_feed_end(struct http_request *r);
size_t http_request_unsent(const struct http_request *r); /* bytes that were fed and have not gone */

/* "404 Not Found", into out. */
const char *http_status_text(int status, char *out, size_t size);

#endif
