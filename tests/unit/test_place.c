#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "plan/place.h"

static uint64_t bit(unsigned i)
{
    return UINT64_C(1) << i;
}

static struct uuid uuid_of(unsigned n)
{
    struct uuid id = {{0}};
    for (unsigned i = 0; i < 16; i++)
        id.b[i] = (uint8_t)(n * 37 + i * 11 + (n >> 3));
    return id;
}

static void world_make(struct place_world *w, unsigned members)
{
    *w = (struct place_world){.members = members};
    for (unsigned i = 0; i < members; i++) {
        struct uuid id = uuid_of(i);
        w->seed[i] = place_seed(&id);
        w->room[i] = UINT64_MAX;
    }
}

/* ---- tiny worlds ---- */

#define MEMBERS 5

/* For the path "x", member a has the highest rank, then b, and so on. */
static void rank_by_letter(struct place_world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        for (unsigned k = i + 1; k < MEMBERS; k++)
            if (place_rank(w, "x", 1, i) < place_rank(w, "x", 1, k)) {
                uint64_t t = w->seed[i];
                w->seed[i] = w->seed[k];
                w->seed[k] = t;
            }
}

/* The members whose letters follow KEY= in the line, in order; their number. */
static unsigned letters(const char *line, const char *key, uint8_t *out)
{
    char find[16];
    snprintf(find, sizeof find, " %s=", key);
    const char *p = strstr(line, find);
    unsigned n = 0;
    for (p = p ? p + strlen(find) : ""; *p >= 'a' && *p <= 'e'; p++)
        out[n++] = (uint8_t)(*p - 'a');
    return n;
}

static uint64_t mask(const char *line, const char *key)
{
    uint8_t list[16];
    uint64_t m = 0;
    for (unsigned n = letters(line, key, list); n > 0; n--)
        m |= bit(list[n - 1]);
    return m;
}

static char *put_mask(char *out, uint64_t m)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        if (m >> i & 1)
            *out++ = (char)('a' + i);
    *out = '\0';
    return out;
}

static void run_line(const char *line, char *out)
{
    struct place_world w;
    struct place_result r;
    struct policy_object policy = {.allowed = true, .replicas = POLICY_ALL};
    uint8_t origin[16];
    world_make(&w, MEMBERS);
    rank_by_letter(&w);
    const char *number = strstr(line, " n=");
    if (number && number[3] != '*')
        policy.replicas = (uint32_t)atoi(number + 3);
    policy.blocked = mask(line, "block");
    for (unsigned i = 0, n = letters(line, "pref", origin); i < n; i++) {
        policy.preferred[policy.preferred_count++] = origin[i];
        policy.preferred_mask |= bit(origin[i]);
    }
    w.away = mask(line, "away");
    for (unsigned i = 0; i < MEMBERS; i++)
        w.room[i] = mask(line, "full") >> i & 1 ? 9 : 10;
    struct place_object o = {.path = "x", .len = 1, .size = 10, .holders = mask(line, "has"), .damaged = mask(line, "bad"),
                             .stale = mask(line, "stale"),
                             .origin = letters(line, "o", origin) ? origin[0] : PLACE_NOBODY, .policy = &policy};
    place_object(&w, &o, &r);
    out = put_mask(out, r.wanted);
    if (r.add)
        out = put_mask(out + sprintf(out, " +"), r.add);
    if (r.drops)
        out += sprintf(out, " -");
    for (unsigned i = 0; i < r.drops; i++)
        *out++ = (char)('a' + r.order[i]);
    *out = '\0';
    if (r.drops)
        out = put_mask(out + sprintf(out, " once "), r.keep);
    if (r.waiting)
        out = put_mask(out + sprintf(out, " ?"), r.waiting);
    if (r.under)
        out += sprintf(out, " under %u", r.under);
    if (r.blocked_original)
        sprintf(out, " blocked original");
}

static void tiny_worlds(void **state)
{
    static const struct {
        const char *world, *want;
    } t[] = {
        /* no policy: everybody */
        {" o=a has=a", "abcde +bcde"},
        {" o=b has=abcde", "abcde"},
        /* the number counts replicas, not the original */
        {" n=0 o=c has=c", "c"},
        {" n=1 o=c has=c", "ac +a"},
        {" n=2 o=a has=a", "abc +bc"},
        {" n=4 o=a has=a", "abcde +bcde"},
        {" n=9 o=a has=a", "abcde +bcde under 5"},
        /* preferred first, in order; then whoever has it; then by rank */
        {" n=1 o=a has=a pref=ed", "ae +e"},
        {" n=2 o=a has=a pref=ed", "ade +de"},
        {" n=3 o=a has=a pref=ed", "abde +bde"},
        {" n=2 o=a has=ad pref=e", "ade +e"},
        {" n=1 o=a has=ad", "ad"},
        {" n=1 o=a has=ad pref=a", "ad"},
        /* lowering: non-preferred first, then preferred from the end, those of low rank first */
        {" n=1 o=a has=abcde", "ab -edc once ab"},
        {" n=1 o=a has=abcde pref=ecd", "ae -bdc once ae"},
        {" n=0 o=a has=abcde pref=ed", "a -cbde once a"},
        {" n=2 o=a has=abcd pref=e", "abe +e -dc once abe"},
        /* blocked: never a replica; the original stays */
        {" o=a has=a block=c", "abde +bde"},
        {" n=4 o=a has=a block=c", "abde +bde under 1"},
        {" n=1 o=a has=ac block=c", "ab +b -c once ab"},
        {" n=1 o=a has=abc block=c pref=c", "ab -c once ab"},
        {" n=1 o=a has=a block=a", "ab +b blocked original"},
        {" n=2 o=a has=abcde block=bcde", "a -edcb once a under 2"},
        {" n=1 o=a has=abcde block=b", "ac -bed once ac"},
        /* the original comes back to its origin, but not to one that is blocked */
        {" n=1 o=a has=b", "ab +a"},
        {" n=0 o=a has=bc", "a +a -cb once a"},
        {" n=1 o=a has=bc block=a", "bc"},
        {" n=0 o=a has=bc block=a", "b -c once b"},
        {" n=0 o=a has=bc block=ab", "c -b once c"},
        {" n=1 has=cd", "cd"},
        {" n=1 has=cd block=c", "ad +a -c once ad"},
        /* members without room are passed over */
        {" n=1 o=a has=a full=b", "ac +c"},
        {" n=1 o=a has=a full=e pref=ed", "ad +d"},
        {" n=1 o=a has=ab full=b", "ab"},
        {" n=4 o=a has=a full=bcde", "a under 4"},
        {" n=0 o=a has=bc full=a", "b -c once b"},
        /* an older version for which there is no room does not count, and goes for as many copies as are asked for */
        {" n=1 o=a has=a stale=b full=b pref=b", "ac +c -b once ac"},
        {" n=2 o=a has=ac stale=b full=b", "acd +d -b once acd"},
        {" n=0 o=b has=a stale=b full=b", "a -b once a"},
        {" n=* o=a has=acde stale=b full=b", "acde under 1"},
        {" n=2 o=a has=ac stale=b full=bde", "ac under 1"},
        {" n=1 o=a has=a stale=b full=b away=cde", "a under 1"},
        /* damaged copies are none; where they are not wanted they go first */
        {" n=1 o=a has=a bad=b", "ab +b"},
        {" n=1 o=a has=abc bad=d", "ab -dc once ab"},
        {" n=1 o=a has=b bad=a", "ab +a"},
        /* away and believed: counts for adding, not for dropping */
        {" n=1 o=a has=ab away=b", "ab"},
        {" n=1 o=a has=abc away=b", "ab ?c"},
        {" n=2 o=a has=abcde away=b", "abc -e once acd ?d"},
        {" n=1 o=b has=bc away=b", "bc"},
        {" n=1 o=b has=bcd away=b", "bc ?d"},
        {" n=1 o=b has=bcde away=b", "bc -e once cd ?d"},
        {" n=1 o=b has=bce away=b block=e", "bc ?e"},
        {" n=0 o=b has=bc away=b", "b ?c"},
        {" n=1 o=a has=ab away=b pref=bc", "ab"},
        {" n=1 o=a has=abe away=b pref=bc", "ab ?e"},
        {" n=1 o=a has=abd away=b bad=e", "ab -e once ad ?d"},
        /* away for too long: replaced; back again, the surplus goes */
        {" n=1 o=a has=a away=b", "ac +c"},
        {" n=1 o=a has=c away=a", "bc +b"},
        {" n=1 o=a has=bc away=a", "bc"},
        {" n=1 o=a has=abc", "ab -c once ab"},
        {" n=0 o=a has=c away=a", "c"},
        /* the last one stays, whatever is asked */
        {" n=0 o=a has=b away=a block=bcde", "b under 1"},
        {" n=0 o=a has=bc away=a block=bcde", "b -c once b under 1"},
        {" n=0 has=b block=b", "b blocked original"},
        {" n=1 o=a has=b block=abcde", "b under 1 blocked original"},
    };
    char got[100];
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        run_line(t[i].world, got);
        if (strcmp(got, t[i].want) != 0)
            print_error("%s: \"%s\", not \"%s\"\n", t[i].world, got, t[i].want);
    }
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        run_line(t[i].world, got);
        assert_string_equal(got, t[i].want);
    }
}

/* ---- laws ---- */

static uint64_t dice(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void any_policy(struct policy_object *p, unsigned members, uint64_t *seed)
{
    *p = (struct policy_object){.allowed = true};
    p->replicas = dice(seed) % 4 ? (uint32_t)(dice(seed) % 5) : POLICY_ALL;
    p->blocked = dice(seed) & dice(seed) & (bit(members) - 1);
    for (uint64_t n = dice(seed) % 4; n > 0; n--) {
        unsigned i = (unsigned)(dice(seed) % members);
        if ((p->blocked | p->preferred_mask) & bit(i))
            continue;
        p->preferred[p->preferred_count++] = (uint8_t)i;
        p->preferred_mask |= bit(i);
    }
}

static void check_laws(const struct place_world *w, const struct place_object *o, const struct place_result *r)
{
    uint64_t origin = bit(r->origin);
    bool last = (r->wanted & (r->wanted - 1)) == 0 && r->wanted & o->holders; /* the only one, whatever is said of it */
    assert_true(last || (r->wanted & o->policy->blocked & ~(origin & o->holders)) == 0);
    assert_int_equal(r->add, r->wanted & ~o->holders);
    assert_int_equal(r->add & w->away, 0);
    assert_int_equal(r->drop & (r->wanted | w->away | r->keep), 0);
    assert_int_equal(r->drop & ~(o->holders | o->damaged), 0);
    assert_int_equal(r->keep & w->away, 0);
    assert_int_equal(r->keep & ~(o->holders | r->add), 0);
    assert_true(r->wanted != 0);
    assert_true(!r->drop || r->keep);
    assert_int_equal((unsigned)__builtin_popcountll(r->drop), r->drops);
    assert_int_equal((o->holders | o->damaged) & ~w->away & ~r->wanted, r->drop | r->waiting);
}

/* A second look after all was done finds nothing to do. */
static void check_settled(const struct place_world *w, const struct place_object *o, const struct place_result *r)
{
    struct place_object after = *o;
    struct place_result again;
    after.holders = (o->holders | r->add) & ~r->drop;
    after.damaged = o->damaged & ~r->add & ~r->drop;
    after.origin = r->origin;
    place_object(w, &after, &again);
    assert_int_equal(again.add, 0);
    assert_int_equal(again.drop, 0);
    assert_int_equal(again.under, r->under);
}

static void laws_hold_in_any_world(void **state)
{
    uint64_t seed = 0x2545f4914f6cdd1d;
    (void)state;
    for (int round = 0; round < 300000; round++) {
        struct place_world w;
        struct policy_object policy;
        struct place_result r;
        char path[16];
        unsigned members = 2 + (unsigned)(dice(&seed) % 6);
        world_make(&w, members);
        w.away = dice(&seed) % 3 ? 0 : dice(&seed) & dice(&seed) & (bit(members) - 1);
        for (unsigned i = 0; i < members; i++)
            w.room[i] = dice(&seed) % 5 ? 100 : 1;
        any_policy(&policy, members, &seed);
        struct place_object o = {.path = path, .size = 10, .policy = &policy};
        o.len = (size_t)snprintf(path, sizeof path, "%d", round);
        o.holders = dice(&seed) & (bit(members) - 1);
        o.damaged = dice(&seed) & dice(&seed) & (bit(members) - 1) & ~o.holders & ~w.away;
        o.origin = dice(&seed) % 8 ? (unsigned)(dice(&seed) % members) : PLACE_NOBODY;
        if (!(o.holders & ~w.away))
            continue;
        place_object(&w, &o, &r);
        check_laws(&w, &o, &r);
        check_settled(&w, &o, &r);
    }
}

/* Members in another order, as another sos.conf may have them: the same ones are chosen. */
static void order_of_members_means_nothing(void **state)
{
    enum { N = 6 };
    static const unsigned to[N] = {3, 5, 0, 1, 4, 2};
    uint64_t seed = 99;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct place_world a, b;
        struct place_result ra, rb;
        struct policy_object pa, pb;
        char path[16];
        world_make(&a, N);
        any_policy(&pa, N, &seed);
        b = a;
        pb = pa;
        pb.blocked = pb.preferred_mask = 0;
        struct place_object oa = {.path = path, .size = 1, .holders = 1 + dice(&seed) % 63, .origin = (unsigned)(dice(&seed) % N), .policy = &pa}, ob = oa;
        oa.len = ob.len = (size_t)snprintf(path, sizeof path, "%d", round);
        oa.origin = (unsigned)__builtin_ctzll(oa.holders);
        ob.holders = 0;
        ob.policy = &pb;
        ob.origin = to[oa.origin];
        for (unsigned i = 0; i < N; i++) {
            b.seed[to[i]] = a.seed[i];
            pb.blocked |= (pa.blocked >> i & 1) << to[i];
            ob.holders |= (oa.holders >> i & 1) << to[i];
        }
        for (unsigned i = 0; i < pa.preferred_count; i++) {
            pb.preferred[i] = (uint8_t)to[pa.preferred[i]];
            pb.preferred_mask |= bit(pb.preferred[i]);
        }
        place_object(&a, &oa, &ra);
        place_object(&b, &ob, &rb);
        for (unsigned i = 0; i < N; i++) {
            assert_int_equal(ra.wanted >> i & 1, rb.wanted >> to[i] & 1);
            assert_int_equal(ra.keep >> i & 1, rb.keep >> to[i] & 1);
        }
        for (unsigned i = 0; i < ra.drops; i++)
            assert_int_equal(to[ra.order[i]], rb.order[i]);
    }
}

/* ---- how much moves ---- */

#define MILLION 1000000

struct moved {
    uint64_t added, dropped, held[PLAN_MEMBERS_MAX];
};

/* Settles a million objects; who holds what is left in has. Where has is 0, the object is new on a member of its own. */
static void settle(const struct place_world *w, const struct policy_object *policy, uint8_t *has, const uint8_t *origin, struct moved *m)
{
    *m = (struct moved){0};
    for (int i = 0; i < MILLION; i++) {
        char path[32];
        struct place_result r;
        struct place_object o = {.path = path, .size = 1, .holders = has[i] ? has[i] : bit(origin[i]), .origin = origin[i], .policy = policy};
        int n = 0, v = i;
        for (path[n++] = 'd'; v; v /= 10)
            path[n++] = (char)('0' + v % 10);
        o.len = (size_t)n;
        place_object(w, &o, &r);
        m->added += (uint64_t)__builtin_popcountll(r.add);
        m->dropped += r.drops;
        has[i] = (uint8_t)((o.holders | r.add) & ~r.drop);
        for (unsigned k = 0; k < w->members; k++)
            m->held[k] += has[i] >> k & 1;
    }
}

static bool about(uint64_t got, double want)
{
    return (double)got > want * 0.99 - 100 && (double)got < want * 1.01 + 100;
}

static void no_more_moves_than_must(void **state)
{
    struct place_world w;
    struct policy_object policy = {.allowed = true, .replicas = 2};
    uint8_t *has = calloc(MILLION, 1), *origin = calloc(MILLION, 1), *before = calloc(MILLION, 1);
    struct moved m;
    (void)state;
    assert_true(has && origin && before);
    for (int i = 0; i < MILLION; i++)
        origin[i] = (uint8_t)(i % 4);
    world_make(&w, 4);
    int64_t start = clock_mono_ms();
    settle(&w, &policy, has, origin, &m);
    print_message("# placing %d new objects: %lld ms\n", MILLION, (long long)(clock_mono_ms() - start));
    assert_int_equal(m.added, 2 * MILLION);
    for (unsigned k = 0; k < 4; k++)
        assert_true(about(m.held[k], 0.75 * MILLION));

    /* A member more: nothing that is there moves, and of what is new it takes its share. */
    world_make(&w, 5);
    settle(&w, &policy, has, origin, &m);
    assert_int_equal(m.added + m.dropped, 0);
    memcpy(before, has, MILLION);
    memset(has, 0, MILLION);
    settle(&w, &policy, has, origin, &m);
    assert_true(about(m.held[4], 0.5 * MILLION));

    /* A number more, and less again: each object gets one, and gives that one up. */
    memcpy(before, has, MILLION);
    policy.replicas = 3;
    settle(&w, &policy, has, origin, &m);
    assert_true(m.added == MILLION && m.dropped == 0);
    policy.replicas = 2;
    settle(&w, &policy, has, origin, &m);
    assert_true(m.added == 0 && m.dropped == MILLION);
    assert_memory_equal(before, has, MILLION);

    /* A member is blocked: what it had as replicas moves, and no more; its originals stay. */
    uint64_t replicas = 0;
    for (int i = 0; i < MILLION; i++)
        replicas += origin[i] != 1 && has[i] >> 1 & 1;
    policy.blocked = 2;
    settle(&w, &policy, has, origin, &m);
    assert_true(m.added == replicas && m.dropped == replicas);
    policy.blocked = 0;
    settle(&w, &policy, has, origin, &m);
    assert_int_equal(m.added + m.dropped, 0);

    /* One is preferred: it gets what it has not got, and one other gives that up. */
    uint64_t lacks = 0;
    for (int i = 0; i < MILLION; i++)
        lacks += !(has[i] >> 2 & 1);
    policy.preferred[0] = 2;
    policy.preferred_count = 1;
    policy.preferred_mask = 4;
    settle(&w, &policy, has, origin, &m);
    assert_true(m.added == lacks && m.dropped == lacks);
    free(has);
    free(origin);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_worlds),
        cmocka_unit_test(laws_hold_in_any_world),
        cmocka_unit_test(order_of_members_means_nothing),
        cmocka_unit_test(no_more_moves_than_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
