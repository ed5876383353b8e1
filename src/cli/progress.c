#include "cli/progress.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "base/path.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_MS 100
#define SMOOTH_SECONDS 3.0

/* ---- the rate ---- */

static bool begins_anew(const struct progress_rate *r, const struct sos_progress *p)
{
    return r->at == 0 || r->phase != p->phase || p->objects_done < r->objects_done ||
           p->bytes_done < r->bytes_done;
}

static double smooth(double old, double fresh, double seconds)
{
    double share = seconds / (seconds + SMOOTH_SECONDS);
    return old > 0 ? old + (fresh - old) * share : fresh;
}

void progress_rate_add(struct progress_rate *r, const struct sos_progress *p, int64_t now_ms)
{
    if (begins_anew(r, p)) {
        *r = (struct progress_rate){.at = now_ms};
    } else if (now_ms > r->at) {
        double seconds = (double)(now_ms - r->at) / 1000;
        r->objects = smooth(r->objects, (double)(p->objects_done - r->objects_done) / seconds, seconds);
        r->bytes = smooth(r->bytes, (double)(p->bytes_done - r->bytes_done) / seconds, seconds);
        r->at = now_ms;
    } else {
        return; /* too soon to tell: what is new counts the next time */
    }
    r->phase = p->phase;
    r->objects_done = p->objects_done;
    r->bytes_done = p->bytes_done;
}

/* ---- the line ---- */

/* A line in the making. columns is what the text takes on the terminal, len its bytes. */
struct line {
    char *out;
    size_t len, columns, width;
};

/* Columns of shown text, at worst: beyond ASCII a character may be double. */
static size_t columns_of(const char *text)
{
    size_t columns = 0;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        columns += c < 0x80 ? 1 : c >= 0xc0 ? 2 : 0;
    }
    return columns;
}

/* Adds text if the whole of it fits; once something did not, nothing less important is added either. */
static void add(struct line *l, const char *text)
{
    size_t n = strlen(text), columns = columns_of(text);
    if (l->columns + columns >= l->width || l->len + n >= PROGRESS_LINE_MAX) {
        l->width = 0;
        return;
    }
    memcpy(l->out + l->len, text, n + 1);
    l->len += n;
    l->columns += columns;
}

static void add_raw(struct line *l, const char *code)
{
    size_t n = strlen(code);
    memcpy(l->out + l->len, code, n + 1);
    l->len += n;
}

static const char *phase_name(enum sos_phase phase)
{
    static const char *const name[] = {
        [SOS_PHASE_SCAN] = "scanning",
        [SOS_PHASE_COMPARE] = "comparing",
        [SOS_PHASE_TRANSFER] = "transferring",
        [SOS_PHASE_COMMIT] = "committing",
    };
    return (size_t)phase < sizeof name / sizeof name[0] ? name[phase] : "working";
}

static void add_label(struct line *l, const struct progress_view *v)
{
    char name[64], label[128];
    label[0] = '\0';
    if (v->now->group) {
        path_show(name, sizeof name, v->now->group, strlen(v->now->group));
        snprintf(label, sizeof label, "group %s: ", name);
    }
    if (v->color)
        add_raw(l, "\033[1m");
    add(l, label);
    add(l, phase_name(v->now->phase));
    if (v->color)
        add_raw(l, "\033[0m");
}

static void add_objects(struct line *l, const struct sos_progress *p)
{
    char text[96];
    if (p->objects_total)
        snprintf(text, sizeof text, "  %" PRIu64 "/%" PRIu64 " objects", p->objects_done, p->objects_total);
    else
        snprintf(text, sizeof text, "  %" PRIu64 " objects", p->objects_done);
    add(l, text);
}

static void add_bytes(struct line *l, const struct sos_progress *p)
{
    char text[96], done[32], total[32];
    num_bytes(done, sizeof done, p->bytes_done);
    num_bytes(total, sizeof total, p->bytes_total);
    if (p->bytes_done == 0 && p->bytes_total == 0)
        return;
    if (p->bytes_total)
        snprintf(text, sizeof text, "  %s/%s", done, total);
    else
        snprintf(text, sizeof text, "  %s", done);
    add(l, text);
}

static uint64_t whole(double v)
{
    return v < 1 ? 0 : v > 1e18 ? (uint64_t)1e18 : (uint64_t)v;
}

static void add_rate(struct line *l, const struct progress_view *v)
{
    char text[64], bytes[32];
    if (v->bytes >= 1)
        snprintf(text, sizeof text, "  %s/s", num_bytes(bytes, sizeof bytes, whole(v->bytes)));
    else if (v->objects >= 1)
        snprintf(text, sizeof text, "  %" PRIu64 "/s", whole(v->objects));
    else
        return;
    add(l, text);
}

/* Seconds until done has become total, 0 where that cannot be told. */
static double left(uint64_t done, uint64_t total, double rate)
{
    return total > done && rate > 0 ? (double)(total - done) / rate : 0;
}

static void add_left(struct line *l, const struct progress_view *v)
{
    double by_objects = left(v->now->objects_done, v->now->objects_total, v->objects);
    double by_bytes = left(v->now->bytes_done, v->now->bytes_total, v->bytes);
    uint64_t s = whole(by_objects > by_bytes ? by_objects : by_bytes);
    char text[64];
    if (s == 0 || s >= 360000)
        return;
    if (s >= 3600)
        snprintf(text, sizeof text, "  %u:%02u:%02u left", (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
                 (unsigned)(s % 60));
    else
        snprintf(text, sizeof text, "  %u:%02u left", (unsigned)(s / 60), (unsigned)(s % 60));
    add(l, text);
}

size_t progress_line(char out[PROGRESS_LINE_MAX], const struct progress_view *view)
{
    struct line l = {.out = out, .width = view->width};
    out[0] = '\0';
    add_label(&l, view);
    add_objects(&l, view->now);
    add_bytes(&l, view->now);
    add_rate(&l, view);
    add_left(&l, view);
    return l.columns;
}

/* ---- on the terminal ---- */

void progress_init(struct progress *p, int fd, bool wanted, bool color)
{
    *p = (struct progress){.fd = fd, .on = wanted && isatty(fd) == 1, .color = color};
}

static size_t width_of(int fd)
{
    struct winsize size;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* Spaces over what a longer line has left behind, then back. */
static size_t put_blank(char *out, size_t columns)
{
    memset(out, ' ', columns);
    out[columns] = '\r';
    return columns + 1;
}

void progress_show(struct progress *p, const struct sos_progress *now)
{
    if (!p->on)
        return;
    int64_t at = clock_mono_ms();
    progress_rate_add(&p->rate, now, at);
    if (p->shown && at - p->shown < REDRAW_MS)
        return;
    char out[2 * PROGRESS_LINE_MAX + 2] = "\r", *text = out + 1;
    struct progress_view view = {now, p->rate.objects, p->rate.bytes, width_of(p->fd), p->color};
    size_t columns = progress_line(text, &view), n = 1 + strlen(text);
    if (p->drawn > columns && p->drawn < view.width)
        n += put_blank(out + n, p->drawn - columns);
    /* Nothing can be done about a terminal that went away: errors that matter are told elsewhere. */
    (void)file_write(p->fd, out, n);
    p->drawn = columns;
    p->shown = at;
}

void progress_clear(struct progress *p)
{
    char out[PROGRESS_LINE_MAX + 2] = "\r";
    if (!p->on || p->drawn == 0)
        return;
    (void)file_write(p->fd, out, 1 + put_blank(out + 1, p->drawn));
    p->drawn = 0;
}
