#!/bin/bash
# Tests the programs on the file systems where people lock, in a virtual machine: NFS and SMB with
# two clients, xfs, btrfs, vfat, overlay, 9p and FUSE. `make nfs` builds the programs and runs this
# script; `make nfs CHECKS="nfs4 xfs"` tests only some file systems, and `CHECKS=shell` opens a
# shell in the virtual machine.
#
# It needs Debian on x86-64 with apt, but neither root's privileges nor KVM, which ACCEL=kvm uses.
# Packages are downloaded to target/nfs once, and unpacked there (packages.sh). In the virtual
# machine, the root directory is this machine's, with these packages placed above it, so everything
# that runs here runs there (init.sh). Nothing that it changes lasts.
#
# The clients are network namespaces in one kernel, with host names, addresses and NFS client IDs of
# their own (network.sh). So one script can act on both and on the server, and knows the exact state
# of each. What the checks cannot show in this way: clients of different kernels, packets lost
# between them, and a server whose disk is slow.
#
# A check prints a line: "ok", or "WRONG" with what it has expected; target/nfs/console.log has the
# details of tests of the compliance suite. The status is 1 if a line says WRONG or the summary is
# missing, and 0 if the checks were skipped.
set -uo pipefail

here=$(dirname "$(realpath "$0")")
project=${here%/tests/nfs}
work=$project/target/nfs
CHECKS=${*:-nfs4 nfs3 cifs 9p fuse fuse_locks ext4 tmpfs xfs btrfs vfat overlay}
packages=(qemu-system-x86 cpio kmod busybox-static linux-image-amd64 iproute2 util-linux strace
    nfs-kernel-server nfs-common rpcbind samba cifs-utils bindfs
    e2fsprogs xfsprogs btrfs-progs dosfstools)

skip() {
    echo "make nfs: SKIPPED: $*"
    exit 0
}

[ "$(uname -m)" = x86_64 ] || skip "it needs an x86-64 machine"
for program in apt-get dpkg-deb gzip; do
    type -P "$program" >/dev/null || skip "$program is missing"
done
mkdir -p "$work"
"$here/packages.sh" "$work" "${packages[@]}" || skip "apt could not download the packages"
root=$work/root
# A qemu that is not installed finds its libraries and its firmware where it was unpacked.
if ! qemu=$(type -P qemu-system-x86_64); then
    qemu=$root/usr/bin/qemu-system-x86_64
    export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu
    firmware=(-L "$root/usr/share/qemu" -L "$root/usr/share/seabios")
fi
"$qemu" --version >/dev/null || skip "qemu does not run on this machine"
kernel=$("$here/initramfs.sh" "$work") || exit 1
suite=$(cd "$project" && cargo test --quiet --locked --no-run --test suite --message-format=json |
    sed -n 's|.*"executable":"\([^"]*/suite-[^"]*\)".*|\1|p')
[ -x "$suite" ] || exit 1

# On a tmpfs, because a server of 9p reports the type of its own file system, and a program that
# believes it takes this one for local.
share=$(mktemp --directory /dev/shm/fdlock-nfs.XXXXXX) || exit 1
trap 'rm -rf "$share"' EXIT
shared() { # TAG DIRECTORY [OPTION]
    echo "local,path=$2,mount_tag=$1,security_model=none,multidevs=remap${3-}"
}
vm() {
    timeout --foreground 900 "$qemu" -accel "${ACCEL:-tcg,thread=multi}" -cpu qemu64 \
        "${firmware[@]}" -smp 2 -m 2500 \
        -display none -nic none -no-reboot \
        -kernel "$root/boot/vmlinuz-$kernel" -initrd "$work/initrd.gz" \
        -append "console=ttyS0 panic=-1 loglevel=4 mitigations=off init_on_alloc=0 audit=0 \
PROJECT=$project SUITE=$suite CHECKS=${CHECKS// /,}" \
        -virtfs "$(shared root / ,readonly=on)" -virtfs "$(shared packages "$root" ,readonly=on)" \
        -virtfs "$(shared share-a "$share")" -virtfs "$(shared share-b "$share")" \
        -serial file:"$work/console.log" -serial stdio
}

if [ "$CHECKS" = shell ]; then
    stty raw -echo
    vm
    stty sane
    exit
fi
vm </dev/null | tee "$work/results"
grep -q '^FINISHED .* 0 wrong$' "$work/results"
