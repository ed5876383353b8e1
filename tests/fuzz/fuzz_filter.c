/*
 * Rules as they come in a message, judged twice: read, written again, read again. What follows
 * them is a list of paths, one a line. With a first byte of '+' or '-' the input is text instead:
 * lines are patterns up to an empty line, then paths.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "object/filter.h"

static void must(int truth)
{
    if (!truth)
        abort();
}

static void judge(const struct filter *f, const struct filter *again, struct rd *in)
{
    while (rd_left(in) > 0) {
        const uint8_t *nl = memchr(in->p, '\n', rd_left(in));
        size_t n = nl ? (size_t)(nl - in->p) : rd_left(in);
        const char *path = (const char *)rd_bytes(in, n);
        for (int dir = 0; n > 0 && n <= 4095 && dir < 2; dir++)
            must(filter_excludes(f, path, n, dir) == filter_excludes(again, path, n, dir));
        if (nl)
            rd_u8(in);
    }
}

static struct filter *from_text(struct rd *in)
{
    struct filter *f = filter_new();
    while (rd_left(in) > 0) {
        const uint8_t *nl = memchr(in->p, '\n', rd_left(in));
        size_t n = nl ? (size_t)(nl - in->p) : rd_left(in);
        char *line = strndup((const char *)rd_bytes(in, n), n);
        struct err e = {0};
        size_t before = filter_count(f);
        int rc = filter_add(f, false, line, &e);
        must(rc == 0 || (rc == ERR_USAGE && e.code == rc && filter_count(f) == before));
        free(line);
        if (nl)
            rd_u8(in);
        if (n == 0)
            break;
    }
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_of(data, size);
    struct err e = {0};
    bool text = size > 0 && (data[0] == '+' || data[0] == '-');
    struct filter *f = text ? from_text(&in) : filter_get(&in, &e);
    if (!f) {
        must(e.code == ERR_FORMAT);
        return 0;
    }
    struct buf out = {0};
    filter_put(f, &out);
    struct rd back = rd_of(out.data, out.len);
    struct filter *again = filter_get(&back, NULL);
    must(again && rd_done(&back) && filter_count(again) == filter_count(f));
    judge(f, again, &in);
    filter_free(f);
    filter_free(again);
    buf_free(&out);
    return 0;
}
