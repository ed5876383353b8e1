#include "group/conf.h"

#include "base/mem.h"
#include "group/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct groups *g;
    const char *file;
    unsigned line; /* from 1 */
    bool ini;
    char *section; /* the group that members go to; NULL before the first section of an INI file */
    struct err *e;
};

/* One section line makes the whole file INI, also where plain lines come before it. */
static bool has_section(struct span text)
{
    struct span line;
    for (size_t at = 0; text_line(text, &at, &line); ) {
        line = text_trim(line);
        if (line.len && line.p[0] == '[')
            return true;
    }
    return false;
}

static int parse_section(struct parser *ps, struct span line)
{
    size_t end = text_section_end(line);
    if (end == 0)
        return err_set(ps->e, ERR_CONF, "this section has no \"]\"; write [NAME]");
    struct span name = {line.p + 1, end - 1};
    if (text_trim(name).len == 0)
        return err_set(ps->e, ERR_CONF, "this section has no name; write [NAME]");
    if (!text_is_tail(text_from(line, end + 1)))
        return err_set(ps->e, ERR_CONF,
                       "text after the \"]\" of a section; put it on a line of its own "
                       "(a member on an IPv6 host is written \"-: ssh://[::1]/path\")");
    if (text_run_together(name))
        return err_set(ps->e, ERR_CONF,
                       "\"%.*s\" would be the name of this section; put what follows the first "
                       "\"]\" on a line of its own",
                       text_shown(name), name.p);
    if (text_trim(name).len != name.len)
        return err_set(ps->e, ERR_CONF, "a blank at the edge of the section's name; write [%.*s]",
                       text_shown(text_trim(name)), text_trim(name).p);
    int rc = text_check_name("section", name, ps->e);
    if (rc == 0) {
        free(ps->section);
        ps->section = mem_strndup(name.p, name.len);
    }
    return rc;
}

static int parse_value(const struct parser *ps, struct span s, struct span *out)
{
    int rc = text_value(s, "address", out, ps->e);
    if (rc == 0 && text_trim(*out).len != out->len)
        rc = err_set(ps->e, ERR_CONF,
                     "a blank at the edge of the quoted address; "
                     "a path that really has one is written file:///path%%20");
    return rc;
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
                       text_shown(key), key.p);
    if ((glued && value.len > 1 && value.p[1] == '/') || memchr(key.p, '/', key.len))
        return err_set(ps->e, ERR_CONF, "an address needs a key before it; write \"-: %.*s\"", text_shown(line),
                       line.p);
    if (glued)
        return err_set(ps->e, ERR_CONF,
                       "a path on the host %.*s is written \"-: %.*s\"; a local path for a member named "
                       "%.*s needs a blank after the \":\"",
                       text_shown(key), key.p, text_shown(line), line.p, text_shown(key), key.p);
    if (key.p[0] == '"' || key.p[0] == '\'')
        return err_set(ps->e, ERR_CONF, "the name of a member is written without quotes");
    if (memchr(key.p, '#', key.len) || memchr(key.p, ';', key.len))
        return err_set(ps->e, ERR_CONF,
                       "a \"#\" or \";\" before the address; a name cannot hold one, and a comment "
                       "comes last");
    return text_check_name("member", key, ps->e);
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
    struct span key = text_trim((struct span){line.p, at}), value = text_from(line, at + 1), none = {NULL, 0};
    bool unnamed = key.len == 1 && key.p[0] == '-';
    int rc = unnamed ? 0 : check_key(ps, line, key, value);
    if (rc == 0)
        rc = parse_value(ps, value, &value);
    return rc < 0 ? rc : add_member(ps, unnamed ? none : key, value);
}

/* A line of a plain list: the address and nothing else. */
static int parse_plain(struct parser *ps, struct span line)
{
    struct span key = text_trim((struct span){line.p, find_delimiter(line)}), none = {NULL, 0};
    if (key.len == 1 && key.p[0] == '-' && key.len < line.len)
        return err_set(ps->e, ERR_CONF,
                       "\"-:\" is for members below a [section]; put a [NAME] line before it, "
                       "or write the address alone");
    int rc = parse_value(ps, line, &line);
    return rc < 0 ? rc : add_member(ps, none, line);
}

static int parse_line(struct parser *ps, struct span line)
{
    int rc = text_check_line(line, ps->e);
    line = text_trim(line);
    if (rc < 0 || line.len == 0 || text_is_comment(line.p[0]))
        return rc;
    if (!ps->ini)
        return parse_plain(ps, line);
    return line.p[0] == '[' ? parse_section(ps, line) : parse_entry(ps, line);
}

int conf_parse(struct groups *g, const char *file, const char *text, size_t len, struct err *e)
{
    struct span all = text_begin(text, len), line;
    struct parser ps = {.g = g, .file = file, .e = e};
    int rc = 0;
    ps.ini = has_section(all);
    if (!ps.ini)
        ps.section = mem_strdup(GROUP_DEFAULT);
    for (size_t at = 0; rc == 0 && text_line(all, &at, &line); ) {
        ps.line++;
        rc = parse_line(&ps, line);
    }
    if (rc < 0)
        err_wrap(e, "%.300s:%u", file, ps.line);
    free(ps.section);
    return rc;
}

int conf_load(struct groups *g, const char *file, struct err *e)
{
    size_t len = 0;
    char *text = text_load(file, "sos.conf", &len, e);
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
        if (!file[i] || text_missing(file[i]))
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
