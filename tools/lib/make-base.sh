#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make-base.sh SUITE SOURCES OUTPUT.tar: Debian as the lab machines have it, without the project
#
# Packages that dmemd needs or deals with, no more; what makes a disk bootable by GRUB is left in
# /usr/lib/dmemd-lab/, because a GRUB of the right version is at hand here.

set -euo pipefail

suite=$1 sources=$2 output=$3

packages=(
        dbus
        e2fsprogs
        grub-common
        grub-efi-amd64-bin
        grub-pc-bin
        grub2-common
        iproute2-
        jq
        kmod
        libjson-c5
        libmount1
        libnuma1
        libsystemd0
        numactl
        procps
        systemd
        systemd-boot
        systemd-sysv
        udev
        util-linux
)

mode=root
((EUID == 0)) || mode=unshare

proxy=()
while read -r key value; do
        [[ -n ${value:-} ]] && proxy+=(--aptopt="$key \"$value\"")
done < <(apt-config dump Acquire::http::Proxy Acquire::https::Proxy 2>/dev/null |
        sed -n 's/^\(Acquire::https\?::Proxy\) "\(.*\)";$/\1 \2/p')

IFS=,
# The chroot's path is $1 in a hook
# shellcheck disable=SC2016
mmdebstrap --mode=$mode --variant=minbase --include="${packages[*]}" \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::Retries "3"' \
        "${proxy[@]}" \
        --customize-hook='mkdir -p "$1/usr/lib/dmemd-lab"' \
        --customize-hook='chroot "$1" grub-mkimage -O i386-pc -p "(hd0,msdos1)/boot/grub" \
                -o /usr/lib/dmemd-lab/core.img biosdisk part_msdos ext2 normal linux serial \
                terminal echo test search search_fs_uuid gzio all_video' \
        --customize-hook='cp "$1/usr/lib/grub/i386-pc/boot.img" "$1/usr/lib/dmemd-lab/"' \
        --customize-hook='chroot "$1" grub-mkimage -O x86_64-efi -p /EFI/debian \
                -o /usr/lib/dmemd-lab/grubx64.efi part_gpt fat ext2 normal configfile linux serial \
                terminal echo test search search_fs_uuid gzio all_video' \
        --customize-hook='rm -rf "$1"/var/cache/apt/*.bin "$1"/var/lib/apt/lists/*' \
        "$suite" "$output" "$sources"
