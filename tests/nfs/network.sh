# The network of the VM: a server, and two clients with host names, addresses and, for NFS, client
# IDs of their own. Each client is a network namespace.

start_network() {
    [ -z "$has_network" ] || return 0
    has_network=1
    modprobe -a bridge veth
    printf '%s\n' '127.0.0.1 localhost' '10.0.0.1 server' '10.0.0.2 a' '10.0.0.3 b' >/etc/hosts
    : >/etc/resolv.conf
    ip link add switch type bridge
    ip addr add 10.0.0.1/24 dev switch
    ip link set switch up
    local client address=10.0.0.1
    for client in a b; do
        address=${address%.*}.$((${address##*.} + 1))
        ip netns add $client
        ip link add port-$client type veth peer name eth0 netns $client
        ip link set port-$client master switch up
        ip -n $client link set lo up
        ip -n $client addr add $address/24 dev eth0
        ip -n $client link set eth0 up
    done
}

# on CLIENT COMMAND...: runs a command in the client's network, under its host name. Mounts are
# visible everywhere.
on() {
    local client=$1
    shift
    nsenter --net=/run/netns/$client unshare --uts sh -c 'hostname "$0"; exec "$@"' $client "$@"
}

start_nfs_server() {
    [ -z "$has_nfs" ] || return 0
    has_nfs=1
    start_network
    modprobe -a nfsd nfs nfsv3 nfsv4
    # The users that the packages would have created.
    printf '%s:x:65533:65534::/:/bin/false\n' _rpc statd >>/etc/passwd
    mkdir -p /srv/nfs /var/lib/nfs/{sm,sm.bak,v4recovery,nfsdcld,rpc_pipefs}
    local image=/run/images/nfs
    create_image "$image"
    mkfs.ext4 -q "$image" && mount -o loop "$image" /srv/nfs
    chmod 1777 /srv/nfs
    mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
    mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs
    : >/var/lib/nfs/etab
    : >/var/lib/nfs/rmtab
    echo '/srv/nfs 10.0.0.0/24(rw,no_root_squash,no_subtree_check,fsid=0)' >/etc/exports
    mkdir -p /run/rpcbind
    rpcbind
    until_true rpcinfo -T tcp 127.0.0.1 portmapper >/dev/null
    # Otherwise the kernel registers the clients' lock services at this socket too, although it is
    # the server's.
    rm /run/rpcbind.sock
    rpc.statd --no-notify
    exportfs -r
    # After a restart, the server waits for its clients no longer than this.
    echo 10 >/proc/fs/nfsd/nfsv4leasetime
    echo 10 >/proc/fs/nfsd/nfsv4gracetime
    echo 10 >/proc/sys/fs/nfs/nlm_grace_period
    nfsdcld
    rpc.mountd
    rpc.nfsd 8
    # If nfsdcld does not answer at once, the server records its clients in another way. After a
    # restart with nfsdcld, it would not know them, and they would lose their locks.
    for _ in {1..50}; do
        ! dmesg | grep 'client tracking' | tail -n 1 | grep -q 'Using nfsdcld' || break
        rpc.nfsd 0
        rpc.nfsd 8
    done
}

# A new state number, and a message to the clients that have locks, as at a boot.
restart_nfs_server() {
    rpc.nfsd 0
    rpc.nfsd 8
    sm-notify -f -v 10.0.0.1
}

# NFS v3 clients need a lock service of their own, with its own files.
start_lock_service() {
    local client=$1 state=/run/lock-service.$1
    mkdir -p "$state"/{sm,sm.bak,run}
    on $client unshare --mount sh -c "
        mount --make-rprivate /
        mount --bind $state /var/lib/nfs
        mount -t tmpfs tmpfs /run
        mkdir /run/rpcbind
        rpcbind
        exec rpc.statd --no-notify --foreground" >/dev/null 2>&1 &
    until_true on $client rpcinfo -T tcp 127.0.0.1 status >/dev/null
}

start_samba() {
    [ -z "$has_samba" ] || return 0
    has_samba=1
    start_network
    modprobe cifs
    mkdir -p /srv/smb /run/samba/private
    mount -t tmpfs tmpfs /srv/smb
    chmod 1777 /srv/smb
    cat >/run/samba/smb.conf <<'END'
[global]
    server role = standalone server
    map to guest = bad user
    guest account = root
    private dir = /run/samba/private
    lock directory = /run/samba
    state directory = /run/samba
    cache directory = /run/samba
    pid directory = /run/samba
    ncalrpc dir = /run/samba/ncalrpc
    log file = /run/samba/log
    load printers = no
[smb]
    path = /srv/smb
    guest ok = yes
    force user = root
    read only = no
END
    smbd --configfile=/run/samba/smb.conf --daemon
    until_true bash -c ': </dev/tcp/10.0.0.1/445'
}
