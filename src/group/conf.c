#include "group/conf.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct span {
    const char *p;
    size_t len;
};

struct parser {
    struct groups *g;
    const char *file;
    unsigned line; /* from 1 */
    bool ini;
    char *section; /* the group that members go to; NULL before the first section of an INI file */
    struct err *e;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_comment(char c)
{
    return c == '#' || c == ';';
}

static struct span trim(struct span s)
{
    while (s.len && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

static struct span span_from(struct span s, size_t at)
{
    return (struct span){s.p + at, s.len - at};
}

/* For messages: at most a line's worth of s. */
static int shown(struct span s)
{
    return s.len < 100 ? (int)s.len : 100;
}

/* The line that begins at *at, without its end; moves *at behind it. False at the end of the text. */
static bool next_line(struct span text, size_t *at, struct span *line)
{
    if (*at >= text.len)
        return false;
    const char *from = text.p + *at;
    const char *end = memchr(from, '\n', text.len - *at);
    size_t n = end ? (size_t)(end - from) : text.len - *at;
    *at += n + (end ? 1 : 0);
    while (n > 0 && from[n - 1] == '\r')
        n--;
    *line = (struct span){from, n};
    return true;
}

/* One section line makes the whole file INI, also where plain lines come before it. */
static bool has_section(struct span text)
{
    struct span line;
    for (size_t at = 0; next_line(text, &at, &line); ) {
        line = trim(line);
        if (line.len && line.p[0] == '[')
            return true;
    }
    return false;
}

static int check_line(const struct parser *ps, struct span line)
{
    if (line.len > CONF_LINE_MAX)
        return err_set(ps->e, ERR_CONF, "the line is longer than %d bytes", CONF_LINE_MAX);
    if (memchr(line.p, '\0', line.len))
        return err_set(ps->e, ERR_CONF,
                       "the line holds a NUL byte; save the file as plain text, in ASCII or UTF-8");
    /* A file with CR alone as line end would otherwise be one long comment. */
    if (memchr(line.p, '\r', line.len))
        return err_set(ps->e, ERR_CONF, "a carriage return within the line; end lines with a newline");
    return 0;
}

/*
 * Blanks other than ASCII's, zero-width characters, byte-order marks, marks that turn the direction of
 * writing.
 */
static bool is_unseen(const unsigned char *p, size_t n)
{
    if (n == 2)
        return p[0] == 0xc2 && p[1] <= 0xa0;
    if (n != 3)
        return false;
    return (p[0] == 0xe2 && p[1] == 0x80 && (p[2] <= 0x8f || (p[2] >= 0xa8 && p[2] <= 0xaf))) ||
           (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf);
}

/* Names are typed, printed and compared, so what cannot be seen in them is refused. */
static int check_name(const struct parser *ps, const char *what, struct span s)
{
    for (size_t i = 0, n; i < s.len; i += n) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        n = path_utf8(p, s.len - i);
        if (n == 0)
            return err_set(ps->e, ERR_CONF, "the name of the %s is not valid UTF-8", what);
        if (p[0] < 0x20 || p[0] == 0x7f)
            return err_set(ps->e, ERR_CONF, "the name of the %s holds a control character (byte 0x%02x)",
                           what, p[0]);
        if (is_unseen(p, n))
            return err_set(ps->e, ERR_CONF,
                           "the name of the %s holds a character that cannot be seen, at byte %zu", what,
                           i + 1);
    }
    return 0;
}

/* Is this, what follows a section or a quoted value, nothing or a comment? */
static bool is_tail(struct span rest)
{
    rest = trim(rest);
    return rest.len == 0 || is_comment(rest.p[0]);
}

/*
 * Offset of the ']' that ends a section line's name: the last one, but a comment may hold one too, so the
 * first that a blank and a comment follow. 0 when there is none.
 */
static size_t section_end(struct span line)
{
    size_t last = 0;
    for (size_t i = 1; i < line.len; i++) {
        if (line.p[i] != ']')
            continue;
        last = i;
        struct span rest = span_from(line, i + 1);
        if (rest.len && is_blank(rest.p[0])) {
            rest = trim(rest);
            if (rest.len && is_comment(rest.p[0]))
                break;
        }
    }
    return last;
}

/* Names that SoS would take but nobody means: two sections, or a section and a comment, run together. */
static bool is_run_together(struct span name)
{
    for (size_t i = 0; i + 1 < name.len; i++)
        if (name.p[i] == ']' && (is_blank(name.p[i + 1]) || is_comment(name.p[i + 1])))
            return true;
    return false;
}

static int parse_section(struct parser *ps, struct span line)
{
    size_t end = section_end(line);
    if (end == 0)
        return err_set(ps->e, ERR_CONF, "this section has no \"]\"; write [NAME]");
    struct span name = {line.p + 1, end - 1};
    if (trim(name).len == 0)
        return err_set(ps->e, ERR_CONF, "this section has no name; write [NAME]");
    if (!is_tail(span_from(line, end + 1)))
        return err_set(ps->e, ERR_CONF,
                       "text after the \"]\" of a section; put it on a line of its own "
                       "(a member on an IPv6 host is written \"-: ssh://[::1]/path\")");
    if (is_run_together(name))
        return err_set(ps->e, ERR_CONF,
                       "\"%.*s\" would be the name of this section; put what follows the first "
                       "\"]\" on a line of its own",
                       shown(name), name.p);
    if (trim(name).len != name.len)
        return err_set(ps->e, ERR_CONF, "a blank at the edge of the section's name; write [%.*s]",
                       shown(trim(name)), trim(name).p);
    int rc = check_name(ps, "section", name);
    if (rc == 0) {
        free(ps->section);
        ps->section = mem_strndup(name.p, name.len);
    }
    return rc;
}

/* "..." or '...' and perhaps a comment. */
static int quoted_value(const struct parser *ps, struct span s, struct span *out)
{
    const char *close = memchr(s.p + 1, s.p[0], s.len - 1);
    if (!close)
        return err_set(ps->e, ERR_CONF, "the quote %c is not closed", s.p[0]);
    *out = (struct span){s.p + 1, (size_t)(close - s.p) - 1};
    struct span rest = span_from(s, out->len + 2);
    if (!is_tail(rest) || (rest.len && !is_blank(rest.p[0])))
        return err_set(ps->e, ERR_CONF, "text after the closing quote; quotes go around the whole address");
    if (trim(*out).len != out->len)
        return err_set(ps->e, ERR_CONF,
                       "a blank at the edge of the quoted address; "
                       "a path that really has one is written file:///path%%20");
    return 0;
}

/*
 * The value in s, without quotes and comment. SoS cuts at any '#' or ';'; only where a blank comes before it
 * do we know that a comment is meant, and a store is not to be guessed.
 */
static int parse_value(const struct parser *ps, struct span s, struct span *out)
{
    s = trim(s);
    if (s.len && (s.p[0] == '"' || s.p[0] == '\''))
        return quoted_value(ps, s, out);
    for (size_t i = 0; i < s.len; i++) {
        if (!is_comment(s.p[i]))
            continue;
        if (i > 0 && !is_blank(s.p[i - 1]))
            return err_set(ps->e, ERR_CONF,
                           "a \"%c\" within the address: put the address in quotes if it belongs to "
                           "it, or a blank before it if a comment begins there",
                           s.p[i]);
        s.len = i;
    }
    *out = trim(s);
    return 0;
}

/* name without bytes (p NULL): the address as written. */
static int add_member(struct parser *ps, struct span name, struct span value)
{
    if (value.len == 0)
        return err_set(ps->e, ERR_CONF, "the address is missing");
    char *text = mem_strndup(value.p, value.len);
    char *key = name.p ? mem_strndup(name.p, name.len) : NULL;
    struct address a;
    int rc = address_parse(text, 0, &a, ps->e);
    if (rc == 0) {
        rc = groups_add(ps->g, ps->section, key, &a, ps->file, ps->line, ps->e);
        address_free(&a);
    }
    free(key);
    free(text);
    return rc;
}

static size_t find_delimiter(struct span line)
{
    size_t i = 0;
    while (i < line.len && line.p[i] != ':' && line.p[i] != '=')
        i++;
    return i;
}

/*
 * "http://x" and "node1:/srv/a" are members in SoS's grammar, named "http" and "node1", but were hardly meant
 * so: read as the grammar has it, the latter would write to a directory of this machine.
 */
static int check_key(const struct parser *ps, struct span line, struct span key, struct span value)
{
    bool glued = line.p[key.len] == ':' && value.len && value.p[0] == '/';
    if (key.len == 0)
        return err_set(ps->e, ERR_CONF,
                       "the line begins with \"%c\"; a member is written \"-: ADDRESS\" or "
                       "\"NAME: ADDRESS\"",
                       line.p[0]);
    if (key.p[0] == '-')
        return err_set(ps->e, ERR_CONF,
                       "\"%.*s\" cannot be a name, since it begins with \"-\"; a member is written "
                       "\"-: ADDRESS\" or \"NAME: ADDRESS\"",
                       shown(key), key.p);
    if ((glued && value.len > 1 && value.p[1] == '/') || memchr(key.p, '/', key.len))
        return err_set(ps->e, ERR_CONF, "an address needs a key before it; write \"-: %.*s\"", shown(line),
                       line.p);
    if (glued)
        return err_set(ps->e, ERR_CONF,
                       "a path on the host %.*s is written \"-: %.*s\"; a local path for a member named "
                       "%.*s needs a blank after the \":\"",
                       shown(key), key.p, shown(line), line.p, shown(key), key.p);
    if (key.p[0] == '"' || key.p[0] == '\'')
        return err_set(ps->e, ERR_CONF, "the name of a member is written without quotes");
    if (memchr(key.p, '#', key.len) || memchr(key.p, ';', key.len))
        return err_set(ps->e, ERR_CONF,
                       "a \"#\" or \";\" before the address; a name cannot hold one, and a comment "
                       "comes last");
    return check_name(ps, "member", key);
}

/* KEY delimiter VALUE, in a section. */
static int parse_entry(struct parser *ps, struct span line)
{
    if (!ps->section)
        return err_set(ps->e, ERR_CONF,
                       "text before the first [section]; every member of this file belongs below one");
    size_t at = find_delimiter(line);
    if (at == line.len)
        return err_set(ps->e, ERR_CONF,
                       "no \":\" in this line; a member is written \"-: ADDRESS\" or "
                       "\"NAME: ADDRESS\"");
    struct span key = trim((struct span){line.p, at}), value = span_from(line, at + 1), none = {NULL, 0};
    bool unnamed = key.len == 1 && key.p[0] == '-';
    int rc = unnamed ? 0 : check_key(ps, line, key, value);
    if (rc == 0)
        rc = parse_value(ps, value, &value);
    return rc < 0 ? rc : add_member(ps, unnamed ? none : key, value);
}

/* A line of a plain list: the address and nothing else. */
static int parse_plain(struct parser *ps, struct span line)
{
    struct span key = trim((struct span){line.p, find_delimiter(line)}), none = {NULL, 0};
    if (key.len == 1 && key.p[0] == '-' && key.len < line.len)
        return err_set(ps->e, ERR_CONF,
                       "\"-:\" is for members below a [section]; put a [NAME] line before it, "
                       "or write the address alone");
    int rc = parse_value(ps, line, &line);
    return rc < 0 ? rc : add_member(ps, none, line);
}

static int parse_line(struct parser *ps, struct span line)
{
    int rc = check_line(ps, line);
    line = trim(line);
    if (rc < 0 || line.len == 0 || is_comment(line.p[0]))
        return rc;
    if (!ps->ini)
        return parse_plain(ps, line);
    return line.p[0] == '[' ? parse_section(ps, line) : parse_entry(ps, line);
}

int conf_parse(struct groups *g, const char *file, const char *text, size_t len, struct err *e)
{
    struct span all = {text, len}, line;
    struct parser ps = {.g = g, .file = file, .e = e};
    int rc = 0;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        all = span_from(all, 3);
    ps.ini = has_section(all);
    if (!ps.ini)
        ps.section = mem_strdup(GROUP_DEFAULT);
    for (size_t at = 0; rc == 0 && next_line(all, &at, &line); ) {
        ps.line++;
        rc = parse_line(&ps, line);
    }
    if (rc < 0)
        err_wrap(e, "%.300s:%u", file, ps.line);
    free(ps.section);
    return rc;
}

/*
 * The file's bytes, owned by the caller; NULL with the reason. Links are followed: this is the user's own
 * file.
 */
static char *slurp(int fd, const char *file, size_t *len, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        err_set(e, ERR_CONF, "%.300s: not a regular file", file);
        return NULL;
    }
    char *text = mem_alloc(CONF_FILE_MAX + 1);
    ssize_t n = file_read(fd, text, CONF_FILE_MAX + 1);
    if (n >= 0 && n <= CONF_FILE_MAX) {
        *len = (size_t)n;
        return text;
    }
    err_set(e, ERR_CONF, "%.300s: %s", file,
            n < 0 ? strerror(errno) : "larger than 1 MiB, so hardly a sos.conf");
    free(text);
    return NULL;
}

/* Nothing of this name, not even a link that leads nowhere. */
static bool is_missing(const char *file)
{
    struct stat st;
    return lstat(file, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

int conf_load(struct groups *g, const char *file, struct err *e)
{
    /* O_NONBLOCK: a fifo is opened at once, and then refused. */
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_set(e, ERR_CONF, "%.300s: %s", file, strerror(errno));
    size_t len = 0;
    char *text = slurp(fd, file, &len, e);
    close(fd);
    if (!text)
        return ERR_CONF;
    int rc = conf_parse(g, file, text, len, e);
    free(text);
    return rc;
}

int conf_load_pair(struct groups *g, const char *system, const char *user, struct err *e)
{
    const char *file[] = {system, user};
    size_t found = 0;
    for (size_t i = 0; i < 2; i++) {
        if (!file[i] || is_missing(file[i]))
            continue;
        int rc = conf_load(g, file[i], e);
        if (rc < 0)
            return rc;
        found++;
    }
    if (found)
        return 0;
    const char *first = system ? system : user;
    return err_set(e, ERR_CONF,
                   "there is no configuration: %.300s%s%.300s not found; name a file with --config, "
                   "or give the members on the command line",
                   first ? first : "sos.conf",
                   system && user ? " and " : "", system && user ? user : "");
}

int conf_load_default(struct groups *g, struct err *e)
{
    const char *home = getenv("HOME");
    char *user = home && *home ? mem_printf("%s/.sos.conf", home) : NULL;
    int rc = conf_load_pair(g, "/etc/sos.conf", user, e);
    free(user);
    return rc;
}
