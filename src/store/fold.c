#include "store/fold.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "object/manifest.h"
#include "object/parents.h"
#include "store/journal.h"
#include "store/temp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the commit ---- */

struct fold {
    struct manifest_reader *manifest;
    struct journal_reader *journal;
    struct manifest_writer *out;
    const struct entry *old, *new; /* next of each; NULL at the end */
    struct parents parents;
    struct uuid self;
    uint64_t floor;
    struct entry tomb;
};

static int next_old(struct fold *f, struct err *e)
{
    int rc = manifest_reader_next(f->manifest, &f->old, e);
    if (rc > 0)
        return 0;
    f->old = NULL;
    return rc;
}

static int next_new(struct fold *f, struct err *e)
{
    bool done = false;
    int rc;
    while ((rc = journal_reader_next(f->journal, &f->new, &done, e)) > 0)
        if (done)
            return 0;
    f->new = NULL;
    return rc;
}

static int put(struct fold *f, const struct entry *entry, struct err *e)
{
    if (!parents_pass(&f->parents, entry))
        return 0;
    if (entry->kind == ENTRY_GONE && entry->place.ino != 0) { /* its place only says that it is done */
        entry_copy(&f->tomb, entry);
        f->tomb.place = (struct entry_place){0};
        entry = &f->tomb;
    }
    return manifest_writer_put(f->out, entry, e);
}

/* What is not listed any more. */
static void drop(struct fold *f, const struct entry *entry)
{
    uint64_t count = version_count(&entry->version, &f->self);
    if (count > f->floor)
        f->floor = count;
}

/* What the journal says was made of f->old, if that has this path. */
static int put_new(struct fold *f, bool old, struct err *e)
{
    if (!journal_is_prune(f->new))
        return put(f, f->new, e);
    if (old)
        drop(f, f->old);
    drop(f, f->new);
    return 0;
}

static int merge(struct fold *f, struct err *e)
{
    int rc = next_old(f, e);
    if (rc == 0)
        rc = next_new(f, e);
    while (rc == 0 && (f->old || f->new)) {
        int c = !f->old ? 1 : !f->new ? -1 : path_cmp(f->old->path, f->old->path_len, f->new->path,
                                                      f->new->path_len);
        rc = c < 0 ? put(f, f->old, e) : put_new(f, c == 0, e);
        if (rc == 0 && c <= 0)
            rc = next_old(f, e);
        if (rc == 0 && c >= 0)
            rc = next_new(f, e);
    }
    return rc;
}

int fold_manifest(int manifest, int journal, int out, const struct uuid *id, struct err *e)
{
    struct fold *f = mem_zalloc(sizeof *f);
    struct manifest_head head;
    int rc;
    f->manifest = manifest_reader_new(manifest, &head, e);
    if (f->manifest)
        f->journal = journal_reader_new(journal, id, e);
    if (f->journal) {
        f->out = manifest_writer_new(out, &head);
        f->self = *id;
        f->floor = head.floor;
        rc = merge(f, e);
        if (rc == 0)
            rc = manifest_writer_end(f->out, NULL, e);
        if (rc == 0 && f->floor != head.floor) {
            head.floor = f->floor;
            rc = manifest_writer_rehead(f->out, &head, e);
        }
    } else {
        rc = e ? e->code : ERR_SYS;
    }
    if (f->out)
        manifest_writer_free(f->out);
    if (f->manifest)
        manifest_reader_free(f->manifest);
    journal_reader_free(f->journal);
    free(f);
    return rc;
}

/* ---- what a killed run left ---- */

static int trash_one(DIR *d, const char *dir, const char *name, struct trash *trash, struct err *e)
{
    struct stat st;
    if (!temp_is_name(name) || fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)))
        return 0;
    char *path = dir[0] ? mem_printf("%s/%s", dir, name) : mem_strdup(name);
    int rc = trash_take(trash, dirfd(d), name, path, TRASH_LEFT_OVER, e);
    if (rc < 0)
        err_wrap(e, "%s", path);
    free(path);
    return rc;
}

/* A directory that is not there, or is something else by now, holds nothing of ours. */
static int look_through(int root, const char *dir, struct trash *trash, struct err *e)
{
    int fd = file_beneath(root, dir, O_RDONLY | O_DIRECTORY, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    const struct dirent *at;
    int rc = 0;
    while (rc == 0 && (at = readdir(d)))
        rc = trash_one(d, dir, at->d_name, trash, e);
    closedir(d);
    return rc;
}

/* A directory that a killed run had opened for its children gets the mode that it was to have in the end. */
static void close_dir(int root, const struct entry *dir)
{
    struct stat st;
    int fd = dir->mode == (dir->mode | 0700u) ? -1 : file_beneath_dir(root, dir->path);
    if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == (dir->mode | 0700u))
        file_chmod(fd, (st.st_mode & 07000) | (mode_t)dir->mode);
    if (fd >= 0)
        close(fd);
}

int fold_leftovers(int root, int journal, const struct uuid *id, struct trash *trash, struct err *e)
{
    struct journal_reader *r = journal_reader_new(journal, id, e);
    const struct entry *at;
    char *dir = mem_alloc(PATH_LEN_MAX + 1);
    bool any = false, done;
    int rc = r ? 0 : e ? e->code : ERR_SYS;
    while (r && (rc = journal_reader_next(r, &at, &done, e)) > 0) {
        size_t n = path_parent(at->path, at->path_len);
        if (!done && at->kind == ENTRY_DIR)
            close_dir(root, at);
        if (done || (any && strlen(dir) == n && memcmp(dir, at->path, n) == 0))
            continue;
        any = true;
        memcpy(dir, at->path, n);
        dir[n] = '\0';
        if ((rc = look_through(root, dir, trash, e)) < 0)
            break;
    }
    journal_reader_free(r);
    free(dir);
    return rc;
}
