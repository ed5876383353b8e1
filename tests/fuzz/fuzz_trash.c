/* The list of a run of the trash: what is taken is written back as it was, and leads nowhere but downward. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/trash_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, size_t len)
{
    static struct trash_record r;
    char by[TRASH_BY_MAX + 1], name[TRASH_RUN_MAX + 1];
    struct buf again = {0};
    int64_t when;
    unsigned n;
    if (trash_record_parse(line, len, &r)) {
        trash_record_put(&again, &r);
        if (again.len != len + 1 || memcmp(again.data, line, len) != 0 ||
            path_check_any(r.place, strlen(r.place), NULL) < 0 || path_check_any(r.path, strlen(r.path), NULL) < 0)
            abort();
    }
    if (trash_record_parse_run(line, len, &when, &n)) {
        trash_record_run(name, when, n);
        if (strlen(name) != len || memcmp(name, line, len) != 0)
            abort();
    }
    trash_record_parse_first(line, len, by);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        check_line(at, (size_t)((nl ? nl : end) - at));
        at = nl ? nl + 1 : end;
    }
    return 0;
}
