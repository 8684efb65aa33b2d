# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Completion of dmemctl(1) for bash. There is no list in here: verbs and options come from --help.

__dmemctl_verbs() {
        "$1" --help 2>/dev/null | sed -n '/Options:/q; s/^  \([a-z-]*\) .*/\1/p'
}

# Options that go with verb $2, all of them without; those that need a value end in `=`.
__dmemctl_options() {
        "$1" --help 2>/dev/null | awk -v verb="$2" '
                /^  -[a-z]/ { print $1 }
                match($0, /^ +(-[a-z] )?--[a-z0-9-]+=?/) {
                        name = substr($0, RSTART, RLENGTH)
                        sub(/.* /, "", name)
                        if (verb != "" && match($0, /\([a-z, -]+\)$/) &&
                            !index(", " substr($0, RSTART + 1, RLENGTH - 2) ", ", ", " verb ", "))
                                next
                        print name
                }'
}

# The first word that is a verb, up to the one that is completed
__dmemctl_verb() {
        local i verbs
        verbs=$(__dmemctl_verbs "$1")
        for ((i = 1; i < COMP_CWORD; i++)); do
                if grep -qxF -e "${COMP_WORDS[i]}" <<<"$verbs"; then
                        printf '%s\n' "${COMP_WORDS[i]}"
                        return
                fi
        done
}

_dmemctl() {
        local program=$1 current=${COMP_WORDS[COMP_CWORD]} option="" verb
        COMPREPLY=()

        # bash takes --option=value apart
        if [[ $current == = ]]; then
                option=${COMP_WORDS[COMP_CWORD - 1]} current=""
        elif ((COMP_CWORD >= 2)) && [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
                option=${COMP_WORDS[COMP_CWORD - 2]}
        elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == --* ]] &&
                __dmemctl_options "$program" "" | grep -qxF -e "${COMP_WORDS[COMP_CWORD - 1]}="; then
                option=${COMP_WORDS[COMP_CWORD - 1]}
        fi
        verb=$(__dmemctl_verb "$program")

        case $option:$verb:$current in
        --json:*) mapfile -t COMPREPLY < <(compgen -W "pretty short off" -- "$current") ;;
        --root:*) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        --*:*:*) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        :*:-*)
                mapfile -t COMPREPLY < <(compgen -W "$(__dmemctl_options "$program" "$verb")" -- "$current")
                [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
                ;;
        ::*) mapfile -t COMPREPLY < <(compgen -W "$(__dmemctl_verbs "$program")" -- "$current") ;;
        :capture:*) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        :forget:*)
                mapfile -t COMPREPLY < <(compgen -W "$("$program" --no-pager --no-legend poisoned 2>/dev/null |
                        grep -o '^0x[0-9a-f]*')" -- "$current")
                ;;
        esac
        return 0
}

complete -F _dmemctl dmemctl
