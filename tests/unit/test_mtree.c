#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "object/mtree.h"

static struct entry entry(enum entry_kind kind, const char *path, uint64_t size)
{
    struct entry e = {.path = path, .path_len = strlen(path), .kind = kind, .mode = 0644, .size = size};
    e.mtime = (struct stamp){1600000000, 7};
    return e;
}

static char *read_back(int fd)
{
    static char text[4096];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static void mtree_text(void **state)
{
    (void)state;
    int fd = file_unnamed("/tmp");
    struct err e = {0};
    struct mtree *m = mtree_new(fd, true, &e);
    assert_non_null(m);
    struct entry d = entry(ENTRY_DIR, "d", 0), f = entry(ENTRY_FILE, "d/a [1] \\x", 3);
    struct entry l = entry(ENTRY_LINK, "l\n\xff", 3), z = entry(ENTRY_FILE, "z", 0);
    struct entry g = entry(ENTRY_FILE, "b\\#=", 3);
    d.mode = 0755;
    g.mtime = (struct stamp){-5, 250000000};
    g.mode = 0;
    assert_int_equal(mtree_put(m, &d, NULL, &e), 0);
    assert_int_equal(mtree_put(m, &f, NULL, &e), 0);
    assert_int_equal(mtree_data(m, "ab", 2, &e), 0);
    assert_int_equal(mtree_data(m, "cd", 2, &e), ERR_CHANGED);
    assert_int_equal(mtree_data(m, "c", 1, &e), 0);
    assert_int_equal(mtree_put(m, &g, NULL, &e), 0);
    assert_int_equal(mtree_data(m, "ab", 2, &e), 0);
    assert_int_equal(mtree_put(m, &l, "a b", &e), 0);
    assert_int_equal(mtree_put(m, &z, NULL, &e), 0);
    assert_int_equal(mtree_end(m, &e), 0);
    assert_string_equal(read_back(fd),
        "#mtree\n"
        ". type=dir\n"
        "./d type=dir mode=0755\n"
        "./d/a\\040\\134\\1331]\\040\\134\\134x type=file mode=0644 size=3 time=1600000000.000000007"
        " sha256digest=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
        "./b\\134\\043\\075 type=file mode=0000 size=3 time=-5.250000000\n"
        "./l\\012\\377 type=link link=a\\040b time=1600000000.000000007\n"
        "./z type=file mode=0644 size=0 time=1600000000.000000007"
        " sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n");
    close(fd);
}

static void mtree_errors_are_told(void **state)
{
    (void)state;
    int fd = file_unnamed("/tmp");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int readonly = open(path, O_RDONLY | O_CLOEXEC);
    struct err e = {0};
    struct mtree *m = mtree_new(readonly, false, &e);
    struct entry f = entry(ENTRY_FILE, "f", 3), l = entry(ENTRY_LINK, "l", 0);
    assert_int_equal(mtree_put(m, &f, NULL, &e), 0);
    assert_int_equal(mtree_data(m, "abcdef", 6, &e), 0); /* nobody digests it */
    assert_int_equal(mtree_put(m, &l, NULL, &e), ERR_FORMAT);
    assert_int_equal(mtree_end(m, &e), ERR_SYS);
    close(readonly);
    close(fd);
}

static void put_real(struct mtree *m, int dir, const char *name, enum entry_kind kind,
                     const char *content)
{
    struct err e = {0};
    struct entry en = entry(kind, name, strlen(content));
    if (kind == ENTRY_DIR)
        assert_int_equal(mkdirat(dir, name, 0755), 0);
    else if (kind == ENTRY_LINK)
        assert_int_equal(symlinkat(content, dir, name), 0);
    else
        assert_int_equal(file_replace(dir, name, content, strlen(content), false, &e), 0);
    struct stat st;
    assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    en.mode = kind == ENTRY_LINK ? 0777 : st.st_mode & 0777;
    en.mtime = (struct stamp){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    assert_int_equal(mtree_put(m, &en, content, &e), 0);
    if (kind == ENTRY_FILE)
        assert_int_equal(mtree_data(m, content, strlen(content), &e), 0);
}

/* The tool's own words on a tree that it is told about, and on the same tree with one byte changed. */
static void mtree_tool_agrees(void **state)
{
    (void)state;
    if (system("command -v mtree >/dev/null 2>&1") != 0)
        skip();
    char dir[] = "/tmp/sos-mtree-XXXXXX", command[200];
    assert_non_null(mkdtemp(dir));
    int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = file_unnamed("/tmp");
    struct err e = {0};
    struct mtree *m = mtree_new(fd, true, &e);
    put_real(m, root, "*", ENTRY_FILE, "star");
    put_real(m, root, "[a]", ENTRY_FILE, "bracket");
    put_real(m, root, "[a]b\\c?", ENTRY_FILE, "mixed");
    put_real(m, root, "a", ENTRY_FILE, "");
    put_real(m, root, "bad\xff new\nline", ENTRY_FILE, "bytes");
    put_real(m, root, "d[1]", ENTRY_DIR, "");
    put_real(m, root, "d[1]/p\\q #=", ENTRY_FILE, "inner");
    put_real(m, root, "d[1]/z*", ENTRY_LINK, "to [x] \\ #=");
    put_real(m, root, "~x{}%$&", ENTRY_FILE, "signs");
    assert_int_equal(mtree_end(m, &e), 0);
    snprintf(command, sizeof command, "test -z \"$(mtree -p %s </proc/%d/fd/%d 2>&1)\"", dir,
             (int)getpid(), fd);
    int same = system(command);
    int f = openat(root, "a", O_WRONLY | O_CLOEXEC);
    assert_int_equal(file_write(f, "x", 1), 0);
    close(f);
    int other = system(command);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    close(root);
    close(fd);
    assert_int_equal(same, 0);
    assert_int_not_equal(other, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mtree_text),
        cmocka_unit_test(mtree_errors_are_told),
        cmocka_unit_test(mtree_tool_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
