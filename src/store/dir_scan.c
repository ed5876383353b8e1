/* A directory as a store: what it holds. */
#include "store/dir.h"

#include "base/mem.h"
#include "store/fold.h"
#include "store/history.h"
#include "store/journal.h"
#include "store/renames.h"
#include "store/scan.h"
#include "store/told.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

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
        rc = state_write_marker(&d->state, &d->id, group, dir_synced(d), e);
        /* Others will remember this store: its directories must be as durable as its marker. */
        return rc == 0 && dir_synced(d) && syncfs(d->root) < 0 ? err_sys(e, "%s: sync", d->o.root) : rc;
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
        rc = dir_open_root(d, e);
        if (rc == 0 && d->root < 0)
            rc = err_sys(e, "%s", d->o.root);
    }
    if (rc < 0 || d->root < 0)
        return rc;
    state_close(&d->state);
    rc = state_open(&d->state, d->root, d->o.root, d->o.state_dir, !d->o.dry_run, e);
    if (rc < 0)
        return rc;
    dir_hold(d);
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
struct trash *dir_new_trash(const struct dir *d, int64_t now, int64_t keep)
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

void dir_look_free(struct look *l)
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
    dir_look_free(l);
}

void dir_look(struct store *s, const struct uuid *id)
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

int dir_scan(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e)
{
    struct dir *d = dir_of(s);
    *out = (struct store_scan){0};
    d->id = *id;
    if (d->early && !uuid_same(&d->early->id, id))
        drop_early(d);
    int rc = make_store(d, group, e);
    if (rc == 0) {
        d->trash = dir_new_trash(d, d->moment, d->o.rules.trash);
        d->partials = partial_new(d->state.fd);
    }
    struct look *l = d->early ? d->early : look_new(d, false);
    d->early = NULL;
    if (rc == 0 && !l->early)
        rc = look_around(d, l, e);
    if (rc < 0 && d->trash && !l->early && trash_no_room(e)) { /* what is new may be nothing, and need no room */
        state_remove(&d->state, STATE_MANIFEST_NEW);
        dir_look_free(l);
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
    dir_look_free(l);
    return rc;
}
