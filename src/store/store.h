/*
 * A store as its agent sees it: one table of functions, so that a directory, a
 * blob-server and a directory of blobs look alike. Calls come from one thread, in this order:
 * inspect, maybe look, scan, then any of have/read/apply/put/flush, then commit; close at any time.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "object/entry.h"
#include "object/filter.h"
#include "object/manifest.h"

enum store_cap {
    STORE_CAN_ADOPT = 1,  /* content under another name can be taken over */
    STORE_CAN_LEND = 2,   /* has a root descriptor that others on this machine may read from */
    STORE_KEEPS_META = 4, /* keeps mode and mtime */
    STORE_BY_ID = 8,      /* its objects are known by their ids alone: see store/blob.h. Members of a group agree in it */
    STORE_KEEPS_ALL = 16, /* when last asked to, it refused to take anything away: one removal in a run shows whether it still does */
    STORE_UNTRIED = 32,   /* it has not been asked to, yet */
};

enum store_fsync { STORE_FSYNC_BATCH, STORE_FSYNC_ALWAYS, STORE_FSYNC_NONE };

/* What the store tells while it works. All functions but damage must be set. */
struct store_watch {
    void *ctx;
    /* Called at least once a second of work, with totals since the start of the call. <0 stops the work (its code is passed on). */
    int (*progress)(void *ctx, uint64_t objects, uint64_t bytes);
    /* An object that could not be handled (error set), or that a person should know of (not). path NULL: the store as a whole. */
    void (*problem)(void *ctx, bool error, const char *path, const char *message);
    /* The outcome of an operation, in the order in which they were given, after it is durable. code 0: done; else ERR_*. */
    void (*done)(void *ctx, uint64_t seq, int code, const char *message);
    /* An object whose content is damaged. Whether that is an error depends on who can heal it. NULL: it is told as a problem, and an error. */
    void (*damage)(void *ctx, const char *path, const char *message);
};

/* What it says of an operation that it must refuse; a dry run's report says the same. */
#define STORE_SAYS_READ_ONLY "this agent serves for reading only (--read-only)"
#define STORE_SAYS_NO_REMOVE "this agent takes nothing away (--no-delete)"
#define STORE_SAYS_NO_EMPTY "this agent takes nothing out of the trash for good (--no-delete, --read-only)"
#define STORE_SAYS_NO_DELETE "this agent takes nothing away (--no-delete), and what is there is of another kind"

/* What the group's settings ask of a scan, and of what follows it. Times are seconds. */
struct store_rules {
    int64_t now;            /* since 1970, by the coordinator's clock: what expires is judged by it, the same on every member */
    bool propagate;         /* an object that is missing was deleted: it leaves a tombstone. Else it is a lost replica */
    bool emptied;           /* that a store which held something is empty now is meant: else ERR_GUARD */
    bool cross;             /* mount points are entered, and are part of the store */
    bool adopted;           /* another store was expected here, or one with something in it: what it lacks is lost, not deleted */
    int64_t tombstones;     /* how long they last; a store that was away for longer leaves none */
    int64_t trash;          /* how long the trash keeps what it gets; 0: what is replaced or removed goes at once */
    unsigned part, parts;   /* scrub: content of the part-th (from 1) of so many parts is read again; parts 0: no scrub */
    uint64_t rate;          /* bytes per second that may be read to look at content again; 0: no limit */
};

struct store_options {
    const char *root;       /* as the user wrote it */
    const char *state_dir;  /* NULL: .sos-sync/ in the root; else a directory on the same file system, the store gets a subdirectory there */
    bool dry_run;           /* write nothing, anywhere in the store or its state */
    bool checksum;          /* rehash everything */
    bool recall;            /* read_file will be asked for what is new here: what the scan reads of it may be kept in memory */
    enum digest_algo hash;  /* that contents are to have: what is recorded with another is read again, which is no change */
    bool hash_recorded;     /* rather the one of the recorded manifest, if there is one */
    bool read_only;         /* objects stay as they are: ERR_DENIED; only records of them are made */
    bool no_delete;         /* an object is replaced only by one of its own kind: else ERR_DENIED */
    int scratch;            /* an empty unnamed file for the manifest of a dry run or an early look, taken over; 0: made in $TMPDIR */
    enum store_fsync fsync;
    unsigned threads;       /* for hashing; 0: as many as there are cores */
    const struct filter *filter; /* borrowed; NULL: none */
    const char *group;      /* of a blob-server: its state is one of this group; NULL: of none */
    const char *by;         /* who drives the run, for people to read; NULL: not known */
    struct store_rules rules; /* of the scan */
    struct store_watch watch;
};

/* Another member that this store has met. */
struct store_peer {
    struct uuid id;
    char *address;
    int64_t seen;           /* seconds since 1970, by the coordinator's clock: when it last took part with this one; 0: not known */
};

struct store_info {
    bool exists;            /* the root is there */
    bool parent_exists;     /* at least its parent is */
    bool marked;            /* has been a member before: id and group are from its marker */
    struct uuid id;         /* fresh and random when not marked */
    char *group;            /* NULL when not marked */
    struct store_peer *peer; /* members it remembers */
    size_t peers;
    unsigned caps;          /* of enum store_cap */
    uint64_t free_bytes;    /* room on its file system; 0 when unknown */
};

struct store_scan {
    struct manifest_totals totals;
    uint64_t hashed;        /* files whose content was read */
    uint64_t hashed_bytes;
    uint64_t special;       /* sockets, fifos, devices: skipped */
    uint64_t problems;      /* objects that could not be looked at */
    uint64_t partials;      /* objects of which an earlier run left a part */
    uint64_t floor;         /* of the manifest's head: a new change made in this store's name must count above it */
    uint64_t before;        /* objects that the manifest recorded before this scan held */
    int64_t verified;       /* the oldest verification of any object's content, seconds since 1970; 0: never, or no objects */
    uint64_t damaged;       /* objects whose content is damaged */
    bool changed;           /* the manifest differs from the recorded one */
};

/* What a store has recorded, without a scan. */
struct store_status {
    bool recorded;          /* there is a manifest; else the rest is zero */
    struct manifest_totals totals;
    uint64_t damaged;       /* as in struct store_scan */
    int64_t verified;
    int64_t last_run;       /* seconds since 1970: of the last commit; 0: not known */
};

enum store_how {
    STORE_RECORD,  /* only version, origin and first_seen are new */
    STORE_META,    /* mode and mtime too; content is there already */
    STORE_CONTENT, /* all of it: put a file or symlink, make a directory */
    STORE_REMOVE,  /* entry is a tombstone: what the scan saw here goes to the trash. A directory goes when the paths have
                      left it, if it is empty then; that it is not is told as a problem */
    STORE_PRUNE,   /* what the scan saw here, which has the entry's content or is damaged, goes to the trash, and is no longer
                      recorded: others hold it, and nobody deleted it. A directory, where others have an object now, goes
                      when the paths have left it */
};

enum store_from {
    STORE_FROM_NOWHERE, /* RECORD, META, directories */
    STORE_FROM_ROOT,    /* from_root is another store's root: read the same path there */
    STORE_FROM_SELF,    /* adopt: the content is here under another name */
    STORE_FROM_STREAM,  /* put_data will bring it (target: of a symlink, in target) */
};

/* Why what an operation replaces or removes goes to the trash. */
enum store_why {
    STORE_WHY_OVERWRITTEN, /* a later version takes its place */
    STORE_WHY_CONFLICT,    /* a concurrent version won */
    STORE_WHY_DAMAGED,     /* its content was damaged */
    STORE_WHY_KIND,        /* something of another kind takes its place */
    STORE_WHY_DELETED,
    STORE_WHY_PRUNED,      /* there are enough other copies */
    STORE_WHYS
};
const char *store_why_text(enum store_why why); /* "overwritten", "conflict", "damaged", "kind changed", "deleted", "pruned" */

struct store_op {
    uint64_t seq;               /* rises by one with each operation */
    enum store_how how;
    enum store_from from;
    enum store_why why;
    const char *from_path;      /* NUL-terminated: with STORE_FROM_ROOT, read this path there, with STORE_FROM_SELF here;
                                   NULL: the entry's own */
    int from_root;              /* borrowed descriptor, for STORE_FROM_ROOT; with STORE_FROM_SELF where to turn to when the
                                   content is not there after all; else -1 */
    const char *target;         /* of a symlink that comes by stream, NUL-terminated; else NULL */
    const struct entry *entry;  /* the wanted state, with its version; place is ignored. Paths ascend within a phase */
};

/* Is content held? */
enum store_have {
    STORE_HAVE_NOT,
    STORE_HAVE,      /* by an object of the scan's manifest */
    STORE_HAVE_PART, /* by none, but an earlier run left a part of it */
};

/* What content turned out to be that was asked about: somebody relies on it, or it did not have its digest when it was given. */
enum store_check {
    STORE_CHECK_GOOD,    /* it has its digest: what was given was changed on its way */
    STORE_CHECK_DAMAGED, /* it has not, though nothing says that it was changed: now recorded as damaged, and not offered any more */
    STORE_CHECK_CHANGED, /* it was changed or removed, or cannot be read: for the next scan */
};

#define STORE_BLOB_END 2

#define STORE_RESUME_MIN ((uint64_t)4 << 20) /* bytes: of an object from here on, what came by stream is kept when the rest does not come */

struct store;

/* What lies in the trash. Strings are NUL-terminated and valid during the call. */
struct store_trash {
    uint64_t id;        /* the same each time; below 1 << 48 */
    int64_t when;       /* it was put there: seconds since 1970, by the clock of the machine that drove the run */
    uint64_t size;      /* bytes of content; of a symlink's target */
    const char *reason; /* why: short and printable */
    const char *run;    /* by which run: the name of its directory in the trash */
    const char *by;     /* who drove that, printable; "" when it is not known */
    const char *path;   /* of the object */
};

struct store_blob; /* an object that is being read: of a store by id */
struct pollfd;

struct store_ops {
    const char *kind; /* "directory", "blob-server" */

    /* Looks, changes nothing. Takes the lock (shared for a dry run) when the root exists: ERR_LOCKED. info is freed with store_info_free. */
    int (*inspect)(struct store *s, struct store_info *info, struct err *e);

    /*
     * Begins on what a scan as id will need, while it is not yet known whether there will be one: changes nothing, and tells
     * nothing but progress (<0 ends it). What it found, and what there is to tell of it, is the scan's; failures are met
     * there again. Takes as long as a scan. May be NULL.
     */
    void (*look)(struct store *s, const struct uuid *id);

    /*
     * Builds the manifest. Creates root and marker (id, group) when they are missing, unless dry_run; a marker of another
     * group is changed to this one. A changed manifest is
     * saved before this returns, so that no version is ever offered that the store could forget.
     */
    int (*scan)(struct store *s, const struct uuid *id, const char *group, struct store_scan *out, struct err *e);

    /* Instead of a scan, once: what is recorded, which is the manifest from then on. Reads only. */
    int (*status)(struct store *s, struct store_status *out, struct err *e);

    /* The scan's manifest, after commit the one that is recorded, for any number of readers: a descriptor that stays the store's. */
    int (*manifest)(struct store *s);
    /* From scan to commit: the manifest that was recorded before the scan; -1 when there was none, or it still holds. May be NULL. */
    int (*manifest_before)(struct store *s);

    /* A descriptor of the root for others to read from (the caller closes it; it does not carry the lock), or -1. */
    int (*lend)(struct store *s, struct err *e);

    /* have[i] = enum store_have of the content with digest d[i] */
    int (*have)(struct store *s, const struct digest *d, size_t n, uint8_t *have, struct err *e);

    /* Source side, for streams. Opens a file of the manifest (ERR_CHANGED when it is not what want says) / reads a symlink into a NUL-terminated buffer. */
    int (*read_open)(struct store *s, const struct entry *want, struct err *e); /* descriptor, the caller closes */
    /* All of a file's want->size bytes at once, verified by its digest (ERR_DAMAGED when nothing says that it was changed). buf has room for one more. */
    int (*read_file)(struct store *s, const struct entry *want, void *buf, struct err *e);
    int (*read_link)(struct store *s, const struct entry *want, char *target, size_t size, struct err *e);

    /*
     * Stores by id, in place of these three: an object as it travels (store/blob.h). Several may be open at once, and are
     * fetched meanwhile. blob_read appends to out, about most bytes at a time: 1, 0 when nothing has come yet, STORE_BLOB_END
     * when all has and is what its id says; ERR_PROTO where the store itself is gone, else the object's own trouble.
     */
    int (*blob_open)(struct store *s, const struct entry *want, struct store_blob **b, struct err *e);
    int (*blob_read)(struct store *s, struct store_blob *b, struct buf *out, size_t most, struct err *e);
    void (*blob_close)(struct store *s, struct store_blob *b);
    /* As poll(2), and sees to the store's own connections meanwhile. NULL: it has none. */
    int (*poll)(struct store *s, struct pollfd *p, unsigned n, int timeout);

    /*
     * Is there a copy of want's content, a file's or symlink's, that one may rely on? read: a file is read again, as a whole; its
     * damage is recorded with the next commit. Else it is as the manifest has it by its size, times and inode (and read
     * where these could deceive). What the manifest has as hidden, not known or damaged is not good. What this run has
     * put counts: the manifest is brought up to date for it. Not in a dry run.
     */
    int (*check)(struct store *s, const struct entry *want, bool read, enum store_check *found, struct err *e);

    /*
     * Target side. An operation that fails for its object alone is reported through watch.done and gives 0 here; only what
     * ends the store's part in the run is returned. Nothing that the scan did not see is ever overwritten.
     */
    int (*apply)(struct store *s, const struct store_op *op, struct err *e); /* all but files that come by stream */
    int (*put_begin)(struct store *s, const struct store_op *op, struct err *e); /* a file by stream */
    /*
     * What is there already of want's content, to read from: 1, and the caller closes *fd; 0: nothing; or an error.
     * partial: the first *size bytes, maybe all, unverified, which an earlier run left (only objects from STORE_RESUME_MIN on).
     * basis: the file that the scan saw at want's path, of *size bytes, another content than want's.
     */
    int (*partial)(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e);
    int (*basis)(struct store *s, const struct entry *want, int *fd, uint64_t *size, struct err *e);
    /*
     * Between put_begin and the first put_data: the first n bytes are those of the partial, at most as many as partial said.
     * They are read again; what follows comes by put_data. That they are not there is a failure of this object alone.
     */
    int (*put_keep)(struct store *s, uint64_t n, struct err *e);
    int (*put_data)(struct store *s, const void *p, size_t n, struct err *e);
    int (*put_end)(struct store *s, const char *failed, struct err *e); /* failed: why the content did not come, or NULL */
    int (*flush)(struct store *s, struct err *e); /* every operation given so far is durable and reported */

    /*
     * What the store holds now, with versions, becomes its recorded manifest, which check and apply go by from then on. peers, who
     * take part in this run, are remembered as seen now (rules.now), whatever their seen says.
     */
    int (*commit)(struct store *s, const struct store_peer *peer, size_t peers, struct err *e);

    /*
     * The trash, at any time after inspect; each may be NULL: there is none. tell is called for each item, the runs in the
     * order of their age; <0 ends the list and is passed on.
     */
    int (*trash_list)(struct store *s, int (*tell)(void *ctx, const struct store_trash *item), void *ctx, struct err *e);
    /* Back to where it was, as a local edit; what stands there goes to the trash. now: by the coordinator's clock. */
    int (*trash_restore)(struct store *s, const char *run, uint64_t id, int64_t now, struct err *e);
    /* Removes for good what has been there for that many seconds; 0: all. *items and *bytes: so much has gone, also on failure. */
    int (*trash_empty)(struct store *s, int64_t now, int64_t older, uint64_t *items, uint64_t *bytes, struct err *e);

    void (*close)(struct store *s); /* gives up what is unfinished, without loss; frees s */
};

struct store {
    const struct store_ops *ops;
};

/* A blob-server. root is its URL, without a '/' at the end; state_dir the directory in which its own goes, or NULL for none. */
struct store *store_http_new(const struct store_options *options);

/*
 * A directory of blobs as a blob-server keeps them: flat, with sidecars of metadata. Its state goes beside it, into
 * ROOT.sos-sync, since a server lists whatever is inside.
 */
struct store *store_flat_new(const struct store_options *options);
char *store_flat_state(const char *root, const char *state_dir); /* where its state is; the caller frees */

/* A directory. Nothing is touched until inspect. options are copied, its strings and filter borrowed for the store's life. */
struct store *store_dir_new(const struct store_options *options);

void store_info_free(struct store_info *info);

#endif
