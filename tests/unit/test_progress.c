#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/progress.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static const struct sos_progress half = {
    .group = "2", .phase = SOS_PHASE_TRANSFER, .objects_done = 500, .objects_total = 1000,
    .bytes_done = 5 << 20, .bytes_total = 10 << 20,
};

static const char *line_of(char *out, const struct sos_progress *p, double objects, double bytes,
                           size_t width)
{
    struct progress_view v = {p, objects, bytes, width, false};
    size_t columns = progress_line(out, &v);
    assert_true(columns == 0 || columns < width);
    assert_true(strlen(out) < PROGRESS_LINE_MAX);
    return out;
}

static void whole_line(void **state)
{
    (void)state;
    char out[PROGRESS_LINE_MAX];
    assert_string_equal(line_of(out, &half, 10, 1 << 20, 120),
                        "group 2: transferring  500/1000 objects  5.0 MiB/10.0 MiB  1.0 MiB/s  0:50 left");
    /* Here the bytes take longer than the objects. */
    assert_string_equal(line_of(out, &half, 1000, 1024, 120),
                        "group 2: transferring  500/1000 objects  5.0 MiB/10.0 MiB  1.0 KiB/s  1:25:20 left");
}

static void without_totals_or_rates(void **state)
{
    (void)state;
    char out[PROGRESS_LINE_MAX];
    struct sos_progress p = {.group = "2", .phase = SOS_PHASE_SCAN, .objects_done = 12};
    assert_string_equal(line_of(out, &p, 0, 0, 80), "group 2: scanning  12 objects");
    assert_string_equal(line_of(out, &p, 7, 0, 80), "group 2: scanning  12 objects  7/s");
    p.bytes_done = 2048;
    p.group = NULL;
    assert_string_equal(line_of(out, &p, 7, 1024, 80), "scanning  12 objects  2.0 KiB  1.0 KiB/s");
    p.phase = (enum sos_phase)99;
    assert_non_null(strstr(line_of(out, &p, 0, 0, 80), "working"));
}

static void parts_give_way(void **state)
{
    (void)state;
    char out[PROGRESS_LINE_MAX], longer[PROGRESS_LINE_MAX];
    line_of(longer, &half, 10, 1 << 20, 200);
    for (size_t width = 200; width-- > 0;) {
        line_of(out, &half, 10, 1 << 20, width);
        /* A narrower line is a wider one cut between two parts. */
        assert_memory_equal(out, longer, strlen(out));
        assert_true(strlen(out) < width || out[0] == '\0');
        memcpy(longer, out, sizeof out);
    }
    assert_string_equal(out, "");
}

static void hostile_names(void **state)
{
    (void)state;
    char out[PROGRESS_LINE_MAX], name[600];
    struct sos_progress p = half;
    p.group = "a\033[2J\rb";
    assert_non_null(strstr(line_of(out, &p, 0, 0, 200), "a\\x1b[2J\\x0db"));
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    p.group = name;
    line_of(out, &p, 0, 0, 200);
    line_of(out, &p, 0, 0, 10);
    /* Wide characters: two columns each, so that 20 of them do not fit in 40 with the rest. */
    p.group = "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5";
    p.phase = SOS_PHASE_SCAN;
    struct progress_view v = {&p, 0, 0, 80, false};
    assert_true(progress_line(out, &v) >= strlen("group : scanning") + 10);
}

static void huge_numbers(void **state)
{
    (void)state;
    char out[PROGRESS_LINE_MAX];
    struct sos_progress p = {"g", SOS_PHASE_TRANSFER, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    line_of(out, &p, 1e300, 1e300, 300);
    p.objects_done = p.bytes_done = 0;
    assert_null(strstr(line_of(out, &p, 1e-300, 1e-300, 300), "left"));
    p.objects_done = 5;
    p.objects_total = 3; /* more than there should be */
    assert_null(strstr(line_of(out, &p, 1, 0, 300), "left"));
}

static void color_is_only_a_frame(void **state)
{
    (void)state;
    char plain[PROGRESS_LINE_MAX], color[PROGRESS_LINE_MAX];
    struct progress_view v = {&half, 1, 1, 60, false};
    size_t a = progress_line(plain, &v);
    v.color = true;
    assert_int_equal(progress_line(color, &v), a);
    assert_null(strchr(plain, '\033'));
    assert_non_null(strstr(color, "\033[1mgroup 2: transferring\033[0m"));
}

static void rates_are_smooth(void **state)
{
    (void)state;
    struct progress_rate r = {0};
    struct sos_progress p = {.group = "2", .phase = SOS_PHASE_TRANSFER};
    progress_rate_add(&r, &p, 1000);
    assert_true(r.bytes == 0);
    for (int64_t t = 1; t <= 100; t++) {
        p.bytes_done = (uint64_t)t * 1000;
        p.objects_done = (uint64_t)t;
        progress_rate_add(&r, &p, 1000 + t * 100);
        assert_true(r.bytes > 9999 && r.bytes < 10001);
        assert_true(r.objects > 9.99 && r.objects < 10.01);
    }
    /* One fast moment moves it a little only. */
    p.bytes_done += 100000;
    progress_rate_add(&r, &p, 11100);
    assert_true(r.bytes > 10100 && r.bytes < 100000);
    /* No time has passed: nothing is lost, it counts the next time. */
    struct progress_rate before = r;
    p.bytes_done += 1000;
    progress_rate_add(&r, &p, 11100);
    assert_memory_equal(&r, &before, sizeof r);
    /* Another phase, or another group that begins at nothing. */
    p.phase = SOS_PHASE_COMMIT;
    progress_rate_add(&r, &p, 11200);
    assert_true(r.bytes == 0 && r.objects == 0);
    p.bytes_done += 5;
    progress_rate_add(&r, &p, 12200);
    assert_true(r.bytes > 4.9 && r.bytes < 5.1);
    p.bytes_done = 0;
    progress_rate_add(&r, &p, 13200);
    assert_true(r.bytes == 0);
}

static void never_into_a_pipe(void **state)
{
    (void)state;
    int fd[2];
    char byte;
    struct progress p;
    assert_int_equal(pipe2(fd, O_NONBLOCK), 0);
    progress_init(&p, fd[1], true, true);
    assert_false(p.on);
    progress_show(&p, &half);
    progress_clear(&p);
    assert_int_equal(read(fd[0], &byte, 1), -1);
    close(fd[0]);
    close(fd[1]);
}

static void drawn_and_cleared_on_a_terminal(void **state)
{
    (void)state;
    struct progress p;
    struct winsize size = {.ws_row = 24, .ws_col = 40};
    struct termios raw;
    char got[512];
    int us = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (us < 0 || grantpt(us) < 0 || unlockpt(us) < 0) {
        if (us >= 0)
            close(us);
        skip();
    }
    int them = open(ptsname(us), O_RDWR | O_NOCTTY);
    assert_true(them >= 0);
    tcgetattr(them, &raw);
    cfmakeraw(&raw);
    tcsetattr(them, TCSANOW, &raw);
    assert_int_equal(ioctl(us, TIOCSWINSZ, &size), 0);

    progress_init(&p, them, false, false);
    assert_false(p.on);
    progress_init(&p, them, true, false);
    assert_true(p.on);
    progress_clear(&p); /* nothing there: nothing written */
    progress_show(&p, &half);
    progress_show(&p, &half); /* too soon */
    progress_clear(&p);
    progress_clear(&p);
    static const char want[] = "\rgroup 2: transferring  500/1000 objects"
                               "\r                                       \r";
    size_t n = 0; /* the two writes may arrive one by one */
    for (ssize_t k; n < sizeof want - 1; n += (size_t)k) {
        struct pollfd ready = {.fd = us, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 10000), 1);
        k = read(us, got + n, sizeof got - 1 - n);
        assert_true(k > 0);
    }
    assert_int_equal(n, sizeof want - 1);
    assert_memory_equal(got, want, sizeof want - 1);
    close(us);
    close(them);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_line),
        cmocka_unit_test(without_totals_or_rates),
        cmocka_unit_test(parts_give_way),
        cmocka_unit_test(hostile_names),
        cmocka_unit_test(huge_numbers),
        cmocka_unit_test(color_is_only_a_frame),
        cmocka_unit_test(rates_are_smooth),
        cmocka_unit_test(never_into_a_pipe),
        cmocka_unit_test(drawn_and_cleared_on_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
