#include "store/index.h"

#include "base/mem.h"
#include "object/manifest.h"

#include <stdlib.h>

struct slot {
    uint64_t word;  /* first 8 bytes of the digest */
    uint64_t block; /* of the manifest */
};

/* The i-th digest that is asked for, and a block where it may be. */
struct question {
    uint64_t block;
    uint64_t word;
    size_t i;
};

struct index {
    struct manifest_reader *reader;
    struct slot *slot; /* sorted; a slot for each digest of each block */
    size_t slots;
};

static bool counts(const struct entry *e)
{
    return e->kind == ENTRY_FILE && !(e->flags & (ENTRY_HIDDEN | ENTRY_DAMAGED | ENTRY_UNKNOWN));
}

static int by_word(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    if (x->word != y->word)
        return x->word < y->word ? -1 : 1;
    return (x->block > y->block) - (x->block < y->block);
}

/* Many files of one block may have one digest: a slot leads to the block, so that one is enough. */
static void drop_repeats(struct index *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->slots; i++)
        if (n == 0 || by_word(x->slot + n - 1, x->slot + i) != 0)
            x->slot[n++] = x->slot[i];
    x->slots = n;
}

struct index *index_new(int manifest, struct err *e)
{
    struct index *x = mem_zalloc(sizeof *x);
    struct manifest_head head;
    const struct entry *at;
    size_t cap = 0;
    int rc = -1;
    x->reader = manifest_reader_new(manifest, &head, e);
    while (x->reader && (rc = manifest_reader_next(x->reader, &at, e)) > 0) {
        if (!counts(at))
            continue;
        if (x->slots == cap) {
            cap = cap ? 2 * cap : 1024;
            x->slot = mem_resize(x->slot, cap, sizeof *x->slot);
        }
        x->slot[x->slots++] = (struct slot){digest_word(&at->digest), manifest_reader_block(x->reader)};
    }
    if (rc < 0) {
        err_wrap(e, "manifest");
        index_free(x);
        return NULL;
    }
    if (x->slots > 1)
        qsort(x->slot, x->slots, sizeof *x->slot, by_word);
    drop_repeats(x);
    return x;
}

void index_free(struct index *x)
{
    if (!x)
        return;
    if (x->reader)
        manifest_reader_free(x->reader);
    free(x->slot);
    free(x);
}

/* The first slot whose word is not less. */
static size_t first_slot(const struct index *x, uint64_t word)
{
    size_t low = 0, high = x->slots;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (x->slot[mid].word < word)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* 1: *at is the next entry of the block; 0: the block is at its end. */
static int next_in(struct index *x, uint64_t block, const struct entry **at, struct err *e)
{
    int rc = manifest_reader_next(x->reader, at, e);
    if (rc < 0)
        return err_wrap(e, "manifest");
    return rc > 0 && manifest_reader_block(x->reader) == block;
}

int index_find(struct index *x, const struct digest *d, size_t nth, const struct entry **found, struct err *e)
{
    uint64_t word = digest_word(d);
    const struct entry *at;
    for (size_t i = first_slot(x, word); i < x->slots && x->slot[i].word == word; i++) {
        int rc = manifest_reader_seek(x->reader, x->slot[i].block, e);
        if (rc < 0)
            return rc;
        while ((rc = next_in(x, x->slot[i].block, &at, e)) > 0) {
            if (!counts(at) || !digest_same(&at->digest, d) || nth-- > 0)
                continue;
            *found = at;
            return 1;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int by_block(const void *a, const void *b)
{
    const struct question *x = a, *y = b;
    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    return (x->word > y->word) - (x->word < y->word);
}

/* The first question of a block (sorted by word) whose word is not less. */
static size_t first_question(const struct question *q, size_t n, uint64_t word)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (q[mid].word < word)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Answers the questions about one block by going through it once. */
static int answer(struct index *x, const struct question *q, size_t n, const struct digest *d, bool *yes,
                  struct err *e)
{
    const struct entry *at;
    int rc = manifest_reader_seek(x->reader, q->block, e);
    if (rc < 0)
        return rc;
    while ((rc = next_in(x, q->block, &at, e)) > 0) {
        if (!counts(at))
            continue;
        uint64_t word = digest_word(&at->digest);
        for (size_t i = first_question(q, n, word); i < n && q[i].word == word; i++)
            if (digest_same(&at->digest, d + q[i].i))
                yes[q[i].i] = true;
    }
    return rc;
}

int index_have(struct index *x, const struct digest *d, size_t n, bool *yes, struct err *e)
{
    struct question *q = mem_alloc(n * sizeof *q);
    size_t asked = 0;
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t word = digest_word(d + i);
        size_t s = first_slot(x, word);
        yes[i] = false;
        if (s < x->slots && x->slot[s].word == word)
            q[asked++] = (struct question){x->slot[s].block, word, i};
    }
    if (asked > 1)
        qsort(q, asked, sizeof *q, by_block);
    for (size_t i = 0, end; rc == 0 && i < asked; i = end) {
        for (end = i + 1; end < asked && q[end].block == q[i].block;)
            end++;
        rc = answer(x, q + i, end - i, d, yes, e);
    }
    /* Digests that share their first bytes with another one may be in a later block. */
    for (size_t i = 0; rc == 0 && i < asked; i++) {
        const struct entry *found;
        int hit = yes[q[i].i] ? 0 : index_find(x, d + q[i].i, 0, &found, e);
        if (hit > 0)
            yes[q[i].i] = true;
        rc = hit < 0 ? hit : 0;
    }
    free(q);
    return rc;
}
