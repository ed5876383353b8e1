/* The decoder against shared and private parts that no writer makes: unsorted, twice, huge, cut short. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "object/manifest.h"

static struct uuid member(unsigned id)
{
    struct uuid u = {{0}};
    for (size_t i = 0; i < sizeof u.b; i++)
        u.b[i] = (uint8_t)(id * 16 + i);
    return u;
}

enum { SAME = 16 | 32 | 64 };

/* An entry with all of its fields said, by hand: who is an index into the block's members. */
static void raw_front(struct buf *b, unsigned bits, unsigned prefix, const char *suffix)
{
    buf_varint(b, bits);
    buf_varint(b, prefix);
    buf_str(b, suffix, strlen(suffix));
}

static void raw_content(struct buf *b, uint64_t size, int64_t sec, uint64_t nsec)
{
    static const uint8_t digest[DIGEST_LEN] = {1};
    buf_varint(b, size);
    buf_svarint(b, sec);
    buf_varint(b, nsec);
    buf_put(b, digest, sizeof digest);
}

static void raw_member(struct buf *b, unsigned index, unsigned id)
{
    struct uuid u = member(id);
    buf_varint(b, index);
    buf_put(b, u.b, sizeof u.b);
}

static void raw_tail(struct buf *b)
{
    buf_varint(b, 0); /* version of no members */
    raw_member(b, 0, 1);
    buf_svarint(b, 5);
}

static void raw_first(struct buf *b, unsigned kind, const char *path)
{
    raw_front(b, kind, 0, path);
    buf_varint(b, kind == ENTRY_LINK ? 0777 : 0755);
    if (kind != ENTRY_DIR)
        raw_content(b, 10, 1, 1);
    raw_tail(b);
}

/* One that repeats all it may from an entry of the same mode. */
static void raw_next(struct buf *b, unsigned kind, unsigned prefix, const char *suffix)
{
    raw_front(b, kind | SAME, prefix, suffix);
    if (kind != ENTRY_DIR)
        raw_content(b, 10, 1, 1);
}

/* Decodes one block (b is freed): count of entries, or the error. */
static int decode(struct buf *b, struct err *err)
{
    struct manifest_decoder *d = manifest_decoder_new();
    const struct entry *e;
    uint8_t *copy = malloc(b->len ? b->len : 1); /* of exact size, for the sanitizer */
    if (b->len)
        memcpy(copy, b->data, b->len);
    int n = 0, rc = manifest_decoder_block(d, copy, b->len, NULL, 0, err);
    if (rc == 0)
        while ((rc = manifest_decoder_next(d, &e, err)) > 0)
            n++;
    if (rc < 0) {
        struct err again;
        assert_int_equal(manifest_decoder_next(d, &e, &again), ERR_FORMAT);
        assert_int_equal(manifest_decoder_block(d, copy, b->len, NULL, 0, &again), ERR_FORMAT);
    }
    manifest_decoder_free(d);
    free(copy);
    buf_free(b);
    return rc < 0 ? rc : n;
}

enum { OTHER = 1024 };

/* One byte that is in the place of a digest's kind more or less. */
static void kinds_of_digests(void **state)
{
    (void)state;
    struct err err;
    for (unsigned kind = 0; kind < 4; kind++)
        for (int full = 0; full < 2; full++) { /* with the bytes of SHA-256, or with those of XXH3 */
            struct buf b = {0};
            static const uint8_t rest[DIGEST_LEN_MAX - DIGEST_LEN] = {2};
            buf_varint(&b, 1);
            raw_front(&b, kind | OTHER, 0, "a");
            buf_varint(&b, kind == ENTRY_LINK ? 0777 : kind == ENTRY_GONE ? 0 : 0755);
            if (kind == ENTRY_GONE)
                buf_svarint(&b, 1700000000);
            else if (kind != ENTRY_DIR)
                raw_content(&b, 10, 1, 1);
            if (full && (kind == ENTRY_FILE || kind == ENTRY_LINK))
                buf_put(&b, rest, sizeof rest);
            raw_tail(&b);
            assert_int_equal(decode(&b, &err), full && (kind == ENTRY_FILE || kind == ENTRY_LINK) ? 1 : ERR_FORMAT);
        }
    struct buf b = {0}; /* and back: the second has the kind of the first unless it says so */
    static const uint8_t rest[DIGEST_LEN_MAX - DIGEST_LEN] = {2};
    buf_varint(&b, 2);
    raw_front(&b, ENTRY_FILE | OTHER, 0, "a");
    buf_varint(&b, 0755);
    raw_content(&b, 10, 1, 1);
    buf_put(&b, rest, sizeof rest);
    raw_tail(&b);
    raw_front(&b, ENTRY_FILE | SAME | OTHER, 0, "b");
    raw_content(&b, 10, 1, 1);
    assert_int_equal(decode(&b, &err), 2);
}

static unsigned world_mode(char kind, unsigned turn)
{
    return kind == 'g' ? 0 : kind == 'l' ? 0777u : turn % 2 ? 0700u : 0755u;
}

/* An entry of a world ("da/b"), behind the one before it in the same block, or first in its own. */
static void put_world_entry(struct buf *b, const char *text, const char *last, unsigned turn)
{
    unsigned kind = text[0] == 'd' ? ENTRY_DIR : text[0] == 'l' ? ENTRY_LINK : text[0] == 'g' ? ENTRY_GONE : ENTRY_FILE;
    unsigned same = 0, mode = world_mode(text[0], turn);
    bool same_mode = last && mode == world_mode(last[-1], turn - 1);
    while (last && text[1 + same] && text[1 + same] == last[same])
        same++;
    raw_front(b, kind | (last ? 32 | 64 : 0) | (same_mode ? 16 : 0), same, text + 1 + same);
    if (!same_mode)
        buf_varint(b, mode);
    if (kind == ENTRY_GONE)
        buf_svarint(b, 1700000000);
    else if (kind != ENTRY_DIR)
        raw_content(b, 10, 1, 1);
    if (!last)
        raw_tail(b);
}

/* In one block, or a block for each entry: the rules are the same. The count of entries, or the error. */
static int decode_world(const char *world, int split, struct err *err)
{
    struct buf block[8] = {{0}}, all = {0};
    char text[64], *save = NULL, *last = NULL;
    int n = 0, rc = 0;
    snprintf(text, sizeof text, "%s", world);
    for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save), n++) {
        if (split)
            buf_varint(&block[n], 1);
        put_world_entry(split ? &block[n] : &all, w, split ? NULL : last, (unsigned)n);
        last = w + 1;
    }
    if (!split) {
        buf_varint(&block[0], (uint64_t)n);
        buf_put(&block[0], all.data, all.len);
    }
    struct manifest_decoder *d = manifest_decoder_new();
    const struct entry *e;
    n = 0;
    for (int k = 0; k < 8 && rc == 0 && block[k].len; k++)
        if ((rc = manifest_decoder_block(d, block[k].data, block[k].len, NULL, 0, err)) == 0)
            while ((rc = manifest_decoder_next(d, &e, err)) > 0)
                n++;
    manifest_decoder_free(d);
    for (int k = 0; k < 8; k++)
        buf_free(&block[k]);
    buf_free(&all);
    return rc < 0 ? rc : n;
}

/* "d" is a directory, "f" a file, "l" a symlink, "g" a tombstone, each with its path; n is how many decode, or the error. */
static void order_and_parents(void **state)
{
    (void)state;
    static const struct { const char *world; int n; } worlds[] = {
        {"fa fb fc", 3}, {"da fa/b fa/c lb", 4}, {"da da/b fa/b/c fa/d fb", 5}, {"da fa/b fa.b fa0", 4},
        {"da da/b da/b/c fa/b/c/d de", 5}, {"da db fb/c", 3}, {"da da/x fa-b", 3},
        /* Tombstones need no directory, and stand below files as well. */
        {"ga", 1}, {"ga/b/c", 1}, {"ga ga/b ga/b/c gb", 4}, {"fa ga/b ga/b/c fa.x", 4}, {"da ga/b fa/c", 3},
        {"da ga/b ga/b/c fa/d fe", 5}, {"da ga/b/c/d da/c fa/c/e", 4}, {"da da/b ga/b/c fa/d", 4},
        {"da gab gac/d db fb/x", 5}, {"da da/b ga/b/x ga.y fb", 5},
        /* But they are none, and what is alive still needs its own. */
        {"ga fa/b", ERR_FORMAT}, {"fa ga/b fa/c", ERR_FORMAT}, {"fa ga/b ga/b/c fa/b/d", ERR_FORMAT},
        {"la ga/b fa/b/c", ERR_FORMAT}, {"da ga/b fa/b/c", ERR_FORMAT}, {"da fa/b ga/b/c fa/b/d", ERR_FORMAT},
        {"ga/b fa/c", ERR_FORMAT}, {"ga/b/c fa/b/d", ERR_FORMAT}, {"da ga/b/c fa/b/d", ERR_FORMAT},
        {"da gb fb/c", ERR_FORMAT}, {"da gab fab/c", ERR_FORMAT}, {"da gab/c fab/d", ERR_FORMAT},
        {"da da/b gb fa/b/c", ERR_FORMAT}, {"da gb fa/c", ERR_FORMAT}, {"ga ga", ERR_FORMAT}, {"fa ga", ERR_FORMAT},
        {"gb ga", ERR_FORMAT}, {"da ga/c ga/b", ERR_FORMAT}, {"g../a", ERR_FORMAT},
        /* B1: unsorted */
        {"fb fa", ERR_FORMAT}, {"da fa.b fa/b", ERR_FORMAT}, {"da fa/c fa/b", ERR_FORMAT},
        {"da fa/b fa", ERR_FORMAT},
        {"da da/b fa/b/c fa/a", ERR_FORMAT}, {"fab fa", ERR_FORMAT},
        /* B2: twice; B4: file and directory of one name */
        {"fa fa", ERR_FORMAT}, {"da da", ERR_FORMAT}, {"da fa", ERR_FORMAT}, {"fa da fa/b", ERR_FORMAT},
        {"da fa/b fa/b", ERR_FORMAT},
        /* B3: below what is no directory, or what never came */
        {"fa fa/b", ERR_FORMAT}, {"la fa/b", ERR_FORMAT}, {"fa/b", ERR_FORMAT}, {"da fa/b/c", ERR_FORMAT},
        {"da fa/b fa/b/c", ERR_FORMAT}, {"da fb/c", ERR_FORMAT}, {"da fab/c", ERR_FORMAT},
        {"dab fa/c", ERR_FORMAT},
        {"da da/b fa/c/d", ERR_FORMAT}, {"da da/b fa/bc/d", ERR_FORMAT}, {"da db fa.x", ERR_FORMAT},
        {"da fa/x db fb/x/y", ERR_FORMAT}, {"dabc fab/c", ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++)
        for (int split = 0; split < 2; split++) {
            struct err err = {0};
            int n = decode_world(worlds[i].world, split, &err);
            if (n != worlds[i].n)
                fail_msg("\"%s\", split %d: %d %s", worlds[i].world, split, n, err.msg);
        }
}

static void hostile_paths(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", ".", "..", "../x", "/", "/a", "a/", "a//b", "a/../b", ".sos-sync", "a/./b",
    };
    struct err err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf b = {0};
        buf_varint(&b, 1);
        raw_first(&b, ENTRY_FILE, bad[i]);
        assert_int_equal(decode(&b, &err), ERR_FORMAT);
    }
    /* Each harmless as a suffix, made bad by what it is appended to. */
    static const struct { const char *first; unsigned prefix; const char *suffix; } joined[] = {
        {".a", 1, "."}, {".a", 1, "./x"}, {".sos", 4, "-sync"}, {".sos-", 5, "sync.x"}, {"a", 1, ""},
        {"ab", 1, ""},
        {"a", 2, "b"}, {"a", UINT32_MAX, "b"}, {"ab", 0, "ac"}, {"ab", 1, "bc"},
    };
    for (size_t i = 0; i < sizeof joined / sizeof joined[0]; i++) {
        struct buf b = {0};
        buf_varint(&b, 2);
        raw_first(&b, ENTRY_DIR, joined[i].first);
        raw_next(&b, ENTRY_FILE, joined[i].prefix, joined[i].suffix);
        assert_int_equal(decode(&b, &err), ERR_FORMAT);
    }
    static const char *const below[] = {
        "/", "/.", "/..", "//b", "/b/", "/.sos-sync", "/.sos-sync.x", "/../a",
    };
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++) {
        struct buf b = {0};
        buf_varint(&b, 2);
        raw_first(&b, ENTRY_DIR, "a");
        raw_next(&b, ENTRY_FILE, 1, below[i]);
        assert_int_equal(decode(&b, &err), ERR_FORMAT);
    }
    char name[300];
    memset(name, 'n', sizeof name);
    name[299] = '\0';
    struct buf b = {0};
    buf_varint(&b, 2);
    raw_first(&b, ENTRY_FILE, "n");
    raw_next(&b, ENTRY_FILE, 1, name + 45); /* 1 + 254 */
    assert_int_equal(decode(&b, &err), 2);
    buf_varint(&b, 2);
    raw_first(&b, ENTRY_FILE, "n");
    raw_next(&b, ENTRY_FILE, 1, name + 44);
    assert_int_equal(decode(&b, &err), ERR_FORMAT);
    buf_varint(&b, 1); /* a NUL */
    raw_front(&b, ENTRY_DIR, 0, "");
    b.len--;
    buf_str(&b, "a\0b", 3);
    buf_varint(&b, 0755);
    raw_tail(&b);
    assert_int_equal(decode(&b, &err), ERR_FORMAT);
}

/* As deep as a path may be, one directory below the other, and one more. */
static void deep_paths(void **state)
{
    (void)state;
    struct err err;
    struct buf b = {0};
    buf_varint(&b, 2048);
    raw_first(&b, ENTRY_DIR, "d");
    for (unsigned i = 1; i < 2048; i++)
        raw_next(&b, ENTRY_DIR, 2 * i - 1, "/d");
    assert_int_equal(decode(&b, &err), 2048);
    buf_varint(&b, 10000);
    raw_first(&b, ENTRY_DIR, "d");
    for (unsigned i = 1; i < 10000; i++)
        raw_next(&b, ENTRY_DIR, 2 * i - 1, "/d");
    assert_int_equal(decode(&b, &err), ERR_FORMAT);
}

static void hostile_fields(void **state)
{
    (void)state;
    const int64_t far = (int64_t)1 << 60;
    static const struct {
        unsigned bits, mode;
        uint64_t size;
        int64_t sec;
        uint64_t nsec;
        int rc;
    } worlds[] = {
        {1, 0644, 0, 0, 0, 1}, {1, 0644, INT64_MAX, ENTRY_TIME_MAX, 999999999, 1}, {2, 0777, 4095, 0, 0, 1},
        {1 | 4 | 8 | 128, 0777, 1, -1, 1, 1},
        /* B9: kinds and flags, set-id bits, sizes, times */
        {0, 0644, 1, 1, 1, ERR_FORMAT}, {1 | 256, 0644, 1, 1, 1, ERR_FORMAT},
        {1u << 31 | 1, 0644, 1, 1, 1, ERR_FORMAT},
        {1, 01644, 1, 1, 1, ERR_FORMAT}, {1, 02644, 1, 1, 1, ERR_FORMAT}, {1, 04644, 1, 1, 1, ERR_FORMAT},
        {1, UINT32_MAX, 1, 1, 1, ERR_FORMAT}, {1, 0644, (uint64_t)INT64_MAX + 1, 1, 1, ERR_FORMAT},
        {1, 0644, UINT64_MAX, 1, 1, ERR_FORMAT}, {1, 0644, 1, 1, 1000000000, ERR_FORMAT},
        {1, 0644, 1, 1, UINT32_MAX, ERR_FORMAT}, {1, 0644, 1, 1, (uint64_t)1 << 32, ERR_FORMAT},
        {1, 0644, 1, 1, UINT64_MAX, ERR_FORMAT}, {1, 0644, 1, far, 1, ERR_FORMAT},
        {1, 0644, 1, -far, 1, ERR_FORMAT},
        {1, 0644, 1, INT64_MIN, 1, ERR_FORMAT}, {1, 0644, 1, INT64_MAX, 1, ERR_FORMAT},
        {2, 0644, 1, 1, 1, ERR_FORMAT}, {2, 0777, 0, 1, 1, ERR_FORMAT}, {2, 0777, 4096, 1, 1, ERR_FORMAT},
        /* repeats at the front of a block */
        {1 | 16, 0644, 1, 1, 1, ERR_FORMAT}, {1 | 32, 0644, 1, 1, 1, ERR_FORMAT},
        {1 | 64, 0644, 1, 1, 1, ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        struct err err;
        struct buf b = {0}, one = {0};
        buf_varint(&b, 1);
        raw_front(&b, worlds[i].bits, 0, "a");
        buf_varint(&b, worlds[i].mode);
        raw_content(&b, worlds[i].size, worlds[i].sec, worlds[i].nsec);
        raw_tail(&b);
        assert_int_equal(decode(&b, &err), worlds[i].rc);

        buf_varint(&one, worlds[i].bits); /* the same, standing alone */
        buf_str(&one, "a", 1);
        buf_varint(&one, worlds[i].mode);
        raw_content(&one, worlds[i].size, worlds[i].sec, worlds[i].nsec);
        buf_varint(&one, 0);
        struct uuid u = member(1);
        buf_put(&one, u.b, sizeof u.b);
        buf_svarint(&one, 5);
        struct rd r = rd_of(one.data, one.len);
        char path[PATH_LEN_MAX + 1];
        static struct entry e;
        assert_int_equal(manifest_get_entry(&r, path, &e, &err), worlds[i].rc == 1 ? 0 : ERR_FORMAT);
        assert_int_equal(rd_done(&r), worlds[i].rc == 1);
        buf_free(&one);
    }
}

/* A vector as text: a letter is a member, a digit its counter; "!" is no member at all. */
static void hostile_versions(void **state)
{
    (void)state;
    static const struct { const char *vector; unsigned n; int rc; } worlds[] = {
        {"", 0, 1}, {"a1", 1, 1}, {"a1b2c9", 3, 1},
        {"b1a1", 2, ERR_FORMAT}, {"a1a1", 2, ERR_FORMAT}, {"a0", 1, ERR_FORMAT}, {"a1b0", 2, ERR_FORMAT},
        {"!1", 1, ERR_FORMAT}, {"!1a1", 2, ERR_FORMAT}, {"a1!1", 2, ERR_FORMAT}, {"a1", 2, ERR_FORMAT},
        {"a1", 65, ERR_FORMAT}, {"a1", UINT32_MAX, ERR_FORMAT},
    };
    struct err err;
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        struct buf b = {0};
        unsigned index = 0;
        buf_varint(&b, 1);
        raw_front(&b, ENTRY_DIR, 0, "a");
        buf_varint(&b, 0755);
        buf_varint(&b, worlds[i].n);
        for (const char *p = worlds[i].vector; *p; p += 2) {
            struct uuid none = {{0}}, who = *p == '!' ? none : member((unsigned)(*p - 'a') + 1);
            buf_varint(&b, index++);
            buf_put(&b, who.b, sizeof who.b);
            buf_varint(&b, (unsigned)(p[1] - '0'));
        }
        raw_member(&b, index, 9);
        buf_svarint(&b, 5);
        assert_int_equal(decode(&b, &err), worlds[i].rc);
    }
    for (unsigned n = 64; n <= 65; n++) {
        struct buf b = {0};
        buf_varint(&b, 1);
        raw_front(&b, ENTRY_DIR, 0, "a");
        buf_varint(&b, 0755);
        buf_varint(&b, n);
        for (unsigned i = 0; i < n; i++) {
            buf_varint(&b, i);
            for (unsigned k = 0; k < 16; k++)
                buf_u8(&b, (uint8_t)(i + 1));
            buf_varint(&b, UINT64_MAX);
        }
        buf_varint(&b, 3);
        buf_svarint(&b, 5);
        assert_int_equal(decode(&b, &err), n == 64 ? 1 : ERR_FORMAT);
    }
    struct buf b = {0}; /* a member that was never introduced */
    buf_varint(&b, 1);
    raw_front(&b, ENTRY_DIR, 0, "a");
    buf_varint(&b, 0755);
    buf_varint(&b, 0);
    raw_member(&b, 1, 1);
    buf_svarint(&b, 5);
    assert_int_equal(decode(&b, &err), ERR_FORMAT);
    buf_varint(&b, 1); /* first seen in the year 2^60 */
    raw_front(&b, ENTRY_DIR, 0, "a");
    buf_varint(&b, 0755);
    buf_varint(&b, 0);
    raw_member(&b, 0, 1);
    buf_svarint(&b, (int64_t)1 << 60);
    assert_int_equal(decode(&b, &err), ERR_FORMAT);
}

/* Of three entries, each as its flags and, when holders are said, their members: letters, "!" is none. */
static void hostile_holders(void **state)
{
    (void)state;
    enum { SAID = 256, LAST = 512 };
    static const struct { unsigned flags[3]; const char *who[3]; int rc; } worlds[] = {
        {{0, 0, 0}, {"", "", ""}, 3}, {{SAID, LAST, LAST}, {"ab", "", ""}, 3}, {{SAID, 0, LAST}, {"ab", "", ""}, 3},
        {{SAID, SAID, LAST}, {"ab", "a", ""}, 3}, {{SAID, SAID, SAID}, {"ab", "a", "ab"}, 3},
        {{LAST, 0, 0}, {"", "", ""}, ERR_FORMAT}, {{0, LAST, 0}, {"", "", ""}, ERR_FORMAT},
        {{SAID | LAST, 0, 0}, {"a", "", ""}, ERR_FORMAT}, {{SAID, SAID | LAST, 0}, {"a", "b", ""}, ERR_FORMAT},
        {{SAID, 0, 0}, {"", "", ""}, ERR_FORMAT}, {{SAID, 0, 0}, {"ba", "", ""}, ERR_FORMAT},
        {{SAID, 0, 0}, {"aa", "", ""}, ERR_FORMAT}, {{SAID, 0, 0}, {"!", "", ""}, ERR_FORMAT},
        {{SAID, 0, 0}, {"a!", "", ""}, ERR_FORMAT}, {{SAID, SAID, 0}, {"ab", "ab", ""}, ERR_FORMAT},
        {{SAID, 0, SAID}, {"ab", "", "ab"}, ERR_FORMAT}, {{1024, 0, 0}, {"", "", ""}, ERR_FORMAT},
    };
    struct err err;
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        struct buf b = {0};
        int known[2] = {0, 0};
        unsigned members = 1; /* the origin */
        buf_varint(&b, 3);
        for (unsigned k = 0; k < 3; k++) {
            char name[2] = {(char)('a' + k), '\0'};
            raw_front(&b, ENTRY_DIR | (k ? SAME : 0) | worlds[i].flags[k], 0, name);
            if (k == 0) {
                buf_varint(&b, 0755);
                buf_varint(&b, 0);
                raw_member(&b, 0, 9);
                buf_svarint(&b, 5);
            }
            if (worlds[i].flags[k] & SAID)
                buf_varint(&b, strlen(worlds[i].who[k]));
            for (const char *p = worlds[i].who[k]; *p; p++) {
                struct uuid none = {{0}};
                int *at = *p == '!' ? NULL : &known[*p - 'a'];
                buf_varint(&b, at && *at ? (unsigned)*at : members);
                if (!at)
                    buf_put(&b, none.b, sizeof none.b);
                if (at && *at == 0) {
                    struct uuid u = member((unsigned)(*p - 'a') + 1);
                    buf_put(&b, u.b, sizeof u.b);
                    *at = (int)members++;
                }
            }
        }
        assert_int_equal(decode(&b, &err), worlds[i].rc);
    }
    for (unsigned n = 64; n <= 65; n++) {
        struct buf b = {0}, one = {0};
        struct uuid who = member(1);
        buf_varint(&b, 1);
        raw_front(&b, ENTRY_DIR | SAID, 0, "a");
        buf_varint(&b, 0755);
        raw_tail(&b);
        buf_varint(&b, n);
        buf_varint(&one, ENTRY_DIR | SAID);
        buf_str(&one, "a", 1);
        buf_varint(&one, 0755);
        buf_varint(&one, 0);
        buf_put(&one, who.b, sizeof who.b);
        buf_svarint(&one, 5);
        buf_varint(&one, n);
        for (unsigned i = 0; i < n; i++) {
            memset(who.b, (int)(i + 100), sizeof who.b);
            buf_varint(&b, i + 1);
            buf_put(&b, who.b, sizeof who.b);
            buf_put(&one, who.b, sizeof who.b);
        }
        assert_int_equal(decode(&b, &err), n == 64 ? 1 : ERR_FORMAT);
        struct rd r = rd_of(one.data, one.len);
        char path[PATH_LEN_MAX + 1];
        static struct entry e;
        assert_int_equal(manifest_get_entry(&r, path, &e, &err), n == 64 ? 0 : ERR_FORMAT);
        buf_free(&one);
    }
}

/* One list has one coding: what could have been said shorter is refused. */
static void only_one_coding(void **state)
{
    (void)state;
    for (unsigned said = 0; said < 8; said++) {
        struct err err;
        struct buf b = {0};
        buf_varint(&b, 2);
        raw_first(&b, ENTRY_DIR, "a");
        raw_front(&b, ENTRY_DIR | (SAME & ~(said << 4)), 0, "b");
        if (said & 1)
            buf_varint(&b, 0755);
        if (said & 2)
            buf_varint(&b, 0);
        if (said & 4) {
            buf_varint(&b, 0);
            buf_svarint(&b, 5);
        }
        assert_int_equal(decode(&b, &err), said ? ERR_FORMAT : 2);
    }
    struct err err;
    struct buf b = {0}; /* the version again, but not empty */
    for (unsigned count = 1; count <= 2; count++) {
        buf_varint(&b, 2);
        raw_front(&b, ENTRY_DIR, 0, "a");
        buf_varint(&b, 0755);
        buf_varint(&b, 1);
        raw_member(&b, 0, 1);
        buf_varint(&b, 1);
        buf_varint(&b, 0);
        buf_svarint(&b, 5);
        raw_front(&b, ENTRY_DIR | 16 | 64, 0, "b");
        buf_varint(&b, 1);
        buf_varint(&b, 0);
        buf_varint(&b, count);
        assert_int_equal(decode(&b, &err), count == 1 ? ERR_FORMAT : 2);
    }
}

/* B5 and B6: counts and lengths that are not there. */
static void hostile_counts(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 2, 3, 1u << 31, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    struct err err;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct buf b = {0};
        buf_varint(&b, counts[i]);
        raw_first(&b, ENTRY_FILE, "a");
        assert_int_equal(decode(&b, &err), ERR_FORMAT);
        buf_varint(&b, 1); /* the suffix */
        buf_varint(&b, ENTRY_FILE);
        buf_varint(&b, 0);
        buf_varint(&b, counts[i] + 5);
        buf_put(&b, "a", 1);
        assert_int_equal(decode(&b, &err), ERR_FORMAT);
    }
    struct buf b = {0};
    assert_int_equal(decode(&b, &err), ERR_FORMAT); /* no bytes at all */
    buf_varint(&b, 1);
    raw_first(&b, ENTRY_FILE, "a");
    buf_u8(&b, 0); /* one byte too many */
    assert_int_equal(decode(&b, &err), ERR_FORMAT);

    /* cut at every byte */
    struct buf whole = {0};
    buf_varint(&whole, 2);
    raw_first(&whole, ENTRY_FILE, "a");
    raw_next(&whole, ENTRY_FILE, 1, "b");
    for (size_t cut = 0; cut <= whole.len; cut++) {
        buf_put(&b, whole.data, cut);
        assert_int_equal(decode(&b, &err), cut == whole.len ? 2 : ERR_FORMAT);
    }
    buf_free(&whole);

    struct manifest_decoder *d = manifest_decoder_new();
    uint8_t *large = calloc(1, MANIFEST_BLOCK_MAX + 1);
    assert_int_equal(manifest_decoder_block(d, large, MANIFEST_BLOCK_MAX + 1, NULL, 0, &err), ERR_FORMAT);
    manifest_decoder_free(d);
    d = manifest_decoder_new();
    large[0] = 1;
    assert_int_equal(manifest_decoder_block(d, large, 10, large, MANIFEST_BLOCK_MAX + 1, &err), ERR_FORMAT);
    manifest_decoder_free(d);
    free(large);
}

static void hostile_places(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t n; int rc; } worlds[] = {
        {"\x00\x01\x02\x03\x04", 5, 1}, {"\x01\x01\x02\x03\x04", 5, 1},
        {"", 0, ERR_FORMAT}, {"\x00\x01\x02\x03", 4, ERR_FORMAT}, {"\x00\x01\x02\x03\x04\x00", 6, ERR_FORMAT},
        {"\x02\x02\x03\x04", 4, ERR_FORMAT}, /* the device as before, and nothing was before */
        {"\x04\x01\x02\x03\x04", 5, ERR_FORMAT}, {"\x80\x01\x01\x02\x03\x04", 6, ERR_FORMAT},
        {"\x08\x01\x02\x03\x04", 5, ERR_FORMAT},
        {"\x00\x01\x02\x03\x80\x94\xeb\xdc\x03", 9, ERR_FORMAT}, /* 10^9 ns */
        {"\x00\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01", 13, ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        struct err err;
        struct buf b = {0};
        const struct entry *e;
        buf_varint(&b, 1);
        raw_first(&b, ENTRY_FILE, "a");
        struct manifest_decoder *d = manifest_decoder_new();
        uint8_t *copy = malloc(worlds[i].n + 1);
        memcpy(copy, worlds[i].bytes, worlds[i].n);
        assert_int_equal(manifest_decoder_block(d, b.data, b.len, copy, worlds[i].n, &err), 0);
        assert_int_equal(manifest_decoder_next(d, &e, &err), worlds[i].rc);
        manifest_decoder_free(d);
        struct rd r = rd_of(copy, worlds[i].n);
        struct entry_place place;
        int rc = manifest_get_place(&r, &place, &err);
        assert_int_equal(rc == 0 && rd_done(&r), worlds[i].rc == 1);
        free(copy);
        buf_free(&b);
    }
}

/* When content was verified: a new time, or one that the block had; of files alone. */
static void hostile_times(void **state)
{
    (void)state;
    static const struct { unsigned kind; const char *bytes; size_t n; int rc; int64_t time; } worlds[] = {
        {ENTRY_FILE, "\x00\x01\x02\x03\x04", 5, 1, 0},
        {ENTRY_FILE, "\x04\x01\x02\x03\x04\x00\x0e", 7, 1, 7},
        {ENTRY_FILE, "\x05\x01\x02\x03\x04\x00\x0d", 7, 1, -7},
        {ENTRY_FILE, "\x04\x01\x02\x03\x04\x01", 6, ERR_FORMAT, 0}, /* none was before */
        {ENTRY_FILE, "\x04\x01\x02\x03\x04\x00", 6, ERR_FORMAT, 0},
        {ENTRY_FILE, "\x04\x01\x02\x03\x04\x41", 6, ERR_FORMAT, 0},
        {ENTRY_FILE, "\x04\x01\x02\x03\x04\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 15, ERR_FORMAT, 0},
        {ENTRY_DIR, "\x04\x01\x02\x03\x04\x00\x0e", 7, ERR_FORMAT, 0},
    };
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        struct err err;
        struct buf b = {0};
        const struct entry *e;
        buf_varint(&b, 1);
        raw_first(&b, worlds[i].kind, "a");
        struct manifest_decoder *d = manifest_decoder_new();
        uint8_t *copy = malloc(worlds[i].n);
        memcpy(copy, worlds[i].bytes, worlds[i].n);
        assert_int_equal(manifest_decoder_block(d, b.data, b.len, copy, worlds[i].n, &err), 0);
        assert_int_equal(manifest_decoder_next(d, &e, &err), worlds[i].rc);
        if (worlds[i].rc == 1)
            assert_int_equal(e->place.verified, worlds[i].time);
        manifest_decoder_free(d);
        free(copy);
        buf_free(&b);
    }
}

/* A block stands alone: what it could repeat from the block before, it must not. */
static void blocks_stand_alone(void **state)
{
    (void)state;
    static const struct { unsigned same, prefix; const char *suffix; int rc; } worlds[] = {
        {0, 0, "ab", 1}, {16, 0, "ab", ERR_FORMAT}, {32, 0, "ab", ERR_FORMAT}, {64, 0, "ab", ERR_FORMAT},
        {0, 1, "b", ERR_FORMAT}, {0, 1, "/b", ERR_FORMAT}, {SAME, 1, "b", ERR_FORMAT},
        /* as long as its length, taken for a letter, comes after "a" */
        {0, 1, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
               "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        struct err err;
        struct buf first = {0}, second = {0};
        const struct entry *e;
        buf_varint(&first, 1);
        raw_first(&first, ENTRY_DIR, "a");
        buf_varint(&second, 1);
        raw_front(&second, ENTRY_DIR | worlds[i].same, worlds[i].prefix, worlds[i].suffix);
        if (!(worlds[i].same & 16))
            buf_varint(&second, 0755);
        if (!(worlds[i].same & 32))
            buf_varint(&second, 0);
        if (!(worlds[i].same & 64)) {
            raw_member(&second, 0, 1);
            buf_svarint(&second, 5);
        }
        struct manifest_decoder *d = manifest_decoder_new();
        assert_int_equal(manifest_decoder_block(d, first.data, first.len, NULL, 0, &err), 0);
        assert_int_equal(manifest_decoder_next(d, &e, &err), 1);
        assert_int_equal(manifest_decoder_next(d, &e, &err), 0);
        assert_int_equal(manifest_decoder_block(d, second.data, second.len, NULL, 0, &err), 0);
        assert_int_equal(manifest_decoder_next(d, &e, &err), worlds[i].rc);
        manifest_decoder_free(d);
        buf_free(&first);
        buf_free(&second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_parents),
        cmocka_unit_test(hostile_paths),
        cmocka_unit_test(deep_paths),
        cmocka_unit_test(hostile_fields),
        cmocka_unit_test(hostile_versions),
        cmocka_unit_test(hostile_holders),
        cmocka_unit_test(only_one_coding),
        cmocka_unit_test(hostile_counts),
        cmocka_unit_test(hostile_places),
        cmocka_unit_test(hostile_times),
        cmocka_unit_test(kinds_of_digests),
        cmocka_unit_test(blocks_stand_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
