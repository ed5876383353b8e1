/* Is the content of a recorded file what it should be? And if not: was it changed, or is it damaged? */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "store/content.h"

/*
 * Reads fd, which was opened at the path of have, an entry of the manifest. Only of what is as it was recorded, and has
 * no fresh times, can one say that it is damaged. 0; or what stopped it.
 */
int check_file(struct content *c, int fd, const struct entry *have, enum store_check *found, struct err *e);

#endif
