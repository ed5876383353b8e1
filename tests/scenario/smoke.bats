load lib

setup() { setup_world; }
teardown() { teardown_world; }

@test "two stores come to hold the same" {
    put a one 1 1700000000.123456789
    put b deep/er/two 22
    chmod 640 b/deep/er/two
    ln -s one a/link
    exits 0 a b
    same a b
    [ "$(cat a/deep/er/two)" = 22 ]
    [ "$(stat -c %a a/deep/er/two)" = 640 ]
    [ "$(stat -c %y b/one)" = "2023-11-14 22:13:20.123456789 +0000" ]
}

@test "three stores come to hold the same, and a second run has nothing to do" {
    put a one 1
    put b two 22
    put c three 333
    exits 0 a b c
    same a b c
    [ "$(find a -type f -not -path '*/.sos-sync/*' | wc -l)" = 3 ]
    exits 0 --json a b c
    [ -z "$(acts <<<"$output")" ]
    [ "$(summary objects <<<"$output")" = 3 ]
}

@test "a dry run says what would be done, and changes nothing" {
    put a one 1
    put a sub/two 22
    mkdir b
    find a b -printf '%p %T@ %C@ %s\n' | sort >before
    exits 0 --json --dry-run a b
    find a b -printf '%p %T@ %C@ %s\n' | sort | diff before -
    acts <<<"$output" | sort >acts
    diff acts - <<TXT
copy one b
copy sub/two b
mkdir sub b
TXT
    [ "$(summary dry_run <<<"$output")" = true ]
}
