/*
 * New files of a batch, put in place by several threads ahead of the one that carries the batch out in order. What could not be
 * done here stays as it was: that one tries again, and reports.
 */
#ifndef STORE_PUT_AHEAD_H
#define STORE_PUT_AHEAD_H

#include <stddef.h>

#include "base/err.h"
#include "store/put_batch.h"

/*
 * All that a batch's intents need is durable. Of the items that were put in place, stands is set; the descriptor of those is
 * closed whose stat was as it should be (known). threads: all in all, the caller's too; 0: as many as there are cores. <0 when
 * watch stopped the work.
 */
int put_ahead(struct put_item *item, size_t items, unsigned threads, const struct store_watch *watch, struct err *e);

#endif
