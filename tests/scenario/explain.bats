load lib
load ssh
load policies

# --explain: who has an object, who should, why, and which line of the policy says so.

setup() {
    setup_world
    members a b c d
}
teardown() { teardown_world; }

# explained STATUS OBJECT LINE...: of each member, as text says it.
explained() {
    exits "$1" --config conf --policy policy --explain "$2"
    diff <(printf '%s\n' "${@:3}") <(tail -n +2 <<<"$output" | sed 's/  */ /g; s/^ //')
}

# why MEMBER: of the last explanation as JSON.
why() { jq -r --arg m "$1" 'select(.event == "explain") | .members[] | select(.member == $m).why' <<<"$output"; }

@test "explain: every key, its value, and its line; every member, and why" {
    put a dir/one 1
    printf '%s\n' '[default]' 'replicas: 2' '' '[group g]' 'preferred: d' '# a comment' 'blocked: b' '[group g: dir/]' \
        'preferred: d c' >policy
    before=$(snapshot a b c d)
    explained 0 dir/one 'replication: allowed by default' 'replicas: 2 policy:2, in the section of line 1' \
        'preferred: d c policy:9, in the section of line 8' 'blocked: b policy:7, in the section of line 4' \
        'a has it should have it the original' 'b has not should not blocked' 'c has not should have it preferred, number 2' \
        'd has not should have it preferred, number 1'
    [[ $output == "group g: copies 1/3: dir/one"* ]]
    [ "$(snapshot a b c d)" = "$before" ]
    go 0 --explain ./dir/one
    [ "$(wc -l <<<"$output")" = 1 ]
    jq -e '. == {event: "explain", group: "g", path: "dir/one", replication: "allowed", replicas: 2, preferred: ["d", "c"],
        blocked: ["b"], copies: 1, wanted: 3, members: [
        {member: "a", has: true, outdated: false, damaged: false, should: true, why: "the original"},
        {member: "b", has: false, outdated: false, damaged: false, should: false, why: "blocked"},
        {member: "c", has: false, outdated: false, damaged: false, should: true, why: "preferred, number 2"},
        {member: "d", has: false, outdated: false, damaged: false, should: true, why: "preferred, number 1"}],
        from: {replication: null, replicas: "policy:2, in the section of line 1",
        preferred: "policy:9, in the section of line 8", blocked: "policy:7, in the section of line 4"}}' <<<"$output"
}

@test "explain: without a policy every member should have it" {
    put a one 1
    : >policy
    explained 0 one 'replication: allowed by default' 'replicas: all by default' 'preferred: nobody by default' \
        'blocked: nobody by default' 'a has it should have it the original' \
        'b has not should have it every member that is not blocked' 'c has not should have it every member that is not blocked' \
        'd has not should have it every member that is not blocked'
    [[ $output == "group g: copies 1/4: one"* ]]
}

@test "explain: after the number is lowered, and where replication is not allowed" {
    put a one 1
    asks 'replicas: 2' 'preferred: b c'
    go 0
    asks 'replicas: 1' 'preferred: b c'
    go 0 --explain one
    [ "$(why a), $(why b), $(why c), $(why d)" = "the original, preferred, number 1, more copies than asked for, not needed" ]
    jq -e '.copies == 3 and .wanted == 2' <<<"$output"
    asks 'replication: disallowed'
    go 0 --explain one
    [ "$(why a), $(why c), $(why d)" = "the original, replication is not allowed, replication is not allowed" ]
    asks 'replicas: 1' 'blocked: a b'
    go 0 --explain one
    [ "$(why a), $(why b)" = "the original, which stays though the member is blocked, blocked" ]
    [ "$(why c)" = "has it, and as many are asked for" ]
    asks 'replicas: 1' 'preferred: b'
    rm a/one
    go 0 --explain one
    [ "$(why a), $(why b)" = "its original, which comes back, preferred, number 1" ]
    asks 'replicas: 7'
    go 0 --explain one
    jq -e '.copies == 2 and .wanted == 8' <<<"$output"
}

@test "explain: a member that is away, one without room, and an older version" {
    put a one first 2020-01-01
    asks 'replicas: 2' 'preferred: b c'
    go 0
    mv b away
    go 6 --explain one
    [ "$(why b), $(why c)" = "away; said to have it, preferred, number 2" ]
    asks 'replicas: 0'
    go 6 --explain one
    [ "$(why b), $(why c)" = "away; said to have it, more copies than asked for" ]
    asks 'replicas: 1' 'preferred: b'
    go 6 --explain one
    [ "$(why c)" = "its copy is to go, which waits for members that are away" ]
    mv away b
    mv a away
    go 6 --explain one
    [ "$(why a)" = "the original" ]
    mv away a
    put a two "$(head -c 600 /dev/zero | tr '\0' 2)"
    printf '%s\n' '[group g]' 'replicas: 1' 'preferred: d' "[node $PWD/d]" 'capacity: 100' >policy
    go 0 --explain two
    [ "$(why d)" = "preferred, but has no room" ]
    put b one second 2020-01-02
    asks 'replicas: 2' 'preferred: b c'
    exits 0 --config conf --policy policy --explain one
    [[ $output == "group g: copies 1/3: one"*"  a  outdated  should have it   the original"*"  b  has it    should have it   preferred, number 1"* ]]
    go 0 --explain one
    jq -e '[.members[] | .outdated] == [true, false, true, false] and .copies == 1' <<<"$output"
}

@test "explain: a damaged copy, and an object with no other" {
    rotting_world
    members a b c
    put a one "the first object" 2020-01-01
    asks 'replicas: 1' 'preferred: b'
    go 0
    sleep 2.1
    go 0
    rot b/one
    go 3 --checksum --explain one
    jq -e 'select(.event == "explain") | .copies == 1 and .wanted == 2
        and ([.members[] | select(.damaged) | .member] == ["b"])' <<<"$output"
    rot a/one
    go 3 --checksum --explain one
    [[ $errors == *"group g: one: every copy that can be reached is damaged"* ]]
}

@test "explain: what nobody has, a directory, what was deleted, what is left out, and what is no path" {
    put a dir/one 1
    put a left/out 1
    asks 'replicas: 1' 'exclude: /left/out'
    go 0
    go 3 --explain dir/two
    [ "$(jq -r '[.event, .group, .path, .message] | join("|")' <<<"$output")" = \
        "error|g|dir/two|no reachable member has an object of this name" ]
    go 3 --explain dir/
    [ "$(jq -r '[.path, .message] | join("|")' <<<"$output")" = "dir|is a directory: every member gets it, whatever the policy says" ]
    go 3 --explain left/out
    [ "$(jq -r '[.path, .message] | join("|")' <<<"$output")" = "left/out|no reachable member has an object of this name" ]
    asks 'replicas: 1'
    go 0
    asks 'replicas: 1' 'exclude: /left/out'
    go 3 --explain left/out
    [[ $(jq -r .message <<<"$output") == "is left out by a rule"* ]]
    go 0 rm --group g dir/one
    go 3 --explain dir/one
    [[ $(jq -r .message <<<"$output") == "was deleted: "* ]]
    for object in /dir/one ../one dir//one dir/../one .sos-sync/marker; do
        go 1 --explain "$object"
        [[ $errors == *"is no object: a path below the roots of the members"* ]]
    done
}

@test "explain: names with odd bytes" {
    put a $'a\nb' 1
    put a $'\377 \\x' 2
    put a -n 3
    asks 'replicas: 1' 'preferred: b'
    exits 0 --config conf --policy policy --explain $'a\nb'
    [[ $output == 'group g: copies 1/2: a\x0ab'$'\n'* ]]
    go 0 --explain $'\377 \\x'
    [ "$(jq -r .path_b64 <<<"$output" | base64 -d)" = $'\377 \\x' ]
    [ "$(jq -r .copies <<<"$output")" = 1 ]
    go 0 --explain=-n
    [ "$(jq -r .path <<<"$output")" = -n ]
    go 3 --explain $'\033[2J'
    [[ $errors == *'group g: \x1b[2J: no reachable member'* ]]
}

@test "explain: several groups: each that has it, and it is no error that others have not" {
    mkdir x y
    printf '[h]\nx: %s/x\ny: %s/y\n' "$PWD" "$PWD" >>conf
    exits 0 --config conf
    put a one 1
    put x one 1
    put y two 2
    printf '%s\n' '[group g]' 'replicas: 1' 'preferred: b' '[group h]' 'replicas: 0' >policy
    go 0 --explain one
    [ "$(jq -r 'select(.event == "explain") | "\(.group) \(.wanted)"' <<<"$output")" = "g 2
h 1" ]
    go 0 --explain two
    [ "$(jq -r 'select(.event == "explain").group' <<<"$output")" = h ]
    [ "$(jq -r 'select(.event != "explain") | "\(.event) \(.group) \(.message)"' <<<"$output")" = \
        "note g no reachable member has an object of this name" ]
    go 3 --explain two --group g
    [ "$(jq -r .event <<<"$output")" = error ]
    go 0 --explain two --group h
    [ "$(jq -r .event <<<"$output")" = explain ]
    go 3 --explain three
    [ "$(jq -r '"\(.event) \(.group)"' <<<"$output")" = "error g
error h" ]
    exits 0 --json --explain two x y
    [ "$(jq -r .group <<<"$output")" = default ]
    go 1 --explain one --group nothing
}

@test "explain: once, also where a run would be held back for what it deletes" {
    local i
    for i in $(seq 200); do put a "$i" "$i"; done
    asks 'deletions: propagate' 'replicas: 1' 'max-delete: 1'
    go 0
    find a -maxdepth 1 -name '?[0-9]*' -delete
    go 6 --dry-run
    go 0 --explain 1
    [ "$(jq -r .event <<<"$output")" = explain ]
}
