#include "cli/reporter.h"

void reporter_free(struct reporter *r)
{
    buf_free(&r->scratch);
}

void reporter_error(struct reporter *r, const char *group, const char *message)
{
    struct sos_trouble t = {.group = group, .message = message, .error = true};
    r->ops->trouble(r, &t);
}
