/* What `ssh -G` prints, and the commands and files that are made of it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "link/ssh_config.h"

static void must(int truth)
{
    if (!truth)
        abort();
}

static const char *env(const char *name)
{
    return strcmp(name, "SET") == 0 ? "value" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ssh_config_self self = {"/home/u", "u", "m.example", 1000, env};
    struct ssh_config c;
    struct words w;
    struct err e = {0};
    ssh_config_defaults(&c, "host", &self);
    if (ssh_config_parse(&c, (const char *)data, size, &self, &e) < 0) {
        must(e.code == ERR_FORMAT && e.msg[0]);
    } else {
        must(c.port > 0 && c.port < 65536 && c.connect_timeout > 0 && c.hostname && c.user);
        if (ssh_config_proxy(&c, &self, &w, &e) < 0)
            must(e.code == ERR_CONF);
        else
            must((w.n > 0) == (c.proxy_jump || c.proxy_command));
        words_free(&w);
        for (size_t i = 0; i < c.identity.n; i++)
            free(ssh_config_expand(&c, &self, "~$%dhikLlnpru", c.identity.word[i]));
    }
    ssh_config_free(&c);
    char *text = mem_strndup(size ? (const char *)data : "", size);
    if (words_split(&w, text, &e) == 0)
        must(w.n > 0 && !w.word[w.n]);
    words_free(&w);
    free(text);
    return 0;
}
