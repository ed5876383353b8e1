/*
 * The progress line: one line on a terminal's standard error, redrawn in place. It
 * is drawn with '\r' and spaces alone, so that any terminal can show it.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sos-sync.h"

#define PROGRESS_LINE_MAX 512 /* bytes of a line, with the NUL and colours */

/* How fast it goes, smoothed over some seconds; all zero at first. */
struct progress_rate {
    double objects, bytes; /* per second */
    int64_t at;            /* milliseconds, when this was last brought up to date; 0: never */
    enum sos_phase phase;
    uint64_t objects_done, bytes_done;
};

/* What a line is made of. */
struct progress_view {
    const struct sos_progress *now; /* group NULL: no group is shown */
    double objects, bytes;          /* per second; 0: not known */
    size_t width;                   /* columns of the terminal */
    bool color;
};

struct progress {
    int fd;        /* borrowed */
    bool on;
    bool color;
    size_t drawn;  /* columns of the line that stands there now */
    int64_t shown; /* milliseconds, when it was last drawn */
    struct progress_rate rate;
};

/* Takes in where the work stands at now_ms; begins anew when the phase changes or counts go back. */
void progress_rate_add(struct progress_rate *r, const struct sos_progress *p, int64_t now_ms);

/*
 * The line without its end, of fewer columns than view->width: what does not fit is left out, least important
 * first. Names are escaped, and any character beyond ASCII counts for two columns. Returns the columns used.
 */
size_t progress_line(char out[PROGRESS_LINE_MAX], const struct progress_view *view);

void progress_init(struct progress *p, int fd, bool wanted, bool color); /* on only where fd is a terminal */
void progress_show(struct progress *p, const struct sos_progress *now); /* at most ten times a second */
void progress_clear(struct progress *p); /* takes the line away; the next progress_show draws it again */

#endif
