/* A real agent in a child. Include it after cmocka.h. */
#ifndef UNIT_SERVED_H
#define UNIT_SERVED_H

#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"

/* Our end of the line to it. Its exit status is 2 where it has refused to go on. */
static inline int served_start(pid_t *pid)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *pid = fork();
    if (*pid == 0) {
        struct agent_options options = {0};
        struct err e;
        close(pair[0]);
        _exit(agent_serve(pair[1], pair[1], &options, &e) < 0 ? 2 : 0);
    }
    close(pair[1]);
    return pair[0];
}

#endif
