#include "store/content.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/pair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define BUF_SIZE (256u << 10)
#define LARGE (1u << 20) /* bytes of a piece: of fewer, starting a thread takes longer */
#define TICK_MS 1000

struct content {
    const struct store_watch *watch;
    struct trash *trash;
    struct digest_state *state;
    uint8_t *buf;
    uint64_t got;         /* bytes so far */
    bool whole;           /* digest is that of everything: it came in one piece */
    struct digest digest;
};

struct content *content_new(const struct store_watch *watch, struct trash *trash)
{
    struct content *c = mem_zalloc(sizeof *c);
    c->watch = watch;
    c->trash = trash;
    c->state = digest_new();
    c->buf = mem_alloc(BUF_SIZE);
    return c;
}

void content_free(struct content *c)
{
    if (!c)
        return;
    digest_free(c->state);
    free(c->buf);
    free(c);
}

void content_begin(struct content *c)
{
    c->got = 0;
    c->whole = false;
}

static int too_long(struct err *e, const struct entry *want)
{
    return err_set(e, ERR_CHANGED,
                   "content is longer than %" PRIu64 " bytes; the source changed while it was read",
                   want->size);
}

/* On a full disk: room is made for all that is still to come, and the writing goes on where it stopped. */
static int write_all(const struct content *c, int to, const void *data, size_t n, uint64_t left)
{
    const char *p = data;
    while (n > 0) {
        ssize_t k = write(to, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && (errno == ENOSPC || errno == EDQUOT)) {
            int keep = errno;
            if (trash_make_room(c->trash, left + n))
                continue;
            errno = keep;
        }
        if (k < 0)
            return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

/* What is done with a large piece, by two threads at once. */
struct part {
    struct content *c;
    int to; /* -1: it is digested, else written */
    const void *p;
    size_t n;
    uint64_t left;
    int rc, sys;
};

static void do_part(void *arg)
{
    struct part *x = arg;
    if (x->to < 0)
        digest_add(x->c->state, x->p, x->n);
    else if ((x->rc = write_all(x->c, x->to, x->p, x->n, x->left)) < 0)
        x->sys = errno;
}

static int take_large(struct content *c, int to, const struct entry *want, const void *p, size_t n, struct err *e)
{
    struct part digest = {c, -1, p, n, 0, 0, 0}, write = {c, to, p, n, want->size - c->got - n, 0, 0};
    c->got += n;
    pair_run(do_part, &write, &digest, true);
    errno = write.sys;
    return write.rc < 0 ? err_sys(e, "write") : 0;
}

/* One piece: digested, and written unless to is -1. */
static int take(struct content *c, int to, const struct entry *want, const void *p, size_t n, struct err *e)
{
    if (n > want->size - c->got)
        return too_long(e, want);
    if (c->got == 0 && n == want->size) {
        c->digest = digest_whole(c->state, (enum digest_algo)want->digest.algo, p, n);
        c->whole = true;
    } else {
        if (c->got == 0)
            digest_begin(c->state, (enum digest_algo)want->digest.algo);
        if (n >= LARGE && to >= 0)
            return take_large(c, to, want, p, n, e);
        digest_add(c->state, p, n);
    }
    c->got += n;
    return to >= 0 && write_all(c, to, p, n, want->size - c->got) < 0 ? err_sys(e, "write") : 0;
}

int content_add(struct content *c, int to, const struct entry *want, const void *p, size_t n, struct err *e)
{
    return n ? take(c, to, want, p, n, e) : 0;
}

int content_end(struct content *c, const struct entry *want, struct err *e)
{
    if (c->got != want->size)
        return err_set(e, ERR_CHANGED, "content has %" PRIu64 " bytes instead of %" PRIu64
                       "; the source changed while it was read", c->got, want->size);
    if (want->size == 0)
        c->digest = digest_whole(c->state, (enum digest_algo)want->digest.algo, "", 0);
    else if (!c->whole)
        c->digest = digest_end(c->state);
    if (!digest_same(&c->digest, &want->digest))
        return err_set(e, ERR_CHANGED,
                       "content did not match its digest; the source changed while it was read");
    return 0;
}

bool content_is(struct content *c, const struct entry *want, const void *p, size_t n)
{
    struct digest now = digest_whole(c->state, (enum digest_algo)want->digest.algo, p, n);
    return n == want->size && digest_same(&now, &want->digest);
}

/* Says once a second that we are alive. */
static int tick(struct content *c, int64_t *last, bool *stopped, struct err *e)
{
    int64_t now = clock_mono_ms();
    if (now - *last < TICK_MS)
        return 0;
    *last = now;
    int rc = c->watch->progress(c->watch->ctx, 0, c->got);
    if (rc >= 0)
        return 0;
    *stopped = true;
    return err_set(e, rc, "the run was stopped");
}

int content_head(struct content *c, int to, int from, uint64_t n, const struct entry *want, bool *stopped,
                 struct err *e)
{
    int64_t last = clock_mono_ms();
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < n;) {
        size_t ask = n - at < BUF_SIZE ? (size_t)(n - at) : BUF_SIZE;
        ssize_t got = file_pread(from, c->buf, ask, (off_t)at);
        if (got < 0)
            return err_sys(e, "read");
        if ((size_t)got < ask)
            return err_set(e, ERR_CHANGED, "what an earlier run left of it is no longer there");
        at += ask;
        rc = take(c, to, want, c->buf, ask, e);
        if (rc == 0)
            rc = tick(c, &last, stopped, e);
    }
    return rc;
}

uint64_t content_got(const struct content *c)
{
    return c->got;
}

/*
 * Read and write, never copy_file_range or a reflink: two members that shared their
 * blocks would both be lost with one bad block.
 */
static int pass(struct content *c, int to, int from, const struct entry *want, bool *stopped, struct err *e)
{
    int64_t last = want->size > BUF_SIZE ? clock_mono_ms() : 0;
    off_t at = 0;
    content_begin(c);
    for (;;) {
        uint64_t left = want->size - c->got;
        /* one more, to see the end in the same call */
        size_t ask = left < BUF_SIZE ? (size_t)left + 1 : BUF_SIZE;
        ssize_t n = pread(from, c->buf, ask, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "read");
        int rc = n ? take(c, to, want, c->buf, (size_t)n, e) : 0;
        if (rc < 0)
            return rc;
        if (n == 0 || ((size_t)n < ask && c->got == want->size))
            return content_end(c, want, e);
        at += n;
        if ((rc = tick(c, &last, stopped, e)) < 0)
            return rc;
    }
}

int content_copy(struct content *c, int to, int from, const struct entry *want, bool *stopped, struct err *e)
{
    return pass(c, to, from, want, stopped, e);
}

int content_verify(struct content *c, int fd, const struct entry *want, bool *stopped, struct err *e)
{
    return pass(c, -1, fd, want, stopped, e);
}
