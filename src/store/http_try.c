#include "store/http_try.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 4u
#define WAIT_FIRST_MS 200
#define WAIT_MOST_MS 20000
#define GONE_MS 5000   /* without a connection: then the server is taken for gone */
#define FAILED_MOST 8u
#define WORDS_MOST 80u /* bytes */

void http_try_begin(struct http_try *t, struct http_client *c, struct http_health *h, const struct http_ask *ask)
{
    *t = (struct http_try){.client = c, .health = h, .ask = *ask};
    t->ask.path = mem_strdup(ask->path);
    t->once = ask->stream;
    t->request = http_request_new(c, &t->ask);
}

void http_try_end(struct http_try *t)
{
    http_request_free(t->request);
    free((char *)t->ask.path);
    *t = (struct http_try){0};
}

static bool is_success(int status)
{
    return status >= 200 && status < 300;
}

bool http_try_good(const struct http_try *t)
{
    return t->request && http_request_begun(t->request) && is_success(http_request_status(t->request));
}

/* A refusal for good is one that the same request would get again. */
static bool may_pass(int status)
{
    return status >= 500 || status == 408 || status == 425 || status == 429;
}

static void wait_a_while(struct http_try *t)
{
    int64_t wait = WAIT_FIRST_MS << t->tries;
    int64_t asked = 1000 * (int64_t)http_request_retry_after(t->request);
    if (asked > wait)
        wait = asked;
    t->again_at = clock_mono_ms() + (wait < WAIT_MOST_MS ? wait : WAIT_MOST_MS);
    t->tries++;
    http_request_free(t->request);
    t->request = NULL;
}

static int failed(struct http_try *t, bool worth, bool refused, int code, struct err *e)
{
    bool asked_to_wait = http_request_retry_after(t->request) > 0;
    int64_t now = clock_mono_ms();
    t->health->refused = !refused ? 0 : t->health->refused ? t->health->refused : now;
    if (refused && now - t->health->refused >= GONE_MS)
        code = ERR_PROTO;
    else if (worth && !t->once && t->tries + 1 < TRIES && (t->health->failed < FAILED_MOST || asked_to_wait)) {
        wait_a_while(t);
        return 0;
    }
    t->health->failed++;
    t->over = true;
    if (e)
        e->code = code;
    return code;
}

/* What the page says in so many words, where it is one line and no markup. */
static void add_words(const struct http_request *r, struct err *e)
{
    size_t n, len = 0;
    const char *p = (const char *)http_request_body(r, &n);
    while (len < n && p[len] >= ' ' && p[len] <= '~')
        len++;
    size_t used = strlen(e->msg);
    if (len > 0 && len <= WORDS_MOST && p[0] != '<' && (len == n || p[len] == '\n' || p[len] == '\r'))
        snprintf(e->msg + used, sizeof e->msg - used, " (%.*s)", (int)len, p);
}

static int answered(struct http_try *t, struct err *e)
{
    bool refused;
    char text[64];
    int rc = http_request_failed(t->request, &refused, e);
    if (rc < 0)
        return failed(t, true, refused, ERR_CHANGED, e);
    int status = http_request_status(t->request);
    if (is_success(status)) {
        *t->health = (struct http_health){0};
        t->over = true;
        return 1;
    }
    err_set(e, ERR_UNSUPPORTED, "the server answered %s", http_status_text(status, text, sizeof text));
    const char *to = http_request_location(t->request);
    if (*to)
        err_set(e, ERR_UNSUPPORTED, "the server answered %s, to %s: redirections are not followed, write the address where it is",
                http_status_text(status, text, sizeof text), to);
    else
        add_words(t->request, e);
    return failed(t, may_pass(status), false, ERR_UNSUPPORTED, e);
}

int http_try_step(struct http_try *t, struct err *e)
{
    if (t->over)
        return 1;
    if (!t->request && clock_mono_ms() < t->again_at)
        return 0;
    if (!t->request) {
        t->request = http_request_new(t->client, &t->ask);
        t->renewed = true;
    }
    return http_request_over(t->request) ? answered(t, e) : 0;
}
