/*
 * The policy file: which members hold which objects, and the settings of a group. See sos.policy(5).
 *
 * A struct policy is what the files say, in order. It is bound to one group, which gives the group's settings
 * and answers for each object what is asked for. Nothing here does I/O but policy_load*.
 */
#ifndef GROUP_POLICY_H
#define GROUP_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "group/group.h"

#define POLICY_SYSTEM "/etc/sos.policy"
#define POLICY_COPIES_MAX GROUP_MEMBERS_MAX
#define POLICY_ALL UINT32_MAX     /* replicas: every member that is not blocked */

/* Where something was written. file is the policy's; NULL, line 0: nowhere, it is the default. */
struct policy_source {
    const char *file;
    unsigned line; /* from 1 */
};

/* ---- the files ---- */

struct policy;

struct policy *policy_new(void); /* empty: every object on every member */
void policy_free(struct policy *p);

/*
 * Appends what one file's text says (len bytes, need not end in a newline); file is for messages. ERR_CONF
 * "FILE:LINE: what is wrong and what is allowed"; p may then hold a part and is only good for freeing.
 */
int policy_parse(struct policy *p, const char *file, const char *text, size_t len, struct err *e);

/* Reads and parses one file; that it is missing is an error. ERR_CONF. */
int policy_load(struct policy *p, const char *file, struct err *e);

/* /etc/sos.policy, then ~/.sos.policy; either may be missing. ERR_CONF. */
int policy_load_default(struct policy *p, struct err *e);

/*
 * What the groups are known from. POLICY_CONF: a sos.conf, so whatever it does not have is unknown.
 * POLICY_ARGS: the command line, of which the usual files know nothing: what they say of other groups, nodes
 * and members is skipped. POLICY_ARGS_FILE: the command line, with a policy named beside it: other groups and
 * nodes are skipped, but in [default] and [group default] every member must be one of those given.
 */
enum policy_from { POLICY_CONF, POLICY_ARGS, POLICY_ARGS_FILE };

/*
 * Holds the policy against all groups: every group, node and member that it names must be there. Gives
 * members the name and the store of their [node] section. Call it once, before group_check and policy_bind.
 * ERR_CONF with file and line. Adds remarks.
 */
int policy_apply(struct policy *p, struct groups *g, enum policy_from from, struct err *e);

/* What is no error but hardly meant, "FILE:LINE: text"; NULL behind the last. */
const char *policy_remark(const struct policy *p, size_t i);

/* ---- one group ---- */

enum policy_conflict { POLICY_NEWEST, POLICY_KEEP_BOTH, POLICY_MEMBER };

enum policy_setting {
    POLICY_SET_CONFLICT, POLICY_SET_DELETIONS, POLICY_SET_TOMBSTONES, POLICY_SET_TRASH, POLICY_SET_HASH,
    POLICY_SET_MAX_DELETE, POLICY_SET_DOWN_AFTER, POLICY_SET_MOUNTS, POLICY_SETTINGS
};

struct policy_settings {
    enum policy_conflict conflict;
    unsigned winner;             /* POLICY_MEMBER: the member whose version wins */
    bool propagate;              /* deletions: a missing object is a deletion, not a lost replica */
    uint64_t tombstones;         /* seconds that a deletion is remembered */
    uint64_t trash;              /* seconds that what was removed is kept; 0: not at all */
    bool sha256;                 /* hash: contents by SHA-256, not by XXH3 */
    uint64_t max_delete;         /* objects of a member, or per cent of them, that a run may take away */
    bool max_delete_percent;
    uint64_t down_after;         /* seconds after which the copies of an absent member no longer count */
    bool cross_mounts;           /* a scan goes on below mount points */
    const char *const *exclude;  /* rules for filter_add(f, false, ...), behind those of the command line */
    size_t excludes;
    struct policy_source source[POLICY_SETTINGS];
};

void policy_settings_init(struct policy_settings *s); /* what holds where no policy says otherwise */

struct policy_member {
    const char *name;
    uint64_t capacity;           /* bytes that its objects may take; 0: no limit but the disk's */
};

enum policy_key { POLICY_REPLICATION, POLICY_REPLICAS, POLICY_PREFERRED, POLICY_BLOCKED, POLICY_KEYS };

/* What is asked for one object. Members are numbered as in the group; bit i of a mask is member i. */
struct policy_object {
    bool allowed;                /* replication */
    bool copies;                 /* the number was written as copies: N */
    uint32_t number;             /* of replicas, never of copies, also where it is not allowed; or POLICY_ALL */
    uint32_t replicas;           /* wanted beside the original: 0 where not allowed, else number */
    uint64_t blocked;
    uint64_t preferred_mask;     /* without those that are blocked */
    unsigned preferred_count;
    uint8_t preferred[GROUP_MEMBERS_MAX]; /* in the order listed; without those that are blocked */
    struct policy_source source[POLICY_KEYS];  /* the line of the key */
    struct policy_source section[POLICY_KEYS]; /* the line of its section */
};

struct group_policy;

/* g must be a group that policy_apply saw and let pass; g and p must outlive what is returned. */
struct group_policy *policy_bind(const struct policy *p, const struct group *g);
void group_policy_free(struct group_policy *gp);

const struct policy_settings *group_policy_settings(const struct group_policy *gp);
const struct policy_member *group_policy_member(const struct group_policy *gp, unsigned member);
/* Is nothing asked of any object? Then every member holds all. */
bool group_policy_plain(const struct group_policy *gp);

/*
 * What is asked for this object, a file or a symlink. first_seen in seconds since 1970: when a scan first
 * recorded it. Equal answers are equal pointers, valid as long as gp. Costs a table look-up for each byte of
 * the path, less when paths come in order; not for two threads at once.
 */
const struct policy_object *policy_of(struct group_policy *gp, const char *path, size_t len, int64_t first_seen);

/* What the sections without a pattern say, for an object that appears now: what `policy get` shows. */
const struct policy_object *policy_of_group(struct group_policy *gp, int64_t now);

#endif
