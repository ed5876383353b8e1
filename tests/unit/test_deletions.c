/* Deletions in a directory store: the tombstones that a scan leaves, and the removals that others ask for. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/journal.h"
#include "store/scan_judge.h"
#include "store/store.h"
#include "scratch.h"

#define NOW ((int64_t)1700000000)
#define DAY ((int64_t)86400)

/* ---- what can be made to fail: stands in front of the library's ---- */

static const char *sick_name;

int openat(int dir, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (sick_name && strcmp(path, sick_name) == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

/* ---- one store, and what it says ---- */

struct world {
    char dir[64], root[80];
    struct store *s; /* NULL: not open */
    struct store_info info;
    struct uuid id;
    struct store_scan scan;
    struct digest seen, before; /* of what all members see of the manifest that was loaded last, and of the one before the scan */
    struct store_rules rules;
    struct filter *filter;
    bool dry_run, no_delete, read_only;
    int problems;
    char told[1024]; /* of the last problem */
    int code[32];    /* by operation */
    uint64_t given;
    struct entry *list; /* the manifest of the last scan or commit */
    size_t n;
    struct err e;
};

static int on_progress(void *ctx, uint64_t objects, uint64_t bytes)
{
    (void)ctx, (void)objects, (void)bytes;
    return 0;
}

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    struct world *w = ctx;
    w->problems += error;
    snprintf(w->told, sizeof w->told, "%s: %s", path ? path : "store", message);
}

static void on_done(void *ctx, uint64_t seq, int code, const char *message)
{
    struct world *w = ctx;
    (void)message;
    assert_true(seq < 32);
    w->code[seq] = code;
}

static void forget(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        free((char *)(uintptr_t)w->list[i].path);
    free(w->list);
    w->list = NULL;
    w->n = 0;
}

/* Files that were just made are read again, which others do not see. */
static bool as_before(const struct world *w)
{
    return digest_same(&w->before, &w->scan.totals.shared);
}

static void load(struct world *w)
{
    struct manifest_totals totals;
    struct manifest_head head;
    const struct entry *e;
    int rc;
    forget(w);
    struct manifest_reader *r = manifest_reader_new(w->s->ops->manifest(w->s), &head, &w->e);
    assert_non_null(r);
    while ((rc = manifest_reader_next(r, &e, &w->e)) > 0) {
        w->list = mem_resize(w->list, w->n + 1, sizeof *w->list);
        entry_copy(&w->list[w->n], e);
        w->list[w->n++].path = mem_strndup(e->path, e->path_len);
    }
    assert_int_equal(rc, 0);
    manifest_reader_free(r);
    assert_int_equal(manifest_file_totals(w->s->ops->manifest(w->s), &totals, &w->e), 0);
    w->seen = totals.shared;
}

static void leave(struct world *w)
{
    if (w->s)
        w->s->ops->close(w->s);
    store_info_free(&w->info);
    w->s = NULL;
}

static int try_enter(struct world *w)
{
    struct store_options o = {.root = w->root, .fsync = STORE_FSYNC_NONE, .threads = 1, .dry_run = w->dry_run,
                              .no_delete = w->no_delete, .read_only = w->read_only, .filter = w->filter, .rules = w->rules,
                              .watch = {.ctx = w, .progress = on_progress, .problem = on_problem, .done = on_done}};
    leave(w);
    memset(w->code, 77, sizeof w->code);
    w->given = 0;
    w->problems = 0;
    w->before = w->seen;
    w->s = store_dir_new(&o);
    int rc = w->s->ops->inspect(w->s, &w->info, &w->e);
    w->id = w->info.id;
    if (rc == 0)
        rc = w->s->ops->scan(w->s, &w->info.id, "g", &w->scan, &w->e);
    if (rc == 0)
        load(w);
    return rc;
}

static void enter(struct world *w)
{
    if (try_enter(w) < 0)
        fail_msg("scan: %s", w->e.msg);
}

static void commit(struct world *w)
{
    if (w->s->ops->flush(w->s, &w->e) < 0 || w->s->ops->commit(w->s, NULL, 0, &w->e) < 0)
        fail_msg("commit: %s", w->e.msg);
    load(w);
}

/* A whole run that gives the store nothing to do. */
static void run(struct world *w)
{
    enter(w);
    commit(w);
    leave(w);
}

static const struct entry *maybe(const struct world *w, const char *path)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->list[i].path, path) == 0)
            return &w->list[i];
    return NULL;
}

static const struct entry *get(const struct world *w, const char *path)
{
    const struct entry *e = maybe(w, path);
    if (!e)
        fail_msg("%s is not in the manifest", path);
    return e;
}

static uint64_t own(const struct world *w, const char *path)
{
    return version_count(&get(w, path)->version, &w->id);
}

static void sh(const struct world *w, const char *command)
{
    char *all = mem_printf("cd '%s' && { %s; }", w->root, command);
    assert_int_equal(system(all), 0);
    free(all);
}

static bool exists(const struct world *w, const char *path)
{
    char *all = mem_printf("%s/%s", w->root, path);
    bool is = access(all, F_OK) == 0;
    free(all);
    return is;
}

/* Of the paths in the manifest: "d d/b! -" is a directory or whatever, a tombstone. */
static void expect(const struct world *w, const char *want)
{
    char got[1024] = "";
    for (size_t i = 0; i < w->n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s%s%s%s", i ? " " : "", w->list[i].path,
                 w->list[i].kind == ENTRY_GONE ? "!" : "", w->list[i].flags & ENTRY_HIDDEN ? "(hidden)" : "",
                 w->list[i].flags & ENTRY_UNKNOWN ? "?" : "");
    assert_string_equal(got, want);
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof *w);
    assert_int_equal(scratch_make(w->dir, sizeof w->dir, "sos-gone"), 0);
    snprintf(w->root, sizeof w->root, "%s/store", w->dir);
    assert_int_equal(mkdir(w->root, 0755), 0);
    w->rules = (struct store_rules){.now = NOW, .propagate = true, .tombstones = 400 * DAY, .trash = 7 * DAY};
    sh(w, "echo alpha >a; mkdir -p d/e; echo beta >d/b; ln -s b d/e/link; echo omega >z");
    run(w);
    expect(w, "a d d/b d/e d/e/link z");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    sick_name = NULL;
    leave(w);
    forget(w);
    filter_free(w->filter);
    char *rm = mem_printf("rm -rf '%s'", w->dir);
    assert_int_equal(system(rm), 0);
    free(rm);
    free(w);
    return 0;
}

/* ---- what becomes of a path where nothing is ---- */

static const struct uuid self = {{1}}, other = {{2}};

/*
 * "f" file, "d" directory, "g" tombstone, each with its counters of self and other, "-" nothing; then flags: h hidden,
 * u unknown, x damaged, o (of an intent) open; and v: without a version.
 */
static const struct entry *entry_of(const char *text, struct entry *e)
{
    char kind;
    unsigned mine, theirs;
    int n = 0;
    if (sscanf(text, "%c%u,%u%n", &kind, &mine, &theirs, &n) < 3)
        return NULL;
    *e = (struct entry){.path = "p", .path_len = 1, .origin = other, .first_seen = 7, .place = {.ino = 5}};
    e->kind = kind == 'f' ? ENTRY_FILE : kind == 'd' ? ENTRY_DIR : ENTRY_GONE;
    if (e->kind == ENTRY_GONE)
        e->mtime.sec = NOW - 10;
    version_set(&e->version, &self, mine);
    version_set(&e->version, &other, theirs);
    for (const char *f = text + n; *f; f++)
        if (*f == 'o')
            e->place.ino = 0;
        else if (*f == 'v')
            e->version.n = 0;
        else
            e->flags |= *f == 'h' ? ENTRY_HIDDEN : *f == 'u' ? ENTRY_UNKNOWN : ENTRY_DAMAGED;
    return e;
}

/* What a run replaced and somebody put back is an edit; what an intent left alone is what was recorded. */
static void put_back(void **state)
{
    (void)state;
    static const struct {
        uint64_t ino;  /* where it is seen; it was recorded at 5 */
        bool done, same; /* the intent: was seen through; has the content that was recorded */
        uint64_t mine, theirs;
    } t[] = {
        {5, true, false, 1, 2}, {6, true, false, 6, 3}, {5, false, false, 1, 2}, {6, false, false, 1, 2},
        {5, true, true, 1, 3},  {6, true, true, 1, 3},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct scan_judge j = {.self = self, .floor = 5, .now = {NOW, 0}};
        struct entry r, in, seen;
        struct history_at at = {entry_of("f1,2", &r), entry_of(t[i].done ? "f1,3" : "f1,3o", &in)};
        in.place.ino = t[i].done ? 7 : 0;
        in.digest.b[0] = t[i].same ? 0 : 1;
        entry_copy(&seen, &r);
        seen.place.ino = t[i].ino;
        assert_int_equal(scan_judge_record(&j, &seen, &at), SCAN_FINE);
        if (version_count(&seen.version, &self) != t[i].mine || version_count(&seen.version, &other) != t[i].theirs)
            fail_msg("case %zu: %u %u", i, (unsigned)version_count(&seen.version, &self),
                     (unsigned)version_count(&seen.version, &other));
    }
}

static void missed_paths(void **state)
{
    (void)state;
    static const struct {
        const char *recorded, *intent;
        bool deletes;
        int64_t lasts;
        enum scan_missed want;
        uint64_t mine, theirs; /* of the tombstone */
    } t[] = {
        {"f1,2", "-", true, 100, SCAN_DELETED, 6, 2}, /* the floor is 5 */
        {"f9,2", "-", true, 100, SCAN_DELETED, 10, 2},
        {"d0,2", "-", true, 100, SCAN_DELETED, 6, 2},
        {"f1,2", "-", false, 100, SCAN_LOST, 0, 0},
        {"f1,2v", "-", true, 100, SCAN_LOST, 0, 0},
        {"f1,2h", "-", true, 100, SCAN_LOST, 0, 0},
        {"f1,2u", "-", true, 100, SCAN_LOST, 0, 0},
        {"f1,2x", "-", true, 100, SCAN_LOST, 0, 0},
        {"f1,2", "f1,3o", true, 100, SCAN_LOST, 0, 0}, /* a killed run may have taken it away */
        {"f1,2", "g1,3o", true, 100, SCAN_LOST, 0, 0},
        {"f1,2", "f1,3", true, 100, SCAN_DELETED, 6, 3},
        {"f8,2", "f1,3", true, 100, SCAN_DELETED, 9, 3},
        {"-", "f1,3", true, 100, SCAN_DELETED, 6, 3},
        {"-", "f1,3o", true, 100, SCAN_LOST, 0, 0},
        {"-", "f1,3", false, 100, SCAN_LOST, 0, 0},
        {"g1,2", "-", true, 100, SCAN_BURIED, 1, 2},
        {"g1,2", "-", false, 100, SCAN_BURIED, 1, 2},
        {"g1,2h", "-", false, 100, SCAN_BURIED, 1, 2},
        {"g1,2", "-", true, 10, SCAN_BURIED, 1, 2},
        {"g1,2", "-", true, 9, SCAN_LOST, 0, 0},
        {"g1,2", "f1,3o", true, 100, SCAN_BURIED, 1, 2},
        {"g1,2", "f1,3", true, 100, SCAN_DELETED, 6, 3},
        {"g1,2", "f1,3", false, 100, SCAN_LOST, 0, 0},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct scan_judge j = {.self = self, .floor = 5, .absence = {t[i].deletes, NOW, t[i].lasts}};
        struct entry r, in, left = {0};
        struct history_at at = {entry_of(t[i].recorded, &r), entry_of(t[i].intent, &in)};
        enum scan_missed got = scan_judge_missed(&j, &at, &left);
        if (got != t[i].want || (got != SCAN_LOST && (left.kind != ENTRY_GONE || left.flags ||
            left.first_seen != 7 || !uuid_same(&left.origin, &other) || entry_check(&left, NULL) < 0 ||
            left.mtime.sec != (got == SCAN_BURIED ? NOW - 10 : NOW) ||
            version_count(&left.version, &self) != t[i].mine || version_count(&left.version, &other) != t[i].theirs)))
            fail_msg("%s %s", t[i].recorded, t[i].intent);
    }
    struct scan_judge j = {.self = self, .floor = UINT64_MAX, .absence = {true, NOW, 100}};
    struct entry r, left;
    struct history_at at = {entry_of("f1,2", &r), NULL};
    assert_int_equal(scan_judge_missed(&j, &at, &left), SCAN_LOST);
    struct entry far = {.kind = ENTRY_GONE, .mtime.sec = -ENTRY_TIME_MAX};
    j.absence = (struct scan_absence){true, ENTRY_TIME_MAX, ENTRY_TIME_MAX};
    assert_false(scan_judge_lasts(&j, &far));
}

/* ---- scans ---- */

static void deleted_things(void **state)
{
    struct world *w = *state;
    struct entry was;
    entry_copy(&was, get(w, "d/b"));
    sh(w, "rm -r d z");
    w->rules.now += DAY;
    enter(w);
    expect(w, "a d! d/b! d/e! d/e/link! z!");
    assert_true(w->scan.changed);
    assert_int_equal(w->scan.before, 4);
    assert_int_equal(w->scan.totals.objects, 1);
    assert_int_equal(w->scan.totals.dirs, 0);
    assert_int_equal(w->scan.totals.entries, 6);
    const struct entry *b = get(w, "d/b");
    assert_int_equal(b->mtime.sec, NOW + DAY);
    assert_true(uuid_same(&b->origin, &was.origin));
    assert_int_equal(b->first_seen, was.first_seen);
    assert_int_equal(version_compare(&b->version, &was.version), VERSION_AFTER);
    commit(w);
    leave(w);
    /* They stay as they are. */
    w->rules.now += 100 * DAY;
    enter(w);
    expect(w, "a d! d/b! d/e! d/e/link! z!");
    assert_true(as_before(w));
    assert_int_equal(get(w, "d/b")->mtime.sec, NOW + DAY);
    commit(w);
    leave(w);
    /* Also where deletions are not propagated; and until they expire. */
    w->rules.propagate = false;
    w->rules.now = NOW + 401 * DAY;
    run(w);
    expect(w, "a d! d/b! d/e! d/e/link! z!");
    w->rules.now++;
    uint64_t count = own(w, "d/b");
    enter(w);
    expect(w, "a");
    assert_true(w->scan.changed);
    assert_true(count > 1 && w->scan.floor >= count);
    commit(w);
    sh(w, "mkdir d; echo new >d/b");
    run(w);
    assert_true(own(w, "d/b") > count);
}

static void restored_things(void **state)
{
    struct world *w = *state;
    sh(w, "rm -r d");
    w->rules.propagate = false;
    enter(w);
    expect(w, "a z");
    assert_true(w->scan.changed);
}

static void away_too_long(void **state)
{
    struct world *w = *state;
    sh(w, "rm z");
    w->dry_run = true; /* so that each starts from the same */
    w->rules.now = NOW + 400 * DAY;
    enter(w);
    expect(w, "a d d/b d/e d/e/link z!");
    w->rules.now = NOW - 400 * DAY;
    enter(w);
    expect(w, "a d d/b d/e d/e/link z!");
    w->rules.now = NOW + 400 * DAY + 1;
    enter(w);
    expect(w, "a d d/b d/e d/e/link");
    w->rules.now = NOW - 400 * DAY - 1;
    enter(w);
    expect(w, "a d d/b d/e d/e/link");
    w->rules.now = NOW;
    sh(w, "echo 'last run: 17x' >.sos-sync/last");
    enter(w);
    expect(w, "a d d/b d/e d/e/link");
    sh(w, ": >.sos-sync/last");
    enter(w);
    expect(w, "a d d/b d/e d/e/link");
    sh(w, "rm .sos-sync/last");
    enter(w);
    expect(w, "a d d/b d/e d/e/link");
    w->dry_run = false;
    leave(w);
    sh(w, "echo back >z");
    run(w);
    sh(w, "rm z");
    run(w);
    expect(w, "a d d/b d/e d/e/link z!");
}

static void made_again(void **state)
{
    struct world *w = *state;
    sh(w, "rm -r d z");
    run(w);
    struct entry gone;
    entry_copy(&gone, get(w, "z"));
    sh(w, "echo omega >z; echo file >d");
    run(w);
    expect(w, "a d d/b! d/e! d/e/link! z");
    assert_int_equal(version_compare(&get(w, "z")->version, &gone.version), VERSION_AFTER);
    assert_true(uuid_same(&get(w, "z")->origin, &gone.origin));
    assert_int_equal(get(w, "d")->kind, ENTRY_FILE);
    enter(w);
    assert_true(as_before(w));
}

static void something_else_has_its_name(void **state)
{
    struct world *w = *state;
    sh(w, "rm -r d z; mkfifo d z");
    enter(w);
    expect(w, "a d? d/b? d/e? d/e/link? z?");
    assert_int_equal(w->scan.special, 2);
}

static void excluded_things(void **state)
{
    struct world *w = *state;
    w->filter = filter_new();
    assert_int_equal(filter_add(w->filter, false, "/d/", &w->e), 0);
    sh(w, "rm -r d z");
    run(w);
    expect(w, "a d!(hidden) d/b!(hidden) d/e!(hidden) d/e/link!(hidden) z!");
    assert_int_equal(w->scan.totals.objects, 1);
    enter(w);
    assert_true(as_before(w));
    leave(w);
    filter_free(w->filter);
    w->filter = NULL;
    run(w);
    expect(w, "a d! d/b! d/e! d/e/link! z!");
    /* What was hidden when it was last seen was not deleted by anybody whom it concerns. */
    sh(w, "echo z >z");
    run(w);
    w->filter = filter_new();
    assert_int_equal(filter_add(w->filter, false, "z", &w->e), 0);
    run(w);
    expect(w, "a d! d/b! d/e! d/e/link! z(hidden)");
    sh(w, "rm z");
    run(w);
    expect(w, "a d! d/b! d/e! d/e/link!");
}

static void sick_disk(void **state)
{
    struct world *w = *state;
    sh(w, "rm -r d/e; rm z");
    run(w);
    sh(w, "rm -r d; echo file >d; echo new >sick");
    sick_name = "sick";
    for (int dry = 1; dry >= 0; dry--) {
        w->dry_run = dry;
        enter(w);
        /* "d" is a file now, so that nothing can be said of what was below it. */
        expect(w, "a d d/e! d/e/link! sick? z!");
        assert_true(w->problems >= 1);
        leave(w);
    }
    sh(w, "rm a");
    w->dry_run = true;
    enter(w);
    expect(w, "a? d d/e! d/e/link! sick? z!");
    assert_int_equal(w->problems, 2);
    assert_non_null(strstr(w->told, "the disk gave errors"));
    w->dry_run = false;
    run(w);
    expect(w, "a? d d/e! d/e/link! sick? z!");
    assert_int_equal(w->scan.totals.objects, 3);
    /* Nor is it afterwards: it was not seen since. */
    sick_name = NULL;
    run(w);
    expect(w, "d d/e! d/e/link! sick z!");
}

static void unreadable_directory(void **state)
{
    struct world *w = *state;
    sh(w, "rm -r d/e");
    run(w);
    expect(w, "a d d/b d/e! d/e/link! z");
    sick_name = "d";
    run(w);
    expect(w, "a d? d/b? d/e! d/e/link! z");
    assert_int_equal(get(w, "d/e")->flags, 0);
    w->rules.now += 401 * DAY;
    run(w);
    expect(w, "a d? d/b? z");
}

static void emptied(void **state)
{
    struct world *w = *state;
    sh(w, "rm -r a d z");
    for (int dry = 1; dry >= 0; dry--) {
        w->dry_run = dry;
        for (int propagate = 0; propagate < 2; propagate++) {
            w->rules.propagate = propagate;
            assert_int_equal(try_enter(w), ERR_GUARD);
            assert_non_null(strstr(w->e.msg, "held 4 objects"));
            assert_non_null(strstr(w->e.msg, "mounted"));
            assert_non_null(strstr(w->e.msg, "--max-delete 100%"));
        }
    }
    leave(w);
    assert_false(exists(w, ".sos-sync/manifest.new"));
    sh(w, "mkdir dir");
    assert_int_equal(try_enter(w), ERR_GUARD);
    assert_non_null(strstr(w->e.msg, "--adopt"));
    w->rules.adopted = true; /* what is lost is no deletion */
    w->dry_run = 1;
    assert_int_equal(try_enter(w), 0);
    expect(w, "dir");
    leave(w);
    w->dry_run = 0;
    w->rules.adopted = false;
    w->rules.emptied = true;
    run(w);
    expect(w, "a! d! d/b! d/e! d/e/link! dir z!");
    w->rules.emptied = false; /* nothing is left to be missed */
    run(w);
}

static void one_object_may_go(void **state)
{
    struct world *w = *state;
    w->filter = filter_new();
    assert_int_equal(filter_add(w->filter, false, "*", &w->e), 0);
    run(w); /* all is excluded, but there */
    filter_free(w->filter);
    w->filter = NULL;
    sh(w, "rm -r d z");
    run(w);
    sh(w, "rm a");
    run(w);
    expect(w, "a!");
}

/* ---- removals ---- */

static void give(struct world *w, enum store_how how, const char *path)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = ENTRY_GONE, .mtime = {NOW, 0}, .origin = other,
                      .first_seen = 3};
    const struct entry *have = maybe(w, path);
    if (have)
        version_copy(&e.version, &have->version);
    version_set(&e.version, &other, version_count(&e.version, &other) + 1);
    struct store_op op = {.seq = w->given++, .how = how, .from_root = -1, .entry = &e};
    if (w->s->ops->apply(w->s, &op, &w->e) < 0)
        fail_msg("apply: %s", w->e.msg);
}

static void flush(struct world *w)
{
    if (w->s->ops->flush(w->s, &w->e) < 0)
        fail_msg("flush: %s", w->e.msg);
}

static void in_trash(const struct world *w, const char *path, const char *text)
{
    char *command = mem_printf("cat .sos-sync/trash/*/%s | cmp -s - <(printf '%s\\n')", path, text);
    char *all = mem_printf("bash -c \"%s\"", command);
    sh(w, all);
    free(all);
    free(command);
}

static void removals(void **state)
{
    struct world *w = *state;
    enter(w);
    give(w, STORE_REMOVE, "a");
    give(w, STORE_REMOVE, "d");
    give(w, STORE_REMOVE, "d/b");
    give(w, STORE_REMOVE, "d/e");
    give(w, STORE_REMOVE, "d/e/link");
    give(w, STORE_RECORD, "never/was/here");
    flush(w);
    for (int i = 0; i < 6; i++)
        assert_int_equal(w->code[i], 0);
    assert_int_equal(w->problems, 0);
    assert_false(exists(w, "a"));
    assert_false(exists(w, "d"));
    in_trash(w, "a", "alpha");
    in_trash(w, "d/b", "beta");
    sh(w, "test -L .sos-sync/trash/*/d/e/link && grep -q deleted .sos-sync/trash/*.txt");
    sh(w, "test -z \"$(find . -name '.sos-sync.*')\"");
    /* Killed here: the next scan knows what was done. */
    w->dry_run = true;
    leave(w);
    enter(w);
    expect(w, "a! d! d/b! d/e! d/e/link! never/was/here! z");
    assert_int_equal(version_count(&get(w, "a")->version, &other), 1);
    w->dry_run = false;
    run(w);
    expect(w, "a! d! d/b! d/e! d/e/link! never/was/here! z");
    assert_int_equal(get(w, "a")->place.ino, 0);
    enter(w);
    assert_true(as_before(w));
}

static void removals_committed(void **state)
{
    struct world *w = *state;
    enter(w);
    give(w, STORE_REMOVE, "d");
    give(w, STORE_REMOVE, "d/b");
    give(w, STORE_REMOVE, "d/e");
    give(w, STORE_REMOVE, "d/e/link");
    commit(w);
    expect(w, "a d! d/b! d/e! d/e/link! z");
    assert_int_equal(get(w, "d/b")->place.ino, 0);
    leave(w);
    /* A deletion is recorded of what is a tombstone already, and what stands there takes its place. */
    enter(w);
    assert_true(as_before(w));
    give(w, STORE_RECORD, "d/b");
    struct entry dir = {.path = "d", .path_len = 1, .kind = ENTRY_DIR, .mode = 0755, .origin = other};
    version_copy(&dir.version, &get(w, "d")->version);
    version_set(&dir.version, &other, 9);
    struct store_op op = {.seq = w->given++, .how = STORE_CONTENT, .from_root = -1, .entry = &dir};
    assert_int_equal(w->s->ops->apply(w->s, &op, &w->e), 0);
    commit(w);
    assert_int_equal(w->code[0] | w->code[1], 0);
    expect(w, "a d d/b! d/e! d/e/link! z");
    assert_int_equal(version_count(&get(w, "d/b")->version, &other), 2);
    assert_int_equal(version_count(&get(w, "d")->version, &other), 9);
    assert_true(exists(w, "d"));
}

static void only_what_was_seen(void **state)
{
    struct world *w = *state;
    enter(w);
    sh(w, "echo longer >a; rm z");
    give(w, STORE_REMOVE, "a");
    give(w, STORE_REMOVE, "d/b");
    sh(w, "echo after >d/b"); /* when it was looked at already */
    give(w, STORE_REMOVE, "d/e");
    give(w, STORE_REMOVE, "d/e/link");
    sh(w, "echo new >d/e/new");
    give(w, STORE_REMOVE, "z"); /* gone already: as good */
    give(w, STORE_RECORD, "d"); /* it is there */
    flush(w);
    assert_int_equal(w->code[0], ERR_CHANGED);
    assert_int_equal(w->code[1], ERR_CHANGED);
    assert_int_equal(w->code[2], 0);
    assert_int_equal(w->code[3], 0);
    assert_int_equal(w->code[4], 0);
    assert_int_equal(w->code[5], ERR_CHANGED);
    assert_string_equal(w->told, "d/e: is not empty: kept");
    assert_true(exists(w, "d/e/new"));
    sh(w, "test \"$(cat a)\" = longer && test \"$(cat d/b)\" = after");
    commit(w);
    expect(w, "a d d/b d/e d/e/link! z!");
    run(w);
    expect(w, "a d d/b d/e d/e/link! d/e/new z!");
    assert_int_equal(version_count(&get(w, "d/e")->version, &other), 0);
}

static void the_whole_directory_went(void **state)
{
    struct world *w = *state;
    enter(w);
    sh(w, "rm -r d");
    give(w, STORE_REMOVE, "d");
    give(w, STORE_REMOVE, "d/b");
    give(w, STORE_REMOVE, "d/e");
    give(w, STORE_REMOVE, "d/e/link");
    commit(w);
    for (int i = 0; i < 4; i++)
        assert_int_equal(w->code[i], 0);
    assert_int_equal(w->problems, 0);
    expect(w, "a d! d/b! d/e! d/e/link! z");
}

static void not_allowed(void **state)
{
    struct world *w = *state;
    w->no_delete = true;
    enter(w);
    give(w, STORE_REMOVE, "a");
    give(w, STORE_RECORD, "b");
    flush(w);
    assert_int_equal(w->code[0], ERR_DENIED);
    assert_int_equal(w->code[1], 0);
    leave(w);
    w->no_delete = false;
    w->read_only = true;
    enter(w);
    give(w, STORE_REMOVE, "a");
    give(w, STORE_CONTENT, "b");
    flush(w);
    assert_int_equal(w->code[0], ERR_DENIED);
    assert_int_equal(w->code[1], ERR_UNSUPPORTED);
    assert_true(exists(w, "a"));
}

/* A run that was killed between the removal and its record: nobody knows why the object is missing. */
static void killed_in_between(void **state)
{
    struct world *w = *state;
    struct entry e = {.path = "a", .path_len = 1, .kind = ENTRY_GONE, .mtime = {NOW, 0}};
    char *path = mem_printf("%s/.sos-sync/journal", w->root);
    version_set(&e.version, &other, 1);
    enter(w);
    leave(w);
    for (int done = 0; done < 2; done++) {
        int fd = open(path, O_RDWR | O_CREAT, 0600);
        struct journal *j = journal_new(fd, &w->id, &w->e);
        uint64_t at = journal_intent(j, &e);
        if (done)
            journal_done(j, at, &JOURNAL_NO_PLACE);
        assert_int_equal(journal_flush(j, false, &w->e), 0);
        journal_free(j);
        w->dry_run = true;
        enter(w); /* it stands there: as it was recorded, or an edit that follows the deletion */
        assert_int_equal(get(w, "a")->kind, ENTRY_FILE);
        assert_int_equal(version_count(&get(w, "a")->version, &other), done);
        leave(w);
        sh(w, "mv a ../kept");
        enter(w);
        expect(w, done ? "a! d d/b d/e d/e/link z" : "d d/b d/e d/e/link z");
        leave(w);
        sh(w, "mv ../kept a");
        w->dry_run = false;
    }
    free(path);
}

/* ---- prunings: others hold it, and nobody deleted it ---- */

static void prune_as(struct world *w, const struct entry *e)
{
    struct store_op op = {.seq = w->given++, .how = STORE_PRUNE, .why = STORE_WHY_PRUNED, .from_root = -1, .entry = e};
    if (w->s->ops->apply(w->s, &op, &w->e) < 0)
        fail_msg("apply: %s", w->e.msg);
}

static void prune(struct world *w, const char *path)
{
    struct entry e;
    entry_copy(&e, get(w, path));
    version_set(&e.version, &other, 7);
    prune_as(w, &e);
}

static void prunings(void **state)
{
    struct world *w = *state;
    for (int killed = 0; killed < 2; killed++) {
        enter(w);
        uint64_t count = own(w, "a");
        prune(w, "a");
        prune(w, "d/e/link");
        if (killed) {
            flush(w);
            leave(w);
            w->dry_run = true;
            enter(w);
            w->dry_run = false;
        } else {
            commit(w);
        }
        expect(w, "d d/b d/e z");
        assert_false(exists(w, "a"));
        in_trash(w, "a", "alpha");
        sh(w, "test -L .sos-sync/trash/*/d/e/link && grep -q pruned .sos-sync/trash/*.txt");
        sh(w, "! grep -q deleted .sos-sync/trash/*.txt && test -z \"$(find . -name '.sos-sync.tmp*')\"");
        run(w); /* deletions are propagated, but this was none */
        expect(w, "d d/b d/e z");
        assert_true(w->scan.floor >= count && count > 0);
        assert_int_equal(w->problems, 0);
        enter(w);
        assert_true(as_before(w));
        leave(w);
        sh(w, "echo alpha >a; ln -s b d/e/link; rm -r .sos-sync/trash");
        run(w);
        assert_true(own(w, "a") > count);
        assert_int_equal(get(w, "a")->version.n, 1);
    }
}

/* What is made under its name while only the journal knows counts above what was pruned. */
static void made_again_after_a_pruning(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 5; i++) {
        sh(w, "echo more >>a");
        run(w);
    }
    uint64_t count = own(w, "a");
    assert_true(count > 4);
    enter(w);
    prune(w, "a");
    flush(w);
    leave(w);
    sh(w, "echo new >a");
    run(w);
    assert_int_equal(get(w, "a")->version.n, 1);
    assert_true(own(w, "a") > count);
    /* Nor is anything left of it where nobody may look: what was pruned is not carried on. */
    enter(w);
    prune(w, "d/b");
    flush(w);
    leave(w);
    w->filter = filter_new();
    assert_int_equal(filter_add(w->filter, false, "/d/", &w->e), 0);
    run(w);
    expect(w, "a d(hidden) d/e(hidden) d/e/link(hidden) z");
}

static void all_pruned_and_killed(void **state)
{
    struct world *w = *state;
    enter(w);
    prune(w, "a");
    prune(w, "d/b");
    prune(w, "d/e/link");
    prune(w, "z");
    flush(w);
    leave(w);
    run(w); /* and does not miss its disk */
    expect(w, "d d/e");
    assert_int_equal(w->scan.before, 0);
}

static void prunes_only_what_was_seen(void **state)
{
    struct world *w = *state;
    struct entry e;
    sh(w, "touch -d 2001-01-01 z d/b");
    run(w);
    sh(w, "cp -p z ../z; printf OMEGA | dd of=z conv=notrunc status=none; touch -r ../z z");
    run(w);
    enter(w);
    entry_copy(&e, get(w, "a"));
    e.digest.b[0] ^= 1;
    prune_as(w, &e);
    entry_copy(&e, get(w, "d"));
    prune_as(w, &e);
    prune(w, "d/b");
    sh(w, "echo after >d/b");
    prune(w, "d/e/link");
    sh(w, "rm d/e/link");
    entry_copy(&e, get(w, "a"));
    e.path = "nowhere";
    e.path_len = 7;
    prune_as(w, &e);
    e.path = "z";
    e.path_len = 1;
    e.kind = ENTRY_GONE;
    e.size = e.mode = 0;
    e.digest = (struct digest){0};
    prune_as(w, &e);
    flush(w);
    assert_int_equal(w->code[0], ERR_CHANGED);
    assert_int_equal(w->code[1], 0); /* a directory goes once it is empty, and this one never is */
    assert_int_equal(w->code[2], ERR_CHANGED);
    assert_int_equal(w->code[3], ERR_CHANGED);
    assert_int_equal(w->code[4], ERR_CHANGED);
    assert_int_equal(w->code[5], ERR_UNSUPPORTED);
    sh(w, "test \"$(cat d/b)\" = after && test \"$(cat a)\" = alpha");
    leave(w);
    run(w);
    expect(w, "a d d/b d/e d/e/link! z"); /* that one was somebody's deletion */
}

/* Its content is another than the winner's, but it is of no use to anybody. */
static void damaged_is_pruned(void **state)
{
    struct world *w = *state;
    struct entry e;
    char *path = mem_printf("%s/.sos-sync/manifest", w->root);
    enter(w);
    leave(w);
    /* It was recorded as something else, and nothing says that it was changed since. */
    const struct manifest_head head = {.algo = DIGEST_XXH3_128, .store = w->id, .floor = 1};
    int fd = open(path, O_RDWR | O_TRUNC);
    struct manifest_writer *m = manifest_writer_new(fd, &head);
    for (size_t i = 0; i < w->n; i++) {
        bool it = strcmp(w->list[i].path, "z") == 0;
        w->list[i].digest.b[0] ^= it;
        w->list[i].place.racy &= !it;
        assert_int_equal(manifest_writer_put(m, &w->list[i], &w->e), 0);
    }
    assert_int_equal(manifest_writer_end(m, NULL, &w->e), 0);
    manifest_writer_free(m);
    close(fd);
    free(path);
    w->rules.part = w->rules.parts = 1;
    enter(w);
    assert_int_equal(get(w, "z")->flags, ENTRY_DAMAGED);
    entry_copy(&e, get(w, "z"));
    e.digest.b[0] ^= 2;
    e.flags = 0;
    prune_as(w, &e);
    commit(w);
    assert_int_equal(w->code[0], 0);
    expect(w, "a d d/b d/e d/e/link");
    in_trash(w, "z", "omega");
    leave(w);
    run(w);
    expect(w, "a d d/b d/e d/e/link");
}

static void pruning_not_allowed(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 2; i++) {
        w->no_delete = i == 0;
        w->read_only = i == 1;
        enter(w);
        prune(w, "a");
        flush(w);
        assert_int_equal(w->code[0], ERR_DENIED);
        assert_true(exists(w, "a"));
        leave(w);
    }
}

/* Killed anywhere, nothing is lost, nothing comes to be a deletion, and the next run finds nothing to wonder at. */
static void killed_while_pruning(void **state)
{
    struct world *w = *state;
    bool more = true;
    for (int n = 1; more; n++) {
        int status = 0;
        sh(w, "rm -rf .sos-sync/trash; echo alpha >a; mkdir -p d; echo beta >d/b; echo omega >z");
        run(w);
        uint64_t count = own(w, "d/b");
        pid_t pid = fork();
        if (pid == 0) {
            enter(w);
            prune(w, "a");
            prune(w, "d/b");
            flush(w);
            ptrace(PTRACE_TRACEME, 0, NULL, NULL);
            raise(SIGSTOP);
            prune(w, "z");
            commit(w);
            _exit(0);
        }
        for (int i = 0; i < n && more; i++) {
            more = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
            if (more)
                ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
        }
        if (more) {
            more = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
            if (more) {
                kill(pid, SIGKILL);
                waitpid(pid, &status, 0);
            }
        }
        run(w);
        for (size_t i = 0; i < w->n; i++)
            assert_int_not_equal(w->list[i].kind, ENTRY_GONE);
        assert_null(maybe(w, "a"));
        assert_null(maybe(w, "d/b"));
        assert_true(w->scan.floor >= count);
        assert_true((maybe(w, "z") != NULL) == exists(w, "z"));
        in_trash(w, "d/b", "beta");
        sh(w, "test -z \"$(find . -path ./.sos-sync -prune -o -name '.sos-sync.tmp*' -print)\"");
        sh(w, "test -e z || grep -rqs '^omega$' .sos-sync/trash");
        assert_true(n < 2000 && (more || n > 50));
    }
    assert_false(exists(w, "z"));
}

/* ---- who holds it ---- */

/* A run tells this store that these hold what it has, too. */
static void tell_holders(struct world *w, const char *path, const struct uuid *more)
{
    struct entry e;
    entry_copy(&e, get(w, path));
    assert_int_equal(holders_add(&e.holders, &w->id), 0);
    assert_int_equal(holders_add(&e.holders, more), 0);
    struct store_op op = {.seq = w->given++, .how = STORE_RECORD, .from_root = -1, .entry = &e};
    assert_int_equal(w->s->ops->apply(w->s, &op, &w->e), 0);
}

static void holders_last_until_an_edit(void **state)
{
    struct world *w = *state;
    const struct uuid third = {{3}};
    enter(w);
    tell_holders(w, "a", &other);
    tell_holders(w, "d/b", &other);
    tell_holders(w, "z", &other);
    commit(w);
    assert_int_equal(w->code[0] | w->code[1] | w->code[2], 0);
    leave(w);
    sh(w, "touch .; rm z; echo edit >d/b");
    run(w);
    assert_int_equal(get(w, "a")->holders.n, 2);
    assert_true(holders_have(&get(w, "a")->holders, &w->id) && holders_have(&get(w, "a")->holders, &other));
    assert_int_equal(get(w, "d/b")->holders.n, 0);
    assert_int_equal(get(w, "z")->kind, ENTRY_GONE);
    assert_int_equal(get(w, "z")->holders.n, 0);
    /* Killed before the commit: nobody knows what became of that run's copies, and no more is believed than before. */
    enter(w);
    tell_holders(w, "a", &third);
    flush(w);
    leave(w);
    enter(w);
    assert_int_equal(get(w, "a")->holders.n, 2);
    assert_false(holders_have(&get(w, "a")->holders, &third));
    tell_holders(w, "a", &third);
    commit(w);
    leave(w);
    enter(w);
    assert_true(as_before(w));
    assert_int_equal(get(w, "a")->holders.n, 3);
}

/* ---- peers, and copies that others rely on ---- */

static int64_t seen_of_peer(const struct world *w, const struct uuid *id)
{
    for (size_t i = 0; i < w->info.peers; i++)
        if (uuid_same(&w->info.peer[i].id, id))
            return w->info.peer[i].seen;
    return -77;
}

static void peers_are_seen(void **state)
{
    struct world *w = *state;
    struct store_peer peer[] = {{.id = other, .address = (char *)"/other"}, {.id = {{3}}, .address = (char *)"/third", .seen = 5}};
    const char *broken[] = {"echo rubbish >.sos-sync/seen", "rm .sos-sync/seen", "rm .sos-sync/seen; mkdir .sos-sync/seen"};
    enter(w);
    assert_int_equal(w->info.peers, 0);
    assert_int_equal(w->s->ops->commit(w->s, peer, 2, &w->e), 0);
    w->rules.now = NOW + DAY;
    enter(w);
    assert_true(seen_of_peer(w, &other) == NOW && seen_of_peer(w, &peer[1].id) == NOW);
    assert_int_equal(w->s->ops->commit(w->s, peer, 1, &w->e), 0);
    enter(w);
    assert_true(seen_of_peer(w, &other) == NOW + DAY && seen_of_peer(w, &peer[1].id) == NOW);
    leave(w);
    for (size_t i = 0; i < 3; i++) {
        sh(w, broken[i]);
        w->dry_run = true;
        enter(w);
        assert_true(seen_of_peer(w, &other) == 0 && seen_of_peer(w, &peer[1].id) == 0);
        leave(w);
        w->dry_run = false;
        if (i == 2)
            sh(w, "rmdir .sos-sync/seen");
        enter(w);
        assert_int_equal(w->s->ops->commit(w->s, peer + 1, 1, &w->e), 0);
        enter(w);
        assert_true(seen_of_peer(w, &other) == 0 && seen_of_peer(w, &peer[1].id) == NOW + DAY);
        leave(w);
    }
}

static enum store_check check(struct world *w, const struct entry *want, bool read)
{
    enum store_check found;
    if (w->s->ops->check(w->s, want, read, &found, &w->e) < 0)
        fail_msg("check: %s", w->e.msg);
    return found;
}

static void copies_are_confirmed(void **state)
{
    struct world *w = *state;
    struct entry a, b, link, z, e;
    sh(w, "touch -d 2001-01-01 a d/b z");
    w->filter = filter_new();
    assert_int_equal(filter_add(w->filter, false, "z", &w->e), 0);
    run(w);
    enter(w);
    entry_copy(&a, get(w, "a"));
    entry_copy(&b, get(w, "d/b"));
    entry_copy(&link, get(w, "d/e/link"));
    entry_copy(&z, get(w, "z"));
    for (int read = 0; read < 2; read++) {
        assert_int_equal(check(w, &a, read), STORE_CHECK_GOOD);
        assert_int_equal(check(w, &link, read), STORE_CHECK_GOOD);
        assert_int_equal(check(w, &z, read), STORE_CHECK_CHANGED); /* not offered */
        entry_copy(&e, &a);
        e.digest.b[0] ^= 1;
        assert_int_equal(check(w, &e, read), STORE_CHECK_CHANGED);
        entry_copy(&e, get(w, "d"));
        assert_int_equal(check(w, &e, read), STORE_CHECK_CHANGED);
        entry_copy(&e, &a);
        e.path = "nowhere";
        e.path_len = 7;
        assert_int_equal(check(w, &e, read), STORE_CHECK_CHANGED);
        e.path = "../store/a";
        e.path_len = 10;
        assert_int_equal(check(w, &e, read), STORE_CHECK_CHANGED);
    }
    /* What came within this run is a copy as well. */
    struct store_op op = {.seq = w->given++, .how = STORE_CONTENT, .from = STORE_FROM_SELF, .from_root = -1, .entry = &e};
    e.path = "copy";
    e.path_len = 4;
    assert_int_equal(w->s->ops->apply(w->s, &op, &w->e), 0);
    flush(w);
    assert_int_equal(w->code[0], 0);
    assert_int_equal(check(w, &e, true), STORE_CHECK_GOOD);
    assert_int_equal(check(w, &e, false), STORE_CHECK_GOOD);
    /* And then goes on. */
    prune(w, "a");
    flush(w);
    assert_int_equal(w->code[1], 0);
    assert_int_equal(check(w, &a, true), STORE_CHECK_CHANGED);
    assert_int_equal(check(w, &a, false), STORE_CHECK_CHANGED);
    sh(w, "echo longer >copy; echo atad >d/b; touch -d 2001-01-01 d/b; ln -sf elsewhere d/e/link");
    for (int read = 0; read < 2; read++) {
        assert_int_equal(check(w, &e, read), STORE_CHECK_CHANGED);
        assert_int_equal(check(w, &b, read), STORE_CHECK_CHANGED);
        assert_int_equal(check(w, &link, read), STORE_CHECK_CHANGED);
    }
    commit(w);
    expect(w, "copy d d/b d/e d/e/link z(hidden)");
    leave(w);
    run(w);
    expect(w, "copy d d/b d/e d/e/link z(hidden)");
}

/* Content may be read under another name than its own. */
static void read_elsewhere(void **state)
{
    struct world *w = *state;
    char *other_root = mem_printf("%s/other", w->dir);
    assert_int_equal(mkdir(other_root, 0755), 0);
    enter(w);
    struct entry want;
    entry_copy(&want, get(w, "d/b"));
    want.path = "copy";
    want.path_len = 4;
    int root = open(other_root, O_RDONLY | O_DIRECTORY);
    char *command = mem_printf("cp -p d/b '%s/there'", other_root);
    sh(w, command);
    const char *from[] = {"there", "nowhere", "../store/d/b"};
    int code[] = {0, ERR_CHANGED, ERR_CHANGED};
    for (int i = 0; i < 3; i++) {
        struct store_op op = {.seq = w->given++, .how = STORE_CONTENT, .from = STORE_FROM_ROOT, .from_root = root,
                              .from_path = from[i], .entry = &want};
        want.path = i ? i == 1 ? "copy1" : "copy2" : "copy0";
        want.path_len = 5;
        assert_int_equal(w->s->ops->apply(w->s, &op, &w->e), 0);
        flush(w);
        assert_int_equal(w->code[i], code[i]);
    }
    sh(w, "cmp d/b copy0");
    close(root);
    free(command);
    free(other_root);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missed_paths),
        cmocka_unit_test(put_back),
        T(deleted_things),
        T(restored_things),
        T(away_too_long),
        T(made_again),
        T(something_else_has_its_name),
        T(excluded_things),
        T(sick_disk),
        T(unreadable_directory),
        T(emptied),
        T(one_object_may_go),
        T(removals),
        T(removals_committed),
        T(only_what_was_seen),
        T(the_whole_directory_went),
        T(not_allowed),
        T(killed_in_between),
        T(prunings),
        T(made_again_after_a_pruning),
        T(all_pruned_and_killed),
        T(prunes_only_what_was_seen),
        T(damaged_is_pruned),
        T(pruning_not_allowed),
        T(killed_while_pruning),
        T(holders_last_until_an_edit),
        T(peers_are_seen),
        T(copies_are_confirmed),
        T(read_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
