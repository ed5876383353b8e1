#include "link/child.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 10000   /* for a child that has said goodbye; then it is killed */
#define LAST_BREATH_MS 1000 /* from the end of a child's socket to the end of the child */

/* ---- inside the child ---- */

static void die_with(pid_t parent)
{
    /* The coordinator's end of the link tells us of its death; this covers a child that is busy in the kernel. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

/* in, out, err may be any descriptors, even 0 to 2 in the wrong order: the copies are made first. -1: /dev/null. */
static int set_stdio(int in, int out, int err)
{
    int from[3] = {in, out, err}, copy[3];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        if ((copy[i] = fcntl(from[i] < 0 ? null : from[i], F_DUPFD_CLOEXEC, 3)) < 0)
            return -1;
    for (int i = 0; i < 3; i++) {
        dup2(copy[i], i);
        close(copy[i]);
    }
    if (null > 2)
        close(null);
    return 0;
}

static void run_child(int fd, int err_fd, pid_t parent, int (*body)(int, void *), void *ctx)
{
    die_with(parent);
    /* A terminal's ^C reaches the whole group: the coordinator decides what becomes of us. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    if (err_fd >= 0) {
        int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (moved < 0 || set_stdio(-1, -1, err_fd) < 0)
            _exit(LINK_FAILED);
        if (fd > 2)
            close(fd);
        if (err_fd > 2)
            close(err_fd);
        fd = moved;
    }
    _exit(body(fd, ctx));
}

void child_become(char *const *argv)
{
    signal(SIGPIPE, SIG_DFL);
    execvp(argv[0], argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
}

pid_t child_exec(char *const *argv, int in, int out, int err)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        die_with(parent);
        if (set_stdio(in, out, err < 0 ? STDERR_FILENO : err) == 0)
            child_become(argv);
        _exit(127);
    }
    return pid;
}

/* ---- outside ---- */

static int make_pipes(int pair[2], int err_pipe[2], bool remote, struct err *e)
{
    err_pipe[0] = err_pipe[1] = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(e, "socketpair");
    if (remote && pipe2(err_pipe, O_CLOEXEC) < 0) {
        int rc = err_sys(e, "pipe");
        close(pair[0]);
        close(pair[1]);
        return rc;
    }
    int room = 1 << 20;
    for (int i = 0; i < 2; i++) {
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    }
    return 0;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int child_fork(struct link *l, int (*body)(int fd, void *ctx), void *ctx, const int *close_fds, size_t n, bool remote,
               struct err *e)
{
    int pair[2], err_pipe[2];
    int rc = make_pipes(pair, err_pipe, remote, e);
    if (rc < 0)
        return rc;
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        rc = err_sys(e, "fork");
        close(pair[0]);
        close(pair[1]);
        close_one(&err_pipe[0]);
        close_one(&err_pipe[1]);
        return rc;
    }
    if (pid == 0) {
        for (size_t i = 0; i < n; i++)
            if (close_fds[i] >= 0)
                close(close_fds[i]);
        close(pair[0]);
        close_one(&err_pipe[0]);
        run_child(pair[1], err_pipe[1], parent, body, ctx);
    }
    close(pair[1]);
    close_one(&err_pipe[1]);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    if (remote)
        fcntl(err_pipe[0], F_SETFL, O_NONBLOCK);
    *l = (struct link){.fd = pair[0], .pid = pid, .err_fd = err_pipe[0], .remote = remote, .status = -1};
    return 0;
}

int link_spawn(struct link *l, int (*body)(int fd, void *ctx), void *ctx, const int *close_fds, size_t n,
               struct err *e)
{
    return child_fork(l, body, ctx, close_fds, n, false, e);
}

/*
 * Through a pidfd, so that nothing is slept away. drain (or -1): a pipe that is emptied meanwhile, so that no child has
 * to wait for us to read its last words.
 */
static bool await(pid_t pid, int drain, int ms)
{
    char waste[4096];
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
    if (pidfd < 0)
        return true; /* gone, or a kernel without pidfds: then waitpid waits */
    struct pollfd p[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = drain, .events = POLLIN}};
    int64_t end = clock_mono_ms() + ms;
    for (int left = ms; left >= 0; left = (int)(end - clock_mono_ms())) {
        if (poll(p, 2, left) <= 0 && errno != EINTR)
            break;
        if (p[0].revents)
            break;
        if (p[1].revents && read(drain, waste, sizeof waste) <= 0)
            p[1].fd = -1;
    }
    close(pidfd);
    return p[0].revents != 0;
}

bool child_await(pid_t pid, int ms)
{
    return await(pid, -1, ms);
}

static int reap(pid_t pid, int patient, int drain)
{
    int status = 0;
    if (!patient || !await(pid, drain, PATIENCE_MS))
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

int link_ended(const struct link *l)
{
    siginfo_t info = {0};
    struct pollfd p = {.fd = l->fd};
    if (l->pid <= 0 || poll(&p, 1, 0) <= 0 || !(p.revents & POLLHUP))
        return 0;
    /* A process lets go of its descriptors a moment before it can be waited for. */
    if (l->remote)
        child_await(l->pid, LAST_BREATH_MS);
    return waitid(P_PID, (id_t)l->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == l->pid &&
           (l->remote || info.si_code != CLD_EXITED);
}

static void describe(const struct link *l, char *why, size_t size)
{
    const char *what = l->remote ? "link" : "agent";
    if (l->status > 128 && l->status != LINK_FAILED)
        snprintf(why, size, "its %s was killed by signal %d (%s)", what, l->status - 128, strsignal(l->status - 128));
    else if (l->remote && l->status == LINK_NOT_FOUND)
        snprintf(why, size, "its agent was not found at the far end");
    else if (l->remote && l->status == LINK_FAILED)
        snprintf(why, size, "its connection failed");
    else if (l->status != 0)
        snprintf(why, size, "its agent ended with status %d", l->status);
}

void link_close(struct link *l, int patient, char *why, size_t size)
{
    if (size)
        why[0] = '\0';
    close_one(&l->fd);
    if (l->pid > 0) {
        int status = reap(l->pid, patient, l->err_fd);
        l->pid = 0;
        l->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        describe(l, why, size);
        close_one(&l->err_fd);
    }
}
