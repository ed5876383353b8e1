# Helpers for the scenarios: `load lib`, then setup_world and teardown_world in setup and teardown.
# shellcheck shell=bash

# The program under test. A build with sanitizers sets it (tests/run).
SOS_SYNC=$(realpath -m "${SOS_SYNC:-$BATS_TEST_DIRNAME/../../build/sos-sync}")
export SOS_SYNC

# An empty directory of the test's own to stand in, with a HOME that holds no sos.conf.
setup_world() {
    mkdir -p "$BATS_TEST_TMPDIR/world" "$BATS_TEST_TMPDIR/home"
    export HOME=$BATS_TEST_TMPDIR/home TZ=UTC
    umask 022
    cd "$BATS_TEST_TMPDIR/world" || return 1
}

# The world in memory, where one may mount: what runs hundreds of times should not wait for a disk.
in_memory() {
    [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=512m,mode=755 tmpfs "$BATS_TEST_TMPDIR/world" 2>/dev/null || return 0
    cd "$BATS_TEST_TMPDIR/world" || return 1
}

# Takes away whatever was mounted below the test's directory, last first; a loop device goes with its mount. And what
# rotting_world made.
teardown_world() {
    local at
    cd / || return 1
    [ -z "${rotting:-}" ] || rm -rf "$rotting"
    while at=$(last_mount) && [ -n "$at" ]; do
        umount "$at" 2>/dev/null || umount -l "$at" || return 1
    done
    [ "$(id -u)" = 0 ] || chmod -R u+rwX "$BATS_TEST_TMPDIR" 2>/dev/null || true
}

last_mount() {
    local top
    top=$(realpath "$BATS_TEST_TMPDIR")/
    printf '%b' "$(awk -v top="$top" 'index($2, top) == 1 { last = $2 } END { print last }' /proc/self/mounts)"
}

# ---- running it ----

# A sanitizer cannot look for leaks under strace, and would take that for a failure.
under_strace() { ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" strace -f -qq "$@"; }

# A scenario file may set both: options that every run gets, and a command before it (of another user, say).
EXTRA=()
AS=()

sync() { "${AS[@]}" "$SOS_SYNC" --no-progress "${EXTRA[@]}" "$@"; }

# A run that must end with this status: exits 3 A B. Its standard output is in $output, standard error in $errors.
exits() {
    local want=$1 got=0
    shift
    output=$(sync "$@" 2>"$BATS_TEST_TMPDIR/stderr") || got=$?
    errors=$(<"$BATS_TEST_TMPDIR/stderr")
    [ "$got" = "$want" ] && return 0
    printf 'exit status %s, not %s: sos-sync %s\n%s\n%s\n' "$got" "$want" "$*" "$output" "$errors"
    return 1
}

# A run that may fail, but with one of these statuses: ends "0 3" a b.
ends() {
    local want=$1
    shift
    got=0
    output=$(sync "$@" 2>"$BATS_TEST_TMPDIR/stderr") || got=$?
    errors=$(<"$BATS_TEST_TMPDIR/stderr")
    [[ " $want " == *" $got "* ]] && return 0
    printf 'exit status %s, not one of %s: sos-sync %s\n%s\n%s\n' "$got" "$want" "$*" "$output" "$errors"
    return 1
}

# refused WHAT [ARGS...]: status 1, a message that has WHAT in it (an extended regular expression), and nothing in the world
# was changed.
refused() {
    local what=$1 world=$BATS_TEST_TMPDIR/world
    shift
    snapshot "$world" >"$BATS_TEST_TMPDIR/before"
    exits 1 "$@"
    grep -aEq -- "$what" <<<"$errors" || {
        printf 'no "%s" in:\n%s\n' "$what" "$errors"
        return 1
    }
    snapshot "$world" | diff "$BATS_TEST_TMPDIR/before" -
}

# The actions in --json output on standard input, one a line: ACTION PATH TO.
acts() { jq -r 'select(.event == "action") | "\(.action) \(.path // ("base64:" + .path_b64)) \(.to)"'; }

# One field of the summary in --json output on standard input: summary copied.
summary() { jq -r --arg key "$1" 'select(.event == "summary") | .[$key]'; }

# ---- stores ----

# put STORE PATH CONTENT [MTIME]: writes a file; MTIME is what date -d reads, or seconds since 1970.
put() {
    local file=$1/$2 time=${4:-}
    mkdir -p "$(dirname "$file")"
    printf '%s' "$3" >"$file"
    [ -z "$time" ] || touch -d "$(in_seconds "$time")" "$file"
}

# "@N" for a bare number, all else as it is.
in_seconds() {
    if [[ $1 =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
        echo "@$1"
    else
        echo "$1"
    fi
}

# What a store holds, a line for each object's kind, mode, mtime (to the nanosecond; a directory carries none), path and
# target, and one for each file's digest. A newline in a name comes out as "?".
holds() {
    (
        cd "$1" || exit 1
        find . -mindepth 1 -path ./.sos-sync -prune -o \
            \( -type d -printf 'dir %m - %P\0' -o -type l -printf 'link - %T@ %P -> %l\0' \
            -o -type f -printf 'file %m %T@ %P\0' -o -printf 'other %P\0' \)
        find . -path ./.sos-sync -prune -o -type f -print0 | xargs -0r sha256sum -z
    ) | sort -z | tr '\n\0' '?\n'
}

# same A B C...: all hold the same, names, modes, times and content; says where not.
same() {
    local first=$1 store
    shift
    for store in "$@"; do
        diff <(holds "$first") <(holds "$store") || {
            echo "$first and $store differ"
            return 1
        }
    done
}

# Everything that a change would show in: also .sos-sync, inodes, and the times of directories.
snapshot() { find "$@" -printf '%p %y %m %n %i %s %T@ %C@ %l\n' | sort; }

# The digests of every content that these directories hold, our trash included: what a run may not lose.
contents() { find "$@" -type f -not -path '*/.sos-sync/[!t]*' -exec sha256sum {} + | cut -c 1-64 | sort -u; }

# Nothing that a run needs only while it works is left in these stores.
tidy() {
    local left
    left=$(find "$@" -path '*/.sos-sync/trash' -prune -o \
        \( -name '.sos-sync.*' -o -path '*/.sos-sync/journal' -o -path '*/.sos-sync/*.new' \) -print)
    [ -z "$left" ] && return 0
    printf 'left behind:\n%s\n' "$left"
    return 1
}

# idle A B...: a run over them has nothing to do, and says so.
idle() {
    exits 0 --json "$@"
    [ -z "$(acts <<<"$output")" ] && [ "$(summary literal_bytes <<<"$output")" = 0 ] && return 0
    printf 'not idle:\n%s\n' "$output"
    return 1
}

# The files that lie in these stores' trash, as their paths were.
trashed() { find "${@/%//.sos-sync/trash}" -mindepth 2 -not -type d -printf '%P\n' 2>/dev/null | cut -d / -f 2- | sort; }

# ---- users ----

# What follows runs as somebody whom permissions bind; the world becomes his.
as_nobody() {
    local dir
    if [ "$(id -u)" = 0 ]; then
        command -v setpriv >/dev/null || skip "no setpriv"
        for dir in "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/world"; do
            while [ "$dir" != / ] && [ "$dir" != "${BATS_TMPDIR%/}" ]; do
                chmod a+x "$dir"
                dir=$(dirname "$dir")
            done
        done
        chown -R 65534:65534 .
        AS=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
    fi
    "${AS[@]}" "$SOS_SYNC" --version >/dev/null || skip "nobody cannot run $SOS_SYNC"
}

# ---- file systems ----

as_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# mount_tmpfs DIR [SIZE]: an empty file system of its own. Skips the test where one may not mount.
mount_tmpfs() {
    as_root
    mkdir -p "$1"
    mount -t tmpfs -o "size=${2:-16m},mode=755" tmpfs "$1" 2>/dev/null || skip "cannot mount here"
}

# mount_loop DIR TYPE [SIZE]: the same from an image: ext4, btrfs (128m at least) or xfs (300m at least).
mount_loop() {
    local dir=$1 type=$2 image
    as_root
    command -v "mkfs.$type" >/dev/null || skip "no mkfs.$type"
    mkdir -p "$dir"
    image=$(mktemp "$BATS_TEST_TMPDIR/image.XXXXXX")
    truncate -s "${3:-320m}" "$image"
    "mkfs.$type" -q "$image" || return 1
    mount -o loop "$image" "$dir" 2>/dev/null || skip "cannot mount $type here"
    rmdir "$dir/lost+found" 2>/dev/null || true
}

# ---- damage ----

# A world where `rot` works: on a file system that does not note who writes through a mapping.
rotting_world() {
    command -v python3 >/dev/null || skip "no python3"
    rotting=$(mktemp -d /dev/shm/sos-sync.XXXXXX 2>/dev/null) || skip "no /dev/shm"
    cd "$rotting" || return 1
}

# rot FILE [CONTENT]: other bytes, as many, at the beginning, and nothing else shows it: no time changes.
rot() {
    local before after
    before=$(stat -c '%i %s %y %z' "$1")
    python3 -c 'import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
new = sys.argv[2].encode()
with mmap.mmap(fd, 0) as m:
    bytes(m) # what is mapped already is written to without a trace
    m[:len(new)] = new
    m.flush()' "$1" "${2:-rotten}"
    after=$(stat -c '%i %s %y %z' "$1")
    [ "$before" = "$after" ] || skip "writing through a mapping changes times here"
}

# settled A B...: in step, and long enough ago that nothing recorded is racy.
settled() {
    exits 0 "$@"
    sleep 2.1
    exits 0 "$@"
}
