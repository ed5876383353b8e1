#include "base/num.h"

#include <stdio.h>
#include <string.h>

static int digits(const char *text, size_t len, uint64_t max, uint64_t *out, struct err *e)
{
    uint64_t v = 0;
    if (len == 0)
        return err_set(e, ERR_USAGE, "\"%s\" is not a number", text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return err_set(e, ERR_USAGE, "\"%s\" is not a number", text);
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v) || v > max)
            return err_set(e, ERR_USAGE, "\"%s\" is out of range (0 to %llu)", text,
                           (unsigned long long)max);
    }
    *out = v;
    return 0;
}

int num_u64(const char *text, uint64_t max, uint64_t *out, struct err *e)
{
    return digits(text, strlen(text), max, out, e);
}

int num_duration(const char *text, uint64_t *seconds, struct err *e)
{
    static const struct { char unit; uint64_t seconds; } units[] = {
        {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}, {'y', 31536000},
    };
    size_t len = strlen(text);
    uint64_t factor = 1, v;
    for (size_t i = 0; len && i < sizeof units / sizeof units[0]; i++)
        if (text[len - 1] == units[i].unit) {
            factor = units[i].seconds;
            len--;
            break;
        }
    int rc = digits(text, len, INT64_MAX / 31536000, &v, e);
    if (rc == 0)
        *seconds = v * factor;
    return rc;
}

char *num_bytes(char *out, size_t n, uint64_t bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u + 1 < sizeof unit / sizeof unit[0]) {
        v /= 1024;
        u++;
    }
    snprintf(out, n, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
    return out;
}
