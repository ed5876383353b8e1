load lib
load ssh

# through.bats and far.bats are links to this file: the same rules hold where content goes through the coordinator, and
# where members are far.
setup() {
    setup_world
    [[ $BATS_TEST_FILENAME != *through.bats ]] || EXTRA=(--through)
    [[ $BATS_TEST_FILENAME != *far.bats ]] || far_members
    mkdir a b c
}
teardown() { teardown_world; }

# All that was done, a line each, in byte order: done_is <<< "copy x b".
done_is() { diff <(acts <<<"$output" | LC_ALL=C sort) - ; }

# ---- who gets what ----

@test "sync: what one member has goes to all" {
    put a one 1
    put b deep/er/two 22
    put c three 333
    exits 0 --json a b c
    same a b c
    [ "$(cat c/deep/er/two)" = 22 ]
    done_is <<TXT
copy deep/er/two a
copy deep/er/two c
copy one b
copy one c
copy three a
copy three b
mkdir deep a
mkdir deep c
mkdir deep/er a
mkdir deep/er c
TXT
    [ "$(summary copied <<<"$output")" = 6 ]
    [ "$(summary objects <<<"$output")" = 3 ]
    [ "$(summary literal_bytes <<<"$output")" = 12 ]
    idle a b c
}

@test "sync: an edit wins over what it followed, also when its clock is behind" {
    put a f old 2000000000
    exits 0 a b c
    put b f new 1000000000
    exits 0 --json a b c
    [ "$(cat a/f c/f)" = newnew ]
    done_is <<TXT
update f a
update f c
TXT
    [ "$(summary conflicts <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: an edit reaches a member that missed runs, without a conflict" {
    put a f 1
    exits 0 a b c
    put a f 22
    exits 0 a b
    put b f 333
    exits 0 a b
    put a f 4444
    exits 0 --json b a c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    same a b c
    [ "$(cat c/f)" = 4444 ]
}

@test "sync: an edit travels along a chain of members that never meet all at once" {
    put a f 1
    exits 0 a b
    exits 0 b c
    put c f 22
    exits 0 --json c b
    [ "$(summary conflicts <<<"$output")" = 0 ]
    exits 0 --json b a
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(cat a/f)" = 22 ]
    idle a b c
}

@test "sync: equal content at the first run is not copied" {
    put a d/x same 1700000000
    ln -s x a/d/link
    touch -hd @1700000000 a/d/link
    cp -a a/. b
    cp -a a/. c
    exits 0 --json a b c
    [ -z "$(acts <<<"$output")" ]
    [ "$(summary copied <<<"$output")" = 0 ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: equal content with other times at the first run: the later time wins, and only metadata travels" {
    put a x same 1700000000
    put b x same 1700000001
    put c x same 1600000000
    chmod 600 b/x
    exits 0 --json a b c
    same a b c
    [ "$(stat -c '%a %Y' a/x)" = "600 1700000001" ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    [ "$(summary conflicts <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: a missing object is a lost copy and is restored" {
    put a d/x 1
    ln -s x a/d/l
    mkdir a/empty
    put a stays 1 # a store that has nothing left is for a guard
    exits 0 a b c
    rm -r b/d b/empty
    rm c/d/x
    exits 0 --json a b c
    same a b c
    [ "$(cat b/d/x c/d/x)" = 11 ]
    [ "$(readlink b/d/l)" = x ] && [ -d b/empty ]
    idle a b c
}

@test "sync: five members with different things come to hold the same" {
    local m
    mkdir d e
    for m in a b c d e; do
        put $m "only-$m/x" "$m"
        put $m common same 1700000000
        ln -s "to-$m" "$m/link-$m"
    done
    exits 0 --json a b c d e
    same a b c d e
    [ "$(summary objects <<<"$output")" = 11 ]
    [ "$(summary copied <<<"$output")" = 40 ]
    [ "$(summary literal_bytes <<<"$output")" -ge 20 ]
    idle e d c b a
}

@test "sync: a member that does not exist yet is made" {
    put a x 1
    exits 0 a new
    same a new
    idle a new
}

@test "sync: two empty stores are in step" {
    exits 0 --json a b
    [ "$(summary objects <<<"$output")" = 0 ]
    idle a b
}

@test "sync: many edits on each of three members at once" {
    local m i
    in_memory
    mkdir -p a/d a/e b c
    for i in {1..600}; do
        echo "$i" >"a/d/$i"
        echo "$i" >"a/e/f$i"
    done
    exits 0 a b c
    for i in {1..200}; do echo "$i by a" >"a/d/$i"; done
    for i in {201..400}; do echo "$i by b" >"b/d/$i"; done
    for i in {401..600}; do echo "$i by c" >"c/d/$i"; done
    exits 0 --json a b c
    same a b c
    [ "$(summary updated <<<"$output")" = 1200 ]
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(cat c/d/{1..600} | grep -c by)" = 600 ]
    idle a b c
}

# ---- kinds, names, sizes ----

@test "D7: symlinks are carried as they are, wherever they point" {
    ln -s nowhere a/dangling
    ln -s /etc/passwd a/absolute
    ln -s ../../../../etc a/outside
    ln -s . a/self
    ln -s "$(printf 'a\nb\033[31m\377')" a/odd
    ln -s "$(printf '%04095d' 0 | tr 0 x)" a/long
    exits 0 a b c
    same a b c
    [ "$(readlink c/absolute)" = /etc/passwd ]
    touch -hd '2001-02-03 04:05:06.789' b/dangling
    exits 0 --json a b c
    [ "$(stat -c %y a/dangling)" = "2001-02-03 04:05:06.789000000 +0000" ]
    idle a b c
}

@test "sync: a symlink that is pointed elsewhere is an edit" {
    ln -s one a/l
    exits 0 a b c
    ln -sfn two b/l
    exits 0 --json a b c
    [ "$(readlink a/l) $(readlink c/l)" = "two two" ]
    [ "$(summary updated <<<"$output")" = 2 ]
    idle a b c
}

@test "sync: empty directories are carried, and never counted" {
    mkdir -p a/x/y/z
    exits 0 --json a b c
    [ -d c/x/y/z ]
    [ "$(summary objects <<<"$output")" = 0 ]
    [ "$(summary copied <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: modes and nanoseconds arrive exactly" {
    local mode
    for mode in 0400 0444 0600 0640 0666 0755 0777 0700; do
        put a "f$mode" "$mode" 1234567890.987654321
        chmod $mode "a/f$mode"
        mkdir "a/d$mode"
        chmod $mode "a/d$mode"
    done
    put a early x '1969-12-31 23:59:58.5'
    put a late x '2105-01-01 00:00:00.000000001'
    umask 077
    exits 0 a b c
    same a b c
    [ "$(stat -c %y c/f0640)" = "2009-02-13 23:31:30.987654321 +0000" ]
    [ "$(stat -c %a c/d0777)" = 777 ]
    idle a b c
}

@test "A3: names are bytes: newline, ESC, invalid UTF-8, blanks, a leading dash" {
    local name
    for name in $'new\nline' $'esc\033[31m' $'\377\376' $'\x9b' -n --help '~' ' ' ' x ' '*' '?' '[a]' '\' 'a\nb' $'cr\r' \
        '%41' '"' "'" '$HOME' ':' 'a:b' '...' '..x' .x ünï $'u\xcc\x88'; do
        printf '%s' "$name" >"a/$name"
        mkdir -p "b/d$name"
        ln -s "$name" "c/l$name"
        printf 1 >"b/d$name/$name"
    done
    exits 0 a b c
    same a b c
    [ "$(cat "c/"$'new\nline')" = $'new\nline' ]
    ! grep -q $'\033' <<<"$output$errors" || false
    idle a b c
}

@test "A6: names that differ by case or normal form are different objects" {
    put a README 1
    put b readme 2
    put c $'\xc3\xbc' 3
    put a $'u\xcc\x88' 4
    [ "$(cat a/README)" = 1 ]
    exits 0 a b c
    same a b c
    [ "$(find c -type f -not -path '*/.sos-sync/*' | wc -l)" = 4 ]
}

@test "A4: components of 255 bytes, paths near 4096, a deep tree" {
    local long deep=a i
    long=$(printf '%0255d' 7)
    put a "$long" x
    put a "$long.d/$long" y || true
    mkdir -p "a/d${long:1}/d${long:1}"
    put a "d${long:1}/d${long:1}/$long" z
    for i in {1..300}; do deep=$deep/$i; done
    mkdir -p "$deep"
    echo deep >"$deep/file"
    exits 0 a b c
    same a b c
    idle a b c
    echo deeper >"${deep/a/c}/file"
    exits 0 --json a b c
    [ "$(cat "$deep/file")" = deeper ]
}

@test "A4: what lies deeper than a path may be long is left out, with status 3, and the rest is synced" {
    local i long
    long=$(printf '%0250d' 7)
    put a fine x
    (
        cd a
        for i in {1..20}; do
            mkdir "$long"
            cd -P "$long" 2>/dev/null || cd "$long"
        done
        echo x >file
    )
    exits 3 a b
    [ "$(cat b/fine)" = x ]
    [ -n "$errors" ]
    rm -r a/"$long"
}

@test "sync: files of no bytes, of one, and around the sizes of buffers" {
    local n
    for n in 0 1 511 512 513 4095 4096 4097 65535 65536 65537 262144 524288 524289 1048576 1114112 1114113; do
        head -c $n /dev/urandom >"a/$n"
    done
    exits 0 --json a b c
    same a b c
    [ "$(summary literal_bytes <<<"$output")" = $((2 * ($(stat -c %s a/* | paste -sd +)))) ]
    idle a b c
}

@test "sync: a file of 50 MB with holes, and an edit in it" {
    truncate -s 50M a/big
    echo start | dd of=a/big conv=notrunc status=none
    echo middle | dd of=a/big conv=notrunc seek=40000 status=none
    exits 0 a b c
    cmp a/big b/big
    cmp a/big c/big
    echo end >>b/big
    exits 0 --json a b c
    cmp a/big b/big
    cmp b/big c/big
    [ "$(summary updated <<<"$output")" = 2 ]
    idle a b c
}

@test "sync: sockets, fifos and devices are skipped, with one line in all" {
    mkfifo a/fifo1 a/fifo2
    mkdir a/d
    mkfifo a/d/fifo3
    [ "$(id -u)" != 0 ] || mknod a/null c 1 3 || true
    put a x 1
    exits 0 a b
    [ "$(find b -mindepth 1 -not -path 'b/.sos-sync*' -printf '%P ' | tr ' ' '\n' | sort | xargs)" = "d x" ]
    [ "$(grep -ci 'skip' <<<"$output$errors")" = 1 ]
    [ -p a/fifo1 ]
}

# ---- metadata ----

@test "sync: a chmod alone travels as metadata, with no bytes" {
    put a x 12345
    mkdir a/d
    exits 0 a b c
    chmod 600 b/x
    exits 0 --json a b c
    [ "$(stat -c %a a/x c/x | xargs)" = "600 600" ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    [ "$(jq -r 'select(.event == "action") | .action, .reason, .bytes' <<<"$output" | sort -u | xargs)" = "0 metadata update" ]
    idle a b c
}

@test "sync: a touch alone travels as metadata, with no bytes" {
    put a x 12345
    exits 0 a b c
    touch -d '2033-03-03 03:03:03.333333333' c/x
    exits 0 --json a b c
    [ "$(stat -c %y a/x)" = "2033-03-03 03:03:03.333333333 +0000" ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: content on one member and mode on another since the last run: both edits are concurrent, one is kept whole" {
    put a x old 1700000000
    exits 0 a b c
    put a x new 1700000009
    chmod 600 b/x
    exits 0 --json a b c
    same a b c
    [ "$(cat c/x)" = new ]
    idle a b c
}

@test "sync: a directory's mode is carried, its times are left alone" {
    mkdir a/d
    put a d/x 1
    exits 0 a b c
    chmod 751 c/d
    touch -d '2001-01-01' c/d
    exits 0 --json a b c
    [ "$(stat -c %a a/d b/d | xargs)" = "751 751" ]
    [ "$(stat -c %Y a/d)" != "$(stat -c %Y c/d)" ]
    [ "$(summary updated <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: a directory that may not be written to gets its contents all the same" {
    put a ro/sub/x 1
    chmod 555 a/ro/sub a/ro
    as_nobody
    exits 0 a b c
    same a b c
    [ "$(stat -c %a c/ro)" = 555 ]
    idle a b c
    chmod -R u+w .
}

# ---- changes of kind and of name ----

@test "sync: a file becomes a directory, a directory a symlink, a symlink a file" {
    put a file 1
    put a dir/x 2
    ln -s file a/link
    exits 0 a b c
    rm b/file && put b file/inside 3
    rm -r b/dir && ln -s file b/dir
    rm b/link && put b link 4
    exits 0 --json a b c
    [ "$(cat a/link c/link)" = 44 ]
    [ "$(cat a/file/inside c/file/inside)" = 33 ]
    # dir/x is only missing on b: a lost copy, which needs its directory.
    same a b c
    idle a b c
}

@test "sync: a file becomes a symlink and back" {
    put a x 1
    exits 0 a b c
    ln -sf nowhere b/x
    exits 0 a b c
    [ "$(readlink a/x)" = nowhere ]
    same a b c
    rm c/x && put c x 2
    exits 0 a b c
    [ "$(cat a/x)" = 2 ] && [ ! -L a/x ]
    same a b c
    idle a b c
}

@test "sync: a file on one member and a directory on another at the first run" {
    put a n 'the file'
    put b n/x 'in the directory'
    exits 0 a b c
    same a b c
    [[ $(contents a b c) == *$(printf 'the file' | sha256sum | cut -c 1-64)* ]]
    [[ $(contents a b c) == *$(printf 'in the directory' | sha256sum | cut -c 1-64)* ]]
    idle a b c
}

@test "sync: a renamed tree costs no content" {
    local i
    for i in {1..40}; do put a "old/$((i % 4))/f$i" "content of $i, and then some"; done
    exits 0 a b c
    mv b/old b/new
    exits 0 --json a b c
    same a b c
    [ -e a/new/1/f1 ] && [ -e a/old/1/f1 ]
    [ "$(jq -s '[.[] | select(.event == "action" and .action == "adopt" and (.path | startswith("new/")))] | length' <<<"$output")" = 80 ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    [ "$(summary copied <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: content that a member has under another name is adopted there" {
    put a here/x 'some content'
    put b there/x 'some content'
    exits 0 --json a b
    same a b
    [ "$(summary adopted <<<"$output")" = 2 ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    put b there/x 'edited'
    [ "$(cat b/here/x)" = 'some content' ]
    exits 0 --json a b
    [ "$(summary updated <<<"$output")" = 1 ]
    [ "$(cat a/here/x)" = 'some content' ]
}

@test "sync: content that is adopted is verified, not taken on trust" {
    put a x/one 'precious content' 1700000000
    exits 0 a b
    # What b is to adopt for a's second name was just changed there.
    printf 'precious contenT' >b/x/one
    cp a/x/one a/two
    exits 0 a b
    [ "$(cat a/two b/two)" = "precious contentprecious content" ]
}

@test "sync: content that only a file had which makes way for a directory" {
    put a d/e same
    put b d same
    exits 0 a b
    same a b
    [ "$(cat b/d/e)" = same ]
    idle a b
}

@test "sync: content that only a file had which is replaced in the same run" {
    put a f one 1700000000
    put a z two 1700000000
    exits 0 a b c
    put a f three
    mv a/z a/y
    put a z four
    cp b/f a/late
    exits 0 --json a b c
    same a b c
    [ "$(cat b/late b/y)" = onetwo ]
    idle a b c
}

# ---- how much is read ----

@test "sync: a second run reads no content" {
    local i
    command -v strace >/dev/null || skip "no strace"
    for i in {1..20}; do put a "d/$i" "$i" 1700000000; done
    exits 0 a b
    find a b -type f -exec touch -d '2001-01-01' {} +
    exits 0 a b
    # What was recorded within two seconds is looked at again: not a matter of this test.
    await_quiet a b
    under_strace -e trace=openat,openat2 -o trace "$SOS_SYNC" "${EXTRA[@]}" a b
    ! grep -E '"d/[0-9]+"|"[0-9]{1,2}", ' trace | grep -v O_DIRECTORY | grep -v O_PATH || false
}

# await_quiet STORE...: until no file is younger than the 2 s within which a scan trusts nobody.
await_quiet() {
    local i
    for i in {1..60}; do
        [ -n "$(find "$@" -newerct '3 seconds ago' -not -path '*/.sos-sync*' -type f -print -quit)" ] || break
        read -rt 0.1 <> <(:) || true
    done
    exits 0 "$@"
}

@test "sync: --checksum finds changed content that size and mtime hide" {
    put a x 'some content' 1700000000
    exits 0 a b c
    put b x 'SOME content' 1700000000
    exits 0 --checksum --json a b c
    [ "$(cat a/x c/x)" = 'SOME contentSOME content' ]
    [ "$(summary conflicts <<<"$output")" = 0 ]
    idle a b c
}

@test "sync: changed content of the same size and mtime is found without --checksum too: its ctime tells" {
    put a x 'some content' 1700000000
    exits 0 a b c
    put b x 'SOME content' 1700000000
    exits 0 --json a b c
    [ "$(cat a/x c/x)" = 'SOME contentSOME content' ]
    idle a b c
}

# ---- filters ----

@test "filter: an excluded object is neither copied nor touched, on any side" {
    put a x.o 1
    put b sub/y.o 2
    put a x.c 3
    exits 0 --exclude '*.o' a b c
    [ "$(cat b/x.c c/x.c)" = 33 ]
    [ ! -e b/x.o ] && [ ! -e a/sub/y.o ] && [ -d a/sub ]
    [ "$(cat a/x.o b/sub/y.o)" = 12 ]
}

@test "filter: what was synced and is excluded now is kept everywhere" {
    put a x.o 1
    exits 0 a b c
    rm b/x.o
    exits 0 --json --exclude '*.o' a b c
    [ -z "$(acts <<<"$output")" ]
    [ "$(cat a/x.o c/x.o)" = 11 ] && [ ! -e b/x.o ]
    exits 0 --json a b c
    [ "$(acts <<<"$output")" = "copy x.o b" ]
}

@test "filter: an edit while it was excluded is no conflict afterwards" {
    put a x.o old
    exits 0 a b c
    put b x.o new 1600000000
    exits 0 --json --exclude '*.o' a b c
    [ -z "$(acts <<<"$output")" ]
    exits 0 --json a b c
    [ "$(summary conflicts <<<"$output")" = 0 ]
    [ "$(cat a/x.o c/x.o)" = newnew ]
    idle a b c
}

@test "filter: edits on two members while it was excluded are a conflict afterwards" {
    put a x.o old
    exits 0 a b c
    put b x.o newer 1700000000
    put c x.o newest 1800000000
    exits 0 --exclude '*.o' a b c
    exits 0 --json a b c
    [ "$(cat a/x.o)" = newest ]
    [ "$(summary conflicts <<<"$output")" = 1 ]
}

@test "filter: rsync's meaning: anchors, directories, *, **, ?, classes, and the first match decides" {
    local f
    for f in top sub/top keep.o sub/drop.o build/x deep/build/x a1 a2 x/y/z w/y/z q/r/s/t .hid sub/.hid; do
        put a "$f" "$f"
    done
    exits 0 --include 'keep.o' --exclude '*.o' --exclude /top --exclude 'build/' --exclude 'a[1]' --exclude 'x/*/z' \
        --exclude 'q/**/t' --exclude '.h??' a b
    [ "$(cd b && find . -name .sos-sync -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs)" = \
        "a2 keep.o sub/top w/y/z" ]
}

@test "filter: include what is wanted, exclude the rest" {
    put a one.c 1
    put a d/two.c 2
    put a d/three.h 3
    exits 0 --include '*/' --include '*.c' --exclude '*' a b
    [ "$(cd b && find . -name .sos-sync -prune -o -type f -printf '%P\n' | sort | xargs)" = "d/two.c one.c" ]
}

@test "filter: --exclude-from takes a pattern a line" {
    printf '# objects\n*.o\n\n; more\n/tmp/\n' >rules
    put a x.o 1
    put a tmp/y 2
    put a sub/tmp/z 3
    exits 0 --exclude-from rules a b
    [ ! -e b/x.o ] && [ ! -e b/tmp ] && [ -e b/sub/tmp/z ]
}

@test "filter: a pattern that cannot be right is refused" {
    exits 1 --exclude '' a b
    exits 1 --exclude '[a' a b
    exits 1 --exclude-from nowhere a b
    [ ! -e a/.sos-sync ]
}

# ---- options ----

@test "sync: --state-dir keeps all state out of the stores" {
    mkdir state
    put a x 1
    put b y 2
    exits 0 --state-dir state a b
    same a b
    [ ! -e a/.sos-sync ] && [ ! -e b/.sos-sync ]
    idle --state-dir state a b
    put a x 11
    put b x 22
    exits 0 --json --state-dir state a b
    [ "$(summary conflicts <<<"$output")" = 1 ]
    [ -n "$(find state -path '*/trash/*' -name x)" ]
    [ ! -e a/.sos-sync ] && [ ! -e b/.sos-sync ]
}

@test "sync: a --state-dir on another file system is refused" {
    as_root
    mount_tmpfs other
    ! exits 0 --state-dir other a b || false
    grep -qi 'file system' <<<"$errors"
    [ ! -e a/.sos-sync ] && [ -z "$(ls -A other)" ]
}

@test "sync: a --state-dir inside a store is not an object" {
    mkdir a/state
    put a x 1
    exits 0 --state-dir a/state a b
    [ ! -e b/state/marker ] && [ -z "$(find b -name manifest)" ]
    [ "$(cat b/x)" = 1 ]
    idle --state-dir a/state a b
}

@test "sync: --fsync=always and none give the same result" {
    local how
    for how in always none batch; do
        mkdir $how
        put $how "by-$how" "$how"
        put a x "$how"
        exits 0 --fsync=$how a b $how
        same a b $how
        idle a b $how
    done
    exits 1 --fsync=sometimes a b
}

@test "sync: --threads=1 and many give the same result" {
    local i
    for i in {1..50}; do put a "d$((i % 5))/$i" "content $i"; done
    exits 0 --threads 1 a b
    exits 0 --threads 8 b c
    same a b c
}

@test "sync: -z and --no-compress give the same result; compressed text is short on its way" {
    local how all few
    mkdir a/d
    seq 300000 >a/text
    head -c 3000000 /dev/urandom >a/noise
    for how in {1..300}; do echo "$how, and what is in all of them" >"a/d/$how"; done
    exits 0 --through --no-compress --json a b
    same a b
    all=$(summary wire_bytes <<<"$output")
    exits 0 --through -z --json a c
    same a c
    few=$(summary wire_bytes <<<"$output")
    [ $((all - few)) -gt 2000000 ]
    rm c/noise c/text
    exits 0 --through --compress --json a b c
    same a b c
    rm c/noise
    exits 0 -z a b c
    same a b c
    idle a b c
}

@test "sync: an object named like a command, a store reached through a symlink" {
    put a manifest 1
    ln -s a link
    mkdir policy
    exits 0 link/ ./policy
    same a policy
}

@test "sync: names that we keep for ourselves are not objects" {
    put a sub/.sos-sync/x 1
    put a sub/.sos-sync.tmp.0011223344556677 2
    put a .sos-syncer 3
    exits 0 a b
    [ "$(cat b/.sos-syncer)" = 3 ]
    # Below the root it is another store's, or somebody's own: either it is carried, or it is told that it is not.
    [ -e b/sub/.sos-sync/x ] || [[ $output$errors == *"sub/.sos-sync"* ]]
}
