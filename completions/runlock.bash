# Completion of runlock(1) for bash, made whole by `make docs`; its frame is in tests/suite/documents.
# It needs nothing besides bash; with bash-completion the command gets its own.

# One row for each option: its spellings, the name of its value, what it does.
_runlock_options() {
    options=(
        '-h --help||show this help'
        '-V --version||show the version'
    )
}

_runlock() {
    local IFS=$' \t\n' options=() words=() starts=() glued='' last first=1 current
    COMPREPLY=()
    _runlock_options
    _runlock_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}
    [[ $last -gt 1 && ${words[1]} == -- ]] && first=2
    if ((last > first)); then
        [[ $first -eq 1 && ${words[1]} == -?* ]] || _runlock_behind
    elif [[ $first -eq 1 && $current == -* ]]; then
        _runlock_rows "${options[@]}"
    else
        _runlock_files
    fi
    _runlock_unglue
}

_runlock_behind() {
    _runlock_command $((first + 1))
}

# The words up to the cursor, put together where bash takes them apart (COMP_WORDBREAKS): --timeout=5 is one. `starts`:
# where each of them begins in COMP_WORDS. `glued`: what comes before the part of the last one that is replaced.
_runlock_words() {
    local i part line=${COMP_LINE-} joint=''
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        joint=''
        if ((i)) && [[ $line != [[:blank:]]* ]] && [[ $part == [=:]* || ${words[-1]} == *[=:] ]]; then
            joint=1
        fi
        line=${line#"${line%%[![:blank:]]*}"}
        line=${line#"$part"}
        # Of the last one only what is before the cursor; of a sign itself nothing is replaced.
        if ((i == COMP_CWORD)); then
            if [[ $part == [=:]* ]]; then
                [[ $joint ]] && words[-1]+=$part
                glued=${words[-1]}
                return
            fi
            part=$1
            [[ $joint ]] && glued=${words[-1]}
        fi
        if [[ $joint ]]; then
            words[-1]+=$part
        else
            words+=("$part")
            starts+=("$i")
        fi
    done
}

# readline replaces only what comes after the last = or : in the word.
_runlock_unglue() {
    local i
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$glued"}
    done
}

# Spellings of these rows; with what they do where a list is shown and not inserted.
_runlock_rows() {
    local row name matching=()
    for row; do
        for name in ${row%%|*}; do
            [[ $name == "$current"* ]] && matching+=("$name|${row##*|}")
        done
    done
    for row in "${matching[@]}"; do
        name=${row%%|*}
        # TYPE ? is the list after a second Tab, ! and @ after a first one.
        if [[ ${COMP_TYPE-} == @(63|33|64) ]] && ((${#matching[@]} + ${#COMPREPLY[@]} > 1)); then
            printf -v name '%-22s (%s)' "$name" "${row#*|}"
        fi
        COMPREPLY+=("$name")
    done
}

_runlock_files() {
    # What is quoted readline knows better how to read; so it does it when there is nothing else.
    if [[ ${COMP_WORDS[COMP_CWORD]} == *[\\\'\"\$\`]* ]]; then
        compopt -o default 2>/dev/null
        return
    fi
    compopt -o filenames 2>/dev/null
    _runlock_lines compgen -f -- "$current"
}

# The command that begins with this word of ours.
_runlock_command() {
    local helper
    for helper in _comp_command_offset _command_offset; do
        if declare -F "$helper" >/dev/null; then
            "$helper" "${starts[$1]}"
            return
        fi
    done
    if (($1 < last)); then
        _runlock_files
    elif [[ $current == */* ]]; then
        compopt -o filenames 2>/dev/null
        _runlock_lines compgen -c -- "$current"
        _runlock_lines compgen -d -- "$current"
    else
        _runlock_lines compgen -c -- "$current"
    fi
}

# Adds the lines that a command prints.
_runlock_lines() {
    local lines
    mapfile -t lines < <("$@")
    COMPREPLY+=("${lines[@]}")
}

complete -F _runlock runlock
