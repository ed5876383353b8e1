#include "link/link.h"

#include "link/child.h"
#include "link/ssh.h"
#include "link/words.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Host and user come to stand on command lines, and through a ProxyCommand before a shell. The addresses of a group are
 * judged where they are parsed; this is for whoever else calls.
 */
static int check_name(const char *what, const char *text, struct err *e)
{
    if (!text[0] || text[0] == '-')
        return err_set(e, ERR_USAGE, "the %s may not be empty or begin with \"-\"", what);
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("\\'\"`$;&<>|(){}*?!#", *p))
            return err_set(e, ERR_USAGE, "the %s holds a character that means something to a shell", what);
    return 0;
}

static void external_words(struct words *w, const struct link_remote *r)
{
    char port[16];
    if (r->user) {
        words_add(w, "-l");
        words_add(w, r->user);
    }
    if (r->port) {
        snprintf(port, sizeof port, "%u", r->port);
        words_add(w, "-p");
        words_add(w, port);
    }
    words_add(w, r->host);
    words_add(w, r->command);
    words_add(w, "agent");
}

static int external(int fd, void *ctx)
{
    struct words *w = ctx;
    if (dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0) {
        close(fd);
        child_become(w->word);
    }
    return LINK_FAILED;
}

static int built_in(int fd, void *ctx)
{
    return ssh_carry(fd, ctx);
}

int link_remote(struct link *l, const struct link_remote *r, const int *close_fds, size_t n, struct err *e)
{
    struct words w = {0};
    int rc = check_name("host", r->host, e);
    if (rc == 0 && r->user)
        rc = check_name("user", r->user, e);
    if (rc == 0 && r->rsh)
        rc = words_split(&w, r->rsh, e);
    if (rc < 0)
        return rc;
    if (r->rsh) {
        external_words(&w, r);
        rc = child_fork(l, external, &w, close_fds, n, true, e);
    } else {
        rc = child_fork(l, built_in, (void *)(uintptr_t)r, close_fds, n, true, e);
    }
    words_free(&w);
    return rc;
}
