load lib
load ssh

# What the other scenarios stand on, proved without sos-sync.

setup_file() {
    ssh_begin
    ssh_serve far
}
teardown_file() { servers_stop; }

setup() {
    setup_world
    ssh_world
    need_commands sshd
}
teardown() { teardown_world; }

# Milliseconds that one line takes to a cat at the far end and back, once it runs; the best of five: echo_ms HOST.
echo_ms() {
    local i from to best=999999 line
    coproc FAR { plain_ssh -T "$1" cat; }
    for i in 0 1 2 3 4 5; do
        from=${EPOCHREALTIME/./}
        echo "$i" >&"${FAR[1]}"
        read -r line <&"${FAR[0]}"
        to=${EPOCHREALTIME/./}
        [ "$line" = "$i" ] || return 1
        [ "$i" = 0 ] || [ $((to - from)) -ge $best ] || best=$((to - from))
    done
    exec {FAR[1]}>&-
    wait "$FAR_PID" 2>/dev/null || true
    echo_ms=$((best / 1000))
}

@test "servers: sshd answers, with its own environment and keys" {
    [ "$(plain_ssh far 'echo $((6 * 7))')" = 42 ]
    [ "$(plain_ssh far 'echo $HOME')" = "$SSH_DIR/home" ]
    [ "$(plain_ssh far 'command -v sos-sync')" = "$SSH_DIR/bin/sos-sync" ]
    plain_ssh far sos-sync --version | grep -q sos-sync
    head -c 3000000 /dev/urandom >noise
    plain_ssh far "cat >$PWD/there" <noise
    cmp noise there
}

@test "servers: sshd answers on IPv6" {
    have_ipv6 || skip "no ::1"
    ssh_alias ::1 "$ssh_port"
    [ "$(plain_ssh ::1 echo yes)" = yes ]
}

@test "servers: an unknown host is refused by plain ssh, a hashed one found" {
    own_known
    own_config
    ssh_alias unknown "$ssh_port"
    ! plain_ssh unknown true || false
    know_host 127.0.0.1 "$ssh_port" "$SSH_DIR/host_ed25519" "$SSH_DIR/host_ecdsa"
    hash_known
    ! grep -q 127.0.0.1 "$ssh_known" || false
    plain_ssh unknown true
}

@test "servers: RekeyLimit 1M" {
    ssh_start 'RekeyLimit 1M' 'LogLevel DEBUG1'
    ssh_alias rekey "$ssh_port"
    head -c 8000000 /dev/zero | plain_ssh rekey 'wc -c' >got
    [ "$(tr -d ' ' <got)" = 8000000 ]
    [ "$(grep -c 'rekeying in progress\|rekey' "$ssh_log")" -gt 3 ]
}

@test "servers: dropbear answers" {
    dropbear_start
    ssh_alias drop "$dropbear_port"
    [ "$(plain_ssh drop 'echo $HOME')" = "$SSH_DIR/home" ]
    plain_ssh drop "$SSH_DIR/bin/sos-sync" --version | grep -q sos-sync
    dropbear_stop
    ! plain_ssh drop true 2>/dev/null || false
}

@test "servers: a server that is stopped is gone, with the sessions that it had" {
    local session i
    ssh_start
    ssh_alias short "$ssh_port"
    plain_ssh short "echo \$\$ >$PWD/pid; exec sleep 1000" &
    session=$!
    for i in {1..500}; do
        [ ! -s pid ] || break
        pause
    done
    kill -0 "$(cat pid)"
    ssh_stop
    ! wait $session || false
    for i in {1..250}; do
        kill -0 "$(cat pid)" 2>/dev/null || break
        pause
    done
    ! kill -0 "$(cat pid)" 2>/dev/null || false
    ! plain_ssh short true 2>/dev/null || false
}

@test "servers: an agent opens an encrypted key" {
    local passphrase='open sesame'
    ssh-keygen -q -t ed25519 -N "$passphrase" -f locked
    cp "$SSH_DIR/authorized_keys" keys
    cat locked.pub >>keys
    ssh_start "AuthorizedKeysFile $PWD/keys"
    own_config
    ssh_alias locked "$ssh_port" "IdentityFile $PWD/locked"
    sed -i "/IdentityFile .*user/d" "$ssh_config"
    ! plain_ssh locked true 2>/dev/null || false
    key_agent locked
    plain_ssh locked true
}

@test "servers: the proxy delays both ways" {
    proxy_start --delay 30 "127.0.0.1:$ssh_port"
    ssh_alias slow "$proxy_port"
    echo_ms far
    [ "$echo_ms" -lt 40 ]
    echo_ms slow
    [ "$echo_ms" -ge 60 ] && [ "$echo_ms" -lt 200 ]
}

@test "servers: the proxy cuts at the byte, and counts" {
    local n
    for n in 1 10 20; do
        proxy_start --cut-down $n "127.0.0.1:$ssh_port"
        [ "$(cat <"/dev/tcp/127.0.0.1/$proxy_port" | wc -c)" = $n ]
        [ "$(proxy_count down)" = $n ]
        [ "$(proxy_count connections)" = 1 ]
        proxy_stop
    done
    proxy_start --cut-down 100000 "127.0.0.1:$ssh_port"
    ssh_alias cut "$proxy_port"
    n=0
    plain_ssh cut 'head -c 1000000 /dev/zero' >got 2>/dev/null || n=$?
    [ $n = 255 ]
    [ "$(wc -c <got)" -gt 50000 ] && [ "$(wc -c <got)" -lt 100000 ]
    [ "$(proxy_count down)" = 100000 ]
    proxy_start --cut-up 50000 --cut-how reset "127.0.0.1:$ssh_port"
    ssh_alias cut-up "$proxy_port"
    : >up # the line may be cut before the far shell comes to make it
    ! head -c 1000000 /dev/zero | plain_ssh cut-up "cat >$PWD/up" 2>/dev/null || false
    [ "$(proxy_count up)" = 50000 ]
    [ "$(wc -c <up)" -lt 50000 ]
}

@test "servers: the proxy's counts are what ssh moved" {
    proxy_start "127.0.0.1:$ssh_port"
    ssh_alias counted "$proxy_port"
    head -c 500000 /dev/urandom | plain_ssh counted cat >got
    [ "$(proxy_count up)" -gt 500000 ] && [ "$(proxy_count up)" -lt 530000 ]
    [ "$(proxy_count down)" -gt 500000 ] && [ "$(proxy_count down)" -lt 530000 ]
    [ "$(proxy_count all)" = $(($(proxy_count up) + $(proxy_count down))) ]
}

@test "servers: the proxy limits the rate" {
    local from
    proxy_start --rate-down 1000000 "127.0.0.1:$ssh_port"
    ssh_alias thin "$proxy_port"
    from=${EPOCHREALTIME/./}
    plain_ssh thin 'head -c 1000000 /dev/zero' | wc -c
    from=$(((${EPOCHREALTIME/./} - from) / 1000))
    [ $from -ge 950 ] && [ $from -lt 3000 ]
}

@test "servers: rsync goes through them" {
    command -v rsync >/dev/null || skip "no rsync"
    put a d/x 1 1700000000
    put a y 22 1700000001
    rsync -a -e "ssh -F $ssh_config" a/ "far:$PWD/b"
    same a b
}

@test "servers: instead of ssh: the command is executed, or cut" {
    rsh_script rsh
    [ "$(./rsh -l me -p 22 host echo a b)" = "a b" ]
    [ "$(./rsh host "echo a b")" = "a b" ]
    [ "$(echo through | ./rsh host cat)" = through ]
    rsh_cut_down rsh 5
    [ "$(./rsh host "yes")" = $'y\ny\ny' ]
    [ "$(echo through | ./rsh host cat)" = throu ]
    rsh_cut_up rsh 5
    [ "$(yes | ./rsh host cat)" = $'y\ny\ny' ]
    ! ./rsh host false || false
}
