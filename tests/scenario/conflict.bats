load lib

setup() {
    setup_world
    mkdir a b c
    put a f old 1700000000
    sync -q a b c
}
teardown() { teardown_world; }

conflicts() { jq -r 'select(.action == "conflict") | "\(.path) \(.from) \(.to)"' <<<"$output" | sort; }

@test "conflict: of concurrent edits the newest mtime wins" {
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    exits 0 --json a b c
    [ "$(cat a/f b/f c/f)" = "by bby bby b" ]
    [ "$(conflicts)" = "f b a" ]
    [ "$(summary conflicts <<<"$output")" = 1 ]
    same a b c
}

@test "conflict: nanoseconds count" {
    put a f 'by a' 1700000500.000000002
    put b f 'by b' 1700000500.000000001
    exits 0 a b c
    [ "$(cat b/f)" = "by a" ]
}

@test "conflict: what lost is in the trash of every member that held it, whole, a plain file" {
    put a f 'loser' 1700000500
    exits 0 a c
    put b f 'winner' 1700000900
    exits 0 --json a b c
    [ "$(cat c/f)" = winner ]
    [ "$(conflicts)" = $'f b a\nf b c' ]
    for m in a c; do
        [ "$(trashed $m | grep -c '^f')" -ge 1 ]
        [[ $(contents $m/.sos-sync/trash) == *$(printf loser | sha256sum | cut -c 1-64)* ]]
    done
    [ -z "$(find b/.sos-sync -path '*trash*' -name f -exec grep -l loser {} +)" ]
}

@test "conflict: the kept file has its name, mode and time" {
    put a sub/f 'loser' 1700000500.123456789
    chmod 640 a/sub/f
    put b sub/f 'winner' 1700000900
    exits 0 a b
    kept=$(find a/.sos-sync/trash -path '*/sub/f')
    [ "$(cat "$kept")" = loser ]
    [ "$(stat -c '%a %y' "$kept")" = "640 2023-11-14 22:21:40.123456789 +0000" ]
}

@test "conflict: it is reported, and is no failure; a second run has nothing to do" {
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    exits 0 a b c
    grep -q 'conflict.*f' <<<"$output"
    idle a b c
    idle c a b
}

@test "conflict: three edits: one wins, two are kept" {
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    put c f 'by c' 1700000700
    exits 0 --json c b a
    [ "$(cat a/f b/f c/f)" = "by bby bby b" ]
    [ "$(conflicts)" = $'f b a\nf b c' ]
    [[ $(contents a/.sos-sync/trash) == *$(printf 'by a' | sha256sum | cut -c 1-64)* ]]
    [[ $(contents c/.sos-sync/trash) == *$(printf 'by c' | sha256sum | cut -c 1-64)* ]]
    idle a b c
}

@test "conflict: a tie is decided by digest, whatever the order of members" {
    local round first=
    for round in 'a b c' 'b a c' 'c b a' 'b c a'; do
        rm -rf w
        mkdir -p w/a w/b w/c
        cd w
        put a f old 1700000000
        sync -q a b c
        put a f 'same time, by a' 1700000500
        put b f 'same time, by b' 1700000500
        # shellcheck disable=SC2086
        exits 0 $round
        same a b c
        [ -n "$first" ] || first=$(cat c/f)
        [ "$(cat c/f)" = "$first" ]
        cd ..
    done
}

@test "conflict: the outcome does not depend on the order of members" {
    local i order
    cp -a a b c "$BATS_TEST_TMPDIR"
    for i in {1..12}; do
        put a "g$i" "a$i" $((1700000000 + i % 3))
        put b "g$i" "b$i" $((1700000000 + i % 2))
        put c "g$i" "c$i" $((1700000000 + i % 5))
    done
    for order in 'a b c' 'c a b' 'b c a'; do
        mkdir "w-${order// /}"
        (
            cd "w-${order// /}"
            cp -a ../a ../b ../c .
            rm -rf ./*/.sos-sync
            # shellcheck disable=SC2086
            sync -q $order
        )
    done
    same w-abc/a w-abc/b w-cab/a w-bca/c
}

@test "conflict: the outcome does not depend on which members meet first" {
    local order
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    put c f 'by c' 1700000700
    for order in 'a b:b c:a c' 'c b:a c:b a' 'a c:b c:a b' 'a b:a c:b c:a b'; do
        mkdir w
        cp -a a b c w
        (
            cd w
            rm -rf ./*/.sos-sync
            IFS=:
            for pair in $order; do
                IFS=' '
                # shellcheck disable=SC2086
                sync -q $pair
                IFS=:
            done
            sync -q a b c
            same a b c && [ "$(cat a/f)" = 'by b' ]
        )
        rm -r w
    done
}

@test "conflict: once settled on two members it is settled on the third" {
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    exits 0 a b
    exits 0 --json b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(summary updated <<<"$output")" = 1 ]
    idle a b c
}

@test "conflict: an edit made after a settlement follows it" {
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    exits 0 a b c
    put c f 'after' 1600000000
    exits 0 --json a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(cat a/f)" = after ]
}

@test "conflict: the same edit on two members is none" {
    put a f 'same' 1700000500
    put b f 'same' 1700000500
    exits 0 --json a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(acts <<<"$output")" = "update f c" ]
    idle a b c
}

@test "conflict: the same content with another mode and time is none: the later time wins" {
    put a f 'same' 1700000500
    put b f 'same' 1700000900
    chmod 600 a/f
    exits 0 --json a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(stat -c '%a %Y' a/f)" = "644 1700000900" ]
    same a b c
}

@test "conflict: different content at the first run" {
    put a new 1 1700000500
    put b new 22 1700000900
    exits 0 --json a b c
    [ "$(conflicts)" = "new b a" ]
    [ "$(cat c/new)" = 22 ]
    [[ $(contents a/.sos-sync/trash) == *$(printf 1 | sha256sum | cut -c 1-64)* ]]
    same a b c
}

@test "conflict: an edit against a removal is none: what is missing is a lost copy" {
    put a f 'edited' 1700000500
    rm b/f
    exits 0 --json a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(cat b/f c/f)" = editededited ]
}

@test "conflict: of a file against a symlink the loser is kept too" {
    put a f 'a file' 1700000500
    ln -sfn target b/f
    touch -hd @1700000900 b/f
    exits 0 --json a b c
    [ "$(readlink a/f c/f | xargs)" = "target target" ]
    [[ $(contents a/.sos-sync/trash) == *$(printf 'a file' | sha256sum | cut -c 1-64)* ]]
    idle a b c
}

@test "conflict: a symlink that lost is kept as a symlink" {
    ln -s one a/l
    touch -hd @1700000500 a/l
    ln -s two b/l
    touch -hd @1700000900 b/l
    exits 0 a b
    [ "$(readlink "$(find a/.sos-sync/trash -name l)")" = one ]
}

@test "conflict: what an edit replaces is kept in the trash as well" {
    put a f 'a successor' 1700000500
    exits 0 a b c
    [[ $(contents b/.sos-sync/trash) == *$(printf old | sha256sum | cut -c 1-64)* ]]
    [[ $(contents c/.sos-sync/trash) == *$(printf old | sha256sum | cut -c 1-64)* ]]
}

@test "conflict: with --through the loser is kept too" {
    EXTRA=(--through)
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    exits 0 --json a b c
    [ "$(conflicts)" = "f b a" ]
    [[ $(contents a/.sos-sync/trash) == *$(printf 'by a' | sha256sum | cut -c 1-64)* ]]
    idle a b c
}
