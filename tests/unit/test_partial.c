/* Large objects by stream: what is kept when the rest does not come, how a next run goes on, and bases. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/path.h"
#include "object/manifest.h"
#include "store/partial.h"
#include "store/store.h"
#include "killed.h"
#include "scratch.h"

#define OLD 1000000000 /* an mtime long ago */
#define MIB ((size_t)1 << 20)
#define SIZE (4 * MIB + 12345)
#define DAY 86400

/* ---- what a file system may lack, and the time: these stand in front of the library's ---- */

static const struct store_rules no_rules = {.emptied = true, .tombstones = 400 * 86400, .trash = 7 * 86400};

static struct lacks {
    bool exchange, noreplace, link;
    bool across; /* nothing can be renamed or linked from one directory to another */
    time_t later;
} lacks;

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if ((lacks.exchange && flags & RENAME_EXCHANGE) || (lacks.noreplace && flags & RENAME_NOREPLACE)) {
        errno = EINVAL;
        return -1;
    }
    /* partials are recognised by their names */
    if (lacks.across && strlen(from) > 32 && from[32] == '.') {
        errno = EXDEV;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    if (lacks.link) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);
    if (id == CLOCK_REALTIME)
        ts->tv_sec += lacks.later;
    return rc;
}

/* ---- a small world ---- */

struct heard {
    char dir[256], root[300], state_dir[310];
    struct store *s;
    struct store_info info;
    struct store_scan scan;
    uint64_t given, next;
    int code[16];
    char text[16][200];
};

static uint8_t *content; /* SIZE bytes */

static int begin(void **state)
{
    struct heard *h = calloc(1, sizeof *h);
    if (scratch_make(h->dir, sizeof h->dir, "sos-partial") < 0)
        return -1;
    snprintf(h->root, sizeof h->root, "%s/store", h->dir);
    mkdir(h->root, 0755);
    content = malloc(SIZE);
    uint32_t x = 1;
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    lacks = (struct lacks){0};
    *state = h;
    return 0;
}

static int end(void **state)
{
    struct heard *h = *state;
    scratch_remove(h->dir);
    free(h);
    free(content);
    lacks = (struct lacks){0};
    return 0;
}

static const char *in(const struct heard *h, const char *path)
{
    static char out[4][600];
    static int n;
    n = (n + 1) % 4;
    snprintf(out[n], sizeof out[n], "%s/%s", h->root, path);
    return out[n];
}

static void write_file(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static struct stat stat_of(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        fail_msg("%s is missing", path);
    return st;
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static bool holds(const char *path, const void *p, size_t n)
{
    uint8_t *got = malloc(n + 1);
    int fd = open(path, O_RDONLY);
    size_t have = 0;
    for (ssize_t k; fd >= 0 && have <= n && (k = read(fd, got + have, n + 1 - have)) > 0;)
        have += (size_t)k;
    bool same = fd >= 0 && have == n && memcmp(got, p, n) == 0;
    if (fd >= 0)
        close(fd);
    free(got);
    return same;
}

/* ---- the store ---- */

static int on_progress(void *ctx, uint64_t objects, uint64_t bytes)
{
    (void)ctx, (void)objects, (void)bytes;
    return 0;
}

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    (void)ctx, (void)error, (void)path, (void)message;
}

static void on_done(void *ctx, uint64_t seq, int code, const char *message)
{
    struct heard *h = ctx;
    assert_int_equal(seq, h->next++);
    h->code[seq] = code;
    snprintf(h->text[seq], sizeof h->text[seq], "%s", message ? message : "");
}

static void open_how(struct heard *h, bool dry_run)
{
    struct err e = {0};
    struct store_options o = {.root = h->root, .fsync = STORE_FSYNC_NONE, .threads = 1, .dry_run = dry_run, .rules = no_rules,
                              .state_dir = h->state_dir[0] ? h->state_dir : NULL,
                              .watch = {h, on_progress, on_problem, on_done, NULL}};
    h->given = h->next = 0;
    h->s = store_dir_new(&o);
    if (h->s->ops->inspect(h->s, &h->info, &e) < 0 ||
        h->s->ops->scan(h->s, &h->info.id, "g", &h->scan, &e) < 0)
        fail_msg("%s", e.msg);
}

static void open_store(struct heard *h)
{
    open_how(h, false);
}

static void flush(struct heard *h)
{
    struct err e = {0};
    if (h->s->ops->flush(h->s, &e) < 0)
        fail_msg("flush: %s", e.msg);
    assert_int_equal(h->next, h->given);
}

static void shut(struct heard *h)
{
    h->s->ops->close(h->s);
    store_info_free(&h->info);
}

static void commit_and_shut(struct heard *h)
{
    struct err e = {0};
    if (h->s->ops->commit(h->s, NULL, 0, &e) < 0)
        fail_msg("commit: %s", e.msg);
    shut(h);
}

static struct entry entry_of(const char *path, const void *p, size_t n)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0640, .size = n,
                      .mtime = {OLD, 123}, .digest = digest_of(p, n), .origin = {{7}}, .first_seen = OLD};
    assert_int_equal(version_set(&e.version, &e.origin, 1), 0);
    return e;
}

static struct entry wanted(const char *path)
{
    return entry_of(path, content, SIZE);
}

static const char *name_of(const struct heard *h, const struct entry *e)
{
    char hex[DIGEST_HEX_MAX + 1], name[100];
    snprintf(name, sizeof name, ".sos-sync/partial/%s.%" PRIu64, digest_hex(hex, &e->digest), e->size);
    return in(h, name);
}

/* A stream: keep bytes are kept, then those from there to to come; failed is why there are no more. */
static void stream(struct heard *h, const struct entry *e, uint64_t keep, size_t to, const char *failed)
{
    struct err err = {0};
    struct store_op op = {.seq = h->given++, .how = STORE_CONTENT, .from = STORE_FROM_STREAM, .from_root = -1,
                          .entry = e};
    assert_int_equal(h->s->ops->put_begin(h->s, &op, &err), 0);
    if (keep)
        assert_int_equal(h->s->ops->put_keep(h->s, keep, &err), 0);
    for (size_t at = (size_t)keep; at < to;) {
        size_t n = to - at < MIB ? to - at : MIB;
        assert_int_equal(h->s->ops->put_data(h->s, content + at, n, &err), 0);
        at += n;
    }
    assert_int_equal(h->s->ops->put_end(h->s, failed, &err), 0);
}

/* A run that is cut short after n bytes. */
static void cut_run(struct heard *h, const char *path, size_t n)
{
    struct entry e = wanted(path);
    open_store(h);
    stream(h, &e, 0, n, "the source died");
    flush(h);
    assert_int_equal(h->code[0], ERR_CHANGED);
    commit_and_shut(h);
}

/* What the store says it has of it; 0: nothing. */
static uint64_t part_of(struct heard *h, const struct entry *e)
{
    struct err err = {0};
    uint8_t have;
    uint64_t size = 0;
    int fd;
    assert_int_equal(h->s->ops->have(h->s, &e->digest, 1, &have, &err), 0);
    int rc = h->s->ops->partial(h->s, e, &fd, &size, &err);
    assert_true(rc == 0 || rc == 1);
    if (rc == 0)
        return 0;
    assert_int_equal(have, STORE_HAVE_PART);
    assert_int_equal(h->scan.partials, 1);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_true(write(fd, "x", 1) < 0);
    close(fd);
    return size;
}

static void assert_placed(struct heard *h, const char *path)
{
    struct stat st = stat_of(in(h, path));
    assert_true(holds(in(h, path), content, SIZE));
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_mtim.tv_sec, OLD);
    assert_int_equal(st.st_nlink, 1);
}

/* ---- tests ---- */

static void goes_on(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("f");
    cut_run(h, "f", 3 * MIB);
    assert_int_equal(stat_of(name_of(h, &e)).st_mode & 07777, 0600);
    assert_int_equal(stat_of(in(h, ".sos-sync/partial")).st_mode & 07777, 0700);
    assert_false(exists(in(h, "f")));
    open_store(h);
    assert_int_equal(h->scan.totals.entries, 0);
    assert_int_equal(part_of(h, &e), 3 * MIB);
    stream(h, &e, 3 * MIB - 100, SIZE, NULL); /* not all of it need be used */
    flush(h);
    assert_int_equal(h->code[0], 0);
    assert_placed(h, "f");
    assert_int_equal(part_of(h, &e), 0);
    commit_and_shut(h);
    assert_false(exists(in(h, ".sos-sync/partial")));
    open_store(h);
    assert_false(h->scan.changed);
    assert_int_equal(h->scan.hashed, 0);
    assert_int_equal(h->scan.partials, 0);
    shut(h);
}

/* A session that ends in mid-stream, and then one whose bytes are not worth being kept; more and more of it comes. */
static void sessions_end(void **state)
{
    struct heard *h = *state;
    struct err err = {0};
    struct entry e = wanted("f"), s = entry_of("small", content, 2 * MIB);
    static const size_t sent[] = {MIB - 1, MIB, SIZE, 0};
    static const size_t left[] = {0, MIB, SIZE, SIZE};
    for (size_t i = 0; i < 4; i++) {
        struct store_op op = {.how = STORE_CONTENT, .from = STORE_FROM_STREAM, .from_root = -1, .entry = &e};
        open_store(h);
        assert_int_equal(h->s->ops->put_begin(h->s, &op, &err), 0);
        assert_int_equal(h->s->ops->put_data(h->s, content, sent[i], &err), 0);
        shut(h);
        open_store(h);
        assert_int_equal(part_of(h, &e), left[i]);
        shut(h);
    }
    open_store(h);
    stream(h, &s, 0, 2 * MIB - 1, "gone");
    stream(h, &e, SIZE, SIZE, NULL); /* nothing is missing any more */
    flush(h);
    assert_int_equal(h->code[1], 0);
    assert_placed(h, "f");
    shut(h);
    assert_false(exists(name_of(h, &s)));
}

/* Where nothing came, what an earlier run left stays; where other bytes come, it goes. */
static void begun_anew(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("f");
    cut_run(h, "f", 3 * MIB);
    open_store(h);
    stream(h, &e, 0, 0, "not today");
    commit_and_shut(h);
    open_store(h);
    stream(h, &e, 0, 0, NULL);
    commit_and_shut(h);
    open_store(h);
    stream(h, &e, 3 * MIB, 3 * MIB, "not yet");
    commit_and_shut(h);
    open_store(h);
    stream(h, &e, 3 * MIB + 1, SIZE, NULL); /* more than there is */
    flush(h);
    assert_int_equal(h->code[0], ERR_CHANGED);
    commit_and_shut(h);
    open_store(h);
    assert_int_equal(part_of(h, &e), 3 * MIB);
    stream(h, &e, 0, 2 * MIB, "died again");
    commit_and_shut(h);
    open_store(h);
    assert_int_equal(part_of(h, &e), 2 * MIB);
    stream(h, &e, 0, SIZE, NULL);
    flush(h);
    assert_int_equal(h->code[0], 0);
    assert_placed(h, "f");
    commit_and_shut(h);
}

static void wrong_ones_go(void **state)
{
    struct heard *h = *state;
    struct err err = {0};
    struct entry e = wanted("f");
    cut_run(h, "f", 3 * MIB);
    int fd = open(name_of(h, &e), O_WRONLY);
    assert_int_equal(pwrite(fd, "damage", 6, 1000), 6);
    close(fd);
    open_store(h);
    stream(h, &e, 3 * MIB, SIZE, NULL);
    flush(h);
    assert_int_equal(h->code[0], ERR_DAMAGED);
    assert_false(exists(in(h, "f")));
    assert_false(exists(name_of(h, &e)));
    shut(h);
    /* Content that is longer than it should be. */
    struct store_op op = {.how = STORE_CONTENT, .from = STORE_FROM_STREAM, .from_root = -1, .entry = &e};
    open_store(h);
    h->given++;
    assert_int_equal(h->s->ops->put_begin(h->s, &op, &err), 0);
    assert_int_equal(h->s->ops->put_data(h->s, content, SIZE, &err), 0);
    assert_int_equal(h->s->ops->put_data(h->s, "!", 1, &err), 0);
    assert_false(exists(name_of(h, &e)));
    assert_int_equal(h->s->ops->put_end(h->s, NULL, &err), 0);
    flush(h);
    assert_int_equal(h->code[0], ERR_CHANGED);
    shut(h);
    /* Of what is not large nothing was left, whoever claims it. */
    struct entry s = entry_of("s", content, 1000);
    open_store(h);
    stream(h, &s, 10, 1000, NULL);
    flush(h);
    assert_int_equal(h->code[0], ERR_CHANGED);
    shut(h);
}

/* D2 to D4: what stands under the partial's name is not what we left. */
static void planted(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("f");
    char victim[300];
    snprintf(victim, sizeof victim, "%s/victim", h->dir);
    for (int i = 0; i < 5; i++) {
        cut_run(h, "f", 3 * MIB);
        const char *name = name_of(h, &e);
        write_file(victim, content, 2 * MIB);
        if (i != 4)
            assert_int_equal(unlink(name), 0);
        switch (i) {
        case 0: assert_int_equal(symlink(victim, name), 0); break;
        case 1: assert_int_equal(link(victim, name), 0); break;
        case 2: assert_int_equal(mkfifo(name, 0600), 0); break;
        case 3: assert_int_equal(mkdir(name, 0700), 0); break;
        case 4: assert_int_equal(truncate(name, SIZE + 1), 0); break;
        }
        open_store(h);
        assert_int_equal(h->scan.partials, 0);
        assert_int_equal(part_of(h, &e), 0);
        stream(h, &e, 0, SIZE, NULL);
        flush(h);
        assert_int_equal(h->code[0], 0);
        assert_placed(h, "f");
        assert_true(holds(victim, content, 2 * MIB));
        commit_and_shut(h);
        assert_int_equal(exists(name_of(h, &e)), i == 3);
        if (i == 3)
            assert_int_equal(rmdir(name_of(h, &e)), 0);
        unlink(in(h, "f"));
        unlink(victim);
    }
    /* The directory itself. */
    char other[300];
    snprintf(other, sizeof other, "%s/other", h->dir);
    assert_int_equal(mkdir(other, 0700), 0);
    rmdir(in(h, ".sos-sync/partial"));
    assert_int_equal(symlink(other, in(h, ".sos-sync/partial")), 0);
    cut_run(h, "f", 3 * MIB);
    assert_int_equal(rmdir(other), 0); /* it is empty */
    open_store(h);
    stream(h, &e, 0, SIZE, NULL);
    flush(h);
    assert_placed(h, "f");
    commit_and_shut(h);
}

/* One content under several names: each gets all of it, whichever has the partial. */
static void same_content_twice(void **state)
{
    struct heard *h = *state;
    struct entry a = wanted("a"), b = wanted("b"), c = wanted("c");
    cut_run(h, "a", 3 * MIB);
    open_store(h);
    assert_int_equal(part_of(h, &a), 3 * MIB);
    stream(h, &a, 3 * MIB, SIZE, NULL);
    stream(h, &b, 3 * MIB, SIZE, NULL);
    flush(h);
    stream(h, &c, 3 * MIB, SIZE, NULL);
    flush(h);
    for (int i = 0; i < 3; i++)
        if (h->code[i])
            fail_msg("%d: %s", i, h->text[i]);
    commit_and_shut(h);
    assert_placed(h, "a");
    assert_placed(h, "b");
    assert_placed(h, "c");
    assert_int_not_equal(stat_of(in(h, "a")).st_ino, stat_of(in(h, "b")).st_ino);
    /* Also when all of it comes. */
    unlink(in(h, "a"));
    unlink(in(h, "b"));
    unlink(in(h, "c"));
    open_store(h);
    stream(h, &a, 0, SIZE, NULL);
    stream(h, &b, 0, SIZE, NULL);
    stream(h, &c, 0, 3 * MIB, "gone");
    flush(h);
    commit_and_shut(h);
    assert_placed(h, "a");
    assert_placed(h, "b");
    assert_false(exists(in(h, ".sos-sync/partial")));
}

static void full_disk(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("f");
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 2 * MIB;
    open_store(h);
    setrlimit(RLIMIT_FSIZE, &small);
    stream(h, &e, 0, 3 * MIB, NULL);
    assert_false(exists(name_of(h, &e)));
    stream(h, &e, 0, 3 * MIB, "and it was cut");
    setrlimit(RLIMIT_FSIZE, &old);
    flush(h);
    assert_int_equal(h->code[0], ERR_SYS);
    assert_false(exists(name_of(h, &e)));
    commit_and_shut(h);
}

static void sweeps(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("f"), g = entry_of("g", "hello", 5);
    cut_run(h, "f", 3 * MIB);
    /* A dry run, and a run that is not committed, leave all as it is. */
    lacks.later = (PARTIAL_DAYS + 1) * DAY;
    struct stat before = stat_of(in(h, ".sos-sync/partial")), st = stat_of(name_of(h, &e));
    open_how(h, true);
    assert_int_equal(part_of(h, &e), 3 * MIB);
    shut(h);
    open_store(h);
    shut(h);
    assert_int_equal(stat_of(name_of(h, &e)).st_ctim.tv_nsec, st.st_ctim.tv_nsec);
    assert_int_equal(stat_of(in(h, ".sos-sync/partial")).st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    lacks.later = (PARTIAL_DAYS - 1) * DAY;
    open_store(h);
    commit_and_shut(h);
    assert_true(exists(name_of(h, &e)));
    lacks.later = (PARTIAL_DAYS + 1) * DAY;
    open_store(h);
    commit_and_shut(h);
    assert_false(exists(in(h, ".sos-sync/partial")));
    lacks.later = 0;
    /* Content that came another way, and names that are not ours. */
    cut_run(h, "f", 3 * MIB);
    write_file(in(h, ".sos-sync/partial/notes"), "keep", 4);
    write_file(in(h, "elsewhere"), content, SIZE);
    open_store(h);
    stream(h, &g, 0, 0, "no");
    assert_int_equal(part_of(h, &g), 0);
    commit_and_shut(h);
    assert_false(exists(name_of(h, &e)));
    assert_true(exists(in(h, ".sos-sync/partial/notes")));
    unlink(in(h, ".sos-sync/partial/notes"));
}

/* D3: replaced objects go to the trash; what was not seen is not overwritten, and the partial waits for the next run. */
static void replaces(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("f");
    write_file(in(h, "f"), "old", 3);
    open_store(h);
    write_file(in(h, "f"), "edit", 4);
    stream(h, &e, 0, SIZE, NULL); /* seen before a byte is taken */
    flush(h);
    assert_int_equal(h->code[0], ERR_CHANGED);
    assert_false(exists(name_of(h, &e)));
    commit_and_shut(h);
    open_store(h);
    stream(h, &e, 0, SIZE, NULL);
    write_file(in(h, "f"), "edit in mid-run", 15);
    flush(h);
    assert_int_equal(h->code[0], ERR_CHANGED);
    assert_true(holds(in(h, "f"), "edit in mid-run", 15));
    commit_and_shut(h);
    open_store(h);
    assert_int_equal(part_of(h, &e), SIZE);
    stream(h, &e, SIZE, SIZE, NULL);
    flush(h);
    assert_int_equal(h->code[0], 0);
    assert_placed(h, "f");
    commit_and_shut(h);
    open_store(h);
    assert_false(h->scan.changed);
    shut(h);
}

/* Appears after the scan where nothing was. */
static void does_not_overwrite(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("f");
    open_store(h);
    stream(h, &e, 0, SIZE, NULL);
    write_file(in(h, "f"), "mine", 4);
    flush(h);
    assert_int_equal(h->code[0], ERR_CHANGED);
    assert_true(holds(in(h, "f"), "mine", 4));
    commit_and_shut(h);
}

static void poor_file_systems(void **state)
{
    struct heard *h = *state;
    static const struct lacks poor[] = {
        {.across = true},
        {.exchange = true},
        {.exchange = true, .noreplace = true},
        {.exchange = true, .noreplace = true, .link = true},
    };
    struct entry e = wanted("f"), n = wanted("n");
    for (size_t i = 0; i < sizeof poor / sizeof *poor; i++) {
        lacks = poor[i];
        goes_on(state);
        unlink(in(h, "f"));
        replaces(state);
        write_file(in(h, "f"), "old", 3);
        open_store(h);
        stream(h, &e, 0, SIZE, NULL);
        flush(h);
        stream(h, &n, 0, SIZE, NULL);
        flush(h);
        if (h->code[0] | h->code[1])
            fail_msg("%d: %s, %s", (int)i, h->text[0], h->text[1]);
        assert_placed(h, "f");
        assert_placed(h, "n");
        commit_and_shut(h);
        open_store(h);
        assert_false(h->scan.changed);
        assert_int_equal(h->scan.hashed, 0);
        shut(h);
        unlink(in(h, "f"));
        unlink(in(h, "n"));
        open_store(h);
        commit_and_shut(h);
    }
}

/* A state directory in the root is not listed, and nobody's object is put into it. */
static void given_state_directory(void **state)
{
    struct heard *h = *state;
    snprintf(h->state_dir, sizeof h->state_dir, "%s/meta", h->root);
    struct entry e = wanted("f");
    cut_run(h, "f", 3 * MIB);
    assert_false(exists(in(h, ".sos-sync")));
    open_store(h);
    assert_int_equal(h->scan.totals.entries, 0);
    assert_int_equal(part_of(h, &e), 3 * MIB);
    stream(h, &e, 3 * MIB, SIZE, NULL);
    flush(h);
    assert_int_equal(h->code[0], 0);
    assert_placed(h, "f");
    commit_and_shut(h);
}

/* What is made in the state directory must look as if it had been made in its own. */
static void inherits(void **state)
{
    struct heard *h = *state;
    struct entry e = wanted("d/f");
    /* A default ACL: version 2, then tag, permissions, id: owner, a user, group, mask, other. */
    static const uint8_t acl[] = {2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 1, 2, 0, 0, 4, 0, 5, 0, 255, 255,
                                  255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255};
    mkdir(in(h, "d"), 0755);
    if (geteuid() == 0) {
        assert_int_equal(chown(in(h, "d"), 0, 4321), 0);
        assert_int_equal(chmod(in(h, "d"), 02755), 0);
    }
    open_store(h);
    stream(h, &e, 0, SIZE, NULL);
    assert_true(exists(name_of(h, &e)));
    flush(h);
    assert_placed(h, "d/f");
    assert_int_equal(stat_of(in(h, "d/f")).st_gid, geteuid() == 0 ? 4321 : getegid());
    commit_and_shut(h);
    unlink(in(h, "d/f"));
    if (setxattr(in(h, "d"), "system.posix_acl_default", acl, sizeof acl, 0) < 0)
        return; /* not on this file system */
    open_store(h);
    stream(h, &e, 0, SIZE, NULL);
    assert_false(exists(name_of(h, &e)));
    flush(h);
    assert_true(holds(in(h, "d/f"), content, SIZE));
    assert_true(getxattr(in(h, "d/f"), "system.posix_acl_access", NULL, 0) > 0);
    commit_and_shut(h);
}

static void bases(void **state)
{
    struct heard *h = *state;
    struct err err = {0};
    struct entry e = wanted("f"), same = entry_of("f", "an old version", 14);
    uint64_t size;
    int fd;
    write_file(in(h, "f"), "an old version", 14);
    write_file(in(h, "empty"), "", 0);
    mkdir(in(h, "d"), 0755);
    assert_int_equal(symlink("f", in(h, "link")), 0);
    open_store(h);
    assert_int_equal(h->s->ops->basis(h->s, &e, &fd, &size, &err), 1);
    char got[32];
    assert_int_equal(size, 14);
    assert_int_equal(read(fd, got, sizeof got), 14);
    assert_true(write(fd, "x", 1) < 0);
    close(fd);
    assert_int_equal(h->s->ops->basis(h->s, &same, &fd, &size, &err), 0);
    static const char *const none[] = {"empty", "d", "link", "no", "d/no", "no/no"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct entry x = wanted(none[i]);
        if (h->s->ops->basis(h->s, &x, &fd, &size, &err) != 0)
            fail_msg("%s", none[i]);
    }
    struct entry evil = wanted("../secret");
    assert_int_equal(h->s->ops->basis(h->s, &evil, &fd, &size, &err), ERR_FORMAT);
    write_file(in(h, "f"), "another length", 14); /* not as the scan saw it */
    assert_int_equal(h->s->ops->basis(h->s, &e, &fd, &size, &err), 0);
    unlink(in(h, "f"));
    assert_int_equal(h->s->ops->basis(h->s, &e, &fd, &size, &err), 0);
    assert_int_equal(symlink("/etc/passwd", in(h, "f")), 0);
    assert_int_equal(h->s->ops->basis(h->s, &e, &fd, &size, &err), 0);
    shut(h);
}

static void names(void **state)
{
    struct digest d;
    uint64_t size;
    (void)state;
    assert_true(partial_parse("000102030405060708090a0b0c0d0eff.4194304", &d, &size));
    assert_int_equal(size, 4194304);
    assert_int_equal(d.b[15], 0xff);
    assert_int_equal(d.algo, DIGEST_XXH3_128);
    assert_true(partial_parse("000102030405060708090a0b0c0d0eff000102030405060708090a0b0c0d0efe.4194304", &d, &size));
    assert_int_equal(d.b[31], 0xfe);
    assert_int_equal(d.algo, DIGEST_SHA256);
    assert_false(partial_parse("000102030405060708090a0b0c0d0eff000102030405060708090a0b0c0d0e.4194304", &d, &size));
    assert_false(partial_parse("000102030405060708090a0b0c0d0eff000102030405060708090a0b0c0d0efe00.1", &d, &size));
    assert_true(partial_parse("000102030405060708090a0b0c0d0eff.9223372036854775807", &d, &size));
    static const char *const bad[] = {"", ".", "..", "00", "000102030405060708090a0b0c0d0eff",
                                      "000102030405060708090a0b0c0d0eff.", "000102030405060708090a0b0c0d0eff.0",
                                      "000102030405060708090a0b0c0d0eff.01", "000102030405060708090a0b0c0d0eff.1x",
                                      "000102030405060708090A0b0c0d0eff.1", "000102030405060708090a0b0c0d0ef.11",
                                      "000102030405060708090a0b0c0d0eff.9223372036854775808",
                                      "000102030405060708090a0b0c0d0eff.-1",
                                      "000102030405060708090a0b0c0d0eff.99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (partial_parse(bad[i], &d, &size))
            fail_msg("%s", bad[i]);
}

/* ---- killed ---- */

/* Goes on with what there is: whatever a killed run left must do. */
static void put_what_is_missing(struct heard *h, const char *path)
{
    struct err err = {0};
    struct entry e = wanted(path);
    uint64_t part = 0;
    int fd;
    if (exists(in(h, path)) && stat_of(in(h, path)).st_size == (off_t)SIZE)
        return;
    if (h->s->ops->partial(h->s, &e, &fd, &part, &err) == 1)
        close(fd);
    stream(h, &e, part, SIZE, NULL);
}

static void killed_run(void *ctx)
{
    struct heard *h = ctx;
    open_store(h);
    put_what_is_missing(h, "new");
    put_what_is_missing(h, "old");
    flush(h);
    commit_and_shut(h);
}

static bool left_in_view(const struct heard *h)
{
    char command[700];
    snprintf(command, sizeof command, "test -n \"$(find '%s' -name '.sos-sync.*' ! -path '*/trash/*')\"", h->root);
    return system(command) == 0;
}

static void assert_sound(struct heard *h)
{
    open_store(h);
    assert_int_equal(h->scan.problems, 0);
    bool placed = stat_of(in(h, "old")).st_size != 11;
    assert_true(placed ? holds(in(h, "old"), content, SIZE) : holds(in(h, "old"), "old content", 11));
    if (exists(in(h, "new")))
        assert_true(holds(in(h, "new"), content, SIZE));
    struct manifest_head head;
    struct err err = {0};
    const struct entry *at;
    struct manifest_reader *r = manifest_reader_new(h->s->ops->manifest(h->s), &head, &err);
    while (manifest_reader_next(r, &at, &err) > 0) /* nothing was taken for a local edit */
        assert_int_equal(version_count(&at->version, &h->info.id), 0);
    manifest_reader_free(r);
    assert_false(left_in_view(h));
    put_what_is_missing(h, "new");
    put_what_is_missing(h, "old");
    flush(h);
    for (uint64_t i = 0; i < h->given; i++)
        if (h->code[i])
            fail_msg("%s", h->text[i]);
    commit_and_shut(h);
    assert_placed(h, "new");
    assert_placed(h, "old");
    assert_false(exists(in(h, ".sos-sync/partial")));
}

static void kill_sweep(void **state, int from, int stride)
{
    struct heard *h = *state;
    struct entry e = wanted("new"), old = entry_of("old", "old content", 11);
    struct lacks how = lacks;
    uint8_t *keep = content;
    bool more = true;
    for (int n = from; more; n += stride) {
        open_store(h);
        content = (uint8_t *)(uintptr_t)"old content";
        stream(h, &old, 0, 11, NULL);
        flush(h);
        content = keep;
        commit_and_shut(h);
        /* Of new a part is there already. */
        mkdir(in(h, ".sos-sync/partial"), 0700);
        write_file(name_of(h, &e), content, 2 * MIB);
        more = killed_after(killed_run, h, n);
        assert_sound(h);
        scratch_remove(h->root);
        mkdir(h->root, 0755);
        lacks = how;
    }
}

static void killed_anywhere(void **state)
{
    kill_sweep(state, 1, 1);
}

static void killed_on_poor_file_systems(void **state)
{
    static const struct lacks poor[] = {
        {.across = true}, {.exchange = true}, {.exchange = true, .noreplace = true},
    };
    for (size_t i = 0; i < sizeof poor / sizeof *poor; i++) {
        lacks = poor[i];
        kill_sweep(state, 1, 9);
    }
}

int main(void)
{
#define IN_WORLD(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        IN_WORLD(goes_on),            IN_WORLD(sessions_end),      IN_WORLD(begun_anew),
        IN_WORLD(wrong_ones_go),      IN_WORLD(planted),           IN_WORLD(same_content_twice),
        IN_WORLD(full_disk),          IN_WORLD(sweeps),            IN_WORLD(replaces),
        IN_WORLD(does_not_overwrite), IN_WORLD(poor_file_systems), IN_WORLD(given_state_directory),
        IN_WORLD(inherits),           IN_WORLD(bases),             cmocka_unit_test(names),
        IN_WORLD(killed_anywhere),    IN_WORLD(killed_on_poor_file_systems),
    };
    return cmocka_run_group_tests_name("partial", tests, NULL, NULL);
}
