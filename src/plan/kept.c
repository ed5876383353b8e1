#include "plan/kept.h"

#include "base/mem.h"
#include "base/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK ".conflict-"
#define MAKER_MAX 32u /* bytes of a member's name that go into a path */
#define EXT_MAX 16u   /* a longer one is none */

/* ---- names ---- */

/* Of a path or a host's path the last part, of all names what can stand in any file's. */
static void clean(char out[MAKER_MAX + 1], const char *maker)
{
    const char *slash = strrchr(maker, '/');
    const char *from = slash && slash[1] ? slash + 1 : maker;
    size_t n = 0;
    for (; *from && n < MAKER_MAX; from++) {
        bool plain = (*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z') ||
                     (*from >= '0' && *from <= '9') || *from == '_' || *from == '-';
        out[n++] = plain ? *from : '_';
    }
    out[n] = '\0';
}

/* Bytes of the leaf that come before its extension. */
static size_t stem(const char *leaf, size_t len)
{
    const char *dot = memrchr(leaf, '.', len);
    size_t n = dot ? (size_t)(dot - leaf) : 0;
    return n == 0 || len - n > EXT_MAX ? len : n;
}

/* Not in the middle of a character. */
static size_t cut(const char *text, size_t n)
{
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

char *kept_name(const char *path, size_t len, const struct digest *content, const char *maker)
{
    char who[MAKER_MAX + 1], mark[sizeof MARK + 8 + 1 + MAKER_MAX + 1];
    size_t dir = path_parent(path, len);
    const char *leaf = dir ? path + dir + 1 : path;
    size_t leaf_len = len - (size_t)(leaf - path), keep = stem(leaf, leaf_len), ext = leaf_len - keep;
    clean(who, maker);
    snprintf(mark, sizeof mark, MARK "%02x%02x%02x%02x-%s", content->b[0], content->b[1], content->b[2], content->b[3], who);
    size_t room = NAME_LEN_MAX - strlen(mark) - ext;
    if (keep > room)
        keep = cut(leaf, room);
    if ((size_t)(leaf - path) + keep + strlen(mark) + ext > PATH_LEN_MAX)
        return NULL;
    return mem_printf("%.*s%.*s%s%.*s", (int)(leaf - path), path, (int)keep, leaf, mark, (int)ext,
                      leaf + leaf_len - ext);
}

/* ---- what is there ---- */

void kept_names_see(struct kept_names *s, const char *path, size_t len)
{
    size_t dir = path_parent(path, len);
    if (!memmem(path + dir, len - dir, MARK, sizeof MARK - 1))
        return;
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 16;
        s->path = mem_resize(s->path, s->cap, sizeof *s->path);
    }
    s->path[s->n++] = mem_strndup(path, len);
}

static int compare_paths(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return path_cmp(x, strlen(x), y, strlen(y));
}

bool kept_names_seen(const struct kept_names *s, const char *path)
{
    return s->n && bsearch(&path, s->path, s->n, sizeof *s->path, compare_paths);
}

void kept_names_free(struct kept_names *s)
{
    while (s->n)
        free(s->path[--s->n]);
    free(s->path);
    *s = (struct kept_names){0};
}

/* ---- what is kept ---- */

/* Who made the edit: a member whose changes the winner had not seen. */
static const struct uuid *maker_of(const struct entry *loser, const struct entry *winner)
{
    const struct version *v = &loser->version;
    for (uint32_t i = 0; i < v->n; i++)
        if (v->item[i].count > version_count(&winner->version, &v->item[i].who))
            return &v->item[i].who;
    return &loser->origin;
}

/* Of the losers with this one's content the last version, so that it is kept with the time and mode that it was given last. */
static unsigned latest_alike(const struct merge_row *row, const struct verdict *v, unsigned loser)
{
    unsigned best = loser;
    for (unsigned i = loser + 1; i < row->members; i++)
        if (v->losers >> i & 1 && entry_same_content(row->at[i], row->at[loser]) &&
            version_compare(&row->at[i]->version, &row->at[best]->version) == VERSION_AFTER)
            best = i;
    return best;
}

static void take_one(struct kept *k, const struct merge_row *row, const struct verdict *v, unsigned loser,
                     const char *maker)
{
    char *path = kept_name(row->path, row->path_len, &row->at[loser]->digest, maker);
    if (!path)
        return;
    k->item = mem_resize(k->item, k->n + 1, sizeof *k->item);
    struct kept_item *it = &k->item[k->n++];
    *it = (struct kept_item){.path = path, .from = mem_strndup(row->path, row->path_len), .present = v->present};
    entry_copy(&it->entry, row->at[latest_alike(row, v, loser)]);
    it->entry.flags = 0;
    it->entry.holders.n = 0; /* of the old name */
    it->entry.place = (struct entry_place){0};
    for (unsigned i = loser; i < row->members; i++)
        if (v->losers >> i & 1 && entry_same_content(row->at[i], row->at[loser])) {
            it->holders |= (uint64_t)1 << i;
            it->unlike |= entry_same_meta(row->at[i], &it->entry) ? 0 : (uint64_t)1 << i;
            version_join(&it->entry.version, &row->at[i]->version); /* where it does not fit, a part of it will do */
        }
}

void kept_take(struct kept *k, const struct merge_row *row, const struct verdict *v, bool below,
               const char *(*name_of)(void *ctx, const struct uuid *who), void *ctx)
{
    const struct entry *winner = row->at[v->top];
    uint64_t taken = 0;
    for (unsigned i = 0; i < row->members; i++) {
        if (!(v->losers >> i & 1) || taken >> i & 1 || row->at[i]->kind == ENTRY_DIR)
            continue;
        size_t n = k->n;
        take_one(k, row, v, i, name_of(ctx, maker_of(row->at[i], winner)));
        if (k->n > n) {
            taken |= k->item[n].holders;
            k->item[n].below = below;
        }
    }
}

void kept_move(struct kept *to, struct kept *from)
{
    if (from->n == 0)
        return;
    to->item = mem_resize(to->item, to->n + from->n, sizeof *to->item);
    memcpy(to->item + to->n, from->item, from->n * sizeof *from->item);
    to->n += from->n;
    free(from->item);
    *from = (struct kept){0};
}

static int compare_items(const void *a, const void *b)
{
    const struct kept_item *x = a, *y = b;
    return compare_paths(&x->path, &y->path);
}

void kept_sort(struct kept *k)
{
    if (k->n > 1)
        qsort(k->item, k->n, sizeof *k->item, compare_items);
}

bool kept_verdict(const struct kept *k, size_t i, unsigned members, struct verdict *v)
{
    const struct kept_item *it = &k->item[i];
    if (i > 0 && strcmp(k->item[i - 1].path, it->path) == 0)
        return false;
    v->row = NULL;
    v->skip = v->lost = v->conflict = false;
    v->losers = v->had = 0;
    v->holders = it->holders;
    v->unlike = it->unlike;
    v->present = it->present;
    entry_copy(&v->winner, &it->entry);
    v->winner.path = it->path;
    v->winner.path_len = strlen(it->path);
    for (unsigned m = 0; m < members; m++) {
        bool wants = it->present >> m & 1;
        v->need[m] = wants ? NEED_CONTENT : NEED_NOTHING;
        v->reason[m] = wants ? REASON_KEPT : REASON_NONE;
        v->basis[m] = 0;
    }
    return true;
}

void kept_free(struct kept *k)
{
    for (size_t i = 0; i < k->n; i++) {
        free(k->item[i].path);
        free(k->item[i].from);
    }
    free(k->item);
    *k = (struct kept){0};
}
