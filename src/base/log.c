#include "base/log.h"

#include "base/path.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct {
    const char *who;
    enum log_level level;
    void (*clear)(void *ctx);
    void *ctx;
} sink = {"sos-sync", LOG_NORMAL, NULL, NULL};

void log_setup(const char *who, enum log_level level)
{
    sink.who = who;
    sink.level = level;
}

void log_before(void (*clear)(void *ctx), void *ctx)
{
    sink.clear = clear;
    sink.ctx = ctx;
}

static void say(const char *fmt, va_list ap)
{
    char raw[8192], line[4 * sizeof raw];
    vsnprintf(raw, sizeof raw, fmt, ap);
    path_show(line, sizeof line, raw, strlen(raw));
    if (sink.clear)
        sink.clear(sink.ctx);
    fprintf(stderr, "%s: %s\n", sink.who, line);
}

void log_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

void log_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (sink.level >= LOG_NORMAL)
        say(fmt, ap);
    va_end(ap);
}
