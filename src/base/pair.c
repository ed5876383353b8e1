#include "base/pair.h"

#include <pthread.h>
#include <signal.h>
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

static bool start(pthread_t *thread, struct second *s)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = pthread_create(thread, NULL, work, s) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return started;
}

void pair_run(void (*run)(void *), void *a, void *b, bool at_once)
{
    struct second s = {run, b};
    pthread_t thread;
    bool started = at_once && start(&thread, &s);
    run(a);
    if (started)
        pthread_join(thread, NULL);
    else
        run(b);
}
