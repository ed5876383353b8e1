/*
 * libsos-sync: open groups, plan them, run them, hear about it.
 *
 * A program loads groups from a sos.conf or names members itself, then calls
 * sos_sync() for one group at a time. Everything that happens is told through
 * callbacks, in the calling thread; strings in them are valid only during the call
 * and are raw bytes (a path may hold anything but NUL). The library prints nothing and
 * never exits. It forks one child for each local member, ignores SIGPIPE, and waits for its children itself.
 */
#ifndef SOS_SYNC_H
#define SOS_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOS_SYNC_VERSION "0.1.0"

/* Exit statuses of the program, results of sos_sync(). */
enum sos_status {
    SOS_OK = 0,       /* the group is in the state that its policy asks for */
    SOS_USAGE = 1,    /* error in usage or configuration; nothing was changed */
    SOS_FAILED = 2,   /* the run failed */
    SOS_PARTIAL = 3,  /* some objects or members could not be handled, all else was done */
    SOS_COPIES = 4,   /* fewer copies than asked for, or more than allowed */
    SOS_LOCKED = 5,   /* another run holds a lock */
    SOS_GUARD = 6     /* a guard stopped the run */
};

/* Where several apply, the first of 1, 6, 5, 2, 3, 4 is the one given. */
enum sos_status sos_status_worse(enum sos_status a, enum sos_status b);

struct sos_error {
    char message[1024]; /* one line: what is wrong, where, and what to do */
};

/* ---- groups ---- */

struct sos_groups;

/* file NULL: /etc/sos.conf, then ~/.sos.conf, entries appended. NULL with error. */
struct sos_groups *sos_groups_load(const char *file, struct sos_error *error);
/* The group "default" of these members, addresses as on the command line. NULL with error. */
struct sos_groups *sos_groups_of(char *const *member, size_t n, struct sos_error *error);
/*
 * Takes up what the policy says of these groups: file, or with NULL /etc/sos.policy and then ~/.sos.policy, as far as
 * they are there. Call it once, right after the groups are made; without it every member holds every object. false
 * with error ("FILE:LINE: ..."); g is then only good for freeing.
 */
bool sos_groups_policy(struct sos_groups *g, const char *file, struct sos_error *error);
void sos_groups_free(struct sos_groups *g);

size_t sos_groups_count(const struct sos_groups *g);
const char *sos_groups_name(const struct sos_groups *g, size_t group);
bool sos_groups_find(const struct sos_groups *g, const char *name, size_t *group);
size_t sos_groups_members(const struct sos_groups *g, size_t group);
const char *sos_groups_member(const struct sos_groups *g, size_t group, size_t member); /* its name */
const char *sos_groups_address(const struct sos_groups *g, size_t group, size_t member); /* as sos.conf has it */

/* At least two members, none twice, none inside another. false with error, whose text does not name the group. */
bool sos_groups_check(const struct sos_groups *g, size_t group, struct sos_error *error);

/* ---- what is told ---- */

/* One change to one member. In a dry run: that would be made. */
struct sos_action {
    const char *group;
    const char *action; /* "mkdir", "copy", "update", "adopt", "conflict", "rmdir", "delete", "prune", "heal": a good copy takes a
                           damaged one's place */
    const char *path;   /* raw bytes, NUL-terminated */
    const char *from;   /* member that gives the content; for "adopt" the member itself; NULL: nobody (only metadata, a directory) */
    const char *to;     /* member that is changed */
    uint64_t bytes;     /* content that it gets */
    const char *reason; /* "new", "changed", "metadata", "conflict", "kind changed", "damaged", "deleted", "blocked", "fewer copies than asked for", ... */
    /* Where a policy has a say: the members that have the object, before and after all that is done to it. Else none. */
    const char *const *before, *const *after;
    size_t befores, afters;
};

struct sos_trouble {
    const char *group;
    const char *member;  /* NULL: the group as a whole */
    const char *path;    /* NULL: the member as a whole */
    const char *message;
    bool error;          /* false: only good to know, the status does not suffer; nor does it by damage that is healed */
};

enum sos_phase { SOS_PHASE_SCAN, SOS_PHASE_COMPARE, SOS_PHASE_TRANSFER, SOS_PHASE_COMMIT };

struct sos_progress {
    const char *group;
    enum sos_phase phase;
    uint64_t objects_done, objects_total; /* total 0: not known (while scanning) */
    uint64_t bytes_done, bytes_total;
};

struct sos_summary {
    const char *group;
    unsigned members, unreachable;
    uint64_t objects;   /* files and symlinks in the group */
    uint64_t copied, updated, adopted, pruned, deleted, conflicts; /* actions done (in a dry run: planned), one for each member changed; directories do not count */
    uint64_t under_replicated;
    uint64_t over_replicated; /* objects with copies that are to go, but stay, since their member takes nothing away or others are away */
    uint64_t damaged;   /* copies whose content differs though nothing says that it was changed, found or known before */
    uint64_t healed;    /* of these: replaced by a good copy, or pruned (in a dry run: that would be) */
    uint64_t failed;    /* actions that failed, and objects that could not be read */
    uint64_t literal_bytes; /* content that was moved between members */
    uint64_t wire_bytes;    /* what went over the links to other machines, both ways; where there are none, over those to the local agents */
    double seconds;
    bool dry_run;
    bool scrub;         /* it only looked for damage */
    enum sos_status status;
};

enum sos_member_state { SOS_MEMBER_OK, SOS_MEMBER_NEW, SOS_MEMBER_IN_USE, SOS_MEMBER_UNREACHABLE };

/*
 * Copies of objects, as recorded. Copies of a member that cannot be reached are taken to be there for as long as the policy
 * says; in a group without one nothing is recorded of them, and they are not.
 */
struct sos_copies {
    uint64_t wanted;    /* that should be there: of the original and its replicas */
    uint64_t there;     /* of these; of a group's, none counts that is on a member which may not have it */
    uint64_t surplus;   /* copies that are there and are not wanted where they are */
    uint64_t blocked_originals; /* originals on members that are blocked for them */
};

/* What a member's store has recorded. */
struct sos_member {
    const char *group, *member;
    enum sos_member_state state; /* NEW: it has not been in a run yet. Up to last_run all is zero unless OK, but for free_bytes, also of NEW */
    uint64_t objects, bytes, free_bytes; /* free_bytes 0: not known */
    uint64_t damaged;   /* objects */
    int64_t verified;   /* the oldest verification of any content, seconds since 1970; 0: never, or no objects */
    int64_t last_run;   /* seconds since 1970; 0: not known */
    struct sos_copies copies; /* on this member: wanted there, and so on */
};

/* The same of a group. */
struct sos_standing {
    const char *group;
    unsigned members, unreachable; /* unreachable: also those that are in use or were refused */
    uint64_t objects, bytes; /* of all members, each once */
    struct sos_copies copies;
    uint64_t under_replicated; /* objects with fewer good copies than asked for */
    uint64_t over_replicated;  /* objects with surplus copies */
    uint64_t damaged;   /* copies */
    int64_t verified;   /* as in struct sos_member: the oldest of those that can be reached */
    int64_t last_run;   /* the latest */
};

/* Why an object is where it is, and where it should be. Strings are valid only during the call. */
struct sos_explained_member {
    const char *name;
    bool has, should; /* hold it */
    bool outdated;    /* it has it, but not in the latest version */
    bool damaged;     /* it has only a damaged copy, which does not count, or a directory in its place */
    const char *why;
};

struct sos_explanation {
    const char *group, *path;
    const char *missing;   /* why there is nothing to explain, in words: then the rest is zero; NULL: there is */
    bool allowed;
    bool all;              /* replicas: every member that is not blocked */
    unsigned replicas;     /* as the policy says; wanted beside the original */
    const char *const *preferred, *const *blocked; /* members: in the order listed, without those blocked; in the group's order */
    size_t preferreds, blockeds;
    const char *source[4]; /* what set replication, replicas, preferred, blocked: "FILE:LINE, in the section of line N"; NULL: nothing, it is the default */
    unsigned copies, wanted; /* good ones that are there, and that should be, the original among them */
    const struct sos_explained_member *member; /* in the group's order */
    size_t members;
};

struct sos_callbacks {
    void *ctx; /* any function may be NULL */
    void (*action)(void *ctx, const struct sos_action *a);   /* in plan order; in a run, after it is done and durable */
    void (*trouble)(void *ctx, const struct sos_trouble *t);
    void (*progress)(void *ctx, const struct sos_progress *p); /* at most ten times a second */
    void (*summary)(void *ctx, const struct sos_summary *s);   /* the last call for a group */
    bool (*interrupted)(void *ctx); /* asked often; true: end in order, as soon as possible */
    void (*member)(void *ctx, const struct sos_member *m);   /* of sos_status_of: in the group's order */
    void (*standing)(void *ctx, const struct sos_standing *s); /* of sos_status_of: the last call for a group */
    void (*explain)(void *ctx, const struct sos_explanation *x); /* of options.explain: once, if the comparison succeeds */
};

/* ---- a run ---- */

enum sos_fsync { SOS_FSYNC_BATCH, SOS_FSYNC_ALWAYS, SOS_FSYNC_NONE };

/* Of content on its way between members. Automatic: where the link is slower than the compressor. */
enum sos_compress { SOS_COMPRESS_AUTO, SOS_COMPRESS_ALWAYS, SOS_COMPRESS_NEVER };

struct sos_filter_rule {
    bool include;
    const char *pattern; /* rsync's meaning: see FILTER RULES in sos-sync(1) */
};

struct sos_options {
    bool dry_run;
    bool checksum;           /* rehash everything */
    bool through;            /* content goes through the coordinator even between local members, as between remote ones */
    bool prune_stat;         /* before a copy is pruned the others' are looked at, not read again */
    bool no_sandbox;         /* agents do not lock themselves in: for systems where they could not work then */
    enum sos_fsync fsync;
    enum sos_compress compress;
    long wait;               /* seconds to wait for a store that another run holds; 0: not at all; -1: as long as it takes */
    unsigned timeout;        /* seconds of silence after which a member is given up; 0: never */
    unsigned threads;        /* for each agent's hashing; 0: as many as there are cores */
    const char *state_dir;   /* NULL: .sos-sync/ in each store */
    bool no_cache;           /* keep no copies of remote members' manifests, and use none */
    const char *cache_dir;   /* where they are kept; NULL: $XDG_CACHE_HOME/sos-sync, else ~/.cache/sos-sync */
    const struct sos_filter_rule *filter;
    size_t filters;
    const char *rsh;            /* a command that takes the place of the library's own SSH, such as "ssh -4"; NULL: none */
    const char *remote_command; /* what is run at the far end; NULL: sos-sync */
    bool accept_new;            /* a host that is not known yet is believed, and remembered */
    const char *ssh_config;     /* in place of ~/.ssh/config and /etc/ssh/ssh_config; NULL: these */
    const char *known_hosts;    /* in place of the configured files of known hosts; NULL: these */
    const char *const *identity; /* files of private keys, in place of the configured ones */
    size_t identities;
    unsigned scrub_part, scrub_parts; /* scrub: content of the part-th (from 1) of so many parts is read again, damage is
                                   healed, and nothing else is done; parts 0: no scrub */
    uint64_t scrub_rate;        /* bytes per second that a scrub reads in each store; 0: no limit */
    bool no_heal;               /* of a scrub: damage is told, and recorded, but left */
    uint64_t bwlimit;           /* bytes per second over all links to other machines together; 0: no limit */
    bool max_delete_given;      /* the next two count, and not what the policy says */
    bool max_delete_percent;    /* per cent of a member's objects; 100: whatever is gone is meant, also a store that is empty now */
    uint64_t max_delete;        /* objects whose content may be deleted from a member */
    const char *const *remove;  /* objects that are to be deleted from all members; nothing else is done then */
    size_t removes;
    bool recursive;             /* of these, directories go with all that is in them */
    const char *explain;        /* an object that is to be explained: as a dry run, nothing is done and no action is told; NULL: none */
    const char *const *adopt; /* names of members whose store is accepted though another was expected there */
    size_t adopts;
};

void sos_options_init(struct sos_options *o); /* the defaults: all zero but timeout 300 */

/* ---- the trash ---- */

struct sos_trash_item {
    const char *group, *member;
    const char *id;     /* 12 hexadecimal digits, the same each time */
    int64_t when;       /* it was put there: seconds since 1970 */
    uint64_t bytes;
    const char *reason; /* "overwritten", "conflict", "damaged", "kind changed", "deleted", "pruned", "left over", "restored over" */
    const char *run;    /* by which run: the name of its directory in the member's trash */
    const char *by;     /* who drove that run; "" when it is not known */
    const char *path;   /* of the object: raw bytes */
};

/* Told with callbacks->ctx. */
typedef void sos_trash_told(void *ctx, const struct sos_trash_item *item);

/* What lies in the trash of the members, one after the other, the oldest runs of each first. No summary is told. */
enum sos_status sos_trash_list(const struct sos_groups *g, size_t group, const struct sos_options *options,
                               const struct sos_callbacks *callbacks, sos_trash_told *item);

/*
 * Puts back what each of n strings names: an item's id, or an object's path, of which the newest item of all members is
 * taken. It goes to the member that has it, as a local edit. found[i] is set where something of that name is there; those that are
 * set already are passed over. item (may be NULL) is told of each that is back.
 */
enum sos_status sos_trash_restore(const struct sos_groups *g, size_t group, const struct sos_options *options,
                                  const struct sos_callbacks *callbacks, const char *const *what, size_t n,
                                  bool *found, sos_trash_told *item);

/* Removes for good what has been there for so many seconds, 0: all. removed (may be NULL) is told of each member. */
enum sos_status sos_trash_empty(const struct sos_groups *g, size_t group, const struct sos_options *options,
                                const struct sos_callbacks *callbacks, uint64_t older_than,
                                void (*removed)(void *ctx, const char *group, const char *member, uint64_t items,
                                                uint64_t bytes));

/* Brings one group into step. Everything is told through the callbacks; the status is also in the summary. */
enum sos_status sos_sync(const struct sos_groups *g, size_t group, const struct sos_options *options,
                         const struct sos_callbacks *callbacks);

/*
 * Asks the members what they have recorded, and compares it with what the policy asks for; scans nothing, writes nothing.
 * SOS_PARTIAL: one cannot be reached or has damaged objects; SOS_LOCKED: one is in use; SOS_COPIES: objects are under- or
 * over-replicated.
 */
enum sos_status sos_status_of(const struct sos_groups *g, size_t group, const struct sos_options *options,
                              const struct sos_callbacks *callbacks);

#endif
