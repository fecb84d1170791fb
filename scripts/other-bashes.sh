#!/bin/sh
# Fetches other versions of bash, which the builtin is tested in, to target/bashes/VERSION/bash.
#
# Every file is checked against its sum before it is looked into. A version that cannot be had here is said in one line
# and left out: the tests are then of the others. One that is there is not fetched again.
set -u
cd "$(dirname "$0")/.." || exit
bashes=$PWD/target/bashes

debian=http://deb.debian.org/debian/pool/main
ubuntu=http://archive.ubuntu.com/ubuntu/pool/main

# What follows is for one version each. It runs in a folder of its own and puts what is to be kept into `made` there, or
# has `why` say why it cannot.

packaged_4_4() {
    packages && needs bash &&
        fetch bash.deb $ubuntu/b/bash/bash_4.4.18-2ubuntu1_amd64.deb \
            5895e980d1fc874906d27823ab31eeb65cfe1d059936b9d6d304bfee02c8995c &&
        fetch tinfo.deb $ubuntu/n/ncurses/libtinfo5_6.1-1ubuntu1_amd64.deb \
            450bf945387029bee91d8eea76deacb8df907a1f6641fbce388933d1fdfb5a0d &&
        unpack bash.deb && unpack tinfo.deb &&
        mkdir made && mv bin/bash made/bash-4.4 && mv lib/x86_64-linux-gnu made/lib || return
    # It wants a libtinfo.so.5 that machines of today do not have. The name is the wrapper's own, so $BASH and $0 are a
    # program that can be started again. What runs the wrapper is named by its path: the wrapper may be the `bash` of PATH.
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
    echo "bash 5.3: building it, which takes a minute or two"
    # MAKEFLAGS of the make that has started us is not for this one.
    (cd build && exec env -u MAKEFLAGS -u MAKELEVEL sh -c "../bash-*/configure --quiet && make") >log 2>&1 || {
        why "it does not build: $(tail -n 1 log)"
        return 1
    }
    strip build/bash 2>/dev/null
    mv build/bash made
}

why() { echo "$*" >reason; }

needs() {
    command -v "$1" >/dev/null 2>&1 || { why "there is no $1"; return 1; }
}

packages() {
    [ "$(uname -sm)" = 'Linux x86_64' ] || { why "the package is for Linux on an x86-64"; return 1; }
    needs dpkg-deb || { needs ar && needs tar && needs xz; }
}

# fetch FILE ADDRESS SHA256
fetch() {
    if command -v curl >/dev/null 2>&1; then
        curl --fail --silent --location --connect-timeout 10 --max-time 180 --output "$1" "$2"
    else
        needs wget && wget --quiet --tries=1 --timeout=20 --output-document="$1" "$2"
    fi || { why "cannot fetch $2"; return 1; }
    echo "$3  $1" | sha256sum --check --status || { why "not what it should be: $2"; return 1; }
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

for way in packaged_4_4 packaged_5_0 packaged_5_1 built_5_3; do
    version=$(echo "${way#*_}" | tr _ .)
    there=$bashes/$version
    if ! runs "$there/bash" "$version"; then
        work=$there.new
        rm -rf "$work" "$there"
        mkdir -p "$work" && cd "$work" || exit 0
        "$way" 2>errors && { runs made/bash "$version" || why "it does not run here"; }
        reason=$(cat reason 2>/dev/null || tail -n 1 errors)
        [ -e reason ] || mv made "$there" 2>/dev/null
        cd "$bashes" && rm -rf "$work"
    fi
    if [ -x "$there/bash" ]; then
        echo "bash $version: $there/bash"
    else
        echo "bash $version: left out: ${reason:-no reason known}"
    fi
done
