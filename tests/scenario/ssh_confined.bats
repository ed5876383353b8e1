load lib
load ssh

# A far end that is held to one directory by its authorized_keys, and ends that do not trust each other.

setup_file() { ssh_begin; }
teardown_file() { servers_stop; }

setup() {
    setup_world
    ssh_world
    mkdir a b c outside
}
teardown() { teardown_world; }

# forced OPTION...: a server where our key may run the agent, with these options, and nothing else; by the name "held".
forced() {
    need_commands sshd
    printf 'command="%s agent %s",restrict %s\n' "$SSH_DIR/bin/sos-sync" "$*" "$(cat "$SSH_DIR/user.pub")" >held
    ssh_start "AuthorizedKeysFile $PWD/held"
    ssh_alias held "$ssh_port"
}

@test "forced command: the agent serves its directory, whatever the client wants to be executed" {
    forced --root "$PWD/b"
    put a d/x 1
    put b y 22
    exits 0 a "held:$PWD/b" c
    same a b c
    idle a "held:$PWD/b" c
    [ -z "$(plain_ssh held 'touch pwned; echo yes' </dev/null 2>/dev/null | grep yes)" ]
    exits 0 --remote-command /nonexistent a "held:$PWD/b" c
}

@test "forced command: whatever directory is asked for, it is the one that is served, and that is said" {
    local way n=0
    forced --root "$PWD/b"
    mkdir b-longer below
    ln -s ../outside b/way
    for way in outside b/../outside b-longer . below/new b/way b/way/in; do
        n=$((n + 1))
        put a "x$n" "$way"
        exits 0 a "held:$PWD/$way" c
        same a b c
        grep -qF "$PWD/b and nothing else" <<<"$errors" || { echo "with $way: $errors"; return 1; }
        [ -z "$(ls -A outside b-longer below)" ] && [ ! -e .sos-sync ]
    done
    exits 0 a "held:~/nowhere" c
    same a b c
    exits 0 a "held:$PWD/b" c
    ! grep -q 'nothing else' <<<"$errors" || false
}

@test "forced command: the state directory cannot be led out of it" {
    forced --root "$PWD/b"
    put a x 1
    exits 0 --state-dir "$PWD/outside" a "held:$PWD/b" c
    same a b c
    [ -e b/.sos-sync/manifest ]
    [ "$(find outside -mindepth 1 -maxdepth 1 | wc -l)" = 2 ]
}

@test "forced command: --no-sandbox on the near side does not open the far one" {
    forced --root "$PWD/b"
    put a x 1
    exits 0 --no-sandbox a "held:$PWD/outside" c
    same a b c
    [ -z "$(ls -A outside)" ]
}

@test "forced command --read-only: what it has is taken, nothing of it is changed" {
    forced --read-only --root "$PWD/b"
    put b x 1
    put b d/y 2
    holds b >before
    ends "0 3" a "held:$PWD/b" c
    [ "$(cat a/x c/d/y)" = 12 ]
    same a c
    holds b | diff before -
    put a z 3
    put a x 11
    exits 3 a "held:$PWD/b" c
    same a c
    [ ! -e b/z ] && [ "$(cat b/x)" = 1 ]
    grep -qi 'read-only\|read only\|reading' <<<"$errors"
    holds b | diff before -
    # An edit there still goes out.
    put b d/y 222
    exits 3 a "held:$PWD/b" c
    [ "$(cat a/d/y c/d/y)" = 222222 ]
}

@test "forced command --no-delete: additions and edits are taken" {
    forced --no-delete --root "$PWD/b"
    put a x 1
    exits 0 a "held:$PWD/b" c
    same a b c
    put a x 22
    put c new 3
    exits 0 a "held:$PWD/b" c
    same a b c
    # The overwritten one is not gone.
    [ -n "$(contents b | grep "$(printf 1 | sha256sum | cut -c 1-64)")" ] || [ "$(cat b/x)" = 22 ]
}

@test "forced command --no-delete: nothing that it holds goes away, whatever is asked" {
    forced --no-delete --root "$PWD/b"
    put a kind 1
    put a d/x 2
    exits 0 a "held:$PWD/b" c
    find b -name .sos-sync -prune -o -type f -exec sha256sum {} + | cut -c 1-64 | sort >before
    rm a/kind && put a kind/inside 3
    rm -r c/d && put c d 4
    ends "0 3" a "held:$PWD/b" c
    [ -z "$(contents b | comm -13 - before)" ]
    same a c
}

@test "forced command: wrong options of the agent are said at once, and nothing is served" {
    local options
    put a x 1
    for options in '--root' '--root /nonexistent/dir' '--unknown' '--read-only --no-delete --root relative/dir extra'; do
        forced "$options"
        AS=(timeout 60)
        exits 3 a "held:$PWD/b" c
        [ ! -e b/x ]
    done
}

@test "agent: without a terminal's help it says what it is for" {
    local got=0
    timeout 5 "$SOS_SYNC" agent --help >help || got=$?
    [ $got = 0 ]
    grep -q -- '--root' help && grep -q -- '--read-only' help && grep -q -- '--no-delete' help
}

# ---- confined by the kernel ----

@test "confined: a run is the same with and without --no-sandbox" {
    local option
    rsh_script rsh
    for option in --no-sandbox --json; do
        rm -rf a b c && mkdir a b c
        put a d/x 1
        put b y 2
        ln -s ../outside c/link
        exits 0 $option --rsh "$PWD/rsh" a "h:$PWD/b" "h:$PWD/c"
        same a b c
    done
}

@test "confined: state, trash and a store that is made work in the sandbox" {
    rsh_script rsh
    EXTRA+=(--rsh "$PWD/rsh")
    put a x 1
    exits 0 a "h:$PWD/new" "h:$PWD/b"
    put b x 22
    exits 0 a "h:$PWD/new" "h:$PWD/b"
    same a new b
    mkdir state
    rm -r */.sos-sync
    exits 0 --state-dir "$PWD/state" a b
    put a x 333
    exits 0 --state-dir "$PWD/state" a b
    same a b
}

@test "confined: a store through a symlink, on another file system, and with a mount in it" {
    rsh_script rsh
    EXTRA+=(--rsh "$PWD/rsh")
    mkdir real
    ln -s real way
    mount_tmpfs there
    put a x 1
    exits 0 a "h:$PWD/way" "h:$PWD/there"
    same a real there
}

@test "confined: ssh with an agent, a list of known hosts to write, and a proxy command" {
    need_commands sshd
    ssh_start
    own_known
    own_config
    ssh_alias far "$ssh_port"
    ssh_alias inner "$ssh_port" "ProxyCommand ssh -F $ssh_config -W 127.0.0.1:$ssh_port far"
    key_agent "$SSH_DIR/user"
    put a x 1
    exits 0 --accept-new a "far:$PWD/b"
    [ -s "$ssh_known" ]
    exits 0 a "far:$PWD/b" "inner:$PWD/c"
    same a b c
}

# ---- ends that do not trust each other ----

# A far end that speaks, but not to us: what it gets and what it says is arbitrary.
@test "hostile: a far end that answers with somebody else's session" {
    local turn
    rsh_script rsh
    put a x 1
    put b y 2
    rsh_counted counted "$BATS_TEST_TMPDIR/counted"
    exits 0 --rsh "$PWD/counted" "h:$PWD/a" "h:$PWD/b"
    mkdir said
    cp "$BATS_TEST_TMPDIR"/counted/down.* said
    for turn in said/*; do
        rsh_filter replay "cat $PWD/$turn; exec cat >/dev/null"
        put c more "$turn"
        put a more2 "$turn"
        AS=(timeout 60)
        ends "0 2 3 5 6" --timeout 2 --rsh "$PWD/replay" a "h:$PWD/b" c
        [ "$got" != 0 ] || false
        [ "$(cat c/more2)" = "$turn" ] || [ "$got" = 6 ] || [ "$got" = 5 ]
    done
    [ -z "$(ls -A outside)" ]
}

@test "hostile: a far agent gets noise for a coordinator" {
    local got n
    for n in 0 1 24 5000 3000000; do
        got=0
        head -c $n /dev/urandom | timeout 20 "$SSH_DIR/bin/sos-sync" agent --root "$PWD/b" >out 2>err || got=$?
        [ $got = 1 ] || [ $got = 2 ] || [ $got = 0 ]
        [ -z "$(ls -A b)" ]
    done
    got=0
    { printf 'SOSWIRE\n\001\000\000\000\000\000\021\000\000\000\000\000\000\000\000\000'; head -c 100000 /dev/urandom; } |
        timeout 20 "$SSH_DIR/bin/sos-sync" agent --root "$PWD/b" >out 2>err || got=$?
    [ $got = 1 ] || [ $got = 2 ]
    [ -z "$(ls -A b)" ]
}

@test "hostile: what a coordinator said once, said again by somebody else" {
    local turn got
    rsh_counted counted "$BATS_TEST_TMPDIR/counted"
    put a x 1
    exits 0 --rsh "$PWD/counted" a "h:$PWD/b"
    cp "$BATS_TEST_TMPDIR"/counted/up.* turn
    mkdir held
    got=0
    timeout 20 "$SSH_DIR/bin/sos-sync" agent --root "$PWD/held" <turn >out 2>err || got=$?
    # Its directory is b, which is outside of what this agent may serve.
    [ -z "$(ls -A held)" ]
    [ "$(cat b/x)" = 1 ]
}
