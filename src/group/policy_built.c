#include "group/policy_file.h"

/*
 * What the language has and this version does not do yet. Read as nothing, it would be a promise not kept, so
 * it is refused. A line goes when its effect comes.
 */
static const struct {
    enum policy_word word;
    bool first_is_built; /* the first of the key's values is what happens anyway */
} unbuilt[] = {
    {WORD_HASH, true},
};

static int check_entry(const struct policy_section *s, const struct policy_entry *entry, struct err *e)
{
    for (size_t i = 0; i < sizeof unbuilt / sizeof unbuilt[0]; i++) {
        if (unbuilt[i].word != entry->word || (unbuilt[i].first_is_built && entry->number == 0))
            continue;
        err_set(e, ERR_UNSUPPORTED, "%s%s is not built yet", policy_word_name(entry->word),
                unbuilt[i].first_is_built ? " with this value" : "");
        return policy_at(s->file, entry->line, e);
    }
    return 0;
}

int policy_built(const struct policy *p, struct err *e)
{
    struct err unused;
    int rc = 0;
    for (size_t i = 0; i < p->sections; i++)
        for (size_t k = 0; k < p->section[i].entries && rc == 0; k++)
            rc = check_entry(&p->section[i], &p->section[i].entry[k], e ? e : &unused);
    return rc;
}
