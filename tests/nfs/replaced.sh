# Lock files that are deleted, moved away or replaced while one process holds the lock and another
# one waits for it. Once the first has released it, the waiter holds the lock on a file without a
# name, and a newcomer holds that on the new one: there must not be two holders.

deleted() { rm "$1/$name"; }
moved() { mv "$1/$name" "$1/$name.moved"; }
replaced() {
    : >"$1/$name.new"
    mv "$1/$name.new" "$1/$name"
}

# Whether the waiter has noticed, and has opened the file that is there now.
has_reopened() {
    local inode descriptor
    inode=$(stat -c %i "$S/$name") || return
    for descriptor in "/proc/${process[waiter]}/fd/"*; do
        [ "$(stat -Lc %i "$descriptor")" != "$inode" ] || return 0
    done
    return 1
}
has_decided() {
    has_lock waiter || is_over waiter || { has_reopened && has_lock newcomer; }
}

# replace_while_waiting NAME ACTION DIRECTORY COMMAND...: the waiter's COMMAND gets the name of the
# file, in the other client's directory, as the argument FILE.
replace_while_waiting() {
    local title=$1 action=$2 where=$3 newcomer_dir=$3 holders=one status
    shift 3
    [ "$where" != "$S" ] || newcomer_dir=$A
    new_name
    held old "$ours" "$A/$name"
    hold waiter "${@/FILE/$B/$name}"
    until_true is_waiting waiter
    "$action" "$where"
    hold newcomer "$ours" "$newcomer_dir/$name"
    # A client that still knows the old file's name may have to wait for its lock first.
    PATIENCE=50 until_true has_lock newcomer
    release old
    until_true has_decided
    # The first to hold the lock of the new file keeps the other one waiting.
    local first=newcomer second=waiter
    if has_lock waiter; then
        first=waiter second=newcomer
        ! has_lock newcomer || holders=two
    fi
    release $first
    status=$?
    release $second
    result "$title" "0 0 one" "$status $? $holders" "$(cat "$tmp"/{waiter,newcomer}.out)"
}

check_replaced() {
    local action
    for action in deleted moved replaced; do
        replace_while_waiting "a file $action by the holder's client" $action "$A" "$ours" FILE
        replace_while_waiting "a file $action by the waiter's client" $action "$B" "$ours" FILE
        replace_while_waiting "a file $action by the server" $action "$S" "$ours" FILE
    done
}

# The holders use flock(2), so --fcntl needs a file system on which the two kinds conflict.
check_replaced_with_options() {
    local options
    for options in --fcntl --fair --unlink '-w 60' "--also $B/other"; do
        # shellcheck disable=SC2086
        {
            replace_while_waiting "${options%% *}: a file deleted" deleted "$A" \
                "$ours" $options FILE
            replace_while_waiting "${options%% *}: a file replaced" replaced "$S" \
                "$ours" $options FILE
        }
    done
    # shellcheck disable=SC2016
    replace_while_waiting "builtin: a file replaced" replaced "$A" \
        bash -c 'enable -f "$0" flock && flock "$@"' "${ours%/bin/*}/lib/bash/flock" FILE
}
