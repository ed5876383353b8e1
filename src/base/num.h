/* Numbers as people write them. 0, or ERR_USAGE with the reason in e. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

int num_u64(const char *text, uint64_t max, uint64_t *out, struct err *e); /* decimal digits only */
int num_duration(const char *text, uint64_t *seconds, struct err *e);      /* number and optional s, m, h, d, w, y */

/* A number, with a fraction if you like, and K, M, G, T (of 1024; also KiB), KB, MB, GB, TB (of 1000) or B; without any, it counts in units. */
int num_size(const char *text, uint64_t unit, uint64_t *bytes, struct err *e);

/* "1.2 MiB" into out (of size n); returns out. */
char *num_bytes(char *out, size_t n, uint64_t bytes);

#endif
