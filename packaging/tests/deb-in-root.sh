#!/bin/bash
# Installs, switches, upgrades and removes the package /root/fdlock.deb on the machine on which it
# runs: for tests/deb.sh, in a system that is thrown away.
set -euo pipefail
cd /root
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
ok() {
    [ ! -s gaps ] || fail "/usr/bin/flock was missing $(wc -l <gaps) times before: $*"
    echo "ok: $*"
}

# The state of the machine, seen from outside the package: theirs is util-linux's program.
assert_theirs() {
    cmp /usr/bin/flock theirs || fail "$1: /usr/bin/flock is not util-linux's"
    [ ! -e /usr/bin/flock.util-linux ] || fail "$1: flock.util-linux was left behind"
    [ -z "$(dpkg-divert --list '*flock*')" ] || fail "$1: a diversion was left behind"
    [ -z "$(dpkg --verify util-linux)" ] || fail "$1: util-linux is damaged"
}
assert_ours() {
    cmp /usr/bin/flock /usr/lib/fdlock/bin/flock || fail "$1: /usr/bin/flock is not fdlock's"
    cmp /usr/bin/flock.util-linux theirs || fail "$1: util-linux's program was not kept"
    [ -z "$(dpkg --verify util-linux fdlock)" ] || fail "$1: a package is damaged"
}
assert_works() { /usr/bin/flock -n /root/lock true || fail "$1: /usr/bin/flock does not work"; }

# repack FILE.deb NEW.deb: creates the next version of a package, whose programs differ.
repack() {
    rm -rf tree
    dpkg-deb --raw-extract "$1" tree
    sed -i 's/^Version: .*/&+next/' tree/DEBIAN/control
    for program in tree/usr/bin/flock tree/usr/lib/fdlock/bin/flock; do
        [ ! -f $program ] || echo next >>$program
    done
    (cd tree && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --build tree "$2" >/dev/null
}
install() { dpkg --install --force-depends "$1" >/dev/null; }

apt-get download util-linux
mv util-linux_*.deb util-linux.deb
repack util-linux.deb util-linux-next.deb
repack fdlock.deb fdlock-next.deb
cp /usr/bin/flock old
cp /usr/bin/flock theirs
files() { find /etc /usr /var/lib -path "/var/lib/[ad]p*" -prune -o -print | sort; }
files >files

# Looks at all times whether /usr/bin/flock is there.
perl -e 'open my $gap, ">>", "gaps"; $gap->autoflush;
    while (1) { -x "/usr/bin/flock" or print $gap "gap\n" }' &
watcher=$!
trap 'kill $watcher' EXIT

apt-get install -y ./fdlock.deb
assert_theirs install
fdlock --version | grep -q fdlock || fail 'fdlock does not run'
[ "$(fdlock-switch status)" = off ] || fail 'status is not off'
# With --fair, util-linux's program would fail.
through_builtin='enable -f flock flock && flock --fair -n lock true'
BASH_LOADABLES_PATH=/usr/lib/fdlock/lib/bash bash -c "$through_builtin" || fail 'no builtin'
ok 'is installed beside util-linux'

fdlock-switch on
assert_ours on
[ "$(fdlock-switch status)" = on ] || fail 'status is not on'
zcat /usr/share/man/man1/flock.1.gz | grep -q fdlock || fail 'the manual is not diverted'
grep -q -- --fair /usr/share/bash-completion/completions/flock || fail 'no completion for bash'
grep -q -- --fair /usr/share/zsh/vendor-completions/_flock || fail 'no completion for zsh'
grep -q fair /usr/share/fish/vendor_completions.d/flock.fish || fail 'no completion for fish'
BASH_LOADABLES_PATH=/usr/lib/bash bash -c "$through_builtin" || fail 'no builtin'
fdlock-switch on
assert_ours 'on, twice'
ok 'is switched on'

apt-get install -y --reinstall util-linux
assert_ours 'reinstalled util-linux'
install util-linux-next.deb
dpkg-deb --fsys-tarfile util-linux-next.deb | tar -xO ./usr/bin/flock >theirs
cmp -s old theirs && fail 'the next version does not differ'
assert_ours 'upgraded util-linux'
ok 'survives upgrades of util-linux'

# As if the previous version had no completion for fish.
rm /usr/share/fish/vendor_completions.d/flock.fish
install fdlock-next.deb
assert_ours 'upgraded fdlock'
[ -e /usr/share/fish/vendor_completions.d/flock.fish ] || fail 'upgraded fdlock: no new file'
tail -n 1 /usr/bin/flock | grep -q next || fail 'upgraded fdlock: the program is the old one'
install fdlock.deb
assert_ours 'downgraded fdlock'
ok 'stays on when it is upgraded itself'

# To the package of another architecture and back, as a machine whose architecture is changed.
dpkg-deb --raw-extract fdlock.deb foreign
sed -i -e 's/^Architecture: .*/Architecture: riscv64/' -e '/^Depends: /d' foreign/DEBIAN/control
dpkg-deb --build foreign fdlock-foreign.deb >/dev/null
dpkg --add-architecture riscv64
install fdlock-foreign.deb
[ "$(dpkg-query --show --showformat='${Architecture}' fdlock)" = riscv64 ] || fail 'not of that architecture'
assert_ours 'another architecture'
install fdlock.deb
dpkg --remove-architecture riscv64
assert_ours 'its own architecture again'
ok 'stays on when its architecture changes'

# In Debian 12 and later, /bin is a link to /usr/bin.
[ ! -L /bin ] || cmp /bin/flock /usr/lib/fdlock/bin/flock || fail "/bin/flock is not fdlock's"

fdlock-switch off
assert_theirs off
fdlock-switch off
assert_theirs 'off, twice'
ok 'is switched off'

fdlock-switch on
apt-get remove -y fdlock
assert_theirs 'removed while switched on'
install fdlock.deb
assert_theirs 'installed again'
fdlock-switch on
apt-get purge -y fdlock
assert_theirs 'purged while switched on'
diff files <(files) || fail 'purged: files were left behind'
ok 'leaves nothing behind when it is removed'

install fdlock.deb
export -f fail
/usr/lib/fdlock/bin/flock --fcntl /var/lib/dpkg/lock-frontend bash -c '
    timeout 1 fdlock-switch on
    [ $? -eq 124 ] || fail "does not wait for dpkg"'
assert_theirs 'dpkg is running'
dpkg-divert --local --no-rename --divert /usr/bin/flock.local --add /usr/bin/flock >/dev/null
! fdlock-switch on 2>/dev/null || fail 'ignores another diversion'
cmp /usr/bin/flock theirs
dpkg-divert --local --no-rename --remove /usr/bin/flock >/dev/null
assert_theirs 'another diversion'
fish=/usr/share/fish/vendor_completions.d/flock.fish
divert_fish() { dpkg-divert --no-rename "$@" $fish >/dev/null; }
divert_fish --local --divert $fish.local --add
! fdlock-switch on 2>/dev/null || fail 'ignores another diversion of a completion'
install fdlock-next.deb
divert_fish --local --remove
assert_theirs 'another diversion of a completion, and upgraded'
# As if the previous version had no completion for fish, and the administrator had diverted that.
fdlock-switch on
divert_fish --package fdlock --remove
rm -f $fish $fish.util-linux
divert_fish --local --divert $fish.local --add
install fdlock.deb || fail 'another diversion prevents an upgrade'
[ ! -e $fish ] || fail 'replaces a file that is diverted'
divert_fish --local --remove
fdlock-switch off
assert_theirs 'another diversion, when switched on'
ok 'waits for dpkg and respects other diversions'

# Commands that count down before they change anything, and kill the script instead of the last.
mkdir shims
for command in dpkg-divert ln mkdir mv rm touch; do
    cat >shims/$command <<END
#!/bin/sh
case \$* in
    *--listpackage*) ;;
    *)
        left=\$((\$(cat /root/left) - 1))
        echo \$left >/root/left
        if [ \$left = 0 ]; then kill -KILL \$PPID; exit; fi
        ;;
esac
exec $(command -v $command) "\$@"
END
    chmod +x shims/$command
done
# Switches on or off, but is killed before the given step. Fails if there are not as many steps.
killed_at() {
    echo "$2" >left
    ! PATH=/root/shims:$PATH bash -c 'fdlock-switch "$1"; exit $?' - "$1" 2>/dev/null
}
assert_state() { if [ "$1" = on ]; then assert_ours "$2"; else assert_theirs "$2"; fi; }

for wanted in on off; do
    [ $wanted = on ] && opposite=off || opposite=on
    for then in $wanted $opposite upgrade; do
        step=1
        fdlock-switch $opposite
        while killed_at $wanted $step; do
            case="$wanted, killed at step $step, then $then"
            assert_works "$case"
            # An upgrade takes long, and concerns only the first file.
            if [ $then = upgrade ]; then
                [ $step -le 9 ] || break
                install util-linux.deb
                assert_works "$case"
                install util-linux-next.deb
                fdlock-switch $wanted
                assert_state $wanted "$case"
            else
                fdlock-switch $then
                assert_state $then "$case"
            fi
            fdlock-switch $opposite
            step=$((step + 1))
        done
        [ $step -gt 8 ] || fail "only $step steps to switch $wanted"
        ok "switching $wanted may be killed at $((step - 1)) points, followed by $then"
    done
done

fdlock-switch off
dpkg --purge fdlock
assert_theirs 'killed and purged'
diff files <(files) || fail 'killed and purged: files were left behind'
kill -0 $watcher || fail 'the watcher has exited'
ok '/usr/bin/flock existed all the time'
