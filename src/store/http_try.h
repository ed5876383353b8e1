/* A request that is tried again, after a while, where that may help: the server is busy, restarts, or the network hiccups. */
#ifndef STORE_HTTP_TRY_H
#define STORE_HTTP_TRY_H

#include "store/http_client.h"

/* How the server has done so far. */
struct http_health {
    int64_t refused;   /* ms: since when requests have found no server; 0: the last one did */
    unsigned failed;   /* in a row, that failed though they were tried again: then it is not worth it any more */
};

struct http_try {
    struct http_client *client;
    struct http_health *health;
    struct http_ask ask;       /* with a path of its own */
    struct http_request *request;
    unsigned tries;
    int64_t again_at;          /* ms; 0: not waiting */
    bool once;                 /* not to be tried again */
    bool renewed;              /* it was: what came before is void. The caller resets it */
    bool over;
};

/* The ask's headers and body are borrowed until the end. */
void http_try_begin(struct http_try *t, struct http_client *c, struct http_health *h, const struct http_ask *ask);
void http_try_end(struct http_try *t);

/* Has an answer of success begun, that can be read from t->request? */
bool http_try_good(const struct http_try *t);

/*
 * To be called now and then, between turns. 1: a success has come whole; 0: it is under way, or waits; ERR_UNSUPPORTED:
 * the server answered, but with no success; ERR_PROTO: there is no server any more; ERR_CHANGED: no whole answer came.
 */
int http_try_step(struct http_try *t, struct err *e);

#endif
