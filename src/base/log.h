/*
 * Messages for people, on standard error. The sink escapes what a terminal might
 * act upon (path_show's rules), so names can be handed in as they are.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_QUIET, LOG_NORMAL, LOG_VERBOSE };

/* The one place that knows how loud we are; who is "sos-sync", or "sos-sync agent". */
void log_setup(const char *who, enum log_level level);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* always shown */
void log_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* from LOG_NORMAL */

/* Called before each line is written, so that a progress display can get out of the way. NULL: none. */
void log_before(void (*clear)(void *ctx), void *ctx);

#endif
