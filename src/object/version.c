#include "object/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int uuid_cmp(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b);
}

/* A step of a walk over two sorted vectors: <0 when the next item is of a, >0 when of b, 0 when of both. */
static int next_of(const struct version *a, uint32_t i, const struct version *b, uint32_t k)
{
    if (i == a->n)
        return 1;
    if (k == b->n)
        return -1;
    return uuid_cmp(&a->item[i].who, &b->item[k].who);
}

enum version_order version_compare(const struct version *a, const struct version *b)
{
    bool less = false, more = false;
    for (uint32_t i = 0, k = 0; i < a->n || k < b->n;) {
        int c = next_of(a, i, b, k);
        uint64_t x = c <= 0 ? a->item[i++].count : 0;
        uint64_t y = c >= 0 ? b->item[k++].count : 0;
        less |= x < y;
        more |= x > y;
    }
    if (less)
        return more ? VERSION_CONCURRENT : VERSION_BEFORE;
    return more ? VERSION_AFTER : VERSION_EQUAL;
}

bool version_same(const struct version *a, const struct version *b)
{
    return a->n == b->n && memcmp(a->item, b->item, a->n * sizeof a->item[0]) == 0;
}

bool version_valid(const struct version *v)
{
    if (v->n > VERSION_MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < v->n; i++)
        if (v->item[i].count == 0 || (i ? uuid_cmp(&v->item[i - 1].who, &v->item[i].who) >= 0
                                        : uuid_none(&v->item[i].who)))
            return false; /* none is all zero, so that only the first of a sorted vector could be it */
    return true;
}

/* Where who stands, or would have to be put. */
static uint32_t place_of(const struct version *v, const struct uuid *who, bool *found)
{
    uint32_t at = 0;
    int c = -1;
    while (at < v->n && (c = uuid_cmp(&v->item[at].who, who)) < 0)
        at++;
    *found = at < v->n && c == 0;
    return at;
}

uint64_t version_count(const struct version *v, const struct uuid *who)
{
    bool found;
    uint32_t at = place_of(v, who, &found);
    return found ? v->item[at].count : 0;
}

void version_copy(struct version *to, const struct version *from)
{
    to->n = from->n;
    memmove(to->item, from->item, from->n * sizeof from->item[0]);
}

int version_set(struct version *v, const struct uuid *who, uint64_t count)
{
    bool found;
    uint32_t at = place_of(v, who, &found);
    struct version_item *item = v->item + at;
    size_t behind = v->n - at;
    if (found && count == 0) {
        memmove(item, item + 1, (behind - 1) * sizeof *item);
        v->n--;
    } else if (found) {
        item->count = count;
    } else if (count) {
        if (v->n == VERSION_MEMBERS_MAX)
            return -1;
        memmove(item + 1, item, behind * sizeof *item);
        *item = (struct version_item){*who, count};
        v->n++;
    }
    return 0;
}

static uint32_t join_size(const struct version *a, const struct version *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0, k = 0; i < a->n || k < b->n; n++) {
        int c = next_of(a, i, b, k);
        i += c <= 0;
        k += c >= 0;
    }
    return n;
}

int version_join(struct version *into, const struct version *other)
{
    uint32_t n = join_size(into, other), i = into->n, k = other->n;
    if (n > VERSION_MEMBERS_MAX)
        return -1;
    into->n = n;
    /* From the back, so that nothing is overwritten before it was read: n >= i holds throughout. */
    while (k > 0) {
        int c = i > 0 ? uuid_cmp(&into->item[i - 1].who, &other->item[k - 1].who) : -1;
        struct version_item item = c >= 0 ? into->item[--i] : other->item[k - 1];
        if (c <= 0 && other->item[--k].count > item.count)
            item.count = other->item[k].count;
        into->item[--n] = item;
    }
    return 0;
}

void uuid_random(struct uuid *out)
{
    size_t got = 0;
    while (got < sizeof out->b) {
        ssize_t n = getrandom(out->b + got, sizeof out->b - got, 0);
        if (n > 0)
            got += (size_t)n;
        else if (errno != EINTR)
            abort(); /* two stores with one identity would be worse */
    }
    out->b[6] = (uint8_t)((out->b[6] & 0x0f) | 0x40);
    out->b[8] = (uint8_t)((out->b[8] & 0x3f) | 0x80);
}

bool uuid_none(const struct uuid *u)
{
    static const struct uuid none;
    return uuid_same(u, &none);
}

bool uuid_same(const struct uuid *a, const struct uuid *b)
{
    return uuid_cmp(a, b) == 0;
}

/* Is there a dash before byte i of the text form? */
static bool dash_before(size_t i)
{
    return i == 4 || i == 6 || i == 8 || i == 10;
}

char *uuid_text(char out[37], const struct uuid *u)
{
    char *p = out;
    for (size_t i = 0; i < sizeof u->b; i++) {
        if (dash_before(i))
            *p++ = '-';
        snprintf(p, 3, "%02x", u->b[i]);
        p += 2;
    }
    return out;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool uuid_parse(const char *text, struct uuid *out)
{
    struct uuid u;
    for (size_t i = 0; i < sizeof u.b; i++) {
        if (dash_before(i) && *text++ != '-')
            return false;
        int high = hex_value(text[0]);
        int low = high < 0 ? -1 : hex_value(text[1]);
        if (low < 0)
            return false;
        u.b[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text)
        return false;
    *out = u;
    return true;
}
