/* Random worlds, in the style of "Mysteries of Dropbox": see world.h, and for how they are played batches.h. */
#include <stdio.h>

#include "batches.h"
#include "world.h"

static void init(struct story *s, uint64_t seed, const char *base, size_t ops)
{
    world_init((struct world *)s, seed, base, ops);
}

static bool play(struct story *s)
{
    return world_play((struct world *)s);
}

static void end(struct story *s)
{
    world_free((struct world *)s);
}

static void add(void *sum, const void *counts)
{
    struct counts *to = sum;
    const struct counts *c = counts;
    to->runs += c->runs;
    to->killed += c->killed;
    to->damaged += c->damaged;
    to->conflicts += c->conflicts;
    to->dry += c->dry;
    to->gone += c->gone;
    to->kept += c->kept;
    to->removed += c->removed;
    to->restored += c->restored;
    to->scrubbed += c->scrubbed;
    to->limited += c->limited;
    to->expired += c->expired;
    to->actions += c->actions;
}

static void tell(const void *counts, unsigned worlds)
{
    const struct counts *all = counts;
    printf("# %u worlds, %u runs (%u dry, %u killed), %llu actions, %u conflicts, %u damaged\n", worlds, all->runs,
           all->dry, all->killed, (unsigned long long)all->actions, all->conflicts, all->damaged);
    printf("# %u copies deleted, %u kept, %u removals, %u restored, %u scrubs, %u runs over the limit, %u expired\n",
           all->gone, all->kept, all->removed, all->restored, all->scrubbed, all->limited, all->expired);
}

int main(int argc, char **argv)
{
    static const struct batches_kind kind = {
        .name = "sos-sync-model", .what = "worlds", .worlds = 1000, .batch = 100, .tries = 300,
        .ops = STORY_OPS, .size = sizeof(struct world),
        .counts = offsetof(struct world, counts), .count_size = sizeof(struct counts),
        .init = init, .play = play, .free = end, .add = add, .tell = tell,
    };
    return batches_main(argc, argv, &kind);
}
