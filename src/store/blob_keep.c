#include "store/blob_keep.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "object/manifest.h"
#include "store/fold.h"
#include "store/history.h"
#include "store/journal.h"
#include "store/lookup.h"
#include "store/scan_judge.h"
#include "store/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Empty files: the store has refused to take something away, or has done so. */
#define REFUSES "keeps-all"
#define TAKES "removes"

struct blob_keep {
    const struct store_options *o;
    char *shown, *dir;
    struct state state;  /* fd -1: nothing is kept; it carries the lock */
    bool holds, directory;
    enum blob_removal removal;
    struct uuid id;
    struct store_rules rules;
    int64_t moment;
    int manifest, before;
    struct journal *journal;
    int journal_fd;
    uint64_t done;       /* operations in it */
    struct lookup *lookup;
};

/* ---- lists ---- */

void blob_list_add(struct blob_list *l, const char *id, size_t len)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 1024;
        l->item = mem_resize(l->item, l->cap, sizeof *l->item);
    }
    l->item[l->n++] = (struct blob_listed){.at = l->text.len};
    buf_put(&l->text, id, len);
    buf_u8(&l->text, '\0');
}

static int by_id(const void *a, const void *b, void *text)
{
    const char *ids = text;
    return strcmp(ids + ((const struct blob_listed *)a)->at, ids + ((const struct blob_listed *)b)->at);
}

void blob_list_sort(struct blob_list *l)
{
    size_t kept = 0;
    if (l->n > 1)
        qsort_r(l->item, l->n, sizeof *l->item, by_id, l->text.data);
    for (size_t i = 0; i < l->n; i++)
        if (i == 0 || strcmp(blob_list_id(l, i), blob_list_id(l, kept - 1)) != 0)
            l->item[kept++] = l->item[i];
    l->n = kept;
}

struct blob_listed *blob_list_find(struct blob_list *l, const char *id)
{
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = strcmp(blob_list_id(l, middle), id);
        if (c == 0)
            return &l->item[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void blob_list_free(struct blob_list *l)
{
    buf_free(&l->text);
    free(l->item);
    *l = (struct blob_list){0};
}

/* ---- where ---- */

struct blob_keep *blob_keep_new(const struct store_options *options, const char *shown, const char *dir,
                                const struct uuid *self)
{
    struct blob_keep *k = mem_zalloc(sizeof *k);
    k->o = options;
    k->shown = mem_strdup(shown);
    k->dir = dir ? mem_strdup(dir) : NULL;
    k->id = *self;
    k->state.fd = k->manifest = k->before = k->journal_fd = -1;
    return k;
}

void blob_keep_of_directory(struct blob_keep *k)
{
    k->directory = true;
}

static void drop_journal(struct blob_keep *k)
{
    journal_free(k->journal);
    k->journal = NULL;
    if (k->journal_fd >= 0)
        close(k->journal_fd);
    k->journal_fd = -1;
}

void blob_keep_free(struct blob_keep *k)
{
    if (!k)
        return;
    lookup_free(k->lookup);
    drop_journal(k);
    if (k->manifest >= 0)
        close(k->manifest);
    if (k->before >= 0)
        close(k->before);
    if (k->holds)
        state_let_go(&k->state);
    state_close(&k->state);
    free(k->shown);
    free(k->dir);
    free(k);
}

int blob_keep_make_dir(const char *path)
{
    char *copy = mem_strdup(path);
    int rc = 0;
    for (char *at = copy + 1; rc == 0 && *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(copy, 0777) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            rc = -1;
        *at = '/';
    }
    if (rc == 0 && mkdir(copy, 0700) < 0 && errno != EEXIST)
        rc = -1;
    free(copy);
    return rc;
}

/* 0, also where there is none to be had; ERR_LOCKED. */
static int open_dir(struct blob_keep *k, bool create, struct err *e)
{
    char holder[STATE_HOLDER_MAX];
    if (!k->dir)
        return 0;
    if (k->state.fd >= 0)
        return 0;
    if (create && blob_keep_make_dir(k->dir) < 0) {
        struct err text;
        if (k->directory)
            return err_sys(e, "%s: cannot be made beside the directory of blobs, which is not served without it; make it there "
                           "by hand, once", k->dir);
        err_sys(&text, "%s: cannot be made, so nothing is remembered of the objects of %s", k->dir, k->shown);
        k->o->watch.problem(k->o->watch.ctx, false, NULL, text.msg);
        return 0;
    }
    int fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return !create && errno == ENOENT ? 0 : err_sys(e, "%s", k->dir);
    k->state.fd = fd;
    k->state.shown = mem_strdup(k->dir);
    if (flock(fd, (k->o->dry_run ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_sys(e, "%s: cannot lock it", k->dir);
        bool told = state_holder(&k->state, holder);
        return err_set(e, ERR_LOCKED, "%s is in use by %s", k->shown, told ? holder : "another run");
    }
    if (!k->o->dry_run) {
        state_hold(&k->state);
        k->holds = true;
    }
    return 0;
}

int blob_keep_inspect(struct blob_keep *k, struct store_info *info, struct err *e)
{
    struct marker m = {0};
    int rc = open_dir(k, false, e);
    if (rc == 0 && k->state.fd >= 0)
        rc = state_read_marker(&k->state, &m, e);
    if (rc < 0)
        return rc;
    if (k->state.fd >= 0 && faccessat(k->state.fd, REFUSES, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        k->removal = BLOB_REFUSES;
    else if (k->state.fd >= 0 && faccessat(k->state.fd, TAKES, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        k->removal = BLOB_TAKES;
    if (m.group)
        k->id = m.id;
    info->id = k->id;
    info->marked = m.group != NULL;
    info->group = m.group;
    rc = k->state.fd < 0 ? 0 : state_read_peers(&k->state, &info->peer, &info->peers, e);
    if (rc == 0 && info->peers > 0)
        state_read_seen(&k->state, info->peer, info->peers);
    return rc;
}

/* The recorded manifest, -1 when there is none that can be used: then it is made anew. */
static int open_manifest(struct blob_keep *k)
{
    struct err why;
    struct manifest_head head;
    int fd = k->state.fd < 0 ? -1 : state_file(&k->state, STATE_MANIFEST, &why);
    struct manifest_reader *r = fd < 0 ? NULL : manifest_reader_new(fd, &head, &why);
    if (r && uuid_same(&head.store, &k->id)) {
        manifest_reader_free(r);
        return fd;
    }
    manifest_reader_free(r);
    if (fd >= 0)
        close(fd);
    return -1;
}

int blob_keep_status(struct blob_keep *k, struct store_status *out, struct err *e)
{
    struct manifest_head head;
    const struct entry *at;
    *out = (struct store_status){0};
    int fd = k->manifest = open_manifest(k), rc;
    if (fd < 0)
        return 0;
    out->recorded = true;
    if (!state_read_last(&k->state, &out->last_run))
        out->last_run = 0;
    struct manifest_reader *r = manifest_reader_new(fd, &head, e);
    rc = r ? manifest_file_totals(fd, &out->totals, e) : e->code;
    bool any = false;
    while (rc == 0 && (rc = manifest_reader_next(r, &at, e)) > 0) {
        rc = 0;
        out->damaged += (at->flags & ENTRY_DAMAGED) != 0;
        if (at->kind == ENTRY_FILE && (!any || at->place.verified < out->verified)) {
            out->verified = at->place.verified;
            any = true;
        }
    }
    manifest_reader_free(r);
    return rc;
}

struct uuid blob_keep_id(const struct blob_keep *k)
{
    return k->id;
}

int blob_keep_state(const struct blob_keep *k)
{
    return k->state.fd;
}

const char *blob_keep_shown(const struct blob_keep *k)
{
    return k->dir ? k->dir : k->shown;
}

int blob_keep_manifest(const struct blob_keep *k)
{
    return k->manifest;
}

int blob_keep_manifest_before(const struct blob_keep *k)
{
    return k->before;
}

/* ---- the scan ---- */

static int settle_marker(struct blob_keep *k, const char *group, struct err *e)
{
    struct marker m = {0};
    if (k->state.fd < 0 || k->o->dry_run)
        return 0;
    int rc = state_read_marker(&k->state, &m, e);
    if (rc == 0 && (!m.group || !uuid_same(&m.id, &k->id) || strcmp(m.group, group) != 0))
        rc = state_write_marker(&k->state, &k->id, group, k->o->fsync != STORE_FSYNC_NONE, e);
    free(m.group);
    return rc;
}

int blob_keep_begin(struct blob_keep *k, const struct uuid *id, const char *group, const struct store_rules *rules,
                    uint64_t *before, void (*damaged)(void *ctx, const char *id), void *ctx, struct err *e)
{
    struct manifest_head head;
    struct manifest_totals totals;
    const struct entry *at;
    k->id = *id;
    k->rules = *rules;
    k->moment = rules->now ? rules->now : clock_now().sec;
    int rc = k->o->dry_run ? 0 : open_dir(k, true, e);
    if (rc == 0)
        rc = settle_marker(k, group, e);
    if (rc < 0)
        return rc;
    k->before = open_manifest(k);
    if (k->before < 0)
        return 0;
    rc = manifest_file_totals(k->before, &totals, e);
    *before = rc < 0 ? 0 : totals.objects;
    struct manifest_reader *r = rc < 0 ? NULL : manifest_reader_new(k->before, &head, e);
    while (r && (rc = manifest_reader_next(r, &at, e)) > 0)
        if (at->flags & ENTRY_DAMAGED)
            damaged(ctx, at->path);
    manifest_reader_free(r);
    return rc < 0 ? err_wrap(e, "%s/%s: cannot be used (move it away, then it is made anew)", k->state.shown, STATE_MANIFEST)
                  : 0;
}

struct making {
    struct blob_keep *keep;
    struct manifest_writer *out;
    struct history *history;
    struct store_scan *report;
    struct scan_judge judge;
    struct entry entry, left;
};

/* Deletions are remembered as long as the group's settings say. */
static int on_missed(void *ctx, const struct history_at *at)
{
    struct making *m = ctx;
    struct err ignored;
    enum scan_missed what = scan_judge_missed(&m->judge, at, &m->left);
    if (what != SCAN_BURIED)
        m->report->changed = true;
    if (what == SCAN_DELETED && at->recorded)
        history_gone(m->history, at->recorded);
    if (what == SCAN_LOST)
        return 0;
    m->left.flags = filter_excludes(m->keep->o->filter, m->left.path, m->left.path_len, false)
                        ? ENTRY_HIDDEN : 0;
    return manifest_writer_put(m->out, &m->left, &ignored) < 0 ? ERR_SYS : 1;
}

/* As with other directories: who was away for so long may have missed deletions, and must not speak of them. */
static bool was_away(const struct blob_keep *k)
{
    int64_t last;
    if (k->state.fd < 0 || !state_read_last(&k->state, &last))
        return true;
    int64_t time = k->rules.now - last;
    return (time < 0 ? -time : time) > k->rules.tombstones;
}

static struct scan_judge judge_of(const struct blob_keep *k, uint64_t floor)
{
    bool deletes = k->directory && k->rules.propagate && !k->rules.adopted && !was_away(k);
    return (struct scan_judge){.self = k->id, .floor = floor, .now = {k->moment, 0},
                               .absence = {deletes, k->rules.now, k->rules.tombstones}};
}

/* A version for an object that nothing is known of, or that is here again though it was deleted. */
static void begin_record(struct making *m, const struct entry *was)
{
    uint64_t count = history_floor(m->history);
    struct entry *now = &m->entry;
    if (was) {
        version_copy(&now->version, &was->version);
        if (version_count(&now->version, &m->keep->id) > count)
            count = version_count(&now->version, &m->keep->id);
    }
    version_set(&now->version, &m->keep->id, count + 1);
    now->origin = m->keep->id;
    now->first_seen = m->keep->moment;
    m->report->changed = true;
}

static void take_record(struct making *m, const struct entry *was)
{
    struct entry *now = &m->entry;
    version_copy(&now->version, &was->version);
    holders_copy(&now->holders, &was->holders);
    now->origin = was->origin;
    now->first_seen = was->first_seen;
    now->place = was->place;
    now->flags |= was->flags & ENTRY_DAMAGED;
    m->report->changed |= !entry_same_content(now, was) || !entry_same_meta(now, was);
}

static void take_check(struct making *m, const struct blob_listed *item)
{
    static const struct digest none;
    struct entry *now = &m->entry;
    now->flags &= ~(unsigned)ENTRY_DAMAGED;
    if (item->damaged)
        now->flags |= ENTRY_DAMAGED;
    else
        now->place = (struct entry_place){.ino = 1, .verified = m->keep->moment};
    if (!item->damaged && !digest_same(&item->digest, &none)) {
        now->digest = item->digest;
        now->size = item->size;
        now->mtime = item->mtime;
    }
    m->report->hashed++;
    m->report->hashed_bytes += item->size;
    m->report->changed = true;
}

static int put_one(struct making *m, const struct blob_list *list, size_t i, struct err *e)
{
    const char *id = blob_list_id(list, i);
    size_t len = strlen(id);
    struct history_at at;
    int rc = history_seek(m->history, id, len, &at, e);
    if (rc < 0)
        return rc;
    const struct entry *was = at.recorded ? at.recorded : at.intent;
    m->entry = blob_entry(id, len);
    if (was && was->kind == ENTRY_FILE)
        take_record(m, was);
    else
        begin_record(m, was);
    m->report->changed |= !at.recorded;
    if (list->item[i].checked)
        take_check(m, &list->item[i]);
    /* Content that others have read must not be compared with what this one is believed to have. */
    if (list->item[i].unknown != (was && was->flags & ENTRY_UNKNOWN))
        m->report->changed = true;
    m->entry.flags |= list->item[i].unknown ? ENTRY_UNKNOWN : 0u;
    m->report->problems += list->item[i].unknown;
    bool hidden = filter_excludes(m->keep->o->filter, id, len, false);
    if (hidden != (was && was->flags & ENTRY_HIDDEN))
        m->report->changed = true;
    m->entry.flags |= hidden ? ENTRY_HIDDEN : 0u;
    m->report->damaged += (m->entry.flags & ENTRY_DAMAGED) != 0;
    if (i == 0 || m->entry.place.verified < m->report->verified)
        m->report->verified = m->entry.place.verified;
    return manifest_writer_put(m->out, &m->entry, e);
}

static int write_manifest(struct blob_keep *k, const struct blob_list *list, int fd, struct store_scan *out, struct err *e)
{
    struct err ignored;
    int journal = k->state.fd < 0 ? -1 : state_file(&k->state, STATE_JOURNAL, &ignored);
    struct making m = {.keep = k, .report = out};
    m.history = history_new(k->before, journal >= 0 ? journal : -1, &k->id, e);
    if (!m.history && journal >= 0) /* a journal that cannot be read is worth nothing */
        m.history = history_new(k->before, -1, &k->id, e);
    if (!m.history) {
        if (journal >= 0)
            close(journal);
        return e->code;
    }
    struct manifest_head head = {DIGEST_XXH3_128, k->id, history_floor(m.history), clock_now()};
    m.out = manifest_writer_new(fd, &head);
    m.judge = judge_of(k, head.floor);
    history_on_missed(m.history, on_missed, &m);
    uint64_t floor = head.floor;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < list->n; i++)
        rc = put_one(&m, list, i, e);
    if (rc == 0)
        rc = history_end(m.history, &floor, e);
    if (rc == 0 && floor != head.floor) {
        head.floor = floor;
        rc = manifest_writer_rehead(m.out, &head, e);
    }
    if (rc == 0)
        rc = manifest_writer_end(m.out, &out->totals, e);
    out->floor = head.floor;
    out->changed |= k->before < 0 || history_dropped(m.history);
    manifest_writer_free(m.out);
    history_free(m.history);
    if (journal >= 0)
        close(journal);
    return rc;
}

/* For nobody but this run. */
static int unkept_manifest(struct err *e)
{
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    return fd < 0 ? err_sys(e, "cannot make a temporary file") : fd;
}

int blob_keep_scan(struct blob_keep *k, const struct blob_list *list, struct store_scan *out, struct err *e)
{
    bool kept = k->state.fd >= 0 && !k->o->dry_run;
    int fd = kept ? state_create(&k->state, STATE_MANIFEST_NEW, e) : unkept_manifest(e);
    if (fd < 0)
        return fd;
    int rc = write_manifest(k, list, fd, out, e);
    if (rc == 0 && kept && out->changed)
        rc = state_adopt_manifest(&k->state, fd, k->o->fsync, e);
    else if (kept)
        state_remove(&k->state, STATE_MANIFEST_NEW);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    if (kept)
        state_remove(&k->state, STATE_JOURNAL);
    if (!out->changed) {
        close(fd);
        k->manifest = k->before;
        k->before = -1;
    } else {
        k->manifest = fd;
    }
    return 0;
}

/* ---- what a run does ---- */

static int need_journal(struct blob_keep *k, struct err *e)
{
    if (k->journal)
        return 0;
    k->journal_fd = k->state.fd < 0 ? memfd_create("journal", MFD_CLOEXEC) : state_create(&k->state, STATE_JOURNAL, e);
    if (k->journal_fd < 0)
        return k->state.fd < 0 ? err_sys(e, "cannot make a temporary file") : k->journal_fd;
    int own = fcntl(k->journal_fd, F_DUPFD_CLOEXEC, 3); /* which it closes */
    if (own < 0)
        return err_sys(e, "journal");
    k->journal = journal_new(own, &k->id, e);
    return k->journal ? 0 : e->code;
}

enum blob_removal blob_keep_removal(const struct blob_keep *k)
{
    return k->removal;
}

void blob_keep_set_removal(struct blob_keep *k, enum blob_removal how)
{
    struct err ignored; /* not remembered, it is found out once more */
    bool same = k->removal == how;
    k->removal = how;
    if (same || k->state.fd < 0)
        return;
    state_remove(&k->state, how == BLOB_TAKES ? REFUSES : TAKES);
    int fd = state_create(&k->state, how == BLOB_TAKES ? TAKES : REFUSES, &ignored);
    if (fd >= 0)
        close(fd);
}

#define JOURNAL_OFTEN 256u /* operations: what a killed run may forget */

static int record(struct blob_keep *k, const struct entry *entry, int64_t verified, struct err *e)
{
    struct entry_place place = {.ino = 1, .verified = entry->kind == ENTRY_FILE ? verified : 0};
    int rc = need_journal(k, e);
    if (rc < 0)
        return rc;
    journal_done(k->journal, journal_intent(k->journal, entry), &place);
    return ++k->done % JOURNAL_OFTEN ? 0 : journal_flush(k->journal, false, e);
}

static int find(struct blob_keep *k, const char *id, const struct entry **found, struct err *e)
{
    if (!k->lookup)
        k->lookup = lookup_new(k->manifest);
    return lookup_find(k->lookup, id, strlen(id), found, e);
}

int blob_keep_done(struct blob_keep *k, const struct entry *entry, struct err *e)
{
    const struct entry *was;
    int rc = find(k, entry->path, &was, e);
    /* A record that is new says nothing of when content was last read; an object that was not there has been written now. */
    bool there = rc == 0 && was && was->kind == ENTRY_FILE && !(was->flags & ENTRY_DAMAGED);
    return rc < 0 ? rc : record(k, entry, there ? was->place.verified : k->moment, e);
}

int blob_keep_pruned(struct blob_keep *k, const struct entry *entry, struct err *e)
{
    int rc = need_journal(k, e);
    if (rc < 0)
        return rc;
    journal_done(k->journal, journal_prune(k->journal, entry), &JOURNAL_NO_PLACE);
    k->done++;
    return 0;
}

int blob_keep_damaged(struct blob_keep *k, const char *id, struct err *e)
{
    const struct entry *was;
    int rc = find(k, id, &was, e);
    if (rc < 0 || !was || was->kind != ENTRY_FILE)
        return rc;
    struct entry now;
    entry_copy(&now, was);
    now.flags |= ENTRY_DAMAGED;
    return record(k, &now, was->place.verified, e);
}

static int fold(struct blob_keep *k, struct err *e)
{
    bool kept = k->state.fd >= 0;
    int out = kept ? state_create(&k->state, STATE_MANIFEST_NEW, e) : unkept_manifest(e);
    int rc = out < 0 ? out : journal_flush(k->journal, false, e);
    if (rc == 0)
        rc = fold_manifest(k->manifest, k->journal_fd, out, &k->id, e);
    if (rc == 0 && kept)
        rc = state_adopt_manifest(&k->state, out, k->o->fsync, e);
    if (rc < 0) {
        if (out >= 0)
            close(out);
        return rc;
    }
    if (k->before >= 0)
        close(k->before);
    k->before = k->manifest;
    k->manifest = out;
    return 0;
}

int blob_keep_commit(struct blob_keep *k, const struct store_peer *peer, size_t peers, struct err *e)
{
    int rc = k->done ? fold(k, e) : 0;
    drop_journal(k);
    k->done = 0;
    lookup_free(k->lookup);
    k->lookup = NULL;
    if (rc < 0 || k->state.fd < 0)
        return rc;
    state_remove(&k->state, STATE_JOURNAL);
    rc = state_remember_peers(&k->state, peer, peers, k->o->fsync != STORE_FSYNC_NONE, e);
    if (rc == 0)
        rc = state_write_last(&k->state, k->rules.now, e);
    return rc < 0 ? rc : state_write_seen(&k->state, peer, peers, k->rules.now, e);
}
