#include "base/rate.h"

#define PORTIONS 16.0     /* of a second's bytes: what may go at once */
#define PORTION_LEAST 1024.0
#define SIPS 64.0         /* of a second's bytes: less is not worth waking up for */

static double portion(const struct rate *r)
{
    double most = (double)r->per_second / PORTIONS;
    return most > PORTION_LEAST ? most : PORTION_LEAST;
}

static double sip(const struct rate *r)
{
    double least = (double)r->per_second / SIPS;
    return least > 1 ? least : 1;
}

void rate_init(struct rate *r, uint64_t per_second, int64_t now_ms)
{
    *r = (struct rate){.per_second = per_second, .at = now_ms};
}

size_t rate_room(struct rate *r, int64_t now_ms)
{
    if (r->per_second == 0)
        return SIZE_MAX;
    if (now_ms > r->at)
        r->room += (double)(now_ms - r->at) * (double)r->per_second / 1000;
    r->at = now_ms;
    if (r->room > portion(r))
        r->room = portion(r);
    return r->room >= sip(r) ? (size_t)r->room : 0;
}

void rate_take(struct rate *r, uint64_t bytes)
{
    if (r->per_second)
        r->room -= (double)bytes;
}

int rate_wait_ms(const struct rate *r)
{
    if (r->per_second == 0 || r->room >= sip(r))
        return 0;
    double ms = (sip(r) - r->room) * 1000 / (double)r->per_second + 1;
    return ms < 1000 ? (int)ms : 1000;
}
