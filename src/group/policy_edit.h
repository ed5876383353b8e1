/*
 * Changes to a policy file as text, so that comments and order stay, and what is in force at one level of it.
 */
#ifndef GROUP_POLICY_EDIT_H
#define GROUP_POLICY_EDIT_H

#include "base/buf.h"
#include "group/policy_file.h"

/* Which section. Both NULL: [default]; a pattern goes with a group. Borrowed. */
struct policy_target {
    const char *group, *pattern;
};

bool policy_target_is(const struct policy_target *t, const struct policy_section *s);

/*
 * What the sections of a target and those above it say, for objects that appear at time now: the entries that
 * decide, NULL where the default does. Borrowed from the policy.
 */
struct policy_view {
    const struct policy_entry *replication, *number, *preferred, *blocked;
    const struct policy_section *in[POLICY_KEYS]; /* the section of each */
};

void policy_view_of(struct policy_view *v, const struct policy *p, const struct policy_target *t,
                    int64_t now);
bool policy_view_allowed(const struct policy_view *v);
uint32_t policy_view_number(const struct policy_view *v); /* of replicas, or POLICY_ALL */

/* One key of a section is set to this text. */
struct policy_change {
    enum policy_word word;
    const char *value;
};

/*
 * The text of a file, changed so that its target has these values: where the target's last section says so
 * already, line by line in place, else in one that is added. anew: in one at the end of the file, whatever
 * there is. ERR_CONF when text does not parse, or a name cannot be written.
 */
int policy_edit(const char *file, const char *text, size_t len, const struct policy_target *t,
                const struct policy_change *change, size_t changes, int64_t now, bool anew, struct buf *out,
                struct err *e);

/* The section's line, "[group 2: photos]", with quotes where they are needed. Caller frees; NULL with e. */
char *policy_edit_header(const struct policy_target *t, struct err *e);

/*
 * A list of members as it is written in a file. Caller frees; NULL with e for a member that cannot be
 * written.
 */
char *policy_edit_list(const char *const *member, size_t n, struct err *e);

#endif
