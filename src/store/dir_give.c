/* A directory as a store: what it holds is handed out. */
#include "store/dir.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/seen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int dir_lend(struct store *s, struct err *e)
{
    struct dir *d = dir_of(s);
    if (d->root < 0)
        return err_set(e, ERR_UNSUPPORTED, "%s: is not there to be lent", d->o.root);
    /* not a dup: that would share the lock */
    int fd = openat(d->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(e, "%s", d->o.root) : fd;
}

int dir_have(struct store *s, const struct digest *digest, size_t n, uint8_t *have, struct err *e)
{
    struct dir *d = dir_of(s);
    if (!d->index && !(d->index = index_new(d->manifest, e)))
        return e ? e->code : ERR_SYS;
    bool *yes = mem_alloc(n * sizeof *yes);
    int rc = index_have(d->index, digest, n, yes, e);
    bool parts = partial_count(d->partials) > 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        have[i] = yes[i] ? STORE_HAVE : parts && partial_have(d->partials, digest + i) ? STORE_HAVE_PART
                                                                                       : STORE_HAVE_NOT;
    free(yes);
    return rc;
}

static int gone(struct err *e)
{
    return err_set(e, ERR_CHANGED, "changed during the run; left for the next run");
}

/* The directory of an object (borrowed) and its leaf. */
int dir_parent_of(struct dir *d, const struct entry *e, const char **leaf)
{
    if (!d->from) {
        d->from = mem_alloc(sizeof *d->from);
        file_dirs_init(d->from, d->root);
    }
    return file_dirs_parent(d->from, e->path, e->path_len, leaf);
}

/* Only what the manifest holds may be read. The directory of want's path (borrowed) and its leaf. */
int dir_find_source(struct dir *d, const struct entry *want, const char **leaf, struct err *e)
{
    const struct entry *have;
    int rc = path_check(want->path, want->path_len, e);
    if (rc < 0)
        return rc;
    if (d->root < 0)
        return gone(e);
    if (!d->asked)
        d->asked = lookup_new(d->manifest);
    rc = lookup_find(d->asked, want->path, want->path_len, &have, e);
    if (rc < 0)
        return rc;
    if (!have || have->flags & (ENTRY_HIDDEN | ENTRY_UNKNOWN) || !entry_same_content(have, want))
        return err_set(e, ERR_CHANGED, "is not what this store offers");
    if (have->flags & ENTRY_DAMAGED)
        return err_set(e, ERR_DAMAGED, "is damaged here");
    int dir = dir_parent_of(d, want, leaf);
    return dir < 0 ? gone(e) : dir;
}

static int open_file(struct dir *d, const struct entry *want, struct err *e)
{
    const char *leaf;
    if (want->kind != ENTRY_FILE)
        return err_set(e, ERR_UNSUPPORTED, "is not a file");
    int dir = dir_find_source(d, want, &leaf, e);
    if (dir < 0)
        return dir;
    int fd = openat(dir, leaf, DIR_OPEN_SOURCE);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == ENXIO || errno == ENODEV || errno == ESTALE
                   ? gone(e) : err_sys(e, "cannot be read");
    return fd;
}

static bool unchanged(const struct stat *st, const struct entry *want)
{
    return S_ISREG(st->st_mode) && (uint64_t)st->st_size == want->size && clock_kept(want->mtime, seen_mtime(st));
}

static bool seems_unchanged(int fd, const struct entry *want)
{
    struct stat st;
    return fstat(fd, &st) == 0 && unchanged(&st, want);
}

int dir_read_open(struct store *s, const struct entry *want, struct err *e)
{
    int fd = open_file(dir_of(s), want, e);
    if (fd < 0 || seems_unchanged(fd, want))
        return fd;
    close(fd);
    return gone(e);
}

/* One byte more is asked for, so that one call also shows whether that was all. */
static ssize_t read_all(int fd, uint8_t *buf, size_t size)
{
    ssize_t n = file_read_once(fd, buf, size + 1);
    if (n <= 0 || (size_t)n >= size)
        return n;
    ssize_t rest = file_read(fd, buf + n, size + 1 - (size_t)n);
    return rest < 0 ? rest : n + rest;
}

bool dir_is_content(struct dir *d, const struct entry *want, const void *p, size_t n)
{
    if (!d->hash)
        d->hash = digest_new();
    struct digest now = digest_whole(d->hash, (enum digest_algo)want->digest.algo, p, n);
    return n == want->size && digest_same(&now, &want->digest);
}

/* What the scan kept of it, if it is still that. */
static bool recalled(struct dir *d, const struct entry *want, void *buf)
{
    struct err ignored;
    struct stat st;
    const char *leaf;
    enum recall_age age = want->kind == ENTRY_FILE ? recall_get(d->recall, &want->digest, (size_t)want->size, buf) : RECALL_NOTHING;
    if (age != RECALL_OLD)
        return age == RECALL_FRESH;
    int dir = dir_find_source(d, want, &leaf, &ignored);
    return dir >= 0 && fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && unchanged(&st, want);
}

/* The digest says all that a look at the file could tell; which is taken only to say what is wrong. */
int dir_read_file(struct store *s, const struct entry *want, void *buf, struct err *e)
{
    if (recalled(dir_of(s), want, buf))
        return 0;
    int fd = open_file(dir_of(s), want, e), rc = 0;
    if (fd < 0)
        return fd;
    ssize_t n = read_all(fd, buf, (size_t)want->size);
    if (n < 0)
        rc = err_sys(e, "cannot be read");
    else if (!dir_is_content(dir_of(s), want, buf, (size_t)n))
        rc = !seems_unchanged(fd, want) ? gone(e)
             : err_set(e, ERR_DAMAGED, "is damaged here: its content does not match its digest");
    close(fd);
    return rc;
}

int dir_read_link(struct store *s, const struct entry *want, char *target, size_t size, struct err *e)
{
    const char *leaf;
    if (want->kind != ENTRY_LINK)
        return err_set(e, ERR_UNSUPPORTED, "is not a symlink");
    if (want->size >= size)
        return err_set(e, ERR_FORMAT, "has a target that is too long");
    int dir = dir_find_source(dir_of(s), want, &leaf, e);
    if (dir < 0)
        return dir;
    ssize_t n = readlinkat(dir, leaf, target, size);
    if (n < 0 || (uint64_t)n != want->size)
        return gone(e);
    target[n] = '\0';
    return dir_is_content(dir_of(s), want, target, (size_t)n) ? 0 : gone(e);
}
