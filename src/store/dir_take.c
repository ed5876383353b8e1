/* A directory as a store: what others have is taken in, and recorded. */
#include "store/dir.h"

#include "base/path.h"
#include "store/check.h"
#include "store/fold.h"
#include "store/seen.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int need_put(struct dir *d, struct err *e)
{
    assert(!d->o.dry_run && d->manifest >= 0);
    if (d->put)
        return 0;
    int journal = state_create(&d->state, STATE_JOURNAL, e);
    if (journal < 0)
        return journal;
    if (d->o.fsync == STORE_FSYNC_ALWAYS && fsync(d->state.fd) < 0) {
        close(journal);
        return err_sys(e, "%s", d->state.shown);
    }
    struct put_args args = {
        .root = d->root, .state = d->state.fd, .manifest = d->manifest, .journal = journal, .id = d->id,
        .verified = d->moment, .forbidden = d->state.inside, .index = &d->index, .trash = d->trash, .partials = d->partials,
        .fsync = d->o.fsync, .threads = d->o.threads, .watch = &d->o.watch, .read_only = d->o.read_only, .no_delete = d->o.no_delete,
        .cross = d->o.rules.cross,
    };
    d->put = put_new(&args, e);
    return d->put ? 0 : e ? e->code : ERR_SYS;
}

/* A symlink is its target. */
static bool link_is(struct dir *d, int dir, const char *leaf, const struct entry *want)
{
    char target[ENTRY_TARGET_MAX + 1];
    ssize_t n = readlinkat(dir, leaf, target, sizeof target);
    return n >= 0 && dir_is_content(d, want, target, (size_t)n);
}

static int check_content(struct dir *d, int dir, const char *leaf, const struct entry *have, enum store_check *found,
                         struct err *e)
{
    int fd = openat(dir, leaf, DIR_OPEN_SOURCE);
    if (fd < 0)
        return 0;
    struct content *c = content_new(&d->o.watch, NULL);
    int rc = check_file(c, fd, have, found, e);
    content_free(c);
    close(fd);
    if (rc == 0 && *found == STORE_CHECK_DAMAGED)
        rc = need_put(d, e);
    if (rc == 0 && *found == STORE_CHECK_DAMAGED)
        put_damaged(d->put, have);
    return rc;
}

static int check_recorded(struct dir *d, const struct entry *want, bool read, enum store_check *found, struct err *e)
{
    struct err why;
    const struct entry *have;
    const char *leaf;
    *found = STORE_CHECK_CHANGED;
    int dir = want->kind == ENTRY_FILE || want->kind == ENTRY_LINK ? dir_find_source(d, want, &leaf, &why) : ERR_CHANGED;
    if (dir == ERR_DAMAGED)
        *found = STORE_CHECK_DAMAGED;
    if (dir < 0)
        return 0;
    int rc = lookup_find(d->asked, want->path, want->path_len, &have, e);
    if (rc < 0)
        return rc;
    if (want->kind == ENTRY_LINK) {
        *found = link_is(d, dir, leaf, want) ? STORE_CHECK_GOOD : STORE_CHECK_CHANGED;
        return 0;
    }
    struct seen seen = seen_of(have);
    struct stat st;
    if (read || have->place.racy)
        return check_content(d, dir, leaf, have, found, e);
    if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && seen_is(&seen, &st, true))
        *found = STORE_CHECK_GOOD;
    return 0;
}

static int wrapped(const struct dir *d, int rc, struct err *e)
{
    if (rc < 0)
        err_wrap(e, "%s", d->o.root);
    return rc;
}

int dir_apply(struct store *s, const struct store_op *op, struct err *e)
{
    struct dir *d = dir_of(s);
    int rc = need_put(d, e);
    d->added |= op->how != STORE_PRUNE;
    return rc < 0 ? rc : wrapped(d, put_apply(d->put, op, e), e);
}

int dir_put_begin(struct store *s, const struct store_op *op, struct err *e)
{
    struct dir *d = dir_of(s);
    int rc = need_put(d, e);
    d->added = true;
    return rc < 0 ? rc : wrapped(d, put_begin(d->put, op, e), e);
}

int dir_partial(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e)
{
    (void)e;
    return want->kind == ENTRY_FILE && want->size >= STORE_RESUME_MIN &&
           partial_read(dir_of(s)->partials, want, fd, size);
}

int dir_basis(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e)
{
    struct dir *d = dir_of(s);
    const struct entry *have;
    const char *leaf;
    struct stat st;
    int rc = path_check(want->path, want->path_len, e);
    if (rc < 0 || d->root < 0)
        return rc;
    if (!d->own)
        d->own = lookup_new(d->manifest);
    rc = lookup_find(d->own, want->path, want->path_len, &have, e);
    if (rc < 0)
        return rc;
    if (want->kind != ENTRY_FILE || !have || have->kind != ENTRY_FILE || have->size == 0 ||
        have->flags & (ENTRY_HIDDEN | ENTRY_UNKNOWN | ENTRY_DAMAGED) || entry_same_content(have, want))
        return 0;
    struct seen seen = seen_of(have);
    int dir = dir_parent_of(d, want, &leaf);
    *fd = dir < 0 ? -1 : openat(dir, leaf, DIR_OPEN_SOURCE);
    if (*fd < 0)
        return 0;
    if (fstat(*fd, &st) == 0 && seen_is(&seen, &st, true)) {
        *size = have->size;
        return 1;
    }
    close(*fd);
    return 0;
}

int dir_put_keep(struct store *s, uint64_t n, struct err *e)
{
    return put_keep(dir_of(s)->put, n, e);
}

int dir_put_data(struct store *s, const void *p, size_t n, struct err *e)
{
    return put_data(dir_of(s)->put, p, n, e);
}

int dir_put_end(struct store *s, const char *failed, struct err *e)
{
    struct dir *d = dir_of(s);
    return wrapped(d, put_end(d->put, failed, e), e);
}

int dir_flush(struct store *s, struct err *e)
{
    struct dir *d = dir_of(s);
    return d->put ? wrapped(d, put_flush(d->put, e), e) : 0;
}

/* ---- the end ---- */

/* They are of a manifest that is no longer the last. */
static void forget_lookups(struct dir *d)
{
    lookup_free(d->asked);
    lookup_free(d->own);
    index_free(d->index);
    d->asked = d->own = NULL;
    d->index = NULL;
}

static int commit_journal(struct dir *d, struct err *e)
{
    int journal = state_file(&d->state, STATE_JOURNAL, e), out = -1, rc = ERR_SYS;
    if (journal == -1)
        err_set(e, ERR_SYS, "%s/%s: is gone", d->state.shown, STATE_JOURNAL);
    if (journal >= 0)
        rc = out = state_create(&d->state, STATE_MANIFEST_NEW, e);
    if (rc >= 0)
        rc = fold_manifest(d->manifest, journal, out, &d->id, e);
    if (rc == 0)
        rc = state_adopt_manifest(&d->state, out, d->o.fsync, e);
    if (journal >= 0)
        close(journal);
    if (rc == 0) {
        if (d->before >= 0)
            close(d->before);
        d->before = d->manifest;
        d->manifest = out;
        forget_lookups(d);
    } else if (out >= 0)
        close(out);
    return rc;
}

static void sweep_partials(struct dir *d)
{
    struct err ignored;
    int manifest = state_file(&d->state, STATE_MANIFEST, &ignored);
    partial_sweep(d->partials, manifest);
    if (manifest >= 0)
        close(manifest);
}

/* What was put so far is recorded. */
static int commit_put(struct dir *d, struct err *e)
{
    int rc = d->put ? put_flush(d->put, e) : 0;
    d->added = false;
    if (rc < 0 || !d->put)
        return rc;
    bool done = put_done(d->put) > 0;
    put_free(d->put);
    d->put = NULL;
    if (done)
        rc = commit_journal(d, e);
    else
        state_remove(&d->state, STATE_JOURNAL);
    while (rc < 0 && trash_no_room(e) && trash_make_room(d->trash, 0))
        rc = commit_journal(d, e);
    return rc;
}

/* A copy that came in this run is one as well, when it is recorded; which is asked for once, after all that has come. */
int dir_check(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e)
{
    struct dir *d = dir_of(s);
    int rc = check_recorded(d, want, read, found, e);
    if (rc < 0 || *found != STORE_CHECK_CHANGED || !d->added)
        return rc;
    rc = commit_put(d, e);
    return rc < 0 ? rc : check_recorded(d, want, read, found, e);
}

/* When it took part, and met whom. Where there is no room for that, an earlier run says so, which is only more careful. */
static int write_times(struct dir *d, const struct store_peer *peer, size_t peers, struct err *e)
{
    int rc = state_write_last(&d->state, d->o.rules.now, e);
    if (rc == 0)
        rc = state_write_seen(&d->state, peer, peers, d->o.rules.now, e);
    if (rc == 0 || !trash_no_room(e))
        return rc;
    d->o.watch.problem(d->o.watch.ctx, false, NULL, "the disk is full: it is not recorded that it took part in this run");
    return 0;
}

int dir_commit(struct store *s, const struct store_peer *peer, size_t peers, struct err *e)
{
    struct dir *d = dir_of(s);
    assert(!d->o.dry_run && d->manifest >= 0);
    int rc = commit_put(d, e);
    if (rc == 0)
        rc = state_remember_peers(&d->state, peer, peers, dir_synced(d), e);
    if (rc == 0)
        rc = write_times(d, peer, peers, e);
    if (rc == 0) {
        sweep_partials(d);
        trash_expire(d->trash);
    }
    return rc;
}
