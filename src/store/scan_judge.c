#include "store/scan_judge.h"

#include "store/scan.h"

static struct stamp stamp_of(struct timespec t)
{
    return (struct stamp){t.tv_sec, (uint32_t)t.tv_nsec};
}

bool scan_judge_stat(struct entry *seen, const struct stat *st)
{
    bool dir = S_ISDIR(st->st_mode), link = S_ISLNK(st->st_mode);
    if (!dir && !link && !S_ISREG(st->st_mode))
        return false;
    seen->kind = dir ? ENTRY_DIR : link ? ENTRY_LINK : ENTRY_FILE;
    seen->flags = 0;
    seen->mode = link ? ENTRY_MODE_MAX : st->st_mode & ENTRY_MODE_MAX;
    seen->size = dir ? 0 : (uint64_t)st->st_size;
    seen->mtime = dir ? (struct stamp){0, 0} : stamp_of(st->st_mtim);
    seen->digest = (struct digest){0};
    seen->origin = (struct uuid){{0}};
    seen->first_seen = 0;
    seen->place = (struct entry_place){.dev = st->st_dev, .ino = st->st_ino};
    if (!dir)
        seen->place.ctime = stamp_of(st->st_ctim);
    seen->holders.n = 0;
    seen->version.n = 0;
    return true;
}

static bool same_file(const struct entry *a, const struct entry *b)
{
    return a->place.ino == b->place.ino && a->place.dev == b->place.dev &&
           clock_cmp(a->place.ctime, b->place.ctime) == 0;
}

bool scan_judge_same(const struct entry *a, const struct entry *b)
{
    return a->kind == b->kind && a->size == b->size && clock_cmp(a->mtime, b->mtime) == 0 && same_file(a, b);
}

/*
 * Is this still the file that known was recorded for? Times are changed only together with the ctime: where that is the
 * same, other times are what the file system made of those that it was given.
 */
static bool same_place(const struct entry *seen, const struct entry *known)
{
    return seen->kind == known->kind && seen->size == known->size && known->place.ino != 0 &&
           same_file(seen, known) && clock_kept(known->mtime, seen->mtime);
}

/* An entry without a version was made for what could not be read: its content says nothing. */
static bool speaks(const struct entry *e)
{
    return e && e->version.n > 0;
}

/* Would any change that leaves the usual traces show in what stat tells? */
static bool untouched(const struct entry *seen, const struct entry *known)
{
    return speaks(known) && !known->place.racy && same_place(seen, known);
}

static bool completed(const struct entry *intent)
{
    return intent && intent->place.ino != 0;
}

bool scan_judge_due(const struct scan_judge *j, const char *path, size_t len)
{
    return j->checksum || (j->parts > 0 && digest_check(path, len) % j->parts == j->part - 1);
}

static bool is_hashed_otherwise(const struct scan_judge *j, const struct entry *e)
{
    return e && (e->kind == ENTRY_FILE || e->kind == ENTRY_LINK) && e->digest.algo != j->hash;
}

bool scan_judge_rehashes(const struct scan_judge *j, const struct history_at *at)
{
    return is_hashed_otherwise(j, at->recorded) || is_hashed_otherwise(j, at->intent);
}

const struct entry *scan_judge_reuse(const struct scan_judge *j, const struct entry *seen,
                                     const struct history_at *at)
{
    const struct entry *last = completed(at->intent) && untouched(seen, at->intent) ? at->intent : at->recorded;
    /* What is damaged is looked at each time: somebody may have put it right. */
    if (!last || !untouched(seen, last) || last->flags & ENTRY_DAMAGED || is_hashed_otherwise(j, last) ||
        scan_judge_due(j, seen->path, seen->path_len))
        return NULL;
    return last;
}

static bool same_object(const struct entry *seen, const struct entry *known)
{
    return speaks(known) && entry_same_content(seen, known) &&
           (entry_same_meta(seen, known) || (seen->mode == known->mode && same_place(seen, known)));
}

/* The entry of history that seen is another look at, or NULL. An intent may have renewed only the record, or its holders. */
static const struct entry *match(const struct entry *seen, const struct history_at *at)
{
    /* Where another content was put in its place for certain, what was recorded is there by somebody's doing. */
    bool back = completed(at->intent) && at->recorded && !entry_same_content(at->intent, at->recorded) &&
                !same_place(seen, at->recorded);
    bool rec = !back && same_object(seen, at->recorded);
    if (!same_object(seen, at->intent))
        return rec ? at->recorded : NULL;
    enum version_order c = rec ? version_compare(&at->intent->version, &at->recorded->version) : VERSION_AFTER;
    return c == VERSION_AFTER || (c == VERSION_EQUAL && completed(at->intent)) ? at->intent : at->recorded;
}

/*
 * Whoever recorded a directory may have noted its times. They mean nothing, and are no reason for a new
 * manifest.
 */
static void keep_dir_place(struct entry *seen, const struct entry *known)
{
    if (seen->kind == ENTRY_DIR && known->kind == ENTRY_DIR && seen->place.ino == known->place.ino &&
        seen->place.dev == known->place.dev)
        seen->place = known->place;
}

static void take_record(struct entry *seen, const struct entry *from)
{
    holders_copy(&seen->holders, &from->holders);
    version_copy(&seen->version, &from->version);
    seen->origin = from->origin;
    seen->first_seen = from->first_seen;
}

/* Above all that self ever gave to this path. False: there is no room for that. */
static bool raise_count(const struct scan_judge *j, struct entry *seen, const struct history_at *at)
{
    uint64_t count = j->floor;
    for (int i = 0; i < 2; i++) {
        const struct entry *e = i ? at->intent : at->recorded;
        uint64_t own = e ? version_count(&e->version, &j->self) : 0;
        count = own > count ? own : count;
    }
    /* A count that came round to 0 would make this change older than all it follows, and lose it. */
    return count != UINT64_MAX && version_set(&seen->version, &j->self, count + 1) == 0;
}

/*
 * A change that no other member made. It follows what was last in place here, for certain: an intent only
 * if it was seen through. Nobody else has what it made.
 */
static enum scan_verdict local_change(const struct scan_judge *j, struct entry *seen,
                                      const struct history_at *at)
{
    const struct entry *base = completed(at->intent) ? at->intent : at->recorded;
    seen->version.n = 0;
    seen->origin = j->self;
    seen->first_seen = j->now.sec;
    if (speaks(base))
        take_record(seen, base);
    seen->holders.n = 0;
    return raise_count(j, seen, at) ? SCAN_FINE : SCAN_FULL;
}

enum scan_verdict scan_judge_record(const struct scan_judge *j, struct entry *seen,
                                    const struct history_at *at)
{
    const struct entry *same = match(seen, at);
    const struct entry *last = completed(at->intent) ? at->intent : at->recorded;
    seen->flags = 0;
    if (!same && seen->kind != ENTRY_DIR && last && untouched(seen, last)) {
        const char *path = seen->path;
        entry_copy(seen, last);
        seen->path = path;
        seen->flags = ENTRY_DAMAGED;
        return SCAN_DAMAGED;
    }
    /* What is untouched since it was recorded, and not racy then, has not become so. */
    if (seen->kind != ENTRY_DIR)
        seen->place.racy = (!same || !untouched(seen, same)) && (clock_within(seen->mtime, j->now, SCAN_RACY_SECONDS) ||
                           clock_within(seen->place.ctime, j->now, SCAN_RACY_SECONDS));
    else if (at->recorded)
        keep_dir_place(seen, at->recorded);
    if (!same)
        return local_change(j, seen, at);
    seen->mtime = same->mtime;
    take_record(seen, same);
    return SCAN_FINE;
}

void scan_judge_unknown(struct entry *seen, const struct history_at *at)
{
    const struct entry *last = completed(at->intent) ? at->intent : at->recorded;
    const char *path = seen->path;
    if (last && last->kind == seen->kind) {
        entry_copy(seen, last);
        seen->path = path;
        seen->flags &= ~(unsigned)ENTRY_HIDDEN;
    } else {
        seen->digest = (struct digest){0};
        seen->place = (struct entry_place){0};
        seen->version.n = seen->holders.n = 0;
        seen->origin = (struct uuid){{0}};
        seen->first_seen = 0;
        if (last)
            take_record(seen, last);
        if (entry_check(seen, NULL) < 0) {
            seen->size = seen->kind == ENTRY_LINK;
            seen->mtime = (struct stamp){0, 0};
        }
    }
    seen->flags |= ENTRY_UNKNOWN;
}

bool scan_judge_lasts(const struct scan_judge *j, const struct entry *tombstone)
{
    int64_t age = j->absence.now - tombstone->mtime.sec;
    return (age < 0 ? -age : age) <= j->absence.tombstones;
}

enum scan_missed scan_judge_missed(const struct scan_judge *j, const struct history_at *at, struct entry *left)
{
    const struct entry *last = completed(at->intent) ? at->intent : at->recorded;
    const unsigned not_whole = ENTRY_HIDDEN | ENTRY_UNKNOWN | ENTRY_DAMAGED;
    if (!last)
        return SCAN_LOST;
    if (last->kind == ENTRY_GONE) {
        entry_copy(left, last);
        left->flags = 0;
        return scan_judge_lasts(j, last) ? SCAN_BURIED : SCAN_LOST;
    }
    if (!j->absence.deletes || last != (at->intent ? at->intent : at->recorded) || !speaks(last) ||
        last->flags & not_whole)
        return SCAN_LOST;
    *left = (struct entry){.path = last->path, .path_len = last->path_len, .kind = ENTRY_GONE,
                           .mtime = {.sec = j->absence.now}};
    take_record(left, last);
    left->holders.n = 0;
    return raise_count(j, left, at) ? SCAN_DELETED : SCAN_LOST;
}

bool scan_judge_unchanged(const struct entry *a, const struct entry *b)
{
    return a->kind == b->kind && a->flags == b->flags && a->mode == b->mode && a->size == b->size &&
           clock_cmp(a->mtime, b->mtime) == 0 && digest_same(&a->digest, &b->digest) && same_file(a, b) &&
           a->place.racy == b->place.racy && a->place.verified == b->place.verified && entry_same_record(a, b) &&
           holders_same(&a->holders, &b->holders);
}
