#include "group/policy_xml.h"

#include "base/mem.h"
#include "base/path.h"
#include "base/num.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE '\n' /* between a namespace and a name; no URI holds it */
#define NODES_MAX 4096u
#define NODE_LEN_MAX 4096u

enum where { OUTSIDE, IN_POLICY, IN_PREFERRED, IN_BLOCKED, DONE };

struct reader {
    XML_Parser parser;
    struct policy_xml *x;
    enum where where;
    struct buf text; /* of the element that is being read */
    int rc;
    struct err *e;
};

static void stop(struct reader *r, const char *why, const char *what)
{
    if (r->rc < 0)
        return;
    r->rc = err_set(r->e, ERR_FORMAT, "line %lu: %s%.200s", XML_GetCurrentLineNumber(r->parser), why, what);
    XML_StopParser(r->parser, XML_FALSE);
}

/* The name without its namespace; NULL when that is somebody else's. */
static const char *local(const char *name)
{
    static const char ours[] = "http://ns.dataone.org/service/types/";
    const char *at = strchr(name, SPACE);
    if (!at)
        return name;
    return strncmp(name, ours, sizeof ours - 1) == 0 ? at + 1 : NULL;
}

static void take_attribute(struct reader *r, const char *name, const char *value)
{
    struct policy_xml *x = r->x;
    bool yes = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    if (strcmp(name, "replicationAllowed") == 0) {
        if (!yes && strcmp(value, "false") != 0 && strcmp(value, "0") != 0)
            stop(r, "replicationAllowed is true or false, not ", value);
        x->allowed = yes;
    } else if (strcmp(name, "numberReplicas") == 0) {
        if (num_u64(value, INT32_MAX, &x->replicas, NULL) < 0)
            stop(r, "numberReplicas is a number, not ", value);
    } else if (!strchr(name, SPACE)) { /* those with a namespace are not about us: xsi:schemaLocation */
        stop(r, "a replicationPolicy has no attribute ", name);
    }
}

static void XMLCALL on_start(void *ctx, const char *name, const char **attribute)
{
    struct reader *r = ctx;
    const char *word = local(name);
    if (r->where == OUTSIDE && word && strcmp(word, "replicationPolicy") == 0) {
        r->where = IN_POLICY;
        for (; *attribute; attribute += 2)
            take_attribute(r, attribute[0], attribute[1]);
    } else if (r->where == IN_POLICY && word && strcmp(word, "preferredMemberNode") == 0) {
        r->where = IN_PREFERRED;
        r->text.len = 0;
    } else if (r->where == IN_POLICY && word && strcmp(word, "blockedMemberNode") == 0) {
        r->where = IN_BLOCKED;
        r->text.len = 0;
    } else {
        const char *at = strchr(name, SPACE);
        stop(r,
             r->where == OUTSIDE ? "the document is not a replicationPolicy, but a " : "not expected here: ",
             at ? at + 1 : name);
    }
}

static void XMLCALL on_text(void *ctx, const char *p, int n)
{
    struct reader *r = ctx;
    if (r->where == IN_PREFERRED || r->where == IN_BLOCKED) {
        buf_put(&r->text, p, (size_t)n);
        if (r->text.len > NODE_LEN_MAX)
            stop(r, "the name of a node is too long", "");
        return;
    }
    for (int i = 0; i < n; i++)
        if (!strchr(" \t\r\n", p[i]))
            return stop(r, "text that belongs to no node", "");
}

static void add_node(struct reader *r, char ***list, size_t *n)
{
    const char *p = (const char *)r->text.data;
    size_t len = r->text.len;
    while (len && strchr(" \t\r\n", p[0])) {
        p++;
        len--;
    }
    while (len && strchr(" \t\r\n", p[len - 1]))
        len--;
    if (len == 0 || *n == NODES_MAX)
        return stop(r, len ? "too many nodes" : "a node without a name", "");
    *list = mem_resize(*list, *n + 1, sizeof **list);
    (*list)[(*n)++] = mem_strndup(p, len);
}

static void XMLCALL on_end(void *ctx, const char *name)
{
    struct reader *r = ctx;
    (void)name;
    if (r->where == IN_PREFERRED)
        add_node(r, &r->x->preferred, &r->x->npreferred);
    else if (r->where == IN_BLOCKED)
        add_node(r, &r->x->blocked, &r->x->nblocked);
    r->where = r->where == IN_POLICY ? DONE : IN_POLICY;
}

/* Whatever makes entities begins here. */
static void XMLCALL on_doctype(void *ctx, const char *name, const char *system, const char *public,
                               int internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    stop(ctx, "a document type is not taken", "");
}

int policy_xml_read(struct policy_xml *x, const char *text, size_t len, struct err *e)
{
    *x = (struct policy_xml){.allowed = true, .replicas = 3};
    if (len > POLICY_XML_MAX)
        return err_set(e, ERR_FORMAT, "larger than %d bytes, so hardly a replicationPolicy", POLICY_XML_MAX);
    struct reader r = {.parser = XML_ParserCreateNS(NULL, SPACE), .x = x, .e = e};
    if (!r.parser)
        abort();
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    if (XML_Parse(r.parser, text, (int)len, 1) != XML_STATUS_OK && r.rc == 0)
        r.rc = err_set(e, ERR_FORMAT, "line %lu: %s", XML_GetCurrentLineNumber(r.parser),
                       XML_ErrorString(XML_GetErrorCode(r.parser)));
    XML_ParserFree(r.parser);
    buf_free(&r.text);
    if (r.rc < 0)
        policy_xml_free(x);
    return r.rc;
}

static void free_list(char **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

void policy_xml_free(struct policy_xml *x)
{
    free_list(x->preferred, x->npreferred);
    free_list(x->blocked, x->nblocked);
    *x = (struct policy_xml){0};
}

static void put(struct buf *out, const char *s)
{
    buf_put(out, s, strlen(s));
}

static void put_escaped(struct buf *out, const char *s)
{
    for (size_t left = strlen(s), n; left; s += n, left -= n) {
        n = path_utf8((const unsigned char *)s, left);
        if (n == 0 || (unsigned char)*s < 0x20) {
            n = 1;
            continue;
        }
        if (*s == '&')
            put(out, "&amp;");
        else if (*s == '<')
            put(out, "&lt;");
        else if (*s == '>')
            put(out, "&gt;");
        else
            buf_put(out, s, n);
    }
}

static void put_nodes(struct buf *out, const char *element, char *const *node, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put(out, "  <");
        put(out, element);
        put(out, ">");
        put_escaped(out, node[i]);
        put(out, "</");
        put(out, element);
        put(out, ">\n");
    }
}

void policy_xml_write(const struct policy_xml *x, struct buf *out)
{
    char head[128];
    snprintf(head, sizeof head, "<replicationPolicy replicationAllowed=\"%s\" numberReplicas=\"%llu\">\n",
             x->allowed ? "true" : "false", (unsigned long long)x->replicas);
    put(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    put(out, head);
    put_nodes(out, "preferredMemberNode", x->preferred, x->npreferred);
    put_nodes(out, "blockedMemberNode", x->blocked, x->nblocked);
    put(out, "</replicationPolicy>\n");
}
