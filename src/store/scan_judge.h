/*
 * What the scan concludes from what it sees of an object and what history knows of it: is the content still
 * the recorded one, and which version does it have? Knows no files.
 */
#ifndef STORE_SCAN_JUDGE_H
#define STORE_SCAN_JUDGE_H

#include <sys/stat.h>

#include "store/history.h"
#include "store/scan.h"

struct scan_judge {
    struct uuid self;
    uint64_t floor;   /* history_floor */
    struct stamp now; /* when the scan began */
    bool checksum;
    enum digest_algo hash; /* that contents are to have */
    struct scan_absence absence;
    unsigned part, parts; /* of a scrub, as in struct store_rules */
};

enum scan_verdict {
    SCAN_FINE,
    SCAN_DAMAGED, /* seen is the recorded entry, flagged */
    SCAN_FULL,    /* no room in the version vector for a change of self's; seen is of no use */
};

/*
 * seen as stat tells it: kind, mode, size, mtime and place (not racy, so that two looks can be compared),
 * all else zero; a directory without size and any time. False for what is no object. The path is left
 * alone.
 */
bool scan_judge_stat(struct entry *seen, const struct stat *st);

/* Do two looks show the same unchanged object? */
bool scan_judge_same(const struct entry *a, const struct entry *b);

/* Is this object's content to be read again, whatever is known of it? Runs over all parts come to every object. */
bool scan_judge_due(const struct scan_judge *j, const char *path, size_t len);

/* Does history know the content by another hash than is wanted? Then it is to be read for both. */
bool scan_judge_rehashes(const struct scan_judge *j, const struct history_at *at);

/* The entry of history whose digest may be relied upon without reading the content of seen, or NULL. */
const struct entry *scan_judge_reuse(const struct scan_judge *j, const struct entry *seen,
                                     const struct history_at *at);

/* Completes seen, which has its digest (and place.verified), by flags, version, origin, first_seen and place.racy. */
enum scan_verdict scan_judge_record(const struct scan_judge *j, struct entry *seen,
                                    const struct history_at *at);

/*
 * Makes seen, which could not be read, what history has last, or an entry without digest and place (and
 * without size and time where a manifest could not hold them); flagged ENTRY_UNKNOWN.
 */
void scan_judge_unknown(struct entry *seen, const struct history_at *at);

enum scan_missed {
    SCAN_LOST,    /* nothing is left of it in the manifest: a replica that is to be restored, or an old tombstone */
    SCAN_BURIED,  /* *left is the tombstone that was recorded */
    SCAN_DELETED, /* *left is a new tombstone */
};

/*
 * What becomes of a path where nothing is. What a killed run may have taken away, and what was not whole or not offered
 * when it was last looked at, was not deleted. *left is without flags; its path is that of at.
 */
enum scan_missed scan_judge_missed(const struct scan_judge *j, const struct history_at *at, struct entry *left);
/* Is a recorded tombstone to be kept? */
bool scan_judge_lasts(const struct scan_judge *j, const struct entry *tombstone);

/* Is every field but the path the same? */
bool scan_judge_unchanged(const struct entry *a, const struct entry *b);

#endif
