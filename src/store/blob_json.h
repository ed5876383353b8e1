/* The JSON of SoS's blob-servers: listings, and the sidecars of metadata. The store's one file that knows jansson. */
#ifndef STORE_BLOB_JSON_H
#define STORE_BLOB_JSON_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * A listing: an array of strings, and nothing else. each is called for every one, in its order; name is NUL-terminated but
 * may hold a NUL among its len bytes. ERR_FORMAT when it is anything else, or cut short.
 */
int blob_json_listing(const char *text, size_t len, void (*each)(void *ctx, const char *name, size_t len), void *ctx,
                      struct err *e);

/* A sidecar's fields, appended to out as "Name: value" and NUL each. ERR_FORMAT when it is no object of strings. */
int blob_json_sidecar(const char *text, size_t len, struct buf *out, struct err *e);

/*
 * The other way round, byte for byte as a server writes it: names as Go's net/textproto has them, sorted, the first of
 * each name; nothing is appended where there are none.
 */
void blob_json_put_sidecar(struct buf *out, const char *headers, size_t bytes);

#endif
