/*
 * Versions that lost a conflict and are kept beside the winner, under names that say what they are. Private to judge.c.
 */
#ifndef PLAN_KEPT_H
#define PLAN_KEPT_H

#include "plan/reconcile.h"

struct kept {
    struct kept_item {
        char *path, *from;    /* owned: the new name, and where it is now */
        struct entry entry;   /* its path is not set */
        uint64_t holders, unlike, present; /* members, as masks; unlike: of the holders, with other metadata */
        bool below;           /* a directory that has to wait for others that are kept */
    } *item;
    size_t n;
};

/* Takes from a row what the verdict's losers have, each content once. What cannot be named is left to the trash. */
void kept_take(struct kept *k, const struct merge_row *row, const struct verdict *v, bool below,
               const char *(*name_of)(void *ctx, const struct uuid *who), void *ctx);
void kept_move(struct kept *to, struct kept *from); /* from is empty then */
void kept_sort(struct kept *k);                     /* by path */
/* What the i-th, after kept_sort, asks of all members. False: the one before says the same. Paths stay k's. */
bool kept_verdict(const struct kept *k, size_t i, unsigned members, struct verdict *v);
void kept_free(struct kept *k);

/*
 * "dir/name.conflict-1a2b3c4d-MEMBER.ext": 8 digits of the content's digest, and who made the edit, with what does not belong in a
 * name replaced. The same on every machine. NULL where it would be too long to be a path; else the caller frees.
 */
char *kept_name(const char *path, size_t len, const struct digest *content, const char *maker);

/* The paths that are there already and could be such names. All zero: none. */
struct kept_names {
    char **path; /* ascending, owned */
    size_t n, cap;
};

void kept_names_see(struct kept_names *s, const char *path, size_t len); /* paths ascend */
bool kept_names_seen(const struct kept_names *s, const char *path);
void kept_names_free(struct kept_names *s);

#endif
