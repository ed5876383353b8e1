/*
 * Digests of many files at a time, by several threads. Whoever calls does his share of the work,
 * and alone hears of progress. Threads are started when first there is work for two.
 */
#ifndef STORE_SCAN_HASH_H
#define STORE_SCAN_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "object/entry.h"
#include "store/recall.h"

enum scan_outcome {
    SCAN_HASHED,     /* seen has the digest, and is what stat says of the file that was read */
    SCAN_GONE,
    SCAN_UNSTEADY,   /* it changed each time while it was read */
    SCAN_UNREADABLE, /* sys tells why */
};

struct scan_job {
    int dir;            /* borrowed: a descriptor of the directory that holds it */
    const char *name;   /* in there */
    bool rehash;        /* its content is wanted by the other hash, too: in other */
    struct digest other;
    struct entry *seen; /* the file as scan_judge_stat saw it; only the worker touches it while a run lasts */
    enum scan_outcome outcome;
    int sys; /* errno */
};

/*
 * Called in scan_hash_finish, by its thread, often; bytes: read so far by all threads of the pool. <0
 * stops them.
 */
typedef int scan_tick(void *ctx, uint64_t bytes);

struct scan_pool;
/*
 * threads: all in all, the caller's too; 0: as many as there are cores. rate: bytes per second that all may read; 0: no limit.
 * recall gets what is small; borrowed, NULL: nobody wants it.
 */
struct scan_pool *scan_hash_new(enum digest_algo algo, unsigned threads, uint64_t rate, struct recall *recall, scan_tick *tick,
                                void *ctx);
void scan_hash_free(struct scan_pool *pool);

/* The other threads begin with these jobs, while the caller does something else. The jobs stay where they are until: */
void scan_hash_begin(struct scan_pool *pool, struct scan_job *job, size_t jobs);
/* 0 when every job of the last begin has an outcome, or what tick returned: outcomes mean nothing then. */
int scan_hash_finish(struct scan_pool *pool);

#endif
