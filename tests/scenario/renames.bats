load lib
load ssh
load policies

# A renamed object is the same object: it keeps its origin, and when it was first seen.

setup() { setup_world; }
teardown() { teardown_world; }

deletions=propagate
policy() { asks "deletions: $deletions" 'max-delete: 100%' "$@"; }

# Below the group's stores: who has an object of this content.
has() { grep -rlxF --exclude-dir=.sos-sync "$1" a b c 2>/dev/null | sort | xargs; }

# One line for each world: what is done, where, and who has what came of it when nothing but originals may stay.
# The object "one" of origin a is on a and b.
worlds() {
    cat <<'END'
b  mv d/one d/two                        a/d/two
a  mv d/one d/two                        a/d/two
b  mv d/one e-two                        a/e-two
b  mv d e                                a/e/one
b  cp d/one d/two; rm d/one              a/d/two
b  mv d/one 0; mv 0 z                    a/z
b  ln d/one d/two                        a/d/one b/d/two
b  cp d/one d/two                        a/d/one b/d/two
b  mv d/one d/two; echo one >d/one       a/d/one b/d/two
b  cp d/one x; mv d/one y                a/y b/x
END
}

@test "renames: an object keeps its origin, whoever drives" {
    local at script want order n=0
    while read -r at script; do
        want=$(sed 's/.*   *//' <<<"$script")
        script=${script%%  *}
        for order in "a b c" "c b a"; do
            n=$((n + 1))
            mkdir "w$n"
            cd "w$n"
            group $order
            policy 'replicas: 1' 'preferred: b'
            mkdir a/d
            echo one >a/d/one
            go 0
            [ "$(has one)" = "a/d/one b/d/one" ]
            (cd "$at" && eval "$script")
            go 0 -n
            go 0
            policy 'replication: disallowed'
            go 0
            [ "$(has one | tr ' ' '\n' | sort | xargs)" = "$(tr ' ' '\n' <<<"$want" | sort | xargs)" ] || {
                echo "$at: $script: $(has one), not $want"
                return 1
            }
            go 0
            [ -z "$(acts <<<"$output")" ]
            cd ..
        done
    done < <(worlds)
}

@test "renames: what may be lost is restored under its old name, and the new one has the old origin too" {
    deletions=restore
    group a b c
    policy 'replicas: 1' 'preferred: b'
    mkdir a/d
    echo one >a/d/one
    go 0
    mv b/d/one b/d/two
    go 0
    [ "$(has one)" = "a/d/one a/d/two b/d/one b/d/two" ]
    policy 'replication: disallowed'
    go 0
    [ "$(has one)" = "a/d/one a/d/two" ]
}

@test "renames: empty files are told apart by their inodes alone" {
    group a b c
    policy 'replicas: 1' 'preferred: b'
    : >a/one
    : >a/two
    go 0
    : >b/new # before the other one goes, so that it does not get its inode
    rm b/one
    mv b/two b/named
    go 0
    policy 'replication: disallowed'
    go 0
    [ "$(ls a b c | xargs)" = "a: named b: new c:" ]
}
