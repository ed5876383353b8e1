/*
 * Groups and their members, as sos.conf or the command line names them.
 */
#ifndef GROUP_GROUP_H
#define GROUP_GROUP_H

#include <stddef.h>

#include "base/err.h"
#include "group/address.h"

#define GROUP_MEMBERS_MAX 64
#define GROUPS_MAX 8192        /* keeps finding a group by name cheap, whatever the file holds */
#define GROUP_DEFAULT "default" /* the group of a plain list, and of members on the command line */

struct member {
    char *name;            /* its key in sos.conf, or the address as written; unique after group_check */
    struct address address; /* where it is reached */
    char *alias;           /* another name that a policy gives it; NULL: none */
    char *listed;          /* its address as written, where a policy has it reached by another; NULL: as address */
    char *file;            /* where it was defined: file name, NULL for the command line */
    unsigned line;         /* and line, from 1; 0 for the command line */
};

struct group {
    char *name;
    struct member *member; /* in file order */
    size_t members;
};

struct groups {
    struct group *group;   /* in file order; none is empty */
    size_t n;
};

void groups_free(struct groups *g);

/* The group of this name, or NULL. */
struct group *groups_find(const struct groups *g, const char *name);

/*
 * Appends one member; the group is made when it is new. name NULL: the address as written. file NULL and
 * line 0 for the command line. ERR_CONF when the name is taken or a limit is reached; address is then still
 * the caller's. On success its contents are g's and *address is empty. Two members without a name may have
 * one address: group_check refuses that.
 */
int groups_add(struct groups *g, const char *group, const char *name, struct address *address,
               const char *file, unsigned line, struct err *e);

/*
 * What a run asks of a group before it touches anything: at least two members, no member twice (also
 * through a symlink, "..", a bind mount or a trailing slash, as far as local paths exist), none inside
 * another, none "/". Members on other hosts are compared by scheme, host, port and path alone. ERR_CONF
 * naming both with file and line.
 */
int group_check(const struct group *g, struct err *e);

/*
 * The member that text names: by name, by address as written, or by a host that only it has. ERR_CONF, also where
 * text may be several.
 */
int group_member_find(const struct group *g, const char *text, unsigned *member, struct err *e);

/* How many members text may mean; one of them into *member. */
unsigned group_member_count(const struct group *g, const char *text, unsigned *member);

/* The group "default" of members given on the command line. ERR_CONF names the argument. */
int groups_from_args(struct groups *g, char *const *arg, size_t n, struct err *e);

#endif
