/* A journal file: the bytes as they are, and as the bodies of records whose frames are right. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "object/digest.h"
#include "store/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const void *p, size_t n, const struct uuid *id)
{
    struct err e;
    const struct entry *at;
    bool done;
    int fd = memfd_create("journal", MFD_CLOEXEC);
    if (fd < 0)
        return;
    if (file_write(fd, p, n) == 0) {
        struct journal_reader *r = journal_reader_new(fd, id, &e);
        while (r && journal_reader_next(r, &at, &done, &e) > 0)
            if (at->path[at->path_len] != '\0' || done != (at->place.ino != 0))
                __builtin_trap();
        journal_reader_free(r);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct uuid id = {{0}};
    struct buf b = {0};
    if (size >= 24)
        memcpy(id.b, data + 8, 16);
    read_all(data, size, &id);
    /* Cut into bodies by a length byte each, so that the checksums hide nothing. */
    buf_put(&b, "sosjrnl1", 8);
    buf_put(&b, id.b, 16);
    buf_u64(&b, digest_check(b.data, b.len));
    for (size_t at = 0; at < size;) {
        size_t n = data[at++];
        n = n < size - at ? n : size - at;
        buf_u32(&b, (uint32_t)n);
        buf_u64(&b, digest_check(data + at, n));
        buf_put(&b, data + at, n);
        at += n;
    }
    read_all(b.data, b.len, &id);
    buf_free(&b);
    return 0;
}
