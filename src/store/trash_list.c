#include "store/trash_list.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define WINDOW (64u << 10)

int trash_list_top(int state)
{
    return openat(state, "trash", OPEN_DIR);
}

/* ---- runs ---- */

static int by_age(const void *a, const void *b)
{
    const struct trash_run *x = a, *y = b;
    if (x->when != y->when)
        return x->when < y->when ? -1 : 1;
    return (x->n > y->n) - (x->n < y->n);
}

/* A run is known by its directory or its list: a removal may have been cut short. */
static bool take_name(const char *name, struct trash_run *run)
{
    size_t n = strlen(name);
    if (n > 4 && strcmp(name + n - 4, ".txt") == 0)
        n -= 4;
    if (n > TRASH_RUN_MAX || !trash_record_parse_run(name, n, &run->when, &run->n))
        return false;
    memcpy(run->name, name, n);
    run->name[n] = '\0';
    return true;
}

int trash_list_runs(int top, struct trash_run **run, size_t *n, struct err *e)
{
    size_t cap = 0, kept = 0;
    *run = NULL;
    *n = 0;
    int fd = openat(top, ".", OPEN_DIR);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int rc = err_sys(e, "trash");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    for (const struct dirent *at; (at = readdir(d));) {
        if (*n == cap) {
            cap = cap ? 2 * cap : 64;
            *run = mem_resize(*run, cap, sizeof **run);
        }
        *n += take_name(at->d_name, *run + *n);
    }
    closedir(d);
    if (*n)
        qsort(*run, *n, sizeof **run, by_age);
    for (size_t i = 0; i < *n; i++)
        if (kept == 0 || strcmp((*run)[kept - 1].name, (*run)[i].name) != 0)
            (*run)[kept++] = (*run)[i];
    *n = kept;
    return 0;
}

/* ---- lists ---- */

struct trash_reader {
    int fd;
    char *text;
    size_t len, used;
    uint64_t at;
    bool end, first;
    char by[TRASH_BY_MAX + 1];
    struct trash_record record;
};

struct trash_reader *trash_reader_new(int top, const char *run)
{
    char list[TRASH_RUN_MAX + 8];
    struct stat st;
    snprintf(list, sizeof list, "%s.txt", run);
    int fd = openat(top, list, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return NULL;
    }
    struct trash_reader *r = mem_zalloc(sizeof *r);
    r->fd = fd;
    r->first = true;
    r->text = mem_alloc(WINDOW);
    return r;
}

void trash_reader_free(struct trash_reader *r)
{
    if (!r)
        return;
    close(r->fd);
    free(r->text);
    free(r);
}

_Static_assert(WINDOW > TRASH_LINE_MAX, "a whole line fits");

/* The next line, or, where none ends within the window, what is there of it. False at the end. */
static bool next_line(struct trash_reader *r, const char **line, size_t *len)
{
    for (;;) {
        char *nl = memchr(r->text + r->used, '\n', r->len - r->used);
        if (nl || (r->len - r->used == WINDOW) || (r->end && r->used < r->len)) {
            *line = r->text + r->used;
            *len = nl ? (size_t)(nl - *line) : r->len - r->used;
            r->used += *len + (nl != NULL);
            r->at += *len + (nl != NULL);
            return true;
        }
        if (r->end)
            return false;
        memmove(r->text, r->text + r->used, r->len - r->used);
        r->len -= r->used;
        r->used = 0;
        ssize_t n = file_read(r->fd, r->text + r->len, WINDOW - r->len);
        r->end = n <= 0;
        r->len += n > 0 ? (size_t)n : 0;
    }
}

const struct trash_record *trash_reader_next(struct trash_reader *r)
{
    const char *line;
    size_t len;
    r->end = false; /* a list that is still written to may have grown */
    while (next_line(r, &line, &len)) {
        bool first = r->first;
        r->first = false;
        if (first && trash_record_parse_first(line, len, r->by))
            continue;
        if (trash_record_parse(line, len, &r->record))
            return &r->record;
    }
    return NULL;
}

uint64_t trash_reader_at(const struct trash_reader *r)
{
    return r->at;
}

const char *trash_reader_by(const struct trash_reader *r)
{
    return r->by;
}

/* ---- items ---- */

int trash_list_parent(int top, const char *run, const struct trash_record *r, const char **leaf)
{
    int dir = openat(top, run, OPEN_DIR);
    if (dir < 0)
        return -1;
    size_t n = path_parent(r->place, strlen(r->place));
    char *parent = mem_strndup(r->place, n);
    int fd = n ? file_beneath(dir, parent, O_RDONLY | O_DIRECTORY, 0) : dir;
    int keep = errno;
    if (n)
        close(dir);
    free(parent);
    *leaf = n ? r->place + n + 1 : r->place;
    errno = keep;
    return fd;
}

bool trash_list_look(int top, const char *run, const struct trash_record *r, struct stat *st)
{
    const char *leaf;
    int dir = trash_list_parent(top, run, r, &leaf);
    bool there = dir >= 0 && fstatat(dir, leaf, st, AT_SYMLINK_NOFOLLOW) == 0 &&
                 (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode));
    if (dir >= 0)
        close(dir);
    return there;
}

static int list_run(int top, const char *run, const struct uuid *store, int (*tell)(void *, const struct store_trash *),
                    void *ctx)
{
    struct trash_reader *r = trash_reader_new(top, run);
    const struct trash_record *at;
    struct stat st;
    int rc = 0;
    while (r && rc == 0 && (at = trash_reader_next(r))) {
        if (!trash_list_look(top, run, at, &st))
            continue;
        struct store_trash item = {
            .id = trash_record_id(store, run, at->place), .when = at->when, .size = (uint64_t)st.st_size,
            .reason = at->reason, .run = run, .by = trash_reader_by(r), .path = at->path,
        };
        rc = tell(ctx, &item);
    }
    trash_reader_free(r);
    return rc;
}

int trash_list_all(int state, const char *shown, const struct uuid *store, int (*tell)(void *, const struct store_trash *),
                   void *ctx, struct err *e)
{
    struct trash_run *run = NULL;
    size_t n = 0;
    int top = state < 0 ? -1 : trash_list_top(state);
    if (top < 0)
        return state < 0 || errno == ENOENT ? 0 : err_sys(e, "%s/trash", shown);
    int rc = trash_list_runs(top, &run, &n, e);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = list_run(top, run[i].name, store, tell, ctx);
    free(run);
    close(top);
    return rc;
}
