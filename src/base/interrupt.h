/* The signal flag: SIGINT, SIGTERM and SIGHUP ask for an orderly end; SIGPIPE is ignored. */
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

void interrupt_install(void);
int interrupt_pending(void); /* the signal's number, 0 when there was none */

#endif
