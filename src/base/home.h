/* Where this user's programs keep what is theirs. */
#ifndef BASE_HOME_H
#define BASE_HOME_H

/*
 * Our directory in the one that the variable names (XDG_CACHE_HOME, say), else in the usual one below the home directory
 * (".cache"). NULL when there is neither; the caller frees.
 */
char *home_place(const char *variable, const char *usual);

#endif
