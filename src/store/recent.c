#include "store/recent.h"

#include "base/mem.h"
#include "base/path.h"
#include "store/journal.h"

#include <stdlib.h>
#include <string.h>

struct recent {
    int journal;
    struct uuid store;
    struct journal_reader *reader;
    const struct entry *at; /* the next one of the journal; NULL: at its end */
    bool done;
    size_t last_len;
    char last[PATH_LEN_MAX + 1]; /* that was asked for */
};

static int advance(struct recent *r, struct err *e)
{
    int rc = journal_reader_next(r->reader, &r->at, &r->done, e);
    if (rc <= 0)
        r->at = NULL;
    return rc < 0 ? rc : 0;
}

static int start(struct recent *r, struct err *e)
{
    journal_reader_free(r->reader);
    r->reader = journal_reader_new(r->journal, &r->store, e);
    return r->reader ? advance(r, e) : e ? e->code : ERR_SYS;
}

struct recent *recent_new(int journal, const struct uuid *store, struct err *e)
{
    struct recent *r = mem_zalloc(sizeof *r);
    r->journal = journal;
    r->store = *store;
    if (start(r, e) < 0) {
        recent_free(r);
        return NULL;
    }
    return r;
}

void recent_free(struct recent *r)
{
    if (r)
        journal_reader_free(r->reader);
    free(r);
}

int recent_find(struct recent *r, const char *path, size_t len, const struct entry **found, struct err *e)
{
    int rc = path_cmp(path, len, r->last, r->last_len) < 0 ? start(r, e) : 0, c = 1;
    *found = NULL;
    memcpy(r->last, path, len);
    r->last_len = len;
    while (rc == 0 && r->at && (c = path_cmp(r->at->path, r->at->path_len, path, len)) < 0)
        rc = advance(r, e);
    if (rc == 0 && r->at && c == 0 && r->done && r->at->kind != ENTRY_GONE)
        *found = r->at;
    return rc;
}
