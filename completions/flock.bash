# Completion of flock(1) for bash. It needs nothing besides bash; with bash-completion the command gets its own.

# One row for each option: its spellings, the name of its value, what it does. `behind`: those that come after FILE.
# options: begin (from src/flock/args/mod.rs; make docs)
_flock_options() {
    # shellcheck disable=SC2016 # help, in which nothing is to be expanded
    options=(
        '-s --shared||get a shared lock (read lock)'
        '-x -e --exclusive||get an exclusive lock (write lock), the default'
        '-u --unlock||drop the lock'
        '-n --nonblock --nonblocking --nb||fail rather than wait'
        '-w --timeout --wait|TIME|wait at most this long: 5, 0.5, 150ms, 1m30s'
        '-E --conflict-exit-code|STATUS|status when somebody else has the lock, default 1'
        '-o --close||the command does not inherit the lock'
        '-F --no-fork||become the command instead of waiting for it'
        '--fcntl||use open file description locks of fcntl(2)'
        '--start|OFFSET|first byte of the lock, default 0; implies --fcntl'
        '--length|BYTES|bytes to lock, default 0: all; implies --fcntl'
        '--fd|NUMBER|lock this descriptor, and run COMMAND under it'
        '--fair||first come, first served, among all who say so'
        '--slots|N|at most N at the same time, first come, first served'
        '--also|FILE|lock this file too, all or none; may be repeated'
        '--unlink||remove the lock file when nobody holds it any more'
        '--verbose||tell who is in the way, how long it took, what is run'
        '--who||show who holds the lock and who waits for it'
        '--json||with --who: as JSON, for programs'
        '--pids||with --who: only the holders'\'' process ids'
        '-h --help||show this help'
        '-V --version||show the version'
    )
    # shellcheck disable=SC2016
    behind=(
        '-c --command|LINE|behind FILE: run a line of shell, by $SHELL -c'
    )
}
# options: end

_flock() {
    local IFS=$' \t\n' options=() behind=() words=() starts=() glued='' first=1 last place
    local current word ended='' fd='' who='' option='' value='' attached head
    COMPREPLY=()
    _flock_options
    _flock_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}

    # Past the options, up to the first operand or the word in question. `value`: what this word must be.
    while ((first < last)); do
        word=${words[first]}
        [[ $word == -?* ]] || break
        ((first += 1))
        if [[ $word == -- ]]; then
            ended=1
            break
        fi
        _flock_look_up "$word"
        [[ $option == --fd ]] && fd=1
        [[ $option == --who ]] && who=1
        [[ $value ]] || continue
        ((first < last)) || break
        ((first += 1))
        value=''
    done

    # Words between the first operand and the one in question, itself included.
    place=$((last - first))
    if [[ $value ]]; then
        _flock_value "$value" ''
    elif ((place == 0)) && [[ $current == -* && ! $ended ]]; then
        _flock_option
    elif [[ $who ]]; then
        [[ $fd ]] || _flock_files
    elif [[ $fd ]]; then
        _flock_command "$first"
    elif ((place == 0)); then
        _flock_descriptors ''
        _flock_files
    elif [[ $place -gt 1 && ${words[first + 1]} == @(-c|--command) ]]; then
        ((place == 2)) && _flock_lines compgen -c -- "$current"
    else
        _flock_command $((first + 1))
        ((place == 1)) && _flock_rows "${behind[@]}"
    fi
    _flock_unglue
}

# The words up to the cursor, put together where bash takes them apart (COMP_WORDBREAKS): --timeout=5 is one. `starts`:
# where each of them begins in COMP_WORDS. `glued`: what comes before the part of the last one that is replaced.
_flock_words() {
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
_flock_unglue() {
    local i
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$glued"}
    done
}

# `option`: what the word is the last or only option of, in its longest spelling; `value`: the value that must follow
# as the next word; `attached`: the value that the word has itself, and `head`: all before it.
_flock_look_up() {
    local row name letters=${1#-}
    option='' value='' attached='' head=''
    if [[ $1 == --* ]]; then
        for row in "${options[@]}"; do
            for name in ${row%%|*}; do
                # The whole name beats the beginning of another one, as in the program.
                if [[ $name == "${1%%=*}" || ( ! $option && $name == "${1%%=*}"* ) ]]; then
                    option=$name
                    _flock_value_name "$row"
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
            _flock_value_name "$row"
            if [[ $value && $letters ]]; then
                attached=$value value='' head=${1%"$letters"}
                return
            fi
        done
    done
}

_flock_value_name() {
    value=${1#*|}
    value=${value%%|*}
}

# An option, or one that has its value in the same word.
_flock_option() {
    local attached head
    _flock_look_up "$current"
    value=''
    if [[ $attached ]]; then
        _flock_value "$attached" "$head"
    else
        _flock_rows "${options[@]}"
    fi
}

# Values by their names in the table; of the others nothing is known.
_flock_value() {
    case $1 in
        TIME) _flock_lines compgen -P "$2" -W '0.5 10s 1m 5m 1h' -- "${current#"$2"}" ;;
        NUMBER) _flock_descriptors "$2" ;;
        FILE) if [[ $2 ]]; then _flock_lines compgen -P "$2" -f -- "${current#"$2"}"; else _flock_files; fi ;;
    esac
}

# Spellings of these rows; with what they do where a list is shown and not inserted.
_flock_rows() {
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

# The shell's descriptors of files and folders. Not those that it keeps from commands (close-on-exec).
_flock_descriptors() {
    local path number key flags
    for path in "/proc/$$/fd/"*; do
        number=${path##*/}
        [[ $1$number == "$current"* && ( -f $path || -d $path || -b $path ) ]] || continue
        while read -r key flags; do
            [[ $key == flags: && $flags != *[2367]?????? ]] && COMPREPLY+=("$1$number")
        done <"/proc/$$/fdinfo/$number"
    done 2>/dev/null
}

_flock_files() {
    # What is quoted readline knows better how to read; so it does it when there is nothing else.
    if [[ ${COMP_WORDS[COMP_CWORD]} == *[\\\'\"\$\`]* ]]; then
        compopt -o default 2>/dev/null
        return
    fi
    compopt -o filenames 2>/dev/null
    _flock_lines compgen -f -- "$current"
}

# The command that begins with this word of ours.
_flock_command() {
    local helper
    for helper in _comp_command_offset _command_offset; do
        if declare -F "$helper" >/dev/null; then
            "$helper" "${starts[$1]}"
            return
        fi
    done
    if (($1 < last)); then
        _flock_files
    elif [[ $current == */* ]]; then
        compopt -o filenames 2>/dev/null
        _flock_lines compgen -c -- "$current"
        _flock_lines compgen -d -- "$current"
    else
        _flock_lines compgen -c -- "$current"
    fi
}

# Adds the lines that a command prints.
_flock_lines() {
    local lines
    mapfile -t lines < <("$@")
    COMPREPLY+=("${lines[@]}")
}

complete -F _flock flock
