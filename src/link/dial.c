#include "link/dial.h"

#include "link/child.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* 0, or -1 with errno. */
static int connect_within(int fd, const struct addrinfo *a, unsigned seconds)
{
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -1;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n = poll(&p, 1, (int)seconds * 1000);
    int cause = ETIMEDOUT;
    socklen_t len = sizeof cause;
    if (n > 0)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &len);
    errno = n < 0 ? errno : cause;
    return errno ? -1 : 0;
}

static int try_one(const struct addrinfo *a, unsigned seconds)
{
    int on = 1;
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0)
        return -1;
    if (connect_within(fd, a, seconds) < 0) {
        int cause = errno;
        close(fd);
        errno = cause;
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return fd;
}

static const char *advice(int cause)
{
    switch (cause) {
    case ECONNREFUSED: return " (is an SSH server running there, and is this its port?)";
    case ETIMEDOUT: return " (is it switched on, and does no firewall stand between?)";
    default: return "";
    }
}

int dial_tcp(const struct ssh_config *c, struct err *e)
{
    static const int family[] = {AF_UNSPEC, AF_INET, AF_INET6};
    struct addrinfo hints = {.ai_family = family[c->family], .ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[16];
    snprintf(port, sizeof port, "%u", c->port);
    int rc = getaddrinfo(c->hostname, port, &hints, &list);
    if (rc == EAI_NONAME)
        return err_set(e, ERR_PROTO, "there is no host named %s (check the name, or HostName in ~/.ssh/config)",
                       c->hostname);
    if (rc != 0)
        return err_set(e, ERR_PROTO, "cannot look up the host %s: %s", c->hostname,
                       rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    int fd = -1, cause = EHOSTUNREACH;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        if ((fd = try_one(a, c->connect_timeout)) < 0)
            cause = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return err_set(e, ERR_PROTO, "cannot connect to %s, port %u: %s%s", c->hostname, c->port, strerror(cause),
                       advice(cause));
    return fd;
}

int dial_proxy(const struct words *command, pid_t *pid, struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(e, "socketpair");
    *pid = child_exec(command->word, pair[1], pair[1], -1);
    close(pair[1]);
    if (*pid < 0) {
        int rc = err_sys(e, "fork");
        close(pair[0]);
        return rc;
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    return pair[0];
}
