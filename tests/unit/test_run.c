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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/mem.h"
#include "run/run.h"

static char world[] = "/tmp/test_run.XXXXXX";

/* ---- a fake agent's vocabulary ---- */

struct fake {
    struct wire_in in;
    struct wire_out out;
};

static void fake_open(struct fake *f, int fd)
{
    struct wire_greeting g;
    struct err e;
    wire_in_init(&f->in, fd);
    wire_out_init(&f->out, fd);
    wire_out_greeting(&f->out, 0);
    wire_out_flush(&f->out);
    while (wire_in_greeting(&f->in, &g, &e) == 0)
        if (wire_in_fill(&f->in) <= 0)
            _exit(3);
}

/* Takes messages in until one of this type has come. */
static struct frame fake_await(struct fake *f, uint8_t type)
{
    struct frame m;
    struct err e;
    for (;;) {
        int rc = wire_in_frame(&f->in, &m, &e);
        if (rc > 0 && m.type == type)
            return m;
        if (rc == 0 && wire_in_fill(&f->in) <= 0)
            _exit(3);
    }
}

static void fake_opened(struct fake *f)
{
    struct message_opened m = {.flags = OPENED_EXISTS | OPENED_PARENT, .caps = 7, .group = ""};
    fake_await(f, MSG_OPEN);
    uuid_random(&m.id);
    message_put_opened(&f->out, &m, NULL);
    wire_out_flush(&f->out);
}

static void fake_scanned(struct fake *f, const struct manifest_totals *t)
{
    struct message_scanned m = {.totals = *t};
    fake_await(f, MSG_SCAN);
    message_put_scanned(&f->out, &m);
    wire_out_flush(&f->out);
}

static int fake_end(struct fake *f)
{
    wire_out_flush(&f->out);
    char byte;
    while (read(f->in.fd, &byte, 1) > 0)
        ; /* until the coordinator has had enough of us */
    return 0;
}

/* ---- the fakes: what threats.md's session and manifest letters look like from inside ---- */

static int dies_at_once(int fd, void *member)
{
    (void)fd;
    (void)member;
    return 1;
}

static int killed(int fd, void *member)
{
    (void)fd;
    (void)member;
    raise(SIGKILL);
    return 0;
}

static int banner(int fd, void *member)
{
    (void)member;
    static const char text[] = "Welcome to node9\n\x1b[2Jhave a nice day\n";
    if (write(fd, text, sizeof text - 1) < 0)
        return 1;
    struct fake f;
    wire_in_init(&f.in, fd);
    wire_out_init(&f.out, fd);
    return fake_end(&f);
}

static int silent(int fd, void *member)
{
    (void)member;
    struct fake f;
    fake_open(&f, fd);
    return fake_end(&f);
}

/* E1: a byte now and then, but never a whole message. */
static int drips(int fd, void *member)
{
    (void)member;
    static const uint8_t header[] = {0, 0, 1, 0, MSG_PROGRESS, 0, 0, 0};
    struct fake f;
    fake_open(&f, fd);
    for (size_t i = 0; poll(NULL, 0, 50) == 0; i++)
        if (write(fd, i < sizeof header ? &header[i] : header, 1) != 1)
            return 0; /* the coordinator has had enough */
    return 0;
}

static int silent_after_open(int fd, void *member)
{
    (void)member;
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f);
    return fake_end(&f);
}

static int half_a_frame(int fd, void *member)
{
    (void)member;
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f);
    fake_await(&f, MSG_SCAN);
    static const uint8_t half[] = {100, 0, 0, 0, MSG_SCANNED, 0, 0, 0, 1, 2, 3};
    return write(fd, half, sizeof half) < 0 ? 1 : 0;
}

static int out_of_turn(int fd, void *member)
{
    (void)member;
    struct fake f;
    fake_open(&f, fd);
    message_put_done(&f.out, 1, 0);
    return fake_end(&f);
}

static int unknown_message(int fd, void *member)
{
    (void)member;
    struct fake f;
    fake_open(&f, fd);
    wire_out_frame(&f.out, 99, 0, "x", 1);
    return fake_end(&f);
}

static int says_failed(int fd, void *member)
{
    (void)member;
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f);
    fake_await(&f, MSG_SCAN);
    message_put_failed(&f.out, ERR_SYS, "the disk is on \x1b[31mfire");
    return fake_end(&f);
}

/* A manifest of these bytes as its only block, with whatever totals. */
static int lists(int fd, const void *block, size_t n, const struct manifest_totals *t, bool end)
{
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f);
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

static int garbage_block(int fd, void *member)
{
    (void)member;
    struct manifest_totals t = {.entries = 1, .dirs = 1};
    return lists(fd, BLOCK_OF(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), &t, true);
}

static int dotdot(int fd, void *member)
{
    (void)member;
    struct manifest_totals t = {.entries = 1, .dirs = 1};
    return lists(fd, BLOCK_OF(1, 3, 0, 2, '.', '.', 0xed, 3, 0, 0, 0), &t, true);
}

static int list_cut(int fd, void *member)
{
    (void)member;
    struct manifest_totals t = {.entries = 5, .objects = 5};
    return lists(fd, BLOCK_OF(0), &t, false);
}

static int list_lies_about_totals(int fd, void *member)
{
    (void)member;
    struct manifest_totals t = {.entries = 1ull << 63, .objects = 1ull << 63, .bytes = UINT64_MAX};
    return lists(fd, BLOCK_OF(0), &t, true);
}

/* B6: blocks without an end and without credit. */
static int endless(int fd, void *member)
{
    (void)member;
    struct manifest_totals t = {.entries = 1};
    static uint8_t big[MANIFEST_BLOCK_MAX];
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f);
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
    fake_opened(&f);
    fake_scanned(&f, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    wire_out_flush(&f.out);
    return f;
}

static int done_too_much(int fd, void *member)
{
    (void)member;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    message_put_done(&f.out, 1u << 30, 0);
    return fake_end(&f);
}

static int dies_in_transfer(int fd, void *member)
{
    (void)member;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    return 1;
}

static int credit_for_nothing(int fd, void *member)
{
    (void)member;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    message_put_number(&f.out, MSG_CREDIT, 77, 1u << 20);
    return fake_end(&f);
}

static int data_for_nothing(int fd, void *member)
{
    (void)member;
    struct fake f = empty_store(fd);
    fake_await(&f, MSG_APPLY);
    wire_out_frame(&f.out, MSG_DATA, 1, "tar", 3);
    return fake_end(&f);
}

/* E2: a real agent behind a line that is cut after so many bytes of what it says. */
static size_t cut_after;

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
    }
}

static int cut_off(int fd, void *member)
{
    int to[2], from[2]; /* pipes, as a remote agent has them: no descriptor can pass */
    (void)member;
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

/* ---- the world around them ---- */

static int (*the_fake)(int fd, void *member);

static int body(int fd, void *ctx)
{
    const struct member *m = ctx;
    return strcmp(m->name, "fake") == 0 ? the_fake(fd, ctx) : peer_serve_local(fd, ctx);
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
    strcpy(world + strlen(world) - 6, "XXXXXX");
    if (!mkdtemp(world))
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

static enum sos_status run_world(bool through, unsigned timeout)
{
    struct groups g = {0};
    struct err e;
    char *name[3] = {"a", "b", "fake"};
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
    struct sos_callbacks callbacks = {.trouble = on_trouble};
    struct run r = {.group = &g.group[0], .body = body, .options = &options, .callbacks = &callbacks};
    memset(&heard, 0, sizeof heard);
    enum sos_status status = run_group(&r);
    groups_free(&g);
    return status;
}

static void others_in_step(int (*fake)(int fd, void *member))
{
    the_fake = fake;
    for (int through = 0; through < 2; through++) {
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

static void cut_at_every_point(void **state)
{
    (void)state;
    the_fake = cut_off;
    bool whole = false;
    for (cut_after = 0; !whole; cut_after += cut_after < 400 ? 7 : 61) {
        assert_true(cut_after < 100000);
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

#define FAKE(name) \
    static void test_##name(void **state) { (void)state; others_in_step(name); }
FAKE(dies_at_once)
FAKE(killed)
FAKE(banner)
FAKE(silent)
FAKE(silent_after_open)
FAKE(drips)
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

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, make_world, remove_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(dies_at_once), TEST(killed), TEST(banner), TEST(silent), TEST(silent_after_open), TEST(drips),
        TEST(half_a_frame), TEST(out_of_turn), TEST(unknown_message), TEST(says_failed),
        TEST(garbage_block), TEST(dotdot), TEST(list_cut), TEST(list_lies_about_totals), TEST(endless),
        TEST(done_too_much), TEST(dies_in_transfer), TEST(credit_for_nothing), TEST(data_for_nothing),
        cmocka_unit_test_setup_teardown(cut_at_every_point, make_world, remove_world),
    };
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
