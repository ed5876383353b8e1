/*
 * What comes of blob-servers, and of agents about their objects: the first byte says which. 0: a listing; 1: a sidecar, which,
 * written again, must read as the same; 2: an object as it travels, cut into two.
 */
#include "base/mem.h"
#include "store/blob.h"
#include "store/blob_json.h"

#include <stdlib.h>
#include <string.h>

static void see(void *ctx, const char *name, size_t len)
{
    size_t *n = ctx;
    *n += len;
    if (name[len] != '\0')
        abort();
    if (blob_is_id(name, len) && strlen(name) != len)
        abort();
}

static void try_sidecar(const char *text, size_t size)
{
    struct buf fields = {0}, out = {0}, again = {0}, last = {0};
    struct err e;
    if (blob_json_sidecar(text, size, &fields, &e) == 0) {
        blob_json_put_sidecar(&out, (const char *)fields.data, fields.len);
        if (out.len && blob_json_sidecar((const char *)out.data, out.len, &again, &e) < 0)
            abort();
        blob_json_put_sidecar(&last, (const char *)again.data, again.len);
        if (out.len != last.len || (out.len && memcmp(out.data, last.data, out.len) != 0))
            abort();
    }
    buf_free(&fields);
    buf_free(&out);
    buf_free(&again);
    buf_free(&last);
}

static void try_object(const uint8_t *data, size_t size)
{
    struct blob_in in = {0};
    struct err e;
    size_t bytes, half = size ? data[0] % size : 0;
    blob_in_begin(&in, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    const uint8_t *p = data;
    size_t n = half;
    int rc = blob_in_take(&in, &p, &n, &e);
    p = data + half;
    n = size - half;
    if (rc == 0)
        rc = blob_in_take(&in, &p, &n, &e);
    if (rc == 0 && in.open) {
        const char *headers = blob_in_headers(&in, &bytes);
        if (headers[bytes] != '\0')
            abort();
        struct buf side = {0};
        blob_json_put_sidecar(&side, headers, bytes);
        buf_free(&side);
    }
    if (rc == 0)
        blob_in_end(&in, &e);
    blob_in_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    size_t seen = 0;
    if (size == 0)
        return 0;
    if (data[0] == '0')
        blob_json_listing((const char *)data + 1, size - 1, see, &seen, &e);
    else if (data[0] == '1')
        try_sidecar((const char *)data + 1, size - 1);
    else
        try_object(data + 1, size - 1);
    return 0;
}
