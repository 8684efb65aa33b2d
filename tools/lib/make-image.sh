#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make-image.sh BASE.tar KERNEL PROJECT GUEST LOADER OUTPUT: the disk of a lab machine, in seconds
#
# BASE.tar  from make-base.sh
# KERNEL    folder of tools/build-kernel: version, vmlinuz, config, System.map, lib/, drive
# PROJECT   what `meson install --destdir` made
# GUEST     static programs: agent and dmem-touch of the lab, dmemfs_* of the kernel's selftests
# LOADER    grub-bios, grub-uefi or systemd-boot
# OUTPUT    folder that gets disk.raw, vmlinuz, drive, loader
#
# Neither mounts nor loop devices: the file system is made from a folder. To be run as root, or as
# root of a user namespace that owns enough ids (in_namespace in common.sh).

set -euo pipefail

base=$1 kernel=$2 project=$3 guest=$4 loader=$5 output=$6
size_mib=2048
esp_mib=256
# Fixed, so that a boot loader configuration made in one machine holds in the next
uuid=6d6d6d6d-0000-4000-8000-646d656d6400
machine_id=646d656d646c61620000000000000000
arguments="console=ttyS0 panic=-1 no_timer_check rootwait"

root=$(mktemp -d "$output/root.XXXXXX")
trap 'rm -rf "$root"' EXIT

tar -C "$root" --numeric-owner --exclude='./dev/*' -xf "$base"
cp -a --no-preserve=ownership "$project/." "$root/"

version=$(<"$kernel/version")
case $(<"$kernel/drive") in
virtio) partition=/dev/vda ;;
nvme) partition=/dev/nvme0n1p ;;
esac
disk=${partition}1
[[ $loader == grub-bios ]] || disk=${partition}2 # behind the EFI system partition

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
echo $machine_id >"$root/etc/machine-id"
printf '%s / ext4 errors=remount-ro 0 1\n' "$disk" >"$root/etc/fstab"
[[ $loader == grub-bios ]] ||
        printf '%s1 /boot/efi vfat umask=0077 0 2\n' "$partition" >>"$root/etc/fstab"
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
OOMPolicy=continue
OOMScoreAdjust=-1000
LimitCORE=infinity

[Install]
WantedBy=sysinit.target
EOF
# systemd 257 warns at each step that there is no /proc
export SYSTEMD_LOG_LEVEL=err
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
install_grub() {
        cp "$root/usr/share/grub/default/grub" "$root/etc/default/grub"
        mkdir -p "$root/etc/default/grub.d" "$root/boot/grub"
        cat >"$root/etc/default/grub.d/10-lab.cfg" <<EOF
# The lab machine has a serial line and no screen; a panic must end it
GRUB_CMDLINE_LINUX="\$GRUB_CMDLINE_LINUX $arguments"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0"
GRUB_TIMEOUT=0
EOF
        cp -r "$root/usr/lib/grub/$1" "$root/boot/grub/"
        # Until the first update-grub, which needs a running machine
        cat >"$root/boot/grub/grub.cfg" <<EOF
serial --unit=0
terminal_output serial
set default=0
set timeout=0
menuentry 'Lab machine, before its first update-grub' {
        linux /boot/vmlinuz-$version root=$disk ro $arguments quiet
}
EOF
}

# What grub-install leaves on the EFI system partition: enough to find the root file system
install_grub_on_esp() {
        install -D -m 0644 "$root/usr/lib/dmemd-lab/grubx64.efi" "$root/boot/efi/EFI/BOOT/BOOTX64.EFI"
        mkdir -p "$root/boot/efi/EFI/debian"
        cat >"$root/boot/efi/EFI/debian/grub.cfg" <<EOF
search.fs_uuid $uuid root
set prefix=(\$root)'/boot/grub'
configfile \$prefix/grub.cfg
EOF
}

# What `bootctl install` and the package of a kernel leave on the EFI system partition
install_systemd_boot() {
        local esp=$root/boot/efi stub=$root/usr/lib/systemd/boot/efi/systemd-bootx64.efi

        # Debian 13 has only the one that is signed
        [[ -f $stub ]] || stub=$stub.signed
        mkdir -p "$esp/EFI/"{BOOT,Linux,systemd} "$esp/loader/entries" "$esp/$machine_id"
        cp "$stub" "$esp/EFI/systemd/systemd-bootx64.efi"
        cp "$stub" "$esp/EFI/BOOT/BOOTX64.EFI"
        printf 'timeout 0\n' >"$esp/loader/loader.conf"
        printf 'type1\n' >"$esp/loader/entries.srel"
        # Without it kernel-install takes the command line of the machine that we are on
        mkdir -p "$root/etc/kernel"
        printf 'root=%s ro %s quiet\n' "$disk" "$arguments" >"$root/etc/kernel/cmdline"
        # Not mounted now, so it has to be told
        BOOT_ROOT=/boot/efi chroot "$root" kernel-install add "$version" "/boot/vmlinuz-$version"
        rm "$root/etc/kernel/cmdline"
        # Paths in an entry begin where the partition is mounted, which it is not now
        sed -i 's|^\(linux *\)/boot/efi/|\1/|' "$esp/loader/entries/"*.conf
}

# Table of partitions, and where the root file system begins and ends, in MiB
make_bios_disk() {
        # Master boot record, GRUB in the gap behind it, one partition from 1 MiB to the end
        printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$output/disk.raw"
        dd if="$root/usr/lib/dmemd-lab/boot.img" of="$output/disk.raw" bs=440 count=1 conv=notrunc status=none
        dd if="$root/usr/lib/dmemd-lab/core.img" of="$output/disk.raw" bs=512 seek=1 conv=notrunc status=none
        start_mib=1
        end_mib=$size_mib
}

# The EFI system partition is what the root has in boot/efi, where it is mounted in the machine
make_uefi_disk() {
        start_mib=$((1 + esp_mib))
        end_mib=$((size_mib - 1)) # the last one has the second copy of the table
        printf 'label: gpt\nstart=1MiB, size=%dMiB, type=U\nstart=%dMiB, size=%dMiB, type=L\n' \
                $esp_mib $start_mib $((end_mib - start_mib)) | sfdisk -q "$output/disk.raw"
        truncate -s ${esp_mib}M "$output/esp.raw"
        mkfs.vfat -F 32 -n ESP "$output/esp.raw"
        (cd "$root/boot/efi" && mcopy -s -i "$output/esp.raw" ./* ::/)
        find "$root/boot/efi" -mindepth 1 -delete
        dd if="$output/esp.raw" of="$output/disk.raw" bs=1M seek=1 conv=notrunc,sparse status=none
        rm "$output/esp.raw"
}

rm -f "$output/disk.raw"
truncate -s ${size_mib}M "$output/disk.raw"
case $loader in
grub-bios)
        install_grub i386-pc
        make_bios_disk
        ;;
grub-uefi)
        install_grub x86_64-efi
        install_grub_on_esp
        make_uefi_disk
        ;;
systemd-boot)
        install_systemd_boot
        make_uefi_disk
        ;;
esac
mke2fs -q -F -t ext4 -U $uuid -J size=16 -E offset=$((start_mib << 20)),hash_seed=$uuid -d "$root" \
        "$output/disk.raw" $((end_mib - start_mib))M

cp --no-preserve=ownership "$kernel/vmlinuz" "$kernel/drive" "$output/"
printf '%s\n' "$loader" >"$output/loader"
