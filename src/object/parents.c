#include "object/parents.h"

#include <string.h>

/*
 * Entries come as in a depth-first walk: an entry's directory passed if it is the last one that did, or
 * one above that.
 */
static bool has_parent(const struct parents *p, const struct entry *e)
{
    size_t n = path_parent(e->path, e->path_len);
    if (n == 0 || (n == p->len && memcmp(p->dir, e->path, n) == 0))
        return true;
    return path_below(p->dir, p->len, e->path, n);
}

bool parents_pass(struct parents *p, const struct entry *e)
{
    if (e->kind == ENTRY_GONE)
        return true;
    if (!has_parent(p, e))
        return false;
    if (e->kind == ENTRY_DIR) {
        memcpy(p->dir, e->path, e->path_len);
        p->len = e->path_len;
    }
    return true;
}
