#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "object/manifest.h"

/* ---- a small world to write ---- */

static struct uuid member(unsigned id)
{
    struct uuid u = {{0}};
    for (size_t i = 0; i < sizeof u.b; i++)
        u.b[i] = (uint8_t)(id * 16 + i);
    return u;
}

static const struct manifest_head head = {
    .algo = DIGEST_XXH3_128, .floor = 77, .scanned = {1700000000, 123456789},
    .store = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
};

static struct entry entry_of(const char *path, enum entry_kind kind)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = kind, .first_seen = 1600000000};
    e.mode = kind == ENTRY_DIR ? 0755 : kind == ENTRY_LINK ? 0777 : 0644;
    if (kind != ENTRY_DIR) {
        e.size = 1000 + e.path_len;
        e.mtime = (struct stamp){1650000000, 250000000};
        e.digest = digest_of(path, e.path_len);
    }
    e.origin = member(1);
    e.place = (struct entry_place){.dev = 2049, .ino = 4711, .ctime = {1650000001, 7}};
    version_set(&e.version, &e.origin, 3);
    return e;
}

#define SMALL 9

/* Every kind and flag, repeats and changes of all that may repeat, limits of the numbers. */
static void small_world(struct entry e[SMALL])
{
    struct uuid one = member(1), two = member(2), three = member(3);
    e[0] = entry_of("docs", ENTRY_DIR);
    e[1] = entry_of("docs/a.txt", ENTRY_FILE);
    e[2] = entry_of("docs/a.txt.bak", ENTRY_FILE);
    e[2].flags = ENTRY_HIDDEN;
    version_set(&e[2].version, &two, 200);
    e[3] = entry_of("docs/b", ENTRY_LINK);
    e[3].place.racy = true;
    version_set(&e[3].version, &two, 200);
    e[4] = entry_of("docs/sub", ENTRY_DIR);
    e[4].flags = ENTRY_HIDDEN;
    e[4].version.n = 0;
    e[5] = entry_of("docs/sub/x\n\xff", ENTRY_FILE);
    e[5].size = INT64_MAX;
    e[5].mtime = (struct stamp){-ENTRY_TIME_MAX, 999999999};
    e[5].origin = three;
    e[6] = entry_of("docs.old", ENTRY_FILE);
    e[6].flags = ENTRY_DAMAGED;
    e[6].size = 0;
    e[6].mode = 0;
    e[6].place = (struct entry_place){0};
    version_set(&e[6].version, &three, UINT64_MAX);
    version_set(&e[6].version, &one, 0);
    e[7] = entry_of("empty", ENTRY_DIR);
    e[7].mode = 0700;
    e[7].origin = (struct uuid){{0}};
    e[7].first_seen = -1;
    e[8] = entry_of("z", ENTRY_FILE);
    e[8].flags = ENTRY_UNKNOWN;
    e[8].place.dev = UINT64_MAX;
    e[8].place.ino = UINT64_MAX;
}

static void same_entry(const struct entry *a, const struct entry *b, bool with_place)
{
    assert_int_equal(a->path_len, b->path_len);
    assert_memory_equal(a->path, b->path, a->path_len);
    assert_int_equal(strlen(a->path), a->path_len);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->size, b->size);
    assert_int_equal(clock_cmp(a->mtime, b->mtime), 0);
    assert_true(digest_same(&a->digest, &b->digest));
    assert_true(entry_same_record(a, b));
    assert_true(holders_same(&a->holders, &b->holders));
    struct entry_place none = {0}, p = with_place ? b->place : none;
    assert_int_equal(a->place.dev, p.dev);
    assert_int_equal(a->place.ino, p.ino);
    assert_int_equal(clock_cmp(a->place.ctime, p.ctime), 0);
    assert_int_equal(a->place.racy, p.racy);
    assert_int_equal(a->place.verified, p.verified);
}

static int memory_file(const void *p, size_t n)
{
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(file_write(fd, p, n), 0);
    return fd;
}

static int write_all(const struct entry *e, size_t n, struct manifest_totals *totals)
{
    struct err err = {0};
    int fd = memory_file("", 0);
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(manifest_writer_put(w, &e[i], &err), 0);
    assert_int_equal(manifest_writer_end(w, totals, &err), 0);
    manifest_writer_free(w);
    return fd;
}

/* Reads to the end: the count of entries, or the error. */
static int read_all(int fd, struct err *err)
{
    struct manifest_head h;
    const struct entry *e;
    int n = 0, rc;
    struct manifest_reader *r = manifest_reader_new(fd, &h, err);
    if (!r)
        return err->code;
    while ((rc = manifest_reader_next(r, &e, err)) > 0)
        n++;
    struct err again;
    assert_int_equal(manifest_reader_next(r, &e, &again), rc < 0 ? ERR_FORMAT : 0); /* it stays so */
    manifest_reader_free(r);
    return rc < 0 ? rc : n;
}

static int read_raw(int fd, struct err *err)
{
    struct manifest_head h;
    struct manifest_totals t;
    const void *p;
    size_t len;
    int n = 0, rc;
    struct manifest_reader *r = manifest_reader_new(fd, &h, err);
    if (!r)
        return err->code;
    while ((rc = manifest_reader_raw(r, &p, &len, &t, err)) > 0)
        n++;
    manifest_reader_free(r);
    return rc < 0 ? rc : n;
}

static char *bytes_of(int fd, size_t *len)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *p = malloc((size_t)size + 1);
    assert_int_equal(file_pread(fd, p, (size_t)size, 0), size);
    *len = (size_t)size;
    return p;
}

/* ---- what is written is read ---- */

static void written_and_read(void **state)
{
    (void)state;
    static struct entry world[SMALL];
    small_world(world);
    struct manifest_totals t, only;
    struct manifest_head h;
    struct err err = {0};
    int fd = write_all(world, SMALL, &t);
    assert_int_equal(t.entries, SMALL);
    assert_int_equal(t.objects, 5);
    assert_int_equal(t.dirs, 2);
    assert_int_equal(t.bytes, (uint64_t)INT64_MAX + world[1].size + world[8].size);

    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    assert_non_null(r);
    assert_int_equal(h.algo, head.algo);
    assert_true(uuid_same(&h.store, &head.store));
    assert_int_equal(h.floor, 77);
    assert_int_equal(clock_cmp(h.scanned, head.scanned), 0);
    const struct entry *e;
    for (size_t i = 0; i < SMALL; i++) {
        assert_int_equal(manifest_reader_next(r, &e, &err), 1);
        same_entry(e, &world[i], true);
        assert_int_equal(manifest_reader_block(r), 60);
    }
    assert_int_equal(manifest_reader_next(r, &e, &err), 0);
    assert_int_equal(manifest_reader_next(r, &e, &err), 0);
    manifest_reader_free(r);
    assert_int_equal(manifest_file_totals(fd, &only, &err), 0);
    assert_memory_equal(&only, &t, sizeof t);
    close(fd);
}

static void empty_manifest(void **state)
{
    (void)state;
    struct err err = {0};
    struct manifest_totals t;
    int fd = write_all(NULL, 0, &t);
    assert_int_equal(lseek(fd, 0, SEEK_END), 60 + 65);
    assert_int_equal(t.entries + t.objects + t.dirs + t.bytes, 0);
    assert_int_equal(read_all(fd, &err), 0);
    assert_int_equal(read_raw(fd, &err), 0);
    close(fd);
}

/* The large world: a directory of directories, made up as it is asked for. */
static struct entry *large_entry(unsigned i)
{
    static struct entry e;
    static char path[64];
    if (i % 50 == 0)
        snprintf(path, sizeof path, "dir-%06u", i / 50);
    else
        snprintf(path, sizeof path, "dir-%06u/file-%02u", i / 50, i % 50);
    e = entry_of(path, i % 50 ? ENTRY_FILE : ENTRY_DIR);
    struct uuid who = member(1 + i / 1000 % 7);
    version_set(&e.version, &who, 1 + i / 300);
    e.place.ino = i;
    return &e;
}

static int write_large(unsigned n, uint64_t place_change)
{
    struct err err = {0};
    int fd = memory_file("", 0);
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (unsigned i = 0; i < n; i++) {
        struct entry *e = large_entry(i);
        e->place.dev += place_change;
        e->place.ctime.sec += (int64_t)place_change;
        assert_int_equal(manifest_writer_put(w, e, &err), 0);
    }
    assert_int_equal(manifest_writer_end(w, NULL, &err), 0);
    manifest_writer_free(w);
    return fd;
}

/* ---- when it was verified ---- */

enum { TIMED = 20000 };

static int64_t never(unsigned i) { (void)i; return 0; }
static int64_t once(unsigned i) { (void)i; return 1700000000; }
static int64_t by_parts(unsigned i) { return 1700000000 + 86400 * (int64_t)(digest_check(&i, sizeof i) % 30); }
static int64_t each_its_own(unsigned i) { return 1700000000 - 3600 * (int64_t)i; }
static int64_t more_than_are_kept(unsigned i) { return 1700000000 + (int64_t)(i % 65); }

static bool same_totals(const struct manifest_totals *a, const struct manifest_totals *b)
{
    return a->entries == b->entries && a->bytes == b->bytes && digest_same(&a->shared, &b->shared);
}

static uint64_t write_timed(int64_t (*time)(unsigned i), struct manifest_totals *totals)
{
    struct err err = {0};
    struct manifest_head h;
    const struct entry *e;
    int fd = memory_file("", 0);
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (unsigned i = 0; i < TIMED; i++) {
        struct entry *put = large_entry(i);
        put->place.verified = put->kind == ENTRY_FILE ? time(i) : 0;
        assert_int_equal(manifest_writer_put(w, put, &err), 0);
    }
    assert_int_equal(manifest_writer_end(w, totals, &err), 0);
    manifest_writer_free(w);
    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    for (unsigned i = 0; i < TIMED; i++) {
        assert_int_equal(manifest_reader_next(r, &e, &err), 1);
        assert_int_equal(e->place.verified, e->kind == ENTRY_FILE ? time(i) : 0);
    }
    assert_int_equal(manifest_reader_next(r, &e, &err), 0);
    manifest_reader_free(r);
    off_t size = lseek(fd, 0, SEEK_END);
    close(fd);
    return (uint64_t)size;
}

/* Cheap where it can be, and no part of what members compare. */
static void times_of_verification(void **state)
{
    (void)state;
    struct manifest_totals none, some;
    uint64_t plain = write_timed(never, &none);
    assert_true(write_timed(once, &some) < plain + 6 * 30); /* once in a block */
    assert_true(same_totals(&none, &some));
    assert_true(write_timed(by_parts, &some) < plain + TIMED + 30 * 200); /* a byte for each */
    assert_true(same_totals(&none, &some));
    assert_true(write_timed(each_its_own, &some) < plain + 6 * TIMED);
    assert_true(same_totals(&none, &some));
    assert_true(write_timed(more_than_are_kept, &some) < plain + 6 * TIMED);
}

enum { N = 30000 };

static void jump_about(struct manifest_reader *r, const uint64_t block[N])
{
    struct err err = {0};
    const struct entry *e;
    /* Backward, forward, within the window and out of it; after the end and in the middle of a block. */
    static const unsigned jumps[] = {0, N - 1, N / 2, N / 2 + 1, 7, N / 3, 1, N - 2000};
    for (size_t k = 0; k < sizeof jumps / sizeof jumps[0]; k++) {
        unsigned i = jumps[k];
        assert_int_equal(manifest_reader_seek(r, block[i], &err), 0);
        while (i > 0 && block[i - 1] == block[i])
            i--;
        for (unsigned last = i + 2500; i < N && i < last; i++) {
            assert_int_equal(manifest_reader_next(r, &e, &err), 1);
            same_entry(e, large_entry(i), true);
            assert_int_equal(manifest_reader_block(r), block[i]);
        }
        if (i == N)
            assert_int_equal(manifest_reader_next(r, &e, &err), 0);
    }
    assert_int_equal(manifest_reader_seek(r, 59, &err), ERR_FORMAT);
    assert_int_equal(manifest_reader_seek(r, UINT64_MAX, &err), ERR_FORMAT);
    assert_int_equal(manifest_reader_seek(r, block[0] + 1, &err), 0); /* not a block */
    assert_int_equal(manifest_reader_next(r, &e, &err), ERR_FORMAT);
    assert_int_equal(manifest_reader_seek(r, (uint64_t)1 << 40, &err), 0);
    assert_int_equal(manifest_reader_next(r, &e, &err), ERR_FORMAT);
    assert_int_equal(manifest_reader_seek(r, block[0], &err), 0);
    assert_int_equal(manifest_reader_next(r, &e, &err), 1);
}

static void shared_parts_alone(int fd, int blocks)
{
    struct err err = {0};
    struct manifest_head h;
    struct manifest_totals t;
    const struct entry *e;
    struct manifest_decoder *d = manifest_decoder_new();
    const void *p;
    size_t len;
    unsigned i = 0;
    int rc;
    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    while ((rc = manifest_reader_raw(r, &p, &len, &t, &err)) > 0) {
        assert_int_equal(manifest_decoder_block(d, p, len, NULL, 0, &err), 0);
        while ((rc = manifest_decoder_next(d, &e, &err)) > 0)
            same_entry(e, large_entry(i++), false);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(i, N);
    assert_int_equal(manifest_decoder_end(d, &t, &err), 0);
    t.bytes++;
    assert_int_equal(manifest_decoder_end(d, &t, &err), ERR_FORMAT);
    manifest_decoder_free(d);
    manifest_reader_free(r);
    assert_int_equal(read_raw(fd, &err), blocks);
}

static void many_blocks_raw_and_seek(void **state)
{
    (void)state;
    static uint64_t block[N];
    struct err err = {0};
    struct manifest_head h;
    const struct entry *e;
    int fd = write_large(N, 0), blocks = 0;

    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(manifest_reader_next(r, &e, &err), 1);
        same_entry(e, large_entry(i), true);
        block[i] = manifest_reader_block(r);
        blocks += i == 0 || block[i] != block[i - 1];
    }
    assert_int_equal(manifest_reader_next(r, &e, &err), 0);
    assert_true(blocks > 10);

    jump_about(r, block);
    manifest_reader_free(r);
    shared_parts_alone(fd, blocks); /* as a peer gets them */
    close(fd);
}

/* How a list lies in its store must not show in the shared parts: equal lists have equal digests. */
static void equal_lists_equal_digests(void **state)
{
    (void)state;
    struct manifest_totals a, b, c;
    struct err err = {0};
    int fa = write_large(20000, 0), fb = write_large(20000, 1000000), fc = write_large(19999, 0);
    assert_int_equal(manifest_file_totals(fa, &a, &err), 0);
    assert_int_equal(manifest_file_totals(fb, &b, &err), 0);
    assert_int_equal(manifest_file_totals(fc, &c, &err), 0);
    assert_memory_equal(&a, &b, sizeof a);
    assert_false(digest_same(&a.shared, &c.shared));
    /* The rule that cuts blocks and the coding are part of the format: this value never changes. */
    char hex[DIGEST_HEX_MAX + 1];
    assert_string_equal(digest_hex(hex, &a.shared), "e047547406de823f849c634e17d31338");
    assert_true(lseek(fb, 0, SEEK_END) != lseek(fa, 0, SEEK_END));
    close(fa);
    close(fb);
    close(fc);
}

static void rehead(void **state)
{
    (void)state;
    struct err err = {0};
    int fd = memory_file("in front", 8);
    static struct entry e;
    e = entry_of("a", ENTRY_FILE);
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    struct manifest_head h = head, got;
    h.floor = 12345;
    h.scanned.sec = -5;
    assert_int_equal(manifest_writer_put(w, &e, &err), 0);
    assert_int_equal(manifest_writer_rehead(w, &h, &err), 0);
    assert_int_equal(manifest_writer_end(w, NULL, &err), 0);
    h.floor++;
    assert_int_equal(manifest_writer_rehead(w, &h, &err), 0);
    manifest_writer_free(w);
    size_t n;
    char *p = bytes_of(fd, &n);
    assert_memory_equal(p, "in front", 8);
    int only = memory_file(p + 8, n - 8);
    struct manifest_reader *r = manifest_reader_new(only, &got, &err);
    assert_non_null(r);
    assert_int_equal(got.floor, 12346);
    assert_int_equal(got.scanned.sec, -5);
    manifest_reader_free(r);
    assert_int_equal(read_all(only, &err), 1);
    free(p);
    close(only);
    close(fd);
}

static void writer_reports_a_full_disk(void **state)
{
    (void)state;
    struct err err = {0};
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    int rc = 0;
    for (unsigned i = 0; i < 100000 && rc == 0; i++)
        rc = manifest_writer_put(w, large_entry(i), &err);
    assert_int_equal(rc, ERR_SYS);
    assert_int_equal(manifest_writer_put(w, large_entry(100000), &err), ERR_SYS);
    assert_int_equal(manifest_writer_end(w, NULL, &err), ERR_SYS);
    assert_int_equal(manifest_writer_rehead(w, &head, &err), ERR_SYS);
    manifest_writer_free(w);
    close(fd);
}

/* What the reader would refuse is not written, and does not spoil the rest. */
static void writer_refuses_what_cannot_be_read(void **state)
{
    (void)state;
    struct err err = {0};
    static struct entry good, bad;
    int fd = memory_file("", 0);
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    good = entry_of("a", ENTRY_DIR);
    assert_int_equal(manifest_writer_put(w, &good, &err), 0);
#define REFUSES(path, change) do { \
        bad = entry_of(path, ENTRY_FILE); \
        change; \
        assert_int_equal(manifest_writer_put(w, &bad, &err), ERR_FORMAT); \
    } while (0)
    REFUSES("a/../b", );
    REFUSES("a/", );
    REFUSES("a/.sos-sync", );
    REFUSES("b", bad.mtime.sec = (int64_t)1 << 60);
    REFUSES("b", bad.mode = 06755);
    REFUSES("b", bad.kind = (enum entry_kind)0);
    REFUSES("b", bad.version.item[0].count = 0);
    REFUSES("b", bad.version.n = 65);
    REFUSES("b", bad.place.ctime.nsec = 1000000000);
#undef REFUSES
    good = entry_of("a/b", ENTRY_FILE);
    assert_int_equal(manifest_writer_put(w, &good, &err), 0);
    assert_int_equal(manifest_writer_end(w, NULL, &err), 0);
    manifest_writer_free(w);
    assert_int_equal(read_all(fd, &err), 2);
    close(fd);
}

static void golden(const char *name, const struct entry *e, size_t n);

/* They stand anywhere, keep nothing but version, record and time, and are no objects. */
static void tombstones(void **state)
{
    (void)state;
    static const struct { const char *path; enum entry_kind kind; } t[] = {
        {"a/gone", ENTRY_GONE}, {"d", ENTRY_DIR}, {"d/e", ENTRY_GONE}, {"d/e/f", ENTRY_GONE}, {"d/g", ENTRY_FILE},
        {"d/g/h", ENTRY_GONE}, {"d/i", ENTRY_FILE}, {"e", ENTRY_GONE}, {"f", ENTRY_FILE}, {"f/x", ENTRY_GONE},
    };
    enum { GRAVES = sizeof t / sizeof t[0] };
    static struct entry e[GRAVES];
    struct manifest_totals totals;
    struct manifest_head h;
    struct err err;
    const struct entry *got;
    for (size_t i = 0; i < GRAVES; i++) {
        e[i] = entry_of(t[i].path, t[i].kind);
        if (t[i].kind != ENTRY_GONE)
            continue;
        e[i].mode = 0;
        e[i].size = 0;
        e[i].digest = (struct digest){0};
        e[i].mtime = (struct stamp){i % 2 ? -5 : 1700000000, 0};
        e[i].flags = i % 2 ? ENTRY_HIDDEN : 0;
        e[i].place = (struct entry_place){0};
    }
    int fd = write_all(e, GRAVES, &totals);
    assert_int_equal(totals.entries, GRAVES);
    assert_int_equal(totals.objects, 3);
    assert_int_equal(totals.dirs, 1);
    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    for (size_t i = 0; i < GRAVES; i++) {
        assert_int_equal(manifest_reader_next(r, &got, &err), 1);
        same_entry(got, &e[i], true);
        struct buf b = {0};
        static char path[PATH_LEN_MAX + 1];
        static struct entry alone;
        manifest_put_entry(&b, &e[i]);
        struct rd in = rd_of(b.data, b.len);
        assert_int_equal(manifest_get_entry(&in, path, &alone, &err), 0);
        assert_true(rd_done(&in));
        same_entry(&alone, &e[i], false);
        buf_free(&b);
    }
    assert_int_equal(manifest_reader_next(r, &got, &err), 0);
    manifest_reader_free(r);
    close(fd);
    golden("tombstones", e, GRAVES);
}

/* ---- digests of two kinds ---- */

static struct entry sha_of(struct entry e)
{
    struct digest_state *s = digest_new();
    e.digest = digest_whole(s, DIGEST_SHA256, e.path, e.path_len);
    digest_free(s);
    return e;
}

/* Which kind a digest has is said where it changes, in each block anew, and by each entry that stands alone. */
static void hashes(void **state)
{
    (void)state;
    static const struct { const char *path; enum entry_kind kind; bool sha; } t[] = {
        {"a", ENTRY_FILE, true}, {"b", ENTRY_DIR, false}, {"b/c", ENTRY_LINK, true}, {"d", ENTRY_FILE, false},
        {"e", ENTRY_GONE, false}, {"f", ENTRY_FILE, false}, {"g", ENTRY_FILE, true},
    };
    enum { ALL = sizeof t / sizeof t[0] };
    static struct entry e[ALL], alone;
    static char path[PATH_LEN_MAX + 1];
    struct err err;
    for (size_t i = 0; i < ALL; i++) {
        e[i] = entry_of(t[i].path, t[i].kind);
        if (t[i].kind == ENTRY_GONE)
            e[i] = (struct entry){.path = t[i].path, .path_len = 1, .mtime = {.sec = 1700000000}, .version = e[0].version,
                                  .origin = e[0].origin, .first_seen = 1600000000};
        if (t[i].sha)
            e[i] = sha_of(e[i]);
        struct buf b = {0};
        manifest_put_entry(&b, &e[i]);
        struct rd in = rd_of(b.data, b.len);
        memset(&alone, 0xee, sizeof alone);
        assert_int_equal(manifest_get_entry(&in, path, &alone, &err), 0);
        assert_true(rd_done(&in));
        same_entry(&alone, &e[i], false);
        for (size_t cut = 0; cut < b.len; cut++) {
            in = rd_of(b.data, cut);
            assert_int_equal(manifest_get_entry(&in, path, &alone, &err), ERR_FORMAT);
        }
        buf_free(&b);
    }
    golden("hashes", e, ALL);
}

static void a_head_of_each_kind(void **state)
{
    (void)state;
    static struct entry e;
    struct manifest_head h, want = head;
    const struct entry *got;
    struct err err;
    e = sha_of(entry_of("a", ENTRY_FILE));
    want.algo = DIGEST_SHA256;
    int fd = memory_file("", 0);
    struct manifest_writer *w = manifest_writer_new(fd, &want);
    assert_int_equal(manifest_writer_put(w, &e, &err), 0);
    assert_int_equal(manifest_writer_end(w, NULL, &err), 0);
    manifest_writer_free(w);
    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    assert_int_equal(h.algo, DIGEST_SHA256);
    assert_int_equal(manifest_reader_next(r, &got, &err), 1);
    same_entry(got, &e, true);
    assert_int_equal(manifest_reader_next(r, &got, &err), 0);
    manifest_reader_free(r);
    close(fd);
}

/* A reader that jumps into a block needs to know nothing of the kinds before it. */
static void hashes_over_many_blocks(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static struct entry e;
    struct manifest_head h;
    struct err err;
    const struct entry *got;
    uint64_t last = 0;
    char path[20];
    int fd = memory_file("", 0), n = 0, rc;
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "f%06d", i);
        e = entry_of(path, ENTRY_FILE);
        if (i % 7)
            e = sha_of(e);
        assert_int_equal(manifest_writer_put(w, &e, &err), 0);
    }
    assert_int_equal(manifest_writer_end(w, NULL, &err), 0);
    manifest_writer_free(w);
    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    while ((rc = manifest_reader_next(r, &got, &err)) > 0) {
        assert_int_equal(got->digest.algo, n++ % 7 ? DIGEST_SHA256 : DIGEST_XXH3_128);
        last = manifest_reader_block(r);
    }
    assert_int_equal(rc, 0);
    assert_true(n == MANY && last > 60);
    assert_int_equal(manifest_reader_seek(r, last, &err), 0);
    while ((rc = manifest_reader_next(r, &got, &err)) > 0)
        assert_int_equal(got->digest.algo, atoi(got->path + 1) % 7 ? DIGEST_SHA256 : DIGEST_XXH3_128);
    assert_int_equal(rc, 0);
    manifest_reader_free(r);
    close(fd);
}

/* ---- holders ---- */

/* A letter is a member. */
static void hold(struct entry *e, const char *who)
{
    e->holders.n = 0;
    for (; *who; who++) {
        struct uuid u = member((unsigned)(*who - 'a') + 1);
        assert_int_equal(holders_add(&e->holders, &u), 0);
    }
}

static void holders(void **state)
{
    (void)state;
    static const struct { const char *path; enum entry_kind kind; const char *who; } t[] = {
        {"a", ENTRY_FILE, ""}, {"b", ENTRY_FILE, "ab"}, {"c", ENTRY_LINK, "ba"}, {"d", ENTRY_DIR, ""},
        {"d/e", ENTRY_FILE, "ab"}, {"d/f", ENTRY_FILE, "abc"}, {"d/g", ENTRY_FILE, "d"}, {"d/h", ENTRY_FILE, "ab"},
        {"i", ENTRY_GONE, "ab"}, {"j", ENTRY_FILE, ""},
    };
    enum { ALL = sizeof t / sizeof t[0] };
    static struct entry e[ALL], alone;
    static char path[PATH_LEN_MAX + 1];
    struct manifest_totals totals, without;
    for (size_t i = 0; i < ALL; i++) {
        e[i] = entry_of(t[i].path, t[i].kind);
        if (t[i].kind == ENTRY_GONE)
            e[i] = (struct entry){.path = t[i].path, .path_len = 1, .mtime = {.sec = 1700000000}, .version = e[0].version,
                                  .origin = e[0].origin, .first_seen = 1600000000};
    }
    close(write_all(e, ALL, &without));
    for (size_t i = 0; i < ALL; i++)
        hold(&e[i], t[i].who);
    close(write_all(e, ALL, &totals));
    assert_false(digest_same(&totals.shared, &without.shared));
    golden("holders", e, ALL);
    for (size_t i = 0; i < ALL; i++) {
        struct buf b = {0};
        struct err err;
        memset(&alone, 0xee, sizeof alone);
        manifest_put_entry(&b, &e[i]);
        struct rd in = rd_of(b.data, b.len);
        assert_int_equal(manifest_get_entry(&in, path, &alone, &err), 0);
        assert_true(rd_done(&in));
        same_entry(&alone, &e[i], false);
        for (size_t cut = 0; cut < b.len; cut++) {
            in = rd_of(b.data, cut);
            assert_int_equal(manifest_get_entry(&in, path, &alone, &err), ERR_FORMAT);
        }
        buf_free(&b);
    }
}

/* What is said is said once in a block, and anew in the next; a reader that jumps into one needs nothing before it. */
static void holders_over_many_blocks(void **state)
{
    (void)state;
    enum { MANY = 12000 };
    static const char *const who[] = {"ab", "ab", "", "abc", "b"};
    struct manifest_head h;
    struct err err;
    const struct entry *got;
    char name[32];
    struct entry *e = calloc(1, sizeof *e);
    int fd = memory_file("", 0);
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%06u", i);
        *e = entry_of(name, ENTRY_FILE);
        hold(e, who[i / 7 % 5]);
        assert_int_equal(manifest_writer_put(w, e, &err), 0);
    }
    assert_int_equal(manifest_writer_end(w, NULL, &err), 0);
    manifest_writer_free(w);
    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    uint64_t block[64];
    unsigned first[64], blocks = 0;
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(manifest_reader_next(r, &got, &err), 1);
        hold(e, who[i / 7 % 5]);
        assert_true(holders_same(&got->holders, &e->holders));
        if (blocks == 0 || block[blocks - 1] != manifest_reader_block(r)) {
            block[blocks] = manifest_reader_block(r);
            first[blocks++] = i;
        }
    }
    assert_int_equal(manifest_reader_next(r, &got, &err), 0);
    assert_true(blocks > 3);
    for (unsigned k = blocks; k-- > 0;) {
        assert_int_equal(manifest_reader_seek(r, block[k], &err), 0);
        for (unsigned i = first[k]; i < first[k] + 20 && i < MANY; i++) {
            assert_int_equal(manifest_reader_next(r, &got, &err), 1);
            hold(e, who[i / 7 % 5]);
            assert_true(holders_same(&got->holders, &e->holders));
        }
    }
    manifest_reader_free(r);
    close(fd);
    free(e);
}

static void writer_refuses_holders_that_are_none(void **state)
{
    (void)state;
    struct err err;
    struct uuid one = member(1), two = member(2), none = {{0}};
    static const struct manifest_head h = {.algo = DIGEST_XXH3_128};
    static struct entry e;
    const struct holders bad[] = {{2, {two, one}}, {2, {one, one}}, {1, {none}}, {VERSION_MEMBERS_MAX + 1, {one}},
                                  {UINT32_MAX, {one}}};
    struct manifest_writer *w = manifest_writer_new(-1, &h);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        e = entry_of("a", ENTRY_FILE);
        e.holders = bad[i];
        assert_false(holders_valid(&e.holders));
        assert_int_equal(manifest_writer_put(w, &e, &err), ERR_FORMAT);
    }
    manifest_writer_free(w);
}

static void writer_aborts_on_disorder(void **state)
{
    (void)state;
    static const char *const worlds[][2] = {{"b", "a"}, {"a", "a"}, {"a", "a/b"}, {"a", "b/c"}, {"a/b", "c"}};
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            int fd = memfd_create("m", 0);
            struct manifest_writer *w = manifest_writer_new(fd, &head);
            static struct entry e;
            for (int k = 0; k < 2; k++) {
                e = entry_of(worlds[i][k], ENTRY_FILE);
                manifest_writer_put(w, &e, NULL);
            }
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

/* ---- golden files ---- */

static void golden(const char *name, const struct entry *e, size_t n)
{
    char path[200];
    struct err err = {0};
    struct manifest_head h;
    const struct entry *got;
    size_t len, golden_len;
    snprintf(path, sizeof path, "tests/golden/manifest-%s.bin", name);
    int fd = write_all(e, n, NULL);
    char *p = bytes_of(fd, &len);
    if (getenv("GOLDEN_WRITE"))
        assert_int_equal(file_replace(AT_FDCWD, path, p, len, false, &err), 0);
    char *want = file_slurp(AT_FDCWD, path, 1 << 20, &golden_len, &err);
    if (!want)
        fail_msg("%s (tests run from the top of the source tree)", err.msg);
    assert_int_equal(len, golden_len);
    assert_memory_equal(p, want, len);
    int from = memory_file(want, golden_len);
    struct manifest_reader *r = manifest_reader_new(from, &h, &err);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(manifest_reader_next(r, &got, &err), 1);
        same_entry(got, &e[i], true);
    }
    assert_int_equal(manifest_reader_next(r, &got, &err), 0);
    manifest_reader_free(r);
    close(from);
    close(fd);
    free(want);
    free(p);
}

static void golden_files(void **state)
{
    (void)state;
    static struct entry world[SMALL];
    small_world(world);
    golden("empty", NULL, 0);
    golden("small", world, SMALL);
}

/* ---- hostile files ---- */

/* Writes v at p, little-endian. */
static void poke(char *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(v >> (8 * i));
}

static void expect_file(const void *p, size_t n, int rc)
{
    struct err err = {0};
    int fd = memory_file(p, n);
    assert_int_equal(read_all(fd, &err), rc);
    if (rc < 0)
        assert_true(err.msg[0] != '\0');
    close(fd);
}

/* B7: cut short anywhere, any byte changed, anything behind the end. */
static void damaged_files(void **state)
{
    (void)state;
    static struct entry world[SMALL];
    struct manifest_totals t;
    struct err err;
    size_t n;
    small_world(world);
    int fd = write_all(world, SMALL, NULL);
    char *p = bytes_of(fd, &n);
    for (size_t cut = 0; cut < n; cut++) {
        int part = memory_file(p, cut);
        assert_int_equal(read_all(part, &err), ERR_FORMAT);
        assert_int_equal(read_raw(part, &err), ERR_FORMAT);
        assert_int_equal(manifest_file_totals(part, &t, &err), ERR_FORMAT);
        close(part);
    }
    for (size_t i = 0; i < n; i++) {
        p[i] ^= 0x40;
        int part = memory_file(p, n);
        int version = i == 8 || i == 9;
        assert_int_equal(read_all(part, &err), version ? ERR_UNSUPPORTED : ERR_FORMAT);
        assert_int_equal(read_raw(part, &err), version ? ERR_UNSUPPORTED : ERR_FORMAT);
        if (i < 60 || i >= n - 65)
            assert_true(manifest_file_totals(part, &t, &err) < 0);
        close(part);
        p[i] ^= 0x40;
    }
    p[n] = 'E';
    expect_file(p, n, SMALL);
    expect_file(p, n + 1, ERR_FORMAT);
    free(p);
    close(fd);
}

/* B10: said in so many words, and only where the header is whole. */
static void unknown_versions_and_digests(void **state)
{
    (void)state;
    struct err err = {0};
    struct manifest_totals t;
    size_t n;
    int fd = write_all(NULL, 0, NULL);
    char *p = bytes_of(fd, &n);
    close(fd);
    static const struct { size_t at; uint64_t v; size_t len; int rc; const char *says; } worlds[] = {
        {8, 0, 2, ERR_UNSUPPORTED, "version 0"}, {8, 2, 2, ERR_UNSUPPORTED, "version 2"},
        {8, 65535, 2, ERR_UNSUPPORTED, "version 65535"}, {10, 0, 1, ERR_UNSUPPORTED, "algorithm 0"},
        {10, 3, 1, ERR_UNSUPPORTED, "algorithm 3"}, {11, 1, 1, ERR_FORMAT, "malformed"},
        {12, 59, 4, ERR_FORMAT, "malformed"}, {12, UINT32_MAX, 4, ERR_FORMAT, "malformed"},
        {40, (uint64_t)1 << 60, 8, ERR_FORMAT, "malformed"}, {48, 1000000000, 4, ERR_FORMAT, "malformed"},
        {0, 0, 8, ERR_FORMAT, "not a manifest"}, {8, 1, 2, 0, NULL},
    };
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        char *q = malloc(n);
        memcpy(q, p, n);
        poke(q + worlds[i].at, worlds[i].v, worlds[i].len);
        poke(q + 52, digest_check(q, 52), 8);
        int part = memory_file(q, n);
        assert_int_equal(read_all(part, &err), worlds[i].rc);
        if (worlds[i].says)
            assert_non_null(strstr(err.msg, worlds[i].says));
        assert_int_equal(manifest_file_totals(part, &t, &err), worlds[i].rc);
        close(part);
        free(q);
    }
    free(p);
}

/* A block with checksum, as long as it says or not. */
static void put_block(struct buf *f, uint32_t shared_len, uint32_t private_len, const struct buf *parts)
{
    struct buf lengths = {0};
    buf_u32(&lengths, shared_len);
    buf_u32(&lengths, private_len);
    buf_u8(f, 'B');
    buf_put(f, lengths.data, 8);
    buf_u64(f, digest_check2(lengths.data, 8, parts->data, parts->len));
    buf_put(f, parts->data, parts->len);
    buf_free(&lengths);
}

static void put_end(struct buf *f, const struct manifest_totals *t, uint64_t blocks)
{
    size_t from = f->len;
    buf_u8(f, 'E');
    manifest_put_totals(f, t);
    buf_u64(f, blocks);
    buf_u64(f, digest_check(f->data + from, f->len - from));
}

/* Behind the header, this block alone. */
static void one_block(struct buf *f, uint32_t shared_len, uint32_t private_len, const struct buf *parts)
{
    f->len = 60;
    put_block(f, shared_len, private_len, parts);
}

/* B5: lengths that lie under a right checksum; totals that lie; blocks left out. */
static void lying_files(void **state)
{
    (void)state;
    static struct entry world[SMALL];
    struct manifest_totals t, lie;
    size_t n;
    small_world(world);
    int fd = write_all(world, SMALL, &t);
    char *p = bytes_of(fd, &n);
    close(fd);
    struct rd lengths = rd_of(p + 61, 8);
    uint32_t shared = rd_u32(&lengths), private_len = rd_u32(&lengths);
    struct buf f = {0}, parts = {0};
    buf_put(&parts, p + 60 + 17, shared + private_len);
    buf_put(&f, p, 60);

    put_block(&f, shared, private_len, &parts);
    put_end(&f, &t, 1);
    assert_int_equal(f.len, n);
    assert_memory_equal(f.data, p, n); /* by hand as by the writer */

    static const uint32_t lengths_of[][2] = {
        {0, 0}, {MANIFEST_BLOCK_MAX + 1, 0}, {0, MANIFEST_BLOCK_MAX + 1},
        {MANIFEST_BLOCK_MAX, MANIFEST_BLOCK_MAX},
        {1u << 31, 1u << 31}, {UINT32_MAX, UINT32_MAX}, {UINT32_MAX, 1}, {1, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof lengths_of / sizeof lengths_of[0]; i++) {
        one_block(&f, lengths_of[i][0], lengths_of[i][1], &parts);
        put_end(&f, &t, 1);
        expect_file(f.data, f.len, ERR_FORMAT);
    }
    for (int shift = -1; shift <= 1; shift++) { /* the border between the parts */
        one_block(&f, shared + (uint32_t)shift, private_len - (uint32_t)shift, &parts);
        put_end(&f, &t, 1);
        expect_file(f.data, f.len, shift ? ERR_FORMAT : SMALL);
    }
    for (int field = 0; field < 7; field++) {
        lie = t;
        lie.entries += field == 1;
        lie.objects -= field == 2;
        lie.dirs += field == 3;
        lie.bytes ^= field == 4 ? (uint64_t)1 << 63 : 0;
        lie.shared.b[7] ^= field == 5;
        one_block(&f, shared, private_len, &parts);
        put_end(&f, &lie, field == 6 ? 2 : 1);
        expect_file(f.data, f.len, field ? ERR_FORMAT : SMALL);
    }
    f.len = 60; /* B2 across blocks: the same block twice */
    put_block(&f, shared, private_len, &parts);
    put_block(&f, shared, private_len, &parts);
    put_end(&f, &t, 2);
    expect_file(f.data, f.len, ERR_FORMAT);
    f.len = 60; /* no end, but another file */
    put_block(&f, shared, private_len, &parts);
    buf_put(&f, p, n);
    expect_file(f.data, f.len, ERR_FORMAT);
    buf_free(&f);
    buf_free(&parts);
    free(p);
}

/* Raw access notices a block that was left out or put elsewhere, though each checksum is right. */
static void raw_holds_to_the_digest(void **state)
{
    (void)state;
    struct err err = {0};
    struct manifest_head h;
    const struct entry *e;
    size_t n;
    int fd = write_large(5000, 0);
    char *p = bytes_of(fd, &n);
    struct manifest_reader *r = manifest_reader_new(fd, &h, &err);
    uint64_t second = 0;
    while (second == 0 && manifest_reader_next(r, &e, &err) == 1)
        second = manifest_reader_block(r) > 60 ? manifest_reader_block(r) : 0;
    manifest_reader_free(r);
    close(fd);
    assert_true(second > 60);
    struct buf f = {0};
    buf_put(&f, p, 60);
    buf_put(&f, p + second, n - second);
    fd = memory_file(f.data, f.len);
    assert_int_equal(read_raw(fd, &err), ERR_FORMAT);
    assert_int_equal(read_all(fd, &err), ERR_FORMAT);
    close(fd);
    /* The same count of blocks, but the first in the place of the second. */
    f.len = 0;
    buf_put(&f, p, second);
    buf_put(&f, p + 60, second - 60);
    struct rd last = rd_of(p + n - 65, 57);
    rd_bytes(&last, 49);
    for (uint64_t rest = rd_u64(&last); rest > 2; rest--)
        buf_put(&f, p + 60, second - 60);
    buf_put(&f, p + n - 65, 65);
    fd = memory_file(f.data, f.len);
    assert_int_equal(read_raw(fd, &err), ERR_FORMAT);
    assert_non_null(strstr(err.msg, "digest"));
    close(fd);
    buf_free(&f);
    free(p);
}

/* ---- entries that stand alone ---- */

static void alone(void **state)
{
    (void)state;
    static struct entry world[SMALL], got;
    static char path[PATH_LEN_MAX + 1];
    struct buf b = {0};
    struct err err;
    small_world(world);
    for (size_t i = 0; i < SMALL; i++) {
        manifest_put_entry(&b, &world[i]);
        manifest_put_place(&b, &world[i].place);
    }
    struct rd r = rd_of(b.data, b.len);
    for (size_t i = 0; i < SMALL; i++) {
        memset(&got, 0xee, sizeof got);
        assert_int_equal(manifest_get_entry(&r, path, &got, &err), 0);
        same_entry(&got, &world[i], false);
        assert_ptr_equal(got.path, path);
        assert_int_equal(manifest_get_place(&r, &got.place, &err), 0);
        same_entry(&got, &world[i], true);
    }
    assert_true(rd_done(&r));
    b.len = 0;
    manifest_put_entry(&b, &world[2]);
    for (size_t cut = 0; cut < b.len; cut++) {
        uint8_t *part = malloc(cut + 1);
        memcpy(part, b.data, cut);
        r = rd_of(part, cut);
        assert_int_equal(manifest_get_entry(&r, path, &got, &err), ERR_FORMAT);
        assert_true(r.bad);
        free(part);
    }
    static const char *const bad[] = {"", "..", "/a", "a/", "a/../b", "x/.sos-sync/y"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct entry *e = &world[1];
        e->path = bad[i];
        e->path_len = strlen(bad[i]);
        b.len = 0;
        manifest_put_entry(&b, e);
        r = rd_of(b.data, b.len);
        assert_int_equal(manifest_get_entry(&r, path, &got, &err), ERR_FORMAT);
    }
    world[1].path = "a";
    world[1].path_len = 1;
    world[1].version.item[0].count = 0;
    b.len = 0;
    manifest_put_entry(&b, &world[1]);
    r = rd_of(b.data, b.len);
    assert_int_equal(manifest_get_entry(&r, path, &got, &err), ERR_FORMAT);
    buf_free(&b);
}

static void totals_alone(void **state)
{
    (void)state;
    struct manifest_totals t = {1, 2, 3, UINT64_MAX, digest_of("x", 1)}, got;
    struct buf b = {0};
    manifest_put_totals(&b, &t);
    assert_int_equal(b.len, 48);
    struct rd r = rd_of(b.data, b.len);
    manifest_get_totals(&r, &got);
    assert_true(rd_done(&r));
    assert_memory_equal(&t, &got, sizeof t);
    r = rd_of(b.data, b.len - 1);
    manifest_get_totals(&r, &got);
    assert_true(r.bad);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_of_verification),
        cmocka_unit_test(written_and_read),
        cmocka_unit_test(empty_manifest),
        cmocka_unit_test(many_blocks_raw_and_seek),
        cmocka_unit_test(equal_lists_equal_digests),
        cmocka_unit_test(rehead),
        cmocka_unit_test(writer_reports_a_full_disk),
        cmocka_unit_test(writer_refuses_what_cannot_be_read),
        cmocka_unit_test(tombstones),
        cmocka_unit_test(holders),
        cmocka_unit_test(holders_over_many_blocks),
        cmocka_unit_test(writer_refuses_holders_that_are_none),
        cmocka_unit_test(writer_aborts_on_disorder),
        cmocka_unit_test(golden_files),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(hashes),
        cmocka_unit_test(a_head_of_each_kind),
        cmocka_unit_test(hashes_over_many_blocks),
        cmocka_unit_test(unknown_versions_and_digests),
        cmocka_unit_test(lying_files),
        cmocka_unit_test(raw_holds_to_the_digest),
        cmocka_unit_test(alone),
        cmocka_unit_test(totals_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
