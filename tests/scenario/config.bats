load lib

setup() {
    setup_world
    W=$PWD
    mkdir s1 s2 s3
    put s1 one 1
}
teardown() { teardown_world; }

# conf TEXT: the file "conf"; printf's escapes, {} stands for the world's directory.
conf() { printf -- "${1//'{}'/$W}" >conf; }

# The groups and members that a dry run over conf finds: GROUP MEMBER... in the order of the file.
found() {
    exits 0 --config conf --dry-run
    grep -a '^group .*: .*, ' <<<"$output" | grep -v 'dry run' | tr -d , >found || true
}

# ---- both forms ----

@test "config: a plain list is the group default" {
    conf '# stores\n{}/s1\n  file://{}/s2\n\n; more\n{}/s3\n'
    exits 0 --config conf --json
    [ "$(jq -r 'select(.event == "summary").group' <<<"$output")" = default ]
    [ "$(summary members <<<"$output")" = 3 ]
    same s1 s2 s3
}

@test "config: sections are groups, and nothing travels between them" {
    mkdir s4
    put s3 three 3
    conf '[1]\n-: {}/s1\n-: {}/s2\n[2]\n-: {}/s3\n-: {}/s4\n'
    exits 0 --config conf
    same s1 s2
    same s3 s4
    [ ! -e s1/three ] && [ ! -e s3/one ]
}

@test "config: all ways to write a member mean the same" {
    conf '  [g]\n-: {}/s1\n- = {}/s2\n-={}/s3\n'
    found
    [ "$(cat found)" = "group g: $W/s1 $W/s2 $W/s3" ]
    conf '[g]\n-:{}/s1\n\t - : "{}/s2"\n  -:\t'"'{}/s3'"' ; and a comment\n'
    found
    [ "$(cat found)" = "group g: $W/s1 $W/s2 $W/s3" ]
}

@test "config: another key than - names the member" {
    conf '[g]\none: {}/s1\ntwo = {}/s2\n'
    exits 0 --config conf --json
    [ "$(acts <<<"$output")" = "copy one two" ]
    [ "$(jq -r 'select(.event == "action").from' <<<"$output")" = one ]
}

@test "config: a repeated section appends its members" {
    conf '[g]\n-: {}/s1\n[empty]\n[g]\n-: {}/s2\n-: {}/s3\n'
    found
    [ "$(cat found)" = "group g: $W/s1 $W/s2 $W/s3" ]
}

@test "config: comments, CRLF, a byte-order mark, a missing last newline" {
    conf '\xef\xbb\xbf# a [comment]\r\n  ; another\r\n[g] ; c\r\n-: {}/s1 # here\r\n\r\n-: {}/s2'
    found
    [ "$(cat found)" = "group g: $W/s1 $W/s2" ]
    conf '\xef\xbb\xbf{}/s1\r\n{}/s2'
    found
    [ "$(cat found)" = "group default: $W/s1 $W/s2" ]
}

@test "config: a [ in a comment or an address does not make it sections" {
    mkdir 'x[1]'
    conf '# see [1]\n{}/s1\n{}/x[1]\n'
    found
    [ "$(cat found)" = "group default: $W/s1 $W/x[1]" ]
}

@test "config: a group may be named by any characters" {
    conf '[a ] b]\n-: {}/s1\n-: {}/s2\n'
    refused ':1: ' --config conf
    conf '[fo\xc3\xbc  / $x]\n-: {}/s1\n-: {}/s2\n'
    exits 0 --config conf --group 'foü  / $x'
    same s1 s2
}

@test "config: the order of groups and members is that of the file" {
    mkdir s4 s5 s6
    conf '[z]\n-: {}/s3\n-: {}/s1\n[a]\n-: {}/s6\n-: {}/s4\n[z]\n-: {}/s2\n'
    found
    diff found - <<TXT
group z: $W/s3 $W/s1 $W/s2
group a: $W/s6 $W/s4
TXT
}

# ---- the hazards: an error with file, line and reason, and nothing is changed ----

@test "config: what SoS would misread is refused with file and line" {
    local line
    while read -r line; do
        [ -n "$line" ] || continue
        conf "${line#* }"
        refused "conf:${line%% *}: .+" --config conf || {
            echo "accepted: $line"
            return 1
        }
    done <<'TXT'
3 [g]\n-: {}/s1\nno delimiter\n
1 []\n-: {}/s1\n-: {}/s2\n
1 [g\n-: {}/s1\n-: {}/s2\n
3 [g]\n-: {}/s1\n-:\n
3 [g]\n-: {}/s1\n-: ""\n
3 [g]\n-: {}/s1\nhttp://node:3000\n
3 [g]\n-: {}/s1\n{}/s2\n
4 [g]\nx: {}/s1\n-: {}/s2\nx: {}/s3\n
1 -: {}/s1\n[g]\n-: {}/s2\n-: {}/s3\n
2 {}/s1\nsomething else\n
2 {}/s1\nrelative/path\n
2 {}/s1\nftp://host/x\n
3 [g]\n-: {}/s1\n-: {}/s2#3\n
3 [g]\n-: {}/s1\n-: {}/s2;3\n
3 [g]\n-: {}/s1\n-: "{}/s2\n
3 [g]\n-: {}/s1\n-: "{}/s2" x\n
3 [g]\n-: {}/s1\n-: {}/s\x01\n
3 [g]\n-: {}/s1\n-: {}/s2\000\n
1 [g] x\n-: {}/s1\n
TXT
}

@test "A7: an address that another program could take for an option is refused" {
    local address
    for address in 'ssh://-oProxyCommand=x/srv' 'ssh://u@-h/srv' '-h:/srv' 'ssh://$(x)/srv' 'ssh://h/a%%0ab'; do
        conf "[g]\n-: {}/s1\n-: $address\n"
        refused 'conf:3: ' --config conf
    done
}

@test "config: a blob-server that cannot be reached fails alone, and is named" {
    local address
    for address in http://127.0.0.1:1 https://127.0.0.1:1/b; do
        conf "[g]\n-: {}/s1\n-: $address\n"
        exits 3 --config conf
        grep -aqF "$address" <<<"$errors"
    done
}

@test "config: two members of one ssh host that are the same are refused too" {
    conf '[g]\n-: ssh://h/srv\n-: ssh://H:22/srv/\n'
    refused 'same|twice' --config conf
}

@test "config: a line of 8192 bytes and a name with a newline do no harm" {
    printf '[g]\n-: %s\n-: /%09000d\n' "$W/s1" 0 >conf
    refused 'conf:3: ' --config conf
    head -c 2000000 /dev/zero | tr '\0' '#' >conf
    refused 'conf' --config conf
}

# ---- which file ----

@test "config: --config FILE is the only file read; one that is missing is an error" {
    printf '[home]\n-: %s\n-: %s\n' "$W/s1" "$W/s2" >"$HOME/.sos.conf"
    conf '[g]\n-: {}/s1\n-: {}/s3\n'
    exits 0 --config conf
    same s1 s3
    [ ! -e s2/one ]
    refused 'nowhere' --config nowhere
    refused '.' --config s1
}

@test "config: ~/.sos.conf is read" {
    printf '[home]\n-: %s\n-: %s\n' "$W/s1" "$W/s2" >"$HOME/.sos.conf"
    exits 0
    same s1 s2
}

@test "config: /etc/sos.conf, then ~/.sos.conf, entries appended" {
    as_root
    [ ! -e /etc/sos.conf ] && [ ! -L /etc/sos.conf ] || skip "this machine has an /etc/sos.conf"
    command -v unshare >/dev/null || skip "no unshare"
    mkdir etc
    cp -a /etc/passwd /etc/group etc/ 2>/dev/null || true
    printf '[g]\n-: %s\n-: %s\n' "$W/s1" "$W/s2" >etc/sos.conf
    printf '[g]\n-: %s\n' "$W/s3" >"$HOME/.sos.conf"
    # The system's file is put there only for the program, in a mount namespace of its own.
    unshare -m true 2>/dev/null || skip "cannot make a mount namespace"
    unshare -m sh -c 'mount --bind etc /etc && exec "$0" --json' "$SOS_SYNC" >out
    [ "$(summary members <out)" = 3 ]
    same s1 s2 s3
}

@test "config: without any sos.conf it says what to do" {
    [ ! -e /etc/sos.conf ] || skip "this machine has an /etc/sos.conf"
    refused 'sos\.conf'
}

@test "config: a sos.conf that cannot be read is an error, not an absent one" {
    conf '[g]\n-: {}/s1\n-: {}/s2\n'
    mkdir "$HOME/.sos.conf"
    refused 'sos\.conf'
    rmdir "$HOME/.sos.conf"
    ln -s nowhere "$HOME/.sos.conf"
    refused 'sos\.conf'
}

@test "config: members on the command line go without a sos.conf, and not with --config or --group" {
    echo '[' >"$HOME/.sos.conf"
    exits 0 s1 s2
    same s1 s2
    conf '[g]\n-: {}/s1\n-: {}/s3\n'
    refused config --config conf s1 s3
    refused group --group g s1 s3
}

# ---- which groups ----

@test "config: --group picks groups and is repeatable" {
    mkdir s4 s5 s6
    put s3 three 3
    put s5 five 5
    conf '[1]\n-: {}/s1\n-: {}/s2\n[2]\n-: {}/s3\n-: {}/s4\n[3]\n-: {}/s5\n-: {}/s6\n'
    exits 0 --config conf --group 3 --group 1
    same s1 s2
    same s5 s6
    [ ! -e s4/three ] && [ ! -e s4/.sos-sync ]
}

@test "config: an unknown group is an error that names those there are" {
    conf '[one]\n-: {}/s1\n-: {}/s2\n[two]\n-: {}/s3\n-: {}/s1\n'
    refused 'one, two' --config conf --group three
    refused 'one, two' --config conf --group one --group three
}

@test "config: options stand before or after the members" {
    exits 0 s1 --json s2
    same s1 s2
}

# ---- what makes no group ----

@test "config: a group with one member" {
    conf '[g]\n-: {}/s1\n'
    refused member --config conf
    refused member s1
}

@test "config: an error in one group leaves the others alone too" {
    conf '[ok]\n-: {}/s1\n-: {}/s2\n[bad]\n-: {}/s3\n'
    refused bad --config conf
}

@test "config: a member twice: the same text, a slash, a dot, a symlink" {
    local twin
    ln -s s1 link
    mkdir s2/sub
    for twin in s1 s1/ ./s1 s2/../s1 "$W/s1" link link/ "file://$W/s1" s1//; do
        refused . s1 "$twin"
        refused . s2 s1 "$twin" || { echo "$twin"; return 1; }
    done
    conf '[g]\n-: {}/s1\n-: {}/s1\n'
    refused . --config conf
    conf '[g]\na: {}/s1\nb: @/link\n'
    refused 'conf:[23]' --config conf
}

@test "config: a member twice: a bind mount" {
    as_root
    mount --bind s1 s2 2>/dev/null || skip "cannot mount here"
    refused . s1 s2
}

@test "config: a member twice, of which neither exists" {
    refused . new new/
    ln -s . here
    refused . new here/new
    [ ! -e new ]
}

@test "config: a member inside another" {
    mkdir -p s1/in/side
    ln -s s1/in link
    refused . s1 s1/in
    refused . s1/in/side s2 s1
    refused . s1 link
    refused . s1 s1/not/yet
    ! exits 0 / s1 || false
}

@test "config: the same name at the beginning is not inside" {
    mkdir s11
    exits 0 s1 s11
    same s1 s11
}
