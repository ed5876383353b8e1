/*
 * Steps of a plan in the order in which they were appended: bytes in a buffer, which spill into an unlinked temporary
 * file when they grow. Private to plan*.c.
 */
#ifndef PLAN_PLAN_LOG_H
#define PLAN_PLAN_LOG_H

#include "base/buf.h"
#include "base/path.h"
#include "plan/plan.h"

struct plan_log {
    const char *tmpdir; /* borrowed */
    int fd;             /* -1: nothing was spilled, all steps are in tail */
    struct buf tail;    /* steps that are not in the file */
    uint64_t filed;     /* bytes in the file */
};

/* What is kept of a step beside what plan.h shows: which branch it hangs on, from 1 (0: none), and how. */
struct plan_hook {
    uint64_t branch;
    bool life;
};

void plan_log_init(struct plan_log *l, const char *tmpdir);
void plan_log_free(struct plan_log *l);
int plan_log_add(struct plan_log *l, const struct plan_step *s, const struct plan_hook *hook, struct err *e);
int plan_log_end(struct plan_log *l, struct err *e); /* nothing is added any more: readers may begin */

struct plan_log_reader {
    const struct plan_log *log;
    unsigned members;
    uint64_t at;          /* offset of the next step */
    uint8_t *window;      /* NULL when all is in memory */
    uint64_t window_from; /* offset of the window's first byte */
    size_t window_len;
    struct plan_step step;
    char path[PATH_LEN_MAX + 1], from[PATH_LEN_MAX + 1];
};

void plan_log_reader_init(struct plan_log_reader *r, const struct plan_log *l, unsigned members);
void plan_log_reader_free(struct plan_log_reader *r);
/* 1: r->step is the next one (all but its phase); 0: the end; or an error. */
int plan_log_reader_next(struct plan_log_reader *r, struct plan_hook *hook, struct err *e);

#endif
