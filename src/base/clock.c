#include "base/clock.h"

#include <time.h>

struct stamp clock_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (struct stamp){ts.tv_sec, (uint32_t)ts.tv_nsec};
}

int64_t clock_mono_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int clock_cmp(struct stamp a, struct stamp b)
{
    if (a.sec != b.sec)
        return a.sec < b.sec ? -1 : 1;
    return (a.nsec > b.nsec) - (a.nsec < b.nsec);
}

bool clock_within(struct stamp a, struct stamp b, int64_t seconds)
{
    int64_t edge;
    if (__builtin_sub_overflow(b.sec, seconds, &edge))
        return true;
    return clock_cmp(a, (struct stamp){edge, b.nsec}) >= 0;
}

bool clock_kept(struct stamp wanted, struct stamp found)
{
    if (clock_cmp(wanted, found) == 0)
        return true;
    return found.nsec == 0 && (found.sec == wanted.sec || found.sec == (wanted.sec & ~(int64_t)1));
}
