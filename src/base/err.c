#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct err *e, int code, int sys, const char *fmt, va_list ap)
{
    e->code = code;
    e->sys = sys;
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, 0, fmt, ap);
        va_end(ap);
    }
    return code;
}

int err_sys(struct err *e, const char *fmt, ...)
{
    int sys = errno;
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, ERR_SYS, sys, fmt, ap);
        va_end(ap);
        size_t used = strlen(e->msg);
        snprintf(e->msg + used, sizeof e->msg - used, ": %s", strerror(sys));
    }
    errno = sys;
    return ERR_SYS;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return ERR_SYS;
    char front[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(front, sizeof front, fmt, ap);
    va_end(ap);
    size_t n = strlen(front), room = sizeof e->msg - 1;
    if (n + 2 < room) {
        size_t rest = strlen(e->msg), fits = room - n - 2;
        memmove(e->msg + n + 2, e->msg, rest < fits ? rest : fits);
        memcpy(e->msg, front, n);
        memcpy(e->msg + n, ": ", 2);
        e->msg[rest < fits ? n + 2 + rest : room] = '\0';
    }
    return e->code;
}

void err_clear(struct err *e)
{
    if (e) {
        e->code = 0;
        e->sys = 0;
        e->msg[0] = '\0';
    }
}
