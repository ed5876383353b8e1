/*
 * The agent's streams against a coordinator that lies: signatures and patches that make no sense, channels used for
 * what they are not. Whatever comes, an object is given or taken whole or not at all, nothing else changes, what goes
 * on beside it goes on, nothing is told that the manifest does not hold, and memory stays bounded.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "object/delta.h"
#include "object/squeeze.h"
#include "store/store.h"
#include "wire/message.h"
#include "served.h"
#include "scratch.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define CHANNELS 300u
#define OPS 8u
#define PATIENCE_MS 60000 /* for a session: an agent that hangs still gives signs of life */
#define OLD_SIZE 300000u

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_FACTOR 8 /* what the sanitizer keeps of freed memory */
#else
#define MEMORY_FACTOR 1
#endif

/* ---- a session: a store in a temporary world, a real agent, and all that it has said ---- */

struct stream {
    uint64_t granted, sent;
    struct buf got;
    bool ended;
};

struct session {
    char *world, *root;
    pid_t pid;
    int fd;
    struct wire_in in;
    struct wire_out out;
    struct stream ch[CHANNELS];
    uint64_t done, literal, answers;
    char *why[OPS];   /* by sequence: what RESULT said */
    char *failed;     /* what FAILED said */
    bool gone;
    int64_t began;    /* ms */
    long most_kib;    /* resident */
};

static char *at(const struct session *s, const char *name)
{
    return mem_printf("%s/%s", s->world, name);
}

static void put_file(const struct session *s, const char *name, const void *p, size_t n)
{
    static const struct timespec times[2] = {{1600000000, 0}, {1600000000, 0}};
    char *path = at(s, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    free(path);
}

static bool file_is(const struct session *s, const char *name, const void *p, size_t n)
{
    char *path = at(s, name), *got = mem_alloc(n + 1);
    FILE *f = fopen(path, "r");
    bool same = f && fread(got, 1, n + 1, f) == n && memcmp(got, p, n) == 0;
    if (f)
        fclose(f);
    free(path);
    free(got);
    return same;
}

static void shell(const struct session *s, const char *fmt)
{
    char *command = mem_printf(fmt, s->world);
    if (system(command) != 0)
        fail_msg("%s", command);
    free(command);
}

/* Bytes in which no block is like another. */
static void make_noise(uint8_t *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static uint8_t old[OLD_SIZE];

static void serve(struct session *s)
{
    s->fd = served_start(&s->pid);
    s->began = clock_mono_ms();
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    wire_in_init(&s->in, s->fd);
    wire_out_init(&s->out, s->fd);
    wire_out_greeting(&s->out, 0);
}

/* Reads and writes once. */
static void turn(struct session *s)
{
    struct pollfd p = {.fd = s->fd, .events = (short)(POLLIN | (wire_out_waiting(&s->out) ? POLLOUT : 0))};
    if (poll(&p, 1, PATIENCE_MS) <= 0 || clock_mono_ms() - s->began > PATIENCE_MS)
        fail_msg("the agent hangs");
    if (p.revents & POLLOUT && wire_out_flush(&s->out) < 0)
        s->out.buf.len = s->out.sent = 0; /* it has gone; it said why before */
    if (p.revents & (POLLIN | POLLHUP | POLLERR) && wire_in_fill(&s->in) <= 0)
        s->gone = true;
}

static void note(struct session *s, struct frame *f)
{
    struct message_result result;
    struct err e;
    const char *text;
    uint64_t n;
    size_t len;
    int code;
    assert_true(f->channel < CHANNELS);
    struct stream *c = &s->ch[f->channel];
    switch (f->type) {
    case MSG_CREDIT:
        assert_int_equal(message_get_number(f, &n, &e), 0);
        c->granted += n;
        break;
    case MSG_DATA:
        buf_put(&c->got, f->body.p, rd_left(&f->body));
        break;
    case MSG_DATA_END:
        c->ended = true;
        break;
    case MSG_RESULT:
        assert_int_equal(message_get_result(f, &result, &e), 0);
        assert_true(result.seq < OPS && !s->why[result.seq]);
        s->why[result.seq] = mem_strndup(result.text, result.text_len);
        break;
    case MSG_DONE:
        assert_int_equal(message_get_done(f, &s->done, &s->literal, &e), 0);
        break;
    case MSG_FAILED:
        assert_int_equal(message_get_failed(f, &code, &text, &len, &e), 0);
        s->failed = mem_strndup(text, len);
        break;
    case MSG_PROGRESS:
    case MSG_PROBLEM:
        break;
    default:
        s->answers++; /* OPENED, SCANNED, HAD, COMMITTED */
    }
}

/* The next message is noted. */
static void take(struct session *s)
{
    struct wire_greeting g;
    struct frame f;
    struct err e;
    for (;;) {
        if (s->gone)
            fail_msg("the agent went away%s%s", s->failed ? ": " : "", s->failed ? s->failed : "");
        int rc = s->in.greeted ? wire_in_frame(&s->in, &f, &e) : 0;
        assert_true(rc >= 0);
        if (rc > 0) {
            note(s, &f);
            return;
        }
        turn(s);
        if (!s->in.greeted)
            assert_true(wire_in_greeting(&s->in, &g, &e) >= 0);
    }
}

static void await_answer(struct session *s)
{
    for (uint64_t before = s->answers; s->answers == before;)
        take(s);
}

static void open_and_scan(struct session *s)
{
    struct buf rules = {0};
    struct filter *none = filter_new();
    struct message_open m = {.compress = SQUEEZE_NEVER, .root = s->root, .root_len = strlen(s->root), .state_dir = "",
                             .rules = {.tombstones = 34560000, .trash = 604800}};
    struct message_scan scan = {.id = {{5, 7}}, .group = "g", .group_len = 1};
    filter_put(none, &rules);
    message_put_open(&s->out, &m, &rules);
    filter_free(none);
    buf_free(&rules);
    await_answer(s);
    message_put_scan(&s->out, &scan);
    await_answer(s);
}

static struct session *begin(void)
{
    char name[256];
    struct session *s = mem_zalloc(sizeof *s);
    assert_int_equal(scratch_make(name, sizeof name, "test_hostile"), 0);
    s->world = mem_strdup(name);
    s->root = at(s, "store");
    make_noise(old, sizeof old, 7);
    shell(s, "mkdir %1$s/store %1$s/store/dir && ln -s ../secret %1$s/store/link");
    put_file(s, "secret", "secret", 6);
    put_file(s, "store/old", old, sizeof old);
    put_file(s, "store/small", "small", 5);
    serve(s);
    open_and_scan(s);
    return s;
}

/* How it ended: 0 after a goodbye, 2 when it has refused to go on; anything else is a crash. */
static int stop(struct session *s)
{
    struct rusage used;
    int status;
    wire_out_frame(&s->out, MSG_BYE, 0, NULL, 0);
    while (!s->gone) {
        struct frame f;
        struct err e;
        if (wire_in_frame(&s->in, &f, &e) > 0)
            note(s, &f);
        else
            turn(s);
    }
    wire_in_close(&s->in);
    wire_out_close(&s->out);
    close(s->fd);
    assert_int_equal(wait4(s->pid, &status, 0, &used), s->pid);
    s->most_kib = used.ru_maxrss;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void end(struct session *s)
{
    shell(s, "rm -rf %s");
    for (size_t i = 0; i < CHANNELS; i++)
        buf_free(&s->ch[i].got);
    for (size_t i = 0; i < OPS; i++)
        free(s->why[i]);
    free(s->failed);
    free(s->world);
    free(s->root);
    free(s);
}

/* Sends all of it as credit comes. */
static void give(struct session *s, uint16_t channel, const struct buf *bytes)
{
    struct stream *c = &s->ch[channel];
    for (size_t sent = 0; sent < bytes->len;) {
        size_t n = bytes->len - sent < MSG_DATA_MAX ? bytes->len - sent : MSG_DATA_MAX;
        while (c->sent == c->granted)
            take(s);
        if (n > c->granted - c->sent)
            n = (size_t)(c->granted - c->sent);
        wire_out_frame(&s->out, MSG_DATA, channel, bytes->data + sent, n);
        c->sent += n;
        sent += n;
        while (wire_out_waiting(&s->out) > 1 << 20)
            turn(s);
    }
}

static struct entry an_entry(const char *path, const void *p, size_t n)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0644, .size = n,
                      .mtime = {1600000000, 0}, .digest = digest_of(p, n), .origin = {{5, 7}}};
    version_set(&e.version, &e.origin, 1);
    return e;
}

static struct entry old_entry(void)
{
    return an_entry("old", old, sizeof old);
}

/* ---- records ---- */

static void put_record(struct buf *b, unsigned kind, const void *p, size_t n)
{
    buf_u8(b, (uint8_t)kind);
    buf_u32(b, (uint32_t)n);
    buf_put(b, p, n);
}

static void put_number(struct buf *b, unsigned kind, uint64_t v)
{
    buf_u8(b, (uint8_t)kind);
    buf_u32(b, 8);
    buf_u64(b, v);
}

static void put_be(struct buf *b, uint64_t v, unsigned bytes)
{
    while (bytes-- > 0)
        buf_u8(b, (uint8_t)(v >> (8 * bytes)));
}

/* ---- towards a source: signatures ---- */

enum { PARTIAL = 1, BYTES, VOID, END, COARSE };

#define MAGIC 0x72730147u
#define MAGIC_MD4 0x72730136u

static void put_header(struct buf *b, uint32_t magic, uint32_t block, uint32_t strong, size_t more)
{
    struct buf sig = {0};
    put_be(&sig, magic, 4);
    put_be(&sig, block, 4);
    put_be(&sig, strong, 4);
    for (size_t i = 0; i < more; i++)
        buf_u8(&sig, (uint8_t)i);
    put_record(b, BYTES, sig.data, sig.len);
    buf_free(&sig);
}

static void put_partial(struct buf *b, uint64_t n, bool right)
{
    struct buf body = {0};
    struct digest d = digest_of(old, right ? (size_t)n : 3);
    buf_u64(&body, n);
    buf_put(&body, d.b, DIGEST_LEN);
    put_record(b, PARTIAL, body.data, body.len);
    buf_free(&body);
}

static ssize_t read_basis(void *ctx, uint64_t pos, void *buf, size_t n, struct err *e)
{
    (void)e;
    size_t left = pos < sizeof old ? sizeof old - (size_t)pos : 0, k = n < left ? n : left;
    memcpy(buf, (const uint8_t *)ctx + pos, k);
    return (ssize_t)k;
}

static void put_signature(struct buf *b, uint8_t *basis, bool coarse)
{
    const struct delta_input in = {read_basis, basis};
    struct delta_signer *signer = (coarse ? delta_signer_new_coarse(sizeof old, 7) : delta_signer_new(sizeof old, sizeof old));
    struct buf sig = {0};
    struct err e;
    int rc;
    while ((rc = delta_signer_step(signer, &in, 1, &sig, &e)) > 0)
        ;
    assert_int_equal(rc, 0);
    put_record(b, BYTES, sig.data, sig.len);
    delta_signer_free(signer);
    buf_free(&sig);
}

static void put_good_signature(struct buf *b)
{
    put_signature(b, old, false);
}

static void put_bytes(struct buf *b, const char *p, size_t n)
{
    buf_put(b, p, n);
}

static void sig_nothing(struct buf *b) { (void)b; }
static void sig_half_a_head(struct buf *b) { put_bytes(b, "\x02\x05", 2); }
static void sig_cut_record(struct buf *b) { put_bytes(b, "\x02\xff\0\0\0short", 10); }
static void sig_of_four_gib(struct buf *b)
{
    static uint8_t zeros[400000];
    put_bytes(b, "\x02\xff\xff\xff\xff", 5);
    buf_put(b, zeros, sizeof zeros);
}
static void sig_noise(struct buf *b)
{
    static uint8_t noise[200000];
    make_noise(noise, sizeof noise, 99);
    buf_put(b, noise, sizeof noise);
}
static void sig_kind_zero(struct buf *b) { put_record(b, 0, NULL, 0); }
static void sig_unknown_kinds(struct buf *b)
{
    for (unsigned i = 5; i < 256; i++)
        put_record(b, i, "x", 1);
}
static void sig_md4(struct buf *b) { put_header(b, MAGIC_MD4, 2048, 16, 20); put_record(b, END, NULL, 0); }
static void sig_block_0(struct buf *b) { put_header(b, MAGIC, 0, 32, 36); put_record(b, END, NULL, 0); }
static void sig_block_huge(struct buf *b) { put_header(b, MAGIC, UINT32_MAX, 32, 36); put_record(b, END, NULL, 0); }
static void sig_block_most(struct buf *b) { put_header(b, MAGIC, DELTA_BLOCK_MAX, 32, 36); put_record(b, END, NULL, 0); }
static void sig_block_more(struct buf *b) { put_header(b, MAGIC, DELTA_BLOCK_MAX + 1, 32, 36); put_record(b, END, NULL, 0); }
static void sig_block_1(struct buf *b) { put_header(b, MAGIC, 1, 16, 20 * 1000); put_record(b, END, NULL, 0); }
static void sig_strong_0(struct buf *b) { put_header(b, MAGIC, 2048, 0, 40); put_record(b, END, NULL, 0); }
static void sig_strong_1(struct buf *b) { put_header(b, MAGIC, 2048, 1, 50); put_record(b, END, NULL, 0); }
static void sig_strong_15(struct buf *b) { put_header(b, MAGIC, 2048, 15, 19); put_record(b, END, NULL, 0); }
static void sig_strong_33(struct buf *b) { put_header(b, MAGIC, 2048, 33, 37); put_record(b, END, NULL, 0); }
static void sig_strong_huge(struct buf *b) { put_header(b, MAGIC, 2048, UINT32_MAX, 37); put_record(b, END, NULL, 0); }
static void sig_cut_header(struct buf *b) { put_record(b, BYTES, "rs\x01", 3); put_record(b, END, NULL, 0); }
static void sig_cut_block(struct buf *b) { put_header(b, MAGIC, 2048, 32, 100); put_record(b, END, NULL, 0); }
static void sig_of_no_blocks(struct buf *b) { put_header(b, MAGIC, 2048, 32, 0); put_record(b, END, NULL, 0); }
static void sig_twice(struct buf *b)
{
    put_header(b, MAGIC, 0, 0, 0);
    put_header(b, MAGIC, 2048, 32, 36);
    put_header(b, MAGIC, 2048, 32, 36);
    put_record(b, END, NULL, 0);
}
static void sig_only_ends(struct buf *b)
{
    for (int i = 0; i < 1000; i++)
        put_record(b, END, NULL, 0);
}
static void sig_void(struct buf *b) { put_good_signature(b); put_record(b, VOID, NULL, 0); put_record(b, END, NULL, 0); }
static void sig_without_end(struct buf *b) { put_good_signature(b); }
static void partial_wrong(struct buf *b) { put_partial(b, 100000, false); put_record(b, END, NULL, 0); }
static void partial_longer(struct buf *b) { put_partial(b, sizeof old + 1, false); put_record(b, END, NULL, 0); }
static void partial_endless(struct buf *b) { put_partial(b, UINT64_MAX, false); put_record(b, END, NULL, 0); }
static void partial_none(struct buf *b) { put_partial(b, 0, true); put_record(b, END, NULL, 0); }
static void partial_cut(struct buf *b) { put_record(b, PARTIAL, "\xff\xff\xff\xff\0\0\0\0digest", 14); put_record(b, END, NULL, 0); }
static void partial_twice(struct buf *b)
{
    put_partial(b, 100000, true);
    put_partial(b, 200000, false);
    put_record(b, END, NULL, 0);
}
static void partial_behind(struct buf *b)
{
    put_header(b, MAGIC, 2048, 0, 0);
    put_record(b, VOID, NULL, 0);
    put_partial(b, 5, false);
    put_record(b, END, NULL, 0);
}
static void partial_of_all(struct buf *b) { put_partial(b, sizeof old, true); put_record(b, END, NULL, 0); }

/* Of something that has nothing to do with the object: then more of it is asked for. */
static void put_coarse(struct buf *b)
{
    static uint8_t other[OLD_SIZE];
    make_noise(other, sizeof other, 77);
    put_signature(b, other, true);
    put_number(b, COARSE, sizeof other);
}
static void coarse_alone(struct buf *b) { put_number(b, COARSE, OLD_SIZE); put_record(b, END, NULL, 0); }
static void coarse_cut(struct buf *b) { put_record(b, COARSE, "\1\2\3", 3); put_record(b, END, NULL, 0); }
static void coarse_and_no_more(struct buf *b) { put_coarse(b); }
static void coarse_and_the_end(struct buf *b) { put_coarse(b); put_record(b, END, NULL, 0); }
static void coarse_of_another_size(struct buf *b)
{
    put_signature(b, old, true);
    put_number(b, COARSE, 1ull << 63);
    put_record(b, END, NULL, 0);
}
static void coarse_of_nothing(struct buf *b)
{
    put_signature(b, old, true);
    put_number(b, COARSE, 0);
    put_record(b, END, NULL, 0);
}
static void coarse_with_small_blocks(struct buf *b)
{
    put_header(b, MAGIC, 1, 16, 20 * 3000);
    put_number(b, COARSE, 3000);
    put_record(b, END, NULL, 0);
}
static void coarse_with_huge_blocks(struct buf *b)
{
    put_header(b, MAGIC, DELTA_BLOCK_MAX, 16, 20 * 3000);
    put_number(b, COARSE, 3000ull * DELTA_BLOCK_MAX);
    put_record(b, END, NULL, 0);
}
static void coarse_again_and_again(struct buf *b)
{
    put_coarse(b);
    for (int i = 0; i < 100; i++)
        put_number(b, COARSE, OLD_SIZE);
    put_record(b, END, NULL, 0);
}
static void fine_of_noise(struct buf *b)
{
    put_coarse(b);
    put_record(b, BYTES, old, DELTA_RECORD_MAX);
    put_record(b, END, NULL, 0);
}
static void fine_with_block_0(struct buf *b) { put_coarse(b); put_header(b, MAGIC, 0, 32, 36); put_record(b, END, NULL, 0); }
static void fine_of_other_blocks(struct buf *b) { put_coarse(b); put_header(b, MAGIC, 4096, 16, 60); put_record(b, END, NULL, 0); }
static void fine_too_long(struct buf *b)
{
    put_coarse(b);
    put_header(b, MAGIC, 1024, 16, 20 * 2000);
    put_record(b, END, NULL, 0);
}
static void fine_is_void(struct buf *b)
{
    put_coarse(b);
    put_signature(b, old, false);
    put_record(b, VOID, NULL, 0);
    put_partial(b, 5, false);
    put_record(b, END, NULL, 0);
}

#define CASE(f) {#f, f}

static const struct { const char *name; void (*make)(struct buf *b); } signatures[] = {
    CASE(sig_nothing), CASE(sig_half_a_head), CASE(sig_cut_record), CASE(sig_of_four_gib), CASE(sig_noise),
    CASE(sig_kind_zero), CASE(sig_unknown_kinds), CASE(sig_md4), CASE(sig_block_0), CASE(sig_block_huge),
    CASE(sig_block_most), CASE(sig_block_more), CASE(sig_block_1), CASE(sig_strong_0), CASE(sig_strong_1),
    CASE(sig_strong_15), CASE(sig_strong_33), CASE(sig_strong_huge), CASE(sig_cut_header), CASE(sig_cut_block),
    CASE(sig_of_no_blocks), CASE(sig_twice), CASE(sig_only_ends), CASE(sig_void), CASE(sig_without_end),
    CASE(partial_wrong), CASE(partial_longer), CASE(partial_endless), CASE(partial_none), CASE(partial_cut),
    CASE(partial_twice), CASE(partial_behind), CASE(partial_of_all), CASE(coarse_alone), CASE(coarse_cut),
    CASE(coarse_and_no_more), CASE(coarse_and_the_end), CASE(coarse_of_another_size), CASE(coarse_of_nothing),
    CASE(coarse_with_small_blocks), CASE(coarse_with_huge_blocks), CASE(coarse_again_and_again), CASE(fine_of_noise),
    CASE(fine_with_block_0), CASE(fine_of_other_blocks), CASE(fine_too_long), CASE(fine_is_void),
};

/* What a patch makes where the basis and what an earlier run left are both as the source was told: old. */
struct made {
    struct buf bytes;
};

static ssize_t read_old(void *ctx, uint64_t pos, void *buf, size_t n, struct err *e)
{
    (void)ctx;
    (void)e;
    size_t left = pos < sizeof old ? sizeof old - (size_t)pos : 0;
    n = n < left ? n : left;
    memcpy(buf, old + (left ? pos : 0), n);
    return (ssize_t)n;
}

static int keep_old(void *ctx, uint64_t n, struct err *e)
{
    struct made *m = ctx;
    (void)e;
    assert_true(n <= sizeof old);
    buf_put(&m->bytes, old, (size_t)n);
    return 0;
}

static int write_made(void *ctx, const void *p, size_t n, struct err *e)
{
    struct made *m = ctx;
    (void)e;
    buf_put(&m->bytes, p, n);
    return 0;
}

/* Patches of old, one behind the other, to the last byte. */
static void are_patches_of_old(const struct buf *stream, unsigned times)
{
    static const struct delta_calls calls = {read_old, keep_old, write_made, NULL};
    struct rd r = rd_of(stream->data, stream->len);
    for (unsigned i = 0; i < times; i++) {
        struct made m = {0};
        struct err e;
        size_t used = 0;
        struct delta_patcher *p = delta_patcher_new(sizeof old, &calls, &m);
        int rc = delta_patcher_take(p, r.p, rd_left(&r), &used, &e);
        if (rc != 1)
            fail_msg("patch %u: %d", i, rc);
        rd_bytes(&r, used);
        delta_patcher_free(p);
        assert_int_equal(m.bytes.len, sizeof old);
        assert_memory_equal(m.bytes.data, old, sizeof old);
        buf_free(&m.bytes);
    }
    assert_true(rd_done(&r));
}

static void ask_small(struct session *s, uint16_t channel)
{
    struct entry small = an_entry("small", "small", 5);
    message_put_send(&s->out, MSG_SEND, channel, &small);
    wire_out_frame(&s->out, MSG_SEND_END, channel, NULL, 0);
    message_put_number(&s->out, MSG_CREDIT, channel, 1 << 20);
}

/* Two objects by one channel of patches, of which only the first gets any signature, and a bundle beside it. */
static void a_source_with_hostile_signatures(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(signatures); i++) {
        struct session *s = begin();
        struct entry want = old_entry();
        struct buf sig = {0};
        print_message("    %s\n", signatures[i].name);
        message_put_send_delta(&s->out, 1, 2, &want);
        message_put_send_delta(&s->out, 1, 2, &want);
        wire_out_frame(&s->out, MSG_SEND_END, 1, NULL, 0);
        message_put_number(&s->out, MSG_CREDIT, 1, 4 << 20);
        signatures[i].make(&sig);
        give(s, 2, &sig);
        ask_small(s, 3);
        while (!s->ch[3].ended)
            take(s);
        assert_non_null(memmem(s->ch[3].got.data, s->ch[3].got.len, "small", 5));
        message_put_text(&s->out, MSG_DATA_END, 2, i % 2 ? "" : "it went away");
        while (!s->ch[1].ended)
            take(s);
        are_patches_of_old(&s->ch[1].got, 2);
        assert_int_equal(stop(s), 0);
        buf_free(&sig);
        end(s);
    }
}

/* An honest one makes the patch small, which shows that the cases above were heard at all. */
static void a_source_with_an_honest_signature(void **state)
{
    (void)state;
    struct session *s = begin();
    struct entry want = old_entry();
    struct buf sig = {0};
    put_good_signature(&sig);
    put_record(&sig, END, NULL, 0);
    put_partial(&sig, 100000, true);
    put_record(&sig, END, NULL, 0);
    message_put_send_delta(&s->out, 1, 2, &want);
    message_put_send_delta(&s->out, 1, 2, &want);
    wire_out_frame(&s->out, MSG_SEND_END, 1, NULL, 0);
    message_put_number(&s->out, MSG_CREDIT, 1, 4 << 20);
    give(s, 2, &sig);
    while (!s->ch[1].ended)
        take(s);
    assert_true(s->ch[1].got.len < 210000);
    are_patches_of_old(&s->ch[1].got, 2);
    assert_int_equal(stop(s), 0);
    buf_free(&sig);
    end(s);
}

/* Valid blocks of a signature without an end, on many channels at once. */
static void signatures_without_end(void **state)
{
    (void)state;
    enum { PAIRS = 12, EACH = 40 << 20 };
    struct session *s = begin();
    struct entry want = old_entry();
    struct buf head = {0}, piece = {0};
    uint8_t *noise = mem_alloc(DELTA_RECORD_MAX);
    make_noise(noise, DELTA_RECORD_MAX, 3);
    put_header(&head, MAGIC, 2048, 32, 0);
    for (int i = 0; i < 4; i++)
        put_record(&piece, BYTES, noise, DELTA_RECORD_MAX);
    for (uint16_t c = 1; c <= 2 * PAIRS; c = (uint16_t)(c + 2)) {
        message_put_send_delta(&s->out, c, (uint16_t)(c + 1), &want);
        wire_out_frame(&s->out, MSG_SEND_END, c, NULL, 0);
        message_put_number(&s->out, MSG_CREDIT, c, 4 << 20);
        give(s, (uint16_t)(c + 1), &head);
    }
    for (size_t n = 0; n < EACH; n += piece.len)
        for (uint16_t c = 1; c <= 2 * PAIRS; c = (uint16_t)(c + 2))
            give(s, (uint16_t)(c + 1), &piece);
    ask_small(s, 100);
    while (!s->ch[100].ended)
        take(s);
    for (uint16_t c = 1; c <= 2 * PAIRS; c = (uint16_t)(c + 2)) {
        message_put_text(&s->out, MSG_DATA_END, (uint16_t)(c + 1), "");
        while (!s->ch[c].ended)
            take(s);
        are_patches_of_old(&s->ch[c].got, 1);
    }
    assert_int_equal(stop(s), 0);
    print_message("    %ld MiB\n", s->most_kib >> 10);
    assert_true(s->most_kib < (320l << 10) * MEMORY_FACTOR);
    free(noise);
    buf_free(&head);
    buf_free(&piece);
    end(s);
}

/* C6: what is not in the manifest, or is not what it was, is neither given nor signed. */
static void nothing_outside_the_manifest(void **state)
{
    (void)state;
    static const struct { const char *path, *content; } no[] = {
        {"later", "secret"}, {"link", "../secret"}, {"dir", "secret"}, {"swapped", "swapped"}, {"link/x", "secret"},
        {"small", "other"}, {"nowhere/at/all", "secret"},
    };
    struct session *s = begin();
    assert_int_equal(stop(s), 0);
    put_file(s, "store/swapped", "swapped", 7);
    s->gone = false;
    serve(s);
    open_and_scan(s);
    put_file(s, "store/later", "secret", 6);
    shell(s, "ln -sfn ../secret %s/store/swapped");
    for (size_t i = 0; i < COUNT(no); i++) {
        struct entry e = an_entry(no[i].path, no[i].content, strlen(no[i].content));
        message_put_send_delta(&s->out, 1, 2, &e);
        if (strcmp(no[i].path, "small") != 0)
            message_put_send(&s->out, MSG_SIGN, 3, &e);
    }
    wire_out_frame(&s->out, MSG_SEND_END, 1, NULL, 0);
    message_put_text(&s->out, MSG_DATA_END, 2, "");
    message_put_number(&s->out, MSG_CREDIT, 1, 1 << 20);
    message_put_number(&s->out, MSG_CREDIT, 3, 1 << 20);
    while (!s->ch[1].ended || s->ch[3].got.len < 5 * (COUNT(no) - 1))
        take(s);
    const struct buf *patches = &s->ch[1].got, *signs = &s->ch[3].got;
    assert_null(memmem(patches->data, patches->len, "secret", 6));
    struct rd r = rd_of(patches->data, patches->len);
    for (size_t i = 0; i < COUNT(no); i++) { /* each is a record that says why not */
        assert_int_equal(rd_u8(&r), DELTA_FAILED);
        rd_bytes(&r, rd_u32(&r));
    }
    assert_true(rd_done(&r));
    for (size_t i = 0; i < COUNT(no) - 1; i++)
        assert_memory_equal(signs->data + 5 * i, "\x04\0\0\0\0", 5);
    assert_int_equal(stop(s), 0);
    assert_int_equal(signs->len, 5 * (COUNT(no) - 1));
    end(s);
}

/* Without credit nothing is sent, and everything else goes on. */
static void no_credit_ever(void **state)
{
    (void)state;
    struct session *s = begin();
    struct entry want = old_entry(), lacks = an_entry("old", "another", 7);
    struct digest d = digest_of("small", 5);
    struct buf sig = {0};
    lacks.size = sizeof old;
    put_good_signature(&sig);
    put_record(&sig, END, NULL, 0);
    message_put_send(&s->out, MSG_SIGN, 1, &lacks);
    message_put_send_delta(&s->out, 2, 3, &want);
    message_put_send(&s->out, MSG_SEND, 4, &want);
    give(s, 3, &sig);
    ask_small(s, 5);
    while (!s->ch[5].ended)
        take(s);
    message_put_have(&s->out, &d, 1);
    await_answer(s);
    assert_int_equal(stop(s), 0);
    assert_int_equal(s->ch[1].got.len + s->ch[2].got.len + s->ch[4].got.len, 0);
    buf_free(&sig);
    end(s);
}

/* ---- what ends the link ---- */

static void an_apply(struct session *s, uint64_t seq, uint16_t channel, uint8_t from, const struct entry *e)
{
    struct message_apply m = {.seq = seq, .how = STORE_CONTENT, .from = from};
    entry_copy(&m.entry, e);
    m.entry.path = e->path;
    message_put_apply(&s->out, channel, &m);
}

static void send_kind(struct session *s, uint8_t type, uint16_t channel, const char *path, enum entry_kind kind)
{
    struct entry e = an_entry(path, "secret", 6);
    e.kind = kind;
    if (kind == ENTRY_LINK)
        e.mode = ENTRY_MODE_MAX;
    if (kind == ENTRY_DIR) {
        e.size = 0;
        e.mtime = (struct stamp){0, 0};
        e.digest = (struct digest){0};
    }
    if (type == MSG_SEND_DELTA)
        message_put_send_delta(&s->out, channel, 9, &e);
    else
        message_put_send(&s->out, type, channel, &e);
}

static void two(struct session *s, uint8_t first, uint8_t second)
{
    send_kind(s, first, 1, "old", ENTRY_FILE);
    send_kind(s, second, 1, "old", ENTRY_FILE);
}

static void sign_then_send(struct session *s) { two(s, MSG_SIGN, MSG_SEND); }
static void send_then_sign(struct session *s) { two(s, MSG_SEND, MSG_SIGN); }
static void patch_then_send(struct session *s) { two(s, MSG_SEND_DELTA, MSG_SEND); }
static void sign_then_patch(struct session *s) { two(s, MSG_SIGN, MSG_SEND_DELTA); }
static void send_after_the_end(struct session *s)
{
    wire_out_frame(&s->out, MSG_SEND_END, 1, NULL, 0);
    send_kind(s, MSG_SEND, 1, "old", ENTRY_FILE);
}
static void patch_on_channel_0(struct session *s) { send_kind(s, MSG_SEND_DELTA, 0, "old", ENTRY_FILE); }
static void sign_on_channel_0(struct session *s) { send_kind(s, MSG_SIGN, 0, "old", ENTRY_FILE); }
static void patch_of_a_link(struct session *s) { send_kind(s, MSG_SEND_DELTA, 1, "link", ENTRY_LINK); }
static void patch_of_a_dir(struct session *s) { send_kind(s, MSG_SEND_DELTA, 1, "dir", ENTRY_DIR); }
static void sign_of_a_dir(struct session *s) { send_kind(s, MSG_SIGN, 1, "dir", ENTRY_DIR); }
static void sign_outside(struct session *s) { send_kind(s, MSG_SIGN, 1, "../secret", ENTRY_FILE); }
static void sign_absolute(struct session *s) { send_kind(s, MSG_SIGN, 1, "/etc/passwd", ENTRY_FILE); }
static void sign_our_own(struct session *s) { send_kind(s, MSG_SIGN, 1, ".sos-sync/marker", ENTRY_FILE); }
static void patch_outside(struct session *s) { send_kind(s, MSG_SEND_DELTA, 1, "dir/../../secret", ENTRY_FILE); }
static void patch_our_own(struct session *s) { send_kind(s, MSG_SEND_DELTA, 1, ".sos-sync/marker", ENTRY_FILE); }
static void no_channel_of_signatures(struct session *s)
{
    struct entry e = old_entry();
    message_put_send_delta(&s->out, 1, 0, &e);
}
static void credit_beyond_reason(struct session *s) { message_put_number(&s->out, MSG_CREDIT, 1, 1ull << 40); }
static void credit_cut(struct session *s) { wire_out_frame(&s->out, MSG_CREDIT, 1, "\x80", 1); }
static void too_many_to_send(struct session *s)
{
    for (uint16_t i = 1; i < CHANNELS; i++)
        send_kind(s, MSG_SIGN, i, "old", ENTRY_FILE);
}
static void too_many_to_take(struct session *s)
{
    for (uint16_t i = 1; i < CHANNELS; i++)
        wire_out_frame(&s->out, MSG_DATA_END, i, "", 1);
}
static void data_nobody_expects(struct session *s) { wire_out_frame(&s->out, MSG_DATA, 7, "x", 1); }
static void data_where_we_give(struct session *s)
{
    send_kind(s, MSG_SEND_DELTA, 1, "old", ENTRY_FILE);
    wire_out_frame(&s->out, MSG_DATA, 1, "x", 1);
}
static void data_after_the_end(struct session *s)
{
    send_kind(s, MSG_SEND_DELTA, 1, "old", ENTRY_FILE);
    message_put_text(&s->out, MSG_DATA_END, 9, "");
    wire_out_frame(&s->out, MSG_DATA, 9, "x", 1);
}
static void signatures_and_patches(struct session *s)
{
    struct entry want = an_entry("old", "new", 3);
    an_apply(s, 1, 9, MSG_FROM_PATCH, &want);
    while (s->ch[9].granted == 0)
        take(s);
    send_kind(s, MSG_SEND_DELTA, 1, "old", ENTRY_FILE);
}
static void signatures_and_a_bundle(struct session *s)
{
    struct entry want = an_entry("new", "new", 3);
    send_kind(s, MSG_SEND_DELTA, 1, "old", ENTRY_FILE);
    an_apply(s, 1, 9, STORE_FROM_STREAM, &want);
}
static void patches_and_a_bundle(struct session *s)
{
    struct entry want = an_entry("new", "new", 3), other = an_entry("old", "new", 3);
    struct buf patch = {0};
    put_record(&patch, DELTA_RAW, "new", 3);
    put_number(&patch, DELTA_END, 3);
    an_apply(s, 1, 9, MSG_FROM_PATCH, &want);
    an_apply(s, 2, 9, STORE_FROM_STREAM, &other);
    give(s, 9, &patch);
    buf_free(&patch);
}
static void patch_of_a_link_to_take(struct session *s)
{
    struct entry want = an_entry("link", "../x", 4);
    want.kind = ENTRY_LINK;
    want.mode = ENTRY_MODE_MAX;
    an_apply(s, 1, 9, MSG_FROM_PATCH, &want);
}
static void patch_to_outside(struct session *s)
{
    struct entry want = an_entry("../secret", "new", 3);
    an_apply(s, 1, 9, MSG_FROM_PATCH, &want);
}

static const struct { const char *name; void (*say)(struct session *s); } refusals[] = {
    CASE(sign_then_send), CASE(send_then_sign), CASE(patch_then_send), CASE(sign_then_patch), CASE(send_after_the_end),
    CASE(patch_on_channel_0), CASE(sign_on_channel_0), CASE(patch_of_a_link), CASE(patch_of_a_dir), CASE(sign_of_a_dir),
    CASE(sign_outside), CASE(sign_absolute), CASE(sign_our_own), CASE(patch_outside), CASE(patch_our_own),
    CASE(no_channel_of_signatures), CASE(credit_beyond_reason), CASE(credit_cut), CASE(too_many_to_send),
    CASE(too_many_to_take), CASE(data_nobody_expects), CASE(data_where_we_give), CASE(data_after_the_end),
    CASE(signatures_and_patches), CASE(signatures_and_a_bundle), CASE(patches_and_a_bundle),
    CASE(patch_of_a_link_to_take), CASE(patch_to_outside),
};

static void is_untouched(struct session *s)
{
    assert_true(file_is(s, "secret", "secret", 6));
    assert_true(file_is(s, "store/old", old, sizeof old));
    assert_true(file_is(s, "store/small", "small", 5));
    shell(s, "test \"$(readlink %1$s/store/link)\" = ../secret && test -z \"$(ls -A %1$s/store/dir)\"");
}

static void what_ends_the_link(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct session *s = begin();
        print_message("    %s\n", refusals[i].name);
        refusals[i].say(s);
        while (!s->failed)
            take(s);
        assert_int_equal(stop(s), 2);
        for (size_t c = 0; c < CHANNELS; c++)
            assert_true(s->ch[c].got.len == 0);
        is_untouched(s);
        end(s);
    }
}

/*
 * One channel that carries signatures for us and patches to us: what is left of the patches must not be given away under the
 * reader's feet. It is refused, whichever comes first.
 */
static void a_channel_for_two_readers(void **state)
{
    (void)state;
    struct session *s = begin();
    struct entry want = an_entry("old", "new", 3), mine = old_entry();
    struct buf two_patches = {0}, more = {0};
    for (int i = 0; i < 2; i++) {
        put_record(&two_patches, DELTA_RAW, "new", 3);
        put_number(&two_patches, DELTA_END, 3);
    }
    for (int i = 0; i < 4000; i++)
        put_record(&more, PARTIAL, "x", 1);
    an_apply(s, 1, 9, MSG_FROM_PATCH, &want);
    give(s, 9, &two_patches);
    wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
    while (s->done < 1)
        take(s);
    message_put_send_delta(&s->out, 1, 9, &mine);
    message_put_number(&s->out, MSG_CREDIT, 1, 4 << 20);
    for (int i = 0; i < 3 && !s->failed; i++)
        give(s, 9, &more);
    struct entry again = an_entry("small", "new", 3);
    an_apply(s, 2, 9, MSG_FROM_PATCH, &again);
    while (!s->failed)
        take(s);
    assert_int_equal(stop(s), 2);
    buf_free(&two_patches);
    buf_free(&more);
    end(s);
}

/* ---- towards a target: patches ---- */

static const uint8_t wanted_text[] = "what old is to become";
#define WANTED_LEN (sizeof wanted_text - 1)

static void put_delta(struct buf *b, uint64_t most, const char *commands, size_t n)
{
    struct buf d = {0};
    put_be(&d, 0x72730236u, 4);
    buf_put(&d, commands, n);
    put_number(b, DELTA_BEGIN, most);
    put_record(b, DELTA_DELTA, d.data, d.len);
    buf_free(&d);
}

static void put_whole(struct buf *b, const void *p, size_t n)
{
    put_record(b, DELTA_RAW, p, n);
    put_number(b, DELTA_END, n);
}

static void patch_noise(struct buf *b) { sig_noise(b); }
static void patch_head_only(struct buf *b) { put_bytes(b, "\x04\x05\0", 3); }
static void patch_cut(struct buf *b) { put_bytes(b, "\x04\x15\0\0\0what", 9); }
static void patch_empty_record(struct buf *b) { put_record(b, DELTA_RAW, NULL, 0); }
static void patch_four_gib(struct buf *b) { put_bytes(b, "\x04\xff\xff\xff\xff", 5); put_bytes(b, "abc", 3); }
static void patch_unknown_kind(struct buf *b) { put_record(b, 7, "x", 1); }
static void patch_kind_0(struct buf *b) { put_record(b, 0, "x", 1); }
static void patch_too_long(struct buf *b) { put_whole(b, "what old is to become?", 22); }
static void patch_too_short(struct buf *b) { put_whole(b, "what", 4); }
static void patch_wrong_end(struct buf *b) { put_record(b, DELTA_RAW, wanted_text, WANTED_LEN); put_number(b, DELTA_END, 1ull << 63); }
static void patch_only_end(struct buf *b) { put_number(b, DELTA_END, WANTED_LEN); }
static void copy_past_the_end(struct buf *b) { put_delta(b, WANTED_LEN, "\x49\x04\x93\xd0\x15\0", 6); }
static void copy_far_past(struct buf *b)
{
    put_delta(b, WANTED_LEN, "\x54\x7f\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 17);
}
static void copy_of_all_there_is(struct buf *b)
{
    put_delta(b, UINT64_MAX, "\x54\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 17);
}
static void copy_of_nothing(struct buf *b) { put_delta(b, WANTED_LEN, "\x45\0\0\0", 4); }
static void literal_2_62(struct buf *b) { put_delta(b, UINT64_MAX, "\x44\x40\0\0\0\0\0\0\0what", 13); }
static void literal_of_nothing(struct buf *b) { put_delta(b, WANTED_LEN, "\x41\0", 2); }
static void command_unknown(struct buf *b) { put_delta(b, WANTED_LEN, "\xff", 1); }
static void magic_of_a_signature(struct buf *b)
{
    put_number(b, DELTA_BEGIN, WANTED_LEN);
    put_record(b, DELTA_DELTA, "rs\x01\x47\0", 5);
}
static void delta_of_nothing(struct buf *b) { put_delta(b, 0, "\0", 1); }
static void delta_goes_on(struct buf *b) { put_delta(b, WANTED_LEN, "\x01w\0\x01h", 5); }
static void delta_without_begin(struct buf *b) { put_record(b, DELTA_DELTA, "rs\x02\x36\0", 5); }
static void raw_within_delta(struct buf *b) { put_delta(b, WANTED_LEN, "\x01w", 2); put_record(b, DELTA_RAW, "h", 1); }
static void end_within_delta(struct buf *b) { put_delta(b, WANTED_LEN, "\x01w", 2); put_number(b, DELTA_END, WANTED_LEN); }
static void copies_without_end(struct buf *b) /* 1.3 GB, out of 80 KB */
{
    struct buf d = {0};
    for (int i = 0; i < 16000; i++)
        put_bytes(&d, "\x46\0\xff\xff", 4);
    put_delta(b, UINT64_MAX, (const char *)d.data, d.len);
    buf_free(&d);
}
static void keep_twice(struct buf *b) { put_number(b, DELTA_KEEP, 1); put_number(b, DELTA_KEEP, 1); }
static void keep_too_much(struct buf *b) { put_number(b, DELTA_KEEP, WANTED_LEN + 1); }
static void keep_too_late(struct buf *b) { put_record(b, DELTA_RAW, "what", 4); put_number(b, DELTA_KEEP, 4); }
static void keep_cut(struct buf *b) { put_record(b, DELTA_KEEP, "\x04\0\0\0", 4); }

static void refine_cut(struct buf *b) { put_record(b, DELTA_REFINE, "\0\4\0", 3); }
static void refine_of_nothing_and_more(struct buf *b) { put_record(b, DELTA_REFINE, "\0\0\0\0\1\1", 6); }
static void refine_small_blocks(struct buf *b) { put_record(b, DELTA_REFINE, "\1\0\0\0\0\1", 6); }
static void refine_huge_blocks(struct buf *b) { put_record(b, DELTA_REFINE, "\0\0\0\x80\0\1", 6); }
static void refine_no_blocks(struct buf *b) { put_record(b, DELTA_REFINE, "\0\4\0\0\0\0", 6); }
static void refine_touching(struct buf *b) { put_record(b, DELTA_REFINE, "\0\4\0\0\0\1\0\1", 8); }
static void refine_beyond(struct buf *b)
{
    put_record(b, DELTA_REFINE, "\0\4\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 24);
}
static void refine_twice(struct buf *b)
{
    put_record(b, DELTA_REFINE, "\0\0\0\0", 4);
    put_record(b, DELTA_REFINE, "\0\0\0\0", 4);
}
static void refine_too_late(struct buf *b) { put_record(b, DELTA_RAW, "what", 4); put_record(b, DELTA_REFINE, "\0\0\0\0", 4); }

/* These leave the stream in order: what follows on the channel must still arrive. */
static void keep_without_partial(struct buf *b)
{
    put_number(b, DELTA_KEEP, 4);
    put_record(b, DELTA_RAW, wanted_text + 4, WANTED_LEN - 4);
    put_number(b, DELTA_END, WANTED_LEN);
}
static void another_digest(struct buf *b) { put_whole(b, "WHAT OLD IS TO BECOME", WANTED_LEN); }
static void another_digest_by_copy(struct buf *b)
{
    put_delta(b, WANTED_LEN, "\x45\x05\x15\0", 4);
    put_number(b, DELTA_END, WANTED_LEN);
}
static void says_failed(struct buf *b) { put_record(b, DELTA_FAILED, "no\x1b[2J", 6); }
static void says_failed_at_length(struct buf *b)
{
    static uint8_t text[DELTA_RECORD_MAX];
    memset(text, '%', sizeof text);
    put_record(b, DELTA_FAILED, text, sizeof text);
}
static void says_failed_in_a_delta(struct buf *b)
{
    put_delta(b, WANTED_LEN, "\x01w", 2);
    put_record(b, DELTA_FAILED, "no", 2);
}

#define STOPS(f) {#f, f, false}
#define GOES_ON(f) {#f, f, true}

static const struct { const char *name; void (*make)(struct buf *b); bool goes_on; } patches[] = {
    STOPS(patch_noise), STOPS(patch_head_only), STOPS(patch_cut), STOPS(patch_empty_record), STOPS(patch_four_gib),
    STOPS(patch_unknown_kind), STOPS(patch_kind_0), STOPS(patch_too_long), STOPS(patch_too_short), STOPS(patch_wrong_end),
    STOPS(patch_only_end), STOPS(copy_past_the_end), STOPS(copy_far_past), STOPS(copy_of_all_there_is), STOPS(copy_of_nothing),
    STOPS(literal_2_62), STOPS(literal_of_nothing), STOPS(command_unknown), STOPS(magic_of_a_signature), STOPS(delta_of_nothing),
    STOPS(delta_goes_on), STOPS(delta_without_begin), STOPS(raw_within_delta), STOPS(end_within_delta), STOPS(copies_without_end),
    STOPS(refine_cut), STOPS(refine_of_nothing_and_more), STOPS(refine_small_blocks), STOPS(refine_huge_blocks),
    STOPS(refine_no_blocks), STOPS(refine_touching), STOPS(refine_beyond), STOPS(refine_twice), STOPS(refine_too_late),
    STOPS(keep_twice), STOPS(keep_too_much), STOPS(keep_too_late), STOPS(keep_cut), STOPS(sig_nothing),
    GOES_ON(keep_without_partial), GOES_ON(another_digest),
    GOES_ON(another_digest_by_copy), GOES_ON(says_failed),
    GOES_ON(says_failed_at_length), GOES_ON(says_failed_in_a_delta),
};

/* Nothing but what is named is in the store, and nothing half done is in its state. */
static void holds_no_more(struct session *s, const char *names)
{
    char *list = mem_printf("%s/list", s->world);
    FILE *f = fopen(list, "w");
    fprintf(f, "%s", names);
    fclose(f);
    free(list);
    shell(s, "cd %1$s/store && ls -A | grep -v '^.sos-sync$' | xargs | cmp -s - ../list");
    shell(s, "cd %1$s/store && test -z \"$(find . -name '.sos-sync.tmp*' -o -path './.sos-sync/partial/*')\"");
}

/* Another object on the same channel, and one on another. */
static void hand_out(struct session *s)
{
    struct entry e = an_entry("old", wanted_text, WANTED_LEN), next = an_entry("q", "next", 4), beside = an_entry("r", "beside", 6);
    an_apply(s, 1, 9, MSG_FROM_PATCH, &e);
    an_apply(s, 2, 9, MSG_FROM_PATCH, &next);
    an_apply(s, 3, 10, MSG_FROM_PATCH, &beside);
    wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
}

static void a_target_with_hostile_patches(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(patches); i++) {
        struct session *s = begin();
        struct buf bad = {0}, good = {0};
        print_message("    %s\n", patches[i].name);
        hand_out(s);
        patches[i].make(&bad);
        if (patches[i].goes_on)
            put_whole(&bad, "next", 4);
        give(s, 9, &bad);
        message_put_text(&s->out, MSG_DATA_END, 9, i % 3 ? "" : "it went away");
        put_whole(&good, "beside", 6);
        give(s, 10, &good);
        while (s->done < 3)
            take(s);
        assert_non_null(s->why[1]);
        assert_true((s->why[2] == NULL) == patches[i].goes_on);
        assert_null(s->why[3]);
        assert_true(s->literal < 2 * OLD_SIZE);
        assert_int_equal(stop(s), 0);
        is_untouched(s);
        assert_true(file_is(s, "store/r", "beside", 6));
        holds_no_more(s, patches[i].goes_on ? "dir link old q r small\n" : "dir link old r small\n");
        assert_true(s->most_kib < (64l << 10) * MEMORY_FACTOR);
        buf_free(&bad);
        buf_free(&good);
        end(s);
    }
}

/* A patch may be good and more than was asked for may follow: C5. */
static void what_nobody_asked_for(void **state)
{
    (void)state;
    struct session *s = begin();
    struct buf stream = {0}, good = {0};
    hand_out(s);
    put_whole(&stream, wanted_text, WANTED_LEN);
    put_whole(&stream, "next", 4);
    put_whole(&stream, "and more that nobody asked for", 30);
    sig_noise(&stream);
    give(s, 9, &stream);
    put_whole(&good, "beside", 6);
    give(s, 10, &good);
    while (s->done < 3)
        take(s);
    assert_null(s->why[1]);
    assert_null(s->why[2]);
    assert_null(s->why[3]);
    assert_int_equal(stop(s), 0);
    assert_true(file_is(s, "store/old", wanted_text, WANTED_LEN));
    holds_no_more(s, "dir link old q r small\n");
    buf_free(&stream);
    buf_free(&good);
    end(s);
}

/* C7 on a channel of patches. */
static void compressed_noise_on_patches(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t n; } bad[] = {
        {"noise", 5},
        {"\x05\x28\xb5\x2f\xfd\x00\xff\x28\x00\x00hello", 15},         /* a window of terabytes */
        {"\x05\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello", 15},         /* a frame that ends */
        {"\x80\x80\x04\x28\xb5\x2f\xfd\x00\x50\x02\x00\x10x", 13},     /* 128 KiB out of one byte, announced as 64 */
        {"\x80\x80\x80\x80\x10\x28\xb5\x2f\xfd\x00\x50\x02\x00\x10x", 15}, /* and as four GiB */
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct session *s = begin();
        struct buf good = {0};
        hand_out(s);
        while (s->ch[9].granted == 0)
            take(s);
        wire_out_frame(&s->out, MSG_DATA_Z, 9, bad[i].bytes, bad[i].n);
        put_whole(&good, "beside", 6);
        give(s, 10, &good);
        while (s->done < 3)
            take(s);
        assert_true(s->why[1] && s->why[2] && !s->why[3]);
        assert_int_equal(stop(s), 0);
        is_untouched(s);
        holds_no_more(s, "dir link old r small\n");
        buf_free(&good);
        end(s);
    }
}

/* A large object: KEEP of more than an earlier run left, and of bytes that are not the object's. */
static void keep_of_what_is_not_there(void **state)
{
    (void)state;
    static uint8_t large[5 << 20];
    make_noise(large, sizeof large, 21);
    for (int right = 0; right < 2; right++) {
        struct session *s = begin();
        struct entry e = an_entry("old", large, sizeof large);
        char hex[DIGEST_HEX_MAX + 1];
        assert_int_equal(stop(s), 0);
        digest_hex(hex, &e.digest);
        char *name = mem_printf("store/.sos-sync/partial/%s.%zu", hex, sizeof large);
        shell(s, "mkdir -p %s/store/.sos-sync/partial");
        put_file(s, name, right ? large : old, right ? 2 << 20 : OLD_SIZE); /* the second is too short to be used */
        s->gone = false;
        serve(s);
        open_and_scan(s);
        struct buf patch = {0};
        put_number(&patch, DELTA_KEEP, right ? (2 << 20) + 1 : 100000);
        size_t kept = right ? (2 << 20) + 1 : 100000;
        for (size_t n; kept < sizeof large; kept += n) {
            n = sizeof large - kept < DELTA_RECORD_MAX ? sizeof large - kept : DELTA_RECORD_MAX;
            put_record(&patch, DELTA_RAW, large + kept, n);
        }
        put_number(&patch, DELTA_END, sizeof large);
        an_apply(s, 1, 9, MSG_FROM_PATCH, &e);
        wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
        give(s, 9, &patch);
        while (s->done < 1)
            take(s);
        assert_non_null(s->why[1]);
        assert_int_equal(stop(s), 0);
        is_untouched(s);
        shell(s, "test $(find %s/store/.sos-sync/partial -type f 2>/dev/null | wc -l) -le 1");
        free(name);
        buf_free(&patch);
        end(s);
    }
}

/* A target that signs what is large, and is then asked for parts that there are not, or for what makes no sense. */
static void requests_for_what_is_not_there(void **state)
{
    (void)state;
    static const struct { const char *request; size_t n; bool good; } ask[] = {
        {"\0\4\0\0\xff\x3f\1", 7, false},       /* far behind the end */
        {"\0\4\0\0\0\xff\x3f", 7, false},       /* and up to there */
        {"\1\4\0\0\0\1", 6, false},             /* sums of 1025 bytes */
        {"\0\4\0\0\0\0", 6, false},
        {"\0\0\0\0", 4, true},
        {"\0\4\0\0\0\1", 6, true},
    };
    const uint64_t size = 36 << 20;
    for (size_t i = 0; i < COUNT(ask); i++) {
        struct session *s = begin();
        assert_int_equal(stop(s), 0);
        shell(s, "truncate -s 36M %1$s/store/large && touch -d @1600000000 %1$s/store/large");
        s->gone = false;
        serve(s);
        open_and_scan(s);
        struct entry e = an_entry("large", "x", 1), beside = an_entry("r", "beside", 6);
        struct buf patch = {0}, good = {0};
        e.size = size;
        message_put_send(&s->out, MSG_SIGN, 11, &e);
        message_put_number(&s->out, MSG_CREDIT, 11, 4 << 20);
        an_apply(s, 1, 9, MSG_FROM_PATCH, &e);
        an_apply(s, 2, 10, MSG_FROM_PATCH, &beside);
        wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
        static const uint8_t is_coarse[] = {COARSE, 8, 0, 0, 0};
        while (s->ch[11].got.len == 0 || !memmem(s->ch[11].got.data, s->ch[11].got.len, is_coarse, sizeof is_coarse))
            take(s);
        put_record(&patch, DELTA_REFINE, ask[i].request, ask[i].n);
        put_record(&patch, DELTA_FAILED, "no", 2);
        give(s, 9, &patch);
        put_whole(&good, "beside", 6);
        give(s, 10, &good);
        while (s->done < 2 || memcmp(s->ch[11].got.data + s->ch[11].got.len - 5, "\4\0\0\0\0", 5) != 0)
            take(s);
        assert_non_null(s->why[1]);
        assert_true((strcmp(s->why[1], "no") == 0) == ask[i].good);
        assert_null(s->why[2]);
        assert_int_equal(stop(s), 0);
        is_untouched(s);
        holds_no_more(s, "dir large link old r small\n");
        assert_true(s->most_kib < (96l << 10) * MEMORY_FACTOR);
        buf_free(&patch);
        buf_free(&good);
        end(s);
    }
}

/* C2: as large as was announced, made of copies, and another digest: nothing of it stays. */
static void amplified(void **state)
{
    (void)state;
    struct session *s = begin();
    struct entry e = an_entry("old", "x", 1);
    struct buf patch = {0}, d = {0};
    e.size = 1024ull * 0xffff;
    for (int i = 0; i < 1024; i++)
        put_bytes(&d, "\x46\0\xff\xff", 4);
    buf_u8(&d, 0);
    put_delta(&patch, e.size, (const char *)d.data, d.len);
    put_number(&patch, DELTA_END, e.size);
    an_apply(s, 1, 9, MSG_FROM_PATCH, &e);
    wire_out_frame(&s->out, MSG_FLUSH, 0, NULL, 0);
    give(s, 9, &patch);
    while (s->done < 1)
        take(s);
    assert_non_null(s->why[1]);
    assert_int_equal(s->literal, 0);
    assert_int_equal(stop(s), 0);
    is_untouched(s);
    holds_no_more(s, "dir link old small\n");
    assert_true(s->most_kib < (64l << 10) * MEMORY_FACTOR);
    buf_free(&patch);
    buf_free(&d);
    end(s);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_with_an_honest_signature),
        cmocka_unit_test(a_source_with_hostile_signatures),
        cmocka_unit_test(signatures_without_end),
        cmocka_unit_test(nothing_outside_the_manifest),
        cmocka_unit_test(no_credit_ever),
        cmocka_unit_test(what_ends_the_link),
        cmocka_unit_test(a_channel_for_two_readers),
        cmocka_unit_test(a_target_with_hostile_patches),
        cmocka_unit_test(what_nobody_asked_for),
        cmocka_unit_test(compressed_noise_on_patches),
        cmocka_unit_test(keep_of_what_is_not_there),
        cmocka_unit_test(requests_for_what_is_not_there),
        cmocka_unit_test(amplified),
    };
    return cmocka_run_group_tests_name("hostile streams", tests, NULL, NULL);
}
