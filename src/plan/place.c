#include "plan/place.h"

uint64_t place(const struct verdict *v, unsigned members)
{
    (void)v;
    return members >= 64 ? UINT64_MAX : ((uint64_t)1 << members) - 1;
}
