/*
 * The target side of a directory store. Nothing that the scan did not see is ever
 * overwritten; content is verified before it takes its place; what it replaces goes to the trash.
 */
#ifndef STORE_PUT_H
#define STORE_PUT_H

#include "base/err.h"
#include "store/index.h"
#include "store/partial.h"
#include "store/store.h"
#include "store/trash.h"

struct put;

struct put_args {
    int root, state, manifest; /* borrowed, as all that follows; manifest is the scan's */
    int journal;               /* an empty file, owned from now on, also on failure */
    struct uuid id;
    int64_t verified;          /* when, as content that is put in place has it recorded */
    const char *forbidden;     /* a path that is no object, nor is what is below it; NULL: none */
    struct index **index;      /* of the manifest; made here when it is NULL and needed */
    struct trash *trash;
    struct partials *partials;
    enum store_fsync fsync;
    unsigned threads;          /* 0: as many as there are cores */
    const struct store_watch *watch;
    bool read_only, no_delete; /* as in struct store_options */
    bool cross;                /* as in struct store_rules */
};

/* Sets the process's umask to 0 until put_free, so that modes are exact from the start. NULL with e. */
struct put *put_new(const struct put_args *args, struct err *e);
void put_free(struct put *p); /* what was not flushed is given up, without loss */

/* As in struct store_ops. */
int put_apply(struct put *p, const struct store_op *op, struct err *e);
int put_begin(struct put *p, const struct store_op *op, struct err *e);
int put_keep(struct put *p, uint64_t n, struct err *e);
int put_data(struct put *p, const void *data, size_t n, struct err *e);
int put_end(struct put *p, const char *failed, struct err *e);
int put_flush(struct put *p, struct err *e);

/* Records that an entry of the manifest is damaged; its place is as it was. */
void put_damaged(struct put *p, const struct entry *have);

uint64_t put_done(const struct put *p);     /* operations in place so far */
uint64_t put_intents(const struct put *p);  /* what the journal knows of */

#endif
