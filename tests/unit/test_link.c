/* Links to far commands, through a real sshd with throw-away keys, and what they say when that goes wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "link/link.h"
#include "scratch.h"

#define SSHD "/usr/sbin/sshd"
#define PATIENCE_MS 60000
#define MIB (1u << 20)

static char dir[256];

struct server {
    pid_t pid;
    unsigned port;
    int log; /* its standard error */
    bool inet6;
};

static struct server plain, rekey; /* .pid 0: not there */

/* ---- small things ---- */

static char *in_dir(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static void write_file(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void write_file(const char *name, const char *fmt, ...)
{
    char *path = in_dir(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    assert_int_equal(fclose(f), 0);
    chmod(path, 0600);
    free(path);
}

static char *read_file(const char *name)
{
    char *path = in_dir(name);
    FILE *f = fopen(path, "r");
    struct buf b = {0};
    for (int c; f && (c = getc(f)) != EOF;)
        buf_u8(&b, (uint8_t)c);
    if (f)
        fclose(f);
    buf_u8(&b, 0);
    free(path);
    return (char *)b.data;
}

static int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int shell(const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return system(text);
}

/* ---- the server ---- */

static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(fd, (struct sockaddr *)&a, &len);
    close(fd);
    return ntohs(a.sin_port);
}

static bool have_inet6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Reads the log until it holds what so many times; false at its end, or after a while. */
static bool await_log(int fd, const char *what, int times)
{
    struct buf b = {0};
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    int seen = 0;
    while (seen < times) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int left = (int)(end - clock_mono_ms());
        if (left <= 0 || poll(&p, 1, left) <= 0)
            break;
        b.len = b.len ? b.len - 1 : 0;
        ssize_t n = read(fd, buf_room(&b, 4097), 4096);
        if (n <= 0)
            break;
        b.len += (size_t)n;
        buf_u8(&b, 0);
        seen = 0;
        for (const char *p2 = (char *)b.data; (p2 = strstr(p2, what)); p2++)
            seen++;
    }
    if (seen < times)
        print_message("%s\n", b.data ? (char *)b.data : "(the server said nothing)");
    buf_free(&b);
    return seen >= times;
}

static pid_t start_logged(char *const *argv, int *log)
{
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(p[1], 1);
        dup2(p[1], 2);
        execv(argv[0], argv);
        _exit(127);
    }
    close(p[1]);
    *log = p[0];
    return pid;
}

static void stop(struct server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        waitpid(s->pid, NULL, 0);
        close(s->log);
    }
    s->pid = 0;
}

/* Somebody else may take the port between our looking and its binding: then another one is tried. */
static int start_sshd(struct server *s, const char *name, const char *extra)
{
    char *path = in_dir(name);
    char *argv[] = {(char *)SSHD, (char *)"-D", (char *)"-e", (char *)"-f", path, NULL};
    for (int tries = 0; tries < 3 && s->pid == 0; tries++) {
        s->port = free_port();
        s->inet6 = have_inet6();
        write_file(name,
                   "Port %u\nListenAddress 127.0.0.1\n%sHostKey %s/host\nPidFile none\nUsePAM no\nStrictModes no\n"
                   "AuthorizedKeysFile %s/authorized\nPermitRootLogin yes\nMaxStartups 100\nLogLevel INFO\n"
                   "PasswordAuthentication no\nKbdInteractiveAuthentication no\n%s",
                   s->port, s->inet6 ? "ListenAddress ::1\n" : "", dir, dir, extra);
        s->pid = start_logged(argv, &s->log);
        if (!await_log(s->log, "Server listening", s->inet6 ? 2 : 1))
            stop(s);
    }
    free(path);
    return s->pid > 0 ? 0 : -1;
}

static int make_keys(void)
{
    return shell("cd %s && for k in host other user stranger; do ssh-keygen -q -t ed25519 -N '' -C test -f $k || exit 1; done; "
                 "ssh-keygen -q -t ed25519 -N x -f locked && ssh-keygen -q -t rsa -b 2048 -N '' -f rsa && "
                 "cat user.pub locked.pub rsa.pub >authorized",
                 dir);
}

static int start_world(void **state)
{
    (void)state;
    assert_int_equal(scratch_make(dir, sizeof dir, "sos-link"), 0);
    unsetenv("SSH_AUTH_SOCK");
    signal(SIGPIPE, SIG_IGN);
    if (access(SSHD, X_OK) < 0)
        return 0;
    if (getuid() == 0)
        mkdir("/run/sshd", 0755); /* Debian's sshd wants it and leaves its making to the init script */
    if (make_keys() != 0)
        return -1;
    return start_sshd(&plain, "sshd_config", "") || start_sshd(&rekey, "rekey_config", "RekeyLimit 1M\n");
}

static int end_world(void **state)
{
    (void)state;
    stop(&plain);
    stop(&rekey);
    return scratch_remove(dir);
}

#define NEEDS_SSHD \
    do { \
        if (!plain.pid) \
            skip(); \
    } while (0)

/* ---- a connection ---- */

struct world { /* what a remote is made of; freed by finish */
    struct link_remote r;
    char *config, *known, *key;
    const char *identity[1];
};

static void know(const char *file, const char *host, unsigned port, const char *key)
{
    char *text = read_file(key);
    write_file(file, "[%s]:%u %s", host, port, text);
    free(text);
}

/* A remote that works: the test spoils what it is about. */
static struct link_remote *prepare(struct world *w, const struct server *s, const char *command)
{
    if (s->pid)
        know("known", "127.0.0.1", s->port, "host.pub");
    write_file("config", "Host *\n  GlobalKnownHostsFile none\n  IdentityAgent none\n");
    *w = (struct world){.config = in_dir("config"), .known = in_dir("known"), .key = in_dir("user")};
    w->identity[0] = w->key;
    w->r = (struct link_remote){
        .host = "127.0.0.1",
        .port = s->port,
        .command = command,
        .ssh_config = w->config,
        .known_hosts = w->known,
        .identity = w->identity,
        .identities = 1,
    };
    return &w->r;
}

static void finish(struct world *w)
{
    free(w->config);
    free(w->known);
    free(w->key);
}

static void use_key(struct world *w, const char *name)
{
    free(w->key);
    w->key = in_dir(name);
    w->identity[0] = w->key;
}

struct talk {
    struct buf got; /* only the first bytes, kept for looking at */
    uint64_t sent, received, err_received;
    struct buf err; /* likewise, with a NUL behind */
    bool echo_wrong;
    int status;
    char why[256];
};

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static void take_in(struct talk *t, struct link *l, bool *open)
{
    uint8_t bytes[65536];
    ssize_t n = read(l->fd, bytes, sizeof bytes);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        *open = false;
    for (ssize_t i = 0; i < n; i++)
        t->echo_wrong |= bytes[i] != pattern(t->received + (uint64_t)i);
    if (n > 0 && t->got.len < 4096)
        buf_put(&t->got, bytes, (size_t)n);
    t->received += n > 0 ? (uint64_t)n : 0;
}

static bool take_err(struct talk *t, struct link *l)
{
    char bytes[65536];
    ssize_t n = read(l->err_fd, bytes, sizeof bytes);
    if (n > 0 && t->err.len < 65536)
        buf_put(&t->err, bytes, (size_t)n);
    t->err_received += n > 0 ? (uint64_t)n : 0;
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static void give_out(struct talk *t, struct link *l, uint64_t total)
{
    uint8_t bytes[65536];
    size_t n = total - t->sent < sizeof bytes ? (size_t)(total - t->sent) : sizeof bytes;
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern(t->sent + i);
    ssize_t k = n ? write(l->fd, bytes, n) : 0;
    if (k > 0)
        t->sent += (uint64_t)k;
    if (t->sent == total)
        shutdown(l->fd, SHUT_WR);
}

/* Sends total bytes and the end, and takes what comes until the other side ends. */
static void talk(struct talk *t, struct link *l, uint64_t total)
{
    *t = (struct talk){0};
    bool open = true, err_open = true, giving = true;
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    while (open || err_open) {
        struct pollfd p[2] = {
            {.fd = open ? l->fd : -1, .events = (short)(POLLIN | (giving ? POLLOUT : 0))},
            {.fd = err_open ? l->err_fd : -1, .events = POLLIN},
        };
        int left = (int)(end - clock_mono_ms());
        assert_true(left > 0 && poll(p, 2, left) > 0);
        if (p[1].revents)
            err_open = take_err(t, l);
        if (p[0].revents & POLLOUT && giving) {
            give_out(t, l, total);
            giving = t->sent < total;
        }
        if (p[0].revents & (POLLIN | POLLHUP | POLLERR))
            take_in(t, l, &open);
    }
    buf_u8(&t->err, 0);
    link_close(l, 1, t->why, sizeof t->why);
    t->status = l->status;
    assert_int_equal(l->fd, -1);
    assert_int_equal(l->err_fd, -1);
}

static void talk_free(struct talk *t)
{
    buf_free(&t->got);
    buf_free(&t->err);
}

static void run(struct talk *t, const struct link_remote *r, uint64_t total)
{
    struct link l = LINK_NONE;
    struct err e = {0};
    if (link_remote(&l, r, NULL, 0, &e) < 0)
        fail_msg("%s", e.msg);
    assert_true(fcntl(l.err_fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(l.err_fd, F_GETFL) & O_NONBLOCK);
    talk(t, &l, total);
}

static void assert_says(const struct talk *t, const char *what)
{
    if (!strstr((char *)t->err.data, what))
        fail_msg("\"%s\" is not in: %s", what, (char *)t->err.data);
}

/* The connection fails with 255 and one line, which says this. */
static void assert_fails(const struct link_remote *r, const char *one, const char *two)
{
    struct talk t;
    run(&t, r, 0);
    assert_says(&t, one);
    assert_says(&t, two);
    assert_int_equal(t.status, LINK_FAILED);
    assert_int_equal(t.received, 0);
    assert_ptr_equal(strchr((char *)t.err.data, '\n'), t.err.data + t.err.len - 2);
    talk_free(&t);
}

static void assert_echo(const struct link_remote *r, uint64_t total)
{
    struct talk t;
    run(&t, r, total);
    if (t.status != 0)
        fail_msg("status %d: %s", t.status, (char *)t.err.data);
    assert_int_equal(t.sent, total);
    assert_int_equal(t.received, total);
    assert_false(t.echo_wrong);
    assert_string_equal(t.why, "");
    talk_free(&t);
}

#define CAT "sh -c 'exec cat'"

/* ---- carrying ---- */

static void bytes_both_ways(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    assert_echo(prepare(&w, &plain, CAT), 64 * MIB + 17);
    assert_echo(&w.r, 0);
    assert_echo(&w.r, 1);
    finish(&w);
}

static void keys_are_exchanged_again_and_again(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    assert_echo(prepare(&w, &rekey, CAT), 48 * MIB + 1);
    finish(&w);
}

static void over_inet6(void **state)
{
    (void)state;
    NEEDS_SSHD;
    if (!plain.inet6)
        skip();
    struct world w;
    prepare(&w, &plain, CAT);
    know("known", "::1", plain.port, "host.pub");
    w.r.host = "::1";
    assert_echo(&w.r, MIB);
    finish(&w);
}

static void a_flood_of_errors_stops_nothing(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct talk t;
    prepare(&w, &plain, "sh -c 'head -c 52428800 /dev/zero >&2 & cat; wait'");
    run(&t, &w.r, 16 * MIB);
    assert_int_equal(t.status, 0);
    assert_int_equal(t.received, 16 * MIB);
    assert_false(t.echo_wrong);
    assert_true(t.err_received > 0 && t.err_received <= 52428800 + 4096);
    talk_free(&t);
    finish(&w);
}

/* Nobody reads err_fd: the data must flow all the same. */
static void errors_that_nobody_reads(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct link l = LINK_NONE;
    struct err e;
    char bytes[65536], why[256];
    prepare(&w, &plain, "sh -c 'head -c 20000000 /dev/zero >&2; head -c 20000000 /dev/zero'");
    assert_int_equal(link_remote(&l, &w.r, NULL, 0, &e), 0);
    size_t got = 0;
    for (struct pollfd p = {.fd = l.fd, .events = POLLIN}; got < 20000000;) {
        assert_true(poll(&p, 1, PATIENCE_MS) > 0);
        ssize_t n = read(l.fd, bytes, sizeof bytes);
        assert_true(n > 0);
        got += (size_t)n;
    }
    link_close(&l, 1, why, sizeof why);
    assert_string_equal(why, "");
    finish(&w);
}

static size_t memory_of(pid_t pid)
{
    char path[64];
    size_t pages = 0, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &pages, &resident), 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* A far end that sends and sends, and a coordinator that does not read: it is the far end that waits. */
static void a_slow_reader_swells_nothing(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct link l = LINK_NONE;
    struct err e;
    char why[256];
    /* A dot for each MiB that the far end got rid of: what windows and pipes on the way hold, and no more. */
    prepare(&w, &plain, "sh -c 'while head -c 1048576 /dev/zero; do echo . >&2; done'");
    assert_int_equal(link_remote(&l, &w.r, NULL, 0, &e), 0);
    size_t dots = 0;
    struct pollfd p = {.fd = l.err_fd, .events = POLLIN};
    while (poll(&p, 1, 1500) > 0) {
        char text[4096];
        ssize_t n = read(l.err_fd, text, sizeof text);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            dots += text[i] == '.';
        assert_true(dots < 64);
    }
    assert_true(memory_of(l.pid) < 96 * MIB);
    link_close(&l, 0, why, sizeof why);
    finish(&w);
}

static void the_far_status_is_passed_on(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct talk t;
    prepare(&w, &plain, "sh -c 'echo out; echo err >&2; exit 7'");
    run(&t, &w.r, 0);
    assert_int_equal(t.status, 7);
    assert_string_equal(t.why, "its agent ended with status 7");
    assert_int_equal(t.received, 4);
    assert_says(&t, "err\n");
    talk_free(&t);
    w.r.command = "/nowhere/sos-sync";
    run(&t, &w.r, 0);
    assert_int_equal(t.status, LINK_NOT_FOUND);
    assert_says(&t, "/nowhere/sos-sync");
    assert_string_equal(t.why, "its agent was not found at the far end");
    talk_free(&t);
    w.r.command = "sh -c 'kill -9 $$'";
    assert_fails(&w.r, "killed by signal KILL", "127.0.0.1");
    finish(&w);
}

static void the_command_gets_its_word(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct talk t;
    run(&t, prepare(&w, &plain, "echo"), 0);
    assert_int_equal(t.received, 6);
    assert_memory_equal(t.got.data, "agent\n", 6);
    talk_free(&t);
    finish(&w);
}

static void a_server_that_dies(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct talk t;
    /* The nearest ancestor of that name serves this connection alone. */
    write_file("kill", "echo last words\np=$PPID\nwhile :; do\ncase $(ps -o comm= -p $p) in sshd*) break ;; esac\n"
                       "p=$(ps -o ppid= -p $p | tr -d ' ')\ndone\nkill -9 $p\n");
    char *command = mem_printf("sh %s/kill", dir);
    prepare(&w, &plain, command);
    run(&t, &w.r, 0);
    assert_int_equal(t.status, LINK_FAILED);
    assert_says(&t, "connection");
    assert_string_equal(t.why, "its connection failed");
    assert_int_equal(t.received, 11);
    talk_free(&t);
    free(command);
    finish(&w);
}

static void our_end_closes(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct link l = LINK_NONE;
    struct err e;
    char why[256];
    /* Patiently: the far command sees the end, and its status comes back though nobody reads its output. */
    prepare(&w, &plain, "sh -c 'cat >/dev/null; echo x; exit 9'");
    assert_int_equal(link_remote(&l, &w.r, NULL, 0, &e), 0);
    int64_t start = clock_mono_ms();
    link_close(&l, 1, why, sizeof why);
    assert_true(clock_mono_ms() - start < 9000);
    assert_true(l.status == 9 || l.status == LINK_FAILED); /* the latter when it had not connected yet */
    /* Impatiently: the child is killed, whatever the far command does. */
    w.r.command = "sh -c 'exec sleep 5'";
    assert_int_equal(link_remote(&l, &w.r, NULL, 0, &e), 0);
    link_close(&l, 0, why, sizeof why);
    assert_int_equal(l.status, 128 + SIGKILL);
    assert_non_null(strstr(why, "its link was killed by signal 9"));
    finish(&w);
}

/* ---- the server's key ---- */

static void an_unknown_host(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    write_file("known", "# nothing\n");
    assert_fails(&w.r, "is not known: its key is ssh-ed25519 SHA256:", "--accept-new");
    char *known = read_file("known");
    assert_string_equal(known, "# nothing\n");
    free(known);
    /* The same key under the plain name says nothing about another port. */
    char *key = read_file("host.pub");
    write_file("known", "127.0.0.1 %s", key);
    assert_fails(&w.r, "is not known", "[127.0.0.1]");
    free(key);
    finish(&w);
}

static void a_new_host_is_recorded(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    char name[64];
    for (int hashed = 0; hashed < 2; hashed++) {
        prepare(&w, &plain, CAT);
        shell("rm -rf %s/new", dir);
        free(w.known);
        w.known = in_dir("new/known_hosts");
        w.r.known_hosts = w.known;
        w.r.accept_new = true;
        write_file("config", "Host *\n  GlobalKnownHostsFile none\n  HashKnownHosts %s\n", hashed ? "yes" : "no");
        assert_echo(&w.r, 10);
        struct stat st;
        assert_int_equal(stat(w.known, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        char *text = read_file("new/known_hosts");
        snprintf(name, sizeof name, "[127.0.0.1]:%u ssh-ed25519 ", plain.port);
        assert_int_equal(strncmp(text, hashed ? "|1|" : name, hashed ? 3 : strlen(name)), 0);
        free(text);
        w.r.accept_new = false;
        assert_echo(&w.r, 10);
        assert_int_equal(shell("test \"$(wc -l <%s)\" = 1", w.known), 0);
        assert_int_equal(shell("ssh-keygen -F '[127.0.0.1]:%u' -f %s >/dev/null", plain.port, w.known), 0);
        finish(&w);
    }
}

static void what_ssh_keygen_hashed(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    assert_int_equal(shell("ssh-keygen -q -H -f %s >/dev/null 2>&1", w.known), 0);
    char *text = read_file("known");
    assert_int_equal(strncmp(text, "|1|", 3), 0);
    free(text);
    assert_echo(&w.r, 10);
    finish(&w);
}

static void a_changed_key_is_never_taken(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    know("known", "127.0.0.1", plain.port, "other.pub");
    char *before = read_file("known");
    char *where = mem_printf("%s:1", w.known);
    assert_fails(&w.r, "CHANGED", where);
    w.r.accept_new = true;
    assert_fails(&w.r, "CHANGED", where);
    write_file("config", "Host *\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking no\n");
    assert_fails(&w.r, "CHANGED", where);
    /* A server that shows a key of another type than the known one is no new server either. */
    char *rsa = read_file("rsa.pub");
    write_file("known", "[127.0.0.1]:%u %s", plain.port, rsa);
    assert_fails(&w.r, "known only by a key of type ssh-rsa", where);
    char *after = read_file("known");
    assert_non_null(strstr(after, rsa));
    assert_null(strstr(after, "ed25519"));
    free(after);
    free(rsa);
    free(before);
    free(where);
    finish(&w);
}

static void a_revoked_key_is_never_taken(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    char *key = read_file("host.pub");
    write_file("known", "[127.0.0.1]:%u %s@revoked * %s", plain.port, key, key);
    w.r.accept_new = true;
    assert_fails(&w.r, "REVOKED", ":2");
    /* In the system's file, too. */
    know("known", "127.0.0.1", plain.port, "host.pub");
    write_file("global", "@revoked 127.0.0.1 %s", key);
    write_file("config", "Host *\n  GlobalKnownHostsFile %s/global\n", dir);
    assert_fails(&w.r, "REVOKED", "global:1");
    free(key);
    finish(&w);
}

static void an_alias_is_looked_up_instead(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    char *key = read_file("host.pub");
    write_file("known", "store %s", key);
    write_file("config", "Host there\n  HostName 127.0.0.1\n  HostKeyAlias Store\nHost *\n  GlobalKnownHostsFile none\n");
    w.r.host = "there";
    assert_echo(&w.r, 10);
    free(key);
    finish(&w);
}

/* ---- our key ---- */

static void keys_that_are_not_taken(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    use_key(&w, "stranger");
    assert_fails(&w.r, "stranger ssh-ed25519 (not accepted)", "publickey");
    use_key(&w, "locked");
    assert_fails(&w.r, "locked ssh-ed25519 (has a passphrase)", "ssh-add");
    use_key(&w, "nothing");
    assert_fails(&w.r, "there is no key to log in with", "ssh-keygen");
    use_key(&w, "host.pub");
    assert_fails(&w.r, "public half only", "--rsh ssh");
    finish(&w);
}

static void an_rsa_key(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct talk t;
    prepare(&w, &plain, CAT);
    use_key(&w, "rsa");
    run(&t, &w.r, 0);
    if (t.status != 0) /* a newer libssh2 signs it well */
        assert_says(&t, "signs RSA keys in a way that servers refuse today: use an ed25519 key, or --rsh ssh");
    talk_free(&t);
    finish(&w);
}

static void keys_from_the_agent(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    use_key(&w, "locked");
    char *socket_path = in_dir("agent.sock");
    char *argv[] = {(char *)"/usr/bin/ssh-agent", (char *)"-D", (char *)"-a", socket_path, NULL};
    if (access(argv[0], X_OK) < 0)
        skip();
    int log;
    pid_t agent = start_logged(argv, &log);
    write_file("ask", "#!/bin/sh\necho x\n");
    shell("chmod 700 %s/ask", dir);
    int rc = -1;
    for (int64_t end = clock_mono_ms() + PATIENCE_MS; rc != 0 && access(socket_path, F_OK) < 0;)
        assert_true(clock_mono_ms() < end);
    rc = shell("SSH_AUTH_SOCK=%s SSH_ASKPASS=%s/ask SSH_ASKPASS_REQUIRE=force ssh-add -q %s/locked </dev/null", socket_path,
               dir, dir);
    write_file("config", "Host *\n  GlobalKnownHostsFile none\n  IdentityAgent %s\n  IdentitiesOnly yes\n", socket_path);
    struct talk named, unnamed;
    run(&named, &w.r, 10);
    use_key(&w, "stranger");
    run(&unnamed, &w.r, 10);
    write_file("config", "Host *\n  GlobalKnownHostsFile none\n  IdentityAgent %s\n", socket_path);
    struct talk other;
    run(&other, &w.r, 10);
    kill(agent, SIGTERM);
    waitpid(agent, NULL, 0);
    close(log);
    assert_int_equal(rc, 0);
    assert_int_equal(named.status, 0);
    assert_int_equal(unnamed.status, LINK_FAILED); /* IdentitiesOnly: what the agent has beside is not shown */
    assert_int_equal(other.status, 0);
    talk_free(&named);
    talk_free(&unnamed);
    talk_free(&other);
    free(socket_path);
    finish(&w);
}

/* ---- the way there ---- */

static void nobody_there(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    w.r.port = free_port();
    assert_fails(&w.r, "cannot connect to 127.0.0.1", "Connection refused");
    w.r.host = "no-such-host.invalid";
    assert_fails(&w.r, "no-such-host.invalid", "host");
    write_file("config", "Nonsense yes\n");
    assert_fails(&w.r, "ssh -G", "Bad configuration option");
    finish(&w);
}

/* A socket that listens and never answers; one that answers with something else. */
static void no_ssh_server(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    getsockname(fd, (struct sockaddr *)&a, &len);
    prepare(&w, &plain, CAT);
    w.r.port = ntohs(a.sin_port);
    w.r.connect_timeout = 1;
    assert_fails(&w.r, "no answer within 1 seconds", "127.0.0.1");
    pid_t pid = fork();
    if (pid == 0) {
        accept(fd, NULL, NULL); /* the one that waited in vain */
        int one = accept(fd, NULL, NULL);
        char waste[256];
        if (write(one, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28)
            shutdown(one, SHUT_WR);
        while (read(one, waste, sizeof waste) > 0)
            ;
        _exit(0);
    }
    w.r.connect_timeout = 20;
    assert_fails(&w.r, "127.0.0.1", w.r.host);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd);
    finish(&w);
}

static void through_a_proxy_command(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    char *user = in_dir("user"), *config = in_dir("config");
    write_file("config",
               "Host far\n  HostName 127.0.0.1\n  ProxyCommand ssh -F %s -p %u -W %%h:%%p 127.0.0.1\n"
               "Host *\n  GlobalKnownHostsFile none\n  UserKnownHostsFile %s\n  IdentityFile %s\n  LogLevel ERROR\n",
               config, plain.port, w.known, user);
    w.r.host = "far";
    assert_echo(&w.r, 8 * MIB);
    write_file("config", "Host far\n  ProxyCommand echo no way for %%n >&2; exit 1\n");
    struct talk t;
    run(&t, &w.r, 0);
    assert_int_equal(t.status, LINK_FAILED);
    assert_says(&t, "no way for far\n");
    assert_says(&t, "proxy");
    talk_free(&t);
    free(user);
    free(config);
    finish(&w);
}

/* Whatever the proxy is: it ends with the link, even with one that is killed. */
static void a_proxy_ends_with_its_link(void **state)
{
    (void)state;
    struct world w;
    struct link l = LINK_NONE;
    struct err e;
    char why[256], text[32] = "";
    prepare(&w, &plain, CAT);
    if (shell("command -v ssh >/dev/null") != 0)
        skip();
    write_file("proxy", "echo $$ >&2\nexec sleep 1000\n");
    write_file("config", "Host far\n  ProxyCommand sh %s/proxy\n", dir);
    w.r.host = "far";
    assert_int_equal(link_remote(&l, &w.r, NULL, 0, &e), 0);
    struct pollfd p = {.fd = l.err_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_true(read(l.err_fd, text, sizeof text - 1) > 0);
    int pidfd = (int)syscall(SYS_pidfd_open, atoi(text), 0u);
    assert_true(pidfd >= 0);
    link_close(&l, 0, why, sizeof why);
    p = (struct pollfd){.fd = pidfd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    close(pidfd);
    finish(&w);
}

static void through_a_jump_host(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, CAT);
    char *user = in_dir("user");
    write_file("config",
               "Host far\n  HostName 127.0.0.1\n  ProxyJump one,two\n"
               "Host one two\n  HostName 127.0.0.1\n  Port %u\n"
               "Host *\n  GlobalKnownHostsFile none\n  UserKnownHostsFile %s\n  IdentityFile %s\n  LogLevel ERROR\n",
               plain.port, w.known, user);
    w.r.host = "far";
    assert_echo(&w.r, 8 * MIB);
    free(user);
    finish(&w);
}

/* ---- an external ssh ---- */

static void an_external_command(void **state)
{
    (void)state;
    struct link_remote r = {.host = "h", .command = "echo", .user = "u", .port = 7};
    struct talk t;
    write_file("args", "#!/bin/sh\nprintf '<%%s>' \"$@\"\n");
    write_file("exec", "#!/bin/sh\nshift\nexec \"$@\"\n");
    write_file("shell", "#!/bin/sh\nshift\nsh -c \"$*\"\n");
    shell("chmod 700 %s/args %s/exec %s/shell", dir, dir, dir);
    char *args = mem_printf("%s/args -x 'a b'", dir), *exec = in_dir("exec"), *via_shell = in_dir("shell");
    r.rsh = args;
    run(&t, &r, 0);
    assert_int_equal(t.status, 0);
    buf_u8(&t.got, 0);
    assert_string_equal((char *)t.got.data, "<-x><a b><-l><u><-p><7><h><echo><agent>");
    talk_free(&t);
    r.user = NULL;
    r.port = 0;
    r.rsh = exec;
    run(&t, &r, 0);
    assert_int_equal(t.received, 6);
    talk_free(&t);
    write_file("cat", "#!/bin/sh\nexec cat\n");
    shell("chmod 700 %s/cat", dir);
    char *cat = in_dir("cat");
    r.command = cat;
    assert_echo(&r, 4 * MIB);
    r.rsh = via_shell;
    assert_echo(&r, 4 * MIB);
    r.command = "exit 7; echo";
    run(&t, &r, 0);
    assert_int_equal(t.status, 7);
    talk_free(&t);
    free(cat);
    free(args);
    free(exec);
    free(via_shell);
}

static void an_external_ssh(void **state)
{
    (void)state;
    NEEDS_SSHD;
    struct world w;
    prepare(&w, &plain, "cat | cat; true");
    w.r.rsh = mem_printf("ssh -F %s -i %s -o UserKnownHostsFile=%s", w.config, w.key, w.known);
    assert_echo(&w.r, 8 * MIB);
    free((char *)(uintptr_t)w.r.rsh);
    finish(&w);
}

static void what_is_refused_before_anything_starts(void **state)
{
    (void)state;
    static const struct { const char *user, *host, *rsh; } bad[] = {
        {NULL, "-oProxyCommand=x", NULL}, {NULL, "", NULL},          {NULL, "a b", NULL}, {NULL, "a\nb", NULL},
        {NULL, "a$(x)", NULL},            {"-l", "h", NULL},         {"a;b", "h", NULL},  {NULL, "h", ""},
        {NULL, "h", "  "},                {NULL, "h", "ssh 'open"}, {NULL, "h", "ssh \\"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct link l = LINK_NONE;
        struct err e = {0};
        struct link_remote r = {.user = bad[i].user, .host = bad[i].host, .rsh = bad[i].rsh, .command = "true"};
        assert_int_equal(link_remote(&l, &r, NULL, 0, &e), ERR_USAGE);
        assert_true(e.msg[0] != '\0');
        assert_int_equal(l.pid, 0);
        assert_int_equal(l.fd, -1);
    }
    struct link_remote r = {.host = "h", .rsh = "/nowhere/ssh", .command = "true"};
    assert_fails(&r, "cannot run /nowhere/ssh", "No such file");
}

static int say_hello(int fd, void *ctx)
{
    return write(fd, ctx, 5) == 5 ? 3 : 4;
}

static void a_local_child_is_as_it_was(void **state)
{
    (void)state;
    struct link l = LINK_NONE;
    struct err e;
    char why[256], text[8];
    assert_int_equal(link_spawn(&l, say_hello, (void *)(uintptr_t)"hello", NULL, 0, &e), 0);
    assert_int_equal(l.err_fd, -1);
    struct pollfd p = {.fd = l.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_int_equal(read(l.fd, text, sizeof text), 5);
    link_close(&l, 1, why, sizeof why);
    assert_string_equal(why, "its agent ended with status 3");
    assert_int_equal(l.status, 3);
    link_close(&l, 1, why, sizeof why);
    assert_string_equal(why, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_local_child_is_as_it_was),
        cmocka_unit_test(what_is_refused_before_anything_starts),
        cmocka_unit_test(an_external_command),
        cmocka_unit_test(an_external_ssh),
        cmocka_unit_test(bytes_both_ways),
        cmocka_unit_test(keys_are_exchanged_again_and_again),
        cmocka_unit_test(over_inet6),
        cmocka_unit_test(a_flood_of_errors_stops_nothing),
        cmocka_unit_test(errors_that_nobody_reads),
        cmocka_unit_test(a_slow_reader_swells_nothing),
        cmocka_unit_test(the_far_status_is_passed_on),
        cmocka_unit_test(the_command_gets_its_word),
        cmocka_unit_test(a_server_that_dies),
        cmocka_unit_test(our_end_closes),
        cmocka_unit_test(an_unknown_host),
        cmocka_unit_test(a_new_host_is_recorded),
        cmocka_unit_test(what_ssh_keygen_hashed),
        cmocka_unit_test(a_changed_key_is_never_taken),
        cmocka_unit_test(a_revoked_key_is_never_taken),
        cmocka_unit_test(an_alias_is_looked_up_instead),
        cmocka_unit_test(keys_that_are_not_taken),
        cmocka_unit_test(an_rsa_key),
        cmocka_unit_test(keys_from_the_agent),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(no_ssh_server),
        cmocka_unit_test(through_a_proxy_command),
        cmocka_unit_test(a_proxy_ends_with_its_link),
        cmocka_unit_test(through_a_jump_host),
    };
    return cmocka_run_group_tests(tests, start_world, end_world);
}
