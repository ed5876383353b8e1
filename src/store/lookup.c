#include "store/lookup.h"

#include "base/mem.h"
#include "base/path.h"
#include "object/manifest.h"

#include <stdlib.h>
#include <string.h>

struct lookup {
    int manifest;
    struct manifest_reader *reader; /* NULL: not begun */
    const struct entry *at;         /* NULL: at the end */
    size_t asked_len;
    char asked[PATH_LEN_MAX + 1];
};

struct lookup *lookup_new(int manifest)
{
    struct lookup *l = mem_alloc(sizeof *l);
    l->manifest = manifest;
    l->reader = NULL;
    l->at = NULL;
    l->asked_len = 0;
    return l;
}

static void stop(struct lookup *l)
{
    if (l->reader)
        manifest_reader_free(l->reader);
    l->reader = NULL;
    l->at = NULL;
}

void lookup_free(struct lookup *l)
{
    if (l)
        stop(l);
    free(l);
}

static int advance(struct lookup *l, struct err *e)
{
    int rc = manifest_reader_next(l->reader, &l->at, e);
    if (rc > 0)
        return 0;
    l->at = NULL;
    return rc < 0 ? err_wrap(e, "manifest") : 0;
}

static int start(struct lookup *l, struct err *e)
{
    struct manifest_head head;
    stop(l);
    l->reader = manifest_reader_new(l->manifest, &head, e);
    if (!l->reader)
        return err_wrap(e, "manifest");
    return advance(l, e);
}

int lookup_find(struct lookup *l, const char *path, size_t len, const struct entry **found, struct err *e)
{
    int rc = 0;
    *found = NULL;
    if (len > PATH_LEN_MAX)
        return 0;
    if (!l->reader || path_cmp(path, len, l->asked, l->asked_len) < 0)
        rc = start(l, e);
    memcpy(l->asked, path, len);
    l->asked_len = len;
    int c = 1;
    while (rc == 0 && l->at && (c = path_cmp(l->at->path, l->at->path_len, path, len)) < 0)
        rc = advance(l, e);
    if (rc < 0)
        stop(l);
    else if (l->at && c == 0)
        *found = l->at;
    return rc;
}
