#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "object/digest.h"
#include "object/entry.h"

static void known_values(void **state)
{
    (void)state;
    char hex[DIGEST_HEX_MAX + 1];
    struct digest d = digest_of("", 0);
    /* Fixed by XXH3 itself: what manifests hold must mean the same for ever. */
    assert_string_equal(digest_hex(hex, &d), "99aa06d3014798d86001c324468d497f");
    assert_int_equal(digest_word(&d), 0x99aa06d3014798d8u);
    d = digest_of("hello\n", 6);
    assert_string_equal(digest_hex(hex, &d), "6bba86c7e069f56d5a10b435f1c8e49c");
    assert_int_equal(digest_check("", 0), 0x2d06800538d394c2u);
    assert_int_equal(digest_check("hello\n", 6), 0x99fc819aaba2462au);
}

static void pieces_make_the_whole(void **state)
{
    (void)state;
    static uint8_t data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 3);
    static const size_t sizes[] = {0, 1, 16, 17, 128, 129, 240, 241, 255, 256, 257, 1024, 4096, sizeof data};
    struct digest_state *s = digest_new();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t step = 1; step < 600; step += 37) {
            struct digest whole = digest_of(data, sizes[i]), parts;
            digest_reset(s);
            for (size_t at = 0; at < sizes[i]; at += step)
                digest_add(s, data + at, sizes[i] - at < step ? sizes[i] - at : step);
            digest_add(s, NULL, 0);
            parts = digest_end(s);
            assert_true(digest_same(&whole, &parts));
            parts = digest_end(s); /* looking does not change it */
            assert_true(digest_same(&whole, &parts));
            size_t cut = step < sizes[i] ? step : sizes[i];
            uint64_t both = digest_check2(data, cut, data + cut, sizes[i] - cut);
            assert_int_equal(digest_check(data, sizes[i]), both);
        }
    digest_free(s);
    digest_free(NULL);
}

/* The examples of FIPS 180-4, and what every tool says of nothing. */
static void sha256_of_the_standard(void **state)
{
    (void)state;
    static const struct { const char *text, *hex; } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[DIGEST_HEX_MAX + 1], text[1000];
    struct digest_state *s = digest_new();
    struct digest parsed, d;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        d = digest_whole(s, DIGEST_SHA256, known[i].text, strlen(known[i].text));
        assert_string_equal(digest_hex(hex, &d), known[i].hex);
        assert_int_equal(digest_parse(known[i].hex, &parsed), 2 * DIGEST_LEN_MAX);
        assert_true(digest_same(&d, &parsed));
    }
    memset(text, 'a', sizeof text); /* a million of them, in pieces */
    digest_begin(s, DIGEST_SHA256);
    for (int i = 0; i < 1000; i++)
        digest_add(s, text, sizeof text);
    for (int i = 0; i < 2; i++) { /* looking does not change it */
        d = digest_end(s);
        assert_string_equal(digest_hex(hex, &d), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    /* The same state goes from one kind to the other and back. */
    digest_reset(s);
    digest_add(s, "hello\n", 6);
    d = digest_end(s);
    assert_string_equal(digest_hex(hex, &d), "6bba86c7e069f56d5a10b435f1c8e49c");
    d = digest_whole(s, DIGEST_XXH3_128, "hello\n", 6);
    assert_string_equal(digest_hex(hex, &d), "6bba86c7e069f56d5a10b435f1c8e49c");
    digest_begin(s, DIGEST_SHA256);
    digest_begin(s, DIGEST_SHA256); /* what was begun and given up leaves nothing */
    digest_add(s, "ab", 2);
    digest_add(s, NULL, 0);
    digest_add(s, "c", 1);
    d = digest_end(s);
    assert_string_equal(digest_hex(hex, &d), known[1].hex);
    digest_free(s);
}

static void two_kinds_never_agree(void **state)
{
    (void)state;
    struct digest x = digest_of("abc", 3), y = x, none = {0};
    y.algo = DIGEST_SHA256;
    assert_false(digest_same(&x, &y));
    assert_true(digest_cmp(&x, &y) < 0 && digest_cmp(&y, &x) > 0 && digest_cmp(&x, &x) == 0);
    assert_int_equal(none.algo, DIGEST_XXH3_128); /* what is all zero is what it was before there were two */
    assert_int_equal(digest_len(DIGEST_XXH3_128), 16);
    assert_int_equal(digest_len(DIGEST_SHA256), 32);
    assert_string_equal(digest_name(DIGEST_XXH3_128), "xxh3");
    assert_string_equal(digest_name(DIGEST_SHA256), "sha256");
    assert_int_equal(digest_other(DIGEST_SHA256), DIGEST_XXH3_128);
    static const char *const bad[] = {"", "0", "x", "6bba86c7e069f56d5a10b435f1c8e49", "6bba86c7e069f56d5a10b435f1c8e49c0",
                                      "6BBA86C7E069F56D5A10B435F1C8E49C",
                                      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
                                      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(digest_parse(bad[i], &x), 0);
    assert_int_equal(digest_parse("6bba86c7e069f56d5a10b435f1c8e49c.5", &x), 32);
    assert_int_equal(x.algo, DIGEST_XXH3_128);
}

static void tells_apart(void **state)
{
    (void)state;
    struct digest a = digest_of("abc", 3), b = digest_of("abd", 3);
    assert_false(digest_same(&a, &b));
    b = a;
    b.b[DIGEST_LEN - 1] ^= 1;
    assert_false(digest_same(&a, &b));
    assert_int_equal(digest_word(&a), digest_word(&b));
}

static struct entry file_entry(void)
{
    struct entry e = {.path = "a", .path_len = 1, .kind = ENTRY_FILE, .mode = 0644, .size = 3,
                      .mtime = {1700000000, 5}, .digest = digest_of("abc", 3), .first_seen = 1600000000};
    e.origin.b[0] = 1;
    version_set(&e.version, &e.origin, 4);
    return e;
}

static void entries_compare(void **state)
{
    (void)state;
    struct entry a = file_entry(), b;
    memset(&b, 0xee, sizeof b);
    entry_copy(&b, &a);
    entry_copy(&b, &b);
    assert_true(entry_same_content(&a, &b) && entry_same_meta(&a, &b) && entry_same_record(&a, &b));
    assert_ptr_equal(a.path, b.path);
    b.mode = 0600;
    b.mtime.nsec++;
    assert_true(entry_same_content(&a, &b));
    assert_false(entry_same_meta(&a, &b));
    b.mode = a.mode;
    assert_false(entry_same_meta(&a, &b));
    a.kind = b.kind = ENTRY_DIR; /* a directory has no time and no content */
    b.digest.b[0]++;
    assert_true(entry_same_meta(&a, &b) && entry_same_content(&a, &b));
    b.mode = 0700;
    assert_false(entry_same_meta(&a, &b));
    a.kind = b.kind = ENTRY_LINK; /* a symlink has no mode */
    b.mtime = a.mtime;
    assert_true(entry_same_meta(&a, &b));
    assert_false(entry_same_content(&a, &b));
    b.kind = ENTRY_FILE;
    assert_false(entry_same_meta(&a, &b) || entry_same_content(&a, &b));
    version_set(&b.version, &a.origin, 5);
    assert_false(entry_same_record(&a, &b));
    version_set(&b.version, &a.origin, 4);
    assert_true(entry_same_record(&a, &b));
    b.first_seen++;
    assert_false(entry_same_record(&a, &b));
    b.first_seen--;
    b.origin.b[15]++;
    assert_false(entry_same_record(&a, &b));
}

static void entries_are_checked(void **state)
{
    (void)state;
    struct err err;
#define REFUSES(change) do { \
        struct entry e = file_entry(); \
        assert_int_equal(entry_check(&e, &err), 0); \
        change; \
        assert_int_equal(entry_check(&e, &err), ERR_FORMAT); \
    } while (0)
    REFUSES(e.kind = ENTRY_GONE); /* with content */
    REFUSES(e.kind = (enum entry_kind)4);
    REFUSES(e.flags = 64);
    REFUSES(e.mode = 04755);
    REFUSES(e.mode = 01000);
    REFUSES(e.size = (uint64_t)INT64_MAX + 1);
    REFUSES(e.size = UINT64_MAX);
    REFUSES(e.mtime.nsec = 1000000000);
    REFUSES(e.mtime.sec = (int64_t)1 << 60);
    REFUSES(e.mtime.sec = INT64_MIN);
    REFUSES(e.first_seen = INT64_MAX);
    REFUSES(e.place.ctime.nsec = UINT32_MAX);
    REFUSES(e.place.ctime.sec = -ENTRY_TIME_MAX - 1);
    REFUSES(e.kind = ENTRY_DIR);
    REFUSES(e.kind = ENTRY_LINK); /* mode 0644 */
    REFUSES(e.kind = ENTRY_LINK; e.mode = 0777; e.size = 0);
    REFUSES(e.kind = ENTRY_LINK; e.mode = 0777; e.size = 4096);
#undef REFUSES
    struct entry e = file_entry();
    e.mtime.sec = -ENTRY_TIME_MAX;
    e.size = INT64_MAX;
    e.flags = ENTRY_HIDDEN | ENTRY_DAMAGED | ENTRY_UNKNOWN;
    assert_int_equal(entry_check(&e, &err), 0);
    e.kind = ENTRY_LINK, e.mode = 0777, e.size = 4095;
    assert_int_equal(entry_check(&e, &err), 0);
#define REFUSES(change) do { \
        struct entry gone = {.path = "g", .path_len = 1, .kind = ENTRY_GONE, .mtime = {1700000000, 0}, \
                             .flags = ENTRY_HIDDEN}; \
        assert_int_equal(entry_check(&gone, &err), 0); \
        change; \
        assert_int_equal(entry_check(&gone, &err), ERR_FORMAT); \
    } while (0)
    REFUSES(gone.size = 1);
    REFUSES(gone.mode = 0644);
    REFUSES(gone.mtime.nsec = 1);
    REFUSES(gone.digest.b[15] = 1);
    REFUSES(gone.flags = ENTRY_UNKNOWN);
    REFUSES(gone.flags = ENTRY_DAMAGED | ENTRY_HIDDEN);
#undef REFUSES
    struct entry dir = {.path = "d", .path_len = 1, .kind = ENTRY_DIR, .mode = 0755};
    assert_int_equal(entry_check(&dir, &err), 0);
    assert_string_equal(entry_kind_name(ENTRY_DIR), "directory");
    assert_string_equal(entry_kind_name(ENTRY_LINK), "symlink");
    assert_string_equal(entry_kind_name(ENTRY_FILE), "file");
    assert_string_equal(entry_kind_name(ENTRY_GONE), "deleted");
    assert_string_equal(entry_kind_name((enum entry_kind)4), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(pieces_make_the_whole),
        cmocka_unit_test(sha256_of_the_standard),
        cmocka_unit_test(two_kinds_never_agree),
        cmocka_unit_test(tells_apart),
        cmocka_unit_test(entries_compare),
        cmocka_unit_test(entries_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
