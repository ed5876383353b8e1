load lib

ROOT=$BATS_TEST_DIRNAME/../..

# Installs what was built already: the folder that the program under test stands in.
setup() {
    setup_world
    [ -e "$(dirname "$SOS_SYNC")/libsos-sync.a" ] || skip "the program under test stands in no build folder"
    [ -w "$(dirname "$SOS_SYNC")" ] || skip "the build folder belongs to somebody else"
    command -v make >/dev/null || skip "no make"
    env -u MAKEFLAGS -u MFLAGS make -s -C "$ROOT" BUILD="$(dirname "$SOS_SYNC")" ${OPT:+OPT="$OPT"} ${CC:+CC="$CC"} \
        ${CFLAGS:+CFLAGS="$CFLAGS"} ${LDFLAGS:+LDFLAGS="$LDFLAGS"} DESTDIR="$PWD/dest" PREFIX=/opt/sos install >log 2>&1 || {
        cat log
        return 1
    }
    I=$PWD/dest/opt/sos
}
teardown() { teardown_world; }

@test "install: program, library, header and manual pages stand below DESTDIR and PREFIX" {
    [ -x "$I/bin/sos-sync" ]
    [ -f "$I/lib/libsos-sync.a" ]
    [ -f "$I/include/sos-sync.h" ]
    for page in man1/sos-sync.1 man1/sos-sync-agent.1 man5/sos.conf.5 man5/sos-manifest.5 man7/sos-wire.7; do
        [ -f "$I/share/man/$page" ] || { echo "no $page"; return 1; }
    done
    [ "$(ls dest)" = opt ] && [ "$(ls dest/opt)" = sos ]
    "$I/bin/sos-sync" --version
    mkdir a b
    put a x 1
    "$I/bin/sos-sync" -q a b
    same a b
}

@test "install: a program that uses the library syncs two directories" {
    cat >prog.c <<'C'
#include <sos-sync.h>
#include <stdio.h>

static void on_action(void *ctx, const struct sos_action *a)
{
    (void)ctx;
    printf("%s %s %s\n", a->action, a->path, a->to);
}

static void on_summary(void *ctx, const struct sos_summary *s)
{
    *(uint64_t *)ctx = s->copied;
}

int main(int argc, char **argv)
{
    struct sos_error error;
    struct sos_options options;
    uint64_t copied = 0;
    struct sos_callbacks callbacks = {.ctx = &copied, .action = on_action, .summary = on_summary};
    struct sos_groups *groups = sos_groups_of(argv + 1, (size_t)argc - 1, &error);
    if (!groups || !sos_groups_check(groups, 0, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    sos_options_init(&options);
    enum sos_status status = sos_sync(groups, 0, &options, &callbacks);
    sos_groups_free(groups);
    printf("copied %d\n", (int)copied);
    return (int)status;
}
C
    # shellcheck disable=SC2086
    ${CC:-cc} -Wall -Werror ${OPT:-} ${CFLAGS:-} ${LDFLAGS:-} -I "$I/include" -o prog prog.c -L "$I/lib" -lsos-sync -larchive -lxxhash \
        -ljansson -lssh2 -lrsync -lzstd -lcrypto -lexpat -ldl -pthread
    mkdir a b
    put a x 1
    put b y 2
    ./prog a b >out
    diff out - <<TXT
copy x b
copy y a
copied 2
TXT
    same a b
    ! ./prog a 2>err || false
    [ -s err ]
}

@test "install: uninstall leaves nothing" {
    env -u MAKEFLAGS make -s -C "$ROOT" BUILD="$(dirname "$SOS_SYNC")" DESTDIR="$PWD/dest" PREFIX=/opt/sos uninstall
    [ -z "$(find dest -type f)" ]
}
