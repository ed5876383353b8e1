load lib

setup() {
    setup_world
    mkdir a b
    put a one 1 1700000000.123456789
    put a d/two 22 1700000001
    mkdir a/empty
    ln -s one a/link
    chmod 640 a/one
}
teardown() { teardown_world; }

@test "manifest: a store that was never synced is listed, and nothing is written" {
    snapshot . >"$BATS_TEST_TMPDIR/before"
    exits 0 manifest a
    snapshot . | diff "$BATS_TEST_TMPDIR/before" -
    [ "$(wc -l <<<"$output")" = 5 ]
    [ "$(awk '{ print $NF }' <<<"$output" | xargs)" = "d d/two empty link one" ]
    grep -Eq '^f +0640 +1 .*one$' <<<"$output"
    [ -z "$errors" ]
}

@test "manifest: a store that was synced, and nothing is written" {
    exits 0 a b
    put a later 3
    snapshot . >"$BATS_TEST_TMPDIR/before"
    exits 0 manifest a
    grep -q 'later$' <<<"$output"
    exits 0 manifest -c --json a
    exits 0 manifest -c --format=mtree a
    snapshot . | diff "$BATS_TEST_TMPDIR/before" -
}

@test "manifest: --json: a line for each object" {
    exits 0 a b
    exits 0 manifest --json a
    [ "$(jq -r .event <<<"$output" | sort -u)" = object ]
    [ "$(jq -r .path <<<"$output" | xargs)" = "d d/two empty link one" ]
    [ "$(jq 'select(.path == "one") | .kind == "file" and .mode == "0640" and .size == 1 and .mtime == "1700000000.123456789"
        and (.version | length == 1) and (.digest | length == 32)' <<<"$output")" = true ]
}

@test "manifest: equal stores have equal digests and versions" {
    exits 0 a b
    exits 0 manifest --json a
    one=$(jq -c '[.path, .digest, .version, .origin, .mode, .mtime]' <<<"$output")
    exits 0 manifest --json b
    diff <(echo "$one") <(jq -c '[.path, .digest, .version, .origin, .mode, .mtime]' <<<"$output")
    command -v xxhsum >/dev/null || return 0
    [ "$(jq -r 'select(.path == "one") | .digest' <<<"$output")" = "$(printf 1 | xxhsum -H2 | cut -d ' ' -f 1)" ]
}

@test "manifest: names of any bytes, in the order of a depth-first walk" {
    put a 'd.x' 1
    put a $'d\nl' 1
    put a $'\377' 1
    exits 0 manifest --json a
    [ "$(jq -r '.path // .path_b64' <<<"$output" | head -c -1 | tr '\n' ' ')" = "d d/two d l d.x empty link one /w==" ]
    exits 0 manifest a
    [ "$(wc -l <<<"$output")" = 8 ]
}

@test "manifest: mtree tools verify the mtree format" {
    put a 'a b#c\d' 3
    put a $'x\ny' 4
    exits 0 manifest --format=mtree a
    printf '%s\n' "$output" >spec
    [ "$(head -n 1 spec)" = '#mtree' ]
    if command -v mtree >/dev/null; then
        rm -rf a/.sos-sync
        mtree -p a <spec >found || { cat found; return 1; }
        [ ! -s found ]
        put a one changed
        ! mtree -p a <spec >found || false
        grep -q one found
    elif command -v bsdtar >/dev/null; then
        bsdtar -tf spec | grep -q d/two
    else
        skip "no mtree and no bsdtar"
    fi
}

@test "manifest: -c adds digests that mtree tools verify" {
    command -v mtree >/dev/null || skip "no mtree"
    exits 0 manifest -c --mtree a
    printf '%s\n' "$output" >spec
    grep -q 'sha256' spec
    mtree -p a <spec
    put a d/two XX 1700000001
    ! mtree -p a <spec >found || false
    grep -q two found
}

@test "manifest: bsdtar reads the mtree format" {
    command -v bsdtar >/dev/null || skip "no bsdtar"
    exits 0 manifest --format=mtree a
    printf '%s\n' "$output" >spec
    [ "$(bsdtar -tf spec | sed 's|^\./||; s|/$||' | grep . | grep -v '^\.$' | LC_ALL=C sort | xargs)" = "d d/two empty link one" ]
}

@test "manifest: filters apply" {
    exits 0 manifest --exclude /d --json a
    [ "$(jq -r .path <<<"$output" | xargs)" = "empty link one" ]
}

@test "manifest: --state-dir" {
    mkdir state
    exits 0 --state-dir state a b
    exits 0 manifest --state-dir state --json a
    [ "$(jq 'select(.path == "one") | .version | length == 1' <<<"$output")" = true ]
    [ ! -e a/.sos-sync ]
}

@test "manifest: a store that is not there, two stores, none" {
    ends=0
    sync manifest nowhere 2>err || ends=$?
    [ $ends != 0 ] && grep -q nowhere err
    exits 1 manifest a b
    exits 1 manifest
    [ ! -e nowhere ]
}

@test "manifest: an unreadable file: the rest is listed, status 3" {
    as_nobody
    chmod 0 a/one
    exits 3 manifest --json a
    [ -n "$(jq 'select(.path == "d/two")' <<<"$output")" ]
    grep -q one <<<"$errors"
}

@test "manifest: it is listed while a run holds the lock or is refused with 5, and never waits" {
    command -v flock >/dev/null || skip "no flock"
    exits 0 a b
    AS=(timeout 20 flock -x a)
    exits 5 manifest a || exits 0 manifest a
}
