#include "cli/output.h"

#include "base/file.h"
#include "base/path.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FULL ((size_t)256 * 1024)

void output_open(struct output *o, int fd)
{
    *o = (struct output){.fd = fd, .owner = getpid(), .terminal = isatty(fd) == 1};
}

void output_flush(struct output *o)
{
    bool mine = o->owner == getpid();
    if (o->text.len == 0)
        return;
    if (mine && o->terminal && o->before)
        o->before(o->ctx);
    if (mine && o->error == 0 && file_write(o->fd, o->text.data, o->text.len) < 0)
        o->error = errno;
    o->text.len = 0;
}

int output_close(struct output *o)
{
    output_flush(o);
    buf_free(&o->text);
    return o->error;
}

void output_put(struct output *o, const void *p, size_t n)
{
    buf_put(&o->text, p, n);
}

void output_str(struct output *o, const char *s)
{
    buf_put(&o->text, s, strlen(s));
}

/* As much as fits into the room that there is; the bytes that all of it takes. */
static size_t format(struct buf *text, const char *fmt, va_list ap)
{
    int n = vsnprintf((char *)text->data + text->len, text->cap - text->len, fmt, ap);
    return n < 0 ? 0 : (size_t)n;
}

void output_printf(struct output *o, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    buf_room(&o->text, 256);
    size_t n = format(&o->text, fmt, ap);
    if (n >= o->text.cap - o->text.len) {
        buf_room(&o->text, n + 1);
        format(&o->text, fmt, again);
    }
    o->text.len += n;
    va_end(again);
    va_end(ap);
}

size_t output_name(struct output *o, const char *name)
{
    size_t len = strlen(name), size = 4 * len + 1, columns = 0;
    char *shown = (char *)buf_room(&o->text, size);
    path_show(shown, size, name, len);
    size_t n = strlen(shown);
    for (size_t i = 0; i < n; i++)
        columns += ((unsigned char)shown[i] & 0xc0) != 0x80;
    o->text.len += n;
    return columns;
}

void output_line(struct output *o)
{
    buf_u8(&o->text, '\n');
    if (o->terminal || o->text.len >= FULL)
        output_flush(o);
}
