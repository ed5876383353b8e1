/*
 * Carries out a patch stream. The commands of a delta are read here and not by librsync: they come from a peer that
 * may be hostile, librsync takes bytes behind the end and any amount of output without complaint, and each command
 * must be judged before it is begun.
 */
#include "object/delta.h"

#include "base/mem.h"
#include "base/pair.h"
#include "object/delta_request.h"
#include "object/delta_sums.h"

#include <stdlib.h>

#define COPY_BUFFER (1024u * 1024u)
#define HEAD 5u /* bytes of a record's header */

enum delta_state { CLOSED, AT_MAGIC, AT_COMMAND, AT_NUMBERS, IN_LITERAL };

struct delta_patcher {
    const struct delta_calls *calls;
    void *ctx;
    uint64_t want, made;     /* bytes of the file; made includes what was kept */
    struct delta_counts counts;
    bool begun, ended;       /* a first record has come; END has */
    bool no_refine;          /* one other than KEEP has */
    int error;               /* what feed returned last */
    uint8_t kind;            /* of the record being read; 0: in its header */
    uint32_t left;           /* bytes of its payload that are still to come */
    uint8_t held[1024];      /* a header, a number, or a reason, that has not all come */
    size_t held_len;
    struct buf request;      /* the payload of REFINE */
    enum delta_state state;  /* of the open delta */
    uint64_t seg_left;       /* bytes that it may still make */
    uint8_t command, numbers[16];
    unsigned numbers_len;
    uint64_t literal;        /* bytes to come of a literal command */
    uint8_t *buffer[2];      /* pieces of the basis; the second only where there is more than one to a copy */
};

struct delta_patcher *delta_patcher_new(uint64_t want, const struct delta_calls *calls, void *ctx)
{
    struct delta_patcher *p = mem_zalloc(sizeof *p);
    p->calls = calls;
    p->ctx = ctx;
    p->want = want;
    return p;
}

void delta_patcher_free(struct delta_patcher *p)
{
    if (p) {
        buf_free(&p->request);
        free(p->buffer[0]);
        free(p->buffer[1]);
    }
    free(p);
}

struct delta_counts delta_patcher_counts(const struct delta_patcher *p)
{
    return p->counts;
}

static int write_out(struct delta_patcher *p, const void *data, size_t n, struct err *e)
{
    p->made += n;
    return p->calls->write(p->ctx, data, n, e);
}

/* ---- the commands of a delta ---- */

/* Takes n bytes out of what the delta may make. */
static int claim(struct delta_patcher *p, uint64_t n, struct err *e)
{
    if (n == 0)
        return err_set(e, ERR_FORMAT, "delta with an empty command");
    if (n > p->seg_left)
        return err_set(e, ERR_FORMAT, "delta that makes more bytes than announced");
    p->seg_left -= n;
    return 0;
}

/* Half of a step: a piece of the basis is read, or the one before it is written. */
struct half {
    struct delta_patcher *p;
    bool writes;
    uint64_t pos;
    uint8_t *bytes;
    size_t n;
    int rc;
    struct err e;
};

static void run_half(void *arg)
{
    struct half *h = arg;
    if (h->writes) {
        h->rc = write_out(h->p, h->bytes, h->n, &h->e);
        return;
    }
    ssize_t got = h->p->calls->read(h->p->ctx, h->pos, h->bytes, h->n, &h->e);
    h->rc = got < 0                 ? (int)got
            : (size_t)got == h->n ? 0
                                    : err_set(&h->e, ERR_FORMAT, "delta that copies from beyond the basis");
}

/* Reads ahead by one piece, in another thread where that is worth it: most of a large object that was edited comes from here. */
static int copy_pieces(struct delta_patcher *p, uint64_t pos, uint64_t n, struct err *e)
{
    struct half read = {.p = p, .pos = pos, .bytes = p->buffer[0], .n = n < COPY_BUFFER ? (size_t)n : COPY_BUFFER};
    run_half(&read);
    while (read.rc == 0) {
        struct half write = read;
        write.writes = true;
        n -= read.n;
        read.pos += read.n;
        read.bytes = p->buffer[read.bytes == p->buffer[0]];
        read.n = n < COPY_BUFFER ? (size_t)n : COPY_BUFFER;
        if (n)
            pair_run(run_half, &write, &read, n >= COPY_BUFFER);
        else
            run_half(&write);
        if (write.rc < 0)
            *e = write.e;
        else
            p->counts.matched += write.n;
        if (write.rc < 0 || n == 0)
            return write.rc;
    }
    *e = read.e;
    return read.rc;
}

static int copy(struct delta_patcher *p, uint64_t pos, uint64_t n, struct err *e)
{
    int rc = claim(p, n, e);
    if (rc < 0)
        return rc;
    if (pos > INT64_MAX || n > INT64_MAX - pos)
        return err_set(e, ERR_FORMAT, "delta that copies from beyond the basis");
    for (unsigned i = 0; i < (n > COPY_BUFFER ? 2 : 1); i++)
        if (!p->buffer[i])
            p->buffer[i] = mem_alloc(COPY_BUFFER);
    return copy_pieces(p, pos, n, e);
}

static int begin_literal(struct delta_patcher *p, uint64_t n, struct err *e)
{
    p->literal = n;
    p->state = IN_LITERAL;
    return claim(p, n, e);
}

static uint64_t big_endian(const uint8_t *b, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | b[i];
    return v;
}

/* How many bytes of numbers follow this command (65 to 84). */
static unsigned numbers_of(uint8_t command)
{
    if (command < 69)
        return 1u << (command - 65);
    unsigned c = command - 69u;
    return (1u << c / 4) + (1u << c % 4);
}

static int take_command(struct delta_patcher *p, uint8_t c, struct err *e)
{
    p->command = c;
    p->numbers_len = 0;
    if (c > 84)
        return err_set(e, ERR_FORMAT, "delta with an unknown command (%u)", c);
    if (c > 64)
        p->state = AT_NUMBERS;
    else if (c > 0)
        return begin_literal(p, c, e);
    else
        p->state = CLOSED;
    return 0;
}

static int take_numbers(struct delta_patcher *p, struct err *e)
{
    p->state = AT_COMMAND;
    if (p->command < 69)
        return begin_literal(p, big_endian(p->numbers, p->numbers_len), e);
    unsigned a = 1u << (p->command - 69u) / 4;
    return copy(p, big_endian(p->numbers, a), big_endian(p->numbers + a, p->numbers_len - a), e);
}

/* The next byte, outside of literals. */
static int take_byte(struct delta_patcher *p, uint8_t b, struct err *e)
{
    switch (p->state) {
    case AT_MAGIC:
        p->numbers[p->numbers_len++] = b;
        if (p->numbers_len < 4)
            return 0;
        p->state = AT_COMMAND;
        if (big_endian(p->numbers, 4) != DELTA_MAGIC)
            return err_set(e, ERR_FORMAT, "delta of an unknown kind");
        return 0;
    case AT_COMMAND:
        return take_command(p, b, e);
    case AT_NUMBERS:
        p->numbers[p->numbers_len++] = b;
        return p->numbers_len < numbers_of(p->command) ? 0 : take_numbers(p, e);
    case IN_LITERAL: /* not here */
    case CLOSED:
        break;
    }
    return err_set(e, ERR_FORMAT, "bytes after the end of a delta");
}

static int take_delta(struct delta_patcher *p, const uint8_t *data, size_t n, struct err *e)
{
    int rc = 0;
    while (n && rc == 0) {
        size_t k = 1;
        if (p->state == IN_LITERAL) {
            k = n < p->literal ? n : (size_t)p->literal;
            rc = write_out(p, data, k, e);
            p->counts.literal += k;
            p->literal -= k;
            if (p->literal == 0)
                p->state = AT_COMMAND;
        } else {
            rc = take_byte(p, *data, e);
        }
        data += k;
        n -= k;
    }
    return rc;
}

/* ---- records ---- */

static int take_head(struct delta_patcher *p, struct err *e)
{
    struct rd r = rd_of(p->held, HEAD);
    uint8_t kind = rd_u8(&r);
    uint32_t len = rd_u32(&r);
    bool number = kind == DELTA_KEEP || kind == DELTA_BEGIN || kind == DELTA_END;
    if (kind < DELTA_KEEP || kind > DELTA_REFINE)
        return err_set(e, ERR_FORMAT, "patch with an unknown record (%u)", kind);
    if (len == 0 || len > DELTA_RECORD_MAX || (number && len != 8))
        return err_set(e, ERR_FORMAT, "patch with a record %u of %u bytes", kind, len);
    if (p->ended || (kind == DELTA_KEEP && p->begun) || (kind == DELTA_REFINE && p->no_refine) ||
        (kind == DELTA_DELTA && p->state == CLOSED) ||
        (kind != DELTA_DELTA && kind != DELTA_FAILED && p->state != CLOSED))
        return err_set(e, ERR_FORMAT, "patch with a record %u out of order", kind);
    if (kind == DELTA_RAW && len > p->want - p->made)
        return err_set(e, ERR_FORMAT, "patch that makes more bytes than wanted");
    p->begun = true;
    p->no_refine |= kind != DELTA_KEEP;
    p->kind = kind;
    p->left = len;
    p->held_len = 0;
    return 0;
}

static int keep(struct delta_patcher *p, uint64_t n, struct err *e)
{
    if (n > p->want)
        return err_set(e, ERR_FORMAT, "patch that keeps more bytes than wanted");
    p->made = n;
    return p->calls->keep(p->ctx, n, e);
}

static int take_number(struct delta_patcher *p, struct err *e)
{
    struct rd r = rd_of(p->held, 8);
    uint64_t v = rd_u64(&r);
    p->held_len = 0;
    if (p->kind == DELTA_KEEP)
        return keep(p, v, e);
    if (p->kind == DELTA_END) {
        p->ended = true;
        if (v != p->made || (v != p->want && p->want != DELTA_ANY_SIZE))
            return err_set(e, ERR_FORMAT, "patch that ends at %llu bytes after making %llu of %llu",
                           (unsigned long long)v, (unsigned long long)p->made, (unsigned long long)p->want);
        return 0;
    }
    if (v == 0)
        return err_set(e, ERR_FORMAT, "delta that makes nothing");
    p->state = AT_MAGIC;
    p->numbers_len = 0;
    p->seg_left = v < p->want - p->made ? v : p->want - p->made;
    return 0;
}

/* All of it has come. */
static int take_request(struct delta_patcher *p, struct err *e)
{
    int rc = delta_request_check(p->request.data, p->request.len, e);
    if (rc == 0 && p->calls->refine)
        rc = p->calls->refine(p->ctx, p->request.data, p->request.len, e);
    buf_free(&p->request);
    return rc;
}

/* Some of the record's payload. */
static int take(struct delta_patcher *p, const uint8_t *data, size_t n, struct err *e)
{
    p->left -= (uint32_t)n;
    if (p->kind == DELTA_DELTA)
        return take_delta(p, data, n, e);
    if (p->kind == DELTA_RAW) {
        p->counts.literal += n;
        return write_out(p, data, n, e);
    }
    if (p->kind == DELTA_REFINE) {
        buf_put(&p->request, data, n);
        return p->left ? 0 : take_request(p, e);
    }
    for (; n && p->held_len < sizeof p->held; n--)
        p->held[p->held_len++] = *data++;
    if (p->left)
        return 0;
    if (p->kind == DELTA_FAILED)
        return err_set(e, ERR_CHANGED, "%.*s", (int)p->held_len, (const char *)p->held);
    return take_number(p, e);
}

int delta_patcher_take(struct delta_patcher *p, const void *data, size_t n, size_t *used, struct err *e)
{
    const uint8_t *from = data;
    *used = 0;
    if (p->error)
        return err_set(e, p->error, "patch that went wrong before");
    while (*used < n && p->error == 0 && !(p->ended && p->kind == 0)) {
        size_t k = 1;
        if (p->kind) {
            k = n - *used < p->left ? n - *used : p->left;
            p->error = take(p, from + *used, k, e);
            if (p->left == 0)
                p->kind = 0;
        } else {
            p->held[p->held_len++] = from[*used];
            p->error = p->held_len == HEAD ? take_head(p, e) : 0;
        }
        *used += k;
    }
    return p->error ? p->error : p->ended && p->kind == 0;
}

int delta_patcher_feed(struct delta_patcher *p, const void *data, size_t n, struct err *e)
{
    size_t used;
    int rc = delta_patcher_take(p, data, n, &used, e);
    if (rc > 0 && used < n)
        rc = p->error = err_set(e, ERR_FORMAT, "bytes after the end of a patch");
    return rc < 0 ? rc : 0;
}

int delta_patcher_end(const struct delta_patcher *p, struct err *e)
{
    if (p->error)
        return err_set(e, p->error, "patch that went wrong before");
    if (!p->ended || p->held_len)
        return err_set(e, ERR_FORMAT, "patch that ends early");
    return 1;
}
