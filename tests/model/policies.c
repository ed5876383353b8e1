/* Random worlds with policies: see copies.h, and for how they are played batches.h. */
#include <stdio.h>

#include "batches.h"
#include "copies.h"

static void init(struct story *s, uint64_t seed, const char *base, size_t ops)
{
    copies_init((struct copies_world *)s, seed, base, ops);
}

static bool play(struct story *s)
{
    return copies_play((struct copies_world *)s);
}

static void end(struct story *s)
{
    copies_free((struct copies_world *)s);
}

static void add(void *sum, const void *counts)
{
    struct copies_counts *to = sum;
    const struct copies_counts *c = counts;
    to->runs += c->runs;
    to->dry += c->dry;
    to->cut += c->cut;
    to->whole += c->whole;
    to->under += c->under;
    to->added += c->added;
    to->pruned += c->pruned;
    to->blocked += c->blocked;
}

static void tell(const void *counts, unsigned worlds)
{
    const struct copies_counts *all = counts;
    printf("# %u worlds, %u runs (%u dry, %u cut short, %u whole, %u of them with too few members)\n", worlds, all->runs,
           all->dry, all->cut, all->whole, all->under);
    printf("# %u copies added, %u pruned, %u times an original on a blocked member\n", all->added, all->pruned,
           all->blocked);
}

int main(int argc, char **argv)
{
    static const struct batches_kind kind = {
        .name = "sos-sync-policies", .what = "worlds with policies,", .worlds = 500, .batch = 50, .tries = 200,
        .ops = COPIES_OPS, .size = sizeof(struct copies_world),
        .counts = offsetof(struct copies_world, counts), .count_size = sizeof(struct copies_counts),
        .init = init, .play = play, .free = end, .add = add, .tell = tell,
    };
    return batches_main(argc, argv, &kind);
}
