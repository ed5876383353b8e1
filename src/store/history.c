#include "store/history.h"

#include "base/mem.h"
#include "base/path.h"
#include "store/journal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One recorded file in the index of places. The key is a hash: a chance hit needs 2^64 files. */
struct moved {
    struct digest place;
    struct digest content;
};

/* Where one of the two sorted sources stands. at NULL: at its end, or not there. */
struct cursor {
    const struct entry *at;
    bool taken; /* somebody has had it: the next call goes on behind it */
};

struct history {
    struct manifest_reader *reader;
    struct journal_reader *journal;
    struct cursor rec, intent;
    struct uuid self;
    uint64_t recorded_floor, floor;
    bool dropped;

    int manifest;
    struct stamp written; /* of the manifest: no recorded place has a later ctime */
    bool indexed;
    struct moved *moved;
    size_t moves;
};

static int advance_rec(struct history *h, struct err *e)
{
    h->rec.taken = false;
    int rc = manifest_reader_next(h->reader, &h->rec.at, e);
    if (rc <= 0)
        h->rec.at = NULL;
    return rc < 0 ? err_wrap(e, "recorded manifest") : 0;
}

static int advance_intent(struct history *h, struct err *e)
{
    bool done;
    h->intent.taken = false;
    int rc = journal_reader_next(h->journal, &h->intent.at, &done, e);
    if (rc <= 0)
        h->intent.at = NULL;
    return rc < 0 ? err_wrap(e, "journal") : 0;
}

static int open_sources(struct history *h, int manifest, int journal, struct err *e)
{
    int rc = 0;
    if (manifest >= 0) {
        struct manifest_head head;
        struct stat st;
        if (fstat(manifest, &st) < 0)
            return err_sys(e, "recorded manifest");
        h->written = (struct stamp){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
        h->reader = manifest_reader_new(manifest, &head, e);
        if (!h->reader)
            return err_wrap(e, "recorded manifest");
        h->recorded_floor = h->floor = head.floor;
        rc = advance_rec(h, e);
    }
    if (rc == 0 && journal >= 0) {
        h->journal = journal_reader_new(journal, &h->self, e);
        if (!h->journal)
            return err_wrap(e, "journal");
        rc = advance_intent(h, e);
    }
    return rc;
}

struct history *history_new(int manifest, int journal, const struct uuid *self, struct err *e)
{
    struct history *h = mem_zalloc(sizeof *h);
    h->manifest = manifest;
    h->self = *self;
    if (open_sources(h, manifest, journal, e) < 0) {
        history_free(h);
        return NULL;
    }
    return h;
}

void history_free(struct history *h)
{
    if (!h)
        return;
    if (h->reader)
        manifest_reader_free(h->reader);
    if (h->journal)
        journal_reader_free(h->journal);
    free(h->moved);
    free(h);
}

void history_gone(struct history *h, const struct entry *e)
{
    uint64_t count = version_count(&e->version, &h->self);
    if (count > h->floor)
        h->floor = count;
    h->dropped = true;
}

/* Puts the cursor of the manifest on the first entry that is not before path (NULL: after the last one). */
static int pass_recorded(struct history *h, const char *path, size_t len, struct err *e)
{
    int rc = 0;
    if (h->rec.at && h->rec.taken)
        rc = advance_rec(h, e);
    while (rc == 0 && h->rec.at && (!path || path_cmp(h->rec.at->path, h->rec.at->path_len, path, len) < 0)) {
        history_gone(h, h->rec.at);
        rc = advance_rec(h, e);
    }
    return rc;
}

static int pass_intents(struct history *h, const char *path, size_t len, struct err *e)
{
    int rc = 0;
    if (h->intent.at && h->intent.taken)
        rc = advance_intent(h, e);
    while (rc == 0 && h->intent.at &&
           (!path || path_cmp(h->intent.at->path, h->intent.at->path_len, path, len) < 0)) {
        history_gone(h, h->intent.at);
        rc = advance_intent(h, e);
    }
    return rc;
}

/* Nobody may find use for it; a floor that is too high does no harm. */
static void take_intent(struct history *h)
{
    h->intent.taken = true;
    history_gone(h, h->intent.at);
}

static bool is_path(const struct entry *at, const char *path, size_t len)
{
    return at && at->path_len == len && memcmp(at->path, path, len) == 0;
}

int history_seek(struct history *h, const char *path, size_t len, struct history_at *at, struct err *e)
{
    *at = (struct history_at){NULL, NULL};
    int rc = pass_recorded(h, path, len, e);
    if (rc < 0)
        return rc;
    if (is_path(h->rec.at, path, len)) {
        at->recorded = h->rec.at;
        h->rec.taken = true;
    }
    if (!h->intent.at)
        return 0;
    rc = pass_intents(h, path, len, e);
    if (rc == 0 && is_path(h->intent.at, path, len)) {
        at->intent = h->intent.at;
        take_intent(h);
    }
    return rc;
}

int history_carry(struct history *h, const char *path, size_t len, const struct entry **entry,
                  struct err *e)
{
    int rc = pass_recorded(h, path, len, e);
    if (rc < 0)
        return rc;
    const struct entry *at = h->rec.at;
    if (!at || (!is_path(at, path, len) && !path_below(at->path, at->path_len, path, len)))
        return 0;
    h->rec.taken = true;
    *entry = at;
    if (!h->intent.at)
        return 1;
    rc = pass_intents(h, at->path, at->path_len, e);
    if (rc < 0)
        return rc;
    if (is_path(h->intent.at, at->path, at->path_len)) {
        take_intent(h);
        if (h->intent.at->place.ino != 0 && h->intent.at->kind == at->kind)
            *entry = h->intent.at;
    }
    return 1;
}

int history_end(struct history *h, uint64_t *floor, struct err *e)
{
    int rc = pass_recorded(h, NULL, 0, e);
    if (rc == 0)
        rc = pass_intents(h, NULL, 0, e);
    *floor = h->floor;
    return rc;
}

uint64_t history_floor(const struct history *h)
{
    return h->recorded_floor;
}

bool history_dropped(const struct history *h)
{
    return h->dropped;
}

/* ---- content by place ---- */

static struct digest place_key(const struct entry_place *place, uint64_t size, struct stamp mtime)
{
    const uint64_t word[] = {place->dev,        place->ino,         size,
                             (uint64_t)mtime.sec, (uint64_t)place->ctime.sec,
                             (uint64_t)mtime.nsec << 32 | place->ctime.nsec};
    return digest_of(word, sizeof word);
}

static bool tells_content(const struct entry *e)
{
    return e->kind == ENTRY_FILE && e->place.ino != 0 && !e->place.racy && e->version.n > 0 &&
           !(e->flags & (ENTRY_DAMAGED | ENTRY_UNKNOWN));
}

static int by_place(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct digest));
}

static int build_index(struct history *h, struct err *e)
{
    struct manifest_head head;
    struct manifest_reader *r = manifest_reader_new(h->manifest, &head, e);
    if (!r)
        return err_wrap(e, "recorded manifest");
    const struct entry *at;
    size_t cap = 0;
    int rc;
    while ((rc = manifest_reader_next(r, &at, e)) > 0) {
        if (!tells_content(at))
            continue;
        if (h->moves == cap) {
            cap = cap ? 2 * cap : 1024;
            h->moved = mem_resize(h->moved, cap, sizeof *h->moved);
        }
        h->moved[h->moves++] = (struct moved){place_key(&at->place, at->size, at->mtime), at->digest};
    }
    manifest_reader_free(r);
    if (rc < 0)
        return err_wrap(e, "recorded manifest");
    if (h->moves > 1)
        qsort(h->moved, h->moves, sizeof *h->moved, by_place);
    h->indexed = true;
    return 0;
}

int history_moved(struct history *h, const struct entry_place *place, uint64_t size, struct stamp mtime,
                  struct digest *out, struct err *e)
{
    if (!h->reader || place->ino == 0 || clock_cmp(place->ctime, h->written) > 0)
        return 0;
    if (!h->indexed) {
        int rc = build_index(h, e);
        if (rc < 0)
            return rc;
    }
    if (h->moves == 0)
        return 0;
    const struct digest key = place_key(place, size, mtime);
    const struct moved *hit = bsearch(&key, h->moved, h->moves, sizeof *h->moved, by_place);
    if (!hit)
        return 0;
    *out = hit->content;
    return 1;
}
