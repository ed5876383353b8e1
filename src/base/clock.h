/* Points in time, and what the operating system says of now. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Seconds since 1970 (may be negative) and nanoseconds, 0 to 999,999,999. */
struct stamp {
    int64_t sec;
    uint32_t nsec;
};

struct stamp clock_now(void);     /* wall clock: only for records and ties */
int64_t clock_mono_ms(void);      /* monotonic milliseconds: for timeouts and rates */
int64_t clock_mono_ns(void);      /* the same in nanoseconds: to measure short work */
int clock_cmp(struct stamp a, struct stamp b);
bool clock_within(struct stamp a, struct stamp b, int64_t seconds); /* |a - b| <= seconds, or a later than b */

/* Is found what a file system makes of wanted: itself, or cut to whole seconds, or (FAT) to even ones? */
bool clock_kept(struct stamp wanted, struct stamp found);

#endif
