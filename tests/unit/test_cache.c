/* The copy of a member's manifest: what is found is what was kept, and anything else is as good as nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "run/cache.h"

#define WHERE "ssh://node1/srv/store"

static const struct uuid self = {{1, 2, 3}};

struct fixture {
    char *world, *dir; /* dir is not there yet */
    struct cache *cache;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    f->world = mem_printf("%s/test_cache.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(f->world))
        return -1;
    f->dir = mem_printf("%s/x/y", f->world);
    f->cache = cache_new(f->dir, &self, WHERE, DIGEST_XXH3_128, true);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cache_free(f->cache);
    char *command = mem_printf("rm -rf %s", f->world);
    int rc = system(command);
    free(command);
    free(f->dir);
    free(f->world);
    free(f);
    return rc;
}

static void again_for(struct fixture *f, const struct uuid *id, const char *where, enum digest_algo hash, bool write)
{
    cache_free(f->cache);
    f->cache = cache_new(f->dir, id, where, hash, write);
}

static void again(struct fixture *f, const struct uuid *id, const char *where, bool write)
{
    again_for(f, id, where, DIGEST_XXH3_128, write);
}

/* ---- entries: kind, path, and after an = a number that tells versions apart; after a ! damaged ---- */

static struct entry entry_of(char *path, const char *word)
{
    size_t n = strcspn(word + 1, "=!");
    const char *mark = strchr(word, '=');
    unsigned turn = mark ? (unsigned)atoi(mark + 1) : 1;
    memcpy(path, word + 1, n);
    path[n] = '\0';
    struct entry e = {.path = path, .path_len = n, .mode = 0755, .origin = {{7}}, .first_seen = 5};
    e.kind = word[0] == 'd' ? ENTRY_DIR : word[0] == 'g' ? ENTRY_GONE : ENTRY_FILE;
    if (e.kind == ENTRY_GONE)
        e.mode = 0;
    e.flags = strchr(word, '!') ? ENTRY_DAMAGED : strchr(word, '?') ? ENTRY_HIDDEN : 0;
    if (e.kind == ENTRY_FILE)
        e.size = 10;
    version_set(&e.version, &e.origin, turn);
    return e;
}

static struct manifest_totals totals_of(const char *words)
{
    static const struct manifest_head head = {.algo = DIGEST_XXH3_128};
    char *text = mem_strdup(words), path[256], *save = NULL;
    struct manifest_writer *w = manifest_writer_new(-1, &head);
    struct manifest_totals t;
    struct err err;
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        struct entry e = entry_of(path, word);
        assert_int_equal(manifest_writer_put(w, &e, &err), 0);
    }
    assert_int_equal(manifest_writer_end(w, &t, &err), 0);
    manifest_writer_free(w);
    free(text);
    return t;
}

static void record(struct cache *c, const char *words)
{
    char *text = mem_strdup(words), path[256], *save = NULL;
    cache_begin(c);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        struct entry e = entry_of(path, word);
        cache_put(c, &e);
    }
    free(text);
}

static void keep(struct cache *c, const char *words)
{
    struct manifest_totals t = totals_of(words);
    record(c, words);
    cache_keep(c, &t);
}

static bool finds(struct cache *c, const char *words)
{
    struct manifest_totals want = totals_of(words), got;
    return cache_find(c, &got) && got.entries == want.entries && digest_same(&got.shared, &want.shared);
}

static size_t files(const char *dir, char *first)
{
    DIR *d = opendir(dir);
    size_t n = 0;
    for (const struct dirent *at; d && (at = readdir(d));)
        if (at->d_name[0] != '.') {
            if (first)
                strcpy(first, at->d_name);
            n++;
        }
    if (d)
        closedir(d);
    return n;
}

/* ---- tests ---- */

static void found_as_kept(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    char name[256];
    struct stat st;
    assert_false(cache_find(f->cache, &t));
    assert_int_equal(files(f->world, NULL), 0); /* looking makes nothing */
    keep(f->cache, "da fa/b fc");
    again(f, &self, WHERE, true);
    assert_true(finds(f->cache, "da fa/b fc"));
    assert_null(cache_trouble(f->cache));
    assert_int_equal(files(f->dir, name), 1);
    assert_memory_equal(name, "01020300-0000-0000-0000-000000000000-", 37);
    assert_string_equal(name + 37 + 16, ".manifest");
    char *path = mem_printf("%s/%s", f->dir, name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    free(path);
    keep(f->cache, "");
    assert_true(finds(f->cache, ""));
}

static void kept_for_one_store_at_one_place(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    struct uuid other = {{1, 2, 4}};
    keep(f->cache, "fa");
    again(f, &other, WHERE, true);
    assert_false(cache_find(f->cache, &t));
    again(f, &self, "ssh://node2/srv/store", true);
    assert_false(cache_find(f->cache, &t));
    again(f, &self, WHERE, true);
    assert_true(cache_find(f->cache, &t));
}

static void other_totals_are_not_kept(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t = totals_of("fa fb=2");
    keep(f->cache, "fa");
    record(f->cache, "fa fb");
    cache_keep(f->cache, &t);
    assert_true(finds(f->cache, "fa"));
    record(f->cache, "fz"); /* never completed */
    assert_int_equal(files(f->dir, NULL), 2);
    assert_true(finds(f->cache, "fa"));
    assert_int_equal(files(f->dir, NULL), 1);
    assert_null(cache_trouble(f->cache));
}

static char *the_file(struct fixture *f)
{
    char name[256];
    assert_int_equal(files(f->dir, name), 1);
    return mem_printf("%s/%s", f->dir, name);
}

/* Any one byte that differs, and any end that is missing, and the file is gone. */
static void damage_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    struct stat st;
    keep(f->cache, "da fa/b fc");
    char *path = the_file(f);
    assert_int_equal(stat(path, &st), 0);
    for (off_t at = 0; at < st.st_size; at++)
        for (int cut = 0; cut < 2; cut++) {
            char byte;
            int fd = open(path, O_RDWR);
            assert_int_equal(pread(fd, &byte, 1, at), 1);
            byte ^= 4;
            if (cut)
                assert_int_equal(ftruncate(fd, at), 0);
            else
                assert_int_equal(pwrite(fd, &byte, 1, at), 1);
            close(fd);
            again(f, &self, WHERE, true);
            assert_false(cache_find(f->cache, &t));
            assert_int_equal(access(path, F_OK), -1);
            keep(f->cache, "da fa/b fc");
            assert_true(cache_find(f->cache, &t));
        }
    free(path);
}

static void what_is_no_copy_of_ours(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    char *victim = mem_printf("%s/victim", f->world);
    keep(f->cache, "fa");
    char *path = the_file(f);
    assert_int_equal(rename(path, victim), 0);
    assert_int_equal(symlink(victim, path), 0); /* B: a symlink to what would pass */
    assert_false(cache_find(f->cache, &t));
    assert_int_equal(access(victim, F_OK), 0);
    again(f, &self, WHERE, true);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(cache_find(f->cache, &t));
    again(f, &self, WHERE, true);
    char *temp = mem_printf("%s.new", path);
    assert_int_equal(symlink(victim, temp), 0);
    keep(f->cache, "fa fb");
    assert_true(finds(f->cache, "fa fb"));
    again(f, &(struct uuid){{9}}, WHERE, true);
    keep(f->cache, "fa fb");
    struct stat st;
    assert_int_equal(stat(victim, &st), 0);
    assert_true(st.st_size > 0);
    free(temp);
    free(victim);
    free(path);
}

static void anothers_manifest_under_the_name(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    keep(f->cache, "fa");
    char *mine = the_file(f);
    again(f, &(struct uuid){{9}}, WHERE, true);
    keep(f->cache, "fa");
    char *command = mem_printf("cd %s && cp 09* %s", f->dir, mine);
    assert_int_equal(system(command), 0);
    free(command);
    again(f, &self, WHERE, true);
    assert_false(cache_find(f->cache, &t));
    free(mine);
}

static void spoiled(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    keep(f->cache, "fa");
    again(f, &self, WHERE, false);
    assert_true(cache_find(f->cache, &t));
    cache_spoil(f->cache); /* may not remove it, so it must not look there again */
    assert_false(cache_find(f->cache, &t));
    again(f, &self, WHERE, true);
    assert_true(cache_find(f->cache, &t));
    cache_spoil(f->cache);
    assert_int_equal(files(f->dir, NULL), 0);
    keep(f->cache, "fb");
    assert_true(cache_find(f->cache, &t));
}

static void a_dry_run_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    again(f, &self, WHERE, false);
    keep(f->cache, "fa");
    assert_int_equal(files(f->world, NULL), 0);
    assert_false(cache_find(f->cache, &t));
    assert_null(cache_trouble(f->cache));
}

static void where_nothing_can_be_kept(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t;
    keep(f->cache, "fa");
    again(f, &self, WHERE, true);
    assert_int_equal(chmod(f->dir, 0777), 0);
    assert_false(cache_find(f->cache, &t));
    assert_non_null(strstr(cache_trouble(f->cache), "others"));
    keep(f->cache, "fb");
    assert_int_equal(chmod(f->dir, 0700), 0);
    again(f, &self, WHERE, true);
    assert_true(finds(f->cache, "fa"));

    char *command = mem_printf("rm -rf %s && touch %s", f->dir, f->dir);
    assert_int_equal(system(command), 0);
    free(command);
    again(f, &self, WHERE, true);
    assert_false(cache_find(f->cache, &t));
    keep(f->cache, "fa");
    assert_non_null(strstr(cache_trouble(f->cache), f->dir));
    assert_false(cache_find(f->cache, &t));
}

/* ---- after a commit ---- */

struct step {
    const char *word;
    enum plan_need need;
};

static struct plan *plan_of(const struct step *step, size_t n)
{
    struct plan *p = plan_new(2, "/tmp");
    struct verdict *v = mem_zalloc(sizeof *v);
    struct plan_step out;
    struct err err;
    for (size_t i = 0; i < n; i++) {
        char path[256];
        memset(v, 0, sizeof *v);
        v->winner = entry_of(path, step[i].word);
        v->present = 3;
        v->holders = 1;
        v->need[1] = (uint8_t)step[i].need;
        v->reason[1] = REASON_CHANGED;
        if (i % 2) /* and now and then something for the other member, which is none of ours */
            v->need[0] = NEED_META;
        v->had = 3;
        assert_int_equal(plan_add(p, v, 3, &(struct plan_how){0}, &out, &err), 0);
    }
    assert_int_equal(plan_end(p, &err), 0);
    free(v);
    return p;
}

static void advances(struct fixture *f, const char *kept, const struct step *step, size_t n, const char *recorded)
{
    struct manifest_totals t = totals_of(recorded);
    struct plan *plan = plan_of(step, n);
    keep(f->cache, kept);
    cache_advance(f->cache, plan, 1);
    cache_keep(f->cache, &t);
    again(f, &self, WHERE, true);
    if (!finds(f->cache, recorded))
        fail_msg("\"%s\" did not become \"%s\"", kept, recorded);
    plan_free(plan);
}

#define STEPS(...) (const struct step[]){__VA_ARGS__}, sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step)

static void advanced(void **state)
{
    struct fixture *f = *state;
    advances(f, "fa fb", STEPS({"fa=2", NEED_RECORD}), "fa=2 fb");
    advances(f, "fa fb", STEPS({"fb=2", NEED_CONTENT}), "fa fb=2");
    advances(f, "fb", STEPS({"fa", NEED_CONTENT}, {"fc", NEED_CONTENT}), "fa fb fc");
    advances(f, "", STEPS({"da", NEED_CONTENT}, {"fa/b", NEED_CONTENT}), "da fa/b");
    advances(f, "fa!", STEPS({"fa=2", NEED_RECORD}), "fa=2!"); /* flags stay where content does */
    advances(f, "fa!", STEPS({"fa=2", NEED_META}), "fa=2!");
    advances(f, "fa!", STEPS({"fa=2", NEED_CONTENT}), "fa=2");
    advances(f, "da fa/b fz", STEPS({"fa=2", NEED_CONTENT}), "fa=2 fz"); /* what lost its directory is gone */
    advances(f, "fa", STEPS({"fq/x", NEED_CONTENT}), "fa");
    advances(f, "da fa/b", STEPS({"fa/c", NEED_CONTENT}, {"fa.x", NEED_CONTENT}), "da fa/b fa/c fa.x");
    advances(f, "da fa/b fz", STEPS({"ga=2", NEED_RECORD}, {"ga/b=2", NEED_RECORD}), "ga=2 ga/b=2 fz");
    advances(f, "fa!", STEPS({"ga=2", NEED_RECORD}, {"gq/x", NEED_RECORD}), "ga=2 gq/x");
    advances(f, "ga ga/b gz", STEPS({"da=2", NEED_CONTENT}, {"fa/b=2", NEED_CONTENT}), "da=2 fa/b=2 gz");
}

static void not_advanced_to_something_else(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals t = totals_of("fa=3"), got;
    struct plan *plan = plan_of(STEPS({"fa=2", NEED_RECORD}));
    keep(f->cache, "fa");
    cache_advance(f->cache, plan, 1);
    cache_keep(f->cache, &t);
    assert_true(finds(f->cache, "fa"));
    assert_int_equal(files(f->dir, NULL), 1);
    again(f, &self, WHERE, false);
    assert_true(cache_find(f->cache, &got));
    t = totals_of("fa=2");
    cache_advance(f->cache, plan, 1);
    cache_keep(f->cache, &t);
    assert_true(finds(f->cache, "fa"));
    cache_spoil(f->cache);
    cache_advance(f->cache, plan, 1); /* of nothing */
    cache_keep(f->cache, &t);
    plan_free(plan);
}

static void the_usual_place(void **state)
{
    (void)state;
    static const struct { const char *given, *xdg, *home, *is; } at[] = {
        {"/g", "/x", "/h", "/g"},         {NULL, "/x", "/h", "/x/sos-sync"},
        {NULL, NULL, "/h", "/h/.cache/sos-sync"}, {NULL, "", "/h", "/h/.cache/sos-sync"},
        {NULL, "relative", "/h", "/h/.cache/sos-sync"}, {"rel", NULL, NULL, "rel"},
    };
    char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    xdg = xdg ? mem_strdup(xdg) : NULL;
    home = home ? mem_strdup(home) : NULL;
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        unsetenv("XDG_CACHE_HOME");
        unsetenv("HOME");
        if (at[i].xdg)
            setenv("XDG_CACHE_HOME", at[i].xdg, 1);
        if (at[i].home)
            setenv("HOME", at[i].home, 1);
        char *dir = cache_dir(at[i].given);
        assert_string_equal(dir, at[i].is);
        free(dir);
    }
    xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    free(xdg);
    free(home);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Of a group whose contents have another hash now it is of no use. */
static void of_another_hash(void **state)
{
    struct fixture *f = *state;
    struct manifest_totals got;
    keep(f->cache, "da fb");
    again_for(f, &self, WHERE, DIGEST_SHA256, false);
    assert_false(cache_find(f->cache, &got));
    again(f, &self, WHERE, true); /* who may not write has not thrown it away */
    assert_true(finds(f->cache, "da fb"));
    again_for(f, &self, WHERE, DIGEST_SHA256, true);
    assert_false(cache_find(f->cache, &got));
    keep(f->cache, "da fc");
    again_for(f, &self, WHERE, DIGEST_SHA256, true);
    assert_true(finds(f->cache, "da fc"));
    again(f, &self, WHERE, true);
    assert_false(cache_find(f->cache, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(found_as_kept), TEST(kept_for_one_store_at_one_place), TEST(other_totals_are_not_kept),
        TEST(damage_is_noticed), TEST(what_is_no_copy_of_ours), TEST(anothers_manifest_under_the_name),
        TEST(spoiled), TEST(of_another_hash), TEST(a_dry_run_writes_nothing), TEST(where_nothing_can_be_kept), TEST(advanced),
        TEST(not_advanced_to_something_else), cmocka_unit_test(the_usual_place),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
