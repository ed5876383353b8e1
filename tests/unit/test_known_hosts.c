/* known_hosts files: who is known, by what, and what is written down. Key files beside. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/mem.h"
#include "link/keyfile.h"
#include "link/known_hosts.h"

/* Keys as on the wire: the type and one letter, so that they are told apart at a glance. */
static const char ed_a[] = "\0\0\0\13ssh-ed25519A", ed_b[] = "\0\0\0\13ssh-ed25519B", rsa_a[] = "\0\0\0\7ssh-rsaA";

#define ED_A "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5QQ=="
#define ED_B "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5Qg=="
#define RSA_A "ssh-rsa AAAAB3NzaC1yc2FB"

static enum known_hosts_answer judge_at(const char *text, size_t len, const char *host, unsigned port, const char *type,
                                        const char *blob, size_t blob_len, size_t *line)
{
    struct known_hosts k;
    const struct known_hosts_line *why;
    known_hosts_init(&k, host, port);
    known_hosts_parse(&k, "f", text, len);
    enum known_hosts_answer a = known_hosts_judge(&k, type, (const uint8_t *)blob, blob_len, &why);
    *line = why ? why->line : 0;
    known_hosts_free(&k);
    return a;
}

static enum known_hosts_answer judge(const char *text, const char *host, unsigned port)
{
    size_t line;
    return judge_at(text, strlen(text), host, port, "ssh-ed25519", ed_a, sizeof ed_a - 1, &line);
}

#define FOUND KNOWN_HOSTS_FOUND
#define UNKNOWN KNOWN_HOSTS_UNKNOWN
#define OTHER KNOWN_HOSTS_OTHER
#define CHANGED KNOWN_HOSTS_CHANGED
#define REVOKED KNOWN_HOSTS_REVOKED

static void the_five_answers(void **state)
{
    (void)state;
    size_t line;
    static const char text[] = "# comment\n\nh " ED_A " a comment\nh " RSA_A "\nother " ED_B "\n";
    assert_int_equal(judge(text, "h", 22), FOUND);
    assert_int_equal(judge(text, "h", 0), FOUND);
    assert_int_equal(judge_at(text, strlen(text), "h", 22, "ssh-ed25519", ed_b, sizeof ed_b - 1, &line), CHANGED);
    assert_int_equal(line, 3);
    assert_int_equal(judge(text, "other", 22), CHANGED);
    assert_int_equal(judge(text, "third", 22), UNKNOWN);
    assert_int_equal(judge("h " RSA_A "\n", "h", 22), OTHER);
    assert_int_equal(judge_at(text, strlen(text), "h", 22, "ssh-rsa", rsa_a, sizeof rsa_a - 1, &line), FOUND);
    assert_int_equal(line, 4);
    /* Several keys of one type: any of them will do, in whatever order. */
    assert_int_equal(judge("h " ED_B "\nh " ED_A "\n", "h", 22), FOUND);
    assert_int_equal(judge("h " ED_A "\nh " ED_B "\n", "h", 22), FOUND);
    /* Changed says more than another type does. */
    assert_int_equal(judge("h " ED_B "\nh " RSA_A "\n", "h", 22), CHANGED);
    assert_int_equal(judge("h " RSA_A "\nh " ED_B "\n", "h", 22), CHANGED);
}

static void revoked_wins(void **state)
{
    (void)state;
    assert_int_equal(judge("h " ED_A "\n@revoked h " ED_A "\n", "h", 22), REVOKED);
    assert_int_equal(judge("@revoked * " ED_A "\nh " ED_A "\n", "h", 22), REVOKED);
    assert_int_equal(judge("@revoked * " ED_A "\n", "h", 2222), REVOKED);
    assert_int_equal(judge("@revoked h " ED_A "\n[h]:2222 " ED_A "\n", "h", 2222), REVOKED);
    assert_int_equal(judge("@revoked * " ED_B "\nh " ED_A "\n", "h", 22), FOUND);
    assert_int_equal(judge("@revoked * " ED_B "\n", "h", 22), UNKNOWN);
    assert_int_equal(judge("@revoked x " ED_A "\nh " ED_A "\n", "h", 22), FOUND);
}

static void an_authority_is_noted(void **state)
{
    static const char text[] = "@cert-authority x " ED_A "\n@cert-authority *,!no " ED_A "\n"
                               "@cert-authority h " ED_B "\n@cert-authority\n";
    const char *const host[] = {"h", "no"};
    const char *const noted[] = {"file:2", NULL};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct known_hosts k;
        known_hosts_init(&k, host[i], 22);
        known_hosts_parse(&k, "file", text, sizeof text - 1);
        assert_int_equal(k.lines, 0);
        if (noted[i])
            assert_string_equal(k.authority, noted[i]);
        else
            assert_null(k.authority);
        known_hosts_free(&k);
    }
}

static void markers(void **state)
{
    (void)state;
    assert_int_equal(judge("@cert-authority h " ED_A "\n", "h", 22), UNKNOWN);
    assert_int_equal(judge("@cert-authority * " ED_B "\nh " ED_A "\n", "h", 22), FOUND);
    assert_int_equal(judge("@something h " ED_A "\n", "h", 22), UNKNOWN);
    assert_int_equal(judge("@revokedx h " ED_A "\nh " ED_A "\n", "h", 22), FOUND);
}

static void patterns(void **state)
{
    (void)state;
    static const struct { const char *hosts, *host; unsigned port; enum known_hosts_answer want; } t[] = {
        {"h", "H", 22, FOUND},
        {"HOST.example", "host.EXAMPLE", 22, FOUND},
        {"a,h,b", "h", 22, FOUND},
        {",,h", "h", 22, FOUND},
        {"*", "h", 22, FOUND},
        {"*.example", "a.b.example", 22, FOUND},
        {"*.example", "example", 22, UNKNOWN},
        {"h?st", "host", 22, FOUND},
        {"h?st", "hst", 22, UNKNOWN},
        {"*,!h", "h", 22, UNKNOWN},
        {"!h,*", "h", 22, UNKNOWN},
        {"*,!h", "x", 22, FOUND},
        {"!h", "x", 22, UNKNOWN},
        {"ho", "host", 22, UNKNOWN},
        {"host", "ho", 22, UNKNOWN},
        {"*a*b*", "xxaxxbxx", 22, FOUND},
        {"*a*b", "xxaxxbxx", 22, UNKNOWN},
        {"h", "h", 2222, UNKNOWN},
        {"[h]:2222", "h", 2222, FOUND},
        {"[h]:2222", "h", 22, UNKNOWN},
        {"[h]:22", "h", 22, UNKNOWN},
        {"[h]:2222", "h", 222, UNKNOWN},
        {"[*]:2222", "h", 2222, FOUND},
        {"::1", "::1", 22, FOUND},
        {"[::1]:2222", "::1", 2222, FOUND},
        {"192.168.0.?", "192.168.0.7", 22, FOUND},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char *text = mem_printf("%s " ED_A "\n", t[i].hosts);
        if (judge(text, t[i].host, t[i].port) != t[i].want)
            fail_msg("%s for %s, port %u", t[i].hosts, t[i].host, t[i].port);
        free(text);
    }
}

/* Made by ssh-keygen -H of "a.b". */
#define SALTED "|1|hc9S5x9NPhL3Kv9ROXY6qOspJS4=|JPf9NHiEzGUD490Tmi+fUdbPQY0="

static void hashed_names(void **state)
{
    (void)state;
    static const char text[] = SALTED " " ED_A "\n";
    assert_int_equal(judge(text, "a.b", 22), FOUND);
    assert_int_equal(judge(text, "A.B", 22), FOUND);
    assert_int_equal(judge(text, "a.c", 22), UNKNOWN);
    assert_int_equal(judge(text, "a.b", 2222), UNKNOWN);
    assert_int_equal(judge("|1|AAAA|AAAA " ED_A "\n", "a.b", 22), UNKNOWN);
    assert_int_equal(judge("|1||" ED_A "\n|1|\n|\n|2|a|b " ED_A "\n|1|=|= " ED_A "\n", "a.b", 22), UNKNOWN);
}

static void lines_that_make_no_sense(void **state)
{
    (void)state;
    size_t line;
    static const char nul[] = "h ssh-ed25519\0 AAAA\nh\0x " ED_A "\n\0\0\nh " ED_A;
    assert_int_equal(judge("h\nh ssh-ed25519\nh ssh-ed25519 ???\nh ssh-ed25519 A\nh ssh-ed25519 AAAA\n", "h", 22), UNKNOWN);
    assert_int_equal(judge("h ssh-rsa AAAAC3NzaC1lZDI1NTE5QQ==\n", "h", 22), UNKNOWN); /* lies about its type */
    assert_int_equal(judge("h 1024 35 123456789\n", "h", 22), UNKNOWN);
    assert_int_equal(judge("@revoked\n@\n@revoked h\n", "h", 22), UNKNOWN);
    assert_int_equal(judge("\t h \t ssh-ed25519\tAAAAC3NzaC1lZDI1NTE5QQ==\r\n", "h", 22), FOUND);
    assert_int_equal(judge("h " ED_A, "h", 22), FOUND);
    assert_int_equal(judge_at(nul, sizeof nul - 1, "h", 22, "ssh-ed25519", ed_a, sizeof ed_a - 1, &line), FOUND);
    assert_int_equal(line, 4);
    assert_int_equal(judge("", "h", 22), UNKNOWN);
}

static void a_nasty_pattern_takes_no_time(void **state)
{
    (void)state;
    struct buf text = {0};
    char host[256];
    memset(host, 'a', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    for (size_t i = 0; i < 2000; i++)
        buf_put(&text, "*a", 2);
    buf_put(&text, "b " ED_A "\n", strlen("b " ED_A "\n"));
    buf_u8(&text, 0);
    assert_int_equal(judge((const char *)text.data, host, 22), UNKNOWN);
    buf_free(&text);
}

static void known_types(void **state)
{
    (void)state;
    struct known_hosts k;
    struct buf types = {0};
    static const char text[] = "x ssh-dss AAAA\n@revoked h ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=\n"
                               "h " RSA_A "\nh " ED_B "\n* " RSA_A "\n";
    known_hosts_init(&k, "h", 22);
    known_hosts_parse(&k, "f", text, strlen(text));
    known_hosts_types(&k, &types);
    buf_u8(&types, 0);
    assert_string_equal((char *)types.data, "ssh-rsa,ssh-ed25519");
    buf_free(&types);
    known_hosts_free(&k);
}

/* ---- writing ---- */

static char dir[256];

static int make_dir(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/sos-known.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf '%s'", dir);
    int rc = system(command);
    free(command);
    return rc;
}

static void put_and_find(const char *file, const char *host, unsigned port, bool hashed)
{
    struct known_hosts k;
    struct buf line = {0};
    struct err e;
    known_hosts_init(&k, host, port);
    assert_int_equal(known_hosts_format(&k, hashed, "ssh-ed25519", (const uint8_t *)ed_a, sizeof ed_a - 1, &line, &e), 0);
    assert_int_equal(known_hosts_append(file, &line, &e), 0);
    assert_int_equal(known_hosts_load(&k, file, &e), 0);
    assert_int_equal(known_hosts_judge(&k, "ssh-ed25519", (const uint8_t *)ed_a, sizeof ed_a - 1, NULL), FOUND);
    buf_free(&line);
    known_hosts_free(&k);
}

static void what_is_written_is_found(void **state)
{
    (void)state;
    struct stat st;
    char *parent = mem_printf("%s/.ssh", dir), *file = mem_printf("%s/known_hosts", parent);
    umask(022);
    put_and_find(file, "one", 22, false);
    assert_int_equal(stat(parent, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    put_and_find(file, "two", 2222, false);
    put_and_find(file, "three", 22, true);
    put_and_find(file, "four", 2222, true);
    put_and_find(file, "one", 22, false);
    free(parent);
    free(file);
}

static void a_last_line_without_its_end(void **state)
{
    (void)state;
    char *file = mem_printf("%s/open", dir);
    FILE *f = fopen(file, "w");
    fputs("x " ED_B, f);
    fclose(f);
    put_and_find(file, "h", 22, false);
    char text[256] = "";
    f = fopen(file, "r");
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_string_equal(text, "x " ED_B "\nh " ED_A "\n");
    free(file);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    struct known_hosts k;
    struct err e = {0};
    struct buf line = {0};
    char *file = mem_printf("%s/secret/known", dir), *loop = mem_printf("%s/loop", dir);
    known_hosts_init(&k, "h", 22);
    assert_int_equal(known_hosts_load(&k, file, &e), 0); /* not there: nothing known */
    assert_int_equal(known_hosts_load(&k, dir, &e), 0);  /* not a file */
    assert_int_equal(symlink(loop, loop), 0);
    assert_int_equal(known_hosts_load(&k, loop, &e), ERR_SYS); /* there, and unreadable: may hold anything */
    char *deep = mem_printf("%s/no/such/dir/known", dir);
    assert_int_equal(known_hosts_append(deep, &line, &e), ERR_SYS);
    free(deep);
    free(loop);
    free(file);
    known_hosts_free(&k);
}

/* ---- key files and base64 ---- */

static void key_files(void **state)
{
    (void)state;
    struct keyfile k;
    static const char public[] = ED_A " me@here\n";
    assert_int_equal(keyfile_parse(&k, public, strlen(public)), 0);
    assert_false(k.secret);
    assert_string_equal(k.type, "ssh-ed25519");
    assert_int_equal(k.blob.len, sizeof ed_a - 1);
    assert_memory_equal(k.blob.data, ed_a, sizeof ed_a - 1);
    keyfile_free(&k);

    static const char pem[] = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA\n-----END RSA PRIVATE KEY-----\n";
    assert_int_equal(keyfile_parse(&k, pem, strlen(pem)), 0);
    assert_true(k.secret && k.encrypted);
    assert_string_equal(k.type, "ssh-rsa");
    keyfile_free(&k);

    static const char plain[] = "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n";
    assert_int_equal(keyfile_parse(&k, plain, strlen(plain)), 0);
    assert_true(k.secret && !k.encrypted);
    keyfile_free(&k);

    static const char *const bad[] = {
        "", "x", "ssh-ed25519 ", "ssh-ed25519 !!!", "ssh-ed25519 AAAA",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(keyfile_parse(&k, bad[i], strlen(bad[i])), -1);
        keyfile_free(&k);
    }
}

static void openssh_keys(void **state)
{
    (void)state;
    for (int locked = 0; locked < 2; locked++) {
        struct buf raw = {0}, text = {0};
        struct keyfile k;
        static const char none[] = "\0\0\0\4none\0\0\0\4none\0\0\0\0", aes[] = "\0\0\0\12aes256-ctr\0\0\0\6bcrypt\0\0\0\1x";
        buf_put(&raw, "openssh-key-v1", 15);
        buf_put(&raw, locked ? aes : none, locked ? sizeof aes - 1 : sizeof none - 1);
        buf_put(&raw, "\0\0\0\1\0\0\0\20", 8);
        buf_put(&raw, ed_a, sizeof ed_a - 1);
        buf_put(&text, "-----BEGIN OPENSSH PRIVATE KEY-----\n", 36);
        base64_put(&text, raw.data, raw.len);
        buf_put(&text, "\n-----END OPENSSH PRIVATE KEY-----\n", 35);
        assert_int_equal(keyfile_parse(&k, (const char *)text.data, text.len), 0);
        assert_true(k.secret);
        assert_int_equal(k.encrypted, locked);
        assert_string_equal(k.type, "ssh-ed25519");
        assert_memory_equal(k.blob.data, ed_a, sizeof ed_a - 1);
        keyfile_free(&k);
        buf_free(&raw);
        buf_free(&text);
    }
}

static void base64(void **state)
{
    (void)state;
    static const struct { const char *plain, *coded; } t[] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}, {"\xfb\xef", "++8="},
    };
    struct buf b = {0};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        b.len = 0;
        base64_put(&b, t[i].plain, strlen(t[i].plain));
        assert_int_equal(b.len, strlen(t[i].coded));
        if (b.len)
            assert_memory_equal(b.data, t[i].coded, b.len);
        b.len = 0;
        assert_int_equal(base64_get(&b, t[i].coded, strlen(t[i].coded)), 0);
        assert_int_equal(b.len, strlen(t[i].plain));
        if (b.len)
            assert_memory_equal(b.data, t[i].plain, b.len);
    }
    static const char *const bad[] = {"A", "AAAAA", "AA A", "A=A=", "AA\nA", "-_AA", "\xff\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        b.len = 0;
        buf_u8(&b, 7);
        assert_int_equal(base64_get(&b, bad[i], strlen(bad[i])), -1);
        assert_int_equal(b.len, 1);
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_five_answers),
        cmocka_unit_test(revoked_wins),
        cmocka_unit_test(markers),
        cmocka_unit_test(an_authority_is_noted),
        cmocka_unit_test(patterns),
        cmocka_unit_test(hashed_names),
        cmocka_unit_test(lines_that_make_no_sense),
        cmocka_unit_test(a_nasty_pattern_takes_no_time),
        cmocka_unit_test(known_types),
        cmocka_unit_test(what_is_written_is_found),
        cmocka_unit_test(a_last_line_without_its_end),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(key_files),
        cmocka_unit_test(openssh_keys),
        cmocka_unit_test(base64),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
