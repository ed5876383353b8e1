#include "cli/reporter.h"

#include <stdlib.h>

void reporter_free(struct reporter *r)
{
    buf_free(&r->scratch);
    for (size_t i = 0; i < REPORTER_ECHOES; i++) {
        free(r->echo[i].member);
        free(r->echo[i].message);
    }
}

void reporter_error(struct reporter *r, const char *group, const char *message)
{
    struct sos_trouble t = {.group = group, .message = message, .error = true};
    r->ops->trouble(r, &t);
}
