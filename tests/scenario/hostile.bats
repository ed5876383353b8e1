load lib

setup() {
    setup_world
    mkdir a b c outside
}
teardown() {
    [ -z "${job:-}" ] || kill -9 "$job" 2>/dev/null || true
    teardown_world
}

need() { command -v "$1" >/dev/null || skip "no $1"; }

# traced WHAT ARGS...: a run under strace, which injects what it is told; its status is in $got.
traced() {
    local what=$1
    shift
    need strace
    strace -f -qq -o /dev/null -e trace=none true 2>/dev/null || skip "may not trace"
    got=0
    # strace dies of what kills the first process: the shell is not to tell about it.
    {
        under_strace -o trace.out -e "trace=${what%%:*}" -e "inject=$what" "$SOS_SYNC" --no-progress "${EXTRA[@]}" "$@" \
            >traced.out 2>traced.err || got=$?
    } 2>/dev/null
}

# ---- what cannot be read ----

@test "World: an unreadable file: the rest is synced, status 3" {
    as_nobody
    put a secret 1
    put a fine 2
    [ "$(id -u)" != 0 ] || chown -R 65534 .
    chmod 0 a/secret
    exits 3 a b
    [ "$(cat b/fine)" = 2 ] && [ ! -e b/secret ]
    grep -q secret <<<"$errors"
    chmod 600 a/secret
    exits 0 a b
    same a b
}

# A directory that another user made: one may see that it is there, and no more.
unreadable_directory() {
    as_root
    as_nobody
    put a d/x 1
    put a fine 2
    chown -R 65534:65534 .
    exits 0 a b
    put b d/y 3
    put b d/x 11
    put b more 4
    chown -R 65534:65534 .
    chown 0:0 a/d
    chmod 700 a/d
}

@test "World: an unreadable directory: the rest is synced, status 3; what others have of it stays" {
    unreadable_directory
    exits 3 a b c
    grep -q ': d: ' <<<"$errors"
    [ "$(cat a/more c/more)" = 44 ]
    [ "$(cat b/d/x c/d/x)" = 1111 ]
    [ "$(cat a/d/x)" = 1 ] && [ ! -e a/d/y ]
    chown 65534 a/d
    chmod 755 a/d
    exits 0 --json a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    same a b c
}

@test "World: an unreadable directory: that one cannot read it does not spread to the others" {
    as_nobody
    put a d/x 1
    [ "$(id -u)" != 0 ] || chown -R 65534:65534 .
    exits 0 a b c
    chmod 0 a/d
    exits 3 a b c
    [ "$(stat -c %a b/d c/d | xargs)" = "755 755" ]
    chmod 755 a/d
    exits 0 --json a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    same a b c
}

@test "World: a copy that cannot be read is not overwritten" {
    as_nobody
    put a x 1
    [ "$(id -u)" != 0 ] || chown -R 65534 .
    exits 0 a b
    put a x mine
    chmod 0 a/x
    put b x theirs
    exits 3 a b
    chmod 600 a/x
    [ "$(cat a/x)" = mine ]
    exits 0 --json a b
    [ "$(summary conflicts <<<"$output")" = 1 ]
    same a b
}

@test "World: a directory that may be listed but not written to: its objects fail, the others arrive" {
    as_root
    as_nobody
    put a d/x 1
    put a fine 2
    mkdir b/d
    chown -R 65534 .
    chown 0:0 b/d
    exits 3 a b
    [ "$(cat b/fine)" = 2 ] && [ ! -e b/d/x ]
    grep -q d/x <<<"$errors"
    chown 65534 b/d
    exits 0 a b
    same a b
}

# ---- members that are not there ----

@test "World: a member that does not exist is made at a first run, when its parent exists" {
    put a x 1
    exits 0 a b new
    same a b new
}

@test "World: a member whose parent is missing fails, the others are kept in step" {
    put a x 1
    exits 3 --json a b no/such
    same a b
    [ ! -e no ]
    [ "$(summary unreachable <<<"$output")" = 1 ]
    grep -q no/such <<<"$errors"
}

@test "World: a member that vanished is refused and not made again; --adopt brings it back" {
    put a x 1
    exits 0 a b c
    rm -r c
    put a y 2
    exits 6 --json a b c
    [ ! -e c ]
    [ "$(cat b/y)" = 2 ]
    [ "$(summary unreachable <<<"$output")" = 1 ]
    grep -q adopt <<<"$errors"
    exits 6 b c
    exits 6 c a
    [ ! -e c ]
    exits 0 --adopt c a b c
    same a b c
    idle a b c
}

@test "World: an unmounted disk: the empty mount point is refused and stays empty" {
    mount_tmpfs disk
    put a x 1
    exits 0 a b disk
    put a y 2
    umount disk
    exits 6 --json a b disk
    [ -z "$(ls -A disk)" ]
    [ "$(cat b/y)" = 2 ]
    exits 6 --dry-run a b disk
    exits 6 disk a b
    [ -z "$(ls -A disk)" ]
}

@test "World: a store that lost its marker is refused with an explanation, with --adopt accepted" {
    put a x 1
    exits 0 a b c
    rm -r b/.sos-sync
    put a y 2
    exits 6 a b c
    [ ! -e b/y ] && [ ! -e b/.sos-sync ] && [ "$(cat c/y)" = 2 ]
    grep -q marker <<<"$errors"
    exits 0 --json --adopt b a b c
    same a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
}

@test "World: another store in the place of a member is refused" {
    mkdir d
    put a x 1
    put d other 2
    exits 0 a b c
    exits 0 d new
    mv b aside
    mv d b
    exits 6 a b c
    [ ! -e c/other ] && [ ! -e b/x ]
    mv b d
    mv aside b
    exits 0 a b c
}

@test "B8: a copy made with cp -a carries the same identity and is refused" {
    put a x 1
    exits 0 a b
    cp -a a twin
    put twin y 2
    exits 6 a b twin
    [ ! -e b/y ]
    grep -q twin <<<"$errors"
    same a b
    rm -r twin/.sos-sync
    exits 0 a b twin
    same a b twin
}

@test "Session: a store of another group is refused: nothing travels between groups" {
    mkdir d
    put a x 1
    put c y 2
    printf '[one]\n-: %s\n-: %s\n[two]\n-: %s\n-: %s\n' "$PWD"/{a,b,c,d} >conf
    exits 0 --config conf
    printf '[one]\n-: %s\n-: %s\n-: %s\n' "$PWD"/{a,b,c} >conf
    exits 6 --config conf
    [ ! -e a/y ] && [ ! -e c/x ]
    same a b
    exits 0 --config conf --adopt "$PWD/c"
    same a b c
}

@test "World: a member that is a file, or a dangling symlink" {
    put . file 1
    ln -s nowhere dangling
    put a x 1
    ends "1 3" a b file
    [ "$(cat file)" = 1 ]
    ends "1 3" a b dangling
    [ ! -e nowhere ]
    [ -n "$errors" ]
}

# ---- disks ----

@test "World: a read-only store fails, the others are kept in step" {
    as_root
    put a x 1
    exits 0 a b c
    mount --bind b b 2>/dev/null && mount -o remount,ro,bind b 2>/dev/null || skip "cannot mount here"
    put a x 11
    put c y 2
    exits 3 a b c
    [ "$(cat c/x a/y)" = 112 ]
    [ "$(cat b/x)" = 1 ]
    grep -qi 'read-only' <<<"$errors"
    umount b
    exits 0 a b c
    same a b c
}

@test "World: a full disk: what does not fit fails, the rest arrives, nothing is left over" {
    local how
    mount_tmpfs small 1m
    head -c 3000000 /dev/urandom >a/big
    put a one 1
    put a z/two 2
    for how in '' --through; do
        # shellcheck disable=SC2086
        exits 3 $how a b small
        [ "$(cat small/one small/z/two)" = 12 ] && [ ! -e small/big ]
        same a b
        tidy a b small
        grep -qi 'no space' <<<"$errors"
    done
    mount -o remount,size=16m small
    exits 0 a b small
    same a b small
}

@test "World: a disk that is full to the last byte: status 3, and the next run with room works" {
    mount_tmpfs small 1m
    put a one 1
    exits 0 a small
    head -c 3000000 /dev/zero >small/filler 2>/dev/null || true
    put a two 2
    put a one 11
    exits 3 a b small
    [ "$(cat b/two)" = 2 ]
    rm small/filler
    exits 0 a b small
    rm -f a/filler b/filler small/filler
    tidy a b small
    exits 0 a b small
    [ "$(cat small/one small/two)" = 112 ]
}

@test "World: few descriptors: many directories and a deep one are seen all the same" {
    local deep=a i
    for i in {1..400}; do
        put a "d$i/f" "$i"
    done
    for i in {1..120}; do
        deep+=/e
        put "$deep" f "$i"
    done
    (ulimit -n 256 && exits 0 a b)
    same a b
}

@test "World: no inodes: status 3, the rest is synced, and the next run with room works" {
    local i
    mount_tmpfs small 8m
    mount -o remount,nr_inodes=24 small 2>/dev/null || skip "no nr_inodes"
    for i in {1..60}; do put a "d$((i % 3))/$i" "$i"; done
    exits 3 a b small
    same a b
    mount -o remount,nr_inodes=1000 small
    exits 0 a b small
    same a b small
    tidy a b small
}

@test "D6: a file system mounted within a store" {
    put a sub/x 1
    mkdir b/sub
    mount_tmpfs b/sub
    ends "0 3" a b
    put a sub/x 22
    ends "0 3" a b
    # Either it is part of the store, or it is left alone altogether and the run says that not all is in step.
    if [ -e b/sub/x ]; then
        [ "$(cat b/sub/x)" = 22 ]
    else
        [ "$got" = 3 ]
    fi
}

# ---- planted names ----

@test "D3: a symlink in the place of .sos-sync is not followed" {
    put a x 1
    ln -s ../outside b/.sos-sync
    exits 3 a b c
    [ -z "$(ls -A outside)" ]
    same a c
    [ ! -e b/x ]
    grep -q '\.sos-sync' <<<"$errors"
    rm b/.sos-sync
    exits 0 a b c
    same a b c
}

@test "D3: symlinks in the place of our files are not followed" {
    local name
    put a x 1
    exits 0 a b c
    ls -A b/.sos-sync >names
    for name in manifest manifest.new journal marker peers lock trash; do
        rm -rf w && mkdir w && cp -a a b c w
        put . victim precious
        rm -rf "w/b/.sos-sync/$name"
        ln -s ../../../victim "w/b/.sos-sync/$name"
        put w/a x 22
        put w/b y 3
        (
            cd w
            # The peers remember other places: this is a first meeting here.
            ends "0 3 6" a b c
            [ "$(cat c/x)" = 22 ]
            [ "$got" != 0 ] || same a b c
        ) || { echo "with $name"; return 1; }
        [ "$(cat victim)" = precious ] || { echo "victim changed through $name"; return 1; }
    done
}

@test "D3: a symlink to a directory in the place of the trash: nothing lands there" {
    put a x 1
    exits 0 a b
    rm -rf b/.sos-sync/trash
    ln -s ../../outside b/.sos-sync/trash
    put a x 22
    ends "0 3" a b
    [ -z "$(ls -A outside)" ]
    [[ $(contents a b) == *$(printf 1 | sha256sum | cut -c 1-64)* ]]
}

@test "D3: planted names like our temporary files are neither followed nor carried" {
    put . victim precious
    ln -s ../victim b/.sos-sync.tmp.0123456789abcdef
    put a x 1
    exits 0 a b c
    [ "$(cat victim)" = precious ]
    [ ! -e c/.sos-sync.tmp.0123456789abcdef ] && [ ! -L c/.sos-sync.tmp.0123456789abcdef ]
}

@test "D1: a parent directory that is a symlink on one member and a directory on another is not written through" {
    put a d/x 1
    put a d/e/y 2
    ln -s ../outside b/d
    ends "0 3" a b c
    [ -z "$(ls -A outside)" ]
    [ "$(cat c/d/x a/d/x 2>/dev/null)" = 11 ] || [ -L a/d ]
    exits 0 a b c
    [ -z "$(ls -A outside)" ]
    same a b c
}

@test "D1: a directory that became a symlink between two runs is not written through" {
    put a d/x 1
    exits 0 a b c
    rm -r b/d
    ln -s ../outside b/d
    put outside x 'not yours'
    put a d/x 22
    put a d/z 3
    ends "0 3" a b c
    [ "$(cat outside/x)" = 'not yours' ] && [ "$(ls -A outside)" = x ]
    exits 0 a b c
    [ "$(cat outside/x)" = 'not yours' ] && [ "$(ls -A outside)" = x ]
    same a b c
}

@test "D1: a directory swapped for a symlink all the time while runs go on" {
    local i
    for i in {1..30}; do put a "d/$i" "$i"; done
    exits 0 a b
    (while :; do
        mv b/d b/was
        ln -s ../outside b/d
        rm b/d
        mv b/was b/d
    done) 2>/dev/null &
    job=$!
    for i in {1..25}; do
        put a "d/$i" "again $i"
        put a "d/new$i" "new $i"
        ends "0 3" a b
    done
    kill $job && wait $job 2>/dev/null || true
    job=
    [ -z "$(ls -A outside)" ]
    [ ! -L b/d ] || rm b/d
    exits 0 a b
    [ -z "$(ls -A outside)" ]
    same a b
}

@test "D2: a fifo or a device in the place of the target is left alone, and nothing hangs" {
    put a x 1
    put a y 2
    put a z 3
    mkfifo b/x
    [ "$(id -u)" != 0 ] || mknod b/y c 1 3 2>/dev/null || true
    mkfifo b/d
    put a d/inside 4
    AS=(timeout 20)
    exits 3 a b c
    [ -p b/x ] && [ -p b/d ]
    [ ! -e b/y ] || [ -c b/y ] || [ "$(cat b/y)" = 2 ]
    [ "$(cat b/z)" = 3 ]
    same a c
    grep -q x <<<"$errors"
    rm -f b/x b/y b/d
    exits 0 a b c
    same a b c
}

@test "D2: a fifo that took the place of a file is not read" {
    put a x 1
    exits 0 a b
    rm b/x
    mkfifo b/x
    AS=(timeout 20)
    ends "0 3" a b
    [ -p b/x ] && [ "$(cat a/x)" = 1 ]
}

@test "D4: the other name of a hard link keeps its content" {
    local how
    for how in '' --through; do
        put a x old
        # shellcheck disable=SC2086
        exits 0 $how a b
        ln -f b/x outside/other
        put a x new
        # shellcheck disable=SC2086
        exits 0 $how a b
        [ "$(cat b/x)" = new ] && [ "$(cat outside/other)" = old ]
        rm outside/other
    done
}

@test "D4: the other name of a hard link keeps its mode and time" {
    put a x old 1700000000
    exits 0 a b
    ln b/x outside/other
    chmod 600 a/x
    touch -d @1800000000 a/x
    exits 0 a b
    [ "$(stat -c '%a %Y' b/x)" = "600 1800000000" ]
    [ "$(stat -c '%a %Y' outside/other)" = "644 1700000000" ]
}

@test "D4: two names of one file within a store are two objects" {
    put a x old
    ln a/x a/y
    exits 0 a b
    put b x new
    exits 0 a b
    [ "$(cat a/x)" = new ] && [ "$(cat a/y b/y)" = oldold ]
}

# ---- state that is damaged or not ours ----

@test "B7: a damaged, cut or foreign manifest: nothing is lost, the others are kept in step" {
    local how
    in_memory
    mkdir -p a b c
    for i in {1..50}; do put a "f$i" "$i"; done
    for how in empty cut half byte end noise longer foreign directory; do
        rm -rf w && mkdir w && cp -a a b c w
        rm -rf w/*/.sos-sync
        (
            cd w
            sync -q a b c
            put a new 1
            put b f1 'edited'
            file=b/.sos-sync/manifest
            size=$(stat -c %s $file)
            case $how in
            empty) : >$file ;;
            cut) truncate -s $((size - 1)) $file ;;
            half) truncate -s $((size / 2)) $file ;;
            byte) printf '\377' | dd of=$file bs=1 seek=$((size / 2)) conv=notrunc status=none ;;
            end) printf '\377' | dd of=$file bs=1 seek=$((size - 3)) conv=notrunc status=none ;;
            noise) head -c 5000 /dev/urandom >$file ;;
            longer) echo more >>$file ;;
            foreign) cp a/.sos-sync/manifest $file ;;
            directory) rm $file && mkdir $file ;;
            esac
            contents a b c >before
            ends "0 3" a b c
            [ "$(cat c/new)" = 1 ]
            [ -z "$(contents a b c | comm -13 - before)" ]
            [ "$got" = 0 ] && same a b c || grep -q manifest <<<"$errors"
            # What a person is told to do, or would: remove it.
            rm -rf b/.sos-sync/manifest
            ends "0" a b c
            same a b c
            [ "$(cat a/f1)" = edited ]
            [ -z "$(contents a b c | comm -13 - before)" ]
        ) || { echo "with: $how"; return 1; }
    done
}

@test "B8: an older manifest replayed: no edit is lost" {
    put a x 1
    exits 0 a b
    cp b/.sos-sync/manifest older
    put b x 22
    exits 0 a b
    cp older b/.sos-sync/manifest
    put b x 333
    contents a b >before
    exits 0 a b
    same a b
    [ -z "$(contents a b | comm -13 - before)" ]
    idle a b
}

@test "B7: a marker that is damaged is an error, not a new store" {
    put a x 1
    exits 0 a b c
    echo garbage >b/.sos-sync/marker
    put a y 1
    ends "3 6" a b c
    [ "$(cat c/y)" = 1 ] && [ ! -e b/y ]
    grep -q marker <<<"$errors"
    [ "$(cat b/.sos-sync/marker)" = garbage ]
}

@test "B7: a damaged journal or list of peers does no harm" {
    local file
    for file in journal peers; do
        put a x 1
        exits 0 a b c
        head -c 3000 /dev/urandom >b/.sos-sync/$file
        put a x "22 $file"
        ends "0 3" a b c
        [ "$(cat c/x)" = "22 $file" ]
        [ "$(cat b/x)" = "22 $file" ] || [ "$got" = 3 ]
        rm b/.sos-sync/$file
        exits 0 a b c
        same a b c
    done
}

# ---- two at once ----

@test "E6: two runs at once: the second ends with 5 and changes nothing" {
    need flock
    put a x 1
    exits 0 a b c
    put a y 2
    AS=(flock -x b)
    exits 5 a b c
    [ ! -e b/y ] && [ ! -e c/y ]
    AS=()
    exits 0 a b c
    same a b c
}

@test "E6: who holds a store is named, and can be waited for" {
    need flock
    put a x 1
    exits 0 a b
    put a y 2
    flock -x b sleep 3 &
    exits 5 a b
    exits 5 --wait=1 a b
    [[ $errors == *"b is in use by another run"* ]]
    exits 0 --wait a b
    [ "$(grep -c "in use" <<<"$errors")" = 1 ]
    wait
    same a b
    [ ! -e a/.sos-sync/lock ]
}

@test "E6: a real run that stands still holds its locks; dry runs do not disturb each other" {
    need flock
    put a x 1
    exits 0 a b
    put a y 2
    traced_stop a b
    exits 5 a b
    [[ $errors == *"is in use by process "[0-9]*" on $(uname -n) since 2"*"sos-sync"* ]]
    exits 5 b c
    exits 5 --dry-run a b || exits 0 --dry-run a b
    resume
    exits 0 a b
    same a b
    AS=(flock -s a)
    exits 0 --dry-run a b
}

# A run whose agent of the second member stops itself before it puts its first object in place.
traced_stop() {
    need strace
    under_strace -o trace.out -e trace=linkat,renameat2 -e inject=linkat,renameat2:signal=STOP:when=1 \
        "$SOS_SYNC" --no-progress "$@" >/dev/null 2>&1 &
    job=$!
    local i
    for i in {1..100}; do
        ! grep -qs 'stopped by SIGSTOP' trace.out || return 0
        read -rt 0.05 <> <(:) || true
    done
    skip "cannot stop it"
}

resume() {
    local pid
    for pid in $(awk '/stopped by SIGSTOP/ { print $1 }' trace.out); do
        [ "$(readlink "/proc/$pid/exe")" = "$SOS_SYNC" ] && kill -CONT "$pid"
    done
    wait "$job" || true
    job=
}

# ---- processes that die or stand still ----

# Only b's agent makes a symlink.
one_symlink_for_b() {
    put a f 1
    ln -s x a/l
    touch -hd @1700000000 a/l
    cp -a a/l c/l
    exits 0 a c
}

@test "E1: an agent that is stopped: its member fails after --timeout, the others are in step" {
    one_symlink_for_b
    put a later 2
    SECONDS=0
    traced symlinkat:signal=STOP --timeout 1 a b c
    [ "$got" = 3 ]
    [ $SECONDS -lt 20 ]
    same a c
    grep -q b traced.err
    exits 0 a b c
    same a b c
    tidy a b c
}

@test "E7: an agent that is killed: its member fails, the others are in step" {
    one_symlink_for_b
    put a later 2
    traced symlinkat:signal=KILL a b c
    [ "$got" = 3 ]
    same a c
    exits 0 a b c
    same a b c
    tidy a b c
}

# A world with all kinds of changes before a run over a, b, c.
eventful() {
    local i
    for i in {1..12}; do put a "d$((i % 3))/f$i" "content $i" 1700000000; done
    put a fight 1
    put a meta 1
    put a kind 1
    ln -s x a/link
    sync -q a b c
    for i in {1..4}; do put a "d1/new$i" "new $i"; done
    put b d2/f2 edited
    put c deep/er/x 'from c'
    put a fight 'by a' 1700000500
    put b fight 'by b' 1700000900
    chmod 600 c/meta
    mv b/d0 b/moved
    rm c/kind
    mkdir c/kind
    put c kind/x 1
    ln -sfn y a/link
    rm a/d2/f5
}

# cut_short WHAT: a run of an eventful world in which that happens; then a normal one, which must just work.
cut_short() {
    rm -rf a b c
    cp -a "$BATS_TEST_TMPDIR"/eventful/. .
    traced "$1" a b c
    grep -Eqs 'INJECTED|killed by SIGKILL' trace.out || return 9
    exits 0 --json a b c || { echo "after $1"; return 1; }
    same a b c || { echo "after $1"; return 1; }
    tidy a b c || { echo "after $1"; return 1; }
    [ -z "$(contents a b c | comm -13 - "$BATS_TEST_TMPDIR/before")" ] || { echo "content was lost: $1"; return 1; }
    idle a b c || { echo "after $1"; return 1; }
}

prepare_eventful() {
    need strace
    in_memory
    mkdir -p a b c outside
    eventful
    mkdir "$BATS_TEST_TMPDIR/eventful"
    cp -a a b c "$BATS_TEST_TMPDIR/eventful"
    contents a b c >"$BATS_TEST_TMPDIR/before"
}

# at_each SYSCALLS FAULT N...: cut short by that fault at those calls; those that never come are passed over.
at_each() {
    local calls=$1 fault=$2 call n status
    shift 2
    for call in ${calls//,/ }; do
        for n in "$@"; do
            status=0
            cut_short "$call:$fault:when=$n" || status=$?
            [ $status != 9 ] || break
            [ $status = 0 ] || return 1
            tried=$((${tried:-0} + 1))
        done
    done
    return 0
}

@test "E7: killed where objects take their place" {
    prepare_eventful
    at_each linkat,renameat2,symlinkat,mkdirat signal=KILL 1 2 4 8
    [ "${tried:-0}" -gt 5 ]
}

@test "E7: killed where data and directories are synced" {
    prepare_eventful
    at_each syncfs,fsync,fdatasync,renameat signal=KILL 1 2 3 4
    [ "${tried:-0}" -gt 3 ]
}

@test "E7: killed where something is written or sent" {
    prepare_eventful
    at_each write,pwrite64,sendmsg,writev signal=KILL 1 2 4 7 12 20
    [ "${tried:-0}" -gt 5 ]
}

@test "E7: killed where something is removed or changed" {
    prepare_eventful
    at_each unlinkat,fchmod,utimensat,ftruncate signal=KILL 1 2 3 5
    [ "${tried:-0}" -gt 1 ]
}

@test "E7: with --through: killed where objects take their place and where something is sent" {
    EXTRA=(--through)
    prepare_eventful
    at_each linkat,renameat2,write,sendmsg signal=KILL 1 3 7 15
    [ "${tried:-0}" -gt 4 ]
}

@test "E7: killed from outside at any moment, and the next run follows at once" {
    local ms i
    in_memory
    mkdir -p a b c
    for i in {1..3000}; do echo "$i" >"a/$i"; done
    for ms in 5 12 20 30 45 60 80 110; do
        for i in {1..300}; do echo "$ms $i" >"a/$i"; done
        { timeout -s KILL "$(printf '0.%03d' $ms)" "$SOS_SYNC" --no-progress a b c >/dev/null 2>&1 || true; } 2>/dev/null
        got=5
        # An agent of the killed run may need a moment to notice.
        for ((i = 0; got == 5 && i < 40; i++)); do
            [ $i = 0 ] || read -rt 0.05 <> <(:) || true
            ends "0 5" a b c
        done
        [ "$got" = 0 ]
        same a b c
        tidy a b c
    done
}

@test "E7: an interrupted run ends in order, and the next one works" {
    local i signal
    in_memory
    mkdir -p a b c
    for i in {1..3000}; do echo "$i" >"a/$i"; done
    for signal in INT TERM HUP; do
        for i in {1..900}; do echo "$signal $i" >"a/$i"; done
        got=0
        timeout -s $signal 0.06 "$SOS_SYNC" --no-progress a b c >/dev/null 2>&1 || got=$?
        exits 0 a b c
        same a b c
        tidy a b c
    done
}

@test "World: EIO and ENOSPC from any call: a status, no crash, and the next run works" {
    prepare_eventful
    at_each linkat,renameat2,symlinkat,mkdirat,syncfs,fsync,fdatasync,renameat,unlinkat,ftruncate,flock error=EIO 1 3
    at_each write,pwrite64,mkdirat,linkat error=ENOSPC 1 4 9
    [ "${tried:-0}" -gt 8 ]
}

@test "World: a failed sync is never reported as done" {
    local call
    need strace
    put a x 1
    for call in fsync fdatasync syncfs sync_file_range; do
        rm -rf b && mkdir b
        rm -rf a/.sos-sync
        traced $call:error=EIO:when=1+ a b
        grep -qs INJECTED trace.out || continue
        [ "$got" != 0 ] || { echo "status 0 though $call failed"; return 1; }
        rm -rf b/.sos-sync a/.sos-sync
    done
}

@test "D1: where the kernel has no openat2, a run is the same" {
    prepare_eventful
    traced openat2:error=ENOSYS a b c
    [ "$got" = 0 ]
    same a b c
    put a d1/d/x 1
    rm -r b/d1
    ln -s ../outside b/d1
    traced openat2:error=ENOSYS a b c
    [ -z "$(ls -A outside)" ]
}

@test "World: file systems without O_TMPFILE, reflinks, copy_file_range or renameat2: a run is the same" {
    local call
    prepare_eventful
    for call in linkat:error=EOPNOTSUPP copy_file_range:error=EXDEV copy_file_range:error=ENOSYS ioctl:error=EOPNOTSUPP \
        sendfile:error=EINVAL renameat2:error=EINVAL renameat2:error=ENOSYS; do
        rm -rf a b c
        cp -a "$BATS_TEST_TMPDIR"/eventful/. .
        traced "$call" a b c
        [ "$got" = 0 ] || [ "$call" = linkat:error=EOPNOTSUPP ] || { echo "$call: $got"; cat traced.err; return 1; }
        exits 0 a b c
        same a b c || { echo "with $call"; return 1; }
        [ -z "$(contents a b c | comm -13 - "$BATS_TEST_TMPDIR/before")" ] || { echo "lost: $call"; return 1; }
    done
}

@test "C4: files that grow, shrink and vanish while they are read" {
    put a still 1
    head -c 2000000 /dev/urandom >a/log
    (while :; do
        for _ in {1..50}; do echo more; done >>a/log
        truncate -s 1500000 a/log
        for i in 1 2 3; do echo x >a/blink$i; done
        rm -f a/blink1 a/blink2 a/blink3
    done) 2>/dev/null &
    job=$!
    for _ in {1..8}; do ends "0 3" a b; done
    kill $job && wait $job 2>/dev/null || true
    job=
    [ "$(cat b/still)" = 1 ]
    exits 0 a b
    same a b
    tidy a b
}

@test "C4: a file that changes while it is read is left for the next run and reported" {
    put a log 1
    head -c 300000 /dev/zero >>a/log
    put a fine 2
    exits 0 a b
    put a log 22
    (while [ ! -e stop ]; do echo more >>a/log; done) &
    job=$!
    ends "0 3" --json a b
    : >stop
    wait $job || true
    job=
    [ "$got" = 0 ] || [ "$(jq -r 'select(.event == "error") | .path' <<<"$output")" = log ]
    exits 0 a b
    same a b
}
