/*
 * Room that is kept aside on the disk of the state while a run puts things there, so that what was done can be written
 * down when the disk is full: bytes, and a few inodes. It has no name, and goes with the process.
 */
#ifndef STORE_RESERVE_H
#define STORE_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#define RESERVE_LEAST ((uint64_t)256 << 10) /* bytes, beside what is known to be needed */

struct reserve;

struct reserve *reserve_new(int state); /* of nothing yet */
void reserve_free(struct reserve *r);   /* gives all of it back; NULL is nothing */

/*
 * Makes it at least as large as that. False when there is no room for it: then it is as large as it was. Where room cannot be
 * kept there is none, and this is true.
 */
bool reserve_keep(struct reserve *r, uint64_t bytes);
/* Gives up to so many bytes back, which somebody needs now. False when there was nothing left. */
bool reserve_give(struct reserve *r, uint64_t bytes);

/* Bytes that stores had better leave alone on this disk, besides content, where a manifest of this size is kept. */
uint64_t reserve_claim(uint64_t manifest);

#endif
