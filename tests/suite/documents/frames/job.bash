# Completion of @name@(1) for bash, @made@.
# It needs nothing besides bash; with bash-completion the command gets its own.

# One row for each option: its spellings, the name of its value, what it does.
_@function@_options() {
    options=(
@options@
    )
}

_@function@() {
    local IFS=$' \t\n' options=() words=() starts=() glued='' last first=1 current
    COMPREPLY=()
    _@function@_options
    _@function@_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}
    [[ $last -gt 1 && ${words[1]} == -- ]] && first=2
    if ((last > first)); then
        [[ $first -eq 1 && ${words[1]} == -?* ]] || _@function@_behind
    elif [[ $first -eq 1 && $current == -* ]]; then
        _@function@_rows "${options[@]}"
    else
        _@function@_files
    fi
    _@function@_unglue
}

_@function@_behind() {
@first word@
    _@function@_command $((first + 1))
}

@copy _flock_words@

@copy _flock_unglue@

@copy _flock_rows@

@copy _flock_files@

@copy _flock_command@

@copy _flock_lines@

complete -F _@function@ @name@
