/*
 * A directory of blobs, as a blob-server has it on its disk: each object is a file that has its id for a name, beside it
 * the sidecar ID.json with its metadata, where it has any.
 */
#include "store/store.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rate.h"
#include "store/blob.h"
#include "store/blob_json.h"
#include "store/blob_keep.h"
#include "store/blob_trash.h"
#include "store/by_id.h"
#include "store/flat_put.h"
#include "store/root.h"
#include "store/state.h"
#include "store/trash_restore.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OPEN_BLOB (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define PIECE ((size_t)128 * 1024)
#define SIDECAR_MAX ((size_t)256 * 1024) /* bytes */

struct flat {
    struct by_id base;  /* first */
    int root;           /* carries the lock; -1: there is none */
    struct flat_puts *puts;
    uint8_t *piece;     /* room */
    struct rate rate;   /* at which objects are looked at again */
};

struct store_blob {
    struct by_id_blob is;
    int fd;
    uint64_t size;
    bool begun;           /* its head was given */
};

static struct flat *flat_of(struct store *s)
{
    return (struct flat *)s;
}

/* ---- inspect ---- */

char *store_flat_state(const char *root, const char *state_dir)
{
    size_t n = strlen(root);
    while (n > 1 && root[n - 1] == '/')
        n--;
    if (!state_dir)
        return mem_printf("%.*s.sos-sync", (int)n, root);
    char *real = realpath(root, NULL), *name = state_name(real ? real : root);
    char *path = mem_printf("%s/%s", state_dir, name);
    free(real);
    free(name);
    return path;
}

static int flat_inspect(struct store *s, struct store_info *info, struct err *e)
{
    struct flat *f = flat_of(s);
    struct uuid fresh;
    struct statvfs fs;
    *info = (struct store_info){.caps = STORE_BY_ID};
    uuid_random(&fresh);
    char *dir = store_flat_state(f->base.o.root, f->base.o.state_dir);
    f->base.keep = blob_keep_new(&f->base.o, f->base.o.root, dir, &fresh);
    blob_keep_of_directory(f->base.keep);
    free(dir);
    int rc = root_open(f->base.o.root, f->base.o.dry_run, &f->root, e);
    if (rc < 0)
        return rc;
    info->exists = f->root >= 0;
    info->parent_exists = info->exists || root_parent_exists(f->base.o.root);
    if (info->exists && fstatvfs(f->root, &fs) == 0)
        info->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    rc = blob_keep_inspect(f->base.keep, info, e);
    if (rc < 0)
        store_info_free(info);
    /* A disk that is not mounted leaves the state beside it: that alone is no marker. */
    else if (!info->exists && info->marked)
        info->marked = false;
    return rc;
}

/* ---- scan ---- */

static bool is_sidecar(const char *name, size_t len)
{
    return len > 5 && strcmp(name + len - 5, ".json") == 0;
}

static void take_name(struct flat *f, struct by_id_names *names, const struct dirent *at)
{
    struct stat st;
    size_t len = strlen(at->d_name);
    if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0 || is_sidecar(at->d_name, len))
        return;
    bool file = at->d_type == DT_REG ||
                (at->d_type == DT_UNKNOWN && fstatat(f->root, at->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode));
    if (file)
        by_id_take(names, at->d_name, len);
    else
        by_id_skip(names, at->d_name, len);
}

static int list_root(struct flat *f, struct blob_list *list, struct err *e)
{
    struct by_id_names names = {.list = list};
    int fd = f->root < 0 ? -1 : openat(f->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return f->root < 0 ? 0 : err_sys(e, "%s", f->base.o.root);
    }
    const struct dirent *at;
    while ((errno = 0, at = readdir(d)))
        take_name(f, &names, at);
    int rc = errno ? err_sys(e, "%s", f->base.o.root) : 0;
    closedir(d);
    blob_list_sort(list);
    if (rc == 0)
        by_id_tell_skipped(&f->base, &names, "it", "objects");
    return rc;
}

static int keep_to_rate(struct flat *f, size_t n)
{
    int rc = f->base.o.watch.progress(f->base.o.watch.ctx, 0, 0);
    rate_take(&f->rate, n);
    while (rc == 0 && rate_room(&f->rate, clock_mono_ms()) == 0) {
        int wait = rate_wait_ms(&f->rate);
        poll(NULL, 0, wait < 100 ? wait : 100);
        rc = f->base.o.watch.progress(f->base.o.watch.ctx, 0, 0);
    }
    return rc;
}

/* Reads one object: 0, or what stopped it. Its own trouble is told. */
static int check_one(struct flat *f, struct blob_listed *item, const char *id, struct digest_state *digest, struct sha1 *sha1,
                     struct err *e)
{
    int fd = openat(f->root, id, OPEN_BLOB), rc = 0;
    ssize_t n = -1;
    struct stat st;
    digest_reset(digest);
    sha1_reset(sha1);
    item->size = 0;
    while (fd >= 0 && rc == 0 && (n = file_read_once(fd, f->piece, PIECE)) > 0) {
        digest_add(digest, f->piece, (size_t)n);
        sha1_add(sha1, f->piece, (size_t)n);
        item->size += (uint64_t)n;
        rc = keep_to_rate(f, (size_t)n);
    }
    if (n < 0)
        f->base.o.watch.problem(f->base.o.watch.ctx, true, id, strerror(errno));
    if (fd >= 0 && fstat(fd, &st) == 0)
        item->mtime = (struct stamp){st.st_mtim.tv_sec < 0 ? 0 : st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    if (fd >= 0)
        close(fd);
    item->unknown = n < 0 && rc == 0;
    if (n < 0 || rc < 0)
        return rc < 0 ? err_set(e, rc, "the scan was stopped") : 0;
    item->checked = true;
    if (!sha1_names(id, strlen(id)))
        item->digest = digest_end(digest);
    else
        item->damaged = !sha1_is(sha1, id);
    if (item->damaged)
        by_id_tell_damage(&f->base, id);
    return 0;
}

static int check_due(struct flat *f, struct blob_list *list, struct err *e)
{
    struct digest_state *digest = digest_new();
    struct sha1 *sha1 = sha1_new();
    int rc = 0;
    rate_init(&f->rate, f->base.o.rules.rate, clock_mono_ms());
    for (size_t i = 0; rc == 0 && i < list->n; i++)
        if (by_id_due(&f->base, blob_list_id(list, i)))
            rc = check_one(f, &list->item[i], blob_list_id(list, i), digest, sha1, e);
    digest_free(digest);
    sha1_free(sha1);
    return rc;
}

static int make_root(struct flat *f, struct err *e)
{
    if (f->root >= 0 || f->base.o.dry_run)
        return 0;
    if (f->base.o.read_only)
        return err_set(e, ERR_DENIED, "%s: does not exist, and is served for reading only (--read-only)", f->base.o.root);
    if (mkdir(f->base.o.root, 0777) < 0 && errno != EEXIST)
        return err_sys(e, "%s: cannot make the store", f->base.o.root);
    return root_open(f->base.o.root, f->base.o.dry_run, &f->root, e);
}

static int flat_scan(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e)
{
    struct flat *f = flat_of(s);
    struct blob_list list = {0};
    f->piece = mem_alloc(PIECE);
    int rc = by_id_begin(&f->base, id, group, out, e);
    if (rc == 0 && f->root < 0)
        rc = by_id_guard(&f->base, out->before, "is gone", "its disk", e);
    if (rc == 0)
        rc = make_root(f, e);
    if (rc == 0)
        rc = list_root(f, &list, e);
    if (rc == 0 && list.n == 0)
        rc = by_id_guard(&f->base, out->before, "is empty", "its disk", e);
    if (rc == 0)
        rc = check_due(f, &list, e);
    if (rc == 0)
        rc = blob_keep_scan(f->base.keep, &list, out, e);
    blob_list_free(&list);
    f->base.scanned = rc == 0;
    return rc;
}

/* ---- source side ---- */

static int flat_blob_open(struct store *s, const struct entry *want, struct store_blob **out, struct err *e)
{
    struct flat *f = flat_of(s);
    struct stat st;
    int rc = blob_check(want, e);
    if (rc < 0)
        return rc;
    int fd = openat(f->root, want->path, OPEN_BLOB);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return err_set(e, ERR_CHANGED, "changed during the run; left for the next run");
    }
    struct store_blob *b = mem_zalloc(sizeof *b);
    *b = (struct store_blob){.fd = fd, .size = (uint64_t)st.st_size};
    by_id_blob_begin(&b->is, want);
    *out = b;
    return 0;
}

static void flat_blob_close(struct store *s, struct store_blob *b)
{
    (void)s;
    close(b->fd);
    by_id_blob_free(&b->is);
    free(b);
}

static int give_head(struct flat *f, struct store_blob *b, struct buf *out, struct err *e)
{
    struct buf headers = {0};
    struct err why;
    size_t len;
    char *name = mem_printf("%s.json", b->is.id);
    char *text = file_slurp(f->root, name, SIDECAR_MAX, &len, &why);
    int rc = text ? blob_json_sidecar(text, len, &headers, e) : 0;
    if (!text && faccessat(f->root, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        rc = err_set(e, ERR_CHANGED, "its metadata cannot be read: %s", why.msg);
    if (rc == 0)
        blob_put_head(out, b->size, (const char *)headers.data, headers.len);
    else
        err_wrap(e, "%s", name);
    b->begun = true;
    buf_free(&headers);
    free(text);
    free(name);
    return rc < 0 ? (e->code = ERR_CHANGED) : 1;
}

static int end_blob(struct flat *f, struct store_blob *b, struct err *e)
{
    if (b->is.got != b->size)
        return err_set(e, ERR_CHANGED, "changed during the run; left for the next run");
    return by_id_blob_end(&f->base, &b->is, "/", e);
}

static int flat_blob_read(struct store *s, struct store_blob *b, struct buf *out, size_t most, struct err *e)
{
    struct flat *f = flat_of(s);
    if (!b->begun)
        return give_head(f, b, out, e);
    ssize_t n = file_read_once(b->fd, buf_room(out, most), most);
    if (n < 0)
        return err_sys(e, "cannot be read");
    if (n == 0)
        return end_blob(f, b, e);
    by_id_blob_add(&b->is, out->data + out->len, (size_t)n);
    out->len += (size_t)n;
    return 1;
}

/* ---- target side ---- */

static struct flat_puts *puts_of(struct flat *f)
{
    assert(!f->base.o.dry_run);
    if (!f->puts) {
        const struct store_options *o = &f->base.o;
        const struct flat_puts_args a = {.root = f->root, .keep = f->base.keep, .o = o, .now = o->rules.now,
                                         .trash = o->rules.trash};
        f->puts = flat_puts_new(&a);
    }
    return f->puts;
}

static int flat_apply(struct store *s, const struct store_op *op, struct err *e)
{
    return flat_puts_apply(puts_of(flat_of(s)), op, e);
}

static int flat_put_begin(struct store *s, const struct store_op *op, struct err *e)
{
    (void)e;
    flat_puts_begin(puts_of(flat_of(s)), op);
    return 0;
}

static int flat_put_data(struct store *s, const void *p, size_t n, struct err *e)
{
    (void)e;
    flat_puts_data(flat_of(s)->puts, p, n);
    return 0;
}

static int flat_put_end(struct store *s, const char *failed, struct err *e)
{
    return flat_puts_end(flat_of(s)->puts, failed, e);
}

static int flat_flush(struct store *s, struct err *e)
{
    struct flat *f = flat_of(s);
    return f->puts ? flat_puts_flush(f->puts, e) : 0;
}

static int flat_commit(struct store *s, const struct store_peer *peer, size_t peers, struct err *e)
{
    struct flat *f = flat_of(s);
    int rc = flat_flush(s, e);
    if (rc == 0)
        rc = blob_keep_commit(f->base.keep, peer, peers, e);
    if (rc == 0)
        blob_trash_expire(f->base.keep, &f->base.o, flat_puts_trash(f->puts));
    return rc;
}

/* ---- the trash ---- */

/* Its metadata comes back with it, and what it has by now goes. That it is the newest now lets it win where content is compared. */
static int restore_side(const struct flat *f, const struct trash_restore *how, const char *run, const char *id, uint64_t side,
                        struct err *e)
{
    char *name = mem_printf("%s.json", id);
    int rc = 0;
    utimensat(f->root, id, NULL, AT_SYMLINK_NOFOLLOW);
    if (side)
        rc = trash_restore(how, run, side, e);
    else if (faccessat(f->root, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        rc = trash_take(how->trash, f->root, name, name, "restored over", e);
    free(name);
    return rc < 0 ? err_wrap(e, "its metadata") : 0;
}

static int flat_trash_restore(struct store *s, const char *run, uint64_t id, int64_t now, struct err *e)
{
    struct flat *f = flat_of(s);
    struct trash_record item;
    struct uuid store = blob_keep_id(f->base.keep);
    uint64_t side;
    assert(!f->base.o.dry_run);
    if (f->base.o.read_only)
        return err_set(e, ERR_DENIED, STORE_SAYS_READ_ONLY);
    int rc = f->root < 0 ? err_set(e, ERR_CHANGED, "is not in the trash any more")
                         : blob_trash_find(f->base.keep, run, id, &item, &side, e);
    if (rc < 0)
        return rc;
    struct trash *trash = blob_trash_new(f->base.keep, &f->base.o, now, INT64_MAX);
    const struct trash_restore how = {.root = f->root, .state = blob_keep_state(f->base.keep), .store = &store, .trash = trash,
                                      .no_delete = f->base.o.no_delete, .sync = f->base.o.fsync != STORE_FSYNC_NONE};
    rc = trash_restore(&how, run, id, e);
    if (rc == 0 && blob_is_id(item.path, strlen(item.path)))
        rc = restore_side(f, &how, run, item.path, side, e);
    trash_free(trash);
    return rc;
}

static void flat_close(struct store *s)
{
    struct flat *f = flat_of(s);
    flat_puts_free(f->puts);
    by_id_free(&f->base);
    free(f->piece);
    if (f->base.o.scratch > 0)
        close(f->base.o.scratch);
    if (f->root >= 0)
        close(f->root);
    free(f);
}

struct store *store_flat_new(const struct store_options *options)
{
    static const struct store_ops ops = {
        .kind = "directory of blobs",
        .inspect = flat_inspect,
        .scan = flat_scan,
        .status = by_id_status,
        .manifest = by_id_manifest,
        .manifest_before = by_id_manifest_before,
        .have = by_id_have,
        .read_open = by_id_read_open,
        .read_file = by_id_read_file,
        .read_link = by_id_read_link,
        .blob_open = flat_blob_open,
        .blob_read = flat_blob_read,
        .blob_close = flat_blob_close,
        .check = by_id_check,
        .apply = flat_apply,
        .put_begin = flat_put_begin,
        .partial = by_id_nothing,
        .basis = by_id_nothing,
        .put_keep = by_id_put_keep,
        .put_data = flat_put_data,
        .put_end = flat_put_end,
        .flush = flat_flush,
        .commit = flat_commit,
        .trash_list = by_id_trash_list,
        .trash_restore = flat_trash_restore,
        .trash_empty = by_id_trash_empty,
        .close = flat_close,
    };
    struct flat *f = mem_zalloc(sizeof *f);
    f->base.store.ops = &ops;
    f->base.o = *options;
    f->root = -1;
    return &f->base.store;
}
