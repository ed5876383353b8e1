# Helpers for the scenarios of one group and its policy: the file "conf" has the group "g", the file "policy" what is asked of
# it. `load lib`, `load ssh`, `load policies`.
# shellcheck shell=bash

# group NAME...: the group is these directories below this one, by their names, which are in $names.
group() {
    local m
    names=("$@")
    mkdir -p "$@"
    echo '[g]' >conf
    for m in "$@"; do echo "$m: $PWD/$m" >>conf; done
}

# members NAME...: the same, and they are stores already, with an identity, so that everybody draws the same from now on.
members() {
    group "$@"
    exits 0 --config conf
}

# behind HOST NAME...: these members are on that machine from now on.
behind() {
    local host=$1 m
    shift
    for m in "$@"; do sed -i "s|^$m: .*|$m: ssh://$host$PWD/$m|" conf; done
}

# far NAME...: they are on a machine that is this one.
far() {
    rsh_here
    behind far "$@"
}

# asks LINE...: the policy of the group.
asks() { printf '%s\n' '[group g]' "$@" >policy; }

# go STATUS [ARGS...]: one run, as JSON, with one of these statuses.
go() { ends "$1" --config conf --policy policy --json "${@:2}"; }

# run STATUS [ARGS...]: the same; its actions are in $did.
run() {
    go "$@"
    did=$(acts <<<"$output" | sort)
}

# A dry run says what the run does, and how it ends, and changes nothing.
run_as_dry() {
    local before planned
    before=$(snapshot "${names[@]}")
    run "$1" --dry-run "${@:2}"
    planned=$did
    [ "$(snapshot "${names[@]}")" = "$before" ] || { echo "the dry run changed something"; return 1; }
    run "$@"
    diff <(echo "$planned") <(echo "$did")
}

# calm [STATUS]: a run has nothing to do.
calm() {
    run "${1:-0}"
    [ -z "$did" ] && [ "$(summary literal_bytes <<<"$output")" = 0 ] || { echo "not idle: $did"; return 1; }
}

# follow [STATUS]: a run does what a dry run says, and a second one has nothing to do. What was done is in $done, and what the
# run said in $told.
follow() {
    run_as_dry "${1:-0}"
    done=$did
    told=$output
    calm "$@"
    tidy "${names[@]}"
}

# The members that have it: has PATH.
has() {
    local m
    for m in "${names[@]}"; do
        { [ ! -e "$m/$1" ] && [ ! -L "$m/$1" ]; } || printf '%s' "$m"
    done
}

# until_true COMMAND...: again and again, for twenty seconds at most.
until_true() {
    local end=$((SECONDS + 20))
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        pause
    done
}
