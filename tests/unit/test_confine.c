/*
 * An agent that is confined, against a coordinator that wants more: it gets the one root, its objects, and nothing else. The
 * first half asks the kernel: probes run inside the real agent (linked with --wrap, see the Makefile), before it reads the
 * greeting and again when it is about to touch the store. The second half asks the agent itself.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/mem.h"
#include "store/store.h"
#include "wire/message.h"

static char world[] = "/tmp/test_confine.XXXXXX";

/* ---- probes ---- */

enum { PASSWD, MAKE_OUTSIDE, MAKE_IN_TMP, RENAME_OUT, TRUNCATE, EXEC, CONNECT, PROBES };

struct probe {
    int before_greeting;    /* opening /etc/passwd: 0 or errno */
    int at_store[PROBES];
    int inside;             /* making a file in the root */
};

static struct { int to, port; struct probe seen; bool greeted; } probing;

static int open_it(const char *dir, const char *name, int flags)
{
    char *path = name ? mem_printf("%s/%s", dir, name) : mem_strdup(dir);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : 0;
    free(path);
    if (fd >= 0)
        close(fd);
    return error;
}

static int rename_out(const char *root)
{
    char *from = mem_printf("%s/inside", root), *to = mem_printf("%s/out", world);
    int error = rename(from, to) < 0 ? errno : 0;
    if (error == 0)
        rename(to, from);
    free(from);
    free(to);
    return error;
}

static int truncate_secret(void)
{
    char *path = mem_printf("%s/spare", world);
    int error = truncate(path, 0) < 0 ? errno : 0;
    free(path);
    return error;
}

static int exec_it(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(errno);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int connect_it(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = (in_port_t)probing.port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
    close(fd);
    return error;
}

int __real_wire_in_greeting(struct wire_in *in, struct wire_greeting *g, struct err *e);
int __wrap_wire_in_greeting(struct wire_in *in, struct wire_greeting *g, struct err *e);
struct store *__real_store_dir_new(const struct store_options *o);
struct store *__wrap_store_dir_new(const struct store_options *o);

int __wrap_wire_in_greeting(struct wire_in *in, struct wire_greeting *g, struct err *e)
{
    if (probing.to > 0 && !probing.greeted)
        probing.seen.before_greeting = open_it("/etc/passwd", NULL, O_RDONLY);
    probing.greeted = true;
    return __real_wire_in_greeting(in, g, e);
}

struct store *__wrap_store_dir_new(const struct store_options *o)
{
    struct probe *p = &probing.seen;
    if (probing.to > 0) {
        p->at_store[PASSWD] = open_it("/etc/passwd", NULL, O_RDONLY);
        p->at_store[MAKE_OUTSIDE] = open_it(world, "made", O_WRONLY | O_CREAT);
        p->at_store[MAKE_IN_TMP] = open_it("/tmp", NULL, O_RDWR | O_TMPFILE);
        p->at_store[RENAME_OUT] = rename_out(o->root);
        p->at_store[TRUNCATE] = truncate_secret();
        p->at_store[EXEC] = exec_it();
        p->at_store[CONNECT] = connect_it();
        p->inside = open_it(o->root, "made-inside", O_WRONLY | O_CREAT);
        if (write(probing.to, p, sizeof *p) != sizeof *p)
            _exit(9);
    }
    return __real_store_dir_new(o);
}

/* ---- a session ---- */

struct session {
    pid_t pid;
    struct uuid id; /* what OPENED said */
    int fd, from; /* from: the agent's output where that is another descriptor */
    struct wire_in in;
    struct wire_out out;
};

static char *at(const char *name)
{
    return mem_printf("%s/%s", world, name);
}

static int make_world(void **state)
{
    (void)state;
    strcpy(world + strlen(world) - 6, "XXXXXX");
    if (!mkdtemp(world))
        return -1;
    char *command = mem_printf("cd %s && mkdir store store/dir other && printf hello >store/inside && printf secret >secret && "
                               "printf spare >spare && printf secret >other/mine && ln -s .. store/link", world);
    int rc = system(command);
    free(command);
    return rc;
}

static int remove_world(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf %s", world);
    int rc = system(command);
    free(command);
    return rc;
}

static bool exists(const char *name)
{
    struct stat st;
    char *path = at(name);
    bool there = lstat(path, &st) == 0;
    free(path);
    return there;
}

static bool file_is(const char *name, const char *text)
{
    char got[64] = "", *path = at(name);
    FILE *f = fopen(path, "r");
    free(path);
    size_t n = f ? fread(got, 1, sizeof got - 1, f) : 0;
    if (f)
        fclose(f);
    return f && n == strlen(text) && memcmp(got, text, n) == 0;
}

/* pipes: as a login server may give them; else a socket pair. */
static void start(struct session *s, const struct agent_options *options, bool pipes)
{
    int to[2], from[2];
    *s = (struct session){0};
    if (pipes) {
        assert_int_equal(pipe2(to, O_CLOEXEC), 0);
        assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    } else {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to), 0);
        from[0] = to[1];
        from[1] = to[0];
    }
    s->pid = fork();
    if (s->pid == 0) {
        struct err e;
        close(to[1]);
        if (pipes)
            close(from[0]);
        _exit(agent_serve(to[0], from[1], options, &e) < 0 ? 2 : 0);
    }
    close(to[0]);
    if (pipes)
        close(from[1]);
    s->fd = to[1];
    s->from = from[0];
    wire_in_init(&s->in, s->from);
    wire_out_init(&s->out, s->fd);
    wire_out_greeting(&s->out, WIRE_CAP_FDS);
}

/* Its exit status: 0, or 2 when it has refused to go on. */
static int stop(struct session *s)
{
    int status;
    wire_in_close(&s->in);
    wire_out_close(&s->out);
    close(s->fd);
    if (s->from != s->fd)
        close(s->from);
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The next message that is not a sign of life; PROBLEM only where it is asked for. Type 0 at the end of the stream. */
static struct frame next_of(struct session *s, bool problems)
{
    struct frame f = {0};
    struct err e;
    wire_out_flush(&s->out);
    for (;;) {
        struct wire_greeting g;
        int rc = s->in.greeted ? wire_in_frame(&s->in, &f, &e) : 0;
        assert_true(rc >= 0);
        if (rc > 0 && f.type != MSG_PROGRESS && (problems || f.type != MSG_PROBLEM))
            return f;
        if (rc > 0)
            continue;
        if (wire_in_fill(&s->in) <= 0)
            return (struct frame){0};
        if (!s->in.greeted)
            assert_true(__real_wire_in_greeting(&s->in, &g, &e) >= 0);
    }
}

static struct frame next(struct session *s)
{
    return next_of(s, false);
}

static void say_open(struct session *s, unsigned flags, const char *root, const char *state_dir)
{
    struct buf rules = {0};
    struct filter *none = filter_new();
    struct message_open m = {.flags = flags, .root = root, .root_len = strlen(root), .state_dir = state_dir,
                             .state_dir_len = strlen(state_dir), .rules = {.tombstones = 34560000, .trash = 604800}};
    filter_put(none, &rules);
    message_put_open(&s->out, &m, &rules);
    filter_free(none);
    buf_free(&rules);
}

static unsigned opened(struct session *s)
{
    struct message_opened m;
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_OPENED);
    assert_int_equal(message_get_opened(&f, &m, NULL), 0);
    s->id = m.id;
    return m.flags;
}

static struct manifest_totals scan(struct session *s)
{
    struct message_scan m = {.id = s->id, .group = "g", .group_len = 1};
    struct message_scanned got;
    message_put_scan(&s->out, &m);
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_SCANNED);
    assert_int_equal(message_get_scanned(&f, &got, NULL), 0);
    int fd = wire_in_take_fd(&s->in);
    if (fd >= 0)
        close(fd);
    return got.totals;
}

static void begin(struct session *s, const struct agent_options *options, const char *root)
{
    start(s, options, false);
    say_open(s, 0, root, "");
    opened(s);
    scan(s);
}

/* What it was refused with. */
static void refused(struct session *s, int code, const char *with)
{
    const char *text;
    size_t n;
    int got;
    struct frame f = next(s);
    assert_int_equal(f.type, MSG_FAILED);
    assert_int_equal(message_get_failed(&f, &got, &text, &n, NULL), 0);
    assert_int_equal(got, code);
    if (!memmem(text, n, with, strlen(with)))
        fail_msg("\"%.*s\" does not say \"%s\"", (int)n, text, with);
    assert_int_equal(next(s).type, 0);
    assert_int_equal(stop(s), 2);
}

static struct message_apply an_op(uint64_t seq, const char *path, enum entry_kind kind, const char *content)
{
    struct message_apply m = {.seq = seq, .how = STORE_CONTENT, .from = kind == ENTRY_DIR ? STORE_FROM_NOWHERE : STORE_FROM_STREAM};
    m.entry.path = path;
    m.entry.path_len = strlen(path);
    m.entry.kind = kind;
    m.entry.mode = kind == ENTRY_DIR ? 0755 : kind == ENTRY_LINK ? ENTRY_MODE_MAX : 0644;
    if (kind != ENTRY_DIR) {
        m.entry.size = strlen(content);
        m.entry.mtime.sec = 1700000000;
        m.entry.digest = digest_of(content, strlen(content));
    }
    uuid_random(&m.entry.origin);
    version_set(&m.entry.version, &m.entry.origin, 1);
    return m;
}

static void result_is(struct session *s, uint64_t seq, int code)
{
    struct message_result m;
    struct frame f;
    do
        f = next(s);
    while (f.type == MSG_CREDIT || f.type == MSG_DONE);
    if (f.type == MSG_FAILED)
        fail_msg("FAILED: %.*s", (int)rd_left(&f.body), (const char *)f.body.p);
    assert_int_equal(f.type, MSG_RESULT);
    assert_int_equal(message_get_result(&f, &m, NULL), 0);
    assert_int_equal(m.seq, seq);
    if (m.code != code)
        fail_msg("code %d, not %d: %.*s", m.code, code, (int)m.text_len, m.text);
}

/* ---- what the kernel says ---- */

static int version(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
}

/* Serves with these options to a caller that opens the store with these flags, and tells what the probes met. */
static struct probe probe(const struct agent_options *options, unsigned flags)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof here;
    struct session s;
    struct probe seen;
    int tell[2], ear = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(ear, (struct sockaddr *)&here, sizeof here), 0);
    assert_int_equal(listen(ear, 4), 0);
    assert_int_equal(getsockname(ear, (struct sockaddr *)&here, &len), 0);
    assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
    memset(&probing, 0, sizeof probing);
    probing.to = tell[1];
    probing.port = here.sin_port;
    start(&s, options, false);
    probing.to = 0;
    char *root = at("store");
    say_open(&s, flags, root, "");
    free(root);
    opened(&s);
    assert_int_equal(read(tell[0], &seen, sizeof seen), sizeof seen);
    close(tell[0]);
    close(tell[1]);
    close(ear);
    wire_out_frame(&s.out, MSG_BYE, 0, NULL, 0);
    wire_out_flush(&s.out);
    assert_int_equal(stop(&s), 0);
    return seen;
}

static void all_are(const struct probe *p, int error)
{
    for (int i = 0; i < PROBES; i++) {
        if ((i == TRUNCATE && version() < 3) || (i == CONNECT && version() < 4))
            continue;
        if (p->at_store[i] != error)
            fail_msg("probe %d: %s", i, strerror(p->at_store[i]));
    }
    assert_int_equal(p->inside, 0);
}

static void locked_in_before_the_greeting(void **state)
{
    (void)state;
    if (version() < 2)
        skip();
    char *root = at("store");
    struct agent_options options = {.root = root};
    struct probe p = probe(&options, 0);
    assert_int_equal(p.before_greeting, EACCES);
    all_are(&p, EACCES);
    p = probe(&options, OPEN_NO_SANDBOX); /* the caller has no say in it */
    assert_int_equal(p.before_greeting, EACCES);
    all_are(&p, EACCES);
    free(root);
}

static void locked_in_at_open(void **state)
{
    (void)state;
    if (version() < 2)
        skip();
    struct agent_options options = {0};
    struct probe p = probe(&options, 0);
    assert_int_equal(p.before_greeting, 0); /* it does not know yet what to lock itself in to */
    all_are(&p, EACCES);
}

static void locked_in_locally(void **state)
{
    (void)state;
    if (version() < 2)
        skip();
    char *root = at("store"), *other = at("other");
    const char *neighbour[] = {other, "/no/such/place"};
    struct agent_options options = {.root = root, .local = true, .neighbour = neighbour, .neighbours = 2};
    struct probe p = probe(&options, 0);
    assert_int_equal(p.before_greeting, EACCES);
    all_are(&p, EACCES);
    free(root);
    free(other);
}

/* What shows that the probes above can fail. */
static void not_locked_in(void **state)
{
    (void)state;
    char *root = at("store");
    struct agent_options own = {.root = root, .no_sandbox = true}, callers = {0};
    struct probe p = probe(&own, 0);
    assert_int_equal(p.before_greeting, 0);
    all_are(&p, 0);
    p = probe(&callers, OPEN_NO_SANDBOX);
    all_are(&p, 0);
    free(root);
}

/* The kernel again: a member's root that is lent is readable if it was named, and nothing else is, whoever lends it. */
static void what_may_be_lent(void **state)
{
    (void)state;
    if (version() < 2)
        skip();
    char *root = at("store"), *other = at("other");
    const char *neighbour[] = {other};
    struct agent_options options = {.root = root, .local = true, .neighbour = neighbour, .neighbours = 1};
    struct session s;
    begin(&s, &options, root);
    wire_out_pass(&s.out, open(world, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    message_put_number(&s.out, MSG_LEND, 0, 1);
    wire_out_pass(&s.out, open(other, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    message_put_number(&s.out, MSG_LEND, 0, 2);
    struct message_apply m = an_op(1, "mine", ENTRY_FILE, "secret"), n = an_op(2, "secret", ENTRY_FILE, "secret");
    struct stat st;
    char *path = at("other/mine");
    assert_int_equal(stat(path, &st), 0);
    m.entry.mtime = (struct stamp){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    free(path);
    path = at("secret");
    assert_int_equal(stat(path, &st), 0);
    n.entry.mtime = (struct stamp){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    free(path);
    m.from = n.from = STORE_FROM_ROOT;
    m.lender = 2;
    n.lender = 1;
    message_put_apply(&s.out, 0, &m);
    message_put_apply(&s.out, 0, &n);
    wire_out_frame(&s.out, MSG_FLUSH, 0, NULL, 0);
    struct message_result r;
    struct frame f = next(&s);
    assert_int_equal(f.type, MSG_RESULT);
    assert_int_equal(message_get_result(&f, &r, NULL), 0);
    assert_int_equal(r.seq, 2);
    assert_int_equal(next(&s).type, MSG_DONE);
    stop(&s);
    assert_true(file_is("store/mine", "secret"));
    assert_false(exists("store/secret"));
    free(root);
    free(other);
}

/* A root that is still to be made takes its parent, but only until it is there. */
static void a_root_to_be_made(void **state)
{
    (void)state;
    if (version() < 2)
        skip();
    char *root = at("new");
    struct agent_options options = {.root = root, .local = true};
    struct session s;
    begin(&s, &options, root);
    assert_true(exists("new/.sos-sync/marker"));
    wire_out_pass(&s.out, open(world, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    message_put_number(&s.out, MSG_LEND, 0, 1);
    struct message_apply m = an_op(1, "secret", ENTRY_FILE, "secret");
    struct stat st;
    char *path = at("secret");
    assert_int_equal(stat(path, &st), 0);
    m.entry.mtime = (struct stamp){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    m.from = STORE_FROM_ROOT;
    m.lender = 1;
    message_put_apply(&s.out, 0, &m);
    wire_out_frame(&s.out, MSG_FLUSH, 0, NULL, 0);
    assert_int_equal(next(&s).type, MSG_RESULT);
    stop(&s);
    assert_false(exists("new/secret"));
    free(path);
    free(root);
}

/* ---- which root ---- */

static void another_root(void **state)
{
    (void)state;
    char *root = at("store"), *other = at("other"), *dir = at("state");
    struct agent_options options = {.root = root};
    struct message_problem m;
    struct session s;
    start(&s, &options, false);
    say_open(&s, 0, other, dir);
    struct frame f = next_of(&s, true);
    assert_int_equal(f.type, MSG_PROBLEM);
    assert_int_equal(message_get_problem(&f, &m, NULL), 0);
    assert_false(m.error);
    assert_non_null(memmem(m.text, m.text_len, other, strlen(other)));
    opened(&s);
    assert_int_equal(scan(&s).objects, 2);
    stop(&s);
    assert_true(exists("store/.sos-sync/marker"));
    assert_false(exists("other/.sos-sync"));
    assert_false(exists("state"));
    /* The very same, written otherwise, is no news. */
    start(&s, &options, false);
    char *slash = mem_printf("%s//", root);
    say_open(&s, 0, slash, "");
    assert_int_equal(next_of(&s, true).type, MSG_OPENED);
    stop(&s);
    free(slash);
    free(root);
    free(other);
    free(dir);
}

static void its_own_state_directory(void **state)
{
    (void)state;
    char *root = at("store"), *dir = at("state");
    struct agent_options options = {.root = root, .state_dir = dir};
    struct session s;
    begin(&s, &options, root);
    stop(&s);
    assert_true(exists("state"));
    assert_false(exists("store/.sos-sync"));
    begin(&s, &options, root); /* now it is there, and the rule a narrower one */
    stop(&s);
    free(root);
    free(dir);
}

static void the_home_directory(void **state)
{
    (void)state;
    struct agent_options options = {0};
    struct session s;
    setenv("HOME", world, 1);
    start(&s, &options, true);
    say_open(&s, 0, "~/store", "~/state");
    assert_int_equal(opened(&s) & OPENED_EXISTS, OPENED_EXISTS);
    assert_int_equal(scan(&s).objects, 2);
    stop(&s);
    assert_true(exists("state"));
    start(&s, &options, true);
    say_open(&s, OPEN_DRY_RUN, "~", "");
    assert_int_equal(opened(&s) & OPENED_EXISTS, OPENED_EXISTS);
    assert_true(scan(&s).objects >= 5);
    stop(&s);
    assert_false(exists(".sos-sync"));
}

static void no_relative_root(void **state)
{
    (void)state;
    static const char *const root[] = {"store", "./store", "~root/x", "~root"};
    struct agent_options options = {0};
    struct session s;
    assert_int_equal(chdir(world), 0);
    for (size_t i = 0; i < sizeof root / sizeof root[0]; i++) {
        start(&s, &options, true);
        say_open(&s, 0, root[i], "");
        refused(&s, ERR_USAGE, "must begin with");
    }
    char *whole = at("store");
    start(&s, &options, true);
    say_open(&s, 0, whole, "state");
    refused(&s, ERR_USAGE, "must begin with");
    free(whole);
    assert_false(exists("store/.sos-sync"));
    struct agent_options local = {.root = "store", .local = true};
    begin(&s, &local, "store");
    stop(&s);
    assert_true(exists("store/.sos-sync"));
    assert_int_equal(chdir("/"), 0);
}

/* ---- what a caller may name ---- */

static void no_way_out_by_name(void **state)
{
    (void)state;
    static const char *const path[] = {"../secret", "dir/../../secret", "/etc/passwd", ".", ".sos-sync/marker", "dir//x"};
    char *root = at("store");
    struct agent_options options = {.root = root};
    struct session s;
    for (size_t i = 0; i < 2 * (sizeof path / sizeof path[0]); i++) {
        struct message_apply m = an_op(1, path[i / 2], ENTRY_FILE, "secret");
        begin(&s, &options, root);
        if (i % 2)
            message_put_send(&s.out, MSG_SEND, 1, &m.entry);
        else
            message_put_apply(&s.out, 1, &m);
        refused(&s, ERR_PROTO, i % 2 ? "SEND" : "APPLY");
    }
    assert_true(file_is("secret", "secret"));
    free(root);
}

/* A symlink in the store leads nowhere: not when read through, not when written through. */
static void no_way_out_by_symlink(void **state)
{
    (void)state;
    char *root = at("store");
    struct agent_options options = {.root = root};
    struct session s;
    begin(&s, &options, root);
    struct message_apply m = an_op(1, "link/other/mine", ENTRY_FILE, "secret"), dir = an_op(1, "link/made", ENTRY_DIR, NULL);
    message_put_send(&s.out, MSG_SEND, 1, &m.entry);
    wire_out_frame(&s.out, MSG_SEND_END, 1, NULL, 0);
    message_put_number(&s.out, MSG_CREDIT, 1, 1 << 20);
    struct frame f;
    while ((f = next(&s)).type == MSG_DATA)
        assert_null(memmem(f.body.p, rd_left(&f.body), "secret", 6));
    assert_int_equal(f.type, MSG_DATA_END);
    message_put_apply(&s.out, 0, &dir);
    wire_out_frame(&s.out, MSG_FLUSH, 0, NULL, 0);
    result_is(&s, 1, ERR_CHANGED);
    stop(&s);
    assert_false(exists("made"));
    free(root);
}

/* ---- descriptors and queues ---- */

static void no_descriptors(void **state)
{
    (void)state;
    char *root = at("store");
    struct agent_options options = {.root = root};
    struct session s;
    for (int pipes = 0; pipes < 2; pipes++) {
        start(&s, &options, pipes);
        say_open(&s, 0, root, "");
        opened(&s);
        if (!pipes)
            wire_out_pass(&s.out, open(world, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        message_put_number(&s.out, MSG_LEND, 0, 1);
        refused(&s, ERR_PROTO, "LEND");
    }
    begin(&s, &options, root);
    assert_int_equal(s.in.passed_n, 0); /* nor does it give any */
    stop(&s);
    free(root);
}

static void more_commands_than_may_wait(void **state)
{
    (void)state;
    char *root = at("store"), *body = mem_zalloc(WIRE_PAYLOAD_MAX);
    struct agent_options options = {.root = root};
    struct session s;
    begin(&s, &options, root);
    message_put_list(&s.out, &(struct message_list){0}); /* without credit: it waits, and what follows must wait with it */
    assert_int_equal(next(&s).type, MSG_LISTING);
    for (int i = 0; i < 80 && wire_out_flush(&s.out) == 0; i++)
        wire_out_frame(&s.out, MSG_COMMIT, 0, body, WIRE_PAYLOAD_MAX);
    refused(&s, ERR_PROTO, "more commands than");
    free(body);
    free(root);
}

static void more_objects_than_may_wait(void **state)
{
    (void)state;
    char *root = at("store"), path[PATH_LEN_MAX + 1];
    struct agent_options options = {.root = root};
    struct session s;
    for (size_t i = 0; i < PATH_LEN_MAX; i++)
        path[i] = i % 200 == 199 ? '/' : 'x';
    path[PATH_LEN_MAX] = '\0';
    struct message_apply m = an_op(1, path, ENTRY_FILE, "secret");
    begin(&s, &options, root);
    for (int i = 0; i < 70000; i++) {
        message_put_send(&s.out, MSG_SEND, 1, &m.entry);
        if (wire_out_waiting(&s.out) > 1 << 20 && wire_out_flush(&s.out) < 0)
            break;
    }
    refused(&s, ERR_PROTO, "may wait");
    free(root);
}

/* ---- for reading only, and without deleting ---- */

static void reading_only(void **state)
{
    (void)state;
    char *root = at("store");
    struct agent_options options = {.root = root, .read_only = true};
    struct session s;
    for (int time = 0; time < 2; time++) { /* the first makes the state directory */
        start(&s, &options, false);
        say_open(&s, 0, root, "");
        assert_int_equal(opened(&s) & (OPENED_READ_ONLY | OPENED_NO_DELETE), OPENED_READ_ONLY);
        scan(&s);
        struct message_apply m[] = {
            an_op(1, "a-stream", ENTRY_FILE, "new"), an_op(2, "adopted", ENTRY_FILE, "hello"),
            an_op(3, "dir", ENTRY_FILE, "new"), an_op(4, "dir2", ENTRY_DIR, NULL),
            an_op(5, "inside", ENTRY_FILE, "hello"), an_op(6, "lent", ENTRY_FILE, "new"), an_op(7, "s", ENTRY_LINK, "x"),
        };
        m[1].from = STORE_FROM_SELF;
        m[4].how = STORE_META;
        m[4].from = STORE_FROM_NOWHERE;
        m[5].from = STORE_FROM_ROOT;
        m[5].lender = 3; /* who lent nothing: it does not get as far as that */
        for (size_t i = 0; i < 7; i++)
            message_put_apply(&s.out, m[i].from == STORE_FROM_STREAM ? 1 : 0, &m[i]);
        wire_out_frame(&s.out, MSG_FLUSH, 0, NULL, 0);
        for (uint64_t i = 1; i <= 7; i++)
            result_is(&s, i, ERR_DENIED);
        message_put_commit(&s.out, NULL, 0);
        struct frame f;
        do
            f = next(&s);
        while (f.type == MSG_DONE);
        assert_int_equal(f.type, MSG_COMMITTED); /* the session goes on */
        wire_out_frame(&s.out, MSG_BYE, 0, NULL, 0);
        wire_out_flush(&s.out);
        assert_int_equal(stop(&s), 0);
        assert_true(file_is("store/inside", "hello"));
        assert_false(exists("store/a-stream") || exists("store/adopted") || exists("store/dir2") || exists("store/s"));
    }
    free(root);
}

static void reading_only_makes_no_root(void **state)
{
    (void)state;
    char *root = at("nowhere");
    struct agent_options options = {.root = root, .read_only = true};
    struct message_scan m = {.group = "g", .group_len = 1};
    struct session s;
    start(&s, &options, false);
    say_open(&s, 0, root, "");
    opened(&s);
    m.id = s.id;
    message_put_scan(&s.out, &m);
    refused(&s, ERR_DENIED, "reading only");
    assert_false(exists("nowhere"));
    free(root);
}

static void without_deleting(void **state)
{
    (void)state;
    char *root = at("store");
    struct agent_options options = {.root = root, .no_delete = true};
    struct session s;
    start(&s, &options, false);
    say_open(&s, 0, root, "");
    assert_int_equal(opened(&s) & (OPENED_READ_ONLY | OPENED_NO_DELETE), OPENED_NO_DELETE);
    scan(&s);
    struct message_apply m[] = {
        an_op(1, "copy", ENTRY_FILE, "hello"), an_op(2, "inside", ENTRY_DIR, NULL), an_op(3, "link", ENTRY_FILE, "hello"),
        an_op(4, "new", ENTRY_DIR, NULL),
    };
    m[0].from = m[2].from = STORE_FROM_SELF;
    for (size_t i = 0; i < 4; i++)
        message_put_apply(&s.out, 0, &m[i]);
    wire_out_frame(&s.out, MSG_FLUSH, 0, NULL, 0);
    result_is(&s, 2, ERR_DENIED);
    result_is(&s, 3, ERR_DENIED);
    struct frame f = next(&s);
    assert_int_equal(f.type, MSG_DONE);
    stop(&s);
    assert_true(file_is("store/copy", "hello") && file_is("store/inside", "hello"));
    assert_true(exists("store/new") && exists("store/link"));
    free(root);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, remove_world)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(locked_in_before_the_greeting), TEST(locked_in_at_open), TEST(locked_in_locally), TEST(not_locked_in),
        TEST(what_may_be_lent), TEST(a_root_to_be_made), TEST(another_root), TEST(its_own_state_directory),
        TEST(the_home_directory), TEST(no_relative_root), TEST(no_way_out_by_name), TEST(no_way_out_by_symlink),
        TEST(no_descriptors), TEST(more_commands_than_may_wait), TEST(more_objects_than_may_wait), TEST(reading_only),
        TEST(reading_only_makes_no_root), TEST(without_deleting),
    };
    return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
