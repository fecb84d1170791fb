#!/bin/sh
# Downloads the versions of bash in which the builtin is tested to target/bashes/VERSION/bash.
#
# Every file is verified by its checksum before it is used. If a version is not available, the
# script prints one line and skips it; the tests then use the other versions. A version that is
# already present is not downloaded again.
set -u
cd "$(dirname "$0")/.." || exit
bashes=$PWD/target/bashes

debian=http://deb.debian.org/debian/pool/main
ubuntu=http://archive.ubuntu.com/ubuntu/pool/main

# Each of the following functions provides one version. It runs in a directory of its own and puts
# the result into `made` there, or passes the reason for its failure to `why`.

packaged_4_4() {
    packages && needs bash &&
        fetch bash.deb $ubuntu/b/bash/bash_4.4.18-2ubuntu1_amd64.deb \
            5895e980d1fc874906d27823ab31eeb65cfe1d059936b9d6d304bfee02c8995c &&
        fetch tinfo.deb $ubuntu/n/ncurses/libtinfo5_6.1-1ubuntu1_amd64.deb \
            450bf945387029bee91d8eea76deacb8df907a1f6641fbce388933d1fdfb5a0d &&
        unpack bash.deb && unpack tinfo.deb &&
        mkdir made && mv bin/bash made/bash-4.4 && mv lib/x86_64-linux-gnu made/lib || return
    # It needs libtinfo.so.5, which current distributions do not have; the wrapper provides it. The
    # wrapper passes its own name on, so that $BASH and $0 name a program that can be started again.
    # Its interpreter is given by its path, because the wrapper itself may be the `bash` in PATH.
    {
        echo "#!$(command -v bash)"
        cat <<'WRAPPER'
here=${0%/*}
export LD_LIBRARY_PATH="$here/lib"
exec -a "$0" "$here/bash-4.4" "$@"
WRAPPER
    } >made/bash
    chmod +x made/bash
}

packaged_5_0() {
    packages &&
        fetch bash.deb $ubuntu/b/bash/bash_5.0-6ubuntu1_amd64.deb \
            3ee861fb5a1ea976e97a9038f785b43252bd4040cdd066ea1afe675ff7625ec8 &&
        unpack bash.deb && mkdir made && mv bin/bash made
}

packaged_5_1() {
    packages &&
        fetch bash.deb "$debian/b/bash/bash_5.1-2+deb11u1_amd64.deb" \
            f702ef058e762d7208a9c83f6f6bbf02645533bfd615c54e8cdcce842cd57377 &&
        unpack bash.deb && mkdir made && mv bin/bash made
}

built_5_3() {
    needs make && needs "${CC:-cc}" && needs tar && needs xz &&
        fetch bash.tar.xz $debian/b/bash/bash_5.3.orig.tar.xz \
            a70de6bb41f5e192534a5a1836b1d7fad9a8d4818a6e1506d70f38441552c17a &&
        tar -xJf bash.tar.xz && mkdir build made || return
    echo "bash 5.3: building from source, which takes up to a minute"
    # The MAKEFLAGS of the calling make are not meant for this one. It takes longer to optimize this
    # bash than it runs.
    build='../bash-*/configure --quiet CFLAGS=-O0 && make -j "$(nproc)"'
    (cd build && exec env -u MAKEFLAGS -u MAKELEVEL sh -c "$build") >log 2>&1 || {
        why "the build failed: $(tail -n 1 log)"
        return 1
    }
    strip build/bash 2>/dev/null
    mv build/bash made
}

why() { echo "$*" >reason; }

needs() {
    command -v "$1" >/dev/null 2>&1 || { why "$1 is not installed"; return 1; }
}

packages() {
    [ "$(uname -sm)" = 'Linux x86_64' ] || { why "the package is for Linux on x86-64"; return 1; }
    needs dpkg-deb || { needs ar && needs tar && needs xz; }
}

# fetch FILE URL SHA256
fetch() {
    if command -v curl >/dev/null 2>&1; then
        curl --fail --silent --location --connect-timeout 10 --max-time 180 --output "$1" "$2"
    else
        needs wget && wget --quiet --tries=1 --timeout=20 --output-document="$1" "$2"
    fi || { why "cannot download $2"; return 1; }
    echo "$3  $1" | sha256sum --check --status || { why "checksum mismatch: $2"; return 1; }
}

unpack() {
    if command -v dpkg-deb >/dev/null 2>&1; then
        dpkg-deb --extract "$1" .
    else
        ar p "$1" data.tar.xz | tar -xJ
    fi || { why "cannot unpack $1"; return 1; }
}

# runs BASH VERSION
runs() {
    # shellcheck disable=SC2016
    [ "$("$1" -c 'echo "${BASH_VERSINFO[0]}.${BASH_VERSINFO[1]}"' 2>/dev/null)" = "$2" ]
}

for provider in packaged_4_4 packaged_5_0 packaged_5_1 built_5_3; do
    version=$(echo "${provider#*_}" | tr _ .)
    destination=$bashes/$version
    if ! runs "$destination/bash" "$version"; then
        work=$destination.new
        rm -rf "$work" "$destination"
        mkdir -p "$work" && cd "$work" || exit 0
        "$provider" 2>errors && { runs made/bash "$version" || why "it does not run on this machine"; }
        reason=$(cat reason 2>/dev/null || tail -n 1 errors)
        [ -e reason ] || mv made "$destination" 2>/dev/null
        cd "$bashes" && rm -rf "$work"
    fi
    if [ -x "$destination/bash" ]; then
        echo "bash $version: $destination/bash"
    else
        echo "bash $version: skipped: ${reason:-unknown error}"
    fi
done
