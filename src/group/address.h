/* Where a member's store is: parsed from sos.conf or the command line. */
#ifndef GROUP_ADDRESS_H
#define GROUP_ADDRESS_H

#include "base/err.h"

enum address_kind { ADDRESS_LOCAL, ADDRESS_SSH, ADDRESS_HTTP, ADDRESS_HTTPS };

struct address {
    enum address_kind kind;
    char *text;     /* as written, trimmed */
    char *user;     /* ssh: or NULL */
    char *host;     /* ssh, http; an IPv6 address in its shortest spelling, without its
                       brackets; NULL for local */
    unsigned port;  /* 0: the default */
    char *path;     /* local: absolute or as written on the command line, no trailing '/' ("/" itself
                       stays); ssh: as the far end sees it, absolute, or "~" or "~/x" for the home directory;
                       http: "" or "/base", no trailing '/', percent-escapes left as they are */
};

/*
 * Accepts /path, file:///path, ssh://[user@]host[:port]/path, [user@]host:path, http(s)://host[:port][/base].
 * relative_ok: a relative local path is taken too (command line: "A", "./A"); "x:y" is then host:path unless
 * a '/' comes before the ':'.
 * A host, user or path that begins with '-' or holds a control character, and a host or user with characters
 * that mean something to a shell, are refused: they come to stand on other programs' command lines.
 * Percent-escapes are decoded in file:// and ssh:// paths only.
 * ERR_CONF with the reason, which need not repeat text; out is then empty.
 */
int address_parse(const char *text, int relative_ok, struct address *out, struct err *e);
void address_free(struct address *a);
/* Of an http or https address, however it was written: without the default port, and no '/' at the end. Caller frees. */
char *address_url(const struct address *a);
const char *address_kind_name(enum address_kind kind); /* "local", "ssh", "http", "https" */

#endif
