/*
 * Files below a held root. Whatever opens something inside a store goes through
 * file_beneath() or a descriptor that came from it, so that no symlink, "..", or
 * mount trick on the way leads out of the root.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/path.h"

/*
 * openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), or an O_NOFOLLOW walk where the
 * call is missing. path "" is the root itself. O_CLOEXEC and O_NOFOLLOW are added.
 * A descriptor, or -1 with errno (ELOOP for a symlink on the way).
 */
int file_beneath(int root, const char *path, int flags, mode_t mode);

/* Keeps the directory of the last path open, since neighbours come one after the other. */
struct file_dirs {
    int root;                    /* borrowed */
    int fd;                      /* -1, or the directory named by dir; owned */
    size_t len;
    char dir[PATH_LEN_MAX + 1];
};

void file_dirs_init(struct file_dirs *d, int root);
void file_dirs_close(struct file_dirs *d);
/* Directory descriptor (borrowed until the next call) for path's parent; *leaf points at its last component. -1 with errno. */
int file_dirs_parent(struct file_dirs *d, const char *path, size_t len, const char **leaf);

/* As many descriptors as this process may have at all, instead of as many as it was given; returns that number. */
unsigned file_raise_limit(void);

/* The directory that a file or directory is in, by a path that somebody gave: "." for a mere name. The caller frees. */
char *file_parent(const char *path);

/* Loops over EINTR and short counts. Bytes read (short only at the end of file), or -1. */
ssize_t file_read(int fd, void *buf, size_t n);
ssize_t file_read_once(int fd, void *buf, size_t n); /* one read, which may give less */
ssize_t file_pread(int fd, void *buf, size_t n, off_t at);
int file_write(int fd, const void *buf, size_t n); /* all of it: 0, or -1 */
int file_copy(int to, int from); /* a file from its beginning, to where the other one stands: 0, or -1 */

/* A directory below root even if it cannot be read: then as a path only (O_PATH). Descriptor, or -1 with errno. */
int file_beneath_dir(int root, const char *path);
int file_chmod(int fd, mode_t mode); /* also of a descriptor that is a path only: 0, or -1 with errno */

int file_clone(int to, int from); /* FICLONE: 0, or -1 with errno where the file system cannot */

/* An unlinked temporary file in dir, readable and writable. -1 with errno. */
int file_unnamed(const char *dir);

/* Reads a whole small file (at most max bytes) below dirfd into fresh memory with a NUL behind it; NULL with e filled. */
char *file_slurp(int dirfd, const char *name, size_t max, size_t *len, struct err *e);

/* Replaces name in dirfd by these bytes: temp, write, sync when sync is set, rename. 0 or an error. */
int file_replace(int dirfd, const char *name, const void *p, size_t n, bool sync, struct err *e);

#endif
