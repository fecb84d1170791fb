# Start-up file of the interactive shell in the VM (`make nfs CHECKS=shell`).
cd "$PROJECT/tests/nfs" || exit
. ./lib.sh
. ./network.sh
. ./filesystems.sh
