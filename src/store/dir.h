/*
 * A directory as a store, in four parts: dir.c opens and closes it, dir_scan.c finds out what it holds, dir_give.c hands that out,
 * and dir_take.c takes in what others have. What they share; nobody else includes this.
 */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include "base/file.h"
#include "store/index.h"
#include "store/lookup.h"
#include "store/partial.h"
#include "store/put.h"
#include "store/recall.h"
#include "store/state.h"
#include "store/store.h"
#include "store/trash.h"

#define DIR_OPEN_SOURCE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

struct look; /* of dir_scan.c: a walk, and what came of it */

struct dir {
    struct store store; /* first */
    struct store_options o;
    int64_t moment;     /* seconds since 1970: of this run, by the coordinator's clock if it said so */
    int root;           /* carries the lock; -1 when there is no root */
    struct state state;
    bool holds;         /* the lock, and the state says so */
    struct uuid id;
    struct look *early; /* made before the scan was asked for; NULL: none */
    int manifest;       /* the scan's; after the commit, what that recorded */
    int before;         /* the one recorded before that, which others may still read; -1: none */
    struct index *index;
    struct trash *trash;
    struct put *put;    /* from the first operation on */
    bool added;         /* it has put what the manifest does not have yet */
    struct partials *partials; /* from the scan on */
    struct recall *recall; /* NULL: nobody would ask */
    struct lookup *asked; /* the source side's */
    struct lookup *own;   /* the target side's, for bases */
    struct file_dirs *from;
    struct digest_state *hash; /* NULL until something is read at once */
};

static inline struct dir *dir_of(struct store *s)
{
    return (struct dir *)s;
}

static inline bool dir_synced(const struct dir *d)
{
    return d->o.fsync != STORE_FSYNC_NONE;
}

/* ---- dir.c ---- */

int dir_open_root(struct dir *d, struct err *e); /* 0, also when it is not there; then d->root stays -1 */
void dir_hold(struct dir *d);                    /* the state says who has the lock */

/* ---- dir_scan.c: as in struct store_ops, as all that is not said otherwise ---- */

void dir_look(struct store *s, const struct uuid *id);
int dir_scan(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e);
void dir_look_free(struct look *l); /* NULL is allowed */
/* keep: seconds, as said by whoever drives the run; nothing expires where he is not to take anything away. Caller frees. */
struct trash *dir_new_trash(const struct dir *d, int64_t now, int64_t keep);

/* ---- dir_give.c ---- */

int dir_lend(struct store *s, struct err *e);
int dir_have(struct store *s, const struct digest *digest, size_t n, uint8_t *have, struct err *e);
int dir_read_open(struct store *s, const struct entry *want, struct err *e);
int dir_read_file(struct store *s, const struct entry *want, void *buf, struct err *e);
int dir_read_link(struct store *s, const struct entry *want, char *target, size_t size, struct err *e);
/* The directory of an object (borrowed until the next call) and its leaf. */
int dir_parent_of(struct dir *d, const struct entry *e, const char **leaf);
/* The same, of what the manifest offers. */
int dir_find_source(struct dir *d, const struct entry *want, const char **leaf, struct err *e);
bool dir_is_content(struct dir *d, const struct entry *want, const void *p, size_t n);

/* ---- dir_take.c ---- */

int dir_check(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e);
int dir_apply(struct store *s, const struct store_op *op, struct err *e);
int dir_put_begin(struct store *s, const struct store_op *op, struct err *e);
int dir_partial(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e);
int dir_basis(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e);
int dir_put_keep(struct store *s, uint64_t n, struct err *e);
int dir_put_data(struct store *s, const void *p, size_t n, struct err *e);
int dir_put_end(struct store *s, const char *failed, struct err *e);
int dir_flush(struct store *s, struct err *e);
int dir_commit(struct store *s, const struct store_peer *peer, size_t peers, struct err *e);

#endif
