#include "group/policy_write.h"

#include "base/file.h"
#include "base/mem.h"
#include "group/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int failed(const char *file, const char *step, struct err *e)
{
    return err_set(e, ERR_CONF, "%.300s: %s%s", file, step, strerror(errno));
}

/* The file under its name and locked; again, when another was put in its place while we waited. */
static int lock(struct policy_write *w, struct err *e)
{
    for (;;) {
        struct stat now;
        w->fd = open(w->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (w->fd < 0)
            return failed(w->file, "", e);
        if (flock(w->fd, LOCK_EX) < 0 || fstat(w->fd, &w->st) < 0)
            return failed(w->file, "cannot lock: ", e);
        if (stat(w->file, &now) == 0 && now.st_ino == w->st.st_ino && now.st_dev == w->st.st_dev)
            return 0;
        close(w->fd);
    }
}

int policy_write_open(struct policy_write *w, const char *file, struct err *e)
{
    *w = (struct policy_write){.fd = -1};
    if (text_missing(file)) {
        w->file = mem_strdup(file);
        w->text = mem_strdup("");
        return 0;
    }
    w->file = realpath(file, NULL);
    if (!w->file)
        return failed(file, "", e);
    int rc = lock(w, e);
    if (rc == 0)
        w->text = text_load(w->file, "sos.policy", &w->len, e);
    return rc < 0 ? rc : w->text ? 0 : ERR_CONF;
}

void policy_write_close(struct policy_write *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->file);
    free(w->text);
    *w = (struct policy_write){.fd = -1};
}

static int fill(const struct policy_write *w, int fd, const void *text, size_t len)
{
    /* The owner first: a change of owner may take bits of the mode away. */
    if (w->fd >= 0 && (w->st.st_uid != geteuid() || w->st.st_gid != getegid()) &&
        fchown(fd, w->st.st_uid, w->st.st_gid) < 0)
        return -1;
    if (w->fd >= 0 && fchmod(fd, w->st.st_mode & 07777) < 0)
        return -1;
    if (file_write(fd, text, len) < 0)
        return -1;
    return fsync(fd);
}

/* So that the new name lasts, too. That it cannot be had is no reason to say that nothing was changed. */
static void sync_parent(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *dir = slash ? mem_strndup(file, (size_t)(slash - file) + 1) : mem_strdup(".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

/* A first one must not take the place of one that somebody else has made meanwhile. */
static int put_in_place(const struct policy_write *w, const char *temp)
{
    if (w->fd >= 0)
        return rename(temp, w->file);
    int rc = link(temp, w->file);
    if (rc == 0)
        unlink(temp);
    return rc;
}

int policy_write_replace(struct policy_write *w, const void *text, size_t len, struct err *e)
{
    char *temp = mem_printf("%s.XXXXXX", w->file);
    mode_t mask = umask(0);
    umask(mask);
    int fd = mkostemp(temp, O_CLOEXEC), rc = 0;
    if (fd < 0) {
        rc = failed(w->file, "cannot write beside it: ", e);
        free(temp);
        return rc;
    }
    if ((w->fd < 0 && fchmod(fd, 0666 & ~mask) < 0) || fill(w, fd, text, len) < 0)
        rc = failed(w->file, "cannot write a new one with the owner and mode of the old: ", e);
    close(fd);
    if (rc == 0 && put_in_place(w, temp) < 0)
        rc = failed(w->file, "cannot replace: ", e);
    if (rc < 0)
        unlink(temp);
    else
        sync_parent(w->file);
    free(temp);
    return rc;
}
