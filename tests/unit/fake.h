/* The vocabulary of a fake agent, which takes the place of a member's. */
#ifndef UNIT_FAKE_H
#define UNIT_FAKE_H

#include <string.h>
#include <unistd.h>

#include "wire/message.h"

static const struct uuid fake_id = {{0xfa, 0x4e}};

struct fake {
    struct wire_in in;
    struct wire_out out;
};

static inline void fake_open(struct fake *f, int fd)
{
    struct wire_greeting g;
    struct err e;
    wire_in_init(&f->in, fd);
    wire_out_init(&f->out, fd);
    wire_out_greeting(&f->out, 0);
    wire_out_flush(&f->out);
    while (wire_in_greeting(&f->in, &g, &e) == 0)
        if (wire_in_fill(&f->in) <= 0)
            _exit(3);
}

/* Sends what waits, and takes messages in until one of this type has come. */
static inline struct frame fake_await(struct fake *f, uint8_t type)
{
    struct frame m;
    struct err e;
    wire_out_flush(&f->out);
    for (;;) {
        int rc = wire_in_frame(&f->in, &m, &e);
        if (rc > 0 && m.type == type)
            return m;
        if (rc < 0 || (rc == 0 && wire_in_fill(&f->in) <= 0))
            _exit(3);
    }
}

/* It has a store that was in runs of this group; of none: "". */
static inline void fake_opened(struct fake *f, const char *group)
{
    struct message_opened m = {.flags = OPENED_EXISTS | OPENED_PARENT | (group[0] ? OPENED_MARKED : 0u), .caps = 7,
                               .group = group, .group_len = strlen(group), .id = fake_id};
    fake_await(f, MSG_OPEN);
    message_put_opened(&f->out, &m, NULL);
    wire_out_flush(&f->out);
}

static inline void fake_scanned(struct fake *f, const struct manifest_totals *t)
{
    struct message_scanned m = {.totals = *t};
    fake_await(f, MSG_SCAN);
    message_put_scanned(&f->out, &m);
    wire_out_flush(&f->out);
}

/* Until the coordinator has had enough of it. */
static inline int fake_end(struct fake *f)
{
    char bytes[4096];
    wire_out_flush(&f->out);
    while (read(f->in.fd, bytes, sizeof bytes) > 0)
        ;
    return 0;
}

#endif
