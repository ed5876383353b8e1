/*
 * An entry: one object as a manifest records it. This is what all rooms speak of.
 */
#ifndef OBJECT_ENTRY_H
#define OBJECT_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "object/digest.h"
#include "object/version.h"

/*
 * GONE is a tombstone: the object was deleted on purpose, and whoever still has an older version is to delete it too. Its
 * mtime says when, in whole seconds by the clock of the run that found it out.
 */
enum entry_kind { ENTRY_GONE = 0, ENTRY_FILE = 1, ENTRY_LINK = 2, ENTRY_DIR = 3 };

enum entry_flag {
    ENTRY_HIDDEN = 1,  /* excluded by the filters of the last run: kept for its version, not offered */
    ENTRY_DAMAGED = 2, /* content differs though nothing says that it was changed: not a copy */
    /* the scan could not look: kept as last recorded; this member is neither a holder nor lacks it */
    ENTRY_UNKNOWN = 4,
};

#define ENTRY_MODE_MAX 0777u /* the permission bits; set-id and sticky bits are not carried */
#define ENTRY_SIZE_MAX ((uint64_t)INT64_MAX)
#define ENTRY_TARGET_MAX 4095u           /* bytes in a symlink's target; at least 1 */
#define ENTRY_TIME_MAX ((int64_t)1 << 55) /* seconds on either side of 1970 */

/* What ties an entry to a file of this store: private to it, never sent. ino 0: tied to nothing, rehash. */
struct entry_place {
    uint64_t dev, ino;
    struct stamp ctime;
    bool racy; /* mtime or ctime lay within 2 s of the recording: do not trust without rehashing */
    int64_t verified; /* of a file, seconds since 1970: when its content was last read in full, or written, and had its
                         digest; 0: never, or not known */
};

/*
 * Members that hold the object, as the last run that placed it told those that do: sorted by UUID, none twice. What is
 * believed of a member that is away. Empty: nobody has said, as in a group where every member holds all, and after an edit.
 */
struct holders {
    uint32_t n;
    struct uuid who[VERSION_MEMBERS_MAX];
};

struct entry {
    const char *path;  /* relative, NUL-terminated; borrowed from whoever made the entry */
    size_t path_len;   /* bytes, without the NUL */
    enum entry_kind kind;
    unsigned flags;    /* of enum entry_flag */
    uint32_t mode;     /* at most ENTRY_MODE_MAX; always 0777 for a symlink, 0 for a tombstone */
    uint64_t size;     /* bytes of content (of a symlink: of its target); 0 for a directory or tombstone */
    struct stamp mtime; /* zero for a directory */
    struct digest digest; /* of the content (of a symlink: of its target); zero for a directory or tombstone */
    struct uuid origin;   /* the member where it first appeared */
    int64_t first_seen;   /* seconds since 1970: when a scan first recorded it */
    struct entry_place place;
    struct holders holders; /* this and what follows: large, and mostly unused; copy with entry_copy */
    struct version version;
};

/* Copies all but the path's bytes, which stay borrowed, and of holders and version only what is used. */
void entry_copy(struct entry *to, const struct entry *from);

/*
 * Is each field within what its kind allows? All but the path (path_check) and the version (version_valid).
 * ERR_FORMAT when not. A file system may hold what does not pass, such as a file from the year 2^60.
 */
int entry_check(const struct entry *e, struct err *err);

/* Same kind, and same content where the kind has content. */
bool entry_same_content(const struct entry *a, const struct entry *b);
/* Same mode and mtime, as far as the kind has them. */
bool entry_same_meta(const struct entry *a, const struct entry *b);
/* Same version, origin and first_seen. */
bool entry_same_record(const struct entry *a, const struct entry *b);

void holders_copy(struct holders *to, const struct holders *from); /* only what is used */
bool holders_have(const struct holders *h, const struct uuid *who);
/* 0, or -1 when the set is full. */
int holders_add(struct holders *h, const struct uuid *who);
void holders_drop(struct holders *h, const struct uuid *who);
void holders_both(struct holders *h, const struct holders *other); /* leaves those that are in both */
bool holders_valid(const struct holders *h); /* sorted, none twice, none that is none */
bool holders_same(const struct holders *a, const struct holders *b);

const char *entry_kind_name(enum entry_kind kind); /* "file", "symlink", "directory", "deleted"; else "unknown" */

#endif
