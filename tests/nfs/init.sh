#!/bin/busybox sh
# Process 1 of the initramfs. The root directory becomes this machine's, with the packages placed
# above it; what the VM changes stays in its memory. The kernel passes its parameters PROJECT
# and CHECKS as environment variables.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
while read -r module; do insmod "/modules/$module"; done </modules/order

options=ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose
mount -t 9p -o $options root /root
mount -t 9p -o $options packages /packages
mount -t tmpfs -o size=60% tmpfs /upper
mkdir /upper/changes /upper/work
layers=lowerdir=/packages:/root,upperdir=/upper/changes,workdir=/upper/work
mount -t overlay -o $layers root /merged

umount /proc
exec switch_root /merged /bin/bash "$PROJECT/tests/nfs/guest.sh"
