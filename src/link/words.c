#include "link/words.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void add(struct words *w, char *word)
{
    w->word = mem_resize(w->word, w->n + 2, sizeof *w->word);
    w->word[w->n++] = word;
    w->word[w->n] = NULL;
}

void words_add(struct words *w, const char *word)
{
    add(w, mem_strdup(word));
}

void words_free(struct words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->word[i]);
    free(w->word);
    *w = (struct words){0};
}

/* Reads one word into out and returns what follows; NULL when a quote stays open or a backslash ends the text. */
static const char *take(const char *p, struct buf *out)
{
    char quote = '\0';
    for (; *p && (quote || !strchr(" \t\r\n", *p)); p++) {
        if (quote ? *p == quote : *p == '\'' || *p == '"') {
            quote = quote ? '\0' : *p;
        } else if (*p == '\\' && (!quote || (quote == '"' && (p[1] == '"' || p[1] == '\\')))) {
            if (!*++p)
                return NULL;
            buf_u8(out, (uint8_t)*p);
        } else {
            buf_u8(out, (uint8_t)*p);
        }
    }
    return quote ? NULL : p;
}

int words_split(struct words *w, const char *text, struct err *e)
{
    *w = (struct words){0};
    const char *p = text;
    while (*(p += strspn(p, " \t\r\n"))) {
        struct buf word = {0};
        p = take(p, &word);
        if (p)
            add(w, mem_strndup(word.data ? (const char *)word.data : "", word.len));
        buf_free(&word);
        if (!p) {
            words_free(w);
            return err_set(e, ERR_USAGE, "\"%s\": a quote or a backslash has no end", text);
        }
    }
    return w->n ? 0 : err_set(e, ERR_USAGE, "the command is empty");
}
