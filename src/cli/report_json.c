#include "cli/report_json.h"

#include "base/path.h"
#include "cli/report_text.h"
#include "store/blob.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

static bool is_utf8(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t k = path_utf8((const unsigned char *)s + i, n - i);
        if (k == 0)
            return false;
        i += k;
    }
    return true;
}

/* Out of memory ends the process, as everywhere. */
static void put(json_t *line, const char *key, json_t *value)
{
    if (!value || json_object_set_new_nocheck(line, key, value) < 0)
        abort();
}

static json_t *begin(const char *event)
{
    json_t *line = json_object();
    if (!line)
        abort();
    put(line, "event", json_string_nocheck(event));
    return line;
}

static void put_u64(json_t *line, const char *key, uint64_t v)
{
    put(line, key, json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v));
}

/* A name or a message: where it is not UTF-8, its escaped form. */
static void put_name(struct reporter *r, json_t *line, const char *key, const char *s)
{
    size_t n = strlen(s);
    if (!is_utf8(s, n)) {
        r->scratch.len = 0;
        s = path_show((char *)buf_room(&r->scratch, 4 * n + 1), 4 * n + 1, s, n);
        n = strlen(s);
    }
    put(line, key, json_stringn_nocheck(s, n));
}

static size_t base64(char *out, const unsigned char *p, size_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = out;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)p[i] << 16;
        v |= have > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= have > 2 ? (uint32_t)p[i + 2] : 0;
        *to++ = digit[v >> 18];
        *to++ = digit[v >> 12 & 63];
        *to++ = have > 1 ? digit[v >> 6 & 63] : '=';
        *to++ = have > 2 ? digit[v & 63] : '=';
    }
    return (size_t)(to - out);
}

static void put_path(struct reporter *r, json_t *line, const char *path)
{
    size_t n = strlen(path);
    if (is_utf8(path, n)) {
        put(line, "path", json_stringn_nocheck(path, n));
        return;
    }
    r->scratch.len = 0;
    char *text = (char *)buf_room(&r->scratch, 4 * (n / 3 + 1));
    put(line, "path_b64", json_stringn_nocheck(text, base64(text, (const unsigned char *)path, n)));
}

/* ---- lines ---- */

/* A terminal may act upon U+0080 to U+009F, which JSON lets through. */
static bool has_c1(const char *p, size_t n)
{
    const char *end = p + n;
    while ((p = memchr(p, 0xc2, (size_t)(end - p))) != NULL && ++p < end)
        if ((unsigned char)*p < 0xa0)
            return true;
    return false;
}

static size_t dump(struct buf *out, const json_t *line, size_t flags)
{
    flags |= JSON_COMPACT | JSON_REAL_PRECISION(15);
    size_t room = out->cap - out->len;
    size_t n = json_dumpb(line, (char *)out->data + out->len, room, flags);
    if (n > room)
        n = json_dumpb(line, (char *)buf_room(out, n), n, flags);
    return n;
}

static void end(struct reporter *r, json_t *line)
{
    struct buf *out = &r->out->text;
    buf_room(out, 256);
    size_t n = dump(out, line, 0);
    if (has_c1((const char *)out->data + out->len, n))
        n = dump(out, line, JSON_ENSURE_ASCII);
    out->len += n;
    output_line(r->out);
    json_decref(line);
}

static void json_begin(struct reporter *r, const char *group, const char *const *member, size_t members)
{
    (void)group;
    (void)member;
    (void)members;
    r->actions = 0;
}

static json_t *array_of(struct reporter *r, const char *const *item, size_t n)
{
    json_t *list = json_array(), *wrap = json_object();
    if (!list || !wrap)
        abort();
    for (size_t i = 0; i < n; i++) {
        put_name(r, wrap, "item", item[i]);
        if (json_array_append(list, json_object_get(wrap, "item")) < 0 || json_object_clear(wrap) < 0)
            abort();
    }
    json_decref(wrap);
    return list;
}

static void json_action(struct reporter *r, const struct sos_action *a)
{
    if (r->options->quiet)
        return;
    json_t *line = begin("action");
    put_name(r, line, "group", a->group);
    put_name(r, line, "action", a->action);
    put_path(r, line, a->path);
    if (a->from)
        put_name(r, line, "from", a->from);
    else
        put(line, "from", json_null());
    put_name(r, line, "to", a->to);
    put_u64(line, "bytes", a->bytes);
    put_name(r, line, "reason", a->reason);
    if (a->befores + a->afters) {
        put(line, "before", array_of(r, a->before, a->befores));
        put(line, "after", array_of(r, a->after, a->afters));
    }
    end(r, line);
}

/* Errors are told on standard error too, since that is where cron and people look. */
static void json_trouble(struct reporter *r, const struct sos_trouble *t)
{
    if (r->options->quiet && !t->error)
        return;
    json_t *line = begin(t->error ? "error" : "note");
    if (t->group)
        put_name(r, line, "group", t->group);
    if (t->member)
        put_name(r, line, "member", t->member);
    if (t->path)
        put_path(r, line, t->path);
    put_name(r, line, "message", t->message);
    end(r, line);
    output_flush(r->out);
    if (t->error)
        report_text_trouble(t);
}

static double milliseconds(double seconds)
{
    return seconds > 0 && seconds < 1e12 ? (double)(int64_t)(seconds * 1000 + 0.5) / 1000 : 0;
}

static void json_summary(struct reporter *r, const struct sos_summary *s)
{
    const struct { const char *key; uint64_t v; } counts[] = {
        {"members", s->members},
        {"unreachable", s->unreachable},
        {"objects", s->objects},
        {"copied", s->copied},
        {"updated", s->updated},
        {"adopted", s->adopted},
        {"pruned", s->pruned},
        {"deleted", s->deleted},
        {"conflicts", s->conflicts},
        {"under_replicated", s->under_replicated},
        {"over_replicated", s->over_replicated},
        {"damaged", s->damaged},
        {"healed", s->healed},
        {"failed", s->failed},
        {"literal_bytes", s->literal_bytes},
        {"wire_bytes", s->wire_bytes},
    };
    json_t *line = begin("summary");
    put_name(r, line, "group", s->group);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        put_u64(line, counts[i].key, counts[i].v);
    put(line, "seconds", json_real(milliseconds(s->seconds)));
    put(line, "dry_run", json_boolean(s->dry_run));
    put_u64(line, "status", (uint64_t)s->status);
    end(r, line);
    output_flush(r->out);
}

/* ---- manifest ---- */

static void put_version(json_t *line, const struct version *v)
{
    json_t *all = json_object();
    char who[37];
    put(line, "version", all);
    for (uint32_t i = 0; i < v->n; i++)
        put_u64(all, uuid_text(who, &v->item[i].who), v->item[i].count);
}

static void put_flags(json_t *line, unsigned flags)
{
    static const struct { unsigned bit; const char *name; } table[] = {
        {ENTRY_HIDDEN, "hidden"}, {ENTRY_DAMAGED, "damaged"}, {ENTRY_UNKNOWN, "unknown"},
    };
    if (flags == 0)
        return;
    json_t *all = json_array();
    put(line, "flags", all);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (flags & table[i].bit && json_array_append_new(all, json_string_nocheck(table[i].name)) < 0)
            abort();
}

/* Seconds as a decimal number: -0.25 where the stamp says -1 s and 750,000,000 ns. */
static void put_stamp(json_t *line, const char *key, struct stamp t)
{
    char text[64];
    bool below = t.sec < 0 && t.nsec > 0;
    int64_t sec = below ? t.sec + 1 : t.sec;
    uint32_t nsec = below ? 1000000000u - t.nsec : t.nsec;
    snprintf(text, sizeof text, "%s%" PRId64 ".%09" PRIu32, below && sec == 0 ? "-" : "", sec, nsec);
    put(line, key, json_string_nocheck(text));
}

static void json_object_line(struct reporter *r, const struct entry *e)
{
    char mode[16], hex[DIGEST_HEX_MAX + 1], origin[37];
    json_t *line = begin("object");
    put_path(r, line, e->path);
    put(line, "kind", json_string_nocheck(entry_kind_name(e->kind)));
    snprintf(mode, sizeof mode, "%04o", e->mode);
    put(line, "mode", json_string_nocheck(mode));
    bool read = !r->by_id || blob_is_read(e);
    if (read)
        put_u64(line, "size", e->size);
    else
        put(line, "size", json_null());
    if (e->kind == ENTRY_DIR || !read) {
        put(line, "mtime", json_null());
        put(line, "digest", json_null());
        put(line, "hash", json_null());
    } else {
        put_stamp(line, "mtime", e->mtime);
        put(line, "digest", json_string_nocheck(digest_hex(hex, &e->digest)));
        put(line, "hash", json_string_nocheck(digest_name((enum digest_algo)e->digest.algo)));
    }
    put_version(line, &e->version);
    put(line, "origin", json_string_nocheck(uuid_text(origin, &e->origin)));
    put(line, "first_seen", json_integer(e->first_seen));
    put_flags(line, e->flags);
    end(r, line);
}

static void put_or_null(struct reporter *r, json_t *line, const char *key, const char *s)
{
    if (s)
        put_name(r, line, key, s);
    else
        put(line, key, json_null());
}

static void json_policy(struct reporter *r, const struct reporter_policy *p)
{
    static const char *const key[] = {"replication", "replicas", "preferred", "blocked"};
    json_t *line = begin("policy"), *from = json_object();
    if (!from)
        abort();
    put_or_null(r, line, "group", p->group);
    put_or_null(r, line, "object", p->object);
    put(line, "replication", json_string_nocheck(p->allowed ? "allowed" : "disallowed"));
    put(line, "replicas", p->all ? json_null() : json_integer(p->replicas));
    put(line, "preferred", array_of(r, p->preferred, p->npreferred));
    put(line, "blocked", array_of(r, p->blocked, p->nblocked));
    for (size_t i = 0; i < 4; i++)
        put_or_null(r, from, key[i], p->source[i]);
    put(line, "from", from);
    put_or_null(r, line, "changed", p->changed);
    put(line, "remarks", array_of(r, p->remark, p->remarks));
    end(r, line);
}

/* ---- trash ---- */

static void put_item(struct reporter *r, const char *event, const struct sos_trash_item *item)
{
    json_t *line = begin(event);
    put_name(r, line, "group", item->group);
    put_name(r, line, "member", item->member);
    put_name(r, line, "id", item->id);
    put(line, "when", json_integer(item->when));
    put_u64(line, "bytes", item->bytes);
    put_name(r, line, "reason", item->reason);
    put_name(r, line, "run", item->run);
    put_name(r, line, "by", item->by);
    put_path(r, line, item->path);
    end(r, line);
}

static void json_trash(struct reporter *r, const struct sos_trash_item *item)
{
    put_item(r, "trash", item);
}

static void json_restored(struct reporter *r, const struct sos_trash_item *item)
{
    if (!r->options->quiet)
        put_item(r, "restored", item);
}

static void json_emptied(struct reporter *r, const char *group, const char *member, uint64_t items, uint64_t bytes)
{
    if (r->options->quiet)
        return;
    json_t *line = begin("emptied");
    put_name(r, line, "group", group);
    put_name(r, line, "member", member);
    put_u64(line, "items", items);
    put_u64(line, "bytes", bytes);
    end(r, line);
}

static void json_explain(struct reporter *r, const struct sos_explanation *x)
{
    static const char *const key[] = {"replication", "replicas", "preferred", "blocked"};
    json_t *line = begin("explain"), *from = json_object(), *members = json_array();
    if (!from || !members)
        abort();
    put_name(r, line, "group", x->group);
    put_path(r, line, x->path);
    put(line, "replication", json_string_nocheck(x->allowed ? "allowed" : "disallowed"));
    put(line, "replicas", x->all ? json_null() : json_integer(x->replicas));
    put(line, "preferred", array_of(r, x->preferred, x->preferreds));
    put(line, "blocked", array_of(r, x->blocked, x->blockeds));
    put(line, "copies", json_integer(x->copies));
    put(line, "wanted", json_integer(x->wanted));
    for (size_t i = 0; i < x->members; i++) {
        json_t *m = json_object();
        if (!m || json_array_append_new(members, m) < 0)
            abort();
        put_name(r, m, "member", x->member[i].name);
        put(m, "has", json_boolean(x->member[i].has));
        put(m, "outdated", json_boolean(x->member[i].outdated));
        put(m, "damaged", json_boolean(x->member[i].damaged));
        put(m, "should", json_boolean(x->member[i].should));
        put_name(r, m, "why", x->member[i].why);
    }
    put(line, "members", members);
    for (size_t i = 0; i < 4; i++)
        put_or_null(r, from, key[i], x->source[i]);
    put(line, "from", from);
    end(r, line);
}

/* ---- status ---- */

static void put_time(json_t *line, const char *key, int64_t sec)
{
    put(line, key, sec ? json_integer(sec) : json_null());
}

static void put_copies(json_t *line, const struct sos_copies *c)
{
    put_u64(line, "copies_wanted", c->wanted);
    put_u64(line, "copies_there", c->there);
    put_u64(line, "copies_surplus", c->surplus);
    put_u64(line, "blocked_originals", c->blocked_originals);
}

static void json_member(struct reporter *r, const struct sos_member *m)
{
    static const char *const state[] = {
        [SOS_MEMBER_OK] = "ok", [SOS_MEMBER_NEW] = "new", [SOS_MEMBER_IN_USE] = "in use",
        [SOS_MEMBER_UNREACHABLE] = "unreachable",
    };
    json_t *line = begin("member");
    put_name(r, line, "group", m->group);
    put_name(r, line, "member", m->member);
    put_name(r, line, "state", state[m->state]);
    if (m->state == SOS_MEMBER_OK) {
        put_u64(line, "objects", m->objects);
        put_u64(line, "bytes", m->bytes);
        put_u64(line, "free", m->free_bytes);
        put_u64(line, "damaged", m->damaged);
        put_time(line, "verified", m->verified);
        put_time(line, "last_run", m->last_run);
    }
    put_copies(line, &m->copies);
    end(r, line);
}

static void json_standing(struct reporter *r, const struct sos_standing *s)
{
    json_t *line = begin("status");
    put_name(r, line, "group", s->group);
    put_u64(line, "members", s->members);
    put_u64(line, "unreachable", s->unreachable);
    put_u64(line, "objects", s->objects);
    put_u64(line, "bytes", s->bytes);
    put_copies(line, &s->copies);
    put_u64(line, "under_replicated", s->under_replicated);
    put_u64(line, "over_replicated", s->over_replicated);
    put_u64(line, "damaged", s->damaged);
    put_time(line, "verified", s->verified);
    put_time(line, "last_run", s->last_run);
    end(r, line);
}

void report_json_init(struct reporter *r, struct output *out, const struct options *options)
{
    static const struct reporter_ops ops = {
        json_begin, json_action, json_trouble, json_summary, json_object_line, json_policy,
        json_trash, json_restored, json_emptied, json_explain, json_member,
        json_standing,
    };
    *r = (struct reporter){.ops = &ops, .out = out, .options = options};
}
