/*
 * The target side of a directory of blobs. Objects are written under temporary names, made durable in batches, and
 * only then get their own: a server over the directory never sees half of one. What is replaced or removed goes to the trash.
 */
#ifndef STORE_FLAT_PUT_H
#define STORE_FLAT_PUT_H

#include "store/blob_keep.h"
#include "store/store.h"

/* All borrowed. */
struct flat_puts_args {
    int root;
    struct blob_keep *keep;
    const struct store_options *o;
    int64_t now, trash;    /* of struct store_rules */
};

struct flat_puts;

struct flat_puts *flat_puts_new(const struct flat_puts_args *args);
void flat_puts_free(struct flat_puts *p); /* gives up what is unfinished; NULL is fine */

/* As the store's functions of these names. */
int flat_puts_apply(struct flat_puts *p, const struct store_op *op, struct err *e);
void flat_puts_begin(struct flat_puts *p, const struct store_op *op);
void flat_puts_data(struct flat_puts *p, const void *data, size_t n);
int flat_puts_end(struct flat_puts *p, const char *failed, struct err *e);
int flat_puts_flush(struct flat_puts *p, struct err *e);
struct trash *flat_puts_trash(struct flat_puts *p); /* that this run has used; NULL: none */

#endif
