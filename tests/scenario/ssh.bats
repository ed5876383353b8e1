load lib
load ssh

# Members on other machines: how they are reached, and what happens when they are not. "Other machines" are other directories
# of this one, behind sshd, dropbear, or a script in ssh's place.

setup_file() {
    ssh_begin
    ssh_serve 'far far2 far3'
    ssh_alias '127.0.0.1 ::1' -
}
teardown_file() { servers_stop; }

setup() {
    setup_world
    ssh_world
    mkdir a b c
    rsh_script rsh
}
teardown() {
    [ -z "${job:-}" ] || kill -9 "$job" 2>/dev/null || true
    teardown_world
}

# Without ssh: the script executes what would run at the far end.
by_script() { EXTRA+=(--rsh "$PWD/${1:-rsh}"); }

# What a world with something of each kind on each member holds.
mixed() {
    put a one 1
    put a d/two 22 1700000000.123456789
    ln -s nowhere a/link
    mkdir -m 750 a/empty
    put b deep/er/three 333
    chmod 600 b/deep/er/three
    put c $'new\nline' 4
    put c $'\377 "$HOME" `x`' 5
    head -c 1500000 /dev/urandom >c/big
}

# member_failed MEMBER TEXT: the run said that of this member, in one line.
member_failed() {
    grep -F "$1" <<<"$errors" | grep -qi "$2" && return 0
    printf 'of %s nothing was said like "%s":\n%s\n' "$1" "$2" "$errors"
    return 1
}

# The run over a, c and this member fails for it alone, and says so: others_go_on MEMBER TEXT [OPTION...].
others_go_on() {
    local member=$1 text=$2
    shift 2
    put a new "$BATS_TEST_NUMBER $RANDOM"
    AS=(timeout 60)
    exits 3 "$@" a c "$member"
    same a c
    member_failed "$member" "$text"
    ! grep -q $'\033' <<<"$errors" || false
}

# ---- by --rsh ----

@test "rsh: a local and two far members come into step" {
    by_script
    mixed
    exits 0 --json a "host:$PWD/b" "ssh://me@host:2222$PWD/c"
    same a b c
    idle a "host:$PWD/b" "ssh://me@host:2222$PWD/c"
    put b one 11
    exits 0 --json a "host:$PWD/b" "ssh://me@host:2222$PWD/c"
    [ "$(cat a/one c/one)" = 1111 ]
    [ "$(summary updated <<<"$output")" = 2 ]
}

@test "rsh: only far members: the coordinator is none of them" {
    by_script
    mixed
    exits 0 "h1:$PWD/a" "h2:$PWD/b" "h3:$PWD/c"
    same a b c
    idle "h3:$PWD/c" "h2:$PWD/b" "h1:$PWD/a"
    tidy a b c
}

@test "rsh: what is learned with far members is known when the same stores meet locally" {
    by_script
    mixed
    exits 0 a "host:$PWD/b" "host:$PWD/c"
    idle a b c
    put c one edited
    exits 0 b c
    exits 0 --json a "host:$PWD/b"
    [ "$(cat a/one)" = edited ]
    [ "$(summary conflicts <<<"$output")" = 0 ]
}

@test "rsh: a command with arguments is cut at blanks, and gets user, port, host and command" {
    cat >tell <<SH
#!/bin/sh
printf '%s\n' "\$@" >>$PWD/told
[ "\$1" = -x ] && shift
exec $PWD/rsh "\$@"
SH
    chmod 755 tell
    EXTRA+=(--rsh "$PWD/tell -x")
    put a x 1
    exits 0 a "ssh://somebody@some.host:2222$PWD/b"
    same a b
    [ "$(head -n 1 told)" = -x ]
    grep -qx 'somebody\|-lsomebody\|somebody@some.host' told
    grep -qx '2222\|-p2222' told
    grep -qx 'some.host\|somebody@some.host' told
    grep -q agent told
    # The far path goes over the wire, where no shell reads it.
    ! grep -qF "$PWD/b" told || false
}

@test "rsh: a far path is bytes to no shell" {
    local dir=$'b $(touch pwned) `touch pwned` ; touch pwned \' " \\ * x'
    by_script
    mkdir "$dir"
    put a x 1
    exits 0 a "host:$PWD/$dir"
    same a "$dir"
    [ ! -e pwned ] && [ ! -e "$SSH_DIR/home/pwned" ]
}

@test "rsh: percent-escapes in an ssh:// path are decoded, in host:path they are not" {
    by_script
    put a x 1
    exits 0 a "ssh://host$PWD/b%20b" "host:$PWD/c%20c"
    same a 'b b' 'c%20c'
}

@test "rsh: a tilde is the far home" {
    by_script
    put a x 1
    exits 0 a "ssh://host/~/store-$BATS_TEST_NUMBER"
    same a "$SSH_DIR/home/store-$BATS_TEST_NUMBER"
    put a x 22
    exits 0 a "host:~/store-$BATS_TEST_NUMBER"
    same a "$SSH_DIR/home/store-$BATS_TEST_NUMBER"
}

@test "rsh: a far store is made on a first run, and refused where its parent is missing" {
    by_script
    put a x 1
    exits 0 a "host:$PWD/new"
    same a new
    others_go_on "host:$PWD/nowhere/new" .
    [ ! -e nowhere ]
}

@test "rsh: a dry run writes nothing at the far end" {
    by_script
    mixed
    exits 0 a "host:$PWD/b" "host:$PWD/c"
    put a one edited
    put c more 1
    snapshot a b c >before
    exits 0 --dry-run --json a "host:$PWD/b" "host:$PWD/c"
    acts <<<"$output" | grep -q "update one"
    snapshot a b c | diff before -
}

@test "rsh: a store that lost its marker is refused at the far end too" {
    by_script
    put a x 1
    exits 0 a "host:$PWD/b" c
    rm -r b && mkdir b
    ends "3 6" a "host:$PWD/b" c
    [ -z "$(ls -A b)" ]
}

@test "rsh: a far store that another run holds: status 5" {
    by_script
    command -v flock >/dev/null || skip "no flock"
    put a x 1
    exits 0 a "host:$PWD/b"
    AS=(flock -x b)
    exits 5 a "host:$PWD/b"
}

@test "rsh: one store by two addresses is found out" {
    by_script
    put a x 1
    exits 0 a b
    AS=(timeout 60)
    ends "1 2 3 5 6" a b "host:$PWD/b"
}

@test "rsh: nothing is left running" {
    local pid
    by_script
    mixed
    exits 0 a "host:$PWD/b" "host:$PWD/c"
    for pid in $(descendants $$); do
        [ "$(readlink "/proc/$pid/exe")" != "$SOS_SYNC" ]
    done
}

# ---- what comes instead of an agent ----

@test "far end: noise before the greeting is quoted, its first line" {
    rsh_filter noisy 'echo "Welcome to the machine"; echo "second line"; exec sh -c "exec $*"'
    by_script noisy
    others_go_on "host:$PWD/b" 'Welcome to the machine'
    ! grep -q 'second line' <<<"$errors" || false
    # Banners like to begin with an empty line.
    rsh_filter noisy 'printf "\r\n \nWelcome to the machine\nsecond line\n"; exec sh -c "exec $*"'
    others_go_on "host:$PWD/b" 'it said: Welcome to the machine'
    rsh_filter noisy 'echo; exec sh -c "exec $*"'
    others_go_on "host:$PWD/b" 'it said: an empty line'
    rsh_filter noisy 'echo'
    others_go_on "host:$PWD/b" 'it said: an empty line'
}

@test "far end: noise with control characters, without an end, or endless" {
    rsh_filter noisy 'printf "\033[31mred\033]0;title\007 and more"; sleep 1'
    by_script noisy
    others_go_on "host:$PWD/b" 'red'
    rsh_filter noisy 'exec cat /dev/zero'
    others_go_on "host:$PWD/b" .
    rsh_filter noisy 'yes | tr -d "\n"'
    others_go_on "host:$PWD/b" 'yyyy'
    [ ${#errors} -lt 4000 ]
}

@test "far end: a greeting of another version is said as such, with the remedy" {
    rsh_filter older 'printf "SOSWIRE\n\000\000\000\000\000\000\021\000\000\000\000\000\000\000\000\000"; sleep 1'
    by_script older
    others_go_on "host:$PWD/b" 'version'
    rsh_filter older 'printf "SOSWIRE\n\011\000\000\000\000\000\021\000\000\000\000\000\000\000\000\000"; sleep 1'
    others_go_on "host:$PWD/b" 'version'
}

@test "far end: sos-sync is not there: the remedy is named" {
    by_script
    others_go_on "host:$PWD/b" 'remote-command' --remote-command /nonexistent/sos-sync
    # A far csh says so with a status of its own.
    rsh_filter csh 'echo "sos-sync: Command not found." >&2; exit 1'
    by_script csh
    others_go_on "host:$PWD/b" 'remote-command'
}

@test "far end: an older sos-sync that knows no agent" {
    printf '#!/bin/sh\necho "sos-sync: unknown command agent" >&2\nexit 1\n' >ancient
    chmod 755 ancient
    by_script
    others_go_on "host:$PWD/b" . --remote-command "$PWD/ancient"
}

@test "far end: --remote-command may be a path with arguments' worth of trouble, or several words" {
    ln -s "$SSH_DIR/bin/sos-sync" other-name
    by_script
    put a x 1
    exits 0 --remote-command "$PWD/other-name" a "host:$PWD/b"
    same a b
}

@test "far end: ends at once, with a word or without, or by a signal" {
    rsh_filter bad 'exit 0'
    by_script bad
    others_go_on "host:$PWD/b" .
    rsh_filter bad 'exit 255'
    others_go_on "host:$PWD/b" .
    rsh_filter bad 'echo "ssh: Could not resolve hostname nowhere" >&2; exit 255'
    others_go_on "host:$PWD/b" .
    grep -q 'resolve hostname' <<<"$errors"
    rsh_filter bad 'kill -9 $$'
    others_go_on "host:$PWD/b" .
}

@test "far end: --rsh names nothing that can be executed" {
    EXTRA+=(--rsh "$PWD/nothing-here")
    others_go_on "host:$PWD/b" .
    grep -q nothing-here <<<"$errors"
}

@test "far end: silence: the member fails after --timeout" {
    rsh_filter silent 'exec sleep 1000'
    by_script silent
    SECONDS=0
    others_go_on "host:$PWD/b" . --timeout 2
    [ $SECONDS -lt 20 ]
}

@test "far end: gone after the greeting: the member fails, and the next run repairs" {
    mixed
    rsh_cut_down cut 24
    by_script cut
    others_go_on "host:$PWD/b" .
    EXTRA=("${EXTRA[@]/cut/rsh}")
    exits 0 a "host:$PWD/b" c
    same a b c
}

@test "far end: two members, one of them unreachable: it is said, and nothing is done" {
    mixed
    rsh_filter bad 'exit 255'
    by_script bad
    snapshot a >before
    ends "2 3" a "host:$PWD/b"
    member_failed "host:$PWD/b" .
}

@test "far end: the error is in --json output as well" {
    rsh_filter bad 'exit 255'
    by_script bad
    put a x 1
    exits 3 --json a c "host:$PWD/b"
    [ "$(jq -r 'select(.event == "error") | .member' <<<"$output")" = "host:$PWD/b" ]
    [ "$(summary unreachable <<<"$output")" = 1 ]
}

# ---- cut after N bytes ----

# A world in which every kind of change is under way between far members, kept to be taken again.
busy() {
    local i
    for i in {1..30}; do put a "d/$i" "old content $i" 1700000000; done
    head -c 700000 /dev/urandom >a/big
    cp a/big a/changing
    put a gone 1
    sync -q --rsh "$PWD/rsh" a "h:$PWD/b" "h:$PWD/c"
    for i in {1..30}; do put a "new/$i" "new content $i"; done
    for i in 3 6 9; do put b "d/$i" "edited by b $i"; done
    printf 'changed' | dd of=a/changing bs=1 seek=400000 conv=notrunc status=none
    head -c 900000 /dev/urandom >c/fresh
    mv a/big a/renamed
    chmod 600 c/d/1
    mkdir "$BATS_TEST_TMPDIR/busy"
    cp -a a b c "$BATS_TEST_TMPDIR/busy"
    contents a b c >"$BATS_TEST_TMPDIR/before"
}

# whole: every file of every store is what one of the members held before, or at the end: nothing is half.
whole() {
    find a b c -name .sos-sync -prune -o -type f -exec sha256sum {} + | cut -c 1-64 | sort -u |
        comm -23 - "$BATS_TEST_TMPDIR/before" >torn
    [ ! -s torn ] || { echo "torn: $(cat torn)"; return 1; }
}

# cut_at up|down N: the far ends are cut after that many bytes; then a good run.
cut_at() {
    local store
    for store in a b c; do
        rm -rf $store
        cp -a "$BATS_TEST_TMPDIR/busy/$store" .
    done
    "rsh_cut_$1" cut "$2"
    AS=(timeout 60)
    ends "0 2 3" --rsh "$PWD/cut" a "h:$PWD/b" "h:$PWD/c" || { echo "cut $1 at $2"; return 1; }
    first=$got
    whole || { echo "cut $1 at $2"; return 1; }
    for _ in {1..100}; do # a far end may need a moment to notice
        ends "0 5" --rsh "$PWD/rsh" a "h:$PWD/b" "h:$PWD/c" || { echo "after a cut $1 at $2"; return 1; }
        [ "$got" = 5 ] || break
        pause
    done
    [ "$got" = 0 ]
    same a b c || { echo "cut $1 at $2"; return 1; }
    tidy a b c || { echo "cut $1 at $2"; return 1; }
    [ -z "$(contents a b c | comm -13 - "$BATS_TEST_TMPDIR/before")" ] || { echo "lost: cut $1 at $2"; return 1; }
}

cuts() {
    local way=$1 n total=0
    shift
    in_memory
    mkdir -p a b c
    rsh_script rsh
    busy
    for n in "$@"; do
        cut_at "$way" "$n"
        [ "$first" = 0 ] || total=$((total + 1))
    done
    [ $total -gt $(($# / 2)) ]
}

@test "cut: what comes from the far ends, in greeting, answers and lists" {
    cuts down 0 1 23 24 25 31 32 33 50 77 100 150 200 300 450 700 1000 1400
}

@test "cut: what comes from the far ends, in content" {
    cuts down 2000 3000 5000 8000 20000 65536 100000 262144 400000 700000 890000
}

@test "cut: what goes to the far ends, in greeting, scan and questions" {
    cuts up 0 1 23 24 25 40 60 80 100 130 170 230 300 400
}

@test "cut: what goes to the far ends, in content" {
    cuts up 600 900 1500 2500 4000 10000 50000 100000 250000 500000 800000
}

# ---- bytes that changed on the way ----

# A line without encryption that turns byte N: whatever comes of it, nothing crashes, hangs, is lost or left torn.
flip_at() {
    local store
    need_commands stdbuf
    for store in a b c; do
        rm -rf $store
        cp -a "$BATS_TEST_TMPDIR/busy/$store" .
    done
    rsh_filter flip "exec 3<&0; sh -c \"exec \$*\" <&3 3<&- | { exec 3<&-; stdbuf -o0 head -c $1; head -c 1 | tr '\\000-\\377' '\\001-\\377\\000'; cat; }"
    AS=(timeout 60)
    ends "0 2 3 5 6" --timeout 5 --rsh "$PWD/flip" a "h:$PWD/b" c || { echo "turned at $1"; return 1; }
    AS=()
    for _ in {1..100}; do
        ends "0 3 5" a b c || { echo "after a turn at $1"; return 1; }
        [ "$got" = 5 ] || break
        pause
    done
    [ -z "$(contents a b c | comm -13 - "$BATS_TEST_TMPDIR/before")" ] || { echo "lost: turned at $1"; return 1; }
    whole || { echo "turned at $1"; return 1; }
}

@test "far end: a byte of its answers is turned" {
    local n
    in_memory
    mkdir -p a b c
    rsh_script rsh
    busy
    for n in 3 8 12 24 28 31 40 60 90 130 180 250 350 500 700 900 1200 1297 1700 2300 3000 5000 9000 60000 300000; do
        flip_at $n
    done
}

# ---- by ssh: who and where ----

@test "ssh: an alias from the configuration, several members behind it, and the coordinator none of them" {
    need_commands sshd
    mixed
    exits 0 "far:$PWD/a" "ssh://far2$PWD/b" "far3:$PWD/c"
    same a b c
    idle "far:$PWD/a" "ssh://far2$PWD/b" "far3:$PWD/c"
    idle a b c
    tidy a b c
}

@test "ssh: local and far members, one run after the other" {
    need_commands sshd
    mixed
    exits 0 --json a "far:$PWD/b" c
    same a b c
    put b one 11
    rm c/deep/er/three
    exits 0 --json a "far:$PWD/b" c
    same a b c
    [ "$(cat a/one c/one)" = 1111 ]
    idle a "far:$PWD/b" c
}

@test "ssh: user and port in the address win over the configuration" {
    need_commands sshd
    own_config
    ssh_alias wrong 1 "User nobody"
    ssh_alias 127.0.0.1 -
    put a x 1
    others_go_on "wrong:$PWD/b" .
    exits 0 a "ssh://$(id -un)@wrong:$ssh_port$PWD/b"
    same a b
    put a x 22
    exits 0 a "ssh://$(id -un)@127.0.0.1:$ssh_port$PWD/b"
    same a b
}

@test "ssh: IPv6" {
    need_commands sshd
    have_ipv6 || skip "no ::1"
    put a x 1
    exits 0 a "ssh://[::1]:$ssh_port$PWD/b"
    same a b
}

@test "ssh: HostKeyAlias, a Host pattern and Include in the configuration" {
    need_commands sshd
    own_known
    own_config
    know_host alias.example 22 "$SSH_DIR/host_ed25519"
    printf 'Include %s/included\n' "$PWD" >>"$ssh_config"
    printf 'Host incl*\n  Port %s\n  HostKeyAlias alias.example\n' "$ssh_port" >included
    ssh_alias 'incl*' -
    put a x 1
    exits 0 a "included:$PWD/b"
    same a b
}

@test "ssh: without the program ssh, the address and the options are enough" {
    need_commands sshd
    put a x 1
    EXTRA=(--identity "$SSH_DIR/user" --known-hosts "$ssh_known" --remote-command "$SSH_DIR/bin/sos-sync")
    AS=(env PATH=/nonexistent)
    exits 0 a "ssh://$(id -un)@127.0.0.1:$ssh_port$PWD/b"
    same a b
}

@test "ssh: a banner and a message of the day do not disturb" {
    need_commands sshd
    echo "All use is watched" >banner
    ssh_start "Banner $PWD/banner" "PrintMotd yes"
    ssh_alias banner "$ssh_port"
    put a x 1
    exits 0 a "banner:$PWD/b"
    same a b
}

@test "ssh: a login that is noisy is named as that" {
    need_commands sshd
    ssh_start "ForceCommand echo 'The disks are full again'; exec $SSH_DIR/bin/sos-sync agent"
    ssh_alias noisy "$ssh_port"
    others_go_on "noisy:$PWD/b" 'The disks are full again'
}

@test "ssh: the far end lacks sos-sync" {
    need_commands sshd
    others_go_on "far:$PWD/b" 'remote-command' --remote-command /nonexistent/sos-sync
}

@test "ssh: the plain name is found by the far PATH" {
    need_commands sshd
    put a x 1
    EXTRA=(--ssh-config "$ssh_config")
    exits 0 a "far:$PWD/b"
    same a b
}

# ---- keys ----

@test "key: no key that is accepted: a sentence, and the others go on" {
    need_commands sshd
    ssh-keygen -q -t ed25519 -N '' -f stranger
    own_config
    ssh_alias far - "IdentityFile $PWD/stranger" "Port $ssh_port"
    sed -i "/IdentityFile .*user/d" "$ssh_config"
    others_go_on "far:$PWD/b" '[Kk]ey\|auth\|denied'
    # --identity is used before what the configuration names.
    exits 0 --identity "$SSH_DIR/user" a "far:$PWD/b" c
    same a b c
}

@test "key: a file that is not there is no hindrance where another one works" {
    need_commands sshd
    own_config
    ssh_alias far "$ssh_port" "IdentityFile $PWD/missing"
    put a x 1
    exits 0 a "far:$PWD/b"
    same a b
}

@test "key: RSA and ECDSA" {
    need_commands sshd
    local type
    # Older libraries sign with RSA as such servers allow it that know nothing newer.
    cp "$SSH_DIR/authorized_keys" keys
    for type in rsa ecdsa; do
        ssh-keygen -q -t $type -N '' -f key.$type
        cat key.$type.pub >>keys
    done
    ssh_start "AuthorizedKeysFile $PWD/keys" "PubkeyAcceptedAlgorithms +ssh-rsa"
    for type in rsa ecdsa; do
        own_config
        ssh_alias far "$ssh_port" "IdentityFile $PWD/key.$type"
        sed -i "/IdentityFile .*user/d" "$ssh_config"
        put a x $type
        exits 0 a "far:$PWD/b"
        same a b
    done
}

@test "key: an encrypted one through the agent; without it a sentence, and nobody is asked" {
    need_commands sshd
    local passphrase='open sesame'
    ssh-keygen -q -t ed25519 -N "$passphrase" -f locked
    cp "$SSH_DIR/authorized_keys" keys
    cat locked.pub >>keys
    ssh_start "AuthorizedKeysFile $PWD/keys"
    own_config
    ssh_alias far "$ssh_port" "IdentityFile $PWD/locked"
    sed -i "/IdentityFile .*user/d" "$ssh_config"
    others_go_on "far:$PWD/b" 'locked\|encrypted\|passphrase\|agent\|key'
    key_agent locked
    exits 0 a "far:$PWD/b" c
    same a b c
}

@test "key: the agent's keys are offered where the configuration names no file" {
    need_commands sshd
    own_config
    ssh_alias far "$ssh_port" "IdentitiesOnly no" "IdentityFile $PWD/missing"
    sed -i "/IdentityFile .*user/d" "$ssh_config"
    key_agent "$SSH_DIR/user"
    put a x 1
    exits 0 a "far:$PWD/b"
    same a b
}

@test "key: one that is not enough: what else is asked for is said" {
    need_commands sshd
    ssh_start "AuthenticationMethods publickey,password" "PasswordAuthentication yes"
    ssh_alias both "$ssh_port"
    others_go_on "both:$PWD/b" 'asks for more (password).*--rsh ssh'
}

# ---- host keys ----

@test "host key: unknown: refused; --accept-new takes it and records it" {
    need_commands sshd
    own_known
    own_config
    ssh_alias far "$ssh_port"
    others_go_on "far:$PWD/b" 'accept-new'
    [ ! -s "$ssh_known" ] && [ -z "$(ls -A b)" ]
    exits 0 --accept-new a "far:$PWD/b" c
    same a b c
    grep -q "^\[127.0.0.1\]:$ssh_port ssh-ed25519\|^\[127.0.0.1\]:$ssh_port ecdsa\|^|1|" "$ssh_known"
    put a x 22
    exits 0 a "far:$PWD/b" c
    same a b c
    # What we wrote, ssh reads.
    plain_ssh far true
}

@test "host key: --accept-new makes the list where there is none yet" {
    need_commands sshd
    own_known
    own_config
    rm "$ssh_known"
    ssh_alias far "$ssh_port"
    put a x 1
    exits 0 --accept-new a "far:$PWD/b"
    same a b
    exits 0 a "far:$PWD/b"
    [ "$(stat -c %a "$ssh_known")" = 600 ] || [ "$(stat -c %a "$ssh_known")" = 644 ]
}

@test "host key: changed: refused, also with --accept-new" {
    need_commands sshd
    own_known
    own_config
    ssh_alias far "$ssh_port"
    ssh-keygen -q -t ed25519 -N '' -C '' -f other
    ssh-keygen -q -t ecdsa -N '' -C '' -f other-ecdsa
    know_host 127.0.0.1 "$ssh_port" other other-ecdsa
    cp "$ssh_known" before
    others_go_on "far:$PWD/b" 'changed\|differ\|not the one\|mismatch'
    others_go_on "far:$PWD/b" 'changed\|differ\|not the one\|mismatch' --accept-new
    cmp "$ssh_known" before
    hash_known
    others_go_on "far:$PWD/b" 'changed\|differ\|not the one\|mismatch' --accept-new
    [ -z "$(ls -A b)" ]
}

@test "host key: revoked: refused, also where another line trusts it" {
    need_commands sshd
    own_known
    own_config
    ssh_alias far "$ssh_port"
    know_host 127.0.0.1 "$ssh_port" "$SSH_DIR/host_ed25519" "$SSH_DIR/host_ecdsa"
    {
        printf '@revoked * %s\n' "$(cut -d ' ' -f 1,2 "$SSH_DIR/host_ed25519.pub")"
        printf '@revoked * %s\n' "$(cut -d ' ' -f 1,2 "$SSH_DIR/host_ecdsa.pub")"
    } >>"$ssh_known"
    others_go_on "far:$PWD/b" 'revoked'
    others_go_on "far:$PWD/b" 'revoked' --accept-new
    [ -z "$(ls -A b)" ]
}

@test "host key: only a certificate is known: a sentence with the way out" {
    need_commands sshd
    own_known
    own_config
    ssh_alias far "$ssh_port"
    printf '@cert-authority other.example,127.*,[127.0.0.1]:* %s\n' "$(cut -d ' ' -f 1,2 "$SSH_DIR/user.pub")" >"$ssh_known"
    others_go_on "far:$PWD/b" "certificate ($ssh_known:1).*--rsh ssh"
}

@test "host key: hashed names, several names on a line, patterns, comments" {
    need_commands sshd
    own_known
    own_config
    ssh_alias far "$ssh_port"
    know_host 127.0.0.1 "$ssh_port" "$SSH_DIR/host_ed25519"
    hash_known
    ! grep -q 127.0.0.1 "$ssh_known" || false
    put a x 1
    exits 0 a "far:$PWD/b"
    printf '# a comment\n\nother.example,[127.0.0.1]:%s,third %s comment\n' "$ssh_port" \
        "$(cut -d ' ' -f 1,2 "$SSH_DIR/host_ed25519.pub")" >"$ssh_known"
    put a x 22
    exits 0 a "far:$PWD/b"
    printf '[127.0.0.*]:%s %s\n' "$ssh_port" "$(cut -d ' ' -f 1,2 "$SSH_DIR/host_ed25519.pub")" >"$ssh_known"
    put a x 333
    exits 0 a "far:$PWD/b"
    same a b
}

@test "host key: only the kind that is known is asked for" {
    need_commands sshd
    own_known
    own_config
    ssh_alias far "$ssh_port"
    know_host 127.0.0.1 "$ssh_port" "$SSH_DIR/host_ecdsa"
    put a x 1
    exits 0 a "far:$PWD/b"
    same a b
}

@test "host key: another port is another host" {
    need_commands sshd
    own_known
    own_config
    ssh_alias far "$ssh_port"
    know_host 127.0.0.1 $((ssh_port + 1)) "$SSH_DIR/host_ed25519"
    others_go_on "far:$PWD/b" 'accept-new'
}

@test "host key: --known-hosts names another list" {
    need_commands sshd
    local known=$ssh_known
    own_known
    own_config
    ssh_alias far "$ssh_port"
    cp "$known" mine
    put a x 1
    exits 0 --known-hosts "$PWD/mine" a "far:$PWD/b"
    same a b
    [ ! -s "$ssh_known" ]
}

# ---- jumps ----

@test "ssh: ProxyCommand" {
    need_commands sshd
    ssh_alias commanded 9 "ProxyCommand ssh -F $ssh_config -W 127.0.0.1:$ssh_port far" "HostKeyAlias [127.0.0.1]:$ssh_port"
    put a x 1
    head -c 3000000 /dev/urandom >a/big
    exits 0 a "commanded:$PWD/b"
    same a b
    idle a "commanded:$PWD/b"
}

@test "ssh: ProxyCommand with %h, %p and %r" {
    need_commands sshd
    printf '#!/bin/sh\necho "$@" >%q\nexec ssh -F %q -W "$1:$2" far\n' "$PWD/told" "$ssh_config" >via
    chmod 755 via
    ssh_alias commanded "$ssh_port" "ProxyCommand $PWD/via %h %p %r"
    put a x 1
    exits 0 a "commanded:$PWD/b"
    same a b
    [ "$(cat told)" = "127.0.0.1 $ssh_port $(id -un)" ]
}

@test "ssh: a ProxyCommand that fails" {
    need_commands sshd
    ssh_alias broken "$ssh_port" "ProxyCommand sh -c 'echo cannot >&2; exit 3'"
    others_go_on "broken:$PWD/b" .
    ssh_alias silent "$ssh_port" "ProxyCommand sleep 1000"
    SECONDS=0
    others_go_on "silent:$PWD/b" . --timeout 2
    [ $SECONDS -lt 20 ]
}

@test "ssh: ProxyJump, and two of them" {
    need_commands sshd
    ssh_start "LogLevel VERBOSE"
    ssh_alias inner "$ssh_port" "ProxyJump far"
    ssh_alias innermost "$ssh_port" "ProxyJump far,far2"
    put a x 1
    exits 0 a "inner:$PWD/b"
    same a b
    put a x 22
    exits 0 a "innermost:$PWD/b"
    same a b
}

# ---- servers ----

@test "ssh: a server that rekeys each megabyte" {
    need_commands sshd
    ssh_start 'RekeyLimit 1M' 'LogLevel DEBUG1'
    ssh_alias rekey "$ssh_port"
    head -c 12000000 /dev/urandom >a/up
    head -c 12000000 /dev/urandom >b/down
    exits 0 a "rekey:$PWD/b"
    same a b
    [ "$(grep -c 'rekey' "$ssh_log")" -gt 6 ]
    idle a "rekey:$PWD/b"
}

@test "ssh: dropbear" {
    dropbear_start
    ssh_alias drop "$dropbear_port"
    mixed
    head -c 12000000 /dev/urandom >a/up
    exits 0 a "drop:$PWD/b" "drop:$PWD/c"
    same a b c
    idle a "drop:$PWD/b" "drop:$PWD/c"
}

@test "ssh: dropbear and sshd in one group" {
    need_commands sshd
    dropbear_start
    ssh_alias drop "$dropbear_port"
    mixed
    exits 0 "far:$PWD/a" "drop:$PWD/b" c
    same a b c
}

@test "ssh: eight far members" {
    local i members=(a)
    need_commands sshd
    mixed
    for i in {1..8}; do members+=("far:$PWD/m$i"); done
    exits 0 "${members[@]}"
    same a m{1..8}
    idle "${members[@]}"
}

# ---- lines that fail ----

@test "ssh: refused, unknown name" {
    need_commands sshd
    ssh_alias closed 1
    others_go_on "closed:$PWD/b" 'refused'
    ssh_alias nowhere "$ssh_port" "HostName nowhere.invalid"
    others_go_on "nowhere:$PWD/b" .
}

@test "ssh: something that is no ssh server" {
    need_commands sshd
    proxy_start --cut-down 10 --cut-how reset "127.0.0.1:$ssh_port"
    ssh_alias cut "$proxy_port"
    others_go_on "cut:$PWD/b" .
    proxy_start --cut-down 0 --cut-how stall "127.0.0.1:$ssh_port"
    ssh_alias stall "$proxy_port"
    SECONDS=0
    others_go_on "stall:$PWD/b" . --timeout 2
    [ $SECONDS -lt 30 ]
}

@test "ssh: a server that dies in the middle: the member fails, the others are in step" {
    local session i
    need_commands sshd
    ssh_start
    proxy_start --rate-up 3000000 "127.0.0.1:$ssh_port"
    ssh_alias mortal "$proxy_port"
    put a x 1
    exits 0 a "mortal:$PWD/b" c
    head -c 20000000 /dev/urandom >a/big
    put a x 22
    "$SOS_SYNC" --no-progress "${EXTRA[@]}" a "mortal:$PWD/b" c >out 2>&1 &
    job=$!
    for i in {1..500}; do
        [ "$(proxy_count up)" -lt 3000000 ] || break
        pause
    done
    ssh_stop
    session=0
    wait $job || session=$?
    job=
    [ $session = 3 ]
    same a c
    [ "$(cat b/x)" = 1 ] || [ "$(cat b/x)" = 22 ]
    exits 0 a b c
    same a b c
}

@test "ssh: a line that falls silent in the middle: the member fails after --timeout" {
    need_commands sshd
    proxy_start --cut-up 400000 --cut-how stall "127.0.0.1:$ssh_port"
    ssh_alias mute "$proxy_port"
    head -c 3000000 /dev/urandom >a/big
    SECONDS=0
    others_go_on "mute:$PWD/b" . --timeout 2
    [ $SECONDS -lt 40 ]
    for _ in {1..100}; do
        ends "0 5" a "far:$PWD/b" c
        [ "$got" = 5 ] || break
        servers_of_stalled
    done
    [ "$got" = 0 ]
    same a b c
}

# The far agent cannot know that nobody listens any more: its connection has to end.
servers_of_stalled() {
    [ -z "${proxy_pid:-}" ] || proxy_stop
    proxy_pid=
    pause
}

@test "ssh: cut at the byte by a proxy, early and late" {
    local n i
    need_commands sshd
    in_memory
    mkdir -p a b c
    rsh_script rsh
    busy
    for n in 20 500 1500 2500 3500 5000 10000 50000 300000 800000; do
        for i in a b c; do
            rm -rf $i
            cp -a "$BATS_TEST_TMPDIR/busy/$i" .
        done
        proxy_start --cut-up $n "127.0.0.1:$ssh_port"
        own_config
        ssh_alias up "$proxy_port"
        proxy_start --cut-down $n "127.0.0.1:$ssh_port"
        ssh_alias down "$proxy_port"
        ssh_alias far "$ssh_port"
        AS=(timeout 60)
        ends "0 2 3" a "up:$PWD/b" "down:$PWD/c"
        whole
        for i in {1..100}; do
            ends "0 5" a "far:$PWD/b" "far:$PWD/c"
            [ "$got" = 5 ] || break
            pause
        done
        [ "$got" = 0 ]
        same a b c
        tidy a b c
    done
}

@test "ssh: an interrupted run ends its far agents" {
    local i
    need_commands sshd
    head -c 30000000 /dev/urandom >a/big
    proxy_start --rate 2000000 "127.0.0.1:$ssh_port"
    ssh_alias thin "$proxy_port"
    "$SOS_SYNC" --no-progress "${EXTRA[@]}" a "thin:$PWD/b" >/dev/null 2>&1 &
    job=$!
    for i in {1..500}; do
        [ "$(proxy_count up)" -lt 1000000 ] || break
        pause
    done
    kill -INT $job
    i=0
    wait $job || i=$?
    job=
    [ $i != 0 ]
    for i in {1..200}; do
        ends "0 5" a "far:$PWD/b"
        [ "$got" = 5 ] || break
        pause
    done
    [ "$got" = 0 ]
    same a b
    tidy a b
}

# ---- who is ready looks around while others are still on their way ----

# A script for --rsh that takes its time.
slow_script() {
    rsh_script quick
    printf '#!/bin/sh\nsleep 0.5\nexec %q "$@"\n' "$PWD/quick" >rsh
    chmod 755 rsh
    by_script
}

@test "early: a store that is refused after it has looked is left as it was" {
    slow_script
    put a one 1
    exits 0 a "host:$PWD/b"
    rm -r a/.sos-sync
    put a two 22
    snapshot a >before
    exits 6 a "host:$PWD/b"
    grep -q 'has lost its marker' <<<"$errors"
    diff before <(snapshot a)
    [ ! -e b/two ]
}

@test "early: so is one whose company does not open" {
    put a one 1
    printf '#!/bin/sh\nsleep 0.5\necho out of order >&2\nexit 255\n' >rsh
    chmod 755 rsh
    by_script
    snapshot a b >before
    exits 3 --dry-run a "host:$PWD/b"
    diff before <(snapshot a b)
    exits 3 a "host:$PWD/b" # it is alone, but a member
    [ -e a/.sos-sync/marker ]
}

@test "early: a group with a locked store is left alone" {
    slow_script
    put a one 1
    snapshot a >before
    need_commands flock
    AS=(flock -x b)
    exits 5 a "host:$PWD/b"
    diff before <(snapshot a)
}

@test "early: a dry run writes nothing, and a run does all" {
    slow_script
    put a deep/one 1
    put b two 22
    snapshot a b >before
    exits 0 --dry-run --json a "host:$PWD/b"
    [ "$(summary copied <<<"$output")" = 2 ]
    diff before <(snapshot a b)
    exits 0 a "host:$PWD/b"
    same a b
    tidy a b
    idle a "host:$PWD/b"
    put a deep/one 11
    exits 0 a "host:$PWD/b"
    [ "$(cat b/deep/one)" = 11 ]
    tidy a b
}
