# Completion of ulock(1) for bash, made whole by `make docs`; its frame is in tests/suite/documents.
# It needs nothing besides bash; with bash-completion the command gets its own.

# One row for each option: its spellings, the name of its value, what it does.
_ulock_options() {
    options=(
        '-w||make LOCK as a writer, who waits until nobody reads'
        '-r||run a command as a reader, who waits until nobody writes'
        '--timeout|SECONDS|wait at most this long, default -1: for ever'
        '--invalid|SECONDS|take over a LOCK that is older than this, default 60'
        '-h --help||show this help'
        '-V --version||show the version'
    )
}

_ulock() {
    local IFS=$' \t\n' options=() words=() starts=() glued='' last i files=0 ended='' reader=''
    local current word option='' value='' attached head
    COMPREPLY=()
    _ulock_options
    _ulock_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}

    # Up to the command or the word in question. `value`: what the next word must be.
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ $value ]]; then
            value=''
        elif [[ $word == -- && ! $ended ]]; then
            ended=1
        elif [[ $word == -?* && ! $ended ]]; then
            _ulock_look_up "$word"
            [[ $option == -r ]] && reader=1
        else
            ((files < 2)) || break
            ((files += 1))
        fi
    done

    if ((i < last)); then
        [[ $reader ]] && _ulock_command "$i"
    elif [[ $value ]]; then
        _ulock_value "$value" ''
    elif [[ $current == -* && ! $ended ]]; then
        _ulock_option
    elif ((files < 2)); then
        _ulock_files
    elif [[ $reader ]]; then
        _ulock_command "$last"
    fi
    _ulock_unglue
}

# Values by their names in the table.
_ulock_value() {
    case $1 in
        SECONDS) _ulock_lines compgen -P "$2" -W '0 10 60 5m 1h' -- "${current#"$2"}" ;;
    esac
}

# The words up to the cursor, put together where bash takes them apart (COMP_WORDBREAKS): --timeout=5 is one. `starts`:
# where each of them begins in COMP_WORDS. `glued`: what comes before the part of the last one that is replaced.
_ulock_words() {
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
_ulock_unglue() {
    local i
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$glued"}
    done
}

# `option`: what the word is the last or only option of, in its longest spelling; `value`: the value that must follow
# as the next word; `attached`: the value that the word has itself, and `head`: all before it.
_ulock_look_up() {
    local row name letters=${1#-}
    option='' value='' attached='' head=''
    if [[ $1 == --* ]]; then
        for row in "${options[@]}"; do
            for name in ${row%%|*}; do
                # The whole name beats the beginning of another one, as in the program.
                if [[ $name == "${1%%=*}" || ( ! $option && $name == "${1%%=*}"* ) ]]; then
                    option=$name
                    _ulock_value_name "$row"
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
            _ulock_value_name "$row"
            if [[ $value && $letters ]]; then
                attached=$value value='' head=${1%"$letters"}
                return
            fi
        done
    done
}

_ulock_value_name() {
    value=${1#*|}
    value=${value%%|*}
}

# An option, or one that has its value in the same word.
_ulock_option() {
    local attached head
    _ulock_look_up "$current"
    value=''
    if [[ $attached ]]; then
        _ulock_value "$attached" "$head"
    else
        _ulock_rows "${options[@]}"
    fi
}

# Spellings of these rows; with what they do where a list is shown and not inserted.
_ulock_rows() {
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

_ulock_files() {
    # What is quoted readline knows better how to read; so it does it when there is nothing else.
    if [[ ${COMP_WORDS[COMP_CWORD]} == *[\\\'\"\$\`]* ]]; then
        compopt -o default 2>/dev/null
        return
    fi
    compopt -o filenames 2>/dev/null
    _ulock_lines compgen -f -- "$current"
}

# The command that begins with this word of ours.
_ulock_command() {
    local helper
    for helper in _comp_command_offset _command_offset; do
        if declare -F "$helper" >/dev/null; then
            "$helper" "${starts[$1]}"
            return
        fi
    done
    if (($1 < last)); then
        _ulock_files
    elif [[ $current == */* ]]; then
        compopt -o filenames 2>/dev/null
        _ulock_lines compgen -c -- "$current"
        _ulock_lines compgen -d -- "$current"
    else
        _ulock_lines compgen -c -- "$current"
    fi
}

# Adds the lines that a command prints.
_ulock_lines() {
    local lines
    mapfile -t lines < <("$@")
    COMPREPLY+=("${lines[@]}")
}

complete -F _ulock ulock
