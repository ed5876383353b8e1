load lib
load ssh

# What goes over the line between the coordinator and a far member, and how much of it.

setup_file() {
    ssh_begin
    ssh_serve 'far far2 far3'
}
teardown_file() { servers_stop; }

setup() {
    setup_world
    ssh_world
    mkdir a b c
    rsh_counted rsh "$BATS_TEST_TMPDIR/counted"
}
teardown() {
    [ -z "${job:-}" ] || kill -9 "$job" 2>/dev/null || true
    teardown_world
}

by_script() { EXTRA+=(--rsh "$PWD/rsh"); }
went() { counted "$BATS_TEST_TMPDIR/counted"; }

noise() { head -c "$2" /dev/urandom >"$1"; } # FILE BYTES

# line ALIAS [OPTION...]: a far machine behind a proxy of its own; what went is asked with line_count.
line() {
    local alias=$1
    shift
    need_commands sshd
    proxy_start "$@" "127.0.0.1:$ssh_port"
    ssh_alias "$alias" "$proxy_port"
}

# ---- new objects ----

@test "data: many small new objects need no round trip each" {
    local i
    line slow --delay 25
    mkdir a/d b/e
    for i in {1..1500}; do
        echo "from a $i" >"a/d/$i"
        echo "from b $i" >"b/e/$i"
    done
    took exits 0 a "slow:$PWD/b"
    same a b
    below "ms for 3000 objects at 50 ms" "$took" 20000
    took exits 0 a "slow:$PWD/b"
    below "ms for nothing at 50 ms" "$took" 5000
}

@test "data: -z squeezes what can be squeezed" {
    local i
    by_script
    seq 1 600000 >a/numbers
    for i in {1..500}; do seq "$i" $((i + 200)) >"a/small$i"; done
    exits 0 -z --json "h:$PWD/a" "h:$PWD/b"
    same a b
    # Twice: from the source, and to the target.
    below "bytes on the line" "$(went)" $(($(du -sb a | cut -f 1) * 2 / 2))
    below wire_bytes "$(summary wire_bytes <<<"$output")" $(($(du -sb a | cut -f 1) * 2 / 2))
    [ "$(summary literal_bytes <<<"$output")" -gt 4000000 ]
}

@test "data: --no-compress sends bytes as they are" {
    by_script
    seq 1 400000 >a/numbers
    exits 0 --no-compress "h:$PWD/a" "h:$PWD/b"
    same a b
    [ "$(went)" -ge $((2 * $(stat -c %s a/numbers))) ]
}

@test "data: -z does not blow up what cannot be squeezed" {
    by_script
    noise a/noise 5000000
    exits 0 -z "h:$PWD/a" "h:$PWD/b"
    same a b
    below "bytes on the line" "$(went)" 10300000
}

@test "data: a thin line is squeezed without being asked" {
    line thin --rate 1500000
    seq 1 1600000 >a/numbers
    took exits 0 a "thin:$PWD/b"
    same a b
    below "bytes on the line" "$(proxy_count up)" $(($(stat -c %s a/numbers) * 2 / 3))
}

@test "data: files of no bytes, of one, and around the sizes of buffers, squeezed and not" {
    local n option
    for option in -z --no-compress; do
        rm -rf a b
        mkdir a b
        for n in 0 1 511 512 513 4095 4096 4097 65535 65536 65537 524288 1048576 1114112 1114113 3000001; do
            noise a/$n $n
            head -c $n /dev/zero >b/zero$n
        done
        exits 0 $option --rsh "$PWD/rsh" "h:$PWD/a" "h:$PWD/b"
        same a b
    done
}

# ---- changed objects ----

# An old version on both, then changes that leave most of it as it was, also not where it was.
edited() { # STORE
    { echo "in front"; head -c 2000000 "$1/big"; echo "in the middle"; tail -c +2000101 "$1/big"; echo "at the end"; } >new
    cat new >"$1/big"
    rm new
}

@test "data: a changed object travels as a delta, to the far end" {
    line thin --rate 1000000
    noise a/big 4000000
    cp -p a/big b/big
    exits 0 a "thin:$PWD/b"
    edited a
    proxy_stop
    line thin2 --rate 1000000
    exits 0 --json a "thin2:$PWD/b"
    same a b
    below "bytes on the line" "$(proxy_count all)" 200000
    below literal_bytes "$(summary literal_bytes <<<"$output")" 100000
    [ "$(summary literal_bytes <<<"$output")" -gt 0 ]
    [ "$(summary updated <<<"$output")" = 1 ]
}

@test "data: a changed object travels as a delta, from the far end" {
    line thin --rate 1000000
    noise a/big 4000000
    cp -p a/big b/big
    exits 0 a "thin:$PWD/b"
    edited b
    proxy_stop
    line thin2 --rate 1000000
    exits 0 --json a "thin2:$PWD/b"
    same a b
    below "bytes on the line" "$(proxy_count all)" 200000
    below literal_bytes "$(summary literal_bytes <<<"$output")" 100000
}

@test "data: a changed object travels as a delta between two far members" {
    line thin --rate 1000000
    noise a/big 4000000
    cp -p a/big b/big
    exits 0 "far:$PWD/a" "thin:$PWD/b"
    edited a
    proxy_stop
    line thin2 --rate 1000000
    exits 0 --json "far:$PWD/a" "thin2:$PWD/b"
    same a b
    below "bytes on the line" "$(proxy_count all)" 200000
}

@test "data: targets with different old versions of one object" {
    line thin --rate 1500000
    noise a/big 3000000
    cp -p a/big b/big
    cp -p a/big c/big
    exits 0 a "thin:$PWD/b" "thin:$PWD/c"
    edited b
    exits 0 a "thin:$PWD/b"
    edited a
    mkdir d
    exits 0 a "thin:$PWD/b" "thin:$PWD/c" "thin:$PWD/d"
    same a b c d
}

@test "data: an object that has nothing in common with the old one travels whole, once" {
    line thin --rate 2000000
    noise a/big 3000000
    cp -p a/big b/big
    exits 0 a "thin:$PWD/b"
    noise a/big 3000000
    proxy_stop
    line thin2 --rate 2000000
    exits 0 a "thin2:$PWD/b"
    same a b
    below "bytes on the line" "$(proxy_count all)" 3300000
}

@test "data: a basis that is not what its manifest says: the result is right or is not put in place" {
    line thin --rate 2000000
    noise a/big 3000000
    exits 0 a "thin:$PWD/b"
    await_calm
    exits 0 a "thin:$PWD/b"
    edited a
    # Damage that a scan does not see: through another name, times put back, as far as one can.
    printf 'damage' | dd of=b/big bs=1 seek=1000000 conv=notrunc status=none
    touch -r a/big b/big
    ends "0 3" a "thin:$PWD/b"
    cmp -s a/big b/big || [ "$got" = 3 ]
    [ "$(stat -c %s b/big)" -gt 0 ]
}

await_calm() { read -rt 2.2 <> <(:) || true; }

@test "data: -c finds and mends what times hide, at the far end too" {
    by_script
    put a x 'some content' 1700000000
    exits 0 a "h:$PWD/b"
    put b x 'SOME content' 1700000000
    exits 0 -c a "h:$PWD/b"
    same a b
}

# ---- interrupted ----

# up or down: the line breaks in the middle of a large object, and the next run needs only the rest.
resumes() {
    local way=$1 from=a to=b first
    [ "$way" = up ] || { from=b to=a; }
    line breaks "--cut-$way" 9000000 --rate 40000000
    noise $from/big 16000000
    put a x 1
    ends "2 3" a "breaks:$PWD/b"
    [ ! -e $to/big ]
    line whole
    for _ in {1..100}; do
        ends "0 5" a "whole:$PWD/b"
        [ "$got" = 5 ] || break
        pause
    done
    [ "$got" = 0 ]
    same a b
    tidy a b
    below "bytes after the break" "$(proxy_count "$way")" 11000000
    first=$(find a/.sos-sync b/.sos-sync -size +1000k)
    [ -z "$first" ] || { echo "left: $first"; return 1; }
}

@test "data: a large object that was interrupted on its way to the far end resumes" { resumes up; }
@test "data: a large object that was interrupted on its way from the far end resumes" { resumes down; }

@test "data: what arrived of an interrupted object is verified, and of no use when the object changed" {
    local how
    for how in damaged changed cut gone; do
        rm -rf a b
        mkdir a b
        line breaks --cut-up 5000000
        noise a/big 8000000
        ends "2 3" a "breaks:$PWD/b"
        far_gone
        case $how in
        damaged)
            find b -type f -size +500k | while read -r part; do
                printf 'damage' | dd of="$part" bs=1 seek=300000 conv=notrunc status=none
            done
            ;;
        changed) noise a/big 8000000 ;;
        cut) find b -type f -size +500k -exec truncate -s 400000 {} + ;;
        gone) find b -type f -size +500k -delete ;;
        esac
        for _ in {1..100}; do
            ends "0 3 5" a "far:$PWD/b"
            [ "$got" != 0 ] || break
            pause
        done
        [ "$got" = 0 ]
        same a b
        tidy a b
    done
}

@test "data: an object that is interrupted again and again arrives in the end" {
    local i
    noise a/big 12000000
    for i in {1..8}; do
        line breaks$i --cut-up 4000000
        ends "0 2 3 5" a "breaks$i:$PWD/b"
        [ "$got" != 0 ] || break
        pause
    done
    [ "$got" = 0 ]
    same a b
}

# ---- several members ----

@test "data: one read at a far source serves all targets" {
    line source
    noise a/big 6000000
    mkdir d
    exits 0 "source:$PWD/a" b "far:$PWD/c" "far2:$PWD/d"
    same a b c d
    below "bytes from the source" "$(proxy_count down)" 7000000
}

@test "data: each target gets its bytes once" {
    line target
    noise a/big 6000000
    exits 0 a b "target:$PWD/c"
    same a b c
    below "bytes to the target" "$(proxy_count up)" 7000000
    below "bytes from the target" "$(proxy_count down)" 300000
}

@test "data: memory stays bounded when one of two far targets is slow" {
    plain_build
    line slow --rate-up 12000000 --window 1000000
    noise a/big 60000000
    "$SOS_SYNC" --no-progress --no-compress "${EXTRA[@]}" "far:$PWD/a" "far2:$PWD/b" "slow:$PWD/c" >out 2>&1 &
    job=$!
    peak $job
    wait $job
    job=
    same a b c
    below "KiB of the largest process" "$peak" 65536
}

@test "data: all send and all receive at once" {
    local m n
    line slow --delay 10
    mkdir d
    for m in a b c d; do
        noise $m/big-$m 3000000
        for n in {1..200}; do echo "$m $n" >"$m/$m-$n"; done
    done
    AS=(timeout 120)
    exits 0 "slow:$PWD/a" "slow:$PWD/b" "far:$PWD/c" d
    same a b c d
}

@test "data: what the far end has under another name is adopted there" {
    local i
    line counted
    mkdir a/old
    for i in {1..60}; do noise "a/old/$i" 50000; done
    exits 0 a "counted:$PWD/b"
    mv a/old a/new
    proxy_stop
    line counted2
    exits 0 --json a "counted2:$PWD/b"
    same a b
    [ -e b/new/60 ]
    below "bytes on the line" "$(proxy_count all)" 150000
    [ "$(summary adopted <<<"$output")" -ge 60 ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
}

@test "data: two far members with the same new content under different names exchange none of it" {
    line counted
    noise a/here 3000000
    cp a/here b/there
    exits 0 a "counted:$PWD/b"
    same a b
    below "bytes on the line" "$(proxy_count all)" 100000
}

# ---- how much ----

@test "data: --bwlimit holds over all links together" {
    by_script
    noise a/big 2000000
    took exits 0 --no-compress --bwlimit 1M a "h:$PWD/b" "h:$PWD/c"
    same a b c
    [ "$took" -ge 3000 ] || { echo "4 MB at 1 MB/s in $took ms"; return 1; }
    below ms "$took" 12000
    noise b/more 2000000
    took exits 0 --no-compress --bwlimit 1M a "h:$PWD/b"
    [ "$took" -ge 1500 ] || { echo "2 MB at 1 MB/s in $took ms"; return 1; }
}

@test "data: a member is not silent because --bwlimit lets little through" {
    by_script
    noise a/big 60000
    exits 0 --no-compress --bwlimit 16 --timeout 2 a "h:$PWD/b"
    same a b
    noise b/more 60000
    exits 0 --no-compress --bwlimit 16 --timeout 2 a "h:$PWD/b"
    same a b
}

@test "data: --bwlimit that means nothing is an error in usage" {
    local rate
    for rate in '' x -1 1Q 1.5.5; do exits 1 --bwlimit "$rate" a b; done
}

@test "data: wire_bytes are the bytes on the links, literal_bytes the content" {
    local i option wire real
    by_script
    for option in -z --no-compress; do
        noise a/noise$option 1000000
        seq ${#option}00000 ${#option}50000 >"b/numbers$option"
        for i in {1..100}; do echo "$i $option" >"b/s$i$option"; done
        went >/dev/null
        exits 0 --json $option "h:$PWD/a" "h:$PWD/b" "h:$PWD/c"
        real=$(went)
        wire=$(summary wire_bytes <<<"$output")
        [ $((wire * 100)) -ge $((real * 99)) ] && [ $((wire * 100)) -le $((real * 101)) ] ||
            { echo "wire_bytes $wire, in truth $real"; return 1; }
        [ "$(summary literal_bytes <<<"$output")" = $((2 * (1000000 + $(cat b/numbers$option b/s*$option | wc -c)))) ]
    done
}

# ---- night after night ----

# Two far members and a local one with some thousand objects, in step.
nightly() {
    local i
    mkdir a/d
    for i in {1..3000}; do echo "$i" >"a/d/object-$i"; done
    by_script
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    went >/dev/null
}

@test "nightly: with nothing to do, next to nothing is said" {
    nightly
    exits 0 --json a "h:$PWD/b" "h:$PWD/c"
    below "bytes to and from two members" "$(went)" 4000
    [ -z "$(acts <<<"$output")" ]
    exits 0 --dry-run a "h:$PWD/b" "h:$PWD/c"
    below "bytes of a dry run" "$(went)" 4000
}

@test "nightly: one change costs what it is, not the whole list" {
    nightly
    echo changed >b/d/object-77
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    same a b c
    below "bytes to and from two members" "$(went)" 40000
    echo changed again >a/d/object-99
    rm c/d/object-5
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    same a b c
    below "bytes to and from two members" "$(went)" 60000
    idle a b c
}

@test "nightly: the cache is where one says, and can go at any time" {
    nightly
    [ -n "$(find "$XDG_CACHE_HOME" -type f)" ]
    [ -z "$(find "$HOME" -type f)" ]
    rm -r "$XDG_CACHE_HOME"
    echo changed >b/d/object-77
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    same a b c
    rm -rf "$XDG_CACHE_HOME"
    echo changed >b/d/object-79
    exits 0 --cache-dir "$PWD/kept" a "h:$PWD/b" "h:$PWD/c"
    [ -n "$(find kept -type f)" ] && [ ! -e "$XDG_CACHE_HOME" ]
    rm -r kept
    echo changed >c/d/object-78
    exits 0 --no-cache a "h:$PWD/b" "h:$PWD/c"
    [ ! -e "$XDG_CACHE_HOME" ] && [ ! -e kept ]
    same a b c
}

@test "nightly: a cache that is damaged, swapped, older or in the way changes nothing but bytes" {
    local how file other
    nightly
    cp -a "$XDG_CACHE_HOME" older
    for how in cut empty byte noise swap older directory unwritable; do
        echo "edit, $how" >b/d/object-1
        echo "edit, $how" >"c/d/new-$how"
        find "$XDG_CACHE_HOME" -type f | sort >files
        other=$(tail -n 1 files)
        while read -r file; do
            case $how in
            cut) truncate -s -7 "$file" ;;
            empty) : >"$file" ;;
            byte) printf '\377' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none ;;
            noise) noise "$file" 5000 ;;
            swap) [ "$file" = "$other" ] || cp "$other" "$file" ;;
            directory) rm "$file" && mkdir "$file" ;;
            esac
        done <files
        case $how in
        older) rm -r "$XDG_CACHE_HOME" && cp -a older "$XDG_CACHE_HOME" ;;
        unwritable) rm -r "$XDG_CACHE_HOME" && echo "in the way" >"$XDG_CACHE_HOME" ;;
        esac
        exits 0 a "h:$PWD/b" "h:$PWD/c" || { echo "with: $how"; return 1; }
        same a b c || { echo "with: $how"; return 1; }
        [ "$(cat "a/d/object-1" "a/d/new-$how")" = "edit, $how"$'\n'"edit, $how" ]
        [ $how != directory ] || rm -rf "$XDG_CACHE_HOME"
    done
}

@test "nightly: a store that was put back to an older state is compared with what it holds, not with the cache" {
    nightly
    cp -a b b.older
    echo changed >a/d/object-7
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    rm -r b && mv b.older b
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    same a b c
    [ "$(cat b/d/object-7)" = changed ]
}

@test "nightly: another coordinator, with a cache of its own, does not confuse the first" {
    nightly
    echo one >a/d/object-1
    XDG_CACHE_HOME=$PWD/other exits 0 a "h:$PWD/b" "h:$PWD/c"
    echo two >c/d/object-2
    exits 0 a "h:$PWD/b" "h:$PWD/c"
    same a b c
    echo three >b/d/object-3
    XDG_CACHE_HOME=$PWD/other exits 0 a "h:$PWD/b" "h:$PWD/c"
    same a b c
    [ "$(cat a/d/object-{1..3})" = $'one\ntwo\nthree' ]
    idle a b c
}
