/*
 * Frames: how messages lie on a byte stream, and how descriptors travel beside it
 * where both ends are on one machine. sos-wire(7) gives it byte by byte.
 *
 * Greeting (each side, first thing): 8 bytes "SOSWIRE\n", u16 major, u16 minor,
 * u32 largest payload it takes, u64 capabilities.
 * Frame: u32 payload length, u8 type, u8 zero, u16 channel, payload.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define WIRE_MAJOR 1
#define WIRE_MINOR 2
#define WIRE_MINOR_LEAST 1 /* older ones lack what every run needs */
#define WIRE_MINOR_SHA256 2 /* older ones know no digests but XXH3-128 */
#define WIRE_GREETING_LEN 24u
#define WIRE_HEADER_LEN 8u
#define WIRE_PAYLOAD_MAX ((1u << 20) + 65536u) /* bytes; a manifest block fits */
#define WIRE_FDS_MAX 72u                       /* descriptors that may wait to be taken or sent */

enum wire_cap {
    WIRE_CAP_FDS = 1, /* descriptors can be passed on this link */
};

struct wire_greeting {
    uint16_t major, minor;
    uint32_t payload_max;
    uint64_t caps;
};

struct frame {
    uint8_t type;
    uint16_t channel;
    struct rd body; /* points into the receiver's buffer: valid until the next call on it */
};

/* ---- receiving ---- */

struct wire_in {
    int fd;                 /* borrowed */
    bool socket;            /* descriptors may arrive */
    bool greeted;
    struct buf buf;
    size_t used;            /* bytes of buf that were handed out */
    uint64_t total;         /* bytes received */
    size_t most;            /* bytes that one read may take; 0: no matter */
    int passed[WIRE_FDS_MAX]; /* received descriptors, oldest first; owned */
    size_t passed_n;
};

void wire_in_init(struct wire_in *in, int fd);
void wire_in_widen(struct wire_in *in); /* a pipe gets room for more, so that its writer need not wait for us so often */
void wire_in_close(struct wire_in *in); /* frees the buffer and closes what nobody took */
/* One read. >0 bytes, 0 end of stream, -1 with errno (EAGAIN on a non-blocking descriptor). */
ssize_t wire_in_fill(struct wire_in *in);
/* 1: the peer's greeting has arrived; 0: more is needed; ERR_PROTO, quoting the first line of what came instead. */
int wire_in_greeting(struct wire_in *in, struct wire_greeting *g, struct err *e);
int wire_in_no_greeting(const struct wire_in *in, struct err *e); /* the same error, where no more will come */
/* 1: a whole frame; 0: more is needed; ERR_PROTO for a header that cannot be right. */
int wire_in_frame(struct wire_in *in, struct frame *f, struct err *e);
int wire_in_take_fd(struct wire_in *in); /* the oldest descriptor received, or -1 */

/* ---- sending ---- */

struct wire_out {
    int fd;                 /* borrowed */
    struct buf buf;
    size_t sent;            /* bytes of buf that are gone */
    size_t frame_at;        /* where the frame being built begins */
    uint64_t total;         /* bytes sent */
    struct { size_t at; int fd; } pass[WIRE_FDS_MAX]; /* descriptor goes with the byte at this place; owned */
    size_t pass_n;
};

void wire_out_init(struct wire_out *out, int fd);
void wire_out_close(struct wire_out *out);
void wire_out_greeting(struct wire_out *out, uint64_t caps);
/* Builds a frame: begin, put into the buffer returned, end. */
struct buf *wire_out_begin(struct wire_out *out, uint8_t type, uint16_t channel);
void wire_out_end(struct wire_out *out);
void wire_out_frame(struct wire_out *out, uint8_t type, uint16_t channel, const void *p, size_t n);
/* A descriptor that travels with the next frame begun; ownership passes. -1 when too many wait. */
int wire_out_pass(struct wire_out *out, int fd);
size_t wire_out_waiting(const struct wire_out *out);
/* Writes what it can. 0: all is gone or the descriptor would block; -1 with errno. */
int wire_out_flush(struct wire_out *out);
int wire_out_flush_most(struct wire_out *out, size_t most); /* no more than so many bytes */

#endif
