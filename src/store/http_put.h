/*
 * The target side of a blob-server: several objects are on their way at once, and each operation is reported in its turn.
 * An object's last bytes are held back until it has all come and is what its id says, so that the server never has one that is not.
 */
#ifndef STORE_HTTP_PUT_H
#define STORE_HTTP_PUT_H

#include "store/blob_keep.h"
#include "store/http_client.h"
#include "store/http_trash.h"
#include "store/http_try.h"
#include "store/store.h"

struct http_puts;

/* All borrowed. */
struct http_puts *http_puts_new(struct http_client *c, struct http_health *health, struct blob_keep *keep,
                                struct http_trash *trash, const struct store_options *o);
void http_puts_free(struct http_puts *p); /* breaks off what is under way; NULL is fine */

/* As the store's functions of these names. */
int http_puts_apply(struct http_puts *p, const struct store_op *op, struct err *e);
int http_puts_begin(struct http_puts *p, const struct store_op *op, struct err *e);
int http_puts_data(struct http_puts *p, const void *data, size_t n, struct err *e);
int http_puts_end(struct http_puts *p, const char *failed, struct err *e);
int http_puts_flush(struct http_puts *p, struct err *e);

/* After a turn: sees what has come of requests, and reports. */
void http_puts_settle(struct http_puts *p);

#endif
