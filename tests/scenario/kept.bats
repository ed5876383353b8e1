load lib

# conflict: keep-both: what lost stands beside the winner on all members, once, whatever it is and whoever runs.

setup() {
    setup_world
    mkdir a b c
    printf '[default]\nconflict: keep-both\n' >policy
}

teardown() { teardown_world; }

run() { exits "$1" "${@:2}" --policy policy; }

# name FILE CONTENT-OF...: the one kept version of a path.
kept() { ls -d a/"$1".conflict-*-"$2"; }

@test "keep-both: an empty file, a symlink and a file that lost, of the only member that has them" {
    for how in "" --through; do
        rm -rf a b c && mkdir a b c
        : >a/empty && touch -d @1000 a/empty
        ln -s target a/link && touch -hd @1000 a/link
        put a file loser 1000
        for f in empty link file; do put b $f "winner $f" 2000; done
        run 0 a b c $how
        same a b c
        [ "$(cat c/file)" = "winner file" ]
        [ "$(cat "$(kept file a)")" = loser ]
        [ -f "$(kept empty a)" ] && [ ! -s "$(kept empty a)" ]
        [ "$(readlink "$(kept link a)")" = target ]
        idle --policy policy a b c
    done
}

@test "keep-both: a directory that wins, with what is below it, comes when the losers are kept" {
    put a x "of a" 1000
    put c x "of c" 2000
    mkdir -p b/x/y
    put b x/y/z below 500
    run 0 a b c
    same a b c
    [ "$(cat a/x/y/z)" = below ]
    [ "$(cat b/x.conflict-*-a)" = "of a" ]
    [ "$(cat b/x.conflict-*-c)" = "of c" ]
    idle --policy policy a b c
}

# Whoever gives it must have it as it is to be kept: the same content with another time passes for something that changed.
@test "keep-both: what lost on two members with one content and different times is kept in one attempt, as it was last" {
    local later=3000 when
    for when in b c; do
        rm -rf a b c && mkdir a b c
        mkdir a/x && put a x/f below 1000
        put b x loser 1000
        run 0 b c
        [ $when = b ] || touch -d @2000 b/x
        touch -d @$later c/x && chmod 600 c/x
        head -c 100000 /dev/urandom >b/big # so that the other one has less to give
        run 0 -v a b c
        [[ $output == *"3 members"*"2 conflicts"* ]] && [[ $output != *failed* ]] && [ -z "$errors" ]
        same a b c
        [ "$(cat a/x.conflict-*-b)" = loser ]
        [ $when = c ] || [ "$(stat -c '%a %Y' a/x.conflict-*-b)" = "600 $later" ]
        idle --policy policy a b c
    done
}

@test "keep-both: a conflict below such a directory is kept too" {
    put a x file 1000
    mkdir b/x c/x
    put b x/f "of b" 1000
    put c x/f "of c" 2000
    run 0 a b c
    same a b c
    [ "$(cat a/x/f)" = "of c" ]
    [ "$(cat a/x/f.conflict-*-b)" = "of b" ]
    [ "$(cat c/x.conflict-*-a)" = file ]
    idle --policy policy a b c
}

@test "keep-both: rm sees to nothing else" {
    printf '[1]\na: %s/a\nb: %s/b\n' "$PWD" "$PWD" >conf
    put a gone gone 1000
    run 0 --config conf
    put a f "of a" 1000
    put b f "of b" 2000
    exits 0 rm gone --config conf --policy policy --group 1
    [ "$(ls a b)" = "$(printf 'a:\nf\n\nb:\nf')" ]
}

@test "keep-both: who made an edit is known though he takes no part" {
    put a f "of a" 1000
    run 0 a b
    put a f "a again" 3000
    run 0 a b
    put c f "of c" 4000
    run 0 b c
    [ -f b/f.conflict-*-a ]
}
