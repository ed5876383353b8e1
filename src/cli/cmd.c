#include "cli/cmd.h"

#include "base/interrupt.h"

#include <signal.h>
#include <stddef.h>

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
