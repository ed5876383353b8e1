/* Frames and messages: what arrives in any pieces is what was sent, and what is malformed is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store.h"
#include "wire/message.h"

struct line {
    struct wire_out out;
    struct wire_in in;
    int pair[2];
};

static void open_line(struct line *l)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, l->pair), 0);
    wire_out_init(&l->out, l->pair[0]);
    wire_in_init(&l->in, l->pair[1]);
    l->in.greeted = true;
}

static void close_line(struct line *l)
{
    wire_out_close(&l->out);
    wire_in_close(&l->in);
    close(l->pair[0]);
    close(l->pair[1]);
}

/* Sends what waits and takes the next frame in. */
static struct frame carry(struct line *l)
{
    struct frame f;
    struct err e;
    assert_int_equal(wire_out_flush(&l->out), 0);
    while (wire_in_frame(&l->in, &f, &e) == 0)
        assert_true(wire_in_fill(&l->in) > 0);
    return f;
}

static void greeting_in_any_pieces(void **state)
{
    (void)state;
    struct wire_out out;
    wire_out_init(&out, -1);
    wire_out_greeting(&out, WIRE_CAP_FDS);
    assert_int_equal(out.buf.len, WIRE_GREETING_LEN);
    struct wire_in in = {.fd = -1};
    struct wire_greeting g;
    struct err e;
    for (size_t i = 0; i < out.buf.len; i++) {
        assert_int_equal(wire_in_greeting(&in, &g, &e), 0);
        buf_put(&in.buf, out.buf.data + i, 1);
    }
    assert_int_equal(wire_in_greeting(&in, &g, &e), 1);
    assert_int_equal(g.major, WIRE_MAJOR);
    assert_int_equal(g.caps, WIRE_CAP_FDS);
    wire_in_close(&in);
    wire_out_close(&out);
}

static void greeting_refused(void **state)
{
    (void)state;
    static const char noise[] = "\r\n\nLast login: today\nmore";
    struct wire_in in = {.fd = -1};
    struct wire_greeting g;
    struct err e;
    buf_put(&in.buf, noise, sizeof noise - 1);
    assert_int_equal(wire_in_greeting(&in, &g, &e), ERR_PROTO);
    assert_non_null(strstr(e.msg, "Last login: today"));
    assert_null(strstr(e.msg, "more"));
    wire_in_close(&in);

    struct wire_out out;
    wire_out_init(&out, -1);
    wire_out_greeting(&out, 0);
    out.buf.data[8] = 2; /* another major version */
    in = (struct wire_in){.fd = -1};
    buf_put(&in.buf, out.buf.data, out.buf.len);
    assert_int_equal(wire_in_greeting(&in, &g, &e), ERR_PROTO);
    assert_non_null(strstr(e.msg, "version 2"));
    wire_in_close(&in);
    wire_out_close(&out);
}

static void header_refused(void **state)
{
    (void)state;
    static const struct { uint8_t b[8]; } bad[] = {
        {{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}}, /* B5: a length of 2^32-1 */
        {{0, 0, 0, 0x80, 1, 0, 0, 0}},
        {{1, 0, 0x11, 0, 1, 0, 0, 0}},          /* one above the largest payload */
        {{0, 0, 0, 0, 1, 1, 0, 0}},             /* the zero byte */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct wire_in in = {.fd = -1};
        struct frame f;
        struct err e;
        buf_put(&in.buf, bad[i].b, sizeof bad[i].b);
        assert_int_equal(wire_in_frame(&in, &f, &e), ERR_PROTO);
        wire_in_close(&in);
    }
}

static void descriptors_travel_with_their_frame(void **state)
{
    (void)state;
    struct line l;
    open_line(&l);
    int fd[2];
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    struct stat want, got;
    assert_int_equal(fstat(fd[0], &want), 0);
    message_put_list(&l.out, &(struct message_list){0});
    assert_int_equal(wire_out_pass(&l.out, fd[0]), 0);
    message_put_number(&l.out, MSG_LEND, 0, 7);
    wire_out_frame(&l.out, MSG_BYE, 0, NULL, 0);
    assert_int_equal(carry(&l).type, MSG_LIST);
    struct frame f = carry(&l);
    assert_int_equal(f.type, MSG_LEND);
    int mine = wire_in_take_fd(&l.in);
    assert_true(mine >= 0);
    assert_int_equal(fstat(mine, &got), 0);
    assert_int_equal(got.st_ino, want.st_ino);
    assert_int_equal(wire_in_take_fd(&l.in), -1);
    assert_int_equal(carry(&l).type, MSG_BYE);
    close(mine);
    close(fd[1]);
    close_line(&l);
}

static void sample(struct entry *e)
{
    memset(e, 0, sizeof *e);
    e->path = "a/b";
    e->path_len = 3;
    e->kind = ENTRY_FILE;
    e->mode = 0644;
    e->size = 5;
    e->mtime = (struct stamp){1700000000, 5};
    e->digest = digest_of("hello", 5);
    uuid_random(&e->origin);
    assert_int_equal(version_set(&e->version, &e->origin, 3), 0);
}

static void apply_round_trip(void **state)
{
    (void)state;
    struct line l;
    open_line(&l);
    struct message_apply m = {.seq = 9, .how = STORE_CONTENT, .from = STORE_FROM_ROOT, .lender = 2}, got;
    char path[PATH_LEN_MAX + 1], from_path[PATH_LEN_MAX + 1];
    struct err e;
    sample(&m.entry);
    message_put_apply(&l.out, 4, &m);
    struct frame f = carry(&l);
    assert_int_equal(f.channel, 4);
    assert_int_equal(message_get_apply(&f, path, from_path, &got, &e), 0);
    assert_int_equal(got.seq, 9);
    assert_int_equal(got.lender, 2);
    assert_string_equal(got.entry.path, "a/b");
    assert_true(entry_same_content(&m.entry, &got.entry));
    assert_true(entry_same_meta(&m.entry, &got.entry));
    assert_true(entry_same_record(&m.entry, &got.entry));
    close_line(&l);
}

/* Content that comes from nowhere, a directory that comes from somewhere, flags, numbers out of range. */
static void apply_refused(void **state)
{
    (void)state;
    static const struct { uint8_t how, from; enum entry_kind kind; unsigned flags; } bad[] = {
        {STORE_CONTENT, STORE_FROM_NOWHERE, ENTRY_FILE, 0}, {STORE_CONTENT, STORE_FROM_ROOT, ENTRY_DIR, 0},
        {STORE_META, STORE_FROM_SELF, ENTRY_FILE, 0},       {3, STORE_FROM_NOWHERE, ENTRY_FILE, 0},
        {STORE_CONTENT, 5, ENTRY_FILE, 0},                  {STORE_META, 0, ENTRY_FILE, ENTRY_DAMAGED},
        {STORE_CONTENT, MSG_FROM_PATCH, ENTRY_LINK, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct line l;
        open_line(&l);
        struct message_apply m = {.seq = 1, .how = bad[i].how, .from = bad[i].from}, got;
        char path[PATH_LEN_MAX + 1], from_path[PATH_LEN_MAX + 1];
        struct err e;
        sample(&m.entry);
        m.entry.kind = bad[i].kind;
        m.entry.flags = bad[i].flags;
        if (m.entry.kind == ENTRY_DIR) {
            m.entry.size = 0;
            m.entry.mtime = (struct stamp){0};
            memset(&m.entry.digest, 0, sizeof m.entry.digest);
        }
        message_put_apply(&l.out, 0, &m);
        struct frame f = carry(&l);
        assert_int_equal(message_get_apply(&f, path, from_path, &got, &e), ERR_PROTO);
        close_line(&l);
    }
}

/* Only files and symlinks are pruned, from nowhere, and that is why. */
static void prune_alone(void **state)
{
    (void)state;
    static const struct { uint8_t how, from, why; enum entry_kind kind; int rc; } t[] = {
        {STORE_PRUNE, 0, STORE_WHY_PRUNED, ENTRY_FILE, 0},
        {STORE_PRUNE, 0, STORE_WHY_PRUNED, ENTRY_LINK, 0},
        {STORE_PRUNE, 0, STORE_WHY_PRUNED, ENTRY_DIR, 0},
        {STORE_PRUNE, 0, STORE_WHY_CONFLICT, ENTRY_FILE, 0},
        {STORE_PRUNE, 0, STORE_WHY_PRUNED, ENTRY_GONE, ERR_PROTO},
        {STORE_PRUNE, 0, STORE_WHY_DELETED, ENTRY_FILE, ERR_PROTO},
        {STORE_PRUNE, STORE_FROM_ROOT, STORE_WHY_PRUNED, ENTRY_FILE, ERR_PROTO},
        {STORE_REMOVE, 0, STORE_WHY_PRUNED, ENTRY_GONE, ERR_PROTO},
        {STORE_META, 0, STORE_WHY_PRUNED, ENTRY_FILE, ERR_PROTO},
        {STORE_PRUNE + 1, 0, STORE_WHY_PRUNED, ENTRY_FILE, ERR_PROTO},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct line l;
        open_line(&l);
        struct message_apply m = {.seq = 1, .how = t[i].how, .from = t[i].from, .why = t[i].why}, got;
        char path[PATH_LEN_MAX + 1], from_path[PATH_LEN_MAX + 1];
        struct err e;
        sample(&m.entry);
        m.entry.kind = t[i].kind;
        m.entry.mode = t[i].kind == ENTRY_LINK ? 0777 : t[i].kind == ENTRY_GONE ? 0 : 0644;
        if (t[i].kind != ENTRY_FILE && t[i].kind != ENTRY_LINK) {
            m.entry.size = 0;
            m.entry.mtime = (struct stamp){0};
            memset(&m.entry.digest, 0, sizeof m.entry.digest);
        }
        message_put_apply(&l.out, 0, &m);
        struct frame f = carry(&l);
        assert_int_equal(message_get_apply(&f, path, from_path, &got, &e), t[i].rc);
        close_line(&l);
    }
}

/* Times of peers, which may not be known, and must be times. */
static void peers_round_trip(void **state)
{
    (void)state;
    static const int64_t seen[] = {0, 1700000000, -5, ENTRY_TIME_MAX, ENTRY_TIME_MAX + 1, INT64_MIN};
    for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++) {
        struct line l;
        open_line(&l);
        struct message_peer peer = {.address = "/srv/a", .address_len = 6, .seen = seen[i]}, back;
        struct message_commit got;
        struct err e;
        uuid_random(&peer.id);
        message_put_commit(&l.out, &peer, 1);
        struct frame f = carry(&l);
        bool good = i < 4;
        assert_int_equal(message_get_commit(&f, &got, &e), good ? 0 : ERR_PROTO);
        if (good) {
            assert_int_equal(message_next_peer(&got.peer_list, &back), 1);
            assert_true(back.seen == seen[i] && uuid_same(&back.id, &peer.id));
            assert_int_equal(message_next_peer(&got.peer_list, &back), 0);
        }
        close_line(&l);
    }
}

static void check_round_trip(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct line l;
        open_line(&l);
        struct entry want, got;
        char path[PATH_LEN_MAX + 1];
        struct err e;
        bool read;
        sample(&want);
        want.kind = i == 3 ? ENTRY_DIR : i == 4 ? ENTRY_GONE : i == 1 ? ENTRY_LINK : ENTRY_FILE;
        want.mode = i == 1 ? 0777 : i == 4 ? 0 : 0644;
        if (i == 3 || i == 4) {
            want.size = 0;
            want.mtime = (struct stamp){0};
            want.digest = (struct digest){0};
        }
        message_put_check(&l.out, i != 0, &want);
        struct frame f = carry(&l);
        f.channel = i == 5;
        assert_int_equal(message_get_check(&f, path, &read, &got, &e), i < 3 ? 0 : ERR_PROTO);
        if (i < 3)
            assert_true(read == (i != 0) && entry_same_content(&want, &got));
        close_line(&l);
    }
    uint8_t body[200];
    struct buf b = {0};
    struct entry want, got;
    char path[PATH_LEN_MAX + 1];
    struct err e;
    bool read;
    sample(&want);
    manifest_put_entry(&b, &want);
    memcpy(body + 1, b.data, b.len);
    for (unsigned how = 0; how < 4; how++) {
        body[0] = (uint8_t)how;
        struct frame f = {MSG_CHECK, 0, rd_of(body, 1 + b.len)};
        assert_int_equal(message_get_check(&f, path, &read, &got, &e), how < 2 ? 0 : ERR_PROTO);
    }
    buf_free(&b);
}

/* Every message, cut short at every byte and with a byte too many, is refused. */
static void cut_short(void **state)
{
    (void)state;
    struct wire_out out;
    wire_out_init(&out, -1);
    struct message_peer peer = {.address = "/srv/a", .address_len = 6};
    struct message_opened m = {.flags = 7, .caps = 7, .group = "g", .group_len = 1, .peers = 1};
    uuid_random(&m.id);
    message_put_opened(&out, &m, &peer);
    size_t n = out.buf.len - WIRE_HEADER_LEN;
    for (size_t cut = 0; cut <= n + 1; cut++) {
        uint8_t body[256] = {0};
        memcpy(body, out.buf.data + WIRE_HEADER_LEN, n);
        struct frame f = {MSG_OPENED, 0, rd_of(body, cut)};
        struct message_opened got;
        struct err e;
        assert_int_equal(message_get_opened(&f, &got, &e), cut == n ? 0 : ERR_PROTO);
    }
    wire_out_close(&out);
}

static void had_bits(void **state)
{
    (void)state;
    struct line l;
    open_line(&l);
    uint8_t have[11] = {STORE_HAVE, 0, STORE_HAVE_PART, STORE_HAVE, [8] = STORE_HAVE_PART, [10] = STORE_HAVE};
    uint8_t got[MSG_HAVE_MAX];
    size_t n;
    struct err e;
    message_put_had(&l.out, have, 11);
    struct frame f = carry(&l);
    assert_int_equal(message_get_had(&f, got, &n, &e), 0);
    assert_int_equal(n, 11);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(got[i], have[i]);
    close_line(&l);
    /* The fourth answer does not exist; bits behind the last one; a byte too few. */
    static const uint8_t bad[][3] = {{5, 0xc0, 0}, {5, 0, 4}, {5, 0, 3}, {4, 3 << 2, 0}, {9, 0, 0}, {0, 0, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        f = (struct frame){MSG_HAD, 0, rd_of(bad[i], bad[i][0] == 4 ? 2 : 3)};
        assert_int_equal(message_get_had(&f, got, &n, &e), ERR_PROTO);
    }
}

/* Contents are asked for by digests of one kind or the other: it shows in their length. */
static void have_of_both_kinds(void **state)
{
    (void)state;
    struct digest_state *s = digest_new();
    static struct digest got[MSG_HAVE_MAX];
    struct err e;
    size_t n;
    for (int sha = 0; sha < 2; sha++) {
        struct digest d[3];
        struct line l;
        for (size_t i = 0; i < 3; i++)
            d[i] = digest_whole(s, sha ? DIGEST_SHA256 : DIGEST_XXH3_128, "abc", i);
        open_line(&l);
        message_put_have(&l.out, d, 3);
        memset(got, 0xee, sizeof got);
        struct frame f = carry(&l);
        assert_int_equal(rd_left(&f.body), 1 + 3 * (sha ? 32 : 16));
        assert_int_equal(message_get_have(&f, got, &n, &e), 0);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < 3; i++)
            assert_true(digest_same(&got[i], &d[i]));
        close_line(&l);
    }
    static const uint8_t bytes[1 + 64] = {2};
    static const size_t cut[] = {1, 17, 32, 34, 48, 64};
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) { /* neither two of the one nor two of the other */
        struct frame f = {MSG_HAVE, 0, rd_of(bytes, cut[i])};
        assert_int_equal(message_get_have(&f, got, &n, &e), ERR_PROTO);
    }
    digest_free(s);
}

static void scanned_round_trip(void **state)
{
    (void)state;
    struct line l;
    open_line(&l);
    struct message_scanned m = {.totals.entries = 3, .hashed = 4, .hashed_bytes = 5, .special = 6,
                                .problems = 7, .partials = 300, .changed = true}, got;
    struct err e;
    message_put_scanned(&l.out, &m);
    struct frame f = carry(&l);
    assert_int_equal(message_get_scanned(&f, &got, &e), 0);
    assert_int_equal(got.problems, 7);
    assert_int_equal(got.partials, 300);
    assert_true(got.changed);
    close_line(&l);
}

/* OPEN with these rules, as the other side reads it. */
static int carry_open(const struct store_rules *rules, struct message_open *got)
{
    struct line l;
    struct buf none = {0};
    struct err e;
    struct message_open m = {.flags = OPEN_LOOK, .root = "/srv/a", .root_len = 6, .state_dir = "", .by = "me", .by_len = 2,
                             .rules = *rules};
    buf_varint(&none, 0);
    open_line(&l);
    message_put_open(&l.out, &m, &none);
    struct frame f = carry(&l);
    int rc = message_get_open(&f, got, &e);
    assert_true(rc < 0 || (got->by_len == 2 && memcmp(got->by, "me", 2) == 0 && rd_left(&got->filter) == none.len));
    buf_free(&none);
    close_line(&l);
    return rc;
}

static void open_round_trip(void **state)
{
    (void)state;
    struct message_open got;
    const struct store_rules good = {.now = -7, .propagate = true, .cross = true, .adopted = true, .tombstones = 400, .trash = 300,
                                     .part = 2, .parts = 9, .rate = 12345};
    struct store_rules bad = good;
    assert_int_equal(carry_open(&good, &got), 0);
    assert_int_equal(got.flags, OPEN_LOOK);
    assert_true(got.rules.now == -7 && got.rules.propagate && !got.rules.emptied && got.rules.cross && got.rules.adopted &&
                got.rules.tombstones == 400 && got.rules.trash == 300 && got.rules.part == 2 && got.rules.parts == 9 &&
                got.rules.rate == 12345);
    bad.part = 10;
    assert_int_equal(carry_open(&bad, &got), ERR_PROTO);
    bad.part = 0;
    assert_int_equal(carry_open(&bad, &got), ERR_PROTO);
    bad = good;
    bad.parts = MSG_PARTS_MAX + 1;
    assert_int_equal(carry_open(&bad, &got), ERR_PROTO);
    bad = good;
    bad.tombstones = -1;
    assert_int_equal(carry_open(&bad, &got), ERR_PROTO);
    bad = good;
    bad.now = ENTRY_TIME_MAX + 1;
    assert_int_equal(carry_open(&bad, &got), ERR_PROTO);
}

static void listing_round_trip(void **state)
{
    (void)state;
    struct line l;
    struct message_list want = {true, 1ull << 40, digest_of("x", 1)}, got;
    struct manifest_totals totals = {5, 2, 3, 1ull << 50, digest_of("y", 1)}, back;
    bool difference;
    struct err e;
    open_line(&l);
    message_put_list(&l.out, &want);
    struct frame f = carry(&l);
    assert_int_equal(message_get_list(&f, &got, &e), 0);
    assert_true(got.named && got.entries == want.entries && digest_same(&got.shared, &want.shared));
    message_put_list(&l.out, &(struct message_list){0});
    f = carry(&l);
    assert_int_equal(rd_left(&f.body), 1);
    assert_int_equal(message_get_list(&f, &got, &e), 0);
    assert_false(got.named);
    for (int i = 0; i < 2; i++) {
        message_put_listing(&l.out, i);
        f = carry(&l);
        assert_int_equal(message_get_listing(&f, &difference, &e), 0);
        assert_int_equal(difference, i);
    }
    message_put_totals(&l.out, MSG_COMMITTED, &totals);
    f = carry(&l);
    assert_int_equal(f.type, MSG_COMMITTED);
    assert_int_equal(message_get_totals(&f, &back, &e), 0);
    assert_true(back.bytes == totals.bytes && digest_same(&back.shared, &totals.shared));
    close_line(&l);
}

static void listing_refused(void **state)
{
    (void)state;
    uint8_t body[32] = {1, 5};
    struct message_list m;
    struct manifest_totals t;
    bool difference;
    struct err e;
    for (size_t n = 0; n < sizeof body; n++) {
        struct frame f = {MSG_LIST, 0, rd_of(body, n)};
        assert_int_equal(message_get_list(&f, &m, &e), n == 1 + 1 + 16 ? 0 : ERR_PROTO);
        f = (struct frame){MSG_COMMITTED, 0, rd_of(body, n)};
        assert_int_equal(message_get_totals(&f, &t, &e), ERR_PROTO);
    }
    static const uint8_t bad[] = {2, 0};
    struct frame f = {MSG_LIST, 0, rd_of(bad, 1)};
    assert_int_equal(message_get_list(&f, &m, &e), ERR_PROTO);
    f = (struct frame){MSG_LISTING, 0, rd_of(bad, 1)};
    assert_int_equal(message_get_listing(&f, &difference, &e), ERR_PROTO);
    f = (struct frame){MSG_LISTING, 0, rd_of(bad + 1, 0)};
    assert_int_equal(message_get_listing(&f, &difference, &e), ERR_PROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greeting_in_any_pieces), cmocka_unit_test(greeting_refused),
        cmocka_unit_test(header_refused),         cmocka_unit_test(descriptors_travel_with_their_frame),
        cmocka_unit_test(apply_round_trip),       cmocka_unit_test(apply_refused),
        cmocka_unit_test(prune_alone),            cmocka_unit_test(peers_round_trip),
        cmocka_unit_test(check_round_trip),
        cmocka_unit_test(cut_short),              cmocka_unit_test(had_bits),
        cmocka_unit_test(open_round_trip),
        cmocka_unit_test(scanned_round_trip),     cmocka_unit_test(have_of_both_kinds),
        cmocka_unit_test(listing_round_trip),     cmocka_unit_test(listing_refused),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
