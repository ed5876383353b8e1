/* What random worlds of every kind begin with, so that one program can play them (batches.h), and what they all do. */
#ifndef MODEL_STORY_H
#define MODEL_STORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "sos-sync.h"

#define STORY_OPS 200u
#define STORY_TROUBLE 400u

struct story {
    uint64_t seed;
    const char *base;     /* the directory for its stores; borrowed */
    bool verbose;         /* log says what runs do */
    size_t ops;           /* acts */
    bool keep[STORY_OPS]; /* false: left out of a replay */
    struct buf log;       /* what was done, a line each; text */
    char failure[1024];   /* "" while all is well */
};

void story_fail(struct story *s, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* the first counts */
void story_say(struct story *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What every run is given: no threads, no cache, no sandbox, nothing that waits for a disk. */
void story_options(struct sos_options *o);

/* What a run tells goes to a verbose log; the first trouble also to first, unless that is NULL. */
void story_action(struct story *s, const struct sos_action *a);
void story_trouble(struct story *s, const struct sos_trouble *t, char *first);

typedef enum sos_status story_run(void *ctx);

/* A run in a process of its own, which something will kill, maybe: then it has no status. What it leaves behind become our
   children, and are waited for. */
enum sos_status story_apart(struct story *s, story_run *run, void *ctx, bool *killed);

#endif
