#include "store/scan.h"

#include "base/file.h"
#include "base/mem.h"
#include "store/scan_list.h"
#include "store/scan_out.h"
#include "store/temp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HELD_OPEN 100u /* of the directories that the walk is in, so many of the deepest stay open */
#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define TRIES 3
#define AGAIN 1 /* of the functions for one object: it is no longer what it was, look again */

/* A directory that the walk is in. */
struct frame {
    struct scan_dir *dir;    /* NULL: closed for now */
    uint64_t dev, ino;       /* to know it again */
    struct scan_mark before; /* the names below its own */
    size_t next, end;        /* its names that are still to be visited */
    size_t path_len;
};

struct walk {
    const struct scan_args *args;
    struct scan_out out;
    uint64_t dev; /* of the root */
    struct frame *frame;
    size_t depth, cap;
    struct scan_list names;
    struct digest_state *hash;      /* for the targets of symlinks */
    size_t len;
    char path[PATH_LEN_MAX + 1]; /* of the object that is looked at */
};

/* ---- files and symlinks ---- */

/*
 * Reads the target of the symlink that stat saw, or of another one that took its place. 0, -1 with errno,
 * or AGAIN when it is no symlink now, or a new one at each look.
 */
static int read_target(struct entry *now, char target[ENTRY_TARGET_MAX + 1], int dir, const char *name)
{
    for (int tries = 0; tries < TRIES; tries++) {
        struct entry look;
        struct stat st;
        ssize_t n = readlinkat(dir, name, target, ENTRY_TARGET_MAX + 1);
        if (n < 0)
            return errno == EINVAL ? AGAIN : -1;
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -1;
        if (!scan_judge_stat(&look, &st) || look.kind != ENTRY_LINK)
            return AGAIN;
        if (scan_judge_same(now, &look)) {
            now->size = (uint64_t)n;
            return 0;
        }
        scan_judge_stat(now, &st);
    }
    return AGAIN;
}

static int take_target(struct walk *w, struct history_at *at, const char *target)
{
    struct entry *now = &w->out.now;
    enum digest_algo hash = w->args->hash;
    now->digest = digest_whole(w->hash, hash, target, (size_t)now->size);
    if (scan_judge_rehashes(&w->out.judge, at)) {
        struct digest other = digest_whole(w->hash, digest_other(hash), target, (size_t)now->size);
        scan_out_renew(&w->out, at, &other);
    }
    return scan_out_seen(&w->out, at);
}

static int see_link(struct walk *w, struct history_at *at, int dir, const char *name)
{
    char target[ENTRY_TARGET_MAX + 1];
    struct entry *now = &w->out.now;
    struct err why;
    int got = read_target(now, target, dir, name);
    if (got < 0 && errno == ENOENT)
        return scan_out_missed(&w->out, at);
    if (got == 0 && entry_check(now, &why) == 0)
        return take_target(w, at, target);
    if (got < 0)
        scan_out_problem(&w->out, w->path, "cannot be read", errno);
    else
        scan_out_problem(&w->out, w->path, got == 0 ? why.msg : SCAN_OUT_UNSTEADY, 0);
    return scan_out_unread(&w->out, at);
}

static int see_file(struct walk *w, const struct history_at *at, struct scan_dir *dir)
{
    struct entry *now = &w->out.now;
    struct err why;
    if (entry_check(now, &why) < 0) {
        scan_out_problem(&w->out, w->path, why.msg, 0);
        return scan_out_unread(&w->out, at);
    }
    bool new = !at->recorded || at->recorded->kind == ENTRY_GONE;
    if (new && !scan_judge_due(&w->out.judge, w->path, w->len)) {
        struct digest content;
        int64_t verified;
        int rc = history_moved(w->args->history, &now->place, now->size, now->mtime, &content, &verified, w->out.e);
        if (rc < 0)
            return rc;
        if (rc > 0 && content.algo == w->args->hash) {
            now->digest = content;
            now->place.verified = verified;
            return scan_out_seen(&w->out, at);
        }
    }
    return scan_out_job(&w->out, at, dir);
}

static int see_leaf(struct walk *w, struct scan_dir *dir, const char *name)
{
    struct history_at at;
    int rc = history_seek(w->args->history, w->path, w->len, &at, w->out.e);
    if (rc < 0)
        return rc;
    const struct entry *known = scan_judge_reuse(&w->out.judge, &w->out.now, &at);
    if (known)
        return scan_out_known(&w->out, known, &at);
    return w->out.now.kind == ENTRY_LINK ? see_link(w, &at, dir->fd, name) : see_file(w, &at, dir);
}

/* ---- directories ---- */

/* An object of which not even the kind is known for certain. */
static int unknown(struct walk *w)
{
    return scan_out_carry(&w->out, w->path, w->len, ENTRY_UNKNOWN, NULL);
}

/*
 * A directory that is not looked into, since that cannot be done or another file system begins here: the store takes no
 * part in what is decided about it and all below it, for what it had there may be there again next time.
 */
static int see_blindly(struct walk *w, const char *why, int sys)
{
    static const struct history_at nothing;
    struct scan_out *o = &w->out;
    size_t recorded;
    uint32_t mode = o->now.mode;
    scan_out_problem(o, w->path, why, sys);
    int rc = scan_out_carry(o, w->path, w->len, ENTRY_UNKNOWN, &recorded);
    if (rc < 0 || recorded > 0)
        return rc;
    o->now = (struct entry){.path = w->path, .path_len = w->len, .kind = ENTRY_DIR, .mode = mode};
    return scan_out_unread(o, &nothing);
}

static struct frame *push_frame(struct walk *w)
{
    if (w->depth == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 32;
        w->frame = mem_resize(w->frame, w->cap, sizeof *w->frame);
    }
    if (w->depth >= HELD_OPEN) {
        struct frame *far = &w->frame[w->depth - HELD_OPEN];
        scan_batch_drop(far->dir);
        far->dir = NULL;
    }
    return &w->frame[w->depth++];
}

static void pop_frame(struct walk *w)
{
    struct frame *f = &w->frame[--w->depth];
    scan_batch_drop(f->dir);
    scan_list_pop(&w->names, f->before);
}

/* Puts the directory of w->path and goes into it. Owns fd. */
static int enter(struct walk *w, int fd, const struct stat *st)
{
    struct history_at at;
    struct scan_mark before = scan_list_mark(&w->names);
    if (scan_list_push(&w->names, fd) < 0) {
        int sys = errno;
        close(fd);
        return see_blindly(w, "directory cannot be read", sys);
    }
    int rc = history_seek(w->args->history, w->path, w->len, &at, w->out.e);
    if (rc == 0)
        rc = scan_out_seen(&w->out, &at);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    scan_out_enters(&w->out, st->st_dev);
    struct frame *f = push_frame(w);
    *f = (struct frame){scan_batch_dir(fd), st->st_dev, st->st_ino, before, before.n, w->names.n, w->len};
    return 0;
}

static int see_dir(struct walk *w, struct scan_dir *parent, const char *name, const struct stat *st)
{
    struct stat opened;
    if (st->st_dev != w->dev && !w->args->cross)
        return see_blindly(w, "is a mount point, which is not entered (`mounts: cross` in the policy enters it)", 0);
    int fd = openat(parent->fd, name, OPEN_DIR);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return AGAIN;
    int sys = fd < 0 || fstat(fd, &opened) < 0 ? errno : 0;
    if (sys == 0 && (opened.st_dev != st->st_dev || opened.st_ino != st->st_ino)) {
        close(fd);
        return AGAIN;
    }
    if (sys == 0)
        return enter(w, fd, st);
    if (fd >= 0)
        close(fd);
    return see_blindly(w, "directory cannot be opened", sys);
}

/* ---- the walk ---- */

static int look(struct walk *w, struct scan_dir *dir, const char *name)
{
    const struct scan_args *a = w->args;
    struct stat st;
    if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT)
            return 0;
        scan_out_problem(&w->out, w->path, "cannot be looked at", errno);
        return unknown(w);
    }
    bool is_dir = S_ISDIR(st.st_mode);
    if (is_dir && a->skip_ino != 0 && st.st_ino == a->skip_ino && st.st_dev == a->skip_dev)
        return scan_out_carry(&w->out, w->path, w->len, ENTRY_HIDDEN, NULL);
    if (a->filter && filter_excludes(a->filter, w->path, w->len, is_dir))
        return scan_out_carry(&w->out, w->path, w->len, ENTRY_HIDDEN, NULL);
    w->out.now.path = w->path;
    w->out.now.path_len = w->len;
    if (!scan_judge_stat(&w->out.now, &st)) {
        /* What was there before it was not deleted: something else has its name. */
        w->out.report->special++;
        return a->absence.deletes ? unknown(w) : 0;
    }
    return is_dir ? see_dir(w, dir, name, &st) : see_leaf(w, dir, name);
}

static int visit(struct walk *w, const struct frame *f, const char *name, size_t len)
{
    size_t at = f->path_len ? f->path_len + 1 : 0;
    if (at + len > PATH_LEN_MAX || len > NAME_LEN_MAX) {
        char *path = mem_printf("%.*s%s%s", (int)f->path_len, w->path, at ? "/" : "", name);
        scan_out_problem(&w->out, path, "path is too long", 0);
        free(path);
        return 0;
    }
    if (at)
        w->path[at - 1] = '/';
    memcpy(w->path + at, name, len + 1);
    w->len = at + len;
    if (path_reserved(name, len)) {
        /* Our own state, and what a killed run left, are nobody's business; but nothing else is left out in silence. */
        if (!(at == 0 && strcmp(name, PATH_STATE) == 0) && !temp_is_name(name))
            w->args->watch->problem(w->args->watch->ctx, false, w->path,
                                    "has a name that sos-sync keeps for itself: left out");
        return 0;
    }
    struct scan_dir *dir = f->dir; /* f moves when a frame is pushed */
    for (int tries = 0; tries < TRIES; tries++) {
        int rc = look(w, dir, name);
        if (rc != AGAIN)
            return rc;
    }
    scan_out_problem(&w->out, w->path, SCAN_OUT_UNSTEADY, 0);
    return unknown(w);
}

/* Opens a directory again that was closed when the walk went far below it. 0, or -1 with errno. */
static int reopen(struct walk *w, struct frame *f)
{
    struct stat st;
    w->path[f->path_len] = '\0';
    w->len = f->path_len;
    int fd = file_beneath(w->args->root, w->path, OPEN_DIR, 0);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0 || st.st_dev != f->dev || st.st_ino != f->ino) {
        close(fd);
        errno = ESTALE;
        return -1;
    }
    f->dir = scan_batch_dir(fd);
    return 0;
}

static int step(struct walk *w)
{
    struct frame *f = &w->frame[w->depth - 1];
    if (f->next == f->end) {
        pop_frame(w);
        return 0;
    }
    if (!f->dir && reopen(w, f) < 0) {
        scan_out_problem(&w->out, w->path, "directory cannot be opened again", errno);
        f->next = f->end;
        return unknown(w);
    }
    size_t len;
    const char *name = scan_list_name(&w->names, f->next++, &len);
    if ((++w->out.objects & 15) == 0) {
        int rc = scan_out_tick(&w->out);
        if (rc < 0)
            return rc;
    }
    return visit(w, f, name, len);
}

static int enter_root(struct walk *w)
{
    struct stat st;
    int fd = openat(w->args->root, ".", OPEN_DIR);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int rc = err_sys(w->out.e, "the store's root");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    w->dev = st.st_dev;
    scan_out_enters(&w->out, st.st_dev);
    if (scan_list_push(&w->names, fd) < 0) {
        int rc = err_sys(w->out.e, "the store's root");
        close(fd);
        return rc;
    }
    struct frame *f = push_frame(w);
    *f = (struct frame){scan_batch_dir(fd), st.st_dev, st.st_ino, {0, 0}, 0, w->names.n, 0};
    return 0;
}

int scan_tree(const struct scan_args *args, struct manifest_writer *writer, struct store_scan *report,
              struct scan_found *found, struct err *e)
{
    struct walk *w = mem_zalloc(sizeof *w);
    uint64_t floor;
    w->args = args;
    w->hash = digest_new();
    scan_out_init(&w->out, args, writer, report, found, e);
    int rc = enter_root(w);
    while (rc == 0 && w->depth > 0)
        rc = step(w);
    if (rc == 0)
        rc = history_end(args->history, &floor, e);
    if (rc == 0)
        rc = scan_out_flush(&w->out);
    if (history_dropped(args->history))
        report->changed = true;
    while (w->depth > 0)
        pop_frame(w);
    scan_out_end(&w->out);
    scan_list_free(&w->names);
    digest_free(w->hash);
    free(w->frame);
    free(w);
    return rc;
}
