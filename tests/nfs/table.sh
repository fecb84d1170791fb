# Compares a row of the table in docs/where-locks-work.md with the behaviour of the file system.

# cell COLUMN: the value that the table has for the file system. The first cell of a row contains
# its name in parentheses.
cell() {
    awk -F ' *[|] *' -v kind="(\`$kind\`)" -v column="$1" '
        /^\| File system/ { for (i = 2; i < NF; i++) if ($i ~ column) wanted = i }
        index($2, kind) { print $wanted; exit }' "$PROJECT/docs/where-locks-work.md"
}

# excludes OPTION... FILE: which clients a lock keeps out. FILE is a name in the directories A and
# B.
excludes() {
    local file=${*: -1} here there
    set -- "${@:1:$#-1}"
    hold table "$ours" -n "$@" "$A/$file"
    until_true eval 'has_lock table || is_over table'
    if ! has_lock table; then
        echo refused
        return
    fi
    "$ours" -n "$@" "$A/$file" true >/dev/null 2>&1
    here=$?
    "$ours" -n "$@" "$B/$file" true >/dev/null 2>&1
    there=$?
    case $here,$there in
        1,1) echo yes ;;
        1,0) echo one machine ;;
        0,*) echo no ;;
        *) echo "statuses $here and $there" ;;
    esac
    release table
}

# Whether a queue can be formed. --verbose says if it cannot.
queues() {
    if "$ours" --fair --verbose "$A/$1" true 2>&1 | grep -q 'has no effect'; then
        echo no order
    else
        echo yes
    fi
}

# Whether the queue can be bounded.
bounds() {
    "$ours" --queue 1 "$A/$1" true >/dev/null 2>&1
    case $? in
        0) echo yes ;;
        65) echo refused ;;
        *) echo error ;;
    esac
}

unlinks() {
    "$ours" --unlink "$A/$1" true
    [ -e "$S/$1" ] && echo no || echo yes
}

# Whether --who names the holder: on the same client, and on the other one.
names() {
    local pid answer=no
    held table "$ours" "$A/$1"
    pid=${process[table]}
    if "$ours" --who --pids "$B/$1" 2>/dev/null | grep -qx "$pid"; then
        answer=yes
    elif "$ours" --who --pids "$A/$1" 2>/dev/null | grep -qx "$pid"; then
        answer='one machine'
    fi
    release table
    echo $answer
}

check_table() {
    new_name
    mkdir "$A/$name.dir"
    result "flock(2)" "$(cell flock)" "$(excludes "$name")"
    result "--fcntl" "$(cell --fcntl)" "$(excludes --fcntl "$name")"
    result "--fair" "$(cell --fair)" "$(queues "$name")"
    result "--slots" "$(cell --slots)" "$(excludes --slots 1 "$name")"
    result "--queue" "$(cell --queue)" "$(bounds "$name")"
    result "directory" "$(cell irector)" "$(excludes "$name.dir")"
    result "--who" "$(cell --who)" "$(names "$name")"
    result "--unlink" "$(cell --unlink)" "$(unlinks "$name")"
}
