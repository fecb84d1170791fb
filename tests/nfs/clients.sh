# One client against the other: the program and util-linux's, shared locks, byte ranges, several
# locks, holders that are killed, directories, slots, and what --who and --verbose tell.

check_clients() {
    local holder asker
    for holder in "$ours" "$theirs"; do
        for asker in "$ours" "$theirs"; do
            check_pair "$holder" "$asker"
        done
    done
    check_ranges
    check_also
    check_kills
    check_hints
}

program_name() { [ "$1" = "$ours" ] && echo ours || echo util-linux; }

check_pair() {
    local holder=$1 asker=$2 pair
    pair="$(program_name "$1") and $(program_name "$2")"
    new_name
    held one "$holder" "$A/$name"
    check "$pair: an exclusive lock is busy" 1 "$asker" -n "$B/$name" true
    check "$pair: -w" 1 "$asker" -w 0.3 "$B/$name" true
    hold two "$asker" "$B/$name"
    until_true is_waiting two
    release one
    release two
    result "$pair: a waiter gets the lock" 0 $?
    held one "$holder" -s "$A/$name"
    check "$pair: two shared locks" 0 "$asker" -n -s "$B/$name" true
    check "$pair: an exclusive lock beside a shared one" 1 "$asker" -n "$B/$name" true
    release one
}

check_ranges() {
    new_name
    held one "$ours" --start 100 --length 100 "$A/$name"
    check "bytes: the same ones" 1 "$ours" -n --start 100 --length 100 "$B/$name" true
    check "bytes: the last one" 1 "$ours" -n --start 199 --length 1 "$B/$name" true
    check "bytes: those before" 0 "$ours" -n --start 0 --length 100 "$B/$name" true
    check "bytes: those behind" 0 "$ours" -n --start 200 "$B/$name" true
    check "bytes: the whole file" 1 "$ours" -n --fcntl "$B/$name" true
    release one
}

check_also() {
    new_name
    held one "$ours" --also "$A/$name.2" "$A/$name.1"
    check "--also: the first" 1 "$ours" -n "$B/$name.1" true
    check "--also: the second" 1 "$ours" -n "$B/$name.2" true
    release one
    held one "$ours" "$A/$name.1"
    check "--also: one is busy" 1 "$ours" -n --also "$B/$name.1" "$B/$name.2" true
    check "--also: the other one is free again" 0 "$ours" -n "$B/$name.2" true
    hold two "$ours" --also "$B/$name.2" "$B/$name.1"
    until_true is_waiting two
    release one
    release two
    result "--also: a waiter gets both" 0 $?
}

check_kills() {
    new_name
    held one "$ours" "$A/$name"
    kill -KILL "${process[one]}"
    check "the command of a killed flock keeps the lock" 1 "$ours" -n "$B/$name" true
    release one 2>/dev/null

    new_name
    held one "$ours" -F "$A/$name"
    hold two "$ours" "$B/$name"
    until_true is_waiting two
    kill -KILL "${process[one]}"
    release two
    result "a killed holder releases the lock" 0 $?
    wait "${process[one]}" 2>/dev/null
}

# says NAME TEXT COMMAND...: compares a part of a command's output.
says() {
    local title=$1 text=$2 output
    shift 2
    output=$(timeout 60 "$@" 2>&1 </dev/null)
    case $output in
        *"$text"*) result "$title" said said ;;
        *) result "$title" "$text" "$output" ;;
    esac
}

check_hints() {
    local busy
    new_name
    cat >"$A/$name" <<'END'
#!/bin/sh
[ "$LOCKED" ] || LOCKED=1 exec flock -n "$0" sh "$0" "$@"
"$@"
END
    chmod +x "$A/$name"
    check "a script that locks itself" 0 "$A/$name" true
    check "the same, started again on the other client" 1 "$A/$name" env -u LOCKED "$B/$name" true
    # Version 3 does not need a descriptor that is open for writing.
    [ $kind = nfs3 ] && busy=1 || busy=126
    check "the same, started again on this client" $busy "$A/$name" env -u LOCKED "$A/$name" true

    new_name
    check "--slots is refused" 65 "$ours" --slots 1 "$A/$name" true
    result "--slots leaves no file behind" no "$([ -e "$A/$name" ] && echo yes || echo no)"

    held one "$ours" "$A/$name"
    says "--who: a remote holder" 'another machine' "$ours" --who "$B/$name"
    says "--verbose: a remote holder" 'another machine' "$ours" --verbose -n "$B/$name" true
    hold two "$ours" "$B/$name"
    until_true is_waiting two
    says "--who: a local waiter of a remote holder" "${process[two]}" "$ours" --who "$B/$name"
    says "--who: and its remote holder" 'another machine' "$ours" --who "$B/$name"
    says "--verbose: a local waiter" "${process[two]}" "$ours" --verbose -w 5 "$B/$name" true
    release one
    release two

    mkdir "$A/$name.dir"
    says "--verbose: a directory's lock" 'this machine only' "$ours" --verbose "$A/$name.dir" true
}
