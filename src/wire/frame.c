#include "wire/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char magic[8] = "SOSWIRE\n";

#define FILL_BYTES (256u << 10)
#define NOISE_BYTES 200u /* of what comes instead of a greeting are quoted */
#define PIPE_BYTES (1 << 20) /* what the kernel allows anybody */
#define COMPACT_BYTES (256u << 10)

void wire_in_init(struct wire_in *in, int fd)
{
    int domain;
    socklen_t len = sizeof domain;
    *in = (struct wire_in){.fd = fd};
    in->socket = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

void wire_in_widen(struct wire_in *in)
{
    fcntl(in->fd, F_SETPIPE_SZ, PIPE_BYTES);
}

void wire_in_close(struct wire_in *in)
{
    for (size_t i = 0; i < in->passed_n; i++)
        close(in->passed[i]);
    in->passed_n = 0;
    buf_free(&in->buf);
}

static void keep_fds(struct wire_in *in, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (in->passed_n < WIRE_FDS_MAX)
                in->passed[in->passed_n++] = fd;
            else
                close(fd);
        }
    }
}

ssize_t wire_in_fill(struct wire_in *in)
{
    if (in->used) {
        buf_drop(&in->buf, in->used);
        in->used = 0;
    }
    size_t most = in->most && in->most < FILL_BYTES ? in->most : FILL_BYTES;
    uint8_t *room = buf_room(&in->buf, most);
    ssize_t n;
    do {
        if (in->socket) {
            char control[CMSG_SPACE(8 * sizeof(int))];
            struct iovec iov = {room, most};
            struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                                 .msg_controllen = sizeof control};
            n = recvmsg(in->fd, &msg, MSG_CMSG_CLOEXEC);
            if (n > 0)
                keep_fds(in, &msg);
        } else {
            n = read(in->fd, room, most);
        }
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        in->buf.len += (size_t)n;
        in->total += (uint64_t)n;
    }
    return n;
}

/* Where the first line begins that says something; a banner likes to begin with empty ones. */
static size_t blank_lines(const struct buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->len && strchr(" \t\r\n", b->data[i]) && b->data[i]; i++)
        if (b->data[i] == '\n')
            n = i + 1;
    return n;
}

int wire_in_no_greeting(const struct wire_in *in, struct err *e)
{
    static const char empty[] = "an empty line";
    if (in->buf.len == 0)
        return err_set(e, ERR_PROTO, "the far end went away without a word");
    size_t from = blank_lines(&in->buf), n = in->buf.len - from;
    const char *text = (const char *)in->buf.data + from;
    n = n < NOISE_BYTES ? n : NOISE_BYTES;
    const char *nl = memchr(text, '\n', n);
    if (nl)
        n = (size_t)(nl - text);
    if (n == 0 || (from > 0 && n >= sizeof magic - 1 && memcmp(text, magic, sizeof magic - 1) == 0)) {
        text = empty;
        n = sizeof empty - 1;
    }
    return err_set(e, ERR_PROTO, "expected sos-sync at the far end, but it said: %.*s (is there a start-up file of "
                   "its shell that prints something?)", (int)n, text);
}

int wire_in_greeting(struct wire_in *in, struct wire_greeting *g, struct err *e)
{
    size_t n = in->buf.len < sizeof magic ? in->buf.len : sizeof magic;
    if (n && memcmp(in->buf.data, magic, n) != 0) {
        size_t from = blank_lines(&in->buf);
        bool whole = in->buf.len >= NOISE_BYTES || memchr(in->buf.data + from, '\n', in->buf.len - from);
        return whole ? wire_in_no_greeting(in, e) : 0;
    }
    if (in->buf.len < WIRE_GREETING_LEN)
        return 0;
    struct rd r = rd_of(in->buf.data, WIRE_GREETING_LEN);
    rd_bytes(&r, sizeof magic);
    g->major = rd_u16(&r);
    g->minor = rd_u16(&r);
    g->payload_max = rd_u32(&r);
    g->caps = rd_u64(&r);
    in->used = WIRE_GREETING_LEN;
    in->greeted = true;
    if (g->major != WIRE_MAJOR || g->minor < WIRE_MINOR_LEAST)
        return err_set(e, ERR_PROTO, "the sos-sync at the far end is %s: it speaks version %u.%u of the protocol, this "
                       "one %d.%d; install the same version at both ends",
                       g->major > WIRE_MAJOR ? "newer" : "older", g->major, g->minor, WIRE_MAJOR, WIRE_MINOR);
    if (g->payload_max < WIRE_PAYLOAD_MAX)
        return err_set(e, ERR_PROTO, "the far end takes frames of at most %u bytes", g->payload_max);
    return 1;
}

int wire_in_frame(struct wire_in *in, struct frame *f, struct err *e)
{
    if (in->buf.len - in->used < WIRE_HEADER_LEN)
        return 0;
    struct rd r = rd_of(in->buf.data + in->used, in->buf.len - in->used);
    uint32_t len = rd_u32(&r);
    f->type = rd_u8(&r);
    uint8_t zero = rd_u8(&r);
    f->channel = rd_u16(&r);
    if (len > WIRE_PAYLOAD_MAX || zero != 0)
        return err_set(e, ERR_PROTO, "a frame header that makes no sense (length %u)", len);
    if (rd_left(&r) < len)
        return 0;
    f->body = rd_of(r.p, len);
    in->used += WIRE_HEADER_LEN + len;
    return 1;
}

int wire_in_take_fd(struct wire_in *in)
{
    if (in->passed_n == 0)
        return -1;
    int fd = in->passed[0];
    in->passed_n--;
    memmove(in->passed, in->passed + 1, in->passed_n * sizeof in->passed[0]);
    return fd;
}

void wire_out_init(struct wire_out *out, int fd)
{
    *out = (struct wire_out){.fd = fd};
}

void wire_out_close(struct wire_out *out)
{
    for (size_t i = 0; i < out->pass_n; i++)
        close(out->pass[i].fd);
    out->pass_n = 0;
    buf_free(&out->buf);
}

void wire_out_greeting(struct wire_out *out, uint64_t caps)
{
    buf_put(&out->buf, magic, sizeof magic);
    buf_u16(&out->buf, WIRE_MAJOR);
    buf_u16(&out->buf, WIRE_MINOR);
    buf_u32(&out->buf, WIRE_PAYLOAD_MAX);
    buf_u64(&out->buf, caps);
}

struct buf *wire_out_begin(struct wire_out *out, uint8_t type, uint16_t channel)
{
    out->frame_at = out->buf.len;
    buf_u32(&out->buf, 0);
    buf_u8(&out->buf, type);
    buf_u8(&out->buf, 0);
    buf_u16(&out->buf, channel);
    return &out->buf;
}

void wire_out_end(struct wire_out *out)
{
    size_t len = out->buf.len - out->frame_at - WIRE_HEADER_LEN;
    for (unsigned i = 0; i < 4; i++)
        out->buf.data[out->frame_at + i] = (uint8_t)(len >> (8 * i));
}

void wire_out_frame(struct wire_out *out, uint8_t type, uint16_t channel, const void *p, size_t n)
{
    struct buf *b = wire_out_begin(out, type, channel);
    buf_put(b, p, n);
    wire_out_end(out);
}

int wire_out_pass(struct wire_out *out, int fd)
{
    if (out->pass_n == WIRE_FDS_MAX)
        return -1;
    out->pass[out->pass_n].at = out->buf.len;
    out->pass[out->pass_n++].fd = fd;
    return 0;
}

size_t wire_out_waiting(const struct wire_out *out)
{
    return out->buf.len - out->sent;
}

static ssize_t send_with_fd(int to, const void *p, size_t n, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec iov = {(void *)(uintptr_t)p, n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(to, &msg, MSG_NOSIGNAL);
}

/* One write: up to the next descriptor's byte, or that byte's frame together with its descriptor. */
static ssize_t send_some(struct wire_out *out, size_t most)
{
    const uint8_t *p = out->buf.data + out->sent;
    size_t n = wire_out_waiting(out);
    if (n > most && out->pass_n == 0)
        n = most;
    if (out->pass_n == 0)
        return write(out->fd, p, n);
    if (out->pass[0].at > out->sent)
        return write(out->fd, p, out->pass[0].at - out->sent);
    size_t until = out->pass_n > 1 ? out->pass[1].at - out->sent : n;
    ssize_t k = send_with_fd(out->fd, p, until, out->pass[0].fd);
    if (k > 0) {
        close(out->pass[0].fd);
        out->pass_n--;
        memmove(out->pass, out->pass + 1, out->pass_n * sizeof out->pass[0]);
    }
    return k;
}

/* What is gone makes room: all of it, or so much that moving the rest is worth it (a link that is always behind). */
static void compact(struct wire_out *out)
{
    size_t gone = out->sent;
    if (gone == 0 || (wire_out_waiting(out) > 0 && (gone < COMPACT_BYTES || gone < out->buf.len / 2)))
        return;
    buf_drop(&out->buf, gone);
    out->sent = 0;
    for (size_t i = 0; i < out->pass_n; i++)
        out->pass[i].at -= gone;
}

int wire_out_flush_most(struct wire_out *out, size_t most)
{
    int rc = 0;
    while (wire_out_waiting(out) > 0 && most > 0) {
        ssize_t n = send_some(out, most);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
            break;
        }
        out->sent += (size_t)n;
        out->total += (uint64_t)n;
        most -= (size_t)n < most ? (size_t)n : most;
    }
    int why = errno;
    compact(out);
    errno = why;
    return rc;
}

int wire_out_flush(struct wire_out *out)
{
    return wire_out_flush_most(out, SIZE_MAX);
}
