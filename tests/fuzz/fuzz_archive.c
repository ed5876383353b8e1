/*
 * An archive of arbitrary bytes. A first byte with the high bit set is not part of it: its low six
 * bits say how many bytes a pull gives, the one above whether content is read or left to be skipped.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "object/archive.h"

#define READ_MAX (1u << 20)   /* an object's size is what the archive says: no reason to read it all */
#define BYTES_MAX (64u << 20)

struct source {
    const uint8_t *p;
    size_t left, piece;
    int ended;
};

static void must(int truth)
{
    if (!truth)
        abort();
}

static ssize_t pull(void *ctx, const void **p, struct err *e)
{
    struct source *s = ctx;
    (void)e;
    must(!s->ended);
    size_t n = s->left < s->piece ? s->left : s->piece;
    *p = s->p;
    s->p += n;
    s->left -= n;
    s->ended = n == 0;
    return (ssize_t)n;
}

static uint64_t read_content(struct archive_in *a, const struct archive_object *o)
{
    struct err e = {0};
    uint64_t sum = 0;
    unsigned char last = 0;
    while (sum < READ_MAX) {
        const void *p;
        ssize_t n = archive_in_data(a, &p, &e);
        must(n >= 0 || e.code == (int)n);
        if (n < 0)
            return sum;
        if (n == 0) {
            must(sum == (o->kind == ENTRY_FILE ? o->size : 0));
            return sum;
        }
        sum += (uint64_t)n;
        last = (unsigned char)(last ^ ((const unsigned char *)p)[0] ^ ((const unsigned char *)p)[n - 1]);
        must(sum <= o->size);
    }
    return sum;
}

static void check_object(const struct archive_object *o)
{
    must(path_check(o->path, o->path_len, NULL) == 0 && strlen(o->path) == o->path_len);
    must((o->kind == ENTRY_LINK) == (o->target != NULL));
    must(o->kind == ENTRY_FILE || o->kind == ENTRY_LINK || (o->kind == ENTRY_DIR && o->size == 0));
    must(!o->target || (*o->target && strlen(o->target) == o->size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = {0};
    struct source s = {data, size, 4096, 0};
    int read = 1;
    if (size > 0 && data[0] >= 0x80) {
        s = (struct source){data + 1, size - 1, (size_t)(data[0] & 0x3f) + 1, 0};
        read = data[0] & 0x40;
    }
    struct archive_in *a = archive_in_new(pull, &s, &e);
    must(a != NULL);
    struct archive_object o;
    uint64_t sum = 0;
    int rc;
    while ((rc = archive_in_next(a, &o, &e)) == 1 && sum < BYTES_MAX) {
        check_object(&o);
        if (read)
            sum += read_content(a, &o);
    }
    must(rc >= 0 || e.code == rc);
    if (rc <= 0)
        must(archive_in_next(a, &o, &e) == rc);
    archive_in_free(a);
    return 0;
}
