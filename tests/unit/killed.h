/* Children that are killed at one point after the other. Include it after cmocka.h. */
#ifndef UNIT_KILLED_H
#define UNIT_KILLED_H

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* Lets work go on in a child for n system calls, or half calls, and kills it. False when it came to its end before. */
static inline bool killed_after(void (*work)(void *ctx), void *ctx, int n)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        work(ctx);
        _exit(0);
    }
    for (int i = 0; i < n; i++) {
        if (waitpid(pid, &status, 0) != pid || WIFEXITED(status))
            return false;
        assert_true(WIFSTOPPED(status));
        ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    }
    if (waitpid(pid, &status, 0) != pid || WIFEXITED(status))
        return false;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return true;
}

#endif
