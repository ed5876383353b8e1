load lib
load ssh
load policies

# Who holds what: tables of tiny worlds, one line for each sentence that promises something.
#
# WHAT | BEFORE | POLICY | AFTER | STATUS | MOVES
#
# BEFORE: the members of a to e that have the object dir/one.x, the origin first, and a run has seen to it; with "+" before
# them, no run has seen it yet. Then what happened since: "-b" it was lost there, "*b" it was edited there, "~b" the member
# is away, "^b" it is so for longer than down-after; "%" sos.conf has them the other way around.
# POLICY: lines, with ";" between them, of the section [group g] until another begins; "$ ..." is a command that changes it.
# AFTER: who has it then, away or not; "?" is anybody else, "!b": not b.
# MOVES: "+N-M": so many got it, and so many gave it up.
#
# A dry run says what the run does; a second one has nothing to do, and ends with the same status.

setup() {
    setup_world
    in_memory
    W=$PWD
}
teardown() { teardown_world; }

all=(a b c d e)

world() {
    local m
    mkdir "$1"
    cd "$1" || return 1
    group "${all[@]}"
    printf '[h]\ny: %s/y\nz: %s/z\n' "$PWD" "$PWD" >>conf # whom it is nothing to
    mkdir y z
    for m in a b c d e; do put "$m" common same 2001-01-01; done
    put y theirs 1
}

# policy TEXT: as in the tables.
policy() {
    local line words
    printf '[group g]\n' >policy
    while IFS= read -r -d ';' line; do
        case $line in
        '$ '*)
            read -ra words <<<"${line#??}"
            exits 0 policy --config conf --policy policy --group g "${words[@]}"
            ;;
        *) printf '%s\n' "$line" >>policy ;;
        esac
    done <<<"$(sed -e 's/ *; */;/g' -e "s|@|$PWD|g; s|TODAY|$(date -u +%F)|g; s|TOMORROW|$(date -u -d '2 days' +%F)|g" <<<"$1");"
    printf '[group g: /common]\nreplication: allowed\nreplicas: all\nblocked:\npreferred:\n' >>policy
}

# What BEFORE says.
begin() {
    local who=${1%%[-*~^%]*} since m old=
    since=${1#"$who"}
    if [[ $who == +* ]]; then
        for ((m = 1; m < ${#who}; m++)); do put "${who:m:1}" dir/one.x "the object" 2001-01-01; done
    else
        put "${who:0:1}" dir/one.x "the object" 2001-01-01
        policy "replicas: $((${#who} - 1)); preferred: $(fold -w 1 <<<"${who:1}" | xargs)"
        go 0 --group g
    fi
    while [ -n "$since" ]; do
        m=${since:1:1}
        case $since in
        -*) rm "$m/dir/one.x" ;;
        '*'*) put "$m" dir/one.x "edited by $m" 2002-02-02 ;;
        '~'*) mv "$m" "$m.away" ;;
        ^*)
            mv "$m" "$m.away"
            old=yes
            ;;
        %*) { echo '[g]' && sed -n '/^[a-e]:/p' conf | tac && sed -n '/^\[h/,$p' conf; } >turned && mv turned conf ;;
        esac
        [ "${since:0:1}" = % ] && since=${since:1} || since=${since:2}
    done
    [ -z "$old" ] || sleep 2.1
}

# Does who has it fit AFTER?
fits() {
    local want=$1 i need=0
    has=
    for i in "${all[@]}"; do
        [ ! -e "$i/dir/one.x" ] && [ ! -e "$i.away/dir/one.x" ] || has+=$i
    done
    for ((i = 0; i < ${#want}; i++)); do
        case ${want:i:1} in
        '?') need=$((need + 1)) ;;
        '!')
            i=$((i + 1))
            [[ $has != *${want:i:1}* ]] || return 1
            ;;
        *)
            need=$((need + 1))
            [[ $has == *${want:i:1}* ]] || return 1
            ;;
        esac
    done
    [ ${#has} = $need ]
}

moves() { awk '/^(copy|adopt) dir\/one.x/ { n++ } /^prune dir\/one.x/ { m++ } END { print "+" n + 0 "-" m + 0 }' <<<"$1"; }

wrong() { printf '%s\n    %s\n' "$what | $before | $policy | $after | $status | $moves" "$*"; }

# One line, in a world of its own.
row() {
    local planned acted
    { begin "$before" && policy "$policy"; } || { wrong "cannot begin: $output"; return 1; }
    planned=$(go "$status" --group g -n && acts <<<"$output" | sort) || { wrong "$planned"; return 1; }
    go "$status" --group g >told || { wrong "$(<told)"; return 1; }
    acted=$(acts <<<"$output" | sort)
    [ "$planned" = "$acted" ] || { wrong "a dry run said: $planned, and was done: $acted"; return 1; }
    fits "$after" || { wrong "$has has it"; return 1; }
    [ "$(moves "$acted")" = "$moves" ] || { wrong "$(moves "$acted")"; return 1; }
    go "$status" --group g >told || { wrong "a second run: $(<told)"; return 1; }
    [ -z "$(acts <<<"$output")" ] || { wrong "a second run: $(acts <<<"$output")"; return 1; }
    [ "$(find y z -type f)" = y/theirs ] || { wrong "in another group: $(find y z)"; return 1; }
}

# A table, on standard input.
table() {
    local what before policy after status moves n=0 bad=0
    while IFS='|' read -r what before policy after status moves; do
        [ -n "$what" ] || continue
        read -r what <<<"$what" && read -r before <<<"$before" && read -r after <<<"$after"
        read -r policy <<<"$policy" || true
        read -r status <<<"$status" && read -r moves <<<"$moves"
        n=$((n + 1))
        world "$n"
        row || bad=$((bad + 1))
        cd "$W" && rm -rf "$n"
    done
    [ "$n" -gt 0 ] && [ $bad = 0 ]
}

@test "who holds what: the sections of a policy, and which of them decides" {
    table <<'END'
without any, every member has every object            | a   |                                                  | abcde | 0 | +4-0
a section for everything                               | a   | [default]; replicas: 1                           | a?    | 0 | +1-0
a section for a group                                  | a   | [default]; replicas: 3; [group g]; replicas: 1   | a?    | 0 | +1-0
a section for another group is nothing to this one     | a   | [group h]; replicas: 0                           | abcde | 0 | +4-0
a section for a pattern of objects                     | a   | replicas: 0; [group g: *.x]; replicas: 1         | a?    | 0 | +1-0
a pattern of a directory                               | a   | replicas: 0; [group g: dir/]; replicas: 1        | a?    | 0 | +1-0
a pattern of other objects                             | a   | replicas: 0; [group g: *.y]; replicas: 1         | a     | 0 | +0-0
a section for a node gives it its name                 | a   | replicas: 1; preferred: bee; [node @/b]; name: bee | ab  | 0 | +1-0
members are named by name                              | a   | replicas: 1; preferred: c                        | ac    | 0 | +1-0
members are named by address                           | a   | replicas: 1; preferred: @/c                      | ac    | 0 | +1-0
the last section that sets a key decides               | a   | replicas: 3; [group g]; replicas: 1              | a?    | 0 | +1-0
key by key                                             | a   | replicas: 1; preferred: d; [group g: *.x]; replicas: 2; [group g]; preferred: e d | ade | 0 | +2-0
the last one, not the narrowest                        | a   | [group g: *.x]; replicas: 2; [group g]; replicas: 0 | a  | 0 | +0-0
an empty list ends an earlier one                      | abc | replicas: 2; blocked: b; [group g]; blocked:     | abc   | 0 | +0-0
since binds what first appeared then, whatever its mtime | a | replicas: 1; [group g]; since: TODAY; replicas: 3 | a???  | 0 | +3-0
since binds nothing that was there before              | a   | replicas: 1; [group g]; since: TOMORROW; replicas: 3 | a? | 0 | +1-0
durations in s                                         | a   | replicas: 0; down-after: 90s                     | a     | 0 | +0-0
durations in m, h, d, w and y                          | a   | replicas: 0; down-after: 5m; trash: 6h; tombstones: 3w; [group g]; down-after: 7d; tombstones: 2y | a | 0 | +0-0
END
}

@test "who holds what: numbers" {
    table <<'END'
replicas do not count the original                     | a    | replicas: 2                                     | a??   | 0 | +2-0
copies count all                                       | a    | copies: 3                                       | a??   | 0 | +2-0
the later of replicas and copies decides               | a    | replicas: 3; [group g]; copies: 2               | a?    | 0 | +1-0
one copy is the original                               | abc  | copies: 1                                       | a     | 0 | +0-2
all of them                                            | a    | replicas: all                                   | abcde | 0 | +4-0
where no number is given, all that are not blocked     | a    | blocked: b                                      | acde  | 0 | +3-0
fewer members than replicas: all, and status 4         | a    | replicas: 5                                     | abcde | 4 | +4-0
fewer since some are blocked                           | a    | replicas: 3; blocked: b c                       | ade   | 4 | +2-0
the number is raised                                   | ab   | replicas: 3                                     | ab??  | 0 | +2-0
the number is lowered                                  | abcd | replicas: 1                                     | a?    | 0 | +0-2
to none                                                | abcd | replicas: 0                                     | a     | 0 | +0-3
it is as it was                                        | abc  | replicas: 2                                     | abc   | 0 | +0-0
not allowed: the original alone remains                | abc  | replication: disallowed                         | a     | 0 | +0-2
whatever the number                                    | abc  | replication: disallowed; replicas: 4            | a     | 0 | +0-2
allowed again: the number that was asked for           | a    | replication: disallowed; replicas: 2; [group g]; replication: allowed | a?? | 0 | +2-0
END
}

@test "who holds what: preferred and blocked members" {
    table <<'END'
preferred first, in the order listed                   | a    | replicas: 1; preferred: d b                     | ad    | 0 | +1-0
up to the number                                       | a    | replicas: 2; preferred: d b c                   | abd   | 0 | +2-0
the number is larger than the list: others are selected | a   | replicas: 3; preferred: b; blocked: c           | abde  | 0 | +3-0
the origin among those preferred is no replica         | a    | replicas: 1; preferred: a c                     | ac    | 0 | +1-0
then those that have it                                | ac   | replicas: 2; preferred: e                       | ace   | 0 | +1-0
then others                                            | a    | replicas: 3; preferred: c                       | ac??  | 0 | +3-0
a list changes: what must move, moves                  | ab   | replicas: 1; preferred: c                       | ac    | 0 | +1-1
and no more                                            | abd  | replicas: 2; preferred: c                       | ac?!e | 0 | +1-1
a list is gone: nothing moves                          | ab   | replicas: 1                                     | ab    | 0 | +0-0
sos.conf has another order: nothing moves              | ab%  | replicas: 1                                     | ab    | 0 | +0-0
nor with blocked ones                                  | abc% | replicas: 2; blocked: a                         | abc   | 0 | +0-0
never to a blocked member                              | a    | replicas: 4; blocked: b                         | acde  | 4 | +3-0
blocked after it got one: it gives it up               | ab   | replicas: 1; blocked: b                         | a?!b  | 0 | +1-1
and is not replaced where there are enough             | abc  | replicas: 1; blocked: b                         | ac    | 0 | +0-1
blocked wins over preferred                            | a    | replicas: 1; preferred: b c; blocked: b         | ac    | 0 | +1-0
a member is unblocked                                  | ac   | replicas: 1; preferred: b c                     | ab    | 0 | +1-1
all but one are blocked                                | a    | replicas: 1; blocked: a b c d                   | ae    | 0 | +1-0
END
}

@test "who holds what: what goes first, and what stays" {
    table <<'END'
blocked ones go before others                          | abc   | replicas: 1; blocked: b; preferred: b          | ac    | 0 | +0-1
those not preferred go before those that are           | abcd  | replicas: 2; preferred: d c                    | acd   | 0 | +0-1
preferred ones go from the end of the list             | abcd  | replicas: 1; preferred: c b d                  | ac    | 0 | +0-2
the original stays                                     | ba    | replicas: 0; preferred: a                      | b     | 0 | +0-1
also on a blocked member                               | ab    | replicas: 1; blocked: a                        | ab    | 0 | +0-0
where it does not count                                | ab    | replicas: 2; blocked: a                        | ab?   | 0 | +1-0
also alone                                             | ab    | replicas: 0; blocked: a                        | a     | 0 | +0-1
also where all are blocked                             | abc   | blocked: a b c d e                             | a     | 0 | +0-2
it comes back where it was lost                        | ab-a  | replicas: 1                                    | ab    | 0 | +1-0
and is no reason for one more replica                  | abc-a | replicas: 2                                    | abc   | 0 | +1-0
it does not come back to a blocked member              | ab-a  | replicas: 1; blocked: a                        | b?!a  | 0 | +1-0
a lost replica is made good where it was, or elsewhere | abc-b | replicas: 2                                    | ac?   | 0 | +1-0
the last good copy stays whatever is asked             | ab-a  | replication: disallowed; blocked: a b c d e    | b     | 0 | +0-0
on several when it is first seen: the first in sos.conf is the origin | +bcd | replicas: 0                     | b     | 0 | +0-2
the first that is not blocked                          | +bcd  | replicas: 0; blocked: b                        | c     | 0 | +0-2
and blocked ones have no replica beside it             | +bcd  | replicas: 1; blocked: b                        | cd    | 0 | +0-1
the first, where all are blocked                       | +bcd  | replicas: 1; blocked: b c d                    | b?!c!d | 0 | +1-2
in the order of sos.conf                               | +bcd% | replicas: 0                                    | d     | 0 | +0-2
an edit reaches those that have it                     | abc*b | replicas: 2                                    | abc   | 0 | +0-0
and may come with a lower number                       | abc*c | replicas: 1; preferred: b                      | ab    | 0 | +0-1
an edit of who did not have it makes him no preferred one | ab*e | replicas: 1; preferred: b                    | ab    | 0 | +0-1
END
}

@test "who holds what: room" {
    table <<'END'
a member that has its capacity is passed over          | a   | replicas: 1; preferred: b; [node @/b]; capacity: 8 | a?!b | 0 | +1-0
and keeps what it has                                  | ab  | replicas: 1; preferred: b; [node @/b]; capacity: 1 | ab   | 0 | +0-0
none has room: all that have, and status 4             | a   | replicas: 2; blocked: b c; [node @/d]; capacity: 1 | ae   | 4 | +1-0
END
}

@test "who holds what: members that are away" {
    table <<'END'
it is not replaced at once                             | ab~b     | replicas: 1                                | ab    | 6 | +0-0
nor counted for a removal                              | abc~b    | replicas: 1; preferred: b c                | abc   | 6 | +0-0
what is surplus without it goes                        | abcd~b   | replicas: 1; preferred: b                  | ab?   | 6 | +0-1
the same of an original                                | abc~a    | replicas: 1; preferred: c b                | abc   | 6 | +0-0
a blocked copy waits for who may take its place        | ab~c~d~e | replicas: 1; blocked: b                    | ab    | 6 | +0-0
and not where others are there                         | ab~c     | replicas: 1; blocked: b                    | a?!b!c | 6 | +1-1
what it lacks is made elsewhere                        | a~b      | replicas: 1; preferred: b                  | a?!b  | 6 | +1-0
a conflict of who was away                             | ab~b*a   | replicas: 1; preferred: c                  | abc   | 6 | +1-0
after down-after it is replaced                        | ab^b     | replicas: 1; down-after: 1s; preferred: b  | ab?   | 6 | +1-0
and so is an original                                  | ab^a     | replicas: 1; down-after: 1s                | ab?   | 6 | +1-0
and a blocked copy waits for it no longer              | ab^c^d^e | replicas: 1; down-after: 1s; blocked: b    | a     | 6 | +0-1
END
}

@test "who holds what: the client's commands" {
    table <<'END'
clearreplication: not allowed, no lists                | abc  | preferred: b; blocked: c; replicas: 2; $ clearreplication | a | 0 | +0-2
addpreferred                                           | a    | replicas: 1; preferred: b; $ addpreferred c; $ remove b | ac | 0 | +1-0
addblocked                                             | ab   | replicas: 1; $ addblocked b                     | a?!b  | 0 | +1-1
addblocked takes it from the preferred                 | a    | replicas: 1; preferred: b c; $ addblocked b     | ac    | 0 | +1-0
addpreferred takes it from the blocked                 | a    | replicas: 1; blocked: b; $ addpreferred b       | ab    | 0 | +1-0
remove, from the blocked                               | a    | replicas: 1; preferred: c; blocked: c b d e; $ remove c | ac | 0 | +1-0
disallowreplication: number 0                          | abc  | replicas: 2; $ disallowreplication              | a     | 0 | +0-2
allowreplication: a number of 0 becomes 3              | a    | replicas: 0; $ disallowreplication; $ allowreplication | a??? | 0 | +3-0
setreplicas                                            | abc  | replicas: 2; $ setreplicas 1                    | a?    | 0 | +0-1
setreplicas 0 disallows too                            | abc  | replicas: 2; $ setreplicas 0                    | a     | 0 | +0-2
setreplicas leaves disallowed what is so               | abc  | replication: disallowed; $ setreplicas 2        | a     | 0 | +0-2
setreplication gives existing objects what is in force | a    | replicas: 1; [group g]; since: TOMORROW; replicas: 2; $ setreplication *.x | a? | 0 | +1-0
END
}

# ---- what is no policy ----

@test "who holds what: a typo of any kind stops the run before it starts, with file and line" {
    local bad=0 said line
    world typos
    put a dir/one.x "the object"
    while IFS='|' read -r said line; do
        read -r said <<<"$said" && read -r line <<<"$line"
        policy "$line"
        refused "^sos-sync: policy:$said" --config conf --policy policy || bad=$((bad + 1))
    done <<'END'
2: unknown key "replica"    | replica: 3
2: replicas: "-1"           | replicas: -1
2: replicas: "two"          | replicas: two
2: replicas: "64"           | replicas: 64
2: copies: "0"              | copies: 0
3: preferred: f             | replicas: 1; preferred: b f
2: blocked: B               | blocked: B
2: preferred: b             | preferred: b b
2: blocked: y               | blocked: y
2: replication: "maybe"     | replication: maybe
2: since: "2027-13-01"      | since: 2027-13-01
2: since: "tomorrow"        | since: tomorrow
2: down-after: "7"          | down-after: 7
2: down-after: "7 x"        | down-after: 7 x
2: conflict: newst          | conflict: newst
2: trash: "often"           | trash: often
2: sos.conf has no group G  | [group G]; replicas: 1
2: .*/f; it is written      | [node @/f]; name: f
2: "- \*.x" is a rule       | [group typos: - *.x]; replicas: 1
2: "[+] dir" is a rule       | [group typos: + dir]; replicas: 1
2: "!" is a rule            | [group typos: !]; replicas: 1
2: .*nod                    | [nod @/b]; name: f
END
    [ $bad = 0 ]
}
