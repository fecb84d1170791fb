# Completion of flock(1) for bash. It requires only bash; with bash-completion, COMMAND is completed
# as usual.

# One row per option: its spellings, the name of its value, its help. `after_file`: the options that
# follow FILE.
# options: begin (from src/flock/args/mod.rs; cargo xtask docs)
_flock_options() {
    # shellcheck disable=SC2016 # the help is not to be expanded
    options=(
        '-s --shared||get a shared lock (read lock)'
        '-x -e --exclusive||get an exclusive lock (write lock), the default'
        '-u --unlock||release the lock'
        '-n --nonblock --nonblocking --nb||fail rather than wait'
        '-w --timeout --wait|TIME|wait at most TIME, e.g. 5, 0.5, 150ms, 1m30s'
        '-E --conflict-exit-code|STATUS|exit status on conflict or timeout [default: 1]'
        '-o --close||do not pass the lock'\''s descriptor to COMMAND'
        '-F --no-fork||exec COMMAND instead of forking'
        '--fcntl||use open file description locks of fcntl(2)'
        '--start|OFFSET|first byte of the lock [default: 0]; implies --fcntl'
        '--length|BYTES|bytes to lock [default: 0, all]; implies --fcntl'
        '--fd|NUMBER|lock descriptor NUMBER, then run COMMAND'
        '--fair||queue in arrival order with other --fair users'
        '--queue|N|fail rather than wait if N processes already wait'
        '--replace||stop the processes that hold the lock, by SIGTERM or SIGNAL'
        '--progress||show what flock waits for, and for how long'
        '--slots|N|allow up to N holders at once, in arrival order'
        '--name|NAME|lock the user'\''s lock file of this name, instead of FILE'
        '--path||with --name: print the path of the lock file'
        '--also|FILE|also lock FILE; take all locks or none (repeatable)'
        '--unlink||remove the lock file after the last holder exits'
        '--ttl|TIME|the lock outlasts this machine by TIME [default: 30s]'
        '--grace|TIME|from SIGTERM to SIGKILL if it is lost, or with --replace [default: 5s]'
        '--print-token||with NUMBER SCHEME://...: print the lock'\''s token'
        '--verbose||report the current holder, the wait time and the command'
        '--who||list the lock'\''s holders and waiters'
        '--json||with --who: print JSON'
        '--pids||with --who: print only holder PIDs'
        '--watch||with --who: keep the table on the screen current'
        '-h --help||print help and exit'
        '-V --version||print version and exit'
    )
    # shellcheck disable=SC2016
    after_file=(
        '-c --command|LINE|after FILE: run LINE with $SHELL -c'
    )
}
# options: end

_flock() {
    local IFS=$' \t\n' options=() after_file=() words=() starts=() glued='' first=1 last place
    local current word ended='' fd='' who='' option='' value='' attached head
    COMPREPLY=()
    _flock_options
    _flock_words "$2"
    last=$((${#words[@]} - 1))
    current=${words[last]}

    # Skip the options, up to the first operand or the current word. `value`: the kind of value that
    # word must be.
    while ((first < last)); do
        word=${words[first]}
        [[ $word == -?* ]] || break
        ((first += 1))
        if [[ $word == -- ]]; then
            ended=1
            break
        fi
        _flock_look_up "$word"
        [[ $option == --@(fd|name) ]] && fd=1
        [[ $option == --who ]] && who=1
        [[ $value ]] || continue
        ((first < last)) || break
        ((first += 1))
        value=''
    done

    # The position of the current word, counted from the first operand.
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
        ((place == 1)) && _flock_rows "${after_file[@]}"
    fi
    _flock_unglue
}

# The words up to the cursor, joined where bash splits them (COMP_WORDBREAKS): --timeout=5 is one
# word. `starts`: the index in COMP_WORDS at which each word begins. `glued`: the part of the last
# word that readline does not replace.
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
        # Of the last word, only the part before the cursor counts; a separator itself is not
        # replaced.
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

# readline replaces only the part after the last = or : in the word.
_flock_unglue() {
    local i
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$glued"}
    done
}

# `option`: the last or only option in the word, in its longest spelling; `value`: the value that
# must follow as the next word; `attached`: the value that the word itself contains, and `head`:
# everything before it.
_flock_look_up() {
    local row name letters=${1#-}
    option='' value='' attached='' head=''
    if [[ $1 == --* ]]; then
        for row in "${options[@]}"; do
            for name in ${row%%|*}; do
                # An exact match takes precedence over a prefix match, as in the program.
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

# An option, or the value that is attached to one.
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

# Values by their names in the table; there are no suggestions for the others.
_flock_value() {
    case $1 in
        TIME) _flock_lines compgen -P "$2" -W '0.5 10s 1m 5m 1h' -- "${current#"$2"}" ;;
        NUMBER) _flock_descriptors "$2" ;;
        FILE) if [[ $2 ]]; then _flock_lines compgen -P "$2" -f -- "${current#"$2"}"; else _flock_files; fi ;;
    esac
}

# The spellings in these rows, with their help if a list is displayed rather than inserted.
_flock_rows() {
    local row name matching=()
    for row; do
        for name in ${row%%|*}; do
            [[ $name == "$current"* ]] && matching+=("$name|${row##*|}")
        done
    done
    for row in "${matching[@]}"; do
        name=${row%%|*}
        # COMP_TYPE ? lists after a second Tab, ! and @ after the first.
        if [[ ${COMP_TYPE-} == @(63|33|64) ]] && ((${#matching[@]} + ${#COMPREPLY[@]} > 1)); then
            printf -v name '%-22s (%s)' "$name" "${row#*|}"
        fi
        COMPREPLY+=("$name")
    done
}

# The shell's descriptors of files and directories, except those that commands do not inherit
# (close-on-exec).
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
    # readline handles quoted words itself if there are no other matches.
    if [[ ${COMP_WORDS[COMP_CWORD]} == *[\\\'\"\$\`]* ]]; then
        compopt -o default 2>/dev/null
        return
    fi
    compopt -o filenames 2>/dev/null
    _flock_lines compgen -f -- "$current"
}

# The command that begins at this word.
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

# Adds the output lines of a command.
_flock_lines() {
    local lines
    mapfile -t lines < <("$@")
    COMPREPLY+=("${lines[@]}")
}

complete -F _flock flock
