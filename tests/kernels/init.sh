#!/bin/sh
# The guest's init: mounts, unpacks the payload, runs the command, reports its exit
# status on the second serial port, and powers off. Nothing but busybox is needed.
busybox [ -d /dev/pts ] || busybox mount -t devtmpfs dev /dev
exec >/dev/console 2>&1 </dev/null
mkdir() { busybox mkdir "$@"; }
mount() { busybox mount "$@"; }

# The large root is on a disk, the payload came in the initramfs: bring it along.
# One disk only, for with two it is not settled which of them becomes the first.
if [ -e /large ]; then
    tries=0
    until [ -b /dev/nvme0n1 ] || [ $((tries += 1)) -gt 100 ]; do busybox usleep 100000; done
    mkdir /disk
    mount -t ext4 -o ro /dev/nvme0n1 /disk
    mount -t tmpfs payload /disk/payload
    busybox cp -a /payload/. /disk/payload
    mkdir -p /dev/pts
    mount --move /dev /disk/dev
    exec busybox switch_root -c /dev/console /disk /init
fi

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
busybox chmod 1777 /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tracefs trace /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
busybox ip link set lo up
busybox hostname guest

export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root LANG=C.UTF-8
export PYTHONPATH=/payload PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Everything takes ten times as long as on a real processor.
export TRACER_REQUIRE_KERNEL=1 TRACER_EMULATED=1
# Raw: no carriage returns. The status goes through the same descriptor as the
# output, so it is the last line.
exec 3>/dev/ttyS1
busybox stty -F /dev/ttyS1 raw -echo
cd /payload || exit
echo "@started $(busybox uname -r)" >&3
. ./.guest/settings
busybox timeout -s TERM -k 5 "$GUEST_TIMEOUT" sh ./.guest/command >&3 2>&3
echo "
@status $?" >&3
exec 3>&-
# Closing drained the port; syncing is for the console.
busybox sync
busybox poweroff -f
