#include "plan/plan_log.h"

#include "base/file.h"
#include "base/mem.h"
#include "object/manifest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPILL_AT (512u << 10) /* bytes of steps that are kept before they go to the file */
#define WINDOW (256u << 10)   /* bytes that a reader reads at once */

/*
 * A step as it is kept: u32 length of what follows; the entry; varint of branch << 1 | life; string of where its content
 * is, or an empty one; varints of holders, keep, prune, before, after; u8 source; u8 number of targets; for each target u8 member, u8 need |
 * content << 7 | later << 6, u8 action, u8 reason, u8 basis, and the varint of its ask, or of told where it is told later, or
 * where something is taken away u8 whether that is an object, u8 kind, varint of size, and digest.
 */
#define STEP_MAX (2 * PATH_LEN_MAX + VERSION_MEMBERS_MAX * (16 + 10) + PLAN_MEMBERS_MAX * 64 + 512)
#define STEP_HEAD 4u
#define CONTENT_BIT 128u
#define LATER_BIT 64u

static_assert(STEP_MAX + STEP_HEAD <= WINDOW, "a window holds every step");

void plan_log_init(struct plan_log *l, const char *tmpdir)
{
    *l = (struct plan_log){.tmpdir = tmpdir, .fd = -1};
}

void plan_log_free(struct plan_log *l)
{
    if (l->fd >= 0)
        close(l->fd);
    buf_free(&l->tail);
}

static int spill(struct plan_log *l, struct err *e)
{
    if (l->fd < 0)
        l->fd = file_unnamed(l->tmpdir);
    if (l->fd < 0)
        return err_sys(e, "%s: temporary file for the plan", l->tmpdir);
    if (file_write(l->fd, l->tail.data, l->tail.len) < 0)
        return err_sys(e, "%s: writing the plan's temporary file", l->tmpdir);
    l->filed += l->tail.len;
    l->tail.len = 0;
    return 0;
}

static void put_target(struct buf *out, const struct plan_target *t)
{
    buf_u8(out, t->member);
    buf_u8(out, (uint8_t)(t->need | (t->content ? CONTENT_BIT : 0) | (t->later ? LATER_BIT : 0)));
    buf_u8(out, t->action);
    buf_u8(out, t->reason);
    buf_u8(out, t->basis);
    if (t->need >= NEED_REMOVE) {
        buf_u8(out, t->object);
        buf_u8(out, t->kind);
        buf_varint(out, t->size);
        buf_put(out, &t->was, sizeof t->was);
    } else {
        buf_varint(out, t->later ? t->told : t->ask);
    }
}

static void put_step(struct buf *out, const struct plan_step *s, const struct plan_hook *hook)
{
    size_t from = out->len;
    buf_u32(out, 0);
    manifest_put_entry(out, &s->entry);
    buf_varint(out, hook->branch << 1 | hook->life);
    buf_str(out, s->from ? s->from : "", s->from ? strlen(s->from) : 0);
    buf_varint(out, s->holders);
    buf_varint(out, s->keep);
    buf_varint(out, s->prune);
    buf_varint(out, s->before);
    buf_varint(out, s->after);
    buf_u8(out, (uint8_t)s->source);
    buf_u8(out, (uint8_t)s->targets);
    for (unsigned i = 0; i < s->targets; i++)
        put_target(out, &s->target[i]);
    size_t end = out->len;
    out->len = from;
    buf_u32(out, (uint32_t)(end - from - STEP_HEAD));
    out->len = end;
}

int plan_log_add(struct plan_log *l, const struct plan_step *s, const struct plan_hook *hook, struct err *e)
{
    put_step(&l->tail, s, hook);
    return l->tail.len >= SPILL_AT ? spill(l, e) : 0;
}

int plan_log_end(struct plan_log *l, struct err *e)
{
    if (l->fd < 0)
        return 0;
    int rc = spill(l, e);
    buf_free(&l->tail);
    return rc;
}

/* ---- reading ---- */

void plan_log_reader_init(struct plan_log_reader *r, const struct plan_log *l, unsigned members)
{
    r->log = l;
    r->members = members;
    r->at = r->window_from = 0;
    r->window_len = 0;
    r->window = l->fd < 0 ? NULL : mem_alloc(WINDOW);
}

void plan_log_reader_free(struct plan_log_reader *r)
{
    free(r->window);
    r->window = NULL;
}

/* The bytes at the reader, at least a whole step unless the log ends in it; NULL with e. */
static const uint8_t *look(struct plan_log_reader *r, size_t *left, struct err *e)
{
    const struct plan_log *l = r->log;
    if (!r->window) {
        *left = l->tail.len - (size_t)r->at;
        return *left ? l->tail.data + r->at : (const uint8_t *)"";
    }
    size_t used = (size_t)(r->at - r->window_from);
    bool more = r->window_from + r->window_len < l->filed;
    if (more && r->window_len - used < STEP_HEAD + STEP_MAX) {
        uint64_t rest = l->filed - r->at;
        size_t want = rest < WINDOW ? (size_t)rest : WINDOW;
        ssize_t got = file_pread(l->fd, r->window, want, (off_t)r->at);
        if (got < 0) {
            err_sys(e, "%s: reading the plan's temporary file", l->tmpdir);
            return NULL;
        }
        r->window_from = r->at;
        r->window_len = (size_t)got;
        used = 0;
    }
    *left = r->window_len - used;
    return r->window + used;
}

static bool get_target(struct rd *in, unsigned members, struct plan_target *t)
{
    t->member = rd_u8(in);
    uint8_t packed = rd_u8(in);
    t->need = packed & (LATER_BIT - 1);
    t->content = packed & CONTENT_BIT;
    t->later = packed & LATER_BIT;
    t->action = rd_u8(in);
    t->reason = rd_u8(in);
    t->basis = rd_u8(in);
    t->object = false;
    t->ask = t->told = 0;
    if (t->need >= NEED_REMOVE) {
        t->object = rd_u8(in);
        t->kind = rd_u8(in);
        t->size = rd_varint(in);
        const uint8_t *was = rd_bytes(in, sizeof t->was);
        if (was)
            memcpy(&t->was, was, sizeof t->was);
    } else {
        *(t->later ? &t->told : &t->ask) = rd_varint(in);
    }
    return t->member < members && t->need <= NEED_PRUNE && t->action < ACTION_KINDS;
}

static bool get_rest(struct rd *in, struct plan_log_reader *r, struct plan_hook *hook)
{
    struct plan_step *s = &r->step;
    uint64_t hangs = rd_varint(in);
    *hook = (struct plan_hook){hangs >> 1, hangs & 1};
    size_t n;
    const char *from = rd_str(in, PATH_LEN_MAX, &n);
    s->from = from && n ? r->from : NULL;
    if (s->from)
        memcpy(r->from, from, n);
    r->from[n] = '\0';
    s->holders = rd_varint(in);
    s->keep = rd_varint(in);
    s->prune = rd_varint(in);
    s->before = rd_varint(in);
    s->after = rd_varint(in);
    s->source = rd_u8(in);
    s->targets = rd_u8(in);
    if (s->targets > r->members)
        return false;
    for (unsigned i = 0; i < s->targets; i++)
        if (!get_target(in, r->members, &s->target[i]))
            return false;
    return rd_done(in) && (s->source < r->members || s->source == PLAN_NOBODY);
}

int plan_log_reader_next(struct plan_log_reader *r, struct plan_hook *hook, struct err *e)
{
    const struct plan_log *l = r->log;
    if (r->at == (l->fd < 0 ? l->tail.len : l->filed))
        return 0;
    size_t left;
    const uint8_t *bytes = look(r, &left, e);
    if (!bytes)
        return e ? e->code : ERR_SYS;
    struct rd head = rd_of(bytes, left);
    uint32_t len = rd_u32(&head);
    if (head.bad || len > rd_left(&head))
        return err_set(e, ERR_FORMAT, "%s: the plan's temporary file is damaged", l->tmpdir);
    struct rd in = rd_of(bytes + STEP_HEAD, len);
    int rc = manifest_get_entry(&in, r->path, &r->step.entry, e);
    if (rc < 0)
        return err_wrap(e, "%s: the plan's temporary file", l->tmpdir);
    if (!get_rest(&in, r, hook))
        return err_set(e, ERR_FORMAT, "%s: the plan's temporary file is damaged", l->tmpdir);
    r->at += STEP_HEAD + len;
    return 1;
}
