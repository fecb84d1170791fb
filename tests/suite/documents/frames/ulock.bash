# Completion of @name@(1) for bash, @made@.
# It requires only bash; with bash-completion, COMMAND is completed as usual.

# One row per option: its spellings, the name of its value, its help.
_@function@_options() {
    options=(
@options@
    )
}

_@function@() {
    local IFS=$' \t\n' options=() words=() starts=() glued='' last i files=0 ended='' reader=''
    local current word option='' value='' attached head
    COMPREPLY=()
    _@function@_options
    _@function@_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}

    # Up to the command or the current word. `value`: the kind of value the next word must be.
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ $value ]]; then
            value=''
        elif [[ $word == -- && ! $ended ]]; then
            ended=1
        elif [[ $word == -?* && ! $ended ]]; then
            _@function@_look_up "$word"
            [[ $option == -r ]] && reader=1
        else
            ((files < 2)) || break
            ((files += 1))
        fi
    done

    if ((i < last)); then
        [[ $reader ]] && _@function@_command "$i"
    elif [[ $value ]]; then
        _@function@_value "$value" ''
    elif [[ $current == -* && ! $ended ]]; then
        _@function@_option
    elif ((files < 2)); then
        _@function@_files
    elif [[ $reader ]]; then
        _@function@_command "$last"
    fi
    _@function@_unglue
}

# Values by their names in the table.
_@function@_value() {
    case $1 in
        SECONDS) _@function@_lines compgen -P "$2" -W '0 10 60 5m 1h' -- "${current#"$2"}" ;;
    esac
}

@copy _flock_words@

@copy _flock_unglue@

@copy _flock_look_up@

@copy _flock_value_name@

@copy _flock_option@

@copy _flock_rows@

@copy _flock_files@

@copy _flock_command@

@copy _flock_lines@

complete -F _@function@ @name@
