/* A thread that works for the one that started it. Signals stay with that one. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* False when there is none to be had. The caller joins it. */
bool thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
