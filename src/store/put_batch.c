#include "store/put_batch.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/content.h"
#include "store/partial.h"
#include "store/put_ahead.h"
#include "store/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ITEMS_MAX 2048u
#define BYTES_MAX (64u << 20)
#define AGE_MS 1000
#define TELL_EVERY 64u /* items: who gives us their content goes on meanwhile */
#define CHANGED "changed during the run; left for the next run"
#define OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* What is in place, but may not be durable yet. */
struct outcome {
    uint64_t seq;
    int code;
    char *message; /* owned */
};

/* A directory that waits until the paths have left it. */
struct narrow {
    char *path; /* owned */
    size_t len;
    bool remove;   /* else it gets its mode */
    uint32_t mode;
    uint64_t intent;
};

struct put_batch {
    struct put_batch_args a;
    struct put_item *item;
    size_t items;
    struct put_item *placing; /* of the batch before, being put in place */
    size_t placings;
    struct put_ahead *ahead;  /* by this; NULL: by nobody else */
    struct stamp placed;      /* when that began */
    uint64_t bytes;
    int64_t since;         /* monotonic ms of the first item */
    struct outcome outcome[ITEMS_MAX];
    size_t outcomes;
    struct parent *parent; /* of the last path */
    unsigned descriptors, descriptors_max;
    struct narrow *narrow; /* outer ones first */
    size_t narrows;
    uint64_t done;
    dev_t dev; /* the root's */
};

/* ---- parents ---- */

static void parent_drop(struct put_batch *b, struct parent *p)
{
    if (!p || --p->refs > 0)
        return;
    close(p->fd);
    b->descriptors--;
    free(p);
}

/* Where the scan does not cross into another file system, nothing is put there either: the two see the same store. */
static int open_parent(const struct put_batch *b, const char *path, dev_t *dev)
{
    struct stat st;
    int fd = file_beneath(b->a.root, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && (b->a.cross || st.st_dev == b->dev)) {
        *dev = st.st_dev;
        return fd;
    }
    close(fd);
    errno = EXDEV;
    return -1;
}

struct parent *put_batch_parent(struct put_batch *b, const char *path, size_t len)
{
    size_t n = path_parent(path, len);
    struct parent *p = b->parent;
    if (p && p->len == n && memcmp(p->path, path, n) == 0)
        return p;
    parent_drop(b, p);
    b->parent = NULL;
    p = mem_alloc(sizeof *p + n + 1);
    memcpy(p->path, path, n);
    p->path[n] = '\0';
    p->len = n;
    p->refs = 1;
    p->fd = open_parent(b, p->path, &p->dev);
    if (p->fd < 0) {
        free(p);
        return NULL;
    }
    b->descriptors++;
    b->parent = p;
    return p;
}

/* ---- items ---- */

struct put_item *put_batch_add(struct put_batch *b, uint64_t seq, enum put_kind kind, struct parent *parent,
                               const struct entry *entry)
{
    struct put_item *it = b->item + b->items;
    if (b->items++ == 0)
        b->since = clock_mono_ms();
    *it = (struct put_item){.seq = seq, .kind = kind, .temp = {.fd = -1, .home = -1}};
    if (kind == PUT_OUTCOME)
        return it;
    it->path = mem_strndup(entry->path, entry->path_len);
    size_t n = path_parent(it->path, entry->path_len);
    it->leaf = n ? it->path + n + 1 : it->path;
    it->mode = entry->mode;
    it->size = entry->size;
    it->digest = entry->digest;
    it->mtime = entry->mtime;
    it->gone = entry->kind == ENTRY_GONE;
    it->parent = parent;
    if (parent)
        parent->refs++;
    if (kind == PUT_FILE)
        b->descriptors++;
    return it;
}

void put_batch_fail(struct put_item *it, const struct err *why)
{
    it->code = trash_no_room(why) ? ERR_FULL : why->code ? why->code : ERR_SYS;
    free(it->message);
    it->message = mem_strdup(why->msg);
}

/* Gives back all that an item holds; what has a name of ours and is not in place goes. */
static void release(struct put_batch *b, struct put_item *it)
{
    if (it->kind == PUT_FILE)
        b->descriptors--;
    if (it->parent) {
        temp_drop(&it->temp, it->parent->fd);
        parent_drop(b, it->parent);
    }
    free(it->path);
    free(it->target);
    it->parent = NULL;
    it->path = it->target = NULL;
}

/* ---- putting in place ---- */

static int changed(struct err *e)
{
    return err_set(e, ERR_CHANGED, CHANGED);
}

/* Copied and as durable as its batch: it takes the partial's place in the item. */
static int copy_partial(struct put_batch *b, struct put_item *it, struct temp *t, struct err *e)
{
    const struct entry want = {.kind = ENTRY_FILE, .size = it->size, .digest = it->digest};
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {it->mtime.sec, (long)it->mtime.nsec}};
    struct content *c = content_new(b->a.watch, b->a.trash);
    bool stopped = false; /* whoever stops us is asked again before the batch is over */
    int rc = content_copy(c, t->fd, it->temp.fd, &want, &stopped, e);
    content_free(c);
    if (rc == 0 && (futimens(t->fd, times) < 0 || (b->a.fsync != STORE_FSYNC_NONE && fsync(t->fd) < 0)))
        rc = err_sys(e, "cannot finish it");
    return rc;
}

/*
 * Nothing can be renamed from the partials into this directory, which has another mount or quota. Its intent is
 * in the journal, so that it may have a name.
 */
static int bring_over(struct put_batch *b, struct put_item *it, struct err *e)
{
    struct temp t;
    bool named = true;
    if (temp_open(&t, it->parent->fd, (mode_t)it->mode, &named) < 0)
        return err_sys(e, "cannot make a temporary file");
    int rc = copy_partial(b, it, &t, e);
    if (rc < 0) {
        temp_drop(&t, it->parent->fd);
        return rc;
    }
    partial_drop(&it->temp, false);
    it->temp = t;
    return 0;
}

static int place_new(struct put_batch *b, struct put_item *it, struct err *e)
{
    int rc = temp_place(&it->temp, it->parent->fd, it->leaf);
    if (rc < 0 && errno == EXDEV && it->temp.home >= 0) {
        rc = bring_over(b, it, e);
        return rc < 0 ? rc : place_new(b, it, e);
    }
    if (rc == 0)
        return 0;
    return errno == EEXIST || errno == ENOENT ? changed(e) : err_sys(e, "cannot put it in place");
}

static int give_name(struct put_batch *b, struct put_item *it, struct err *e)
{
    int rc = temp_give_name(&it->temp, it->parent->fd);
    if (rc < 0 && errno == EXDEV && it->temp.home >= 0)
        return bring_over(b, it, e);
    return rc < 0 ? err_sys(e, "cannot name a temporary file") : 0;
}

/* Without an exchange: the old version is in the trash before the new one takes its name. */
static int swap_plain(struct put_batch *b, struct put_item *it, struct err *e)
{
    struct stat st;
    int dir = it->parent->fd;
    int rc = trash_keep(b->a.trash, dir, it->leaf, it->path, store_why_text(it->why), e);
    if (rc < 0)
        return rc;
    if (rc == 0) {
        if (fstatat(dir, it->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 || !seen_is(&it->seen, &st, false))
            return changed(e);
        if (renameat(dir, it->temp.name, dir, it->leaf) < 0)
            return err_sys(e, "cannot put it in place");
        it->temp.name[0] = '\0';
        return 0;
    }
    rc = trash_take(b->a.trash, dir, it->leaf, it->path, store_why_text(it->why), e);
    if (rc == 0 && (rc = place_new(b, it, e)) < 0)
        trash_needed(b->a.trash);
    return rc;
}

/*
 * Takes an exchange back. If that fails, the old version stays under the temp's name, for the next
 * scan to find.
 */
static void swap_back(struct put_item *it)
{
    int dir = it->parent->fd;
    if (renameat2(dir, it->temp.name, dir, it->leaf, RENAME_EXCHANGE) == 0)
        return;
    it->temp.name[0] = '\0';
    it->keep_intent = true;
}

/* What comes out under the temp's name is looked at, so that nothing is lost that the scan did not see. */
static int swap(struct put_batch *b, struct put_item *it, struct err *e)
{
    struct stat st;
    int dir = it->parent->fd;
    int rc = give_name(b, it, e);
    if (rc < 0)
        return rc;
    if (renameat2(dir, it->temp.name, dir, it->leaf, RENAME_EXCHANGE) < 0) {
        if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)
            return swap_plain(b, it, e);
        return errno == ENOENT ? changed(e) : err_sys(e, "cannot put it in place");
    }
    if (fstatat(dir, it->temp.name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !seen_is(&it->seen, &st, false))
        rc = changed(e);
    else
        rc = trash_take(b->a.trash, dir, it->temp.name, it->path, store_why_text(it->why), e);
    if (rc < 0)
        swap_back(it);
    else
        it->temp.name[0] = '\0';
    return rc;
}

static int replace(struct put_batch *b, struct put_item *it, struct err *e)
{
    struct stat st;
    int dir = it->parent->fd;
    if (fstatat(dir, it->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 || !seen_is(&it->seen, &st, true))
        return changed(e);
    if (it->seen.kind != ENTRY_DIR)
        return swap(b, it, e);
    if (unlinkat(dir, it->leaf, AT_REMOVEDIR) < 0) {
        if (errno == ENOTEMPTY || errno == EEXIST)
            return err_set(e, ERR_CHANGED, "a directory that is not empty is in its place");
        return err_sys(e, "cannot remove the directory in its place");
    }
    return place_new(b, it, e);
}

/*
 * Made beside its place, so that it never stands there without its time; and only now, since it needs
 * a name: a killed run leaves none that the journal does not lead to.
 */
static int make_link(struct put_item *it, struct err *e)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {it->mtime.sec, (long)it->mtime.nsec}};
    if (it->temp.name[0]) /* from the first time that it was tried */
        return 0;
    if (temp_symlink(&it->temp, it->parent->fd, it->target) < 0)
        return err_sys(e, "cannot make the symlink");
    if (utimensat(it->parent->fd, it->temp.name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(e, "cannot set its time");
    return 0;
}

static int place_object(struct put_batch *b, struct put_item *it, struct stat *st, struct err *e)
{
    int rc = it->kind == PUT_LINK ? make_link(it, e) : 0;
    if (rc == 0 && !it->stands)
        rc = it->seen.kind ? replace(b, it, e) : place_new(b, it, e);
    if (rc < 0)
        return rc;
    it->keep_intent = true; /* it stands there, whatever fails from here on */
    *st = it->st;
    if (it->known)
        return 0;
    if (it->kind == PUT_LINK)
        rc = fstatat(it->parent->fd, it->leaf, st, AT_SYMLINK_NOFOLLOW);
    else
        rc = fstat(it->temp.fd, st);
    /* A default ACL may have taken from the mode that the file was made with. */
    if (rc == 0 && it->kind == PUT_FILE && (st->st_mode & 07777) != it->mode) {
        rc = fchmod(it->temp.fd, (mode_t)it->mode);
        if (rc == 0)
            rc = fstat(it->temp.fd, st);
    }
    return rc < 0 ? err_sys(e, "cannot finish it") : 0;
}

/* ---- metadata ---- */

/* Of an inode that is held open for reading, or only as a path (unreadable files): then by way of /proc. */
static int set_meta(int fd, bool as_path, const struct put_item *it, const struct stat *st)
{
    char path[32];
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {it->mtime.sec, (long)it->mtime.nsec}};
    mode_t keep = st->st_mode & 07000; /* set-id bits are this store's own business */
    bool mode = (st->st_mode & 0777) != it->mode;
    bool time = clock_cmp(seen_mtime(st), it->mtime) != 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (mode && file_chmod(fd, keep | (mode_t)it->mode) < 0)
        return -1;
    return time ? (as_path ? utimensat(AT_FDCWD, path, times, 0) : futimens(fd, times)) : 0;
}

static int meta_of_file(struct put_item *it, struct stat *st, struct err *e)
{
    int dir = it->parent->fd;
    bool as_path = false;
    int fd = openat(dir, it->leaf, OPEN_FILE);
    if (fd < 0 && errno == EACCES) {
        as_path = true;
        fd = openat(dir, it->leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    int rc = 0;
    if (fd < 0 || fstat(fd, st) < 0)
        rc = errno == ENOENT || errno == ELOOP ? changed(e) : err_sys(e, "cannot set its metadata");
    else if (!seen_is(&it->seen, st, true))
        rc = changed(e);
    else if (set_meta(fd, as_path, it, st) < 0 || fstat(fd, st) < 0) {
        rc = err_sys(e, "cannot set its metadata");
        it->keep_intent = true; /* half of it may be done */
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

static int meta_of_link(struct put_item *it, struct stat *st, struct err *e)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {it->mtime.sec, (long)it->mtime.nsec}};
    int dir = it->parent->fd;
    if (fstatat(dir, it->leaf, st, AT_SYMLINK_NOFOLLOW) < 0 || !seen_is(&it->seen, st, true))
        return changed(e);
    if (utimensat(dir, it->leaf, times, AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(dir, it->leaf, st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(e, "cannot set its metadata");
    return 0;
}

/* ---- removals ---- */

/* That it is gone already is as good, but where it was not to count as deleted. */
static int vanished(const struct put_item *it, struct err *e)
{
    return it->prunes ? changed(e) : 0;
}

/*
 * It is looked at once more under a name of ours, where nobody changes it by its path: only what the scan saw goes. What
 * came there since gets its name back, or keeps ours for the next scan to find.
 */
static int take_away(struct put_batch *b, struct put_item *it, struct err *e)
{
    struct stat st;
    int dir = it->parent->fd;
    if (temp_take_away(&it->temp, dir, it->leaf) < 0)
        return errno == ENOENT ? vanished(it, e) : err_sys(e, "cannot take it away");
    int rc = fstatat(dir, it->temp.name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !seen_is(&it->seen, &st, false)
                 ? changed(e) : trash_take(b->a.trash, dir, it->temp.name, it->path,
                              store_why_text(it->prunes ? it->why : STORE_WHY_DELETED), e);
    if (rc < 0 && temp_rename(dir, it->temp.name, dir, it->leaf) < 0)
        it->keep_intent = true;
    it->temp.name[0] = '\0';
    return rc;
}

static int remove_object(struct put_batch *b, struct put_item *it, struct err *e)
{
    struct stat st;
    if (fstatat(it->parent->fd, it->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? vanished(it, e) : err_sys(e, "cannot look at what is there");
    return seen_is(&it->seen, &st, true) ? take_away(b, it, e) : changed(e);
}

/* ---- one item ---- */

static int attempt(struct put_batch *b, struct put_item *it, struct stat *st, struct err *e)
{
    if (it->kind == PUT_FILE || it->kind == PUT_LINK)
        return place_object(b, it, st, e);
    if (it->kind == PUT_REMOVE)
        return remove_object(b, it, e);
    if (it->kind == PUT_META)
        return it->seen.kind == ENTRY_LINK ? meta_of_link(it, st, e) : meta_of_file(it, st, e);
    return 0;
}

static void carry_out(struct put_batch *b, struct put_item *it, struct stamp now)
{
    struct err why = {0};
    struct stat st;
    struct entry_place place;
    int rc = 0;
    if (it->kind == PUT_OUTCOME)
        return;
    while ((rc = attempt(b, it, &st, &why)) < 0 && !it->keep_intent && trash_no_room(&why) &&
           trash_make_room(b->a.trash, 0))
        ;
    if (rc < 0) {
        put_batch_fail(it, &why);
        if (!it->keep_intent)
            journal_undo(b->a.journal, it->intent);
        return;
    }
    if (it->gone || it->kind == PUT_REMOVE) {
        place = JOURNAL_NO_PLACE;
    } else if (it->kind == PUT_RECORD) {
        place = it->seen.place;
    } else {
        place = seen_place(&st);
        /*
         * Not racy by its ctime, which is always recent: nobody else could open the content before it
         * was in place, and whoever writes to it now changes the mtime that we set, unless that is as
         * recent itself. Times that were set on somebody's file may have hidden such a write.
         */
        place.racy = clock_within(it->mtime, now, SCAN_RACY_SECONDS) ||
                     (it->kind == PUT_META && clock_cmp(it->seen.mtime, it->mtime) != 0);
        place.verified = it->kind == PUT_FILE ? b->a.verified : it->kind == PUT_META ? it->seen.place.verified : 0;
    }
    journal_done(b->a.journal, it->intent, &place);
    b->done++;
}

/* ---- directories whose mode has to wait ---- */

void put_batch_narrow(struct put_batch *b, const struct entry *dir, uint64_t intent)
{
    b->narrow = mem_resize(b->narrow, b->narrows + 1, sizeof *b->narrow);
    b->narrow[b->narrows++] =
        (struct narrow){mem_strndup(dir->path, dir->path_len), dir->path_len, false, dir->mode, intent};
}

void put_batch_clear_out(struct put_batch *b, const struct entry *dir, uint64_t intent)
{
    put_batch_narrow(b, dir, intent);
    b->narrow[b->narrows - 1].remove = true;
}

/* 0, also where nothing is any more. */
static int remove_dir(struct put_batch *b, const struct narrow *n, struct err *e)
{
    size_t up = path_parent(n->path, n->len);
    char *parent = mem_strndup(n->path, up);
    int rc = 0, fd = file_beneath(b->a.root, parent, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 || unlinkat(fd, up ? n->path + up + 1 : n->path, AT_REMOVEDIR) < 0) {
        if (errno == ENOTEMPTY || errno == EEXIST)
            rc = err_set(e, ERR_CHANGED, "is not empty: kept");
        else if (errno == ENOTDIR)
            rc = changed(e);
        else if (errno != ENOENT)
            rc = err_sys(e, "cannot remove the directory");
    } else if (b->a.fsync == STORE_FSYNC_ALWAYS && fsync(fd) < 0) {
        rc = err_sys(e, "sync of a directory");
    }
    if (fd >= 0)
        close(fd);
    free(parent);
    return rc;
}

static void clear_out(struct put_batch *b, struct narrow *n)
{
    struct err why;
    int rc = remove_dir(b, n, &why);
    if (rc < 0) {
        /* What is in it now was excluded, or is new: no failure. */
        b->a.watch->problem(b->a.watch->ctx, rc != ERR_CHANGED, n->path, why.msg);
        journal_undo(b->a.journal, n->intent);
    } else {
        journal_done(b->a.journal, n->intent, &JOURNAL_NO_PLACE);
        b->done++;
    }
    free(n->path);
}

static void set_narrow(struct put_batch *b, struct narrow *n)
{
    struct stat st;
    struct err why;
    int fd = file_beneath_dir(b->a.root, n->path);
    if (fd < 0 || fstat(fd, &st) < 0 || file_chmod(fd, (st.st_mode & 07000) | (mode_t)n->mode) < 0 ||
        fstat(fd, &st) < 0) {
        err_sys(&why, "cannot set the mode of the directory");
        b->a.watch->problem(b->a.watch->ctx, true, n->path, why.msg);
    } else {
        struct entry_place place = seen_place(&st);
        journal_done(b->a.journal, n->intent, &place);
        b->done++;
    }
    if (fd >= 0)
        close(fd);
    free(n->path);
}

/* Inner ones first: an outer one may shut us out. path NULL: all of them. */
static void set_narrows(struct put_batch *b, const char *path, size_t len)
{
    while (b->narrows) {
        struct narrow *n = b->narrow + b->narrows - 1;
        if (path && path_below(path, len, n->path, n->len))
            return;
        if (n->remove)
            clear_out(b, n);
        else
            set_narrow(b, n);
        b->narrows--;
    }
}

/* ---- batches ---- */

/* all: else only those that a sync of the root's file system does not reach. */
static int sync_files(struct put_batch *b, bool all, struct err *e)
{
    for (size_t i = 0; i < b->items; i++) {
        struct put_item *it = b->item + i;
        if (it->kind == PUT_FILE && (all || it->parent->dev != b->dev) && fdatasync(it->temp.fd) < 0)
            return err_sys(e, "sync of %s", it->path);
    }
    return 0;
}

static void *syncfs_thread(void *fd)
{
    return syncfs(*(int *)fd) < 0 ? (void *)(intptr_t)errno : NULL;
}

/* A sync may take minutes on a slow disk: meanwhile we go on saying that we are alive. */
static int sync_store(struct put_batch *b, struct err *e)
{
    pthread_t thread;
    void *sys = NULL;
    int rc = 0;
    if (pthread_create(&thread, NULL, syncfs_thread, &b->a.root) != 0)
        return syncfs(b->a.root) < 0 ? err_sys(e, "sync of the store") : 0;
    for (bool over = false; !over;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        over = pthread_timedjoin_np(thread, &sys, &until) == 0;
        if (!over && rc == 0)
            rc = b->a.watch->progress(b->a.watch->ctx, 0, 0);
    }
    if (rc < 0)
        return err_set(e, rc, "the run was stopped");
    errno = (int)(intptr_t)sys;
    return sys ? err_sys(e, "sync of the store") : 0;
}

int put_batch_journal(struct put_batch *b, bool sync, struct err *e)
{
    int rc;
    while ((rc = journal_flush(b->a.journal, sync, e)) < 0 && trash_no_room(e) &&
           (trash_make_room(b->a.trash, 0) || reserve_give(b->a.reserve, journal_waiting(b->a.journal) + RESERVE_LEAST / 4)))
        ;
    return rc;
}

/* The journal is written in any case; synced with all data that its intents need. */
static int sync_all(struct put_batch *b, struct err *e)
{
    enum store_fsync how = b->a.fsync;
    bool always = how == STORE_FSYNC_ALWAYS;
    int rc = always || (how == STORE_FSYNC_BATCH && b->a.cross) ? sync_files(b, always, e) : 0;
    if (rc < 0)
        return rc;
    rc = put_batch_journal(b, always, e);
    if (rc == 0 && how == STORE_FSYNC_BATCH)
        rc = sync_store(b, e);
    return rc;
}

static int sync_parents(struct put_batch *b, bool all, struct err *e)
{
    int last = -1;
    for (size_t i = 0; i < b->placings; i++) {
        const struct put_item *it = b->placing + i;
        if (!it->parent || it->kind == PUT_RECORD || it->parent->fd == last ||
            (!all && it->parent->dev == b->dev))
            continue;
        last = it->parent->fd;
        if (fsync(last) < 0)
            return err_sys(e, "sync of a directory");
    }
    return 0;
}

static void report(struct put_batch *b)
{
    const struct store_watch *w = b->a.watch;
    for (size_t i = 0; i < b->outcomes; i++) {
        struct outcome *o = b->outcome + i;
        w->done(w->ctx, o->seq, o->code, o->message);
        free(o->message);
    }
    b->outcomes = 0;
}

static void clear_placed(struct put_batch *b)
{
    for (size_t i = 0; i < b->placings; i++) {
        struct put_item *it = b->placing + i;
        release(b, it);
        b->outcome[b->outcomes++] = (struct outcome){it->seq, it->code, it->message};
    }
    b->placings = 0;
}

/* What the batch before still needs, in its order; its outcomes are left waiting for the next sync. */
static int finish_placing(struct put_batch *b, struct err *e)
{
    struct put_ahead *ahead = b->ahead;
    int rc = 0;
    b->ahead = NULL;
    if (ahead && (rc = put_ahead_end(ahead, b->a.watch, e)) < 0)
        return rc;
    for (size_t i = 0; i < b->placings; i++) {
        carry_out(b, b->placing + i, b->placed);
        if (i % TELL_EVERY == TELL_EVERY - 1 && (rc = b->a.watch->progress(b->a.watch->ctx, 0, 0)) < 0)
            return err_set(e, rc, "the run was stopped");
    }
    bool always = b->a.fsync == STORE_FSYNC_ALWAYS;
    if ((always || (b->a.fsync == STORE_FSYNC_BATCH && b->a.cross)) && (rc = sync_parents(b, always, e)) < 0)
        return rc;
    clear_placed(b);
    if (b->a.fsync != STORE_FSYNC_BATCH)
        report(b);
    return 0;
}

static void begin_placing(struct put_batch *b)
{
    struct put_item *empty = b->placing;
    b->placing = b->item;
    b->placings = b->items;
    b->item = empty;
    b->items = 0;
    b->bytes = 0;
    b->placed = clock_now();
    b->ahead = put_ahead_begin(b->placing, b->placings, b->a.threads);
}

/*
 * Syncs (which makes the batch before durable), and puts in place. Where other threads do that the next batch may be collected
 * meanwhile; nobody waits for them before that one is closed.
 */
static int close_batch(struct put_batch *b, struct err *e)
{
    int rc = finish_placing(b, e);
    if (rc == 0 && (b->a.fsync != STORE_FSYNC_NONE || b->items))
        rc = sync_all(b, e);
    if (rc < 0)
        return rc;
    report(b);
    trash_settled(b->a.trash);
    begin_placing(b);
    return b->ahead ? 0 : finish_placing(b, e);
}

/* Room for what one operation may need: a parent, a temp, a source and its directory. */
static bool descriptors_short(const struct put_batch *b)
{
    return b->descriptors + 8 > b->descriptors_max;
}

int put_batch_tend(struct put_batch *b, const char *path, size_t len, uint64_t bytes, struct err *e)
{
    bool left = b->narrows && !path_below(path, len, b->narrow[b->narrows - 1].path,
                                          b->narrow[b->narrows - 1].len);
    int rc = 0;
    b->bytes += bytes;
    if (b->items == 0 && !left)
        return 0;
    if (b->items == ITEMS_MAX || b->bytes >= BYTES_MAX || descriptors_short(b) || clock_mono_ms() - b->since >= AGE_MS)
        rc = close_batch(b, e);
    bool settles = left && b->items == 0;
    if (rc == 0 && (settles || descriptors_short(b)))
        rc = finish_placing(b, e);
    if (rc == 0 && settles)
        set_narrows(b, path, len);
    return rc;
}

int put_batch_flush(struct put_batch *b, struct err *e)
{
    int rc = 0;
    if (b->items)
        rc = close_batch(b, e);
    if (rc == 0)
        rc = finish_placing(b, e);
    bool wait = b->narrows > 0 || b->outcomes > 0;
    if (rc == 0)
        set_narrows(b, NULL, 0);
    if (rc == 0 && wait)
        rc = sync_all(b, e);
    if (rc == 0)
        rc = put_batch_journal(b, false, e);
    if (rc == 0) {
        report(b);
        trash_settled(b->a.trash);
    }
    return rc;
}

uint64_t put_batch_done(const struct put_batch *b)
{
    return b->done;
}

void put_batch_count(struct put_batch *b)
{
    b->done++;
}

static unsigned descriptor_budget(void)
{
    unsigned half = file_raise_limit() / 2;
    return half > 4 * ITEMS_MAX + 16 ? 4 * ITEMS_MAX + 16 : half;
}

struct put_batch *put_batch_new(const struct put_batch_args *args)
{
    struct put_batch *b = mem_zalloc(sizeof *b);
    b->a = *args;
    b->item = mem_alloc(ITEMS_MAX * sizeof *b->item);
    b->placing = mem_alloc(ITEMS_MAX * sizeof *b->placing);
    b->descriptors_max = descriptor_budget();
    struct stat st;
    b->dev = fstat(args->root, &st) == 0 ? st.st_dev : 0;
    return b;
}

static void give_up(struct put_batch *b, struct put_item *item, size_t items)
{
    for (size_t i = 0; i < items; i++) {
        release(b, item + i);
        free(item[i].message);
    }
}

void put_batch_free(struct put_batch *b)
{
    if (!b)
        return;
    if (b->ahead)
        put_ahead_end(b->ahead, NULL, NULL);
    give_up(b, b->placing, b->placings);
    give_up(b, b->item, b->items);
    for (size_t i = 0; i < b->outcomes; i++)
        free(b->outcome[i].message);
    for (size_t i = 0; i < b->narrows; i++)
        free(b->narrow[i].path);
    parent_drop(b, b->parent);
    free(b->narrow);
    free(b->placing);
    free(b->item);
    free(b);
}
