/* A directory as a store. */
#include "store/store.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/check.h"
#include "store/fold.h"
#include "store/history.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/lookup.h"
#include "store/partial.h"
#include "store/put.h"
#include "store/renames.h"
#include "store/reserve.h"
#include "store/scan.h"
#include "store/seen.h"
#include "store/state.h"
#include "store/told.h"
#include "store/trash.h"
#include "store/trash_list.h"
#include "store/trash_restore.h"
#include "store/trash_sweep.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OPEN_SOURCE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define MOVE_AWAY "move it away, then all objects count as new and nothing is lost"

/* What the store remembers: each descriptor is -1 when there is none. */
struct memory {
    int manifest, journal;
    enum digest_algo hash; /* of the manifest's contents */
    struct history *history;
    uint64_t intents; /* in the journal */
};

/* A walk, and what came of it. */
struct look {
    bool early;         /* nobody has asked for it yet: it changes nothing in the store, and what it tells is kept: */
    struct told *told;  /* else NULL */
    struct uuid id;     /* the store's, for which it was made */
    struct memory memory;
    struct renames *renames;
    int fd;             /* of the manifest that it made; -1: none, or given away */
    struct store_scan out;
};

struct dir {
    struct store store; /* first */
    struct store_options o;
    int64_t moment;     /* seconds since 1970: of this run, by the coordinator's clock if it said so */
    int root;           /* carries the lock; -1 when there is no root */
    struct state state;
    bool holds;         /* the lock, and the state says so */
    struct uuid id;
    struct look *early; /* made before the scan was asked for; NULL: none */
    int manifest;       /* the scan's; after the commit, what that recorded */
    int before;         /* the one recorded before that, which others may still read; -1: none */
    struct index *index;
    struct trash *trash;
    struct put *put;    /* from the first operation on */
    bool added;         /* it has put what the manifest does not have yet */
    struct partials *partials; /* from the scan on */
    struct recall *recall; /* NULL: nobody would ask */
    struct lookup *asked; /* the source side's */
    struct lookup *own;   /* the target side's, for bases */
    struct file_dirs *from;
    struct digest_state *hash; /* NULL until something is read at once */
};

static struct dir *dir_of(struct store *s)
{
    return (struct dir *)s;
}

static bool synced(const struct dir *d)
{
    return d->o.fsync != STORE_FSYNC_NONE;
}

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

static void hold(struct dir *d)
{
    if (d->o.dry_run || d->state.fd < 0 || d->holds)
        return;
    state_hold(&d->state);
    d->holds = true;
}

/* 0, also when it is not there; then d->root stays -1. */
static int open_root(struct dir *d, struct err *e)
{
    d->root = open(d->o.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->root < 0 && errno != ENOENT)
        return err_sys(e, "%s", d->o.root);
    if (d->root < 0)
        return 0;
    if (flock(d->root, (d->o.dry_run ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_sys(e, "%s: cannot lock it", d->o.root);
    return in_use(d, e);
}

static bool parent_exists(const char *path)
{
    struct stat st;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    char *parent = n ? mem_strndup(path, n) : mem_strdup(".");
    bool is = stat(parent, &st) == 0 && S_ISDIR(st.st_mode);
    free(parent);
    return is;
}

static int inspect_state(struct dir *d, struct store_info *info, struct err *e)
{
    struct marker m;
    int rc = state_open(&d->state, d->root, d->o.root, d->o.state_dir, false, e);
    if (rc == 0)
        hold(d);
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
    int rc = open_root(d, e);
    if (rc < 0)
        return rc;
    info->exists = d->root >= 0;
    info->parent_exists = info->exists || parent_exists(d->o.root);
    if (!info->exists)
        return 0;
    rc = inspect_state(d, info, e);
    info->free_bytes = free_bytes(d);
    if (rc < 0)
        store_info_free(info);
    return rc;
}

/* ---- scan ---- */

/* Makes the store, or sees that it is the one that was looked at. */
static int settle_marker(struct dir *d, const char *group, struct err *e)
{
    struct marker m;
    int rc = state_read_marker(&d->state, &m, e);
    if (rc < 0)
        return rc;
    bool other = m.group && uuid_same(&m.id, &d->id) && strcmp(m.group, group) != 0;
    if (other) { /* whether it may was for the coordinator to judge, who knows what the user accepts */
        free(m.group);
        m.group = NULL;
    }
    if (!m.group && !d->o.dry_run) {
        rc = state_write_marker(&d->state, &d->id, group, synced(d), e);
        /* Others will remember this store: its directories must be as durable as its marker. */
        return rc == 0 && synced(d) && syncfs(d->root) < 0 ? err_sys(e, "%s: sync", d->o.root) : rc;
    }
    if (!m.group)
        return 0;
    if (!uuid_same(&m.id, &d->id))
        rc = err_set(e, ERR_GUARD, "%s: its marker says that it is another store than before",
                     d->state.shown);
    free(m.group);
    return rc;
}

static int make_store(struct dir *d, const char *group, struct err *e)
{
    int rc = 0;
    if (d->root < 0 && d->o.read_only)
        return err_set(e, ERR_DENIED, "%s: does not exist, and is served for reading only (--read-only)", d->o.root);
    if (d->root < 0 && !d->o.dry_run) {
        if (mkdir(d->o.root, 0777) < 0 && errno != EEXIST)
            return err_sys(e, "%s: cannot make the store", d->o.root);
        rc = open_root(d, e);
        if (rc == 0 && d->root < 0)
            rc = err_sys(e, "%s", d->o.root);
    }
    if (rc < 0 || d->root < 0)
        return rc;
    state_close(&d->state);
    rc = state_open(&d->state, d->root, d->o.root, d->o.state_dir, !d->o.dry_run, e);
    if (rc < 0)
        return rc;
    hold(d);
    return settle_marker(d, group, e);
}

/* Where a walk writes that must not write into the store. */
static int open_scratch(struct dir *d, struct err *e)
{
    if (d->o.scratch > 0) {
        int given = d->o.scratch;
        d->o.scratch = 0;
        return given;
    }
    const char *tmp = getenv("TMPDIR");
    tmp = tmp && tmp[0] ? tmp : "/tmp";
    int fd = file_unnamed(tmp);
    return fd < 0 ? err_sys(e, "%s: cannot make a temporary file", tmp) : fd;
}

static void forget_files(struct memory *m)
{
    if (m->manifest >= 0)
        close(m->manifest);
    if (m->journal >= 0)
        close(m->journal);
    m->manifest = m->journal = -1;
}

static void forget(struct memory *m)
{
    history_free(m->history);
    forget_files(m);
}

/* Another store's manifest would give its versions to our objects. One that is adopted begins anew. */
static int check_manifest(const struct dir *d, struct memory *m, struct err *e)
{
    struct manifest_head head;
    struct manifest_reader *r = manifest_reader_new(m->manifest, &head, e);
    if (!r)
        return err_wrap(e, "%s/%s: cannot be used (" MOVE_AWAY ")", d->state.shown, STATE_MANIFEST);
    manifest_reader_free(r);
    m->hash = head.algo;
    bool other = !uuid_same(&head.store, &d->id);
    if (other && d->o.rules.adopted)
        forget_files(m);
    else if (other)
        return err_set(e, ERR_GUARD, "%s/%s: is the manifest of another store (" MOVE_AWAY ")",
                       d->state.shown,
                       STATE_MANIFEST);
    return 0;
}

static int check_journal(struct dir *d, struct memory *m, bool early, struct err *e)
{
    struct journal_reader *r = journal_reader_new(m->journal, &d->id, e);
    if (!r)
        return err_wrap(e,
                        "%s/%s: cannot be used (move it away, then what the last run did counts as "
                        "local edits)",
                        d->state.shown, STATE_JOURNAL);
    m->intents = journal_reader_intents(r);
    journal_reader_free(r);
    if (m->intents > 0 && early)
        return err_set(e, ERR_CHANGED, "the last run was cut short, and what it left must be seen to first");
    if (m->intents == 0 || d->o.dry_run)
        return 0;
    return fold_leftovers(d->root, m->journal, &d->id, d->trash, e);
}

static int remember(struct dir *d, struct look *l, struct err *e)
{
    struct memory *m = &l->memory;
    int rc = 0;
    m->manifest = state_file(&d->state, STATE_MANIFEST, e);
    m->journal = m->manifest < -1 ? -1 : state_file(&d->state, STATE_JOURNAL, e);
    if (m->manifest < -1 || m->journal < -1)
        return e ? e->code : ERR_SYS;
    if (m->manifest >= 0)
        rc = check_manifest(d, m, e);
    if (rc == 0 && m->journal >= 0)
        rc = check_journal(d, m, l->early, e);
    if (rc < 0)
        return rc;
    m->history = history_new(m->manifest, m->journal, &d->id, e);
    return m->history ? 0 : err_wrap(e, "%s/%s: cannot be used (" MOVE_AWAY ")", d->state.shown,
                                     STATE_MANIFEST);
}

/* Does this store know of the deletions since it last took part? Those may have expired of which it knows nothing. */
static bool was_away(const struct dir *d)
{
    int64_t last;
    if (!state_read_last(&d->state, &last))
        return true;
    int64_t time = d->o.rules.now - last;
    return (time < 0 ? -time : time) > d->o.rules.tombstones;
}

/* An empty store is more often a disk that is not there. */
static int check_emptied(const struct dir *d, const struct store_scan *out, const struct scan_found *found, struct err *e)
{
    if (d->o.rules.emptied || d->o.rules.adopted || out->before <= 1 || found->objects > 0)
        return 0;
    return err_set(e, ERR_GUARD, "%s is empty, though it held %" PRIu64 " objects when it was last seen: check that its disk "
                   "is mounted. If they are lost, run once with --adopt and the name of this member, and it gets them back; "
                   "if they were deleted on purpose, --max-delete 100%% says so", d->o.root, out->before);
}

/* After a sick disk: nothing is taken for deleted. l->fd is replaced. */
static int doubt(struct dir *d, struct look *l, const struct manifest_head *head, struct err *e)
{
    int to = d->o.dry_run ? memfd_create("manifest", MFD_CLOEXEC) : state_create(&d->state, STATE_MANIFEST_NEW, e);
    if (to < 0)
        return d->o.dry_run ? err_sys(e, "%s: cannot make a temporary file", d->o.root) : to;
    struct history *h = history_new(l->memory.manifest, l->memory.journal, &d->id, e);
    struct manifest_writer *w = manifest_writer_new(to, head);
    int rc = h ? scan_doubt(l->fd, h, w, e) : e ? e->code : ERR_SYS;
    if (rc == 0)
        rc = manifest_writer_end(w, &l->out.totals, e);
    manifest_writer_free(w);
    history_free(h);
    close(l->fd);
    l->fd = to;
    d->o.watch.problem(d->o.watch.ctx, true, NULL, "the disk gave errors: what is missing is not taken for deleted");
    return rc;
}

/* Contents that are recorded by another hash than is wanted are all read, which takes its time. */
static void tell_rehash(const struct look *l, enum digest_algo hash, const struct store_watch *watch)
{
    if (l->memory.manifest >= 0 && l->memory.hash != hash && l->out.before > 0)
        watch->problem(watch->ctx, false, NULL, hash == DIGEST_SHA256
                       ? "its contents were recorded by XXH3: all are read again, for SHA-256 (hash in the policy)"
                       : "its contents were recorded by SHA-256: all are read again, for XXH3 (hash in the policy)");
}

/* The walk, from history to a complete manifest in l->fd. */
static int walk(struct dir *d, struct look *l, struct err *e)
{
    struct memory *m = &l->memory;
    struct store_scan *out = &l->out;
    bool recorded = d->o.hash_recorded && m->manifest >= 0;
    struct manifest_head head = {recorded ? m->hash : d->o.hash, d->id, history_floor(m->history), clock_now()};
    struct scan_found found = {0};
    l->renames = renames_new(&d->id, head.scanned.sec);
    struct scan_args args = {
        .root = d->root, .self = d->id, .now = head.scanned, .checksum = d->o.checksum, .hash = head.algo,
            .threads = d->o.threads, .part = d->o.rules.part, .parts = d->o.rules.parts,
        .rate = d->o.rules.parts ? d->o.rules.rate : 0, .verified = d->moment,
        .filter = d->o.filter, .skip_dev = d->state.dev, .skip_ino = d->state.inside ? d->state.ino : 0,
        .cross = d->o.rules.cross,
        .absence = {d->o.rules.propagate && !d->o.rules.adopted && !was_away(d), d->o.rules.now, d->o.rules.tombstones},
        .history = m->history, .recall = d->recall, .renames = l->renames,
        .watch = l->early ? told_watch(l->told) : &d->o.watch,
    };
    struct manifest_writer *w = manifest_writer_new(l->fd, &head);
    uint64_t floor = head.floor;
    tell_rehash(l, head.algo, args.watch);
    int rc = d->root >= 0 ? scan_tree(&args, w, out, &found, e) : 0;
    uint64_t taken = history_taken(m->history);
    out->before -= taken < out->before ? taken : out->before;
    if (rc == 0)
        rc = check_emptied(d, out, &found, e);
    if (rc == 0)
        rc = history_end(m->history, &floor, e);
    if (rc == 0 && floor != head.floor) {
        head.floor = floor;
        rc = manifest_writer_rehead(w, &head, e);
    }
    if (rc == 0)
        rc = manifest_writer_end(w, &out->totals, e);
    manifest_writer_free(w);
    if (rc == 0 && found.sick && l->early)
        rc = err_set(e, ERR_CHANGED, "the disk gave errors");
    if (rc == 0 && found.sick && found.deleted > 0)
        rc = doubt(d, l, &head, e);
    if (found.sick) {
        renames_free(l->renames);
        l->renames = NULL;
    }
    out->floor = head.floor;
    if (rc == 0 && (m->manifest < 0 || m->hash != head.algo || m->intents > 0 || history_dropped(m->history)))
        out->changed = true;
    if (rc == ERR_FORMAT)
        err_wrap(e, "%s/%s: cannot be used (" MOVE_AWAY ")", d->state.shown, STATE_MANIFEST);
    return rc;
}

static int count_before(const struct dir *d, const struct memory *m, struct store_scan *out, struct err *e)
{
    struct manifest_totals totals;
    if (manifest_file_totals(m->manifest, &totals, e) < 0)
        return err_wrap(e, "%s/%s: cannot be used (" MOVE_AWAY ")", d->state.shown, STATE_MANIFEST);
    out->before = totals.objects;
    return 0;
}

#define SPARE_BYTES ((uint64_t)1 << 20) /* for a manifest that grows, lists and journals */

/* A scan cannot be tried again where it stopped, so it begins with room for what it will write. */
static void make_room(struct dir *d, int manifest)
{
    struct statvfs fs;
    struct stat st = {0};
    if (d->o.dry_run || (manifest >= 0 && fstat(manifest, &st) < 0) || fstatvfs(d->state.fd, &fs) < 0)
        return;
    uint64_t need = 2 * (uint64_t)st.st_size + SPARE_BYTES, room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room < need)
        trash_make_room(d->trash, need - room);
}

/* Whoever drives the run says how long things are kept there: not where he is not to take anything away. */
static struct trash *new_trash(const struct dir *d, int64_t now, int64_t keep)
{
    struct trash_args args = {
        .state = d->state.fd, .shown = d->state.shown, .now = now, .keep = keep,
        .hold = d->o.no_delete || d->o.read_only || d->o.dry_run, .by = d->o.by, .watch = &d->o.watch,
    };
    return trash_new(&args);
}

static struct look *look_new(struct dir *d, bool early)
{
    struct look *l = mem_zalloc(sizeof *l);
    l->early = early;
    l->told = early ? told_new(&d->o.watch) : NULL;
    l->id = d->id;
    l->memory.manifest = l->memory.journal = l->fd = -1;
    return l;
}

static void look_free(struct look *l)
{
    if (!l)
        return;
    forget(&l->memory);
    renames_free(l->renames);
    told_free(l->told);
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}

static int look_around(struct dir *d, struct look *l, struct err *e)
{
    int rc = remember(d, l, e);
    if (rc == 0 && l->memory.manifest >= 0)
        rc = count_before(d, &l->memory, &l->out, e);
    if (rc < 0)
        return rc;
    if (!l->early)
        make_room(d, l->memory.manifest);
    l->fd = l->early || d->o.dry_run ? open_scratch(d, e) : state_create(&d->state, STATE_MANIFEST_NEW, e);
    return l->fd < 0 ? l->fd : walk(d, l, e);
}

/* An early look that is of no use. The file that it wrote to may be the only one that we could have. */
static void drop_early(struct dir *d)
{
    struct look *l = d->early;
    d->early = NULL;
    if (l && l->fd > 0 && ftruncate(l->fd, 0) == 0 && lseek(l->fd, 0, SEEK_SET) == 0) {
        d->o.scratch = l->fd;
        l->fd = -1;
    }
    look_free(l);
}

static void dir_look(struct store *s, const struct uuid *id)
{
    struct dir *d = dir_of(s);
    struct err ignored;
    assert(!d->early && d->manifest < 0);
    /* A state directory that is yet to be made is not known for what it is. */
    if (d->root < 0 || (d->o.state_dir && d->state.fd < 0))
        return;
    d->id = *id;
    d->early = look_new(d, true);
    if (look_around(d, d->early, &ignored) < 0)
        drop_early(d);
}

/* What an early look wrote elsewhere gets into the store. */
static int bring_in(struct dir *d, struct look *l, struct err *e)
{
    make_room(d, l->fd);
    int fd = state_create(&d->state, STATE_MANIFEST_NEW, e);
    if (fd < 0)
        return fd;
    int rc = file_copy(fd, l->fd) < 0 ? err_sys(e, "%s/%s", d->state.shown, STATE_MANIFEST_NEW) : 0;
    close(l->fd);
    l->fd = fd;
    return rc;
}

/* Objects that have new names keep their origins: a new manifest takes the place of the one that the walk made. */
static int settle_renames(struct dir *d, struct look *l, struct err *e)
{
    struct manifest_head head;
    struct manifest_reader *r = manifest_reader_new(l->fd, &head, e);
    if (!r)
        return e ? e->code : ERR_SYS;
    manifest_reader_free(r);
    if (!d->o.dry_run)
        make_room(d, l->fd);
    int to = d->o.dry_run ? memfd_create("manifest", MFD_CLOEXEC) : state_create(&d->state, STATE_MANIFEST_NEW, e);
    if (to < 0)
        return d->o.dry_run ? err_sys(e, "%s: cannot make a temporary file", d->o.root) : to;
    struct manifest_writer *w = manifest_writer_new(to, &head);
    int rc = renames_settle(l->renames, l->fd, w, e);
    if (rc == 0)
        rc = manifest_writer_end(w, &l->out.totals, e);
    manifest_writer_free(w);
    close(l->fd);
    l->fd = to;
    return rc;
}

/* Keeps the recorded manifest when it still holds, else puts the new one in its place. */
static int settle_manifest(struct dir *d, struct look *l, struct err *e)
{
    int rc = 0;
    if (l->early)
        told_tell(l->told);
    if (!d->o.dry_run && !l->out.changed) {
        state_remove(&d->state, STATE_JOURNAL); /* nothing is in it */
        d->manifest = l->memory.manifest;
        l->memory.manifest = -1;
        return 0;
    }
    if (l->renames && renames_any(l->renames))
        rc = settle_renames(d, l, e);
    else if (!d->o.dry_run && l->early)
        rc = bring_in(d, l, e);
    if (!d->o.dry_run && rc == 0)
        rc = state_adopt_manifest(&d->state, l->fd, d->o.fsync, e);
    if (rc < 0)
        return rc;
    d->manifest = l->fd;
    d->before = l->memory.manifest;
    l->fd = l->memory.manifest = -1;
    return 0;
}

static int dir_scan(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e)
{
    struct dir *d = dir_of(s);
    *out = (struct store_scan){0};
    d->id = *id;
    if (d->early && !uuid_same(&d->early->id, id))
        drop_early(d);
    int rc = make_store(d, group, e);
    if (rc == 0) {
        d->trash = new_trash(d, d->moment, d->o.rules.trash);
        d->partials = partial_new(d->state.fd);
    }
    struct look *l = d->early ? d->early : look_new(d, false);
    d->early = NULL;
    if (rc == 0 && !l->early)
        rc = look_around(d, l, e);
    if (rc < 0 && d->trash && !l->early && trash_no_room(e)) { /* what is new may be nothing, and need no room */
        state_remove(&d->state, STATE_MANIFEST_NEW);
        look_free(l);
        l = look_new(d, true);
        rc = look_around(d, l, e);
    }
    if (rc == 0)
        rc = settle_manifest(d, l, e);
    if (rc == 0) {
        *out = l->out;
        out->partials = partial_count(d->partials);
    }
    if (l->fd >= 0 && !d->o.dry_run && d->state.fd >= 0)
        state_remove(&d->state, STATE_MANIFEST_NEW);
    look_free(l);
    return rc;
}

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

static int dir_lend(struct store *s, struct err *e)
{
    struct dir *d = dir_of(s);
    if (d->root < 0)
        return err_set(e, ERR_UNSUPPORTED, "%s: is not there to be lent", d->o.root);
    /* not a dup: that would share the lock */
    int fd = openat(d->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(e, "%s", d->o.root) : fd;
}

static int dir_have(struct store *s, const struct digest *digest, size_t n, uint8_t *have, struct err *e)
{
    struct dir *d = dir_of(s);
    if (!d->index && !(d->index = index_new(d->manifest, e)))
        return e ? e->code : ERR_SYS;
    bool *yes = mem_alloc(n * sizeof *yes);
    int rc = index_have(d->index, digest, n, yes, e);
    bool parts = partial_count(d->partials) > 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        have[i] = yes[i] ? STORE_HAVE : parts && partial_have(d->partials, digest + i) ? STORE_HAVE_PART
                                                                                       : STORE_HAVE_NOT;
    free(yes);
    return rc;
}

/* ---- source side ---- */

static int gone(struct err *e)
{
    return err_set(e, ERR_CHANGED, "changed during the run; left for the next run");
}

/* The directory of an object (borrowed) and its leaf. */
static int parent_of(struct dir *d, const struct entry *e, const char **leaf)
{
    if (!d->from) {
        d->from = mem_alloc(sizeof *d->from);
        file_dirs_init(d->from, d->root);
    }
    return file_dirs_parent(d->from, e->path, e->path_len, leaf);
}

/* Only what the manifest holds may be read. The directory of want's path (borrowed) and its leaf. */
static int find_source(struct dir *d, const struct entry *want, const char **leaf, struct err *e)
{
    const struct entry *have;
    int rc = path_check(want->path, want->path_len, e);
    if (rc < 0)
        return rc;
    if (d->root < 0)
        return gone(e);
    if (!d->asked)
        d->asked = lookup_new(d->manifest);
    rc = lookup_find(d->asked, want->path, want->path_len, &have, e);
    if (rc < 0)
        return rc;
    if (!have || have->flags & (ENTRY_HIDDEN | ENTRY_UNKNOWN) || !entry_same_content(have, want))
        return err_set(e, ERR_CHANGED, "is not what this store offers");
    if (have->flags & ENTRY_DAMAGED)
        return err_set(e, ERR_DAMAGED, "is damaged here");
    int dir = parent_of(d, want, leaf);
    return dir < 0 ? gone(e) : dir;
}

static int open_file(struct dir *d, const struct entry *want, struct err *e)
{
    const char *leaf;
    if (want->kind != ENTRY_FILE)
        return err_set(e, ERR_UNSUPPORTED, "is not a file");
    int dir = find_source(d, want, &leaf, e);
    if (dir < 0)
        return dir;
    int fd = openat(dir, leaf, OPEN_SOURCE);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == ENXIO || errno == ENODEV || errno == ESTALE
                   ? gone(e) : err_sys(e, "cannot be read");
    return fd;
}

static bool seems_unchanged(int fd, const struct entry *want)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == want->size &&
           clock_kept(want->mtime, seen_mtime(&st));
}

static int dir_read_open(struct store *s, const struct entry *want, struct err *e)
{
    int fd = open_file(dir_of(s), want, e);
    if (fd < 0 || seems_unchanged(fd, want))
        return fd;
    close(fd);
    return gone(e);
}

/* One byte more is asked for, so that one call also shows whether that was all. */
static ssize_t read_all(int fd, uint8_t *buf, size_t size)
{
    ssize_t n = file_read_once(fd, buf, size + 1);
    if (n <= 0 || (size_t)n >= size)
        return n;
    ssize_t rest = file_read(fd, buf + n, size + 1 - (size_t)n);
    return rest < 0 ? rest : n + rest;
}

static bool is_content(struct dir *d, const struct entry *want, const void *p, size_t n)
{
    if (!d->hash)
        d->hash = digest_new();
    struct digest now = digest_whole(d->hash, (enum digest_algo)want->digest.algo, p, n);
    return n == want->size && digest_same(&now, &want->digest);
}

/* The digest says all that a look at the file could tell; which is taken only to say what is wrong. */
static int dir_read_file(struct store *s, const struct entry *want, void *buf, struct err *e)
{
    if (recall_get(dir_of(s)->recall, &want->digest, (size_t)want->size, buf))
        return 0;
    int fd = open_file(dir_of(s), want, e), rc = 0;
    if (fd < 0)
        return fd;
    ssize_t n = read_all(fd, buf, (size_t)want->size);
    if (n < 0)
        rc = err_sys(e, "cannot be read");
    else if (!is_content(dir_of(s), want, buf, (size_t)n))
        rc = !seems_unchanged(fd, want) ? gone(e)
             : err_set(e, ERR_DAMAGED, "is damaged here: its content does not match its digest");
    close(fd);
    return rc;
}

static int dir_read_link(struct store *s, const struct entry *want, char *target, size_t size, struct err *e)
{
    const char *leaf;
    if (want->kind != ENTRY_LINK)
        return err_set(e, ERR_UNSUPPORTED, "is not a symlink");
    if (want->size >= size)
        return err_set(e, ERR_FORMAT, "has a target that is too long");
    int dir = find_source(dir_of(s), want, &leaf, e);
    if (dir < 0)
        return dir;
    ssize_t n = readlinkat(dir, leaf, target, size);
    if (n < 0 || (uint64_t)n != want->size)
        return gone(e);
    target[n] = '\0';
    return is_content(dir_of(s), want, target, (size_t)n) ? 0 : gone(e);
}

/* ---- target side ---- */

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
    return n >= 0 && is_content(d, want, target, (size_t)n);
}

static int check_content(struct dir *d, int dir, const char *leaf, const struct entry *have, enum store_check *found,
                         struct err *e)
{
    int fd = openat(dir, leaf, OPEN_SOURCE);
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
    int dir = want->kind == ENTRY_FILE || want->kind == ENTRY_LINK ? find_source(d, want, &leaf, &why) : ERR_CHANGED;
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

static int dir_apply(struct store *s, const struct store_op *op, struct err *e)
{
    struct dir *d = dir_of(s);
    int rc = need_put(d, e);
    d->added |= op->how != STORE_PRUNE;
    return rc < 0 ? rc : wrapped(d, put_apply(d->put, op, e), e);
}

static int dir_put_begin(struct store *s, const struct store_op *op, struct err *e)
{
    struct dir *d = dir_of(s);
    int rc = need_put(d, e);
    d->added = true;
    return rc < 0 ? rc : wrapped(d, put_begin(d->put, op, e), e);
}

static int dir_partial(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e)
{
    (void)e;
    return want->kind == ENTRY_FILE && want->size >= STORE_RESUME_MIN &&
           partial_read(dir_of(s)->partials, want, fd, size);
}

static int dir_basis(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e)
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
    int dir = parent_of(d, want, &leaf);
    *fd = dir < 0 ? -1 : openat(dir, leaf, OPEN_SOURCE);
    if (*fd < 0)
        return 0;
    if (fstat(*fd, &st) == 0 && seen_is(&seen, &st, true)) {
        *size = have->size;
        return 1;
    }
    close(*fd);
    return 0;
}

static int dir_put_keep(struct store *s, uint64_t n, struct err *e)
{
    return put_keep(dir_of(s)->put, n, e);
}

static int dir_put_data(struct store *s, const void *p, size_t n, struct err *e)
{
    return put_data(dir_of(s)->put, p, n, e);
}

static int dir_put_end(struct store *s, const char *failed, struct err *e)
{
    struct dir *d = dir_of(s);
    return wrapped(d, put_end(d->put, failed, e), e);
}

static int dir_flush(struct store *s, struct err *e)
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
static int dir_check(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e)
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

static int dir_commit(struct store *s, const struct store_peer *peer, size_t peers, struct err *e)
{
    struct dir *d = dir_of(s);
    assert(!d->o.dry_run && d->manifest >= 0);
    int rc = commit_put(d, e);
    if (rc == 0)
        rc = state_remember_peers(&d->state, peer, peers, synced(d), e);
    if (rc == 0)
        rc = write_times(d, peer, peers, e);
    if (rc == 0) {
        sweep_partials(d);
        trash_expire(d->trash);
    }
    return rc;
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
        d->trash = new_trash(d, now, INT64_MAX);
    const struct trash_restore how = {
        .root = d->root, .state = d->state.fd, .store = &d->id, .forbidden = d->state.inside, .trash = d->trash,
        .no_delete = d->o.no_delete, .sync = synced(d),
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
    look_free(d->early);
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
    d->recall = d->o.recall && !d->o.checksum && !d->o.rules.parts ? recall_new(0) : NULL;
    return &d->store;
}
