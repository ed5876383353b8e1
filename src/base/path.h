/*
 * Paths of objects: relative to a store's root, '/' between components, any other
 * byte but NUL. The order of paths is byte-wise with '/' before every other byte,
 * which is the order of a depth-first walk whose directories are sorted by name.
 */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define PATH_LEN_MAX 4095 /* bytes in an object's path, without the NUL */
#define NAME_LEN_MAX 255  /* bytes in one component */

/* Our own directory in a store, and how our temporary files beside a target begin. */
#define PATH_STATE ".sos-sync"
#define PATH_TEMP ".sos-sync."

/* <0, 0, >0 in the order of paths. */
int path_cmp(const char *a, size_t alen, const char *b, size_t blen);

/*
 * The one judge of every path that arrives from outside (a peer, a manifest, a
 * bundle): not empty or absolute, no empty, "." or ".." component, no NUL, within
 * the lengths, and no component that is reserved. ERR_FORMAT when it is not so.
 */
int path_check(const char *path, size_t len, struct err *e);

/* The same with reserved names allowed: of what lies in the trash, where our temporary files may be. */
int path_check_any(const char *path, size_t len, struct err *e);

/* Is this one component a name that belongs to us (".sos-sync", ".sos-sync.*")? */
bool path_reserved(const char *name, size_t len);

/* Length of the part before the last '/', 0 for a path at the root. */
size_t path_parent(const char *path, size_t len);

/* Is path below dir (dir "" has everything below it)? */
bool path_below(const char *path, size_t len, const char *dir, size_t dirlen);

/*
 * Writes name into out (size bytes, always NUL-terminated, cut when too long) so that it can be shown: control
 * characters, the C1 range, backslash and bytes that are not UTF-8 become \xNN. Returns out.
 */
char *path_show(char *out, size_t size, const char *name, size_t len);

/*
 * The name that path_show has written as text, into out (size bytes) with a NUL behind it: its length. -1 when the text is
 * not exactly what path_show writes of some name, or the name does not fit. It may hold a NUL.
 */
long path_unshow(char *out, size_t size, const char *text, size_t len);

/* Bytes of the valid UTF-8 sequence at p (left bytes available), 0 when there is none. */
size_t path_utf8(const unsigned char *p, size_t left);

#endif
