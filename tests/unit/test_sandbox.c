/* What the kernel refuses to a process that has locked itself in, and what it still allows. */
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

#include "base/mem.h"
#include "base/sandbox.h"

static char world[] = "/tmp/test_sandbox.XXXXXX";

/* "in" is for writing, "read" for reading, all else is out of bounds. */
static int make_world(void **state)
{
    (void)state;
    strcpy(world + strlen(world) - 6, "XXXXXX");
    if (!mkdtemp(world) || chdir(world) < 0)
        return -1;
    return system("mkdir in in/sub read && echo a >in/a && echo b >read/b && echo c >c && ln -s ../c in/link && ln -s in to-in");
}

static int remove_world(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf %s", world);
    int rc = chdir("/") < 0 ? -1 : system(command);
    free(command);
    return rc;
}

static const struct sandbox_rule usual[] = {
    {.path = "in", .access = SANDBOX_READ | SANDBOX_WRITE},
    {.path = "read", .access = SANDBOX_READ},
    {.path = "not-there", .access = SANDBOX_READ | SANDBOX_WRITE},
};

/* Each tries one thing: 0, or errno. */
static int opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

static int result(int rc)
{
    return rc < 0 ? errno : 0;
}

/* Which of the refusals it is depends on what the kernel looks at first. */
static int denied(int error)
{
    return error == EXDEV || error == EPERM ? EACCES : error;
}

static int connects(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
    close(fd);
    return error;
}

static int links_unnamed(const char *dir, const char *name)
{
    char from[32];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    int rc = result(linkat(AT_FDCWD, from, AT_FDCWD, name, AT_SYMLINK_FOLLOW));
    close(fd);
    return rc;
}

#define CHECK(expression, want) \
    do { \
        int got_ = (expression); \
        if (got_ != (want)) { \
            fprintf(stderr, "line %d: %s: %s, not %s\n", __LINE__, #expression, strerror(got_), strerror(want)); \
            _exit(1); \
        } \
    } while (0)

/* Runs it in a child, since there is no way back out. */
static void locked(void (*body)(void))
{
    int status;
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 2)
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void outside_body(void)
{
    int early = open("c", O_RDONLY | O_CLOEXEC), up = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char byte;
    CHECK(opens("/etc/passwd", O_RDONLY), 0);
    CHECK(sandbox_enter(usual, 3, NULL), 1);
    CHECK(opens("/etc/passwd", O_RDONLY), EACCES);
    CHECK(opens("c", O_RDONLY), EACCES);
    CHECK(opens(".", O_RDONLY | O_DIRECTORY), EACCES);
    CHECK(opens("in/link", O_RDONLY), EACCES);
    CHECK(opens("in/../c", O_RDONLY), EACCES);
    CHECK(opens("new", O_WRONLY | O_CREAT), EACCES);
    CHECK(opens("/tmp", O_TMPFILE | O_RDWR), EACCES);
    CHECK(result(openat(up, "c", O_RDONLY)), EACCES); /* an open directory is no way around */
    CHECK(result(mkdir("dir", 0700)), EACCES);
    CHECK(result(unlink("c")), EACCES);
    CHECK(result(symlink("c", "s")), EACCES);
    CHECK(result(truncate("c", 0)), EACCES);
    CHECK(denied(result(link("in/a", "a"))), EACCES);
    CHECK(denied(result(rename("in/a", "a"))), EACCES);
    CHECK(denied(result(rename("c", "in/c"))), EACCES);
    CHECK((int)read(early, &byte, 1), 1); /* but what was open stays so */
    CHECK(opens("not-there", O_WRONLY | O_CREAT), EACCES);
}

static void outside(void **state)
{
    (void)state;
    locked(outside_body);
    assert_int_equal(opens("c", O_RDONLY), 0); /* the child alone is locked in */
}

static void inside_body(void)
{
    CHECK(sandbox_enter(usual, 3, NULL), 1);
    CHECK(opens("in/a", O_RDWR | O_TRUNC), 0);
    CHECK(opens("to-in/new", O_WRONLY | O_CREAT | O_EXCL), 0);
    CHECK(result(rename("in/new", "in/sub/new")), 0);
    CHECK(result(link("in/sub/new", "in/second")), 0);
    CHECK(result(mkdir("in/dir", 0700)), 0);
    CHECK(result(rmdir("in/dir")), 0);
    CHECK(result(symlink("x", "in/sym")), 0);
    CHECK(result(unlink("in/sym")), 0);
    CHECK(links_unnamed("in/sub", "in/sub/named"), 0);
    CHECK(result(mkfifo("in/fifo", 0600)), EACCES);
    CHECK(denied(result(mknod("in/dev", S_IFCHR | 0600, 0x103))), EACCES);
}

static void inside(void **state)
{
    (void)state;
    locked(inside_body);
}

static void reading_only_body(void)
{
    CHECK(sandbox_enter(usual, 3, NULL), 1);
    CHECK(opens("read", O_RDONLY | O_DIRECTORY), 0);
    CHECK(opens("read/b", O_RDONLY), 0);
    CHECK(opens("read/b", O_WRONLY), EACCES);
    CHECK(opens("read/new", O_WRONLY | O_CREAT), EACCES);
    CHECK(result(unlink("read/b")), EACCES);
    CHECK(denied(result(rename("read/b", "in/b"))), EACCES);
}

static void reading_only(void **state)
{
    (void)state;
    locked(reading_only_body);
}

static void beyond_files_body(void)
{
    char *argv[] = {(char *)"true", NULL};
    CHECK(sandbox_enter(usual, 3, NULL), 1);
    execv("/bin/true", argv);
    CHECK(errno, EACCES);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 4)
        CHECK(connects(), EACCES);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 6)
        CHECK(result(kill(getppid(), 0)), EPERM);
}

static void beyond_files(void **state)
{
    (void)state;
    assert_int_equal(connects(), ECONNREFUSED);
    locked(beyond_files_body);
}

static void narrower_body(void)
{
    const struct sandbox_rule less = {.path = "in", .access = SANDBOX_READ}, more = {.path = ".", .access = SANDBOX_READ};
    CHECK(sandbox_enter(usual, 3, NULL), 1);
    CHECK(sandbox_enter(&less, 1, NULL), 1);
    CHECK(opens("in/a", O_RDONLY), 0);
    CHECK(opens("in/a", O_WRONLY), EACCES);
    CHECK(opens("read/b", O_RDONLY), EACCES);
    CHECK(sandbox_enter(&more, 1, NULL), 1);
    CHECK(opens("c", O_RDONLY), EACCES);
    CHECK(sandbox_nothing(NULL), 1);
    CHECK(opens("in/a", O_RDONLY), EACCES);
}

static void narrower(void **state)
{
    (void)state;
    locked(narrower_body);
}

static void by_descriptor_body(void)
{
    int in = open("in", O_PATH | O_CLOEXEC), file = open("read/b", O_RDONLY | O_CLOEXEC);
    const struct sandbox_rule rules[] = {{.fd = in, .access = SANDBOX_READ}, {.fd = file, .access = SANDBOX_READ | SANDBOX_WRITE}};
    CHECK(sandbox_enter(rules, 2, NULL), 1);
    CHECK(opens("in/a", O_RDONLY), 0);
    CHECK(opens("in/a", O_WRONLY), EACCES);
    CHECK(opens("read/b", O_RDWR | O_TRUNC), 0);
    CHECK(opens("read", O_RDONLY | O_DIRECTORY), EACCES);
}

static void by_descriptor(void **state)
{
    (void)state;
    locked(by_descriptor_body);
}

static void bad_descriptor_body(void)
{
    struct err e = {0};
    const struct sandbox_rule rule = {.fd = 999, .access = SANDBOX_READ};
    CHECK(sandbox_enter(&rule, 1, &e), ERR_SYS);
    CHECK(e.sys, EBADF);
    CHECK(opens("c", O_RDONLY), 0); /* not half locked in */
}

static void bad_descriptor(void **state)
{
    (void)state;
    locked(bad_descriptor_body);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, remove_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(outside), TEST(inside), TEST(reading_only), TEST(beyond_files), TEST(narrower), TEST(by_descriptor),
        TEST(bad_descriptor),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
