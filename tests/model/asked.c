#include "asked.h"

#include <string.h>
#include <time.h>

const char *const asked_path[ASKED_PATHS] = {"a.x", "b.x", "c.y", "d/a.x", "d/b.y", "d/e/a.x", "d/e/c.y", "f/a.x", "f/e/b.y"};

/* What each of the patterns means, as a mask over the paths. */
static const struct {
    const char *text;
    unsigned paths;
} patterns[] = {
    {"", 0x1ff}, {"*.x", 0x0ab}, {"*.y", 0x154}, {"d/", 0x078}, {"/d/**", 0x078}, {"e", 0x160}, {"a.x", 0x0a9},
    {"/a.x", 0x001}, {"/f/*", 0x180}, {"d/*.x", 0x008},
};
#define PATTERNS (sizeof patterns / sizeof patterns[0])

uint64_t asked_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

unsigned asked_below(uint64_t *state, unsigned n)
{
    return (unsigned)(asked_next(state) % n);
}

/* ---- drawing ---- */

/* Some of the members that the section may name, in any order. */
static unsigned draw_list(uint64_t *s, const struct asked_section *at, const uint8_t *group, unsigned members, uint8_t *out)
{
    unsigned n = 0, wish = asked_below(s, 4);
    for (unsigned tries = 0; tries < 8 && n < wish; tries++) {
        uint8_t m = (uint8_t)asked_below(s, members);
        bool may = (at->group == 2 || group[m] == at->group) && !memchr(out, m, n);
        if (may)
            out[n++] = m;
    }
    return n;
}

static void draw_section(struct asked_section *at, uint64_t *s, const uint8_t *group, unsigned members, int64_t today)
{
    static const unsigned numbers[] = {0, 1, 1, 1, 2, 2, 2, 3, 4, ASKED_ALL};
    unsigned groups = 1u + group[members - 1];
    *at = (struct asked_section){.group = (uint8_t)(asked_below(s, 3) ? asked_below(s, groups) : 2)};
    if (at->group != 2 && asked_below(s, 2))
        at->pattern = (uint8_t)asked_below(s, PATTERNS);
    if (asked_below(s, 6) == 0)
        at->since = today + asked_below(s, 15) - 7;
    at->sets_allowed = asked_below(s, 4) == 0;
    at->allowed = asked_below(s, 3) > 0;
    at->sets_number = asked_below(s, 4) > 0;
    at->number = numbers[asked_below(s, 10)];
    at->copies = asked_below(s, 3) == 0 && at->number > 0;
    at->sets_preferred = asked_below(s, 2);
    at->sets_blocked = asked_below(s, 3) == 0;
    at->preferreds = at->sets_preferred ? draw_list(s, at, group, members, at->preferred) : 0;
    at->blockeds = at->sets_blocked ? draw_list(s, at, group, members, at->blocked) : 0;
}

void asked_draw(struct asked *a, uint64_t *state, const uint8_t *group, unsigned members, int64_t today)
{
    a->sections = 1 + asked_below(state, ASKED_SECTIONS);
    for (unsigned i = 0; i < a->sections; i++)
        draw_section(&a->section[i], state, group, members, today);
}

/* ---- writing ---- */

static void write_list(FILE *to, const char *key, const uint8_t *member, unsigned n)
{
    fprintf(to, "%s:", key);
    for (unsigned i = 0; i < n; i++)
        fprintf(to, " m%u", member[i]);
    fprintf(to, "\n");
}

static void write_since(FILE *to, int64_t day)
{
    char text[32];
    time_t t = (time_t)(day * 86400);
    struct tm tm;
    if (day && gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%d", &tm))
        fprintf(to, "since: %s\n", text);
}

static void write_section(const struct asked_section *at, FILE *to)
{
    if (at->group == 2)
        fprintf(to, "[default]\n");
    else
        fprintf(to, "[group g%u%s%s]\n", at->group, at->pattern ? ": " : "", patterns[at->pattern].text);
    write_since(to, at->since);
    if (at->sets_allowed)
        fprintf(to, "replication: %s\n", at->allowed ? "allowed" : "disallowed");
    if (at->sets_number && at->number == ASKED_ALL)
        fprintf(to, "%s: all\n", at->copies ? "copies" : "replicas");
    else if (at->sets_number)
        fprintf(to, "%s: %u\n", at->copies ? "copies" : "replicas", at->number);
    if (at->sets_preferred)
        write_list(to, "preferred", at->preferred, at->preferreds);
    if (at->sets_blocked)
        write_list(to, "blocked", at->blocked, at->blockeds);
}

void asked_write(const struct asked *a, FILE *to)
{
    for (unsigned i = 0; i < a->sections; i++)
        write_section(&a->section[i], to);
}

/* ---- reading ---- */

static bool binds(const struct asked_section *at, unsigned group, unsigned path, int64_t first)
{
    return (at->group == 2 || at->group == group) && patterns[at->pattern].paths >> path & 1 && at->since <= first;
}

struct wanted asked_of(const struct asked *a, unsigned group, unsigned path, int64_t first)
{
    struct wanted w = {.replicas = ASKED_ALL};
    bool allowed = true;
    for (unsigned i = 0; i < a->sections; i++) {
        const struct asked_section *at = &a->section[i];
        if (!binds(at, group, path, first))
            continue;
        if (at->sets_allowed)
            allowed = at->allowed;
        if (at->sets_number)
            w.replicas = at->copies && at->number != ASKED_ALL ? at->number - 1 : at->number;
        if (at->sets_preferred) {
            w.preferreds = at->preferreds;
            memcpy(w.preferred, at->preferred, sizeof w.preferred);
        }
        w.blocked = at->sets_blocked ? 0 : w.blocked;
        for (unsigned k = 0; k < at->blockeds; k++)
            w.blocked |= 1u << at->blocked[k];
    }
    w.replicas = allowed ? w.replicas : 0;
    return w;
}

bool asked_depends(const struct asked *a, int64_t from, int64_t to)
{
    for (unsigned i = 0; i < a->sections; i++)
        if (a->section[i].since > from && a->section[i].since <= to)
            return true;
    return false;
}
