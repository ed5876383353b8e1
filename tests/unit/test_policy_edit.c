#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "group/policy_edit.h"
#include "group/policy_write.h"
#include "group/policy_xml.h"

#define NOW 1800000000 /* in 2027 */

static void edits(const char *group, const char *pattern, enum policy_word word, const char *value, const char *text, const char *want)
{
    struct policy_target t = {group, pattern};
    struct policy_change c = {word, value};
    struct buf out = {0};
    struct err e = {0};
    size_t len = strlen(text);
    char *exact = mem_alloc(len);
    memcpy(exact, text, len);
    if (policy_edit("f", exact, len, &t, &c, 1, NOW, false, &out, &e) != 0)
        fail_msg("refused: %s\n--\n%s", e.msg, text);
    buf_u8(&out, '\0');
    if (strcmp((char *)out.data, want) != 0)
        fail_msg("became\n%s--\nnot\n%s--\nfrom\n%s", out.data, want, text);
    free(exact);
    buf_free(&out);
}

static void a_line_keeps_all_but_its_value(void **state)
{
    (void)state;
    edits(NULL, NULL, WORD_REPLICAS, "3", "[default]\nreplicas: 2\n", "[default]\nreplicas: 3\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "[default]\n\t replicas :\t2   # two\n", "[default]\n\t replicas :\t3   # two\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "[default]\r\nreplicas:2 ; two\r\n", "[default]\r\nreplicas: 3 ; two\r\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "[default]\ncopies:  2\n", "[default]\nreplicas:  3\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "[default]\nreplicas: \"2\" # x\n", "[default]\nreplicas: 3 # x\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "[default]\nreplicas: 2", "[default]\nreplicas: 3\n");
    edits(NULL, NULL, WORD_BLOCKED, "a \"b c\"", "[default]\nblocked:\n", "[default]\nblocked: a \"b c\"\n");
    edits(NULL, NULL, WORD_BLOCKED, "a", "[default]\nblocked: # nobody\n", "[default]\nblocked: a # nobody\n");
    edits(NULL, NULL, WORD_BLOCKED, "a", "[default]\nblocked:# nobody\n", "[default]\nblocked: a # nobody\n");
    edits(NULL, NULL, WORD_BLOCKED, "", "[default]\nblocked: \"a #1\", b # two\n", "[default]\nblocked:  # two\n");
    edits(NULL, NULL, WORD_BLOCKED, "c", "[default]\nblocked: a,\"b # c\",d\n", "[default]\nblocked: c\n");
}

static void a_key_goes_to_its_section(void **state)
{
    (void)state;
    edits("2", NULL, WORD_BLOCKED, "a", "# top\n[group 2] # two\n  replicas: 2\n\n# next\n[group 3]\nreplicas: 1\n",
          "# top\n[group 2] # two\n  replicas: 2\n  blocked: a\n\n# next\n[group 3]\nreplicas: 1\n");
    edits("2", NULL, WORD_BLOCKED, "a", "[group 2]\n", "[group 2]\nblocked: a\n");
    edits("2", NULL, WORD_BLOCKED, "a", "[group 2]\nreplicas: 1\n[group 2]\nreplicas: 2\n", "[group 2]\nreplicas: 1\n[group 2]\nreplicas: 2\nblocked: a\n");
    edits("2", "x", WORD_BLOCKED, "a", "[group 2]\n[group 2: x]\n[group 2: y]\n", "[group 2]\n[group 2: x]\nblocked: a\n[group 2: y]\n");
    /* What binds from a day to come on is left alone; what binds already is in force. */
    edits("2", NULL, WORD_REPLICAS, "5", "[group 2]\nreplicas: 1\n[group 2]\nsince: 2099-01-01\nreplicas: 2\n",
          "[group 2]\nreplicas: 5\n[group 2]\nsince: 2099-01-01\nreplicas: 2\n");
    edits("2", NULL, WORD_REPLICAS, "5", "[group 2]\nreplicas: 1\n[group 2]\nsince: 2020-01-01\nreplicas: 2\n",
          "[group 2]\nreplicas: 1\n[group 2]\nsince: 2020-01-01\nreplicas: 5\n");
}

static void a_new_section_finds_its_place(void **state)
{
    (void)state;
    edits(NULL, NULL, WORD_REPLICAS, "3", "", "[default]\nreplicas: 3\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "# mine", "# mine\n\n[default]\nreplicas: 3\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "# mine\n\n# two\n[group 2]\nreplicas: 1\n",
          "# mine\n\n[default]\nreplicas: 3\n\n# two\n[group 2]\nreplicas: 1\n");
    edits(NULL, NULL, WORD_REPLICAS, "3", "# mine\n[group 2]\nreplicas: 1\n", "# mine\n\n[default]\nreplicas: 3\n\n[group 2]\nreplicas: 1\n");
    edits("2", NULL, WORD_REPLICAS, "3", "[default]\nreplicas: 1\n\n[group 2: x]\nreplicas: 2\n",
          "[default]\nreplicas: 1\n\n[group 2]\nreplicas: 3\n\n[group 2: x]\nreplicas: 2\n");
    edits("2", NULL, WORD_REPLICAS, "3", "[group 2: x]\nreplicas: 2\n[default]\nreplicas: 1\n",
          "[group 2: x]\nreplicas: 2\n[default]\nreplicas: 1\n\n[group 2]\nreplicas: 3\n");
    edits("2", "x", WORD_REPLICAS, "3", "[default]\nreplicas: 1\n", "[default]\nreplicas: 1\n\n[group 2: x]\nreplicas: 3\n");
    edits("a:b", "x] # y", WORD_REPLICAS, "3", "\r\n", "\r\n[group \"a:b\": \"x] # y\"]\r\nreplicas: 3\r\n");
}

static void headers_are_read_as_written(void **state)
{
    static const struct policy_target t[] = {
        {NULL, NULL}, {"2", NULL}, {"2", "*.[ch]"}, {"a:b", NULL}, {"a: b", "c: d"}, {"\"q\"", NULL}, {"x]y", "z"}, {"it's", "'x'"},
        {"2", "] x"}, {"2", " blank "}, {"2", "a\"b] #"}, {"2", "[]a]"}, {"default", NULL}, {"2", "\\x"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        enum policy_kind kind;
        char *name, *pattern;
        struct err e = {0};
        char *line = policy_edit_header(&t[i], &e);
        if (!line)
            fail_msg("%zu: %s", i, e.msg);
        assert_int_equal(policy_parse_header((struct span){line, strlen(line)}, &kind, &name, &pattern, &e), 0);
        assert_true(t[i].group ? strcmp(t[i].group, name) == 0 : name == NULL);
        assert_true(t[i].pattern ? strcmp(t[i].pattern, pattern) == 0 : pattern == NULL);
        free(line);
        free(name);
        free(pattern);
    }
    struct err e;
    assert_null(policy_edit_header(&(struct policy_target){"2", "a\nb"}, &e));
    assert_null(policy_edit_header(&(struct policy_target){"2", "["}, &e));
    assert_null(policy_edit_header(&(struct policy_target){"2", ""}, &e));
}

static void lists_are_quoted_where_they_must(void **state)
{
    static const char *const member[] = {"a", "b c", "d,e", "f#", "it's"}, *const never[] = {"both \"'"};
    struct err e;
    (void)state;
    char *list = policy_edit_list(member, 5, &e);
    assert_string_equal(list, "a \"b c\" \"d,e\" \"f#\" it's");
    free(list);
    assert_null(policy_edit_list(never, 1, &e));
    list = policy_edit_list(NULL, 0, &e);
    assert_string_equal(list, "");
    free(list);
}

/* ---- DataONE's element ---- */

static void reads_xml(const char *text, const char *want)
{
    struct policy_xml x;
    struct err e = {0};
    char got[1000];
    if (policy_xml_read(&x, text, strlen(text), &e) != 0)
        fail_msg("refused: %s\n--\n%s", e.msg, text);
    int n = sprintf(got, "%s %llu", x.allowed ? "yes" : "no", (unsigned long long)x.replicas);
    for (size_t i = 0; i < x.npreferred; i++)
        n += sprintf(got + n, " +%s", x.preferred[i]);
    for (size_t i = 0; i < x.nblocked; i++)
        n += sprintf(got + n, " -%s", x.blocked[i]);
    assert_string_equal(got, want);
    policy_xml_free(&x);
}

static void xml_of_others_is_read(void **state)
{
    (void)state;
    reads_xml("<replicationPolicy/>", "yes 3");
    reads_xml("<?xml version='1.0'?><!-- c --><replicationPolicy replicationAllowed='false' numberReplicas='0'></replicationPolicy>", "no 0");
    reads_xml("<d:replicationPolicy xmlns:d='http://ns.dataone.org/service/types/v1' xmlns:x='http://www.w3.org/2001/XMLSchema-instance' "
              "x:schemaLocation='a b' numberReplicas='2'>\n <preferredMemberNode>urn:node:A</preferredMemberNode>\n"
              " <preferredMemberNode> a&amp;b </preferredMemberNode><blockedMemberNode>c</blockedMemberNode></d:replicationPolicy>",
              "yes 2 +urn:node:A +a&b -c");
}

static void hostile_xml_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "x", "<a/>", "<replicationPolicy>", "<replicationPolicy><a/></replicationPolicy>", "<replicationPolicy>x</replicationPolicy>",
        "<replicationPolicy numberReplicas='-1'/>", "<replicationPolicy numberReplicas='1e3'/>", "<replicationPolicy replicationAllowed='yes'/>",
        "<replicationPolicy xmlns='http://example.com/'/>", "<replicationPolicy number='1'/>",
        "<replicationPolicy><preferredMemberNode/></replicationPolicy>",
        "<replicationPolicy><preferredMemberNode><b/></preferredMemberNode></replicationPolicy>",
        "<!DOCTYPE r [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><replicationPolicy><blockedMemberNode>&b;</blockedMemberNode></replicationPolicy>",
        "<!DOCTYPE replicationPolicy SYSTEM 'file:///etc/passwd'><replicationPolicy/>",
        "<replicationPolicy><preferredMemberNode>&b;</preferredMemberNode></replicationPolicy>",
        "<replicationPolicy/><replicationPolicy/>",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct policy_xml x;
        struct err e = {0};
        if (policy_xml_read(&x, bad[i], strlen(bad[i]), &e) != ERR_FORMAT || !e.msg[0])
            fail_msg("taken: %s", bad[i]);
        policy_xml_free(&x);
    }
}

static void xml_goes_there_and_back(void **state)
{
    char *p[] = {"a<b>&\"c", "d"}, *b[] = {"e"};
    struct policy_xml x = {true, 5, p, b, 2, 1};
    struct buf out = {0};
    (void)state;
    policy_xml_write(&x, &out);
    buf_u8(&out, '\0');
    reads_xml((char *)out.data, "yes 5 +a<b>&\"c +d -e");
    buf_free(&out);
}

/* ---- the file ---- */

struct dir {
    char path[64], file[96], link[96];
};

static void dir_make(struct dir *d)
{
    const char *top = getenv("TMPDIR");
    snprintf(d->path, sizeof d->path, "%.40s/policyXXXXXX", top && *top ? top : "/tmp");
    assert_non_null(mkdtemp(d->path));
    snprintf(d->file, sizeof d->file, "%s/sos.policy", d->path);
    snprintf(d->link, sizeof d->link, "%s/link", d->path);
}

static void dir_remove(struct dir *d)
{
    unlink(d->file);
    unlink(d->link);
    assert_int_equal(rmdir(d->path), 0); /* nothing else was left behind */
}

static void content_is(const char *file, const char *want)
{
    char got[100];
    int fd = open(file, O_RDONLY);
    ssize_t n = read(fd, got, sizeof got - 1);
    assert_true(n >= 0);
    got[n] = '\0';
    close(fd);
    assert_string_equal(got, want);
}

static void a_file_is_replaced_with_its_mode(void **state)
{
    struct dir d;
    struct policy_write w;
    struct err e;
    struct stat st;
    (void)state;
    dir_make(&d);
    assert_int_equal(policy_write_open(&w, d.file, &e), 0);
    assert_string_equal(w.text, "");
    assert_int_equal(policy_write_replace(&w, "one", 3, &e), 0);
    /* Somebody else made it first. */
    assert_int_equal(policy_write_replace(&w, "two", 3, &e), ERR_CONF);
    policy_write_close(&w);
    content_is(d.file, "one");
    assert_int_equal(chmod(d.file, 0640), 0);
    assert_int_equal(symlink("sos.policy", d.link), 0);
    assert_int_equal(policy_write_open(&w, d.link, &e), 0);
    assert_int_equal(policy_write_replace(&w, "three", 5, &e), 0);
    policy_write_close(&w);
    content_is(d.file, "three");
    assert_int_equal(stat(d.file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(lstat(d.link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    dir_remove(&d);
    assert_int_equal(symlink("nowhere", d.link), -1); /* its directory is gone */
}

static void what_is_no_file_is_refused(void **state)
{
    struct dir d;
    struct policy_write w;
    struct err e;
    (void)state;
    dir_make(&d);
    assert_int_equal(policy_write_open(&w, d.path, &e), ERR_CONF);
    policy_write_close(&w);
    assert_int_equal(symlink("nowhere", d.link), 0);
    assert_int_equal(policy_write_open(&w, d.link, &e), ERR_CONF);
    policy_write_close(&w);
    dir_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_keeps_all_but_its_value),
        cmocka_unit_test(a_key_goes_to_its_section),
        cmocka_unit_test(a_new_section_finds_its_place),
        cmocka_unit_test(headers_are_read_as_written),
        cmocka_unit_test(lists_are_quoted_where_they_must),
        cmocka_unit_test(xml_of_others_is_read),
        cmocka_unit_test(hostile_xml_is_refused),
        cmocka_unit_test(xml_goes_there_and_back),
        cmocka_unit_test(a_file_is_replaced_with_its_mode),
        cmocka_unit_test(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
