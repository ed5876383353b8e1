load lib

# Large files that changed, through the coordinator: what travels, and that it arrives. b, c and d have the same old file
# as a; then a's is changed. Random bytes, as nothing else would show what travels.

SIZE=36000000

setup() {
    setup_world
    in_memory
    mkdir a b
    noise $SIZE >old
}
teardown() { teardown_world; }

noise() { head -c "$1" /dev/urandom; } # BYTES

# spread STORE...: all hold the old file.
spread() {
    local store
    cp old a/f
    touch -d @1700000000 a/f
    for store; do
        mkdir -p "$store"
        cp -p a/f "$store/f"
    done
    exits 0 a "$@"
}

# edit FILE OFFSET BYTES
edit() { noise "$3" | dd of="$1" bs=64k seek="$2" oflag=seek_bytes conv=notrunc status=none; }

# slice FILE FROM BYTES
slice() { tail -c +$(($2 + 1)) "$1" | head -c "$3"; }

# travels LITERAL WIRE STORE...: brings a's file to these, with so many bytes at most. On the wire they count twice: to
# the coordinator, and from it.
travels() {
    local literal=$1 wire=$2 store
    shift 2
    exits 0 --json --through a "$@"
    for store; do
        cmp a/f "$store/f" || return 1
    done
    echo "literal $(summary literal_bytes <<<"$output"), wire $(summary wire_bytes <<<"$output")"
    [ "$(summary literal_bytes <<<"$output")" -le "$literal" ] || return 1
    [ "$(summary wire_bytes <<<"$output")" -le "$wire" ] || return 1
    tidy a "$@"
    idle a "$@"
}

@test "deltas: scattered edits" {
    local i
    spread b
    for ((i = 0; i < 30; i++)); do
        edit a/f $((i * 1100000 + 777)) 3000
    done
    travels $((30 * 5100)) 360000 b
}

@test "deltas: an insertion" {
    spread b
    { slice old 0 5000001; noise 200000; slice old 5000001 $SIZE; } >a/f
    travels 203000 460000 b
}

@test "deltas: a file that was cut" {
    spread b
    truncate -s 33600001 a/f
    travels 40000 80000 b
}

@test "deltas: a file that grew" {
    spread b
    noise 200000 >>a/f
    travels 203000 460000 b
}

@test "deltas: swapped halves" {
    spread b
    { slice old 17000003 $SIZE; slice old 0 17000003; } >a/f
    travels 70000 120000 b
}

@test "deltas: nothing in common" {
    spread b
    noise $SIZE >a/f
    travels $SIZE $((2 * SIZE + SIZE / 20)) b
}

@test "deltas: edits so dense that no coarse block is left" {
    local i
    spread b
    for ((i = 0; i < SIZE; i += 16384)); do printf '%s\n' "$i"; done |
        while read -r i; do printf x | dd of=a/f bs=1 seek="$i" conv=notrunc status=none; done
    travels $((SIZE / 4)) $((SIZE / 2 + 800000)) b
}

@test "deltas: two members with the same old content, and one with another" {
    spread b c d
    edit d/f 100 5000
    noise 1000000 >>d/f
    touch -d @1700000001 d/f
    edit a/f 20000000 10000
    edit a/f 30000000 10000
    travels 90000 400000 b c d
}

@test "deltas: many large files in one run, and small ones between them" {
    local i
    spread b
    for i in 1 2 3; do
        cp old a/g$i
        noise 50000 >a/h$i
    done
    exits 0 a b
    for i in 1 2 3; do
        edit a/g$i $((i * 5000000)) 5000
        edit a/h$i 7000 100
    done
    rm b/g2 # and one that must go as a whole
    edit a/f 99 99
    exits 0 --json --through a b
    same a b
    [ "$(summary literal_bytes <<<"$output")" -le $((SIZE + 60000)) ]
    idle a b
}

@test "deltas: far members, both ways" {
    printf '#!/bin/sh\nshift\nexec "$@"\n' >rsh
    chmod +x rsh
    EXTRA=(--rsh "$PWD/rsh" --remote-command "$SOS_SYNC")
    cp old a/f
    cp -p a/f b/f
    exits 0 a "far:$PWD/b"
    edit a/f 1234567 10000
    exits 0 --json a "far:$PWD/b"
    cmp a/f b/f
    [ "$(summary literal_bytes <<<"$output")" -le 20000 ]
    edit b/f 7654321 10000
    exits 0 --json a "far:$PWD/b"
    cmp a/f b/f
    [ "$(summary literal_bytes <<<"$output")" -le 20000 ]
    [ "$(summary wire_bytes <<<"$output")" -le 100000 ]
}

@test "deltas: a large file that was interrupted goes on, and is searched for the rest" {
    local literal
    command -v stdbuf >/dev/null || skip "no stdbuf"
    spread b
    printf '#!/bin/sh\nshift\nexec "$@"\n' >rsh
    printf '#!/bin/sh\nshift\nstdbuf -o0 head -c 6000000 | "$@"\n' >rsh-breaks # in the middle of what is new
    chmod +x rsh rsh-breaks
    { slice old 0 5000000; noise 12000000; slice old 5000000 $SIZE; } >a/f
    edit a/f 30000000 3000
    EXTRA=(--rsh "$PWD/rsh-breaks" --remote-command "$SOS_SYNC" --no-compress)
    ends "2 3" a "far:$PWD/b"
    cmp b/f old
    EXTRA=(--rsh "$PWD/rsh" --remote-command "$SOS_SYNC")
    for _ in {1..100}; do # the far agent may still hold the lock
        ends "0 3 5" --json a "far:$PWD/b"
        [ "$got" != 0 ] || break
        read -rt 0.1 <> <(:) || true
    done
    cmp a/f b/f
    literal=$(summary literal_bytes <<<"$output")
    [ "$literal" -le 8000000 ] || { echo "literal $literal"; return 1; }
    EXTRA=()
    idle a b
}

# ---- when something fails, nobody waits for ever ----

# broken CALL PATH: far members are those for whom this system call fails on that file, from the first time on.
broken() {
    command -v strace >/dev/null || skip "no strace"
    strace -qq -o /dev/null true 2>/dev/null || skip "cannot trace here"
    cat >rsh <<TXT
#!/bin/sh
shift
exec env ASAN_OPTIONS="\$ASAN_OPTIONS:detect_leaks=0" strace -f -qq -o /dev/null -P '$2' -e trace=$1 -e inject=$1:error=EIO "\$@"
TXT
    chmod +x rsh
    EXTRA=(--rsh "$PWD/rsh" --remote-command "$SOS_SYNC" --timeout 60)
}

# Two files on the way to b: f, which fails, and g, which does not.
two_files() {
    spread b
    cp -p a/f a/g
    exits 0 a b
    edit a/f 1000000 5000
    edit a/g 2000000 5000
    edit a/g 20000000 5000
}

@test "deltas: a source that cannot read its file on goes on with the next one" {
    two_files
    broken pread64 "$PWD/a/f"
    exits 3 --json "far:$PWD/a" b
    cmp b/f old
    cmp a/g b/g
    [ "$(summary literal_bytes <<<"$output")" -le 20000 ]
    EXTRA=()
    exits 0 a b
    same a b
}

@test "deltas: a target that cannot read its basis gets all of the file" {
    two_files
    broken pread64 "$PWD/b/f"
    exits 0 --json a "far:$PWD/b"
    same a b
    [ "$(summary literal_bytes <<<"$output")" -ge $SIZE ]
    [ "$(summary literal_bytes <<<"$output")" -le $((SIZE + 20000)) ]
}

@test "deltas: a basis that changes while it is used spoils nothing" {
    two_files
    command -v strace >/dev/null || skip "no strace"
    cat >rsh <<TXT
#!/bin/sh
shift
exec env ASAN_OPTIONS="\$ASAN_OPTIONS:detect_leaks=0" strace -f -qq -o /dev/null -P '$PWD/b/f' -e trace=pread64 \
    -e inject=pread64:retval=4096:when=30+ "\$@"
TXT
    chmod +x rsh
    EXTRA=(--rsh "$PWD/rsh" --remote-command "$SOS_SYNC" --timeout 60)
    ends "0 3" --json a "far:$PWD/b"
    cmp -s b/f old || cmp b/f a/f
    EXTRA=()
    exits 0 a b
    same a b
}
