#!/usr/bin/env bash
# Builds the image with docker or podman, or the tree that the Dockerfile describes, and runs its entry
# point as process 1: in namespaces, of which a user other than root can create some as well.
. "$(dirname "$0")/../common.sh"
skip_without unshare util-linux
skip_without pgrep procps
unshare --map-root-user --pid --fork true 2>/dev/null || {
    echo 'SKIPPED: container-test cannot create namespaces' >&2
    exit
}
make --silent dist >/dev/null

work=$(mktemp -d)
image=$work/image
trap 'rm -rf "$work"' EXIT

# from_dockerfile: creates the tree of the image without a tool for containers.
from_dockerfile() {
    local instruction arguments words destination
    while read -r instruction arguments; do
        read -ra words <<<"$arguments"
        case $instruction in
            COPY)
                destination=$image${words[-1]}
                mkdir -p "${destination%/*}"
                (cd "$out"/dist/*/ && cp "${words[@]::${#words[@]}-1}" "$destination")
                ;;
            ENTRYPOINT) entry_point=$(sed 's/^\["\(.*\)"\]$/\1/' <<<"$arguments") ;;
        esac
    done <packaging/container/Dockerfile
}

# from_image COMMAND...: builds the image with docker or podman, runs it, and creates its tree.
from_image() {
    local container name=fdlock-container-test-$$
    "$@" build --quiet --file packaging/container/Dockerfile --tag $name "$out"/dist/*/ >/dev/null
    container=$("$@" create $name)
    "$@" export "$container" | tar --extract --directory="$image"
    "$@" rm "$container" >/dev/null
    entry_point=$("$@" image inspect --format '{{index .Config.Entrypoint 0}}' $name)
    echo "ok: $1 builds the image"
    # Needs permissions that a machine which is a container itself may lack.
    if "$@" run --rm --network none $name --version 2>"$work/error" | grep -q fdlock; then
        echo "ok: $1 runs the image"
    else
        echo "SKIPPED: container-test: $1 cannot run it: $(tail -n 1 "$work/error")" >&2
    fi
    "$@" rmi $name >/dev/null
}

mkdir "$image"
# In a storage of its own, with the driver that works everywhere.
podman=(podman --root "$work/storage" --runroot "$work/run" --storage-driver vfs)
if docker info >/dev/null 2>&1; then
    from_image docker
elif "${podman[@]}" info >/dev/null 2>&1; then
    from_image "${podman[@]}"
else
    echo 'SKIPPED: container-test builds the image without docker or podman' >&2
    from_dockerfile
fi
mkdir -p "$image/proc" "$image/locks"

# in_container ARGUMENT...: runs the entry point as process 1, with /proc as docker mounts it.
in_container() {
    exec timeout --signal=KILL 60 unshare --map-root-user --mount --pid --fork --kill-child \
        sh -c 'mount -t proc proc "$1/proc" && cd "$1" && shift && exec chroot . "$@"' \
        sh "$image" "$entry_point" "$@"
}

(in_container --version) | grep -q fdlock
status=0
(in_container -n /locks/free "$entry_point" -n /locks/free /nonexistent) || status=$?
[ $status -eq 1 ]
echo 'ok: the program runs in an empty image'

# A waiter as process 1, which the kernel protects from signals that have no handler. The lock is
# inherited by this script, and flock prints a line before it waits.
exec 8>"$image/locks/held"
flock 8
mkfifo "$work/output"
(in_container --verbose /locks/held /nonexistent) >"$work/output" 2>&1 8>&- &
container=$!
exec 7<"$work/output"
read -r line <&7
init=$(pgrep --parent "$(pgrep --parent $container)")
kill -TERM "$init"
status=0
wait $container || status=$?
[ $status -eq 143 ] || {
    echo "container-test: SIGTERM: status $status after: $line" >&2
    exit 1
}
echo 'ok: SIGTERM ends a waiter that is process 1'
