/*
 * Tables of tiny worlds: one row of the merge, and what comes of it.
 *
 *     [below] A[x@10 A1 ...] B[...] C[] => [skip|lost|conflict] x@10 A1 | A*:record B:conflict C:new
 *
 * In brackets is what a member has: nothing, or an object, its version, and words. Objects: x@10 is a file
 * with content x and mtime 10, >x@10 a symlink to x, / a directory, -@10 a tombstone of time 10; with :600 a mode (else 644, 777, 755).
 * A version A1B2 counts 1 for A and 2 for B. Words: damaged, unknown, hidden, o=B (origin, else A), s=5
 * (first seen, else 1). "below": something will be left below this path. "named B": B's version wins conflicts.
 *
 * On the right is the winner, with o= and s= where they are not A and 1, then what each member needs, with *
 * for a holder: "ok" nothing, "record", "metadata", "deleted" (to be removed), else content, for the reason that stands there; "out"
 * takes no part.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plan/reconcile.h"

static const char *const RULE_1[] = {
    /* hidden: left alone, whoever hides it */
    "A[x@10 A1 hidden] => skip",
    "A[x@10 A1] B[y@20 B1 hidden] C[] => skip",
    "A[x@10 A1 unknown] B[y@20 B1 hidden damaged] => skip",
    /* unknown: no part, its version is not joined, it is neither holder nor target */
    "A[x@10 A1 unknown] => skip",
    "A[x@10 A1 unknown] B[] => skip",
    "A[x@10 A1 unknown] B[x@10 A1] => x@10 A1 | A:out B*:ok",
    "A[x@10 A1 unknown] B[y@20 A1B1] C[] => y@20 A1B1 | A:out B*:ok C:new",
    "A[x@30 A2 unknown] B[y@20 A1] C[] => y@20 A1 | A:out B*:ok C:new",
    "A[z@90 A1C1 unknown] B[y@20 B1] C[x@10 C1] => conflict y@20 B1C1 | A:out B*:record C:conflict",
    "A[x@10 A1 unknown damaged] B[x@10 A1] => x@10 A1 | A:out B*:ok",
    "below A[/ A1 unknown] B[x@10 B1] => x@10 B1 | A:out B*:ok",
    /* damaged: healed, counted by version, never given */
    "A[x@10 A1 damaged] B[x@10 A1] => x@10 A1 | A:damaged B*:ok",
    "A[x@10 A1 damaged] B[x@10 A1] C[] => x@10 A1 | A:damaged B*:ok C:new",
    "A[x@10 A1 damaged] B[y@20 A1B1] => y@20 A1B1 | A:damaged B*:ok",
    "A[>x@10 A1 damaged] B[>x@10 A1] => >x@10 A1 | A:damaged B*:ok",
    "A[x@10 A1 damaged] B[x@10 A1 damaged] C[x@10 A1] => x@10 A1 | A:damaged B:damaged C*:ok",
    "A[x@90 A1 damaged] B[y@20 B1] => y@20 A1B1 | A:damaged B*:record",
    "A[x@90 A1 damaged] B[y@20 B1] C[z@30 C1] => conflict z@30 A1B1C1 | A:damaged B:conflict C*:record",
    "A[x@10 A1 damaged] => lost x@10 A1 | A:ok",
    "A[x@10 A1 damaged] B[] => lost x@10 A1 | A:ok B:ok",
    "A[x@10 A1 damaged] B[x@10 A1 damaged] => lost x@10 A1 | A:ok B:ok",
    "A[x@10 A1 damaged] B[y@20 B1 damaged] => lost y@20 A1B1 | A:ok B:ok",
    "A[x@10 A1 damaged] B[x@10 A1 unknown] => lost x@10 A1 | A:ok B:out",
    /* the only good copy is of an older version: it must not pass for the newer one */
    "A[y@20 A2 damaged] B[x@10 A1] => lost y@20 A2 | A:ok B:ok",
    "A[y@20 A2 damaged] B[x@10 A1] C[] => lost y@20 A2 | A:ok B:ok C:ok",
    /* ... but it may give the content where only metadata was changed since */
    "A[x@20 A2 damaged] B[x@10 A1] => x@20 A2 | A:damaged B*:metadata",
};

static const char *const RULE_2[] = {
    /* something below: the directory wins, whatever versions and times say */
    "below A[/ A1] B[x@90 B1] => conflict / A1B1 | A*:record B:conflict",
    "below A[/ A1] B[x@90 A1B1] => conflict / A1B1 | A*:record B:conflict",
    "below A[/ A1] B[x@90 A1] => conflict / A1 | A*:ok B:conflict",
    "below A[/ A2] B[x@90 A1] => / A2 | A*:ok B:kind changed",
    "below A[/ A2] B[>x@90 A1] C[] => / A2 | A*:ok B:kind changed C:new",
    "below A[>x@90 A2] B[/ B1] => conflict / A2B1 | A:conflict B*:record",
    "below A[x@90 A1 damaged] B[/ B1] => / A1B1 | A:damaged B*:record",
    "below A[x@90 A1 unknown] B[/ B1] => / B1 | A:out B*:ok",
    "below A[/ A1] B[x@90 B1] C[/ C1] => conflict / A1B1C1 | A*:record B:conflict C*:record",
    "below A[/:700 A1] B[x@90 A1C1] C[/:750 C1] => conflict /:750 A1C1 | A*:metadata B:conflict C*:record",
    "below A[/ A1] B[x@90 B1] C[/:700 A1C1] => conflict /:700 A1B1C1 | A*:metadata B:conflict C*:record",
    "below A[/:777 A1] B[x@90 A1] C[/:700 A1C1] => /:700 A1C1 | A*:metadata B:kind changed C*:ok",
    "below A[x@10 A1] B[/ B1] C[>x@20 C1] => conflict / A1B1C1 | A:conflict B*:record C:conflict",
    /* nothing below: versions decide */
    "A[/ A1] B[x@90 A1B1] => x@90 A1B1 | A:kind changed B*:ok",
    "A[/ A1B1] B[x@90 A1] => / A1B1 | A*:ok B:kind changed",
    "A[x@10 A1] B[>x@10 A2] => >x@10 A2 | A:kind changed B*:ok",
};

static const char *const RULE_3[] = {
    /* all the same */
    "A[x@10 A1] => x@10 A1 | A*:ok",
    "A[x@10 A1] B[x@10 A1] C[x@10 A1] => x@10 A1 | A*:ok B*:ok C*:ok",
    "A[/ A1] B[/ A1] => / A1 | A*:ok B*:ok",
    "A[x@10 A1] B[] => x@10 A1 | A*:ok B:new",
    "A[] B[>x@10 B2] C[] => >x@10 B2 | A:new B*:ok C:new",
    "A[] B[/:700 B1] => /:700 B1 | A:new B*:ok",
    /* one version dominates: it wins, older or not, and clocks have no say */
    "A[x@90 A1] B[y@10 A1B1] => y@10 A1B1 | A:changed B*:ok",
    "A[x@90 A1] B[y@10 A2] C[] => y@10 A2 | A:changed B*:ok C:new",
    "A[x@10 A1] B[x@10 A2] => x@10 A2 | A*:record B*:ok",
    "A[x@10 A1] B[x@10:600 A2] => x@10:600 A2 | A*:metadata B*:ok",
    "A[x@20 A1] B[x@10 A2] => x@10 A2 | A*:metadata B*:ok",
    "A[x@10 A1] B[y@20 A2] C[z@30 A3] => z@30 A3 | A:changed B:changed C*:ok",
    "A[/:755 A1] B[/:700 A2] => /:700 A2 | A*:metadata B*:ok",
    /* a dominating version over two that are concurrent with each other */
    "A[x@90 A1] B[y@80 B1] C[z@10 A1B1C1] => z@10 A1B1C1 | A:changed B:changed C*:ok",
    /* concurrent, one content: joined, no conflict */
    "A[x@10 A1] B[x@10 B1] => x@10 A1B1 | A*:record B*:record",
    "A[x@10 A1] B[x@10 B1] C[x@10 A1B1] => x@10 A1B1 | A*:record B*:record C*:ok",
    "A[x@10 A1] B[x@10 B1] C[] => x@10 A1B1 | A*:record B*:record C:new",
    "A[x@10 A1] B[x@20 B1] => x@20 A1B1 | A*:metadata B*:record",
    "A[x@20:600 A1] B[x@20:644 B1] => x@20 A1B1 | A*:metadata B*:record",
    "A[x@20:777 A1] B[x@30:600 B1] => x@30:600 A1B1 | A*:metadata B*:record",
    "A[/:700 A1] B[/:750 B1] => /:750 A1B1 | A*:metadata B*:record",
    "A[>x@10 A1] B[>x@20 B1] => >x@20 A1B1 | A*:metadata B*:record",
    /* equal versions, and yet not the same */
    "A[x@10 A1] B[x@20 A1] => x@20 A1 | A*:metadata B*:ok",
    "A[x@10 A1] B[y@20 A1] => conflict y@20 A1 | A:conflict B*:ok",
    "A[x@10 A1] B[y@10 A1] C[x@10 A1] => conflict y@10 A1 | A:conflict B*:ok C:conflict",
    "A[x@10 A1] B[y@20 A1] C[z@5 A2] => z@5 A2 | A:changed B:changed C*:ok",
    /* conflicts: mtime, then digest (here: the letter), then mode */
    "A[x@10 A1] B[y@20 B1] => conflict y@20 A1B1 | A:conflict B*:record",
    "A[x@20 A1] B[y@10 B1] => conflict x@20 A1B1 | A*:record B:conflict",
    "A[x@10 A1] B[y@10 B1] => conflict y@10 A1B1 | A:conflict B*:record",
    "A[y@10 A1] B[x@10:777 B1] => conflict y@10 A1B1 | A*:record B:conflict",
    "A[>x@10 A1] B[>y@10 B1] => conflict >y@10 A1B1 | A:conflict B*:record",
    "A[x@10 A2B1] B[y@20 A1B2] => conflict y@20 A2B2 | A:conflict B*:record",
    "A[x@10 A1] B[y@20 B1] C[] => conflict y@20 A1B1 | A:conflict B*:record C:new",
    /* three ways */
    "A[x@10 A1] B[y@20 B1] C[z@30 C1] => conflict z@30 A1B1C1 | A:conflict B:conflict C*:record",
    "A[x@10 A1] B[y@20 B1] C[y@20 C1] => conflict y@20 A1B1C1 | A:conflict B*:record C*:record",
    "A[x@10 A1] B[y@20 B1] C[x@30 C1] => conflict x@30 A1B1C1 | A*:metadata B:conflict C*:record",
    "A[x@20:600 A1] B[y@10 B1] C[x@20:640 C1] => conflict x@20:640 A1B1C1 | A*:metadata B:conflict C*:record",
    /* who is behind one of the rivals is no loser; nor does it matter how new its clock is */
    "A[x@90 A1] B[y@20 A2] C[z@30 C1] => conflict z@30 A2C1 | A:changed B:conflict C*:record",
    "A[x@10 A1] B[y@20 B1] C[y@20 B1] D[x@10 A1B1D1] => x@10 A1B1D1 | A*:record B:changed C:changed D*:ok",
    "B[z@9 A2] C[y@8 C1] D[x@8 C1D1] => conflict z@9 A2C1D1 | B*:record C:changed D:conflict",
    /* who is behind and has the winner's content is a holder all the same */
    "A[z@30 A1] B[y@20 A2] C[z@30 C1] => conflict z@30 A2C1 | A*:record B:conflict C*:record",
    /* kinds in conflict: a directory yields, a file goes before a symlink when the time is the same */
    "A[/ A1] B[x@10 B1] => conflict x@10 A1B1 | A:conflict B*:record",
    "A[/ A1] B[>x@10 B1] => conflict >x@10 A1B1 | A:conflict B*:record",
    "A[/ A1] B[x@-5 B1] => conflict x@-5 A1B1 | A:conflict B*:record",
    "A[/ A1] B[x@10 A1] => conflict x@10 A1 | A:conflict B*:ok",
    "A[x@10 A1] B[>y@10 B1] => conflict x@10 A1B1 | A*:record B:conflict",
    "A[x@10 A1] B[>x@10 B1] => conflict x@10 A1B1 | A*:record B:conflict",
    "A[x@10 A1] B[>x@20 B1] => conflict >x@20 A1B1 | A:conflict B*:record",
    "A[/ A1] B[x@10 B1] C[>y@20 C1] => conflict >y@20 A1B1C1 | A:conflict B:conflict C*:record",
};

static const char *const RULE_4[] = {
    /* first_seen is the least of all, also of those that lost or are damaged */
    "A[x@10 A1 s=5] B[x@10 A1 s=3] => x@10 A1 s=3 | A*:record B*:ok",
    "A[x@10 A1 s=3] B[y@20 A1B1 s=5] => y@20 A1B1 s=3 | A:changed B*:record",
    "A[x@7 A1 s=5] B[y@8 B1 s=3] C[z@9 C1 s=4] => conflict z@9 A1B1C1 s=3 | A:conflict B:conflict C*:record",
    "A[x@10 A1 s=5] B[x@10 A1 s=3 damaged] => x@10 A1 s=3 | A*:record B:damaged",
    "A[x@10 A1 s=5] B[x@10 A1 s=3 unknown] => x@10 A1 s=5 | A*:ok B:out",
    /* origin: of what dominates; of the first rival where there are several, even when another one wins */
    "A[x@10 A1 o=A] B[y@20 A1B1 o=B] => y@20 A1B1 o=B | A:changed B*:ok",
    "A[x@10 A1 o=A] B[y@20 B1 o=B] => conflict y@20 A1B1 | A:conflict B*:record",
    "B[y@20 B1 o=B] A[x@10 A1 o=A] => conflict y@20 A1B1 o=B | B*:record A:conflict",
    "A[x@10 A1 o=A] B[x@10 B1 o=B] => x@10 A1B1 | A*:record B*:record",
    "B[x@10 B1 o=B] A[x@10 A1 o=A] => x@10 A1B1 o=B | B*:record A*:record",
    "B[x@10 A1 o=B] A[x@10 A1 o=A] => x@10 A1 o=B | B*:ok A*:record",
    "C[w@5 A1 o=C] B[x@10 B1 o=B] A[y@20 A2 o=A] => conflict y@20 A2B1 o=B | C:changed B:conflict A*:record",
    "below B[x@10 B1 o=B] A[/ A1 o=A] => conflict / A1B1 | B:conflict A*:record",
    "C[] B[x@10 B1 o=B] => x@10 B1 o=B | C:new B*:ok",
    /* the joined version dominates every one in the row */
    "A[x@10 A3B1] B[y@20 B2C1] C[x@10 A1C4] => conflict y@20 A3B2C4 | A:conflict B*:record C:conflict",
    "A[x@10 A3] B[x@10 B7] C[x@10 C9] D[x@10 D2] => x@10 A3B7C9D2 | A*:record B*:record C*:record D*:record",
};

static const char *const RULE_5[] = {
    /* a deletion takes the object away where it is, and is recorded where it is not */
    "A[-@50 A2] B[x@10 A1] => -@50 A2 | A*:ok B:deleted",
    "A[-@50 A2] B[x@10 A1] C[] => -@50 A2 | A*:ok B:deleted C:record",
    "A[-@50 A2] B[x@90 A1] C[>y@95 A1] => -@50 A2 | A*:ok B:deleted C:deleted",
    "A[-@50 A2] B[/ A1] => -@50 A2 | A*:ok B:deleted",
    "A[-@50 A2] B[x@10 A1 damaged] => -@50 A2 | A*:ok B:deleted",
    "A[-@50 A2] B[x@10 A1 unknown] => -@50 A2 | A*:ok B:out",
    "A[-@50 A2] B[x@10 A1 hidden] => skip",
    "A[-@50 A2 hidden] B[x@10 A1] => skip",
    "A[-@50 A2] B[-@50 A2] => -@50 A2 | A*:ok B*:ok",
    "A[-@50 A2] B[-@50 A2] C[] => -@50 A2 | A*:ok B*:ok C:record",
    "A[-@50 A2] => -@50 A2 | A*:ok",
    /* deleted on both sides: joined, and remembered from the later time on */
    "A[-@50 A2] B[-@60 A1B1] => -@60 A2B1 | A*:record B*:record",
    "A[-@60 A2] B[-@50 A2] => -@60 A2 | A*:ok B*:record",
    "A[-@50 A2] B[-@60 A1B1] C[x@99 A1] => -@60 A2B1 | A*:record B*:record C:deleted",
    /* whoever knew of the deletion and made the object anew wins */
    "A[-@50 A2] B[x@10 A2B1] => x@10 A2B1 | A:new B*:ok",
    "A[-@50 A2] B[x@10 A3] C[-@50 A2] => x@10 A3 | A:new B*:ok C:new",
    /* an edit wins over a deletion that did not know of it, whatever the clocks say */
    "A[-@99 A2] B[y@10 A1B1] => y@10 A2B1 | A:edit wins over deletion B*:record",
    "A[-@99 A2] B[y@10 A1B1] C[x@5 A1] => y@10 A2B1 | A:edit wins over deletion B*:record C:changed",
    "A[-@99 A2] B[y@10 A1B1] C[z@20 A1C1] => conflict z@20 A2B1C1 | A:edit wins over deletion B:conflict C*:record",
    "A[-@99 A2] B[x@10 A2] => x@10 A2 | A:edit wins over deletion B*:ok",
    "A[-@99 A2] B[x@10 A1B1 damaged] => lost x@10 A2B1 | A:ok B:ok",
    "A[-@99 A2] B[/:700 A1B1] => /:700 A2B1 | A:edit wins over deletion B*:record",
    /* a directory that is not empty stays */
    "below A[-@99 A2] B[/ A1] => / A2 | A:edit wins over deletion B*:record",
    "below A[-@99 A2] B[/ A1] C[] => / A2 | A:edit wins over deletion B*:record C:new",
    "below A[-@99 A2] B[-@99 A2] => -@99 A2 | A*:ok B*:ok",
    "below A[-@99 A2] B[x@10 A1] => -@99 A2 | A*:ok B:deleted",
};

static const char *const RULE_3_NAMED[] = {
    "named A A[x@10 A1] B[y@20 B1] => conflict x@10 A1B1 | A*:record B:conflict",
    "named B A[x@10 A1] B[y@20 B1] => conflict y@20 A1B1 | A:conflict B*:record",
    "named C A[x@10 A1] B[y@20 B1] C[] => conflict y@20 A1B1 | A:conflict B*:record C:new",
    "named C A[x@10 A1] B[y@20 B1] => conflict y@20 A1B1 | A:conflict B*:record",
    "named A A[x@10 A1] B[y@20 A1B1] => y@20 A1B1 | A:changed B*:ok",
    "named A A[x@10:600 A1] B[x@20 B1] => x@20 A1B1 | A*:metadata B*:record",
    "named A A[x@10 A1] B[y@20 B1] C[z@30 C1] => conflict x@10 A1B1C1 | A*:record B:conflict C:conflict",
    "named A A[x@10 A1 damaged] B[y@20 B1] => y@20 A1B1 | A:damaged B*:record",
    "named A A[-@90 A1] B[y@20 B1] => y@20 A1B1 | A:edit wins over deletion B*:record",
    "named A A[/ A1] B[x@10 B1] => conflict / A1B1 | A*:record B:conflict",
};

/* ---- the notation ---- */

struct world {
    unsigned members;
    char name[PLAN_MEMBERS_MAX];
    bool has[PLAN_MEMBERS_MAX];
    struct entry entry[PLAN_MEMBERS_MAX];
    bool below;
    char named; /* 0: nobody */
};

static struct uuid uuid_for(char name)
{
    struct uuid u = {{0}};
    u.b[0] = (uint8_t)name;
    u.b[15] = 7;
    return u;
}

static void set_kind(struct entry *e, enum entry_kind kind, char content)
{
    e->kind = kind;
    bool has_content = kind == ENTRY_FILE || kind == ENTRY_LINK;
    e->mode = kind == ENTRY_FILE ? 0644 : kind == ENTRY_LINK ? 0777 : kind == ENTRY_DIR ? 0755 : 0;
    e->size = has_content ? 3 : 0;
    e->digest.b[0] = has_content ? (uint8_t)content : 0;
}

static void read_object(const char **at, struct entry *e)
{
    const char *p = *at;
    if (*p == '/') {
        set_kind(e, ENTRY_DIR, 0);
        p++;
    } else if (*p == '-') {
        set_kind(e, ENTRY_GONE, 0);
        e->mtime.sec = strtol(p + 2, (char **)&p, 10);
    } else {
        bool link = *p == '>';
        p += link;
        set_kind(e, link ? ENTRY_LINK : ENTRY_FILE, *p++);
        assert_int_equal(*p, '@');
        e->mtime.sec = strtol(p + 1, (char **)&p, 10);
    }
    if (*p == ':')
        e->mode = (uint32_t)strtoul(p + 1, (char **)&p, 8);
    assert_int_equal(*p, ' ');
    for (p++; *p >= 'A' && *p <= 'Z';) {
        struct uuid who = uuid_for(*p++);
        assert_int_equal(version_set(&e->version, &who, strtoul(p, (char **)&p, 10)), 0);
    }
    *at = p;
}

static void read_words(const char **at, struct entry *e)
{
    while (**at == ' ') {
        const char *word = ++*at;
        *at += strcspn(word, " ]");
        if (strncmp(word, "damaged", 7) == 0)
            e->flags |= ENTRY_DAMAGED;
        else if (strncmp(word, "unknown", 7) == 0)
            e->flags |= ENTRY_UNKNOWN;
        else if (strncmp(word, "hidden", 6) == 0)
            e->flags |= ENTRY_HIDDEN;
        else if (strncmp(word, "o=", 2) == 0)
            e->origin = uuid_for(word[2]);
        else if (strncmp(word, "s=", 2) == 0)
            e->first_seen = strtol(word + 2, NULL, 10);
        else
            fail_msg("unknown word in \"%s\"", word);
    }
}

/* Reads a world up to " => "; returns what stands behind it. */
static const char *read_world(const char *text, struct world *w)
{
    const char *p = text;
    memset(w, 0, sizeof *w);
    w->below = strncmp(p, "below ", 6) == 0;
    p += w->below ? 6 : 0;
    w->named = strncmp(p, "named ", 6) == 0 ? p[6] : 0;
    p += w->named ? 8 : 0;
    while (*p != '=') {
        unsigned i = w->members++;
        struct entry *e = &w->entry[i];
        w->name[i] = *p++;
        assert_int_equal(*p++, '[');
        e->path = "o";
        e->path_len = 1;
        e->origin = uuid_for('A');
        e->first_seen = 1;
        w->has[i] = *p != ']';
        if (w->has[i]) {
            read_object(&p, e);
            read_words(&p, e);
        }
        if (p[0] != ']' || p[1] != ' ')
            fail_msg("cannot read \"%s\" at \"%s\"", text, p);
        p += 2;
    }
    assert_memory_equal(p, "=> ", 3);
    return p + 3;
}

static void row_of(const struct world *w, struct merge_row *row)
{
    bool dirs = false, others = false;
    *row = (struct merge_row){.path = "o", .path_len = 1, .members = w->members};
    for (unsigned i = 0; i < w->members; i++) {
        row->at[i] = w->has[i] ? &w->entry[i] : NULL;
        dirs |= w->has[i] && w->entry[i].kind == ENTRY_DIR;
        others |= w->has[i] && w->entry[i].kind != ENTRY_DIR;
    }
    row->forked = dirs && others;
}

static struct plan_rules rules_of(const struct world *w)
{
    struct plan_rules rules = {w->named ? PLAN_MEMBER : PLAN_NEWEST, PLAN_NOBODY, false};
    for (unsigned i = 0; w->named && i < w->members; i++)
        if (w->name[i] == w->named)
            rules.winner = i;
    return rules;
}

static void judge(const struct world *w, struct verdict *v)
{
    struct merge_row row;
    struct err e;
    const struct plan_rules rules = rules_of(w);
    row_of(w, &row);
    memset(v, 0xa5, sizeof *v); /* nothing may be left from before */
    assert_int_equal(reconcile(&row, &rules, w->below, v, &e), 0);
}

static size_t show_winner(char *out, size_t size, const struct entry *e)
{
    static const uint32_t usual[] = {[ENTRY_FILE] = 0644, [ENTRY_LINK] = 0777, [ENTRY_DIR] = 0755};
    size_t n = 0;
    if (e->kind == ENTRY_DIR)
        n += (size_t)snprintf(out, size, "/");
    else if (e->kind == ENTRY_GONE)
        n += (size_t)snprintf(out, size, "-@%lld", (long long)e->mtime.sec);
    else
        n += (size_t)snprintf(out, size, "%s%c@%lld", e->kind == ENTRY_LINK ? ">" : "", e->digest.b[0],
                              (long long)e->mtime.sec);
    if (e->mode != usual[e->kind])
        n += (size_t)snprintf(out + n, size - n, ":%o", e->mode);
    n += (size_t)snprintf(out + n, size - n, " ");
    for (uint32_t i = 0; i < e->version.n; i++)
        n += (size_t)snprintf(out + n, size - n, "%c%llu", e->version.item[i].who.b[0],
                              (unsigned long long)e->version.item[i].count);
    if (e->origin.b[0] != 'A')
        n += (size_t)snprintf(out + n, size - n, " o=%c", e->origin.b[0]);
    if (e->first_seen != 1)
        n += (size_t)snprintf(out + n, size - n, " s=%lld", (long long)e->first_seen);
    assert_int_equal(e->flags, 0);
    return n;
}

/* Need and reason as one word; they must fit each other. */
static const char *need_text(const struct verdict *v, unsigned i)
{
    static const enum plan_need needs[] = {
        [REASON_NEW] = NEED_CONTENT,      [REASON_CHANGED] = NEED_CONTENT, [REASON_META] = NEED_META,
        [REASON_CONFLICT] = NEED_CONTENT, [REASON_KIND] = NEED_CONTENT,    [REASON_DAMAGED] = NEED_CONTENT,
        [REASON_DELETED] = NEED_REMOVE,   [REASON_EDITED] = NEED_CONTENT,
    };
    if (!(v->present >> i & 1))
        assert_int_equal(v->need[i] | v->reason[i], 0);
    if (v->reason[i] == REASON_NONE) {
        assert_in_range(v->need[i], NEED_NOTHING, NEED_RECORD);
        return !(v->present >> i & 1) ? "out" : v->need[i] == NEED_RECORD ? "record" : "ok";
    }
    assert_int_equal(v->need[i], needs[v->reason[i]]);
    return plan_reason_text((enum plan_reason)v->reason[i]);
}

static void show(char *out, size_t size, const struct world *w, const struct verdict *v)
{
    if (v->skip) {
        snprintf(out, size, "skip");
        return;
    }
    size_t n = (size_t)snprintf(out, size, "%s", v->lost ? "lost " : v->conflict ? "conflict " : "");
    n += show_winner(out + n, size - n, &v->winner);
    n += (size_t)snprintf(out + n, size - n, " |");
    for (unsigned i = 0; i < w->members; i++) {
        n += (size_t)snprintf(out + n, size - n, " %c%s:%s", w->name[i], v->holders >> i & 1 ? "*" : "",
                              need_text(v, i));
        assert_int_equal(v->had >> i & 1, w->has[i] && w->entry[i].kind != ENTRY_GONE);
    }
    assert_int_equal((v->present | v->had | v->holders) >> w->members, 0);
}

static void check_table(const char *const *line, size_t n)
{
    struct world *w = mem_alloc(sizeof *w);
    for (size_t i = 0; i < n; i++) {
        struct verdict v;
        char got[512];
        const char *want = read_world(line[i], w);
        judge(w, &v);
        show(got, sizeof got, w, &v);
        if (strcmp(got, want) != 0)
            fail_msg("%s\n    but came out as %s", line[i], got);
    }
    free(w);
}

#define CHECK_TABLE(t) check_table(t, sizeof(t) / sizeof(t)[0])

static void test_taking_part(void **state)
{
    (void)state;
    CHECK_TABLE(RULE_1);
}

static void test_mixed(void **state)
{
    (void)state;
    CHECK_TABLE(RULE_2);
}

static void test_winner(void **state)
{
    (void)state;
    CHECK_TABLE(RULE_3);
    CHECK_TABLE(RULE_3_NAMED);
}

static void test_record(void **state)
{
    (void)state;
    CHECK_TABLE(RULE_4);
}

static void test_deletions(void **state)
{
    (void)state;
    CHECK_TABLE(RULE_5);
}

/* ---- what holds for all worlds ---- */

#define WORLDS 20000

static uint32_t dice(uint64_t *seed, uint32_t sides)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed >> 11) % sides);
}

static void random_entry(uint64_t *seed, struct entry *e)
{
    static const enum entry_kind kinds[] = {ENTRY_FILE, ENTRY_FILE, ENTRY_FILE, ENTRY_LINK, ENTRY_DIR, ENTRY_GONE};
    *e = (struct entry){.path = "o", .path_len = 1, .origin = uuid_for('A')};
    set_kind(e, kinds[dice(seed, 6)], (char)('x' + dice(seed, 3)));
    if (e->kind != ENTRY_DIR)
        e->mtime = (struct stamp){dice(seed, 3), e->kind == ENTRY_GONE ? 0 : dice(seed, 2)};
    if (e->kind == ENTRY_FILE || e->kind == ENTRY_DIR)
        e->mode = dice(seed, 3) ? e->mode : 0700;
    e->first_seen = 1 + dice(seed, 3);
    e->flags = (dice(seed, 10) == 0 ? ENTRY_DAMAGED : 0u) | (dice(seed, 12) == 0 ? ENTRY_UNKNOWN : 0u) |
               (dice(seed, 100) == 0 ? ENTRY_HIDDEN : 0u);
    if (e->kind == ENTRY_GONE)
        e->flags &= ENTRY_HIDDEN;
    for (char who = 'A'; who < 'D'; who++) {
        struct uuid u = uuid_for(who);
        version_set(&e->version, &u, dice(seed, 3) ? dice(seed, 3) : 0);
    }
    if (e->version.n == 0) {
        struct uuid u = uuid_for('E');
        version_set(&e->version, &u, 1);
    }
}

static void random_world(uint64_t *seed, struct world *w)
{
    w->members = 1 + dice(seed, 5);
    w->below = dice(seed, 2);
    for (unsigned i = 0; i < w->members; i++) {
        w->name[i] = (char)('A' + i);
        w->has[i] = dice(seed, 6) != 0;
        if (i > 0 && w->has[i - 1] && dice(seed, 3) == 0)
            w->entry[i] = w->entry[i - 1]; /* agreement has to be as frequent as strife */
        else
            random_entry(seed, &w->entry[i]);
    }
}

/* to: the members of from in another order; where[i] is where member i went. */
static void shuffle(uint64_t *seed, const struct world *from, struct world *to, unsigned *where)
{
    for (unsigned i = 0; i < from->members; i++)
        where[i] = i;
    for (unsigned i = from->members; i > 1; i--) {
        unsigned k = dice(seed, i), keep = where[i - 1];
        where[i - 1] = where[k];
        where[k] = keep;
    }
    to->members = from->members;
    to->below = from->below;
    for (unsigned i = 0; i < from->members; i++) {
        to->name[where[i]] = from->name[i];
        to->has[where[i]] = from->has[i];
        entry_copy(&to->entry[where[i]], &from->entry[i]);
    }
}

static bool same_winner(const struct verdict *a, const struct verdict *b)
{
    return entry_same_content(&a->winner, &b->winner) && entry_same_meta(&a->winner, &b->winner) &&
           entry_same_record(&a->winner, &b->winner);
}

static void fail_world(int round, const char *what, const struct world *w, const struct verdict *v)
{
    char text[1024];
    show(text, sizeof text, w, v);
    fail_msg("world %d: %s: %s", round, what, text);
}

static void check_shuffled(uint64_t *seed, int round, const struct world *w, const struct verdict *v,
                           struct world *other)
{
    unsigned where[PLAN_MEMBERS_MAX];
    struct verdict u;
    shuffle(seed, w, other, where);
    judge(other, &u);
    bool same = u.skip == v->skip && u.lost == v->lost && u.conflict == v->conflict &&
                (v->skip || same_winner(&u, v));
    for (unsigned i = 0; i < w->members; i++)
        same = same && u.need[where[i]] == v->need[i] && u.reason[where[i]] == v->reason[i] &&
               (u.holders >> where[i] & 1) == (v->holders >> i & 1) &&
               (u.present >> where[i] & 1) == (v->present >> i & 1);
    if (!same)
        fail_world(round, "depends on the order of members", w, v);
}

/* The verdict is carried out on these members. */
static void apply(struct world *w, const struct verdict *v, uint64_t members)
{
    for (unsigned i = 0; i < w->members; i++) {
        if (!(members >> i & 1) || v->need[i] == NEED_NOTHING)
            continue;
        w->has[i] = true;
        entry_copy(&w->entry[i], &v->winner);
        w->entry[i].path = "o";
    }
}

static void check_converges(int round, struct world *w, const struct verdict *first, uint64_t subset)
{
    struct verdict v;
    apply(w, first, subset);
    judge(w, &v);
    if (v.skip != first->skip || v.lost != first->lost || (!v.skip && !same_winner(&v, first)))
        fail_world(round, "half of it done, it comes out otherwise", w, &v);
    apply(w, &v, UINT64_MAX);
    judge(w, &v);
    for (unsigned i = 0; i < w->members; i++) {
        if (v.need[i] != NEED_NOTHING)
            fail_world(round, "all done, and still something to do", w, &v);
        if (!v.skip && !v.lost && (v.present >> i & 1) && !(v.holders >> i & 1))
            fail_world(round, "all done, and one does not hold it", w, &v);
    }
    if (v.conflict)
        fail_world(round, "all done, and still a conflict", w, &v);
}

static void check_sound(int round, const struct world *w, const struct verdict *v)
{
    for (unsigned i = 0; !v->skip && i < w->members; i++) {
        if (!w->has[i] || w->entry[i].flags & ENTRY_UNKNOWN)
            continue;
        enum version_order o = version_compare(&w->entry[i].version, &v->winner.version);
        if (o != VERSION_BEFORE && o != VERSION_EQUAL)
            fail_world(round, "the winner's version is not after all others", w, v);
    }
    if (!v->skip && !v->lost && (v->holders == 0 || (v->holders & ~v->present) || (v->winner.kind == ENTRY_GONE ? (v->holders & v->had) : (v->holders & ~v->had))))
        fail_world(round, "nobody, or somebody odd, holds the winner", w, v);
}

static void test_random_worlds(void **state)
{
    (void)state;
    struct world *w = mem_zalloc(sizeof *w), *other = mem_zalloc(sizeof *other);
    uint64_t seed = 88172645463325252u;
    unsigned skips = 0, lost = 0, conflicts = 0;
    for (int round = 0; round < WORLDS; round++) {
        struct verdict v;
        random_world(&seed, w);
        judge(w, &v);
        skips += v.skip;
        lost += v.lost;
        conflicts += v.conflict;
        check_sound(round, w, &v);
        for (int times = 0; times < 4; times++)
            check_shuffled(&seed, round, w, &v, other);
        uint64_t subset = dice(&seed, 1u << w->members);
        check_converges(round, w, &v, round % 4 ? subset : UINT64_MAX);
    }
    /* The dice reach every corner. */
    assert_in_range(skips, 100, WORLDS / 5);
    assert_in_range(lost, 100, WORLDS / 5);
    assert_in_range(conflicts, 1000, WORLDS);
    free(w);
    free(other);
}

/* ---- the edges ---- */

static void test_vector_too_long(void **state)
{
    (void)state;
    struct entry *at = mem_zalloc(2 * sizeof *at);
    struct merge_row row = {.path = "o", .path_len = 1, .members = 2, .at = {at, at + 1}};
    for (unsigned i = 0; i < 40; i++) {
        struct uuid a = uuid_for((char)(1 + i)), b = uuid_for((char)(60 + i));
        version_set(&at[0].version, &a, 1);
        version_set(&at[1].version, &b, 1);
    }
    set_kind(&at[0], ENTRY_FILE, 'x');
    set_kind(&at[1], ENTRY_FILE, 'x');
    struct verdict v;
    struct err e = {0};
    const struct plan_rules rules = {PLAN_NEWEST, PLAN_NOBODY, false};
    assert_int_equal(reconcile(&row, &rules, false, &v, &e), ERR_FORMAT);
    assert_int_equal(e.code, ERR_FORMAT);
    at[1].flags = ENTRY_UNKNOWN;
    assert_int_equal(reconcile(&row, &rules, false, &v, &e), 0);
    free(at);
}

/* Where members keep no times, these still say who is the newest; and that they differ is nothing to be done about. */
static void test_times_are_not_kept(void **state)
{
    (void)state;
    struct entry *at = mem_zalloc(3 * sizeof *at);
    struct merge_row row = {.path = "o", .path_len = 1, .members = 3, .at = {at, at + 1, at + 2}};
    struct uuid who = uuid_for('A');
    for (unsigned i = 0; i < 3; i++) {
        version_set(&at[i].version, &who, 1);
        set_kind(&at[i], ENTRY_FILE, i == 1 ? 'y' : 'x');
        at[i].mtime.sec = 10 + i;
    }
    struct verdict v;
    struct err e = {0};
    struct plan_rules rules = {PLAN_NEWEST, PLAN_NOBODY, true};
    assert_int_equal(reconcile(&row, &rules, false, &v, &e), 0);
    assert_true(v.conflict);
    assert_int_equal(v.top, 2);
    assert_int_equal(v.need[0], NEED_NOTHING);
    assert_int_equal(v.need[1], NEED_CONTENT);
    assert_int_equal(v.reason[1], REASON_CONFLICT);
    rules.no_meta = false;
    assert_int_equal(reconcile(&row, &rules, false, &v, &e), 0);
    assert_int_equal(v.need[0], NEED_META);
    free(at);
}

static void test_all_members(void **state)
{
    (void)state;
    struct world *w = mem_zalloc(sizeof *w);
    struct verdict v;
    w->members = PLAN_MEMBERS_MAX;
    for (unsigned i = 0; i < PLAN_MEMBERS_MAX; i++) {
        struct uuid who = uuid_for((char)(1 + i));
        w->has[i] = i != 63;
        w->entry[i] = (struct entry){.path = "o", .path_len = 1};
        set_kind(&w->entry[i], ENTRY_FILE, i == 62 ? 'y' : 'x');
        version_set(&w->entry[i].version, &who, 1);
    }
    judge(w, &v);
    assert_true(v.conflict);
    assert_int_equal(v.winner.version.n, 63);
    assert_true(v.holders == (uint64_t)1 << 62);
    assert_true(v.present == UINT64_MAX);
    assert_int_equal(v.reason[0], REASON_CONFLICT);
    assert_int_equal(v.reason[63], REASON_NEW);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taking_part),     cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_winner),          cmocka_unit_test(test_record),
        cmocka_unit_test(test_random_worlds),   cmocka_unit_test(test_vector_too_long),
        cmocka_unit_test(test_times_are_not_kept), cmocka_unit_test(test_all_members),     cmocka_unit_test(test_deletions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
