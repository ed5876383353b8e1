#include "base/home.h"

#include "base/mem.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

static const char *absolute(const char *path)
{
    return path && path[0] == '/' ? path : NULL;
}

char *home_place(const char *variable, const char *usual)
{
    const char *base = absolute(getenv(variable));
    if (base)
        return mem_printf("%s/sos-sync", base);
    const char *home = absolute(getenv("HOME"));
    const struct passwd *me = home ? NULL : getpwuid(geteuid());
    if (me)
        home = absolute(me->pw_dir);
    return home ? mem_printf("%s/%s/sos-sync", home, usual) : NULL;
}
