#include "cli/cmd.h"

#include "base/file.h"
#include "base/mem.h"
#include "group/address.h"
#include "object/mtree.h"
#include "object/manifest.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PIECE ((size_t)256 * 1024)

struct job {
    struct cmd *cmd;
    struct store *store;
    struct mtree *mtree; /* NULL for the other formats */
    uint8_t *piece;
    bool partial;                /* something could not be read */
};

/* ---- what the store tells ---- */

static int on_progress(void *ctx, uint64_t objects, uint64_t bytes)
{
    struct job *job = ctx;
    struct sos_progress p = {.phase = SOS_PHASE_SCAN, .objects_done = objects, .bytes_done = bytes};
    progress_show(job->cmd->progress, &p);
    return cmd_interrupted() ? ERR_INTERRUPTED : 0;
}

static void on_problem(void *ctx, bool error, const char *path, const char *message)
{
    struct job *job = ctx;
    struct reporter *r = job->cmd->report;
    struct sos_trouble t = {.path = path, .message = message, .error = error};
    job->partial |= error;
    r->ops->trouble(r, &t);
}

static void on_done(void *ctx, uint64_t seq, int code, const char *message)
{
    (void)ctx;
    (void)seq;
    (void)code;
    (void)message;
}

/* ---- mtree ---- */

static int mtree_content(struct job *job, const struct entry *entry, int fd, struct err *e)
{
    uint64_t total = 0;
    for (;;) {
        ssize_t n = file_read(fd, job->piece, PIECE);
        if (n < 0) {
            err_sys(e, "cannot read");
            on_problem(job, true, entry->path, e->msg);
            return 0;
        }
        total += (uint64_t)n;
        if (n == 0 || cmd_interrupted())
            break;
        int rc = mtree_data(job->mtree, job->piece, (size_t)n, e);
        if (rc < 0)
            return rc;
    }
    if (cmd_interrupted())
        return err_set(e, ERR_INTERRUPTED, "interrupted");
    if (total != entry->size)
        on_problem(job, true, entry->path, "changed while it was read; its line is not to be trusted");
    return 0;
}

static int mtree_file(struct job *job, const struct entry *entry, struct err *e)
{
    struct err why = {0};
    int fd = job->store->ops->read_open(job->store, entry, &why);
    if (fd < 0) {
        on_problem(job, true, entry->path, why.msg);
        return 0;
    }
    int rc = mtree_put(job->mtree, entry, NULL, e);
    if (rc == 0)
        rc = mtree_content(job, entry, fd, e);
    close(fd);
    return rc;
}

static int mtree_link(struct job *job, const struct entry *entry, struct err *e)
{
    char target[ENTRY_TARGET_MAX + 1];
    struct err why = {0};
    if (job->store->ops->read_link(job->store, entry, target, sizeof target, &why) < 0) {
        on_problem(job, true, entry->path, why.msg);
        return 0;
    }
    return mtree_put(job->mtree, entry, target, e);
}

static int put_mtree(struct job *job, const struct entry *entry, struct err *e)
{
    if (entry->kind == ENTRY_LINK)
        return mtree_link(job, entry, e);
    if (entry->kind == ENTRY_FILE && job->cmd->options->checksum && (!mtree_knows(entry) || entry->flags & ENTRY_DAMAGED))
        return mtree_file(job, entry, e);
    return mtree_put(job->mtree, entry, NULL, e);
}

/* ---- the list ---- */

static int put_object(struct job *job, const struct entry *entry, struct err *e)
{
    struct reporter *r = job->cmd->report;
    if (entry->flags & ENTRY_HIDDEN || entry->kind == ENTRY_GONE)
        return 0;
    /* What is recorded of an object that could not be looked at may be stale: only JSON can say so. */
    if (entry->flags & ENTRY_UNKNOWN && job->cmd->options->format != OPTIONS_JSON)
        return 0;
    if (job->mtree)
        return put_mtree(job, entry, e);
    r->ops->object(r, entry);
    return job->cmd->out->error ? err_set(e, ERR_SYS, "the list could not be written") : 0;
}

static int put_objects(struct job *job, struct err *e)
{
    struct manifest_head head;
    const struct entry *entry;
    int rc;
    struct manifest_reader *reader = manifest_reader_new(job->store->ops->manifest(job->store), &head, e);
    if (!reader)
        return e->code;
    while ((rc = manifest_reader_next(reader, &entry, e)) > 0) {
        rc = cmd_interrupted() ? err_set(e, ERR_INTERRUPTED, "interrupted") : put_object(job, entry, e);
        if (rc < 0)
            break;
    }
    manifest_reader_free(reader);
    return rc;
}

static int put_list(struct job *job, struct err *e)
{
    if (job->cmd->options->format != OPTIONS_MTREE)
        return put_objects(job, e);
    output_flush(job->cmd->out); /* libarchive writes to the descriptor itself */
    job->mtree = mtree_new(job->cmd->out->fd, job->cmd->options->checksum, e);
    if (!job->mtree)
        return e->code;
    int rc = put_objects(job, e);
    int end = mtree_end(job->mtree, rc < 0 ? NULL : e);
    return rc < 0 ? rc : end;
}

static int scan(struct job *job, struct err *e)
{
    const struct store_ops *ops = job->store->ops;
    struct store_info info = {0};
    struct store_scan found = {0};
    int rc = ops->inspect(job->store, &info, e);
    if (rc == 0 && !info.exists)
        rc = err_set(e, ERR_USAGE, "there is no such directory");
    if (rc == 0)
        rc = ops->scan(job->store, &info.id, info.group ? info.group : "", &found, e);
    if (found.problems)
        job->partial = true;
    progress_clear(job->cmd->progress);
    store_info_free(&info);
    return rc;
}

static enum sos_status status_of(int code)
{
    switch (code) {
    case ERR_USAGE:
    case ERR_CONF: return SOS_USAGE;
    case ERR_LOCKED: return SOS_LOCKED;
    case ERR_GUARD: return SOS_GUARD;
    default: return SOS_FAILED;
    }
}

static void on_damage(void *ctx, const char *path, const char *message)
{
    on_problem(ctx, true, path, message);
}

static enum sos_status list(struct cmd *c, const char *root, bool http)
{
    const struct options *o = c->options;
    struct job job = {.cmd = c, .piece = mem_alloc(PIECE)};
    struct err e = {0};
    struct store_options options = {
        .root = root,
        .state_dir = http ? NULL : o->state_dir, /* what is kept of a server is kept for a group */
        .dry_run = true,
        .checksum = o->checksum,
        .hash_recorded = true,
        .threads = o->threads,
        .filter = o->filter,
        .rules = {.now = clock_now().sec, .tombstones = ENTRY_TIME_MAX},
        .watch = {&job, on_progress, on_problem, on_done, http ? on_damage : NULL},
    };
    c->report->by_id = http;
    job.store = http ? store_http_new(&options) : store_dir_new(&options);
    int rc = scan(&job, &e);
    if (rc == 0)
        rc = put_list(&job, &e);
    if (rc < 0 && !c->out->error) {
        err_wrap(&e, "%s", root);
        reporter_error(c->report, NULL, e.msg);
    }
    job.store->ops->close(job.store);
    free(job.piece);
    return rc < 0 ? status_of(e.code) : job.partial ? SOS_PARTIAL : SOS_OK;
}

static bool is_http(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

static enum sos_status list_server(struct cmd *c, const char *text)
{
    struct address a;
    struct err e;
    if (c->options->format == OPTIONS_MTREE) {
        reporter_error(c->report, NULL, "an mtree list needs sizes and times, which a blob-server does not tell");
        return SOS_USAGE;
    }
    if (address_parse(text, 1, &a, &e) < 0) {
        reporter_error(c->report, NULL, e.msg);
        return SOS_USAGE;
    }
    char *url = address_url(&a);
    enum sos_status status = list(c, url, true);
    free(url);
    address_free(&a);
    return status;
}

enum sos_status cmd_manifest(struct cmd *c)
{
    if (c->options->operands != 1) {
        reporter_error(c->report, NULL, c->options->operands ? "manifest takes one STORE" :
                     "manifest needs a STORE: sos-sync manifest DIRECTORY|URL");
        return SOS_USAGE;
    }
    return is_http(c->options->operand[0]) ? list_server(c, c->options->operand[0]) : list(c, c->options->operand[0], false);
}
