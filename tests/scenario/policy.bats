load lib

setup() {
    setup_world
    W=$PWD
    mkdir s1 s2 s3
    put s1 one 1
    put s1 d/two.tmp 2
    printf -- '[2]\nn1: %s/s1\nn2: %s/s2\n-: %s/s3\n' "$W" "$W" "$W" >conf
}
teardown() { teardown_world; }

policy() { printf -- "${1//'{}'/$W}" >policy; }

# ---- files ----

@test "policy: the user's file is read without being named, a named one in its place" {
    printf '[group 2]\nexclude: *.tmp\n' >"$HOME/.sos.policy"
    exits 0 --config conf
    [ -e s2/one ] && [ ! -e s2/d/two.tmp ]
    : >policy
    exits 0 --config conf --policy policy
    same s1 s2 s3
}

@test "policy: a named file must be there, the usual ones need not" {
    refused 'nowhere: No such file' --config conf --policy nowhere
    refused 'not a regular file' --config conf --policy s1
    exits 0 --config conf
}

@test "policy: a mistake in any file stops every group before it starts" {
    printf '[group 2]\nreplica: 3\n' >"$HOME/.sos.policy"
    refused "$HOME/.sos.policy:2: unknown key \"replica\"" --config conf
    refused "$HOME/.sos.policy:2: " --config conf --dry-run --group 2
    refused "$HOME/.sos.policy:2: " s1 s2
    policy '[group 3]\nexclude: x\n'
    refused 'policy:1: sos.conf has no group 3; there are 2' --config conf --policy policy
    policy '[default]\nexclude: x\n\nblocked: n3 # typo\n'
    refused 'policy:4: blocked: n3 ' --config conf --policy policy
    policy '[node {}/s4]\nname: n4\n'
    refused 'policy:1: .*s4' --config conf --policy policy
}

@test "policy: settings that say what holds anyway change nothing" {
    policy '[default]\nconflict: newest\ndeletions: restore\nhash: xxh3\nmounts: stop\n'
    exits 0 --config conf --policy policy
    same s1 s2 s3
}

# ---- what has an effect ----

@test "policy: a node's name is what reports show" {
    policy '[node {}/s3]\nname: third\n[node {}/s2]\nname: second\n'
    exits 0 --config conf --policy policy --json
    [ "$(acts <<<"$output" | grep -c ' third$')" -gt 0 ]
    [ "$(acts <<<"$output" | grep -c ' n2$')" -gt 0 ]
    ! acts <<<"$output" | grep -q second
}

@test "policy: a node's store is where its objects are" {
    mkdir real
    policy '[node {}/s3]\nstore: {}/real\n'
    exits 0 --config conf --policy policy
    same s1 s2 real
    [ ! -e s3/one ]
    policy '[node {}/s3]\nstore: {}/s1\n'
    refused 'the same store' --config conf --policy policy
}

@test "policy: excluded objects stay where they are, and the command line decides before" {
    policy '[default]\nexclude: one\n[group 2]\nexclude: *.tmp\n'
    exits 0 --config conf --policy policy --include two.tmp
    [ -e s2/one ] && [ -e s2/d/two.tmp ]
    put s2 three.tmp 3
    exits 0 --config conf --policy policy
    [ ! -e s1/three.tmp ] && [ -e s2/three.tmp ]
}

@test "policy: members on the command line are the group default" {
    printf '[default]\nexclude: *.tmp\n[group 9]\nexclude: one\n[group default]\nexclude: d\n' >"$HOME/.sos.policy"
    exits 0 s1 s2
    [ -e s2/one ] && [ ! -e s2/d ]
    policy '[node s3]\nname: third\n'
    exits 0 --policy policy --json s1 s3
    [ "$(acts <<<"$output" | grep -c ' third$')" -gt 0 ]
    policy '[group default]\nconflict: n3\n'
    refused 'policy:2: conflict: n3' --policy policy s1 s2
}

# ---- the commands ----

policy_of() { exits 0 policy --config conf --policy policy "$@"; }
asks() { jq -r --arg key "$1" '.[$key] | if type == "array" then join(" ") else tostring end' <<<"$output"; }

@test "policy: get shows what is in force, and where from" {
    policy '# ours\n[default]\ncopies: 3\nblocked: n2\n[group 2]\nblocked: {}/s3, n1\n'
    policy_of get
    grep -q '^replicas: 2 .*policy:3$' <<<"$output"
    grep -q '^blocked: n2 .*policy:4$' <<<"$output"
    grep -q '^replication: allowed .*default$' <<<"$output"
    policy_of get --group 2 --json
    [ "$(asks replicas)" = 2 ] && [ "$(asks blocked)" = "$W/s3 n1" ] && [ "$(asks group)" = 2 ]
    : >policy
    policy_of get --json
    [ "$(asks replicas)" = null ] && [ "$(asks replication)" = allowed ] && [ "$(asks preferred)" = "" ]
}

@test "policy: each command does what the client's does" {
    : >policy
    policy_of setreplicas 2 --json
    [ "$(asks replicas)" = 2 ] && [ "$(asks replication)" = allowed ]
    policy_of addpreferred n1 --json
    policy_of addpreferred n2 --json
    [ "$(asks preferred)" = "n1 n2" ]
    policy_of addpreferred n1 --json
    [ "$(asks preferred)" = "n1 n2" ] && grep -q already <<<"$output" && [ "$(asks changed)" = null ]
    policy_of addblocked n1 --json
    [ "$(asks preferred)" = n2 ] && [ "$(asks blocked)" = n1 ] && grep -q 'preferred before' <<<"$output"
    policy_of addpreferred n1 --json
    [ "$(asks preferred)" = "n2 n1" ] && [ "$(asks blocked)" = "" ]
    policy_of addblocked "$W/s3" --json
    policy_of remove n2 --json
    policy_of remove "$W/s3" --json
    [ "$(asks preferred)" = n1 ] && [ "$(asks blocked)" = "" ]
    policy_of disallowreplication --json
    [ "$(asks replication)" = disallowed ] && [ "$(asks replicas)" = 0 ] && [ "$(asks preferred)" = n1 ]
    policy_of setreplicas 1 --json
    [ "$(asks replication)" = disallowed ] && [ "$(asks replicas)" = 1 ] && grep -q 'still disallowed' <<<"$output"
    policy_of allowreplication --json
    [ "$(asks replication)" = allowed ] && [ "$(asks replicas)" = 1 ]
    policy_of setreplicas 0 --json
    [ "$(asks replication)" = disallowed ] && [ "$(asks replicas)" = 0 ]
    policy_of allowreplication --json
    [ "$(asks replication)" = allowed ] && [ "$(asks replicas)" = 3 ] && grep -q 'is 3 now' <<<"$output"
    policy_of clearreplication --json
    [ "$(asks replication)" = disallowed ] && [ "$(asks replicas)" = 0 ] && [ "$(asks preferred)" = "" ] && [ "$(asks blocked)" = "" ]
    policy_of clearreplication --json
    [ "$(asks changed)" = null ]
}

@test "policy: a command that cannot be carried out changes nothing" {
    policy '[group 2]\npreferred: n1\n'
    cp policy before
    local args
    for args in 'remove n2' 'addblocked n9' 'addpreferred' 'setreplicas -- -1' 'setreplicas 64' 'setreplicas 2x' 'get x' 'frob' '' \
        'setreplicas 2 --group 3' 'setreplication [' 'import nowhere.xml' 'setreplicas 2 --xml'; do
        # shellcheck disable=SC2086
        exits 1 policy --config conf --policy policy $args
        [ -n "$errors" ] || { echo "silent: $args"; return 1; }
        cmp policy before
    done
    printf '[group 2]\nreplica: 1\n' >policy
    cp policy before
    exits 1 policy --config conf --policy policy setreplicas 2
    grep -q 'policy:2: unknown key' <<<"$errors"
    cmp policy before
}

@test "policy: comments, order, mode and links stay" {
    printf '# ours\n[default] # all\n  replicas: 2   # two\n\n# the rest\n[group 2: d]\nblocked: n1, n2 ; away\n' >real
    chmod 604 real
    ln -s real policy
    policy_of setreplicas 1
    policy_of --object d remove n1
    policy_of --group 2 addpreferred n2
    [ -L policy ] && [ "$(stat -c %a real)" = 604 ]
    diff - real <<'END'
# ours
[default] # all
  replicas: 1   # two

[group 2]
preferred: n2

# the rest
[group 2: d]
blocked: n2 ; away
END
}

@test "policy: a narrower list begins as the one in force" {
    policy '[default]\npreferred: n1\n'
    policy_of --group 2 addpreferred n2 --json
    [ "$(asks preferred)" = "n1 n2" ]
    policy_of --object 'photos/**' remove n1 --json
    [ "$(asks preferred)" = n2 ] && [ "$(asks object)" = 'photos/**' ]
    policy_of get --json
    [ "$(asks preferred)" = n1 ]
}

@test "policy: a change that a later section would override is made behind it" {
    policy '[group 2]\nreplicas: 1\n[default]\nreplicas: 2\n'
    policy_of --group 2 setreplicas 0 --json
    [ "$(asks replicas)" = 0 ]
    policy_of --group 2 get --json
    [ "$(asks replicas)" = 0 ]
}

@test "policy: setreplication gives existing objects what is in force" {
    policy '[group 2]\nreplicas: 2\n[group 2]\nsince: 2020-01-01\nreplicas: 1\nblocked: n2\n'
    policy_of setreplication 'd/**' --json
    tail -n 5 policy | diff - <(printf '[group 2: d/**]\nreplication: allowed\nreplicas: 1\npreferred:\nblocked: n2\n')
    policy_of setreplication 'd/**' --json
    [ "$(asks changed)" = null ]
    policy_of setreplicas 2 --group 2
    policy_of setreplication 'd/**' --json
    [ "$(grep -c 'd/\*\*' policy)" = 1 ]
    tail -n 5 policy | grep -qx 'replicas: 2'
}

@test "policy: policies go to DataONE and come back" {
    policy '[group 2]\nreplicas: 2\npreferred: n1\nblocked: n2\n'
    policy_of --group 2 get --xml
    printf '%s\n' "$output" >one.xml
    grep -q '<replicationPolicy replicationAllowed="true" numberReplicas="2">' one.xml
    policy_of --group 2 clearreplication
    policy_of --group 2 import one.xml --json
    [ "$(asks replicas)" = 2 ] && [ "$(asks preferred)" = n1 ] && [ "$(asks blocked)" = n2 ]
    sed 's/numberReplicas="2"//; s/n1/n2/' one.xml >both.xml
    policy_of --group 2 import both.xml --json
    [ "$(asks replicas)" = 3 ] && [ "$(asks preferred)" = "" ] && [ "$(asks blocked)" = n2 ] && grep -q 'blocked it is' <<<"$output"
    cp policy before
    printf '<!DOCTYPE a [<!ENTITY x "n1">]><replicationPolicy><preferredMemberNode>&x;</preferredMemberNode></replicationPolicy>' >bad.xml
    exits 1 policy --config conf --policy policy import bad.xml
    grep -q 'bad.xml: line 1: a document type' <<<"$errors"
    sed 's/n2/n9/' one.xml >bad.xml
    exits 1 policy --config conf --policy policy import bad.xml
    cmp policy before
}

@test "policy: without --policy the user's own file is changed" {
    [ ! -e /etc/sos.policy ] || skip "this machine has a policy"
    exits 0 policy --config conf setreplicas 2
    [ "$(cat "$HOME/.sos.policy")" = $'[default]\nreplicas: 2' ]
}
