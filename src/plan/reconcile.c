#include "plan/reconcile.h"

#include "base/bit.h"
#include "object/delta.h"

#include <string.h>

static unsigned lowest(uint64_t set)
{
    return (unsigned)__builtin_ctzll(set);
}

struct sides {
    uint64_t held;    /* take part and have something */
    uint64_t damaged; /* of these: cannot give it */
    uint64_t dirs;    /* of these: have a directory */
    uint64_t gone;    /* of these: have a tombstone */
    uint64_t rivals;  /* may win: no version is after theirs, and undamaged where there is such a one */
    uint64_t losers;  /* have content that was neither known to the winner nor is its own */
    unsigned winner;
};

/* Rule 1. False when there is nothing to judge. */
static bool take_sides(const struct merge_row *row, struct verdict *out, struct sides *s)
{
    *s = (struct sides){0};
    bool hidden = false;
    for (unsigned i = 0; i < row->members; i++) {
        const struct entry *at = row->at[i];
        out->need[i] = NEED_NOTHING;
        out->reason[i] = REASON_NONE;
        if (at) {
            out->had |= at->kind != ENTRY_GONE ? bit(i) : 0;
            hidden |= (at->flags & ENTRY_HIDDEN) != 0;
        }
        if (row->blind & bit(i) || (at && at->flags & ENTRY_UNKNOWN))
            continue;
        if (at) {
            s->held |= bit(i);
            s->damaged |= at->flags & ENTRY_DAMAGED ? bit(i) : 0;
            s->dirs |= at->kind == ENTRY_DIR ? bit(i) : 0;
            s->gone |= at->kind == ENTRY_GONE ? bit(i) : 0;
        }
        out->present |= bit(i);
    }
    return !hidden && s->held;
}

static bool all_alike(const struct merge_row *row, const struct sides *s)
{
    if (s->damaged)
        return false;
    const struct entry *a = row->at[lowest(s->held)];
    for (uint64_t left = s->held & (s->held - 1); left; left &= left - 1) {
        const struct entry *b = row->at[lowest(left)];
        if (!entry_same_content(a, b) || !entry_same_meta(a, b) || !entry_same_record(a, b))
            return false;
    }
    return true;
}

static enum version_order order(const struct merge_row *row, unsigned a, unsigned b)
{
    return version_compare(&row->at[a]->version, &row->at[b]->version);
}

static bool before_any(const struct merge_row *row, unsigned i, uint64_t set)
{
    for (uint64_t left = set; left; left &= left - 1)
        if (order(row, i, lowest(left)) == VERSION_BEFORE)
            return true;
    return false;
}

/* Those of the set whose version is before none of the set's. */
static uint64_t undominated(const struct merge_row *row, uint64_t set)
{
    unsigned top = lowest(set);
    for (uint64_t left = set & (set - 1); left; left &= left - 1)
        if (order(row, top, lowest(left)) == VERSION_BEFORE)
            top = lowest(left);
    uint64_t like_top = 0, beside = 0;
    for (uint64_t left = set; left; left &= left - 1) {
        enum version_order o = order(row, lowest(left), top);
        like_top |= o == VERSION_EQUAL ? bit(lowest(left)) : 0;
        beside |= o == VERSION_CONCURRENT ? bit(lowest(left)) : 0;
    }
    /* What is before top is out. What stands beside it may still be before something else that does. */
    for (uint64_t left = beside; left; left &= left - 1)
        if (!before_any(row, lowest(left), beside))
            like_top |= bit(lowest(left));
    return like_top;
}

/* Rule 3's order of preference. Total over content and metadata, so that the order of members has no say. */
static bool beats(const struct entry *a, const struct entry *b)
{
    if ((a->kind == ENTRY_DIR) != (b->kind == ENTRY_DIR))
        return b->kind == ENTRY_DIR;
    int c = clock_cmp(a->mtime, b->mtime);
    if (c != 0)
        return c > 0;
    if (a->kind != b->kind)
        return a->kind == ENTRY_FILE;
    c = digest_cmp(&a->digest, &b->digest);
    if (c != 0)
        return c > 0;
    return a->size != b->size ? a->size > b->size : a->mode > b->mode;
}

/* The set without what is in weak, unless that is all there is. */
static uint64_t stronger(uint64_t set, uint64_t weak)
{
    return set & ~weak ? set & ~weak : set;
}

static void pick_winner(const struct merge_row *row, const struct plan_rules *rules, struct sides *s)
{
    s->winner = lowest(s->rivals);
    for (uint64_t left = s->rivals; left; left &= left - 1)
        if (beats(row->at[lowest(left)], row->at[s->winner]))
            s->winner = lowest(left);
    bool named = rules->conflict == PLAN_MEMBER && rules->winner < row->members && s->rivals & bit(rules->winner);
    if (named && !entry_same_content(row->at[s->winner], row->at[rules->winner]))
        s->winner = rules->winner;
}

/* Rules 2 and 3. */
static void judge(const struct merge_row *row, const struct plan_rules *rules, bool below, struct sides *s)
{
    uint64_t others = s->held & ~s->dirs;
    bool keep_dir = below && s->dirs && others;
    uint64_t latest = undominated(row, keep_dir ? s->dirs : s->held);
    /* A damaged copy has a say by its version alone; what stands beside it undamaged goes before it. */
    s->rivals = stronger(stronger(latest, s->gone), s->damaged);
    pick_winner(row, rules, s);
    for (uint64_t left = s->rivals; left; left &= left - 1)
        if (!entry_same_content(row->at[lowest(left)], row->at[s->winner]))
            s->losers |= bit(lowest(left));
    for (uint64_t left = keep_dir ? others : 0; left; left &= left - 1)
        if (!before_any(row, lowest(left), s->dirs))
            s->losers |= bit(lowest(left));
    s->losers &= ~(s->damaged | s->gone);
}

/*
 * What members cannot keep is made anew for them when it is lost, as if they had just got the object: who has known it for longer
 * knows better where it came from.
 */
static unsigned known_longest(const struct merge_row *row, uint64_t rivals)
{
    unsigned best = lowest(rivals);
    for (uint64_t left = rivals; left; left &= left - 1)
        if (row->at[lowest(left)]->first_seen < row->at[best]->first_seen)
            best = lowest(left);
    return best;
}

/*
 * Who knows the origin: one for which a run has settled it, as its holders show. Where runs did not agree, any of these,
 * but the same for all drivers. Else the first.
 */
static unsigned knows_origin(const struct merge_row *row, const struct plan_rules *rules, uint64_t rivals)
{
    const struct entry *best = NULL;
    unsigned found = lowest(rivals);
    if (rules->no_meta)
        return known_longest(row, rivals);
    for (uint64_t left = rivals; left; left &= left - 1) {
        const struct entry *at = row->at[lowest(left)];
        if (at->holders.n == 0 || (best && memcmp(best->origin.b, at->origin.b, sizeof at->origin.b) <= 0))
            continue;
        best = at;
        found = lowest(left);
    }
    return found;
}

/* Rule 4. */
static int make_winner(const struct merge_row *row, const struct plan_rules *rules, const struct sides *s, struct verdict *out,
                       struct err *e)
{
    struct entry *w = &out->winner;
    entry_copy(w, row->at[s->winner]);
    w->path = row->path;
    w->path_len = row->path_len;
    w->flags = 0;
    w->place = (struct entry_place){0};
    w->origin = row->at[knows_origin(row, rules, s->rivals)]->origin;
    for (uint64_t left = s->held; left; left &= left - 1) {
        const struct entry *at = row->at[lowest(left)];
        if (at->first_seen < w->first_seen)
            w->first_seen = at->first_seen;
        if (version_join(&w->version, &at->version) < 0)
            return err_set(e, ERR_FORMAT, "%.*s: more than %d members have changed it",
                           (int)row->path_len, row->path, VERSION_MEMBERS_MAX);
        if (entry_same_content(at, w) && !(s->damaged & bit(lowest(left))))
            out->holders |= bit(lowest(left));
    }
    return 0;
}

static enum plan_reason why_content(const struct sides *s, const struct entry *at, const struct entry *winner,
                                    unsigned i, bool concurrent)
{
    if (!at || at->kind == ENTRY_GONE)
        return concurrent ? REASON_EDITED : REASON_NEW;
    if (s->damaged & bit(i))
        return REASON_DAMAGED;
    if (s->losers & bit(i))
        return REASON_CONFLICT;
    return at->kind != winner->kind ? REASON_KIND : REASON_CHANGED;
}

static uint8_t find_basis(const struct merge_row *row, const struct sides *s, const struct entry *winner, unsigned i)
{
    const struct entry *at = row->at[i];
    if (!at || s->damaged & bit(i) || at->kind != ENTRY_FILE || winner->kind != ENTRY_FILE ||
        !delta_worth(at->size, winner->size))
        return 0;
    unsigned first = 0;
    while (first < i && !(row->at[first] && !(s->damaged & bit(first)) && entry_same_content(row->at[first], at)))
        first++;
    return (uint8_t)(first + 1);
}

/* Does member i have a tombstone that none of the rivals knew of? */
static bool deleted_meanwhile(const struct merge_row *row, const struct sides *s, unsigned i)
{
    return s->gone & bit(i) && !before_any(row, i, s->rivals);
}

static void find_need(const struct merge_row *row, const struct plan_rules *rules, const struct sides *s, struct verdict *out,
                      unsigned i)
{
    const struct entry *at = row->at[i], *winner = &out->winner;
    if (winner->kind == ENTRY_GONE) {
        bool there = at && at->kind != ENTRY_GONE;
        bool recorded = at && !there && entry_same_meta(at, winner) && entry_same_record(at, winner);
        out->need[i] = there ? NEED_REMOVE : recorded ? NEED_NOTHING : NEED_RECORD;
        out->reason[i] = there ? REASON_DELETED : REASON_NONE;
    } else if (!(out->holders & bit(i))) {
        out->need[i] = NEED_CONTENT;
        out->reason[i] = (uint8_t)why_content(s, at, winner, i, deleted_meanwhile(row, s, i));
        out->basis[i] = find_basis(row, s, winner, i);
    } else if (!rules->no_meta && !entry_same_meta(at, winner)) {
        out->need[i] = NEED_META;
        out->reason[i] = REASON_META;
    } else {
        out->need[i] = entry_same_record(at, winner) ? NEED_NOTHING : NEED_RECORD;
        out->unlike |= entry_same_meta(at, winner) ? 0 : bit(i);
    }
}

/* All that take part and have something have the same, undamaged: by far the most rows. */
static void find_needs_alike(const struct merge_row *row, const struct sides *s, struct verdict *out)
{
    bool gone = s->gone != 0;
    entry_copy(&out->winner, row->at[lowest(s->held)]);
    out->winner.path = row->path;
    out->winner.flags = 0;
    out->winner.place = (struct entry_place){0};
    out->holders = s->held;
    for (uint64_t lack = out->present & ~s->held; lack; lack &= lack - 1) {
        out->need[lowest(lack)] = gone ? NEED_RECORD : NEED_CONTENT;
        out->reason[lowest(lack)] = gone ? REASON_NONE : REASON_NEW;
        out->basis[lowest(lack)] = 0;
    }
}

int reconcile(const struct merge_row *row, const struct plan_rules *rules, bool below, struct verdict *out,
              struct err *e)
{
    struct sides s;
    out->row = row;
    out->skip = out->lost = out->conflict = false;
    out->holders = out->unlike = out->present = out->had = out->losers = 0;
    if (!take_sides(row, out, &s)) {
        out->skip = true;
        return 0;
    }
    if (all_alike(row, &s)) {
        find_needs_alike(row, &s, out);
        return 0;
    }
    judge(row, rules, below, &s);
    out->top = s.winner;
    int rc = make_winner(row, rules, &s, out, e);
    if (rc < 0)
        return rc;
    out->lost = out->holders == 0;
    out->conflict = !out->lost && s.losers != 0;
    out->losers = out->conflict ? s.losers : 0;
    for (uint64_t left = out->lost ? 0 : out->present; left; left &= left - 1)
        find_need(row, rules, &s, out, lowest(left));
    return 0;
}

const char *plan_reason_text(enum plan_reason r)
{
    switch (r) {
    case REASON_NONE: return "";
    case REASON_NEW: return "new";
    case REASON_CHANGED: return "changed";
    case REASON_META: return "metadata";
    case REASON_CONFLICT: return "conflict";
    case REASON_KIND: return "kind changed";
    case REASON_DAMAGED: return "damaged";
    case REASON_DELETED: return "deleted";
    case REASON_EDITED: return "edit wins over deletion";
    case REASON_SURPLUS: return "more copies than asked for";
    case REASON_BLOCKED: return "blocked";
    case REASON_DISALLOWED: return "replication disallowed";
    case REASON_KEPT: return "kept";
    case REASON_LOST: return "lost";
    case REASON_PREFERRED: return "preferred";
    case REASON_FEW: return "fewer copies than asked for";
    }
    return "unknown";
}
