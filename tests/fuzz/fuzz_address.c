/* The first byte says whether relative paths are allowed; the rest is the address. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "group/address.h"

static void must(int truth)
{
    if (!truth)
        abort();
}

static void check_word(const char *s)
{
    if (s)
        must(*s && *s != '-' && strpbrk(s, " \t\n;&|<>()$`\\\"'*?[]#~!{}/") == NULL);
}

static void check(const struct address *a, int relative_ok)
{
    must(a->text && a->path && a->port <= 65535);
    check_word(a->user);
    check_word(a->host);
    for (const char *p = a->path; *p; p++)
        must((unsigned char)*p >= 0x20 && *p != 0x7f);
    size_t n = strlen(a->path);
    must(n < 2 || a->path[n - 1] != '/');
    must((a->host != NULL) == (a->kind != ADDRESS_LOCAL));
    if (a->kind == ADDRESS_LOCAL)
        must(a->path[0] == '/' || (relative_ok && *a->path && *a->path != '-'));
    else if (a->kind == ADDRESS_SSH)
        must(a->path[0] == '/' || strcmp(a->path, "~") == 0 || strncmp(a->path, "~/", 2) == 0);
    else
        must(!a->user && (a->path[0] == '\0' || (a->path[0] == '/' && n > 1)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    int relative_ok = data[0] & 1;
    char *text = mem_strndup((const char *)data + 1, size - 1);
    struct address a, again;
    struct err e = {0};
    if (address_parse(text, relative_ok, &a, &e) < 0) {
        must(e.code == ERR_CONF && e.msg[0] && !a.text && !a.user && !a.host && !a.path);
    } else {
        check(&a, relative_ok);
        must(address_parse(a.text, relative_ok, &again, NULL) == 0 && strcmp(a.path, again.path) == 0);
        address_free(&again);
    }
    address_free(&a);
    free(text);
    return 0;
}
