# Completion of @name@(1) for bash, @made@.
# It requires only bash; with bash-completion, COMMAND is completed as usual.

# One row per option: its spellings, the name of its value, its help.
_@function@_options() {
    options=(
@options@
        '--||the command follows'
    )
}

_@function@() {
    local IFS=$' \t\n' options=() words=() starts=() glued='' last i
    local current word option='' value='' attached head
    COMPREPLY=()
    _@function@_options
    _@function@_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}

    # `value`: the kind of value the next word must be.
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ $word == -- ]]; then
            _@function@_command $((i + 1))
            return
        elif [[ $value ]]; then
            value=''
        elif [[ $word == -?* ]]; then
            _@function@_look_up "$word"
        fi
    done
    if [[ $value ]]; then
        _@function@_value "$value" ''
    else
        _@function@_option
    fi
    _@function@_unglue
}

# Values by their names in the table. A short option can also be followed by an equals sign.
_@function@_value() {
    local head=$2
    [[ $head && $head != *= && $current == "$head="* ]] && head+='='
    case $1 in
        FILE)
            _@function@_lines compgen -P "$head" -W "cpu net $(_@function@_named)" -- "${current#"$head"}"
            if [[ $head ]]; then
                _@function@_lines compgen -P "$head" -f -- "${current#"$head"}"
            else
                _@function@_files
            fi
            ;;
        TIME) _@function@_lines compgen -P "$head" -W '0.5 10s 1m 5m 1h' -- "${current#"$head"}" ;;
    esac
}

# The resources that the administrator has defined.
_@function@_named() {
    sed -n 's/^[[:blank:]]*\([^#[:blank:]][^[:blank:]]*\).*/\1/p' "${LOTO_CONF:-/etc/loto.conf}" 2>/dev/null
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
