/*
 * A directory of blobs, as a blob-server has it on its disk: each object is a file that has its id for a name, beside it
 * the sidecar ID.json with its metadata, where it has any.
 */
#include "store/store.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/rate.h"
#include "store/blob.h"
#include "store/blob_json.h"
#include "store/blob_keep.h"
#include "store/blob_trash.h"
#include "store/flat_put.h"
#include "store/root.h"
#include "store/state.h"
#include "store/trash_restore.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OPEN_BLOB (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define PIECE ((size_t)128 * 1024)
#define SAY_MAX 5u
#define SIDECAR_MAX ((size_t)256 * 1024) /* bytes */
#define DAMAGED "is damaged: its content does not have the SHA-1 that is its id"

struct flat {
    struct store store; /* first */
    struct store_options o;
    struct store_rules rules;
    int root;           /* carries the lock; -1: there is none */
    struct blob_keep *keep;
    struct flat_puts *puts;
    struct blob_list suspects;
    uint8_t *piece;     /* room */
    struct rate rate;   /* at which objects are looked at again */
    bool scanned;
};

struct store_blob {
    char *id;
    int fd;
    struct sha1 *sha1;
    uint64_t size, got;
    bool begun;
    struct digest_state *sum; /* NULL: what was asked for is whatever is there; else what has this digest: */
    struct digest digest;
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
    char *dir = store_flat_state(f->o.root, f->o.state_dir);
    f->keep = blob_keep_new(&f->o, f->o.root, dir, &fresh);
    blob_keep_of_directory(f->keep);
    free(dir);
    int rc = root_open(f->o.root, f->o.dry_run, &f->root, e);
    if (rc < 0)
        return rc;
    info->exists = f->root >= 0;
    info->parent_exists = info->exists || root_parent_exists(f->o.root);
    if (info->exists && fstatvfs(f->root, &fs) == 0)
        info->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    rc = blob_keep_inspect(f->keep, info, e);
    if (rc < 0)
        store_info_free(info);
    /* A disk that is not mounted leaves the state beside it: that alone is no marker. */
    else if (!info->exists && info->marked)
        info->marked = false;
    return rc;
}

/* ---- scan ---- */

struct taking {
    struct blob_list *list;
    uint64_t skipped;
    char shown[256];
};

static void skip(struct taking *t, const char *name)
{
    char one[64];
    size_t n = strlen(t->shown);
    if (t->skipped++ < SAY_MAX)
        snprintf(t->shown + n, sizeof t->shown - n, "%s%.40s", n ? ", " : "", path_show(one, sizeof one, name, strlen(name)));
}

static bool is_sidecar(const char *name, size_t len)
{
    return len > 5 && strcmp(name + len - 5, ".json") == 0;
}

static void take_name(struct flat *f, struct taking *t, const struct dirent *at)
{
    struct stat st;
    size_t len = strlen(at->d_name);
    if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0 || is_sidecar(at->d_name, len))
        return;
    bool file = at->d_type == DT_REG ||
                (at->d_type == DT_UNKNOWN && fstatat(f->root, at->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode));
    if (file && blob_is_id(at->d_name, len))
        blob_list_add(t->list, at->d_name, len);
    else
        skip(t, at->d_name);
}

static int list_root(struct flat *f, struct blob_list *list, struct err *e)
{
    struct taking t = {.list = list};
    struct err text;
    int fd = f->root < 0 ? -1 : openat(f->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return f->root < 0 ? 0 : err_sys(e, "%s", f->o.root);
    }
    const struct dirent *at;
    while ((errno = 0, at = readdir(d)))
        take_name(f, &t, at);
    int rc = errno ? err_sys(e, "%s", f->o.root) : 0;
    closedir(d);
    blob_list_sort(list);
    if (rc == 0 && t.skipped > 0) {
        err_set(&text, 0, "it has %" PRIu64 " %s that cannot be objects, and %s skipped: %s%s", t.skipped,
                t.skipped == 1 ? "name" : "names", t.skipped == 1 ? "is" : "are", t.shown, t.skipped > SAY_MAX ? ", ..." : "");
        f->o.watch.problem(f->o.watch.ctx, false, NULL, text.msg);
    }
    return rc;
}

static bool is_due(struct flat *f, const char *id)
{
    if (f->o.checksum || blob_list_find(&f->suspects, id))
        return true;
    return f->rules.parts > 0 && digest_check(id, strlen(id)) % f->rules.parts == f->rules.part - 1;
}

static int keep_to_rate(struct flat *f, size_t n)
{
    int rc = f->o.watch.progress(f->o.watch.ctx, 0, 0);
    rate_take(&f->rate, n);
    while (rc == 0 && rate_room(&f->rate, clock_mono_ms()) == 0) {
        int wait = rate_wait_ms(&f->rate);
        poll(NULL, 0, wait < 100 ? wait : 100);
        rc = f->o.watch.progress(f->o.watch.ctx, 0, 0);
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
        f->o.watch.problem(f->o.watch.ctx, true, id, strerror(errno));
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
    if (item->damaged && f->o.watch.damage)
        f->o.watch.damage(f->o.watch.ctx, id, DAMAGED);
    return 0;
}

static int check_due(struct flat *f, struct blob_list *list, struct err *e)
{
    struct digest_state *digest = digest_new();
    struct sha1 *sha1 = sha1_new();
    int rc = 0;
    rate_init(&f->rate, f->rules.rate, clock_mono_ms());
    for (size_t i = 0; rc == 0 && i < list->n; i++)
        if (is_due(f, blob_list_id(list, i)))
            rc = check_one(f, &list->item[i], blob_list_id(list, i), digest, sha1, e);
    digest_free(digest);
    sha1_free(sha1);
    return rc;
}

static void suspect(void *ctx, const char *id)
{
    struct flat *f = ctx;
    blob_list_add(&f->suspects, id, strlen(id));
}

static int make_root(struct flat *f, struct err *e)
{
    if (f->root >= 0 || f->o.dry_run)
        return 0;
    if (f->o.read_only)
        return err_set(e, ERR_DENIED, "%s: does not exist, and is served for reading only (--read-only)", f->o.root);
    if (mkdir(f->o.root, 0777) < 0 && errno != EEXIST)
        return err_sys(e, "%s: cannot make the store", f->o.root);
    return root_open(f->o.root, f->o.dry_run, &f->root, e);
}

static int flat_scan(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e)
{
    struct flat *f = flat_of(s);
    struct blob_list list = {0};
    const struct store_rules *rules = &f->o.rules;
    *out = (struct store_scan){0};
    f->rules = *rules;
    f->piece = mem_alloc(PIECE);
    int rc = blob_keep_begin(f->keep, id, group, rules, &out->before, suspect, f, e);
    if (rc == 0 && f->root < 0 && out->before > 1 && !rules->emptied && !rules->adopted)
        rc = err_set(e, ERR_GUARD, "%s: is gone, though it held %" PRIu64 " objects when it was last seen: check that its disk "
                     "is mounted (if this is meant, --max-delete 100%% lets it pass)", f->o.root, out->before);
    if (rc == 0)
        rc = make_root(f, e);
    blob_list_sort(&f->suspects);
    if (rc == 0)
        rc = list_root(f, &list, e);
    if (rc == 0 && list.n == 0 && out->before > 1 && !rules->emptied && !rules->adopted)
        rc = err_set(e, ERR_GUARD, "%s: is empty, though it held %" PRIu64 " objects when it was last seen: check that its disk "
                     "is mounted (if this is meant, --max-delete 100%% lets it pass)", f->o.root, out->before);
    if (rc == 0)
        rc = check_due(f, &list, e);
    if (rc == 0)
        rc = blob_keep_scan(f->keep, &list, out, e);
    blob_list_free(&list);
    f->scanned = rc == 0;
    return rc;
}

static int flat_status(struct store *s, struct store_status *out, struct err *e)
{
    return blob_keep_status(flat_of(s)->keep, out, e);
}

static int flat_manifest(struct store *s)
{
    return blob_keep_manifest(flat_of(s)->keep);
}

static int flat_manifest_before(struct store *s)
{
    return blob_keep_manifest_before(flat_of(s)->keep);
}

static int flat_have(struct store *s, const struct digest *d, size_t n, uint8_t *have, struct err *e)
{
    (void)s;
    (void)d;
    (void)e;
    memset(have, STORE_HAVE_NOT, n);
    return 0;
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
    *b = (struct store_blob){.id = mem_strdup(want->path), .fd = fd, .size = (uint64_t)st.st_size};
    b->sha1 = sha1_names(want->path, want->path_len) ? sha1_new() : NULL;
    b->sum = blob_is_read(want) ? digest_new() : NULL;
    b->digest = want->digest;
    if (b->sum)
        digest_reset(b->sum);
    *out = b;
    return 0;
}

static void flat_blob_close(struct store *s, struct store_blob *b)
{
    (void)s;
    close(b->fd);
    sha1_free(b->sha1);
    if (b->sum)
        digest_free(b->sum);
    free(b->id);
    free(b);
}

static int give_head(struct flat *f, struct store_blob *b, struct buf *out, struct err *e)
{
    struct buf headers = {0};
    struct err why;
    size_t len;
    char *name = mem_printf("%s.json", b->id);
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

/* Content that won over other content must still be the same. */
static bool is_other(const struct store_blob *b)
{
    struct digest found = b->sum ? digest_end(b->sum) : b->digest;
    return !digest_same(&found, &b->digest);
}

static int end_blob(struct flat *f, struct store_blob *b, struct err *e)
{
    if (b->got != b->size || is_other(b))
        return err_set(e, ERR_CHANGED, "changed during the run; left for the next run");
    if (!b->sha1 || sha1_is(b->sha1, b->id))
        return STORE_BLOB_END;
    if (f->scanned && !f->o.dry_run) {
        int rc = blob_keep_damaged(f->keep, b->id, e);
        if (rc < 0)
            return rc;
        if (f->o.watch.damage)
            f->o.watch.damage(f->o.watch.ctx, b->id, DAMAGED);
    }
    return err_set(e, ERR_DAMAGED, "%s/%s " DAMAGED, f->o.root, b->id);
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
    if (b->sha1)
        sha1_add(b->sha1, out->data + out->len, (size_t)n);
    if (b->sum)
        digest_add(b->sum, out->data + out->len, (size_t)n);
    out->len += (size_t)n;
    b->got += (uint64_t)n;
    return 1;
}

static int flat_read_open(struct store *s, const struct entry *want, struct err *e)
{
    (void)s;
    (void)want;
    return err_set(e, ERR_UNSUPPORTED, "is known by its id");
}

static int flat_read_file(struct store *s, const struct entry *want, void *buf, struct err *e)
{
    (void)buf;
    return flat_read_open(s, want, e);
}

static int flat_read_link(struct store *s, const struct entry *want, char *target, size_t size, struct err *e)
{
    (void)target;
    (void)size;
    return flat_read_open(s, want, e);
}

static int flat_check(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e)
{
    struct flat *f = flat_of(s);
    struct store_blob *b;
    struct buf bytes = {0};
    struct err why;
    (void)read; /* a name in a list is no proof of content */
    *found = STORE_CHECK_CHANGED;
    if (flat_blob_open(s, want, &b, &why) < 0)
        return 0;
    int rc, stop = 0;
    while ((rc = flat_blob_read(s, b, &bytes, PIECE, &why)) >= 0 && rc != STORE_BLOB_END && stop == 0) {
        bytes.len = 0;
        stop = f->o.watch.progress(f->o.watch.ctx, 0, 0);
    }
    flat_blob_close(s, b);
    buf_free(&bytes);
    if (rc == STORE_BLOB_END)
        *found = STORE_CHECK_GOOD;
    else if (rc == ERR_DAMAGED)
        *found = STORE_CHECK_DAMAGED;
    return stop < 0 ? err_set(e, stop, "the work was stopped") : 0;
}

/* ---- target side ---- */

static struct flat_puts *puts_of(struct flat *f)
{
    assert(!f->o.dry_run);
    if (!f->puts) {
        const struct flat_puts_args a = {.root = f->root, .keep = f->keep, .o = &f->o, .now = f->rules.now, .trash = f->rules.trash};
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

static int flat_nothing(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e)
{
    (void)s;
    (void)want;
    (void)fd;
    (void)size;
    (void)e;
    return 0;
}

static int flat_put_keep(struct store *s, uint64_t n, struct err *e)
{
    (void)s;
    (void)n;
    return err_set(e, ERR_UNSUPPORTED, "no parts are kept here");
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
        rc = blob_keep_commit(f->keep, peer, peers, e);
    if (rc == 0)
        blob_trash_expire(f->keep, &f->o, flat_puts_trash(f->puts));
    return rc;
}

/* ---- the trash ---- */

static int flat_trash_list(struct store *s, int (*tell)(void *ctx, const struct store_trash *item), void *ctx, struct err *e)
{
    return blob_trash_list(flat_of(s)->keep, tell, ctx, e);
}

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
    struct uuid store = blob_keep_id(f->keep);
    uint64_t side;
    assert(!f->o.dry_run);
    if (f->o.read_only)
        return err_set(e, ERR_DENIED, STORE_SAYS_READ_ONLY);
    int rc = f->root < 0 ? err_set(e, ERR_CHANGED, "is not in the trash any more") : blob_trash_find(f->keep, run, id, &item, &side, e);
    if (rc < 0)
        return rc;
    struct trash *trash = blob_trash_new(f->keep, &f->o, now, INT64_MAX);
    const struct trash_restore how = {.root = f->root, .state = blob_keep_state(f->keep), .store = &store, .trash = trash,
                                      .no_delete = f->o.no_delete, .sync = f->o.fsync != STORE_FSYNC_NONE};
    rc = trash_restore(&how, run, id, e);
    if (rc == 0 && blob_is_id(item.path, strlen(item.path)))
        rc = restore_side(f, &how, run, item.path, side, e);
    trash_free(trash);
    return rc;
}

static int flat_trash_empty(struct store *s, int64_t now, int64_t older, uint64_t *items, uint64_t *bytes, struct err *e)
{
    struct flat *f = flat_of(s);
    assert(!f->o.dry_run);
    return blob_trash_empty(f->keep, &f->o, now, older, items, bytes, e);
}

static void flat_close(struct store *s)
{
    struct flat *f = flat_of(s);
    flat_puts_free(f->puts);
    blob_keep_free(f->keep);
    blob_list_free(&f->suspects);
    free(f->piece);
    if (f->o.scratch > 0)
        close(f->o.scratch);
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
        .status = flat_status,
        .manifest = flat_manifest,
        .manifest_before = flat_manifest_before,
        .have = flat_have,
        .read_open = flat_read_open,
        .read_file = flat_read_file,
        .read_link = flat_read_link,
        .blob_open = flat_blob_open,
        .blob_read = flat_blob_read,
        .blob_close = flat_blob_close,
        .check = flat_check,
        .apply = flat_apply,
        .put_begin = flat_put_begin,
        .partial = flat_nothing,
        .basis = flat_nothing,
        .put_keep = flat_put_keep,
        .put_data = flat_put_data,
        .put_end = flat_put_end,
        .flush = flat_flush,
        .commit = flat_commit,
        .trash_list = flat_trash_list,
        .trash_restore = flat_trash_restore,
        .trash_empty = flat_trash_empty,
        .close = flat_close,
    };
    struct flat *f = mem_zalloc(sizeof *f);
    f->store.ops = &ops;
    f->o = *options;
    f->root = -1;
    return &f->store;
}
