# Runs modules of the compliance suite with their temporary directories on the file system.

# Tests of what is different on a file system, as arguments for the test program.
skipped_tests() {
    # Modules with a similar name, and a stress test.
    echo --skip storm:: --skip signals:: --skip unlink::killing
    case $kind in
        nfs* | fuse)
            # The directory cannot be removed, because the client keeps the open file there.
            echo --skip replaced::a_deleted_directory_is_an_error
            ;;&
        nfs*)
            # The file is opened again, for writing.
            echo --skip also::each_file_is_opened_once
            # The server does not know that this root has no capabilities.
            echo --skip unlink::a_failed_removal_does_not_change_the_status
            # Its preparation takes longer here than the waiter waits.
            echo --skip replaced::the_timeout_includes_the_wait_for_the_new_file
            ;;&
        nfs* | 9p)
            # Locks of flock(2) and of fcntl(2) conflict.
            echo --skip fcntl::flock_and_fcntl_locks_do_not_conflict
            echo --skip also::the_mode_and_the_kind_of_lock_apply_to_all_files
            ;;
    esac
}

# run_suite DIRECTORY MODULE...
run_suite() {
    local directory=$1 module output summary
    shift
    mkdir -p "$directory/suite"
    for module; do
        # shellcheck disable=SC2046
        output=$(cd "$PROJECT" && TMPDIR=$directory/suite FLOCK_UNDER_TEST=$ours \
            timeout 300 "$SUITE" "$module::" --color never --test-threads 4 \
            $(skipped_tests) 2>&1)
        summary=$(grep '^test result:' <<<"$output")
        # The console has the details.
        [[ $summary == *" ok."* ]] || echo "$output" >&2
        result "suite, module $module: $(grep -o '[0-9]* passed' <<<"$summary")" ok \
            "$(grep -o 'ok\|FAILED' <<<"${summary:-FAILED}")" \
            "$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' <<<"$output")"
    done
}
