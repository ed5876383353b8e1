#include "group/text.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool text_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool text_is_comment(char c)
{
    return c == '#' || c == ';';
}

struct span text_trim(struct span s)
{
    while (s.len && text_is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len && text_is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

struct span text_from(struct span s, size_t at)
{
    return (struct span){s.p + at, s.len - at};
}

int text_shown(struct span s)
{
    return s.len < 100 ? (int)s.len : 100;
}

bool text_is(struct span s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.p, word, s.len) == 0;
}

struct span text_begin(const char *text, size_t len)
{
    bool mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
    return text_from((struct span){text, len}, mark ? 3 : 0);
}

bool text_line(struct span text, size_t *at, struct span *line)
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

int text_check_line(struct span line, struct err *e)
{
    if (line.len > TEXT_LINE_MAX)
        return err_set(e, ERR_CONF, "the line is longer than %d bytes", TEXT_LINE_MAX);
    if (memchr(line.p, '\0', line.len))
        return err_set(e, ERR_CONF,
                       "the line holds a NUL byte; save the file as plain text, in ASCII or UTF-8");
    /* A file with CR alone as line end would otherwise be one long comment. */
    if (memchr(line.p, '\r', line.len))
        return err_set(e, ERR_CONF, "a carriage return within the line; end lines with a newline");
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

int text_check_name(const char *what, struct span s, struct err *e)
{
    for (size_t i = 0, n; i < s.len; i += n) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        n = path_utf8(p, s.len - i);
        if (n == 0)
            return err_set(e, ERR_CONF, "the name of the %s is not valid UTF-8", what);
        if (p[0] < 0x20 || p[0] == 0x7f)
            return err_set(e, ERR_CONF, "the name of the %s holds a control character (byte 0x%02x)", what,
                           p[0]);
        if (is_unseen(p, n))
            return err_set(e, ERR_CONF,
                           "the name of the %s holds a character that cannot be seen, at byte %zu", what,
                           i + 1);
    }
    return 0;
}

bool text_is_tail(struct span rest)
{
    rest = text_trim(rest);
    return rest.len == 0 || text_is_comment(rest.p[0]);
}

size_t text_section_end(struct span line)
{
    size_t last = 0;
    for (size_t i = 1; i < line.len; i++) {
        if (line.p[i] != ']')
            continue;
        last = i;
        struct span rest = text_from(line, i + 1);
        if (rest.len && text_is_blank(rest.p[0])) {
            rest = text_trim(rest);
            if (rest.len && text_is_comment(rest.p[0]))
                break;
        }
    }
    return last;
}

bool text_run_together(struct span name)
{
    for (size_t i = 0; i + 1 < name.len; i++)
        if (name.p[i] == ']' && (text_is_blank(name.p[i + 1]) || text_is_comment(name.p[i + 1])))
            return true;
    return false;
}

int text_quoted(struct span s, struct span *out, struct span *rest, struct err *e)
{
    const char *close = memchr(s.p + 1, s.p[0], s.len - 1);
    if (!close)
        return err_set(e, ERR_CONF, "the quote %c is not closed", s.p[0]);
    *out = (struct span){s.p + 1, (size_t)(close - s.p) - 1};
    *rest = text_from(s, out->len + 2);
    return 0;
}

/*
 * SoS cuts at any '#' or ';'; only where a blank comes before it do we know that a comment is meant, and a
 * store is not to be guessed.
 */
int text_value(struct span s, const char *what, struct span *out, struct err *e)
{
    struct span rest;
    s = text_trim(s);
    if (s.len && (s.p[0] == '"' || s.p[0] == '\'')) {
        int rc = text_quoted(s, out, &rest, e);
        if (rc == 0 && (!text_is_tail(rest) || (rest.len && !text_is_blank(rest.p[0]))))
            rc = err_set(e, ERR_CONF, "text after the closing quote; quotes go around the whole %s", what);
        return rc;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (!text_is_comment(s.p[i]))
            continue;
        if (i > 0 && !text_is_blank(s.p[i - 1]))
            return err_set(e, ERR_CONF,
                           "a \"%c\" within the %s: put the %s in quotes if it belongs to "
                           "it, or a blank before it if a comment begins there",
                           s.p[i], what, what);
        s.len = i;
    }
    *out = text_trim(s);
    return 0;
}

static char *slurp(int fd, const char *file, const char *what, size_t *len, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        err_set(e, ERR_CONF, "%.300s: not a regular file", file);
        return NULL;
    }
    char *text = mem_alloc(TEXT_FILE_MAX + 1);
    ssize_t n = file_read(fd, text, TEXT_FILE_MAX + 1);
    if (n >= 0 && n <= TEXT_FILE_MAX) {
        *len = (size_t)n;
        return text;
    }
    if (n < 0)
        err_set(e, ERR_CONF, "%.300s: %s", file, strerror(errno));
    else
        err_set(e, ERR_CONF, "%.300s: larger than 1 MiB, so hardly a %s", file, what);
    free(text);
    return NULL;
}

char *text_load(const char *file, const char *what, size_t *len, struct err *e)
{
    /* O_NONBLOCK: a fifo is opened at once, and then refused. */
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        err_set(e, ERR_CONF, "%.300s: %s", file, strerror(errno));
        return NULL;
    }
    char *text = slurp(fd, file, what, len, e);
    close(fd);
    return text;
}

bool text_missing(const char *file)
{
    struct stat st;
    return lstat(file, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);
}
