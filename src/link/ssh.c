#include "link/ssh.h"

#include "base/base64.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "base/path.h"
#include "link/dial.h"
#include "link/keyfile.h"
#include "link/known_hosts.h"
#include "link/ssh_config.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh2.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WINDOW (16u << 20)    /* what the far end may send before we have read it: a long way's bandwidth times delay */
#define PACKET 32768u
#define ROOM (256u << 10)     /* each way, between the channel and the coordinator */
#define PULL (256u << 10)     /* taken from the socket at a time */
#define QUEUE_FULL (128u << 10) /* waiting for the socket: then no more data is made into packets */
#define QUEUE_MAX (4u << 20)
#define LAST_WORDS_MS 5000    /* from the far command's last byte to its exit status */
#define ALONE_MS 15000        /* for the far command to end when the coordinator has gone */
#define KEY_FILE_MAX (64u << 10)

struct flow { /* filled at end, emptied at start; bytes never move, as libssh2 wants a call repeated with the same ones */
    char *data;
    size_t start, end;
};

struct carrier {
    struct ssh_config conf;
    pid_t proxy;
    int fd;   /* to the coordinator */
    int sock; /* to the server */
    LIBSSH2_SESSION *session;
    LIBSSH2_CHANNEL *channel;

    struct buf queue; /* made by libssh2, not yet taken by the socket */
    size_t queue_at;
    size_t pull;      /* how much more may be taken from the socket by the present call */
    bool moved;       /* some byte went somewhere since this was last cleared */
    bool gone;        /* the server has closed the connection, or it broke with: */
    int gone_errno;

    struct flow down, up, err;
    size_t up_try;   /* length of a write that has to be repeated, or 0 */
    size_t err_lost; /* bytes of the far standard error that nobody took */
    bool up_ended;   /* the coordinator sends no more */
    bool eof_sent;
    bool down_dead;  /* the coordinator reads no more */
    bool err_dead;
};

/* ---- saying what is wrong ---- */

static int say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int say(const char *fmt, ...)
{
    char text[2048], shown[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    path_show(shown, sizeof shown, text, strlen(text));
    dprintf(STDERR_FILENO, "%s\n", shown);
    return LINK_FAILED;
}

static const char *last_error(struct carrier *c)
{
    char *text = NULL;
    libssh2_session_last_error(c->session, &text, NULL, 0);
    return text && *text ? text : "no reason given";
}

/* ---- the socket ---- */

/*
 * All that libssh2 sends is accepted here at once and waits in our own queue. So it never has half a packet out, and
 * none of its calls ever stands in the way of another one, or of a key exchange that the server begins. It sees
 * no end of the connection either: it would forget what it has received and not handed out.
 */
static void flush_queue(struct carrier *c)
{
    while (c->queue_at < c->queue.len && !c->gone) {
        ssize_t n = send(c->sock, c->queue.data + c->queue_at, c->queue.len - c->queue_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            /* What the server said before it went may still be there to read: reading tells of the end. */
            c->gone_errno = errno;
            break;
        }
        c->moved = true;
        c->queue_at += (size_t)n;
    }
    c->queue.len = c->queue_at = 0;
}

static size_t queued(const struct carrier *c)
{
    return c->queue.len - c->queue_at;
}

static LIBSSH2_SEND_FUNC(on_send)
{
    struct carrier *c = *abstract;
    if (socket != c->sock) { /* the key agent's */
        ssize_t n = send(socket, buffer, length, flags | MSG_NOSIGNAL);
        return n < 0 ? -errno : n;
    }
    if (queued(c) > QUEUE_MAX)
        return -ENOBUFS;
    if (c->queue_at > QUEUE_FULL) {
        buf_drop(&c->queue, c->queue_at);
        c->queue_at = 0;
    }
    buf_put(&c->queue, buffer, length);
    flush_queue(c);
    return (ssize_t)length;
}

static LIBSSH2_RECV_FUNC(on_recv)
{
    struct carrier *c = *abstract;
    if (socket != c->sock) {
        ssize_t n = recv(socket, buffer, length, flags);
        return n < 0 ? -errno : n;
    }
    if (c->pull == 0 || c->gone)
        return -EAGAIN;
    ssize_t n = recv(socket, buffer, length, MSG_DONTWAIT);
    if (n > 0) {
        c->moved = true;
        c->pull -= (size_t)n < c->pull ? (size_t)n : c->pull;
        return n;
    }
    if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        if (n < 0 && c->gone_errno == 0)
            c->gone_errno = errno;
        c->gone = true;
    }
    return -EAGAIN;
}

/*
 * Between the repetitions of a call that would block. 0: repeat it. Else there is no point any more: the server or
 * the coordinator has gone, or the time is up.
 */
static int again(struct carrier *c, int64_t deadline)
{
    c->pull = PULL;
    if (c->moved) {
        c->moved = false;
        return 0;
    }
    if (c->gone)
        return -1;
    struct pollfd p[2] = {
        {.fd = c->sock, .events = (short)(POLLIN | (queued(c) ? POLLOUT : 0))},
        {.fd = c->fd},
    };
    int64_t left = deadline - clock_mono_ms();
    int n = left > 0 ? poll(p, 2, (int)left) : 0;
    flush_queue(c);
    return n == 0 || (n < 0 && errno != EINTR) || p[1].revents & (POLLHUP | POLLERR) ? -1 : 0;
}

/* Repeats a call of libssh2 until it does not want to wait any more, or again() gives up (rc is then EAGAIN). */
#define REPEAT(c, deadline, rc, call) \
    do { \
        (c)->pull = PULL; \
        while (((rc) = (call)) == LIBSSH2_ERROR_EAGAIN && again(c, deadline) == 0) \
            ; \
    } while (0)

static int64_t deadline_of(const struct carrier *c)
{
    return clock_mono_ms() + (int64_t)c->conf.connect_timeout * 1000;
}

/* Why a call ended with EAGAIN. */
static int gave_up(struct carrier *c, const char *during)
{
    if (!c->gone)
        return say("%s, port %u: no answer within %u seconds (%s)", c->conf.hostname, c->conf.port,
                   c->conf.connect_timeout, during);
    if (c->proxy)
        return say("%s: the proxy on the way to it closed the connection (%s)", c->conf.hostname, during);
    return say("%s, port %u: the server closed the connection (%s)%s%s", c->conf.hostname, c->conf.port, during,
               c->gone_errno ? ": " : "", c->gone_errno ? strerror(c->gone_errno) : "");
}

/* ---- the server's key ---- */

static bool listed(const struct buf *list, const char *type)
{
    size_t n = strlen(type);
    const char *end = (const char *)list->data + list->len;
    for (const char *p = (const char *)list->data; p && p < end; p++) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        if ((size_t)(stop - p) == n && memcmp(p, type, n) == 0)
            return true;
        p = stop;
    }
    return false;
}

/* Types that we know the host by come first, so that the server shows a key that we can compare. */
static void prefer_known(struct carrier *c, const struct known_hosts *k)
{
    struct buf known = {0}, list = {0};
    const char **names = NULL;
    known_hosts_types(k, &known);
    int n = known.len ? libssh2_session_supported_algs(c->session, LIBSSH2_METHOD_HOSTKEY, &names) : 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < n; i++) {
            /* One kind of key, several ways to sign with it. */
            const char *type = strncmp(names[i], "rsa-sha2-", 9) == 0 ? "ssh-rsa" : names[i];
            if (listed(&known, type) != (pass == 0))
                continue;
            if (list.len)
                buf_u8(&list, ',');
            buf_put(&list, names[i], strlen(names[i]));
        }
    if (n > 0) {
        libssh2_free(c->session, (void *)names);
        buf_u8(&list, '\0');
        libssh2_session_method_pref(c->session, LIBSSH2_METHOD_HOSTKEY, (const char *)list.data);
    }
    buf_free(&known);
    buf_free(&list);
}

static int handshake(struct carrier *c)
{
    int rc;
    REPEAT(c, deadline_of(c), rc, libssh2_session_handshake(c->session, c->sock));
    switch (rc) {
    case 0: return 0;
    case LIBSSH2_ERROR_EAGAIN: return gave_up(c, "before a secure connection stood");
    case LIBSSH2_ERROR_KEX_FAILURE:
    case LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE:
    case LIBSSH2_ERROR_METHOD_NONE:
        return say("%s: this library and the server have no way to exchange keys, no cipher or no type of host key "
                   "in common (%s): use --rsh ssh", c->conf.hostname, last_error(c));
    case LIBSSH2_ERROR_BANNER_RECV:
    case LIBSSH2_ERROR_BANNER_SEND:
        return say("%s, port %u: what answers there is no SSH server", c->conf.hostname, c->conf.port);
    default:
        return say("%s, port %u: no secure connection: %s (perhaps --rsh ssh helps)", c->conf.hostname, c->conf.port,
                   last_error(c));
    }
}

static void fingerprint(struct carrier *c, char *out, size_t size)
{
    struct buf text = {0};
    const char *hash = libssh2_hostkey_hash(c->session, LIBSSH2_HOSTKEY_HASH_SHA256);
    if (hash)
        base64_put(&text, hash, 32);
    while (text.len && text.data[text.len - 1] == '=')
        text.len--;
    snprintf(out, size, "SHA256:%.*s", (int)text.len, text.data ? (const char *)text.data : "");
    buf_free(&text);
}

static int record_key(struct carrier *c, const struct known_hosts *k, const char *type, const char *blob, size_t len)
{
    struct err e;
    struct buf line = {0};
    int rc = 0;
    if (c->conf.user_known_hosts.n == 0)
        return say("%s: its key cannot be recorded: UserKnownHostsFile is none", c->conf.hostname);
    if (known_hosts_format(k, c->conf.hash_known_hosts, type, (const uint8_t *)blob, len, &line, &e) < 0 ||
        known_hosts_append(c->conf.user_known_hosts.word[0], &line, &e) < 0)
        rc = say("%s: its key cannot be recorded: %s", c->conf.hostname, e.msg);
    buf_free(&line);
    return rc;
}

static int judge_key(struct carrier *c, const struct known_hosts *k)
{
    char type[64], print[80];
    size_t len = 0;
    int kind;
    const char *blob = libssh2_session_hostkey(c->session, &len, &kind);
    const struct known_hosts_line *why;
    if (!blob || !keyfile_blob_type(blob, len, type, sizeof type))
        return say("%s: the server showed no key that we understand: use --rsh ssh", c->conf.hostname);
    fingerprint(c, print, sizeof print);
    switch (known_hosts_judge(k, type, (const uint8_t *)blob, len, &why)) {
    case KNOWN_HOSTS_FOUND:
        return 0;
    case KNOWN_HOSTS_REVOKED:
        return say("%s: its key %s %s is REVOKED (%s:%zu): do not connect to this machine", c->conf.hostname, type,
                   print, why->file, why->line);
    case KNOWN_HOSTS_CHANGED:
        return say("%s: its key has CHANGED: it is now %s %s, and not the one at %s:%zu. Somebody may be listening in; if "
                   "the machine was set up anew, remove that line", k->name, type, print, why->file, why->line);
    case KNOWN_HOSTS_OTHER:
        return say("%s: it showed %s %s, but is known only by a key of type %s (%s:%zu), which this library cannot ask "
                   "for or the server no longer has: check it and add it with ssh-keyscan, or use --rsh ssh", k->name,
                   type, print, why->type, why->file, why->line);
    case KNOWN_HOSTS_UNKNOWN:
        break;
    }
    if (c->conf.accept_new)
        return record_key(c, k, type, blob, len);
    if (k->authority)
        return say("%s is known only by a certificate (%s), which this library cannot check; its key is %s %s: use "
                   "--rsh ssh, or add the key with ssh-keyscan", k->name, k->authority, type, print);
    return say("%s is not known: its key is %s %s. If that is right, say --accept-new once, or add it with ssh-keyscan "
               "to %s", k->name, type, print,
               c->conf.user_known_hosts.n ? c->conf.user_known_hosts.word[0] : "~/.ssh/known_hosts");
}

static int read_known_hosts(struct carrier *c, struct known_hosts *k)
{
    struct err e;
    const struct words *files[2] = {&c->conf.user_known_hosts, &c->conf.global_known_hosts};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < files[i]->n; j++)
            if (known_hosts_load(k, files[i]->word[j], &e) < 0)
                return say("%s: whether its key is known cannot be told: %s", c->conf.hostname, e.msg);
    return 0;
}

static int secure(struct carrier *c)
{
    struct known_hosts k;
    if (c->conf.alias)
        known_hosts_init(&k, c->conf.alias, 0);
    else
        known_hosts_init(&k, c->conf.hostname, c->conf.port);
    int rc = read_known_hosts(c, &k);
    if (rc == 0) {
        prefer_known(c, &k);
        rc = handshake(c);
    }
    if (rc == 0)
        rc = judge_key(c, &k);
    known_hosts_free(&k);
    return rc;
}

/* ---- our keys ---- */

struct identity {
    const char *path;
    struct keyfile key;
    bool tried; /* through the agent */
};

struct login {
    struct carrier *c;
    struct identity *id;
    size_t ids;
    LIBSSH2_AGENT *agent;
    struct buf tried;     /* for the message: what was tried, and what became of it */
    bool locked, rsa;     /* one had a passphrase; one was an RSA key */
    int64_t deadline;
};

static void note(struct login *l, const char *what, const char *type, const char *fate)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s%s%s (%s)", l->tried.len ? ", " : "", what, *type ? " " : "", type, fate);
    buf_put(&l->tried, text, strlen(text));
    l->rsa |= strcmp(type, "ssh-rsa") == 0;
}

static void load_identity(struct identity *id, const char *path)
{
    size_t len;
    *id = (struct identity){.path = path};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        char *text = mem_alloc(KEY_FILE_MAX);
        ssize_t n = file_read(fd, text, KEY_FILE_MAX);
        if (n > 0 && keyfile_parse(&id->key, text, (size_t)n) < 0)
            keyfile_free(&id->key);
        explicit_bzero(text, KEY_FILE_MAX);
        free(text);
        close(fd);
    }
    /* An older format hides the public half; it usually lies beside. */
    if (id->key.blob.len == 0) {
        struct keyfile beside;
        char *name = mem_printf("%s.pub", path);
        char *text = file_slurp(AT_FDCWD, name, KEY_FILE_MAX, &len, NULL);
        if (text && keyfile_parse(&beside, text, len) == 0 && !beside.secret) {
            buf_put(&id->key.blob, beside.blob.data, beside.blob.len);
            memcpy(id->key.type, beside.type, sizeof id->key.type);
            keyfile_free(&beside);
        }
        free(text);
        free(name);
    }
}

static void open_agent(struct login *l)
{
    if (!l->c->conf.agent || !(l->agent = libssh2_agent_init(l->c->session)))
        return;
    libssh2_agent_set_identity_path(l->agent, l->c->conf.agent);
    if (libssh2_agent_connect(l->agent) == 0 && libssh2_agent_list_identities(l->agent) == 0)
        return;
    libssh2_agent_free(l->agent);
    l->agent = NULL;
}

/* 1: we are in; 0: this key was not taken; -1: the connection is over. */
static int outcome(struct login *l, int rc, const char *what, const char *type)
{
    if (rc == 0)
        return 1;
    if (rc == LIBSSH2_ERROR_EAGAIN || rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_SOCKET_SEND)
        return -1;
    bool refused = rc == LIBSSH2_ERROR_AUTHENTICATION_FAILED || rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED;
    note(l, what, type, refused ? "not accepted" : last_error(l->c));
    return 0;
}

static int try_agent_key(struct login *l, struct libssh2_agent_publickey *key, const char *path)
{
    char type[64], what[512];
    int rc;
    if (!keyfile_blob_type(key->blob, key->blob_len, type, sizeof type))
        return 0;
    snprintf(what, sizeof what, "the agent's %s", path ? path : key->comment ? key->comment : "key");
    REPEAT(l->c, l->deadline, rc, libssh2_agent_userauth(l->agent, l->c->conf.user, key));
    return outcome(l, rc, what, type);
}

static struct identity *find_identity(struct login *l, const struct libssh2_agent_publickey *key)
{
    for (size_t i = 0; i < l->ids; i++)
        if (l->id[i].key.blob.len == key->blob_len && memcmp(l->id[i].key.blob.data, key->blob, key->blob_len) == 0)
            return &l->id[i];
    return NULL;
}

/* configured: those that the key files name; else the agent's other ones. */
static int try_agent(struct login *l, bool configured)
{
    struct libssh2_agent_publickey *key = NULL;
    int rc = 0;
    while (l->agent && rc == 0 && libssh2_agent_get_identity(l->agent, &key, key) == 0) {
        struct identity *id = find_identity(l, key);
        if ((id != NULL) != configured)
            continue;
        if (id)
            id->tried = true;
        rc = try_agent_key(l, key, id ? id->path : NULL);
    }
    return rc;
}

static int try_files(struct login *l)
{
    int rc = 0;
    for (size_t i = 0; i < l->ids && rc == 0; i++) {
        const struct identity *id = &l->id[i];
        if (id->tried || !id->key.secret)
            continue;
        if (id->key.encrypted) {
            note(l, id->path, id->key.type, "has a passphrase");
            l->locked = true;
            continue;
        }
        REPEAT(l->c, l->deadline, rc,
               libssh2_userauth_publickey_fromfile_ex(l->c->session, l->c->conf.user,
                                                      (unsigned)strlen(l->c->conf.user), NULL, id->path, ""));
        rc = outcome(l, rc, id->path, id->key.type);
    }
    return rc;
}

static int no_key(struct login *l, const char *methods)
{
    const struct ssh_config *conf = &l->c->conf;
    if (l->tried.len == 0) {
        for (size_t i = 0; i < l->ids; i++)
            note(l, l->id[i].path, "", l->id[i].key.blob.len ? "public half only" : "not there or no key");
        return say("%s: there is no key to log in with as %s%s%.*s%s: make one with ssh-keygen -t ed25519, or use --rsh ssh",
                   conf->hostname, conf->user, l->tried.len ? ": " : "", (int)l->tried.len,
                   l->tried.len ? (const char *)l->tried.data : "", l->agent ? "; the agent has none either" : "");
    }
    bool old = l->rsa && !libssh2_version(0x010b00);
    return say("%s: no key was accepted for %s; tried: %.*s; the server would take: %s%s%s", conf->hostname, conf->user,
               (int)l->tried.len, (const char *)l->tried.data, methods,
               l->locked ? "; a key with a passphrase: load it into the agent with ssh-add" : "",
               old ? "; an RSA key: this library signs RSA keys in a way that servers refuse today: use an ed25519 key, or "
                     "--rsh ssh"
                   : "");
}

/* What the server takes now, separated by commas: libssh2's, until the next call. NULL with *rc: it does not say. */
static char *ask_methods(struct login *l, int *rc)
{
    struct carrier *c = l->c;
    char *methods = NULL;
    REPEAT(c, l->deadline, *rc,
           (methods = libssh2_userauth_list(c->session, c->conf.user, (unsigned)strlen(c->conf.user)))
               ? 0
               : libssh2_session_last_errno(c->session));
    return methods;
}

/* To libssh2 a key that was taken, but is not enough, looks like one that was not: what the server asks for now tells. */
static int not_in(struct login *l, const char *before)
{
    const struct ssh_config *conf = &l->c->conf;
    int rc;
    const char *now = l->c->gone ? NULL : ask_methods(l, &rc);
    if (!now || strstr(now, "publickey"))
        return no_key(l, before);
    return say("%s takes a key of %s's, but asks for more (%s): use --rsh ssh", conf->hostname, conf->user, now);
}

static int try_all(struct login *l)
{
    struct carrier *c = l->c;
    int rc;
    char *methods = ask_methods(l, &rc);
    if (!methods && libssh2_userauth_authenticated(c->session))
        return 0;
    if (!methods)
        return rc == LIBSSH2_ERROR_EAGAIN ? gave_up(c, "while logging in")
                                          : say("%s: cannot log in as %s: %s", c->conf.hostname, c->conf.user,
                                                last_error(c));
    if (!strstr(methods, "publickey"))
        return say("%s takes no key from %s, only %s: use --rsh ssh", c->conf.hostname, c->conf.user, methods);
    char *kept = mem_strdup(methods); /* libssh2 uses the space again */
    open_agent(l);
    rc = try_agent(l, true);
    if (rc == 0)
        rc = try_files(l);
    if (rc == 0 && !c->conf.identities_only)
        rc = try_agent(l, false);
    if (rc < 0 && c->gone && l->tried.len)
        rc = 0; /* servers hang up after a few keys: what they were is the better answer */
    int status = rc > 0 ? 0 : rc < 0 ? gave_up(c, "while logging in") : not_in(l, kept);
    free(kept);
    return status;
}

static int log_in(struct carrier *c)
{
    struct login l = {.c = c, .ids = c->conf.identity.n, .deadline = clock_mono_ms() + 2 * 60 * 1000};
    l.id = mem_zalloc((l.ids + 1) * sizeof *l.id);
    for (size_t i = 0; i < l.ids; i++)
        load_identity(&l.id[i], c->conf.identity.word[i]);
    int rc = try_all(&l);
    if (l.agent) {
        libssh2_agent_disconnect(l.agent);
        libssh2_agent_free(l.agent);
    }
    for (size_t i = 0; i < l.ids; i++)
        keyfile_free(&l.id[i].key);
    free(l.id);
    buf_free(&l.tried);
    return rc;
}

/* ---- the channel ---- */

static int start_command(struct carrier *c, const char *command)
{
    int rc;
    int64_t deadline = deadline_of(c);
    REPEAT(c, deadline, rc,
           (c->channel = libssh2_channel_open_ex(c->session, "session", 7, WINDOW, PACKET, NULL, 0))
               ? 0
               : libssh2_session_last_errno(c->session));
    if (rc == LIBSSH2_ERROR_EAGAIN)
        return gave_up(c, "while opening a channel");
    if (!c->channel)
        return say("%s: the server opens no channel: %s", c->conf.hostname, last_error(c));
    char *line = mem_printf("%s agent", command);
    REPEAT(c, deadline, rc, libssh2_channel_process_startup(c->channel, "exec", 4, line, (unsigned)strlen(line)));
    free(line);
    if (rc == LIBSSH2_ERROR_EAGAIN)
        return gave_up(c, "while starting the command");
    if (rc < 0)
        return say("%s: the server runs no command for %s: %s", c->conf.hostname, c->conf.user, last_error(c));
    return 0;
}

/* Empties a flow into a descriptor; false when nobody reads there any more. */
static bool pour(struct carrier *c, struct flow *f, int fd)
{
    while (f->start < f->end) {
        ssize_t n = write(fd, f->data + f->start, f->end - f->start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        f->start += (size_t)n;
        c->moved = true;
    }
    f->start = f->end = 0;
    return true;
}

static void drop(struct flow *f)
{
    f->start = f->end = 0;
}

/* 0, or -1 when the session is beyond repair. */
static int fill_err(struct carrier *c)
{
    char waste[4096];
    for (;;) {
        bool full = c->err_dead || c->err.end == ROOM;
        size_t room = full ? sizeof waste : ROOM - c->err.end;
        ssize_t n = libssh2_channel_read_stderr(c->channel, full ? waste : c->err.data + c->err.end, room);
        if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
            return 0;
        if (n < 0)
            return -1;
        c->moved = true;
        if (full)
            c->err_lost += (size_t)n;
        else
            c->err.end += (size_t)n;
        if (c->err.end == ROOM && !c->err_dead)
            c->err_dead = !pour(c, &c->err, STDERR_FILENO);
    }
}

/*
 * A read makes the window as wide again as it was, however much lies unread in libssh2's own lists. So nothing is taken
 * from the socket before those are empty, and while the coordinator is slow we read nothing at all: wait_eof then
 * takes in what the other direction needs, and the window bounds the rest.
 */
static int fill_down(struct carrier *c)
{
    if (c->down.end == ROOM) {
        c->pull = PULL;
        int rc = libssh2_channel_wait_eof(c->channel);
        return rc < 0 && rc != LIBSSH2_ERROR_EAGAIN ? -1 : 0;
    }
    for (size_t pull = 0;; pull = PULL) {
        c->pull = pull;
        ssize_t n = libssh2_channel_read(c->channel, c->down.data + c->down.end, ROOM - c->down.end);
        if (n > 0) {
            c->moved = true;
            c->down.end += (size_t)n;
        }
        if (n > 0 || pull > 0) {
            c->pull = 0;
            return n < 0 && n != LIBSSH2_ERROR_EAGAIN ? -1 : fill_err(c);
        }
        if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
            return -1;
    }
}

static void pour_down(struct carrier *c)
{
    if (!c->down_dead && !pour(c, &c->down, c->fd))
        c->down_dead = true;
    if (c->down_dead)
        drop(&c->down);
    if (!c->err_dead && !pour(c, &c->err, STDERR_FILENO))
        c->err_dead = true;
    if (c->err_dead)
        drop(&c->err);
    if (c->err_lost && c->err.end == 0 && !c->err_dead) {
        c->err.end = (size_t)snprintf(c->err.data, ROOM, "\n(%zu bytes of what %s said here were lost)\n", c->err_lost,
                                      c->conf.host);
        c->err_lost = 0;
    }
}

static void fill_up(struct carrier *c)
{
    if (c->up_ended || c->up.end == ROOM)
        return;
    ssize_t n = read(c->fd, c->up.data + c->up.end, ROOM - c->up.end);
    if (n > 0) {
        c->moved = true;
        c->up.end += (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        c->moved = true;
        c->up_ended = true;
    }
}

static int pour_up(struct carrier *c)
{
    c->pull = 0;
    while (c->up.start < c->up.end && queued(c) < QUEUE_FULL) {
        size_t len = c->up_try ? c->up_try : c->up.end - c->up.start;
        ssize_t n = libssh2_channel_write(c->channel, c->up.data + c->up.start, len);
        c->up_try = n == LIBSSH2_ERROR_EAGAIN ? len : 0;
        if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
            return 0;
        if (n < 0)
            return -1;
        c->moved = true;
        c->up.start += (size_t)n;
    }
    if (c->up.start < c->up.end)
        return 0;
    drop(&c->up);
    if (c->up_ended && !c->eof_sent) {
        int rc = libssh2_channel_send_eof(c->channel);
        if (rc < 0 && rc != LIBSSH2_ERROR_EAGAIN)
            return -1;
        c->eof_sent = rc == 0;
        c->moved |= c->eof_sent;
    }
    return 0;
}

static void wait_for_bytes(struct carrier *c, int64_t deadline)
{
    short link = (short)((!c->up_ended && c->up.end < ROOM ? POLLIN : 0) | (c->down.end ? POLLOUT : 0));
    struct pollfd p[3] = {
        {.fd = c->gone ? -1 : c->sock, .events = (short)(POLLIN | (queued(c) ? POLLOUT : 0))},
        {.fd = c->down_dead && !link ? -1 : c->fd, .events = link},
        {.fd = c->err.end && !c->err_dead ? STDERR_FILENO : -1, .events = POLLOUT},
    };
    int64_t left = deadline ? deadline - clock_mono_ms() : -1;
    if (deadline && left < 0)
        left = 0;
    /* A hang-up does not go away, so that it must be heard only once. What was sent before it is still read. */
    if (poll(p, 3, (int)left) > 0 && p[1].revents & (POLLHUP | POLLERR))
        c->down_dead = true;
}

enum turn { TURN_GOES_ON, TURN_CLOSED, TURN_LOST, TURN_BROKEN };

static enum turn carry_once(struct carrier *c)
{
    c->moved = false;
    flush_queue(c);
    if (queued(c) < QUEUE_FULL && fill_down(c) < 0)
        return TURN_BROKEN;
    pour_down(c);
    fill_up(c);
    if (!c->gone && pour_up(c) < 0)
        return TURN_BROKEN;
    if (c->moved || c->down.end)
        return TURN_GOES_ON;
    if (libssh2_channel_eof(c->channel) == 1) {
        c->pull = PULL;
        if (libssh2_channel_wait_closed(c->channel) == 0)
            return TURN_CLOSED;
    }
    return c->gone && !c->moved ? TURN_LOST : TURN_GOES_ON;
}

/* The far command's own status, as far as the server told of it. */
static int far_status(struct carrier *c)
{
    char *name = NULL;
    size_t len = 0;
    libssh2_channel_get_exit_signal(c->channel, &name, &len, NULL, NULL, NULL, NULL);
    if (name && len)
        return say("%s: the far command was killed by signal %.*s", c->conf.hostname, (int)len, name);
    return libssh2_channel_get_exit_status(c->channel);
}

/* Nobody has to read the far command's last words, but somebody may be about to. */
static void last_words(struct carrier *c)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (c->err.end && !c->err_dead && poll(&p, 1, LAST_WORDS_MS) > 0)
        pour_down(c);
}

static int carry(struct carrier *c)
{
    int64_t deadline = 0;
    for (;;) {
        switch (carry_once(c)) {
        case TURN_CLOSED:
            last_words(c);
            return far_status(c);
        case TURN_LOST:
            return say("%s: the connection was lost%s%s", c->conf.hostname, c->gone_errno ? ": " : "",
                       c->gone_errno ? strerror(c->gone_errno) : "");
        case TURN_BROKEN:
            return say("%s: the connection broke: %s", c->conf.hostname, last_error(c));
        case TURN_GOES_ON:
            break;
        }
        bool far_ended = libssh2_channel_eof(c->channel) == 1 && c->down.end == 0;
        if (!far_ended && !c->down_dead)
            deadline = 0;
        else if (deadline == 0)
            deadline = clock_mono_ms() + (far_ended ? LAST_WORDS_MS : ALONE_MS);
        else if (clock_mono_ms() > deadline)
            return say("%s: the far command does not end", c->conf.hostname);
        if (!c->moved)
            wait_for_bytes(c, deadline);
    }
}

/* ---- the whole of it ---- */

static int connect_session(struct carrier *c, const struct link_remote *r)
{
    struct err e;
    struct words proxy;
    int rc = ssh_config_resolve(&c->conf, &proxy, r, &e);
    if (rc == 0)
        rc = c->sock = proxy.n ? dial_proxy(&proxy, &c->proxy, &e) : dial_tcp(&c->conf, &e);
    words_free(&proxy);
    if (rc < 0)
        return say("%s: %s", r->host, e.msg);
    if (libssh2_init(0) != 0 || !(c->session = libssh2_session_init_ex(NULL, NULL, NULL, c)))
        return say("libssh2 cannot be set up");
    libssh2_session_set_blocking(c->session, 0);
#if LIBSSH2_VERSION_NUM >= 0x010b01
    libssh2_session_callback_set2(c->session, LIBSSH2_CALLBACK_SEND, (libssh2_cb_generic *)on_send);
    libssh2_session_callback_set2(c->session, LIBSSH2_CALLBACK_RECV, (libssh2_cb_generic *)on_recv);
#else
    libssh2_session_callback_set(c->session, LIBSSH2_CALLBACK_SEND, (void *)on_send);
    libssh2_session_callback_set(c->session, LIBSSH2_CALLBACK_RECV, (void *)on_recv);
#endif
    rc = secure(c);
    return rc ? rc : log_in(c);
}

static void prepare_flows(struct carrier *c)
{
    struct flow *f[3] = {&c->down, &c->up, &c->err};
    for (size_t i = 0; i < 3; i++)
        f[i]->data = mem_alloc(ROOM);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
}

int ssh_carry(int fd, const struct link_remote *r)
{
    struct carrier c = {.fd = fd, .sock = -1};
    signal(SIGPIPE, SIG_IGN);
    int status = connect_session(&c, r);
    if (status == 0)
        status = start_command(&c, r->command);
    if (status == 0) {
        prepare_flows(&c);
        /* Nothing is opened any more: whoever captures us from the far end finds nothing but these descriptors. */
        struct err e;
        if (r->sandbox && sandbox_nothing(&e) < 0)
            status = say("%s", e.msg);
        else
            status = carry(&c);
    }
    /* A word of farewell, if it costs no waiting. Closing the channel would: the process ends here and takes all along. */
    if (c.session && !c.gone) {
        c.pull = 0;
        libssh2_session_disconnect(c.session, "done");
        flush_queue(&c);
    }
    if (c.proxy > 0)
        kill(c.proxy, SIGTERM);
    return status;
}
