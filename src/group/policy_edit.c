#include "group/policy_edit.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is in force ---- */

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool policy_target_is(const struct policy_target *t, const struct policy_section *s)
{
    return s->kind != SECTION_NODE && same(s->name, t->group) && same(s->pattern, t->pattern);
}

/* Does s say something about all that t is about? */
static bool is_above(const struct policy_section *s, const struct policy_target *t)
{
    return s->kind == SECTION_DEFAULT || (s->kind == SECTION_GROUP && same(s->name, t->group)) ||
           policy_target_is(t, s);
}

void policy_view_of(struct policy_view *v, const struct policy *p, const struct policy_target *t, int64_t now)
{
    *v = (struct policy_view){0};
    for (size_t i = 0; i < p->sections; i++) {
        const struct policy_section *s = &p->section[i];
        if (!is_above(s, t) || (s->dated && s->since > now))
            continue;
        for (size_t k = 0; k < s->entries; k++) {
            const struct policy_entry *entry = &s->entry[k];
            const struct policy_entry **to[] = {&v->replication, &v->number, &v->preferred, &v->blocked};
            static const enum policy_key key_of[] = {
                [WORD_REPLICATION] = POLICY_REPLICATION, [WORD_REPLICAS] = POLICY_REPLICAS,
                [WORD_COPIES] = POLICY_REPLICAS,         [WORD_PREFERRED] = POLICY_PREFERRED,
                [WORD_BLOCKED] = POLICY_BLOCKED,
            };
            if (entry->word > WORD_BLOCKED)
                continue;
            *to[key_of[entry->word]] = entry;
            v->in[key_of[entry->word]] = s;
        }
    }
}

bool policy_view_allowed(const struct policy_view *v)
{
    return !v->replication || v->replication->number != 0;
}

uint32_t policy_view_number(const struct policy_view *v)
{
    if (!v->number || v->number->number == POLICY_ALL)
        return POLICY_ALL;
    return (uint32_t)v->number->number - (v->number->word == WORD_COPIES ? 1 : 0);
}

/* ---- writing names ---- */

static char *quoted(const char *text)
{
    struct buf b = {0};
    buf_u8(&b, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '"')
            buf_u8(&b, '"');
        buf_u8(&b, (uint8_t)*p);
    }
    buf_put(&b, "\"", 2);
    return (char *)b.data;
}

/* Is this line read as the target? */
static bool reads_as(const char *line, const struct policy_target *t)
{
    enum policy_kind kind;
    char *name, *pattern;
    struct span span = {line, strlen(line)};
    if (text_check_line(span, NULL) < 0 || policy_parse_header(span, &kind, &name, &pattern, NULL) < 0)
        return false;
    bool yes = kind != SECTION_NODE && same(name, t->group) && same(pattern, t->pattern);
    free(name);
    free(pattern);
    return yes;
}

/* Quotes only where it would not be read as meant without them. */
char *policy_edit_header(const struct policy_target *t, struct err *e)
{
    if (!t->group)
        return mem_strdup("[default]");
    char *line = NULL;
    for (int how = 0; how < 4; how++) {
        char *name = how & 2 ? quoted(t->group) : mem_strdup(t->group);
        char *pattern = !t->pattern ? mem_strdup("") : how & 1 ? quoted(t->pattern) : mem_strdup(t->pattern);
        free(line);
        line = mem_printf("[group %s%s%s]", name, t->pattern ? ": " : "", pattern);
        free(name);
        free(pattern);
        if (!strchr(line, '\n') && reads_as(line, t))
            return line;
    }
    free(line);
    err_set(e, ERR_CONF, "no section can be written for the pattern \"%.200s\"",
            t->pattern ? t->pattern : t->group);
    return NULL;
}

char *policy_edit_list(const char *const *member, size_t n, struct err *e)
{
    struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        const char *m = member[i];
        bool plain = *m && *m != '"' && *m != '\'' && !strpbrk(m, " \t,#;");
        char quote = strchr(m, '"') ? '\'' : '"';
        if (strchr(m, '\n') || (!plain && (!*m || strchr(m, quote)))) {
            err_set(e, ERR_CONF, "\"%.200s\" cannot be written in a list", m);
            buf_free(&b);
            return NULL;
        }
        if (i)
            buf_u8(&b, ' ');
        if (!plain)
            buf_u8(&b, (uint8_t)quote);
        buf_put(&b, m, strlen(m));
        if (!plain)
            buf_u8(&b, (uint8_t)quote);
    }
    buf_u8(&b, '\0');
    return (char *)b.data;
}

/* ---- lines ---- */

struct editor {
    char **line; /* each with its end; owned */
    size_t lines;
    const char *end; /* of lines that are added */
};

static void insert(struct editor *ed, size_t at, char *line)
{
    ed->line = mem_resize(ed->line, ed->lines + 1, sizeof *ed->line);
    memmove(ed->line + at + 1, ed->line + at, (ed->lines - at) * sizeof *ed->line);
    ed->line[at] = line;
    ed->lines++;
}

static void split(struct editor *ed, const char *text, size_t len)
{
    ed->end = "\n";
    for (size_t at = 0; at < len;) {
        const char *nl = memchr(text + at, '\n', len - at);
        size_t n = nl ? (size_t)(nl - text) + 1 - at : len - at;
        insert(ed, ed->lines, mem_strndup(text + at, n));
        if (nl && n > 1 && nl[-1] == '\r')
            ed->end = "\r\n";
        at += n;
    }
    /* What follows must begin on a line of its own. */
    if (ed->lines && !memchr(text + len - 1, '\n', 1)) {
        char *last = ed->line[ed->lines - 1];
        ed->line[ed->lines - 1] = mem_printf("%s%s", last, ed->end);
        free(last);
    }
}

static struct span content(const char *line)
{
    size_t n = strlen(line);
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    return (struct span){line, n};
}

static bool is_empty(const char *line)
{
    return text_trim(content(line)).len == 0;
}

static bool is_remark(const char *line)
{
    struct span s = text_trim(content(line));
    return s.len && text_is_comment(s.p[0]);
}

/* Where the value's comment begins, with the blanks before it; the line's length without one. */
static size_t comment_at(struct span s, size_t value)
{
    char quote = '\0';
    for (size_t i = value; i < s.len; i++) {
        char c = s.p[i];
        bool fresh = i == value || text_is_blank(s.p[i - 1]) || s.p[i - 1] == ',' || s.p[i - 1] == ':';
        if (quote)
            quote = c == quote ? '\0' : quote;
        else if (fresh && (c == '"' || c == '\''))
            quote = c;
        else if (fresh && text_is_comment(c)) {
            while (i > value && text_is_blank(s.p[i - 1]))
                i--;
            return i;
        }
    }
    return s.len;
}

/* KEY: VALUE with another value, and perhaps another key; all else of the line stays. */
static void set_line(struct editor *ed, size_t at, const struct policy_change *c)
{
    struct span s = content(ed->line[at]);
    size_t colon = (size_t)((const char *)memchr(s.p, ':', s.len) - s.p), value = colon + 1, key = 0;
    while (key < colon && text_is_blank(s.p[key]))
        key++;
    while (value < s.len && text_is_blank(s.p[value]))
        value++;
    size_t tail = value < s.len ? comment_at(s, value) : s.len;
    struct span name = text_trim((struct span){s.p + key, colon - key});
    struct span between = {s.p + key + name.len, value - key - name.len};
    bool glued = value == colon + 1 || (tail == value && value == s.len);
    const char *gap = tail < s.len && !text_is_blank(s.p[tail]) ? " " : "";
    char *line = mem_printf("%.*s%s%.*s%s%s%s%.*s%s", (int)key, s.p, policy_word_name(c->word),
                            glued ? (int)(colon + 1 - key - name.len) : (int)between.len, between.p,
                            glued && *c->value ? " " : "", c->value, gap, (int)(s.len - tail), s.p + tail,
                            ed->line[at] + s.len);
    free(ed->line[at]);
    ed->line[at] = line;
}

/* ---- sections ---- */

/* The last section of the target that binds what appears now; sections when there is none. */
static size_t last_of(const struct policy *p, const struct policy_target *t, int64_t now)
{
    for (size_t i = p->sections; i > 0; i--)
        if (policy_target_is(t, &p->section[i - 1]) &&
            !(p->section[i - 1].dated && p->section[i - 1].since > now))
            return i - 1;
    return p->sections;
}

/* The line behind section i's last one that says something. */
static size_t behind(const struct policy *p, const struct editor *ed, size_t i)
{
    size_t end = i + 1 < p->sections ? p->section[i + 1].line - 1 : ed->lines;
    while (end > p->section[i].line && (is_empty(ed->line[end - 1]) || is_remark(ed->line[end - 1])))
        end--;
    return end;
}

/* Where a comment that belongs to the section's line begins; at the top of a file it belongs to the file. */
static size_t before(const struct editor *ed, size_t line)
{
    size_t at = line;
    while (at > 0 && is_remark(ed->line[at - 1]))
        at--;
    return at == 0 ? line : at;
}

/*
 * Where a new section goes: behind all that it is to override, and before what is to override it. A section
 * for a pattern goes to the end.
 */
static size_t place_for(const struct policy *p, const struct editor *ed, const struct policy_target *t)
{
    if (p->sections == 0 || t->pattern)
        return ed->lines;
    size_t last = p->sections;
    bool narrower = false;
    for (size_t i = 0; i < p->sections; i++) {
        const struct policy_section *s = &p->section[i];
        if (is_above(s, t)) {
            last = i;
            narrower = false;
        } else {
            narrower |= s->kind == SECTION_PATTERN ? !t->group || same(s->name, t->group)
                                                   : s->kind == SECTION_GROUP && !t->group;
        }
    }
    if (!narrower)
        return ed->lines;
    if (last < p->sections)
        return behind(p, ed, last);
    for (size_t i = 0; i < p->sections; i++)
        if (p->section[i].kind != SECTION_NODE)
            return before(ed, p->section[i].line - 1);
    return ed->lines;
}

static void add_line(struct editor *ed, size_t at, const char *indent, size_t n,
                     const struct policy_change *c)
{
    insert(ed, at,
           mem_printf("%.*s%s:%s%s%s", (int)n, indent, policy_word_name(c->word), *c->value ? " " : "",
                      c->value, ed->end));
}

static int add_section(struct editor *ed, size_t at, const struct policy_target *t,
                       const struct policy_change *c, size_t n, struct err *e)
{
    char *header = policy_edit_header(t, e);
    if (!header)
        return ERR_CONF;
    if (at > 0 && !is_empty(ed->line[at - 1]))
        insert(ed, at++, mem_strdup(ed->end));
    insert(ed, at++, mem_printf("%s%s", header, ed->end));
    for (size_t i = 0; i < n; i++)
        add_line(ed, at++, "", 0, &c[i]);
    if (at < ed->lines && !is_empty(ed->line[at]))
        insert(ed, at, mem_strdup(ed->end));
    free(header);
    return 0;
}

/* The entry that the change takes the place of. */
static const struct policy_entry *entry_for(const struct policy_section *s, enum policy_word word)
{
    const struct policy_entry *entry = policy_section_entry(s, word);
    if (!entry && word == WORD_REPLICAS)
        entry = policy_section_entry(s, WORD_COPIES);
    return entry;
}

static void change_section(const struct policy *p, struct editor *ed, size_t number,
                           const struct policy_change *c, size_t n)
{
    const struct policy_section *s = &p->section[number];
    size_t at = behind(p, ed, number);
    struct span indent = {"", 0};
    if (s->entries) {
        const char *line = ed->line[s->entry[s->entries - 1].line - 1];
        indent = (struct span){line, strspn(line, " \t")};
    }
    char *blanks = mem_strndup(indent.p, indent.len);
    for (size_t i = 0; i < n; i++) {
        const struct policy_entry *entry = entry_for(s, c[i].word);
        if (entry)
            set_line(ed, entry->line - 1, &c[i]);
        else
            add_line(ed, at++, blanks, indent.len, &c[i]);
    }
    free(blanks);
}

int policy_edit(const char *file, const char *text, size_t len, const struct policy_target *t,
                const struct policy_change *change, size_t changes, int64_t now, bool anew, struct buf *out,
                struct err *e)
{
    struct editor ed = {0};
    struct policy *p = policy_new();
    int rc = policy_parse(p, file, text, len, e);
    if (rc < 0)
        goto out;
    split(&ed, text, len);
    size_t number = last_of(p, t, now);
    if (anew || number == p->sections)
        rc = add_section(&ed, anew ? ed.lines : place_for(p, &ed, t), t, change, changes, e);
    else
        change_section(p, &ed, number, change, changes);
    for (size_t i = 0; i < ed.lines; i++)
        buf_put(out, ed.line[i], strlen(ed.line[i]));
out:
    for (size_t i = 0; i < ed.lines; i++)
        free(ed.line[i]);
    free(ed.line);
    policy_free(p);
    return rc;
}
