/*
 * What the agents of a test live through: another clock, another ctime, a call that fails, a kill. The program that
 * includes this is linked with --wrap for each of the calls (see HOOKED in the Makefile), and agents are forked by
 * sos_sync() in this very process, so that they inherit what is set here. Only agents are touched, by their root.
 */
#ifndef MODEL_HOOKS_H
#define MODEL_HOOKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/clock.h"

#define HOOKS_AGENTS 5u

enum hooks_fault {
    HOOKS_NONE,
    HOOKS_EIO,
    HOOKS_ENOSPC,
    HOOKS_KILL,     /* the agent dies there */
    HOOKS_KILL_RUN, /* the coordinator dies there, and so all of the run */
};

struct hooks_agent {
    char root[512];         /* as its address has it; "": none */
    int64_t ahead;          /* seconds by which its machine's clock is ahead of the world's */
    enum hooks_fault fault;
    uint64_t at;            /* the call that the fault is for, from 1; 0: none */
};

/* May be written to between runs. */
extern struct hooks_agent hooks_agent[HOOKS_AGENTS];

/* dir: where the stores will be. Once, before all else; forgets all time that was made to pass. */
void hooks_init(const char *dir);
/* How many changing calls this agent made since the last hooks_reset_calls. Sockets do not count. */
uint64_t hooks_calls(unsigned agent);
/* What the n-th of them was (the last one in place n): a name of a system call, or "" */
const char *hooks_call_name(void);
void hooks_reset_calls(void);

/*
 * The world's time runs as the real one, but for jumps. ctimes of files are seen by the agents as the world's time at
 * which they were made, so that a jump makes all that was written before it old.
 */
void hooks_jump(int64_t seconds);
/* From now on whoever drives runs in this process has a clock that is so far ahead of the world's. */
void hooks_drive(int64_t ahead);
struct stamp hooks_now(int64_t ahead);
struct stamp hooks_ctime(const struct stat *st, int64_t ahead); /* as an agent with that clock sees it */

/* A change of this file that left no trace: from now on agents see the ctime that it had before. */
void hooks_hide_change(const struct stat *before, const struct stat *after);

#endif
