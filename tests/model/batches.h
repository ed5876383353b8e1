/*
 * A program that plays random worlds. Without --seed, many of them, in batches on all cores; each batch is one test of the
 * TAP that is printed. With --seed, that one world alone. Of what fails, acts are left out as long as it still fails.
 */
#ifndef MODEL_BATCHES_H
#define MODEL_BATCHES_H

#include "story.h"

/* A kind of worlds. */
struct batches_kind {
    const char *name;     /* of the directory that they are made in */
    const char *what;     /* they are called in the TAP */
    unsigned worlds;      /* unless another number is asked for */
    unsigned batch;       /* worlds in one */
    unsigned tries;       /* to leave out acts */
    size_t ops;           /* the most acts, STORY_OPS or less */
    size_t size;          /* of one, which begins with a struct story */
    size_t counts, count_size; /* where in it it has its counts, and their size */
    void (*init)(struct story *s, uint64_t seed, const char *base, size_t ops); /* ops 0: as many as it draws */
    bool (*play)(struct story *s); /* true: all was well */
    void (*free)(struct story *s);
    void (*add)(void *to, const void *counts); /* to begins with zeros */
    void (*tell)(const void *counts, unsigned worlds); /* on standard output, for TAP */
};

int batches_main(int argc, char **argv, const struct batches_kind *kind);

#endif
