/*
 * The coordinator against agents that lie, die or fall silent: a fake agent (named so: it is one) takes the place of one
 * member's, two real agents serve the others. Whatever the fake does, the others are brought into step, and the status says
 * that one was not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/mem.h"
#include "run/run.h"
#include "fake.h"
#include "scratch.h"

static char world[256];

/* ---- the fakes: what threats.md's session and manifest letters look like from inside ---- */

static int dies_at_once(int fd, void *peer)
{
    (void)fd;
    (void)peer;
    return 1;
}

static int killed(int fd, void *peer)
{
    (void)fd;
    (void)peer;
    raise(SIGKILL);
    return 0;
}

static int banner(int fd, void *peer)
{
    (void)peer;
    static const char text[] = "Welcome to node9\n\x1b[2Jhave a nice day\n";
    if (write(fd, text, sizeof text - 1) < 0)
        return 1;
    struct fake f;
    wire_in_init(&f.in, fd);
    wire_out_init(&f.out, fd);
    return fake_end(&f);
}

static int silent(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    return fake_end(&f);
}

/* E1: a byte now and then, but never a whole message. */
static int drip(int fd)
{
    static const uint8_t header[] = {0, 0, 1, 0, MSG_PROGRESS, 0, 0, 0};
    for (size_t i = 0; poll(NULL, 0, 50) == 0; i++)
        if (write(fd, i < sizeof header ? &header[i] : header, 1) != 1)
            return 0; /* the coordinator has had enough */
    return 0;
}

static int drips(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    return drip(fd);
}

/* As an agent does that waits for us, while we wait for the rest of a message whose length was garbled. */
static int drips_after_open(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_await(&f, MSG_SCAN);
    return drip(fd);
}

static int silent_after_open(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    return fake_end(&f);
}

static int half_a_frame(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_await(&f, MSG_SCAN);
    static const uint8_t half[] = {100, 0, 0, 0, MSG_SCANNED, 0, 0, 0, 1, 2, 3};
    return write(fd, half, sizeof half) < 0 ? 1 : 0;
}

static int out_of_turn(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    message_put_done(&f.out, 1, 0);
    return fake_end(&f);
}

static int unknown_message(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    wire_out_frame(&f.out, 99, 0, "x", 1);
    return fake_end(&f);
}

static int says_failed(int fd, void *peer)
{
    (void)peer;
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_await(&f, MSG_SCAN);
    message_put_failed(&f.out, ERR_SYS, "the disk is on \x1b[31mfire");
    return fake_end(&f);
}

/* A manifest of these bytes as its only block, with whatever totals. */
static int lists(int fd, const void *block, size_t n, const struct manifest_totals *t, bool end)
{
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_scanned(&f, t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    wire_out_frame(&f.out, MSG_BLOCK, 0, block, n);
    if (end)
        message_put_totals(&f.out, MSG_LIST_END, t);
    wire_out_flush(&f.out);
    return end ? fake_end(&f) : 0;
}

/* One directory named x, as the shared part of a block: count, flags, prefix, suffix, mode, version, origin. */
#define BLOCK_OF(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static int garbage_block(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {.entries = 1, .dirs = 1};
    return lists(fd, BLOCK_OF(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), &t, true);
}

static int dotdot(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {.entries = 1, .dirs = 1};
    return lists(fd, BLOCK_OF(1, 3, 0, 2, '.', '.', 0xed, 3, 0, 0, 0), &t, true);
}

static int list_cut(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {.entries = 5, .objects = 5};
    return lists(fd, BLOCK_OF(0), &t, false);
}

static int list_lies_about_totals(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {.entries = 1ull << 63, .objects = 1ull << 63, .bytes = UINT64_MAX};
    return lists(fd, BLOCK_OF(0), &t, true);
}

/* B6: blocks without an end and without credit. */
static int endless(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {.entries = 1};
    static uint8_t big[MANIFEST_BLOCK_MAX];
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_scanned(&f, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    for (int i = 0; i < 100000; i++) {
        wire_out_frame(&f.out, MSG_BLOCK, 0, big, sizeof big);
        if (wire_out_flush(&f.out) < 0)
            return 0;
    }
    return 0;
}

/* Answers as an empty store would, then claims to have done what it was not told to do. */
static struct fake empty_store(int fd)
{
    struct fake f;
    struct manifest_totals t = {0};
    t.shared = digest_of("", 0);
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_scanned(&f, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    wire_out_flush(&f.out);
    return f;
}

static int done_too_much(int fd, void *peer)
{
    (void)peer;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    message_put_done(&f.out, 1u << 30, 0);
    return fake_end(&f);
}

static int dies_in_transfer(int fd, void *peer)
{
    (void)peer;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    return 1;
}

static int credit_for_nothing(int fd, void *peer)
{
    (void)peer;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    message_put_number(&f.out, MSG_CREDIT, 77, 1u << 20);
    return fake_end(&f);
}

static int data_for_nothing(int fd, void *peer)
{
    (void)peer;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    wire_out_frame(&f.out, MSG_DATA, 1, "tar", 3);
    return fake_end(&f);
}

/* ---- those who lie about what they had told the last time; see seed_cache for what that was ---- */

static struct fake named(int fd)
{
    struct fake f;
    struct message_list m;
    struct err e;
    struct manifest_totals t = {.entries = 7};
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_scanned(&f, &t);
    struct frame list = fake_await(&f, MSG_LIST);
    if (message_get_list(&list, &m, &e) < 0 || !m.named)
        _exit(4); /* then nobody waits for the difference, and the test fails */
    return f;
}

static int differs(int fd, const void *piece, size_t n)
{
    struct manifest_totals t = {.entries = 7};
    struct fake f = named(fd);
    message_put_listing(&f.out, true);
    if (n)
        wire_out_frame(&f.out, MSG_DIFF, 0, piece, n);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    return fake_end(&f);
}

static int difference_to_nothing(int fd, void *member)
{
    (void)member;
    struct manifest_totals t = {.entries = 1};
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_scanned(&f, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, true);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    return fake_end(&f);
}

static int difference_to_another(int fd, void *member)
{
    (void)member;
    return differs(fd, NULL, 0);
}

static int difference_of_garbage(int fd, void *member)
{
    (void)member;
    return differs(fd, "\xff\xff\xff\xff", 4);
}

static int difference_takes_what_is_not_there(int fd, void *member)
{
    (void)member;
    return differs(fd, "\0\4nope", 6);
}

static int difference_out_of_order(int fd, void *member)
{
    (void)member;
    return differs(fd, "\0\1b\0\1a", 6);
}

static int difference_empty_pieces(int fd, void *member)
{
    (void)member;
    struct fake f = named(fd);
    message_put_listing(&f.out, true);
    for (int i = 0; i < 1000; i++)
        wire_out_frame(&f.out, MSG_DIFF, 0, NULL, 0);
    return fake_end(&f);
}

static int block_in_a_difference(int fd, void *member)
{
    (void)member;
    struct fake f = named(fd);
    message_put_listing(&f.out, true);
    wire_out_frame(&f.out, MSG_BLOCK, 0, "\1", 1);
    return fake_end(&f);
}

static int difference_in_a_whole(int fd, void *member)
{
    (void)member;
    struct fake f = named(fd);
    message_put_listing(&f.out, false);
    wire_out_frame(&f.out, MSG_DIFF, 0, "\0\1a", 3);
    return fake_end(&f);
}

static int listing_twice(int fd, void *member)
{
    (void)member;
    struct fake f = named(fd);
    message_put_listing(&f.out, true);
    message_put_listing(&f.out, true);
    return fake_end(&f);
}

static int block_without_listing(int fd, void *member)
{
    (void)member;
    struct fake f = named(fd);
    wire_out_frame(&f.out, MSG_BLOCK, 0, "\1", 1);
    return fake_end(&f);
}

static int dies_in_a_difference(int fd, void *member)
{
    (void)member;
    struct fake f = named(fd);
    message_put_listing(&f.out, true);
    wire_out_flush(&f.out);
    return 0;
}

/* The coordinator's copy is cut behind its back: that is no fault of the member's, which is asked again. */
static int copy_is_cut(int fd, void *member)
{
    (void)member;
    struct manifest_totals t = {.shared = digest_of("", 0)};
    struct message_list m;
    struct err e;
    struct fake f = named(fd);
    char *command = mem_printf("truncate -s 70 %s/cache/fa*.manifest", world);
    if (system(command) != 0)
        return 1;
    message_put_listing(&f.out, true);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    wire_out_flush(&f.out);
    struct frame list = fake_await(&f, MSG_LIST);
    if (message_get_list(&list, &m, &e) < 0 || m.named)
        return 1;
    command = mem_printf("touch %s/asked-again", world);
    if (system(command) != 0)
        return 1;
    message_put_listing(&f.out, false);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    wire_out_flush(&f.out);
    fake_await(&f, MSG_APPLY);
    return 1;
}

/* E2: a real agent behind a line that is cut after so many bytes of what it says. */
static size_t cut_after;
static size_t *counted; /* bytes that it said in all; shared with the child that counts */

static void relay(int line, int inner, int outer)
{
    struct pollfd p[2] = {{.fd = line, .events = POLLIN}, {.fd = outer, .events = POLLIN}};
    size_t left = cut_after;
    char bytes[4096];
    while (left > 0 && poll(p, 2, -1) > 0) {
        ssize_t n = p[0].revents ? read(line, bytes, sizeof bytes) : 0;
        if (n < 0 || (p[0].revents && n == 0) || (n > 0 && write(inner, bytes, (size_t)n) != n))
            return;
        n = p[1].revents ? read(outer, bytes, left < sizeof bytes ? left : sizeof bytes) : 0;
        if (n < 0 || (p[1].revents && n == 0) || (n > 0 && write(line, bytes, (size_t)n) != n))
            return;
        left -= (size_t)n;
        *counted += (size_t)n;
    }
}

static int cut_off(int fd, void *peer)
{
    int to[2], from[2]; /* pipes, as a remote agent has them: no descriptor can pass */
    (void)peer;
    if (pipe(to) < 0 || pipe(from) < 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        struct agent_options options = {0};
        struct err e;
        close(fd);
        close(to[1]);
        close(from[0]);
        _exit(agent_serve(to[0], from[1], &options, &e) < 0 ? 2 : 0);
    }
    close(to[0]);
    close(from[1]);
    relay(fd, to[1], from[0]);
    close(to[1]);
    close(from[0]);
    waitpid(pid, NULL, 0);
    return 0;
}

/* ---- real agents that may not do all that is asked ---- */

static int serve_confined(int fd, const struct peer *p, struct agent_options options)
{
    struct err e;
    options.root = p->member->address.path;
    return agent_serve(fd, fd, &options, &e) < 0 ? 2 : 0;
}

static int reads_only(int fd, void *peer)
{
    return serve_confined(fd, peer, (struct agent_options){.read_only = true});
}

static int takes_nothing_away(int fd, void *peer)
{
    return serve_confined(fd, peer, (struct agent_options){.no_delete = true});
}

/* ---- a second one, in the place of b ---- */

static int lists_no_further(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {.entries = 1};
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_scanned(&f, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    return fake_end(&f);
}

static int touch(const char *name)
{
    char *path = mem_printf("%s/%s", world, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    free(path);
    return fd < 0 ? 4 : 2;
}

/* Its link is so slow that one message takes longer than it may be silent. */
static int scanned_slowly(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {.entries = 1};
    struct message_scanned m = {.totals = t};
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_await(&f, MSG_SCAN);
    char text[500];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    message_put_problem(&f.out, MSG_PROBLEM_REMARK, "a", text);
    message_put_scanned(&f.out, &m);
    for (size_t i = 0; i < f.out.buf.len; i += 10) {
        size_t n = f.out.buf.len - i < 10 ? f.out.buf.len - i : 10;
        poll(NULL, 0, 50);
        if (write(fd, f.out.buf.data + i, n) != (ssize_t)n)
            return 3;
    }
    f.out.buf.len = 0; /* it is out */
    fake_await(&f, MSG_LIST);
    return touch("scanned");
}

/* All of its manifest has come when b is given up. When it is asked again there must be credit again. */
static int lists_all_that_it_may(int fd, void *peer)
{
    (void)peer;
    static const struct manifest_head head = {.algo = DIGEST_XXH3_128};
    static const uint8_t rest[MSG_WINDOW];
    struct manifest_totals t = {.entries = 2};
    struct fake f;
    struct err e;
    struct frame m;
    int64_t credit = 0;
    const struct entry dir = {.path = "z", .path_len = 1, .kind = ENTRY_DIR, .mode = 0755};
    const void *block = NULL;
    size_t len = 0;
    int file = memfd_create("manifest", 0);
    struct manifest_writer *w = manifest_writer_new(file, &head);
    struct manifest_head as_read;
    if (manifest_writer_put(w, &dir, &e) < 0 || manifest_writer_end(w, &t, &e) < 0)
        return 5;
    struct manifest_reader *r = manifest_reader_new(file, &as_read, &e);
    if (!r || manifest_reader_raw(r, &block, &len, &t, &e) <= 0)
        return 6;
    fake_open(&f, fd);
    fake_opened(&f, "");
    fake_scanned(&f, &t);
    for (int lists = 0; lists < 2 || credit <= 0;) {
        uint64_t n;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        message_put_progress(&f.out, &(struct message_progress){0, 0});
        wire_out_flush(&f.out);
        if (poll(&p, 1, 100) > 0 && wire_in_fill(&f.in) <= 0)
            return 3;
        while (wire_in_frame(&f.in, &m, &e) > 0) {
            if (m.type == MSG_CREDIT && message_get_number(&m, &n, &e) == 0)
                credit += (int64_t)n;
            if (m.type != MSG_LIST || ++lists > 1)
                continue;
            message_put_listing(&f.out, false);
            wire_out_frame(&f.out, MSG_BLOCK, 0, block, len);
            wire_out_frame(&f.out, MSG_BLOCK, 0, rest, sizeof rest);
            message_put_totals(&f.out, MSG_LIST_END, &t);
            credit -= (int64_t)(len + sizeof rest);
        }
    }
    return touch("credit");
}

/* ---- the world around them ---- */

static int (*another)(int fd, void *peer); /* for b; NULL: it is real */
static int (*the_fake)(int fd, void *peer);

static int body(int fd, void *ctx)
{
    const struct peer *p = ctx;
    if (another && strcmp(p->member->name, "b") == 0)
        return another(fd, ctx);
    return strcmp(p->member->name, "fake") == 0 ? the_fake(fd, ctx) : peer_serve_local(fd, ctx);
}

static void write_file(const char *store, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s/%s", world, store, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static bool holds(const char *store, const char *name, const char *text)
{
    char got[64] = "";
    char *path = mem_printf("%s/%s/%s", world, store, name);
    FILE *f = fopen(path, "r");
    free(path);
    if (!f)
        return false;
    bool same = fgets(got, sizeof got, f) && strcmp(got, text) == 0;
    fclose(f);
    return same;
}

static void shell(const char *fmt)
{
    char *command = mem_printf(fmt, world);
    assert_int_equal(system(command), 0);
    free(command);
}

static int make_world(void **state)
{
    (void)state;
    if (scratch_make(world, sizeof world, "test_run") < 0)
        return -1;
    shell("mkdir %1$s/a %1$s/b %1$s/fake");
    write_file("a", "from-a", "alpha");
    write_file("b", "from-b", "beta");
    return 0;
}

static int remove_world(void **state)
{
    (void)state;
    shell("rm -rf %s");
    return 0;
}

static struct { unsigned troubles; bool named_fake; } heard;

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    (void)ctx;
    heard.troubles++;
    if (getenv("TELL"))
        fprintf(stderr, "%s: %s: %s\n", t->member ? t->member : "", t->path ? t->path : "", t->message);
    heard.named_fake |= t->error && t->member && strcmp(t->member, "fake") == 0;
}

/* What the fake member is said to have told the last time. */
static void seed_cache(void)
{
    static const struct manifest_head head = {.algo = DIGEST_XXH3_128};
    char *dir = mem_printf("%s/cache", world), *where = mem_printf("%s/fake", world);
    struct cache *c = cache_new(dir, &fake_id, where, DIGEST_XXH3_128, true);
    struct manifest_writer *w = manifest_writer_new(-1, &head);
    struct manifest_totals t;
    struct err e;
    cache_begin(c);
    for (int i = 0; i < 2; i++) {
        struct entry at = {.path = i ? "b" : "a", .path_len = 1, .kind = ENTRY_DIR, .mode = 0755};
        cache_put(c, &at);
        assert_int_equal(manifest_writer_put(w, &at, &e), 0);
    }
    assert_int_equal(manifest_writer_end(w, &t, &e), 0);
    cache_keep(c, &t);
    assert_true(cache_find(c, &t));
    manifest_writer_free(w);
    cache_free(c);
    free(dir);
    free(where);
}

static struct {
    const char *cache; /* directory below the world; NULL: none */
    bool dry_run;
} how;

static enum sos_status run_world(bool through, unsigned timeout)
{
    struct groups g = {0};
    struct err e;
    char *name[3] = {"a", "b", "fake"}, *dir = how.cache ? mem_printf("%s/%s", world, how.cache) : NULL;
    for (int i = 0; i < 3; i++) {
        struct address where;
        char *path = mem_printf("%s/%s", world, name[i]);
        assert_int_equal(address_parse(path, 0, &where, &e), 0);
        assert_int_equal(groups_add(&g, "g", name[i], &where, NULL, 0, &e), 0);
        free(path);
    }
    struct sos_options options;
    sos_options_init(&options);
    options.timeout = timeout;
    options.through = through;
    options.dry_run = how.dry_run;
    options.cache_dir = dir;
    options.no_cache = !dir;
    struct sos_callbacks callbacks = {.trouble = on_trouble};
    struct run r = {.group = &g.group[0], .body = body, .options = &options, .callbacks = &callbacks,
                    .cache_all = true};
    memset(&heard, 0, sizeof heard);
    enum sos_status status = run_group(&r);
    groups_free(&g);
    free(dir);
    return status;
}

static void others_in_step(int (*fake)(int fd, void *peer))
{
    the_fake = fake;
    for (int through = 0; through < 2; through++) {
        how.cache = through ? "cache" : NULL;
        assert_int_equal(run_world(through, 2), SOS_PARTIAL);
        assert_true(heard.named_fake);
        assert_true(holds("a", "from-b", "beta"));
        assert_true(holds("b", "from-a", "alpha"));
        shell("rm -rf %1$s/a %1$s/b %1$s/fake; mkdir %1$s/a %1$s/b %1$s/fake");
        write_file("a", "from-a", "alpha");
        write_file("b", "from-b", "beta");
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left behind */
    }
}

/* The same where the fake member's last manifest is known. */
static void others_in_step_with_cache(int (*fake)(int fd, void *member))
{
    the_fake = fake;
    how.cache = "cache";
    seed_cache();
    assert_int_equal(run_world(false, 2), SOS_PARTIAL);
    assert_true(heard.named_fake);
    assert_true(holds("a", "from-b", "beta"));
    assert_true(holds("b", "from-a", "alpha"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    if (fake == copy_is_cut)
        shell("rm %1$s/asked-again");
    shell("ls %1$s/cache/*.new 2>/dev/null && exit 1; exit 0"); /* nothing half done stays behind */
}

/* ---- what a listing costs ---- */

#define OBJECTS 10000

/* Bytes that the counted member said in a run that succeeds. */
static size_t said(void)
{
    *counted = 0;
    assert_int_equal(run_world(false, 20), SOS_OK);
    return *counted;
}

static void in_step(void)
{
    shell("diff -r -x .sos-sync %1$s/a %1$s/b && diff -r -x .sos-sync %1$s/a %1$s/fake");
}

static void three_changes(int turn)
{
    char *text = mem_printf("turn %d", turn), *name = mem_printf("d7/new-%d", turn);
    write_file("fake", "d3/f33", text);
    write_file("fake", name, text);
    write_file("a", "d5/f55", text);
    free(text);
    free(name);
}

static void a_difference_is_cheap(void **state)
{
    (void)state;
    const size_t whole = 10 * OBJECTS, cheap = 8192;
    int turn = 0;
    the_fake = cut_off;
    cut_after = SIZE_MAX;
    how.cache = "cache";
    shell("cd %1$s/fake && mkdir d0 d1 d2 d3 d4 d5 d6 d7 d8 d9 && "
          "for i in $(seq 9990); do echo d$((i / 1000))/f$i; done | xargs touch -d @1700000000 && "
          "cp -a d? ../a && cp -a d? ../b");
    assert_true(said() > whole); /* and much is recorded then */
    in_step();
    for (int i = 0; i < 3; i++) { /* what each run makes of the copy is what the next one names */
        three_changes(turn++);
        assert_true(said() < cheap);
        in_step();
    }
    shell("rm %1$s/fake/d1/f1111 && rm -r %1$s/a/d9"); /* restored: operations for all */
    assert_true(said() < cheap);
    in_step();
    three_changes(turn++);
    assert_true(said() < cheap);

    how.dry_run = true; /* reads the copies, and leaves them alone */
    three_changes(turn++);
    shell("ls -liR --time-style=full-iso %1$s/cache >%1$s/before");
    assert_true(said() < cheap);
    shell("ls -liR --time-style=full-iso %1$s/cache | cmp - %1$s/before");
    how.dry_run = false;
    assert_true(said() < cheap);
    in_step();

    shell("rm -r %1$s/cache");
    three_changes(turn++);
    assert_true(said() > whole);
    in_step();
    three_changes(turn++);
    assert_true(said() < cheap);

    shell("for f in %1$s/cache/*; do printf x | dd of=$f bs=1 seek=20000 conv=notrunc status=none; done");
    three_changes(turn++);
    assert_true(said() > whole);
    in_step();

    how.cache = "other"; /* another driver, which knows nothing yet */
    three_changes(turn++);
    assert_true(said() > whole);
    in_step();
    how.cache = "cache"; /* whose run this one has missed */
    three_changes(turn++);
    assert_true(said() > whole);
    in_step();
    three_changes(turn++);
    assert_true(said() < cheap);
    how.cache = NULL;
    shell("ls -liR --time-style=full-iso %1$s/cache >%1$s/before");
    three_changes(turn++);
    assert_true(said() > whole);
    shell("ls -liR --time-style=full-iso %1$s/cache | cmp - %1$s/before");
    in_step();
}

static void cut_at_every_point(void **state)
{
    (void)state;
    the_fake = cut_off;
    bool whole = false;
    for (cut_after = 0; !whole; cut_after += cut_after < 400 ? 7 : 61) {
        assert_true(cut_after < 100000);
        how.cache = cut_after % 3 ? "cache" : NULL;
        enum sos_status status = run_world(cut_after % 2, 10);
        assert_true(status == SOS_OK || status == SOS_PARTIAL);
        assert_true(holds("a", "from-b", "beta") && holds("b", "from-a", "alpha"));
        whole = status == SOS_OK && cut_after > 1000;
        if (whole)
            assert_true(holds("fake", "from-a", "alpha") && holds("fake", "from-b", "beta"));
        char *text = mem_printf("%zu", cut_after);
        write_file("fake", "mine", text); /* so that there is always something to send and to take */
        write_file("a", "yours", text);
        free(text);
    }
    cut_after = SIZE_MAX;
    assert_int_equal(run_world(false, 10), SOS_OK);
    assert_int_equal(run_world(false, 10), SOS_OK);
    shell("diff -r -x .sos-sync %1$s/a %1$s/b && diff -r -x .sos-sync %1$s/a %1$s/fake");
}

static void test_slow_link(void **state)
{
    (void)state;
    the_fake = scanned_slowly;
    assert_int_equal(run_world(false, 1), SOS_PARTIAL);
    shell("rm %1$s/scanned");
}

static void test_credit_for_another_list(void **state)
{
    (void)state;
    the_fake = lists_all_that_it_may;
    another = lists_no_further;
    assert_int_equal(run_world(false, 1), SOS_PARTIAL);
    another = NULL;
    shell("rm %1$s/credit");
}

/* It gives what it has and takes nothing; the others are in step, and a dry run says so beforehand. */
static void test_reads_only(void **state)
{
    (void)state;
    the_fake = reads_only;
    write_file("fake", "from-fake", "gamma");
    for (int through = 0; through < 2; through++) {
        how.dry_run = true;
        assert_int_equal(run_world(through, 10), SOS_PARTIAL);
        assert_int_equal(heard.troubles, 2);
        how.dry_run = false;
        assert_int_equal(run_world(through, 10), SOS_PARTIAL);
        assert_int_equal(heard.troubles, 2); /* from-a and from-b, which it did not take */
        assert_true(heard.named_fake);
        assert_true(holds("a", "from-b", "beta") && holds("b", "from-a", "alpha"));
        assert_true(holds("a", "from-fake", "gamma") && holds("b", "from-fake", "gamma"));
        assert_false(holds("fake", "from-a", "alpha") || holds("fake", "from-b", "beta"));
        write_file("fake", "from-fake", "delta!");
        assert_int_equal(run_world(through, 10), SOS_PARTIAL);
        assert_int_equal(heard.troubles, 2);
        assert_true(holds("a", "from-fake", "delta!") && holds("b", "from-fake", "delta!"));
        write_file("fake", "from-fake", "gamma");
    }
}

/* It takes what is new and what is changed, but keeps a file where the others have made a directory. */
static void test_takes_nothing_away(void **state)
{
    (void)state;
    the_fake = takes_nothing_away;
    write_file("fake", "from-fake", "gamma");
    assert_int_equal(run_world(true, 10), SOS_OK);
    assert_true(holds("fake", "from-a", "alpha") && holds("fake", "from-b", "beta"));
    write_file("a", "from-a", "changed");
    shell("rm %1$s/a/from-b; mkdir %1$s/a/from-b");
    how.dry_run = true;
    assert_int_equal(run_world(true, 10), SOS_PARTIAL);
    assert_int_equal(heard.troubles, 1);
    how.dry_run = false;
    assert_int_equal(run_world(true, 10), SOS_PARTIAL);
    assert_int_equal(heard.troubles, 1);
    assert_true(holds("fake", "from-a", "changed"));
    assert_true(holds("fake", "from-b", "beta"));
    shell("test -d %1$s/b/from-b");
}

#define FAKE(name) \
    static void test_##name(void **state) { (void)state; others_in_step(name); }
#define CACHED(name) \
    static void test_##name(void **state) { (void)state; others_in_step_with_cache(name); }
FAKE(dies_at_once)
FAKE(killed)
FAKE(banner)
FAKE(silent)
FAKE(silent_after_open)
FAKE(drips)
FAKE(drips_after_open)
FAKE(half_a_frame)
FAKE(out_of_turn)
FAKE(unknown_message)
FAKE(says_failed)
FAKE(garbage_block)
FAKE(dotdot)
FAKE(list_cut)
FAKE(list_lies_about_totals)
FAKE(endless)
FAKE(done_too_much)
FAKE(dies_in_transfer)
FAKE(credit_for_nothing)
FAKE(data_for_nothing)
FAKE(difference_to_nothing)
CACHED(difference_to_another)
CACHED(difference_of_garbage)
CACHED(difference_takes_what_is_not_there)
CACHED(difference_out_of_order)
CACHED(difference_empty_pieces)
CACHED(block_in_a_difference)
CACHED(difference_in_a_whole)
CACHED(listing_twice)
CACHED(block_without_listing)
CACHED(dies_in_a_difference)
CACHED(copy_is_cut)

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, make_world, remove_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(dies_at_once), TEST(killed), TEST(banner), TEST(silent), TEST(silent_after_open), TEST(drips), TEST(drips_after_open),
        TEST(half_a_frame), TEST(out_of_turn), TEST(unknown_message), TEST(says_failed),
        TEST(garbage_block), TEST(dotdot), TEST(list_cut), TEST(list_lies_about_totals), TEST(endless),
        TEST(done_too_much), TEST(dies_in_transfer), TEST(credit_for_nothing), TEST(data_for_nothing),
        TEST(difference_to_nothing), TEST(difference_to_another), TEST(difference_of_garbage),
        TEST(difference_takes_what_is_not_there), TEST(difference_out_of_order), TEST(difference_empty_pieces),
        TEST(block_in_a_difference), TEST(difference_in_a_whole), TEST(listing_twice), TEST(block_without_listing),
        TEST(dies_in_a_difference), TEST(copy_is_cut),
        cmocka_unit_test_setup_teardown(a_difference_is_cheap, make_world, remove_world),
        TEST(reads_only), TEST(takes_nothing_away),
        TEST(slow_link), TEST(credit_for_another_list),
        cmocka_unit_test_setup_teardown(cut_at_every_point, make_world, remove_world),
    };
    counted = mmap(NULL, sizeof *counted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counted == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
