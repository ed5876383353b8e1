#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "object/version.h"

static struct uuid member(unsigned id)
{
    struct uuid u = {{0}};
    u.b[0] = (uint8_t)(id >> 8);
    u.b[15] = (uint8_t)id;
    return u;
}

/* "13" is counter 1 for member 1 and 3 for member 2; "0" is none. */
static struct version of(const char *digits)
{
    struct version v = {0};
    for (unsigned i = 0; digits[i]; i++) {
        struct uuid u = member(i + 1);
        assert_int_equal(version_set(&v, &u, (uint64_t)(digits[i] - '0')), 0);
    }
    return v;
}

static void orders(void **state)
{
    (void)state;
    static const struct { const char *a, *b; enum version_order order; } world[] = {
        {"", "", VERSION_EQUAL},       {"1", "1", VERSION_EQUAL},      {"", "1", VERSION_BEFORE},
        {"1", "2", VERSION_BEFORE},    {"1", "11", VERSION_BEFORE},    {"01", "11", VERSION_BEFORE},
        {"101", "111", VERSION_BEFORE}, {"1", "01", VERSION_CONCURRENT}, {"21", "12", VERSION_CONCURRENT},
        {"101", "011", VERSION_CONCURRENT}, {"2", "11", VERSION_CONCURRENT}, {"333", "333", VERSION_EQUAL},
        {"0001", "1111", VERSION_BEFORE}, {"1001", "0110", VERSION_CONCURRENT},
    };
    for (size_t i = 0; i < sizeof world / sizeof world[0]; i++) {
        struct version a = of(world[i].a), b = of(world[i].b);
        enum version_order back = world[i].order == VERSION_BEFORE ? VERSION_AFTER : world[i].order;
        assert_int_equal(version_compare(&a, &b), world[i].order);
        assert_int_equal(version_compare(&b, &a), back);
        assert_int_equal(version_same(&a, &b), world[i].order == VERSION_EQUAL);
    }
}

static void joins(void **state)
{
    (void)state;
    static const struct { const char *a, *b, *both; } world[] = {
        {"", "", ""},          {"1", "", "1"},         {"", "1", "1"},        {"2", "1", "2"},
        {"1", "01", "11"},     {"01", "1", "11"},      {"101", "0101", "1111"}, {"21", "12", "22"},
        {"0001", "1", "1001"}, {"5050", "0606", "5656"}, {"9", "0009", "9009"},
    };
    for (size_t i = 0; i < sizeof world / sizeof world[0]; i++) {
        struct version a = of(world[i].a), b = of(world[i].b), both = of(world[i].both);
        assert_int_equal(version_join(&a, &b), 0);
        assert_true(version_valid(&a));
        assert_int_equal(version_compare(&a, &both), VERSION_EQUAL);
        struct version c = of(world[i].a);
        assert_int_equal(version_join(&b, &c), 0);
        assert_true(version_same(&a, &b));
        assert_int_equal(version_join(&b, &b), 0);
        assert_true(version_same(&a, &b));
    }
}

/* Against an array of counters, with members in any order of setting. */
static void like_a_model(void **state)
{
    (void)state;
    enum { MEMBERS = 80 };
    uint64_t model[2][MEMBERS] = {{0}};
    struct version v[2] = {{0}, {0}};
    unsigned seed = 7;
    for (int step = 0; step < 20000; step++) {
        unsigned which = (unsigned)rand_r(&seed) % 2, who = (unsigned)rand_r(&seed) % MEMBERS;
        uint64_t count = (uint64_t)(rand_r(&seed) % 4);
        struct uuid u = member(1 + who * 7 % MEMBERS);
        bool full = v[which].n == VERSION_MEMBERS_MAX && model[which][who] == 0 && count > 0;
        assert_int_equal(version_set(&v[which], &u, count), full ? -1 : 0);
        if (!full)
            model[which][who] = count;
        assert_true(version_valid(&v[which]));
        assert_int_equal(version_count(&v[which], &u), model[which][who]);

        bool less = false, more = false;
        uint32_t in_both = 0;
        for (int i = 0; i < MEMBERS; i++) {
            less |= model[0][i] < model[1][i];
            more |= model[0][i] > model[1][i];
            in_both += model[0][i] || model[1][i];
        }
        assert_int_equal(version_compare(&v[0], &v[1]), less ? (more ? VERSION_CONCURRENT : VERSION_BEFORE)
                                                             : (more ? VERSION_AFTER : VERSION_EQUAL));
        struct version both;
        version_copy(&both, &v[0]);
        int rc = version_join(&both, &v[1]);
        assert_int_equal(rc, in_both <= VERSION_MEMBERS_MAX ? 0 : -1);
        if (rc < 0)
            assert_true(version_same(&both, &v[0]));
        else
            for (unsigned i = 0; i < MEMBERS; i++) {
                u = member(1 + i * 7 % MEMBERS);
                uint64_t most = model[0][i] > model[1][i] ? model[0][i] : model[1][i];
                assert_int_equal(version_count(&both, &u), most);
            }
    }
}

static void full_vectors(void **state)
{
    (void)state;
    struct version a = {0}, b = {0};
    for (unsigned i = 0; i < VERSION_MEMBERS_MAX; i++) {
        struct uuid u = member(2 * i + 2), w = member(i < 63 ? 2 * i + 2 : 1);
        assert_int_equal(version_set(&a, &u, UINT64_MAX), 0);
        assert_int_equal(version_set(&b, &w, i + 1), 0);
    }
    struct uuid extra = member(1), first = member(2);
    assert_int_equal(version_set(&a, &extra, 1), -1);
    assert_int_equal(a.n, VERSION_MEMBERS_MAX);
    assert_int_equal(version_set(&a, &first, 5), 0); /* a change needs no room */
    assert_int_equal(version_set(&a, &extra, 0), 0);
    struct version before = a;
    assert_int_equal(version_join(&a, &b), -1); /* 65 members */
    assert_true(version_same(&a, &before));
    assert_int_equal(version_set(&a, &first, 0), 0);
    assert_int_equal(version_set(&b, &first, 0), 0);
    assert_int_equal(version_join(&a, &b), 0); /* 64 */
    assert_int_equal(a.n, VERSION_MEMBERS_MAX);
    assert_int_equal(version_count(&a, &extra), 64);
}

static void invalid_vectors(void **state)
{
    (void)state;
    struct version v = of("123");
    assert_true(version_valid(&v));
    v.item[1].count = 0;
    assert_false(version_valid(&v));
    v = of("123");
    v.item[1].who = v.item[0].who;
    assert_false(version_valid(&v));
    v = of("123");
    v.item[0].who = member(9);
    assert_false(version_valid(&v));
    v = of("1");
    v.item[0].who = member(0);
    assert_false(version_valid(&v));
    v.n = VERSION_MEMBERS_MAX + 1;
    assert_false(version_valid(&v));
}

static void uuids(void **state)
{
    (void)state;
    struct uuid a, b, c = {{0}};
    char text[37];
    uuid_random(&a);
    uuid_random(&b);
    assert_false(uuid_same(&a, &b));
    assert_false(uuid_none(&a));
    assert_true(uuid_none(&c));
    assert_int_equal(a.b[6] >> 4, 4);
    assert_int_equal(a.b[8] >> 6, 2);
    assert_true(uuid_parse(uuid_text(text, &a), &b));
    assert_true(uuid_same(&a, &b));
    assert_true(uuid_parse("00112233-4455-6677-8899-aAbBcCdDeEfF", &c));
    assert_string_equal(uuid_text(text, &c), "00112233-4455-6677-8899-aabbccddeeff");
    static const char *const bad[] = {
        "", "0", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeeff0",
        "001122334455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeefg",
        "00112233445566778899aabbccddeeff", " 0112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddee-f", "00112233-4455-6677-8899-", "-",
        "00112233-4455-6677-8899-aabbccddeeff ", "0x112233-4455-6677-8899-aabbccddeeff",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        b = c;
        assert_false(uuid_parse(bad[i], &b));
        assert_true(uuid_same(&b, &c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders),       cmocka_unit_test(joins),           cmocka_unit_test(like_a_model),
        cmocka_unit_test(full_vectors), cmocka_unit_test(invalid_vectors), cmocka_unit_test(uuids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
