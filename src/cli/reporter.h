/*
 * What a run tells, put into words: one table of functions, so that a command need
 * not know whether people or programs read it.
 */
#ifndef CLI_REPORTER_H
#define CLI_REPORTER_H

#include "cli/options.h"
#include "cli/output.h"
#include "object/entry.h"
#include "sos-sync.h"

struct reporter;

/* The policy at one level of its file, as it is or has become. */
struct reporter_policy {
    const char *group, *object; /* NULL: all */
    const char *section;        /* its line in the file */
    bool allowed, all;          /* all: no number, every member that is not blocked */
    uint32_t replicas;          /* beside the original */
    const char *const *preferred, *const *blocked;
    size_t npreferred, nblocked;
    const char *written[2];     /* both lists, as they stand in a file */
    const char *source[4];      /* FILE:LINE of replication, replicas, preferred, blocked; NULL: the default */
    const char *changed;        /* the file that was changed; NULL: none */
    const char *const *remark;  /* what is worth saying about the change */
    size_t remarks;
};

struct reporter_ops {
    /* A group is about to be run. */
    void (*begin)(struct reporter *r, const char *group, const char *const *member, size_t members);
    void (*action)(struct reporter *r, const struct sos_action *a);
    void (*trouble)(struct reporter *r, const struct sos_trouble *t); /* group NULL: of no group */
    void (*summary)(struct reporter *r, const struct sos_summary *s);
    void (*object)(struct reporter *r, const struct entry *e);        /* one object of a manifest */
    void (*policy)(struct reporter *r, const struct reporter_policy *p);
    void (*trash)(struct reporter *r, const struct sos_trash_item *item); /* what lies there */
    void (*restored)(struct reporter *r, const struct sos_trash_item *item);
    void (*emptied)(struct reporter *r, const char *group, const char *member, uint64_t items, uint64_t bytes);
    void (*explain)(struct reporter *r, const struct sos_explanation *x);
    void (*member)(struct reporter *r, const struct sos_member *m);   /* what one of a group's stores has recorded */
    void (*standing)(struct reporter *r, const struct sos_standing *s); /* and all of them together */
};

#define REPORTER_ECHOES 8u

/* A message that a member repeats for one object after the other. */
struct reporter_echo {
    char *member, *message; /* owned */
    uint64_t n;
};

struct reporter {
    const struct reporter_ops *ops;
    struct output *out;              /* borrowed, as are options */
    const struct options *options;
    bool color;                      /* on standard output */
    bool by_id;                      /* objects of a manifest are known by their ids: nothing else is told of those that were not read */
    uint64_t actions;                /* told since begin */
    uint64_t rmdirs;                 /* of these */
    size_t width;                    /* columns of the longest member name, within reason */
    struct buf scratch;
    struct reporter_echo echo[REPORTER_ECHOES]; /* the last ones */
    size_t echo_next;
};

void reporter_free(struct reporter *r);

/* An error that belongs to no group or to the whole of one: usage, configuration. group may be NULL. */
void reporter_error(struct reporter *r, const char *group, const char *message);

#endif
