/* What an agent allows itself: which root it serves, and what the kernel lets it reach besides. */
#include "agent/state.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/sandbox.h"
#include "store/blob_keep.h"
#include "store/state.h"
#include "store/store.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A sanitizer looks at its own process when it ends. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#define READ_WRITE (SANDBOX_READ | SANDBOX_WRITE)

/* ---- the sandbox ---- */

struct rules {
    struct sandbox_rule *rule;
    size_t n;
    int held[3];     /* descriptors that rules name */
    size_t holds;
    char *parent[2]; /* paths that rules name */
    size_t parents;
    bool wide;       /* something is still to be made, and allows more than it will need once it is there */
};

static void allow(struct rules *r, const char *path, int fd, unsigned access)
{
    r->rule[r->n++] = (struct sandbox_rule){path, fd, access};
}

/* For what is not there yet. */
static void allow_parent(struct rules *r, const char *path)
{
    char *parent = file_parent(path);
    allow(r, parent, -1, READ_WRITE);
    r->parent[r->parents++] = parent;
    r->wide = true;
}

static int open_dir(const char *path)
{
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/*
 * The store's own directory, held through a descriptor: a symlink in its place must not lead the rule
 * elsewhere. -1 when it is not there.
 */
static int open_state(const struct agent *a, int root)
{
    const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (!a->state_dir)
        return openat(root, PATH_STATE, flags);
    char *real = realpath(a->root, NULL), *name = real ? state_name(real) : NULL;
    int dir = open_dir(a->state_dir);
    int fd = dir < 0 || !name ? -1 : openat(dir, name, flags);
    if (dir >= 0)
        close(dir);
    free(real);
    free(name);
    return fd;
}

static void allow_state(const struct agent *a, struct rules *r, int state, unsigned access)
{
    if (state >= 0) {
        allow(r, NULL, state, access);
        r->held[r->holds++] = state;
    } else if (a->state_dir && !a->dry_run) {
        int dir = open_dir(a->state_dir);
        if (dir >= 0) {
            allow(r, a->state_dir, -1, access);
            r->wide = true;
            close(dir);
        } else {
            allow_parent(r, a->state_dir);
        }
    }
}

/* Is the root not to be written to? For reading only, once its state is there and a killed run left nothing. */
static bool only_read(const struct agent *a, int state)
{
    struct stat st;
    if (a->dry_run)
        return true;
    return a->options->read_only && (a->state_dir || state >= 0) &&
           (state < 0 || fstatat(state, STATE_JOURNAL, &st, AT_SYMLINK_NOFOLLOW) < 0);
}

/* Whoever calls may say that the root is a directory of blobs: then its state is beside it, where it has been made. */
static void allow_beside(const struct agent *a, struct rules *r)
{
    char *state = store_flat_state(a->root, NULL);
    int beside = open(state, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (beside >= 0) {
        allow(r, NULL, beside, a->dry_run ? SANDBOX_READ : READ_WRITE);
        r->held[r->holds++] = beside;
    }
    free(state);
}

static void allow_store(const struct agent *a, struct rules *r)
{
    int root = open_dir(a->root);
    int state = root < 0 ? -1 : open_state(a, root);
    bool only = only_read(a, state);
    if (root >= 0) {
        allow(r, NULL, root, only ? SANDBOX_READ : READ_WRITE);
        r->held[r->holds++] = root;
        r->wide |= a->options->read_only && !only;
    } else if (!a->dry_run && !a->options->read_only) {
        allow_parent(r, a->root);
    }
    allow_state(a, r, state, a->dry_run ? SANDBOX_READ : READ_WRITE);
    if (a->options->root && !a->options->local && !a->state_dir)
        allow_beside(a, r);
}

/* Of a directory of blobs: its state is beside it. */
static void allow_flat(const struct agent *a, struct rules *r)
{
    char *state = store_flat_state(a->root, a->state_dir);
    int root = open_dir(a->root), kept = open_dir(state);
    if (root >= 0) {
        allow(r, NULL, root, a->dry_run || a->options->read_only ? SANDBOX_READ : READ_WRITE);
        r->held[r->holds++] = root;
    }
    if (kept >= 0) {
        allow(r, NULL, kept, a->dry_run ? SANDBOX_READ : READ_WRITE);
        r->held[r->holds++] = kept;
    }
    if (root < 0 && !a->dry_run && !a->options->read_only)
        allow_parent(r, a->root);
    if (kept < 0 && !a->dry_run)
        allow_parent(r, state);
    free(state);
}

static int lock_in(struct agent *a, struct err *e)
{
    const struct agent_options *o = a->options;
    struct rules r = {.rule = mem_alloc((o->neighbours + 7) * sizeof *r.rule)};
    if (a->blobs)
        allow_flat(a, &r);
    else
        allow_store(a, &r);
    for (size_t i = 0; i < o->neighbours; i++)
        allow(&r, o->neighbour[i], -1, SANDBOX_READ);
    allow(&r, "/sys/devices/system/cpu/online", -1, SANDBOX_READ); /* libc counts the cores there */
#ifdef SANITIZED
    allow(&r, "/proc", -1, SANDBOX_READ);
#endif
    int rc = sandbox_enter(r.rule, r.n, e);
    a->wide = r.wide && rc > 0;
    while (r.holds > 0)
        close(r.held[--r.holds]);
    while (r.parents > 0)
        free(r.parent[--r.parents]);
    free(r.rule);
    if (rc < 0)
        err_wrap(e, "it does not serve, since it cannot lock itself in (--no-sandbox lets it do without)");
    return rc < 0 ? rc : 0;
}

/* Of a blob-server: what it takes to find it and to trust its certificate, and the directory in which its state is kept. */
static int lock_in_http(struct agent *a, struct err *e)
{
    static const char *const system[] = {"/etc", "/usr", "/lib", "/lib64", "/run", "/var/lib/ca-certificates",
                                         "/sys/devices/system/cpu/online", "/dev/urandom", "/dev/null"};
    const size_t n = sizeof system / sizeof system[0];
    static const char *const own[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"};
    struct rules r = {.rule = mem_alloc((n + 8) * sizeof *r.rule)};
    for (size_t i = 0; i < n; i++)
        allow(&r, system[i], -1, SANDBOX_READ);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (getenv(own[i]))
            allow(&r, getenv(own[i]), -1, SANDBOX_READ);
    if (a->state_dir && !a->dry_run)
        blob_keep_make_dir(a->state_dir); /* where it fails the store says so */
    if (a->state_dir)
        allow(&r, a->state_dir, -1, a->dry_run ? SANDBOX_READ : READ_WRITE);
#ifdef SANITIZED
    allow(&r, "/proc", -1, SANDBOX_READ);
#endif
    int rc = sandbox_enter_with_network(r.rule, r.n, e);
    free(r.rule);
    return rc < 0 ? err_wrap(e, "it does not serve, since it cannot lock itself in (--no-sandbox lets it do without)") : 0;
}

/* What an early look or a dry run writes to must be open before we are locked in. Without it the scan says what is wrong. */
static void open_scratch(struct agent *a)
{
    const char *tmp = getenv("TMPDIR");
    int fd = file_unnamed(tmp && tmp[0] ? tmp : "/tmp");
    a->scratch = fd > 0 ? fd : 0;
}

int confine_first(struct agent *a, struct err *e)
{
    const struct agent_options *o = a->options;
    if (!o->root)
        return 0;
    a->root = mem_strdup(o->root);
    a->state_dir = o->state_dir ? mem_strdup(o->state_dir) : NULL;
    a->dry_run = o->dry_run;
    a->blobs = o->blobs;
    if (o->no_sandbox)
        return 0;
    if (o->http)
        return lock_in_http(a, e);
    open_scratch(a);
    return lock_in(a, e);
}

int confine_again(struct agent *a, struct err *e)
{
    return a->wide ? lock_in(a, e) : 0;
}

/* ---- what OPEN asks for ---- */

static const char *home(void)
{
    const char *dir = getenv("HOME");
    if (dir && dir[0] == '/')
        return dir;
    const struct passwd *user = getpwuid(getuid());
    return user && user->pw_dir && user->pw_dir[0] == '/' ? user->pw_dir : NULL;
}

/* "~" and "~/x" begin with the home directory; NULL when that is not known. The caller frees. */
static char *expand(const char *path, size_t n)
{
    if (n == 0 || path[0] != '~' || (n > 1 && path[1] != '/'))
        return mem_strndup(path, n);
    const char *dir = home();
    if (!dir)
        return NULL;
    size_t len = strlen(dir);
    while (len > 0 && dir[len - 1] == '/')
        len--;
    return len || n > 1 ? mem_printf("%.*s%.*s", (int)len, dir, (int)(n - 1), path + 1) : mem_strdup("/");
}

static int take_path(const struct agent *a, const char *path, size_t n, const char *what, char **out,
                     struct err *e)
{
    *out = expand(path, n);
    if (!*out)
        return err_set(e, ERR_USAGE, "%.*s: the home directory is not known", (int)n, path);
    if (**out != '/' && !a->options->local)
        return err_set(e, ERR_USAGE, "%s: %s on another machine must begin with \"/\" or \"~/\"", *out, what);
    return 0;
}

static bool same_path(const char *a, const char *b)
{
    size_t n = strlen(a), k = strlen(b);
    while (n > 1 && a[n - 1] == '/')
        n--;
    while (k > 1 && b[k - 1] == '/')
        k--;
    return n == k && memcmp(a, b, n) == 0;
}

static void remark_other_root(struct agent *a, const struct message_open *m)
{
    struct err text;
    char *asked = expand(m->root, m->root_len);
    if (!asked || !same_path(asked, a->root)) {
        err_set(&text, 0, "asked for %.*s, but its agent serves %s and nothing else", (int)m->root_len, m->root,
                a->root);
        message_put_problem(&a->out, false, "", text.msg);
    }
    free(asked);
}

int confine_open(struct agent *a, const struct message_open *m, struct err *e)
{
    a->dry_run = a->options->dry_run || m->flags & OPEN_DRY_RUN;
    a->blobs |= (m->flags & OPEN_BLOBS) != 0;
    if (a->options->root) {
        remark_other_root(a, m);
        return 0;
    }
    int rc = take_path(a, m->root, m->root_len, "a store", &a->root, e);
    if (rc == 0 && m->state_dir_len)
        rc = take_path(a, m->state_dir, m->state_dir_len, "a state directory", &a->state_dir, e);
    if (rc < 0 || a->options->no_sandbox || m->flags & OPEN_NO_SANDBOX)
        return rc;
    if (a->dry_run || m->flags & OPEN_LOOK)
        open_scratch(a);
    return lock_in(a, e);
}
