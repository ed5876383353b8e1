#include "wire/message.h"

#include "object/squeeze.h"
#include "store/store.h"

#include <string.h>

static const char *const names[MSG_TYPES] = {
    [MSG_OPEN] = "OPEN", [MSG_OPENED] = "OPENED", [MSG_SCAN] = "SCAN", [MSG_PROGRESS] = "PROGRESS",
    [MSG_PROBLEM] = "PROBLEM", [MSG_SCANNED] = "SCANNED", [MSG_LIST] = "LIST", [MSG_BLOCK] = "BLOCK",
    [MSG_LIST_END] = "LIST_END", [MSG_HAVE] = "HAVE", [MSG_HAD] = "HAD", [MSG_LEND] = "LEND",
    [MSG_APPLY] = "APPLY", [MSG_RESULT] = "RESULT", [MSG_DONE] = "DONE", [MSG_FLUSH] = "FLUSH",
    [MSG_SEND] = "SEND", [MSG_SEND_END] = "SEND_END", [MSG_DATA] = "DATA", [MSG_DATA_END] = "DATA_END",
    [MSG_CREDIT] = "CREDIT", [MSG_COMMIT] = "COMMIT", [MSG_COMMITTED] = "COMMITTED",
    [MSG_FAILED] = "FAILED", [MSG_BYE] = "BYE",
    [MSG_SIGN] = "SIGN", [MSG_SEND_DELTA] = "SEND_DELTA", [MSG_LISTING] = "LISTING", [MSG_DIFF] = "DIFF",
    [MSG_DATA_Z] = "DATA_Z",
    [MSG_TRASH_LIST] = "TRASH_LIST", [MSG_TRASH_ITEM] = "TRASH_ITEM", [MSG_TRASH_RESTORE] = "TRASH_RESTORE",
    [MSG_TRASH_EMPTY] = "TRASH_EMPTY", [MSG_TRASH_DONE] = "TRASH_DONE",
    [MSG_CHECK] = "CHECK", [MSG_CHECKED] = "CHECKED", [MSG_STATUS] = "STATUS", [MSG_STATED] = "STATED",
};

const char *message_name(unsigned type)
{
    return type < MSG_TYPES && names[type] ? names[type] : "?";
}

static int finish(const struct frame *f, bool ok, struct err *e)
{
    if (ok && rd_done(&f->body))
        return 0;
    return err_set(e, ERR_PROTO, "malformed %s message", message_name(f->type));
}

static void put_uuid(struct buf *b, const struct uuid *u)
{
    buf_put(b, u->b, sizeof u->b);
}

static void get_uuid(struct rd *r, struct uuid *u)
{
    const uint8_t *p = rd_bytes(r, sizeof u->b);
    if (p)
        memcpy(u->b, p, sizeof u->b);
    else
        memset(u->b, 0, sizeof u->b);
}

static bool is_time(int64_t t)
{
    return t >= -ENTRY_TIME_MAX && t <= ENTRY_TIME_MAX;
}

static void put_peers(struct buf *b, const struct message_peer *peer, size_t n)
{
    buf_varint(b, n);
    for (size_t i = 0; i < n; i++) {
        put_uuid(b, &peer[i].id);
        buf_str(b, peer[i].address, peer[i].address_len);
        buf_svarint(b, peer[i].seen);
    }
}

/* Walks the list once so that message_next_peer later cannot meet anything malformed. */
static void get_peers(struct rd *r, size_t *n, struct rd *list)
{
    uint64_t count = rd_varint(r);
    if (count > MSG_PEERS_MAX)
        r->bad = true;
    const uint8_t *from = r->p;
    struct message_peer p;
    for (uint64_t i = 0; !r->bad && i < count; i++) {
        get_uuid(r, &p.id);
        rd_str(r, MSG_TEXT_MAX, &p.address_len);
        if (!is_time(rd_svarint(r)))
            r->bad = true;
    }
    *n = r->bad ? 0 : (size_t)count;
    *list = rd_of(from, r->bad ? 0 : (size_t)(r->p - from));
}

int message_next_peer(struct rd *list, struct message_peer *p)
{
    if (rd_left(list) == 0)
        return 0;
    get_uuid(list, &p->id);
    p->address = rd_str(list, MSG_TEXT_MAX, &p->address_len);
    p->seen = rd_svarint(list);
    return !list->bad;
}

static void put_rules(struct buf *b, const struct store_rules *r)
{
    buf_u8(b, (uint8_t)((r->propagate ? RULES_PROPAGATE : 0u) | (r->emptied ? RULES_EMPTIED : 0u) |
                        (r->cross ? RULES_CROSS : 0u) | (r->adopted ? RULES_ADOPTED : 0u)));
    buf_svarint(b, r->now);
    buf_varint(b, (uint64_t)r->tombstones);
    buf_varint(b, (uint64_t)r->trash);
    buf_varint(b, r->part);
    buf_varint(b, r->parts);
    buf_varint(b, r->rate);
}

static bool get_rules(struct rd *r, struct store_rules *rules)
{
    uint8_t flags = rd_u8(r);
    int64_t now = rd_svarint(r);
    uint64_t tombstones = rd_varint(r), trash = rd_varint(r);
    uint64_t part = rd_varint(r), parts = rd_varint(r), rate = rd_varint(r);
    *rules = (struct store_rules){.now = now, .propagate = flags & RULES_PROPAGATE, .emptied = flags & RULES_EMPTIED,
                                  .cross = flags & RULES_CROSS, .adopted = flags & RULES_ADOPTED, .tombstones = (int64_t)tombstones,
                                  .trash = (int64_t)trash, .part = (unsigned)part, .parts = (unsigned)parts,
                                  .rate = rate};
    return flags < RULES_ADOPTED << 1 && now >= -ENTRY_TIME_MAX && now <= ENTRY_TIME_MAX &&
           tombstones <= (uint64_t)ENTRY_TIME_MAX && trash <= (uint64_t)ENTRY_TIME_MAX && parts <= MSG_PARTS_MAX &&
           part <= parts && (part > 0) == (parts > 0);
}

/* ---- writers ---- */

void message_put_open(struct wire_out *o, const struct message_open *m, const struct buf *filter)
{
    struct buf *b = wire_out_begin(o, MSG_OPEN, 0);
    buf_u8(b, (uint8_t)m->flags);
    buf_u8(b, m->fsync);
    buf_u8(b, m->compress);
    buf_varint(b, m->threads);
    buf_str(b, m->root, m->root_len);
    buf_str(b, m->state_dir, m->state_dir_len);
    buf_str(b, m->by, m->by_len < MSG_BY_MAX ? m->by_len : MSG_BY_MAX);
    put_rules(b, &m->rules);
    buf_put(b, filter->data, filter->len);
    wire_out_end(o);
}

void message_put_opened(struct wire_out *o, const struct message_opened *m, const struct message_peer *peer)
{
    struct buf *b = wire_out_begin(o, MSG_OPENED, 0);
    buf_u8(b, (uint8_t)m->flags);
    put_uuid(b, &m->id);
    buf_varint(b, m->caps);
    buf_varint(b, m->free_bytes);
    buf_str(b, m->group, m->group_len);
    put_peers(b, peer, m->peers);
    wire_out_end(o);
}

void message_put_scan(struct wire_out *o, const struct message_scan *m)
{
    struct buf *b = wire_out_begin(o, MSG_SCAN, 0);
    put_uuid(b, &m->id);
    buf_str(b, m->group, m->group_len);
    wire_out_end(o);
}

void message_put_progress(struct wire_out *o, const struct message_progress *m)
{
    struct buf *b = wire_out_begin(o, MSG_PROGRESS, 0);
    buf_varint(b, m->objects);
    buf_varint(b, m->bytes);
    wire_out_end(o);
}

static size_t text_len(const char *text)
{
    size_t n = strlen(text);
    return n < MSG_TEXT_MAX ? n : MSG_TEXT_MAX;
}

void message_put_problem(struct wire_out *o, unsigned what, const char *path, const char *text)
{
    struct buf *b = wire_out_begin(o, MSG_PROBLEM, 0);
    buf_u8(b, (uint8_t)what);
    buf_str(b, path, text_len(path));
    buf_str(b, text, text_len(text));
    wire_out_end(o);
}

void message_put_scanned(struct wire_out *o, const struct message_scanned *m)
{
    struct buf *b = wire_out_begin(o, MSG_SCANNED, 0);
    manifest_put_totals(b, &m->totals);
    buf_varint(b, m->hashed);
    buf_varint(b, m->hashed_bytes);
    buf_varint(b, m->special);
    buf_varint(b, m->problems);
    buf_varint(b, m->partials);
    buf_varint(b, m->floor);
    buf_varint(b, m->before);
    buf_varint(b, m->damaged);
    buf_svarint(b, m->verified);
    buf_u8(b, m->changed);
    wire_out_end(o);
}

void message_put_stated(struct wire_out *o, const struct store_status *m)
{
    struct buf *b = wire_out_begin(o, MSG_STATED, 0);
    buf_u8(b, m->recorded);
    manifest_put_totals(b, &m->totals);
    buf_varint(b, m->damaged);
    buf_svarint(b, m->verified);
    buf_svarint(b, m->last_run);
    wire_out_end(o);
}

void message_put_list(struct wire_out *o, const struct message_list *m)
{
    struct buf *b = wire_out_begin(o, MSG_LIST, 0);
    buf_u8(b, m->named);
    if (m->named) {
        buf_varint(b, m->entries);
        buf_put(b, m->shared.b, DIGEST_LEN);
    }
    wire_out_end(o);
}

void message_put_listing(struct wire_out *o, bool difference)
{
    buf_u8(wire_out_begin(o, MSG_LISTING, 0), difference);
    wire_out_end(o);
}

void message_put_totals(struct wire_out *o, uint8_t type, const struct manifest_totals *t)
{
    manifest_put_totals(wire_out_begin(o, type, 0), t);
    wire_out_end(o);
}

void message_put_have(struct wire_out *o, const struct digest *d, size_t n)
{
    struct buf *b = wire_out_begin(o, MSG_HAVE, 0);
    buf_varint(b, n);
    for (size_t i = 0; i < n; i++)
        buf_put(b, d[i].b, digest_len((enum digest_algo)d[0].algo));
    wire_out_end(o);
}

void message_put_had(struct wire_out *o, const uint8_t *have, size_t n)
{
    struct buf *b = wire_out_begin(o, MSG_HAD, 0);
    buf_varint(b, n);
    for (size_t i = 0; i < n; i += 4) {
        unsigned bits = 0;
        for (size_t k = 0; k < 4 && i + k < n; k++)
            bits |= (unsigned)have[i + k] << 2 * k;
        buf_u8(b, (uint8_t)bits);
    }
    wire_out_end(o);
}

void message_put_number(struct wire_out *o, uint8_t type, uint16_t channel, uint64_t n)
{
    buf_varint(wire_out_begin(o, type, channel), n);
    wire_out_end(o);
}

void message_put_apply(struct wire_out *o, uint16_t channel, const struct message_apply *m)
{
    struct buf *b = wire_out_begin(o, MSG_APPLY, channel);
    buf_varint(b, m->seq);
    buf_u8(b, m->how);
    buf_u8(b, m->from);
    buf_u8(b, m->why);
    buf_varint(b, m->lender);
    if (m->from == STORE_FROM_ROOT || m->from == STORE_FROM_SELF)
        buf_str(b, m->from_path ? m->from_path : "", m->from_path ? strlen(m->from_path) : 0);
    manifest_put_entry(b, &m->entry);
    wire_out_end(o);
}

void message_put_result(struct wire_out *o, uint64_t seq, int code, const char *text)
{
    struct buf *b = wire_out_begin(o, MSG_RESULT, 0);
    buf_varint(b, seq);
    buf_varint(b, (uint64_t)-code);
    buf_str(b, text, text_len(text));
    wire_out_end(o);
}

void message_put_send(struct wire_out *o, uint8_t type, uint16_t channel, const struct entry *want)
{
    manifest_put_entry(wire_out_begin(o, type, channel), want);
    wire_out_end(o);
}

void message_put_check(struct wire_out *o, bool read, const struct entry *want)
{
    struct buf *b = wire_out_begin(o, MSG_CHECK, MSG_CHANNEL_LIST);
    buf_u8(b, read);
    manifest_put_entry(b, want);
    wire_out_end(o);
}

void message_put_send_delta(struct wire_out *o, uint16_t channel, uint16_t signatures, const struct entry *want)
{
    struct buf *b = wire_out_begin(o, MSG_SEND_DELTA, channel);
    buf_u16(b, signatures);
    manifest_put_entry(b, want);
    wire_out_end(o);
}

void message_put_done(struct wire_out *o, uint64_t seq, uint64_t literal)
{
    struct buf *b = wire_out_begin(o, MSG_DONE, 0);
    buf_varint(b, seq);
    buf_varint(b, literal);
    wire_out_end(o);
}

void message_put_commit(struct wire_out *o, const struct message_peer *peer, size_t peers)
{
    put_peers(wire_out_begin(o, MSG_COMMIT, 0), peer, peers);
    wire_out_end(o);
}

void message_put_text(struct wire_out *o, uint8_t type, uint16_t channel, const char *text)
{
    buf_str(wire_out_begin(o, type, channel), text, text_len(text));
    wire_out_end(o);
}

void message_put_failed(struct wire_out *o, int code, const char *text)
{
    struct buf *b = wire_out_begin(o, MSG_FAILED, 0);
    buf_varint(b, (uint64_t)-code);
    buf_str(b, text, text_len(text));
    wire_out_end(o);
}

static void put_string(struct buf *b, const char *text, size_t max)
{
    size_t n = strlen(text);
    buf_str(b, text, n < max ? n : max);
}

void message_put_trash_item(struct wire_out *o, const struct store_trash *item)
{
    struct buf *b = wire_out_begin(o, MSG_TRASH_ITEM, 0);
    buf_varint(b, item->id);
    buf_svarint(b, item->when);
    buf_varint(b, item->size);
    put_string(b, item->reason, MSG_TRASH_REASON_MAX);
    put_string(b, item->run, MSG_TRASH_RUN_MAX);
    put_string(b, item->by, MSG_BY_MAX);
    put_string(b, item->path, PATH_LEN_MAX);
    wire_out_end(o);
}

void message_put_trash_restore(struct wire_out *o, const struct message_trash_restore *m)
{
    struct buf *b = wire_out_begin(o, MSG_TRASH_RESTORE, 0);
    buf_varint(b, m->id);
    buf_svarint(b, m->now);
    put_string(b, m->run, MSG_TRASH_RUN_MAX);
    wire_out_end(o);
}

void message_put_trash_empty(struct wire_out *o, const struct message_trash_empty *m)
{
    struct buf *b = wire_out_begin(o, MSG_TRASH_EMPTY, 0);
    buf_svarint(b, m->now);
    buf_varint(b, (uint64_t)m->older);
    wire_out_end(o);
}

void message_put_trash_done(struct wire_out *o, const struct message_trash_done *m)
{
    struct buf *b = wire_out_begin(o, MSG_TRASH_DONE, 0);
    buf_varint(b, (uint64_t)-m->code);
    buf_str(b, m->text, m->text_len < MSG_TEXT_MAX ? m->text_len : MSG_TEXT_MAX);
    buf_varint(b, m->items);
    buf_varint(b, m->bytes);
    wire_out_end(o);
}

/* ---- readers ---- */

static bool no_nul(const char *p, size_t n)
{
    return n == 0 || !memchr(p, '\0', n);
}

int message_get_open(struct frame *f, struct message_open *m, struct err *e)
{
    struct rd *r = &f->body;
    m->flags = rd_u8(r);
    m->fsync = rd_u8(r);
    m->compress = rd_u8(r);
    uint64_t threads = rd_varint(r);
    m->root = rd_str(r, PATH_LEN_MAX, &m->root_len);
    m->state_dir = rd_str(r, PATH_LEN_MAX, &m->state_dir_len);
    m->by = rd_str(r, MSG_BY_MAX, &m->by_len);
    bool ok = get_rules(r, &m->rules);
    ok = ok && m->flags < OPEN_SHA256 << 1 && m->fsync <= STORE_FSYNC_NONE &&
              m->compress <= SQUEEZE_NEVER && threads <= 256 && !r->bad && m->root_len > 0 && no_nul(m->root, m->root_len) &&
              no_nul(m->state_dir, m->state_dir_len) && no_nul(m->by, m->by_len);
    m->threads = ok ? (uint32_t)threads : 0;
    m->filter = *r; /* its own reader checks it */
    if (ok)
        rd_bytes(r, rd_left(r));
    return finish(f, ok, e);
}

int message_get_opened(struct frame *f, struct message_opened *m, struct err *e)
{
    struct rd *r = &f->body;
    m->flags = rd_u8(r);
    get_uuid(r, &m->id);
    uint64_t caps = rd_varint(r);
    m->caps = (unsigned)(caps & 0xffff);
    m->free_bytes = rd_varint(r);
    m->group = rd_str(r, MSG_TEXT_MAX, &m->group_len);
    get_peers(r, &m->peers, &m->peer_list);
    return finish(f, caps <= 0xffff && !uuid_none(&m->id) && no_nul(m->group, m->group_len), e);
}

int message_get_scan(struct frame *f, struct message_scan *m, struct err *e)
{
    get_uuid(&f->body, &m->id);
    m->group = rd_str(&f->body, MSG_TEXT_MAX, &m->group_len);
    return finish(f, !uuid_none(&m->id) && no_nul(m->group, m->group_len), e);
}

int message_get_progress(struct frame *f, struct message_progress *m, struct err *e)
{
    m->objects = rd_varint(&f->body);
    m->bytes = rd_varint(&f->body);
    return finish(f, true, e);
}

int message_get_problem(struct frame *f, struct message_problem *m, struct err *e)
{
    uint8_t what = rd_u8(&f->body);
    m->error = what == MSG_PROBLEM_ERROR;
    m->damage = what == MSG_PROBLEM_DAMAGE;
    m->path = rd_str(&f->body, MSG_TEXT_MAX, &m->path_len);
    m->text = rd_str(&f->body, MSG_TEXT_MAX, &m->text_len);
    return finish(f, what <= MSG_PROBLEM_DAMAGE, e);
}

int message_get_scanned(struct frame *f, struct message_scanned *m, struct err *e)
{
    manifest_get_totals(&f->body, &m->totals);
    m->hashed = rd_varint(&f->body);
    m->hashed_bytes = rd_varint(&f->body);
    m->special = rd_varint(&f->body);
    m->problems = rd_varint(&f->body);
    m->partials = rd_varint(&f->body);
    m->floor = rd_varint(&f->body);
    m->before = rd_varint(&f->body);
    m->damaged = rd_varint(&f->body);
    m->verified = rd_svarint(&f->body);
    uint8_t changed = rd_u8(&f->body);
    m->changed = changed != 0;
    return finish(f, changed <= 1 && m->verified >= -ENTRY_TIME_MAX && m->verified <= ENTRY_TIME_MAX, e);
}

int message_get_stated(struct frame *f, struct store_status *m, struct err *e)
{
    uint8_t recorded = rd_u8(&f->body);
    m->recorded = recorded != 0;
    manifest_get_totals(&f->body, &m->totals);
    m->damaged = rd_varint(&f->body);
    m->verified = rd_svarint(&f->body);
    m->last_run = rd_svarint(&f->body);
    return finish(f, recorded <= 1 && m->verified >= -ENTRY_TIME_MAX && m->verified <= ENTRY_TIME_MAX &&
                     m->last_run >= -ENTRY_TIME_MAX && m->last_run <= ENTRY_TIME_MAX, e);
}

int message_get_list(struct frame *f, struct message_list *m, struct err *e)
{
    uint8_t named = rd_u8(&f->body);
    *m = (struct message_list){.named = named == 1};
    if (m->named) {
        m->entries = rd_varint(&f->body);
        const uint8_t *p = rd_bytes(&f->body, DIGEST_LEN);
        if (p)
            memcpy(m->shared.b, p, DIGEST_LEN);
    }
    return finish(f, named <= 1, e);
}

int message_get_listing(struct frame *f, bool *difference, struct err *e)
{
    uint8_t how = rd_u8(&f->body);
    *difference = how == 1;
    return finish(f, how <= 1, e);
}

int message_get_totals(struct frame *f, struct manifest_totals *t, struct err *e)
{
    manifest_get_totals(&f->body, t);
    return finish(f, true, e);
}

int message_get_have(struct frame *f, struct digest *d, size_t *n, struct err *e)
{
    uint64_t count = rd_varint(&f->body);
    bool ok = count > 0 && count <= MSG_HAVE_MAX;
    enum digest_algo algo = ok && rd_left(&f->body) == count * DIGEST_LEN_MAX ? DIGEST_SHA256 : DIGEST_XXH3_128;
    for (uint64_t i = 0; ok && i < count; i++) {
        const uint8_t *p = rd_bytes(&f->body, digest_len(algo));
        d[i] = (struct digest){.algo = (uint8_t)algo};
        if (p)
            memcpy(d[i].b, p, digest_len(algo));
    }
    *n = ok ? (size_t)count : 0;
    return finish(f, ok, e);
}

int message_get_had(struct frame *f, uint8_t *have, size_t *n, struct err *e)
{
    uint64_t count = rd_varint(&f->body);
    bool ok = count > 0 && count <= MSG_HAVE_MAX;
    for (uint64_t i = 0; ok && i < count; i += 4) {
        unsigned bits = rd_u8(&f->body);
        for (uint64_t k = 0; k < 4 && i + k < count; k++, bits >>= 2) {
            have[i + k] = bits & 3;
            ok &= (bits & 3) <= STORE_HAVE_PART;
        }
        ok &= bits == 0 || count - i >= 4;
    }
    *n = ok ? (size_t)count : 0;
    return finish(f, ok, e);
}

int message_get_number(struct frame *f, uint64_t *n, struct err *e)
{
    *n = rd_varint(&f->body);
    return finish(f, true, e);
}

static int get_entry(struct frame *f, char *path, struct entry *entry, struct err *e)
{
    struct err why;
    if (!f->body.bad && manifest_get_entry(&f->body, path, entry, &why) < 0) {
        return err_set(e, ERR_PROTO, "%s message: %s", message_name(f->type), why.msg);
    }
    return finish(f, true, e);
}

/* "" for the entry's own path. */
static int get_from_path(struct frame *f, char *scratch, const char **path, struct err *e)
{
    size_t n;
    const char *p = rd_str(&f->body, PATH_LEN_MAX, &n);
    *path = NULL;
    if (!p || n == 0)
        return 0;
    int rc = path_check(p, n, e);
    if (rc < 0)
        return err_set(e, ERR_PROTO, "%s message with a path that cannot be", message_name(f->type));
    memcpy(scratch, p, n);
    scratch[n] = '\0';
    *path = scratch;
    return 0;
}

int message_get_apply(struct frame *f, char *path, char *from_path, struct message_apply *m, struct err *e)
{
    m->seq = rd_varint(&f->body);
    m->how = rd_u8(&f->body);
    m->from = rd_u8(&f->body);
    m->why = rd_u8(&f->body);
    uint64_t lender = rd_varint(&f->body);
    m->lender = (uint32_t)(lender & 0xffff);
    if (f->body.bad || m->how > STORE_PRUNE || m->from > MSG_FROM_PATCH || m->why >= STORE_WHYS ||
        lender > 0xffff)
        return finish(f, false, e);
    m->from_path = NULL;
    int rc = m->from == STORE_FROM_ROOT || m->from == STORE_FROM_SELF ? get_from_path(f, from_path, &m->from_path, e) : 0;
    if (rc == 0)
        rc = get_entry(f, path, &m->entry, e);
    if (rc < 0)
        return rc;
    /* Content must come from somewhere exactly where there is content to come; and a tombstone has none. */
    bool content = m->how == STORE_CONTENT && m->entry.kind != ENTRY_DIR;
    bool gone = m->entry.kind == ENTRY_GONE, prune = m->how == STORE_PRUNE;
    bool fits = gone ? m->how == STORE_RECORD || m->how == STORE_REMOVE : m->how != STORE_REMOVE;
    fits &= m->why == STORE_WHY_PRUNED ? prune : !prune || m->why == STORE_WHY_CONFLICT;
    bool patch = m->from == MSG_FROM_PATCH;
    return finish(f, content == (m->from != STORE_FROM_NOWHERE) && m->entry.flags == 0 && fits &&
                  (!patch || m->entry.kind == ENTRY_FILE), e);
}

int message_get_result(struct frame *f, struct message_result *m, struct err *e)
{
    m->seq = rd_varint(&f->body);
    uint64_t code = rd_varint(&f->body);
    m->text = rd_str(&f->body, MSG_TEXT_MAX, &m->text_len);
    m->code = -(int)(code & 0xff);
    return finish(f, code > 0 && code <= 0xff, e);
}

int message_get_send(struct frame *f, char *path, struct entry *want, struct err *e)
{
    int rc = get_entry(f, path, want, e);
    return rc < 0 ? rc : finish(f, want->kind != ENTRY_DIR && f->channel != MSG_CHANNEL_LIST, e);
}

int message_get_check(struct frame *f, char *path, bool *read, struct entry *want, struct err *e)
{
    uint8_t how = rd_u8(&f->body);
    *read = how == 1;
    int rc = get_entry(f, path, want, e);
    return rc < 0 ? rc : finish(f, how <= 1 && f->channel == MSG_CHANNEL_LIST &&
                                (want->kind == ENTRY_FILE || want->kind == ENTRY_LINK), e);
}

int message_get_send_delta(struct frame *f, char *path, uint16_t *signatures, struct entry *want, struct err *e)
{
    *signatures = rd_u16(&f->body);
    int rc = get_entry(f, path, want, e);
    return rc < 0 ? rc : finish(f, want->kind == ENTRY_FILE && f->channel != MSG_CHANNEL_LIST &&
                                *signatures != MSG_CHANNEL_LIST, e);
}

int message_get_done(struct frame *f, uint64_t *seq, uint64_t *literal, struct err *e)
{
    *seq = rd_varint(&f->body);
    *literal = rd_varint(&f->body);
    return finish(f, true, e);
}

int message_get_commit(struct frame *f, struct message_commit *m, struct err *e)
{
    get_peers(&f->body, &m->peers, &m->peer_list);
    return finish(f, true, e);
}

int message_get_text(struct frame *f, const char **text, size_t *len, struct err *e)
{
    *text = rd_str(&f->body, MSG_TEXT_MAX, len);
    return finish(f, true, e);
}

int message_get_failed(struct frame *f, int *code, const char **text, size_t *len, struct err *e)
{
    uint64_t c = rd_varint(&f->body);
    *code = -(int)(c & 0xff);
    *text = rd_str(&f->body, MSG_TEXT_MAX, len);
    return finish(f, c > 0 && c <= 0xff, e);
}

/* A string without control bytes, into out with a NUL behind it. */
static bool get_string(struct rd *r, char *out, size_t max)
{
    size_t n;
    const char *p = rd_str(r, max, &n);
    out[0] = '\0';
    if (!p)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
            return false;
    memcpy(out, p, n);
    out[n] = '\0';
    return true;
}

/* Runs and ids are only ever handed back to who named them: that a run is called so is judged there. */
int message_get_trash_item(struct frame *f, struct message_trash_item *m, struct err *e)
{
    struct rd *r = &f->body;
    size_t n;
    uint64_t id = rd_varint(r);
    int64_t when = rd_svarint(r);
    uint64_t size = rd_varint(r);
    bool ok = get_string(r, m->reason, MSG_TRASH_REASON_MAX) && get_string(r, m->run, MSG_TRASH_RUN_MAX) &&
              get_string(r, m->by, MSG_BY_MAX);
    const char *p = rd_str(r, PATH_LEN_MAX, &n);
    ok = ok && p && path_check_any(p, n, NULL) == 0 && id < MSG_TRASH_ID_MAX && is_time(when) && size <= INT64_MAX;
    m->path[0] = '\0';
    if (ok) {
        memcpy(m->path, p, n);
        m->path[n] = '\0';
    }
    m->item = (struct store_trash){id, when, size, m->reason, m->run, m->by, m->path};
    return finish(f, ok && m->run[0] && m->reason[0], e);
}

int message_get_trash_restore(struct frame *f, struct message_trash_restore *m, struct err *e)
{
    m->id = rd_varint(&f->body);
    m->now = rd_svarint(&f->body);
    bool ok = get_string(&f->body, m->run, MSG_TRASH_RUN_MAX);
    return finish(f, ok && m->id < MSG_TRASH_ID_MAX && is_time(m->now), e);
}

int message_get_trash_empty(struct frame *f, struct message_trash_empty *m, struct err *e)
{
    m->now = rd_svarint(&f->body);
    uint64_t older = rd_varint(&f->body);
    m->older = (int64_t)(older & INT64_MAX);
    return finish(f, is_time(m->now) && older <= (uint64_t)ENTRY_TIME_MAX, e);
}

int message_get_trash_done(struct frame *f, struct message_trash_done *m, struct err *e)
{
    uint64_t code = rd_varint(&f->body);
    m->code = -(int)(code & 0xff);
    m->text = rd_str(&f->body, MSG_TEXT_MAX, &m->text_len);
    m->items = rd_varint(&f->body);
    m->bytes = rd_varint(&f->body);
    return finish(f, code <= 0xff, e);
}

int message_get_empty(struct frame *f, struct err *e)
{
    return finish(f, true, e);
}
