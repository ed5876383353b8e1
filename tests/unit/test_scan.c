#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"
#include "store/journal.h"
#include "store/scan.h"

static const struct uuid self = {{1}}, other = {{2}};

/* A store's root with what its scans record, and what the last scan told. */
struct world {
    char root[200];
    int fd, manifest, journal;
    uint64_t floor;

    int64_t ahead; /* seconds that the scan's clock is ahead: so nothing is racy */
    bool checksum;
    enum digest_algo hash;
    unsigned threads;
    struct filter *filter;
    uint64_t skip_dev, skip_ino;
    int stop;                        /* what progress returns */
    void (*meddle)(struct world *w); /* called by progress */

    struct store_scan report;
    struct scan_found found;
    struct manifest_totals totals;
    size_t n, problems, notes, ticks, damages;
    bool no_damage; /* is told apart from problems */
    unsigned part, parts;
    uint64_t rate;
    int64_t verified;
    struct entry *list;
    char *text; /* of problems and notes: "path: message\n" */
    struct err e;
};

/* ---- the world ---- */

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof *w);
    const char *tmp = getenv("TMPDIR");
    snprintf(w->root, sizeof w->root, "%s/sos-scan.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(w->root));
    assert_int_equal(chmod(w->root, 0755), 0);
    w->fd = open(w->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(w->fd >= 0);
    w->manifest = w->journal = -1;
    w->ahead = 100;
    w->threads = 2;
    *state = w;
    return 0;
}

static void forget(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        free((char *)(uintptr_t)w->list[i].path);
    free(w->list);
    free(w->text);
    w->list = NULL;
    w->text = NULL;
    w->n = w->problems = w->notes = w->ticks = w->damages = 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    forget(w);
    char *rm = mem_printf("rm -rf '%s'", w->root); /* goes deeper than a path can name */
    assert_int_equal(system(rm), 0);
    free(rm);
    close(w->fd);
    if (w->manifest >= 0)
        close(w->manifest);
    if (w->journal >= 0)
        close(w->journal);
    filter_free(w->filter);
    free(w);
    return 0;
}

static int on_progress(void *ctx, uint64_t objects, uint64_t bytes)
{
    (void)objects, (void)bytes;
    struct world *w = ctx;
    w->ticks++;
    if (w->meddle)
        w->meddle(w);
    return w->stop;
}

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    struct world *w = ctx;
    char *more = mem_printf("%s%s: %s\n", w->text ? w->text : "", path, message);
    free(w->text);
    w->text = more;
    *(error ? &w->problems : &w->notes) += 1;
}

static void on_damage(void *ctx, const char *path, const char *message)
{
    struct world *w = ctx;
    if (!w->no_damage)
        on_problem(ctx, true, path, message);
    w->damages++;
}

static void load(struct world *w)
{
    struct manifest_head head;
    const struct entry *e;
    size_t cap = 0;
    int rc;
    struct manifest_reader *r = manifest_reader_new(w->manifest, &head, &w->e);
    assert_non_null(r);
    while ((rc = manifest_reader_next(r, &e, &w->e)) > 0) {
        if (w->n == cap) {
            cap = cap ? 2 * cap : 64;
            w->list = mem_resize(w->list, cap, sizeof *w->list);
        }
        entry_copy(&w->list[w->n], e);
        w->list[w->n++].path = mem_strndup(e->path, e->path_len);
    }
    assert_int_equal(rc, 0);
    manifest_reader_free(r);
}

static int try_scan(struct world *w)
{
    const struct store_watch watch = {w, on_progress, on_problem, NULL, on_damage};
    struct scan_args args = {.root = w->fd,
                             .self = self,
                             .now = clock_now(),
                             .checksum = w->checksum,
                             .hash = w->hash,
                             .part = w->part,
                             .parts = w->parts,
                             .rate = w->rate,
                             .verified = w->verified ? w->verified : 1,
                             .threads = w->threads,
                             .filter = w->filter,
                             .skip_dev = w->skip_dev,
                             .skip_ino = w->skip_ino,
                             .watch = &watch};
    args.now.sec += w->ahead;
    args.history = history_new(w->manifest, w->journal, &self, &w->e);
    assert_non_null(args.history);
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    struct manifest_head head = {w->hash, self, 0, args.now};
    struct manifest_writer *m = manifest_writer_new(fd, &head);
    forget(w);
    w->report = (struct store_scan){0};
    int rc = scan_tree(&args, m, &w->report, &w->found, &w->e);
    if (rc == 0) {
        assert_int_equal(history_end(args.history, &head.floor, &w->e), 0);
        assert_int_equal(manifest_writer_end(m, &w->totals, &w->e), 0);
        assert_int_equal(manifest_writer_rehead(m, &head, &w->e), 0);
        w->floor = head.floor;
    }
    history_free(args.history);
    manifest_writer_free(m);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    if (w->manifest >= 0)
        close(w->manifest);
    w->manifest = fd;
    load(w);
    return 0;
}

static void scan(struct world *w)
{
    int rc = try_scan(w);
    if (rc < 0)
        fail_msg("scan: %s", w->e.msg);
}

/* A scan that finds all as it was, without reading anything. */
static void scan_quiet(struct world *w)
{
    scan(w);
    assert_int_equal(w->report.hashed, 0);
    assert_false(w->report.changed);
    assert_int_equal(w->problems, 0);
}

static struct entry *maybe(struct world *w, const char *path)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->list[i].path, path) == 0)
            return &w->list[i];
    return NULL;
}

static struct entry *get(struct world *w, const char *path)
{
    struct entry *e = maybe(w, path);
    if (!e)
        fail_msg("%s is not in the manifest", path);
    return e;
}

static uint64_t own(struct world *w, const char *path)
{
    return version_count(&get(w, path)->version, &self);
}

/* Records what w->list says now. */
static void rerecord(struct world *w)
{
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    struct manifest_head head = {w->hash, self, w->floor, clock_now()};
    struct manifest_writer *m = manifest_writer_new(fd, &head);
    for (size_t i = 0; i < w->n; i++)
        assert_int_equal(manifest_writer_put(m, &w->list[i], &w->e), 0);
    assert_int_equal(manifest_writer_end(m, NULL, &w->e), 0);
    manifest_writer_free(m);
    close(w->manifest);
    w->manifest = fd;
}

static void intend(struct world *w, const struct entry *e, bool done)
{
    if (w->journal >= 0)
        close(w->journal);
    w->journal = memfd_create("journal", MFD_CLOEXEC);
    struct journal *j = journal_new(dup(w->journal), &self, NULL);
    uint64_t at = journal_intent(j, e);
    if (done)
        journal_done(j, at, &e->place);
    assert_int_equal(journal_flush(j, false, NULL), 0);
    journal_free(j);
}

static void no_journal(struct world *w)
{
    close(w->journal);
    w->journal = -1;
}

static void put_file(struct world *w, const char *path, const char *text)
{
    int fd = openat(w->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void put_dir(struct world *w, const char *path)
{
    assert_int_equal(mkdirat(w->fd, path, 0755), 0);
}

static void set_mtime(struct world *w, const char *path, int64_t sec)
{
    const struct timespec t[2] = {{.tv_sec = sec}, {.tv_sec = sec}};
    assert_int_equal(utimensat(w->fd, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static bool has_digest(const struct entry *e, const char *text)
{
    struct digest d = digest_of(text, strlen(text));
    return digest_same(&e->digest, &d);
}

/* ---- versions ---- */

static void test_new_tree(void **state)
{
    struct world *w = *state;
    put_dir(w, "a");
    put_file(w, "a/x", "one");
    put_dir(w, "a/empty");
    put_file(w, "a.b", "two");
    put_file(w, "nil", "");
    assert_int_equal(symlinkat("/etc/passwd", w->fd, "link"), 0);
    assert_int_equal(fchmodat(w->fd, "a/x", 04640, 0), 0);
    set_mtime(w, "a/x", -5);
    scan(w);
    const char *order[] = {"a", "a/empty", "a/x", "a.b", "link", "nil"};
    assert_int_equal(w->n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(w->list[i].path, order[i]);
        assert_int_equal(w->list[i].version.n, 1);
        assert_int_equal(own(w, order[i]), 1);
        assert_true(uuid_same(&w->list[i].origin, &self));
        assert_int_equal(w->list[i].flags, 0);
        assert_false(w->list[i].place.racy);
        assert_true(w->list[i].first_seen > 1000000);
    }
    struct entry *x = get(w, "a/x");
    assert_int_equal(x->mode, 0640);
    assert_int_equal(x->size, 3);
    assert_int_equal(x->mtime.sec, -5);
    assert_true(has_digest(x, "one"));
    assert_int_equal(get(w, "a")->mode, 0755);
    assert_int_equal(get(w, "link")->size, strlen("/etc/passwd"));
    assert_true(has_digest(get(w, "link"), "/etc/passwd"));
    assert_true(has_digest(get(w, "nil"), ""));
    assert_int_equal(w->report.hashed, 3);
    assert_int_equal(w->report.hashed_bytes, 6);
    assert_true(w->report.changed);
    scan_quiet(w);
    put_file(w, ".sos-sync.tmp", "ours"); /* changes the time of the root only */
    put_file(w, "a/.sos-sync.tmp", "ours");
    scan_quiet(w);
    w->checksum = true;
    scan(w);
    assert_int_equal(w->report.hashed, 3);
    assert_false(w->report.changed);
}

static void test_local_changes(void **state)
{
    struct world *w = *state;
    put_file(w, "text", "one");
    put_file(w, "mode", "one");
    put_file(w, "same", "one");
    put_dir(w, "dir");
    assert_int_equal(symlinkat("one", w->fd, "link"), 0);
    set_mtime(w, "same", 1000);
    scan(w);
    put_file(w, "text", "two!");
    put_file(w, "same", "one");
    set_mtime(w, "same", 1000);
    assert_int_equal(fchmodat(w->fd, "mode", 0600, 0), 0);
    assert_int_equal(fchmodat(w->fd, "dir", 0700, 0), 0);
    assert_int_equal(unlinkat(w->fd, "link", 0), 0);
    assert_int_equal(symlinkat("two", w->fd, "link"), 0);
    scan(w);
    assert_int_equal(own(w, "text"), 2);
    assert_int_equal(own(w, "mode"), 2);
    assert_int_equal(own(w, "dir"), 2);
    assert_int_equal(own(w, "link"), 2);
    assert_int_equal(own(w, "same"), 1);
    assert_true(has_digest(get(w, "text"), "two!"));
    assert_int_equal(w->report.hashed, 3);
    assert_true(w->report.changed);
    scan_quiet(w);
}

static void test_changes_of_a_foreign_object(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "one");
    scan(w);
    struct entry *f = get(w, "f");
    f->version.n = 0;
    version_set(&f->version, &other, 7);
    f->origin = other;
    f->first_seen = 5;
    w->floor = 40;
    rerecord(w);
    put_file(w, "f", "more");
    put_file(w, "new", "x");
    scan(w);
    f = get(w, "f");
    assert_int_equal(version_count(&f->version, &other), 7);
    assert_int_equal(own(w, "f"), 41);
    assert_true(uuid_same(&f->origin, &other));
    assert_int_equal(f->first_seen, 5);
    assert_int_equal(own(w, "new"), 41);
    assert_true(uuid_same(&get(w, "new")->origin, &self));
}

static void test_dropped_and_floor(void **state)
{
    struct world *w = *state;
    put_file(w, "a", "1");
    put_file(w, "b", "1");
    scan(w);
    version_set(&get(w, "a")->version, &self, 9);
    rerecord(w);
    assert_int_equal(unlinkat(w->fd, "a", 0), 0);
    scan(w);
    assert_int_equal(w->n, 1);
    assert_true(w->report.changed);
    assert_int_equal(w->floor, 9);
    put_file(w, "a", "back");
    scan(w);
    assert_int_equal(own(w, "a"), 10);
    assert_int_equal(unlinkat(w->fd, "b", 0), 0); /* the last one */
    scan(w);
    assert_true(w->report.changed);
}

/* B5: a peer may have made our own counter the highest there is. A change must not become older than what it follows. */
static void test_count_at_its_end(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "one");
    scan(w);
    version_set(&get(w, "f")->version, &self, UINT64_MAX);
    rerecord(w);
    put_file(w, "f", "more");
    scan(w);
    assert_int_equal(w->problems, 1);
    assert_true(get(w, "f")->flags & ENTRY_UNKNOWN);
    assert_true(own(w, "f") == UINT64_MAX);
    assert_int_equal(unlinkat(w->fd, "f", 0), 0);
    scan(w);
    put_file(w, "new", "x");
    scan(w);
    assert_true(w->problems >= 1);
    assert_true(!maybe(w, "new") || get(w, "new")->flags & ENTRY_UNKNOWN);
}

static void test_racy(void **state)
{
    struct world *w = *state;
    w->ahead = 0;
    put_file(w, "f", "one");
    put_file(w, "future", "one");
    assert_int_equal(symlinkat("one", w->fd, "link"), 0);
    set_mtime(w, "future", 4102444800);
    for (int i = 0; i < 2; i++) {
        scan(w);
        assert_int_equal(w->report.hashed, 2);
        assert_int_equal(w->report.changed, i == 0);
        assert_true(get(w, "f")->place.racy);
        assert_true(get(w, "link")->place.racy);
        assert_int_equal(own(w, "f"), 1);
    }
    w->ahead = 100;
    scan(w);
    assert_int_equal(w->report.hashed, 2);
    assert_true(w->report.changed);
    assert_false(get(w, "f")->place.racy);
    scan(w);
    assert_int_equal(w->report.hashed, 1);
    assert_false(w->report.changed);
    assert_true(get(w, "future")->place.racy);
}

static void test_damage(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "good");
    assert_int_equal(symlinkat("good", w->fd, "link"), 0);
    scan(w);
    struct digest bad = digest_of("evil", 4), good = digest_of("good", 4);
    get(w, "f")->digest = get(w, "link")->digest = bad; /* so the disk is what lies */
    rerecord(w);
    scan_quiet(w);
    for (int i = 0; i < 2; i++) {
        w->checksum = i == 0; /* once it is known, it is looked at each time */
        scan(w);
        assert_int_equal(w->problems, 2);
        assert_non_null(strstr(w->text, "damaged"));
        assert_int_equal(get(w, "f")->flags, ENTRY_DAMAGED);
        assert_int_equal(get(w, "link")->flags, ENTRY_DAMAGED);
        assert_true(digest_same(&get(w, "f")->digest, &bad));
        assert_int_equal(own(w, "f"), 1);
        assert_int_equal(w->report.changed, i == 0);
        assert_int_equal(w->report.problems, 0);
    }
    get(w, "f")->digest = get(w, "link")->digest = good;
    rerecord(w);
    scan(w);
    assert_int_equal(get(w, "f")->flags, 0);
    assert_int_equal(own(w, "f"), 1);
    assert_true(w->report.changed);
    scan_quiet(w);

    get(w, "f")->digest = bad;
    get(w, "f")->flags = ENTRY_DAMAGED;
    rerecord(w);
    put_file(w, "f", "edit"); /* an edit is no damage */
    scan(w);
    assert_int_equal(get(w, "f")->flags, 0);
    assert_int_equal(own(w, "f"), 2);
}

/* ---- another hash ---- */

static bool has_sha256(const struct entry *e, const char *text)
{
    struct digest_state *s = digest_new();
    struct digest d = digest_whole(s, DIGEST_SHA256, text, strlen(text));
    digest_free(s);
    return digest_same(&e->digest, &d);
}

/* Large enough to be read in pieces. */
static void put_noise(struct world *w, const char *path)
{
    char *text = mem_alloc(1000001);
    for (int i = 0; i < 1000000; i++)
        text[i] = (char)('a' + (unsigned)i * (unsigned)i % 23);
    text[1000000] = 0;
    put_file(w, path, text);
    free(text);
}

/* Everything is read again, and nothing is a change: the record stays. */
static void test_rehash(void **state)
{
    struct world *w = *state;
    put_dir(w, "d");
    put_file(w, "d/f", "one");
    put_file(w, "nil", "");
    put_noise(w, "noise");
    assert_int_equal(symlinkat("one", w->fd, "link"), 0);
    scan(w);
    version_set(&get(w, "d/f")->version, &other, 7);
    holders_add(&get(w, "d/f")->holders, &other);
    get(w, "link")->origin = other;
    get(w, "noise")->first_seen = 77;
    rerecord(w);
    scan_quiet(w);
    for (int turn = 0; turn < 2; turn++) {
        struct digest noise = get(w, "noise")->digest;
        w->hash = turn == 0 ? DIGEST_SHA256 : DIGEST_XXH3_128;
        w->verified = 500 + turn;
        scan(w);
        assert_int_equal(w->problems, 0);
        assert_int_equal(w->report.hashed, 3);
        assert_true(w->report.changed);
        assert_int_equal(own(w, "d/f"), 1);
        assert_int_equal(version_count(&get(w, "d/f")->version, &other), 7);
        assert_int_equal(get(w, "d/f")->holders.n, 1);
        assert_true(uuid_same(&get(w, "link")->origin, &other));
        assert_int_equal(get(w, "noise")->first_seen, 77);
        assert_int_equal(get(w, "noise")->place.verified, 500 + turn);
        assert_false(digest_same(&get(w, "noise")->digest, &noise));
        bool (*has)(const struct entry *, const char *) = turn == 0 ? has_sha256 : has_digest;
        assert_true(has(get(w, "d/f"), "one") && has(get(w, "nil"), "") && has(get(w, "link"), "one"));
        scan_quiet(w);
    }
}

/* What was recorded by the other hash is held against that: damage, edits, and what could not be looked at. */
static void test_rehash_of_what_is_not_whole(void **state)
{
    struct world *w = *state;
    put_file(w, "bad", "good");
    put_file(w, "edited", "old");
    put_file(w, "hidden", "hide");
    assert_int_equal(symlinkat("good", w->fd, "link"), 0);
    scan(w);
    struct digest evil = digest_of("evil", 4), good = digest_of("good", 4);
    get(w, "bad")->digest = get(w, "link")->digest = evil;
    rerecord(w);
    put_file(w, "edited", "new one");
    w->filter = filter_new();
    filter_add(w->filter, false, "hidden", NULL);
    w->hash = DIGEST_SHA256;
    for (int i = 0; i < 2; i++) {
        scan(w);
        assert_int_equal(get(w, "bad")->flags, ENTRY_DAMAGED);
        assert_int_equal(get(w, "link")->flags, ENTRY_DAMAGED);
        assert_true(digest_same(&get(w, "bad")->digest, &evil)); /* as it was recorded: what it should be by the new one nobody knows */
        assert_int_equal(get(w, "hidden")->flags, ENTRY_HIDDEN);
        assert_true(has_digest(get(w, "hidden"), "hide"));
        assert_true(has_sha256(get(w, "edited"), "new one"));
        assert_int_equal(own(w, "edited"), 2);
        assert_int_equal(w->damages, 2);
    }
    get(w, "bad")->digest = get(w, "link")->digest = good; /* somebody has put it right */
    rerecord(w);
    filter_free(w->filter);
    w->filter = NULL;
    scan(w);
    assert_int_equal(get(w, "bad")->flags | get(w, "link")->flags | get(w, "hidden")->flags, 0);
    assert_true(has_sha256(get(w, "bad"), "good") && has_sha256(get(w, "link"), "good") && has_sha256(get(w, "hidden"), "hide"));
    assert_int_equal(own(w, "bad") * own(w, "link") * own(w, "hidden"), 1);
    scan_quiet(w);
}

/* A run that was killed after it had put a new version leaves that in its journal. */
static void test_rehash_of_intents(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "old");
    scan(w);
    put_file(w, "f", "new");
    struct stat st;
    assert_int_equal(fstatat(w->fd, "f", &st, 0), 0);
    static struct entry put;
    entry_copy(&put, get(w, "f"));
    put.digest = digest_of("new", 3);
    put.mtime = (struct stamp){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    put.place = (struct entry_place){.dev = st.st_dev, .ino = st.st_ino,
                                     .ctime = {st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec}};
    version_set(&put.version, &other, 3);
    intend(w, &put, true);
    w->hash = DIGEST_SHA256;
    scan(w);
    assert_true(has_sha256(get(w, "f"), "new"));
    assert_int_equal(own(w, "f"), 1);
    assert_int_equal(version_count(&get(w, "f")->version, &other), 3);
    no_journal(w);
}

/* What has moved is known by its place, but not with a digest of the wrong kind. */
static void test_rehash_of_what_moved(void **state)
{
    struct world *w = *state;
    put_dir(w, "old");
    put_file(w, "old/1", "one");
    scan(w);
    assert_int_equal(renameat(w->fd, "old", w->fd, "new"), 0);
    w->hash = DIGEST_SHA256;
    scan(w);
    assert_int_equal(w->report.hashed, 1);
    assert_true(has_sha256(get(w, "new/1"), "one"));
    assert_int_equal(renameat(w->fd, "new", w->fd, "newer"), 0);
    scan(w);
    assert_int_equal(w->report.hashed, 0);
    assert_true(has_sha256(get(w, "newer/1"), "one"));
}

/* ---- verification ---- */

static const char *const numbered[] = {"f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9"};

/* What is read is verified then, and what is not keeps its time; nothing else makes a new manifest. */
static void test_verified(void **state)
{
    struct world *w = *state;
    scan(w);
    assert_int_equal(w->report.verified, 0); /* there are no objects */
    put_file(w, "f", "one");
    put_dir(w, "d");
    put_file(w, "d/g", "two");
    assert_int_equal(symlinkat("f", w->fd, "link"), 0);
    w->verified = 1000;
    scan(w);
    assert_int_equal(get(w, "f")->place.verified, 1000);
    assert_int_equal(get(w, "d/g")->place.verified, 1000);
    assert_int_equal(get(w, "link")->place.verified, 0);
    assert_int_equal(w->report.verified, 1000);
    w->verified = 2000;
    scan_quiet(w);
    put_file(w, "f", "another");
    scan(w);
    assert_int_equal(get(w, "f")->place.verified, 2000);
    assert_int_equal(get(w, "d/g")->place.verified, 1000);
    assert_int_equal(w->report.verified, 1000);
    assert_int_equal(renameat(w->fd, "d", w->fd, "e"), 0); /* its content is known by its place */
    scan(w);
    assert_int_equal(w->report.hashed, 0);
    assert_int_equal(get(w, "e/g")->place.verified, 1000);
    w->checksum = true;
    w->verified = 3000;
    scan(w);
    assert_true(w->report.changed);
    assert_int_equal(w->report.verified, 3000);
    assert_int_equal(get(w, "e/g")->place.verified, 3000);
    get(w, "f")->place.verified = 0;
    rerecord(w);
    w->checksum = false;
    scan_quiet(w);
    assert_int_equal(w->report.verified, 0); /* one never was */
}

/* Parts do not overlap, and all of them together are everything, symlinks too. */
static void test_scrub_parts(void **state)
{
    struct world *w = *state;
    uint64_t hashed = 0;
    for (size_t i = 0; i < 10; i++)
        put_file(w, numbered[i], numbered[i]);
    w->verified = 1000;
    scan(w);
    for (w->parts = 3, w->part = 1; w->part <= w->parts; w->part++) {
        w->verified = 2000 + w->part;
        scan(w);
        assert_true(w->report.hashed < 10);
        assert_int_equal(w->report.changed, w->report.hashed > 0);
        hashed += w->report.hashed;
        assert_int_equal(w->report.verified, w->part < 3 ? 1000 : 2001);
    }
    assert_int_equal(hashed, 10);
    for (size_t i = 0; i < 10; i++)
        assert_true(get(w, numbered[i])->place.verified > 2000);
    w->parts = w->part = 0;
    scan_quiet(w);
    w->parts = w->part = 1;
    scan(w);
    assert_int_equal(w->report.hashed, 10);
}

/* Only the part that holds it finds damage; it keeps the time at which it was last good. */
static void test_scrub_finds_damage(void **state)
{
    struct world *w = *state;
    unsigned found = 0;
    put_file(w, "bad", "good");
    put_file(w, "fine", "good");
    w->verified = 1000;
    scan(w);
    struct digest was = get(w, "bad")->digest;
    get(w, "bad")->digest = digest_of("evil", 4); /* so the disk is what lies */
    rerecord(w);
    w->no_damage = true;
    w->verified = 2000;
    for (w->parts = 4, w->part = 1; w->part <= w->parts; w->part++) {
        scan(w);
        found += w->damages > 0 && found == 0;
        assert_int_equal(w->report.damaged, found);
        assert_int_equal(w->problems, 0);
    }
    assert_int_equal(found, 1);
    assert_int_equal(get(w, "bad")->flags, ENTRY_DAMAGED);
    assert_int_equal(get(w, "bad")->place.verified, 1000);
    assert_int_equal(get(w, "fine")->place.verified, 2000);
    assert_int_equal(w->report.verified, 1000);
    /* Back from a disk that lied once: it is a good copy again. */
    get(w, "bad")->digest = was;
    rerecord(w);
    w->parts = w->part = 0;
    scan(w);
    assert_int_equal(get(w, "bad")->flags, 0);
    assert_int_equal(get(w, "bad")->place.verified, 2000);
    assert_int_equal(w->report.damaged, 0);
}

/* What a run found damaged and had no time to record stays so until the content is right. */
static void test_damaged_intent(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "good");
    scan(w);
    struct entry flagged;
    entry_copy(&flagged, get(w, "f"));
    flagged.path = "f";
    flagged.digest = digest_of("evil", 4);
    get(w, "f")->digest = flagged.digest;
    rerecord(w);
    flagged.flags = ENTRY_DAMAGED;
    intend(w, &flagged, true);
    scan(w);
    assert_int_equal(w->report.hashed, 1);
    assert_int_equal(get(w, "f")->flags, ENTRY_DAMAGED);
    assert_int_equal(own(w, "f"), 1);
    no_journal(w);
}

/* All threads together keep to the rate, and say meanwhile that they are alive. */
static void test_rate(void **state)
{
    struct world *w = *state;
    char *text = mem_alloc(50001);
    memset(text, 'x', 50000);
    text[50000] = '\0';
    for (size_t i = 0; i < 4; i++)
        put_file(w, numbered[i], text);
    scan(w);
    w->parts = w->part = 1;
    w->rate = 400000;
    int64_t began = clock_mono_ms();
    scan(w);
    int64_t took = clock_mono_ms() - began;
    assert_int_equal(w->report.hashed, 4);
    assert_true(took >= 300 && took < 5000); /* half a second, less what may go at once */
    assert_true(w->ticks > 0);
    w->rate = 10; /* hours: an end that is asked for does not wait for them */
    w->stop = ERR_INTERRUPTED;
    began = clock_mono_ms();
    assert_int_equal(try_scan(w), ERR_INTERRUPTED);
    assert_true(clock_mono_ms() - began < 5000);
    free(text);
}

static void test_kind_changes(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "file");
    put_dir(w, "d");
    put_file(w, "d/x", "x");
    scan(w);
    assert_int_equal(unlinkat(w->fd, "f", 0), 0);
    put_dir(w, "f");
    put_file(w, "f/y", "y");
    assert_int_equal(unlinkat(w->fd, "d/x", 0), 0);
    assert_int_equal(unlinkat(w->fd, "d", AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat("x", w->fd, "d"), 0);
    scan(w);
    assert_int_equal(w->n, 3);
    assert_int_equal(get(w, "f")->kind, ENTRY_DIR);
    assert_int_equal(own(w, "f"), 2);
    assert_int_equal(get(w, "d")->kind, ENTRY_LINK);
    assert_int_equal(own(w, "d"), 2);
    scan_quiet(w);
}

static void test_renamed_directory(void **state)
{
    struct world *w = *state;
    put_dir(w, "old");
    put_file(w, "old/1", "one");
    put_file(w, "old/2", "two");
    scan(w);
    assert_int_equal(renameat(w->fd, "old", w->fd, "new"), 0);
    scan(w);
    assert_int_equal(w->report.hashed, 0);
    assert_true(has_digest(get(w, "new/1"), "one"));
    assert_true(has_digest(get(w, "new/2"), "two"));
    assert_int_equal(own(w, "new/1"), 1);
    assert_int_equal(w->floor, 1);
    w->checksum = true;
    assert_int_equal(renameat(w->fd, "new", w->fd, "newer"), 0);
    scan(w);
    assert_int_equal(w->report.hashed, 2);
}

/* ---- the journal ---- */

static void test_intent_seen_through(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "one");
    scan(w);
    int manifest = w->manifest;
    w->manifest = dup(manifest);
    put_file(w, "f", "from other");
    scan(w);
    struct entry *f = get(w, "f");
    f->version.n = 0;
    version_set(&f->version, &self, 1);
    version_set(&f->version, &other, 3);
    f->origin = other;
    intend(w, f, true);
    close(w->manifest);
    w->manifest = dup(manifest);

    scan(w);
    assert_int_equal(w->report.hashed, 0);
    assert_int_equal(own(w, "f"), 1);
    assert_int_equal(version_count(&get(w, "f")->version, &other), 3);
    assert_true(uuid_same(&get(w, "f")->origin, &other));
    assert_true(w->report.changed);

    put_file(w, "f", "edited after it was seen through");
    close(w->manifest);
    w->manifest = manifest;
    scan(w);
    assert_int_equal(own(w, "f"), 2);
    assert_int_equal(version_count(&get(w, "f")->version, &other), 3);
}

static void test_intent_not_seen_through(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "one");
    put_file(w, "g", "new");
    scan(w);
    struct entry f = *get(w, "f");
    f.path = "f";
    f.digest = digest_of("two", 3);
    version_set(&f.version, &other, 3);
    f.mtime = (struct stamp){1000, 0};
    intend(w, &f, false);

    scan(w); /* it never was renamed into place */
    assert_int_equal(version_count(&get(w, "f")->version, &other), 0);
    assert_int_equal(own(w, "f"), 1);
    assert_true(w->report.changed);

    put_file(w, "f", "two");
    set_mtime(w, "f", 1000);
    int manifest = w->manifest;
    w->manifest = dup(manifest);
    scan(w); /* it was */
    assert_int_equal(w->report.hashed, 1);
    assert_int_equal(version_count(&get(w, "f")->version, &other), 3);
    assert_int_equal(own(w, "f"), 1);

    put_file(w, "f", "neither");
    close(w->manifest);
    w->manifest = manifest;
    scan(w);
    assert_int_equal(version_count(&get(w, "f")->version, &other), 0);
    assert_int_equal(own(w, "f"), 2);
    no_journal(w);
    scan_quiet(w);
}

static void test_intent_of_a_record(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "one");
    scan(w);
    struct entry f = *get(w, "f");
    f.path = "f";
    version_set(&f.version, &other, 3);
    intend(w, &f, true);
    scan(w);
    assert_int_equal(w->report.hashed, 0);
    assert_int_equal(version_count(&get(w, "f")->version, &other), 3);
}

static void test_intent_for_what_is_not_there(void **state)
{
    struct world *w = *state;
    put_file(w, "f", "one");
    scan(w);
    struct entry f = *get(w, "f");
    f.path = "never";
    f.path_len = 5;
    version_set(&f.version, &self, 20);
    intend(w, &f, false);
    scan(w);
    assert_int_equal(w->n, 1);
    assert_true(w->report.changed);
    assert_int_equal(w->floor, 20);
}

/* ---- what is not an object, or not to be looked at ---- */

static void test_special_files(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkfifoat(w->fd, "fifo", 0600), 0);
    put_file(w, "f", "x");
    scan(w);
    assert_int_equal(w->n, 1);
    assert_int_equal(w->report.special, 1);
    assert_int_equal(w->problems + w->notes, 0);
    assert_int_equal(unlinkat(w->fd, "f", 0), 0);
    assert_int_equal(mkfifoat(w->fd, "f", 0600), 0);
    scan(w);
    assert_int_equal(w->n, 0);
    assert_true(w->report.changed);
}

static void test_our_own_names(void **state)
{
    struct world *w = *state;
    struct stat st;
    put_dir(w, ".sos-sync");
    put_file(w, ".sos-sync/manifest", "x");
    put_dir(w, "a");
    put_file(w, "a/.sos-sync.1234", "x");
    put_dir(w, "a/.sos-sync");
    put_file(w, "a/.sos-syncx", "theirs");
    put_dir(w, "state");
    put_file(w, "state/x", "x");
    assert_int_equal(fstatat(w->fd, "state", &st, 0), 0);
    w->skip_dev = st.st_dev;
    w->skip_ino = st.st_ino;
    scan(w);
    assert_int_equal(w->n, 2);
    get(w, "a/.sos-syncx");
    w->skip_dev++;
    scan(w);
    assert_int_equal(w->n, 4);
}

static void test_filters(void **state)
{
    struct world *w = *state;
    put_dir(w, "a");
    put_file(w, "a/x", "one");
    put_dir(w, "a/d");
    put_file(w, "a/d/y", "two");
    put_file(w, "b.o", "three");
    scan(w);
    w->filter = filter_new();
    assert_int_equal(filter_add(w->filter, false, "*.o", NULL), 0);
    assert_int_equal(filter_add(w->filter, false, "/a/d/", NULL), 0);
    put_file(w, "a/d/y", "changed where nobody looks");
    put_file(w, "new.o", "never seen");
    scan(w);
    assert_int_equal(w->n, 5);
    assert_int_equal(w->report.hashed, 0);
    assert_true(w->report.changed);
    assert_int_equal(get(w, "a/d")->flags, ENTRY_HIDDEN);
    assert_int_equal(get(w, "a/d/y")->flags, ENTRY_HIDDEN);
    assert_int_equal(get(w, "b.o")->flags, ENTRY_HIDDEN);
    assert_int_equal(get(w, "a")->flags, 0);
    assert_int_equal(own(w, "a/d/y"), 1);
    assert_int_equal(w->totals.objects, 1);
    scan_quiet(w);
    assert_int_equal(unlinkat(w->fd, "b.o", 0), 0);
    scan(w);
    assert_null(maybe(w, "b.o"));
    filter_free(w->filter);
    w->filter = NULL;
    scan(w);
    assert_int_equal(w->n, 5);
    assert_int_equal(w->report.hashed, 2);
    assert_int_equal(get(w, "a/d/y")->flags, 0);
    assert_int_equal(own(w, "a/d/y"), 2);
    scan_quiet(w);
}

/* ---- trouble ---- */

/* Drops root's rights over permissions for a while. */
static void as_nobody(bool yes)
{
    if (getuid() == 0)
        assert_int_equal(seteuid(yes ? 65534 : 0), 0);
}

static void scan_as_nobody(struct world *w)
{
    as_nobody(true);
    int rc = try_scan(w);
    as_nobody(false);
    assert_int_equal(rc, 0);
}

static void test_unreadable(void **state)
{
    struct world *w = *state;
    put_dir(w, "d");
    put_file(w, "d/x", "one");
    put_dir(w, "d/sub");
    put_file(w, "d/sub/y", "two");
    put_file(w, "f", "three");
    put_file(w, "g", "four");
    scan(w);
    assert_int_equal(fchmodat(w->fd, "d", 0, 0), 0);
    assert_int_equal(fchmodat(w->fd, "f", 0, 0), 0);
    put_file(w, "new", "never read");
    assert_int_equal(fchmodat(w->fd, "new", 0, 0), 0);
    scan_as_nobody(w);
    assert_int_equal(w->problems, 3);
    assert_int_equal(w->report.problems, 3);
    assert_int_equal(w->n, 7);
    assert_int_equal(get(w, "d")->flags, ENTRY_UNKNOWN); /* its mode, too, is as recorded */
    assert_int_not_equal(get(w, "d")->mode, 0);
    assert_int_equal(get(w, "d/x")->flags, ENTRY_UNKNOWN);
    assert_int_equal(get(w, "d/sub/y")->flags, ENTRY_UNKNOWN);
    assert_int_equal(get(w, "f")->flags, ENTRY_UNKNOWN);
    assert_int_equal(get(w, "f")->mode, 0644); /* as last recorded */
    assert_int_equal(get(w, "g")->flags, 0);
    assert_int_equal(get(w, "new")->flags, ENTRY_UNKNOWN);
    assert_int_equal(get(w, "new")->version.n, 0);
    assert_int_equal(get(w, "new")->first_seen, 0);
    scan_as_nobody(w);
    assert_false(w->report.changed);

    assert_int_equal(fchmodat(w->fd, "d", 0755, 0), 0);
    assert_int_equal(fchmodat(w->fd, "f", 0644, 0), 0);
    scan(w);
    assert_int_equal(w->problems, 0);
    for (size_t i = 0; i < w->n; i++)
        assert_int_equal(w->list[i].flags, 0);
    assert_int_equal(own(w, "d/x"), 1);
    assert_int_equal(own(w, "f"), 1);
    assert_int_equal(own(w, "new"), 1);
    scan_quiet(w);
}

static void test_unsearchable(void **state)
{
    struct world *w = *state;
    put_dir(w, "d");
    put_file(w, "d/x", "one");
    scan(w);
    put_file(w, "d/y", "two");
    assert_int_equal(fchmodat(w->fd, "d", 0744, 0), 0); /* names can be listed, not looked at */
    scan_as_nobody(w);
    assert_int_equal(fchmodat(w->fd, "d", 0755, 0), 0);
    assert_int_equal(w->n, 2);
    assert_int_equal(w->problems, 2);
    assert_int_equal(get(w, "d/x")->flags, ENTRY_UNKNOWN);
    assert_true(has_digest(get(w, "d/x"), "one"));
}

static void test_unknown_stays_hidden(void **state)
{
    struct world *w = *state;
    put_dir(w, "d");
    put_dir(w, "d/h");
    put_file(w, "d/h/x", "one");
    put_file(w, "d/y", "two");
    scan(w);
    w->filter = filter_new();
    assert_int_equal(filter_add(w->filter, false, "h", NULL), 0);
    assert_int_equal(fchmodat(w->fd, "d", 0, 0), 0);
    scan_as_nobody(w);
    assert_int_equal(get(w, "d/h")->flags, ENTRY_HIDDEN | ENTRY_UNKNOWN);
    assert_int_equal(get(w, "d/h/x")->flags, ENTRY_HIDDEN | ENTRY_UNKNOWN);
    assert_int_equal(get(w, "d/y")->flags, ENTRY_UNKNOWN);
    filter_free(w->filter);
    w->filter = NULL;
    scan_as_nobody(w);
    assert_int_equal(get(w, "d/h/x")->flags, ENTRY_UNKNOWN);
    assert_int_equal(fchmodat(w->fd, "d", 0755, 0), 0);
    scan(w);
    assert_int_equal(get(w, "d/h/x")->flags, 0);
}

static void test_mount_point(void **state)
{
    struct world *w = *state;
    put_dir(w, "m");
    put_file(w, "m/x", "below");
    put_dir(w, "n");
    scan(w);
    put_dir(w, "fresh");
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        skip();
    close(w->fd);
    w->fd = open(w->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* in the new name space */
    const char *on[] = {"m", "fresh"};
    for (size_t i = 0; i < 2; i++) {
        char *path = mem_printf("%s/%s", w->root, on[i]);
        assert_int_equal(mount("none", path, "tmpfs", 0, NULL), 0);
        free(path);
    }
    put_file(w, "m/other", "not ours");
    scan(w);
    assert_int_equal(w->n, 4);
    assert_int_equal(w->problems, 2);
    assert_int_equal(w->notes, 0);
    assert_int_equal(get(w, "m")->flags, ENTRY_UNKNOWN);
    assert_int_equal(get(w, "m/x")->flags, ENTRY_UNKNOWN);
    assert_int_equal(own(w, "m/x"), 1);
    assert_int_equal(get(w, "fresh")->flags, ENTRY_UNKNOWN);
    assert_int_equal(get(w, "fresh")->version.n, 0);
    scan(w);
    assert_false(w->report.changed);
    for (size_t i = 0; i < 2; i++) {
        char *path = mem_printf("%s/%s", w->root, on[i]);
        assert_int_equal(umount(path), 0);
        free(path);
    }
    scan(w);
    assert_int_equal(get(w, "m/x")->flags, 0);
    assert_int_equal(own(w, "fresh"), 1);
    assert_int_equal(w->report.hashed, 0);
}

/* ---- names ---- */

static void test_odd_names(void **state)
{
    struct world *w = *state;
    char longest[NAME_LEN_MAX + 1];
    memset(longest, 'x', NAME_LEN_MAX);
    longest[NAME_LEN_MAX] = '\0';
    const char *name[] = {"\x01", "\n", "\x1b[2J", " ", "-rf", "...", "A", "a", "aaaaaaaa", "aaaaaaaa\x01",
                          "aaaaaaaaa", "aaaaaaaab", "aaaaaaab",
                          "\xc3\xa9", "e\xcc\x81", "\xff\xfe", longest, "~"};
    const size_t n = sizeof name / sizeof name[0];
    for (size_t i = 0; i < n; i++)
        put_file(w, name[i], name[i]);
    scan(w);
    assert_int_equal(w->n, n);
    for (size_t i = 0; i < n; i++)
        assert_true(has_digest(get(w, name[i]), name[i]));
    for (size_t i = 1; i < n; i++)
        assert_true(strcmp(w->list[i - 1].path, w->list[i].path) < 0);
    scan_quiet(w);
}

/*
 * Makes a chain of directories, with a file in every 100th, one whose name sorts before and one whose name
 * sorts after it.
 */
static int dig(struct world *w, size_t levels, const char *name)
{
    int fd = dup(w->fd);
    for (size_t i = 0; i < levels; i++) {
        assert_int_equal(mkdirat(fd, name, 0755), 0);
        for (int k = 0; k < 2 && i % 100 == 0; k++)
            close(openat(fd, k ? "z" : "A", O_CREAT | O_WRONLY, 0644));
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    return fd;
}

static void test_deep(void **state)
{
    struct world *w = *state;
    close(dig(w, 2040, "d"));
    scan(w);
    assert_int_equal(w->problems, 0);
    assert_int_equal(w->n, 2040 + 2 * 21);
    assert_string_equal(w->list[w->n - 1].path, "z");
    scan_quiet(w);
}

static void test_too_deep(void **state)
{
    struct world *w = *state;
    char *name = mem_alloc(201);
    memset(name, 'n', 200);
    name[200] = '\0';
    int fd = dig(w, 20, name); /* 20 * 201 - 1 = 4019 bytes */
    assert_int_equal(mkdirat(fd, "fits", 0755), 0);
    assert_int_equal(mkdirat(fd, name, 0755), 0);
    close(openat(fd, "z", O_CREAT | O_WRONLY, 0644));
    close(fd);
    scan(w);
    assert_int_equal(w->problems, 1);
    assert_int_equal(w->report.problems, 1);
    assert_non_null(strstr(w->text, "too long"));
    assert_int_equal(w->n, 24);
    free(name);
}

/* ---- many, and large ---- */

static void test_many(void **state)
{
    struct world *w = *state;
    const int n = 3000;
    char path[64], text[64];
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%d", i % 300);
        if (i < 300)
            put_dir(w, path);
        snprintf(path, sizeof path, "%d/file-%d", i % 300, i);
        snprintf(text, sizeof text, "text of %d", i);
        put_file(w, path, text);
    }
    for (unsigned threads = 0; threads <= 5; threads += 5) {
        w->threads = threads;
        w->checksum = true;
        scan(w);
        assert_int_equal(w->n, n + 300);
        assert_int_equal(w->report.hashed, n);
        for (size_t i = 0; i < w->n; i++) {
            const char *dash = strchr(w->list[i].path, '-');
            if (!dash)
                continue;
            snprintf(text, sizeof text, "text of %s", dash + 1);
            assert_true(has_digest(&w->list[i], text));
        }
    }
    w->checksum = false;
    scan_quiet(w);
    for (int i = 0; i < n; i += 7) { /* what waits for its digest and what is known at once, mixed */
        snprintf(path, sizeof path, "%d/file-%d", i % 300, i);
        put_file(w, path, "new");
    }
    scan(w);
    assert_int_equal(w->n, n + 300);
    assert_int_equal(w->report.hashed, (n + 6) / 7);
}

static void test_large(void **state)
{
    struct world *w = *state;
    size_t size = (40u << 20) + 17;
    char *p = mem_zalloc(size);
    int fd = openat(w->fd, "large", O_RDWR | O_CREAT, 0644);
    for (size_t i = 0; i < size; i += 4096)
        p[i] = (char)(i >> 12);
    assert_int_equal(write(fd, p, size), size);
    put_file(w, "small", "x");
    scan(w);
    struct digest d = digest_of(p, size);
    assert_true(digest_same(&get(w, "large")->digest, &d));
    assert_int_equal(get(w, "large")->size, size);
    assert_int_equal(w->report.hashed_bytes, size + 1);
    close(fd);
    free(p);
}

static void make_endless(struct world *w, const char *name)
{
    int fd = openat(w->fd, name, O_RDWR | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
    close(fd);
}

static void test_stop(void **state)
{
    struct world *w = *state;
    make_endless(w, "1");
    make_endless(w, "2");
    make_endless(w, "3");
    for (unsigned threads = 1; threads < 4; threads += 2) {
        w->threads = threads;
        w->stop = ERR_INTERRUPTED;
        w->e.code = 0;
        assert_int_equal(try_scan(w), ERR_INTERRUPTED);
        assert_int_equal(w->e.code, ERR_INTERRUPTED);
        assert_int_equal(w->ticks, 1);
    }
}

static void shorten(struct world *w)
{
    int fd = openat(w->fd, "f", O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "short", 5), 5);
    close(fd);
}

static void test_shrinks_while_read(void **state)
{
    struct world *w = *state;
    make_endless(w, "f");
    w->meddle = shorten;
    scan(w);
    assert_int_equal(w->problems, 0);
    assert_int_equal(get(w, "f")->size, 5);
    assert_true(has_digest(get(w, "f"), "short"));
    w->meddle = NULL;
    scan_quiet(w);
}

static void vanish(struct world *w)
{
    unlinkat(w->fd, "f", 0);
    int fd = openat(w->fd, "g", O_WRONLY | O_TRUNC);
    close(fd);
}

static void test_vanishes_while_read(void **state)
{
    struct world *w = *state;
    make_endless(w, "f");
    assert_int_equal(linkat(w->fd, "f", w->fd, "g", 0), 0);
    w->threads = 1;
    w->meddle = vanish;
    scan(w);
    assert_int_equal(w->problems, 0);
    assert_null(maybe(w, "f"));
    assert_int_equal(get(w, "g")->size, 0);
}

struct meddler {
    struct world *w;
    atomic_bool stop;
    pthread_t thread;
};

static void *keep_writing(void *arg)
{
    struct meddler *m = arg;
    int fd = openat(m->w->fd, "busy", O_WRONLY);
    for (char c = 0; !atomic_load(&m->stop); c++)
        if (pwrite(fd, &c, 1, 0) != 1)
            break;
    close(fd);
    return NULL;
}

static void test_changes_while_read(void **state)
{
    struct world *w = *state;
    struct meddler m = {.w = w};
    put_file(w, "busy", "old");
    put_file(w, "calm", "x");
    scan(w);
    int fd = openat(w->fd, "busy", O_WRONLY);
    assert_int_equal(ftruncate(fd, 256 << 20), 0);
    close(fd);
    assert_int_equal(pthread_create(&m.thread, NULL, keep_writing, &m), 0);
    scan(w);
    atomic_store(&m.stop, true);
    pthread_join(m.thread, NULL);
    assert_int_equal(w->problems, 1);
    assert_non_null(strstr(w->text, "busy: changed while"));
    assert_int_equal(get(w, "busy")->flags, ENTRY_UNKNOWN);
    assert_true(has_digest(get(w, "busy"), "old"));
    assert_int_equal(own(w, "busy"), 1);
    assert_int_equal(get(w, "calm")->flags, 0);
    scan(w);
    assert_int_equal(get(w, "busy")->flags, 0);
    assert_int_equal(own(w, "busy"), 2);
}

static void *keep_swapping(void *arg)
{
    struct meddler *m = arg;
    while (!atomic_load(&m->stop))
        renameat2(m->w->fd, "d", m->w->fd, "trap", RENAME_EXCHANGE);
    return NULL;
}

/* d is now a directory, now a symlink to one outside: nothing of that may ever be seen. */
static void test_swapped_for_a_symlink(void **state)
{
    struct world *w = *state;
    struct meddler m = {.w = w};
    char outside[] = "/tmp/sos-scan-out.XXXXXX", secret[64];
    assert_non_null(mkdtemp(outside));
    snprintf(secret, sizeof secret, "%s/secret", outside);
    close(open(secret, O_CREAT | O_WRONLY, 0644));
    put_dir(w, "d");
    put_file(w, "d/ours", "x");
    assert_int_equal(symlinkat(outside, w->fd, "trap"), 0);
    assert_int_equal(pthread_create(&m.thread, NULL, keep_swapping, &m), 0);
    int bad = 0;
    for (int i = 0; i < 300; i++) {
        bad += try_scan(w) < 0;
        bad += maybe(w, "d/secret") || maybe(w, "trap/secret");
        for (size_t k = 0; k < w->n; k++)
            bad += w->list[k].kind == ENTRY_FILE && !has_digest(&w->list[k], "x");
    }
    atomic_store(&m.stop, true);
    pthread_join(m.thread, NULL);
    assert_int_equal(bad, 0);
    unlink(secret);
    rmdir(outside);
}

static void test_no_root(void **state)
{
    struct world *w = *state;
    int fd = w->fd;
    w->fd = open("/dev/null", O_RDONLY);
    assert_int_equal(try_scan(w), ERR_SYS);
    close(w->fd);
    w->fd = fd;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_new_tree),
        T(test_local_changes),
        T(test_changes_of_a_foreign_object),
        T(test_dropped_and_floor),
        T(test_count_at_its_end),
        T(test_racy),
        T(test_damage),
        T(test_rehash),
        T(test_rehash_of_what_is_not_whole),
        T(test_rehash_of_intents),
        T(test_rehash_of_what_moved),
        T(test_verified),
        T(test_scrub_parts),
        T(test_scrub_finds_damage),
        T(test_damaged_intent),
        T(test_rate),
        T(test_kind_changes),
        T(test_renamed_directory),
        T(test_intent_seen_through),
        T(test_intent_not_seen_through),
        T(test_intent_of_a_record),
        T(test_intent_for_what_is_not_there),
        T(test_special_files),
        T(test_our_own_names),
        T(test_filters),
        T(test_unreadable),
        T(test_unsearchable),
        T(test_unknown_stays_hidden),
        T(test_mount_point),
        T(test_odd_names),
        T(test_deep),
        T(test_too_deep),
        T(test_many),
        T(test_large),
        T(test_stop),
        T(test_shrinks_while_read),
        T(test_vanishes_while_read),
        T(test_changes_while_read),
        T(test_swapped_for_a_symlink),
        T(test_no_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
