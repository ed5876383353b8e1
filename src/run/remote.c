#include "run/run.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_LEN 400u /* bytes of a line that are kept */
#define LAST_LINES 3u     /* that explain an end */
#define LINES_SHOWN 20u   /* of one member: a flood is no report */

#define NOT_EXECUTABLE 126 /* what a shell ends with */
#define LAST_WORDS_MS 1000 /* for those of a link that has ended */

struct remote_words {
    char last[LAST_LINES][LINE_MAX_LEN + 1]; /* a ring */
    unsigned lines, shown;
    size_t len;
    char line[LINE_MAX_LEN + 1]; /* not yet ended */
};

int remote_start(struct run *r, struct peer *p, const int *close_fds, size_t n, struct err *e)
{
    const struct sos_options *o = r->options;
    const struct address *a = &p->member->address;
    struct link_remote how = {
        .user = a->user,
        .host = a->host,
        .port = a->port,
        .rsh = o->rsh,
        .command = o->remote_command ? o->remote_command : "sos-sync",
        .accept_new = o->accept_new,
        .ssh_config = o->ssh_config,
        .known_hosts = o->known_hosts,
        .identity = o->identity,
        .identities = o->identities,
        .sandbox = !o->no_sandbox,
    };
    p->words = mem_zalloc(sizeof *p->words);
    return link_remote(&p->link, &how, close_fds, n, e);
}

void remote_free(struct peer *p)
{
    free(p->words);
    p->words = NULL;
}

/* ---- its standard error ---- */

/* Before the greeting it is a login's usual talk, and of interest only if nothing else follows. */
static void end_line(struct peer *p)
{
    struct remote_words *w = p->words;
    while (w->len && (w->line[w->len - 1] == '\r' || w->line[w->len - 1] == ' '))
        w->len--;
    w->line[w->len] = '\0';
    if (w->len == 0)
        return;
    memcpy(w->last[w->lines++ % LAST_LINES], w->line, w->len + 1);
    w->len = 0;
    if (!p->in.greeted || !peer_lives(p))
        return;
    char text[LINE_MAX_LEN + 32] = "its far end says more than is shown here";
    if (w->shown < LINES_SHOWN)
        snprintf(text, sizeof text, "its far end says: %s", w->line);
    if (w->shown <= LINES_SHOWN)
        report_trouble(p->run, p->member->name, NULL, false, text);
    w->shown++;
}

static void take_words(struct peer *p, const char *text, size_t n)
{
    struct remote_words *w = p->words;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            end_line(p);
        else if (w->len < LINE_MAX_LEN)
            w->line[w->len++] = text[i];
    }
}

/* One read. False when there is nothing to be read now, or ever. */
static bool hear(struct peer *p)
{
    char text[4096];
    if (!p->words || p->link.err_fd < 0)
        return false;
    ssize_t n = read(p->link.err_fd, text, sizeof text);
    if (n > 0)
        take_words(p, text, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(p->link.err_fd);
        p->link.err_fd = -1;
    }
    return n > 0;
}

void remote_listen(struct peer *p)
{
    for (int i = 0; i < 16 && hear(p); i++) /* whoever floods must not keep us */
        ;
}

void remote_hear_out(struct peer *p)
{
    int64_t end = clock_mono_ms() + LAST_WORDS_MS;
    for (;;) {
        struct pollfd fd = {.fd = p->link.err_fd, .events = POLLIN};
        int64_t left = end - clock_mono_ms();
        if (p->link.err_fd < 0 || left <= 0 || poll(&fd, 1, (int)left) <= 0)
            return;
        hear(p);
    }
}

/* The last lines, the oldest first, as one. */
static void last_words(const struct remote_words *w, char *out, size_t size)
{
    unsigned n = w->lines < LAST_LINES ? w->lines : LAST_LINES;
    size_t at = 0;
    out[0] = '\0';
    for (unsigned i = w->lines - n; i < w->lines && at + 1 < size; i++) {
        int k = snprintf(out + at, size - at, "%s%s", at ? "; " : "", w->last[i % LAST_LINES]);
        at += k > 0 ? (size_t)k : 0;
    }
}

/* csh has no status of its own for that. */
static bool was_not_found(int code, const char *words)
{
    return code == LINK_NOT_FOUND || code == NOT_EXECUTABLE || (code != 0 && strstr(words, "ommand not found"));
}

void remote_explain(struct peer *p, const char *text, char *out, size_t size)
{
    char words[LAST_LINES * (LINE_MAX_LEN + 4)];
    const char *command = p->run->options->remote_command ? p->run->options->remote_command : "sos-sync";
    if (p->words->len)
        end_line(p);
    last_words(p->words, words, sizeof words);
    int code = p->link.status;
    const char *colon = words[0] ? ": " : "";
    if (!p->hung_up || (p->in.greeted && !words[0]))
        snprintf(out, size, "%s", text);
    else if (p->in.greeted)
        snprintf(out, size, "%s: %s", text, words);
    else if (p->in.buf.len > 0)
        snprintf(out, size, "%s", text); /* the noise that it made */
    else if (was_not_found(code, words))
        snprintf(out, size, "there is no \"%s\" that could be run at the far end: install sos-sync there, or say where it is "
                 "with --remote-command%s%s", command, words[0] ? "; the far end says: " : "", words);
    else if (code == LINK_FAILED && words[0])
        snprintf(out, size, "%s", words);
    else if (code == LINK_FAILED)
        snprintf(out, size, "no connection could be made");
    else if (code == 0)
        snprintf(out, size, "\"%s agent\" ended there without a word%s%s", command, colon, words);
    else
        snprintf(out, size, "\"%s agent\" failed there with status %d (is another version installed there?)%s%s", command,
                 code, colon, words);
}
