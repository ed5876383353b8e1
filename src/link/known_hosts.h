/*
 * known_hosts files: which keys a host is known by. One host is looked up at a
 * time: its lines are gathered from all files first, and the key that the server
 * shows is then judged by them.
 */
#ifndef LINK_KNOWN_HOSTS_H
#define LINK_KNOWN_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum known_hosts_answer {
    KNOWN_HOSTS_UNKNOWN, /* no line speaks of this host */
    KNOWN_HOSTS_FOUND,
    KNOWN_HOSTS_OTHER,   /* the host is known, but only by keys of other types */
    KNOWN_HOSTS_CHANGED, /* known by another key of the same type */
    KNOWN_HOSTS_REVOKED  /* this key is marked @revoked for this host */
};

struct known_hosts_line {
    char *type;       /* "ssh-ed25519", ... */
    struct buf blob;  /* the key as on the wire */
    bool revoked;
    char *file;       /* where it stands */
    size_t line;
};

struct known_hosts {
    char *name;       /* what is looked up: "host" or "[host]:port", in lower case */
    char *bare;       /* "host": a revocation counts whatever the port */
    struct known_hosts_line *line;
    size_t lines;
    char *authority;  /* FILE:LINE of the first @cert-authority line that speaks of the host; NULL: none */
};

/* port 0 or 22: the host alone. host may also be an alias that takes the host's place. */
void known_hosts_init(struct known_hosts *k, const char *host, unsigned port);
void known_hosts_free(struct known_hosts *k);

/*
 * Takes the lines that speak of the host from one file's text. Comments and lines that make no sense are
 * passed over. @cert-authority lines vouch for certificates, not for keys: that there is one is only noted.
 */
void known_hosts_parse(struct known_hosts *k, const char *file, const char *text, size_t len);

/*
 * Reads a file and parses it. A missing one is an empty one; one that is there and cannot be read is an error:
 * it may hold the very line that forbids the key.
 */
int known_hosts_load(struct known_hosts *k, const char *file, struct err *e);

/* Types under which the host is known, each once, in the order of the lines, separated by commas, no NUL. */
void known_hosts_types(const struct known_hosts *k, struct buf *out);

/* The verdict over a key; *why (may be NULL) is the line that decided, or NULL. */
enum known_hosts_answer known_hosts_judge(const struct known_hosts *k, const char *type, const uint8_t *blob,
                                          size_t len, const struct known_hosts_line **why);

/* The line that records a key, with its newline; hashed: the name cannot be read from it. */
int known_hosts_format(const struct known_hosts *k, bool hashed, const char *type, const uint8_t *blob, size_t len,
                       struct buf *out, struct err *e);

/* Appends a line to a file in one write. The file and its directory are made (0600, 0700) where missing. */
int known_hosts_append(const char *file, const struct buf *line, struct err *e);

#endif
