# shellcheck shell=bash disable=SC2034
# Used by the scripts in this directory, which start here, at the top of the sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Timestamps of the packages: that of the last commit, so that they can be reproduced.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C TZ=UTC

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
# All packages are built in here, and end up here.
out=$PWD/target/packaging
mkdir -p "$out"

. packaging/distributor

# need COMMAND PACKAGE: exits unless a command is available.
need() {
    command -v "$1" >/dev/null || {
        echo "${0##*/}: $1 is not available: apt-get install $2" >&2
        exit 1
    }
}

# skip_without COMMAND PACKAGE: skips the rest of a test unless a command is available.
skip_without() {
    command -v "$1" >/dev/null || {
        echo "SKIPPED: $(basename "$0" .sh)-test needs $1: apt-get install $2" >&2
        exit
    }
}

# only_for_this_machine [TARGET]: refuses a target, because the tools would take their own architecture.
only_for_this_machine() {
    [ $# -eq 0 ] || {
        echo "${0##*/}: TARGET=$1: build this package on such a machine, or use make dist" >&2
        exit 1
    }
}

# source_tree DIRECTORY: copies the sources, and the programs that `make` has built from them. The
# timestamps are kept, so make has nothing to do there.
source_tree() {
    rm -rf "$1"
    mkdir -p "$1/target"
    git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$1"
    cp -a target/install "$1/target"
}

# reproducible_tar FILE.tar.gz DIRECTORY: packs a directory, next to which tar is started.
reproducible_tar() {
    tar --create --directory="$(dirname "$2")" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" \
        --owner=0 --group=0 --numeric-owner --mode=u+w,go-w,a+rX "$(basename "$2")" | gzip -9n >"$1"
}

# The static programs contain the libraries, so their licences have to be shipped.
check_copyright() {
    local library libraries missing=
    libraries=$(cargo tree --locked --edges normal --prefix none \
        --format '{p}' --target "$(rustc -vV | sed -n 's/^host: //p')" \
        --package fdlock --package fdlock-historic --package fdlock-builtin --package fdlock-remote \
        --features fdlock-remote/tls)
    while read -r library _; do
        case $library in
            fdlock* | '') ;;
            *) grep -q "^Files:.* crates/$library/" packaging/copyright || missing+=" $library" ;;
        esac
    done <<<"$libraries"
    [ -z "$missing" ] || {
        echo "packaging/copyright lacks$missing" >&2
        exit 1
    }
}
