#include "store/put_ahead.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 4u /* of one directory, one at a time is served */
#define ITEMS_MIN 256u /* of fewer, starting a thread takes longer */
#define TURN 32u       /* items: neighbours are in one directory */

struct put_ahead {
    struct put_item *item;
    size_t items;
    atomic_size_t next;
    pthread_t thread[THREADS_MAX];
    unsigned threads;
};

/* Whatever stands there was put there after its intent was durable, so it has to be looked after whatever comes. */
static void put_in_place(struct put_item *it)
{
    if (it->kind != PUT_FILE || it->seen.kind || it->code || temp_place(&it->temp, it->parent->fd, it->leaf) < 0)
        return;
    it->stands = true;
    it->known = fstat(it->temp.fd, &it->st) == 0 && (it->st.st_mode & 07777) == it->mode;
    if (it->known) {
        close(it->temp.fd);
        it->temp.fd = -1;
    }
}

/* One turn. False: nothing is left. */
static bool take_turn(struct put_ahead *a)
{
    size_t i = atomic_fetch_add(&a->next, TURN), end = i + TURN < a->items ? i + TURN : a->items;
    for (; i < end; i++)
        put_in_place(&a->item[i]);
    return end < a->items;
}

static void *take_turns(void *arg)
{
    while (take_turn(arg))
        ;
    return NULL;
}

struct put_ahead *put_ahead_begin(struct put_item *item, size_t items, unsigned threads)
{
    long cores = threads ? (long)threads : sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = (cores < THREADS_MAX ? (unsigned)cores : THREADS_MAX) - 1;
    if (items < ITEMS_MIN || cores < 2)
        return NULL;
    struct put_ahead *a = mem_zalloc(sizeof *a);
    a->item = item;
    a->items = items;
    while (a->threads < wanted && thread_start(&a->thread[a->threads], take_turns, a))
        a->threads++;
    if (a->threads > 0)
        return a;
    free(a);
    return NULL;
}

int put_ahead_end(struct put_ahead *a, const struct store_watch *watch, struct err *e)
{
    int rc = 0;
    while (watch && rc >= 0 && take_turn(a))
        rc = watch->progress(watch->ctx, 0, 0);
    if (!watch || rc < 0)
        atomic_store(&a->next, a->items);
    for (unsigned i = 0; i < a->threads; i++)
        pthread_join(a->thread[i], NULL);
    free(a);
    return rc < 0 ? err_set(e, rc, "the run was stopped") : 0;
}
