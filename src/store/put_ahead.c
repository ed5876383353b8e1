#include "store/put_ahead.h"

#include "base/thread.h"

#include <stdatomic.h>
#include <unistd.h>

#define THREADS_MAX 4u /* of one directory, one at a time is served */
#define ITEMS_MIN 256u /* of fewer, starting a thread takes longer */
#define TURN 32u       /* items: neighbours are in one directory */

struct front {
    struct put_item *item;
    size_t items;
    atomic_size_t next;
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
static bool take_turn(struct front *f)
{
    size_t i = atomic_fetch_add(&f->next, TURN), end = i + TURN < f->items ? i + TURN : f->items;
    for (; i < end; i++)
        put_in_place(&f->item[i]);
    return end < f->items;
}

static void *take_turns(void *arg)
{
    while (take_turn(arg))
        ;
    return NULL;
}

int put_ahead(struct put_item *item, size_t items, unsigned threads, const struct store_watch *watch, struct err *e)
{
    pthread_t thread[THREADS_MAX];
    struct front f = {.item = item, .items = items};
    long cores = threads ? (long)threads : sysconf(_SC_NPROCESSORS_ONLN);
    if (items < ITEMS_MIN || cores < 2)
        return 0;
    unsigned n = 0, wanted = (cores < THREADS_MAX ? (unsigned)cores : THREADS_MAX) - 1;
    int rc = 0;
    while (n < wanted && thread_start(&thread[n], take_turns, &f))
        n++;
    while (n > 0 && rc >= 0 && take_turn(&f))
        rc = watch->progress(watch->ctx, 0, 0);
    if (rc < 0)
        atomic_store(&f.next, items);
    for (unsigned i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    return rc < 0 ? err_set(e, rc, "the run was stopped") : 0;
}
