load lib
load ssh
load policies

# Deletions: propagated, restored, outlived by edits, forgotten in time, made by rm, and held back by --max-delete.

setup_file() { far_begin; }
teardown_file() { servers_stop; }

setup() {
    setup_world
    group a b c
    asks 'deletions: propagate'
}

teardown() { teardown_world; }

# far_group MEMBER...: all but the first are on another machine.
far_group() {
    far_world
    group "$@"
    behind far "${@:2}"
    asks 'deletions: propagate'
}

reasons() { jq -r 'select(.event == "action") | "\(.action) \(.reason)"' <<<"$output" | sort -u; }

# ---- propagate ----

deletion_spreads() {
    put a d/e/f 1
    put a d/g 2
    put a h 3
    ln -s h a/l
    run 0
    rm -r a/d
    rm b/h c/l
    run_as_dry 0
    [ "$did" = "delete d/e/f b
delete d/e/f c
delete d/g b
delete d/g c
delete h a
delete h c
delete l a
delete l b
rmdir d b
rmdir d c
rmdir d/e b
rmdir d/e c" ]
    [ "$(summary deleted <<<"$output") $(summary objects <<<"$output")" = "8 0" ]
    [ "$(reasons)" = "delete deleted
rmdir deleted" ]
    same a b c
    [ -z "$(ls a b c | grep -v :)" ]
    [ "$(trashed b)" = $'d/e/f\nd/g\nl' ]
    tidy a b c
    calm
}

@test "deletions: propagate: what is deleted on one member goes on all, through the trash" { deletion_spreads; }

@test "deletions: propagate: on other machines" {
    far_group a b c
    deletion_spreads
}

@test "deletions: propagate: through the coordinator" {
    EXTRA=(--through)
    deletion_spreads
}

@test "deletions: an object that is gone from all members stays so" {
    put a f 1
    put a g 2
    run 0
    rm a/f b/f c/f
    run_as_dry 0
    [ -z "$did" ]
    same a b c
    calm
}

@test "deletions: restore is the default" {
    asks
    put a f 1
    put a d/g 2
    run 0
    rm b/f
    rm -r a/d
    run_as_dry 0
    [ "$did" = "copy d/g a
copy f b
mkdir d a" ]
    same a b c
    [ -e a/d/g ]
}

edit_wins() {
    put a f old
    put a g old
    put a d/h old
    run 0
    rm a/f
    put b f edited 1000000000
    put a g 'edited too' 1000000000
    rm c/g
    rm -r a/d
    put c d/new 1
    run_as_dry 0
    [ "$(cat a/f b/f c/f)" = editededitededited ]
    [ "$(cat b/g c/g)" = 'edited tooedited too' ]
    [ "$(cat a/d/new)" = 1 ] && [ ! -e c/d/h ]
    [ "$(summary conflicts <<<"$output")" = 0 ]
    reasons | grep -q 'edit wins over deletion$'
    same a b c
    calm
}

@test "deletions: an edit wins over one that did not know of it, whatever the clocks say" { edit_wins; }

@test "deletions: an edit wins, on other machines" {
    far_group a b c
    edit_wins
}

@test "deletions: an edit that knew of it wins, and so does a deletion that knew of the edit" {
    put a f 1
    put a keep 1
    run 0
    rm a/f
    run 0
    put b f again 1000000000
    run_as_dry 0
    [ "$(cat a/f c/f)" = againagain ]
    put c f newer
    run 0
    rm b/f
    run_as_dry 0
    [ ! -e a/f ] && [ ! -e b/f ] && [ ! -e c/f ]
    calm
}

@test "deletions: a rename carries its content, and deletes the old name" {
    put a d/one 1
    put a d/two 2
    run 0
    mv b/d b/e
    run_as_dry 0
    [ "$did" = "adopt e/one a
adopt e/one c
adopt e/two a
adopt e/two c
delete d/one a
delete d/one c
delete d/two a
delete d/two c
mkdir e a
mkdir e c
rmdir d a
rmdir d c" ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    same a b c
    calm
}

@test "deletions: kinds change with deletions below" {
    put a d/x 1
    put a d/e/y 2
    put a f 3
    put a keep 4
    run 0
    rm -r a/d
    put a d 'a file now'
    rm b/f
    put b f/in 'a directory now'
    run_as_dry 0
    [ "$(cat c/d)" = 'a file now' ] && [ "$(cat c/f/in)" = 'a directory now' ]
    same a b c
    trashed c | grep -qx d/x
    trashed c | grep -qx d/e/y
    trashed c | grep -qx f
    calm
    rm c/d
    mkdir c/d
    put c d/z 5
    run_as_dry 0
    same a b c
    [ "$(cat a/d/z)" = 5 ]
    calm
}

@test "deletions: a directory in whose place a file was put stays where something new is below it" {
    put a d/x 1
    put a keep 1
    run 0
    rm -r a/d
    put a d file 1000000000
    put b d/new 2
    run 0
    same a b c
    [ "$(cat a/d/new c/d/new)" = 22 ]
    trashed a | grep -qx d
    calm
}

@test "deletions: a directory with excluded objects stays where they are, and that is said" {
    put a d/x 1
    put a keep 1
    run 0
    rm -r a/d
    put b d/own.tmp 2
    run_as_dry 0 --exclude '*.tmp'
    jq -e 'select(.event == "note" and .member == "b" and .path == "d")' <<<"$output" | grep -q 'not empty: kept'
    [ -e b/d/own.tmp ] && [ ! -e b/d/x ] && [ ! -e c/d/x ]
}

@test "deletions: excluded objects are not deleted while they are excluded" {
    put a x.tmp 1
    put a y 2
    run 0
    rm a/x.tmp
    run 0 --exclude '*.tmp'
    [ -z "$did" ] && [ -e b/x.tmp ]
    run 0
    [ ! -e b/x.tmp ] && [ ! -e c/x.tmp ] # now that it is one of the objects
    same a b c
    calm
}

# ---- members that are away ----

@test "deletions: a member that was away learns of them, and its own count too" {
    put a f 1
    put a g 1
    put a h 1
    run 0
    mv c away
    rm a/f
    run 6
    [ ! -e b/f ]
    rm away/g
    mv away c
    run_as_dry 0
    [ "$did" = "delete f c
delete g a
delete g b" ]
    same a b c
    calm
}

@test "deletions: in runs of some members only they come to all, in any order" {
    put a f 1
    put a keep 1
    run 0
    printf '[default]\ndeletions: propagate\n' >default
    rm a/f
    exits 0 --policy default a b
    [ ! -e b/f ] && [ -e c/f ]
    exits 0 --policy default c b
    [ ! -e c/f ]
    run 0
    [ -z "$did" ]
    same a b c
}

@test "deletions: a member away for longer than tombstones last rejoins by adding, never by deleting" {
    asks 'deletions: propagate' 'tombstones: 1s'
    put a f 1
    put a g 2
    run 0
    mv c away
    rm a/f
    run 6
    [ ! -e b/f ]
    rm away/g # while it was away, too
    sleep 2.1
    run 6
    sleep 1.1
    run 6
    mv away c
    run_as_dry 0
    [ "$did" = "copy f a
copy f b
copy g c" ]
    same a b c
}

@test "deletions: tombstones expire, and are no objects" {
    asks 'deletions: propagate' 'tombstones: 1s'
    put a f 1
    put a g 2
    run 0
    rm a/f
    run 0
    [ "$(summary objects <<<"$output")" = 1 ]
    exits 0 manifest a
    [ "$(wc -l <<<"$output")" = 1 ]
    grep -aq '\bf' a/.sos-sync/manifest
    local small
    sleep 2.1
    small=$(stat -c %s a/.sos-sync/manifest)
    run 0
    run 0
    [ "$(stat -c %s a/.sos-sync/manifest)" -lt "$small" ]
    calm
}

# ---- rm ----

@test "rm: an object goes from all members, through the trash, and stays away" {
    asks # restore: rm is meant all the same
    put a f 1
    put a d/g 2
    run 0
    put b f edited
    run_as_dry 0 rm d/g f
    [ "$did" = "delete d/g a
delete d/g b
delete d/g c
delete f a
delete f b
delete f c" ]
    [ "$(trashed b)" = $'d/g\nf' ]
    [ "$(cat b/.sos-sync/trash/*/f)" = edited ]
    [ -d a/d ]
    same a b c
    calm
    put c f new
    run 0
    [ "$(cat a/f b/f)" = newnew ]
}

@test "rm: nothing else is done in that run" {
    put a f 1
    put a g 2
    run 0
    put a new 3
    put a g 22
    rm b/g
    run 0 rm f
    [ "$did" = "delete f a
delete f b
delete f c" ]
    [ ! -e b/new ] && [ ! -e b/g ]
    run 0
    same a b c
    [ "$(cat c/g c/new)" = 223 ]
}

@test "rm: a directory needs -r; what is not there is told; the rest is done" {
    put a d/e/f 1
    put a g 2
    run 0
    run_as_dry 3 rm d
    [ -z "$did" ] && [ -e c/d/e/f ]
    [[ $errors == *"d: is a directory: -r"* ]]
    run_as_dry 3 rm nothing g
    [ "$did" = "delete g a
delete g b
delete g c" ]
    [[ $errors == *"nothing: no reachable member has an object of this name"* ]]
    run_as_dry 0 rm -r ./d/
    [ "$(grep -c ^rmdir <<<"$did") $(grep -c ^delete <<<"$did")" = "6 3" ]
    same a b c
    [ -z "$(ls a)" ]
    run 3 rm g
    calm
}

@test "rm: what is not a path below the root is refused before anything is done" {
    local name
    put a f 1
    run 0
    for name in /f ../f d/../f . '' .sos-sync/marker; do
        run 1 rm f "$name"
    done
    exits 1 rm --config conf --policy policy
    [ -e a/f ] && [ -e b/f ]
}

@test "rm: of several groups the one is to be named" {
    mkdir d e
    printf '[2]\nd: %s/d\ne: %s/e\n' "$PWD" "$PWD" >>conf
    put a f 1
    put d f 2
    run 0
    run 1 rm f
    grep -q -- --group <<<"$errors"
    [ -e a/f ] && [ -e e/f ]
    run 0 rm --group 2 f
    [ -e a/f ] && [ -e b/f ] && [ ! -e d/f ] && [ ! -e e/f ]
}

@test "rm: a member that is away learns of it later, under restore as well" {
    far_group a b c
    asks
    put a f 1
    put a keep 1
    run 0
    sed 's|ssh://far\(.*\)/c$|ssh://nowhere\1/c|' conf >conf2
    ssh_alias nowhere 1
    exits 3 rm f --config conf2 --policy policy --json
    [ ! -e a/f ] && [ ! -e b/f ] && [ -e c/f ]
    run_as_dry 0
    [ "$did" = "delete f c" ]
    same a b c
    calm
}

@test "rm: the only member that is there remembers for those that are away" {
    group a b
    asks
    put a d/f 1
    put a keep 1
    run 0
    mv b away
    run 6 rm -r d
    [ ! -e a/d ]
    mv away b
    run 0
    same a b
    [ ! -e b/d ]
}

@test "rm: on other machines, and a directory that changed meanwhile" {
    far_group a b c
    put a d/f 1
    put a keep 1
    run 0
    put b d/new 2
    run_as_dry 0 rm -r d
    [ ! -e a/d ] && [ ! -e b/d ] && [ ! -e c/d ]
    trashed b | grep -qx d/new
    same a b c
    calm
}

@test "rm: more than max-delete allows may be meant" {
    asks 'max-delete: 1'
    for i in 1 2 3 4; do put a d/$i $i; done
    put a keep 1
    run 0
    run_as_dry 0 rm -r d
    [ ! -e c/d ]
    exits 1 rm --max-delete 3 keep --config conf
}

# ---- max-delete ----

many() {
    local i
    for i in {1..20}; do put a "d/$i" "content $i"; done
    run 0
}

@test "max-delete: more than a number: nothing is deleted, additions happen, exit 6" {
    many
    rm a/d/{1..5}
    put a new 1
    put b d/7 changed
    run_as_dry 6 --max-delete 4
    [ "$did" = "copy new b
copy new c
update d/7 a
update d/7 c" ]
    [[ $errors == *"b: 5 of its 20 objects would be deleted, more than max-delete (4) allows"* ]]
    [[ $errors == *"c: 5 of its 20"*"--max-delete 5 lets it"* ]]
    [ -e b/d/1 ] && [ ! -e a/d/1 ]
    run 6 --max-delete 4
    [ -z "$did" ]
    run_as_dry 0 --max-delete 5
    [ "$(grep -c ^delete <<<"$did")" = 10 ]
    same a b c
    calm
}

@test "max-delete: a share, from the command line and from the policy" {
    many
    rm a/d/{1..5}
    run_as_dry 6 --max-delete 24%
    asks 'deletions: propagate' 'max-delete: 10%'
    run 6
    [[ $errors == *"max-delete (10%)"* ]]
    asks 'deletions: propagate' 'max-delete: 4'
    run 6
    run_as_dry 0 --max-delete 25%
    same a b c
}

@test "max-delete: is 25% by default, but 100 objects at least" {
    local i
    in_memory
    group a b c
    asks 'deletions: propagate'
    for i in {1..130}; do put a "$i" "$i"; done
    run 0
    rm a/{1..100}
    run 0
    [ "$(summary deleted <<<"$output")" = 200 ]
    for i in {200..320}; do put a "$i" "$i"; done
    run 0
    rm a/{200..300}
    run 6
    [ "$(ls b | wc -l)" = 151 ]
}

@test "max-delete: renames, and what is there twice, are no deletions" {
    many
    put a copy "content 3"
    run 0
    mv a/d a/e
    rm a/e/3
    put c x/y/1 1
    run_as_dry 0 --max-delete 0
    [ ! -e b/d ] && [ "$(cat b/copy)" = "content 3" ]
    same a b c
    rm a/copy
    run_as_dry 6 --max-delete 0
    [ -e b/copy ]
}

@test "max-delete: is counted for each member" {
    many
    rm a/d/{1..4} b/d/{5..8}
    run_as_dry 6 --max-delete 7 # a loses 4, b 4, c 8
    [[ $errors == *"c: 8 of"* ]] && [[ $errors != *"a: "*" of its"* ]]
    run 0 --max-delete 8
    same a b c
}

@test "max-delete: what is replaced by another kind waits as well" {
    many
    rm -r a/d
    put a d file
    run_as_dry 6 --max-delete 0
    [ -d b/d ] && [ -f a/d ]
    run 0 --max-delete 20
    same a b c
    [ "$(cat b/d)" = file ]
}

@test "max-delete: on other machines" {
    far_group a b c
    many
    rm a/d/{1..5}
    put a new 1
    run_as_dry 6 --max-delete 4
    [ -e b/d/1 ] && [ -e c/new ]
    run 0 --max-delete 5
    same a b c
}

@test "max-delete: values out of range are refused" {
    local value
    for value in x -1 101% 5%% % ''; do
        exits 1 --max-delete="$value" a b
        grep -q max-delete <<<"$errors"
    done
    [ ! -e a/.sos-sync ]
}

# ---- after all ----

@test "deletions: a run that is killed while it deletes loses nothing, and the next one goes on" {
    local i
    in_memory
    group a b c
    asks 'deletions: propagate'
    for i in {1..60}; do put a "d$((i % 5))/$i" "$i"; done
    run 0
    contents a b c >"$BATS_TEST_TMPDIR/before"
    command -v strace >/dev/null || skip "no strace"
    for i in 1 5 20; do
        rm -f a/d1/$((i * 5 / 5 + 0)) && rm -rf "a/d$((i % 5))"
        under_strace -o /dev/null -e trace=renameat,renameat2,unlinkat,linkat \
            -e inject=renameat,renameat2,unlinkat,linkat:signal=KILL:when=$i \
            "$SOS_SYNC" --no-progress --config conf --policy policy --max-delete 100% >/dev/null 2>&1 || true
        run 0 --max-delete 100%
        same a b c
        tidy a b c
        [ -z "$(contents a b c | comm -13 - "$BATS_TEST_TMPDIR/before")" ]
    done
    calm
}
