#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# check-ansible.sh SOURCE: the Ansible collection, as those see it who review collections:
# yamllint, ansible-lint, and of `ansible-test sanity` what needs nothing from the network.

set -euo pipefail

source=$1

for program in ansible-doc ansible-lint ansible-test yamllint; do
        command -v $program >/dev/null && continue
        echo "skipped: $program is not installed; the packages ansible-core, ansible-lint and yamllint have them"
        exit 77
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# All of them want the collection in a folder of this name, and leave files in HOME
export HOME=$folder ANSIBLE_HOME=$folder/home ANSIBLE_COLLECTIONS_PATH=$folder ANSIBLE_NOCOLOR=1
export LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
collection=ansible_collections/dmemd/dmemd
mkdir -p "$folder/${collection%/*}"
cp -r "$source/ansible" "$folder/$collection"
cd "$folder/$collection"

yamllint --strict .
ansible-lint --nocolor -p --offline

# The documentation is complete and can be read
ansible-doc dmemd.dmemd.dmemctl >"$folder/module"
ansible-doc -t role dmemd.dmemd.dmemd >"$folder/role"
for name in drop_ins allow_below_floor reboot_required; do
        grep -q "$name" "$folder/module" || { echo "ansible-doc does not show $name"; exit 1; }
done
# Each default of the role is an option of its specification, and the other way round
diff <(sed -n 's/^\(dmemd_[a-z_]*\):.*/\1/p' roles/dmemd/defaults/main.yml | sort) \
        <(sed -n 's/^      \(dmemd_[a-z_]*\):$/\1/p' roles/dmemd/meta/argument_specs.yml | sort)

offline='compile empty-init future-import-boilerplate ignores line-endings metaclass-boilerplate no-assert
no-basestring no-get-exception no-illegal-filenames no-main-display no-smart-quotes no-unicode-literals
replace-urlopen shebang symlinks use-argspec-type-path use-compat-six'
tests=()
for name in $(ansible-test sanity --list-tests 2>/dev/null); do
        [[ " ${offline//$'\n'/ } " != *" $name "* ]] || tests+=(--test "$name")
done
((${#tests[@]} > 10)) || { echo "ansible-test knows only ${tests[*]}"; exit 1; }
ansible-test sanity --python "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" "${tests[@]}"

# validate-modules wants to install what it needs; where Debian has that, it runs without
checker=/usr/lib/python3/dist-packages/ansible_test/_util/controller/sanity/validate-modules
if PYTHONPATH=$checker /usr/bin/python3 -c 'import validate_modules.main' 2>/dev/null; then
        # Modules of Ansible itself are under the GPL, ours is under the licence of the project
        found=$(PYTHONPATH=$checker /usr/bin/python3 "$checker/validate.py" --collection $collection \
                plugins/modules/dmemctl.py | grep -v missing-gplv3-license || true)
        [[ -z $found ]] || { echo "$found"; exit 1; }
else
        echo "validate-modules left out: this Debian does not have all the packages that it needs"
fi
