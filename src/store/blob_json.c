#include "store/blob_json.h"

#include "base/mem.h"
#include "base/path.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jansson's words quote what they met, which may be anything: only the place is told. */
static json_t *load(const char *text, size_t len, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!root)
        err_set(e, ERR_FORMAT, "is not JSON (at byte %d of %zu)", why.position, len);
    return root;
}

int blob_json_listing(const char *text, size_t len, void (*each)(void *ctx, const char *name, size_t len), void *ctx,
                      struct err *e)
{
    json_t *root = load(text, len, e), *item;
    size_t i;
    if (!root)
        return ERR_FORMAT;
    int rc = json_is_array(root) ? 0 : err_set(e, ERR_FORMAT, "is no array");
    for (i = 0; rc == 0 && i < json_array_size(root); i++)
        if (!json_is_string(json_array_get(root, i)))
            rc = err_set(e, ERR_FORMAT, "has an item (number %zu) that is no string", i + 1);
    json_array_foreach(root, i, item)
        if (rc == 0)
            each(ctx, json_string_value(item), json_string_length(item));
    json_decref(root);
    return rc;
}

/* ---- sidecars ---- */

static bool field_fits(const char *name, json_t *value)
{
    const char *text = json_string_value(value);
    return text && json_string_length(value) == strlen(text) && !strpbrk(text, "\r\n") && *name &&
           !strpbrk(name, ": \t\r\n");
}

int blob_json_sidecar(const char *text, size_t len, struct buf *out, struct err *e)
{
    json_t *root = load(text, len, e), *value;
    const char *name;
    if (!root)
        return ERR_FORMAT;
    int rc = json_is_object(root) ? 0 : err_set(e, ERR_FORMAT, "is no object");
    json_object_foreach(root, name, value) {
        if (rc == 0 && !field_fits(name, value))
            rc = err_set(e, ERR_FORMAT, "has a field that cannot be a header");
        if (rc < 0)
            break;
        buf_put(out, name, strlen(name));
        buf_put(out, ": ", 2);
        buf_put(out, json_string_value(value), json_string_length(value) + 1);
    }
    json_decref(root);
    return rc;
}

struct field {
    char *name;        /* owned, canonical */
    const char *value; /* NUL-terminated */
};

static char *canonical(const char *name, size_t n)
{
    char *out = mem_strndup(name, n);
    bool upper = true;
    for (char *c = out; *c; c++) {
        if (upper && *c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
        else if (!upper && *c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
        upper = *c == '-';
    }
    return out;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct field *)a)->name, ((const struct field *)b)->name);
}

static void put_unicode(struct buf *out, unsigned value)
{
    char text[8];
    snprintf(text, sizeof text, "\\u%04x", value);
    buf_put(out, text, 6);
}

static void put_ascii(struct buf *out, unsigned char c)
{
    if (c == '"' || c == '\\') {
        buf_u8(out, '\\');
        buf_u8(out, c);
    } else if (c == '\t') {
        buf_put(out, "\\t", 2);
    } else if (c < 0x20 || c == '<' || c == '>' || c == '&') {
        put_unicode(out, c);
    } else {
        buf_u8(out, c);
    }
}

static void put_string(struct buf *out, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t left = strlen(text), n;
    buf_u8(out, '"');
    for (; left; p += n, left -= n) {
        n = *p < 0x80 ? 1 : path_utf8(p, left);
        if (*p < 0x80) {
            put_ascii(out, *p);
        } else if (n == 0) {
            put_unicode(out, 0xfffd);
            n = 1;
        } else if (n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
            put_unicode(out, 0x2000u + (p[2] & 0x3fu));
        } else {
            buf_put(out, p, n);
        }
    }
    buf_u8(out, '"');
}

static void put_fields(struct buf *out, const struct field *field, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_u8(out, i ? ',' : '{');
        put_string(out, field[i].name);
        buf_u8(out, ':');
        put_string(out, field[i].value);
    }
    if (n)
        buf_u8(out, '}');
}

void blob_json_put_sidecar(struct buf *out, const char *headers, size_t bytes)
{
    struct field *field = NULL;
    size_t n = 0;
    if (bytes == 0)
        return;
    for (const char *at = headers, *end = at + bytes; at < end; at += strlen(at) + 1) {
        const char *colon = strstr(at, ": ");
        char *name = colon ? canonical(at, (size_t)(colon - at)) : NULL;
        bool known = !name;
        for (size_t i = 0; i < n && !known; i++)
            known = strcmp(field[i].name, name) == 0;
        if (known) {
            free(name);
            continue;
        }
        field = mem_resize(field, n + 1, sizeof *field);
        field[n++] = (struct field){name, colon + 2};
    }
    if (n > 1)
        qsort(field, n, sizeof *field, by_name);
    put_fields(out, field, n);
    for (size_t i = 0; i < n; i++)
        free(field[i].name);
    free(field);
}
