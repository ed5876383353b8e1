/* What people do to their stores. */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "hooks.h"
#include "object/manifest.h"
#include "tree.h"

#define DAY 86400
#define FULL 800 /* bytes of a full path */

/* ---- chance ---- */

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static unsigned below(uint64_t *state, unsigned n)
{
    return (unsigned)(next(state) % n);
}

/* Most of what happens happens near the root, so that members meet on the same paths. */
static uint8_t draw_path(uint64_t *s)
{
    unsigned level = below(s, 10);
    if (level < 6)
        return (uint8_t)below(s, 3);
    return (uint8_t)(level < 9 ? 3 + below(s, 9) : 12 + below(s, 27));
}

static void draw_settings(struct world *w, uint64_t *s)
{
    static const int64_t trash[] = {0, 0, 2, 7, 7, 7, 1000, 1000};
    w->settings = (struct settings){
        .propagate = below(s, 4) > 0, .conflict = below(s, 5) % 3, .winner = below(s, w->members),
        .tombstones = (below(s, 3) ? 400 : 20) * DAY, .trash = trash[below(s, 8)] * DAY,
        .max_delete = below(s, 4) ? 0 : 1,
    };
}

void acts_draw(struct world *w, size_t ops)
{
    static const uint8_t weight[OP_KINDS] = {
        [OP_EDIT] = 32, [OP_LINK] = 5, [OP_MKDIR] = 6, [OP_DELETE] = 14, [OP_CHMOD] = 5, [OP_TOUCH] = 5,
        [OP_RENAME] = 8, [OP_DAMAGE] = 10, [OP_AWAY] = 3, [OP_BACK] = 3, [OP_RESTORE] = 3, [OP_REMOVE] = 3,
        [OP_SCRUB] = 2, [OP_RUN] = 26,
    };
    uint64_t s = w->story.seed;
    unsigned all = 0;
    for (unsigned k = 0; k < OP_KINDS; k++)
        all += weight[k];
    w->members = 2 + below(&s, WORLD_MEMBERS - 1);
    w->clocks = below(&s, 3) == 0;
    draw_settings(w, &s);
    for (unsigned m = 0; m < w->members; m++)
        hooks_agent[m].ahead = w->clocks ? ((int64_t)below(&s, 2001) - 1000) * (below(&s, 3) ? 4 * DAY : 3) : 0;
    w->story.ops = ops ? ops : 10 + below(&s, 30);
    for (size_t i = 0; i < w->story.ops; i++) {
        struct op *op = &w->op[i];
        unsigned at = below(&s, all);
        for (op->kind = 0; at >= weight[op->kind]; op->kind++)
            at -= weight[op->kind];
        op->member = (uint8_t)below(&s, w->members);
        op->path = draw_path(&s);
        op->other = draw_path(&s);
        op->arg = next(&s);
        w->story.keep[i] = true;
    }
}

/* ---- places ---- */

static char *full(const struct world *w, unsigned m, int path, char out[FULL])
{
    char root[512], text[WORLD_TEXT];
    snprintf(out, FULL, "%s/%s", world_root(w, m, root), world_path(w, path, text));
    return out;
}

static struct copy *copy_at(struct world *w, unsigned m, int path)
{
    return &w->copy[m][path];
}

/* Makes the directories that a path needs. false where something else stands in the way. */
static bool make_parents(struct world *w, unsigned m, int path)
{
    char file[FULL];
    int up = world_parent(w, path);
    if (up < 0 || copy_at(w, m, up)->kind == KIND_DIR)
        return true;
    struct copy *c = copy_at(w, m, up);
    if (c->kind != KIND_NONE || !make_parents(w, m, up) || mkdir(full(w, m, up, file), 0755) < 0)
        return false;
    c->kind = KIND_DIR;
    c->grave = GRAVE_NONE;
    c->event = -1;
    memset(&c->sure, 0, sizeof c->sure);
    return true;
}

static bool damaged_below(const struct world *w, unsigned m, int top)
{
    for (int p = 0; p < w->paths; p++)
        if (world_within(w, p, top) && w->copy[m][p].damaged)
            return true;
    return false;
}

/* What a deletion knew is kept: it may be on record with the member until its next run. */
static void forget(struct world *w, unsigned m, int top)
{
    for (int p = 0; p < w->paths; p++)
        if (world_within(w, p, top)) {
            struct copy *c = copy_at(w, m, p);
            if (c->kind != KIND_NONE)
                c->grave = GRAVE_LOCAL;
            c->kind = KIND_NONE;
            c->event = -1;
            c->damaged = false;
        }
}

/* A change by this member to what is there: a new event that follows what it had. What it deleted before it may not follow. */
static void changed(struct world *w, unsigned m, int path, enum kind kind, int content)
{
    struct copy *c = copy_at(w, m, path);
    int e = kind == KIND_DIR ? -1 : world_event(w, content);
    if (c->kind == KIND_NONE)
        memset(&c->sure, 0, sizeof c->sure);
    c->kind = (uint8_t)kind;
    c->damaged = false;
    c->grave = GRAVE_NONE;
    c->event = e;
    if (e >= 0) {
        known_add(&c->sure, e);
        known_add(&c->maybe, e);
    }
}

/* ---- content ---- */

/* Sizes are few, so that changes within the same size are frequent. Some contents come about at several members. */
static char *make_content(struct world *w, uint64_t arg, size_t *size, char label[40])
{
    static const size_t sizes[] = {24, 24, 24, 24, 24, 24, 300, 300, 5000, 70000};
    *size = sizes[arg % 10];
    if (arg / 10 % 8 == 0)
        snprintf(label, 40, "common%u", (unsigned)(arg / 80 % 3));
    else
        snprintf(label, 40, "v%zu", w->events);
    if (arg / 10 % 32 == 1)
        *size = 0;
    if (*size == 0)
        snprintf(label, 40, "empty");
    char *p = mem_alloc(*size + 1), head[48];
    size_t n = (size_t)snprintf(head, sizeof head, "%s\n", label);
    for (size_t i = 0; i < *size; i++)
        p[i] = i < n ? head[i] : (char)('a' + i * 7 % 23);
    return p;
}

/* Mostly the clock's; else as before, or far from it. */
static struct stamp make_mtime(const struct world *w, unsigned m, int path, uint64_t arg)
{
    struct stamp now = hooks_now(hooks_agent[m].ahead);
    switch (arg % 10) {
    case 0: now.sec -= (int64_t)(arg / 10 % 3000) * DAY; break;
    case 1: now.sec += (int64_t)(arg / 10 % 300) * DAY; break;
    case 2: now.nsec = 0; break;
    case 3:
        if (w->look[m][path].kind == KIND_FILE || w->look[m][path].kind == KIND_LINK)
            return w->look[m][path].mtime;
        break;
    default: break;
    }
    return now;
}

static bool set_mtime(const char *file, struct stamp t)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {t.sec, (long)t.nsec}};
    return utimensat(AT_FDCWD, file, times, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool write_file(const char *file, const void *p, size_t n, int flags)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | flags, 0644);
    bool ok = fd >= 0 && write(fd, p, n) == (ssize_t)n;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* ---- acts ---- */

/* In place, or as editors do: another file takes the name. */
static bool edit(struct world *w, const struct op *op)
{
    char file[FULL], temp[FULL + 8], label[40];
    size_t size;
    struct copy *c = copy_at(w, op->member, op->path);
    if (c->kind == KIND_DIR || !make_parents(w, op->member, op->path))
        return false;
    struct stamp mtime = make_mtime(w, op->member, op->path, op->arg >> 32);
    char *p = make_content(w, op->arg, &size, label);
    struct digest d = tree_digest(false, p, size);
    full(w, op->member, op->path, file);
    snprintf(temp, sizeof temp, "%s.new", file);
    bool in_place = op->arg >> 20 & 1 && c->kind != KIND_LINK && (c->kind == KIND_NONE || access(file, W_OK) == 0), ok;
    if (in_place)
        ok = write_file(file, p, size, 0) && set_mtime(file, mtime);
    else
        ok = write_file(temp, p, size, O_EXCL) && set_mtime(temp, mtime) && rename(temp, file) == 0;
    free(p);
    if (!ok)
        story_fail(&w->story, "the test cannot write %s: %s", file, strerror(errno));
    changed(w, op->member, op->path, KIND_FILE, world_content(w, &d, label));
    return true;
}

static bool make_link(struct world *w, const struct op *op)
{
    char file[FULL], target[40];
    struct copy *c = copy_at(w, op->member, op->path);
    if (c->kind == KIND_DIR || !make_parents(w, op->member, op->path))
        return false;
    snprintf(target, sizeof target, "target%zu", w->events);
    struct digest d = tree_digest(true, target, strlen(target));
    full(w, op->member, op->path, file);
    if (c->kind != KIND_NONE)
        unlink(file);
    if (symlink(target, file) < 0 || !set_mtime(file, make_mtime(w, op->member, op->path, op->arg >> 32)))
        story_fail(&w->story, "the test cannot make %s: %s", file, strerror(errno));
    changed(w, op->member, op->path, KIND_LINK, world_content(w, &d, target));
    return true;
}

static bool make_dir(struct world *w, const struct op *op)
{
    char file[FULL];
    struct copy *c = copy_at(w, op->member, op->path);
    if (c->kind == KIND_DIR || !make_parents(w, op->member, op->path))
        return false;
    full(w, op->member, op->path, file);
    if (c->kind != KIND_NONE)
        unlink(file);
    if (mkdir(file, op->arg % 3 ? 0755 : 0700) < 0)
        story_fail(&w->story, "the test cannot make %s: %s", file, strerror(errno));
    changed(w, op->member, op->path, KIND_DIR, -1);
    return true;
}

/* Where a directory goes, a file may come in its place at once. */
static bool delete(struct world *w, const struct op *op)
{
    char file[FULL];
    struct copy *c = copy_at(w, op->member, op->path);
    bool dir = c->kind == KIND_DIR;
    if (c->kind == KIND_NONE)
        return false;
    tree_remove(full(w, op->member, op->path, file));
    forget(w, op->member, op->path);
    if (dir && op->arg >> 40 & 1)
        edit(w, op);
    return true;
}

static bool change_mode(struct world *w, const struct op *op)
{
    static const mode_t modes[] = {0644, 0600, 0755, 0444, 0700, 0711};
    char file[FULL];
    struct copy *c = copy_at(w, op->member, op->path);
    struct look *l = &w->look[op->member][op->path];
    mode_t mode = modes[op->arg % 6] | (c->kind == KIND_DIR ? 0700 : 0);
    if ((c->kind != KIND_FILE && c->kind != KIND_DIR) || c->damaged || l->mode == mode)
        return false;
    if (chmod(full(w, op->member, op->path, file), mode) < 0)
        story_fail(&w->story, "the test cannot chmod %s: %s", file, strerror(errno));
    changed(w, op->member, op->path, c->kind, l->content);
    return true;
}

static bool touch(struct world *w, const struct op *op)
{
    char file[FULL];
    struct copy *c = copy_at(w, op->member, op->path);
    struct look *l = &w->look[op->member][op->path];
    struct stamp t = make_mtime(w, op->member, op->path, op->arg);
    if ((c->kind != KIND_FILE && c->kind != KIND_LINK) || c->damaged || clock_cmp(t, l->mtime) == 0)
        return false;
    if (!set_mtime(full(w, op->member, op->path, file), t))
        story_fail(&w->story, "the test cannot touch %s: %s", file, strerror(errno));
    changed(w, op->member, op->path, c->kind, l->content);
    return true;
}

/* Where a path below from comes to lie when from is called to. -1: too deep. */
static int moved(const struct world *w, int path, int from, int to)
{
    if (path == from)
        return to;
    int up = path < WORLD_PLAIN ? moved(w, world_parent(w, path), from, to) : -1;
    int down = 3 * (up + 1) + path % 3;
    return up < 0 || down >= WORLD_PLAIN ? -1 : down;
}

static bool can_move(const struct world *w, unsigned m, int from, int to)
{
    const struct copy *a = &w->copy[m][from], *b = &w->copy[m][to];
    int up = world_parent(w, to);
    if (a->kind == KIND_NONE || world_within(w, to, from) || world_within(w, from, to) || b->kind == KIND_DIR ||
        (a->kind == KIND_DIR && b->kind != KIND_NONE) || (up >= 0 && w->copy[m][up].kind != KIND_DIR) ||
        damaged_below(w, m, from) || b->damaged)
        return false;
    for (int p = 0; p < w->paths; p++)
        if (world_within(w, p, from) && w->copy[m][p].kind != KIND_NONE && moved(w, p, from, to) < 0)
            return false;
    return true;
}

static bool move(struct world *w, const struct op *op)
{
    char from[FULL], to[FULL];
    unsigned m = op->member;
    if (!can_move(w, m, op->path, op->other))
        return false;
    if (rename(full(w, m, op->path, from), full(w, m, op->other, to)) < 0)
        story_fail(&w->story, "the test cannot rename %s: %s", from, strerror(errno));
    for (int p = 0; p < w->paths; p++)
        if (world_within(w, p, op->path) && w->copy[m][p].kind != KIND_NONE)
            changed(w, m, moved(w, p, op->path, op->other), w->copy[m][p].kind, w->look[m][p].content);
    forget(w, m, op->path);
    return true;
}

/* ---- damage ---- */

/*
 * Damage is what shows in nothing but the content. The program can tell it from an edit only where its record is of a
 * time when a change could no longer hide: where it says itself that it could not (racy), a test must not do it either.
 */
static bool on_record(const struct world *w, unsigned m, int path, const struct stat *st)
{
    char root[512], name[560], text[WORLD_TEXT];
    struct manifest_head head;
    const struct entry *e;
    bool found = false;
    world_root(w, m, root);
    snprintf(name, sizeof name, "%s/.sos-sync/journal", root);
    if (access(name, F_OK) == 0)
        return false;
    snprintf(name, sizeof name, "%s/.sos-sync/manifest", root);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct manifest_reader *r = fd < 0 ? NULL : manifest_reader_new(fd, &head, NULL);
    while (r && !found && manifest_reader_next(r, &e, NULL) > 0)
        found = strcmp(e->path, world_path(w, path, text)) == 0 && e->kind == ENTRY_FILE && !e->place.racy &&
                e->flags == 0 && e->size == (uint64_t)st->st_size && e->place.ino == st->st_ino &&
                e->mtime.sec == st->st_mtim.tv_sec && e->mtime.nsec == st->st_mtim.tv_nsec &&
                clock_cmp(e->place.ctime, hooks_ctime(st, hooks_agent[m].ahead)) == 0;
    if (r)
        manifest_reader_free(r);
    if (fd >= 0)
        close(fd);
    return found;
}

static bool good_elsewhere(const struct world *w, unsigned m, int path)
{
    for (unsigned i = 0; i < w->members; i++)
        if (i != m && w->copy[i][path].event == w->copy[m][path].event && !w->copy[i][path].damaged)
            return true;
    return false;
}

static bool flip(const char *file, off_t at, size_t size, struct digest *d)
{
    uint8_t *p = mem_alloc(size);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    bool ok = fd >= 0 && read(fd, p, size) == (ssize_t)size;
    if (ok) {
        p[at] ^= 0x20;
        ok = pwrite(fd, p + at, 1, at) == 1;
        *d = tree_digest(false, p, size);
    }
    if (fd >= 0)
        close(fd);
    free(p);
    return ok;
}

static bool damage(struct world *w, const struct op *op)
{
    char file[FULL], label[40];
    struct copy *c = copy_at(w, op->member, op->path);
    struct stat before, after;
    struct digest d;
    full(w, op->member, op->path, file);
    /* Now and then the last good copy. */
    if (c->kind != KIND_FILE || c->damaged || w->tainted[op->path] ||
        (op->arg % 8 && !good_elsewhere(w, op->member, op->path)) || lstat(file, &before) < 0 ||
        before.st_size == 0 || before.st_nlink > 1 || !on_record(w, op->member, op->path, &before))
        return false;
    off_t at = (off_t)((op->arg >> 8) % (uint64_t)before.st_size);
    if (!flip(file, at, (size_t)before.st_size, &d) ||
        !set_mtime(file, (struct stamp){before.st_mtim.tv_sec, (uint32_t)before.st_mtim.tv_nsec}) ||
        lstat(file, &after) < 0)
        story_fail(&w->story, "the test cannot damage %s: %s", file, strerror(errno));
    hooks_hide_change(&before, &after);
    snprintf(label, sizeof label, "%.20s, damaged", w->content[w->look[op->member][op->path].content].label);
    world_content(w, &d, label);
    c->damaged = true;
    w->counts.damaged++;
    return true;
}

/* ---- members that are away ---- */

static bool take_away(struct world *w, unsigned m)
{
    char from[512], to[560];
    if (w->away[m])
        return false;
    world_root(w, m, from);
    w->away[m] = true;
    if (rename(from, world_root(w, m, to)) < 0)
        story_fail(&w->story, "the test cannot move %s: %s", from, strerror(errno));
    return true;
}

void acts_put_back(struct world *w, unsigned m)
{
    char from[512], to[512];
    if (!w->away[m])
        return;
    world_root(w, m, from);
    w->away[m] = false;
    if (rename(from, world_root(w, m, to)) < 0)
        story_fail(&w->story, "the test cannot move %s: %s", from, strerror(errno));
}

/* ---- the trash ---- */

struct wish {
    struct world *w;
    uint64_t left;   /* items until ours */
    unsigned items;
    char id[16], member[600];
    int path;        /* -1: none */
};

static void on_item(void *ctx, const struct sos_trash_item *item)
{
    struct wish *wish = ctx;
    int path = world_path_of(wish->w, item->path);
    if (path < 0)
        return;
    wish->items++;
    if (wish->left-- != 0)
        return;
    wish->path = path;
    snprintf(wish->id, sizeof wish->id, "%s", item->id);
    snprintf(wish->member, sizeof wish->member, "%s", item->member);
}

static void on_back(void *ctx, const struct sos_trash_item *item)
{
    (void)item;
    ((struct wish *)ctx)->items = 1;
}

/* Chosen is what somebody's trash has, by the id that its list tells. It may fail where a directory stands in its place. */
static bool restore_item(struct world *w, const struct sos_groups *g, struct op *op)
{
    struct wish wish = {.w = w, .path = -1, .left = UINT64_MAX};
    struct sos_options o;
    bool found = false;
    const struct sos_callbacks c = {.ctx = &wish};
    const char *what = wish.id;
    sos_options_init(&o);
    o.no_sandbox = o.no_cache = true;
    sos_trash_list(g, 0, &o, &c, on_item);
    if (wish.items == 0)
        return false;
    wish.left = op->arg % wish.items;
    sos_trash_list(g, 0, &o, &c, on_item);
    wish.items = 0;
    if (wish.path < 0 || sos_trash_restore(g, 0, &o, &c, &what, 1, &found, on_back) != SOS_OK || wish.items == 0)
        return false;
    const char *m = strrchr(wish.member, 'm');
    op->member = (uint8_t)(m ? m[1] - '0' : 0);
    op->path = (uint8_t)wish.path;
    return true;
}

static bool restore(struct world *w, struct op *op)
{
    unsigned order[WORLD_MEMBERS], n = 0;
    bool *before = mem_alloc(sizeof w->present);
    for (unsigned m = 0; m < w->members; m++)
        if (!w->away[m])
            order[n++] = m;
    struct sos_groups *g = n < 2 ? NULL : world_group(w, order, n);
    judge_look(w);
    memcpy(before, w->present, sizeof w->present);
    hooks_drive(hooks_agent[op->member].ahead);
    bool done = g && restore_item(w, g, op);
    sos_groups_free(g);
    judge_look(w);
    for (size_t i = 0; i < w->contents; i++)
        if (before[i] && !w->present[i])
            story_fail(&w->story, "%s was somewhere before the restore and is nowhere after it", w->content[i].label);
    free(before);
    if (!done)
        return false;
    for (int up = world_parent(w, op->path); up >= 0; up = world_parent(w, up))
        if (copy_at(w, op->member, up)->kind == KIND_NONE)
            changed(w, op->member, up, KIND_DIR, -1);
    const struct look *l = &w->look[op->member][op->path];
    changed(w, op->member, op->path, l->kind, l->content);
    /* As if nothing had been there in between: no scan can tell that from a copy that was never touched. */
    if (l->content >= 0 && w->recorded[op->member][op->path].bit[l->content / 64] >> l->content % 64 & 1)
        w->tainted[op->path] = true;
    w->counts.restored++;
    return true;
}

bool acts_do(struct world *w, struct op *op)
{
    switch (op->kind) {
    case OP_EDIT: return edit(w, op);
    case OP_LINK: return make_link(w, op);
    case OP_MKDIR: return make_dir(w, op);
    case OP_DELETE: return delete(w, op);
    case OP_CHMOD: return change_mode(w, op);
    case OP_TOUCH: return touch(w, op);
    case OP_RENAME: return move(w, op);
    case OP_DAMAGE: return damage(w, op);
    case OP_RESTORE: return restore(w, op);
    case OP_AWAY: return take_away(w, op->member);
    case OP_BACK:
        if (!w->away[op->member])
            return false;
        acts_put_back(w, op->member);
        return true;
    default: return false;
    }
}
