/*
 * Objects that are known by their id, as a SoS blob-server has them: what stores of such objects share.
 *
 * An id stands for its content, which never changes: an entry has the digest of its id, size and times zero, and mode
 * BLOB_MODE, so that two members that have an id have the same object, without a byte of it having been read.
 */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "object/entry.h"
#include "object/sha1.h"

#define BLOB_MODE 0644u
#define BLOB_ID_MAX 255u /* bytes: a file's name; from 251 on it has no room for the ".json" of metadata */
#define BLOB_SIZE_UNKNOWN UINT64_MAX
#define BLOB_HEAD_MAX (512u * 1024u)

bool blob_is_id(const char *name, size_t len); /* [a-z0-9]+, not too long */

/* Kind, path (borrowed), mode and digest; all else zero. */
struct entry blob_entry(const char *id, size_t len);

/* Is its digest that of its content, not of its id? Then somebody has read it. */
bool blob_is_read(const struct entry *entry);

/* Does a peer ask for something that can be such an object, or the tombstone of one? ERR_FORMAT. */
int blob_check(const struct entry *entry, struct err *e);

/*
 * How an object travels between agents: a head, then its bytes. The head is u32 length of what follows of it, u8 1, u64
 * size of the object or BLOB_SIZE_UNKNOWN, and its headers, "Name: value" and NUL each.
 */
void blob_put_head(struct buf *out, uint64_t size, const char *headers, size_t bytes);

/* Takes in an object as it travels, and sees that it is what its id says. */
struct blob_in {
    struct sha1 *sha1;   /* kept from object to object */
    const char *id;      /* borrowed */
    bool hashed;         /* the id is a SHA-1, */
    bool open;           /* the head has come */
    struct buf head;
    uint64_t size, got;
};

void blob_in_begin(struct blob_in *in, const char *id);
/* Takes *p on to the object's own bytes, of which *n are left. 0, or ERR_FORMAT. */
int blob_in_take(struct blob_in *in, const uint8_t **p, size_t *n, struct err *e);
/* "Name: value" and NUL each, an empty one behind the last. */
const char *blob_in_headers(const struct blob_in *in, size_t *bytes);
int blob_in_end(struct blob_in *in, struct err *e); /* 0; ERR_FORMAT: too short or long; ERR_DAMAGED: not what the id says */
void blob_in_free(struct blob_in *in);

#endif
