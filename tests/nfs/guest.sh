#!/bin/bash
# Process 1 of the VM: mounts what a machine has, runs the checks with their output at the second
# serial port, and turns the VM off. The overlay with this machine's root directory is in place.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
ln -sfn /proc/self/fd /dev/fd
hostname server
ip link set lo up
ulimit -c 0
cd / || exit

if [ "$CHECKS" = shell ]; then
    setsid bash --rcfile "$PROJECT/tests/nfs/shell.sh" -i </dev/ttyS1 >/dev/ttyS1 2>&1
else
    # Lines end with a newline only.
    stty -onlcr </dev/ttyS1
    setsid "$PROJECT/tests/nfs/checks.sh" </dev/null >/dev/ttyS1 2>/dev/ttyS0
fi
echo o >/proc/sysrq-trigger
sleep 60
