#include "store/blob.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define HEAD_FORM 1u
#define HEAD_FIXED (1u + 8u) /* behind the length */

bool blob_is_id(const char *name, size_t len)
{
    if (len == 0 || len > BLOB_ID_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9')))
            return false;
    return true;
}

struct entry blob_entry(const char *id, size_t len)
{
    return (struct entry){.path = id, .path_len = len, .kind = ENTRY_FILE, .mode = BLOB_MODE,
                          .digest = digest_of(id, len)};
}

bool blob_is_read(const struct entry *entry)
{
    struct digest id = digest_of(entry->path, entry->path_len);
    return entry->kind == ENTRY_FILE && !digest_same(&entry->digest, &id);
}

int blob_check(const struct entry *entry, struct err *e)
{
    if (!blob_is_id(entry->path, entry->path_len))
        return err_set(e, ERR_FORMAT, "is no id that a blob-server can have");
    if (entry->kind != ENTRY_GONE && (entry->kind != ENTRY_FILE || entry->mode != BLOB_MODE))
        return err_set(e, ERR_FORMAT, "is not described as an object known by its id");
    return 0;
}

void blob_put_head(struct buf *out, uint64_t size, const char *headers, size_t bytes)
{
    buf_u32(out, (uint32_t)(HEAD_FIXED + bytes));
    buf_u8(out, HEAD_FORM);
    buf_u64(out, size);
    buf_put(out, headers, bytes);
}

/* ---- taking in ---- */

void blob_in_begin(struct blob_in *in, const char *id)
{
    in->id = id;
    in->hashed = sha1_names(id, strlen(id));
    in->open = false;
    in->head.len = 0;
    in->size = BLOB_SIZE_UNKNOWN;
    in->got = 0;
    if (in->hashed && !in->sha1)
        in->sha1 = sha1_new();
    if (in->hashed)
        sha1_reset(in->sha1);
}

/* They go into a request's head, or a file that a server reads: each must be one line of an X- header. */
static bool headers_fit(const char *p, size_t n)
{
    if (n > 0 && p[n - 1] != '\0')
        return false;
    for (const char *at = p, *end = p + n; at < end; at += strlen(at) + 1) {
        const char *colon = strstr(at, ": ");
        if ((at[0] != 'X' && at[0] != 'x') || at[1] != '-' || !colon)
            return false;
        for (const char *c = at; c < colon; c++)
            if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c))
                return false;
        for (const char *c = colon; *c; c++)
            if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
                return false;
    }
    return true;
}

static int open_head(struct blob_in *in, struct err *e)
{
    struct rd r = rd_of(in->head.data + 4, in->head.len - 4);
    uint8_t form = rd_u8(&r);
    in->size = rd_u64(&r);
    if (r.bad || form != HEAD_FORM || !headers_fit((const char *)r.p, rd_left(&r)))
        return err_set(e, ERR_FORMAT, "came with a head that cannot be understood");
    buf_u8(&in->head, '\0');
    in->open = true;
    return 0;
}

static int take_head(struct blob_in *in, const uint8_t **p, size_t *n, struct err *e)
{
    size_t due = 4;
    while (*n > 0 && !in->open) {
        if (in->head.len >= 4) {
            struct rd r = rd_of(in->head.data, 4);
            uint32_t len = rd_u32(&r);
            if (len < HEAD_FIXED || len > BLOB_HEAD_MAX)
                return err_set(e, ERR_FORMAT, "came with a head of %" PRIu32 " bytes", len);
            due = 4 + len;
        }
        size_t k = due - in->head.len < *n ? due - in->head.len : *n;
        buf_put(&in->head, *p, k);
        *p += k;
        *n -= k;
        if (in->head.len == due && due > 4) {
            int rc = open_head(in, e);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

int blob_in_take(struct blob_in *in, const uint8_t **p, size_t *n, struct err *e)
{
    int rc = in->open ? 0 : take_head(in, p, n, e);
    if (rc < 0)
        return rc;
    in->got += *n;
    if (in->got > in->size)
        return err_set(e, ERR_FORMAT, "is longer than the %" PRIu64 " bytes that were announced", in->size);
    if (in->hashed)
        sha1_add(in->sha1, *p, *n);
    return 0;
}

const char *blob_in_headers(const struct blob_in *in, size_t *bytes)
{
    *bytes = in->open ? in->head.len - 4 - HEAD_FIXED - 1 : 0;
    return in->open ? (const char *)in->head.data + 4 + HEAD_FIXED : "";
}

int blob_in_end(struct blob_in *in, struct err *e)
{
    if (!in->open || (in->size != BLOB_SIZE_UNKNOWN && in->got != in->size))
        return err_set(e, ERR_FORMAT, "ended after %" PRIu64 " bytes, too early", in->got);
    if (in->hashed && !sha1_is(in->sha1, in->id))
        return err_set(e, ERR_DAMAGED, "is damaged: its content does not have the SHA-1 that is its id");
    return 0;
}

void blob_in_free(struct blob_in *in)
{
    sha1_free(in->sha1);
    in->sha1 = NULL;
    buf_free(&in->head);
}
