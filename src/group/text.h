/* Lines of a configuration file: what the grammars of sos.conf and sos.policy share. */
#ifndef GROUP_TEXT_H
#define GROUP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define TEXT_LINE_MAX 8192      /* bytes in a line, without its end */
#define TEXT_FILE_MAX (1 << 20) /* bytes in a file */

struct span {
    const char *p;
    size_t len;
};

bool text_is_blank(char c);
bool text_is_comment(char c);
struct span text_trim(struct span s);
struct span text_from(struct span s, size_t at);
int text_shown(struct span s); /* for messages, with %.*s: at most a line's worth of s */
bool text_is(struct span s, const char *word);

struct span text_begin(const char *text, size_t len); /* without a byte-order mark */
/* The line that begins at *at, without its end; moves *at behind it. False at the end of the text. */
bool text_line(struct span text, size_t *at, struct span *line);
int text_check_line(struct span line, struct err *e); /* ERR_CONF for what no line may hold */

/*
 * Names are typed, printed and compared, so what cannot be seen in them is refused. ERR_CONF; what is for it.
 */
int text_check_name(const char *what, struct span s, struct err *e);

/* Is this, what follows a section or a quoted value, nothing or a comment? */
bool text_is_tail(struct span rest);

/*
 * Offset of the ']' that ends a section line's name: the last one, but a comment may hold one too, so the
 * first that a blank and a comment follow. 0 when there is none.
 */
size_t text_section_end(struct span line);

/* Is name hardly one: two sections, or a section and a comment, run together? */
bool text_run_together(struct span name);

/* The "..." or '...' that s begins with, into out; behind it, *rest. ERR_CONF when it is not closed. */
int text_quoted(struct span s, struct span *out, struct span *rest, struct err *e);

/* The value in s, without quotes and comment; what ("address") is for messages. ERR_CONF. */
int text_value(struct span s, const char *what, struct span *out, struct err *e);

/*
 * A file's bytes, owned by the caller; NULL with e (ERR_CONF, with the file's name). Links are followed: this
 * is the user's own file. what is it hardly, when it is too large?
 */
char *text_load(const char *file, const char *what, size_t *len, struct err *e);

bool text_missing(const char *file); /* nothing of this name, not even a link that leads nowhere */

#endif
