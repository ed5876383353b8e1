#include "base/pair.h"

#include "base/thread.h"

#include <stddef.h>

struct second {
    void (*run)(void *);
    void *arg;
};

static void *work(void *arg)
{
    const struct second *s = arg;
    s->run(s->arg);
    return NULL;
}

void pair_run(void (*run)(void *), void *a, void *b, bool at_once)
{
    struct second s = {run, b};
    pthread_t thread;
    bool started = at_once && thread_start(&thread, work, &s);
    run(a);
    if (started)
        pthread_join(thread, NULL);
    else
        run(b);
}
