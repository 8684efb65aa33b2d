#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# check-versions.sh SOURCE-ROOT VERSION: every package has the version of the project

set -eu
cd "$1"
bad=0

# expect WHAT FOUND
expect() {
        [ "$2" = "$version" ] && return
        echo "$1: version '$2', meson.build has '$version'"
        bad=1
}

version=$2
expect debian/changelog "$(sed -n '1s/^dmemd (\(.*\)) .*/\1/p' debian/changelog)"
expect rpm/dmemd.spec "$(sed -n 's/^Version: *//p' rpm/dmemd.spec)"
expect 'rpm/dmemd.spec, module_version' "$(sed -n 's/^%global module_version //p' rpm/dmemd.spec)"
expect kernel/dkms.conf "$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' kernel/dkms.conf)"
exit $bad
