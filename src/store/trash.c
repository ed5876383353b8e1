#include "store/trash.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/trash_list.h"
#include "store/trash_move.h"
#include "store/trash_record.h"
#include "store/trash_sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define VARIANTS 10000

/* A directory of the trash, and where it lies below RUN. */
struct place {
    size_t len;
    char path[PATH_LEN_MAX + 1];
};

struct trash {
    struct trash_args a;
    int64_t began;         /* monotonic ms */
    int run, text;         /* descriptors of the run's directory and list; -1 before the first use */
    char name[TRASH_RUN_MAX + 1]; /* of the run; "" before that */
    uint64_t written, settled;    /* bytes of the list, and of these those whose items may go */
    bool stays;            /* something in it is to outlive the run, whatever keep says, and also a full disk */
    int parent;            /* of the last item's directory, -1 or owned */
    size_t parent_len;
    char parent_path[PATH_LEN_MAX + 1];
    struct place place;    /* of that directory */
    struct buf line;
    struct trash_room *room; /* from the first lack of it on */
    bool told;
};

/* Puts an item under a name of dir: 0, or -1 with EEXIST or another errno. */
typedef int put_item(int from_dir, const char *from, int dir, const char *name);

struct trash *trash_new(const struct trash_args *args)
{
    struct trash *t = mem_zalloc(sizeof *t);
    t->a = *args;
    t->began = clock_mono_ms();
    t->run = t->text = t->parent = -1;
    return t;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void trash_free(struct trash *t)
{
    if (!t)
        return;
    shut(&t->run);
    shut(&t->text);
    shut(&t->parent);
    trash_room_free(t->room);
    buf_free(&t->line);
    free(t);
}

/* ---- the run's directory and list ---- */

/* A name and its list are taken together, so that they always belong together. 0, or -1 with errno. */
static int make_run(struct trash *t, int top, const char *name)
{
    char list[TRASH_RUN_MAX + 8];
    if (mkdirat(top, name, 0700) < 0)
        return -1;
    snprintf(list, sizeof list, "%s.txt", name);
    t->text = openat(top, list, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (t->text >= 0)
        t->run = openat(top, name, OPEN_DIR);
    t->line.len = 0;
    trash_record_put_first(&t->line, t->a.now, t->a.by ? t->a.by : "");
    if (t->run >= 0 && file_write(t->text, t->line.data, t->line.len) == 0) {
        t->written = t->line.len;
        snprintf(t->name, sizeof t->name, "%s", name);
        return 0;
    }
    int keep = errno;
    if (t->text >= 0)
        unlinkat(top, list, 0);
    shut(&t->text);
    shut(&t->run);
    unlinkat(top, name, AT_REMOVEDIR);
    errno = keep;
    return -1;
}

static int open_run(struct trash *t, struct err *e)
{
    char name[TRASH_RUN_MAX + 1];
    if (t->run >= 0)
        return 0;
    if (mkdirat(t->a.state, "trash", 0700) < 0 && errno != EEXIST)
        return err_sys(e, "%s/trash", t->a.shown);
    int top = trash_list_top(t->a.state);
    if (top < 0)
        return err_sys(e, "%s/trash", t->a.shown);
    int rc = -1;
    errno = EEXIST;
    for (unsigned i = 1; rc < 0 && errno == EEXIST && i < VARIANTS; i++) {
        trash_record_run(name, t->a.now, i);
        rc = make_run(t, top, name);
    }
    if (rc < 0)
        rc = err_sys(e, "%s/trash/%s", t->a.shown, name);
    close(top);
    return rc;
}

/* ---- where an item goes ---- */

/* The i-th name to be tried for name: itself, then name.~2~ and so on, cut where it would be too long. */
static void variant(char out[NAME_LEN_MAX + 1], const char *name, size_t len, int i)
{
    char tail[16] = "";
    if (i > 1)
        snprintf(tail, sizeof tail, ".~%d~", i);
    size_t room = NAME_LEN_MAX - strlen(tail);
    len = len < room ? len : room;
    memcpy(out, name, len);
    memcpy(out + len, tail, strlen(tail) + 1);
}

/* One component more. -1 with errno where nobody could reach it any more. */
static int extend(struct place *p, const char *name)
{
    size_t n = strlen(name);
    if (p->len + n + 1 > PATH_LEN_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (p->len)
        p->path[p->len++] = '/';
    memcpy(p->path + p->len, name, n + 1);
    p->len += n;
    return 0;
}

/* Opens or makes a directory under name or a variant of it: something else may have that name by now. */
static int enter(int at, const char *name, size_t len, struct place *place)
{
    char part[NAME_LEN_MAX + 1];
    for (int i = 1; i < VARIANTS; i++) {
        variant(part, name, len, i);
        int fd = openat(at, part, OPEN_DIR);
        if (fd < 0 && errno == ENOENT && (mkdirat(at, part, 0700) == 0 || errno == EEXIST))
            fd = openat(at, part, OPEN_DIR);
        if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
            continue;
        if (fd >= 0 && extend(place, part) < 0)
            shut(&fd);
        return fd;
    }
    return -1;
}

/* The directory in the trash for path's parent, kept for the next item. -1 with errno. */
static int open_parent(struct trash *t, const char *path)
{
    size_t n = path_parent(path, strlen(path));
    if (t->parent >= 0 && t->parent_len == n && memcmp(t->parent_path, path, n) == 0)
        return t->parent;
    shut(&t->parent);
    t->place.len = 0;
    int at = openat(t->run, ".", OPEN_DIR);
    for (size_t from = 0; at >= 0 && from < n;) {
        const char *slash = memchr(path + from, '/', n - from);
        size_t len = slash ? (size_t)(slash - path) - from : n - from;
        int next = enter(at, path + from, len, &t->place);
        int keep = errno;
        close(at);
        errno = keep;
        at = next;
        from += len + 1;
    }
    memcpy(t->parent_path, path, n);
    t->parent_len = n;
    t->parent = at;
    return at;
}

/* ---- putting it there ---- */

/* Seconds of the driver's clock, which is the same for all members of the run. */
static int64_t moment(const struct trash *t)
{
    return t->a.now + (clock_mono_ms() - t->began) / 1000;
}

static int write_line(struct trash *t, const char *path, const char *reason, const char *leaf)
{
    struct trash_record r = {.when = moment(t)};
    struct place place = {.len = t->place.len};
    memcpy(place.path, t->place.path, t->place.len);
    if (extend(&place, leaf) < 0)
        return -1;
    snprintf(r.reason, sizeof r.reason, "%s", reason);
    snprintf(r.path, sizeof r.path, "%s", path);
    memcpy(r.place, place.path, place.len + 1);
    t->line.len = 0;
    trash_record_put(&t->line, &r);
    return file_write(t->text, t->line.data, t->line.len);
}

/* The line comes first: one for an item that did not come is better than an item that nothing tells of. */
static int put_as(struct trash *t, put_item *put, int dir, const char *name, const char *path, const char *reason,
                  int to, const char *leaf)
{
    int rc = write_line(t, path, reason, leaf);
    if (rc == 0)
        rc = put(dir, name, to, leaf);
    if (rc == 0) {
        t->written += t->line.len;
        return 0;
    }
    int keep = errno;
    if (ftruncate(t->text, (off_t)t->written) < 0)
        t->written += t->line.len;
    errno = keep;
    return -1;
}

static int put_away(struct trash *t, put_item *put, int dir, const char *name, const char *path,
                    const char *reason, struct err *e)
{
    struct stat st;
    int rc = open_run(t, e);
    if (rc < 0)
        return rc;
    int to = open_parent(t, path);
    if (to < 0)
        return err_sys(e, "cannot move it to the trash");
    size_t n = path_parent(path, strlen(path));
    const char *leaf = n ? path + n + 1 : path;
    char part[NAME_LEN_MAX + 1];
    rc = -1;
    errno = EEXIST;
    for (int i = 1; rc < 0 && errno == EEXIST && i < VARIANTS; i++) {
        variant(part, leaf, strlen(leaf), i);
        if (fstatat(to, part, &st, AT_SYMLINK_NOFOLLOW) == 0)
            errno = EEXIST;
        else
            rc = put_as(t, put, dir, name, path, reason, to, part);
    }
    if (rc < 0)
        return err_sys(e, "cannot move it to the trash");
    t->stays |= strcmp(reason, TRASH_LEFT_OVER) == 0;
    return 0;
}

static int link_item(int from_dir, const char *from, int dir, const char *name)
{
    return linkat(from_dir, from, dir, name, 0);
}

int trash_take(struct trash *t, int dir, const char *name, const char *path, const char *reason,
               struct err *e)
{
    return put_away(t, trash_move, dir, name, path, reason, e);
}

int trash_keep(struct trash *t, int dir, const char *name, const char *path, const char *reason,
               struct err *e)
{
    struct err why = {0};
    int rc = put_away(t, link_item, dir, name, path, reason, &why);
    if (rc < 0 && (why.sys == EPERM || why.sys == EOPNOTSUPP || why.sys == EXDEV || why.sys == EMLINK ||
                   why.sys == ENOSYS))
        return 1;
    if (rc < 0 && e)
        *e = why;
    return rc;
}

int trash_open(const struct trash *t, const char *path)
{
    return t->run < 0 ? -1 : file_beneath(t->run, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
}

const char *trash_run_name(const struct trash *t)
{
    return t->name;
}

/* ---- taking away ---- */

void trash_settled(struct trash *t)
{
    if (!t->stays)
        t->settled = t->written;
}

void trash_needed(struct trash *t)
{
    t->stays = true;
}

bool trash_no_room(const struct err *e)
{
    return e && e->code == ERR_SYS && (e->sys == ENOSPC || e->sys == EDQUOT);
}

static void tell(struct trash *t, bool error, const char *text)
{
    if (t->a.watch)
        t->a.watch->problem(t->a.watch->ctx, error, NULL, text);
}

bool trash_make_room(struct trash *t, uint64_t bytes)
{
    if (!t || t->a.hold)
        return false;
    if (!t->room)
        t->room = trash_room_new(t->a.state);
    if (!trash_room_make(t->room, bytes, t->name, t->settled))
        return false;
    shut(&t->parent); /* it may be gone */
    if (!t->told)
        tell(t, false, "the disk is full: the oldest items of the trash are removed before their time");
    t->told = true;
    return true;
}

void trash_expire(struct trash *t)
{
    struct err e = {0};
    struct trash_sweep how = {
        .state = t->a.state, .now = t->a.now, .older = t->a.keep, .watch = t->a.watch,
        .spare = t->a.keep > 0 || t->stays ? t->name : "",
    };
    if (t->a.hold)
        return;
    if (trash_sweep(&how, &e) < 0) {
        err_wrap(&e, "%s/trash: what has expired could not be removed", t->a.shown);
        tell(t, false, e.msg);
    }
}
