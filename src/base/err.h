/*
 * Errors. A function that can fail returns 0 (or a count) on success and a
 * negative code on failure, and describes the failure once, where the cause is
 * known, in the struct err that its caller handed in. Callers on the way up may
 * put the object and the step in front with err_wrap(). Nobody below main()
 * exits, and nobody prints an error that he also returns.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_code {
    ERR_SYS = -1,         /* a system call failed; err.sys holds errno */
    ERR_USAGE = -2,       /* the caller of the program asked for something impossible */
    ERR_CONF = -3,        /* a configuration file is wrong */
    ERR_FORMAT = -4,      /* bytes from outside that break their format */
    ERR_PROTO = -5,       /* a peer broke the protocol, died or fell silent */
    ERR_LOCKED = -6,      /* another run holds the store */
    ERR_GUARD = -7,       /* a guard refused the store */
    ERR_CHANGED = -8,     /* an object changed while we worked on it */
    ERR_DAMAGED = -9,     /* content differs though nothing says that it was changed */
    ERR_UNSUPPORTED = -10,/* understood, but not built or not possible here */
    ERR_INTERRUPTED = -11,/* a signal asked us to stop */
    ERR_DENIED = -12,     /* not allowed here */
    ERR_FULL = -13        /* no room: what ERR_SYS of ENOSPC and EDQUOT becomes where errno does not travel */
};

struct err {
    int code;       /* 0 or one of enum err_code */
    int sys;        /* errno for ERR_SYS, else 0 */
    char msg[1024]; /* one line, no newline; names in it are raw bytes, the sink escapes them */
};

/* Fills e (which may be NULL) and returns code, so that callers can say return err_set(...). */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set with ERR_SYS; ": strerror(errno)" is appended. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "text: " before the message; returns e->code (ERR_SYS when e is NULL). */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void err_clear(struct err *e);

#endif
