/*
 * A directory store through its table: scan, apply, commit, and what a hostile or broken world does in
 * between.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "object/manifest.h"
#include "store/journal.h"
#include "store/store.h"
#include "killed.h"
#include "scratch.h"

#define OLD 1000000000 /* an mtime long ago */

/* ---- what a file system may lack: these stand in front of the library's ---- */

static const struct store_rules no_rules = {.tombstones = 400 * 86400, .trash = 7 * 86400};

static struct lacks {
    bool tmpfile, exchange, noreplace, empty_path, link;
} lacks;

int openat(int dir, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (lacks.tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if ((lacks.exchange && flags & RENAME_EXCHANGE) || (lacks.noreplace && flags & RENAME_NOREPLACE)) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    if (lacks.link || (lacks.empty_path && flags & AT_EMPTY_PATH)) {
        errno = lacks.link ? EPERM : ENOENT;
        return -1;
    }
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

/* ---- a small world ---- */

struct world {
    char dir[256];
    char src[300], dst[300];
};

static void world_new(struct world *w)
{
    assert_int_equal(scratch_make(w->dir, sizeof w->dir, "sos-put"), 0);
    snprintf(w->src, sizeof w->src, "%s/src", w->dir);
    snprintf(w->dst, sizeof w->dst, "%s/dst", w->dir);
    assert_int_equal(mkdir(w->src, 0755), 0);
}

static void world_end(struct world *w)
{
    scratch_remove(w->dir);
}

static char *at(char *out, const char *root, const char *path)
{
    snprintf(out, 5000, "%s/%s", root, path);
    return out;
}

static void touch(const char *path, int64_t mtime)
{
    struct timespec t[2] = {{mtime, 0}, {mtime, 123}};
    assert_int_equal(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_file(const char *root, const char *path, const char *text, mode_t mode, int64_t mtime)
{
    char p[5000];
    FILE *f = fopen(at(p, root, path), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    chmod(p, mode);
    touch(p, mtime);
}

static void make_dir(const char *root, const char *path)
{
    char p[5000];
    assert_int_equal(mkdir(at(p, root, path), 0755), 0);
}

static bool exists(const char *root, const char *path)
{
    char p[5000];
    struct stat st;
    return lstat(at(p, root, path), &st) == 0;
}

static void assert_text(const char *root, const char *path, const char *text)
{
    char p[5000], got[4096] = "";
    int fd = open(at(p, root, path), O_RDONLY);
    if (fd < 0)
        fail_msg("%s is missing", p);
    ssize_t n = read(fd, got, sizeof got - 1);
    close(fd);
    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, text);
}

static struct stat stat_of(const char *root, const char *path)
{
    char p[5000];
    struct stat st;
    assert_int_equal(lstat(at(p, root, path), &st), 0);
    return st;
}

/* Finds a name anywhere below a directory. */
static char found_path[5000];
static const char *wanted_name;
static int find_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type;
    if (strncmp(path + ftw->base, wanted_name, strlen(wanted_name)) == 0)
        snprintf(found_path, sizeof found_path, "%s", path);
    return 0;
}

static const char *find(const char *root, const char *dir, const char *name)
{
    char p[5000];
    found_path[0] = '\0';
    wanted_name = name;
    nftw(at(p, root, dir), find_one, 16, FTW_PHYS);
    return found_path[0] ? found_path : NULL;
}

/* ---- stores ---- */

struct heard {
    struct store *s;
    struct store_info info;
    uint64_t next;     /* seq of the next done */
    int code[64];
    char text[64][200];
    int problems;
    uint64_t given;
};

static int on_progress(void *ctx, uint64_t objects, uint64_t bytes)
{
    (void)ctx, (void)objects, (void)bytes;
    return 0;
}

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    struct heard *h = ctx;
    (void)error, (void)path, (void)message;
    h->problems++;
}

static void on_done(void *ctx, uint64_t seq, int code, const char *message)
{
    struct heard *h = ctx;
    assert_int_equal(seq, h->next);
    h->next++;
    assert_true(code == 0 || message);
    if (seq < 64) {
        h->code[seq] = code;
        snprintf(h->text[seq], sizeof h->text[seq], "%s", message ? message : "");
    }
}

static struct store_options options_for(struct heard *h, const char *root)
{
    return (struct store_options){.root = root, .fsync = STORE_FSYNC_NONE, .threads = 1, .rules = no_rules,
                                  .watch = {h, on_progress, on_problem, on_done, NULL}};
}

static void open_with(struct heard *h, const struct store_options *o, struct store_scan *out)
{
    struct err e = {0};
    struct store_scan scan;
    memset(h->code, 77, sizeof h->code);
    h->next = h->given = 0;
    h->problems = 0;
    h->s = store_dir_new(o);
    if (h->s->ops->inspect(h->s, &h->info, &e) < 0)
        fail_msg("inspect: %s", e.msg);
    if (h->s->ops->scan(h->s, &h->info.id, "g", out ? out : &scan, &e) < 0)
        fail_msg("scan: %s", e.msg);
}

static void open_store(struct heard *h, const char *root, struct store_scan *out)
{
    struct store_options o = options_for(h, root);
    open_with(h, &o, out);
}

static void shut(struct heard *h)
{
    h->s->ops->close(h->s);
    store_info_free(&h->info);
}

static void flush(struct heard *h)
{
    struct err e = {0};
    if (h->s->ops->flush(h->s, &e) < 0)
        fail_msg("flush: %s", e.msg);
    assert_int_equal(h->next, h->given);
}

static void commit(struct heard *h)
{
    struct err e = {0};
    if (h->s->ops->commit(h->s, NULL, 0, &e) < 0)
        fail_msg("commit: %s", e.msg);
}

/* An entry of a store's manifest; its path is static. */
static bool entry_at(struct heard *h, const char *path, struct entry *out)
{
    static char keep[PATH_LEN_MAX + 1];
    struct manifest_head head;
    struct err e = {0};
    const struct entry *now;
    struct manifest_reader *r = manifest_reader_new(h->s->ops->manifest(h->s), &head, &e);
    bool hit = false;
    assert_non_null(r);
    while (!hit && manifest_reader_next(r, &now, &e) > 0)
        if (strcmp(now->path, path) == 0) {
            entry_copy(out, now);
            memcpy(keep, path, strlen(path) + 1);
            out->path = keep;
            hit = true;
        }
    manifest_reader_free(r);
    return hit;
}

static void give(struct heard *h, struct store_op op)
{
    struct err e = {0};
    op.seq = h->given++;
    if (h->s->ops->apply(h->s, &op, &e) < 0)
        fail_msg("apply: %s", e.msg);
}

/* Everything that one store has, read by the other from its root. */
static void copy_all(struct heard *from, struct heard *to)
{
    struct err e = {0};
    struct manifest_head head;
    const struct entry *now;
    int root = from->s->ops->lend(from->s, &e);
    struct manifest_reader *r = manifest_reader_new(from->s->ops->manifest(from->s), &head, &e);
    assert_true(root >= 0);
    while (manifest_reader_next(r, &now, &e) > 0)
        give(to, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_ROOT, .from_root = root,
                                   .entry = now});
    flush(to);
    manifest_reader_free(r);
    close(root);
}

static void copy_one(struct heard *from, struct heard *to, const char *path)
{
    struct err e = {0};
    struct entry want;
    int root = from->s->ops->lend(from->s, &e);
    assert_true(root >= 0);
    assert_true(entry_at(from, path, &want));
    give(to, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_ROOT, .from_root = root,
                               .entry = &want});
    flush(to);
    close(root);
}

static void fill(const char *root)
{
    char p[5000];
    make_file(root, "a", "alpha", 0640, OLD);
    make_dir(root, "d");
    make_file(root, "d/b", "beta", 0755, OLD + 1);
    make_file(root, "d/empty", "", 0600, OLD + 2);
    make_dir(root, "d/e");
    assert_int_equal(symlink("../no/where", at(p, root, "d/e/link")), 0);
    touch(p, OLD + 3);
    make_file(root, "d-x", "dash", 0444, OLD);
    make_dir(root, "none");
}

/* ---- tests ---- */

static void first_copy(void **state)
{
    struct world w;
    struct heard s, t;
    struct store_scan out;
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, &out);
    assert_false(t.info.exists);
    assert_true(t.info.parent_exists);
    copy_all(&s, &t);
    for (uint64_t i = 0; i < t.given; i++)
        if (t.code[i])
            fail_msg("operation %d: %s", (int)i, t.text[i]);
    assert_text(w.dst, "a", "alpha");
    assert_text(w.dst, "d/b", "beta");
    assert_text(w.dst, "d/empty", "");
    assert_int_equal(stat_of(w.dst, "a").st_mode & 07777, 0640);
    assert_int_equal(stat_of(w.dst, "d-x").st_mode & 07777, 0444);
    assert_int_equal(stat_of(w.dst, "a").st_mtim.tv_sec, OLD);
    assert_int_equal(stat_of(w.dst, "a").st_mtim.tv_nsec, 123);
    assert_int_equal(stat_of(w.dst, "d/e/link").st_mtim.tv_sec, OLD + 3);
    assert_true(exists(w.dst, "none"));
    assert_true(exists(w.dst, ".sos-sync/journal"));
    commit(&t);
    assert_false(exists(w.dst, ".sos-sync/journal"));
    assert_false(exists(w.dst, ".sos-sync/trash"));
    assert_null(find(w.dst, "", ".sos-sync."));
    shut(&t);
    /* The next run finds all as it was recorded: nothing is read again, nothing is written. */
    struct stat before = stat_of(w.dst, ".sos-sync/manifest");
    open_store(&t, w.dst, &out);
    assert_true(t.info.marked);
    assert_string_equal(t.info.group, "g");
    assert_false(out.changed);
    assert_int_equal(out.hashed, 0);
    assert_int_equal(out.totals.objects, 5);
    commit(&t);
    assert_int_equal(before.st_ino, stat_of(w.dst, ".sos-sync/manifest").st_ino);
    struct entry a, b;
    assert_true(entry_at(&s, "a", &a));
    assert_true(entry_at(&t, "a", &b));
    assert_true(entry_same_content(&a, &b) && entry_same_meta(&a, &b) && entry_same_record(&a, &b));
    shut(&t);
    shut(&s);
    world_end(&w);
}

/* Makes a target that holds what src holds, committed. */
static void replicate(struct world *w)
{
    struct heard s, t;
    open_store(&s, w->src, NULL);
    open_store(&t, w->dst, NULL);
    copy_all(&s, &t);
    commit(&t);
    shut(&t);
    shut(&s);
}

static void update_keeps_old(void **state)
{
    struct world w;
    struct heard s, t;
    (void)state;
    world_new(&w);
    fill(w.src);
    replicate(&w);
    make_file(w.src, "d/b", "new beta", 0600, OLD + 50);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    copy_one(&s, &t, "d/b");
    assert_int_equal(t.code[0], 0);
    assert_text(w.dst, "d/b", "new beta");
    const char *old = find(w.dst, ".sos-sync/trash", "b");
    assert_non_null(old);
    assert_non_null(strstr(old, "/d/b"));
    assert_text("", old + 1, "beta");
    struct stat st;
    assert_int_equal(lstat(old, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(st.st_mtim.tv_sec, OLD + 1);
    assert_null(find(w.dst, "d", ".sos-sync."));
    commit(&t);
    shut(&t);
    shut(&s);
    struct store_scan out;
    open_store(&t, w.dst, &out);
    assert_int_equal(out.hashed, 0);
    assert_false(out.changed);
    shut(&t);
    world_end(&w);
}

/* Whatever is at the path and was not seen by the scan stays as it is. */
static void refuses_what_was_not_seen(void **state)
{
    struct world w;
    struct heard s, t;
    char p[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    replicate(&w);
    make_file(w.src, "a", "alpha 2", 0640, OLD + 9);
    make_file(w.src, "d/b", "beta 2", 0640, OLD + 9);
    make_file(w.src, "d-x", "dash 2", 0640, OLD + 9);
    make_file(w.src, "n1", "1", 0640, OLD);
    make_file(w.src, "n2", "2", 0640, OLD);
    make_file(w.src, "n3", "3", 0640, OLD);
    make_dir(w.src, "n4");
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    make_file(w.dst, "a", "edit!", 0640, OLD); /* same size and mtime: only ctime tells */
    unlink(at(p, w.dst, "d/b"));
    assert_int_equal(mkfifo(p, 0600), 0);
    unlink(at(p, w.dst, "d-x"));
    make_file(w.dst, "n1", "mine", 0600, OLD);
    assert_int_equal(symlink("/etc/passwd", at(p, w.dst, "n2")), 0);
    make_dir(w.dst, "n3");
    make_file(w.dst, "n4", "file", 0600, OLD);
    const char *path[] = {"a", "d/b", "d-x", "n1", "n2", "n3", "n4"};
    for (size_t i = 0; i < 7; i++) {
        copy_one(&s, &t, path[i]);
        if (t.code[i] != ERR_CHANGED)
            fail_msg("%s: %d %s", path[i], t.code[i], t.text[i]);
    }
    assert_text(w.dst, "a", "edit!");
    assert_true(S_ISFIFO(stat_of(w.dst, "d/b").st_mode));
    assert_false(exists(w.dst, "d-x"));
    assert_text(w.dst, "n1", "mine");
    assert_true(S_ISLNK(stat_of(w.dst, "n2").st_mode));
    assert_true(S_ISDIR(stat_of(w.dst, "n3").st_mode));
    assert_text(w.dst, "n4", "file");
    assert_null(find(w.dst, "", ".sos-sync.tmp"));
    assert_false(exists(w.dst, ".sos-sync/trash"));
    commit(&t);
    shut(&t);
    shut(&s);
    world_end(&w);
}

static void symlinked_parent(void **state)
{
    struct world w;
    struct heard s, t;
    char p[5000], q[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    replicate(&w);
    make_file(w.src, "d/new", "x", 0640, OLD);
    make_dir(w.dir, "outside");
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    assert_int_equal(rename(at(p, w.dst, "d"), at(q, w.dst, "was-d")), 0);
    assert_int_equal(symlink("../outside", p), 0);
    copy_one(&s, &t, "d/new");
    assert_true(t.code[0] < 0);
    assert_false(exists(w.dir, "outside/new"));
    assert_null(find(w.dir, "outside", ".sos"));
    shut(&t);
    /* The same on the side that is read from. */
    assert_int_equal(unlink(p), 0);
    assert_int_equal(rename(q, p), 0);
    open_store(&t, w.dst, NULL);
    assert_int_equal(rename(at(p, w.src, "d"), at(q, w.src, "was-d")), 0);
    assert_int_equal(symlink("was-d", p), 0);
    copy_one(&s, &t, "d/new");
    assert_int_equal(t.code[0], ERR_CHANGED);
    shut(&t);
    shut(&s);
    world_end(&w);
}

static void source_lies(void **state)
{
    struct world w;
    struct heard s, t;
    char p[5000];
    (void)state;
    world_new(&w);
    make_file(w.src, "damaged", "12345", 0640, OLD);
    make_file(w.src, "grown", "12345", 0640, OLD);
    make_file(w.src, "gone", "12345", 0640, OLD);
    make_file(w.src, "fifo", "12345", 0640, OLD);
    make_file(w.src, "z", "fine", 0640, OLD);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    make_file(w.src, "damaged", "1X345", 0640, OLD);
    make_file(w.src, "grown", "123456", 0640, OLD);
    unlink(at(p, w.src, "gone"));
    unlink(at(p, w.src, "fifo"));
    assert_int_equal(mkfifo(p, 0600), 0);
    copy_all(&s, &t);
    /* In path order: damaged fifo gone grown z */
    assert_int_equal(t.code[0], ERR_DAMAGED);
    assert_int_equal(t.code[1], ERR_CHANGED);
    assert_int_equal(t.code[2], ERR_CHANGED);
    assert_int_equal(t.code[3], ERR_CHANGED);
    assert_int_equal(t.code[4], 0);
    assert_false(exists(w.dst, "damaged"));
    assert_false(exists(w.dst, "grown"));
    assert_text(w.dst, "z", "fine");
    commit(&t);
    struct entry e;
    shut(&t);
    open_store(&t, w.dst, NULL);
    assert_true(entry_at(&t, "z", &e));
    assert_false(entry_at(&t, "grown", &e));
    shut(&t);
    shut(&s);
    world_end(&w);
}

static void kinds_change(void **state)
{
    struct world w;
    struct heard s, t;
    char p[5000];
    (void)state;
    world_new(&w);
    make_file(w.src, "file-dir", "f", 0640, OLD);
    make_dir(w.src, "dir-file");
    make_file(w.src, "dir-full", "x", 0640, OLD);
    make_file(w.src, "file-link", "g", 0640, OLD);
    assert_int_equal(symlink("t", at(p, w.src, "link-file")), 0);
    touch(p, OLD); /* what is of this moment is recorded anew once it is older */
    replicate(&w);
    unlink(at(p, w.src, "file-dir"));
    make_dir(w.src, "file-dir");
    make_file(w.src, "file-dir/in", "in", 0640, OLD);
    rmdir(at(p, w.src, "dir-file"));
    make_file(w.src, "dir-file", "now a file", 0640, OLD);
    unlink(at(p, w.src, "file-link"));
    assert_int_equal(symlink("u", p), 0);
    touch(p, OLD);
    unlink(at(p, w.src, "link-file"));
    make_file(w.src, "link-file", "now a file", 0640, OLD);
    unlink(at(p, w.dst, "dir-full"));
    make_dir(w.dst, "dir-full");
    make_file(w.dst, "dir-full/keep", "keep", 0640, OLD);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    copy_all(&s, &t);
    /* dir-file dir-full file-dir file-dir/in file-link link-file */
    const int want[] = {0, ERR_CHANGED, 0, 0, 0, 0};
    for (int i = 0; i < 6; i++)
        if (t.code[i] != want[i])
            fail_msg("operation %d: %d %s", i, t.code[i], t.text[i]);
    assert_text(w.dst, "dir-file", "now a file");
    assert_text(w.dst, "dir-full/keep", "keep");
    assert_text(w.dst, "file-dir/in", "in");
    assert_true(S_ISLNK(stat_of(w.dst, "file-link").st_mode));
    assert_text(w.dst, "link-file", "now a file");
    assert_non_null(find(w.dst, ".sos-sync/trash", "file-dir"));
    assert_non_null(find(w.dst, ".sos-sync/trash", "file-link"));
    assert_non_null(find(w.dst, ".sos-sync/trash", "link-file"));
    commit(&t);
    shut(&t);
    struct store_scan out;
    open_store(&t, w.dst, &out);
    assert_false(out.changed);
    shut(&t);
    shut(&s);
    world_end(&w);
}

static void metadata_only(void **state)
{
    struct world w;
    struct heard s, t;
    struct entry e;
    struct err err = {0};
    char p[5000], q[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    replicate(&w);
    assert_int_equal(link(at(p, w.dst, "d-x"), at(q, w.dst, "other")), 0);
    open_store(&t, w.dst, NULL);
    ino_t ino = stat_of(w.dst, "a").st_ino;
    assert_true(entry_at(&t, "a", &e));
    e.mode = 0200;
    e.mtime.sec = OLD + 77;
    assert_int_equal(version_set(&e.version, &t.info.id, 9), 0);
    give(&t, (struct store_op){.how = STORE_META, .entry = &e});
    assert_true(entry_at(&t, "d", &e));
    e.mode = 0700;
    give(&t, (struct store_op){.how = STORE_META, .entry = &e});
    assert_true(entry_at(&t, "d/e/link", &e));
    e.mtime.sec = OLD + 78;
    give(&t, (struct store_op){.how = STORE_META, .entry = &e});
    assert_true(entry_at(&t, "d/empty", &e));
    assert_int_equal(version_set(&e.version, &t.info.id, 9), 0);
    give(&t, (struct store_op){.how = STORE_RECORD, .entry = &e});
    assert_true(entry_at(&t, "d-x", &e));
    e.mode = 0600;
    give(&t, (struct store_op){.how = STORE_META, .entry = &e});
    assert_true(entry_at(&t, "none", &e));
    e.path = "no";
    e.path_len = 2;
    give(&t, (struct store_op){.how = STORE_META, .entry = &e});
    flush(&t);
    for (int i = 0; i < 5; i++)
        if (t.code[i])
            fail_msg("operation %d: %d %s", i, t.code[i], t.text[i]);
    assert_int_equal(t.code[5], ERR_CHANGED);
    assert_int_equal(stat_of(w.dst, "a").st_mode & 07777, 0200);
    assert_int_equal(stat_of(w.dst, "a").st_mtim.tv_sec, OLD + 77);
    assert_int_equal(stat_of(w.dst, "a").st_ino, ino);
    assert_int_equal(stat_of(w.dst, "d").st_mode & 07777, 0700);
    assert_int_equal(stat_of(w.dst, "d/e/link").st_mtim.tv_sec, OLD + 78);
    /* The other name of the inode keeps what it had. */
    assert_int_equal(stat_of(w.dst, "d-x").st_mode & 07777, 0600);
    assert_int_equal(stat_of(w.dst, "other").st_mode & 07777, 0444);
    assert_text(w.dst, "d-x", "dash");
    commit(&t);
    shut(&t);
    open_store(&t, w.dst, NULL);
    assert_true(entry_at(&t, "d/empty", &e));
    assert_int_equal(version_count(&e.version, &t.info.id), 9);
    assert_true(entry_at(&t, "a", &e));
    assert_int_equal(version_count(&e.version, &t.info.id), 9);
    /* An edit in mid-run is not given another time. */
    make_file(w.dst, "a", "edit", 0644, OLD + 77);
    e.mtime.sec = OLD + 99;
    give(&t, (struct store_op){.how = STORE_META, .entry = &e});
    flush(&t);
    assert_int_equal(t.code[0], ERR_CHANGED);
    assert_int_equal(stat_of(w.dst, "a").st_mtim.tv_sec, OLD + 77);
    shut(&t);
    (void)s, (void)err;
    world_end(&w);
}

/* A directory whose mode shuts its owner out must still get its children in the same run. */
static void narrow_as_user(struct world *w)
{
    struct heard s, t;
    open_store(&s, w->src, NULL);
    open_store(&t, w->dst, NULL);
    copy_all(&s, &t);
    for (uint64_t i = 0; i < t.given; i++)
        if (t.code[i])
            fail_msg("operation %d: %s", (int)i, t.text[i]);
    commit(&t);
    assert_text(w->dst, "ro/sub/f", "deep");
    assert_int_equal(stat_of(w->dst, "ro/sub").st_mode & 07777, 0500);
    assert_int_equal(stat_of(w->dst, "ro").st_mode & 07777, 0555);
    assert_int_equal(t.problems, 0);
    shut(&t);
    struct store_scan out;
    open_store(&t, w->dst, &out);
    assert_false(out.changed);
    shut(&t);
    char p[5000];
    make_dir(w->src, "ro2");
    chmod(at(p, w->src, "ro"), 0755);
    make_file(w->src, "ro/late", "late", 0644, OLD);
    chmod(p, 0555);
    shut(&s);
    open_store(&s, w->src, NULL);
    open_store(&t, w->dst, NULL);
    copy_one(&s, &t, "ro/late");
    if (geteuid() != 0)
        assert_int_equal(t.code[0], ERR_SYS);
    shut(&t);
    shut(&s);
}

static void narrow_directories(void **state)
{
    struct world w;
    char p[5000];
    (void)state;
    world_new(&w);
    make_dir(w.src, "ro");
    make_dir(w.src, "ro/sub");
    make_file(w.src, "ro/sub/f", "deep", 0444, OLD);
    make_file(w.src, "z", "z", 0444, OLD);
    chmod(at(p, w.src, "ro/sub"), 0500);
    chmod(at(p, w.src, "ro"), 0555);
    if (geteuid() == 0) { /* root is never shut out */
        chmod(w.dir, 0777);
        const char *all[] = {"", "ro", "ro/sub", "ro/sub/f", "z"};
        for (size_t i = 0; i < 5; i++)
            assert_int_equal(lchown(at(p, w.src, all[i]), 65534, 65534), 0);
        assert_int_equal(setegid(65534), 0);
        assert_int_equal(seteuid(65534), 0);
        narrow_as_user(&w);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(setegid(0), 0);
    } else {
        narrow_as_user(&w);
    }
    chmod(at(p, w.src, "ro"), 0755);
    chmod(at(p, w.src, "ro/sub"), 0755);
    chmod(at(p, w.dst, "ro"), 0755);
    chmod(at(p, w.dst, "ro/sub"), 0755);
    world_end(&w);
}

static void streams(void **state)
{
    struct world w;
    struct heard s, t;
    struct entry e, l;
    struct err err = {0};
    char p[5000], target[100];
    (void)state;
    world_new(&w);
    make_file(w.src, "f", "hello stream", 0640, OLD);
    assert_int_equal(symlink("there", at(p, w.src, "l")), 0);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    assert_true(entry_at(&s, "f", &e));
    static const struct {
        const char *piece[3];
        const char *failed;
        int code;
    } table[] = {
        {{"hello stream", "", NULL}, NULL, 0},
        /* it is there by now, and was not when the scan ran */
        {{"hello ", "stream", NULL}, NULL, ERR_CHANGED},
        {{"hello ", "stream", "!"}, NULL, ERR_CHANGED},
        {{"hello", NULL, NULL}, NULL, ERR_CHANGED},
        {{"hello STREAM", NULL, NULL}, NULL, ERR_DAMAGED},
        {{"hello", NULL, NULL}, "source died", ERR_CHANGED},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct store_op op = {.seq = t.given++, .how = STORE_CONTENT, .from = STORE_FROM_STREAM, .entry = &e};
        assert_int_equal(t.s->ops->put_begin(t.s, &op, &err), 0);
        for (int k = 0; k < 3 && table[i].piece[k]; k++)
            assert_int_equal(t.s->ops->put_data(t.s, table[i].piece[k], strlen(table[i].piece[k]), &err), 0);
        assert_int_equal(t.s->ops->put_end(t.s, table[i].failed, &err), 0);
        flush(&t);
        if (t.code[i] != table[i].code)
            fail_msg("%d: %d %s", (int)i, t.code[i], t.text[i]);
    }
    assert_text(w.dst, "f", "hello stream");
    assert_non_null(strstr(t.text[5], "source died"));
    static char lpath[] = "l";
    assert_true(entry_at(&s, "l", &l));
    l.path = lpath;
    assert_int_equal(s.s->ops->read_link(s.s, &l, target, sizeof target, &err), 0);
    assert_string_equal(target, "there");
    give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_STREAM, .target = "other",
                               .entry = &l});
    give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_STREAM, .target = target,
                               .entry = &l});
    flush(&t);
    assert_int_equal(t.code[6], ERR_CHANGED);
    assert_int_equal(t.code[7], 0);
    /* Left in the middle: nothing stays. */
    static char gpath[] = "g";
    e.path = gpath;
    struct store_op op = {.seq = t.given++, .how = STORE_CONTENT, .from = STORE_FROM_STREAM, .entry = &e};
    assert_int_equal(t.s->ops->put_begin(t.s, &op, &err), 0);
    assert_int_equal(t.s->ops->put_data(t.s, "hello ", 6, &err), 0);
    shut(&t);
    assert_false(exists(w.dst, "g"));
    assert_null(find(w.dst, "", ".sos-sync.tmp"));
    shut(&s);
    world_end(&w);
}

static void reads_only_its_manifest(void **state)
{
    struct world w;
    struct heard s;
    struct entry e;
    struct err err = {0};
    char p[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&s, w.src, NULL);
    assert_true(entry_at(&s, "d/b", &e));
    int fd = s.s->ops->read_open(s.s, &e, &err);
    assert_true(fd >= 0);
    close(fd);
    static char path[100];
    e.path = path;
    static const char *const bad[] = {"../x", "/etc/passwd", "a/../a", "", ".sos-sync/marker", "zz", "d",
                                      "a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        strcpy(path, bad[i]);
        e.path_len = strlen(path);
        assert_true(s.s->ops->read_open(s.s, &e, &err) < 0);
    }
    /* In the manifest, and a symlink or another version by now. */
    assert_true(entry_at(&s, "a", &e));
    make_file(w.src, "a", "ALPHA", 0640, OLD + 1);
    assert_int_equal(s.s->ops->read_open(s.s, &e, &err), ERR_CHANGED);
    unlink(at(p, w.src, "a"));
    assert_int_equal(symlink("d/b", p), 0);
    assert_int_equal(s.s->ops->read_open(s.s, &e, &err), ERR_CHANGED);
    shut(&s);
    world_end(&w);
}

static void adopts(void **state)
{
    struct world w;
    struct heard t;
    struct entry e;
    struct err err = {0};
    (void)state;
    world_new(&w);
    fill(w.src);
    make_file(w.src, "bad", "will rot", 0640, OLD);
    open_store(&t, w.src, NULL);
    assert_true(entry_at(&t, "d/b", &e));
    struct digest d[2] = {e.digest, {.b = {1, 2, 3}}};
    uint8_t have[2];
    assert_int_equal(t.s->ops->have(t.s, d, 2, have, &err), 0);
    assert_int_equal(have[0], STORE_HAVE);
    assert_int_equal(have[1], STORE_HAVE_NOT);
    static char new_path[] = "d/renamed";
    e.path = new_path;
    e.path_len = strlen(new_path);
    e.mtime.sec = OLD + 5;
    give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_SELF, .entry = &e});
    assert_true(entry_at(&t, "bad", &e));
    make_file(w.src, "bad", "has rot!", 0640, OLD);
    static char rotten[] = "d/rotten";
    e.path = rotten;
    e.path_len = strlen(rotten);
    give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_SELF, .entry = &e});
    e.digest = d[1];
    static char unheard[] = "d/unheard";
    e.path = unheard;
    e.path_len = strlen(unheard);
    give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_SELF, .entry = &e});
    flush(&t);
    assert_int_equal(t.code[0], 0);
    assert_int_equal(t.code[1], ERR_CHANGED);
    assert_int_equal(t.code[2], ERR_CHANGED);
    assert_text(w.src, "d/renamed", "beta");
    assert_int_equal(stat_of(w.src, "d/renamed").st_mtim.tv_sec, OLD + 5);
    assert_false(exists(w.src, "d/rotten"));
    assert_int_not_equal(stat_of(w.src, "d/renamed").st_ino, stat_of(w.src, "d/b").st_ino);
    shut(&t);
    world_end(&w);
}

static void hostile_paths(void **state)
{
    struct world w;
    struct heard s, t;
    struct entry e;
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    assert_true(entry_at(&s, "a", &e));
    static char path[8000];
    static const char *const bad[] = {"../x", "/tmp/x", ".", "", "d//x", "d/", ".sos-sync/journal",
                                      ".sos-sync.tmp.1",
                                      "x/.sos-sync/y", "no/parent"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        strcpy(path, bad[i]);
        e.path = path;
        e.path_len = strlen(path);
        give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_SELF, .entry = &e});
    }
    memset(path, 'x', 5000);
    path[5000] = '\0';
    e.path_len = 5000;
    give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_SELF, .entry = &e});
    flush(&t);
    for (uint64_t i = 0; i < t.given; i++)
        assert_true(t.code[i] < 0);
    assert_false(exists(w.dir, "x"));
    shut(&t);
    shut(&s);
    world_end(&w);
}

/* Killed before the commit: the journal tells the next scan what was put. */
static void killed_before_commit(void **state)
{
    struct world w;
    struct heard s, t;
    struct store_scan out;
    struct entry a, b;
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    copy_all(&s, &t);
    shut(&t);
    assert_true(exists(w.dst, ".sos-sync/journal"));
    open_store(&t, w.dst, &out);
    assert_true(out.changed);
    assert_int_equal(out.hashed, 0);
    assert_false(exists(w.dst, ".sos-sync/journal"));
    assert_true(entry_at(&s, "d/b", &a));
    assert_true(entry_at(&t, "d/b", &b));
    assert_true(entry_same_record(&a, &b));
    shut(&t);
    shut(&s);
    world_end(&w);
}

#define KILLED_FILES 5

/* The run that is killed: updates, a new file, a symlink that changes. */
static void killed_run(void *ctx)
{
    const struct world *w = ctx;
    struct heard s, t;
    open_store(&s, w->src, NULL);
    open_store(&t, w->dst, NULL);
    copy_all(&s, &t);
    commit(&t);
}

static void assert_sound(const struct world *w)
{
    struct heard t;
    struct store_scan out;
    struct entry e;
    char path[64], text[64];
    open_store(&t, w->dst, &out);
    assert_int_equal(out.problems, 0);
    for (int i = 0; i < KILLED_FILES; i++) {
        snprintf(path, sizeof path, "f%02d", i);
        snprintf(text, sizeof text, "new content %d", i);
        assert_text(w->dst, path, stat_of(w->dst, path).st_size == 11 ? "old content" : text);
        assert_true(entry_at(&t, path, &e));
        assert_int_equal(version_count(&e.version, &t.info.id), 0); /* nothing was taken for a local edit */
    }
    assert_true(entry_at(&t, "link", &e));
    assert_int_equal(version_count(&e.version, &t.info.id), 0);
    for (int i = 0; i < 3; i++) { /* no temp stays in view */
        static const char *const where[] = {"", "d", "."};
        const char *temp = find(w->dst, where[i], ".sos-sync.tmp");
        assert_true(!temp || strstr(temp, "/trash/"));
    }
    shut(&t);
    replicate((struct world *)w);
    assert_text(w->dst, "d/new", "new");
    assert_text(w->dst, "f00", "new content 0");
}

/* Killed at every stride-th system call: the next run finds a sound store, and completes it. */
static void kill_sweep(int stride)
{
    char p[5000], path[64], text[64];
    bool more = true;
    for (int n = 1; more; n += stride) {
        struct world w;
        world_new(&w);
        for (int i = 0; i < KILLED_FILES; i++) {
            snprintf(path, sizeof path, "f%02d", i);
            make_file(w.src, path, "old content", 0644, OLD);
        }
        assert_int_equal(symlink("old", at(p, w.src, "link")), 0);
        make_dir(w.src, "d");
        replicate(&w);
        for (int i = 0; i < KILLED_FILES; i++) {
            snprintf(path, sizeof path, "f%02d", i);
            snprintf(text, sizeof text, "new content %d", i);
            make_file(w.src, path, text, 0644, OLD + 100);
        }
        make_file(w.src, "d/new", "new", 0644, OLD);
        unlink(p);
        assert_int_equal(symlink("newer", p), 0);
        more = killed_after(killed_run, &w, n);
        assert_sound(&w);
        world_end(&w);
    }
}

static void killed_anywhere(void **state)
{
    (void)state;
    kill_sweep(1);
}

/* What an interrupted exchange leaves under a temp's name is kept. */
static void leftovers_go_to_the_trash(void **state)
{
    struct world w;
    struct heard s, t;
    struct err e = {0};
    struct entry want;
    char p[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    replicate(&w);
    open_store(&t, w.dst, NULL);
    struct uuid id = t.info.id;
    assert_true(entry_at(&t, "d/b", &want));
    shut(&t);
    int fd = open(at(p, w.dst, ".sos-sync/journal"), O_RDWR | O_CREAT, 0600);
    struct journal *j = journal_new(fd, &id, &e);
    journal_intent(j, &want);
    assert_int_equal(journal_flush(j, true, &e), 0);
    journal_free(j);
    make_file(w.dst, "d/.sos-sync.tmp.0123456789abcdef", "old version", 0644, OLD);
    struct store_options o = options_for(&t, w.dst);
    o.dry_run = true;
    open_with(&t, &o, NULL);
    assert_true(exists(w.dst, "d/.sos-sync.tmp.0123456789abcdef"));
    shut(&t);
    open_store(&t, w.dst, NULL);
    assert_false(exists(w.dst, "d/.sos-sync.tmp.0123456789abcdef"));
    const char *kept = find(w.dst, ".sos-sync/trash", ".sos-sync.tmp.0123");
    assert_non_null(kept);
    assert_text("", kept + 1, "old version");
    shut(&t);
    (void)s;
    world_end(&w);
}

static void dry_run_writes_nothing(void **state)
{
    struct world w;
    struct heard t;
    struct store_scan out;
    (void)state;
    world_new(&w);
    fill(w.src);
    struct store_options o = options_for(&t, w.src);
    o.dry_run = true;
    struct stat before = stat_of(w.src, "");
    open_with(&t, &o, &out);
    assert_int_equal(out.totals.objects, 5);
    struct entry e;
    assert_true(entry_at(&t, "d/b", &e));
    shut(&t);
    assert_false(exists(w.src, ".sos-sync"));
    assert_int_equal(before.st_mtim.tv_nsec, stat_of(w.src, "").st_mtim.tv_nsec);
    o.root = w.dst;
    open_with(&t, &o, &out);
    assert_int_equal(out.totals.entries, 0);
    assert_false(t.info.exists);
    shut(&t);
    assert_false(exists(w.dst, ""));
    world_end(&w);
}

static int try_open(const struct store_options *o, struct err *e)
{
    struct store_info info;
    struct store_scan out;
    struct store *s = store_dir_new(o);
    int rc = s->ops->inspect(s, &info, e);
    if (rc == 0) {
        rc = s->ops->scan(s, &info.id, "g", &out, e);
        store_info_free(&info);
    }
    s->ops->close(s);
    return rc;
}

static void locks(void **state)
{
    struct world w;
    struct heard t, u;
    struct err e = {0};
    (void)state;
    world_new(&w);
    open_store(&t, w.src, NULL);
    struct store_options o = options_for(&u, w.src);
    assert_int_equal(try_open(&o, &e), ERR_LOCKED);
    char *holder = mem_printf(" is in use by process %ld on ", (long)getpid());
    assert_non_null(strstr(e.msg, holder));
    assert_true(exists(w.src, ".sos-sync/lock"));
    free(holder);
    int lent = t.s->ops->lend(t.s, &e);
    assert_true(lent >= 0);
    shut(&t);
    assert_int_equal(try_open(&o, &e), 0); /* what was lent does not hold it */
    close(lent);
    o.dry_run = true;
    open_with(&t, &o, NULL);
    assert_int_equal(try_open(&o, &e), 0); /* two that only look */
    o.dry_run = false;
    assert_int_equal(try_open(&o, &e), ERR_LOCKED);
    assert_false(exists(w.src, ".sos-sync/lock"));
    assert_non_null(strstr(e.msg, " is in use by another run"));
    shut(&t);
    world_end(&w);
}

static void refuses_broken_state(void **state)
{
    struct world w;
    struct heard t;
    struct err e = {0};
    char p[5000], q[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    struct store_options o = options_for(&t, w.src);
    assert_int_equal(try_open(&o, &e), 0);
    /* A damaged manifest is not dropped silently. */
    int fd = open(at(p, w.src, ".sos-sync/manifest"), O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, 120), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 120), 1);
    close(fd);
    struct stat st = stat_of(w.src, ".sos-sync/manifest");
    assert_true(try_open(&o, &e) < 0);
    assert_non_null(strstr(e.msg, "manifest"));
    assert_non_null(strstr(e.msg, "move it away"));
    assert_int_equal(st.st_ino, stat_of(w.src, ".sos-sync/manifest").st_ino);
    unlink(p);
    assert_int_equal(try_open(&o, &e), 0);
    /* Another store's manifest. */
    o.root = w.dst;
    assert_int_equal(try_open(&o, &e), 0);
    o.root = w.src;
    assert_int_equal(rename(at(q, w.dst, ".sos-sync/manifest"), p), 0);
    assert_int_equal(try_open(&o, &e), ERR_GUARD);
    unlink(p);
    /* A marker that is none, and planted names. */
    make_file(w.src, ".sos-sync/marker", "rubbish\n", 0644, OLD);
    assert_int_equal(try_open(&o, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "marker"));
    unlink(at(p, w.src, ".sos-sync/marker"));
    assert_int_equal(symlink("/etc/passwd", p), 0);
    assert_true(try_open(&o, &e) < 0);
    unlink(p);
    assert_int_equal(mkfifo(at(p, w.src, ".sos-sync/manifest"), 0600), 0);
    assert_true(try_open(&o, &e) < 0);
    unlink(p);
    make_file(w.dir, "victim", "victim", 0644, OLD);
    assert_int_equal(symlink("../../victim", at(p, w.src, ".sos-sync/manifest.new")), 0);
    assert_int_equal(symlink("../../victim", at(p, w.src, ".sos-sync/journal")), 0);
    assert_true(try_open(&o, &e) < 0);
    unlink(p);
    assert_int_equal(try_open(&o, &e), 0);
    assert_text(w.dir, "victim", "victim");
    scratch_remove(at(p, w.src, ".sos-sync"));
    assert_int_equal(symlink("..", p), 0);
    assert_true(try_open(&o, &e) < 0);
    unlink(p);
    make_file(w.src, ".sos-sync", "", 0644, OLD);
    assert_true(try_open(&o, &e) < 0);
    unlink(p);
    o.root = at(p, w.src, "a");
    assert_true(try_open(&o, &e) < 0);
    world_end(&w);
}

static void commit_remembers_peers(void **state)
{
    struct world w;
    struct heard t;
    struct err e = {0};
    (void)state;
    world_new(&w);
    struct store_peer a = {.id = {{1, 2}}, .address = (char *)"ssh://host/a\nb%"}, b = {.id = {{3}}, .address = (char *)"/other"};
    open_store(&t, w.src, NULL);
    assert_int_equal(t.s->ops->commit(t.s, &a, 1, &e), 0);
    shut(&t);
    struct stat st = stat_of(w.src, ".sos-sync/peers");
    open_store(&t, w.src, NULL);
    assert_int_equal(t.info.peers, 1);
    assert_string_equal(t.info.peer[0].address, a.address);
    assert_int_equal(t.s->ops->commit(t.s, &a, 1, &e), 0);
    assert_int_equal(st.st_ino, stat_of(w.src, ".sos-sync/peers").st_ino);
    assert_int_equal(t.s->ops->commit(t.s, &b, 1, &e), 0);
    shut(&t);
    open_store(&t, w.src, NULL);
    assert_int_equal(t.info.peers, 2);
    shut(&t);
    world_end(&w);
}

static void given_state_directory(void **state)
{
    struct world w;
    struct heard s, t;
    struct err e = {0};
    struct entry want;
    char p[5000], q[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    struct store_options o = options_for(&t, w.dst);
    o.state_dir = at(p, w.dst, "meta");
    assert_int_equal(mkdir(w.dst, 0755), 0);
    open_store(&s, w.src, NULL);
    open_with(&t, &o, NULL);
    copy_all(&s, &t);
    commit(&t);
    assert_false(exists(w.dst, ".sos-sync"));
    assert_text(w.dst, "d/b", "beta");
    assert_false(entry_at(&t, "meta", &want));
    shut(&t);
    open_with(&t, &o, NULL);
    assert_true(t.info.marked);
    /* A peer may not write there. */
    assert_true(entry_at(&s, "a", &want));
    static char evil[] = "meta/evil";
    want.path = evil;
    want.path_len = strlen(evil);
    give(&t, (struct store_op){.how = STORE_CONTENT, .from = STORE_FROM_SELF, .entry = &want});
    flush(&t);
    assert_int_equal(t.code[0], ERR_FORMAT);
    shut(&t);
    shut(&s);
    o.state_dir = w.dst;
    assert_int_equal(try_open(&o, &e), ERR_USAGE);
    o.state_dir = at(q, w.dir, "no/such/parent");
    assert_int_equal(try_open(&o, &e), ERR_SYS);
    world_end(&w);
}

/* All that the other tests show must hold where the file system can do less. */
static void poor_file_systems(void **state)
{
    static const struct lacks poor[] = {
        {.empty_path = true},
        {.tmpfile = true},
        {.exchange = true},
        {.exchange = true, .noreplace = true},
        {.tmpfile = true, .exchange = true, .noreplace = true},
        {.tmpfile = true, .exchange = true, .noreplace = true, .link = true},
    };
    for (size_t i = 0; i < sizeof poor / sizeof *poor; i++) {
        lacks = poor[i];
        first_copy(state);
        update_keeps_old(state);
        refuses_what_was_not_seen(state);
        source_lies(state);
        kinds_change(state);
        streams(state);
        adopts(state);
        if (!poor[i].link)
            kill_sweep(5);
    }
    lacks = (struct lacks){0};
}

/* An object that does not fit fails alone, and leaves nothing. */
static void too_large(void **state)
{
    struct world w;
    struct heard s, t;
    struct rlimit old, small;
    char *big = mem_zalloc(600000);
    (void)state;
    world_new(&w);
    memset(big, 'b', 599999);
    make_file(w.src, "big", big, 0644, OLD);
    make_file(w.src, "small", "small", 0644, OLD);
    open_store(&s, w.src, NULL);
    open_store(&t, w.dst, NULL);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 300000;
    setrlimit(RLIMIT_FSIZE, &small);
    copy_all(&s, &t);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(t.code[0], ERR_SYS);
    assert_int_equal(t.code[1], 0);
    assert_false(exists(w.dst, "big"));
    assert_text(w.dst, "small", "small");
    assert_null(find(w.dst, "", ".sos-sync.tmp"));
    commit(&t);
    shut(&t);
    shut(&s);
    free(big);
    world_end(&w);
}

static void cannot_write(void **state)
{
    struct world w;
    struct heard t;
    struct err e = {0};
    (void)state;
    world_new(&w);
    struct store_options o = options_for(&t, w.src);
    bool root = geteuid() == 0;
    chmod(w.dir, 0755);
    chmod(w.src, 0555);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    assert_int_equal(try_open(&o, &e), ERR_SYS);
    assert_non_null(strstr(e.msg, w.src));
    o.dry_run = true;
    assert_int_equal(try_open(&o, &e), 0);
    o.dry_run = false;
    o.root = w.dst;
    assert_int_equal(try_open(&o, &e), root ? ERR_SYS : 0);
    if (root)
        assert_int_equal(seteuid(0), 0);
    chmod(w.src, 0755);
    world_end(&w);
}

/* Each way of syncing, and more operations than fit in a batch; done must come in order. */
static void many(void **state)
{
    static const enum store_fsync how[] = {STORE_FSYNC_BATCH, STORE_FSYNC_ALWAYS, STORE_FSYNC_NONE};
    char path[64];
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct world w;
        struct heard s, t;
        int n = how[k] == STORE_FSYNC_ALWAYS ? 50 : 5000;
        world_new(&w);
        for (int i = 0; i < n; i++) {
            if (i % 100 == 0) {
                snprintf(path, sizeof path, "d%03d", i / 100);
                make_dir(w.src, path);
            }
            snprintf(path, sizeof path, "d%03d/f%05d", i / 100, i);
            make_file(w.src, path, path, 0644, OLD);
        }
        open_store(&s, w.src, NULL);
        struct store_options o = options_for(&t, w.dst);
        o.fsync = how[k];
        open_with(&t, &o, NULL);
        copy_all(&s, &t);
        commit(&t);
        shut(&t);
        struct store_scan out;
        open_store(&t, w.dst, &out);
        assert_int_equal(out.totals.objects, n);
        assert_false(out.changed);
        shut(&t);
        shut(&s);
        world_end(&w);
    }
}

/* ---- giving ---- */

/* Put in place by several threads: what came to stand there since the scan stays, and only that fails. */
static void many_at_a_time(void **state)
{
    enum { N = 5000, EACH = 37 }; /* some batches */
    struct world w;
    struct heard s, t;
    char path[64];
    (void)state;
    world_new(&w);
    for (int i = 0; i < N; i++) {
        snprintf(path, sizeof path, "f%05d", i);
        make_file(w.src, path, path, 0644, OLD);
    }
    open_store(&s, w.src, NULL);
    struct store_options o = options_for(&t, w.dst);
    o.threads = 3;
    open_with(&t, &o, NULL);
    for (int i = 0; i < N; i += EACH) {
        snprintf(path, sizeof path, "f%05d", i);
        make_file(w.dst, path, "mine", 0600, OLD);
    }
    copy_all(&s, &t);
    for (int i = 0; i < 64; i++)
        assert_int_equal(t.code[i], i % EACH == 0 ? ERR_CHANGED : 0);
    commit(&t);
    shut(&t);
    for (int i = 0; i < N; i++) {
        snprintf(path, sizeof path, "f%05d", i);
        assert_text(w.dst, path, i % EACH == 0 ? "mine" : path);
    }
    struct store_scan out;
    open_store(&t, w.dst, &out);
    assert_int_equal(out.totals.objects, N);
    assert_int_equal(out.hashed, (N + EACH - 1) / EACH); /* what was put is known */
    shut(&t);
    shut(&s);
    world_end(&w);
}

static void gives_small_files(void **state)
{
    struct world w;
    struct heard f;
    struct err e = {0};
    struct entry want;
    char buf[16], p[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&f, w.src, NULL);
    assert_true(entry_at(&f, "d/empty", &want));
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), 0);
    assert_true(entry_at(&f, "d/b", &want));
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), 0);
    assert_memory_equal(buf, "beta", 4);
    make_file(w.src, "d/b", "BETA", 0755, OLD + 1); /* as if it had rotted */
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), ERR_DAMAGED);
    make_file(w.src, "d/b", "bet", 0755, OLD + 1);
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), ERR_CHANGED);
    make_file(w.src, "d/b", "beta and more than there is room for", 0755, OLD + 1);
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), ERR_CHANGED);
    make_file(w.src, "d/b", "BETA", 0755, OLD + 7);
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), ERR_CHANGED);
    assert_int_equal(unlink(at(p, w.src, "d/b")), 0);
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), ERR_CHANGED);
    assert_int_equal(symlink("empty", p), 0);
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), ERR_CHANGED);
    shut(&f);
    world_end(&w);
}

/* What was scanned a moment ago is handed out without a look at the file. */
static void recalls_small_files(void **state)
{
    struct world w;
    struct heard f;
    struct err e = {0};
    struct entry want;
    char buf[16], p[5000];
    (void)state;
    world_new(&w);
    fill(w.src);
    struct store_options o = options_for(&f, w.src);
    o.recall = true;
    open_with(&f, &o, NULL);
    assert_true(entry_at(&f, "d/b", &want));
    assert_int_equal(unlink(at(p, w.src, "d/b")), 0);
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), 0);
    assert_memory_equal(buf, "beta", 4);
    want.digest.b[0] ^= 1;
    assert_int_equal(f.s->ops->read_file(f.s, &want, buf, &e), ERR_CHANGED);
    shut(&f);
    world_end(&w);
}

/* ---- looking early ---- */

static void begin(struct heard *h, const struct store_options *o)
{
    struct err e = {0};
    h->problems = 0;
    h->next = h->given = 0;
    h->s = store_dir_new(o);
    if (h->s->ops->inspect(h->s, &h->info, &e) < 0)
        fail_msg("inspect: %s", e.msg);
}

static void scan(struct heard *h, const struct uuid *id, struct store_scan *out)
{
    struct err e = {0};
    if (h->s->ops->scan(h->s, id, "g", out, &e) < 0)
        fail_msg("scan: %s", e.msg);
}

static bool holds(struct heard *h, const char *path)
{
    struct entry e;
    return entry_at(h, path, &e);
}

static void looked_before(void **state)
{
    struct world w;
    struct heard t;
    struct store_scan out;
    struct entry e;
    (void)state;
    world_new(&w);
    fill(w.src);
    struct store_options o = options_for(&t, w.src);
    struct stat before = stat_of(w.src, "");
    begin(&t, &o);
    t.s->ops->look(t.s, &t.info.id);
    assert_false(exists(w.src, ".sos-sync"));
    assert_int_equal(before.st_mtim.tv_nsec, stat_of(w.src, "").st_mtim.tv_nsec);
    make_file(w.src, "late", "came after the look", 0644, OLD);
    scan(&t, &t.info.id, &out);
    assert_int_equal(out.totals.objects, 5);
    assert_true(out.changed);
    assert_true(exists(w.src, ".sos-sync/manifest"));
    assert_false(exists(w.src, ".sos-sync/manifest.new"));
    assert_true(entry_at(&t, "d/b", &e));
    assert_int_equal(version_count(&e.version, &t.info.id), 1);
    assert_false(holds(&t, "late"));
    commit(&t);
    shut(&t);
    open_store(&t, w.src, &out);
    assert_int_equal(out.totals.objects, 6);
    assert_true(holds(&t, "late"));
    shut(&t);
    world_end(&w);
}

/* A member that is refused after it has looked is as it was. */
static void looked_in_vain(void **state)
{
    struct world w;
    struct heard t;
    struct store_scan out;
    struct stat dir, manifest;
    struct entry e;
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&t, w.src, NULL);
    shut(&t);
    make_file(w.src, "a", "new here", 0640, OLD + 9);
    manifest = stat_of(w.src, ".sos-sync/manifest");
    struct store_options o = options_for(&t, w.src);
    begin(&t, &o);
    dir = stat_of(w.src, ".sos-sync");
    t.s->ops->look(t.s, &t.info.id);
    struct stat after = stat_of(w.src, ".sos-sync");
    shut(&t);
    assert_memory_equal(&dir.st_mtim, &after.st_mtim, sizeof dir.st_mtim);
    assert_int_equal(manifest.st_ino, stat_of(w.src, ".sos-sync/manifest").st_ino);
    begin(&t, &o);
    t.s->ops->look(t.s, &t.info.id);
    scan(&t, &t.info.id, &out);
    assert_true(entry_at(&t, "a", &e));
    assert_int_equal(version_count(&e.version, &t.info.id), 2);
    assert_true(out.changed);
    assert_int_not_equal(manifest.st_ino, stat_of(w.src, ".sos-sync/manifest").st_ino);
    shut(&t);
    manifest = stat_of(w.src, ".sos-sync/manifest");
    begin(&t, &o); /* nothing is new: it looks, and what is recorded stays */
    t.s->ops->look(t.s, &t.info.id);
    scan(&t, &t.info.id, &out);
    assert_false(out.changed);
    assert_int_equal(manifest.st_ino, stat_of(w.src, ".sos-sync/manifest").st_ino);
    assert_true(holds(&t, "d/b"));
    shut(&t);
    world_end(&w);
}

/* Then it looks again. */
static void looked_as_another(void **state)
{
    struct world w;
    struct heard t;
    struct store_scan out;
    struct entry e;
    struct uuid other;
    (void)state;
    world_new(&w);
    fill(w.src);
    struct store_options o = options_for(&t, w.src);
    begin(&t, &o);
    t.s->ops->look(t.s, &t.info.id);
    uuid_random(&other);
    scan(&t, &other, &out);
    assert_true(entry_at(&t, "d/b", &e));
    assert_int_equal(version_count(&e.version, &other), 1);
    assert_int_equal(version_count(&e.version, &t.info.id), 0);
    shut(&t);
    world_end(&w);
}

/* What it left is for the scan to see to. */
static void looked_after_a_killed_run(void **state)
{
    struct world w;
    struct heard f, t;
    struct store_scan out;
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&f, w.src, NULL);
    open_store(&t, w.dst, NULL);
    copy_all(&f, &t);
    shut(&t); /* without a commit */
    assert_true(exists(w.dst, ".sos-sync/journal"));
    struct stat journal = stat_of(w.dst, ".sos-sync/journal");
    struct store_options o = options_for(&t, w.dst);
    begin(&t, &o);
    t.s->ops->look(t.s, &t.info.id);
    assert_int_equal(journal.st_ino, stat_of(w.dst, ".sos-sync/journal").st_ino);
    scan(&t, &t.info.id, &out);
    assert_int_equal(out.totals.objects, 5);
    assert_true(holds(&t, "d/b"));
    shut(&t);
    shut(&f);
    world_end(&w);
}

/* There is one file to write to, and it is used twice. */
static void looked_in_a_dry_run(void **state)
{
    struct world w;
    struct heard t;
    struct store_scan out;
    struct uuid other;
    (void)state;
    world_new(&w);
    fill(w.src);
    for (int as = 0; as < 2; as++) {
        struct store_options o = options_for(&t, w.src);
        o.dry_run = true;
        o.scratch = file_unnamed(w.dir);
        assert_true(o.scratch > 0);
        begin(&t, &o);
        t.s->ops->look(t.s, &t.info.id);
        char *tmp = getenv("TMPDIR") ? mem_strdup(getenv("TMPDIR")) : NULL;
        setenv("TMPDIR", "/nowhere", 1);
        uuid_random(&other);
        scan(&t, as ? &other : &t.info.id, &out);
        if (tmp)
            setenv("TMPDIR", tmp, 1);
        else
            unsetenv("TMPDIR");
        free(tmp);
        assert_int_equal(out.totals.objects, 5);
        assert_true(holds(&t, "d/b"));
        shut(&t);
    }
    assert_false(exists(w.src, ".sos-sync"));
    world_end(&w);
}

/* What there is to tell is told by the scan, and once. */
static void looked_and_told(void **state)
{
    struct world w;
    struct heard t;
    struct store_scan out;
    struct uuid other;
    (void)state;
    world_new(&w);
    fill(w.src);
    make_file(w.src, ".sos-sync.mine", "a name that is kept", 0644, OLD);
    for (int as = 0; as < 2; as++) {
        struct store_options o = options_for(&t, w.src);
        begin(&t, &o);
        t.s->ops->look(t.s, &t.info.id);
        assert_int_equal(t.problems, 0);
        uuid_random(&other);
        scan(&t, as ? &t.info.id : &other, &out);
        assert_int_equal(t.problems, 1);
        shut(&t);
    }
    world_end(&w);
}

static void empty_out(const char *root)
{
    static const char *const top[] = {"a", "d", "d-x", "none"};
    char p[5000];
    for (size_t i = 0; i < sizeof top / sizeof top[0]; i++)
        assert_int_equal(scratch_remove(at(p, root, top[i])), 0);
}

/* An empty store is for the scan to refuse, and its record stays. */
static void looked_at_nothing(void **state)
{
    struct world w;
    struct heard t;
    struct store_scan out;
    struct err e;
    (void)state;
    world_new(&w);
    fill(w.src);
    open_store(&t, w.src, NULL);
    commit(&t);
    shut(&t);
    empty_out(w.src);
    struct stat manifest = stat_of(w.src, ".sos-sync/manifest");
    struct store_options o = options_for(&t, w.src);
    begin(&t, &o);
    t.s->ops->look(t.s, &t.info.id);
    assert_int_equal(t.s->ops->scan(t.s, &t.info.id, "g", &out, &e), ERR_GUARD);
    assert_int_equal(manifest.st_ino, stat_of(w.src, ".sos-sync/manifest").st_ino);
    assert_false(exists(w.src, ".sos-sync/manifest.new"));
    shut(&t);
    o.rules.emptied = o.rules.propagate = true;
    begin(&t, &o);
    t.s->ops->look(t.s, &t.info.id);
    scan(&t, &t.info.id, &out);
    assert_int_equal(out.before, 5);
    assert_int_equal(out.totals.objects, 0);
    shut(&t);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_small_files),
        cmocka_unit_test(first_copy),
        cmocka_unit_test(update_keeps_old),
        cmocka_unit_test(refuses_what_was_not_seen),
        cmocka_unit_test(symlinked_parent),
        cmocka_unit_test(source_lies),
        cmocka_unit_test(kinds_change),
        cmocka_unit_test(metadata_only),
        cmocka_unit_test(narrow_directories),
        cmocka_unit_test(streams),
        cmocka_unit_test(reads_only_its_manifest),
        cmocka_unit_test(adopts),
        cmocka_unit_test(hostile_paths),
        cmocka_unit_test(killed_before_commit),
        cmocka_unit_test(killed_anywhere),
        cmocka_unit_test(leftovers_go_to_the_trash),
        cmocka_unit_test(dry_run_writes_nothing),
        cmocka_unit_test(locks),
        cmocka_unit_test(refuses_broken_state),
        cmocka_unit_test(commit_remembers_peers),
        cmocka_unit_test(given_state_directory),
        cmocka_unit_test(poor_file_systems),
        cmocka_unit_test(too_large),
        cmocka_unit_test(cannot_write),
        cmocka_unit_test(many),
        cmocka_unit_test(many_at_a_time),
        cmocka_unit_test(recalls_small_files),
        cmocka_unit_test(looked_before),
        cmocka_unit_test(looked_in_vain),
        cmocka_unit_test(looked_as_another),
        cmocka_unit_test(looked_after_a_killed_run),
        cmocka_unit_test(looked_in_a_dry_run),
        cmocka_unit_test(looked_and_told),
        cmocka_unit_test(looked_at_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
