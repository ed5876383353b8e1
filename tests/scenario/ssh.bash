# Servers for the scenarios with remote members: real sshd and dropbear on loopback with keys of their own, and a proxy that
# makes a bad line. `load lib`, `load ssh`; then
#
#   setup_file()    { ssh_begin; ssh_start; ssh_alias far "$ssh_port"; }
#   teardown_file() { servers_stop; }
#   setup()         { setup_world; ssh_world; ... }
#
# What is started in a test ends with the test's process, what is started in setup_file with the file's, also when bats is
# killed. Start nothing in a subshell: it would end with that.
# shellcheck shell=bash

SOS_PROXY=$(realpath -m "${SOS_PROXY:-$(dirname "$SOS_SYNC")/proxy}")

# ---- begin ----

# Keys and files of all servers of this test file, in $SSH_DIR. Skips where there is no ssh.
ssh_begin() {
    need_commands ssh ssh-keygen
    export SSH_DIR=$BATS_FILE_TMPDIR/ssh
    mkdir -p -m 700 "$SSH_DIR/bin" "$SSH_DIR/home/.ssh"
    chmod 755 "$SSH_DIR/home"
    chmod 700 "$SSH_DIR/home/.ssh"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$SSH_DIR/host_ed25519"
    ssh-keygen -q -t ecdsa -N '' -C '' -f "$SSH_DIR/host_ecdsa"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$SSH_DIR/user"
    cp "$SSH_DIR/user.pub" "$SSH_DIR/authorized_keys"
    chmod 600 "$SSH_DIR/authorized_keys"
    far_program "$SSH_DIR/bin/sos-sync"
    export ssh_config=$SSH_DIR/config ssh_known=$SSH_DIR/known_hosts
    : >"$ssh_config"
    : >"$ssh_known"
    : >"$SSH_DIR/servers"
}

# In setup, after setup_world: what nobody's own settings may change, and options that every run gets. The test may add to
# what setup_file wrote.
ssh_world() {
    unset SSH_AUTH_SOCK SSH_ASKPASS DISPLAY
    export XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache
    ssh_config=$BATS_TEST_TMPDIR/ssh_config
    cp "$SSH_DIR/config" "$ssh_config"
    ssh_options
}

ssh_options() {
    EXTRA=(--ssh-config "$ssh_config" --remote-command "$SSH_DIR/bin/sos-sync")
}

need_commands() {
    local command
    for command in "$@"; do
        have_command "$command" || skip "no $command"
    done
}

have_command() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ]; }

# far_program FILE [COMMAND...]: the program at the far end: ours, in an environment that a login would not give it.
far_program() {
    local file=$1 name
    shift
    {
        printf '#!/bin/sh\n'
        printf 'export HOME=%q\n' "$SSH_DIR/home"
        for name in ASAN_OPTIONS UBSAN_OPTIONS LC_ALL; do
            [ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
        done
        printf 'exec'
        printf ' %q' "${@:-$SOS_SYNC}"
        printf ' "$@"\n'
    } >"$file"
    chmod 755 "$file"
}

# ---- processes ----

# A command whose process ends with ours. bats waits for whoever holds its descriptors.
bound() {
    if setpriv --pdeathsig TERM true 2>/dev/null; then
        exec setpriv --pdeathsig TERM "$@"
    fi
    exec "$@"
}

# launch LOG COMMAND...: in the background, all it says in LOG; its pid in $launched.
launch() {
    local log=$1
    shift
    bound "$@" >"$log" 2>&1 </dev/null 3>&- 4>&- &
    launched=$!
    echo "$launched" >>"$SSH_DIR/servers"
}

pause() { read -rt 0.02 <> <(:) || true; }

# await_line FILE PATTERN PID: until FILE has such a line; fails when the process ended without, or after 20 s.
await_line() {
    local end=$((SECONDS + 20))
    until grep -qs "$2" "$1"; do
        kill -0 "$3" 2>/dev/null || { grep -qs "$2" "$1" && return 0 || return 1; }
        [ $SECONDS -lt $end ] || return 1
        pause
    done
}

# The processes below this one, each after its parent.
descendants() {
    # Some end meanwhile: cat goes on without them.
    cat /proc/[0-9]*/status 2>/dev/null | awk -v root="$1" '
        /^Pid:/ { pid = $2 }
        /^PPid:/ { children[$2] = children[$2] " " pid }
        function down(p,   i, n, list) {
            n = split(children[p], list, " ")
            for (i = 1; i <= n; i++) { print list[i]; down(list[i]) }
        }
        END { down(root) }'
}

# server_stop PID: the server and all that it started. The listener first, so that nothing new comes.
server_stop() {
    local below
    [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null || return 0
    below=$(descendants "$1")
    kill -KILL "$1" 2>/dev/null || true
    # shellcheck disable=SC2086
    [ -z "$below" ] || kill -KILL $below 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# In teardown_file: all that this file started and that still runs.
servers_stop() {
    local pid
    [ -s "${SSH_DIR:-}/servers" ] || return 0
    while read -r pid; do
        # A number may have passed on to somebody else's process.
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$SSH_DIR" || continue
        server_stop "$pid"
    done <"$SSH_DIR/servers"
    : >"$SSH_DIR/servers"
}

# ---- sshd ----

# ssh_start [LINE...]: an sshd with these lines first in its configuration, as the first one of a key counts. Its port is in
# $ssh_port, its process in $ssh_pid, what it says in $ssh_log. It is known to $ssh_known by its ed25519 and its ecdsa key.
ssh_start() {
    local conf tries
    need_commands sshd
    [ "$(id -u)" != 0 ] || mkdir -p /run/sshd
    conf=$(mktemp "$SSH_DIR/sshd.XXXXXX")
    for tries in {1..20}; do
        ssh_port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        sshd_conf "$ssh_port" "$@" >"$conf"
        ssh_log=$conf.log
        launch "$ssh_log" /usr/sbin/sshd -D -e -f "$conf"
        ssh_pid=$launched
        if await_line "$ssh_log" 'Server listening on 127.0.0.1' "$ssh_pid"; then
            know_host 127.0.0.1 "$ssh_port" "$SSH_DIR/host_ed25519" "$SSH_DIR/host_ecdsa"
            know_host ::1 "$ssh_port" "$SSH_DIR/host_ed25519" "$SSH_DIR/host_ecdsa"
            export ssh_port ssh_pid ssh_log
            return 0
        fi
        server_stop "$ssh_pid"
        grep -q 'already in use\|Cannot bind' "$ssh_log" || break
    done
    cat "$ssh_log"
    return 1
}

# PORT [LINE...]: the configuration, on standard output.
sshd_conf() {
    local port=$1
    shift
    [ $# = 0 ] || printf '%s\n' "$@"
    cat <<CONF
Port $port
ListenAddress 127.0.0.1
$(have_ipv6 && echo ListenAddress ::1)
HostKey $SSH_DIR/host_ed25519
HostKey $SSH_DIR/host_ecdsa
AuthorizedKeysFile $SSH_DIR/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PermitUserRC no
PrintMotd no
StrictModes no
UsePAM no
UseDNS no
PidFile none
MaxStartups 100
SetEnv HOME=$SSH_DIR/home PATH=$SSH_DIR/bin:/usr/local/bin:/usr/bin:/bin
CONF
}

# In setup_file, after ssh_begin: an sshd by these names, where this machine has one.
ssh_serve() {
    have_command sshd || return 0
    ssh_start
    ssh_alias "$1" "$ssh_port"
}

# Where only some scenarios of a file want a server: far_begin in setup_file, and far_world in those. Its name is "far".
far_begin() {
    have_command ssh && have_command ssh-keygen && have_command sshd || return 0
    ssh_begin
    ssh_serve far
}
far_world() {
    [ -n "${ssh_port:-}" ] || skip "no sshd"
    ssh_world
}

ssh_stop() { server_stop "${1:-$ssh_pid}"; }

have_ipv6() { grep -q '^0*1 ' /proc/net/if_inet6 2>/dev/null; }

# far_gone [PID]: until no session of the server is left. A far end may need a moment to notice that its line is gone.
far_gone() {
    local end=$((SECONDS + 20))
    while [ -n "$(descendants "${1:-$ssh_pid}")" ]; do
        [ $SECONDS -lt $end ] || { echo "a far end goes on and on"; return 1; }
        pause
    done
}

# ---- dropbear ----

# The same with dropbear: $dropbear_port, $dropbear_pid, $dropbear_log. It knows no other place for keys than the home in the
# password file: it gets a password file of its own, in a mount namespace.
dropbear_start() {
    local dir tries
    need_commands dropbear dropbearkey unshare
    as_root
    unshare -m true 2>/dev/null || skip "no mount namespace for dropbear"
    dir=$(mktemp -d "$SSH_DIR/dropbear.XXXXXX")
    cp "$SSH_DIR/authorized_keys" "$SSH_DIR/home/.ssh/authorized_keys"
    chmod 600 "$SSH_DIR/home/.ssh/authorized_keys"
    awk -F : -v OFS=: -v home="$SSH_DIR/home" '$1 == "root" { $6 = home; $7 = "/bin/sh" } { print }' /etc/passwd >"$dir/passwd"
    dropbearkey -t ed25519 -f "$dir/key" >"$dir/key.txt" 2>/dev/null
    grep '^ssh-' "$dir/key.txt" >"$dir/key.pub"
    dropbear_log=$dir/log
    for tries in {1..20}; do
        dropbear_port=$((32000 + (RANDOM * 32768 + RANDOM) % 700))
        launch "$dropbear_log" unshare -m sh -c \
            'mount --bind "$1/passwd" /etc/passwd && exec dropbear -F -E -s -p "127.0.0.1:$2" -r "$1/key" -P ""' \
            "$SSH_DIR" "$dir" "$dropbear_port"
        dropbear_pid=$launched
        if await_port "$dropbear_port" "$dropbear_pid"; then
            know_host 127.0.0.1 "$dropbear_port" "$dir/key"
            export dropbear_port dropbear_pid dropbear_log
            return 0
        fi
        server_stop "$dropbear_pid"
        grep -qi 'in use' "$dropbear_log" || break
    done
    cat "$dropbear_log"
    return 1
}

dropbear_stop() { server_stop "${1:-$dropbear_pid}"; }

# await_port PORT PID: until one can connect, for a server that does not say when.
await_port() {
    local end=$((SECONDS + 20))
    until (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
        kill -0 "$2" 2>/dev/null || return 1
        [ $SECONDS -lt $end ] || return 1
        pause
    done
    kill -0 "$2" 2>/dev/null
}

# ---- what a client knows ----

# know_host HOST PORT KEY...: into $ssh_known, as ssh writes it. Port 22 goes without.
know_host() {
    local name="[$1]:$2" key
    [ "$2" != 22 ] || name=$1
    shift 2
    for key in "$@"; do
        printf '%s %s\n' "$name" "$(cut -d ' ' -f 1,2 "$key.pub")" >>"$ssh_known"
    done
}

# The names in $ssh_known as digests.
hash_known() { ssh-keygen -q -H -f "$ssh_known" >/dev/null 2>&1 && rm -f "$ssh_known.old"; }

# An empty list of known hosts of this test's own; own_config: the same for the configuration.
own_known() {
    ssh_known=$BATS_TEST_TMPDIR/known_hosts
    : >"$ssh_known"
}
own_config() {
    ssh_config=$BATS_TEST_TMPDIR/ssh_config
    : >"$ssh_config"
    ssh_options
}

# ssh_alias NAME PORT [LINE...]: a Host of $ssh_config, the given lines before ours, as the first one of a key counts. NAME may be
# a pattern, or several. PORT - leaves it to the address.
ssh_alias() {
    local name=$1 port=$2
    shift 2
    {
        echo "Host $name"
        [ $# = 0 ] || printf '  %s\n' "$@"
        [[ $name == *[.:]* ]] || echo "  HostName 127.0.0.1"
        [ "$port" = - ] || echo "  Port $port"
        cat <<CONF
  User $(id -un)
  IdentityFile $SSH_DIR/user
  IdentitiesOnly yes
  UserKnownHostsFile $ssh_known
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  BatchMode yes
  LogLevel ERROR
CONF
    } >>"$ssh_config"
}

# plain_ssh ARGS...: the program ssh with our configuration.
plain_ssh() { ssh -F "$ssh_config" "$@"; }

# key_agent [KEY...]: an ssh-agent that holds these keys; SSH_AUTH_SOCK is set. Encrypted keys are opened with $passphrase.
key_agent() {
    need_commands ssh-agent ssh-add
    local key ask=$BATS_TEST_TMPDIR/askpass
    SSH_AUTH_SOCK=$(mktemp -u "$SSH_DIR/agent.XXXXXX")
    [ ${#SSH_AUTH_SOCK} -lt 100 ] || skip "TMPDIR is too long for a socket"
    export SSH_AUTH_SOCK
    launch "$BATS_TEST_TMPDIR/ssh-agent.log" ssh-agent -D -a "$SSH_AUTH_SOCK"
    agent_pid=$launched
    until [ -S "$SSH_AUTH_SOCK" ]; do
        kill -0 "$agent_pid" || return 1
        pause
    done
    printf '#!/bin/sh\nprintf "%%s\\n" "%s"\n' "${passphrase:-}" >"$ask"
    chmod 700 "$ask"
    for key in "$@"; do
        SSH_ASKPASS=$ask SSH_ASKPASS_REQUIRE=force DISPLAY=:none ssh-add -q "$key" </dev/null
    done
}

# ---- a bad line ----

# proxy_start ARGS...: see tests/tools/proxy.c; its port is in $proxy_port. The servers' keys are known there too.
proxy_start() {
    local log
    [ -x "$SOS_PROXY" ] || skip "no $SOS_PROXY: make everything"
    log=$(mktemp "$SSH_DIR/proxy.XXXXXX")
    launch "$log" "$SOS_PROXY" --count "$log.count" "$@"
    proxy_pid=$launched
    proxy_counts=$log.count
    if ! await_line "$log" '^[0-9]' "$proxy_pid"; then
        cat "$log"
        return 1
    fi
    proxy_port=$(head -n 1 "$log")
    know_host 127.0.0.1 "$proxy_port" "$SSH_DIR/host_ed25519" "$SSH_DIR/host_ecdsa"
    export proxy_port proxy_pid proxy_counts
}

# What it has passed so far: proxy_count up|down|connections|all, the last of them both ways together.
proxy_count() {
    rm -f "$proxy_counts"
    kill -USR1 "$proxy_pid"
    await_line "$proxy_counts" '^connections' "$proxy_pid" || return 1
    awk -v what="$1" '$1 == what || (what == "all" && $1 != "connections") { n += $2 } END { print n + 0 }' "$proxy_counts"
}

proxy_stop() {
    kill -TERM "${1:-$proxy_pid}" 2>/dev/null || return 0
    wait "${1:-$proxy_pid}" 2>/dev/null || true
}

# ---- instead of ssh ----

# rsh_script FILE: what --rsh can be: [-l USER] [-p PORT] HOST COMMAND..., and the command is simply executed here.
rsh_script() {
    cat >"$1" <<'SH'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift 2; done
shift
exec sh -c "exec $*"
SH
    chmod 755 "$1"
}

# From here on every other machine is this one, reached by such a script.
rsh_here() {
    rsh_script "$BATS_TEST_TMPDIR/rsh"
    EXTRA+=(--rsh "$BATS_TEST_TMPDIR/rsh" --remote-command "$SOS_SYNC")
}

# head and its like keep back what they have until it is enough, and both ends would wait for ever: stdbuf.

# rsh_cut_down FILE N: the same; after N bytes from the far end it is gone, and all that hangs on it.
rsh_cut_down() {
    need_commands stdbuf
    sed "s/@N@/$2/" >"$1" <<'SH'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift 2; done
shift
pipe=$(mktemp -u)
mkfifo "$pipe"
exec 3<&0
sh -c "exec $*" <&3 3<&- >"$pipe" &
far=$!
exec 3<&- 4<"$pipe" <&-
rm "$pipe"
stdbuf -o0 head -c @N@ <&4
kill -KILL $far 2>/dev/null
wait $far 2>/dev/null
SH
    chmod 755 "$1"
}

# rsh_cut_up FILE N: the same after N bytes to the far end.
rsh_cut_up() {
    need_commands stdbuf
    sed "s/@N@/$2/" >"$1" <<'SH'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift 2; done
shift
stdbuf -o0 head -c @N@ | sh -c "exec $*"
SH
    chmod 755 "$1"
}

# rsh_filter FILE SHELL_TEXT: what the far end says passes through that; "$@" in it is the command.
rsh_filter() {
    printf '%s\n' '#!/bin/sh' 'while [ "${1#-}" != "$1" ]; do shift 2; done' 'shift' "$2" >"$1"
    chmod 755 "$1"
}

# rsh_counted FILE DIR: as rsh_script, and what went up and down is kept in DIR.
rsh_counted() {
    mkdir -p "$2"
    rsh_filter "$1" "tee $2/up.\$\$ | sh -c \"exec \$*\" | tee $2/down.\$\$"
}

# All bytes that a counted script let through, since the last time it was asked.
counted() {
    find "$1" -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'
    find "$1" -type f -delete
}

# ---- time and memory ----

# took COMMAND...: its milliseconds in $took.
took() {
    local from=${EPOCHREALTIME/./} status=0
    "$@" || status=$?
    took=$(((${EPOCHREALTIME/./} - from) / 1000))
    return $status
}

# Sanitizers take memory and time of their own.
plain_build() { ! grep -q __asan_init "$SOS_SYNC" || skip "not with sanitizers"; }

# peak PID: until it ends; the most KiB that any process below it or itself had resident, in $peak.
peak() {
    local pid kib
    peak=0
    while kill -0 "$1" 2>/dev/null && ! grep -qs '^State:.Z' "/proc/$1/status"; do
        for pid in "$1" $(descendants "$1"); do
            kib=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || continue
            [ "${kib:-0}" -le "$peak" ] || peak=$kib
        done
        read -rt 0.1 <> <(:) || true
    done
}

# below WHAT FOUND LIMIT: or says so.
below() {
    [ "$2" -lt "$3" ] && return 0
    echo "$1: $2, and not below $3"
    return 1
}

# ---- any scenario, with far members ----

# From here on a, b, c, d, e and new on the command line are far members, reached by a script; in what is said they are called as
# they were. EXTRA and AS hold as ever.
far_members() {
    rsh_script "$BATS_TEST_TMPDIR/rsh"
    export XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache
    sync() {
        local args=(--rsh "$BATS_TEST_TMPDIR/rsh" --remote-command "$SOS_SYNC") arg before='' status=0
        for arg in "$@"; do
            case $before:$arg in
            --exclude:* | --include:* | --group:* | --adopt:*) args+=("$arg") ;;
            --state-dir:[!/]*) args+=("$PWD/$arg") ;; # where a far end stands is its own matter
            *:[a-e] | *:new) args+=("host:$PWD/$arg") ;;
            *) args+=("$arg") ;;
            esac
            before=$arg
        done
        "${AS[@]}" "$SOS_SYNC" --no-progress "${EXTRA[@]}" "${args[@]}" \
            >"$BATS_TEST_TMPDIR/far.out" 2>"$BATS_TEST_TMPDIR/far.err" || status=$?
        sed "s|host:$PWD/||g" "$BATS_TEST_TMPDIR/far.out"
        sed "s|host:$PWD/||g" "$BATS_TEST_TMPDIR/far.err" >&2
        return $status
    }
}
