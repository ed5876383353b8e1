/*
 * The agent against a coordinator that lies: whatever it is asked, it touches nothing outside its store, gives away nothing that
 * its manifest does not hold, and says FAILED (or reports the operation) where it refuses.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "object/delta.h"
#include "object/squeeze.h"
#include "store/store.h"
#include "wire/message.h"
#include "served.h"
#include "scratch.h"

/* A temporary world with a store in it, and a real agent that serves it in a child. */
struct session {
    char *world, *root;
    pid_t pid;
    int fd;
    struct wire_in in;
    struct wire_out out;
};

static void make_file(const char *dir, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static bool exists(const char *dir, const char *name)
{
    struct stat st;
    char *path = mem_printf("%s/%s", dir, name);
    bool there = lstat(path, &st) == 0;
    free(path);
    return there;
}

/* A real agent, and our end of the line to it. */
static void serve(struct session *s)
{
    s->fd = served_start(&s->pid);
    wire_in_init(&s->in, s->fd);
    wire_out_init(&s->out, s->fd);
    wire_out_greeting(&s->out, WIRE_CAP_FDS);
}

static void hang_up(struct session *s)
{
    wire_in_close(&s->in);
    wire_out_close(&s->out);
    close(s->fd);
    waitpid(s->pid, NULL, 0);
}

static int begin(void **state)
{
    struct session *s = mem_zalloc(sizeof *s);
    char name[256];
    if (scratch_make(name, sizeof name, "test_agent") < 0)
        return -1;
    s->world = mem_strdup(name);
    s->root = mem_printf("%s/store", name);
    mkdir(s->root, 0755);
    make_file(s->root, "inside", "hello");
    make_file(s->world, "secret", "secret");
    serve(s);
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct session *s = *state;
    char *command = mem_printf("rm -rf %s", s->world);
    hang_up(s);
    int rc = system(command);
    free(command);
    free(s->world);
    free(s->root);
    free(s);
    return rc;
}

/* The next message that is not just a sign of life; type 0 at the end of the stream. */
static struct frame next(struct session *s)
{
    struct frame f = {0};
    struct err e;
    wire_out_flush(&s->out);
    for (;;) {
        struct wire_greeting g;
        int rc = s->in.greeted ? wire_in_frame(&s->in, &f, &e) : 0;
        assert_true(rc >= 0);
        if (rc > 0 && f.type != MSG_PROGRESS && f.type != MSG_PROBLEM)
            return f;
        if (rc > 0)
            continue;
        if (wire_in_fill(&s->in) <= 0)
            return (struct frame){0};
        if (!s->in.greeted)
            assert_true(wire_in_greeting(&s->in, &g, &e) >= 0);
    }
}

static void open_squeezing(struct session *s, unsigned flags, enum squeeze_mode mode)
{
    struct buf rules = {0};
    struct filter *none = filter_new();
    struct message_open m = {.flags = flags, .compress = (uint8_t)mode, .root = s->root,
                             .root_len = strlen(s->root), .state_dir = "",
                             .rules = {.tombstones = 34560000, .trash = 604800}};
    filter_put(none, &rules);
    message_put_open(&s->out, &m, &rules);
    filter_free(none);
    buf_free(&rules);
    assert_int_equal(next(s).type, MSG_OPENED);
}

static void open_store(struct session *s, unsigned flags)
{
    open_squeezing(s, flags, SQUEEZE_NEVER);
}

static void scan_store(struct session *s)
{
    struct message_scan m = {.id = {{5, 7}}, .group = "g", .group_len = 1};
    message_put_scan(&s->out, &m);
    assert_int_equal(next(s).type, MSG_SCANNED);
    int fd = wire_in_take_fd(&s->in);
    if (fd >= 0)
        close(fd);
}

static struct message_apply an_op(const char *path)
{
    struct message_apply m = {.seq = 1, .how = STORE_CONTENT, .from = STORE_FROM_STREAM};
    m.entry.path = path;
    m.entry.path_len = strlen(path);
    m.entry.kind = ENTRY_FILE;
    m.entry.mode = 0644;
    m.entry.size = 3;
    m.entry.mtime.sec = 1700000000;
    m.entry.digest = digest_of("new", 3);
    uuid_random(&m.entry.origin);
    version_set(&m.entry.version, &m.entry.origin, 1);
    return m;
}

static void refused(struct session *s)
{
    assert_int_equal(next(s).type, MSG_FAILED);
    assert_int_equal(next(s).type, 0);
}

/* ---- out of turn ---- */

static void scan_before_open(void **state)
{
    struct session *s = *state;
    struct message_scan m = {.group = "g", .group_len = 1};
    uuid_random(&m.id);
    message_put_scan(&s->out, &m);
    refused(s);
    assert_false(exists(s->root, ".sos-sync"));
}

static void apply_before_scan(void **state)
{
    struct session *s = *state;
    struct message_apply m = an_op("new");
    open_store(s, 0);
    message_put_apply(&s->out, 1, &m);
    refused(s);
    assert_false(exists(s->root, "new"));
}

static void apply_in_a_dry_run(void **state)
{
    struct session *s = *state;
    struct message_apply m = an_op("new");
    open_store(s, OPEN_DRY_RUN);
    scan_store(s);
    message_put_apply(&s->out, 1, &m);
    refused(s);
    assert_false(exists(s->root, ".sos-sync"));
}

static void a_gap_in_the_sequence(void **state)
{
    struct session *s = *state;
    struct message_apply m = an_op("new");
    open_store(s, 0);
    scan_store(s);
    m.seq = 2;
    message_put_apply(&s->out, 1, &m);
    refused(s);
}

static void a_lender_that_lent_nothing(void **state)
{
    struct session *s = *state;
    struct message_apply m = an_op("new");
    open_store(s, 0);
    scan_store(s);
    m.from = STORE_FROM_ROOT;
    m.lender = 5;
    message_put_apply(&s->out, 0, &m);
    refused(s);
}

static void lend_without_a_descriptor(void **state)
{
    struct session *s = *state;
    open_store(s, 0);
    message_put_number(&s->out, MSG_LEND, 0, 1);
    refused(s);
}

static void data_without_credit(void **state)
{
    struct session *s = *state;
    open_store(s, 0);
    scan_store(s);
    wire_out_frame(&s->out, MSG_DATA, 3, "xxxx", 4);
    refused(s);
}

static void unknown_type(void **state)
{
    struct session *s = *state;
    wire_out_frame(&s->out, 200, 0, "x", 1);
    refused(s);
}

/* ---- paths: A1 to A5 ---- */

static void hostile_paths(void **state)
{
    struct session *s = *state;
    static const char *const path[] = {"../secret", "a/../../secret", "/etc/passwd", ".", "a//b", "a/",
                                       ".sos-sync/marker", "a/.sos-sync.tmp.1"};
    /* The agent ends at the first: one session for each. */
    for (size_t i = 0; i < sizeof path / sizeof path[0]; i++) {
        struct message_apply m = an_op(path[i]);
        open_store(s, 0);
        scan_store(s);
        message_put_apply(&s->out, 1, &m);
        refused(s);
        char *secret = mem_printf("%s/secret", s->world);
        struct stat st;
        assert_int_equal(stat(secret, &st), 0);
        assert_int_equal(st.st_size, 6);
        free(secret);
        void *again = s;
        assert_int_equal(end(&again), 0);
        assert_int_equal(begin(&again), 0);
        *state = s = again;
    }
}

/* C6: what the manifest does not hold is not given away, whatever is on the disk; the bundle has it empty. */
static void a_file_outside_the_manifest(void **state)
{
    struct session *s = *state;
    open_store(s, 0);
    scan_store(s);
    make_file(s->root, "later", "new");
    struct message_apply m = an_op("later");
    message_put_send(&s->out, MSG_SEND, 1, &m.entry);
    wire_out_frame(&s->out, MSG_SEND_END, 1, NULL, 0);
    message_put_number(&s->out, MSG_CREDIT, 1, 1 << 20);
    bool ended = false;
    while (!ended) {
        struct frame f = next(s);
        if (f.type == MSG_DATA)
            assert_null(memmem(f.body.p, rd_left(&f.body), "new\0", 4));
        else
            assert_int_equal(f.type, MSG_DATA_END);
        ended = f.type == MSG_DATA_END;
    }
}

/* ---- compression ---- */

static void open_with_another_mode(void **state)
{
    struct session *s = *state;
    struct buf rules = {0};
    struct filter *none = filter_new();
    struct message_open m = {.compress = 3, .root = s->root, .root_len = strlen(s->root), .state_dir = ""};
    filter_put(none, &rules);
    message_put_open(&s->out, &m, &rules);
    filter_free(none);
    buf_free(&rules);
    refused(s);
}

/* A file that shrinks well, as an entry that says so. */
static struct message_apply make_text(const char *dir, const char *name)
{
    struct message_apply m = an_op(name);
    struct timespec times[2] = {{m.entry.mtime.sec, 0}, {m.entry.mtime.sec, 0}};
    m.entry.size = 400000;
    char *text = mem_zalloc(m.entry.size + 1), *path = mem_printf("%s/%s", dir, name);
    for (size_t i = 0; i < m.entry.size; i += strlen(text + i))
        snprintf(text + i, m.entry.size + 1 - i, "line %zu\n", i);
    make_file(dir, name, text);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    m.entry.digest = digest_of(text, m.entry.size);
    free(text);
    free(path);
    return m;
}

/* Appends to *bundle what the agent gives for a file, under credit in portions; the bytes that travelled. */
static size_t fetch(struct session *s, enum squeeze_mode mode, struct buf *bundle)
{
    struct unsqueezer *u = unsqueezer_new();
    struct message_apply m = make_text(s->root, "text");
    struct err e;
    size_t travelled = 0;
    int64_t credit = MSG_WINDOW;
    open_squeezing(s, 0, mode);
    scan_store(s);
    message_put_send(&s->out, MSG_SEND, 1, &m.entry);
    wire_out_frame(&s->out, MSG_SEND_END, 1, NULL, 0);
    /* Too little for a piece that is to be compressed, then enough. */
    message_put_number(&s->out, MSG_CREDIT, 1, 1000);
    message_put_number(&s->out, MSG_CREDIT, 1, MSG_WINDOW - 1000);
    for (struct frame f = next(s); f.type != MSG_DATA_END; f = next(s)) {
        size_t n = rd_left(&f.body);
        assert_int_equal(f.type, mode == SQUEEZE_ALWAYS ? MSG_DATA_Z : MSG_DATA);
        travelled += n;
        credit -= (int64_t)n;
        assert_true(credit >= 0);
        if (f.type == MSG_DATA)
            buf_put(bundle, f.body.p, n);
        else
            assert_int_equal(unsqueeze(u, f.body.p, n, bundle, &e), 0);
        message_put_number(&s->out, MSG_CREDIT, 1, n);
        credit += (int64_t)n;
    }
    unsqueezer_free(u);
    return travelled;
}

static void a_source_compresses(void **state)
{
    struct session *s = *state;
    struct buf squeezed = {0}, plain = {0};
    size_t few = fetch(s, SQUEEZE_ALWAYS, &squeezed);
    void *again = s;
    assert_int_equal(end(&again), 0);
    assert_int_equal(begin(&again), 0);
    *state = s = again;
    size_t many = fetch(s, SQUEEZE_NEVER, &plain);
    assert_true(many > 400000 && few < many / 3);
    assert_int_equal(squeezed.len, plain.len);
    assert_memory_equal(squeezed.data, plain.data, plain.len);
    buf_free(&squeezed);
    buf_free(&plain);
}

/* A bundle with one object of this content. */
static struct buf a_bundle(const char *content)
{
    struct buf bundle = {0};
    struct err e;
    struct delta_maker *m = delta_maker_new(NULL);
    assert_int_equal(delta_maker_feed(m, content, strlen(content), &bundle, &e), 0);
    assert_int_equal(delta_maker_end(m, &bundle, &e), 0);
    delta_maker_free(m);
    return bundle;
}

static void begin_target(struct session *s)
{
    struct message_apply m = an_op("wanted");
    open_store(s, 0);
    scan_store(s);
    message_put_apply(&s->out, 1, &m);
    assert_int_equal(next(s).type, MSG_CREDIT);
}

/* The first message that is no CREDIT, after all is done. */
static struct frame outcome(struct session *s)
{
    struct frame f;
    wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
    do
        f = next(s);
    while (f.type == MSG_CREDIT);
    return f;
}

/* Pieces of every kind, all there before the reader begins: their borders must be kept. */
static void a_target_unpacks(void **state)
{
    struct session *s = *state;
    struct buf bundle = a_bundle("new");
    struct squeezer *z = squeezer_new(SQUEEZE_ALWAYS);
    begin_target(s);
    wire_out_frame(&s->out, MSG_DATA, 1, NULL, 0);
    assert_true(squeezer_wants(z, (struct squeeze_time){0, 0}));
    for (size_t at = 0, n, i = 0; at < bundle.len; at += n, i++) {
        n = bundle.len - at < 2 ? bundle.len - at : 2;
        if (i % 4 < 2) {
            wire_out_frame(&s->out, MSG_DATA, 1, bundle.data + at, n);
            continue;
        }
        assert_true(squeezer_piece(z, bundle.data + at, n, wire_out_begin(&s->out, MSG_DATA_Z, 1)));
        wire_out_end(&s->out);
    }
    message_put_text(&s->out, MSG_DATA_END, 1, "");
    assert_int_equal(outcome(s).type, MSG_DONE);
    assert_true(exists(s->root, "wanted"));
    squeezer_free(z);
    buf_free(&bundle);
}

/* C7, and noise: the operation fails, the agent lives on, and all credit comes back. */
static void a_target_refuses_bad_pieces(void **state)
{
    struct session *s = *state;
    static const struct { const char *bytes; size_t n; } bad[] = {
        {"noise", 5},
        {"\x05\x28\xb5\x2f\xfd\x00\xff\x28\x00\x00hello", 15}, /* a window of terabytes */
        {"\x80\x80\x04\x28\xb5\x2f\xfd\x00\x00\x28\x00\x00hello", 17}, /* 5 bytes, announced as 65536 */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        static const uint8_t more[70000];
        struct frame f;
        uint64_t back = 0, n;
        struct err e;
        begin_target(s);
        wire_out_frame(&s->out, MSG_DATA_Z, 1, bad[i].bytes, bad[i].n);
        wire_out_frame(&s->out, MSG_DATA, 1, more, sizeof more);
        wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
        for (f = next(s); f.type != MSG_DONE; f = next(s)) {
            assert_true(f.type == MSG_CREDIT || f.type == MSG_RESULT);
            if (f.type == MSG_CREDIT)
                assert_int_equal(message_get_number(&f, &n, &e), 0);
            back += f.type == MSG_CREDIT ? n : 0;
        }
        assert_int_equal(back, bad[i].n + sizeof more);
        assert_false(exists(s->root, "wanted"));
        void *again = s;
        assert_int_equal(end(&again), 0);
        assert_int_equal(begin(&again), 0);
        *state = s = again;
    }
}

static void an_empty_compressed_piece(void **state)
{
    struct session *s = *state;
    open_store(s, 0);
    scan_store(s);
    wire_out_frame(&s->out, MSG_DATA_Z, 1, NULL, 0);
    refused(s);
}

/* C5: a bundle with other objects than the operation names: another content, more of it, less, or a word of regret. */
static void a_bundle_with_another_object(void **state)
{
    struct session *s = *state;
    static const char *const others[] = {"old", "newer", "ne", ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct buf bundle = a_bundle(others[i]);
        begin_target(s);
        wire_out_frame(&s->out, MSG_DATA, 1, bundle.data, bundle.len);
        assert_int_equal(outcome(s).type, MSG_RESULT);
        assert_false(exists(s->root, "wanted"));
        buf_free(&bundle);
        void *again = s;
        assert_int_equal(end(&again), 0);
        assert_int_equal(begin(&again), 0);
        *state = s = again;
    }
}

/* ---- listings ---- */

static void list(struct session *s, const struct message_list *m)
{
    message_put_number(&s->out, MSG_CREDIT, MSG_CHANNEL_LIST, MSG_WINDOW);
    message_put_list(&s->out, m);
}

static void listing_is(struct session *s, bool difference)
{
    bool is;
    struct err e;
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_LISTING);
    assert_int_equal(message_get_listing(&f, &is, &e), 0);
    assert_int_equal(is, difference);
}

static struct message_list list_ends(struct session *s)
{
    struct manifest_totals t;
    struct err e;
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_LIST_END);
    assert_int_equal(message_get_totals(&f, &t, &e), 0);
    return (struct message_list){true, t.entries, t.shared};
}

/* Whole where nothing or something unknown is named; else what is new since the manifest that is named. */
static void listings(void **state)
{
    struct session *s = *state;
    open_store(s, 0);
    scan_store(s);
    list(s, &(struct message_list){0});
    listing_is(s, false);
    assert_int_equal(next(s).type, MSG_BLOCK);
    struct message_list first = list_ends(s), other = first;
    list(s, &first);
    listing_is(s, true);
    other = list_ends(s);
    assert_true(digest_same(&other.shared, &first.shared));
    hang_up(s);

    make_file(s->root, "later", "new");
    serve(s);
    open_store(s, 0);
    scan_store(s);
    list(s, &first);
    listing_is(s, true);
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_DIFF);
    assert_non_null(memmem(f.body.p, rd_left(&f.body), "later", 5));
    assert_null(memmem(f.body.p, rd_left(&f.body), "inside", 6));
    struct message_list second = list_ends(s);
    assert_int_equal(second.entries, first.entries + 1);
    for (int i = 0; i < 2; i++) { /* half a name is none */
        other = first;
        other.entries += (uint64_t)i;
        other.shared.b[3] ^= (uint8_t)!i;
        list(s, &other);
        listing_is(s, false);
        assert_int_equal(next(s).type, MSG_BLOCK);
        list_ends(s);
    }
    hang_up(s);

    serve(s); /* nothing new, and the first is forgotten */
    open_store(s, OPEN_DRY_RUN);
    scan_store(s);
    list(s, &second);
    listing_is(s, true);
    list_ends(s);
    list(s, &first);
    listing_is(s, false);
}

static void a_malformed_list(void **state)
{
    struct session *s = *state;
    open_store(s, 0);
    scan_store(s);
    wire_out_frame(&s->out, MSG_LIST, 0, NULL, 0);
    refused(s);
}

/* What COMMITTED tells is what the next session's listing ends with. */
static void committed_totals(void **state)
{
    struct session *s = *state;
    struct manifest_totals t;
    struct err e;
    struct message_apply m = an_op("made");
    open_store(s, 0);
    scan_store(s);
    m.entry.kind = ENTRY_DIR;
    m.entry.size = 0;
    m.entry.mtime = (struct stamp){0, 0};
    m.entry.digest = (struct digest){0};
    m.from = STORE_FROM_NOWHERE;
    message_put_apply(&s->out, 0, &m);
    wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
    message_put_commit(&s->out, NULL, 0);
    assert_int_equal(next(s).type, MSG_DONE);
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_COMMITTED);
    assert_int_equal(message_get_totals(&f, &t, &e), 0);
    assert_int_equal(t.entries, 2);
    hang_up(s);
    serve(s);
    open_store(s, 0);
    scan_store(s);
    list(s, &(struct message_list){true, t.entries, t.shared});
    listing_is(s, true);
    struct message_list again = list_ends(s);
    assert_true(digest_same(&again.shared, &t.shared));
}

/* E2: a coordinator that goes away at any point leaves the store as it was. */
static void the_coordinator_goes_away(void **state)
{
    struct session *s = *state;
    struct message_apply m = an_op("new");
    open_store(s, 0);
    scan_store(s);
    message_put_apply(&s->out, 1, &m);
    assert_int_equal(next(s).type, MSG_CREDIT);
    shutdown(s->fd, SHUT_WR);
    while (next(s).type != 0)
        ;
    int status;
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    assert_true(WIFEXITED(status));
    assert_false(exists(s->root, "new"));
}

/* The three answers to HAVE. */
static void what_is_had(void **state)
{
    struct session *s = *state;
    struct digest d[3] = {digest_of("hello", 5), digest_of("part of it", 10), digest_of("unheard", 7)};
    char hex[DIGEST_HEX_MAX + 1];
    char *dir = mem_printf("%s/.sos-sync/partial", s->root), *up = mem_printf("%s/.sos-sync", s->root);
    char *path = mem_printf("%s/%s.%d", dir, digest_hex(hex, &d[1]), 5 << 20);
    assert_int_equal(mkdir(up, 0700), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    make_file(dir, strrchr(path, '/') + 1, "");
    assert_int_equal(truncate(path, 1 << 20), 0);
    open_store(s, OPEN_DRY_RUN);
    struct message_scan scan = {.group = "g", .group_len = 1};
    uuid_random(&scan.id);
    message_put_scan(&s->out, &scan);
    struct frame f = next(s);
    struct message_scanned scanned;
    struct err e;
    uint8_t have[MSG_HAVE_MAX];
    size_t n;
    assert_int_equal(message_get_scanned(&f, &scanned, &e), 0);
    assert_int_equal(scanned.partials, 1);
    assert_int_equal(scanned.totals.objects, 1);
    /* Also while a list waits for credit. */
    message_put_list(&s->out, &(struct message_list){0});
    message_put_have(&s->out, d, 3);
    assert_int_equal(next(s).type, MSG_LISTING);
    f = next(s);
    assert_int_equal(message_get_had(&f, have, &n, &e), 0);
    assert_int_equal(n, 3);
    assert_int_equal(have[0], STORE_HAVE);
    assert_int_equal(have[1], STORE_HAVE_PART);
    assert_int_equal(have[2], STORE_HAVE_NOT);
    free(dir);
    free(up);
    free(path);
}

/* ---- what is recorded ---- */

static struct store_status stated(struct session *s)
{
    struct store_status status;
    struct err e;
    wire_out_frame(&s->out, MSG_STATUS, 0, NULL, 0);
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_STATED);
    assert_int_equal(message_get_stated(&f, &status, &e), 0);
    return status;
}

/* What is recorded can be listed without a scan, also when something else is there by now. */
static void status_in_place_of_a_scan(void **state)
{
    struct session *s = *state;
    open_store(s, 0);
    scan_store(s);
    hang_up(s);
    make_file(s->root, "later", "new");
    serve(s);
    open_store(s, OPEN_DRY_RUN);
    struct store_status status = stated(s);
    assert_true(status.recorded);
    assert_int_equal(status.totals.objects, 1);
    list(s, &(struct message_list){0});
    listing_is(s, false);
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_BLOCK);
    assert_non_null(memmem(f.body.p, rd_left(&f.body), "inside", 6));
    assert_null(memmem(f.body.p, rd_left(&f.body), "later", 5));
    struct message_list all = list_ends(s);
    list(s, &all);
    listing_is(s, true);
    list_ends(s);
    message_put_have(&s->out, &all.shared, 1); /* but only a scan's can be built on */
    refused(s);
}

static void status_of_a_new_store(void **state)
{
    struct session *s = *state;
    open_store(s, OPEN_DRY_RUN | OPEN_LOOK);
    assert_false(stated(s).recorded);
    list(s, &(struct message_list){0});
    refused(s);
    assert_false(exists(s->root, ".sos-sync"));
}

static void status_beside_a_scan(void **state)
{
    struct session *s = *state;
    struct message_scan m = {.id = {{5, 7}}, .group = "g", .group_len = 1};
    open_store(s, 0);
    scan_store(s);
    wire_out_frame(&s->out, MSG_STATUS, 0, NULL, 0);
    refused(s);
    for (int i = 0; i < 2; i++) {
        hang_up(s);
        serve(s);
        open_store(s, 0);
        assert_true(stated(s).recorded);
        if (i == 0)
            message_put_scan(&s->out, &m);
        else
            wire_out_frame(&s->out, MSG_STATUS, 0, NULL, 0);
        refused(s);
    }
}

/* ---- the trash ---- */

static void trash_before_open(void **state)
{
    wire_out_frame(&((struct session *)*state)->out, MSG_TRASH_LIST, 0, NULL, 0);
    refused(*state);
}

static void trash_in_a_dry_run(void **state)
{
    struct session *s = *state;
    open_store(s, OPEN_DRY_RUN);
    wire_out_frame(&s->out, MSG_TRASH_LIST, 0, NULL, 0);
    assert_int_equal(next(s).type, MSG_TRASH_DONE);
    message_put_trash_empty(&s->out, &(struct message_trash_empty){0});
    refused(s);
}

static void trash_without_a_scan(void **state)
{
    struct session *s = *state;
    struct message_trash_done done;
    struct err e;
    open_store(s, 0);
    message_put_trash_restore(&s->out, &(struct message_trash_restore){.id = 1, .run = "../../../secret"});
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_TRASH_DONE);
    assert_int_equal(message_get_trash_done(&f, &done, &e), 0);
    assert_true(done.code < 0 && done.text_len > 0);
    message_put_trash_empty(&s->out, &(struct message_trash_empty){0});
    f = next(s);
    assert_int_equal(f.type, MSG_TRASH_DONE);
    assert_int_equal(message_get_trash_done(&f, &done, &e), 0);
    assert_int_equal(done.code, 0);
    assert_false(exists(s->root, ".sos-sync"));
    assert_true(exists(s->world, "secret"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(scan_before_open), TEST(apply_before_scan), TEST(apply_in_a_dry_run), TEST(a_gap_in_the_sequence),
        TEST(a_lender_that_lent_nothing), TEST(lend_without_a_descriptor), TEST(data_without_credit),
        TEST(unknown_type), TEST(hostile_paths), TEST(a_file_outside_the_manifest),
        TEST(a_bundle_with_another_object), TEST(listings), TEST(a_malformed_list), TEST(committed_totals),
        TEST(open_with_another_mode), TEST(a_source_compresses),
        TEST(a_target_unpacks), TEST(a_target_refuses_bad_pieces), TEST(an_empty_compressed_piece),
        TEST(the_coordinator_goes_away), TEST(trash_before_open), TEST(trash_in_a_dry_run),
        TEST(trash_without_a_scan), TEST(what_is_had),
        TEST(status_in_place_of_a_scan), TEST(status_of_a_new_store), TEST(status_beside_a_scan),
    };
    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
