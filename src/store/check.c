#include "store/check.h"

#include "store/seen.h"

/* Is it still the very file? Another name that it may have is no excuse here for another ctime. */
static bool as_recorded(int fd, const struct entry *have)
{
    struct seen seen = seen_of(have);
    struct stat st;
    return fstat(fd, &st) == 0 && seen_is(&seen, &st, true) && clock_cmp(seen_place(&st).ctime, have->place.ctime) == 0;
}

int check_file(struct content *c, int fd, const struct entry *have, enum store_check *found, struct err *e)
{
    struct err why = {0};
    bool stopped = false;
    bool before = !have->place.racy && as_recorded(fd, have);
    int rc = content_verify(c, fd, have, &stopped, &why);
    if (stopped) {
        if (e)
            *e = why;
        return rc;
    }
    bool damaged = rc == ERR_CHANGED && before && as_recorded(fd, have);
    *found = rc == 0 ? STORE_CHECK_GOOD : damaged ? STORE_CHECK_DAMAGED : STORE_CHECK_CHANGED;
    return 0;
}
