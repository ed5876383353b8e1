load lib
load ssh
load policies

# The trash: what lies in it and why, putting back, emptying, a full disk.

setup_file() { far_begin; }
teardown_file() { servers_stop; }

setup() {
    setup_world
    group a b c
}

teardown() { teardown_world; }

trash() { exits "${want:-0}" trash "$1" --config conf "${@:2}"; }

# Ids, members, reasons, paths: one item a line.
items() {
    trash list --json
    jq -r 'select(.event == "trash") | "\(.member | split("/") | last) \(.reason) \(.path)"' <<<"$output"
}

# item_id REASON PATH [MEMBER]
item_id() {
    exits 0 trash list --config conf --json
    jq -r --arg reason "$1" --arg path "$2" --arg member "${3:-}" 'select(.event == "trash" and .reason == $reason and
        .path == $path and (.member | endswith($member))) | .id' <<<"$output"
}

# A file that was overwritten on b and c.
overwritten() {
    put a d/f old 1000000000
    exits 0 --config conf
    put a d/f new 1000000001
    exits 0 --config conf
}

@test "Trash: what was replaced is listed with when, why and by whom, and is no object" {
    overwritten
    [ "$(items)" = $'b overwritten d/f\nc overwritten d/f' ]
    trash list --json
    [ "$(jq -r 'select(.event == "trash") | .bytes' <<<"$output" | sort -u)" = 3 ]
    jq -e 'select(.event == "trash") | (now - .when | fabs < 1000) and (.by | test("process [0-9]+$")) and
        (.run | test("^[0-9-]{10}T[0-9]{6}Z")) and (.id | test("^[0-9a-f]{12}$"))' <<<"$output" >/dev/null
    [ "$(jq -r 'select(.event == "trash") | .id' <<<"$output" | sort -u | wc -l)" = 2 ]
    local before=$output
    trash list --json
    [ "$output" = "$before" ]
    trash list
    [ "$(wc -l <<<"$output")" = 2 ]
    [[ $output == *"overwritten"*"d/f" ]]
    same a b c
    idle a b c
}

@test "Trash: each reason is told: conflict, kind changed, damaged, left over" {
    put a f one 1000000000
    put a k file 1000000000
    put a x undamaged 1000000000
    exits 0 --config conf
    put a f two 1000000001
    put b f three 1000000002
    rm c/k
    mkdir c/k
    put c k/in dir
    exits 0 --config conf
    items | grep -qx 'a conflict f'
    items | grep -qx 'c overwritten f'
    items | grep -q '^[ab] kind changed k$'
    local state
    state=$(stat -c %Y b/x)
    printf 'Undamaged' | dd of=b/x conv=notrunc status=none
    touch -d "@$state" b/x
    same a c
}

@test "Trash: an object comes back by its path, at the member that had it, and is an edit that spreads" {
    overwritten
    trash restore --group g d/f
    [[ $output == *"b: restored d/f" ]]
    [ "$(cat b/d/f)" = old ]
    [ "$(stat -c %Y b/d/f)" = 1000000000 ]
    [ "$(cat a/d/f c/d/f)" = newnew ]
    items | grep -qx 'b restored over d/f'
    exits 0 --config conf
    same a b c
    [ "$(cat a/d/f)" = old ]
    idle a b c
}

@test "Trash: an item comes back by its id, its parents are made, and its run goes with its last item" {
    overwritten
    local one
    one=$(item_id overwritten d/f c)
    rm -r c/d
    trash restore "$one"
    [ "$(cat c/d/f)" = old ]
    [ -z "$(ls c/.sos-sync/trash)" ]
    want=3 trash restore "$one"
    [[ $errors == *"no such object or id"* ]]
    exits 0 --config conf
    same a b c
    [ "$(cat b/d/f)" = old ]
}

@test "Trash: what was lost everywhere comes back everywhere" {
    put a f precious
    exits 0 --config conf
    put a f replaced
    exits 0 --config conf
    rm a/f b/f c/f
    exits 0 --config conf
    trash restore --group g f
    [ "$(cat b/f)" = precious ]
    exits 0 --config conf
    same a b c
    [ "$(cat a/f)" = precious ]
}

@test "Trash: names of any bytes, symlinks, and what stands in the way" {
    local odd=$'n\n\033\\x41 \377'
    put a "$odd/$odd" old 1000000000
    ln -s nowhere a/link
    put a dir 'a file'
    exits 0 --config conf
    put a "$odd/$odd" new 1000000001
    ln -sfn elsewhere a/link
    exits 0 --config conf
    trash restore --group g "$odd/$odd" link
    [ "$(cat "b/$odd/$odd")" = old ]
    [ "$(readlink b/link)" = nowhere ]
    rm a/dir
    put a dir/in x
    exits 0 --config conf
    want=3 trash restore --group g dir
    [[ $errors == *"not empty"* ]]
    exits 0 --config conf
    same a b c
}

@test "Trash: empty takes all, or what is old, and says how much" {
    overwritten
    trash empty --older-than 3d
    [[ $output == *"b: 0 items removed"* ]]
    [ "$(items | wc -l)" = 2 ]
    trash empty --json
    [ "$(jq -r 'select(.event == "emptied") | "\(.items) \(.bytes)"' <<<"$output" | tr '\n' ,)" = '0 0,1 3,1 3,' ]
    [ -z "$(items)" ]
    [ -z "$(ls b/.sos-sync/trash c/.sos-sync/trash | grep -v :)" ]
}

@test "Trash: what is foreign, damaged or a symlink breaks no run, no list, and stays in the root" {
    overwritten
    local run
    run=$(ls b/.sos-sync/trash | grep -v txt)
    put . out/secret secret
    mkdir b/.sos-sync/trash/mine
    ln -s ../../../../out b/.sos-sync/trash/"$run"/l
    ln -s /etc/passwd b/.sos-sync/trash/2020-01-01T000000Z.txt
    ln -s ../../../out b/.sos-sync/trash/2020-01-01T000000Z
    printf 'noise\n2026-11-22T00:00:00Z\twhy\tl/secret\n2026-11-22T00:00:00Z\twhy\t../../../marker\n' \
        >>b/.sos-sync/trash/"$run".txt
    head -c 100000 /dev/urandom >b/.sos-sync/trash/2020-01-02T000000Z.txt
    put a d/f newer
    exits 0 --config conf
    [ "$(items | grep -c ^b)" = 2 ]
    want=3 trash restore --group g l/secret
    trash empty
    [ "$(cat out/secret)" = secret ]
    [ -e b/.sos-sync/marker ] && [ -d b/.sos-sync/trash/mine ]
    same a b c
}

@test "Trash: a directory of its own for state holds the trash, too" {
    EXTRA=(--state-dir "$PWD/states")
    overwritten
    [ "$(items | wc -l)" = 2 ]
    trash restore --group g d/f
    [ "$(cat b/d/f)" = old ]
    [ ! -e b/.sos-sync ]
}

@test "Trash: usage, locks, members that are away" {
    want=1 trash 2>/dev/null || exits 1 trash --config conf
    exits 1 trash wipe --config conf
    exits 1 trash restore --config conf
    exits 1 trash list --older-than 3d --config conf
    exits 1 trash empty --older-than soon --config conf
    exits 1 trash list --dry-run --config conf
    overwritten
    printf '\n[2]\nd: %s/d\ne: %s/e\n' "$PWD" "$PWD" >>conf
    mkdir d e
    exits 1 trash restore --config conf d/f
    [[ $errors == *"--group"* ]]
    exec 9<b
    flock -s 9
    exits 0 trash list --config conf
    exits 5 trash empty --config conf --group g
    [ "$(trashed b)" = d/f ]
    exec 9<&-
    mv c gone
    exits 6 trash empty --config conf --group g
    [ -z "$(trashed b)" ]
    [ "$(trashed gone)" = d/f ]
}

@test "Trash: a full disk gives up the oldest items, not the run" {
    mount_tmpfs b 8m
    head -c 2500000 /dev/urandom >a/f
    exits 0 --config conf
    local i
    for i in 1 2 3 4; do
        head -c 2500000 /dev/urandom >a/f
        exits 0 --config conf
        [ "$i" -lt 3 ] || [[ $errors == *"the disk is full"* ]]
    done
    same a b c
    tidy a b c
    [ "$(items | grep -c ^b)" -le 2 ]
    [ "$(items | grep -c ^c)" = 4 ]
}

@test "Trash: a full ext4 gives up the oldest items, also for small files and through streams" {
    mount_loop b ext4 16m
    local i k
    for i in 1 2 3 4 5; do
        for k in 1 2 3 4 5 6; do head -c 600000 /dev/urandom >a/"$k"; done
        for k in {10..60}; do head -c 3000 /dev/urandom >a/"$k"; done
        exits 0 --config conf --through
    done
    [[ $errors == *"the disk is full"* ]]
    same a b c
    tidy a b c
}

@test "Trash: a full disk without any trash fails as it did" {
    mount_tmpfs b 4m
    head -c 6000000 /dev/urandom >a/f
    exits 3 --config conf
    [[ $errors == *"No space left"* ]]
    [ ! -e b/f ]
    same a c
}

@test "Trash: of a member on another machine" {
    far_world
    behind far b c
    overwritten
    [ "$(items | wc -l)" = 2 ]
    trash restore --group g d/f
    [ "$(cat b/d/f)" = old ]
    exits 0 --config conf
    same a b c
    trash empty
    [ -z "$(items)" ]
}

@test "Trash: off: nothing is left after the run, nothing is lost in it" {
    asks 'trash: off'
    EXTRA=(--policy "$PWD/policy")
    overwritten
    [ -z "$(ls -A b/.sos-sync/trash c/.sos-sync/trash | grep -v :)" ]
    put a g/one same
    exits 0 --config conf
    put a g/one other
    put a g/two same
    exits 0 --config conf
    same a b c
    EXTRA=()
    [ -z "$(items)" ]
}

@test "Trash: a deletion is taken back: what was deleted everywhere is back everywhere, and stays" {
    asks 'deletions: propagate'
    EXTRA=(--policy "$PWD/policy")
    put a d/f precious 1000000000
    put a other x
    exits 0 --config conf
    rm -r a/d
    exits 0 --config conf
    [ ! -e b/d ] && [ ! -e c/d ]
    EXTRA=()
    [ "$(items)" = $'b deleted d/f\nc deleted d/f' ]
    trash restore --group g d/f
    EXTRA=(--policy "$PWD/policy")
    exits 0 --config conf
    same a b c
    [ "$(cat a/d/f)" = precious ]
    exits 0 --config conf --json
    [ -z "$(acts <<<"$output")" ]
}
