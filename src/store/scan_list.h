/*
 * The names in directories, sorted. They lie on one stack: those of a subdirectory on top of its parents',
 * to be taken off when the walk is done with it, so that a directory costs no allocation of its own.
 */
#ifndef STORE_SCAN_LIST_H
#define STORE_SCAN_LIST_H

#include <stddef.h>
#include <stdint.h>

struct scan_name {
    uint64_t key;   /* for sorting: eight bytes of the name, from where its neighbours begin to differ */
    uint64_t where; /* offset in text << 16 | length */
};

struct scan_list {
    struct scan_name *name;
    size_t n, cap;
    char *text; /* the names' bytes, each with a NUL */
    size_t text_len, text_cap;
    void *raw; /* what the system call filled last */
};

/* A height of the stack. */
struct scan_mark {
    size_t n, text_len;
};

void scan_list_free(struct scan_list *l); /* a list begins zeroed */
struct scan_mark scan_list_mark(const struct scan_list *l);
void scan_list_pop(struct scan_list *l, struct scan_mark to);

/*
 * Reads the directory fd from its offset to its end; pushes its names in byte order, each once, without "."
 * and ".." and those that are reserved. 0, or -1 with errno, and then nothing was pushed. A directory that
 * was just removed is empty.
 */
int scan_list_push(struct scan_list *l, int fd);

/* NUL-terminated; valid until the next push. */
const char *scan_list_name(const struct scan_list *l, size_t i, size_t *len);

#endif
