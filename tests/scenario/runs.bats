load lib
load ssh

# How runs share stores, end and go on: locks, --wait, signals, and objects that do not stand still.

setup_file() { far_begin; }
teardown_file() { servers_stop; }

setup() {
    setup_world
    mkdir a b
    job=
}

teardown() {
    if [ -n "$job" ]; then
        kill "$job" 2>/dev/null || true
        wait "$job" 2>/dev/null || true
    fi
    teardown_world
}

# far: the second member on another machine; $B is how it is given.
far() {
    far_world
    B=ssh://far$PWD/b
}
B=b

# ---- locks ----

# A run that holds its stores, since its first member's content does not come to an end: it reads a file that grows.
holding() {
    command -v strace >/dev/null || skip "no strace"
    put a x 1
    exits 0 a "$B"
    put a y 2
    under_strace -o trace.out -e trace=linkat,renameat2 -e inject=linkat,renameat2:signal=STOP:when=1 \
        "$SOS_SYNC" --no-progress "${EXTRA[@]}" a b >/dev/null 2>&1 3>&- &
    job=$!
    for _ in {1..100}; do
        ! grep -qs 'stopped by SIGSTOP' trace.out || return 0
        pause
        pause
    done
    skip "cannot stop it"
}

# The processes of that run end as a machine's do that is switched off.
switched_off() {
    local pid
    for pid in $(descendants "$job") "$job"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait "$job" 2>/dev/null || true
    job=
}

lock_is_told() {
    holding
    exits 5 --json a "$B"
    [[ $errors == *"is in use by process "[0-9]*" on $(uname -n) since 2"*Z* ]]
    [ "$(summary status <<<"$output")" = 5 ]
    exits 5 --wait=1 a "$B"
    switched_off
    exits 0 a "$B" # the lock died with its process, whatever the file says
    same a b
    tidy a b
}

@test "run: a store in use: exit 5, and who uses it since when; the lock dies with its process" { lock_is_told; }

@test "run: a store in use on another machine" {
    far
    lock_is_told
}

@test "run: --wait waits until the other is done" {
    holding
    (
        read -rt 1.5 <> <(:) || true
        for pid in $(descendants "$job"); do kill -KILL "$pid" 2>/dev/null; done
    ) 3>&- &
    exits 0 --wait a b
    [ "$(grep -c 'is in use' <<<"$errors")" -ge 1 ]
    wait
    job=
    same a b
}

@test "run: --wait and a number without = is refused, and no member is made of it" {
    exits 1 --wait 10 a b
    grep -q -- '--wait=10' <<<"$errors"
    [ ! -e 10 ] && [ ! -e a/.sos-sync ]
    exits 0 --wait a b
    exits 0 --wait=10 a b
}

@test "run: a locked store stops its group, other groups go on" {
    mkdir c d
    put a x 1
    put c y 1
    exits 0 a b
    printf '[1]\na: %s/a\nb: %s/b\n[2]\nc: %s/c\nd: %s/d\n' "$PWD" "$PWD" "$PWD" "$PWD" >conf
    put a z 1
    exec 9<b
    flock -x 9
    exits 5 --config conf
    exec 9<&-
    [ ! -e b/z ] && [ -e d/y ]
}

# ---- signals ----

# interrupted SIGNAL ARGS...: a run that is sent the signal when its second object is put in place.
interrupted() {
    local signal=$1 i
    shift
    "$SOS_SYNC" --no-progress "${EXTRA[@]}" "$@" >out 2>err 3>&- &
    job=$!
    for i in {1..400}; do
        [ ! -e b/1 ] || break
        kill -0 $job 2>/dev/null || break
        read -rt 0.01 <> <(:) || true
    done
    kill -"$signal" $job 2>/dev/null || true
    got=0
    wait $job || got=$?
    job=
}

ends_in_order() {
    local i signal
    for signal in INT TERM; do
        rm -rf a b
        mkdir a b
        for i in {1..400}; do printf '%s %s' "$i" $signal >"a/$i"; done
        contents a >before
        interrupted $signal --fsync always a "$B"
        [ "$got" = 2 ] || [ "$got" = 0 ]
        [ "$got" = 0 ] || grep -q interrupted err
        grep -q '^group default: ' out # and what was done
        # What is there is whole.
        for i in b/[0-9]*; do
            [ ! -e "$i" ] || [ "$(<"$i")" = "${i#b/} $signal" ] || return 1
        done
        exits 0 --wait=20 a "$B"
        same a b
        tidy a b
        [ -z "$(contents a b | comm -13 - before)" ]
    done
}

@test "run: SIGINT and SIGTERM end it in order; what was done is whole, and the next one goes on" { ends_in_order; }

@test "run: signals, with a member on another machine" {
    far
    ends_in_order
}

@test "run: a signal while deletions are carried out loses nothing" {
    local i
    printf '[default]\ndeletions: propagate\nmax-delete: 100%%\n' >policy
    EXTRA=(--policy "$PWD/policy")
    for i in {1..300}; do echo "$i" >"a/$i"; done
    exits 0 a b
    contents a >before
    rm a/{1..250}
    put b new 1
    "$SOS_SYNC" --no-progress "${EXTRA[@]}" --fsync always a b >out 2>err 3>&- &
    job=$!
    for i in {1..400}; do
        [ -e b/1 ] || break
        kill -0 $job 2>/dev/null || break
        read -rt 0.01 <> <(:) || true
    done
    kill -INT $job 2>/dev/null || true
    wait $job || true
    job=
    [ -z "$(contents a b | comm -13 - before)" ]
    exits 0 --wait=20 a b
    same a b
    [ "$(ls b | wc -l)" = 51 ]
    [ -z "$(contents a b | comm -13 - before)" ]
    tidy a b
}

# ---- what does not stand still ----

# Somebody appends to a/log until `stop` is there.
writer() {
    (while [ ! -e stop ]; do echo more >>a/log; done) 3>&- &
    job=$!
}

@test "run: an object that never stands still is tried again, told, and left for the next run" {
    head -c 3000000 /dev/zero >a/log
    put a fine 1
    exits 0 a "$B"
    writer
    put a fine 2
    ends "0 3" --json a "$B"
    : >stop
    wait $job || true
    job=
    [ "$(cat b/fine)" = 2 ]
    [ "$got" = 0 ] || [ "$(jq -r 'select(.event == "error") | .path' <<<"$output" | sort -u)" = log ]
    exits 0 a "$B"
    same a b
}

# A source that changes once, after the scan and before it is read for copying: the second try in the same run takes it.
changes_once() {
    command -v strace >/dev/null || skip "no strace"
    put a log "the first, and $(head -c 20000 /dev/zero | tr '\0' x)" # what is small is not opened again
    put a other 1
    EXTRA+=(--no-sandbox)
    # The reader opens it for the scan, and for the copy: it is late for the second.
    under_strace -o trace.out -P "$PWD/a/log" -P log -e trace=openat,openat2 \
        -e inject=openat,openat2:delay_enter=3000000:when=2 \
        "$SOS_SYNC" --no-progress "${EXTRA[@]}" --json a "$B" >out 2>err 3>&- &
    job=$!
    for _ in {1..200}; do
        [ ! -s trace.out ] || break
        pause
    done
    read -rt 0.3 <> <(:) || true
    printf 'the second, longer' >a/log
    got=0
    wait $job || got=$?
    job=
    [ "$got" = 0 ] || { cat out err trace.out; return 1; }
    [ "$(cat b/log)" = 'the second, longer' ]
    same a b
    exits 0 a "$B"
    same a b
}

@test "run: an object that changed between scan and copy is tried once more in the same run" {
    EXTRA=(--through)
    changes_once
}

@test "run: the same on its way to another machine" {
    far
    changes_once
}

@test "run: an object that vanishes before it is copied fails no run" {
    local i
    for i in {1..300}; do echo "$i" >"a/$i"; done
    (
        for i in {300..2}; do rm -f "a/$i"; done # a store that is empty all at once is a guard's business
    ) 3>&- &
    job=$!
    ends "0 3" --json a "$B"
    wait $job || true
    job=
    # Where the run ended with 3, it named what had gone.
    [ "$got" = 0 ] || [ -n "$(jq -r 'select(.event == "error") | .path // empty' <<<"$output")" ]
    exits 0 a "$B"
    same a b
}
