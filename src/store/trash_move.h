/* The way into the trash and out of it. */
#ifndef STORE_TRASH_MOVE_H
#define STORE_TRASH_MOVE_H

/*
 * A file or symlink gets this name, where nothing may be: 0, or -1 with EEXIST or another errno. Across file systems (a
 * subvolume of its own in the store) it is copied, compared, and only then removed.
 */
int trash_move(int from_dir, const char *from, int dir, const char *name);

#endif
