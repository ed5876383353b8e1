#include "store/recall.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK (4u << 20)
#define HUGE_PAGE (2u << 20)
#define SLOTS_FIRST 1024u /* a power of two */

struct chunk {
    struct chunk *next;
    uint8_t bytes[];
};

struct slot {
    const uint8_t *content; /* NULL: free */
    int64_t since;          /* monotonic ms */
    uint32_t n;
    struct digest digest;
};

struct recall {
    int64_t fresh_ms;
    pthread_mutex_t lock; /* over all that follows */
    uint64_t left;        /* bytes that chunks and slots may still take */
    struct chunk *chunk;  /* the newest first */
    size_t used;          /* bytes of the newest */
    struct slot *slot;
    size_t slots, taken;
};

static uint64_t machines_share(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || size <= 0)
        return 0;
    uint64_t share = (uint64_t)pages * (uint64_t)size / RECALL_SHARE;
    return share < RECALL_BYTES_MAX ? share : RECALL_BYTES_MAX;
}

struct recall *recall_new(uint64_t bytes, int64_t fresh_ms)
{
    struct recall *r = mem_zalloc(sizeof *r);
    r->fresh_ms = fresh_ms;
    pthread_mutex_init(&r->lock, NULL);
    r->left = bytes ? bytes : machines_share();
    r->used = CHUNK;
    return r;
}

void recall_free(struct recall *r)
{
    if (!r)
        return;
    for (struct chunk *c = r->chunk, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(r->slot);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Where d is, or belongs. There is always a free slot. */
static struct slot *slot_of(const struct slot *slot, size_t slots, const struct digest *d)
{
    size_t i = (size_t)digest_word(d) & (slots - 1);
    while (slot[i].content && !digest_same(&slot[i].digest, d))
        i = (i + 1) & (slots - 1);
    return (struct slot *)&slot[i];
}

/* Sees to it that another slot can be taken; of very small content they are the greater part. False: no room. */
static bool make_slots(struct recall *r)
{
    if (r->taken < r->slots / 2)
        return true;
    size_t slots = r->slots ? 2 * r->slots : SLOTS_FIRST;
    uint64_t more = (slots - r->slots) * sizeof *r->slot;
    struct slot *slot = more > r->left ? NULL : calloc(slots, sizeof *slot);
    if (!slot)
        return false;
    for (size_t i = 0; i < r->slots; i++)
        if (r->slot[i].content)
            *slot_of(slot, slots, &r->slot[i].digest) = r->slot[i];
    free(r->slot);
    r->slot = slot;
    r->slots = slots;
    r->left -= more;
    return true;
}

/* Memory is taken in pieces of which the kernel can make huge pages: most of the cost would be faults. NULL: no room. */
static uint8_t *take(struct recall *r, size_t n)
{
    if (r->used + n > CHUNK - sizeof(struct chunk)) {
        struct chunk *c = r->left < CHUNK ? NULL : aligned_alloc(HUGE_PAGE, CHUNK);
        if (!c)
            return NULL;
        madvise(c, CHUNK, MADV_HUGEPAGE);
        c->next = r->chunk;
        r->chunk = c;
        r->used = 0;
        r->left -= CHUNK;
    }
    r->used += n;
    return r->chunk->bytes + r->used - n;
}

void recall_put(struct recall *r, const struct digest *d, const void *content, size_t n)
{
    if (n == 0 || n > RECALL_LARGEST)
        return;
    pthread_mutex_lock(&r->lock);
    struct slot *s = make_slots(r) ? slot_of(r->slot, r->slots, d) : NULL;
    uint8_t *to = s && !s->content ? take(r, n) : NULL;
    if (to) {
        memcpy(to, content, n); /* under the lock: who finds the slot finds all of it */
        *s = (struct slot){to, clock_mono_ms(), (uint32_t)n, *d};
        r->taken++;
    }
    pthread_mutex_unlock(&r->lock);
}

enum recall_age recall_get(struct recall *r, const struct digest *d, size_t n, void *out)
{
    enum recall_age age = RECALL_NOTHING;
    if (!r || n == 0 || n > RECALL_LARGEST)
        return age;
    pthread_mutex_lock(&r->lock);
    const struct slot *s = r->slots ? slot_of(r->slot, r->slots, d) : NULL;
    if (s && s->content && s->n == n) {
        memcpy(out, s->content, n);
        age = clock_mono_ms() - s->since < r->fresh_ms ? RECALL_FRESH : RECALL_OLD;
    }
    pthread_mutex_unlock(&r->lock);
    return age;
}
