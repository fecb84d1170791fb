# Completion of @name@(1) for bash, @made@.
# It requires only bash; with bash-completion, COMMAND is completed as usual.

# One row per option: its spellings, the name of its value, its help.
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
        [[ $first -eq 1 && ${words[1]} == -?* ]] || _@function@_command_line
    elif [[ $first -eq 1 && $current == -* ]]; then
        _@function@_rows "${options[@]}"
    else
        _@function@_files
    fi
    _@function@_unglue
}

_@function@_command_line() {
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
