load lib
load ssh

# Content that rots on its disk: found, not spread, kept aside, and healed from a good copy.

setup() {
    setup_world
    rotting_world
    mkdir a b c
    put a dir/one "the first object" 2020-01-01
    put a two "the second object" 2020-01-02
    ln -s two a/link
}
teardown() { teardown_world; }

# What the trash of STORE says of PATH: its reason, and the content that it keeps.
quarantined() {
    grep -qP "\tdamaged\t$2\$" "$1"/.sos-sync/trash/*.txt || return 1
    cat "$1"/.sos-sync/trash/*/"$2"
}

# damaged PATH: the members that --json output on standard input calls damaged at this path.
damaged() { jq -r --arg path "$1" 'select(.event == "error" and .path == $path and (.message | test("damaged"))) | .member // "-"'; }

@test "scrub: what is damaged is told, healed, and kept aside" {
    settled a b
    rot b/two
    idle a b # size and times are as they were
    exits 0 scrub --json a b
    [ "$(damaged two <<<"$output")" = b ]
    [ "$(acts <<<"$output")" = "heal two b" ]
    [ "$(summary damaged <<<"$output") $(summary healed <<<"$output")" = "1 1" ]
    same a b
    [ "$(quarantined b two)" = "rottencond object" ]
    exits 0 scrub a b
    [[ $output == *"no damage"* ]]
    tidy a b
}

@test "scrub: a link, and a far member" {
    rsh_here
    settled a "far:$PWD/b" c
    rot b/dir/one
    rot c/two
    exits 0 scrub --json a "far:$PWD/b" c
    [ "$(acts <<<"$output" | sed "s|far:.*|far|" | sort)" = "heal dir/one far
heal two c" ]
    same a b c
    [ "$(quarantined b dir/one)" = "rottenrst object" ]
}

@test "scrub: --no-heal tells, records, and leaves it; a run then heals it" {
    settled a b
    rot b/two
    before=$(contents a b)
    exits 3 scrub --no-heal --json a b
    [ "$(damaged two <<<"$output")" = b ]
    [ -z "$(acts <<<"$output")" ]
    [ "$(contents a b)" = "$before" ]
    [ ! -e b/.sos-sync/trash ]
    exits 0 --json a b
    [ "$(acts <<<"$output")" = "heal two b" ]
    same a b
}

@test "scrub: a dry run says what it would heal, and writes nothing" {
    settled a b
    rot b/two
    before=$(snapshot a b)
    exits 0 scrub -n --json a b
    [ "$(acts <<<"$output")" = "heal two b" ]
    [ "$(snapshot a b)" = "$before" ]
}

@test "scrub: it heals, and brings nothing else into step" {
    settled a b
    rot b/two
    put a new "a new object"
    put b dir/one "an edit of the first"
    exits 0 scrub --json a b
    [ "$(acts <<<"$output")" = "heal two b" ]
    [ ! -e b/new ]
    [ "$(cat a/dir/one)" = "the first object" ]
    exits 0 a b
    same a b
    [ "$(cat a/dir/one)" = "an edit of the first" ]
}

@test "scrub: all parts together come to every object, each once" {
    local i found=0
    for i in {1..20}; do put a "many/$i" "content of number $i" 2020-01-01; done
    settled a b
    for i in {1..20}; do rot "b/many/$i" "CONTENT"; done
    for i in 1 2 3 4 5; do
        exits 0 scrub --json --part "$i/5" a b
        found=$((found + $(acts <<<"$output" | grep -c '^heal many/')))
    done
    [ "$found" = 20 ]
    same a b
    for bad in 0/5 6/5 1 1/ /5 x/5 1/5x 1/9999999; do exits 1 scrub --part "$bad" a b; done
    exits 1 --part 1/5 a b
}

@test "scrub: two damaged copies and a good third" {
    settled a b c
    rot a/two # the original is damaged, and stays it
    rot b/two decayed
    origin=$("$SOS_SYNC" manifest --json a | jq -r 'select(.path == "two").origin')
    exits 0 scrub --json a b c
    [ "$(acts <<<"$output")" = "heal two a
heal two b" ]
    same a b c
    [ "$(cat a/two)" = "the second object" ]
    [ "$("$SOS_SYNC" manifest --json a | jq -r 'select(.path == "two").origin')" = "$origin" ]
    [ "$(quarantined b two)" = "decayedond object" ]
}

@test "scrub: all copies damaged: left as they are, not offered, and said" {
    settled a b
    rot a/two
    rot b/two
    exits 3 scrub --json a b
    [ "$(damaged two <<<"$output" | sort | tr '\n' ' ')" = "- a b " ]
    [ -z "$(acts <<<"$output")" ]
    [ "$(cat a/two b/two)" = "rottencond objectrottencond object" ]
    exits 3 --json a b c # and nobody new gets it
    [ ! -e c/two ]
    [ "$(cat c/dir/one)" = "the first object" ]
    # A good copy comes back: all are healed.
    printf 'the second object' >a/two
    touch -d 2020-01-02 a/two
    exits 0 a b c
    same a b c
    [ "$(cat b/two)" = "the second object" ]
}

@test "scrub: a damaged file that is edited then is a local edit" {
    settled a b
    rot b/two
    exits 3 scrub --no-heal a b
    put b two "what the user made of it"
    exits 0 --json a b
    [ "$(acts <<<"$output")" = "update two a" ]
    same a b
    [ "$(cat a/two)" = "what the user made of it" ]
}

# Sources take turns, and the first object in order comes from the first member.
@test "damage: a source that rots is found out by the copy, not spread, and healed in the same run" {
    settled a b
    for way in "" --through; do
        rot a/dir/one
        rm -rf c
        mkdir c
        exits 0 --adopt c --json ${way:+"$way"} a b c
        [ "$(acts <<<"$output" | grep one | sort)" = "copy dir/one c
heal dir/one a" ]
        [ "$(summary failed <<<"$output")" = 0 ]
        same a b c
        [ "$(quarantined a dir/one)" = "rottenrst object" ]
        rm -rf a/.sos-sync/trash
        tidy a b c
        sleep 2.1
        exits 0 a b c
    done
}

@test "damage: a far source that rots, in a bundle" {
    rsh_here
    settled "far:$PWD/a" b
    rot a/dir/one
    exits 0 --json "far:$PWD/a" b c
    same a b c
    [ "$(quarantined a dir/one)" = "rottenrst object" ]
}

@test "damage: a source that rots where nobody has a good copy blocks only its object, and is said" {
    settled a b
    rm b/two
    rot a/two
    put a three "another one"
    exits 3 --json a b
    [ "$(damaged two <<<"$output" | sort -u | tr '\n' ' ')" = "- a " ]
    [ ! -e b/two ]
    [ "$(cat b/three)" = "another one" ]
    [ "$(cat a/two)" = "rottencond object" ]
}

# ---- status ----

@test "status: what the stores have recorded, read only, of far members too" {
    rsh_here
    settled a "far:$PWD/b"
    before=$(snapshot a b)
    exits 4 status --json a "far:$PWD/b" c
    [ "$(jq -r 'select(.event == "member").state' <<<"$output" | tr '\n' ' ')" = "ok ok new " ]
    [ "$(jq -r 'select(.state == "ok") | "\(.objects) \(.bytes) \(.damaged)"' <<<"$output" | sort -u)" = "3 33 0" ]
    now=$(date +%s)
    for time in $(jq 'select(.state == "ok") | .verified, .last_run' <<<"$output"); do
        [ "$time" -le "$now" ] && [ "$time" -gt $((now - 100)) ]
    done
    [ "$(snapshot a b)" = "$before" ]
    exits 0 status a "far:$PWD/b"
    [[ $output == *"3 objects, 33 B, "*" free, copies 3/3, all verified since 20"* ]]
}

@test "status: damage, a store in use, and one that is gone" {
    settled a b
    rot b/two
    exits 3 scrub --no-heal a b
    exits 3 status --json a b
    [ "$(jq -r .damaged <<<"$output" | tr '\n' ' ')" = "0 1 1 " ]
    exec 9<a
    flock 9
    exits 5 status --json a b
    [ "$(jq -r 'select(.event == "member").state' <<<"$output" | tr '\n' ' ')" = "in use ok " ]
    exec 9>&-
    mv a gone
    ends "3 6" status --json a b
    [ "$(jq -r 'select(.event == "member").state' <<<"$output" | tr '\n' ' ')" = "unreachable ok " ]
}
