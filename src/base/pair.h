/* Two pieces of work at once. */
#ifndef BASE_PAIR_H
#define BASE_PAIR_H

#include <stdbool.h>

/*
 * run(a) and run(b), and returns when both are done: in two threads if at_once is set and a second one is to be had,
 * else one after the other. The two must not touch the same things. Signals stay with the caller's thread.
 */
void pair_run(void (*run)(void *), void *a, void *b, bool at_once);

#endif
