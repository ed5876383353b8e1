/*
 * Random worlds with policies: see copies.h. Without --seed, many of them, in batches on all cores; each batch is one
 * test of the TAP that is printed. With --seed, that one world alone.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "copies.h"
#include "tree.h"

#define BATCH 50u
#define WORLD_SECONDS 60u /* then it hangs */
#define SHRINK_TRIES 200u

struct args {
    uint64_t seed;
    bool one, verbose;
    unsigned worlds, ops, jobs;
    const char *only; /* acts to keep, "1,5,7" */
    const char *name; /* of this program */
};

/* Of a batch, in memory that is shared with its process. */
struct batch {
    pid_t pid;     /* the parent's to write */
    uint64_t seed; /* the world it is at */
    bool failed;
    struct copies_counts counts;
    FILE *report;
};

static void add_counts(struct copies_counts *to, const struct copies_counts *c)
{
    to->runs += c->runs;
    to->dry += c->dry;
    to->cut += c->cut;
    to->whole += c->whole;
    to->under += c->under;
    to->added += c->added;
    to->pruned += c->pruned;
    to->blocked += c->blocked;
}

/* ---- one world ---- */

static void keep_only(struct copies_world *w, const char *only)
{
    memset(w->keep, 0, sizeof w->keep);
    for (char *end; *only; only = *end ? end + 1 : end) {
        unsigned long i = strtoul(only, &end, 10);
        if (end == only)
            break;
        if (i < COPIES_OPS)
            w->keep[i] = true;
    }
}

static bool play(struct copies_world *w, const struct args *a, uint64_t seed, const char *base, const bool *keep)
{
    copies_init(w, seed, base, a->ops);
    w->verbose = a->verbose;
    if (a->only)
        keep_only(w, a->only);
    if (keep)
        memcpy(w->keep, keep, sizeof w->keep);
    alarm(WORLD_SECONDS);
    bool ok = copies_play(w);
    alarm(0);
    return ok;
}

/* Leaves out one act after the other, from the last to the first, as long as something still fails. */
static void shrink(struct copies_world *w, const struct args *a, const char *base)
{
    bool less = true, keep[COPIES_OPS];
    memcpy(keep, w->keep, sizeof keep);
    for (unsigned tries = 0; less && tries < SHRINK_TRIES;) {
        less = false;
        for (size_t i = w->ops; i-- > 0 && tries < SHRINK_TRIES;) {
            if (!keep[i])
                continue;
            keep[i] = false;
            tries++;
            copies_free(w);
            bool ok = play(w, a, w->seed, base, keep);
            keep[i] = ok;
            less |= !ok;
        }
    }
    copies_free(w);
    play(w, a, w->seed, base, keep);
}

static void tell(FILE *out, const struct copies_world *w, const struct args *a)
{
    fprintf(out, "# seed %llu, %u members: %s\n", (unsigned long long)w->seed, w->members,
            w->failure[0] ? w->failure : "all is well");
    char *log = mem_strndup((const char *)w->log.data, w->log.len), *rest = log;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (line[0])
            fprintf(out, "# %s\n", line);
    free(log);
    fprintf(out, "# again: %s --seed %llu", a->name, (unsigned long long)w->seed);
    if (a->ops)
        fprintf(out, " --ops %u", a->ops);
    const char *between = " --only ";
    bool all = true;
    for (size_t i = 0; i < w->ops; i++)
        all &= w->keep[i];
    for (size_t i = 0; i < w->ops && !all; i++)
        if (w->keep[i]) {
            fprintf(out, "%s%zu", between, i);
            between = ",";
        }
    fprintf(out, " -v\n");
}

static bool try(FILE *out, const struct args *a, uint64_t seed, const char *base, struct copies_counts *counts)
{
    struct copies_world *w = mem_alloc(sizeof *w);
    bool ok = play(w, a, seed, base, NULL);
    add_counts(counts, &w->counts);
    if (!ok) {
        char *first = mem_printf("%s\n%.*s", w->failure, (int)w->log.len, (const char *)w->log.data);
        if (!a->only)
            shrink(w, a, base);
        if (!w->failure[0])
            fprintf(out, "# it failed once and not again: %s\n", first);
        free(first);
    }
    if (w->failure[0] || a->verbose)
        tell(out, w, a);
    copies_free(w);
    free(w);
    return ok;
}

/* ---- batches ---- */

static unsigned batch_size(const struct args *a, unsigned i)
{
    unsigned from = i * BATCH;
    return a->worlds - from < BATCH ? a->worlds - from : BATCH;
}

static void run_batch(const struct args *a, struct batch *b, unsigned i, const char *base)
{
    char *dir = mem_printf("%s/%u", base, i);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (mkdir(dir, 0700) < 0)
        abort();
    for (unsigned k = 0; k < batch_size(a, i) && !b->failed; k++) {
        b->seed = a->seed + i * BATCH + k;
        b->failed = !try(b->report, a, b->seed, dir, &b->counts);
    }
    fflush(b->report);
    tree_remove(dir);
    free(dir);
}

static void start_batch(const struct args *a, struct batch *b, unsigned i, const char *base)
{
    b->report = tmpfile();
    fflush(stdout);
    pid_t pid = b->report ? fork() : -1;
    if (pid == 0) {
        run_batch(a, b, i, base);
        _exit(0);
    }
    b->pid = pid;
    if (pid < 0) {
        fprintf(stderr, "cannot start: %s\n", strerror(errno));
        _exit(2);
    }
}

static bool end_batch(const struct args *a, struct batch *b, unsigned i, int status)
{
    char line[2048];
    unsigned long long from = a->seed + i * BATCH, at = b->seed;
    bool ok = status == 0 && !b->failed;
    printf("%sok %u - worlds with policies, %llu to %llu\n", ok ? "" : "not ", i + 1, from, from + batch_size(a, i) - 1);
    if (status)
        printf("# the world of seed %llu %s; again: %s --seed %llu -v\n", at,
               WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hangs" : "crashed the test", a->name, at);
    rewind(b->report);
    while (fgets(line, sizeof line, b->report))
        fputs(line, stdout);
    fclose(b->report);
    b->pid = 0;
    return ok;
}

static bool run_all(const struct args *a, const char *base)
{
    unsigned n = (a->worlds + BATCH - 1) / BATCH, started = 0, running = 0, bad = 0;
    struct copies_counts all = {0};
    struct batch *b = mmap(NULL, n * sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        abort();
    printf("1..%u\n", n);
    while (started < n || running > 0) {
        int status;
        if (started < n && running < a->jobs) {
            start_batch(a, &b[started], started, base);
            started++;
            running++;
            continue;
        }
        pid_t pid = wait(&status);
        for (unsigned i = 0; i < started; i++)
            if (b[i].pid == pid) {
                bad += !end_batch(a, &b[i], i, status);
                add_counts(&all, &b[i].counts);
                running--;
            }
    }
    printf("# %u worlds, %u runs (%u dry, %u cut short, %u whole, %u of them with too few members)\n", a->worlds, all.runs,
           all.dry, all.cut, all.whole, all.under);
    printf("# %u copies added, %u pruned, %u times an original on a blocked member\n", all.added, all.pruned, all.blocked);
    return bad == 0;
}

/* ---- the command line ---- */

static bool parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"worlds", required_argument, NULL, 'w'},
        {"ops", required_argument, NULL, 'o'},  {"only", required_argument, NULL, 'k'},
        {"jobs", required_argument, NULL, 'j'}, {NULL, 0, NULL, 0},
    };
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *a = (struct args){.seed = 1, .worlds = 500, .jobs = cores > 0 ? (unsigned)cores : 1, .name = argv[0]};
    bool worlds = false;
    for (int c; (c = getopt_long(argc, argv, "v", options, NULL)) != -1;)
        switch (c) {
        case 's': a->seed = strtoull(optarg, NULL, 10); a->one = true; break;
        case 'w': a->worlds = (unsigned)strtoul(optarg, NULL, 10); worlds = true; break;
        case 'o': a->ops = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'k': a->only = optarg; break;
        case 'j': a->jobs = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'v': a->verbose = true; break;
        default: return false;
        }
    a->one = a->one && !worlds;
    return optind == argc && a->worlds > 0 && a->jobs > 0 && a->ops <= COPIES_OPS;
}

int main(int argc, char **argv)
{
    struct args a;
    struct copies_counts counts = {0};
    if (!parse(argc, argv, &a)) {
        fprintf(stderr, "usage: %s [--worlds N] [--seed N [--only N,N...]] [--ops N] [--jobs N] [-v]\n"
                "  --worlds N  so many worlds, from --seed (1) on; without it, --seed is one world alone\n", argv[0]);
        return 1;
    }
    umask(022);
    char *base = tree_workplace("sos-sync-policies");
    bool ok;
    if (a.one) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        ok = try(stdout, &a, a.seed, base, &counts);
    } else {
        ok = run_all(&a, base);
    }
    tree_remove(base);
    free(base);
    return ok ? 0 : 1;
}
