#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/num.h"
#include "base/rate.h"

/* Takes all that may go at each of so many points in time; the bytes that went. */
static uint64_t drain(struct rate *r, int64_t from, int64_t to, int64_t step)
{
    uint64_t sum = 0;
    for (int64_t now = from; now <= to; now += step) {
        size_t n = rate_room(r, now);
        rate_take(r, n);
        sum += n;
    }
    return sum;
}

static void test_no_limit(void **state)
{
    (void)state;
    struct rate r;
    rate_init(&r, 0, 0);
    rate_take(&r, 1u << 30);
    assert_int_equal(rate_room(&r, 0), SIZE_MAX);
    assert_int_equal(rate_wait_ms(&r), 0);
}

static void test_holds(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1000, 65536, 1 << 20, 1 << 30};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct rate r;
        rate_init(&r, rates[i], 1000);
        uint64_t sum = drain(&r, 1000, 11000, 10);
        assert_true(sum <= 10 * rates[i]);
        assert_true(sum >= 99 * rates[i] / 10 - 2000);
    }
}

/* After a long pause no more than a portion goes at once. */
static void test_no_burst(void **state)
{
    (void)state;
    struct rate r;
    rate_init(&r, 1 << 20, 0);
    assert_true(rate_room(&r, 3600 * 1000) <= (1 << 20) / 8);
}

/* Whoever goes to sleep for as long as he is told is not woken for every byte, and misses nothing. */
static void test_few_awakenings(void **state)
{
    (void)state;
    struct rate r;
    unsigned turns = 0;
    uint64_t sum = 0;
    rate_init(&r, 1 << 20, 0);
    for (int64_t now = 0; now < 10000; turns++) {
        size_t n = rate_room(&r, now);
        rate_take(&r, n);
        sum += n;
        now += rate_wait_ms(&r);
    }
    assert_true(turns < 2000);
    assert_true(sum > 10u * (1 << 20) * 99 / 100);
}

/* Who took too much pays it back. */
static void test_debt(void **state)
{
    (void)state;
    struct rate r;
    rate_init(&r, 1000, 0);
    rate_take(&r, 2000);
    assert_int_equal(rate_room(&r, 1000), 0);
    assert_true(rate_wait_ms(&r) >= 999);
    assert_int_equal(rate_room(&r, 1990), 0);
    assert_true(rate_room(&r, 2100) > 0);
    assert_int_equal(rate_wait_ms(&r), 0);
}

/* A clock that goes back gives nothing, and takes nothing. */
static void test_clock_back(void **state)
{
    (void)state;
    struct rate r;
    rate_init(&r, 1000, 5000);
    assert_int_equal(rate_room(&r, 1000), 0);
    assert_int_equal(rate_room(&r, 2000), 1000);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct { const char *text; uint64_t bytes; } good[] = {
        {"0", 0}, {"1", 1024}, {"100", 102400}, {"1.5", 1536}, {".5", 512}, {"1b", 1}, {"2K", 2048}, {"2k", 2048},
        {"2KiB", 2048}, {"2KB", 2000}, {"1.5M", 1572864}, {"1MB", 1000000}, {"3G", 3ull << 30}, {"1T", 1ull << 40},
    };
    static const char *const bad[] = {"", ".", "x", "-1", "1x", "1.2.3", "1 M", "1MM", "K", "1KiBx", "99999999999999999T"};
    struct err e;
    uint64_t v;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(num_size(good[i].text, 1024, &v, &e), 0);
        assert_int_equal(v, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(num_size(bad[i], 1024, &v, &e), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit), cmocka_unit_test(test_holds),      cmocka_unit_test(test_no_burst),
        cmocka_unit_test(test_few_awakenings), cmocka_unit_test(test_debt),     cmocka_unit_test(test_clock_back), cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
