#include "store/seen.h"

struct seen seen_of(const struct entry *e)
{
    if (!e)
        return (struct seen){0};
    return (struct seen){e->kind, e->size, e->mtime, e->place};
}

struct stamp seen_mtime(const struct stat *st)
{
    return (struct stamp){st->st_mtim.tv_sec, (uint32_t)st->st_mtim.tv_nsec};
}

struct entry_place seen_place(const struct stat *st)
{
    return (struct entry_place){
        .dev = st->st_dev,
        .ino = st->st_ino,
        .ctime = {st->st_ctim.tv_sec, (uint32_t)st->st_ctim.tv_nsec},
    };
}

bool seen_is(const struct seen *s, const struct stat *st, bool ctime)
{
    struct entry_place now = seen_place(st);
    if (s->kind == ENTRY_DIR)
        return S_ISDIR(st->st_mode);
    if (s->kind == ENTRY_FILE ? !S_ISREG(st->st_mode) : s->kind != ENTRY_LINK || !S_ISLNK(st->st_mode))
        return false;
    return s->size == (uint64_t)st->st_size && clock_kept(s->mtime, seen_mtime(st)) &&
           s->place.ino == now.ino && s->place.dev == now.dev &&
           (!ctime || st->st_nlink > 1 || clock_cmp(s->place.ctime, now.ctime) == 0);
}
