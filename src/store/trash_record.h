/*
 * What is written down of the trash: the name of a run's directory, which is the time of the run, and the
 * lines of its list, RUN.txt. Text for people that programs read back exactly:
 *
 *   run TAB when TAB who drove it                   the first line
 *   when TAB why TAB path [TAB place]               an item; place: where it lies below RUN, if not as path says
 *
 * Times are UTC; paths are written as path_show does. Lines of any other form are passed over.
 */
#ifndef STORE_TRASH_RECORD_H
#define STORE_TRASH_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/path.h"
#include "object/version.h"

#define TRASH_RUN_MAX 40u    /* bytes of a run's name, without the NUL */
#define TRASH_REASON_MAX 31u /* bytes of a reason */
#define TRASH_BY_MAX 255u    /* bytes of who drove a run, as it is shown */
#define TRASH_LINE_MAX (8u * (PATH_LEN_MAX + 1u) + 128u)

struct trash_record {
    int64_t when;  /* seconds since 1970, by the clock of the machine that drove the run */
    char reason[TRASH_REASON_MAX + 1];
    char path[PATH_LEN_MAX + 1];
    char place[PATH_LEN_MAX + 1];
};

/* A line without its newline. False when it is none of an item, or its path or place leads anywhere but downward. */
bool trash_record_parse(const char *line, size_t len, struct trash_record *out);
void trash_record_put(struct buf *line, const struct trash_record *r); /* with its newline */

/* The first line; by: NUL-terminated, as it is shown. */
bool trash_record_parse_first(const char *line, size_t len, char by[TRASH_BY_MAX + 1]);
void trash_record_put_first(struct buf *line, int64_t when, const char *by);

/* The n-th name (from 1) for a run of this time; and back. */
void trash_record_run(char name[TRASH_RUN_MAX + 1], int64_t when, unsigned n);
bool trash_record_parse_run(const char *name, size_t len, int64_t *when, unsigned *n);

#define TRASH_ID_MAX ((uint64_t)1 << 48) /* ids are below it: 12 hexadecimal digits */
uint64_t trash_record_id(const struct uuid *store, const char *run, const char *place);

#endif
