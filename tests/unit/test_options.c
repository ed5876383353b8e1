#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 24

/* A command line in one string, cut at spaces; "''" is an empty word. argv lives as long as the struct. */
struct words {
    char text[512];
    char *argv[WORDS_MAX + 1];
    int argc;
};

static void cut(struct words *w, const char *line)
{
    snprintf(w->text, sizeof w->text, "sos-sync %s", line);
    w->argc = 0;
    for (char *p = strtok(w->text, " "); p; p = strtok(NULL, " ")) {
        assert_true(w->argc < WORDS_MAX);
        w->argv[w->argc++] = strcmp(p, "''") == 0 ? p + 2 : p;
    }
    w->argv[w->argc] = NULL;
}

static void good(struct words *w, struct options *o, const char *line)
{
    struct err e = {0};
    cut(w, line);
    int rc = options_parse(o, w->argc, w->argv, &e);
    if (rc < 0)
        fail_msg("%s: %s", line, e.msg);
}

static void flags(void **state)
{
    (void)state;
    struct words w;
    struct options o;
    good(&w, &o, "-nc --through A --stats B -v --no-cache");
    assert_true(o.dry_run && o.checksum && o.through && o.stats && o.verbose && o.no_cache);
    assert_false(o.quiet || o.help || o.version);
    assert_int_equal(o.operands, 2);
    assert_string_equal(o.operand[0], "A");
    assert_string_equal(o.operand[1], "B");
    assert_int_equal(o.timeout, -1);
    assert_int_equal(o.format, OPTIONS_TEXT);
    options_free(&o);

    good(&w, &o, "");
    assert_int_equal(o.operands, 0);
    assert_false(o.dry_run);
    options_free(&o);
}

static void of_an_agent(void **state)
{
    (void)state;
    struct words w;
    struct options o;
    struct err e;
    good(&w, &o, "agent --root /srv/a --read-only --no-delete --no-sandbox --state-dir /s");
    assert_string_equal(o.root, "/srv/a");
    assert_string_equal(o.state_dir, "/s");
    assert_true(o.read_only && o.no_delete && o.no_sandbox);
    assert_int_equal(options_fit(&o, OPTIONS_AGENT, "agent", &e), 0);
    assert_int_equal(options_fit(&o, OPTIONS_SYNC, "a sync", &e), ERR_USAGE);
    options_free(&o);
    good(&w, &o, "--no-sandbox A B");
    assert_int_equal(options_fit(&o, OPTIONS_SYNC, "a sync", &e), 0);
    assert_int_equal(options_fit(&o, OPTIONS_MANIFEST, "manifest", &e), ERR_USAGE);
    options_free(&o);
}

static void values(void **state)
{
    (void)state;
    struct words w;
    struct options o;
    good(&w, &o, "--config=a.conf --group 2 --group=x --adopt m1 --adopt m2 --state-dir /s --cache-dir /c --fsync always "
                 "--timeout 5m --threads 7 -z --color --format=mtree --no-progress");
    assert_string_equal(o.config, "a.conf");
    assert_string_equal(o.state_dir, "/s");
    assert_string_equal(o.cache_dir, "/c");
    assert_int_equal(o.group.n, 2);
    assert_string_equal(o.group.item[0], "2");
    assert_string_equal(o.group.item[1], "x");
    assert_int_equal(o.adopt.n, 2);
    assert_string_equal(o.adopt.item[1], "m2");
    assert_int_equal(o.fsync, SOS_FSYNC_ALWAYS);
    assert_int_equal(o.timeout, 300);
    assert_int_equal(o.threads, 7);
    assert_int_equal(o.compress, SOS_COMPRESS_ALWAYS);
    assert_int_equal(o.color, OPTIONS_COLOR_ALWAYS);
    assert_int_equal(o.format, OPTIONS_MTREE);
    assert_int_equal(o.progress, OPTIONS_PROGRESS_NO);
    options_free(&o);

    good(&w, &o, "-z --no-compress --color=never --color=auto --fsync=none --fsync=batch --timeout 0 --json --progress");
    assert_int_equal(o.color, OPTIONS_COLOR_AUTO);
    assert_int_equal(o.fsync, SOS_FSYNC_BATCH);
    assert_int_equal(o.timeout, 0);
    assert_int_equal(o.compress, SOS_COMPRESS_NEVER);
    assert_int_equal(o.format, OPTIONS_JSON);
    assert_int_equal(o.progress, OPTIONS_PROGRESS_YES);
    options_free(&o);
}

static void operands_after_dashes(void **state)
{
    (void)state;
    struct words w;
    struct options o;
    good(&w, &o, "-n A -- -v --json");
    assert_true(o.dry_run);
    assert_false(o.verbose);
    assert_int_equal(o.format, OPTIONS_TEXT);
    assert_int_equal(o.operands, 3);
    assert_string_equal(o.operand[1], "-v");
    options_free(&o);
}

/* Line, and words that its message must hold. */
static const struct { const char *line, *says[3]; } wrong[] = {
    {"--bogus", {"--bogus", "unknown"}},
    {"A -nX B", {"-X", "unknown"}},
    {"--in x", {"--in", "ambiguous"}},
    {"--config", {"--config", "FILE"}},
    {"--group", {"--group", "NAME"}},
    {"--json=yes", {"--json", "no value"}},
    {"--dry-run=1", {"--dry-run", "no value"}},
    {"--config ''", {"--config", "empty"}},
    {"--group ''", {"--group", "empty"}},
    {"--state-dir=", {"--state-dir", "empty"}},
    {"--fsync sometimes", {"--fsync", "sometimes", "batch, always, none"}},
    {"--fsync=", {"--fsync", "batch, always, none"}},
    {"--color=red", {"--color", "red", "auto, always, never"}},
    {"--format xml", {"--format", "xml", "text, json, mtree"}},
    {"--timeout soon", {"--timeout", "soon", "seconds"}},
    {"--timeout -1", {"--timeout", "-1", "seconds"}},
    {"--timeout 367d", {"--timeout", "367d", "366d"}},
    {"--timeout 99999999999999999999", {"--timeout", "99999999999999999999"}},
    {"--timeout s", {"--timeout", "seconds"}},
    {"--threads 1025", {"--threads", "1025", "1024"}},
    {"--threads 2x", {"--threads", "2x", "1024"}},
    {"--threads=", {"--threads", "1024"}},
    {"--exclude ''", {"--exclude"}},
    {"--exclude [a", {"--exclude", "[a"}},
    {"--include [", {"--include", "["}},
    {"--exclude-from /nonexistent/x", {"--exclude-from", "/nonexistent/x", "No such file"}},
    {"--include-from /", {"--include-from", "directory"}},
    {"-v -q", {"--verbose", "--quiet"}},
    {"-qv", {"--verbose", "--quiet"}},
    {"--rsh=", {"--rsh"}},
    {"--bwlimit 1X", {"--bwlimit", "1X", "KiB"}},
    {"--bwlimit -1", {"--bwlimit", "-1"}},
    {"--compress=9", {"--compress", "no value"}},
    {"--no-compress=1", {"--no-compress", "no value"}},
    {"--max-delete x", {"--max-delete", "\"x\"", "100%"}},
    {"--max-delete 101%", {"--max-delete", "101%"}},
    {"--max-delete=%", {"--max-delete", "%"}},
    {"--max-delete -1", {"--max-delete", "-1"}},
    {"--wait 60 a b", {"--wait=60", "./60"}},
    {"--policy=", {"--policy", "empty"}},
};

static void wrong_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct words w;
        struct options o;
        struct err e = {0};
        cut(&w, wrong[i].line);
        if (options_parse(&o, w.argc, w.argv, &e) >= 0)
            fail_msg("%s: taken", wrong[i].line);
        for (size_t k = 0; k < 3 && wrong[i].says[k]; k++)
            if (!strstr(e.msg, wrong[i].says[k]))
                fail_msg("%s: \"%s\" does not say \"%s\"", wrong[i].line, e.msg, wrong[i].says[k]);
        options_free(&o);
    }
}

static void errors_know_json(void **state)
{
    (void)state;
    static const struct { const char *line; int format; } table[] = {
        {"--bogus --json", OPTIONS_JSON},
        {"--json --bogus", OPTIONS_JSON},
        {"--bogus", OPTIONS_TEXT},
        {"--bogus -- --json", OPTIONS_TEXT},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct words w;
        struct options o;
        struct err e = {0};
        cut(&w, table[i].line);
        assert_true(options_parse(&o, w.argc, w.argv, &e) < 0);
        assert_int_equal(o.format, table[i].format);
        options_free(&o);
    }
}

static void no_words_at_all(void **state)
{
    (void)state;
    char *argv[] = {NULL};
    struct options o;
    struct err e = {0};
    assert_int_equal(options_parse(&o, 0, argv, &e), 0);
    assert_int_equal(o.operands, 0);
    options_free(&o);
}

static char *rules_file(const char *text, size_t n)
{
    const char *tmp = getenv("TMPDIR");
    char *name = mem_printf("%s/sos-options.XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(file_write(fd, text, n), 0);
    close(fd);
    return name;
}

static void rules_keep_their_order(void **state)
{
    (void)state;
    static const char text[] = "# comment\n; another\n\n*.tmp\r\n/cache/\n two spaces \nlast";
    static const struct sos_filter_rule want[] = {
        {true, "first"}, {false, "*.tmp"}, {false, "/cache/"}, {false, " two spaces "}, {false, "last"},
        {true, "then"}, {false, "end"},
    };
    char *name = rules_file(text, sizeof text - 1), line[256];
    struct words w;
    struct options o;
    snprintf(line, sizeof line, "--include first --exclude-from %s A --include=then --exclude end", name);
    good(&w, &o, line);
    assert_int_equal(o.rules, sizeof want / sizeof want[0]);
    for (size_t i = 0; i < o.rules; i++) {
        assert_int_equal(o.rule[i].include, want[i].include);
        assert_string_equal(o.rule[i].pattern, want[i].pattern);
    }
    assert_int_equal(filter_count(o.filter), o.rules);
    assert_true(filter_excludes(o.filter, "x/a.tmp", 7, false));
    assert_false(filter_excludes(o.filter, "x/first", 7, false));
    options_free(&o);
    unlink(name);
    free(name);
}

static void rules_from_standard_input(void **state)
{
    (void)state;
    int saved = dup(STDIN_FILENO), p[2];
    struct words w;
    struct options o;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(file_write(p[1], "a\nb\n", 4), 0);
    close(p[1]);
    dup2(p[0], STDIN_FILENO);
    close(p[0]);
    good(&w, &o, "--include-from -");
    assert_int_equal(o.rules, 2);
    assert_true(o.rule[1].include);
    assert_string_equal(o.rule[1].pattern, "b");
    options_free(&o);
    if (saved >= 0) {
        dup2(saved, STDIN_FILENO);
        close(saved);
    }
}

static void bad_rules_are_located(void **state)
{
    (void)state;
    static const struct { const char *text; size_t n; const char *says; } table[] = {
        {"ok\n# x\n[a\n", 10, "line 3"},
        {"a\0b\n", 4, "NUL"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char *name = rules_file(table[i].text, table[i].n), line[256];
        struct words w;
        struct options o;
        struct err e = {0};
        snprintf(line, sizeof line, "--exclude-from %s", name);
        cut(&w, line);
        assert_int_equal(options_parse(&o, w.argc, w.argv, &e), ERR_USAGE);
        assert_non_null(strstr(e.msg, name));
        assert_non_null(strstr(e.msg, table[i].says));
        options_free(&o);
        unlink(name);
        free(name);
    }
}

static void options_fit_their_command(void **state)
{
    (void)state;
    static const struct { const char *line; enum options_command command; const char *says; } table[] = {
        {"-n --group 2 --json --exclude x", OPTIONS_SYNC, NULL},
        {"-c --mtree --exclude x --state-dir d", OPTIONS_MANIFEST, NULL},
        {"--mtree", OPTIONS_SYNC, "--mtree"},
        {"--group 2", OPTIONS_MANIFEST, "--group"},
        {"-v", OPTIONS_AGENT, NULL},
        {"--json", OPTIONS_AGENT, "--json"},
        {"-n", OPTIONS_AGENT, "--dry-run"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct words w;
        struct options o;
        struct err e = {0};
        good(&w, &o, table[i].line);
        int rc = options_fit(&o, table[i].command, "this", &e);
        assert_int_equal(rc, table[i].says ? ERR_USAGE : 0);
        if (table[i].says)
            assert_non_null(strstr(e.msg, table[i].says));
        options_free(&o);
    }
}

static void help_is_narrow_and_whole(void **state)
{
    (void)state;
    struct output out;
    output_open(&out, -1);
    options_help(&out, OPTIONS_SYNC | OPTIONS_MANIFEST | OPTIONS_AGENT);
    buf_u8(&out.text, '\0');
    const char *text = (const char *)out.text.data;
    static const char *const named[] = {
        "-n, --dry-run", "--color[=WHEN]", "--exclude-from=FILE", "-V, --version"};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        assert_non_null(strstr(text, named[i]));
    assert_non_null(strstr(text, "--max-delete=N|N%"));
    assert_null(strstr(text, "--recursive")); /* of rm alone */
    for (const char *p = text; *p; p += strcspn(p, "\n") + 1)
        assert_true(strcspn(p, "\n") <= 80);
    out.text.len = 0;
    output_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags),
        cmocka_unit_test(of_an_agent), cmocka_unit_test(values),
        cmocka_unit_test(operands_after_dashes),
        cmocka_unit_test(wrong_lines),
        cmocka_unit_test(errors_know_json),
        cmocka_unit_test(no_words_at_all),
        cmocka_unit_test(rules_keep_their_order),
        cmocka_unit_test(rules_from_standard_input),
        cmocka_unit_test(bad_rules_are_located),
        cmocka_unit_test(options_fit_their_command),
        cmocka_unit_test(help_is_narrow_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
