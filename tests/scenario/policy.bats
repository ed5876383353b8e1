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

# refused WHAT [ARGS...]: status 1, a message with WHAT in it (an extended regular expression), and nothing was changed.
refused() {
    local what=$1
    shift
    snapshot "$W"/s? >before
    exits 1 "$@"
    grep -aEq -- "$what" <<<"$errors" || {
        printf 'no "%s" in:\n%s\n' "$what" "$errors"
        return 1
    }
    snapshot "$W"/s? | diff before -
}

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

@test "policy: what is not built yet is refused by name, never read as nothing" {
    local line
    for line in 'max-delete: 3' 'down-after: 3d' 'trash: off' 'tombstones: 3d' 'conflict: keep-both' 'deletions: propagate' \
        'hash: sha256' 'mounts: cross'; do
        policy "[default]\n$line\n"
        refused "policy:2: ${line%%:*}.* not built yet" --config conf --policy policy
    done
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
