/*
 * Random policies, as text for the program, and what they ask for as the model reads them. The reading is written down a
 * second time here on purpose, and knows nothing of the program's.
 */
#ifndef MODEL_ASKED_H
#define MODEL_ASKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ASKED_MEMBERS 5u
#define ASKED_PATHS 9u
#define ASKED_SECTIONS 8u
#define ASKED_ALL 99u /* replicas: every member that is not blocked */

extern const char *const asked_path[ASKED_PATHS];

/* Of one section. Its lists are of members, in order, ended by their number. */
struct asked_section {
    uint8_t group;   /* of the section: 0 or 1; 2: of all */
    uint8_t pattern; /* 0: none */
    int64_t since;   /* the day, counted from 1970; 0: none */
    bool sets_allowed, allowed, sets_number, copies, sets_preferred, sets_blocked;
    unsigned number; /* as it is written */
    unsigned preferreds, blockeds;
    uint8_t preferred[ASKED_MEMBERS], blocked[ASKED_MEMBERS];
};

struct asked {
    unsigned sections;
    struct asked_section section[ASKED_SECTIONS];
};

/* What is asked for an object. */
struct wanted {
    unsigned replicas; /* none where replication is not allowed; or ASKED_ALL */
    unsigned blocked;  /* a mask */
    unsigned preferreds;
    uint8_t preferred[ASKED_MEMBERS]; /* in order; blocked ones too */
};

/* group[m]: of each member; today: a day, near which that of a section lies. */
void asked_draw(struct asked *a, uint64_t *state, const uint8_t *group, unsigned members, int64_t today);
void asked_write(const struct asked *a, FILE *to);
/* first: the day on which the object was first seen. */
struct wanted asked_of(const struct asked *a, unsigned group, unsigned path, int64_t first);
/* Is the day after which a section counts between these two days? */
bool asked_depends(const struct asked *a, int64_t from, int64_t to);

uint64_t asked_next(uint64_t *state); /* chance */
unsigned asked_below(uint64_t *state, unsigned n);

#endif
