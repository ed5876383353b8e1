load lib
load worlds

setup() { setup_world; }
teardown() { teardown_world; }

# ---- a dry run changes nothing ----

@test "dry run: stores that were never synced stay as they are" {
    mkdir a b
    put a x 1
    put b d/y 2
    ln -s x a/l
    snapshot . >"$BATS_TEST_TMPDIR/before"
    exits 0 --dry-run a b
    exits 0 -n --json a b
    snapshot . | diff "$BATS_TEST_TMPDIR/before" -
    [ ! -e a/.sos-sync ] && [ ! -e b/.sos-sync ]
}

@test "dry run: a member that does not exist is not made" {
    mkdir a
    put a x 1
    exits 0 --dry-run --json a b
    [ "$(acts <<<"$output")" = "copy x b" ]
    [ ! -e b ] && [ ! -e a/.sos-sync ]
    exits 0 --json a b
    [ "$(acts <<<"$output")" = "copy x b" ]
}

@test "dry run: stores that were synced before stay as they are, their state too" {
    mkdir a b c state
    put a x 1
    put b y 2
    exits 0 a b c
    put a x 11
    put b x 222
    rm c/y
    mkdir c/new
    chmod 600 b/y
    snapshot . >"$BATS_TEST_TMPDIR/before"
    find . -type f -exec sha256sum {} + | sort >"$BATS_TEST_TMPDIR/sums"
    exits 0 --dry-run a b c
    exits 0 --dry-run --checksum a b c
    snapshot . | diff "$BATS_TEST_TMPDIR/before" -
    find . -type f -exec sha256sum {} + | sort | diff "$BATS_TEST_TMPDIR/sums" -
}

@test "dry run: --state-dir gets nothing either" {
    mkdir a b
    put a x 1
    exits 0 --dry-run --state-dir state a b
    [ ! -e state ]
    mkdir state
    exits 0 --dry-run --state-dir state a b
    [ -z "$(ls -A state)" ]
}

@test "dry run: what a killed run left behind is not tidied up" {
    command -v strace >/dev/null || skip "no strace"
    mkdir a b
    put a x 1
    put a y 2
    under_strace -o /dev/null -e trace=renameat2,linkat -e inject=renameat2,linkat:signal=KILL:when=2 \
        "$SOS_SYNC" a b >/dev/null 2>&1 || true
    snapshot a b >"$BATS_TEST_TMPDIR/before"
    sync --dry-run a b >/dev/null || true
    snapshot a b | diff "$BATS_TEST_TMPDIR/before" -
}

@test "dry run: it works on stores that one may only read" {
    mkdir a b
    put a x 1
    exits 0 a b
    put a y 2
    as_nobody
    chown -R 0:0 a b 2>/dev/null || chmod -R a-w a b
    chmod -R a+rX a b
    exits 0 --dry-run --json a b || exits 3 --dry-run --json a b
    [ "$(acts <<<"$output")" = "copy y b" ] || [ -n "$errors" ]
    chmod -R u+w a b 2>/dev/null || true
}

@test "dry run: it exits as the run would, where an object cannot be read" {
    mkdir a b
    put a x 1
    put a y 2
    chmod 0 a/y
    as_nobody
    exits 3 --dry-run --json a b
    acts <<<"$output" >planned
    exits 3 --json a b
    acts <<<"$output" | diff planned -
    [ "$(cat b/x)" = 1 ]
}

@test "dry run: it exits as the run would, where a member is refused" {
    mkdir a b c
    put a x 1
    exits 0 a b c
    rm -r c
    put a y 2
    exits 6 --dry-run --json a b c
    acts <<<"$output" >planned
    exits 6 --json a b c
    acts <<<"$output" | diff planned -
}

# ---- a dry run tells what the run does: random worlds ----
# RANDOM_WORLDS=N runs N worlds in each test instead of the usual number; WORLD=SEED that one alone.

@test "random worlds: a dry run's actions are the run's; all members end the same; one edit wins; nothing is lost" {
    random_worlds 1 12 whole_rounds
}

@test "random worlds: with --through" {
    EXTRA=(--through)
    random_worlds 1001 4 whole_rounds
}

@test "random worlds: runs of some members only, in any order, end the same and lose nothing" {
    random_worlds 2001 4 partial_rounds
}
