#!/bin/bash
# Runs the checks for the file systems in CHECKS, a list of names, and prints one line for each and
# a summary.
cd "$(dirname "$(realpath "$0")")" || exit
. ./lib.sh
. ./network.sh
. ./filesystems.sh
. ./table.sh
. ./clients.sh
. ./replaced.sh
. ./storms.sh
. ./restart.sh
. ./suite.sh

started=$SECONDS
for kind in ${CHECKS//,/ }; do
    if ! "mount_$kind" >"$tmp/mount" 2>&1; then
        result "it can be mounted" yes no "$(tail -n 1 "$tmp/mount")"
        continue
    fi
    check_table
    case $kind in
        # Not fcntl, which looks at the kernel's list of locks: it contains the server's too.
        nfs4) modules='also replaced unlink' ;;
        nfs3) modules='replaced unlink' ;;
        9p | fuse) modules='fcntl replaced' ;;
        # `make test` runs the suite on such a file system, and the others cannot pass it.
        ext4 | tmpfs | cifs | fuse_locks) modules= ;;
        # The suite needs symbolic links.
        vfat) modules= ;;
        *) modules='fcntl replaced unlink' ;;
    esac
    # shellcheck disable=SC2086
    run_suite "$B" $modules
    case $kind in
        nfs*)
            check_clients
            check_replaced
            check_replaced_with_options
            check_storms
            check_restart
            ;;
        vfat) check_replaced ;;
    esac
done
wrong=$(wc -l <"$tmp/wrong")
echo "FINISHED after $((SECONDS - started)) s: $wrong wrong"
