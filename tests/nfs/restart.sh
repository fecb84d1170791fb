# A restart of the server: locks must survive it, and waiters must get theirs. All trials share the
# restart, because the server then waits for its clients for ten seconds.

check_restart() {
    new_name
    local file=$name
    held held "$ours" "$A/$file.held"
    held fcntl "$ours" --fcntl "$A/$file.fcntl"
    held waited_for "$ours" "$A/$file.waited"
    hold waiter "$ours" "$B/$file.waited"
    until_true is_waiting waiter
    restart_nfs_server
    check "a restart: the lock is still held" 1 "$ours" -n "$B/$file.held" true
    check "a restart: --fcntl" 1 "$ours" -n --fcntl "$B/$file.fcntl" true
    result "a restart: the waiter still waits" no "$(has_lock waiter && echo yes || echo no)"
    release waited_for
    PATIENCE=600 until_true has_lock waiter
    release waiter
    result "a restart: the waiter gets the lock" 0 $?
    release held
    release fcntl
    check "a restart: the lock is free in the end" 0 "$ours" -n "$B/$file.held" true
}
