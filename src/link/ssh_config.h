/*
 * What ~/.ssh/config says of a host: asked of `ssh -G`, which knows all its rules, and put together
 * with what the caller wants instead.
 */
#ifndef LINK_SSH_CONFIG_H
#define LINK_SSH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "link/link.h"
#include "link/words.h"

enum ssh_family { SSH_FAMILY_ANY, SSH_FAMILY_INET, SSH_FAMILY_INET6 };

struct ssh_config {
    char *host;                   /* as asked for */
    char *hostname;               /* where to connect to */
    char *alias;                  /* HostKeyAlias; or NULL */
    char *user;
    unsigned port;
    struct words identity;        /* key files, with '~' and tokens still in them until ssh_config_expand */
    bool identities_only;
    struct words user_known_hosts, global_known_hosts;
    char *agent;                  /* socket of the agent; NULL: none */
    char *proxy_command;          /* or NULL */
    char *proxy_jump;             /* or NULL; goes before proxy_command */
    char *config_file;            /* for the ssh that a jump starts; or NULL */
    bool accept_new;
    bool hash_known_hosts;
    unsigned connect_timeout;     /* seconds */
    enum ssh_family family;
};

/* What the tokens of a setting stand for, beside %h %k %n %p %r that the settings say themselves. */
struct ssh_config_self {
    const char *home;                    /* %d and '~' */
    const char *login;                   /* %u */
    const char *machine;                 /* %l; %L up to its first dot */
    unsigned uid;                        /* %i */
    const char *(*env)(const char *name); /* ${NAME}; NULL when not set */
};

/* The settings of somebody without any configuration. */
void ssh_config_defaults(struct ssh_config *c, const char *host, const struct ssh_config_self *self);

/* Takes over what `ssh -G` printed; unknown lines are passed over. ERR_FORMAT for values that make no sense. */
int ssh_config_parse(struct ssh_config *c, const char *text, size_t len, const struct ssh_config_self *self,
                     struct err *e);

/*
 * Puts ~ and the tokens of allowed (a string of their letters; '~' and '$' for those) into text. Fresh memory; NULL
 * when there is a token that is not allowed or has no value.
 */
char *ssh_config_expand(const struct ssh_config *c, const struct ssh_config_self *self, const char *allowed,
                        const char *text);

/* The command that reaches the host through proxy_jump or proxy_command; no words where neither is set. */
int ssh_config_proxy(const struct ssh_config *c, const struct ssh_config_self *self, struct words *w, struct err *e);

/* All of the above for a remote: runs ssh where there is one. Afterwards every file name is expanded. */
int ssh_config_resolve(struct ssh_config *c, struct words *proxy, const struct link_remote *r, struct err *e);

void ssh_config_free(struct ssh_config *c);

#endif
