#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "object/archive.h"

/* ---- a source of bytes, in pieces ---- */

struct source {
    const uint8_t *p;
    size_t left, piece;
    int fail; /* when the bytes are used up: 0 or an error code */
    int calls_after_end;
    bool ended;
};

static ssize_t pull(void *ctx, const void **p, struct err *e)
{
    struct source *s = ctx;
    s->calls_after_end += s->ended;
    size_t n = s->left < s->piece ? s->left : s->piece;
    *p = s->p;
    s->p += n;
    s->left -= n;
    s->ended = n == 0;
    if (n == 0 && s->fail)
        return err_set(e, s->fail, "the link is gone");
    return (ssize_t)n;
}

/* ---- tar by hand: what libarchive would not write ---- */

static void number(uint8_t *field, size_t n, uint64_t v)
{
    for (size_t i = n - 1; i-- > 0; v >>= 3)
        field[i] = (uint8_t)('0' + (v & 7));
}

static uint8_t *head(struct buf *b, const char *name, char type, uint64_t size, const char *link)
{
    uint8_t *h = buf_room(b, 512);
    memset(h, 0, 512);
    memcpy(h, name, strlen(name));
    number(h + 100, 8, 0644);
    number(h + 108, 8, 0);
    number(h + 116, 8, 0);
    number(h + 124, 12, size);
    number(h + 136, 12, 0);
    h[156] = (uint8_t)type;
    memcpy(h + 157, link, strlen(link));
    memcpy(h + 257, "ustar\00000", 8);
    b->len += 512;
    return h;
}

static void sum(uint8_t *h)
{
    unsigned total = 0;
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        total += h[i];
    number(h + 148, 7, total);
}

static void body(struct buf *b, const void *p, size_t n)
{
    static const uint8_t zeros[512];
    buf_put(b, p, n);
    buf_put(b, zeros, (512 - n % 512) % 512);
}

static void object(struct buf *b, const char *name, char type, const char *link, const char *content)
{
    sum(head(b, name, type, strlen(content), link));
    body(b, content, strlen(content));
}

static void pax(struct buf *b, const char *records, size_t n)
{
    sum(head(b, "x", 'x', n, ""));
    body(b, records, n);
}

static void end_marks(struct buf *b)
{
    memset(buf_room(b, 1024), 0, 1024);
    b->len += 1024;
}

/* Reads all of an archive: objects seen, or the first error. Text of what was seen is appended to log. */
static int read_all(const struct buf *b, size_t piece, struct buf *log, struct err *e)
{
    struct source s = {.p = b->data, .left = b->len, .piece = piece};
    struct archive_in *a = archive_in_new(pull, &s, e);
    assert_non_null(a);
    struct archive_object o;
    int rc, seen = 0;
    while ((rc = archive_in_next(a, &o, e)) == 1) {
        seen++;
        char line[64];
        snprintf(line, sizeof line, "|%d %zu ", o.kind, (size_t)o.size);
        buf_put(log, line, strlen(line));
        buf_put(log, o.path, o.path_len);
        if (o.target)
            buf_put(log, o.target, strlen(o.target));
        buf_put(log, ":", 1);
        const void *p;
        ssize_t n;
        while ((n = archive_in_data(a, &p, e)) > 0)
            buf_put(log, p, (size_t)n);
        if (n < 0) {
            rc = (int)n;
            break;
        }
        assert_int_equal(archive_in_data(a, &p, e), 0);
    }
    struct err later = {0};
    assert_int_equal(rc < 0, archive_in_next(a, &o, &later) < 0);
    assert_int_equal(s.calls_after_end, 0);
    archive_in_free(a);
    return rc < 0 ? rc : seen;
}

static void expect_log(const struct buf *b, size_t piece, const void *text, size_t n)
{
    struct buf log = {0};
    struct err e = {0};
    int rc = read_all(b, piece, &log, &e);
    if (rc < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(log.len, n);
    assert_memory_equal(log.data, text, n);
    buf_free(&log);
}

/* ---- writing and reading back ---- */

static char long_path[4001];
static const char *const names[] = {"plain", "e\xcc\x81 nfd", "\xc3\xa9 nfc", "bad\xff\xc3(",
                                    "new\nline\x1b[2J\x9b", "-rf", "a b'\"\\ ", "\xf0\x9f\x90\xbb",
                                    long_path};

static void make_long_path(void)
{
    memset(long_path, 'p', sizeof long_path - 1);
    for (size_t i = 200; i < sizeof long_path - 1; i += 201)
        long_path[i] = '/';
    assert_true(long_path[3999] != '/');
}

static struct entry entry(enum entry_kind kind, const char *path, uint64_t size)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = kind, .mode = 0644, .size = size};
    e.mtime = (struct stamp){1600000000, 7};
    return e;
}

static void write_some(struct buf *sink)
{
    struct err e = {0};
    struct archive_out *a = archive_out_new(sink, &e);
    assert_non_null(a);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct entry f = entry(ENTRY_FILE, names[i], i);
        f.mtime = (struct stamp){i % 2 ? -2 : 1, (uint32_t)i};
        assert_int_equal(archive_out_begin(a, &f, NULL, &e), 0);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(archive_out_data(a, "x", 1, &e), 0);
        assert_int_equal(archive_out_finish_object(a, &e), 0);
        struct entry l = entry(ENTRY_LINK, "l", strlen(names[i]));
        assert_int_equal(archive_out_begin(a, &l, names[i], &e), 0);
    }
    struct entry d = entry(ENTRY_DIR, "dir\xff", 0);
    assert_int_equal(archive_out_begin(a, &d, NULL, &e), 0);
    assert_int_equal(archive_out_finish_object(a, &e), 0);
    struct entry deep = entry(ENTRY_DIR, long_path, 0);
    assert_int_equal(archive_out_begin(a, &deep, NULL, &e), 0);
    assert_int_equal(archive_out_end(a, &e), 0);
    archive_out_free(a);
}

static void expected_log(struct buf *log)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *t = mem_printf("|1 %zu %s:%.*s|2 %zu l%s:", i, names[i], (int)i, "xxxxxxxxxx",
                             strlen(names[i]), names[i]);
        buf_put(log, t, strlen(t));
        free(t);
    }
    char *t = mem_printf("|3 0 dir\xff:|3 0 %s:", long_path);
    buf_put(log, t, strlen(t));
    free(t);
}

static void what_goes_in_comes_out_in_every_locale(void **state)
{
    (void)state;
    make_long_path();
    struct buf first = {0}, want = {0};
    expected_log(&want);
    static const char *const locales[] = {"C", "C.UTF-8", "en_US.ISO-8859-1", "ja_JP.EUC-JP"};
    for (size_t i = 0; i < sizeof locales / sizeof locales[0]; i++) {
        if (!setlocale(LC_ALL, locales[i]))
            continue;
        struct buf b = {0};
        write_some(&b);
        expect_log(&b, 1 << 20, want.data, want.len);
        expect_log(&b, 7, want.data, want.len);
        if (i == 0)
            buf_put(&first, b.data, b.len);
        assert_int_equal(b.len, first.len);
        assert_memory_equal(b.data, first.data, b.len);
        buf_free(&b);
    }
    setlocale(LC_ALL, "C");
    static const size_t pieces[] = {1, 2, 511, 512, 513, 10240};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
        expect_log(&first, pieces[i], want.data, want.len);
    assert_non_null(memmem(first.data, first.len, "hdrcharset=BINARY\n", 18));
    buf_free(&first);
    buf_free(&want);
}

/* Tools mark names as UTF-8; whether they are, and in which normal form, is not ours to judge. */
static void names_of_other_tools_stay_bytes(void **state)
{
    (void)state;
    static const char *const locales[] = {"C", "C.UTF-8"};
    for (size_t i = 0; i < 2; i++) {
        struct buf b = {0};
        pax(&b, "12 path=e\xcc\x81\n", 12);
        object(&b, "x", '0', "", "1");
        pax(&b, "11 path=\xff(\n", 11);
        object(&b, "x", '0', "", "2");
        end_marks(&b);
        if (setlocale(LC_ALL, locales[i]))
            expect_log(&b, 512, "|1 1 e\xcc\x81:1|1 1 \xff(:2", 19);
        setlocale(LC_ALL, "C");
        buf_free(&b);
    }
}

static void times_and_sizes_in_the_header(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf sink = {0};
    struct archive_out *a = archive_out_new(&sink, &e);
    struct entry f = entry(ENTRY_FILE, "f", 0);
    f.mtime = (struct stamp){1600000000, 7};
    assert_int_equal(archive_out_begin(a, &f, NULL, &e), 0);
    assert_non_null(memmem(sink.data, sink.len, " mtime=1600000000.000000007\n", 28));
    sink.len = 0;
    f.mtime = (struct stamp){-3, 0};
    assert_int_equal(archive_out_begin(a, &f, NULL, &e), 0);
    assert_non_null(memmem(sink.data, sink.len, " mtime=-3\n", 10));
    sink.len = 0;
    f.mtime = (struct stamp){99999999999, 0};
    f.size = UINT64_C(20) << 30;
    f.mode = 07777;
    assert_int_equal(archive_out_begin(a, &f, NULL, &e), 0);
    assert_non_null(memmem(sink.data, sink.len, " mtime=99999999999\n", 19));
    assert_non_null(memmem(sink.data, sink.len, " size=21474836480\n", 18));
    assert_non_null(memmem(sink.data, sink.len, "000777 ", 7)); /* set-id bits are not carried */

    struct source s = {.p = sink.data, .left = sink.len, .piece = 512};
    struct archive_in *in = archive_in_new(pull, &s, &e);
    struct archive_object o;
    assert_int_equal(archive_in_next(in, &o, &e), 1);
    assert_int_equal(o.size, UINT64_C(20) << 30);
    const void *p;
    assert_int_equal(archive_in_data(in, &p, &e), ERR_FORMAT);
    archive_in_free(in);
    archive_out_free(a);
    buf_free(&sink);
}

static void a_file_that_shrank_is_padded(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf sink = {0};
    struct archive_out *a = archive_out_new(&sink, &e);
    struct entry f = entry(ENTRY_FILE, "f", 5), g = entry(ENTRY_FILE, "g", 100u << 20);
    assert_int_equal(archive_out_begin(a, &f, NULL, &e), 0);
    assert_int_equal(archive_out_data(a, "ab", 2, &e), 0);
    assert_int_equal(archive_out_data(a, "abcd", 4, &e), ERR_CHANGED);
    assert_int_equal(archive_out_data(a, NULL, 0, &e), 0);
    assert_int_equal(archive_out_finish_object(a, &e), 0);
    assert_int_equal(archive_out_finish_object(a, &e), 0);
    assert_int_equal(archive_out_data(a, "a", 1, &e), ERR_CHANGED);
    struct entry l = entry(ENTRY_LINK, "l", 0);
    assert_int_equal(archive_out_begin(a, &l, NULL, &e), ERR_FORMAT);
    struct buf copy = {0};
    buf_put(&copy, sink.data, sink.len);
    end_marks(&copy);
    expect_log(&copy, 512, "|1 5 f:ab\0\0\0", 12);
    buf_free(&copy);
    sink.len = 0;

    assert_int_equal(archive_out_begin(a, &g, NULL, &e), 0);
    int steps = 0, rc;
    while ((rc = archive_out_pad(a, 1 << 20, &e)) == 1) {
        assert_true(sink.len < (1 << 20) + 4096);
        sink.len = 0;
        steps++;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(steps, 99);
    assert_int_equal(archive_out_end(a, &e), 0);
    archive_out_free(a);
    buf_free(&sink);
}

static void freeing_a_writer_writes_nothing(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf sink = {0};
    struct archive_out *a = archive_out_new(&sink, &e);
    struct entry f = entry(ENTRY_FILE, "f", 5);
    assert_int_equal(archive_out_begin(a, &f, NULL, &e), 0);
    size_t before = sink.len;
    archive_out_free(a);
    archive_out_free(NULL);
    assert_int_equal(sink.len, before);
    buf_free(&sink);
}

/* ---- hostile archives ---- */

static void objects_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        char type;
        const char *link;
        int rc; /* of reading: objects, or an error */
    } table[] = {
        {"ok", '0', "", 1},          {"ok", '\0', "", 1},           {"ok", '7', "", 1},
        {"d/", '5', "", 1},          {"d", '5', "", 1},             {"l", '2', "../../etc/passwd", 1},
        {"/abs", '0', "", ERR_FORMAT}, {"../x", '0', "", ERR_FORMAT}, {"a/../../x", '0', "", ERR_FORMAT},
        {".", '5', "", ERR_FORMAT},  {"./a", '0', "", ERR_FORMAT},  {"..", '5', "", ERR_FORMAT},
        {"a//b", '0', "", ERR_FORMAT}, {"d//", '5', "", ERR_FORMAT}, {"/", '5', "", ERR_FORMAT},
        {"", '0', "", ERR_FORMAT},   {".sos-sync", '0', "", ERR_FORMAT},
        {"d/.sos-sync.x", '0', "", ERR_FORMAT},
        {"h", '1', "ok", ERR_FORMAT}, {"h", '1', "/etc/shadow", ERR_FORMAT}, {"h", '1', "", ERR_FORMAT},
        {"c", '3', "", ERR_FORMAT},  {"b", '4', "", ERR_FORMAT},    {"p", '6', "", ERR_FORMAT},
        {"l", '2', "", ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct buf b = {0}, log = {0};
        struct err e = {0};
        object(&b, table[i].name, table[i].type, table[i].link, "");
        end_marks(&b);
        int rc = read_all(&b, 512, &log, &e);
        if (rc != table[i].rc)
            fail_msg("\"%s\" type %c: %d, %s", table[i].name, table[i].type, rc, e.msg);
        assert_int_equal(e.code, rc < 0 ? rc : 0);
        buf_free(&b);
        buf_free(&log);
    }
}

static void set_id_bits_mean_nothing(void **state)
{
    (void)state;
    struct buf b = {0};
    uint8_t *h = head(&b, "f", '0', 0, "");
    number(h + 100, 8, 06755);
    sum(h);
    end_marks(&b);
    expect_log(&b, 512, "|1 0 f:", 7);
    buf_free(&b);
}

static void a_cut_archive_is_not_a_short_one(void **state)
{
    (void)state;
    struct buf b = {0};
    object(&b, "a", '0', "", "hello");
    object(&b, "b", '5', "", "");
    end_marks(&b);
    for (size_t n = 0; n < b.len; n++) {
        struct buf cut = {.data = b.data, .len = n}, log = {0};
        struct err e = {0};
        int rc = read_all(&cut, 4096, &log, &e);
        if (rc != ERR_FORMAT)
            fail_msg("cut after %zu bytes: %d", n, rc);
        buf_free(&log);
    }
    expect_log(&b, 4096, "|1 5 a:hello|3 0 b:", 19);
    buf_free(&b);
}

static void damage_is_found(void **state)
{
    (void)state;
    struct buf b = {0}, log = {0};
    struct err e = {0};
    object(&b, "a", '0', "", "hello");
    end_marks(&b);
    b.data[0] = 'b'; /* the checksum says 'a' */
    assert_int_equal(read_all(&b, 4096, &log, &e), ERR_FORMAT);
    b.len = 0;
    uint8_t *h = head(&b, "a", '0', 0, "");
    memset(h + 124, 0xff, 12); /* a negative size */
    sum(h);
    end_marks(&b);
    assert_int_equal(read_all(&b, 4096, &log, &e), ERR_FORMAT);
    b.len = 0;
    pax(&b, "11 size=-5\n", 11);
    object(&b, "a", '0', "", "hello");
    end_marks(&b);
    assert_int_equal(read_all(&b, 4096, &log, &e), ERR_FORMAT);
    buf_free(&b);
    buf_free(&log);
}

/* GNU's sparse format 1.0: the map stands before the data. */
static int read_sparse(const char *size, const char *map, const char *content, struct buf *log)
{
    struct buf b = {0}, all = {0};
    char *records = mem_printf("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=s\n"
                               "%zu GNU.sparse.realsize=%s\n",
                               strlen(size) + 24, size);
    pax(&b, records, strlen(records));
    body(&all, map, strlen(map));
    body(&all, content, strlen(content));
    sum(head(&b, "GNUSparseFile.0/s", '0', all.len, ""));
    body(&b, all.data, all.len);
    end_marks(&b);
    struct err e = {0};
    int rc = read_all(&b, 4096, log, &e);
    free(records);
    buf_free(&b);
    buf_free(&all);
    return rc;
}

static void holes_are_zeros_and_bad_maps_are_refused(void **state)
{
    (void)state;
    struct buf log = {0};
    assert_int_equal(read_sparse("12", "3\n2\n2\n6\n3\n12\n0\n", "abcde", &log), 1);
    assert_int_equal(log.len, 20);
    assert_memory_equal(log.data, "|1 12 s:\0\0ab\0\0cde\0\0\0", 20);
    log.len = 0;
    assert_int_equal(read_sparse("90000", "2\n0\n1\n89999\n1\n", "ab", &log), 1);
    assert_int_equal(log.len, 11 + 90000);
    assert_int_equal(log.data[11], 'a');
    assert_int_equal(log.data[11 + 89999], 'b');
    static const struct {
        const char *size, *map;
    } bad[] = {
        {"12", "2\n0\n3\n1\n3\n"}, {"12", "2\n6\n3\n0\n3\n"}, {"12", "1\n10\n4\n"}, {"2", "1\n0\n4\n"},
        {"12", "1\n4611686018427387904\n4\n"}, {"12", "1\n9223372036854775807\n4\n"},
        {"12", "99999999999999\n0\n1\n"}, {"12", "-1\n"}, {"12", "x"}, {"-12", "1\n0\n4\n"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (read_sparse(bad[i].size, bad[i].map, "abcdef", &log) != ERR_FORMAT)
            fail_msg("size %s, map %zu", bad[i].size, i);
    buf_free(&log);
}

static void zstd_once(void **state)
{
    (void)state;
    static const uint8_t once[] = {
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x68, 0xcd, 0x01, 0x00, 0xb2, 0xc2, 0x08, 0x0f, 0xc0, 0x5d, 0x03,
        0x36, 0x39, 0x62, 0x3b, 0x55, 0x74, 0x3b, 0xd1, 0x41, 0x7d, 0x9c, 0x02, 0xaa, 0x94, 0x0e, 0xf2,
        0x5d, 0xa6, 0x31, 0xe7, 0xc0, 0x21, 0x42, 0x79, 0x97, 0xfc, 0x3b, 0x46, 0xf9, 0xf7, 0x05, 0x07,
        0x20, 0x70, 0x1f, 0xf7, 0xfd, 0x65, 0x8e, 0x3a, 0x60, 0xf2, 0x84, 0x4b, 0x04, 0x86, 0xf3, 0x93,
        0xc3, 0x02, 0x85, 0x91, 0x90, 0x94};
    static const uint8_t around[] = {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x68, 0x31, 0x02, 0x00};
    static const uint8_t behind[] = {0x32, 0x78, 0x5e, 0x43};
    struct buf b = {0}, log = {0};
    struct err e = {0};
    buf_put(&b, once, sizeof once);
    expect_log(&b, 4096, "|1 5 z:hello", 12);
    expect_log(&b, 1, "|1 5 z:hello", 12);
    b.len -= 10;
    assert_int_equal(read_all(&b, 4096, &log, &e), ERR_FORMAT);
    b.len = 0;
    buf_put(&b, around, sizeof around);
    buf_put(&b, once, sizeof once);
    buf_put(&b, behind, sizeof behind);
    assert_int_equal(read_all(&b, 4096, &log, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "more than once"));
    static const uint8_t window[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00}; /* 2 GiB */
    b.len = 0;
    buf_put(&b, window, sizeof window);
    assert_int_equal(read_all(&b, 4096, &log, &e), ERR_FORMAT);
    buf_free(&b);
    buf_free(&log);
}

static void a_header_has_bounds(void **state)
{
    (void)state;
    struct buf b = {0}, log = {0};
    struct err e = {0};
    size_t n = 900000;
    char *records = mem_alloc(n + 1);
    memset(records, 'x', n);
    memcpy(records, "900000 comment=", 15);
    records[n - 1] = '\n';
    pax(&b, records, n);
    object(&b, "a", '0', "", "");
    end_marks(&b);
    assert_int_equal(read_all(&b, 4096, &log, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "header of more than"));
    free(records);
    buf_free(&b);
    buf_free(&log);
}

static void an_error_of_the_source_is_passed_on(void **state)
{
    (void)state;
    struct buf b = {0};
    object(&b, "a", '0', "", "hello");
    for (size_t n = 0; n <= b.len; n += 64) {
        struct err e = {0};
        struct source s = {.p = b.data, .left = n, .piece = 100, .fail = ERR_PROTO};
        struct archive_in *a = archive_in_new(pull, &s, &e);
        struct archive_object o;
        int rc;
        while ((rc = archive_in_next(a, &o, &e)) == 1)
            ;
        assert_int_equal(rc, ERR_PROTO);
        assert_int_equal(e.code, ERR_PROTO);
        assert_string_equal(e.msg, "the link is gone");
        assert_int_equal(archive_in_next(a, &o, &e), ERR_PROTO);
        const void *p;
        assert_int_equal(archive_in_data(a, &p, &e), ERR_PROTO);
        assert_int_equal(s.calls_after_end, 0);
        archive_in_free(a);
    }
    buf_free(&b);
}

/* ---- a large object in little memory ---- */

struct endless {
    uint8_t head[512];
    uint64_t left; /* of content and end marks */
    bool begun;
};

static ssize_t pull_endless(void *ctx, const void **p, struct err *e)
{
    static const uint8_t zeros[1 << 18];
    struct endless *s = ctx;
    (void)e;
    if (!s->begun) {
        s->begun = true;
        *p = s->head;
        return 512;
    }
    size_t n = s->left < sizeof zeros ? (size_t)s->left : sizeof zeros;
    s->left -= n;
    *p = zeros;
    return (ssize_t)n;
}

static long memory(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss; /* KiB */
}

static void ten_gibibytes_stream(void **state)
{
    (void)state;
    uint64_t size = UINT64_C(10) << 30;
    struct buf b = {0};
    uint8_t *h = head(&b, "f", '0', 0, "");
    memset(h + 124, 0, 12);
    h[124] = 0x80;
    for (int i = 0; i < 8; i++)
        h[135 - i] = (uint8_t)(size >> (8 * i));
    sum(h);
    for (int skip = 0; skip < 2; skip++) {
        struct err e = {0};
        struct endless s = {.left = size + 1024};
        memcpy(s.head, b.data, 512);
        long before = memory();
        struct archive_in *a = archive_in_new(pull_endless, &s, &e);
        struct archive_object o;
        assert_int_equal(archive_in_next(a, &o, &e), 1);
        assert_int_equal(o.size, size);
        const void *p;
        ssize_t n;
        uint64_t got = 0;
        while (!skip && (n = archive_in_data(a, &p, &e)) > 0)
            got += (uint64_t)n;
        assert_int_equal(got, skip ? 0 : size);
        assert_int_equal(archive_in_next(a, &o, &e), 0);
        archive_in_free(a);
        assert_true(memory() - before < 16 * 1024);
    }
    buf_free(&b);
}

/* ---- mtree ---- */

static char *read_back(int fd)
{
    static char text[4096];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static void mtree_text(void **state)
{
    (void)state;
    int fd = file_unnamed("/tmp");
    struct err e = {0};
    struct archive_mtree *m = archive_mtree_new(fd, true, &e);
    assert_non_null(m);
    struct entry d = entry(ENTRY_DIR, "d", 0), f = entry(ENTRY_FILE, "d/a [1] \\x", 3);
    struct entry l = entry(ENTRY_LINK, "l\n\xff", 3), z = entry(ENTRY_FILE, "z", 0);
    struct entry g = entry(ENTRY_FILE, "b\\#=", 3);
    d.mode = 0755;
    g.mtime = (struct stamp){-5, 250000000};
    g.mode = 0;
    assert_int_equal(archive_mtree_put(m, &d, NULL, &e), 0);
    assert_int_equal(archive_mtree_put(m, &f, NULL, &e), 0);
    assert_int_equal(archive_mtree_data(m, "ab", 2, &e), 0);
    assert_int_equal(archive_mtree_data(m, "cd", 2, &e), ERR_CHANGED);
    assert_int_equal(archive_mtree_data(m, "c", 1, &e), 0);
    assert_int_equal(archive_mtree_put(m, &g, NULL, &e), 0);
    assert_int_equal(archive_mtree_data(m, "ab", 2, &e), 0);
    assert_int_equal(archive_mtree_put(m, &l, "a b", &e), 0);
    assert_int_equal(archive_mtree_put(m, &z, NULL, &e), 0);
    assert_int_equal(archive_mtree_end(m, &e), 0);
    assert_string_equal(read_back(fd),
        "#mtree\n"
        ". type=dir\n"
        "./d type=dir mode=0755\n"
        "./d/a\\040\\134\\1331]\\040\\134\\134x type=file mode=0644 size=3 time=1600000000.000000007"
        " sha256digest=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
        "./b\\134\\043\\075 type=file mode=0000 size=3 time=-5.250000000\n"
        "./l\\012\\377 type=link link=a\\040b time=1600000000.000000007\n"
        "./z type=file mode=0644 size=0 time=1600000000.000000007"
        " sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n");
    close(fd);
}

static void mtree_errors_are_told(void **state)
{
    (void)state;
    int fd = file_unnamed("/tmp");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int readonly = open(path, O_RDONLY | O_CLOEXEC);
    struct err e = {0};
    struct archive_mtree *m = archive_mtree_new(readonly, false, &e);
    struct entry f = entry(ENTRY_FILE, "f", 3), l = entry(ENTRY_LINK, "l", 0);
    assert_int_equal(archive_mtree_put(m, &f, NULL, &e), 0);
    assert_int_equal(archive_mtree_data(m, "abcdef", 6, &e), 0); /* nobody digests it */
    assert_int_equal(archive_mtree_put(m, &l, NULL, &e), ERR_FORMAT);
    assert_int_equal(archive_mtree_end(m, &e), ERR_SYS);
    close(readonly);
    close(fd);
}

static void put_real(struct archive_mtree *m, int dir, const char *name, enum entry_kind kind,
                     const char *content)
{
    struct err e = {0};
    struct entry en = entry(kind, name, strlen(content));
    if (kind == ENTRY_DIR)
        assert_int_equal(mkdirat(dir, name, 0755), 0);
    else if (kind == ENTRY_LINK)
        assert_int_equal(symlinkat(content, dir, name), 0);
    else
        assert_int_equal(file_replace(dir, name, content, strlen(content), false, &e), 0);
    struct stat st;
    assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    en.mode = kind == ENTRY_LINK ? 0777 : st.st_mode & 0777;
    en.mtime = (struct stamp){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    assert_int_equal(archive_mtree_put(m, &en, content, &e), 0);
    if (kind == ENTRY_FILE)
        assert_int_equal(archive_mtree_data(m, content, strlen(content), &e), 0);
}

/* The tool's own words on a tree that it is told about, and on the same tree with one byte changed. */
static void mtree_tool_agrees(void **state)
{
    (void)state;
    if (system("command -v mtree >/dev/null 2>&1") != 0)
        skip();
    char dir[] = "/tmp/sos-mtree-XXXXXX", command[200];
    assert_non_null(mkdtemp(dir));
    int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = file_unnamed("/tmp");
    struct err e = {0};
    struct archive_mtree *m = archive_mtree_new(fd, true, &e);
    put_real(m, root, "*", ENTRY_FILE, "star");
    put_real(m, root, "[a]", ENTRY_FILE, "bracket");
    put_real(m, root, "[a]b\\c?", ENTRY_FILE, "mixed");
    put_real(m, root, "a", ENTRY_FILE, "");
    put_real(m, root, "bad\xff new\nline", ENTRY_FILE, "bytes");
    put_real(m, root, "d[1]", ENTRY_DIR, "");
    put_real(m, root, "d[1]/p\\q #=", ENTRY_FILE, "inner");
    put_real(m, root, "d[1]/z*", ENTRY_LINK, "to [x] \\ #=");
    put_real(m, root, "~x{}%$&", ENTRY_FILE, "signs");
    assert_int_equal(archive_mtree_end(m, &e), 0);
    snprintf(command, sizeof command, "test -z \"$(mtree -p %s </proc/%d/fd/%d 2>&1)\"", dir,
             (int)getpid(), fd);
    int same = system(command);
    int f = openat(root, "a", O_WRONLY | O_CLOEXEC);
    assert_int_equal(file_write(f, "x", 1), 0);
    close(f);
    int other = system(command);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    close(root);
    close(fd);
    assert_int_equal(same, 0);
    assert_int_not_equal(other, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out_in_every_locale),
        cmocka_unit_test(names_of_other_tools_stay_bytes),
        cmocka_unit_test(times_and_sizes_in_the_header),
        cmocka_unit_test(a_file_that_shrank_is_padded),
        cmocka_unit_test(freeing_a_writer_writes_nothing),
        cmocka_unit_test(objects_that_are_refused),
        cmocka_unit_test(set_id_bits_mean_nothing),
        cmocka_unit_test(a_cut_archive_is_not_a_short_one),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(holes_are_zeros_and_bad_maps_are_refused),
        cmocka_unit_test(zstd_once),
        cmocka_unit_test(a_header_has_bounds),
        cmocka_unit_test(an_error_of_the_source_is_passed_on),
        cmocka_unit_test(ten_gibibytes_stream),
        cmocka_unit_test(mtree_text),
        cmocka_unit_test(mtree_errors_are_told),
        cmocka_unit_test(mtree_tool_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
