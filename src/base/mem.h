/*
 * Allocation that does not return NULL. Out of memory ends the process with
 * abort(): since a kill at any instant loses nothing, that is the honest answer.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t n);                          /* uninitialised */
void *mem_zalloc(size_t n);                         /* zeroed */
void *mem_resize(void *p, size_t count, size_t size); /* realloc with an overflow check */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);         /* adds the NUL */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
