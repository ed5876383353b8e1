#include "store/trash_record.h"

#include "base/mem.h"
#include "object/digest.h"
#include "object/entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_TIME "%Y-%m-%dT%H:%M:%SZ"
#define RUN_TIME "%Y-%m-%dT%H%M%SZ"
#define TIME_LEN 24u /* bytes of a time, NUL included */
#define RUNS_MAX 10000u

/* ---- times ---- */

/* What no calendar has is written in seconds. */
static void time_text(char out[TIME_LEN], int64_t at, const char *format)
{
    struct tm tm;
    time_t sec = (time_t)at;
    if (!gmtime_r(&sec, &tm) || tm.tm_year < 1000 - 1900 || tm.tm_year > 9999 - 1900 ||
        strftime(out, TIME_LEN, format, &tm) == 0)
        snprintf(out, TIME_LEN, "%lld", (long long)at);
}

/* Only what time_text writes. */
static bool parse_time(const char *text, size_t len, const char *format, int64_t *at)
{
    char copy[TIME_LEN], again[TIME_LEN];
    struct tm tm = {0};
    if (len == 0 || len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    const char *end = strptime(copy, format, &tm);
    if (end && *end == '\0')
        *at = timegm(&tm);
    else
        *at = strtoll(copy, NULL, 10);
    time_text(again, *at, format);
    return strcmp(copy, again) == 0 && *at >= -ENTRY_TIME_MAX && *at <= ENTRY_TIME_MAX;
}

/* ---- lines ---- */

/* The next field of a line; false when there is none left. */
static bool field(const char **at, const char *end, const char **text, size_t *len)
{
    if (*at > end)
        return false;
    const char *tab = memchr(*at, '\t', (size_t)(end - *at));
    *text = *at;
    *len = (size_t)((tab ? tab : end) - *at);
    *at = tab ? tab + 1 : end + 1;
    return true;
}

static bool plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            return false;
    return len > 0;
}

static bool parse_path(const char *text, size_t len, char out[PATH_LEN_MAX + 1])
{
    long n = path_unshow(out, PATH_LEN_MAX + 1, text, len);
    return n > 0 && path_check_any(out, (size_t)n, NULL) == 0;
}

bool trash_record_parse(const char *line, size_t len, struct trash_record *out)
{
    const char *at = line, *end = line + len, *text;
    size_t n;
    if (len >= TRASH_LINE_MAX || !field(&at, end, &text, &n) || !parse_time(text, n, LINE_TIME, &out->when))
        return false;
    if (!field(&at, end, &text, &n) || n > TRASH_REASON_MAX || !plain(text, n))
        return false;
    memcpy(out->reason, text, n);
    out->reason[n] = '\0';
    if (!field(&at, end, &text, &n) || !parse_path(text, n, out->path))
        return false;
    if (!field(&at, end, &text, &n)) {
        memcpy(out->place, out->path, sizeof out->place);
        return true;
    }
    return parse_path(text, n, out->place) && strcmp(out->place, out->path) != 0 && at > end;
}

static void put_path(struct buf *line, const char *path)
{
    size_t n = strlen(path), room = 4 * n + 1;
    char *at = (char *)buf_room(line, room);
    line->len += strlen(path_show(at, room, path, n));
}

void trash_record_put(struct buf *line, const struct trash_record *r)
{
    char when[TIME_LEN];
    time_text(when, r->when, LINE_TIME);
    buf_put(line, when, strlen(when));
    buf_u8(line, '\t');
    buf_put(line, r->reason, strlen(r->reason));
    buf_u8(line, '\t');
    put_path(line, r->path);
    if (strcmp(r->place, r->path) != 0) {
        buf_u8(line, '\t');
        put_path(line, r->place);
    }
    buf_u8(line, '\n');
}

bool trash_record_parse_first(const char *line, size_t len, char by[TRASH_BY_MAX + 1])
{
    const char *at = line, *end = line + len, *text;
    char name[4 * TRASH_BY_MAX + 1];
    size_t n;
    int64_t when;
    if (!field(&at, end, &text, &n) || n != 3 || memcmp(text, "run", 3) != 0)
        return false;
    if (!field(&at, end, &text, &n) || !parse_time(text, n, LINE_TIME, &when))
        return false;
    if (!field(&at, end, &text, &n) || n > TRASH_BY_MAX || path_unshow(name, sizeof name, text, n) < 0 || at <= end)
        return false;
    memcpy(by, text, n);
    by[n] = '\0';
    return true;
}

void trash_record_put_first(struct buf *line, int64_t when, const char *by)
{
    char text[TIME_LEN], shown[TRASH_BY_MAX + 1];
    time_text(text, when, LINE_TIME);
    buf_put(line, "run\t", 4);
    buf_put(line, text, strlen(text));
    buf_u8(line, '\t');
    path_show(shown, sizeof shown, by, strlen(by));
    buf_put(line, shown, strlen(shown));
    buf_u8(line, '\n');
}

/* ---- runs ---- */

void trash_record_run(char name[TRASH_RUN_MAX + 1], int64_t when, unsigned n)
{
    char text[TIME_LEN];
    time_text(text, when, RUN_TIME);
    if (n > 1)
        snprintf(name, TRASH_RUN_MAX + 1, "%s-%u", text, n);
    else
        snprintf(name, TRASH_RUN_MAX + 1, "%s", text);
}

/* Also "-5", a time before 1970 that is written in seconds, and "-5-2". */
bool trash_record_parse_run(const char *name, size_t len, int64_t *when, unsigned *n)
{
    char again[TRASH_RUN_MAX + 1];
    size_t end = len;
    while (end > 0 && name[end - 1] >= '0' && name[end - 1] <= '9')
        end--;
    bool numbered = end > 1 && end < len && name[end - 1] == '-' && len - end <= 5;
    *n = 1;
    if (parse_time(name, len, RUN_TIME, when))
        return true;
    if (!numbered || !parse_time(name, end - 1, RUN_TIME, when))
        return false;
    *n = 0;
    for (size_t i = end; i < len; i++)
        *n = 10 * *n + (unsigned)(name[i] - '0');
    trash_record_run(again, *when, *n);
    return *n > 1 && *n < RUNS_MAX && strlen(again) == len && memcmp(again, name, len) == 0;
}

uint64_t trash_record_id(const struct uuid *store, const char *run, const char *place)
{
    struct buf b = {0};
    buf_put(&b, store->b, sizeof store->b);
    buf_put(&b, run, strlen(run) + 1);
    buf_put(&b, place, strlen(place));
    struct digest d = digest_of(b.data, b.len);
    buf_free(&b);
    uint64_t id = 0;
    for (size_t i = 0; i < 6; i++)
        id = id << 8 | d.b[i];
    return id;
}
