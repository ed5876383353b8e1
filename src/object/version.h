/*
 * Version vectors: per object, how far each member's changes to it have been seen.
 * Items are sorted by member, counters are above 0, a member occurs once. A vector
 * is a value; copy it with assignment or version_copy (which copies only what is used).
 */
#ifndef OBJECT_VERSION_H
#define OBJECT_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#define VERSION_MEMBERS_MAX 64

/* A store's identity: 16 random bytes, made when the store is first used. All zero: none. */
struct uuid {
    uint8_t b[16];
};

struct version {
    uint32_t n; /* items used */
    struct version_item {
        struct uuid who;
        uint64_t count;
    } item[VERSION_MEMBERS_MAX];
};

enum version_order { VERSION_EQUAL, VERSION_BEFORE, VERSION_AFTER, VERSION_CONCURRENT };

enum version_order version_compare(const struct version *a, const struct version *b);
uint64_t version_count(const struct version *v, const struct uuid *who); /* 0 when absent */
void version_copy(struct version *to, const struct version *from);

/* Is v as vectors must be: sorted, no member twice, no counter 0, no member that is none? */
bool version_valid(const struct version *v);
bool version_same(const struct version *a, const struct version *b); /* version_compare says VERSION_EQUAL */

/* Sets who's counter; count 0 takes the member out. 0, or -1 when the vector is full. */
int version_set(struct version *v, const struct uuid *who, uint64_t count);

/* into := the least vector that is not before either. 0, or -1 when it would not fit (into is unchanged). */
int version_join(struct version *into, const struct version *other);

int uuid_cmp(const struct uuid *a, const struct uuid *b); /* by bytes: <0, 0, >0 */
void uuid_random(struct uuid *out); /* a version 4 UUID */
bool uuid_none(const struct uuid *u);
bool uuid_same(const struct uuid *a, const struct uuid *b);
/* 8-4-4-4-12 hex digits; out has room for 37 bytes. Returns out. */
char *uuid_text(char out[37], const struct uuid *u);
/* That form alone, in either case; out is unchanged on false. */
bool uuid_parse(const char *text, struct uuid *out);

#endif
