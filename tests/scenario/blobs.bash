# Blob-servers for scenarios: `load blobs`, serve NAME..., and stop_servers in teardown.
# shellcheck shell=bash

BLOBSERVER=$BATS_TEST_DIRNAME/../tools/blobserver.py
SERVERS=()

# serve NAME [OPTION...]: a server over the directory NAME; its URL is then in the variable NAME. What it was asked is in
# NAME.log, and lines in NAME.ctl make it misbehave.
serve() {
    local name=$1 port
    shift
    command -v python3 >/dev/null || skip "no python3"
    mkdir -p "$name"
    : >"$name.ctl"
    : >"$name.log"
    python3 "$BLOBSERVER" "$name" --log "$name.log" --control "$name.ctl" "$@" >"$name.port" 2>"$name.err" 3>&- 4>&- &
    SERVERS+=($!)
    await_line "$name.port" || { cat "$name.err"; return 1; }
    port=$(<"$name.port")
    printf -v "$name" 'http://127.0.0.1:%s' "$port"
}

# odd NAME HABIT...: the same of tests/tools/oddserver.py, which has other habits.
odd() {
    local name=$1 port
    shift
    command -v python3 >/dev/null || skip "no python3"
    mkdir -p "$name"
    python3 "${BLOBSERVER%/*}/oddserver.py" "$name" "$@" >"$name.port" 2>"$name.err" 3>&- 4>&- &
    SERVERS+=($!)
    await_line "$name.port" || { cat "$name.err"; return 1; }
    port=$(<"$name.port")
    printf -v "$name" 'http://127.0.0.1:%s' "$port"
}

# Until the file has a line.
await_line() {
    for _ in $(seq 200); do
        [ ! -s "$1" ] || return 0
        sleep 0.05
    done
    return 1
}

stop_servers() {
    [ ${#SERVERS[@]} -eq 0 ] || kill "${SERVERS[@]}" 2>/dev/null || true
    SERVERS=()
}

# blob NAME CONTENT: puts it in the directory under its SHA-1, which is then in $id.
blob() {
    id=$(printf '%s' "$2" | sha1sum | cut -c 1-40)
    printf '%s' "$2" >"$1/$id"
}

# misbehave NAME RULE...: from now on; none: it behaves.
misbehave() {
    local name=$1
    shift
    printf '%s\n' "$@" >"$name.ctl.new"
    mv "$name.ctl.new" "$name.ctl"
}

# How many requests of this kind the server was asked since it started, or since the log was emptied: asked NAME PATTERN.
asked() { grep -c -E "^$2\$" "$1.log" || true; }

# alike A B...: the directories hold the same files with the same content.
alike() {
    local first=$1 other
    shift
    for other in "$@"; do
        diff -r --exclude='.sos-sync*' "$first" "$other" || return 1
    done
}
