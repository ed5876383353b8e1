/*
 * What the walk has seen but not yet put: files that wait for their digest, and whatever came behind the
 * first of them, since a manifest is written in order. Owns copies of all it is given, and
 * keeps the directories of its files open.
 */
#ifndef STORE_SCAN_BATCH_H
#define STORE_SCAN_BATCH_H

#include "store/history.h"
#include "store/scan_hash.h"

#define SCAN_BATCH_JOBS 1024u
#define SCAN_BATCH_ITEMS 4096u
#define SCAN_BATCH_DIRS 64u /* descriptors held by the batch alone, at most; there are two of them at a time */
#define SCAN_BATCH_BYTES (32u << 20)

/* An open directory, closed by its last user. Counted by the walk's thread only. */
struct scan_dir {
    int fd;
    unsigned users;
};

struct scan_dir *scan_batch_dir(int fd);  /* takes fd; the caller is its user */
void scan_batch_drop(struct scan_dir *d); /* one user less; NULL is allowed */

/* Entries of a batch have room for no more of the version than they use: copy them to change it. */
struct scan_item {
    struct entry *entry;  /* to be put as it is or, of a job, what stat saw */
    struct scan_job *job; /* NULL: none */
    struct history_at at; /* of a job */
};

struct scan_batch {
    struct scan_item item[SCAN_BATCH_ITEMS];
    struct scan_job job[SCAN_BATCH_JOBS];
    struct scan_dir *dir[SCAN_BATCH_DIRS];
    size_t items, jobs, dirs;
    uint64_t bytes; /* that the jobs are expected to read */
    struct scan_chunk *chunk; /* memory of the copies; the newest first */
};

struct scan_batch *scan_batch_new(void);
void scan_batch_free(struct scan_batch *b);
bool scan_batch_full(const struct scan_batch *b); /* then it must be cleared before more is added */
void scan_batch_clear(struct scan_batch *b);
void scan_batch_add(struct scan_batch *b, const struct entry *e);
/* A file of dir to be hashed, by both hashes with rehash; its name is the last component of the path. */
void scan_batch_add_job(struct scan_batch *b, const struct entry *seen, const struct history_at *at,
                        struct scan_dir *dir, bool rehash);

#endif
