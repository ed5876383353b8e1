#include "store/scan_batch.h"

#include "base/mem.h"
#include "base/path.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_SIZE (128u << 10)

struct scan_chunk {
    struct scan_chunk *next;
    size_t used;
    _Alignas(16) char bytes[CHUNK_SIZE];
};

struct scan_dir *scan_batch_dir(int fd)
{
    struct scan_dir *d = mem_alloc(sizeof *d);
    *d = (struct scan_dir){fd, 1};
    return d;
}

void scan_batch_drop(struct scan_dir *d)
{
    if (!d || --d->users > 0)
        return;
    close(d->fd);
    free(d);
}

struct scan_batch *scan_batch_new(void)
{
    struct scan_batch *b = mem_alloc(sizeof *b);
    b->items = b->jobs = b->dirs = 0;
    b->bytes = 0;
    b->chunk = NULL;
    return b;
}

static void free_chunks(struct scan_chunk *c)
{
    while (c) {
        struct scan_chunk *next = c->next;
        free(c);
        c = next;
    }
}

void scan_batch_free(struct scan_batch *b)
{
    if (!b)
        return;
    scan_batch_clear(b);
    free_chunks(b->chunk);
    free(b);
}

void scan_batch_clear(struct scan_batch *b)
{
    for (size_t i = 0; i < b->dirs; i++)
        scan_batch_drop(b->dir[i]);
    b->items = b->jobs = b->dirs = 0;
    b->bytes = 0;
    if (b->chunk) {
        free_chunks(b->chunk->next);
        b->chunk->next = NULL;
        b->chunk->used = 0;
    }
}

bool scan_batch_full(const struct scan_batch *b)
{
    return b->items == SCAN_BATCH_ITEMS || b->jobs == SCAN_BATCH_JOBS || b->dirs == SCAN_BATCH_DIRS ||
           b->bytes >= SCAN_BATCH_BYTES;
}

/* n: far below CHUNK_SIZE */
static void *room(struct scan_batch *b, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (!b->chunk || CHUNK_SIZE - b->chunk->used < n) {
        struct scan_chunk *c = mem_alloc(sizeof *c);
        c->next = b->chunk;
        c->used = 0;
        b->chunk = c;
    }
    void *p = b->chunk->bytes + b->chunk->used;
    b->chunk->used += n;
    return p;
}

/* path NULL: another entry of the batch lends its own. */
static struct entry *keep(struct scan_batch *b, const struct entry *e, const char *path)
{
    size_t size = offsetof(struct entry, version.item) + e->version.n * sizeof e->version.item[0];
    struct entry *copy = room(b, size);
    entry_copy(copy, e);
    if (!path) {
        char *own = room(b, e->path_len + 1);
        memcpy(own, e->path, e->path_len);
        own[e->path_len] = '\0';
        path = own;
    }
    copy->path = path;
    return copy;
}

static struct scan_item *add_item(struct scan_batch *b, const struct entry *e)
{
    struct scan_item *item = &b->item[b->items++];
    *item = (struct scan_item){keep(b, e, NULL), NULL, {NULL, NULL}};
    return item;
}

void scan_batch_add(struct scan_batch *b, const struct entry *e)
{
    add_item(b, e);
}

void scan_batch_add_job(struct scan_batch *b, const struct entry *seen, const struct history_at *at,
                        struct scan_dir *dir, bool rehash)
{
    struct scan_item *item = add_item(b, seen);
    const char *path = item->entry->path;
    size_t parent = path_parent(path, seen->path_len);
    if (at->recorded)
        item->at.recorded = keep(b, at->recorded, path);
    if (at->intent)
        item->at.intent = keep(b, at->intent, path);
    if (b->dirs == 0 || b->dir[b->dirs - 1] != dir) {
        dir->users++;
        b->dir[b->dirs++] = dir;
    }
    item->job = &b->job[b->jobs++];
    const char *name = parent ? path + parent + 1 : path;
    *item->job = (struct scan_job){.dir = dir->fd, .name = name, .rehash = rehash, .seen = item->entry,
                                   .outcome = SCAN_UNREADABLE};
    b->bytes += seen->size;
}
