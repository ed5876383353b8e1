#include "base/num.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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

/* What stands behind the number of a size; 0 for what is no unit. */
static double size_unit(const char *suffix, uint64_t unit)
{
    static const char letters[] = "kmgtp";
    if (*suffix == '\0')
        return (double)unit;
    if (strcasecmp(suffix, "b") == 0)
        return 1;
    const char *letter = strchr(letters, *suffix | 0x20);
    if (!letter)
        return 0;
    bool thousands = strcasecmp(suffix + 1, "b") == 0;
    if (suffix[1] != '\0' && !thousands && strcasecmp(suffix + 1, "ib") != 0)
        return 0;
    double v = 1;
    for (const char *p = letters; p <= letter; p++)
        v *= thousands ? 1000 : 1024;
    return v;
}

int num_size(const char *text, uint64_t unit, uint64_t *bytes, struct err *e)
{
    size_t n = strspn(text, "0123456789.");
    double v = 0, place = 1;
    bool fraction = false, digit = false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '.' && fraction)
            return err_set(e, ERR_USAGE, "\"%s\" is not a number", text);
        if (text[i] == '.') {
            fraction = true;
            continue;
        }
        digit = true;
        place = fraction ? place / 10 : place;
        v = fraction ? v + place * (text[i] - '0') : v * 10 + (text[i] - '0');
    }
    double factor = size_unit(text + n, unit);
    if (!digit || factor <= 0)
        return err_set(e, ERR_USAGE, "\"%s\" is not a size: a number with K, M, G or T behind it", text);
    if (v * factor > 1e18)
        return err_set(e, ERR_USAGE, "\"%s\" is too large", text);
    *bytes = (uint64_t)(v * factor);
    return 0;
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
