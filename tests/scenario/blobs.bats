load lib
load blobs

# SoS blob-servers as members.

setup() {
    setup_world
    export no_proxy='*'
    unset XDG_STATE_HOME
}
teardown() {
    stop_servers
    teardown_world
}

@test "blobs: objects and their metadata travel, sidecars byte for byte" {
    serve a; serve b; serve c
    curl -sf --data-binary 'some text' -H 'x-orig-filename:  a b.jpg ' -H 'X-Mime-Type: image/jpeg' -H 'X-Empty;' \
        -H 'X-Odd: <&>"\ é' "$a/blob/abc123" >/dev/null
    head -c 3000000 /dev/urandom >big
    curl -sf --data-binary @big "$b/blob/$(sha1sum <big | cut -c 1-40)" >/dev/null
    curl -sf --data-binary '' "$c/blob/empty" >/dev/null
    exits 0 --json "$a" "$b" "$c"
    [ "$(summary copied <<<"$output")" = 6 ]
    alike a b c
    [ "$(cat b/abc123.json)" = '{"X-Empty":"","X-Mime-Type":"image/jpeg","X-Odd":"\u003c\u0026\u003e\"\\ é","X-Orig-Filename":"a b.jpg"}' ]
    idle "$a" "$b" "$c"
}

@test "blobs: nothing to do is a listing for each member, and no request for a blob" {
    serve a; serve b
    for i in $(seq 200); do echo "$i" >"a/o$i"; cp "a/o$i" b; done
    exits 0 "$a" "$b"
    : >a.log; : >b.log
    idle "$a" "$b"
    [ "$(asked a 'GET /blobs')" = 1 ]
    [ "$(asked b '.* /blob/.*')$(asked a '.* /blob/.*')" = 00 ]
    # The same from a machine that knows nothing of them, which costs no request either.
    rm -r "$HOME/.local"
    exits 0 --json "$a" "$b"
    [ "$(asked b '.* /blob/.*')$(asked a '.* /blob/.*')" = 00 ]
}

@test "blobs: a dry run leaves no trace" {
    serve a; serve b
    blob a one
    exits 0 -n --json "$a" "$b"
    [ "$(acts <<<"$output")" = "copy $id $b" ]
    [ ! -e "b/$id" ] && [ ! -e "$HOME/.local" ]
    [ "$(asked b 'POST .*')" = 0 ]
}

@test "blobs: replicate prints what sos replicate prints, under either name" {
    serve a; serve b; serve c
    echo 1 >a/one; echo 2 >b/two; cp b/two a/
    printf '[1]\n-: %s\n-: %s\n[2]\n-: http://127.0.0.1:1\n-: %s\n' "$a" "$b" "$c" >sos.conf
    ln -s "$SOS_SYNC" sos
    got=0
    output=$(./sos replicate --config sos.conf 2>/dev/null) || got=$?
    [ "$got" = 3 ] # for the dead one
    [ "$output" = "$(printf '\tObject one is missing on %s\n\tFetching :%s/blob/one\n\tUploading :%s/blob/one' "$b" "$a" "$b")" ]
    alike a b
    echo 3 >b/three
    exits 0 replicate -verbose --config sos.conf --group 1
    [ "$output" = "$(printf '\tObject three is missing on %s\n\t\tMirroring three from %s to %s\n\tFetching :%s/blob/three\n\tUploading :%s/blob/three' "$a" "$b" "$a" "$b" "$a")" ]
    exits 0 replicate --verbose --config sos.conf --group 1
    [ -z "$output" ]
}

@test "blobs: names in a listing that are no ids are skipped, and told once" {
    serve a; serve b
    mkdir a/lost+found a/.sos-sync
    echo x >a/UPPER; echo y >a/fine
    exits 0 "$a" "$b"
    [ "$(grep -c 'cannot be the id' <<<"$errors")" = 1 ]
    [[ $errors == *lost+found* ]]
    [ "$(ls b)" = fine ]
}

@test "blobs: a listing that is wrong fails its member and no other" {
    serve a; serve b; serve c
    echo x >a/one; echo y >c/two
    for rule in 'body=[1]' 'body={}' "body='[\"one\",'" 'page' 'cut=1' 500 nolength 'body=' "body=null"; do
        misbehave b "\"GET /blobs\" $rule"
        exits 3 --json "$a" "$b" "$c"
        [ "$(summary unreachable <<<"$output")" = 1 ]
        [ -z "$(ls b)" ]
    done
    alike a c
}

@test "blobs: what is no whole answer is never an object" {
    serve a; serve b
    echo 1 >a/one; echo 2 >a/two
    head -c 100000 /dev/zero >a/big
    for rule in 404 500 403 'cut=1' 'close' nolength; do
        misbehave a "\"GET /blob/one\" $rule" "\"GET /blob/big\" $rule"
        rm -f b/*
        exits 3 --json "$a" "$b"
        [ "$(ls b)" = two ]
    done
    misbehave a
    exits 0 "$a" "$b"
    alike a b
}

@test "blobs: what passes is tried again, and Retry-After is heeded" {
    serve a; serve b
    for i in 1 2 3 4; do echo $i >a/o$i; done
    head -c 3000000 /dev/urandom >big; cp big "a/$(sha1sum <big | cut -c 1-40)"
    misbehave a '"GET /blob/o1" 500 2' '"GET /blob/o2" cut=1 1' '"GET /blob/????????????????????????????????????????" cut=1000000 2'
    misbehave b '"POST /blob/o3" close 1' '"POST /blob/o4" retry=1 1'
    exits 0 "$a" "$b"
    alike a b
}

@test "blobs: refused uploads are told with what the server says" {
    serve a; serve b
    echo 1 >a/one; echo 2 >a/two
    misbehave b '"POST /blob/one" full'
    exits 3 "$a" "$b"
    [[ $errors == *"failed to write to storage"* ]]
    [ "$(ls b)" = two ]
    # Nothing that was refused is remembered as being there.
    misbehave b
    exits 0 --json "$a" "$b"
    [ "$(summary copied <<<"$output")" = 1 ]
}

@test "blobs: what is not what its id says is told, not spread, and healed" {
    serve a; serve b; serve c
    blob a "good content"
    exits 0 "$a" "$b"
    echo bad >"a/$id"
    exits 0 --json "$c" "$a" "$b"
    [ "$(summary damaged <<<"$output") $(summary healed <<<"$output")" = "1 1" ]
    alike a b c
    blob a "another"
    echo bad >"a/$id"
    exits 3 "$a" "$b"
    [ ! -e "b/$id" ]
    exits 3 "$a" "$b"
    printf another >"a/$id" # repaired by hand
    exits 0 "$a" "$b"
    alike a b
}

@test "blobs: --checksum and scrub read what is there" {
    serve a; serve b
    blob a "good content"
    echo one >a/free
    exits 0 "$a" "$b"
    echo bad >"b/$id"
    idle "$a" "$b"
    exits 0 --checksum --json "$a" "$b"
    [ "$(acts <<<"$output")" = "heal $id $b" ]
    echo bad >"a/$id"
    exits 0 scrub --json "$a" "$b"
    [ "$(acts <<<"$output")" = "heal $id $a" ]
    alike a b
    # An id that says nothing: told, and left to a person.
    echo two >b/free
    exits 3 --checksum "$a" "$b"
    [[ $errors == *free*"by hand"* ]]
    [ "$(cat a/free) $(cat b/free)" = "one two" ]
}

@test "blobs: a server that lists nothing any more is taken for a disk that is not mounted" {
    serve a; serve b; serve c
    for i in 1 2 3; do echo $i >a/o$i; done
    exits 0 "$a" "$b" "$c"
    rm a/*
    echo 4 >b/o4
    exits 6 "$a" "$b" "$c"
    [ -z "$(ls a)" ]
    alike b c
    exits 0 --max-delete 100% "$a" "$b" "$c"
    alike a b
}

@test "blobs: policies are kept, and what cannot be removed is told with a status of its own" {
    serve a; serve b; serve c; serve d --delete
    for i in 1 2 3 4; do echo $i >a/o$i; done
    printf '[1]\n-: %s\n-: %s\n-: %s\n' "$a" "$b" "$c" >sos.conf
    printf '[default]\nreplicas: 1\n' >policy
    exits 0 --config sos.conf --policy policy
    [ "$(find b c -type f | wc -l)" = 4 ]
    exits 0 --json --config sos.conf --policy policy
    [ -z "$(acts <<<"$output")" ]
    cp a/* b; cp a/* c
    exits 4 --config sos.conf --policy policy
    [[ $errors == *"takes no DELETE"* ]]
    [ "$(find a b c -type f | wc -l)" = 12 ]
    cp a/* d
    printf '[1]\nx: %s\ny: %s\n' "$a" "$d" >sos.conf
    printf '[default]\nblocked: y\n' >policy
    rm -r "$HOME/.local"
    exits 0 --json --config sos.conf --policy policy
    [ "$(summary pruned <<<"$output")" = 4 ]
    [ -z "$(ls d)" ]
}

@test "blobs: deletions: propagate is refused, as a server knows no deletions" {
    serve a; serve b
    printf '[1]\n-: %s\n-: %s\n' "$a" "$b" >sos.conf
    printf '[group 1]\ndeletions: propagate\n' >policy
    exits 1 --config sos.conf --policy policy
}

@test "blobs: a server that goes away in the middle does not hold the others up" {
    serve a; serve b; serve c
    for i in $(seq 50); do echo $i >a/o$i; done
    misbehave b '"POST *" close'
    exits 3 --json "$a" "$b" "$c"
    alike a c
}

@test "blobs: ids that nobody may ask for are not asked for" {
    serve a; serve b
    printf '%s' '["../../etc/passwd","a/b","a?b","","ok","ok","%2e%2e"]' >"$BATS_TEST_TMPDIR/list"
    echo x >a/ok
    misbehave a "\"GET /blobs\" body='$(cat "$BATS_TEST_TMPDIR/list")'"
    exits 0 "$a" "$b"
    [ "$(ls b)" = ok ]
    [ "$(asked a 'GET /blob/.*')" = 1 ]
}
