#include "base/sandbox.h"

#include <stdbool.h>

#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/landlock.h>)
#define HAVE_LANDLOCK 1
#endif
#endif

#ifdef HAVE_LANDLOCK

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By number where the installed headers may be older than the kernel that we run on. */
#define FS_EXECUTE (1ull << 0)
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REMOVE_DIR (1ull << 4)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_DIR (1ull << 7)
#define FS_MAKE_REG (1ull << 8)
#define FS_MAKE_SYM (1ull << 12)
#define FS_REFER (1ull << 13)     /* from version 2 on */
#define FS_TRUNCATE (1ull << 14)  /* 3 */
#define FS_IOCTL_DEV (1ull << 15) /* 5 */
#define FS_UP_TO_REFER ((1ull << 14) - 1)
#define NET_BIND_TCP (1ull << 0)  /* 4 */
#define NET_CONNECT_TCP (1ull << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0) /* 6 */
#define SCOPE_SIGNAL (1ull << 1)

#define READS (FS_READ_FILE | FS_READ_DIR)
#define WRITES (FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_SYM | \
                FS_REFER | FS_TRUNCATE)
#define OF_A_FILE (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

/* As the kernel of version 6 has it; an older one takes it as long as what it does not know is zero. */
struct ruleset {
    uint64_t fs, net, scoped;
};

static int version(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* All that this kernel can forbid. */
static struct ruleset everything(int abi)
{
    struct ruleset r = {.fs = FS_UP_TO_REFER};
    if (abi >= 3)
        r.fs |= FS_TRUNCATE;
    if (abi >= 4)
        r.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 5)
        r.fs |= FS_IOCTL_DEV;
    if (abi >= 6)
        r.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    return r;
}

static int passed_over(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP || error == ENAMETOOLONG;
}

static int allow(int ruleset, const struct sandbox_rule *rule, uint64_t handled, struct err *e)
{
    struct stat st;
    int fd = rule->path ? open(rule->path, O_PATH | O_CLOEXEC) : rule->fd;
    if (fd < 0)
        return passed_over(errno) ? 0 : err_sys(e, "%s", rule->path ? rule->path : "a descriptor");
    int rc = fstat(fd, &st);
    if (rc == 0) {
        uint64_t access = rule->access & SANDBOX_READ ? READS : 0;
        access |= rule->access & SANDBOX_WRITE ? WRITES : 0;
        access &= handled & (S_ISDIR(st.st_mode) ? UINT64_MAX : OF_A_FILE);
        struct landlock_path_beneath_attr attr = {.allowed_access = access, .parent_fd = fd};
        rc = access ? (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) : 0;
    }
    if (rc < 0)
        err_sys(e, "%s: cannot be allowed", rule->path ? rule->path : "a descriptor");
    if (rule->path)
        close(fd);
    return rc < 0 ? ERR_SYS : 0;
}

static int enter(const struct sandbox_rule *rule, size_t n, bool network, struct err *e)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(e, "locking in: no_new_privs");
    int abi = version();
    if (abi < 2)
        return 0;
    struct ruleset all = everything(abi);
    all.net &= network ? (uint64_t)NET_BIND_TCP : UINT64_MAX;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0), rc = 0;
    if (fd < 0)
        return err_sys(e, "locking in: Landlock");
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = allow(fd, &rule[i], all.fs, e);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        rc = err_sys(e, "Landlock");
    close(fd);
    return rc < 0 ? err_wrap(e, "locking in") : 1;
}

#else

static int enter(const struct sandbox_rule *rule, size_t n, bool network, struct err *e)
{
    (void)rule;
    (void)n;
    (void)network;
    (void)e;
    return 0;
}

#endif

int sandbox_enter(const struct sandbox_rule *rule, size_t n, struct err *e)
{
    return enter(rule, n, false, e);
}

int sandbox_enter_with_network(const struct sandbox_rule *rule, size_t n, struct err *e)
{
    return enter(rule, n, true, e);
}

int sandbox_nothing(struct err *e)
{
    return sandbox_enter(NULL, 0, e);
}
