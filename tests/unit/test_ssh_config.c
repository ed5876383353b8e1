/* What ssh -G says of a host, the commands of proxies, and a command's words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "link/ssh_config.h"
#include "link/words.h"

static const char *env(const char *name)
{
    if (strcmp(name, "SSH_AUTH_SOCK") == 0)
        return "/run/agent";
    return strcmp(name, "SET") == 0 ? "value" : NULL;
}

static const struct ssh_config_self self = {"/home/me", "me", "here.example", 1000, env};

static void parse(struct ssh_config *c, const char *text)
{
    struct err e = {0};
    ssh_config_defaults(c, "there", &self);
    if (ssh_config_parse(c, text, strlen(text), &self, &e) < 0)
        fail_msg("%s", e.msg);
}

static void assert_words(const struct words *w, const char *expected) /* separated by '|' */
{
    char *joined = mem_strdup("");
    for (size_t i = 0; i < w->n; i++) {
        char *more = mem_printf("%s%s%s", joined, i ? "|" : "", w->word[i]);
        free(joined);
        joined = more;
    }
    assert_string_equal(joined, expected);
    free(joined);
}

static void without_ssh(void **state)
{
    (void)state;
    struct ssh_config c;
    parse(&c, "");
    assert_string_equal(c.hostname, "there");
    assert_string_equal(c.user, "me");
    assert_int_equal(c.port, 22);
    assert_int_equal(c.connect_timeout, 30);
    assert_string_equal(c.agent, "/run/agent");
    assert_null(c.alias);
    assert_false(c.accept_new);
    assert_words(&c.identity, "~/.ssh/id_ed25519|~/.ssh/id_ecdsa|~/.ssh/id_rsa");
    assert_words(&c.user_known_hosts, "~/.ssh/known_hosts|~/.ssh/known_hosts2");
    ssh_config_free(&c);
}

static void a_full_answer(void **state)
{
    (void)state;
    struct ssh_config c;
    parse(&c, "host there\nuser bob\nhostname 10.0.0.1\nport 2222\naddressfamily inet6\nhashknownhosts yes\n"
              "identitiesonly yes\nstricthostkeychecking accept-new\nhostkeyalias foo\nidentityagent ~/a %h\n"
              "identityfile ~/.ssh/x y\nidentityfile none\nidentityfile %d/k\r\nconnecttimeout 7\nunknown thing\n"
              "globalknownhostsfile /etc/a /etc/b\nuserknownhostsfile ~/k /tmp/a b %d/c\nnovalue\nproxycommand none\n");
    assert_string_equal(c.user, "bob");
    assert_string_equal(c.hostname, "10.0.0.1");
    assert_int_equal(c.port, 2222);
    assert_int_equal(c.family, SSH_FAMILY_INET6);
    assert_true(c.hash_known_hosts && c.identities_only && c.accept_new);
    assert_string_equal(c.alias, "foo");
    assert_string_equal(c.agent, "/home/me/a 10.0.0.1");
    assert_words(&c.identity, "~/.ssh/x y|%d/k");
    assert_int_equal(c.connect_timeout, 7);
    assert_words(&c.global_known_hosts, "/etc/a|/etc/b");
    assert_words(&c.user_known_hosts, "~/k|/tmp/a b|%d/c");
    assert_null(c.proxy_command);
    ssh_config_free(&c);
}

static void agents(void **state)
{
    (void)state;
    static const struct { const char *line, *agent; } t[] = {
        {"identityagent none\n", NULL},
        {"identityagent SSH_AUTH_SOCK\n", "/run/agent"},
        {"identityagent $SET\n", "value"},
        {"identityagent $UNSET\n", NULL},
        {"identityagent ${SET}/%u\n", "value/me"},
        {"identityagent /x/%p\nport 7\n", "/x/7"},
        {"identityagent %q\n", NULL},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct ssh_config c;
        parse(&c, t[i].line);
        if (t[i].agent)
            assert_string_equal(c.agent, t[i].agent);
        else
            assert_null(c.agent);
        ssh_config_free(&c);
    }
}

static void strictness(void **state)
{
    (void)state;
    static const struct { const char *value; bool accept; } t[] = {
        {"yes", false}, {"true", false}, {"ask", false}, {"accept-new", true},
        {"no", true},   {"off", true},   {"false", true}, {"nonsense", false},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct ssh_config c;
        char *line = mem_printf("stricthostkeychecking %s\n", t[i].value);
        parse(&c, line);
        assert_int_equal(c.accept_new, t[i].accept);
        ssh_config_free(&c);
        free(line);
    }
}

static void numbers_that_make_no_sense(void **state)
{
    (void)state;
    static const char *const bad[] = {"port 0\n", "port 65536\n", "port x\n", "port -1\n", "connecttimeout 0\n",
                                      "connecttimeout 99999999999\n", "connecttimeout x\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ssh_config c;
        struct err e = {0};
        ssh_config_defaults(&c, "there", &self);
        assert_int_equal(ssh_config_parse(&c, bad[i], strlen(bad[i]), &self, &e), ERR_FORMAT);
        ssh_config_free(&c);
    }
    struct ssh_config c;
    parse(&c, "connecttimeout none\n");
    assert_int_equal(c.connect_timeout, 30);
    ssh_config_free(&c);
}

static void tokens(void **state)
{
    (void)state;
    static const struct { const char *text, *made; } t[] = {
        {"plain", "plain"},
        {"", ""},
        {"~", "/home/me"},
        {"~/x", "/home/me/x"},
        {"~other/x", "~other/x"},
        {"a~", "a~"},
        {"%d %h %i %k %L %l %n %p %r %u %%", "/home/me 10.0.0.1 1000 there here here.example there 2222 bob me %"},
        {"${SET}x$SET$", "valuex$SET$"},
        {"%", NULL},
        {"%q", NULL},
        {"a%", NULL},
        {"${UNSET}", NULL},
        {"${SET", NULL},
        {"${}", NULL},
    };
    struct ssh_config c;
    parse(&c, "user bob\nhostname 10.0.0.1\nport 2222\n");
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char *made = ssh_config_expand(&c, &self, "~$%dhikLlnpru", t[i].text);
        if (t[i].made)
            assert_string_equal(made, t[i].made);
        else
            assert_null(made);
        free(made);
    }
    char *made = ssh_config_expand(&c, &self, "%h", "~/%h${SET}");
    assert_string_equal(made, "~/10.0.0.1${SET}");
    free(made);
    assert_null(ssh_config_expand(&c, &self, "%h", "%p"));
    ssh_config_free(&c);
}

static void proxies(void **state)
{
    (void)state;
    static const struct { const char *lines, *words; } t[] = {
        {"", ""},
        {"proxycommand none\nproxyjump none\n", ""},
        {"proxycommand nc -x %h %p \"%r\" %n %%\n", "sh|-c|exec nc -x 10.0.0.1 2222 \"bob\" there %"},
        {"proxyjump one\n", "ssh|-F|my conf|-W|[10.0.0.1]:2222|--|one"},
        {"proxyjump al@one:23\n", "ssh|-F|my conf|-W|[10.0.0.1]:2222|-l|al|-p|23|--|one"},
        {"proxyjump a@b@[::1]:24\n", "ssh|-F|my conf|-W|[10.0.0.1]:2222|-l|a@b|-p|24|--|::1"},
        {"proxyjump ::1\n", "ssh|-F|my conf|-W|[10.0.0.1]:2222|--|::1"},
        {"proxyjump x,bob@y:9,ssh://z:25/\n", "ssh|-F|my conf|-J|x,bob@y:9|-W|[10.0.0.1]:2222|-p|25|--|z"},
        {"proxyjump -oProxyCommand=x\n", "ssh|-F|my conf|-W|[10.0.0.1]:2222|--|-oProxyCommand=x"},
        {"proxycommand x\nproxyjump one\n", "ssh|-F|my conf|-W|[10.0.0.1]:2222|--|one"},
        {"proxycommand %q\n", NULL},
        {"proxyjump a,\n", NULL},
        {"proxyjump al@\n", NULL},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct ssh_config c;
        struct words w;
        struct err e = {0};
        char *text = mem_printf("user bob\nhostname 10.0.0.1\nport 2222\n%s", t[i].lines);
        parse(&c, text);
        c.config_file = mem_strdup("my conf");
        int rc = ssh_config_proxy(&c, &self, &w, &e);
        assert_int_equal(rc, t[i].words ? 0 : ERR_CONF);
        if (t[i].words)
            assert_words(&w, t[i].words);
        words_free(&w);
        ssh_config_free(&c);
        free(text);
    }
}

static void words(void **state)
{
    (void)state;
    static const struct { const char *text, *words; } t[] = {
        {"ssh", "ssh"},
        {"  ssh\t-p  22\n", "ssh|-p|22"},
        {"'a b' c", "a b|c"},
        {"\"a b\"c", "a bc"},
        {"a'b'\"c\"d", "abcd"},
        {"'' \"\"", "|"},
        {"a\\ b \\\\ \\'", "a b|\\|'"},
        {"'a\\b'", "a\\b"},
        {"\"a\\\"b\\\\c\\d\"", "a\"b\\c\\d"},
        {"$HOME `x` *;|", "$HOME|`x`|*;|"},
        {"", NULL},
        {" \t", NULL},
        {"'a", NULL},
        {"\"a", NULL},
        {"\"a\\\"", NULL},
        {"a\\", NULL},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct words w;
        struct err e = {0};
        int rc = words_split(&w, t[i].text, &e);
        assert_int_equal(rc, t[i].words ? 0 : ERR_USAGE);
        if (t[i].words) {
            assert_words(&w, t[i].words);
            assert_null(w.word[w.n]);
        } else {
            assert_true(e.msg[0] != '\0');
        }
        words_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_ssh),
        cmocka_unit_test(a_full_answer),
        cmocka_unit_test(agents),
        cmocka_unit_test(strictness),
        cmocka_unit_test(numbers_that_make_no_sense),
        cmocka_unit_test(tokens),
        cmocka_unit_test(proxies),
        cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
