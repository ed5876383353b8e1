#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/path.h"

#define NEED(what) ((what) ? (void)0 : need(#what, __FILE__, __LINE__))

static void need(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, strerror(errno));
    abort();
}

struct digest tree_digest(bool link, const void *p, size_t n)
{
    struct digest_state *s = digest_new();
    digest_reset(s);
    digest_add(s, link ? "l" : "f", 1);
    digest_add(s, p, n);
    struct digest d = digest_end(s);
    digest_free(s);
    return d;
}

static struct digest digest_at(const char *path, const struct stat *st)
{
    size_t size = (size_t)st->st_size;
    char *p = mem_alloc(size + 1);
    ssize_t n = 0;
    if (S_ISLNK(st->st_mode)) {
        n = readlink(path, p, size + 1);
    } else {
        int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        NEED(fd >= 0);
        n = read(fd, p, size);
        close(fd);
    }
    NEED(n == (ssize_t)size);
    struct digest d = tree_digest(S_ISLNK(st->st_mode), p, size);
    free(p);
    return d;
}

static void visit(const char *top, const char *below, bool state, tree_fn *fn, void *ctx)
{
    char full[1024], path[512];
    snprintf(full, sizeof full, "%s/%s", top, below);
    DIR *d = opendir(full);
    NEED(d || errno == ENOENT);
    for (struct dirent *at; d && (at = readdir(d));) {
        struct stat st;
        if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0 ||
            (!state && !below[0] && strcmp(at->d_name, PATH_STATE) == 0))
            continue;
        snprintf(path, sizeof path, "%s%s%s", below, below[0] ? "/" : "", at->d_name);
        snprintf(full, sizeof full, "%s/%s", top, path);
        NEED(lstat(full, &st) == 0);
        struct tree_object o = {.path = path, .st = &st};
        if (!S_ISDIR(st.st_mode))
            o.digest = digest_at(full, &st);
        fn(ctx, &o);
        if (S_ISDIR(st.st_mode))
            visit(top, path, state, fn, ctx);
    }
    if (d)
        closedir(d);
}

void tree_visit(const char *top, const char *below, tree_fn *fn, void *ctx)
{
    visit(top, below, false, fn, ctx);
}

/* ---- snapshots ---- */

/* Each object is digested by itself and these are added up: the order of a directory means nothing. Takes the line. */
static void add_line(struct digest *sum, char *line)
{
    struct digest one = digest_of(line, strlen(line));
    for (size_t i = 0; i < DIGEST_LEN; i++)
        sum->b[i] = (uint8_t)(sum->b[i] + one.b[i]);
    free(line);
}

static void add_object(void *ctx, const struct tree_object *o)
{
    struct digest *sum = ctx;
    const struct stat *st = o->st;
    char *line = mem_printf("%s %o %ju %ju %jd %jd.%09ld %jd.%09ld %jx", o->path, (unsigned)st->st_mode,
                            (uintmax_t)st->st_ino, (uintmax_t)st->st_nlink, (intmax_t)st->st_size,
                            (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec,
                            st->st_ctim.tv_nsec, (uintmax_t)digest_word(&o->digest));
    add_line(sum, line);
}

struct digest tree_snapshot(const char *top)
{
    struct digest sum = {0};
    visit(top, "", true, add_object, &sum);
    return sum;
}

static void add_held(void *ctx, const struct tree_object *o)
{
    const struct stat *st = o->st;
    bool dir = S_ISDIR(st->st_mode);
    char hex[DIGEST_HEX_MAX + 1];
    add_line(ctx, mem_printf("%s %o %jd.%09ld %s", o->path, (unsigned)st->st_mode, dir ? 0 : (intmax_t)st->st_mtim.tv_sec,
                             dir ? 0 : st->st_mtim.tv_nsec, dir ? "" : digest_hex(hex, &o->digest)));
}

struct digest tree_objects(const char *top)
{
    struct digest sum = {0};
    visit(top, "", false, add_held, &sum);
    return sum;
}

/* ---- leftovers ---- */

struct leftover {
    char *out;
    size_t size;
    bool found;
};

static bool in_state(const char *path, const char *name)
{
    size_t n = strlen(PATH_STATE);
    return strncmp(path, PATH_STATE, n) == 0 && path[n] == '/' && strcmp(path + n + 1, name) == 0;
}

static void find_leftover(void *ctx, const struct tree_object *o)
{
    struct leftover *l = ctx;
    const char *slash = strrchr(o->path, '/'), *name = slash ? slash + 1 : o->path;
    size_t n = strlen(PATH_STATE);
    /* What a killed run had in hand lies in the trash under the name that it had then. */
    bool temp = strncmp(name, PATH_STATE ".", n + 1) == 0 && strncmp(o->path, PATH_STATE "/trash/", n + 7) != 0;
    if (temp || in_state(o->path, "journal") || in_state(o->path, "manifest.new")) {
        snprintf(l->out, l->size, "%s", o->path);
        l->found = true;
    }
}

bool tree_leftover(const char *top, char *out, size_t size)
{
    struct leftover l = {out, size, false};
    visit(top, "", true, find_leftover, &l);
    return l.found;
}

/* ---- making and removing ---- */

void tree_remove(const char *path)
{
    char full[1024];
    struct stat st;
    if (lstat(path, &st) < 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        NEED(unlink(path) == 0);
        return;
    }
    DIR *d = opendir(path);
    NEED(d);
    for (struct dirent *at; (at = readdir(d));) {
        if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0)
            continue;
        snprintf(full, sizeof full, "%s/%s", path, at->d_name);
        tree_remove(full);
    }
    closedir(d);
    NEED(rmdir(path) == 0);
}

char *tree_workplace(const char *name)
{
    const char *in_memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char *dir = mem_printf("%s/%s.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : in_memory, name);
    NEED(mkdtemp(dir));
    return dir;
}
