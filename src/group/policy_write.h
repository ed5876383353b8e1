/* A policy file that is to be changed: read under a lock, replaced at once or not at all. */
#ifndef GROUP_POLICY_WRITE_H
#define GROUP_POLICY_WRITE_H

#include <stddef.h>
#include <sys/stat.h>

#include "base/err.h"

struct policy_write {
    char *file;      /* what symlinks lead to */
    int fd;          /* of the file as it is, locked; -1: there is none yet */
    struct stat st;  /* of fd */
    char *text;
    size_t len;
};

/* A file that is not there is an empty one. Waits for whoever changes it at the moment. ERR_CONF. */
int policy_write_open(struct policy_write *w, const char *file, struct err *e);

/*
 * The new text, durable, with the owner and the mode that the file had. ERR_CONF; the file is then as it was.
 */
int policy_write_replace(struct policy_write *w, const void *text, size_t len, struct err *e);

void policy_write_close(struct policy_write *w);

#endif
