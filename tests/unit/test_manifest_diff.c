/* The difference of two manifests: applied to the one it makes the other, and whatever breaks the rules is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "object/manifest_diff.h"

static const struct manifest_head head = {.algo = DIGEST_XXH3_128, .store = {{1}}};

/* One word of a world: kind, path, and after an = a number that tells versions of an object apart ("fa/b=2"). */
static struct entry entry_of(char *path, const char *word)
{
    const char *mark = strchr(word, '=');
    size_t n = mark ? (size_t)(mark - word) - 1 : strlen(word) - 1;
    unsigned turn = mark ? (unsigned)atoi(mark + 1) : 1;
    memcpy(path, word + 1, n);
    path[n] = '\0';
    struct entry e = {.path = path, .path_len = n, .mode = 0755, .origin = {{7}}, .first_seen = 5};
    e.kind = word[0] == 'd' ? ENTRY_DIR : word[0] == 'g' ? ENTRY_GONE : ENTRY_FILE;
    if (e.kind == ENTRY_GONE) {
        e.mode = 0;
        e.mtime.sec = 1700000000;
    }
    if (e.kind == ENTRY_FILE) {
        e.size = turn;
        e.digest = digest_of(&turn, sizeof turn);
    }
    version_set(&e.version, &e.origin, turn);
    return e;
}

/* What a hostile piece holds: words as above, and "-path" for a path that is gone. */
static void put_words(struct buf *out, const char *words)
{
    char *text = mem_strdup(words), path[256], *save = NULL;
    for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (*w == '-') {
            buf_varint(out, 8); /* as a damaged tombstone would begin */
            buf_str(out, w + 1, strlen(w) - 1);
            continue;
        }
        struct entry e = entry_of(path, w);
        manifest_put_entry(out, &e);
    }
    free(text);
}

static int world_of(const char *words, struct manifest_totals *totals)
{
    char *text = mem_strdup(words), path[256], *save = NULL;
    int fd = memfd_create("world", MFD_CLOEXEC);
    struct err err;
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        struct entry e = entry_of(path, word);
        e.place.ino = (uint64_t)fd + 1; /* private: never to be told */
        assert_int_equal(manifest_writer_put(w, &e, &err), 0);
    }
    assert_int_equal(manifest_writer_end(w, totals, &err), 0);
    manifest_writer_free(w);
    free(text);
    return fd;
}

struct pieces {
    struct buf *at;
    size_t n;
};

static struct pieces difference(int before, int now)
{
    struct pieces p = {0};
    struct manifest_head h;
    struct err err;
    struct buf piece = {0};
    struct manifest_reader *old = manifest_reader_new(before, &h, &err), *new = manifest_reader_new(now, &h, &err);
    struct manifest_diff_writer *w = manifest_diff_writer_new(old, new);
    int rc;
    while ((rc = manifest_diff_writer_next(w, &piece, &err)) > 0) {
        if (piece.len == 0)
            continue;
        assert_true(piece.len < MANIFEST_DIFF_TARGET + 8192);
        p.at = mem_resize(p.at, p.n + 1, sizeof *p.at);
        p.at[p.n++] = piece;
        piece = (struct buf){0};
    }
    assert_int_equal(rc, 0);
    manifest_diff_writer_free(w);
    manifest_reader_free(old);
    manifest_reader_free(new);
    buf_free(&piece);
    return p;
}

static void free_pieces(struct pieces *p)
{
    for (size_t i = 0; i < p->n; i++)
        buf_free(&p->at[i]);
    free(p->at);
}

/* 0, with what the result is written to as *out; or the error. Each piece is gone as soon as it is used up. */
static int apply(int base, const struct pieces *p, const struct manifest_totals *claimed, int *out, struct err *err)
{
    struct manifest_head h;
    const struct entry *e;
    struct manifest_reader *old = manifest_reader_new(base, &h, err);
    struct manifest_diff_reader *r = manifest_diff_reader_new(old);
    *out = memfd_create("result", MFD_CLOEXEC);
    struct manifest_writer *w = manifest_writer_new(*out, &head);
    uint8_t *copy = NULL;
    size_t given = 0;
    int rc;
    while ((rc = manifest_diff_reader_next(r, &e, err)) > 0) {
        if (rc == MANIFEST_DIFF_ENTRY) {
            assert_int_equal(manifest_writer_put(w, e, err), 0);
            continue;
        }
        free(copy);
        copy = NULL;
        if (given == p->n) {
            manifest_diff_reader_close(r, claimed);
            continue;
        }
        copy = malloc(p->at[given].len ? p->at[given].len : 1); /* of exact size, for the sanitizer */
        if (p->at[given].len)
            memcpy(copy, p->at[given].data, p->at[given].len);
        rc = manifest_diff_reader_piece(r, copy, p->at[given].len, err);
        given++;
        if (rc < 0)
            break;
    }
    if (rc < 0) {
        struct err again;
        assert_int_equal(manifest_diff_reader_next(r, &e, &again), ERR_FORMAT);
    } else {
        assert_int_equal(manifest_diff_reader_next(r, &e, err), MANIFEST_DIFF_END);
        assert_int_equal(manifest_writer_end(w, NULL, err), 0);
    }
    free(copy);
    manifest_writer_free(w);
    manifest_diff_reader_free(r);
    manifest_reader_free(old);
    return rc;
}

/* The bytes that the difference takes. */
static size_t round_trip(const char *before, const char *now)
{
    struct manifest_totals was, is, got;
    struct err err;
    size_t bytes = 0;
    int a = world_of(before, &was), b = world_of(now, &is), c;
    struct pieces p = difference(a, b);
    for (size_t i = 0; i < p.n; i++)
        bytes += p.at[i].len;
    assert_int_equal(apply(a, &p, &is, &c, &err), 0);
    assert_int_equal(manifest_file_totals(c, &got, &err), 0);
    assert_int_equal(got.entries, is.entries);
    assert_true(digest_same(&got.shared, &is.shared));
    free_pieces(&p);
    close(a);
    close(b);
    close(c);
    return bytes;
}

static void makes_the_other(void **state)
{
    (void)state;
    static const char *const world[] = {
        "", "fa", "fa=2", "fb", "fa fb fc", "da", "da fa/b", "da da/b fa/b/c fa/d", "da da/b=2 fa/b/c fa/d=3 fz",
        "fa fa.txt fz", "da fa/x fa.txt", "ga", "ga=2", "ga fb", "fa ga/b ga/b/c fz", "da ga/b ga/b/c fa/d",
        "ga ga/b ga/b/c ga/d", "da ga/b/c da/d fa/d/e",
    };
    size_t n = sizeof world / sizeof world[0];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            assert_int_equal(round_trip(world[i], world[k]) == 0, i == k);
}

static char *numbered(unsigned from, unsigned to, unsigned step, unsigned changed)
{
    char *text = mem_alloc((size_t)(to - from) * 16 + 16);
    size_t n = 0;
    text[0] = '\0';
    for (unsigned i = from; i < to; i += step)
        n += (size_t)sprintf(text + n, "ff%06u=%u ", i, changed && i % changed == 0 ? 2u : 1u);
    return text;
}

static void many(void **state)
{
    (void)state;
    char *all = numbered(0, 100000, 1, 0), *few = numbered(0, 100000, 1, 40000), *odd = numbered(1, 100000, 2, 0);
    assert_true(round_trip(all, few) < 400); /* three of them */
    assert_int_equal(round_trip(all, all), 0);
    assert_true(round_trip(all, odd) > MANIFEST_DIFF_TARGET);
    assert_true(round_trip(odd, all) > MANIFEST_DIFF_TARGET);
    assert_true(round_trip("", all) > MANIFEST_DIFF_TARGET);
    round_trip(all, "");
    free(all);
    free(few);
    free(odd);
}

static void refused(const char *base, struct buf *piece, size_t n, const struct manifest_totals *claimed,
                    const char *says)
{
    struct manifest_totals was;
    struct err err;
    struct pieces p = {piece, n};
    int out, fd = world_of(base, &was);
    if (apply(fd, &p, claimed ? claimed : &was, &out, &err) != ERR_FORMAT)
        fail_msg("\"%s\": not refused, where it was to say: %s", base, says);
    if (!strstr(err.msg, says))
        fail_msg("\"%s\": \"%s\" does not say: %s", base, err.msg, says);
    close(fd);
    close(out);
}

static void refuses(void **state)
{
    (void)state;
    static const struct { const char *base, *words, *says; } bad[] = {
        {"fa", "-b", "not there"},
        {"fa", "-A", "not there"},
        {"", "-a", "not there"},
        {"fa", "fa", "did not change"},
        {"da", "da", "did not change"},
        {"fa", "fc fb", "out of order"},
        {"fa fb", "-b -a", "out of order"},
        {"fa", "fb fb=2", "out of order"},
        {"fa", "-a fa=2", "out of order"},
        {"fa", "fa=2 -a", "out of order"},
        {"fa", "fa/b", "without its directory"},
        {"fa", "fb/c", "without its directory"},
        {"da fa/b", "-a", "without its directory"},
        {"da fa/b", "fa", "without its directory"},
        {"da da/b fa/b/c", "-a/b", "without its directory"},
        {"da fa/b", "ga", "without its directory"},
        {"da da/b fa/b/c", "ga/b", "without its directory"},
        {"fa", "ga/b fa/c", "without its directory"},
        {"ga ga/b", "fa/b", "without its directory"},
        {"ga", "ga", "did not change"},
        {"ga", "-b", "not there"},
        {"fa", "ga", "totals"},
        {"fa", "f../x", "path"},
        {"fa", "f/etc", "path"},
        {"fa", "-..", "path"},
        {"fa", "f.sos-sync", "path"},
        {"fa", "fb", "totals"},
        {"fa", "-a", "totals"},
        {"fa", "fa=2", "totals"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf piece = {0};
        put_words(&piece, bad[i].words);
        refused(bad[i].base, &piece, 1, NULL, bad[i].says);
        buf_free(&piece);
    }
}

/* Order holds from piece to piece, too. */
static void refuses_across_pieces(void **state)
{
    (void)state;
    struct buf piece[2] = {{0}};
    put_words(&piece[0], "fb");
    put_words(&piece[1], "fb=2");
    refused("fa", piece, 2, NULL, "out of order");
    piece[1].len = 0;
    put_words(&piece[1], "-a");
    refused("fa", piece, 2, NULL, "out of order");
    piece[1].len = 0;
    refused("fa", piece, 2, NULL, "empty");
    buf_free(&piece[0]);
    buf_free(&piece[1]);
}

static void refuses_what_is_cut_short(void **state)
{
    (void)state;
    struct buf whole = {0};
    put_words(&whole, "-a fb=2");
    size_t first = 1 + 1 + 1;
    for (size_t n = 1; n < whole.len; n++) {
        struct buf piece = {whole.data, n, n};
        refused("fa fc", &piece, 1, NULL, n == first ? "totals" : "");
    }
    struct buf huge = {mem_zalloc(MANIFEST_DIFF_MAX + 1), MANIFEST_DIFF_MAX + 1, MANIFEST_DIFF_MAX + 1};
    refused("fa", &huge, 1, NULL, "too large");
    buf_free(&huge);
    buf_free(&whole);
}

/* Each total by itself. */
static void refuses_other_totals(void **state)
{
    (void)state;
    struct manifest_totals good, t;
    struct buf piece = {0};
    close(world_of("da fa/b fc", &good));
    put_words(&piece, "fc");
    t = good, t.entries++;
    refused("da fa/b", &piece, 1, &t, "totals");
    t = good, t.objects++;
    refused("da fa/b", &piece, 1, &t, "totals");
    t = good, t.dirs++;
    refused("da fa/b", &piece, 1, &t, "totals");
    t = good, t.bytes++;
    refused("da fa/b", &piece, 1, &t, "totals");
    t = good, t.shared.b[15] ^= 1;
    refused("da fa/b", &piece, 1, &t, "totals");
    buf_free(&piece);
}

/* A base that is damaged is no fault of the difference's. */
static void tells_a_bad_base(void **state)
{
    (void)state;
    struct manifest_totals totals;
    struct manifest_head h;
    struct err err;
    const struct entry *e;
    int fd = world_of("fa fb", &totals), rc;
    assert_int_equal(pwrite(fd, "?", 1, 80), 1);
    struct manifest_reader *base = manifest_reader_new(fd, &h, &err);
    struct manifest_diff_reader *r = manifest_diff_reader_new(base);
    while ((rc = manifest_diff_reader_next(r, &e, &err)) > 0)
        ;
    assert_true(rc < 0 && manifest_diff_reader_base_failed(r));
    manifest_diff_reader_free(r);
    manifest_reader_free(base);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_the_other),       cmocka_unit_test(many),
        cmocka_unit_test(refuses),               cmocka_unit_test(refuses_across_pieces),
        cmocka_unit_test(refuses_what_is_cut_short), cmocka_unit_test(refuses_other_totals),
        cmocka_unit_test(tells_a_bad_base),
    };
    return cmocka_run_group_tests_name("manifest_diff", tests, NULL, NULL);
}
