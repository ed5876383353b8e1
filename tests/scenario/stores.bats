load lib

# What odd file systems and odd files do to the versions that a store keeps.

setup() { setup_world; }
teardown() { teardown_world; }

@test "times that a file system cannot keep are no edits, and set no later edit back" {
    mkdir a
    mount_loop coarse ext4 32m
    umount coarse
    mkfs.ext4 -q -F -I 128 "$BATS_TEST_TMPDIR"/image.* # inodes without room for nanoseconds
    mount -o loop "$BATS_TEST_TMPDIR"/image.* coarse
    rmdir coarse/lost+found
    put a f 1 1700000001.123456789
    put a g 1 1700000002.987654321
    exits 0 a coarse
    [ "$(stat -c %.9Y coarse/f)" = 1700000001.000000000 ]
    idle a coarse
    # An edit with an old time follows what was there: it is no conflict, and does not lose.
    put a f old 1500000000.5
    exits 0 --json a coarse
    [ "$(acts <<<"$output")" = "update f coarse" ]
    [ "$(cat a/f coarse/f)" = oldold ]
    put coarse g new
    exits 0 --json a coarse
    [ "$(acts <<<"$output")" = "update g a" ]
    idle a coarse
    # It can be a source, too.
    mkdir c
    exits 0 a coarse c
    [ "$(cat c/f c/g)" = oldnew ]
}

@test "D4: two names of one file that both change are both updated in one run" {
    put a one 1
    put a two 2
    exits 0 a b
    rm b/one b/two
    put b one 1
    ln b/one b/two
    exits 0 a b
    put a one 11
    put a two 22
    exits 0 a b
    same a b
    [ "$(cat b/one b/two)" = 1122 ]
}

@test "metadata that travels leaves a file's own set-id bits alone" {
    put a f 1
    exits 0 a b
    chmod 4755 b/f
    exits 0 a b
    touch -d @1600000000 a/f
    exits 0 a b
    [ "$(stat -c %a a/f)" = 755 ]
    [ "$(stat -c %a b/f)" = 4755 ]
    [ "$(stat -c %Y b/f)" = 1600000000 ]
}

@test "E7: a directory that a kill found open for its children gets its mode in the next run" {
    command -v strace >/dev/null || skip "no strace"
    mkdir -p a/ro b
    for i in 1 2 3; do put a "ro/$i" "$i"; done
    chmod 555 a/ro
    strace -f -qq -o /dev/null -e trace=linkat -e inject=linkat:signal=KILL:when=1 \
        "$SOS_SYNC" --no-progress a b || true
    exits 0 a b
    same a b
    [ "$(stat -c %a a/ro)" = 555 ]
    [ "$(stat -c %a b/ro)" = 555 ]
}

@test "content is adopted by reflink where the file system can" {
    mount_loop x xfs
    mkdir x/a x/b
    head -c 8M /dev/urandom >x/a/big
    exits 0 x/a x/b
    mv x/a/big x/a/renamed
    before=$(stat -f -c %a x)
    exits 0 --json x/a x/b
    [ "$(summary adopted <<<"$output")" = 2 ]
    [ "$(summary literal_bytes <<<"$output")" = 0 ]
    after=$(stat -f -c %a x)
    # Two more names of 8 MiB, and hardly a block less.
    [ $(((before - after) * $(stat -f -c %S x))) -lt $((2 << 20)) ]
    same x/a x/b
}

@test "what is the same for many objects is said for some of them, and counted" {
    mount_tmpfs b 1m
    for i in $(seq 60); do
        mkdir -p a
        head -c 100000 /dev/zero | tr '\0' "\\$(printf %o $((64 + i)))" >"a/$(printf %02d "$i")"
    done
    exits 3 a b
    [ "$(grep -c 'No space left' <<<"$errors")" -le 22 ]
    grep -q 'the same for [0-9]* more objects' <<<"$errors"
    # A program gets all of them.
    exits 3 --json a b
    [ "$(jq -r 'select(.event == "error") | .path' <<<"$output" | wc -l)" -gt 40 ]
}

@test "stores: more sets of members that lack something than there are channels" {
    local m members=(m0 m1 m2 m3 m4 m5 m6 m7 m8 m9) set
    mkdir "${members[@]}"
    for ((set = 1; set < 1024; set++)); do
        for m in {0..9}; do
            ((set >> m & 1)) && echo "$set" >"m$m/$set"
        done
    done
    find m? -type f -exec touch -d @1000000000 {} +
    exits 0 --through "${members[@]}"
    same m0 m4 m9
    # Patches take three channels, where bundles take one.
    for ((set = 1; set < 1024; set++)); do
        for m in {0..9}; do
            ((set >> m & 1)) && echo "$set changed" >"m$m/$set"
        done
    done
    exits 0 --through "${members[@]}"
    same m0 m4 m9
    grep -q changed m3/1
}
