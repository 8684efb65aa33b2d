#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Checks that clang-format would change nothing in src/ and tests/.
# usage: check-format.sh SOURCE_ROOT
#
# Versions of clang-format disagree with each other about details; 14, the one of Debian 12, is the
# judge here. Skips (77) where it is not to be had.
set -eu
cd "$1"

for tool in clang-format-14 clang-format; do
        if "$tool" --version 2>/dev/null | grep -q 'version 14\.'; then
                find src tests -name '*.[ch]' -print0 | xargs -0 "$tool" --dry-run --Werror
                exit 0
        fi
done
echo "clang-format 14 is not installed"
exit 77
