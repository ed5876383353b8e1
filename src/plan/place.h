/* Who should hold an object. Pure. */
#ifndef PLAN_PLACE_H
#define PLAN_PLACE_H

#include "plan/reconcile.h"

/* Bit i: member i is wanted as a holder. Without a policy that is every member, which is SoS's rule. */
uint64_t place(const struct verdict *v, unsigned members);

#endif
