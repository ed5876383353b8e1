/* Deltas of large files, which are searched twice. Files here are small: both searches work at any size. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "object/delta.h"
#include "bytes.h"

#define KIB 1024u
#define MIB (1024u * KIB)
#define COARSE (16 * KIB) /* bytes of a block, for the files here */

/* ---- content ---- */

static void put_random(struct buf *b, size_t n, uint64_t seed)
{
    seed = seed * 0x9e3779b97f4a7c15u + 1;
    while (n) {
        uint64_t r = bytes_random(&seed);
        size_t k = n < sizeof r ? n : sizeof r;
        buf_put(b, &r, k);
        n -= k;
    }
}

static struct buf random_bytes(size_t n, uint64_t seed)
{
    struct buf b = {0};
    put_random(&b, n, seed);
    return b;
}

static struct buf copy_of(const struct buf *b)
{
    struct buf c = {0};
    buf_put(&c, b->data, b->len);
    return c;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- the parts, as source and target use them ---- */

static struct buf step_signer(struct delta_signer *s, const struct buf *basis, unsigned threads)
{
    struct delta_input in = bytes_input(basis);
    struct buf out = {0};
    struct err e;
    int rc;
    while ((rc = delta_signer_step(s, &in, threads, &out, &e)) > 0)
        ;
    assert_int_equal(rc, 0);
    return out;
}

static struct delta_index *load_into(struct delta_index *x, const struct buf *sig)
{
    struct err e;
    assert_int_equal(delta_index_feed(x, sig->data, sig->len, &e), 0);
    assert_int_equal(delta_index_end(x, &e), 0);
    return x;
}

static struct delta_finder *search(const struct delta_index *x, const struct buf *basis, const struct buf *want,
                                   size_t keep, unsigned threads)
{
    struct delta_input in = bytes_input(want);
    struct err e;
    struct delta_finder *f = delta_finder_new(x, basis->len, &in, keep, want->len);
    int rc;
    assert_non_null(f);
    while ((rc = delta_finder_step(f, threads, &e)) > 0)
        ;
    assert_int_equal(rc, 0);
    return f;
}

struct target {
    const struct buf *basis, *request; /* request: what must come */
    struct buf out;
    uint64_t kept;
    unsigned refines;
};

static ssize_t read_basis(void *ctx, uint64_t pos, void *p, size_t n, struct err *e)
{
    const struct target *t = ctx;
    return bytes_read((void *)(uintptr_t)t->basis, pos, p, n, e);
}

static int keep_out(void *ctx, uint64_t n, struct err *e)
{
    struct target *t = ctx;
    (void)e;
    t->kept = n;
    return 0;
}

static int write_out(void *ctx, const void *p, size_t n, struct err *e)
{
    struct target *t = ctx;
    (void)e;
    buf_put(&t->out, p, n);
    return 0;
}

static int refine(void *ctx, const void *p, size_t n, struct err *e)
{
    struct target *t = ctx;
    (void)e;
    t->refines++;
    assert_int_equal(t->out.len, 0);
    if (t->request) {
        assert_int_equal(n, t->request->len);
        assert_memory_equal(p, t->request->data, n);
    }
    return 0;
}

static const struct delta_calls calls = {read_basis, keep_out, write_out, refine};

static int apply(struct target *t, const struct buf *patch, uint64_t want, size_t piece, struct delta_counts *counts)
{
    struct err e;
    int rc = 0;
    struct delta_patcher *p = delta_patcher_new(want, &calls, t);
    for (size_t at = 0, n; at < patch->len && rc == 0; at += n) {
        n = patch->len - at < piece ? patch->len - at : piece;
        rc = delta_patcher_feed(p, patch->data + at, n, &e);
    }
    rc = delta_patcher_end(p, &e);
    *counts = delta_patcher_counts(p);
    delta_patcher_free(p);
    return rc;
}

struct cost {
    uint64_t coarse, fine, literal, patch; /* bytes */
    bool asked;
};

/* The patch, once both signatures are there. */
static void make(struct delta_finder *f, const struct delta_index *fine, const struct buf *request,
                 const struct buf *want, size_t keep, size_t piece, struct buf *out, struct delta_counts *counts)
{
    struct err e;
    struct delta_maker *m = delta_maker_new(NULL);
    struct delta_stretch s;
    size_t at = keep;
    delta_maker_keep(m, keep, out);
    delta_maker_ask(m, request, out);
    delta_maker_search(m, fine);
    while ((s = delta_finder_next(f)).len > 0) {
        if (s.found)
            assert_int_equal(delta_maker_found(m, s.pos, s.len, out, &e), 0);
        for (size_t n, end = at + s.len; !s.found && at < end; at += n) {
            n = end - at < piece ? end - at : piece;
            assert_int_equal(delta_maker_feed(m, want->data + at, n, out, &e), 0);
        }
        if (s.found)
            at += s.len;
    }
    assert_int_equal(at, want->len);
    assert_int_equal(delta_maker_end(m, out, &e), 0);
    *counts = delta_maker_counts(m);
    delta_maker_free(m);
}

/* There and back with so many threads; patch: what travelled. with_fine: the source gets the fine signature. */
static struct cost once(const struct buf *basis, const struct buf *want, size_t keep, size_t piece, unsigned threads,
                        bool with_fine, struct buf *patch)
{
    struct buf request = {0}, sig2 = {0};
    struct delta_counts made, taken;
    struct err e;
    struct delta_signer *s = delta_signer_new_coarse(basis->len, 7);
    struct buf sig = step_signer(s, basis, threads);
    struct delta_index *x = load_into(delta_index_new(UINT64_MAX), &sig), *fine = NULL;
    struct delta_finder *f = search(x, basis, want, keep, threads);
    bool asked = delta_finder_request(f, &request);
    assert_true(request.len >= 4 && request.len <= DELTA_RECORD_MAX);
    assert_int_equal(delta_signer_refine(s, request.data, request.len, &e), asked);
    if (asked)
        sig2 = step_signer(s, basis, threads);
    if (asked && with_fine) {
        fine = load_into(delta_finder_index(f), &sig2);
        assert_int_equal(delta_finder_accept(f, fine, &e), 0);
    }
    make(f, fine, &request, want, keep, piece, patch, &made);
    struct target t = {.basis = basis, .request = &request};
    assert_int_equal(apply(&t, patch, want->len, piece, &taken), 1);
    struct buf rest = {want->data + keep, want->len - keep, 0};
    bytes_expect_same(&t.out, &rest);
    assert_int_equal(t.refines, 1);
    assert_int_equal(t.kept, keep);
    assert_int_equal(made.literal, taken.literal);
    assert_int_equal(made.matched, taken.matched);
    assert_int_equal(made.literal + made.matched, want->len - keep);
    struct cost cost = {sig.len, sig2.len, made.literal, patch->len, asked};
    delta_finder_free(f);
    delta_index_free(x);
    delta_index_free(fine);
    delta_signer_free(s);
    struct buf *all[] = {&request, &sig, &sig2, &t.out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    return cost;
}

/* The same with one thread and two, which must make no difference; also without the fine signature. */
static struct cost round_trip(const struct buf *basis, const struct buf *want, size_t keep, size_t piece)
{
    struct buf one = {0}, two = {0}, none = {0};
    struct cost cost = once(basis, want, keep, piece, 1, true, &one);
    once(basis, want, keep, piece, 2, true, &two);
    bytes_expect_same(&one, &two);
    struct cost poor = once(basis, want, keep, 256 * KIB, 2, false, &none);
    assert_true(cost.literal <= poor.literal);
    buf_free(&one);
    buf_free(&two);
    buf_free(&none);
    return cost;
}

/* ---- shapes of change ---- */

static void identical(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, COARSE - 1, COARSE, COARSE + 1, MIB, 3 * MIB + 17, 40 * MIB + 123};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf b = random_bytes(sizes[i], i);
        struct cost c = round_trip(&b, &b, 0, 256 * KIB);
        assert_int_equal(c.literal, 0);
        assert_false(c.asked);
        buf_free(&b);
    }
}

static void scattered_edits(void **state)
{
    (void)state;
    struct buf b = random_bytes(40 * MIB, 1), want = copy_of(&b);
    uint64_t seed = 7;
    for (int i = 0; i < 100; i++) {
        struct buf edit = random_bytes(1000, bytes_random(&seed));
        memcpy(want.data + bytes_random(&seed) % (want.len - edit.len), edit.data, edit.len);
        buf_free(&edit);
    }
    struct cost c = round_trip(&b, &want, 0, 256 * KIB);
    assert_true(c.asked);
    assert_true(c.literal <= 100 * (1000 + 2 * KIB));
    assert_true(c.fine <= 100 * 2 * COARSE / KIB * 20 + 12);
    assert_true(c.patch <= c.literal + 20000);
    buf_free(&b);
    buf_free(&want);
}

/* Every byte of a change lies beside a border of blocks, or on it. */
static void edits_at_borders(void **state)
{
    (void)state;
    struct buf b = random_bytes(MIB + 100, 2);
    static const size_t places[] = {0, 1, COARSE - 1, COARSE, COARSE + 1, 2 * COARSE - 1, MIB - 1, MIB,
                                    MIB + 1, MIB + 99};
    static const size_t lengths[] = {1, 2, KIB, COARSE, 5 * COARSE};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
            struct buf want = copy_of(&b);
            size_t n = 0;
            for (; n < lengths[j] && places[i] + n < want.len; n++)
                want.data[places[i] + n] ^= 0x55;
            struct cost c = round_trip(&b, &want, 0, 256 * KIB);
            assert_true(c.literal <= n + (c.asked ? 2 * KIB : 2 * COARSE));
            buf_free(&want);
        }
    buf_free(&b);
}

static void insertions_and_deletions(void **state)
{
    (void)state;
    struct buf b = random_bytes(MIB + 100, 3);
    static const size_t places[] = {0, COARSE, MIB / 2 + 12345, MIB, MIB + 100};
    static const size_t amounts[] = {0, 1, 50000, 3 * COARSE};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (size_t j = 0; j < sizeof amounts / sizeof *amounts; j++)
            for (size_t k = 0; k < sizeof amounts / sizeof *amounts; k++) {
                struct buf want = {0};
                size_t cut = b.len - places[i] < amounts[j] ? b.len - places[i] : amounts[j];
                buf_put(&want, b.data, places[i]);
                put_random(&want, amounts[k], 99);
                buf_put(&want, b.data + places[i] + cut, b.len - places[i] - cut);
                struct cost c = round_trip(&b, &want, 0, 256 * KIB);
                assert_true(c.literal <= amounts[k] + (c.asked ? 3 * KIB : 2 * COARSE));
                assert_true(c.fine <= 5 * COARSE / KIB * 20 + 12);
                buf_free(&want);
            }
    buf_free(&b);
}

static void other_orders(void **state)
{
    (void)state;
    struct buf b = random_bytes(20 * MIB, 4), want = {0};
    buf_put(&want, b.data + 10 * MIB, 10 * MIB);
    buf_put(&want, b.data, 10 * MIB);
    assert_int_equal(round_trip(&b, &want, 0, 256 * KIB).literal, 0);
    buf_put(&want, b.data + 7, 5 * MIB); /* a second time */
    put_random(&want, 100, 5);
    buf_put(&want, b.data + 3 * MIB + 1, 5 * MIB);
    assert_true(round_trip(&b, &want, 0, 256 * KIB).literal <= 6 * COARSE);
    assert_true(round_trip(&want, &b, 0, 256 * KIB).literal == 0);
    buf_free(&want);
    for (size_t i = 0; i < 100; i++) /* backwards */
        buf_put(&want, b.data + (99 - i) * 100 * KIB, 100 * KIB);
    struct cost c = round_trip(&b, &want, 0, 256 * KIB);
    assert_true(c.literal <= 3 * MIB);
    buf_free(&b);
    buf_free(&want);
}

static void cut_and_grown(void **state)
{
    (void)state;
    struct buf b = random_bytes(4 * MIB + 5, 6);
    for (size_t cut = 0; cut < 2 * COARSE; cut += 9001) {
        struct buf front = {b.data, b.len - MIB - cut, 0}, back = {b.data + MIB + cut, b.len - MIB - cut, 0};
        assert_true(round_trip(&b, &front, 0, 256 * KIB).literal <= COARSE);
        assert_true(round_trip(&b, &back, 0, 256 * KIB).literal <= COARSE);
        struct cost grown = round_trip(&front, &b, 0, 256 * KIB);
        assert_true(grown.literal <= MIB + cut + 2 * KIB && grown.fine <= 2 * COARSE / KIB * 20);
        grown = round_trip(&back, &b, 0, 256 * KIB);
        assert_true(grown.literal <= MIB + cut + 2 * KIB && grown.fine <= 2 * COARSE / KIB * 20);
    }
    buf_free(&b);
}

/* A long part that nobody wants any more must not keep the rest from being searched twice. */
static void cut_and_edited(void **state)
{
    (void)state;
    struct buf b = random_bytes(40 * MIB, 8), want = {0};
    buf_put(&want, b.data + 30 * MIB, 10 * MIB);
    for (int i = 0; i < 20; i++)
        want.data[500 * KIB * (unsigned)i + 777] ^= 1;
    struct cost c = round_trip(&b, &want, 0, 256 * KIB);
    assert_true(c.asked);
    assert_true(c.literal <= 20 * 2 * KIB);
    assert_true(c.fine <= 20 * 2 * COARSE / 16); /* blocks are of 32 KiB here */
    buf_free(&b);
    buf_free(&want);
}

static void nothing_in_common(void **state)
{
    (void)state;
    struct buf b = random_bytes(20 * MIB, 9), want = random_bytes(20 * MIB + 1, 10);
    struct cost c = round_trip(&b, &want, 0, 256 * KIB);
    assert_int_equal(c.literal, want.len);
    assert_true(c.patch <= want.len + 5000);
    assert_true(c.fine <= want.len / 40);
    buf_free(&b);
    buf_free(&want);
}

/* Changes so dense that no coarse block is left whole. */
static void dense_edits(void **state)
{
    (void)state;
    struct buf b = random_bytes(20 * MIB, 11), want = copy_of(&b);
    for (size_t at = 100; at < want.len; at += COARSE)
        want.data[at] ^= 1;
    struct cost c = round_trip(&b, &want, 0, 256 * KIB);
    assert_true(c.literal <= want.len / 10);
    buf_free(&b);
    buf_free(&want);
}

/* What is new at the front makes the search leap; the second one finds what it leapt over. */
static void long_insertion(void **state)
{
    (void)state;
    struct buf b = random_bytes(40 * MIB, 12), want = {0};
    put_random(&want, 20 * MIB + 1, 13);
    buf_put(&want, b.data, b.len);
    struct cost c = round_trip(&b, &want, 0, 256 * KIB);
    assert_true(c.literal <= 34 * MIB);
    buf_free(&b);
    buf_free(&want);
}

static void content_that_repeats(void **state)
{
    (void)state;
    struct buf b = {0}, want = {0};
    memset(buf_room(&b, 10 * MIB), 0, 10 * MIB);
    b.len = 10 * MIB;
    put_random(&b, 5000, 14);
    buf_put(&want, b.data + 100, b.len - 100);
    assert_true(round_trip(&b, &want, 0, 256 * KIB).literal <= 5 * KIB);
    for (size_t i = 0; i < want.len; i++)
        want.data[i] = (uint8_t)(i % 7);
    round_trip(&want, &b, 0, 256 * KIB);
    round_trip(&b, &want, 0, 256 * KIB);
    struct cost c = round_trip(&want, &want, 0, 256 * KIB);
    assert_int_equal(c.literal, 0);
    buf_free(&b);
    buf_free(&want);
}

static void keeps_what_is_there(void **state)
{
    (void)state;
    struct buf b = random_bytes(3 * MIB, 15), want = copy_of(&b);
    static const size_t keeps[] = {1, COARSE, MIB + 3, 3 * MIB - 1, 3 * MIB};
    want.data[2 * MIB] ^= 1;
    for (size_t i = 0; i < sizeof keeps / sizeof *keeps; i++)
        assert_true(round_trip(&b, &want, keeps[i], 256 * KIB).literal <= 2 * COARSE);
    buf_free(&b);
    buf_free(&want);
}

static void random_mutations(void **state)
{
    (void)state;
    uint64_t seed = 54321;
    for (int turn = 0; turn < 40; turn++) {
        size_t most = turn % 20 ? MIB / 2 : 20 * MIB;
        struct buf b = random_bytes(1 + bytes_random(&seed) % most, bytes_random(&seed)), want = {0};
        for (int part = 0; part < 12; part++) {
            uint64_t r = bytes_random(&seed);
            size_t at = r % b.len, n = bytes_random(&seed) % (turn % 20 ? 100000 : 4000000);
            if (r >> 60 < 4)
                put_random(&want, n / 4, r);
            else
                buf_put(&want, b.data + at, n < b.len - at ? n : b.len - at);
        }
        round_trip(&b, &want, 0, 1 + bytes_random(&seed) % 70000 + KIB);
        round_trip(&b, &want, bytes_random(&seed) % (want.len + 1), 256 * KIB);
        buf_free(&b);
        buf_free(&want);
    }
}

static void what_is_large(void **state)
{
    (void)state;
    assert_true(delta_large(32 * MIB, 32 * MIB));
    assert_true(delta_large(UINT64_MAX, 32 * MIB));
    assert_false(delta_large(32 * MIB - 1, 32 * MIB));
    assert_false(delta_large(32 * MIB, 32 * MIB - 1));
}

/* ---- peers that lie ---- */

static struct buf request_of(uint32_t block, size_t n, const uint64_t *numbers)
{
    struct buf b = {0};
    buf_u32(&b, block);
    for (size_t i = 0; i < n; i++)
        buf_varint(&b, numbers[i]);
    return b;
}

/* What a patcher says of it, and what a signer of ten coarse blocks and a short one does. */
static void expect_request(struct buf b, int patcher, int signer)
{
    struct buf basis = random_bytes(10 * COARSE + 5, 16), patch = {0};
    struct delta_counts counts;
    struct err e;
    struct target t = {.basis = &basis};
    buf_u8(&patch, DELTA_REFINE);
    buf_u32(&patch, (uint32_t)b.len);
    buf_put(&patch, b.data, b.len);
    buf_u8(&patch, DELTA_END);
    buf_u32(&patch, 8);
    buf_u64(&patch, 0);
    assert_int_equal(apply(&t, &patch, 0, 3, &counts), patcher);
    assert_int_equal(t.refines, patcher == 1);
    struct delta_signer *s = delta_signer_new_coarse(basis.len, 7);
    struct buf sig = step_signer(s, &basis, 1);
    assert_int_equal(delta_signer_refine(s, b.data, b.len, &e), signer);
    if (signer == 1) {
        struct buf fine = step_signer(s, &basis, 2);
        assert_true(fine.len >= 12 && fine.len <= 12 + 20 * (basis.len / KIB + 1));
        buf_free(&fine);
    }
    delta_signer_free(s);
    buf_free(&sig);
    buf_free(&basis);
    buf_free(&patch);
    buf_free(&b);
}

#define REQUEST(block, ...) \
    request_of(block, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), (uint64_t[]){__VA_ARGS__})

static void requests(void **state)
{
    (void)state;
    expect_request(request_of(0, 0, NULL), 1, 0);
    expect_request(REQUEST(1024, 0, 1), 1, 1);
    expect_request(REQUEST(1024, 0, 11), 1, 1);
    expect_request(REQUEST(COARSE, 10, 1), 1, 1);
    expect_request(REQUEST(2048, 1, 1, 2, 3, 1, 3), 1, 1);
    /* behind the end of this basis */
    expect_request(REQUEST(1024, 0, 12), 1, ERR_FORMAT);
    expect_request(REQUEST(1024, 11, 1), 1, ERR_FORMAT);
    expect_request(REQUEST(1024, 1, 1, 2, 3, 1, 4), 1, ERR_FORMAT);
    expect_request(REQUEST(1024, DELTA_BLOCKS_MAX - 1, 1), 1, ERR_FORMAT);
    /* of blocks that do not fit */
    expect_request(REQUEST(2 * COARSE, 0, 1), 1, ERR_FORMAT);
    expect_request(REQUEST(3000, 0, 1), 1, ERR_FORMAT);
    /* without sense */
    expect_request(request_of(1024, 0, NULL), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(0, 0, 1), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1, 0, 1), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1023, 0, 1), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(UINT32_MAX, 0, 1), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1024, 0), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1024, 0, 0), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1024, 0, 1, 0, 1), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1024, 0, DELTA_BLOCKS_MAX, 1, 1), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1024, UINT64_MAX, 1), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1024, 1, UINT64_MAX), ERR_FORMAT, ERR_FORMAT);
    expect_request(REQUEST(1024, UINT64_MAX - 3, UINT64_MAX, 3, 1), ERR_FORMAT, ERR_FORMAT);
}

static void put_record(struct buf *b, uint8_t kind, const void *p, size_t n)
{
    buf_u8(b, kind);
    buf_u32(b, (uint32_t)n);
    buf_put(b, p, n);
}

static void requests_out_of_order(void **state)
{
    (void)state;
    static const struct {
        const char *kinds; /* k KEEP of nothing, f REFINE, r RAW of one byte, e END */
        int result;
    } cases[] = {
        {"fre", 1}, {"kfre", 1}, {"kre", 1}, {"re", 1}, {"rfe", ERR_FORMAT}, {"fkre", ERR_FORMAT}, {"ffre", ERR_FORMAT},
        {"kffre", ERR_FORMAT}, {"kkfre", ERR_FORMAT}, {"ref", ERR_FORMAT}, {"f", ERR_FORMAT}, {"kf", ERR_FORMAT},
    };
    static const uint8_t none[8], one[8] = {1};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf patch = {0};
        struct target t = {0};
        struct delta_counts counts;
        for (const char *k = cases[i].kinds; *k; k++)
            if (*k == 'k')
                put_record(&patch, DELTA_KEEP, none, 8);
            else if (*k == 'f')
                put_record(&patch, DELTA_REFINE, none, 4);
            else if (*k == 'r')
                put_record(&patch, DELTA_RAW, "x", 1);
            else
                put_record(&patch, DELTA_END, one, 8);
        assert_int_equal(apply(&t, &patch, 1, 1 + i, &counts), cases[i].result);
        buf_free(&patch);
        buf_free(&t.out);
    }
}

/* A fine signature that is not what was asked for is refused, and the patch is good without it. */
static void other_signatures(void **state)
{
    (void)state;
    struct buf b = random_bytes(MIB, 17), want = copy_of(&b), request = {0};
    for (int i = 0; i < 8; i++)
        want.data[128 * KIB * (unsigned)i + 5] ^= 1;
    struct err e;
    struct delta_signer *s = delta_signer_new_coarse(b.len, 7);
    struct buf sig = step_signer(s, &b, 1);
    struct delta_index *x = load_into(delta_index_new(UINT64_MAX), &sig);
    struct delta_finder *f = search(x, &b, &want, 0, 2);
    assert_true(delta_finder_request(f, &request));
    assert_int_equal(delta_signer_refine(s, request.data, request.len, &e), 1);
    struct buf good = step_signer(s, &b, 1);
    for (int i = 0; i < 4; i++) {
        struct buf bad = copy_of(&good);
        if (i == 1)
            bad.len -= 20;
        else if (i == 2)
            bad.data[6] ^= 0x0c; /* the block's length */
        else if (i == 3)
            bad.len = 12;
        struct delta_index *fine = load_into(delta_finder_index(f), &bad);
        assert_int_equal(delta_finder_accept(f, fine, &e), i == 0 ? 0 : ERR_FORMAT);
        delta_index_free(fine);
        buf_free(&bad);
    }
    struct delta_index *fine = delta_finder_index(f);
    int rc = 0;
    for (size_t n = 0; n < 100 && rc == 0; n++) /* endless */
        rc = delta_index_feed(fine, good.data, good.len, &e);
    assert_int_equal(rc, ERR_FORMAT);
    delta_index_free(fine);
    delta_finder_free(f);
    delta_index_free(x);
    delta_signer_free(s);
    struct buf *all[] = {&b, &want, &request, &sig, &good};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
}

/* A signature whose blocks are not as many as the basis that is said to be theirs has. */
/* As the table of formats says, whatever this processor has for it; the last block is short. */
static void coarse_signature(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {0, 7, 0x0123456789abcdef, UINT64_MAX};
    struct buf b = random_bytes(5 * COARSE + 4711, 21);
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        struct delta_signer *s = delta_signer_new_coarse(b.len, seeds[i]);
        struct buf sig = step_signer(s, &b, 1 + i % 2);
        assert_int_equal(sig.len, 20 + 6 * 20);
        assert_int_equal(be32(sig.data), 0x736f7363);
        assert_int_equal(be32(sig.data + 4), COARSE);
        assert_int_equal(be32(sig.data + 8), 16);
        assert_true(((uint64_t)be32(sig.data + 12) << 32 | be32(sig.data + 16)) == seeds[i]);
        for (size_t k = 0; k < 6; k++) {
            size_t n = k < 5 ? COARSE : 4711;
            const uint8_t *p = b.data + k * COARSE, *entry = sig.data + 20 + k * 20;
            uint32_t weak = 1;
            for (size_t at = 0; at < n; at++)
                weak = weak * 0x08104225u + p[at];
            assert_int_equal(be32(entry), weak);
            XXH128_canonical_t strong;
            XXH128_canonicalFromHash(&strong, XXH3_128bits_withSeed(p, n, seeds[i]));
            assert_memory_equal(entry + 4, strong.digest, 16);
        }
        buf_free(&sig);
        delta_signer_free(s);
    }
    buf_free(&b);
}

static void bases_of_another_size(void **state)
{
    (void)state;
    struct buf b = random_bytes(10 * COARSE + 1, 18);
    struct delta_input in = bytes_input(&b);
    struct delta_signer *s = delta_signer_new_coarse(b.len, 7);
    struct buf sig = step_signer(s, &b, 1), none = {sig.data, 20, 0};
    struct delta_index *x = load_into(delta_index_new(UINT64_MAX), &sig);
    struct delta_index *empty = load_into(delta_index_new(UINT64_MAX), &none);
    static const uint64_t sizes[] = {0, 1, 10 * COARSE, 11 * COARSE + 1, (uint64_t)1 << 50, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_null(delta_finder_new(x, sizes[i], &in, 0, b.len));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_null(delta_finder_new(empty, sizes[i], &in, 0, b.len));
    struct delta_finder *f = delta_finder_new(x, 11 * COARSE, &in, 0, b.len);
    assert_non_null(f);
    delta_finder_free(f);
    delta_index_free(x);
    delta_index_free(empty);
    delta_signer_free(s);
    buf_free(&sig);
    buf_free(&b);
}

static void file_that_shrinks(void **state)
{
    (void)state;
    struct buf b = random_bytes(MIB, 19);
    struct delta_input in = bytes_input(&b);
    struct delta_signer *s = delta_signer_new_coarse(b.len, 7);
    struct buf sig = step_signer(s, &b, 1);
    struct delta_index *x = load_into(delta_index_new(UINT64_MAX), &sig);
    struct delta_finder *f = delta_finder_new(x, b.len, &in, 0, b.len + 1);
    struct err e;
    int rc;
    while ((rc = delta_finder_step(f, 2, &e)) > 0)
        ;
    assert_int_equal(rc, ERR_CHANGED);
    delta_finder_free(f);
    delta_index_free(x);
    delta_signer_free(s);
    buf_free(&sig);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identical), cmocka_unit_test(scattered_edits), cmocka_unit_test(edits_at_borders),
        cmocka_unit_test(insertions_and_deletions), cmocka_unit_test(other_orders), cmocka_unit_test(cut_and_grown),
        cmocka_unit_test(cut_and_edited), cmocka_unit_test(nothing_in_common), cmocka_unit_test(dense_edits),
        cmocka_unit_test(long_insertion), cmocka_unit_test(content_that_repeats),
        cmocka_unit_test(keeps_what_is_there), cmocka_unit_test(random_mutations), cmocka_unit_test(what_is_large),
        cmocka_unit_test(requests), cmocka_unit_test(requests_out_of_order), cmocka_unit_test(other_signatures),
        cmocka_unit_test(coarse_signature),
        cmocka_unit_test(bases_of_another_size), cmocka_unit_test(file_that_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
