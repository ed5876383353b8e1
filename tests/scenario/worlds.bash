# Random worlds for dryrun.bats: stores that change at random, from a seed, the same on every machine.
# shellcheck shell=bash

WORLD_PATHS=(f g h d d/f d/g d/e d/e/f d/e/g x x/f x/y x/y/z $'n\nl' -n $'\377' 'b c')

# A number below $1, in $drawn. Not bash's own RANDOM, which is not the same in all versions.
draw() {
    rng=$(((rng * 1103515245 + 12345) & 0x7fffffff))
    drawn=$(((rng >> 8) % $1))
}

# A path of the pool, or below one, in $path.
draw_path() {
    draw ${#WORLD_PATHS[@]}
    path=${WORLD_PATHS[drawn]}
}

# Writes at path below the store, whatever has to give way. Content is never twice the same, but for one in four.
world_write() {
    local at=$1/$path up=$1/$path
    while up=${up%/*} && [ "$up" != "$1" ]; do
        [ ! -L "$up" ] && { [ ! -e "$up" ] || [ -d "$up" ]; } || rm -rf "$up"
    done
    mkdir -p "${at%/*}"
    if [ -L "$at" ] || { [ -e "$at" ] && [ ! -f "$at" ]; }; then rm -rf "$at"; fi
    draw 4
    if [ "$drawn" = 0 ]; then
        draw 5
        printf 'common %s' "$drawn" >"$at"
    else
        written=$((written + 1))
        printf 'seed %s, number %s' "$seed" "$written" >"$at"
    fi
    draw 3
    [ "$drawn" != 0 ] || { draw 4 && touch -d "@$((1700000000 + drawn)).$((drawn * 111111111))" "$at"; }
}

# One change at random to a store.
world_change() {
    local store=$1 mode path other
    draw_path
    draw 14
    case $drawn in
    0 | 1 | 2 | 3 | 4) world_write "$store" ;;
    5 | 6) rm -rf "${store:?}/$path" ;;
    7)
        [ ! -e "$store/$path" ] || [ -L "$store/$path" ] || {
            draw 4
            mode=(600 644 755 700)
            chmod "${mode[drawn]}" "$store/$path"
            [ ! -d "$store/$path" ] || chmod u+rwx "$store/$path"
        }
        ;;
    8) [ ! -e "$store/$path" ] || touch -h "$store/$path" ;;
    9) # a rename
        other=$path
        draw_path
        if [ -e "$store/$other" ] && [ -d "$(dirname "$store/$path")" ] && [[ $path/ != "$other"/* && $other/ != "$path"/* ]]; then
            rm -rf "${store:?}/$path"
            mv "$store/$other" "$store/$path"
        fi
        ;;
    10) # a symlink in its place
        world_write "$store"
        rm "$store/$path"
        draw 3
        ln -s "target $drawn" "$store/$path"
        ;;
    11) # a directory in its place
        world_write "$store"
        rm "$store/$path"
        mkdir "$store/$path"
        ;;
    12) [ ! -f "$store/$path" ] || printf 'more' >>"$store/$path" ;;
    13) # a copy under another name
        other=$path
        draw_path
        [ ! -f "$store/$other" ] || [ -L "$store/$other" ] || [ "$path" = "$other" ] || [[ $path == "$other"/* || $other == "$path"/* ]] || {
            world_write "$store"
            cp -p "$store/$other" "$store/$path" 2>/dev/null || true
        }
        ;;
    esac
}

# One line for each object, as holds does, but cheap: kind, mode, size, mtime, target and a checksum; sorted. "K M S T L C<TAB>PATH"
world_list() {
    (
        cd "$1" || exit 1
        find . -mindepth 1 -path ./.sos-sync -prune -o \
            \( -type d -printf 'd %m\t%P\0' -o -type l -printf 'l %T@ %l\t%P\0' -o -type f -printf 'f %m %s %T@\t%P\0' \) |
            LC_ALL=C sort -z
        find . -path ./.sos-sync -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0r md5sum -z
    ) | tr '\n\0' '?\n'
}

# Every distinct file content of these stores, trash and all.
world_contents() {
    find "$@" -type f -not -path '*/.sos-sync/[!t]*' -exec md5sum {} + | cut -c 1-32 | sed 's/^\\//' | sort -u
}

# fails_with TEXT...: says in which world.
fails_with() {
    printf 'world %s (again: WORLD=%s bats dryrun.bats), round %s: %s\n' "$seed" "$seed" "$round" "$*"
    return 1
}

# What only one member did since all were the same, all must hold afterwards: lists base, m0 m1... and after, in $lists.
one_edit_wins() {
    awk -F '\t' -v n="$members" '
        function up(p) { sub(/\/?[^\/]*$/, "", p); return p }
        FNR == 1 { file++ }
        NF < 2 { # a checksum belongs to the path behind it
            sum = substr($0, 1, 32); path = $0; sub(/^\\?[0-9a-f]+  \.\//, "", path)
            line[file, path] = line[file, path] " " sum; next
        }
        { line[file, $2] = $1; paths[$2] }
        END {
            for (p in paths) {
                changed = 0; by = 0; gone = 0
                for (m = 2; m <= n + 1; m++)
                    if (line[m, p] != line[1, p]) { changed++; by = m; gone += line[m, p] == "" }
                calm = 1
                for (q = up(p); q != ""; q = up(q))
                    for (m = 1; m <= n + 1; m++)
                        calm = calm && substr(line[m, q], 1, 1) == "d"
                # Something below it that is a directory now or was one: what happens there is another matter.
                for (m = 1; m <= n + 1; m++)
                    calm = calm && (substr(line[m, p], 1, 1) != "d")
                if (!calm)
                    continue
                want = changed == 0 ? line[1, p] : changed == 1 && !gone ? line[by, p] : gone == changed ? line[1, p] : "?"
                if (want != "?" && line[n + 2, p] != want) {
                    printf "%s: \"%s\" was to be\n  %s and is\n  %s\n", changed ? "one edit" : "no edit", p, want, line[n + 2, p]
                    bad = 1
                }
            }
            exit bad
        }' "$@"
}

actions() { jq -c 'select(.event == "action" or .event == "error")' <<<"$1"; }
figures() { jq -c 'select(.event == "summary") | del(.seconds, .wire_bytes, .dry_run)' <<<"$1"; }

# Dry run and run over these members: the same actions in the same order, figures and status; then a world in step, at peace.
dry_then_run() {
    local planned dry=0 got=0
    planned=$(sync --dry-run --json "$@" 2>"$BATS_TEST_TMPDIR/stderr") || dry=$?
    output=$(sync --json "$@" 2>>"$BATS_TEST_TMPDIR/stderr") || got=$?
    [ $dry = 0 ] && [ $got = 0 ] || {
        fails_with "exit status $dry of the dry run and $got of the run over $*"
        cat "$BATS_TEST_TMPDIR/stderr"
        return 1
    }
    diff <(actions "$planned") <(actions "$output") || fails_with "the run over $* did not do what the dry run (<) said" || return 1
    diff <(figures "$planned") <(figures "$output") || fails_with "the figures of dry run (<) and run differ" || return 1
    planned=$(sync --dry-run --json "$@") || fails_with "exit status $? of the second dry run" || return 1
    [ -z "$(actions "$planned")" ] || fails_with "a second dry run over $* has actions: $(actions "$planned")" || return 1
    tidy "$@" || fails_with "not tidy" || return 1
}

# all_same LIST STORE...: all hold what the first does, which is put into the file LIST.
all_same() {
    local list=$1 store
    shift
    world_list "$1" >"$list"
    for store in "${@:2}"; do
        world_list "$store" | diff "$list" - || fails_with "$1 (<) and $store differ" || return 1
    done
}

lost() { world_contents "$@" | comm -13 - before.contents; }

# All members meet in each round.
whole_rounds() {
    local m lists
    for round in 1 2 3; do
        lists=()
        for m in "${stores[@]}"; do
            draw 5
            for ((i = drawn + (round == 1 ? 4 : 0); i > 0; i--)); do world_change "$m"; done
            world_list "$m" >"$m.list"
            lists+=("$m.list")
        done
        world_contents "${stores[@]}" >before.contents
        dry_then_run "${stores[@]}" || return 1
        all_same after.list "${stores[@]}" || return 1
        [ "$round" = 1 ] || one_edit_wins base.list "${lists[@]}" after.list || fails_with "see above" || return 1
        [ -z "$(lost "${stores[@]}")" ] || fails_with "content was lost: $(lost "${stores[@]}")" || return 1
        mv after.list base.list
    done
}

# Only some meet, in any order; in the end all do.
partial_rounds() {
    local m some
    for round in 1 2 3 4 5; do
        some=()
        for m in "${stores[@]}"; do
            draw 3
            for ((i = drawn + (round == 1 ? 4 : 0); i > 0; i--)); do world_change "$m"; done
            draw 2
            if [ "$drawn" = 0 ]; then some=("$m" "${some[@]}"); else some+=("$m"); fi
        done
        [ "$round" = 5 ] || { draw $((members - 1)) && some=("${some[@]:0:drawn + 2}"); }
        world_contents "${stores[@]}" >before.contents
        dry_then_run "${some[@]}" || return 1
        all_same after.list "${some[@]}" || return 1
        [ -z "$(lost "${stores[@]}")" ] || fails_with "content was lost: $(lost "${stores[@]}")" || return 1
    done
    exits 0 --json "${stores[@]}" || fails_with "the last run" || return 1
    all_same after.list "${stores[@]}"
}

# random_worlds FIRST N BODY: worlds with the seeds FIRST to FIRST + N - 1, each in a directory of its own.
random_worlds() {
    local first=$1 n=${RANDOM_WORLDS:-$2} body=$3 rng i written=0 round members stores drawn seed world
    in_memory
    world=$PWD
    for seed in $(if [ -n "${WORLD:-}" ]; then echo "$WORLD"; else seq "$first" $((first + n - 1)); fi); do
        rng=$((seed * 7919))
        draw 4
        members=$((drawn + 2))
        mkdir "$seed" && cd "$seed" || return 1
        stores=()
        for ((i = 0; i < members; i++)); do
            stores+=("m$i")
            mkdir "m$i"
        done
        "$body" || return 1
        cd "$world" && rm -rf "$seed" || return 1
    done
}
