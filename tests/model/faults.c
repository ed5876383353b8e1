/*
 * Every call by which an agent changes something fails once, and is once the point of a kill: of the agent, and of the
 * whole run. After each of these a normal run must bring the members into step, and no content may be lost.
 *
 * A case is written way,agent,fault,call. TAP, a test for each case.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "hooks.h"
#include "sos-sync.h"
#include "tree.h"

#define MEMBERS 3u
#define CASE_SECONDS 60u /* then it hangs */
#define CONTENTS 1600u
#define MANY 280u /* new files: enough to be put in place by several threads */
#define LARGE ((size_t)5 << 20)
#define OLD ((int64_t)1700000000)

enum command { RUN, REMOVE, RESTORE };

/* "@" stands for where the members are. */
#define FIRST "[default]\nreplicas: 1\npreferred: @/c\n[group default: less/]\nreplicas: 2\n" \
    "[group default: from-b/]\npreferred: @/b\n[default]\n"
#define THEN "[default]\nreplicas: 1\npreferred: @/b\n[group default: less/]\nreplicas: 0\n" \
    "[group default: from-b/]\nblocked: @/b\npreferred: @/c\n[default]\n"

/* Objects of the ways in which copies go: where they are made, who has them in the end, and who may have them till then. */
static const struct placed {
    const char *path;
    unsigned origin;
    const char *then;
} placed[] = {
    {"less/1", 0, "a"}, {"less/2", 0, "a"}, {"less/sub/3", 0, "a"}, {"less/own", 2, "c"},
    {"from-b/1", 0, "ac"}, {"from-b/2", 0, "ac"}, {"from-b/own", 1, "bc"},
    {"to-b/1", 0, "ab"}, {"to-b/2", 0, "ab"}, {"to-b/own", 2, "bc"}, {"edited/1", 0, "ab"}, {"late/1", 0, "ab"},
};
#define PLACED (sizeof placed / sizeof placed[0])

/* Ways in which content comes and is made to stay; and, with a policy, goes. */
static const struct way {
    const char *name;
    bool through;
    enum sos_fsync fsync;
    const char *policy;   /* NULL: none */
    enum command command; /* in which the fault happens */
    bool goes;            /* old content goes for good */
    const char *then;     /* the policy in which the fault happens, by which copies go: see placed. NULL: the same */
    bool many;            /* many new files, and several threads: which of them meets the fault is chance */
} ways[] = {
    {"direct", false, SOS_FSYNC_BATCH, NULL, RUN, false, NULL, false},
    {"through", true, SOS_FSYNC_BATCH, NULL, RUN, false, NULL, false},
    {"always", false, SOS_FSYNC_ALWAYS, NULL, RUN, false, NULL, false},
    {"deletions", false, SOS_FSYNC_BATCH, "deletions: propagate\nconflict: keep-both\n", RUN, false, NULL, false},
    {"no-trash", true, SOS_FSYNC_BATCH, "deletions: propagate\nconflict: keep-both\ntrash: off\n", RUN, true, NULL, false},
    {"expiry", false, SOS_FSYNC_ALWAYS, "deletions: propagate\ntrash: 1d\n", RUN, true, NULL, false},
    {"remove", false, SOS_FSYNC_BATCH, "deletions: propagate\n", REMOVE, false, NULL, false},
    {"restore", false, SOS_FSYNC_BATCH, "deletions: propagate\n", RESTORE, false, NULL, false},
    {"prune", false, SOS_FSYNC_BATCH, FIRST, RUN, false, THEN, false},
    {"prune-always", true, SOS_FSYNC_ALWAYS, FIRST, RUN, false, THEN, false},
    {"prune-no-trash", false, SOS_FSYNC_BATCH, FIRST "trash: off\n", RUN, true, THEN "trash: off\n", false},
    {"many", true, SOS_FSYNC_BATCH, NULL, RUN, false, NULL, true},
    {"many-always", false, SOS_FSYNC_ALWAYS, NULL, RUN, false, NULL, true},
};
#define WAYS (sizeof ways / sizeof ways[0])

static const struct {
    const char *name;
    enum hooks_fault fault;
} faults[] = {{"EIO", HOOKS_EIO}, {"ENOSPC", HOOKS_ENOSPC}, {"kill", HOOKS_KILL}, {"kill-run", HOOKS_KILL_RUN}};
#define FAULTS (sizeof faults / sizeof faults[0])

struct one {
    unsigned way, agent, fault;
    uint64_t call; /* from 1 */
};

struct test {
    const char *base;
    struct one one;
    char failure[1500];
    char told[600]; /* the first trouble of the last run */
    uint64_t actions;
    bool crashed;   /* an agent did */
    bool changed;   /* the policy did */
    size_t contents;
    struct digest content[CONTENTS];
    size_t lasting; /* what is there after a run without a fault */
    struct digest lasts[CONTENTS];
};

static void fail(struct test *t, const char *what)
{
    if (!t->failure[0])
        snprintf(t->failure, sizeof t->failure, "%s%s%s", what, t->told[0] ? ": " : "", t->told);
}

/* ---- the world ---- */

static char *at(const struct test *t, unsigned m, const char *path, char out[600])
{
    snprintf(out, 600, "%s/%c%s%s", t->base, 'a' + (int)m, path[0] ? "/" : "", path);
    return out;
}

static void set_time(const char *file, int64_t mtime)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime}};
    if (utimensat(AT_FDCWD, file, times, AT_SYMLINK_NOFOLLOW) < 0)
        abort();
}

/* size bytes that begin with text. */
static void put(const struct test *t, unsigned m, const char *path, const char *text, size_t size, int64_t mtime)
{
    char file[600];
    size_t n = strlen(text);
    char *p = mem_alloc(size > n ? size : n);
    for (size_t i = n; i < size; i++)
        p[i] = (char)(i * 2654435761u >> 13);
    memcpy(p, text, n);
    int fd = open(at(t, m, path, file), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, p, size > n ? size : n) < 0)
        abort();
    close(fd);
    set_time(file, mtime);
    free(p);
}

static void make_dir(const struct test *t, unsigned m, const char *path)
{
    char file[600];
    if (mkdir(at(t, m, path, file), 0755) < 0)
        abort();
}

static void make_link(const struct test *t, unsigned m, const char *path, const char *target, int64_t mtime)
{
    char file[600];
    unlink(at(t, m, path, file));
    if (symlink(target, file) < 0)
        abort();
    set_time(file, mtime);
}

static void begin_world(const struct test *t)
{
    for (unsigned m = 0; m < MEMBERS; m++)
        make_dir(t, m, "");
    make_dir(t, 0, "d0");
    make_dir(t, 0, "d1");
    make_dir(t, 0, "empty");
    put(t, 0, "d0/f1", "first", 0, OLD);
    put(t, 0, "d0/f2", "second", 3000, OLD);
    put(t, 0, "d1/f3", "third", 0, OLD);
    put(t, 0, "d1/gone", "to be missing at c", 0, OLD);
    put(t, 0, "fight", "before", 0, OLD);
    put(t, 0, "mode", "mode", 0, OLD);
    put(t, 0, "time", "time", 0, OLD);
    put(t, 0, "to-dir", "to be a directory", 0, OLD);
    put(t, 0, "to-link", "to be a symlink", 0, OLD);
    put(t, 0, "small", "small", 100, OLD);
    put(t, 0, "big", "big", 300000, OLD);
    make_link(t, 0, "link", "there", OLD);
}

static void begin_deletions(const struct test *t)
{
    static const char *const dirs[] = {"del", "del/sub", "fork", "fork/deep", "both", "edited"};
    static const char *const files[] = {"del/x", "del/sub/y", "del/z", "dead", "fork/one", "fork/deep/two", "both/old",
                                        "edited/mine", "edited/yours", "rm1"};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        make_dir(t, 0, dirs[i]);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        put(t, 0, files[i], files[i], 0, OLD);
}

/* Trees and files that go, a file in a directory's place, and edits below what was deleted elsewhere. */
static void change_deletions(const struct test *t)
{
    static const char *const gone[] = {"del", "both", "edited"};
    char file[600];
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        tree_remove(at(t, 1, gone[i], file));
    tree_remove(at(t, 0, "dead", file));
    tree_remove(at(t, 2, "fork", file));
    put(t, 2, "fork", "a file now", 0, OLD + 10);
    put(t, 0, "both/new", "added below", 0, OLD + 10);
    put(t, 2, "edited/mine", "edited meanwhile", 0, OLD + 10);
    make_link(t, 0, "kept-link", "of a", OLD + 10);
    put(t, 1, "kept-link", "", 0, OLD + 5);
    make_dir(t, 0, "kept-dir");
    put(t, 0, "kept-dir/below", "below", 0, OLD);
    put(t, 2, "kept-dir", "a file where a has a directory", 0, OLD + 10);
}

static void put_many(const struct test *t)
{
    char path[20];
    make_dir(t, 0, "many");
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "many/%u", i);
        put(t, 0, path, path, 0, OLD);
    }
}

static void change_world(const struct test *t)
{
    char file[600], other[600];
    put(t, 0, "d1/new1", "new 1", 0, OLD + 10);
    put(t, 0, "d1/new2", "new 2", 20000, OLD + 10);
    put(t, 0, "large", "large", ways[t->one.way].through ? LARGE : 200000, OLD + 10);
    put(t, 0, "small", "other", 100, OLD + 10);
    put(t, 0, "fight", "by a", 0, OLD + 20);
    put(t, 1, "fight", "by b", 0, OLD + 30);
    put(t, 1, "big", "bigger", 300100, OLD + 10);
    if (rename(at(t, 1, "d0", file), at(t, 1, "moved", other)) < 0 || unlink(at(t, 2, "d1/gone", file)) < 0 ||
        unlink(at(t, 2, "to-dir", file)) < 0 || chmod(at(t, 2, "mode", file), 0600) < 0 ||
        rmdir(at(t, 2, "empty", file)) < 0)
        abort();
    set_time(at(t, 1, "time", file), OLD + 5);
    make_dir(t, 2, "deep");
    make_dir(t, 2, "deep/er");
    put(t, 2, "deep/er/x", "x", 0, OLD);
    make_dir(t, 2, "to-dir");
    put(t, 2, "to-dir/y", "y", 0, OLD);
    put(t, 2, "empty", "no longer a directory", 0, OLD);
    make_link(t, 2, "to-link", "elsewhere", OLD + 10);
    make_link(t, 0, "link", "here", OLD + 10);
    if (ways[t->one.way].many)
        put_many(t);
}

static void begin_placed(const struct test *t)
{
    static const char *const dirs[] = {"less", "less/sub", "from-b", "to-b", "edited"};
    for (unsigned m = 0; m < MEMBERS; m++) {
        make_dir(t, m, "");
        for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
            make_dir(t, m, dirs[i]);
        put(t, m, "common", "common", 0, OLD); /* no store is to come up empty */
    }
    for (size_t i = 0; i < PLACED; i++)
        if (strncmp(placed[i].path, "late/", 5) != 0)
            put(t, placed[i].origin, placed[i].path, placed[i].path, 0, OLD);
    put(t, 0, "edited/1", "before", 0, OLD - 10);
}

static void change_placed(const struct test *t)
{
    put(t, 2, "edited/1", "edited/1", 0, OLD + 10);
    make_dir(t, 0, "late");
    put(t, 0, "late/1", "late/1", 0, OLD);
}

static void end_world(const struct test *t)
{
    char file[600];
    for (unsigned m = 0; m < MEMBERS; m++)
        tree_remove(at(t, m, "", file));
}

/* ---- runs ---- */

static void on_action(void *ctx, const struct sos_action *a)
{
    (void)a;
    ((struct test *)ctx)->actions++;
}

static void on_trouble(void *ctx, const struct sos_trouble *trouble)
{
    struct test *t = ctx;
    if (trouble->error && !t->told[0])
        snprintf(t->told, sizeof t->told, "%s: %s", trouble->path ? trouble->path : "", trouble->message);
    if (strstr(trouble->message, "killed by signal") && faults[t->one.fault].fault != HOOKS_KILL)
        t->crashed = true;
}

static void write_policy(const struct test *t, FILE *f, const char *says)
{
    fprintf(f, "[default]\n");
    for (; *says; says++)
        if (*says == '@')
            fprintf(f, "%s", t->base);
        else
            fputc(*says, f);
}

static struct sos_groups *group_of(const struct test *t)
{
    char root[MEMBERS][600], policy[600], *member[MEMBERS];
    const char *says = t->changed && ways[t->one.way].then ? ways[t->one.way].then : ways[t->one.way].policy;
    struct sos_error error;
    for (unsigned m = 0; m < MEMBERS; m++)
        member[m] = at(t, m, "", root[m]);
    struct sos_groups *g = sos_groups_of(member, MEMBERS, &error);
    snprintf(policy, sizeof policy, "%s/policy", t->base);
    FILE *f = g && says ? fopen(policy, "w") : NULL;
    if (!g || (says && !f))
        abort();
    if (f)
        write_policy(t, f, says);
    if (says && (fclose(f) != 0 || !sos_groups_policy(g, policy, &error)))
        abort();
    return g;
}

static enum sos_status drive_as(struct test *t, enum command command)
{
    static const char *const removed[] = {"d1", "rm1", "del", "fight"}, *const restored = "small";
    struct sos_options o;
    bool found = false;
    const struct sos_callbacks c = {.ctx = t, .action = on_action, .trouble = on_trouble};
    sos_options_init(&o);
    o.through = ways[t->one.way].through;
    o.fsync = ways[t->one.way].fsync;
    o.no_sandbox = true; /* it would keep an agent from killing the run */
    o.no_cache = true;
    o.threads = ways[t->one.way].many ? 2 : 1;
    o.remove = removed;
    o.removes = command == REMOVE ? sizeof removed / sizeof removed[0] : 0;
    o.recursive = command == REMOVE;
    struct sos_groups *g = group_of(t);
    t->told[0] = '\0';
    t->actions = 0;
    enum sos_status status = command == RESTORE ? sos_trash_restore(g, 0, &o, &c, &restored, 1, &found, NULL)
                                                : sos_sync(g, 0, &o, &c);
    sos_groups_free(g);
    return status;
}

static enum sos_status drive(struct test *t)
{
    return drive_as(t, RUN);
}

/*
 * What is not on the disk must not be told as done. But where there was no room and something is in the trash, all of it
 * is written once more.
 */
static bool is_sync(const struct one *one, const char *call)
{
    if (faults[one->fault].fault == HOOKS_ENOSPC && ways[one->way].policy)
        return false;
    return strcmp(call, "fsync") == 0 || strcmp(call, "fdatasync") == 0 || strcmp(call, "syncfs") == 0;
}

/* In a process of its own; whatever it leaves behind becomes our child. */
static void drive_apart(struct test *t)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        enum sos_status s = drive_as(t, ways[t->one.way].command);
        _exit(t->crashed ? 99 : (int)s);
    }
    for (pid_t got; (got = waitpid(-1, &status, 0)) > 0 || errno == EINTR;) {
        if (got != pid)
            continue;
        if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
            fail(t, "the run crashed");
        else if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
            fail(t, "an agent crashed");
        else if (WIFEXITED(status) && WEXITSTATUS(status) == SOS_OK && is_sync(&t->one, hooks_call_name()))
            fail(t, "a sync failed, and the run says that all was done");
    }
}

/* ---- what is kept ---- */

static void add_content(void *ctx, const struct tree_object *o)
{
    struct test *t = ctx;
    if (S_ISDIR(o->st->st_mode))
        return;
    if (t->contents == CONTENTS)
        abort();
    t->content[t->contents++] = o->digest;
}

static void collect(struct test *t, bool trash)
{
    char file[600];
    t->contents = 0;
    for (unsigned m = 0; m < MEMBERS; m++) {
        tree_visit(at(t, m, "", file), "", add_content, t);
        if (trash)
            tree_visit(file, ".sos-sync/trash", add_content, t);
    }
}

static bool holds(const struct test *t, const struct digest *d)
{
    for (size_t i = 0; i < t->contents; i++)
        if (digest_same(&t->content[i], d))
            return true;
    return false;
}

/* Has it this object, with what it should be? */
static bool has_placed(const struct test *t, unsigned m, const char *path)
{
    char file[600], text[100];
    int fd = open(at(t, m, path, file), O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    return n == (ssize_t)strlen(path) && memcmp(text, path, (size_t)n) == 0;
}

/*
 * However a run ended: as many copies as there should be, but of what had less before it. A member that turns out to be
 * full is none that could have one.
 */
static void check_enough(struct test *t)
{
    char text[200];
    for (size_t i = 0; i < PLACED; i++) {
        unsigned n = 0;
        bool full = faults[t->one.fault].fault == HOOKS_ENOSPC && strncmp(placed[i].path, "from-b/", 7) == 0;
        bool had_less = full || strcmp(placed[i].path, "edited/1") == 0 || strcmp(placed[i].path, "late/1") == 0;
        for (unsigned m = 0; m < MEMBERS; m++)
            n += has_placed(t, m, placed[i].path);
        snprintf(text, sizeof text, "%u copies of %s", n, placed[i].path);
        if (n < (had_less ? 1 : strlen(placed[i].then)))
            fail(t, text);
    }
}

static void check_placed(struct test *t)
{
    char text[200], who[MEMBERS + 1];
    for (size_t i = 0; i < PLACED; i++) {
        char *p = who;
        for (unsigned m = 0; m < MEMBERS; m++)
            if (has_placed(t, m, placed[i].path))
                *p++ = (char)('a' + m);
        *p = '\0';
        snprintf(text, sizeof text, "%s is on %s", placed[i].path, who);
        if (strcmp(who, placed[i].then) != 0)
            fail(t, text);
    }
}

static void check_members(struct test *t)
{
    char file[600], left[256], text[400];
    struct digest first = tree_objects(at(t, 0, "", file));
    for (unsigned m = 0; m < MEMBERS; m++) {
        struct digest d = tree_objects(at(t, m, "", file));
        if (!ways[t->one.way].then && !digest_same(&d, &first))
            fail(t, "the members differ");
        if (tree_leftover(file, left, sizeof left)) {
            snprintf(text, sizeof text, "%c/%s was left behind", 'a' + (int)m, left);
            fail(t, text);
        }
    }
    if (ways[t->one.way].then)
        check_placed(t);
}

/* ---- a case ---- */

static void set_fault(const struct one *one)
{
    memset(hooks_agent, 0, sizeof hooks_agent);
    if (!one)
        return;
    hooks_agent[one->agent].fault = faults[one->fault].fault;
    hooks_agent[one->agent].at = one->call;
}

static void name_agents(const struct test *t)
{
    char file[600];
    for (unsigned m = 0; m < MEMBERS; m++)
        snprintf(hooks_agent[m].root, sizeof hooks_agent[m].root, "%.500s", at(t, m, "", file));
}

static void prepare_placed(struct test *t)
{
    begin_placed(t);
    name_agents(t);
    if (drive(t) != SOS_OK)
        fail(t, "the first run failed");
    hooks_jump(60);
    change_placed(t);
    hooks_jump(60);
    t->changed = true;
}

static void prepare(struct test *t)
{
    bool deletes = ways[t->one.way].policy != NULL;
    hooks_init(t->base);
    hooks_drive(0);
    t->changed = false;
    if (ways[t->one.way].then) {
        prepare_placed(t);
        return;
    }
    begin_world(t);
    if (deletes)
        begin_deletions(t);
    name_agents(t);
    if (drive(t) != SOS_OK)
        fail(t, "the first run failed");
    hooks_jump(60);
    if (deletes) { /* something is in the trash, and for long */
        put(t, 0, "small", "then", 100, OLD + 1);
        if (drive(t) != SOS_OK)
            fail(t, "the second run failed");
        hooks_jump(3 * 86400);
        change_deletions(t);
    }
    change_world(t);
    hooks_jump(60);
}

/* How many calls there are to fail, for each agent. */
static void count_calls(struct test *t, uint64_t calls[MEMBERS])
{
    prepare(t);
    name_agents(t);
    hooks_reset_calls();
    if (drive_as(t, ways[t->one.way].command) != SOS_OK)
        fail(t, "a run without a fault failed");
    for (unsigned m = 0; m < MEMBERS; m++)
        calls[m] = hooks_calls(m);
    if (ways[t->one.way].command != RUN && drive(t) != SOS_OK)
        fail(t, "the run after a command without a fault failed");
    check_members(t);
    end_world(t);
}

static void check_after(struct test *t)
{
    set_fault(NULL);
    hooks_jump(60);
    if (drive(t) != SOS_OK)
        fail(t, "the next run failed");
    check_members(t);
    if (drive(t) != SOS_OK || t->actions > 0)
        fail(t, "the run after the next had something to do");
}

/* A full disk lets go of what is in the trash: in these worlds of what is nowhere else. */
static bool goes(const struct one *one)
{
    return ways[one->way].goes || (ways[one->way].then && faults[one->fault].fault == HOOKS_ENOSPC);
}

/* Where old content goes for good, only what a run without a fault leaves is to be there. */
static size_t to_be_kept(struct test *t, struct digest out[CONTENTS])
{
    if (goes(&t->one)) {
        memcpy(out, t->lasts, sizeof t->lasts);
        return t->lasting;
    }
    collect(t, true);
    memcpy(out, t->content, sizeof t->content);
    return t->contents;
}

static void find_lasting(struct test *t)
{
    prepare(t);
    if (drive(t) != SOS_OK)
        fail(t, "a run without a fault failed");
    collect(t, false);
    memcpy(t->lasts, t->content, sizeof t->lasts);
    t->lasting = t->contents;
    end_world(t);
}

static void run_case(struct test *t, bool *came, char call[32])
{
    struct digest before[CONTENTS];
    alarm(CASE_SECONDS);
    t->failure[0] = '\0';
    t->crashed = false;
    if (goes(&t->one))
        find_lasting(t);
    prepare(t);
    size_t n = to_be_kept(t, before);
    set_fault(&t->one);
    name_agents(t);
    hooks_reset_calls();
    drive_apart(t);
    *came = hooks_call_name()[0] != '\0';
    snprintf(call, 32, "%s", hooks_call_name());
    if (ways[t->one.way].then)
        check_enough(t);
    check_after(t);
    collect(t, true);
    for (size_t i = 0; i < n; i++)
        if (!holds(t, &before[i]))
            fail(t, "a content was lost");
    end_world(t);
    alarm(0);
}

static bool report_case(struct test *t, unsigned number, const char *name)
{
    bool came;
    char call[32];
    const struct one *o = &t->one;
    run_case(t, &came, call);
    printf("%sok %u - %s,%c,%s,%llu %s%s\n", t->failure[0] ? "not " : "", number, ways[o->way].name, 'a' + (int)o->agent,
           faults[o->fault].name, (unsigned long long)o->call, call, came || t->failure[0] ? "" : "# SKIP that call did not come");
    if (t->failure[0])
        printf("# %s\n# again: %s --case %u,%u,%u,%llu\n", t->failure, name, o->way, o->agent, o->fault,
               (unsigned long long)o->call);
    fflush(stdout);
    return !t->failure[0];
}

/* ---- all of them ---- */

struct args {
    unsigned every, from, jobs;
    const char *way; /* only those whose name begins so; NULL: all but those with many files, which take most of an hour */
    bool single;
    struct one one;
    const char *name;
};

/* The n-th case of all; false: there are not so many. */
static bool nth_case(uint64_t calls[WAYS][MEMBERS], uint64_t n, struct one *out)
{
    for (unsigned w = 0; w < WAYS; w++)
        for (unsigned m = 0; m < MEMBERS; m++) {
            if (n < calls[w][m] * FAULTS) {
                *out = (struct one){w, m, (unsigned)(n % FAULTS), 1 + n / FAULTS};
                return true;
            }
            n -= calls[w][m] * FAULTS;
        }
    return false;
}

static bool work(const struct args *a, const char *base, unsigned job, uint64_t calls[WAYS][MEMBERS])
{
    struct test *t = mem_zalloc(sizeof *t);
    char *dir = mem_printf("%s/%u", base, job);
    bool ok = mkdir(dir, 0700) == 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    t->base = dir;
    for (unsigned i = job; nth_case(calls, (uint64_t)i * a->every + a->from, &t->one); i += a->jobs)
        ok &= report_case(t, i + 1, a->name);
    tree_remove(dir);
    free(dir);
    free(t);
    return ok;
}

static bool count_all(const char *base, const char *way, uint64_t calls[WAYS][MEMBERS])
{
    struct test *t = mem_zalloc(sizeof *t);
    t->base = base;
    for (unsigned w = 0; w < WAYS; w++) {
        t->one.way = w;
        memset(calls[w], 0, sizeof calls[w]);
        if (way ? strncmp(ways[w].name, way, strlen(way)) != 0 : ways[w].many)
            continue;
        count_calls(t, calls[w]);
        printf("# %s: %llu, %llu, %llu calls\n", ways[w].name, (unsigned long long)calls[w][0],
               (unsigned long long)calls[w][1], (unsigned long long)calls[w][2]);
    }
    bool ok = !t->failure[0];
    if (!ok)
        printf("1..1\nnot ok 1 - without a fault\n# %s\n", t->failure);
    free(t);
    return ok;
}

/* A worker that is gone has left its tests unreported, which is a failure to whoever counts. */
static bool run_all(const struct args *a, const char *base)
{
    uint64_t calls[WAYS][MEMBERS], n = 0;
    struct one one;
    int status;
    bool ok = count_all(base, a->way, calls);
    if (!ok)
        return false;
    while (nth_case(calls, n * a->every + a->from, &one))
        n++;
    printf("1..%llu\n", (unsigned long long)n);
    fflush(stdout);
    for (unsigned job = 0; job < a->jobs; job++)
        if (fork() == 0)
            _exit(work(a, base, job, calls) ? 0 : 1);
    while (wait(&status) > 0)
        ok &= status == 0;
    return ok;
}

static bool parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = {
        {"every", required_argument, NULL, 'e'}, {"case", required_argument, NULL, 'c'},
        {"jobs", required_argument, NULL, 'j'},  {"from", required_argument, NULL, 'f'},
        {"way", required_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned long long call = 1;
    *a = (struct args){.every = 1, .jobs = cores > 0 ? (unsigned)cores : 1, .name = argv[0]};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (c) {
        case 'e': a->every = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'f': a->from = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'w': a->way = optarg; break;
        case 'j': a->jobs = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'c':
            a->single = true;
            if (sscanf(optarg, "%u,%u,%u,%llu", &a->one.way, &a->one.agent, &a->one.fault, &call) != 4)
                return false;
            break;
        default: return false;
        }
    a->one.call = call;
    return optind == argc && a->every > 0 && a->jobs > 0 && a->one.way < WAYS && a->one.agent < MEMBERS &&
           a->one.fault < FAULTS;
}

int main(int argc, char **argv)
{
    struct args a;
    if (!parse(argc, argv, &a)) {
        fprintf(stderr, "usage: %s [--way NAME] [--every N [--from N]] [--jobs N] | --case WAY,AGENT,FAULT,CALL\n", argv[0]);
        return 1;
    }
    umask(022);
    char *base = tree_workplace("sos-sync-faults");
    bool ok;
    if (a.single) {
        struct test *t = mem_zalloc(sizeof *t);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        t->base = base;
        t->one = a.one;
        printf("1..1\n");
        ok = report_case(t, 1, a.name);
        free(t);
    } else {
        ok = run_all(&a, base);
    }
    tree_remove(base);
    free(base);
    return ok ? 0 : 1;
}
