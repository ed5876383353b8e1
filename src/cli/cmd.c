#include "cli/cmd.h"

#include "base/interrupt.h"
#include "base/mem.h"
#include "base/path.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void cmd_default_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL);
}

bool cmd_interrupted(void)
{
    if (!interrupt_pending())
        return false;
    cmd_default_signals();
    return true;
}

char *cmd_object(const char *text, struct sos_error *error)
{
    struct err e;
    while (strncmp(text, "./", 2) == 0)
        text += 2;
    size_t n = strlen(text);
    while (n > 1 && text[n - 1] == '/')
        n--;
    if (path_check(text, n, &e) == 0)
        return mem_strndup(text, n);
    snprintf(error->message, sizeof error->message, "%s: is no object: a path below the roots of the members, such as dir/name",
             text);
    return NULL;
}
