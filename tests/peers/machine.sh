#!/usr/bin/env bash
# A machine of its own that behaves as this one would with a real systemd as its first process: all files of this one, copied
# when written; processes, network and control groups of its own. Nothing that happens on it is seen here.
#
#   machine.sh FOLDER     boots, and runs until it is killed. FOLDER is /shared on it; FOLDER/up appears when systemd runs.
#
# Needs root, for namespaces. Units are only those that packages bring onto it.
set -euo pipefail

folder="$(realpath "$1")"
if [ "${2:-}" != inside ]; then
    # A control group of its own, which the machine sees as the root, and which is taken away afterwards.
    tree=/sys/fs/cgroup
    [ -d "$tree/systemd" ] && tree=/sys/fs/cgroup/systemd
    group="$tree/sidle-machine-$$"
    mkdir "$group"
    remove() {
        for _ in $(seq 50); do
            find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
            [ -d "$group" ] || return 0
            sleep 0.1
        done
    }
    trap remove EXIT
    trap 'kill -KILL "$child" 2>/dev/null' TERM INT
    # Whatever ends this script, the machine ends with it.
    bash -c 'echo $$ >"$1/cgroup.procs"; exec setpriv --pdeathsig KILL unshare --mount --pid --net --ipc --uts --cgroup --fork \
        --kill-child=KILL --mount-proc bash "$2" "$3" inside' - "$group" "$0" "$folder" &
    child=$!
    # The first wait ends with a signal, the second with the child.
    wait "$child" || wait "$child" || true
    exit 0
fi

mount --make-rprivate /
ip link set lo up
disk="$folder/disk"
mkdir -p "$disk"
mount -t tmpfs tmpfs "$disk"
mkdir "$disk/changes" "$disk/work" "$disk/root"
root="$disk/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/changes,workdir=$disk/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/run/lock" "$root/shared"
mount --bind "$folder" "$root/shared"
if [ -d /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
else
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
# None of this machine's services, and leave for packages to start theirs.
for place in etc/systemd/system usr/lib/systemd/system usr/lib/systemd/system-generators; do
    mkdir -p "$root/$place"
    mount -t tmpfs tmpfs "$root/$place"
done
rm -f "$root/usr/sbin/policy-rc.d"
units="$root/usr/lib/systemd/system"
for target in sysinit basic network-online multi-user shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$units/$target.target"
done
cat >"$units/up.service" <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/touch /shared/up
UNIT
printf '[Unit]\nDefaultDependencies=no\nWants=up.service\n' >"$units/default.target"
exec chroot "$root" env -i PATH="$PATH" container=sidle-machine \
    /lib/systemd/systemd --system --log-target=console --show-status=no --default-standard-output=null
