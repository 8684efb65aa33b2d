#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# make-guest.sh QEMU KERNEL PROGRAM OUTPUT: the file system tools/build-guest tells of, in seconds
#
# QEMU      of this machine; its libraries go along, so that it runs in any lab machine
# KERNEL    what the guest boots
# PROGRAM   C source of what the guest runs
# OUTPUT    a file that does not exist yet

set -euo pipefail

qemu=$1 kernel=$2 program=$3 output=$4

tmp=$(mktemp -d "$output.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root
mkdir -p "$root/lib" "$tmp/initrd"

cp "$qemu" "$root/qemu-system-x86_64"
# Words of ldd's output that are paths are the libraries and the loader
ldd "$qemu" | tr -s ' \t' '\n' | grep '^/' | xargs cp -Lt "$root/lib"
for name in bios-256k.bin kvmvapic.bin linuxboot_dma.bin; do
        find -L /usr/share/seabios /usr/share/qemu -maxdepth 1 -name $name -exec cp -t "$root" {} +
done
cat >"$root/qemu" <<'SCRIPT'
#!/bin/sh
here=$(dirname "$0")
exec "$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" "$here/qemu-system-x86_64" -L "$here" "$@"
SCRIPT
chmod 755 "$root/qemu"

cp "$kernel" "$root/vmlinuz"
gcc -std=gnu11 -O2 -Wall -Wextra -static -o "$tmp/initrd/init" "$program"
(cd "$tmp/initrd" && echo init | cpio --quiet --owner=0:0 -o -H newc) >"$root/initrd"

mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$tmp/disk" 192M
mv "$tmp/disk" "$output"
