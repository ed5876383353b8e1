load lib
load ssh
load policies

# Guards: emptied stores, lost markers, other stores, mount points and sick disks, where deletions are propagated.
# What a guard does with max-delete is in deletions.bats, and more of markers in hostile.bats.

setup_file() { far_begin; }
teardown_file() { servers_stop; }

setup() {
    setup_world
    group a b c
    asks 'deletions: propagate'
}

teardown() { teardown_world; }

# The member c is on another machine.
far_c() {
    far_world
    behind far c
}

empties() { find "$1" -mindepth 1 -maxdepth 1 ! -name .sos-sync -exec rm -r {} +; }

# Some objects everywhere, and a few changes that have to be made whatever is guarded.
begin() {
    local i
    for i in 1 2 3 4 5; do put a "d/$i" "$i"; done
    run 0
}
changes() {
    put b new fresh
    rm b/d/5
}

# ---- came up empty ----

emptied() {
    begin
    changes
    empties c
    run_as_dry 6
    [ "$did" = "copy new a
delete d/5 a" ]
    [[ $errors == *"c: "*" is empty, though it held 5 objects"*"check that its disk is mounted"*"--adopt"*"--max-delete 100%"* ]]
    [ "$(summary unreachable <<<"$output")" = 1 ]
    [ "$(ls -A c)" = .sos-sync ]
    run 6 --max-delete 99%
    run 6 --max-delete 1000
    same a b
    [ "$(ls a/d | wc -l)" = 4 ]
}

@test "guard: a store that came up empty stops its part, the others are kept in step" {
    emptied
    run_as_dry 0 --max-delete 100%
    [ "$(grep -c ^delete <<<"$did")" = 8 ] # those that it knew; new is new to it
    same a b c
    [ "$(contents a b c | wc -l)" -ge 6 ] # the trash has them
}

@test "guard: an emptied store on another machine" {
    far_c
    emptied
    run 0 --max-delete 100%
    same a b c
}

@test "guard: an emptied store is adopted: it gets back what it lost" {
    emptied
    run_as_dry 0 --adopt c
    same a b c
    [ "$(ls c/d | wc -l)" = 4 ]
    run 0
    [ -z "$did" ]
}

@test "guard: an emptied store on another machine is adopted" {
    far_c
    emptied
    run_as_dry 0 --adopt c
    same a b c
    [ "$(ls c/d | wc -l)" = 4 ]
}

@test "guard: also where what is missing is restored" {
    asks
    begin
    empties c
    run_as_dry 6
    [ "$(ls -A c)" = .sos-sync ]
    run_as_dry 0 --max-delete 100%
    same a b c
    [ -e c/d/5 ]
}

@test "guard: max-delete: 100% in the policy says that it is meant, too" {
    asks 'deletions: propagate' 'max-delete: 100%'
    begin
    empties c
    run_as_dry 0
    same a b c
    [ ! -e a/d/1 ]
}

@test "guard: one object is not enough for a guard, and empty directories are not empty-handed" {
    put a only 1
    mkdir a/dir
    run 0
    rm b/only
    run_as_dry 0
    [ ! -e a/only ]
    same a b c
    begin
    rm c/d/*
    run 6 # directories are no objects
}

# ---- the marker ----

@test "guard: a store without its marker is refused, told what to check, and adopted with all it has" {
    begin
    changes
    rm c/.sos-sync/marker
    put c d/1 edited
    rm c/d/2
    run_as_dry 6
    [ "$did" = "copy new a
delete d/5 a" ]
    [[ $errors == *"has lost its marker"*"is a disk not mounted?"*"Do not make the marker by hand"*"--adopt c"* ]]
    [ ! -e c/new ] && [ -e c/d/5 ] && [ ! -e c/.sos-sync/marker ]
    run_as_dry 0 --adopt c
    same a b c
    [ "$(cat a/d/2)" = 2 ] # it may have been a sick disk: nothing that it lacks is deleted for it
    contents a b | grep -q "$(printf edited | sha256sum | cut -c 1-64)"
    contents a b | grep -q "$(printf 1 | sha256sum | cut -c 1-64)"
    run 0
    [ -z "$did" ]
}

@test "guard: a marker made by hand does not help" {
    begin
    rm c/.sos-sync/marker
    : >c/.sos-sync/marker
    ends "3 6" --config conf --policy policy
    [ -s "$BATS_TEST_TMPDIR/stderr" ]
    cp b/.sos-sync/marker c/.sos-sync/marker
    run 6
    [[ $errors == *"identity of"* ]]
}

@test "guard: another store than last time" {
    begin
    changes
    mkdir other
    put other mine 1
    put other mine2 2
    exits 0 other other2
    mv c gone
    mv other c
    run_as_dry 6
    [ "$did" = "copy new a
delete d/5 a" ]
    [[ $errors == *"is not the store that "*" remembers there: is another disk mounted?"*"--adopt c"* ]]
    [ ! -e c/d ] && [ ! -e a/mine ]
    run_as_dry 0 --adopt c
    same a b c
    [ -e a/mine ] && [ -e c/d/1 ]
}

@test "guard: another store than last time on another machine" {
    far_c
    begin
    changes
    mkdir other
    put other mine 1
    exits 0 other other2
    mv c gone
    mv other c
    run_as_dry 6
    [ ! -e c/d ] && [ ! -e a/mine ]
    [ -e a/new ] && [ ! -e a/d/5 ]
    run 0 --adopt c
    same a b c
}

# ---- mount points ----

@test "guard: a mount point below a store is not crossed, and what is there is nobody's loss" {
    begin
    put a m/below 1
    mkdir -p b/m
    mount_tmpfs b/m
    put b m/own 2
    rm a/d/1
    run_as_dry 3
    [[ $errors == *"b: m: is a mount point, which is not entered"*"mounts: cross"* ]]
    [ ! -e b/m/below ] && [ ! -e a/m/own ] && [ -e c/m/below ]
    [ ! -e b/d/1 ] && [ ! -e c/d/1 ]
    umount b/m
    run 0
    same a b c
    [ -e b/m/below ]
}

@test "guard: mounts: cross: a mount point is a part of the store" {
    asks 'deletions: propagate' 'mounts: cross'
    begin
    mkdir -p b/m
    mount_tmpfs b/m
    put b m/x/own 2
    put b m/too 3
    run_as_dry 0
    same a b c
    rm c/m/too
    run_as_dry 0
    [ ! -e b/m/too ]
    same a b c
}

@test "guard: mounts: cross: what is not mounted now was not deleted" {
    asks 'deletions: propagate' 'mounts: cross'
    begin
    mkdir -p b/m
    mount_tmpfs b/m
    put b m/x/own 2
    put b m/too 3
    run 0
    umount b/m
    rm b/d/1
    run_as_dry 0
    [ -e a/m/x/own ] && [ -e a/m/too ] && [ ! -e a/d/1 ]
    ! grep -q '^delete m' <<<"$did"
    same a b c
}

# ---- sick disks ----

@test "guard: a scan that met an I/O error takes no decision from absence" {
    command -v strace >/dev/null || skip "no strace"
    begin
    put a e/1 x
    put a e/2 y
    run 0
    rm b/d/1
    EXTRA=(--no-sandbox)
    got=0
    under_strace -o trace.out -P "$PWD/b/e" -e trace=getdents64 -e inject=getdents64:error=EIO \
        "$SOS_SYNC" --no-progress --no-sandbox --config conf --policy policy --json >out 2>err || got=$?
    grep -qs INJECTED trace.out || skip "cannot make it fail"
    [ "$got" = 3 ]
    grep -q 'what is missing is not taken for deleted' err
    [ -z "$(acts <out)" ] && [ -e a/d/1 ] && [ -e a/e/1 ] && [ -e c/d/1 ]
    run 0
    [ ! -e a/d/1 ] || [ -e b/d/1 ] # it is known again: a deletion, or a lost copy, but never a loss
    [ -e b/e/1 ] && [ -e a/e/2 ]
    same a b c
}

@test "guard: a directory that may not be read is no absence" {
    begin
    put a e/1 x
    run 0
    chmod 0 b/e
    rm c/d/1
    as_nobody
    run 3
    [ -e a/e/1 ] && [ ! -e a/d/1 ]
    chmod 755 b/e
    run 0
    same a b c
    [ -e b/e/1 ]
}
