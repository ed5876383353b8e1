#include "plan/merge.h"

#include "base/bit.h"
#include "base/mem.h"
#include "base/path.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/*
 * Every source has a head: its first entry that is not yet part of a row. A source's bit in pull says that
 * its head is used up and the next one is still to be fetched. All heads lie behind the last row: those that
 * were not in it because it was the least, the others because they are checked when they are fetched. So the
 * path of the last row is all that has to be remembered for the check of order.
 */
struct merge {
    unsigned n;
    uint64_t pull;
    struct merge_source source[PLAN_MEMBERS_MAX];
    const struct entry *head[PLAN_MEMBERS_MAX]; /* NULL: at its end, when its bit in pull is clear */
    uint64_t blind;                 /* bit i: dark[i] is set */
    char *dark[PLAN_MEMBERS_MAX];   /* the directory that member i could not look into, while rows are below it */
    size_t last_len;
    char last[PATH_LEN_MAX + 1]; /* path of the last row */
};

struct merge *merge_new(const struct merge_source *source, unsigned n)
{
    assert(n <= PLAN_MEMBERS_MAX);
    struct merge *m = mem_zalloc(sizeof *m);
    m->n = n;
    for (unsigned i = 0; i < n; i++) {
        m->source[i] = source[i];
        m->pull |= bit(i);
    }
    return m;
}

void merge_free(struct merge *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->n; i++)
        free(m->dark[i]);
    free(m);
}

static bool same_path(const struct entry *a, const struct entry *b)
{
    return a->path_len == b->path_len && memcmp(a->path, b->path, a->path_len) == 0;
}

static int check_order(const struct merge *m, const struct entry *head, struct err *e)
{
    if (head->path_len > PATH_LEN_MAX)
        return err_set(e, ERR_FORMAT, "path of %zu bytes", head->path_len);
    if (path_cmp(head->path, head->path_len, m->last, m->last_len) > 0)
        return 0;
    return err_set(e, ERR_FORMAT, "\"%.*s\" is out of order: it comes behind \"%.*s\"",
                   (int)head->path_len, head->path, (int)m->last_len, m->last);
}

/* MERGE_READY when every head is there. Each source that lacks one is asked, even when another one waits. */
static int pull_heads(struct merge *m, unsigned *failed, struct err *e)
{
    int state = MERGE_READY;
    const struct entry *good = NULL; /* a head known to be in order: those like it are, too */
    for (uint64_t left = m->pull; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        const struct entry *got = NULL;
        int rc = m->source[i].next(m->source[i].ctx, &got, e);
        if (rc == MERGE_WAIT) {
            state = MERGE_WAIT;
            continue;
        }
        if (rc == MERGE_READY && !(good && same_path(got, good)))
            rc = check_order(m, got, e) < 0 ? ERR_FORMAT : MERGE_READY;
        if (rc < 0) {
            *failed = i;
            return rc;
        }
        if (rc == MERGE_READY)
            good = got;
        m->head[i] = rc == MERGE_READY ? got : NULL;
        m->pull &= ~bit(i);
    }
    return state;
}

/* Bit i: head i has the least path. 0: all sources are at their end. */
static uint64_t least(const struct merge *m)
{
    const struct entry *min = NULL;
    uint64_t in = 0;
    for (unsigned i = 0; i < m->n; i++) {
        const struct entry *h = m->head[i];
        if (!h)
            continue;
        int c = min ? path_cmp(h->path, h->path_len, min->path, min->path_len) : -1;
        if (c < 0) {
            min = h;
            in = 0;
        }
        if (c <= 0)
            in |= bit(i);
    }
    return in;
}

/* Who cannot see this row's path? A directory that is UNKNOWN hides all that is below it, whether that was recorded or not. */
static void find_blind(struct merge *m, struct merge_row *row)
{
    row->blind = m->blind;
    for (uint64_t left = m->blind; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (!path_below(row->path, row->path_len, m->dark[i], strlen(m->dark[i]))) {
            row->blind &= ~bit(i);
            free(m->dark[i]);
            m->dark[i] = NULL;
        }
    }
    m->blind = row->blind;
}

static void set_dark(struct merge *m, unsigned i, const struct entry *dir)
{
    if (m->blind & bit(i))
        return; /* a directory further up hides this one too */
    m->dark[i] = mem_strndup(dir->path, dir->path_len);
    m->blind |= bit(i);
}

/* Turns these heads into a row; they are used up with it. */
static void make_row(struct merge *m, uint64_t in, struct merge_row *row)
{
    const struct entry *any = m->head[__builtin_ctzll(in)];
    memcpy(m->last, any->path, any->path_len);
    m->last[any->path_len] = '\0';
    m->last_len = any->path_len;
    row->path = m->last;
    row->path_len = m->last_len;
    row->members = m->n;
    if (m->blind)
        find_blind(m, row);
    else
        row->blind = 0;
    bool dirs = false, others = false;
    for (unsigned i = 0; i < m->n; i++) {
        row->at[i] = in & bit(i) ? m->head[i] : NULL;
        if (!row->at[i])
            continue;
        if (row->at[i]->kind == ENTRY_DIR)
            dirs = true;
        else
            others = true;
        if (row->at[i]->kind == ENTRY_DIR && row->at[i]->flags & ENTRY_UNKNOWN)
            set_dark(m, i, row->at[i]);
    }
    row->forked = dirs && others;
    m->pull = in;
}

int merge_next(struct merge *m, struct merge_row *row, unsigned *failed, struct err *e)
{
    int rc = pull_heads(m, failed, e);
    if (rc != MERGE_READY)
        return rc;
    uint64_t in = least(m);
    if (!in)
        return MERGE_END;
    make_row(m, in, row);
    return MERGE_READY;
}
