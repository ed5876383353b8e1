load lib
load ssh
load policies

# Disks that turn out to be full: what was done is written down all the same, and others take what is left.

setup() { setup_world; }
teardown() { teardown_world; }

# many STORE NUMBER BYTES: so many files.
many() {
    local n
    mkdir -p "$1/d"
    for n in $(seq "$2"); do head -c "$3" /dev/urandom >"$1/d/$n"; done
}

objects() { find "$1" -path '*/.sos-sync' -prune -o -type f -print | wc -l; }

# All of them have a copy on one of the others, and a run has nothing to do.
placed() {
    local n
    for n in a/d/*; do
        cmp "$n" "small/${n#a/}" 2>/dev/null || cmp "$n" "b/${n#a/}" || return 1
    done
    go "$1"
    [ -z "$(acts <<<"$output")" ]
    tidy "${names[@]}"
}

# A small disk gets what fits, and b the rest.
spills_over() {
    asks 'replicas: 1' 'preferred: small'
    go 0
    [ "$(summary unreachable <<<"$output") $(summary failed <<<"$output")" = "0 0" ]
    [ "$(summary copied <<<"$output")" = "$(objects a)" ]
    [ "$(objects small)" -ge "$1" ]
    [ "$(objects b)" -gt 0 ]
    placed 0
}

@test "full: small files fill a disk to the last page, and the next member takes the others" {
    mount_tmpfs small 2m
    group a small b
    many a 1000 100
    spills_over 250
}

@test "full: ext4, filled by a group without a policy" {
    mount_loop small ext4 8m
    group a small b
    many a 1300 5000
    for n in 1 2; do
        exits 3 --config conf --json
        [ "$(summary unreachable <<<"$output")" = 0 ]
    done
    [ "$(objects small)" -ge 700 ]
    same a b
    tidy a small b
}

@test "full: there are no more inodes" {
    mount_tmpfs small 16m
    mount -o remount,nr_inodes=100 small
    group a small b
    many a 300 100
    spills_over 60
}

@test "full: names alone fill the disk with the journal" {
    local n long
    mount_tmpfs small 1m
    group a small
    long=$(printf '%0200d' 0)
    mkdir -p "a/$long"
    for n in $(seq 3000); do : >"a/$long/$long$n"; done
    for n in 1 2 3; do
        ends 3 --config conf --json >/dev/null
        [ "$(summary unreachable <<<"$output")" = 0 ]
    done
    [ "$(objects small)" -gt 500 ]
    tidy a small
}

@test "full: empty files do not fit on a full disk either" {
    mount_tmpfs small 16m
    mount -o remount,nr_inodes=100 small
    group a small b
    many a 300 0
    spills_over 60
}

@test "full: with nobody else to take them it is said, and what fits is there" {
    mount_tmpfs small 2m
    group a small
    many a 1000 100
    asks 'replicas: 1'
    ends "3 4" --config conf --policy policy --json
    [ "$(summary unreachable <<<"$output")" = 0 ]
    [ "$(objects small)" -ge 250 ]
    ends "3 4" --config conf --policy policy --json
    [ "$(summary unreachable <<<"$output")" = 0 ]
    tidy a small
}

@test "full: without a policy, too" {
    mount_tmpfs small 2m
    group a small b
    many a 1000 100
    exits 3 --config conf --json
    [ "$(summary unreachable <<<"$output")" = 0 ]
    [ "$(objects small)" -ge 250 ]
    same a b
    tidy a small b
}

@test "full: somebody else has filled the disk, down to the last byte" {
    mount_tmpfs small 2m
    group a small b
    put a d/one 1
    asks 'replicas: 1' 'preferred: small'
    go 0
    cat /dev/zero >small/.sos-sync/ballast 2>/dev/null || true
    put a d/two 2
    ends "0 3 4" --config conf --policy policy --json
    cmp a/d/two b/d/two
    cmp a/d/one small/d/one
    rm small/.sos-sync/ballast
    go 0
    placed 0
}

@test "full: a version that its holders have no room for goes to others, and the old ones go" {
    mount_tmpfs small 2m
    members a small b
    put a d/one 1
    put a d/two 2
    asks 'replicas: 1' 'preferred: small'
    go 0
    head -c 3000000 /dev/urandom >a/d/one
    go 0
    [ "$(acts <<<"$output" | grep -c 'd/one')" = 2 ]
    cmp a/d/one b/d/one
    [ ! -e small/d/one ]
    placed 0
    # With nobody else to take it, what is there stays.
    asks 'replicas: all'
    go 4
    echo 3 >>a/d/two
    head -c 3000000 /dev/urandom >a/d/two
    for n in 1 2; do
        go 4
        [ "$(cat small/d/two)" = 2 ]
    done
    tidy a small b
}

@test "full: a member that is lost for want of room all the same hands its replicas on" {
    command -v strace >/dev/null || skip "no strace"
    group a small b
    behind far small
    printf '#!/bin/sh\nexec %s "$SOS_SYNC" agent --root "%s"\n' '$TRACE' "$PWD/small" >link
    chmod +x link
    EXTRA=(--rsh "$PWD/link")
    asks 'replicas: 1' 'preferred: small'
    TRACE='' go 0
    many a 10 100
    # What it has got cannot be made durable.
    export TRACE="strace -f -qq -o $BATS_TEST_TMPDIR/trace -e inject=syncfs:error=ENOSPC"
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" go 3
    [[ $errors == *"No space left"* ]]
    [ "$(summary unreachable <<<"$output")" = 1 ]
    [ "$(objects b)" = 10 ]
    export TRACE=
    go 0
    go 0
    [ -z "$(acts <<<"$output")" ]
    [ "$(objects a) $(objects small) $(objects b)" = "10 10 0" ]
    tidy a small b
}
