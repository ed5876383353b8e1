#include "link/ssh_config.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "link/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#define SSH_PORT 22
#define CONNECT_TIMEOUT 30        /* seconds */
#define CONNECT_TIMEOUT_MAX 86400
#define ANSWER_MS 20000           /* for `ssh -G`, which may have to run a "Match exec" */
#define ANSWER_MAX (256u << 10)
#define FILE_TOKENS "~$%CdhikLlnpru"
#define PROXY_TOKENS "%hnpr"

static void set(char **to, char *value)
{
    free(*to);
    *to = value;
}

void ssh_config_free(struct ssh_config *c)
{
    free(c->host);
    free(c->hostname);
    free(c->alias);
    free(c->user);
    free(c->agent);
    free(c->proxy_command);
    free(c->proxy_jump);
    free(c->config_file);
    words_free(&c->identity);
    words_free(&c->user_known_hosts);
    words_free(&c->global_known_hosts);
    *c = (struct ssh_config){0};
}

static char *copy_or_null(const char *text)
{
    return text ? mem_strdup(text) : NULL;
}

void ssh_config_defaults(struct ssh_config *c, const char *host, const struct ssh_config_self *self)
{
    *c = (struct ssh_config){
        .host = mem_strdup(host),
        .hostname = mem_strdup(host),
        .user = mem_strdup(self->login),
        .port = SSH_PORT,
        .agent = copy_or_null(self->env("SSH_AUTH_SOCK")),
        .connect_timeout = CONNECT_TIMEOUT,
    };
    static const char *const identity[] = {"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"};
    for (size_t i = 0; i < sizeof identity / sizeof identity[0]; i++)
        words_add(&c->identity, identity[i]);
    words_add(&c->user_known_hosts, "~/.ssh/known_hosts");
    words_add(&c->user_known_hosts, "~/.ssh/known_hosts2");
    words_add(&c->global_known_hosts, "/etc/ssh/ssh_known_hosts");
    words_add(&c->global_known_hosts, "/etc/ssh/ssh_known_hosts2");
}

/* ---- tokens ---- */

/* Appends what the token stands for; false when it stands for nothing. */
static bool put_token(const struct ssh_config *c, const struct ssh_config_self *self, char token, struct buf *out)
{
    char number[16];
    const char *text = number;
    size_t n = SIZE_MAX;
    switch (token) {
    case '%': text = "%"; break;
    case 'd': text = self->home; break;
    case 'h': text = c->hostname; break;
    case 'i': snprintf(number, sizeof number, "%u", self->uid); break;
    case 'k': text = c->alias ? c->alias : c->host; break;
    case 'L': text = self->machine; n = strcspn(text, "."); break;
    case 'l': text = self->machine; break;
    case 'n': text = c->host; break;
    case 'p': snprintf(number, sizeof number, "%u", c->port); break;
    case 'r': text = c->user; break;
    case 'u': text = self->login; break;
    default: return false;
    }
    buf_put(out, text, n == SIZE_MAX ? strlen(text) : n);
    return true;
}

/* p stands behind "${"; returns what follows the '}', or NULL. */
static const char *put_env(const struct ssh_config_self *self, const char *p, struct buf *out)
{
    size_t n = strcspn(p, "}");
    if (p[n] != '}' || n == 0)
        return NULL;
    char *name = mem_strndup(p, n);
    const char *value = self->env(name);
    free(name);
    if (!value)
        return NULL;
    buf_put(out, value, strlen(value));
    return p + n + 1;
}

char *ssh_config_expand(const struct ssh_config *c, const struct ssh_config_self *self, const char *allowed,
                        const char *text)
{
    struct buf out = {0};
    char *done = NULL;
    const char *p = text;
    if (strchr(allowed, '~') && p[0] == '~' && (p[1] == '/' || !p[1])) {
        buf_put(&out, self->home, strlen(self->home));
        p++;
    }
    while (*p) {
        if (*p == '%') {
            if (!p[1] || !strchr(allowed, p[1]) || !put_token(c, self, p[1], &out))
                goto out;
            p += 2;
        } else if (p[0] == '$' && p[1] == '{' && strchr(allowed, '$')) {
            if (!(p = put_env(self, p + 2, &out)))
                goto out;
        } else {
            buf_u8(&out, (uint8_t)*p++);
        }
    }
    done = mem_strndup(out.data ? (const char *)out.data : "", out.len);
out:
    buf_free(&out);
    return done;
}

/* ---- what ssh -G prints ---- */

static int take_number(const char *key, const char *value, uint64_t least, uint64_t most, unsigned *out, struct err *e)
{
    uint64_t v = 0;
    if (num_u64(value, most, &v, NULL) < 0 || v < least)
        return err_set(e, ERR_FORMAT, "ssh -G gave \"%s %s\"", key, value);
    *out = (unsigned)v;
    return 0;
}

/*
 * Several files on one line, separated by blanks that names may hold too. What does not look like the beginning of a
 * file name is taken for the rest of the one before it.
 */
static void take_files(struct words *w, const char *value)
{
    words_free(w);
    if (strcmp(value, "none") == 0)
        return;
    while (*value) {
        size_t n = strcspn(value, " ");
        while (value[n] && !strchr("/~%$", value[n + 1]))
            n += 1 + strcspn(value + n + 1, " ");
        if (n) {
            char *name = mem_strndup(value, n);
            words_add(w, name);
            free(name);
        }
        value += n + (value[n] == ' ');
    }
}

static void take_agent(struct ssh_config *c, const char *value, const struct ssh_config_self *self)
{
    if (strcmp(value, "none") == 0)
        set(&c->agent, NULL);
    else if (strcmp(value, "SSH_AUTH_SOCK") == 0)
        set(&c->agent, copy_or_null(self->env(value)));
    else if (value[0] == '$' && value[1] != '{')
        set(&c->agent, copy_or_null(self->env(value + 1)));
    else
        set(&c->agent, ssh_config_expand(c, self, FILE_TOKENS, value));
}

static char *unless_none(const char *value)
{
    return strcmp(value, "none") == 0 ? NULL : mem_strdup(value);
}

static bool yes(const char *value)
{
    return strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;
}

struct taking {
    const struct ssh_config_self *self;
    bool identity; /* the first one takes the place of the defaults */
    char *agent;   /* expanded at the end, when all that it may refer to is known */
};

static int take(struct ssh_config *c, struct taking *t, const char *key, const char *value, struct err *e)
{
    if (strcmp(key, "hostname") == 0) {
        set(&c->hostname, mem_strdup(value));
    } else if (strcmp(key, "user") == 0) {
        set(&c->user, mem_strdup(value));
    } else if (strcmp(key, "port") == 0) {
        return take_number(key, value, 1, 65535, &c->port, e);
    } else if (strcmp(key, "identityfile") == 0) {
        if (!t->identity)
            words_free(&c->identity);
        t->identity = true;
        if (strcmp(value, "none") != 0)
            words_add(&c->identity, value);
    } else if (strcmp(key, "identitiesonly") == 0) {
        c->identities_only = yes(value);
    } else if (strcmp(key, "userknownhostsfile") == 0) {
        take_files(&c->user_known_hosts, value);
    } else if (strcmp(key, "globalknownhostsfile") == 0) {
        take_files(&c->global_known_hosts, value);
    } else if (strcmp(key, "hostkeyalias") == 0) {
        set(&c->alias, unless_none(value));
    } else if (strcmp(key, "identityagent") == 0) {
        set(&t->agent, mem_strdup(value));
    } else if (strcmp(key, "proxyjump") == 0) {
        set(&c->proxy_jump, unless_none(value));
    } else if (strcmp(key, "proxycommand") == 0) {
        set(&c->proxy_command, unless_none(value));
    } else if (strcmp(key, "stricthostkeychecking") == 0) {
        /* "no" would also take a key that has changed. Nobody gets that from us. */
        c->accept_new = strcmp(value, "accept-new") == 0 || strcmp(value, "no") == 0 || strcmp(value, "off") == 0 ||
                        strcmp(value, "false") == 0;
    } else if (strcmp(key, "connecttimeout") == 0) {
        if (strcmp(value, "none") != 0)
            return take_number(key, value, 1, CONNECT_TIMEOUT_MAX, &c->connect_timeout, e);
    } else if (strcmp(key, "addressfamily") == 0) {
        c->family = strcmp(value, "inet") == 0    ? SSH_FAMILY_INET
                    : strcmp(value, "inet6") == 0 ? SSH_FAMILY_INET6
                                                  : SSH_FAMILY_ANY;
    } else if (strcmp(key, "hashknownhosts") == 0) {
        c->hash_known_hosts = yes(value);
    }
    return 0;
}

static int take_line(struct ssh_config *c, struct taking *t, const char *p, size_t n, struct err *e)
{
    while (n && (p[n - 1] == '\r' || p[n - 1] == ' '))
        n--;
    const char *blank = memchr(p, ' ', n);
    if (!blank || memchr(p, '\0', n))
        return 0;
    char *key = mem_strndup(p, (size_t)(blank - p));
    char *value = mem_strndup(blank + 1, n - (size_t)(blank - p) - 1);
    for (char *k = key; *k; k++)
        if (*k >= 'A' && *k <= 'Z')
            *k = (char)(*k - 'A' + 'a');
    int rc = take(c, t, key, value, e);
    free(key);
    free(value);
    return rc;
}

int ssh_config_parse(struct ssh_config *c, const char *text, size_t len, const struct ssh_config_self *self,
                     struct err *e)
{
    struct taking t = {.self = self};
    int rc = 0;
    const char *end = text + len;
    for (const char *p = text; p < end && rc == 0;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end;
        rc = take_line(c, &t, p, (size_t)(stop - p), e);
        p = stop + 1;
    }
    if (rc == 0 && t.agent)
        take_agent(c, t.agent, self);
    free(t.agent);
    return rc;
}

/* ---- proxies ---- */

/* [user@]host[:port], also as ssh://...; host may stand in brackets. */
static int add_jump(struct words *w, const char *last, size_t len, struct err *e)
{
    char *text = mem_strndup(last, len);
    int rc = 0;
    char *p = strncmp(text, "ssh://", 6) == 0 ? text + 6 : text;
    p[strcspn(p, "/")] = '\0';
    char *at = strrchr(p, '@');
    if (at) {
        *at = '\0';
        words_add(w, "-l");
        words_add(w, p);
        p = at + 1;
    }
    char *host = p, *port = NULL;
    if (*p == '[' && strchr(p, ']')) {
        host = p + 1;
        p = strchr(p, ']');
        *p++ = '\0';
        port = *p == ':' ? p + 1 : NULL;
    } else if ((p = strchr(p, ':')) && !strchr(p + 1, ':')) {
        *p = '\0';
        port = p + 1;
    }
    if (port) {
        words_add(w, "-p");
        words_add(w, port);
    }
    if (*host) {
        words_add(w, "--");
        words_add(w, host);
    } else {
        rc = err_set(e, ERR_CONF, "ProxyJump: \"%.*s\" names no host", (int)len, last);
    }
    free(text);
    return rc;
}

static int jump_words(const struct ssh_config *c, struct words *w, struct err *e)
{
    const char *comma = strrchr(c->proxy_jump, ',');
    const char *last = comma ? comma + 1 : c->proxy_jump;
    words_add(w, "ssh");
    if (c->config_file) {
        words_add(w, "-F");
        words_add(w, c->config_file);
    }
    if (comma) {
        char *before = mem_strndup(c->proxy_jump, (size_t)(comma - c->proxy_jump));
        words_add(w, "-J");
        words_add(w, before);
        free(before);
    }
    char *to = mem_printf("[%s]:%u", c->hostname, c->port);
    words_add(w, "-W");
    words_add(w, to);
    free(to);
    return add_jump(w, last, strlen(last), e);
}

int ssh_config_proxy(const struct ssh_config *c, const struct ssh_config_self *self, struct words *w, struct err *e)
{
    *w = (struct words){0};
    if (c->proxy_jump)
        return jump_words(c, w, e);
    if (!c->proxy_command)
        return 0;
    char *command = ssh_config_expand(c, self, PROXY_TOKENS, c->proxy_command);
    if (!command)
        return err_set(e, ERR_CONF, "ProxyCommand \"%s\" holds a %%-token that has no meaning here", c->proxy_command);
    char *exec = mem_printf("exec %s", command);
    words_add(w, "sh");
    words_add(w, "-c");
    words_add(w, exec);
    free(exec);
    free(command);
    return 0;
}

/* ---- asking ssh ---- */

/* Reads both pipes until they end, time is up or more came than can be right. */
static int read_answer(int out, int err, struct buf *text, struct buf *complaint, struct err *e)
{
    struct pollfd p[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    struct buf *to[2] = {text, complaint};
    int64_t end = clock_mono_ms() + ANSWER_MS;
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        int64_t left = end - clock_mono_ms();
        if (left <= 0)
            return err_set(e, ERR_CONF, "ssh -G took longer than %d seconds", ANSWER_MS / 1000);
        if (poll(p, 2, (int)left) < 0 && errno != EINTR)
            return err_sys(e, "poll");
        for (int i = 0; i < 2; i++) {
            if (p[i].fd < 0 || !p[i].revents)
                continue;
            ssize_t n = read(p[i].fd, buf_room(to[i], 4096), 4096);
            if (n <= 0)
                p[i].fd = -1;
            else if ((to[i]->len += (size_t)n) > ANSWER_MAX)
                return err_set(e, ERR_CONF, "ssh -G does not stop talking");
        }
    }
    return 0;
}

/* ssh's own words say best what is wrong with a configuration: the first line of them. */
static int refused(const struct buf *complaint, int status, struct err *e)
{
    size_t n = 0;
    while (n < complaint->len && complaint->data[n] != '\n' && complaint->data[n] != '\r')
        n++;
    if (n == 0)
        return err_set(e, ERR_CONF, "ssh -G failed with status %d", status);
    return err_set(e, ERR_CONF, "ssh -G: %.*s", (int)n, (const char *)complaint->data);
}

/* 1: text is the answer; 0: there is no ssh on PATH; or an error. */
static int ask(char *const *argv, struct buf *text, struct err *e)
{
    int out[2], err[2] = {-1, -1}, status = 0, rc = 0;
    struct buf complaint = {0};
    pid_t pid = -1;
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_sys(e, "pipe");
    if (pipe2(err, O_CLOEXEC) < 0 || (pid = child_exec(argv, -1, out[1], err[1])) < 0)
        rc = err_sys(e, "ssh -G");
    close(out[1]);
    if (err[1] >= 0)
        close(err[1]);
    if (pid > 0) {
        rc = read_answer(out[0], err[0], text, &complaint, e);
        if (rc < 0)
            kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
        if (rc == 0)
            rc = code == 0 ? 1 : code == 127 ? 0 : refused(&complaint, code, e);
    }
    close(out[0]);
    if (err[0] >= 0)
        close(err[0]);
    buf_free(&complaint);
    return rc;
}

static int ask_ssh(const struct link_remote *r, struct buf *text, struct err *e)
{
    struct words w = {0};
    char port[16];
    words_add(&w, "ssh");
    words_add(&w, "-G");
    if (r->ssh_config) {
        words_add(&w, "-F");
        words_add(&w, r->ssh_config);
    }
    if (r->port) {
        snprintf(port, sizeof port, "%u", r->port);
        words_add(&w, "-p");
        words_add(&w, port);
    }
    if (r->user) {
        words_add(&w, "-l");
        words_add(&w, r->user);
    }
    words_add(&w, "--");
    words_add(&w, r->host);
    int rc = ask(w.word, text, e);
    words_free(&w);
    if (rc == 0 && r->ssh_config)
        return err_set(e, ERR_CONF, "reading %s needs the program ssh, which is not on PATH", r->ssh_config);
    return rc;
}

/* ---- all together ---- */

static const char *env(const char *name)
{
    return getenv(name);
}

static void expand_files(struct ssh_config *c, const struct ssh_config_self *self, struct words *w)
{
    struct words done = {0};
    for (size_t i = 0; i < w->n; i++) {
        char *name = ssh_config_expand(c, self, FILE_TOKENS, w->word[i]);
        /* What we cannot read as ssh does stays as it is: a name that does not exist. */
        words_add(&done, name ? name : w->word[i]);
        free(name);
    }
    words_free(w);
    *w = done;
}

static void override(struct ssh_config *c, const struct link_remote *r)
{
    if (r->user)
        set(&c->user, mem_strdup(r->user));
    if (r->port)
        c->port = r->port;
    if (r->connect_timeout)
        c->connect_timeout = r->connect_timeout;
    c->accept_new |= r->accept_new;
    set(&c->config_file, copy_or_null(r->ssh_config));
    if (r->known_hosts) {
        words_free(&c->user_known_hosts);
        words_add(&c->user_known_hosts, r->known_hosts);
    }
    if (r->identities)
        words_free(&c->identity);
    for (size_t i = 0; i < r->identities; i++)
        words_add(&c->identity, r->identity[i]);
}

int ssh_config_resolve(struct ssh_config *c, struct words *proxy, const struct link_remote *r, struct err *e)
{
    char machine[256] = "";
    struct passwd *pw = getpwuid(getuid());
    gethostname(machine, sizeof machine - 1);
    const char *home = pw ? pw->pw_dir : getenv("HOME");
    struct ssh_config_self self = {
        .home = home ? home : "/",
        .login = pw ? pw->pw_name : "",
        .machine = machine,
        .uid = (unsigned)getuid(),
        .env = env,
    };
    struct buf text = {0};
    *proxy = (struct words){0};
    ssh_config_defaults(c, r->host, &self);
    int rc = ask_ssh(r, &text, e);
    if (rc > 0)
        rc = ssh_config_parse(c, (const char *)text.data, text.len, &self, e);
    if (rc == 0) {
        expand_files(c, &self, &c->identity);
        expand_files(c, &self, &c->user_known_hosts);
        expand_files(c, &self, &c->global_known_hosts);
        override(c, r);
        if (!c->user[0])
            rc = err_set(e, ERR_CONF, "this account has no name: say USER@HOST");
        else
            rc = ssh_config_proxy(c, &self, proxy, e);
    }
    buf_free(&text);
    return rc;
}
