/* What is asked of the trash: no scan is needed for it. */
#include "agent/state.h"

#include <string.h>

#define OUT_ENOUGH 65536u /* bytes that are worth a write */

/* An operation that failed is no end of the agent: others may follow. */
static void answer(struct agent *a, int rc, const struct err *why, uint64_t items, uint64_t bytes)
{
    const char *text = rc < 0 ? why->msg : "";
    message_put_trash_done(&a->out, &(struct message_trash_done){rc, text, strlen(text), items, bytes});
}

static int no_trash(struct agent *a)
{
    struct err why;
    err_set(&why, ERR_UNSUPPORTED, "this store has no trash");
    answer(a, why.code, &why, 0, 0);
    return 0;
}

/* An error here is one of the link. */
static int tell(void *ctx, const struct store_trash *item)
{
    struct agent *a = ctx;
    message_put_trash_item(&a->out, item);
    if (wire_out_waiting(&a->out) < OUT_ENOUGH)
        return 0;
    int rc = agent_flush(a, &a->lost);
    return rc < 0 ? rc : agent_pump(a, false, &a->lost);
}

int trashing_list(struct agent *a, struct frame *f, struct err *e)
{
    struct err why = {0};
    int rc = message_get_empty(f, e);
    if (rc < 0)
        return rc;
    if (!a->store->ops->trash_list)
        return no_trash(a);
    rc = a->store->ops->trash_list(a->store, tell, a, &why);
    if (rc < 0 && a->lost.code < 0) {
        *e = a->lost;
        return rc;
    }
    answer(a, rc, &why, 0, 0);
    return 0;
}

int trashing_restore(struct agent *a, struct frame *f, struct err *e)
{
    struct message_trash_restore m;
    struct err why = {0};
    int rc = message_get_trash_restore(f, &m, e);
    if (rc < 0)
        return rc;
    if (!a->store->ops->trash_restore)
        return no_trash(a);
    rc = a->store->ops->trash_restore(a->store, m.run, m.id, m.now, &why);
    answer(a, rc, &why, 0, 0);
    return 0;
}

int trashing_empty(struct agent *a, struct frame *f, struct err *e)
{
    struct message_trash_empty m;
    struct err why = {0};
    uint64_t items = 0, bytes = 0;
    int rc = message_get_trash_empty(f, &m, e);
    if (rc < 0)
        return rc;
    if (!a->store->ops->trash_empty)
        return no_trash(a);
    rc = a->store->ops->trash_empty(a->store, m.now, m.older, &items, &bytes, &why);
    answer(a, rc, &why, items, bytes);
    return 0;
}
