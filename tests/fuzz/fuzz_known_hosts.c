/* known_hosts files: first line of the input is the host to look up, the rest is the file. Also key files. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "link/keyfile.h"
#include "link/known_hosts.h"

static void must(int truth)
{
    if (!truth)
        abort();
}

static void check(const struct known_hosts *k)
{
    struct buf types = {0};
    known_hosts_types(k, &types);
    for (size_t i = 0; i < k->lines; i++) {
        const struct known_hosts_line *l = &k->line[i], *why;
        enum known_hosts_answer a = known_hosts_judge(k, l->type, l->blob.data, l->blob.len, &why);
        must(a == KNOWN_HOSTS_FOUND || a == KNOWN_HOSTS_REVOKED);
        must(why != NULL);
        if (l->revoked)
            must(a == KNOWN_HOSTS_REVOKED);
        else
            must(types.len > 0);
        must(l->line > 0 && (i == 0 || l->line > k->line[i - 1].line));
    }
    must(known_hosts_judge(k, "none", (const uint8_t *)"", 0, NULL) != KNOWN_HOSTS_FOUND);
    buf_free(&types);
}

/* What we write down, we find again. */
static void write_and_find(const struct known_hosts *k, const char *host, unsigned port, bool hashed)
{
    static const uint8_t blob[] = "\0\0\0\13ssh-ed25519\0\0\0\1x";
    struct buf line = {0};
    struct known_hosts again;
    must(known_hosts_format(k, hashed, "ssh-ed25519", blob, sizeof blob - 1, &line, NULL) == 0);
    known_hosts_init(&again, host, port);
    known_hosts_parse(&again, "f", (const char *)line.data, line.len);
    if (hashed || !host[strcspn(host, " \t\r\n,*?!#|@")])
        must(!host[0] || known_hosts_judge(&again, "ssh-ed25519", blob, sizeof blob - 1, NULL) == KNOWN_HOSTS_FOUND);
    known_hosts_free(&again);
    buf_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned ports[] = {22, 2222};
    const char *text = (const char *)data;
    const char *newline = size ? memchr(text, '\n', size) : NULL;
    size_t n = newline ? (size_t)(newline - text) : 0;
    char *host = mem_strndup(text ? text : "", n);
    struct keyfile key;
    for (size_t i = 0; newline && i < 2; i++) {
        struct known_hosts k;
        known_hosts_init(&k, host, ports[i]);
        known_hosts_parse(&k, "f", newline + 1, size - n - 1);
        check(&k);
        write_and_find(&k, host, ports[i], i == 1);
        known_hosts_free(&k);
    }
    if (size && keyfile_parse(&key, text, size) == 0)
        must(key.secret || key.blob.len > 0);
    if (size)
        keyfile_free(&key);
    free(host);
    return 0;
}
