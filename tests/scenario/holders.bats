load lib
load ssh
load policies

# Copies on a member that is away are believed for a while. Only those that were known to have arrived.

setup() {
    local m
    setup_world
    group a b c d
    for m in a b c d; do
        here "$m"
        behind "$m" "$m"
    done
    printf '#!/bin/sh\nwhile [ ! -e "$1.sh" ]; do shift; done\nexec sh "$1.sh"\n' >link
    chmod +x link
    EXTRA=(--rsh "$PWD/link" --cache-dir "$PWD/cache")
    exits 0 --config conf
}
teardown() { teardown_world; }

# The link of each member is a script of its name.
# here MEMBER, away MEMBER, reads MEMBER, breaks MEMBER BYTES: it is there, is not, may only be read from, is lost after it
# has been sent so many bytes.
here() { echo "exec '$SOS_SYNC' agent --root '$PWD/$1'" >"$1.sh"; }
away() { echo 'exit 255' >"$1.sh"; }
reads() { echo "exec '$SOS_SYNC' agent --root '$PWD/$1' --read-only" >"$1.sh"; }
breaks() { echo "stdbuf -o0 head -c $2 | '$SOS_SYNC' agent --root '$PWD/$1'" >"$1.sh"; }

# In the place of the asks of all: the policy of the group, with this one line more.
asks() { printf '%s\n' '[group g]' 'down-after: 1h' "$@" >policy; }

# What the members have recorded; and a run that ends with STATUS and changes nothing of it.
recorded() { sha256sum "${names[@]/%//.sos-sync/manifest}"; }
records_nothing() {
    local before
    before=$(recorded)
    go "$1"
    [ "$(recorded)" = "$before" ]
}

@test "holders: a copy that arrived is believed of a member that is away" {
    put a one 1
    asks 'replicas: 2' 'preferred: b c d'
    go 0
    away b
    go 3
    [ "$(has one)" = abc ]
    [ -z "$(acts <<<"$output")" ]
}

@test "holders: one that was refused is not, and is made elsewhere" {
    put a one 1
    asks 'replicas: 1' 'preferred: b c d'
    reads b
    go 3
    [ "$(has one)" = a ]
    away b
    go 3
    [ "$(has one)" = ac ]
    here b
    go 0
    [ "$(has one)" = ab ]
}

@test "holders: with no other member for it, it is said to be missing" {
    put a one 1
    asks 'replicas: 1' 'blocked: c d'
    reads b
    go 3
    away b
    go 3
    [ "$(summary under_replicated <<<"$output")" = 1 ]
}

@test "holders: those that got theirs in the same run do not believe in it either" {
    put a one 1
    asks 'replicas: 2' 'preferred: b c d'
    reads b
    go 3
    [ "$(has one)" = ac ]
    # The original goes, so that only what c was told is left.
    rm a/one
    away b
    away a
    go 3
    [ "$(has one)" = cd ]
}

@test "holders: one that was under way when its member was lost is not believed" {
    asks 'replicas: 1' 'preferred: b c d'
    head -c 400000 /dev/urandom >a/one
    breaks b 200000
    go 3
    [ "$(has one)" = a ]
    away b
    go 3
    [ "$(has one)" = ac ]
}

@test "holders: a newer version that did not arrive is not believed" {
    put a one 1 2020-01-01
    asks 'replicas: 1' 'preferred: b c d'
    go 0
    put a one second 2020-01-02
    reads b
    go 3
    [ "$(cat b/one)" = 1 ]
    away b
    go 3
    [ "$(has one)" = abc ]
    [ "$(cat c/one)" = second ]
}

@test "holders: a copy that is refused again and again is no news to those that hold the object" {
    put a one 1
    put a two 2
    asks 'replicas: 2' 'preferred: b c d'
    reads b
    go 3
    until_true records_nothing 3 # at first there are files that are too young
    here b
    go 0
    [ "$(has one) $(has two)" = "abc abc" ]
    until_true records_nothing 0
    away b
    go 3
    [ -z "$(acts <<<"$output")" ]
}

@test "holders: of a run that was killed nothing new is believed" {
    local pid n
    asks 'replicas: 2' 'preferred: b c d'
    put a one 1
    for n in $(seq 60); do head -c 300000 /dev/urandom >"a/two$n"; done
    "$SOS_SYNC" "${EXTRA[@]}" --config conf --policy policy --bwlimit 4m >out 2>&1 &
    pid=$!
    until_true [ -e c/one ]
    kill -9 "$pid"
    wait "$pid" || true
    [ -e b/one ]
    # What c was told it was told with its copy. Where its agent has not gone yet it is locked.
    rm a/one
    away a
    away b
    until_true go 3
    [ "$(has one)" = bcd ]
}
