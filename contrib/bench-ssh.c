/*
 * What contrib/bench holds sos-sync against: the plainest way to push a file through libssh2, in blocking mode.
 *
 *   bench-ssh PORT USER KEY FILE COMMAND [KIB]    FILE in pieces of KIB (256) to the standard input of COMMAND
 *
 * The server is on 127.0.0.1, and nobody checks its key: for a server of one's own only. Prints the seconds from the first
 * byte to the end of COMMAND.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libssh2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KIB 1024u
#define PIECE_KIB 256
#define PIECE_KIB_MAX 65536

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench-ssh: %s: %s\n", what, strerror(errno));
    exit(1);
}

static _Noreturn void die_ssh(LIBSSH2_SESSION *session, const char *what)
{
    char *text = NULL;

    libssh2_session_last_error(session, &text, NULL, 0);
    fprintf(stderr, "bench-ssh: %s: %s\n", what, text != NULL ? text : "no reason given");
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned long number(const char *text, unsigned long max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (end == text || *end != '\0' || n == 0 || n > max) {
        errno = EINVAL;
        die(text);
    }
    return n;
}

static int dial(unsigned long port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static LIBSSH2_SESSION *log_in(int fd, const char *user, const char *key)
{
    LIBSSH2_SESSION *session;

    if (libssh2_init(0) != 0 || (session = libssh2_session_init()) == NULL)
        die("libssh2");
    libssh2_session_set_blocking(session, 1);
    if (libssh2_session_handshake(session, fd) != 0)
        die_ssh(session, "handshake");
    if (libssh2_userauth_publickey_fromfile(session, user, NULL, key, "") != 0)
        die_ssh(session, key);
    return session;
}

static void send_file(LIBSSH2_SESSION *session, LIBSSH2_CHANNEL *channel, const char *file, size_t piece)
{
    char *data = malloc(piece);
    int fd = open(file, O_RDONLY);
    ssize_t n;

    if (data == NULL || fd < 0)
        die(file);
    while ((n = read(fd, data, piece)) > 0)
        for (ssize_t sent = 0; sent < n;) {
            ssize_t done = libssh2_channel_write(channel, data + sent, (size_t)(n - sent));

            if (done < 0)
                die_ssh(session, "write");
            sent += done;
        }
    if (n < 0)
        die(file);
    close(fd);
    free(data);
}

/* Until the command has ended: only then all has arrived. */
static int finish(LIBSSH2_SESSION *session, LIBSSH2_CHANNEL *channel)
{
    if (libssh2_channel_send_eof(channel) != 0 || libssh2_channel_wait_eof(channel) != 0 ||
        libssh2_channel_close(channel) != 0 || libssh2_channel_wait_closed(channel) != 0)
        die_ssh(session, "end");
    return libssh2_channel_get_exit_status(channel);
}

int main(int argc, char **argv)
{
    size_t piece = PIECE_KIB;
    LIBSSH2_SESSION *session;
    LIBSSH2_CHANNEL *channel;
    double start;
    int fd, status;

    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: bench-ssh PORT USER KEY FILE COMMAND [KIB]\n");
        return 1;
    }
    if (argc == 7)
        piece = number(argv[6], PIECE_KIB_MAX);
    fd = dial(number(argv[1], UINT16_MAX));
    session = log_in(fd, argv[2], argv[3]);
    channel = libssh2_channel_open_session(session);
    if (channel == NULL || libssh2_channel_exec(channel, argv[5]) != 0)
        die_ssh(session, argv[5]);
    start = now();
    send_file(session, channel, argv[4], piece * KIB);
    status = finish(session, channel);
    printf("%.3f\n", now() - start);
    libssh2_channel_free(channel);
    libssh2_session_disconnect(session, "done");
    libssh2_session_free(session);
    libssh2_exit();
    close(fd);
    return status == 0 ? 0 : 1;
}
