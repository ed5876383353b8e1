/* What a member may say of its trash: others are told in any case, nothing piles up, nothing leads outside. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "run/run.h"
#include "fake.h"
#include "scratch.h"

static char world[256];

#define GOOD_LIST "2026-11-21T23:19:26Z\toverwritten\td/f\n"

static int make_world(void **state)
{
    (void)state;
    if (scratch_make(world, sizeof world, "test_run_trash") < 0)
        return -1;
    char *command = mem_printf("cd %s && mkdir -p -m 700 a/.sos-sync/trash/2026-11-21T231926Z/d fake && cd a/.sos-sync/trash && "
                               "printf old >2026-11-21T231926Z/d/f && printf '" GOOD_LIST "' >2026-11-21T231926Z.txt", world);
    int rc = system(command);
    free(command);
    return rc;
}

static int remove_world(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf %s", world);
    int rc = system(command);
    free(command);
    return rc;
}

/* ---- the fake ---- */

static struct fake opened(int fd)
{
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "");
    return f;
}

static const struct store_trash an_item = {.id = 7, .when = 1900000000, .size = 3, .reason = "overwritten", .run = "later",
                                           .by = "nobody", .path = "d/f"};

static void put_done(struct fake *f, int code)
{
    message_put_trash_done(&f->out, &(struct message_trash_done){.code = code, .text = "no", .text_len = 2});
}

static void put_bad(struct fake *f, const char *path, uint64_t id, const char *run)
{
    struct store_trash item = an_item;
    item.path = path;
    item.id = id;
    item.run = run;
    message_put_trash_item(&f->out, &item);
    put_done(f, 0);
}

static int unasked(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    message_put_trash_item(&f.out, &an_item);
    return fake_end(&f);
}

static int outside(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    fake_await(&f, MSG_TRASH_LIST);
    put_bad(&f, "../../etc/passwd", 7, "r");
    return fake_end(&f);
}

static int huge_id(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    fake_await(&f, MSG_TRASH_LIST);
    put_bad(&f, "f", 1ull << 48, "r");
    return fake_end(&f);
}

static int control_bytes(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    fake_await(&f, MSG_TRASH_LIST);
    put_bad(&f, "f", 7, "r\033[2J");
    return fake_end(&f);
}

static int two_ends(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    fake_await(&f, MSG_TRASH_LIST);
    put_done(&f, 0);
    put_done(&f, 0);
    wire_out_flush(&f.out);
    return fake_end(&f);
}

static int scanned(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    struct message_scanned m = {0};
    fake_await(&f, MSG_TRASH_LIST);
    message_put_scanned(&f.out, &m);
    put_done(&f, 0);
    return fake_end(&f);
}

static int goes_away(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    fake_await(&f, MSG_TRASH_LIST);
    return 1;
}

/* A billion, or as many as are listened to. */
static int flood(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    fake_await(&f, MSG_TRASH_LIST);
    for (unsigned i = 0; i < 1000000000; i++) {
        message_put_trash_item(&f.out, &an_item);
        if (wire_out_waiting(&f.out) > 60000 && wire_out_flush(&f.out) < 0)
            break;
    }
    return 1;
}

/* It has the newest, but will not give it. */
static int has_the_newest(int fd, void *p)
{
    (void)p;
    struct fake f = opened(fd);
    fake_await(&f, MSG_TRASH_LIST);
    message_put_trash_item(&f.out, &an_item);
    put_done(&f, 0);
    fake_await(&f, MSG_TRASH_RESTORE);
    put_done(&f, ERR_CHANGED);
    return fake_end(&f);
}

/* ---- runs ---- */

static int (*the_fake)(int fd, void *peer);

static int body(int fd, void *ctx)
{
    const struct peer *p = ctx;
    return strcmp(p->member->name, "fake") == 0 ? the_fake(fd, ctx) : peer_serve_local(fd, ctx);
}

static struct {
    unsigned items, of_a, named_fake;
    bool bounded;
} heard;

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    (void)ctx;
    heard.named_fake += t->error && t->member && strcmp(t->member, "fake") == 0;
}

static void on_item(void *ctx, const struct sos_trash_item *item)
{
    (void)ctx;
    heard.items++;
    heard.of_a += strcmp(item->member, "a") == 0 && strcmp(item->path, "d/f") == 0 && item->bytes == 3;
}

static bool on_interrupted(void *ctx)
{
    (void)ctx;
    return heard.items > 200000;
}

/* what NULL: a list. */
static enum sos_status run_with(int (*fake)(int, void *), const char *what, bool *found)
{
    static const char *const order[] = {"fake", "a"};
    struct groups g = {0};
    struct sos_options options;
    struct err e;
    for (size_t i = 0; i < 2; i++) {
        struct address where;
        char *path = mem_printf("%s/%s", world, order[i]);
        assert_int_equal(address_parse(path, 0, &where, &e), 0);
        assert_int_equal(groups_add(&g, "g", order[i], &where, NULL, 0, &e), 0);
        free(path);
    }
    sos_options_init(&options);
    options.timeout = 20;
    options.no_cache = true;
    struct sos_callbacks callbacks = {.trouble = on_trouble, .interrupted = on_interrupted};
    struct run r = {.group = &g.group[0], .body = body, .options = &options, .callbacks = &callbacks};
    memset(&heard, 0, sizeof heard);
    the_fake = fake;
    enum sos_status status = what ? run_trash_restore(&r, &what, 1, found, on_item) : run_trash_list(&r, on_item);
    groups_free(&g);
    return status;
}

static void lists(void **state)
{
    static int (*const fakes[])(int, void *) = {unasked, outside, huge_id, control_bytes, two_ends, scanned, goes_away};
    (void)state;
    for (size_t i = 0; i < sizeof fakes / sizeof fakes[0]; i++) {
        enum sos_status status = run_with(fakes[i], NULL, NULL);
        if (status != SOS_PARTIAL || heard.of_a != 1 || heard.items != 1 || heard.named_fake != 1)
            fail_msg("fake %zu: status %d, %u items, %u errors", i, status, heard.items, heard.named_fake);
    }
}

static void a_flood_can_be_ended(void **state)
{
    (void)state;
    assert_int_equal(run_with(flood, NULL, NULL), SOS_FAILED);
    assert_true(heard.items > 200000);
}

static void a_newest_that_is_not_given(void **state)
{
    bool found = false;
    char *path = mem_printf("%s/a/d/f", world);
    (void)state;
    assert_int_equal(run_with(has_the_newest, "d/f", &found), SOS_PARTIAL);
    assert_true(found);
    assert_int_equal(heard.items, 0);
    assert_int_equal(access(path, F_OK), -1);
    found = false;
    assert_int_equal(run_with(outside, "d/f", &found), SOS_PARTIAL);
    assert_true(found);
    assert_int_equal(heard.of_a, 1);
    assert_int_equal(access(path, F_OK), 0);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists, make_world, remove_world),
        cmocka_unit_test_setup_teardown(a_flood_can_be_ended, make_world, remove_world),
        cmocka_unit_test_setup_teardown(a_newest_that_is_not_given, make_world, remove_world),
    };
    return cmocka_run_group_tests_name("run_trash", tests, NULL, NULL);
}
