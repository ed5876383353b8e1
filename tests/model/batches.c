#include "batches.h"

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
#include "tree.h"

#define WORLD_SECONDS 60u /* then it hangs */

struct args {
    const struct batches_kind *kind;
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
    FILE *report;
    void *counts;
};

/* ---- one world ---- */

static void keep_only(struct story *s, const char *only)
{
    memset(s->keep, 0, sizeof s->keep);
    for (char *end; *only; only = *end ? end + 1 : end) {
        unsigned long i = strtoul(only, &end, 10);
        if (end == only)
            break;
        if (i < STORY_OPS)
            s->keep[i] = true;
    }
}

/* keep: the acts that are not left out; NULL: as the arguments say. */
static bool play(struct story *s, const struct args *a, uint64_t seed, const char *base, const bool *keep)
{
    a->kind->init(s, seed, base, a->ops);
    s->verbose = a->verbose;
    if (keep)
        memcpy(s->keep, keep, sizeof s->keep);
    else if (a->only)
        keep_only(s, a->only);
    alarm(WORLD_SECONDS);
    bool ok = a->kind->play(s);
    alarm(0);
    return ok;
}

static bool play_again(struct story *s, const struct args *a, const char *base, const bool *keep)
{
    uint64_t seed = s->seed;
    a->kind->free(s);
    return play(s, a, seed, base, keep);
}

/* Leaves out one act after the other, from the last to the first, as long as something still fails. */
static void shrink(struct story *s, const struct args *a, const char *base)
{
    bool less = true, keep[STORY_OPS];
    memcpy(keep, s->keep, sizeof keep);
    for (unsigned tries = 0; less && tries < a->kind->tries;) {
        less = false;
        for (size_t i = s->ops; i-- > 0 && tries < a->kind->tries;) {
            if (!keep[i])
                continue;
            keep[i] = false;
            tries++;
            keep[i] = play_again(s, a, base, keep);
            less |= !keep[i];
        }
    }
    if (play_again(s, a, base, keep)) { /* it does not fail each time */
        memset(keep, true, sizeof keep);
        play_again(s, a, base, keep);
    }
}

static void tell_log(FILE *out, const struct story *s)
{
    char *log = mem_strndup((const char *)s->log.data, s->log.len), *rest = log;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (line[0])
            fprintf(out, "# %s\n", line);
    free(log);
}

static void tell(FILE *out, const struct story *s, const struct args *a)
{
    fprintf(out, "# seed %llu: %s\n", (unsigned long long)s->seed, s->failure[0] ? s->failure : "all is well");
    tell_log(out, s);
    fprintf(out, "# again: %s --seed %llu", a->name, (unsigned long long)s->seed);
    if (a->ops)
        fprintf(out, " --ops %u", a->ops);
    const char *between = " --only ";
    bool all = true;
    for (size_t i = 0; i < s->ops; i++)
        all &= s->keep[i];
    for (size_t i = 0; i < s->ops && !all; i++)
        if (s->keep[i]) {
            fprintf(out, "%s%zu", between, i);
            between = ",";
        }
    fprintf(out, " -v\n");
}

static bool try(FILE *out, const struct args *a, uint64_t seed, const char *base, void *counts)
{
    struct story *s = mem_alloc(a->kind->size);
    bool ok = play(s, a, seed, base, NULL);
    a->kind->add(counts, (const char *)s + a->kind->counts);
    if (!ok && !a->only) {
        char *first = mem_strdup(s->failure);
        shrink(s, a, base);
        if (!s->failure[0])
            fprintf(out, "# it failed once and not again: %s\n", first);
        free(first);
    }
    if (!ok || a->verbose)
        tell(out, s, a);
    a->kind->free(s);
    free(s);
    return ok;
}

/* ---- batches ---- */

static unsigned batch_size(const struct args *a, unsigned i)
{
    unsigned from = i * a->kind->batch;
    return a->worlds - from < a->kind->batch ? a->worlds - from : a->kind->batch;
}

static void run_batch(const struct args *a, struct batch *b, unsigned i, const char *base)
{
    char *dir = mem_printf("%s/%u", base, i);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (mkdir(dir, 0700) < 0)
        abort();
    for (unsigned k = 0; k < batch_size(a, i) && !b->failed; k++) {
        b->seed = a->seed + i * a->kind->batch + k;
        b->failed = !try(b->report, a, b->seed, dir, b->counts);
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
    unsigned long long from = a->seed + i * a->kind->batch, at = b->seed;
    bool ok = status == 0 && !b->failed;
    printf("%sok %u - %s %llu to %llu\n", ok ? "" : "not ", i + 1, a->kind->what, from, from + batch_size(a, i) - 1);
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

static void *shared(size_t n, size_t size)
{
    void *p = mmap(NULL, n * size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

static bool run_all(const struct args *a, const char *base)
{
    unsigned n = (a->worlds + a->kind->batch - 1) / a->kind->batch, started = 0, running = 0, bad = 0;
    struct batch *b = shared(n, sizeof *b);
    char *counts = shared(n, a->kind->count_size);
    void *all = mem_zalloc(a->kind->count_size);
    for (unsigned i = 0; i < n; i++)
        b[i].counts = counts + i * a->kind->count_size;
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
                a->kind->add(all, b[i].counts);
                running--;
            }
    }
    a->kind->tell(all, a->worlds);
    free(all);
    return bad == 0;
}

/* ---- the command line ---- */

static int usage(const char *name)
{
    fprintf(stderr, "usage: %s [--worlds N] [--seed N [--only N,N...]] [--ops N] [--jobs N] [-v]\n"
            "  --worlds N  so many worlds, from --seed (1) on; without it, --seed is one world alone\n", name);
    return 1;
}

static bool parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"worlds", required_argument, NULL, 'w'},
        {"ops", required_argument, NULL, 'o'},  {"only", required_argument, NULL, 'k'},
        {"jobs", required_argument, NULL, 'j'}, {NULL, 0, NULL, 0},
    };
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
    return optind == argc && a->worlds > 0 && a->jobs > 0 && a->ops <= a->kind->ops;
}

int batches_main(int argc, char **argv, const struct batches_kind *kind)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct args a = {.kind = kind, .seed = 1, .worlds = kind->worlds, .jobs = cores > 0 ? (unsigned)cores : 1,
                     .name = argv[0]};
    if (!parse(argc, argv, &a))
        return usage(argv[0]);
    umask(022);
    char *base = tree_workplace(kind->name);
    bool ok;
    if (a.one) {
        void *counts = mem_zalloc(kind->count_size);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        ok = try(stdout, &a, a.seed, base, counts);
        free(counts);
    } else {
        ok = run_all(&a, base);
    }
    tree_remove(base);
    free(base);
    return ok ? 0 : 1;
}
