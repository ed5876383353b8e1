load lib
load ssh
load policies

# What status says of copies: how many a policy asks for and how many there are, as of the last run.

setup() {
    setup_world
    members a b c d
}
teardown() { teardown_world; }

# stands STATUS LINE...: what status says of the members and of the group: copies there/wanted +surplus, originals on blocked
# members; of the group also objects under- and over-replicated. Lines that $drawn matches are left to chance.
stands() {
    local status=$1
    go "$status" status
    diff <(printf '%s\n' "${@:2}") <(jq -r '
        select(.event == "member" or .event == "status") | "\(.member // "all") \(.copies_there)/\(.copies_wanted)"
        + (if .copies_surplus > 0 then " +\(.copies_surplus)" else "" end)
        + (if .blocked_originals > 0 then " blocked \(.blocked_originals)" else "" end)
        + (if (.under_replicated // 0) > 0 then " under \(.under_replicated)" else "" end)
        + (if (.over_replicated // 0) > 0 then " over \(.over_replicated)" else "" end)' <<<"$output" | grep -v "${drawn:-^$}")
}

some_objects() {
    put a one 1
    put a dir/two 22
    put d three 333
}

@test "status: copies wanted and there, in a group where all hold all" {
    some_objects
    : >policy
    stands 0 "a 0/0" "b 0/0" "c 0/0" "d 0/0" "all 0/0" # nothing is scanned
    go 0
    before=$(snapshot a b c d)
    stands 0 "a 3/3" "b 3/3" "c 3/3" "d 3/3" "all 12/12"
    [ "$(snapshot a b c d)" = "$before" ]
    jq -e 'select(.event == "status") | .members == 4 and .unreachable == 0 and .objects == 3 and .bytes == 6 and .verified > 0
        and .last_run > 0' <<<"$output"
    mkdir e
    echo "e: $PWD/e" >>conf
    stands 4 "a 3/3" "b 3/3" "c 3/3" "d 3/3" "e 0/3" "all 12/15 under 3"
    exits 4 --config conf --policy policy status
    [[ $output == *"group g: e: has not been in a run yet, copies 0/3"* ]]
    [[ $output == *"group g: 5 members, 3 objects, 6 B, copies 12/15, 3 with too few copies, all verified since 20"* ]]
    [ ! -e e/.sos-sync ]
}

@test "status: a policy that has changed: what is missing, and what is too much" {
    some_objects
    asks 'replicas: 1' 'preferred: b c'
    go 0
    stands 0 "a 2/2" "b 3/3" "c 0/0" "d 1/1" "all 6/6"
    asks 'replicas: 2' 'preferred: b c'
    stands 4 "a 2/2" "b 3/3" "c 0/3" "d 1/1" "all 6/9 under 3"
    asks 'replicas: 0'
    stands 4 "a 2/2" "b 0/0 +3" "c 0/0" "d 1/1" "all 3/3 +3 over 3"
    asks 'replicas: 1' 'preferred: c'
    stands 4 "a 2/2" "b 0/0 +3" "c 0/3" "d 1/1" "all 6/6 +3 over 3"
    asks 'replicas: 1' 'blocked: a b'
    drawn='^[cd] '
    stands 4 "a 2/2 blocked 2" "b 0/0 +3" "all 3/6 +3 blocked 2 under 3 over 3"
    drawn=
    exits 4 --config conf --policy policy status
    [[ $output == *"a: 2 objects, 3 B, "*", copies 2/2, 2 originals though it is blocked, "* ]]
    [[ $output == *"b: 3 objects, 6 B, "*", copies 0/0 and 3 not wanted, "* ]]
    [[ $output == *"copies 3/6 and 3 not wanted, 2 originals on blocked members, 3 with too few copies, 3 with copies not wanted, "* ]]
    asks 'replicas: 5'
    stands 4 "a 2/3" "b 3/3" "c 0/3" "d 1/3" "all 6/18 under 3"
    printf '[group g: dir/]\nreplicas: 3\n' >>policy
    sed -i 's/replicas: 5/replicas: 1/' policy
    stands 4 "a 2/2" "b 3/3" "c 0/1" "d 1/2" "all 6/8 under 1"
}

@test "status: it has nothing against the group where a run has nothing to do, and else it has" {
    local i policy
    for i in $(seq 30); do put "$(echo abcd | cut -c $((i % 4 + 1)))" "$i" "$i"; done
    : >policy
    go 0
    for policy in 'replicas: 1' 'replicas: 3' 'replicas: 1' 'preferred: d' 'blocked: b' 'replication: disallowed' 'copies: 2' \
        'replicas: 2' 'replicas: all'; do
        asks "$policy"
        go 0 --dry-run
        want=0
        [ -z "$(acts <<<"$output")" ] || want=4
        go $want status
        go 0
        go 0 status
        jq -e 'select(.event == "status") | .objects == 30 and .copies_there == .copies_wanted and .copies_surplus == 0' <<<"$output"
    done
}

@test "status: copies of a member that is away count until down-after" {
    some_objects
    asks 'replicas: 1' 'preferred: b' 'down-after: 1h'
    far b
    go 0
    mv b away
    stands "3 6" "a 2/2" "b 3/3" "c 0/0" "d 1/1" "all 6/6"
    jq -es 'any(.[]; .event == "member" and .member == "b" and .state == "unreachable" and (has("objects") | not))' <<<"$output"
    [ "$(jq 'select(.event == "status").unreachable' <<<"$output")" = 1 ]
    asks 'replicas: 0' 'down-after: 1h'
    stands "3 6" "a 2/2" "b 0/0 +3" "c 0/0" "d 1/1" "all 3/3 +3 over 3"
    asks 'replicas: 3' 'down-after: 1s'
    read -rt 2.1 <> <(:) || true
    stands "3 6" "a 2/3" "b 0/0" "c 0/3" "d 1/3" "all 3/12 under 3"
}

@test "status: without a policy of replication nobody says what a member has that is away" {
    some_objects
    : >policy
    go 0
    mv b away
    stands "3 6" "a 3/3" "b 0/0" "c 3/3" "d 3/3" "all 9/12 under 3"
    mv away b
    stands 0 "a 3/3" "b 3/3" "c 3/3" "d 3/3" "all 12/12"
}

@test "status: an older version is no copy" {
    put a one first 2020-01-01
    asks 'replicas: 2' 'blocked: d'
    go 0
    put a one second 2020-01-02
    mv c away
    go "3 4 6"
    mv away c
    stands 4 "a 1/1" "b 1/1" "c 0/1" "d 0/0" "all 2/3 under 1"
    # But one that nobody asks for is one too many.
    asks 'replicas: 1' 'blocked: c d'
    stands 4 "a 1/1" "b 1/1" "c 0/0 +1" "d 0/0" "all 2/2 +1 over 1"
    asks 'replicas: 2' 'blocked: d'
    go 0
    stands 0 "a 1/1" "b 1/1" "c 1/1" "d 0/0" "all 3/3"
}

@test "status: a damaged copy does not count" {
    rotting_world
    members a b c
    put a one "the first object" 2020-01-01
    put a two "the second one" 2020-01-01
    asks 'replicas: 1' 'preferred: b'
    go 0
    sleep 2.1
    go 0
    rot b/one
    go 3 scrub --no-heal
    stands 3 "a 2/2" "b 1/2" "c 0/0" "all 3/4 under 1"
    rot a/one
    go 3 scrub --no-heal
    stands 3 "a 1/1" "b 1/1" "c 0/0" "all 2/2 under 1" # nothing can be asked of what nobody has
    [ "$(jq 'select(.event == "status") | .objects, .damaged' <<<"$output" | tr '\n' ' ')" = "2 2 " ]
    [ "$(jq -r 'select(.event == "error") | .path' <<<"$output")" = one ]
}

@test "status: a far member's manifest is known from the last run" {
    some_objects
    far b
    asks 'replicas: 1' 'preferred: b'
    go 0
    before=$(snapshot a b c d "$BATS_TEST_TMPDIR/cache")
    stands 0 "a 2/2" "b 3/3" "c 0/0" "d 1/1" "all 6/6"
    [ "$(snapshot a b c d "$BATS_TEST_TMPDIR/cache")" = "$before" ]
    rm -rf "$BATS_TEST_TMPDIR/cache"
    stands 0 "a 2/2" "b 3/3" "c 0/0" "d 1/1" "all 6/6"
    [ ! -e "$BATS_TEST_TMPDIR/cache" ]
}

@test "status: several groups, one of them alone, and members on the command line" {
    some_objects
    printf '[h]\nx: %s/x\ny: %s/y\n' "$PWD" "$PWD" >>conf
    mkdir x y
    put x one 1
    printf '[group g]\nreplicas: 1\n' >policy
    go 0
    go 0 status
    [ "$(jq -r 'select(.event == "status") | "\(.group) \(.copies_there)/\(.copies_wanted)"' <<<"$output")" = "g 6/6
h 2/2" ]
    go 0 status --group h
    [ "$(jq -r .event <<<"$output" | tr '\n' ' ')" = "member member status " ]
    exits 0 status --json x y
    [ "$(jq -r 'select(.event == "status") | "\(.group) \(.copies_there)/\(.copies_wanted)"' <<<"$output")" = "default 2/2" ]
}
