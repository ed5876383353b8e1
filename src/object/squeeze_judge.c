#include "object/squeeze.h"

#define MS 1000000
#define STRETCH_NS (100 * MS)
#define STRETCH_BYTES (128u << 10)
#define LONG_NS (500 * MS)
#define FULL_NS (2 * MS)           /* of waiting: the buffers on the way are full, now it can be measured */
#define TRIAL_BYTES (256u << 10)
#define HOLD_MIN_NS (500 * MS)     /* after a failed trial; doubled each time */
#define HOLD_MAX_NS ((int64_t)8000 * MS)
#define RAW_AGAIN_NS ((int64_t)5000 * MS) /* so often a squeezed channel that never waits tries without */
#define SHRINKS 0.9                /* of the size, or the time: less is no gain worth the work */
#define NO_FASTER 0.95             /* of the raw time; a gain of which that little is left was none */
#define SLOW_MAX 2                 /* such stretches one after the other: a single one may be the machine's, busy with something else */
#define LINK_BOUND 0.25            /* share of the time that was waited */
#define WORK_BOUND 0.1

static void begin(struct squeeze_judge *j, struct squeeze_time at)
{
    j->from = at;
    j->raw = j->wire = 0;
    j->work = 0;
}

static void enter(struct squeeze_judge *j, enum squeeze_state state, struct squeeze_time at)
{
    j->state = state;
    j->stretches = j->slow = 0;
    j->last_ns = 0;
    begin(j, at);
}

static void give_up(struct squeeze_judge *j, struct squeeze_time at)
{
    if (j->hold == 0)
        j->hold = HOLD_MIN_NS;
    j->until = at.now + j->hold;
    j->hold = j->hold < HOLD_MAX_NS / 2 ? j->hold * 2 : HOLD_MAX_NS;
    enter(j, SQUEEZE_RAW, at);
}

static double share_waited(const struct squeeze_judge *j, struct squeeze_time at)
{
    return (double)(at.waited - j->from.waited) / (double)(at.now - j->from.now);
}

static double shrunk_to(const struct squeeze_judge *j)
{
    return (double)j->wire / (double)j->raw;
}

/* A window that grows lets a short stretch seem fast, once: the slower one of two counts. */
static void after_raw(struct squeeze_judge *j, struct squeeze_time at)
{
    double waited = share_waited(j, at), ns = (double)(at.now - j->from.now) / (double)j->raw;
    bool sure = j->stretches++ > 0 || at.now - j->from.now >= LONG_NS;
    j->raw_ns = ns > j->last_ns ? ns : j->last_ns;
    j->last_ns = ns;
    j->own_ns = ns * (1 - waited);
    if (sure && waited >= LINK_BOUND && at.now >= j->until)
        enter(j, SQUEEZE_TRIAL, at);
    else
        begin(j, at);
}

static void after_trial(struct squeeze_judge *j, struct squeeze_time at)
{
    double work = j->own_ns + (double)j->work / (double)j->raw;
    double link = j->raw_ns * shrunk_to(j);
    if (shrunk_to(j) > SHRINKS || (work > link ? work : link) > SHRINKS * j->raw_ns) {
        give_up(j, at);
        return;
    }
    j->until = at.now + RAW_AGAIN_NS;
    enter(j, SQUEEZE_PACKED, at);
}

static void after_packed(struct squeeze_judge *j, struct squeeze_time at)
{
    double ns = (double)(at.now - j->from.now) / (double)j->raw;
    /* The first stretch is paid with credit for what went raw: only those after it show the gain. */
    bool settled = ++j->stretches > 1, slow = settled && ns > NO_FASTER * j->raw_ns;
    j->slow = slow ? j->slow + 1 : 0;
    if (shrunk_to(j) > SHRINKS || j->slow == SLOW_MAX) {
        give_up(j, at);
    } else if (share_waited(j, at) < WORK_BOUND && at.now >= j->until) {
        j->until = at.now; /* if the link is still slow, back at once */
        enter(j, SQUEEZE_RAW, at);
    } else {
        if (at.now >= j->until)
            j->hold = HOLD_MIN_NS; /* it has proved itself */
        begin(j, at);
    }
}

static bool over(const struct squeeze_judge *j, struct squeeze_time at)
{
    if (j->state == SQUEEZE_TRIAL)
        return j->raw >= TRIAL_BYTES;
    return j->raw >= STRETCH_BYTES && at.now - j->from.now >= STRETCH_NS;
}

void squeeze_judge_look(struct squeeze_judge *j, struct squeeze_time at)
{
    if (!j->told) {
        begin(j, at);
        j->told = true;
    }
    /* What the buffers on the way swallow at first says nothing about the link. */
    if (!j->started) {
        if (at.waited - j->from.waited < FULL_NS)
            return;
        j->started = true;
        begin(j, at);
    }
    if (!over(j, at))
        return;
    if (j->state == SQUEEZE_RAW)
        after_raw(j, at);
    else if (j->state == SQUEEZE_TRIAL)
        after_trial(j, at);
    else
        after_packed(j, at);
}

void squeeze_judge_piece(struct squeeze_judge *j, size_t raw, size_t wire, int64_t work_ns)
{
    j->raw += raw;
    j->wire += wire;
    j->work += work_ns;
}
