#include "group/policy_file.h"

#include "base/mem.h"
#include "base/num.h"
#include "object/pattern.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECTIONS_MAX 10000
#define DURATION_MAX (UINT64_C(1000) * 31536000)

struct parser {
    struct policy *p;
    const char *file;  /* the policy's */
    unsigned line;     /* from 1 */
    bool inside;       /* a section has begun */
    struct err *e;
};

/* ---- the policy as a list of sections ---- */

struct policy *policy_new(void)
{
    return mem_zalloc(sizeof(struct policy));
}

static void entry_free(struct policy_entry *entry)
{
    for (size_t i = 0; i < entry->items; i++)
        free(entry->item[i]);
    free(entry->item);
}

void policy_free(struct policy *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->sections; i++) {
        struct policy_section *s = &p->section[i];
        for (size_t k = 0; k < s->entries; k++)
            entry_free(&s->entry[k]);
        free(s->entry);
        free(s->name);
        free(s->pattern);
    }
    for (size_t i = 0; i < p->files; i++)
        free(p->file[i]);
    for (size_t i = 0; i < p->remarks; i++)
        free(p->remark[i]);
    free(p->section);
    free(p->file);
    free(p->remark);
    free(p);
}

const char *policy_remark(const struct policy *p, size_t i)
{
    return i < p->remarks ? p->remark[i] : NULL;
}

void policy_remark_add(struct policy *p, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->remark = mem_resize(p->remark, p->remarks + 1, sizeof *p->remark);
    p->remark[p->remarks++] = mem_strdup(text);
}

int policy_at(const char *file, unsigned line, struct err *e)
{
    return err_wrap(e, "%.300s:%u", file, line);
}

const struct policy_entry *policy_section_entry(const struct policy_section *s, enum policy_word word)
{
    for (size_t i = 0; i < s->entries; i++)
        if (s->entry[i].word == word)
            return &s->entry[i];
    return NULL;
}

/* ---- values ---- */

struct key;
typedef int take(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                 struct span value);

struct key {
    const char *name;
    unsigned kinds;            /* of enum policy_kind: where it may stand */
    take *take;
    const char *const *choice; /* allowed words, or what may stand in place of a duration; ends in NULL */
    uint64_t min, max;         /* of numbers */
    bool repeats;
};

static void add_item(struct policy_entry *entry, struct span s)
{
    entry->item = mem_resize(entry->item, entry->items + 1, sizeof *entry->item);
    entry->item[entry->items++] = mem_strndup(s.p, s.len);
}

static int choice_of(const struct key *key, struct span value)
{
    for (int i = 0; key->choice && key->choice[i]; i++)
        if (text_is(value, key->choice[i]))
            return i;
    return -1;
}

static int take_choice(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                       struct span value)
{
    int i = choice_of(key, value);
    if (i < 0)
        return err_set(ps->e, ERR_CONF, "%s: \"%.*s\" is not known; allowed are %s and %s", key->name,
                       text_shown(value), value.p, key->choice[0], key->choice[1]);
    entry->number = (uint64_t)i;
    return 0;
}

/* newest, keep-both, or a member. */
static int take_conflict(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                         struct span value)
{
    int i = choice_of(key, value);
    (void)ps;
    entry->number = i < 0 ? POLICY_MEMBER : (uint64_t)i;
    if (i < 0)
        add_item(entry, value);
    return 0;
}

/* A value as a string; cut where no number is as long. */
static void copy(char *out, size_t size, struct span value)
{
    snprintf(out, size, "%.*s", text_shown(value), value.p);
}

static int take_count(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                      struct span value)
{
    char text[128];
    copy(text, sizeof text, value);
    if (text_is(value, "all"))
        entry->number = POLICY_ALL;
    else if (num_u64(text, key->max, &entry->number, NULL) < 0 || entry->number < key->min)
        return err_set(ps->e, ERR_CONF, "%s: \"%s\": allowed is a number from %llu to %llu, or all",
                       key->name, text, (unsigned long long)key->min, (unsigned long long)key->max);
    return 0;
}

static int take_limit(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                      struct span value)
{
    char text[128];
    copy(text, sizeof text, value);
    size_t n = strlen(text);
    entry->percent = n && text[n - 1] == '%';
    if (entry->percent)
        text[n - 1] = '\0';
    if (num_u64(text, entry->percent ? 100 : key->max, &entry->number, NULL) < 0)
        return err_set(
            ps->e, ERR_CONF,
            "%s: \"%.*s\": allowed is a number of objects, or a number from 0 to 100 with %% behind it",
            key->name, text_shown(value), value.p);
    return 0;
}

/* A bare number would be seconds, which is hardly meant: the unit is asked for. */
static int take_duration(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                         struct span value)
{
    char text[128];
    copy(text, sizeof text, value);
    entry->number = 0;
    if (choice_of(key, value) >= 0)
        return 0;
    bool unit = value.len && strchr("smhdwy", value.p[value.len - 1]);
    if (!unit || num_duration(text, &entry->number, NULL) < 0 || entry->number < key->min ||
        entry->number > DURATION_MAX)
        return err_set(
            ps->e, ERR_CONF,
            "%s: \"%s\": allowed is a number with s, m, h, d, w or y behind it%s%s, up to 1000y%s%s",
            key->name, text, key->min ? ", at least 1" : "", key->min ? "s" : "", key->choice ? ", or " : "",
            key->choice ? key->choice[0] : "");
    return 0;
}

static int take_size(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                     struct span value)
{
    char text[128];
    copy(text, sizeof text, value);
    if (num_size(text, 1, &entry->number, NULL) < 0 || entry->number == 0)
        return err_set(ps->e, ERR_CONF,
                       "%s: \"%s\": allowed is a size above 0: a number with K, M, G or T behind it",
                       key->name, text);
    return 0;
}

static bool digits(const char *p, size_t n, unsigned *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(p[i] - '0');
    }
    return true;
}

static int take_date(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                     struct span value)
{
    unsigned year = 0, month = 0, day = 0;
    const char *p = value.p;
    bool sound = value.len == 10 && p[4] == '-' && p[7] == '-' && digits(p, 4, &year) &&
                 digits(p + 5, 2, &month) && digits(p + 8, 2, &day);
    struct tm tm = {.tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)day};
    time_t t = sound ? timegm(&tm) : 0;
    /* timegm makes another day of one that is none. */
    if (!sound || year < 1970 || tm.tm_mon != (int)month - 1 || tm.tm_mday != (int)day)
        return err_set(ps->e, ERR_CONF, "%s: \"%.*s\": allowed is a day from 1970-01-01 on, as YYYY-MM-DD",
                       key->name, text_shown(value), value.p);
    entry->number = (uint64_t)t;
    return 0;
}

static int take_text(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                     struct span value)
{
    (void)ps;
    (void)key;
    add_item(entry, value);
    return 0;
}

static int take_name(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                     struct span value)
{
    if (value.p[0] == '-' || value.p[0] == '"' || value.p[0] == '\'' || memchr(value.p, '/', value.len) ||
        memchr(value.p, '#', value.len) || memchr(value.p, ';', value.len))
        return err_set(
            ps->e, ERR_CONF,
            "%s: \"%.*s\": a name neither begins with \"-\" or a quote, nor holds \"/\", \"#\" or \";\"",
            key->name, text_shown(value), value.p);
    int rc = text_check_name("member", value, ps->e);
    return rc < 0 ? rc : take_text(ps, key, entry, value);
}

static int take_store(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                      struct span value)
{
    struct address a;
    char *text = mem_strndup(value.p, value.len);
    int rc = address_parse(text, 0, &a, ps->e);
    address_free(&a);
    free(text);
    return rc < 0 ? err_wrap(ps->e, "%s", key->name) : take_text(ps, key, entry, value);
}

static int take_exclude(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                        struct span value)
{
    struct pattern pattern;
    if (text_is(value, "!"))
        return err_set(ps->e, ERR_CONF,
                       "%s: \"!\" would forget the rules of the command line; a file of this name is **/!",
                       key->name);
    bool prefix = value.len > 1 && (value.p[0] == '-' || value.p[0] == '+') && value.p[1] == ' ';
    struct span bare = text_from(value, prefix ? 2 : 0);
    int rc = pattern_compile(&pattern, bare.p, bare.len, ps->e);
    pattern_free(&pattern);
    if (rc < 0) {
        err_wrap(ps->e, "%s", key->name);
        return ps->e->code = ERR_CONF;
    }
    return take_text(ps, key, entry, value);
}

/* The next of a list's members, in quotes or not; s moves on behind it. 1, 0 at the end, ERR_CONF. */
static int next_member(const struct parser *ps, struct span *s, struct span *member)
{
    while (s->len && (text_is_blank(s->p[0]) || s->p[0] == ','))
        *s = text_from(*s, 1);
    if (s->len == 0 || text_is_comment(s->p[0]))
        return 0;
    if (s->p[0] == '"' || s->p[0] == '\'') {
        int rc = text_quoted(*s, member, s, ps->e);
        if (rc == 0 && s->len && !text_is_blank(s->p[0]) && s->p[0] != ',')
            rc = err_set(ps->e, ERR_CONF, "text after the closing quote; quotes go around a whole member");
        return rc < 0 ? rc : 1;
    }
    size_t n = 0;
    while (n < s->len && !text_is_blank(s->p[n]) && s->p[n] != ',' && !text_is_comment(s->p[n]))
        n++;
    if (n < s->len && text_is_comment(s->p[n]))
        return err_set(
            ps->e, ERR_CONF,
            "a \"%c\" within a member: put it in quotes if it belongs there, or a blank before it if "
            "a comment begins there",
            s->p[n]);
    *member = (struct span){s->p, n};
    *s = text_from(*s, n);
    return 1;
}

/* An empty list is one: it ends what an earlier section began. */
static int take_members(const struct parser *ps, const struct key *key, struct policy_entry *entry,
                        struct span value)
{
    struct span member;
    int rc;
    while ((rc = next_member(ps, &value, &member)) > 0) {
        if (member.len == 0)
            return err_set(ps->e, ERR_CONF, "%s: a member without a name", key->name);
        if (entry->items == GROUP_MEMBERS_MAX)
            return err_set(ps->e, ERR_CONF, "%s: more than %d members", key->name, GROUP_MEMBERS_MAX);
        for (size_t i = 0; i < entry->items; i++)
            if (text_is(member, entry->item[i]))
                return err_set(ps->e, ERR_CONF, "%s: %.*s is listed twice", key->name, text_shown(member),
                               member.p);
        add_item(entry, member);
    }
    return rc;
}

/* ---- keys ---- */

static const char *const replication_words[] = {"disallowed", "allowed", NULL};
static const char *const conflict_words[] = {"newest", "keep-both", NULL};
static const char *const deletions_words[] = {"restore", "propagate", NULL};
static const char *const hash_words[] = {"xxh3", "sha256", NULL};
static const char *const mounts_words[] = {"stop", "cross", NULL};
static const char *const off_words[] = {"off", NULL};

#define OBJECTS (SECTION_DEFAULT | SECTION_GROUP | SECTION_PATTERN)
#define GROUPS (SECTION_DEFAULT | SECTION_GROUP)

static const struct key keys[WORDS] = {
    [WORD_REPLICATION] = {"replication", OBJECTS, take_choice, replication_words, 0, 0, false},
    [WORD_REPLICAS] = {"replicas", OBJECTS, take_count, NULL, 0, POLICY_COPIES_MAX - 1, false},
    [WORD_COPIES] = {"copies", OBJECTS, take_count, NULL, 1, POLICY_COPIES_MAX, false},
    [WORD_PREFERRED] = {"preferred", OBJECTS, take_members, NULL, 0, 0, false},
    [WORD_BLOCKED] = {"blocked", OBJECTS, take_members, NULL, 0, 0, false},
    [WORD_SINCE] = {"since", OBJECTS, take_date, NULL, 0, 0, false},
    [WORD_CONFLICT] = {"conflict", GROUPS, take_conflict, conflict_words, 0, 0, false},
    [WORD_DELETIONS] = {"deletions", GROUPS, take_choice, deletions_words, 0, 0, false},
    [WORD_TOMBSTONES] = {"tombstones", GROUPS, take_duration, NULL, 1, 0, false},
    [WORD_TRASH] = {"trash", GROUPS, take_duration, off_words, 1, 0, false},
    [WORD_HASH] = {"hash", GROUPS, take_choice, hash_words, 0, 0, false},
    [WORD_MAX_DELETE] = {"max-delete", GROUPS, take_limit, NULL, 0, INT64_MAX, false},
    [WORD_DOWN_AFTER] = {"down-after", GROUPS, take_duration, NULL, 0, 0, false},
    [WORD_MOUNTS] = {"mounts", GROUPS, take_choice, mounts_words, 0, 0, false},
    [WORD_EXCLUDE] = {"exclude", GROUPS, take_exclude, NULL, 0, 0, true},
    [WORD_NAME] = {"name", SECTION_NODE, take_name, NULL, 0, 0, false},
    [WORD_STORE] = {"store", SECTION_NODE, take_store, NULL, 0, 0, false},
    [WORD_CAPACITY] = {"capacity", SECTION_NODE, take_size, NULL, 0, 0, false},
};

enum policy_word policy_parse_word(struct span key)
{
    unsigned i = 0;
    while (i < WORDS && !text_is(key, keys[i].name))
        i++;
    return (enum policy_word)i;
}

const char *policy_word_name(enum policy_word word)
{
    return keys[word].name;
}

/* "a, b, c" of the keys that may stand in such a section. */
static void list_keys(char *out, size_t size, enum policy_kind kind)
{
    size_t n = 0;
    for (int i = 0; i < WORDS; i++)
        if (keys[i].kinds & kind)
            n += (size_t)snprintf(out + n, n < size ? size - n : 0, "%s%s", n ? ", " : "", keys[i].name);
}

static const char *kind_name(enum policy_kind kind)
{
    return kind == SECTION_DEFAULT ? "[default]" : kind == SECTION_GROUP ? "[group NAME]"
         : kind == SECTION_PATTERN ? "[group NAME: PATTERN]" : "[node ADDRESS]";
}

static int check_key(const struct parser *ps, const struct policy_section *s, struct span key,
                     enum policy_word word)
{
    char allowed[512];
    list_keys(allowed, sizeof allowed, s->kind);
    if (word == WORDS)
        return err_set(ps->e, ERR_CONF, "unknown key \"%.*s\"; allowed in %s are %s", text_shown(key), key.p,
                       kind_name(s->kind), allowed);
    if (!(keys[word].kinds & s->kind))
        return err_set(ps->e, ERR_CONF, "\"%s\" cannot stand in a section %s; allowed there are %s",
                       keys[word].name, kind_name(s->kind), allowed);
    const struct policy_entry *before = keys[word].repeats ? NULL : policy_section_entry(s, word);
    if (before)
        return err_set(ps->e, ERR_CONF, "\"%s\" is set twice in this section, in line %u before",
                       keys[word].name, before->line);
    enum policy_word other = word == WORD_REPLICAS ? WORD_COPIES
                             : word == WORD_COPIES ? WORD_REPLICAS
                                                   : WORDS;
    before = other == WORDS ? NULL : policy_section_entry(s, other);
    if (before)
        return err_set(
            ps->e, ERR_CONF,
            "\"%s\" is set in line %u of this section already; a section says either replicas or copies",
            keys[other].name, before->line);
    return 0;
}

/* ---- lines ---- */

/* A group's name up to a ':' or the end; in quotes, a doubled quote stands for one. */
static int header_quoted(struct span *s, char **out, struct err *e)
{
    char quote = s->p[0];
    char *text = mem_alloc(s->len + 1);
    size_t n = 0, i = 1;
    for (; i < s->len; i++) {
        if (s->p[i] == quote && !(i + 1 < s->len && s->p[i + 1] == quote))
            break;
        i += s->p[i] == quote;
        text[n++] = s->p[i];
    }
    text[n] = '\0';
    if (i == s->len) {
        free(text);
        return err_set(e, ERR_CONF, "the quote %c is not closed", quote);
    }
    *s = text_trim(text_from(*s, i + 1));
    *out = text;
    return 0;
}

static bool is_quote(struct span s)
{
    return s.len && (s.p[0] == '"' || s.p[0] == '\'');
}

/* A name or a pattern without quotes: all of s up to end. */
static int header_plain(struct span s, size_t end, const char *what, char **out, struct err *e)
{
    struct span text = text_trim((struct span){s.p, end});
    if (text_run_together(text))
        return err_set(
            e, ERR_CONF,
            "\"%.*s\" would be the %s of this section; put what follows the first \"]\" on a line of its "
            "own, or the %s in quotes",
            text_shown(text), text.p, what, what);
    *out = mem_strndup(text.p, text.len);
    return 0;
}

/* What must follow a name or pattern in quotes: the ']' and perhaps a comment. */
static int header_close(struct span s, struct err *e)
{
    if (s.len == 0 || s.p[0] != ']')
        return err_set(e, ERR_CONF, "this section has no \"]\" behind the closing quote");
    return text_is_tail(text_from(s, 1))
               ? 0
               : err_set(e, ERR_CONF, "text after the \"]\" of a section; put it on a line of its own");
}

/* The pattern, in s up to its ']'. */
static int header_pattern(struct span s, char **pattern, struct err *e)
{
    int rc;
    if (is_quote(s)) {
        rc = header_quoted(&s, pattern, e);
        return rc < 0 ? rc : header_close(s, e);
    }
    /* The end is looked for from the second byte on, so something has to stand before. */
    size_t end = s.len && s.p[0] == ']' ? 0 : text_section_end(s);
    if (end == 0)
        return err_set(e, ERR_CONF,
                       s.len && s.p[0] == ']' ? "the pattern is missing; write [group NAME: PATTERN]"
                                              : "this section has no \"]\"");
    if (!text_is_tail(text_from(s, end + 1)))
        return err_set(e, ERR_CONF, "text after the \"]\" of a section; put it on a line of its own");
    return header_plain(s, end, "pattern", pattern, e);
}

/* NAME, or NAME: PATTERN, and what follows. */
static int header_group(struct span s, enum policy_kind *kind, char **name, char **pattern, struct err *e)
{
    int rc;
    if (is_quote(s)) {
        rc = header_quoted(&s, name, e);
        if (rc == 0 && s.len && s.p[0] == ':') {
            *kind = SECTION_PATTERN;
            return header_pattern(text_trim(text_from(s, 1)), pattern, e);
        }
        return rc < 0 ? rc : header_close(s, e);
    }
    size_t end = s.len && s.p[0] == ']' ? 0 : text_section_end(s);
    const char *colon = memchr(s.p, ':', end);
    if (colon) {
        *kind = SECTION_PATTERN;
        rc = header_plain(s, (size_t)(colon - s.p), "name", name, e);
        return rc < 0 ? rc : header_pattern(text_trim(text_from(s, (size_t)(colon - s.p) + 1)), pattern, e);
    }
    if (end == 0)
        return err_set(e, ERR_CONF, "a section is written [group NAME] or [group NAME: PATTERN]");
    if (!text_is_tail(text_from(s, end + 1)))
        return err_set(e, ERR_CONF, "text after the \"]\" of a section; put it on a line of its own");
    return header_plain(s, end, "name", name, e);
}

static int header_node(struct span s, char **name, struct err *e)
{
    int rc;
    if (is_quote(s)) {
        rc = header_quoted(&s, name, e);
        return rc < 0 ? rc : header_close(s, e);
    }
    size_t end = s.len && s.p[0] == ']' ? 0 : text_section_end(s);
    if (end == 0)
        return err_set(e, ERR_CONF, "a section is written [node ADDRESS]");
    if (!text_is_tail(text_from(s, end + 1)))
        return err_set(e, ERR_CONF, "text after the \"]\" of a section; put it on a line of its own");
    return header_plain(s, end, "address", name, e);
}

/* What --exclude would not take for a pattern can't be meant as one here. */
static bool is_rule(const char *pattern)
{
    bool sign = *pattern == '+' || *pattern == '-' || *pattern == '!';
    return sign && (*pattern == '!' ? !pattern[1] : pattern[1] == ' ');
}

static int header_sound(enum policy_kind kind, const char *name, const char *pattern, struct err *e)
{
    if (name && !*name)
        return err_set(e, ERR_CONF, "the %s of this section is empty",
                       kind == SECTION_NODE ? "address" : "group's name");
    if (kind != SECTION_PATTERN)
        return 0;
    if (is_rule(pattern))
        return err_set(e, ERR_CONF, "\"%.100s\" is a rule of --exclude, and no pattern; an object of this name is **/%.100s",
                       pattern, pattern);
    struct pattern compiled;
    int rc = pattern_compile(&compiled, pattern, strlen(pattern), e);
    pattern_free(&compiled);
    if (rc < 0)
        e->code = rc = ERR_CONF;
    return rc;
}

int policy_parse_header(struct span line, enum policy_kind *kind, char **name, char **pattern, struct err *e)
{
    struct err unused;
    struct span s = text_trim(text_from(line, 1));
    size_t n = 0;
    while (n < s.len && !text_is_blank(s.p[n]) && s.p[n] != ']' && s.p[n] != ':')
        n++;
    struct span word = {s.p, n}, rest = text_trim(text_from(s, n));
    int rc;
    *name = *pattern = NULL;
    e = e ? e : &unused;
    if (text_is(word, "default")) {
        *kind = SECTION_DEFAULT;
        rc = rest.len && rest.p[0] == ']' && text_is_tail(text_from(rest, 1)) ? 0
            : err_set(e, ERR_CONF, "this section is written [default], alone on its line");
    } else if (text_is(word, "group")) {
        *kind = SECTION_GROUP;
        rc = header_group(rest, kind, name, pattern, e);
    } else if (text_is(word, "node")) {
        *kind = SECTION_NODE;
        rc = header_node(rest, name, e);
    } else {
        rc = err_set(
            e, ERR_CONF,
            "unknown section; allowed are [default], [group NAME], [group NAME: PATTERN] and [node ADDRESS]");
    }
    if (rc == 0)
        rc = header_sound(*kind, *name, *pattern, e);
    if (rc < 0) {
        free(*name);
        free(*pattern);
        *name = *pattern = NULL;
    }
    return rc;
}

static int parse_section(struct parser *ps, struct span line)
{
    struct policy *p = ps->p;
    struct policy_section s = {.file = ps->file, .line = ps->line};
    if (p->sections == SECTIONS_MAX)
        return err_set(ps->e, ERR_CONF, "more than %d sections", SECTIONS_MAX);
    int rc = policy_parse_header(line, &s.kind, &s.name, &s.pattern, ps->e);
    if (rc < 0)
        return rc;
    p->section = mem_resize(p->section, p->sections + 1, sizeof *p->section);
    p->section[p->sections++] = s;
    ps->inside = true;
    return 0;
}

static int parse_entry(struct parser *ps, struct span line)
{
    if (!ps->inside)
        return err_set(ps->e, ERR_CONF, "text before the first section; put a line [default] before it");
    struct policy_section *s = &ps->p->section[ps->p->sections - 1];
    const char *colon = memchr(line.p, ':', line.len);
    if (!colon)
        return err_set(ps->e, ERR_CONF, "no \":\" in this line; a setting is written KEY: VALUE");
    struct span key = text_trim((struct span){line.p, (size_t)(colon - line.p)});
    struct span value = text_trim(text_from(line, (size_t)(colon - line.p) + 1));
    enum policy_word word = policy_parse_word(key);
    int rc = check_key(ps, s, key, word);
    if (rc < 0)
        return rc;
    struct policy_entry entry = {.word = word, .line = ps->line};
    bool list = keys[word].take == take_members;
    if (!list)
        rc = text_value(value, "value", &value, ps->e);
    if (rc == 0 && !list && value.len == 0)
        rc = err_set(ps->e, ERR_CONF, "%s: the value is missing", keys[word].name);
    if (rc == 0)
        rc = keys[word].take(ps, &keys[word], &entry, value);
    if (rc < 0) {
        entry_free(&entry);
        return rc;
    }
    if (word == WORD_SINCE) {
        s->dated = true;
        s->since = (int64_t)entry.number;
    }
    s->entry = mem_resize(s->entry, s->entries + 1, sizeof *s->entry);
    s->entry[s->entries++] = entry;
    return 0;
}

/*
 * A date tells objects apart, not groups: a setting below one would bind from the first day on, whatever it
 * says.
 */
static int check_dated(const struct policy *p, size_t from, unsigned *line, struct err *e)
{
    for (size_t i = from; i < p->sections; i++)
        for (size_t k = 0; k < p->section[i].entries && p->section[i].dated; k++) {
            const struct policy_entry *entry = &p->section[i].entry[k];
            if (keys[entry->word].kinds & SECTION_PATTERN)
                continue;
            *line = entry->line;
            return err_set(e, ERR_CONF,
                           "\"%s\" is a setting of the group, and cannot stand in a section with since; put "
                           "it in one of "
                           "its own",
                           keys[entry->word].name);
        }
    return 0;
}

static int parse_line(struct parser *ps, struct span line)
{
    int rc = text_check_line(line, ps->e);
    line = text_trim(line);
    if (rc < 0 || line.len == 0 || text_is_comment(line.p[0]))
        return rc;
    return line.p[0] == '[' ? parse_section(ps, line) : parse_entry(ps, line);
}

int policy_parse(struct policy *p, const char *file, const char *text, size_t len, struct err *e)
{
    struct span all = text_begin(text, len), line;
    struct err unused;
    e = e ? e : &unused;
    p->file = mem_resize(p->file, p->files + 1, sizeof *p->file);
    p->file[p->files++] = mem_strdup(file);
    struct parser ps = {.p = p, .file = p->file[p->files - 1], .e = e};
    size_t before = p->sections;
    int rc = 0;
    for (size_t at = 0; rc == 0 && text_line(all, &at, &line); ) {
        ps.line++;
        rc = parse_line(&ps, line);
    }
    if (rc == 0)
        rc = check_dated(p, before, &ps.line, e);
    return rc < 0 ? policy_at(file, ps.line, e) : 0;
}

/* ---- files ---- */

int policy_load(struct policy *p, const char *file, struct err *e)
{
    size_t len = 0;
    char *text = text_load(file, "sos.policy", &len, e);
    if (!text)
        return ERR_CONF;
    int rc = policy_parse(p, file, text, len, e);
    free(text);
    return rc;
}

int policy_load_default(struct policy *p, struct err *e)
{
    const char *home = getenv("HOME");
    char *user = home && *home ? mem_printf("%s/.sos.policy", home) : NULL;
    int rc = text_missing(POLICY_SYSTEM) ? 0 : policy_load(p, POLICY_SYSTEM, e);
    if (rc == 0 && user && !text_missing(user))
        rc = policy_load(p, user, e);
    free(user);
    return rc;
}
