load lib
load ssh
load policies

# Policies whose members are behind real sshd: b and c behind one, d behind another, which comes and goes. The member a is
# local, or there is none.

setup_file() {
    ssh_begin
    ssh_serve 'farb farc'
}
teardown_file() { servers_stop; }

setup() {
    need_commands sshd
    setup_world
    ssh_world
    ssh_start
    ssh_alias fard "$ssh_port"
    spread a b c d
}
teardown() {
    cd /
    ssh_stop
    [ -z "${rotting:-}" ] || rm -rf "$rotting"
    teardown_world
}

# spread NAME...: these are the members, and stores; a is here.
spread() {
    local m
    group "$@"
    for m in "$@"; do [ "$m" = a ] || behind "far$m" "$m"; done
    exits 0 --config conf
}

# The same as follow; and little travels for nothing, and status is content.
follow_far() {
    follow
    [ "$(summary wire_bytes <<<"$output")" -lt 16384 ]
    go 0 status
}

# The server of d ends, with all that it serves; and listens again at the same port.
d_goes() {
    ssh_stop
    ! (: <>"/dev/tcp/127.0.0.1/$ssh_port") 2>/dev/null || false
}
d_returns() {
    launch "$ssh_log" /usr/sbin/sshd -D -e -f "${ssh_log%.log}"
    ssh_pid=$launched
    await_line "$ssh_log" 'Server listening on 127.0.0.1' "$ssh_pid"
}

copies() { jq -r --arg m "$1" 'select(.event == "member" and .member == $m or .event == "status" and $m == "") | "\(.copies_there)/\(.copies_wanted)"' <<<"$output"; }

@test "ssh policies: added, raised, lowered, moved, blocked, unblocked and disallowed, in one run each" {
    put a one 1
    put b dir/two "$(seq 20000)"
    ln -s nowhere c/three
    asks 'replicas: 1' 'preferred: d'
    follow_far
    [ "$(has one) $(has dir/two) $(has three)" = "ad bd cd" ]
    asks 'replicas: 2' 'preferred: d b'
    follow_far
    [[ "$(has one) $(has three)" = "abd bcd" ]]
    asks 'replicas: 1' 'preferred: d b'
    follow_far
    [ "$(has one) $(has dir/two) $(has three)" = "ad bd cd" ]
    asks 'replicas: 1' 'preferred: b c'
    follow_far
    [ "$(has one) $(has dir/two) $(has three)" = "ab bc bc" ]
    asks 'replicas: 2' 'preferred: d' 'blocked: b'
    follow_far
    [ "$(has one) $(has dir/two) $(has three)" = "acd bcd acd" ]
    [ "$(jq -r 'select(.event == "note").message' <<<"$told")" = "1 object whose original stays on a blocked member" ]
    asks 'replicas: 3'
    follow_far
    same a b c d
    asks 'replication: disallowed'
    follow_far
    [ "$(has one) $(has dir/two) $(has three)" = "a b c" ]
    [ "$(trashed d | sort -u | tr '\n' ' ')" = "dir/two one three " ]
}

@test "ssh policies: edits and new objects reach those that are to have them, and an edit is sent as a difference" {
    spread b c d
    head -c 3000000 /dev/urandom >b/big
    put c one first 2020-01-01
    asks 'replicas: 1' 'preferred: d'
    follow_far
    [ "$(has big) $(has one)" = "bd cd" ]
    printf 'in the middle of it' | dd of=d/big bs=1 seek=1500000 conv=notrunc status=none
    put d one second 2020-01-02
    follow_far
    [ "$(has big) $(has one) $(cat c/one)" = "bd cd second" ]
    cmp b/big d/big
    mv b/big b/renamed
    mv d/big d/renamed
    asks 'replicas: 1' 'preferred: d' 'deletions: propagate' 'max-delete: 100%'
    go 0
    [ "$(has big) $(has renamed)" = " bd" ]
}

@test "ssh policies: a member whose server is down: nothing moves, what counts on it waits, and when it is back the surplus goes" {
    put a one 1
    asks 'replicas: 2' 'preferred: d c' 'down-after: 1h'
    follow_far
    [ "$(has one)" = acd ]
    d_goes
    put a two 2
    go 3
    [ "$(has one) $(has two)" = "acd abc" ]
    [ "$(jq -r 'select(.event == "error").member' <<<"$output")" = d ]
    [ "$(summary unreachable <<<"$output")" = 1 ]
    go 3 status
    [ "$(copies d), $(copies '')" = "1/1, 6/6" ]
    asks 'replicas: 1' 'preferred: d c' 'down-after: 1h'
    go 3
    [ "$(has one) $(has two)" = "acd ac" ]
    [[ $(jq -r 'select(.event == "note").message' <<<"$output") == *"1 object with copies that are to go, which waits for members that are away; the first: one"* ]]
    go 3 --explain one
    [ "$(jq -r 'select(.event == "explain") | .members[] | select(.member == "c" or .member == "d").why' <<<"$output")" = \
        "its copy is to go, which waits for members that are away
away; said to have it" ]
    d_returns
    follow_far
    [ "$(has one) $(has two)" = "ad ad" ]
}

@test "ssh policies: after down-after it is replaced, and its copy is the surplus when it is back" {
    put a one 1
    asks 'replicas: 1' 'preferred: d' 'down-after: 1s'
    follow_far
    [ "$(has one)" = ad ]
    d_goes
    local end=$((SECONDS + 20))
    until [ "$(has one)" = abd ] || [ "$(has one)" = acd ]; do
        [ $SECONDS -lt $end ]
        go 3
        pause
    done
    go 3
    [ -z "$(acts <<<"$output")" ]
    asks 'replicas: 1' 'down-after: 1s'
    d_returns
    follow_far
    [ "$(has one)" = ab ] || [ "$(has one)" = ac ] || [ "$(has one)" = ad ]
    [ "$(grep -c ^prune <<<"$done")" = 1 ]
}

@test "ssh policies: it goes away in the middle of a run, and nothing that is needed is lost" {
    local i
    for i in $(seq 100); do put a "$i" "$(seq "$i" 9000)"; done
    asks 'replicas: 1' 'preferred: d'
    go 0 # d has them all
    asks 'replicas: 1' 'preferred: c'
    sync --config conf --policy policy --json >out 2>err &
    i=$!
    until [ "$(find c -maxdepth 1 -type f | wc -l)" -gt 20 ] || ! kill -0 $i 2>/dev/null; do pause; done
    d_goes
    wait $i || true
    for i in $(seq 100); do [ -e "a/$i" ]; done
    d_returns
    go 0
    [ "$(find c -maxdepth 1 -type f | wc -l) $(find d -maxdepth 1 -type f | wc -l)" = "100 0" ]
    [ "$(sort -u <(cd a && cksum ./[0-9]*) <(cd c && cksum ./[0-9]*) | wc -l)" = 100 ]
    follow_far
}

@test "ssh policies: copies that are to stay are read again before another goes; with --prune-check=stat they are looked at" {
    rotting_world
    spread a b c d
    put b one "the first object" 2020-01-01
    put b two "the second one!!" 2020-01-01
    asks 'replicas: 2' 'preferred: c d'
    go 0
    sleep 2.1
    go 0
    [ "$(has one) $(has two)" = "bcd bcd" ]
    rot b/one
    rot c/one
    asks 'replicas: 1' 'preferred: c'
    go 0 --prune-check=read
    [ "$(has one) $(has two)" = "bc bc" ]
    [ "$(cat b/one c/one)" = "the first objectthe first object" ]
    [ "$(summary healed <<<"$output")" = 2 ]
    rot b/two
    rot c/two
    asks 'replicas: 0'
    go 0 --prune-check=stat # whoever asks for that takes the risk: nobody has read what stays
    [ "$(has one) $(has two)" = "b b" ]
    [ "$(cat b/one b/two)" = "the first objectrottensecond one!!" ] || [ "$(head -c 6 b/two)" = rotten ]
    [ "$(trashed c | tr '\n' ' ')" = "one one two " ]
}

@test "ssh policies: every driver comes to the same plan" {
    local i driver
    for i in $(seq 30); do put "$(echo abcd | cut -c $((i % 4 + 1)))" "$i" "$i"; done
    asks 'replicas: 2' 'preferred: c'
    go 0 -n
    acts <<<"$output" | sort >first
    [ -s first ]
    # The same stores, met at the far end: there all are local.
    printf '[g]\n' >there
    for i in d b c a; do echo "$i: $PWD/$i" >>there; done
    plain_ssh fard "$SSH_DIR/bin/sos-sync" --no-progress --json -n --config "$PWD/there" --policy "$PWD/policy" >out
    acts <out | sort | diff first -
    go 0
    plain_ssh fard "$SSH_DIR/bin/sos-sync" --no-progress --json -n --config "$PWD/there" --policy "$PWD/policy" >out
    [ -z "$(acts <out)" ]
}
