#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/recall.h"

#define HOUR 3600000

static struct digest digest_of_number(unsigned i, size_t n, char *content)
{
    memset(content, (int)('a' + i % 26), n);
    snprintf(content, n, "%u", i);
    return digest_of(content, n);
}

static void gives_what_it_got(void **state)
{
    struct recall *r = recall_new(0, HOUR);
    char content[100], got[100];
    (void)state;
    struct digest d = digest_of_number(7, sizeof content, content), other = digest_of("x", 1);
    assert_int_equal(recall_get(r, &d, sizeof content, got), RECALL_NOTHING);
    recall_put(r, &d, content, sizeof content);
    assert_int_equal(recall_get(r, &d, sizeof content, got), RECALL_FRESH);
    assert_memory_equal(got, content, sizeof content);
    assert_int_equal(recall_get(r, &other, 1, got), RECALL_NOTHING);
    assert_int_equal(recall_get(r, &d, sizeof content - 1, got), RECALL_NOTHING); /* an entry that lies about its size */
    assert_int_equal(recall_get(NULL, &d, sizeof content, got), RECALL_NOTHING);
    recall_free(r);
    recall_free(NULL);
}

static void grows_old(void **state)
{
    struct recall *r = recall_new(0, 0);
    char content[100], got[100];
    (void)state;
    struct digest d = digest_of_number(7, sizeof content, content);
    recall_put(r, &d, content, sizeof content);
    assert_int_equal(recall_get(r, &d, sizeof content, got), RECALL_OLD);
    assert_memory_equal(got, content, sizeof content);
    recall_free(r);
}

static void leaves_out_what_is_large_or_empty(void **state)
{
    struct recall *r = recall_new(0, HOUR);
    char *content = calloc(1, RECALL_LARGEST + 1), *got = malloc(RECALL_LARGEST + 1);
    (void)state;
    struct digest large = digest_of(content, RECALL_LARGEST + 1), just = digest_of(content, RECALL_LARGEST);
    struct digest none = digest_of("", 0);
    recall_put(r, &large, content, RECALL_LARGEST + 1);
    recall_put(r, &just, content, RECALL_LARGEST);
    recall_put(r, &none, content, 0);
    assert_int_equal(recall_get(r, &large, RECALL_LARGEST + 1, got), RECALL_NOTHING);
    assert_int_equal(recall_get(r, &just, RECALL_LARGEST, got), RECALL_FRESH);
    assert_int_equal(recall_get(r, &none, 0, got), RECALL_NOTHING);
    free(content);
    free(got);
    recall_free(r);
}

/* The first that came stay; what has no room is just not there. */
static void keeps_to_its_bound(void **state)
{
    enum { ALL = 4000, SIZE = 4096 };
    struct recall *r = recall_new(9u << 20, HOUR);
    char content[SIZE], got[SIZE];
    unsigned kept = 0;
    (void)state;
    for (unsigned i = 0; i < ALL; i++) {
        struct digest d = digest_of_number(i, SIZE, content);
        recall_put(r, &d, content, SIZE);
    }
    for (unsigned i = 0; i < ALL; i++) {
        struct digest d = digest_of_number(i, SIZE, content);
        bool has = recall_get(r, &d, SIZE, got) == RECALL_FRESH;
        assert_true(!has || memcmp(got, content, SIZE) == 0);
        kept += has;
    }
    assert_in_range(kept, (7u << 20) / SIZE, (9u << 20) / SIZE);
    recall_free(r);
}

/* What it takes to find content counts, too: of a few bytes it is nearly all. */
static void keeps_to_its_bound_with_very_small_content(void **state)
{
    enum { ALL = 40000, SIZE = 8 };
    struct recall *r = recall_new(6u << 20, HOUR);
    char content[SIZE], got[SIZE];
    unsigned kept = 0;
    (void)state;
    for (unsigned i = 0; i < ALL; i++) {
        struct digest d = digest_of_number(i, SIZE, content);
        recall_put(r, &d, content, SIZE);
    }
    for (unsigned i = 0; i < ALL; i++) {
        struct digest d = digest_of_number(i, SIZE, content);
        bool has = recall_get(r, &d, SIZE, got) == RECALL_FRESH;
        assert_true(!has || memcmp(got, content, SIZE) == 0);
        kept += has;
    }
    assert_in_range(kept, 8000, 20000);
    recall_free(r);
}

struct half {
    struct recall *r;
    unsigned from;
};

static void *put_many(void *arg)
{
    struct half *h = arg;
    char content[64];
    for (unsigned i = h->from; i < h->from + 20000; i++) {
        struct digest d = digest_of_number(i, sizeof content, content);
        recall_put(h->r, &d, content, sizeof content);
    }
    return NULL;
}

static void takes_from_several_threads(void **state)
{
    struct recall *r = recall_new(0, HOUR);
    struct half a = {r, 0}, b = {r, 10000}; /* half of it the same */
    pthread_t thread;
    char content[64], got[64];
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, put_many, &a), 0);
    put_many(&b);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < 30000; i++) {
        struct digest d = digest_of_number(i, sizeof content, content);
        assert_int_equal(recall_get(r, &d, sizeof content, got), RECALL_FRESH);
        assert_memory_equal(got, content, sizeof content);
    }
    recall_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_what_it_got),
        cmocka_unit_test(grows_old),
        cmocka_unit_test(leaves_out_what_is_large_or_empty),
        cmocka_unit_test(keeps_to_its_bound),
        cmocka_unit_test(keeps_to_its_bound_with_very_small_content),
        cmocka_unit_test(takes_from_several_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
