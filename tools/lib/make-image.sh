#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make-image.sh BASE.tar KERNEL PROJECT GUEST OUTPUT: the disk of a lab machine, in seconds
#
# BASE.tar  from make-base.sh
# KERNEL    folder of tools/build-kernel: version, vmlinuz, config, System.map, lib/, drive
# PROJECT   what `meson install --destdir` made
# GUEST     static programs: agent and dmem-touch of the lab, dmemfs_* of the kernel's selftests
# OUTPUT    folder that gets disk.raw, vmlinuz, drive
#
# Neither mounts nor loop devices: the file system is made from a folder. To be run as root, or as
# root of a user namespace that owns enough ids (in_namespace in common.sh).

set -euo pipefail

base=$1 kernel=$2 project=$3 guest=$4 output=$5
size_mib=2048
# Fixed, so that a boot loader configuration made in one machine holds in the next
uuid=6d6d6d6d-0000-4000-8000-646d656d6400

root=$(mktemp -d "$output/root.XXXXXX")
trap 'rm -rf "$root"' EXIT

tar -C "$root" --numeric-owner --exclude='./dev/*' -xf "$base"
cp -a --no-preserve=ownership "$project/." "$root/"

version=$(<"$kernel/version")
case $(<"$kernel/drive") in
virtio) disk=/dev/vda1 ;;
nvme) disk=/dev/nvme0n1p1 ;;
esac

# The kernel, as Debian's packages put it there
for f in vmlinuz config System.map; do
        cp --no-preserve=ownership "$kernel/$f" "$root/boot/$f-$version"
done
mkdir -p "$root/usr/lib/modules"
cp -a --no-preserve=ownership "$kernel/lib/modules/." "$root/usr/lib/modules/"
chroot "$root" depmod "$version"

# The machine
echo dmemd-lab >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 dmemd-lab\n' >"$root/etc/hosts"
# A machine with an identity is not in its first boot, and does not go through first boot set-up
echo 646d656d646c61620000000000000000 >"$root/etc/machine-id"
printf '%s / ext4 errors=remount-ro 0 1\n' "$disk" >"$root/etc/fstab"
chroot "$root" passwd -q -d root
chroot "$root" useradd -M -d / -s /bin/sh user

# The agent answers before the system that is under test has come up
install -D -m 0755 "$guest/agent" "$root/usr/lib/dmemd-lab/agent"
install -D -m 0755 "$guest/dmem-touch" "$root/usr/local/bin/dmem-touch"
for program in "$guest"/dmemfs_*; do
        [[ ! -e $program ]] || install -D -m 0755 -t "$root/usr/local/lib/dmem-selftests" "$program"
done
# For a machine that is there for its kernel alone
cat >"$root/usr/lib/dmemd-lab/init" <<'EOF'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
exec /usr/lib/dmemd-lab/agent
EOF
chmod 0755 "$root/usr/lib/dmemd-lab/init"
cat >"$root/etc/systemd/system/lab-agent.service" <<'EOF'
[Unit]
Description=Agent of the lab
DefaultDependencies=no
Before=sysinit.target

[Service]
ExecStart=/usr/lib/dmemd-lab/agent
# Commands started by hand are not the agent's, and live and die on their own
KillMode=process
OOMScoreAdjust=-1000
LimitCORE=infinity

[Install]
WantedBy=sysinit.target
EOF
chroot "$root" systemctl --quiet --root=/ enable lab-agent.service

# What only costs time in a machine that lives for a minute
chroot "$root" systemctl --quiet --root=/ mask \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer getty@tty1.service serial-getty@ttyS0.service \
        systemd-hwdb-update.service ldconfig.service systemd-update-done.service \
        systemd-journal-catalog-update.service grub-common.service grub-initrd-fallback.service

# What the maintainer scripts of a package of the project would do
chroot "$root" ldconfig
[[ ! -d $root/usr/lib/sysusers.d ]] || chroot "$root" systemd-sysusers
[[ ! -d $root/usr/lib/systemd/catalog ]] || chroot "$root" journalctl --quiet --update-catalog
for unit in "$project"/usr/lib/systemd/system/*.*; do
        if [[ -f $unit ]] && grep -q '^\[Install\]' "$unit"; then
                chroot "$root" systemctl --quiet --root=/ preset "${unit##*/}"
        fi
done

# GRUB: Debian's settings stay as they are, what the lab needs is in a file of its own
cp "$root/usr/share/grub/default/grub" "$root/etc/default/grub"
mkdir -p "$root/etc/default/grub.d" "$root/boot/grub"
cat >"$root/etc/default/grub.d/10-lab.cfg" <<'EOF'
# The lab machine has a serial line and no screen; a panic must end it
GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=ttyS0 panic=-1 no_timer_check rootwait"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0"
GRUB_TIMEOUT=0
EOF
cp -r "$root/usr/lib/grub/i386-pc" "$root/boot/grub/"
# Until the first update-grub, which needs a running machine
cat >"$root/boot/grub/grub.cfg" <<EOF
serial --unit=0
terminal_output serial
set default=0
set timeout=0
menuentry 'Lab machine, before its first update-grub' {
        linux /boot/vmlinuz-$version root=$disk ro console=ttyS0 panic=-1 no_timer_check rootwait quiet
}
EOF

# Master boot record, GRUB in the gap behind it, one partition from 1 MiB to the end
rm -f "$output/disk.raw"
truncate -s ${size_mib}M "$output/disk.raw"
printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$output/disk.raw"
dd if="$root/usr/lib/dmemd-lab/boot.img" of="$output/disk.raw" bs=440 count=1 conv=notrunc status=none
dd if="$root/usr/lib/dmemd-lab/core.img" of="$output/disk.raw" bs=512 seek=1 conv=notrunc status=none
mke2fs -q -F -t ext4 -U $uuid -J size=16 -E offset=1048576,hash_seed=$uuid -d "$root" \
        "$output/disk.raw" $((size_mib - 1))M

cp --no-preserve=ownership "$kernel/vmlinuz" "$kernel/drive" "$output/"
