#include "store/flat_put.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/blob.h"
#include "store/blob_json.h"
#include "store/blob_trash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_ITEMS 512u
#define BATCH_BYTES ((uint64_t)64 << 20)
#define TEMP_FORM PATH_TEMP "blob.%lu"
#define TEMP_MAX 64

/* An operation whose objects wait for their names. */
struct item {
    uint64_t seq;
    enum store_how how;
    enum store_why why;
    char *id;
    struct entry *entry;
    bool content, sidecar; /* there are temporary files of these */
    unsigned long temp;    /* their number */
    struct err failed;     /* code 0: not */
};

struct flat_puts {
    struct flat_puts_args a;
    int temps;             /* where temporary files are: the state, or where that is on another file system the root */
    unsigned long number;
    struct item *item;
    size_t n;
    uint64_t bytes;
    struct trash *trash;
    /* the object that comes by stream */
    struct blob_in in;
    int fd;
    bool headed;           /* its sidecar was written */
};

/* What a killed run has left there has nobody's name. */
static void sweep(int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (const struct dirent *at; (at = readdir(d));)
        if (strncmp(at->d_name, PATH_TEMP "blob.", strlen(PATH_TEMP "blob.")) == 0)
            unlinkat(dir, at->d_name, 0);
    closedir(d);
}

struct flat_puts *flat_puts_new(const struct flat_puts_args *args)
{
    struct stat a, b;
    struct flat_puts *p = mem_zalloc(sizeof *p);
    int state = blob_keep_state(args->keep);
    p->a = *args;
    p->fd = -1;
    bool beside = state >= 0 && fstat(state, &a) == 0 && fstat(args->root, &b) == 0 && a.st_dev == b.st_dev;
    p->temps = beside ? state : args->root;
    sweep(p->temps);
    p->trash = blob_trash_new(args->keep, args->o, args->now, args->trash);
    return p;
}

static void temp_name(char out[TEMP_MAX], unsigned long number, bool sidecar)
{
    snprintf(out, TEMP_MAX, TEMP_FORM "%s", number, sidecar ? ".json" : "");
}

static void drop_temps(struct flat_puts *p, struct item *it)
{
    char name[TEMP_MAX];
    temp_name(name, it->temp, false);
    if (it->content)
        unlinkat(p->temps, name, 0);
    temp_name(name, it->temp, true);
    if (it->sidecar)
        unlinkat(p->temps, name, 0);
    it->content = it->sidecar = false;
}

static void forget_items(struct flat_puts *p)
{
    for (size_t i = 0; i < p->n; i++) {
        drop_temps(p, &p->item[i]);
        free(p->item[i].id);
        free(p->item[i].entry);
    }
    p->n = 0;
    p->bytes = 0;
}

void flat_puts_free(struct flat_puts *p)
{
    if (!p)
        return;
    if (p->fd >= 0)
        close(p->fd);
    forget_items(p);
    free(p->item);
    trash_free(p->trash);
    blob_in_free(&p->in);
    free(p);
}

struct trash *flat_puts_trash(struct flat_puts *p)
{
    return p ? p->trash : NULL;
}

/* ---- giving names ---- */

/* What is there under this name goes to the trash. 0, also where nothing is. */
static int make_way(struct flat_puts *p, const char *name, enum store_why why, struct err *e)
{
    if (faccessat(p->a.root, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENAMETOOLONG ? 0 : err_sys(e, "cannot be looked at");
    if (!p->trash)
        return err_set(e, ERR_DENIED, "there is no trash to put it in, as its state cannot be kept");
    return trash_take(p->trash, p->a.root, name, name, store_why_text(why), e);
}

static int give_name(struct flat_puts *p, const struct item *it, bool sidecar, const char *name, bool replace, struct err *e)
{
    char temp[TEMP_MAX];
    temp_name(temp, it->temp, sidecar);
    int rc = renameat2(p->temps, temp, p->a.root, name, replace ? 0 : RENAME_NOREPLACE);
    if (rc < 0 && errno == EINVAL && !replace) /* a file system that cannot say so */
        rc = linkat(p->temps, temp, p->a.root, name, 0) < 0 ? -1 : unlinkat(p->temps, temp, 0);
    if (rc < 0 && errno == EEXIST)
        return err_set(e, ERR_CHANGED, "appeared during the run; left for the next run");
    return rc < 0 ? err_sys(e, "cannot be given its name") : 0;
}

/* The sidecar goes first: a server that sees the object must find it. */
static int place(struct flat_puts *p, struct item *it, struct err *e)
{
    char *side = mem_printf("%s.json", it->id);
    bool known = it->why == STORE_WHY_DAMAGED || it->why == STORE_WHY_CONFLICT || it->why == STORE_WHY_OVERWRITTEN;
    int rc = 0;
    /* Nothing that the scan did not see is overwritten: only what is known to be wrong makes way. */
    if (faccessat(p->a.root, it->id, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        rc = known && it->why != STORE_WHY_OVERWRITTEN ? make_way(p, it->id, it->why, e)
                   : err_set(e, ERR_CHANGED, "appeared during the run; left for the next run");
    if (rc == 0)
        rc = make_way(p, side, it->why, e);
    if (rc == 0 && it->sidecar)
        rc = give_name(p, it, true, side, false, e);
    if (rc == 0)
        rc = give_name(p, it, false, it->id, false, e);
    free(side);
    return rc;
}

static int take_away(struct flat_puts *p, struct item *it, struct err *e)
{
    char *side = mem_printf("%s.json", it->id);
    int rc = make_way(p, it->id, it->why, e);
    if (rc == 0)
        rc = make_way(p, side, it->why, e);
    free(side);
    return rc;
}

static void carry_out(struct flat_puts *p, struct item *it)
{
    struct err e = {0};
    int rc = 0;
    if (it->failed.code < 0)
        return;
    if (it->how == STORE_CONTENT)
        rc = place(p, it, &e);
    else if (it->how == STORE_REMOVE || it->how == STORE_PRUNE)
        rc = take_away(p, it, &e);
    if (rc < 0)
        it->failed = e;
}

static int record(struct flat_puts *p, struct item *it, struct err *e)
{
    if (it->failed.code < 0)
        return 0;
    return it->how == STORE_PRUNE ? blob_keep_pruned(p->a.keep, it->entry, e) : blob_keep_done(p->a.keep, it->entry, e);
}

int flat_puts_flush(struct flat_puts *p, struct err *e)
{
    bool durable = p->a.o->fsync != STORE_FSYNC_NONE;
    int rc = 0;
    if (p->bytes > 0 && durable && syncfs(p->temps) < 0)
        return err_sys(e, "%s: sync", p->a.o->root);
    for (size_t i = 0; i < p->n; i++)
        carry_out(p, &p->item[i]);
    if (p->n > 0 && durable && fsync(p->a.root) < 0)
        return err_sys(e, "%s: sync", p->a.o->root);
    for (size_t i = 0; rc == 0 && i < p->n; i++) {
        struct item *it = &p->item[i];
        rc = record(p, it, e);
        if (rc == 0)
            p->a.o->watch.done(p->a.o->watch.ctx, it->seq, it->failed.code, it->failed.code ? it->failed.msg : NULL);
    }
    if (p->trash)
        trash_settled(p->trash);
    forget_items(p);
    return rc;
}

/* ---- operations ---- */

static struct item *add(struct flat_puts *p, const struct store_op *op)
{
    if (!p->item)
        p->item = mem_alloc(BATCH_ITEMS * sizeof *p->item);
    struct item *it = &p->item[p->n++];
    *it = (struct item){.seq = op->seq, .how = op->how, .why = op->why, .id = mem_strndup(op->entry->path, op->entry->path_len),
                        .entry = mem_alloc(sizeof *it->entry), .temp = ++p->number};
    entry_copy(it->entry, op->entry);
    it->entry->path = it->id;
    if (op->how != STORE_RECORD && p->a.o->read_only)
        err_set(&it->failed, ERR_DENIED, STORE_SAYS_READ_ONLY);
    else if ((op->how == STORE_REMOVE || op->how == STORE_PRUNE) && p->a.o->no_delete)
        err_set(&it->failed, ERR_DENIED, STORE_SAYS_NO_REMOVE);
    else if (op->how != STORE_RECORD)
        blob_check(op->entry, &it->failed);
    return it;
}

static int flush_when_due(struct flat_puts *p, struct err *e)
{
    bool due = p->n == BATCH_ITEMS || p->bytes >= BATCH_BYTES || p->a.o->fsync == STORE_FSYNC_ALWAYS;
    return due ? flat_puts_flush(p, e) : 0;
}

int flat_puts_apply(struct flat_puts *p, const struct store_op *op, struct err *e)
{
    struct item *it = add(p, op);
    if (it->failed.code == 0 && (op->how == STORE_META || op->how == STORE_CONTENT))
        err_set(&it->failed, ERR_UNSUPPORTED, "a directory of blobs has nothing but objects with content");
    return flush_when_due(p, e);
}

static struct item *now(struct flat_puts *p)
{
    return &p->item[p->n - 1];
}

void flat_puts_begin(struct flat_puts *p, const struct store_op *op)
{
    char name[TEMP_MAX];
    struct item *it = add(p, op);
    blob_in_begin(&p->in, it->id);
    p->headed = false;
    if (it->failed.code < 0)
        return;
    temp_name(name, it->temp, false);
    p->fd = openat(p->temps, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, BLOB_MODE);
    it->content = p->fd >= 0;
    if (p->fd < 0)
        err_sys(&it->failed, "cannot make a temporary file");
}

static void cannot_write(struct item *it)
{
    bool full = errno == ENOSPC || errno == EDQUOT;
    err_sys(&it->failed, "cannot be written");
    if (full)
        it->failed.code = ERR_FULL;
}

static void write_sidecar(struct flat_puts *p, struct item *it)
{
    char name[TEMP_MAX];
    struct buf text = {0};
    size_t bytes;
    const char *headers = blob_in_headers(&p->in, &bytes);
    p->headed = true;
    blob_json_put_sidecar(&text, headers, bytes);
    if (text.len == 0)
        return;
    temp_name(name, it->temp, true);
    int fd = openat(p->temps, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, BLOB_MODE);
    it->sidecar = fd >= 0;
    if (fd < 0 || file_write(fd, text.data, text.len) < 0)
        cannot_write(it);
    if (fd >= 0)
        close(fd);
    buf_free(&text);
}

void flat_puts_data(struct flat_puts *p, const void *data, size_t n)
{
    struct item *it = now(p);
    const uint8_t *at = data;
    if (it->failed.code < 0 || blob_in_take(&p->in, &at, &n, &it->failed) < 0)
        return;
    if (p->in.open && !p->headed)
        write_sidecar(p, it);
    if (it->failed.code == 0 && n > 0 && file_write(p->fd, at, n) < 0)
        cannot_write(it);
}

int flat_puts_end(struct flat_puts *p, const char *failed, struct err *e)
{
    struct item *it = now(p);
    if (it->failed.code == 0 && failed)
        err_set(&it->failed, ERR_CHANGED, "%s", failed);
    if (it->failed.code == 0)
        blob_in_end(&p->in, &it->failed);
    if (it->failed.code == ERR_FORMAT)
        it->failed.code = ERR_CHANGED;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    if (it->failed.code < 0)
        drop_temps(p, it);
    else
        p->bytes += p->in.got + 1;
    return flush_when_due(p, e);
}
