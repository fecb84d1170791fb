#!/bin/sh
# cross-tools.sh TARGET
#
# Prints shell commands that set the linker, the C compiler and the `strip` for a Rust target: the
# usual ones for the architecture of this machine, and Debian's cross compiler for any other. A linker
# in cargo's variable and another STRIP take precedence.
set -eu

target=$1
host=$(rustc -vV | sed -n 's/^host: //p')
arch=${target%%-*}

# Debian's name of the architecture and the C library.
case $target in
i[3-6]86-*) triplet=i686-linux-gnu ;;
arm*hf | thumb*hf) triplet=arm-linux-gnueabihf ;;
arm* | thumb*) triplet=arm-linux-gnueabi ;;
riscv64*) triplet=riscv64-linux-gnu ;;
*) triplet=$arch-linux-gnu ;;
esac

variable=CARGO_TARGET_$(printf '%s\n' "$target" | tr 'a-z-' 'A-Z_')_LINKER
eval "linker=\${$variable:-}"

# The crate cc would look for a compiler for musl; what it compiles needs no C library.
compiler=CC_$(printf '%s\n' "$target" | tr - _)

if [ "$arch" = "${host%%-*}" ]; then
    echo "export $compiler=\${$compiler:-\${CC:-cc}}"
    exit
fi
if [ -z "$linker" ] && ! command -v "$triplet-gcc" >/dev/null 2>&1; then
    package=gcc-$(printf '%s\n' "$triplet" | tr _ -)
    echo "TARGET=$target needs the linker $triplet-gcc: apt-get install $package (or set $variable)" >&2
    exit 1
fi
echo "export $variable=${linker:-$triplet-gcc}"
echo "export $compiler=\${$compiler:-$triplet-gcc}"
echo "[ \"\${STRIP:-strip}\" != strip ] || STRIP=$triplet-strip"
