/*
 * Standard output through one big buffer. A write that fails is remembered and
 * ends all further writing; the work itself goes on, and the failure becomes part of the exit status.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

struct output {
    int fd;        /* borrowed */
    pid_t owner;   /* who opened it: a forked child has a copy that is not for him to write */
    bool terminal; /* every line is then written at once */
    int error;     /* errno of the first write that failed, else 0 */
    struct buf text;
    void (*before)(void *ctx); /* called before a terminal is written to; NULL: nothing */
    void *ctx;
};

void output_open(struct output *o, int fd);
int output_close(struct output *o); /* writes what is left: 0, or the errno of the first failure */

void output_put(struct output *o, const void *p, size_t n);
void output_str(struct output *o, const char *s);
void output_printf(struct output *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A name, with path_show's escapes. Returns the columns that it takes, each character counted as one. */
size_t output_name(struct output *o, const char *name);

void output_line(struct output *o);  /* ends a line */
void output_flush(struct output *o); /* in another process than its owner: forgets what is there */

#endif
