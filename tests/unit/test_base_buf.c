#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void integers_are_little_endian(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_u8(&b, 0x01);
    buf_u16(&b, 0x0302);
    buf_u32(&b, 0x07060504);
    buf_u64(&b, 0x0f0e0d0c0b0a0908);
    assert_int_equal(b.len, 15);
    for (size_t i = 0; i < b.len; i++)
        assert_int_equal(b.data[i], i + 1);
    struct rd r = rd_of(b.data, b.len);
    assert_int_equal(rd_u8(&r), 0x01);
    assert_int_equal(rd_u16(&r), 0x0302);
    assert_int_equal(rd_u32(&r), 0x07060504);
    assert_int_equal(rd_u64(&r), 0x0f0e0d0c0b0a0908);
    assert_true(rd_done(&r));
    buf_free(&b);
    assert_null(b.data);
}

static void varint_limits(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++)
        for (int off = -1; off <= 1; off++) {
            uint64_t v = ((uint64_t)1 << bit) + (uint64_t)(int64_t)off;
            struct buf b = {0};
            buf_varint(&b, v);
            size_t n = 1;
            for (uint64_t rest = v >> 7; rest; rest >>= 7)
                n++;
            assert_int_equal(b.len, n);
            struct rd r = rd_of(b.data, b.len);
            assert_int_equal(rd_varint(&r), v);
            assert_true(rd_done(&r));
            for (size_t cut = 0; cut < b.len; cut++) {
                r = rd_of(b.data, cut);
                assert_int_equal(rd_varint(&r), 0);
                assert_true(r.bad);
            }
            buf_free(&b);
        }
}

static void svarint_limits(void **state)
{
    (void)state;
    static const int64_t values[] = {
        0, -1, 1, 63, 64, -64, -65, INT64_MAX, INT64_MIN, INT64_MIN + 1, 1700000000,
    };
    static const size_t lengths[] = {1, 1, 1, 1, 2, 1, 2, 10, 10, 10, 5};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct buf b = {0};
        buf_svarint(&b, values[i]);
        assert_int_equal(b.len, lengths[i]);
        struct rd r = rd_of(b.data, b.len);
        assert_true(rd_svarint(&r) == values[i]);
        assert_true(rd_done(&r));
        buf_free(&b);
    }
}

static void varints_have_one_spelling(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t n; } bad[] = {
        {"\x80\x00", 2}, {"\xff\x80\x00", 3}, {"\x80", 1}, {"", 0},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 13},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rd r = rd_of(bad[i].bytes, bad[i].n);
        assert_int_equal(rd_varint(&r), 0);
        assert_true(r.bad);
        assert_int_equal(rd_u8(&r), 0); /* and bad it stays */
        assert_false(rd_done(&r));
    }
    struct rd r = rd_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
    assert_true(rd_varint(&r) == UINT64_MAX);
    assert_true(rd_done(&r));
}

static void never_past_the_end(void **state)
{
    (void)state;
    uint8_t *seven = malloc(7); /* on the heap, where a sanitizer sees the byte after it */
    memset(seven, 0x80, 7);
    struct rd r = rd_of(seven, 7);
    assert_int_equal(rd_u64(&r), 0);
    assert_true(r.bad);
    r = rd_of(seven, 7);
    assert_null(rd_bytes(&r, 8));
    r = rd_of(seven, 7);
    assert_null(rd_bytes(&r, SIZE_MAX));
    r = rd_of(seven, 7);
    assert_int_equal(rd_varint(&r), 0);
    assert_true(r.bad);
    r = rd_of(seven, 7);
    assert_ptr_equal(rd_bytes(&r, 7), seven);
    assert_int_equal(rd_left(&r), 0);
    assert_true(rd_done(&r));
    assert_int_equal(rd_u8(&r), 0);
    assert_true(r.bad);
    free(seven);
    r = rd_of(NULL, 0);
    assert_true(rd_done(&r));
    assert_non_null(rd_bytes(&r, 0));
    assert_int_equal(rd_u16(&r), 0);
    assert_true(r.bad);
}

static void strings(void **state)
{
    (void)state;
    struct buf b = {0};
    size_t n;
    buf_str(&b, "hello", 5);
    struct rd r = rd_of(b.data, b.len);
    const char *s = rd_str(&r, 5, &n);
    assert_int_equal(n, 5);
    assert_memory_equal(s, "hello", 5);
    assert_true(rd_done(&r));
    r = rd_of(b.data, b.len);
    assert_null(rd_str(&r, 4, &n)); /* longer than allowed */
    assert_int_equal(n, 0);
    assert_true(r.bad);
    r = rd_of(b.data, b.len - 1);
    assert_null(rd_str(&r, 100, &n)); /* longer than there is */
    assert_int_equal(n, 0);
    b.len = 0;
    buf_varint(&b, UINT64_MAX);
    buf_put(&b, "x", 1);
    r = rd_of(b.data, b.len);
    assert_null(rd_str(&r, SIZE_MAX, &n));
    assert_int_equal(n, 0);
    b.len = 0;
    buf_str(&b, NULL, 0);
    r = rd_of(b.data, b.len);
    assert_non_null(rd_str(&r, 0, &n));
    assert_true(rd_done(&r));
    buf_free(&b);
}

static void buffers_grow_and_drop(void **state)
{
    (void)state;
    struct buf b = {0};
    for (unsigned i = 0; i < 100000; i++)
        buf_u8(&b, (uint8_t)(i % 251));
    assert_int_equal(b.len, 100000);
    buf_drop(&b, 0);
    buf_drop(&b, 99990);
    assert_int_equal(b.len, 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(b.data[i], (99990 + i) % 251);
    size_t len = b.len;
    memset(buf_room(&b, 1 << 20), 0xaa, 1 << 20);
    assert_int_equal(b.len, len);
    buf_drop(&b, len);
    assert_int_equal(b.len, 0);
    buf_free(&b);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_little_endian), cmocka_unit_test(varint_limits),
        cmocka_unit_test(svarint_limits),             cmocka_unit_test(varints_have_one_spelling),
        cmocka_unit_test(never_past_the_end),         cmocka_unit_test(strings),
        cmocka_unit_test(buffers_grow_and_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
