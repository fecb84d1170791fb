# The file systems under test. mount_KIND mounts one, and sets A, B and S (see lib.sh). KIND is the
# name in the table of docs/where-locks-work.md.

# create_image FILE: creates a file for the contents of a file system.
create_image() {
    modprobe loop
    mkdir -p "${1%/*}"
    truncate --size 320M "$1"
}

# mount_local KIND OPTION...: mounts a file system of this machine.
mount_local() {
    A=/mnt/$1 B=/mnt/$1 S=/mnt/$1
    mkdir -p "$A"
    mount -t "$@" "$A"
}

mount_disk() {
    local image=/run/images/$1
    modprobe "$1"
    create_image "$image"
    "mkfs.$1" "$image" >/dev/null && mount_local "$1" -o loop "$image"
}

mount_tmpfs() { mount_local tmpfs tmpfs; }
mount_ext4() { mount_disk ext4; }
mount_xfs() { mount_disk xfs; }
mount_btrfs() { mount_disk btrfs; }
mount_vfat() { mount_disk vfat; }

mount_overlay() {
    local run=/run/overlay
    mkdir -p $run/{lower,upper,work}
    mount_local overlay -o lowerdir=$run/lower,upperdir=$run/upper,workdir=$run/work overlay
}

# mount_clients KIND DIRECTORY: sets the directories of two clients of a server.
set_clients() {
    A=/mnt/$1/a B=/mnt/$1/b S=$2
    mkdir -p "$A" "$B"
}

mount_nfs4() {
    start_nfs_server
    set_clients nfs4 /srv/nfs
    on a mount -t nfs -o vers=4.2 10.0.0.1:/ "$A"
    on b mount -t nfs -o vers=4.2 10.0.0.1:/ "$B"
}

mount_nfs3() {
    start_nfs_server
    start_lock_service a
    start_lock_service b
    set_clients nfs3 /srv/nfs
    on a mount -t nfs -o vers=3 10.0.0.1:/srv/nfs "$A"
    on b mount -t nfs -o vers=3 10.0.0.1:/srv/nfs "$B"
}

mount_cifs() {
    start_samba
    set_clients cifs /srv/smb
    on a mount -t cifs -o guest //10.0.0.1/smb "$A"
    on b mount -t cifs -o guest //10.0.0.1/smb "$B"
}

# The server is qemu. Each client is a device of its own.
mount_9p() {
    set_clients 9p ''
    mount -t 9p -o trans=virtio,version=9p2000.L share-a "$A"
    mount -t 9p -o trans=virtio,version=9p2000.L share-b "$B"
}

# mount_bindfs KIND OPTION...: a FUSE file system that shows another directory, twice.
mount_bindfs() {
    modprobe fuse
    set_clients "$1" "/srv/$1"
    mkdir -p "$S"
    mount --bind "$S" "$S"
    shift
    bindfs "$@" "$S" "$A" && bindfs "$@" "$S" "$B"
}

# The kernel, and not the server, implements the locks, ...
mount_fuse() { mount_bindfs fuse; }
# ... or the server does.
mount_fuse_locks() { mount_bindfs fuse_locks --multithreaded --enable-lock-forwarding; }
