load lib
load ssh
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
    for i in 1 2 3 4 5; do echo $i >a/o$i; done
    head -c 3000000 /dev/urandom >big; cp big "a/$(sha1sum <big | cut -c 1-40)"
    misbehave a '"GET /blob/o1" 500 2' '"GET /blob/o2" cut=1 1' '"GET /blob/????????????????????????????????????????" cut=1000000 2'
    misbehave b '"POST /blob/o3" close 1' '"POST /blob/o4" retry=1 1' "\"POST /blob/o5\" 'retry=$(date -u -d '+1 second' '+%a, %d %b %Y %T GMT')' 1"
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
}

@test "blobs: where an id says nothing, a conflict is settled by the rule, and what lost is in the trash" {
    local trash
    serve a; serve b
    mkdir d
    curl -sf --data-binary one -H 'X-Which: 1' "$a/blob/free" >/dev/null
    printf '[1]\na: %s\nb: %s\nd: %s\n' "$a" "$b" "$PWD/d" >sos.conf
    exits 0 --config sos.conf
    alike a b d
    # Nobody has read it: nothing is known.
    curl -sf --data-binary two "$b/blob/free" >/dev/null
    idle --config sos.conf
    # By the member that the policy names,
    printf '[group 1]\nconflict: a\n' >policy
    exits 0 --checksum --json --config sos.conf --policy policy
    [ "$(acts <<<"$output")" = "conflict free b" ]
    alike a d
    [ "$(cat b/free)" = one ]
    exits 0 trash list --json --config sos.conf
    [ "$(jq -r '.member + " " + .path + " " + .reason' <<<"$output")" = "b free conflict" ]
    # and back.
    exits 0 trash restore --config sos.conf free
    [ "$(cat b/free)" = two ]
    exits 0 trash list --json --config sos.conf
    [ "$(jq -r '.member + " " + .path + " " + .reason' <<<"$output")" = "b free restored over" ]
    # By who is the newest: a server does not tell, a directory does.
    touch -d '+1 day' d/free
    exits 0 --checksum --json --config sos.conf
    [ "$(acts <<<"$output")" = "conflict free b" ]
    [ "$(cat b/free)" = one ]
    printf three >d/free
    touch -d '+2 days' d/free
    exits 0 --checksum --json --config sos.conf
    [ "$(acts <<<"$output" | sort)" = "$(printf 'conflict free a\nconflict free b')" ]
    [ "$(cat a/free b/free)" = threethree ]
    printf four >a/free
    touch -d '+3 days' a/free
    exits 0 --checksum --json --config sos.conf
    [ "$(acts <<<"$output")" = "conflict free a" ]
    idle --config sos.conf
    exits 0 --checksum --json --config sos.conf
    [ -z "$(acts <<<"$output")" ]
    # Where both are to be kept there is no name for the other one.
    printf '[group 1]\nconflict: keep-both\n' >policy
    printf five >a/free
    exits 3 --checksum --config sos.conf --policy policy
    exits 3 --checksum --config sos.conf --policy policy
    [ "$(cat a/free b/free d/free)" = fivethreethree ]
    # A server that refuses is left as it is, and nothing piles up.
    misbehave a '"POST /blob/free" 403'
    exits 0 trash empty --config sos.conf
    exits 3 --checksum --config sos.conf
    exits 3 --checksum --config sos.conf
    exits 0 trash list --config sos.conf
    [ "$(cat a/free)$output" = five ]
    misbehave a
    # What could not be read is in no conflict.
    misbehave b '"GET /blob/free" 500'
    exits 3 --checksum --config sos.conf
    [ "$(cat b/free)" = three ]
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
    for i in $(seq 16); do echo $i >a/o$i; done
    printf '[1]\n-: %s\n-: %s\n-: %s\n' "$a" "$b" "$c" >sos.conf
    printf '[default]\nreplicas: 1\n' >policy
    exits 0 --config sos.conf --policy policy
    [ "$(find b c -type f | wc -l)" = 16 ]
    exits 0 --json --config sos.conf --policy policy
    [ -z "$(acts <<<"$output")" ]
    cp a/* b; cp a/* c
    : >a.log; : >b.log; : >c.log
    exits 4 --json --config sos.conf --policy policy
    [ "$(grep -c "takes no DELETE" <<<"$output")" = 2 ]
    [ "$(summary over_replicated <<<"$output") $(summary failed <<<"$output")" = "16 0" ]
    [ -z "$(acts <<<"$output")" ]
    [ "$(find a b c -type f | wc -l)" = 48 ]
    [ "$(asked b 'DELETE .*') $(asked c 'DELETE .*')" = "1 1" ]
    [ "$(asked a 'GET /blob/.*')" -le 2 ] # no copy is confirmed for nothing
    # From now on it is known: told again, planned no more, and asked once in a run.
    exits 4 -n --json --config sos.conf --policy policy
    [ "$(summary over_replicated <<<"$output")$(acts <<<"$output")" = 16 ]
    [ "$(asked b 'DELETE .*')" = 1 ]
    exits 4 --json --config sos.conf --policy policy
    [ "$(summary over_replicated <<<"$output")$(acts <<<"$output")" = 16 ]
    [ "$(asked b 'DELETE .*') $(asked c 'DELETE .*')" = "2 2" ]
    exits 4 status --json --config sos.conf --policy policy
    [ "$(jq 'select(.event == "status") | .over_replicated, .copies_wanted, .copies_there' <<<"$output" | tr '\n' ' ')" = "16 32 32 " ]
    exits 0 --explain o1 --json --config sos.conf --policy policy
    [ "$(jq -r '.members[].why' <<<"$output" | sort | tr '\n' ,)" = \
        "has it, and as many are asked for,more copies than asked for, but it takes nothing away,the original," ]
    # Until it takes DELETE after all.
    misbehave b '"DELETE *" delete'
    misbehave c '"DELETE *" delete'
    exits 0 --json --config sos.conf --policy policy
    [ "$(summary pruned <<<"$output") $(summary over_replicated <<<"$output")" = "16 0" ]
    [ "$(find a b c -type f | wc -l)" = 32 ]
    idle --config sos.conf --policy policy
    cp a/* d
    printf '[1]\nx: %s\ny: %s\n' "$a" "$d" >sos.conf
    printf '[default]\nblocked: y\n' >policy
    rm -r "$HOME/.local"
    exits 0 --json --config sos.conf --policy policy
    [ "$(summary pruned <<<"$output")" = 16 ]
    [ -z "$(ls d)" ]
}

@test "blobs: a server may be in two groups" {
    serve a; serve b; serve c
    blob a one; blob b two; blob c three
    printf '[1]\n-: %s\n-: %s\n[2]\n-: %s\n-: %s\n' "$a" "$b" "$c" "$a" >sos.conf
    exits 0 --config sos.conf
    exits 0 --config sos.conf
    alike a b c
    idle --config sos.conf --group 1
    idle --config sos.conf --group 2
}

@test "blobs: what was removed and a server keeps is told, and comes back nowhere" {
    serve a; serve b
    mkdir d
    for i in 1 2 3; do echo $i >a/o$i; done
    printf '[1]\n-: %s\n-: %s\n-: %s\n' "$a" "$b" "$PWD/d" >sos.conf
    exits 0 --config sos.conf
    exits 4 rm --config sos.conf o1 o2
    [ "$(ls d)" = o3 ]
    : >a.log
    exits 4 --json --config sos.conf
    [ -z "$(acts <<<"$output")" ]
    [ "$(ls d)" = o3 ]
    [ "$(asked a 'DELETE .*')" = 1 ]
    misbehave a '"DELETE *" delete'
    misbehave b '"DELETE *" delete'
    exits 0 --config sos.conf
    alike a b d
}

@test "blobs: deletions: propagate goes by the directories, and what a server lacks was lost" {
    serve a; serve b --delete
    mkdir d
    for i in $(seq 9); do blob a "$i"; done
    printf '{"X-A":"1"}' >"a/$id.json"
    printf '[1]\na: %s\nb: %s\nd: %s\n' "$a" "$b" "$PWD/d" >sos.conf
    printf '[group 1]\ndeletions: propagate\n' >policy
    exits 0 --config sos.conf --policy policy
    rm "d/$id" "d/$id.json"
    # Deleted where the server takes that; elsewhere it is told, and stays. It comes back to nobody.
    exits 4 --json --config sos.conf --policy policy
    [ "$(acts <<<"$output")" = "delete $id b" ]
    [ -e "a/$id" ] && [ ! -e "b/$id" ] && [ ! -e "b/$id.json" ] && [ ! -e "d/$id" ]
    exits 4 --json --config sos.conf --policy policy
    [ -z "$(acts <<<"$output")" ]
    # It is in the trash, which is where the state is, and can be put back from there.
    exits 0 trash list --json --config sos.conf
    [ "$(jq -r '.member + " " + .path + " " + .reason' <<<"$output")" = "b $id deleted" ]
    exits 0 trash restore --config sos.conf "$id"
    exits 0 --config sos.conf --policy policy
    alike a b d
    [ "$(cat "d/$id.json")" = '{"X-A":"1"}' ]
    # What is missing on a server was lost.
    rm "b/$id"
    exits 0 --config sos.conf --policy policy
    alike a b d
    # By hand it works as everywhere.
    exits 4 rm --config sos.conf --policy policy "$id"
    [ ! -e "b/$id" ] && [ ! -e "d/$id" ]
    exits 0 trash list --config sos.conf
    [ "$(grep -c "$id" <<<"$output")" = 2 ]
    # An empty directory is not taken at its word.
    rm d/*
    exits 6 --config sos.conf --policy policy
    [ "$(find b -type f | wc -l)" = 8 ]
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

@test "blobs: directories and servers in one group, with the same sidecars" {
    serve a; serve b
    curl -sf --data-binary hey -H 'X-Odd: <&>' "$a/blob/meta" >/dev/null
    curl -sf --data-binary hoy -H 'X-Mime-Type: text/plain' "$b/blob/mime" >/dev/null
    mkdir d
    blob d "from the directory"
    printf '{"X-A":"1"}' >"d/$id.json"
    exits 0 "$a" d "$b"
    alike a b d
    [ "$(cat d/meta.json)" = '{"X-Odd":"\u003c\u0026\u003e"}' ]
    idle "$a" d "$b"
    [ -z "$(find d -name '.*' -not -name d)" ] && [ -e d.sos-sync/manifest ]
    # Damage in either is healed from the other; what was damaged in the directory is kept.
    echo bad >"d/$id"
    exits 0 scrub --json "$a" d "$b"
    [ "$(acts <<<"$output")" = "heal $id d" ]
    [ "$(cat d.sos-sync/trash/*/"$id")" = bad ]
    echo bad >"a/$id"
    exits 0 --checksum "$a" d
    alike a d
}

@test "blobs: a directory of blobs that is gone is not begun anew" {
    serve a
    mkdir d
    for i in 1 2 3; do echo $i >a/o$i; done
    exits 0 "$a" d
    rm -r d
    exits 6 "$a" d
    [ ! -e d ]
    mkdir d
    exits 6 "$a" d
    [ -z "$(ls d)" ]
    exits 0 --max-delete 100% "$a" d
    alike a d
}

@test "blobs: in a directory, too, nothing but blobs counts" {
    serve a
    mkdir -p d/sub
    ln -s /etc/passwd d/passwd
    mkfifo d/fifo
    echo x >d/.hidden; echo x >d/UPPER; echo x >d/fine; echo x >d/stray.json
    exits 0 "$a" d
    [ "$(ls a)" = fine ]
    [ "$(grep -c 'cannot be objects' <<<"$errors")" = 1 ]
}

@test "blobs: store: makes a member a directory, here or elsewhere, without touching sos.conf" {
    serve a; serve b; serve c
    rsh_here
    blob a one; blob b two; blob c three
    printf '[1]\n-: %s\n-: %s\n-: %s\n' "$a" "$b" "$c" >sos.conf
    printf '[node %s]\nstore: %s/a\n[node %s]\nstore: ssh://far%s/b\n' "$a" "$PWD" "$b" "$PWD" >policy
    : >a.log; : >b.log
    exits 0 replicate --config sos.conf --policy policy
    [[ $output == *"Fetching :$a/blob/"* ]]
    alike a b c
    [ "$(cat a.log b.log)" = "" ]
    # All of them: then they are directories like others, but what is ours is still not listed by their servers.
    printf '[node %s]\nstore: %s/c\n' "$c" "$PWD" >>policy
    blob a four
    exits 0 --config sos.conf --policy policy
    alike a b c
    [ "$(curl -sf "$b/blobs")" = "$(curl -sf "$a/blobs")" ]
    [ -z "$(find a b c -name '.*')" ]
    exits 0 rm --config sos.conf --policy policy "$id"
    [ ! -e "c/$id" ]
}

# The far end of a forced command: whatever it is asked to execute, it serves this directory.
held() {
    printf '#!/bin/sh\nexec %q agent --root %q\n' "$SOS_SYNC" "$1" >held
    chmod +x held
}

@test "blobs: a forced command serves a directory of blobs with its state beside it, or says what is missing" {
    serve a
    mkdir b
    blob a one; blob b two
    held "$PWD/b"
    EXTRA+=(--rsh "$PWD/held")
    printf '[1]\n-: %s\n-: ssh://far%s/b\n' "$a" "$PWD" >sos.conf
    local got=0
    sync --config sos.conf 2>errors || got=$?
    if [ "$got" != 0 ]; then # where the kernel confines it
        [ "$got" = 3 ]
        grep -q "b.sos-sync: cannot be made beside.*make it there" errors || { cat errors; false; }
        [ -z "$(find b -name '.*')" ]
    fi
    mkdir -p b.sos-sync
    exits 0 --config sos.conf
    alike a b
    [ -s b.sos-sync/manifest ]
    [ -z "$(find b -name '.*')" ]
    idle --config sos.conf
    # It remembers: what is gone at once is taken for an unmounted disk.
    rm b/*
    exits 6 --config sos.conf
}

@test "blobs: where an object came from is known to the directories of the group, whoever drives the run" {
    serve a; serve b
    mkdir d
    blob b "from b"
    printf '[1]\na: %s\nb: %s\nd: %s\n' "$a" "$b" "$PWD/d" >sos.conf
    exits 0 --config sos.conf
    origin() { sync --config sos.conf --explain "$id" --json | jq -r 'select(.event == "explain").members[] | select(.why == "the original").member'; }
    [ "$(origin)" = b ]
    rm -r "$HOME/.local"
    sleep 1.1 # so that it is not the same second
    exits 0 --config sos.conf
    [ "$(origin)" = b ]
}

@test "blobs: the trash of a directory of blobs gives back an object with its metadata" {
    serve a
    mkdir d
    blob a good
    printf '{"X-A":"1"}' >"a/$id.json"
    printf '[1]\na: %s\nd: %s\n' "$a" "$PWD/d" >sos.conf
    exits 0 --config sos.conf
    exits 4 rm --config sos.conf "$id"
    [ -z "$(ls d)" ]
    exits 0 trash list --json --config sos.conf
    [ "$(jq -r '.member + " " + .path' <<<"$output")" = "d $id" ]
    exits 0 trash restore --config sos.conf "$id"
    [ "$(cat "d/$id") $(cat "d/$id.json")" = 'good {"X-A":"1"}' ]
    exits 0 trash list --config sos.conf
    [ -z "$output" ]
    exits 0 --config sos.conf
    alike a d
    # Damage on a server is kept where its state is, before it is healed.
    echo bad >"a/$id"
    exits 0 scrub --config sos.conf
    exits 0 trash list --json --config sos.conf
    [ "$(jq -r '.member + " " + .path + " " + .reason' <<<"$output")" = "a $id damaged" ]
    exits 0 trash empty --config sos.conf
    exits 0 trash list --config sos.conf
    [ -z "$output" ]
    alike a d
}

@test "blobs: manifest, status and scrub speak of a server as far as it tells" {
    serve a
    blob a good
    echo free >a/free
    exits 0 manifest "$a"
    [ "$(awk '{ print $3, $NF }' <<<"$output")" = "$(printf -- '- %s\n- free' "$id" | sort -k 2)" ]
    exits 0 manifest -c --json "$a"
    [ "$(jq -c 'select(.path == "free") | [.size, .digest]' <<<"$output")" = "[5,\"$(xxhsum -H2 <a/free | cut -d ' ' -f 1)\"]" ] ||
        ! command -v xxhsum >/dev/null
    [ "$(jq -c "select(.path == \"$id\") | [.size, .digest]" <<<"$output")" = "[null,null]" ]
    echo bad >"a/$id"
    exits 3 manifest -c "$a"
    [[ $errors == *"$id"*damaged* ]]
    exits 1 manifest --mtree "$a"
    [ ! -e "$HOME/.local" ]
    exits 2 manifest http://127.0.0.1:1
    mkdir d
    printf '[1]\na: %s\nd: %s\n' "$a" "$PWD/d" >sos.conf
    exits 3 --config sos.conf # for the damaged one
    exits 3 status --config sos.conf
    [[ $output == *"2 objects"*"1 damaged"* ]]
    exits 3 scrub --config sos.conf
}

@test "blobs: --bwlimit holds for what servers give, take, and are asked to be read" {
    local began
    serve a; serve b
    for i in 1 2 3 4 5 6; do head -c 100000 /dev/urandom >big; cp big "a/$(sha1sum <big | cut -c 1-40)"; done
    began=$(date +%s%N)
    exits 0 --bwlimit 300K "$a" "$b"
    (( $(date +%s%N) - began > 2000000000 )) # in and out
    alike a b
    began=$(date +%s%N)
    exits 0 -c --bwlimit 600K "$a" "$b"
    (( $(date +%s%N) - began > 1000000000 ))
}

@test "blobs: servers with other habits" {
    local i=0 habits
    serve b
    head -c 2500000 /dev/urandom >big; cp big "b/$(sha1sum <big | cut -c 1-40)"
    : >b/empty
    printf '{"X-A":"b c","X-Empty":""}' >b/meta.json; echo meta >b/meta
    while read -r habits; do
        i=$((i + 1))
        # shellcheck disable=SC2086
        odd "o$i" $habits
        echo "$habits" >"o$i/own$i"
        head -c 3000000 /dev/urandom >big; cp big "o$i/$(sha1sum <big | cut -c 1-40)"
        local url="o$i"
        exits 0 "${!url}" "$b"
        alike b "o$i"
        idle "${!url}" "$b"
        exits 0 -c --json "${!url}" "$b"
        [ -z "$(acts <<<"$output")" ]
    done <<'HABITS'
--old --sizes
--chunked --lower
--created --no-head --no-alive
--expect --continue --fold
--gzip --modified
--early --slow 0.05
HABITS
    odd r --redirect
    exits 3 "$r" "$b"
    [[ $errors == *"301 Moved Permanently, to /moved/"* ]]
}

@test "blobs: a blob of any size is in nobody's memory" {
    odd a --holes
    odd b --holes --sizes
    truncate -s 300M a/big
    mv a/big "a/$(sha1sum <a/big | cut -c 1-40)"
    printf '%s\n' 'import resource, subprocess, sys' 'rc = subprocess.run(sys.argv[1:], stdout=2).returncode' \
        'print(rc, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' >peak.py
    read -r rc peak <<<"$(python3 peak.py "$SOS_SYNC" --no-progress "$a" "$b")"
    [ "$rc" = 0 ]
    [ "$(stat -c %s b/*)" = 314572800 ]
    grep -q __asan_init "$SOS_SYNC" || [ "$peak" -lt 64 ] # MiB; the largest of all its processes
    mkdir d
    read -r rc peak <<<"$(python3 peak.py "$SOS_SYNC" --no-progress "$b" d)"
    [ "$rc" = 0 ]
    grep -q __asan_init "$SOS_SYNC" || [ "$peak" -lt 64 ]
}

@test "blobs: ids as long as a file's name may be" {
    local long
    serve a; serve b
    mkdir d
    long=$(printf 'a%.0s' $(seq 255))
    echo x >"a/$long"
    long=$(printf 'b%.0s' $(seq 250))
    echo x >"a/$long"; printf '{"X-A":"1"}' >"a/$long.json"
    exits 0 "$a" "$b" d
    alike a b d
    idle "$a" "$b" d
}

# gateway NAME BACKEND: nginx in front of a server, with https; its URL is then in the variable NAME, its certificate trusted.
gateway() {
    local port tries
    command -v nginx >/dev/null && command -v openssl >/dev/null || skip "no nginx"
    mkdir -p "$1"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1/key" -out "$1/cert" -days 2 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null
    export CURL_CA_BUNDLE=$PWD/$1/cert
    for tries in {1..20}; do
        port=$((20000 + RANDOM % 12000)) # below those that connections are given
        gateway_conf "$1" "$2" "$port" >"$1/conf"
        nginx -p "$PWD/$1" -c "$PWD/$1/conf" 3>&- 4>&- &
        SERVERS+=($!)
        ! gateway_answers "https://127.0.0.1:$port" $! || break
    done
    printf -v "$1" 'https://127.0.0.1:%s' "$port"
}

# NAME BACKEND PORT: the configuration, on standard output.
gateway_conf() {
    cat <<CONF
$([ "$(id -u)" != 0 ] || echo 'user root;') daemon off; pid $PWD/$1/pid; error_log $PWD/$1/error;
events { }
http {
    access_log off; client_max_body_size 0;
    client_body_temp_path $PWD/$1/t1; proxy_temp_path $PWD/$1/t2; fastcgi_temp_path $PWD/$1/t3;
    uwsgi_temp_path $PWD/$1/t4; scgi_temp_path $PWD/$1/t5;
    server {
        listen 127.0.0.1:$3 ssl;
        ssl_certificate $PWD/$1/cert; ssl_certificate_key $PWD/$1/key;
        location / { proxy_pass $2; proxy_http_version 1.1; proxy_set_header Connection ""; gzip on; gzip_types *; }
    }
}
CONF
}

# URL PID: it is this server that answers. Fails when it has ended, as where the port is somebody else's.
gateway_answers() {
    while kill -0 "$2" 2>/dev/null; do
        ! curl -sf "$1/alive" >/dev/null || return 0
        sleep 0.05
    done
    return 1
}

@test "blobs: through a gateway with https, and only with a certificate that is trusted" {
    serve a; serve b
    gateway g "$a"
    head -c 5000000 /dev/urandom >big; cp big "a/$(sha1sum <big | cut -c 1-40)"
    head -c 4000000 /dev/urandom >big; cp big "b/$(sha1sum <big | cut -c 1-40)"
    for i in $(seq 30); do blob a "text $i text text text text text text text text text text text"; done
    : >b/empty
    exits 0 "$g" "$b"
    alike a b
    blob a more
    unset CURL_CA_BUNDLE
    exits 3 "$g" "$b"
    [[ $errors == *certificate* ]]
    [ ! -e "b/$id" ]
}
