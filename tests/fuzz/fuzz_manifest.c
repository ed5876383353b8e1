/*
 * A manifest file (reader, raw access, jumps), its parts as a peer sends them, and entries that stand alone.
 * Checksums would keep nearly all mutations out, so the bytes are also read with their checksums put right.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/path.h"
#include "object/manifest.h"

#define HEAD 60u
#define BLOCK_HEAD 17u
#define END 65u

static void hold(int truth)
{
    if (!truth)
        abort();
}

static void poke(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* Puts right the checksums of header, blocks and end record, as far as they can be made out. */
static void repair(uint8_t *p, size_t n)
{
    size_t at = HEAD;
    uint64_t blocks = 0;
    struct buf all = {0};
    if (n < HEAD)
        return;
    poke(p + 52, digest_check(p, 52), 8);
    while (n - at > BLOCK_HEAD && p[at] == 'B') {
        struct rd r = rd_of(p + at + 1, 8);
        size_t shared = rd_u32(&r), places = rd_u32(&r);
        if (shared + places > n - at - BLOCK_HEAD)
            break;
        poke(p + at + 9, digest_check2(p + at + 1, 8, p + at + BLOCK_HEAD, shared + places), 8);
        buf_put(&all, p + at + BLOCK_HEAD, shared);
        at += BLOCK_HEAD + shared + places;
        blocks++;
    }
    if (n - at >= END && p[at] == 'E') {
        struct digest shared = digest_of(all.data, all.len);
        memcpy(p + at + 33, shared.b, DIGEST_LEN);
        poke(p + at + 49, blocks, 8);
        poke(p + at + 57, digest_check(p + at, 57), 8);
    }
    buf_free(&all);
}

/* What the reader lets pass, the writer must be able to write, and read again alike. */
static void same_again(int fd, const struct manifest_totals *totals)
{
    struct manifest_head head;
    struct manifest_totals written;
    struct err err;
    const struct entry *e;
    uint64_t n = 0;
    int rc, copy = memfd_create("copy", MFD_CLOEXEC);
    struct manifest_reader *r = manifest_reader_new(fd, &head, &err);
    struct manifest_writer *w = manifest_writer_new(copy, &head);
    while ((rc = manifest_reader_next(r, &e, &err)) > 0)
        hold(manifest_writer_put(w, e, &err) == 0);
    hold(rc == 0 && manifest_writer_end(w, &written, &err) == 0);
    hold(written.entries == totals->entries && written.objects == totals->objects);
    hold(written.dirs == totals->dirs && written.bytes == totals->bytes);
    manifest_writer_free(w);
    manifest_reader_free(r);
    r = manifest_reader_new(copy, &head, &err);
    while ((rc = manifest_reader_next(r, &e, &err)) > 0)
        n++;
    hold(rc == 0 && n == totals->entries);
    manifest_reader_free(r);
    close(copy);
}

static void read_entries(int fd)
{
    struct manifest_head head;
    struct manifest_totals totals;
    struct err err;
    const struct entry *e;
    uint64_t last = 0;
    int rc;
    struct manifest_reader *r = manifest_reader_new(fd, &head, &err);
    if (!r)
        return;
    while ((rc = manifest_reader_next(r, &e, &err)) > 0) {
        hold(path_check(e->path, e->path_len, NULL) == 0 && entry_check(e, NULL) == 0);
        hold(version_valid(&e->version) && holders_valid(&e->holders));
        last = manifest_reader_block(r);
    }
    if (rc == 0) {
        hold(manifest_file_totals(fd, &totals, &err) == 0);
        same_again(fd, &totals);
    }
    if (last) {
        hold(manifest_reader_seek(r, last, &err) == 0);
        hold(manifest_reader_next(r, &e, &err) == 1);
    }
    manifest_reader_free(r);
}

static void read_elsewhere(int fd, uint64_t at)
{
    struct manifest_head head;
    struct err err;
    const struct entry *e;
    struct manifest_reader *r = manifest_reader_new(fd, &head, &err);
    if (r && manifest_reader_seek(r, at, &err) == 0)
        while (manifest_reader_next(r, &e, &err) > 0)
            hold(path_check(e->path, e->path_len, NULL) == 0);
    manifest_reader_free(r);
}

static void read_raw(int fd)
{
    struct manifest_head head;
    struct manifest_totals totals;
    struct err err;
    const struct entry *e;
    const void *p;
    size_t len;
    err_clear(&err);
    struct manifest_decoder *d = manifest_decoder_new();
    struct manifest_reader *r = manifest_reader_new(fd, &head, &err);
    while (r && manifest_reader_raw(r, &p, &len, &totals, &err) > 0)
        if (manifest_decoder_block(d, p, len, NULL, 0, &err) == 0)
            while (manifest_decoder_next(d, &e, &err) > 0)
                hold(e->place.ino == 0 && entry_check(e, NULL) == 0);
    if (r && !err.code)
        manifest_decoder_end(d, &totals, &err);
    manifest_reader_free(r);
    manifest_decoder_free(d);
}

static void read_file(const uint8_t *data, size_t size)
{
    struct manifest_totals totals;
    struct err err;
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    hold(fd >= 0 && file_write(fd, data, size) == 0);
    read_entries(fd);
    read_raw(fd);
    read_elsewhere(fd, size ? data[size - 1] : 60u);
    manifest_file_totals(fd, &totals, &err);
    close(fd);
}

/* The first byte is the length of a shared part; what is left behind that is the private part. */
static void decode_block(const uint8_t *data, size_t size)
{
    struct err err;
    const struct entry *e;
    size_t shared = size ? data[0] : 0;
    if (size < 1 || shared > size - 1)
        return;
    for (int with_places = 0; with_places < 2; with_places++) {
        struct manifest_decoder *d = manifest_decoder_new();
        const uint8_t *places = with_places ? data + 1 + shared : NULL;
        if (manifest_decoder_block(d, data + 1, shared, places, size - 1 - shared, &err) == 0)
            while (manifest_decoder_next(d, &e, &err) > 0)
                hold(path_check(e->path, e->path_len, NULL) == 0);
        manifest_decoder_free(d);
    }
}

static void get_entries(const uint8_t *data, size_t size)
{
    char path[PATH_LEN_MAX + 1];
    struct entry e;
    struct err err;
    struct rd in = rd_of(data, size);
    while (rd_left(&in)) {
        const uint8_t *from = in.p;
        if (manifest_get_entry(&in, path, &e, &err) < 0)
            break;
        struct buf again = {0};
        manifest_put_entry(&again, &e);
        hold(again.len == (size_t)(in.p - from) && memcmp(again.data, from, again.len) == 0);
        buf_free(&again);
        if (manifest_get_place(&in, &e.place, &err) < 0)
            break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_file(data, size);
    if (size) {
        uint8_t *copy = malloc(size);
        memcpy(copy, data, size);
        repair(copy, size);
        read_file(copy, size);
        free(copy);
    }
    decode_block(data, size);
    get_entries(data, size);
    return 0;
}
