/*
 * New files of a batch, put in place by other threads while the one that carries batches out in order goes on with the next.
 * What could not be done here stays as it was: that one tries again, and reports.
 */
#ifndef STORE_PUT_AHEAD_H
#define STORE_PUT_AHEAD_H

#include <stddef.h>

#include "base/err.h"
#include "store/put_batch.h"

struct put_ahead;

/*
 * All that the items' intents need is durable. They are the threads' until put_ahead_end. threads: all in all, the caller's
 * too; 0: as many as there are cores. NULL: they are too few for it to pay, or there is no thread to be had.
 */
struct put_ahead *put_ahead_begin(struct put_item *item, size_t items, unsigned threads);
/*
 * Lends a hand, and waits: of the items that were put in place, stands is set; the descriptor of those is closed whose stat was
 * as it should be (known). <0 when watch stopped the work. watch NULL: what is not begun is left.
 */
int put_ahead_end(struct put_ahead *a, const struct store_watch *watch, struct err *e);

#endif
