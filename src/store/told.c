#include "store/told.h"

#include "base/mem.h"

#include <stdlib.h>

#define TOLD_MAX 10000u

/* One thing that was told. Strings are owned; path may be NULL. */
struct telling {
    enum telling_kind { REMARK, ERROR, DAMAGE } what;
    char *path, *message;
};

struct told {
    const struct store_watch *to;
    struct store_watch watch;
    struct telling *telling;
    size_t n, cap;
};

static void keep(struct told *t, enum telling_kind what, const char *path, const char *message)
{
    if (t->n > TOLD_MAX)
        return;
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 16;
        t->telling = mem_resize(t->telling, t->cap, sizeof *t->telling);
    }
    t->telling[t->n++] = (struct telling){what, path ? mem_strdup(path) : NULL, mem_strdup(message)};
}

static int on_progress(void *ctx, uint64_t objects, uint64_t bytes)
{
    struct told *t = ctx;
    return t->n > TOLD_MAX ? ERR_CHANGED : t->to->progress(t->to->ctx, objects, bytes);
}

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    keep(ctx, error ? ERROR : REMARK, path, message);
}

static void on_damage(void *ctx, const char *path, const char *message)
{
    keep(ctx, DAMAGE, path, message);
}

struct told *told_new(const struct store_watch *to)
{
    struct told *t = mem_zalloc(sizeof *t);
    t->to = to;
    t->watch = (struct store_watch){t, on_progress, on_problem, to->done, to->damage ? on_damage : NULL};
    return t;
}

const struct store_watch *told_watch(struct told *t)
{
    return &t->watch;
}

static void empty(struct told *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->telling[i].path);
        free(t->telling[i].message);
    }
    t->n = 0;
}

void told_tell(struct told *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct telling *x = &t->telling[i];
        if (x->what == DAMAGE)
            t->to->damage(t->to->ctx, x->path, x->message);
        else
            t->to->problem(t->to->ctx, x->what == ERROR, x->path, x->message);
    }
    empty(t);
}

void told_free(struct told *t)
{
    if (!t)
        return;
    empty(t);
    free(t->telling);
    free(t);
}
