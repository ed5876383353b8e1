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

# ---- keep-both, and a member that wins ----

rule() {
    printf '[default]\nconflict: %s\n' "$1" >policy
    EXTRA=(--policy "$PWD/policy")
}

kept() { (cd "$1" && find . -path ./.sos-sync -prune -o -name '*.conflict-*' -printf '%P\n' | LC_ALL=C sort); }
digits() { "$SOS_SYNC" manifest --json "$1" | jq -r --arg path "$2" 'select(.path == $path) | .digest[:8]'; }

# A group with names, as in the configuration.
named() {
    printf '[1]\na: %s/a\nb: %s/b\nc: %s/c\n' "$PWD" "$PWD" "$PWD" >conf
    EXTRA+=(--config conf)
}

@test "conflict: keep-both: each version has a name of its own, on all members; the newest keeps the plain one" {
    rule keep-both
    named
    put a d/f.txt old
    exits 0
    put a d/f.txt 'by a' 1700000500
    put b d/f.txt 'by b' 1700000900
    put c d/f.txt 'by c' 1700000700
    chmod 600 a/d/f.txt
    local one two
    one=d/f.conflict-$(digits a d/f.txt)-a.txt
    two=d/f.conflict-$(digits c d/f.txt)-c.txt
    exits 0 --dry-run --json
    acts <<<"$output" >planned
    exits 0 --json
    acts <<<"$output" | diff planned -
    [ "$(conflicts)" = $'d/f.txt b a\nd/f.txt b c' ] || { echo "$output"; false; }
    [ "$(jq -r 'select(.action == "copy") | .reason' <<<"$output" | sort -u)" = kept ]
    [ "$(kept a)" = "$(printf '%s\n' "$one" "$two" | LC_ALL=C sort)" ]
    [ "$(cat "b/d/f.txt" "b/$one" "b/$two")" = 'by bby aby c' ]
    [ "$(stat -c '%a %Y' "b/$one")" = '600 1700000500' ]
    same a b c
    exits 0 --json
    [ -z "$(acts <<<"$output")" ]
}

@test "conflict: keep-both: the same is kept whoever meets first, whoever drives, and each is made once" {
    rule keep-both
    named
    put a d/f.txt old
    exits 0
    put a d/f.txt 'by a' 1700000500
    put b d/f.txt 'by b' 1700000900
    put c d/f.txt 'by c' 1700000700
    local order pair first=
    for order in 'a b:b c:a c' 'c b:a c:b a' 'a c:b c:a b' 'c a:a b:c b:b a' 'b c a'; do
        mkdir w
        cp -a a b c w
        (
            cd w
            printf '[default]\nconflict: keep-both\n' >policy
            EXTRA=(--policy "$PWD/policy")
            IFS=:
            for pair in $order; do
                IFS=' '
                # shellcheck disable=SC2086
                sync -q $pair
                IFS=:
            done
            IFS=' '
            exits 0 c a b
            same a b c
            [ "$(cat a/d/f.txt)" = 'by b' ]
            kept a | sed 's/-[a-c]\.txt$//' # a version that won before may bear the name of whom it won against
        ) >names
        [ -n "$first" ] || first=$(<names)
        [ "$(<names)" = "$first" ] || { echo "$order: $(<names)"; return 1; }
        rm -r w
    done
    # Not all versions need to have lost a conflict: what was settled meanwhile was followed.
    [ "$(grep -c conflict <<<"$first")" -ge 1 ]
}

@test "conflict: keep-both: what was kept is an object as any other: it may be edited, and deleted for good" {
    rule keep-both
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    exits 0 a b c
    local name
    name=$(kept c)
    put c "$name" edited
    exits 0 a b c
    same a b c
    [ "$(cat "a/$name")" = edited ]
    printf 'deletions: propagate\n' >>policy
    exits 0 a b c
    rm "a/$name"
    exits 0 a b c
    [ -z "$(kept a)$(kept b)$(kept c)" ]
    idle a b c
}

@test "conflict: keep-both: a symlink, a file against a directory, and one content on two members" {
    rule keep-both
    ln -s one a/l
    touch -hd @1700000500 a/l
    ln -s two b/l
    touch -hd @1700000900 b/l
    put a k 'a file' 1700000900
    put b k/in 'in a directory'
    put a same 'twice' 1700000100
    put b same 'twice' 1700000100
    put c same 'once' 1700000900
    exits 0 --json a b c
    same a b c
    [ "$(readlink c/l)" = two ]
    [ "$(readlink c/l.conflict-*)" = one ]
    [ "$(cat c/k/in)" = 'in a directory' ]
    [ "$(cat c/k.conflict-*)" = 'a file' ]
    [ "$(cat a/same)" = once ] && [ "$(cat a/same.conflict-*)" = twice ]
    [ "$(kept a | wc -l)" = 3 ]
    idle a b c
}

@test "conflict: keep-both: long names are cut, and odd ones kept" {
    rule keep-both
    local long odd=$'x \n\377.tar.gz'
    long=$(printf 'n%.0s' {1..251}).txt
    put a "$long" 'by a' 1700000500
    put b "$long" 'by b' 1700000900
    put a "$odd" 'odd a' 1700000900
    put b "$odd" 'odd b' 1700000500
    exits 0 a b c
    same a b c
    [ "$(find c -path c/.sos-sync -prune -o -name '*.conflict-*' -printf x | wc -c)" = 2 ]
    [ "$(cat c/n*.conflict-*.txt)" = 'by a' ]
    [ "$(cat c/x*.conflict-*.gz)" = 'odd b' ]
    idle a b c
}

@test "conflict: keep-both: with --through, and in the trash as well" {
    rule keep-both
    EXTRA+=(--through)
    put a f 'by a' 1700000500
    put b f 'by b' 1700000900
    exits 0 a b c
    same a b c
    [ "$(cat c/f.conflict-*)" = 'by a' ]
    [[ $(contents a/.sos-sync/trash) == *$(printf 'by a' | sha256sum | cut -c 1-64)* ]]
    idle a b c
}

@test "conflict: a member wins, and where it is not involved the newest does" {
    printf '[group 1]\nconflict: a\n' >policy
    EXTRA=(--policy "$PWD/policy")
    named
    exits 0
    put a f 'by a' 1700000100
    put b f 'by b' 1700000900
    exits 0 --json
    [ "$(conflicts)" = "f a b" ]
    [ "$(cat b/f c/f)" = 'by aby a' ]
    put b f 'again b' 1700000900
    put c f 'again c' 1700000100
    exits 0 --json
    [ "$(conflicts)" = "f b c" ]
    [ "$(cat a/f c/f)" = 'again bagain b' ]
    same a b c
    # An edit that followed the member's is none against it.
    put c f 'follows' 1600000000
    exits 0 --json
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(cat a/f)" = follows ]
}
