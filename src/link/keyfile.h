/* What a key file says of itself without being opened: kind, lock, and the public half where it stands in the clear. */
#ifndef LINK_KEYFILE_H
#define LINK_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct keyfile {
    bool secret;    /* holds a private key */
    bool encrypted; /* needs a passphrase */
    char type[64];  /* "ssh-ed25519", ...; "" where it cannot be told */
    struct buf blob; /* the public key as on the wire; empty where it cannot be told */
};

/* Of an OpenSSH or PEM private key, or a public key's line. 0, or -1 when it is none of these. */
int keyfile_parse(struct keyfile *k, const char *text, size_t len);
void keyfile_free(struct keyfile *k);

/* The type that a public key on the wire begins with, into out (size bytes); false when there is none. */
bool keyfile_blob_type(const void *blob, size_t len, char *out, size_t size);

#endif
