/*
 * A TCP proxy that makes a bad line out of loopback, for tests and measurements:
 *
 *   proxy [OPTION...] TARGET_HOST:PORT        ([HOST]:PORT where the host is an IPv6 address)
 *
 *   --listen HOST:PORT     where (127.0.0.1, a free port)
 *   --delay MS             every byte arrives MS later, in each direction: a round trip takes 2 * MS more
 *   --rate N               N bytes a second in each direction, all connections together; --rate-up, --rate-down
 *   --cut-up N             ends a connection when N bytes went from client to target; --cut-down N the other way
 *   --cut-how HOW          close (the default), reset, or stall: stays open and passes nothing more
 *   --window N             bytes under way in one direction of a connection (64 Mi): the only bound on what
 *                          can be sent in one round trip
 *   --count FILE           on SIGUSR1 and at the end: lines "up N", "down N", "connections N"; replaced atomically
 *
 * The first line on standard output is the port, once it listens. Ends on SIGTERM or SIGINT.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_MAX ((size_t)256 * 1024)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define RATE_AHEAD (10 * NS_PER_MS) /* how much a limited line may hold that it has not sent yet */
#define RATE_BUFFER (128 * 1024)    /* the same for the kernel, which would take megabytes and hide the limit */
#define NEVER INT64_MAX

enum cut_how { CUT_CLOSE, CUT_RESET, CUT_STALL };

/* What was read at once. An empty one is the end of what the source sends. */
struct chunk {
    struct chunk *next;
    int64_t due;
    size_t size, sent;
    char data[];
};

/* What all connections share of one direction. */
struct line {
    int64_t rate;    /* bytes a second; 0: no limit */
    int64_t free_at; /* when all that it took has been sent */
    int64_t cut;     /* bytes of each connection; -1: never */
    uint64_t bytes;  /* that went through, of all connections */
};

/* One direction of a connection. */
struct way {
    struct line *line;
    int from, to;
    struct chunk *head, **tail;
    size_t queued;
    int64_t taken, given; /* bytes read and written */
    bool read_all;        /* the source sends nothing more, or we take nothing more from it */
    bool done;            /* the target was told of the end, or wants nothing more */
};

struct pair {
    struct pair *next;
    struct way up, down;
    bool connecting, stalled, dead;
    struct way *cut; /* cut by this direction; waits until the target's kernel has all of it */
};

struct proxy {
    struct addrinfo *target;
    int listener, signals;
    int64_t delay;
    size_t window;
    enum cut_how how;
    const char *count;
    struct line up, down;
    struct pair *pairs;
    size_t n_pairs;
    uint64_t connections;
    bool stop;
};

static void die(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- one direction ---- */

static void queue(struct proxy *p, struct way *w, const char *data, size_t n, int64_t now)
{
    struct chunk *c = malloc(sizeof(*c) + n);
    int64_t sent = now;

    if (c == NULL)
        die("memory");
    if (w->line->rate > 0) {
        if (w->line->free_at > now)
            sent = w->line->free_at;
        sent += (int64_t)n * NS_PER_S / w->line->rate;
        w->line->free_at = sent;
    }
    *c = (struct chunk){.due = sent + p->delay, .size = n};
    if (n > 0)
        memcpy(c->data, data, n);
    *w->tail = c;
    w->tail = &c->next;
    w->queued += n;
}

static void drop_head(struct way *w)
{
    struct chunk *c = w->head;

    w->head = c->next;
    if (w->head == NULL)
        w->tail = &w->head;
    w->queued -= c->size - c->sent;
    free(c);
}

/* When this direction may be read from: at once, later, or not before something else happens. */
static int64_t readable_at(const struct proxy *p, const struct way *w, int64_t now)
{
    if (w->read_all || w->queued >= p->window)
        return NEVER;
    return w->line->rate > 0 && w->line->free_at - RATE_AHEAD > now ? w->line->free_at - RATE_AHEAD : now;
}

static size_t most_to_read(const struct proxy *p, const struct way *w)
{
    size_t most = p->window - w->queued < CHUNK_MAX ? p->window - w->queued : CHUNK_MAX;

    /* Small pieces, or a limited line would be silent and then pass everything at once. */
    if (w->line->rate > 0 && (int64_t)most > w->line->rate / 100 + 1)
        most = (size_t)(w->line->rate / 100 + 1);
    if (w->line->cut >= 0 && (int64_t)most > w->line->cut - w->taken)
        most = (size_t)(w->line->cut - w->taken);
    return most;
}

static void take(struct proxy *p, struct way *w, char *data, int64_t now)
{
    ssize_t n = read(w->from, data, most_to_read(p, w));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        queue(p, w, NULL, 0, now);
        w->read_all = true;
        return;
    }
    w->taken += n;
    queue(p, w, data, (size_t)n, now);
    if (w->taken == w->line->cut)
        w->read_all = true;
}

static void give(struct way *w, int64_t now)
{
    while (w->head != NULL && w->head->due <= now) {
        struct chunk *c = w->head;
        ssize_t n;

        if (c->size == 0) {
            shutdown(w->to, SHUT_WR);
            w->done = true;
            drop_head(w);
            return;
        }
        n = write(w->to, c->data + c->sent, c->size - c->sent);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            while (w->head != NULL)
                drop_head(w);
            w->read_all = w->done = true;
            return;
        }
        c->sent += (size_t)n;
        w->queued -= (size_t)n;
        w->given += n;
        w->line->bytes += (uint64_t)n;
        if (c->sent == c->size)
            drop_head(w);
    }
}

/* ---- connections ---- */

static void set_up_way(struct way *w, struct line *line, int from, int to)
{
    *w = (struct way){.line = line, .from = from, .to = to};
    w->tail = &w->head;
}

/* Before it is connected or listens: a window does not shrink. */
static void limit_buffer(int fd, const struct line *line)
{
    int size = RATE_BUFFER;

    if (line->rate > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static void set_up_socket(int fd)
{
    int on = 1;

    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void accept_one(struct proxy *p)
{
    int client = accept(p->listener, NULL, NULL), server;
    struct pair *pair;

    if (client < 0)
        return;
    pair = calloc(1, sizeof(*pair));
    server = socket(p->target->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair == NULL || server < 0)
        die("connection");
    set_up_socket(client);
    set_up_socket(server);
    limit_buffer(server, &p->down);
    set_up_way(&pair->up, &p->up, client, server);
    set_up_way(&pair->down, &p->down, server, client);
    pair->connecting = true;
    if (connect(server, p->target->ai_addr, p->target->ai_addrlen) != 0 && errno != EINPROGRESS)
        pair->dead = true;
    pair->next = p->pairs;
    p->pairs = pair;
    p->n_pairs++;
    p->connections++;
}

static void end_pair(struct pair *pair, bool reset)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    const int fd[2] = {pair->up.from, pair->up.to};

    for (int i = 0; i < 2; i++) {
        if (reset)
            setsockopt(fd[i], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd[i]);
    }
    while (pair->up.head != NULL)
        drop_head(&pair->up);
    while (pair->down.head != NULL)
        drop_head(&pair->down);
    free(pair);
}

static void remove_dead(struct proxy *p, bool all)
{
    for (struct pair **at = &p->pairs; *at != NULL;) {
        struct pair *pair = *at;

        if (!all && !pair->dead) {
            at = &pair->next;
            continue;
        }
        *at = pair->next;
        end_pair(pair, pair->cut != NULL && p->how == CUT_RESET);
        p->n_pairs--;
    }
}

static bool cut_here(const struct way *w)
{
    return w->line->cut >= 0 && w->given >= w->line->cut;
}

/* A connection that is closed early takes back what the receiver's kernel has not got: wait for that, so that the cut
 * is exact. */
static void step_cut(struct proxy *p, struct pair *pair)
{
    int left = 0;

    if (pair->cut == NULL && cut_here(&pair->up))
        pair->cut = &pair->up;
    else if (pair->cut == NULL && cut_here(&pair->down))
        pair->cut = &pair->down;
    if (pair->cut == NULL)
        return;
    if (p->how == CUT_STALL)
        pair->stalled = true;
    else if (ioctl(pair->cut->to, SIOCOUTQ, &left) != 0 || left == 0)
        pair->dead = true;
}

static void finish_connect(struct pair *pair)
{
    int error = 0;
    socklen_t n = sizeof(error);

    pair->connecting = false;
    if (getsockopt(pair->up.to, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0)
        pair->dead = true;
}

/* ---- the loop ---- */

/* What to wait for on an end: what comes from it, and room for what is due there. A descriptor that nothing is
 * wanted of is left out, as its end would be reported over and over. */
static struct pollfd watch(int fd, int64_t in_at, const struct way *out, int64_t now)
{
    struct pollfd f = {.fd = fd};

    if (in_at <= now)
        f.events |= POLLIN;
    if (out->head != NULL && out->head->due <= now)
        f.events |= POLLOUT;
    if (f.events == 0)
        f.fd = -1;
    return f;
}

/* The two ends of a connection into fds; returns when to wake up though nothing happens there. */
static int64_t watch_pair(const struct proxy *p, const struct pair *pair, struct pollfd *fds, int64_t now)
{
    int64_t up = readable_at(p, &pair->up, now), down = readable_at(p, &pair->down, now), wake = NEVER;

    fds[0] = fds[1] = (struct pollfd){.fd = -1};
    if (pair->stalled)
        return NEVER;
    if (pair->cut != NULL)
        return now + NS_PER_MS;
    if (pair->connecting) {
        fds[1] = (struct pollfd){.fd = pair->up.to, .events = POLLOUT};
        return NEVER;
    }
    fds[0] = watch(pair->up.from, up, &pair->down, now);
    fds[1] = watch(pair->up.to, down, &pair->up, now);
    if (up > now)
        wake = up;
    if (down > now)
        wake = earlier(wake, down);
    if (pair->up.head != NULL && pair->up.head->due > now)
        wake = earlier(wake, pair->up.head->due);
    if (pair->down.head != NULL && pair->down.head->due > now)
        wake = earlier(wake, pair->down.head->due);
    return wake;
}

static void step_pair(struct proxy *p, struct pair *pair, const struct pollfd *fds, char *data)
{
    int64_t now = now_ns();

    if (pair->stalled || pair->dead)
        return;
    if (pair->connecting) {
        if (fds[1].revents == 0)
            return;
        finish_connect(pair);
    } else if (pair->cut == NULL) {
        if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) && readable_at(p, &pair->up, now) <= now)
            take(p, &pair->up, data, now);
        if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) && readable_at(p, &pair->down, now) <= now)
            take(p, &pair->down, data, now);
        give(&pair->up, now);
        give(&pair->down, now);
    }
    if (pair->up.done && pair->down.done)
        pair->dead = true;
    if (!pair->dead)
        step_cut(p, pair);
}

static void write_counts(const struct proxy *p)
{
    char temp[4096];
    FILE *f;

    if (p->count == NULL)
        return;
    if ((size_t)snprintf(temp, sizeof(temp), "%s.new", p->count) >= sizeof(temp)) {
        errno = ENAMETOOLONG;
        die(p->count);
    }
    f = fopen(temp, "w");
    if (f == NULL)
        die(temp);
    fprintf(f, "up %" PRIu64 "\ndown %" PRIu64 "\nconnections %" PRIu64 "\n", p->up.bytes, p->down.bytes,
            p->connections);
    if (fclose(f) != 0 || rename(temp, p->count) != 0)
        die(p->count);
}

static void read_signal(struct proxy *p)
{
    struct signalfd_siginfo info;

    if (read(p->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGUSR1)
        write_counts(p);
    else
        p->stop = true;
}

static void await(struct pollfd *fds, size_t n, int64_t wake, int64_t now)
{
    struct timespec t = {.tv_sec = (time_t)((wake - now) / NS_PER_S), .tv_nsec = (long)((wake - now) % NS_PER_S)};

    if (ppoll(fds, (nfds_t)n, wake == NEVER ? NULL : &t, NULL) < 0 && errno != EINTR)
        die("poll");
}

static void run(struct proxy *p)
{
    struct pollfd *fds = NULL;
    char *data = malloc(CHUNK_MAX);

    if (data == NULL)
        die("memory");
    while (!p->stop) {
        int64_t now = now_ns(), wake = NEVER;
        size_t n = 2;
        struct pollfd *more = realloc(fds, (2 + 2 * p->n_pairs) * sizeof(*fds));

        if (more == NULL)
            die("memory");
        fds = more;
        fds[0] = (struct pollfd){.fd = p->signals, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = p->listener, .events = POLLIN};
        for (struct pair *pair = p->pairs; pair != NULL; pair = pair->next, n += 2)
            wake = earlier(wake, watch_pair(p, pair, fds + n, now));
        await(fds, n, wake, now);
        n = 2;
        for (struct pair *pair = p->pairs; pair != NULL; pair = pair->next, n += 2)
            step_pair(p, pair, fds + n, data);
        if (fds[0].revents != 0)
            read_signal(p);
        if (fds[1].revents != 0)
            accept_one(p);
        remove_dead(p, false);
    }
    remove_dead(p, true);
    free(fds);
    free(data);
}

/* ---- start ---- */

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: proxy [--listen HOST:PORT] [--delay MS] [--rate|--rate-up|--rate-down N] [--cut-up|--cut-down N]\n"
                    "             [--cut-how close|reset|stall] [--window N] [--count FILE] HOST:PORT\n");
    exit(1);
}

static int64_t number(const char *text)
{
    char *end;
    long long n;

    errno = 0;
    n = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || n < 0 || n > INT64_C(1) << 40)
        usage();
    return n;
}

static enum cut_how how(const char *text)
{
    if (strcmp(text, "close") == 0)
        return CUT_CLOSE;
    if (strcmp(text, "reset") == 0)
        return CUT_RESET;
    if (strcmp(text, "stall") != 0)
        usage();
    return CUT_STALL;
}

/* HOST:PORT, [HOST]:PORT or :PORT, which is on 127.0.0.1. */
static struct addrinfo *resolve(const char *text)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char *copy = strdup(text), *colon, *host;
    int error;

    if (copy == NULL)
        die("memory");
    host = copy;
    colon = strrchr(copy, ':');
    if (colon == NULL)
        usage();
    *colon = '\0';
    if (*host == '[' && colon > host + 1 && colon[-1] == ']') {
        colon[-1] = '\0';
        host++;
    }
    error = getaddrinfo(*host == '\0' ? "127.0.0.1" : host, colon + 1, &hints, &found);
    free(copy);
    if (error != 0) {
        fprintf(stderr, "proxy: %s: %s\n", text, gai_strerror(error));
        exit(1);
    }
    return found;
}

static void start_listening(struct proxy *p, const char *where)
{
    struct addrinfo *at = resolve(where);
    struct sockaddr_storage name;
    socklen_t n = sizeof(name);
    int on = 1;

    p->listener = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->listener < 0)
        die(where);
    setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    limit_buffer(p->listener, &p->up);
    if (bind(p->listener, at->ai_addr, at->ai_addrlen) != 0 || listen(p->listener, 64) != 0 ||
        fcntl(p->listener, F_SETFL, O_NONBLOCK) != 0 || getsockname(p->listener, (struct sockaddr *)&name, &n) != 0)
        die(where);
    freeaddrinfo(at);
    printf("%d\n", ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port
                                                    : ((struct sockaddr_in *)&name)->sin_port));
    if (fflush(stdout) != 0)
        die("standard output");
}

static void take_signals(struct proxy *p)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    p->signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (p->signals < 0)
        die("signalfd");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"listen", 1, NULL, 'l'},   {"delay", 1, NULL, 'd'},    {"rate", 1, NULL, 'r'},
        {"rate-up", 1, NULL, 'R'},  {"rate-down", 1, NULL, 'L'}, {"cut-up", 1, NULL, 'u'},
        {"cut-down", 1, NULL, 'w'}, {"cut-how", 1, NULL, 'h'},  {"window", 1, NULL, 'W'},
        {"count", 1, NULL, 'c'},    {NULL, 0, NULL, 0},
    };
    struct proxy p = {.window = (size_t)64 << 20, .up.cut = -1, .down.cut = -1};
    const char *where = ":0";
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'l': where = optarg; break;
        case 'd': p.delay = number(optarg) * NS_PER_MS; break;
        case 'r': p.up.rate = p.down.rate = number(optarg); break;
        case 'R': p.up.rate = number(optarg); break;
        case 'L': p.down.rate = number(optarg); break;
        case 'u': p.up.cut = number(optarg); break;
        case 'w': p.down.cut = number(optarg); break;
        case 'h': p.how = how(optarg); break;
        case 'W': p.window = (size_t)number(optarg); break;
        case 'c': p.count = optarg; break;
        default: usage();
        }
    }
    if (optind + 1 != argc || p.window == 0)
        usage();
    p.target = resolve(argv[optind]);
    take_signals(&p);
    start_listening(&p, where);
    run(&p);
    write_counts(&p);
    close(p.listener);
    close(p.signals);
    freeaddrinfo(p.target);
    return 0;
}
