#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# compile-kernel.sh lab SOURCE.deb WORK OUTPUT JOBS FRAGMENT...: the lab's kernel from Debian's source package
# compile-kernel.sh deb SOURCE.deb WORK OUTPUT JOBS CONFIG: Debian packages of a kernel configured by CONFIG
#
# The fragments add up, and what none of them names is off; CONFIG is whole. WORK is the same folder
# each time and gone afterwards: the compiler cache knows files by their paths. OUTPUT appears only
# when it is complete; tools/build-kernel --help says what it holds.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

kind=$1 deb=$2 work=$3 output=$4 jobs=$5
shift 5
configs=("$@")
# All of Debian's drivers are more than the compiler cache holds
cc=gcc
[[ $kind != lab ]] || cc='ccache gcc'

export CCACHE_DIR=$cache/ccache CCACHE_MAXSIZE=1G
export CCACHE_SLOPPINESS=time_macros,include_file_mtime,include_file_ctime
# Nothing in the result depends on when, where and by whom it was built
export KBUILD_BUILD_TIMESTAMP='2026-01-01 00:00:00 UTC' KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_USER=dmemd KBUILD_BUILD_HOST=lab

kmake() {
        make -s -C "$work/linux" O="$work/build" -j"$jobs" CC="$cc" "$@"
}

unpack() {
        local tarball
        tarball=$(dpkg-deb --contents "$deb" | sed -n 's|.* \(\./usr/src/linux-source-[0-9.]*\.tar\.xz\)$|\1|p')
        dpkg-deb --fsys-tarfile "$deb" | tar -xO "$tarball" | tar -xJ -C "$work/linux" --strip-components=1
}

apply_patches() {
        local p
        for p in "$top"/kernel/patches/6.12/*.patch; do
                [[ -e $p ]] || continue
                ! has_already "$work/linux" "$p" || continue
                echo "Applying ${p#"$top"/}"
                patch -d "$work/linux" -p1 --fuzz=0 --no-backup-if-mismatch <"$p"
        done
}

# What the fragments say of a symbol, the last of them if there are several, must be true in the
# .config that was made of them
check_config() {
        local line name bad=0
        while read -r line; do
                case $line in
                CONFIG_*=n | '# CONFIG_'*' is not set')
                        name=${line#\# } name=${name%%[= ]*}
                        ! grep -q "^$name=" "$work/build/.config" && continue
                        ;;
                CONFIG_*=*) grep -qxF -e "$line" "$work/build/.config" && continue ;;
                *) continue ;;
                esac
                echo "kernel/configs/: this kernel does not accept: $line"
                bad=1
        done < <(tac "$work/all.config" | awk -F= '!seen[$1]++')
        return $bad
}

# For a suite that has no kernel tree: what judges the sources, and the files that patches change
keep_style() {
        mkdir -p "$work/out/style/original"
        cp -t "$work/out/style" \
                "$work"/linux/scripts/{checkpatch.pl,const_structs.checkpatch,get_abi.pl,kernel-doc,spelling.txt}
        sed -n 's|^--- a/||p' "$top"/kernel/patches/6.12/*.patch | sort -u |
                tar -C "$work/linux" -cT - | tar -xC "$work/out/style/original"
}

# What sparse and the compiler's extra warnings say about what is built in: they need all of the tree
keep_warnings() {
        local objects
        mapfile -t objects < <(cd "$top/kernel/overlay" && find mm -name '*.c' | sed 's/c$/o/')
        kmake CC=gcc W=1 C=2 "${objects[@]}" 2>&1 | tee "$work/out/style/warnings"
}

build_lab() {
        local release
        cat "${configs[@]}" >"$work/all.config"
        kmake KCONFIG_ALLCONFIG="$work/all.config" allnoconfig
        check_config
        kmake bzImage modules
        kmake INSTALL_MOD_PATH="$work/out" INSTALL_MOD_STRIP=1 DEPMOD=true modules_install
        # The single quotes keep this for make
        # shellcheck disable=SC2016
        kmake CC=gcc run-command \
                KBUILD_RUN_COMMAND='$(srctree)/scripts/package/install-extmod-build '"$work/out/devel"
        keep_warnings

        release=$(<"$work/build/include/config/kernel.release")
        rm -f "$work/out/lib/modules/$release/build" "$work/out/lib/modules/$release/source"
        cp "$work/build/arch/x86/boot/bzImage" "$work/out/vmlinuz"
        cp "$work/build/.config" "$work/out/config"
        cp "$work/build/System.map" "$work/out/System.map"
        echo "$release" >"$work/out/version"
        echo virtio >"$work/out/drive"
}

# As debian/linux-patch-dmem.README.Debian tells users to do it by hand
build_deb() {
        cp "${configs[0]}" "$work/build/.config"
        # Newer than Debian's +deb13 of the same version, as it is what boot loaders are to start. Debian's own
        # keys are not here, and debugging information would double the time and the space.
        "$work/linux/scripts/config" --file "$work/build/.config" --enable DMEM --module DMEMFS \
                --set-str LOCALVERSION +dmem --set-str SYSTEM_TRUSTED_KEYS '' \
                --disable DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT --enable DEBUG_INFO_NONE
        kmake olddefconfig
        grep -xF CONFIG_DMEM=y "$work/build/.config"
        grep -xF CONFIG_DMEMFS=m "$work/build/.config"
        kmake KDEB_PKGVERSION="$(dpkg-deb -f "$deb" Version)+dmem" KDEB_CHANGELOG_DIST=unstable bindeb-pkg
        cp "$work/build/.config" "$work/out/config"
        mv -t "$work/out" "$work"/linux-{image,headers}-*.deb
}

rm -rf "$work"
mkdir -p "$work"/{linux,build,out}
unpack
[[ $kind != lab ]] || keep_style
cp -r "$top/kernel/overlay/." "$work/linux/"
apply_patches
"build_$kind"
mv -T "$work/out" "$output"
rm -rf "$work"
