#!/bin/bash
# packages.sh DIRECTORY PACKAGE...
#
# Downloads packages and everything they depend on, as far as it is not installed on this machine,
# and unpacks them in DIRECTORY/root. Needs apt, but not root's privileges: apt's lists and cache
# are in DIRECTORY, and nothing is installed. A complete DIRECTORY is left as it is.
set -euo pipefail

directory=$(realpath "$1")
shift
stamp=$directory/packages
[ "$(cat "$stamp" 2>/dev/null)" != "$*" ] || exit 0

rm -rf "$stamp" "$directory/root"
mkdir -p "$directory"/{debs,lists/partial,cache/archives/partial}
apt() {
    apt-get -o APT::Sandbox::User=root -o Dir::State::Lists="$directory/lists" \
        -o Dir::Cache="$directory/cache" "$@"
}

echo "downloading packages to $directory" >&2
apt -qq update >&2
# What an installation would add to this machine: "Inst NAME [OLD] (NEW ...)".
apt --simulate install --no-install-recommends "$@" >"$directory/plan"
mapfile -t missing < <(sed -n 's/^Inst \([^ ]*\) .*/\1/p' "$directory/plan")
cd "$directory/debs"
rm -f ./*.deb
apt -qq download "${missing[@]}" >&2

# The directories that are symbolic links on a machine with a merged /usr are links here too,
# because the VM places this directory above the root directory of this machine.
mkdir -p ../root
cd ../root
for name in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$name" ]; then
        mkdir -p "usr/$name"
        ln -s "usr/$name" "$name"
    fi
done
for deb in ../debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner
done
echo "$*" >"$stamp"
