#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Checks what is installed for systemd, D-Bus and the journal with their own tools.
# usage: test-units.sh MESON BUILD_ROOT SOURCE_ROOT
#
# Installs into a folder of its own; asks no running systemd.
set -eu
meson=$1
build=$2

for tool in systemd-analyze journalctl systemd-sysusers systemd-tmpfiles; do
        if ! command -v "$tool" >/dev/null; then
                echo "skipped: $tool is not installed"
                exit 77
        fi
done

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
DESTDIR=$root "$meson" install -C "$build" --no-rebuild --quiet >/dev/null
units=$root/usr/lib/systemd/system
failed=0

fail() {
        echo "FAIL $*"
        failed=1
}

# The programs of other packages that the units name are not below our root.
mkdir -p "$root/bin" "$root/sbin"
ln -s "$(command -v true)" "$root/bin/kill"
for unit in dmemd.service dmemd-setup.service dmem-ready.target; do
        # Units of systemd itself that ours name are looked up on this machine.
        problems=$(SYSTEMD_UNIT_PATH=$units: systemd-analyze verify --recursive-errors=no --man=no \
                           "$units/$unit" 2>&1 | grep -v 'is not executable: No such file' || true)
        if [ -n "$problems" ]; then
                fail "$unit: $problems"
        else
                echo "ok   $unit: systemd-analyze verify"
        fi
done

# Where the limit is written: in tenths, as --threshold= takes it.
check_security() {
        if systemd-analyze security --offline=true --threshold="$2" "$units/$1" >"$root/report" 2>&1
        then
                echo "ok   $1: $(grep -o 'Overall.*: [0-9.]*' "$root/report")"
        else
                cat "$root/report"
                fail "$1: exposure is above the limit"
        fi
}
check_security dmemd.service 20
check_security dmemd-setup.service 60

# The mount must be seen by the whole host: none of these in the setup unit.
if grep -E '^(Private(Tmp|Devices|Mounts|Users)|Protect(System|Home|Proc|Kernel[A-Z][a-z]+|ControlGroups)|ProcSubset|Root[A-Z][a-z]+|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec|Bind|BindReadOnly)Paths|TemporaryFileSystem|MountFlags|Dynamic[A-Z][a-z]+|[A-Z][a-z]+Directory)=' \
        "$units/dmemd-setup.service"; then
        fail "dmemd-setup.service would mount in a name space of its own"
fi
# systemd implements it by forbidding openat2(2), which basic/root-fs.c cannot do without.
if grep '^RestrictSUIDSGID=yes' "$units"/*.service; then
        fail "the units forbid openat2(2)"
fi
if grep -q '^ExecStop' "$units/dmemd-setup.service"; then
        fail "dmemd-setup.service has an ExecStop=; guests live in the mount"
fi

# Both programs are where the units say.
for program in dmemd dmemd-setup; do
        grep -q "^ExecStart=/usr/lib/dmemd/$program\$" "$units/$program.service" &&
                test -x "$root/usr/lib/dmemd/$program" || fail "$program is not where its unit says"
done

# Each id of the journal is in the catalog, with what to do, and in the manual page.
mkdir -p "$root/var/lib/systemd/catalog"
journalctl --root="$root" --update-catalog
ids=$(sed -n 's/^#define MESSAGE_[A-Z_]* "\([0-9a-f]*\)"$/\1/p' "$3/src/host/message-ids.h")
test -n "$ids" || fail "no ids in message-ids.h"
for id in $ids; do
        if ! journalctl --root="$root" --dump-catalog "$id" >"$root/entry" 2>&1; then
                fail "$id is not in the catalog"
        elif ! grep -q -e 'What to do' -e 'nothing to do' -e '^Then run' "$root/entry"; then
                fail "$id: the catalog does not say what to do"
        fi
        grep -q "$id" "$3/man/dmemd.8" || fail "$id is not in dmemd(8)"
done
if [ "$(echo "$ids" | sort -u | wc -l)" != "$(echo "$ids" | wc -l)" ]; then
        fail "two kinds of entries have the same id"
fi
echo "ok   catalog: $(echo "$ids" | wc -l) kinds of entries"

# The user exists before anything needs it, and owns nothing in /var but the ledger.
mkdir -p "$root/etc"
systemd-sysusers --root="$root" "$root/usr/lib/sysusers.d/dmemd.conf" >/dev/null 2>"$root/errors" ||
        fail "sysusers: $(cat "$root/errors")"
grep -q '^dmemd:' "$root/etc/passwd" || fail "sysusers.d/dmemd.conf makes no user dmemd"
if [ "$(id -u)" = 0 ]; then
        systemd-tmpfiles --root="$root" --create "$root/usr/lib/tmpfiles.d/dmemd.conf" 2>&1
        [ "$(stat -c %U:%a "$root/var/lib/dmemd")" = root:755 ] ||
                fail "/var/lib/dmemd/ does not belong to root"
        owner=$(stat -c %u "$root/var/lib/dmemd/ledger")
        [ "$owner" != 0 ] && grep -q "^dmemd:[^:]*:$owner:" "$root/etc/passwd" ||
                fail "/var/lib/dmemd/ledger/ does not belong to the user of the daemon"
fi

# udev takes what it does not understand for a comment; older ones cannot check it.
rules=$root/usr/lib/udev/rules.d/60-dmemd.rules
grep -q '^ACTION=="add", SUBSYSTEM=="dmem"' "$rules" || fail "no rule for the devices"
if udevadm verify --help >/dev/null 2>&1; then
        udevadm verify --no-summary "$rules" || fail "udevadm verify $rules"
fi

policy=$root/usr/share/dbus-1/system.d/org.dmemd1.conf
if command -v xmllint >/dev/null; then
        xmllint --nonet --noout "$policy" || fail "$policy"
fi
alias_name=$(sed -n 's/^SystemdService=//p' "$root/usr/share/dbus-1/system-services/org.dmemd1.service")
grep -q "^Alias=$alias_name\$" "$units/dmemd.service" || fail "no unit has the alias $alias_name"

exit "$failed"
