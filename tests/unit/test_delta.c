/* Deltas: round trips over many shapes, and peers that lie. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <librsync.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "object/delta.h"
#include "bytes.h"

#define KIB 1024u
#define MIB (1024u * KIB)

/* ---- content ---- */

static void put_random(struct buf *b, size_t n, uint64_t seed)
{
    seed = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < n; i++)
        buf_u8(b, (uint8_t)(bytes_random(&seed) >> 24));
}

static struct buf random_bytes(size_t n, uint64_t seed)
{
    struct buf b = {0};
    put_random(&b, n, seed);
    return b;
}

/* ---- the four parts ---- */

/* 0 or the error. */
static int sign_on(struct delta_signer *s, const struct buf *basis, unsigned threads, struct buf *out)
{
    struct delta_input in = bytes_input(basis);
    struct err e;
    int rc;
    while ((rc = delta_signer_step(s, &in, threads, out, &e)) > 0)
        ;
    return rc;
}

static struct buf sign_as(const struct buf *basis, uint64_t basis_size, uint64_t want)
{
    struct buf out = {0}, again = {0};
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct delta_signer *s = delta_signer_new(basis_size, want);
        assert_int_equal(sign_on(s, basis, threads, threads == 1 ? &out : &again), 0);
        delta_signer_free(s);
    }
    bytes_expect_same(&out, &again);
    buf_free(&again);
    assert_true(out.len <= delta_signature_size(basis_size, want));
    return out;
}

/* NULL with the error in e where it is refused. */
static struct delta_index *load(const struct buf *sig, uint64_t max, size_t piece, struct err *e)
{
    struct delta_index *x = delta_index_new(max);
    int rc = 0;
    for (size_t at = 0, n; at < sig->len && rc == 0; at += n) {
        n = sig->len - at < piece ? sig->len - at : piece;
        rc = delta_index_feed(x, sig->data + at, n, e);
    }
    if (rc == 0)
        rc = delta_index_end(x, e);
    if (rc < 0) {
        assert_int_equal(rc, ERR_FORMAT);
        assert_int_equal(e->code, ERR_FORMAT);
        delta_index_free(x);
        return NULL;
    }
    return x;
}

static struct buf make(const struct delta_index *x, const struct buf *want, size_t keep, size_t piece,
                       struct delta_counts *counts)
{
    struct buf out = {0};
    struct err e;
    struct delta_maker *m = delta_maker_new(x);
    delta_maker_keep(m, keep, &out);
    for (size_t at = keep, n; at < want->len; at += n) {
        n = want->len - at < piece ? want->len - at : piece;
        assert_int_equal(delta_maker_feed(m, want->data + at, n, &out, &e), 0);
    }
    assert_int_equal(delta_maker_end(m, &out, &e), 0);
    *counts = delta_maker_counts(m);
    delta_maker_free(m);
    return out;
}

struct target {
    const struct buf *basis;
    struct buf out;
    uint64_t kept;
    unsigned keeps;
    int fail_write; /* what write returns when it should fail */
};

static ssize_t read_basis(void *ctx, uint64_t pos, void *p, size_t n, struct err *e)
{
    const struct target *t = ctx;
    (void)e;
    if (pos >= t->basis->len)
        return 0;
    if (n > t->basis->len - pos)
        n = (size_t)(t->basis->len - pos);
    memcpy(p, t->basis->data + pos, n);
    return (ssize_t)n;
}

static int keep_out(void *ctx, uint64_t n, struct err *e)
{
    struct target *t = ctx;
    (void)e;
    t->kept = n;
    t->keeps++;
    return 0;
}

static int write_out(void *ctx, const void *p, size_t n, struct err *e)
{
    struct target *t = ctx;
    if (t->fail_write)
        return err_set(e, t->fail_write, "told to fail");
    buf_put(&t->out, p, n);
    return 0;
}

static const struct delta_calls calls = {read_basis, keep_out, write_out, NULL};

/* 1, or the first error; never more than want bytes are written. */
static int apply(struct target *t, const struct buf *patch, uint64_t want, size_t piece, struct delta_counts *counts)
{
    struct err e;
    int rc = 0;
    struct delta_patcher *p = delta_patcher_new(want, &calls, t);
    for (size_t at = 0, n; at < patch->len && rc == 0; at += n) {
        n = patch->len - at < piece ? patch->len - at : piece;
        rc = delta_patcher_feed(p, patch->data + at, n, &e);
    }
    if (rc < 0)
        assert_true(delta_patcher_feed(p, "", 1, &e) < 0); /* errors are final */
    int end = delta_patcher_end(p, &e);
    assert_true(rc == 0 || end == rc);
    *counts = delta_patcher_counts(p);
    delta_patcher_free(p);
    assert_true(t->out.len + t->kept <= want);
    return end;
}

/* There and back; returns the bytes that travelled as literals. */
static uint64_t round_trip(const struct buf *basis, const struct buf *want, size_t piece)
{
    struct err e;
    struct delta_counts made, taken;
    struct target t = {.basis = basis};
    struct buf sig = sign_as(basis, basis->len, want->len);
    struct delta_index *x = load(&sig, delta_signature_size(basis->len, want->len), piece, &e);
    assert_non_null(x);
    struct buf patch = make(x, want, 0, piece, &made);
    assert_int_equal(apply(&t, &patch, want->len, piece, &taken), 1);
    bytes_expect_same(&t.out, want);
    assert_int_equal(made.literal + made.matched, want->len);
    assert_int_equal(made.literal, taken.literal);
    assert_int_equal(made.matched, taken.matched);
    delta_index_free(x);
    buf_free(&sig);
    buf_free(&patch);
    buf_free(&t.out);
    return made.literal;
}

/* ---- round trips ---- */

static void identical(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 1023, 1024, 1025, 16384, 100000, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf b = random_bytes(sizes[i], i);
        assert_int_equal(round_trip(&b, &b, 65536), 0);
        assert_int_equal(round_trip(&b, &b, 777), 0);
        buf_free(&b);
    }
}

/* cut: bytes of the basis that are left out at `at`; add: new ones there instead */
static uint64_t edited(const struct buf *basis, size_t at, size_t cut, size_t add, size_t piece)
{
    struct buf want = {0};
    buf_put(&want, basis->data, at);
    put_random(&want, add, 99);
    buf_put(&want, basis->data + at + cut, basis->len - at - cut);
    uint64_t literal = round_trip(basis, &want, piece);
    buf_free(&want);
    return literal;
}

static void insertions_and_deletions(void **state)
{
    (void)state;
    struct buf b = random_bytes(300000, 1);
    static const size_t places[] = {0, 1, 1024, 150000, 299000, 299999, 300000};
    static const size_t amounts[] = {0, 1, 5, 1024, 3000};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (size_t j = 0; j < sizeof amounts / sizeof *amounts; j++)
            for (size_t k = 0; k < sizeof amounts / sizeof *amounts; k++) {
                size_t cut = amounts[j];
                if (cut > b.len - places[i])
                    cut = b.len - places[i];
                assert_true(edited(&b, places[i], cut, amounts[k], 65536) <= amounts[k] + 2 * KIB);
            }
    buf_free(&b);
}

static void scattered_edits(void **state)
{
    (void)state;
    struct buf b = random_bytes(2 * MIB, 2), want = {0};
    uint64_t seed = 3;
    buf_put(&want, b.data, b.len);
    for (int i = 0; i < 50; i++)
        want.data[bytes_random(&seed) % want.len] ^= 1;
    assert_true(round_trip(&b, &want, 65536) <= 50 * KIB);
    assert_true(round_trip(&b, &want, 5000) <= 50 * KIB);
    buf_free(&b);
    buf_free(&want);
}

static void blocks_that_moved(void **state)
{
    (void)state;
    struct buf b = random_bytes(MIB, 4), want = {0};
    buf_put(&want, b.data + MIB / 2, MIB / 2);
    buf_put(&want, b.data, MIB / 2);
    buf_put(&want, b.data + 7, MIB / 4); /* a second time */
    assert_true(round_trip(&b, &want, 65536) <= 4 * KIB);
    buf_free(&b);
    buf_free(&want);
}

static void content_that_repeats(void **state)
{
    (void)state;
    struct buf b = {0}, want = {0};
    memset(buf_room(&b, MIB), 0, MIB);
    b.len = MIB;
    put_random(&b, 5000, 5);
    buf_put(&want, b.data + 100, b.len - 100);
    assert_true(round_trip(&b, &want, 65536) <= 2 * KIB);
    for (size_t i = 0; i < want.len; i++)
        want.data[i] = (uint8_t)(i % 7);
    round_trip(&want, &b, 65536);
    round_trip(&b, &want, 65536);
    buf_free(&b);
    buf_free(&want);
}

static void empty_ones(void **state)
{
    (void)state;
    struct buf none = {0}, b = random_bytes(50000, 6);
    assert_int_equal(round_trip(&none, &none, 100), 0);
    assert_int_equal(round_trip(&b, &none, 100), 0);
    assert_int_equal(round_trip(&none, &b, 100), b.len);
    buf_free(&b);
}

static void all_small_sizes(void **state)
{
    (void)state;
    struct buf b = random_bytes(4200, 7);
    for (size_t n = 0; n <= b.len; n += n % KIB < 5 || n % KIB > 1018 ? 1 : 37) {
        struct buf part = {b.data, n, 0};
        assert_true(round_trip(&b, &part, 4096) <= KIB);
        round_trip(&part, &b, 1000);
        if (n) {
            struct buf rest = {b.data + n, b.len - n, 0};
            assert_true(round_trip(&b, &rest, 333) <= KIB);
        }
    }
    buf_free(&b);
}

static void all_pieces(void **state)
{
    (void)state;
    struct buf b = random_bytes(20000, 8), want = {0};
    buf_put(&want, b.data + 3, 9000);
    put_random(&want, 500, 9);
    buf_put(&want, b.data + 11000, 9000);
    for (size_t piece = 1; piece < 40; piece++)
        assert_true(round_trip(&b, &want, piece) <= 4 * KIB);
    for (size_t piece = 1000; piece < 1050; piece++)
        assert_true(round_trip(&b, &want, piece) <= 4 * KIB);
    buf_free(&b);
    buf_free(&want);
}

static void random_mutations(void **state)
{
    (void)state;
    uint64_t seed = 12345;
    for (int turn = 0; turn < 60; turn++) {
        struct buf b = random_bytes(bytes_random(&seed) % 200000, bytes_random(&seed)), want = {0};
        for (int part = 0; part < 8; part++) {
            uint64_t r = bytes_random(&seed);
            size_t at = b.len ? r % b.len : 0, n = bytes_random(&seed) % 40000;
            if (r >> 60 < 4)
                put_random(&want, n / 4, r);
            else
                buf_put(&want, b.data + at, n < b.len - at ? n : b.len - at);
        }
        round_trip(&b, &want, 1 + bytes_random(&seed) % 70000);
        buf_free(&b);
        buf_free(&want);
    }
}

static void basis_of_another_size(void **state)
{
    (void)state;
    struct buf b = random_bytes(100000, 10);
    static const uint64_t told[] = {0, 1, 1024, 65536, 99999, 100000};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        struct err e;
        struct delta_counts counts;
        struct target t = {.basis = &b};
        struct buf sig = sign_as(&b, told[i], b.len);
        struct delta_index *x = load(&sig, delta_signature_size(told[i], b.len), 4096, &e);
        assert_non_null(x);
        struct buf patch = make(x, &b, 0, 4096, &counts);
        assert_int_equal(apply(&t, &patch, b.len, 4096, &counts), 1);
        bytes_expect_same(&t.out, &b);
        delta_index_free(x);
        buf_free(&sig);
        buf_free(&patch);
        buf_free(&t.out);
    }
    buf_free(&b);
}

static void basis_that_shrank(void **state)
{
    (void)state;
    struct buf b = random_bytes(100000, 10), out = {0};
    static const uint64_t told[] = {100001, 200000, 5000000, (uint64_t)1 << 50, UINT64_MAX};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        for (unsigned coarse = 0; coarse < 2; coarse++) {
            struct delta_signer *s = (coarse ? delta_signer_new_coarse(told[i], 7) : delta_signer_new(told[i], b.len));
            assert_int_equal(sign_on(s, &b, 2, &out), ERR_CHANGED);
            delta_signer_free(s);
        }
    buf_free(&b);
    buf_free(&out);
}

static void no_index(void **state)
{
    (void)state;
    struct buf b = random_bytes(200000, 11), none = {0};
    struct delta_counts counts;
    struct target t = {.basis = &none};
    struct buf patch = make(NULL, &b, 0, 70000, &counts);
    assert_int_equal(counts.literal, b.len);
    assert_true(patch.len < b.len + 100);
    assert_int_equal(apply(&t, &patch, b.len, 999, &counts), 1);
    bytes_expect_same(&t.out, &b);
    buf_free(&b);
    buf_free(&patch);
    buf_free(&t.out);
}

static void keeps_what_is_there(void **state)
{
    (void)state;
    struct buf b = random_bytes(100000, 12), none = {0};
    struct err e;
    struct delta_counts counts;
    static const size_t keeps[] = {1, 50000, 99999, 100000};
    for (size_t i = 0; i < sizeof keeps / sizeof *keeps; i++) {
        struct target t = {.basis = &none};
        struct buf sig = sign_as(&b, b.len, b.len);
        struct delta_index *x = load(&sig, sig.len, 10, &e);
        struct buf patch = make(x, &b, keeps[i], 4096, &counts);
        assert_int_equal(counts.literal + counts.matched, b.len - keeps[i]);
        t.basis = &b;
        assert_int_equal(apply(&t, &patch, b.len, 1, &counts), 1);
        assert_int_equal(t.keeps, 1);
        assert_int_equal(t.kept, keeps[i]);
        struct buf rest = {b.data + keeps[i], b.len - keeps[i], 0};
        bytes_expect_same(&t.out, &rest);
        delta_index_free(x);
        buf_free(&sig);
        buf_free(&patch);
        buf_free(&t.out);
    }
    buf_free(&b);
}

/* ---- segments ---- */

static void long_files(void **state)
{
    (void)state;
    struct buf b = random_bytes(40 * MIB + 123, 13), want = {0};
    put_random(&want, 2 * MIB, 14);
    buf_put(&want, b.data, b.len);
    assert_int_equal(round_trip(&b, &b, 256 * KIB), 0);
    assert_true(round_trip(&b, &want, 256 * KIB) <= 2 * MIB + 32 * KIB);
    buf_free(&b);
    buf_free(&want);
}

/* New content at the front stops the search, but not for good. */
static void search_comes_back(void **state)
{
    (void)state;
    struct buf b = random_bytes(30 * MIB, 15), want = {0};
    put_random(&want, 20 * MIB, 16);
    buf_put(&want, b.data, b.len);
    uint64_t literal = round_trip(&b, &want, 256 * KIB);
    assert_true(literal >= 20 * MIB && literal < 34 * MIB);
    buf_free(&b);
    buf_free(&want);
}

/* ---- librsync reads what we write, and we read what it writes ---- */

static struct buf job(rs_job_t *j, const struct buf *in)
{
    struct buf out = {0};
    rs_buffers_t b = {.next_in = (char *)in->data, .avail_in = in->len, .eof_in = 1};
    rs_result r;
    do {
        b.next_out = (char *)buf_room(&out, 65536);
        b.avail_out = 65536;
        r = rs_job_iter(j, &b);
        out.len += 65536 - b.avail_out;
    } while (r == RS_BLOCKED);
    assert_int_equal(r, RS_DONE);
    rs_job_free(j);
    return out;
}

static rs_result copy_basis(void *ctx, rs_long_t pos, size_t *len, void **buf)
{
    struct target t = {.basis = ctx};
    struct err e;
    *len = (size_t)read_basis(&t, (uint64_t)pos, *buf, *len, &e);
    return RS_DONE;
}

/* The deltas within a patch stream of one segment. */
static struct buf delta_of(const struct buf *patch)
{
    struct buf out = {0};
    struct rd r = rd_of(patch->data, patch->len);
    while (rd_left(&r)) {
        uint8_t kind = rd_u8(&r);
        size_t n = rd_u32(&r);
        const uint8_t *p = rd_bytes(&r, n);
        assert_false(r.bad);
        if (kind == DELTA_DELTA)
            buf_put(&out, p, n);
    }
    return out;
}

static void put_record(struct buf *b, uint8_t kind, const void *p, size_t n)
{
    buf_u8(b, kind);
    buf_u32(b, (uint32_t)n);
    buf_put(b, p, n);
}

static void put_number(struct buf *b, uint8_t kind, uint64_t v)
{
    buf_u8(b, kind);
    buf_u32(b, 8);
    buf_u64(b, v);
}

static void librsync_agrees(void **state)
{
    (void)state;
    struct err e;
    struct delta_counts counts;
    struct buf b = random_bytes(500123, 17), want = {0}, stream = {0};
    rs_signature_t *sums;
    buf_put(&want, b.data + 777, 200000);
    put_random(&want, 3000, 18);
    buf_put(&want, b.data + 250000, b.len - 250000);
    struct delta_shape shape = delta_shape_for(b.len, want.len);
    struct buf ours = sign_as(&b, b.len, want.len);
    struct buf theirs = job(rs_sig_begin(shape.block, shape.strong, RS_RK_BLAKE2_SIG_MAGIC), &b);
    bytes_expect_same(&ours, &theirs);

    struct delta_index *x = load(&ours, ours.len, 100, &e);
    struct buf patch = make(x, &want, 0, 4096, &counts), delta = delta_of(&patch);
    struct buf rebuilt = job(rs_patch_begin(copy_basis, &b), &delta);
    bytes_expect_same(&rebuilt, &want);

    struct buf nothing = job(rs_loadsig_begin(&sums), &theirs);
    assert_int_equal(rs_build_hash_table(sums), RS_DONE);
    struct buf their_delta = job(rs_delta_begin(sums), &want);
    struct target t = {.basis = &b};
    assert_true(their_delta.len < DELTA_RECORD_MAX && delta.len <= their_delta.len + 16);
    put_number(&stream, DELTA_BEGIN, want.len);
    put_record(&stream, DELTA_DELTA, their_delta.data, their_delta.len);
    put_number(&stream, DELTA_END, want.len);
    assert_int_equal(apply(&t, &stream, want.len, 10, &counts), 1);
    bytes_expect_same(&t.out, &want);
    rs_free_sumset(sums);
    delta_index_free(x);
    struct buf *all[] = {&b, &want, &stream, &ours, &theirs, &patch, &delta, &rebuilt, &nothing, &their_delta, &t.out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
}

/* A signature need not have the shape that we would have chosen. */
static void other_shapes(void **state)
{
    (void)state;
    static const struct { uint32_t block, strong; } all[] = {{1, 16}, {7, 17}, {127, 32}, {128, 32}, {1000, 16}, {1152, 20},
                                                             {65536, 16}, {2 * MIB, 16}};
    struct buf b = random_bytes(300001, 30), want = {0};
    put_random(&want, 1000, 31);
    buf_put(&want, b.data, b.len);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct err e;
        struct delta_counts counts;
        struct target t = {.basis = &b};
        struct buf sig = job(rs_sig_begin(all[i].block, all[i].strong, RS_RK_BLAKE2_SIG_MAGIC), &b);
        struct delta_index *x = load(&sig, UINT64_MAX, 5000, &e);
        assert_non_null(x);
        struct buf patch = make(x, &want, 0, 3000, &counts);
        assert_true(counts.literal <= 1000);
        assert_int_equal(apply(&t, &patch, want.len, 5000, &counts), 1);
        bytes_expect_same(&t.out, &want);
        delta_index_free(x);
        buf_free(&sig);
        buf_free(&patch);
        buf_free(&t.out);
    }
    buf_free(&b);
    buf_free(&want);
}

/* ---- sizes ---- */

static void shapes(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 16384, MIB, 100u * MIB, 1u << 30, (uint64_t)1 << 36, (uint64_t)1 << 40,
                                     (uint64_t)1 << 44, (uint64_t)1 << 60, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            struct delta_shape s = delta_shape_for(sizes[i], sizes[j]);
            assert_in_range(s.block, KIB, DELTA_BLOCK_MAX);
            assert_in_range(s.strong, 16, 32);
            if (delta_worth(sizes[i], sizes[j])) {
                assert_true(delta_signature_size(sizes[i], sizes[j]) <= sizes[j] / 16);
                assert_true(sizes[i] / s.block <= DELTA_BLOCKS_MAX);
            }
        }
    assert_int_equal(delta_shape_for(1u << 30, 1u << 30).block, 8 * KIB);
    assert_true(delta_worth(16384, 16384));
    assert_false(delta_worth(16383, 16384));
    assert_false(delta_worth(16384, 16383));
    assert_false(delta_worth(MIB, 17 * MIB));
    assert_true(delta_worth(MIB, 16 * MIB));
    assert_false(delta_worth((uint64_t)1 << 40, 16384));
    assert_true(delta_worth((uint64_t)1 << 40, (uint64_t)1 << 40));
    assert_false(delta_worth(UINT64_MAX, UINT64_MAX));
}

/* ---- signatures that lie ---- */

static void put_be32(struct buf *b, uint32_t v)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_u8(b, (uint8_t)(v >> shift));
}

#define COARSE_MAGIC 0x736f7363

static struct buf signature(uint32_t magic, uint32_t block, uint32_t strong, size_t blocks)
{
    struct buf b = {0};
    put_be32(&b, magic);
    put_be32(&b, block);
    put_be32(&b, strong);
    put_random(&b, magic == COARSE_MAGIC ? 8 : 0, 21);
    put_random(&b, blocks * (4 + (strong < 64 ? strong : 64)), 20);
    return b;
}

static void refuse_signature(uint32_t magic, uint32_t block, uint32_t strong)
{
    struct err e;
    struct buf b = signature(magic, block, strong, 3);
    assert_null(load(&b, 1000, 1, &e));
    assert_null(load(&b, 1000, 1000, &e));
    buf_free(&b);
}

static void hostile_signatures(void **state)
{
    (void)state;
    static const uint32_t magics[] = {0x72730136, 0x72730137, 0x72730146, 0x72730236, 0, UINT32_MAX};
    static const uint32_t blocks[] = {0, DELTA_BLOCK_MAX + 1, 0x80000000, UINT32_MAX};
    static const uint32_t strongs[] = {0, 1, 8, 15, 33, 0x80000010, UINT32_MAX};
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        refuse_signature(magics[i], 2048, 16);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        refuse_signature(0x72730147, blocks[i], 16);
    for (size_t i = 0; i < sizeof strongs / sizeof *strongs; i++) {
        refuse_signature(0x72730147, 2048, strongs[i]);
        refuse_signature(COARSE_MAGIC, 2048, strongs[i]);
    }
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        refuse_signature(COARSE_MAGIC, blocks[i], 16);
    refuse_signature(COARSE_MAGIC, 2048, 17);
    refuse_signature(COARSE_MAGIC, 2048, 32);
}

static void cut_or_too_long(uint32_t magic, size_t head)
{
    struct err e;
    struct buf b = signature(magic, 2048, 16, 5);
    for (size_t n = 0; n <= b.len; n++) {
        struct buf part = {b.data, n, 0};
        struct delta_index *x = load(&part, b.len, 7, &e);
        assert_int_equal(x != NULL, n >= head && (n - head) % 20 == 0);
        delta_index_free(x);
        if (n < b.len)
            assert_null(load(&b, n, 9, &e));
    }
    buf_free(&b);
}

static void signatures_cut_or_too_long(void **state)
{
    (void)state;
    cut_or_too_long(0x72730147, 12);
    cut_or_too_long(COARSE_MAGIC, 20);
}

static void index_memory_is_bounded(void **state)
{
    (void)state;
    struct err e;
    struct buf b = signature(0x72730147, 1, 16, DELTA_BLOCKS_MAX);
    struct delta_index *x = load(&b, UINT64_MAX, 65536, &e);
    assert_non_null(x);
    assert_true(delta_index_memory(x) < 64 * MIB);
    delta_index_free(x);
    put_random(&b, 20, 21);
    assert_null(load(&b, UINT64_MAX, 65536, &e));
    buf_free(&b);
}

/* All weak sums alike, and alike with those of the wanted file: neither loading nor searching may crawl. */
static void signature_that_burns_time(void **state)
{
    (void)state;
    struct err e;
    struct delta_counts counts;
    struct buf zeros = {0}, sig = signature(0x72730147, DELTA_BLOCK_MAX / 16, 16, 200000);
    memset(buf_room(&zeros, 8 * MIB), 0, 8 * MIB);
    zeros.len = 8 * MIB;
    struct buf one = job(rs_sig_begin(DELTA_BLOCK_MAX / 16, 16, RS_RK_BLAKE2_SIG_MAGIC), &zeros);
    for (size_t i = 0; i < 200000; i++)
        memcpy(sig.data + 12 + 20 * i, one.data + 12, 4);
    struct delta_index *x = load(&sig, UINT64_MAX, 65536, &e);
    assert_non_null(x);
    struct buf patch = make(x, &zeros, 0, 65536, &counts);
    assert_int_equal(counts.literal, zeros.len);
    delta_index_free(x);
    buf_free(&zeros);
    buf_free(&sig);
    buf_free(&one);
    buf_free(&patch);
}

/* ---- patches that lie ---- */

#define MAGIC "\x72\x73\x02\x36"

/* Refused with this code, in pieces of 1 byte and at once. */
static void refuse_patch(const struct buf *patch, uint64_t want, int code)
{
    struct buf basis = random_bytes(1000, 22);
    for (size_t piece = 1; piece < 100000; piece += 99998) {
        struct target t = {.basis = &basis};
        struct delta_counts counts;
        assert_int_equal(apply(&t, patch, want, piece, &counts), code);
        buf_free(&t.out);
    }
    buf_free(&basis);
}

/* A delta with these commands, as the whole file. */
static struct buf patch_of(uint64_t makes, const char *commands, size_t n, uint64_t end)
{
    struct buf b = {0}, d = {0};
    buf_put(&d, MAGIC, 4);
    buf_put(&d, commands, n);
    put_number(&b, DELTA_BEGIN, makes);
    put_record(&b, DELTA_DELTA, d.data, d.len);
    put_number(&b, DELTA_END, end);
    buf_free(&d);
    return b;
}

struct commands {
    const char *p;
    size_t n;
};
#define COMMANDS(s) {s, sizeof s - 1}

static void hostile_commands(void **state)
{
    (void)state;
    static const struct commands bad[] = {
        COMMANDS("\x45\x00\x00\x00"),                                     /* COPY of nothing */
        COMMANDS("\x41\x00\x00"),                                         /* LITERAL of nothing */
        COMMANDS("\x46\x00\x03\xe9\x00"),                                 /* COPY past the end */
        COMMANDS("\x49\x03\xe8\x01\x00"),                                 /* COPY behind the end */
        COMMANDS("\x49\x03\xe7\x02\x00"),                                 /* COPY across the end */
        COMMANDS("\x51\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"),         /* COPY from -1 */
        COMMANDS("\x51\x7f\xff\xff\xff\xff\xff\xff\xff\x02\x00"),
        COMMANDS("\x54\xff\xff\xff\xff\xff\xff\xff\xf0\x00\x00\x00\x00\x00\x00\x00\x20\x00"),
        COMMANDS("\x48\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00"),         /* COPY of 2^64 - 1 */
        COMMANDS("\x44\x40\x00\x00\x00\x00\x00\x00\x00xxxx"),             /* LITERAL of 2^62 */
        COMMANDS("\x44\xff\xff\xff\xff\xff\xff\xff\xffxxxx"),
        COMMANDS("\x55\x00"), COMMANDS("\xff\x00"),                       /* unknown */
        COMMANDS("\x01x\x00\x00"), COMMANDS("\x01x\x00\x01y"),            /* bytes after the end */
        COMMANDS("\x01x"), COMMANDS("\x40x"), COMMANDS("\x44\x00"),       /* no end */
        COMMANDS("\x46\x00\x03\xe8\x46\x00\x03\xe8\x46\x00\x03\xe8\x00"), /* repeated, overlapping COPY */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = patch_of(2000, bad[i].p, bad[i].n, 2000);
        refuse_patch(&b, 2000, ERR_FORMAT);
        buf_free(&b);
    }
}

static void good_commands(void **state)
{
    (void)state;
    static const struct commands good[] = {
        COMMANDS("\x03xyz\x00"),
        COMMANDS("\x41\x03xyz\x00"),
        COMMANDS("\x42\x00\x03xyz\x00"),
        COMMANDS("\x43\x00\x00\x00\x03xyz\x00"),
        COMMANDS("\x44\x00\x00\x00\x00\x00\x00\x00\x03xyz\x00"),
        COMMANDS("\x45\x07\x03\x00"),
        COMMANDS("\x4e\x00\x00\x00\x07\x00\x03\x00"),
        COMMANDS("\x54\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x03\x00"),
        COMMANDS("\x45\x08\x01\x45\x08\x01\x01z\x00"),
    };
    struct buf basis = {0};
    buf_put(&basis, "0123456xyz", 10);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct target t = {.basis = &basis};
        struct delta_counts counts;
        struct buf b = patch_of(3, good[i].p, good[i].n, 3);
        assert_int_equal(apply(&t, &b, 3, 1, &counts), 1);
        assert_memory_equal(t.out.data, i < 8 ? "xyz" : "yyz", 3);
        assert_int_equal(counts.literal + counts.matched, 3);
        buf_free(&b);
        buf_free(&t.out);
    }
    buf_free(&basis);
}

/* 80 KB that would write 80 MB. */
static void copies_without_end(void **state)
{
    (void)state;
    struct buf b = {0}, basis = random_bytes(1000, 23);
    static const uint64_t makes[] = {5000, UINT64_MAX};
    for (size_t i = 0; i < 2; i++) {
        struct target t = {.basis = &basis};
        struct delta_counts counts;
        put_number(&b, DELTA_BEGIN, makes[i]);
        put_record(&b, DELTA_DELTA, MAGIC, 4);
        for (int n = 0; n < 8000; n++)
            put_record(&b, DELTA_DELTA, "\x46\x00\x03\xe8", 4);
        assert_int_equal(apply(&t, &b, i ? 5000 : 1000000, 3000, &counts), ERR_FORMAT);
        assert_int_equal(t.out.len, 5000);
        buf_free(&t.out);
        buf_free(&b);
    }
    buf_free(&basis);
}

static void records_out_of_order(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 18; i++) {
        buf_free(&b);
        switch (i) {
        case 0: put_record(&b, DELTA_RAW, "x", 1); put_number(&b, DELTA_KEEP, 1); break;
        case 1: put_number(&b, DELTA_KEEP, 1); put_number(&b, DELTA_KEEP, 1); break;
        case 2: put_number(&b, DELTA_KEEP, 11); break;
        case 3: put_record(&b, DELTA_DELTA, MAGIC "\0", 5); break;
        case 4: put_number(&b, DELTA_BEGIN, 5); put_number(&b, DELTA_BEGIN, 5); break;
        case 5: put_number(&b, DELTA_BEGIN, 5); put_record(&b, DELTA_RAW, "x", 1); break;
        case 6: put_number(&b, DELTA_BEGIN, 5); put_number(&b, DELTA_END, 0); break;
        case 7: put_number(&b, DELTA_BEGIN, 0); break;
        case 8: put_number(&b, DELTA_END, 9); break;
        case 9: put_record(&b, DELTA_RAW, "0123456789", 10); put_number(&b, DELTA_END, 9); break;
        case 10: put_record(&b, DELTA_RAW, "0123456789", 10); put_number(&b, DELTA_END, 10);
            put_record(&b, DELTA_RAW, "x", 1); break;
        case 11: put_record(&b, DELTA_RAW, "0123456789x", 11); break;
        case 12: put_record(&b, DELTA_RAW, "", 0); break;
        case 13: put_record(&b, 0, "x", 1); break;
        case 14: put_record(&b, 7, "x", 1); break;
        case 15: put_record(&b, DELTA_END, "1234567", 7); break;
        case 16: buf_u8(&b, DELTA_RAW); buf_u32(&b, DELTA_RECORD_MAX + 1); break;
        case 17: put_number(&b, DELTA_BEGIN, 5); put_record(&b, DELTA_DELTA, "rdif\0", 5); break;
        }
        refuse_patch(&b, 10, ERR_FORMAT);
    }
    buf_free(&b);
}

/* Every beginning of a good patch is an error, and nothing but its whole is complete. */
static void patches_cut(void **state)
{
    (void)state;
    struct err e;
    struct delta_counts counts;
    struct buf b = random_bytes(5000, 24), want = {0};
    put_random(&want, 100, 25);
    buf_put(&want, b.data, b.len);
    struct buf sig = sign_as(&b, b.len, want.len);
    struct delta_index *x = load(&sig, sig.len, 100, &e);
    struct buf patch = make(x, &want, 0, 4096, &counts);
    assert_true(patch.len < 1000);
    for (size_t n = 0; n <= patch.len; n++) {
        struct target t = {.basis = &b};
        struct buf part = {patch.data, n, 0};
        assert_int_equal(apply(&t, &part, want.len, 64, &counts), n == patch.len ? 1 : ERR_FORMAT);
        buf_free(&t.out);
    }
    delta_index_free(x);
    buf_free(&b);
    buf_free(&want);
    buf_free(&sig);
    buf_free(&patch);
}

/* A basis that is another than the one signed: the content is wrong, which the caller's digest shows, or refused. */
static void basis_that_changed(void **state)
{
    (void)state;
    struct err e;
    struct delta_counts counts;
    struct buf b = random_bytes(100000, 26);
    struct buf sig = sign_as(&b, b.len, b.len);
    struct delta_index *x = load(&sig, sig.len, 4096, &e);
    struct buf patch = make(x, &b, 0, 4096, &counts);
    for (int shorter = 0; shorter < 2; shorter++) {
        struct buf now = {b.data, b.len - (unsigned)shorter, 0};
        struct target t = {.basis = &now};
        b.data[50] ^= 1;
        assert_int_equal(apply(&t, &patch, b.len, 64, &counts), shorter ? ERR_FORMAT : 1);
        buf_free(&t.out);
    }
    delta_index_free(x);
    buf_free(&b);
    buf_free(&sig);
    buf_free(&patch);
}

static void content_that_breaks_off(void **state)
{
    (void)state;
    struct err e;
    struct buf b = random_bytes(100000, 27), out = {0};
    struct target t = {.basis = &b};
    struct buf sig = sign_as(&b, b.len, b.len);
    struct delta_index *x = load(&sig, sig.len, 4096, &e);
    struct delta_maker *m = delta_maker_new(x);
    assert_int_equal(delta_maker_feed(m, b.data, 70000, &out, &e), 0);
    delta_maker_fail(m, "it grew", &out);
    struct delta_patcher *p = delta_patcher_new(b.len, &calls, &t);
    assert_int_equal(delta_patcher_feed(p, out.data, out.len, &e), ERR_CHANGED);
    assert_string_equal(e.msg, "it grew");
    assert_int_equal(delta_patcher_end(p, &e), ERR_CHANGED);
    delta_patcher_free(p);
    delta_maker_free(m);
    delta_index_free(x);
    buf_free(&b);
    buf_free(&out);
    buf_free(&sig);
    buf_free(&t.out);
}

static void errors_of_callbacks(void **state)
{
    (void)state;
    struct buf b = random_bytes(1000, 28);
    struct delta_counts counts;
    struct target t = {.basis = &b, .fail_write = ERR_SYS};
    struct buf patch = make(NULL, &b, 0, 1000, &counts);
    assert_int_equal(apply(&t, &patch, b.len, 100, &counts), ERR_SYS);
    buf_free(&patch);
    patch = patch_of(1000, "\x46\x00\x03\xe8\x00", 5, 1000);
    assert_int_equal(apply(&t, &patch, b.len, 100, &counts), ERR_SYS);
    buf_free(&patch);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identical), cmocka_unit_test(insertions_and_deletions), cmocka_unit_test(scattered_edits),
        cmocka_unit_test(blocks_that_moved), cmocka_unit_test(content_that_repeats), cmocka_unit_test(empty_ones),
        cmocka_unit_test(all_small_sizes), cmocka_unit_test(all_pieces), cmocka_unit_test(random_mutations),
        cmocka_unit_test(basis_of_another_size), cmocka_unit_test(basis_that_shrank), cmocka_unit_test(no_index), cmocka_unit_test(keeps_what_is_there),
        cmocka_unit_test(long_files), cmocka_unit_test(search_comes_back), cmocka_unit_test(librsync_agrees),
        cmocka_unit_test(other_shapes),
        cmocka_unit_test(shapes), cmocka_unit_test(hostile_signatures), cmocka_unit_test(signatures_cut_or_too_long),
        cmocka_unit_test(index_memory_is_bounded), cmocka_unit_test(signature_that_burns_time),
        cmocka_unit_test(hostile_commands), cmocka_unit_test(good_commands), cmocka_unit_test(copies_without_end),
        cmocka_unit_test(records_out_of_order), cmocka_unit_test(patches_cut), cmocka_unit_test(basis_that_changed),
        cmocka_unit_test(content_that_breaks_off), cmocka_unit_test(errors_of_callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
