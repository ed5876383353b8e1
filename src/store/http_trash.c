#include "store/http_trash.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/blob.h"
#include "store/blob_json.h"
#include "store/blob_trash.h"
#include "store/trash_list.h"
#include "store/trash_sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)256 * 1024)
#define UNSENT_MAX ((size_t)1 << 20)
#define SIDECAR_MAX ((size_t)256 * 1024)
#define TURN_MS 100
#define TEMP PATH_TEMP "saved"
#define TEMP_SIDE TEMP ".json"

struct http_trash {
    struct http_client *client;
    struct http_health *health;
    struct blob_keep *keep;
    const struct store_options *o;
    struct trash *trash; /* NULL: no state is kept */
};

struct http_trash *http_trash_new(struct http_client *c, struct http_health *health, struct blob_keep *keep,
                                  const struct store_options *o, int64_t now, int64_t keep_for)
{
    struct http_trash *t = mem_zalloc(sizeof *t);
    *t = (struct http_trash){c, health, keep, o, blob_trash_new(keep, o, now, keep_for)};
    return t;
}

void http_trash_free(struct http_trash *t)
{
    if (!t)
        return;
    char *run = mem_strdup(t->trash ? trash_run_name(t->trash) : "");
    int top = *run ? trash_list_top(blob_keep_state(t->keep)) : -1;
    trash_free(t->trash);
    if (top >= 0) {
        trash_sweep_empty(top, run); /* all that was there may have been forgotten */
        close(top);
    }
    free(run);
    free(t);
}

struct trash *http_trash_own(struct http_trash *t)
{
    return t ? t->trash : NULL;
}

static int turn(struct http_trash *t, struct err *e)
{
    http_client_turn(t->client, NULL, 0, TURN_MS);
    int rc = t->o->watch.progress(t->o->watch.ctx, 0, 0);
    return rc < 0 ? err_set(e, rc, "the work was stopped") : 0;
}

static int create(const struct http_trash *t, const char *name, struct err *e)
{
    unlinkat(blob_keep_state(t->keep), name, 0);
    int fd = openat(blob_keep_state(t->keep), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(e, "%s/%s", blob_keep_shown(t->keep), name) : fd;
}

/* ---- saving ---- */

/* Writes what comes until it has all come: 1, 0 where the server has no such object, or an error. */
static int take_content(struct http_trash *t, struct http_try *a, int fd, struct err *e)
{
    size_t n;
    for (;;) {
        int rc = http_try_step(a, e);
        if (rc == ERR_UNSUPPORTED && (http_request_status(a->request) == 404 || http_request_status(a->request) == 410))
            return 0;
        if (rc < 0)
            return rc;
        if (a->renewed && (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0))
            return err_sys(e, "cannot be written");
        a->renewed = false;
        const uint8_t *p = http_try_good(a) ? http_request_body(a->request, &n) : NULL;
        if (p && n > 0) {
            if (file_write(fd, p, n) < 0)
                return err_sys(e, "cannot be written");
            http_request_take(a->request, n);
        } else if (rc == 1) {
            return 1;
        }
        if ((rc = turn(t, e)) < 0)
            return rc;
    }
}

static int save_headers(struct http_trash *t, const struct http_request *r, bool *side, struct err *e)
{
    struct buf text = {0};
    size_t n;
    const char *headers = http_request_headers(r, &n);
    blob_json_put_sidecar(&text, headers, n);
    *side = text.len > 0;
    int fd = *side ? create(t, TEMP_SIDE, e) : -1, rc = *side && fd < 0 ? fd : 0;
    if (fd >= 0 && file_write(fd, text.data, text.len) < 0)
        rc = err_sys(e, "its metadata cannot be written");
    if (fd >= 0)
        close(fd);
    buf_free(&text);
    return rc;
}

static int put_away(struct http_trash *t, const char *id, bool side, const char *reason, struct err *e)
{
    int state = blob_keep_state(t->keep);
    char *name = mem_printf("%s.json", id);
    int rc = trash_take(t->trash, state, TEMP, id, reason, e);
    if (rc == 0 && side)
        rc = trash_take(t->trash, state, TEMP_SIDE, name, reason, e);
    free(name);
    if (rc == 0 && t->o->fsync != STORE_FSYNC_NONE && syncfs(state) < 0)
        rc = err_sys(e, "%s: sync", blob_keep_shown(t->keep));
    return rc;
}

int http_trash_save(struct http_trash *t, const char *id, const char *reason, struct err *e)
{
    struct http_try a;
    bool side = false;
    if (!t->trash)
        return err_set(e, ERR_DENIED, "there is no trash to keep it in, as no state is kept of this server");
    int fd = create(t, TEMP, e);
    if (fd < 0)
        return fd;
    char *path = mem_printf("/blob/%s", id);
    const struct http_ask ask = {.method = HTTP_GET, .path = path, .hold = PIECE};
    http_try_begin(&a, t->client, t->health, &ask);
    int rc = take_content(t, &a, fd, e), found = rc;
    if (rc == 1)
        rc = save_headers(t, a.request, &side, e);
    http_try_end(&a);
    free(path);
    close(fd);
    if (found == 1 && rc == 0)
        rc = put_away(t, id, side, reason, e);
    unlinkat(blob_keep_state(t->keep), TEMP, 0);
    unlinkat(blob_keep_state(t->keep), TEMP_SIDE, 0);
    return rc < 0 ? err_wrap(e, "what is there could not be put into the trash") : 0;
}

void http_trash_forget(struct http_trash *t, const char *id)
{
    if (t->trash)
        blob_trash_forget(t->keep, t->trash, id);
}

/* ---- putting back ---- */

/* The fields of a sidecar as headers of a request. 0 or an error. */
static int read_side(struct http_trash *t, const char *run, uint64_t side, struct buf *headers, struct err *e)
{
    uint8_t *text = mem_alloc(SIDECAR_MAX);
    int fd = side ? blob_trash_open(t->keep, run, side) : -1, rc = 0;
    ssize_t n = fd < 0 ? 0 : file_read(fd, text, SIDECAR_MAX);
    if (side && (fd < 0 || n < 0 || n == (ssize_t)SIDECAR_MAX))
        rc = err_set(e, ERR_CHANGED, "its metadata cannot be read");
    if (rc == 0 && n > 0)
        rc = blob_json_sidecar((const char *)text, (size_t)n, headers, e);
    if (headers->len > 0)
        buf_u8(headers, '\0');
    if (fd >= 0)
        close(fd);
    free(text);
    return rc;
}

/* Feeds a request with so many bytes of a file, until the server has answered. */
static int send(struct http_trash *t, struct http_try *a, int fd, uint64_t left, struct err *e)
{
    uint8_t *piece = mem_alloc(PIECE);
    int rc;
    if (left == 0 && a->request)
        http_request_feed_end(a->request);
    while ((rc = http_try_step(a, e)) == 0) {
        if (left > 0 && http_request_unsent(a->request) < UNSENT_MAX) {
            ssize_t n = file_read(fd, piece, left < PIECE ? (size_t)left : PIECE);
            if (n <= 0) {
                rc = n < 0 ? err_sys(e, "cannot be read") : err_set(e, ERR_CHANGED, "is shorter now than it was");
                break;
            }
            left -= (uint64_t)n;
            http_request_feed(a->request, piece, (size_t)n);
            if (left == 0)
                http_request_feed_end(a->request);
        }
        if ((rc = turn(t, e)) < 0)
            break;
    }
    free(piece);
    return rc < 0 ? rc : left == 0 ? 0 : err_set(e, ERR_CHANGED, "the server answered before the object had come");
}

static int post(struct http_trash *t, const char *id, int fd, const struct buf *headers, struct err *e)
{
    struct http_try a;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, "cannot be looked at");
    char *path = mem_printf("/blob/%s", id);
    const struct http_ask ask = {.method = HTTP_POST, .path = path, .stream = true, .length = (uint64_t)st.st_size,
                                 .headers = headers->len ? (const char *)headers->data : NULL, .most = 1 << 20};
    http_try_begin(&a, t->client, t->health, &ask);
    int rc = send(t, &a, fd, (uint64_t)st.st_size, e);
    http_try_end(&a);
    free(path);
    return rc;
}

int http_trash_restore(struct http_trash *t, const char *run, uint64_t id, struct err *e)
{
    struct trash_record item;
    struct buf headers = {0};
    uint64_t side;
    int rc = blob_trash_find(t->keep, run, id, &item, &side, e);
    if (rc == 0 && !blob_is_id(item.path, strlen(item.path)))
        rc = err_set(e, ERR_FORMAT, "cannot be the id of an object on a blob-server");
    int fd = rc == 0 ? blob_trash_open(t->keep, run, id) : -1;
    if (rc == 0 && fd < 0)
        rc = err_set(e, ERR_CHANGED, "is not in the trash any more");
    if (rc == 0)
        rc = read_side(t, run, side, &headers, e);
    if (rc == 0)
        rc = http_trash_save(t, item.path, "restored over", e);
    if (rc == 0)
        rc = post(t, item.path, fd, &headers, e);
    if (rc == 0) {
        blob_trash_drop(t->keep, run, id);
        if (side)
            blob_trash_drop(t->keep, run, side);
    }
    if (fd >= 0)
        close(fd);
    buf_free(&headers);
    return rc;
}
