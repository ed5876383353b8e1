/* Private to the policy's files: what was written, in the order in which it was. */
#ifndef GROUP_POLICY_FILE_H
#define GROUP_POLICY_FILE_H

#include "group/policy.h"
#include "group/text.h"

enum policy_kind { SECTION_DEFAULT = 1, SECTION_GROUP = 2, SECTION_PATTERN = 4, SECTION_NODE = 8 };

enum policy_word {
    WORD_REPLICATION, WORD_REPLICAS, WORD_COPIES, WORD_PREFERRED, WORD_BLOCKED, WORD_SINCE,
    WORD_CONFLICT, WORD_DELETIONS, WORD_TOMBSTONES, WORD_TRASH, WORD_HASH, WORD_MAX_DELETE, WORD_DOWN_AFTER,
    WORD_MOUNTS, WORD_EXCLUDE, WORD_NAME, WORD_STORE, WORD_CAPACITY, WORDS
};

/* A line KEY: VALUE. */
struct policy_entry {
    enum policy_word word;
    unsigned line;
    uint64_t number;   /* a number, seconds, bytes, or the value's place in its list of words */
    bool percent;
    char **item;       /* members as written; or the one text that the value is */
    size_t items;
};

struct policy_section {
    enum policy_kind kind;
    char *name;        /* the group's, or the node's address; NULL for [default] */
    char *pattern;     /* of SECTION_PATTERN */
    const char *file;  /* the policy's */
    unsigned line;
    bool dated;        /* since is set */
    int64_t since;     /* seconds since 1970 */
    struct policy_entry *entry;
    size_t entries;
};

struct policy {
    char **file;
    size_t files;
    struct policy_section *section;
    size_t sections;
    char **remark;
    size_t remarks;
};

/* What a section line says; name and pattern are the caller's to free. ERR_CONF. */
int policy_parse_header(struct span line, enum policy_kind *kind, char **name, char **pattern, struct err *e);

/* The word of this key, or WORDS. */
enum policy_word policy_parse_word(struct span key);
const char *policy_word_name(enum policy_word word);

/* The entry of this word, or NULL; of exclude, the first. */
const struct policy_entry *policy_section_entry(const struct policy_section *s, enum policy_word word);

/* Is m the member of this address, which a [node] section has as it is in sos.conf? */
bool policy_is_node(const struct member *m, const char *address);

/* Puts "FILE:LINE" in front; returns code. */
int policy_at(const char *file, unsigned line, struct err *e);

void policy_remark_add(struct policy *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
