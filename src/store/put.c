#include "store/put.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/check.h"
#include "store/lookup.h"
#include "store/put_batch.h"
#include "store/recent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_SOURCE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define CHANGED "changed during the run; left for the next run"

/* What an operation is carried out with. */
struct op {
    const struct store_op *o;
    const struct entry *have; /* NULL: the scan saw nothing there, or a tombstone */
    struct parent *parent;    /* NULL: where a tombstone is to come, and nothing is */
    bool intended;            /* there is an intent in the journal, which no item has yet */
    uint64_t intent;
    bool stopped;             /* the error ends more than this operation */
};

/* The file that comes by stream. */
struct stream {
    bool open;   /* temp is */
    bool failed; /* with why */
    struct err why;
    struct temp temp;
    uint64_t left;    /* bytes of a partial that an earlier run has written */
    bool writing;     /* behind what is kept of these */
    struct op op;
    struct store_op o;
    struct entry entry, have;
};

struct put {
    struct put_args a;
    struct journal *journal;
    struct put_batch *batch;
    struct reserve *reserve;
    uint64_t kept;            /* bytes that it has */
    uint64_t manifest;        /* size of the manifest that there is, in bytes */
    struct lookup *own;
    struct content *content;
    struct recent *recent;    /* NULL: not asked for since the last flush */
    struct file_dirs *source; /* of the root that was read from last; NULL: none yet */
    struct file_dirs *self;   /* of our own root, for adopting */
    bool named;               /* temps need a name here */
    mode_t umask;             /* to be restored */
    size_t last_len;
    char last[PATH_LEN_MAX + 1];

    struct stream stream;
};

/* Without /proc an unnamed file might never get its name. */
static bool can_be_unnamed(int root)
{
    int fd = access("/proc/self/fd", X_OK) < 0 ? -1 : openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

struct put *put_new(const struct put_args *args, struct err *e)
{
    struct put *p = mem_zalloc(sizeof *p);
    p->a = *args;
    p->umask = umask(0);
    p->named = !can_be_unnamed(args->root);
    p->journal = journal_new(args->journal, &args->id, e);
    if (!p->journal) {
        put_free(p);
        return NULL;
    }
    struct stat st;
    p->manifest = fstat(args->manifest, &st) == 0 ? (uint64_t)st.st_size : 0;
    p->reserve = reserve_new(args->state);
    struct put_batch_args batch = {args->root, args->state, p->journal, args->trash, args->fsync, args->threads,
                                   args->watch, args->cross, args->verified, p->reserve};
    p->batch = put_batch_new(&batch);
    p->own = lookup_new(args->manifest);
    p->content = content_new(args->watch, args->trash);
    return p;
}

static void drop_stream(struct stream *s, bool keep)
{
    s->open = false;
    if (s->temp.home >= 0)
        partial_drop(&s->temp, keep);
    else
        temp_drop(&s->temp, s->op.parent->fd);
}

static void free_dirs(struct file_dirs *d)
{
    if (d)
        file_dirs_close(d);
    free(d);
}

void put_free(struct put *p)
{
    if (!p)
        return;
    umask(p->umask);
    if (p->stream.open)
        drop_stream(&p->stream, true);
    recent_free(p->recent);
    put_batch_free(p->batch);
    reserve_free(p->reserve);
    journal_free(p->journal);
    lookup_free(p->own);
    content_free(p->content);
    free_dirs(p->source);
    free_dirs(p->self);
    free(p);
}

uint64_t put_done(const struct put *p)
{
    return put_batch_done(p->batch);
}

uint64_t put_intents(const struct put *p)
{
    return journal_intents(p->journal);
}

/* ---- what is there ---- */

static int changed(struct err *e)
{
    return err_set(e, ERR_CHANGED, CHANGED);
}

/* Does this errno say that the object is gone, or is something else now? */
static bool is_other(int sys)
{
    return sys == ENOENT || sys == ELOOP || sys == ENOTDIR || sys == ENXIO || sys == ENODEV || sys == ESTALE;
}

/* What vanished under our hands is a change like any other. */
static int failed(struct err *e, const char *what)
{
    return is_other(errno) ? changed(e) : err_sys(e, "%s", what);
}

/* One of our own entries must not be reached by a path that a peer sends. */
static int check_path(const struct put *p, const struct entry *entry, struct err *e)
{
    const char *no = p->a.forbidden;
    int rc = path_check(entry->path, entry->path_len, e);
    if (rc < 0 || !no)
        return rc;
    if (strcmp(entry->path, no) == 0 || path_below(entry->path, entry->path_len, no, strlen(no)))
        return err_set(e, ERR_FORMAT, "is where the state of this store is kept");
    return 0;
}

static int check_allowed(const struct put *p, const struct op *op, struct err *e)
{
    if (p->a.read_only && op->o->how != STORE_RECORD)
        return err_set(e, ERR_DENIED, STORE_SAYS_READ_ONLY);
    if (p->a.no_delete && (op->o->how == STORE_REMOVE || op->o->how == STORE_PRUNE))
        return err_set(e, ERR_DENIED, STORE_SAYS_NO_REMOVE);
    if (p->a.no_delete && op->have && op->o->how == STORE_CONTENT && op->have->kind != op->o->entry->kind)
        return err_set(e, ERR_DENIED, STORE_SAYS_NO_DELETE);
    return 0;
}

/* Looks up the path, and opens its directory. */
static int prepare(struct put *p, struct op *op, struct err *e)
{
    const struct entry *want = op->o->entry;
    int rc = check_path(p, want, e);
    if (rc < 0)
        return rc;
    rc = lookup_find(p->own, want->path, want->path_len, &op->have, e);
    if (rc < 0) {
        op->stopped = true;
        return rc;
    }
    if (op->have && op->have->flags & (ENTRY_UNKNOWN | ENTRY_HIDDEN))
        return err_set(e, ERR_CHANGED, op->have->flags & ENTRY_HIDDEN ? "is excluded here" :
                       "could not be looked at by the scan; left for the next run");
    if (op->have && op->have->kind == ENTRY_GONE)
        op->have = NULL;
    rc = check_allowed(p, op, e);
    if (rc < 0 || (want->kind == ENTRY_GONE && !op->have))
        return rc;
    op->parent = put_batch_parent(p->batch, want->path, want->path_len);
    /* Where its directory is no more, a deletion has nothing left to do. */
    if (op->parent || (want->kind == ENTRY_GONE && errno == ENOENT))
        return 0;
    return failed(e, "its directory");
}

static const char *leaf_of(const struct entry *e)
{
    size_t n = path_parent(e->path, e->path_len);
    return n ? e->path + n + 1 : e->path;
}

/* Is what the scan saw still there? *st is filled when it saw something. */
static int still_there(const struct op *op, struct stat *st, struct err *e)
{
    struct seen seen = seen_of(op->have);
    int rc = fstatat(op->parent->fd, leaf_of(op->o->entry), st, AT_SYMLINK_NOFOLLOW);
    if (rc < 0 && errno != ENOENT)
        return err_sys(e, "cannot look at what is there");
    if (op->have ? rc < 0 || !seen_is(&seen, st, true) : rc == 0)
        return changed(e);
    return 0;
}

/* Flags do not travel: those of content that is ours stay. */
static void intend(struct put *p, struct op *op)
{
    struct entry now;
    op->intended = true;
    if (op->o->how == STORE_PRUNE) {
        op->intent = journal_prune(p->journal, op->o->entry);
        return;
    }
    entry_copy(&now, op->o->entry);
    now.flags = op->have && now.kind != ENTRY_GONE && op->o->how != STORE_CONTENT ? op->have->flags & ENTRY_DAMAGED : 0;
    op->intent = journal_intent(p->journal, &now);
}

/* Adds an item that is to be carried out with its batch. */
static struct put_item *add_item(struct put *p, struct op *op, enum put_kind kind)
{
    struct put_item *it = put_batch_add(p->batch, op->o->seq, kind, op->parent, op->o->entry);
    it->seen = seen_of(op->have);
    it->why = kind != PUT_REMOVE && op->have && op->have->flags & ENTRY_DAMAGED ? STORE_WHY_DAMAGED : op->o->why;
    if (!op->intended)
        intend(p, op);
    it->intent = op->intent;
    op->intended = false;
    return it;
}

/* ---- directories: made at once, their children need them ---- */

/* A file that stands where a directory is wanted goes to the trash; nothing else may stand there. */
static int make_way(struct put *p, struct op *op, struct err *e)
{
    const struct entry *want = op->o->entry;
    struct stat st;
    int rc = still_there(op, &st, e);
    if (rc < 0 || !op->have || op->have->kind == ENTRY_DIR)
        return rc;
    enum store_why why = op->have->flags & ENTRY_DAMAGED ? STORE_WHY_DAMAGED : op->o->why;
    return trash_take(p->a.trash, op->parent->fd, leaf_of(want), want->path, store_why_text(why), e);
}

/* The mode that the directory has while its children come. */
static mode_t open_mode(uint32_t mode)
{
    return (mode_t)(mode | 0700u);
}

static int set_dir_mode(int fd, const struct stat *st, mode_t mode)
{
    if ((st->st_mode & 0777) == mode)
        return 0;
    return file_chmod(fd, (st->st_mode & 07000) | mode);
}

/* What stood there is in the trash by now: this is not begun anew when the disk is full, but gone on with. */
static int make_dir(struct put *p, const struct op *op, const char *leaf, struct err *e)
{
    while (mkdirat(op->parent->fd, leaf, open_mode(op->o->entry->mode)) < 0) {
        int rc = errno == EEXIST ? changed(e) : failed(e, "cannot make the directory");
        struct err why = e ? *e : (struct err){.code = rc};
        if (trash_no_room(&why) && trash_make_room(p->a.trash, 0))
            continue;
        if (op->have)
            trash_needed(p->a.trash);
        return rc;
    }
    return 0;
}

/* A directory with its mode, as far as that need not wait. *st is what it is like then. */
static int set_up_dir(const struct put *p, const struct op *op, int fd, bool set_mode, struct stat *st)
{
    if (fstat(fd, st) < 0)
        return -1;
    if (set_mode && (set_dir_mode(fd, st, open_mode(op->o->entry->mode)) < 0 || fstat(fd, st) < 0))
        return -1;
    if (p->a.fsync == STORE_FSYNC_ALWAYS && ((fsync(fd) < 0 && errno != EBADF) || fsync(op->parent->fd) < 0))
        return -1;
    return 0;
}

static void record_dir(struct put *p, struct op *op, const struct stat *st, bool narrow)
{
    struct entry_place place = seen_place(st);
    intend(p, op);
    op->intended = false;
    if (narrow) {
        put_batch_narrow(p->batch, op->o->entry, op->intent);
    } else {
        journal_done(p->journal, op->intent, &place);
        put_batch_count(p->batch);
    }
    put_batch_add(p->batch, op->o->seq, PUT_OUTCOME, NULL, NULL);
}

static int put_dir(struct put *p, struct op *op, struct err *e)
{
    const struct entry *want = op->o->entry;
    const char *leaf = leaf_of(want);
    bool narrow = open_mode(want->mode) != want->mode;
    bool made = !op->have || op->have->kind != ENTRY_DIR;
    struct stat st;
    int rc = make_way(p, op, e);
    if (rc < 0)
        return rc;
    if (made)
        rc = make_dir(p, op, leaf, e);
    if (rc < 0)
        return rc;
    int fd = file_beneath_dir(op->parent->fd, leaf);
    if (fd < 0 || set_up_dir(p, op, fd, made || !narrow, &st) < 0)
        rc = failed(e, "cannot set up the directory");
    else
        record_dir(p, op, &st, narrow);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- content ---- */

#define KEEP_MORE ((uint64_t)64 << 10) /* than is needed just now */

/*
 * Content must not take the room in which it is written down that it came: for what the journal still has to write, and for a
 * manifest that is no larger than the one before and the journal together.
 */
static int keep_aside(struct put *p, struct err *e)
{
    uint64_t need = p->manifest + journal_bytes(p->journal) + journal_waiting(p->journal) + RESERVE_LEAST;
    if (need <= p->kept)
        return 0;
    if (reserve_keep(p->reserve, need + KEEP_MORE))
        p->kept = need + KEEP_MORE;
    else if (reserve_keep(p->reserve, need))
        p->kept = need;
    if (need <= p->kept)
        return 0;
    errno = ENOSPC;
    return err_sys(e, "what is left is needed to record what is there");
}

/*
 * The temp that is to become the object. One that has a name is in the journal first, so that a next
 * run finds it.
 */
static int open_temp(struct put *p, struct op *op, struct temp *t, struct err *e)
{
    struct stat st;
    int rc = op->have ? still_there(op, &st, e) : 0; /* where nothing was, the link into place finds out */
    if (rc < 0)
        return rc;
    if (p->named && !op->intended) {
        intend(p, op);
        rc = put_batch_journal(p->batch, false, e);
        op->stopped = rc < 0;
        if (rc < 0)
            return rc;
    }
    if (temp_open(t, op->parent->fd, (mode_t)op->o->entry->mode, &p->named) < 0)
        return failed(e, "cannot make a temporary file");
    return 0;
}

static int set_mtime(int fd, const struct entry *want, struct err *e)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {want->mtime.sec, (long)want->mtime.nsec}};
    return futimens(fd, times) < 0 ? err_sys(e, "cannot set its time") : 0;
}

/* The temp holds its content: it waits for its batch. Takes the temp, also on failure. */
static int add_file(struct put *p, struct op *op, struct temp *t, struct err *e)
{
    int rc = 0;
    if (t->home >= 0 && fchmod(t->fd, (mode_t)op->o->entry->mode) < 0)
        rc = err_sys(e, "cannot set its mode");
    if (rc == 0)
        rc = set_mtime(t->fd, op->o->entry, e);
    if (rc == 0)
        add_item(p, op, PUT_FILE)->temp = *t;
    else
        temp_drop(t, op->parent->fd);
    return rc;
}

static struct file_dirs *dirs_of(struct file_dirs **d, int root)
{
    if (*d && (*d)->root != root) {
        free_dirs(*d);
        *d = NULL;
    }
    if (!*d) {
        *d = mem_alloc(sizeof **d);
        file_dirs_init(*d, root);
    }
    return *d;
}

static bool source_is(int fd, const struct entry *want)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == want->size &&
           clock_kept(want->mtime, seen_mtime(&st));
}

static int source_changed(struct err *e)
{
    return err_set(e, ERR_CHANGED, "the source changed during the run; left for the next run");
}

/* The source's directory (borrowed) and its name there: -1 with errno. */
static int source_dir(struct put *p, const struct op *op, const char **leaf)
{
    const char *path = op->o->from_path ? op->o->from_path : op->o->entry->path;
    if (op->o->from_path && path_check(path, strlen(path), NULL) < 0) {
        errno = ENOENT;
        return -1;
    }
    bool own = op->o->from == STORE_FROM_SELF && op->o->from_root < 0;
    struct file_dirs *dirs = own ? dirs_of(&p->self, p->a.root) : dirs_of(&p->source, op->o->from_root);
    return file_dirs_parent(dirs, path, strlen(path), leaf);
}

static int open_source(struct put *p, const struct op *op, struct err *e)
{
    const struct entry *want = op->o->entry;
    const char *leaf;
    int dir = source_dir(p, op, &leaf);
    int fd = dir < 0 ? -1 : openat(dir, leaf, OPEN_SOURCE);
    if (fd < 0)
        return is_other(errno) ? source_changed(e) : err_sys(e, "cannot read the source");
    if (source_is(fd, want))
        return fd;
    close(fd);
    return source_changed(e);
}

static int file_from_root(struct put *p, struct op *op, struct err *e)
{
    const struct entry *want = op->o->entry;
    struct temp t;
    int from = open_source(p, op, e);
    if (from < 0)
        return from;
    int rc = open_temp(p, op, &t, e);
    if (rc == 0) {
        rc = content_copy(p->content, t.fd, from, want, &op->stopped, e);
        if (rc == ERR_CHANGED && source_is(from, want))
            rc = err_set(e, ERR_DAMAGED, "the source is damaged: its content does not match its digest");
        if (rc == 0)
            rc = add_file(p, op, &t, e);
        else
            temp_drop(&t, op->parent->fd);
    }
    close(from);
    return rc;
}

/* Takes the content of an open file of our own, and closes it. 0: the temp holds it; ERR_CHANGED: this one will not do. */
static int adopt_open(struct put *p, struct op *op, int fd, struct temp *t, struct err *e)
{
    const struct entry *want = op->o->entry;
    struct stat st;
    if (fd < 0)
        return err_set(e, ERR_CHANGED, "content to adopt cannot be read");
    int rc = ERR_CHANGED;
    /* Its digest is what counts, so that a new mode or time is no reason to refuse it. */
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == want->size) {
        rc = open_temp(p, op, t, e);
        if (rc == 0) {
            if (want->size > 0 && file_clone(t->fd, fd) == 0)
                rc = content_verify(p->content, t->fd, want, &op->stopped, e);
            else
                rc = content_copy(p->content, t->fd, fd, want, &op->stopped, e);
            if (rc < 0)
                temp_drop(t, op->parent->fd);
        }
    }
    close(fd);
    return rc;
}

/* What this very run has replaced lies in the trash, and is as good. */
static int adopt_one(struct put *p, struct op *op, const struct entry *from, struct temp *t, struct err *e)
{
    const char *leaf;
    int dir = file_dirs_parent(dirs_of(&p->self, p->a.root), from->path, from->path_len, &leaf);
    int rc = adopt_open(p, op, dir < 0 ? -1 : openat(dir, leaf, OPEN_SOURCE), t, e);
    return rc == ERR_CHANGED ? adopt_open(p, op, trash_open(p->a.trash, from->path), t, e) : rc;
}

void put_damaged(struct put *p, const struct entry *have)
{
    struct entry now;
    entry_copy(&now, have);
    now.flags |= ENTRY_DAMAGED;
    journal_done(p->journal, journal_intent(p->journal, &now), &have->place);
    put_batch_count(p->batch);
}

/* Why could it not be adopted? What is damaged is recorded as such, so that it is not tried again. 1, 0, or what stopped it. */
static int adopt_damaged(struct put *p, struct op *op, const struct entry *from, struct err *e)
{
    const char *leaf;
    enum store_check found = STORE_CHECK_CHANGED;
    int dir = file_dirs_parent(dirs_of(&p->self, p->a.root), from->path, from->path_len, &leaf);
    int fd = dir < 0 ? -1 : openat(dir, leaf, OPEN_SOURCE);
    if (fd < 0)
        return 0;
    int rc = check_file(p->content, fd, from, &found, e);
    close(fd);
    op->stopped = rc < 0;
    if (rc < 0 || found != STORE_CHECK_DAMAGED)
        return rc;
    put_damaged(p, from);
    return 1;
}

#define ADOPT_TRIES 4 /* candidates that are looked at */

static int file_from_self(struct put *p, struct op *op, struct err *e)
{
    const struct entry *from;
    struct temp t;
    bool damaged = false;
    int rc = 0;
    if (!*p->a.index && !(*p->a.index = index_new(p->a.manifest, e))) {
        op->stopped = true;
        return e ? e->code : ERR_SYS;
    }
    for (size_t nth = 0; nth < ADOPT_TRIES; nth++) {
        int found = index_find(*p->a.index, &op->o->entry->digest, nth, &from, e);
        if (found < 0) {
            op->stopped = true;
            return found;
        }
        if (found == 0)
            break;
        rc = adopt_one(p, op, from, &t, e);
        if (rc == 0)
            return add_file(p, op, &t, e);
        if (rc != ERR_CHANGED || (rc = adopt_damaged(p, op, from, e)) < 0)
            return rc;
        damaged |= rc > 0;
    }
    if (op->o->from_root >= 0 || (op->o->from_path && !damaged))
        return file_from_root(p, op, e);
    if (damaged)
        return err_set(e, ERR_DAMAGED, "content to adopt is damaged");
    return err_set(e, ERR_CHANGED, "content to adopt is no longer there");
}

/*
 * An own file that has another name too gets content of its own, so that the other name keeps its
 * metadata.
 */
static int file_from_here(struct put *p, struct op *op, struct err *e)
{
    struct temp t;
    int rc = adopt_one(p, op, op->have, &t, e);
    return rc == 0 ? add_file(p, op, &t, e) : rc;
}

static int put_link(struct put *p, struct op *op, const char *target, struct err *e)
{
    const struct entry *want = op->o->entry;
    struct stat st;
    if (!content_is(p->content, want, target, strlen(target)))
        return source_changed(e);
    int rc = still_there(op, &st, e);
    if (rc == 0)
        add_item(p, op, PUT_LINK)->target = mem_strdup(target);
    return rc;
}

static int link_from_root(struct put *p, struct op *op, struct err *e)
{
    char target[ENTRY_TARGET_MAX + 2];
    const char *leaf;
    int dir = source_dir(p, op, &leaf);
    ssize_t n = dir < 0 ? -1 : readlinkat(dir, leaf, target, sizeof target - 1);
    if (n < 0)
        return source_changed(e);
    target[n] = '\0';
    return put_link(p, op, target, e);
}

/* ---- metadata and records ---- */

static int put_meta(struct put *p, struct op *op, struct err *e)
{
    const struct entry *want = op->o->entry;
    struct stat st;
    if (want->kind == ENTRY_DIR)
        return op->have && op->have->kind == ENTRY_DIR ? put_dir(p, op, e) : changed(e);
    if (!op->have || !entry_same_content(op->have, want))
        return changed(e);
    int rc = still_there(op, &st, e);
    if (rc < 0)
        return rc;
    if (want->kind == ENTRY_FILE && st.st_nlink > 1)
        return file_from_here(p, op, e);
    add_item(p, op, PUT_META);
    return 0;
}

static bool is_this(const struct entry *have, const struct entry *want)
{
    return have && have->place.ino != 0 && entry_same_content(have, want) && entry_same_meta(have, want);
}

/* What this run has put in place before its last flush is not in the manifest yet. */
static int find_recent(struct put *p, struct op *op, struct err *e)
{
    const struct entry *want = op->o->entry, *at = NULL;
    if (!p->recent && !(p->recent = recent_new(p->a.journal, &p->a.id, e)))
        op->stopped = true;
    else if (recent_find(p->recent, want->path, want->path_len, &at, e) < 0)
        op->stopped = true;
    if (at)
        op->have = at;
    return op->stopped ? (e ? e->code : ERR_SYS) : 0;
}

static int put_record(struct put *p, struct op *op, struct err *e)
{
    if (!is_this(op->have, op->o->entry)) {
        int rc = find_recent(p, op, e);
        if (rc < 0)
            return rc;
    }
    if (!is_this(op->have, op->o->entry))
        return changed(e);
    add_item(p, op, PUT_RECORD);
    return 0;
}

/* ---- removals ---- */

/* Nothing is there: only the journal is to know. */
static int put_tombstone(struct put *p, struct op *op, struct err *e)
{
    if (op->have)
        return changed(e);
    add_item(p, op, PUT_RECORD);
    return 0;
}

/* A directory goes when all that was in it has gone. */
static void clear_out(struct put *p, struct op *op)
{
    intend(p, op);
    op->intended = false;
    put_batch_clear_out(p->batch, op->o->entry, op->intent);
    put_batch_add(p->batch, op->o->seq, PUT_OUTCOME, NULL, NULL);
}

static int put_remove(struct put *p, struct op *op, struct err *e)
{
    struct stat st;
    if (op->have && op->parent &&
        fstatat(op->parent->fd, leaf_of(op->o->entry), &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        op->parent = NULL;
    if (!op->parent) /* it went by itself */
        op->have = NULL;
    if (!op->have)
        return put_tombstone(p, op, e);
    int rc = still_there(op, &st, e);
    if (rc < 0)
        return rc;
    if (op->have->kind == ENTRY_DIR)
        clear_out(p, op);
    else
        add_item(p, op, PUT_REMOVE);
    return 0;
}

/* What went by itself was deleted by somebody here: that is for the next scan to find. */
static int put_prune(struct put *p, struct op *op, struct err *e)
{
    struct stat st;
    if (!op->have || (op->have->kind == ENTRY_DIR) != (op->o->entry->kind == ENTRY_DIR) ||
        (!(op->have->flags & ENTRY_DAMAGED) && !entry_same_content(op->have, op->o->entry)))
        return changed(e);
    int rc = still_there(op, &st, e);
    if (rc == 0 && op->have->kind == ENTRY_DIR)
        clear_out(p, op);
    else if (rc == 0)
        add_item(p, op, PUT_REMOVE)->prunes = true;
    return rc;
}

static int put_content(struct put *p, struct op *op, struct err *e)
{
    const struct store_op *o = op->o;
    if (o->entry->kind == ENTRY_DIR)
        return put_dir(p, op, e);
    int rc = keep_aside(p, e);
    if (rc < 0)
        return rc;
    if (o->entry->kind == ENTRY_FILE && o->from == STORE_FROM_ROOT)
        return file_from_root(p, op, e);
    if (o->entry->kind == ENTRY_FILE && o->from == STORE_FROM_SELF)
        return file_from_self(p, op, e);
    if (o->entry->kind == ENTRY_LINK && (o->from == STORE_FROM_ROOT || o->from == STORE_FROM_SELF))
        return link_from_root(p, op, e);
    if (o->entry->kind == ENTRY_LINK && o->from == STORE_FROM_STREAM && o->target)
        return put_link(p, op, o->target, e);
    return err_set(e, ERR_UNSUPPORTED, "an operation that makes no sense");
}

/* ---- operations ---- */

/*
 * Before each operation: a path that does not ascend begins a new phase, which must find the old one
 * in place.
 */
static int next_path(struct put *p, const struct entry *want, struct err *e)
{
    int rc = 0;
    if (want->path_len > PATH_LEN_MAX)
        return put_batch_tend(p->batch, "", 0, 0, e); /* it will be refused */
    if (p->last_len && path_cmp(want->path, want->path_len, p->last, p->last_len) <= 0)
        rc = put_batch_flush(p->batch, e);
    memcpy(p->last, want->path, want->path_len);
    p->last[want->path_len] = '\0';
    p->last_len = want->path_len;
    return rc < 0 ? rc : put_batch_tend(p->batch, want->path, want->path_len, want->size, e);
}

static void add_failure(struct put *p, struct op *op, const struct err *why)
{
    if (op->intended)
        journal_undo(p->journal, op->intent);
    op->intended = false;
    put_batch_fail(put_batch_add(p->batch, op->o->seq, PUT_OUTCOME, NULL, NULL), why);
}

static int apply_once(struct put *p, struct op *op, struct err *e)
{
    enum store_how how = op->o->how;
    bool gone = op->o->entry->kind == ENTRY_GONE;
    if (gone ? how != STORE_RECORD && how != STORE_REMOVE : how == STORE_REMOVE)
        return err_set(e, ERR_UNSUPPORTED, "an operation that makes no sense");
    int rc = prepare(p, op, e);
    if (rc < 0)
        return rc;
    switch (how) {
    case STORE_RECORD: return gone ? put_tombstone(p, op, e) : put_record(p, op, e);
    case STORE_META: return put_meta(p, op, e);
    case STORE_CONTENT: return put_content(p, op, e);
    case STORE_REMOVE: return put_remove(p, op, e);
    case STORE_PRUNE: return put_prune(p, op, e);
    }
    return err_set(e, ERR_UNSUPPORTED, "an operation that makes no sense");
}

/* It failed for lack of room, has left nothing, and there is room now. */
static bool worth_again(struct put *p, const struct op *op, const struct err *why)
{
    return !op->stopped && trash_no_room(why) && trash_make_room(p->a.trash, op->o->entry->size);
}

int put_apply(struct put *p, const struct store_op *o, struct err *e)
{
    struct op op = {.o = o};
    struct err why = {0};
    int rc = next_path(p, o->entry, e);
    if (rc < 0)
        return rc;
    while ((rc = apply_once(p, &op, &why)) < 0 && worth_again(p, &op, &why))
        ;
    if (rc < 0 && op.stopped) {
        if (e)
            *e = why;
        return rc;
    }
    if (rc < 0)
        add_failure(p, &op, &why);
    return 0;
}

/* ---- files by stream ---- */

/* Later pieces of it are let go by; the outcome waits for put_end. keep: what has come is good as far as it goes. */
static void stream_fail(struct put *p, const struct err *why, bool keep)
{
    struct stream *s = &p->stream;
    s->why = *why;
    s->failed = true;
    if (s->open)
        drop_stream(s, keep);
}

/* The operation is kept with all that it points to, since the caller's may be gone before the end. */
static void keep_op(struct stream *s, const struct store_op *o, const char *path)
{
    s->o = *o;
    entry_copy(&s->entry, o->entry);
    s->entry.path = path;
    s->o.entry = &s->entry;
    s->op = (struct op){.o = &s->o};
    s->failed = s->open = s->writing = false;
    s->left = 0;
}

/* What is large goes into a partial, if one can be had. */
static int open_stream(struct put *p, struct stream *s, struct err *e)
{
    struct stat st;
    int rc = keep_aside(p, e);
    if (rc < 0)
        return rc;
    if (s->entry.size >= STORE_RESUME_MIN) {
        rc = s->op.have ? still_there(&s->op, &st, e) : 0;
        if (rc < 0)
            return rc;
        if (partial_take(p->a.partials, &s->entry, s->op.parent->fd, &s->temp, &s->left))
            return 0;
    }
    return open_temp(p, &s->op, &s->temp, e);
}

int put_begin(struct put *p, const struct store_op *o, struct err *e)
{
    struct stream *s = &p->stream;
    struct err why = {0};
    int rc = next_path(p, o->entry, e);
    if (rc < 0)
        return rc;
    keep_op(s, o, p->last);
    content_begin(p->content);
    if (o->how != STORE_CONTENT || o->entry->kind != ENTRY_FILE)
        rc = err_set(&why, ERR_UNSUPPORTED, "an operation that makes no sense");
    if (rc == 0)
        rc = prepare(p, &s->op, &why);
    if (rc == 0 && s->op.have) {
        entry_copy(&s->have, s->op.have);
        s->have.path = p->last;
        s->op.have = &s->have;
    }
    while (rc == 0 && (rc = open_stream(p, s, &why)) < 0 && worth_again(p, &s->op, &why))
        rc = 0;
    s->open = rc == 0;
    if (rc < 0 && s->op.stopped) {
        if (e)
            *e = why;
        return rc;
    }
    if (rc < 0)
        stream_fail(p, &why, true);
    return 0;
}

/* Another object may have the partial by now: then this one gets its bytes from there. */
int put_keep(struct put *p, uint64_t n, struct err *e)
{
    struct stream *s = &p->stream;
    struct err why = {0};
    bool stopped = false;
    if (s->failed || n == 0)
        return 0;
    bool own = s->temp.home >= 0;
    int from = own ? s->temp.fd : partial_taken(p->a.partials, &s->entry), rc;
    if (from < 0 || (own && n > s->left) || content_got(p->content) > 0)
        rc = err_set(&why, ERR_CHANGED, "an earlier run did not leave that much of it");
    else
        rc = content_head(p->content, own ? -1 : s->temp.fd, from, n, &s->entry, &stopped, &why);
    if (rc < 0 && stopped) {
        if (e)
            *e = why;
        return rc;
    }
    if (rc < 0)
        stream_fail(p, &why, rc != ERR_SYS);
    return 0;
}

/* What is in a partial behind the bytes that are kept goes only now, when others come in its place. */
static int begin_writing(struct put *p, struct stream *s, struct err *e)
{
    off_t kept = (off_t)content_got(p->content);
    if (s->writing || s->temp.home < 0)
        return 0;
    s->writing = true;
    if (ftruncate(s->temp.fd, kept) < 0 || lseek(s->temp.fd, kept, SEEK_SET) < 0)
        return err_sys(e, "cannot go on behind what an earlier run left");
    return 0;
}

int put_data(struct put *p, const void *data, size_t n, struct err *e)
{
    struct stream *s = &p->stream;
    struct err why = {0};
    (void)e;
    if (s->failed || n == 0)
        return 0;
    /* Not kept: on a full disk room is what is missing, and content that is too long is not what was wanted. */
    if (begin_writing(p, s, &why) < 0 || content_add(p->content, s->temp.fd, &s->entry, data, n, &why) < 0)
        stream_fail(p, &why, false);
    return 0;
}

/* What an earlier run left stays as it is when nothing came. */
static int end_content(struct put *p, struct stream *s, struct err *e)
{
    int rc = content_got(p->content) == s->entry.size ? begin_writing(p, s, e) : 0;
    return rc < 0 ? rc : content_end(p->content, &s->entry, e);
}

int put_end(struct put *p, const char *failed, struct err *e)
{
    struct stream *s = &p->stream;
    struct err why = {0};
    int rc = 0;
    (void)e;
    /* A symlink gets here only to fail, and then for its giver's reason. */
    if (failed && (!s->failed || s->why.code == ERR_UNSUPPORTED))
        rc = err_set(&why, ERR_CHANGED, "%s", failed);
    else if (!s->failed)
        rc = end_content(p, s, &why);
    if (!s->failed && rc == 0 && !failed) {
        s->open = false; /* the temp changes hands */
        rc = add_file(p, &s->op, &s->temp, &why);
    }
    if (rc == ERR_CHANGED && !failed && content_got(p->content) == s->entry.size)
        err_set(&why, ERR_DAMAGED, "what came of it does not match its digest; it is not put in place");
    /* What has all come and is wrong would be wrong for ever. */
    if (rc < 0)
        stream_fail(p, &why, failed || content_got(p->content) < s->entry.size);
    if (s->failed)
        add_failure(p, &s->op, &s->why);
    return 0;
}

int put_flush(struct put *p, struct err *e)
{
    recent_free(p->recent);
    p->recent = NULL;
    return put_batch_flush(p->batch, e);
}
