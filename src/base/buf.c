#include "base/buf.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

uint8_t *buf_room(struct buf *b, size_t n)
{
    if (b->cap - b->len < n) {
        size_t cap = b->cap ? b->cap : 256;
        while (cap - b->len < n)
            cap *= 2;
        b->data = mem_resize(b->data, cap, 1);
        b->cap = cap;
    }
    return b->data + b->len;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n) {
        memcpy(buf_room(b, n), p, n);
        b->len += n;
    }
}

void buf_u8(struct buf *b, uint8_t v)
{
    *buf_room(b, 1) = v;
    b->len++;
}

static void put_le(struct buf *b, uint64_t v, size_t n)
{
    uint8_t *p = buf_room(b, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
    b->len += n;
}

void buf_u16(struct buf *b, uint16_t v) { put_le(b, v, 2); }
void buf_u32(struct buf *b, uint32_t v) { put_le(b, v, 4); }
void buf_u64(struct buf *b, uint64_t v) { put_le(b, v, 8); }

void buf_varint(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_room(b, 10);
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    b->len += n;
}

void buf_svarint(struct buf *b, int64_t v)
{
    buf_varint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void buf_str(struct buf *b, const void *p, size_t n)
{
    buf_varint(b, n);
    buf_put(b, p, n);
}

void buf_drop(struct buf *b, size_t n)
{
    b->len -= n;
    if (b->len)
        memmove(b->data, b->data + n, b->len);
}

struct rd rd_of(const void *p, size_t n)
{
    static const uint8_t nothing[1];
    const uint8_t *from = p ? p : nothing;
    return (struct rd){from, from + n, false};
}

size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}

const uint8_t *rd_bytes(struct rd *r, size_t n)
{
    if (r->bad || rd_left(r) < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

static uint64_t get_le(struct rd *r, size_t n)
{
    const uint8_t *p = rd_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t rd_u8(struct rd *r) { return (uint8_t)get_le(r, 1); }
uint16_t rd_u16(struct rd *r) { return (uint16_t)get_le(r, 2); }
uint32_t rd_u32(struct rd *r) { return (uint32_t)get_le(r, 4); }
uint64_t rd_u64(struct rd *r) { return get_le(r, 8); }

uint64_t rd_varint(struct rd *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->bad || r->p == r->end)
            break;
        uint8_t c = *r->p++;
        if (shift == 63 && c > 1)
            break;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            if (c == 0 && shift > 0)
                break; /* one number, one spelling */
            return v;
        }
    }
    r->bad = true;
    return 0;
}

int64_t rd_svarint(struct rd *r)
{
    uint64_t v = rd_varint(r);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

const char *rd_str(struct rd *r, size_t max, size_t *n)
{
    uint64_t len = rd_varint(r);
    if (len > max)
        r->bad = true;
    *n = r->bad ? 0 : (size_t)len;
    const uint8_t *p = rd_bytes(r, *n);
    if (!p)
        *n = 0;
    return (const char *)p;
}

bool rd_done(const struct rd *r)
{
    return !r->bad && r->p == r->end;
}
