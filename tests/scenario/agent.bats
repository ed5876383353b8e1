load lib

setup() { setup_world; }
teardown() { teardown_world; }

# What an agent with these arguments says to a caller who only greets it: STATUS in $got, its words in $errors.
greet() {
    got=0
    printf 'SOSWIRE\n\1\0\1\0\0\0\21\0\0\0\0\0\0\0\0\0' | "$SOS_SYNC" agent "$@" >answer 2>errors || got=$?
    errors=$(<errors)
}

@test "agent: greets, and ends when its caller goes away without a word of goodbye" {
    put store/x 1
    for args in "" "--root store" "store" "--root=$PWD/store --read-only" "store --no-delete --no-sandbox" \
        "--root store --state-dir st"; do
        # shellcheck disable=SC2086
        greet $args
        [ "$got" = 2 ] || { echo "$args: status $got: $errors"; return 1; }
        [[ $errors == *"went away"* ]]
        [ "$(head -c 7 answer)" = SOSWIRE ]
    done
    [ ! -e store/.sos-sync ] && [ ! -e st ]
}

@test "agent: what goes with a root is refused without one, and two roots are too many" {
    mkdir a b
    for args in "--read-only" "--no-delete" "--state-dir st"; do
        # shellcheck disable=SC2086
        greet $args
        [ "$got" = 1 ] && [[ $errors == *"needs a root"* ]] || { echo "$args: status $got: $errors"; return 1; }
        [ ! -s answer ]
    done
    greet --root a b
    [ "$got" = 1 ] && [[ $errors == *"one root"* ]]
    greet a b
    [ "$got" = 1 ] && [[ $errors == *"one ROOT"* ]]
    greet --root a --read-only --no-delete
    [ "$got" = 1 ] && [[ $errors == *"give one of them"* ]]
    greet --root ''
    [ "$got" = 1 ] && [[ $errors == *"must not be empty"* ]]
}

@test "agent: its options do not go with a run" {
    mkdir a b
    exits 1 --read-only a b
    exits 1 --no-delete a b
    exits 1 --root a b c
    [ ! -e a/.sos-sync ]
}

@test "agent: --no-sandbox makes no difference to a run" {
    put a one 1
    put b two 22
    mkdir c
    exits 0 --no-sandbox a b
    exits 0 a b c
    exits 0 --no-sandbox a b c
    same a b c
}

@test "agent: stores and state directories that are still to be made, behind symlinks, with odd names" {
    put a one 1
    put 'an odd  näme/b' two 22
    ln -s a to-a
    mkdir deep
    exits 0 to-a 'an odd  näme/b' deep/new ./new2/
    same a 'an odd  näme/b' deep/new new2
    put a three 333
    exits 0 --state-dir deep/state to-a deep/new deep/newer
    exits 0 --state-dir deep/state to-a deep/new deep/newer
    same a deep/new deep/newer
    put deep/newer three 4444
    exits 0 --through --state-dir deep/state to-a deep/new deep/newer
    same a deep/new deep/newer
}

@test "agent: a dry run needs a place for its list, and says so where there is none" {
    put a one 1
    put b two 22
    TMPDIR=$PWD/nowhere exits 2 --dry-run a b
    [[ $errors == *nowhere* ]]
    exits 0 --dry-run a b
    [ ! -e a/.sos-sync ]
}
