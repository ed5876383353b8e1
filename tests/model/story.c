#include "story.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void story_fail(struct story *s, const char *fmt, ...)
{
    va_list ap;
    if (s->failure[0])
        return;
    va_start(ap, fmt);
    vsnprintf(s->failure, sizeof s->failure, fmt, ap);
    va_end(ap);
}

void story_say(struct story *s, const char *fmt, ...)
{
    char text[1200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_put(&s->log, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void story_options(struct sos_options *o)
{
    sos_options_init(o);
    o->no_sandbox = true; /* it would keep an agent from killing the run */
    o->fsync = SOS_FSYNC_NONE;
    o->threads = 1;
    o->no_cache = true;
    o->timeout = 60;
}

void story_action(struct story *s, const struct sos_action *a)
{
    if (s->verbose)
        story_say(s, "        %s %s: %s -> %s, %s\n", a->action, a->path, a->from ? a->from : "-", a->to, a->reason);
}

void story_trouble(struct story *s, const struct sos_trouble *t, char *first)
{
    if (first && !first[0])
        snprintf(first, STORY_TROUBLE, "%s: %s: %s", t->member ? t->member : "the group", t->path ? t->path : "",
                 t->message);
    if (s->verbose)
        story_say(s, "        %s: %s %s: %s\n", t->error ? "error" : "note", t->member ? t->member : "",
                  t->path ? t->path : "", t->message);
}

enum sos_status story_apart(struct story *s, story_run *run, void *ctx, bool *killed)
{
    int status;
    enum sos_status out = SOS_FAILED;
    pid_t pid = fork();
    if (pid < 0) {
        story_fail(s, "fork: %s", strerror(errno));
        return out;
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a world that hangs leaves nothing behind */
        out = run(ctx);
        _exit(s->failure[0] ? 99 : (int)out);
    }
    for (pid_t at; (at = waitpid(-1, &status, 0)) > 0 || errno == EINTR;) {
        if (at != pid)
            continue;
        *killed = WIFSIGNALED(status);
        if (WIFEXITED(status))
            out = (enum sos_status)WEXITSTATUS(status);
        if (*killed && WTERMSIG(status) != SIGKILL)
            story_fail(s, "the run crashed with signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    }
    return out;
}
