#!/usr/bin/env bash
# Tests the programs for other processors: runs the suite natively on i686, whose programs x86-64
# kernels run, and a part of it in qemu-user for the others. In both cases, a second part tests them
# beside the program of this machine (tests/suite/foreign.rs).
#
# What is not available is skipped with a line that says what it needs; a failure is a failure.
# `scripts/cross.sh ARCH...` tests only these.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# In qemu-user, the suite itself runs natively, and calls the program through a script. These are
# subjects that do not depend on how qemu-user treats signals, descriptors and names of processes.
subjects=(also:: fair::readers fcntl:: foreign:: queue::sandboxes replaced:: unlink:: waiting::
    --skip builtin:: --skip process_one --skip another_pid_namespace --skip signal_that_exists
    --skip foreign_holders_and_waiters_are_listed::case_2_fcntl)
# There, no process shares descriptors with another one.
unit_tests=(cli:: delegate:: signal:: syscall:: lock::fair holders:: --skip shared_descriptors)

native=$PWD/target/install/flock
failures=()
skips=()

skip() { skips+=("$1: $2") && echo "cross: $1: skipped: $2"; }

fail() { failures+=("$1: $2") && echo "cross: $1: FAILED: $2"; }

# available TARGET - prints what the target needs, and fails if it is missing.
available() {
    { scripts/build-target.sh "$1" && scripts/cross-tools.sh "$1"; } 2>&1 >/dev/null | grep .
    return $((PIPESTATUS[0]))
}

# run NAME WHAT COMMAND... - runs a step, and records its failure.
run() {
    local name=$1 what=$2
    shift 2
    echo "cross: $name: $what"
    "$@" || { fail "$name" "$what" && return 1; }
}

# suite FLOCK FOREIGN ARGS... - runs the native suite with these programs.
suite() {
    FLOCK_UNDER_TEST=$1 FLOCK_FOREIGN=$2 cargo test --locked --quiet --test suite -- "${@:3}"
}

# build TARGET - builds the programs, and lets cargo use the tools for the target.
build() {
    make --no-print-directory TARGET="$1" REMOTE= >&2 && eval "$(scripts/cross-tools.sh "$1")"
}

test_i686() {
    local target=i686-unknown-linux-musl reason flock=$PWD/target/install-i686-unknown-linux-musl/flock
    [ "$(uname -m)" = x86_64 ] || { skip i686 "this is no x86-64 kernel" && return; }
    reason=$(available "$target") || { skip i686 "$reason" && return; }
    run i686 build build "$target" || return
    "$flock" --version >/dev/null 2>&1 || { skip i686 "this kernel runs no 32-bit programs" && return; }
    FLOCK_FOREIGN=$native run i686 "the suite, development build" \
        cargo test --locked --quiet --no-fail-fast --workspace --target "$target"
    FLOCK_UNDER_TEST=$flock FLOCK_FOREIGN=$native run i686 "the suite, installed program" \
        cargo test --locked --quiet --test suite --target "$target"
    run i686 "beside the program of this machine" suite "$native" "$flock" foreign::
}

# in_qemu ARCH QEMU TRIPLET TARGET... - tests the first target that is available.
in_qemu() {
    local arch=$1 qemu=$2 triplet=$3 target reason reasons='' directory
    shift 3
    qemu=$(command -v "qemu-$qemu-static" || command -v "qemu-$qemu") ||
        { skip "$arch" "qemu-user is not installed: apt-get install qemu-user-static" && return; }
    for target; do
        reason=$(available "$target") && break
        reasons+="$reason; "
        target=
    done
    [ -n "$target" ] || { skip "$arch" "${reasons%; }" && return; }
    echo "cross: $arch: ${reasons:+no musl, }target $target"
    run "$arch" build build "$target" || return

    directory=$PWD/target/cross/$target
    mkdir -p "$directory"
    # The C library, if the program is not static, is where Debian's cross compiler has it.
    qemu+=" -L /usr/$triplet"
    cat >"$directory/flock" <<SCRIPT
#!/bin/sh
exec $qemu -0 "\$0" $PWD/target/install-$target/flock "\$@"
SCRIPT
    chmod +x "$directory/flock"
    local variable=CARGO_TARGET_${target^^}_RUNNER
    export "${variable//-/_}=$qemu"
    run "$arch" "unit tests" \
        cargo test --locked --quiet --package fdlock --lib --target "$target" -- "${unit_tests[@]}"
    run "$arch" "a part of the suite" suite "$directory/flock" "$native" "${subjects[@]}"
    run "$arch" "beside the program of this machine" suite "$native" "$directory/flock" foreign::
}

(($#)) || set -- i686 aarch64 armhf riscv64 s390x
for arch; do
    case $arch in
    i686) test_i686 ;;
    aarch64) in_qemu aarch64 aarch64 aarch64-linux-gnu aarch64-unknown-linux-musl ;;
    armhf) in_qemu armhf arm arm-linux-gnueabihf armv7-unknown-linux-{musl,gnu}eabihf ;;
    riscv64) in_qemu riscv64 riscv64 riscv64-linux-gnu riscv64gc-unknown-linux-{musl,gnu} ;;
    s390x) in_qemu s390x s390x s390x-linux-gnu s390x-unknown-linux-{musl,gnu} ;;
    *) fail "$arch" "unknown architecture" ;;
    esac
done

echo
((${#skips[@]})) && printf 'cross: skipped: %s\n' "${skips[@]}"
((${#failures[@]})) && printf 'cross: FAILED: %s\n' "${failures[@]}" && exit 1
echo "cross: passed"
