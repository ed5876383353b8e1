/* What a scan that met a sick disk concluded from absence, taken back. */
#include "store/scan.h"

#include "base/mem.h"
#include "object/parents.h"

#include <stdlib.h>

struct doubt {
    struct history *history;
    struct parents parents;
    struct entry now;
};

/* *e is a tombstone: makes it what it was made from, unless it is an old one. */
static int recall(struct doubt *d, const struct entry **e, struct err *err)
{
    struct history_at at;
    int rc = history_seek(d->history, (*e)->path, (*e)->path_len, &at, err);
    if (rc < 0)
        return rc;
    const struct entry *last = at.intent && at.intent->place.ino != 0 ? at.intent : at.recorded;
    if (!last || last->kind == ENTRY_GONE)
        return 0;
    entry_copy(&d->now, last);
    d->now.flags = (last->flags & ENTRY_DAMAGED) | ((*e)->flags & ENTRY_HIDDEN) | ENTRY_UNKNOWN;
    *e = &d->now;
    return 0;
}

int scan_doubt(int scanned, struct history *history, struct manifest_writer *w, struct err *err)
{
    struct manifest_head head;
    const struct entry *e;
    int rc;
    struct manifest_reader *r = manifest_reader_new(scanned, &head, err);
    if (!r)
        return err ? err->code : ERR_SYS;
    struct doubt *d = mem_zalloc(sizeof *d);
    d->history = history;
    while ((rc = manifest_reader_next(r, &e, err)) > 0) {
        if (e->kind == ENTRY_GONE && (rc = recall(d, &e, err)) < 0)
            break;
        if (parents_pass(&d->parents, e) && (rc = manifest_writer_put(w, e, err)) < 0)
            break;
    }
    free(d);
    manifest_reader_free(r);
    return rc;
}
