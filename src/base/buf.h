/*
 * Bytes: a growing buffer with typed put, and a bounded reader with typed get.
 * Integers are little-endian. A varint is LEB128 (7 bits a byte, low bits first,
 * at most 10 bytes, no superfluous zero byte at the end); a signed varint is
 * zigzag-coded first.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len, cap;
};

void buf_free(struct buf *b);                      /* and makes it an empty buffer again */
uint8_t *buf_room(struct buf *b, size_t n);        /* room for n more bytes; len unchanged */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);
void buf_svarint(struct buf *b, int64_t v);
void buf_str(struct buf *b, const void *p, size_t n); /* varint length, bytes */
void buf_drop(struct buf *b, size_t n);            /* forget the first n bytes */

/* A reader never runs past its end: a get that would sets bad and gives 0. Check bad once, at the end. */
struct rd {
    const uint8_t *p, *end;
    bool bad;
};

struct rd rd_of(const void *p, size_t n);
size_t rd_left(const struct rd *r);
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
uint64_t rd_varint(struct rd *r);
int64_t rd_svarint(struct rd *r);
const uint8_t *rd_bytes(struct rd *r, size_t n);   /* points into the input; NULL when short */
const char *rd_str(struct rd *r, size_t max, size_t *n); /* a buf_str of at most max bytes, not NUL-terminated */
bool rd_done(const struct rd *r);                  /* all read and nothing bad */

#endif
