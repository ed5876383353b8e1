#include "store/scan_list.h"

#include "base/mem.h"
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RAW_SIZE (256u << 10)
#define SMALL_SORT 12

void scan_list_free(struct scan_list *l)
{
    free(l->name);
    free(l->text);
    free(l->raw);
    *l = (struct scan_list){0};
}

struct scan_mark scan_list_mark(const struct scan_list *l)
{
    return (struct scan_mark){l->n, l->text_len};
}

void scan_list_pop(struct scan_list *l, struct scan_mark to)
{
    l->n = to.n;
    l->text_len = to.text_len;
}

static const char *name_of(const struct scan_list *l, const struct scan_name *s)
{
    return l->text + (s->where >> 16);
}

static size_t len_of(const struct scan_name *s)
{
    return s->where & 0xffff;
}

const char *scan_list_name(const struct scan_list *l, size_t i, size_t *len)
{
    *len = len_of(&l->name[i]);
    return name_of(l, &l->name[i]);
}

static void add(struct scan_list *l, const char *name, size_t len)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 256;
        l->name = mem_resize(l->name, l->cap, sizeof *l->name);
    }
    if (l->text_cap - l->text_len < len + 1) {
        l->text_cap = 2 * l->text_cap + len + 4096;
        l->text = mem_resize(l->text, l->text_cap, 1);
    }
    memcpy(l->text + l->text_len, name, len + 1);
    l->name[l->n++].where = (uint64_t)l->text_len << 16 | len;
    l->text_len += len + 1;
}

static int read_names(struct scan_list *l, int fd)
{
    if (!l->raw)
        l->raw = mem_alloc(RAW_SIZE);
    for (;;) {
        long got = syscall(SYS_getdents64, fd, l->raw, RAW_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 || errno == ENOENT ? 0 : -1;
        for (const char *p = l->raw, *end = p + got; p < end;) {
            const struct dirent64 *d = (const void *)p;
            size_t len = strlen(d->d_name);
            p += d->d_reclen;
            if (d->d_name[0] == '.' && (len == 1 || (len == 2 && d->d_name[1] == '.')))
                continue;
            add(l, d->d_name, len);
        }
    }
}

/* How many first bytes all names share; the NUL at the end of the shortest bounds it. */
static size_t common(const struct scan_list *l, const struct scan_name *s, size_t n)
{
    const char *first = name_of(l, s);
    size_t same = len_of(s);
    for (size_t i = 1; i < n; i++) {
        const char *p = name_of(l, &s[i]);
        size_t k = 0;
        while (k < same && p[k] == first[k])
            k++;
        same = k;
    }
    return same;
}

static void make_keys(const struct scan_list *l, struct scan_name *s, size_t n, size_t skip)
{
    for (size_t i = 0; i < n; i++) {
        size_t left = len_of(&s[i]) - skip;
        uint64_t key = 0;
        memcpy(&key, name_of(l, &s[i]) + skip, left < sizeof key ? left : sizeof key);
        s[i].key = __builtin_bswap64(key);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        s[i].key = key;
#endif
    }
}

/* Names hold no NUL, so a zero in the key can only be the end of a name. */
static int compare(const struct scan_list *l, const struct scan_name *a, const struct scan_name *b)
{
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->key & 0xff) == 0 ? 0 : strcmp(name_of(l, a), name_of(l, b));
}

/*
 * Merge sort: no directory makes it slow, and one that is in order already costs a single pass. tmp: room
 * for n / 2.
 */
static void sort(const struct scan_list *l, struct scan_name *s, size_t n, struct scan_name *tmp)
{
    if (n <= SMALL_SORT) {
        for (size_t i = 1; i < n; i++) {
            struct scan_name x = s[i];
            size_t k = i;
            for (; k > 0 && compare(l, &x, &s[k - 1]) < 0; k--)
                s[k] = s[k - 1];
            s[k] = x;
        }
        return;
    }
    size_t half = n / 2, from = half, to = 0, t = 0;
    sort(l, s, half, tmp);
    sort(l, s + half, n - half, tmp);
    if (compare(l, &s[half - 1], &s[half]) <= 0)
        return;
    memcpy(tmp, s, half * sizeof *s);
    while (t < half)
        if (from < n && compare(l, &s[from], &tmp[t]) < 0)
            s[to++] = s[from++];
        else
            s[to++] = tmp[t++];
}

/* A name comes twice where something is renamed while the directory is read. */
static size_t unique(const struct scan_list *l, struct scan_name *s, size_t n)
{
    size_t kept = n > 0;
    for (size_t i = 1; i < n; i++)
        if (compare(l, &s[kept - 1], &s[i]) != 0)
            s[kept++] = s[i];
    return kept;
}

int scan_list_push(struct scan_list *l, int fd)
{
    struct scan_mark was = scan_list_mark(l);
    if (read_names(l, fd) < 0) {
        int sys = errno;
        scan_list_pop(l, was);
        errno = sys;
        return -1;
    }
    size_t n = l->n - was.n;
    if (n < 2)
        return 0;
    struct scan_name *s = l->name + was.n;
    make_keys(l, s, n, common(l, s, n));
    struct scan_name small[64], *tmp = n / 2 <= 64 ? small : mem_alloc(n / 2 * sizeof *tmp);
    sort(l, s, n, tmp);
    if (tmp != small)
        free(tmp);
    l->n = was.n + unique(l, s, n);
    return 0;
}
