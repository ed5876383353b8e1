#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/report_json.h"
#include "cli/report_text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOSTILE "a\033[2J\n\r\x9b" "b\\c\x7f"
#define HOSTILE_SHOWN "a\\x1b[2J\\x0a\\x0d\\x9b" "b\\x5cc\\x7f"

/* ---- a report whose output is kept in memory ---- */

struct fixture {
    struct options options;
    struct output out;
    struct reporter report;
};

static struct fixture *made(bool json)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    output_open(&f->out, -1); /* nothing is written unless flushed */
    if (json)
        report_json_init(&f->report, &f->out, &f->options);
    else
        report_text_init(&f->report, &f->out, &f->options, false);
    return f;
}

static void gone(struct fixture *f)
{
    f->out.text.len = 0;
    output_close(&f->out);
    reporter_free(&f->report);
    free(f);
}

static const char *tmp_dir(void)
{
    const char *dir = getenv("TMPDIR");
    return dir ? dir : "/tmp";
}

/* A file that standard output or error is turned to for a while. */
struct capture {
    int fd, saved, target;
};

static struct capture capture(int target)
{
    struct capture c = {file_unnamed(tmp_dir()), dup(target), target};
    assert_true(c.fd >= 0 && c.saved >= 0);
    dup2(c.fd, target);
    return c;
}

static char *captured(struct capture *c)
{
    char *text = mem_zalloc(65536);
    dup2(c->saved, c->target);
    close(c->saved);
    assert_true(file_pread(c->fd, text, 65535, 0) >= 0);
    close(c->fd);
    return text;
}

/* What the report has put into its buffer since the last call. */
static char *taken(struct fixture *f)
{
    buf_u8(&f->out.text, '\0');
    char *text = mem_strdup((const char *)f->out.text.data);
    f->out.text.len = 0;
    return text;
}

static json_t *parsed(const char *line)
{
    json_error_t why;
    json_t *v = json_loads(line, JSON_REJECT_DUPLICATES, &why);
    if (!v)
        fail_msg("%s: %s", line, why.text);
    return v;
}

static void has_keys(const json_t *line, const char *const *key, size_t n)
{
    void *at = json_object_iter((json_t *)line);
    for (size_t i = 0; i < n; i++) {
        assert_non_null(at);
        assert_string_equal(json_object_iter_key(at), key[i]);
        at = json_object_iter_next((json_t *)line, at);
    }
    assert_null(at);
}

static const char *text_at(const json_t *line, const char *key)
{
    const char *s = json_string_value(json_object_get(line, key));
    assert_non_null(s);
    return s;
}

/* ---- JSON: actions ---- */

static json_t *action_line(struct fixture *f, const struct sos_action *a)
{
    f->report.ops->action(&f->report, a);
    char *text = taken(f);
    assert_non_null(strchr(text, '\n'));
    assert_string_equal(strchr(text, '\n'), "\n"); /* one line */
    json_t *line = parsed(text);
    free(text);
    return line;
}

static void json_action(void **state)
{
    (void)state;
    static const char *const keys[] = {"event", "group", "action", "path", "from", "to", "bytes", "reason"};
    struct fixture *f = made(true);
    struct sos_action a = {.group = "2", .action = "copy", .path = "a/\xc3\xa4 \"b\"\n", .from = "node1", .to = "node2", .bytes = 123, .reason = "new"};
    json_t *line = action_line(f, &a);
    has_keys(line, keys, 8);
    assert_string_equal(text_at(line, "event"), "action");
    assert_string_equal(text_at(line, "group"), "2");
    assert_string_equal(text_at(line, "action"), "copy");
    assert_string_equal(text_at(line, "path"), a.path);
    assert_string_equal(text_at(line, "from"), "node1");
    assert_string_equal(text_at(line, "to"), "node2");
    assert_int_equal(json_integer_value(json_object_get(line, "bytes")), 123);
    assert_string_equal(text_at(line, "reason"), "new");
    json_decref(line);

    a.from = NULL;
    a.bytes = UINT64_MAX;
    line = action_line(f, &a);
    has_keys(line, keys, 8);
    assert_true(json_is_null(json_object_get(line, "from")));
    assert_true(json_integer_value(json_object_get(line, "bytes")) == INT64_MAX);
    json_decref(line);
    gone(f);
}

static void json_paths_that_are_not_utf8(void **state)
{
    (void)state;
    static const struct { const char *path, *base64; } table[] = {
        {"\xff", "/w=="}, {"a\xff", "Yf8="}, {"a\xff" "b", "Yf9i"}, {"a\xff" "bc", "Yf9iYw=="},
        {"\xc3", "ww=="}, {"\xed\xa0\x80", "7aCA"}, {"\xc0\xaf", "wK8="}, {"x\x9b" "31m", "eJszMW0="},
    };
    static const char *const keys[] = {
        "event", "group", "action", "path_b64", "from", "to", "bytes", "reason"};
    struct fixture *f = made(true);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct sos_action a = {.group = "2", .action = "copy", .path = table[i].path, .from = "n1", .to = "n2", .bytes = 0, .reason = "new"};
        json_t *line = action_line(f, &a);
        has_keys(line, keys, 8);
        assert_string_equal(text_at(line, "path_b64"), table[i].base64);
        json_decref(line);
    }
    gone(f);
}

static void json_names_that_are_not_utf8(void **state)
{
    (void)state;
    struct fixture *f = made(true);
    struct sos_action a = {.group = "g\xff", .action = "copy", .path = "p", .from = HOSTILE, .to = "n2", .bytes = 0, .reason = "new"};
    json_t *line = action_line(f, &a);
    assert_string_equal(text_at(line, "group"), "g\\xff");
    assert_string_equal(text_at(line, "from"), HOSTILE_SHOWN);
    json_decref(line);
    gone(f);
}

/* What a terminal acts upon does not stand in a line as it is, and yet comes back when it is parsed. */
static void json_controls_are_escaped(void **state)
{
    (void)state;
    static const char *const paths[] = {"a\xc2\x9bzm", "\xc2\x80\xc3\xa4", "e\033[2Jx", "ends \xc2\x9f"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct fixture *f = made(true);
        struct sos_action a = {.group = "2", .action = "copy", .path = paths[i], .from = "n1", .to = "n2", .bytes = 0, .reason = "new"};
        f->report.ops->action(&f->report, &a);
        char *text = taken(f);
        for (const char *p = text; *p; p++) {
            assert_true(*p == '\n' || (unsigned char)*p >= 0x20);
            assert_false((unsigned char)p[0] == 0xc2 && (unsigned char)p[1] < 0xa0);
        }
        json_t *line = parsed(text);
        assert_string_equal(text_at(line, "path"), paths[i]);
        json_decref(line);
        free(text);
        gone(f);
    }
}

static void json_long_path(void **state)
{
    (void)state;
    static char path[4096];
    struct fixture *f = made(true);
    struct sos_action a = {.group = "2", .action = "copy", .path = path, .from = "n1", .to = "n2", .bytes = 0, .reason = "new"};
    memset(path, 'x', sizeof path - 1);
    json_t *line = action_line(f, &a);
    assert_string_equal(text_at(line, "path"), path);
    json_decref(line);
    memset(path, 0xff, sizeof path - 1);
    line = action_line(f, &a);
    assert_int_equal(strlen(text_at(line, "path_b64")), 4095 / 3 * 4);
    json_decref(line);
    gone(f);
}

static void json_quiet(void **state)
{
    (void)state;
    struct fixture *f = made(true);
    struct sos_action a = {.group = "2", .action = "copy", .path = "p", .from = "n1", .to = "n2", .bytes = 0, .reason = "new"};
    struct sos_trouble note = {"2", "n1", NULL, "fine", false};
    f->options.quiet = true;
    f->report.ops->action(&f->report, &a);
    f->report.ops->trouble(&f->report, &note);
    assert_int_equal(f->out.text.len, 0);
    gone(f);
}

/* ---- JSON: the rest ---- */

/* Trouble and summaries are flushed, so they are read from where the output goes. */
static json_t *flushed_line(struct fixture *f, const struct sos_trouble *t, const struct sos_summary *s,
                            char **log)
{
    struct capture err = capture(STDERR_FILENO);
    f->out.fd = file_unnamed(tmp_dir());
    if (t)
        f->report.ops->trouble(&f->report, t);
    else
        f->report.ops->summary(&f->report, s);
    char text[4096] = "";
    assert_true(file_pread(f->out.fd, text, sizeof text - 1, 0) > 0);
    close(f->out.fd);
    *log = captured(&err);
    return parsed(text);
}

static void json_trouble(void **state)
{
    (void)state;
    static const struct {
        struct sos_trouble t;
        const char *keys[6];
        size_t n;
        const char *log;
    } table[] = {
        {{"2", "node1", "a/b", "no", true}, {"event", "group", "member", "path", "message"}, 5,
         "sos-sync: group 2: node1: a/b: no\n"},
        {{"2", "node1", NULL, "no", true}, {"event", "group", "member", "message"}, 4,
         "sos-sync: group 2: node1: no\n"},
        {{"2", NULL, "\xff", "no", true}, {"event", "group", "path_b64", "message"}, 4,
         "sos-sync: group 2: \\xff: no\n"},
        {{NULL, NULL, NULL, "no", true}, {"event", "message"}, 2, "sos-sync: no\n"},
        {{"2", NULL, NULL, "well", false}, {"event", "group", "message"}, 3, ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct fixture *f = made(true);
        char *log;
        json_t *line = flushed_line(f, &table[i].t, NULL, &log);
        has_keys(line, table[i].keys, table[i].n);
        assert_string_equal(text_at(line, "event"), table[i].t.error ? "error" : "note");
        assert_string_equal(text_at(line, "message"), table[i].t.message);
        assert_string_equal(log, table[i].log);
        free(log);
        json_decref(line);
        gone(f);
    }
}

static const struct sos_summary full = {
    .group = "2", .members = 3, .unreachable = 1, .objects = 100, .copied = 12, .updated = 1, .adopted = 2,
    .pruned = 4, .deleted = 5, .conflicts = 6, .under_replicated = 7, .over_replicated = 3, .damaged = 10, .healed = 9, .failed = 8,
    .literal_bytes = 3565158,
    .wire_bytes = 10, .seconds = 1.2344999, .dry_run = true, .status = SOS_PARTIAL,
};

static void json_summary(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "event", "group", "members", "unreachable", "objects", "copied", "updated", "adopted", "pruned",
        "deleted", "conflicts", "under_replicated", "over_replicated", "damaged", "healed", "failed", "literal_bytes", "wire_bytes", "seconds",
        "dry_run", "status"};
    static const struct { const char *key; json_int_t v; } want[] = {
        {"members", 3}, {"unreachable", 1}, {"objects", 100}, {"copied", 12}, {"updated", 1}, {"adopted", 2},
        {"pruned", 4}, {"deleted", 5}, {"conflicts", 6}, {"under_replicated", 7}, {"over_replicated", 3}, {"damaged", 10}, {"healed", 9}, {"failed", 8},
        {"literal_bytes", 3565158}, {"wire_bytes", 10}, {"status", 3},
    };
    struct fixture *f = made(true);
    char *log;
    json_t *line = flushed_line(f, NULL, &full, &log);
    has_keys(line, keys, sizeof keys / sizeof keys[0]);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_true(json_integer_value(json_object_get(line, want[i].key)) == want[i].v);
    assert_true(json_is_true(json_object_get(line, "dry_run")));
    char *seconds = json_dumps(json_object_get(line, "seconds"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    assert_string_equal(seconds, "1.234");
    free(seconds);
    free(log);
    json_decref(line);
    gone(f);
}

static struct entry sample(const char *path)
{
    struct entry e = {
        .path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0640, .size = 5,
        .mtime = {981173106, 7}, .digest = {.b = {0xab, 0xcd}}, .origin = {{1}}, .first_seen = 44,
    };
    struct uuid other = {{2}};
    version_set(&e.version, &e.origin, 3);
    version_set(&e.version, &other, 1);
    return e;
}

static json_t *object_line(struct fixture *f, const struct entry *e)
{
    f->report.ops->object(&f->report, e);
    char *text = taken(f);
    json_t *line = parsed(text);
    free(text);
    return line;
}

static void json_object_lines(void **state)
{
    (void)state;
    static const char *const keys[] = {"event", "path", "kind", "mode", "size", "mtime", "digest", "hash", "version",
                                       "origin", "first_seen", "flags"};
    struct fixture *f = made(true);
    struct entry e = sample("a/b");
    json_t *line = object_line(f, &e);
    has_keys(line, keys, 11);
    assert_string_equal(text_at(line, "event"), "object");
    assert_string_equal(text_at(line, "hash"), "xxh3");
    assert_string_equal(text_at(line, "kind"), "file");
    assert_string_equal(text_at(line, "mode"), "0640");
    assert_string_equal(text_at(line, "mtime"), "981173106.000000007");
    assert_string_equal(text_at(line, "digest"), "abcd0000000000000000000000000000");
    assert_string_equal(text_at(line, "origin"), "01000000-0000-0000-0000-000000000000");
    const json_t *version = json_object_get(line, "version");
    assert_int_equal(json_object_size(version), 2);
    assert_int_equal(json_integer_value(json_object_get(version, "01000000-0000-0000-0000-000000000000")), 3);
    json_decref(line);

    e.flags = ENTRY_DAMAGED | ENTRY_UNKNOWN;
    e.digest.algo = DIGEST_SHA256;
    line = object_line(f, &e);
    has_keys(line, keys, 12);
    assert_string_equal(text_at(line, "hash"), "sha256");
    assert_int_equal(strlen(text_at(line, "digest")), 64);
    assert_string_equal(json_string_value(json_array_get(json_object_get(line, "flags"), 0)), "damaged");
    assert_string_equal(json_string_value(json_array_get(json_object_get(line, "flags"), 1)), "unknown");
    json_decref(line);

    e = sample("d");
    e.kind = ENTRY_DIR;
    line = object_line(f, &e);
    assert_true(json_is_null(json_object_get(line, "mtime")));
    assert_true(json_is_null(json_object_get(line, "digest")));
    assert_true(json_is_null(json_object_get(line, "hash")));
    json_decref(line);
    gone(f);
}

static void json_times_are_numbers(void **state)
{
    (void)state;
    static const struct { struct stamp t; const char *text; } table[] = {
        {{0, 0}, "0.000000000"}, {{0, 999999999}, "0.999999999"}, {{-1, 750000000}, "-0.250000000"},
        {{-1, 0}, "-1.000000000"}, {{-3, 1}, "-2.999999999"},
        {{(int64_t)1 << 55, 1}, "36028797018963968.000000001"},
    };
    struct fixture *f = made(true);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct entry e = sample("x");
        e.mtime = table[i].t;
        json_t *line = object_line(f, &e);
        assert_string_equal(text_at(line, "mtime"), table[i].text);
        json_decref(line);
    }
    gone(f);
}

/* ---- text ---- */

static const char *const three[] = {"node1", "node2", "n3"};

static void text_items(void **state)
{
    (void)state;
    static const struct sos_action actions[] = {
        {.group = "2", .action = "mkdir", .path = "a", .from = NULL, .to = "node2", .bytes = 0, .reason = "new"},
        {.group = "2", .action = "copy", .path = "a/" HOSTILE, .from = "n3", .to = "node2", .bytes = 2048, .reason = "new"},
    };
    static const char want[] =
        "group 2: node1, node2, n3\n"
        "mkdir           -> node2         0 B  new           a/\n"
        "copy      n3    -> node2     2.0 KiB  new           a/" HOSTILE_SHOWN "\n";
    struct fixture *f = made(false);
    f->options.verbose = true;
    f->report.ops->begin(&f->report, "2", three, 3);
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        f->report.ops->action(&f->report, &actions[i]);
    char *text = taken(f);
    assert_string_equal(text, want);
    free(text);
    gone(f);
}

static void text_items_where_asked_for(void **state)
{
    (void)state;
    static const struct { bool verbose, dry_run, quiet, item, sentence; } table[] = {
        {false, false, false, false, true}, {true, false, false, true, true},
        {false, true, false, true, true},
        {false, true, true, false, false},  {false, false, true, false, false},
    };
    struct sos_action a = {.group = "2", .action = "conflict", .path = "p\n", .from = "node1", .to = "node2", .bytes = 0, .reason = "conflict"};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct fixture *f = made(false);
        f->options.verbose = table[i].verbose;
        f->options.dry_run = table[i].dry_run;
        f->options.quiet = table[i].quiet;
        f->report.ops->begin(&f->report, "2", three, 3);
        f->report.ops->action(&f->report, &a);
        char *text = taken(f);
        assert_int_equal(strstr(text, "node1 -> node2") != NULL, table[i].item);
        assert_int_equal(strstr(text, "group 2: conflict: p\\x0a: node2") != NULL, table[i].sentence);
        assert_int_equal(strstr(text, "trash of node2") != NULL, table[i].sentence);
        if (table[i].sentence)
            assert_int_equal(strstr(text, "would") != NULL, table[i].dry_run);
        free(text);
        gone(f);
    }
}

static char *summary_text(struct fixture *f, const struct sos_summary *s)
{
    char *text = mem_zalloc(4096);
    f->out.fd = file_unnamed(tmp_dir());
    f->report.ops->summary(&f->report, s);
    assert_true(file_pread(f->out.fd, text, 4095, 0) >= 0);
    close(f->out.fd);
    return text;
}

static void text_summaries(void **state)
{
    (void)state;
    static const struct { struct sos_summary s; uint64_t actions; const char *want; } table[] = {
        {{.group = "2", .members = 3, .objects = 100000, .seconds = 0.42}, 0,
         "group 2: in step, 3 members, 100000 objects, nothing to do (0.42 s)\n"},
        {{.group = "2", .members = 3, .objects = 100000, .seconds = 0.42, .dry_run = true}, 0,
         "group 2: dry run, in step, 3 members, 100000 objects, nothing to do (0.42 s)\n"},
        {{.group = "2", .members = 3, .objects = 100000, .copied = 12, .updated = 1, .conflicts = 1,
          .literal_bytes = 3565158, .seconds = 1.2}, 14,
         "group 2: 3 members, 100000 objects: 12 copied, 1 updated, 1 conflict, 3.4 MiB in 1.2 s\n"},
        {{.group = "2", .members = 3, .objects = 7, .copied = 12, .adopted = 2, .conflicts = 2,
          .literal_bytes = 3565158, .seconds = 1.2, .dry_run = true}, 16,
         "group 2: dry run, 3 members, 7 objects: would copy 12, adopt 2, settle 2 conflicts, "
         "moving 3.4 MiB (1.2 s)\n"},
        {{.group = "2", .members = 2, .objects = 0, .seconds = 0.01}, 3,
         "group 2: 2 members, 0 objects: 3 directories in 0.01 s\n"},
        {{.group = "2", .members = 2, .objects = 1, .seconds = 0.01, .dry_run = true}, 1,
         "group 2: dry run, 2 members, 1 object: would make or change 1 directory (0.01 s)\n"},
        {{.group = "2", .members = 3, .unreachable = 1, .objects = 5, .copied = 2, .failed = 3,
          .under_replicated = 4, .seconds = 2, .status = SOS_PARTIAL}, 2,
         "group 2: done in part, 3 members (1 unreachable), 5 objects: 2 copied, 3 failed, "
         "4 with too few copies in 2.0 s\n"},
        {{.group = "g\033\xff", .members = 2, .seconds = 0, .status = SOS_LOCKED}, 0,
         "group g\\x1b\\xff: locked by another run, 2 members, 0 objects, nothing done (0.00 s)\n"},
        {{.group = "2", .members = 1, .objects = 1, .status = SOS_GUARD, .dry_run = true}, 0,
         "group 2: dry run, held back by a guard, 1 member, 1 object, would do nothing (0.00 s)\n"},
        {{.group = "2", .status = (enum sos_status)77}, 0,
         "group 2: failed, 0 members, 0 objects, nothing done (0.00 s)\n"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct fixture *f = made(false);
        f->options.dry_run = table[i].s.dry_run;
        f->report.actions = table[i].actions;
        char *text = summary_text(f, &table[i].s);
        assert_string_equal(text, table[i].want);
        free(text);
        gone(f);
    }
}

static void text_quiet_summary(void **state)
{
    (void)state;
    struct fixture *f = made(false);
    struct sos_summary s = {.group = "2", .members = 2};
    f->options.quiet = true;
    char *text = summary_text(f, &s);
    assert_string_equal(text, "");
    free(text);
    s.status = SOS_FAILED;
    text = summary_text(f, &s);
    assert_non_null(strstr(text, "failed"));
    free(text);
    gone(f);
}

static void text_stats(void **state)
{
    (void)state;
    struct fixture *f = made(false);
    f->options.stats = true;
    char *text = summary_text(f, &full);
    assert_non_null(strstr(text, "  content to move: 3.4 MiB (3565158 bytes)\n"));
    assert_non_null(strstr(text, "  on the links: 10 B (10 bytes)\n"));
    assert_non_null(strstr(text, "failed 8, with too few copies 7, members unreachable 1\n"));
    free(text);
    gone(f);
}

static void text_trouble(void **state)
{
    (void)state;
    static const struct { struct sos_trouble t; enum log_level level; const char *want; } table[] = {
        {{"2", "node1", "a/" HOSTILE, "no \033", true}, LOG_NORMAL,
         "sos-sync: group 2: node1: a/" HOSTILE_SHOWN ": no \\x1b\n"},
        {{"2", "node1", NULL, "unreachable", true}, LOG_QUIET, "sos-sync: group 2: node1: unreachable\n"},
        {{"2", NULL, NULL, "so", false}, LOG_NORMAL, "sos-sync: group 2: so\n"},
        {{"2", NULL, NULL, "so", false}, LOG_QUIET, ""},
        {{NULL, NULL, "p", "so %s%n", true}, LOG_NORMAL, "sos-sync: p: so %s%n\n"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct fixture *f = made(false);
        struct capture err = capture(STDERR_FILENO);
        log_setup("sos-sync", table[i].level);
        f->report.ops->trouble(&f->report, &table[i].t);
        log_setup("sos-sync", LOG_NORMAL);
        char *text = captured(&err);
        assert_string_equal(text, table[i].want);
        assert_int_equal(f->out.text.len, 0);
        free(text);
        gone(f);
    }
}

static void text_objects(void **state)
{
    (void)state;
    struct fixture *f = made(false);
    struct entry e = sample("a/" HOSTILE);
    f->report.ops->object(&f->report, &e);
    char *text = taken(f);
    assert_string_equal(text, "f 0640              5 2001-02-03T04:05:06.000000007Z "
                              "abcd0000000000000000000000000000 a/" HOSTILE_SHOWN "\n");
    free(text);
    gone(f);
}

/* ---- explaining ---- */

static void text_explanations(void **state)
{
    (void)state;
    static const char *const lists[] = {"node1", HOSTILE, "a-member-with-a-name-that-is-long"};
    static const struct sos_explained_member members[] = {
        {.name = "node1", .has = true, .should = true, .why = "the original"},
        {.name = "n2", .has = true, .outdated = true, .should = true, .why = "next in line"},
        {.name = HOSTILE, .damaged = true, .why = "blocked"},
    };
    struct sos_explanation x = {
        .group = "2", .path = "a/" HOSTILE, .allowed = true, .replicas = 2, .copies = 1, .wanted = 3,
        .preferred = lists, .preferreds = 1, .source = {NULL, "p:2, in the section of line 1", "p:3, in the section of line 1", NULL},
        .member = members, .members = 3,
    };
    struct fixture *f = made(false);
    f->report.ops->begin(&f->report, "2", three, 3);
    f->report.ops->explain(&f->report, &x);
    char *text = taken(f);
    assert_string_equal(text,
        "group 2: copies 1/3: a/" HOSTILE_SHOWN "\n"
        "  replication: allowed            by default\n"
        "  replicas: 2                     p:2, in the section of line 1\n"
        "  preferred: node1                p:3, in the section of line 1\n"
        "  blocked: nobody                 by default\n"
        "  node1  has it    should have it   the original\n"
        "  n2     outdated  should have it   next in line\n"
        "  " HOSTILE_SHOWN "  damaged   should not       blocked\n");
    free(text);
    x.preferreds = 0;
    x.blocked = lists;
    x.blockeds = 3;
    f->report.ops->explain(&f->report, &x);
    text = taken(f);
    assert_non_null(strstr(text, "  preferred: nobody               p:3, "));
    assert_non_null(strstr(text, "  blocked: node1 " HOSTILE_SHOWN " a-member-with-a-name-that-is-long  by default\n"));
    free(text);
    gone(f);
}

/* ---- status ---- */

static const struct sos_member a_member = {
    .group = "2", .member = "node1", .state = SOS_MEMBER_OK, .objects = 10, .bytes = 2048, .free_bytes = 3072, .damaged = 1,
    .verified = 981173106, .last_run = 981173107, .copies = {12, 9, 1, 2},
};
static const struct sos_standing a_standing = {
    .group = "2", .members = 3, .unreachable = 1, .objects = 20, .bytes = 4096, .copies = {60, 50, 4, 1},
    .under_replicated = 5, .over_replicated = 3, .damaged = 1, .verified = 981173106, .last_run = 981173107,
};

static json_t *told(struct fixture *f, const struct sos_member *m, const struct sos_standing *s)
{
    if (m)
        f->report.ops->member(&f->report, m);
    if (s)
        f->report.ops->standing(&f->report, s);
    char *text = taken(f);
    json_t *line = parsed(text);
    free(text);
    return line;
}

static void json_status(void **state)
{
    (void)state;
    static const char *const of_member[] = {
        "event", "group", "member", "state", "objects", "bytes", "free", "damaged", "verified", "last_run", "copies_wanted",
        "copies_there", "copies_surplus", "blocked_originals"};
    static const char *const of_away[] = {
        "event", "group", "member", "state", "copies_wanted", "copies_there", "copies_surplus", "blocked_originals"};
    static const char *const of_group[] = {
        "event", "group", "members", "unreachable", "objects", "bytes", "copies_wanted", "copies_there", "copies_surplus",
        "blocked_originals", "under_replicated", "over_replicated", "damaged", "verified", "last_run"};
    struct fixture *f = made(true);
    struct sos_member away = {.group = "2", .member = "node2", .state = SOS_MEMBER_UNREACHABLE, .copies = {4, 4, 0, 0}};
    json_t *line = told(f, &a_member, NULL);
    has_keys(line, of_member, sizeof of_member / sizeof of_member[0]);
    assert_int_equal(json_integer_value(json_object_get(line, "copies_there")), 9);
    json_decref(line);
    line = told(f, &away, NULL);
    has_keys(line, of_away, sizeof of_away / sizeof of_away[0]);
    json_decref(line);
    line = told(f, NULL, &a_standing);
    has_keys(line, of_group, sizeof of_group / sizeof of_group[0]);
    assert_string_equal(text_at(line, "event"), "status");
    assert_int_equal(json_integer_value(json_object_get(line, "copies_wanted")), 60);
    assert_int_equal(json_integer_value(json_object_get(line, "over_replicated")), 3);
    json_decref(line);
    gone(f);
}

static void text_status(void **state)
{
    (void)state;
    struct fixture *f = made(false);
    struct sos_member away = {.group = "2", .member = "node2", .state = SOS_MEMBER_UNREACHABLE, .copies = {4, 4, 0, 0}};
    struct sos_member fresh = {.group = "2", .member = HOSTILE, .state = SOS_MEMBER_NEW};
    f->report.ops->member(&f->report, &a_member);
    f->report.ops->member(&f->report, &away);
    f->report.ops->member(&f->report, &fresh);
    f->report.ops->standing(&f->report, &a_standing);
    f->report.ops->standing(&f->report, &(struct sos_standing){.group = "3", .members = 1});
    char *text = taken(f);
    assert_string_equal(text,
        "group 2: node1: 10 objects, 2.0 KiB, 3.0 KiB free, copies 9/12 and 1 not wanted, 2 originals though it is blocked, 1 damaged, "
        "all verified since 2001-02-03T04:05:06, last run 2001-02-03T04:05:07\n"
        "group 2: node2: unreachable, copies 4/4\n"
        "group 2: " HOSTILE_SHOWN ": has not been in a run yet\n"
        "group 2: 3 members (1 unreachable), 20 objects, 4.0 KiB, copies 50/60 and 4 not wanted, 1 original on a blocked member, "
        "5 with too few copies, 3 with copies not wanted, 1 damaged, "
        "all verified since 2001-02-03T04:05:06, last run 2001-02-03T04:05:07\n"
        "group 3: 1 member, 0 objects, 0 B, copies 0/0\n");
    free(text);
    gone(f);
}

static void text_times(void **state)
{
    (void)state;
    static const struct { struct stamp t; const char *text; } table[] = {
        {{0, 0}, "1970-01-01T00:00:00.000000000Z"},
        {{-1, 750000000}, "1969-12-31T23:59:59.750000000Z"},
        {{951782400, 1}, "2000-02-29T00:00:00.000000001Z"},
        {{INT64_MAX, 1}, "@9223372036854775807.000000001"},
    };
    char out[64];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_string_equal(report_text_time(out, table[i].t), table[i].text);
}

/* ---- the output under it ---- */

static void output_remembers_a_failure(void **state)
{
    (void)state;
    struct output out;
    int fd = open("/dev/full", O_WRONLY);
    if (fd < 0)
        skip();
    output_open(&out, fd);
    output_str(&out, "text");
    assert_int_equal(out.error, 0);
    output_flush(&out);
    assert_int_equal(out.error, ENOSPC);
    out.fd = -1; /* were it written to again, this would be another error */
    output_str(&out, "more");
    assert_int_equal(output_close(&out), ENOSPC);
    close(fd);
}

static void output_of_any_length(void **state)
{
    (void)state;
    struct output out;
    char *wide = mem_printf("%70000s", "x"), *got = mem_zalloc(1 << 20);
    output_open(&out, file_unnamed(tmp_dir()));
    size_t want = 0;
    for (size_t n = 0; n < 600; n++, want += n)
        output_printf(&out, "%*s", (int)n, "");
    want -= 600;
    output_printf(&out, "%s", wide);
    for (int i = 0; i < 4; i++) {
        output_str(&out, wide);
        output_line(&out);
    }
    assert_true(out.text.len < 300000); /* what is full is written before the end */
    output_flush(&out);
    assert_int_equal(file_pread(out.fd, got, 1 << 20, 0), want + 5 * 70000 + 4);
    close(out.fd);
    assert_int_equal(output_close(&out), 0);
    free(got);
    free(wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_action),
        cmocka_unit_test(json_paths_that_are_not_utf8),
        cmocka_unit_test(json_names_that_are_not_utf8),
        cmocka_unit_test(json_controls_are_escaped),
        cmocka_unit_test(json_long_path),
        cmocka_unit_test(json_quiet),
        cmocka_unit_test(json_trouble),
        cmocka_unit_test(json_summary),
        cmocka_unit_test(json_object_lines),
        cmocka_unit_test(json_times_are_numbers),
        cmocka_unit_test(text_items),
        cmocka_unit_test(text_items_where_asked_for),
        cmocka_unit_test(text_summaries),
        cmocka_unit_test(text_quiet_summary),
        cmocka_unit_test(text_stats),
        cmocka_unit_test(text_trouble),
        cmocka_unit_test(text_objects),
        cmocka_unit_test(text_explanations),
        cmocka_unit_test(json_status),
        cmocka_unit_test(text_status),
        cmocka_unit_test(text_times),
        cmocka_unit_test(output_remembers_a_failure),
        cmocka_unit_test(output_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
