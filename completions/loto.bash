# Completion of loto(1) for bash, made whole by `make docs`; its frame is in tests/suite/documents.
# It needs nothing besides bash; with bash-completion the command gets its own.

# One row for each option: its spellings, the name of its value, what it does.
_loto_options() {
    options=(
        '-L|FILE|lock this file or resource; may be given several times'
        '-w||wait for the lock'
        '-t|TIME|wait for the lock, but at most this long: 5, 0.5, 1m30s'
        '-q||say nothing, and return 0, when the lock is taken'
        '-v||tell what is done'
        '-h --help||show this help'
        '-V --version||show the version'
        '--||the command stands behind it'
    )
}

_loto() {
    local IFS=$' \t\n' options=() words=() starts=() glued='' last i
    local current word option='' value='' attached head
    COMPREPLY=()
    _loto_options
    _loto_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}

    # `value`: what the next word must be.
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ $word == -- ]]; then
            _loto_command $((i + 1))
            return
        elif [[ $value ]]; then
            value=''
        elif [[ $word == -?* ]]; then
            _loto_look_up "$word"
        fi
    done
    if [[ $value ]]; then
        _loto_value "$value" ''
    else
        _loto_option
    fi
    _loto_unglue
}

# Values by their names in the table. Behind a letter, too, there may be an equals sign.
_loto_value() {
    local head=$2
    [[ $head && $head != *= && $current == "$head="* ]] && head+='='
    case $1 in
        FILE)
            _loto_lines compgen -P "$head" -W "cpu net $(_loto_named)" -- "${current#"$head"}"
            if [[ $head ]]; then
                _loto_lines compgen -P "$head" -f -- "${current#"$head"}"
            else
                _loto_files
            fi
            ;;
        TIME) _loto_lines compgen -P "$head" -W '0.5 10s 1m 5m 1h' -- "${current#"$head"}" ;;
    esac
}

# What the administrator has named.
_loto_named() {
    sed -n 's/^[[:blank:]]*\([^#[:blank:]][^[:blank:]]*\).*/\1/p' "${LOTO_CONF:-/etc/loto.conf}" 2>/dev/null
}

# The words up to the cursor, put together where bash takes them apart (COMP_WORDBREAKS): --timeout=5 is one. `starts`:
# where each of them begins in COMP_WORDS. `glued`: what comes before the part of the last one that is replaced.
_loto_words() {
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
_loto_unglue() {
    local i
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$glued"}
    done
}

# `option`: what the word is the last or only option of, in its longest spelling; `value`: the value that must follow
# as the next word; `attached`: the value that the word has itself, and `head`: all before it.
_loto_look_up() {
    local row name letters=${1#-}
    option='' value='' attached='' head=''
    if [[ $1 == --* ]]; then
        for row in "${options[@]}"; do
            for name in ${row%%|*}; do
                # The whole name beats the beginning of another one, as in the program.
                if [[ $name == "${1%%=*}" || ( ! $option && $name == "${1%%=*}"* ) ]]; then
                    option=$name
                    _loto_value_name "$row"
                fi
            done
        done
        if [[ $1 == *=* ]]; then
            attached=$value value='' head=${1%%=*}=
        fi
        return
    fi
    while [[ $letters ]]; do
        name=-${letters:0:1}
        letters=${letters:1}
        for row in "${options[@]}"; do
            [[ " ${row%%|*} " == *" $name "* ]] || continue
            option=$name
            _loto_value_name "$row"
            if [[ $value && $letters ]]; then
                attached=$value value='' head=${1%"$letters"}
                return
            fi
        done
    done
}

_loto_value_name() {
    value=${1#*|}
    value=${value%%|*}
}

# An option, or one that has its value in the same word.
_loto_option() {
    local attached head
    _loto_look_up "$current"
    value=''
    if [[ $attached ]]; then
        _loto_value "$attached" "$head"
    else
        _loto_rows "${options[@]}"
    fi
}

# Spellings of these rows; with what they do where a list is shown and not inserted.
_loto_rows() {
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

_loto_files() {
    # What is quoted readline knows better how to read; so it does it when there is nothing else.
    if [[ ${COMP_WORDS[COMP_CWORD]} == *[\\\'\"\$\`]* ]]; then
        compopt -o default 2>/dev/null
        return
    fi
    compopt -o filenames 2>/dev/null
    _loto_lines compgen -f -- "$current"
}

# The command that begins with this word of ours.
_loto_command() {
    local helper
    for helper in _comp_command_offset _command_offset; do
        if declare -F "$helper" >/dev/null; then
            "$helper" "${starts[$1]}"
            return
        fi
    done
    if (($1 < last)); then
        _loto_files
    elif [[ $current == */* ]]; then
        compopt -o filenames 2>/dev/null
        _loto_lines compgen -c -- "$current"
        _loto_lines compgen -d -- "$current"
    else
        _loto_lines compgen -c -- "$current"
    fi
}

# Adds the lines that a command prints.
_loto_lines() {
    local lines
    mapfile -t lines < <("$@")
    COMPREPLY+=("${lines[@]}")
}

complete -F _loto loto
