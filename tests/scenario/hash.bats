load lib
load ssh

# Contents known by SHA-256, where the group's policy asks for it: the same program, another digest, and the way there and back.

setup() {
    setup_world
    mkdir a b c
    printf '[default]\nhash: sha256\n' >"$BATS_TEST_TMPDIR/sha256"
    printf '[default]\nhash: xxh3\n' >"$BATS_TEST_TMPDIR/xxh3"
    put a dir/one "the first object" 2020-01-01
    put a two "the second object" 2020-01-02
    ln -s two a/link
    sha256
}
teardown() {
    servers_stop
    teardown_world
}

sha256() { EXTRA=(--policy "$BATS_TEST_TMPDIR/sha256"); }
xxh3() { EXTRA=(--policy "$BATS_TEST_TMPDIR/xxh3"); }

# What a store has recorded of its objects but for their digests. A listing leaves the holders out.
record() { "$SOS_SYNC" manifest --json "$1" | jq -Sc 'del(.digest, .hash)'; }
digests() { "$SOS_SYNC" manifest --json "$1" | jq -r 'select(.kind == "file") | "\(.digest)  \(.path)"'; }
kinds() { "$SOS_SYNC" manifest --json "$1" | jq -r '.hash' | sort | uniq -c | xargs; }
of_tool() { (cd "$1" && find . -path ./.sos-sync -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum); }

@test "hash: a group by SHA-256 is kept in step as any other" {
    exits 0 a b c
    same a b c
    idle a b c
    diff <(digests a | sort -k 2) <(of_tool a | sort -k 2)
    [ "$(kinds b)" = "1 null 3 sha256" ]
    put b two edited
    mv c/dir/one c/dir/other
    rm a/link
    exits 0 --json a b c
    [ "$(acts <<<"$output" | sort | xargs)" = "adopt dir/one c adopt dir/other a adopt dir/other b copy link a update two a update two c" ]
    same a b c
    idle a b c
}

@test "hash: mtree tools verify what a store has recorded by SHA-256, with nothing read" {
    exits 0 a b
    chmod 000 a/two # for a listing of its digest nobody need read it
    "$SOS_SYNC" manifest --mtree a >spec
    grep -q "two type=file.* sha256digest=$(printf 'the second object' | sha256sum | cut -c 1-64)" spec
    "$SOS_SYNC" manifest --mtree -c b >spec
    grep -q "dir/one type=file.* sha256digest=$(printf 'the first object' | sha256sum | cut -c 1-64)" spec
    command -v mtree >/dev/null || return 0
    rm -rf b/.sos-sync
    mtree -p b <spec
    put b dir/one "THE first object" 2020-01-01
    ! mtree -p b <spec >found || false
    grep -q one found
}

@test "hash: another one is no edit: nothing travels, no version, origin or date changes, there and back" {
    local s i
    xxh3
    exits 0 a b c
    put b two edited
    exits 0 a b c
    for s in a b c; do record $s >"$s.before"; done
    [ "$(kinds a)" = "1 null 3 xxh3" ]
    for i in sha256 xxh3 sha256; do
        $i
        snapshot a b c >before
        exits 0 --json --dry-run a b c
        [ -z "$(acts <<<"$output")" ] && [ "$(summary copied <<<"$output")" = 0 ]
        snapshot a b c | diff before - # a dry run has written nothing
        exits 0 --json a b c
        [ -z "$(acts <<<"$output")" ] && [ "$(summary literal_bytes <<<"$output")" = 0 ]
        grep -q 'read again' <<<"$output"
        for s in a b c; do
            record $s | diff "$s.before" -
            [ "$(kinds $s)" = "1 null 3 $i" ]
        done
        idle a b c
        ! grep -q 'read again' <<<"$output" || false
    done
}

@test "hash: edits, deletions and members that were away are seen over a change of it" {
    printf '[default]\nhash: xxh3\ndeletions: propagate\n' >"$BATS_TEST_TMPDIR/xxh3"
    printf '[default]\nhash: sha256\ndeletions: propagate\n' >"$BATS_TEST_TMPDIR/sha256"
    xxh3
    put a three 3
    exits 0 a b c
    sha256
    put b two edited
    rm c/three
    exits 0 a b c
    [ "$(cat a/two c/two)" = editededited ]
    [ ! -e a/three ] && [ ! -e b/three ]
    same a b c
    xxh3
    exits 0 a b
    sha256
    put c dir/one later
    exits 0 a b c
    [ "$(cat a/dir/one)" = later ]
    same a b c
    idle a b c
}

@test "hash: what was hidden while it changed is known again" {
    xxh3
    exits 0 a b
    sha256
    exits 0 --exclude two a b
    exits 0 --json a b
    [ -z "$(acts <<<"$output")" ]
    [ "$(kinds a)" = "1 null 3 sha256" ]
}

@test "hash: damage is found by SHA-256, healed, and kept aside; and over a change of hash" {
    rotting_world
    mkdir a b
    put a two "the second object" 2020-01-02
    put a dir/one "the first object" 2020-01-01
    settled a b
    rot b/two
    idle a b
    exits 0 scrub --json a b
    [ "$(acts <<<"$output")" = "heal two b" ]
    same a b
    cat b/.sos-sync/trash/*/two | grep -q rotten
    rot a/dir/one
    xxh3
    exits 0 --json a b
    [ "$(acts <<<"$output")" = "heal dir/one a" ]
    same a b
    idle a b
    rot a/two
    rot b/two ROTTEN
    sleep 2.1
    sha256
    exits 3 a b
    exits 3 a b
    grep -q 'two.*damaged' <<<"$errors"
    [ ! -e a/.sos-sync/trash ] || ! trashed a | grep -qx two || false
}

@test "hash: -c, prunings and conflicts go by it" {
    exits 0 a b c
    touch -r b/two stamp
    put b two "THE second object"
    touch -r stamp b/two
    exits 0 -c a b c
    same a b c
    printf '[default]\nhash: sha256\nconflict: keep-both\nreplicas: 1\n' >"$BATS_TEST_TMPDIR/sha256"
    exits 0 --json a b c
    [ "$(summary pruned <<<"$output")" = 3 ]
    [ "$(find a b c -name .sos-sync -prune -o -name two -print | wc -l)" = 2 ]
    printf '[default]\nhash: sha256\nconflict: keep-both\n' >"$BATS_TEST_TMPDIR/sha256"
    exits 0 a b c
    put a two "by a" 2021-01-01
    put b two "by b" 2022-01-01
    exits 0 a b c
    [ "$(cat c/two.conflict-"$(printf 'by a' | sha256sum | cut -c 1-8)"-a*)" = "by a" ] || { ls c; return 1; }
    same a b c
}

@test "hash: a group with blob-servers has no use for it, and says so" {
    printf -- '[7]\nx: http://127.0.0.1:9\ny: %s/a\n' "$PWD" >conf
    exits 1 --config conf
    grep -q 'sha256 does not go with blob-servers' <<<"$errors"
}

# ---- other machines ----

begin_ssh() {
    BATS_FILE_TMPDIR=$BATS_TEST_TMPDIR
    ssh_begin
    ssh_start
    ssh_alias far "$ssh_port"
    ssh_world
    EXTRA+=(--policy "$BATS_TEST_TMPDIR/sha256")
}

noise() { head -c "$2" /dev/urandom >"$1"; } # FILE BYTES

@test "hash: far members, deltas, and a run with nothing to do" {
    begin_ssh
    noise a/big 8000000
    for i in {1..300}; do echo "object $i" >"a/$i"; done
    exits 0 a b "far:$PWD/c"
    same a b c
    idle a b "far:$PWD/c"
    below "bytes for nothing" "$(summary wire_bytes <<<"$output")" 16000
    [ "$(kinds c | cut -d ' ' -f 4)" = sha256 ]
    printf 'some other bytes' | dd of=a/big bs=1 seek=4000000 conv=notrunc status=none
    exits 0 --json a b "far:$PWD/c"
    below "bytes for an edit" "$(summary wire_bytes <<<"$output")" 400000
    same a b c
    mv c/1 c/renamed
    exits 0 --json a b "far:$PWD/c"
    [ "$(acts <<<"$output" | grep -c '^adopt renamed')" = 2 ]
    same a b c
    # The coordinator's copy of the far manifest is of no use after a change of the hash, and of use again after that.
    EXTRA=("${EXTRA[@]/%sha256/xxh3}")
    exits 0 --json a b "far:$PWD/c"
    [ -z "$(acts <<<"$output")" ]
    put a 2 changed
    exits 0 --json a b "far:$PWD/c"
    below "bytes for a small edit" "$(summary wire_bytes <<<"$output")" 20000
    same a b c
}

@test "hash: a large object that was interrupted resumes" {
    begin_ssh
    proxy_start --cut-up 9000000 --rate 40000000 "127.0.0.1:$ssh_port"
    ssh_alias breaks "$proxy_port"
    noise a/big 16000000
    ends "2 3" a "breaks:$PWD/b"
    [ ! -e b/big ]
    ls b/.sos-sync/partial | grep -qx "$(sha256sum <a/big | cut -c 1-64).16000000"
    for _ in {1..100}; do
        ends "0 5" --json a "far:$PWD/b"
        [ "$got" = 5 ] || break
        pause
    done
    [ "$got" = 0 ]
    same a b
    below "bytes after the break" "$(summary wire_bytes <<<"$output")" 11000000
}

@test "hash: a far sos-sync that is too old for it is left out, with the remedy" {
    local greeting='SOSWIRE\n\001\000\001\000\000\000\021\000\000\000\000\000\000\000\000\000'
    printf '#!/bin/sh\nprintf "%s"\nsleep 1\n' "$greeting" >old
    chmod +x old
    exits 3 --rsh "$PWD/old" a b "far:$PWD/c"
    grep -q 'too old for .hash: sha256' <<<"$errors"
    same a b
}
