/*
 * What a blob-server is about to lose is kept in the trash of its state first, since it has none itself; and what lies there goes
 * back to it. One object after the other: this is rare.
 */
#ifndef STORE_HTTP_TRASH_H
#define STORE_HTTP_TRASH_H

#include "store/blob_keep.h"
#include "store/http_client.h"
#include "store/http_try.h"
#include "store/store.h"

struct http_trash;

/* All borrowed. keep: as in struct trash_args. */
struct http_trash *http_trash_new(struct http_client *c, struct http_health *health, struct blob_keep *keep,
                                  const struct store_options *o, int64_t now, int64_t keep_for);
void http_trash_free(struct http_trash *t); /* NULL is fine */
struct trash *http_trash_own(struct http_trash *t); /* NULL: nothing was put there */

/* The object and its metadata, as the server gives them: 0, also where it has none; or an error, and it is not there whole. */
int http_trash_save(struct http_trash *t, const char *id, const char *reason, struct err *e);
/* It is not about to lose this one after all. */
void http_trash_forget(struct http_trash *t, const char *id);
/* As the store's function. What the server has by now under the same id is saved in turn. */
int http_trash_restore(struct http_trash *t, const char *run, uint64_t id, struct err *e);

#endif
