/*
 * Pieces of a difference as a peer sends them, applied to a manifest with files in two levels of directories. Input:
 * u16 length and that many bytes for each piece.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "object/manifest_diff.h"

static const struct manifest_head head = {.algo = DIGEST_XXH3_128, .store = {{1}}};

static void hold(int truth)
{
    if (!truth)
        abort();
}

static int make_base(void)
{
    static const char *const path[] = {"a", "a/b", "a/b/c", "a/d", "e", "z"};
    int fd = memfd_create("base", MFD_CLOEXEC);
    struct err err;
    struct manifest_writer *w = manifest_writer_new(fd, &head);
    for (size_t i = 0; i < sizeof path / sizeof path[0]; i++) {
        struct entry e = {.path = path[i], .path_len = strlen(path[i]), .kind = i < 2 ? ENTRY_DIR : ENTRY_FILE,
                          .mode = 0755};
        version_set(&e.version, &(struct uuid){{1}}, 1);
        hold(manifest_writer_put(w, &e, &err) == 0);
    }
    hold(manifest_writer_end(w, NULL, &err) == 0);
    manifest_writer_free(w);
    return fd;
}

/* Whatever was let pass is a manifest (the writer aborts where it is none), and its difference to base makes it again. */
static void again(int base, int result)
{
    struct manifest_head h;
    struct manifest_totals totals;
    struct err err;
    const struct entry *e;
    struct buf piece = {0};
    struct manifest_reader *old = manifest_reader_new(base, &h, &err), *under = manifest_reader_new(base, &h, &err);
    struct manifest_reader *new = manifest_reader_new(result, &h, &err);
    struct manifest_diff_writer *w = manifest_diff_writer_new(old, new);
    struct manifest_diff_reader *r = manifest_diff_reader_new(under);
    int rc;
    hold(manifest_file_totals(result, &totals, &err) == 0);
    while ((rc = manifest_diff_reader_next(r, &e, &err)) > 0) {
        if (rc == MANIFEST_DIFF_ENTRY)
            continue;
        rc = manifest_diff_writer_next(w, &piece, &err);
        hold(rc >= 0);
        if (rc == 0)
            manifest_diff_reader_close(r, &totals);
        else if (piece.len)
            hold(manifest_diff_reader_piece(r, piece.data, piece.len, &err) == 0);
    }
    hold(rc == 0);
    manifest_diff_reader_free(r);
    manifest_diff_writer_free(w);
    manifest_reader_free(old);
    manifest_reader_free(under);
    manifest_reader_free(new);
    buf_free(&piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_of(data, size);
    struct manifest_head h;
    struct manifest_totals none = {0}, totals;
    struct err err;
    const struct entry *e;
    int rc, base = make_base(), result = memfd_create("result", MFD_CLOEXEC);
    struct manifest_reader *old = manifest_reader_new(base, &h, &err);
    struct manifest_diff_reader *r = manifest_diff_reader_new(old);
    struct manifest_writer *w = manifest_writer_new(result, &head);
    bool closed = false;
    while ((rc = manifest_diff_reader_next(r, &e, &err)) > 0) {
        if (rc == MANIFEST_DIFF_ENTRY) {
            hold(manifest_writer_put(w, e, &err) == 0);
            continue;
        }
        size_t n = rd_left(&in) < 2 ? 0 : rd_u16(&in);
        n = n < rd_left(&in) ? n : rd_left(&in);
        closed = rd_left(&in) == 0;
        if (closed)
            manifest_diff_reader_close(r, &none);
        else if (manifest_diff_reader_piece(r, rd_bytes(&in, n), n, &err) < 0)
            break;
    }
    hold(manifest_writer_end(w, &totals, &err) == 0);
    if (closed && rc < 0 && strstr(err.msg, "totals"))
        again(base, result);
    manifest_writer_free(w);
    manifest_diff_reader_free(r);
    manifest_reader_free(old);
    close(base);
    close(result);
    return 0;
}
