load lib

setup() {
    setup_world
    mkdir a b c
}
teardown() { teardown_world; }

esc=$'\033'

# A group with something of everything: copies, updates, adoptions, a conflict, metadata, directories.
busy() {
    put a keep 1 1700000000
    put a edit 1 1700000000
    put a fight 1 1700000000
    put a meta 1 1700000000
    put a old/moved 'content that moves'
    sync -q a b c
    put a edit 22
    put a fight 'by a' 1700000500
    put b fight 'by b' 1700000900
    chmod 600 c/meta
    mv b/old b/new
    mkdir -p a/dir/empty
    put b dir/fresh 333
    ln -s x b/link
}

# ---- JSON ----

@test "json: every line is an object with an event, the summary comes last, nothing else is there" {
    busy
    exits 0 --json a b c
    jq -e 'type == "object" and (.event | type == "string")' <<<"$output" >types
    [ "$(sort -u types)" = true ]
    [ "$(wc -l <types)" = "$(wc -l <<<"$output")" ]
    [ "$(tail -n 1 <<<"$output" | jq -r .event)" = summary ]
    [ "$(jq -r .event <<<"$output" | grep -c summary)" = 1 ]
}

@test "json: an action has the keys of the design" {
    busy
    exits 0 --json a b c
    jq 'select(.event == "action") |
        (.group == "default") and (.action | IN("copy", "update", "adopt", "mkdir", "conflict")) and
        (.path | type == "string") and (.to | IN("a", "b", "c")) and has("from") and
        (.bytes | type == "number") and (.reason | type == "string" and . != "")' <<<"$output" >ok
    [ "$(sort -u ok)" = true ]
    [ "$(jq -c 'select(.path == "dir/fresh" and .to == "a")' <<<"$output")" = \
        '{"event":"action","group":"default","action":"copy","path":"dir/fresh","from":"b","to":"a","bytes":3,"reason":"new"}' ]
}

@test "json: the summary has the keys of the design, and its numbers are those of the action lines" {
    local key what
    busy
    exits 0 --json a b c
    for key in group members unreachable objects copied updated adopted pruned deleted conflicts under_replicated failed \
        literal_bytes wire_bytes seconds dry_run; do
        [ "$(jq "select(.event == \"summary\") | has(\"$key\")" <<<"$output")" = true ]
    done
    for what in copied:copy updated:update adopted:adopt conflicts:conflict pruned:prune deleted:delete; do
        [ "$(summary "${what%:*}" <<<"$output")" = "$(jq -s --arg what "${what#*:}" \
            '[.[] | select(.event == "action" and .action == $what)] | length' <<<"$output")" ] || {
            # Directories are told and not counted.
            echo "$what"
            return 1
        }
    done
    [ "$(summary members <<<"$output")" = 3 ]
    [ "$(summary failed <<<"$output")" = 0 ]
    [ "$(summary dry_run <<<"$output")" = false ]
    [ "$(summary objects <<<"$output")" = "$(find a -not -type d -not -path '*/.sos-sync/*' | wc -l)" ]
    [ "$(summary literal_bytes <<<"$output")" = "$(jq -s '[.[] | select(.event == "action" and .action != "adopt") | .bytes] | add' <<<"$output")" ]
    [ "$(summary conflicts <<<"$output")" = 1 ]
    [ "$(summary wire_bytes <<<"$output")" -gt 0 ]
}

@test "json: one summary for each group, in the order of the file" {
    mkdir d
    printf '[z]\n-: %s\n-: %s\n[y]\n-: %s\n-: %s\n' "$PWD/a" "$PWD/b" "$PWD/c" "$PWD/d" >conf
    exits 0 --json --config conf
    [ "$(jq -r 'select(.event == "summary").group' <<<"$output" | xargs)" = "z y" ]
}

@test "json: a path that is not UTF-8 comes in base64, and a strange one cannot break a line" {
    put a $'\377\376' 1
    put a $'new\nline\033"\\' 2
    put a $'c1\xc2\x9bx' 3
    exits 0 --json a b
    [ "$(jq -r 'select(.path_b64) | .path_b64' <<<"$output")" = "$(printf '\377\376' | base64)" ]
    [ "$(jq -r 'select(.path_b64) | has("path")' <<<"$output")" = false ]
    [ "$(jq -r 'select(.path == "new\nline\u001b\"\\") | .action' <<<"$output")" = copy ]
    ! grep -q "$esc" <<<"$output" || false
    ! grep -q $'\xc2\x9b' <<<"$output" || false
}

@test "json: trouble is an event, with its member and path; standard error tells it too" {
    as_nobody
    put a x 1
    put a secret 2
    [ "$(id -u)" != 0 ] || chown -R 65534 .
    chmod 0 a/secret
    exits 3 --json a b
    [ "$(jq 'select(.event == "error") | .group == "default" and .member == "a" and .path == "secret" and (.message | length > 0)' \
        <<<"$output")" = true ]
    grep -q secret <<<"$errors"
    [ "$(summary failed <<<"$output")" -ge 1 ]
}

@test "json: an error of usage is an event too" {
    exits 1 --json a
    [ "$(jq -r .event <<<"$output" | sort -u)" = error ]
    exits 1 --json --no-such a b
    [ "$(jq -r .event <<<"$output" | sort -u)" = error ]
}

# ---- text ----

@test "text: -q prints nothing when all is well" {
    busy
    exits 0 -q a b c
    [ -z "$output$errors" ]
    exits 0 --quiet a b c
    [ -z "$output$errors" ]
}

@test "text: -q is not silent when something is wrong" {
    put a x 1
    exits 0 -q a b
    rm -r b
    exits 6 -q a b
    [ -n "$errors" ]
}

@test "text: a summary for each group, and no more, unless asked for" {
    put a 'some name' 1
    exits 0 a b c
    [ "$(wc -l <<<"$output")" = 1 ]
    [[ $output == *default* ]]
    [ -z "$errors" ]
}

@test "text: -v and --dry-run are itemised: one line for each action" {
    busy
    exits 0 --dry-run a b c
    grep -E '^(copy|update|adopt|mkdir|conflict) ' <<<"$output" >dry
    exits 0 -v a b c
    grep -E '^(copy|update|adopt|mkdir|conflict) ' <<<"$output" | diff dry -
    [ "$(grep -c dir/fresh dry)" = 2 ]
    grep -q 'b *-> a .*dir/fresh$' dry
}

@test "text: no escape codes in a pipe, no progress, also with --progress" {
    busy
    "$SOS_SYNC" --progress -v a b c >out 2>err
    ! grep -q "$esc" out err || false
    ! grep -q $'\r' out err || false
    [ ! -s err ]
}

@test "E8: names with escape codes are shown escaped, in a pipe and in messages" {
    as_nobody
    put a $'x\033[31m\x9b\r\nq' 1
    put a $'bad\033' 1
    [ "$(id -u)" != 0 ] || chown -R 65534 .
    chmod 0 a/$'bad\033'
    exits 3 -v a b
    ! grep -q "$esc" <<<"$output$errors" || false
    ! grep -q $'\r' <<<"$output$errors" || false
    ! LC_ALL=C grep -qa $'\x9b' <<<"$output$errors" || false
    [ "$(grep -c 'q$' <<<"$output")" = 1 ]
}

@test "text: --color=always colours a pipe, never does not colour a terminal" {
    put a x 1
    exits 0 -v --color=always a b
    grep -q "$esc" <<<"$output"
    put a x 2
    exits 0 -v --color=never a b
    ! grep -q "$esc" <<<"$output" || false
    exits 1 --color=sometimes a b
}

# on_terminal ARGS...: a run whose standard streams are a terminal; what it showed is in the file shown.
on_terminal() {
    command -v script >/dev/null || skip "no script"
    local line
    printf -v line '%q ' "$SOS_SYNC" "$@"
    TERM=xterm script -qec "$line" /dev/null </dev/null >shown
}

@test "terminal: colours, unless NO_COLOR or --color=never says otherwise" {
    put a x 1
    on_terminal -v --no-progress a b
    grep -q "$esc\[3" shown
    put a x 2
    NO_COLOR=1 on_terminal -v --no-progress a b
    ! grep -q "$esc\[3" shown || false
    put a x 3
    on_terminal -v --no-progress --color=never a b
    ! grep -q "$esc\[3" shown || false
}

@test "terminal: progress is shown, and cleared away" {
    local i
    for i in {1..400}; do echo "$i" >"a/$i"; done
    head -c 30000000 /dev/urandom >a/big
    on_terminal a b c
    grep -q 'scanning\|comparing\|transferring\|committing' shown
    tail -n 1 shown | grep -aq 'default'
}

@test "terminal: no progress with -q, --json or --no-progress" {
    head -c 30000000 /dev/urandom >a/big
    on_terminal -q a b
    [ ! -s shown ]
    put a x 1
    on_terminal --json a b
    ! grep -q 'scanning\|transferring' shown || false
    put a x 2
    on_terminal --no-progress a b
    ! grep -q 'scanning\|transferring' shown || false
}

@test "output: standard output that is full or closed is an error" {
    [ -w /dev/full ] || skip "no /dev/full"
    put a x 1
    got=0
    "$SOS_SYNC" -v a b >/dev/full 2>err || got=$?
    [ $got = 2 ]
    [ -s err ]
    same a b
}

# ---- the command line ----

@test "usage: --help and --version" {
    exits 0 --help
    for word in --dry-run --group --exclude --state-dir --fsync --timeout --json manifest; do
        grep -q -- "$word" <<<"$output"
    done
    [ -z "$errors" ]
    [ "$(awk 'length > 80' <<<"$output")" = "" ]
    exits 0 --version
    [[ $output =~ ^sos-sync\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
    exits 0 manifest --help
    exits 0 -h
}

@test "usage: an unknown option, a missing or wrong value" {
    local args
    for args in --no-such -Q --timeout '--timeout=x a b' '--timeout=-1 a b' '--threads=x a b' '--fsync=x a b' \
        '--group' '--json=x a b' '--dry-run=1 a b' '-n -Z a b'; do
        # shellcheck disable=SC2086
        exits 1 $args
        [ -n "$errors" ] || { echo "silent: $args"; return 1; }
    done
    [ ! -e a/.sos-sync ]
}

@test "usage: commands that are not built are refused by name" {
    local word
    for word in bundle; do
        exits 1 "$word"
        grep -q "$word" <<<"$errors"
        grep -q 'not built' <<<"$errors"
    done
    [ ! -e a/.sos-sync ]
}

@test "usage: rsync's letters mean what they mean there" {
    put a x 1
    exits 0 -n a b
    [ ! -e b/x ]
    exits 0 -vc a b
    grep -q '^copy.*x$' <<<"$output"
}

@test "usage: -- ends the options, and a member may begin with a dash" {
    mkdir -- -n
    put a x 1
    exits 0 -q -- ./-n a
    [ "$(cat ./-n/x)" = 1 ]
}

@test "exit status: 6 comes before 5, 1 before both; other groups go on" {
    command -v flock >/dev/null || skip "no flock"
    mkdir d e f
    put a x 1
    exits 0 a b
    exits 0 c d
    rm -r b
    put c z 1
    put e y 1
    printf '[gone]\n-: %s\n-: %s\n[locked]\n-: %s\n-: %s\n[fine]\n-: %s\n-: %s\n' "$PWD"/{a,b,c,d,e,f} >conf
    AS=(flock -x c)
    exits 6 --config conf --json
    [ "$(jq -c 'select(.event == "summary") | [.group, .status]' <<<"$output" | xargs)" = "[gone,6] [locked,5] [fine,0]" ]
    [ -e f/y ] && [ ! -e d/z ]
    exits 5 --config conf --group locked --group fine
    printf '[alone]\n-: %s\n' "$PWD/a" >>conf
    put e yy 1
    exits 1 --config conf
    [ ! -e f/yy ]
}
