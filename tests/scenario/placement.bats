load lib
load ssh
load policies

# Policies: how many copies of an object there are, and who has them.

setup() {
    setup_world
    members a b c d e
}
teardown() { teardown_world; }

count() {
    local who
    who=$(has "$1")
    echo ${#who}
}

# Of the actions of the last run: did KIND [PATH], a number.
did() { grep -c "^$1 ${2:-}" <<<"$done" || true; }

notes() { jq -r 'select(.event == "note" or .event == "error") | .message' <<<"${1:-$told}"; }

# ---- numbers ----

@test "placement: so many replicas beside the original, so many copies, all" {
    put a one 1
    put b two 2
    asks 'replicas: 2'
    follow
    [ "$(count one) $(count two)" = "3 3" ]
    [[ $(has one) == *a* && $(has two) == *b* ]]
    asks 'copies: 2'
    follow
    [ "$(count one) $(count two)" = "2 2" ]
    asks 'replicas: all'
    follow
    [ "$(has one) $(has two)" = "abcde abcde" ]
    same a b c d e
    asks 'copies: 1'
    follow
    [ "$(has one) $(has two)" = "a b" ]
    [ "$(did prune)" = 8 ]
    [ "$(trashed a b c d e | sort | uniq -c | awk '{ print $1 $2 }' | xargs)" = "5one 5two" ]
}

@test "placement: raised and lowered, by as much as it must be and no more" {
    put a one 1
    put a dir/two 2
    ln -s one a/link
    for n in 1 3 2 4 0 1; do
        before=$(has one)
        asks "replicas: $n"
        follow
        for path in one dir/two link; do
            [ "$(count $path)" = $((n + 1)) ]
        done
        was=${#before} is=$((n + 1))
        [ "$(did copy one)" = $((is > was ? is - was : 0)) ]
        [ "$(did prune one)" = $((is < was ? was - is : 0)) ]
    done
}

@test "placement: replication that is not allowed leaves the original alone, and comes back as it was asked for" {
    put c one 1
    asks 'replicas: 2'
    follow
    asks 'replicas: 2' 'replication: disallowed'
    follow
    [ "$(has one)" = c ]
    [ "$(jq -r 'select(.event == "action") | .reason' <<<"$told" | sort -u)" = "replication disallowed" ]
    asks 'replicas: 2' 'replication: allowed'
    follow
    [ "$(count one)" = 3 ]
}

@test "placement: too few members is said, and ends with 4" {
    put a one 1
    put a two 2
    asks 'replicas: 7'
    follow 4
    same a b c d e
    [ "$(summary under_replicated <<<"$told")" = 2 ]
    [[ $(notes) == "2 objects with fewer copies than asked for"*"the first: one" ]]
    asks 'replicas: 4' 'blocked: b'
    follow 4
    [ "$(has one)" = acde ]
    asks 'replicas: 3' 'blocked: b'
    follow
    [ "$(summary under_replicated <<<"$told")" = 0 ]
}

# ---- lists ----

@test "placement: preferred members get it, and then others in the order of the list" {
    put a one 1
    asks 'replicas: 1' 'preferred: d b'
    follow
    [ "$(has one)" = ad ]
    asks 'replicas: 1' 'preferred: b d'
    follow
    [ "$(has one)" = ab ]
    [ "$done" = "copy one b
prune one d" ]
    asks 'replicas: 2' 'preferred: b d'
    follow
    [ "$(has one)" = abd ]
    asks 'replicas: 2' # nothing moves because of a list that is gone
    follow
    [ -z "$done" ]
    [ "$(has one)" = abd ]
    asks 'replicas: 1' 'preferred: b d' # the last one listed goes first
    follow
    [ "$(has one)" = ab ]
}

@test "placement: a member is blocked, and unblocked" {
    put a one 1
    asks 'replicas: 1' 'preferred: b c'
    follow
    asks 'replicas: 1' 'preferred: b c' 'blocked: b'
    follow
    [ "$(has one)" = ac ]
    [ "$(jq -c 'select(.event == "action" and .action == "prune") | [.reason, .to, .before, .after]' <<<"$told")" = \
        '["blocked","b",["a","b"],["a","c"]]' ]
    asks 'replicas: 1' 'preferred: b c'
    follow
    [ "$(has one)" = ab ]
    asks 'blocked: b c'
    follow
    [ "$(has one)" = ade ]
    asks 'preferred: b'
    follow
    [ "$(has one)" = abcde ]
}

@test "placement: the original stays where it is, also on a blocked member, and that is said" {
    put a one 1
    asks 'replicas: 1' 'blocked: a'
    follow
    [ "$(count one)" = 2 ]
    [ -e a/one ]
    [[ $(notes) == "1 object whose original stays on a blocked member" ]]
    asks 'replicas: 0' 'blocked: a b c d e'
    follow
    [ "$(has one)" = a ]
}

@test "placement: the original comes back to its origin, but not to a blocked one" {
    put a one 1
    asks 'replicas: 1'
    follow
    rm a/one
    follow
    [ "$(count one)" = 2 ]
    [ -e a/one ]
    rm a/one
    asks 'replicas: 1' 'blocked: a'
    follow
    [ "$(count one)" = 2 ]
    [ ! -e a/one ]
}

@test "placement: the last good copy stays, whatever is asked" {
    put a one 1
    asks 'replicas: 1' 'preferred: b'
    follow
    rm a/one
    asks 'replication: disallowed' 'blocked: a b c d e'
    go 0
    [ "$(has one)" = b ]
    go 0
    [ "$(has one)" = b ]
}

# ---- which objects ----

@test "placement: the last section that matches and sets a key decides, key by key" {
    put a x/one.raw 1
    put a x/two.jpg 2
    put a y/three.raw 3
    printf '%s\n' '[default]' 'replicas: 0' '[group g]' 'preferred: c' '[group g: x/]' 'replicas: 2' '[group g: *.raw]' \
        'replicas: 1' '[group g: /y/**]' 'preferred: e' >policy
    follow
    [ "$(has x/one.raw)" = ac ]
    [[ $(has x/two.jpg) == a*c* && $(count x/two.jpg) == 3 ]]
    [ "$(has y/three.raw)" = ae ]
    printf '%s\n' '[group g: x/]' 'replicas: 1' '[group g]' 'replicas: 0' >>policy # what comes last overrides all
    follow
    [ "$(has x/one.raw) $(has x/two.jpg) $(has y/three.raw)" = "a a a" ]
}

@test "placement: a section binds what was first seen since its day" {
    put a one 1
    printf '%s\n' '[group g]' 'replicas: 0' '[group g]' "since: $(date -u -d '3 days' +%F)" 'replicas: 3' >policy
    follow
    [ "$(has one)" = a ]
    printf '%s\n' '[group g]' 'replicas: 0' '[group g]' "since: $(date -u -d '3 days ago' +%F)" 'replicas: 3' >policy
    follow
    [ "$(count one)" = 4 ]
    asks 'replicas: 1'
    follow
    [ "$(count one)" = 2 ]
}

@test "placement: of what is left out nothing is added and nothing taken away" {
    put a one 1
    put a two 2
    asks 'replicas: 2'
    follow
    before=$(has one)
    asks 'replicas: 0' 'exclude: /one'
    follow
    [ "$(has one) $(has two)" = "$before a" ]
}

# ---- edits ----

@test "placement: an edit reaches those that hold the object, and makes nobody else a holder" {
    put a one first 2020-01-01
    asks 'replicas: 2' 'preferred: b c'
    follow
    put c one second 2020-01-02
    follow
    [ "$(has one)" = abc ]
    same a b c
    [ "$(cat a/one)" = second ]
    [ "$done" = "update one a
update one b" ]
    put e one "by somebody who did not hold it" 2020-01-03
    follow
    [ "$(has one)" = abc ]
    [ "$(cat a/one)" = "by somebody who did not hold it" ]
    same a b c
}

@test "placement: an edit and a lower number in one run" {
    put a one first 2020-01-01
    asks 'replicas: 2' 'preferred: b c'
    follow
    put c one second 2020-01-02
    asks 'replicas: 1' 'preferred: b c'
    follow
    [ "$(has one)" = ab ]
    [ "$(cat a/one) $(cat b/one)" = "second second" ]
}

@test "placement: a conflict is settled among those that hold the object" {
    put a one first 2020-01-01
    asks 'replicas: 1' 'preferred: b'
    follow
    put a one "of a" 2020-01-02
    put b one "of b" 2020-01-03
    follow
    [ "$(has one) $(cat a/one) $(cat b/one)" = "ab of b of b" ]
    [ "$(trashed a)" = one ]
}

@test "placement: a version that loses where it is not wanted is told as a conflict, and kept aside as one" {
    put a one first 2020-01-01
    asks
    follow
    put a one "of a" 2020-01-03
    put c one "of c" 2020-01-02
    asks 'replicas: 1' 'preferred: b' 'blocked: c'
    [ "$(planned | grep ' c ')" = "conflict one c [a,b,c,d,e => a,b] conflict" ]
    exits 0 --config conf --policy policy
    [[ $output == *"conflict: one: c has no copy any more; its own is in the trash of c"* ]]
    [ "$(has one) $(trashed c)" = "ab one" ]
    grep -qP "\tconflict\tone" c/.sos-sync/trash/*.txt
    go 0
    [ -z "$(acts <<<"$output")" ]
}

@test "placement: a version that loses where it is not wanted is kept under another name by those that may have it" {
    put a one first 2020-01-01
    asks
    follow
    put a one "of a" 2020-01-03
    put c one "of c" 2020-01-02
    asks 'conflict: keep-both' 'replicas: 1' 'preferred: b' 'blocked: c'
    go 0
    [ "$(has one)" = ab ]
    [ "$(cat a/one.conflict-*-c b/one.conflict-*-c)" = "of cof c" ]
    [ ! -e c/one ]
    go 0
    [ -z "$(acts <<<"$output")" ]
}

@test "placement: a version that somebody makes on a member without the object moves nobody's original" {
    put a one first 2020-01-01
    asks 'replicas: 0'
    follow
    put c one second 2020-01-02
    follow
    [ "$(has one) $(cat a/one)" = "a second" ]
}

@test "placement: what is deleted on a holder is deleted on all, and a pruned copy is no deletion" {
    put a one 1
    put a two 2
    asks 'deletions: propagate' 'max-delete: 100%' 'replicas: 2' 'preferred: b c'
    follow
    asks 'deletions: propagate' 'max-delete: 100%' 'replicas: 1' 'preferred: b c'
    follow
    [ "$(has one) $(has two)" = "ab ab" ]
    rm b/one
    follow
    [ "$(has one) $(has two)" = " ab" ]
    asks 'deletions: propagate' 'max-delete: 100%' 'replicas: 2' 'preferred: b c'
    follow
    [ "$(has one) $(has two)" = " abc" ]
}

@test "placement: a directory becomes a file, and a file a directory" {
    put d k/sub/one 1
    put d two 2
    asks 'deletions: propagate' 'max-delete: 100%' 'replicas: 1' 'preferred: b'
    follow
    rm -r d/k
    put d k file
    follow
    [ "$(has k) $(has two)" = "bd bd" ]
    rm d/k
    put d k/new 3
    follow
    [ "$(has k) $(has k/new)" = "abcde bd" ]
}

@test "placement: rm takes an object from all that hold it" {
    put a one 1
    put a two 2
    asks 'replicas: 1' 'preferred: c'
    follow
    go 0 rm --group g one
    [ "$(has one) $(has two)" = " ac" ]
    follow
    [ -z "$done" ]
}

# ---- members that are away ----

# away MEMBER, back MEMBER: its store is not there.
away() { mv "$1" "$1.away"; }
back() { mv "$1.away" "$1"; }

@test "placement: a member that is away is not replaced, and nothing goes that counts on it" {
    put a one 1
    asks 'replicas: 2' 'preferred: b c d' 'down-after: 1h'
    follow
    [ "$(has one)" = abc ]
    away b
    go 6
    [ -z "$(acts <<<"$output")" ]
    [ "$(has one)" = ac ]
    asks 'replicas: 1' 'preferred: b c d' 'down-after: 1h'
    go 6
    [ "$(has one)" = ac ]
    [[ $(notes "$output") == *"1 object with copies that are to go, which waits for members that are away; the first: one"* ]]
    back b
    follow
    [ "$(has one)" = ab ]
}

@test "placement: after down-after it is replaced; when it is back the surplus goes" {
    put a one 1
    asks 'replicas: 1' 'preferred: b' 'down-after: 1s'
    follow
    [ "$(has one)" = ab ]
    away b
    replaced() {
        go 6
        [ "$(count one)" = 2 ]
    }
    until_true replaced
    [ -e a/one ]
    go 6
    [ -z "$(acts <<<"$output")" ]
    back b
    follow
    [ "$(has one)" = ab ]
    [ "$(did prune)" = 1 ]
}

@test "placement: a far member is away and comes back" {
    put a one 1
    far b
    asks 'replicas: 2' 'preferred: b c' 'down-after: 1h'
    follow
    [ "$(has one)" = abc ]
    mv "$BATS_TEST_TMPDIR/rsh" "$BATS_TEST_TMPDIR/gone"
    printf '#!/bin/sh\nexit 255\n' >"$BATS_TEST_TMPDIR/rsh"
    chmod +x "$BATS_TEST_TMPDIR/rsh"
    asks 'replicas: 1' 'preferred: b c' 'down-after: 1h'
    go 3
    [ "$(has one)" = abc ]
    mv "$BATS_TEST_TMPDIR/gone" "$BATS_TEST_TMPDIR/rsh"
    follow
    [ "$(has one)" = ab ]
}

@test "placement: raising, lowering and blocking with far members" {
    put a one 1
    put d dir/two "$(seq 20000)"
    far d
    far e
    asks 'replicas: 1' 'preferred: e'
    follow
    [ "$(has one) $(has dir/two)" = "ae de" ]
    asks 'replicas: 2' 'preferred: d b'
    follow
    [ "$(has one) $(count dir/two)" = "abd 3" ]
    [[ $(has dir/two) == b*d* || $(has dir/two) == *bd* ]]
    asks 'replicas: 1' 'blocked: d e' 'preferred: c'
    follow
    [ "$(has one) $(has dir/two)" = "ac cd" ]
    same c c
    cmp c/dir/two d/dir/two
}

# ---- damage ----

@test "placement: a damaged copy does not count" {
    rotting_world
    members a b c
    put a one "the first object" 2020-01-01
    asks 'replicas: 1' 'preferred: b'
    go 0
    sleep 2.1
    go 0
    rot b/one
    go 0 --checksum
    [ "$(has one)" = ab ]
    same a b
    [ "$(summary healed <<<"$output")" = 1 ]
    rot b/one
    asks 'replicas: 1' 'preferred: c'
    go 0 --checksum
    [ "$(has one)" = ac ]
    same a c
    follow
    [ -z "$done" ]
}

@test "placement: whoever is to keep it reads it again; where it is damaged nobody loses a good one for it" {
    rotting_world
    members a b c
    put a one "the first object" 2020-01-01
    asks 'replicas: 2'
    go 0
    sleep 2.1
    go 0
    rot a/one
    rot b/one
    asks 'replicas: 0'
    go 0
    [ "$(has one)" = a ]
    [ "$(cat a/one)" = "the first object" ]
    [[ $(notes "$output") == *"content is damaged"* && $(notes "$output") != *stays* ]]
    [ "$(summary damaged <<<"$output") $(summary healed <<<"$output") $(summary pruned <<<"$output")" = "2 2 2" ]
    follow
    [ -z "$done" ]
}

@test "placement: --prune-check=stat looks, and does not read" {
    rotting_world
    members a b c
    put a one "the first object" 2020-01-01
    asks 'replicas: 2'
    go 0
    sleep 2.1
    go 0
    rot a/one
    asks 'replicas: 0'
    go 0 --prune-check=stat
    [ "$(has one)" = a ]
    [ "$(cat a/one)" = "rottenrst object" ]
    [ "$(trashed b c)" = "one
one" ]
    exits 1 --prune-check=look a b
}

# ---- room ----

@test "placement: a member that has its capacity gets no replicas, and keeps what it has" {
    put a one "$(head -c 600 /dev/zero | tr '\0' 1)"
    asks 'replicas: 1' 'preferred: b c'
    printf '[node %s/b]\ncapacity: 1K\n' "$PWD" >>policy
    follow
    [ "$(has one)" = ab ]
    put a two "$(head -c 600 /dev/zero | tr '\0' 2)"
    follow
    [ "$(has one) $(has two)" = "ab ac" ]
    asks 'replicas: 4' 'preferred: b c'
    printf '[node %s/b]\ncapacity: 1K\n' "$PWD" >>policy
    follow 4
    [ "$(has one) $(has two)" = "abcde acde" ]
    [ "$(summary under_replicated <<<"$told")" = 1 ]
}

@test "placement: what is planned for a member takes of its room" {
    for i in 1 2 3 4; do put a "$i" "$(head -c 400 /dev/zero | tr '\0' "$i")"; done
    asks 'replicas: 1' 'preferred: b c'
    printf '[node %s/b]\ncapacity: 1K\n' "$PWD" >>policy
    follow
    [ "$(find b -maxdepth 1 -type f | wc -l) $(find c -maxdepth 1 -type f | wc -l)" = "2 2" ]
}

@test "placement: a small disk is passed over" {
    mkdir -p small
    mount_tmpfs small 2m
    members a small b
    head -c 3000000 /dev/urandom >a/big
    put a little 1
    asks 'replicas: 1' 'preferred: small'
    follow
    [ "$(has big) $(has little)" = "ab asmall" ]
}

@test "placement: a member that turns out to be full passes its replica on, in the same run" {
    mkdir -p small
    mount_tmpfs small 2m
    members a small b
    # Each of these takes a page more than its length says, so that there is no room for the big one after all.
    for i in $(seq 50); do head -c 4100 /dev/urandom >"a/$i"; done
    head -c 1720000 /dev/urandom >a/z
    asks 'replicas: 1' 'preferred: small'
    go 0
    [ "$(has z)" = ab ]
    [ "$(find small -maxdepth 1 -type f | wc -l) $(find b -maxdepth 1 -type f | wc -l)" = "50 1" ]
    [ "$(summary copied <<<"$output") $(summary failed <<<"$output")" = "51 0" ]
    tidy a b small
}

# ---- what is said ----

@test "placement: --explain says who has it, who should, and why; and does nothing" {
    put a dir/one 1
    asks 'replicas: 2' 'preferred: c' 'blocked: b'
    before=$(snapshot "${names[@]}")
    go 0 --explain dir/one
    [ "$(snapshot "${names[@]}")" = "$before" ]
    [ "$(jq -r .event <<<"$output")" = explain ]
    jq -e '.group == "g" and .path == "dir/one" and .replication == "allowed" and .replicas == 2 and .copies == 1
        and .wanted == 3 and .from.replication == null and .from.replicas == "policy:2, in the section of line 1"' <<<"$output"
    [ "$(jq -r '.members[] | select(.member == "a" or .member == "b" or .member == "c")
        | "\(.member) \(.has) \(.should) \(.why)"' <<<"$output")" = "a true true the original
b false false blocked
c false true preferred, number 1" ]
    exits 0 --config conf --policy policy --explain dir/one
    [[ $output == "group g: copies 1/3: dir/one"* ]]
    [[ $output == *"  replicas: 2 "*"policy:2, in the section of line 1"* ]]
    [[ $output == *"  a  has it    should have it   the original"* ]]
    [[ $output == *"  b  has not   should not       blocked"* ]]
    go 3 --explain dir/two
    [[ $(notes "$output") == "no reachable member has an object of this name" ]]
}

@test "placement: a line of text says who has it before and after" {
    put a one 1
    asks 'replicas: 1' 'preferred: c'
    exits 0 --config conf --policy policy -v
    [[ $output == *"copy "*"a -> c "*" new "*"[a => a,c]  one"* ]]
    asks 'replicas: 0'
    exits 0 --config conf --policy policy -n
    [[ $output == *"prune "*" -> c "*"more copies than asked for"*"[a,c => a]  one"* ]]
    [[ $output == *"would prune 1"* ]]
    exits 0 --config conf --policy policy
    [[ $output == *"1 pruned"* ]]
}

# planned [STATUS]: what a dry run says, as JSON and as text, of each action: ACTION TO [BEFORE => AFTER] REASON.
planned() {
    go "${1:-0}" -n
    jq -r 'select(.event == "action") | "\(.action) \(.path) \(.to) [\(.before // ["-"] | join(",")) => \(.after // ["-"] | join(","))] \(.reason)"' \
        <<<"$output" | sed 's/\[ => /[nobody => /; s/ => \]/ => nobody]/' >as_json
    exits "${1:-0}" --config conf --policy policy -n
    sed -n 's/^\([a-z]*\) .* -> \(.\)  *[0-9.]* [KMGi]*B  \(.*[a-z]\)  *\(\[.*\]\)  \(.*\)$/\1 \5 \2 \4 \3/p' <<<"$output" |
        sed 's/  *$//' >as_text
    grep -vF '[- => -]' as_json | diff - as_text # directories, of which no copies are counted
    cat as_json
}

@test "placement: a dry run says of each action who has the object before and after, and why" {
    put a new 1
    put a same "the same content, for an adoption" 2020-01-01
    put a edited first 2020-01-01
    put a gone 1
    put a dir/moved 1
    chmod 600 a/same
    asks 'deletions: propagate' 'replicas: 1' 'preferred: b c'
    diff <(planned) - <<'PLAN'
mkdir dir b [- => -] new
mkdir dir c [- => -] new
mkdir dir d [- => -] new
mkdir dir e [- => -] new
copy dir/moved b [a => a,b] new
copy edited b [a => a,b] new
copy gone b [a => a,b] new
copy new b [a => a,b] new
copy same b [a => a,b] new
PLAN
    go 0
    put b edited second 2020-01-02
    rm b/gone
    chmod 644 a/same
    cp -p a/same a/twin
    rm -r a/dir
    diff <(planned | LC_ALL=C sort) - <<'PLAN'
adopt twin b [a => a,b] new
delete dir/moved b [b => nobody] deleted
delete gone a [a => nobody] deleted
rmdir dir b [- => -] deleted
rmdir dir c [- => -] deleted
rmdir dir d [- => -] deleted
rmdir dir e [- => -] deleted
update edited a [a,b => a,b] changed
update same b [a,b => a,b] metadata
PLAN
    follow
    put a edited "of a" 2020-01-03
    put b edited "of b" 2020-01-04
    asks 'deletions: propagate' 'replicas: 1' 'preferred: c' 'blocked: b'
    diff <(planned | LC_ALL=C sort) - <<'PLAN'
conflict edited a [a,b => a,c] conflict
copy edited c [a,b => a,c] new
copy new c [a,b => a,c] preferred
copy same c [a,b => a,c] preferred
copy twin c [a,b => a,c] preferred
prune edited b [a,b => a,c] blocked
prune new b [a,b => a,c] blocked
prune same b [a,b => a,c] blocked
prune twin b [a,b => a,c] blocked
PLAN
}

# ---- every driver ----

@test "placement: a dry run over stores that never met draws as the run does, in any order of them" {
    local i
    for i in $(seq 30); do put a "$i" "$i"; done
    rm -r ?/.sos-sync
    asks 'replicas: 1'
    go 0 -n
    acts <<<"$output" | sort >turned
    { echo '[g]' && grep : conf | tac; } >other
    exits 0 --config other --policy policy --json -n
    acts <<<"$output" | sort | diff turned -
    follow
    [ "$(wc -l <<<"$done")" = 30 ]
    [ "$(cut -d ' ' -f 3 <<<"$done" | sort -u | wc -l)" = 4 ] # every other member has its share
}

@test "placement: every driver comes to the same plan, whatever the order of the members" {
    local order i
    for i in $(seq 40); do put "$(echo abcde | cut -c $((i % 5 + 1)))" "$i" "$i"; done
    printf '[default]\nreplicas: 2\npreferred: d\nblocked: b\n[group default: *3]\nreplicas: 0\n' >policy
    plan() {
        exits 0 --policy policy --json -n "$@" >&2
        jq -rc 'select(.event == "action") | [.action, .path, .to, (.before | sort), (.after | sort)]' <<<"$output" | sort
    }
    plan a b c d e >first
    [ -s first ]
    for order in "e d c b a" "c a e b d" "b e a d c"; do
        # shellcheck disable=SC2086
        plan $order | diff first -
    done
    exits 0 --policy policy d b e a c
    idle_plan=$(plan a b c d e)
    [ -z "$idle_plan" ]
    sed -i 's/replicas: 2/replicas: 1/' policy
    plan a b c d e >first
    [ -s first ]
    for order in "e d c b a" "c a e b d"; do
        # shellcheck disable=SC2086
        plan $order | diff first -
    done
}
