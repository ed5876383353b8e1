#include "store/journal.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "object/digest.h"
#include "object/manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Header: magic, the store's uuid, u64 checksum of both. Record: u32 length of the body, u64 checksum of the
 * body, body. Body: u8 kind, then an entry (INTENT), varint index and place (DONE), varint index (UNDO).
 */
#define MAGIC "sosjrnl1"
#define MAGIC_LEN 8
#define HEAD_LEN (MAGIC_LEN + 16 + 8)
#define FRAME_LEN 12
#define BODY_MAX 65536u
#define WINDOW_MAX (256u << 10)

enum record { RECORD_INTENT = 1, RECORD_DONE = 2, RECORD_UNDO = 3 };

/* ---- writing ---- */

struct journal {
    int fd;
    uint64_t intents;
    uint64_t bytes; /* that were written */
    struct buf out;
    struct buf body;
};

static void put_head(struct buf *b, const struct uuid *store)
{
    buf_put(b, MAGIC, MAGIC_LEN);
    buf_put(b, store->b, sizeof store->b);
    buf_u64(b, digest_check(b->data, b->len));
}

struct journal *journal_new(int fd, const struct uuid *store, struct err *e)
{
    struct journal *j = mem_zalloc(sizeof *j);
    j->fd = fd;
    put_head(&j->out, store);
    if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        err_sys(e, "journal");
        journal_free(j);
        return NULL;
    }
    return j;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    close(j->fd);
    buf_free(&j->out);
    buf_free(&j->body);
    free(j);
}

static void begin(struct journal *j, enum record kind)
{
    j->body.len = 0;
    buf_u8(&j->body, (uint8_t)kind);
}

static void finish(struct journal *j)
{
    buf_u32(&j->out, (uint32_t)j->body.len);
    buf_u64(&j->out, digest_check(j->body.data, j->body.len));
    buf_put(&j->out, j->body.data, j->body.len);
}

uint64_t journal_intent(struct journal *j, const struct entry *e)
{
    begin(j, RECORD_INTENT);
    manifest_put_entry(&j->body, e);
    finish(j);
    return j->intents++;
}

uint64_t journal_prune(struct journal *j, const struct entry *e)
{
    struct entry gone = {.path = e->path, .path_len = e->path_len, .kind = ENTRY_GONE, .flags = ENTRY_HIDDEN,
                         .origin = e->origin, .first_seen = e->first_seen};
    version_copy(&gone.version, &e->version);
    return journal_intent(j, &gone);
}

bool journal_is_prune(const struct entry *intent)
{
    return intent->kind == ENTRY_GONE && intent->flags & ENTRY_HIDDEN;
}

void journal_done(struct journal *j, uint64_t intent, const struct entry_place *place)
{
    begin(j, RECORD_DONE);
    buf_varint(&j->body, intent);
    manifest_put_place(&j->body, place);
    finish(j);
}

void journal_undo(struct journal *j, uint64_t intent)
{
    begin(j, RECORD_UNDO);
    buf_varint(&j->body, intent);
    finish(j);
}

int journal_flush(struct journal *j, bool sync, struct err *e)
{
    off_t at = lseek(j->fd, 0, SEEK_CUR);
    if (file_write(j->fd, j->out.data, j->out.len) < 0) {
        int rc = err_sys(e, "journal");
        /* A part of it must not stay: all of it may be written again. */
        if (at >= 0 && ftruncate(j->fd, at) == 0)
            lseek(j->fd, at, SEEK_SET);
        return rc;
    }
    j->bytes += j->out.len;
    j->out.len = 0;
    if (sync && fdatasync(j->fd) < 0) {
        /* The kernel may have let go of what it could not write: a second sync would promise what is not there. */
        int rc = err_sys(e, "journal");
        if (e)
            e->sys = EIO;
        return rc;
    }
    return 0;
}

uint64_t journal_intents(const struct journal *j)
{
    return j->intents;
}

uint64_t journal_bytes(const struct journal *j)
{
    return j->bytes + j->out.len;
}

uint64_t journal_waiting(const struct journal *j)
{
    return j->out.len;
}

/* ---- reading ---- */

/* A piece of the file, so that records that lie together cost one read. */
struct window {
    int fd;
    uint8_t *data;
    size_t cap, len;
    uint64_t from;
};

#define NOT_DONE 0
#define UNDONE UINT64_MAX

struct mark {
    uint64_t at;   /* offset of the intent's record */
    uint64_t done; /* offset of its DONE record, NOT_DONE or UNDONE */
};

/* A phase: a run of intents whose paths ascend. Holds the next one of them. */
struct phase {
    size_t at, end; /* intents: the one that is held, and behind the last */
    struct window w;
    struct entry e;
    char path[PATH_LEN_MAX + 1];
};

struct journal_reader {
    int fd;
    struct mark *mark;
    size_t marks, cap;
    struct phase **heap; /* the phase with the least next path first; of equal paths the older one */
    size_t phases;
    struct window w; /* for DONE records */
    struct entry e;
    char path[PATH_LEN_MAX + 1];
};

/* 1: *p points at n bytes from offset at; 0: the file ends before; or an error. */
static int window_get(struct window *w, uint64_t at, size_t n, const uint8_t **p, struct err *e)
{
    if (at < w->from || at - w->from > w->len || w->len - (at - w->from) < n) {
        if (w->cap < n || !w->data) {
            w->cap = w->cap < n ? n : w->cap;
            free(w->data);
            w->data = mem_alloc(w->cap);
        }
        ssize_t got = file_pread(w->fd, w->data, w->cap, (off_t)at);
        if (got < 0)
            return err_sys(e, "journal");
        w->from = at;
        w->len = (size_t)got;
        if (w->len < n)
            return 0;
    }
    *p = w->data + (at - w->from);
    return 1;
}

/* 1: *body is the record at offset at, and *next the offset behind it; 0: no whole record stands there. */
static int record_at(struct window *w, uint64_t at, struct rd *body, uint64_t *next, struct err *e)
{
    const uint8_t *p;
    int rc = window_get(w, at, FRAME_LEN, &p, e);
    if (rc <= 0)
        return rc;
    struct rd frame = rd_of(p, FRAME_LEN);
    uint32_t len = rd_u32(&frame);
    uint64_t sum = rd_u64(&frame);
    if (len == 0 || len > BODY_MAX)
        return 0;
    rc = window_get(w, at + FRAME_LEN, len, &p, e);
    if (rc <= 0)
        return rc;
    if (digest_check(p, len) != sum)
        return 0;
    *body = rd_of(p, len);
    *next = at + FRAME_LEN + len;
    return 1;
}

/* 1: a header of this store; 0: the file ends before one does. */
static int read_head(int fd, const struct uuid *store, struct err *e)
{
    static const uint8_t nothing[HEAD_LEN];
    uint8_t have[HEAD_LEN];
    ssize_t n = file_pread(fd, have, sizeof have, 0);
    if (n < 0)
        return err_sys(e, "journal");
    if (n < HEAD_LEN || memcmp(have, nothing, HEAD_LEN) == 0)
        return 0; /* never synced, so that nothing was done under it */
    struct buf want = {0};
    put_head(&want, store);
    int rc = 1;
    if (memcmp(have, want.data, MAGIC_LEN) != 0)
        rc = err_set(e, ERR_FORMAT, "journal: not a journal");
    else if (memcmp(have, want.data, HEAD_LEN - 8) != 0)
        rc = err_set(e, ERR_FORMAT, "journal: of another store");
    else if (memcmp(have, want.data, HEAD_LEN) != 0)
        rc = err_set(e, ERR_FORMAT, "journal: its header is damaged");
    buf_free(&want);
    return rc;
}

/* Parses an intent. Checksums were right: what is wrong now was written wrong. */
static int parse_intent(struct rd *body, char *path, struct entry *entry, struct err *e)
{
    int rc = manifest_get_entry(body, path, entry, e);
    if (rc == 0 && !rd_done(body))
        rc = err_set(e, ERR_FORMAT, "record with bytes behind its end");
    return rc < 0 ? err_wrap(e, "journal") : 0;
}

static void add_phase(struct journal_reader *r)
{
    r->heap = mem_resize(r->heap, r->phases + 1, sizeof *r->heap);
    struct phase *ph = mem_zalloc(sizeof *ph);
    ph->at = ph->end = r->marks;
    ph->w.fd = r->fd;
    r->heap[r->phases++] = ph;
}

static int take_intent(struct journal_reader *r, uint64_t at, struct rd *body, struct err *e)
{
    struct entry now;
    char path[PATH_LEN_MAX + 1];
    int rc = parse_intent(body, path, &now, e);
    if (rc < 0)
        return rc;
    if (r->marks == 0 || path_cmp(r->path, r->e.path_len, path, now.path_len) >= 0)
        add_phase(r);
    memcpy(r->path, path, now.path_len + 1);
    r->e.path_len = now.path_len;
    if (r->marks == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 256;
        r->mark = mem_resize(r->mark, r->cap, sizeof *r->mark);
    }
    r->mark[r->marks++] = (struct mark){at, NOT_DONE};
    r->heap[r->phases - 1]->end = r->marks;
    return 0;
}

/* Of DONE and UNDO records; leaves the reader behind the index. */
static int take_outcome(struct journal_reader *r, uint64_t what, struct rd *body, bool has_place,
                        struct err *e)
{
    struct entry_place place = {.ino = 1};
    uint64_t index = rd_varint(body);
    if (has_place && !body->bad && manifest_get_place(body, &place, e) < 0)
        return err_wrap(e, "journal");
    if (!rd_done(body) || index >= r->marks || place.ino == 0)
        return err_set(e, ERR_FORMAT, "journal: a record that makes no sense");
    r->mark[index].done = what;
    return 0;
}

/* Goes once through the file: where the intents are, and what became of them. */
static int read_marks(struct journal_reader *r, struct err *e)
{
    struct rd body;
    uint64_t at = HEAD_LEN, next;
    int rc;
    while ((rc = record_at(&r->w, at, &body, &next, e)) > 0) {
        switch (rd_u8(&body)) {
        case RECORD_INTENT: rc = take_intent(r, at, &body, e); break;
        case RECORD_DONE: rc = take_outcome(r, at, &body, true, e); break;
        case RECORD_UNDO: rc = take_outcome(r, UNDONE, &body, false, e); break;
        default: rc = err_set(e, ERR_FORMAT, "journal: record of unknown kind");
        }
        if (rc < 0)
            return rc;
        at = next;
    }
    return rc;
}

static bool before(const struct phase *a, const struct phase *b)
{
    int c = path_cmp(a->path, a->e.path_len, b->path, b->e.path_len);
    return c ? c < 0 : a->at < b->at;
}

static void sift_down(struct journal_reader *r, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < r->phases; k++)
            if (before(r->heap[k], r->heap[least]))
                least = k;
        if (least == i)
            return;
        struct phase *t = r->heap[i];
        r->heap[i] = r->heap[least];
        r->heap[least] = t;
        i = least;
    }
}

static int phase_load(struct journal_reader *r, struct phase *ph, struct err *e)
{
    struct rd body;
    uint64_t next;
    int rc = record_at(&ph->w, r->mark[ph->at].at, &body, &next, e);
    if (rc == 0)
        rc = err_set(e, ERR_FORMAT, "journal: changed while it was read");
    if (rc < 0)
        return rc;
    rd_u8(&body);
    return parse_intent(&body, ph->path, &ph->e, e);
}

static void phase_free(struct phase *ph)
{
    free(ph->w.data);
    free(ph);
}

/* Steps over the least intent. */
static int step(struct journal_reader *r, struct err *e)
{
    struct phase *ph = r->heap[0];
    int rc = 0;
    if (++ph->at < ph->end) {
        rc = phase_load(r, ph, e);
    } else {
        phase_free(ph);
        r->heap[0] = r->heap[--r->phases];
    }
    if (rc == 0 && r->phases)
        sift_down(r, 0);
    return rc;
}

struct journal_reader *journal_reader_new(int fd, const struct uuid *store, struct err *e)
{
    struct journal_reader *r = mem_zalloc(sizeof *r);
    r->fd = r->w.fd = fd;
    r->w.cap = WINDOW_MAX;
    int rc = read_head(fd, store, e);
    if (rc > 0)
        rc = read_marks(r, e);
    for (size_t i = 0; rc == 0 && i < r->phases; i++) {
        r->heap[i]->w.cap = r->phases <= 16 ? WINDOW_MAX / 4 : 512;
        rc = phase_load(r, r->heap[i], e);
    }
    if (rc < 0) {
        journal_reader_free(r);
        return NULL;
    }
    for (size_t i = r->phases / 2; i-- > 0;)
        sift_down(r, i);
    return r;
}

void journal_reader_free(struct journal_reader *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->phases; i++)
        phase_free(r->heap[i]);
    free(r->heap);
    free(r->mark);
    free(r->w.data);
    free(r);
}

uint64_t journal_reader_intents(const struct journal_reader *r)
{
    return r->marks;
}

/* The outcome of the intent that is held in r->e. */
static int read_outcome(struct journal_reader *r, uint64_t at, bool *done, struct err *e)
{
    *done = at != NOT_DONE;
    memset(&r->e.place, 0, sizeof r->e.place);
    if (!*done)
        return 1;
    struct rd body;
    uint64_t next;
    int rc = record_at(&r->w, at, &body, &next, e);
    if (rc == 0)
        return err_set(e, ERR_FORMAT, "journal: changed while it was read");
    if (rc < 0)
        return rc;
    rd_u8(&body);
    rd_varint(&body);
    return manifest_get_place(&body, &r->e.place, e) < 0 ? err_wrap(e, "journal") : 1;
}

int journal_reader_next(struct journal_reader *r, const struct entry **entry, bool *done, struct err *e)
{
    while (r->phases) {
        uint64_t outcome = UNDONE;
        bool first = true;
        while (r->phases) {
            const struct phase *ph = r->heap[0];
            if (!first && path_cmp(r->path, r->e.path_len, ph->path, ph->e.path_len) != 0)
                break;
            if (first || r->mark[ph->at].done != UNDONE) {
                entry_copy(&r->e, &ph->e);
                memcpy(r->path, ph->path, ph->e.path_len + 1);
                outcome = r->mark[ph->at].done;
            }
            first = false;
            int rc = step(r, e);
            if (rc < 0)
                return rc;
        }
        if (outcome == UNDONE)
            continue;
        r->e.path = r->path;
        *entry = &r->e;
        return read_outcome(r, outcome, done, e);
    }
    return 0;
}
