#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "object/manifest.h"
#include "store/index.h"
#include "store/lookup.h"

#define FILES 5000 /* enough for several blocks */

static struct digest digest_no(uint64_t i)
{
    return digest_of(&i, sizeof i);
}

/*
 * Each content has two names; f00007 is damaged, f00009 unknown, f00011 hidden; and all that is in z
 * is alike.
 */
static int make(void)
{
    const char *tmp = getenv("TMPDIR");
    int fd = file_unnamed(tmp && tmp[0] ? tmp : "/tmp");
    struct manifest_head head = {DIGEST_XXH3_128, {{1}}, 0, {0, 0}};
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    struct err err = {0};
    char path[64];
    assert_true(fd >= 0);
    for (int i = 0; i < FILES; i++) {
        struct entry e = {.path = path, .kind = ENTRY_FILE, .mode = 0644, .size = 8};
        e.path_len = (size_t)snprintf(path, sizeof path, "f%05d", i);
        e.digest = digest_no((uint64_t)i / 2);
        e.flags = i == 7 ? ENTRY_DAMAGED : i == 9 ? ENTRY_UNKNOWN : i == 11 ? ENTRY_HIDDEN : 0;
        version_set(&e.version, &head.store, 1);
        assert_int_equal(manifest_writer_put(w, &e, &err), 0);
    }
    struct entry dir = {.path = "z", .path_len = 1, .kind = ENTRY_DIR, .mode = 0755};
    version_set(&dir.version, &head.store, 1);
    assert_int_equal(manifest_writer_put(w, &dir, &err), 0);
    for (int i = 0; i < FILES; i++) {
        struct entry e = {.path = path, .kind = ENTRY_FILE, .mode = 0644, .size = 8};
        e.path_len = (size_t)snprintf(path, sizeof path, "z/%05d", i);
        e.digest = digest_no(1000000);
        version_set(&e.version, &head.store, 1);
        assert_int_equal(manifest_writer_put(w, &e, &err), 0);
    }
    assert_int_equal(manifest_writer_end(w, NULL, &err), 0);
    manifest_writer_free(w);
    return fd;
}

static void finds(void **state)
{
    int fd = make();
    struct err e = {0};
    const struct entry *found;
    struct index *x = index_new(fd, &e);
    (void)state;
    assert_non_null(x);
    for (uint64_t i = 0; i < FILES / 2; i += 97) {
        struct digest d = digest_no(i);
        char path[64];
        for (uint64_t k = 0; k < 2; k++) {
            assert_int_equal(index_find(x, &d, k, &found, &e), 1);
            snprintf(path, sizeof path, "f%05d", (int)(2 * i + k));
            assert_string_equal(found->path, path);
        }
        assert_int_equal(index_find(x, &d, 2, &found, &e), 0);
    }
    struct digest flagged = digest_no(3); /* f00006 and f00007 */
    assert_int_equal(index_find(x, &flagged, 0, &found, &e), 1);
    assert_string_equal(found->path, "f00006");
    assert_int_equal(index_find(x, &flagged, 1, &found, &e), 0);
    struct digest all = digest_no(1000000), none = digest_no(77777777);
    assert_int_equal(index_find(x, &all, FILES - 1, &found, &e), 1);
    assert_string_equal(found->path, "z/04999");
    assert_int_equal(index_find(x, &all, FILES, &found, &e), 0);
    assert_int_equal(index_find(x, &none, 0, &found, &e), 0);
    index_free(x);
    close(fd);
}

static void has(void **state)
{
    int fd = make();
    struct err e = {0};
    struct index *x = index_new(fd, &e);
    struct digest d[3000];
    bool yes[3000];
    (void)state;
    for (uint64_t i = 0; i < 3000; i++)
        d[i] = digest_no(i ^ 1);
    d[0] = d[1] = digest_no(1000000); /* the same twice */
    d[2] = digest_no(5);
    d[2].b[15] ^= 1; /* the same first bytes, another digest */
    assert_int_equal(index_have(x, d, 3000, yes, &e), 0);
    for (size_t i = 0; i < 3000; i++)
        if (yes[i] != (i != 2 && i < FILES / 2))
            fail_msg("digest %d", (int)i);
    assert_int_equal(index_have(x, d, 0, yes, &e), 0);
    index_free(x);
    close(fd);
}

static void broken(void **state)
{
    int fd = make();
    struct err e = {0};
    char c;
    (void)state;
    assert_int_equal(pread(fd, &c, 1, 5000), 1);
    c ^= 1;
    assert_int_equal(pwrite(fd, &c, 1, 5000), 1);
    assert_null(index_new(fd, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_int_equal(ftruncate(fd, 3), 0);
    assert_null(index_new(fd, &e));
    close(fd);
}

static void lookups(void **state)
{
    int fd = make();
    struct err e = {0};
    struct lookup *l = lookup_new(fd);
    const struct entry *found;
    static const struct {
        const char *path;
        bool there;
    } table[] = {
        {"a", false}, {"f00000", true}, {"f00001", true}, {"f00001", true}, {"f00001x", false},
        {"f00002", true}, {"f04999", true}, {"g", false}, {"z", true}, {"z/00000", true}, {"zz", false},
        {"f00000", true}, {"zzz", false}, {"", false}, {"z/04999", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(lookup_find(l, table[i].path, strlen(table[i].path), &found, &e), 0);
        if ((found != NULL) != table[i].there)
            fail_msg("%s", table[i].path);
        if (found)
            assert_string_equal(found->path, table[i].path);
    }
    lookup_free(l);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds),
        cmocka_unit_test(has),
        cmocka_unit_test(broken),
        cmocka_unit_test(lookups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
