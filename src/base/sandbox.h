/*
 * Locking oneself in: what the kernel enforces on this process, its later threads and its children from
 * then on, and nothing can take back. With Linux's Landlock; elsewhere nothing happens.
 *
 * It is about opening: descriptors that are open already keep working, stat and readlink are not covered, and
 * neither are signals to processes of the same sandbox or sockets that are neither TCP nor abstract.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stddef.h>

#include "base/err.h"

enum sandbox_access {
    SANDBOX_READ = 1,  /* read files, list directories */
    SANDBOX_WRITE = 2, /* make, change, rename, link, remove files, directories and symlinks; nothing special */
};

/* What is allowed of a file, or of all below a directory: by whatever name it is reached, mounts included. */
struct sandbox_rule {
    const char *path; /* NULL: fd. One that is not there or out of reach is passed over: it allows nothing */
    int fd;           /* borrowed */
    unsigned access;  /* of enum sandbox_access */
};

/*
 * Allows what the rules say and nothing else, and never a program to be run, a TCP port to be bound or
 * connected to, a process outside to be signalled. May be called again, to allow still less. Only the calling
 * thread and what it starts later are locked in, so call it before there are others. 1: locked in. 0: the
 * kernel has no Landlock, or its first version, which forbids every rename from one directory to another and
 * would break us. An error else, and then this process may not serve anybody.
 */
int sandbox_enter(const struct sandbox_rule *rule, size_t n, struct err *e);

/* The same, but TCP ports may be connected to. */
int sandbox_enter_with_network(const struct sandbox_rule *rule, size_t n, struct err *e);

/* The same as sandbox_enter, allowing no file at all. */
int sandbox_nothing(struct err *e);

#endif
