/* A rate that several streams share: a bucket of bytes that fills with time. */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include <stddef.h>
#include <stdint.h>

struct rate {
    uint64_t per_second; /* bytes; 0: no limit */
    double room;         /* bytes that may go now; below zero when more went than was there */
    int64_t at;          /* ms: when room was last filled up */
};

void rate_init(struct rate *r, uint64_t per_second, int64_t now_ms);
/* How many bytes may go now. A limited rate is handed out in small portions, so that it holds over short times too. */
size_t rate_room(struct rate *r, int64_t now_ms);
void rate_take(struct rate *r, uint64_t bytes);
int rate_wait_ms(const struct rate *r); /* until there is room again; 0: there is some */

#endif
