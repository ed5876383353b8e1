#include "store/blob_trash.h"

#include "base/mem.h"
#include "store/trash_list.h"
#include "store/trash_sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct trash *blob_trash_new(const struct blob_keep *k, const struct store_options *o, int64_t now, int64_t keep)
{
    const struct trash_args a = {.state = blob_keep_state(k), .shown = blob_keep_shown(k), .now = now, .keep = keep,
                                 .hold = o->no_delete || o->read_only, .by = o->by, .watch = &o->watch};
    return a.state < 0 ? NULL : trash_new(&a);
}

void blob_trash_expire(const struct blob_keep *k, const struct store_options *o, struct trash *t)
{
    struct trash *own = t ? NULL : blob_trash_new(k, o, o->rules.now, o->rules.trash);
    if (t || own)
        trash_expire(t ? t : own);
    trash_free(own);
}

static bool is_side(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".json") == 0;
}

struct listing {
    int (*tell)(void *ctx, const struct store_trash *item);
    void *ctx;
};

static int tell_object(void *ctx, const struct store_trash *item)
{
    const struct listing *l = ctx;
    return is_side(item->path) ? 0 : l->tell(l->ctx, item);
}

int blob_trash_list(const struct blob_keep *k, int (*tell)(void *ctx, const struct store_trash *item), void *ctx, struct err *e)
{
    struct listing l = {tell, ctx};
    struct uuid id = blob_keep_id(k);
    return trash_list_all(blob_keep_state(k), blob_keep_shown(k), &id, tell_object, &l, e);
}

int blob_trash_empty(const struct blob_keep *k, const struct store_options *o, int64_t now, int64_t older, uint64_t *items,
                     uint64_t *bytes, struct err *e)
{
    struct trash_sweep how = {.state = blob_keep_state(k), .now = now, .older = older, .spare = "", .watch = &o->watch};
    *items = *bytes = 0;
    if (o->no_delete || o->read_only)
        return err_set(e, ERR_DENIED, STORE_SAYS_NO_EMPTY);
    int rc = how.state < 0 ? 0 : trash_sweep(&how, e);
    *items = how.items;
    *bytes = how.bytes;
    return rc < 0 ? err_wrap(e, "%s/trash", blob_keep_shown(k)) : 0;
}

/* ---- single items ---- */

/* The first line of the run's list that tells of this id, or of this path. *top is for the caller to close. */
static bool look_up(const struct blob_keep *k, const char *run, uint64_t id, const char *path, struct trash_record *out, int *top)
{
    int64_t when;
    unsigned n;
    struct stat st;
    struct uuid store = blob_keep_id(k);
    bool named = trash_record_parse_run(run, strlen(run), &when, &n);
    *top = named && blob_keep_state(k) >= 0 ? trash_list_top(blob_keep_state(k)) : -1;
    struct trash_reader *r = *top < 0 ? NULL : trash_reader_new(*top, run);
    const struct trash_record *at;
    bool found = false;
    while (r && !found && (at = trash_reader_next(r))) {
        found = path ? strcmp(at->path, path) == 0 : trash_record_id(&store, run, at->place) == id;
        found = found && trash_list_look(*top, run, at, &st);
        if (found)
            *out = *at;
    }
    trash_reader_free(r);
    return found;
}

static void shut(int fd)
{
    if (fd >= 0)
        close(fd);
}

int blob_trash_find(const struct blob_keep *k, const char *run, uint64_t id, struct trash_record *item, uint64_t *side,
                    struct err *e)
{
    int top;
    struct uuid store = blob_keep_id(k);
    struct trash_record *other = mem_alloc(sizeof *other);
    bool found = look_up(k, run, id, NULL, item, &top);
    shut(top);
    *side = 0;
    if (found && !is_side(item->path)) {
        char *name = mem_printf("%s.json", item->path);
        if (look_up(k, run, 0, name, other, &top))
            *side = trash_record_id(&store, run, other->place);
        shut(top);
        free(name);
    }
    free(other);
    return found ? 0 : err_set(e, ERR_CHANGED, "is not in the trash any more");
}

static void forget(const struct blob_keep *k, const char *run, const char *path)
{
    int top;
    const char *leaf;
    struct trash_record *item = mem_alloc(sizeof *item);
    int dir = look_up(k, run, 0, path, item, &top) ? trash_list_parent(top, run, item, &leaf) : -1;
    if (dir >= 0)
        unlinkat(dir, leaf, 0);
    shut(dir);
    shut(top);
    free(item);
}

void blob_trash_forget(const struct blob_keep *k, const struct trash *t, const char *object)
{
    char *side = mem_printf("%s.json", object);
    forget(k, trash_run_name(t), object);
    forget(k, trash_run_name(t), side);
    free(side);
}

/* Its directory; the leaf is in item. */
static int open_parent(const struct blob_keep *k, const char *run, uint64_t id, struct trash_record *item, const char **leaf)
{
    int top, dir = -1;
    if (look_up(k, run, id, NULL, item, &top))
        dir = trash_list_parent(top, run, item, leaf);
    shut(top);
    return dir;
}

int blob_trash_open(const struct blob_keep *k, const char *run, uint64_t id)
{
    struct trash_record *item = mem_alloc(sizeof *item);
    const char *leaf;
    int dir = open_parent(k, run, id, item, &leaf);
    int fd = dir < 0 ? -1 : openat(dir, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    shut(dir);
    free(item);
    return fd;
}

void blob_trash_drop(const struct blob_keep *k, const char *run, uint64_t id)
{
    struct trash_record *item = mem_alloc(sizeof *item);
    const char *leaf;
    int dir = open_parent(k, run, id, item, &leaf);
    if (dir >= 0)
        unlinkat(dir, leaf, 0);
    shut(dir);
    free(item);
    int top = trash_list_top(blob_keep_state(k));
    if (top >= 0)
        trash_sweep_empty(top, run);
    shut(top);
}
