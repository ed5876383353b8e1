/*
 * What a directory store keeps for itself: a directory (mode 0700) with the marker,
 * the remembered peers, the manifest, the journal and the trash. Our names in it are
 * never followed when they are symlinks, and refused when they are not what we make.
 */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "object/version.h"
#include "store/store.h"

#define STATE_MANIFEST "manifest"
#define STATE_MANIFEST_NEW "manifest.new"
#define STATE_JOURNAL "journal"

struct state {
    int fd;            /* -1 when the store has no state yet; owned */
    char *shown;       /* where it is, for messages; owned */
    char *inside;      /* a given state directory that lies in the root, relative to it; else NULL; owned */
    uint64_t dev, ino; /* of that directory; 0 when there is none */
};

/*
 * Finds the state of the store whose root is open as root and called root_path. state_dir NULL:
 * .sos-sync in the root; else a directory on the same file system, with a subdirectory named after the
 * root. create makes what is missing; without it s->fd stays -1 when there is no state. 0; ERR_SYS,
 * ERR_USAGE. s is to be closed in any case.
 */
int state_open(struct state *s, int root, const char *root_path, const char *state_dir, bool create,
               struct err *e);
void state_close(struct state *s); /* may be called again */

/* Name of a root's subdirectory in a state directory; owned by the caller. path is absolute and resolved. */
char *state_name(const char *path);

struct marker {
    struct uuid id;
    char *group; /* owned; NULL: there is no marker */
};

int state_read_marker(const struct state *s, struct marker *m, struct err *e); /* 0, also without one */
int state_write_marker(const struct state *s, const struct uuid *id, const char *group, bool sync,
                       struct err *e);

/*
 * When the store last took part in a run that came to its end, seconds since 1970 by that coordinator's clock. 1: *at;
 * 0: it is not known, or what is there cannot be used.
 */
int state_read_last(const struct state *s, int64_t *at);
/* Not synced: after a crash it may not be known. */
int state_write_last(const struct state *s, int64_t at, struct err *e);

/*
 * Who holds the lock, in words for a message ("process 12 on host since ..."), in a file that says no more than that: the
 * lock itself is elsewhere and dies with its process. What such a process left behind is not told (0), where that can be seen.
 */
#define STATE_HOLDER_MAX 512u
void state_hold(const struct state *s);    /* failure does no harm */
void state_let_go(const struct state *s);
bool state_holder(const struct state *s, char text[STATE_HOLDER_MAX]);
/* May this have been written by a process that lives? For one line of such a file, without its newline. */
bool state_parse_holder(const char *text, size_t len, const char *host);

/* The remembered peers, sorted by id; *peer is NULL for none. 0 or an error. */
int state_read_peers(const struct state *s, struct store_peer **peer, size_t *n, struct err *e);
/* Peers that are not in the list stay remembered, unless another now has their address; an unchanged file is left alone. */
int state_remember_peers(const struct state *s, const struct store_peer *peer, size_t n, bool sync,
                         struct err *e);

/*
 * When each of the remembered peers last took part with this store: sets their seen, 0 where it is not known, or what is
 * there cannot be used. And for these peers, if they are remembered: now. Not synced.
 */
void state_read_seen(const struct state *s, struct store_peer *peer, size_t n);
int state_write_seen(const struct state *s, const struct store_peer *met, size_t n, int64_t now, struct err *e);
void state_free_peers(struct store_peer *peer, size_t n);

/*
 * Text forms. What is parsed must be exactly what is written. ERR_FORMAT; ERR_UNSUPPORTED for a later
 * version.
 */
int state_parse_marker(const char *text, size_t len, struct marker *m, struct err *e);
int state_parse_last(const char *text, size_t len, int64_t *at, struct err *e);
int state_parse_peers(const char *text, size_t len, struct store_peer **peer, size_t *n, struct err *e);
/* Sets seen of the peers, sorted by id, that the text names; of none on failure. */
int state_parse_seen(const char *text, size_t len, struct store_peer *peer, size_t n, struct err *e);

/*
 * Opens a plain file of the state for reading. Descriptor, -1 when it is not there, or an error below
 * that.
 */
int state_file(const struct state *s, const char *name, struct err *e);
/* A fresh empty file in the place of whatever was called so. Descriptor (read and write), or an error. */
int state_create(const struct state *s, const char *name, struct err *e);
/* manifest.new, complete in fd, becomes the manifest, and the journal goes. */
int state_adopt_manifest(const struct state *s, int fd, enum store_fsync fsync, struct err *e);
void state_remove(const struct state *s, const char *name); /* if it is there */

#endif
