# Many processes on both clients that take turns. Each turn adds one to a counter, in two steps, so
# the total is exact only if the lock excludes all others. All have the same kernel, so the counter
# need not be on the file system under test.

count=$tmp/count
cat >"$tmp/turn" <<END
#!/bin/sh
read n <$count
mkdir $tmp/inside || echo "two holders" >>$tmp/overlaps
echo \$((n + 1)) >$count
rmdir $tmp/inside
END
chmod +x "$tmp/turn"

TURNS=5

# storm NAME WORKER...: runs the functions, each of which takes one turn, several times. A worker
# returns 0 if it has had its turn. Its output is shown if it has not.
storm() {
    local title=$1 worker pids=() failures=0
    shift
    new_name
    echo 0 >"$count"
    : >"$tmp/overlaps"
    : >"$tmp/storm.out"
    for worker; do
        (
            for ((i = 0; i < TURNS; i++)); do
                "$worker" >>"$tmp/storm.out" 2>&1 </dev/null || exit
            done
        ) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || ((failures += 1))
    done
    result "$title" "$((TURNS * $#)) turns, 0 failures, 0 overlaps" \
        "$(<"$count") turns, $failures failures, $(wc -l <"$tmp/overlaps") overlaps" \
        "$(tail -n 3 "$tmp/storm.out")"
}

# The patience of each turn. What is not finished by then fails.
patient() { timeout 100 "$@"; }

plain_a() { patient "$ours" "$A/$name" "$tmp/turn"; }
plain_b() { patient "$ours" "$B/$name" "$tmp/turn"; }
util_linux_a() { patient "$theirs" "$A/$name" "$tmp/turn"; }
util_linux_b() { patient "$theirs" "$B/$name" "$tmp/turn"; }
unlink_a() { patient "$ours" --unlink "$A/$name" "$tmp/turn"; }
unlink_b() { patient "$ours" --unlink "$B/$name" "$tmp/turn"; }
unlink_fcntl_a() { patient "$ours" --fcntl --unlink "$A/$name" "$tmp/turn"; }
unlink_fcntl_b() { patient "$ours" --fcntl --unlink "$B/$name" "$tmp/turn"; }
also_a() { patient "$ours" --also "$A/$name.2" "$A/$name.1" "$tmp/turn"; }
also_b() { patient "$ours" --also "$B/$name.1" "$B/$name.2" "$tmp/turn"; }

ulock_in() { patient ulock "$1/$name" && "$tmp/turn" && rm "$1/$name"; }
ulock_a() { ulock_in "$A"; }
ulock_b() { ulock_in "$B"; }

# runlock does not wait: it says so and succeeds.
runlock_in() {
    local output
    until
        output=$(patient runlock "$1/$name" sh -c "$tmp/turn && echo ran" 2>&1) &&
            [ "$output" = ran ]
    do
        case $output in
            *Still\ locked*) sleep 0.1 ;;
            *) echo "runlock: $output"; return 1 ;;
        esac
    done
}
runlock_a() { runlock_in "$A"; }
runlock_b() { runlock_in "$B"; }

check_storms() {
    storm "turns of both programs" plain_a plain_b util_linux_a util_linux_b
    storm "turns of --unlink" unlink_a unlink_a unlink_b unlink_b
    result "--unlink leaves no file behind" no "$([ -e "$S/$name" ] && echo yes || echo no)"
    storm "turns of --fcntl --unlink" unlink_fcntl_a unlink_fcntl_b unlink_fcntl_b
    storm "turns of --also" also_a also_a also_b also_b
    storm "turns of ulock" ulock_a ulock_a ulock_b ulock_b
    storm "turns of runlock" runlock_a runlock_a runlock_b runlock_b
}
