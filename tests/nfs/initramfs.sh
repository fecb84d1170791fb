#!/bin/bash
# initramfs.sh DIRECTORY
#
# Builds DIRECTORY/initrd.gz: busybox, the modules with which the kernel can mount this machine's
# root directory, and init.sh. The kernel is the one of DIRECTORY/root. Prints its version.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$(realpath "$1")/root
PATH=$PATH:/usr/sbin:/sbin:$root/usr/sbin:$root/usr/bin

version=$(basename "$root"/lib/modules/*)
[ -e "$root/lib/modules/$version/modules.dep" ] || depmod -b "$root" "$version"

tree=$root/../initrd
rm -rf "$tree"
mkdir -p "$tree"/{bin,dev,modules,proc,root,packages,upper,merged}
cp "$(PATH=$root/bin:$PATH type -P busybox)" "$tree/bin/busybox"
cp "$here/init.sh" "$tree/init"
# In the order in which they can be loaded.
for module in virtio_pci 9pnet_virtio 9p overlay; do
    modprobe -d "$root" -S "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$tree/modules"
    basename "$file" >>"$tree/modules/order"
done
cd "$tree"
find . | cpio -o -H newc --quiet | gzip -1 >../initrd.gz
echo "$version"
