/* A stream of frames: the greeting, the framing, and every message's reader. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_message(struct frame *f)
{
    static struct digest digests[MSG_HAVE_MAX];
    static uint8_t have[MSG_HAVE_MAX];
    char path[PATH_LEN_MAX + 1], from_path[PATH_LEN_MAX + 1];
    union {
        struct message_open open;
        struct message_opened opened;
        struct message_scan scan;
        struct message_progress progress;
        struct message_problem problem;
        struct store_status stated;
        struct message_scanned scanned;
        struct message_list list;
        struct message_apply apply;
        struct message_result result;
        struct message_commit commit;
        struct message_trash_item trash_item;
        struct message_trash_restore trash_restore;
        struct message_trash_empty trash_empty;
        struct message_trash_done trash_done;
        struct manifest_totals totals;
        struct entry entry;
    } m;
    struct message_peer peer;
    const char *text;
    size_t n;
    uint64_t number, literal;
    uint16_t channel;
    bool yes;
    int code;
    struct err e;
    switch (f->type) {
    case MSG_OPEN: message_get_open(f, &m.open, &e); break;
    case MSG_OPENED:
        if (message_get_opened(f, &m.opened, &e) == 0) {
            for (n = 0; message_next_peer(&m.opened.peer_list, &peer); n++)
                if (peer.seen > ENTRY_TIME_MAX || peer.seen < -ENTRY_TIME_MAX)
                    abort();
            if (n != m.opened.peers)
                abort();
        }
        break;
    case MSG_SCAN: message_get_scan(f, &m.scan, &e); break;
    case MSG_PROGRESS: message_get_progress(f, &m.progress, &e); break;
    case MSG_PROBLEM: message_get_problem(f, &m.problem, &e); break;
    case MSG_SCANNED: message_get_scanned(f, &m.scanned, &e); break;
    case MSG_LIST: message_get_list(f, &m.list, &e); break;
    case MSG_LISTING: message_get_listing(f, &yes, &e); break;
    case MSG_LIST_END:
    case MSG_COMMITTED: message_get_totals(f, &m.totals, &e); break;
    case MSG_HAVE: message_get_have(f, digests, &n, &e); break;
    case MSG_HAD:
        if (message_get_had(f, have, &n, &e) == 0)
            for (size_t i = 0; i < n; i++)
                if (have[i] > STORE_HAVE_PART)
                    abort();
        break;
    case MSG_STATED: message_get_stated(f, &m.stated, &e); break;
    case MSG_APPLY: message_get_apply(f, path, from_path, &m.apply, &e); break;
    case MSG_RESULT: message_get_result(f, &m.result, &e); break;
    case MSG_CHECK: message_get_check(f, path, &yes, &m.entry, &e); break;
    case MSG_SIGN:
    case MSG_SEND: message_get_send(f, path, &m.entry, &e); break;
    case MSG_SEND_DELTA: message_get_send_delta(f, path, &channel, &m.entry, &e); break;
    case MSG_DONE: message_get_done(f, &number, &literal, &e); break;
    case MSG_COMMIT: message_get_commit(f, &m.commit, &e); break;
    case MSG_FAILED: message_get_failed(f, &code, &text, &n, &e); break;
    case MSG_DATA_END: message_get_text(f, &text, &n, &e); break;
    case MSG_TRASH_ITEM:
        if (message_get_trash_item(f, &m.trash_item, &e) == 0 &&
            (path_check_any(m.trash_item.path, strlen(m.trash_item.path), &e) < 0 || m.trash_item.item.id >> 48))
            abort();
        break;
    case MSG_TRASH_RESTORE: message_get_trash_restore(f, &m.trash_restore, &e); break;
    case MSG_TRASH_EMPTY: message_get_trash_empty(f, &m.trash_empty, &e); break;
    case MSG_TRASH_DONE: message_get_trash_done(f, &m.trash_done, &e); break;
    case MSG_LEND:
    case MSG_CHECKED:
    case MSG_CREDIT: message_get_number(f, &number, &e); break;
    default: message_get_empty(f, &e); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_in in = {.fd = -1};
    struct wire_greeting g;
    struct frame f;
    struct err e;
    buf_put(&in.buf, data, size);
    wire_in_greeting(&in, &g, &e);
    while (wire_in_frame(&in, &f, &e) > 0)
        read_message(&f);
    wire_in_close(&in);
    return 0;
}
