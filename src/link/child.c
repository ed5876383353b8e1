#include "link/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 10000 /* for a child that has said goodbye; then it is killed */

static void child(int fd, pid_t parent, int (*body)(int, void *), void *ctx, const int *close_fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (close_fds[i] >= 0)
            close(close_fds[i]);
    /* The coordinator's end of the link tells us of its death; this covers a child that is busy in the kernel. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    /* A terminal's ^C reaches the whole group: the coordinator decides what becomes of us. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    _exit(body(fd, ctx));
}

int link_spawn(struct link *l, int (*body)(int fd, void *ctx), void *ctx, const int *close_fds, size_t n,
               struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(e, "socketpair");
    int room = 1 << 20;
    for (int i = 0; i < 2; i++) {
        setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        int rc = err_sys(e, "fork");
        close(pair[0]);
        close(pair[1]);
        return rc;
    }
    if (pid == 0) {
        close(pair[0]);
        child(pair[1], parent, body, ctx, close_fds, n);
    }
    close(pair[1]);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    l->fd = pair[0];
    l->pid = pid;
    return 0;
}

/* Waits for the child through a pidfd, so that nothing is slept away; kills it when the time is up. */
static int reap(pid_t pid, int patient)
{
    int status = 0;
    if (!patient) {
        kill(pid, SIGKILL);
    } else {
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        if (pidfd >= 0 && poll(&p, 1, PATIENCE_MS) == 0)
            kill(pid, SIGKILL);
        if (pidfd >= 0)
            close(pidfd);
    }
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
    return waitid(P_PID, (id_t)l->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == l->pid &&
           info.si_code != CLD_EXITED;
}

void link_close(struct link *l, int patient, char *why, size_t size)
{
    if (size)
        why[0] = '\0';
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    if (l->pid <= 0)
        return;
    int status = reap(l->pid, patient);
    l->pid = 0;
    if (WIFSIGNALED(status))
        snprintf(why, size, "its agent was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        snprintf(why, size, "its agent ended with status %d", WEXITSTATUS(status));
}
