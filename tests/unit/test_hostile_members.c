/*
 * The coordinator against members that lie: a member named so is a fake, or a real agent behind a relay that changes what it
 * says; two honest ones stand beside it. Whatever it does, the others come into step, hold nothing but what they had or what is
 * whole, and the run ends with a status that says so, in bounded time and memory and with bounded, clean words.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/report_text.h"
#include "object/delta.h"
#include "run/run.h"
#include "fake.h"
#include "scratch.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define BIG 300000u

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_FACTOR 8 /* what the sanitizer keeps of freed memory */
#else
#define MEMORY_FACTOR 1
#endif

static char world[256];

/* ---- the world ---- */

static void shell(const char *fmt)
{
    char *command = mem_printf(fmt, world);
    if (system(command) != 0)
        fail_msg("%s", command);
    free(command);
}

static void write_file(const char *name, const void *p, size_t n)
{
    char *path = mem_printf("%s/%s", world, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
    free(path);
}

static bool file_is(const char *name, const void *p, size_t n)
{
    char *path = mem_printf("%s/%s", world, name), *got = mem_alloc(n + 1);
    FILE *f = fopen(path, "r");
    bool same = f && fread(got, 1, n + 1, f) == n && memcmp(got, p, n) == 0;
    if (f)
        fclose(f);
    free(path);
    free(got);
    return same;
}

static bool holds(const char *name, const char *text)
{
    return file_is(name, text, strlen(text));
}

static void fill_world(void)
{
    shell("cd %1$s && rm -rf a b fake && mkdir a b fake");
    write_file("a/from-a", "alpha", 5);
    write_file("b/from-b", "beta", 4);
}

static int make_world(void **state)
{
    (void)state;
    if (scratch_make(world, sizeof world, "test_members") < 0)
        return -1;
    fill_world();
    return 0;
}

static int remove_world(void **state)
{
    (void)state;
    shell("rm -rf %s");
    return 0;
}

/* ---- a run ---- */

static int (*the_fake)(int fd, void *peer);

static int body(int fd, void *ctx)
{
    const struct peer *p = ctx;
    return strcmp(p->member->name, "fake") == 0 ? the_fake(fd, ctx) : peer_serve_local(fd, ctx);
}

static struct {
    const char *order[3];
    const char *rsh; /* the fake is reached by it, and is no child of ours */
    unsigned timeout;
    bool through;
    bool adopt; /* whatever store is in the fake's place */
    bool sha256; /* the group asks for it */
} how;

static void usual(void)
{
    how.order[0] = "a";
    how.order[1] = "b";
    how.order[2] = "fake";
    how.rsh = NULL;
    how.timeout = 20;
    how.through = how.adopt = how.sha256 = false;
}

static struct {
    bool named_fake;
    struct sos_summary summary;
    struct buf said; /* what a person gets to see on standard error */
} heard;

static void on_trouble(void *ctx, const struct sos_trouble *t)
{
    struct reporter *r = ctx;
    heard.named_fake |= t->error && t->member && strcmp(t->member, "fake") == 0;
    r->ops->trouble(r, t);
}

static void on_summary(void *ctx, const struct sos_summary *s)
{
    struct reporter *r = ctx;
    heard.summary = *s;
    r->ops->summary(r, s);
}

static void build_group(struct groups *g)
{
    struct err e;
    for (size_t i = 0; i < 3; i++) {
        struct address where;
        bool far = how.rsh && strcmp(how.order[i], "fake") == 0;
        char *path = mem_printf(far ? "ssh://host%s/%s" : "%s/%s", world, how.order[i]);
        if (address_parse(path, 0, &where, &e) < 0 || groups_add(g, "g", how.order[i], &where, NULL, 0, &e) < 0)
            fail_msg("%s", e.msg);
        free(path);
    }
}

static struct policy *make_policy(struct groups *g)
{
    static const char text[] = "[default]\nhash: sha256\n";
    struct policy *p = policy_new();
    struct err e;
    if (policy_parse(p, "policy", text, sizeof text - 1, &e) < 0 || policy_apply(p, g, POLICY_CONF, &e) < 0)
        fail_msg("%s", e.msg);
    return p;
}

/* With the words of the text report taken in: heard.said. */
static enum sos_status run_world(void)
{
    struct groups g = {0};
    struct options words = {0};
    struct output out;
    struct reporter reporter;
    struct sos_options options;
    struct stat st;
    build_group(&g);
    int told = memfd_create("told", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
    output_open(&out, told);
    report_text_init(&reporter, &out, &words, false);
    sos_options_init(&options);
    options.timeout = how.timeout;
    options.through = how.through;
    options.rsh = how.rsh;
    options.adopt = (const char *const[]){"fake"};
    options.adopts = how.adopt;
    options.no_cache = true;
    struct sos_callbacks callbacks = {.ctx = &reporter, .trouble = on_trouble, .summary = on_summary};
    struct policy *policy = how.sha256 ? make_policy(&g) : NULL;
    struct group_policy *bound = policy ? policy_bind(policy, &g.group[0]) : NULL;
    struct run r = {.group = &g.group[0], .body = how.rsh ? NULL : body, .options = &options, .callbacks = &callbacks,
                    .policy = bound};
    heard.named_fake = false;
    heard.said.len = 0;
    dup2(told, STDERR_FILENO);
    enum sos_status status = run_group(&r);
    output_close(&out);
    dup2(saved, STDERR_FILENO);
    close(saved);
    reporter_free(&reporter);
    group_policy_free(bound);
    policy_free(policy);
    groups_free(&g);
    assert_int_equal(fstat(told, &st), 0);
    buf_room(&heard.said, (size_t)st.st_size + 1);
    assert_int_equal(pread(told, heard.said.data, (size_t)st.st_size, 0), st.st_size);
    heard.said.len = (size_t)st.st_size;
    heard.said.data[heard.said.len] = '\0';
    close(told);
    if (getenv("TELL"))
        fprintf(stderr, "%s", heard.said.len < 5000 ? (char *)heard.said.data : "(much)\n");
    return status;
}

static bool said(const char *text)
{
    return strstr((char *)heard.said.data, text) != NULL;
}

/* Nothing that a terminal would act upon, and not more than a person may be asked to look at. */
static void said_cleanly(size_t most)
{
    assert_true(heard.said.len < most);
    for (size_t i = 0; i < heard.said.len; i++)
        assert_true(heard.said.data[i] == '\n' || (heard.said.data[i] >= ' ' && heard.said.data[i] != 0x7f));
}

static void others_in_step(enum sos_status want)
{
    enum sos_status status = run_world();
    if (status != want)
        fail_msg("status %d: %s", status, (char *)heard.said.data);
    assert_true(heard.named_fake);
    assert_true(holds("a/from-b", "beta") && holds("b/from-a", "alpha"));
    shell("cd %1$s && diff -r -x .sos-sync a b");
    shell("cd %1$s && test -z \"$(find a b -name '.sos-sync.tmp*' -o -path '*/partial/*')\"");
    said_cleanly(20000);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left behind */
}

/* ---- a fake's vocabulary ---- */

static struct fake fake_scanned_all(int fd, const struct manifest_totals *t)
{
    struct fake f;
    fake_open(&f, fd);
    fake_opened(&f, "g");
    fake_scanned(&f, t);
    return f;
}

/* As a store of these would. */
static struct fake fake_with(int fd, const struct entry *e, size_t n)
{
    struct manifest_head head = {.algo = DIGEST_XXH3_128, .store = fake_id};
    struct manifest_totals t;
    struct err why;
    const void *p;
    size_t len;
    int file = memfd_create("manifest", MFD_CLOEXEC);
    struct manifest_writer *w = manifest_writer_new(file, &head);
    for (size_t i = 0; i < n; i++)
        if (manifest_writer_put(w, &e[i], &why) < 0)
            _exit(4);
    if (manifest_writer_end(w, &t, &why) < 0)
        _exit(4);
    struct fake f = fake_scanned_all(fd, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    struct manifest_reader *r = manifest_reader_new(file, &head, &why);
    while (manifest_reader_raw(r, &p, &len, &t, &why) > 0)
        wire_out_frame(&f.out, MSG_BLOCK, 0, p, len);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    wire_out_flush(&f.out);
    manifest_reader_free(r);
    manifest_writer_free(w);
    close(file);
    return f;
}

static struct fake fake_empty(int fd)
{
    return fake_with(fd, NULL, 0);
}

/* ---- B: manifests ---- */

enum { FILE_BIT = ENTRY_FILE, LINK_BIT = ENTRY_LINK, DIR_BIT = ENTRY_DIR };

static void put_path(struct buf *b, uint64_t bits, uint64_t prefix, const char *suffix)
{
    buf_varint(b, bits);
    buf_varint(b, prefix);
    buf_str(b, suffix, strlen(suffix));
}

static void put_content(struct buf *b, uint64_t size, int64_t sec, uint64_t nsec)
{
    static const uint8_t digest[DIGEST_LEN] = {1};
    buf_varint(b, size);
    buf_svarint(b, sec);
    buf_varint(b, nsec);
    buf_put(b, digest, sizeof digest);
}

/* Version and origin; each entry with others, as none may be said twice. */
static void put_record(struct buf *b, bool first, uint64_t count)
{
    buf_varint(b, 1);
    buf_varint(b, 0);
    if (first)
        buf_put(b, fake_id.b, sizeof fake_id.b);
    buf_varint(b, count);
    buf_varint(b, 0);
    buf_svarint(b, (int64_t)count);
}

static void put_dir(struct buf *b, bool first, const char *path)
{
    put_path(b, DIR_BIT, 0, path);
    buf_varint(b, first ? 0755 : 0700);
    put_record(b, first, first ? 1 : 2);
}

static void put_file(struct buf *b, bool first, const char *path, uint64_t size, int64_t sec, uint64_t nsec)
{
    put_path(b, FILE_BIT, 0, path);
    buf_varint(b, first ? 0644 : 0600);
    put_content(b, size, sec, nsec);
    put_record(b, first, first ? 1 : 2);
}

static void two_dirs(struct buf *b, const char *first, const char *second)
{
    buf_varint(b, 2);
    put_dir(b, true, first);
    put_dir(b, false, second);
}

static void b1_unsorted(struct buf *b) { two_dirs(b, "b", "a"); }
static void b2_twice(struct buf *b) { two_dirs(b, "a", "a"); }
static void b3_below_nothing(struct buf *b) { two_dirs(b, "a", "b/c"); }
static void b3_below_a_file(struct buf *b)
{
    buf_varint(b, 2);
    put_file(b, true, "f", 1, 0, 0);
    put_dir(b, false, "f/x");
}
static void b4_file_and_dir(struct buf *b)
{
    buf_varint(b, 2);
    put_file(b, true, "f", 1, 0, 0);
    put_dir(b, false, "f");
}
static void b5_entries(struct buf *b) { buf_varint(b, 1ull << 63); put_dir(b, true, "a"); }
static void b5_no_entries(struct buf *b) { buf_varint(b, 0); }
static void b5_fewer_entries(struct buf *b) { buf_varint(b, 1); put_dir(b, true, "a"); put_dir(b, false, "b"); }
static void b5_path(struct buf *b) { buf_varint(b, 1); buf_varint(b, DIR_BIT); buf_varint(b, 0); buf_varint(b, UINT32_MAX); }
static void b5_prefix(struct buf *b) { buf_varint(b, 1); put_path(b, DIR_BIT, 1ull << 31, "a"); }
static void b5_members(struct buf *b)
{
    buf_varint(b, 1);
    put_path(b, DIR_BIT, 0, "a");
    buf_varint(b, 0755);
    buf_varint(b, UINT32_MAX);
}
static void b5_count_0(struct buf *b)
{
    buf_varint(b, 1);
    put_path(b, DIR_BIT, 0, "a");
    buf_varint(b, 0755);
    put_record(b, true, 0);
}
static void b7_cut(struct buf *b) { two_dirs(b, "a", "b"); b->len -= 5; }
static void b7_totals(struct buf *b) { two_dirs(b, "a", "b"); } /* a good block: they claim another digest */
static void b9_size(struct buf *b) { buf_varint(b, 1); put_file(b, true, "f", 1ull << 63, 0, 0); }
static void b9_nsec(struct buf *b) { buf_varint(b, 1); put_file(b, true, "f", 1, 0, 1000000000); }
static void b9_year(struct buf *b) { buf_varint(b, 1); put_file(b, true, "f", 1, 1ll << 60, 0); }
static void b9_set_id(struct buf *b)
{
    buf_varint(b, 1);
    put_path(b, DIR_BIT, 0, "a");
    buf_varint(b, 04755);
    put_record(b, true, 1);
}
static void b9_tombstone(struct buf *b) { buf_varint(b, 1); put_path(b, 0, 0, "from-a"); } /* B12 as well: there is no such kind */
static void b9_flags(struct buf *b) { buf_varint(b, 1); put_path(b, DIR_BIT | 1 << 20, 0, "a"); }
static void b9_link(struct buf *b)
{
    buf_varint(b, 1);
    put_path(b, LINK_BIT, 0, "l");
    buf_varint(b, 0777);
    put_content(b, 4096, 0, 0);
    put_record(b, true, 1);
}
static void a1_up(struct buf *b) { two_dirs(b, "..", "../x"); }
static void a2_absolute(struct buf *b) { two_dirs(b, "/", "/etc"); }
static void a5_ours(struct buf *b) { two_dirs(b, ".sos-sync", "a"); }

static const struct { const char *name; void (*make)(struct buf *b); } manifests[] = {
#define CASE(f) {#f, f}
    CASE(b1_unsorted), CASE(b2_twice), CASE(b3_below_nothing), CASE(b3_below_a_file), CASE(b4_file_and_dir),
    CASE(b5_entries), CASE(b5_no_entries), CASE(b5_fewer_entries), CASE(b5_path), CASE(b5_prefix), CASE(b5_members),
    CASE(b5_count_0), CASE(b7_cut), CASE(b7_totals), CASE(b9_size), CASE(b9_nsec), CASE(b9_year), CASE(b9_set_id),
    CASE(b9_tombstone), CASE(b9_flags), CASE(b9_link), CASE(a1_up), CASE(a2_absolute), CASE(a5_ours),
};

static size_t which;

static int lists(int fd, void *peer)
{
    struct manifest_totals t = {.entries = 2, .dirs = 2};
    struct buf block = {0};
    (void)peer;
    struct fake f = fake_scanned_all(fd, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    manifests[which].make(&block);
    wire_out_frame(&f.out, MSG_BLOCK, 0, block.data, block.len);
    message_put_totals(&f.out, MSG_LIST_END, &t);
    return fake_end(&f);
}

static void hostile_manifests(void **state)
{
    (void)state;
    the_fake = lists;
    for (which = 0; which < COUNT(manifests); which++) {
        print_message("    %s\n", manifests[which].name);
        fill_world();
        others_in_step(SOS_PARTIAL);
        assert_true(said("its manifest: "));
        shell("test ! -e %1$s/x && test -z \"$(ls -A %1$s/fake)\"");
    }
}

/* ---- B6: a list that does not end ---- */

#define ENDLESS 600000

/* Good entries, under credit, until it has sent so many; then it goes away. */
static int lists_without_end(int fd, void *peer)
{
    struct manifest_totals t = {.entries = 1ull << 40, .objects = 1ull << 40};
    struct buf block = {0};
    uint64_t credit = MSG_WINDOW, n; /* which came before LIST */
    struct err e;
    (void)peer;
    struct fake f = fake_scanned_all(fd, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    for (unsigned i = 0; i < ENDLESS; credit -= block.len < credit ? block.len : credit) {
        while (credit == 0) {
            struct frame m = fake_await(&f, MSG_CREDIT);
            message_get_number(&m, &n, &e);
            credit += n;
        }
        block.len = 0;
        buf_varint(&block, 1000);
        for (unsigned k = 0; k < 1000; k++, i++) {
            char path[20];
            snprintf(path, sizeof path, "%08u", i);
            unsigned same = 0;
            char last[20];
            snprintf(last, sizeof last, "%08u", i - 1);
            while (k > 0 && path[same] == last[same])
                same++;
            put_path(&block, FILE_BIT, same, path + same);
            buf_varint(&block, k % 2 ? 0644 : 0600);
            put_content(&block, i, i, 0);
            put_record(&block, k == 0, i + 1);
        }
        wire_out_frame(&f.out, MSG_BLOCK, 0, block.data, block.len);
        if (wire_out_flush(&f.out) < 0)
            break;
    }
    return 0;
}

static int floods_of_blocks(int fd, void *peer)
{
    struct manifest_totals t = {.entries = 1};
    static uint8_t big[MANIFEST_BLOCK_MAX];
    (void)peer;
    struct fake f = fake_scanned_all(fd, &t);
    fake_await(&f, MSG_LIST);
    message_put_listing(&f.out, false);
    for (int i = 0; i < 1000; i++) {
        wire_out_frame(&f.out, MSG_BLOCK, 0, big, sizeof big);
        if (wire_out_flush(&f.out) < 0)
            return 0;
    }
    return 0;
}

static int floods_of_progress(int fd, void *peer)
{
    (void)peer;
    struct manifest_totals t = {0};
    struct fake f = fake_scanned_all(fd, &t);
    for (int i = 0; i < 3000000; i++) {
        message_put_progress(&f.out, &(struct message_progress){UINT64_MAX, UINT64_MAX});
        if (wire_out_waiting(&f.out) > 1 << 20 && wire_out_flush(&f.out) < 0)
            return 0;
    }
    return 0;
}

/* The run in a child, by whose figures the coordinator alone is measured; it must have taken in so many bytes. MiB. */
static long memory_of_a_run(uint64_t bytes)
{
    struct rusage used;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        bool fine = run_world() == SOS_PARTIAL && heard.named_fake && heard.summary.wire_bytes >= bytes;
        if (!fine || !holds("a/from-b", "beta") || !holds("b/from-a", "alpha")) {
            fprintf(stderr, "%.2000s\n", (char *)heard.said.data);
            _exit(1);
        }
        getrusage(RUSAGE_SELF, &used);
        _exit((int)(used.ru_maxrss >> 10 < 255 ? used.ru_maxrss >> 10 : 255));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) > 1);
    return WEXITSTATUS(status);
}

static void endless_lists(void **state)
{
    (void)state;
    static int (*const fakes[])(int fd, void *peer) = {lists_without_end, floods_of_blocks, floods_of_progress};
    for (size_t i = 0; i < COUNT(fakes); i++) {
        the_fake = fakes[i];
        fill_world();
        long mib = memory_of_a_run(fakes[i] == lists_without_end ? 20 * ENDLESS : 0);
        print_message("    %ld MiB\n", mib);
        assert_true(mib < 48 * MEMORY_FACTOR || mib == 255);
        assert_true(MEMORY_FACTOR > 1 || mib < 255);
    }
}

/* ---- messages out of turn, or malformed: every type in every state ---- */

enum { OPENING, SCANNING, LISTING, APPLYING, STATES };

static unsigned when, what;

static int says_nonsense(int fd, void *peer)
{
    static const uint8_t junk[] = {0xff, 0xff, 0xff};
    struct manifest_totals t = {.entries = 1};
    struct fake f;
    (void)peer;
    fake_open(&f, fd);
    fake_await(&f, MSG_OPEN);
    if (when > OPENING) {
        struct message_opened m = {.flags = OPENED_EXISTS | OPENED_PARENT, .caps = 7, .group = "", .id = fake_id};
        message_put_opened(&f.out, &m, NULL);
        fake_await(&f, MSG_SCAN);
    }
    if (when > SCANNING) {
        t.entries = when == APPLYING ? 0 : 1;
        t.shared = digest_of("", 0);
        struct message_scanned m = {.totals = t};
        message_put_scanned(&f.out, &m);
        fake_await(&f, MSG_LIST);
    }
    if (when > LISTING) {
        message_put_listing(&f.out, false);
        message_put_totals(&f.out, MSG_LIST_END, &t);
        fake_await(&f, MSG_APPLY);
    }
    wire_out_frame(&f.out, (uint8_t)what, (uint16_t)(what % 3), junk, sizeof junk);
    return fake_end(&f);
}

static void nonsense_in_every_state(void **state)
{
    (void)state;
    the_fake = says_nonsense;
    for (when = OPENING; when < STATES; when++)
        for (what = 0; what <= MSG_TYPES; what++) {
            if (what == MSG_TYPES)
                what = 255;
            fill_world();
            others_in_step(SOS_PARTIAL);
        }
}

/* ---- lies that are well formed ---- */

static void greets(int fd, uint16_t major, uint16_t minor, uint32_t most)
{
    struct buf b = {0};
    buf_put(&b, "SOSWIRE\n", 8);
    buf_u16(&b, major);
    buf_u16(&b, minor);
    buf_u32(&b, most);
    buf_u64(&b, UINT64_MAX);
    if (write(fd, b.data, b.len) < 0)
        _exit(3);
    buf_free(&b);
}

static int listens(int fd)
{
    struct fake f;
    wire_in_init(&f.in, fd);
    wire_out_init(&f.out, fd);
    return fake_end(&f);
}

static int b10_newer(int fd, void *p) { (void)p; greets(fd, 2, 0, WIRE_PAYLOAD_MAX); return listens(fd); }
static int b10_older(int fd, void *p) { (void)p; greets(fd, 1, 0, WIRE_PAYLOAD_MAX); return listens(fd); }
static int small_frames(int fd, void *p) { (void)p; greets(fd, 1, 1, 1); return listens(fd); }
static int e3_banner(int fd, void *p)
{
    static const char text[] = "SOSWIRE\x1b]0;title\x07\x1b[2J";
    (void)p;
    for (int i = 0; i < 1000; i++)
        if (write(fd, text, sizeof text - 1) < 0)
            return 0;
    return listens(fd);
}
static int e3_endless_banner(int fd, void *p)
{
    (void)p;
    static char text[65536];
    memset(text, 'x', sizeof text);
    while (write(fd, text, sizeof text) > 0)
        ;
    return 0;
}

static int opens_as(int fd, const struct message_opened *m)
{
    struct fake f;
    fake_open(&f, fd);
    fake_await(&f, MSG_OPEN);
    message_put_opened(&f.out, m, NULL);
    return fake_end(&f);
}

static int opened_as_nobody(int fd, void *p)
{
    (void)p;
    return opens_as(fd, &(struct message_opened){.flags = OPENED_EXISTS, .group = ""});
}
static int opened_with_unheard_of_caps(int fd, void *p)
{
    (void)p;
    return opens_as(fd, &(struct message_opened){.flags = OPENED_EXISTS, .group = "", .id = fake_id, .caps = 1u << 31});
}
static int opened_with_half_a_group(int fd, void *p)
{
    (void)p;
    return opens_as(fd, &(struct message_opened){.flags = OPENED_EXISTS, .group = "a\0b", .group_len = 3, .id = fake_id});
}
static int opened_with_peers(int fd, void *p)
{
    struct message_peer *peer = mem_zalloc(2000 * sizeof *peer);
    struct message_opened m = {.flags = OPENED_EXISTS, .group = "", .id = fake_id, .peers = 2000};
    struct fake f;
    (void)p;
    for (size_t i = 0; i < 2000; i++)
        peer[i] = (struct message_peer){.id = fake_id, .address = "x", .address_len = 1};
    fake_open(&f, fd);
    fake_await(&f, MSG_OPEN);
    message_put_opened(&f.out, &m, peer);
    return fake_end(&f);
}
static int opened_nowhere(int fd, void *p)
{
    (void)p;
    return opens_as(fd, &(struct message_opened){.group = "", .id = fake_id});
}

static int after_apply(int fd, void (*lie)(struct fake *f))
{
    struct fake f = fake_empty(fd);
    fake_await(&f, MSG_APPLY);
    lie(&f);
    return fake_end(&f);
}

#define LIE(name, ...) \
    static void say_##name(struct fake *f) { __VA_ARGS__; } \
    static int name(int fd, void *p) { (void)p; return after_apply(fd, say_##name); }

LIE(done_beyond, message_put_done(&f->out, 1u << 20, 0))
LIE(done_nothing, message_put_done(&f->out, 0, 0))
LIE(done_endless, message_put_done(&f->out, UINT64_MAX, 0))
LIE(done_with_all_the_world, message_put_done(&f->out, 1, UINT64_MAX))
LIE(done_twice, message_put_done(&f->out, 1, 0); message_put_done(&f->out, 1, 0))
LIE(result_of_nothing, message_put_result(&f->out, 1000, ERR_SYS, "no"))
LIE(result_0, message_put_result(&f->out, 0, ERR_SYS, "no"))
LIE(result_twice, message_put_result(&f->out, 1, ERR_SYS, "no"); message_put_result(&f->out, 1, ERR_SYS, "no"))
LIE(result_after_done, message_put_done(&f->out, 1, 0); message_put_result(&f->out, 1, ERR_SYS, "no"))
LIE(result_without_code, wire_out_frame(&f->out, MSG_RESULT, 0, "\1\0\0", 3))
LIE(credit_as_the_source, message_put_number(&f->out, MSG_CREDIT, 77, 1))
LIE(credit_of_a_list, message_put_number(&f->out, MSG_CREDIT, 0, 1))
LIE(credit_beyond_reason, for (uint16_t i = 1; i < 9; i++) message_put_number(&f->out, MSG_CREDIT, i, 1ull << 40))
LIE(data_by_a_target, for (uint16_t i = 1; i < 9; i++) wire_out_frame(&f->out, MSG_DATA, i, "x", 1))
LIE(data_z_by_a_target, for (uint16_t i = 1; i < 9; i++) wire_out_frame(&f->out, MSG_DATA_Z, i, "x", 1))
LIE(end_by_a_target, for (uint16_t i = 1; i < 9; i++) message_put_text(&f->out, MSG_DATA_END, i, "no"))
LIE(another_listing, message_put_listing(&f->out, false))
LIE(another_block, wire_out_frame(&f->out, MSG_BLOCK, 0, "\1", 1))
LIE(another_end, message_put_totals(&f->out, MSG_LIST_END, &(struct manifest_totals){0}))
LIE(had_unasked, message_put_had(&f->out, (const uint8_t[]){STORE_HAVE}, 1))
LIE(committed_early, message_put_totals(&f->out, MSG_COMMITTED, &(struct manifest_totals){0}))
LIE(scanned_again, message_put_scanned(&f->out, &(struct message_scanned){.special = 5}))
LIE(failed_with_escapes, message_put_failed(&f->out, ERR_SYS, "\x1b[2J\x1b]0;x\x07\r\n\xc2\x9b" "2J\xff"))
LIE(failed_with_any_code, message_put_failed(&f->out, -255, ""))
LIE(frame_of_four_gib, buf_put(&f->out.buf, "\xff\xff\xff\xff\x04\0\0\0", 8))
LIE(frame_with_a_flag, buf_put(&f->out.buf, "\0\0\0\0\x04\1\0\0", 8))

static const struct { const char *name; int (*fake)(int fd, void *peer); } liars[] = {
    CASE(b10_newer), CASE(b10_older), CASE(small_frames), CASE(e3_banner), CASE(e3_endless_banner), CASE(opened_as_nobody),
    CASE(opened_with_unheard_of_caps), CASE(opened_with_half_a_group), CASE(opened_with_peers), CASE(opened_nowhere),
    CASE(done_beyond), CASE(done_nothing), CASE(done_endless), CASE(done_with_all_the_world), CASE(done_twice),
    CASE(result_of_nothing), CASE(result_0), CASE(result_twice), CASE(result_after_done), CASE(result_without_code),
    CASE(credit_as_the_source), CASE(credit_of_a_list), CASE(credit_beyond_reason), CASE(data_by_a_target),
    CASE(data_z_by_a_target), CASE(end_by_a_target), CASE(another_listing), CASE(another_block), CASE(another_end),
    CASE(had_unasked), CASE(committed_early), CASE(scanned_again), CASE(failed_with_escapes), CASE(failed_with_any_code),
    CASE(frame_of_four_gib), CASE(frame_with_a_flag),
};

static void well_formed_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(liars); i++) {
        print_message("    %s\n", liars[i].name);
        the_fake = liars[i].fake;
        how.through = i % 2;
        fill_world();
        others_in_step(SOS_PARTIAL);
    }
    usual();
}

/* ---- B8, B11: a member that claims what it has not ---- */

static struct entry claimed(const char *path, const char *content, uint64_t count)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = ENTRY_FILE, .mode = 0644, .size = strlen(content),
                      .mtime = {2000000000, 0}, .digest = digest_of(content, strlen(content)), .origin = fake_id};
    version_set(&e.version, &fake_id, count);
    return e;
}

/* ---- digests of a kind that nobody asked for ---- */

/* Of the same version as a's, so that it might pass for a copy of that, or with flags by which it is no copy of anything. */
static int digests_of_another_kind(int fd, const struct run *r, unsigned flags)
{
    struct digest_state *s = digest_new();
    struct entry e = claimed("from-a", "alpha", 1);
    e.digest = digest_whole(s, digest_other(run_hash(r)), "alpha", 5);
    e.flags = flags;
    digest_free(s);
    struct fake f = fake_with(fd, &e, 1);
    return fake_end(&f);
}
static int other_kind(int fd, void *p) { return digests_of_another_kind(fd, ((struct peer *)p)->run, 0); }
static int other_kind_damaged(int fd, void *p) { return digests_of_another_kind(fd, ((struct peer *)p)->run, ENTRY_DAMAGED); }
static int too_old_for_sha256(int fd, void *p) { (void)p; greets(fd, 1, 1, WIRE_PAYLOAD_MAX); return listens(fd); }

static void digests_that_nobody_asked_for(void **state)
{
    (void)state;
    for (int sha256 = 0; sha256 < 2; sha256++) {
        usual();
        how.sha256 = sha256;
        fill_world();
        the_fake = other_kind;
        others_in_step(SOS_PARTIAL);
        assert_true(said("digest of another kind"));
        fill_world();
        how.timeout = 2;
        the_fake = other_kind_damaged; /* is let pass, but then it does nothing */
        others_in_step(SOS_PARTIAL);
        assert_false(said("digest of another kind"));
    }
    fill_world();
    the_fake = too_old_for_sha256;
    others_in_step(SOS_PARTIAL);
    assert_true(said("too old for `hash: sha256`"));
    usual();
}

/* It has all that the others have, and newer: nobody may give up anything for that. */
static struct fake fake_with_all(int fd)
{
    struct entry e[] = {claimed("from-a", "newer a", UINT64_MAX), claimed("from-b", "newer b", UINT64_MAX)};
    return fake_with(fd, e, 2);
}

static uint16_t asked_for(struct fake *f, uint64_t *credit)
{
    struct err e;
    struct frame m = fake_await(f, MSG_SEND);
    uint16_t channel = m.channel;
    do {
        m = fake_await(f, MSG_CREDIT);
        message_get_number(&m, credit, &e);
    } while (m.channel != channel);
    return channel;
}

static int claims_and_dies(int fd, void *p)
{
    (void)p;
    struct fake f = fake_with_all(fd);
    fake_await(&f, MSG_SEND);
    return 1;
}

static int claims_and_falls_silent(int fd, void *p)
{
    (void)p;
    struct fake f = fake_with_all(fd);
    fake_await(&f, MSG_SEND);
    return fake_end(&f);
}

static struct frame next_of(struct fake *f)
{
    struct frame m;
    struct err e;
    wire_out_flush(&f->out);
    while (wire_in_frame(&f->in, &m, &e) == 0)
        if (wire_in_fill(&f->in) <= 0)
            _exit(0);
    return m;
}

/* Sends this for its bundle, and goes on as if all were well. */
static int claims_and_sends(int fd, const void *p, size_t n, const char *end)
{
    struct fake f = fake_with_all(fd);
    uint64_t ops = 0; /* that only record a version */
    for (;;) {
        struct frame m = next_of(&f);
        ops += m.type == MSG_APPLY;
        if (m.type == MSG_CREDIT && m.channel != MSG_CHANNEL_LIST && end) {
            if (n)
                wire_out_frame(&f.out, MSG_DATA, m.channel, p, n);
            message_put_text(&f.out, MSG_DATA_END, m.channel, end);
            end = NULL;
        }
        if (m.type == MSG_FLUSH && ops > 0)
            message_put_done(&f.out, ops, 0);
        if (m.type == MSG_COMMIT)
            message_put_totals(&f.out, MSG_COMMITTED, &(struct manifest_totals){0});
        if (m.type == MSG_BYE)
            return 0;
    }
}

static int claims_and_ends(int fd, void *p) { (void)p; return claims_and_sends(fd, NULL, 0, ""); }
static int claims_and_excuses(int fd, void *p) { (void)p; return claims_and_sends(fd, NULL, 0, "\x1b[2Jsorry"); }
static int claims_and_sends_noise(int fd, void *p) { (void)p; return claims_and_sends(fd, "noise", 5, ""); }

static int claims_and_floods(int fd, void *p)
{
    static uint8_t zeros[MSG_DATA_MAX];
    uint64_t credit;
    struct fake f = fake_with_all(fd);
    uint16_t channel = asked_for(&f, &credit);
    (void)p;
    for (int i = 0; i < 100000; i++) {
        wire_out_frame(&f.out, MSG_DATA, channel, zeros, sizeof zeros);
        if (wire_out_flush(&f.out) < 0)
            return 0;
    }
    return 0;
}

/* Two objects of the right length, as a bundle has them. */
static int claims_and_sends_another(int fd, void *p)
{
    struct buf b = {0};
    (void)p;
    for (int i = 0; i < 2; i++) {
        buf_u8(&b, DELTA_RAW);
        buf_u32(&b, 7);
        buf_put(&b, i ? "NEWER B" : "NEWER A", 7);
        buf_u8(&b, DELTA_END);
        buf_u32(&b, 8);
        buf_u64(&b, 7);
    }
    return claims_and_sends(fd, b.data, b.len, "");
}

static const struct { const char *name; int (*fake)(int fd, void *peer); bool lives; } claims[] = {
    {"dies", claims_and_dies, false}, {"falls silent", claims_and_falls_silent, false}, {"ends", claims_and_ends, true},
    {"excuses itself", claims_and_excuses, true}, {"sends noise", claims_and_sends_noise, true},
    {"sends another content", claims_and_sends_another, true}, {"floods", claims_and_floods, false},
};

static int honest(int fd, void *peer)
{
    return peer_serve_local(fd, peer);
}

static void claims_of_everything(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(claims); i++) {
        print_message("    %s\n", claims[i].name);
        fill_world();
        the_fake = claims[i].fake;
        bool mute = claims[i].fake == claims_and_falls_silent || claims[i].fake == claims_and_sends_another; /* is asked to look at it */
        how.timeout = mute ? 1 : 20;
        assert_int_equal(run_world(), SOS_PARTIAL);
        said_cleanly(20000);
        assert_true(holds("a/from-a", "alpha") && holds("b/from-b", "beta"));
        if (!claims[i].lives) /* then there was another attempt, without it */
            assert_true(holds("a/from-b", "beta") && holds("b/from-a", "alpha"));
        shell("cd %1$s && test -z \"$(find a b -name '.sos-sync.tmp*' -o -path '*/partial/*')\"");
        the_fake = honest;
        how.adopt = true;
        assert_int_equal(run_world(), SOS_OK);
        how.adopt = false;
        assert_true(holds("a/from-b", "beta") && holds("b/from-a", "alpha") && holds("fake/from-a", "alpha"));
    }
    usual();
}

/* The store at this address was another one, or has taken another member's identity. */
static uint8_t another_id[16];

static int marked_as_another(int fd, void *p)
{
    struct message_opened m = {.flags = OPENED_EXISTS | OPENED_PARENT | OPENED_MARKED, .group = "g", .group_len = 1};
    (void)p;
    memcpy(m.id.b, another_id, sizeof m.id.b);
    return opens_as(fd, &m);
}

static void a_store_in_anothers_place(void **state)
{
    (void)state;
    the_fake = honest;
    assert_int_equal(run_world(), SOS_OK);
    the_fake = marked_as_another;
    for (int i = 0; i < 2; i++) {
        memset(another_id, 0x77, sizeof another_id);
        if (i) { /* a's own, as its marker has it */
            char line[4096] = "", *path = mem_printf("%s/a/.sos-sync/marker", world);
            FILE *f = fopen(path, "r");
            struct uuid id;
            bool found = false;
            while (f && !found && fscanf(f, "%4095s", line) == 1)
                for (char *at = line; *at && !found; at++)
                    if (strlen(at) >= 36) {
                        char text[37] = "";
                        memcpy(text, at, 36);
                        found = uuid_parse(text, &id);
                    }
            if (f)
                fclose(f);
            free(path);
            assert_true(found);
            memcpy(another_id, id.b, sizeof another_id);
        }
        write_file("a/more", i ? "2" : "1", 1);
        assert_int_equal(run_world(), SOS_GUARD);
        assert_true(heard.named_fake && holds("b/more", i ? "2" : "1") && !holds("fake/more", i ? "2" : "1"));
    }
}

/* ---- floods of words: E8 ---- */

static unsigned floods;

static int floods_of_problems(int fd, void *p)
{
    struct fake f = fake_empty(fd);
    (void)p;
    for (unsigned i = 0; i < 60000; i++) {
        char path[64] = "", text[64];
        if (floods % 2)
            snprintf(path, sizeof path, "\x1b[2Jpath %u", i);
        snprintf(text, sizeof text, "\x1b]0;%u\x07\xff", floods < 2 ? i : 0);
        message_put_problem(&f.out, i % 2, path, text);
        if (wire_out_waiting(&f.out) > 1 << 20)
            wire_out_flush(&f.out);
    }
    fake_await(&f, MSG_APPLY);
    message_put_result(&f.out, 1, ERR_SYS, "\x1b[31mred\r\n\x08");
    message_put_done(&f.out, 1, 0);
    message_put_failed(&f.out, ERR_SYS, "enough");
    return fake_end(&f);
}

static void floods_of_words(void **state)
{
    (void)state;
    the_fake = floods_of_problems;
    for (floods = 0; floods < 4; floods++) {
        fill_world();
        assert_int_equal(run_world(), SOS_PARTIAL);
        assert_true(said("enough"));
        said_cleanly(2 << 20);
        print_message("    %zu bytes\n", heard.said.len);
        assert_true(holds("a/from-b", "beta") && holds("b/from-a", "alpha"));
    }
}

/* By another's command, so that there is a standard error. */
static void floods_of_standard_error(void **state)
{
    (void)state;
    static const char *const script[] = {
        "exec yes \"$(printf 'a\\033[2Jb\\233')\" >&2",
        ("printf 'SOSWIRE\\n\\001\\000\\001\\000\\000\\000\\021\\000\\000\\000\\000\\000\\000\\000\\000\\000'; "
         "exec yes \"$(printf 'a\\033[2Jb\\233')\" >&2"),
        "exec cat /dev/zero >&2",
        "exec yes",
        "yes | head -c 3000000 >&2; exit 7",
    };
    char *path = mem_printf("%s/rsh", world), *rsh = mem_printf("sh %s/rsh", world);
    for (size_t i = 0; i < COUNT(script); i++) {
        FILE *f = fopen(path, "w");
        fprintf(f, "%s\n", script[i]);
        fclose(f);
        fill_world();
        how.rsh = rsh;
        how.timeout = 1;
        others_in_step(SOS_PARTIAL);
        usual();
    }
    free(path);
    free(rsh);
}

/* ---- a real agent behind a relay that changes what is said ---- */

struct relay {
    struct wire_in from_agent, from_driver;
    struct wire_out to_agent, to_driver;
    bool dead;    /* nothing is passed on any more */
    bool lied;
    uint16_t sign, patch, send; /* channels, once they are known */
};

/* Is this frame to be passed on as it is? */
static bool (*tamper)(struct relay *r, bool up, struct frame *f);

static void learn(struct relay *r, bool up, const struct frame *f)
{
    if (up)
        return;
    if (f->type == MSG_SIGN)
        r->sign = f->channel;
    if (f->type == MSG_APPLY && f->channel)
        r->patch = f->channel;
    if (f->type == MSG_SEND || f->type == MSG_SEND_DELTA)
        r->send = f->channel;
}

/* False at the end. */
static bool pass(struct relay *r, struct wire_in *in, struct wire_out *out, bool up)
{
    struct wire_greeting g;
    struct frame f;
    struct err e;
    if (wire_in_fill(in) <= 0)
        return false;
    if (!in->greeted && wire_in_greeting(in, &g, &e) <= 0)
        return true;
    while (wire_in_frame(in, &f, &e) > 0) {
        learn(r, up, &f);
        if (!r->dead && (!tamper || tamper(r, up, &f)))
            wire_out_frame(out, f.type, f.channel, f.body.p, rd_left(&f.body));
    }
    wire_out_flush(&r->to_driver);
    wire_out_flush(&r->to_agent);
    return true;
}

static int relayed(int fd, void *peer)
{
    int to[2], from[2];
    (void)peer;
    if (pipe(to) < 0 || pipe(from) < 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        struct agent_options options = {0};
        struct err e;
        close(fd);
        close(to[1]);
        close(from[0]);
        _exit(agent_serve(to[0], from[1], &options, &e) < 0 ? 2 : 0);
    }
    close(to[0]);
    close(from[1]);
    struct relay r = {0};
    wire_in_init(&r.from_agent, from[0]);
    wire_in_init(&r.from_driver, fd);
    wire_out_init(&r.to_agent, to[1]);
    wire_out_init(&r.to_driver, fd);
    wire_out_greeting(&r.to_agent, 0);
    wire_out_greeting(&r.to_driver, 0);
    wire_out_flush(&r.to_agent);
    wire_out_flush(&r.to_driver);
    for (bool more = true; more;) {
        struct pollfd p[2] = {{.fd = from[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0)
            break;
        if (p[0].revents)
            more = pass(&r, &r.from_agent, &r.to_driver, true);
        if (p[1].revents && more)
            more = pass(&r, &r.from_driver, &r.to_agent, false);
    }
    close(to[1]);
    close(from[0]);
    waitpid(pid, NULL, 0);
    return 0;
}

static uint8_t before[BIG], after[BIG];

static void make_versions(void)
{
    uint32_t seed = 5;
    for (size_t i = 0; i < BIG; i++) {
        seed = seed * 1664525u + 1013904223u;
        before[i] = after[i] = (uint8_t)(seed >> 24);
    }
    memset(after + BIG / 2, 'x', 5000);
}

/* The fake as a target, and the one that signs. */

static bool silent_signer(struct relay *r, bool up, struct frame *f)
{
    r->dead |= up && f->type == MSG_DATA && f->channel == r->sign;
    return !r->dead;
}

static bool replace_signature(struct relay *r, bool up, const struct frame *f, const void *p, size_t n)
{
    if (!up || f->type != MSG_DATA || f->channel != r->sign)
        return true;
    size_t had = rd_left(&f->body);
    if (!r->lied)
        wire_out_frame(&r->to_driver, MSG_DATA, f->channel, p, n < had ? n : had);
    r->lied = true;
    return false;
}

static bool noisy_signer(struct relay *r, bool up, struct frame *f)
{
    return replace_signature(r, up, f, before, BIG);
}

static bool signer_of_four_gib(struct relay *r, bool up, struct frame *f)
{
    return replace_signature(r, up, f, "\2\xff\xff\xff\xff", 5);
}

static ssize_t read_shifted(void *ctx, uint64_t pos, void *buf, size_t n, struct err *e)
{
    (void)e;
    size_t left = pos < BIG ? BIG - (size_t)pos : 0, k = n < left ? n : left;
    memcpy(buf, (const uint8_t *)ctx + pos, k);
    return (ssize_t)k;
}

/* Signs what the others have not: a patch against it is wrong for them. */
static bool signer_of_another(struct relay *r, bool up, struct frame *f)
{
    struct delta_signer *signer = delta_signer_new(BIG, BIG);
    struct buf sig = {0}, record = {0};
    struct err e;
    uint8_t *shifted = mem_alloc(BIG);
    memcpy(shifted, after + 4096, BIG - 4096);
    memcpy(shifted + BIG - 4096, after, 4096);
    const struct delta_input in = {read_shifted, shifted};
    while (delta_signer_step(signer, &in, 1, &sig, &e) > 0)
        ;
    buf_u8(&record, 2);
    buf_u32(&record, (uint32_t)sig.len);
    buf_put(&record, sig.data, sig.len);
    buf_put(&record, "\4\0\0\0\0", 5);
    bool on = replace_signature(r, up, f, record.data, record.len);
    delta_signer_free(signer);
    buf_free(&sig);
    buf_free(&record);
    free(shifted);
    return on;
}

/* Says that it has the beginning of the new content, for all who share its patch. */
static bool signer_of_a_partial(struct relay *r, bool up, struct frame *f)
{
    struct buf b = {0};
    struct digest d = digest_of(after, 100000);
    buf_u8(&b, 1);
    buf_u32(&b, 24);
    buf_u64(&b, 100000);
    buf_put(&b, d.b, DIGEST_LEN);
    buf_put(&b, "\4\0\0\0\0", 5);
    bool on = replace_signature(r, up, f, b.data, b.len);
    buf_free(&b);
    return on;
}

static bool signer_that_ends(struct relay *r, bool up, struct frame *f)
{
    if (up && f->type == MSG_DATA && f->channel == r->sign && !r->lied) {
        message_put_text(&r->to_driver, MSG_DATA_END, f->channel, "");
        r->lied = true;
    }
    return !(up && f->type == MSG_DATA && f->channel == r->sign);
}

static bool once(struct relay *r, bool up)
{
    bool now = up && r->patch && r->sign && !r->lied;
    r->lied |= now;
    return now;
}

static bool data_to_its_own_source(struct relay *r, bool up, struct frame *f)
{
    (void)f;
    if (once(r, up))
        wire_out_frame(&r->to_driver, MSG_DATA, r->patch, "x", 1);
    return true;
}

static bool credit_for_its_signatures(struct relay *r, bool up, struct frame *f)
{
    (void)f;
    if (once(r, up))
        message_put_number(&r->to_driver, MSG_CREDIT, r->sign, 1 << 20);
    return true;
}

static bool signatures_without_credit(struct relay *r, bool up, struct frame *f)
{
    static uint8_t zeros[MSG_DATA_MAX];
    (void)f;
    for (int i = once(r, up) ? 20 : 0; i > 0; i--)
        wire_out_frame(&r->to_driver, MSG_DATA, r->sign, zeros, sizeof zeros);
    return true;
}

static bool endless_credit(struct relay *r, bool up, struct frame *f)
{
    (void)f;
    for (int i = once(r, up) ? 1000 : 0; i > 0; i--)
        message_put_number(&r->to_driver, MSG_CREDIT, r->patch, INT32_MAX);
    return true;
}

/* The fake as the source. */

static bool flipped(struct relay *r, bool up, struct frame *f)
{
    size_t n = rd_left(&f->body);
    if (!up || f->channel != r->send || f->type != MSG_DATA || n < 100 || r->lied)
        return true;
    uint8_t *copy = mem_alloc(n);
    memcpy(copy, f->body.p, n);
    copy[n / 2] ^= 0xff;
    wire_out_frame(&r->to_driver, f->type, f->channel, copy, n);
    free(copy);
    r->lied = true;
    return false;
}

static bool doubled(struct relay *r, bool up, struct frame *f)
{
    if (up && f->channel == r->send && f->type == MSG_DATA)
        wire_out_frame(&r->to_driver, f->type, f->channel, f->body.p, rd_left(&f->body));
    return true;
}

static bool as_compressed(struct relay *r, bool up, struct frame *f)
{
    if (!up || f->channel != r->send || f->type != MSG_DATA)
        return true;
    wire_out_frame(&r->to_driver, MSG_DATA_Z, f->channel, f->body.p, rd_left(&f->body));
    return false;
}

static bool ends_early(struct relay *r, bool up, struct frame *f)
{
    if (!up || !r->send || f->channel != r->send || f->type != MSG_DATA)
        return true;
    if (!r->lied)
        message_put_text(&r->to_driver, MSG_DATA_END, f->channel, "\x1b[2J");
    r->lied = true;
    return false;
}

static bool silent_source(struct relay *r, bool up, struct frame *f)
{
    r->dead |= up && r->send && f->channel == r->send && f->type == MSG_DATA;
    return !r->dead;
}

static const struct {
    const char *name;
    bool (*tamper)(struct relay *r, bool up, struct frame *f);
    bool source, timeout;
    bool b_gets_it; /* the honest target must have it all the same; else at the next honest run */
    enum sos_status status;
} tampers[] = {
    {"silent_signer", silent_signer, false, true, true, SOS_PARTIAL},
    {"noisy_signer", noisy_signer, false, false, true, SOS_OK},
    {"signer_of_four_gib", signer_of_four_gib, false, false, true, SOS_OK},
    {"signer_of_another", signer_of_another, false, false, false, SOS_PARTIAL},
    {"signer_of_a_partial", signer_of_a_partial, false, false, false, SOS_PARTIAL},
    {"signer_that_ends", signer_that_ends, false, false, true, SOS_OK},
    {"data_to_its_own_source", data_to_its_own_source, false, false, true, SOS_PARTIAL},
    {"credit_for_its_signatures", credit_for_its_signatures, false, false, true, SOS_PARTIAL},
    {"signatures_without_credit", signatures_without_credit, false, false, true, SOS_PARTIAL},
    {"endless_credit", endless_credit, false, false, true, SOS_OK},
    {"flipped", flipped, true, false, false, SOS_PARTIAL},
    {"doubled", doubled, true, false, true, SOS_OK},
    {"as_compressed", as_compressed, true, false, false, SOS_PARTIAL},
    {"ends_early", ends_early, true, false, false, SOS_PARTIAL},
    {"silent_source", silent_source, true, true, false, SOS_PARTIAL},
};

static void tampered_streams(void **state)
{
    (void)state;
    make_versions();
    for (size_t i = 0; i < COUNT(tampers); i++) {
        print_message("    %s\n", tampers[i].name);
        usual();
        how.order[0] = "fake"; /* the lowest target signs */
        how.order[2] = "b";
        how.order[1] = "a";
        how.through = true;
        the_fake = relayed;
        tamper = NULL;
        fill_world();
        write_file("a/big", before, BIG);
        assert_int_equal(run_world(), SOS_OK);
        assert_true(file_is("b/big", before, BIG) && file_is("fake/big", before, BIG));
        write_file(tampers[i].source ? "fake/big" : "a/big", after, BIG);
        write_file("a/more", "more", 4);
        tamper = tampers[i].tamper;
        how.timeout = tampers[i].timeout ? 1 : 20;
        enum sos_status status = run_world();
        /* Its agent is sent more than it has granted, and complains, when the honest target happens to be the faster one. */
        bool hurts_itself = tampers[i].tamper == endless_credit && status == SOS_PARTIAL;
        if (status != tampers[i].status && !hurts_itself)
            fail_msg("status %d: %s", status, (char *)heard.said.data);
        said_cleanly(20000);
        assert_true(holds("b/more", "more"));
        assert_true(file_is("b/big", after, BIG) || (!tampers[i].b_gets_it && file_is("b/big", before, BIG)));
        assert_true(file_is("a/big", after, BIG) || (tampers[i].source && file_is("a/big", before, BIG)));
        assert_true(file_is("fake/big", after, BIG) || file_is("fake/big", before, BIG));
        tamper = NULL;
        how.timeout = 20;
        assert_int_equal(run_world(), SOS_OK);
        shell("cd %1$s && diff -r -x .sos-sync a b && diff -r -x .sos-sync a fake");
        assert_true(file_is("b/big", after, BIG));
    }
    usual();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, remove_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hostile_manifests), TEST(endless_lists), TEST(nonsense_in_every_state), TEST(well_formed_lies),
        TEST(claims_of_everything), TEST(a_store_in_anothers_place), TEST(floods_of_words), TEST(floods_of_standard_error),
        TEST(tampered_streams), TEST(digests_that_nobody_asked_for),
    };
    usual();
    cmocka_set_test_filter(getenv("ONLY"));
    int rc = cmocka_run_group_tests_name("hostile members", tests, NULL, NULL);
    buf_free(&heard.said);
    return rc;
}
