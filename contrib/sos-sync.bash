# bash completion for sos-sync
# shellcheck shell=bash

_sos_sync() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words

    COMPREPLY=()
    [ "$before" != "=" ] || before=${COMP_WORDS[COMP_CWORD - 2]}
    [ "$word" != "=" ] || word=
    case $before in
    --fsync) words="batch always none" ;;
    --color) words="auto always never" ;;
    --format) words="text json mtree" ;;
    --prune-check) words="read stat" ;;
    --exclude | --include | --timeout | --threads | --group | --object | --adopt | --rsh | -e | --remote-command | --bwlimit | --older-than | --part | --max-delete | --explain) return ;;
    --config | --policy | --exclude-from | --include-from | --ssh-config | --known-hosts | --identity)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --state-dir | --cache-dir | --root)
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
        ;;
    *)
        case $word in
        -*)
            words="--accept-new --adopt --bwlimit --cache-dir --checksum --color --compress --config --dry-run --exclude
                --exclude-from --explain --format --fsync --group --help --identity --include --include-from --json --known-hosts
                --max-delete --mtree --no-cache --no-compress --no-progress --no-sandbox --policy --progress --prune-check --quiet --remote-command --rsh
                --ssh-config --state-dir --stats --threads --through --timeout --verbose --version --wait"
            [ "${COMP_WORDS[1]}" != agent ] ||
                words="--help --no-delete --no-sandbox --quiet --read-only --root --state-dir --verbose --version"
            [ "${COMP_WORDS[1]}" != trash ] ||
                words="--accept-new --adopt --bwlimit --color --config --group --help --identity --json --known-hosts
                    --no-progress --no-sandbox --older-than --progress --quiet --remote-command --rsh --ssh-config
                    --state-dir --timeout --verbose --version"
            [ "${COMP_WORDS[1]}" != policy ] ||
                words="--color --config --group --help --json --no-progress --object --policy --progress --quiet --version --xml"
            case ${COMP_WORDS[1]} in
            scrub | rm | status) words=${words/--max-delete/} words=${words/--explain/} words=${words/--prune-check/} ;;
            esac
            [ "${COMP_WORDS[1]}" != scrub ] || words+=" --no-heal --part"
            [ "${COMP_WORDS[1]}" != rm ] || words+=" --recursive"
            ;;
        *)
            if [ "${COMP_WORDS[1]}" = trash ] && [ "$COMP_CWORD" = 2 ]; then
                mapfile -t COMPREPLY < <(compgen -W "list restore empty" -- "$word")
                return
            fi
            if [ "${COMP_WORDS[1]}" = policy ] && [ "$COMP_CWORD" -gt 1 ]; then
                [ "$before" != import ] || { mapfile -t COMPREPLY < <(compgen -f -- "$word") && return; }
                words="get addpreferred addblocked remove allowreplication disallowreplication setreplicas clearreplication
                    setreplication import"
                mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
                return
            fi
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            [ "$COMP_CWORD" -gt 1 ] || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W "manifest policy replicate rm trash scrub status agent" -- "$word")
            return
            ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -o filenames -F _sos_sync sos-sync
