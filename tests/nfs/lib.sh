# Functions for the checks: results, and processes that hold a lock or wait for one. A check works
# with the directories A and B of two clients, which show the directory S of a server. For a local
# file system the three are the same directory.

# The program under test, and util-linux's.
ours=$PROJECT/target/nfs/stage/usr/bin/flock
theirs=/usr/bin/flock
PATH=${ours%/*}:$PATH

# A directory for what is not to be on the file system under test.
tmp=/run/checks
mkdir -p "$tmp"
: >"$tmp/wrong"

# result NAME WANTED ACTUAL [OUTPUT]: prints a line about a check.
result() {
    if [ "$2" = "$3" ]; then
        echo "ok    $kind: $1"
    else
        echo "WRONG $kind: $1: expected $2, got $3${4:+: ${4//$'\n'/ | }}"
        echo >>"$tmp/wrong"
    fi
}

# check NAME STATUS COMMAND...: compares the exit status of a command.
check() {
    local name=$1 wanted=$2 output
    shift 2
    output=$(timeout 60 "$@" 2>&1 </dev/null)
    result "$name" "$wanted" $? "$output"
}

# until_true COMMAND...: waits until the command succeeds, at most PATIENCE tenths of a second.
until_true() {
    local tries=${PATIENCE:-300}
    until "$@" 2>/dev/null; do
        ((tries -= 1)) || return
        sleep 0.1
    done
}

declare -A process

# hold NAME COMMAND...: starts `flock ... FILE` in the background. Its command, which keeps the lock
# until `release NAME`, is added. `has_lock NAME` tells whether the command runs, and
# `process[NAME]` is the PID of flock.
hold() {
    local name=$1 held=$tmp/$1.held go=$tmp/$1.go
    shift
    rm -f "$held" "$go"
    mkfifo "$go"
    "$@" sh -c ">'$held'; read line <'$go'" </dev/null >"$tmp/$name.out" 2>&1 &
    process[$name]=$!
}

has_lock() { [ -e "$tmp/$1.held" ]; }
is_over() { ! kill -0 "${process[$1]}"; }

# held NAME COMMAND...: the same, and returns when it holds the lock.
held() {
    hold "$@"
    until_true has_lock "$1" || result "the holder $1 gets its lock" yes no "$(cat "$tmp/$1.out")"
}

# release NAME: lets the command exit, and returns the status of flock.
release() {
    if until_true has_lock "$1"; then
        timeout 10 sh -c "echo >'$tmp/$1.go'"
    else
        kill "${process[$1]}"
    fi
    wait "${process[$1]}"
}

# Whether the process NAME blocks in flock(2) or fcntl(2).
is_waiting() { grep -qE '^(72|73) ' "/proc/${process[$1]}/syscall"; }

# A new file name for each trial, so that no cache remembers the file of another one.
trial=0
new_name() {
    ((trial += 1))
    name=lock.$trial
}
