#include "store/dir.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/reserve.h"
#include "store/root.h"
#include "store/trash_list.h"
#include "store/trash_restore.h"
#include "store/trash_sweep.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- inspect ---- */

/* Who has the lock may have said so in the state. */
static int in_use(const struct dir *d, struct err *e)
{
    char holder[STATE_HOLDER_MAX];
    struct state s;
    struct err ignored;
    bool told = state_open(&s, d->root, d->o.root, d->o.state_dir, false, &ignored) == 0 && state_holder(&s, holder);
    state_close(&s);
    return err_set(e, ERR_LOCKED, "%s is in use by %s", d->o.root, told ? holder : "another run");
}

void dir_hold(struct dir *d)
{
    if (d->o.dry_run || d->state.fd < 0 || d->holds)
        return;
    state_hold(&d->state);
    d->holds = true;
}

/* 0, also when it is not there; then d->root stays -1. */
int dir_open_root(struct dir *d, struct err *e)
{
    int rc = root_open(d->o.root, d->o.dry_run, &d->root, e);
    return rc == ERR_LOCKED ? in_use(d, e) : rc;
}

static int inspect_state(struct dir *d, struct store_info *info, struct err *e)
{
    struct marker m;
    int rc = state_open(&d->state, d->root, d->o.root, d->o.state_dir, false, e);
    if (rc == 0)
        dir_hold(d);
    if (rc == 0)
        rc = state_read_marker(&d->state, &m, e);
    if (rc == 0 && m.group) {
        info->marked = true;
        info->id = d->id = m.id;
        info->group = m.group;
    }
    if (rc == 0)
        rc = state_read_peers(&d->state, &info->peer, &info->peers, e);
    if (rc == 0)
        state_read_seen(&d->state, info->peer, info->peers);
    return rc;
}

#define INODES_LEAST 16 /* with fewer, nothing is to be added */

/* What others may fill: at least a byte, as nothing means that it is not known. */
static uint64_t free_bytes(const struct dir *d)
{
    struct statvfs fs;
    struct stat root, state, manifest;
    if (fstatvfs(d->root, &fs) < 0)
        return 0;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, claim = 0;
    bool known = d->state.fd >= 0;
    if (!known || (fstat(d->root, &root) == 0 && fstat(d->state.fd, &state) == 0 && root.st_dev == state.st_dev)) {
        known = known && fstatat(d->state.fd, STATE_MANIFEST, &manifest, AT_SYMLINK_NOFOLLOW) == 0;
        claim = reserve_claim(known ? (uint64_t)manifest.st_size : 0);
    }
    bool full = room <= claim || (fs.f_files > 0 && fs.f_favail < INODES_LEAST);
    return full ? 1 : room - claim;
}

static int dir_inspect(struct store *s, struct store_info *info, struct err *e)
{
    struct dir *d = dir_of(s);
    *info = (struct store_info){.caps = STORE_CAN_ADOPT | STORE_CAN_LEND | STORE_KEEPS_META};
    uuid_random(&info->id);
    int rc = dir_open_root(d, e);
    if (rc < 0)
        return rc;
    info->exists = d->root >= 0;
    info->parent_exists = info->exists || root_parent_exists(d->o.root);
    if (!info->exists)
        return 0;
    rc = inspect_state(d, info, e);
    info->free_bytes = free_bytes(d);
    if (rc < 0)
        store_info_free(info);
    return rc;
}

/* ---- what is recorded ---- */

static int survey(int manifest, struct store_status *out, struct err *e)
{
    struct manifest_head head;
    const struct entry *at;
    bool files = false;
    struct manifest_reader *r = manifest_reader_new(manifest, &head, e);
    int rc = r ? manifest_file_totals(manifest, &out->totals, e) : e->code;
    while (rc == 0 && (rc = manifest_reader_next(r, &at, e)) > 0) {
        rc = 0;
        if (at->flags & ENTRY_HIDDEN)
            continue;
        out->damaged += (at->flags & ENTRY_DAMAGED) != 0;
        if (at->kind == ENTRY_FILE && (!files || at->place.verified < out->verified)) {
            out->verified = at->place.verified;
            files = true;
        }
    }
    manifest_reader_free(r);
    return rc;
}

static int dir_status(struct store *s, struct store_status *out, struct err *e)
{
    struct dir *d = dir_of(s);
    *out = (struct store_status){0};
    int fd = d->state.fd < 0 ? -1 : state_file(&d->state, STATE_MANIFEST, e);
    if (fd < 0)
        return fd < -1 ? fd : 0;
    out->recorded = true;
    if (!state_read_last(&d->state, &out->last_run))
        out->last_run = 0;
    d->manifest = fd;
    return survey(fd, out, e);
}

static int dir_manifest(struct store *s)
{
    return dir_of(s)->manifest;
}

static int dir_manifest_before(struct store *s)
{
    return dir_of(s)->before;
}

/* ---- the trash ---- */

static int dir_trash_list(struct store *s, int (*tell)(void *ctx, const struct store_trash *item), void *ctx,
                          struct err *e)
{
    struct dir *d = dir_of(s);
    return trash_list_all(d->state.fd, d->state.shown, &d->id, tell, ctx, e);
}

static int dir_trash_restore(struct store *s, const char *run, uint64_t id, int64_t now, struct err *e)
{
    struct dir *d = dir_of(s);
    assert(!d->o.dry_run);
    if (d->o.read_only)
        return err_set(e, ERR_DENIED, STORE_SAYS_READ_ONLY);
    if (d->root < 0 || d->state.fd < 0)
        return err_set(e, ERR_CHANGED, "is not in the trash any more");
    if (!d->trash)
        d->trash = dir_new_trash(d, now, INT64_MAX);
    const struct trash_restore how = {
        .root = d->root, .state = d->state.fd, .store = &d->id, .forbidden = d->state.inside, .trash = d->trash,
        .no_delete = d->o.no_delete, .sync = dir_synced(d),
    };
    return trash_restore(&how, run, id, e);
}

static int dir_trash_empty(struct store *s, int64_t now, int64_t older, uint64_t *items, uint64_t *bytes,
                           struct err *e)
{
    struct dir *d = dir_of(s);
    struct trash_sweep how = {.state = d->state.fd, .now = now, .older = older, .spare = "", .watch = &d->o.watch};
    assert(!d->o.dry_run);
    *items = *bytes = 0;
    if (d->o.no_delete || d->o.read_only)
        return err_set(e, ERR_DENIED, STORE_SAYS_NO_EMPTY);
    int rc = trash_sweep(&how, e);
    *items = how.items;
    *bytes = how.bytes;
    return rc < 0 ? err_wrap(e, "%s/trash", d->state.shown) : 0;
}

static void dir_close(struct store *s)
{
    struct dir *d = dir_of(s);
    bool idle = d->put && put_intents(d->put) == 0;
    dir_look_free(d->early);
    put_free(d->put);
    if (idle)
        state_remove(&d->state, STATE_JOURNAL);
    trash_free(d->trash);
    index_free(d->index);
    lookup_free(d->asked);
    lookup_free(d->own);
    partial_free(d->partials);
    recall_free(d->recall);
    if (d->from)
        file_dirs_close(d->from);
    free(d->from);
    digest_free(d->hash);
    if (d->manifest >= 0)
        close(d->manifest);
    if (d->before >= 0)
        close(d->before);
    if (d->o.scratch > 0)
        close(d->o.scratch);
    if (d->holds)
        state_let_go(&d->state);
    state_close(&d->state);
    if (d->root >= 0)
        close(d->root);
    free(d);
}

struct store *store_dir_new(const struct store_options *options)
{
    static const struct store_ops ops = {
        .kind = "directory",
        .inspect = dir_inspect,
        .look = dir_look,
        .scan = dir_scan,
        .status = dir_status,
        .manifest = dir_manifest,
        .manifest_before = dir_manifest_before,
        .lend = dir_lend,
        .have = dir_have,
        .read_open = dir_read_open,
        .read_file = dir_read_file,
        .read_link = dir_read_link,
        .check = dir_check,
        .apply = dir_apply,
        .put_begin = dir_put_begin,
        .partial = dir_partial,
        .basis = dir_basis,
        .put_keep = dir_put_keep,
        .put_data = dir_put_data,
        .put_end = dir_put_end,
        .flush = dir_flush,
        .commit = dir_commit,
        .trash_list = dir_trash_list,
        .trash_restore = dir_trash_restore,
        .trash_empty = dir_trash_empty,
        .close = dir_close,
    };
    struct dir *d = mem_zalloc(sizeof *d);
    d->store.ops = &ops;
    d->o = *options;
    d->moment = d->o.rules.now ? d->o.rules.now : clock_now().sec;
    d->root = d->manifest = d->before = -1;
    d->state.fd = -1;
    /* Of what a check reads, little is new. */
    d->recall = d->o.recall && !d->o.checksum && !d->o.rules.parts ? recall_new(0, RECALL_FRESH_MS) : NULL;
    return &d->store;
}
