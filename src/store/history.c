#include "store/history.h"

#include "base/mem.h"
#include "base/path.h"
#include "store/journal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Where a file is, as a hash: a chance hit needs 2^64 files. */
struct place_key {
    uint8_t b[DIGEST_LEN];
};

/* One recorded file in the index of places. There may be very many: a digest takes no more room than its kind has bytes. */
struct moved {
    struct place_key place;
    int64_t verified;
    uint8_t content[];
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
    history_missed *missed;
    void *missed_ctx;
    struct entry tomb; /* a tombstone of the journal that stands for what is recorded, or what was pruned */
    struct entry doubted; /* an intent, without the holders that it promised */
    uint64_t taken;

    int manifest;
    struct stamp written; /* of the manifest: no recorded place has a later ctime */
    bool indexed;
    enum digest_algo algo; /* of the contents in the index, which is the manifest's */
    uint8_t *moved;        /* sorted: struct moved, each of so many bytes: */
    size_t moved_size, moves;
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

void history_on_missed(struct history *h, history_missed *missed, void *ctx)
{
    h->missed = missed;
    h->missed_ctx = ctx;
}

static bool is_path(const struct entry *at, const char *path, size_t len)
{
    return at && at->path_len == len && memcmp(at->path, path, len) == 0;
}

/* Nobody may find use for it; a floor that is too high does no harm. */
static const struct entry *take_intent(struct history *h)
{
    h->intent.taken = true;
    history_gone(h, h->intent.at);
    return h->intent.at;
}

/* What was made of the recorded object is that it is not there. Its counter stays above what comes in its place. */
static void settle_pruned(struct history *h, struct history_at *at)
{
    uint64_t count = at->recorded ? version_count(&at->recorded->version, &h->self) : 0;
    if (count > version_count(&h->tomb.version, &h->self))
        version_set(&h->tomb.version, &h->self, count);
    *at = (struct history_at){NULL, &h->tomb};
}

/*
 * An intent names those that were to hold the object when all was done. Its run was cut short, so that only those are left
 * who had it before, and were to keep it.
 */
static void doubt_holders(struct history *h, struct history_at *at)
{
    bool same = at->intent && at->recorded && entry_same_content(at->intent, at->recorded);
    if (!at->intent || at->intent->holders.n == 0)
        return;
    entry_copy(&h->doubted, at->intent);
    if (same)
        holders_both(&h->doubted.holders, &at->recorded->holders);
    else
        h->doubted.holders.n = 0;
    at->intent = &h->doubted;
}

/* A deletion that was seen through is all that is known of the path: what it took away is not to be met again. */
static void settle(struct history *h, struct history_at *at)
{
    doubt_holders(h, at);
    if (!at->intent || at->intent->kind != ENTRY_GONE || at->intent->place.ino == 0)
        return;
    const struct entry *was = at->recorded;
    if (was)
        history_gone(h, was);
    h->taken += was && (was->kind == ENTRY_FILE || was->kind == ENTRY_LINK) && !(was->flags & ENTRY_HIDDEN);
    entry_copy(&h->tomb, at->intent);
    h->tomb.place = (struct entry_place){0};
    if (journal_is_prune(&h->tomb))
        settle_pruned(h, at);
    else
        *at = (struct history_at){&h->tomb, NULL};
}

/* What both cursors, or the one that is set, stand on was not seen. */
static int miss(struct history *h, bool recorded, bool intent, struct err *e)
{
    struct history_at at = {recorded ? h->rec.at : NULL, intent ? take_intent(h) : NULL};
    h->rec.taken |= recorded;
    const struct entry *was = at.recorded;
    settle(h, &at);
    int rc = h->missed ? h->missed(h->missed_ctx, &at) : 0;
    if (rc == 0 && was)
        history_gone(h, was);
    if (rc >= 0 && recorded)
        rc = advance_rec(h, e);
    if (rc >= 0 && intent)
        rc = advance_intent(h, e);
    return rc < 0 ? rc : 0;
}

static bool before(const struct entry *at, const char *path, size_t len)
{
    return at && (!path || path_cmp(at->path, at->path_len, path, len) < 0);
}

/* Puts both cursors on the first that is not before path (NULL: at the end). What lies between was not seen. */
static int pass(struct history *h, const char *path, size_t len, struct err *e)
{
    int rc = 0;
    if (h->rec.at && h->rec.taken)
        rc = advance_rec(h, e);
    if (rc == 0 && h->intent.at && h->intent.taken)
        rc = advance_intent(h, e);
    while (rc == 0) {
        bool recorded = before(h->rec.at, path, len), intent = before(h->intent.at, path, len);
        if (!recorded && !intent)
            break;
        int c = !recorded ? 1 : !intent ? -1 : path_cmp(h->rec.at->path, h->rec.at->path_len,
                                                        h->intent.at->path, h->intent.at->path_len);
        rc = miss(h, c <= 0, c >= 0, e);
    }
    return rc;
}

int history_seek(struct history *h, const char *path, size_t len, struct history_at *at, struct err *e)
{
    *at = (struct history_at){NULL, NULL};
    int rc = pass(h, path, len, e);
    if (rc < 0)
        return rc;
    if (is_path(h->rec.at, path, len)) {
        at->recorded = h->rec.at;
        h->rec.taken = true;
    }
    if (is_path(h->intent.at, path, len)) {
        at->intent = take_intent(h);
        settle(h, at);
    }
    return 0;
}

/* Intents at path or below it, up to the one of to (NULL: all of them), are no use where nothing is looked at. */
static int skip_intents(struct history *h, const char *path, size_t len, const struct entry *to, struct err *e)
{
    int rc = 0;
    if (h->intent.at && h->intent.taken)
        rc = advance_intent(h, e);
    while (rc == 0 && h->intent.at &&
           (is_path(h->intent.at, path, len) || path_below(h->intent.at->path, h->intent.at->path_len, path, len)) &&
           (!to || before(h->intent.at, to->path, to->path_len))) {
        take_intent(h);
        rc = advance_intent(h, e);
    }
    return rc;
}

/* A directory stays one, as it is not known what is below it. */
static bool stands_for(const struct entry *intent, const struct entry *recorded)
{
    return intent->place.ino != 0 &&
           (intent->kind == recorded->kind || (intent->kind == ENTRY_GONE && recorded->kind != ENTRY_DIR));
}

/* One step of it. *entry is NULL when the one that came was pruned. */
static int carry(struct history *h, const char *path, size_t len, const struct entry **entry, struct err *e)
{
    int rc = pass(h, path, len, e);
    if (rc < 0)
        return rc;
    const struct entry *at = h->rec.at;
    if (at && !is_path(at, path, len) && !path_below(at->path, at->path_len, path, len))
        at = NULL;
    if (h->intent.at)
        rc = skip_intents(h, path, len, at, e);
    if (rc < 0 || !at)
        return rc;
    h->rec.taken = true;
    *entry = at;
    if (is_path(h->intent.at, at->path, at->path_len)) {
        struct history_at both = {at, take_intent(h)};
        if (stands_for(both.intent, at)) {
            settle(h, &both);
            *entry = both.intent == &h->tomb ? NULL : both.intent ? both.intent : both.recorded;
        }
    }
    return 1;
}

int history_carry(struct history *h, const char *path, size_t len, const struct entry **entry,
                  struct err *e)
{
    int rc;
    while ((rc = carry(h, path, len, entry, e)) > 0 && !*entry)
        ;
    return rc;
}

int history_end(struct history *h, uint64_t *floor, struct err *e)
{
    int rc = pass(h, NULL, 0, e);
    *floor = h->floor;
    return rc;
}

uint64_t history_taken(const struct history *h)
{
    return h->taken;
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

static struct place_key place_key(const struct entry_place *place, uint64_t size, struct stamp mtime)
{
    const uint64_t word[] = {place->dev,        place->ino,         size,
                             (uint64_t)mtime.sec, (uint64_t)place->ctime.sec,
                             (uint64_t)mtime.nsec << 32 | place->ctime.nsec};
    struct digest d = digest_of(word, sizeof word);
    struct place_key key;
    memcpy(key.b, d.b, sizeof key.b);
    return key;
}

static bool tells_content(const struct entry *e)
{
    return e->kind == ENTRY_FILE && e->place.ino != 0 && !e->place.racy && e->version.n > 0 &&
           !(e->flags & (ENTRY_DAMAGED | ENTRY_UNKNOWN));
}

static int by_place(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct place_key));
}

static void add_moved(struct history *h, const struct entry *at)
{
    struct moved *m = (struct moved *)(h->moved + h->moves++ * h->moved_size);
    m->place = place_key(&at->place, at->size, at->mtime);
    m->verified = at->place.verified;
    memcpy(m->content, at->digest.b, digest_len(h->algo));
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
    h->algo = head.algo;
    h->moved_size = sizeof(struct moved) + digest_len(head.algo);
    while ((rc = manifest_reader_next(r, &at, e)) > 0) {
        if (!tells_content(at) || at->digest.algo != h->algo)
            continue;
        if (h->moves == cap) {
            cap = cap ? 2 * cap : 1024;
            h->moved = mem_resize(h->moved, cap, h->moved_size);
        }
        add_moved(h, at);
    }
    manifest_reader_free(r);
    if (rc < 0)
        return err_wrap(e, "recorded manifest");
    if (h->moves > 1)
        qsort(h->moved, h->moves, h->moved_size, by_place);
    h->indexed = true;
    return 0;
}

int history_moved(struct history *h, const struct entry_place *place, uint64_t size, struct stamp mtime,
                  struct digest *out, int64_t *verified, struct err *e)
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
    const struct place_key key = place_key(place, size, mtime);
    const struct moved *hit = bsearch(&key, h->moved, h->moves, h->moved_size, by_place);
    if (!hit)
        return 0;
    *out = (struct digest){.algo = (uint8_t)h->algo};
    memcpy(out->b, hit->content, digest_len(h->algo));
    *verified = hit->verified;
    return 1;
}
